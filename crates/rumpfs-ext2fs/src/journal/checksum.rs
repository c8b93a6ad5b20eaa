//! The checksums of the log.

use crc::{Crc, Table};

/// The CRC-32C of checksum versions 2 and 3, register in, register out.
pub(crate) use rumpuser::checksum::crc32c;

static CRC32_BE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_MPEG_2);

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
