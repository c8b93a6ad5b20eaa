//! Conversions between numbers of the medium and of memory.

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
