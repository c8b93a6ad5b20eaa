//! The words of a line: split at spaces, quoted as in sh(1), and quoted again for a name that is completed.

use crate::{glob, quote::unsafe_on_terminal};

/// A word of a line: bytes, and whether each was quoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(Vec<(u8, bool)>);

impl Word {
    /// Without what quoted it.
    pub(crate) fn text(&self) -> Vec<u8> {
        self.0.iter().map(|(byte, _)| *byte).collect()
    }

    /// Whether it is to be expanded.
    pub(super) fn is_pattern(&self) -> bool {
        let live = self.0.iter().filter(|(_, quoted)| !quoted);
        glob::is_pattern(&live.map(|(byte, _)| *byte).collect::<Vec<_>>())
    }

    /// As a pattern, in which what was quoted stands for itself.
    pub(super) fn pattern(&self) -> Vec<u8> {
        let mut pattern = Vec::new();
        for &(byte, quoted) in &self.0 {
            if (quoted || byte == b'\\') && matches!(byte, b'*' | b'?' | b'[' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern
    }
}

/// What a text is quoted with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Quote {
    /// Backslashes alone.
    #[default]
    None,
    /// `'`
    Single,
    /// `"`
    Double,
    /// `$'`, in which there are escapes as in C.
    Dollar,
}

/// A line up to some place in it.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// The words that have ended.
    pub(crate) words: Vec<Word>,
    /// The one that goes on.
    pub(crate) open: Option<Open>,
    /// The end is in a comment.
    pub(crate) in_comment: bool,
}

/// A word that goes on.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Where in the line it begins.
    pub(crate) start: usize,
    pub(crate) word: Word,
    pub(crate) quote: Quote,
    /// The line ends with a backslash that quotes what would come.
    pub(crate) escapes: bool,
}

/// Splits a line into words. A `#` at the start of a word begins a comment.
///
/// # Errors
/// A quote is not closed, or nothing follows a backslash.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Word>, &'static str> {
    let Parsed {
        mut words, open, ..
    } = parse(line);
    match open {
        Some(open) if open.escapes => return Err("nothing after \\"),
        Some(open) if open.quote != Quote::None => return Err("a quote is not closed"),
        open => words.extend(open.map(|open| open.word)),
    }
    Ok(words)
}

/// Reads a line as far as it goes.
pub(crate) fn parse(line: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut open: Option<Open> = None;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let start = at;
        at += 1;
        let quote = open.as_ref().map_or(Quote::None, |open| open.quote);
        let is_first = open.is_none();
        let begin = || Open {
            start,
            ..Open::default()
        };
        match (quote, byte) {
            (Quote::None, b' ' | b'\t') => parsed.words.extend(open.take().map(|open| open.word)),
            (Quote::None, b'#') if is_first => {
                parsed.in_comment = true;
                break;
            }
            (Quote::None, b'\'') => open.get_or_insert_with(begin).quote = Quote::Single,
            (Quote::None, b'"') => open.get_or_insert_with(begin).quote = Quote::Double,
            (Quote::None, b'$') if line.get(at) == Some(&b'\'') => {
                at += 1;
                open.get_or_insert_with(begin).quote = Quote::Dollar;
            }
            (Quote::Single | Quote::Dollar, b'\'') | (Quote::Double, b'"') => {
                open.get_or_insert_with(begin).quote = Quote::None;
            }
            (Quote::Dollar, b'\\') => {
                let open = open.get_or_insert_with(begin);
                match escape(&line[at..]) {
                    Some((byte, used)) => {
                        open.word.0.push((byte, true));
                        at += used;
                    }
                    None => open.escapes = true,
                }
            }
            (Quote::None | Quote::Double, b'\\') => {
                let open = open.get_or_insert_with(begin);
                let Some(&next) = line.get(at) else {
                    open.escapes = true;
                    break;
                };
                at += 1;
                // As in sh(1): between " it is itself, but before what it is needed for there.
                if quote == Quote::Double && !matches!(next, b'"' | b'\\') {
                    open.word.0.push((byte, true));
                }
                open.word.0.push((next, true));
            }
            _ => {
                let word = &mut open.get_or_insert_with(begin).word;
                word.0.push((byte, quote != Quote::None));
            }
        }
    }
    parsed.open = open;
    parsed
}

/// What an escape between `$'` and `'` stands for, from after its backslash on, and its length.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let byte = *text.first()?;
    let plain = match byte {
        b'a' => 0x07,
        b'b' => 0x08,
        b'e' | b'E' => 0x1b,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'0'..=b'7' => {
            let digits = text.iter().take(3).take_while(|c| matches!(c, b'0'..=b'7'));
            let value = digits
                .clone()
                .fold(0_u32, |sum, c| sum * 8 + u32::from(c - b'0'));
            // As in other shells, what is larger than a byte loses the rest.
            return Some((value.to_le_bytes()[0], digits.count()));
        }
        other => other,
    };
    Some((plain, 1))
}

/// Writes a text so that it is read as a word, or as the start of one: what quotes it is closed only with `is_whole`.
pub(super) fn quote(text: &[u8], quote: Quote, is_whole: bool) -> Vec<u8> {
    let is_plain = std::str::from_utf8(text).is_ok_and(|text| !text.contains(unsafe_on_terminal));
    let quote = if is_plain { quote } else { Quote::Dollar };
    let mut out: Vec<u8> = match quote {
        Quote::None => vec![],
        Quote::Single => b"'".into(),
        Quote::Double => b"\"".into(),
        Quote::Dollar => b"$'".into(),
    };
    for unit in text.utf8_chunks() {
        for c in unit.valid().chars() {
            let bytes = &mut [0; 4];
            let bytes = c.encode_utf8(bytes).as_bytes();
            match (quote, c) {
                (Quote::Dollar, c) if unsafe_on_terminal(c) => {
                    bytes.iter().for_each(|b| octal(&mut out, *b))
                }
                (Quote::Single, '\'') => out.extend(b"'\\''"),
                (Quote::Double, '"' | '\\') | (Quote::Dollar, '\'' | '\\') => {
                    out.push(b'\\');
                    out.extend(bytes);
                }
                (Quote::None, c) if is_special(c) => {
                    out.push(b'\\');
                    out.extend(bytes);
                }
                _ => out.extend(bytes),
            }
        }
        unit.invalid()
            .iter()
            .for_each(|byte| octal(&mut out, *byte));
    }
    match quote {
        Quote::None => {}
        Quote::Double if is_whole => out.push(b'"'),
        _ if is_whole => out.push(b'\''),
        _ => {}
    }
    out
}

/// Appends the escape of a byte.
pub(crate) fn octal(out: &mut Vec<u8>, byte: u8) {
    out.extend(format!("\\{byte:03o}").bytes());
}

/// Whether a character means something at the prompt.
fn is_special(c: char) -> bool {
    matches!(
        c,
        ' ' | '\'' | '"' | '\\' | '*' | '?' | '[' | ']' | '#' | '$'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, &'static str> {
        let words = split(line.as_bytes())?;
        Ok(words
            .iter()
            .map(|word| String::from_utf8(word.text()).unwrap())
            .collect())
    }

    #[test]
    fn lines() {
        let good: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("  ls   -l ", &["ls", "-l"]),
            ("cat 'a b' \"c d\"e", &["cat", "a b", "c de"]),
            ("x a\\ b \\'", &["x", "a b", "'"]),
            ("x '' \"\"", &["x", "", ""]),
            ("# all", &[]),
            ("ls a#b # c", &["ls", "a#b"]),
            ("x 'a\\b' \"a\\\"b\"", &["x", "a\\b", "a\"b"]),
            ("x \"a\\b\\\\\" a\\ ", &["x", "a\\b\\", "a "]),
            ("x $'a\\n\\101\\'\\\\' $y", &["x", "a\nA'\\", "$y"]),
            ("x a$'\\303\\251'\"$'b\"", &["x", "aé$'b"]),
            ("x \\$'a b'", &["x", "$a b"]),
        ];
        for (line, expected) in good {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for line in ["a 'b", "a \\", "a $'b", "a $'b\\'", "a $'\\", "\"a"] {
            assert!(words(line).is_err(), "{line}");
        }
    }

    #[test]
    fn quoted_patterns_are_none() {
        let word = |line: &str| split(line.as_bytes()).unwrap().remove(0);
        assert!(word("a*").is_pattern());
        for line in ["'a*'", "a\\*", "$'a*'"] {
            assert!(!word(line).is_pattern());
        }
        assert_eq!(word("'*'*").pattern(), b"\\**");
    }

    #[test]
    fn a_text_that_is_quoted_is_read_as_itself() {
        let texts: [&[u8]; 10] = [
            b"plain",
            b"a b\tc",
            b"it's \"so\"",
            b"\\ * ? [x] #y $'z",
            b"\x1b]0;x\x07\n\r",
            b"\xff\xfe'",
            "日本\u{85}".as_bytes(),
            "a\u{202e}b".as_bytes(),
            b"\x011",
            b"",
        ];
        for text in texts {
            for kind in [Quote::None, Quote::Single, Quote::Double, Quote::Dollar] {
                let line = quote(text, kind, true);
                assert!(line.is_ascii() || std::str::from_utf8(&line).is_ok());
                let shown = String::from_utf8_lossy(&line);
                assert!(!shown.contains(unsafe_on_terminal), "{line:?}");
                let read = split(&line).unwrap();
                let read: Vec<_> = read.iter().map(Word::text).collect();
                let expected: &[&[u8]] = if line.is_empty() { &[] } else { &[text] };
                assert_eq!(read, expected, "{line:?}");
                assert!(
                    !read
                        .iter()
                        .zip(split(&line).unwrap())
                        .any(|(_, word)| word.is_pattern())
                );
                // And what is begun goes on.
                let begun = [&quote(text, kind, false)[..], b"x"].concat();
                let open = parse(&begun).open.unwrap();
                assert_eq!(open.word.text(), [text, b"x"].concat(), "{begun:?}");
            }
        }
    }
}
