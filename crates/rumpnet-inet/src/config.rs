//! Addresses and routes of a kernel: what `ifconfig` and `route` do.

use crate::stack::{Inet, Stack};
use alloc::vec::Vec;
use core::net::IpAddr;
use rumpkern::Kernel;
use rumpnet::{
    Cidr, MacAddr,
    neighbor::State,
    route::{Origin, Route},
};
use rumpuser::{Errno, Result};

impl Inet {
    /// Gives an interface an address, and a route to its network; sets it up, and tells the link of the address.
    ///
    /// # Errors
    /// `ENXIO` (no such interface), `EEXIST` (some interface has it), `EINVAL` (nobody can have it).
    pub fn add_address(&self, interface: &str, address: Cidr) -> Result<()> {
        let ifnet = self.interface(interface)?;
        let ip = address.address();
        if ip.is_multicast()
            || ip.is_unspecified()
            || ip == IpAddr::V4(core::net::Ipv4Addr::BROADCAST)
        {
            return Err(Errno::EINVAL);
        }
        ifnet.set_up(true);
        self.with(|stack| {
            let mut all = stack.interfaces.iter().flat_map(|here| &here.addresses);
            if all.any(|cidr| cidr.address() == ip) {
                return Err(Errno::EEXIST);
            }
            stack.attach(&ifnet).addresses.push(address);
            let route = Route {
                network: address.network(),
                gateway: None,
                interface: ifnet.index(),
                metric: ifnet.index(),
                source: Some(ip),
                origin: Origin::Connected,
            };
            // A second address of the same network has its route already.
            match stack.routes.add(route) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
            if let IpAddr::V4(ip) = ip {
                stack.arp_announce(ifnet.index(), ip);
            }
            Ok(())
        })
    }

    /// Takes an address away, and its route if no other address has it.
    ///
    /// # Errors
    /// `ENXIO`, `EADDRNOTAVAIL`.
    pub fn remove_address(&self, interface: &str, address: IpAddr) -> Result<()> {
        let index = self.interface(interface)?.index();
        self.with(|stack| {
            let all = &mut stack.interfaces;
            let here = all.iter_mut().find(|here| here.ifnet.index() == index);
            let here = here.ok_or(Errno::EADDRNOTAVAIL)?;
            let at = here.addresses.iter().position(|c| c.address() == address);
            let gone = here.addresses.remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
            let heir = here
                .addresses
                .iter()
                .find(|c| c.network() == gone.network());
            let heir = heir.map(|cidr| cidr.address());
            let removed = stack.routes.remove(|route| {
                route.origin == Origin::Connected
                    && route.interface == index
                    && route.network == gone.network()
            });
            if let (Some(heir), Some(route)) = (heir, removed.first()) {
                stack.routes.add(Route {
                    source: Some(heir),
                    ..*route
                })?;
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
