//! `-printf` and `-ls`.

use crate::{
    commands::stat::unescape,
    mode::{mode_string, type_letter},
    time::{Civil, ls_default},
    walk::Entry,
};
use rumpkern::{FileType, Stat};
use rumpuser::Timespec;
use std::borrow::Cow;

/// A format, taken apart.
#[derive(Debug)]
pub(super) struct Format(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(Vec<u8>),
    Field {
        letter: [u8; 2],
        left: bool,
        width: usize,
    },
}

/// What is printed; the names as the output wants them.
pub(super) struct Subject<'a> {
    pub(super) path: Cow<'a, [u8]>,
    pub(super) base: Cow<'a, [u8]>,
    /// The path below the base.
    pub(super) below: Cow<'a, [u8]>,
    pub(super) name: Cow<'a, [u8]>,
    /// Empty if it is no symbolic link.
    pub(super) target: Cow<'a, [u8]>,
    pub(super) entry: &'a Entry,
}

impl Format {
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let (mut pieces, mut plain, mut at) = (Vec::new(), Vec::new(), 0);
        while let Some(&byte) = text.get(at) {
            at += 1;
            match byte {
                b'\\' => unescape(text, &mut at, &mut plain),
                b'%' if text.get(at) == Some(&b'%') => {
                    plain.push(b'%');
                    at += 1;
                }
                b'%' => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(field(text, &mut at)?);
                }
                _ => plain.push(byte),
            }
        }
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    pub(super) fn text(&self, subject: &Subject<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Field {
                    letter,
                    left,
                    width,
                } => {
                    let text = value(subject, *letter);
                    let padding = std::iter::repeat_n(b' ', width.saturating_sub(text.len()));
                    if *left {
                        out.extend_from_slice(&text);
                        out.extend(padding);
                    } else {
                        out.extend(padding);
                        out.extend_from_slice(&text);
                    }
                }
            }
        }
        out
    }
}

fn field(text: &[u8], at: &mut usize) -> Result<Piece, String> {
    let left = text.get(*at) == Some(&b'-');
    *at += usize::from(left);
    let mut width = 0_usize;
    while let Some(digit) = text.get(*at).filter(|c| c.is_ascii_digit()) {
        width = (width * 10 + usize::from(digit - b'0')).min(4096);
        *at += 1;
    }
    let first = text.get(*at).copied().unwrap_or(0);
    *at += 1;
    let letter = match first {
        b'A' | b'C' | b'T' | b'B' => {
            let second = text.get(*at).copied().unwrap_or(0);
            *at += 1;
            if !b"@YmdHMSTFz+".contains(&second) {
                return Err(format!(
                    "find: -printf: unsupported %{}{}",
                    char::from(first),
                    char::from(second)
                ));
            }
            [first, second]
        }
        _ if b"pfPhHlmMyYdsbkinuUgGatcD".contains(&first) => [first, 0],
        _ => {
            return Err(format!("find: -printf: unsupported %{}", char::from(first)));
        }
    };
    Ok(Piece::Field {
        letter,
        left,
        width,
    })
}

fn value(subject: &Subject<'_>, letter: [u8; 2]) -> Vec<u8> {
    let stat = &subject.entry.stat;
    let text = match letter[0] {
        b'p' => return subject.path.to_vec(),
        b'f' => return subject.name.to_vec(),
        b'P' => return subject.below.to_vec(),
        b'H' => return subject.base.to_vec(),
        b'h' => {
            let end = subject.path.iter().rposition(|&c| c == b'/');
            return subject.path[..end.unwrap_or(0)].to_vec();
        }
        b'l' => return subject.target.to_vec(),
        b'm' => format!("{:o}", stat.mode),
        b'M' => mode_string(stat.file_type, stat.mode),
        b'y' | b'Y' => match stat.file_type {
            FileType::Regular => "f".into(),
            other => type_letter(other).to_string(),
        },
        b'd' => subject.entry.depth.to_string(),
        b's' => stat.size.to_string(),
        b'b' => stat.blocks.to_string(),
        b'k' => stat.blocks.div_ceil(2).to_string(),
        b'i' => stat.ino.to_string(),
        b'n' => stat.nlink.to_string(),
        b'u' | b'U' => stat.uid.to_string(),
        b'g' | b'G' => stat.gid.to_string(),
        b'D' => stat.dev.to_string(),
        b'a' => time(stat.atime, b'+'),
        b't' => time(stat.mtime, b'+'),
        b'c' => time(stat.ctime, b'+'),
        b'A' => time(stat.atime, letter[1]),
        b'T' => time(stat.mtime, letter[1]),
        b'C' => time(stat.ctime, letter[1]),
        _ => stat
            .birthtime
            .map_or_else(String::new, |t| time(t, letter[1])),
    };
    text.into_bytes()
}

fn time(time: Timespec, letter: u8) -> String {
    let t = Civil::local(time);
    match letter {
        b'@' => format!("{}.{:09}0", time.sec, time.nsec),
        b'Y' => t.year.to_string(),
        b'm' => format!("{:02}", t.month),
        b'd' => format!("{:02}", t.day),
        b'H' => format!("{:02}", t.hour),
        b'M' => format!("{:02}", t.minute),
        b'S' => format!("{:02}.{:09}0", t.second, t.nanosecond),
        b'T' => format!(
            "{:02}:{:02}:{:02}.{:09}0",
            t.hour, t.minute, t.second, t.nanosecond
        ),
        b'F' => t.date().to_string(),
        b'z' => t.zone(),
        _ => format!(
            "{}+{:02}:{:02}:{:02}.{:09}0",
            t.date(),
            t.hour,
            t.minute,
            t.second,
            t.nanosecond
        ),
    }
}

/// A line of `-ls` up to the name.
pub(super) fn list_line(stat: &Stat, now: Timespec) -> Vec<u8> {
    let size = match stat.file_type {
        FileType::Block | FileType::Character => {
            format!("{:>3}, {:>3}", stat.rdev.major, stat.rdev.minor)
        }
        _ => stat.size.to_string(),
    };
    format!(
        "{:>9} {:>6} {} {:>3} {:<8} {:<8} {size:>8} {} ",
        stat.ino,
        stat.blocks.div_ceil(2),
        mode_string(stat.file_type, stat.mode),
        stat.nlink,
        stat.uid,
        stat.gid,
        ls_default(stat.mtime, now),
    )
    .into_bytes()
}

/// A name of `-ls`, as find(1) of GNU writes it everywhere: only plain graphic characters as they are.
pub(super) fn list_name(name: &[u8], line: &mut Vec<u8>) {
    for &byte in name {
        let letter = match byte {
            b'\n' => b'n',
            b'\t' => b't',
            b'\r' => b'r',
            0x08 => b'b',
            0x0c => b'f',
            b' ' | b'"' | b'\\' => byte,
            _ if byte.is_ascii_graphic() => {
                line.push(byte);
                continue;
            }
            _ => {
                line.extend(format!("\\{byte:03o}").bytes());
                continue;
            }
        };
        line.extend([b'\\', letter]);
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, list_name};

    #[test]
    fn names_of_lists() {
        // As find(1) of findutils 4.9 writes them.
        let names: [(&[u8], &str); 5] = [
            (b"a\nb\x08\x0c\r\t\x0b", "a\\nb\\b\\f\\r\\t\\013"),
            (b"sp ace", "sp\\ ace"),
            (b"q\"x'\\", "q\\\"x'\\\\"),
            (b"\x1b\x07\xff", "\\033\\007\\377"),
            ("\u{e9}~".as_bytes(), "\\303\\251~"),
        ];
        for (name, written) in names {
            let mut line = Vec::new();
            list_name(name, &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), written);
        }
    }

    #[test]
    fn what_is_known() {
        for good in ["%p\\n", "%-10s|%5d %T@ %TY-%Tm %%", "\\101"] {
            assert!(Format::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["%", "%q", "%T", "%Tq"] {
            assert!(Format::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
