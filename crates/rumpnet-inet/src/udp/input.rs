//! Datagrams that come in, and complaints about those of ours.

use super::{LEN, Udpcb};
use crate::{
    checksum,
    datagram::Datagram,
    icmp::{Complaint, Unreachable},
    ip::{Arrival, bump, scoped},
    ipv4::protocol,
    stack::Stack,
};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use rumpnet::{
    Packet,
    packet::{Cast, Checksum},
};

impl Stack {
    /// A datagram of UDP has come, without its IP header.
    pub fn udp_input(&mut self, arrival: &Arrival, mut packet: Packet) {
        let v4 = arrival.source.is_ipv4();
        bump(&mut self.counters.udp(v4).received);
        let head: Option<[u8; LEN]> = packet.pull(LEN).and_then(|h| h.first_chunk().copied());
        let Some([s0, s1, d0, d1, l0, l1, c0, c1]) = head else {
            bump(&mut self.counters.udp(v4).malformed);
            return;
        };
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len < LEN || len > packet.len() {
            bump(&mut self.counters.udp(v4).malformed);
            return;
        }
        packet.truncate(len);
        let (source, destination) = (arrival.source, arrival.destination);
        if [c0, c1] == [0, 0] && source.is_ipv6() {
            // Over IPv6 there is always a sum (RFC 8200 section 8.1).
            bump(&mut self.counters.udp(v4).malformed);
            return;
        }
        if packet.meta.checksum == Checksum::InPacket
            && [c0, c1] != [0, 0]
            && !checksum::holds(source, destination, protocol::UDP, &packet)
        {
            bump(&mut self.counters.udp(v4).checksum_errors);
            bump(&mut self.counters.udp(v4).malformed);
            return;
        }
        let from = arrival.from(u16::from_be_bytes([s0, s1]));
        let to = SocketAddr::new(destination, u16::from_be_bytes([d0, d1]));
        if arrival.cast != Cast::Unicast {
            let all = self.udp.find(from, to, arrival.interface);
            let all: Vec<usize> = all.map(|(id, _)| id).collect();
            for id in all {
                let group = arrival.cast == Cast::Multicast;
                let wants = |socket: &Udpcb| {
                    let groups = &socket.groups;
                    groups.wants(arrival.interface, destination, source)
                };
                if group && !self.udp.sockets.get(id).is_some_and(wants) {
                    continue;
                }
                let mut copy = packet.clone();
                copy.strip(LEN);
                self.udp_queue(id, arrival, from, copy);
            }
            return;
        }
        match self.udp.find_one(from, to, arrival.interface) {
            Some(id) => {
                packet.strip(LEN);
                self.udp_remember(arrival, from.port(), to.port(), id);
                self.udp_queue(id, arrival, from, packet);
            }
            None => {
                bump(&mut self.counters.udp(v4).no_port);
                self.icmp_unreachable(arrival, &packet, Unreachable::Port);
            }
        }
    }

    fn udp_queue(&mut self, id: usize, arrival: &Arrival, from: SocketAddr, payload: Packet) {
        if payload.meta.segment > 0 {
            self.udp_queue_large(id, arrival, from, payload);
        } else {
            self.udp_queue_one(id, arrival, from, payload, 0);
        }
    }

    pub(super) fn udp_queue_one(
        &mut self,
        id: usize,
        arrival: &Arrival,
        from: SocketAddr,
        payload: Packet,
        segment: u16,
    ) {
        let now = self.now;
        let Ok(socket) = self.udp.get(id) else { return };
        let datagram = Datagram {
            from: socket.speaks.told(from),
            to: socket.speaks.told_ip(arrival.destination),
            interface: arrival.interface,
            ttl: arrival.ttl,
            tos: arrival.tos,
            arrived: socket.options.common.telling.timestamp.then_some(now),
            segment,
            payload,
        };
        self.udp_deliver(id, datagram);
    }

    /// A socket gets a datagram.
    #[inline]
    pub(super) fn udp_deliver(&mut self, id: usize, datagram: Datagram) {
        let Ok(socket) = self.udp.get(id) else { return };
        let first = socket.queue.is_empty();
        let v4 = datagram.to.to_canonical().is_ipv4();
        if !socket.closed_read && socket.queue.push(datagram) {
            // Pollers find the socket readable while something waits. Who watches it hears of each, who waits of the first after he took a
            // ticket, which he does with the stack locked as it is here.
            let event = socket.waiters.told();
            if first || event.is_some() {
                self.wake(event.as_ref());
            }
        } else {
            bump(&mut self.counters.udp(v4).full);
        }
    }

    /// Somebody complains about a datagram of ours. Its socket is told if it has a peer (RFC 1122 section 4.1.3.3).
    pub(crate) fn udp_complaint(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        interface: u32,
        complaint: Complaint,
        mut quoted: Packet,
    ) {
        let ports: Option<[u8; 4]> = quoted.pull(4).and_then(|b| b.first_chunk().copied());
        let Some([s0, s1, d0, d1]) = ports else {
            return;
        };
        let local = SocketAddr::new(source, u16::from_be_bytes([s0, s1]));
        let peer = SocketAddr::new(destination, u16::from_be_bytes([d0, d1]));
        let peer = scoped(peer, interface);
        let Some(id) = self.udp.find_one(peer, local, interface) else {
            return;
        };
        if let Some(mtu) = complaint.mtu {
            self.note_path_mtu(source, destination, mtu);
        }
        let Ok(socket) = self.udp.get(id) else { return };
        if socket.peer == Some(peer) && (complaint.hard || complaint.mtu.is_some()) {
            socket.error = Some(complaint.errno);
            let event = socket.waiters.told();
            self.wake(event.as_ref());
        }
    }
}
