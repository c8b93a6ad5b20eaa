//! The Internet checksum (RFC 1071) over packets.

use crate::Packet;
use core::net::IpAddr;

/// A checksum as it is built. The bytes are added in the processor's own order: the sum of 16-bit words with the carry added again comes out
/// in the order of the bytes all the same (RFC 1071 section 2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// 16-bit words with their carries above.
    sum: u64,
    /// What was added so far has an odd number of bytes.
    odd: bool,
}

impl Sum {
    /// Of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// Adds bytes, which follow those that were added before.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let part = fold(words(bytes));
        let part = if self.odd { part.swap_bytes() } else { part };
        self.sum = self.sum.wrapping_add(part.into());
        self.odd ^= !bytes.len().is_multiple_of(2);
    }

    /// Adds two bytes, as [`add_bytes`](Self::add_bytes).
    #[inline]
    pub const fn add_word(&mut self, word: [u8; 2]) {
        let part = u16::from_ne_bytes(word);
        let part = if self.odd { part.swap_bytes() } else { part };
        self.sum = self.sum.wrapping_add(part as u64);
    }

    /// The checksum: zero if the bytes have one among them, and it is right.
    #[must_use]
    pub const fn checksum(&self) -> [u8; 2] {
        (!fold(self.sum)).to_ne_bytes()
    }
}

/// The checksum of bytes.
#[inline]
#[must_use]
pub fn of(bytes: &[u8]) -> [u8; 2] {
    let mut sum = Sum::new();
    sum.add_bytes(bytes);
    sum.checksum()
}

/// The checksum of a header of IPv4 without options.
#[inline]
#[must_use]
pub fn of_header(bytes: &[u8; 20]) -> [u8; 2] {
    let (words, _) = bytes.as_chunks();
    let sum = words.iter().fold(0_u64, |sum, word| {
        sum.wrapping_add(u32::from_ne_bytes(*word).into())
    });
    (!fold(sum)).to_ne_bytes()
}

/// Sum of the 32-bit words of bytes, the last filled up with zeros. No number of bytes that fits into memory overflows it.
#[inline]
fn words(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<64>();
    // Lanes of their own, which the compiler adds at once.
    let mut lanes = [0_u64; 16];
    for block in blocks {
        let (block, _) = block.as_chunks();
        for (lane, word) in lanes.iter_mut().zip(block) {
            *lane = lane.wrapping_add(u32::from_ne_bytes(*word).into());
        }
    }
    let mut sum = 0_u64;
    for lane in lanes {
        sum = sum.wrapping_add(lane);
    }
    let (rest, last) = rest.as_chunks();
    for word in rest {
        sum = sum.wrapping_add(u32::from_ne_bytes(*word).into());
    }
    let mut filled = [0; 4];
    for (to, from) in filled.iter_mut().zip(last) {
        *to = *from;
    }
    sum.wrapping_add(u32::from_ne_bytes(filled).into())
}

/// The sum of the 16-bit words of a sum, carries added again.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    sum as u16
}

/// Begins a transport checksum with the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1). `len` counts the transport header.
#[inline]
#[must_use]
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Sum {
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let mut sum = 0_u64;
    let mut add = |word: [u8; 4]| sum = sum.wrapping_add(u32::from_ne_bytes(word).into());
    add(len);
    add([0, 0, 0, protocol]);
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => add(address.octets()),
            IpAddr::V6(address) => address
                .octets()
                .as_chunks()
                .0
                .iter()
                .for_each(|word| add(*word)),
        }
    }
    Sum { sum, odd: false }
}

/// Adds all of a packet to a sum.
pub fn add(sum: &mut Sum, packet: &Packet) {
    for piece in packet.pieces() {
        sum.add_bytes(piece);
    }
}

/// The sum of a pseudo-header that a device completes: not inverted.
#[inline]
#[must_use]
pub fn partial(sum: &Sum) -> [u8; 2] {
    let [a, b] = sum.checksum();
    [!a, !b]
}

/// Whether the transport part of a packet, its checksum included, adds up.
#[must_use]
pub fn holds(source: IpAddr, destination: IpAddr, protocol: u8, packet: &Packet) -> bool {
    let mut sum = pseudo(source, destination, protocol, packet.len());
    add(&mut sum, packet);
    sum.checksum() == [0, 0]
}

#[cfg(test)]
mod tests {
    use super::{Sum, of};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// As another implementation has it, wherever the pieces begin and end.
        #[test]
        fn as_others_have_it(pieces in prop::collection::vec(prop_oneof![prop::collection::vec(any::<u8>(), 2), prop::collection::vec(any::<u8>(), 0..200)], 0..5)) {
            let mut sum = Sum::new();
            for piece in &pieces {
                match piece[..] {
                    [a, b] => sum.add_word([a, b]),
                    _ => sum.add_bytes(piece),
                }
            }
            let all: Vec<u8> = pieces.concat();
            let wanted = internet_checksum::checksum(&all);
            prop_assert_eq!(sum.checksum(), wanted);
            prop_assert_eq!(of(&all), wanted);
        }

        /// Where carries are many.
        #[test]
        fn of_large_words(len in 0_usize..70_000, byte in 0xf0_u8..) {
            let bytes = Vec::from_iter(core::iter::repeat_n(byte, len));
            prop_assert_eq!(of(&bytes), internet_checksum::checksum(&bytes));
        }
    }
}
