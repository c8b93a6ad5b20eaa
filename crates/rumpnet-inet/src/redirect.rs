//! Redirects of IPv4: a router tells a host that there is a shorter way. Which are believed (RFC 1122 section 3.2.2.2), and which are sent
//! (RFC 1812 section 5.2.7.2).

use crate::{
    icmp::kind,
    ip::Arrival,
    ipv4::Header,
    stack::{Path, Stack},
};
use core::net::{IpAddr, Ipv4Addr};
use rumpnet::{
    Cidr, Packet,
    packet::Cast,
    route::{Origin, Route},
};

/// Ways that routers have shown, at most.
const MOST: usize = 64;

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

impl Stack {
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
        let host = Cidr::host(to);
        let shown = |route: &&Route| route.origin == Origin::Dynamic && route.network != host;
        let shown = self.routes.iter().filter(shown);
        let shown = shown.filter(|route| route.network.address().is_ipv4());
        if !asked || !near || !ours || shown.count() >= MOST {
            return;
        }
        self.routes
            .remove(|route| route.origin == Origin::Dynamic && route.network == host);
        let _ = self.routes.add(Route {
            network: host,
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
