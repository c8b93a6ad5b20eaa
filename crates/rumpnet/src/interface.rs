//! Interfaces: what frames go out of and come in by.

use crate::{
    MacAddr, Packet,
    capture::{Taps, Way},
    join::join,
    offload,
};
use alloc::{
    collections::VecDeque,
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    mem,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
};
use rumpuser::{Errno, Instant, Result, sync::Mutex};

/// Packets in a row.
pub type Batch = VecDeque<Packet>;

/// Frames that wait for an interface at most; what is more is dropped and counted.
const QUEUE: usize = 4_096;

/// What an interface connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet, where it has this address. Packets have Ethernet headers.
    Ethernet(MacAddr),
    /// This host alone. Packets begin with the IP header.
    Loopback,
    /// One other host. Packets begin with the IP header.
    Point,
}

impl Link {
    /// Bytes in front of the IP header.
    const fn header(self) -> usize {
        match self {
            Self::Ethernet(_) => crate::ethernet::HEADER,
            Self::Loopback | Self::Point => 0,
        }
    }
}

bitflags::bitflags! {
    /// What an interface does for the stack.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features: u32 {
        /// Takes packets whose transport checksum is [`Partial`](crate::packet::Checksum::Partial).
        const CHECKSUM = 1;
        /// Takes TCP packets larger than its MTU (`Meta::segment`), over IPv4 and IPv6.
        const LARGE = 2;
        /// Takes packets of UDP larger than its MTU, which stand for several datagrams (`Meta::datagrams`), over IPv4 and IPv6.
        const LARGE_UDP = 4;
    }
}

/// That somebody has looked at a clock, and has done nothing since but send what he had to. Whoever gets his frames on the same thread takes the
/// time from it and does not look again. Who answers frames does not pass it on: a round trip would take no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What it said.
    pub at: Instant,
    /// Which clock it was ([`Clock::clock`](rumpuser::Clock::clock)).
    pub clock: u32,
}

/// A device under an interface. The stack calls it from any thread, but transmits from one at a time.
pub trait Device: Send + Sync + 'static {
    /// What it connects to.
    fn link(&self) -> Link;

    /// Largest packet in bytes, without the link's header.
    fn mtu(&self) -> u32;

    /// What it does for the stack.
    fn features(&self) -> Features {
        Features::empty()
    }

    /// From now on frames that come in go to `input`.
    ///
    /// # Errors
    /// `EBUSY` when it is attached already; what the host says.
    fn start(&self, input: Input) -> Result<()>;

    /// From now on none come in.
    fn stop(&self);

    /// Sends frames, and empties the batch. What cannot be sent is lost; returns how many frames were.
    fn transmit(&self, frames: &mut Batch) -> usize;

    /// The same for a device that hands frames over at once, on this thread, and the look at the clock with them.
    fn transmit_at(&self, frames: &mut Batch, _look: Option<Look>) -> usize {
        self.transmit(frames)
    }

    /// Whether [`poll`](Self::poll) does something.
    fn polls(&self) -> bool {
        false
    }

    /// Hands the stack what has come, on this thread and not on one of the device's own: for a thread that waits for it anyway. No lock may be
    /// held. A device whose frames are to be looked for would otherwise have to wake that thread by another one.
    fn poll(&self) {}

    /// Who [polled](Self::poll) goes to sleep: the device's own thread is to see to what comes.
    fn leave(&self) {}

    /// Whether a frame would reach anybody.
    fn link_up(&self) -> bool {
        true
    }
}

/// What receives the frames of an interface: a protocol stack, a bridge.
pub trait Upper: Send + Sync {
    /// Takes frames, and empties the batch. Called by any thread, with no lock held.
    fn input(&self, interface: &Arc<Ifnet>, frames: &mut Batch);

    /// The same with a look at the clock, from which it may take the time.
    fn input_at(&self, interface: &Arc<Ifnet>, frames: &mut Batch, _look: Option<Look>) {
        self.input(interface, frames);
    }
}

/// Where a device puts the frames that it receives.
#[derive(Clone)]
pub struct Input(Weak<Ifnet>);

impl Input {
    /// Hands frames to the stack, and empties the batch.
    pub fn receive(&self, frames: &mut Batch) {
        match self.0.upgrade() {
            Some(interface) => interface.input(frames),
            None => frames.clear(),
        }
    }
}

impl Input {
    /// For a device that hands frames over in one place at a time. `None`: the interface is gone.
    #[must_use]
    pub fn receiver(&self) -> Option<Receiver> {
        let ifnet = self.0.upgrade()?;
        let lane = Arc::<Lane>::default();
        let mut inward = ifnet.inward.lock();
        inward.lanes.push(lane.clone());
        let upper = inward.upper.clone();
        let changes = ifnet.upper_changes.load(Ordering::Acquire);
        drop(inward);
        Some(Receiver {
            ifnet,
            upper,
            changes,
            lane,
        })
    }
}

/// As [`Input`], and remembers what that looks for each time. It keeps the interface: to be dropped when the device is stopped.
pub struct Receiver {
    ifnet: Arc<Ifnet>,
    upper: Option<Arc<dyn Upper>>,
    /// How often who receives had changed.
    changes: u64,
    lane: Arc<Lane>,
}

impl Receiver {
    /// Hands frames to the stack, and empties the batch.
    pub fn receive(&mut self, frames: &mut Batch) {
        self.receive_at(frames, None);
    }

    /// The same with the look at the clock of who sends them now.
    pub fn receive_at(&mut self, frames: &mut Batch, look: Option<Look>) {
        let changes = self.ifnet.upper_changes.load(Ordering::Acquire);
        if self.changes != changes {
            let upper = self.ifnet.inward.lock().upper.clone();
            (self.changes, self.upper) = (changes, upper);
        }
        self.lane.add(frames);
        self.ifnet.hand_up(self.upper.as_ref(), frames, look);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut inward = self.ifnet.inward.lock();
        inward.lanes.retain(|lane| !Arc::ptr_eq(lane, &self.lane));
        let count = self.lane.count();
        inward.count.add_count(count);
    }
}

/// What one at a time counts, and writes without asking others.
#[derive(Default)]
struct Lane {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Lane {
    #[inline]
    fn add(&self, frames: &Batch) {
        let mut count = self.count();
        count.add(frames);
        self.packets.store(count.packets, Ordering::Relaxed);
        self.bytes.store(count.bytes, Ordering::Relaxed);
    }

    fn count(&self) -> Count {
        Count {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Counters of an interface, since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub in_packets: u64,
    /// Bytes in them.
    pub in_bytes: u64,
    /// Frames dropped on their way in.
    pub in_dropped: u64,
    /// Frames sent.
    pub out_packets: u64,
    /// Bytes in them.
    pub out_bytes: u64,
    /// Frames dropped on their way out.
    pub out_dropped: u64,
}

/// Frames and bytes of one way.
#[derive(Clone, Copy, Default)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Count {
    #[inline]
    fn add(&mut self, frames: &Batch) {
        let bytes: usize = match frames.len() {
            1 => frames.front().map_or(0, Packet::len),
            _ => frames.iter().map(Packet::len).sum(),
        };
        self.packets = self.packets.wrapping_add(frames.len() as u64);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    fn add_count(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// The way in.
struct Inward {
    upper: Option<Arc<dyn Upper>>,
    /// Without what receivers count.
    count: Count,
    lanes: Vec<Arc<Lane>>,
}

/// Some thread has the [`Turn`].
const TAKEN: u8 = 1;
/// Frames wait in the queue.
const QUEUED: u8 = 2;

/// The way out. Who finds nobody there needs no lock.
#[derive(Default)]
struct Outward {
    /// [`TAKEN`] and [`QUEUED`]; the latter is changed with the queue locked.
    state: AtomicU8,
    queue: Mutex<Batch>,
    /// Written by who has the turn.
    lane: Lane,
}

impl Outward {
    /// The turn if nobody has it and no frames wait.
    fn take(&self) -> bool {
        let taken = self
            .state
            .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Ends a turn, unless frames wait.
    fn end(&self) -> bool {
        let ended = self
            .state
            .compare_exchange(TAKEN, 0, Ordering::Release, Ordering::Relaxed);
        ended.is_ok()
    }

    /// Exchanges the frames that wait for those of an empty batch. For who has the turn.
    fn fetch(&self, frames: &mut Batch) {
        let mut queue = self.queue.lock();
        mem::swap(&mut *queue, frames);
        self.state.fetch_and(!QUEUED, Ordering::AcqRel);
    }
}

/// A thread's turn to send what it has, and what others put into the queue meanwhile. There is one at a time, so that frames keep their order,
/// and a frame that is answered on the same thread does not go round and round on its stack.
#[must_use = "frames wait for it"]
pub struct Turn {
    ifnet: Arc<Ifnet>,
    frames: Batch,
    look: Option<Look>,
    over: bool,
}

impl Turn {
    /// Sends. No lock may be held.
    pub fn send(mut self) {
        let Self {
            ifnet,
            frames,
            look,
            over,
        } = &mut self;
        loop {
            ifnet.taps.see(frames, Way::Out);
            let lost = ifnet.device.transmit_at(frames, look.take());
            if lost > 0 {
                ifnet.lose(&ifnet.lost_out, lost);
            }
            frames.clear();
            if ifnet.outward.end() {
                *over = true;
                return;
            }
            ifnet.outward.fetch(frames);
            ifnet.outward.lane.add(frames);
        }
    }
}

impl Drop for Turn {
    /// After a panic of the device: the next one has its turn.
    fn drop(&mut self) {
        if !self.over {
            let state = &self.ifnet.outward.state;
            state.fetch_and(!TAKEN, Ordering::Release);
        }
    }
}

/// An interface of a kernel.
pub struct Ifnet {
    index: u32,
    name: String,
    device: Arc<dyn Device>,
    link: Link,
    features: Features,
    mtu: AtomicU32,
    up: AtomicBool,
    inward: Mutex<Inward>,
    /// How often who receives has changed; written with that locked.
    upper_changes: AtomicU64,
    outward: Outward,
    /// Frames dropped.
    lost_in: AtomicU64,
    lost_out: AtomicU64,
    taps: Taps,
}

impl Ifnet {
    pub(crate) fn new(
        index: u32,
        name: String,
        device: Arc<dyn Device>,
        upper: Option<Arc<dyn Upper>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            index,
            name,
            link: device.link(),
            features: device.features(),
            mtu: AtomicU32::new(device.mtu()),
            device,
            up: AtomicBool::new(false),
            inward: Mutex::new(Inward {
                upper,
                count: Count::default(),
                lanes: Vec::new(),
            }),
            upper_changes: AtomicU64::new(0),
            outward: Outward::default(),
            lost_in: AtomicU64::new(0),
            lost_out: AtomicU64::new(0),
            taps: Taps::default(),
        })
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it connects to.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// Its address on an Ethernet.
    #[must_use]
    pub const fn mac(&self) -> Option<MacAddr> {
        match self.link {
            Link::Ethernet(mac) => Some(mac),
            Link::Loopback | Link::Point => None,
        }
    }

    /// What it does for the stack.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Largest packet in bytes, without the link's header.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Sets the MTU.
    ///
    /// # Errors
    /// `EINVAL` below 68, which IPv4 needs (RFC 791), and above what the device takes.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        if mtu < 68 || mtu > self.device.mtu() {
            return Err(Errno::EINVAL);
        }
        self.mtu.store(mtu, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Sets it up or down. Down, it drops what comes from both sides.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    /// Whether it is up and a frame would reach anybody.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.is_up() && self.device.link_up()
    }

    /// Whether [`poll`](Self::poll) does something.
    #[must_use]
    pub fn polls(&self) -> bool {
        self.device.polls()
    }

    /// Has the device hand over what has come, on this thread ([`Device::poll`]).
    pub fn poll(&self) {
        self.device.poll();
    }

    /// Leaves that to the device again ([`Device::leave`]).
    pub fn leave(&self) {
        self.device.leave();
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let inward = self.inward.lock();
        let mut received = inward.count;
        let lanes = inward.lanes.iter();
        lanes.for_each(|lane| received.add_count(lane.count()));
        drop(inward);
        let sent = self.outward.lane.count();
        Counters {
            in_packets: received.packets,
            in_bytes: received.bytes,
            in_dropped: self.lost_in.load(Ordering::Relaxed),
            out_packets: sent.packets,
            out_bytes: sent.bytes,
            out_dropped: self.lost_out.load(Ordering::Relaxed),
        }
    }

    /// Who captures its frames.
    #[must_use]
    pub const fn taps(&self) -> &Taps {
        &self.taps
    }

    /// Has somebody else receive its frames, such as a bridge; returns who did.
    pub fn set_upper(&self, upper: Option<Arc<dyn Upper>>) -> Option<Arc<dyn Upper>> {
        let mut inward = self.inward.lock();
        self.upper_changes.fetch_add(1, Ordering::Release);
        mem::replace(&mut inward.upper, upper)
    }

    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        self.device.start(Input(Arc::downgrade(self)))
    }

    pub(crate) fn stop(&self) {
        self.set_up(false);
        self.device.stop();
        drop(self.set_upper(None));
        let mut left = Batch::new();
        self.outward.fetch(&mut left);
    }

    fn lose(&self, counter: &AtomicU64, frames: usize) {
        counter.fetch_add(frames as u64, Ordering::Relaxed);
    }

    /// Puts a frame into a batch as the device takes it: what is left to the device and it does not do is done here.
    #[inline]
    pub fn prepare(&self, frame: Packet, frames: &mut Batch) {
        if frames.len() >= QUEUE {
            self.lose(&self.lost_out, 1);
        } else if offload::fits(&frame, self.features) {
            frames.push_back(frame);
        } else if offload::fit(frame, self.link.header(), self.features, frames).is_none() {
            self.lose(&self.lost_out, 1);
        }
    }

    /// Puts frames that are [prepared](Self::prepare) behind those that wait, and empties the batch. If no thread is sending, it is the
    /// caller's turn; else the one that is sends these as well. This may be called with a lock held. `look`: that of the caller, if he has only
    /// sent since.
    pub fn turn(self: &Arc<Self>, frames: &mut Batch, mut look: Option<Look>) -> Option<Turn> {
        let out = &self.outward;
        if out.take() {
            self.admit(0, frames);
            if frames.is_empty() {
                if out.end() {
                    return None;
                }
                // Somebody has put some into the queue meanwhile.
                look = None;
                out.fetch(frames);
            }
        } else {
            let mut queue = out.queue.lock();
            self.admit(queue.len(), frames);
            queue.append(frames);
            if queue.is_empty() {
                return None;
            }
            let before = out.state.fetch_or(TAKEN | QUEUED, Ordering::AcqRel);
            drop(queue);
            if before & TAKEN != 0 {
                return None;
            }
            look = None;
            out.fetch(frames);
        }
        out.lane.add(frames);
        Some(Turn {
            ifnet: self.clone(),
            frames: mem::take(frames),
            look,
            over: false,
        })
    }

    /// Drops of frames what there is no room for behind those that wait.
    fn admit(&self, waiting: usize, frames: &mut Batch) {
        let room = match self.is_up() {
            true => QUEUE.saturating_sub(waiting),
            false => 0,
        };
        if frames.len() > room {
            self.lose(&self.lost_out, frames.len().saturating_sub(room));
            frames.truncate(room);
        }
    }

    /// Puts a frame into the queue; [`flush`](Self::flush) sends it.
    pub fn enqueue(&self, frame: Packet) {
        let mut frames = Batch::new();
        self.prepare(frame, &mut frames);
        let mut queue = self.outward.queue.lock();
        self.admit(queue.len(), &mut frames);
        queue.append(&mut frames);
        if !queue.is_empty() {
            self.outward.state.fetch_or(QUEUED, Ordering::AcqRel);
        }
    }

    /// Sends what is in the queue, if no other thread is sending. No lock may be held.
    pub fn flush(self: &Arc<Self>) {
        if let Some(turn) = self.turn(&mut Batch::new(), None) {
            turn.send();
        }
    }

    fn input(self: &Arc<Self>, frames: &mut Batch) {
        let mut inward = self.inward.lock();
        inward.count.add(frames);
        let upper = inward.upper.clone();
        drop(inward);
        self.hand_up(upper.as_ref(), frames, None);
    }

    /// Hands frames that are counted to who receives them.
    #[inline]
    fn hand_up(
        self: &Arc<Self>,
        upper: Option<&Arc<dyn Upper>>,
        frames: &mut Batch,
        look: Option<Look>,
    ) {
        self.taps.see(frames, Way::In);
        let Some(upper) = upper.filter(|_| self.is_up()) else {
            self.lose(&self.lost_in, frames.len());
            frames.clear();
            return;
        };
        join(frames, self.link.header());
        for at in 0..frames.len() {
            if let Some(frame) = frames.get_mut(at) {
                frame.meta.interface = self.index;
            }
        }
        upper.input_at(self, frames, look);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{Batch, Device, Ifnet, Input, Link};
    use crate::Packet;
    use alloc::{string::ToString, sync::Arc, vec::Vec};
    use core::sync::atomic::{AtomicBool, Ordering};
    use rumpuser::{Result, sync::Mutex};

    const THREADS: u8 = 4;
    const FRAMES: u16 = 5_000;

    /// Keeps the frames that it sends, and whether two threads did so at a time.
    #[derive(Default)]
    struct Kept {
        frames: Mutex<Vec<(u8, u16)>>,
        busy: AtomicBool,
    }

    impl Device for Kept {
        fn link(&self) -> Link {
            Link::Point
        }

        fn mtu(&self) -> u32 {
            1_500
        }

        fn start(&self, _input: Input) -> Result<()> {
            Ok(())
        }

        fn stop(&self) {}

        fn transmit(&self, frames: &mut Batch) -> usize {
            assert!(!frames.is_empty() && !self.busy.swap(true, Ordering::SeqCst));
            for frame in frames.iter() {
                let [thread, high, low] = *frame.head().first_chunk().unwrap();
                let number = u16::from_be_bytes([high, low]);
                self.frames.lock().push((thread, number));
            }
            self.busy.store(false, Ordering::SeqCst);
            0
        }
    }

    /// No frame is lost, doubled or passed by another of its thread, and one thread sends at a time.
    #[test]
    fn turns() {
        let device = Arc::<Kept>::default();
        let ifnet = Ifnet::new(1, "if1".to_string(), device.clone(), None);
        ifnet.set_up(true);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let ifnet = &ifnet;
                scope.spawn(move || {
                    for number in 0..FRAMES {
                        let [high, low] = number.to_be_bytes();
                        let frame = Packet::with_bytes(&[thread, high, low]);
                        if number % 3 == 0 {
                            ifnet.enqueue(frame);
                            continue;
                        }
                        let mut frames = Batch::from([frame]);
                        if let Some(turn) = ifnet.turn(&mut frames, None) {
                            turn.send();
                        }
                        // Fewer wait than there is room for.
                        while ifnet.outward.queue.lock().len() > 1_000 {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        ifnet.flush();
        let sent = device.frames.lock();
        for thread in 0..THREADS {
            let of_thread = sent.iter().filter(|(by, _)| *by == thread);
            assert!(of_thread.map(|(_, number)| *number).eq(0..FRAMES));
        }
        let count = u64::from(THREADS) * u64::from(FRAMES);
        let counters = ifnet.counters();
        assert_eq!(
            (counters.out_packets, counters.out_bytes),
            (count, 3 * count)
        );
        assert_eq!(counters.out_dropped, 0);
    }
}
