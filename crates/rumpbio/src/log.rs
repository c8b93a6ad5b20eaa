//! What a log format and a driver give to the engine.

use crate::{BufData, Handle, Volume};
use rumpuser::Result;

/// One block of a transaction, as it is to be after the transaction.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// The block's home on the volume.
    pub block: u64,
    /// Its whole content.
    pub data: BufData,
}

/// A log that makes transactions atomic and durable: jbd2, WAPBL, the journal of HFS+.
///
/// The engine calls it under its commit lock, one call at a time.
pub trait Log: Send + Sync {
    /// How many records one transaction may have at most; the engine commits before it would grow past that. It counts
    /// revoked blocks too, one record for as many as fit a block at 16 bytes each. Does not change.
    fn capacity(&self) -> usize;

    /// Appends a transaction to the log and returns once it is durable: after a power cut, replay either applies all of
    /// `records` or none. `revoked` are blocks that were metadata and are none any more: replay must not write older
    /// records of them, those of earlier transactions. Both are in ascending order of the blocks, and no block is named
    /// twice, also not in one and the other. The engine has written the file data that the transaction refers to before
    /// the call, not necessarily with a device flush: an implementation flushes before its commit block.
    ///
    /// # Errors
    /// `ENOSPC` when the log has no room: the engine then [checkpoints](Self::checkpointed) and calls once more. `EIO`:
    /// the engine aborts the volume, which turns read-only.
    fn append(&self, records: &[LogRecord], revoked: &[u64]) -> Result<()>;

    /// All transactions appended so far are written to their homes and flushed: the log may be emptied.
    ///
    /// # Errors
    /// `EIO` as for [`append`](Self::append).
    fn checkpointed(&self) -> Result<()>;
}

/// What the owner of a volume wants to be called for. All methods have empty defaults.
pub trait Hooks: Send + Sync {
    /// The most blocks that [`before_commit`](Self::before_commit) changes: kept free in each transaction of the log. Asked
    /// once, by [`Volume::set_hooks`].
    fn commit_blocks(&self) -> usize {
        8
    }

    /// Before a commit closes the running transaction, inside its last handle: the driver writes what it gathered in
    /// memory (free counts of the superblock, checksums of bitmaps). Called by every commit, also when nothing else has changed.
    ///
    /// # Errors
    /// Any; the commit then fails with it and the transaction stays running.
    fn before_commit(&self, _handle: &mut Handle<'_>) -> Result<()> {
        Ok(())
    }

    /// The transaction is closed, nothing of it is durable yet: write the file data whose blocks it allocates (the rule of
    /// `data=ordered`). Called with no handle open and no inode locked by the engine, but perhaps by a thread that holds inode
    /// locks (in [`Volume::begin`]): it must take none, and no handle.
    ///
    /// # Errors
    /// Any; the volume is then aborted, as file data would be lost.
    fn write_ordered(&self) -> Result<()> {
        Ok(())
    }

    /// The volume turned read-only because a commit failed or the driver [said so](Volume::abort). Called once, perhaps
    /// under the commit lock: it must not commit.
    fn aborted(&self, _volume: &Volume) {}
}
