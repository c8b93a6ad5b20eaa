//! WAPBL, NetBSD's journal of block images: reading what it holds, and writing transactions to it.
//!
//! Two headers, each in a block of its own, then a ring of records from `tail` to `head`. A record of block images has a block with a
//! list of addresses, and behind it the images, which may go round the end of the ring. A record of revocations takes
//! addresses out again. A record of inodes lists those in use that no name leads to. The numbers are in the byte order of the volume.
//!
//! Headers are written in turn, each with a number one higher, and the higher one counts: what lies in the ring from the old head on is
//! there from the moment that the new header is. Nothing has a checksum; a header is within one sector, which is
//! written whole or not at all.
//!
//! # Mounting
//! 1. [`Journal::open`], if the superblock says that the journal is in use, and [`Journal::replay`].
//! 2. For reading: [`Replay::overlay`]. For writing: [`Replay::write_home`], then [`Journal::start`] gives the [`Wapbl`] that the
//!    engine appends to; it holds the inodes of [`Replay::inodes`] until the driver has freed them.
//! 3. A journal that is not in use, or a new one: [`Wapbl::create`], before the superblock says that it is in use.
//!
//! | module | what |
//! |---|---|
//! | `ring` | positions in the ring |
//! | `form` | headers and records as bytes |
//! | `journal` | an opened journal |
//! | `replay` | what is in it, laid over the device or written home |
//! | `log` | [`Wapbl`]: `rumpbio::Log` |
//! | [`place`] | where a new one goes |

mod form;
mod journal;
mod log;
pub mod place;
mod replay;
mod ring;

pub use form::ListedInode;
pub use journal::Journal;
pub use log::{Wall, Wapbl};
pub use replay::Replay;
