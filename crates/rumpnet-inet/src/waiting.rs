//! What is left of connections in TIME-WAIT (RFC 9293 section 3.3.2).

use crate::{stack::earlier, tcp::TimeWait, tcp_table::Pair};
use alloc::collections::BinaryHeap;
use core::{
    cmp::Reverse,
    hash::{Hash, Hasher},
    net::{Ipv4Addr, SocketAddr},
};
use hashbrown::HashMap;
use rumpuser::Instant;

/// So many of a family at most: then the one that would end first ends.
const MOST: usize = 65_536;
/// Entries of the heap that are out of date before they are taken out.
const STALE: usize = 1_024;

/// The addresses of a connection of IPv4. There may be many, and [`Pair`] has room for those of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair4 {
    addresses: [u32; 2],
    ports: [u16; 2],
}

impl Pair4 {
    fn of(pair: &Pair) -> Option<Self> {
        let (SocketAddr::V4(local), SocketAddr::V4(peer)) = (pair.local, pair.peer) else {
            return None;
        };
        Some(Self {
            addresses: [local.ip().to_bits(), peer.ip().to_bits()],
            ports: [local.port(), peer.port()],
        })
    }

    fn pair(&self) -> Pair {
        let ([local, peer], [own, other]) = (self.addresses.map(Ipv4Addr::from_bits), self.ports);
        Pair {
            local: (local, own).into(),
            peer: (peer, other).into(),
        }
    }
}

/// As that of [`Pair`].
impl Hash for Pair4 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ([local, peer], [own, other]) = (self.addresses, self.ports);
        state.write_u64(u64::from(local) << 32 | u64::from(peer));
        state.write_u32(u32::from(own) << 16 | u32::from(other));
    }
}

/// All such connections.
#[derive(Default)]
pub(crate) struct Waiting {
    v4: Family<Pair4>,
    v6: Family<Pair>,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.v4.map.len().saturating_add(self.v6.map.len())
    }

    /// Entries that are held, those out of date too.
    pub(crate) fn entries(&self) -> usize {
        self.v4.ends.len().saturating_add(self.v6.ends.len())
    }

    pub(crate) fn contains_key(&self, pair: &Pair) -> bool {
        match Pair4::of(pair) {
            Some(pair) => self.v4.map.contains_key(&pair),
            None => self.v6.map.contains_key(pair),
        }
    }

    pub(crate) fn get_mut(&mut self, pair: &Pair) -> Option<&mut TimeWait> {
        let found = match Pair4::of(pair) {
            Some(pair) => self.v4.map.get_mut(&pair),
            None => self.v6.map.get_mut(pair),
        };
        found.map(|(rest, _)| rest)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Pair> {
        let v4 = self.v4.map.keys().map(Pair4::pair);
        v4.chain(self.v6.map.keys().copied())
    }

    pub(crate) fn remove(&mut self, pair: &Pair) {
        if self.len() == 0 {
            return;
        }
        match Pair4::of(pair) {
            Some(pair) => drop(self.v4.map.remove(&pair)),
            None => drop(self.v6.map.remove(pair)),
        }
    }

    pub(crate) fn insert(&mut self, pair: Pair, rest: TimeWait) {
        match Pair4::of(&pair) {
            Some(pair) => self.v4.insert(pair, rest),
            None => self.v6.insert(pair, rest),
        }
    }

    /// When the first of them ends, or earlier.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        earlier(self.v4.deadline(), self.v6.deadline())
    }

    /// Forgets those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.v4.expire(now);
        self.v6.expire(now);
    }
}

/// The connections of a family by their addresses, and in the order in which they end.
struct Family<K> {
    /// With the time of its entry among the ends, which may be too early.
    map: HashMap<K, (TimeWait, Instant)>,
    /// Each connection has one entry that counts; those of connections that went earlier are out of date.
    ends: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for Family<K> {
    fn default() -> Self {
        Self {
            map: HashMap::default(),
            ends: BinaryHeap::new(),
        }
    }
}

impl<K: Copy + Ord + Hash> Family<K> {
    fn insert(&mut self, pair: K, rest: TimeWait) {
        while self.map.len() >= MOST
            && let Some(Reverse(first)) = self.ends.pop()
        {
            if self.counts(first) {
                self.map.remove(&first.1);
            }
        }
        if self.ends.len() > self.map.len().saturating_mul(2).saturating_add(STALE) {
            let map = &self.map;
            self.ends.retain(|Reverse((at, pair))| {
                map.get(pair).is_some_and(|(_, listed)| listed == at)
            });
        }
        let until = rest.until();
        self.map.insert(pair, (rest, until));
        self.ends.push(Reverse((until, pair)));
    }

    fn counts(&self, (at, pair): (Instant, K)) -> bool {
        self.map.get(&pair).is_some_and(|(_, listed)| *listed == at)
    }

    fn deadline(&self) -> Option<Instant> {
        self.ends.peek().map(|Reverse((at, _))| *at)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, pair))) = self.ends.peek().copied() {
            if at > now {
                return;
            }
            self.ends.pop();
            if !self.counts((at, pair)) {
                continue;
            }
            match self.map.get_mut(&pair) {
                // It has heard from its peer since.
                Some((rest, listed)) if rest.until() > at => {
                    *listed = rest.until();
                    self.ends.push(Reverse((*listed, pair)));
                }
                _ => drop(self.map.remove(&pair)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    fn pair(n: usize) -> Pair {
        let address = |host, port| SocketAddr::new([10, 0, 0, host].into(), port);
        let [high, low] = u16::try_from(n % 65_536).unwrap().to_be_bytes();
        Pair {
            local: address(1, u16::from(high)),
            peer: address(u8::try_from(n / 65_536).unwrap(), u16::from(low)),
        }
    }

    fn rest(seconds: u64) -> TimeWait {
        TimeWait::ending(Instant(seconds.saturating_mul(1_000_000_000)))
    }

    #[test]
    fn they_end_in_their_order() {
        let mut waiting = Waiting::default();
        waiting.insert(pair(1), rest(9));
        waiting.insert(pair(2), rest(5));
        assert_eq!(waiting.deadline(), Some(rest(5).until()));
        waiting.expire(rest(5).until());
        assert!(!waiting.contains_key(&pair(2)) && waiting.contains_key(&pair(1)));
        *waiting.get_mut(&pair(1)).unwrap() = rest(20);
        waiting.expire(rest(9).until());
        assert!(waiting.contains_key(&pair(1)));
        assert_eq!(waiting.deadline(), Some(rest(20).until()));
        waiting.expire(rest(20).until());
        assert_eq!((waiting.len(), waiting.entries()), (0, 0));
    }

    /// A connection whose addresses are used again and again leaves nothing behind.
    #[test]
    fn the_same_addresses_again() {
        let mut waiting = Waiting::default();
        for second in 0..10_000_u64 {
            waiting.insert(pair(1), rest(second.saturating_add(60)));
            waiting.expire(rest(second).until());
            waiting.remove(&pair(1));
        }
        assert!(waiting.len() == 0 && waiting.entries() < 2_000);
    }

    #[test]
    fn both_families() {
        let v6 = Pair {
            local: ([0_u16; 8], 80).into(),
            peer: ([1_u16; 8], 90).into(),
        };
        let mut waiting = Waiting::default();
        waiting.insert(v6, rest(9));
        waiting.insert(pair(1), rest(5));
        assert!(waiting.contains_key(&v6) && waiting.get_mut(&pair(1)).is_some());
        assert!(waiting.keys().eq([pair(1), v6]));
        assert_eq!(
            (waiting.len(), waiting.deadline()),
            (2, Some(rest(5).until()))
        );
        waiting.expire(rest(5).until());
        assert!(!waiting.contains_key(&pair(1)));
        assert_eq!(waiting.deadline(), Some(rest(9).until()));
        waiting.remove(&v6);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn there_is_a_most() {
        let mut waiting = Waiting::default();
        for n in 0..MOST + 10 {
            waiting.insert(pair(n), rest(n as u64));
        }
        assert_eq!((waiting.len(), waiting.entries()), (MOST, MOST));
        assert!(!waiting.contains_key(&pair(9)) && waiting.contains_key(&pair(10)));
    }
}
