//! What can be set. The default is what the RFCs recommend, where they leave it open what is customary.

use super::{Congestion, Cookie};
use core::time::Duration;

/// Settings that many connections share.
#[derive(Clone, Debug)]
pub struct Config {
    /// A peer that asks for segments smaller than this gets this size; at least 1.
    pub mss_min: u16,
    /// Space for data received and not read, at first.
    pub receive_buffer: usize,
    /// As far as that space grows by itself (dynamic right-sizing).
    pub receive_buffer_max: usize,
    /// Space for data to send and not acknowledged, at first.
    pub send_buffer: usize,
    /// As far as that space grows by itself.
    pub send_buffer_max: usize,
    /// Offer window scaling (RFC 7323, section 2).
    pub window_scaling: bool,
    /// Offer timestamps (RFC 7323, section 3).
    pub timestamps: bool,
    /// Offer selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Offer explicit congestion notification (RFC 3168); a peer's offer is accepted in the same case.
    pub ecn: bool,
    /// Accept data in a SYN (RFC 7413); the cookie is for the caller of [`Tcb::accept`](super::Tcb::accept) to check.
    pub fast_open: bool,
    /// The algorithm of congestion control.
    pub congestion: Congestion,
    /// Segments of the initial window (RFC 6928).
    pub initial_window: u16,
    /// Send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Hold small segments back (`TCP_CORK`).
    pub cork: bool,
    /// How long an acknowledgment waits for company, at most half a second (RFC 9293, section 3.8.6.3).
    pub delayed_ack: Duration,
    /// The shortest retransmission timeout. RFC 6298 says one second; hosts use less since (RFC 8961, section 4).
    pub min_rto: Duration,
    /// The longest one, at least one minute (RFC 6298, section 2.5).
    pub max_rto: Duration,
    /// How often a SYN is sent again: together at least three minutes (RFC 9293, section 3.8.3, MUST-23).
    pub syn_retries: u8,
    /// How often the answer to a SYN is sent again.
    pub syn_ack_retries: u8,
    /// How often data is sent again: together at least 100 seconds (RFC 9293, section 3.8.3, SHLD-10).
    pub retries: u8,
    /// Probing of idle connections; off by default (RFC 9293, section 3.8.4, MUST-25).
    pub keep_alive: bool,
    /// When they are probed, if they are.
    pub keep_times: KeepAlive,
    /// How long data may stay unacknowledged (RFC 5482).
    pub user_timeout: Option<Duration>,
    /// Tell the peer how long that is, or five minutes, and do as it says if the user has said nothing (RFC 5482).
    pub tell_user_timeout: bool,
    /// Time in TIME-WAIT: twice the maximum segment lifetime.
    pub time_wait: Duration,
    /// Time in FIN-WAIT-2 once nobody can read any more.
    pub fin_timeout: Duration,
    /// Leave urgent data in the stream (`SO_OOBINLINE`).
    pub urgent_inline: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mss_min: 64,
            receive_buffer: 128 << 10,
            receive_buffer_max: 6 << 20,
            send_buffer: 128 << 10,
            send_buffer_max: 4 << 20,
            window_scaling: true,
            timestamps: true,
            sack: true,
            ecn: false,
            fast_open: false,
            congestion: Congestion::Cubic,
            initial_window: 10,
            nodelay: false,
            cork: false,
            delayed_ack: Duration::from_millis(40),
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
            syn_retries: 7,
            syn_ack_retries: 5,
            retries: 15,
            keep_alive: false,
            keep_times: KeepAlive::default(),
            user_timeout: None,
            tell_user_timeout: false,
            time_wait: Duration::from_secs(60),
            fin_timeout: Duration::from_secs(60),
            urgent_inline: false,
        }
    }
}

impl Config {
    /// The shift count with which the largest window can be said (RFC 7323, section 2.3: at most 14).
    pub(super) fn window_scale(&self) -> u8 {
        let largest = self.receive_buffer_max.max(self.receive_buffer);
        (0..14)
            .find(|shift| largest >> shift <= 0xffff)
            .unwrap_or(14)
    }

    /// When idle connections are probed.
    #[must_use]
    pub fn keeps_alive(&self) -> Option<KeepAlive> {
        self.keep_alive.then_some(self.keep_times)
    }
}

/// When and how often an idle connection is probed (RFC 9293, section 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Time without a segment before the first probe; two hours by default (MUST-28).
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// So many probes without answer end the connection (MUST-29: more than one).
    pub count: u8,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(2),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

/// What is known of the way to the peer.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The MTU of the interface without the headers of IP and TCP and without options: what we can receive in a segment, and what we
    /// send at most.
    pub mss: u16,
    /// Added to the clock of timestamps; it should depend on the addresses and a secret (RFC 7323, section 5.4).
    pub timestamp_offset: u32,
    /// A client's cookie for this server (RFC 7413, section 4.1.3). An empty one asks for one; `None`: no fast open.
    pub fast_open: Option<Cookie>,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            mss: 536,
            timestamp_offset: 0,
            fast_open: None,
        }
    }
}
