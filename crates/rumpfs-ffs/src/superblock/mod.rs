//! The superblock: its numbers as the rest of the driver needs them.

mod read;
#[cfg(test)]
pub(crate) mod tests;

pub use read::{Found, find};
pub(crate) use read::{at_byte, recognise_copy};

use crate::{
    layout::DIRECT,
    types::{Order, Version, number},
};
use alloc::{string::String, vec::Vec};

/// Whose variant of the format it is, where something in the superblock tells. The two give some fields and flags different
/// meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Has a WAPBL journal or NetBSD's quota.
    NetBsd,
    /// Has a provider size, check hashes, or flags that only FreeBSD knows.
    FreeBsd,
    /// Nothing tells.
    Unknown,
}

/// A checked superblock.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// Its byte on the device.
    pub at: u64,
    /// Byte order.
    pub order: Order,
    /// Format.
    pub version: Version,
    /// Whose variant.
    pub maker: Maker,
    /// Logarithm of a block's bytes: 12 to 16.
    pub block_bits: u32,
    /// Logarithm of a fragment's bytes: 9 to 16. Fragments are the unit of all addresses.
    pub frag_bits: u32,
    /// Cylinder groups.
    pub groups: u32,
    /// Inodes in each.
    pub inodes_per_group: u32,
    /// Fragments in each.
    pub frags_per_group: u32,
    /// Fragment in a group where its copy of the superblock is.
    pub copy: u32,
    /// Fragment in a group where its own block is, with the maps of what is free ([`crate::cg`]).
    pub group_block: u32,
    /// Fragment in a group where its inodes begin.
    pub inode_table: u32,
    /// Fragment in a group where its data begins, behind the inodes.
    pub data_start: u32,
    /// Bytes in use of a group's own block.
    pub group_bytes: u32,
    /// Fragment with the summary: the counts of each group.
    pub summary: u64,
    /// Bytes of the summary, in whole fragments.
    pub summary_bytes: u32,
    /// Longest run of free blocks that groups count; 0: they count none, and have no map of free blocks.
    pub cluster_runs: u32,
    /// Cylinders in a group, and rotational positions: the sizes of UFS1's old tables. 0 in UFS2.
    pub cylinders: (u32, u32),
    /// `fs_old_cgoffset` and `fs_old_cgmask` of UFS1: how the structures of groups are staggered.
    pub stagger: (u32, u32),
    /// Fragments of the volume.
    pub size: u64,
    /// Fragments for data.
    pub data_size: u64,
    /// Percent of these that is kept for the superuser.
    pub min_free: u32,
    /// What is free.
    pub free: Free,
    /// Number of directories.
    pub directories: u64,
    /// Bytes below which the target of a symbolic link is in the inode; 0: never.
    pub inline_link: usize,
    /// Inodes have 16-bit owners, and directories no types (4.3BSD).
    pub old_inodes: bool,
    /// Directories have no types: the length of a name has 16 bits.
    pub old_directories: bool,
    /// What allocation goes by.
    pub policy: Policy,
    /// Geometry of the disk in UFS1's old layout, in which blocks are counted by rotational position; `None` in the new one.
    pub disk: Option<Disk>,
    /// Bytes of the superblock: `fs_sbsize`.
    pub length: u32,
    /// Has check hashes of FreeBSD: `fs_metackhash`.
    pub check_hashes: bool,
    /// Has NetBSD's quota inside.
    pub quota: bool,
    /// How it was left.
    pub clean: u8,
    /// See [`volume_flag`](crate::layout::volume_flag).
    pub flags: u32,
    /// The time of making and a random number.
    pub id: [u32; 2],
    /// `fs_volname`, up to the first zero byte.
    pub label: Vec<u8>,
    /// Where it was mounted last.
    pub mounted_on: Vec<u8>,
    /// Last change, in seconds since 1970.
    pub time: i64,
    /// The journal, if it holds what the volume does not.
    pub log: Option<LogPlace>,
    /// The place of a journal, in use or not.
    pub journal: Option<LogPlace>,
    /// See [`journal_flag`](crate::layout::journal_flag).
    pub journal_flags: u32,
    /// There are snapshots.
    pub has_snapshots: bool,
}

/// What allocation goes by: advice, checked by nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Most blocks that a file gets in one group before it goes on in another: `fs_maxbpg`.
    pub max_blocks: u32,
    /// Bytes that a file is expected to have: `fs_avgfilesize`.
    pub file_size: u32,
    /// Files that a directory is expected to have: `fs_avgfpdir`.
    pub files_per_dir: u32,
}

/// Geometry of the disk in UFS1's old layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Sectors of a cylinder: `fs_old_spc`.
    pub sectors: u32,
    /// Sectors of a track: `fs_old_nsect`.
    pub track: u32,
    /// The same with spare ones: `fs_old_npsect`.
    pub track_all: u32,
    /// `fs_old_interleave`.
    pub interleave: u32,
    /// `fs_old_trackskew`.
    pub skew: u32,
    /// Sectors of a fragment: `fs_old_nspf`.
    pub frag_sectors: u32,
}

/// What is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// Whole blocks.
    pub blocks: u64,
    /// Fragments outside of these.
    pub frags: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Where the journal is, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// `fs_journal_version`.
    pub version: u8,
    /// `fs_journal_location`: 1 behind the file system, 2 inside it.
    pub location: u8,
    /// First block.
    pub start: u64,
    /// Number of blocks.
    pub count: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// The inode that has its blocks, if it is inside; else 0.
    pub inode: u64,
}

impl Superblock {
    /// Bytes of a block.
    #[must_use]
    pub fn block_size(&self) -> u64 {
        1_u64.wrapping_shl(self.block_bits)
    }

    /// Bytes of a fragment.
    #[must_use]
    pub fn frag_size(&self) -> u64 {
        1_u64.wrapping_shl(self.frag_bits)
    }

    /// Logarithm of the number of fragments in a block.
    #[must_use]
    pub fn ratio_bits(&self) -> u32 {
        self.block_bits.saturating_sub(self.frag_bits)
    }

    /// Logarithm of the number of pointers in a block.
    #[must_use]
    pub fn pointers_bits(&self) -> u32 {
        self.block_bits.saturating_sub(self.version.pointer_bits())
    }

    /// Bytes of the volume.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.size.saturating_mul(self.frag_size())
    }

    /// Fragments that are kept for the superuser.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        self.data_size
            .saturating_mul(self.min_free.into())
            .wrapping_div(100)
    }

    /// Inodes of the volume.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        u64::from(self.groups).saturating_mul(self.inodes_per_group.into())
    }

    /// Most bytes that a file's pointers reach.
    #[must_use]
    pub fn max_file_size(&self) -> u64 {
        let bits = self.pointers_bits();
        let levels = [bits, bits.saturating_mul(2), bits.saturating_mul(3)];
        let pointed = levels.iter().fold(number(DIRECT), |sum, bits| {
            sum.saturating_add(1_u64.wrapping_shl(*bits))
        });
        let most = i64::MAX.unsigned_abs();
        pointed.saturating_mul(self.block_size()).min(most)
    }

    /// Fragments that the block `block` of a file of `size` bytes has: fewer than a block at the end of a short file.
    #[must_use]
    pub(crate) fn frags_of(&self, size: u64, block: u64) -> u64 {
        let whole = 1_u64.wrapping_shl(self.ratio_bits());
        let start = block.wrapping_shl(self.block_bits);
        let left = size.saturating_sub(start);
        if block >= number(DIRECT) || left >= self.block_size() {
            return whole;
        }
        left.div_ceil(self.frag_size()).max(1)
    }

    /// The pointer at the start of `bytes`; `None` if they are too few.
    pub(crate) fn pointer(&self, bytes: &[u8]) -> Option<u64> {
        match self.version {
            Version::Ufs1 => self.order.u32(bytes).map(u64::from),
            Version::Ufs2 => self.order.u64(bytes),
        }
    }

    /// First fragment of a group.
    #[must_use]
    pub fn group_base(&self, group: u32) -> u64 {
        u64::from(self.frags_per_group).saturating_mul(group.into())
    }

    /// The fragment that the places of a group's structures count from: its first one, or staggered from there.
    #[must_use]
    pub fn group_start(&self, group: u32) -> u64 {
        let (offset, mask) = self.stagger;
        let turned = u64::from(offset).saturating_mul(u64::from(group & !mask));
        self.group_base(group).saturating_add(turned)
    }

    /// First fragment of a group's own block, with its maps.
    #[must_use]
    pub fn group_maps(&self, group: u32) -> u64 {
        self.group_start(group)
            .saturating_add(self.group_block.into())
    }

    /// Fragments of a group: the last one may have fewer.
    #[must_use]
    pub fn group_frags(&self, group: u32) -> u32 {
        let left = self.size.saturating_sub(self.group_base(group));
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(self.frags_per_group)
    }

    /// First byte of a group's inodes.
    #[must_use]
    pub fn inode_table_of(&self, group: u32) -> u64 {
        self.group_start(group)
            .saturating_add(self.inode_table.into())
            .saturating_mul(self.frag_size())
    }

    /// What the format would be called more exactly.
    #[must_use]
    pub fn variant(&self) -> &'static str {
        match (self.version, self.old_inodes) {
            (Version::Ufs1, true) => "ffs (4.3BSD)",
            (Version::Ufs1, false) => "ffs1",
            (Version::Ufs2, _) => "ffs2",
        }
    }

    /// The label as text; `None` if it is empty.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.label);
        (!text.is_empty()).then(|| text.into_owned())
    }
}
