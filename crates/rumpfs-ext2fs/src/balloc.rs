//! Allocating and freeing blocks: group bitmaps, free counts.
//!
//! The unit is the cluster: a block without bigalloc. A request gives a goal and a number of clusters, and gets a run
//! that may be shorter. Looked at in this order: the goal itself; a run as long as wanted in the goal's group and the
//! groups after it; any run in any group. Blocks that were freed by a transaction that is not durable are passed over.
//!
//! Of the last `s_r_blocks_count` free blocks nothing is given to operations that may use [`Space::Ordinary`] alone. What gives
//! blocks back in the end (removal, holes) may use them, as may what writes to blocks that the file has already.

use crate::{
    error::{Error, Expected, Place, Result},
    features::Incompat,
    groups::{GroupDesc, GroupFlags},
    layout::superblock::RawSuperblock,
    txn::{Txn, Writer, bitmap_checksum, joined, overlaps},
    types::{FsBlock, GroupNumber, InodeNumber, join},
};
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
use rumpbio::{
    Buf, Space,
    bitmap::{self, Run},
};
use rumpuser::Errno;

/// Groups from the goal's on in which a run as long as wanted is looked for before any run will do.
const GOOD_GROUPS: u32 = 16;
/// Flexible groups larger than this are not searched whole for metadata of fixed place.
const MOST_FLEX_GROUPS: u32 = 1024;
/// How often a search within one group steps over blocks that are held back.
const HELD_STEPS: u32 = 64;

/// Blocks that were allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// The first block, at the start of a cluster.
    pub(crate) first: FsBlock,
    /// Number of blocks, above 0: whole clusters.
    pub(crate) count: u32,
}

/// Free blocks as the superblock says; `wide` is [`Incompat::BIT64`].
pub(crate) fn free_blocks(raw: &RawSuperblock, wide: bool) -> u64 {
    let high = if wide {
        raw.s_free_blocks_count_hi.get()
    } else {
        0
    };
    join(high, raw.s_free_blocks_count_lo.get())
}

impl Writer {
    /// The blocks of a group that hold metadata of fixed place: superblock, descriptors, bitmaps, inode tables.
    fn fixed_blocks(&self, group: GroupNumber) -> Result<Arc<[Range<u64>]>> {
        if let Some(ranges) = self.notes.lock().fixed.get(&group) {
            return Ok(ranges.clone());
        }
        let fs = self.fs();
        let sb = fs.superblock();
        let start = sb.group_start(group).0;
        let end = start.saturating_add(u64::from(sb.group_blocks(group)));
        let base = u64::from(fs.group_base_blocks(group));
        let mut ranges = Vec::new();
        let table = u64::from(sb.inode_table_blocks());
        for other in flex_groups(self, group) {
            let desc = fs.group(GroupNumber(other))?;
            ranges.extend([
                (desc.block_bitmap.0, 1),
                (desc.inode_bitmap.0, 1),
                (desc.inode_table.0, table),
            ]);
        }
        ranges.push((start, base));
        let inside = ranges.into_iter().filter_map(|(first, count)| {
            let (first, last) = (first.max(start), first.saturating_add(count).min(end));
            (first < last).then_some(first..last)
        });
        let ranges: Arc<[Range<u64>]> = joined(inside.collect()).into();
        self.notes.lock().fixed.insert(group, ranges.clone());
        Ok(ranges)
    }
}

/// The groups of the flexible group that `group` is in; itself alone without the feature.
fn flex_groups(writer: &Writer, group: GroupNumber) -> Range<u32> {
    let sb = writer.fs().superblock();
    let size = if sb.features.incompat(Incompat::FLEX_BG) {
        1_u32
            .checked_shl(u32::from(sb.log_groups_per_flex))
            .unwrap_or(MOST_FLEX_GROUPS)
            .min(MOST_FLEX_GROUPS)
    } else {
        1
    };
    let first = group
        .0
        .saturating_sub(group.0.checked_rem(size).unwrap_or(0));
    first..first.saturating_add(size).min(sb.groups)
}

impl Txn<'_> {
    /// Clusters in a group, those of the last group's end included only as far as they are there.
    fn group_clusters(&self, group: GroupNumber) -> u32 {
        let sb = self.sb();
        sb.group_blocks(group).div_ceil(sb.cluster_ratio())
    }

    /// The first block of a cluster of a group.
    pub(crate) fn cluster_block(&self, group: GroupNumber, cluster: u32) -> FsBlock {
        let sb = self.sb();
        let offset = u64::from(cluster).wrapping_shl(sb.cluster_bits);
        FsBlock(sb.group_start(group).0.saturating_add(offset))
    }

    /// The group's block bitmap, made if the group was never used, and checked.
    pub(crate) fn block_bitmap(&mut self, group: GroupNumber, desc: &mut GroupDesc) -> Result<Buf> {
        if desc.flags.contains(GroupFlags::BLOCK_UNINIT) {
            return self.init_block_bitmap(group, desc);
        }
        let place = Place::BlockBitmap(group);
        let buf = self.fs().read(desc.block_bitmap, place)?;
        if buf.verified() {
            return Ok(buf);
        }
        let sb = self.sb();
        let map = buf.data();
        if sb.features.metadata_csum() {
            let mut computed = bitmap_checksum(sb, &map, sb.clusters_per_group);
            if sb.desc_size < 64 {
                computed &= 0xFFFF;
            }
            if computed != desc.block_bitmap_csum {
                let stored = desc.block_bitmap_csum;
                return Err(Error::Checksum {
                    place,
                    stored,
                    computed,
                });
            }
        }
        let free = bitmap::count(&map, false, self.group_clusters(group));
        if free != desc.free_blocks {
            let found = u64::from(desc.free_blocks);
            return Err(Error::value(
                Place::GroupDescriptor(group),
                "bg_free_blocks_count",
                found,
                Expected::Exactly(u64::from(free)),
            ));
        }
        for range in self.writer().fixed_blocks(group)?.iter() {
            let clusters = self.clusters_of(group, range);
            if !bitmap::all(&map, true, clusters) {
                return Err(Error::words(
                    place,
                    "bits of metadata",
                    range.start,
                    "in use",
                ));
            }
        }
        buf.set_verified();
        Ok(buf)
    }

    /// The clusters of a group that a range of its blocks touches.
    pub(crate) fn clusters_of(&self, group: GroupNumber, range: &Range<u64>) -> Range<u32> {
        let sb = self.sb();
        let start = sb.group_start(group).0;
        let ratio = u64::from(sb.cluster_ratio());
        let first = range.start.saturating_sub(start) >> sb.cluster_bits;
        let end = range.end.saturating_sub(start).div_ceil(ratio);
        u32::try_from(first).unwrap_or(u32::MAX)..u32::try_from(end).unwrap_or(u32::MAX)
    }

    /// Makes the bitmap of a group that was never used: in use are metadata of fixed place and what is not there.
    fn init_block_bitmap(&mut self, group: GroupNumber, desc: &mut GroupDesc) -> Result<Buf> {
        let fixed = self.writer().fixed_blocks(group)?;
        let clusters = self.group_clusters(group);
        let used: Vec<Range<u32>> = fixed.iter().map(|r| self.clusters_of(group, r)).collect();
        let bits = self.sb().block_size().saturating_mul(8);
        let buf = self.create(desc.block_bitmap)?;
        let free = self.modify(&buf, |map| {
            for range in used {
                bitmap::fill(map, range, true);
            }
            bitmap::fill(map, clusters..bits, true);
            bitmap::count(map, false, clusters)
        });
        if free != desc.free_blocks {
            return Err(Error::value(
                Place::GroupDescriptor(group),
                "bg_free_blocks_count",
                desc.free_blocks,
                Expected::Exactly(u64::from(free)),
            ));
        }
        desc.flags.remove(GroupFlags::BLOCK_UNINIT);
        self.store_group(group, desc)?;
        self.block_bitmap_changed(group);
        Ok(buf)
    }

    /// Makes the block bitmap of a group whose inode table is about to be used.
    pub(crate) fn touch_group(&mut self, group: GroupNumber, desc: &mut GroupDesc) -> Result<()> {
        if desc.flags.contains(GroupFlags::BLOCK_UNINIT) {
            self.init_block_bitmap(group, desc)?;
        }
        Ok(())
    }

    /// Allocates up to `want` clusters in one run, near `goal`.
    ///
    /// # Errors
    /// `ENOSPC`, also when only blocks are left that the operation may not take; what is wrong with the first bad group if all
    /// groups that could have had room are bad.
    pub(crate) fn allocate(&mut self, goal: FsBlock, want: u32) -> Result<Blocks> {
        let sb = self.sb();
        let want = self.outside_reserve(want)?;
        let (goal_group, offset) = sb.group_of(goal).unwrap_or((GroupNumber(0), 0));
        let goal_bit = offset.wrapping_shr(sb.cluster_bits);
        let mut first_error = None;
        for good in [true, false] {
            let groups = if good {
                GOOD_GROUPS.min(sb.groups)
            } else {
                sb.groups
            };
            for step in 0..groups {
                let number = u64::from(goal_group.0).saturating_add(u64::from(step));
                let number = number.checked_rem(u64::from(sb.groups)).unwrap_or(0);
                let group = GroupNumber(u32::try_from(number).unwrap_or(0));
                let goal_bit = (step == 0).then_some(goal_bit);
                match self.allocate_in(group, goal_bit, want, good) {
                    Ok(Some(blocks)) => return Ok(blocks),
                    Ok(None) => {}
                    Err(error) if error.is_corruption() => {
                        // What cannot be read now may be readable later: only what is wrong stays out of use.
                        if !matches!(error, Error::Device(..)) {
                            self.writer().notes.lock().bad_blocks.insert(group);
                        }
                        self.count_error(&error)?;
                        first_error.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Err(first_error.unwrap_or(Error::Refused(Errno::ENOSPC)))
    }

    /// How many of `want` clusters the operation may take.
    fn outside_reserve(&self, want: u32) -> Result<u32> {
        let sb = self.sb();
        if self.space == Space::Reserve || sb.reserved_blocks == 0 {
            return Ok(want);
        }
        let wide = sb.features.incompat(Incompat::BIT64);
        let free = self.fs().with_superblock(|raw| free_blocks(raw, wide))?;
        let ordinary = free.saturating_sub(sb.reserved_blocks) >> sb.cluster_bits;
        match u32::try_from(ordinary).unwrap_or(u32::MAX).min(want) {
            0 => Err(Error::Refused(Errno::ENOSPC)),
            most => Ok(most),
        }
    }

    /// Allocates in one group. With `good`, only a run as long as wanted, or one that starts at the goal.
    fn allocate_in(
        &mut self,
        group: GroupNumber,
        goal_bit: Option<u32>,
        want: u32,
        good: bool,
    ) -> Result<Option<Blocks>> {
        if self.writer().notes.lock().bad_blocks.contains(&group) {
            return Ok(None);
        }
        let mut desc = self.fs().group(group)?;
        if desc.free_blocks == 0 || (good && goal_bit.is_none() && desc.free_blocks < want) {
            return Ok(None);
        }
        let buf = self.block_bitmap(group, &mut desc)?;
        let map = buf.data();
        let end = self.group_clusters(group);
        let mut found = None;
        if let Some(at) = goal_bit {
            let run = bitmap::run_at(&map, false, at, want, end);
            found = self.without_held(group, run).filter(|r| r.first == at);
        }
        if found.is_none() {
            let from = goal_bit.unwrap_or(0).min(end);
            let long = |run: &Run| !good || run.count >= want;
            found = self
                .search(group, &map, from..end, want)
                .filter(long)
                .or_else(|| self.search(group, &map, 0..from, want).filter(long));
        }
        drop(map);
        match found {
            Some(run) => self.take(group, &mut desc, &buf, run).map(Some),
            None => Ok(None),
        }
    }

    /// A run of free clusters that are not held back.
    fn search(
        &mut self,
        group: GroupNumber,
        map: &[u8],
        mut range: Range<u32>,
        want: u32,
    ) -> Option<Run> {
        let mut best: Option<Run> = None;
        for _ in 0..HELD_STEPS {
            let Some(run) = bitmap::find_run(map, false, range.clone(), want) else {
                break;
            };
            let free = self.without_held(group, run);
            if free == Some(run) {
                return free;
            }
            if free.map_or(0, |r| r.count) > best.map_or(0, |r| r.count) {
                best = free;
            }
            // What follows the run may be free, too: it was cut to what is wanted.
            range.start = run.first.saturating_add(run.count);
        }
        best
    }

    /// The longest part of a run that is not held back.
    fn without_held(&mut self, group: GroupNumber, run: Run) -> Option<Run> {
        if run.count == 0 {
            return None;
        }
        let sb = self.sb();
        let (bits, ratio) = (sb.cluster_bits, u64::from(sb.cluster_ratio()));
        let first = self.cluster_block(group, run.first).0;
        let end = first.saturating_add(u64::from(run.count).wrapping_shl(bits));
        let mut best = Run::default();
        let mut at = first;
        while at < end {
            let held = self.first_held(at, end);
            let stop = held.as_ref().map_or(end, |h| h.start.max(at));
            let clusters = stop.saturating_sub(at) >> bits;
            let count = u32::try_from(clusters).unwrap_or(0);
            if count > best.count {
                let skipped = at.saturating_sub(first) >> bits;
                best = Run {
                    first: run
                        .first
                        .saturating_add(u32::try_from(skipped).unwrap_or(0)),
                    count,
                };
            }
            let Some(held) = held else { break };
            self.passed_held = true;
            let past = held.end.saturating_sub(first).div_ceil(ratio);
            at = first.saturating_add(past.wrapping_shl(bits));
        }
        (best.count > 0).then_some(best)
    }

    /// Marks a run as in use.
    fn take(
        &mut self,
        group: GroupNumber,
        desc: &mut GroupDesc,
        buf: &Buf,
        run: Run,
    ) -> Result<Blocks> {
        let sb = self.sb();
        let first = self.cluster_block(group, run.first);
        let count = run.count.wrapping_shl(sb.cluster_bits);
        let end = first.0.saturating_add(u64::from(count));
        if overlaps(&self.writer().fixed_blocks(group)?, first.0, end) {
            return Err(Error::words(
                Place::BlockBitmap(group),
                "bits of metadata",
                first,
                "in use",
            ));
        }
        let Some(free) = desc.free_blocks.checked_sub(run.count) else {
            return Err(Error::value(
                Place::GroupDescriptor(group),
                "bg_free_blocks_count",
                desc.free_blocks,
                Expected::Range(u64::from(run.count), u64::from(sb.clusters_per_group)),
            ));
        };
        let stop = run.first.saturating_add(run.count);
        self.modify(buf, |map| bitmap::fill(map, run.first..stop, true));
        desc.free_blocks = free;
        self.store_group(group, desc)?;
        self.block_bitmap_changed(group);
        self.count_free_blocks(i64::from(run.count).wrapping_neg())?;
        Ok(Blocks { first, count })
    }

    /// Frees whole clusters: `count` blocks from `first` on, both multiples of the cluster.
    ///
    /// # Errors
    /// [`Error::Value`] if they are free already, not on the volume, or metadata of fixed place.
    pub(crate) fn free(&mut self, first: FsBlock, count: u64) -> Result<()> {
        let sb = self.sb();
        if !sb.contains(first, count) {
            let range = Expected::Range(1, sb.blocks.saturating_sub(1));
            return Err(Error::value(Place::Block(first), "number", first, range));
        }
        let end = first.0.saturating_add(count);
        let mut at = first;
        while at.0 < end {
            let (group, offset) = sb.group_of(at).unwrap_or((GroupNumber(0), 0));
            let left = u64::from(sb.group_blocks(group).saturating_sub(offset));
            let piece = left.min(end.saturating_sub(at.0)).max(1);
            self.free_in(group, at.0..at.0.saturating_add(piece))?;
            at = FsBlock(at.0.saturating_add(piece));
        }
        self.hold(first, count);
        Ok(())
    }

    /// Frees blocks of one group.
    fn free_in(&mut self, group: GroupNumber, blocks: Range<u64>) -> Result<()> {
        let mut desc = self.fs().group(group)?;
        let buf = self.block_bitmap(group, &mut desc)?;
        let fixed = self.writer().fixed_blocks(group)?;
        let place = Place::BlockBitmap(group);
        if overlaps(&fixed, blocks.start, blocks.end) {
            return Err(Error::words(
                place,
                "block to free",
                blocks.start,
                "no metadata",
            ));
        }
        let clusters = self.clusters_of(group, &blocks);
        if !bitmap::all(&buf.data(), true, clusters.clone()) {
            return Err(Error::words(place, "block to free", blocks.start, "in use"));
        }
        let count = clusters.end.saturating_sub(clusters.start);
        self.modify(&buf, |map| bitmap::fill(map, clusters, false));
        desc.free_blocks = desc.free_blocks.saturating_add(count);
        self.store_group(group, &desc)?;
        self.block_bitmap_changed(group);
        self.count_free_blocks(i64::from(count))
    }

    /// Adds free clusters to the superblock's count, which is of blocks, unlike that of a group.
    pub(crate) fn count_free_blocks(&mut self, change: i64) -> Result<()> {
        let change = change.wrapping_shl(self.sb().cluster_bits);
        let wide = self.sb().features.incompat(Incompat::BIT64);
        self.modify_superblock(|raw| {
            // A count that was wrong before must not keep a file from being deleted: it stops at its ends.
            let free = free_blocks(raw, wide).saturating_add_signed(change);
            let [a, b, c, d, e, f, g, h] = free.to_le_bytes();
            raw.s_free_blocks_count_lo
                .set(u32::from_le_bytes([a, b, c, d]));
            if wide {
                raw.s_free_blocks_count_hi
                    .set(u32::from_le_bytes([e, f, g, h]));
            }
        })
    }

    /// Allocates one block of metadata near `goal` (a whole cluster with bigalloc), filled with zeros.
    pub(crate) fn allocate_metadata(&mut self, goal: FsBlock) -> Result<(FsBlock, Buf)> {
        let blocks = self.allocate(goal, 1)?;
        let buf = self.create(blocks.first)?;
        Ok((blocks.first, buf))
    }

    /// Frees one block of metadata and the cluster that it is in.
    pub(crate) fn free_metadata(&mut self, block: FsBlock) -> Result<()> {
        let sb = self.sb();
        let ratio = u64::from(sb.cluster_ratio());
        let first = FsBlock(
            block
                .0
                .wrapping_shr(sb.cluster_bits)
                .wrapping_shl(sb.cluster_bits),
        );
        self.free(first, ratio)?;
        self.forget(block);
        Ok(())
    }

    /// Units of 512 bytes that `count` blocks take in `i_blocks`.
    pub(crate) fn sectors(&self, count: u64) -> u64 {
        count.saturating_mul(u64::from(self.sb().block_size() >> 9))
    }

    /// Units of 512 bytes that one block of metadata takes in `i_blocks`: a whole cluster.
    pub(crate) fn metadata_sectors(&self) -> u64 {
        self.sectors(u64::from(self.sb().cluster_ratio()))
    }

    /// Where the blocks of an inode's group begin: the goal of a file's first block, and of its metadata.
    pub(crate) fn inode_goal(&self, ino: InodeNumber, data: bool) -> FsBlock {
        let group = self.goal_group(ino, data);
        if data && let Some(&next) = self.writer().notes.lock().streams.get(&group) {
            return next;
        }
        self.sb().group_start(group)
    }

    /// Remembers where the data of a file ends, for the next file of the same group.
    pub(crate) fn note_stream(&self, ino: InodeNumber, next: FsBlock) {
        let group = self.goal_group(ino, true);
        self.writer().notes.lock().streams.insert(group, next);
    }

    /// With flexible groups, directories and other metadata stay in the first group, where the bitmaps are, and file data
    /// starts in the second.
    fn goal_group(&self, ino: InodeNumber, data: bool) -> GroupNumber {
        let group = self
            .sb()
            .inode_group(ino)
            .map_or(GroupNumber(0), |(group, _)| group);
        let flex = flex_groups(self.writer(), group);
        if flex.len() < 4 {
            return group;
        }
        let skip = u32::from(data);
        GroupNumber(flex.start.saturating_add(skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros as _;

    #[test]
    fn free_blocks_of_a_wide_volume_have_64_bits() {
        let mut raw = RawSuperblock::new_zeroed();
        raw.s_free_blocks_count_lo.set(5);
        raw.s_free_blocks_count_hi.set(3);
        assert_eq!(free_blocks(&raw, true), (3 << 32) + 5);
        // Without the feature the field may hold anything.
        assert_eq!(free_blocks(&raw, false), 5);
    }
}
