//! Waiting awake while requests flow.
//!
//! To wake the server costs whoever asks more than most answers: ten microseconds and more in a virtual machine, when it is done on another processor, and
//! as much to wake whoever asked. A thread of its own sees when many requests come, and does something about it.
//!
//! Who may has [idle processors stay awake](Wakeful). Then, or else, the thread that takes requests asks for the next one again and again rather than to sleep
//! until it is there, when the device is not to block. That takes a processor from others: it is tried, and goes on only while more requests are answered
//! that way. On a busy machine, where all take turns on the same processors, they are not. A little more is enough while nobody else wants the processor.

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
    time::{Duration, Instant},
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
/// Looks each way, in turns, of which it is decided: what is asked for differs from one to the next.
const PAIRS: u32 = 6;
/// How much more is to be answered, a part of what else is: where others want the processor, and where nobody does.
const MORE: (u64, u64) = (8, 32);
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
            let asleep = host.look(self).requests;
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
            match self.stay_awake(host) {
                true => pause = PAUSE.0,
                false => (left, pause) = (pause, (pause * 2).min(PAUSE.1)),
            }
        }
        host.keep(false);
    }

    /// Has the device not block while that is better; says whether it was.
    fn stay_awake(&self, host: &impl Host) -> bool {
        if !self.better_awake(host) {
            return false;
        }
        host.block(false);
        // Others who come to want the processor have it decided anew.
        let (mut looks, mut shared) = (0, 0);
        while looks < AGAIN && shared < QUIET && host.fair() && !self.ended() {
            let look = host.look(self);
            if look.requests < FEW {
                break;
            }
            shared = if look.whole { 0 } else { shared + 1 };
            looks += 1;
        }
        host.block(true);
        true
    }

    /// Whether more is answered while the device does not block.
    fn better_awake(&self, host: &impl Host) -> bool {
        let (mut asleep, mut awake, mut whole) = (0, 0, 0);
        for _ in 0..PAIRS {
            if self.ended() {
                return false;
            }
            asleep += host.look(self).requests;
            host.block(false);
            let look = host.look(self);
            host.block(true);
            awake += look.requests;
            whole += u32::from(look.whole);
        }
        let part = if whole + 1 >= PAIRS { MORE.1 } else { MORE.0 };
        awake > asleep + asleep / part
    }
}

/// What was seen in the time of a look.
#[derive(Clone, Copy)]
struct Look {
    requests: u64,
    /// The server worked or waited awake all the time, as far as can be told: nobody else wanted its processor.
    whole: bool,
}

/// What deciding needs of the host.
trait Host {
    /// Whether threads are scheduled by turns: who is awake in real time gives the processor to nobody else.
    fn fair(&self) -> bool;
    /// What comes in the time of a look.
    fn look(&self, flow: &Flow) -> Look;
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

/// What the threads of this process have had of processors up to now. Nothing where the host does not tell.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a value of the type that is written, and lives until this returns.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    let seconds = time.tv_sec.try_into().unwrap_or(0);
    Duration::new(seconds, time.tv_nsec.try_into().unwrap_or(0))
}

impl Host for Means {
    fn fair(&self) -> bool {
        // SAFETY: gives a number; no memory is touched.
        self.device.is_some() && unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
    }

    fn look(&self, flow: &Flow) -> Look {
        let before = flow.requests.load(Ordering::Relaxed);
        let (start, used) = (Instant::now(), processor_time());
        std::thread::sleep(LOOK);
        let used = processor_time().saturating_sub(used);
        Look {
            requests: flow.requests.load(Ordering::Relaxed) - before,
            whole: used >= start.elapsed() * 7 / 8,
        }
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
    use super::{AGAIN, EACH, Flow, Host, Look, PAIRS, QUIET};
    use std::cell::{Cell, RefCell};

    /// A host where so many requests come in each look, one after the other: while the device blocks, and while it does not.
    #[derive(Default)]
    struct Played<'a> {
        fair: bool,
        /// Nobody else wants the processor.
        whole: bool,
        flow: &'a [(u64, u64)],
        looks: Cell<usize>,
        awake: Cell<u32>,
        blocks: RefCell<Vec<bool>>,
        keeps: RefCell<Vec<bool>>,
    }

    impl<'a> Played<'a> {
        fn of(flow: &'a [(u64, u64)]) -> Self {
            Self {
                fair: true,
                flow,
                ..Self::default()
            }
        }

        /// How many looks saw the device not block, and what processors were told.
        fn play(self) -> (u32, Vec<bool>) {
            Flow::default().guide(&self);
            let blocks = self.blocks.borrow();
            assert!(
                blocks.last().is_none_or(|&block| block),
                "blocks in the end"
            );
            let mut keeps = self.keeps.into_inner();
            keeps.dedup();
            assert_eq!(keeps.last(), Some(&false), "asleep in the end");
            (self.awake.get(), keeps)
        }
    }

    impl Host for Played<'_> {
        fn fair(&self) -> bool {
            self.fair
        }

        fn look(&self, flow: &Flow) -> Look {
            let (asleep, awake) = self.flow[self.looks.get()];
            self.looks.set(self.looks.get() + 1);
            if self.looks.get() == self.flow.len() {
                flow.ended.store(true, super::Ordering::Relaxed);
            }
            match self.blocks.borrow().last() {
                Some(false) => {
                    self.awake.set(self.awake.get() + 1);
                    Look {
                        requests: awake,
                        whole: self.whole,
                    }
                }
                _ => Look {
                    requests: asleep,
                    whole: false,
                },
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

    #[test]
    fn waits_awake_while_that_helps() {
        // Others want the processor, but are asked for more by an eighth and a little; now and then it sees how it would be otherwise.
        let (awake, keeps) = Played::of(&[(80, 91); 1000]).play();
        assert_eq!(keeps, [true, false]);
        let tries = 1000 / (1 + 2 * PAIRS + QUIET);
        assert!(awake.abs_diff(tries * (PAIRS + QUIET)) < 20, "{awake}");
    }

    #[test]
    fn a_little_is_enough_where_nobody_else_wants_the_processor() {
        let alone = |flow: &[_]| {
            let host = Played::of(flow);
            Played {
                whole: true,
                ..host
            }
            .play()
            .0
        };
        let awake = alone(&[(80, 83); 1000]);
        assert!(awake > 3 * AGAIN, "{awake}");
        let awake = alone(&[(80, 82); 1000]);
        assert_eq!(awake, 6 * PAIRS);
    }

    #[test]
    fn one_large_file_does_not_decide() {
        // Every other look of those asleep is at one.
        let mut flow = vec![(80, 100); 1000];
        flow[2].0 = 20;
        flow[4].1 = 20;
        let host = Played::of(&flow);
        let (awake, _) = Played {
            whole: true,
            ..host
        }
        .play();
        assert!(awake > 3 * AGAIN, "{awake}");
    }

    #[test]
    fn tries_less_and_less_often_where_it_does_not_help() {
        // After 25, 50, 100, 200, 400, 800 looks.
        assert_eq!(Played::of(&[(80, 90); 1000]).play().0, 6 * PAIRS);
        assert_eq!(Played::of(&[(80, 80); 2000]).play().0, 7 * PAIRS);
    }

    #[test]
    fn few_requests_are_let_alone() {
        assert_eq!(Played::of(&[(2, 100); 20]).play(), (0, vec![false]));
        assert_eq!(Played::of(&[(9, 100); 20]).play(), (0, vec![true, false]));
        let unfair = Played {
            flow: &[(50, 80); 20],
            ..Played::default()
        };
        assert_eq!(unfair.play(), (0, vec![true, false]));
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
        let flow = |looks: &[u64]| {
            let looks: Vec<_> = looks.iter().map(|&n| (n, n)).collect();
            let host = Played {
                flow: &looks,
                ..Played::default()
            };
            host.play().1
        };
        assert_eq!(flow(&[50, 0, 0, 0, 0, 50, 0, 0, 0, 0, 50]), [true, false]);
        let again = [50, 0, 0, 0, 0, 0, 50, 50];
        assert_eq!(flow(&again), [true, false, true, false]);
    }
}
