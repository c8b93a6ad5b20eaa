//! The pages of a file by their number.

use super::page::Page;
use core::hash::{BuildHasherDefault, Hasher};
use hashbrown::HashMap;

/// Pages by number. The first page, the only one of most files, has a place of its own and needs no table.
#[derive(Default)]
pub(super) struct PageMap {
    first: Option<Page>,
    rest: HashMap<u64, Page, BuildHasherDefault<IndexHasher>>,
}

/// Page numbers are dense and no attacker's choice gains more than a slow file of his own.
#[derive(Default)]
struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        // Multiplication mixes upwards, the table looks at the top and the bottom bits.
        let mixed = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl PageMap {
    pub(super) fn get(&self, index: u64) -> Option<&Page> {
        if index == 0 {
            self.first.as_ref()
        } else {
            self.rest.get(&index)
        }
    }

    pub(super) fn get_mut(&mut self, index: u64) -> Option<&mut Page> {
        if index == 0 {
            self.first.as_mut()
        } else {
            self.rest.get_mut(&index)
        }
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        self.get(index).is_some()
    }

    pub(super) fn insert(&mut self, index: u64, page: Page) {
        if index == 0 {
            self.first = Some(page);
        } else {
            self.rest.insert(index, page);
        }
    }

    pub(super) fn remove(&mut self, index: u64) -> Option<Page> {
        if index == 0 {
            self.first.take()
        } else {
            self.rest.remove(&index)
        }
    }

    /// The numbers, in no order.
    pub(super) fn indices(&self) -> impl Iterator<Item = u64> {
        let first = self.first.iter().map(|_| 0);
        first.chain(self.rest.keys().copied())
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len() + usize::from(self.first.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }
}
