//! The Internet checksum (RFC 1071) over packets.

use crate::Packet;
use core::net::IpAddr;
use internet_checksum::Checksum;

/// Begins a transport checksum with the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1). `len` counts the transport header.
#[must_use]
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Checksum {
    let mut sum = Checksum::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => sum.add_bytes(&address.octets()),
            IpAddr::V6(address) => sum.add_bytes(&address.octets()),
        }
    }
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    sum.add_bytes(&len.to_be_bytes());
    sum.add_bytes(&[0, 0, 0, protocol]);
    sum
}

/// Adds all of a packet to a sum.
pub fn add(sum: &mut Checksum, packet: &Packet) {
    for piece in packet.pieces() {
        sum.add_bytes(piece);
    }
}

/// The sum of a pseudo-header that a device completes: not inverted.
#[must_use]
pub fn partial(sum: &Checksum) -> [u8; 2] {
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
