//! FAT: the file system of MS-DOS and of everything that must be read everywhere.
//!
//! A volume begins with a boot sector, which has its geometry. One or two copies of the file allocation table follow: an entry
//! for each cluster, which names the next cluster of the same file. FAT12 and FAT16 have the root directory behind it in
//! sectors of its own, FAT32 has it in clusters like any other. A directory is a sequence of slots of 32 bytes: an entry has a short
//! name of eight and three bytes, attributes, times, size and first cluster; the slots before it may hold a long name in
//! pieces (VFAT).
//!
//! # What works
//! FAT12, FAT16 and FAT32 with sectors of 512 to 4096 bytes, read and written: long names in UTF-16, short names as
//! Windows makes them, in a code page of one's choice; both FATs kept alike, or the active one alone; FSInfo; the marks of a volume in
//! use; all times that an entry has; attributes as file flags; files to 4 GiB - 1.
//!
//! | what | what becomes of it |
//! |---|---|
//! | owners and modes | those of the mount options; a file without any write bit has the attribute read-only |
//! | links, symbolic links, nodes, holes, extended attributes, exchanging two names | `EOPNOTSUPP`, as the format has none |
//! | names that differ in case alone | the same name; which case was given when it was made is kept |
//! | names longer than 255 bytes of UTF-8 | not listed, with a message |
//! | code pages of two bytes | not known |
//! | a file that is removed while it is open, and a crash | its clusters are lost until the volume is repaired |
//!
//! # Trust
//! Every number of the medium is checked where it is decoded. A chain may not be longer than the volume has clusters, nor lead
//! to free or defective ones; a cluster that two files have in common can mislead, no more.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | [`layout`] | the structures of the medium, byte for byte |
//! | [`boot`], [`fs`], [`options`], `probe` | the volume as a whole |
//! | [`fat`], `space`, [`chain`], `firsts` | the table, free clusters, the clusters of a file, and that they are one file's |
//! | [`dir`], `dir_write`, [`name`], [`code_page`] | directories and names |
//! | [`inode`], [`file_write`], [`names`] | files, and operations on them |
//! | `txn`, `order` | transactions with the clusters that they take and free; in which order they go home |
//! | [`time`] | times of entries |
//! | [`vfs`] | the adapter to `rumpvfs`, the only one that names it |
//!
//! Source: Microsoft Extensible Firmware Initiative FAT32 File System Specification, version 1.03. What it leaves open is as
//! Windows and Linux behave.
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
pub mod chain;
pub mod code_page;
pub mod dir;
mod dir_write;
pub mod error;
pub mod fat;
pub mod file_write;
mod firsts;
pub mod fs;
pub mod inode;
pub mod layout;
pub mod name;
pub mod names;
pub mod options;
mod order;
mod probe;
mod space;
pub mod time;
mod txn;
pub mod types;
pub mod vfs;

pub use error::{Error, Result};
pub use fs::Msdosfs;
pub use vfs::component;
