//! Block group descriptors ("Block Group Descriptors").

use super::{U16, U32, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in a descriptor without the 64bit feature.
pub const EXT4_MIN_DESC_SIZE: u16 = 32;
/// Bytes in a descriptor with the 64bit feature, at least.
pub const EXT4_MIN_DESC_SIZE_64BIT: u16 = 64;
/// Offset of `bg_checksum` in the descriptor.
pub const BG_CHECKSUM_OFFSET: usize = 0x1E;

/// `struct ext4_group_desc`, the half that is always there.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawGroupDesc {
    /// 0x000: block of the block bitmap, low half.
    pub bg_block_bitmap_lo: U32,
    /// 0x004: block of the inode bitmap, low half.
    pub bg_inode_bitmap_lo: U32,
    /// 0x008: first block of the inode table, low half.
    pub bg_inode_table_lo: U32,
    /// 0x00c: free blocks (clusters), low half.
    pub bg_free_blocks_count_lo: U16,
    /// 0x00e: free inodes, low half.
    pub bg_free_inodes_count_lo: U16,
    /// 0x010: directories, low half.
    pub bg_used_dirs_count_lo: U16,
    /// 0x012: see `groups::GroupFlags`.
    pub bg_flags: U16,
    /// 0x014: never used by Linux.
    pub bg_exclude_bitmap_lo: U32,
    /// 0x018: crc32c of the block bitmap, low half.
    pub bg_block_bitmap_csum_lo: U16,
    /// 0x01a: crc32c of the inode bitmap, low half.
    pub bg_inode_bitmap_csum_lo: U16,
    /// 0x01c: inodes at the end of the table never used, low half.
    pub bg_itable_unused_lo: U16,
    /// 0x01e: checksum of the descriptor.
    pub bg_checksum: U16,
}
assert_size!(RawGroupDesc, 32);

/// `struct ext4_group_desc`, the half that follows with the 64bit feature. Offsets count from its start.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawGroupDescHigh {
    /// 0x000: block of the block bitmap, high half.
    pub bg_block_bitmap_hi: U32,
    /// 0x004: block of the inode bitmap, high half.
    pub bg_inode_bitmap_hi: U32,
    /// 0x008: first block of the inode table, high half.
    pub bg_inode_table_hi: U32,
    /// 0x00c: free blocks (clusters), high half.
    pub bg_free_blocks_count_hi: U16,
    /// 0x00e: free inodes, high half.
    pub bg_free_inodes_count_hi: U16,
    /// 0x010: directories, high half.
    pub bg_used_dirs_count_hi: U16,
    /// 0x012: inodes never used, high half.
    pub bg_itable_unused_hi: U16,
    /// 0x014: never used by Linux.
    pub bg_exclude_bitmap_hi: U32,
    /// 0x018: crc32c of the block bitmap, high half.
    pub bg_block_bitmap_csum_hi: U16,
    /// 0x01a: crc32c of the inode bitmap, high half.
    pub bg_inode_bitmap_csum_hi: U16,
    /// 0x01c: padding.
    pub bg_reserved: U32,
}
assert_size!(RawGroupDescHigh, 32);
