//! What a log format and a driver give to the engine.

use crate::{BufData, Handle, Volume};
use alloc::vec::Vec;
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

    /// In which steps a transaction goes home on a volume without a log, where a power cut must not leave what one change has done without
    /// what another has: nothing else orders the writes between two flushes.
    ///
    /// Each step is written and then flushed before the next. Given are `records`, all blocks of the closed transaction as they are
    /// after it. Asked for are the steps before the last; the last one is made of all blocks that are not home as `records` has them
    /// by then, so that none, which is the default, means one step.
    ///
    /// - A step has blocks in ascending order. Their content may lack some of the transaction's changes (those of later steps), and a block may
    ///   come in several steps. The driver keeps such contents while it makes the changes.
    /// - Blocks that [became metadata](Handle::create) in the transaction go home with the first step, as they are after it, whatever the
    ///   steps have of them: nothing on the medium leads to them yet. So what first leads to them must not be in the first step; where it
    ///   would be, the first step is an empty one. With no steps they are a step of their own.
    /// - A step may also have blocks that were [forgotten](Handle::forget) in the transaction, if they are [held](Handle::hold).
    /// - A step without blocks costs no flush. Each other one does: steps are for transactions that need them.
    ///
    /// Called after [`write_ordered`](Self::write_ordered) and under the same rules, once for each transaction closed: what was noted for
    /// it is best put aside in [`before_commit`](Self::before_commit), as handles of the next one may open before this is called.
    fn home_steps(&self, _records: &[LogRecord]) -> Vec<Vec<LogRecord>> {
        Vec::new()
    }

    /// The volume turned read-only because a commit failed or the driver [said so](Volume::abort). Called once, perhaps
    /// under the commit lock: it must not commit.
    fn aborted(&self, _volume: &Volume) {}
}
