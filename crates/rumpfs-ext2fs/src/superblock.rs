//! The superblock, checked.

mod read;

use crate::{
    checksum::{CRC32C_START, crc32c},
    features::Features,
    layout::superblock::{RawSuperblock, SUPERBLOCK_SIZE},
    types::{FileBlock, FsBlock, GroupNumber, InodeNumber},
};
use core::mem::offset_of;
use zerocopy::IntoBytes;

/// Smallest block size, and the size of block numbers' shift 0.
const MIN_BLOCK_LOG: u32 = 10;

/// What a mounted volume is: sizes, places, features. All numbers are in their ranges and fit each other and the device.
///
/// What changes while the volume is mounted (free counts, times, the orphan list) is not here but in the superblock's
/// buffer.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// log2 of the block size: 10 to 16.
    pub block_bits: u32,
    /// log2 of blocks in a cluster: 0 without bigalloc.
    pub cluster_bits: u32,
    /// Blocks of the volume.
    pub blocks: u64,
    /// Inodes of the volume.
    pub inodes: u32,
    /// Where group 0 starts: 0 or 1.
    pub first_data_block: u32,
    /// Blocks in a group; the last may be shorter.
    pub blocks_per_group: u32,
    /// Clusters in a group: at most the bits of a block.
    pub clusters_per_group: u32,
    /// Inodes in a group: at most the bits of a block.
    pub inodes_per_group: u32,
    /// Number of groups, 1 or more.
    pub groups: u32,
    /// Bytes in an inode: a power of two, 128 to the block size.
    pub inode_size: u16,
    /// First inode that is not reserved.
    pub first_ino: InodeNumber,
    /// Bytes in a group descriptor: a power of two, 32 to 1024.
    pub desc_size: u16,
    /// Blocks reserved for the growth of the descriptor table.
    pub reserved_gdt_blocks: u16,
    /// First descriptor block that lies in meta block groups; past all of them without meta_bg.
    pub first_meta_bg: u32,
    /// Groups with the copies of the superblock, with sparse_super2.
    pub backup_bgs: [u32; 2],
    /// log2 of the groups in a flexible group.
    pub log_groups_per_flex: u8,
    /// 0 or 1; a greater one makes the volume read-only.
    pub rev_level: u32,
    /// System that made the volume.
    pub creator_os: u32,
    /// Features.
    pub features: Features,
    /// Identity.
    pub uuid: [u8; 16],
    /// Label, padded with zeros.
    pub volume_name: [u8; 16],
    /// Where metadata checksums start: from the identity, or kept apart from it with metadata_csum_seed.
    pub csum_seed: u32,
    /// `s_state` at mount.
    pub state: u16,
    /// `s_errors`.
    pub errors: u16,
    /// Blocks that only the superuser may use.
    pub reserved_blocks: u64,
    /// User that may use them, too.
    pub def_resuid: u16,
    /// Group that may use them, too.
    pub def_resgid: u16,
    /// Seed of directory hashes.
    pub hash_seed: [u32; 4],
    /// Hash of new indexed directories, as on the medium.
    pub def_hash_version: u8,
    /// Directory hashes take names as unsigned bytes.
    pub unsigned_hash: bool,
    /// Inode of the journal, `None` without one or if it is on another device.
    pub journal: Option<InodeNumber>,
    /// Identity of the journal.
    pub journal_uuid: [u8; 16],
    /// Inode of the orphan file.
    pub orphan_file: Option<InodeNumber>,
    /// Head of the list of orphans at mount.
    pub last_orphan: Option<InodeNumber>,
    /// Bytes that new inodes have after the first 128, their first field included: 0 or 4 to `inode_size - 128`.
    pub want_extra_isize: u16,
    /// The block of multiple mount protection.
    pub mmp_block: Option<FsBlock>,
    /// Seconds between its updates.
    pub mmp_interval: u16,
    /// Character set of names, with casefold.
    pub encoding: u16,
    /// Blocks of metadata as the maker counted them, 0 if it did not.
    pub overhead_clusters: u32,
}

impl Superblock {
    /// Bytes in a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        1_u32.wrapping_shl(self.block_bits)
    }

    /// Blocks in a cluster.
    #[must_use]
    pub fn cluster_ratio(&self) -> u32 {
        1_u32.wrapping_shl(self.cluster_bits)
    }

    /// The block that holds the superblock: its second KiB, or all of block 1.
    #[must_use]
    pub fn superblock_block(&self) -> FsBlock {
        FsBlock(u64::from(self.block_bits == MIN_BLOCK_LOG))
    }

    /// Offset of the superblock in [`superblock_block`](Self::superblock_block).
    #[must_use]
    pub fn superblock_offset(&self) -> usize {
        if self.block_bits == MIN_BLOCK_LOG {
            0
        } else {
            SUPERBLOCK_SIZE
        }
    }

    /// Descriptors in a block.
    #[must_use]
    pub fn descriptors_per_block(&self) -> u32 {
        self.block_size()
            .checked_div(u32::from(self.desc_size))
            .unwrap_or(1)
    }

    /// Blocks of the whole descriptor table.
    #[must_use]
    pub fn descriptor_blocks(&self) -> u32 {
        self.groups.div_ceil(self.descriptors_per_block())
    }

    /// Inodes in a block.
    #[must_use]
    pub fn inodes_per_block(&self) -> u32 {
        self.block_size()
            .checked_div(u32::from(self.inode_size))
            .unwrap_or(1)
    }

    /// Blocks of a group's inode table.
    #[must_use]
    pub fn inode_table_blocks(&self) -> u32 {
        self.inodes_per_group.div_ceil(self.inodes_per_block())
    }

    /// The first block of a group.
    #[must_use]
    pub fn group_start(&self, group: GroupNumber) -> FsBlock {
        let offset = u64::from(group.0).saturating_mul(u64::from(self.blocks_per_group));
        FsBlock(offset.saturating_add(u64::from(self.first_data_block)))
    }

    /// Blocks of a group: less in the last one.
    #[must_use]
    pub fn group_blocks(&self, group: GroupNumber) -> u32 {
        let left = self.blocks.saturating_sub(self.group_start(group).0);
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(self.blocks_per_group)
    }

    /// The group of a block and the block's offset in it. `None` for a block before the first group or past the volume.
    #[must_use]
    pub fn group_of(&self, block: FsBlock) -> Option<(GroupNumber, u32)> {
        if block.0 >= self.blocks {
            return None;
        }
        let offset = block.0.checked_sub(u64::from(self.first_data_block))?;
        let per_group = u64::from(self.blocks_per_group);
        let group = u32::try_from(offset.checked_div(per_group)?).ok()?;
        let within = u32::try_from(offset.checked_rem(per_group)?).ok()?;
        Some((GroupNumber(group), within))
    }

    /// The group of an inode and its index in that group's table. `None` for 0 and past the last inode.
    #[must_use]
    pub fn inode_group(&self, ino: InodeNumber) -> Option<(GroupNumber, u32)> {
        if ino.0 > self.inodes {
            return None;
        }
        let n = ino.0.checked_sub(1)?;
        Some((
            GroupNumber(n.checked_div(self.inodes_per_group)?),
            n.checked_rem(self.inodes_per_group)?,
        ))
    }

    /// Whether all `count` blocks from `first` on lie on the volume, behind the first superblock.
    #[must_use]
    pub fn contains(&self, first: FsBlock, count: u64) -> bool {
        let lowest = self.superblock_block().0;
        first.0 > lowest
            && first
                .0
                .checked_add(count)
                .is_some_and(|end| end <= self.blocks)
    }

    /// Largest number of file blocks of an extent-mapped file: all of 32 bits but the last.
    #[must_use]
    pub fn max_file_blocks(&self) -> u64 {
        u64::from(FileBlock(u32::MAX))
    }
}

/// The checksum of a superblock's bytes, for `s_checksum`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    let covered = bytes
        .get(..offset_of!(RawSuperblock, s_checksum))
        .unwrap_or(bytes);
    crc32c(CRC32C_START, covered)
}

/// Brings the checksum of a superblock up to date before it is written, if the volume has checksums.
pub fn update_checksum(raw: &mut RawSuperblock) {
    let features = Features::from_bits(0, 0, raw.s_feature_ro_compat.get());
    if features.metadata_csum() {
        let checksum = checksum(raw.as_bytes());
        raw.s_checksum.set(checksum);
    }
}
