//! Neighbour discovery (RFC 4861): who has which link address, and asking for routers.

use crate::{
    address,
    header::{HEADER, Header, next},
    icmp::{ALL_NODES, ALL_ROUTERS, kind},
    router,
    state::{Nonce, State},
};
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use rumpnet::{MacAddr, Packet, ethernet::EtherType, neighbor::Times, packet::Checksum};
use rumpnet_inet::{
    checksum,
    ip::{Arrival, bump},
    stack::{Path, Stack},
};

/// Time between two solicitations of routers (RFC 4861 section 10).
const SOLICIT_EVERY: Duration = Duration::from_secs(4);
/// How many are sent.
const SOLICITATIONS: u8 = 3;
/// Bytes of a redirect: with its header it fits every link (RFC 4861 section 4.5).
const REDIRECT_MOST: usize = 1_280 - HEADER;
/// A time of reachability counts so long (RFC 4861 section 6.3.2: a few hours).
const DRAWN: Duration = Duration::from_secs(7_200);

mod option {
    pub(super) const SOURCE: u8 = 1;
    pub(super) const TARGET: u8 = 2;
    pub(super) const REDIRECTED: u8 = 4;
    /// RFC 3971 section 5.3.2.
    pub(super) const NONCE: u8 = 14;
}

/// The group that an address is asked for in (RFC 4291 section 2.7.1).
pub(crate) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, low)
}

/// The options of a message, each with its first two bytes; `None` when they are malformed (RFC 4861 section 4.6).
pub(crate) fn options(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let len = usize::from(*bytes.get(1)?).checked_mul(8)?;
        if len == 0 {
            return None;
        }
        let (one, rest) = bytes.split_at_checked(len)?;
        all.push(one);
        bytes = rest;
    }
    Some(all)
}

/// A link address among options.
pub(crate) fn link_address(options: &[&[u8]], which: u8) -> Option<MacAddr> {
    let found = options.iter().find(|bytes| bytes.first() == Some(&which));
    let mac = MacAddr(*found?.get(2..)?.first_chunk()?);
    (!mac.is_group()).then_some(mac)
}

/// The number of a question whether somebody has an address; those of another length are not ours.
fn nonce(options: &[&[u8]]) -> Option<Nonce> {
    let found = options
        .iter()
        .find(|bytes| bytes.first() == Some(&option::NONCE))?;
    found.get(2..)?.try_into().ok()
}

/// The target's link address.
pub(crate) fn target_link(options: &[&[u8]]) -> Option<MacAddr> {
    link_address(options, option::TARGET)
}

/// The source's link address.
pub(crate) fn source_link(options: &[&[u8]]) -> Option<MacAddr> {
    link_address(options, option::SOURCE)
}

/// A message's bytes: no more than a link carries, as they do not come in fragments.
pub(crate) fn bytes(packet: &Packet) -> Vec<u8> {
    packet.pieces().flatten().copied().collect()
}

pub(crate) fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

/// A message about an address.
struct About {
    target: Ipv6Addr,
    source: Ipv6Addr,
    link: Option<MacAddr>,
    flags: u8,
    nonce: Option<Nonce>,
}

fn parse(arrival: &Arrival, packet: &Packet, link: u8) -> Option<About> {
    let bytes = bytes(packet);
    let target: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
    let target = Ipv6Addr::from(target);
    let options = options(bytes.get(24..)?)?;
    (!target.is_multicast()).then(|| About {
        target,
        source: six(arrival.source),
        link: link_address(&options, link),
        flags: bytes.get(4).copied().unwrap_or(0),
        nonce: nonce(&options),
    })
}

/// Somebody asks for a link address (RFC 4861 section 7.2.3, RFC 4862 section 5.4.3).
pub(crate) fn solicitation(stack: &mut Stack, arrival: &Arrival, packet: &Packet) {
    let interface = arrival.interface;
    let Some(about) = parse(arrival, packet, option::SOURCE) else {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    };
    let (target, source) = (about.target, about.source);
    let nobody = source.is_unspecified();
    // Who has no address yet asks the group, and says no link address (section 7.1.1).
    if nobody && (six(arrival.destination) != solicited_node(target) || about.link.is_some()) {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    }
    let asked = stack
        .state::<State>()
        .ok()
        .and_then(|state| state.own(interface, target))
        .filter(|own| own.tentative.is_some())
        .map(|own| own.nonce);
    if let Some(asked) = asked {
        // A link that gives back what is sent makes no duplicate (RFC 7527 section 4.2).
        let echo = asked.is_some() && about.nonce == asked;
        if nobody && !echo {
            address::duplicate(stack, interface, target);
        }
        return;
    }
    let Some(here) = stack.attached(interface) else {
        return;
    };
    let ours = |ip: Ipv6Addr| {
        let mut all = here.addresses.iter();
        all.any(|cidr| cidr.address() == IpAddr::V6(ip))
    };
    if !ours(target) || ours(source) {
        return;
    }
    if let Some(mac) = about.link
        && !nobody
    {
        heard(stack, interface, source, mac);
    }
    let forwarding = stack.state::<State>().is_ok_and(|state| state.forwarding);
    let flags = if forwarding { 0x80 } else { 0 } | 0x20 | if nobody { 0 } else { 0x40 };
    let to = if nobody { ALL_NODES } else { source };
    advertise(stack, interface, target, to, flags);
}

/// A neighbour says its link address in passing.
pub(crate) fn heard(stack: &mut Stack, interface: u32, address: Ipv6Addr, mac: MacAddr) {
    let now = stack.now;
    let waited = stack.neighbors.hear(interface, address.into(), mac, now);
    release(stack, interface, mac, waited);
}

fn release(stack: &mut Stack, interface: u32, to: MacAddr, waited: Vec<Packet>) {
    let Some(mac) = stack.attached(interface).and_then(|here| here.ifnet.mac()) else {
        return;
    };
    for packet in waited {
        stack.link_output(interface, mac, to, EtherType::IPV6, packet);
    }
}

/// Somebody says that it has an address (RFC 4861 section 7.2.5, RFC 4862 section 5.4.4).
pub(crate) fn advertisement(stack: &mut Stack, arrival: &Arrival, packet: &Packet) {
    let interface = arrival.interface;
    let Some(about) = parse(arrival, packet, option::TARGET) else {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    };
    let (target, flags) = (about.target, about.flags);
    let solicited = flags & 0x40 != 0;
    if solicited && six(arrival.destination).is_multicast() {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    }
    let tentative = stack
        .state::<State>()
        .is_ok_and(|state| state.is_tentative(interface, target));
    if tentative {
        address::duplicate(stack, interface, target);
        return;
    }
    if stack.is_ours_on(interface, target.into()) {
        return;
    }
    let now = stack.now;
    let key = (interface, IpAddr::V6(target));
    let overrides = flags & 0x20 != 0;
    let neighbors = &mut stack.neighbors;
    let Some(waited) = neighbors.advertised(key, about.link, solicited, overrides, now) else {
        return;
    };
    if let Some(mac) = about.link {
        release(stack, interface, mac, waited);
    }
    if flags & 0x80 == 0 {
        // It is no router any more.
        router::forget(stack, interface, target);
    }
}

/// Asks for a link address: the group of the address, or who had it (RFC 4861 section 7.2.2).
pub(crate) fn solicit(stack: &mut Stack, interface: u32, target: Ipv6Addr, to: Option<MacAddr>) {
    let network = stack.attached(interface).and_then(|here| {
        let mut all = here.addresses.iter();
        let six = all.find(|cidr| cidr.contains(target.into()));
        let first = here.addresses.iter().find(|cidr| cidr.address().is_ipv6());
        six.or(first).map(|cidr| cidr.address())
    });
    let Some(IpAddr::V6(source)) = network else {
        return;
    };
    let destination = if to.is_some() {
        target
    } else {
        solicited_node(target)
    };
    let mac = stack.attached(interface).and_then(|here| here.ifnet.mac());
    let option = mac.map_or_else(Vec::new, |mac| [&[option::SOURCE, 1][..], &mac.0].concat());
    ask(
        stack,
        interface,
        (source, destination),
        (target, &option),
        to,
    );
}

/// Asks whether anybody has an address that this host wants (RFC 4862 section 5.4.2).
pub(crate) fn probe(stack: &mut Stack, interface: u32, target: Ipv6Addr) {
    let ends = (Ipv6Addr::UNSPECIFIED, solicited_node(target));
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let [nonce @ .., _, _] = state.unforeseeable().to_be_bytes();
    let link = state.links.get_mut(&interface);
    let mut all = link.into_iter().flat_map(|link| &mut link.addresses);
    if let Some(own) = all.find(|own| own.ip == target) {
        own.nonce = Some(nonce);
    }
    let option = [&[option::NONCE, 1][..], &nonce].concat();
    ask(stack, interface, ends, (target, &option), None);
}

fn ask(
    stack: &mut Stack,
    interface: u32,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    (target, option): (Ipv6Addr, &[u8]),
    to: Option<MacAddr>,
) {
    let mut body = Vec::from([kind::NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(target.octets());
    body.extend(option);
    send(stack, interface, source, (destination, to), &body);
}

/// Says that this host has an address.
pub(crate) fn advertise(
    stack: &mut Stack,
    interface: u32,
    target: Ipv6Addr,
    to: Ipv6Addr,
    flags: u8,
) {
    let mut body = Vec::from([kind::NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
    body.extend(target.octets());
    if let Some(mac) = stack.attached(interface).and_then(|here| here.ifnet.mac()) {
        body.extend([option::TARGET, 1]);
        body.extend(mac.0);
    }
    send(stack, interface, target, (to, None), &body);
}

/// Shows a host a shorter way to where its packet, with its header, goes (RFC 4861 section 8.2).
pub(crate) fn redirect(
    stack: &mut Stack,
    interface: u32,
    source: Ipv6Addr,
    target: Ipv6Addr,
    (about, packet): (&Header, &Packet),
) {
    let mut body = Vec::from([kind::REDIRECT, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(target.octets());
    body.extend(about.destination.octets());
    if let Some((mac, _)) = stack.neighbors.settled(interface, target.into(), stack.now) {
        body.extend([option::TARGET, 1]);
        body.extend(mac.0);
    }
    // As much of the packet as fits, in units of eight bytes.
    let room = REDIRECT_MOST.saturating_sub(body.len()).saturating_sub(8) & !7;
    let mut quoted = alloc::vec![0; packet.len().next_multiple_of(8).min(room)];
    packet.copy_to(0, &mut quoted);
    let units = u8::try_from(quoted.len() / 8)
        .unwrap_or(0)
        .saturating_add(1);
    body.extend([option::REDIRECTED, units, 0, 0, 0, 0, 0, 0]);
    body.extend(quoted);
    send(stack, interface, source, (about.source, None), &body);
}

/// Sends a message of neighbour discovery, with all the hops there are.
pub(crate) fn send(
    stack: &mut Stack,
    interface: u32,
    source: Ipv6Addr,
    (to, link): (Ipv6Addr, Option<MacAddr>),
    body: &[u8],
) {
    let mut packet = Packet::with_bytes(body);
    put_sum(source, to, &mut packet);
    let header = Header {
        class: 0,
        flow: 0,
        next: next::ICMP,
        hop_limit: 255,
        source,
        destination: to,
    };
    if header.write(&mut packet).is_none() {
        return;
    }
    stack
        .counters
        .icmp6
        .sends(body.first().copied().unwrap_or(0));
    let mac = stack.attached(interface).and_then(|here| here.ifnet.mac());
    if let (Some(mac), Some(link)) = (mac, link) {
        stack.link_output(interface, mac, link, EtherType::IPV6, packet);
        return;
    }
    let path = Path {
        interface,
        next_hop: to.into(),
        source: source.into(),
        mtu: u32::from(u16::MAX),
        hops: 255,
        local: false,
        broadcast: false,
    };
    debug_assert!(packet.len() > HEADER);
    stack.path_output(&path, packet);
}

/// Puts the sum into a message.
pub(crate) fn put_sum(source: Ipv6Addr, to: Ipv6Addr, packet: &mut Packet) {
    let mut sum = checksum::pseudo(source.into(), to.into(), next::ICMP, packet.len());
    checksum::add(&mut sum, packet);
    if let Some(field) = packet.pull(4).and_then(|bytes| bytes.get_mut(2..4)) {
        field.copy_from_slice(&sum.checksum());
    }
    packet.meta.checksum = Checksum::Valid;
}

/// Draws the time for which a neighbour's address counts: half of what routers say to half as much again, so that not all hosts of a link ask at
/// once (RFC 4861 section 6.3.2). If it was drawn not long ago it stays, unless `anew`.
pub(crate) fn draw_times(stack: &mut Stack, interface: u32, anew: bool) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let State { links, rng, .. } = state;
    let Some(link) = links.get_mut(&interface) else {
        return;
    };
    if !anew && link.drawn_until > now {
        return;
    }
    link.drawn_until = now.after(DRAWN);
    let percent = u32::try_from(rng.below(101)).unwrap_or(50);
    let times = Times {
        reachable: link
            .reachable
            .saturating_mul(percent.saturating_add(50))
            .checked_div(100)
            .unwrap_or_default(),
        retry: link.retry,
    };
    stack.neighbors.set_times(interface, times);
}

/// Begins to ask for routers (RFC 4861 section 6.3.7), after a while unless the address of the link was asked for after one.
pub(crate) fn begin_soliciting(stack: &mut Stack, interface: u32) {
    let now = stack.now;
    if let Ok(state) = stack.state_mut::<State>()
        && !state.forwarding
        && state.accept_advertisements
    {
        let wait = if state.probes > 0 {
            Duration::ZERO
        } else {
            state.wait()
        };
        if let Some(link) = state.links.get_mut(&interface) {
            link.solicit = Some((now.after(wait), SOLICITATIONS));
        }
    }
}

pub(crate) fn clock(stack: &mut Stack, interface: u32) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    // Who has become a router, or does not listen to them any more, asks none.
    let asks = !state.forwarding && state.accept_advertisements;
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    if !asks {
        link.solicit = None;
    }
    match link.solicit {
        Some((at, left)) if at <= now => {
            let left = left.saturating_sub(1);
            link.solicit = (left > 0).then(|| (now.after(SOLICIT_EVERY), left));
        }
        _ => return,
    }
    let usable =
        |own: &&crate::state::Own| own.tentative.is_none() && own.ip.is_unicast_link_local();
    let source = link.addresses.iter().find(usable).map(|own| own.ip);
    let source = source.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let mut body = Vec::from([kind::ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
    let mac = stack.attached(interface).and_then(|here| here.ifnet.mac());
    if let Some(mac) = mac.filter(|_| !source.is_unspecified()) {
        body.extend([option::SOURCE, 1]);
        body.extend(mac.0);
    }
    send(stack, interface, source, (ALL_ROUTERS, None), &body);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4291 section 2.7.1.
    #[test]
    fn groups_of_addresses() {
        let group = solicited_node("4037::01:800:200e:8c6c".parse().unwrap());
        assert_eq!(group, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
    }

    /// RFC 4861 section 4.6: an option of length zero makes the message void.
    #[test]
    fn options_are_bounded() {
        assert_eq!(options(&[]), Some(Vec::new()));
        assert_eq!(options(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(options(&[1, 2, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(options(&[1]), None);
        let bytes = [5, 1, 0, 0, 0, 0, 5, 0xdc, 1, 1, 2, 0, 0, 0, 0, 9];
        let all = options(&bytes).unwrap();
        assert_eq!(source_link(&all), Some(MacAddr([2, 0, 0, 0, 0, 9])));
        assert_eq!(link_address(&all, option::TARGET), None);
        // Nobody is a group.
        assert_eq!(source_link(&[&[1, 1, 3, 0, 0, 0, 0, 9]]), None);
    }
}
