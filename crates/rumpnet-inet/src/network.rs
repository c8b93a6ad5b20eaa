//! The contract of IPv6, which another crate provides: this one knows its addresses, and calls it for its packets.
//!
//! A [`Network`] has no state of its own: it keeps it in the [`Stack`], behind the same lock ([`Stack::state`]). So the calls may be
//! nested - a packet that comes in may have one go out - and nothing is locked twice.

use crate::{
    icmp::Unreachable,
    ip::{Arrival, Sending},
    stack::{Inet, Path, Stack},
};
use alloc::boxed::Box;
use core::{
    any::Any,
    net::{IpAddr, Ipv6Addr},
};
use rumpnet::{Cidr, MacAddr, Packet, membership::Filter};
use rumpuser::{Errno, Instant, Result};

/// The network layer of IPv6. All calls are made with the stack locked.
pub trait Network: Send + Sync + 'static {
    /// An interface is up, or still is; its MTU may be another one.
    fn up(&self, stack: &mut Stack, interface: u32);

    /// An interface is no more.
    fn detached(&self, stack: &mut Stack, interface: u32);

    /// A packet has come; 0 is this host itself.
    fn input(&self, stack: &mut Stack, interface: u32, packet: Packet);

    /// Sends a packet that begins with its transport header.
    ///
    /// # Errors
    /// `EMSGSIZE`: it does not fit, and may not be fragmented.
    fn output(
        &self,
        stack: &mut Stack,
        path: &Path,
        sending: &Sending,
        destination: Ipv6Addr,
        packet: Packet,
    ) -> Result<()>;

    /// The address to speak to `to` with, by an interface.
    fn source(&self, stack: &Stack, interface: u32, to: Ipv6Addr) -> Option<Ipv6Addr>;

    /// Largest packet to a destination by an interface.
    fn mtu(&self, stack: &Stack, interface: u32, to: Ipv6Addr) -> u32;

    /// Somebody has complained about the size of a packet of this host, which was sent.
    fn note_mtu(&self, stack: &mut Stack, from: IpAddr, to: Ipv6Addr, mtu: u32);

    /// Hops that packets may take that leave by an interface.
    fn hops(&self, stack: &Stack, interface: u32) -> u8;

    /// Asks for the link address of a neighbour: all, or the one that had it.
    fn ask(&self, stack: &mut Stack, interface: u32, address: Ipv6Addr, to: Option<MacAddr>);

    /// Tells the sender of a packet, which is here without its header, that it cannot be delivered.
    fn unreachable(&self, stack: &mut Stack, to: &Arrival, packet: &Packet, why: Unreachable);

    /// A neighbour does not answer any more, or never has.
    fn silent(&self, stack: &mut Stack, interface: u32, neighbor: Ipv6Addr);

    /// The next hop of a packet, which is here with its header, does not answer.
    fn unresolved(&self, stack: &mut Stack, interface: u32, packet: Packet);

    /// Begins to give an interface an address. It is there when it is among [`Attached::addresses`](crate::stack::Attached), and has
    /// failed when [`due`](Self::due) knows nothing of it either.
    ///
    /// # Errors
    /// `EEXIST`, `EINVAL`.
    fn add_address(&self, stack: &mut Stack, interface: u32, address: Cidr) -> Result<()>;

    /// When an address that waits for nobody else to have it is asked for next, or is this host's. `None`: it does not wait.
    fn due(&self, stack: &Stack, interface: u32, address: Ipv6Addr) -> Option<Instant>;

    /// Whether an address is to be used by what uses it already alone (RFC 4862 section 5.5.4).
    fn deprecated(&self, stack: &Stack, interface: u32, address: Ipv6Addr) -> bool;

    /// An address was taken away, or does not wait any more.
    fn removed_address(&self, stack: &mut Stack, interface: u32, address: Ipv6Addr);

    /// The sources of a group that sockets want are others now.
    fn membership(&self, stack: &mut Stack, interface: u32, group: Ipv6Addr, filter: Filter);

    /// Does what is due by time.
    fn clock(&self, stack: &mut Stack);

    /// When that is. It depends on the layer's state alone ([`Stack::state_mut`]).
    fn deadline(&self, stack: &Stack) -> Option<Instant>;
}

impl Stack {
    /// What the network layer keeps.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`: there is none.
    pub fn state<T: Any>(&self) -> Result<&T> {
        let state = self.state.as_ref().and_then(|state| state.downcast_ref());
        state.ok_or(Errno::EAFNOSUPPORT)
    }

    /// The same to be changed.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn state_mut<T: Any>(&mut self) -> Result<&mut T> {
        self.state_deadline = None;
        let state = self.state.as_mut().and_then(|state| state.downcast_mut());
        state.ok_or(Errno::EAFNOSUPPORT)
    }

    /// When the network layer has something to do. It looks through all that it keeps, and is asked only when that may have changed.
    pub(crate) fn state_deadline(&mut self) -> Option<Instant> {
        if self.state_deadline.is_none() {
            self.state_deadline = Some(self.network.and_then(|network| network.deadline(self)));
        }
        self.state_deadline.flatten()
    }

    /// Whether an address is to be used by what uses it already alone.
    pub(crate) fn is_deprecated(&self, interface: u32, address: IpAddr) -> bool {
        match (address, self.network) {
            (IpAddr::V6(ip), Some(network)) => network.deprecated(self, interface, ip),
            _ => false,
        }
    }

    /// The address of IPv6 to speak with.
    pub(crate) fn source_v6(&self, interface: u32, to: IpAddr) -> Option<Ipv6Addr> {
        match to {
            IpAddr::V6(to) => self.network?.source(self, interface, to),
            IpAddr::V4(_) => None,
        }
    }
}

impl Inet {
    /// Adds the network layer of IPv6, with its state. Interfaces that are up are told to it.
    ///
    /// # Errors
    /// `EEXIST`: there is one.
    pub fn add_network(
        &self,
        network: &'static dyn Network,
        state: Box<dyn Any + Send>,
    ) -> Result<()> {
        self.with(|stack| {
            if stack.network.is_some() {
                return Err(Errno::EEXIST);
            }
            (stack.network, stack.state) = (Some(network), Some(state));
            stack.state_deadline = None;
            let up = stack.interfaces.iter().filter(|here| here.ifnet.is_up());
            let up: alloc::vec::Vec<u32> = up.map(|here| here.ifnet.index()).collect();
            up.iter().for_each(|index| network.up(stack, *index));
            Ok(())
        })
    }
}
