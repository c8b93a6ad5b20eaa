//! ISO 9660, the format of CD-ROM, with its extensions. Read-only by nature.
//!
//! A volume begins with volume descriptors, from sector 16 of its session on. Each names the root of a tree of directories. A
//! directory is an extent of records; a record has a name and says where the data is, in one piece or several. Joliet puts a
//! second tree beside the first, with names in UTF-16. Rock Ridge adds POSIX names and attributes to the records of the first
//! one, and undoes what mastering programs must do to deep directories. El Torito says what can be booted.
//!
//! # What is read
//! ECMA-119 levels 1 to 3, blocks of 512 to 2048 bytes; files in several extents; several sessions; SUSP with continuation
//! areas; Rock Ridge 1.09 to 1.12 (PX PN SL NM CL PL RE TF SF, ZF); Joliet levels 1 to 3; compressed files (zisofs 1).
//! Path tables are not needed. Of the trees, Rock Ridge comes before Joliet, Joliet before the plain one; mount options choose
//! another ([`options`]).
//!
//! | what | what becomes of it |
//! |---|---|
//! | interleaved files, zisofs 2 | listed; reading is `EOPNOTSUPP`, by name |
//! | files on another volume of a set | read as if they were on this one |
//! | extended attribute records | skipped |
//! | High Sierra | refused |
//!
//! # Names
//! Rock Ridge names are shown as they are, Joliet names as UTF-8. Identifiers of the plain tree are shown in lower case, without
//! version number and the dot of an empty extension, the newest version only; `gens` shows them whole, `nomaplcase` in
//! their case. An associated file has `=` before its name.
//!
//! # Trust
//! Every number of the medium is checked where it is decoded; what lies past the end of the device does not read. Records are
//! read in order and within the directory's length; continuation areas, sections and sessions are counted.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | [`layout`] | the structures of the medium, byte for byte |
//! | [`volume`] | descriptors, sessions, which tree is shown |
//! | `medium`, `record` | bytes through the buffer cache; directory records |
//! | `system_use`, `rock_ridge` | SUSP and RRIP |
//! | [`name`], [`dir`] | names; directories |
//! | [`inode`], [`zisofs`], [`sparse`] | files; compressed ones; sparse ones |
//! | [`boot`], [`time`], [`options`] | El Torito; times; mount options |
//! | [`vfs`] | the adapter to `rumpvfs`, the only one that names it |
//!
//! Sources: ECMA-119 (4th edition, 2019), IEEE P1281 (SUSP 1.12), IEEE P1282 (RRIP 1.12), the Joliet specification, El Torito
//! 1.0, and the behaviour of NetBSD and Linux where these leave something open.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod boot;
pub mod dir;
pub mod error;
pub mod inode;
pub mod layout;
mod medium;
pub mod name;
pub mod options;
mod record;
mod rock_ridge;
pub mod sparse;
mod system_use;
pub mod time;
mod types;
pub mod vfs;
pub mod volume;
pub mod zisofs;

pub use error::{Error, Result};
pub use vfs::component;
pub use volume::Iso;
