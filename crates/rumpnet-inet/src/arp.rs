//! ARP on Ethernet (RFC 826).

use crate::stack::Stack;
use core::net::{IpAddr, Ipv4Addr};
use rumpnet::{
    MacAddr, Packet,
    ethernet::{EtherType, Header},
};

const LEN: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

struct Message {
    operation: u16,
    sender: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
}

impl Message {
    fn parse(packet: &mut Packet) -> Option<Self> {
        let bytes = packet.pull(LEN)?;
        // Ethernet, IPv4, and the lengths of their addresses.
        let (kind, bytes) = bytes.split_first_chunk::<6>()?;
        let (operation, bytes) = bytes.split_first_chunk::<2>()?;
        let mut rest = bytes;
        let mut pair = || {
            let (mac, after) = rest.split_first_chunk::<6>()?;
            let (ip, after) = after.split_first_chunk::<4>()?;
            rest = after;
            Some((MacAddr(*mac), Ipv4Addr::from(*ip)))
        };
        let message = Self {
            operation: u16::from_be_bytes(*operation),
            sender: pair()?,
            target: pair()?,
        };
        (*kind == [0, 1, 8, 0, 6, 4]).then_some(message)
    }

    fn packet(&self) -> Packet {
        let mut bytes = [0; LEN];
        let operation = self.operation.to_be_bytes();
        let pairs = [self.sender, self.target];
        let octets = pairs.iter().flat_map(|(mac, ip)| {
            let ip = ip.octets();
            mac.0.into_iter().chain(ip)
        });
        let all = [0, 1, 8, 0, 6, 4]
            .into_iter()
            .chain(operation)
            .chain(octets);
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        Packet::with_bytes(&bytes)
    }
}

impl Stack {
    /// Asks who has an address: all hosts, or the one that had it.
    pub(crate) fn arp_request(&mut self, interface: u32, address: Ipv4Addr, to: Option<MacAddr>) {
        let Some(here) = self.attached(interface) else {
            return;
        };
        let (Some(mac), Some(source)) = (here.ifnet.mac(), here.source_v4(address)) else {
            return;
        };
        let message = Message {
            operation: REQUEST,
            sender: (mac, source),
            target: (MacAddr::default(), address),
        };
        self.arp_send(interface, mac, to.unwrap_or(MacAddr::BROADCAST), &message);
    }

    /// Tells all hosts that this one has an address (RFC 5227 section 3).
    pub(crate) fn arp_announce(&mut self, interface: u32, address: Ipv4Addr) {
        let Some(mac) = self.attached(interface).and_then(|here| here.ifnet.mac()) else {
            return;
        };
        let message = Message {
            operation: REQUEST,
            sender: (mac, address),
            target: (MacAddr::default(), address),
        };
        self.arp_send(interface, mac, MacAddr::BROADCAST, &message);
    }

    fn arp_send(&mut self, interface: u32, from: MacAddr, to: MacAddr, message: &Message) {
        let mut packet = message.packet();
        let header = Header {
            destination: to,
            source: from,
            ethertype: EtherType::ARP,
        };
        if header.write(&mut packet).is_some() {
            self.enqueue(interface, packet);
        }
    }

    /// The Ethernet header is off.
    pub(crate) fn arp_input(&mut self, interface: u32, mut packet: Packet) {
        let Some(message) = Message::parse(&mut packet) else {
            self.counters.arp_malformed = self.counters.arp_malformed.wrapping_add(1);
            return;
        };
        let Some(here) = self.attached(interface) else {
            return;
        };
        let Some(mac) = here.ifnet.mac() else { return };
        let (sender_mac, sender) = message.sender;
        let target = message.target.1;
        let ours = here.has_v4(target);
        // A group's address is nobody's, and nobody may take ours.
        if sender_mac.is_group()
            || sender.is_multicast()
            || sender.is_broadcast()
            || here.has_v4(sender)
        {
            return;
        }
        if !sender.is_unspecified() {
            let address = IpAddr::V4(sender);
            let now = self.now;
            let waited = self
                .neighbors
                .learn(interface, address, sender_mac, ours, now);
            for packet in waited {
                self.link_output(interface, mac, sender_mac, EtherType::IPV4, packet);
            }
        }
        if ours && message.operation == REQUEST {
            let reply = Message {
                operation: REPLY,
                sender: (mac, target),
                target: message.sender,
            };
            self.arp_send(interface, mac, sender_mac, &reply);
        }
    }
}
