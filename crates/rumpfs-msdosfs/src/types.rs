//! Numbers that must not be mixed up, and conversions.

use core::fmt;

/// A cluster. Data clusters have numbers from 2 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster(pub u32);

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Cluster {
    /// The first data cluster.
    pub const FIRST: Self = Self(2);

    /// The cluster `count` further on.
    #[must_use]
    pub fn after(self, count: u32) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// Clusters that follow each other on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: Cluster,
    /// How many, above 0.
    pub len: u32,
}

/// A length in memory as a number of the medium. Lossless on every supported host: `usize` has 64 bits at most.
#[must_use]
pub(crate) fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A number of the medium as an index. Lossless on every supported host: `usize` has 32 bits at least, and what is indexed is
/// in memory.
#[must_use]
pub(crate) fn index(n: impl Into<u64>) -> usize {
    usize::try_from(n.into()).unwrap_or(usize::MAX)
}
