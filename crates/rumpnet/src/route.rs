//! Routes: which way a packet goes.

mod watch;

pub use watch::{Change, Watch};

use crate::Cidr;
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::net::IpAddr;
use rumpuser::{Errno, Event, Result};
use watch::Watches;

/// A route: packets for a network leave by an interface, to the next hop or to their destination itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub network: Cidr,
    /// The gateway; `None` when the network is on the interface's own link.
    pub gateway: Option<IpAddr>,
    /// Number of the interface.
    pub interface: u32,
    /// Of the routes to one network, the one with the lowest metric is taken.
    pub metric: u32,
    /// Source address of packets that have none yet.
    pub source: Option<IpAddr>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An interface has an address in the network.
    Connected,
    /// It was configured.
    Static,
    /// DHCP or a router's advertisement.
    Dynamic,
}

/// The routes of a kernel; the longest prefix wins.
#[derive(Default)]
pub struct Table {
    /// By length of the prefix, longest first; then by network; the routes of one by metric.
    v4: BTreeMap<core::cmp::Reverse<u8>, BTreeMap<IpAddr, Vec<Route>>>,
    v6: BTreeMap<core::cmp::Reverse<u8>, BTreeMap<IpAddr, Vec<Route>>>,
    changes: u64,
    watches: Watches,
}

impl Table {
    /// Tells of every change from now on; the event is for who waits for one.
    pub fn watch(&mut self, event: Arc<dyn Event>) -> Watch {
        self.watches.add(event)
    }

    fn family(&self, v4: bool) -> &BTreeMap<core::cmp::Reverse<u8>, BTreeMap<IpAddr, Vec<Route>>> {
        if v4 { &self.v4 } else { &self.v6 }
    }

    /// How often it was changed: who keeps a route knows by it whether that is old.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Says that something that ways depend on besides routes has changed: addresses, sizes.
    pub const fn touch(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// Adds a route.
    ///
    /// # Errors
    /// `EEXIST`: there is one to the same network with the same metric. `EINVAL`: the gateway is of another family.
    pub fn add(&mut self, route: Route) -> Result<()> {
        let network = route.network.network();
        let v4 = network.address().is_ipv4();
        if route.gateway.is_some_and(|gateway| gateway.is_ipv4() != v4) {
            return Err(Errno::EINVAL);
        }
        let family = if v4 { &mut self.v4 } else { &mut self.v6 };
        let prefix = core::cmp::Reverse(network.prefix());
        let routes = family.entry(prefix).or_default();
        let routes = routes.entry(network.address()).or_default();
        let at = match routes.binary_search_by_key(&route.metric, |other| other.metric) {
            Ok(_) => return Err(Errno::EEXIST),
            Err(at) => at,
        };
        let route = Route { network, ..route };
        routes.insert(at, route);
        self.changes = self.changes.wrapping_add(1);
        self.watches.tell(Change::Added(route));
        Ok(())
    }

    /// Removes the routes that `gone` chooses; returns them.
    pub fn remove(&mut self, mut gone: impl FnMut(&Route) -> bool) -> Vec<Route> {
        let mut removed = Vec::new();
        for family in [&mut self.v4, &mut self.v6] {
            for networks in family.values_mut() {
                for routes in networks.values_mut() {
                    removed.extend(routes.extract_if(.., |route| gone(route)));
                }
                networks.retain(|_, routes| !routes.is_empty());
            }
            family.retain(|_, networks| !networks.is_empty());
        }
        self.changes = self.changes.wrapping_add(u64::from(!removed.is_empty()));
        for route in &removed {
            self.watches.tell(Change::Removed(*route));
        }
        removed
    }

    /// The route to a destination among those that `usable` allows.
    pub fn find(&self, to: IpAddr, mut usable: impl FnMut(&Route) -> bool) -> Option<&Route> {
        for (prefix, networks) in self.family(to.is_ipv4()) {
            let network = crate::address::mask(to, prefix.0);
            let routes = networks.get(&network).into_iter().flatten();
            if let Some(route) = routes.into_iter().find(|route| usable(route)) {
                return Some(route);
            }
        }
        None
    }

    /// All routes, IPv4 first, longest prefix first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        let networks = self.v4.values().chain(self.v6.values());
        networks.flat_map(BTreeMap::values).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(network: &str, interface: u32, metric: u32) -> Route {
        Route {
            network: network.parse().unwrap(),
            gateway: None,
            interface,
            metric,
            source: None,
            origin: Origin::Static,
        }
    }

    #[test]
    fn longest_prefix_then_lowest_metric() {
        let mut table = Table::default();
        table.add(route("0.0.0.0/0", 1, 0)).unwrap();
        table.add(route("10.0.0.0/8", 2, 5)).unwrap();
        table.add(route("10.0.0.0/8", 3, 1)).unwrap();
        table.add(route("10.1.2.3/32", 4, 0)).unwrap();
        assert_eq!(table.add(route("10.9.9.9/8", 9, 5)), Err(Errno::EEXIST));
        let find = |table: &Table, to: &str| {
            let found = table.find(to.parse().unwrap(), |route| route.interface != 3);
            found.map(|route| route.interface)
        };
        assert_eq!(find(&table, "10.1.2.3"), Some(4));
        assert_eq!(find(&table, "10.1.2.4"), Some(2));
        let any = table.find("10.1.2.4".parse().unwrap(), |_| true);
        assert_eq!(any.unwrap().interface, 3);
        assert_eq!(find(&table, "11.0.0.0"), Some(1));
        assert_eq!(find(&table, "::1"), None);
        assert_eq!(table.remove(|route| route.interface == 1).len(), 1);
        assert_eq!(find(&table, "11.0.0.0"), None);
        assert_eq!(table.iter().count(), 3);
    }
}
