//! IGMP: routers are told which groups are listened to (RFC 3376; RFC 2236 and RFC 1112 for older routers). What is said and when is
//! [`rumpnet::membership`]'s; here are the messages.

use crate::{
    checksum,
    ip::{Arrival, bump},
    ipv4::{Header, protocol},
    stack::{Path, Stack},
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use rumpnet::{
    Packet,
    interface::Link as InterfaceLink,
    membership::{Filter, Link, Message, Protocol, Query, Version, unfold},
};
use rumpuser::{Instant, rng::Rng};

/// All routers, who hear of leaving, and those of the newest version, who hear of everything.
const ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const REPORTS_TO: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// All hosts: everybody's group, which is not reported (RFC 3376 section 6).
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// Routers look at such a packet whomever it is for (RFC 2113).
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
/// Internetwork control (RFC 3376 section 4).
const TOS: u8 = 0xc0;
/// Bytes of a message of the older versions.
const HEAD: usize = 8;

/// Kinds of messages.
mod kind {
    pub(super) const QUERY: u8 = 0x11;
    pub(super) const REPORT_1: u8 = 0x12;
    pub(super) const REPORT_2: u8 = 0x16;
    pub(super) const LEAVE: u8 = 0x17;
    pub(super) const REPORT_3: u8 = 0x22;
}

const IGMP: Protocol = Protocol {
    report: [kind::REPORT_1, kind::REPORT_2, kind::REPORT_3],
    leave: kind::LEAVE,
    routers: IpAddr::V4(ROUTERS),
    reports_to: IpAddr::V4(REPORTS_TO),
    head: 4,
    // Every host takes packets of 576 bytes (RFC 791 section 3.1), 24 are the IP header's.
    room: 576 - 24,
};

/// What is kept.
pub(crate) struct State {
    links: BTreeMap<u32, Link>,
    /// When the first of them has something to say.
    deadline: Option<Instant>,
    rng: Rng,
}

impl State {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self {
            links: BTreeMap::new(),
            deadline: None,
            rng,
        }
    }

    /// Forgets an interface.
    pub(crate) fn detach(&mut self, interface: u32) {
        self.links.remove(&interface);
    }

    fn link(&mut self, interface: u32) -> &mut Link {
        let rng = &mut self.rng;
        let new = || Link::new(rng.next_u64());
        self.links.entry(interface).or_insert_with(new)
    }

    fn find_deadline(&mut self) {
        self.deadline = self.links.values().filter_map(Link::deadline).min();
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Reads a query. `None`: it is none, or of a length that is to be ignored (RFC 3376 section 7.1).
fn parse(packet: &Packet) -> Option<Query> {
    let mut head = [0; HEAD];
    packet.copy_to(0, &mut head);
    let [_, code, _, _, group @ ..] = head;
    let (version, tenths) = match (packet.len(), code) {
        (HEAD, 0) => (Version::One, 0),
        (HEAD, code) => (Version::Two, code.into()),
        (len, code) if len > HEAD => (Version::Three, unfold(code)),
        _ => return None,
    };
    let (group, response) = (
        Ipv4Addr::from(group).into(),
        Duration::from_millis(u64::from(tenths).saturating_mul(100)),
    );
    let query = Query::new(version, group, response)?;
    match version {
        Version::Three => query.newest(packet, HEAD, group),
        _ => Some(query),
    }
}

/// Whether a router may have sent a query (RFC 3376 section 9.1): all are asked by way of all, and since the second version routers look at it.
fn plausible(query: &Query, arrival: &Arrival) -> bool {
    let to_all =
        arrival.destination == IpAddr::V4(ALL_HOSTS) || !arrival.destination.is_multicast();
    (query.group.is_some() || to_all) && (query.version == Version::One || arrival.alert)
}

impl Stack {
    /// These sources of a group are wanted from now on.
    pub(crate) fn igmp_changed(&mut self, interface: u32, group: Ipv4Addr, filter: Filter) {
        if group == ALL_HOSTS || !self.igmp_speaks(interface) {
            return;
        }
        let now = self.now;
        let messages = self.igmp.link(interface).set(group.into(), filter, now);
        self.igmp.find_deadline();
        self.igmp_send(interface, messages);
    }

    /// Whether there may be routers on an interface's link.
    fn igmp_speaks(&self, interface: u32) -> bool {
        let here = self.attached(interface);
        here.is_some_and(|here| here.ifnet.link() != InterfaceLink::Loopback)
    }

    pub(crate) fn igmp_input(&mut self, arrival: &Arrival, packet: &Packet) {
        let mut sum = checksum::Sum::new();
        checksum::add(&mut sum, packet);
        let mut head = [0; HEAD];
        let whole = packet.copy_to(0, &mut head) == head.len();
        // None comes from beyond the link (RFC 3376 section 4).
        if !whole || sum.checksum() != [0, 0] || arrival.ttl != 1 {
            bump(&mut self.counters.igmp.malformed);
            return;
        }
        bump(&mut self.counters.igmp.received);
        if !self.igmp_speaks(arrival.interface) {
            return;
        }
        let now = self.now;
        let [kind, _, _, _, group @ ..] = head;
        match kind {
            kind::QUERY => match parse(packet).filter(|query| plausible(query, arrival)) {
                Some(query) => self.igmp.link(arrival.interface).query(&query, now),
                None => bump(&mut self.counters.igmp.malformed),
            },
            kind::REPORT_1 | kind::REPORT_2 => {
                let group = Ipv4Addr::from(group);
                self.igmp.link(arrival.interface).heard(group.into());
            }
            _ => {}
        }
        self.igmp.find_deadline();
    }

    pub(crate) fn igmp_clock(&mut self) {
        let now = self.now;
        if self.igmp.deadline.is_none_or(|at| at > now) {
            return;
        }
        let links = self.igmp.links.iter_mut();
        let due: Vec<_> = links
            .map(|(interface, link)| (*interface, link.clock(now)))
            .collect();
        self.igmp.find_deadline();
        for (interface, messages) in due {
            self.igmp_send(interface, messages);
        }
    }

    fn igmp_send(&mut self, interface: u32, messages: Vec<Message>) {
        let Some(here) = self.attached(interface) else {
            return;
        };
        let source = here.source_v4(REPORTS_TO).unwrap_or(Ipv4Addr::UNSPECIFIED);
        for (to, mut body) in messages.into_iter().flat_map(|m| IGMP.build(m)) {
            let IpAddr::V4(to) = to else { continue };
            let sum = checksum::of(&body);
            if let Some(field) = body.get_mut(2..4) {
                field.copy_from_slice(&sum);
            }
            let mut packet = Packet::with_bytes(&body);
            let header = Header {
                tos: TOS,
                id: 0,
                dont_fragment: true,
                more_fragments: false,
                offset: 0,
                ttl: 1,
                protocol: protocol::IGMP,
                source,
                destination: to,
                len: 24,
            };
            if header.write_with(&ROUTER_ALERT, &mut packet).is_none() {
                continue;
            }
            bump(&mut self.counters.igmp.sent);
            let path = Path {
                interface,
                next_hop: to.into(),
                source: source.into(),
                mtu: u32::from(u16::MAX),
                hops: 1,
                local: false,
                broadcast: false,
            };
            self.path_output(&path, packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumpnet::membership::{Kind, Record};

    /// RFC 3376 section 7.1: the version is in the length; section 4.1: what is where.
    #[test]
    fn queries() {
        let of = |bytes: &[u8]| parse(&Packet::with_bytes(bytes));
        let first = of(&[0x11, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((first.version, first.group), (Version::One, None));
        let second = of(&[0x11, 100, 0, 0, 239, 0, 0, 1]).unwrap();
        assert_eq!(second.version, Version::Two);
        assert_eq!(second.group, Some(Ipv4Addr::new(239, 0, 0, 1).into()));
        assert_eq!(second.response, Duration::from_secs(10));
        let third = [
            0x11, 0x80, 0, 0, 239, 0, 0, 1, 0xfa, 125, 0, 2, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        let query = of(&third).unwrap();
        assert_eq!(query.version, Version::Three);
        assert_eq!(query.response, Duration::from_millis(12_800));
        assert_eq!(query.robustness, 2);
        assert_eq!(query.interval, Some(Duration::from_secs(125)));
        assert_eq!(query.sources.len(), 2);
        // Cut, of a length that no version has, for what is no group.
        assert_eq!(of(&third[..19]), None);
        assert_eq!(of(&third[..11]), None);
        assert_eq!(of(&third[..9]), None);
        assert_eq!(of(&[0x11, 100, 0, 0, 10, 0, 0, 1]), None);
        // Additional data is ignored.
        assert!(of(&[&third[..], &[1, 2, 3]].concat()).is_some());
    }

    /// RFC 3376 section 4.2, RFC 2236 section 2.
    #[test]
    fn reports() {
        let group = Ipv4Addr::new(239, 0, 0, 1);
        let of = |message| IGMP.build(message).swap_remove(0);
        let bytes = |kind| Vec::from([kind, 0, 0, 0, 239, 0, 0, 1]);
        let report = |version| of(Message::Report(version, group.into()));
        assert_eq!(report(Version::One), (group.into(), bytes(0x12)));
        assert_eq!(report(Version::Two), (group.into(), bytes(0x16)));
        assert_eq!(
            of(Message::Leave(group.into())),
            (IpAddr::V4(ROUTERS), bytes(0x17))
        );
        let record = Record {
            kind: Kind::Block,
            group: group.into(),
            sources: Vec::from([Ipv4Addr::new(10, 0, 0, 1).into()]),
        };
        let (to, body) = of(Message::Records(Vec::from([record])));
        assert_eq!(to, IpAddr::V4(REPORTS_TO));
        let expected = [
            0x22, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 1, 239, 0, 0, 1, 10, 0, 0, 1,
        ];
        assert_eq!(body, expected);
    }
}
