//! Numbers of inodes, and how many there may be.
//!
//! Threads that make and remove files in different directories would meet here at each file. So each lane of threads takes numbers in runs,
//! and keeps a few inodes of the limit for itself. The limit is exact all the same: before a lane says that nothing is left, it
//! holds all lanes and looks at what they keep. An inode of the limit changes its place under the lock of a lane only, so none is missed
//! on its way.

use crate::budget::Budget;
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};
use rumpuser::{
    Host, Result,
    sync::{CachePadded, Lanes, Mutex, MutexGuard},
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

    /// All lanes, in order. Who asks for them holds none.
    fn all(&self) -> Vec<MutexGuard<'_, Lane>> {
        self.lanes.iter().map(Mutex::lock).collect()
    }

    /// Takes one inode of the limit, and gives it a number that no inode has or had.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn take_new(&self) -> Result<Ino> {
        let mut lane = self.lane().lock();
        if !lane.take(&self.budget) {
            drop(lane);
            self.take_of_all()?;
            lane = self.lane().lock();
        }
        Ok(lane.number(&self.next))
    }

    /// Takes one inode of the limit, for a further name.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn take(&self) -> Result<()> {
        if self.lane().lock().take(&self.budget) {
            return Ok(());
        }
        self.take_of_all()
    }

    /// Takes one that any lane keeps, or that was given back to the whole meanwhile.
    fn take_of_all(&self) -> Result<()> {
        let mut lanes = self.all();
        if lanes.iter_mut().any(|lane| lane.take_spare()) {
            return Ok(());
        }
        self.budget.take(1)
    }

    /// Gives one back.
    pub(crate) fn give(&self) {
        let mut lane = self.lane().lock();
        lane.spare = lane.spare.saturating_add(1);
        if lane.spare > SHARE.saturating_mul(2) {
            lane.spare = lane.spare.saturating_sub(SHARE);
            self.budget.give(SHARE);
        }
    }

    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.budget.limit()
    }

    /// How many are in use.
    pub(crate) fn used(&self) -> u64 {
        let lanes = self.all();
        let spare = lanes.iter().map(|lane| lane.spare);
        self.budget.used().saturating_sub(spare.sum())
    }
}

impl Lane {
    fn number(&mut self, next: &AtomicU64) -> Ino {
        if self.number.is_multiple_of(RUN) {
            self.number = next.fetch_add(RUN, Ordering::Relaxed);
        }
        let number = self.number;
        self.number = number.wrapping_add(1);
        Ino(number)
    }

    /// Takes one inode of the limit; whether there was one here or in the whole.
    fn take(&mut self, budget: &Budget) -> bool {
        if self.spare == 0 {
            self.spare = budget.take_some(SHARE, 1);
        }
        self.take_spare()
    }

    fn take_spare(&mut self) -> bool {
        let left = self.spare.checked_sub(1);
        self.spare = left.unwrap_or(0);
        left.is_some()
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
        assert_eq!(inodes.take_new().map(|ino| ino.0), Ok(2));
        inodes.give();
        let numbers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        inodes.take().unwrap();
                        inodes.give();
                        numbers.lock().push(inodes.take_new().unwrap());
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
