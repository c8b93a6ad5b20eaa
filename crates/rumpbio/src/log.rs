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
    /// How many records one transaction may have at most; the engine commits before it would grow past that.
    fn capacity(&self) -> usize;

    /// Appends a transaction to the log and returns once it is durable: after a power cut, replay either applies all of
    /// `records` or none. `revoked` are blocks that were metadata and are none any more: replay must not write older
    /// records of them. The engine has flushed the file data that the transaction refers to before the call, not
    /// necessarily with a device flush: an implementation flushes before its commit block.
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
    /// Before a commit closes the running transaction, inside its last handle: the driver writes what it gathered in
    /// memory (free counts of the superblock, checksums of bitmaps).
    ///
    /// # Errors
    /// Any; the commit then fails with it and the transaction stays running.
    fn before_commit(&self, _handle: &mut Handle<'_>) -> Result<()> {
        Ok(())
    }

    /// The transaction is closed, nothing of it is durable yet: write the file data whose blocks it allocates (the rule of
    /// `data=ordered`). Called with no handle open and no inode locked by the engine.
    ///
    /// # Errors
    /// Any; the volume is then aborted, as file data would be lost.
    fn write_ordered(&self) -> Result<()> {
        Ok(())
    }

    /// The volume turned read-only because a commit failed.
    fn aborted(&self, _volume: &Volume) {}
}
