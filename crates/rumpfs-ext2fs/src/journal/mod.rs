//! The journal of ext3 and ext4 (jbd2): reading and writing its log.
//!
//! A journal is a file of the volume, inode 8 as a rule: a superblock, then a log that wraps around, then, if the file
//! system has fast commits, their area. A transaction of the log is a number of descriptor blocks, each
//! with the data blocks that it names the homes of, revocation blocks (these blocks are no metadata any more, older
//! content of them must not be replayed), and one commit block. A transaction without it never happened.
//!
//! This code knows no inode: whoever mounts maps the journal inode to [`Run`]s and makes a [`JournalArea`] of them.
//!
//! # Mounting
//! 1. [`Journal::open`] checks the journal's superblock. A file system whose journal lies elsewhere (`s_journal_inum` 0 and
//!    `s_journal_dev` or `s_journal_uuid` set) is refused with [`Error::External`] before.
//! 2. [`Journal::replay`] reads the log. It counts if the superblock of the file system has `needs_recovery`; without that flag a log
//!    with a start is left over, and Linux discards it: only step 3's reset remains of the rest.
//! 3. Read-only: an [`OverlayDevice`] of the result stands in for the device. For writing: [`Journal::write_home`], the fast
//!    commits ([`apply`]), then [`Journal::reset`]. The superblock of the file system is read again after either, as
//!    the log has it too; its free counts lag behind those of the group descriptors.
//! 4. For writing: [`Journal::into_log`] gives the [`rumpbio::Log`]. `needs_recovery` in the superblock of the file system is
//!    set, and flushed, by the mount code before the first transaction, and cleared after [`JournalLog::shutdown`].
//!
//! | module | what |
//! |---|---|
//! | [`area`] | [`JournalArea`]: the journal's blocks |
//! | [`superblock`] | [`Superblock`] of the journal, [`Sequence`] numbers |
//! | [`replay`] | [`Replay`]: what the log says, and what is [wrong](Damage) with it |
//! | [`recover`] | [`Journal`]: writing it home |
//! | [`overlay`] | [`OverlayDevice`]: seeing it without writing |
//! | [`fast_commit`] | [`FastCommitOp`] and [`apply`] |
//! | [`log`] | [`JournalLog`]: new transactions |
//! | [`layout`] | the structures of the medium |
//!
//! Supported: superblocks of version 1 and 2; block numbers of 32 and 64 bits; checksums of version 1, 2 and 3;
//! asynchronous commits (read; written synchronously); fast commits (read). Not supported: journals on a device of their own.
//!
//! Source: Linux `Documentation/filesystems/ext4/journal.rst`. What it leaves open is as the kernel 6.x and e2fsprogs 1.47
//! behave.

pub mod area;
mod checksum;
mod commit;
pub mod error;
pub mod fast_commit;
pub mod layout;
pub mod log;
pub mod overlay;
pub mod recover;
pub mod replay;
pub mod superblock;
mod tags;

pub(crate) use area::Spare;
pub use area::{JournalArea, Run};
pub use error::Error;
pub use fast_commit::{FastCommitOp, FastCommitTarget, FastCommits, apply};
pub use log::{JournalLog, LogOptions};
pub use overlay::{OverlayDevice, ScratchDevice};
pub use recover::Journal;
pub use replay::{Damage, DamageKind, LogBlock, Replay};
pub use superblock::{Checksums, Sequence, Superblock};
