//! Waiting awake while requests flow.
//!
//! To wake the server costs whoever asks more than most answers: ten microseconds and more in a virtual machine, when it is done on another processor, and
//! as much to wake whoever asked. A thread of its own sees when many requests come, and does something about it.
//!
//! Who may has [idle processors stay awake](Wakeful). Then, or else, the thread that takes requests asks for the next one again and again rather than to sleep
//! until it is there, when the device is not to block. That takes a processor from others: it is tried, and goes on only while more requests are answered
//! that way. On a busy machine, where all take turns on the same processors, they are not.

use crate::wakeful::Wakeful;
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
/// Fewer in that time are no flow: 1,500 in a second.
const SCARCE: u64 = 3;
/// How many looks in a row see fewer before the flow has ended.
const QUIET: u32 = 5;
/// Fewer are not worth a processor: 5,000 in a second.
const FEW: u64 = 10;
/// One look in so many sees how it would be otherwise.
const AGAIN: u32 = 250;
/// For how many looks not to try after it was of no use, 50 ms to 5 s: the first time, and at most, twice as long each time.
const PAUSE: (u32, u32) = (25, 2500);
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

    /// Keeps processors awake while requests flow, and lets a device block or not, as more are answered, until the end.
    fn guide(&self, host: &impl Host) {
        let (mut kept, mut quiet) = (false, 0);
        let (mut pause, mut left) = (PAUSE.0, 0_u32);
        while !self.ended() {
            let asleep = host.look(self);
            if asleep < SCARCE {
                quiet += 1;
                if quiet == QUIET || !kept {
                    if std::mem::take(&mut kept) {
                        host.keep(false);
                    }
                    quiet = 0;
                    host.wait(self);
                }
                continue;
            }
            quiet = 0;
            if !kept {
                host.keep(true);
                kept = true;
                // It was another flow before.
                continue;
            }
            if left > 0 || asleep < FEW || !host.fair() {
                left = left.saturating_sub(1);
                continue;
            }
            match self.stay_awake(host, asleep) {
                true => pause = PAUSE.0,
                false => (left, pause) = (pause, (pause * 2).min(PAUSE.1)),
            }
        }
        host.keep(false);
    }

    /// Has the device not block while that is better than so many requests in a look; says whether it was.
    fn stay_awake(&self, host: &impl Host, asleep: u64) -> bool {
        host.block(false);
        let awake = host.look(self);
        let better = awake > asleep + asleep / 8;
        let mut looks = 0;
        while better && looks < AGAIN && host.fair() && host.look(self) >= FEW && !self.ended() {
            looks += 1;
        }
        host.block(true);
        better
    }
}

/// What deciding needs of the host.
trait Host {
    /// Whether threads are scheduled by turns: who is awake in real time gives the processor to nobody else.
    fn fair(&self) -> bool;
    /// How many requests come in the time of a look.
    fn look(&self, flow: &Flow) -> u64;
    /// Waits until some requests have come, or until the end.
    fn wait(&self, flow: &Flow);
    /// Has idle processors stay awake, or not.
    fn keep(&self, awake: bool);
    /// Has the device block, or not.
    fn block(&self, block: bool);
}

/// The host itself.
pub(crate) struct Means {
    /// `/dev/fuse`, where it is of use not to wait for it.
    pub(crate) device: Option<OwnedFd>,
    /// The right to have idle processors stay awake.
    pub(crate) wakeful: Option<Wakeful>,
}

impl Host for Means {
    fn fair(&self) -> bool {
        // SAFETY: gives a number; no memory is touched.
        self.device.is_some() && unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
    }

    fn look(&self, flow: &Flow) -> u64 {
        let before = flow.requests.load(Ordering::Relaxed);
        std::thread::sleep(LOOK);
        flow.requests.load(Ordering::Relaxed) - before
    }

    fn wait(&self, flow: &Flow) {
        flow.wait();
    }

    fn keep(&self, awake: bool) {
        if let Some(wakeful) = &self.wakeful {
            wakeful.keep(awake);
        }
    }

    fn block(&self, block: bool) {
        let mut flags = OFlags::RDWR;
        flags.set(OFlags::NONBLOCK, !block);
        // A device that cannot be told blocks as before.
        let _ = self
            .device
            .as_ref()
            .map(|device| fcntl_setfl(device, flags));
    }
}

/// The thread that decides.
pub(crate) struct Guide {
    flow: Arc<Flow>,
    thread: Option<JoinHandle<()>>,
}

impl Guide {
    /// Begins to decide.
    ///
    /// # Errors
    /// The host has no room for a thread.
    pub(crate) fn start(flow: Arc<Flow>, means: Means) -> io::Result<Self> {
        let counted = flow.clone();
        let thread = Builder::new().name("p2k-flow".into()).spawn(move || {
            // Set before it is looked at: `count` finds it when it has seen that nobody looks.
            let _ = counted.thread.set(std::thread::current());
            counted.guide(&means);
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
    use super::{EACH, Flow, Host};
    use std::cell::{Cell, RefCell};

    /// A host where so many requests come in each look, one after the other: while the device blocks, and while it does not.
    struct Played<'a> {
        fair: bool,
        flow: &'a [(u64, u64)],
        looks: Cell<usize>,
        blocks: RefCell<Vec<bool>>,
        keeps: RefCell<Vec<bool>>,
    }

    impl Host for Played<'_> {
        fn fair(&self) -> bool {
            self.fair
        }

        fn look(&self, flow: &Flow) -> u64 {
            let (asleep, awake) = self.flow[self.looks.get()];
            self.looks.set(self.looks.get() + 1);
            if self.looks.get() == self.flow.len() {
                flow.ended.store(true, super::Ordering::Relaxed);
            }
            match self.blocks.borrow().last() {
                Some(false) => awake,
                _ => asleep,
            }
        }

        fn wait(&self, _flow: &Flow) {}

        fn keep(&self, awake: bool) {
            self.keeps.borrow_mut().push(awake);
        }

        fn block(&self, block: bool) {
            self.blocks.borrow_mut().push(block);
        }
    }

    /// How often the device was told not to block, and what processors were told.
    fn play(fair: bool, flow: &[(u64, u64)]) -> (usize, Vec<bool>) {
        let host = Played {
            fair,
            flow,
            looks: Cell::new(0),
            blocks: RefCell::default(),
            keeps: RefCell::default(),
        };
        Flow::default().guide(&host);
        let blocks = host.blocks.borrow();
        assert!(
            blocks.last().is_none_or(|&block| block),
            "blocks in the end"
        );
        let tries = blocks.iter().filter(|&&block| !block).count();
        let mut keeps = host.keeps.into_inner();
        keeps.dedup();
        assert_eq!(keeps.last(), Some(&false), "asleep in the end");
        (tries, keeps)
    }

    #[test]
    fn waits_awake_while_that_helps() {
        // Now and then it sees how it would be otherwise.
        let (tries, keeps) = play(true, &[(50, 80); 1000]);
        assert!((3..=5).contains(&tries), "{tries}");
        assert_eq!(keeps, [true, false]);
    }

    #[test]
    fn tries_less_and_less_often_where_it_does_not_help() {
        // After 25, 50, 100, 200, 400, 800 looks.
        assert_eq!(play(true, &[(80, 80); 1000]).0, 6);
        assert_eq!(play(true, &[(80, 80); 2000]).0, 7);
    }

    #[test]
    fn few_requests_are_let_alone() {
        assert_eq!(play(true, &[(2, 100); 20]), (0, vec![false]));
        assert_eq!(play(true, &[(9, 100); 20]), (0, vec![true, false]));
        assert_eq!(play(false, &[(50, 80); 20]), (0, vec![true, false]));
        let flow = Flow::default();
        flow.idle.store(true, super::Ordering::Relaxed);
        for _ in 1..EACH {
            flow.count();
        }
        assert!(flow.idle.load(super::Ordering::Relaxed));
        flow.count();
        assert!(!flow.idle.load(super::Ordering::Relaxed));
    }

    #[test]
    fn processors_stay_awake_for_a_moment_without_requests() {
        let flow =
            |looks: &[u64]| play(false, &looks.iter().map(|&n| (n, n)).collect::<Vec<_>>()).1;
        assert_eq!(flow(&[50, 0, 0, 0, 0, 50, 0, 0, 0, 0, 50]), [true, false]);
        let again = [50, 0, 0, 0, 0, 0, 50, 50];
        assert_eq!(flow(&again), [true, false, true, false]);
    }
}
