//! An event count over a mutex and a condition variable, which are touched only when somebody really waits.

use crate::{Patience, host::monotonic};
use rumpuser::{Fetch, Instant};
use std::sync::{
    Condvar, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

/// The host's [`rumpuser::Event`].
///
/// No notification is lost: a waiter announces itself in `waiters` before it looks at `count` for the last time, and a notifier
/// advances `count` before it looks at `waiters`. In the one order of all sequentially consistent accesses, one of
/// the two sees the other.
///
/// A waiter has [`Patience`] before it sleeps.
#[derive(Debug, Default)]
pub(crate) struct Event {
    count: AtomicU64,
    waiters: AtomicUsize,
    patience: Patience,
    lock: Mutex<()>,
    wake: Condvar,
}

impl rumpuser::Event for Event {
    fn ticket(&self) -> u64 {
        self.count.load(SeqCst)
    }

    fn wait(&self, ticket: u64, deadline: Option<Instant>) -> bool {
        self.wait_fetching(ticket, deadline, &mut |_| ())
    }

    fn wait_fetching(
        &self,
        ticket: u64,
        deadline: Option<Instant>,
        fetch: &mut dyn FnMut(Fetch),
    ) -> bool {
        let came = || self.count.load(SeqCst) > ticket;
        if came() {
            return true;
        }
        let look = || {
            fetch(Fetch::Now);
            came()
        };
        if self.patience.look(deadline, look) {
            return true;
        }
        fetch(Fetch::NoMore);
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
