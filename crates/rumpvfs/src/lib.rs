//! The file system faction: path walk, caches, permissions, mounts, and the contract of file system drivers.
//!
//! | module | what |
//! |---|---|
//! | [`fs`] | the driver contract: [`FileSystem`](fs::FileSystem), [`FsType`](fs::FsType) |
//! | [`calls`], `syscalls` | [`Calls`]: the system calls on paths, for `Proc`; [`KernelVfs`] for consumers of a kernel |
//! | [`vop`] | [`VnodeCalls`]: the vnode interface for consumers, without paths and descriptors |
//! | [`name`](mod@name) | [`Name`](name::Name), one checked path component |
//! | [`pages`] | the page cache |
//! | `vfs`, `mounting` | [`Vfs`], the state of the faction, and its [`component`]; mount, remount, unmount |
//! | `mount`, `slots`, `vnode`, `idle`, `caches` | a mount and its vnodes: loaded once, idle when unused, given back when memory or the last name is gone; what all mounts share |
//! | `namecache`, `walk` | cached names, of all and of each lane; the two gears of path walk |
//! | `process` | current and root directory of a process, the context of a call |
//! | `open`, `create`, `remove`, `rename`, `attr`, `xattr`, `dir`, `cwd`, `data` | the calls, one file per kind |
//! | `perm`, `acl` | who may do what, as pure functions |
//! | `file`, `fifo`, `special` | what is behind a descriptor: vnode, FIFO, object of the host |
//! | `etfs` | objects of the host shown in the name space |
//! | `lock` | advisory locks |
//! | `sockets` | sockets in the file system, for the faction that has what is behind them |
//! | `byhash` | a hash table in which the hash says where to look |
//! | `erased`, `guarded` | drivers with the type of their inodes erased; those whose panics are contained |
//! | `counters` | what the faction holds, for sysctl |
//!
//! # A vnode's life
//! `Mount::vnode` loads an inode once, whoever asks at the same time. A `VnodeRef` is a use; when the last one goes, an
//! unlinked inode is given back to the driver at once, any other idles in a queue with second chance until vnodes are
//! too many; one whose data the device does not take stays. On a file system in memory regular files never idle out: their pages are the data. A forced unmount takes
//! the inodes out of vnodes in use, which give `EIO` from then on.
//!
//! # Attributes
//! A vnode keeps the driver's attributes, refreshed after each change, so that `stat` and search permission take no sleep
//! lock and no driver. Times of data reads and writes are kept there until `fsync`, the writer's `close`, `sync` or the end of
//! the vnode brings them to the driver.
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
//! lane of the name cache → its table, attributes, directories of the process   (inline)
//! table of vnodes → attributes of a vnode   (inline)
//! name cache, descriptor tables   (inline; leaves)
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod acl;
mod attr;
mod byhash;
mod caches;
pub mod calls;
mod counters;
mod create;
mod cwd;
mod data;
mod dir;
pub mod erased;
mod etfs;
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
mod slots;
mod sockets;
mod special;
mod syscalls;
mod vfs;
mod vnode;
pub mod vop;
mod walk;
mod xattr;

pub use calls::{Calls, KernelVfs};
pub use rumpbio as bio;
pub use vfs::{Vfs, component};
pub use vop::VnodeCalls;
