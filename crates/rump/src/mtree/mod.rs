//! mtree(5) specifications.
//!
//! | module | what |
//! |---|---|
//! | [`spec`] | reading a specification |
//! | [`tree`] | its entries by their paths |
//! | [`found`] | the files of an image |
//! | [`contents`] | digests of many of them at once |
//! | [`digest`] | digests of one file's data |
//! | [`compare`] | a file against an entry |
//! | [`names`] | names of users and groups in an image |
//! | [`keyword`] | which keywords are written, which are not checked |
//! | [`text`] | values as it writes them |
//! | [`escape`] | names and link targets as it writes them |
//!
//! Source: mtree(5) of NetBSD 10.

pub(crate) mod compare;
pub(crate) mod contents;
pub(crate) mod digest;
pub(crate) mod escape;
pub(crate) mod found;
pub(crate) mod keyword;
pub(crate) mod names;
pub(crate) mod spec;
pub(crate) mod text;
pub(crate) mod tree;
