//! `rump stat`.

use crate::{
    json::{self, Array},
    mode::{mode_string, type_text},
    output::Out,
    quote::{for_shell, shown},
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
use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt};

/// Show everything about files of images
#[derive(Args, Debug)]
pub(crate) struct Stat {
    /// Text with %-sequences, and a newline after it: as stat(1) of the GNU tools: %a %A %b %B %d %D %f %F %g %h %i %m %n %N %o %r %R
    /// %Hd %Ld %Hr %Lr %s %t %T %u %U %G %w %W %x %X %y %Y %z %Z
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
            let Some(mut subject) = session.report.step(subject)? else {
                continue;
            };
            if self.json {
                let name = address.path.rsplit(|&c| c == b'/').next().unwrap_or(b"");
                let target = subject.target.as_deref();
                objects.push(json::entry(&address.path, name, &subject.stat, target));
            } else if let Some(format) = &format {
                let mut text = Vec::new();
                subject.terminal = out.terminal;
                format.write(&subject, &mut text);
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
            terminal: false,
        })
    }
}

/// What is shown.
struct Subject {
    name: Vec<u8>,
    image: String,
    stat: Attributes,
    target: Option<Vec<u8>>,
    /// Whether a format is for one.
    terminal: bool,
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

/// What follows a `%`.
#[derive(Clone, Copy)]
struct Field {
    half: Option<Half>,
    letter: u8,
    left: bool,
    zero: bool,
    alternate: bool,
    /// What stands before a number that is not negative.
    sign: Option<char>,
    width: usize,
    precision: Option<Precision>,
}

/// A part of a device number.
#[derive(Clone, Copy)]
enum Half {
    Major,
    Minor,
}

/// What follows a point.
#[derive(Clone, Copy)]
enum Precision {
    /// Nothing: the letter's own, which is nine digits of a second.
    Own,
    Digits(usize),
}

/// A format, taken apart.
struct Format(Vec<Piece>);

enum Piece {
    Text(Vec<u8>),
    Field(Field),
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

    fn write(&self, subject: &Subject, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Field(field) => field.write(subject, out),
            }
        }
    }
}

fn parse_field(text: &[u8], at: &mut usize) -> Result<Piece, String> {
    /// Wider fields are a mistake.
    const WIDEST: usize = 4096;
    let start = *at;
    let (mut left, mut zero, mut alternate, mut sign) = (false, false, false, None);
    while let Some(flag) = text.get(*at) {
        match flag {
            b'-' => left = true,
            b'0' => zero = true,
            b'#' => alternate = true,
            b'+' => sign = Some('+'),
            b' ' => sign = sign.or(Some(' ')),
            b'\'' => {}
            _ => break,
        }
        *at += 1;
    }
    let number = |at: &mut usize| {
        let start = *at;
        let mut number = 0_usize;
        while let Some(digit) = text.get(*at).filter(|c| c.is_ascii_digit()) {
            number = (number * 10 + usize::from(digit - b'0')).min(WIDEST);
            *at += 1;
        }
        (*at > start).then_some(number)
    };
    let width = number(at).unwrap_or(0);
    let mut precision = None;
    if text.get(*at) == Some(&b'.') {
        *at += 1;
        precision = Some(number(at).map_or(Precision::Own, Precision::Digits));
    }
    // %Hd, %Ld, %Hr, %Lr: major and minor alone.
    let half = match (text.get(*at), text.get(*at + 1)) {
        (Some(b'H'), Some(b'd' | b'r')) => Some(Half::Major),
        (Some(b'L'), Some(b'd' | b'r')) => Some(Half::Minor),
        _ => None,
    };
    *at += usize::from(half.is_some());
    let letter = text.get(*at).copied().unwrap_or(0);
    if !b"aAbBdDfFgGhimnNorRstTuUwWxXyYzZ".contains(&letter) {
        let shown = String::from_utf8_lossy(&text[start..(*at + 1).min(text.len())]);
        return Err(format!("stat: unknown field '%{shown}'"));
    }
    *at += 1;
    Ok(Piece::Field(Field {
        half,
        letter,
        left,
        zero,
        alternate,
        sign,
        width,
        precision,
    }))
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

/// What a field shows, as printf(3) would be told.
enum Value {
    Text(Vec<u8>),
    Decimal(u64),
    /// With a sign if that is asked for.
    Size(u64),
    Octal(u32),
    Hexadecimal(u64),
    Seconds(Timespec),
}

impl Field {
    fn write(self, subject: &Subject, out: &mut Vec<u8>) {
        let (prefix, text) = self.parts(subject);
        let missing = self.width.saturating_sub(prefix.len() + text.len());
        let (spaces, zeros) = match self.fills_with_zeros(subject) {
            true => (0, missing),
            false => (missing, 0),
        };
        let spaces = std::iter::repeat_n(b' ', spaces);
        if !self.left {
            out.extend(spaces.clone());
        }
        out.extend_from_slice(prefix.as_bytes());
        out.extend(std::iter::repeat_n(b'0', zeros));
        out.extend_from_slice(&text);
        if self.left {
            out.extend(spaces);
        }
    }

    fn fills_with_zeros(self, subject: &Subject) -> bool {
        let value = self.value(subject);
        let exact = self.precision.is_some() && !matches!(value, Value::Seconds(_));
        self.zero && !self.left && !exact && !matches!(value, Value::Text(_))
    }

    /// What zeros are put behind (a sign, 0x), and the rest.
    fn parts(self, subject: &Subject) -> (String, Vec<u8>) {
        let sign = self.sign.map(String::from).unwrap_or_default();
        let (prefix, digits) = match self.value(subject) {
            Value::Text(text) => return (String::new(), self.cut(text)),
            Value::Seconds(time) => {
                let (minus, text) = seconds(time, self.precision);
                let prefix = if minus { "-".into() } else { sign };
                return (prefix, text.into_bytes());
            }
            Value::Decimal(number) => (String::new(), number.to_string()),
            Value::Size(number) => (sign, number.to_string()),
            Value::Octal(number) => (String::new(), format!("{number:o}")),
            Value::Hexadecimal(number) if self.alternate && number != 0 => {
                ("0x".into(), format!("{number:x}"))
            }
            Value::Hexadecimal(number) => (String::new(), format!("{number:x}")),
        };
        let mut digits = match self.precision {
            Some(Precision::Own | Precision::Digits(0)) if digits == "0" => String::new(),
            Some(Precision::Digits(least)) => format!("{digits:0>least$}"),
            _ => digits,
        };
        let is_octal = matches!(self.value(subject), Value::Octal(_));
        if is_octal && self.alternate && !digits.starts_with('0') {
            digits.insert(0, '0');
        }
        (prefix, digits.into_bytes())
    }

    fn cut(self, mut text: Vec<u8>) -> Vec<u8> {
        match self.precision {
            Some(Precision::Digits(most)) => text.truncate(most),
            Some(Precision::Own) => text.clear(),
            None => {}
        }
        text
    }

    fn value(self, subject: &Subject) -> Value {
        use Value::{Decimal, Hexadecimal, Octal, Seconds, Size, Text};
        let stat = &subject.stat;
        let text = |text: &str| Text(text.into());
        let time = |time: Option<Timespec>| text(&shown_time(time));
        let rdev = u64::from(stat.rdev.major) << 32 | u64::from(stat.rdev.minor);
        let number = if self.letter == b'd' { stat.dev } else { rdev };
        match self.half {
            Some(Half::Major) => return Decimal(number >> 32),
            Some(Half::Minor) => return Decimal(number & u64::from(u32::MAX)),
            None => {}
        }
        match self.letter {
            b'a' => Octal(stat.mode),
            b'A' => text(&mode_string(stat.file_type, stat.mode)),
            b'b' => Decimal(stat.blocks),
            b'B' => Decimal(512),
            b'd' => Decimal(stat.dev),
            b'D' => Hexadecimal(stat.dev),
            b'f' => Hexadecimal((stat.file_type.mode_bits() | stat.mode).into()),
            b'F' => text(kind_text(stat)),
            b'g' | b'G' => Decimal(stat.gid.into()),
            b'h' => Decimal(stat.nlink),
            b'i' => Decimal(stat.ino),
            b'm' => text(&format!("{}:/", subject.image)),
            b'n' if subject.terminal => text(&shown(&subject.name)),
            b'n' => Text(subject.name.clone()),
            b'N' => Text(quoted(subject)),
            b'o' => Decimal(stat.blksize.into()),
            b'r' => Decimal(rdev),
            b'R' => Hexadecimal(rdev),
            b's' => Size(stat.size),
            b't' => Hexadecimal(stat.rdev.major.into()),
            b'T' => Hexadecimal(stat.rdev.minor.into()),
            b'u' | b'U' => Decimal(stat.uid.into()),
            b'w' => time(stat.birthtime),
            b'W' => Seconds(stat.birthtime.unwrap_or_default()),
            b'x' => time(Some(stat.atime)),
            b'X' => Seconds(stat.atime),
            b'y' => time(Some(stat.mtime)),
            b'Y' => Seconds(stat.mtime),
            b'z' => time(Some(stat.ctime)),
            _ => Seconds(stat.ctime),
        }
    }
}

/// Seconds since 1970 without their sign, which is given apart, with as many digits of a second as the precision says.
fn seconds(time: Timespec, precision: Option<Precision>) -> (bool, String) {
    let digits = match precision {
        None | Some(Precision::Digits(0)) => {
            return (time.sec < 0, time.sec.unsigned_abs().to_string());
        }
        Some(Precision::Own) => 9,
        Some(Precision::Digits(digits)) => digits,
    };
    // Before 1970 nanoseconds count forward from a second that counts backward.
    let (sec, nsec) = match time {
        Timespec { sec, nsec: 1.. } if sec < 0 => (sec + 1, 1_000_000_000 - time.nsec),
        Timespec { sec, nsec } => (sec, nsec),
    };
    let nanoseconds = format!("{nsec:09}");
    let text = format!("{}.{nanoseconds:0<digits$.digits$}", sec.unsigned_abs());
    (time.sec < 0, text)
}

/// `'name' -> 'target'`.
fn quoted(subject: &Subject) -> Vec<u8> {
    let mut text = for_shell(&subject.name);
    if let Some(target) = &subject.target {
        text.extend_from_slice(b" -> ");
        text.extend(for_shell(target));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str, escapes: bool) -> String {
        let subject = Subject {
            name: b"d.img:/f".to_vec(),
            image: "d.img".into(),
            target: None,
            terminal: false,
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
        format.write(&subject, &mut out);
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
