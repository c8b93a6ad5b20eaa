//! Names for people: on a terminal and in messages, control characters do not reach the screen.

use std::{borrow::Cow, fmt::Write as _};

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
fn unsafe_on_terminal(c: char) -> bool {
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

/// A path of the image or the host, for a message.
pub(crate) fn shown_os(name: impl AsRef<std::ffi::OsStr>) -> String {
    shown(name.as_ref().as_encoded_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{plain, shown};

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
    fn messages_keep_their_lines_and_backslashes() {
        assert_eq!(plain("a\\b:\n\té"), "a\\b:\n\té");
        assert_eq!(
            plain("\x1b]0;x\x07 \\ \u{9b}"),
            "\\033]0;x\\007 \\ \\302\\233"
        );
    }
}
