//! Names of users and groups, as the image's own files have them.

use super::{keyword::Ignored, spec::Entry, tree::Tree};
use crate::{
    quote::shown,
    report::{Failure, Outcome},
    session::{Image, Session},
};
use rumpkern::OpenFlags;
use rumpuser::Errno;
use rumpvfs::calls::At;
use std::collections::{BTreeMap, BTreeSet};

/// A larger file is none of users, in bytes.
const LARGEST: usize = 16 << 20;

/// Numbers by names.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<Vec<u8>, u32>);

impl Names {
    /// Reads a file in the form of passwd(5) or group(5).
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub(crate) fn read(image: &Image, path: &[u8]) -> Outcome<Self> {
        let fail = |errno| image.failure(path, errno);
        let file = image.open_at(At::Cwd, path, OpenFlags::RDONLY | OpenFlags::NONBLOCK);
        let file = file.map_err(fail)?;
        let mut text = Vec::new();
        let mut part = vec![0; 1 << 16];
        loop {
            let offset = text.len() as u64;
            match image.proc.pread(file.fd, &mut part, offset).map_err(fail)? {
                0 => return Ok(Self::parse(&text)),
                got => text.extend_from_slice(&part[..got]),
            }
            if text.len() > LARGEST {
                return Err(image.failure(path, Errno::EFBIG));
            }
        }
    }

    fn parse(text: &[u8]) -> Self {
        let mut names = BTreeMap::new();
        for line in text.split(|&byte| byte == b'\n') {
            let mut fields = line.split(|&byte| byte == b':');
            let (name, number) = (fields.next(), fields.nth(1));
            let number = number.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            if let (Some(name), Some(number)) = (name, number) {
                // As getpwnam(3) reads it: the first line counts.
                names.entry(name.to_vec()).or_insert(number);
            }
        }
        Self(names)
    }

    /// The number of a name.
    pub(crate) fn number(&self, name: &[u8]) -> Option<u32> {
        self.0.get(name).copied()
    }

    /// What has a number, for people.
    pub(crate) fn shown(&self, number: u32) -> String {
        match self.0.iter().find(|(_, known)| **known == number) {
            Some((name, _)) => shown(name).into_owned(),
            None => number.to_string(),
        }
    }
}

/// Whose the files of an image are.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    pub(crate) users: Names,
    pub(crate) groups: Names,
}

impl Owners {
    /// Those that a specification asks for. Says which names cannot be checked.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn read(
        session: &Session,
        image: &Image,
        tree: &Tree,
        ignored: &Ignored,
    ) -> Outcome<Self> {
        let read = |keyword, path, name: fn(&Entry) -> Option<&Vec<u8>>| {
            if ignored.has(keyword) {
                return Ok(Names::default());
            }
            let entries = tree.entries();
            let wanted = entries.filter_map(|(_, entry)| name(entry)).collect();
            checkable(session, image, keyword, path, &wanted)
        };
        Ok(Self {
            users: read("uname", "/etc/passwd", |entry| entry.uname.as_ref())?,
            groups: read("gname", "/etc/group", |entry| entry.gname.as_ref())?,
        })
    }
}

/// The names of a file, read if some are wanted. Says which of those are not in it.
fn checkable(
    session: &Session,
    image: &Image,
    keyword: &str,
    path: &str,
    wanted: &BTreeSet<&Vec<u8>>,
) -> Outcome<Names> {
    if wanted.is_empty() {
        return Ok(Names::default());
    }
    let read = Names::read(image, path.as_bytes()).map_err(|why| {
        let what = format!("{keyword} cannot be checked (--ignore {keyword})");
        Failure::at(what, why)
    });
    let Some(names) = session.report.step(read)? else {
        return Ok(Names::default());
    };
    for name in wanted.iter().filter(|name| names.number(name).is_none()) {
        let why = unknown(keyword, name, &image.name, path);
        session.report.fail(&why);
    }
    Ok(names)
}

/// Why a name cannot be checked.
fn unknown(keyword: &str, name: &[u8], image: &str, path: &str) -> Failure {
    Failure::at(
        format_args!("{keyword}={}", shown(name)),
        format_args!("cannot be checked: not in {image}:{path} (--ignore {keyword})"),
    )
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn lines_that_are_some() {
        let names = Names::parse(
            b"root:x:0:0:root:/root:/bin/sh\n# no\n\nshort\nbad:x:y:\n+::::::\nroot:x:7:\nbin:*:1:1::/:\nlast:x:4294967295:",
        );
        let number = |name: &str| names.number(name.as_bytes());
        assert_eq!((number("root"), number("bin")), (Some(0), Some(1)));
        assert_eq!(
            (number("bad"), number("short"), number("+")),
            (None, None, None)
        );
        assert_eq!(number("last"), Some(u32::MAX));
        assert_eq!((names.shown(1), names.shown(5)), ("bin".into(), "5".into()));
    }
}
