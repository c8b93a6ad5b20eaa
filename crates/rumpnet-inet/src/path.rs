//! The way to a destination: its interface, its next hop, the address to send from, the largest packet.

use crate::{
    ip::{DEFAULT_TTL, bump},
    stack::{Attached, NO_ROUTE, Path, Stack, of_link},
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use rumpnet::interface::Link;
use rumpuser::{Errno, Result};

/// Interface, gateway and source of a route.
type Hop = (u32, Option<IpAddr>, Option<IpAddr>);

impl Path {
    /// Whether a packet may go this way.
    ///
    /// # Errors
    /// `ENETUNREACH`: by a gateway, which `dont_route` forbids.
    pub(crate) fn allowed(&self, to: IpAddr, dont_route: bool) -> Result<()> {
        if dont_route && self.next_hop != to {
            return Err(Errno::ENETUNREACH);
        }
        Ok(())
    }
}

impl Stack {
    /// The way to a destination. `from`: the source that it shall have, which a packet of this host has to have for itself.
    ///
    /// # Errors
    /// `ENETUNREACH`: there is no route. `EADDRNOTAVAIL`: there is no address to send from.
    pub fn path(&self, to: IpAddr, from: Option<IpAddr>, by: Option<u32>) -> Result<Path> {
        if let Some(interface) = self.interface_with(to, by) {
            return Ok(Path {
                interface,
                next_hop: to,
                source: from.unwrap_or(to),
                mtu: u32::from(u16::MAX),
                hops: DEFAULT_TTL,
                local: true,
                broadcast: false,
            });
        }
        let (interface, gateway, source) = self.first_hop(to, by)?;
        let here = self.up(interface).ok_or(NO_ROUTE)?;
        let next_hop = gateway.unwrap_or(to);
        let source = match (from.or(source), next_hop) {
            (Some(source), _) => source,
            (None, IpAddr::V4(next_hop)) => here
                .source_v4(next_hop)
                .map_or(Ipv4Addr::UNSPECIFIED.into(), IpAddr::V4),
            (None, IpAddr::V6(_)) => self
                .source_v6(interface, to)
                .ok_or(Errno::EADDRNOTAVAIL)?
                .into(),
        };
        let mut networks = here.addresses.iter();
        let broadcast = to == IpAddr::V4(Ipv4Addr::BROADCAST)
            || networks.any(|cidr| cidr.broadcast().map(IpAddr::V4) == Some(to));
        Ok(Path {
            interface,
            next_hop,
            source,
            mtu: self.mtu_to(here, to),
            hops: match self.network {
                Some(network) if to.is_ipv6() => network.hops(self, interface),
                _ => DEFAULT_TTL,
            },
            local: false,
            broadcast,
        })
    }

    /// The interface that has an address. What is another link's own, and not that of `by`, is a host of its own there.
    fn interface_with(&self, address: IpAddr, by: Option<u32>) -> Option<u32> {
        let meant = |index| by.is_none_or(|by| by == index) || !of_link(address);
        let has = |here: &&Attached| {
            let mut all = here.addresses.iter();
            all.any(|cidr| cidr.address() == address) && meant(here.ifnet.index())
        };
        let here = self.interfaces.iter().find(has);
        here.map(|here| here.ifnet.index())
    }

    /// An interface that is up.
    fn up(&self, interface: u32) -> Option<&Attached> {
        self.attached(interface).filter(|here| here.ifnet.is_up())
    }

    /// The interface, the gateway and the source of the route to a destination, by an interface if there is only one that will do.
    fn first_hop(&self, to: IpAddr, by: Option<u32>) -> Result<Hop> {
        let wanted = |interface: u32| by.is_none_or(|by| by == interface);
        let route = self.routes.find(to, |route| {
            wanted(route.interface) && self.up(route.interface).is_some()
        });
        match (route, by) {
            (Some(route), _) => Ok((route.interface, route.gateway, route.source)),
            // Without a route what is bound to an interface may still speak to its link: groups, all hosts.
            (None, Some(by)) => Ok((by, None, None)),
            (None, None) if to.is_multicast() || to == Ipv4Addr::BROADCAST => {
                let usable = |here: &&Attached| {
                    here.ifnet.is_up() && matches!(here.ifnet.link(), Link::Ethernet(_))
                };
                let first = self.interfaces.iter().find(usable).ok_or(NO_ROUTE)?;
                Ok((first.ifnet.index(), None, None))
            }
            (None, None) => Err(NO_ROUTE),
        }
    }

    /// Bytes of the largest packet that gets to a destination by an interface, as far as it is known.
    fn mtu_to(&self, here: &Attached, to: IpAddr) -> u32 {
        let (interface, own) = (here.ifnet.index(), here.ifnet.mtu());
        match (to, self.network) {
            (IpAddr::V6(to), Some(network)) => network.mtu(self, interface, to),
            (IpAddr::V4(to), _) => {
                let path = self.ip.paths.get(interface, to, self.now);
                own.min(path.unwrap_or(own))
            }
            _ => own,
        }
    }

    /// The way of a packet of this host, if one was found; that there is none is counted.
    ///
    /// # Errors
    /// Those of `found`.
    pub fn way_out(&mut self, to: IpAddr, found: Result<Path>) -> Result<Path> {
        if found == Err(NO_ROUTE) {
            bump(&mut self.counters.ip(to.is_ipv4()).no_route_out);
        }
        found
    }

    /// To whom a user sends that names no host: this one, as hosts have had it since 4.2BSD.
    pub(crate) fn this_host(&self, to: SocketAddr) -> SocketAddr {
        if !to.ip().is_unspecified() {
            return to;
        }
        let loopback = match to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let mut ours = self.interfaces.iter().flat_map(|here| &here.addresses);
        let first = ours.find(|cidr| cidr.address().is_ipv4() == to.is_ipv4());
        match first {
            Some(first) if !self.is_ours(loopback) => SocketAddr::new(first.address(), to.port()),
            _ => SocketAddr::new(loopback, to.port()),
        }
    }

    /// Somebody has complained that a packet of ours does not fit: smaller ones go there from now on (RFC 1191 section 6.3). Who guesses right makes
    /// them no smaller than every host takes them, without the header of a tunnel.
    pub(crate) fn note_path_mtu(&mut self, source: IpAddr, destination: IpAddr, mtu: u16) {
        const LEAST: u32 = 552;
        let to = match (destination, self.network) {
            (IpAddr::V4(to), _) => to,
            (IpAddr::V6(to), Some(network)) => {
                network.note_mtu(self, source, to, mtu.into());
                return;
            }
            (IpAddr::V6(_), None) => return,
        };
        let Ok(path) = self.path(destination, Some(source), None) else {
            return;
        };
        let mtu = u32::from(mtu).max(LEAST);
        if !path.local && mtu < path.mtu {
            let now = self.now;
            self.ip.paths.note(path.interface, to, mtu, now);
            self.routes.touch();
        }
    }
}
