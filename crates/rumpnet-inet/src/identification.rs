//! Identifications of packets of IPv4 (RFC 791 section 3.2, RFC 6864).
//!
//! One that counts up tells everybody how much a host sends, and lets them forge fragments (RFC 7739 section 3, which holds for IPv4 as well).
//! These look like random ones, and yet none comes again before 32,768 others: they go through all numbers of 15 bits in an order that
//! only this host knows, a Feistel network whose tables are made of a secret, with the 16th bit clear; then through all with it set, in another.

use crate::tcp::cookie::{Secret, keyed};
use rumpuser::Host;

/// Numbers of an order.
const ROUND: u16 = 1 << 15;
const ROUNDS: usize = 4;

/// Gives them out.
pub(crate) struct Identifications {
    secret: Secret,
    /// How many orders there were.
    orders: u32,
    /// The next place in this one.
    place: u16,
    tables: [[u8; 256]; ROUNDS],
}

impl Identifications {
    pub(crate) fn new(host: &dyn Host) -> Self {
        let mut secret = [0; 16];
        host.random(&mut secret);
        let mut all = Self {
            secret: Secret(secret),
            orders: 0,
            place: 0,
            tables: [[0; 256]; ROUNDS],
        };
        all.shuffle();
        all
    }

    /// Makes the tables of the next order.
    fn shuffle(&mut self) {
        self.orders = self.orders.wrapping_add(1);
        let (words, _) = self.tables.as_flattened_mut().as_chunks_mut::<8>();
        let orders = u64::from(self.orders) << 32;
        for (number, word) in (orders..).zip(words) {
            *word = keyed(&self.secret, &number.to_be_bytes()).to_be_bytes();
        }
    }

    /// The next one.
    #[inline]
    pub(crate) fn next(&mut self) -> u16 {
        if self.place == ROUND {
            self.place = 0;
            self.shuffle();
        }
        let id = self.at(self.place);
        self.place = self.place.wrapping_add(1);
        id
    }

    /// The number at a place of this order: 8 and 7 bits change each other in turn.
    #[inline]
    const fn at(&self, place: u16) -> u16 {
        let [high, low] = place.to_be_bytes();
        let [one, two, three, four] = &self.tables;
        let (mut low, mut high) = (low, high & 0x7f);
        low ^= one[high as usize];
        high ^= two[low as usize] & 0x7f;
        low ^= three[high as usize];
        high ^= four[low as usize] & 0x7f;
        let [.., odd] = self.orders.to_be_bytes();
        u16::from_be_bytes([high | (odd << 7), low])
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, vec::Vec};

    fn some(count: usize) -> Vec<u16> {
        let mut ids = Identifications::new(&*rumpuser_posix::Host::new());
        (0..count).map(|_| ids.next()).collect()
    }

    /// RFC 6864 section 4.2: none comes again while packets of it may be under way, which is as late as 16 bits permit.
    #[test]
    fn none_comes_again_soon() {
        let ids = some(200_000);
        let mut last = alloc::vec![usize::MAX; 65_536];
        for (at, id) in ids.iter().enumerate() {
            let before = core::mem::replace(&mut last[usize::from(*id)], at);
            assert!(before == usize::MAX || at - before > 32_768, "{id} at {at}");
        }
        assert!(last.iter().all(|at| *at != usize::MAX));
    }

    /// RFC 7739 section 3: from some nobody tells the next. No difference between neighbours is frequent, and each kernel and each order
    /// has its own.
    #[test]
    fn unforeseeable() {
        let ids = some(65_536);
        let mut differences = alloc::collections::BTreeMap::<u16, usize>::new();
        for pair in ids.windows(2) {
            *differences
                .entry(pair[1].wrapping_sub(pair[0]))
                .or_default() += 1;
        }
        assert!(differences.values().all(|count| *count < 400));
        let other = some(1_000);
        let same = ids.iter().zip(&other).filter(|(one, two)| one == two);
        assert!(same.count() < 20);
        let low = |ids: &[u16]| ids.iter().map(|id| id & 0x7fff).collect::<Vec<_>>();
        assert_ne!(low(&ids[..100]), low(&ids[32_768..32_868]));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 65_536);
    }
}
