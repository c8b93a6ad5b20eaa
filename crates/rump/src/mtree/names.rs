//! Names of users and groups, as the image's own files have them.

use crate::{
    quote::shown,
    report::{Failure, Outcome},
    session::Image,
};
use rumpkern::OpenFlags;
use rumpuser::Errno;
use rumpvfs::calls::At;
use std::collections::BTreeMap;

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

/// Why a name cannot be checked.
pub(crate) fn unknown(keyword: &str, name: &[u8], image: &str, path: &str) -> Failure {
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
