//! Headers of IPv4 (RFC 791).

use core::net::Ipv4Addr;
use rumpnet::{Packet, checksum};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, byteorder::big_endian::U16,
};

/// Bytes of a header without options.
pub const HEADER: usize = 20;

/// Protocols.
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// IGMP (RFC 3376).
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is shorter than it says.
    Truncated,
    /// A version or a length in the header cannot be.
    Header,
    /// The header's checksum is wrong.
    Checksum,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    /// The version in the upper half, words of the header in the lower.
    version_length: u8,
    tos: u8,
    total: U16,
    id: U16,
    /// Three flags, and the place of the fragment in units of 8 bytes.
    fragment: U16,
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
}

const _: () = assert!(size_of::<RawHeader>() == HEADER);
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Differentiated services (6 bits, RFC 2474) and ECN (2 bits, RFC 3168).
    pub tos: u8,
    /// Identifies the fragments of a packet.
    pub id: u16,
    /// Not to be fragmented.
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Where the fragment begins in the payload, in bytes.
    pub offset: u16,
    /// Hops that are left.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
    /// Bytes of the header, with options: 20 to 60.
    pub len: usize,
}

impl Header {
    /// Reads a header and cuts the packet to the length that the header says. The header stays.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(packet: &mut Packet) -> Result<Self, Malformed> {
        let fixed = packet.pull(HEADER).ok_or(Malformed::Truncated)?;
        let fixed: [u8; HEADER] = *fixed.first_chunk().ok_or(Malformed::Truncated)?;
        let raw: RawHeader = zerocopy::transmute!(fixed);
        let header = Self::of(&raw).ok_or(Malformed::Header)?;
        let total = usize::from(raw.total.get());
        if total < header.len {
            return Err(Malformed::Header);
        }
        if packet.len() < total {
            return Err(Malformed::Truncated);
        }
        packet.truncate(total);
        let sum = if header.len == HEADER {
            checksum::of_header(&fixed)
        } else {
            checksum::of(packet.pull(header.len).ok_or(Malformed::Truncated)?)
        };
        if sum != [0, 0] {
            return Err(Malformed::Checksum);
        }
        Ok(header)
    }

    /// Reads the header of a packet that an error quotes: it is cut, and its sum may have been changed on the way. `None` when it is none.
    pub(crate) fn quoted(packet: &mut Packet) -> Option<Self> {
        let raw = RawHeader::read_from_bytes(packet.pull(HEADER)?).ok()?;
        let header = Self::of(&raw)?;
        packet.pull(header.len)?;
        Some(header)
    }

    /// What the fixed part says; `None` for another version, or a length that cannot be.
    fn of(raw: &RawHeader) -> Option<Self> {
        let len = usize::from(raw.version_length & 15).wrapping_mul(4);
        if raw.version_length >> 4 != 4 || len < HEADER {
            return None;
        }
        let fragment = raw.fragment.get();
        Some(Self {
            tos: raw.tos,
            id: raw.id.get(),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            offset: (fragment & 0x1fff).wrapping_mul(8),
            ttl: raw.ttl,
            protocol: raw.protocol,
            source: raw.source.into(),
            destination: raw.destination.into(),
            len,
        })
    }

    /// Puts it, without options, in front of a packet; `None` when the packet is too large or has no room.
    pub fn write(&self, packet: &mut Packet) -> Option<()> {
        let total = u16::try_from(packet.len().checked_add(HEADER)?).ok()?;
        packet.prepend(HEADER)?.copy_from_slice(&self.bytes(total));
        Some(())
    }

    /// It without options, for a packet of `total` bytes with it.
    #[inline]
    #[must_use]
    pub(crate) fn bytes(&self, total: u16) -> [u8; HEADER] {
        let mut bytes: [u8; HEADER] = zerocopy::transmute!(self.raw(5, total));
        let sum = checksum::of_header(&bytes);
        if let Some(field) = bytes.get_mut(10..12) {
            field.copy_from_slice(&sum);
        }
        bytes
    }

    /// What [`bytes`](Self::bytes) has made for a length and an identification of zero, with others: only the sum is computed again
    /// (RFC 1624).
    #[inline]
    #[must_use]
    pub(crate) fn completed(bytes: &[u8; HEADER], total: u16, id: u16) -> [u8; HEADER] {
        let [a, b, _, _, _, _, f0, f1, ttl, protocol, c0, c1, ends @ ..] = *bytes;
        let mut sum = u32::from(!u16::from_be_bytes([c0, c1]))
            .wrapping_add(total.into())
            .wrapping_add(id.into());
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        let ([t0, t1], [i0, i1]) = (total.to_be_bytes(), id.to_be_bytes());
        let [_, _, c0, c1] = (!sum).to_be_bytes();
        let [s0, s1, s2, s3, d0, d1, d2, d3] = ends;
        [
            a, b, t0, t1, i0, i1, f0, f1, ttl, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3,
        ]
    }

    /// It with a sum of zero; `words`: with options.
    #[inline]
    fn raw(&self, words: u8, total: u16) -> RawHeader {
        let mut fragment = self.offset / 8;
        if self.dont_fragment {
            fragment |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= MORE_FRAGMENTS;
        }
        RawHeader {
            version_length: 0x40 | words,
            tos: self.tos,
            total: total.into(),
            id: self.id.into(),
            fragment: fragment.into(),
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: [0, 0],
            source: self.source.octets(),
            destination: self.destination.octets(),
        }
    }

    /// The same with options: a multiple of 4 bytes, at most 40.
    pub fn write_with(&self, options: &[u8], packet: &mut Packet) -> Option<()> {
        let len = options.len().checked_add(HEADER)?;
        let words = u8::try_from(len / 4)
            .ok()
            .filter(|words| *words <= 15 && len % 4 == 0)?;
        let total = u16::try_from(packet.len().checked_add(len)?).ok()?;
        let mut raw = self.raw(words, total);
        let mut sum = checksum::Sum::new();
        sum.add_bytes(raw.as_bytes());
        sum.add_bytes(options);
        raw.checksum = sum.checksum();
        let (fixed, rest) = packet.prepend(len)?.split_at_mut_checked(HEADER)?;
        fixed.copy_from_slice(raw.as_bytes());
        rest.copy_from_slice(options);
        Some(())
    }

    /// Whether it is a part of a packet.
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.offset != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            tos: 0,
            id: 0x1c46,
            dont_fragment: true,
            more_fragments: false,
            offset: 0,
            ttl: 64,
            protocol: protocol::TCP,
            source: Ipv4Addr::new(172, 16, 10, 99),
            destination: Ipv4Addr::new(172, 16, 10, 12),
            len: HEADER,
        }
    }

    #[test]
    fn there_and_back() {
        let mut packet = Packet::with_bytes(&[7; 40]);
        header().write(&mut packet).unwrap();
        // The checksum that any description of the algorithm shows for this header.
        assert_eq!(packet.head()[10..12], [0xb1, 0xe6]);
        packet.meta.segment = 1;
        assert_eq!(Header::parse(&mut packet), Ok(header()));
        assert_eq!(packet.len(), 60);
    }

    #[test]
    fn completed_it_is_the_same() {
        let empty = Header { id: 0, ..header() }.bytes(0);
        for total in (20..=u16::MAX).step_by(977) {
            for id in (0..=u16::MAX).step_by(1_021).chain([u16::MAX]) {
                let whole = Header { id, ..header() }.bytes(total);
                assert_eq!(Header::completed(&empty, total, id), whole);
            }
        }
    }

    #[test]
    fn wrong_lengths_and_sums() {
        let mut packet = Packet::with_bytes(&[7; 40]);
        header().write(&mut packet).unwrap();
        let mut short = packet.clone();
        short.truncate(59);
        assert_eq!(Header::parse(&mut short), Err(Malformed::Truncated));
        short.truncate(19);
        assert_eq!(Header::parse(&mut short), Err(Malformed::Truncated));
        for (at, value, error) in [
            (0, 0x65, Malformed::Header),
            (0, 0x44, Malformed::Header),
            (0, 0x46, Malformed::Checksum),
            (3, 19, Malformed::Header),
            (15, 1, Malformed::Checksum),
        ] {
            let mut bad = packet.clone();
            bad.head_mut()[at] = value;
            assert_eq!(Header::parse(&mut bad), Err(error), "{at} {value}");
        }
    }
}
