//! Inline locks: they guard memory for a moment and are never held across a wait.
//!
//! With the feature `std` (any hosted kernel) a contended lock parks its thread in the host; without it, it spins.
//! Both have the same interface: `lock()`, `read()`, `write()` and the `try_` forms return guards.
//! A lock that is held across I/O is a *sleep lock* ([`sleep`](crate::sleep)), built on [`Event`](crate::Event).

#[cfg(feature = "std")]
pub use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use spin::Once;
#[cfg(not(feature = "std"))]
pub use spin::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use alloc::boxed::Box;
use core::ops::Deref;

/// A value on cache lines of its own: what other CPUs write beside it does not take the line away from who uses it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(pub T);

impl<T> Deref for CachePadded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A value for each of a few groups of threads ("lanes"), for what all threads need at every call: two CPUs that write one
/// cache line in turn, if only to count a reference or a reader, wait for each other tens of nanoseconds each time.
#[derive(Debug)]
pub struct Lanes<T>(Box<[CachePadded<T>]>);

impl<T> Lanes<T> {
    /// Lanes enough for `cpus` CPUs; `make` is given their numbers, from 0.
    pub fn new(cpus: usize, make: impl FnMut(usize) -> T) -> Self {
        // Twice as many as CPUs: numbers of threads are dealt in order, but not all of them are busy.
        let count = cpus.clamp(1, 16).next_power_of_two() * 2;
        Self((0..count).map(make).map(CachePadded).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The number of a thread's lane; [`Threads::current`](crate::Threads::current) numbers threads.
    #[must_use]
    pub fn lane(&self, thread: u64) -> usize {
        // The count is a power of two.
        thread as usize & (self.0.len() - 1)
    }

    /// A thread's own.
    #[must_use]
    pub fn of(&self, thread: u64) -> &T {
        &self.0[self.lane(thread)]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|lane| &lane.0)
    }
}
