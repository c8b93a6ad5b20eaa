//! The memory of all pages of a kernel.

use super::file::Inner;
use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};
use rumpuser::{sleep::SleepQueues, sync::Mutex};

/// Pages that one visit of the clock's hand takes from a file at most.
const VISIT: usize = 64;

/// The page memory of a kernel: a limit for what can be dropped or written back. Pages of file systems in memory do not
/// count; those have their own limit.
pub struct PagePool {
    limit: usize,
    used: AtomicUsize,
    dirty: AtomicUsize,
    clock: Mutex<Clock>,
    queues: Arc<SleepQueues>,
}

/// Files that have pages, in a circle.
#[derive(Default)]
struct Clock {
    files: Vec<Option<Weak<Inner>>>,
    free: Vec<usize>,
    hand: usize,
}

impl PagePool {
    /// A pool that keeps at most about `limit` bytes of pages, a quarter of them dirty. Write-backs wait in `queues`.
    #[must_use]
    pub fn new(queues: &Arc<SleepQueues>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            dirty: AtomicUsize::new(0),
            clock: Mutex::default(),
            queues: queues.clone(),
        })
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of pages in memory, those of file systems in memory not counted.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of dirty pages.
    #[must_use]
    pub fn dirty(&self) -> usize {
        self.dirty.load(Ordering::Relaxed)
    }

    pub(super) fn queues(&self) -> &Arc<SleepQueues> {
        &self.queues
    }

    /// Bytes that may be dirty before writers write back.
    pub(super) fn dirty_limit(&self) -> usize {
        self.limit / 4
    }

    pub(super) fn add_used(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub_used(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_dirty(&self, bytes: usize) {
        self.dirty.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub_dirty(&self, bytes: usize) {
        self.dirty.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Puts a file into the circle; its place.
    pub(super) fn enter(&self, file: Weak<Inner>) -> usize {
        let mut clock = self.clock.lock();
        if let Some(slot) = clock.free.pop() {
            clock.files[slot] = Some(file);
            return slot;
        }
        clock.files.push(Some(file));
        clock.files.len() - 1
    }

    /// Takes a file out of the circle.
    pub(super) fn leave(&self, slot: usize) {
        let mut clock = self.clock.lock();
        clock.files[slot] = None;
        clock.free.push(slot);
    }

    /// Drops clean pages until the limit holds. Called without locks. Two rounds at most: the first may only take the marks
    /// of use away, and what is dirty or being written stays.
    pub(super) fn shrink(&self) {
        if self.used() <= self.limit {
            return;
        }
        let mut visits = self.clock.lock().files.len().saturating_mul(2);
        while self.used() > self.limit && visits > 0 {
            visits -= 1;
            let Some(file) = self.next_file() else {
                continue;
            };
            while self.used() > self.limit {
                let dropped = file.evict(VISIT.min(self.excess_pages(&file)));
                if dropped < VISIT {
                    break;
                }
            }
        }
    }

    fn excess_pages(&self, file: &Inner) -> usize {
        let excess = self.used().saturating_sub(self.limit);
        excess.div_ceil(file.geometry.page_size()).max(1)
    }

    fn next_file(&self) -> Option<Arc<Inner>> {
        let mut clock = self.clock.lock();
        if clock.files.is_empty() {
            return None;
        }
        clock.hand = (clock.hand + 1) % clock.files.len();
        clock.files[clock.hand].as_ref()?.upgrade()
    }
}

impl fmt::Debug for PagePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PagePool({} of {} bytes, {} dirty)",
            self.used(),
            self.limit,
            self.dirty()
        )
    }
}
