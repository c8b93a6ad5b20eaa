//! What a kernel asks of its host besides block devices and frames.

use crate::{
    Result,
    task::{self, Step, Task},
};
use alloc::{boxed::Box, string::String, sync::Arc};
use core::time::Duration;

/// A point of monotonic time, nanoseconds since an arbitrary start. Pure arithmetic: reading it is [`Clock::monotonic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// This point plus `d`, saturating at the end of time.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Time from `earlier` to this point, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall time: seconds since 1970-01-01T00:00:00Z (negative before) and nanoseconds, 0 to 999,999,999, added to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timespec {
    /// Whole seconds, rounded towards minus infinity.
    pub sec: i64,
    /// Nanoseconds after `sec`, below 1,000,000,000.
    pub nsec: u32,
}

impl Timespec {
    /// A time at whole seconds.
    #[must_use]
    pub const fn from_secs(sec: i64) -> Self {
        Self { sec, nsec: 0 }
    }
}

/// A [`Timespec`] of 12 bytes, for those who keep many.
#[derive(Clone, Copy, Debug)]
pub struct PackedTime([u32; 3]);

impl PackedTime {
    /// Packs.
    #[must_use]
    pub const fn new(time: Timespec) -> Self {
        Self([time.sec as u32, (time.sec >> 32) as u32, time.nsec])
    }

    /// Unpacks.
    #[inline]
    #[must_use]
    pub const fn get(self) -> Timespec {
        let Self([low, high, nsec]) = self;
        Timespec {
            sec: ((high as u64) << 32 | low as u64).cast_signed(),
            nsec,
        }
    }
}

/// The host's clocks.
pub trait Clock {
    /// Monotonic time.
    fn monotonic(&self) -> Instant;
    /// Wall time.
    fn wall(&self) -> Timespec;
    /// Which clock [`monotonic`](Self::monotonic) reads: hosts with one number read the same one, so that what one of them has read is a time
    /// of the other's. `None`: nobody else reads it.
    fn clock(&self) -> Option<u32> {
        None
    }
}

/// The host's source of randomness.
pub trait Random {
    /// Fills `buf` with unpredictable bytes (on a simulated host: with seeded ones).
    fn random(&self, buf: &mut [u8]);
}

/// Where kernel messages go besides the kernel's own message buffer.
pub trait Console {
    /// Takes one line, without its newline. May drop it.
    fn message(&self, line: &str);
}

/// What a waiter that can fetch is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Fetch what is there.
    Now,
    /// It sleeps from now on: somebody else has to fetch.
    NoMore,
}

/// An event count, on which every blocking wait of a kernel is built.
///
/// A waiter takes a [`ticket`](Self::ticket), checks its condition, and waits with that ticket; a notification after the
/// ticket was taken ends the wait at once, so none is lost.
pub trait Event: Send + Sync {
    /// The present count.
    fn ticket(&self) -> u64;
    /// Waits until the count has passed `ticket` or `deadline` is over. `true` if the count has passed.
    fn wait(&self, ticket: u64, deadline: Option<Instant>) -> bool;
    /// As [`wait`](Self::wait), for a waiter that can itself fetch what it waits for: a host whose threads look for a moment before they sleep
    /// has `fetch` called between two looks, and once before they sleep. It is called on the waiter's thread, any number of times.
    fn wait_fetching(
        &self,
        ticket: u64,
        deadline: Option<Instant>,
        fetch: &mut dyn FnMut(Fetch),
    ) -> bool {
        fetch(Fetch::NoMore);
        self.wait(ticket, deadline)
    }
    /// Advances the count and wakes every waiter.
    fn notify(&self);
}

/// A running thread of the host, to be joined.
pub trait Thread: Send + Sync {
    /// Waits until the thread has ended.
    fn join(self: Box<Self>);
}

/// The host's threads.
pub trait Threads {
    /// Starts a thread named `name`.
    ///
    /// # Errors
    /// `EAGAIN` when the host has no room for one more.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn Thread>>;

    /// Starts a task named `name`, with a first step soon. A host that simulates needs no thread for it.
    ///
    /// # Errors
    /// `EAGAIN` when the host has no room for one more.
    fn task(&self, name: &str, step: Step) -> Result<Arc<dyn Task>> {
        task::threaded(self, name, step)
    }

    /// A new event count.
    fn event(&self) -> Arc<dyn Event>;

    /// Runs `body` and catches a panic in it.
    ///
    /// # Errors
    /// The panic's message and place.
    fn catch(&self, body: &mut dyn FnMut()) -> core::result::Result<(), String>;

    /// Whether a panic is on its way to the innermost [`catch`](Self::catch) of the calling thread. What guards a state that a
    /// panic may leave half changed asks when it is dropped. Cheap while nothing panics.
    fn unwinding(&self) -> bool;

    /// A number that names the calling thread, unique among the threads that live.
    fn current(&self) -> u64;

    /// The calling thread is about to write what is at `place`, which other CPUs write as well: a host that can has its cache line
    /// brought here meanwhile. Nothing depends on it.
    fn will_write(&self, _place: *const u8) {}

    /// The calling thread is about to look at the `len` bytes at `place`: a host that can has their cache lines brought meanwhile. Nothing
    /// depends on it.
    fn will_read(&self, _place: *const u8, _len: usize) {}
}

/// What the host tells about itself.
pub trait Params {
    /// Number of CPUs that kernel threads may use, 1 or more.
    fn cpus(&self) -> usize;
    /// The host's name.
    fn host_name(&self) -> String;
    /// Memory in bytes that the kernel's caches may hold at most.
    fn memory_limit(&self) -> u64;
}

/// A host: the sum of the hypercalls.
pub trait Host: Clock + Random + Console + Threads + Params + Send + Sync + 'static {}

impl<T: Clock + Random + Console + Threads + Params + Send + Sync + 'static> Host for T {}
