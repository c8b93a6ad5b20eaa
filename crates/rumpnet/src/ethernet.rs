//! Ethernet frames (IEEE 802.3, with types as in RFC 894).

use crate::{MacAddr, Packet, packet::Cast};

/// Bytes of a header.
pub const HEADER: usize = 14;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// To whom.
    pub destination: MacAddr,
    /// From whom.
    pub source: MacAddr,
    /// What follows.
    pub ethertype: EtherType,
}

impl Header {
    /// Reads the header of a frame, which stays where it is; `None` when the frame is shorter.
    pub fn parse(frame: &mut Packet) -> Option<Self> {
        let bytes: &[u8; HEADER] = frame.pull(HEADER)?.first_chunk()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *bytes;
        Some(Self {
            destination: MacAddr([d0, d1, d2, d3, d4, d5]),
            source: MacAddr([s0, s1, s2, s3, s4, s5]),
            ethertype: EtherType(u16::from_be_bytes([t0, t1])),
        })
    }

    /// Puts it in front of a packet; `None` when there is no room.
    pub fn write(&self, packet: &mut Packet) -> Option<()> {
        let room: &mut [u8; HEADER] = packet.prepend(HEADER)?.first_chunk_mut()?;
        *room = self.bytes();
        Some(())
    }

    /// It as it is on the wire.
    #[must_use]
    pub const fn bytes(&self) -> [u8; HEADER] {
        let [d0, d1, d2, d3, d4, d5] = self.destination.0;
        let [s0, s1, s2, s3, s4, s5] = self.source.0;
        let [t0, t1] = self.ethertype.0.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }

    /// How it is addressed.
    #[must_use]
    pub fn cast(&self) -> Cast {
        if self.destination == MacAddr::BROADCAST {
            Cast::Broadcast
        } else if self.destination.is_group() {
            Cast::Multicast
        } else {
            Cast::Unicast
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EtherType, Header};
    use crate::{MacAddr, Packet};

    #[test]
    fn there_and_back() {
        let header = Header {
            destination: MacAddr([1, 2, 3, 4, 5, 6]),
            source: MacAddr([7, 8, 9, 10, 11, 12]),
            ethertype: EtherType::ARP,
        };
        let mut packet = Packet::with_bytes(b"x");
        header.write(&mut packet).unwrap();
        assert_eq!(
            packet.head(),
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x08\x06x"
        );
        assert_eq!(Header::parse(&mut packet), Some(header));
        assert_eq!(Header::parse(&mut Packet::with_bytes(&[0; 13])), None);
    }
}
