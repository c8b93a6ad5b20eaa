//! Bitmaps of the medium: the least significant bit of a byte is the first. In maps of space a one is free, in those of inodes it
//! is in use.

use crate::types::index;
use core::ops::Range;

const WORD: u32 = u64::BITS;
/// How many runs [`find_run`] looks at before it takes the best one: a fragmented map is not searched for long.
const RUNS_EXAMINED: u32 = 256;

/// A run of ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ones {
    /// First bit.
    pub first: u32,
    /// Number of bits.
    pub count: u32,
}

/// The word that holds bit `bit`; zeros past the end.
fn word(map: &[u8], bit: u32) -> u64 {
    let start = index(u64::from(bit / WORD)).saturating_mul(8);
    let rest = map.get(start..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

/// Whether a bit is one; past the end none is.
#[must_use]
pub fn get(map: &[u8], bit: u32) -> bool {
    let byte = map.get(index(u64::from(bit / 8))).copied().unwrap_or(0);
    byte.wrapping_shr(bit % 8) & 1 == 1
}

/// Sets a bit.
pub fn set(map: &mut [u8], bit: u32, value: bool) {
    if let Some(byte) = map.get_mut(index(u64::from(bit / 8))) {
        let mask = 1_u8.wrapping_shl(bit % 8);
        *byte = if value { *byte | mask } else { *byte & !mask };
    }
}

/// The first bit at or after `from` whose value is `value`; `end` if there is none before `end`.
#[must_use]
pub fn find(map: &[u8], value: bool, from: u32, end: u32) -> u32 {
    let mut at = from;
    while at < end {
        let bits = word(map, at);
        let wanted = if value { bits } else { !bits };
        let ahead = wanted.wrapping_shr(at % WORD);
        if ahead != 0 {
            return at.saturating_add(ahead.trailing_zeros()).min(end);
        }
        at = (at / WORD).saturating_add(1).saturating_mul(WORD);
    }
    end
}

/// The run of ones that starts at `from`, at most `most` long: empty if the bit is zero.
#[must_use]
pub fn run_at(map: &[u8], from: u32, most: u32, end: u32) -> Ones {
    let end = end.min(from.saturating_add(most));
    let stop = find(map, false, from, end);
    Ones {
        first: from,
        count: stop.saturating_sub(from),
    }
}

/// A run of `want` ones among the bits of `range`, else the longest one of those looked at, cut to `want`. `None` if all are
/// zeros.
#[must_use]
pub fn find_run(map: &[u8], range: Range<u32>, want: u32) -> Option<Ones> {
    let mut best = Ones::default();
    let mut at = range.start;
    for _ in 0..RUNS_EXAMINED {
        at = find(map, true, at, range.end);
        if at >= range.end {
            break;
        }
        let run = run_at(map, at, u32::MAX, range.end);
        if run.count > best.count {
            best = Ones {
                first: run.first,
                count: run.count.min(want),
            };
        }
        if run.count >= want {
            break;
        }
        at = at.saturating_add(run.count);
    }
    (best.count > 0).then_some(best)
}

/// Number of ones among the first `end` bits.
#[must_use]
pub fn ones(map: &[u8], end: u32) -> u32 {
    let mut count = 0_u32;
    let mut at = 0_u32;
    while at < end {
        let left = end.saturating_sub(at);
        let mut bits = word(map, at);
        if left < WORD {
            bits &= u64::MAX.wrapping_shr(WORD.saturating_sub(left));
        }
        count = count.saturating_add(bits.count_ones());
        at = at.saturating_add(WORD);
    }
    count
}

/// Length of the run of ones that ends before bit `end`, at most `most`.
#[must_use]
pub fn run_before(map: &[u8], end: u32, most: u32) -> u32 {
    let mut count = 0_u32;
    while count < most {
        let Some(at) = end.checked_sub(count.saturating_add(1)) else {
            break;
        };
        if !get(map, at) {
            break;
        }
        count = count.saturating_add(1);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn runs_are_found_at_every_offset() {
        let mut map = vec![0_u8; 40];
        for bit in (10..12).chain(100..180).chain(300..320) {
            set(&mut map, bit, true);
        }
        assert_eq!((ones(&map, 320), ones(&map, 150)), (102, 52));
        assert_eq!(
            find_run(&map, 0..320, 5),
            Some(Ones {
                first: 100,
                count: 5
            })
        );
        assert_eq!(
            find_run(&map, 0..320, 500),
            Some(Ones {
                first: 100,
                count: 80
            })
        );
        assert_eq!(find_run(&map, 12..100, 1), None);
        assert_eq!(run_at(&map, 110, 16, 320).count, 16);
        assert_eq!(run_at(&map, 310, 100, 400).count, 10);
        assert_eq!(run_at(&map, 99, 16, 320).count, 0);
        assert_eq!(run_before(&map, 110, 100), 10);
        assert_eq!(run_before(&map, 180, 16), 16);
        assert_eq!(run_before(&map, 0, 16), 0);
        assert_eq!(find(&map, true, 12, 320), 100);
        assert_eq!(find(&map, true, 180, 300), 300);
        assert!(!get(&map, 4000));
        set(&mut map, 110, false);
        assert_eq!(run_at(&map, 100, 100, 320).count, 10);
    }
}
