//! Bitmaps of a medium: bit 0 is the least significant bit of byte 0. Formats differ in which value means free, so what looks for
//! bits is told the value.
//!
//! Bits past the end of a map have neither value: none is found there, runs end there, they are not counted.

use core::ops::Range;

/// Bits in a word.
const WORD: u32 = u64::BITS;

/// How many runs [`find_run`] looks at before it takes the best one: a fragmented bitmap is not searched for long.
const RUNS_EXAMINED: u32 = 512;

/// Bits of one value that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// First bit.
    pub first: u32,
    /// Number of bits.
    pub count: u32,
}

/// The word that holds bit `bit`, with a one for each bit of the map that is `value`.
#[inline]
fn word(map: &[u8], value: bool, bit: u32) -> u64 {
    let flip = if value { 0 } else { u64::MAX };
    let start = (bit / WORD) as usize * 8;
    let rest = map.get(start..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*bytes) ^ flip;
    }
    let mut bytes = flip.to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_le_bytes(bytes) ^ flip
}

/// Whether a bit is one; past the end none is.
#[must_use]
pub fn get(map: &[u8], bit: u32) -> bool {
    let byte = map.get((bit / 8) as usize).copied().unwrap_or(0);
    byte.wrapping_shr(bit % 8) & 1 == 1
}

/// Sets a bit.
pub fn set(map: &mut [u8], bit: u32, value: bool) {
    fill(map, bit..bit.saturating_add(1), value);
}

/// Sets all bits of `range` to `value`.
pub fn fill(map: &mut [u8], range: Range<u32>, value: bool) {
    let mut at = range.start;
    while at < range.end {
        let within = at % 8;
        let bits = (8 - within).min(range.end - at);
        let Some(byte) = map.get_mut((at / 8) as usize) else {
            return;
        };
        let mask = u8::MAX.wrapping_shr(8 - bits).wrapping_shl(within);
        *byte = if value { *byte | mask } else { *byte & !mask };
        at += bits;
    }
}

/// The first bit at or after `from` whose value is `value`; `end` if there is none before `end`.
#[must_use]
#[inline]
pub fn find(map: &[u8], value: bool, from: u32, end: u32) -> u32 {
    let mut at = from;
    while at < end {
        let ahead = word(map, value, at).wrapping_shr(at % WORD);
        if ahead != 0 {
            return at.saturating_add(ahead.trailing_zeros()).min(end);
        }
        at = (at / WORD).saturating_add(1).saturating_mul(WORD);
    }
    end
}

/// Whether all bits of `range` are `value`.
#[must_use]
pub fn all(map: &[u8], value: bool, range: Range<u32>) -> bool {
    run_at(map, value, range.start, u32::MAX, range.end).count
        == range.end.saturating_sub(range.start)
}

/// The run of bits of `value` that starts at `from`, at most `most` long: empty if that bit is another.
#[must_use]
#[inline]
pub fn run_at(map: &[u8], value: bool, from: u32, most: u32, end: u32) -> Run {
    let bits = u32::try_from(map.len().saturating_mul(8)).unwrap_or(u32::MAX);
    let end = end.min(from.saturating_add(most)).min(bits);
    let stop = find(map, !value, from, end);
    Run {
        first: from,
        count: stop.saturating_sub(from),
    }
}

/// Length of the run of bits of `value` that ends before bit `end`, at most `most`.
#[must_use]
pub fn run_before(map: &[u8], value: bool, end: u32, most: u32) -> u32 {
    let mut count = 0_u32;
    while let Some(last) = end.checked_sub(count.saturating_add(1)) {
        // Its bit is the highest of what is left.
        let behind = WORD - 1 - last % WORD;
        let ones = word(map, value, last).wrapping_shl(behind).leading_ones();
        count = count.saturating_add(ones);
        if ones <= last % WORD || count >= most {
            break;
        }
    }
    count.min(most)
}

/// A run of `want` bits of `value` in `range`, else the longest one of those looked at, cut to `want`. `None` if there is none.
#[must_use]
pub fn find_run(map: &[u8], value: bool, range: Range<u32>, want: u32) -> Option<Run> {
    let mut best = Run::default();
    let mut at = range.start;
    for _ in 0..RUNS_EXAMINED {
        at = find(map, value, at, range.end);
        if at >= range.end {
            break;
        }
        let run = run_at(map, value, at, u32::MAX, range.end);
        if run.count > best.count {
            best = Run {
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

/// Number of bits of `value` among the first `end`.
#[must_use]
pub fn count(map: &[u8], value: bool, end: u32) -> u32 {
    let mut count = 0_u32;
    let mut at = 0_u32;
    while at < end {
        let left = end - at;
        let mut bits = word(map, value, at);
        if left < WORD {
            bits &= u64::MAX.wrapping_shr(WORD - left);
        }
        count = count.saturating_add(bits.count_ones());
        at = at.saturating_add(WORD);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const VALUES: [bool; 2] = [false, true];

    /// A map without the value.
    fn without(value: bool, len: usize) -> vec::Vec<u8> {
        vec![if value { 0 } else { 0xFF }; len]
    }

    #[test]
    fn fill_sets_just_the_range() {
        for (start, end) in [
            (0, 0),
            (0, 1),
            (3, 7),
            (3, 8),
            (5, 29),
            (8, 64),
            (63, 65),
            (0, 128),
        ] {
            for value in VALUES {
                let mut map = without(value, 16);
                fill(&mut map, start..end, value);
                for at in 0..128 {
                    let is = get(&map, at) == value;
                    assert_eq!(is, (start..end).contains(&at), "{start}..{end} {at}");
                }
                assert_eq!(count(&map, value, 128), end - start);
                assert_eq!(count(&map, !value, 128), 128 - (end - start));
                assert!(all(&map, value, start..end));
                assert!(start == end || !all(&map, !value, start..end));
                assert!(!all(&map, value, start..end + 1));
            }
        }
    }

    #[test]
    fn a_run_long_enough_is_preferred_to_the_first() {
        let run = |first, count| Some(Run { first, count });
        for value in VALUES {
            let mut map = without(value, 32);
            fill(&mut map, 10..12, value);
            fill(&mut map, 100..180, value);
            assert_eq!(find_run(&map, value, 0..256, 5), run(100, 5));
            assert_eq!(find_run(&map, value, 0..256, 2), run(10, 2));
            assert_eq!(find_run(&map, value, 0..256, 500), run(100, 80));
            assert_eq!(find_run(&map, value, 0..150, 500), run(100, 50));
            assert_eq!(find_run(&map, value, 12..100, 1), None);
            assert_eq!(Some(run_at(&map, value, 110, 16, 256)), run(110, 16));
            assert_eq!(Some(run_at(&map, value, 9, 16, 256)), run(9, 0));
            assert_eq!(find(&map, value, 12, 256), 100);
            assert_eq!(find(&map, value, 180, 256), 256);
        }
    }

    #[test]
    fn runs_are_found_at_every_offset() {
        for value in VALUES {
            let mut map = without(value, 40);
            for bit in (10..12).chain(100..180).chain(300..320) {
                set(&mut map, bit, value);
            }
            assert_eq!(
                (count(&map, value, 320), count(&map, value, 150)),
                (102, 52)
            );
            assert_eq!(run_at(&map, value, 110, 16, 320).count, 16);
            assert_eq!(run_at(&map, value, 310, 100, 400).count, 10);
            assert_eq!(run_at(&map, value, 99, 16, 320).count, 0);
            assert_eq!(run_before(&map, value, 110, 100), 10);
            assert_eq!(run_before(&map, value, 180, 16), 16);
            assert_eq!(run_before(&map, value, 180, 500), 80);
            assert_eq!(run_before(&map, value, 100, 500), 0);
            assert_eq!(run_before(&map, value, 0, 16), 0);
            assert_eq!(find(&map, value, 12, 320), 100);
            assert_eq!(find(&map, value, 180, 300), 300);
            set(&mut map, 110, !value);
            assert_eq!(run_at(&map, value, 100, 100, 320).count, 10);
            assert_eq!(run_before(&map, value, 180, 500), 69);
        }
    }

    #[test]
    fn a_run_before_is_counted_bit_by_bit() {
        let map: vec::Vec<u8> = (0..64_u8)
            .map(|n| n.wrapping_mul(37) | n.rotate_left(3))
            .collect();
        for value in VALUES {
            for end in 0..512 {
                let run = (0..end).rev().take_while(|at| get(&map, *at) == value);
                assert_eq!(
                    run_before(&map, value, end, u32::MAX) as usize,
                    run.count(),
                    "{end}"
                );
            }
        }
    }

    #[test]
    fn bits_past_the_map_have_no_value() {
        for value in VALUES {
            let map = without(!value, 3);
            assert_eq!(run_at(&map, value, 0, 100, 100).count, 24);
            assert_eq!(count(&map, value, 64), 24);
            assert_eq!(count(&map, !value, 64), 0);
            assert_eq!(find(&map, value, 24, 100), 100);
            assert_eq!(find(&map, !value, 0, 100), 100);
            assert!(all(&map, value, 0..24) && !all(&map, value, 0..25));
            assert_eq!(run_before(&map, value, 30, 100), 0);
        }
        assert!(!get(&[0xFF; 3], 4000));
        set(&mut [0; 3], 4000, true);
    }
}
