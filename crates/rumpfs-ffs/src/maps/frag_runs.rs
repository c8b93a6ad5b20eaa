//! Runs of free fragments within a block: a block has at most eight, a byte of the map.

/// The lengths of the runs of ones in a byte, that of length `n` as bit `n - 1`; and how often each is there, four bits each.
const RUNS_IN: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        let (mut counts, mut run, mut bit) = (0_u32, 0_u32, 0_u32);
        while bit <= 8 {
            if bit < 8 && byte >> bit & 1 == 1 {
                run = run.wrapping_add(1);
            } else if run > 0 {
                let shift = run.wrapping_sub(1).wrapping_mul(4);
                counts = counts.wrapping_add(1_u32.wrapping_shl(shift));
                run = 0;
            }
            bit = bit.wrapping_add(1);
        }
        table[byte] = counts;
        byte = byte.wrapping_add(1);
    }
    table
};

/// How many runs of ones of the length `len` the bits have.
#[must_use]
pub fn runs_of(byte: u8, len: u32) -> u32 {
    let counts = RUNS_IN.get(usize::from(byte)).copied().unwrap_or(0);
    counts.wrapping_shr(len.saturating_sub(1).wrapping_mul(4)) & 0xF
}

/// Where in a byte the first run of exactly `len` ones begins.
pub(super) fn run_in(byte: u8, len: u32) -> Option<u32> {
    let ones = u16::from(u8::MAX.wrapping_shr(8_u32.saturating_sub(len)));
    // A zero on both sides.
    let padded = u16::from(byte).wrapping_shl(1);
    let around = ones.wrapping_shl(1) | 1 | 1_u16.wrapping_shl(len.saturating_add(1));
    (0..8_u32).find(|at| {
        let window = padded.wrapping_shr(*at) & around;
        window == ones.wrapping_shl(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_its_length() {
        assert_eq!(run_in(0b0111_0110, 3), Some(4));
        assert_eq!(run_in(0b0111_0110, 2), Some(1));
        assert_eq!(run_in(0b1110_0000, 3), Some(5));
        assert_eq!(run_in(0b1111_1111, 3), None);
    }
}
