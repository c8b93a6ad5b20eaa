//! Extent trees ("Extent Tree"). A node is a header and 12-byte entries: indexes, or extents in a leaf.

use super::{U16, U32, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `eh_magic`.
pub const EXT4_EXT_MAGIC: u16 = 0xF30A;
/// Deepest tree that Linux makes.
pub const EXT4_MAX_EXTENT_DEPTH: u16 = 5;
/// An `ee_len` above this means an unwritten extent of `ee_len` minus this blocks.
pub const EXT_INIT_MAX_LEN: u16 = 32768;
/// Bytes in a header, an index and an extent.
pub const EXTENT_ENTRY_SIZE: usize = 12;

/// `struct ext4_extent_header`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawExtentHeader {
    /// 0x000: [`EXT4_EXT_MAGIC`].
    pub eh_magic: U16,
    /// 0x002: entries in use.
    pub eh_entries: U16,
    /// 0x004: room for entries.
    pub eh_max: U16,
    /// 0x006: 0 in a leaf, else the height above the leaves.
    pub eh_depth: U16,
    /// 0x008: unused by Linux.
    pub eh_generation: U32,
}
assert_size!(RawExtentHeader, 12);

/// `struct ext4_extent_idx`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawExtentIdx {
    /// 0x000: first file block that the child covers.
    pub ei_block: U32,
    /// 0x004: block of the child, low half.
    pub ei_leaf_lo: U32,
    /// 0x008: block of the child, high half.
    pub ei_leaf_hi: U16,
    /// 0x00a: padding.
    pub ei_unused: U16,
}
assert_size!(RawExtentIdx, 12);

/// `struct ext4_extent`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawExtent {
    /// 0x000: first file block.
    pub ee_block: U32,
    /// 0x004: number of blocks; see [`EXT_INIT_MAX_LEN`].
    pub ee_len: U16,
    /// 0x006: first block, high half.
    pub ee_start_hi: U16,
    /// 0x008: first block, low half.
    pub ee_start_lo: U32,
}
assert_size!(RawExtent, 12);

/// `struct ext4_extent_tail`, after entry `eh_max` of a node that is a block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawExtentTail {
    /// 0x000: crc32c of inode number, generation and the node up to here.
    pub et_checksum: U32,
}
assert_size!(RawExtentTail, 4);
