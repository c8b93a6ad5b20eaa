//! What a client says to servers (RFC 2131 section 4.4, table 5).

use super::{
    Client, Step,
    state::{Asked, Retry, State},
};
use crate::message::{Kind, Outgoing};
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use rumpuser::Instant;

/// Shortest wait for an answer; each next one is twice as long (section 4.1).
const FIRST: Duration = Duration::from_secs(4);
/// Longest wait for an answer.
const LONGEST: Duration = Duration::from_secs(64);
/// Shortest time between two requests for more time (section 4.4.5).
const RENEWAL: Duration = Duration::from_secs(60);

impl Client {
    /// Longer each time, up to a second more or less (section 4.1).
    pub(super) fn backoff(&mut self, count: u32, now: Instant) -> Instant {
        let time = FIRST
            .saturating_mul(1_u32.checked_shl(count).unwrap_or(u32::MAX))
            .min(LONGEST);
        let jitter = Duration::from_millis(self.rng.below(2_000));
        now.after(
            time.saturating_add(jitter)
                .saturating_sub(Duration::from_secs(1)),
        )
    }

    pub(super) fn message(&self, kind: Kind, now: Instant) -> Outgoing<'_> {
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

    pub(super) fn discover(&mut self, count: u32, now: Instant) {
        let bytes = self.message(Kind::Discover, now).bytes();
        self.steps.push_back(Step::Broadcast(bytes));
        let due = self.backoff(count, now);
        self.state = State::Selecting(Retry { count, due });
    }

    /// Asks all servers for an address (section 4.3.2, INIT-REBOOT): none is named, and nothing is claimed yet.
    pub(super) fn reboot(&mut self, address: Ipv4Addr, count: u32, now: Instant) {
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

    pub(super) fn request(&mut self, address: Ipv4Addr, server: Ipv4Addr, now: Instant) {
        let message = Outgoing {
            requested: Some(address),
            server: Some(server),
            ..self.message(Kind::Request, now)
        };
        let bytes = message.bytes();
        self.steps.push_back(Step::Broadcast(bytes));
    }

    /// Asks for more time: the same server until T2, then any (section 4.4.5).
    pub(super) fn renew(&mut self, now: Instant) {
        let xid = self.next_xid();
        let State::Bound {
            lease,
            asked,
            due,
            renewing,
        } = &mut self.state
        else {
            return;
        };
        let IpAddr::V4(ip) = lease.address.address() else {
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

    /// Gives the lease back, unless it is to be kept, and ends.
    pub fn release(&mut self, now: Instant) {
        if let State::Bound { lease, .. } = &self.state
            && let IpAddr::V4(ip) = lease.address.address()
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
