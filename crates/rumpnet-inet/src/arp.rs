//! ARP on Ethernet (RFC 826); asking whether another host has an address, and the defence of those that this one has (RFC 5227).

use crate::{ip::bump, stack::Stack};
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use rumpnet::{
    Cidr, MacAddr, Packet,
    ethernet::{EtherType, Header},
};
use rumpuser::{Errno, Instant, Result, Rng};

const LEN: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// Within this time an address is asked for first (`PROBE_WAIT` of RFC 5227 section 1.1).
const PROBE_WAIT: Duration = Duration::from_secs(1);
/// The time between two questions (`PROBE_MIN`), and how much longer it is at most (up to `PROBE_MAX`).
const PROBE_AGAIN: Duration = Duration::from_secs(1);
const PROBE_MORE: Duration = Duration::from_secs(1);
/// So long after the last question nobody else has the address (`ANNOUNCE_WAIT`).
const PROBE_END: Duration = Duration::from_secs(2);
/// An address is announced once more after this time (RFC 5227 section 2.3).
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// Between two defences of an address (`DEFEND_INTERVAL`): two hosts that both have it would go on for ever.
const DEFEND_AGAIN: Duration = Duration::from_secs(10);

/// An address that waits for nobody else to have it.
struct Tentative {
    interface: u32,
    cidr: Cidr,
    ip: Ipv4Addr,
    /// When it is asked for again, or is this host's.
    due: Instant,
    /// Questions that are left.
    left: u8,
}

/// What is kept of the addresses of this host: each with its interface.
pub(crate) struct State {
    /// How often others are asked before an address is used.
    pub(crate) probes: u8,
    tentative: Vec<Tentative>,
    rng: Rng,
    /// When they are announced again.
    announced: Vec<(u32, Ipv4Addr, Instant)>,
    /// Until when they are not defended again.
    defended: Vec<(u32, Ipv4Addr, Instant)>,
}

impl State {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self {
            probes: 0,
            tentative: Vec::new(),
            rng,
            announced: Vec::new(),
            defended: Vec::new(),
        }
    }

    /// Forgets an interface.
    pub(crate) fn detach(&mut self, interface: u32) {
        self.tentative.retain(|one| one.interface != interface);
        for list in [&mut self.announced, &mut self.defended] {
            list.retain(|(on, ..)| *on != interface);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let announced = self.announced.iter().map(|(.., at)| *at);
        let tentative = self.tentative.iter().map(|one| one.due);
        announced.chain(tentative).min()
    }

    /// When an address that waits is asked for next, or is this host's.
    pub(crate) fn due(&self, interface: u32, ip: Ipv4Addr) -> Option<Instant> {
        let mut all = self.tentative.iter();
        let one = all.find(|one| (one.interface, one.ip) == (interface, ip));
        one.map(|one| one.due)
    }

    /// Addresses of an interface that wait for nobody else to have them.
    pub(crate) fn tentative(&self, interface: u32) -> impl Iterator<Item = Ipv4Addr> {
        let here = self
            .tentative
            .iter()
            .filter(move |one| one.interface == interface);
        here.map(|one| one.ip)
    }
}

/// A random part of some time.
fn part(rng: &mut Rng, of: Duration) -> Duration {
    let most = u64::try_from(of.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.below(most.max(1)))
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

    /// Begins to give an interface an address: others are asked first whether they have it (RFC 5227 section 2.1.1), if that is wanted and the link has
    /// others.
    ///
    /// # Errors
    /// `EEXIST` (some interface has it), `ENXIO`.
    pub(crate) fn arp_begin(&mut self, interface: u32, cidr: Cidr, ip: Ipv4Addr) -> Result<()> {
        let here = self.attached(interface).ok_or(Errno::ENXIO)?;
        let ethernet = here.ifnet.mac().is_some();
        let tentative = self.ip.arp.tentative.iter().any(|one| one.ip == ip);
        if tentative || self.is_ours(ip.into()) {
            return Err(Errno::EEXIST);
        }
        if self.ip.arp.probes == 0 || !ethernet {
            return self.arp_settle(interface, cidr, ip);
        }
        let now = self.now;
        let arp = &mut self.ip.arp;
        let due = now.after(part(&mut arp.rng, PROBE_WAIT));
        arp.tentative.push(Tentative {
            interface,
            cidr,
            ip,
            due,
            left: arp.probes,
        });
        Ok(())
    }

    /// Gives an interface an address that nobody else has, and tells the link.
    ///
    /// # Errors
    /// `EEXIST` (some interface has it), `ENXIO`.
    pub(crate) fn arp_settle(&mut self, interface: u32, cidr: Cidr, ip: Ipv4Addr) -> Result<()> {
        self.assign(interface, cidr)?;
        self.arp_announce(interface, ip);
        Ok(())
    }

    /// An address is not waited for any more; whether it was.
    pub(crate) fn arp_give_up(&mut self, interface: u32, ip: Ipv4Addr) -> bool {
        let all = &mut self.ip.arp.tentative;
        let before = all.len();
        all.retain(|one| (one.interface, one.ip) != (interface, ip));
        let gone = all.len() != before;
        if gone {
            self.announce_addresses();
        }
        gone
    }

    /// Asks for addresses that wait, and takes those that nobody else has.
    fn arp_probe(&mut self) {
        let now = self.now;
        let arp = &mut self.ip.arp;
        let over = |one: &mut Tentative| one.left == 0 && one.due <= now;
        let settled: Vec<Tentative> = arp.tentative.extract_if(.., over).collect();
        let mut asked = Vec::new();
        for one in arp.tentative.iter_mut().filter(|one| one.due <= now) {
            one.left = one.left.saturating_sub(1);
            let wait = match one.left {
                0 => PROBE_END,
                _ => PROBE_AGAIN.saturating_add(part(&mut arp.rng, PROBE_MORE)),
            };
            one.due = now.after(wait);
            asked.push((one.interface, one.ip));
        }
        for (interface, ip) in asked {
            self.arp_say(interface, (Ipv4Addr::UNSPECIFIED, ip));
        }
        for one in settled {
            if self.arp_settle(one.interface, one.cidr, one.ip).is_err() {
                // An interface that is gone.
                self.announce_addresses();
            }
        }
    }

    /// Tells all hosts, now and once more, that this one has an address (RFC 5227 section 2.3).
    pub(crate) fn arp_announce(&mut self, interface: u32, address: Ipv4Addr) {
        let again = self.now.after(ANNOUNCE_AGAIN);
        let announced = &mut self.ip.arp.announced;
        announced.retain(|(on, ip, _)| (*on, *ip) != (interface, address));
        announced.push((interface, address, again));
        self.arp_claim(interface, address);
    }

    /// Asks and announces what is due.
    pub(crate) fn arp_clock(&mut self) {
        self.arp_probe();
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
        self.arp_say(interface, (address, address));
    }

    /// Asks all hosts for an address, from another one.
    fn arp_say(&mut self, interface: u32, (from, address): (Ipv4Addr, Ipv4Addr)) {
        let Some(mac) = self.attached(interface).and_then(|here| here.ifnet.mac()) else {
            return;
        };
        let message = Message {
            operation: REQUEST,
            sender: (mac, from),
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
        let here = self.attached(interface);
        let Some(mac) = here.and_then(|here| here.ifnet.mac()) else {
            return;
        };
        let (sender_mac, sender) = message.sender;
        let target = message.target.1;
        let probe = sender.is_unspecified() && message.operation == REQUEST;
        let claimed = if probe { target } else { sender };
        if sender_mac != mac && self.arp_give_up(interface, claimed) {
            // Another has what this host wanted, or wants it, too (RFC 5227 section 2.1.1).
            bump(&mut self.counters.arp_conflicts);
        }
        let Some(here) = self.attached(interface) else {
            return;
        };
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
