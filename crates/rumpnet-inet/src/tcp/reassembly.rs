//! What arrived out of order (RFC 9293, section 3.10.7.4; RFC 2018, section 4), until the gap before it is filled.

use super::{ByteQueue, Sacks, Seq, bytes_u32};
use alloc::{collections::BTreeMap, vec::Vec};
use bytes::Bytes;
use rumpnet::Chain;

/// Separate ranges at most; a segment that makes one more is dropped, and comes again.
const RANGES_MAX: usize = 512;
/// Segments at most for each 512 bytes of the buffer, and in any case.
const BYTES_PER_ENTRY: usize = 512;
const ENTRIES_MIN: usize = 64;
/// A short segment is copied, so that it does not hold the buffer that it came in.
const COPY_BELOW: usize = 512;

/// A range without gap.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    end: u64,
    /// Larger for what changed later.
    stamp: u32,
}

/// Data after a gap. Places are those of the stream of [`ByteQueue`].
#[derive(Default)]
pub(super) struct Reassembly {
    /// By place; they do not overlap.
    entries: BTreeMap<u64, Chain>,
    /// In order, not touching each other.
    ranges: Vec<Range>,
    stamp: u32,
}

/// Where it is, not what is in it.
impl core::fmt::Debug for Reassembly {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} in {}", self.ranges, self.entries.len())
    }
}

impl Reassembly {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps `data`, which belongs to `start`. What is there already, or one too many, is dropped. Returns the part that was there
    /// already.
    pub(super) fn insert(&mut self, start: u64, data: Chain, buffer: usize) -> Option<(u64, u64)> {
        let end = start.saturating_add(wide(data.len()));
        let limit = ENTRIES_MIN.max(buffer / BYTES_PER_ENTRY);
        let gaps = self.gaps(start, end);
        let duplicate = self.covered(start, end);
        if self.entries.len().saturating_add(gaps.len()) > limit {
            return duplicate;
        }
        if gaps.is_empty() {
            self.touch(start, end);
            return duplicate;
        }
        if !self.add_range(start, end) {
            return duplicate;
        }
        for (from, to) in gaps {
            let offset = narrow(from.saturating_sub(start));
            let part = data.slice(offset, narrow(to.saturating_sub(from)));
            self.entries.insert(from, compact(part));
        }
        duplicate
    }

    /// Parts from `start` to `end` that are missing.
    fn gaps(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = start;
        for range in self.overlapping(start, end) {
            if range.start > at {
                gaps.push((at, range.start));
            }
            at = at.max(range.end);
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }

    /// Ranges that have bytes between `start` and `end`.
    fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Range> {
        let first = self.ranges.partition_point(|range| range.end <= start);
        let rest = self.ranges.get(first..).unwrap_or_default();
        rest.iter().take_while(move |range| range.start < end)
    }

    /// The first part of `start` to `end` that is there.
    fn covered(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let range = self.overlapping(start, end).next()?;
        Some((start.max(range.start), end.min(range.end)))
    }

    fn next_stamp(&mut self) -> u32 {
        self.stamp = self.stamp.saturating_add(1);
        self.stamp
    }

    /// A duplicate is news too: its range is reported first.
    fn touch(&mut self, start: u64, end: u64) {
        let stamp = self.next_stamp();
        let first = self.ranges.partition_point(|range| range.end <= start);
        if let Some(range) = self.ranges.get_mut(first)
            && range.start < end
        {
            range.stamp = stamp;
        }
    }

    fn add_range(&mut self, start: u64, end: u64) -> bool {
        let stamp = self.next_stamp();
        let first = self.ranges.partition_point(|range| range.end < start);
        let last = self.ranges.partition_point(|range| range.start <= end);
        if first >= last {
            if self.ranges.len() >= RANGES_MAX {
                return false;
            }
            self.ranges.insert(first, Range { start, end, stamp });
            return true;
        }
        let mut joined = Range { start, end, stamp };
        for range in self.ranges.drain(first..last) {
            joined.start = joined.start.min(range.start);
            joined.end = joined.end.max(range.end);
        }
        self.ranges.insert(first, joined);
        true
    }

    /// Moves what continues `ready` into it; returns how many bytes that were.
    pub(super) fn drain_into(&mut self, ready: &mut ByteQueue) -> u32 {
        let before = ready.end();
        while let Some(first) = self.entries.first_entry() {
            let (start, end) = (*first.key(), ready.end());
            if start > end {
                break;
            }
            let mut data = first.remove();
            data.advance(narrow(end.saturating_sub(start)));
            ready.push(data);
        }
        let end = ready.end();
        self.ranges.retain(|range| range.end > end);
        bytes_u32(narrow(end.saturating_sub(before)))
    }

    /// The ranges for a SACK option, the one that changed last first (RFC 2018, section 4). `next` is the number of place `end`.
    pub(super) fn sacks(&self, end: u64, next: Seq, sacks: &mut Sacks) {
        let mut newest: [Option<&Range>; 4] = [None; 4];
        for range in &self.ranges {
            let mut candidate = Some(range);
            for place in &mut newest {
                let stamp = |range: &Option<&Range>| range.map(|range| range.stamp);
                if stamp(&candidate) > stamp(place) {
                    core::mem::swap(&mut candidate, place);
                }
            }
        }
        let seq = |place: u64| next.plus(bytes_u32(narrow(place.saturating_sub(end))));
        for range in newest.into_iter().flatten() {
            sacks.push(seq(range.start), seq(range.end));
        }
    }

    /// Number of ranges that a SACK option would report, 4 at most.
    pub(super) fn sack_count(&self) -> usize {
        self.ranges.len().min(4)
    }
}

fn compact(data: Chain) -> Chain {
    if data.len() >= COPY_BELOW {
        return data;
    }
    match data.single() {
        Some(bytes) => Bytes::copy_from_slice(bytes).into(),
        None => {
            let mut bytes = alloc::vec![0; data.len()];
            data.copy_to(0, &mut bytes);
            Bytes::from(bytes).into()
        }
    }
}

const fn wide(len: usize) -> u64 {
    len as u64
}

fn narrow(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::{ByteQueue, RANGES_MAX, Reassembly, Sacks, Seq};
    use alloc::vec::Vec;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn data(start: u64, len: usize) -> rumpnet::Chain {
        let bytes: Vec<u8> = (0..len).map(|n| (start as usize + n) as u8).collect();
        Bytes::from(bytes).into()
    }

    fn sacks(reassembly: &Reassembly) -> Vec<(u32, u32)> {
        let mut sacks = Sacks::default();
        reassembly.sacks(0, Seq(0), &mut sacks);
        sacks.iter().map(|(start, end)| (start.0, end.0)).collect()
    }

    /// RFC 2018, section 4: the first block holds the segment that came last, then the ones reported before.
    #[test]
    fn newest_first() {
        let mut reassembly = Reassembly::default();
        for start in [10, 30, 50, 70, 90] {
            assert_eq!(reassembly.insert(start, data(start, 5), 1000), None);
        }
        assert_eq!(sacks(&reassembly), [(90, 95), (70, 75), (50, 55), (30, 35)]);
        reassembly.insert(35, data(35, 5), 1000);
        assert_eq!(sacks(&reassembly)[..2], [(30, 40), (90, 95)]);
        assert_eq!(reassembly.insert(12, data(12, 2), 1000), Some((12, 14)));
        assert_eq!(sacks(&reassembly)[0], (10, 15));
    }

    #[test]
    fn bounded() {
        let mut reassembly = Reassembly::default();
        for n in 0..100_000_u64 {
            reassembly.insert(n * 2, data(n, 1), 1 << 20);
        }
        assert_eq!(reassembly.ranges.len(), RANGES_MAX);
        let mut reassembly = Reassembly::default();
        for n in (1..100_000_u64).rev() {
            reassembly.insert(n, data(n, 1), 1 << 20);
        }
        assert_eq!(reassembly.entries.len(), 2048);
    }

    proptest! {
        /// In whatever order and overlap the parts come, the bytes are those of the stream.
        #[test]
        fn any_order(parts in prop::collection::vec((0_u64..300, 1_usize..60), 1..60)) {
            let (mut reassembly, mut ready) = (Reassembly::default(), ByteQueue::default());
            let mut have = [false; 400];
            for (start, len) in parts {
                (start as usize..start as usize + len).for_each(|n| have[n] = true);
                let end = ready.end();
                if start + len as u64 > end {
                    let mut part = data(start, len);
                    part.advance(end.saturating_sub(start) as usize);
                    reassembly.insert(start.max(end), part, 1 << 20);
                    reassembly.drain_into(&mut ready);
                }
                let expected = have.iter().position(|have| !have).unwrap();
                prop_assert_eq!(ready.len(), expected);
                let stored: usize = reassembly.entries.values().map(rumpnet::Chain::len).sum();
                prop_assert_eq!(stored, have[expected..].iter().filter(|have| **have).count());
                let ranges: u64 = reassembly.ranges.iter().map(|range| range.end - range.start).sum();
                prop_assert_eq!(ranges as usize, stored);
            }
            let bytes: Vec<u8> = ready.take(1000).pieces().flatten().copied().collect();
            prop_assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        }
    }
}
