//! Extended attributes ("Extended Attributes").

use super::{U16, U32, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `h_magic`.
pub const EXT4_XATTR_MAGIC: u32 = 0xEA02_0000;
/// Most inodes that may share one attribute block.
pub const EXT4_XATTR_REFCOUNT_MAX: u32 = 1024;
/// Bytes in the header of an attribute block.
pub const XATTR_BLOCK_HEADER: usize = 32;
/// Bytes in the header of attributes in the inode.
pub const XATTR_IBODY_HEADER: usize = 4;
/// Bytes in an entry before its name.
pub const XATTR_ENTRY_HEADER: usize = 16;
/// Names and values are padded to a multiple of this.
pub const EXT4_XATTR_ROUND: usize = 4;

/// `struct ext4_xattr_header`, at the start of an attribute block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawXattrHeader {
    /// 0x000: [`EXT4_XATTR_MAGIC`].
    pub h_magic: U32,
    /// 0x004: inodes that share the block.
    pub h_refcount: U32,
    /// 0x008: 1.
    pub h_blocks: U32,
    /// 0x00c: hash of all entries; 0 forbids sharing.
    pub h_hash: U32,
    /// 0x010: crc32c of the block number and the block.
    pub h_checksum: U32,
    /// 0x014: padding.
    pub h_reserved: [U32; 3],
}
assert_size!(RawXattrHeader, 32);

/// `struct ext4_xattr_ibody_header`, after `i_extra_isize` bytes in the inode.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawXattrIbodyHeader {
    /// 0x000: [`EXT4_XATTR_MAGIC`].
    pub h_magic: U32,
}
assert_size!(RawXattrIbodyHeader, 4);

/// `struct ext4_xattr_entry`, before the name.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawXattrEntry {
    /// 0x000: bytes in the name.
    pub e_name_len: u8,
    /// 0x001: prefix of the name.
    pub e_name_index: u8,
    /// 0x002: offset of the value: from the block's start, or from the first entry in an inode.
    pub e_value_offs: U16,
    /// 0x004: inode that holds the value, with ea_inode.
    pub e_value_inum: U32,
    /// 0x008: bytes in the value.
    pub e_value_size: U32,
    /// 0x00c: hash of name and value.
    pub e_hash: U32,
}
assert_size!(RawXattrEntry, 16);
