//! How a prompt and a line lie on the terminal, which may be several rows.

use super::line::{Line, cell, units};
use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar as _;

/// A place on the terminal, from the start of the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spot {
    row: usize,
    column: usize,
}

impl Spot {
    /// Where the next character goes after one of so many columns.
    fn after(self, width: usize, columns: usize) -> Self {
        let Self {
            mut row,
            mut column,
        } = self;
        // A wide one that does not fit goes to the next row as a whole.
        if column + width > columns {
            (row, column) = (row + 1, 0);
        }
        column += width;
        if column >= columns {
            (row, column) = (row + 1, 0);
        }
        Self { row, column }
    }
}

/// Has the terminal say where a text that is pasted begins and ends: xterm's mode 2004, which is off wherever nobody knows of it.
const PASTES_MARKED: &str = "\x1b[?2004h";
/// As it was.
const PASTES_BARE: &str = "\x1b[?2004l";

/// What was drawn last.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Where the cursor is. `None`: nothing is drawn.
    cursor: Option<Spot>,
    end: Spot,
}

impl Screen {
    /// What draws the prompt and the line in the place of what was drawn before.
    pub(super) fn draw(&mut self, prompt: &str, line: &Line, columns: usize) -> String {
        let mut out = String::new();
        match self.cursor {
            Some(cursor) => {
                up(&mut out, cursor.row);
                out.push_str("\r\x1b[J");
            }
            None => out.push_str(PASTES_MARKED),
        }
        let start = put(&mut out, prompt.as_bytes(), Spot::default(), columns);
        let cursor = put(&mut out, line.before(), start, columns);
        let after = &line.text()[line.before().len()..];
        let end = put(&mut out, after, cursor, columns);
        if end.column == 0 && end.row > 0 {
            // The terminal goes to the next row only when it must.
            out.push_str("\r\n");
        }
        if cursor != end {
            up(&mut out, end.row - cursor.row);
            out.push('\r');
            if cursor.column > 0 {
                push(&mut out, format_args!("\x1b[{}C", cursor.column));
            }
        }
        (self.cursor, self.end) = (Some(cursor), end);
        out
    }

    /// What shows a text that came to the end of the line, with the cursor behind it. `None`: all must be drawn.
    pub(super) fn append(&mut self, text: &[u8], columns: usize) -> Option<String> {
        let mut out = String::new();
        let end = put(&mut out, text, self.end, columns);
        if self.cursor != Some(self.end) || end.row > self.end.row {
            return None;
        }
        (self.cursor, self.end) = (Some(end), end);
        Some(out)
    }

    /// What goes to the last row of all that is drawn, to stay there.
    pub(super) fn leave(&mut self) -> String {
        let cursor = self.cursor.take().unwrap_or_default();
        let mut out = String::from(PASTES_BARE);
        if self.end.row > cursor.row {
            push(
                &mut out,
                format_args!("\x1b[{}B", self.end.row - cursor.row),
            );
        }
        out
    }
}

/// Appends a text as it is shown; where the next character goes.
fn put(out: &mut String, text: &[u8], mut spot: Spot, columns: usize) -> Spot {
    for unit in units(text) {
        let (shown, _) = cell(unit);
        for c in shown.chars() {
            spot = spot.after(c.width().unwrap_or(0), columns);
        }
        out.push_str(&shown);
    }
    spot
}

fn up(out: &mut String, rows: usize) {
    if rows > 0 {
        push(out, format_args!("\x1b[{rows}A"));
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_longer_than_a_row() {
        let mut screen = Screen::default();
        let mut line = Line::new(b"abcdef");
        assert_eq!(screen.draw("> ", &line, 10), "\x1b[?2004h> abcdef");
        line.insert(b"g");
        assert_eq!(screen.append(b"g", 10).unwrap(), "g");
        line.insert(b"h");
        assert_eq!(screen.append(b"h", 10), None);
        // The row is full: the cursor is on the next one.
        assert_eq!(screen.draw("> ", &line, 10), "\r\x1b[J> abcdefgh\r\n");
        line.go(1);
        assert_eq!(
            screen.draw("> ", &line, 10),
            "\x1b[1A\r\x1b[J> abcdefgh\r\n\x1b[1A\r\x1b[3C"
        );
        assert_eq!(screen.leave(), "\x1b[?2004l\x1b[1B");
        assert_eq!(screen.draw("> ", &Line::default(), 10), "\x1b[?2004h> ");
        assert_eq!(screen.leave(), "\x1b[?2004l");
    }

    #[test]
    fn wide_characters_are_not_cut() {
        let mut screen = Screen::default();
        let mut line = Line::new("ab日".as_bytes());
        line.go(2);
        // Columns 2 to 4 are taken, and two more are needed.
        let drawn = screen.draw("> ", &line, 5);
        assert_eq!(drawn, "\x1b[?2004h> ab日\x1b[1A\r\x1b[4C");
    }
}
