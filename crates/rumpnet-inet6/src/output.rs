//! What goes out (RFC 8200, RFC 8201).

use crate::{
    header::{FRAGMENT, Fragment, HEADER, Header, LEAST_MTU, next},
    state::State,
};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use rumpnet::Packet;
use rumpnet_inet::{
    ip::{Sending, bump},
    stack::{Path, Stack},
    tcp::cookie,
};
use rumpuser::{Errno, Result};

/// Largest packet to a destination: what the link carries, what its routers say, what complaints have said.
pub(crate) fn mtu(stack: &Stack, interface: u32, to: Ipv6Addr) -> u32 {
    let own = stack
        .attached(interface)
        .map_or(LEAST_MTU, |here| here.ifnet.mtu());
    let Ok(state) = stack.state::<State>() else {
        return own;
    };
    let link = state.links.get(&interface).and_then(|link| link.mtu);
    let path = state.paths.get(interface, to, stack.now);
    own.min(link.unwrap_or(own)).min(path.unwrap_or(own))
}

/// Sends a packet that begins with its transport header.
pub(crate) fn output(
    stack: &mut Stack,
    path: &Path,
    sending: &Sending,
    destination: Ipv6Addr,
    mut packet: Packet,
) -> Result<()> {
    let IpAddr::V6(source) = path.source else {
        return Err(Errno::EAFNOSUPPORT);
    };
    bump(&mut stack.counters.ip6.sent);
    let header = Header {
        class: sending.tos,
        flow: 0,
        next: sending.protocol,
        hop_limit: sending.ttl,
        source,
        destination,
    };
    let mtu = usize::try_from(path.mtu).unwrap_or(usize::MAX);
    if packet.len().saturating_add(HEADER) <= mtu || packet.meta.segment > 0 {
        header.write(&mut packet).ok_or(Errno::EMSGSIZE)?;
        stack.path_output(path, packet);
        return Ok(());
    }
    if sending.dont_fragment || packet.len() > usize::from(u16::MAX) {
        bump(&mut stack.counters.ip6.fragmentation_failed);
        return Err(Errno::EMSGSIZE);
    }
    bump(&mut stack.counters.ip6.fragmented);
    let id = fragment_id(stack);
    for fragment in fragments(&header, packet, mtu, id) {
        bump(&mut stack.counters.ip6.fragments_sent);
        stack.path_output(path, fragment);
    }
    Ok(())
}

/// A number for the fragments of a packet (RFC 7739 section 5.2): no two have to do with each other for who does not know the secret, so
/// those that a host gets tell it neither those that others get nor how many these are.
fn fragment_id(stack: &mut Stack) -> u32 {
    let Ok(state) = stack.state_mut::<State>() else {
        return 0;
    };
    state.fragmented = state.fragmented.wrapping_add(1);
    let bytes = state.fragmented.to_be_bytes();
    let [a, b, c, d, ..] = cookie::keyed(&state.fragment_secret, &bytes).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Cuts a packet, without its header, into fragments with theirs (RFC 8200 section 4.5).
fn fragments(header: &Header, packet: Packet, mtu: usize, id: u32) -> Vec<Packet> {
    let piece = mtu.saturating_sub(HEADER).saturating_sub(FRAGMENT) & !7;
    let mut rest = packet.into_chain();
    let mut fragments = Vec::new();
    let mut offset = 0_usize;
    while !rest.is_empty() && piece > 0 {
        let part = rest.split_to(piece);
        let after = offset.saturating_add(part.len());
        let mut fragment = Packet::with_chain(part);
        let own = Fragment {
            next: header.next,
            offset: u16::try_from(offset).unwrap_or(u16::MAX),
            more: !rest.is_empty(),
            id,
        };
        let header = Header {
            next: next::FRAGMENT,
            ..*header
        };
        if own.write(&mut fragment).is_some() && header.write(&mut fragment).is_some() {
            fragments.push(fragment);
        }
        offset = after;
    }
    fragments
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8200 section 4.5: all but the last are multiples of 8 bytes, and fit.
    #[test]
    fn fragments_fit_and_follow_each_other() {
        let header = Header {
            class: 0,
            flow: 0,
            next: 17,
            hop_limit: 64,
            source: Ipv6Addr::LOCALHOST,
            destination: Ipv6Addr::LOCALHOST,
        };
        let parts = fragments(&header, Packet::with_bytes(&[7; 3_000]), 1_281, 9);
        let mut from = 0;
        for (n, mut part) in parts.into_iter().enumerate() {
            assert!(part.len() <= 1_281);
            let parsed = Header::parse(&mut part).unwrap();
            assert_eq!(parsed.next, next::FRAGMENT);
            part.strip(HEADER);
            let fragment = Fragment::parse(*part.pull(FRAGMENT).unwrap().first_chunk().unwrap());
            assert_eq!((fragment.id, fragment.next), (9, 17));
            assert_eq!((usize::from(fragment.offset), fragment.more), (from, n < 2));
            from += part.len() - FRAGMENT;
        }
        assert_eq!(from, 3_000);
    }
}
