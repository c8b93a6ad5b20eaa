//! The short ways of datagrams of IPv4: to where the last one of a socket went, and from where one has come before.
//!
//! Both do what the long ways do, without what these would find out again, and leave what is in the least unusual to them.

use super::{LEN, MOST, Udp};
use crate::{
    checksum,
    ip::{Arrival, Sending, bump},
    ipv4::{self, Header, protocol},
    stack::{Path, Stack},
};
use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use rumpnet::{
    Address, MacAddr, Packet, ethernet,
    interface::Features,
    packet::{Cast, Checksum},
    socket::Outgoing,
};
use rumpuser::Result;

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

/// The headers of datagrams to where the last one of a socket went.
pub(super) struct Prepared {
    /// The address as the caller gave it, or the peer.
    given: Option<SocketAddr>,
    /// How often routes and addresses, and the ways of links had changed.
    changes: (u64, (u64, u64)),
    /// Place of the interface among those of the stack.
    at: usize,
    /// Largest payload that goes in one piece.
    most: usize,
    /// The sum is left to the device.
    partial: bool,
    link: [u8; ethernet::HEADER],
    /// But for the identification.
    header: Header,
    ports: [u8; 4],
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
    pub(crate) fn udp_hear(&mut self, mut frame: Packet) -> core::result::Result<(), Packet> {
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

    /// Prepares the headers of the next datagram to where one has just gone.
    pub(super) fn udp_prepare(
        &mut self,
        id: usize,
        message: &Outgoing<'_>,
        path: &Path,
        how: &Sending,
        to: SocketAddr,
    ) {
        let (SocketAddr::V4(to), IpAddr::V4(source)) = (to, path.source) else {
            return;
        };
        let Some((at, link)) = self.known_way(path, IpAddr::V4(*to.ip())) else {
            return;
        };
        let partial = self.offloads(path, Features::CHECKSUM);
        let changes = (self.routes.changes(), self.way_changes());
        let Ok(socket) = self.udp.get(id) else { return };
        let ([s0, s1], [d0, d1]) = (socket.port.to_be_bytes(), to.port().to_be_bytes());
        let mtu = usize::try_from(path.mtu).unwrap_or(usize::MAX);
        socket.prepared = Some(Box::new(Prepared {
            given: match message.to {
                Some(Address::Inet(given)) => Some(*given),
                _ => None,
            },
            changes,
            at,
            most: mtu.saturating_sub(ipv4::HEADER + LEN).min(MOST),
            partial,
            link,
            header: Header {
                tos: how.tos,
                id: 0,
                dont_fragment: how.dont_fragment,
                more_fragments: false,
                offset: 0,
                ttl: how.ttl,
                protocol: protocol::UDP,
                source,
                destination: *to.ip(),
                len: ipv4::HEADER,
            },
            ports: [s0, s1, d0, d1],
        }));
    }

    /// Sends a datagram with prepared headers; gives it back if there are none for it. Takes no time.
    pub(super) fn udp_send_again(
        &mut self,
        id: usize,
        message: &Outgoing<'_>,
        mut packet: Packet,
    ) -> core::result::Result<Result<usize>, Packet> {
        let changes = (self.routes.changes(), self.way_changes());
        let Some(socket) = self.udp.sockets.get(id) else {
            return Err(packet);
        };
        let Some(ready) = &socket.prepared else {
            return Err(packet);
        };
        let same = match (message.to, &ready.given) {
            (Some(Address::Inet(to)), Some(given)) => to == given,
            (None, None) => true,
            _ => false,
        };
        let (len, troubled) = (packet.len(), socket.error.is_some() || socket.closed_write);
        if !same
            || troubled
            || ready.changes != changes
            || len > ready.most
            || !message.control.is_empty()
        {
            return Err(packet);
        }
        let (Ok(total), Some(here)) = (
            u16::try_from(len.saturating_add(ipv4::HEADER + LEN)),
            self.interfaces.get_mut(ready.at),
        ) else {
            return Err(packet);
        };
        let [s0, s1, d0, d1] = ready.ports;
        let [l0, l1] = total.saturating_sub(20).to_be_bytes();
        let (source, destination) = (ready.header.source, ready.header.destination);
        let whole = len.saturating_add(LEN);
        let mut sum = checksum::pseudo(source.into(), destination.into(), protocol::UDP, whole);
        let state = if ready.partial {
            Checksum::Partial {
                start: 20,
                offset: 6,
            }
        } else {
            sum.add_bytes(&[s0, s1, d0, d1, l0, l1]);
            checksum::add(&mut sum, &packet);
            Checksum::Valid
        };
        let [c0, c1] = match sum.checksum() {
            [c0, c1] if ready.partial => [!c0, !c1],
            [0, 0] => [0xff, 0xff],
            sum => sum,
        };
        let Some((link, rest)) = packet
            .prepend(HEADERS)
            .and_then(<[u8]>::split_first_chunk_mut)
        else {
            return Err(packet);
        };
        *link = ready.link;
        if let Some((ip, udp)) = rest.split_first_chunk_mut() {
            self.ip.next_id = self.ip.next_id.wrapping_add(1);
            let header = Header {
                id: self.ip.next_id,
                ..ready.header
            };
            *ip = header.bytes(total);
            udp.copy_from_slice(&[s0, s1, d0, d1, l0, l1, c0, c1]);
        }
        packet.meta.checksum = state;
        here.ifnet.prepare(packet, &mut here.out);
        bump(&mut self.counters.udp_sent);
        bump(&mut self.counters.ip_sent);
        Ok(Ok(len))
    }
}

#[cfg(test)]
mod tests;
