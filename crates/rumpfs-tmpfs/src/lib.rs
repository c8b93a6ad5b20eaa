//! tmpfs: a file system in memory.
//!
//! Everything lives in the kernel's memory and is gone with the mount. File data is in the page cache of `rumpvfs`, which
//! never drops the pages of such a mount ([`Limits::memory`](rumpvfs::fs::Limits::memory)); this driver knows which blocks
//! of a file have pages, and keeps names, attributes and the limits.
//!
//! Supported: all types of files, hard links, symbolic links, renaming with exchange, unnamed files, extended attributes in
//! the name spaces `user.`, `trusted.`, `security.` and the two POSIX ACLs, the file flags of BSD, times in nanoseconds with
//! the time of creation, holes, reservation, and limits of space and inodes that are exact. Options: see [`options`].
//! Not supported: swapping, huge pages, quotas of users, changing the limits by a remount.
//!
//! | module | what |
//! |---|---|
//! | [`options`] | mount options |
//! | `budget` | the limits of space and inodes |
//! | `dir` | a directory: names in order of creation, found by hash |
//! | `inodes` | numbers of inodes, and how many there may be |
//! | `extents` | which blocks of a file are allocated |
//! | `node` | an inode |
//! | `mount` | the file system type and its [`component`] |
//! | `xattr` | extended attributes |
//! | `tree` | creating, linking, removing, renaming |
//! | `vfs` | the driver as `rumpvfs` sees it |
//!
//! # What counts
//! A block of 4 KiB of a file counts against the size from the moment that it is written or reserved; the target of a symbolic
//! link and the names and values of extended attributes count with their bytes. Every inode counts against the number of
//! inodes, and so does each name of an inode after its first: memory for names is bounded as well.
//!
//! Sources: tmpfs(5) of Linux and mount_tmpfs(8) of NetBSD for the options, stat(2) and POSIX.1-2024 for link counts and
//! times, chflags(2) of NetBSD for the flags.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

extern crate alloc;

mod budget;
mod dir;
mod extents;
mod inodes;
mod mount;
mod node;
pub mod options;
mod tree;
mod vfs;
mod xattr;

#[cfg(test)]
mod tests;

pub use mount::component;
pub use vfs::Tmpfs;
