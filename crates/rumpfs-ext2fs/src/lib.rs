//! ext2, ext3 and ext4.
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
mod bitmap;
pub mod checksum;
pub mod crypt;
pub mod dir;
mod dir_write;
pub mod error;
pub mod extents;
mod extents_write;
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
pub mod map;
mod map_write;
pub mod mmp;
pub mod mount;
pub mod names;
pub mod options;
mod orphans;
mod state;
pub mod superblock;
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
