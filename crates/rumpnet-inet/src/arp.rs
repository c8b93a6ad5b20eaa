//! ARP on Ethernet (RFC 826), and the defence of addresses (RFC 5227).

use crate::{ip::bump, stack::Stack};
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use rumpnet::{
    MacAddr, Packet,
    ethernet::{EtherType, Header},
};
use rumpuser::Instant;

const LEN: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// An address is announced once more after this time (RFC 5227 section 2.3).
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// Between two defences of an address (`DEFEND_INTERVAL`): two hosts that both have it would go on for ever.
const DEFEND_AGAIN: Duration = Duration::from_secs(10);

/// What is kept of the addresses of this host: each with its interface.
#[derive(Default)]
pub(crate) struct State {
    /// When they are announced again.
    announced: Vec<(u32, Ipv4Addr, Instant)>,
    /// Until when they are not defended again.
    defended: Vec<(u32, Ipv4Addr, Instant)>,
}

impl State {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.announced.iter().map(|(.., at)| *at).min()
    }
}

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

    /// Tells all hosts, now and once more, that this one has an address (RFC 5227 section 2.3).
    pub(crate) fn arp_announce(&mut self, interface: u32, address: Ipv4Addr) {
        let again = self.now.after(ANNOUNCE_AGAIN);
        let announced = &mut self.ip.arp.announced;
        announced.retain(|(on, ip, _)| (*on, *ip) != (interface, address));
        announced.push((interface, address, again));
        self.arp_claim(interface, address);
    }

    /// Announces what is due.
    pub(crate) fn arp_clock(&mut self) {
        let now = self.now;
        let due = |(.., at): &mut (u32, Ipv4Addr, Instant)| *at <= now;
        let due: Vec<_> = self.ip.arp.announced.extract_if(.., due).collect();
        for (interface, address, _) in due {
            let has = |here: &crate::stack::Attached| here.has_v4(address);
            if self.attached(interface).is_some_and(has) {
                self.arp_claim(interface, address);
            }
        }
    }

    /// Another host says that it has an address of this one: all are told whose it is, not too often (RFC 5227 section 2.4 c).
    fn arp_defend(&mut self, interface: u32, address: Ipv4Addr) {
        bump(&mut self.counters.arp_conflicts);
        let now = self.now;
        let defended = &mut self.ip.arp.defended;
        defended.retain(|(.., until)| *until > now);
        let known = |(on, ip, _): &(u32, Ipv4Addr, _)| (*on, *ip) == (interface, address);
        if !defended.iter().any(known) {
            defended.push((interface, address, now.after(DEFEND_AGAIN)));
            self.arp_claim(interface, address);
        }
    }

    /// Tells all hosts that this one has an address.
    fn arp_claim(&mut self, interface: u32, address: Ipv4Addr) {
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
            bump(&mut self.counters.arp_malformed);
            return;
        };
        let Some(here) = self.attached(interface) else {
            return;
        };
        let Some(mac) = here.ifnet.mac() else { return };
        let (sender_mac, sender) = message.sender;
        let target = message.target.1;
        let ours = here.has_v4(target);
        if here.has_v4(sender) {
            // Nobody may take ours. What this host has sent comes back where a link gives all back.
            if sender_mac != mac {
                self.arp_defend(interface, sender);
            }
            return;
        }
        // A group's address is nobody's.
        if sender_mac.is_group() || sender.is_multicast() || sender.is_broadcast() {
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
