//! Changing a volume: the writer of a mount and its transactions.
//!
//! The truth is always in the buffers: free counts, bitmaps, the list of orphans. A transaction that is dropped puts the
//! buffers back, and with them everything. What a [`Writer`] keeps in memory besides (its notes) are hints that may be
//! wrong, and sets of things to do that may be too large: neither needs to be put back.

use crate::{
    checksum::crc32c,
    error::{Error, Place, Result, at},
    fs::Ext2fs,
    groups::GroupDesc,
    inode::Inode,
    layout::superblock::RawSuperblock,
    superblock::{Superblock, update_checksum},
    types::{FsBlock, GroupNumber, InodeNumber, index},
};
use alloc::{
    boxed::Box,
    collections::BTreeSet,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::ops::Range;
use hashbrown::HashMap;
use rumpbio::{Buf, Derived, Handle, Hooks, Space, bitmap};
use rumpuser::{Errno, Rng, Timespec, sync::Mutex};
use zerocopy::FromBytes;

/// Blocks that an operation on names changes at most: a directory's index with splits on each level, two inodes of each
/// of two directories, attribute blocks, and the bitmaps and descriptors of all that.
pub(crate) const NAME_CREDITS: usize = 64;
/// Blocks that one step of an operation on a file's blocks changes at most.
pub(crate) const MAP_CREDITS: usize = 96;
/// After that many changed blocks an operation that can be cut ends its step.
pub(crate) const MAP_STEP: usize = 48;

/// The changing side of a mounted volume.
pub struct Writer {
    fs: Arc<Ext2fs>,
    pub(crate) notes: Mutex<Notes>,
    /// Where random numbers come from.
    random: Mutex<Rng>,
    report: Report,
    /// What to do when the volume is found damaged.
    on_error: OnError,
}

/// What a writer does when it finds the volume damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It goes on.
    Continue,
    /// It writes what it has and nothing more.
    ReadOnly,
}

/// Where a writer says what is wrong with the volume.
pub type Report = Box<dyn Fn(&Error) + Send + Sync>;

/// What a writer keeps in memory: hints and things to do.
#[derive(Default)]
pub(crate) struct Notes {
    /// Groups whose block bitmap has changed since its checksum was stored.
    block_bitmaps: BTreeSet<GroupNumber>,
    /// Groups whose inode bitmap has changed since its checksum was stored.
    inode_bitmaps: BTreeSet<GroupNumber>,
    /// The superblock has changed since its checksum was stored.
    superblock: bool,
    /// Groups whose block bitmap is wrong: nothing is allocated there.
    pub(crate) bad_blocks: BTreeSet<GroupNumber>,
    /// Groups whose inode bitmap is wrong: nothing is allocated there.
    pub(crate) bad_inodes: BTreeSet<GroupNumber>,
    /// Where the last file of a group's inodes got its last block: the next one goes behind it.
    pub(crate) streams: HashMap<GroupNumber, FsBlock>,
    /// Groups that had no free inode when they were looked at, by number. Groups past its end are not known.
    full_inodes: Vec<u8>,
    /// Where in a group the last inode was allocated.
    pub(crate) last_inode: HashMap<GroupNumber, u32>,
    /// The blocks of a group that hold metadata of fixed place.
    pub(crate) fixed: HashMap<GroupNumber, Arc<[Range<u64>]>>,
    /// Who is before an inode in the list of orphans; `None` inside: the superblock.
    pub(crate) orphan_before: HashMap<InodeNumber, Option<InodeNumber>>,
    /// Where in the orphan file an inode stands: block of the file and index in it.
    pub(crate) orphan_slot: HashMap<InodeNumber, (u32, usize)>,
    /// The first block of a directory that may have room for one more name.
    dir_room: HashMap<InodeNumber, u32>,
}

/// How many directories' rooms are remembered.
const MOST_DIR_ROOMS: usize = 1024;

impl Notes {
    /// How many groups in a row from this one on have no free inode, as far as is known.
    pub(crate) fn full_inodes(&self, from: GroupNumber) -> u32 {
        bitmap::run_at(&self.full_inodes, true, from.0, u32::MAX, u32::MAX).count
    }

    /// A group has no free inode, or has one again.
    pub(crate) fn set_full_inodes(&mut self, group: GroupNumber, full: bool) {
        let bytes = index(group.0 / 8).saturating_add(1);
        if full && bytes > self.full_inodes.len() {
            self.full_inodes.resize(bytes, 0);
        }
        bitmap::set(&mut self.full_inodes, group.0, full);
    }

    /// Any group may have a free inode.
    pub(crate) fn forget_full_inodes(&mut self) {
        self.full_inodes.clear();
    }

    /// The first block of a directory that may have room.
    pub(crate) fn dir_room(&self, dir: InodeNumber) -> u32 {
        self.dir_room.get(&dir).copied().unwrap_or(0)
    }

    /// Blocks of a directory before this one have no room.
    pub(crate) fn set_dir_room(&mut self, dir: InodeNumber, block: u32) {
        if self.dir_room.len() >= MOST_DIR_ROOMS {
            self.dir_room.clear();
        }
        self.dir_room.insert(dir, block);
    }

    /// A block of a directory has room again.
    pub(crate) fn lower_dir_room(&mut self, dir: InodeNumber, block: u32) {
        if let Some(room) = self.dir_room.get_mut(&dir) {
            *room = block.min(*room);
        }
    }
}

/// An open transaction. Dropped without [`commit`](Self::commit) it has changed nothing.
pub(crate) struct Txn<'w> {
    writer: &'w Writer,
    handle: Handle<'w>,
    /// When this happens.
    pub(crate) now: Timespec,
    /// Free blocks were passed over because a crash could bring their former owner back: with a commit there is more room.
    pub(crate) passed_held: bool,
    /// Which free blocks may be taken. All, unless somebody's operation says less.
    pub(crate) space: Space,
}

impl Writer {
    /// The changing side of `fs`. `seed` is any random number; `report` is told what is found to be wrong on the way
    /// without making an operation fail.
    #[must_use]
    pub fn new(fs: Arc<Ext2fs>, seed: u64, on_error: OnError, report: Report) -> Arc<Self> {
        Arc::new(Self {
            fs,
            notes: Mutex::default(),
            random: Mutex::new(Rng::new(seed)),
            report,
            on_error,
        })
    }

    /// The volume that is written.
    #[must_use]
    pub fn fs(&self) -> &Arc<Ext2fs> {
        &self.fs
    }

    /// Says that something is wrong with the volume.
    pub(crate) fn message(&self, error: &Error) {
        (self.report)(error);
    }

    /// What it does when it finds the volume damaged.
    pub(crate) fn on_error(&self) -> OnError {
        self.on_error
    }

    /// Opens a transaction that changes `blocks` blocks at most.
    pub(crate) fn begin(&self, blocks: usize, now: Timespec) -> Result<Txn<'_>> {
        let handle = self.fs.volume().begin(blocks).map_err(Error::Refused)?;
        Ok(Txn {
            writer: self,
            handle,
            now,
            passed_held: false,
            space: Space::Reserve,
        })
    }

    /// Runs `f` in a transaction: committed if it succeeds, else undone. When space was short only because freed blocks
    /// wait for a commit, commits and runs it once more.
    pub(crate) fn run<R>(
        &self,
        blocks: usize,
        now: Timespec,
        mut f: impl FnMut(&mut Txn<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut retried = false;
        loop {
            let mut txn = self.begin(blocks, now)?;
            match f(&mut txn) {
                Ok(value) => {
                    txn.commit();
                    return Ok(value);
                }
                Err(Error::Refused(Errno::ENOSPC)) if txn.passed_held && !retried => {
                    drop(txn);
                    retried = true;
                    self.fs.volume().commit().map_err(Error::Refused)?;
                }
                Err(error) => {
                    drop(txn);
                    self.note_error(&error, now);
                    return Err(error);
                }
            }
        }
    }

    /// Runs `f` on a copy of the inode in a transaction; the inode becomes the copy if it succeeds.
    pub(crate) fn run_on<R>(
        &self,
        blocks: usize,
        now: Timespec,
        inode: &mut Inode,
        mut f: impl FnMut(&mut Txn<'_>, &mut Inode) -> Result<R>,
    ) -> Result<R> {
        let (value, copy) = self.run(blocks, now, |txn| {
            let mut copy = inode.clone();
            let value = f(txn, &mut copy)?;
            Ok((value, copy))
        })?;
        *inode = copy;
        Ok(value)
    }

    /// Stores the checksums that operations left for later.
    fn store_checksums(&self, handle: &mut Handle<'_>) -> Result<()> {
        let (blocks, inodes, superblock) = {
            let mut notes = self.notes.lock();
            (
                core::mem::take(&mut notes.block_bitmaps),
                core::mem::take(&mut notes.inode_bitmaps),
                core::mem::take(&mut notes.superblock),
            )
        };
        let mut done = self.store_bitmap_checksums(handle, &blocks, &inodes);
        if done.is_ok() && superblock {
            done = self.fs.modify_superblock(handle, update_checksum);
        }
        if done.is_err() {
            let mut notes = self.notes.lock();
            notes.block_bitmaps.extend(blocks);
            notes.inode_bitmaps.extend(inodes);
            notes.superblock |= superblock;
        }
        done
    }

    fn store_bitmap_checksums(
        &self,
        handle: &mut Handle<'_>,
        blocks: &BTreeSet<GroupNumber>,
        inodes: &BTreeSet<GroupNumber>,
    ) -> Result<()> {
        let sb = self.fs.superblock();
        if !sb.features.metadata_csum() {
            return Ok(());
        }
        for &group in blocks.union(inodes) {
            let mut desc = self.fs.group(group)?;
            let before = desc;
            if blocks.contains(&group) {
                let map = self.fs.read(desc.block_bitmap, Place::BlockBitmap(group))?;
                desc.block_bitmap_csum = bitmap_checksum(sb, &map.data(), sb.clusters_per_group);
            }
            if inodes.contains(&group) {
                let map = self.fs.read(desc.inode_bitmap, Place::InodeBitmap(group))?;
                desc.inode_bitmap_csum = bitmap_checksum(sb, &map.data(), sb.inodes_per_group);
            }
            // An undone operation leaves a note, too: nothing is to be written for it.
            if low(sb, desc.block_bitmap_csum) != low(sb, before.block_bitmap_csum)
                || low(sb, desc.inode_bitmap_csum) != low(sb, before.inode_bitmap_csum)
            {
                self.fs.store_group(handle, group, &desc)?;
            }
        }
        Ok(())
    }
}

/// The checksum of a bitmap of `bits` bits.
pub(crate) fn bitmap_checksum(sb: &Superblock, map: &[u8], bits: u32) -> u32 {
    let covered = map.get(..index(bits / 8)).unwrap_or(map);
    crc32c(sb.csum_seed, covered)
}

/// The part of a bitmap's checksum that a descriptor keeps.
fn low(sb: &Superblock, checksum: u32) -> u32 {
    if sb.desc_size < 64 {
        checksum & 0xFFFF
    } else {
        checksum
    }
}

impl Ext2fs {
    /// Changes the superblock in its buffer.
    pub(crate) fn modify_superblock<R>(
        &self,
        handle: &mut Handle<'_>,
        f: impl FnOnce(&mut RawSuperblock) -> R,
    ) -> Result<R> {
        let sb = self.superblock();
        let buf = self.read(sb.superblock_block(), Place::Superblock)?;
        let start = sb.superblock_offset();
        let part = start..start.saturating_add(size_of::<RawSuperblock>());
        handle
            .modify_part(&buf, part, |bytes| {
                RawSuperblock::mut_from_bytes(bytes).ok().map(f)
            })
            .flatten()
            .ok_or_else(|| Error::words(Place::Superblock, "size", 0_u64, "1024 bytes"))
    }

    /// Looks at the superblock as it is now.
    pub(crate) fn with_superblock<R>(&self, f: impl FnOnce(&RawSuperblock) -> R) -> Result<R> {
        let sb = self.superblock();
        let buf = self.read(sb.superblock_block(), Place::Superblock)?;
        let data = buf.data();
        let bytes = data.get(sb.superblock_offset()..).unwrap_or_default();
        RawSuperblock::ref_from_prefix(bytes)
            .map(|(raw, _)| f(raw))
            .map_err(|_| Error::words(Place::Superblock, "size", 0_u64, "1024 bytes"))
    }

    /// Puts a descriptor into its buffer.
    fn store_group(
        &self,
        handle: &mut Handle<'_>,
        group: GroupNumber,
        desc: &GroupDesc,
    ) -> Result<()> {
        let location = self.group_location(group)?;
        let buf = self.read(location.block, Place::GroupDescriptor(group))?;
        let size = usize::from(self.superblock().desc_size);
        let part = location.offset..location.offset.saturating_add(size);
        handle.modify_part(&buf, part, |bytes| {
            desc.store(self.superblock(), group, bytes);
        });
        Ok(())
    }
}

impl<'w> Txn<'w> {
    /// The writer.
    pub(crate) fn writer(&self) -> &'w Writer {
        self.writer
    }

    /// The volume.
    pub(crate) fn fs(&self) -> &'w Ext2fs {
        &self.writer.fs
    }

    /// The superblock as it was at mount.
    pub(crate) fn sb(&self) -> &'w Superblock {
        self.writer.fs.superblock()
    }

    /// Ends the transaction with its changes.
    pub(crate) fn commit(self) {
        self.handle.commit();
    }

    /// Blocks changed so far.
    pub(crate) fn changed(&self) -> usize {
        self.handle.changed()
    }

    /// Changes a block.
    pub(crate) fn modify<R>(&mut self, buf: &Buf, f: impl FnOnce(&mut [u8]) -> R) -> R {
        self.handle.modify(buf, f)
    }

    /// Changes a block and what was derived of it.
    pub(crate) fn modify_derived<R>(
        &mut self,
        buf: &Buf,
        f: impl FnOnce(&mut [u8], &mut Option<Derived>) -> R,
    ) -> R {
        self.handle.modify_derived(buf, f)
    }

    /// The buffer of a block that becomes metadata, filled with zeros.
    pub(crate) fn create(&mut self, block: FsBlock) -> Result<Buf> {
        self.handle.create(block.0).map_err(at(Place::Block(block)))
    }

    /// Says that a block is metadata no more and is free after this transaction.
    pub(crate) fn forget(&mut self, block: FsBlock) {
        self.handle.forget(block.0);
    }

    /// Something that this transaction changes leads to file data that nothing led to before.
    pub(crate) fn leads_to_data(&mut self) {
        self.handle.leads_to_data();
    }

    /// Keeps blocks from being allocated before this transaction is durable.
    pub(crate) fn hold(&mut self, first: FsBlock, count: u64) {
        self.handle.hold(first.0, count);
    }

    /// The first range within `first .. end` that is not free before a commit.
    pub(crate) fn first_held(&self, first: u64, end: u64) -> Option<Range<u64>> {
        let held = self.fs().volume().first_held(first, end);
        held.map(|(first, end)| first..end)
    }

    /// Changes the superblock; its checksum follows at the commit.
    pub(crate) fn modify_superblock<R>(
        &mut self,
        f: impl FnOnce(&mut RawSuperblock) -> R,
    ) -> Result<R> {
        self.writer.notes.lock().superblock = true;
        self.writer.fs.modify_superblock(&mut self.handle, f)
    }

    /// Stores a group's descriptor.
    pub(crate) fn store_group(&mut self, group: GroupNumber, desc: &GroupDesc) -> Result<()> {
        let fs = self.fs();
        fs.store_group(&mut self.handle, group, desc)
    }

    /// Notes that a group's block bitmap needs a new checksum.
    pub(crate) fn block_bitmap_changed(&mut self, group: GroupNumber) {
        self.writer.notes.lock().block_bitmaps.insert(group);
    }

    /// Notes that a group's inode bitmap needs a new checksum.
    pub(crate) fn inode_bitmap_changed(&mut self, group: GroupNumber) {
        self.writer.notes.lock().inode_bitmaps.insert(group);
    }

    /// Stores an inode. `i_dtime` stays as it is on the medium: it belongs to the list of orphans, which changes it under
    /// inodes that are live.
    pub(crate) fn store_inode(&mut self, inode: &Inode) -> Result<()> {
        let buf = self.fs().inode_buffer(inode.ino, inode.location)?;
        let sb = self.sb();
        let part = self.fs().inode_part(inode.location);
        self.handle.modify_part(&buf, part, |bytes| {
            let mut copy = inode.clone();
            copy.dtime = crate::inode::stored_dtime(bytes);
            copy.store(sb, bytes);
        });
        Ok(())
    }

    /// Changes the bytes of an inode that [`Inode`] does not keep (attributes, `i_dtime`), and brings its checksum up to
    /// date.
    pub(crate) fn modify_inode_bytes<R>(
        &mut self,
        ino: InodeNumber,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        let (buf, location, _) = self.fs().inode_bytes(ino)?;
        let sb = self.sb();
        let part = self.fs().inode_part(location);
        let changed = self.handle.modify_part(&buf, part, |bytes| {
            let value = f(bytes);
            crate::inode::update_checksum(sb, ino, bytes);
            value
        });
        changed.ok_or_else(|| Error::words(Place::Inode(ino), "offset", 0_u64, "inside the block"))
    }

    /// A random number.
    pub(crate) fn random(&mut self) -> u32 {
        // Generations need not be secret, only different.
        u32::try_from(self.writer.random.lock().next_u64() >> 32).unwrap_or(0)
    }
}

/// What a volume calls at its commits.
pub struct CommitHooks {
    writer: Weak<Writer>,
    ordered: Arc<dyn Ordered>,
}

/// Writes the file data whose blocks a transaction allocates.
pub trait Ordered: Send + Sync {
    /// Writes it, without a flush.
    ///
    /// # Errors
    /// Any; the volume is then aborted.
    fn write_ordered(&self) -> Result<(), Errno>;
}

impl CommitHooks {
    /// Hooks for `writer`. They do not keep it alive: the volume keeps them, and the writer the volume.
    #[must_use]
    pub fn new(writer: &Arc<Writer>, ordered: Arc<dyn Ordered>) -> Self {
        Self {
            writer: Arc::downgrade(writer),
            ordered,
        }
    }
}

impl Hooks for CommitHooks {
    fn before_commit(&self, handle: &mut Handle<'_>) -> Result<(), Errno> {
        match self.writer.upgrade() {
            Some(writer) => writer
                .store_checksums(handle)
                .map_err(|error| Errno::from(&error)),
            None => Ok(()),
        }
    }

    fn write_ordered(&self) -> Result<(), Errno> {
        self.ordered.write_ordered()
    }
}

/// Ranges of `ranges` that overlap `first .. end`.
pub(crate) fn overlaps(ranges: &[Range<u64>], first: u64, end: u64) -> bool {
    ranges.iter().any(|r| r.start < end && first < r.end)
}

/// The ranges in order, those that touch joined.
pub(crate) fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|r| r.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Notes;
    use crate::types::GroupNumber;

    #[test]
    fn full_groups_are_passed_over_in_runs() {
        let mut notes = Notes::default();
        assert_eq!(notes.full_inodes(GroupNumber(7)), 0);
        for group in [3, 4, 5, 7, 8, 100_000] {
            notes.set_full_inodes(GroupNumber(group), true);
        }
        notes.set_full_inodes(GroupNumber(4), false);
        // Past the end, where nothing is known.
        notes.set_full_inodes(GroupNumber(u32::MAX), false);
        let runs =
            [2, 3, 4, 5, 6, 7, 9, 100_000, u32::MAX].map(|g| notes.full_inodes(GroupNumber(g)));
        assert_eq!(runs, [0, 1, 0, 1, 0, 2, 0, 1, 0]);
        notes.forget_full_inodes();
        assert_eq!(notes.full_inodes(GroupNumber(3)), 0);
    }
}
