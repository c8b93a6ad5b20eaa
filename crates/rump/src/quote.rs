//! Names for people: on a terminal and in messages, control characters do not reach the screen.

use std::{borrow::Cow, fmt::Write as _, mem};

/// A name as it appears in a message or on a terminal: printable UTF-8 as it is, control characters and other bytes as C
/// escapes. A backslash is doubled only when something else had to be escaped, as a plain name should stay one.
pub(crate) fn shown(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !text.chars().any(unsafe_on_terminal)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\\' => out.push_str("\\\\"),
                c if unsafe_on_terminal(c) => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        octal(&mut out, byte);
                    }
                }
                c => out.push(c),
            }
        }
        for &byte in chunk.invalid() {
            octal(&mut out, byte);
        }
    }
    Cow::Owned(out)
}

/// Control characters (C0, DEL, C1) and those that turn the direction of writing, which can make a name look like another.
pub(crate) fn unsafe_on_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A message without control characters, whoever its words are from. Lines stay lines.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| unsafe_on_terminal(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_bad(c) {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes)
                .bytes()
                .for_each(|byte| octal(&mut out, byte));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn octal(out: &mut String, byte: u8) {
    let written = write!(out, "\\{byte:03o}");
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

/// A name as a word for sh(1), always in quotes, as ls(1) and stat(1) of GNU write it.
pub(crate) fn for_shell(name: &[u8]) -> Vec<u8> {
    let is_safe = |c: char| !unsafe_on_terminal(c);
    let text = std::str::from_utf8(name).ok();
    if let Some(text) = text.filter(|text| text.contains('\'')) {
        // What means nothing between double quotes or outside of them.
        let is_plain = |c: char| match c.is_ascii() {
            true => c.is_ascii_alphanumeric() || " %+,-./:@]_'".contains(c),
            false => is_safe(c),
        };
        if text.chars().all(is_plain) {
            return [b"\"", name, b"\""].concat();
        }
    }
    let mut out = b"'".to_vec();
    // Whether the part between `$'` and `'` goes on, in which escapes are read.
    let mut escapes = false;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let bytes = &mut [0; 4];
            let bytes = c.encode_utf8(bytes).as_bytes();
            if !is_safe(c) {
                bytes
                    .iter()
                    .for_each(|b| escape(&mut out, &mut escapes, *b));
                continue;
            }
            if mem::take(&mut escapes) {
                out.extend(b"''");
            }
            match c {
                '\'' => out.extend(b"'\\''"),
                _ => out.extend(bytes),
            }
        }
        let invalid = chunk.invalid().iter();
        invalid.for_each(|b| escape(&mut out, &mut escapes, *b));
    }
    out.push(b'\'');
    out
}

/// Appends a byte as an escape to a word between single quotes.
fn escape(out: &mut Vec<u8>, escapes: &mut bool, byte: u8) {
    if !mem::replace(escapes, true) {
        out.extend(b"'$'");
    }
    let letter = match byte {
        0x07 => b'a',
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0b => b'v',
        0x0c => b'f',
        b'\r' => b'r',
        _ => return out.extend(format!("\\{byte:03o}").bytes()),
    };
    out.extend([b'\\', letter]);
}

/// A path of the image or the host, for a message.
pub(crate) fn shown_os(name: impl AsRef<std::ffi::OsStr>) -> String {
    shown(name.as_ref().as_encoded_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{for_shell, plain, shown};

    #[test]
    fn plain_names_stay_and_control_characters_do_not() {
        assert_eq!(shown(b"a b\\c"), "a b\\c");
        assert_eq!(shown("日本/é".as_bytes()), "日本/é");
        assert_eq!(shown(b"\x1b[31m\\x\n"), "\\033[31m\\\\x\\n");
        assert_eq!(shown(b"\xff\xfe"), "\\377\\376");
        assert_eq!(shown("\u{9b}".as_bytes()), "\\302\\233");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\342\\200\\256b");
    }

    #[test]
    fn words_for_a_shell() {
        // As stat -c %N of coreutils 9.1 writes them.
        let as_stat: [(&[u8], &str); 12] = [
            (b"a b$\"", "'a b$\"'"),
            (b"it's", "\"it's\""),
            (b"it's $x", "'it'\\''s $x'"),
            (b"it's;|&", "'it'\\''s;|&'"),
            ("\u{e9}'s".as_bytes(), "\"\u{e9}'s\""),
            (b"\x01\x02", "''$'\\001\\002'"),
            (b"\x01a", "''$'\\001''a'"),
            (b"\x011", "''$'\\001''1'"),
            (b"a\nb\nc", "'a'$'\\n''b'$'\\n''c'"),
            (b"a\x07\tb", "'a'$'\\a\\t''b'"),
            (b"bad\xff\xfe", "'bad'$'\\377\\376'"),
            ("\u{9b}1".as_bytes(), "''$'\\302\\233''1'"),
        ];
        for (name, word) in as_stat {
            assert_eq!(String::from_utf8(for_shell(name)).unwrap(), word);
        }
        // It writes this one with '' before it.
        assert_eq!(for_shell(b"it's\x01"), b"'it'\\''s'$'\\001'");
    }

    #[test]
    fn messages_keep_their_lines_and_backslashes() {
        assert_eq!(plain("a\\b:\n\té"), "a\\b:\n\té");
        assert_eq!(
            plain("\x1b]0;x\x07 \\ \u{9b}"),
            "\\033]0;x\\007 \\ \\302\\233"
        );
    }
}
