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
pub mod checksum;
pub mod crypt;
pub mod dir;
pub mod error;
pub mod extents;
pub mod features;
pub mod fs;
pub mod groups;
pub mod hash;
pub mod htree;
pub mod indirect;
pub mod inline;
pub mod inode;
pub mod journal;
pub mod layout;
pub mod map;
pub mod mmp;
pub mod mount;
pub mod options;
pub mod superblock;
pub mod types;
pub mod vfs;
pub mod xattr;

pub use error::{Error, Result};
pub use fs::Ext2fs;
pub use vfs::component;
