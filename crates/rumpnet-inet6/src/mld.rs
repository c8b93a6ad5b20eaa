//! Which groups are listened to, for switches and routers (MLDv2, RFC 3810).

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
use rumpnet::{Packet, interface::Link};
use rumpnet_inet::{
    ip::{Arrival, bump},
    stack::{Path, Stack},
    tcp::cookie,
};

/// Who listens to reports.
const REPORTS_TO: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Within this time a change is reported once more (RFC 3810 section 9.11).
const AGAIN: Duration = Duration::from_secs(1);
/// Changes that wait for that at most.
const WAITING: usize = 256;

/// Kinds of records (RFC 3810 section 5.2.12).
mod record {
    pub(super) const IS_EXCLUDE: u8 = 2;
    pub(super) const TO_INCLUDE: u8 = 3;
    pub(super) const TO_EXCLUDE: u8 = 4;
}

/// Whether anybody is told of a group (RFC 3810 section 6).
fn reported(group: Ipv6Addr) -> bool {
    scope(group) > 1 && group != crate::icmp::ALL_NODES
}

/// A group was joined or left.
pub(crate) fn changed(stack: &mut Stack, interface: u32, group: Ipv6Addr, joined: bool) {
    if !reported(group) {
        return;
    }
    let again = stack.now.after(AGAIN);
    if let Ok(state) = stack.state_mut::<State>()
        && let Some(link) = state.links.get_mut(&interface)
    {
        link.reports.retain(|(other, _, _)| *other != group);
        if link.reports.len() < WAITING {
            link.reports.push((group, again, joined));
        }
    }
    send(stack, interface, &[(kind_of(joined), group)]);
}

const fn kind_of(joined: bool) -> u8 {
    if joined {
        record::TO_EXCLUDE
    } else {
        record::TO_INCLUDE
    }
}

/// A router asks (RFC 3810 section 6.2). All groups are reported, whichever it asks for, after a time that it leaves.
pub(crate) fn query(stack: &mut Stack, arrival: &Arrival, packet: &Packet) {
    let mut bytes = [0; 24];
    let local = matches!(arrival.source, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if packet.copy_to(0, &mut bytes) < bytes.len() || arrival.ttl != 1 || !local {
        bump(&mut stack.counters.icmp_malformed);
        return;
    }
    let delay = response_delay(u16::from_be_bytes([bytes[4], bytes[5]]));
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let chance = cookie::keyed(&state.secret, &now.0.to_be_bytes());
    let Some(link) = state.links.get_mut(&arrival.interface) else {
        return;
    };
    let wait = chance.checked_rem(delay.into()).unwrap_or(0);
    let at = now.after(Duration::from_millis(wait));
    link.answer = Some(link.answer.map_or(at, |other| other.min(at)));
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
    let due = link.reports.extract_if(.., |(_, at, _)| *at <= now);
    let mut records: Vec<(u8, Ipv6Addr)> = due.map(|(group, _, j)| (kind_of(j), group)).collect();
    if link.answer.is_some_and(|at| at <= now) {
        link.answer = None;
        let groups = stack.attached(interface).into_iter();
        let groups = groups.flat_map(|here| here.groups.iter().map(|(group, _)| *group));
        records.extend(groups.filter_map(|group| match group {
            IpAddr::V6(group) if reported(group) => Some((record::IS_EXCLUDE, group)),
            _ => None,
        }));
    }
    // What fits a packet of the least size.
    for part in records.chunks(60) {
        send(stack, interface, part);
    }
}

/// Sends a report (RFC 3810 section 5.2): with a router alert, from an address of the link or from none.
fn send(stack: &mut Stack, interface: u32, records: &[(u8, Ipv6Addr)]) {
    let Some(here) = stack.attached(interface) else {
        return;
    };
    if here.ifnet.link() == Link::Loopback {
        return;
    }
    let source = here.addresses.iter().find_map(|cidr| match cidr.address() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        _ => None,
    });
    let source = source.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let mut body = Vec::from([kind::REPORT, 0, 0, 0, 0, 0]);
    body.extend(u16::try_from(records.len()).unwrap_or(0).to_be_bytes());
    for (kind, group) in records {
        body.extend([*kind, 0, 0, 0]);
        body.extend(group.octets());
    }
    let mut packet = Packet::with_bytes(&body);
    put_sum(source, REPORTS_TO, &mut packet);
    let header = Header {
        class: 0,
        flow: 0,
        next: next::HOP_BY_HOP,
        hop_limit: 1,
        source,
        destination: REPORTS_TO,
    };
    // A router alert (RFC 2711), and padding.
    if let Some(room) = packet.prepend(8) {
        room.copy_from_slice(&[next::ICMP, 0, 5, 2, 0, 0, 1, 0]);
    }
    if header.write(&mut packet).is_none() {
        return;
    }
    bump(&mut stack.counters.icmp_sent);
    let path = Path {
        interface,
        next_hop: REPORTS_TO.into(),
        source: source.into(),
        mtu: u32::from(u16::MAX),
        hops: 1,
        local: false,
        broadcast: false,
    };
    stack.path_output(&path, packet);
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
