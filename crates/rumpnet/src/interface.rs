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
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use rumpuser::{
    Errno, Result,
    sync::{Mutex, RwLock},
};

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
    }
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

    /// Whether a frame would reach anybody.
    fn link_up(&self) -> bool {
        true
    }
}

/// What receives the frames of an interface: a protocol stack, a bridge.
pub trait Upper: Send + Sync {
    /// Takes frames, and empties the batch. Called by any thread, with no lock held.
    fn input(&self, interface: &Arc<Ifnet>, frames: &mut Batch);
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

#[derive(Default)]
struct Direction {
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Direction {
    fn count(&self, frames: &Batch) {
        let bytes: usize = frames.iter().map(Packet::len).sum();
        self.packets
            .fetch_add(frames.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
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
    upper: RwLock<Option<Arc<dyn Upper>>>,
    queue: Mutex<Batch>,
    /// Held by the thread that sends what is in the queue; the batch is empty, and its memory is used again.
    sending: Mutex<Batch>,
    received: Direction,
    sent: Direction,
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
            upper: RwLock::new(upper),
            queue: Mutex::default(),
            sending: Mutex::default(),
            received: Direction::default(),
            sent: Direction::default(),
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

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            in_packets: of(&self.received.packets),
            in_bytes: of(&self.received.bytes),
            in_dropped: of(&self.received.dropped),
            out_packets: of(&self.sent.packets),
            out_bytes: of(&self.sent.bytes),
            out_dropped: of(&self.sent.dropped),
        }
    }

    /// Who captures its frames.
    #[must_use]
    pub const fn taps(&self) -> &Taps {
        &self.taps
    }

    /// Has somebody else receive its frames, such as a bridge; returns who did.
    pub fn set_upper(&self, upper: Option<Arc<dyn Upper>>) -> Option<Arc<dyn Upper>> {
        core::mem::replace(&mut *self.upper.write(), upper)
    }

    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        self.device.start(Input(Arc::downgrade(self)))
    }

    pub(crate) fn stop(&self) {
        self.set_up(false);
        self.device.stop();
        *self.upper.write() = None;
        self.queue.lock().clear();
    }

    /// Puts a frame into the queue; [`flush`](Self::flush) sends it. What is left to the device and it does not do is done here.
    pub fn enqueue(&self, frame: Packet) {
        if offload::fits(&frame, self.features) {
            self.put(core::iter::once(frame));
        } else {
            let mut frames = Batch::new();
            if offload::fit(frame, self.link.header(), self.features, &mut frames).is_none() {
                self.sent.dropped.fetch_add(1, Ordering::Relaxed);
            }
            self.put(frames.into_iter());
        }
    }

    fn put(&self, frames: impl Iterator<Item = Packet>) {
        let mut queue = self.queue.lock();
        for frame in frames {
            if !self.is_up() || queue.len() >= QUEUE {
                self.sent.dropped.fetch_add(1, Ordering::Relaxed);
            } else {
                queue.push_back(frame);
            }
        }
    }

    /// Sends what is in the queue. If a thread is sending already, that one sends it: frames keep their order, and a frame that
    /// is answered on this same thread does not go round and round on its stack. No lock may be held.
    pub fn flush(&self) {
        loop {
            if self.queue.lock().is_empty() {
                return;
            }
            let Some(mut frames) = self.sending.try_lock() else {
                return;
            };
            loop {
                core::mem::swap(&mut *self.queue.lock(), &mut *frames);
                if frames.is_empty() {
                    break;
                }
                self.sent.count(&frames);
                self.taps.see(&mut frames, Way::Out);
                let lost = self.device.transmit(&mut frames);
                if lost > 0 {
                    self.sent.dropped.fetch_add(lost as u64, Ordering::Relaxed);
                }
                frames.clear();
            }
            // What comes between the last look and the unlock has been left to this thread.
        }
    }

    fn input(self: &Arc<Self>, frames: &mut Batch) {
        self.received.count(frames);
        self.taps.see(frames, Way::In);
        join(frames, self.link.header());
        for frame in frames.iter_mut() {
            frame.meta.interface = self.index;
        }
        let upper = self.is_up().then(|| self.upper.read().clone()).flatten();
        match upper {
            Some(upper) => upper.input(self, frames),
            None => {
                let lost = frames.len() as u64;
                self.received.dropped.fetch_add(lost, Ordering::Relaxed);
                frames.clear();
            }
        }
    }
}
