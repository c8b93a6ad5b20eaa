//! The space of fast commits: marking the blocks that ranges name, and freeing what nothing has in the end.

use super::{Added, Target};
use crate::{
    error::{Error, Place, Result},
    extents::Extent,
    inode::Inode,
    journal::FastCommitOp,
    map::Mapping,
    txn::{Txn, joined},
    types::{FileBlock, FsBlock, GroupNumber},
};
use alloc::vec::Vec;
use core::ops::Range;
use rumpbio::bitmap;

impl Target<'_> {
    /// Marks the blocks of all ranges.
    pub(super) fn mark_ranges(&mut self, txn: &mut Txn<'_>, ops: &[FastCommitOp]) -> Result<()> {
        for op in ops {
            let FastCommitOp::AddRange {
                physical, count, ..
            } = *op
            else {
                continue;
            };
            let (first, count) = (FsBlock(physical), u64::from(count));
            if !txn.fs().is_data(first, count) {
                return Err(Error::words(
                    Place::Block(first),
                    "range in a fast commit",
                    count,
                    "blocks for data",
                ));
            }
            txn.mark_blocks(first, count, true, &mut self.marked)?;
        }
        Ok(())
    }

    /// Frees the blocks that were marked for, or taken from, files and that no file has.
    pub(super) fn settle_space(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        let mut kept = Vec::new();
        for Added { ino, extent } in core::mem::take(&mut self.added) {
            if let Some(inode) = self.present(txn, ino)? {
                pieces_in_place(txn, &inode, extent, &mut kept)?;
            }
        }
        let mut loose: Vec<Range<u64>> = Vec::new();
        for (first, count) in core::mem::take(&mut self.marked) {
            loose.push(first.0..first.0.saturating_add(count));
        }
        for Added { ino, extent } in core::mem::take(&mut self.taken) {
            let range = txn.cluster_range(extent.start, u64::from(extent.len));
            loose.push(range);
            // Of a cluster that was taken in part, the file may have the rest.
            if txn.sb().cluster_bits > 0
                && let Some(inode) = self.present(txn, ino)?
            {
                txn.clusters_in_place(&inode, extent, &mut kept)?;
            }
        }
        let kept: Vec<_> = kept
            .into_iter()
            .map(|range| {
                txn.cluster_range(FsBlock(range.start), range.end.saturating_sub(range.start))
            })
            .collect();
        for range in without(&joined(loose), &joined(kept)) {
            let count = range.end.saturating_sub(range.start);
            txn.mark_blocks(FsBlock(range.start), count, false, &mut Vec::new())?;
        }
        Ok(())
    }
}

/// Adds the blocks of `extent` that an inode has where it says.
fn pieces_in_place(
    txn: &Txn<'_>,
    inode: &Inode,
    extent: Extent,
    kept: &mut Vec<Range<u64>>,
) -> Result<()> {
    let mut from = u64::from(extent.first);
    while from < extent.end() {
        let Ok(first) = u32::try_from(from) else {
            break;
        };
        let left = u32::try_from(extent.end().saturating_sub(from)).unwrap_or(u32::MAX);
        let there = txn.fs().map(inode, FileBlock(first), left)?;
        let len = u64::from(there.len().min(left).max(1));
        if let Mapping::OnDisk { block, .. } | Mapping::Unwritten { block, .. } = there {
            kept.push(block.0..block.0.saturating_add(len));
        }
        from = from.saturating_add(len);
    }
    Ok(())
}

/// What is in `ranges` and not in `holes`; both in order, without overlap.
fn without(ranges: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut out = Vec::new();
    for range in ranges {
        let mut start = range.start;
        let from = holes.partition_point(|hole| hole.end <= range.start);
        for hole in holes.get(from..).unwrap_or_default() {
            if hole.start >= range.end {
                break;
            }
            if hole.start > start {
                out.push(start..hole.start);
            }
            start = start.max(hole.end);
        }
        if start < range.end {
            out.push(start..range.end);
        }
    }
    out
}

impl Txn<'_> {
    /// The blocks of the clusters that a run of blocks touches.
    fn cluster_range(&self, first: FsBlock, count: u64) -> Range<u64> {
        let bits = self.sb().cluster_bits;
        let ratio = u64::from(self.sb().cluster_ratio());
        let start = first.0.wrapping_shr(bits).wrapping_shl(bits);
        let end = first.0.saturating_add(count).div_ceil(ratio);
        start..end.saturating_mul(ratio)
    }

    /// How many clusters of the file's blocks `extent` have no other block of the file in them now: what a range that
    /// is put in adds, or one that was taken out leaves.
    pub(super) fn clusters_left(&self, inode: &Inode, extent: Extent) -> Result<u64> {
        let bits = self.sb().cluster_bits;
        if bits == 0 {
            return Ok(u64::from(extent.len));
        }
        let ratio = u64::from(self.sb().cluster_ratio());
        let mut at = u64::from(extent.first)
            .wrapping_shr(bits)
            .wrapping_shl(bits);
        let mut clusters = 0_u64;
        while at < extent.end() {
            let own = self.own_cluster(inode, at)?.is_some();
            clusters = clusters.saturating_add(u64::from(!own));
            at = at.saturating_add(ratio);
        }
        Ok(clusters)
    }

    /// Adds the clusters of the file's blocks `extent` that the file has some block of.
    fn clusters_in_place(
        &self,
        inode: &Inode,
        extent: Extent,
        kept: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        let bits = self.sb().cluster_bits;
        let ratio = u64::from(self.sb().cluster_ratio());
        let mut at = u64::from(extent.first)
            .wrapping_shr(bits)
            .wrapping_shl(bits);
        while at < extent.end() {
            if let Some(block) = self.own_cluster(inode, at)? {
                kept.push(block.0..block.0.saturating_add(ratio));
            }
            at = at.saturating_add(ratio);
        }
        Ok(())
    }

    /// Marks the clusters of blocks as in use or as free, whatever they are now. Those that change are added to `changed`.
    fn mark_blocks(
        &mut self,
        first: FsBlock,
        count: u64,
        used: bool,
        changed: &mut Vec<(FsBlock, u64)>,
    ) -> Result<()> {
        let sb = self.sb();
        let end = self.cluster_range(first, count).end.min(sb.blocks);
        let mut at = self.cluster_range(first, count).start;
        while at < end {
            let (group, offset) = sb.group_of(FsBlock(at)).unwrap_or((GroupNumber(0), 0));
            let left = u64::from(sb.group_blocks(group).saturating_sub(offset));
            let stop = end.min(at.saturating_add(left.max(1)));
            self.mark_in(group, at..stop, used, changed)?;
            at = stop;
        }
        Ok(())
    }

    fn mark_in(
        &mut self,
        group: GroupNumber,
        blocks: Range<u64>,
        used: bool,
        changed: &mut Vec<(FsBlock, u64)>,
    ) -> Result<()> {
        let mut desc = self.fs().group(group)?;
        let buf = self.block_bitmap(group, &mut desc)?;
        let clusters = self.clusters_of(group, &blocks);
        let bits = self.sb().cluster_bits;
        let mut count = 0_u32;
        let map = buf.data();
        let mut runs = Vec::new();
        for cluster in clusters {
            if bitmap::all(&map, !used, cluster..cluster.saturating_add(1)) {
                runs.push(cluster);
            }
        }
        drop(map);
        if runs.is_empty() {
            return Ok(());
        }
        self.modify(&buf, |map| {
            for &cluster in &runs {
                bitmap::fill(map, cluster..cluster.saturating_add(1), used);
            }
        });
        for cluster in runs {
            count = count.saturating_add(1);
            let block = self.cluster_block(group, cluster);
            changed.push((block, 1_u64.wrapping_shl(bits)));
        }
        desc.free_blocks = if used {
            desc.free_blocks.saturating_sub(count)
        } else {
            desc.free_blocks.saturating_add(count)
        };
        self.store_group(group, &desc)?;
        self.block_bitmap_changed(group);
        let change = i64::from(count);
        self.count_free_blocks(if used { change.wrapping_neg() } else { change })
    }
}

#[cfg(test)]
mod tests {
    use super::without;
    use alloc::vec;

    #[test]
    fn ranges_without_others() {
        let ranges = [10..20, 30..40, 50..60];
        assert_eq!(without(&ranges, &[]), ranges);
        let holes = [0..11, 15..16, 19..35, 50..60];
        assert_eq!(without(&ranges, &holes), vec![11..15, 16..19, 35..40]);
        assert_eq!(without(&ranges, &[20..30, 40..50]), ranges);
    }
}
