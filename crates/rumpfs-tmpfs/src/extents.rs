//! Which blocks of a file are allocated.

use alloc::collections::BTreeMap;

/// A set of block numbers below 2^52, kept as runs. Most files are one run from 0, which takes no memory of its own.
#[derive(Clone, Debug)]
pub(crate) enum Extents {
    /// The run `start .. end`.
    One(u64, u64),
    /// Runs by their start, with their end; they neither overlap nor touch.
    Many(BTreeMap<u64, u64>),
}

impl Default for Extents {
    fn default() -> Self {
        Self::One(0, 0)
    }
}

impl Extents {
    /// Whether `block` is in the set, and up to where that holds (`u64::MAX`: nothing follows).
    pub(crate) fn find(&self, block: u64) -> (bool, u64) {
        match self {
            Self::One(start, end) if block < *start && start < end => (false, *start),
            Self::One(_, end) if block < *end => (true, *end),
            Self::One(..) => (false, u64::MAX),
            Self::Many(runs) => {
                if let Some((_, end)) = runs.range(..=block).next_back()
                    && block < *end
                {
                    return (true, *end);
                }
                let next = runs.range(block..).next();
                (false, next.map_or(u64::MAX, |(start, _)| *start))
            }
        }
    }

    /// Calls `each` with the runs of `start .. end` that are not in the set, until it says `false`.
    pub(crate) fn gaps(&self, start: u64, end: u64, mut each: impl FnMut(u64, u64) -> bool) {
        let mut at = start;
        while at < end {
            let (inside, to) = self.find(at);
            let to = to.min(end);
            if !inside && !each(at, to) {
                return;
            }
            at = to;
        }
    }

    /// How many blocks of `start .. end` are not in the set.
    pub(crate) fn missing(&self, start: u64, end: u64) -> u64 {
        let mut count = 0_u64;
        self.gaps(start, end, |from, to| {
            count = count.saturating_add(to.saturating_sub(from));
            true
        });
        count
    }

    /// Adds `start .. end`.
    pub(crate) fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        match self {
            Self::One(s, e) if *s >= *e => (*s, *e) = (start, end),
            Self::One(s, e) if start <= *e && *s <= end => {
                (*s, *e) = ((*s).min(start), (*e).max(end));
            }
            Self::One(s, e) => *self = Self::Many(BTreeMap::from([(*s, *e), (start, end)])),
            Self::Many(runs) => {
                let (mut start, mut end) = (start, end);
                // Runs that overlap or touch become one.
                while let Some((&s, &e)) = runs.range(..=end).next_back() {
                    if e < start {
                        break;
                    }
                    (start, end) = (start.min(s), end.max(e));
                    runs.remove(&s);
                }
                runs.insert(start, end);
            }
        }
    }

    /// Takes `start .. end` out; how many blocks of it were in the set.
    pub(crate) fn remove(&mut self, start: u64, end: u64) -> u64 {
        if start >= end {
            return 0;
        }
        let gone = end
            .saturating_sub(start)
            .saturating_sub(self.missing(start, end));
        if gone == 0 {
            return 0;
        }
        match self {
            Self::One(s, e) => {
                let (before, after) = ((*s, (*e).min(start)), ((*s).max(end), *e));
                match (before.0 < before.1, after.0 < after.1) {
                    (true, true) => *self = Self::Many(BTreeMap::from([before, after])),
                    (true, false) => *self = Self::One(before.0, before.1),
                    (false, true) => *self = Self::One(after.0, after.1),
                    (false, false) => *self = Self::default(),
                }
            }
            Self::Many(runs) => {
                while let Some((&s, &e)) = runs.range(..end).next_back() {
                    if e <= start {
                        break;
                    }
                    runs.remove(&s);
                    if e > end {
                        runs.insert(end, e);
                    }
                    if s < start {
                        runs.insert(s, start);
                    }
                }
                if runs.is_empty() {
                    *self = Self::default();
                }
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::Extents;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn extents_are_a_set(ops in proptest::collection::vec((any::<bool>(), 0..60_u64, 0..20_u64), 1..60)) {
            let mut extents = Extents::default();
            let mut model = [false; 80];
            for (add, start, len) in ops {
                let range = start as usize..(start + len) as usize;
                let inside = model[range.clone()].iter().filter(|b| **b).count() as u64;
                prop_assert_eq!(extents.missing(start, start + len), len - inside);
                if add {
                    extents.insert(start, start + len);
                } else {
                    prop_assert_eq!(extents.remove(start, start + len), inside);
                }
                model[range].fill(add);
                for (block, expected) in model.iter().enumerate() {
                    let (found, to) = extents.find(block as u64);
                    prop_assert_eq!(found, *expected);
                    let to = to.min(80) as usize;
                    let same: Vec<_> = model[block..to].iter().filter(|b| *b != expected).collect();
                    prop_assert!(to > block && same.is_empty());
                }
            }
        }
    }
}
