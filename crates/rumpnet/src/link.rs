//! Links with faults: a device in front of another, whose frames take time, are lost, doubled, overtaken, damaged, marked.
//!
//! What is sent through a [`LossyLink`] suffers; what is received does not: for both ways each end has one ([`pair`]). A cable, a member of a
//! bus or a tap device may be behind it. Time is the host's, virtual or real, and the seed decides all the rest: with a
//! simulated host the same happens at every run. Through a link go frames as on a wire, with their sums and none above the MTU.

use crate::{
    MacAddr, Packet,
    interface::{Batch, Device, Features, Input, Link},
    wire,
};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc};
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use rumpuser::{Host, Instant, Result, Rng, Task, sync::Mutex};

mod damage;

/// Frames on their way at most; what is more is dropped and counted.
const FLYING: usize = 65_536;

/// How often something happens, in a million frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(pub u32);

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);

    /// In so many of a hundred.
    #[must_use]
    pub const fn percent(n: u32) -> Self {
        Self(n.saturating_mul(10_000))
    }

    /// In so many of a thousand.
    #[must_use]
    pub const fn per_mille(n: u32) -> Self {
        Self(n.saturating_mul(1_000))
    }

    fn happens(self, rng: &mut Rng) -> bool {
        self.0 > 0 && rng.below(1_000_000) < self.0.into()
    }
}

/// What a link does to the frames that are sent through it. The default does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impairment {
    /// How long every frame takes.
    pub delay: Duration,
    /// How much longer it takes at most, at random. Frames do not overtake each other for that.
    pub jitter: Duration,
    /// Bits per second, of whole frames; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that wait for the line at most when there is a rate; what does not fit is dropped.
    pub queue: u32,
    /// A frame is lost.
    pub loss: Chance,
    /// It comes twice.
    pub duplicate: Chance,
    /// It is held back, and others overtake it.
    pub reorder: Chance,
    /// How long at most.
    pub hold: Duration,
    /// One of its bits is another. Sums find that, except in ARP and in headers of Ethernet.
    pub corrupt: Chance,
    /// It is marked with congestion if its sender knows what that means (RFC 3168).
    pub mark: Chance,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            queue: 256 << 10,
            loss: Chance::NEVER,
            duplicate: Chance::NEVER,
            reorder: Chance::NEVER,
            hold: Duration::from_millis(10),
            corrupt: Chance::NEVER,
            mark: Chance::NEVER,
        }
    }
}

/// What has happened to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed to the link.
    pub taken: u64,
    /// Handed to the device behind it, doubles included.
    pub passed: u64,
    /// Lost by [`Impairment::loss`].
    pub lost: u64,
    /// Dropped because too many waited.
    pub overflowed: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Damaged.
    pub corrupted: u64,
    /// Marked.
    pub marked: u64,
}

/// A device in front of another.
pub struct LossyLink {
    shared: Arc<Shared>,
    task: Mutex<Option<Arc<dyn Task>>>,
}

struct Shared {
    host: Arc<dyn Host>,
    device: Arc<dyn Device>,
    state: Mutex<State>,
    /// A thread is sending what has arrived.
    sending: AtomicBool,
}

struct State {
    impairment: Impairment,
    rng: Rng,
    /// When the line is free.
    free: Instant,
    /// When the last frame arrives that was not held back.
    last: Instant,
    /// On their way, by when they arrive.
    flying: VecDeque<(Instant, Packet)>,
    arrived: Batch,
    counters: Counters,
}

impl LossyLink {
    /// Puts a link in front of a device.
    #[must_use]
    pub fn new(
        host: &Arc<dyn Host>,
        device: Arc<dyn Device>,
        impairment: Impairment,
        seed: u64,
    ) -> Arc<Self> {
        let state = State {
            impairment,
            rng: Rng::new(seed),
            free: Instant::default(),
            last: Instant::default(),
            flying: VecDeque::new(),
            arrived: Batch::new(),
            counters: Counters::default(),
        };
        Arc::new(Self {
            shared: Arc::new(Shared {
                host: host.clone(),
                device,
                state: Mutex::new(state),
                sending: AtomicBool::new(false),
            }),
            task: Mutex::default(),
        })
    }

    /// Has it behave otherwise from now on; frames that are on their way stay as they are.
    pub fn set(&self, impairment: Impairment) {
        self.shared.state.lock().impairment = impairment;
    }

    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.state.lock().counters
    }

    /// Frames that are on their way.
    #[must_use]
    pub fn flying(&self) -> usize {
        self.shared.state.lock().flying.len()
    }
}

/// Makes a cable between interfaces with these addresses, whose frames suffer in both directions: from the first to the second as
/// `there` says, and back as `back`.
#[must_use]
pub fn pair(
    host: &Arc<dyn Host>,
    (first, second): (MacAddr, MacAddr),
    mtu: u32,
    [there, back]: [Impairment; 2],
    seed: u64,
) -> (Arc<LossyLink>, Arc<LossyLink>) {
    let features = Features::empty();
    let (one, two) = wire::pair(first, second, wire::Config { mtu, features });
    let mut seeds = Rng::new(seed);
    (
        LossyLink::new(host, one, there, seeds.next_u64()),
        LossyLink::new(host, two, back, seeds.next_u64()),
    )
}

impl State {
    /// A frame begins its way.
    fn take(&mut self, mut frame: Packet, now: Instant) {
        let Impairment {
            delay,
            jitter,
            rate,
            queue,
            loss,
            duplicate,
            reorder,
            hold,
            corrupt,
            mark,
        } = self.impairment;
        self.counters.taken = self.counters.taken.wrapping_add(1);
        let departure = match rate {
            Some(rate) => match self.line(frame.len(), rate.max(1), queue, now) {
                Some(departure) => departure,
                None => return bump(&mut self.counters.overflowed),
            },
            None => now,
        };
        if loss.happens(&mut self.rng) {
            return bump(&mut self.counters.lost);
        }
        if mark.happens(&mut self.rng) && damage::mark(&mut frame) {
            bump(&mut self.counters.marked);
        }
        if corrupt.happens(&mut self.rng) && !frame.is_empty() {
            damage::flip(&mut frame, &mut self.rng);
            bump(&mut self.counters.corrupted);
        }
        let mut arrival = departure.after(delay).after(self.up_to(jitter));
        arrival = arrival.max(self.last);
        self.last = arrival;
        if duplicate.happens(&mut self.rng) {
            bump(&mut self.counters.duplicated);
            self.fly(arrival, frame.clone());
        }
        if reorder.happens(&mut self.rng) {
            bump(&mut self.counters.reordered);
            arrival = arrival.after(self.up_to(hold));
        }
        self.fly(arrival, frame);
    }

    /// When a frame has left by a line of so many bits per second.
    fn line(&mut self, len: usize, rate: u64, queue: u32, now: Instant) -> Option<Instant> {
        let bits = |len: usize| u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(8);
        let start = self.free.max(now);
        let waiting = start.since(now).as_nanos().saturating_mul(rate.into());
        if waiting.checked_div(8_000_000_000)? > queue.into() {
            return None;
        }
        let nanos = u128::from(bits(len)).saturating_mul(1_000_000_000);
        let nanos = nanos.checked_div(rate.into())?;
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free = start.after(time);
        Some(self.free)
    }

    /// A time up to `most`, at random.
    fn up_to(&mut self, most: Duration) -> Duration {
        match u64::try_from(most.as_nanos()).unwrap_or(u64::MAX) {
            0 => Duration::ZERO,
            most => Duration::from_nanos(self.rng.below(most)),
        }
    }

    fn fly(&mut self, arrival: Instant, frame: Packet) {
        if self.flying.len() >= FLYING {
            return bump(&mut self.counters.overflowed);
        }
        let at = self.flying.partition_point(|(other, _)| *other <= arrival);
        self.flying.insert(at, (arrival, frame));
    }

    /// Frames whose time has come have arrived; when the next one does.
    fn land(&mut self, now: Instant) -> Option<Instant> {
        while let Some((arrival, _)) = self.flying.front() {
            if *arrival > now {
                return Some(*arrival);
            }
            if let Some((_, frame)) = self.flying.pop_front() {
                bump(&mut self.counters.passed);
                self.arrived.push_back(frame);
            }
        }
        None
    }
}

impl Shared {
    /// Sends what has arrived, one thread at a time; what comes meanwhile is left to it.
    fn deliver(&self) {
        let mut frames = Batch::new();
        loop {
            if self.state.lock().arrived.is_empty() || self.sending.swap(true, Ordering::Acquire) {
                return;
            }
            loop {
                core::mem::swap(&mut self.state.lock().arrived, &mut frames);
                if frames.is_empty() {
                    break;
                }
                self.device.transmit(&mut frames);
                frames.clear();
            }
            self.sending.store(false, Ordering::Release);
        }
    }

    /// A step of the task.
    fn step(&self) -> Option<Instant> {
        let now = self.host.monotonic();
        let next = self.state.lock().land(now);
        self.deliver();
        next
    }
}

impl Device for LossyLink {
    fn link(&self) -> Link {
        self.shared.device.link()
    }

    fn mtu(&self) -> u32 {
        self.shared.device.mtu()
    }

    fn start(&self, input: Input) -> Result<()> {
        self.shared.device.start(input)?;
        let shared = self.shared.clone();
        let task = self
            .shared
            .host
            .task("link", Box::new(move || shared.step()));
        let task = task.inspect_err(|_| self.shared.device.stop())?;
        *self.task.lock() = Some(task);
        Ok(())
    }

    fn stop(&self) {
        self.shared.device.stop();
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.stop();
        }
        let mut state = self.shared.state.lock();
        let flying = core::mem::take(&mut state.flying);
        drop(state);
        drop(flying);
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        let now = self.shared.host.monotonic();
        let mut state = self.shared.state.lock();
        let before = state.flying.front().map(|(arrival, _)| *arrival);
        for frame in frames.drain(..) {
            state.take(frame, now);
        }
        let next = state.land(now);
        drop(state);
        self.shared.deliver();
        if next.is_some_and(|next| before.is_none_or(|before| next < before))
            && let Some(task) = &*self.task.lock()
        {
            task.notify();
        }
        // What a link loses is not what the interface dropped.
        0
    }

    fn link_up(&self) -> bool {
        self.shared.device.link_up()
    }
}

fn bump(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

#[cfg(test)]
mod tests;
