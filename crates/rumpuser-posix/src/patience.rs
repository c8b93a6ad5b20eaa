//! Looking for a moment before one sleeps.

use crate::host::monotonic;
use rumpuser::Instant;
use std::{
    hint,
    sync::{
        LazyLock,
        atomic::{AtomicI32, Ordering::Relaxed},
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

/// How much a waiter looks for what it waits for before it lets the host put it to sleep: as long as that was worth it. Two threads that
/// answer each other at once do so ten times as often as through the host's scheduler, and where waits are long nobody burns a
/// processor.
#[derive(Debug, Default)]
pub struct Patience {
    /// From 0 to [`TRUST`]: looking is worth it. Below: so many waits sleep at once, until one tries again.
    short: AtomicI32,
}

impl Patience {
    /// Looks for at most 50 microseconds; whether it came. With a deadline that is near it does not look: it would be missed.
    pub fn look(&self, deadline: Option<Instant>, mut came: impl FnMut() -> bool) -> bool {
        let short = self.short.load(Relaxed);
        if short < 0 {
            self.short.store(short + 1, Relaxed);
            return false;
        }
        if !*PARALLEL || deadline.is_some_and(|deadline| deadline.since(monotonic()) <= SPIN) {
            return false;
        }
        let start = HostInstant::now();
        while start.elapsed() < SPIN {
            for _ in 0..LOOKS {
                if came() {
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
