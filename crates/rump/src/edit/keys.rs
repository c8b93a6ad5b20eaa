//! What a terminal sends for keys: ECMA-48 control functions as xterm, the Linux console and rxvt use them.

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character, a byte that belongs to none, or a text that is pasted.
    Text(Vec<u8>),
    Enter,
    Complete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    /// The line before in the history, and the one after.
    Older,
    Newer,
    /// Search the history backwards.
    Search,
    /// Leave a search.
    Cancel,
    DeleteLeft,
    Delete,
    CutWordLeft,
    CutWordRight,
    CutToStart,
    CutToEnd,
    /// Insert what was cut last.
    Paste,
    Clear,
    /// ^D: the end of input on an empty line.
    EndOfInput,
    Suspend,
    Quit,
    /// Nothing that is known.
    Unknown,
}

/// The first key of what came, and how many bytes it is. `None`: it is not whole yet; with `is_all` nothing more comes.
pub(super) fn first(bytes: &[u8], is_all: bool) -> Option<(Key, usize)> {
    let byte = *bytes.first()?;
    match byte {
        0x1b => escape(bytes, is_all),
        b' '..=b'~' => Some((Key::Text(vec![byte]), 1)),
        0x80.. => character(bytes, is_all),
        _ => Some((control(byte), 1)),
    }
}

fn control(byte: u8) -> Key {
    match byte {
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x04 => Key::EndOfInput,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x07 => Key::Cancel,
        0x08 | 0x7f => Key::DeleteLeft,
        b'\t' => Key::Complete,
        b'\n' | b'\r' => Key::Enter,
        0x0b => Key::CutToEnd,
        0x0c => Key::Clear,
        0x0e => Key::Newer,
        0x10 => Key::Older,
        0x12 => Key::Search,
        0x15 => Key::CutToStart,
        0x17 => Key::CutWordLeft,
        0x19 => Key::Paste,
        0x1a => Key::Suspend,
        0x1c => Key::Quit,
        _ => Key::Unknown,
    }
}

fn character(bytes: &[u8], is_all: bool) -> Option<(Key, usize)> {
    let text = &bytes[..bytes.len().min(4)];
    let length = match std::str::from_utf8(text) {
        Ok(valid) => valid.chars().next().map_or(1, char::len_utf8),
        Err(error) if error.valid_up_to() > 0 => {
            let valid = text.utf8_chunks().next();
            valid
                .and_then(|chunk| chunk.valid().chars().next())
                .map_or(1, char::len_utf8)
        }
        Err(error) if error.error_len().is_none() && !is_all => return None,
        Err(_) => 1,
    };
    Some((Key::Text(bytes[..length].to_vec()), length))
}

/// Longer sequences are none that a key sends.
const LONGEST: usize = 16;

fn escape(bytes: &[u8], is_all: bool) -> Option<(Key, usize)> {
    let ended = |key, length| Some((key, length));
    match bytes.get(1) {
        None if is_all => ended(Key::Unknown, 1),
        None => None,
        // SS3: one character follows.
        Some(b'O') => match bytes.get(2) {
            Some(&last) => ended(function(last, &[]), 3),
            None if is_all => ended(Key::Unknown, 2),
            None => None,
        },
        // CSI: parameters, intermediate characters, and a final one.
        Some(b'[') => {
            let rest = &bytes[2..];
            let is_final = |&byte: &u8| !(0x20..0x40).contains(&byte);
            match rest.iter().take(LONGEST).position(is_final) {
                // The Linux console's function keys.
                Some(0) if rest[0] == b'[' => match rest.get(1) {
                    None if !is_all => None,
                    _ => ended(Key::Unknown, bytes.len().min(4)),
                },
                // A paste.
                Some(3) if rest.starts_with(b"200~") => pasted(&rest[4..], 6),
                // Another sequence begins before this one has ended.
                Some(at) if rest[at] == 0x1b => ended(Key::Unknown, at + 2),
                Some(at) => ended(function(rest[at], &rest[..at]), at + 3),
                None if rest.len() >= LONGEST => ended(Key::Unknown, LONGEST + 2),
                None if is_all => ended(Key::Unknown, bytes.len()),
                None => None,
            }
        }
        // With Alt.
        Some(b'b') => ended(Key::WordLeft, 2),
        Some(b'f') => ended(Key::WordRight, 2),
        Some(b'd') => ended(Key::CutWordRight, 2),
        Some(0x08 | 0x7f) => ended(Key::CutWordLeft, 2),
        Some(0x1b) => ended(Key::Unknown, 1),
        Some(_) => ended(Key::Unknown, 2),
    }
}

/// A text that is pasted, whose start is already taken for so many bytes; nothing in it is a key, and it is whole only with its end, however long
/// that takes: what is half of it must not be run.
fn pasted(rest: &[u8], before: usize) -> Option<(Key, usize)> {
    const END: &[u8] = b"\x1b[201~";
    let mut starts = rest.iter().enumerate().filter(|(_, byte)| **byte == 0x1b);
    let (length, _) = starts.find(|(at, _)| rest[*at..].starts_with(END))?;
    let mut text: Vec<u8> = rest[..length].to_vec();
    // Terminals send the ends of lines as Enter.
    text.iter_mut()
        .filter(|byte| **byte == b'\r')
        .for_each(|byte| *byte = b'\n');
    // It is for people to say when the last line ends.
    let end = text.iter().rposition(|byte| *byte != b'\n');
    text.truncate(end.map_or(0, |at| at + 1));
    Some((Key::Text(text), before + length + END.len()))
}

/// A key by the end of its sequence and the parameters before.
fn function(last: u8, parameters: &[u8]) -> Key {
    // With Ctrl or Alt the second parameter is 5 or 3.
    let by_word = matches!(parameters, [.., b';', b'3' | b'5']);
    match (last, parameters) {
        (b'A', _) => Key::Older,
        (b'B', _) => Key::Newer,
        (b'C', _) if by_word => Key::WordRight,
        (b'D', _) if by_word => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'~', b"3") => Key::Delete,
        (b'~', b"3;3" | b"3;5") => Key::CutWordRight,
        (b'c', _) => Key::WordRight,
        (b'd', _) => Key::WordLeft,
        _ => Key::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut bytes: &[u8]) -> Vec<Key> {
        let mut keys = vec![];
        while let Some((key, length)) = first(bytes, true) {
            bytes = &bytes[length..];
            keys.push(key);
        }
        keys
    }

    #[test]
    fn keys_of_terminals() {
        use Key::{Delete, End, Enter, Home, Left, Older, Text, Unknown, WordLeft, WordRight};
        let text = |text: &str| Text(text.into());
        assert_eq!(all(b"a\r\x1b[A\x1bOH"), [text("a"), Enter, Older, Home]);
        assert_eq!(
            all(b"\x1b[1;5D\x1b[3~\x1b[4~\x1bf"),
            [WordLeft, Delete, End, WordRight]
        );
        assert_eq!(all("日\x1b[D".as_bytes()), [text("日"), Left]);
        assert_eq!(all(b"\xffa"), [Text(vec![0xff]), text("a")]);
        // Function keys, a lone escape, and a sequence that no key sends.
        assert_eq!(
            all(b"\x1b[15~\x1b[[Ax\x1b"),
            [Unknown, Unknown, text("x"), Unknown]
        );
        assert_eq!(
            all(b"\x1b[1234567890123456ab"),
            [Unknown, text("a"), text("b")]
        );
    }

    #[test]
    fn a_paste_is_text_and_whole_with_its_end_alone() {
        let text = |text: &str| Key::Text(text.into());
        assert_eq!(
            all(b"a\x1b[200~rm /b\r\x1b[A\tls\r\n\r\x1b[201~\r"),
            [text("a"), text("rm /b\n\x1b[A\tls"), Key::Enter]
        );
        assert_eq!(all(b"\x1b[200~\x1b[201~"), [text("")]);
        for start in [
            &b"\x1b[200~"[..],
            b"\x1b[200~ls\r",
            b"\x1b[200~ls\r\x1b[201",
        ] {
            assert_eq!(first(start, true), None, "{start:?}");
        }
    }

    #[test]
    fn a_sequence_ends_where_another_begins() {
        assert_eq!(
            all(b"\x1b[1;\x1b[Aa"),
            [Key::Unknown, Key::Older, Key::Text(b"a".into())]
        );
    }

    #[test]
    fn what_is_not_whole_waits() {
        for start in [
            &b"\x1b"[..],
            b"\x1b[",
            b"\x1b[1;5",
            b"\x1bO",
            b"\xe6\x97",
            b"\x1b[[",
        ] {
            assert_eq!(first(start, false), None, "{start:?}");
            assert!(first(start, true).is_some(), "{start:?}");
        }
        assert_eq!(first(b"", true), None);
    }
}
