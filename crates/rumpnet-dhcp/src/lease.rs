//! What a server gives, and when more time is to be asked for (RFC 2131 sections 4.3.1 and 4.4.5).

use crate::message::Incoming;
use alloc::{string::String, vec::Vec};
use core::{net::Ipv4Addr, time::Duration};
use rumpnet::Cidr;

/// Shorter leases than this would be asked for all the time.
const SHORTEST: Duration = Duration::from_secs(10);
/// Earlier than this after a request nothing is asked for again.
const SOONEST: Duration = Duration::from_secs(3);
/// Smallest MTU that is believed: every host takes packets of this size (RFC 791).
const MTU: u16 = 576;

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

/// Whether an address may be one host's.
fn is_host(ip: Ipv4Addr) -> bool {
    let reserved = matches!(ip.octets()[0], 0 | 127 | 240..);
    !reserved && !ip.is_multicast()
}

impl Lease {
    /// `None`: it lacks what a lease must have.
    pub(crate) fn of(message: &Incoming) -> Option<Self> {
        let ip = message.yiaddr?;
        let server = message.server?;
        if !is_host(ip) || !is_host(server) {
            return None;
        }
        // Without a mask the classes of RFC 791 say it.
        let class = match ip.octets()[0] {
            ..128 => 8,
            128..192 => 16,
            192.. => 24,
        };
        let address = Cidr::new(ip.into(), message.prefix.unwrap_or(class)).ok()?;
        // That of the network itself and that of all its hosts are nobody's (RFC 1122 section 3.2.1.3), and no network is everything.
        let alone = address.prefix() >= 31;
        let network = address.network().address() == ip;
        let all = address.broadcast() == Some(ip);
        if address.prefix() == 0 || !alone && (network || all) {
            return None;
        }
        let usable = |router: &Ipv4Addr| is_host(*router) && *router != ip;
        let routes = match &message.routes {
            Some(routes) => routes
                .iter()
                .filter(|(_, router)| router.is_unspecified() || usable(router))
                .map(|(network, router)| {
                    (
                        *network,
                        Some(*router).filter(|router| !router.is_unspecified()),
                    )
                })
                .collect(),
            None => message
                .routers
                .iter()
                .find(|router| usable(router))
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
            server,
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
