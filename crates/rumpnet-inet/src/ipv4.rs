//! Headers of IPv4 (RFC 791).

use core::net::Ipv4Addr;
use rumpnet::Packet;

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
        let fixed: &[u8; HEADER] = packet
            .pull(HEADER)
            .and_then(|bytes| bytes.first_chunk())
            .ok_or(Malformed::Truncated)?;
        let [
            vl,
            tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            ttl,
            protocol,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = *fixed;
        let len = usize::from(vl & 15).wrapping_mul(4);
        let total = usize::from(u16::from_be_bytes([l0, l1]));
        if vl >> 4 != 4 || len < HEADER || total < len {
            return Err(Malformed::Header);
        }
        if packet.len() < total {
            return Err(Malformed::Truncated);
        }
        packet.truncate(total);
        let header = packet.pull(len).ok_or(Malformed::Truncated)?;
        if internet_checksum::checksum(header) != [0, 0] {
            return Err(Malformed::Checksum);
        }
        let fragment = u16::from_be_bytes([f0, f1]);
        Ok(Self {
            tos,
            id: u16::from_be_bytes([i0, i1]),
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            offset: (fragment & 0x1fff).wrapping_mul(8),
            ttl,
            protocol,
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            len,
        })
    }

    /// Puts it, without options, in front of a packet; `None` when the packet is too large or has no room.
    pub fn write(&self, packet: &mut Packet) -> Option<()> {
        let total = u16::try_from(packet.len().checked_add(HEADER)?).ok()?;
        let room: &mut [u8; HEADER] = packet.prepend(HEADER)?.first_chunk_mut()?;
        let [l0, l1] = total.to_be_bytes();
        let [i0, i1] = self.id.to_be_bytes();
        let mut fragment = self.offset / 8;
        fragment |= u16::from(self.dont_fragment) << 14;
        fragment |= u16::from(self.more_fragments) << 13;
        let [f0, f1] = fragment.to_be_bytes();
        let [s0, s1, s2, s3] = self.source.octets();
        let [d0, d1, d2, d3] = self.destination.octets();
        *room = [
            0x45,
            self.tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            self.ttl,
            self.protocol,
            0,
            0,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ];
        let sum = internet_checksum::checksum(room);
        [room[10], room[11]] = sum;
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
