//! What all mounts of a kernel share.

use crate::{idle::IdleQueue, lock::LockManager, mount::Mount, namecache::Names, pages::PagePool};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use rumpkern::{Log, poll::Pollers};
use rumpuser::{Host, sleep::SleepQueues, sync::Lanes};

/// Caches of all mounts, and what they need.
pub(crate) struct Caches {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) log: Log,
    pub(crate) queues: Lanes<Arc<SleepQueues>>,
    pub(crate) pollers: Arc<Pollers>,
    pub(crate) names: Names,
    pub(crate) locks: LockManager,
    pub(crate) idle: IdleQueue,
    pub(crate) pool: Arc<PagePool>,
    /// Vnodes made by the threads of each lane.
    pub(crate) serials: Lanes<AtomicU64>,
    /// Vnodes of all mounts, used and idle, that can be given back.
    pub(crate) live: AtomicUsize,
}

impl Caches {
    /// The events on which sleep locks wait, in the calling thread's share.
    pub(crate) fn queues(&self) -> &Arc<SleepQueues> {
        self.queues.of(self.host.current())
    }

    /// A number for a vnode that no other has or had.
    pub(crate) fn next_serial(&self) -> u64 {
        let thread = self.host.current();
        let made = self.serials.of(thread).fetch_add(1, Ordering::Relaxed);
        made * self.serials.count() as u64 + self.serials.lane(thread) as u64
    }

    /// Gives idle vnodes back to their drivers until there are no more than the limit.
    pub(crate) fn trim(&self) {
        if self.live.load(Ordering::Relaxed) <= self.idle.limit {
            return;
        }
        // Each vnode is looked at twice at most: once to take its mark of use away.
        let mut chances = self.idle.len().saturating_mul(2);
        while self.live.load(Ordering::Relaxed) > self.idle.limit && chances > 0 {
            chances -= 1;
            let Some(vnode) = self.idle.pop() else {
                return;
            };
            if vnode.users() == 0 && vnode.try_end() {
                vnode.mount.end(&vnode);
            }
        }
    }

    /// Gives all idle vnodes of a mount back to the driver, as far as nobody uses them.
    pub(crate) fn drop_idle(&self, mount: &Mount) {
        drop(self.idle.take(mount.id));
        for vnode in mount.vnodes() {
            if vnode.try_end() {
                mount.end(&vnode);
            }
        }
    }
}
