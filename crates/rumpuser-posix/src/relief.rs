//! A device's thread, relieved by those who wait for what it brings.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::Duration,
};

/// How long the device's thread sleeps while others fetch what comes. While they do something else, what comes waits for no longer.
const NAP: Duration = Duration::from_micros(200);

/// Threads that wait for something fetch it themselves, without the device's own thread in between, which somebody would have to wake.
/// That thread naps meanwhile.
///
/// It is not overlooked: who goes to sleep says so after having said that it fetches, and the device's thread says that it naps before it
/// looks whether anybody fetches.
#[derive(Debug, Default)]
pub struct Relief {
    /// Somebody has fetched since this was cleared.
    fetched: AtomicBool,
    /// Somebody who fetched has gone to sleep since this was cleared.
    left: AtomicBool,
    napping: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Relief {
    /// Says that the caller fetches.
    pub fn fetching(&self) {
        // All who look say so at every look.
        if !self.fetched.load(SeqCst) {
            self.fetched.store(true, SeqCst);
        }
    }

    /// Says that the caller does not any more. Others may.
    pub fn leave(&self) {
        self.left.store(true, SeqCst);
        self.fetched.store(false, SeqCst);
        self.rouse();
    }

    /// Whether somebody has fetched since the device's thread last looked.
    #[must_use]
    pub fn is_fetched(&self) -> bool {
        self.fetched.load(SeqCst)
    }

    /// Whether somebody has gone to sleep since this was asked last, who needs the processor when something comes.
    pub fn has_left(&self) -> bool {
        self.left.swap(false, SeqCst)
    }

    /// Ends a nap. Whether there was one: then the device's thread is about to look for work.
    pub fn rouse(&self) -> bool {
        if self.napping.swap(false, SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
            return true;
        }
        false
    }

    /// For the device's thread: naps if somebody has fetched since the last time. Whether that was so.
    pub fn nap(&self) -> bool {
        self.thread.get_or_init(thread::current);
        self.napping.store(true, SeqCst);
        let relieved = self.fetched.swap(false, SeqCst);
        if relieved {
            thread::park_timeout(NAP);
        }
        self.napping.store(false, SeqCst);
        relieved
    }
}

#[cfg(test)]
mod tests {
    use super::Relief;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        thread,
    };

    #[test]
    fn naps_while_others_fetch() {
        let relief = Arc::new(Relief::default());
        assert!(!relief.nap());
        relief.fetching();
        assert!(relief.is_fetched());
        assert!(relief.nap());
        assert!(!relief.nap());
        relief.fetching();
        relief.leave();
        assert!(!relief.nap());
        assert!(relief.has_left());
        assert!(!relief.has_left());
    }

    #[test]
    fn who_sleeps_is_not_overlooked() {
        let (relief, naps) = (Arc::new(Relief::default()), Arc::new(AtomicU32::new(0)));
        let (other, napped) = (relief.clone(), naps.clone());
        let thread = thread::spawn(move || {
            while !other.is_fetched() {
                thread::yield_now();
            }
            while other.nap() {
                napped.fetch_add(1, SeqCst);
            }
        });
        // The thread may not have looked yet.
        while naps.load(SeqCst) == 0 {
            relief.fetching();
            thread::yield_now();
        }
        for _ in 0..1_000 {
            relief.fetching();
            thread::yield_now();
        }
        relief.leave();
        thread.join().unwrap();
    }
}
