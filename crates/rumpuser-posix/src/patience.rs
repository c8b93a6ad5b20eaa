//! Looking for a moment before one sleeps.

use crate::host::monotonic;
use rumpuser::Instant;
use std::{
    hint,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant as HostInstant},
};

/// How long a waiter looks before it sleeps. To be put to sleep and woken takes about as long.
const SPIN: Duration = Duration::from_micros(50);
/// Looks between two at the clock.
const LOOKS: u32 = 32;
/// Looks in vain, one after the other, that are forgiven: others may have had the processor.
const TRUST: u32 = 3;
/// So many waits sleep at once, at most, until one looks again: one after the next vain look, then twice as many after each.
const PAUSE: u32 = 64;

/// Whether whoever notifies can run while somebody looks.
static PARALLEL: LazyLock<bool> =
    LazyLock::new(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1));

/// How much a waiter looks for what it waits for before it lets the host put it to sleep: as long as that was worth it. Two threads that
/// answer each other at once do so ten times as often as through the host's scheduler, and where waits are long nobody burns a
/// processor.
#[derive(Debug, Default)]
pub struct Patience {
    /// Looks in vain, one after the other, and in the lower half waits that are to sleep at once. Threads that wait for the same may lose a
    /// count to each other.
    state: AtomicU32,
}

impl Patience {
    /// Looks for at most 50 microseconds; whether it came. With a deadline that is near it does not look: it would be missed.
    pub fn look(&self, deadline: Option<Instant>, mut came: impl FnMut() -> bool) -> bool {
        let state = self.state.load(Relaxed);
        let (vain, left) = (state >> 16, state & 0xffff);
        if left > 0 {
            self.state.store(state - 1, Relaxed);
            return false;
        }
        if !*PARALLEL || deadline.is_some_and(|deadline| deadline.since(monotonic()) <= SPIN) {
            return false;
        }
        if looked(&mut came) {
            if vain > 0 {
                self.state.store(0, Relaxed);
            }
            return true;
        }
        let pause = match vain.checked_sub(TRUST) {
            None => 0,
            Some(over) => PAUSE.min(1 << over.min(16)),
        };
        self.state
            .store((vain + 1).min(0xff) << 16 | pause, Relaxed);
        false
    }
}

/// Whether it came while this looked.
fn looked(came: &mut impl FnMut() -> bool) -> bool {
    let start = HostInstant::now();
    let mut turn = false;
    loop {
        // Looked at last, as others may have had the processor since.
        let over = start.elapsed() >= SPIN;
        for _ in 0..LOOKS {
            if came() {
                return true;
            }
            hint::spin_loop();
        }
        if over {
            return false;
        }
        // Who brings it may wait for this processor.
        if turn {
            thread::yield_now();
        }
        turn = !turn;
    }
}
