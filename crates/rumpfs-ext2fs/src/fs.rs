//! A volume with a checked superblock: what all modules of this crate work on.

use crate::{
    error::{Place, Result, at},
    features::Incompat,
    superblock::Superblock,
    types::{FsBlock, GroupNumber},
};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use rumpbio::{Buf, Volume};

/// An ext2, ext3 or ext4 file system on a volume.
///
/// Has no state of its own besides the superblock as it was found: the medium's truth is in the buffers of the volume.
pub struct Ext2fs {
    volume: Arc<Volume>,
    superblock: Superblock,
    recent: Recent,
}

/// Where inode tables were read from the medium lately: a hint for reading ahead, so threads may mix it up.
pub(crate) struct Recent {
    blocks: [AtomicU64; 4],
    next: AtomicUsize,
}

impl Recent {
    fn new() -> Self {
        Self {
            blocks: [const { AtomicU64::new(u64::MAX) }; 4],
            next: AtomicUsize::new(0),
        }
    }

    /// Notes that a block is read; whether one of the last ones was no more than `reach` blocks away.
    pub(crate) fn near(&self, block: u64, reach: u64) -> bool {
        let close = |b: &AtomicU64| b.load(Ordering::Relaxed).abs_diff(block) <= reach;
        let near = self.blocks.iter().any(close);
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.blocks.get(n & 3) {
            slot.store(block, Ordering::Relaxed);
        }
        near
    }
}

impl Ext2fs {
    /// A file system over `volume`, whose block size is that of `superblock`.
    ///
    /// # Errors
    /// [`Refused`](crate::Error::Refused) with `EINVAL` if the block sizes differ.
    pub fn new(volume: Arc<Volume>, superblock: Superblock) -> Result<Self> {
        if volume.block_size() != superblock.block_size() {
            return Err(crate::Error::Refused(rumpuser::Errno::EINVAL));
        }
        Ok(Self {
            volume,
            superblock,
            recent: Recent::new(),
        })
    }

    /// Where inode tables were read lately.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// The superblock as it was at mount.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Bytes in a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.superblock.block_size()
    }

    /// Reads a block of metadata. `place` says what it is, for the error.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub(crate) fn read(&self, block: FsBlock, place: Place) -> Result<Buf> {
        self.volume.read(block.0).map_err(at(place))
    }

    /// Whether a group starts with a copy of the superblock and, without meta_bg, of the group descriptors.
    #[must_use]
    pub fn group_has_superblock(&self, group: GroupNumber) -> bool {
        let sb = &self.superblock;
        if group.0 == 0 {
            return true;
        }
        if sb.features.compat(crate::features::Compat::SPARSE_SUPER2) {
            return sb.backup_bgs.contains(&group.0);
        }
        if group.0 <= 1
            || !sb
                .features
                .ro_compat(crate::features::RoCompat::SPARSE_SUPER)
        {
            return true;
        }
        [3, 5, 7].into_iter().any(|base| is_power_of(group.0, base))
    }

    /// Blocks that the superblock, the group descriptors and their reserve take at the start of a group.
    #[must_use]
    pub fn group_base_blocks(&self, group: GroupNumber) -> u32 {
        let sb = &self.superblock;
        let own = u32::from(self.group_has_superblock(group));
        let per_block = sb.descriptors_per_block();
        let meta_group = group.0.checked_div(per_block).unwrap_or(0);
        if sb.features.incompat(Incompat::META_BG) && meta_group >= sb.first_meta_bg {
            // The descriptors of a meta group lie in its first, second and last group.
            let within = group.0.checked_rem(per_block).unwrap_or(0);
            let holds = within <= 1 || within == per_block.saturating_sub(1);
            return own.saturating_add(u32::from(holds));
        }
        if own == 0 {
            return 0;
        }
        let table = sb.descriptor_blocks().min(sb.first_meta_bg);
        table
            .saturating_add(u32::from(sb.reserved_gdt_blocks))
            .saturating_add(1)
    }

    /// Whether `count` blocks from `first` on may belong to a file: on the volume, and not over the superblock or the
    /// descriptors of the group that the first or the last of them lies in.
    #[must_use]
    pub fn is_data(&self, first: FsBlock, count: u64) -> bool {
        if !self.superblock.contains(first, count) {
            return false;
        }
        let last = FsBlock(first.0.saturating_add(count.saturating_sub(1)));
        let (Some((group, offset)), Some((last_group, _))) = (
            self.superblock.group_of(first),
            self.superblock.group_of(last),
        ) else {
            return false;
        };
        let later = group.0.saturating_add(1)..=last_group.0;
        offset >= self.group_base_blocks(group)
            && later
                .into_iter()
                .all(|g| self.group_base_blocks(GroupNumber(g)) == 0)
    }
}

/// Whether `n` is a power of `base`, the zeroth included.
fn is_power_of(n: u32, base: u32) -> bool {
    let mut power = 1_u32;
    while power < n {
        match power.checked_mul(base) {
            Some(next) => power = next,
            None => return false,
        }
    }
    power == n
}

#[cfg(test)]
mod tests {
    use super::{Recent, is_power_of};

    #[test]
    fn reads_near_each_other_are_told_from_scattered_ones() {
        let recent = Recent::new();
        assert!(!recent.near(1000, 32));
        assert!(recent.near(1032, 32) && recent.near(990, 32));
        for far in [5000, 6000, 7000, 8000] {
            assert!(!recent.near(far, 32));
        }
        assert!(!recent.near(1000, 32), "forgotten after four others");
    }

    #[test]
    fn powers() {
        assert!([1, 3, 9, 27, 2187].into_iter().all(|n| is_power_of(n, 3)));
        assert!(
            [2, 6, 12, 4_294_967_295]
                .into_iter()
                .all(|n| !is_power_of(n, 3))
        );
    }
}
