//! The adapter to `rumpvfs`: this file and its folder alone name it.

mod describe;
mod filesystem;
mod write;

use crate::{
    acl,
    dir::Position,
    error::{Error, Place as Where, Result as FormatResult},
    features::Incompat,
    fs::Ext2fs,
    inode::{Inode, InodeFlags},
    layout::superblock::{EXT4_SUPER_MAGIC, RawSuperblock, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE},
    map::Mapping,
    options::Options,
    torn::TORN,
    types::{FileBlock, InodeNumber, number},
    xattr::NameIndex,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::AtomicBool;
use describe::describe;
use rumpkern::{Component, FileType, Log, Phase};
use rumpuser::{BlockDevice, Errno, Result, sync::RwLock};
use rumpvfs::{
    KernelVfs as _,
    fs::{
        AnyFileSystem, DirSlot, Extent, FsStatistics, FsType, Ino, MountContext, Place, Probe,
        erase,
    },
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
