//! Segments, and complaints about segments, find their connection.

use super::{Pair, Role};
use crate::{
    checksum,
    icmp::Complaint,
    ip::{Arrival, bump, scoped},
    ipv4::protocol,
    stack::Stack,
    tcp::{self, NetworkError, Segment, Seq, time_wait::Verdict},
};
use core::net::{IpAddr, SocketAddr};
use rumpnet::{
    Packet,
    packet::{Cast, Checksum},
};
use rumpuser::Errno;

impl Stack {
    /// A segment of TCP has come, without its IP header.
    pub fn tcp_input(&mut self, arrival: &Arrival, mut packet: Packet) {
        bump(&mut self.counters.tcp.received);
        let (source, destination) = (arrival.source, arrival.destination);
        if arrival.cast != Cast::Unicast {
            return;
        }
        if packet.meta.checksum == Checksum::InPacket
            && !checksum::holds(source, destination, protocol::TCP, &packet)
        {
            bump(&mut self.counters.tcp.checksum_errors);
            bump(&mut self.counters.tcp.malformed);
            return;
        }
        let Ok((ports, mut segment)) = tcp::header::parse(&mut packet) else {
            bump(&mut self.counters.tcp.malformed);
            return;
        };
        self.spares.give(packet);
        let pair = Pair {
            local: SocketAddr::new(destination, ports.destination),
            peer: arrival.from(ports.source),
        };
        if let Some(id) = self.tcp.connection(&pair) {
            self.tcp_came(id, arrival);
            self.tcp_segment(id, &mut segment, arrival.tos);
            return;
        }
        let mut after = None;
        if let Some(rest) = self.tcp.waiting.get_mut(&pair) {
            match rest.on_segment(&segment, self.now) {
                Verdict::Nothing => return,
                Verdict::Reply(reply) => return self.tcp_answer(&pair, reply),
                Verdict::Closed => {
                    self.tcp.waiting.remove(&pair);
                    return;
                }
                Verdict::Reuse { after: last } => after = Some(last),
            }
        }
        if let Some(listener) = self.tcp.listener(&pair, arrival.interface)
            && self.tcp_syn(listener, pair, arrival, &segment, after)
        {
            return;
        }
        bump(&mut self.counters.tcp.no_connection);
        if let Some(reset) = tcp::reset_for(&segment) {
            self.tcp_answer(&pair, reset);
        }
    }

    /// The segments of a connection come as this one did: they go the short way.
    pub(super) fn tcp_came(&mut self, id: usize, arrival: &Arrival) {
        let entrance = self.entrance(arrival);
        if let Ok(socket) = self.tcp.get(id) {
            socket.entrance = entrance;
        }
    }

    /// A segment for a connection.
    pub(super) fn tcp_segment(&mut self, id: usize, segment: &mut Segment, tos: u8) {
        let now = self.now;
        if let Ok(socket) = self.tcp.get(id)
            && let Role::Connection(tcb) = &mut socket.role
        {
            let changes = tcb.take_segment(segment, tos & 3 == 3, now);
            self.tcp_changed(id, changes);
        }
    }

    /// Somebody complains about a segment of ours.
    pub(crate) fn tcp_complaint(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        interface: u32,
        complaint: Complaint,
        mut quoted: Packet,
    ) {
        let bytes: Option<[u8; 8]> = quoted.pull(8).and_then(|b| b.first_chunk().copied());
        let Some([s0, s1, d0, d1, q0, q1, q2, q3]) = bytes else {
            return;
        };
        let pair = Pair {
            local: SocketAddr::new(source, u16::from_be_bytes([s0, s1])),
            peer: scoped(
                SocketAddr::new(destination, u16::from_be_bytes([d0, d1])),
                interface,
            ),
        };
        let headers = if source.is_ipv4() { 40 } else { 60 };
        let Some(id) = self.tcp.connection(&pair) else {
            return;
        };
        let error = match complaint {
            Complaint { mtu: Some(mtu), .. } => NetworkError::TooBig {
                mss: mtu.saturating_sub(headers),
            },
            Complaint {
                errno: Errno::ECONNREFUSED | Errno::ENOPROTOOPT,
                ..
            } => NetworkError::Refused,
            Complaint { errno, .. } => NetworkError::Unreachable(errno),
        };
        let now = self.now;
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        let seq = Seq(u32::from_be_bytes([q0, q1, q2, q3]));
        let before = tcb.info().send_mss;
        let changes = tcb.on_icmp(error, seq, now);
        let believed = tcb.info().send_mss < before;
        self.tcp_changed(id, changes);
        if believed && let Some(mtu) = complaint.mtu {
            self.note_path_mtu(source, destination, mtu);
        }
    }
}
