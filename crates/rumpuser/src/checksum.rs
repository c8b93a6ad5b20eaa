//! Checksums that a machine may have an instruction for.
//!
//! With the feature `std` it is looked for when the program runs; without it, tables do the work. The results are the same.

/// Passes `data` over a crc32c `state`, with no inversion before or after: a checksum of several parts is a chain.
#[must_use]
pub fn crc32c(state: u32, data: &[u8]) -> u32 {
    #[cfg(feature = "std")]
    return !crc32c::crc32c_append(!state, data);
    #[cfg(not(feature = "std"))]
    tables::crc32c(state, data)
}

#[cfg(any(test, not(feature = "std")))]
mod tables {
    use crc::{Algorithm, Crc, Table};

    /// CRC-32C without the inversion at the end.
    static ALGORITHM: Algorithm<u32> = Algorithm {
        width: 32,
        poly: 0x1edc_6f41,
        init: 0xffff_ffff,
        refin: true,
        refout: true,
        xorout: 0,
        check: 0x1cf9_6d7c,
        residue: 0,
    };

    // Sixteen tables: sixteen bytes per step.
    static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&ALGORITHM);

    pub(super) fn crc32c(state: u32, data: &[u8]) -> u32 {
        // The crate takes the state of an algorithm with reflected input unreflected.
        let mut digest = CRC32C.digest_with_initial(state.reverse_bits());
        digest.update(data);
        digest.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::{crc32c, tables};
    use alloc::vec::Vec;

    #[test]
    fn check_value() {
        assert_eq!(crc32c(!0, b"123456789"), !0xe306_9283);
        assert_eq!(tables::crc32c(!0, b"123456789"), !0xe306_9283);
    }

    #[test]
    fn both_ways_agree_for_all_lengths_places_and_states() {
        let bytes: Vec<u8> = (0..5000_u32).map(|n| (n * n / 7 % 251) as u8).collect();
        for start in 0..17 {
            for len in (0..300).chain([1023, 1024, 4096, 4900]) {
                let data = &bytes[start..start + len];
                let state = (start * 1_000_003 + len) as u32;
                assert_eq!(crc32c(state, data), tables::crc32c(state, data));
            }
        }
    }

    #[test]
    fn chains() {
        let whole = crc32c(!0, b"123456789");
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), whole);
    }
}
