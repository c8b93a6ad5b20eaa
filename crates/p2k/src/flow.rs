//! Waiting awake while requests flow.
//!
//! To wake the server costs whoever asks more than most answers: ten microseconds and more in a virtual machine, when it is done on another processor. So
//! while many requests come the thread that takes them asks for the next one again and again rather than to sleep until it is there. It does so when
//! the device is not to block, which a thread of its own decides: it tries, and goes on only while more requests are answered that way. On a busy machine,
//! where all take turns on the same processors, they are not.

use rustix::{
    fd::OwnedFd,
    fs::{OFlags, fcntl_setfl},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// How long requests are counted, to see how many come.
const LOOK: Duration = Duration::from_millis(2);
/// Fewer than this in that time are not worth it: 5,000 in a second.
const FEW: u64 = 10;
/// One look in so many sees how it would be otherwise.
const AGAIN: u32 = 250;
/// How long not to try after it was of no use: the first time, and at most, twice as long each time.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Which requests look whether somebody counts them; a power of two.
const EACH: u64 = 32;

/// Counts requests.
#[derive(Default)]
pub(crate) struct Flow {
    requests: AtomicU64,
    /// The thread waits to be told that requests come.
    idle: AtomicBool,
    ended: AtomicBool,
    thread: std::sync::OnceLock<std::thread::Thread>,
}

impl Flow {
    /// A request has come.
    pub(crate) fn count(&self) {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        if before % EACH == EACH - 1
            && self.idle.load(Ordering::Relaxed)
            && self.idle.swap(false, Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Waits until some have come.
    fn wait(&self) {
        self.idle.store(true, Ordering::Relaxed);
        while self.idle.load(Ordering::Relaxed) && !self.ended() {
            std::thread::park();
        }
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Lets a device block or not, as more requests are answered, until the end.
    fn guide(&self, host: &impl Host) {
        let mut pause = PAUSE.0;
        while !self.ended() {
            let asleep = host.look(self);
            if asleep < FEW || !host.fair() {
                self.wait();
                continue;
            }
            host.block(false);
            let awake = host.look(self);
            let better = awake > asleep + asleep / 8;
            if better {
                pause = PAUSE.0;
                let mut looks = 0;
                while looks < AGAIN && host.fair() && host.look(self) >= FEW && !self.ended() {
                    looks += 1;
                }
            }
            host.block(true);
            if !better {
                host.rest(pause);
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// What deciding needs of the host.
trait Host {
    /// Whether threads are scheduled by turns: who is awake in real time gives the processor to nobody else.
    fn fair(&self) -> bool;
    /// How many requests come in the time of a look.
    fn look(&self, flow: &Flow) -> u64;
    /// Waits so long, or until the end.
    fn rest(&self, pause: Duration);
    /// Has the device block, or not.
    fn block(&self, block: bool);
}

impl Host for OwnedFd {
    fn fair(&self) -> bool {
        // SAFETY: gives a number; no memory is touched.
        unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
    }

    fn look(&self, flow: &Flow) -> u64 {
        let before = flow.requests.load(Ordering::Relaxed);
        std::thread::sleep(LOOK);
        flow.requests.load(Ordering::Relaxed) - before
    }

    fn rest(&self, pause: Duration) {
        std::thread::park_timeout(pause);
    }

    fn block(&self, block: bool) {
        let mut flags = OFlags::RDWR;
        flags.set(OFlags::NONBLOCK, !block);
        // A device that cannot be told blocks as before.
        let _ = fcntl_setfl(self, flags);
    }
}

/// The thread that decides.
pub(crate) struct Guide {
    flow: Arc<Flow>,
    thread: Option<JoinHandle<()>>,
}

impl Guide {
    /// Begins to decide for a device.
    ///
    /// # Errors
    /// The host has no room for a thread.
    pub(crate) fn start(flow: Arc<Flow>, device: OwnedFd) -> io::Result<Self> {
        let counted = flow.clone();
        let thread = Builder::new().name("p2k-flow".into()).spawn(move || {
            // Set before it is looked at: `count` finds it when it has seen that nobody looks.
            let _ = counted.thread.set(std::thread::current());
            counted.guide(&device);
        })?;
        let thread = Some(thread);
        Ok(Self { flow, thread })
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        self.flow.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // What it has told the device no longer counts.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EACH, Flow, Host, PAUSE};
    use std::{cell::RefCell, collections::VecDeque, time::Duration};

    /// A host where so many requests come while the device blocks and while it does not, for some looks.
    struct Played {
        fair: bool,
        asleep: u64,
        awake: u64,
        looks: RefCell<usize>,
        blocks: RefCell<Vec<bool>>,
        rests: RefCell<VecDeque<Duration>>,
    }

    impl Host for Played {
        fn fair(&self) -> bool {
            self.fair
        }

        fn look(&self, flow: &Flow) -> u64 {
            let mut looks = self.looks.borrow_mut();
            *looks = looks.saturating_sub(1);
            if *looks == 0 {
                flow.ended.store(true, super::Ordering::Relaxed);
            }
            match self.blocks.borrow().last() {
                Some(false) => self.awake,
                _ => self.asleep,
            }
        }

        fn rest(&self, pause: Duration) {
            self.rests.borrow_mut().push_back(pause);
        }

        fn block(&self, block: bool) {
            self.blocks.borrow_mut().push(block);
        }
    }

    /// How often the device was told not to block, and the pauses in between.
    fn play(asleep: u64, awake: u64, looks: usize) -> (usize, Vec<Duration>) {
        play_on(true, asleep, awake, looks)
    }

    fn play_on(fair: bool, asleep: u64, awake: u64, looks: usize) -> (usize, Vec<Duration>) {
        let host = Played {
            fair,
            asleep,
            awake,
            looks: RefCell::new(looks),
            blocks: RefCell::default(),
            rests: RefCell::default(),
        };
        Flow::default().guide(&host);
        let blocks = host.blocks.borrow();
        assert!(
            blocks.last().is_none_or(|&block| block),
            "blocks in the end"
        );
        let tries = blocks.iter().filter(|&&block| !block).count();
        (tries, host.rests.into_inner().into())
    }

    #[test]
    fn waits_awake_while_that_helps() {
        // Now and then it sees how it would be otherwise.
        let (tries, rests) = play(50, 80, 1000);
        assert!((3..=5).contains(&tries), "{tries}");
        assert!(rests.is_empty());
    }

    #[test]
    fn tries_less_and_less_often_where_it_does_not_help() {
        let (tries, rests) = play(80, 80, 20);
        assert_eq!(tries, 10);
        let doubled = |pair: &[Duration]| pair[1] == (pair[0] * 2).min(PAUSE.1);
        assert!(rests.windows(2).all(doubled));
        assert_eq!(rests.first(), Some(&PAUSE.0));
        assert_eq!(rests.last(), Some(&PAUSE.1));
    }

    #[test]
    fn few_requests_are_let_alone() {
        assert_eq!(play(9, 100, 1), (0, vec![]));
        assert_eq!(play_on(false, 50, 80, 1), (0, vec![]));
        let flow = Flow::default();
        flow.idle.store(true, super::Ordering::Relaxed);
        for _ in 1..EACH {
            flow.count();
        }
        assert!(flow.idle.load(super::Ordering::Relaxed));
        flow.count();
        assert!(!flow.idle.load(super::Ordering::Relaxed));
    }
}
