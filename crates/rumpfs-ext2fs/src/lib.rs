//! ext2, ext3 and ext4.
//!
//! A volume is divided into block groups of equal size. Each has a descriptor, which says where the group's two bitmaps
//! and its part of the inode table lie; the descriptors follow the superblock, with copies in some groups. An inode says
//! where its file's blocks are, through a tree of extents (ext4) or indirect blocks (ext2, ext3), or holds the data
//! itself. A directory is a file of entries; a large one has an index of hashes that looks like empty entries to who
//! does not know of it. Extended attributes lie in the inode, in a block that inodes may share, or in inodes of their
//! own. ext3 and ext4 have a journal (jbd2), a file of the volume. With metadata_csum every structure has a crc32c.
//!
//! # Reading
//! Revisions 0 and 1, blocks of 1 to 64 KiB, and all features of Linux 6.x but these:
//!
//! | feature | what becomes of it |
//! |---|---|
//! | compression, dirdata, a journal as the volume, any unknown incompat | refused, by name |
//! | encrypt | names and links are shown as base64url of the ciphertext (see [`crypt`]), file contents are `ENOKEY` |
//! | casefold | names must match exactly, in directories that fold case, too |
//! | verity | contents are read, not checked against the Merkle tree |
//! | a journal on another device | refused if it has to be replayed |
//! | fast commits | applied in memory; refused with `EOPNOTSUPP` where one changes a file with a block map |
//!
//! # Writing
//! All of that is written, too, but:
//!
//! | feature | what becomes of it |
//! |---|---|
//! | quota, shared_blocks, read-only, unknown ro_compat ([`features::RoCompat::READ_ONLY`]) | mounted read-only, by name |
//! | encrypt, casefold | a name is neither put into nor taken out of such a directory, nor is an encrypted file changed: `EOPNOTSUPP` |
//! | verity | such a file is not changed: `EOPNOTSUPP` |
//! | inline_data | new files and directories get blocks; what is inline moves into a block when it grows |
//! | a journal on another device | refused |
//!
//! The reserved blocks are for those whom the superblock or the options name ([`rumpbio::Space`]). Copies of the superblock and of the descriptors are left
//! as they are, as Linux does. An operation is one transaction; shortening or deleting a file of very many pieces takes
//! several, and the list of orphans sees to it that a crash between them is made good at the next mount.
//!
//! Where a directory may change, it is listed in the order of its names' hashes, so that positions stay right ([`listing`]);
//! on a read-only mount in the order of the medium, which is the faster one.
//!
//! # Trust
//! Every number of the medium is checked where it is decoded, against the volume's size and the other fields. Checksums
//! and orders of entries are checked once per read from the medium, what is used of a block every time: a block that
//! serves two purposes on a hostile volume can mislead, no more. Errors name structure, field, value and expectation.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | [`layout`] | the structures of the medium, byte for byte |
//! | [`superblock`], [`features`], [`fs`], [`mount`], [`options`], `state`, `torn` | the volume as a whole |
//! | [`groups`], `balloc`, `ialloc` | group descriptors; allocating blocks and inodes |
//! | [`inode`], [`inline`], `inline_write` | inodes; data in them |
//! | [`map`], [`extents`], `extents_node`, [`indirect`], and with `_write` | from a file's blocks to the volume's |
//! | [`dir`], [`htree`], [`hash`], [`listing`], `leaf_names`, `dir_inline_write`, and with `_write` | directories and their index |
//! | [`names`], [`file_write`], `orphans` | operations, each a transaction |
//! | [`xattr`], [`xattr_write`], `xattr_pack`, `value_inode`, [`acl`] | extended attributes, access control lists |
//! | [`journal`], [`txn`], `fast_commit` | the log, the transactions that go there, and doing fast commits again |
//! | [`mmp`], [`crypt`], [`checksum`] | multiple mount protection, encrypted names, crc32c and crc16 |
//! | [`vfs`] | the adapter to `rumpvfs`: no other names it |
//!
//! Source: Linux `Documentation/filesystems/ext4`, whose names are used throughout. What it leaves open is as the kernel
//! 6.x and e2fsprogs 1.47 behave.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod acl;
mod balloc;
pub mod checksum;
pub mod crypt;
pub mod dir;
mod dir_inline_write;
mod dir_write;
pub mod error;
pub mod extents;
mod extents_node;
mod extents_write;
mod fast_commit;
pub mod features;
pub mod file_write;
pub mod fs;
pub mod groups;
pub mod hash;
pub mod htree;
mod htree_write;
mod ialloc;
pub mod indirect;
mod indirect_write;
pub mod inline;
mod inline_write;
pub mod inode;
pub mod journal;
pub mod layout;
mod leaf_names;
pub mod listing;
pub mod map;
mod map_write;
pub mod mmp;
pub mod mount;
pub mod names;
pub mod options;
mod orphans;
mod state;
pub mod superblock;
mod torn;
pub mod txn;
pub mod types;
mod value_inode;
pub mod vfs;
pub mod xattr;
mod xattr_pack;
pub mod xattr_write;

pub use error::{Error, Result};
pub use fs::Ext2fs;
pub use vfs::component;
