//! Runs of bits in a bitmap block: bit 0 is the least significant bit of byte 0.

use core::ops::Range;

/// Bits in a word.
const WORD: u32 = u64::BITS;

/// How many runs [`find_run`] looks at before it takes the best one: a fragmented bitmap is not searched for long.
const RUNS_EXAMINED: u32 = 512;

/// A run of zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// First bit.
    pub(crate) first: u32,
    /// Number of bits.
    pub(crate) count: u32,
}

/// The word that holds bit `bit`, as a little-endian number; ones past the end.
fn word(map: &[u8], bit: u32) -> u64 {
    let start = crate::types::index(bit / WORD).saturating_mul(8);
    let Some(rest) = map.get(start..) else {
        return u64::MAX;
    };
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*bytes);
    }
    let mut bytes = [0xFF; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

/// The first bit at or after `from` whose value is `value`, `end` if there is none before `end`.
fn find(map: &[u8], value: bool, from: u32, end: u32) -> u32 {
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

/// The first zero at or after `from`, before `end`.
pub(crate) fn find_zero(map: &[u8], from: u32, end: u32) -> Option<u32> {
    let at = find(map, false, from, end);
    (at < end).then_some(at)
}

/// The run of zeros that starts at `from`, at most `most` long: empty if the bit is one.
pub(crate) fn run_at(map: &[u8], from: u32, most: u32, end: u32) -> Run {
    let end = end.min(from.saturating_add(most));
    let stop = find(map, true, from, end);
    Run {
        first: from,
        count: stop.saturating_sub(from),
    }
}

/// A run of `want` zeros among the bits of `range`, else the longest one of those looked at, cut to `want`. `None` if all
/// are ones.
pub(crate) fn find_run(map: &[u8], range: Range<u32>, want: u32) -> Option<Run> {
    let mut best = Run::default();
    let mut at = range.start;
    for _ in 0..RUNS_EXAMINED {
        at = find(map, false, at, range.end);
        if at >= range.end {
            break;
        }
        let run = run_at(map, at, u32::MAX, range.end);
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

/// Whether all bits of `range` are `value`.
pub(crate) fn all(map: &[u8], range: Range<u32>, value: bool) -> bool {
    find(map, !value, range.start, range.end) == range.end
}

/// Sets all bits of `range` to `value`.
pub(crate) fn fill(map: &mut [u8], range: Range<u32>, value: bool) {
    let mut at = range.start;
    while at < range.end {
        let within = at % 8;
        let bits = (8_u32.saturating_sub(within)).min(range.end.saturating_sub(at));
        let Some(byte) = map.get_mut(crate::types::index(at / 8)) else {
            return;
        };
        let ones = u8::MAX.wrapping_shr(8_u32.saturating_sub(bits));
        let mask = ones.wrapping_shl(within);
        *byte = if value { *byte | mask } else { *byte & !mask };
        at = at.saturating_add(bits);
    }
}

/// Number of zeros among the first `end` bits.
pub(crate) fn zeros(map: &[u8], end: u32) -> u32 {
    let mut count = 0_u32;
    let mut at = 0_u32;
    while at < end {
        let left = end.saturating_sub(at);
        let mut bits = !word(map, at);
        if left < WORD {
            bits &= u64::MAX.wrapping_shr(WORD.saturating_sub(left));
        }
        count = count.saturating_add(bits.count_ones());
        at = at.saturating_add(WORD);
    }
    count
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use alloc::vec;

    /// The same questions asked bit by bit.
    fn bit(map: &[u8], at: u32) -> bool {
        map[at as usize / 8] >> (at % 8) & 1 == 1
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
            let mut map = vec![0_u8; 16];
            fill(&mut map, start..end, true);
            for at in 0..128 {
                assert_eq!(
                    bit(&map, at),
                    (start..end).contains(&at),
                    "{start}..{end} {at}"
                );
            }
            assert_eq!(zeros(&map, 128), 128 - (end - start));
            assert!(all(&map, start..end, true));
            let mut full = vec![0xFF_u8; 16];
            fill(&mut full, start..end, false);
            assert_eq!(zeros(&full, 128), end - start);
        }
    }

    #[test]
    fn a_run_long_enough_is_preferred_to_the_first() {
        let mut map = vec![0xFF_u8; 32];
        fill(&mut map, 10..12, false);
        fill(&mut map, 100..180, false);
        assert_eq!(
            find_run(&map, 0..256, 5),
            Some(Run {
                first: 100,
                count: 5
            })
        );
        assert_eq!(
            find_run(&map, 0..256, 2),
            Some(Run {
                first: 10,
                count: 2
            })
        );
        assert_eq!(
            find_run(&map, 0..256, 500),
            Some(Run {
                first: 100,
                count: 80
            })
        );
        assert_eq!(
            find_run(&map, 0..150, 500),
            Some(Run {
                first: 100,
                count: 50
            })
        );
        assert_eq!(find_run(&map, 12..100, 1), None);
        assert_eq!(
            run_at(&map, 110, 16, 256),
            Run {
                first: 110,
                count: 16
            }
        );
        assert_eq!(run_at(&map, 9, 16, 256), Run { first: 9, count: 0 });
        assert_eq!(find_zero(&map, 12, 256), Some(100));
        assert_eq!(find_zero(&map, 180, 256), None);
    }

    #[test]
    fn bits_past_the_map_are_ones() {
        let map = vec![0_u8; 3];
        assert_eq!(
            run_at(&map, 0, 100, 100),
            Run {
                first: 0,
                count: 24
            }
        );
        assert_eq!(zeros(&map, 64), 24);
    }
}
