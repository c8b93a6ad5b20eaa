//! Interfaces: what frames go out of and come in by.

mod count;
mod device;
mod input;
mod turn;

pub use count::Counters;
pub use device::{Device, Features, Link, Look, Upper};
pub use input::{Input, Receiver};
pub use turn::Turn;

use crate::{MacAddr, Packet, capture::Taps};
use alloc::{collections::VecDeque, string::String, sync::Arc, vec::Vec};
use core::{
    mem,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
use count::Count;
use input::Inward;
use rumpuser::{Errno, Result, sync::Mutex};
use turn::Outward;

/// Packets in a row.
pub type Batch = VecDeque<Packet>;

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
        if self.mtu.swap(mtu, Ordering::Relaxed) != mtu {
            let upper = self.inward.lock().upper.clone();
            if let Some(upper) = upper {
                upper.mtu_changed(self);
            }
        }
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
}
