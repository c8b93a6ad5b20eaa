//! Directory entries ("Linear Directories").

use super::{U16, U32, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Longest name in bytes.
pub const EXT4_NAME_LEN: usize = 255;
/// Bytes in an entry before its name.
pub const DIR_ENTRY_HEADER: usize = 8;
/// Bytes in the checksum tail.
pub const DIR_TAIL_SIZE: usize = 12;
/// `det_reserved_ft` of the checksum tail.
pub const EXT4_FT_DIR_CSUM: u8 = 0xDE;

/// `struct ext4_dir_entry_2`, before the name.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawDirEntry {
    /// 0x000: inode number, 0 in an unused entry.
    pub inode: U32,
    /// 0x004: bytes to the next entry; 64 KiB blocks have a special form.
    pub rec_len: U16,
    /// 0x006: bytes in the name.
    pub name_len: u8,
    /// 0x007: type, with the filetype feature. Without it the name's length has these bits on paper, but no name is that
    /// long, and the checksum's entry keeps its mark here all the same.
    pub file_type: u8,
}
assert_size!(RawDirEntry, 8);

/// `struct ext4_dir_entry_tail`: looks like an unused entry at the end of the block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawDirEntryTail {
    /// 0x000: 0.
    pub det_reserved_zero1: U32,
    /// 0x004: 12.
    pub det_rec_len: U16,
    /// 0x006: 0.
    pub det_reserved_zero2: u8,
    /// 0x007: [`EXT4_FT_DIR_CSUM`].
    pub det_reserved_ft: u8,
    /// 0x008: crc32c of inode number, generation and the block before the tail.
    pub det_checksum: U32,
}
assert_size!(RawDirEntryTail, 12);
