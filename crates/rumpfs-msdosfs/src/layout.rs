//! The structures of the medium, byte for byte. Names are those of Microsoft's FAT specification (version 1.03), numbers are
//! little-endian, sizes are asserted. Nothing is checked here.

pub use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Start of the boot sector: the BIOS parameter block of all kinds.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawBpb {
    /// `BS_jmpBoot`
    pub jump: [u8; 3],
    /// `BS_OEMName`
    pub oem_name: [u8; 8],
    /// `BPB_BytsPerSec`
    pub bytes_per_sector: U16,
    /// `BPB_SecPerClus`
    pub sectors_per_cluster: u8,
    /// `BPB_RsvdSecCnt`: sectors before the first FAT.
    pub reserved_sectors: U16,
    /// `BPB_NumFATs`
    pub fats: u8,
    /// `BPB_RootEntCnt`: 0 on FAT32.
    pub root_entries: U16,
    /// `BPB_TotSec16`: 0 if it does not fit.
    pub total_sectors_16: U16,
    /// `BPB_Media`
    pub media: u8,
    /// `BPB_FATSz16`: 0 on FAT32.
    pub fat_sectors_16: U16,
    /// `BPB_SecPerTrk`
    pub sectors_per_track: U16,
    /// `BPB_NumHeads`
    pub heads: U16,
    /// `BPB_HiddSec`
    pub hidden_sectors: U32,
    /// `BPB_TotSec32`
    pub total_sectors_32: U32,
}
const _: () = assert!(size_of::<RawBpb>() == 36);

/// What follows on FAT32, at byte 36.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawBpb32 {
    /// `BPB_FATSz32`
    pub fat_sectors: U32,
    /// `BPB_ExtFlags`: [`NOT_MIRRORED`] and the number of the FAT in use.
    pub flags: U16,
    /// `BPB_FSVer`: 0.
    pub version: U16,
    /// `BPB_RootClus`
    pub root_cluster: U32,
    /// `BPB_FSInfo`: its sector.
    pub fs_info: U16,
    /// `BPB_BkBootSec`
    pub backup: U16,
    _reserved: [u8; 12],
    /// What FAT12 and FAT16 have at byte 36.
    pub extended: RawExtended,
}
const _: () = assert!(size_of::<RawBpb32>() == 54);

/// The end of the parameters: at byte 36 on FAT12 and FAT16, at byte 64 on FAT32.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtended {
    /// `BS_DrvNum`
    pub drive: u8,
    /// `BS_Reserved1`: [`STATE_DIRTY`].
    pub state: u8,
    /// `BS_BootSig`: [`HAS_SERIAL`] or [`HAS_LABEL`] if what follows is there.
    pub signature: u8,
    /// `BS_VolID`
    pub serial: U32,
    /// `BS_VolLab`
    pub label: [u8; 11],
    /// `BS_FilSysType`: means nothing.
    pub fs_type: [u8; 8],
}
const _: () = assert!(size_of::<RawExtended>() == 26);

/// `BPB_ExtFlags`: only one FAT is in use, and bits 0 to 3 say which.
pub const NOT_MIRRORED: u16 = 0x80;
/// `BPB_ExtFlags`: the bits with the number of the FAT in use, from 0, if there is only one.
pub const ACTIVE_FAT: u16 = 0x0F;
/// `BS_Reserved1`: the volume was not unmounted.
pub const STATE_DIRTY: u8 = 0x01;
/// `BS_BootSig`: a serial number follows.
pub const HAS_SERIAL: u8 = 0x28;
/// `BS_BootSig`: a serial number and a label follow.
pub const HAS_LABEL: u8 = 0x29;

/// `FSInfo`: counts that save reading the FAT.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFsInfo {
    /// `FSI_LeadSig`: [`LEAD_SIGNATURE`].
    pub lead: U32,
    _reserved1: [u8; 480],
    /// `FSI_StrucSig`: [`STRUCTURE_SIGNATURE`].
    pub structure: U32,
    /// `FSI_Free_Count`; [`UNKNOWN`]: not known.
    pub free_count: U32,
    /// `FSI_Nxt_Free`
    pub next_free: U32,
    _reserved2: [u8; 12],
    /// `FSI_TrailSig`: [`TRAIL_SIGNATURE`].
    pub trail: U32,
}
const _: () = assert!(size_of::<RawFsInfo>() == 512);

/// `FSI_LeadSig`: what the sector of FSInfo begins with.
pub const LEAD_SIGNATURE: u32 = 0x4161_5252;
/// `FSI_StrucSig`: what stands before the counts.
pub const STRUCTURE_SIGNATURE: u32 = 0x6141_7272;
/// `FSI_TrailSig`: what the sector ends with.
pub const TRAIL_SIGNATURE: u32 = 0xAA55_0000;
/// A count that is not known.
pub const UNKNOWN: u32 = 0xFFFF_FFFF;

/// Bytes in a slot of a directory.
pub const SLOT: usize = 32;

/// A directory entry with a short name.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawEntry {
    /// `DIR_Name`: 8 and 3 bytes, padded with spaces. First byte: [`END`], [`DELETED`], [`KANJI`].
    pub name: [u8; 11],
    /// `DIR_Attr`
    pub attributes: u8,
    /// `DIR_NTRes`: [`LOWER_BASE`], [`LOWER_EXTENSION`].
    pub case: u8,
    /// `DIR_CrtTimeTenth`: hundredths of a second, 0 to 199.
    pub creation_hundredths: u8,
    /// `DIR_CrtTime`
    pub creation_time: U16,
    /// `DIR_CrtDate`
    pub creation_date: U16,
    /// `DIR_LstAccDate`
    pub access_date: U16,
    /// `DIR_FstClusHI`: 0 on FAT12 and FAT16.
    pub cluster_high: U16,
    /// `DIR_WrtTime`
    pub write_time: U16,
    /// `DIR_WrtDate`
    pub write_date: U16,
    /// `DIR_FstClusLO`
    pub cluster_low: U16,
    /// `DIR_FileSize`: 0 for directories.
    pub size: U32,
}
const _: () = assert!(size_of::<RawEntry>() == SLOT);

/// A piece of a long name; the pieces precede the entry with the short name, the last piece first.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawLong {
    /// `LDIR_Ord`: the piece's number from 1; [`LAST_LONG`] on the last piece.
    pub order: u8,
    /// `LDIR_Name1`
    pub name1: [u8; 10],
    /// `LDIR_Attr`: [`attribute::LONG_NAME`].
    pub attributes: u8,
    /// `LDIR_Type`: 0.
    pub kind: u8,
    /// `LDIR_Chksum`: of the short name.
    pub checksum: u8,
    /// `LDIR_Name2`
    pub name2: [u8; 12],
    /// `LDIR_FstClusLO`: 0.
    pub cluster: U16,
    /// `LDIR_Name3`
    pub name3: [u8; 4],
}
const _: () = assert!(size_of::<RawLong>() == SLOT);

/// First byte of a name: this slot and all behind it are free.
pub const END: u8 = 0;
/// First byte of a name: this slot is free.
pub const DELETED: u8 = 0xE5;
/// First byte of a name: 0xE5 is meant.
pub const KANJI: u8 = 0x05;
/// `LDIR_Ord`: this is the last piece.
pub const LAST_LONG: u8 = 0x40;
/// UTF-16 units in a piece of a long name.
pub const LONG_UNITS: usize = 13;

/// File attributes.
pub mod attribute {
    /// Not to be written.
    pub const READ_ONLY: u8 = 0x01;
    /// Not shown.
    pub const HIDDEN: u8 = 0x02;
    /// The operating system's.
    pub const SYSTEM: u8 = 0x04;
    /// The entry is the volume's label.
    pub const VOLUME_ID: u8 = 0x08;
    /// Directory.
    pub const DIRECTORY: u8 = 0x10;
    /// Changed since the last backup.
    pub const ARCHIVE: u8 = 0x20;
    /// All of a piece of a long name.
    pub const LONG_NAME: u8 = 0x0F;
    /// The bits that [`LONG_NAME`] is compared in.
    pub const LONG_NAME_MASK: u8 = 0x3F;
}

/// `DIR_NTRes`: the eight bytes before the dot are shown in lower case.
pub const LOWER_BASE: u8 = 0x08;
/// `DIR_NTRes`: the three bytes behind the dot are shown in lower case.
pub const LOWER_EXTENSION: u8 = 0x10;
