//! The checksums of the log.

use crc::{Algorithm, Crc, Table};

/// CRC-32C register without final inversion, as jbd2 chains it.
const CRC32C_RAW: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x1EDC_6F41,
    init: 0xFFFF_FFFF,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0,
    residue: 0,
};

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC32C_RAW);
static CRC32_BE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_MPEG_2);

/// Continues a CRC-32C: `crc` is the register before, the result the register after `data`.
pub(crate) fn crc32c(crc: u32, data: &[u8]) -> u32 {
    // The crate takes the start value of a reflected algorithm in the unreflected order of bits.
    let mut digest = CRC32C.digest_with_initial(crc.reverse_bits());
    digest.update(data);
    digest.finalize()
}

/// Continues a CRC-32 of the most significant bit first: checksum version 1.
pub(crate) fn crc32_be(crc: u32, data: &[u8]) -> u32 {
    let mut digest = CRC32_BE.digest_with_initial(crc);
    digest.update(data);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_chain() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
        assert_eq!(
            crc32c(crc32c(!0, b"1234"), b"56789"),
            crc32c(!0, b"123456789")
        );
        assert_eq!(crc32_be(!0, b"123456789"), 0x0376_E6E7);
        assert_eq!(crc32_be(crc32_be(!0, b"1234"), b"56789"), 0x0376_E6E7);
    }
}
