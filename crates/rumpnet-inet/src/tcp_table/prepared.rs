//! The short way of segments that leave: nothing unusual is about them, and their headers are prepared.

use super::Role;
use crate::{
    checksum,
    ip::bump,
    ipv4,
    stack::Stack,
    tcp::{CHECKSUM_OFFSET, HEADER_LEN, Plain, Ports, Tcb, header},
    way::Prepared,
};
use rumpnet::{Packet, packet::Checksum};

/// Bytes of the headers of IP and TCP, with timestamps.
const HEADERS: u32 = 20 + 20 + 12;
const _: () = assert!(ipv4::HEADER + HEADER_LEN + 12 == HEADERS as usize);

impl Stack {
    /// Sends the next segment of a connection if it is plain, or SYN without data, and goes where headers can be prepared for. `None` if it was not; whether it was the
    /// last for now.
    pub(super) fn tcp_send_plain(&mut self, id: usize) -> Option<bool> {
        let changes = self.prepared_changes();
        let socket = self.tcp.sockets.get(id);
        let ready = socket.and_then(|socket| socket.prepared.as_ref());
        if !ready.is_some_and(|ready| ready.counts(changes)) && self.tcp_prepare(id).is_none() {
            return None;
        }
        let socket = self.tcp.sockets.get_mut(id)?;
        let (Some(ready), Role::Connection(tcb)) = (&socket.prepared, &mut socket.role) else {
            return None;
        };
        let here = self.interfaces.get_mut(ready.at)?;
        let most = ready.mtu.saturating_sub(HEADERS);
        let ports = Ports {
            source: socket.port,
            destination: socket.peer.map_or(0, |peer| peer.port()),
        };
        let mut packet;
        let (written, last) = match tcb.plain_segment(most, self.now) {
            Some(plain) => {
                packet = filled(self.spares.take(), tcb, &plain);
                let written = header::write_plain(&plain.numbers, ports, &mut packet);
                (written.is_some(), plain.last)
            }
            None => {
                let syn = tcb.plain_syn(self.now)?;
                packet = self.spares.take();
                let written = header::write_to(&syn.numbers(), &syn.options, ports, &mut packet);
                (written.is_some(), false)
            }
        };
        bump(&mut self.counters.tcp.sent);
        bump(&mut self.counters.ip.sent);
        // What cannot go is sent again later, like what is lost.
        if written && put_headers(&mut packet, ready).is_some() {
            here.ifnet.prepare(packet, &mut here.out);
        }
        Some(last)
    }

    /// Prepares the headers of a connection's segments.
    fn tcp_prepare(&mut self, id: usize) -> Option<()> {
        let socket = self.tcp.sockets.get(id)?;
        let (_, path) = socket.path.as_ref()?;
        if path.local || !path.source.is_ipv4() {
            return None;
        }
        let (pair, path, how) = self.tcp_way(id)?;
        let prepared = self.prepare(&path, &how, pair.peer.ip())?;
        self.tcp.get(id).ok()?.prepared = Some(prepared);
        Some(())
    }
}

/// A packet of the data of a segment.
#[inline(always)]
fn filled(mut packet: Packet, tcb: &mut Tcb, plain: &Plain) -> Packet {
    match packet.extend(plain.len) {
        Some(space) => tcb.copy_plain(plain, space),
        None => packet = Packet::with_chain(tcb.share_plain(plain)),
    }
    packet
}

/// Gives a segment its sum, and the headers of the link and of IP.
#[inline(always)]
fn put_headers(packet: &mut Packet, ready: &Prepared) -> Option<()> {
    let mut sum = ready.pseudo(u16::try_from(packet.len()).ok()?);
    let bytes = if ready.partial {
        packet.meta.checksum = Checksum::Partial {
            start: 20,
            offset: 16,
        };
        checksum::partial(&sum)
    } else {
        packet.meta.checksum = Checksum::Valid;
        checksum::add(&mut sum, packet);
        sum.checksum()
    };
    let field = packet.head_mut().get_mut(CHECKSUM_OFFSET..)?;
    *field.first_chunk_mut()? = bytes;
    // Segments are never fragmented: they need no identification (RFC 6864 section 4.1).
    ready.write(0, &[], packet)
}
