//! The client as a state machine (RFC 2131 section 4.4).
//!
//! | module | what |
//! |---|---|
//! | `state` | where it is |
//! | `requests` | what it says, and when again |
//! | `answers` | what it hears |

mod answers;
mod requests;
mod state;
#[cfg(test)]
mod tests;

use crate::Lease;
use alloc::{collections::VecDeque, string::String, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use rumpnet::MacAddr;
use rumpuser::{Errno, Instant, rng::Rng};
use state::{Retry, State};

/// How often an offer is asked for before another is looked for.
const REQUESTS: u32 = 4;
/// How often the address of the last time is asked for: some twelve seconds.
const REBOOTS: u32 = 2;
/// Longest wait after a no.
const REFUSED: Duration = Duration::from_secs(64);
/// Wait after an address was declined (section 3.1.5).
const DECLINED: Duration = Duration::from_secs(10);
/// Who claims the address of a lease a second time within so long has it (`DEFEND_INTERVAL` of RFC 5227 section 1.1).
const DEFENDED: Duration = Duration::from_secs(10);
/// Between two probes for an address.
const PROBE: Duration = Duration::from_millis(200);
/// States that are passed at one time at most.
const IN_A_ROW: usize = 4;

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name that it tells servers: 1 to 255 bytes.
    pub host_name: Option<String>,
    /// The first message is sent within this time, at random, so that hosts that come up together do not all ask at once (section 4.4.1).
    pub delay: Duration,
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
            delay: Duration::from_secs(1),
            probes: 3,
            last: None,
            keep: false,
        }
    }
}

impl Options {
    /// Whether a client can behave so.
    ///
    /// # Errors
    /// `EINVAL`: a name that does not fit into its option (RFC 2132 section 3.14).
    pub(crate) fn check(&self) -> Result<(), Errno> {
        let fits = |name: &String| (1..=usize::from(u8::MAX)).contains(&name.len());
        match &self.host_name {
            Some(name) if !fits(name) => Err(Errno::EINVAL),
            _ => Ok(()),
        }
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

/// A client of one interface.
pub struct Client {
    mac: MacAddr,
    options: Options,
    state: State,
    /// Of the exchange.
    xid: u32,
    began: Instant,
    /// When another host claimed the address of the lease.
    claimed: Option<Instant>,
    /// How often a server has said no since the last lease.
    refusals: u32,
    rng: Rng,
    steps: VecDeque<Step>,
}

impl Client {
    /// A client that begins now. `seed` makes its numbers and waits different from others'.
    #[must_use]
    pub fn new(mac: MacAddr, options: Options, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let most = u64::try_from(options.delay.as_nanos()).unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(rng.below(most.max(1)));
        Self {
            mac,
            options,
            state: State::Pause(now.after(wait)),
            xid: 0,
            began: now,
            claimed: None,
            refusals: 0,
            rng,
            steps: VecDeque::new(),
        }
    }

    fn next_xid(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.rng.next_u64().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
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

    /// A server says no: another attempt is made at once, further ones later and later, as it may go on so for ever.
    fn refused(&mut self, now: Instant) {
        let wait = match self.refusals.checked_sub(1) {
            Some(again) => Duration::from_secs(1)
                .saturating_mul(1_u32.checked_shl(again).unwrap_or(u32::MAX))
                .min(REFUSED),
            None => Duration::ZERO,
        };
        self.refusals = self.refusals.saturating_add(1);
        self.restart(now.after(wait));
    }

    fn on_timer(&mut self, now: Instant) {
        match &mut self.state {
            State::Pause(_) => {
                self.xid = self.next_xid();
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
                    if let IpAddr::V4(ip) = lease.address.address() {
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
        self.refusals = 0;
        self.steps.push_back(Step::Bind(lease.clone()));
        let due = asked.after(lease.t1);
        self.state = State::Bound {
            lease,
            asked,
            due,
            renewing: None,
        };
    }
}
