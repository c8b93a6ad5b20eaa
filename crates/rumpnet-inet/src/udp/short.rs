//! The short ways of datagrams of IPv4: to where the last one of a socket went, and from where one has come before.
//!
//! Both do what the long ways do, without what these would find out again, and leave what is in the least unusual to them.

use super::{LEN, Udp};
use crate::{
    checksum,
    ip::{Arrival, bump},
    ipv4::{self, protocol},
    stack::Stack,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use rumpnet::{
    Address, MacAddr, Packet, ethernet,
    packet::{Cast, Checksum},
    socket::Outgoing,
};

/// Flows that are remembered: a power of two.
const COUNT: usize = 16;
/// Bytes of all headers.
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + LEN;

/// What tells a flow from others.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flow {
    interface: u32,
    /// Source, destination, and the ports of both, as in the headers.
    ends: [u8; 12],
}

impl Flow {
    const fn place(&self) -> usize {
        let [.., high, low, _, other] = self.ends;
        (high ^ low ^ other) as usize % COUNT
    }
}

/// The socket that the datagrams of a flow are for, as the long way has found out.
struct Heard {
    flow: Flow,
    /// The interface's own address.
    mac: MacAddr,
    socket: usize,
    /// How often routes, addresses and sockets had changed.
    changes: (u64, u64),
}

/// Flows, each in the place that its ports say.
#[derive(Default)]
pub(super) struct Flows([Option<Heard>; COUNT]);

impl Udp {
    /// Which socket gets what has changed.
    pub(super) const fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }
}

impl Stack {
    /// Remembers who gets the datagrams of a flow.
    pub(super) fn udp_remember(&mut self, arrival: &Arrival, from: u16, to: u16, socket: usize) {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (arrival.source, arrival.destination)
        else {
            return;
        };
        let here = self.attached(arrival.interface);
        let Some(mac) = here.and_then(|here| here.ifnet.mac()) else {
            return;
        };
        // What comes to nobody's address is looked at each time.
        if arrival.cast != Cast::Unicast || !self.is_ours(arrival.destination) {
            return;
        }
        let ([a, b, c, d], [e, f, g, h]) = (source.octets(), destination.octets());
        let ([i, j], [k, l]) = (from.to_be_bytes(), to.to_be_bytes());
        let heard = Heard {
            flow: Flow {
                interface: arrival.interface,
                ends: [a, b, c, d, e, f, g, h, i, j, k, l],
            },
            mac,
            socket,
            changes: (self.routes.changes(), self.udp.changes),
        };
        if let Some(place) = self.udp.flows.0.get_mut(heard.flow.place()) {
            *place = Some(heard);
        }
    }

    /// A frame has come. If it is a datagram of a flow that is known and nothing about it is unusual, its socket gets it; else the frame
    /// comes back as it was. Takes no time.
    pub(crate) fn udp_hear(&mut self, mut frame: Packet) -> Result<(), Packet> {
        let Some((socket, arrival, from)) = self.heard(&mut frame) else {
            return Err(frame);
        };
        bump(&mut self.counters.ip_received);
        bump(&mut self.counters.ip_delivered);
        bump(&mut self.counters.udp_received);
        frame.strip(LEN);
        self.udp_queue(socket, &arrival, from, frame);
        Ok(())
    }

    /// The socket of such a datagram, and how it came. The headers of the link and of IP are off then.
    #[inline]
    fn heard(&self, frame: &mut Packet) -> Option<(usize, Arrival, SocketAddr)> {
        let head: &[u8; HEADERS] = frame.head().first_chunk()?;
        let (link, rest) = head.split_first_chunk::<{ ethernet::HEADER }>()?;
        let (ip, udp) = rest.split_first_chunk::<{ ipv4::HEADER }>()?;
        let [d0, d1, d2, d3, d4, d5, .., 0x08, 0x00] = *link else {
            return None;
        };
        // No options, no fragment: only that there shall be none may be said.
        let [
            0x45,
            tos,
            t0,
            t1,
            _,
            _,
            0 | 0x40,
            0,
            ttl,
            protocol::UDP,
            _,
            _,
            addresses @ ..,
        ] = *ip
        else {
            return None;
        };
        let [s0, s1, s2, s3, a0, a1, a2, a3] = addresses;
        let &[p0, p1, q0, q1, l0, l1, c0, c1] = udp else {
            return None;
        };
        let flow = Flow {
            interface: frame.meta.interface,
            ends: [s0, s1, s2, s3, a0, a1, a2, a3, p0, p1, q0, q1],
        };
        let heard = self.udp.flows.0.get(flow.place())?.as_ref()?;
        if heard.flow != flow
            || heard.changes != (self.routes.changes(), self.udp.changes)
            || heard.mac != MacAddr([d0, d1, d2, d3, d4, d5])
        {
            return None;
        }
        let (total, len) = (u16::from_be_bytes([t0, t1]), u16::from_be_bytes([l0, l1]));
        let whole = frame.len().checked_sub(ethernet::HEADER)? == usize::from(total);
        let fills = total.checked_sub(20) == Some(len) && usize::from(len) >= LEN;
        if !whole || !fills || checksum::of_header(ip) != [0, 0] {
            return None;
        }
        let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(a0, a1, a2, a3));
        let socket = heard.socket;
        // Who wants to know when each came is told the time.
        if self.udp.sockets.get(socket)?.options.telling.timestamp {
            return None;
        }
        frame.strip(ethernet::HEADER + ipv4::HEADER);
        if frame.meta.checksum == Checksum::InPacket
            && [c0, c1] != [0, 0]
            && !checksum::holds(source.into(), destination.into(), protocol::UDP, frame)
        {
            // The headers are where they were.
            frame.prepend(ethernet::HEADER + ipv4::HEADER)?;
            return None;
        }
        let arrival = Arrival {
            interface: flow.interface,
            source: source.into(),
            destination: destination.into(),
            ttl,
            tos,
            cast: Cast::Unicast,
            protocol: protocol::UDP,
            header: None,
        };
        let from = SocketAddrV4::new(source, u16::from_be_bytes([p0, p1]));
        Some((socket, arrival, from.into()))
    }

    /// Whether a datagram goes where the last one of its socket went and its way is known, so that sending it takes no time.
    pub(super) fn udp_goes_on(&self, id: usize, message: &Outgoing<'_>) -> bool {
        let Some(socket) = self.udp.sockets.get(id) else {
            return false;
        };
        let to = match (message.to, socket.peer) {
            (Some(Address::Inet(to)), _) => *to,
            (None, Some(peer)) => peer,
            _ => return false,
        };
        let Some((changes, known, path)) = &socket.path else {
            return false;
        };
        let fits = message.len().saturating_add(28);
        *changes == self.routes.changes()
            && *known == to
            && message.control.is_empty()
            && u32::try_from(fits).is_ok_and(|len| len <= path.mtu)
            && self.knows_way(path, to.ip())
    }
}

#[cfg(test)]
mod tests;
