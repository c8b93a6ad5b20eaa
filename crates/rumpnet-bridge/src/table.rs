//! Who is where.

use alloc::vec::Vec;
use core::time::Duration;
use hashbrown::HashMap;
use rumpnet::MacAddr;
use rumpuser::Instant;

/// How often a full table is searched for what is too old.
const SEARCH: Duration = Duration::from_secs(1);

/// An address that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The address.
    pub mac: MacAddr,
    /// Number of the interface behind which it is.
    pub port: u32,
    /// How long ago it was heard of.
    pub age: Duration,
}

/// The addresses that are known.
pub(crate) struct Table {
    ageing: Duration,
    limit: usize,
    map: HashMap<MacAddr, (u32, Instant)>,
    /// When it is searched again.
    search: Instant,
}

impl Table {
    pub(crate) fn new(ageing: Duration, limit: usize) -> Self {
        Self {
            ageing,
            limit,
            map: HashMap::new(),
            search: Instant::default(),
        }
    }

    /// An address was heard of; `false`: it is new, and there is no room.
    pub(crate) fn learn(&mut self, mac: MacAddr, port: u32, now: Instant) -> bool {
        if let Some(entry) = self.map.get_mut(&mac) {
            *entry = (port, now);
            return true;
        }
        if self.map.len() >= self.limit && now >= self.search {
            self.search = now.after(SEARCH);
            let ageing = self.ageing;
            self.map.retain(|_, (_, then)| now.since(*then) <= ageing);
        }
        if self.map.len() >= self.limit {
            return false;
        }
        self.map.insert(mac, (port, now));
        true
    }

    /// Where an address is.
    pub(crate) fn find(&mut self, mac: MacAddr, now: Instant) -> Option<u32> {
        let (port, then) = *self.map.get(&mac)?;
        if now.since(then) > self.ageing {
            self.map.remove(&mac);
            return None;
        }
        Some(port)
    }

    /// Forgets all behind an interface.
    pub(crate) fn forget(&mut self, port: u32) {
        self.map.retain(|_, (other, _)| *other != port);
    }

    pub(crate) fn entries(&self, now: Instant) -> Vec<Entry> {
        let entry = |(mac, (port, then)): (&MacAddr, &(u32, Instant))| Entry {
            mac: *mac,
            port: *port,
            age: now.since(*then),
        };
        let live = self.map.iter().map(entry).filter(|e| e.age <= self.ageing);
        let mut all: Vec<Entry> = live.collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use core::time::Duration;
    use rumpnet::MacAddr;
    use rumpuser::Instant;

    fn at(seconds: u64) -> Instant {
        Instant::default().after(Duration::from_secs(seconds))
    }

    fn mac(n: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, n])
    }

    #[test]
    fn addresses_age_and_move() {
        let mut table = Table::new(Duration::from_secs(300), 10);
        assert!(table.learn(mac(1), 1, at(0)) && table.learn(mac(2), 1, at(100)));
        assert!(table.learn(mac(2), 7, at(200)));
        assert_eq!(table.find(mac(1), at(300)), Some(1));
        assert_eq!(table.find(mac(1), at(301)), None);
        assert_eq!(table.find(mac(2), at(301)), Some(7));
        assert_eq!(table.entries(at(301)).len(), 1);
        table.forget(7);
        assert_eq!(table.find(mac(2), at(301)), None);
    }

    #[test]
    fn no_more_than_the_limit() {
        let mut table = Table::new(Duration::from_secs(300), 10);
        assert!((0..10).all(|n| table.learn(mac(n), 1, at(0))));
        assert!(!table.learn(mac(10), 1, at(1)));
        assert!(table.learn(mac(3), 2, at(250)));
        // All but one have aged.
        assert!(table.learn(mac(11), 1, at(301)));
        assert_eq!(table.entries(at(301)).len(), 2);
    }
}
