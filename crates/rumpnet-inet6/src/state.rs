//! What is kept behind the stack's lock, and what is due by time.

use crate::{
    address,
    header::Header,
    icmp, mld, nd,
    select::Candidate,
    temporary::{Settings, Temporary},
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::{net::Ipv6Addr, time::Duration};
use rumpnet::{Cidr, membership};
use rumpnet_inet::{
    icmp::Limit, path_mtu::PathMtus, reassembly::Reassembly, stack::Stack, tcp::cookie::Secret,
};
use rumpuser::{Host, Instant, Rng};

/// How long the rest of a packet may take (RFC 8200 section 4.5).
const PATIENCE: Duration = Duration::from_secs(60);

/// All that IPv6 keeps.
pub(crate) struct State {
    pub(crate) links: BTreeMap<u32, Link>,
    pub(crate) reassembly: Reassembly<Header>,
    pub(crate) limit: Limit,
    /// Packets for others are passed on.
    pub(crate) forwarding: bool,
    /// Hosts are shown shorter ways.
    pub(crate) redirects: bool,
    /// What routers advertise is followed.
    pub(crate) accept_advertisements: bool,
    /// How often others are asked before an address is used (RFC 4862 section 5.1, `DupAddrDetectTransmits`).
    pub(crate) probes: u8,
    /// What this host does by itself it begins within this time, not at once as all hosts of a link would that come up together
    /// (`MAX_RTR_SOLICITATION_DELAY`).
    pub(crate) delay: Duration,
    /// For interface identifiers (RFC 7217).
    pub(crate) secret: Secret,
    /// For numbers of fragments (RFC 7739), and how many packets were cut.
    pub(crate) fragment_secret: Secret,
    pub(crate) fragmented: u64,
    pub(crate) temporary: Settings,
    pub(crate) temporary_secret: Secret,
    pub(crate) rng: Rng,
    pub(crate) counters: crate::Counters,
    pub(crate) paths: PathMtus<Ipv6Addr>,
}

/// What is kept for an interface.
pub(crate) struct Link {
    pub(crate) addresses: Vec<Own>,
    /// What routers say: hops of packets, the size of packets, the time between two solicitations (`RetransTimer`).
    pub(crate) hop_limit: u8,
    pub(crate) mtu: Option<u32>,
    pub(crate) retry: Duration,
    /// How long a neighbour's address counts, about (`BaseReachableTime`), and when that is drawn anew at the latest.
    pub(crate) reachable: Duration,
    pub(crate) drawn_until: Instant,
    /// The next solicitation of routers, and how many are left.
    pub(crate) solicit: Option<(Instant, u8)>,
    /// Default routers and prefixes of the link, until when.
    pub(crate) routers: Vec<(Ipv6Addr, Instant)>,
    pub(crate) prefixes: Vec<(Cidr, Option<Instant>)>,
    /// What routers are told of groups.
    pub(crate) groups: membership::Link,
}

impl Link {
    fn new(seed: u64) -> Self {
        Self {
            addresses: Vec::new(),
            hop_limit: rumpnet_inet::ip::DEFAULT_TTL,
            mtu: None,
            retry: Duration::from_secs(1),
            reachable: Duration::from_secs(30),
            drawn_until: Instant::default(),
            solicit: None,
            routers: Vec::new(),
            prefixes: Vec::new(),
            groups: membership::Link::new(seed),
        }
    }
}

/// A number of a question whether somebody has an address (RFC 3971 section 5.3.2).
pub(crate) type Nonce = [u8; 6];

/// An address of this host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) cidr: Cidr,
    pub(crate) ip: Ipv6Addr,
    /// While nobody knows whether another has it: when that is over or the next question is due, and how many are left.
    pub(crate) tentative: Option<(Instant, u8)>,
    /// What the last question had, by which this host knows it again (RFC 7527).
    pub(crate) nonce: Option<Nonce>,
    /// The group that it is asked for in is joined.
    pub(crate) listens: bool,
    /// Until when it is preferred and valid; for ever if `None`.
    pub(crate) preferred: Option<Instant>,
    pub(crate) valid: Option<Instant>,
    /// It was made here; how often another had the address that was made before (RFC 7217 section 6).
    pub(crate) made: Option<u8>,
    /// It was made at random, for some time (RFC 8981).
    pub(crate) temporary: Option<Temporary>,
}

impl Own {
    /// Whether its prefix is that of a network on the link. Of one that was made from a router's prefix the router says whether it is (RFC 5942 section
    /// 4, rule 1).
    pub(crate) const fn has_network(&self) -> bool {
        !self.is_made() || self.ip.is_unicast_link_local()
    }

    /// Whether it is to be used by what uses it already alone.
    pub(crate) fn is_deprecated(&self, now: Instant) -> bool {
        self.preferred.is_some_and(|until| until <= now)
    }

    /// Whether it was made here, and not set by hand.
    pub(crate) const fn is_made(&self) -> bool {
        self.made.is_some() || self.temporary.is_some()
    }
}

impl State {
    pub(crate) fn new(host: &dyn Host) -> Self {
        let (mut secret, mut temporary, mut fragments) = ([0; 16], [0; 16], [0; 16]);
        host.random(&mut temporary);
        host.random(&mut secret);
        host.random(&mut fragments);
        let mut seed = [0; 8];
        host.random(&mut seed);
        Self {
            links: BTreeMap::new(),
            reassembly: Reassembly::new(PATIENCE, usize::from(u16::MAX)),
            limit: Limit::default(),
            forwarding: false,
            redirects: true,
            accept_advertisements: true,
            probes: 1,
            delay: Duration::from_secs(1),
            secret: Secret(secret),
            fragment_secret: Secret(fragments),
            fragmented: 0,
            temporary: Settings::default(),
            temporary_secret: Secret(temporary),
            rng: Rng::new(u64::from_ne_bytes(seed)),
            counters: crate::Counters::default(),
            paths: PathMtus::default(),
        }
    }

    /// What is kept for an interface, from now on if it was not.
    pub(crate) fn link(&mut self, interface: u32) -> &mut Link {
        let rng = &mut self.rng;
        let new = || Link::new(rng.next_u64());
        self.links.entry(interface).or_insert_with(new)
    }

    /// How long to wait before beginning.
    pub(crate) fn wait(&mut self) -> Duration {
        let most = u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.below(most.max(1)))
    }

    pub(crate) fn own(&self, interface: u32, ip: Ipv6Addr) -> Option<&Own> {
        let link = self.links.get(&interface)?;
        link.addresses.iter().find(|own| own.ip == ip)
    }

    pub(crate) fn is_tentative(&self, interface: u32, ip: Ipv6Addr) -> bool {
        self.own(interface, ip)
            .is_some_and(|own| own.tentative.is_some())
    }

    /// When an address that waits is asked for next, or is this host's.
    pub(crate) fn due(&self, interface: u32, ip: Ipv6Addr) -> Option<Instant> {
        let (due, _) = self.own(interface, ip)?.tentative?;
        Some(due)
    }

    pub(crate) fn candidate(
        &self,
        interface: u32,
        address: Ipv6Addr,
        prefix: u8,
        now: Instant,
    ) -> Candidate {
        let own = self.own(interface, address);
        Candidate {
            address,
            prefix,
            deprecated: own.is_some_and(|own| own.is_deprecated(now)),
            temporary: own.is_some_and(|own| own.temporary.is_some()),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let links = self.links.values().flat_map(|link| {
            let own = link.addresses.iter().flat_map(|own| {
                let tentative = own.tentative.map(|(at, _)| at);
                let next = own.temporary.and_then(|temporary| temporary.next);
                [tentative, own.valid, next].into_iter().flatten()
            });
            let routers = link.routers.iter().map(|(_, at)| *at);
            let prefixes = link.prefixes.iter().filter_map(|(_, at)| *at);
            let rest = [link.solicit.map(|(at, _)| at), link.groups.deadline()];
            own.chain(routers)
                .chain(prefixes)
                .chain(rest.into_iter().flatten())
        });
        links
            .chain(self.paths.deadline())
            .chain(self.reassembly.deadline())
            .min()
    }
}

/// Does what is due.
pub(crate) fn clock(stack: &mut Stack) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let incomplete = state.reassembly.expire(now);
    let forgotten = state.paths.expire(now);
    let interfaces: Vec<u32> = state.links.keys().copied().collect();
    for first in incomplete {
        rumpnet_inet::ip::bump(&mut stack.counters.ip6.reassembly_failed);
        if let Some((header, packet)) = first {
            icmp::reassembly_exceeded(stack, &header, packet);
        }
    }
    if forgotten {
        // Larger packets are tried again.
        stack.routes.touch();
    }
    for interface in interfaces {
        nd::draw_times(stack, interface, false);
        address::clock(stack, interface);
        crate::router::clock(stack, interface);
        nd::clock(stack, interface);
        mld::clock(stack, interface);
    }
}
