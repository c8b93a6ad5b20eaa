//! The state of the stack: all that a kernel's Internet family has behind its lock. Who works on it, and when, is in [`Inet`].

mod inet;

use crate::{
    icmp, igmp, ip, network::Network, raw::Raw, redirect, tcp_table::Tcp, udp::Udp, way::Ways,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::{
    any::Any,
    mem,
    net::{IpAddr, Ipv4Addr},
};
use rumpnet::{
    Cidr, Ifnet, MacAddr, Packet,
    ethernet::{self, EtherType},
    interface::{Batch, Link, Look},
    membership::Filter,
    neighbor::{self, Resolution},
    packet::Cast,
    route::{self, Origin, Route},
    spares::Spares,
};
use rumpuser::{Errno, Event, Host, Instant, Result, Rng};

pub use crate::counters::Counters;
pub use inet::Inet;

/// Packets that a stack keeps to use them again.
const SPARES: usize = 16;

/// A list that is mostly of one: that one needs no memory.
pub(crate) struct Few<T> {
    /// `None` only when it is empty.
    first: Option<T>,
    rest: Vec<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: Vec::new(),
        }
    }
}

impl<T> Few<T> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.first.iter().chain(&self.rest)
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()).saturating_add(self.rest.len())
    }

    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        match place.checked_sub(1) {
            Some(place) => self.rest.get(place),
            None => self.first.as_ref(),
        }
    }

    /// Takes the item at a place out. The last one has that place then, if it was another.
    pub(crate) fn swap_remove(&mut self, place: usize) {
        match place.checked_sub(1) {
            None => self.first = self.rest.pop(),
            Some(place) if place < self.rest.len() => {
                self.rest.swap_remove(place);
            }
            Some(_) => {}
        }
    }

    /// Keeps the items of which `keep` says so. They may have another order then.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.rest.retain(&keep);
        if !self.first.as_ref().is_some_and(keep) {
            self.first = self.rest.pop();
        }
    }

    pub(crate) fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.rest.push(item);
        }
    }

    fn last(&self) -> Option<&T> {
        self.rest.last().or(self.first.as_ref())
    }

    #[inline]
    fn each(self, mut visit: impl FnMut(T)) {
        if let Some(first) = self.first {
            visit(first);
        }
        if !self.rest.is_empty() {
            self.rest.into_iter().for_each(visit);
        }
    }
}

/// An interface as the stack sees it.
pub struct Attached {
    /// The interface.
    pub ifnet: Arc<Ifnet>,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// Groups that are joined, with what each who joined wants.
    pub groups: BTreeMap<IpAddr, Vec<Filter>>,
    /// Frames to be sent when the lock is free.
    pub(crate) out: Batch,
}

impl Attached {
    /// Whether somebody listens to a group.
    #[must_use]
    pub fn listens(&self, group: IpAddr) -> bool {
        self.groups.contains_key(&group)
    }

    /// Whether it has this address.
    pub(crate) fn has_v4(&self, address: Ipv4Addr) -> bool {
        self.addresses
            .iter()
            .any(|cidr| cidr.address() == IpAddr::V4(address))
    }

    /// The address to speak to `to` with: one of the same network, or the first.
    pub(crate) fn source_v4(&self, to: Ipv4Addr) -> Option<Ipv4Addr> {
        let near = self
            .addresses
            .iter()
            .find(|cidr| cidr.contains(IpAddr::V4(to)));
        let first = || self.addresses.iter().find(|cidr| cidr.address().is_ipv4());
        match near.or_else(first)?.address() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

/// The way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Number of the interface.
    pub interface: u32,
    /// The host on the link that packets go to.
    pub next_hop: IpAddr,
    /// Their source.
    pub source: IpAddr,
    /// Largest packet.
    pub mtu: u32,
    /// Hops that packets may take unless a socket says otherwise.
    pub hops: u8,
    /// It is this host.
    pub local: bool,
    /// It is all hosts of a network.
    pub broadcast: bool,
}

/// Everything behind the lock.
pub struct Stack {
    /// The time.
    pub now: Instant,
    /// That this was looked up for the call under way, and no frame has come since.
    pub(crate) look: Option<Look>,
    /// The interfaces that are or were up.
    pub interfaces: Vec<Attached>,
    /// The routes.
    pub routes: route::Table,
    /// The neighbours.
    pub neighbors: neighbor::Cache,
    /// IPv6, if there is any, and what it keeps.
    pub(crate) network: Option<&'static dyn Network>,
    pub(crate) state: Option<Box<dyn Any + Send>>,
    /// When the network layer has something to do; `None`: its state may have changed since that was asked.
    pub(crate) state_deadline: Option<Option<Instant>>,
    pub(crate) ip: ip::State,
    pub(crate) icmp: icmp::Limit,
    pub(crate) redirects: redirect::Policy,
    pub(crate) shown: redirect::Shown,
    pub(crate) igmp: igmp::State,
    pub(crate) raw: Raw,
    pub(crate) udp: Udp,
    pub(crate) tcp: Tcp,
    pub(crate) ways: Ways,
    /// What has happened.
    pub counters: Counters,
    addresses_changed: Arc<dyn Event>,
    /// Packets to this host itself.
    local: VecDeque<Packet>,
    /// Who is to be woken.
    wakes: Few<Arc<dyn Event>>,
    /// An empty batch whose memory is used again.
    spare: Batch,
    /// Packets too.
    pub(crate) spares: Spares,
    /// Some socket's readiness has changed.
    changed: bool,
    /// When the task of the clock is due.
    armed: Option<Instant>,
}

impl Stack {
    fn new(host: &dyn Host, addresses_changed: &Arc<dyn Event>) -> Self {
        Self {
            addresses_changed: addresses_changed.clone(),
            network: None,
            state: None,
            state_deadline: None,
            now: host.monotonic(),
            look: None,
            interfaces: Vec::new(),
            routes: route::Table::default(),
            neighbors: neighbor::Cache::default(),
            ip: ip::State::new(host),
            icmp: icmp::Limit::default(),
            redirects: redirect::Policy::default(),
            shown: redirect::Shown::default(),
            igmp: igmp::State::new(Rng::new(Inet::random_u64(host))),
            raw: Raw::default(),
            udp: Udp::new(host),
            tcp: Tcp::new(host),
            ways: Ways::default(),
            counters: Counters::default(),
            local: VecDeque::new(),
            wakes: Few::default(),
            spare: Batch::new(),
            spares: Spares::new(SPARES),
            changed: false,
            armed: None,
        }
    }

    /// An interface by its number.
    #[must_use]
    pub fn attached(&self, interface: u32) -> Option<&Attached> {
        self.interfaces
            .iter()
            .find(|here| here.ifnet.index() == interface)
    }

    /// The same, to be changed; one that is new to the stack is added.
    pub(crate) fn attach(&mut self, ifnet: &Arc<Ifnet>) -> &mut Attached {
        let index = ifnet.index();
        let known = |here: &Attached| here.ifnet.index() == index;
        let at = self.interfaces.iter().position(known).unwrap_or_else(|| {
            self.interfaces.push(Attached {
                ifnet: ifnet.clone(),
                addresses: Vec::new(),
                groups: BTreeMap::new(),
                out: Batch::new(),
            });
            self.interfaces.len().wrapping_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "found or just pushed")]
        &mut self.interfaces[at]
    }

    /// Forgets an interface, and all that is kept for it.
    pub(crate) fn detach(&mut self, interface: u32) {
        // Who has remembered a place among the interfaces knows by both changes that it is another one's now.
        self.neighbors.detach(interface);
        self.routes.remove(|route| route.interface == interface);
        self.routes.touch();
        self.interfaces
            .retain(|here| here.ifnet.index() != interface);
        self.shown.detach(interface);
        self.ip.arp.detach(interface);
        self.igmp.detach(interface);
        if let Some(network) = self.network {
            network.detached(self, interface);
        }
        self.announce_addresses();
    }

    /// Whether an address is one of this host's.
    #[must_use]
    pub fn is_ours(&self, address: IpAddr) -> bool {
        let mut all = self.interfaces.iter().flat_map(|here| &here.addresses);
        all.any(|cidr| cidr.address() == address)
    }

    /// Whether an address is this host's for who is on an interface's link: each link may have the same address of its own (RFC 4007 section 5).
    #[must_use]
    pub fn is_ours_on(&self, interface: u32, address: IpAddr) -> bool {
        if !of_link(address) {
            return self.is_ours(address);
        }
        let mut here = self.attached(interface).into_iter();
        here.any(|here| here.addresses.iter().any(|cidr| cidr.address() == address))
    }

    /// Gives an interface an address, and a route to its network.
    ///
    /// # Errors
    /// `EEXIST` (some interface has it), `ENXIO`.
    pub fn assign(&mut self, interface: u32, address: Cidr) -> Result<()> {
        self.assign_alone(interface, address)?;
        let route = Route {
            network: address.network(),
            gateway: None,
            interface,
            metric: interface,
            // IPv6 chooses among all of them (RFC 6724).
            source: Some(address.address()).filter(IpAddr::is_ipv4),
            origin: Origin::Connected,
        };
        // A second address of the same network has its route already.
        match self.routes.add(route) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The same without the route.
    ///
    /// # Errors
    /// `EEXIST` (some interface has it), `ENXIO`.
    pub fn assign_alone(&mut self, interface: u32, address: Cidr) -> Result<()> {
        let ip = address.address();
        if self.is_ours_on(interface, ip) {
            return Err(Errno::EEXIST);
        }
        let mut all = self.interfaces.iter_mut();
        let here = all.find(|here| here.ifnet.index() == interface);
        here.ok_or(Errno::ENXIO)?.addresses.push(address);
        self.routes.touch();
        self.wakes.push(self.addresses_changed.clone());
        Ok(())
    }

    /// Takes an address away, and its route if no other address has it.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    pub fn unassign(&mut self, interface: u32, address: IpAddr) -> Result<()> {
        let all = &mut self.interfaces;
        let here = all.iter_mut().find(|here| here.ifnet.index() == interface);
        let here = here.ok_or(Errno::EADDRNOTAVAIL)?;
        let at = here.addresses.iter().position(|c| c.address() == address);
        let gone = here.addresses.remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
        let heir = here
            .addresses
            .iter()
            .find(|c| c.network() == gone.network());
        let heir = heir.map(|cidr| cidr.address());
        let removed = self.routes.remove(|route| {
            route.origin == Origin::Connected
                && route.interface == interface
                && route.network == gone.network()
        });
        if let (Some(heir), Some(route)) = (heir, removed.first()) {
            self.routes.add(Route {
                source: Some(heir).filter(IpAddr::is_ipv4),
                ..*route
            })?;
        }
        self.routes.touch();
        self.wakes.push(self.addresses_changed.clone());
        Ok(())
    }

    /// Says that something about addresses has changed, to who waits for it.
    pub fn announce_addresses(&mut self) {
        self.wakes.push(self.addresses_changed.clone());
    }

    /// Joins a group on an interface once more, or leaves it once, for all sources.
    ///
    /// # Errors
    /// `ENODEV`; `EADDRNOTAVAIL`: it was not joined.
    pub fn group(&mut self, interface: u32, group: IpAddr, join: bool) -> Result<()> {
        let all = Filter::all();
        if join {
            self.membership(interface, group, None, Some(all))
        } else {
            self.membership(interface, group, Some(&all), None)
        }
    }

    /// Somebody wants other sources of a group than `before`; `None` is not being a member.
    ///
    /// # Errors
    /// `ENODEV`; `EADDRNOTAVAIL`: nobody was a member with that.
    pub(crate) fn membership(
        &mut self,
        interface: u32,
        group: IpAddr,
        before: Option<&Filter>,
        after: Option<Filter>,
    ) -> Result<()> {
        let mut all = self.interfaces.iter_mut();
        let here = all.find(|here| here.ifnet.index() == interface);
        let here = here.ok_or(Errno::ENODEV)?;
        let filters = here.groups.entry(group).or_default();
        if let Some(before) = before {
            let Some(at) = filters.iter().position(|filter| filter == before) else {
                if filters.is_empty() {
                    here.groups.remove(&group);
                }
                return Err(Errno::EADDRNOTAVAIL);
            };
            filters.swap_remove(at);
        }
        filters.extend(after);
        let merged = Filter::merge(filters.iter());
        if filters.is_empty() {
            here.groups.remove(&group);
        }
        match (group, self.network) {
            (IpAddr::V4(group), _) => self.igmp_changed(interface, group, merged),
            (IpAddr::V6(group), Some(six)) => six.membership(self, interface, group, merged),
            (IpAddr::V6(_), None) => {}
        }
        Ok(())
    }

    /// Has an event notified when the lock is free, and pollers look again.
    pub(crate) fn wake(&mut self, event: Option<&Arc<dyn Event>>) {
        self.changed = true;
        if let Some(event) = event {
            // Datagrams of a batch are mostly for the same socket.
            let last = self.wakes.last();
            if !last.is_some_and(|last| Arc::ptr_eq(last, event)) {
                self.wakes.push(event.clone());
            }
        }
    }

    /// Puts a frame into an interface's queue.
    pub fn enqueue(&mut self, interface: u32, frame: Packet) {
        let mut all = self.interfaces.iter_mut();
        if let Some(here) = all.find(|here| here.ifnet.index() == interface) {
            here.ifnet.prepare(frame, &mut here.out);
        }
    }

    /// Sends an IP packet to a host on an interface's link.
    pub fn link_output(
        &mut self,
        interface: u32,
        from: MacAddr,
        to: MacAddr,
        ethertype: EtherType,
        mut packet: Packet,
    ) {
        let header = ethernet::Header {
            destination: to,
            source: from,
            ethertype,
        };
        if header.write(&mut packet).is_some() {
            self.enqueue(interface, packet);
        }
    }

    /// Sends an IP packet along a path: finds the link's address first.
    pub fn path_output(&mut self, path: &Path, mut packet: Packet) {
        if path.local {
            if path.next_hop.is_multicast() {
                // It is as if it had come by the interface that it leaves by.
                packet.meta.interface = path.interface;
                packet.meta.cast = Cast::Multicast;
                self.local.push_back(packet);
                return;
            }
            packet.meta.interface = 0;
            let lo = |here: &Attached| here.ifnet.link() == Link::Loopback && here.ifnet.is_up();
            match self.interfaces.iter().find(|here| lo(here)) {
                Some(lo) => {
                    let index = lo.ifnet.index();
                    self.enqueue(index, packet);
                }
                None => self.local.push_back(packet),
            }
            return;
        }
        let interface = path.interface;
        let Some(here) = self.attached(interface) else {
            return;
        };
        let Link::Ethernet(mac) = here.ifnet.link() else {
            self.enqueue(interface, packet);
            return;
        };
        let ethertype = match path.next_hop {
            IpAddr::V4(_) => EtherType::IPV4,
            IpAddr::V6(_) => EtherType::IPV6,
        };
        let group = if path.broadcast {
            Some(MacAddr::BROADCAST)
        } else if path.next_hop.is_multicast() {
            Some(MacAddr::of_group(path.next_hop))
        } else {
            None
        };
        if let Some(group) = group {
            self.link_output(interface, mac, group, ethertype, packet);
            return;
        }
        let now = self.now;
        match self
            .neighbors
            .resolve(interface, path.next_hop, packet, now)
        {
            Resolution::Known(to, packet) => {
                self.link_output(interface, mac, to, ethertype, packet);
            }
            Resolution::Ask => self.ask(interface, path.next_hop, None),
            Resolution::Wait => {}
        }
    }

    fn ask(&mut self, interface: u32, address: IpAddr, to: Option<MacAddr>) {
        match address {
            IpAddr::V4(address) => self.arp_request(interface, address, to),
            IpAddr::V6(address) => {
                if let Some(network) = self.network {
                    network.ask(self, interface, address, to);
                }
            }
        }
    }

    /// A frame, or an IP packet where the link has no header.
    fn input(&mut self, frame: Packet) {
        if let Err(frame) = self.tcp_hear(frame)
            && let Err(frame) = self.tcp_hear_first(frame)
        {
            self.input_any(frame);
        }
    }

    /// The same, the long way.
    pub(crate) fn input_any(&mut self, mut frame: Packet) {
        let interface = frame.meta.interface;
        let Some(here) = self.attached(interface) else {
            return;
        };
        let Link::Ethernet(mac) = here.ifnet.link() else {
            self.ip_input(interface, frame);
            return;
        };
        let Some(header) = ethernet::Header::parse(&mut frame) else {
            return;
        };
        frame.meta.cast = header.cast();
        if frame.meta.cast == Cast::Unicast && header.destination != mac {
            return;
        }
        frame.strip(ethernet::HEADER);
        match header.ethertype {
            EtherType::IPV4 => self.ipv4_input(interface, frame),
            EtherType::IPV6 => {
                if let Some(network) = self.network {
                    network.input(self, interface, frame);
                }
            }
            EtherType::ARP => self.arp_input(interface, frame),
            _ => {}
        }
    }

    /// What is due by time.
    fn clock(&mut self) {
        self.armed = None;
        self.ways.expire(self.now);
        self.tcp_confirm();
        for due in self.neighbors.expire(self.now) {
            match due {
                neighbor::Due::Ask {
                    interface,
                    address,
                    to,
                } => self.ask(interface, address, to),
                neighbor::Due::Failed {
                    interface,
                    address,
                    packets,
                } => {
                    match (address, self.network) {
                        (IpAddr::V4(_), _) => self.redirect_forget(interface, address),
                        (IpAddr::V6(ip), Some(six)) => six.silent(self, interface, ip),
                        (IpAddr::V6(_), None) => {}
                    }
                    for packet in packets {
                        match self.network {
                            Some(six) if address.is_ipv6() => {
                                six.unresolved(self, interface, packet);
                            }
                            _ => self.icmp_host_unreachable(packet),
                        }
                    }
                }
            }
        }
        self.ip_expire();
        self.arp_clock();
        self.igmp_clock();
        if let Some(network) = self.network {
            network.clock(self);
        }
        self.tcp_timers();
    }

    #[inline(always)]
    fn deadline(&mut self) -> Option<Instant> {
        let all = [
            self.tcp.deadline(),
            self.neighbors.deadline(),
            self.ip.deadline(),
            self.igmp.deadline(),
            self.ways.deadline(),
            self.state_deadline(),
        ];
        // Often asked: numbers are compared faster than what may not be there.
        let never = Instant(u64::MAX);
        let first = all.map(|time| time.unwrap_or(never)).into_iter().min();
        first.filter(|first| *first != never)
    }

    /// Keeps the memory of an empty batch: the next frames go out in it.
    fn spare(&mut self, frames: &mut Batch) {
        if self.spare.capacity() == 0 {
            mem::swap(&mut self.spare, frames);
        }
    }

    /// Whether nothing is left to do when the lock is let go.
    fn is_quiet(&self) -> bool {
        self.is_idle() && !self.changed && self.wakes.is_empty()
    }

    /// Whether no packet waits, and no connection to be looked after.
    fn is_idle(&self) -> bool {
        self.local.is_empty() && self.tcp.is_quiet()
    }
}

/// Whether an address says nothing without the interface whose link it is on.
pub(crate) fn of_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The earlier of two deadlines.
#[inline]
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

/// Errors of a destination that cannot be reached.
pub(crate) const NO_ROUTE: Errno = Errno::ENETUNREACH;

#[cfg(test)]
mod tests {
    use super::Few;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn few_are_like_many(steps in prop::collection::vec((any::<bool>(), 0_u8..8), 0..30)) {
            let (mut few, mut all) = (Few::default(), Vec::new());
            for (add, item) in steps {
                let place = all.len().saturating_sub(usize::from(item));
                if add {
                    few.push(item);
                    all.push(item);
                } else if let Some(known) = few.get(place).copied() {
                    let last = few.last().copied();
                    few.swap_remove(place);
                    prop_assert!(few.get(place).is_none_or(|now| Some(*now) == last));
                    let place = all.iter().position(|other| *other == known).unwrap();
                    all.swap_remove(place);
                } else {
                    few.retain(|other| *other != item);
                    all.retain(|other| *other != item);
                }
                let mut items: Vec<u8> = few.iter().copied().collect();
                items.sort_unstable();
                all.sort_unstable();
                prop_assert_eq!(&items, &all);
                prop_assert_eq!((few.is_empty(), few.len()), (all.is_empty(), all.len()));
            }
            let mut items = Vec::new();
            few.each(|item| items.push(item));
            items.sort_unstable();
            prop_assert_eq!(items, all);
        }
    }
}
