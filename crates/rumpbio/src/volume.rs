//! A block device as blocks of one size, cached, with transactions.
//!
//! # The states of a block
//! ```text
//!            read                 modify, create              Handle::commit
//!  (medium) ------> clean buffer ----------------> in handle ----------------> running
//!             <----                ^               |                             |
//!              evict               |  drop, abort  |                             | Volume::commit closes
//!                                  +---------------+                             v
//!                                                                            committing
//!              flush, Log::checkpointed             Log::append returns          |
//!     home <-------------------------- checkpointed <----------------------------+  (content frozen at the close)
//!      ^                               list (durable)                            |
//!      +-------------------------------------------------------------------------+
//!                            without a log: written home, flush
//! ```
//! A block can be in several of these at once, with different content. The buffer has the newest content, that of the
//! open handle. The handle keeps the content before it (undo). A transaction that commits, and the checkpoint list,
//! have snapshots: a later change copies the block first. Home goes the checkpoint list's content, the newest that is
//! durable, never a newer one.
//!
//! A buffer in the handle, the running or the committing transaction or on the checkpoint list stays in the cache:
//! each refers to it, and buffers that somebody refers to are not dropped.
//!
//! # A commit
//! One at a time, under the commit lock:
//! 1. Under the handle lock: [`Hooks::before_commit`] in the last handle, then the running transaction is closed: its
//!    content is frozen, its held ranges set aside, a new transaction runs.
//! 2. With no handle lock: [`Hooks::write_ordered`], then [`Log::append`] (or the blocks go home in ascending order, then a
//!    flush). Now it is durable.
//! 3. Its blocks go on the checkpoint list, the blocks that it forgot leave it: until here a crash would have brought
//!    their old content back to use, so it was kept and could be written home; from here they may be file data. The held
//!    ranges are free.
//!
//! The list is written home when the log is full, when it holds half as many bytes as the cache may, and by
//! [`Volume::checkpoint`]. An error in 2 or 3, or in writing home, aborts the volume; an error of `before_commit` leaves
//! the transaction running.

use crate::{
    Derived, Handle, Hooks, Log,
    buffer::Spares,
    cache::Cache,
    commit::Committer,
    handle::Desk,
    transaction::{Running, Transactions},
};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use rumpuser::{
    BlockDevice, Errno, Event, Result, Threads,
    sleep::{SleepMutex, SleepQueues},
    sync::Mutex,
};

/// How a [`Volume`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct VolumeOptions {
    /// Bytes in a block: a power of two, 512 to 65,536.
    pub block_size: u32,
    /// Clean buffers are dropped, least recently used first, when more bytes than this are cached. Transactions are limited
    /// by it too: the engine commits when the running one has changed half of it. At least 8 blocks are cached.
    pub cache_bytes: usize,
}

/// The metadata of one volume, cached, and its transactions.
///
/// Locks are taken in the order of the fields: see the crate's page.
pub struct Volume {
    device: Arc<dyn BlockDevice>,
    block_size: u32,
    blocks: u64,
    /// Most records of a transaction by the cache's size, and of the checkpoint list.
    pub(crate) most_logged: usize,
    /// Most records of a transaction by the log.
    capacity: AtomicUsize,
    /// How many of them are kept for [`Hooks::before_commit`].
    reserve: AtomicUsize,
    pub(crate) aborted: AtomicBool,
    /// How many transactions were closed.
    pub(crate) closes: AtomicU64,

    /// The commit lock.
    pub(crate) committer: SleepMutex<Committer>,
    /// The handle lock.
    pub(crate) handle: SleepMutex<Desk>,
    pub(crate) transactions: Mutex<Transactions>,
    pub(crate) cache: Cache,
    pub(crate) log: Mutex<Option<Arc<dyn Log>>>,
    pub(crate) hooks: Mutex<Option<Arc<dyn Hooks>>>,

    /// Notified when a buffer that threads wait for has its content.
    pub(crate) loaded: Arc<dyn Event>,
    pub(crate) load_waiters: AtomicU32,
}

impl Volume {
    /// One write is no longer than this.
    pub(crate) const TRANSFER_BYTES: usize = 1 << 20;
    /// What part of the cache's size may lie ready for copies of blocks, in two places each.
    const SPARE_PART: usize = 32;
    const LEAST_SPARES: usize = 64;
    /// A read-ahead is no longer than this.
    pub(crate) const AHEAD_BYTES: usize = 4 << 20;

    /// A volume over `device`. `threads` gives the waits of its locks.
    ///
    /// # Errors
    /// `EINVAL` when the block size is no power of two from 512 to 65,536.
    pub fn new(
        device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        options: VolumeOptions,
    ) -> Result<Arc<Self>> {
        let size = options.block_size;
        if !size.is_power_of_two() || !(512..=65_536).contains(&size) {
            return Err(Errno::EINVAL);
        }
        let cache = Cache::new(options.cache_bytes / size as usize, size as usize);
        let spares = || Spares::new((cache.limit() / Self::SPARE_PART).max(Self::LEAST_SPARES));
        Ok(Arc::new(Self {
            blocks: device.len() / u64::from(size),
            device,
            block_size: size,
            most_logged: cache.limit() / 2,
            capacity: AtomicUsize::new(usize::MAX),
            reserve: AtomicUsize::new(0),
            aborted: AtomicBool::new(false),
            closes: AtomicU64::new(0),
            committer: SleepMutex::new(
                &SleepQueues::single(threads.event()),
                Committer::new(spares()),
            ),
            handle: SleepMutex::new(&SleepQueues::single(threads.event()), Desk::new(spares())),
            transactions: Mutex::default(),
            cache,
            log: Mutex::default(),
            hooks: Mutex::default(),
            loaded: threads.event(),
            load_waiters: AtomicU32::new(0),
        }))
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// Bytes in a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Number of whole blocks on the device.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes of the blocks that are cached now, and of what is [derived](Self::derived) of them.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        let blocks = self.cache.len().saturating_mul(self.block_size as usize);
        blocks.saturating_add(self.cache.derived.load(Ordering::Relaxed))
    }

    /// What was worked out of a block of this volume, to be [kept](crate::Buffer::derive) with its buffer. Its bytes take the room of other buffers; of what it
    /// refers to nothing is known.
    pub fn derived<T: Send + Sync + 'static>(&self, value: T) -> Derived {
        Derived::new(value, &self.cache.derived)
    }

    /// Where a block of the volume begins on the device.
    pub(crate) fn offset(&self, block: u64) -> u64 {
        // No overflow: there are buffers of blocks below `blocks` only.
        block * u64::from(self.block_size)
    }

    /// From now on, transactions go through `log`. Called once, by a driver that mounts for writing, before the first handle.
    /// The log's [capacity](Log::capacity) is asked here and does not change.
    pub fn set_log(&self, log: Arc<dyn Log>) {
        self.capacity.store(log.capacity(), Ordering::Relaxed);
        *self.log.lock() = Some(log);
    }

    /// From now on, transactions go home directly again: for a driver that has ended the use of the log after a
    /// [checkpoint](Self::checkpoint), and no longer writes.
    pub fn unset_log(&self) {
        self.capacity.store(usize::MAX, Ordering::Relaxed);
        *self.log.lock() = None;
    }

    /// Whom to call before a commit. `rumpvfs` and the driver both have an interest: the driver sets its hooks here and
    /// `rumpvfs` is called by them (see `rumpvfs::fs::MountContext`). The volume keeps them alive until
    /// [`discard_all`](Self::discard_all).
    pub fn set_hooks(&self, hooks: Arc<dyn Hooks>) {
        self.reserve.store(hooks.commit_blocks(), Ordering::Relaxed);
        *self.hooks.lock() = Some(hooks);
    }

    /// Opens the volume's handle, waiting for the one that is open. `blocks` is the most that it will change; the engine
    /// makes room for as many first: it [commits](Self::commit) if the running transaction would grow too large. A caller
    /// may hold inode locks, the commit needs none.
    ///
    /// # Errors
    /// `EROFS` when the device is read-only or the volume was aborted; `ENOSPC` when `blocks` exceeds what one transaction
    /// of the log can hold besides [`Hooks::commit_blocks`]; when making room failed, as [`commit`](Self::commit).
    pub fn begin(&self, blocks: usize) -> Result<Handle<'_>> {
        if self.device.read_only() {
            return Err(Errno::EROFS);
        }
        if blocks > self.most_records() {
            return Err(Errno::ENOSPC);
        }
        loop {
            let desk = self.handle.lock();
            if self.aborted() {
                return Err(Errno::EROFS);
            }
            if self.has_room(&self.transactions.lock().running, blocks) {
                return Ok(Handle::new(self, desk));
            }
            drop(desk);
            self.commit()?;
        }
    }

    fn has_room(&self, running: &Running, blocks: usize) -> bool {
        let records = running.records(self.block_size);
        records == 0 || records.saturating_add(blocks) <= self.most_records().min(self.most_logged)
    }

    /// What handles may put in one transaction.
    fn most_records(&self) -> usize {
        self.capacity
            .load(Ordering::Relaxed)
            .saturating_sub(self.reserve.load(Ordering::Relaxed))
    }

    /// Whether the running transaction has reached half of what it may hold: a good moment to commit for a caller that is
    /// between two operations and holds no lock.
    #[must_use]
    pub fn needs_commit(&self) -> bool {
        let records = self.transactions.lock().running.records(self.block_size);
        records > 0 && records >= self.most_records().min(self.most_logged) / 2
    }

    /// Whether any of the `count` blocks from `first` on was freed by a transaction that is not durable yet, or by the
    /// open handle. An allocator takes no such block; one that finds no other gives up its handle, [commits](Self::commit) and
    /// tries once more before it says `ENOSPC`.
    #[must_use]
    pub fn held(&self, first: u64, count: u64) -> bool {
        self.transactions.lock().held(first, count)
    }

    /// The first range of blocks that are [held](Self::held) and overlap `first .. end`: its first block and the one after
    /// its last. An allocator that looks for a long run skips it at once.
    #[must_use]
    pub fn first_held(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        self.transactions.lock().first_held(first, end)
    }
}
