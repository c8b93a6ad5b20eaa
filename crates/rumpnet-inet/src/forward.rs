//! Packets for others are passed on (RFC 1812 section 5).

use crate::{
    icmp,
    ip::{bump, fragments, is_class_e, source_routed},
    ipv4::Header,
    stack::{Path, Stack},
};
use rumpnet::{
    Packet,
    interface::{Batch, Features},
    offload,
};

impl Stack {
    /// Passes a packet on.
    pub(crate) fn forward(&mut self, header: Header, mut packet: Packet) {
        let destination = header.destination;
        let local_only = destination.is_link_local() || header.source.is_link_local();
        if !self.ip.forwarding || destination.is_multicast() || local_only {
            return;
        }
        // RFC 1812 section 5.3.7: no host has or sends from these.
        let martian = header.source.is_unspecified() || is_class_e(header.source);
        if martian || is_class_e(destination) {
            bump(&mut self.counters.ip.address_errors);
            return;
        }
        let options = packet.pull(header.len).and_then(|bytes| bytes.get(20..));
        if options.is_some_and(source_routed) {
            return;
        }
        if header.ttl <= 1 {
            self.icmp_time_exceeded(&header, &packet);
            return;
        }
        let Ok(path) = self.path(destination.into(), Some(header.source.into()), None) else {
            bump(&mut self.counters.ip.no_route);
            self.icmp_forward_error(&header, &packet, icmp::Unreachable::Net);
            return;
        };
        if path.broadcast {
            // Nobody beyond a network speaks to all its hosts (RFC 2644).
            bump(&mut self.counters.ip.address_errors);
            return;
        }
        self.redirect_output(&header, &packet, &path);
        // That of the link: what complaints say is about packets of this host.
        let mtu = self.attached(path.interface).map(|here| here.ifnet.mtu());
        let mtu = usize::try_from(mtu.unwrap_or(path.mtu)).unwrap_or(usize::MAX);
        // A large packet leaves in segments or datagrams, if its device does not take it whole.
        let len = match packet.meta.segment {
            0 => packet.len(),
            segment => large_len(&mut packet, header.len, segment),
        };
        if len > mtu {
            if header.dont_fragment {
                let next = u16::try_from(mtu).unwrap_or(u16::MAX);
                bump(&mut self.counters.ip.fragmentation_failed);
                self.icmp_forward_error(&header, &packet, icmp::Unreachable::TooBig(next));
                return;
            }
            bump(&mut self.counters.ip.forwarded);
            bump(&mut self.counters.ip.fragmented);
            self.forward_fragments(&path, packet, mtu);
            return;
        }
        bump(&mut self.counters.ip.forwarded);
        if let Some(bytes) = packet.pull(header.len) {
            decrement_ttl(bytes);
        }
        self.path_output(&path, packet);
    }

    /// Passes a packet on in fragments. What stands for several is cut into these first, and what has no sum yet gets it: fragments are those of
    /// one packet, and no sum is theirs.
    fn forward_fragments(&mut self, path: &Path, packet: Packet, mtu: usize) {
        let mut parts = Batch::new();
        let none = Features::empty();
        if offload::fits(&packet, none) {
            parts.push_back(packet);
        } else if offload::fit(packet, 0, none, &mut parts).is_none() {
            return;
        }
        for mut part in parts {
            let Ok(header) = Header::parse(&mut part) else {
                continue;
            };
            part.strip(header.len);
            let header = Header {
                ttl: header.ttl.wrapping_sub(1),
                len: 20,
                ..header
            };
            for fragment in fragments(&header, part, mtu) {
                bump(&mut self.counters.ip.fragments_sent);
                self.path_output(path, fragment);
            }
        }
    }
}

/// Bytes of each segment or datagram that a large packet stands for, with its headers.
#[must_use]
pub fn large_len(packet: &mut Packet, header: usize, segment: u16) -> usize {
    if packet.meta.datagrams {
        return header.saturating_add(8).saturating_add(segment.into());
    }
    let offset = header.saturating_add(12);
    let bytes = packet.pull(offset.saturating_add(1));
    let tcp = bytes.and_then(|bytes| bytes.get(offset)).copied();
    let tcp = usize::from(tcp.unwrap_or(0) >> 4).saturating_mul(4);
    header.saturating_add(tcp).saturating_add(segment.into())
}

/// Takes one hop off a header, and mends its checksum (RFC 1624).
fn decrement_ttl(header: &mut [u8]) {
    if let Some([ttl, protocol, c0, c1]) = header.get_mut(8..12) {
        let (old, sum) = ([*ttl, *protocol], [*c0, *c1]);
        *ttl = ttl.wrapping_sub(1);
        [*c0, *c1] = internet_checksum::update(sum, &old, &[*ttl, *protocol]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn one_hop_less() {
        let mut packet = Packet::new();
        let header = Header {
            tos: 0,
            id: 7,
            dont_fragment: false,
            more_fragments: false,
            offset: 0,
            ttl: 64,
            protocol: 17,
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            len: 20,
        };
        header.write(&mut packet).unwrap();
        decrement_ttl(packet.head_mut());
        assert_eq!(Header::parse(&mut packet).unwrap().ttl, 63);
    }
}
