//! The journal's structures as they lie on the medium: big-endian, unlike the rest of ext4.
//!
//! Source: Linux `Documentation/filesystems/ext4/journal.rst`; field names are that document's. The structures of the
//! fast-commit area are little-endian.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32, U64},
    little_endian as le,
};

/// `h_magic` of every block of the log that is not a data block ("Block Header").
pub const MAGIC: u32 = 0xC03B_3998;
/// [`MAGIC`] as it lies on the medium; a data block that begins so is stored escaped ("Data Block").
pub const MAGIC_BYTES: [u8; 4] = MAGIC.to_be_bytes();

/// `h_blocktype` of a descriptor block.
pub const DESCRIPTOR_BLOCK: u32 = 1;
/// `h_blocktype` of a commit block.
pub const COMMIT_BLOCK: u32 = 2;
/// `h_blocktype` of a version 1 superblock: nothing after `s_errno` has a meaning.
pub const SUPERBLOCK_V1: u32 = 3;
/// `h_blocktype` of a version 2 superblock.
pub const SUPERBLOCK_V2: u32 = 4;
/// `h_blocktype` of a revocation block.
pub const REVOKE_BLOCK: u32 = 5;

/// `h_chksum_type` of a commit block under the version 1 checksum: CRC-32, most significant bit first.
pub const CHECKSUM_CRC32: u8 = 1;
/// `s_checksum_type` of checksum versions 2 and 3; the only one they are used with.
pub const CHECKSUM_CRC32C: u8 = 4;

/// `t_flags`: the data block begins with [`MAGIC_BYTES`], stored as zeros.
pub const TAG_ESCAPE: u32 = 0x1;
/// `t_flags`: no UUID follows the tag.
pub const TAG_SAME_UUID: u32 = 0x2;
/// `t_flags`: the last tag of the descriptor block.
pub const TAG_LAST: u32 = 0x8;

/// `s_num_fc_blocks` when it is 0 and the fast-commit feature is set.
pub const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;
/// The log keeps at least this many blocks for full commits; an area that would leave fewer is not split.
pub const MIN_LOG_BLOCKS: u32 = 1024;

bitflags::bitflags! {
    /// `s_feature_compat`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Compat: u32 {
        /// Commit blocks carry a CRC-32 of the descriptor and data blocks (checksum version 1).
        const CHECKSUM = 0x1;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// `s_feature_incompat`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Incompat: u32 {
        /// The log may have revocation blocks.
        const REVOKE = 0x1;
        /// Block numbers have 64 bits.
        const BIT64 = 0x2;
        /// Commit blocks are written without waiting for the blocks before them.
        const ASYNC_COMMIT = 0x4;
        /// Checksum version 2.
        const CSUM_V2 = 0x8;
        /// Checksum version 3.
        const CSUM_V3 = 0x10;
        /// The end of the journal is a fast-commit area.
        const FAST_COMMIT = 0x20;
        const _ = !0;
    }
}

/// `journal_header_t`: the start of every block of the log but data blocks.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    /// [`MAGIC`].
    pub h_magic: U32,
    /// What the block is.
    pub h_blocktype: U32,
    /// The transaction it belongs to.
    pub h_sequence: U32,
}
const _: () = assert!(size_of::<RawHeader>() == 12);

/// `struct journal_superblock_s`, block 0 of the journal.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSuperblock {
    /// Block type [`SUPERBLOCK_V1`] or [`SUPERBLOCK_V2`].
    pub s_header: RawHeader,
    /// Bytes in a block.
    pub s_blocksize: U32,
    /// Blocks in the journal, this one and the fast-commit area included.
    pub s_maxlen: U32,
    /// First block of the log.
    pub s_first: U32,
    /// Sequence number of the first transaction of the log.
    pub s_sequence: U32,
    /// Block where the log starts; 0 when there is nothing to replay.
    pub s_start: U32,
    /// Error of a journal that was aborted, a negative errno.
    pub s_errno: U32,
    /// [`Compat`] (from here on: version 2 only).
    pub s_feature_compat: U32,
    /// [`Incompat`].
    pub s_feature_incompat: U32,
    /// Features without which it may only be read; none exists.
    pub s_feature_ro_compat: U32,
    /// The journal's UUID, seed of its checksums.
    pub s_uuid: [u8; 16],
    /// File systems that share the journal.
    pub s_nr_users: U32,
    /// Block of a copy of the dynamic fields; unused.
    pub s_dynsuper: U32,
    /// Most blocks of a transaction; unused.
    pub s_max_transaction: U32,
    /// Most data blocks of a transaction; unused.
    pub s_max_trans_data: U32,
    /// [`CHECKSUM_CRC32C`] under checksum versions 2 and 3.
    pub s_checksum_type: u8,
    /// Zero.
    pub s_padding2: [u8; 3],
    /// Blocks of the fast-commit area.
    pub s_num_fc_blocks: U32,
    /// Where the log of an empty journal would go on.
    pub s_head: U32,
    /// Zero.
    pub s_padding: [u8; 160],
    /// CRC-32C of the 1,024 bytes with this field zero.
    pub s_checksum: U32,
    /// UUIDs of the file systems that share the journal.
    pub s_users: [u8; 768],
}
const _: () = assert!(size_of::<RawSuperblock>() == 1024);
const _: () = assert!(core::mem::offset_of!(RawSuperblock, s_num_fc_blocks) == 0x54);
const _: () = assert!(core::mem::offset_of!(RawSuperblock, s_checksum) == 0xFC);

/// `struct journal_block_tag3_s`: a tag under checksum version 3. A UUID of 16 bytes follows unless [`TAG_SAME_UUID`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawTag3 {
    /// Home of the data block, low half.
    pub t_blocknr: U32,
    /// `TAG_*`.
    pub t_flags: U32,
    /// Home of the data block, high half; only with [`Incompat::BIT64`].
    pub t_blocknr_high: U32,
    /// CRC-32C of sequence number and data block.
    pub t_checksum: U32,
}
const _: () = assert!(size_of::<RawTag3>() == 16);

/// `struct journal_block_tag_s` without its last field: a tag under no checksum, version 1 or version 2.
///
/// With [`Incompat::BIT64`], `t_blocknr_high` (4 bytes) follows. Under version 2 the tag ends with 2 bytes of padding in both
/// cases: the kernel that introduced it counted the checksum field twice, and the size stayed.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawTag {
    /// Home of the data block, low half.
    pub t_blocknr: U32,
    /// Low 16 bits of the CRC-32C of sequence number and data block; version 2 only.
    pub t_checksum: U16,
    /// `TAG_*`.
    pub t_flags: U16,
}
const _: () = assert!(size_of::<RawTag>() == 8);

/// Bytes of the UUID after a tag without [`TAG_SAME_UUID`].
pub const TAG_UUID_SIZE: usize = 16;

/// `struct jbd2_journal_block_tail`: the last bytes of descriptor and revocation blocks under checksum versions 2 and 3.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawTail {
    /// CRC-32C of the block with this field zero.
    pub t_checksum: U32,
}
const _: () = assert!(size_of::<RawTail>() == 4);

/// `struct jbd2_journal_revoke_header_s`: the start of a revocation block. Block numbers follow, of 8 bytes with
/// [`Incompat::BIT64`], else of 4.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRevokeHeader {
    /// Block type [`REVOKE_BLOCK`].
    pub r_header: RawHeader,
    /// Bytes used in this block, this header included.
    pub r_count: U32,
}
const _: () = assert!(size_of::<RawRevokeHeader>() == 16);

/// `struct commit_header`: the start of a commit block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawCommitHeader {
    /// Block type [`COMMIT_BLOCK`].
    pub h_header: RawHeader,
    /// [`CHECKSUM_CRC32`] under checksum version 1, else 0.
    pub h_chksum_type: u8,
    /// Bytes of the checksum: 4 under version 1, else 0.
    pub h_chksum_size: u8,
    /// Zero.
    pub h_padding: [u8; 2],
    /// The checksum, in the first element.
    pub h_chksum: [U32; 8],
    /// When the transaction was committed, seconds since 1970.
    pub h_commit_sec: U64,
    /// Nanoseconds of that time.
    pub h_commit_nsec: U32,
}
const _: () = assert!(size_of::<RawCommitHeader>() == 60);

/// Tags of the fast-commit area (`EXT4_FC_TAG_*`).
pub mod fc_tag {
    /// An extent of an inode.
    pub const ADD_RANGE: u16 = 1;
    /// A range of an inode that has no blocks any more.
    pub const DEL_RANGE: u16 = 2;
    /// A new inode and its first name.
    pub const CREAT: u16 = 3;
    /// One more name.
    pub const LINK: u16 = 4;
    /// One name less.
    pub const UNLINK: u16 = 5;
    /// An inode.
    pub const INODE: u16 = 6;
    /// Nothing, up to the end of the block.
    pub const PAD: u16 = 7;
    /// The end of a fast commit.
    pub const TAIL: u16 = 8;
    /// The start of the area.
    pub const HEAD: u16 = 9;
}

/// `struct ext4_fc_tl`: tag and length in front of each value of the fast-commit area.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFcTl {
    /// One of [`fc_tag`].
    pub fc_tag: le::U16,
    /// Bytes of the value after this structure.
    pub fc_len: le::U16,
}
const _: () = assert!(size_of::<RawFcTl>() == 4);

/// `struct ext4_fc_head`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFcHead {
    /// Features that a reader must know; none exists.
    pub fc_features: le::U32,
    /// The transaction that the fast commits belong to: the first one that has no full commit.
    pub fc_tid: le::U32,
}
const _: () = assert!(size_of::<RawFcHead>() == 8);

/// `struct ext4_fc_add_range`; the extent is laid out as `struct ext4_extent`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFcAddRange {
    /// Inode number.
    pub fc_ino: le::U32,
    /// First logical block.
    pub ee_block: le::U32,
    /// Number of blocks, plus 32,768 when they are unwritten.
    pub ee_len: le::U16,
    /// Physical block, high part.
    pub ee_start_hi: le::U16,
    /// Physical block, low part.
    pub ee_start_lo: le::U32,
}
const _: () = assert!(size_of::<RawFcAddRange>() == 16);

/// `struct ext4_fc_del_range`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFcDelRange {
    /// Inode number.
    pub fc_ino: le::U32,
    /// First logical block.
    pub fc_lblk: le::U32,
    /// Number of blocks.
    pub fc_len: le::U32,
}
const _: () = assert!(size_of::<RawFcDelRange>() == 12);

/// `struct ext4_fc_dentry_info`; the name follows, to the end of the value.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFcDentry {
    /// The directory.
    pub fc_parent_ino: le::U32,
    /// The inode that the name is of.
    pub fc_ino: le::U32,
}
const _: () = assert!(size_of::<RawFcDentry>() == 8);

/// `struct ext4_fc_tail`; padding follows, to the end of the block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFcTail {
    /// The transaction.
    pub fc_tid: le::U32,
    /// CRC-32C (initial value 0) of the fast commit, from its first tag to `fc_tid` of its tail.
    pub fc_crc: le::U32,
}
const _: () = assert!(size_of::<RawFcTail>() == 8);
