//! Block groups: where their descriptors lie, and what they say.
//!
//! Descriptors are read when they are asked for, through the buffer cache: a volume of a million groups costs nothing at
//! mount. The checksums of a descriptor block are looked at once per read from the medium.

use crate::{
    checksum::{CRC16_START, crc16, crc32c, crc32c_u32},
    error::{Error, Expected, Place, Result},
    features::{Incompat, RoCompat},
    fs::Ext2fs,
    layout::group_desc::{BG_CHECKSUM_OFFSET, RawGroupDesc, RawGroupDescHigh},
    superblock::Superblock,
    types::{FsBlock, GroupNumber, InodeNumber, index, join, low16, low32},
};
use bitflags::bitflags;
use rumpbio::Buf;
use zerocopy::{
    FromBytes,
    little_endian::{U16, U32},
};

bitflags! {
    /// `bg_flags`. They hold only on volumes whose descriptors have checksums.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GroupFlags: u16 {
        /// No inode was ever used: the inode bitmap on the medium means nothing, all are free.
        const INODE_UNINIT = 0x0001;
        /// No data block was ever used: the block bitmap on the medium means nothing.
        const BLOCK_UNINIT = 0x0002;
        /// The unused part of the inode table is filled with zeros.
        const INODE_ZEROED = 0x0004;
        const _ = !0;
    }
}

/// A group descriptor, checked: its blocks lie on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupDesc {
    /// The block bitmap.
    pub block_bitmap: FsBlock,
    /// The inode bitmap.
    pub inode_bitmap: FsBlock,
    /// The first block of the inode table.
    pub inode_table: FsBlock,
    /// Free blocks, clusters with bigalloc.
    pub free_blocks: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Directories.
    pub used_dirs: u32,
    /// Flags; empty on volumes without checksums.
    pub flags: GroupFlags,
    /// Inodes at the end of the table that were never used.
    pub itable_unused: u32,
    /// Checksum of the block bitmap; 16 bits with small descriptors.
    pub block_bitmap_csum: u32,
    /// Checksum of the inode bitmap; 16 bits with small descriptors.
    pub inode_bitmap_csum: u32,
}

/// A descriptor's place: a block and the byte offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescLocation {
    /// The block.
    pub block: FsBlock,
    /// Offset in bytes.
    pub offset: usize,
}

impl GroupDesc {
    /// The descriptor at the start of `bytes`, which has the volume's descriptor size.
    ///
    /// # Errors
    /// [`Error::Value`] for a block that does not lie on the volume, or for a table that passes its end.
    pub fn parse(sb: &Superblock, group: GroupNumber, bytes: &[u8]) -> Result<Self> {
        let place = Place::GroupDescriptor(group);
        let Ok((low, rest)) = RawGroupDesc::ref_from_prefix(bytes) else {
            return Err(Error::words(
                place,
                "size",
                crate::types::number(bytes.len()),
                "32 bytes or more",
            ));
        };
        let upper = RawGroupDescHigh::ref_from_prefix(rest).ok();
        let upper = upper.map(|(upper, _)| upper);
        let block = |low: U32, high: fn(&RawGroupDescHigh) -> U32| {
            FsBlock(join(upper.map_or(0, |raw| high(raw).get()), low.get()))
        };
        let count = |low: U16, high: fn(&RawGroupDescHigh) -> U16| {
            let high = upper.map_or(0, |raw| high(raw).get());
            u32::from(low.get()) | u32::from(high).wrapping_shl(16)
        };
        let flags = GroupFlags::from_bits_retain(low.bg_flags.get());
        let desc = Self {
            block_bitmap: block(low.bg_block_bitmap_lo, |raw| raw.bg_block_bitmap_hi),
            inode_bitmap: block(low.bg_inode_bitmap_lo, |raw| raw.bg_inode_bitmap_hi),
            inode_table: block(low.bg_inode_table_lo, |raw| raw.bg_inode_table_hi),
            free_blocks: count(low.bg_free_blocks_count_lo, |raw| {
                raw.bg_free_blocks_count_hi
            }),
            free_inodes: count(low.bg_free_inodes_count_lo, |raw| {
                raw.bg_free_inodes_count_hi
            }),
            used_dirs: count(low.bg_used_dirs_count_lo, |raw| raw.bg_used_dirs_count_hi),
            flags: match sb.features.group_csum() {
                true => flags,
                false => GroupFlags::empty(),
            },
            itable_unused: count(low.bg_itable_unused_lo, |raw| raw.bg_itable_unused_hi),
            block_bitmap_csum: count(low.bg_block_bitmap_csum_lo, |raw| {
                raw.bg_block_bitmap_csum_hi
            }),
            inode_bitmap_csum: count(low.bg_inode_bitmap_csum_lo, |raw| {
                raw.bg_inode_bitmap_csum_hi
            }),
        };
        desc.check(sb, group)?;
        Ok(desc)
    }

    fn check(&self, sb: &Superblock, group: GroupNumber) -> Result<()> {
        let flex = sb.features.incompat(Incompat::FLEX_BG);
        let (first, end) = if flex {
            (sb.superblock_block().0.saturating_add(1), sb.blocks)
        } else {
            let start = sb.group_start(group).0;
            (
                start,
                start.saturating_add(u64::from(sb.group_blocks(group))),
            )
        };
        let places = [
            ("bg_block_bitmap", self.block_bitmap, 1),
            ("bg_inode_bitmap", self.inode_bitmap, 1),
            (
                "bg_inode_table",
                self.inode_table,
                u64::from(sb.inode_table_blocks()),
            ),
        ];
        for (field, block, count) in places {
            if block.0 < first || block.0.saturating_add(count) > end {
                let range = Expected::Range(first, end.saturating_sub(count));
                return Err(Error::value(
                    Place::GroupDescriptor(group),
                    field,
                    block,
                    range,
                ));
            }
        }
        Ok(())
    }

    /// Puts the descriptor into `bytes`, which has the volume's descriptor size. Fields that are not kept here stay. The
    /// checksum is brought up to date.
    pub fn store(&self, sb: &Superblock, group: GroupNumber, bytes: &mut [u8]) {
        if let Ok((low, rest)) = RawGroupDesc::mut_from_prefix(bytes) {
            low.bg_block_bitmap_lo.set(low32(self.block_bitmap.0));
            low.bg_inode_bitmap_lo.set(low32(self.inode_bitmap.0));
            low.bg_inode_table_lo.set(low32(self.inode_table.0));
            low.bg_free_blocks_count_lo.set(low16(self.free_blocks));
            low.bg_free_inodes_count_lo.set(low16(self.free_inodes));
            low.bg_used_dirs_count_lo.set(low16(self.used_dirs));
            if sb.features.group_csum() {
                low.bg_flags.set(self.flags.bits());
                low.bg_itable_unused_lo.set(low16(self.itable_unused));
            }
            if sb.features.metadata_csum() {
                low.bg_block_bitmap_csum_lo
                    .set(low16(self.block_bitmap_csum));
                low.bg_inode_bitmap_csum_lo
                    .set(low16(self.inode_bitmap_csum));
            }
            if let Ok((high, _)) = RawGroupDescHigh::mut_from_prefix(rest) {
                self.store_high(sb, high);
            }
        }
        if let Some(checksum) = descriptor_checksum(sb, group, bytes)
            && let Ok((low, _)) = RawGroupDesc::mut_from_prefix(bytes)
        {
            low.bg_checksum.set(checksum);
        }
    }

    fn store_high(&self, sb: &Superblock, high: &mut RawGroupDescHigh) {
        high.bg_block_bitmap_hi
            .set(low32(self.block_bitmap.0 >> 32));
        high.bg_inode_bitmap_hi
            .set(low32(self.inode_bitmap.0 >> 32));
        high.bg_inode_table_hi.set(low32(self.inode_table.0 >> 32));
        high.bg_free_blocks_count_hi
            .set(low16(self.free_blocks >> 16));
        high.bg_free_inodes_count_hi
            .set(low16(self.free_inodes >> 16));
        high.bg_used_dirs_count_hi.set(low16(self.used_dirs >> 16));
        if sb.features.group_csum() {
            high.bg_itable_unused_hi
                .set(low16(self.itable_unused >> 16));
        }
        if sb.features.metadata_csum() {
            high.bg_block_bitmap_csum_hi
                .set(low16(self.block_bitmap_csum >> 16));
            high.bg_inode_bitmap_csum_hi
                .set(low16(self.inode_bitmap_csum >> 16));
        }
    }
}

/// The checksum of a descriptor, for `bg_checksum`; `None` on volumes without. `bytes` has the volume's descriptor size.
#[must_use]
pub fn descriptor_checksum(sb: &Superblock, group: GroupNumber, bytes: &[u8]) -> Option<u16> {
    let (before, rest) = bytes.split_at_checked(BG_CHECKSUM_OFFSET)?;
    let (_, after) = rest.split_at_checked(2)?;
    if sb.features.metadata_csum() {
        // The checksum itself counts as zero.
        let state = crc32c(crc32c_u32(sb.csum_seed, group.0), before);
        return Some(low16(crc32c(crc32c(state, &[0, 0]), after)));
    }
    if sb.features.ro_compat(RoCompat::GDT_CSUM) {
        // The checksum itself is left out, and so is the high half where the feature does not give it a meaning.
        let state = crc16(
            crc16(crc16(CRC16_START, &sb.uuid), &group.0.to_le_bytes()),
            before,
        );
        return Some(if sb.features.incompat(Incompat::BIT64) {
            crc16(state, after)
        } else {
            state
        });
    }
    None
}

impl Ext2fs {
    /// Where a group's descriptor lies.
    ///
    /// # Errors
    /// [`Error::Value`] if there is no such group or its place is not on the volume.
    pub fn group_location(&self, group: GroupNumber) -> Result<DescLocation> {
        let sb = self.superblock();
        if group.0 >= sb.groups {
            let range = Expected::Range(0, u64::from(sb.groups).saturating_sub(1));
            return Err(Error::value(
                Place::GroupDescriptor(group),
                "number",
                group,
                range,
            ));
        }
        let per_block = sb.descriptors_per_block();
        let table_block = group.0.checked_div(per_block).unwrap_or(0);
        let within = group.0.checked_rem(per_block).unwrap_or(0);
        let block = if table_block < sb.first_meta_bg {
            FsBlock(
                sb.superblock_block()
                    .0
                    .saturating_add(1)
                    .saturating_add(u64::from(table_block)),
            )
        } else {
            let meta_group = GroupNumber(table_block.saturating_mul(per_block));
            // Group 0 of a bigalloc volume with 1 KiB blocks starts at block 0, its superblock is block 1.
            let start = if meta_group.0 == 0 {
                sb.superblock_block()
            } else {
                sb.group_start(meta_group)
            };
            let skip = u64::from(self.group_has_superblock(meta_group));
            FsBlock(start.0.saturating_add(skip))
        };
        if !sb.contains(block, 1) {
            return Err(Error::value(
                Place::GroupDescriptor(group),
                "block",
                block,
                Expected::Range(1, sb.blocks.saturating_sub(1)),
            ));
        }
        Ok(DescLocation {
            block,
            offset: index(within).saturating_mul(usize::from(sb.desc_size)),
        })
    }

    /// A group's descriptor.
    ///
    /// # Errors
    /// [`Error::Checksum`], [`Error::Value`] as [`GroupDesc::parse`], [`Error::Device`].
    pub fn group(&self, group: GroupNumber) -> Result<GroupDesc> {
        self.with_descriptor(group, |bytes| {
            GroupDesc::parse(self.superblock(), group, bytes)
        })
    }

    /// Calls `f` with the bytes of a group's descriptor, whose checksum is right.
    fn with_descriptor<R>(
        &self,
        group: GroupNumber,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let location = self.group_location(group)?;
        let place = Place::GroupDescriptor(group);
        let buf = self.read(location.block, place)?;
        let data = buf.data();
        let size = usize::from(self.superblock().desc_size);
        let Some(bytes) = data.get(location.offset..location.offset.saturating_add(size)) else {
            return Err(Error::words(
                place,
                "offset",
                crate::types::number(location.offset),
                "inside the block",
            ));
        };
        if !buf.verified() {
            self.verify_group(group, bytes)?;
            self.verify_descriptor_block(&buf, group, &data);
        }
        f(bytes)
    }

    /// Where a group's inode table starts. Asked for with every inode, so nothing else of the descriptor is looked at.
    pub(crate) fn inode_table(&self, group: GroupNumber) -> Result<FsBlock> {
        self.with_descriptor(group, |bytes| {
            let sb = self.superblock();
            if let Ok((low, rest)) = RawGroupDesc::ref_from_prefix(bytes) {
                let high = RawGroupDescHigh::ref_from_prefix(rest)
                    .map_or(0, |(high, _)| high.bg_inode_table_hi.get());
                let table = FsBlock(join(high, low.bg_inode_table_lo.get()));
                if sb.contains(table, u64::from(sb.inode_table_blocks())) {
                    return Ok(table);
                }
            }
            GroupDesc::parse(sb, group, bytes).map(|desc| desc.inode_table)
        })
    }

    fn verify_group(&self, group: GroupNumber, bytes: &[u8]) -> Result<()> {
        let Some(computed) = descriptor_checksum(self.superblock(), group, bytes) else {
            return Ok(());
        };
        let Ok((raw, _)) = RawGroupDesc::ref_from_prefix(bytes) else {
            return Ok(());
        };
        let stored = raw.bg_checksum.get();
        if stored == computed {
            return Ok(());
        }
        let place = Place::GroupDescriptor(group);
        Err(Error::Checksum {
            place,
            stored: u32::from(stored),
            computed: u32::from(computed),
        })
    }

    /// Marks a descriptor block as verified if every descriptor in it is right. If one is wrong the others stay usable:
    /// each is then checked whenever it is read.
    fn verify_descriptor_block(&self, buf: &Buf, group: GroupNumber, data: &[u8]) {
        let sb = self.superblock();
        let first = group
            .0
            .saturating_sub(group.0.checked_rem(sb.descriptors_per_block()).unwrap_or(0));
        let all = (first..sb.groups)
            .zip(data.chunks_exact(usize::from(sb.desc_size)))
            .all(|(group, bytes)| self.verify_group(GroupNumber(group), bytes).is_ok());
        if all {
            buf.set_verified();
        }
    }

    /// Where an inode lies: a block and the byte offset in it.
    ///
    /// # Errors
    /// [`Error::Value`] if there is no such inode; those of [`group`](Self::group).
    pub fn inode_location(&self, ino: InodeNumber) -> Result<DescLocation> {
        let sb = self.superblock();
        let Some((group, n)) = sb.inode_group(ino) else {
            let range = Expected::Range(1, u64::from(sb.inodes));
            return Err(Error::value(Place::Inode(ino), "number", ino, range));
        };
        Ok(self.location_in(self.inode_table(group)?, n))
    }

    /// Where the inode of index `n` lies in a table.
    pub(crate) fn location_in(&self, table: FsBlock, n: u32) -> DescLocation {
        let sb = self.superblock();
        let per_block = sb.inodes_per_block();
        let block = u64::from(n.checked_div(per_block).unwrap_or(0));
        let within = index(n.checked_rem(per_block).unwrap_or(0));
        DescLocation {
            block: FsBlock(table.0.saturating_add(block)),
            offset: within.saturating_mul(usize::from(sb.inode_size)),
        }
    }
}
