//! Inline locks: they guard memory for a moment and are never held across a wait.
//!
//! With the feature `std` (any hosted kernel) a contended lock parks its thread in the host; without it, it spins.
//! Both have the same interface: `lock()`, `read()`, `write()` and the `try_` forms return guards.
//! A lock that is held across I/O is a *sleep lock* ([`sleep`](crate::sleep)), built on [`Event`](crate::Event).

#[cfg(feature = "std")]
pub use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(feature = "std"))]
pub use spin::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
