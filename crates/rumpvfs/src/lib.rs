//! The file system faction: path walk, caches, permissions, mounts, and the contract of file system drivers.
//!
//! | module | what |
//! |---|---|
//! | [`vfs`] | [`Vfs`], the state of the faction, and its [`component`] |
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

mod acl;
mod attr;
pub mod calls;
mod create;
mod cwd;
mod data;
mod dir;
pub mod erased;
mod fifo;
mod file;
pub mod fs;
mod guarded;
mod idle;
mod lock;
mod mount;
mod mounting;
pub mod name;
mod namecache;
mod open;
pub mod pages;
mod perm;
mod process;
mod remove;
mod rename;
mod special;
mod syscalls;
mod vfs;
mod vnode;
mod walk;
mod xattr;

pub use calls::{Calls, KernelVfs};
pub use rumpbio as bio;
pub use vfs::{Vfs, component};
