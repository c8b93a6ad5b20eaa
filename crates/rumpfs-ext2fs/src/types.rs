//! Numbers that must not be mixed up.

use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                Self::from(number.0)
            }
        }
    };
}

number! {
    /// A block of the volume, counted in file system blocks from the volume's start.
    FsBlock(u64)
}
number! {
    /// A block of a file, counted from the file's start. The format's maps reach no further than 32 bits.
    FileBlock(u32)
}
number! {
    /// A block group.
    GroupNumber(u32)
}
number! {
    /// An inode. The first is 1; 0 is never an inode.
    InodeNumber(u32)
}

impl FsBlock {
    /// The block `count` further on, `None` past the end of numbers.
    #[must_use]
    pub fn after(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }
}

impl FileBlock {
    /// The block `count` further on, `None` past the end of numbers.
    #[must_use]
    pub fn after(self, count: u32) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }
}

impl InodeNumber {
    /// Inode of the defective blocks.
    pub const BAD: Self = Self(1);
    /// Inode of the root directory.
    pub const ROOT: Self = Self(2);
    /// Inode of the blocks kept for the growth of the descriptor table.
    pub const RESIZE: Self = Self(7);
    /// Inode of the journal, by default.
    pub const JOURNAL: Self = Self(8);
}

/// Joins the halves of a 48- or 64-bit number.
#[must_use]
pub(crate) fn join(high: impl Into<u64>, low: u32) -> u64 {
    (high.into() << 32) | u64::from(low)
}

/// Length or offset in memory as a number of the medium. Lossless on every supported host: `usize` has 64 bits at most.
#[must_use]
pub(crate) fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A 32-bit number of the medium as an index. Lossless on every supported host: `usize` has 32 bits at least.
#[must_use]
pub(crate) fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The lower half of a number that is stored in two.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
pub(crate) fn low32(n: u64) -> u32 {
    n as u32
}

/// The lower half of a number that is stored in two.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
pub(crate) fn low16(n: u32) -> u16 {
    n as u16
}
