//! Blocks of the orphan file ("Orphan file"): inode numbers of 4 bytes, then a tail.

use super::{U32, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `ob_magic`.
pub const EXT4_ORPHAN_BLOCK_MAGIC: u32 = 0x0B10_CA04;
/// Bytes in the tail.
pub const ORPHAN_TAIL_SIZE: usize = 8;

/// `struct ext4_orphan_block_tail`, at the end of each block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawOrphanTail {
    /// 0x000: [`EXT4_ORPHAN_BLOCK_MAGIC`].
    pub ob_magic: U32,
    /// 0x004: crc32c of inode number, generation, the block's number (8 bytes) and the entries.
    pub ob_checksum: U32,
}
assert_size!(RawOrphanTail, 8);
