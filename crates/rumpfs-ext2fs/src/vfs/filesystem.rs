//! The driver's methods.

use super::{Mounted, VISIBLE_FLAGS, slot, write, write::WriteSide};
use crate::{
    dir::Listed,
    error::Error,
    features::RoCompat,
    inode::{Inode, InodeFlags},
    listing::HASHED,
    types::{InodeNumber, index},
    xattr::NameIndex,
    xattr_write::stored_value,
};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use rumpkern::{Cred, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result, Timespec};
use rumpvfs::{
    fs::{
        Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FileSystem, FlagNumbers, Found,
        FsStatistics, Ino, Limits, NewInode, Placed, Protection, Rename, Renamed, SetAttributes,
        Space, XattrMode,
    },
    name::Name,
};

impl FileSystem for Mounted {
    type Inode = Inode;

    fn root(&self) -> Ino {
        Ino(u64::from(InodeNumber::ROOT))
    }

    fn limits(&self) -> Limits {
        let sb = self.fs.superblock();
        Limits {
            block_size: sb.block_size(),
            name_max: 255,
            file_size_max: self.fs.file_size_max(),
            link_max: u64::from(crate::names::link_max(sb)),
            symlink_max: index(sb.block_size()).saturating_sub(1),
            time_granularity: if sb.inode_size > 128 {
                1
            } else {
                1_000_000_000
            },
            memory: false,
            revalidate: false,
            folds: false,
            flag_numbers: FlagNumbers::Linux,
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        self.told(self.statistics_now())
    }

    fn space_for(&self, cred: &Cred) -> Space {
        let sb = self.fs.superblock();
        let options = &self.around.options;
        let uid = options.resuid.unwrap_or(u32::from(sb.def_resuid));
        let gid = options.resgid.unwrap_or(u32::from(sb.def_resgid));
        // As Linux has it: the group 0 is not asked for.
        if cred.is_root() || cred.uid == uid || gid != 0 && cred.in_group(gid) {
            Space::Reserve
        } else {
            Space::Ordinary
        }
    }

    fn load(&self, ino: Ino) -> Result<Inode> {
        self.told(self.load_inode(ino))
    }

    fn attributes(&self, inode: &Inode) -> Attributes {
        let device = inode.device();
        Attributes {
            ino: Ino(u64::from(inode.ino)),
            generation: u64::from(inode.generation),
            file_type: inode.file_type,
            mode: u32::from(inode.permissions),
            nlink: u64::from(inode.links),
            uid: inode.uid,
            gid: inode.gid,
            rdev: device.map_or_else(DeviceNumber::default, |d| DeviceNumber {
                major: d.major,
                minor: d.minor,
            }),
            size: inode.size,
            blocks: inode.blocks_512,
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            birthtime: inode.crtime,
            flags: inode.flags.bits() & VISIBLE_FLAGS,
            protection: Protection {
                immutable: inode.flags.contains(InodeFlags::IMMUTABLE),
                append_only: inode.flags.contains(InodeFlags::APPEND),
            },
            has_acl: inode.has_inode_xattrs || inode.file_acl.0 != 0,
        }
    }

    fn glance(&self, inodes: &[Ino], each: &mut dyn FnMut(usize, &Attributes)) {
        // One that is not to be looked at has no place, and is left out.
        let number = |ino: &Ino| self.own_number(*ino).unwrap_or(InodeNumber(0));
        let inodes: Vec<InodeNumber> = inodes.iter().map(number).collect();
        self.fs.glance(&*self.around.host, &inodes, |n, inode| {
            if Self::check_named(inode).is_ok() {
                each(n, &self.attributes(inode));
            }
        });
    }

    fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Found> {
        let found = self.told(self.fs.lookup(dir, name.bytes()))?;
        Ok(found.map_or(Found::Absent(DirSlot::default()), |found| {
            Found::Entry(Ino(u64::from(found.ino)), slot(found.position))
        }))
    }

    fn parent(&self, dir: &Inode) -> Result<Ino> {
        self.told(self.fs.parent(dir))
            .map(|ino| Ino(u64::from(ino)))
    }

    fn read_dir(&self, dir: &Inode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        // What cannot change is listed as it lies on the medium. The position tells later which way a listing goes.
        let from = if from == DirCookie(0) && self.side.read().is_some() {
            self.fs.steady_start(dir)
        } else {
            from.0
        };
        let mut each = |listed: Listed<'_>| {
            emit.emit(DirEntry {
                name: &listed.name,
                ino: Ino(u64::from(listed.ino)),
                file_type: listed.file_type,
                next: DirCookie(listed.next),
            })
        };
        self.told(if from & HASHED == 0 {
            self.fs.read_dir(dir, from, each)
        } else {
            self.fs.read_dir_steady(dir, from, &mut each)
        })
    }

    fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        self.told(self.fs.read_link(inode))
    }

    fn map(&self, inode: &Inode, offset: u64, len: u64) -> Result<Extent> {
        self.told(self.map_bytes(inode, offset, len))
    }

    fn read_pages(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.told(self.read_opaque(inode, offset, buf))
    }

    fn get_xattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        self.told(self.attribute(inode, name))
    }

    fn project(&self, inode: &Inode) -> Result<u32> {
        let has = self.fs.superblock().features.ro_compat(RoCompat::PROJECT);
        has.then_some(inode.projid).ok_or(Errno::EOPNOTSUPP)
    }

    fn list_xattrs(&self, inode: &Inode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut full = Vec::new();
        self.told(self.fs.xattrs(inode, |entry| {
            if let Some(prefix) = entry.index.prefix() {
                full.clear();
                full.extend_from_slice(prefix.as_bytes());
                // The name of an access control list is all prefix.
                if !entry.index.is_acl() {
                    full.extend_from_slice(entry.name);
                }
                each(&full);
            }
            true
        }))
    }

    fn create(
        &self,
        dir: &mut Inode,
        slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, Inode)> {
        let side = self.side()?;
        let made = write::new_node(new)
            .and_then(|new| (side.writer).create(dir, &write::place(name, slot), &new, side.now()));
        self.told(made)
            .map(|inode| (Ino(u64::from(inode.ino)), inode))
    }

    fn create_unnamed(&self, dir: &Inode, new: &NewInode) -> Result<(Ino, Inode)> {
        let side = self.side()?;
        let made =
            write::new_node(new).and_then(|new| side.writer.create_unnamed(dir, &new, side.now()));
        self.told(made)
            .map(|inode| (Ino(u64::from(inode.ino)), inode))
    }

    fn link(
        &self,
        dir: &mut Inode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut Inode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        let place = write::place(name, slot);
        self.told(self.side()?.writer.link(dir, &place, target, space, time))
    }

    fn unlink(
        &self,
        dir: &mut Inode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        let place = write::place(name, slot);
        self.told(self.side()?.writer.unlink(dir, &place, target, time))
    }

    fn rename(&self, op: Rename<'_, Inode>) -> Result<Renamed> {
        self.told(write::rename(&self.side()?.writer, op))?;
        Ok(Renamed::default())
    }

    fn set_attributes(&self, inode: &mut Inode, change: &SetAttributes) -> Result<()> {
        let side = self.side()?;
        self.told(
            side.writer
                .change(inode, &write::change(change), side.now()),
        )
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
        let side = self.side()?;
        let range = (offset, len, size_at_least);
        self.told(write::allocate(
            &side.writer,
            inode,
            range,
            space,
            side.now(),
            placed,
        ))
    }

    fn reserve(&self, inode: &mut Inode, offset: u64, len: u64, space: Space) -> Result<()> {
        let side = self.side()?;
        self.told(side.writer.reserve(inode, offset, len, space, side.now()))
    }

    fn set_size(&self, inode: &mut Inode, size: u64, time: Timespec) -> Result<()> {
        let side = self.side()?;
        self.told(side.writer.set_size(inode, size, time, side.now()))
    }

    fn punch(&self, inode: &mut Inode, offset: u64, len: u64) -> Result<()> {
        let side = self.side()?;
        self.told(side.writer.punch(inode, offset, len, side.now()))
    }

    fn reclaim(&self, inode: Inode) -> Result<()> {
        match self.side() {
            Ok(side) => self.told(side.writer.reclaim(inode, side.now())),
            Err(_) => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        match self.side() {
            Ok(_) => self.fs.volume().commit(),
            Err(_) => Ok(()),
        }
    }

    fn balance(&self) -> Result<()> {
        self.fs.volume().balance()
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
        let side = self.side()?;
        let name = NameIndex::split(name).ok_or(Errno::EOPNOTSUPP)?;
        match self.told(stored_value(inode.file_type, name.0, value))? {
            Some(value) => self.told(
                side.writer
                    .set_xattr(inode, name, &value, mode, space, time),
            ),
            // A list without entries.
            None => match side.writer.remove_xattr(inode, name, time) {
                Err(Error::Refused(Errno::ENODATA)) => Ok(()),
                result => self.told(result),
            },
        }
    }

    fn remove_xattr(&self, inode: &mut Inode, name: &[u8], time: Timespec) -> Result<()> {
        let side = self.side()?;
        let name = NameIndex::split(name).ok_or(Errno::EOPNOTSUPP)?;
        self.told(side.writer.remove_xattr(inode, name, time))
    }

    fn remount(&self, read_only: bool) -> Result<()> {
        if read_only {
            return self.end_writing();
        }
        if self.side.read().is_some() {
            return Ok(());
        }
        if self.overlaid {
            self.log.message(format_args!(
                "the journal has to be replayed: unmount and mount for writing"
            ));
            return Err(Errno::EROFS);
        }
        let first = !self.written.swap(true, Ordering::Relaxed);
        let side = self.told(WriteSide::resume(&self.fs, &self.around, first))?;
        *self.side.write() = Some(Arc::new(side));
        Ok(())
    }

    fn unmount(&self) -> Result<()> {
        let result = self.end_writing();
        self.fs.volume().discard_all();
        result
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(self.fs.volume().device())
    }
}
