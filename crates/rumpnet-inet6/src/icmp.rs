//! ICMPv6 (RFC 4443).

use crate::{
    header::{FRAGMENT, Fragment, HEADER, Header, LEAST_MTU, next},
    mld, nd, router,
    state::State,
};
use core::net::{IpAddr, Ipv6Addr};
use rumpnet::{
    Packet,
    packet::{Cast, Checksum, Meta},
};
use rumpnet_inet::{
    checksum,
    icmp::{Complaint, LEN, Unreachable, quote},
    ip::{Arrival, Sending, bump},
    ipv4::protocol,
    stack::{Path, Stack},
};
use rumpuser::Errno;

/// Bytes of a packet that an error returns (RFC 4443 section 2.4 c).
const QUOTED: usize = 1_280 - HEADER - LEN;

pub(crate) mod kind {
    pub(crate) const UNREACHABLE: u8 = 1;
    pub(crate) const TOO_BIG: u8 = 2;
    pub(crate) const TIME_EXCEEDED: u8 = 3;
    pub(crate) const PROBLEM: u8 = 4;
    pub(crate) const ECHO: u8 = 128;
    pub(crate) const ECHO_REPLY: u8 = 129;
    pub(crate) const QUERY: u8 = 130;
    pub(crate) const REPORT_1: u8 = 131;
    pub(crate) const DONE: u8 = 132;
    pub(crate) const ROUTER_SOLICITATION: u8 = 133;
    pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(crate) const NEIGHBOR_SOLICITATION: u8 = 135;
    pub(crate) const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    pub(crate) const REDIRECT: u8 = 137;
    pub(crate) const REPORT: u8 = 143;
}

/// What is not understood in a packet (RFC 4443 section 3.4).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Problem {
    Header = 0,
    Next = 1,
    Option = 2,
    /// Headers are missing in a first fragment (RFC 7112).
    Chain = 3,
}

fn sending(path: &Path, tos: u8) -> Sending {
    Sending {
        protocol: next::ICMP,
        ttl: path.hops,
        tos,
        dont_fragment: false,
    }
}

pub(crate) fn input(stack: &mut Stack, arrival: &Arrival, mut packet: Packet) {
    bump(&mut stack.counters.icmp6.received);
    let (source, destination) = (arrival.source, arrival.destination);
    let good = packet.meta.checksum != Checksum::InPacket
        || checksum::holds(source, destination, next::ICMP, &packet);
    let head: Option<[u8; LEN]> = packet.pull(LEN).and_then(|h| h.first_chunk().copied());
    let (Some([kind, code, _, _, m @ ..]), true) = (head, good) else {
        bump(&mut stack.counters.icmp6.malformed);
        if !good {
            bump(&mut stack.counters.icmp6.checksum_errors);
        }
        return;
    };
    stack.counters.icmp6.received_by_type.bump(kind);
    match kind {
        kind::ECHO => echo(stack, arrival, packet.clone()),
        // Also those that are not known yet (RFC 4443 section 2.4 a).
        0..128 => {
            bump(&mut stack.counters.icmp6.errors_received);
            let mut quoted = packet.clone();
            quoted.strip(LEN);
            error(stack, arrival, (kind, code, u32::from_be_bytes(m)), quoted);
        }
        kind::QUERY | kind::REPORT_1 => mld::input(stack, arrival, &packet),
        kind::ROUTER_SOLICITATION..=kind::REDIRECT => {
            // Nobody from beyond the link can send with as many hops (RFC 4861 section 7.1), and nobody sends these in fragments, which hide what
            // they say from who watches a link (RFC 6980 section 5).
            if arrival.ttl != 255 || code != 0 || arrival.fragmented {
                bump(&mut stack.counters.icmp6.malformed);
                return;
            }
            match kind {
                kind::NEIGHBOR_SOLICITATION => nd::solicitation(stack, arrival, &packet),
                kind::NEIGHBOR_ADVERTISEMENT => nd::advertisement(stack, arrival, &packet),
                kind::ROUTER_ADVERTISEMENT => router::advertisement(stack, arrival, &packet),
                kind::REDIRECT => router::redirect(stack, arrival, &packet),
                _ => {}
            }
        }
        _ => {}
    }
    stack.raw_input(arrival, &packet);
}

/// Answers, also to what was sent to a group (RFC 4443 section 4.2).
fn echo(stack: &mut Stack, arrival: &Arrival, mut packet: Packet) {
    if let IpAddr::V6(ip) = arrival.source
        && ip.is_unspecified()
    {
        return;
    }
    let from = Some(arrival.destination).filter(|_| arrival.cast == Cast::Unicast);
    let by = link_scope(arrival.source, arrival.interface);
    let path = stack.path(arrival.source, from, by);
    let Ok(path) = stack.way_out(arrival.source, path) else {
        return;
    };
    if let Some(kind) = packet.head_mut().first_mut() {
        *kind = kind::ECHO_REPLY;
    }
    packet.meta = Meta::default();
    stack.counters.icmp6.sends(kind::ECHO_REPLY);
    let how = sending(&path, arrival.tos);
    stack.put_checksum(&path, &how, arrival.source, &mut packet, 2);
    // A reply that cannot go is lost, like any packet.
    let _ = stack.ip_output(&path, &how, arrival.source, packet);
}

/// The interface by which to answer, if the address says nothing without it.
fn link_scope(address: IpAddr, interface: u32) -> Option<u32> {
    let local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    (local && interface != 0).then_some(interface)
}

/// Somebody complains about a packet of ours: its begin is quoted.
fn error(stack: &mut Stack, arrival: &Arrival, what: (u8, u8, u32), mut quoted: Packet) {
    let Ok((header, _)) = Header::read(&mut quoted) else {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    };
    if !stack.is_ours(header.source.into()) {
        return;
    }
    quoted.strip(HEADER);
    let mut protocol = header.next;
    if protocol == next::FRAGMENT {
        let bytes = quoted.pull(FRAGMENT).and_then(|b| b.first_chunk().copied());
        let Some(fragment) = bytes.map(Fragment::parse) else {
            return;
        };
        // Who sent it is in the first one, which was no smaller.
        if fragment.offset != 0 {
            return;
        }
        protocol = fragment.next;
        quoted.strip(FRAGMENT);
    }
    let complaint = complaint(what);
    let to: IpAddr = header.destination.into();
    let by = link_scope(to, arrival.interface);
    // Of TCP and UDP it counts if it is about something that was sent (RFC 8201 section 4), which they look at; nobody keeps what others send.
    if complaint.mtu.is_some() && !matches!(protocol, protocol::TCP | protocol::UDP) {
        note_mtu(
            stack,
            header.source.into(),
            (header.destination, by),
            what.2,
        );
    }
    let from = header.source.into();
    stack.complain(protocol, from, to, arrival.interface, complaint, quoted);
}

/// Packets to a destination must be smaller from now on. Less than 1280 bytes is not asked of anybody.
pub(crate) fn note_mtu(stack: &mut Stack, from: IpAddr, to: (Ipv6Addr, Option<u32>), mtu: u32) {
    let (to, by) = to;
    let Ok(path) = stack.path(to.into(), Some(from), by) else {
        return;
    };
    if path.local || mtu >= path.mtu {
        return;
    }
    let (now, mtu) = (stack.now, mtu.max(LEAST_MTU));
    if let Ok(state) = stack.state_mut::<State>() {
        state.paths.note(path.interface, to, mtu, now);
    }
    stack.routes.touch();
}

/// What an error means to a socket (RFC 4443 section 3, RFC 5461).
fn complaint((kind, code, word): (u8, u8, u32)) -> Complaint {
    let (soft, hard) = (Complaint::soft, Complaint::hard);
    match (kind, code) {
        (kind::UNREACHABLE, 4) => hard(Errno::ECONNREFUSED),
        (kind::UNREACHABLE, 1 | 5 | 6) => hard(Errno::EACCES),
        (kind::UNREACHABLE, 0) => soft(Errno::ENETUNREACH),
        (kind::UNREACHABLE | kind::TIME_EXCEEDED, _) => soft(Errno::EHOSTUNREACH),
        (kind::TOO_BIG, _) => Complaint {
            // Less than 1280 bytes is not asked of anybody (RFC 8201 section 4).
            mtu: Some(u16::try_from(word.max(LEAST_MTU)).unwrap_or(u16::MAX)),
            ..soft(Errno::EMSGSIZE)
        },
        (kind::PROBLEM, 1) => hard(Errno::ENOPROTOOPT),
        _ => soft(Errno::EPROTO),
    }
}

/// Tells the sender of a packet (without its header) that it cannot be delivered. Extension headers that it had are not quoted.
pub(crate) fn unreachable(stack: &mut Stack, to: &Arrival, packet: &Packet, why: Unreachable) {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (to.source, to.destination) else {
        return;
    };
    let header = Header {
        class: to.tos,
        flow: 0,
        next: to.protocol,
        hop_limit: to.ttl,
        source,
        destination,
    };
    let mut whole = packet.clone();
    if header.write(&mut whole).is_some() {
        send(stack, &header, &whole, Kind::of(why), to.interface, false);
    }
}

/// The same for a packet with its header that was to be passed on.
pub(crate) fn forward_error(stack: &mut Stack, header: &Header, packet: &Packet, why: Unreachable) {
    let interface = packet.meta.interface;
    send(stack, header, packet, Kind::of(why), interface, false);
}

/// A packet may not leave the link of its source (RFC 4443 section 3.1, code 2).
pub(crate) fn beyond_scope(stack: &mut Stack, header: &Header, packet: &Packet) {
    let kind = Kind(kind::UNREACHABLE, 2, 0);
    send(stack, header, packet, kind, packet.meta.interface, false);
}

/// A packet has no hops left.
pub(crate) fn time_exceeded(stack: &mut Stack, header: &Header, packet: &Packet) {
    let kind = Kind(kind::TIME_EXCEEDED, 0, 0);
    send(stack, header, packet, kind, packet.meta.interface, false);
}

/// The rest of a packet did not come; this is its first fragment without its header.
pub(crate) fn reassembly_exceeded(stack: &mut Stack, header: &Header, mut packet: Packet) {
    let interface = packet.meta.interface;
    if header.write(&mut packet).is_some() {
        let kind = Kind(kind::TIME_EXCEEDED, 1, 0);
        send(stack, header, &packet, kind, interface, false);
    }
}

/// A packet has something that is not understood, at this place.
pub(crate) fn problem(
    stack: &mut Stack,
    header: &Header,
    packet: &Packet,
    what: Problem,
    at: usize,
    always: bool,
) {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let kind = Kind(kind::PROBLEM, what as u8, at);
    send(stack, header, packet, kind, packet.meta.interface, always);
}

/// A packet's next hop does not answer.
pub(crate) fn unresolved(stack: &mut Stack, interface: u32, mut packet: Packet) {
    let Ok(header) = Header::parse(&mut packet) else {
        return;
    };
    if !stack.is_ours(header.source.into()) {
        packet.meta.interface = interface;
        forward_error(stack, &header, &packet, Unreachable::Host);
        return;
    }
    // Our own: its socket is told without a packet.
    packet.strip(HEADER);
    let complaint = Complaint::soft(Errno::EHOSTUNREACH);
    let (from, to) = (header.source.into(), header.destination.into());
    stack.complain(header.next, from, to, interface, complaint, packet);
}

/// Type, code, and the word after them.
struct Kind(u8, u8, u32);

impl Kind {
    fn of(why: Unreachable) -> Self {
        match why {
            Unreachable::Net => Self(kind::UNREACHABLE, 0, 0),
            Unreachable::Host => Self(kind::UNREACHABLE, 3, 0),
            Unreachable::Protocol => Self(kind::PROBLEM, 1, 6),
            Unreachable::Port => Self(kind::UNREACHABLE, 4, 0),
            Unreachable::TooBig(mtu) => Self(kind::TOO_BIG, 0, mtu.into()),
        }
    }
}

/// Whether a packet is an error or a redirect, about which no error may be sent (RFC 4443 section 2.4 e).
fn is_error(header: &Header, packet: &Packet) -> bool {
    let (mut kind, mut at) = (header.next, HEADER);
    for _ in 0..8 {
        let mut fixed = [0; 8];
        let count = packet.copy_to(at, &mut fixed);
        match kind {
            next::ICMP => return count == 0 || fixed[0] < 128 || fixed[0] == kind::REDIRECT,
            next::HOP_BY_HOP | next::DESTINATION | next::ROUTING if count == 8 => {
                let len = usize::from(fixed[1]).saturating_add(1).saturating_mul(8);
                (kind, at) = (fixed[0], at.saturating_add(len));
            }
            next::FRAGMENT if count == 8 => {
                if Fragment::parse(fixed).offset != 0 {
                    return fixed[0] == next::ICMP;
                }
                (kind, at) = (fixed[0], at.saturating_add(FRAGMENT));
            }
            _ => return false,
        }
    }
    true
}

/// Sends an error about a packet with its header (RFC 4443 section 2.4).
fn send(
    stack: &mut Stack,
    about: &Header,
    packet: &Packet,
    Kind(kind, code, word): Kind,
    interface: u32,
    always: bool,
) {
    let source = about.source;
    let group = about.destination.is_multicast() || packet.meta.cast != Cast::Unicast;
    if source.is_unspecified() || source.is_multicast() || is_error(about, packet) {
        return;
    }
    if group && !always && kind != kind::TOO_BIG {
        return;
    }
    let now = stack.now;
    let allowed = stack.state_mut::<State>();
    if !allowed.is_ok_and(|state| state.limit.allow(now)) {
        bump(&mut stack.counters.icmp6.limited);
        return;
    }
    let [w0, w1, w2, w3] = word.to_be_bytes();
    let head = [kind, code, 0, 0, w0, w1, w2, w3];
    let Some(mut error) = quote::<QUOTED>(head, packet) else {
        return;
    };
    let (to, target) = (IpAddr::V6(source), IpAddr::V6(about.destination));
    // From the address that the packet was sent to, if it is ours (RFC 4443 section 2.2).
    let from = Some(target).filter(|target| stack.is_ours(*target));
    let by = link_scope(to, interface);
    let path = stack.path(to, from, by);
    if let Ok(path) = stack.way_out(to, path) {
        bump(&mut stack.counters.icmp6.errors_sent);
        stack.counters.icmp6.sends(kind);
        let how = sending(&path, 0);
        stack.put_checksum(&path, &how, to, &mut error, 2);
        let _ = stack.ip_output(&path, &how, to, error);
    }
}

/// The group of all routers of a link.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// The group of all hosts of a link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
