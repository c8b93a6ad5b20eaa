//! Headers of IPv6 and their extensions (RFC 8200 sections 3 and 4).

use core::net::Ipv6Addr;
use rumpnet::Packet;
use rumpnet_inet::reassembly::Head;

/// Bytes of a header.
pub const HEADER: usize = 40;
/// Bytes of a fragment header.
pub const FRAGMENT: usize = 8;
/// The least that every link carries (RFC 8200 section 5).
pub const LEAST_MTU: u32 = 1_280;

/// What follows a header.
pub mod next {
    /// Options for every hop.
    pub const HOP_BY_HOP: u8 = 0;
    /// A route.
    pub const ROUTING: u8 = 43;
    /// A part of a packet.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMP: u8 = 58;
    /// Nothing.
    pub const NONE: u8 = 59;
    /// Options for the destination.
    pub const DESTINATION: u8 = 60;
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is shorter than it says.
    Truncated,
    /// It is of another version.
    Version,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Traffic class: differentiated services and ECN.
    pub class: u8,
    /// Flow label (RFC 6437).
    pub flow: u32,
    /// What follows.
    pub next: u8,
    /// Hops that are left.
    pub hop_limit: u8,
    /// From.
    pub source: Ipv6Addr,
    /// To.
    pub destination: Ipv6Addr,
}

impl Head for Header {
    fn class(&mut self) -> &mut u8 {
        &mut self.class
    }
}

impl Header {
    /// Reads a header, which stays, and the length of what follows, whether or not that is all there.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(packet: &mut Packet) -> Result<(Self, usize), Malformed> {
        let bytes: &[u8; HEADER] = packet
            .pull(HEADER)
            .and_then(|bytes| bytes.first_chunk())
            .ok_or(Malformed::Truncated)?;
        let [v, c, f0, f1, l0, l1, next, hop_limit, addresses @ ..] = *bytes;
        if v >> 4 != 6 {
            return Err(Malformed::Version);
        }
        let (source, destination) = addresses.split_at(16);
        let address = |bytes: &[u8]| {
            let octets: [u8; 16] = bytes.first_chunk().copied().unwrap_or_default();
            Ipv6Addr::from(octets)
        };
        let header = Self {
            class: (v << 4) | (c >> 4),
            flow: u32::from_be_bytes([0, c & 15, f0, f1]),
            next,
            hop_limit,
            source: address(source),
            destination: address(destination),
        };
        Ok((header, usize::from(u16::from_be_bytes([l0, l1]))))
    }

    /// Reads a header and cuts the packet to the length that it says. The header stays.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(packet: &mut Packet) -> Result<Self, Malformed> {
        let (header, len) = Self::read(packet)?;
        let total = len.saturating_add(HEADER);
        if packet.len() < total {
            return Err(Malformed::Truncated);
        }
        packet.truncate(total);
        Ok(header)
    }

    /// Puts it in front of a packet; `None` when the packet is too large or has no room.
    pub fn write(&self, packet: &mut Packet) -> Option<()> {
        let [l0, l1] = u16::try_from(packet.len()).ok()?.to_be_bytes();
        let room = packet.prepend(HEADER)?;
        let (fixed, addresses) = room.split_first_chunk_mut::<8>()?;
        let [_, f0, f1, f2] = self.flow.to_be_bytes();
        *fixed = [
            0x60 | (self.class >> 4),
            (self.class << 4) | (f0 & 15),
            f1,
            f2,
            l0,
            l1,
            self.next,
            self.hop_limit,
        ];
        let octets = self.source.octets().into_iter();
        let octets = octets.chain(self.destination.octets());
        addresses
            .iter_mut()
            .zip(octets)
            .for_each(|(to, from)| *to = from);
        Some(())
    }
}

/// A fragment header (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the whole packet begins with.
    pub next: u8,
    /// Where the fragment begins, in bytes.
    pub offset: u16,
    /// More follow.
    pub more: bool,
    /// Tells the packets of a source apart.
    pub id: u32,
}

impl Fragment {
    /// Reads one.
    #[must_use]
    pub const fn parse(bytes: [u8; FRAGMENT]) -> Self {
        let [next, _, o0, o1, i0, i1, i2, i3] = bytes;
        Self {
            next,
            offset: u16::from_be_bytes([o0, o1 & 0xf8]),
            more: o1 & 1 != 0,
            id: u32::from_be_bytes([i0, i1, i2, i3]),
        }
    }

    /// Puts it in front of a packet.
    pub fn write(&self, packet: &mut Packet) -> Option<()> {
        let room: &mut [u8; FRAGMENT] = packet.prepend(FRAGMENT)?.first_chunk_mut()?;
        let [o0, o1] = self.offset.to_be_bytes();
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        *room = [
            self.next,
            0,
            o0,
            (o1 & 0xf8) | u8::from(self.more),
            i0,
            i1,
            i2,
            i3,
        ];
        Some(())
    }
}

/// What is to be done with a packet because of its options (RFC 8200 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Fine,
    /// It is dropped.
    Drop,
    /// It is dropped, and its sender is told where in the header it is not understood; also if it was sent to a group, if `always`.
    Tell {
        /// Place of the option in the header.
        at: usize,
        /// Also for a group.
        always: bool,
    },
}

/// The option by which a sender has routers look at a packet.
const ROUTER_ALERT: u8 = 5;

/// Whether options, as [`options`] finds them fine, have routers look at the packet (RFC 2711).
#[must_use]
pub fn has_alert(header: &[u8]) -> bool {
    let mut at = 2_usize;
    while let Some(&kind) = header.get(at) {
        if kind == ROUTER_ALERT {
            return true;
        }
        let len = match kind {
            0 => 1,
            _ => header
                .get(at.saturating_add(1))
                .map_or(0, |len| usize::from(*len).saturating_add(2)),
        };
        if len == 0 {
            return false;
        }
        at = at.saturating_add(len);
    }
    false
}

/// Looks at the options of a header, whose two first bytes are before them.
#[must_use]
pub fn options(header: &[u8]) -> Verdict {
    let mut at = 2_usize;
    while let Some(&kind) = header.get(at) {
        if kind == 0 {
            at = at.saturating_add(1);
            continue;
        }
        let len = header.get(at.saturating_add(1)).copied();
        let end = len.map(|len| at.saturating_add(2).saturating_add(len.into()));
        let Some(end) = end.filter(|end| *end <= header.len()) else {
            return Verdict::Drop;
        };
        // PadN says nothing, and a router alert nothing to who looks at every packet (RFC 2711).
        if !matches!(kind, 1 | ROUTER_ALERT) {
            match kind >> 6 {
                0 => {}
                1 => return Verdict::Drop,
                2 => return Verdict::Tell { at, always: true },
                _ => return Verdict::Tell { at, always: false },
            }
        }
        at = end;
    }
    Verdict::Fine
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8200 section 3.
    #[test]
    fn there_and_back() {
        let header = Header {
            class: 0xb9,
            flow: 0xa_bcde,
            next: 17,
            hop_limit: 64,
            source: "2001:db8::1".parse().unwrap(),
            destination: "ff02::1:ff00:2".parse().unwrap(),
        };
        let mut packet = Packet::with_bytes(&[7; 9]);
        header.write(&mut packet).unwrap();
        assert_eq!(packet.head()[..8], [0x6b, 0x9a, 0xbc, 0xde, 0, 9, 17, 64]);
        assert_eq!(Header::parse(&mut packet), Ok(header));
        let mut short = packet.clone();
        short.truncate(48);
        assert_eq!(Header::parse(&mut short), Err(Malformed::Truncated));
        packet.head_mut()[0] = 0x4b;
        assert_eq!(Header::parse(&mut packet), Err(Malformed::Version));
    }

    /// RFC 8200 section 4.5.
    #[test]
    fn fragment_headers() {
        let fragment = Fragment {
            next: 58,
            offset: 0xfff8,
            more: true,
            id: 0x0102_0304,
        };
        let mut packet = Packet::new();
        fragment.write(&mut packet).unwrap();
        let bytes = *packet.head().first_chunk().unwrap();
        assert_eq!(bytes, [58, 0, 0xff, 0xf9, 1, 2, 3, 4]);
        assert_eq!(Fragment::parse(bytes), fragment);
    }

    /// RFC 8200 section 4.2: the two highest bits of a type.
    #[test]
    fn unknown_options_by_their_bits() {
        assert_eq!(options(&[58, 0, 1, 4, 0, 0, 0, 0]), Verdict::Fine);
        assert_eq!(options(&[58, 0, 5, 2, 0, 0, 1, 0]), Verdict::Fine);
        assert_eq!(options(&[58, 0, 0x1e, 4, 0, 0, 0, 0]), Verdict::Fine);
        assert_eq!(options(&[58, 0, 0x5e, 4, 0, 0, 0, 0]), Verdict::Drop);
        let tell = |at, always| Verdict::Tell { at, always };
        assert_eq!(options(&[58, 0, 0, 0x9e, 3, 0, 0, 0]), tell(3, true));
        assert_eq!(options(&[58, 0, 0, 0, 0xde, 2, 0, 0]), tell(4, false));
        assert!(has_alert(&[58, 0, 5, 2, 0, 0, 1, 0]));
        assert!(has_alert(&[58, 0, 1, 0, 5, 2, 0, 0]) && has_alert(&[58, 0, 0, 0, 5, 2, 0, 0]));
        assert!(!has_alert(&[58, 0, 1, 4, 5, 2, 0, 0]) && !has_alert(&[58, 0, 0, 0, 0, 0, 0, 1]));
        // An option beyond the header's end.
        assert_eq!(options(&[58, 0, 1, 5, 0, 0, 0, 0]), Verdict::Drop);
        assert_eq!(options(&[58, 0, 0, 0, 0, 0, 0, 1]), Verdict::Drop);
    }
}
