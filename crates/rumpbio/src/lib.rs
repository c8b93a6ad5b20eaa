//! Buffer cache and transactions: how a driver reads and changes the metadata of one volume.
//!
//! A [`Volume`] is a block device seen as blocks of one size. Metadata blocks are read into a cache ([`Volume::read`]),
//! and changed inside a transaction handle ([`Volume::begin`]). **One handle is open at a time per volume**; dropping it
//! without [`Handle::commit`] puts every block that it changed back as it was, so an operation that fails half way
//! leaves no trace. Handles that committed are gathered in the *running* transaction; [`Volume::commit`] makes it
//! durable, through the volume's [`Log`] where the format has one, else by ordered write-back.
//!
//! File data never lives here: a block of the medium is either metadata (here) or file data (the page cache of
//! `rumpvfs`), and [`Handle::forget`] and [`Handle::hold`] guard the passage from one to the other.
//!
//! | module | what |
//! |---|---|
//! | [`buffer`] | [`Buffer`], one cached block |
//! | [`volume`] | [`Volume`]: its states and limits; opening a handle |
//! | `load` | reading and read-ahead, each block once |
//! | `cache` | the bounded table of buffers |
//! | `transaction` | the running transaction and held blocks |
//! | `commit` | commit, checkpoint, write-back, abort |
//! | [`handle`] | [`Handle`]: change, create, forget, roll back |
//! | [`bitmap`] | bits and runs of bits in a format's maps |
//! | `ranges` | a set of block numbers |
//! | [`log`] | [`Log`], what a log format implements |
//! | [`order`] | in which steps changes go home without a log |
//! | `space` | [`Space`], whether an operation may use the last free blocks |
//! | `xattr` | [`XattrMode`], how an extended attribute is set: here, as format code names no VFS |
//!
//! # Lock order
//! commit lock → handle lock → running transaction → a shard of the buffer table (several in their order) → one buffer's content. The first two are
//! sleep locks and held across I/O, the others guard memory for a moment. Inode locks of the callers stand before all of
//! them: an operation has its inodes locked when it opens a handle, and nothing here calls back for an inode. A buffer's content is locked only inside a method
//! of this crate; a caller sees it through [`Buffer::data`], a snapshot that no later change can alter.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bitmap;
pub mod buffer;
mod cache;
mod commit;
pub mod handle;
mod load;
pub mod log;
pub mod order;
mod ranges;
mod space;
mod transaction;
pub mod volume;
mod xattr;

pub use buffer::{Buf, BufData, Buffer, Derived};
pub use handle::Handle;
pub use log::{Hooks, Log, LogRecord};
pub use space::Space;
pub use volume::{Volume, VolumeOptions};
pub use xattr::XattrMode;
