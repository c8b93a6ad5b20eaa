//! Numbers of inodes, and how many there may be.
//!
//! Threads that make and remove files in different directories would meet here at each file. So each lane of threads takes numbers in runs,
//! and keeps a few inodes of the limit for itself. The limit is exact all the same: when nothing is left of it, a lane takes
//! what others keep.

use crate::budget::Budget;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use rumpuser::{
    Host, Result,
    sync::{CachePadded, Lanes, Mutex},
};
use rumpvfs::fs::Ino;

/// Numbers in a run. `rumpvfs` keeps vnodes with numbers in a row together, and those of different runs apart.
const RUN: u64 = 64;
/// Inodes that a lane takes of the limit at once; it keeps twice as many at most.
const SHARE: u64 = 16;

/// The inodes of a file system.
pub(crate) struct Inodes {
    /// Those that are in use or kept by a lane.
    budget: CachePadded<Budget>,
    /// The next run.
    next: CachePadded<AtomicU64>,
    lanes: Lanes<Mutex<Lane>>,
    host: Arc<dyn Host>,
}

#[derive(Debug, Default)]
struct Lane {
    /// The next number; a multiple of [`RUN`] means that there is none.
    number: u64,
    /// Inodes of the limit that nobody uses.
    spare: u64,
}

impl Inodes {
    /// Numbers start with `first`.
    pub(crate) fn new(host: &Arc<dyn Host>, limit: u64, first: u64) -> Self {
        let inodes = Self {
            budget: CachePadded(Budget::new(limit)),
            next: CachePadded(AtomicU64::new(RUN)),
            lanes: Lanes::new(host.cpus(), |_| Mutex::default()),
            host: host.clone(),
        };
        inodes.lane().lock().number = first;
        inodes
    }

    fn lane(&self) -> &Mutex<Lane> {
        self.lanes.of(self.host.current())
    }

    /// A number that no inode has or had.
    pub(crate) fn number(&self) -> Ino {
        let mut lane = self.lane().lock();
        if lane.number.is_multiple_of(RUN) {
            lane.number = self.next.fetch_add(RUN, Ordering::Relaxed);
        }
        let number = lane.number;
        lane.number = number.wrapping_add(1);
        Ino(number)
    }

    /// Takes one inode of the limit.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn take(&self) -> Result<()> {
        {
            let mut lane = self.lane().lock();
            if lane.spare == 0 {
                lane.spare = self.budget.take_some(SHARE, 1);
            }
            if let Some(left) = lane.spare.checked_sub(1) {
                lane.spare = left;
                return Ok(());
            }
        }
        for lane in self.lanes.iter() {
            let mut lane = lane.lock();
            if let Some(left) = lane.spare.checked_sub(1) {
                lane.spare = left;
                return Ok(());
            }
        }
        // Another thread may have given some back to the whole meanwhile.
        self.budget.take(1)
    }

    /// Gives one back.
    pub(crate) fn give(&self) {
        let mut lane = self.lane().lock();
        lane.spare = lane.spare.saturating_add(1);
        if lane.spare > SHARE.saturating_mul(2) {
            lane.spare = lane.spare.saturating_sub(SHARE);
            drop(lane);
            self.budget.give(SHARE);
        }
    }

    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.budget.limit()
    }

    /// How many are in use.
    pub(crate) fn used(&self) -> u64 {
        let spare = self.lanes.iter().map(|lane| lane.lock().spare);
        self.budget.used().saturating_sub(spare.sum())
    }
}

impl core::fmt::Debug for Inodes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Inodes({} used)", self.used())
    }
}

#[cfg(test)]
mod tests {
    use super::Inodes;
    use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
    use rumpuser::{Errno, Host, sync::Mutex};

    extern crate std;

    #[test]
    fn the_limit_is_exact_and_numbers_are_unique_whoever_asks() {
        let host: Arc<dyn Host> = rumpuser_posix::Host::new();
        let inodes = Inodes::new(&host, 1000, 2);
        assert_eq!(inodes.number().0, 2);
        let numbers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        inodes.take().unwrap();
                        inodes.give();
                        inodes.take().unwrap();
                        numbers.lock().push(inodes.number());
                    }
                });
            }
        });
        let numbers = numbers.into_inner();
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 1000);
        assert_eq!((inodes.used(), inodes.take()), (1000, Err(Errno::ENOSPC)));
        // What one thread gives back, any other can have.
        std::thread::scope(|scope| scope.spawn(|| (0..5).for_each(|_| inodes.give())).join())
            .unwrap();
        assert_eq!(inodes.used(), 995);
        (0..5).for_each(|_| inodes.take().unwrap());
        assert_eq!(inodes.take(), Err(Errno::ENOSPC));
        (0..1000).for_each(|_| inodes.give());
        assert_eq!(inodes.used(), 0);
    }
}
