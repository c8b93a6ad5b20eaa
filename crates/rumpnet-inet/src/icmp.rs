//! ICMP (RFC 792, RFC 1122 section 3.2.2).

use crate::{
    checksum,
    ip::{Arrival, DEFAULT_TTL, Sending, bump, is_class_e},
    ipv4::{HEADER, Header, protocol},
    stack::Stack,
};
use core::net::{IpAddr, Ipv4Addr};
use rumpnet::{
    Packet,
    packet::{Cast, Checksum},
};
use rumpuser::{Errno, Instant};

/// Bytes of a header, of both versions.
pub const LEN: usize = 8;
/// Bytes of the packet that an error returns: what fits 576 bytes (RFC 1812 section 4.3.2.3).
const QUOTED: usize = 576 - HEADER - LEN;
/// Errors that are sent at most in a row; one more for each millisecond (RFC 1812 section 4.3.2.8).
const BURST: u32 = 50;

pub(crate) mod kind {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(crate) const REDIRECT: u8 = 5;
    pub(super) const ECHO: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER: u8 = 12;
}

/// Why a packet cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route.
    Net,
    /// No answer from the next hop.
    Host,
    /// Nobody takes the protocol.
    Protocol,
    /// Nobody has the port.
    Port,
    /// It is larger than the MTU of the next hop.
    TooBig(u16),
}

impl Unreachable {
    const fn code(self) -> u8 {
        match self {
            Self::Net => 0,
            Self::Host => 1,
            Self::Protocol => 2,
            Self::Port => 3,
            Self::TooBig(_) => 4,
        }
    }
}

/// An error that somebody has sent about a packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What a socket is told.
    pub errno: Errno,
    /// The connection cannot go on (RFC 1122 section 4.2.3.9).
    pub hard: bool,
    /// MTU of the hop that it did not pass.
    pub mtu: Option<u16>,
}

impl Complaint {
    /// One that may be over soon.
    #[must_use]
    pub const fn soft(errno: Errno) -> Self {
        Self {
            errno,
            hard: false,
            mtu: None,
        }
    }

    /// One that ends a connection.
    #[must_use]
    pub const fn hard(errno: Errno) -> Self {
        Self {
            hard: true,
            ..Self::soft(errno)
        }
    }
}

/// An error about a packet, without its sum: the `head`, then as much of the packet as may be quoted.
#[must_use]
pub fn quote<const QUOTED: usize>(head: [u8; LEN], packet: &Packet) -> Option<Packet> {
    let mut quoted = [0; QUOTED];
    let count = packet.copy_to(0, &mut quoted);
    let mut error = Packet::with_bytes(quoted.get(..count)?);
    error.prepend(LEN)?.copy_from_slice(&head);
    Some(error)
}

/// How many errors may be sent (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).
#[derive(Debug)]
pub struct Limit {
    /// Errors that may be sent, and since when.
    tokens: u32,
    since: Instant,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            tokens: BURST,
            since: Instant::default(),
        }
    }
}

impl Limit {
    /// Whether one may be sent now, which then is.
    pub fn allow(&mut self, now: Instant) -> bool {
        let grown = now.since(self.since).as_millis();
        if grown > 0 {
            let grown = u32::try_from(grown).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(grown).min(BURST);
            self.since = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

fn sending(tos: u8) -> Sending {
    Sending {
        protocol: protocol::ICMP,
        ttl: DEFAULT_TTL,
        tos,
        dont_fragment: false,
    }
}

impl Stack {
    pub(crate) fn icmp_input(&mut self, arrival: &Arrival, mut packet: Packet) {
        bump(&mut self.counters.icmp.received);
        let mut sum = checksum::Sum::new();
        checksum::add(&mut sum, &packet);
        let trusted = packet.meta.checksum != Checksum::InPacket;
        let head: Option<[u8; LEN]> = packet.pull(LEN).and_then(|h| h.first_chunk().copied());
        let Some([kind, code, _, _, r0, r1, m0, m1]) = head else {
            bump(&mut self.counters.icmp.malformed);
            return;
        };
        if !trusted && sum.checksum() != [0, 0] {
            bump(&mut self.counters.icmp.checksum_errors);
            bump(&mut self.counters.icmp.malformed);
            return;
        }
        self.counters.icmp.received_by_type.bump(kind);
        match kind {
            kind::ECHO => self.icmp_echo(arrival, packet.clone()),
            kind::UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER => {
                bump(&mut self.counters.icmp.errors_received);
                let mtu = u16::from_be_bytes([m0, m1]);
                if let Some(complaint) = complaint(kind, code, mtu) {
                    let mut quoted = packet.clone();
                    quoted.strip(LEN);
                    self.icmp_complaint(complaint, quoted);
                }
            }
            kind::REDIRECT => {
                let mut quoted = packet.clone();
                quoted.strip(LEN);
                let gateway = Ipv4Addr::new(r0, r1, m0, m1);
                self.redirect_input(arrival, gateway, quoted);
            }
            _ => {}
        }
        self.raw_input(arrival, &packet);
    }

    /// Answers; not to what was sent to all (RFC 1122 section 3.2.2.6 leaves the choice).
    fn icmp_echo(&mut self, arrival: &Arrival, mut packet: Packet) {
        if arrival.cast != Cast::Unicast {
            return;
        }
        let from = Some(arrival.destination);
        let path = self.path(arrival.source, from, None);
        let Ok(path) = self.way_out(arrival.source, path) else {
            return;
        };
        if let Some([kind, _, c0, c1]) = packet.head_mut().get_mut(..4) {
            let (old, sum) = ([*kind, 0], [*c0, *c1]);
            *kind = kind::ECHO_REPLY;
            [*c0, *c1] = internet_checksum::update(sum, &old, &[*kind, 0]);
        }
        packet.meta = rumpnet::packet::Meta {
            checksum: Checksum::Valid,
            ..Default::default()
        };
        self.counters.icmp.sends(kind::ECHO_REPLY);
        let how = sending(arrival.tos);
        // A reply that cannot go is lost, like any packet.
        let _ = self.ip_output(&path, &how, arrival.source, packet);
    }

    /// Somebody complains about a packet of ours: its begin is quoted.
    fn icmp_complaint(&mut self, complaint: Complaint, mut quoted: Packet) {
        // A quotation is cut, and its header's sum may have been changed on the way.
        let Some(header) = Header::quoted(&mut quoted) else {
            bump(&mut self.counters.icmp.malformed);
            return;
        };
        // Only the first fragment has the ports.
        if header.offset != 0 {
            return;
        }
        quoted.strip(header.len);
        let source: IpAddr = header.source.into();
        if !self.is_ours(source) {
            return;
        }
        let (from, to) = (source, header.destination.into());
        self.complain(header.protocol, from, to, 0, complaint, quoted);
    }

    /// Tells the socket that sent a packet from `from` to `to` of a complaint; the packet is without its IP header.
    pub fn complain(
        &mut self,
        protocol: u8,
        from: IpAddr,
        to: IpAddr,
        interface: u32,
        complaint: Complaint,
        quoted: Packet,
    ) {
        match protocol {
            protocol::UDP => self.udp_complaint(from, to, interface, complaint, quoted),
            protocol::TCP => self.tcp_complaint(from, to, interface, complaint, quoted),
            _ => {}
        }
    }

    /// Tells the sender of a packet (without its header) that it cannot be delivered.
    pub(crate) fn icmp_unreachable(&mut self, to: &Arrival, packet: &Packet, why: Unreachable) {
        let Some(header) = &to.header else {
            if let Some(network) = self.network {
                network.unreachable(self, to, packet, why);
            }
            return;
        };
        if to.cast != Cast::Unicast || header.is_fragment() && header.offset != 0 {
            return;
        }
        let mut whole = packet.clone();
        if header.write(&mut whole).is_some() {
            self.icmp_error(header, &whole, kind::UNREACHABLE, why.code(), [0; 4]);
        }
    }

    /// The same for a packet with its header that was to be passed on.
    pub(crate) fn icmp_forward_error(
        &mut self,
        header: &Header,
        packet: &Packet,
        why: Unreachable,
    ) {
        let [m0, m1] = match why {
            Unreachable::TooBig(mtu) => mtu.to_be_bytes(),
            _ => [0, 0],
        };
        self.icmp_error(
            header,
            packet,
            kind::UNREACHABLE,
            why.code(),
            [0, 0, m0, m1],
        );
    }

    /// A packet has no hops left.
    pub(crate) fn icmp_time_exceeded(&mut self, header: &Header, packet: &Packet) {
        self.icmp_error(header, packet, kind::TIME_EXCEEDED, 0, [0; 4]);
    }

    /// The rest of a packet did not come; this is its first fragment without its header.
    pub(crate) fn icmp_reassembly_exceeded(&mut self, header: &Header, mut packet: Packet) {
        if header.write(&mut packet).is_some() {
            self.icmp_error(header, &packet, kind::TIME_EXCEEDED, 1, [0; 4]);
        }
    }

    /// A packet's next hop does not answer.
    pub(crate) fn icmp_host_unreachable(&mut self, mut packet: Packet) {
        let Ok(header) = Header::parse(&mut packet) else {
            return;
        };
        let source = IpAddr::V4(header.source);
        if self.is_ours(source) {
            // Our own: its socket is told without a packet.
            packet.strip(header.len);
            let complaint = Complaint::soft(Errno::EHOSTUNREACH);
            let to = header.destination.into();
            self.complain(header.protocol, source, to, 0, complaint, packet);
        } else {
            self.icmp_forward_error(&header, &packet, Unreachable::Host);
        }
    }

    /// Sends an error about a packet with its header (RFC 1122 section 3.2.2: never about an error, a group, a fragment).
    pub(crate) fn icmp_error(
        &mut self,
        about: &Header,
        packet: &Packet,
        kind: u8,
        code: u8,
        rest: [u8; 4],
    ) {
        let (from, to) = (about.source, about.destination);
        let no_host = from.is_unspecified() || from.is_multicast() || is_class_e(from);
        let all = self.interfaces.iter().flat_map(|here| &here.addresses);
        let to_all = all.map(|own| own.broadcast()).any(|all| all == Some(to));
        let group = to_all || to.is_multicast() || to.is_broadcast();
        if no_host || group || packet.meta.cast != Cast::Unicast || about.offset != 0 {
            return;
        }
        if about.protocol == protocol::ICMP {
            let mut inner = [0];
            packet.copy_to(about.len, &mut inner);
            if !matches!(inner, [kind::ECHO | kind::ECHO_REPLY]) {
                return;
            }
        }
        if !self.icmp.allow(self.now) {
            bump(&mut self.counters.icmp.limited);
            return;
        }
        let [r0, r1, r2, r3] = rest;
        let head = [kind, code, 0, 0, r0, r1, r2, r3];
        let Some(mut error) = quote::<QUOTED>(head, packet) else {
            return;
        };
        let mut sum = checksum::Sum::new();
        checksum::add(&mut sum, &error);
        if let Some(field) = error.head_mut().get_mut(2..4) {
            field.copy_from_slice(&sum.checksum());
        }
        let to = IpAddr::V4(from);
        // From the address that the packet was sent to, if it is ours.
        let target = IpAddr::V4(about.destination);
        let source = Some(target).filter(|target| self.is_ours(*target));
        let path = self.path(to, source, None);
        if let Ok(path) = self.way_out(to, path) {
            bump(&mut self.counters.icmp.errors_sent);
            self.counters.icmp.sends(kind);
            let _ = self.ip_output(&path, &sending(0xc0), to, error);
        }
    }
}

/// What an error means to a socket (RFC 1122 sections 3.2.2.1 and 4.2.3.9).
fn complaint(kind: u8, code: u8, mtu: u16) -> Option<Complaint> {
    let (soft, hard) = (Complaint::soft, Complaint::hard);
    Some(match (kind, code) {
        (kind::UNREACHABLE, 2) => hard(Errno::ENOPROTOOPT),
        (kind::UNREACHABLE, 3) => hard(Errno::ECONNREFUSED),
        (kind::UNREACHABLE, 4) => Complaint {
            // An old router does not say: then what every host takes is tried (RFC 1191 section 5).
            mtu: Some(if mtu == 0 { 576 } else { mtu }),
            ..soft(Errno::EMSGSIZE)
        },
        (kind::UNREACHABLE, 0 | 6 | 9 | 11) => soft(Errno::ENETUNREACH),
        (kind::UNREACHABLE, 10 | 13) => hard(Errno::EHOSTUNREACH),
        (kind::UNREACHABLE | kind::TIME_EXCEEDED, _) => soft(Errno::EHOSTUNREACH),
        (kind::PARAMETER, _) => soft(Errno::EPROTO),
        _ => return None,
    })
}
