//! Inodes. The format has none: the number of a file is the byte of its (first) directory record on the device, that of a
//! directory the byte of its record of itself, at its start. So each has one number however it is reached, and a number is
//! enough to find it again.

use crate::{
    dir::Index,
    error::{Error, Place, Result},
    layout::{RawPx, file_flag},
    record::{Record, Records},
    rock_ridge::RockRidge,
    sparse::Sparse,
    time::short,
    volume::{Extension, Iso},
    zisofs::Compressed,
};
use alloc::{sync::Arc, vec, vec::Vec};
pub use rumpkern::FileType;
use rumpuser::{Timespec, sync::Mutex};

/// A file has no more sections than this: at 4 GiB each more than any medium has.
const MOST_SECTIONS: usize = 65_536;

/// A piece of a file that lies in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Where it begins on the device, in bytes.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
}

/// The sections of a file, by offset. Most have one, which takes no memory of its own: a listing makes an inode of each file.
#[derive(Clone, Debug)]
pub enum Sections {
    /// One.
    One(Section),
    /// Any number.
    Many(Vec<Section>),
}

impl core::ops::Deref for Sections {
    type Target = [Section];

    fn deref(&self) -> &[Section] {
        match self {
            Self::One(section) => core::slice::from_ref(section),
            Self::Many(sections) => sections,
        }
    }
}

/// Content of a file.
#[derive(Debug)]
pub enum Content {
    /// In sections, all of whole blocks but the last.
    Sections(Sections),
    /// The same, where some section in the middle ends within a block.
    Unaligned(Sections),
    /// Compressed (zisofs).
    Compressed(Compressed),
    /// Sparse (SF).
    Sparse(Sparse),
    /// Directory.
    Directory(Directory),
    /// Target of a symbolic link.
    Link(Vec<u8>),
    /// A symbolic link of which only this can be said.
    BrokenLink(Error),
    /// None: device nodes, FIFOs, sockets.
    None,
    /// In a form that is not supported.
    Unsupported(&'static str),
}

/// Where a directory lies.
pub struct Directory {
    /// Its first byte on the device.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
    /// Made by the first search.
    pub(crate) index: Mutex<Option<Arc<Index>>>,
}

impl core::fmt::Debug for Directory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes at byte {}", self.len, self.start)
    }
}

/// A file.
#[derive(Debug)]
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// Its type.
    pub file_type: FileType,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Number of names, as the medium says.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of device nodes.
    pub device: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of data.
    pub mtime: Timespec,
    /// Last change of attributes.
    pub ctime: Timespec,
    /// Creation, if recorded.
    pub birthtime: Option<Timespec>,
    /// What is in it.
    pub content: Content,
}

impl Inode {
    /// Where the directory lies, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Directory> {
        match &self.content {
            Content::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}

impl Iso {
    /// Reads an inode.
    ///
    /// # Errors
    /// [`Error::NoInode`] when the number is of no record; whatever is wrong with it.
    pub fn inode(&self, ino: u64) -> Result<Inode> {
        let mut records = Records::from(&self.medium, ino, 1, self.device.len());
        let is_block = ino & self.medium.block_size().saturating_sub(1) == 0;
        let (_, record) = match records.next() {
            Ok(Some(found @ (0, _))) => found,
            Err(error @ Error::Device(..)) => return Err(error),
            _ => return Err(Error::NoInode(ino)),
        };
        let known = if record.is_directory() {
            record.is_self() && is_block
        } else {
            !record.is_dot()
        };
        if !known {
            return Err(Error::NoInode(ino));
        }
        let mut all = RockRidge::default();
        if let Extension::RockRidge { skip } = self.extension {
            all.read(&self.medium, &record, skip)?;
        }
        if let Some(block) = all.child.filter(|_| !record.is_directory()) {
            return self.moved(ino, block);
        }
        let file_type = file_type(&record, &all);
        let sections = match file_type {
            FileType::Regular => self.sections(ino)?,
            _ => Sections::Many(Vec::new()),
        };
        Ok(self.assemble(&record, &mut all, file_type, sections))
    }

    /// The inode of a record, as [`inode`](Self::inode) would give it, if this record is all of it; `None`: a directory's, one of
    /// several pieces, and whatever is wrong.
    pub(crate) fn inode_in(&self, record: &Record<'_>, all: &mut RockRidge) -> Option<Inode> {
        let whole = !record.is_directory() && !record.has(file_flag::MULTI_EXTENT);
        if !whole || all.child.is_some() {
            return None;
        }
        let file_type = file_type(record, all);
        let sections = match file_type {
            FileType::Regular => Sections::One(Section {
                offset: 0,
                start: self.medium.byte_of(record.data_block().ok()?),
                len: record.raw.data_length.get().into(),
            }),
            _ => Sections::Many(Vec::new()),
        };
        Some(self.assemble(record, all, file_type, sections))
    }

    /// The directory at a block, by the number of the record with `CL` that leads there: see
    /// [`moved_number`](Self::moved_number).
    fn moved(&self, ino: u64, block: u32) -> Result<Inode> {
        let start = self.medium.byte_of(block);
        if self.moved_number(ino, block) != ino {
            return Err(Error::NoInode(ino));
        }
        let mut records = Records::from(&self.medium, start, 1, self.device.len());
        let is_directory = records
            .next()?
            .is_some_and(|(_, record)| record.is_directory());
        if !is_directory {
            // Nor may it be one more record with `CL`: they could go round in circles.
            let place = Place::Record(ino);
            return Err(Error::value(place, "CL", block, "a directory"));
        }
        let directory = self.inode(start)?;
        Ok(Inode { ino, ..directory })
    }

    fn assemble(
        &self,
        record: &Record<'_>,
        all: &mut RockRidge,
        file_type: FileType,
        sections: Sections,
    ) -> Inode {
        let modes = self.options.modes;
        let plain = if record.is_directory() {
            modes.directory
        } else {
            modes.file
        };
        let owner = self.options.owner;
        let attributes = all.attributes;
        let posix = |get: fn(&RawPx) -> u32, other| attributes.as_ref().map_or(other, get);
        let recorded = || short(&record.raw.recorded).unwrap_or_default();
        let mtime = all.times.modify.unwrap_or_else(recorded);
        let data_size = sections
            .last()
            .map_or(0, |last| last.offset.saturating_add(last.len));
        let (content, size) = self.content(record, all, file_type, sections, data_size);
        Inode {
            ino: record.at,
            file_type,
            mode: posix(|px| px.mode.get(), plain) & 0o7777,
            links: posix(|px| px.links.get(), 1).max(1),
            uid: posix(|px| px.uid.get(), owner.0),
            gid: posix(|px| px.gid.get(), owner.1),
            device: device(all),
            size,
            atime: all.times.access.unwrap_or(mtime),
            mtime,
            ctime: all.times.attributes.unwrap_or_else(recorded),
            birthtime: all.times.creation,
            content,
        }
    }

    /// What a file has, and its size.
    fn content(
        &self,
        record: &Record<'_>,
        all: &mut RockRidge,
        file_type: FileType,
        sections: Sections,
        data_size: u64,
    ) -> (Content, u64) {
        match file_type {
            FileType::Directory => {
                let len = u64::from(record.raw.data_length.get());
                let directory = Directory {
                    start: record.at,
                    len,
                    index: Mutex::new(None),
                };
                (Content::Directory(directory), len)
            }
            FileType::Symlink => {
                let target = core::mem::take(&mut all.link);
                if let Some(fault) = all.link_fault.take() {
                    return (Content::BrokenLink(fault), 0);
                }
                let len = crate::types::number(target.len());
                (Content::Link(target), len)
            }
            FileType::Regular => self.regular(record, all, sections, data_size),
            _ => (Content::None, 0),
        }
    }

    /// The content of a regular file, and its size.
    fn regular(
        &self,
        record: &Record<'_>,
        all: &RockRidge,
        sections: Sections,
        data_size: u64,
    ) -> (Content, u64) {
        if record.raw.file_unit_size != 0 || record.raw.interleave_gap != 0 {
            return (Content::Unsupported("interleaved file"), data_size);
        }
        if let Some((size, depth)) = all.sparse {
            return match Sparse::new(size, depth, sections) {
                Some(_) if all.compressed.is_some() => {
                    let what = "sparse file that is compressed (SF, ZF)";
                    (Content::Unsupported(what), data_size)
                }
                Some(sparse) => (Content::Sparse(sparse), size),
                None => (
                    Content::Unsupported("size or depth of a sparse file (SF)"),
                    data_size,
                ),
            };
        }
        if let Some(zf) = &all.compressed {
            return match Compressed::new(zf, sections) {
                Some(compressed) => {
                    let size = compressed.size;
                    (Content::Compressed(compressed), size)
                }
                None => (Content::Unsupported("compression (ZF)"), data_size),
            };
        }
        let mask = self.medium.block_size().saturating_sub(1);
        if sections.iter().any(|section| section.offset & mask != 0) {
            (Content::Unaligned(sections), data_size)
        } else {
            (Content::Sections(sections), data_size)
        }
    }

    /// The sections of the file whose first record is at the byte `ino` (6.5.1).
    fn sections(&self, ino: u64) -> Result<Sections> {
        let most = crate::types::number(MOST_SECTIONS);
        let mut records = Records::from(&self.medium, ino, most, self.device.len());
        let (mut sections, mut offset) = (vec![], 0_u64);
        loop {
            let place = Place::Record(ino);
            let Some((_, record)) = records.next()? else {
                return Err(Error::value(
                    place,
                    "multi-extent flag",
                    1_u8,
                    "one more record",
                ));
            };
            let len = u64::from(record.raw.data_length.get());
            let start = self.medium.byte_of(record.data_block()?);
            sections.push(Section { offset, start, len });
            offset = offset.saturating_add(len);
            if !record.has(file_flag::MULTI_EXTENT) {
                return Ok(Sections::Many(sections));
            }
            if sections.len() >= MOST_SECTIONS {
                let found = crate::types::number(sections.len());
                return Err(Error::value(place, "sections", found, "less"));
            }
        }
    }
}

fn file_type(record: &Record<'_>, all: &RockRidge) -> FileType {
    if record.is_directory() {
        return FileType::Directory;
    }
    let mode = all.attributes.map_or(0, |px| px.mode.get());
    match mode & 0o170_000 {
        0o010_000 => FileType::Fifo,
        0o020_000 => FileType::Character,
        0o060_000 => FileType::Block,
        0o140_000 => FileType::Socket,
        // A link without a target has nothing to show as one.
        _ if !all.link.is_empty() || all.link_fault.is_some() => FileType::Symlink,
        _ => FileType::Regular,
    }
}

/// Major and minor number of `PN`: both in the lower half, as old systems had them, or one in each.
fn device(all: &RockRidge) -> (u32, u32) {
    let Some(pn) = &all.device else {
        return (0, 0);
    };
    let (high, low) = (pn.high.get(), pn.low.get());
    if high == 0 && low > 0xFF {
        (low.wrapping_shr(8), low & 0xFF)
    } else {
        (high, low)
    }
}
