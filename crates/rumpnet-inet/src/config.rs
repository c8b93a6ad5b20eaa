//! Addresses and routes of a kernel: what `ifconfig` and `route` do.

use crate::stack::{Inet, Stack};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use rumpkern::Kernel;
use rumpnet::{
    Cidr, MacAddr,
    neighbor::State,
    route::{Origin, Route, Watch},
};
use rumpuser::{Errno, Instant, Result};

/// How much later than it is due something may be done about an address: the task of the clock may be late.
const PATIENCE: core::time::Duration = core::time::Duration::from_secs(10);

impl Inet {
    /// Gives an interface an address, and a route to its network; sets it up, and tells the link of the address. Others are asked first whether they
    /// have it: of IPv6 for a second unless a router says otherwise, which may be a minute for each question; of IPv4 only with
    /// [`set_probes`](Self::set_probes), for some more.
    ///
    /// # Errors
    /// `ENXIO` (no such interface), `EEXIST` (some interface has it), `EINVAL` (nobody can have it, or the link carries no IPv6: its MTU is below 1280),
    /// `EADDRINUSE` (another host has it, or it was taken away meanwhile), `EAFNOSUPPORT`.
    pub fn add_address(&self, interface: &str, address: Cidr) -> Result<()> {
        let index = self.ready_for(interface, address)?;
        self.with(|stack| match (address.address(), stack.network) {
            (IpAddr::V4(ip), _) => stack.arp_begin(index, address, ip),
            (IpAddr::V6(_), Some(network)) => network.add_address(stack, index, address),
            (IpAddr::V6(_), None) => Err(Errno::EAFNOSUPPORT),
        })?;
        self.wait_for(index, address.address())
    }

    /// The same with an address of IPv4 for which the caller has asked the link, as DHCP does: it is there at once.
    ///
    /// # Errors
    /// `ENXIO` (no such interface), `EEXIST` (some interface has it), `EINVAL` (nobody can have it), `EAFNOSUPPORT` (it is one of IPv6).
    pub fn add_probed_address(&self, interface: &str, address: Cidr) -> Result<()> {
        let index = self.ready_for(interface, address)?;
        let IpAddr::V4(ip) = address.address() else {
            return Err(Errno::EAFNOSUPPORT);
        };
        self.with(|stack| stack.arp_settle(index, address, ip))
    }

    /// Sets an interface up that is to have an address; returns its number.
    fn ready_for(&self, interface: &str, address: Cidr) -> Result<u32> {
        let ifnet = self.interface(interface)?;
        let ip = address.address();
        if ip.is_multicast() || ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(Errno::EINVAL);
        }
        ifnet.set_up(true);
        let index = ifnet.index();
        self.with(|stack| {
            stack.attach(&ifnet);
            stack.tell_up(index);
        });
        Ok(index)
    }

    /// Waits until nobody else has claimed an address.
    fn wait_for(&self, interface: u32, ip: IpAddr) -> Result<()> {
        loop {
            let ticket = self.addresses_changed.ticket();
            let (there, due) = self.look(|stack| {
                let mut all = stack.attached(interface).into_iter();
                let there = all.any(|here| here.addresses.iter().any(|c| c.address() == ip));
                (there, stack.due(interface, ip))
            });
            if there {
                return Ok(());
            }
            // As long as questions go on: how many there are, and how long each takes, is not known here, and a router may change it.
            let end = due.ok_or(Errno::EADDRINUSE)?.after(PATIENCE);
            if self.host.monotonic() >= end {
                return Err(Errno::ETIMEDOUT);
            }
            self.addresses_changed.wait(ticket, Some(end));
        }
    }

    /// How often a link is asked for an address of IPv4 before it is used (RFC 5227 section 2.1.1): 0, not at all, unless told otherwise. 3, as the RFC has
    /// it, takes four to seven seconds for each address.
    pub fn set_probes(&self, count: u8) {
        self.with(|stack| stack.ip.arp.probes = count);
    }

    /// Addresses of IPv4 of an interface that wait for nobody else to have them.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn tentative(&self, interface: &str) -> Result<Vec<Ipv4Addr>> {
        let index = self.interface(interface)?.index();
        Ok(self.look(|stack| stack.ip.arp.tentative(index).collect()))
    }

    /// Takes an address away, and its route if no other address has it. One that waits for nobody else to have it does not wait any more.
    ///
    /// # Errors
    /// `ENXIO`, `EADDRNOTAVAIL`.
    pub fn remove_address(&self, interface: &str, address: IpAddr) -> Result<()> {
        let index = self.interface(interface)?.index();
        self.with(|stack| {
            if let IpAddr::V4(ip) = address
                && stack.arp_give_up(index, ip)
            {
                return Ok(());
            }
            if stack.due(index, address).is_none() {
                stack.unassign(index, address)?;
            }
            if let (IpAddr::V6(ip), Some(network)) = (address, stack.network) {
                network.removed_address(stack, index, ip);
                stack.announce_addresses();
            }
            Ok(())
        })
    }

    /// The addresses of an interface.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn addresses(&self, interface: &str) -> Result<Vec<Cidr>> {
        let index = self.interface(interface)?.index();
        Ok(self.look(|stack| {
            let here = stack.attached(index);
            here.map(|here| here.addresses.clone()).unwrap_or_default()
        }))
    }

    /// Sets an interface up without an address, as DHCP needs it.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn up(&self, interface: &str) -> Result<()> {
        let ifnet = self.interface(interface)?;
        ifnet.set_up(true);
        self.with(|stack| {
            stack.attach(&ifnet);
            stack.tell_up(ifnet.index());
        });
        Ok(())
    }

    /// Adds a route to a network: by a gateway, or on an interface's link.
    ///
    /// # Errors
    /// `ENETUNREACH`: the gateway is on no link. `EEXIST`; `EINVAL` (neither of them).
    pub fn add_route(
        &self,
        network: Cidr,
        gateway: Option<IpAddr>,
        interface: Option<&str>,
        metric: u32,
    ) -> Result<()> {
        let interface = interface.map(|name| self.interface(name)).transpose()?;
        self.with(|stack| {
            let index = match (gateway, &interface) {
                (_, Some(interface)) => interface.index(),
                (Some(gateway), None) => stack.on_link(gateway)?,
                (None, None) => return Err(Errno::EINVAL),
            };
            stack.routes.add(Route {
                network,
                gateway,
                interface: index,
                metric,
                source: None,
                origin: Origin::Static,
            })
        })
    }

    /// Removes routes to a network: all of them, or those by a gateway.
    ///
    /// # Errors
    /// `ESRCH`.
    pub fn remove_route(&self, network: Cidr, gateway: Option<IpAddr>) -> Result<()> {
        let network = network.network();
        let removed = self.with(|stack| {
            stack.routes.remove(|route| {
                route.network == network && (gateway.is_none() || route.gateway == gateway)
            })
        });
        if removed.is_empty() {
            return Err(Errno::ESRCH);
        }
        Ok(())
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        self.look(|stack| stack.routes.iter().copied().collect())
    }

    /// Notices of routes that come and go from now on, whoever adds or removes them: a program, DHCP, a router's advertisement or redirect, an
    /// address of an interface.
    #[must_use]
    pub fn watch_routes(&self) -> Watch {
        self.with(|stack| stack.routes.watch(self.host.event()))
    }

    /// The neighbours: interface, address, link address if known, state.
    #[must_use]
    pub fn neighbors(&self) -> Vec<(u32, IpAddr, Option<MacAddr>, State)> {
        self.look(|stack| stack.neighbors.iter().collect())
    }

    /// Enters a neighbour by hand.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn set_neighbor(&self, interface: &str, address: IpAddr, mac: MacAddr) -> Result<()> {
        let index = self.interface(interface)?.index();
        self.with(|stack| {
            let now = stack.now;
            stack.neighbors.set(index, address, mac, now);
        });
        Ok(())
    }

    /// Forgets neighbours: one, or all. Returns how many.
    #[must_use]
    pub fn forget_neighbors(&self, address: Option<IpAddr>) -> usize {
        self.with(|stack| {
            let gone = |_, other| address.is_none_or(|address| address == other);
            stack.neighbors.remove(gone)
        })
    }

    /// Whether packets for others are passed on.
    #[must_use]
    pub fn forwarding(&self) -> bool {
        self.look(|stack| stack.ip.forwarding)
    }

    /// Has packets for others passed on, or not.
    pub fn set_forwarding(&self, on: bool) {
        self.with(|stack| stack.ip.forwarding = on);
    }
}

impl Stack {
    /// When an address that waits for nobody else to have it is asked for next, or is this host's; `None`: it does not wait.
    fn due(&self, interface: u32, address: IpAddr) -> Option<Instant> {
        match (address, self.network) {
            (IpAddr::V4(ip), _) => self.ip.arp.due(interface, ip),
            (IpAddr::V6(ip), Some(network)) => network.due(self, interface, ip),
            (IpAddr::V6(_), None) => None,
        }
    }

    /// An interface is up, or still is: IPv6 looks whether it is there.
    pub(crate) fn tell_up(&mut self, interface: u32) {
        if let Some(network) = self.network {
            network.up(self, interface);
        }
    }

    /// The interface whose link a gateway is on.
    fn on_link(&self, gateway: IpAddr) -> Result<u32> {
        let direct = |route: &Route| route.gateway.is_none();
        let route = self.routes.find(gateway, direct);
        route.map(|route| route.interface).ok_or(Errno::ENETUNREACH)
    }
}

/// The Internet family of a kernel, for its consumers.
pub trait KernelInet {
    /// The family.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` when the kernel has none.
    fn inet(&self) -> Result<alloc::sync::Arc<Inet>>;
}

impl KernelInet for Kernel {
    fn inet(&self) -> Result<alloc::sync::Arc<Inet>> {
        self.service().ok_or(Errno::EAFNOSUPPORT)
    }
}
