//! The short ways of datagrams of IPv4: to where the last one of a socket went, and from where one has come before.
//!
//! Both do what the long ways do, without what these would find out again, and leave what is in the least unusual to them.

use super::{LEN, MOST, Udp};
use crate::{
    checksum,
    datagram::Datagram,
    flow::Plain,
    ip::{Arrival, Sending, bump},
    ipv4::{self, protocol},
    stack::{Path, Stack},
    way,
};
use alloc::boxed::Box;
use core::net::SocketAddr;
use rumpnet::{
    Address, Packet,
    packet::Checksum,
    socket::{MsgFlags, Outgoing},
};
use rumpuser::Result;

/// Datagrams to where the last one of a socket went.
pub(super) struct Prepared {
    /// The address as the caller gave it, or the peer.
    given: Option<SocketAddr>,
    /// Largest payload that goes in one piece.
    most: usize,
    ports: [u8; 4],
    headers: way::Prepared,
}

impl Udp {
    /// How often it has changed which socket gets what.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Which socket gets what has changed.
    pub(super) const fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }
}

impl Stack {
    /// Remembers who gets the datagrams of a flow.
    pub(super) fn udp_remember(&mut self, arrival: &Arrival, from: u16, to: u16, socket: usize) {
        self.flow_remember(arrival, [from, to], socket);
    }

    /// A frame has come. If it is a datagram of a flow that is known and nothing about it is unusual, its socket gets it; else the frame
    /// comes back as it was. Takes no time.
    pub(crate) fn udp_hear(&mut self, mut frame: Packet) -> core::result::Result<(), Packet> {
        let Some((socket, plain)) = self.heard(&mut frame) else {
            return Err(frame);
        };
        self.count_plain(plain.tos);
        bump(&mut self.counters.udp.received);
        frame.strip(LEN);
        let Ok(pcb) = self.udp.get(socket) else {
            return Ok(());
        };
        let (from, to) = (plain.flow.source(), *plain.flow.destination().ip());
        let datagram = Datagram {
            from: pcb.speaks.told(from.into()),
            to: pcb.speaks.told_ip(to.into()),
            interface: plain.interface,
            ttl: plain.ttl,
            tos: plain.tos,
            arrived: None,
            segment: 0,
            payload: frame,
        };
        self.udp_deliver(socket, datagram);
        Ok(())
    }

    /// The socket of such a datagram. The headers of the link and of IP are off then.
    #[inline]
    fn heard(&self, frame: &mut Packet) -> Option<(usize, Plain<LEN>)> {
        let plain = Plain::<LEN>::of(frame, protocol::UDP)?;
        let changes = (self.routes.changes(), self.udp.changes());
        let socket = self.udp.flows.find(&plain, changes)?;
        let [_, _, _, _, l0, l1, _, _] = plain.transport;
        if usize::from(u16::from_be_bytes([l0, l1])) != plain.len {
            return None;
        }
        // What stands for several is cut, or told.
        if frame.meta.segment > 0 {
            return None;
        }
        // Who wants to know when each came is told the time.
        if self
            .udp
            .sockets
            .get(socket)?
            .options
            .common
            .telling
            .timestamp
        {
            return None;
        }
        plain.open(frame, protocol::UDP)?;
        Some((socket, plain))
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
        let Some(headers) = self.prepare(path, how, to.ip()) else {
            return;
        };
        let Ok(socket) = self.udp.get(id) else { return };
        let ([s0, s1], [d0, d1]) = (socket.port.to_be_bytes(), to.port().to_be_bytes());
        let mtu = usize::try_from(headers.mtu).unwrap_or(usize::MAX);
        // What is longer is several.
        let whole = match socket.options.segment {
            0 => MOST,
            segment => segment.into(),
        };
        socket.prepared = Some(Box::new(Prepared {
            given: match message.to {
                Some(Address::Inet(given)) => Some(*given),
                _ => None,
            },
            most: mtu.saturating_sub(ipv4::HEADER + LEN).min(whole),
            ports: [s0, s1, d0, d1],
            headers,
        }));
    }

    /// Sends a datagram with prepared headers; gives it back if there are none for it. Takes no time.
    pub(super) fn udp_send_again(
        &mut self,
        id: usize,
        message: &Outgoing<'_>,
        mut packet: Packet,
    ) -> core::result::Result<Result<usize>, Packet> {
        let changes = self.prepared_changes();
        let Some(socket) = self.udp.sockets.get(id) else {
            return Err(packet);
        };
        let Some(ready) = &socket.prepared else {
            return Err(packet);
        };
        let headers = &ready.headers;
        let same = match (message.to, &ready.given) {
            (Some(Address::Inet(to)), Some(given)) => to == given,
            (None, None) => true,
            _ => false,
        };
        let (len, troubled) = (packet.len(), socket.error.is_some() || socket.closed_write);
        if !same
            || troubled
            || !headers.counts(changes)
            || len > ready.most
            || !message.control.is_empty()
            || message.flags.contains(MsgFlags::DONTROUTE)
        {
            return Err(packet);
        }
        let (Ok(total), Some(here)) = (
            u16::try_from(len.saturating_add(LEN)),
            self.interfaces.get_mut(headers.at),
        ) else {
            return Err(packet);
        };
        let [s0, s1, d0, d1] = ready.ports;
        let [l0, l1] = total.to_be_bytes();
        let mut sum = headers.pseudo(total);
        let (state, [c0, c1]) = if headers.partial {
            let state = Checksum::Partial {
                start: 20,
                offset: 6,
            };
            (state, checksum::partial(&sum))
        } else {
            for word in [[s0, s1], [d0, d1], [l0, l1]] {
                sum.add_word(word);
            }
            checksum::add(&mut sum, &packet);
            let sum = match sum.checksum() {
                [0, 0] => [0xff, 0xff],
                sum => sum,
            };
            (Checksum::Valid, sum)
        };
        let udp = [s0, s1, d0, d1, l0, l1, c0, c1];
        if headers
            .write(self.ip.ids.next(), &udp, &mut packet)
            .is_none()
        {
            return Err(packet);
        }
        packet.meta.checksum = state;
        here.ifnet.prepare(packet, &mut here.out);
        bump(&mut self.counters.udp.sent);
        bump(&mut self.counters.ip.sent);
        Ok(Ok(len))
    }
}

#[cfg(test)]
mod tests;
