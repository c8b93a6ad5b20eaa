//! The index of hashed directories ("Hash Tree Directories").

use super::{U16, U32, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Offset of `dx_root_info` in the root: after the entries `.` and `..`.
pub const DX_ROOT_INFO_OFFSET: usize = 0x18;
/// Offset of the index entries in an inner node: after one unused entry.
pub const DX_NODE_ENTRIES_OFFSET: usize = 0x8;
/// Bytes in an index entry.
pub const DX_ENTRY_SIZE: usize = 8;
/// Bytes in the checksum tail of an index block.
pub const DX_TAIL_SIZE: usize = 8;

/// `struct dx_root_info`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawDxRootInfo {
    /// 0x000: 0.
    pub reserved_zero: U32,
    /// 0x004: see `hash::HashVersion`.
    pub hash_version: u8,
    /// 0x005: 8: the index entries start that far on.
    pub info_length: u8,
    /// 0x006: levels of inner nodes below the root.
    pub indirect_levels: u8,
    /// 0x007: 0.
    pub unused_flags: u8,
}
assert_size!(RawDxRootInfo, 8);

/// `struct dx_countlimit`, in the place of the first index entry's hash.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawDxCountLimit {
    /// 0x000: room for entries, this one included.
    pub limit: U16,
    /// 0x002: entries, this one included.
    pub count: U16,
    /// 0x004: file block of the first child.
    pub block: U32,
}
assert_size!(RawDxCountLimit, 8);

/// `struct dx_entry`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawDxEntry {
    /// 0x000: smallest hash in the child; bit 0: it continues the child before.
    pub hash: U32,
    /// 0x004: file block of the child.
    pub block: U32,
}
assert_size!(RawDxEntry, 8);

/// `struct dx_tail`, after entry `limit`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawDxTail {
    /// 0x000: 0.
    pub dt_reserved: U32,
    /// 0x004: crc32c of inode number, generation, the block up to entry `count`, and this tail.
    pub dt_checksum: U32,
}
assert_size!(RawDxTail, 8);
