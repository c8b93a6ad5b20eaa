//! mtree(5) specifications.
//!
//! | module | what |
//! |---|---|
//! | [`spec`] | reading a specification |
//! | [`tree`] | its entries by their paths |
//! | [`names`] | names of users and groups in an image |
//! | [`escape`] | names and link targets as it writes them |
//! | [`digest`] | SHA-256 of many files at once |
//!
//! Source: mtree(5) of NetBSD 10.

pub(crate) mod digest;
pub(crate) mod escape;
pub(crate) mod names;
pub(crate) mod spec;
pub(crate) mod tree;
