//! Where a client is (RFC 2131 figure 5).

use super::Lease;
use core::net::Ipv4Addr;
use rumpuser::Instant;

pub(super) enum State {
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
pub(super) struct Asked {
    pub(super) address: Ipv4Addr,
    /// When it was last asked for.
    pub(super) at: Instant,
}

pub(super) struct Offer {
    pub(super) address: Ipv4Addr,
    pub(super) server: Ipv4Addr,
    /// When it was last asked for.
    pub(super) asked: Instant,
}

/// When to send again.
#[derive(Clone, Copy)]
pub(super) struct Retry {
    pub(super) count: u32,
    pub(super) due: Instant,
}
