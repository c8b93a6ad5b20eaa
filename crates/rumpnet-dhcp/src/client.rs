//! The client as a state machine (RFC 2131 section 4.4).

use crate::message::{Incoming, Kind, Outgoing};
use alloc::{string::String, vec::Vec};
use core::{net::Ipv4Addr, time::Duration};
use rumpnet::{Cidr, MacAddr};
use rumpuser::Instant;

/// Shortest wait for an answer; each next one is twice as long (section 4.1).
const FIRST: Duration = Duration::from_secs(4);
/// Longest wait for an answer.
const LONGEST: Duration = Duration::from_secs(64);
/// How often an offer is asked for before another is looked for.
const REQUESTS: u32 = 4;
/// How often the address of the last time is asked for: some twelve seconds.
const REBOOTS: u32 = 2;
/// Shortest time between two requests for more time (section 4.4.5).
const RENEWAL: Duration = Duration::from_secs(60);
/// Wait after an address was declined (section 3.1.5).
const DECLINED: Duration = Duration::from_secs(10);
/// Between two probes for an address.
const PROBE: Duration = Duration::from_millis(200);
/// Shorter leases than this would be asked for all the time.
const SHORTEST: Duration = Duration::from_secs(10);
/// Earlier than this after a request nothing is asked for again.
const SOONEST: Duration = Duration::from_secs(3);
/// States that are passed at one time at most.
const IN_A_ROW: usize = 4;
/// Smallest MTU that is believed: every host takes packets of this size (RFC 791).
const MTU: u16 = 576;

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name that it tells servers.
    pub host_name: Option<String>,
    /// How often the link is asked for an address before it is used; 0 uses it at once.
    pub probes: u8,
    /// The address of the last time, which is asked for first (section 3.2): whoever starts the client keeps it.
    pub last: Option<Ipv4Addr>,
    /// The lease is not given back at the end: it is good for [`last`](Self::last) the next time.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host_name: None,
            probes: 3,
            last: None,
            keep: false,
        }
    }
}

/// What a server has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address, with the prefix of its network.
    pub address: Cidr,
    /// The server.
    pub server: Ipv4Addr,
    /// Routes: network, and router or `None` for the link.
    pub routes: Vec<(Cidr, Option<Ipv4Addr>)>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain.
    pub domain: Option<String>,
    /// Largest packet.
    pub mtu: Option<u16>,
    /// How long it lasts from the request on; `Duration::MAX` for ever.
    pub time: Duration,
    /// When to ask the same server for more.
    pub t1: Duration,
    /// When to ask any.
    pub t2: Duration,
}

impl Lease {
    /// `None`: it lacks what a lease must have.
    fn of(message: &Incoming) -> Option<Self> {
        let ip = message.yiaddr?;
        if ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() {
            return None;
        }
        // Without a mask the classes of RFC 791 say it.
        let class = match ip.octets()[0] {
            ..128 => 8,
            128..192 => 16,
            192.. => 24,
        };
        let address = Cidr::new(ip.into(), message.prefix.unwrap_or(class)).ok()?;
        let routes = match &message.routes {
            Some(routes) => routes
                .iter()
                .map(|(network, router)| {
                    (
                        *network,
                        Some(*router).filter(|router| !router.is_unspecified()),
                    )
                })
                .collect(),
            None => message
                .routers
                .first()
                .map(|router| (Cidr::ANY_V4, Some(*router)))
                .into_iter()
                .collect(),
        };
        let time = message.lease?.max(SHORTEST);
        // Those that make no sense are not believed (RFC 2132 has no rule).
        let share = |parts: u32| {
            if time == Duration::MAX {
                time
            } else {
                time.checked_div(8)
                    .unwrap_or_default()
                    .saturating_mul(parts)
            }
        };
        let t2 = message
            .t2
            .filter(|t2| *t2 < time && *t2 >= SOONEST)
            .unwrap_or(share(7));
        let t1 = message
            .t1
            .filter(|t1| *t1 < t2 && *t1 >= SOONEST)
            .unwrap_or(share(4).min(t2));
        Some(Self {
            address,
            server: message.server?,
            routes,
            dns: message.dns.clone(),
            domain: message.domain.clone(),
            mtu: message.mtu.filter(|mtu| *mtu >= MTU),
            time,
            t1,
            t2,
        })
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this message to all, from no address.
    Broadcast(Vec<u8>),
    /// Send this message to all, from the address that the interface has.
    BroadcastBound(Vec<u8>),
    /// Send this message to a server, from the address that the interface has.
    Unicast(Ipv4Addr, Vec<u8>),
    /// Ask the link who has this address, without claiming it.
    Probe(Ipv4Addr),
    /// The interface has this lease from now on, whatever it had before.
    Bind(Lease),
    /// The interface has no lease any more.
    Unbind,
}

enum State {
    /// Nothing happens before this time.
    Pause(Instant),
    /// The address of the last time is asked for (INIT-REBOOT, then REBOOTING).
    Rebooting(Asked, Retry),
    Selecting(Retry),
    Requesting(Offer, Retry),
    Probing {
        lease: Lease,
        asked: Instant,
        left: u8,
        due: Instant,
    },
    Bound {
        lease: Lease,
        /// When the request that it answers was sent.
        asked: Instant,
        /// When the next request for more time is due.
        due: Instant,
        /// When the last was sent, if one is under way.
        renewing: Option<Instant>,
    },
    Released,
}

/// An address of the last time.
#[derive(Clone, Copy)]
struct Asked {
    address: Ipv4Addr,
    /// When it was last asked for.
    at: Instant,
}

struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
    /// When it was last asked for.
    asked: Instant,
}

/// When to send again.
#[derive(Clone, Copy)]
struct Retry {
    count: u32,
    due: Instant,
}

/// A client of one interface.
pub struct Client {
    mac: MacAddr,
    options: Options,
    state: State,
    /// Of the exchange.
    xid: u32,
    began: Instant,
    random: u64,
    steps: alloc::collections::VecDeque<Step>,
}

impl Client {
    /// A client that begins at once. `seed` makes its numbers and waits different from others'.
    #[must_use]
    pub fn new(mac: MacAddr, options: Options, seed: u64, now: Instant) -> Self {
        Self {
            mac,
            options,
            state: State::Pause(now),
            xid: 0,
            began: now,
            random: seed | 1,
            steps: alloc::collections::VecDeque::new(),
        }
    }

    /// A number that others do not guess from the last: xorshift64*.
    fn next_random(&mut self) -> u32 {
        let mut x = self.random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        let [a, b, c, d, ..] = x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Longer each time, up to a second more or less (section 4.1).
    fn backoff(&mut self, count: u32, now: Instant) -> Instant {
        let time = FIRST
            .saturating_mul(1_u32.checked_shl(count).unwrap_or(u32::MAX))
            .min(LONGEST);
        let jitter = Duration::from_millis(u64::from(self.next_random()) % 2_000);
        now.after(
            time.saturating_add(jitter)
                .saturating_sub(Duration::from_secs(1)),
        )
    }

    fn message(&self, kind: Kind, now: Instant) -> Outgoing<'_> {
        Outgoing {
            kind,
            xid: self.xid,
            secs: u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX),
            ciaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: self.mac,
            requested: None,
            server: None,
            host_name: self.options.host_name.as_deref(),
        }
    }

    /// The lease that the interface has.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// When something is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if !self.steps.is_empty() {
            return Some(Instant(0));
        }
        match &self.state {
            State::Pause(until) => Some(*until),
            State::Selecting(retry) | State::Rebooting(_, retry) | State::Requesting(_, retry) => {
                Some(retry.due)
            }
            State::Probing { due, .. } => Some(*due),
            // What lasts for ever is never asked for again.
            State::Bound { lease, .. } if lease.time == Duration::MAX => None,
            State::Bound {
                lease, asked, due, ..
            } => Some((*due).min(asked.after(lease.time))),
            State::Released => None,
        }
    }

    /// What is to be done now; to be called until there is nothing.
    pub fn next(&mut self, now: Instant) -> Option<Step> {
        // What is due may lead to a state in which something is due at once: from giving up to the next attempt.
        for _ in 0..IN_A_ROW {
            if self.steps.is_empty() && self.deadline().is_some_and(|due| now >= due) {
                self.on_timer(now);
            }
        }
        self.steps.pop_front()
    }

    fn restart(&mut self, at: Instant) {
        self.state = State::Pause(at);
    }

    fn on_timer(&mut self, now: Instant) {
        match &mut self.state {
            State::Pause(_) => {
                self.xid = self.next_random();
                self.began = now;
                match self.options.last.take() {
                    Some(address) => self.reboot(address, 0, now),
                    None => self.discover(0, now),
                }
            }
            // Nobody knows of it: as if it were the first time.
            State::Rebooting(_, retry) if retry.count >= REBOOTS => self.restart(now),
            State::Rebooting(asked, retry) => {
                let (address, count) = (asked.address, retry.count);
                self.reboot(address, count, now);
            }
            State::Selecting(retry) => {
                let count = retry.count.saturating_add(1);
                self.discover(count, now);
            }
            State::Requesting(_, retry) if retry.count >= REQUESTS => self.restart(now),
            State::Requesting(offer, retry) => {
                offer.asked = now;
                let (address, server) = (offer.address, offer.server);
                let count = retry.count;
                self.request(address, server, now);
                let due = self.backoff(count, now);
                if let State::Requesting(_, retry) = &mut self.state {
                    *retry = Retry {
                        count: count.saturating_add(1),
                        due,
                    };
                }
            }
            State::Probing {
                lease,
                asked,
                left,
                due,
            } => match left.checked_sub(1) {
                Some(rest) => {
                    *left = rest;
                    *due = now.after(PROBE);
                    if let core::net::IpAddr::V4(ip) = lease.address.address() {
                        self.steps.push_back(Step::Probe(ip));
                    }
                }
                None => {
                    let (lease, asked) = (lease.clone(), *asked);
                    self.bind(lease, asked);
                }
            },
            State::Bound { lease, asked, .. } if now >= asked.after(lease.time) => {
                self.steps.push_back(Step::Unbind);
                self.restart(now);
            }
            State::Bound { .. } => self.renew(now),
            State::Released => {}
        }
    }

    fn discover(&mut self, count: u32, now: Instant) {
        let bytes = self.message(Kind::Discover, now).bytes();
        self.steps.push_back(Step::Broadcast(bytes));
        let due = self.backoff(count, now);
        self.state = State::Selecting(Retry { count, due });
    }

    /// Asks all servers for an address (section 4.3.2, INIT-REBOOT): none is named, and nothing is claimed yet.
    fn reboot(&mut self, address: Ipv4Addr, count: u32, now: Instant) {
        let message = Outgoing {
            requested: Some(address),
            ..self.message(Kind::Request, now)
        };
        let bytes = message.bytes();
        self.steps.push_back(Step::Broadcast(bytes));
        let due = self.backoff(count, now);
        let count = count.saturating_add(1);
        let asked = Asked { address, at: now };
        self.state = State::Rebooting(asked, Retry { count, due });
    }

    fn request(&mut self, address: Ipv4Addr, server: Ipv4Addr, now: Instant) {
        let message = Outgoing {
            requested: Some(address),
            server: Some(server),
            ..self.message(Kind::Request, now)
        };
        let bytes = message.bytes();
        self.steps.push_back(Step::Broadcast(bytes));
    }

    /// Looks whether somebody has the address.
    fn probe(&mut self, lease: Lease, asked: Instant, now: Instant) {
        self.state = State::Probing {
            lease,
            asked,
            left: self.options.probes,
            due: now,
        };
    }

    fn bind(&mut self, lease: Lease, asked: Instant) {
        self.steps.push_back(Step::Bind(lease.clone()));
        let due = asked.after(lease.t1);
        self.state = State::Bound {
            lease,
            asked,
            due,
            renewing: None,
        };
    }

    /// Asks for more time: the same server until T2, then any (section 4.4.5).
    fn renew(&mut self, now: Instant) {
        let xid = self.next_random();
        let State::Bound {
            lease,
            asked,
            due,
            renewing,
        } = &mut self.state
        else {
            return;
        };
        let core::net::IpAddr::V4(ip) = lease.address.address() else {
            return;
        };
        if renewing.is_none() {
            (self.xid, self.began) = (xid, now);
        }
        *renewing = Some(now);
        let (t2, end) = (asked.after(lease.t2), asked.after(lease.time));
        let rebinds = now >= t2;
        let border = if rebinds { end } else { t2 };
        let half = border
            .since(now)
            .checked_div(2)
            .unwrap_or_default()
            .max(RENEWAL);
        *due = now.after(half).min(border);
        let server = lease.server;
        let message = Outgoing {
            ciaddr: ip,
            ..self.message(Kind::Request, now)
        };
        let bytes = message.bytes();
        self.steps.push_back(if rebinds {
            Step::BroadcastBound(bytes)
        } else {
            Step::Unicast(server, bytes)
        });
    }

    /// A message has come.
    pub fn on_message(&mut self, message: &Incoming, now: Instant) {
        if message.xid != self.xid || message.chaddr != self.mac {
            return;
        }
        match (&mut self.state, message.kind) {
            (State::Selecting(_), Some(Kind::Offer)) => {
                let (Some(_), Some(address), Some(server)) =
                    (Lease::of(message), message.yiaddr, message.server)
                else {
                    return;
                };
                self.request(address, server, now);
                let due = self.backoff(0, now);
                let offer = Offer {
                    address,
                    server,
                    asked: now,
                };
                self.state = State::Requesting(offer, Retry { count: 1, due });
            }
            (State::Rebooting(asked, _), Some(Kind::Ack)) => {
                let Asked { address, at } = *asked;
                if let Some(lease) = Lease::of(message).filter(|_| message.yiaddr == Some(address))
                {
                    self.probe(lease, at, now);
                }
            }
            // Its network is another one now, or somebody else has it.
            (State::Rebooting(..), Some(Kind::Nak)) => self.restart(now),
            (State::Requesting(offer, _), Some(Kind::Ack)) => {
                let asked = offer.asked;
                if let Some(lease) =
                    Lease::of(message).filter(|_| message.server == Some(offer.server))
                {
                    self.probe(lease, asked, now);
                }
            }
            (State::Requesting(offer, _), Some(Kind::Nak))
                if message.server == Some(offer.server) =>
            {
                self.restart(now)
            }
            (
                State::Bound {
                    lease,
                    renewing: Some(sent),
                    ..
                },
                Some(Kind::Ack),
            ) => {
                let asked = *sent;
                // Of a renewal the server need not say who it is.
                let server = message.server.or(Some(lease.server));
                if let Some(new) = Lease::of(&Incoming {
                    server,
                    ..message.clone()
                }) {
                    self.bind(new, asked);
                }
            }
            (
                State::Bound {
                    renewing: Some(_), ..
                },
                Some(Kind::Nak),
            ) => {
                self.steps.push_back(Step::Unbind);
                self.restart(now);
            }
            _ => {}
        }
    }

    /// Another host has an address, or wants it at the same time.
    pub fn on_conflict(&mut self, address: Ipv4Addr, now: Instant) {
        let (State::Probing { lease, .. } | State::Bound { lease, .. }) = &self.state else {
            return;
        };
        if lease.address.address() != address {
            return;
        }
        let message = Outgoing {
            requested: Some(address),
            server: Some(lease.server),
            ..self.message(Kind::Decline, now)
        };
        let bytes = message.bytes();
        if matches!(self.state, State::Bound { .. }) {
            self.steps.push_back(Step::Unbind);
        }
        self.steps.push_back(Step::Broadcast(bytes));
        self.restart(now.after(DECLINED));
    }

    /// Gives the lease back, unless it is to be kept, and ends.
    pub fn release(&mut self, now: Instant) {
        if let State::Bound { lease, .. } = &self.state
            && let core::net::IpAddr::V4(ip) = lease.address.address()
        {
            let server = lease.server;
            let message = Outgoing {
                ciaddr: ip,
                server: Some(server),
                ..self.message(Kind::Release, now)
            };
            let bytes = message.bytes();
            if !self.options.keep {
                self.steps.push_back(Step::Unicast(server, bytes));
            }
            self.steps.push_back(Step::Unbind);
        }
        self.state = State::Released;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn at(seconds: f64) -> Instant {
        Instant::default().after(Duration::from_secs_f64(seconds))
    }

    fn client(probes: u8) -> Client {
        let options = Options {
            probes,
            ..Options::default()
        };
        Client::new(MAC, options, 5, at(1.0))
    }

    fn says(client: &Client, kind: Kind) -> Incoming {
        Incoming {
            kind: Some(kind),
            xid: client.xid,
            yiaddr: Some(IP),
            chaddr: MAC,
            server: Some(SERVER),
            prefix: Some(24),
            routers: alloc::vec![SERVER],
            lease: Some(Duration::from_secs(800)),
            ..Incoming::default()
        }
    }

    /// The kind of a message.
    fn kind(bytes: &[u8]) -> u8 {
        bytes[242]
    }

    fn bound(probes: u8) -> Client {
        let mut client = client(probes);
        let Some(Step::Broadcast(bytes)) = client.next(at(1.0)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Discover as u8);
        client.on_message(&says(&client, Kind::Offer), at(1.5));
        let Some(Step::Broadcast(bytes)) = client.next(at(1.5)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Request as u8);
        client.on_message(&says(&client, Kind::Ack), at(2.0));
        client
    }

    #[test]
    fn a_lease_is_probed_bound_and_renewed() {
        let mut client = bound(2);
        assert_eq!(client.next(at(2.0)), Some(Step::Probe(IP)));
        assert_eq!(client.next(at(2.1)), None);
        assert_eq!(client.next(at(2.2)), Some(Step::Probe(IP)));
        assert_eq!(client.next(at(2.3)), None);
        let Some(Step::Bind(lease)) = client.next(at(2.4)) else {
            panic!()
        };
        assert_eq!(lease.address, "10.0.0.9/24".parse().unwrap());
        assert_eq!(lease.routes, [(Cidr::ANY_V4, Some(SERVER))]);
        // T1 is half of the time, from the request on (section 4.4.5).
        assert_eq!(client.deadline(), Some(at(401.5)));
        let Some(Step::Unicast(SERVER, bytes)) = client.next(at(401.5)) else {
            panic!()
        };
        assert_eq!(
            (kind(&bytes), &bytes[12..16]),
            (Kind::Request as u8, &[10, 0, 0, 9][..])
        );
        // Half of what is left to T2 at 701.5.
        assert_eq!(client.deadline(), Some(at(551.5)));
        client.on_message(&says(&client, Kind::Ack), at(402.0));
        assert!(matches!(client.next(at(402.0)), Some(Step::Bind(_))));
        assert_eq!(client.deadline(), Some(at(801.5)));
    }

    #[test]
    fn without_an_answer_it_asks_all_and_gives_up_in_the_end() {
        let mut client = bound(0);
        assert!(matches!(client.next(at(2.0)), Some(Step::Bind(_))));
        let (mut to_server, mut to_all, mut now) = (0, 0, at(2.0));
        loop {
            now = now.max(client.deadline().unwrap());
            match client.next(now) {
                Some(Step::Unicast(..)) => to_server += 1,
                Some(Step::BroadcastBound(_)) => to_all += 1,
                Some(Step::Unbind) => break,
                None => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(now, at(801.5));
        // After half of what is left each time, but at least a minute apart: at 401.5, 551.5, 626.5, 686.5; at 701.5, 761.5.
        assert_eq!((to_server, to_all), (4, 2));
        assert_eq!(client.lease(), None);
        assert!(matches!(client.next(now), Some(Step::Broadcast(_))));
    }

    #[test]
    fn silence_makes_it_ask_less_often() {
        let mut client = client(0);
        assert!(matches!(client.next(at(1.0)), Some(Step::Broadcast(_))));
        let mut last = at(1.0);
        for wait in [4.0, 8.0, 16.0, 32.0, 64.0, 64.0] {
            let due = client.deadline().unwrap();
            let waited = due.since(last).as_secs_f64();
            assert!((wait - 1.0..wait + 1.0).contains(&waited), "{waited}");
            assert!(matches!(client.next(due), Some(Step::Broadcast(_))));
            last = due;
        }
    }

    #[test]
    fn a_conflict_is_declined_and_a_no_starts_over() {
        let mut client = bound(3);
        assert_eq!(client.next(at(2.0)), Some(Step::Probe(IP)));
        client.on_conflict(SERVER, at(2.1));
        client.on_conflict(IP, at(2.1));
        let Some(Step::Broadcast(bytes)) = client.next(at(2.1)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Decline as u8);
        assert_eq!(client.next(at(12.0)), None);
        assert!(matches!(client.next(at(12.1)), Some(Step::Broadcast(_))));
        client.on_message(&says(&client, Kind::Offer), at(13.0));
        assert!(matches!(client.next(at(13.0)), Some(Step::Broadcast(_))));
        client.on_message(&says(&client, Kind::Nak), at(13.1));
        let Some(Step::Broadcast(bytes)) = client.next(at(13.1)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Discover as u8);
    }

    #[test]
    fn strangers_and_leases_that_make_no_sense() {
        let mut client = client(0);
        assert!(client.next(at(1.0)).is_some());
        let offer = says(&client, Kind::Offer);
        for bad in [
            Incoming {
                xid: !client.xid,
                ..offer.clone()
            },
            Incoming {
                chaddr: MacAddr::BROADCAST,
                ..offer.clone()
            },
            Incoming {
                yiaddr: None,
                ..offer.clone()
            },
            Incoming {
                yiaddr: Some(Ipv4Addr::BROADCAST),
                ..offer.clone()
            },
            Incoming {
                server: None,
                ..offer.clone()
            },
            Incoming {
                lease: None,
                ..offer.clone()
            },
            Incoming {
                kind: Some(Kind::Ack),
                ..offer.clone()
            },
        ] {
            client.on_message(&bad, at(1.1));
            assert_eq!(client.next(at(1.1)), None, "{bad:?}");
        }
        let odd = Incoming {
            t1: Some(Duration::from_secs(900)),
            t2: Some(Duration::from_secs(1)),
            mtu: Some(68),
            ..offer
        };
        let lease = Lease::of(&odd).unwrap();
        assert_eq!(
            (lease.t1.as_secs(), lease.t2.as_secs(), lease.mtu),
            (400, 700, None)
        );
    }

    #[test]
    fn what_lasts_for_ever_is_never_asked_for_again() {
        let mut client = client(0);
        assert!(client.next(at(1.0)).is_some());
        client.on_message(&says(&client, Kind::Offer), at(1.0));
        assert!(client.next(at(1.0)).is_some());
        let ack = Incoming {
            lease: Some(Duration::MAX),
            ..says(&client, Kind::Ack)
        };
        client.on_message(&ack, at(1.0));
        assert!(matches!(client.next(at(1.0)), Some(Step::Bind(_))));
        assert_eq!(
            (client.deadline(), client.next(Instant(u64::MAX))),
            (None, None)
        );
    }

    #[test]
    fn what_is_not_needed_is_given_back() {
        let mut client = bound(0);
        assert!(matches!(client.next(at(2.0)), Some(Step::Bind(_))));
        client.release(at(3.0));
        let Some(Step::Unicast(SERVER, bytes)) = client.next(at(3.0)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Release as u8);
        assert_eq!(client.next(at(3.0)), Some(Step::Unbind));
        assert_eq!((client.next(at(9_999.0)), client.deadline()), (None, None));
    }

    fn rebooting(keep: bool) -> Client {
        let options = Options {
            probes: 0,
            last: Some(IP),
            keep,
            ..Options::default()
        };
        Client::new(MAC, options, 5, at(1.0))
    }

    /// RFC 2131 section 4.3.2: the address is in option 50, no server is named, and nothing is in ciaddr.
    #[test]
    fn the_address_of_the_last_time() {
        let mut client = rebooting(true);
        let Some(Step::Broadcast(bytes)) = client.next(at(1.0)) else {
            panic!()
        };
        assert_eq!(
            (kind(&bytes), &bytes[12..16]),
            (Kind::Request as u8, &[0; 4][..])
        );
        let has = |option: &[u8]| bytes[240..].windows(option.len()).any(|w| w == option);
        assert!(has(&[50, 4, 10, 0, 0, 9]) && !has(&[54, 4, 10, 0, 0, 1]));
        // Another address than that is not what was asked for.
        let other = Incoming {
            yiaddr: Some(SERVER),
            ..says(&client, Kind::Ack)
        };
        client.on_message(&other, at(1.1));
        assert_eq!(client.next(at(1.1)), None);
        client.on_message(&says(&client, Kind::Ack), at(1.2));
        let Some(Step::Bind(lease)) = client.next(at(1.2)) else {
            panic!()
        };
        assert_eq!(lease.address, "10.0.0.9/24".parse().unwrap());
        // T1 counts from the request on.
        assert_eq!(client.deadline(), Some(at(401.0)));
        // It is kept for the next time.
        client.release(at(2.0));
        assert_eq!(client.next(at(2.0)), Some(Step::Unbind));
        assert_eq!((client.next(at(2.0)), client.deadline()), (None, None));
    }

    /// RFC 2131 section 3.2: a no, or silence, and it is as the first time.
    #[test]
    fn an_address_that_nobody_gives_any_more() {
        let mut client = rebooting(false);
        assert!(client.next(at(1.0)).is_some());
        client.on_message(&says(&client, Kind::Nak), at(1.5));
        let Some(Step::Broadcast(bytes)) = client.next(at(1.5)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Discover as u8);
        let mut client = rebooting(false);
        let mut sent = Vec::new();
        let mut now = at(1.0);
        while sent.last() != Some(&(Kind::Discover as u8)) {
            now = now.max(client.deadline().unwrap());
            if let Some(Step::Broadcast(bytes)) = client.next(now) {
                sent.push(kind(&bytes));
            }
        }
        let request = Kind::Request as u8;
        assert_eq!(sent, [request, request, Kind::Discover as u8]);
        assert!(now <= at(16.0) && now >= at(11.0), "{now:?}");
        // Somebody has it: it is declined, and not asked for again.
        let mut client = rebooting(false);
        client.options.probes = 1;
        assert!(client.next(at(1.0)).is_some());
        client.on_message(&says(&client, Kind::Ack), at(1.1));
        assert_eq!(client.next(at(1.1)), Some(Step::Probe(IP)));
        client.on_conflict(IP, at(1.2));
        let Some(Step::Broadcast(bytes)) = client.next(at(1.2)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Decline as u8);
        let Some(Step::Broadcast(bytes)) = client.next(at(12.0)) else {
            panic!()
        };
        assert_eq!(kind(&bytes), Kind::Discover as u8);
    }
}
