//! What can be wrong with a journal.

use super::layout::{Compat, Incompat};
use core::fmt;
use rumpuser::Errno;

/// Why a journal cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The device failed.
    Io(Errno),
    /// The blocks that the journal inode maps make no journal.
    Area(AreaFault),
    /// The journal's superblock has a field that cannot be.
    Superblock(SuperblockFault),
    /// The journal has incompatible features that this driver does not know (bits of `s_feature_incompat`).
    UnknownIncompat(u32),
    /// The journal has features that forbid writing it (bits of `s_feature_ro_compat`; none is defined).
    UnknownRoCompat(u32),
    /// The fast-commit area needs features that this driver does not know (bits of `fc_features`; none is defined).
    UnknownFastCommit(u32),
    /// The journal lies on a device of its own (`s_journal_dev` or `s_journal_uuid` is set and `s_journal_inum` is not), or
    /// several file systems share it. For the mount code, which sees those fields, and for `s_nr_users`.
    External,
}

/// What is wrong with the blocks of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AreaFault {
    /// The block size is no power of two from 1,024 to 65,536.
    BlockSize(u32),
    /// A run is empty, goes past the volume, or its end does not fit its type.
    Run {
        /// First logical block of the run.
        logical: u32,
    },
    /// Two runs share a logical or a physical block.
    Overlap {
        /// The block, logical or physical.
        block: u64,
    },
    /// A logical block of the journal has no physical one.
    Hole {
        /// The logical block.
        logical: u32,
    },
}

/// What is wrong with a journal's superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuperblockFault {
    /// `h_magic`.
    Magic(u32),
    /// `h_blocktype` is that of no superblock.
    BlockType(u32),
    /// `s_blocksize` is not the volume's.
    BlockSize {
        /// The journal's.
        found: u32,
        /// The volume's.
        expected: u32,
    },
    /// `s_maxlen` exceeds the blocks that the journal inode maps, or leaves no log.
    MaxLen {
        /// The field.
        found: u32,
        /// Number of logical blocks that are mapped from 0 on without a hole.
        mapped: u64,
    },
    /// `s_first` is 0 or leaves no log.
    First(u32),
    /// `s_start` lies outside the log.
    Start(u32),
    /// More than one of the three versions of checksums is on.
    Checksums(Compat, Incompat),
    /// `s_checksum_type` is not CRC-32C though checksums of version 2 or 3 are on.
    ChecksumType(u8),
    /// `s_checksum`.
    Checksum {
        /// The field.
        found: u32,
        /// The superblock's checksum.
        computed: u32,
    },
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

impl From<AreaFault> for Error {
    fn from(fault: AreaFault) -> Self {
        Self::Area(fault)
    }
}

impl From<SuperblockFault> for Error {
    fn from(fault: SuperblockFault) -> Self {
        Self::Superblock(fault)
    }
}

/// `EOPNOTSUPP` for what this driver does not know, `EIO` for a corrupt journal, else the device's error.
impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(errno) => errno,
            Error::Area(_) | Error::Superblock(_) => Self::EIO,
            Error::UnknownIncompat(_) | Error::UnknownRoCompat(_) => Self::EOPNOTSUPP,
            Error::UnknownFastCommit(_) | Error::External => Self::EOPNOTSUPP,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(errno) => write!(f, "journal: {errno}"),
            Self::Area(fault) => write!(f, "journal: {fault}"),
            Self::Superblock(fault) => write!(f, "journal superblock: {fault}"),
            Self::UnknownIncompat(bits) => {
                write!(
                    f,
                    "journal superblock: s_feature_incompat: unknown features {bits:#x}"
                )
            }
            Self::UnknownRoCompat(bits) => {
                write!(
                    f,
                    "journal superblock: s_feature_ro_compat: unknown features {bits:#x}"
                )
            }
            Self::UnknownFastCommit(bits) => {
                write!(
                    f,
                    "journal: fast-commit area: fc_features: unknown features {bits:#x}"
                )
            }
            Self::External => f.write_str("journal: external or shared journals are not supported"),
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for AreaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(size) => write!(
                f,
                "block size {size}, expected a power of two from 1024 to 65536"
            ),
            Self::Run { logical } => {
                write!(f, "the run at block {logical} lies outside the volume")
            }
            Self::Overlap { block } => write!(f, "block {block} is mapped twice"),
            Self::Hole { logical } => write!(f, "block {logical} is not mapped"),
        }
    }
}

impl fmt::Display for SuperblockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "magic {found:#010x}, expected 0xc03b3998"),
            Self::BlockType(found) => write!(f, "block type {found}, expected 3 or 4"),
            Self::BlockSize { found, expected } => {
                write!(f, "s_blocksize {found}, expected {expected}")
            }
            Self::MaxLen { found, mapped } => {
                write!(f, "s_maxlen {found}, but the journal has {mapped} blocks")
            }
            Self::First(found) => write!(f, "s_first {found} leaves no log"),
            Self::Start(found) => write!(f, "s_start {found} lies outside the log"),
            Self::Checksums(compat, incompat) => write!(
                f,
                "more than one checksum version: s_feature_compat {:#x}, s_feature_incompat {:#x}",
                compat.bits(),
                incompat.bits()
            ),
            Self::ChecksumType(found) => write!(f, "s_checksum_type {found}, expected 4 (crc32c)"),
            Self::Checksum { found, computed } => {
                write!(f, "checksum {found:#010x}, computed {computed:#010x}")
            }
        }
    }
}
