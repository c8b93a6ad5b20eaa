//! The short way of segments over IPv4, to a connection that another has come to as they do.
//!
//! It does what the long way does, without what that would find out again, and leaves to it what is in the least unusual.

use super::{Pair, Role};
use crate::{
    flow::{HEADERS, Plain},
    ip::{Arrival, bump},
    ipv4::protocol,
    stack::Stack,
    tcp::{HEADER_LEN, Numbers, State, header},
};
use rumpnet::{Packet, packet::Cast};

impl Stack {
    /// A frame has come. If it is a segment of a connection that is known and nothing about it is unusual, it is dealt with; else it comes back
    /// as it was.
    pub(crate) fn tcp_hear(&mut self, mut frame: Packet) -> Result<(), Packet> {
        let Some((id, numbers, tos)) = self.tcp_heard(&mut frame) else {
            return Err(frame);
        };
        self.count_plain(tos);
        bump(&mut self.counters.tcp.received);
        if frame.chain().is_empty()
            && let Some(socket) = self.tcp.sockets.get_mut(id)
            && let Role::Connection(tcb) = &mut socket.role
            && let Some(changes) =
                tcb.take_predicted(&numbers, frame.head(), tos & 3 == 3, self.now)
        {
            self.tcp_changed(id, changes);
            self.spares.give(frame);
            return Ok(());
        }
        self.tcp_segment(id, &mut numbers.with(frame.take_chain()), tos);
        self.spares.give(frame);
        Ok(())
    }

    /// A segment has come to an address of this host, with nothing unusual about the headers in front of it: what the long way looks at, without what
    /// [`Plain`] has seen. It may be the first of its connection, or of none. Any other frame comes back as it was.
    pub(crate) fn tcp_hear_first(&mut self, mut frame: Packet) -> Result<(), Packet> {
        let Some(plain) = Plain::<HEADER_LEN>::of(&frame, protocol::TCP) else {
            return Err(frame);
        };
        let (from, to) = (*plain.flow.source().ip(), *plain.flow.destination().ip());
        let here = self.attached(plain.interface);
        let ours =
            here.is_some_and(|here| here.ifnet.mac() == Some(plain.mac)) && self.is_ours(to.into());
        if !ours || !self.plausible(plain.interface, (from, to), protocol::TCP) {
            return Err(frame);
        }
        self.count_plain(plain.tos);
        frame.strip(HEADERS);
        let arrival = Arrival {
            interface: plain.interface,
            source: from.into(),
            destination: to.into(),
            ttl: plain.ttl,
            tos: plain.tos,
            cast: Cast::Unicast,
            protocol: protocol::TCP,
            // For complaints, of which TCP makes none.
            header: None,
            alert: false,
            fragmented: false,
        };
        self.tcp_input(&arrival, frame);
        Ok(())
    }

    /// The connection of such a segment, what its header says, and the type of service that it came with. Its data is what is left of the frame.
    #[inline]
    pub(super) fn tcp_heard(&mut self, frame: &mut Packet) -> Option<(usize, Numbers, u8)> {
        let plain = Plain::<HEADER_LEN>::of(frame, protocol::TCP)?;
        let id = self.tcp.connection(&Pair {
            local: plain.flow.destination().into(),
            peer: plain.flow.source().into(),
        })?;
        let socket = self.tcp.sockets.get(id)?;
        if socket.entrance != Some(plain.entrance(self.routes.changes())) {
            return None;
        }
        match &socket.role {
            Role::Connection(tcb) if tcb.state() != State::Closed => {}
            _ => return None,
        }
        let options = frame.head().get(HEADERS + HEADER_LEN..)?;
        let (len, numbers) = header::read_plain(plain.transport, options)?;
        if len > plain.len {
            return None;
        }
        plain.open(frame, protocol::TCP)?;
        frame.strip(len);
        Some((id, numbers, plain.tos))
    }
}

#[cfg(test)]
mod tests;
