//! An event count over a mutex and a condition variable, which are touched only when somebody really waits.

use crate::host::monotonic;
use rumpuser::Instant;
use std::{
    hint,
    sync::{
        Condvar, LazyLock, Mutex, PoisonError,
        atomic::{
            AtomicI32, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::{Duration, Instant as HostInstant},
};

/// How long a waiter looks before it sleeps. To be put to sleep and woken takes about as long.
const SPIN: Duration = Duration::from_micros(50);
/// Looks between two at the clock.
const LOOKS: u32 = 32;
/// How far it goes that waits which were short let the next ones look.
const TRUST: i32 = 3;
/// Waits that were too long to look for, until one looks again.
const PAUSE: i32 = 64;

/// Whether whoever notifies can run while somebody looks.
static PARALLEL: LazyLock<bool> =
    LazyLock::new(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1));

/// The host's [`rumpuser::Event`].
///
/// No notification is lost: a waiter announces itself in `waiters` before it looks at `count` for the last time, and a notifier
/// advances `count` before it looks at `waiters`. In the one order of all sequentially consistent accesses, one of
/// the two sees the other.
///
/// A waiter looks for a moment before it sleeps, as long as that was worth it for this event: two threads that answer each other at once
/// do so ten times as often as through the host's scheduler, and where waits are long nobody burns a processor.
#[derive(Debug, Default)]
pub(crate) struct Event {
    count: AtomicU64,
    waiters: AtomicUsize,
    /// From 0 to [`TRUST`]: looking is worth it. Below: so many waits sleep at once, until one tries again.
    short: AtomicI32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Event {
    /// Looks for a notification without sleeping.
    fn look(&self, ticket: u64) -> bool {
        let short = self.short.load(Relaxed);
        if short < 0 {
            self.short.store(short + 1, Relaxed);
            return false;
        }
        if !*PARALLEL {
            return false;
        }
        let start = HostInstant::now();
        while start.elapsed() < SPIN {
            for _ in 0..LOOKS {
                if self.count.load(SeqCst) > ticket {
                    self.short.store(TRUST.min(short + 1), Relaxed);
                    return true;
                }
                hint::spin_loop();
            }
        }
        self.short
            .store(if short == 0 { -PAUSE } else { short - 1 }, Relaxed);
        false
    }
}

impl rumpuser::Event for Event {
    fn ticket(&self) -> u64 {
        self.count.load(SeqCst)
    }

    fn wait(&self, ticket: u64, deadline: Option<Instant>) -> bool {
        if self.count.load(SeqCst) > ticket {
            return true;
        }
        // A deadline that is near would be missed by looking.
        if deadline.is_none_or(|deadline| deadline.since(monotonic()) > SPIN) && self.look(ticket) {
            return true;
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiters.fetch_add(1, SeqCst);
        let passed = loop {
            if self.count.load(SeqCst) > ticket {
                break true;
            }
            guard = match deadline {
                None => self
                    .wake
                    .wait(guard)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.since(monotonic());
                    if left.is_zero() {
                        break false;
                    }
                    let woken = self.wake.wait_timeout(guard, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        };
        self.waiters.fetch_sub(1, SeqCst);
        passed
    }

    fn notify(&self) {
        self.count.fetch_add(1, SeqCst);
        if self.waiters.load(SeqCst) > 0 {
            // Whoever has announced itself holds the lock until it sleeps; passing through it makes sure that it does.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumpuser::Event as _;
    use std::{sync::Arc, thread, time::Duration};

    #[test]
    fn notification_before_the_wait_is_not_lost() {
        let event = Event::default();
        let ticket = event.ticket();
        event.notify();
        assert!(event.wait(ticket, None));
    }

    #[test]
    fn deadline_ends_a_wait() {
        let event = Event::default();
        let start = monotonic();
        let deadline = start.after(Duration::from_millis(20));
        assert!(!event.wait(event.ticket(), Some(deadline)));
        assert!(monotonic() >= deadline);
        assert!(
            !event.wait(event.ticket(), Some(start)),
            "a deadline in the past does not wait"
        );
    }

    #[test]
    fn two_threads_hand_over_thousands_of_times() {
        const TURNS: u64 = 5_000;
        let (ping, pong) = (Arc::new(Event::default()), Arc::new(Event::default()));
        let other = {
            let (ping, pong) = (ping.clone(), pong.clone());
            thread::spawn(move || {
                for turn in 0..TURNS {
                    assert!(ping.wait(turn, None));
                    pong.notify();
                }
            })
        };
        for turn in 0..TURNS {
            ping.notify();
            let deadline = monotonic().after(Duration::from_secs(30));
            assert!(
                pong.wait(turn, Some(deadline)),
                "lost wakeup at turn {turn}"
            );
        }
        other.join().unwrap();
        assert_eq!((ping.ticket(), pong.ticket()), (TURNS, TURNS));
    }
}
