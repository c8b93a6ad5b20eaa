//! The file system faction: path walk, caches, permissions, mounts, and the contract of file system drivers.
//!
//! | module | what |
//! |---|---|
//! | [`fs`] | the driver contract: [`FileSystem`](fs::FileSystem), [`FsType`](fs::FsType) |
//! | [`name`](mod@name) | [`Name`](name::Name), one checked path component |
//! | [`calls`] | [`Calls`](calls::Calls): the system calls on paths, for `Proc` |
//!
//! # Lock order
//! ```text
//! mount table
//!   rename lock of the mount (one rename across directories at a time)
//!     directory inodes: ancestor before descendant, else by inode number
//!       file inode
//!         driver's own maps
//!           rumpbio: handle → commit state → buffer table → buffer
//! page cache of a vnode → page            (inline; never held across driver calls)
//! name cache, vnode cache, descriptor tables   (inline; leaves)
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod calls;
pub mod erased;
pub mod fs;
pub mod name;
pub mod pages;

pub use calls::Calls;
pub use rumpbio as bio;
