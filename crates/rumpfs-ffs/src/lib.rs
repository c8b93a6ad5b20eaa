//! FFS, the Berkeley fast file system: UFS1 and UFS2, as NetBSD, FreeBSD and their ancestors write them.
//!
//! A volume is cut into cylinder groups of equal size. Each has a copy of the superblock, a map of what is free, a table of
//! inodes, and data. A block, 4 to 64 KiB, is up to eight fragments; all addresses are numbers of fragments, and the last block of
//! a short file takes no more of them than it needs. An inode has twelve pointers to blocks and three to blocks of pointers,
//! one to three levels deep. A directory is a file of records. UFS1 has 32-bit pointers and inodes of 128 bytes, UFS2 64-bit
//! ones and 256 bytes.
//!
//! All numbers of a volume are in the byte order of the machine that made it. The structures of [`layout`] are generic over it;
//! what was parsed of them is in the host's order, and nothing is swapped in place.
//!
//! # What is read
//! UFS1 and UFS2 in both byte orders, blocks of 4 to 64 KiB, fragments from 512 bytes on; UFS1's old superblock, 16-bit
//! owners and directories without types (4.3BSD); holes; short symbolic links in the inode; device numbers as NetBSD and as
//! FreeBSD pack them; file flags, generations, creation times, extended attributes (UFS2). A WAPBL journal in use is replayed in
//! memory ([`options`]: `noreplay`).
//!
//! # What is written
//! The same, without a log. Each transaction leaves a volume that is right by itself; the truth is in the buffers of the volume between
//! transactions, and an open one has what is known of space ([`stock`]) for itself.
//!
//! | what | what becomes of it |
//! |---|---|
//! | writing volumes with snapshots, quota, ACLs, check hashes, a journal in use | `EROFS` |
//! | snapshots | listed; reading one is `EOPNOTSUPP` |
//! | journals of FreeBSD (SUJ, gjournal) | not replayed: they hold no data, or lie outside of the volume |
//! | extended attributes of UFS1 | files of `/.attribute` |
//! | variants of Apple, Sun, HP and others | not known |
//!
//! # Trust
//! Every number of the medium is checked where it is parsed; a block pointer where it is followed. A walk through pointers is three
//! levels deep by construction. A directory has no hole and is no larger than volume and device, which bounds its listing. The
//! journal is walked once round at most.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | [`layout`] | the structures of the medium, byte for byte |
//! | [`superblock`] | finding and checking it; whose variant it is |
//! | [`cg`] | cylinder groups: their numbers and maps |
//! | [`maps`] | a group's maps, changed with all counts in step |
//! | [`volume`] | metadata by fragment, inodes by number |
//! | [`inode`], [`map`], [`dir`], [`xattr`] | files: attributes, places, names, extended attributes |
//! | `txn`, [`stock`] | transactions, and what they know of space |
//! | `balloc`, `ialloc` | allocating blocks, fragments, inodes |
//! | [`inode_write`], `map_write`, `dir_write`, [`xattr_write`] | changing files' metadata; `dir_index` finds names of large directories, `dir_shrink` shortens them |
//! | [`placing`] | which places the blocks of a file get |
//! | [`file_write`], [`names`] | operations on files and on names |
//! | `order` | in which steps changes go home without a journal |
//! | `state` | clean or in use, and the counts that go with each commit |
//! | [`wapbl`], `overlay`, `journal` | the journal: its images, laid over the device or written home; writing it; when it is used |
//! | [`check`] | what fsck_ffs finds |
//! | [`options`] | mount options |
//! | [`vfs`] | the adapter to `rumpvfs`: no other names it |
//!
//! Sources: the structures of 4.4BSD, NetBSD and FreeBSD (their headers and manual pages `fs(5)`, `dir(5)`, `wapbl(4)`), McKusick et
//! al., "A Fast File System for UNIX" (1984), and volumes made by NetBSD's newfs, kernel and makefs.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

mod balloc;
pub mod cg;
pub mod check;
pub mod dir;
mod dir_index;
mod dir_shrink;
mod dir_write;
pub mod error;
pub mod file_write;
mod ialloc;
pub mod inode;
pub mod inode_write;
mod journal;
pub mod layout;
pub mod map;
mod map_write;
pub mod maps;
pub mod names;
pub mod options;
mod order;
mod overlay;
pub mod placing;
mod state;
pub mod stock;
pub mod superblock;
mod txn;
mod types;
pub mod vfs;
pub mod volume;
pub mod wapbl;
pub mod xattr;
pub mod xattr_write;

pub use error::{Error, Result};
pub use types::{Order, Version};
pub use vfs::component;
pub use volume::Ffs;
