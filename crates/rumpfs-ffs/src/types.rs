//! What numbers of the medium become at the door.

use zerocopy::{BigEndian, LittleEndian, byteorder};

/// The byte order of a volume: of all its structures, told by the superblock's magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// As it is shown to a person.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        }
    }

    /// The 16-bit number in front of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn u16(self, bytes: &[u8]) -> Option<u16> {
        let bytes = *bytes.first_chunk::<2>()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    /// The bytes of a 16-bit number as they lie on the volume.
    #[must_use]
    pub fn bytes_u16(self, n: u16) -> [u8; 2] {
        match self {
            Self::Little => n.to_le_bytes(),
            Self::Big => n.to_be_bytes(),
        }
    }

    /// The bytes of a 32-bit number as they lie on the volume.
    #[must_use]
    pub fn bytes_u32(self, n: u32) -> [u8; 4] {
        match self {
            Self::Little => n.to_le_bytes(),
            Self::Big => n.to_be_bytes(),
        }
    }

    /// The bytes of a 64-bit number as they lie on the volume.
    #[must_use]
    pub fn bytes_u64(self, n: u64) -> [u8; 8] {
        match self {
            Self::Little => n.to_le_bytes(),
            Self::Big => n.to_be_bytes(),
        }
    }

    /// The 32-bit number in front of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn u32(self, bytes: &[u8]) -> Option<u32> {
        let bytes = bytes.first_chunk::<4>()?;
        Some(match self {
            Self::Little => byteorder::U32::<LittleEndian>::from_bytes(*bytes).get(),
            Self::Big => byteorder::U32::<BigEndian>::from_bytes(*bytes).get(),
        })
    }

    /// The 64-bit number in front of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn u64(self, bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.first_chunk::<8>()?;
        Some(match self {
            Self::Little => byteorder::U64::<LittleEndian>::from_bytes(*bytes).get(),
            Self::Big => byteorder::U64::<BigEndian>::from_bytes(*bytes).get(),
        })
    }
}

/// Which of the two formats: they differ in the width of block pointers and in their inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 32-bit pointers, inodes of 128 bytes.
    Ufs1,
    /// 64-bit pointers, inodes of 256 bytes.
    Ufs2,
}

impl Version {
    /// Logarithm of an inode's bytes.
    #[must_use]
    pub fn inode_bits(self) -> u32 {
        match self {
            Self::Ufs1 => 7,
            Self::Ufs2 => 8,
        }
    }

    /// Logarithm of a block pointer's bytes.
    #[must_use]
    pub fn pointer_bits(self) -> u32 {
        match self {
            Self::Ufs1 => 2,
            Self::Ufs2 => 3,
        }
    }

    /// Bytes of the pointers in an inode, which hold the text of a short symbolic link.
    #[must_use]
    pub fn inline_room(self) -> usize {
        match self {
            Self::Ufs1 => 60,
            Self::Ufs2 => 120,
        }
    }
}

/// A number of the medium as an index. Lossless on every supported host: `usize` has 32 bits at least, and what is indexed is
/// in memory.
#[must_use]
pub(crate) fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A length in memory as a number of the medium. Lossless on every supported host: `usize` has 64 bits at most.
#[must_use]
pub(crate) fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// `n` rounded up to a multiple of `1 << bits`.
#[must_use]
pub(crate) fn round_up(n: u64, bits: u32) -> u64 {
    let mask = 1_u64.wrapping_shl(bits).wrapping_sub(1);
    n.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_rounding() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Order::Little.u32(&bytes), Some(0x0403_0201));
        assert_eq!(Order::Big.u32(&bytes), Some(0x0102_0304));
        assert_eq!(Order::Big.u64(&bytes), Some(0x0102_0304_0506_0708));
        assert_eq!(Order::Big.u64(&bytes[1..]), None);
        assert_eq!(round_up(1025, 10), 2048);
        assert_eq!(round_up(1024, 10), 1024);
    }
}
