//! `rump stat`.

use crate::{
    json::{self, Array},
    mode::{mode_string, type_text},
    output::Out,
    report::{Failure, Outcome},
    session::{Image, Session},
    time::Civil,
};
use clap::Args;
use rumpkern::{FileType, Stat as Attributes};
use rumpuser::Timespec;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::{
    ffi::OsString,
    io::Write,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Show everything about files of images
#[derive(Args, Debug)]
pub(crate) struct Stat {
    /// Text with %-sequences, and a newline after it: as stat(1) of the GNU tools: %a %A %b %B %d %D %f %F %g %h %i %m %n %N %o %r %R
    /// %s %t %T %u %U %G %w %W %x %X %y %Y %z %Z
    #[arg(short = 'c', long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<OsString>,
    /// The same without the newline, and with \n, \t, \0, \\, \ooo
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["json", "format"])]
    printf: Option<OsString>,
    /// What symbolic links point to
    #[arg(short = 'L', long)]
    dereference: bool,
    /// A JSON array of entries
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// What to look at
    #[arg(required = true, value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

impl Stat {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let format = self.compile()?;
        let mut out = Out::new();
        let mut objects = Vec::new();
        for operand in &self.operands {
            let address = session.address(operand)?;
            let subject = session
                .open(&address)
                .and_then(|image| self.look(&image, &address.prefix, &address.path));
            let Some(subject) = session.report.step(subject)? else {
                continue;
            };
            if self.json {
                let name = address.path.rsplit(|&c| c == b'/').next().unwrap_or(b"");
                let target = subject.target.as_deref();
                objects.push(json::entry(&address.path, name, &subject.stat, target));
            } else if let Some(format) = &format {
                let mut text = Vec::new();
                format.write(&subject, &mut text)?;
                out.write_all(&text)?;
            } else {
                subject.describe(&mut out)?;
            }
        }
        if self.json {
            let mut array = Array::new(&mut out)?;
            for object in &objects {
                array.push(object)?;
            }
            array.end()?;
        }
        out.flush()?;
        Ok(())
    }

    fn compile(&self) -> Outcome<Option<Format>> {
        let (text, escapes) = match (&self.format, &self.printf) {
            (Some(text), _) => (text, false),
            (None, Some(text)) => (text, true),
            (None, None) => return Ok(None),
        };
        let mut format = Format::parse(text.as_bytes(), escapes).map_err(Failure::Usage)?;
        if !escapes {
            format.0.push(Piece::Text(b"\n".to_vec()));
        }
        Ok(Some(format))
    }

    fn look(&self, image: &Image, prefix: &[u8], path: &[u8]) -> Outcome<Subject> {
        let follow = if self.dereference {
            Follow::Yes
        } else {
            Follow::No
        };
        let fail = |errno| image.failure(path, errno);
        let stat = image.proc.fstatat(At::Cwd, path, follow).map_err(fail)?;
        let target = match stat.file_type {
            FileType::Symlink => Some(image.proc.readlinkat(At::Cwd, path).map_err(fail)?),
            _ => None,
        };
        Ok(Subject {
            name: [prefix, path].concat(),
            image: image.name.clone(),
            stat,
            target,
        })
    }
}

/// What is shown.
struct Subject {
    name: Vec<u8>,
    image: String,
    stat: Attributes,
    target: Option<Vec<u8>>,
}

impl Subject {
    /// The form of stat(1).
    fn describe(&self, out: &mut Out) -> Outcome<()> {
        let stat = &self.stat;
        let name = out.name(&self.name).into_owned();
        out.write_all(b"  File: ")?;
        out.write_all(&name)?;
        if let Some(target) = &self.target {
            let target = out.name(target).into_owned();
            out.write_all(b" -> ")?;
            out.write_all(&target)?;
        }
        writeln!(
            out,
            "\n  Size: {:<15} Blocks: {:<10} IO Block: {:<6} {}",
            stat.size,
            stat.blocks,
            stat.blksize,
            kind_text(stat)
        )?;
        write!(out, " Inode: {:<15} Links: {}", stat.ino, stat.nlink)?;
        if is_device(stat) {
            write!(
                out,
                "  Device type: {},{}",
                stat.rdev.major, stat.rdev.minor
            )?;
        }
        writeln!(
            out,
            "\nAccess: ({:04o}/{})  Uid: {:>5}   Gid: {:>5}",
            stat.mode,
            mode_string(stat.file_type, stat.mode),
            stat.uid,
            stat.gid
        )?;
        for (label, time) in [
            ("Access", Some(stat.atime)),
            ("Modify", Some(stat.mtime)),
            ("Change", Some(stat.ctime)),
            (" Birth", stat.birthtime),
        ] {
            writeln!(out, "{label}: {}", shown_time(time))?;
        }
        Ok(())
    }
}

fn is_device(stat: &Attributes) -> bool {
    matches!(stat.file_type, FileType::Block | FileType::Character)
}

fn kind_text(stat: &Attributes) -> &'static str {
    if stat.file_type == FileType::Regular && stat.size == 0 {
        "regular empty file"
    } else {
        type_text(stat.file_type)
    }
}

fn shown_time(time: Option<Timespec>) -> String {
    time.map_or_else(|| "-".into(), |time| Civil::local(time).full())
}

/// A format, taken apart.
struct Format(Vec<Piece>);

enum Piece {
    Text(Vec<u8>),
    Field {
        letter: u8,
        left: bool,
        zero: bool,
        alternate: bool,
        width: usize,
        precision: Option<usize>,
    },
}

impl Format {
    fn parse(text: &[u8], escapes: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            at += 1;
            match byte {
                b'%' if text.get(at) == Some(&b'%') => {
                    plain.push(b'%');
                    at += 1;
                }
                b'%' => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(parse_field(text, &mut at)?);
                }
                b'\\' if escapes => unescape(text, &mut at, &mut plain),
                _ => plain.push(byte),
            }
        }
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    fn write(&self, subject: &Subject, out: &mut Vec<u8>) -> Outcome<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                &Piece::Field {
                    letter,
                    left,
                    zero,
                    alternate,
                    width,
                    precision,
                } => {
                    let text = field(subject, letter, alternate, precision);
                    let missing = width.saturating_sub(text.len());
                    let fill = if zero && !left { b'0' } else { b' ' };
                    let padding = std::iter::repeat_n(fill, missing);
                    if left {
                        out.extend_from_slice(&text);
                        out.extend(padding);
                    } else {
                        out.extend(padding);
                        out.extend_from_slice(&text);
                    }
                }
            }
        }
        Ok(())
    }
}

fn parse_field(text: &[u8], at: &mut usize) -> Result<Piece, String> {
    /// Wider fields are a mistake.
    const WIDEST: usize = 4096;
    let start = *at;
    let (mut left, mut zero, mut alternate) = (false, false, false);
    while let Some(flag) = text.get(*at) {
        match flag {
            b'-' => left = true,
            b'0' => zero = true,
            b'#' => alternate = true,
            b' ' | b'+' | b'\'' => {}
            _ => break,
        }
        *at += 1;
    }
    let number = |at: &mut usize| {
        let mut number = 0_usize;
        while let Some(digit) = text.get(*at).filter(|c| c.is_ascii_digit()) {
            number = (number * 10 + usize::from(digit - b'0')).min(WIDEST);
            *at += 1;
        }
        number
    };
    let width = number(at);
    let mut precision = None;
    if text.get(*at) == Some(&b'.') {
        *at += 1;
        precision = Some(number(at));
    }
    // %Hr, %Lr: major and minor alone.
    let letter = match text.get(*at) {
        Some(half @ (b'H' | b'L')) if text.get(*at + 1) == Some(&b'r') => {
            *at += 1;
            half
        }
        Some(letter) => letter,
        None => &0,
    };
    if !b"aAbBdDfFgGhiHLmnNorRstTuUwWxXyYzZ".contains(letter) {
        let shown = String::from_utf8_lossy(&text[start..(*at + 1).min(text.len())]);
        return Err(format!("stat: unknown field '%{shown}'"));
    }
    *at += 1;
    Ok(Piece::Field {
        letter: *letter,
        left,
        zero,
        alternate,
        width,
        precision,
    })
}

/// Reads what follows a backslash.
pub(crate) fn unescape(text: &[u8], at: &mut usize, out: &mut Vec<u8>) {
    let Some(&byte) = text.get(*at) else {
        out.push(b'\\');
        return;
    };
    *at += 1;
    match byte {
        b'n' => out.push(b'\n'),
        b't' => out.push(b'\t'),
        b'r' => out.push(b'\r'),
        b'a' => out.push(7),
        b'b' => out.push(8),
        b'e' => out.push(27),
        b'f' => out.push(12),
        b'v' => out.push(11),
        b'0'..=b'7' => {
            let mut number = u32::from(byte - b'0');
            for _ in 0..2 {
                let Some(&digit @ b'0'..=b'7') = text.get(*at) else {
                    break;
                };
                number = number * 8 + u32::from(digit - b'0');
                *at += 1;
            }
            out.push((number & 0xff) as u8);
        }
        b'\\' => out.push(b'\\'),
        other => out.extend([b'\\', other]),
    }
}

fn field(subject: &Subject, letter: u8, alternate: bool, precision: Option<usize>) -> Vec<u8> {
    let stat = &subject.stat;
    let seconds = |time: Timespec| match precision {
        None => time.sec.to_string(),
        Some(0) => format!("{}.{:09}", time.sec, time.nsec),
        Some(digits) => {
            let nanoseconds = format!("{:09}", time.nsec);
            format!("{}.{:0<digits$.digits$}", time.sec, nanoseconds)
        }
    };
    let rdev = u64::from(stat.rdev.major) << 32 | u64::from(stat.rdev.minor);
    let text = match letter {
        b'a' if alternate => format!("0{:o}", stat.mode),
        b'a' => format!("{:o}", stat.mode),
        b'A' => mode_string(stat.file_type, stat.mode),
        b'b' => stat.blocks.to_string(),
        b'B' => "512".into(),
        b'd' => stat.dev.to_string(),
        b'D' => format!("{:x}", stat.dev),
        b'f' => format!("{:x}", stat.file_type.mode_bits() | stat.mode),
        b'F' => kind_text(stat).into(),
        b'g' | b'G' => stat.gid.to_string(),
        b'h' => stat.nlink.to_string(),
        b'i' => stat.ino.to_string(),
        b'm' => format!("{}:/", subject.image),
        b'n' => return subject.name.clone(),
        b'N' => return quoted(subject),
        b'o' => stat.blksize.to_string(),
        b'r' => rdev.to_string(),
        b'R' => format!("{rdev:x}"),
        b'H' => stat.rdev.major.to_string(),
        b'L' => stat.rdev.minor.to_string(),
        b's' => stat.size.to_string(),
        b't' => format!("{:x}", stat.rdev.major),
        b'T' => format!("{:x}", stat.rdev.minor),
        b'u' | b'U' => stat.uid.to_string(),
        b'w' => shown_time(stat.birthtime),
        b'W' => seconds(stat.birthtime.unwrap_or_default()),
        b'x' => shown_time(Some(stat.atime)),
        b'X' => seconds(stat.atime),
        b'y' => shown_time(Some(stat.mtime)),
        b'Y' => seconds(stat.mtime),
        b'z' => shown_time(Some(stat.ctime)),
        _ => seconds(stat.ctime),
    };
    text.into_bytes()
}

/// `'name' -> 'target'`.
fn quoted(subject: &Subject) -> Vec<u8> {
    let quote = |name: &[u8]| [b"'", name, b"'"].concat();
    let mut text = quote(&subject.name);
    if let Some(target) = &subject.target {
        text.extend_from_slice(b" -> ");
        text.extend(quote(target));
    }
    OsString::from_vec(text).into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str, escapes: bool) -> String {
        let subject = Subject {
            name: b"d.img:/f".to_vec(),
            image: "d.img".into(),
            target: None,
            stat: Attributes {
                dev: 1,
                ino: 12,
                generation: 0,
                file_type: FileType::Regular,
                mode: 0o4755,
                nlink: 2,
                uid: 1000,
                gid: 100,
                rdev: rumpkern::types::DeviceNumber::default(),
                size: 5,
                blksize: 4096,
                blocks: 8,
                atime: Timespec { sec: 1, nsec: 5 },
                mtime: Timespec::from_secs(-1),
                ctime: Timespec::from_secs(3),
                birthtime: None,
                flags: 0,
            },
        };
        let mut out = Vec::new();
        let format = Format::parse(format.as_bytes(), escapes).unwrap();
        format.write(&subject, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats() {
        assert_eq!(shown("%n %s %a %A", false), "d.img:/f 5 4755 -rwsr-xr-x");
        assert_eq!(shown("%f %F %h%%", false), "89ed regular file 2%");
        assert_eq!(
            shown("%X %.9X %.3X %Y %w", false),
            "1 1.000000005 1.000 -1 -"
        );
        assert_eq!(shown("[%5s][%-5s][%05s]", false), "[    5][5    ][00005]");
        assert_eq!(shown("a\\n%i\\101\\q", true), "a\n12A\\q");
        assert_eq!(shown("a\\n", false), "a\\n");
        assert!(Format::parse(b"%q", false).is_err());
        assert!(Format::parse(b"%", false).is_err());
    }
}
