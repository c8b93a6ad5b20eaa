//! MLD: routers are told which groups are listened to (RFC 3810; RFC 2710 for older routers). What is said and when is
//! [`rumpnet::membership`]'s; here are the messages.

use crate::{
    header::{Header, next},
    icmp::kind,
    nd::put_sum,
    select::scope,
    state::State,
};
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use rumpnet::{
    Packet,
    membership::{Filter, Message, Protocol, Query, Version},
};
use rumpnet_inet::{
    ip::{Arrival, bump},
    stack::{Path, Stack},
};

/// All routers, who hear of leaving, and those of the newest version, who hear of everything.
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const REPORTS_TO: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Bytes of a message of the first version.
const QUERY: usize = 24;

const MLD: Protocol = Protocol {
    // What IGMP has before them there never was.
    report: [kind::REPORT_1, kind::REPORT_1, kind::REPORT],
    leave: kind::DONE,
    routers: IpAddr::V6(ROUTERS),
    reports_to: IpAddr::V6(REPORTS_TO),
    head: 8,
    // Every link carries packets of 1280 bytes, 48 are headers'.
    room: 1_280 - 48,
};

/// Whether anybody is told of a group (RFC 3810 section 6).
fn reported(group: Ipv6Addr) -> bool {
    scope(group) > 1 && group != crate::icmp::ALL_NODES
}

/// These sources of a group are wanted from now on.
pub(crate) fn changed(stack: &mut Stack, interface: u32, group: Ipv6Addr, filter: Filter) {
    if !reported(group) || crate::is_loopback(stack, interface) {
        return;
    }
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let messages = link.groups.set(group.into(), filter, now);
    send(stack, interface, messages);
}

/// Groups that sockets have joined while an interface had no IPv6 are told of now.
pub(crate) fn again(stack: &mut Stack, interface: u32) {
    let Some(here) = stack.attached(interface) else {
        return;
    };
    let groups = here
        .groups
        .iter()
        .filter_map(|(group, filters)| match group {
            IpAddr::V6(group) => Some((*group, Filter::merge(filters.iter()))),
            IpAddr::V4(_) => None,
        });
    let groups: Vec<(Ipv6Addr, Filter)> = groups.collect();
    for (group, filter) in groups {
        changed(stack, interface, group, filter);
    }
}

/// A message about groups has come.
pub(crate) fn input(stack: &mut Stack, arrival: &Arrival, packet: &Packet) {
    let mut head = [0; QUERY];
    let local = matches!(arrival.source, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if packet.copy_to(0, &mut head) < head.len() || arrival.ttl != 1 {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    }
    let query = head.first() == Some(&kind::QUERY);
    let parsed = query.then(|| parse(&head, packet)).flatten();
    // Reports may come from hosts that have no address yet (RFC 3590 section 4). A query without an alert is a forged one (RFC 3810 section 6.2).
    if query && (parsed.is_none() || !local || !arrival.alert) {
        bump(&mut stack.counters.icmp6.malformed);
        return;
    }
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&arrival.interface) else {
        return;
    };
    match parsed {
        Some(query) => link.groups.query(&query, now),
        None => link.groups.heard(group_of(&head).into()),
    }
}

fn group_of(head: &[u8; QUERY]) -> Ipv6Addr {
    let group: Option<&[u8; 16]> = head.last_chunk();
    group.map_or(Ipv6Addr::UNSPECIFIED, |group| (*group).into())
}

/// Reads a query; `None` if it is of a length that is to be ignored (RFC 3810 section 8.1), or for what is no group.
fn parse(head: &[u8; QUERY], packet: &Packet) -> Option<Query> {
    let code = u16::from_be_bytes([head[4], head[5]]);
    let group = group_of(head).into();
    if packet.len() == QUERY {
        return Query::new(Version::Two, group, Duration::from_millis(code.into()));
    }
    let delay = Duration::from_millis(response_delay(code).into());
    Query::new(Version::Three, group, delay)?.newest(packet, QUERY, group)
}

/// The milliseconds that a code stands for (RFC 3810 section 5.1.3).
fn response_delay(code: u16) -> u32 {
    if code < 32_768 {
        return code.into();
    }
    let (exponent, mantissa) = ((code >> 12) & 7, u32::from(code & 0xfff) | 0x1000);
    mantissa << exponent.saturating_add(3)
}

pub(crate) fn clock(stack: &mut Stack, interface: u32) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let messages = link.groups.clock(now);
    send(stack, interface, messages);
}

/// Sends messages: with a router alert, from an address of the link or from none (RFC 3810 section 5.2.13, RFC 3590 section 4).
fn send(stack: &mut Stack, interface: u32, messages: Vec<Message>) {
    let Some(here) = stack.attached(interface) else {
        return;
    };
    let source = here.addresses.iter().find_map(|cidr| match cidr.address() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        _ => None,
    });
    let source = source.unwrap_or(Ipv6Addr::UNSPECIFIED);
    for (destination, body) in messages.into_iter().flat_map(|m| MLD.build(m)) {
        let IpAddr::V6(destination) = destination else {
            continue;
        };
        let mut packet = Packet::with_bytes(&body);
        put_sum(source, destination, &mut packet);
        let header = Header {
            class: 0,
            flow: 0,
            next: next::HOP_BY_HOP,
            hop_limit: 1,
            source,
            destination,
        };
        // A router alert (RFC 2711), and padding.
        if let Some(room) = packet.prepend(8) {
            room.copy_from_slice(&[next::ICMP, 0, 5, 2, 0, 0, 1, 0]);
        }
        if header.write(&mut packet).is_none() {
            continue;
        }
        stack
            .counters
            .icmp6
            .sends(body.first().copied().unwrap_or(0));
        let path = Path {
            interface,
            next_hop: destination.into(),
            source: source.into(),
            mtu: u32::from(u16::MAX),
            hops: 1,
            local: false,
            broadcast: false,
        };
        stack.path_output(&path, packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use rumpnet::membership::{Kind, Record};

    /// RFC 3810 section 5.1.3.
    #[test]
    fn delays() {
        assert_eq!(response_delay(1_000), 1_000);
        assert_eq!(response_delay(32_767), 32_767);
        assert_eq!(response_delay(0x8000), 0x1000 << 3);
        assert_eq!(response_delay(0xffff), 0x1fff << 10);
    }

    /// RFC 3810 section 6.
    #[test]
    fn some_groups_are_nobodys_business() {
        assert!(!reported("ff01::5".parse().unwrap()));
        assert!(!reported("ff02::1".parse().unwrap()));
        assert!(reported("ff02::1:ff00:1".parse().unwrap()));
    }

    /// RFC 3810 section 8.1: the version is in the length.
    #[test]
    fn queries() {
        let of = |bytes: &[u8]| {
            let mut head = [0; QUERY];
            head.copy_from_slice(&bytes[..QUERY]);
            parse(&head, &Packet::with_bytes(bytes))
        };
        let group: Ipv6Addr = "ff05::1234".parse().unwrap();
        let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let first = [&[130, 0, 0, 0, 0xff, 0xff, 0, 0][..], &group.octets()].concat();
        let query = of(&first).unwrap();
        assert_eq!(
            (query.version, query.group),
            (Version::Two, Some(group.into()))
        );
        assert_eq!(query.response, Duration::from_millis(65_535));
        let second = [&first[..], &[0x0a, 125, 0, 1], &source.octets()].concat();
        let query = of(&second).unwrap();
        assert_eq!((query.version, query.robustness), (Version::Three, 2));
        assert_eq!(query.interval, Some(Duration::from_secs(125)));
        assert_eq!(query.sources, BTreeSet::from([source.into()]));
        assert_eq!(of(&second[..27]), None);
        assert_eq!(of(&second[..43]), None);
        let host = [&first[..8], &source.octets()].concat();
        assert_eq!(of(&host), None);
    }

    /// RFC 3810 section 5.2, RFC 2710 section 3.
    #[test]
    fn reports() {
        let group: Ipv6Addr = "ff05::1234".parse().unwrap();
        let of = |message| MLD.build(message).swap_remove(0);
        let bytes = |kind| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &group.octets()].concat();
        let report = Message::Report(Version::Two, group.into());
        assert_eq!(of(report), (group.into(), bytes(131)));
        assert_eq!(
            of(Message::Leave(group.into())),
            (IpAddr::V6(ROUTERS), bytes(132))
        );
        let record = Record {
            kind: Kind::ToExclude,
            group: group.into(),
            sources: Vec::new(),
        };
        let (to, body) = of(Message::Records(Vec::from([record])));
        let expected = [&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &group.octets()].concat();
        assert_eq!((to, body), (IpAddr::V6(REPORTS_TO), expected));
    }
}
