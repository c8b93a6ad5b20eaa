//! A hash table in which the hash says where to look.
//!
//! Where a table has no place in the processor's caches, each line that an answer leads over is a wait for memory. The tables of the library
//! look at a byte of the hash first, which is elsewhere; here hash and value lie side by side, from where the hash says on. So it is for small values,
//! of which many fit on a line.

use alloc::vec::Vec;

/// Values by hash; equal hashes are told apart by the caller.
pub(crate) struct ByHash<T> {
    /// A power of two of them, five of eight in use at most, or none; a value stands where its hash says, or behind that with no empty slot between.
    slots: Vec<Option<(u64, T)>>,
    len: usize,
}

impl<T> Default for ByHash<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
        }
    }
}

impl<T> ByHash<T> {
    const LEAST: usize = 4;

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn place(&self, hash: u64, mut is: impl FnMut(&T) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        // There is an empty slot, always.
        while let Some((its, value)) = &self.slots[at] {
            if *its == hash && is(value) {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    pub(crate) fn find(&self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&T> {
        let at = self.place(hash, is)?;
        self.slots[at].as_ref().map(|(_, value)| value)
    }

    /// Puts a value in beside all that are there.
    pub(crate) fn insert(&mut self, hash: u64, value: T) {
        if (self.len + 1) * 8 > self.slots.len() * 5 {
            self.resize((self.slots.len() * 2).max(Self::LEAST));
        }
        self.put(hash, value);
        self.len += 1;
    }

    fn put(&mut self, hash: u64, value: T) {
        let mut at = self.home(hash);
        while self.slots[at].is_some() {
            at = self.next(at);
        }
        self.slots[at] = Some((hash, value));
    }

    fn resize(&mut self, slots: usize) {
        let mut new = Vec::with_capacity(slots);
        new.resize_with(slots, || None);
        let old = core::mem::replace(&mut self.slots, new);
        for (hash, value) in old.into_iter().flatten() {
            self.put(hash, value);
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<T> {
        let mut gap = self.place(hash, is)?;
        let removed = self.slots[gap].take();
        self.len -= 1;
        // What stands behind it moves up, unless it stands where it should or would come before that.
        let mut at = self.next(gap);
        while let Some((hash, _)) = &self.slots[at] {
            let home = self.home(*hash);
            let mask = self.slots.len() - 1;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots.swap(gap, at);
                gap = at;
            }
            at = self.next(at);
        }
        removed.map(|(_, value)| value)
    }

    /// Gives memory back if most slots are empty.
    pub(crate) fn shrink(&mut self) {
        if self.slots.len() > 64 && self.len < self.slots.len() / 8 {
            self.resize((self.len * 4).next_power_of_two());
        }
    }

    /// Takes out what is not to be kept.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let count = self.slots.len();
        let old = core::mem::take(&mut self.slots);
        self.slots.resize_with(count, || None);
        self.len = 0;
        for (hash, value) in old.into_iter().flatten() {
            if keep(&value) {
                self.put(hash, value);
                self.len += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ByHash;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Hashes that meet and that run around the end, as a multiset of `(hash, value)`.
        #[test]
        fn it_is_a_multiset(ops in proptest::collection::vec((0..4_u8, 0..24_u64, 0..3_u8), 1..400)) {
            let mut table = ByHash::default();
            let mut model: Vec<(u64, u8)> = Vec::new();
            for (op, hash, value) in ops {
                let hash = hash.wrapping_sub(8) ^ (hash & 1) << 40;
                let there = model.iter().position(|entry| *entry == (hash, value));
                prop_assert_eq!(table.find(hash, |v| *v == value).copied(), there.map(|_| value));
                match op {
                    0 | 1 => {
                        table.insert(hash, value);
                        model.push((hash, value));
                    }
                    2 => {
                        let removed = table.remove(hash, |v| *v == value);
                        prop_assert_eq!(removed, there.map(|at| model.swap_remove(at).1));
                    }
                    _ if hash & 7 == 0 => {
                        table.retain(|v| *v != value);
                        model.retain(|(_, v)| *v != value);
                    }
                    _ => table.shrink(),
                }
                prop_assert_eq!(table.len(), model.len());
                let sum = |values: &mut dyn Iterator<Item = u8>| values.map(u32::from).sum::<u32>();
                prop_assert_eq!(sum(&mut table.slots.iter().flatten().map(|e| e.1)), sum(&mut model.iter().map(|e| e.1)));
            }
        }
    }

    #[test]
    fn it_gives_memory_back() {
        let mut table = ByHash::default();
        (0..10_000_u64).for_each(|n| table.insert(n * 7, n));
        assert!(table.slots.len() >= 16_000 && table.slots.len() <= 1 << 15);
        for n in 0..9_990 {
            assert_eq!(table.remove(n * 7, |_| true), Some(n));
            table.shrink();
        }
        assert_eq!((table.len(), table.slots.len()), (10, 64));
        assert!((9_990..10_000).all(|n| table.find(n * 7, |v| *v == n).is_some()));
    }
}
