//! Inodes ("Index Nodes").

use super::{U16, U32, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the part that every inode has.
pub const EXT4_GOOD_OLD_INODE_SIZE: u16 = 128;
/// Entries of `i_block`: 12 direct, then single, double and triple indirect.
pub const EXT4_N_BLOCKS: usize = 15;
/// Bytes in `i_block`.
pub const I_BLOCK_SIZE: usize = 60;
/// Offset of `i_block`.
pub const I_BLOCK_OFFSET: usize = 0x28;
/// Offset of `l_i_checksum_lo`.
pub const I_CHECKSUM_LO_OFFSET: usize = 0x7C;
/// Offset of `i_checksum_hi`.
pub const I_CHECKSUM_HI_OFFSET: usize = 0x82;

/// `struct ext4_inode`, the part that every inode has.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawInode {
    /// 0x000: type and permissions.
    pub i_mode: U16,
    /// 0x002: owner, low half.
    pub i_uid: U16,
    /// 0x004: size in bytes, low half.
    pub i_size_lo: U32,
    /// 0x008: access time, signed seconds.
    pub i_atime: U32,
    /// 0x00c: change time, signed seconds.
    pub i_ctime: U32,
    /// 0x010: modification time, signed seconds.
    pub i_mtime: U32,
    /// 0x014: deletion time, or the next inode of the orphan list.
    pub i_dtime: U32,
    /// 0x018: group, low half.
    pub i_gid: U16,
    /// 0x01a: number of names.
    pub i_links_count: U16,
    /// 0x01c: blocks held, in units of 512 bytes (see huge_file), low half.
    pub i_blocks_lo: U32,
    /// 0x020: see `inode::InodeFlags`.
    pub i_flags: U32,
    /// 0x024: version, low half (`osd1` of Linux).
    pub l_i_version: U32,
    /// 0x028: map of blocks, extent tree, symbolic link, device number or inline data.
    pub i_block: [u8; 60],
    /// 0x064: version of the inode number's use.
    pub i_generation: U32,
    /// 0x068: block of extended attributes, low half.
    pub i_file_acl_lo: U32,
    /// 0x06c: size in bytes, high half (regular files; directories with large_dir).
    pub i_size_high: U32,
    /// 0x070: unused.
    pub i_obso_faddr: U32,
    /// 0x074: blocks held, high half.
    pub l_i_blocks_high: U16,
    /// 0x076: block of extended attributes, high half.
    pub l_i_file_acl_high: U16,
    /// 0x078: owner, high half.
    pub l_i_uid_high: U16,
    /// 0x07a: group, high half.
    pub l_i_gid_high: U16,
    /// 0x07c: crc32c of the inode, low half.
    pub l_i_checksum_lo: U16,
    /// 0x07e: unused.
    pub l_i_reserved: U16,
}
assert_size!(RawInode, 128);

/// `struct ext4_inode`, what follows in larger inodes. A field is there if `i_extra_isize` reaches over it. Offsets count from its start at byte 128.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawInodeExtra {
    /// 0x000: bytes of this part, this field included.
    pub i_extra_isize: U16,
    /// 0x002: crc32c of the inode, high half.
    pub i_checksum_hi: U16,
    /// 0x004: nanoseconds and epoch of the change time.
    pub i_ctime_extra: U32,
    /// 0x008: nanoseconds and epoch of the modification time.
    pub i_mtime_extra: U32,
    /// 0x00c: nanoseconds and epoch of the access time.
    pub i_atime_extra: U32,
    /// 0x010: creation time, signed seconds.
    pub i_crtime: U32,
    /// 0x014: nanoseconds and epoch of the creation time.
    pub i_crtime_extra: U32,
    /// 0x018: version, high half.
    pub i_version_hi: U32,
    /// 0x01c: project.
    pub i_projid: U32,
}
assert_size!(RawInodeExtra, 32);
