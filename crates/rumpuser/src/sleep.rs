//! Sleep locks: they may be held across I/O and other waits.
//!
//! Taken free, a sleep lock costs what an inline lock costs, and one fence and one load when it is let go. A thread that
//! finds it taken waits on an [`Event`], never inside an inline lock: a host whose threads pass a baton (`rumpuser-sim`)
//! sees every wait. The events are shared: a kernel makes one [`SleepQueues`] and all its locks wait there, so that a lock
//! allocates nothing. A waiter that is woken for another lock of its queue looks again and waits on.
//!
//! **Fairness.** A lock that is let go may be taken at once by a thread that comes by (fast). A waiter that was woken once and
//! did not get it bars newcomers until it has it, so nobody starves: a writer passes a stream of readers, and a
//! thread that takes the lock again and again lets others in between.
//!
//! The locks are not recursive. That holds for `read` inside `read` as well: a barring writer in between is a deadlock.

use crate::{
    Event, Threads,
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU32, Ordering, fence},
};

/// The events on which the sleep locks of a kernel wait. On cache lines of its own, as each lock that is made counts a reference.
#[repr(align(128))]
pub struct SleepQueues {
    events: Arc<[Arc<dyn Event>]>,
    /// Locks are dealt to the queues in turn, not by address: a simulated host's runs must not depend on addresses.
    next: AtomicU32,
}

impl SleepQueues {
    /// `count` queues (at least one is made). A few dozen serve any number of locks.
    #[must_use]
    pub fn new(threads: &dyn Threads, count: usize) -> Arc<Self> {
        Self::from_events((0..count.max(1)).map(|_| threads.event()).collect())
    }

    /// One queue, for locks that share no wait with others.
    #[must_use]
    pub fn single(event: Arc<dyn Event>) -> Arc<Self> {
        Self::from_events(Vec::from([event]))
    }

    fn from_events(events: Vec<Arc<dyn Event>>) -> Arc<Self> {
        Arc::new(Self {
            events: events.into(),
            next: AtomicU32::new(0),
        })
    }

    /// The same queues, to be dealt and counted for themselves: threads that make locks at the same time each use their own.
    #[must_use]
    pub fn share(&self) -> Arc<Self> {
        Arc::new(Self {
            events: self.events.clone(),
            next: AtomicU32::new(self.next.load(Ordering::Relaxed)),
        })
    }
}

impl fmt::Debug for SleepQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SleepQueues({})", self.events.len())
    }
}

/// The waiting side of a sleep lock.
///
/// No notification is lost: a waiter counts itself, takes its ticket, passes a fence and tries; who lets the lock go
/// unlocks, passes a fence and looks at the count. Whichever fence comes first, either the waiter finds the lock free or
/// it is seen and its ticket is overtaken.
struct Waiting {
    queues: Arc<SleepQueues>,
    queue: u32,
    /// Threads that wait or are about to.
    waiters: AtomicU32,
    /// Those of them that were woken in vain and bar newcomers.
    barring: AtomicU32,
}

impl Waiting {
    fn new(queues: &Arc<SleepQueues>) -> Self {
        Self {
            queue: queues.next.fetch_add(1, Ordering::Relaxed),
            queues: queues.clone(),
            waiters: AtomicU32::new(0),
            barring: AtomicU32::new(0),
        }
    }

    fn event(&self) -> &dyn Event {
        let events = &self.queues.events;
        &*events[self.queue as usize % events.len()]
    }

    /// Whether a newcomer may try.
    fn open(&self) -> bool {
        self.barring.load(Ordering::Relaxed) == 0
    }

    /// Waits until `attempt` succeeds. Tells also whether the caller was the last that barred newcomers.
    #[cold]
    fn wait_for<G>(&self, mut attempt: impl FnMut() -> Option<G>) -> (G, bool) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let mut waiter = Waiter {
            waiting: self,
            barring: false,
        };
        loop {
            let ticket = self.event().ticket();
            fence(Ordering::SeqCst);
            if (waiter.barring || self.barring.load(Ordering::SeqCst) == 0)
                && let Some(guard) = attempt()
            {
                let last = waiter.leave();
                core::mem::forget(waiter);
                return (guard, last);
            }
            self.event().wait(ticket, None);
            if !waiter.barring {
                waiter.barring = true;
                self.barring.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Wakes the waiters, if there are any, after the lock's state has changed in their favour.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) != 0 {
            self.event().notify();
        }
    }
}

/// A thread that waits. Dropped, it has given up: the host's wait panicked.
struct Waiter<'a> {
    waiting: &'a Waiting,
    barring: bool,
}

impl Waiter<'_> {
    /// Counts itself out; whether it was the last that barred newcomers.
    fn leave(&self) -> bool {
        let last = self.barring && self.waiting.barring.fetch_sub(1, Ordering::SeqCst) == 1;
        self.waiting.waiters.fetch_sub(1, Ordering::SeqCst);
        last
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.leave();
        self.waiting.wake();
    }
}

/// Wakes the waiters when it is dropped: the last field of a guard, as fields are dropped in order.
struct Release<'a>(&'a Waiting);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// Mutual exclusion that may be held across a wait.
pub struct SleepMutex<T: ?Sized> {
    waiting: Waiting,
    /// Taken by `try_lock` only, so nobody ever blocks in it.
    value: Mutex<T>,
}

impl<T> SleepMutex<T> {
    /// A free lock around `value` whose waiters wait in `queues`.
    pub fn new(queues: &Arc<SleepQueues>, value: T) -> Self {
        Self {
            waiting: Waiting::new(queues),
            value: Mutex::new(value),
        }
    }

    /// The value, the lock being nobody's.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> SleepMutex<T> {
    /// Takes the lock, waiting for it.
    pub fn lock(&self) -> SleepMutexGuard<'_, T> {
        let inner = self
            .attempt()
            .unwrap_or_else(|| self.waiting.wait_for(|| self.value.try_lock()).0);
        SleepMutexGuard {
            inner,
            _release: Release(&self.waiting),
        }
    }

    /// Takes the lock if it is free and nobody has waited for it in vain.
    pub fn try_lock(&self) -> Option<SleepMutexGuard<'_, T>> {
        self.attempt().map(|inner| SleepMutexGuard {
            inner,
            _release: Release(&self.waiting),
        })
    }

    /// The value through an exclusive reference, which needs no lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn attempt(&self) -> Option<MutexGuard<'_, T>> {
        if self.waiting.open() {
            self.value.try_lock()
        } else {
            None
        }
    }
}

impl<T: ?Sized> fmt::Debug for SleepMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Trying the lock to tell its state would turn others away.
        write!(
            f,
            "SleepMutex({} waiting)",
            self.waiting.waiters.load(Ordering::Relaxed)
        )
    }
}

/// A taken [`SleepMutex`].
#[must_use = "the lock is let go when the guard is dropped"]
pub struct SleepMutexGuard<'a, T: ?Sized> {
    inner: MutexGuard<'a, T>,
    _release: Release<'a>,
}

impl<T: ?Sized> Deref for SleepMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for SleepMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Many readers or one writer; either may hold it across a wait.
pub struct SleepRwLock<T: ?Sized> {
    waiting: Waiting,
    /// Taken by the `try_` forms only, so nobody ever blocks in it.
    value: RwLock<T>,
}

impl<T> SleepRwLock<T> {
    /// A free lock around `value` whose waiters wait in `queues`.
    pub fn new(queues: &Arc<SleepQueues>, value: T) -> Self {
        Self {
            waiting: Waiting::new(queues),
            value: RwLock::new(value),
        }
    }

    /// The value, the lock being nobody's.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> SleepRwLock<T> {
    /// Takes the lock for reading, waiting while a writer has it or bars newcomers.
    pub fn read(&self) -> SleepReadGuard<'_, T> {
        let inner = self.attempt_read().unwrap_or_else(|| {
            let (inner, last) = self.waiting.wait_for(|| self.value.try_read());
            // Readers that stood behind this one may come in beside it.
            if last {
                self.waiting.wake();
            }
            inner
        });
        SleepReadGuard {
            inner,
            _release: Release(&self.waiting),
        }
    }

    /// Takes the lock for writing, waiting for it.
    pub fn write(&self) -> SleepWriteGuard<'_, T> {
        let inner = self
            .attempt_write()
            .unwrap_or_else(|| self.waiting.wait_for(|| self.value.try_write()).0);
        SleepWriteGuard {
            inner,
            _release: Release(&self.waiting),
        }
    }

    /// Takes the lock for reading if that needs no wait.
    pub fn try_read(&self) -> Option<SleepReadGuard<'_, T>> {
        self.attempt_read().map(|inner| SleepReadGuard {
            inner,
            _release: Release(&self.waiting),
        })
    }

    /// Takes the lock for writing if that needs no wait.
    pub fn try_write(&self) -> Option<SleepWriteGuard<'_, T>> {
        self.attempt_write().map(|inner| SleepWriteGuard {
            inner,
            _release: Release(&self.waiting),
        })
    }

    /// The value through an exclusive reference, which needs no lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn attempt_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        if !self.waiting.open() {
            return None;
        }
        let guard = self.value.try_read();
        // The spinning lock counts a reader before it looks for a writer. If that writer has gone meanwhile, the
        // count of a moment may have turned a waiting writer away, whom nobody else would wake.
        #[cfg(not(feature = "std"))]
        if guard.is_none() && self.value.writer_count() == 0 {
            self.waiting.wake();
        }
        guard
    }

    fn attempt_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        if self.waiting.open() {
            self.value.try_write()
        } else {
            None
        }
    }
}

impl<T: ?Sized> fmt::Debug for SleepRwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SleepRwLock({} waiting)",
            self.waiting.waiters.load(Ordering::Relaxed)
        )
    }
}

/// A [`SleepRwLock`] taken for reading.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct SleepReadGuard<'a, T: ?Sized> {
    inner: RwLockReadGuard<'a, T>,
    _release: Release<'a>,
}

impl<T: ?Sized> Deref for SleepReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

/// A [`SleepRwLock`] taken for writing.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct SleepWriteGuard<'a, T: ?Sized> {
    inner: RwLockWriteGuard<'a, T>,
    _release: Release<'a>,
}

impl<'a, T: ?Sized> SleepWriteGuard<'a, T> {
    /// Goes on as a reader, without letting a writer in between.
    pub fn downgrade(self) -> SleepReadGuard<'a, T> {
        let Self {
            inner,
            _release: release,
        } = self;
        let inner = RwLockWriteGuard::downgrade(inner);
        release.0.wake();
        SleepReadGuard {
            inner,
            _release: release,
        }
    }
}

impl<T: ?Sized> Deref for SleepWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for SleepWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::Instant;
    use core::sync::atomic::{AtomicBool, AtomicUsize};
    use std::{
        sync::{Condvar, Mutex as StdMutex},
        thread,
        time::Duration,
    };

    #[derive(Default)]
    struct CountEvent {
        count: StdMutex<u64>,
        passed: Condvar,
        notified: AtomicUsize,
    }

    impl Event for CountEvent {
        fn ticket(&self) -> u64 {
            *self.count.lock().unwrap()
        }
        fn wait(&self, ticket: u64, deadline: Option<Instant>) -> bool {
            assert!(deadline.is_none(), "sleep locks wait without deadline");
            let guard = self.count.lock().unwrap();
            let (_guard, timeout) = self
                .passed
                .wait_timeout_while(guard, Duration::from_secs(30), |count| *count <= ticket)
                .unwrap();
            assert!(!timeout.timed_out(), "a notification was lost");
            true
        }
        fn notify(&self) {
            self.notified.fetch_add(1, Ordering::Relaxed);
            *self.count.lock().unwrap() += 1;
            self.passed.notify_all();
        }
    }

    fn queues() -> (Arc<CountEvent>, Arc<SleepQueues>) {
        let event = Arc::new(CountEvent::default());
        (event.clone(), SleepQueues::single(event))
    }

    #[test]
    fn without_contention_nobody_is_notified() {
        let (event, queues) = queues();
        let mut mutex = SleepMutex::new(&queues, 1);
        *mutex.lock() += 1;
        assert_eq!(*mutex.get_mut(), 2);
        let rw = SleepRwLock::new(&queues, 1);
        *rw.write() += 1;
        assert_eq!(*rw.read(), 2);
        assert_eq!(event.notified.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn try_forms_exclude() {
        let (_, queues) = queues();
        let mutex = SleepMutex::new(&queues, ());
        let guard = mutex.lock();
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert!(mutex.try_lock().is_some());

        let rw = SleepRwLock::new(&queues, ());
        let reader = rw.read();
        assert!(rw.try_read().is_some());
        assert!(rw.try_write().is_none());
        drop(reader);
        let writer = rw.write();
        assert!(rw.try_read().is_none());
        assert!(rw.try_write().is_none());
        let reader = writer.downgrade();
        assert!(rw.try_read().is_some());
        assert!(rw.try_write().is_none());
        drop(reader);
        assert!(rw.try_write().is_some());
    }

    #[test]
    fn many_threads_lose_no_update_and_no_wakeup() {
        let (_, queues) = queues();
        let mutex = SleepMutex::new(&queues, 0u64);
        let rw = SleepRwLock::new(&queues, (0u64, 0u64));
        thread::scope(|scope| {
            for n in 0..6 {
                let (mutex, rw) = (&mutex, &rw);
                scope.spawn(move || {
                    for i in 0..2_000 {
                        *mutex.lock() += 1;
                        if (i + n) % 3 == 0 {
                            let mut pair = rw.write();
                            pair.0 += 1;
                            if i % 64 == 0 {
                                thread::yield_now();
                            }
                            pair.1 += 1;
                        } else {
                            let pair = rw.read();
                            assert_eq!(pair.0, pair.1);
                            if i % 64 == 0 {
                                thread::yield_now();
                            }
                        }
                        // Tries that give up must not lose the wakeups of others.
                        drop(rw.try_read());
                        drop(rw.try_write());
                        drop(mutex.try_lock());
                    }
                });
            }
        });
        assert_eq!(mutex.into_inner(), 12_000);
        let pair = rw.into_inner();
        assert_eq!(pair.0, pair.1);
    }

    #[test]
    fn a_writer_passes_a_stream_of_readers() {
        let (_, queues) = queues();
        let rw = SleepRwLock::new(&queues, ());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    // At least one of the three is inside at nearly every moment.
                    while !done.load(Ordering::Relaxed) {
                        let _guard = rw.read();
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
            thread::sleep(Duration::from_millis(5));
            drop(rw.write());
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_greedy_owner_lets_others_in() {
        let (_, queues) = queues();
        let mutex = SleepMutex::new(&queues, ());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _guard = mutex.lock();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            thread::sleep(Duration::from_millis(5));
            drop(mutex.lock());
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn locks_are_dealt_to_the_queues_in_turn() {
        let events: Vec<Arc<CountEvent>> = (0..3).map(|_| Arc::default()).collect();
        let queues =
            SleepQueues::from_events(events.iter().map(|e| e.clone() as Arc<dyn Event>).collect());
        let locks: Vec<_> = (0..4).map(|_| SleepMutex::new(&queues, ())).collect();
        let at = |n: usize| core::ptr::from_ref(locks[n].waiting.event()).cast::<()>();
        assert_ne!(at(0), at(1));
        assert_eq!(at(0), at(3));
    }
}
