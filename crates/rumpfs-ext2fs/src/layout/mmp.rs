//! Multiple mount protection ("Multiple Mount Protection").

use super::{U16, U32, U64, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `mmp_magic`, the letters MMP.
pub const EXT4_MMP_MAGIC: u32 = 0x004D_4D50;
/// `mmp_seq`: cleanly unmounted.
pub const EXT4_MMP_SEQ_CLEAN: u32 = 0xFF4D_4D50;
/// `mmp_seq`: being checked.
pub const EXT4_MMP_SEQ_FSCK: u32 = 0xE24D_4D50;
/// Largest sequence number of a mount.
pub const EXT4_MMP_SEQ_MAX: u32 = 0xE24D_4D4F;

/// `struct mmp_struct`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawMmp {
    /// 0x000: [`EXT4_MMP_MAGIC`].
    pub mmp_magic: U32,
    /// 0x004: sequence number, changed regularly while mounted for writing.
    pub mmp_seq: U32,
    /// 0x008: time of the last update in seconds.
    pub mmp_time: U64,
    /// 0x010: host that wrote it.
    pub mmp_nodename: [u8; 64],
    /// 0x050: device on that host.
    pub mmp_bdevname: [u8; 32],
    /// 0x070: seconds between checks.
    pub mmp_check_interval: U16,
    /// 0x072: padding.
    pub mmp_pad1: U16,
    /// 0x074: padding.
    pub mmp_pad2: [U32; 226],
    /// 0x3fc: crc32c of the bytes before.
    pub mmp_checksum: U32,
}
assert_size!(RawMmp, 1024);
