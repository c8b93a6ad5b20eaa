//! An inode.

use crate::{dir::Dir, extents::Extents, options::BLOCK, xattr::Xattrs};
use alloc::boxed::Box;
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::{Errno, PackedTime, Result, Timespec};
use rumpvfs::fs::{Attributes, Ino, Protection, SetAttributes};

/// The most names of an inode.
pub(crate) const LINK_MAX: u64 = u32::MAX as u64;

/// File flags, as chflags(2) has them.
mod flag {
    pub(super) const UF_NODUMP: u32 = 0x1;
    pub(super) const UF_IMMUTABLE: u32 = 0x2;
    pub(super) const UF_APPEND: u32 = 0x4;
    pub(super) const UF_OPAQUE: u32 = 0x8;
    pub(super) const SF_ARCHIVED: u32 = 0x1_0000;
    pub(super) const SF_IMMUTABLE: u32 = 0x2_0000;
    pub(super) const SF_APPEND: u32 = 0x4_0000;
    pub(super) const ALL: u32 =
        UF_NODUMP | UF_IMMUTABLE | UF_APPEND | UF_OPAQUE | SF_ARCHIVED | SF_IMMUTABLE | SF_APPEND;
}

/// An inode of a tmpfs. While `rumpvfs` has it, it is there alone; otherwise in the file system's table.
#[derive(Debug)]
pub struct Node {
    pub(crate) ino: Ino,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) flags: u32,
    pub(crate) nlink: u64,
    pub(crate) atime: PackedTime,
    pub(crate) mtime: PackedTime,
    pub(crate) ctime: PackedTime,
    pub(crate) birthtime: PackedTime,
    pub(crate) xattrs: Xattrs,
    pub(crate) kind: Kind,
}

/// What only one type of file has.
#[derive(Debug)]
pub(crate) enum Kind {
    Regular(Regular),
    Directory(Box<Dir>),
    Symlink(Box<[u8]>),
    Fifo,
    Socket,
    Block(DeviceNumber),
    Character(DeviceNumber),
}

/// A regular file; its bytes are in the page cache.
#[derive(Debug, Default)]
pub(crate) struct Regular {
    pub(crate) size: u64,
    /// Blocks in `extents`.
    pub(crate) blocks: u64,
    pub(crate) extents: Extents,
}

impl Node {
    pub(crate) fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Regular(_) => FileType::Regular,
            Kind::Directory(_) => FileType::Directory,
            Kind::Symlink(_) => FileType::Symlink,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::Block(_) => FileType::Block,
            Kind::Character(_) => FileType::Character,
        }
    }

    /// Its entries.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub(crate) fn dir(&self) -> Result<&Dir> {
        match &self.kind {
            Kind::Directory(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Its entries, to be changed.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub(crate) fn dir_mut(&mut self) -> Result<&mut Dir> {
        match &mut self.kind {
            Kind::Directory(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    /// Its blocks.
    ///
    /// # Errors
    /// `EINVAL` for other than regular files.
    pub(crate) fn regular(&self) -> Result<&Regular> {
        match &self.kind {
            Kind::Regular(file) => Ok(file),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Its blocks, to be changed.
    ///
    /// # Errors
    /// `EINVAL` for other than regular files.
    pub(crate) fn regular_mut(&mut self) -> Result<&mut Regular> {
        match &mut self.kind {
            Kind::Regular(file) => Ok(file),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Bytes that it takes of the file system's size.
    pub(crate) fn space(&self) -> u64 {
        let own = match &self.kind {
            Kind::Regular(file) => file.blocks.saturating_mul(BLOCK),
            Kind::Symlink(target) => u64::try_from(target.len()).unwrap_or(u64::MAX),
            _ => 0,
        };
        own.saturating_add(self.xattrs.total())
    }

    /// Its content or its entries have changed.
    pub(crate) fn changed(&mut self, time: Timespec) {
        let time = PackedTime::new(time);
        (self.mtime, self.ctime) = (time, time);
    }

    pub(crate) fn attributes(&self) -> Attributes {
        let (size, blocks, rdev) = match &self.kind {
            Kind::Regular(file) => (file.size, file.blocks, DeviceNumber::default()),
            // What a listing takes, as tmpfs of Linux counts it: 20 bytes an entry.
            Kind::Directory(dir) => {
                let entries = u64::try_from(dir.len()).unwrap_or(u64::MAX);
                (entries.saturating_mul(20), 0, DeviceNumber::default())
            }
            Kind::Symlink(target) => {
                let len = u64::try_from(target.len()).unwrap_or(u64::MAX);
                (len, 0, DeviceNumber::default())
            }
            Kind::Block(device) | Kind::Character(device) => (0, 0, *device),
            Kind::Fifo | Kind::Socket => (0, 0, DeviceNumber::default()),
        };
        Attributes {
            ino: self.ino,
            // Numbers are never used again.
            generation: 1,
            file_type: self.file_type(),
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev,
            size,
            blocks: blocks.saturating_mul(BLOCK / 512),
            atime: self.atime.get(),
            mtime: self.mtime.get(),
            ctime: self.ctime.get(),
            birthtime: Some(self.birthtime.get()),
            flags: self.flags,
            protection: Protection {
                immutable: self.flags & (flag::UF_IMMUTABLE | flag::SF_IMMUTABLE) != 0,
                append_only: self.flags & (flag::UF_APPEND | flag::SF_APPEND) != 0,
            },
            has_acl: self.xattrs.has_acl(),
        }
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a flag that is not known; nothing is changed then.
    pub(crate) fn set_attributes(&mut self, change: &SetAttributes) -> Result<()> {
        if change.flags.is_some_and(|flags| flags & !flag::ALL != 0) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.mode = change.mode.unwrap_or(self.mode);
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime = change.atime.map_or(self.atime, PackedTime::new);
        self.mtime = change.mtime.map_or(self.mtime, PackedTime::new);
        self.ctime = change.ctime.map_or(self.ctime, PackedTime::new);
        self.birthtime = change.birthtime.map_or(self.birthtime, PackedTime::new);
        self.flags = change.flags.unwrap_or(self.flags);
        Ok(())
    }
}
