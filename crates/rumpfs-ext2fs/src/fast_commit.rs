//! Applying fast commits: what happened since the last full commit, done again to the volume.
//!
//! It is done in memory, on a [`ScratchDevice`] over the volume as the log leaves it, whether the mount is for reading or
//! for writing: if anything is wrong nothing has happened. A mount for reading then sees that device; one for writing
//! writes its blocks home before it empties the log. A power cut during that has the next mount do all of it again, on top
//! of some of its results: what is done twice is as done once.
//!
//! # Space
//! The bitmaps of the volume are those of the last full commit. Blocks that ranges name are marked first, so that no
//! directory that grows meanwhile gets one. Data blocks that are taken from files stay marked to the end: another range
//! may name them. Then all of these are free that no range has in its place.
//!
//! # Counts
//! The records of inodes tell their sizes, times and links, but those of directories come only with their creation, and
//! tell what the directory was at the commit, names that follow included. So directories are counted at the end.

mod names;
mod space;

use crate::{
    error::{Error, Place, Result, at},
    extents::Extent,
    extents_node::empty_root,
    extents_write::ExtentTree,
    fs::Ext2fs,
    inode::{FileType, Inode, InodeFlags},
    journal::{FastCommitOp, FastCommitTarget, Replay, ScratchDevice, apply},
    layout::{
        extent::EXT4_EXT_MAGIC,
        inode::{EXT4_GOOD_OLD_INODE_SIZE, I_BLOCK_OFFSET, I_BLOCK_SIZE},
    },
    map::Mapping,
    superblock::Superblock,
    txn::{CommitHooks, OnError, Ordered, Txn, Writer},
    types::{FileBlock, FsBlock, InodeNumber, number},
};
use alloc::{boxed::Box, collections::BTreeSet, sync::Arc, vec::Vec};
use rumpuser::{BlockDevice, Errno, Result as HostResult, Threads, Timespec};

/// Most bytes that the changed blocks may take in memory.
const MOST_BYTES: u64 = 256 << 20;
/// Metadata buffers while it is done.
const CACHE_BYTES: usize = 4 << 20;
/// Offset of `i_generation`: where the fields after `i_block` start.
const AFTER_I_BLOCK: usize = I_BLOCK_OFFSET + I_BLOCK_SIZE;

/// The volume on `device`, of blocks of `block_size` bytes, as its log and the fast commits behind it leave it. Nothing is
/// written to `device`.
///
/// # Errors
/// What is wrong with the volume or with an operation; [`Error::Unsupported`] for names in directories that cannot be
/// changed (encrypted, case-insensitive); `ENOSPC` if more would have to be kept in memory than is sensible.
pub(crate) fn replayed(
    device: Arc<dyn BlockDevice>,
    block_size: u32,
    replay: &Replay,
    threads: &dyn Threads,
) -> Result<Arc<ScratchDevice>> {
    let limit = MOST_BYTES
        .checked_div(u64::from(block_size))
        .and_then(|blocks| usize::try_from(blocks).ok())
        .unwrap_or(0)
        .saturating_add(replay.blocks.len());
    let scratch = Arc::new(ScratchDevice::new(device, block_size, replay, limit));
    let fs = Arc::new(Ext2fs::open(scratch.clone(), threads, CACHE_BYTES)?);
    let writer = Writer::new(fs.clone(), 0, OnError::Continue, Box::new(|_| {}));
    let volume = fs.volume();
    volume.set_hooks(Arc::new(CommitHooks::new(&writer, Arc::new(NoData))));
    // What is deleted was deleted after the last full commit: whoever reads the volume needs no clock.
    let written = fs.with_superblock(|raw| raw.s_wtime.get())?;
    let mut target = Target {
        writer: &writer,
        now: Timespec::from_secs(i64::from(written)),
        added: Vec::new(),
        marked: Vec::new(),
        taken: Vec::new(),
        inodes: BTreeSet::new(),
        dirs: BTreeSet::new(),
        error: None,
    };
    let result = apply(&replay.fast_commits.ops, &mut target);
    let error = target.error.take();
    if result.is_ok() {
        volume.checkpoint().map_err(at(Place::Superblock))?;
    }
    volume.discard_all();
    match (result, error) {
        (Ok(()), _) => Ok(scratch),
        (Err(_), Some(error)) => Err(error),
        (Err(errno), None) => Err(Error::Refused(errno)),
    }
}

/// No file data is written here: it is in its place since before the fast commit.
struct NoData;

impl Ordered for NoData {
    fn write_ordered(&self) -> HostResult<()> {
        Ok(())
    }
}

/// A range that an operation gave a file.
struct Added {
    ino: InodeNumber,
    extent: Extent,
}

/// The volume that operations are applied to.
struct Target<'w> {
    writer: &'w Writer,
    now: Timespec,
    /// Ranges that operations gave to files.
    added: Vec<Added>,
    /// Runs of blocks that were free and are marked because a range names them: first block, number.
    marked: Vec<(FsBlock, u64)>,
    /// What was taken from files.
    taken: Vec<Added>,
    /// Inodes that operations named, no directories.
    inodes: BTreeSet<InodeNumber>,
    /// Directories whose names changed.
    dirs: BTreeSet<InodeNumber>,
    /// What went wrong, in full.
    error: Option<Error>,
}

impl Target<'_> {
    /// Runs `f` in a transaction.
    fn run(&mut self, f: impl Fn(&mut Self, &mut Txn<'_>) -> Result<()>) -> HostResult<()> {
        let writer = self.writer;
        // The volume has no log: a transaction may be as large as it takes.
        let result = writer.begin(0, self.now).and_then(|mut txn| {
            f(self, &mut txn)?;
            txn.commit();
            Ok(())
        });
        result.map_err(|error| {
            let errno = Errno::from(&error);
            self.error = Some(error);
            // An answer that means something to a caller of a system call means damage here.
            if errno == Errno::EOPNOTSUPP || errno == Errno::ENOSPC {
                errno
            } else {
                Errno::EIO
            }
        })
    }

    /// An inode's number, if it is one that files and directories have.
    fn inode_number(&self, ino: u32) -> Result<InodeNumber> {
        let sb = self.writer.fs().superblock();
        let ino = InodeNumber(ino);
        let own = [sb.journal, sb.orphan_file].contains(&Some(ino));
        if own || (ino < sb.first_ino && ino != InodeNumber::ROOT) || ino.0 > sb.inodes {
            let place = Place::Inode(ino);
            return Err(Error::words(
                place,
                "number in a fast commit",
                ino,
                "a file's",
            ));
        }
        Ok(ino)
    }

    /// A file whose map ranges can change. Ranges come before the record that tells that a file's data is not in the inode
    /// any more.
    fn mapped_inode(&self, txn: &mut Txn<'_>, ino: u32) -> Result<Inode> {
        let ino = self.inode_number(ino)?;
        let mut inode = txn.fs().inode(ino)?;
        if inode.flags.contains(InodeFlags::INLINE_DATA) && !inode.is_dir() {
            txn.drop_inline_data(&mut inode)?;
        }
        if !inode.flags.contains(InodeFlags::EXTENTS) {
            return Err(Error::Unsupported(
                Place::Inode(ino),
                "fast commit of a file with a block map",
            ));
        }
        Ok(inode)
    }

    /// Takes the blocks `from .. to` from a file. They stay marked.
    fn cut(&mut self, txn: &mut Txn<'_>, inode: &mut Inode, from: u64, to: u64) -> Result<()> {
        let ino = inode.ino;
        let taken = &mut self.taken;
        let mut free = |txn: &mut Txn<'_>, inode: &mut Inode, extent: Extent| {
            let clusters = txn.clusters_left(inode, extent)?;
            let sectors = txn.metadata_sectors().saturating_mul(clusters);
            inode.blocks_512 = inode.blocks_512.saturating_sub(sectors);
            taken.push(Added { ino, extent });
            Ok(())
        };
        ExtentTree { txn, inode }.remove(from, to, usize::MAX, &mut free)?;
        Ok(())
    }

    fn add(&mut self, txn: &mut Txn<'_>, ino: u32, extent: Extent) -> Result<()> {
        let mut inode = self.mapped_inode(txn, ino)?;
        self.inodes.insert(inode.ino);
        let end = extent.end();
        let mut from = u64::from(extent.first);
        while from < end {
            let Ok(first) = u32::try_from(from) else {
                break;
            };
            let left = u32::try_from(end.saturating_sub(from)).unwrap_or(u32::MAX);
            let there = txn.fs().map(&inode, FileBlock(first), left)?;
            let len = there.len().min(left).max(1);
            let skip = from.saturating_sub(u64::from(extent.first));
            let wanted = Extent {
                first: FileBlock(first),
                len,
                start: FsBlock(extent.start.0.saturating_add(skip)),
                unwritten: extent.unwritten,
            };
            let (block, unwritten) = match there {
                Mapping::OnDisk { block, .. } => (Some(block), false),
                Mapping::Unwritten { block, .. } => (Some(block), true),
                Mapping::Hole { .. } | Mapping::Inline => (None, false),
            };
            let same = block == Some(wanted.start) && unwritten == wanted.unwritten;
            from = from.saturating_add(u64::from(len));
            if same {
                continue;
            }
            if block.is_some() {
                self.cut(txn, &mut inode, u64::from(first), from)?;
            }
            let clusters = txn.clusters_left(&inode, wanted)?;
            let sectors = txn.metadata_sectors().saturating_mul(clusters);
            inode.blocks_512 = inode.blocks_512.saturating_add(sectors);
            let inode = &mut inode;
            ExtentTree { txn, inode }.insert(wanted)?;
        }
        let ino = inode.ino;
        self.added.push(Added { ino, extent });
        txn.store_inode(&inode)
    }

    fn set(&mut self, txn: &mut Txn<'_>, ino: u32, raw: &[u8]) -> Result<()> {
        let ino = self.inode_number(ino)?;
        let (file_type, generation) = check_record(txn.sb(), ino, raw)?;
        let old = match self.present(txn, ino)? {
            Some(old) if old.generation != generation || old.file_type != file_type => {
                self.free(txn, old)?;
                None
            }
            old => old,
        };
        let location = txn.fs().inode_location(ino)?;
        let sb = txn.sb();
        let padded = raw_padded(raw, usize::from(sb.inode_size));
        let flags = Inode::parse(sb, ino, location, &padded)?.flags;
        let old = match old {
            None => {
                txn.take_inode(ino, file_type == FileType::Directory)?;
                None
            }
            Some(mut old) => {
                if old.flags.contains(InodeFlags::INLINE_DATA)
                    && !flags.contains(InodeFlags::INLINE_DATA)
                {
                    txn.drop_inline_data(&mut old)?;
                    txn.store_inode(&old)?;
                }
                Some(old)
            }
        };
        let mapped = !flags.contains(InodeFlags::INLINE_DATA)
            && (flags.contains(InodeFlags::EXTENTS)
                || matches!(file_type, FileType::Regular | FileType::Directory));
        let bytes = Self::merged(txn, ino, raw, mapped)?;
        let mut inode = Inode::parse(txn.sb(), ino, location, &bytes)?;
        if flags.contains(InodeFlags::EXTENTS)
            && !inode.block.starts_with(&EXT4_EXT_MAGIC.to_le_bytes())
        {
            inode.block = empty_root();
        }
        keep_of(old, &mut inode);
        if inode.is_dir() {
            self.dirs.insert(ino);
        } else {
            self.inodes.insert(ino);
        }
        txn.modify_inode_bytes(ino, |slot| slot.copy_from_slice(&bytes))?;
        txn.store_inode(&inode)
    }

    /// The bytes of an inode with those of a record over them, all but the map of its blocks if it has one.
    fn merged(txn: &Txn<'_>, ino: InodeNumber, raw: &[u8], mapped: bool) -> Result<Vec<u8>> {
        let location = txn.fs().inode_location(ino)?;
        let size = usize::from(txn.sb().inode_size);
        let buf = txn.fs().read(location.block, Place::Inode(ino))?;
        let data = buf.data();
        let end = location.offset.saturating_add(size);
        let stored = data.get(location.offset..end).unwrap_or_default();
        let mut bytes = stored.to_vec();
        copy(&mut bytes, 0, raw.get(..I_BLOCK_OFFSET));
        copy(&mut bytes, AFTER_I_BLOCK, raw.get(AFTER_I_BLOCK..));
        if !mapped {
            let map = raw.get(I_BLOCK_OFFSET..AFTER_I_BLOCK);
            copy(&mut bytes, I_BLOCK_OFFSET, map);
        }
        Ok(bytes)
    }

    /// An inode that is in use.
    fn present(&self, txn: &mut Txn<'_>, ino: InodeNumber) -> Result<Option<Inode>> {
        if !txn.inode_in_use(ino)? {
            return Ok(None);
        }
        match txn.fs().inode(ino) {
            Ok(inode) => Ok(Some(inode)),
            Err(Error::Unallocated(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Frees an inode with its blocks and attributes.
    fn free(&mut self, txn: &mut Txn<'_>, mut inode: Inode) -> Result<()> {
        let mapped = !inode.flags.contains(InodeFlags::INLINE_DATA)
            && matches!(
                inode.file_type,
                FileType::Regular | FileType::Directory | FileType::Symlink
            );
        if mapped && inode.flags.contains(InodeFlags::EXTENTS) {
            self.cut(txn, &mut inode, 0, u64::MAX)?;
        } else if mapped && !inode.is_fast_symlink(txn.sb()) {
            txn.remove_blocks(&mut inode, 0, u64::MAX, usize::MAX)?;
        }
        while !txn.release_xattrs(&mut inode)? {}
        self.inodes.remove(&inode.ino);
        self.dirs.remove(&inode.ino);
        txn.erase_inode(&mut inode)
    }

    /// Frees what has no name left, and counts directories.
    fn settle(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        for ino in core::mem::take(&mut self.inodes) {
            if let Some(inode) = self.present(txn, ino)?
                && inode.links == 0
            {
                self.free(txn, inode)?;
            }
        }
        for ino in core::mem::take(&mut self.dirs) {
            if let Some(dir) = self.present(txn, ino)? {
                self.count_links(txn, dir)?;
            }
        }
        self.settle_space(txn)
    }
}

/// The type and the generation of the inode in a record, which can be that of this inode.
fn check_record(sb: &Superblock, ino: InodeNumber, raw: &[u8]) -> Result<(FileType, u32)> {
    let place = Place::Inode(ino);
    let wrong = |field, found, expected| Err(Error::words(place, field, found, expected));
    if ino == InodeNumber::ROOT {
        return wrong("record in a fast commit", u64::from(ino), "another's");
    }
    let sizes = usize::from(EXT4_GOOD_OLD_INODE_SIZE)..=usize::from(sb.inode_size);
    if !sizes.contains(&raw.len()) {
        return wrong("size", number(raw.len()), "an inode's");
    }
    let mode = raw.first_chunk::<2>().map_or(0, |m| u16::from_le_bytes(*m));
    let Some(file_type) = FileType::from_mode(mode.into()) else {
        return wrong("i_mode", mode.into(), "a file type");
    };
    let generation = raw
        .get(AFTER_I_BLOCK..)
        .and_then(|rest| rest.first_chunk::<4>());
    Ok((file_type, generation.map_or(0, |g| u32::from_le_bytes(*g))))
}

/// Leaves an inode what no fast commit changes: its attributes, and of a directory what its own records tell.
fn keep_of(old: Option<Inode>, inode: &mut Inode) {
    (inode.blocks_512, inode.file_acl) = match &old {
        Some(old) => (old.blocks_512, old.file_acl),
        None => (0, FsBlock(0)),
    };
    if let Some(old) = old.filter(Inode::is_dir) {
        inode.size = old.size;
        inode.links = old.links;
        let indexed = old.flags.contains(InodeFlags::INDEX);
        inode.flags.set(InodeFlags::INDEX, indexed);
    }
}

/// The inode of a record with zeros behind it, as many bytes as the volume's inodes have.
fn raw_padded(raw: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = raw.to_vec();
    bytes.resize(size, 0);
    bytes
}

fn copy(bytes: &mut [u8], at: usize, from: Option<&[u8]>) {
    let to = bytes.get_mut(at..).unwrap_or_default();
    to.iter_mut()
        .zip(from.unwrap_or_default())
        .for_each(|(to, from)| *to = *from);
}

impl FastCommitTarget for Target<'_> {
    fn begin(&mut self, ops: &[FastCommitOp]) -> HostResult<()> {
        self.run(|target, txn| target.mark_ranges(txn, ops))
    }

    fn add_range(
        &mut self,
        ino: u32,
        logical: u32,
        physical: u64,
        count: u16,
        unwritten: bool,
    ) -> HostResult<()> {
        let extent = Extent {
            first: FileBlock(logical),
            len: u32::from(count),
            start: FsBlock(physical),
            unwritten,
        };
        self.run(|target, txn| target.add(txn, ino, extent))
    }

    fn del_range(&mut self, ino: u32, logical: u32, count: u32) -> HostResult<()> {
        self.run(|target, txn| {
            let mut inode = target.mapped_inode(txn, ino)?;
            let from = u64::from(logical);
            target.cut(txn, &mut inode, from, from.saturating_add(u64::from(count)))?;
            txn.store_inode(&inode)
        })
    }

    fn set_inode(&mut self, ino: u32, raw: &[u8]) -> HostResult<()> {
        self.run(|target, txn| target.set(txn, ino, raw))
    }

    fn creat(&mut self, parent: u32, ino: u32, name: &[u8]) -> HostResult<()> {
        self.run(|target, txn| target.enter(txn, parent, ino, name, names::Entering::New))
    }

    fn link(&mut self, parent: u32, ino: u32, name: &[u8]) -> HostResult<()> {
        self.run(|target, txn| target.enter(txn, parent, ino, name, names::Entering::Another))
    }

    fn unlink(&mut self, parent: u32, ino: u32, name: &[u8]) -> HostResult<()> {
        self.run(|target, txn| target.leave(txn, parent, ino, name))
    }

    fn finish(&mut self) -> HostResult<()> {
        self.run(Self::settle)
    }
}
