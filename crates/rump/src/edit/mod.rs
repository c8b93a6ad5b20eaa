//! Lines from a terminal: edited, completed, taken from a history.
//!
//! | module | what |
//! |---|---|
//! | [`line`] | the text and the cursor |
//! | [`keys`] | what a terminal sends |
//! | [`screen`] | where everything is shown |
//! | [`history`] | the lines before, kept between sessions |
//!
//! While a line is read the terminal gives every key at once and echoes none; before anything else happens it is as it was. ^C still makes a
//! SIGINT, which ends the reading as it ends any other.

pub(crate) mod history;
mod keys;
mod line;
mod screen;

use crate::{
    report::{Failure, Outcome},
    signals,
};
use history::History;
use keys::Key;
use line::Line;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    process::{Signal, getpid, kill_current_process_group, kill_process},
    termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
    },
};
use screen::Screen;
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    mem,
};

/// How long the rest of a key's sequence may take.
const SEQUENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// So many possibilities are shown; of more their number.
const MOST_SHOWN: usize = 200;

/// What can be done to what is before the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Completion {
    /// From here to the cursor ...
    pub(crate) start: usize,
    /// ... this may be. `None`: it stays.
    pub(crate) text: Option<Vec<u8>>,
    /// If there are several possibilities, all of them, for people.
    pub(crate) shown: Vec<String>,
}

/// Where lines come from.
pub(crate) struct Editor {
    terminal: File,
    /// Read and not used yet: what was typed ahead.
    ahead: Vec<u8>,
    history: History,
    /// What was cut last.
    cut: Vec<u8>,
}

/// Whether lines can be edited: a terminal that is read and written, and knows what nearly all know.
pub(crate) fn is_possible(input: &File) -> bool {
    use std::io::IsTerminal as _;
    let known = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    known && input.is_terminal() && io::stdout().is_terminal()
}

/// How a line ended.
pub(crate) enum Typed {
    /// With Enter.
    Line(Vec<u8>),
    /// The input ends.
    End,
}

impl Editor {
    /// Reads from a terminal.
    pub(crate) fn new(terminal: File, history: History) -> Self {
        Self {
            terminal,
            ahead: Vec::new(),
            history,
            cut: Vec::new(),
        }
    }

    /// Drops what was typed ahead.
    pub(crate) fn forget(&mut self) {
        self.ahead.clear();
    }

    /// Reads a line.
    ///
    /// # Errors
    /// A signal came; the terminal fails.
    pub(crate) fn read_line(
        &mut self,
        prompt: &str,
        complete: impl Fn(&[u8]) -> Completion,
    ) -> Outcome<Typed> {
        let raw = Raw::enter(&self.terminal)?;
        let mut reading = Reading {
            editor: self,
            raw,
            prompt: prompt.into(),
            line: Line::default(),
            screen: Screen::default(),
            columns: 0,
            place: None,
        };
        let typed = reading.run(complete);
        let mut left = reading.screen.leave();
        // Whoever goes on after an interrupt or the end of input begins a row.
        if !matches!(typed, Ok(Typed::End)) && !signals::is_interrupt() {
            left.push_str("\r\n");
        }
        write(&left)?;
        let typed = typed?;
        if let Typed::Line(text) = &typed {
            // What was pasted may be several.
            for line in text.split(|&byte| byte == b'\n') {
                self.history.add(line);
            }
        }
        Ok(typed)
    }
}

/// The terminal while a line is read; at the end it is as it was.
struct Raw {
    terminal: File,
    before: Termios,
}

impl Raw {
    fn enter(terminal: &File) -> Outcome<Self> {
        let fail = |error: io::Error| Failure::host("standard input", &error);
        let terminal = terminal.try_clone().map_err(fail)?;
        let before = tcgetattr(&terminal).map_err(|errno| fail(errno.into()))?;
        let raw = Self { terminal, before };
        raw.again().map_err(fail)?;
        Ok(raw)
    }

    /// Every key at once and without an echo. ^Z and ^\ come as keys, so that the terminal can be given back before they do what they do.
    fn again(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN;
        for (code, value) in [
            // What poll saw may be dropped by an interrupt before it is read, and a read that waits then waits for ever.
            (SpecialCodeIndex::VMIN, 0),
            (SpecialCodeIndex::VTIME, 0),
            (SpecialCodeIndex::VSUSP, DISABLED),
            (SpecialCodeIndex::VQUIT, DISABLED),
        ] {
            modes.special_codes[code] = value;
        }
        self.set(&modes)
    }

    fn give_back(&self) {
        // If it is gone, there is nothing to give.
        let _ = self.set(&self.before);
    }

    fn set(&self, modes: &Termios) -> io::Result<()> {
        let set = || tcsetattr(&self.terminal, OptionalActions::Drain, modes);
        Ok(retry_on_intr(set)?)
    }
}

/// No key does it: `_POSIX_VDISABLE` of Linux.
const DISABLED: u8 = 0;

impl Drop for Raw {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A line that is being read.
struct Reading<'a> {
    editor: &'a mut Editor,
    raw: Raw,
    prompt: String,
    line: Line,
    screen: Screen,
    /// Width of the terminal when it was drawn.
    columns: usize,
    /// Which line of the history is shown, and the one that was typed before.
    place: Option<(usize, Line)>,
}

impl Reading<'_> {
    fn run(&mut self, complete: impl Fn(&[u8]) -> Completion) -> Outcome<Typed> {
        self.draw()?;
        loop {
            let Some(key) = self.key()? else {
                return Ok(Typed::End);
            };
            match key {
                Key::Enter => return Ok(Typed::Line(self.line.text().to_vec())),
                Key::EndOfInput if self.line.text().is_empty() => return Ok(Typed::End),
                Key::Complete => self.complete(&complete)?,
                Key::Search => {
                    if self.search()? {
                        return Ok(Typed::Line(self.line.text().to_vec()));
                    }
                }
                Key::Suspend => self.hand_over(Signal::TSTP)?,
                Key::Quit => self.hand_over(Signal::QUIT)?,
                Key::Clear => {
                    write("\x1b[H\x1b[2J")?;
                    self.screen = Screen::default();
                    self.draw()?;
                }
                key => self.edit(key)?,
            }
        }
    }

    /// What changes the line, or moves in it.
    fn edit(&mut self, key: Key) -> Outcome<()> {
        let line = &self.line;
        match key {
            Key::Text(text) => self.insert(&text),
            Key::Paste => {
                let text = self.editor.cut.clone();
                self.insert(&text)
            }
            Key::Left => self.go(line.left()),
            Key::Right => self.go(line.right()),
            Key::WordLeft => self.go(line.word_left()),
            Key::WordRight => self.go(line.word_right()),
            Key::Home => self.go(0),
            Key::End => self.go(line.end()),
            Key::DeleteLeft => self.cut(line.left(), false),
            Key::Delete | Key::EndOfInput => self.cut(line.right(), false),
            Key::CutWordLeft => self.cut(line.word_left(), true),
            Key::CutWordRight => self.cut(line.word_right(), true),
            Key::CutToStart => self.cut(0, true),
            Key::CutToEnd => self.cut(line.end(), true),
            Key::Older => self.recall(|place| place.checked_sub(1)),
            Key::Newer => self.recall(|place| place.checked_add(1)),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, text: &[u8]) -> Outcome<()> {
        self.line.insert(text);
        let is_last = self.line.before().len() == self.line.end();
        if is_last && let Some(shown) = self.screen.append(text, self.columns) {
            return write(&shown);
        }
        self.draw()
    }

    fn go(&mut self, to: usize) -> Outcome<()> {
        self.line.go(to);
        self.draw()
    }

    fn cut(&mut self, to: usize, keep: bool) -> Outcome<()> {
        let text = self.line.cut(to);
        if keep && !text.is_empty() {
            self.editor.cut = text;
        }
        self.draw()
    }

    /// Shows another line of the history; after the last comes what was typed.
    fn recall(&mut self, step: impl Fn(usize) -> Option<usize>) -> Outcome<()> {
        let lines = self.editor.history.lines();
        let now = self.place.as_ref().map_or(lines.len(), |(at, _)| *at);
        let Some(next) = step(now).filter(|next| *next <= lines.len()) else {
            return Ok(());
        };
        let typed = match self.place.take() {
            Some((_, typed)) => typed,
            None => self.line.clone(),
        };
        match lines.get(next) {
            Some(line) => {
                self.line = Line::new(line);
                self.place = Some((next, typed));
            }
            None => self.line = typed,
        }
        self.draw()
    }

    fn complete(&mut self, complete: impl Fn(&[u8]) -> Completion) -> Outcome<()> {
        let found = complete(self.line.before());
        if let Some(text) = &found.text
            && self.line.before().get(found.start..) != Some(text)
        {
            self.line.complete(found.start, text);
            return self.draw();
        }
        let list = match found.shown.len() {
            0 => return Ok(()),
            1..=MOST_SHOWN => in_columns(&found.shown, self.width()),
            more => format!("{more} possibilities\r\n"),
        };
        let below = self.screen.leave();
        write(&(below + "\r\n" + &list))?;
        self.draw()
    }

    /// Searches the history backwards for what is typed; `true`: the line found is taken as it is.
    fn search(&mut self) -> Outcome<bool> {
        let prompt = mem::take(&mut self.prompt);
        let typed = self.line.clone();
        let mut wanted = Vec::new();
        let mut from = self.editor.history.lines().len();
        let taken = loop {
            let title = String::from_utf8_lossy(&wanted);
            self.prompt = format!("(history) {}: ", crate::quote::shown(title.as_bytes()));
            self.draw()?;
            let has = |line: &[u8], wanted: &[u8]| line.windows(wanted.len()).any(|w| w == wanted);
            match self.key()? {
                Some(Key::Text(text)) => {
                    wanted.extend(text);
                    from = self.editor.history.lines().len();
                }
                Some(Key::DeleteLeft) => {
                    let mut shorter = Line::new(&wanted);
                    shorter.cut(shorter.left());
                    wanted = shorter.text().to_vec();
                    from = self.editor.history.lines().len();
                }
                Some(Key::Search) => {}
                Some(Key::Enter) => break Some(true),
                Some(Key::Cancel) | None => break None,
                Some(_) => break Some(false),
            }
            let lines = self.editor.history.lines();
            let found = |at: &usize| !wanted.is_empty() && has(&lines[*at], &wanted);
            if let Some(at) = (0..from).rev().find(found) {
                from = at;
                self.line = Line::new(&lines[at]);
            }
        };
        self.prompt = prompt;
        if taken.is_none() {
            self.line = typed;
        }
        self.draw()?;
        Ok(taken == Some(true))
    }

    /// Has a signal do what the terminal would have done with it, while the terminal is as it was before.
    fn hand_over(&mut self, signal: Signal) -> Outcome<()> {
        // As the terminal drops its part of what was typed ahead.
        self.editor.ahead.clear();
        let left = self.screen.leave();
        write(&(left + "\r\n"))?;
        self.raw.give_back();
        let sent = match signal {
            Signal::TSTP => kill_current_process_group(signal),
            signal => kill_process(getpid(), signal),
        };
        // Here it has been stopped, and goes on.
        sent.map_err(|errno| Failure::host("standard input", &errno.into()))?;
        let again = self.raw.again();
        again.map_err(|error| Failure::host("standard input", &error))?;
        self.draw()
    }

    /// The next key; `None`: the input ends.
    fn key(&mut self) -> Outcome<Option<Key>> {
        let mut is_all = false;
        loop {
            let ahead = &mut self.editor.ahead;
            if let Some((key, length)) = keys::first(ahead, is_all) {
                ahead.drain(..length);
                return Ok(Some(key));
            }
            let wait = match ahead.is_empty() {
                true => signals::WAIT,
                false => SEQUENCE,
            };
            signals::check()?;
            let mut fds = [PollFd::new(&self.editor.terminal, PollFlags::IN)];
            match poll(&mut fds, Some(&wait)) {
                Ok(0) => is_all = true,
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    let gone = fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR);
                    match self.fill() {
                        Ok(0) if gone => return Ok(None),
                        Ok(_) => continue,
                        Err(error) => return Err(Failure::host("standard input", &error)),
                    }
                }
                Err(errno) => return Err(Failure::host("standard input", &errno.into())),
            }
            // Nothing tells of a new size but the size itself.
            if self.width() != self.columns {
                self.draw()?;
            }
        }
    }

    /// Reads what there is, which may be nothing.
    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 1024];
        match (&self.editor.terminal).read(&mut bytes) {
            Ok(count) => {
                self.editor.ahead.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            // A signal, which the next look sees; or the terminal is no more, which poll says.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn width(&self) -> usize {
        let size = tcgetwinsize(io::stdout());
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { 80 } else { columns }
    }

    fn draw(&mut self) -> Outcome<()> {
        self.columns = self.width();
        let text = self.screen.draw(&self.prompt, &self.line, self.columns);
        write(&text)
    }
}

fn write(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Names beside each other, down the columns.
fn in_columns(names: &[String], width: usize) -> String {
    use unicode_width::UnicodeWidthStr as _;
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0) + 2;
    let across = (width / widest).max(1);
    let rows = names.len().div_ceil(across);
    let mut out = String::new();
    for row in 0..rows {
        for name in names.iter().skip(row).step_by(rows) {
            out.push_str(name);
            let rest = widest.saturating_sub(name.width());
            out.extend(std::iter::repeat_n(' ', rest));
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::in_columns;

    #[test]
    fn possibilities_are_shown_in_columns() {
        let names = ["a", "日本", "ccccc", "d", "e"].map(String::from);
        assert_eq!(in_columns(&names, 20), "a      d\r\n日本   e\r\nccccc\r\n");
        assert_eq!(in_columns(&names, 3), "a\r\n日本\r\nccccc\r\nd\r\ne\r\n");
    }
}
