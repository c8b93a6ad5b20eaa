//! The driver's methods.

use super::Mounted;
use crate::{
    error::{Error, Place as Where, Result as FormatResult},
    inode::{Content, FileType, Inode},
    inode_write::Change,
    layout::{ROOT_INO, TARGET_MAX},
    names::{self, Dirs, NamePlace, NewKind as FormatKind, NewNode},
    placing,
    types::{index, round_up},
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use rumpkern::types::DeviceNumber;
use rumpuser::{BlockDevice, Errno, Result, Timespec};
use rumpvfs::{
    fs::{
        Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FileSystem, FlagNumbers, Found,
        FsStatistics, Ino, Limits, NewInode, NewKind, Place, Placed, Protection, Rename, Renamed,
        SetAttributes, Space, XattrMode,
    },
    name::Name,
};

impl FileSystem for Mounted {
    type Inode = Inode;

    fn root(&self) -> Ino {
        Ino(ROOT_INO)
    }

    fn limits(&self) -> Limits {
        let superblock = &self.ffs.superblock;
        Limits {
            // The length of a name has a byte.
            name_max: 255,
            file_size_max: self.ffs.file_size_max(),
            link_max: names::LINK_MAX.into(),
            symlink_max: index(superblock.block_size().saturating_sub(1).min(TARGET_MAX)),
            time_granularity: if superblock.old_inodes {
                1_000_000_000
            } else {
                1
            },
            flag_numbers: FlagNumbers::Bsd,
            ..Limits::read_only(1_u32.wrapping_shl(superblock.frag_bits))
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        let superblock = &self.ffs.superblock;
        let totals = self.ffs.totals();
        let free = totals
            .blocks
            .saturating_mul(1_u64.wrapping_shl(superblock.ratio_bits()))
            .saturating_add(totals.frags);
        Ok(FsStatistics {
            block_size: self.limits().block_size,
            blocks: superblock.data_size,
            blocks_free: free,
            blocks_available: free.saturating_sub(superblock.reserve()),
            // Two numbers are never used.
            files: superblock.inodes().saturating_sub(ROOT_INO),
            files_free: totals.inodes,
        })
    }

    fn load(&self, ino: Ino) -> Result<Inode> {
        self.told(self.ffs.inode(ino.0))
    }

    fn attributes(&self, inode: &Inode) -> Attributes {
        let (major, minor) = match inode.content {
            Content::Device(major, minor) => (major, minor),
            _ => (0, 0),
        };
        Attributes {
            ino: Ino(inode.ino),
            generation: inode.generation.into(),
            file_type: inode.file_type,
            mode: inode.mode,
            nlink: inode.links.into(),
            uid: inode.uid,
            gid: inode.gid,
            rdev: DeviceNumber { major, minor },
            size: inode.size,
            blocks: inode.blocks,
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            birthtime: inode.birthtime,
            flags: inode.flags,
            protection: Protection {
                immutable: inode.is_immutable(),
                append_only: inode.is_append_only(),
            },
            has_acl: false,
        }
    }

    fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Found> {
        let found = self.told(self.ffs.lookup(dir, name.bytes()))?;
        Ok(match found {
            // The place is found again by who changes it: mostly right where the last name was found.
            Some(ino) => Found::Entry(Ino(ino), slot(dir)),
            None => Found::Absent(DirSlot::default()),
        })
    }

    fn parent(&self, dir: &Inode) -> Result<Ino> {
        self.told(self.ffs.parent(dir)).map(Ino)
    }

    fn read_dir(&self, dir: &Inode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        let listed = self.ffs.list(dir, from.0, |record| {
            if Name::new(record.name).is_err() {
                self.log.message(format_args!(
                    "{}: no name: {:?}",
                    Where::Record(dir.ino, record.offset),
                    String::from_utf8_lossy(record.name)
                ));
                return true;
            }
            emit.emit(DirEntry {
                name: record.name,
                ino: Ino(record.ino),
                file_type: record.file_type,
                next: DirCookie(record.next),
            })
        });
        self.told(listed)
    }

    fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        match &inode.content {
            Content::Link(target) => Ok(target.clone()),
            _ => self.told(self.ffs.read_all(inode, Where::Link(inode.ino))),
        }
    }

    fn map(&self, inode: &Inode, offset: u64, len: u64) -> Result<Extent> {
        self.told(self.map_bytes(inode, offset, len))
    }

    fn get_xattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        if !self.ffs.has_attributes() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.xattr(inode, name)
    }

    fn list_xattrs(&self, inode: &Inode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        if !self.ffs.has_attributes() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.told(self.ffs.each_attribute(inode, |attribute| {
            each(&attribute.name_with_prefix());
        }))
    }

    fn set_xattr(
        &self,
        inode: &mut Inode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        self.writable()?;
        let by = (space, time);
        self.told(self.ffs.set_attribute(inode, name, Some(value), mode, by))
    }

    fn remove_xattr(&self, inode: &mut Inode, name: &[u8], time: Timespec) -> Result<()> {
        self.writable()?;
        let by = (Space::Reserve, time);
        self.told(
            self.ffs
                .set_attribute(inode, name, None, XattrMode::Replace, by),
        )
    }

    fn create(
        &self,
        dir: &mut Inode,
        _slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, Inode)> {
        self.writable()?;
        let inode = self.told(self.ffs.create(dir, name.bytes(), &new_node(new)?))?;
        Ok((Ino(inode.ino), inode))
    }

    fn create_unnamed(&self, dir: &Inode, new: &NewInode) -> Result<(Ino, Inode)> {
        self.writable()?;
        let inode = self.told(self.ffs.create_unnamed(dir, &new_node(new)?))?;
        Ok((Ino(inode.ino), inode))
    }

    fn link(
        &self,
        dir: &mut Inode,
        _slot: DirSlot,
        name: Name<'_>,
        target: &mut Inode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        self.writable()?;
        self.told(self.ffs.link(dir, name.bytes(), target, space, time))
    }

    fn unlink(
        &self,
        dir: &mut Inode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        self.writable()?;
        self.told(self.ffs.unlink(dir, &name_place(name, slot), target, time))
    }

    fn rename(&self, op: Rename<'_, Inode>) -> Result<Renamed> {
        self.writable()?;
        let dirs = match op.to_dir {
            Some(to_dir) => Dirs::Two(op.from_dir, to_dir),
            None => Dirs::Same(op.from_dir),
        };
        self.told(self.ffs.rename(
            dirs,
            &name_place(op.from.0, op.from.1),
            &name_place(op.to.0, op.to.1),
            op.inode,
            op.replaced,
            op.exchange,
            op.space,
            op.time,
        ))?;
        Ok(Renamed::default())
    }

    fn set_attributes(&self, inode: &mut Inode, change: &SetAttributes) -> Result<()> {
        self.writable()?;
        let change = Change {
            mode: change.mode,
            uid: change.uid,
            gid: change.gid,
            atime: change.atime,
            mtime: change.mtime,
            ctime: change.ctime,
            birthtime: change.birthtime,
            flags: change.flags,
        };
        self.told(self.ffs.change(inode, &change, self.now()))
    }

    fn allocate(
        &self,
        inode: &mut Inode,
        offset: u64,
        len: u64,
        size_at_least: u64,
        space: Space,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<u64> {
        self.writable()?;
        let range = (offset, len);
        let mut told = |piece| placed(placed_as(piece));
        let done = self
            .ffs
            .allocate(inode, range, size_at_least, (space, self.now()), &mut told);
        self.told(done)
    }

    fn set_size(&self, inode: &mut Inode, size: u64, time: Timespec) -> Result<()> {
        self.writable()?;
        if size > inode.size {
            // Only grow() can tell if the end of the file moves.
            return Err(Errno::EINVAL);
        }
        self.told(self.ffs.shorten(inode, size, time))
    }

    fn grow(
        &self,
        inode: &mut Inode,
        size: u64,
        space: Space,
        time: Timespec,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<()> {
        self.writable()?;
        let mut told = |piece| placed(placed_as(piece));
        self.told(self.ffs.grow(inode, size, (space, time), &mut told))
    }

    fn punch(&self, inode: &mut Inode, offset: u64, len: u64) -> Result<()> {
        self.writable()?;
        let range = offset..offset.saturating_add(len);
        self.told(self.ffs.punch(inode, range, self.now()))
    }

    fn reclaim(&self, inode: Inode) -> Result<()> {
        if !self.writable.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.told(self.ffs.reclaim(inode, self.now()))
    }

    fn sync(&self) -> Result<()> {
        if self.writable.load(Ordering::Relaxed) {
            self.ffs.volume().commit()?;
        }
        Ok(())
    }

    fn balance(&self) -> Result<()> {
        self.ffs.volume().balance()
    }

    fn remount(&self, read_only: bool) -> Result<()> {
        if read_only {
            if self.writable.swap(false, Ordering::Relaxed) {
                self.told(self.ffs.end_writing(self.now()))?;
            }
            return Ok(());
        }
        if self.ffs.device.read_only() && !self.ffs.is_overlaid() {
            return Err(Errno::EROFS);
        }
        if self.writable.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.begin_writing()
    }

    fn unmount(&self) -> Result<()> {
        if !self.writable.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let ended = self.told(self.ffs.end_writing(self.now()));
        self.ffs.volume().discard_all();
        ended
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(&self.ffs.device)
    }
}

impl Mounted {
    fn map_bytes(&self, inode: &Inode, offset: u64, len: u64) -> FormatResult<Extent> {
        let superblock = &self.ffs.superblock;
        if inode.is_snapshot() {
            let place = Where::Data(inode.ino);
            return Err(Error::Unsupported(place, "reading a snapshot"));
        }
        let end = round_up(inode.size, superblock.frag_bits);
        if offset >= end {
            // What the last block has behind the data is nobody's until the file grows.
            return Ok(Extent {
                place: Place::Hole,
                len: superblock.block_size(),
            });
        }
        let within = offset & superblock.block_size().wrapping_sub(1);
        let first = offset.wrapping_shr(superblock.block_bits);
        let most = round_up(within.saturating_add(len), superblock.block_bits);
        let most = most.wrapping_shr(superblock.block_bits);
        let run = self.ffs.run(inode, first, most)?;
        let reach = run.blocks.saturating_mul(superblock.block_size());
        let left = end.saturating_sub(offset);
        Ok(Extent {
            place: match run.frag {
                Some(frag) => {
                    let start = frag.saturating_mul(superblock.frag_size());
                    Place::Device(start.saturating_add(within))
                }
                None => Place::Hole,
            },
            len: reach.saturating_sub(within).min(left),
        })
    }

    fn xattr(&self, inode: &Inode, wanted: &[u8]) -> Result<Vec<u8>> {
        let mut found = None;
        self.told(self.ffs.each_attribute(inode, |attribute| {
            if wanted.strip_prefix(attribute.prefix) == Some(attribute.name) {
                found = Some(attribute.value.to_vec());
            }
        }))?;
        found.ok_or(Errno::ENOATTR)
    }
}

/// Where the last name of a directory was found.
fn slot(dir: &Inode) -> DirSlot {
    let behind = dir.hint.load(Ordering::Relaxed);
    DirSlot([behind.saturating_sub(1), 0, 0])
}

fn name_place<'n>(name: Name<'n>, slot: DirSlot) -> NamePlace<'n> {
    let DirSlot([hint, ..]) = slot;
    NamePlace {
        name: name.bytes(),
        hint,
    }
}

fn placed_as(piece: placing::Placed) -> Placed {
    Placed {
        offset: piece.offset,
        len: piece.len,
        device: Some(piece.device),
    }
}

/// A new inode as the format code takes it.
fn new_node(new: &NewInode) -> Result<NewNode<'_>> {
    if !new.xattrs.is_empty() {
        return Err(Errno::EOPNOTSUPP);
    }
    let kind = match &new.kind {
        NewKind::Regular => FormatKind::Plain(FileType::Regular),
        NewKind::Directory => FormatKind::Plain(FileType::Directory),
        NewKind::Fifo => FormatKind::Plain(FileType::Fifo),
        NewKind::Socket => FormatKind::Plain(FileType::Socket),
        NewKind::Symlink(target) => FormatKind::Symlink(target),
        NewKind::Block(device) => FormatKind::Device(FileType::Block, device.major, device.minor),
        NewKind::Character(device) => {
            FormatKind::Device(FileType::Character, device.major, device.minor)
        }
    };
    Ok(NewNode {
        kind,
        mode: new.mode,
        uid: new.uid,
        gid: new.gid,
        space: new.space,
        time: new.time,
    })
}
