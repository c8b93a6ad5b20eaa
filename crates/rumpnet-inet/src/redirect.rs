//! Redirects of IPv4: a router tells a host that there is a shorter way. Which are believed (RFC 1122 section 3.2.2.2), and which are sent
//! (RFC 1812 section 5.2.7.2).

use crate::{
    icmp::kind,
    ip::Arrival,
    ipv4::Header,
    stack::{Path, Stack},
};
use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv4Addr};
use rumpnet::{
    Cidr, Packet,
    packet::Cast,
    route::{Origin, Route},
};

/// Ways that routers have shown, at most: of IPv4, and of IPv6.
const MOST: (usize, usize) = (64, 256);

/// What is done with redirects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// They are believed. Who passes packets on never does.
    pub(crate) accept: bool,
    /// They are sent, by who passes packets on.
    pub(crate) send: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            accept: true,
            send: true,
        }
    }
}

/// When somebody here last sent along a way, if ever, and when it was shown. Ways make room in this order: those that nobody has used, the oldest
/// first, then the least recently used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    used: Option<u64>,
    shown: u64,
}

/// The ways that routers have shown, of both families, by where they lead.
///
/// A new one always finds room, or who is there first would keep all others away. Only sockets use a way: what a router shows, and what it has
/// answered by itself, drives out at most one that is in use, as the next one takes the place of the one before, which nobody has used.
#[derive(Default)]
pub(crate) struct Shown {
    ways: BTreeMap<IpAddr, (Route, Turn)>,
    /// What has happened to them: the time of turns.
    steps: u64,
}

impl Shown {
    /// A socket sends to a host. It says so at least once after each change of the routes.
    pub(crate) fn uses(&mut self, to: IpAddr) {
        if let Some((_, turn)) = self.ways.get_mut(&to) {
            self.steps = self.steps.wrapping_add(1);
            turn.used = Some(self.steps);
        }
    }

    /// Forgets an interface.
    pub(crate) fn detach(&mut self, interface: u32) {
        self.ways
            .retain(|_, (route, _)| route.interface != interface);
    }

    /// Another way leads to a host.
    fn set(&mut self, route: Route) {
        self.steps = self.steps.wrapping_add(1);
        let (to, shown) = (route.network.address(), self.steps);
        let used = self.ways.get(&to).and_then(|(_, turn)| turn.used);
        self.ways.insert(to, (route, Turn { used, shown }));
    }

    /// Takes one out if there are too many of a family: not the newest.
    fn make_room(&mut self, v4: bool) -> Option<Route> {
        let most = if v4 { MOST.0 } else { MOST.1 };
        let family = self.ways.iter().filter(|(to, _)| to.is_ipv4() == v4);
        if family.clone().count() <= most {
            return None;
        }
        let old = family.filter(|(_, (_, turn))| turn.shown != self.steps);
        let (first, _) = old.min_by_key(|(_, (_, turn))| *turn)?;
        let first = *first;
        self.ways.remove(&first).map(|(route, _)| route)
    }
}

impl Stack {
    /// A router has shown another way to a host, and is believed. If there are too many such ways, one makes room.
    pub fn show_way(&mut self, route: Route) {
        let to = route.network.address();
        if let Some((before, _)) = self.shown.ways.get(&to) {
            self.routes.remove(|route| route == before);
        }
        if self.routes.add(route).is_err() {
            // Who configures the kernel has said where to go.
            return;
        }
        self.shown.set(route);
        // Some may have ended otherwise.
        let Self { shown, routes, .. } = self;
        let known = |(route, _): &(Route, Turn)| {
            routes
                .find(route.network.address(), |r| r == route)
                .is_some()
        };
        shown.ways.retain(|_, way| known(way));
        if let Some(gone) = shown.make_room(to.is_ipv4()) {
            routes.remove(|route| *route == gone);
        }
    }

    /// A router says that packets as the quoted one have a shorter way.
    pub(crate) fn redirect_input(
        &mut self,
        arrival: &Arrival,
        gateway: Ipv4Addr,
        mut quoted: Packet,
    ) {
        let believes = self.redirects.accept && !self.ip.forwarding;
        if !believes || arrival.cast != Cast::Unicast {
            return;
        }
        let Some(header) = Header::quoted(&mut quoted) else {
            return;
        };
        let to = IpAddr::V4(header.destination);
        let by = arrival.interface;
        // Only who was sent a packet of ours may show another way, and only one on the same link.
        let path = self.path(to, None, Some(by));
        let asked = path.is_ok_and(|path| {
            path.next_hop == arrival.source && path.next_hop != to && !path.local && !path.broadcast
        });
        let gateway = IpAddr::V4(gateway);
        let near = self.attached(by).is_some_and(|here| {
            let mut all = here.addresses.iter();
            all.any(|own| own.contains(gateway) && own.broadcast().map(IpAddr::V4) != Some(gateway))
        });
        let ours = self.is_ours(header.source.into()) && !self.is_ours(gateway);
        if !asked || !near || !ours {
            return;
        }
        self.show_way(Route {
            network: Cidr::host(to),
            gateway: Some(gateway),
            interface: by,
            metric: 0,
            source: None,
            origin: Origin::Dynamic,
        });
    }

    /// A gateway that was shown does not answer: the way is the old one again.
    pub(crate) fn redirect_forget(&mut self, interface: u32, gateway: IpAddr) {
        self.routes.remove(|route| {
            route.origin == Origin::Dynamic
                && route.interface == interface
                && route.gateway == Some(gateway)
        });
    }

    /// A packet that is passed on leaves by the interface that it came by: its sender can reach the next hop itself.
    pub(crate) fn redirect_output(&mut self, header: &Header, packet: &Packet, path: &Path) {
        let IpAddr::V4(next) = path.next_hop else {
            return;
        };
        let source = IpAddr::V4(header.source);
        let near = self.attached(path.interface).is_some_and(|here| {
            let mut all = here.addresses.iter();
            all.any(|own| own.contains(source) && own.contains(next.into()))
        });
        if self.redirects.send && packet.meta.interface == path.interface && near {
            self.icmp_error(header, packet, kind::REDIRECT, 1, next.octets());
        }
    }
}
