//! A line that is being edited, and the place of the cursor in it.
//!
//! A line is bytes, as names are. Its units are characters, or single bytes where it is not UTF-8.

use crate::quote::shown;
use std::ops::Range;
use unicode_width::UnicodeWidthStr as _;

/// The line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    text: Vec<u8>,
    /// The unit after the cursor begins here.
    at: usize,
}

impl Line {
    /// With the cursor at its end.
    pub(super) fn new(text: &[u8]) -> Self {
        Self {
            text: text.to_vec(),
            at: text.len(),
        }
    }

    /// All of it.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// What is before the cursor.
    pub(super) fn before(&self) -> &[u8] {
        &self.text[..self.at]
    }

    /// Inserts at the cursor.
    pub(super) fn insert(&mut self, text: &[u8]) {
        self.replace(self.at..self.at, text);
    }

    /// Puts a text in the place of what is before the cursor from `start` on.
    pub(super) fn complete(&mut self, start: usize, text: &[u8]) {
        self.replace(start.min(self.at)..self.at, text);
    }

    fn replace(&mut self, range: Range<usize>, text: &[u8]) {
        self.at = range.start + text.len();
        self.text.splice(range, text.iter().copied());
    }

    /// Takes out what is between the cursor and a place.
    pub(super) fn cut(&mut self, to: usize) -> Vec<u8> {
        let range = self.at.min(to)..self.at.max(to);
        self.at = range.start;
        self.text.drain(range).collect()
    }

    /// Moves the cursor.
    pub(super) fn go(&mut self, to: usize) {
        self.at = to;
    }

    /// The end.
    pub(super) fn end(&self) -> usize {
        self.text.len()
    }

    /// One unit to the left of the cursor.
    pub(super) fn left(&self) -> usize {
        let before = self.before();
        let longest = before.len().min(4);
        let whole = (2..=longest).rev().find(|length| {
            let tail = &before[before.len() - length..];
            std::str::from_utf8(tail).is_ok_and(|text| text.chars().count() == 1)
        });
        self.at - whole.unwrap_or(longest.min(1))
    }

    /// One unit to the right.
    pub(super) fn right(&self) -> usize {
        self.at + units(&self.text[self.at..]).next().map_or(0, <[u8]>::len)
    }

    /// The start of the word that ends at the cursor or before it.
    pub(super) fn word_left(&self) -> usize {
        let before = self.before();
        let in_word = |byte: &u8| !is_between(*byte);
        let end = before.iter().rposition(in_word).map_or(0, |at| at + 1);
        let start = before[..end].iter().rposition(|byte| is_between(*byte));
        start.map_or(0, |at| at + 1)
    }

    /// The end of the word that begins at the cursor or after it.
    pub(super) fn word_right(&self) -> usize {
        let after = &self.text[self.at..];
        let start = after.iter().position(|byte| !is_between(*byte));
        let start = start.unwrap_or(after.len());
        let length = after[start..].iter().position(|byte| is_between(*byte));
        self.at + length.map_or(after.len(), |length| start + length)
    }
}

/// Whether words end here; the components of a path are words.
fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'/')
}

/// The units of a text.
pub(super) fn units(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.utf8_chunks().flat_map(|chunk| {
        let whole = chunk.valid();
        let starts = whole.char_indices();
        let valid = starts.map(|(at, c)| &whole.as_bytes()[at..at + c.len_utf8()]);
        valid.chain(chunk.invalid().chunks(1))
    })
}

/// How a unit is shown, and how many columns that takes.
pub(super) fn cell(unit: &[u8]) -> (std::borrow::Cow<'_, str>, usize) {
    let text = shown(unit);
    let width = text.width();
    (text, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_moves_by_characters_and_by_bytes_that_are_none() {
        let mut line = Line::new("aé日\u{10348}".as_bytes());
        line.insert(b"\xff\xe6");
        let mut places = vec![line.end()];
        while line.left() < places[places.len() - 1] {
            places.push(line.left());
            line.go(line.left());
        }
        assert_eq!(places, [12, 11, 10, 6, 3, 1, 0]);
        let mut back = vec![0];
        while line.right() > back[back.len() - 1] {
            back.push(line.right());
            line.go(line.right());
        }
        back.reverse();
        assert_eq!(back, places);
    }

    #[test]
    fn words_end_at_spaces_and_slashes() {
        let mut line = Line::new(b"cat  /etc/host name ");
        let mut places = vec![];
        while line.word_left() != line.before().len() {
            places.push(line.word_left());
            line.go(line.word_left());
        }
        assert_eq!(places, [15, 10, 6, 0]);
        places.clear();
        while line.right() > line.before().len() {
            places.push(line.word_right());
            line.go(line.word_right());
        }
        assert_eq!(places, [3, 9, 14, 19, 20]);
    }

    #[test]
    fn text_is_inserted_and_cut_at_the_cursor() {
        let mut line = Line::new(b"ls /a");
        line.go(3);
        line.insert(b"-l ");
        assert_eq!(
            (line.text(), line.before()),
            (&b"ls -l /a"[..], &b"ls -l "[..])
        );
        assert_eq!(line.cut(line.word_left()), b"-l ");
        line.go(line.end());
        line.complete(3, b"/abc ");
        assert_eq!(line.text(), b"ls /abc ");
        assert_eq!(line.cut(0), b"ls /abc ");
        assert_eq!(
            (
                line.left(),
                line.right(),
                line.word_left(),
                line.word_right()
            ),
            (0, 0, 0, 0)
        );
    }

    #[test]
    fn wide_characters_and_escapes_take_their_columns() {
        let width = |text: &str| cell(text.as_bytes()).1;
        assert_eq!((width("a"), width("日"), width("\u{301}")), (1, 2, 0));
        assert_eq!(cell(b"\x1b"), ("\\033".into(), 4));
    }
}
