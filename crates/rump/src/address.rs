//! Operands: `IMAGE[@PART]:/path`, host paths, and `-`.
//!
//! An operand is an address when it holds a `:` followed by `/` (or a `:` at its end, which stands for `:/`). PART follows the last `@`
//! of what is before; `@@OFFSET` names a byte offset. A backslash before `:` or `@` takes its meaning away, and `\\` is one
//! backslash. An operand that begins with `./`, `../` or `/` and names an existing file of the host is that file. An IMAGE that
//! exists on the host with its `@...` is taken whole.

use rumpdev::Selector;
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// A place in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The image.
    pub(crate) image: PathBuf,
    /// Which part of it; `None`: the whole.
    pub(crate) part: Option<Selector>,
    /// The path inside, with its leading slash.
    pub(crate) path: Vec<u8>,
    /// What the user wrote before the path, colon included.
    pub(crate) prefix: Vec<u8>,
}

impl Address {
    /// As the user wrote it.
    pub(crate) fn text(&self) -> Vec<u8> {
        [&self.prefix[..], &self.path].concat()
    }
}

/// What an operand of `cp` may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// In an image.
    Image(Address),
    /// On the host.
    Host(PathBuf),
    /// Standard input or output.
    Stream,
}

/// Why an operand is not an address.
pub(crate) type Complaint = String;

/// Reads an operand that may be either.
///
/// # Errors
/// A wrong PART.
pub(crate) fn parse(operand: &OsStr) -> Result<Operand, Complaint> {
    let bytes = operand.as_bytes();
    if bytes == b"-" {
        return Ok(Operand::Stream);
    }
    let explicit = [&b"./"[..], b"../", b"/"];
    if explicit.iter().any(|start| bytes.starts_with(start))
        && Path::new(operand).symlink_metadata().is_ok()
    {
        return Ok(Operand::Host(operand.into()));
    }
    match split_path(bytes) {
        Some((before, path)) => address(before, path, bytes).map(Operand::Image),
        None => Ok(Operand::Host(unescape(bytes).0.into())),
    }
}

/// Reads an operand that must be `IMAGE[@PART]:/path`.
///
/// # Errors
/// It is not.
pub(crate) fn parse_image(operand: &OsStr) -> Result<Address, Complaint> {
    let bytes = operand.as_bytes();
    match split_path(bytes) {
        Some((before, path)) => address(before, path, bytes),
        None => Err(format!(
            "{}: not of the form IMAGE[@PART]:/path",
            crate::quote::shown(bytes)
        )),
    }
}

/// Reads an operand that names an image, with or without a path.
///
/// # Errors
/// A wrong PART.
pub(crate) fn parse_whole(operand: &OsStr) -> Result<Address, Complaint> {
    let bytes = operand.as_bytes();
    match split_path(bytes) {
        Some((before, path)) => address(before, path, bytes),
        None => {
            let mut prefix = bytes.to_vec();
            prefix.push(b':');
            let mut address = address(bytes, b"/", bytes)?;
            address.prefix = prefix;
            Ok(address)
        }
    }
}

/// Splits at the first live colon that a slash or the end follows.
fn split_path(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if matches!(bytes.get(at + 1), Some(b':' | b'@' | b'\\')) => at += 1,
            b':' if at > 0 && at + 1 == bytes.len() => return Some((&bytes[..at], b"/")),
            b':' if at > 0 && bytes[at + 1] == b'/' => {
                return Some((&bytes[..at], &bytes[at + 1..]));
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn address(before: &[u8], path: &[u8], whole: &[u8]) -> Result<Address, Complaint> {
    let colon = before.len() + 1;
    let prefix = match whole.get(..colon) {
        Some(prefix) => prefix.to_vec(),
        None => [before, b":"].concat(),
    };
    let (literal, ats) = unescape(before);
    let make = |image: OsString, part| Address {
        image: image.into(),
        part,
        path: path.to_vec(),
        prefix: prefix.clone(),
    };
    let bytes = literal.as_bytes();
    let is_part = |at: &usize| {
        let rest = &bytes[at + 1..];
        rest.starts_with(b"label=") || !rest.contains(&b'/')
    };
    let at = ats.iter().copied().rev().find(is_part);
    let Some(at) = at.filter(|&at| at > 0 && !exists(&literal)) else {
        return Ok(make(literal, None));
    };
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec());
        text.map_err(|_| format!("{}: PART is not UTF-8", crate::quote::shown(whole)))
    };
    let part = text(&bytes[at + 1..])?;
    let (end, part) = if at > 1 && ats.contains(&(at - 1)) {
        (at - 1, format!("@{part}"))
    } else {
        (at, part)
    };
    let part = part
        .parse()
        .map_err(|error| format!("{}: {error}", crate::quote::shown(whole)))?;
    Ok(make(OsStr::from_bytes(&bytes[..end]).into(), Some(part)))
}

fn exists(path: &OsStr) -> bool {
    Path::new(path).symlink_metadata().is_ok()
}

/// The text without its escapes, and the positions in it of every `@` that was not escaped.
fn unescape(bytes: &[u8]) -> (OsString, Vec<usize>) {
    let mut out = Vec::with_capacity(bytes.len());
    let mut ats = Vec::new();
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match (byte, rest.peek()) {
            (b'\\', Some(b':' | b'@' | b'\\')) => out.extend(rest.next()),
            (b'@', _) => {
                ats.push(out.len());
                out.push(byte);
            }
            _ => out.push(byte),
        }
    }
    (OsString::from_vec(out), ats)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(operand: &str) -> (String, Option<Selector>, String) {
        match parse(OsStr::new(operand)) {
            Ok(Operand::Image(a)) => (
                a.image.to_string_lossy().into_owned(),
                a.part,
                String::from_utf8(a.path).unwrap(),
            ),
            other => panic!("{operand}: {other:?}"),
        }
    }

    fn selector(text: &str) -> Option<Selector> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn addresses() {
        let plain = image("d.img:/a:/b");
        assert_eq!(plain, ("d.img".into(), None, "/a:/b".into()));
        assert_eq!(image("d.img:"), ("d.img".into(), None, "/".into()));
        let part = image("/no/d.img@2:/a@b");
        assert_eq!(part, ("/no/d.img".into(), selector("2"), "/a@b".into()));
        let label = image("d@label=a/b:/");
        assert_eq!(label, ("d".into(), selector("label=a/b"), "/".into()));
        let offset = image("d@@1M:/");
        let meg = Some(Selector::Offset(1 << 20));
        assert_eq!(offset, ("d".into(), meg, "/".into()));
        let user = image("u@h/d.img:/");
        assert_eq!(user, ("u@h/d.img".into(), None, "/".into()));
        let escaped = image("d\\@1\\:/x:/y");
        assert_eq!(escaped, ("d@1:/x".into(), None, "/y".into()));
    }

    #[test]
    fn everything_else_is_a_host_path() {
        for (operand, path) in [
            ("a:b", "a:b"),
            ("./a@1", "./a@1"),
            ("a\\:/b", "a:/b"),
            ("/tmp", "/tmp"),
            (":/", ":/"),
        ] {
            assert_eq!(
                parse(OsStr::new(operand)),
                Ok(Operand::Host(path.into())),
                "{operand}"
            );
        }
        assert_eq!(parse(OsStr::new("-")), Ok(Operand::Stream));
    }

    #[test]
    fn complaints() {
        assert!(parse(OsStr::new("d.img@@x:/")).is_err());
        assert!(parse(OsStr::new("d.img@:/")).is_err());
        assert!(parse_image(OsStr::new("d.img")).is_err());
        let whole = parse_whole(OsStr::new("d.img@1")).unwrap();
        assert_eq!(
            (whole.part, &whole.prefix[..]),
            (selector("1"), &b"d.img@1:"[..])
        );
    }
}
