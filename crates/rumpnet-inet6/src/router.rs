//! What routers advertise (RFC 4861 section 6.3.4): default routes, prefixes, the size of packets.

use crate::{
    address,
    header::{Header, LEAST_MTU},
    nd,
    state::State,
};
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use rumpnet::{
    Cidr, Packet,
    route::{Origin, Route},
};
use rumpnet_inet::{
    ip::{Arrival, bump},
    stack::Stack,
};
use rumpuser::Instant;

/// Routers and prefixes that a link may have; more are not remembered.
const ROUTERS: usize = 8;
const PREFIXES: usize = 16;
/// Routes that were learnt come after those that were configured.
const METRIC: u32 = 1_024;

mod option {
    pub(super) const PREFIX: u8 = 3;
    pub(super) const MTU: u8 = 5;
}

/// What an option says of a prefix (RFC 4861 section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) network: Cidr,
    pub(crate) on_link: bool,
    pub(crate) autonomous: bool,
    /// Seconds; all ones is for ever.
    pub(crate) valid: u32,
    pub(crate) preferred: u32,
}

fn prefix(bytes: &[u8]) -> Option<Prefix> {
    let bytes: &[u8; 32] = bytes.first_chunk()?;
    let word = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).copied();
    let address: [u8; 16] = *bytes.get(16..)?.first_chunk()?;
    let address = Ipv6Addr::from(address);
    let network = Cidr::new(address.into(), bytes[2]).ok()?.network();
    let prefix = Prefix {
        network,
        on_link: bytes[3] & 0x80 != 0,
        autonomous: bytes[3] & 0x40 != 0,
        valid: u32::from_be_bytes(word(4)?),
        preferred: u32::from_be_bytes(word(8)?),
    };
    let link_local = address.is_unicast_link_local();
    (!link_local && !address.is_multicast()).then_some(prefix)
}

/// When seconds are over; `None` is never.
pub(crate) fn end(now: Instant, seconds: u32) -> Option<Instant> {
    (seconds != u32::MAX).then(|| now.after(Duration::from_secs(seconds.into())))
}

/// What a router says (RFC 4861 section 4.2). Of what is zero it says nothing, but that zero seconds make it no default router.
struct Advertisement<'a> {
    hops: u8,
    /// Seconds for which it is a default router.
    life: u16,
    /// Milliseconds.
    reachable: u32,
    retry: u32,
    options: Vec<&'a [u8]>,
}

impl<'a> Advertisement<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<16>()?;
        let [_, _, _, _, hops, _, l0, l1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        Some(Self {
            hops,
            life: u16::from_be_bytes([l0, l1]),
            reachable: u32::from_be_bytes([t0, t1, t2, t3]),
            retry: u32::from_be_bytes([r0, r1, r2, r3]),
            options: nd::options(rest)?,
        })
    }
}

/// A router has advertised itself.
pub(crate) fn advertisement(stack: &mut Stack, arrival: &Arrival, packet: &Packet) {
    let interface = arrival.interface;
    let source = match arrival.source {
        IpAddr::V6(source) if source.is_unicast_link_local() => source,
        _ => {
            bump(&mut stack.counters.icmp6.malformed);
            return;
        }
    };
    let follows = |state: &State| {
        let listens = !state.forwarding && state.accept_advertisements;
        listens && state.links.contains_key(&interface)
    };
    if !stack.state::<State>().is_ok_and(follows) || stack.is_ours_on(interface, source.into()) {
        return;
    }
    let bytes = nd::bytes(packet);
    let Some(said) = Advertisement::parse(&bytes) else {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    };
    variables(stack, interface, &said);
    if let Some(mac) = nd::source_link(&said.options) {
        nd::heard(stack, interface, source, mac);
    }
    default_route(stack, interface, source, said.life);
    for bytes in said.options {
        match bytes.first() {
            Some(&option::PREFIX) => {
                let Some(prefix) = prefix(bytes) else {
                    continue;
                };
                if prefix.on_link {
                    on_link(stack, interface, prefix);
                }
                if prefix.autonomous {
                    address::advertised(stack, interface, &prefix);
                }
            }
            Some(&option::MTU) => mtu(stack, interface, bytes),
            _ => {}
        }
    }
}

/// Sets what a router says of its link: hops, and the times between questions and for which answers count.
fn variables(stack: &mut Stack, interface: u32, said: &Advertisement<'_>) {
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    if said.life != 0 {
        // Who is no default router leaves the question open (section 6.3.7).
        link.solicit = None;
    }
    let before = (link.retry, link.reachable);
    if said.retry != 0 {
        // A router may not have this host wait for ever.
        link.retry = Duration::from_millis(said.retry.clamp(10, 60_000).into());
    }
    if said.reachable != 0 {
        // Longer than an hour no router may say (section 6.2.1).
        link.reachable = Duration::from_millis(said.reachable.min(3_600_000).into());
    }
    let other_times = before != (link.retry, link.reachable);
    if said.hops != 0 && said.hops != link.hop_limit {
        link.hop_limit = said.hops;
        stack.routes.touch();
    }
    nd::draw_times(stack, interface, other_times);
}

/// A router says the size of packets of its link, which counts if it can be (RFC 4861 section 4.6.4).
fn mtu(stack: &mut Stack, interface: u32, bytes: &[u8]) {
    let own = stack.attached(interface).map_or(0, |here| here.ifnet.mtu());
    let word = bytes.get(4..).and_then(|b| b.first_chunk()).copied();
    let mtu = u32::from_be_bytes(word.unwrap_or_default());
    if (LEAST_MTU..=own).contains(&mtu)
        && let Ok(state) = stack.state_mut::<State>()
        && let Some(link) = state.links.get_mut(&interface)
        && link.mtu != Some(mtu)
    {
        link.mtu = Some(mtu);
        stack.routes.touch();
    }
}

/// A router may be used for so many seconds.
fn default_route(stack: &mut Stack, interface: u32, router: Ipv6Addr, seconds: u16) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    if seconds == 0 {
        forget(stack, interface, router);
        return;
    }
    let until = now.after(Duration::from_secs(seconds.into()));
    if let Some((_, known)) = link.routers.iter_mut().find(|(ip, _)| *ip == router) {
        *known = until;
        return;
    }
    if link.routers.len() >= ROUTERS {
        return;
    }
    link.routers.push((router, until));
    add_default(stack, interface, router);
}

/// Adds the route by a router, after those that are there.
fn add_default(stack: &mut Stack, interface: u32, router: Ipv6Addr) {
    let learnt = |route: &&Route| {
        route.network == Cidr::ANY_V6 && route.origin == Origin::Dynamic && route.metric >= METRIC
    };
    let last = stack.routes.iter().filter(learnt).map(|route| route.metric);
    let metric = last.max().map_or(METRIC, |metric| metric.saturating_add(1));
    let _ = stack.routes.add(Route {
        network: Cidr::ANY_V6,
        gateway: Some(router.into()),
        interface,
        metric,
        source: None,
        origin: Origin::Dynamic,
    });
}

/// A neighbour does not answer: as a router it is tried after the others (RFC 4861 section 6.3.6), and ways to it that were shown are forgotten.
pub(crate) fn silent(stack: &mut Stack, interface: u32, neighbor: Ipv6Addr) {
    let by = Some(IpAddr::V6(neighbor));
    let host = Cidr::host(neighbor.into());
    let removed = stack.routes.remove(|route| {
        let learnt = route.origin == Origin::Dynamic && route.interface == interface;
        let shown = route.gateway.is_none() && route.network == host;
        learnt && (route.gateway == by || shown)
    });
    if removed.iter().any(|route| route.network == Cidr::ANY_V6) {
        add_default(stack, interface, neighbor);
    }
}

/// A packet that is passed on leaves by the link that it came from: its sender, a neighbour, is shown the way (RFC 4861 section 8.2).
pub(crate) fn show(stack: &mut Stack, header: &Header, packet: &Packet, next_hop: IpAddr) {
    let (interface, now) = (packet.meta.interface, stack.now);
    let IpAddr::V6(target) = next_hop else {
        return;
    };
    let near = stack.path(header.source.into(), None, Some(interface));
    let near = near.is_ok_and(|path| path.next_hop == IpAddr::V6(header.source) && !path.local);
    // Hosts know a router by its address of the link (section 8.1).
    let known = target == header.destination || target.is_unicast_link_local();
    let here = stack.attached(interface);
    let own = here.and_then(|here| {
        let all = here.addresses.iter().map(|cidr| nd::six(cidr.address()));
        all.into_iter().find(Ipv6Addr::is_unicast_link_local)
    });
    let ethernet = here.is_some_and(|here| here.ifnet.mac().is_some());
    let (Some(own), true) = (own, near && known && ethernet) else {
        return;
    };
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    if !state.redirects {
        return;
    }
    if !state.limit.allow(now) {
        bump(&mut stack.counters.icmp6.limited);
        return;
    }
    nd::redirect(stack, interface, own, target, (header, packet));
}

/// A router shows a better way to a destination (RFC 4861 section 8).
pub(crate) fn redirect(stack: &mut Stack, arrival: &Arrival, packet: &Packet) {
    let interface = arrival.interface;
    let mut fixed = [0; 40];
    let source = nd::six(arrival.source);
    if packet.copy_to(0, &mut fixed) < fixed.len() || !source.is_unicast_link_local() {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    }
    let address = |at: usize| {
        let bytes = fixed.get(at..).and_then(|bytes| bytes.first_chunk::<16>());
        Ipv6Addr::from(bytes.copied().unwrap_or_default())
    };
    let (target, destination) = (address(8), address(24));
    let bytes = nd::bytes(packet);
    let Some(options) = bytes.get(40..).and_then(nd::options) else {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    };
    let neighbor = target == destination;
    if destination.is_multicast() || !neighbor && !target.is_unicast_link_local() {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    }
    let follows = |state: &State| !state.forwarding && state.accept_advertisements;
    // Only who was sent the packet may show another way (section 8.1).
    let path = stack.path(destination.into(), None, Some(interface));
    let asked = path.is_ok_and(|path| path.next_hop == IpAddr::V6(source) && !path.local);
    let ours = stack.is_ours_on(interface, target.into());
    if !asked || !stack.state::<State>().is_ok_and(follows) || ours {
        return;
    }
    if let Some(mac) = nd::target_link(&options) {
        nd::heard(stack, interface, target, mac);
    }
    stack.show_way(Route {
        network: Cidr::host(destination.into()),
        gateway: (!neighbor).then_some(target.into()),
        interface,
        metric: METRIC,
        source: None,
        origin: Origin::Dynamic,
    });
}

/// A router is none any more.
pub(crate) fn forget(stack: &mut Stack, interface: u32, router: Ipv6Addr) {
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let before = link.routers.len();
    link.routers.retain(|(ip, _)| *ip != router);
    if link.routers.len() != before {
        stack.routes.remove(|route| {
            route.origin == Origin::Dynamic
                && route.interface == interface
                && route.gateway == Some(router.into())
        });
    }
}

/// A prefix is on the link.
fn on_link(stack: &mut Stack, interface: u32, prefix: Prefix) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let until = end(now, prefix.valid);
    let known = link.prefixes.iter_mut();
    if let Some((_, known)) = known.into_iter().find(|(net, _)| *net == prefix.network) {
        *known = until;
        return;
    }
    if prefix.valid == 0 || link.prefixes.len() >= PREFIXES {
        return;
    }
    link.prefixes.push((prefix.network, until));
    let route = Route {
        network: prefix.network,
        gateway: None,
        interface,
        metric: METRIC.saturating_add(interface),
        source: None,
        origin: Origin::Dynamic,
    };
    // Beside the one that an address set by hand has brought, which may go.
    let _ = stack.routes.add(route);
}

/// Forgets what is over.
pub(crate) fn clock(stack: &mut Stack, interface: u32) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let over = |until: &Instant| *until <= now;
    let routers = link.routers.extract_if(.., |(_, until)| over(until));
    let routers: Vec<_> = routers.collect();
    let prefixes = link
        .prefixes
        .extract_if(.., |(_, until)| until.as_ref().is_some_and(over));
    let prefixes: Vec<_> = prefixes.collect();
    if routers.is_empty() && prefixes.is_empty() {
        return;
    }
    stack.routes.remove(|route| {
        let gateway = |(ip, _): &(Ipv6Addr, Instant)| route.gateway == Some(IpAddr::V6(*ip));
        let network = |(net, _): &(Cidr, Option<Instant>)| route.network == *net;
        route.origin == Origin::Dynamic
            && route.interface == interface
            && (routers.iter().any(gateway)
                || route.gateway.is_none() && prefixes.iter().any(network))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(len: u8, flags: u8, network: &str) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&[3, 4, len, flags]);
        bytes[4..12].copy_from_slice(&[0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff]);
        bytes[16..].copy_from_slice(&network.parse::<Ipv6Addr>().unwrap().octets());
        bytes
    }

    /// RFC 4861 section 4.6.2, RFC 4862 section 5.5.3 b.
    #[test]
    fn prefixes() {
        let parsed = prefix(&option(64, 0xc0, "2001:db8::99")).unwrap();
        assert_eq!(parsed.network, "2001:db8::/64".parse().unwrap());
        assert!(parsed.on_link && parsed.autonomous);
        assert_eq!((parsed.valid, parsed.preferred), (9, u32::MAX));
        assert_eq!(end(Instant(0), parsed.preferred), None);
        assert_eq!(end(Instant(0), 9), Some(Instant(9_000_000_000)));
        assert_eq!(prefix(&option(129, 0xc0, "2001:db8::")), None);
        assert_eq!(prefix(&option(64, 0xc0, "fe80::")), None);
        assert_eq!(prefix(&[3, 4, 64]), None);
    }
}
