//! A set of block numbers kept as ranges.

use alloc::collections::BTreeMap;

/// Disjoint ranges of blocks that do not touch: first block → block after the last.
#[derive(Debug, Default)]
pub(crate) struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// Adds `count` blocks from `first` on, merged with what they overlap or touch. The end of the numbers cuts it off.
    pub(crate) fn insert(&mut self, first: u64, count: u64) {
        let (mut start, mut end) = (first, first.saturating_add(count));
        if start == end {
            return;
        }
        while let Some((&s, &e)) = self.0.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.0.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    /// Whether any of `count` blocks from `first` on is in the set.
    pub(crate) fn touches(&self, first: u64, count: u64) -> bool {
        let end = first.saturating_add(count);
        self.0
            .range(..end)
            .next_back()
            .is_some_and(|(_, &e)| e > first)
    }

    /// The first range that overlaps `first .. end`.
    pub(crate) fn first_in(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        let before = self
            .0
            .range(..=first)
            .next_back()
            .filter(|&(_, &e)| e > first);
        before
            .or_else(|| self.0.range(first..end).next())
            .map(|(&s, &e)| (s, e))
    }

    /// Moves everything from `other` here.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if self.0.is_empty() {
            core::mem::swap(self, other);
            return;
        }
        while let Some((start, end)) = other.0.pop_first() {
            self.insert(start, end.saturating_sub(start));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    fn ranges(set: &RangeSet) -> Vec<(u64, u64)> {
        set.0.iter().map(|(&s, &e)| (s, e)).collect()
    }

    #[test]
    fn overlapping_and_touching_ranges_merge() {
        let mut set = RangeSet::default();
        set.insert(10, 5);
        set.insert(20, 5);
        set.insert(30, 0);
        assert_eq!(ranges(&set), vec![(10, 15), (20, 25)]);
        set.insert(15, 5);
        assert_eq!(ranges(&set), vec![(10, 25)]);
        set.insert(0, 100);
        assert_eq!(ranges(&set), vec![(0, 100)]);
    }

    #[test]
    fn touches_only_inside() {
        let mut set = RangeSet::default();
        set.insert(10, 5);
        assert!(
            !set.touches(0, 10) && set.touches(0, 11) && set.touches(14, 1) && !set.touches(15, 9)
        );
        assert!(!set.touches(12, 0) || set.touches(12, 1));
        set.insert(u64::MAX - 1, 9);
        assert!(set.touches(u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn first_in_finds_what_overlaps() {
        let mut set = RangeSet::default();
        set.insert(10, 5);
        set.insert(20, 5);
        assert_eq!(set.first_in(0, 10), None);
        assert_eq!(set.first_in(0, 11), Some((10, 15)));
        assert_eq!(set.first_in(14, 30), Some((10, 15)));
        assert_eq!(set.first_in(15, 30), Some((20, 25)));
        assert_eq!(set.first_in(25, 30), None);
    }

    #[test]
    fn append_moves_all() {
        let (mut a, mut b) = (RangeSet::default(), RangeSet::default());
        a.insert(1, 1);
        b.insert(2, 1);
        b.insert(9, 1);
        a.append(&mut b);
        assert_eq!(ranges(&a), vec![(1, 3), (9, 10)]);
        assert!(ranges(&b).is_empty());
    }
}
