//! What is under an interface and what is above: the contracts.

use super::{Batch, Ifnet, Input};
use crate::MacAddr;
use alloc::sync::Arc;
use rumpuser::{Instant, Result};

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
    pub(super) const fn header(self) -> usize {
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

    /// The MTU of an interface is another one now. Called with no lock held.
    fn mtu_changed(&self, _interface: &Ifnet) {}

    /// An interface is no more: nothing comes by it, and its number is not given again. Called with no lock held.
    fn detached(&self, _interface: &Ifnet) {}
}
