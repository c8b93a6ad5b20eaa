//! Messages in frames, as they travel while the interface has no address; and ARP probes (RFC 5227).

use alloc::vec::Vec;
use core::net::Ipv4Addr;
use internet_checksum::Checksum;
use rumpnet::{
    MacAddr, Packet,
    ethernet::{EtherType, Header},
};

/// Ports of servers and clients.
pub const SERVER: u16 = 67;
/// Port of clients.
pub const CLIENT: u16 = 68;
/// Bytes of headers: Ethernet, IPv4, UDP.
const HEADERS: usize = 14 + 20 + 8;
const UDP: u8 = 17;

/// A message to all servers of the link. `None` if it is too long for a packet.
#[must_use]
pub fn broadcast(mac: MacAddr, from: Ipv4Addr, message: &[u8]) -> Option<Packet> {
    let len = u16::try_from(message.len().checked_add(28)?).ok()?;
    let mut ip = Vec::from([0x45, 0]);
    ip.extend(len.to_be_bytes());
    // Not to be fragmented; 64 hops.
    ip.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    ip.extend(from.octets());
    ip.extend(Ipv4Addr::BROADCAST.octets());
    let sum = internet_checksum::checksum(&ip);
    ip.get_mut(10..12)?.copy_from_slice(&sum);
    let mut udp = Vec::new();
    udp.extend(CLIENT.to_be_bytes());
    udp.extend(SERVER.to_be_bytes());
    udp.extend(len.checked_sub(20)?.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(message);
    let mut sum = Checksum::new();
    sum.add_bytes(&from.octets());
    sum.add_bytes(&Ipv4Addr::BROADCAST.octets());
    sum.add_bytes(&[0, UDP]);
    sum.add_bytes(&len.checked_sub(20)?.to_be_bytes());
    sum.add_bytes(&udp);
    let sum = match sum.checksum() {
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    udp.get_mut(6..8)?.copy_from_slice(&sum);
    ip.extend(udp);
    let mut packet = Packet::with_bytes(&ip);
    let header = Header {
        destination: MacAddr::BROADCAST,
        source: mac,
        ethertype: EtherType::IPV4,
    };
    header.write(&mut packet)?;
    Some(packet)
}

/// Asks the link who has an address, from no address.
#[must_use]
pub fn probe(mac: MacAddr, address: Ipv4Addr) -> Option<Packet> {
    let mut arp = Vec::from([0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend(mac.0);
    arp.extend([0; 10]);
    arp.extend(address.octets());
    let mut packet = Packet::with_bytes(&arp);
    let header = Header {
        destination: MacAddr::BROADCAST,
        source: mac,
        ethertype: EtherType::ARP,
    };
    header.write(&mut packet)?;
    Some(packet)
}

/// What a frame is to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A message to a client's port.
    Message(Vec<u8>),
    /// A host has an address: who, and which.
    Claim(MacAddr, Ipv4Addr),
    /// A host asks whether somebody has an address that it would like to have (RFC 5227 section 2.1).
    Probe(MacAddr, Ipv4Addr),
}

/// Looks at a frame, whose sums the device may have left out: messages have a number that is hard to guess, and a broken one is asked for again.
#[must_use]
pub fn look(frame: &Packet) -> Option<Seen> {
    let mut head = [0; HEADERS];
    let len = frame.copy_to(0, &mut head);
    let head = head.get(..len)?;
    let (_, rest) = head.split_first_chunk::<12>()?;
    match rest.split_first_chunk::<2>()? {
        ([8, 6], arp) => {
            let arp: [u8; 28] = arp.first_chunk().copied()?;
            if arp.get(..6)? != [0, 1, 8, 0, 6, 4] {
                return None;
            }
            let mac = MacAddr(arp.get(8..)?.first_chunk().copied()?);
            let sender = Ipv4Addr::from(*arp.get(14..)?.first_chunk::<4>()?);
            let target = Ipv4Addr::from(*arp.get(24..)?.first_chunk::<4>()?);
            Some(match sender.is_unspecified() {
                true => Seen::Probe(mac, target),
                false => Seen::Claim(mac, sender),
            })
        }
        ([8, 0], ip) => {
            let version = *ip.first()?;
            let header = usize::from(version & 0xf).checked_mul(4)?;
            // Version 4; whole, and not a later piece of something.
            if version >> 4 != 4
                || header < 20
                || *ip.get(9)? != UDP
                || ip.get(6)? & 0x3f != 0
                || *ip.get(7)? != 0
            {
                return None;
            }
            let start = header.checked_add(14)?;
            let mut udp = [0; 8];
            if frame.copy_to(start, &mut udp) < 8 {
                return None;
            }
            let [s0, s1, d0, d1, l0, l1, ..] = udp;
            if u16::from_be_bytes([s0, s1]) != SERVER || u16::from_be_bytes([d0, d1]) != CLIENT {
                return None;
            }
            let len = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(8)?;
            let from = start.checked_add(8)?;
            if from.checked_add(len)? > frame.len() {
                return None;
            }
            let mut message = alloc::vec![0; len];
            frame.copy_to(from, &mut message);
            Some(Seen::Message(message))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let ip = Ipv4Addr::new(10, 0, 0, 9);
        let probe = probe(mac, ip).unwrap();
        assert_eq!(look(&probe), Some(Seen::Probe(mac, ip)));
        let mut claim = alloc::vec![0; probe.len()];
        probe.copy_to(0, &mut claim);
        claim[28..32].copy_from_slice(&ip.octets());
        let claim = Packet::with_bytes(&claim);
        assert_eq!(look(&claim), Some(Seen::Claim(mac, ip)));
        let packet = broadcast(mac, Ipv4Addr::UNSPECIFIED, b"hello").unwrap();
        // It goes to servers, and not to clients.
        assert_eq!(look(&packet), None);
        let mut bytes = alloc::vec![0; packet.len()];
        packet.copy_to(0, &mut bytes);
        assert_eq!(internet_checksum::checksum(&bytes[14..34]), [0, 0]);
        bytes[34..38].copy_from_slice(&[0, 67, 0, 68]);
        assert_eq!(
            look(&Packet::with_bytes(&bytes)),
            Some(Seen::Message(b"hello".to_vec()))
        );
        for len in 0..bytes.len() {
            assert_eq!(look(&Packet::with_bytes(&bytes[..len])), None, "{len}");
        }
    }
}
