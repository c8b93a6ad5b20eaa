//! Names in a specification: everything but plain graphic characters as `\ooo`.

use crate::glob;

/// Escapes a name: control and non-ASCII bytes, space, and what has a meaning in specifications or patterns.
pub(crate) fn escape(name: &[u8], out: &mut Vec<u8>) {
    for &byte in name {
        if byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'*' | b'=' | b'?' | b'[') {
            out.push(byte);
        } else {
            let digit = |shift: u8| b'0' + (byte >> shift & 7);
            out.extend([b'\\', digit(6), digit(3), digit(0)]);
        }
    }
}

/// Undoes it, and the other escapes of vis(3) in C style. `None` if there is an escape that is none.
pub(crate) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    read(text, |byte, _| out.push(byte))?;
    Some(out)
}

/// The same of a pattern, in which what was escaped stands for itself; `None` also if it is none.
pub(crate) fn unescape_pattern(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut is_pattern = false;
    read(text, |byte, escaped| {
        if escaped {
            out.push(b'\\');
        }
        is_pattern |= !escaped && glob::is_pattern(&[byte]);
        out.push(byte);
    })?;
    is_pattern.then_some(out)
}

/// Gives each byte that is meant, and whether it is escaped.
fn read(text: &[u8], mut put: impl FnMut(u8, bool)) -> Option<()> {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            put(byte, false);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        let meant = match kind {
            b'0'..=b'3' if after.len() >= 2 && octal(after[0]) && octal(after[1]) => {
                rest = &after[2..];
                (kind - b'0') << 6 | (after[0] - b'0') << 3 | (after[1] - b'0')
            }
            b'0' => 0,
            b'a' => 7,
            b'b' => 8,
            b't' => 9,
            b'n' => 10,
            b'v' => 11,
            b'f' => 12,
            b'r' => 13,
            b's' => b' ',
            b'E' => 27,
            b'\\' | b'#' | b' ' => kind,
            // \M-x, \M^x, \^x: meta and control.
            b'^' => {
                let (&c, after) = rest.split_first()?;
                rest = after;
                control(c)
            }
            b'M' => {
                let (how, c) = match rest {
                    [how @ (b'-' | b'^'), c, after @ ..] => {
                        rest = after;
                        (*how, *c)
                    }
                    _ => return None,
                };
                0x80 | if how == b'^' { control(c) } else { c }
            }
            _ => return None,
        };
        put(meant, true);
    }
    Some(())
}

fn octal(byte: u8) -> bool {
    (b'0'..=b'7').contains(&byte)
}

fn control(c: u8) -> u8 {
    if c == b'?' { 0x7f } else { c & 0x1f }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = Vec::new();
        escape(&all, &mut text);
        assert!(text.iter().all(u8::is_ascii_graphic));
        assert_eq!(unescape(&text), Some(all));
        let mut text = Vec::new();
        escape("a b[é".as_bytes(), &mut text);
        assert_eq!(text, b"a\\040b\\133\\303\\251");
    }

    #[test]
    fn other_forms() {
        let good: [(&[u8], &[u8]); 5] = [
            (b"\\s\\t\\\\", b" \t\\"),
            (b"\\^A\\^?", b"\x01\x7f"),
            (b"\\M-a\\M^A", b"\xe1\x81"),
            (b"\\0", b"\0"),
            (b"plain", b"plain"),
        ];
        for (text, name) in good {
            assert_eq!(unescape(text).as_deref(), Some(name));
        }
        for bad in [&b"\\"[..], b"\\q", b"\\M", b"\\Mx", b"\\^", b"\\777"] {
            assert_eq!(unescape(bad), None, "{bad:?}");
        }
    }
}
