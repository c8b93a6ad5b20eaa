//! IPv4: what comes in and what goes out (RFC 791, RFC 1122 section 3).

use crate::{
    checksum, icmp,
    identification::Identifications,
    ipv4::{Header, Malformed, protocol},
    path_mtu::PathMtus,
    reassembly::{Key, Place, Reassembly},
    stack::{Attached, Inet, Path, Stack, earlier},
};
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};
use rumpnet::{
    Packet,
    interface::{Features, Link},
    packet::{Cast, Checksum},
};
use rumpuser::{Errno, Host, Instant, Result, Rng};

/// Hops that a packet may take (RFC 1122 section 3.2.1.7, RFC 1700).
pub const DEFAULT_TTL: u8 = 64;

/// How long the rest of a packet may take (RFC 1122 section 3.3.2 wants a fixed value; 30 seconds is the field's).
const PATIENCE: Duration = Duration::from_secs(30);

/// The option by which a sender has routers look at a packet (RFC 2113).
const ROUTER_ALERT: u8 = 148;

/// What IPv4 keeps.
pub(crate) struct State {
    pub(crate) ids: Identifications,
    reassembly: Reassembly<Header>,
    pub(crate) paths: PathMtus<Ipv4Addr>,
    pub(crate) arp: crate::arp::State,
    /// Packets for others are passed on.
    pub(crate) forwarding: bool,
}

impl State {
    pub(crate) fn new(host: &dyn Host) -> Self {
        Self {
            ids: Identifications::new(host),
            reassembly: Reassembly::new(PATIENCE, usize::from(u16::MAX).saturating_sub(20)),
            paths: PathMtus::default(),
            arp: crate::arp::State::new(Rng::new(Inet::random_u64(host))),
            forwarding: false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let first = earlier(self.reassembly.deadline(), self.paths.deadline());
        earlier(first, self.arp.deadline())
    }

    /// Bytes of fragments.
    pub(crate) const fn fragments(&self) -> usize {
        self.reassembly.memory()
    }
}

/// How a packet came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Number of the interface; 0 when this host sent it.
    pub interface: u32,
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// Time to live, hop limit.
    pub ttl: u8,
    /// Type of service, traffic class.
    pub tos: u8,
    /// It was meant for more than this host.
    pub cast: Cast,
    /// What it carries.
    pub protocol: u8,
    /// Its header if it is of IPv4.
    pub header: Option<Header>,
    /// It came in fragments, or with the header of one.
    pub fragmented: bool,
    /// Routers were to look at it (RFC 2113, RFC 2711).
    pub alert: bool,
}

impl Arrival {
    /// The address of its sender as sockets have it: one of a link says which link it is (RFC 4007 section 6).
    #[must_use]
    pub fn from(&self, port: u16) -> SocketAddr {
        scoped(SocketAddr::new(self.source, port), self.interface)
    }
}

/// An address with the number of its link if it means something on that link alone.
#[must_use]
pub fn scoped(address: SocketAddr, interface: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(six) => {
            let local = six.ip().is_unicast_link_local() || is_link_group(*six.ip());
            let scope = if local { interface } else { 0 };
            SocketAddrV6::new(*six.ip(), six.port(), 0, scope).into()
        }
        four @ SocketAddr::V4(_) => four,
    }
}

/// The interface that an address of a link names.
#[must_use]
pub fn scope(address: &SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(six) => Some(six.scope_id()).filter(|scope| *scope != 0),
        SocketAddr::V4(_) => None,
    }
}

/// Whether what came by an interface is for a socket that is bound to one. What this host has sent itself has come by none.
pub(crate) fn on(bound: Option<u32>, interface: u32) -> bool {
    interface == 0 || bound.is_none_or(|bound| bound == interface)
}

/// A time to live that may be set: nothing is sent with none (RFC 1122 section 3.2.1.7, RFC 8200 section 3).
///
/// # Errors
/// `EINVAL`.
pub(crate) const fn hops(ttl: u8) -> Result<u8> {
    if ttl == 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(ttl)
    }
}

/// Whether a group is one of a link (RFC 4291 section 2.7).
fn is_link_group(group: Ipv6Addr) -> bool {
    matches!(group.octets(), [0xff, flags, ..] if flags & 15 <= 2)
}

/// What a packet is sent with.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// What it carries.
    pub protocol: u8,
    /// Time to live, hop limit.
    pub ttl: u8,
    /// Type of service, traffic class.
    pub tos: u8,
    /// It must not be fragmented (path MTU discovery, RFC 1191).
    pub dont_fragment: bool,
}

/// To whom a destination belongs.
enum Owner {
    This(Cast),
    Other,
}

impl Stack {
    /// An IP packet has come, of whichever version.
    pub(crate) fn ip_input(&mut self, interface: u32, mut packet: Packet) {
        let first = packet.pull(1).and_then(|bytes| bytes.first().copied());
        match first.map(|first| first >> 4) {
            Some(6) => {
                if let Some(network) = self.network {
                    network.input(self, interface, packet);
                }
            }
            _ => self.ipv4_input(interface, packet),
        }
    }

    pub(crate) fn ipv4_input(&mut self, interface: u32, mut packet: Packet) {
        bump(&mut self.counters.ip.received);
        let header = match Header::parse(&mut packet) {
            Ok(header) => header,
            Err(Malformed::Truncated | Malformed::Header | Malformed::Checksum) => {
                bump(&mut self.counters.ip.malformed);
                return;
            }
        };
        if header.tos & 3 == 3 {
            bump(&mut self.counters.ip.marked);
        }
        let ends = (header.source, header.destination);
        if !self.plausible(interface, ends, header.protocol) {
            bump(&mut self.counters.ip.address_errors);
            return;
        }
        let cast = match self.owner(interface, header.destination) {
            // To all on the link, but for one host: nobody sends that (RFC 1122 section 3.3.6).
            Owner::This(Cast::Unicast) if packet.meta.cast != Cast::Unicast => {
                bump(&mut self.counters.ip.address_errors);
                return;
            }
            Owner::This(cast) => cast,
            Owner::Other => {
                if interface != 0 && packet.meta.cast == Cast::Unicast {
                    if !self.ip.forwarding {
                        bump(&mut self.counters.ip.address_errors);
                    }
                    self.forward(header, packet);
                }
                return;
            }
        };
        let options = match header.len {
            20 => &[],
            len => packet
                .pull(len)
                .and_then(|bytes| bytes.get(20..))
                .unwrap_or_default(),
        };
        // Source routes are for others to follow (RFC 7126 section 4.3): refused at the end as well.
        if source_routed(options) {
            bump(&mut self.counters.ip.malformed);
            return;
        }
        let alert = has_option(options, |kind| kind == ROUTER_ALERT);
        packet.strip(header.len);
        let fragmented = header.is_fragment();
        let whole = match fragmented {
            true => self.reassemble(header, packet),
            false => Some((header, packet)),
        };
        let Some((header, packet)) = whole else {
            return;
        };
        let arrival = Arrival {
            interface,
            source: header.source.into(),
            destination: header.destination.into(),
            ttl: header.ttl,
            tos: header.tos,
            cast,
            protocol: header.protocol,
            header: Some(header),
            fragmented,
            alert,
        };
        self.deliver(&arrival, packet);
    }

    /// Takes a fragment without its header; returns the packet, and its header, when it is the last that was missing.
    fn reassemble(&mut self, header: Header, packet: Packet) -> Option<(Header, Packet)> {
        bump(&mut self.counters.ip.fragments_received);
        let key = Key {
            source: header.source.into(),
            destination: header.destination.into(),
            protocol: header.protocol,
            id: header.id.into(),
        };
        let place = Place {
            from: header.offset.into(),
            more: header.more_fragments,
        };
        let now = self.now;
        match self.ip.reassembly.add(key, place, &header, packet, now) {
            Ok(Some((first, whole))) => {
                bump(&mut self.counters.ip.reassembled);
                let more_fragments = false;
                Some((
                    Header {
                        more_fragments,
                        ..first
                    },
                    whole,
                ))
            }
            Ok(None) => None,
            Err(()) => {
                bump(&mut self.counters.ip.reassembly_failed);
                None
            }
        }
    }

    /// Hands a whole packet, without its IP header, to its protocol.
    fn deliver(&mut self, arrival: &Arrival, packet: Packet) {
        bump(&mut self.counters.ip.delivered);
        match arrival.protocol {
            protocol::TCP => self.tcp_input(arrival, packet),
            protocol::UDP => self.udp_input(arrival, packet),
            protocol::ICMP => self.icmp_input(arrival, packet),
            protocol::IGMP => {
                self.igmp_input(arrival, &packet);
                self.raw_input(arrival, &packet);
            }
            _ => {
                if !self.raw_input(arrival, &packet) {
                    bump(&mut self.counters.ip.no_protocol);
                    self.icmp_unreachable(arrival, &packet, icmp::Unreachable::Protocol);
                }
            }
        }
    }

    /// Whether a packet can be: addresses that nobody sends from or to (RFC 1122 section 3.2.1.3).
    pub(crate) fn plausible(
        &self,
        interface: u32,
        (source, destination): (Ipv4Addr, Ipv4Addr),
        protocol: u8,
    ) -> bool {
        if source.is_multicast() || source.is_broadcast() || is_this_network(destination) {
            return false;
        }
        // No address but this is one of a host that has none yet: to ask for one, and to speak of groups.
        let nameless = matches!(protocol, protocol::UDP | protocol::IGMP);
        if is_this_network(source) && !(source.is_unspecified() && nameless) {
            return false;
        }
        // All hosts of a network send nothing; an answer would go to them all.
        let here = self.attached(interface).into_iter();
        let mut networks = here.flat_map(|here| &here.addresses);
        if networks.any(|cidr| cidr.broadcast() == Some(source)) {
            return false;
        }
        let loopback = source.is_loopback() || destination.is_loopback();
        let on_loopback = |here: &Attached| here.ifnet.link() == Link::Loopback;
        !loopback || interface == 0 || self.attached(interface).is_some_and(on_loopback)
    }

    /// Whether a destination is this host, in the weak host model (RFC 1122 section 3.3.4.2).
    fn owner(&self, interface: u32, destination: Ipv4Addr) -> Owner {
        if interface == 0 {
            return Owner::This(Cast::Unicast);
        }
        if destination.is_broadcast() {
            return Owner::This(Cast::Broadcast);
        }
        if destination.is_multicast() {
            let joined = self.attached(interface).is_some_and(|here| {
                destination == Ipv4Addr::new(224, 0, 0, 1) || here.listens(destination.into())
            });
            return if joined {
                Owner::This(Cast::Multicast)
            } else {
                Owner::Other
            };
        }
        if self.is_ours(destination.into()) {
            return Owner::This(Cast::Unicast);
        }
        let here = self.attached(interface).into_iter();
        let mut networks = here.flat_map(|here| &here.addresses);
        if networks.any(|cidr| cidr.broadcast() == Some(destination)) {
            return Owner::This(Cast::Broadcast);
        }
        // An interface without an address takes what is sent to it by its link address: DHCP (RFC 2131 section 4.1).
        let bare = |here: &Attached| here.addresses.is_empty() && !self.ip.forwarding;
        if self.attached(interface).is_some_and(bare) {
            return Owner::This(Cast::Unicast);
        }
        Owner::Other
    }

    /// Whether the sum of a packet that goes this way can be left to the device.
    #[must_use]
    pub(crate) fn offloads(&self, path: &Path, features: Features) -> bool {
        path.local
            || self
                .attached(path.interface)
                .is_some_and(|here| here.ifnet.features().contains(features))
    }

    /// Completes the transport header of a packet: puts the checksum, or leaves it to the device, at `offset` of the header.
    pub fn put_checksum(
        &self,
        path: &Path,
        sending: &Sending,
        destination: IpAddr,
        packet: &mut Packet,
        offset: u16,
    ) {
        let at = usize::from(offset);
        let (source, protocol, len) = (path.source, sending.protocol, packet.len());
        let mut sum = checksum::pseudo(source, destination, protocol, len);
        let start = if destination.is_ipv4() { 20 } else { 40 };
        let whole =
            len.saturating_add(start.into()) <= usize::try_from(path.mtu).unwrap_or(usize::MAX);
        // Each segment of a large packet gets a sum of its own.
        let left = packet.meta.segment > 0 || whole && self.offloads(path, Features::CHECKSUM);
        let bytes = if left {
            packet.meta.checksum = Checksum::Partial { start, offset };
            checksum::partial(&sum)
        } else {
            packet.meta.checksum = Checksum::Valid;
            if let Some(field) = packet.head_mut().get_mut(at..at.saturating_add(2)) {
                field.fill(0);
            }
            checksum::add(&mut sum, packet);
            match sum.checksum() {
                // No sum at all means something else for UDP (RFC 768).
                [0, 0] if protocol == protocol::UDP => [0xff, 0xff],
                sum => sum,
            }
        };
        let field = packet.head_mut().get_mut(at..at.saturating_add(2));
        if let Some(field) = field {
            field.copy_from_slice(&bytes);
        }
    }

    /// Sends a packet that begins with its transport header.
    ///
    /// # Errors
    /// `EMSGSIZE`: it does not fit, and may not be fragmented.
    pub fn ip_output(
        &mut self,
        path: &Path,
        sending: &Sending,
        destination: IpAddr,
        mut packet: Packet,
    ) -> Result<()> {
        let (source, destination) = match (path.source, destination, self.network) {
            (IpAddr::V4(source), IpAddr::V4(destination), _) => (source, destination),
            (_, IpAddr::V6(to), Some(six)) => return six.output(self, path, sending, to, packet),
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        bump(&mut self.counters.ip.sent);
        let header = Header {
            tos: sending.tos,
            // RFC 6864 section 4.1: what is never fragmented needs none.
            id: match sending.dont_fragment {
                true => 0,
                false => self.ip.ids.next(),
            },
            dont_fragment: sending.dont_fragment,
            more_fragments: false,
            offset: 0,
            ttl: sending.ttl,
            protocol: sending.protocol,
            source,
            destination,
            len: 20,
        };
        let mtu = usize::try_from(path.mtu).unwrap_or(usize::MAX);
        let fits = packet.len().saturating_add(20) <= mtu;
        if fits || packet.meta.segment > 0 {
            packet = match self.send_known_way(path, &header, packet) {
                Ok(()) => return Ok(()),
                Err(packet) => packet,
            };
            header.write(&mut packet).ok_or(Errno::EMSGSIZE)?;
            self.path_output(path, packet);
            self.remember_way(path, &header);
            return Ok(());
        }
        if sending.dont_fragment || packet.len().saturating_add(20) > usize::from(u16::MAX) {
            bump(&mut self.counters.ip.fragmentation_failed);
            return Err(Errno::EMSGSIZE);
        }
        bump(&mut self.counters.ip.fragmented);
        for fragment in fragments(&header, packet, mtu) {
            bump(&mut self.counters.ip.fragments_sent);
            self.path_output(path, fragment);
        }
        Ok(())
    }

    /// Gives up packets whose fragments did not all come, and tells their senders.
    pub(crate) fn ip_expire(&mut self) {
        let now = self.now;
        if self.ip.paths.expire(now) {
            // Larger packets are tried again.
            self.routes.touch();
        }
        for first in self.ip.reassembly.expire(now) {
            bump(&mut self.counters.ip.reassembly_failed);
            if let Some((header, packet)) = first {
                self.icmp_reassembly_exceeded(&header, packet);
            }
        }
    }
}

/// Whether an address is of "this network" (RFC 1122 section 3.2.1.3 a and b).
const fn is_this_network(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [0, ..])
}

/// Whether an address is of class E, which no host has (RFC 1112 section 4).
pub(crate) const fn is_class_e(address: Ipv4Addr) -> bool {
    address.octets()[0] >= 240
}

/// Whether options have a route that the sender wants a packet to take.
pub(crate) fn source_routed(options: &[u8]) -> bool {
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    has_option(options, |kind| matches!(kind, LOOSE | STRICT))
}

/// Whether there is an option of such a kind.
fn has_option(mut options: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    while let Some((kind, rest)) = options.split_first() {
        match kind {
            0 => return false,
            1 => options = rest,
            kind if wanted(*kind) => return true,
            _ => {
                let len = rest.first().copied().unwrap_or(0);
                if len < 2 {
                    return false;
                }
                options = options.get(usize::from(len)..).unwrap_or_default();
            }
        }
    }
    false
}

/// Cuts a packet, without its header, into fragments with theirs.
pub(crate) fn fragments(header: &Header, packet: Packet, mtu: usize) -> Vec<Packet> {
    let piece = mtu.saturating_sub(20) & !7;
    let mut rest = packet.into_chain();
    let mut fragments = Vec::new();
    let mut offset = 0_usize;
    while !rest.is_empty() && piece > 0 {
        let part = rest.split_to(piece);
        let next = offset.saturating_add(part.len());
        let mut fragment = Packet::with_chain(part);
        let own = Header {
            more_fragments: !rest.is_empty() || header.more_fragments,
            offset: u16::try_from(offset.saturating_add(header.offset.into())).unwrap_or(u16::MAX),
            ..*header
        };
        if own.write(&mut fragment).is_some() {
            fragments.push(fragment);
        }
        offset = next;
    }
    fragments
}

/// Counts one.
pub const fn bump(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_the_sender_are_found() {
        assert!(source_routed(&[1, 131, 7, 4, 10, 0, 0, 1]));
        assert!(source_routed(&[7, 3, 4, 137, 3, 4]));
        assert!(!source_routed(&[148, 4, 0, 0, 0, 0, 131, 3]));
        assert!(!source_routed(&[68, 0, 131]));
    }
}
