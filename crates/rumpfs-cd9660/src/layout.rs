//! The structures of the medium, byte for byte (ECMA-119, 4th edition; SUSP and RRIP 1.12).
//!
//! Numbers in both byte orders are read from their little-endian half: there are mastering programs that fill the other one
//! wrongly, and every other reader does the same. Nothing is checked here.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16 as BigU16, U32 as BigU32},
    little_endian::{U16, U32},
};

/// Bytes in a logical sector (6.1.2), the unit in which volume descriptors lie.
pub const SECTOR: u64 = 2048;
/// First sector after the system area (6.2.1), counted from the session's start.
pub const FIRST_DESCRIPTOR: u64 = 16;
/// Identifies a volume descriptor (8.1.2).
pub const STANDARD_ID: [u8; 5] = *b"CD001";

/// A 16-bit number in both byte orders (7.2.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Both16 {
    /// The half that is read.
    pub little: U16,
    /// The other half.
    pub big: BigU16,
}

/// A 32-bit number in both byte orders (7.3.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Both32 {
    /// The half that is read.
    pub little: U32,
    /// The other half.
    pub big: BigU32,
}

impl Both16 {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.little.get()
    }
}

impl Both32 {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.little.get()
    }
}

/// Volume descriptor types (8.1.1).
pub mod descriptor_type {
    /// Boot record.
    pub const BOOT: u8 = 0;
    /// Primary volume descriptor.
    pub const PRIMARY: u8 = 1;
    /// Supplementary or enhanced volume descriptor.
    pub const SUPPLEMENTARY: u8 = 2;
    /// The last one of the set.
    pub const TERMINATOR: u8 = 255;
}

/// Primary (8.4) and supplementary (8.5) volume descriptor.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawVolumeDescriptor {
    /// 8.4.1
    pub descriptor_type: u8,
    /// 8.4.2: `CD001`.
    pub standard_identifier: [u8; 5],
    /// 8.4.3
    pub version: u8,
    /// Unused in the primary one, 8.5.3 in the supplementary one.
    pub volume_flags: u8,
    /// 8.4.5
    pub system_identifier: [u8; 32],
    /// 8.4.6
    pub volume_identifier: [u8; 32],
    _unused: [u8; 8],
    /// 8.4.8: in logical blocks.
    pub volume_space_size: Both32,
    /// Unused in the primary one, 8.5.6 in the supplementary one.
    pub escape_sequences: [u8; 32],
    /// 8.4.10
    pub volume_set_size: Both16,
    /// 8.4.11
    pub volume_sequence_number: Both16,
    /// 8.4.12: 512, 1024 or 2048 bytes.
    pub logical_block_size: Both16,
    /// 8.4.13
    pub path_table_size: Both32,
    /// 8.4.14 to 8.4.17: where the path tables lie. Not needed here.
    pub path_tables: [u8; 16],
    /// 8.4.18: the root directory's record, 34 bytes.
    pub root: RawDirectoryRecord,
    /// Its identifier, one zero byte.
    pub root_identifier: u8,
    /// 8.4.19
    pub volume_set_identifier: [u8; 128],
    /// 8.4.20
    pub publisher_identifier: [u8; 128],
    /// 8.4.21
    pub data_preparer_identifier: [u8; 128],
    /// 8.4.22
    pub application_identifier: [u8; 128],
    /// 8.4.23 to 8.4.25: names of files in the root directory.
    pub file_identifiers: [u8; 111],
    /// 8.4.26
    pub creation: RawLongTime,
    /// 8.4.27
    pub modification: RawLongTime,
    /// 8.4.28
    pub expiration: RawLongTime,
    /// 8.4.29
    pub effective: RawLongTime,
    /// 8.4.30
    pub file_structure_version: u8,
    _rest: [u8; 1166],
}
const _: () = assert!(size_of::<RawVolumeDescriptor>() == 2048);

/// The fixed part of a directory record (9.1); its identifier and system use area follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDirectoryRecord {
    /// 9.1.1: bytes of the whole record; 0: no more record in this block.
    pub length: u8,
    /// 9.1.2: in logical blocks, before the data.
    pub extended_attribute_length: u8,
    /// 9.1.3: first logical block.
    pub extent: Both32,
    /// 9.1.4: in bytes, without the extended attribute record.
    pub data_length: Both32,
    /// 9.1.5
    pub recorded: RawShortTime,
    /// 9.1.6
    pub flags: u8,
    /// 9.1.7: blocks of a file unit; not 0: interleaved.
    pub file_unit_size: u8,
    /// 9.1.8: blocks between two file units.
    pub interleave_gap: u8,
    /// 9.1.9
    pub volume_sequence_number: Both16,
    /// 9.1.10: bytes of the identifier.
    pub identifier_length: u8,
}
const _: () = assert!(size_of::<RawDirectoryRecord>() == 33);

/// File flags (9.1.6).
pub mod file_flag {
    /// The entry is a directory.
    pub const DIRECTORY: u8 = 0x02;
    /// An associated file (a resource fork, mostly).
    pub const ASSOCIATED: u8 = 0x04;
    /// The file goes on in the next record.
    pub const MULTI_EXTENT: u8 = 0x80;
}

/// Date and time in a directory record (9.1.5).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct RawShortTime {
    /// Since 1900.
    pub year: u8,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Quarters of an hour east of Greenwich.
    pub zone: i8,
}

/// Date and time in a volume descriptor (8.4.26.1), in digits.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawLongTime {
    /// Year, month, day, hour, minute, second, hundredths: `YYYYMMDDHHMMSSCC`.
    pub digits: [u8; 16],
    /// Quarters of an hour east of Greenwich.
    pub zone: i8,
}
const _: () = assert!(size_of::<RawLongTime>() == 17);

/// The fixed part of a system use entry (SUSP 4.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSystemUse {
    /// Signature word.
    pub signature: [u8; 2],
    /// Bytes of the whole entry.
    pub length: u8,
    /// Version.
    pub version: u8,
}

/// Content of `CE`, the continuation area (SUSP 5.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawContinuation {
    /// Logical block.
    pub block: Both32,
    /// Offset in it in bytes.
    pub offset: Both32,
    /// Bytes of the area.
    pub length: Both32,
}

/// Content of `PX`, POSIX attributes (RRIP 4.1.1); from 1.12 on a serial number follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawPx {
    /// `st_mode`.
    pub mode: Both32,
    /// `st_nlink`.
    pub links: Both32,
    /// `st_uid`.
    pub uid: Both32,
    /// `st_gid`.
    pub gid: Both32,
}

/// Content of `PN`, a device number (RRIP 4.1.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawPn {
    /// The upper 32 bits.
    pub high: Both32,
    /// The lower 32 bits.
    pub low: Both32,
}

/// Content of `SF`: the file is sparse (RRIP 1.12, 4.1.7).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSf {
    /// The upper 32 bits of the size.
    pub high: Both32,
    /// The lower 32 bits of the size.
    pub low: Both32,
    /// Depth of the first table: 1 to 7.
    pub depth: u8,
}

/// Content of `SF` up to RRIP 1.10: the size alone, in 32 bits; the first table has depth [`SF_DEPTH`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawOldSf {
    /// Bytes of the file.
    pub size: Both32,
}

/// Depth of the first table of a sparse file whose entry does not say it: enough for 32 bits.
pub const SF_DEPTH: u8 = 3;

/// An entry of a sparse file's table (RRIP 4.1.7.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSparseEntry {
    /// Flags and a number: see [`sparse_entry`].
    pub value: Both32,
}

/// The parts of [`RawSparseEntry::value`].
pub mod sparse_entry {
    /// Nothing is recorded: zeros.
    pub const EMPTY: u32 = 0x8000_0000;
    /// The number is that of a table, in units of 2048 bytes; else that of data, in units of 256 bytes.
    pub const TABLE: u32 = 0x4000_0000;
    /// Where it is, from the start of the file's data.
    pub const NUMBER: u32 = 0x00FF_FFFF;
}

/// Content of `ZF`: the file is compressed (zisofs).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawZf {
    /// `pz`: deflate in blocks.
    pub algorithm: [u8; 2],
    /// Bytes of the header in the file, divided by 4.
    pub header_size: u8,
    /// Logarithm of the block size: 15 to 17.
    pub block_size: u8,
    /// Bytes of the file when decompressed.
    pub size: Both32,
}

/// The header of a compressed file (zisofs); an array of offsets follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawZisofsHeader {
    /// [`ZISOFS_MAGIC`].
    pub magic: [u8; 8],
    /// Bytes of the file when decompressed.
    pub size: U32,
    /// As [`RawZf::header_size`].
    pub header_size: u8,
    /// As [`RawZf::block_size`].
    pub block_size: u8,
    _reserved: [u8; 2],
}

/// First bytes of a compressed file.
pub const ZISOFS_MAGIC: [u8; 8] = [0x37, 0xE4, 0x53, 0x96, 0xC9, 0xDB, 0xD6, 0x07];

/// Boot record (8.2) of an El Torito volume (El Torito 1.0, figure 7).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawBootRecord {
    /// 8.2.1
    pub descriptor_type: u8,
    /// 8.2.2: `CD001`.
    pub standard_identifier: [u8; 5],
    /// 8.2.3
    pub version: u8,
    /// 8.2.4: [`EL_TORITO`].
    pub boot_system_identifier: [u8; 32],
    _unused: [u8; 32],
    /// Sector of the boot catalogue.
    pub catalogue: U32,
}

/// The boot system identifier of El Torito.
pub const EL_TORITO: &[u8; 23] = b"EL TORITO SPECIFICATION";

/// An entry of the boot catalogue that describes an image (El Torito 2.2, 2.4).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawBootEntry {
    /// 0x88: bootable; 0: not; 0x90 and 0x91: a section's header.
    pub indicator: u8,
    /// Emulation in bits 0 to 3; a section's header: the platform.
    pub media: u8,
    /// Load segment; a section's header: number of its entries.
    pub segment: U16,
    /// Partition type of an emulated hard disk.
    pub system_type: u8,
    _unused: u8,
    /// Sectors of 512 bytes to load.
    pub sectors: U16,
    /// First sector of 2048 bytes.
    pub start: U32,
    _selection: [u8; 20],
}
const _: () = assert!(size_of::<RawBootEntry>() == 32);
