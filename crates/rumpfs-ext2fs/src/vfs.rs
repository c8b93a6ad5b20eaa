//! The adapter to `rumpvfs`: this file and its folder alone name it.

mod describe;
mod write;

use crate::{
    acl,
    dir::{Listed, Position},
    error::{Error, Place as Where, Result as FormatResult},
    features::Incompat,
    fs::Ext2fs,
    inode::{Inode, InodeFlags},
    layout::superblock::{EXT4_SUPER_MAGIC, RawSuperblock, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE},
    listing::HASHED,
    map::Mapping,
    options::Options,
    torn::TORN,
    types::{FileBlock, InodeNumber, index, number},
    xattr::NameIndex,
    xattr_write::stored_value,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use describe::describe;
use rumpkern::{Component, Cred, FileType, Log, Phase, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result, Timespec, sync::RwLock};
use rumpvfs::{
    KernelVfs as _,
    fs::{
        AnyFileSystem, Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FileSystem,
        Found, FsStatistics, FsType, Ino, Limits, MountContext, NewInode, Place, Placed, Probe,
        Protection, Rename, Renamed, SetAttributes, Space, XattrMode, erase,
    },
    name::Name,
};
use write::{Surroundings, WriteSide};
use zerocopy::FromBytes;

/// The flags that Linux shows: `FS_FL_USER_VISIBLE` with those of ext4.
const VISIBLE_FLAGS: u32 = 0x705B_DFFF;

/// The component: registers the type `ext2fs`.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "ext2fs",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(Ext2Type)),
    }
}

/// The file system type `ext2fs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ext2Type;

impl FsType for Ext2Type {
    fn name(&self) -> &'static str {
        "ext2fs"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["ext2", "ext3", "ext4"]
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<Probe>> {
        let mut bytes = [0; SUPERBLOCK_SIZE];
        if device.len() < SUPERBLOCK_OFFSET.saturating_add(number(SUPERBLOCK_SIZE)) {
            return Ok(None);
        }
        device.read_at(SUPERBLOCK_OFFSET, &mut bytes)?;
        let raw = RawSuperblock::ref_from_bytes(&bytes).ok();
        Ok(raw
            .filter(|raw| raw.s_magic.get() == EXT4_SUPER_MAGIC)
            .map(describe))
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        let log = context.log.clone();
        let options = Options::parse(&context.options, context.read_only).map_err(|error| {
            log.message(format_args!("{error}"));
            Errno::EINVAL
        })?;
        let device = context.device.clone().ok_or(Errno::EINVAL)?;
        let around = Surroundings::of(&context, options);
        if !context.read_only {
            let (fs, side) =
                write::open(&context, device, &around).map_err(|error| report(&log, error))?;
            return Ok(erase(Mounted {
                fs,
                log,
                around,
                side: RwLock::new(Some(Arc::new(side))),
                overlaid: false,
                written: AtomicBool::new(true),
            }));
        }
        let opened = Ext2fs::open_read_only(
            device,
            &*context.host,
            context.cache_bytes,
            options.norecovery,
        );
        let opened = opened.map_err(|error| report(&log, error))?;
        if opened.torn {
            log.message(format_args!("{TORN}"));
        }
        if opened.replayed > 0 {
            log.message(format_args!(
                "journal replayed in memory: {} transactions",
                opened.replayed
            ));
        }
        if let Some(damage) = opened.damage {
            log.message(format_args!("the journal ends early: {damage}"));
        }
        let overlaid = opened.torn
            || opened.replayed > 0
            || opened.fs.superblock().features.incompat(Incompat::RECOVER);
        Ok(erase(Mounted {
            fs: Arc::new(opened.fs),
            log,
            around,
            side: RwLock::new(None),
            overlaid,
            written: AtomicBool::new(false),
        }))
    }
}

/// Writes what is wrong with the medium to the kernel's messages and flattens it.
fn report(log: &Log, error: Error) -> Errno {
    if !matches!(error, Error::Refused(_) | Error::Unallocated(_)) {
        log.message(format_args!("{error}"));
    }
    error.into()
}

/// A mounted volume.
pub struct Mounted {
    fs: Arc<Ext2fs>,
    log: Log,
    around: Surroundings,
    /// What writing takes; `None` while mounted for reading. Locked for a moment only.
    side: RwLock<Option<Arc<WriteSide>>>,
    /// The journal of the volume has, or had at the mount, something to replay, or the superblock is torn: the medium must not be written.
    overlaid: bool,
    /// It was mounted for writing before: the orphans that are there now are in use.
    written: AtomicBool,
}

impl Mounted {
    /// What writing takes.
    fn side(&self) -> Result<Arc<WriteSide>> {
        self.side.read().clone().ok_or(Errno::EROFS)
    }

    /// Ends writing: the volume is clean then.
    fn end_writing(&self) -> Result<()> {
        let Some(side) = self.side.write().take() else {
            return Ok(());
        };
        // Nobody else has it: operations are over.
        let side = Arc::try_unwrap(side).map_err(|_| Errno::EBUSY)?;
        self.told(side.end())
    }

    fn told<T>(&self, result: FormatResult<T>) -> Result<T> {
        result.map_err(|error| report(&self.log, error))
    }

    /// An inode that a name or a file handle may lead to: not one of those that the volume keeps for itself.
    fn load_inode(&self, ino: Ino) -> FormatResult<Inode> {
        let inode = self.fs.inode(self.own_number(ino)?)?;
        Self::check_named(&inode)?;
        Ok(inode)
    }

    fn own_number(&self, ino: Ino) -> FormatResult<InodeNumber> {
        let sb = self.fs.superblock();
        let number = u32::try_from(ino.0).unwrap_or(0);
        let ino = InodeNumber(number);
        if number == 0 || number > sb.inodes {
            return Err(Error::Unallocated(ino));
        }
        let own = (ino < sb.first_ino && ino != InodeNumber::ROOT) || Some(ino) == sb.orphan_file;
        if own {
            // None that anybody has a name or a handle of.
            return Err(Error::Unallocated(ino));
        }
        Ok(ino)
    }

    fn check_named(inode: &Inode) -> FormatResult<()> {
        if inode.links == 0 {
            return Err(Error::Unallocated(inode.ino));
        }
        if inode.flags.contains(InodeFlags::EA_INODE) {
            return Err(Error::words(
                Where::Inode(inode.ino),
                "i_flags",
                inode.flags.bits(),
                "no value of an attribute",
            ));
        }
        Ok(())
    }

    /// Whether the content can only be had through `read_pages`: in the inode, or encrypted and then not at all.
    fn is_opaque(inode: &Inode) -> bool {
        inode.flags.contains(InodeFlags::INLINE_DATA)
            || (inode.flags.contains(InodeFlags::ENCRYPT) && inode.file_type == FileType::Regular)
    }

    fn map_bytes(&self, inode: &Inode, offset: u64, len: u64) -> FormatResult<Extent> {
        let size = u64::from(self.fs.block_size());
        if Self::is_opaque(inode) {
            return Ok(Extent {
                place: Place::Opaque,
                len: len.max(size),
            });
        }
        let Ok(from) = u32::try_from(offset.checked_div(size).unwrap_or(0)) else {
            return Ok(Extent {
                place: Place::Hole,
                len: len.max(size),
            });
        };
        let most = u32::try_from(len.div_ceil(size)).unwrap_or(u32::MAX);
        let bytes = |block: crate::types::FsBlock| block.0.saturating_mul(size);
        let mapping = self.fs.map(inode, FileBlock(from), most)?;
        let place = match mapping {
            Mapping::OnDisk { block, .. } => Place::Device(bytes(block)),
            Mapping::Unwritten { block, .. } => Place::Unwritten(bytes(block)),
            Mapping::Hole { .. } => Place::Hole,
            Mapping::Inline => Place::Opaque,
        };
        Ok(Extent {
            place,
            len: u64::from(mapping.len()).saturating_mul(size),
        })
    }

    fn read_opaque(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> FormatResult<()> {
        if inode.flags.contains(InodeFlags::ENCRYPT) {
            return Err(Error::NoKey(inode.ino));
        }
        let content = self.fs.inline_data(inode)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let content = content.get(from..).unwrap_or_default();
        let len = content.len().min(buf.len());
        let (data, rest) = buf.split_at_mut(len);
        for (to, from) in data.iter_mut().zip(content) {
            *to = *from;
        }
        rest.fill(0);
        Ok(())
    }

    fn statistics_now(&self) -> FormatResult<FsStatistics> {
        let sb = self.fs.superblock();
        let (free_clusters, free_inodes) = self.fs.free_counts()?;
        let blocks_free = free_clusters.wrapping_shl(sb.cluster_bits).min(sb.blocks);
        Ok(FsStatistics {
            block_size: sb.block_size(),
            blocks: sb.blocks.saturating_sub(self.fs.overhead_blocks()?),
            blocks_free,
            blocks_available: blocks_free.saturating_sub(sb.reserved_blocks),
            files: u64::from(sb.inodes),
            files_free: free_inodes.min(u64::from(sb.inodes)),
        })
    }

    fn attribute(&self, inode: &Inode, name: &[u8]) -> FormatResult<Vec<u8>> {
        let (name_index, rest) = NameIndex::split(name).ok_or(Error::Refused(Errno::EOPNOTSUPP))?;
        let value = self
            .fs
            .xattr(inode, name_index, rest)?
            .ok_or(Error::Refused(Errno::ENOATTR))?;
        if name_index.is_acl() {
            acl::to_attribute(inode.ino, &value)
        } else {
            Ok(value)
        }
    }
}

/// A place in a directory as `rumpvfs` keeps it: block, offset, and the offset before plus one.
#[must_use]
pub fn slot(position: Position) -> DirSlot {
    let previous = position
        .previous
        .map_or(0, |offset| u64::from(offset).saturating_add(1));
    DirSlot([
        u64::from(position.block),
        u64::from(position.offset),
        previous,
    ])
}

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

    fn create_unnamed(&self, new: &NewInode) -> Result<(Ino, Inode)> {
        let side = self.side()?;
        let made =
            write::new_node(new).and_then(|new| side.writer.create_unnamed(&new, side.now()));
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
