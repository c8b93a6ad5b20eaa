//! What a header and the records before it tell of a member.

use super::{BLOCK, field, pax};
use crate::{copy::Meta, time};
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::Timespec;
use std::{collections::BTreeMap, ops::Range};

/// Records of extended headers.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// A header, with the records that go before its fields.
pub(super) struct Header<'a> {
    pub(super) block: &'a [u8; BLOCK],
    pub(super) records: &'a Records,
}

/// What is wrong with it.
type Result<T> = std::result::Result<T, String>;

impl Header<'_> {
    /// What kind of member it is, by one byte.
    pub(super) fn flag(&self) -> u8 {
        self.block[156]
    }

    /// The path, as the archive has it.
    pub(super) fn path(&self) -> Vec<u8> {
        let recorded = self.record("GNU.sparse.name");
        let recorded = recorded.or_else(|| self.record("path"));
        recorded.cloned().unwrap_or_else(|| path(self.block))
    }

    /// The target of a link.
    pub(super) fn link(&self) -> Vec<u8> {
        let recorded = self.record("linkpath").cloned();
        recorded.unwrap_or_else(|| field::text(&self.block[157..257]).to_vec())
    }

    /// Bytes of data in the archive.
    pub(super) fn stored(&self) -> Result<u64> {
        self.number("size", 124..136)
    }

    /// The type of the file at a path; `None` for a hard link.
    pub(super) fn kind(&self, path: &[u8]) -> Option<FileType> {
        match self.flag() {
            b'1' => None,
            b'2' => Some(FileType::Symlink),
            b'3' => Some(FileType::Character),
            b'4' => Some(FileType::Block),
            b'5' | b'D' => Some(FileType::Directory),
            b'6' => Some(FileType::Fifo),
            // The oldest archives say it by the name alone.
            flag if path.ends_with(b"/") && flag != b'S' => Some(FileType::Directory),
            _ => Some(FileType::Regular),
        }
    }

    /// The attributes of a file of a type, with this size.
    pub(super) fn meta(&self, kind: Option<FileType>, size: u64) -> Result<Meta> {
        let mtime = self.mtime()?;
        let atime = self.text("atime").and_then(time::parse_seconds);
        let device = |key: &str, range| match kind {
            Some(FileType::Block | FileType::Character) => self.small(key, range),
            _ => Ok(0),
        };
        let mode = number(&self.block[100..108])? & 0o7777;
        Ok(Meta {
            kind: kind.unwrap_or(FileType::Regular),
            mode: mode.try_into().map_err(|_| wrong())?,
            uid: self.small("uid", 108..116)?,
            gid: self.small("gid", 116..124)?,
            size,
            rdev: DeviceNumber {
                major: device("SCHILY.devmajor", 329..337)?,
                minor: device("SCHILY.devminor", 337..345)?,
            },
            atime: atime.unwrap_or_else(time::now),
            mtime,
            xattrs: self.xattrs(),
            more_names: false,
        })
    }

    fn mtime(&self) -> Result<Timespec> {
        if let Some(text) = self.text("mtime") {
            let time = time::parse_seconds(text);
            return time.ok_or_else(|| "extended header: wrong mtime".into());
        }
        let sec = field::number(&self.block[136..148]).and_then(|n| i64::try_from(n).ok());
        sec.map(Timespec::from_secs).ok_or_else(wrong)
    }

    fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let own = self.records.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(b"SCHILY.xattr.")?;
            Some((pax::unescape_xattr(name), value.clone()))
        });
        own.collect()
    }

    /// A number of a record, or else of a field.
    fn number(&self, key: &str, range: Range<usize>) -> Result<u64> {
        let Some(text) = self.text(key) else {
            return number(&self.block[range]);
        };
        let read = text.parse();
        read.map_err(|_| format!("extended header: wrong {key}"))
    }

    fn small(&self, key: &str, range: Range<usize>) -> Result<u32> {
        let number = self.number(key, range)?;
        number.try_into().map_err(|_| wrong())
    }

    fn record(&self, key: &str) -> Option<&Vec<u8>> {
        self.records.get(key.as_bytes())
    }

    fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.record(key)?).ok()
    }
}

/// A number of a field.
pub(super) fn number(field: &[u8]) -> Result<u64> {
    let number = field::number(field).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(wrong)
}

fn wrong() -> String {
    "damaged header: wrong number".into()
}

fn path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = field::text(&header[..100]);
    let prefix = field::text(&header[345..500]);
    // GNU's own format has other things where the prefix is.
    if &header[257..263] != b"ustar\0" || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}
