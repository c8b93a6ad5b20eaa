//! Addresses: whether another has them (RFC 4862 section 5.4), autoconfiguration (section 5.5), opaque identifiers (RFC 7217).

use crate::{
    header::LEAST_MTU,
    mld, nd,
    router::{Prefix, end},
    state::{Own, State},
    temporary,
};
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use rumpnet::{Cidr, MacAddr, interface::Link, route::Origin};
use rumpnet_inet::{
    stack::Stack,
    tcp::cookie::{self, Secret},
};
use rumpuser::{Errno, Result};

/// Addresses that routers may have a link get.
const MADE: usize = 16;
/// How often another address is made when somebody has the one before (RFC 7217 section 6).
const TRIES: u8 = 3;
/// What an unauthenticated router may shorten an address's life to (RFC 4862 section 5.5.3 e).
const TWO_HOURS: Duration = Duration::from_secs(7_200);
/// Bits of a prefix that has addresses made here.
const PREFIX: u8 = 64;

/// An interface is up. One whose MTU is below that which IPv6 needs has none until it is larger (RFC 8200 section 5).
pub(crate) fn up(stack: &mut Stack, interface: u32) {
    let Some(here) = stack.attached(interface) else {
        return;
    };
    if here.ifnet.mtu() < LEAST_MTU {
        down(stack, interface);
        return;
    }
    let link = here.ifnet.link();
    let mac = here.ifnet.mac();
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    if state.links.contains_key(&interface) {
        return;
    }
    state.link(interface);
    nd::draw_times(stack, interface, true);
    mld::again(stack, interface);
    match link {
        Link::Loopback => {
            let _ = add(stack, interface, Cidr::host(Ipv6Addr::LOCALHOST.into()));
        }
        Link::Ethernet(_) | Link::Point => {
            let network = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
            make(stack, interface, network, mac, 0, (None, None));
        }
    }
}

/// An interface has no IPv6 any more: its addresses, also those that were configured, its routes and its neighbours are forgotten.
fn down(stack: &mut Stack, interface: u32) {
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get(&interface) else {
        return;
    };
    for own in link.addresses.clone() {
        leave(stack, interface, &own);
        if own.tentative.is_none() {
            let _ = stack.unassign(interface, own.ip.into());
        }
    }
    if let Ok(state) = stack.state_mut::<State>() {
        state.links.remove(&interface);
    }
    let six = |ip: IpAddr| ip.is_ipv6();
    stack
        .routes
        .remove(|route| route.interface == interface && six(route.network.address()));
    stack
        .neighbors
        .remove(|there, ip| there == interface && six(ip));
    stack.announce_addresses();
}

/// Makes an address in a network, and asks whether another has it.
fn make(
    stack: &mut Stack,
    interface: u32,
    network: Ipv6Addr,
    mac: Option<MacAddr>,
    count: u8,
    (preferred, valid): (Option<rumpuser::Instant>, Option<rumpuser::Instant>),
) {
    let Ok(state) = stack.state::<State>() else {
        return;
    };
    let ip = opaque(&state.secret, network, mac, interface, count);
    let Ok(cidr) = Cidr::new(ip.into(), PREFIX) else {
        return;
    };
    let own = Own {
        cidr,
        ip,
        tentative: None,
        nonce: None,
        listens: false,
        preferred,
        valid,
        made: Some(count),
        temporary: None,
    };
    // It cannot be there already but by chance.
    let _ = begin(stack, interface, own);
}

/// A stable address that says nothing of the host (RFC 7217 section 5): without identifiers that are reserved (RFC 5453).
fn opaque(
    secret: &Secret,
    network: Ipv6Addr,
    mac: Option<MacAddr>,
    interface: u32,
    count: u8,
) -> Ipv6Addr {
    for again in 0..=u8::MAX {
        let mut bytes = Vec::from(network.octets());
        match mac {
            Some(mac) => bytes.extend(mac.0),
            None => bytes.extend(interface.to_be_bytes()),
        }
        bytes.extend([count, again]);
        let low = cookie::keyed(secret, &bytes);
        if !is_reserved(low) {
            return Ipv6Addr::from_bits(network.to_bits() | u128::from(low));
        }
    }
    Ipv6Addr::from_bits(network.to_bits() | 1)
}

/// Whether an interface identifier is reserved (RFC 5453): for the routers of a network, and for groups of servers.
pub(crate) fn is_reserved(identifier: u64) -> bool {
    let anycast = 0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff;
    identifier == 0 || anycast.contains(&identifier)
}

/// Begins to give an interface an address.
pub(crate) fn add(stack: &mut Stack, interface: u32, cidr: Cidr) -> Result<()> {
    let IpAddr::V6(ip) = cidr.address() else {
        return Err(Errno::EAFNOSUPPORT);
    };
    if ip.to_ipv4_mapped().is_some() {
        return Err(Errno::EINVAL);
    }
    let own = Own {
        cidr,
        ip,
        tentative: None,
        nonce: None,
        listens: false,
        preferred: None,
        valid: None,
        made: None,
        temporary: None,
    };
    begin(stack, interface, own)
}

pub(crate) fn begin(stack: &mut Stack, interface: u32, mut own: Own) -> Result<()> {
    let ethernet = stack
        .attached(interface)
        .is_some_and(|here| matches!(here.ifnet.link(), Link::Ethernet(_)));
    let local = own.ip.is_unicast_link_local();
    if stack.is_ours(own.ip.into()) && !local {
        return Err(Errno::EEXIST);
    }
    let now = stack.now;
    let state = stack.state_mut::<State>()?;
    let probes = if ethernet { state.probes } else { 0 };
    // Who sets an address waits for it, and not all hosts have theirs set at the same time.
    let wait = if probes > 0 && own.is_made() {
        state.wait()
    } else {
        Duration::ZERO
    };
    let link = state.links.get_mut(&interface).ok_or(Errno::EINVAL)?;
    if link.addresses.iter().any(|known| known.ip == own.ip) {
        return Err(Errno::EEXIST);
    }
    if probes > 0 {
        own.tentative = Some((now.after(wait), probes));
        link.addresses.push(own);
        if wait.is_zero() {
            clock(stack, interface);
        }
        return Ok(());
    }
    link.addresses.push(own);
    if ethernet {
        listen(stack, interface, own.ip)?;
    }
    settle(stack, interface, own)
}

/// Joins the group that an address is asked for in. Of one that is asked about only then, as that is the first that others hear of it (RFC 4862
/// section 5.4.2).
fn listen(stack: &mut Stack, interface: u32, ip: Ipv6Addr) -> Result<()> {
    let link = stack.state_mut::<State>()?.links.get_mut(&interface);
    let mut all = link.into_iter().flat_map(|link| &mut link.addresses);
    let own = all.find(|own| own.ip == ip && !own.listens);
    if let Some(own) = own {
        own.listens = true;
        stack.group(interface, nd::solicited_node(ip).into(), true)?;
    }
    Ok(())
}

/// Leaves it.
fn leave(stack: &mut Stack, interface: u32, own: &Own) {
    if own.listens {
        let _ = stack.group(interface, nd::solicited_node(own.ip).into(), false);
    }
}

/// Nobody else has an address.
fn settle(stack: &mut Stack, interface: u32, own: Own) -> Result<()> {
    let assigned = if own.has_network() {
        stack.assign(interface, own.cidr)
    } else {
        stack.assign_alone(interface, own.cidr)
    };
    if let Err(error) = assigned {
        // Another interface of this host was faster.
        removed(stack, interface, own.ip);
        stack.announce_addresses();
        return Err(error);
    }
    let made = own.made.is_some() && own.ip.is_unicast_link_local();
    let ethernet = stack
        .attached(interface)
        .is_some_and(|here| matches!(here.ifnet.link(), Link::Ethernet(_)));
    if made && ethernet {
        nd::begin_soliciting(stack, interface);
        nd::clock(stack, interface);
    }
    Ok(())
}

/// Somebody has an address that this host wanted (RFC 4862 section 5.4.5).
pub(crate) fn duplicate(stack: &mut Stack, interface: u32, ip: Ipv6Addr) {
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let Some(at) = link.addresses.iter().position(|own| own.ip == ip) else {
        return;
    };
    let own = link.addresses.remove(at);
    state.counters.duplicates = state.counters.duplicates.wrapping_add(1);
    leave(stack, interface, &own);
    stack.announce_addresses();
    temporary::duplicate(stack, interface, &own);
    if let Some(count) = own.made.filter(|count| *count < TRIES) {
        let mac = stack.attached(interface).and_then(|here| here.ifnet.mac());
        if let IpAddr::V6(network) = own.cidr.network().address() {
            let life = (own.preferred, own.valid);
            make(
                stack,
                interface,
                network,
                mac,
                count.saturating_add(1),
                life,
            );
        }
    }
}

/// An address was taken away by whoever configures the kernel.
pub(crate) fn removed(stack: &mut Stack, interface: u32, ip: Ipv6Addr) {
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let gone: Vec<Own> = link.addresses.extract_if(.., |own| own.ip == ip).collect();
    let networks = link.addresses.iter().filter(|own| own.has_network());
    let networks: Vec<Cidr> = networks.map(|own| own.cidr.network()).collect();
    for own in gone {
        leave(stack, interface, &own);
        // One that was made here is no heir of the route.
        let network = own.cidr.network();
        if !networks.contains(&network) {
            stack.routes.remove(|route| {
                route.origin == Origin::Connected
                    && route.interface == interface
                    && route.network == network
            });
        }
    }
}

/// A router says that hosts may make addresses in a prefix (RFC 4862 section 5.5.3).
pub(crate) fn advertised(stack: &mut Stack, interface: u32, prefix: &Prefix) {
    if prefix.preferred > prefix.valid || prefix.network.prefix() != PREFIX {
        return;
    }
    let now = stack.now;
    let mac = stack.attached(interface).and_then(|here| here.ifnet.mac());
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let (preferred, valid) = (end(now, prefix.preferred), end(now, prefix.valid));
    let mut known = false;
    let mut ours = |own: &&mut Own| {
        let made = own.made.is_some() || own.temporary.is_some();
        made && own.cidr.network() == prefix.network
    };
    for own in link.addresses.iter_mut().filter(&mut ours) {
        known |= own.made.is_some();
        own.preferred = preferred;
        // More than two hours or more than is left counts; less shortens life to two hours at most.
        let least = now.after(TWO_HOURS);
        own.valid = match (own.valid, valid) {
            (_, None) => None,
            (left, Some(new)) if new > least || left.is_some_and(|left| new > left) => Some(new),
            (Some(left), Some(_)) if left <= least => Some(left),
            _ => Some(least),
        };
    }
    if known {
        temporary::advertised(stack, interface, prefix.network);
        return;
    }
    let count = link
        .addresses
        .iter()
        .filter(|own| own.made.is_some())
        .count();
    if prefix.valid == 0 || count >= MADE {
        return;
    }
    if let IpAddr::V6(network) = prefix.network.address() {
        make(stack, interface, network, mac, 0, (preferred, valid));
        temporary::advertised(stack, interface, prefix.network);
    }
}

pub(crate) fn clock(stack: &mut Stack, interface: u32) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    // What is over is not settled any more.
    let over = |own: &mut Own| own.valid.is_some_and(|until| until <= now);
    let over: Vec<Own> = link.addresses.extract_if(.., over).collect();
    let retry = link.retry;
    let (mut settled, mut asked) = (Vec::new(), Vec::new());
    for own in &mut link.addresses {
        match own.tentative {
            Some((at, 0)) if at <= now => {
                own.tentative = None;
                settled.push(*own);
            }
            Some((at, left)) if at <= now => {
                own.tentative = Some((now.after(retry), left.saturating_sub(1)));
                asked.push(own.ip);
            }
            _ => {}
        }
    }
    for own in over {
        leave(stack, interface, &own);
        let _ = stack.unassign(interface, own.ip.into());
    }
    for own in settled {
        let _ = settle(stack, interface, own);
    }
    for ip in asked {
        let _ = listen(stack, interface, ip);
        nd::probe(stack, interface, ip);
    }
    temporary::clock(stack, interface);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7217 section 5: stable, different for each network, interface and count.
    #[test]
    fn identifiers() {
        let secret = Secret([7; 16]);
        let network: Ipv6Addr = "2001:db8:1::".parse().unwrap();
        let mac = Some(MacAddr([2, 0, 0, 0, 0, 1]));
        let one = opaque(&secret, network, mac, 1, 0);
        assert_eq!(one, opaque(&secret, network, mac, 1, 0));
        assert_eq!(one.segments()[..4], network.segments()[..4]);
        let others = [
            opaque(&secret, network, mac, 1, 1),
            opaque(&secret, network, None, 1, 0),
            opaque(&Secret([8; 16]), network, mac, 1, 0),
            opaque(&secret, "2001:db8:2::".parse().unwrap(), mac, 1, 0),
        ];
        for other in others {
            assert_ne!(one.segments()[4..], other.segments()[4..]);
        }
    }
}
