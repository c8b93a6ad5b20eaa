//! tar archives: written as pax, read in every form that is common.
//!
//! | module | what |
//! |---|---|
//! | [`field`] | numbers and texts of a header |
//! | [`pax`] | records of extended headers |
//! | [`write`](mod@write) | [`write::TarSink`]: an archive as the target of a copy |
//! | [`header`] | what a header tells of a member |
//! | [`read`] | [`read::Reader`]: the members of an archive one by one |
//! | [`extract`] | an archive as the source of a copy |
//!
//! Sources: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Header Block"; the GNU tar manual, "Basic Tar Format" and "Storing
//! Sparse Files". Extended attributes are `SCHILY.xattr.NAME` records, which GNU tar and bsdtar read and write.

pub(crate) mod extract;
pub(crate) mod field;
mod header;
pub(crate) mod pax;
pub(crate) mod read;
pub(crate) mod write;

/// Archives are made of blocks of this size.
pub(crate) const BLOCK: usize = 512;

/// Bytes that fill up the last block of `len` bytes.
pub(crate) fn padding(len: u64) -> usize {
    // Below 512.
    (len.wrapping_neg() % BLOCK as u64) as usize
}
