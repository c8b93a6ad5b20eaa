//! The page cache: the data of regular files in memory.
//!
//! A [`PagePool`] belongs to a kernel and holds the memory limit, a [`MountPages`] belongs to a mount (a [`MountedPages`] from when its driver has mounted) and writes dirty
//! pages to its device, a [`FilePages`] belongs to a regular file's vnode and reads and writes for it.
//!
//! | module | what |
//! |---|---|
//! | [`pool`] | memory accounting, eviction (a clock over files, a second chance for each page) |
//! | [`mount`] | geometry, dirty files, write-back in order of device address |
//! | `map` | pages by their number |
//! | `page` | one page: content, and for each block of it valid, dirty, and where it lives |
//! | [`file`](mod@file) | [`FilePages`], its pages, flush and drop |
//! | `read` | cached reads, misses, read-ahead, large reads past the cache |
//! | `write` | writes: in place, or in steps |
//! | `step` | a step that needs blocks, inside the driver's transaction |
//! | `direct` | large appends past the cache |
//! | `resize` | truncate, punch, reserve |
//! | `seek` | data, holes, extents |
//! | `iovec` | cursors over the caller's buffers |
//!
//! # Rules
//! - A page is as large as a block of the file system or 4 KiB, whichever is more: a block never spans pages, and a page
//!   may hold several blocks that lie apart on the device.
//! - Bytes past the end of the file are zero in every page.
//! - A dirty block has an address on the device, so that it can be written without the driver and without the inode's
//!   lock. Blocks get their address inside the driver's transaction ([`FileSystem::allocate`]'s callback) and are dirty
//!   (or, with large appends, on the device) from that moment: a transaction that makes a block part of a file never becomes durable before the block's data is
//!   on the device (`data=ordered`).
//! - A block that was not written because the device failed stays dirty and is tried again with the next write-back. Each
//!   user of the file is told of that once, by its [`ErrorCursor`]; what nobody was told of yet, a later user is told. When too much is dirty and cannot be
//!   written, writes fail with that error, so memory stays bounded.
//! - On a file system in memory ([`Limits::memory`]) pages are the only copy: never dirty, never dropped, and an absent
//!   page is zeros.
//!
//! # Locks
//! ```text
//! inode (of the caller)
//!   write-back of the mount      (sleep lock; held across device I/O, never across a driver call)
//!     pages of a file            (inline)
//!       dirty list of the mount, clock of the pool   (inline; leaves)
//! ```
//! Content is shared by reference count: a write-back holds a snapshot of each page that it writes, a writer that meets
//! one copies the page, and eviction leaves such pages alone.
//!
//! [`FileSystem::allocate`]: crate::fs::FileSystem::allocate
//! [`Limits::memory`]: crate::fs::Limits::memory

mod direct;
pub mod file;
mod iovec;
mod map;
pub mod mount;
mod page;
pub mod pool;
mod read;
mod resize;
mod seek;
mod step;
mod write;

#[cfg(test)]
mod tests;

pub use file::{ErrorCursor, FilePages};
pub use mount::{MountPages, MountedPages};
pub use pool::PagePool;
pub use read::Keep;
