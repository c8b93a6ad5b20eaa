//! Checksums: crc32c of metadata_csum, crc16 of uninit_bg.
//!
//! Both run as the kernel's: a state goes in, data passes, a state comes out, with no inversion at the end. A checksum of
//! several parts is a chain.

use crc::{Algorithm, Crc};
pub use rumpuser::checksum::crc32c;

/// CRC-16 with the polynomial 0x8005, bits reflected.
static CRC16_ALGORITHM: Algorithm<u16> = Algorithm {
    width: 16,
    poly: 0x8005,
    init: 0xffff,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x4b37,
    residue: 0,
};

static CRC16: Crc<u16> = Crc::<u16>::new(&CRC16_ALGORITHM);

/// The state that every crc32c of the format starts from.
pub const CRC32C_START: u32 = !0;
/// The state that every crc16 of the format starts from.
pub const CRC16_START: u16 = !0;

/// Passes a 32-bit number, in the medium's order, over a crc32c `state`.
#[must_use]
pub fn crc32c_u32(state: u32, value: u32) -> u32 {
    crc32c(state, &value.to_le_bytes())
}

/// Passes `data` over a crc16 `state`.
#[must_use]
pub fn crc16(state: u16, data: &[u8]) -> u16 {
    let mut digest = CRC16.digest_with_initial(state.reverse_bits());
    digest.update(data);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        assert_eq!(crc32c(CRC32C_START, b"123456789"), !0xe306_9283);
        assert_eq!(crc16(CRC16_START, b"123456789"), 0x4b37);
    }

    #[test]
    fn chains() {
        let whole = crc32c(CRC32C_START, b"123456789");
        assert_eq!(crc32c(crc32c(CRC32C_START, b"1234"), b"56789"), whole);
        assert_eq!(
            crc16(crc16(CRC16_START, b"12"), b"3456789"),
            crc16(CRC16_START, b"123456789")
        );
        assert_eq!(
            crc32c_u32(CRC32C_START, 0x3433_3231),
            crc32c(CRC32C_START, b"1234")
        );
    }
}
