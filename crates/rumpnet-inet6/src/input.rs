//! What comes in: extension headers, fragments, delivery, forwarding (RFC 8200).

use crate::{
    header::{FRAGMENT, Fragment, HEADER, Header, LEAST_MTU, Verdict, has_alert, next, options},
    icmp::{self, Problem},
    is_loopback, output, router,
    select::scope,
    state::State,
};
use core::net::{IpAddr, Ipv6Addr};
use rumpnet::{Packet, interface::Link, packet::Cast};
use rumpnet_inet::{
    icmp::Unreachable,
    ip::{Arrival, bump},
    ipv4::protocol,
    reassembly::{Key, Place},
    stack::Stack,
};

/// Extension headers that a packet may have (RFC 8504 section 5.3 leaves the limit).
const EXTENSIONS: usize = 8;

/// A packet has come.
pub(crate) fn input(stack: &mut Stack, interface: u32, mut packet: Packet) {
    bump(&mut stack.counters.ip6.received);
    let Ok(header) = Header::parse(&mut packet) else {
        bump(&mut stack.counters.ip6.malformed);
        return;
    };
    let has_link = |state: &State| state.links.contains_key(&interface);
    if interface != 0 && !stack.state::<State>().is_ok_and(has_link) {
        // The link has no IPv6.
        bump(&mut stack.counters.ip6.address_errors);
        return;
    }
    if header.class & 3 == 3 {
        bump(&mut stack.counters.ip6.marked);
    }
    if !plausible(stack, interface, &header) {
        bump(&mut stack.counters.ip6.address_errors);
        return;
    }
    let Some(cast) = owner(stack, interface, header.destination) else {
        if interface != 0 && packet.meta.cast == Cast::Unicast {
            forward(stack, interface, &header, packet);
        }
        return;
    };
    let arrival = Arrival {
        interface: link_of(stack, interface, header.source),
        source: header.source.into(),
        destination: header.destination.into(),
        ttl: header.hop_limit,
        tos: header.class,
        cast,
        protocol: header.next,
        header: None,
        fragmented: false,
        alert: false,
    };
    extensions(stack, arrival, header, packet);
}

/// The interface that an address of a link belongs to: what this host sends to itself comes by another.
fn link_of(stack: &Stack, interface: u32, source: Ipv6Addr) -> u32 {
    if !source.is_unicast_link_local() || !is_loopback(stack, interface) {
        return interface;
    }
    let has = |here: &&rumpnet_inet::stack::Attached| {
        let mut all = here.addresses.iter();
        all.any(|cidr| cidr.address() == IpAddr::V6(source))
    };
    let here = stack.interfaces.iter().find(has);
    here.map_or(interface, |here| here.ifnet.index())
}

/// Whether a packet can be: addresses that nobody sends from or to (RFC 4291 sections 2.5 and 2.7).
fn plausible(stack: &Stack, interface: u32, header: &Header) -> bool {
    let (source, destination) = (header.source, header.destination);
    if source.is_multicast() || destination.is_unspecified() {
        return false;
    }
    // Addresses of IPv4 within the host: on a wire they are a way around filters.
    let mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
    if mapped(source) || mapped(destination) {
        return false;
    }
    let host_only = source.is_loopback()
        || destination.is_loopback()
        || destination.is_multicast() && scope(destination) <= 1;
    !host_only || is_loopback(stack, interface)
}

/// How a destination is this host; `None` when it is not.
fn owner(stack: &Stack, interface: u32, destination: Ipv6Addr) -> Option<Cast> {
    let inside = is_loopback(stack, interface);
    if destination.is_multicast() {
        let all_nodes = destination.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 1]
            || destination.segments() == [0xff01, 0, 0, 0, 0, 0, 0, 1];
        let mut here = stack.interfaces.iter();
        let joined = here.any(|here| {
            (inside || here.ifnet.index() == interface) && here.listens(destination.into())
        });
        return (all_nodes || joined).then_some(Cast::Multicast);
    }
    if interface == 0 {
        return Some(Cast::Unicast);
    }
    let of_link = destination.is_unicast_link_local() && !inside;
    let mut here = stack.interfaces.iter();
    let ours = here.any(|here| {
        let mut all = here.addresses.iter();
        (!of_link || here.ifnet.index() == interface)
            && all.any(|cidr| cidr.address() == IpAddr::V6(destination))
    });
    ours.then_some(Cast::Unicast)
}

/// Works off the extension headers of a packet, which is whole, with its header, and hands it to its protocol.
fn extensions(stack: &mut Stack, mut arrival: Arrival, mut header: Header, mut packet: Packet) {
    let mut kind = header.next;
    // Where the header begins that is looked at, and where its type was said.
    let (mut at, mut said) = (HEADER, 6);
    for count in 0..=EXTENSIONS {
        let extension = matches!(
            kind,
            next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::DESTINATION
        );
        if !extension {
            break;
        }
        let mut fixed = [0; FRAGMENT];
        if packet.copy_to(at, &mut fixed) < FRAGMENT || count == EXTENSIONS {
            bump(&mut stack.counters.ip6.malformed);
            return;
        }
        let len = usize::from(fixed[1]).saturating_add(1).saturating_mul(8);
        if kind == next::FRAGMENT {
            arrival.fragmented = true;
            let fragment = Fragment::parse(fixed);
            if fragment.offset == 0 && !fragment.more {
                // The only one: it has nothing to do with others (RFC 6946 section 4).
                (kind, said, at) = (fragment.next, at, at.saturating_add(FRAGMENT));
                continue;
            }
            match reassemble(stack, &arrival, &header, fragment, (at, packet)) {
                Some((whole, first)) => (packet, header) = (whole, first),
                None => return,
            }
            arrival.tos = header.class;
            (kind, at, said) = (header.next, HEADER, 6);
            continue;
        }
        let all = packet.len();
        if at.saturating_add(len) > all {
            bump(&mut stack.counters.ip6.malformed);
            return;
        }
        if kind == next::ROUTING {
            // No type is known, type 0 is refused (RFC 5095): what has no more hops is ignored (RFC 8200 section 4.4).
            if fixed[3] != 0 {
                let place = at.saturating_add(2);
                icmp::problem(stack, &header, &packet, Problem::Header, place, false);
                return;
            }
        } else {
            if kind == next::HOP_BY_HOP && at != HEADER {
                icmp::problem(stack, &header, &packet, Problem::Next, said, false);
                return;
            }
            if !look(stack, &header, &packet, at, len) {
                return;
            }
            if kind == next::HOP_BY_HOP {
                let mut bytes = alloc::vec![0; len];
                packet.copy_to(at, &mut bytes);
                arrival.alert = has_alert(&bytes);
            }
        }
        (kind, said, at) = (fixed[0], at, at.saturating_add(len));
    }
    arrival.protocol = kind;
    if kind == next::NONE {
        return;
    }
    deliver(stack, &arrival, &header, packet, (at, said));
}

/// Looks at the options of a header; `false` when the packet goes no further.
fn look(stack: &mut Stack, header: &Header, packet: &Packet, at: usize, len: usize) -> bool {
    let mut bytes = alloc::vec![0; len];
    packet.copy_to(at, &mut bytes);
    match options(&bytes) {
        Verdict::Fine => true,
        Verdict::Drop => {
            bump(&mut stack.counters.ip6.malformed);
            false
        }
        Verdict::Tell { at: place, always } => {
            let place = at.saturating_add(place);
            icmp::problem(stack, header, packet, Problem::Option, place, always);
            false
        }
    }
}

/// Whether the first fragment of a packet has all headers up to that of a protocol of its own, the one of type `kind` at `at` being the next (RFC 7112
/// section 5). Of TCP's and others' it needs what everybody has who looks at them.
fn has_all_headers(packet: &Packet, mut kind: u8, mut at: usize) -> bool {
    for _ in 0..EXTENSIONS {
        let least = match kind {
            next::HOP_BY_HOP | next::ROUTING | next::DESTINATION | next::FRAGMENT => {
                let mut fixed = [0; 2];
                if packet.copy_to(at, &mut fixed) < fixed.len() {
                    return false;
                }
                let [after, units] = fixed;
                let units = if kind == next::FRAGMENT { 0 } else { units };
                let len = usize::from(units).saturating_add(1).saturating_mul(8);
                (kind, at) = (after, at.saturating_add(len));
                continue;
            }
            protocol::TCP => 20,
            protocol::UDP => 8,
            next::ICMP => 4,
            next::NONE => 0,
            _ => 1,
        };
        return at.saturating_add(least) <= packet.len();
    }
    false
}

/// Takes a fragment; returns the whole packet, with its header, and the header, when it is the last that was missing.
fn reassemble(
    stack: &mut Stack,
    arrival: &Arrival,
    header: &Header,
    fragment: Fragment,
    (at, mut packet): (usize, Packet),
) -> Option<(Packet, Header)> {
    bump(&mut stack.counters.ip6.fragments_received);
    let payload = packet.len().saturating_sub(at).saturating_sub(FRAGMENT);
    if fragment.more && !payload.is_multiple_of(8) {
        // RFC 8200 section 4.5: the length of the packet is at fault.
        icmp::problem(stack, header, &packet, Problem::Header, 4, false);
        return None;
    }
    let end = usize::from(fragment.offset).saturating_add(payload);
    if end > usize::from(u16::MAX) {
        let place = at.saturating_add(2);
        icmp::problem(stack, header, &packet, Problem::Header, place, false);
        return None;
    }
    let first = at.saturating_add(FRAGMENT);
    if fragment.offset == 0 && !has_all_headers(&packet, fragment.next, first) {
        icmp::problem(stack, header, &packet, Problem::Chain, 0, false);
        return None;
    }
    packet.strip(first);
    let key = Key {
        source: arrival.source,
        destination: arrival.destination,
        protocol: 0,
        id: fragment.id,
    };
    let place = Place {
        from: fragment.offset.into(),
        more: fragment.more,
    };
    let own = Header {
        next: fragment.next,
        ..*header
    };
    let now = stack.now;
    let state = stack.state_mut::<State>().ok()?;
    match state.reassembly.add(key, place, &own, packet, now) {
        Ok(Some((first, mut whole))) => {
            bump(&mut stack.counters.ip6.reassembled);
            first.write(&mut whole)?;
            Some((whole, first))
        }
        Ok(None) => None,
        Err(()) => {
            bump(&mut stack.counters.ip6.reassembly_failed);
            None
        }
    }
}

/// Hands a packet to its protocol, whose header begins at `at`.
fn deliver(
    stack: &mut Stack,
    arrival: &Arrival,
    header: &Header,
    packet: Packet,
    (at, said): (usize, usize),
) {
    if header.source.is_unspecified() && arrival.protocol != next::ICMP {
        bump(&mut stack.counters.ip6.malformed);
        return;
    }
    bump(&mut stack.counters.ip6.delivered);
    let mut payload = packet.clone();
    payload.strip(at);
    match arrival.protocol {
        protocol::TCP => stack.tcp_input(arrival, payload),
        protocol::UDP => stack.udp_input(arrival, payload),
        next::ICMP => icmp::input(stack, arrival, payload),
        _ => {
            if !stack.raw_input(arrival, &payload) {
                bump(&mut stack.counters.ip6.no_protocol);
                icmp::problem(stack, header, &packet, Problem::Next, said, false);
            }
        }
    }
}

/// Passes a packet on (RFC 8200 section 3, RFC 4443 sections 3.2 and 3.3).
fn forward(stack: &mut Stack, interface: u32, header: &Header, mut packet: Packet) {
    let (source, destination) = (header.source, header.destination);
    let forwarding = stack.state::<State>().is_ok_and(|state| state.forwarding);
    if !forwarding || destination.is_multicast() || source.is_unspecified() {
        bump(&mut stack.counters.ip6.address_errors);
        return;
    }
    if destination.is_unicast_link_local() {
        return;
    }
    if header.next == next::HOP_BY_HOP {
        let mut fixed = [0; 2];
        packet.copy_to(HEADER, &mut fixed);
        let len = usize::from(fixed[1]).saturating_add(1).saturating_mul(8);
        if HEADER.saturating_add(len) > packet.len() || !look(stack, header, &packet, HEADER, len) {
            return;
        }
    }
    if header.hop_limit <= 1 {
        icmp::time_exceeded(stack, header, &packet);
        return;
    }
    let Ok(path) = stack.path(destination.into(), Some(source.into()), None) else {
        bump(&mut stack.counters.ip6.no_route);
        icmp::forward_error(stack, header, &packet, Unreachable::Net);
        return;
    };
    if source.is_unicast_link_local() && path.interface != interface {
        icmp::beyond_scope(stack, header, &packet);
        return;
    }
    let back = path.interface == interface;
    let here = stack.attached(interface);
    if back
        && here.is_some_and(|here| {
            let mut all = here.addresses.iter();
            here.ifnet.link() == Link::Point && all.any(|own| own.contains(destination.into()))
        })
    {
        // The other end does not have it: it would come back for ever (RFC 4443 section 3.1, code 3).
        icmp::forward_error(stack, header, &packet, Unreachable::Host);
        return;
    }
    if back {
        router::show(stack, header, &packet, path.next_hop);
    }
    let mtu = output::mtu(stack, path.interface, destination).max(LEAST_MTU);
    // A large packet leaves in segments or datagrams, if its device does not take it whole.
    let len = match packet.meta.segment {
        segment if segment > 0 && matches!(header.next, protocol::TCP | protocol::UDP) => {
            rumpnet_inet::forward::large_len(&mut packet, HEADER, segment)
        }
        _ => packet.len(),
    };
    if len > usize::try_from(mtu).unwrap_or(usize::MAX) {
        let next = u16::try_from(mtu).unwrap_or(u16::MAX);
        bump(&mut stack.counters.ip6.fragmentation_failed);
        icmp::forward_error(stack, header, &packet, Unreachable::TooBig(next));
        return;
    }
    bump(&mut stack.counters.ip6.forwarded);
    if let Some(hops) = packet.pull(HEADER).and_then(|bytes| bytes.get_mut(7)) {
        *hops = hops.saturating_sub(1);
    }
    stack.path_output(&path, packet);
}
