//! Vnodes by inode number, so that neighbours are neighbours.
//!
//! Files that are made, listed and removed together mostly have numbers in a row. A hash that scatters them brings a
//! cache line from memory for each; here sixteen numbers in a row lie side by side, four on a line.

use crate::vnode::Vnode;
use alloc::sync::Arc;
use core::hash::BuildHasher;
use hashbrown::{DefaultHashBuilder, HashTable};

/// What a mount knows of an inode number.
pub(crate) enum Slot {
    Live(Arc<Vnode>),
    /// A thread loads it, or gives it back to the driver; others wait.
    Busy,
}

/// Numbers in a row that lie side by side; a power of two.
const ROW: u64 = 16;

/// A table of slots.
#[derive(Default)]
pub(crate) struct Slots {
    table: HashTable<(u64, Slot)>,
    /// With a seed: whoever makes an image cannot choose numbers that meet.
    hasher: DefaultHashBuilder,
}

/// The row decides where in the table (the low bits of a hash), the number which place of the row. The top bits are
/// what the table compares first; they differ in a row, too.
fn hash(hasher: &DefaultHashBuilder, ino: u64) -> u64 {
    let place = ino % ROW;
    (hasher.hash_one(ino / ROW) << ROW.ilog2() | place) ^ place << 57
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn get(&self, ino: u64) -> Option<&Slot> {
        let found = self.table.find(hash(&self.hasher, ino), |s| s.0 == ino)?;
        Some(&found.1)
    }

    pub(crate) fn get_mut(&mut self, ino: u64) -> Option<&mut Slot> {
        let hash = hash(&self.hasher, ino);
        let found = self.table.find_mut(hash, |s| s.0 == ino)?;
        Some(&mut found.1)
    }

    /// Fills a place that may be in use.
    pub(crate) fn insert(&mut self, ino: u64, slot: Slot) {
        if let Some(old) = self.get_mut(ino) {
            *old = slot;
            return;
        }
        let Self { table, hasher } = self;
        table.insert_unique(hash(hasher, ino), (ino, slot), |s| hash(hasher, s.0));
    }

    pub(crate) fn remove(&mut self, ino: u64) -> Option<Slot> {
        let hash = hash(&self.hasher, ino);
        let found = self.table.find_entry(hash, |s| s.0 == ino).ok()?;
        Some(found.remove().0.1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.table.iter().map(|(_, slot)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::{Slot, Slots, hash};
    use alloc::collections::BTreeSet;
    use hashbrown::DefaultHashBuilder;

    #[test]
    fn a_row_is_side_by_side_and_told_apart_by_the_top_bits() {
        let hasher = DefaultHashBuilder::default();
        for row in [0, 16, 1 << 20, 0x1234_5670, u64::MAX - 15] {
            let first = hash(&hasher, row);
            let mut tags = BTreeSet::new();
            for n in 0..16 {
                let hash = hash(&hasher, row + n);
                assert_eq!(hash & 0xff_ffff, (first & 0xff_ffff) + n);
                tags.insert(hash >> 57);
            }
            assert_eq!(tags.len(), 16);
        }
    }

    #[test]
    fn numbers_far_apart_are_spread() {
        let hasher = DefaultHashBuilder::default();
        for step in [16_u64, 4096, 1 << 32, 1 << 50] {
            let places: BTreeSet<_> = (0..256)
                .map(|n| hash(&hasher, n * step) >> 4 & 0xffff)
                .collect();
            assert!(places.len() > 200, "{step}: {}", places.len());
        }
    }

    #[test]
    fn places_are_filled_changed_and_emptied() {
        let mut slots = Slots::default();
        for ino in 0..1000 {
            slots.insert(ino * 3, Slot::Busy);
            slots.insert(ino * 3, Slot::Busy);
        }
        assert_eq!((slots.len(), slots.iter().count()), (1000, 1000));
        for ino in 0..3000 {
            assert_eq!(slots.get(ino).is_some(), ino % 3 == 0);
            assert_eq!(slots.get_mut(ino).is_some(), ino % 3 == 0);
            assert_eq!(slots.remove(ino).is_some(), ino % 3 == 0);
        }
        assert_eq!(slots.len(), 0);
    }
}
