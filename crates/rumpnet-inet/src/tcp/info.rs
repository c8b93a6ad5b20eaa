//! What can be told of a connection (`TCP_INFO`).

use super::{Congestion, State, Tcb, loss::Phase, tcb::Bits};
use core::time::Duration;
use rumpuser::Instant;

/// A look into a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The state.
    pub state: State,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// SACK is in use.
    pub sack: bool,
    /// ECN is in use.
    pub ecn: bool,
    /// Shift counts of the windows sent and received, when scaling is in use.
    pub window_scale: Option<(u8, u8)>,
    /// The retransmission timeout.
    pub rto: Duration,
    /// The smoothed round-trip time; zero before the first measurement.
    pub rtt: Duration,
    /// Its variation.
    pub rtt_variation: Duration,
    /// The shortest round trip.
    pub rtt_min: Duration,
    /// The last one.
    pub rtt_latest: Duration,
    /// Payload of the segments that are sent.
    pub send_mss: u32,
    /// Payload of the segments that are received, as seen.
    pub receive_mss: u32,
    /// The congestion window, bytes.
    pub congestion_window: u32,
    /// The slow start threshold, bytes; `None` while there was no loss.
    pub slow_start_threshold: Option<u32>,
    /// The peer's window, bytes.
    pub send_window: u32,
    /// Our window as the peer knows it, bytes.
    pub receive_window: u32,
    /// Bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Of them those that the peer has out of order.
    pub sacked: u32,
    /// Of them those taken for lost.
    pub lost: u32,
    /// Recovery from a loss is under way.
    pub in_recovery: bool,
    /// Packets were seen to overtake each other.
    pub reordering: bool,
    /// Timeouts since the last progress.
    pub retries: u8,
    /// The algorithm of congestion control.
    pub congestion: Congestion,
    /// Bytes sent, without retransmissions.
    pub sent_bytes: u64,
    /// Bytes acknowledged.
    pub acknowledged_bytes: u64,
    /// Bytes received in order.
    pub received_bytes: u64,
    /// Segments sent; wraps.
    pub sent_segments: u32,
    /// Segments received; wraps. One that was put together on the way counts as one.
    pub received_segments: u32,
    /// Segments sent again; wraps.
    pub retransmitted_segments: u32,
    /// Time since a segment arrived is measured from here (nanoseconds of the monotonic clock).
    pub last_received: u64,
}

impl Tcb {
    /// When the connection went forward last: what it sends reaches its peer (RFC 4861 section 7.3.1).
    #[must_use]
    pub const fn forward(&self) -> Instant {
        Instant(self.rcv.forward)
    }

    /// A look into the connection.
    #[must_use]
    pub fn info(&self) -> Info {
        let nanos = Duration::from_nanos;
        let min = self.rtt.min();
        Info {
            state: self.state,
            timestamps: self.bits.contains(Bits::TIMESTAMPS),
            sack: self.bits.contains(Bits::SACK),
            ecn: self.bits.contains(Bits::ECN),
            window_scale: self
                .bits
                .contains(Bits::SCALING)
                .then_some((self.snd.scale, self.rcv.scale)),
            rto: nanos(self.rtt.rto(self.times.max_rto)),
            rtt: nanos(self.rtt.smoothed().unwrap_or(0)),
            rtt_variation: nanos(self.rtt.variation()),
            rtt_min: nanos(if min == u64::MAX { 0 } else { min }),
            rtt_latest: nanos(self.rtt.latest()),
            send_mss: self.full(),
            receive_mss: self.rcv.mss.into(),
            congestion_window: self.window.size,
            slow_start_threshold: Some(self.window.threshold)
                .filter(|threshold| *threshold != u32::MAX),
            send_window: self.snd.wnd,
            receive_window: self.rcv.edge.since_or_zero(self.rcv.nxt),
            in_flight: self.flight(),
            sacked: self.board.sacked(),
            lost: self.board.lost(),
            in_recovery: self.loss.phase != Phase::Open,
            reordering: self.loss.rack.reordering,
            retries: self.retries,
            congestion: self.control.congestion(),
            sent_bytes: self.counters.sent_bytes,
            acknowledged_bytes: self.counters.acked_bytes,
            received_bytes: self.counters.received_bytes,
            sent_segments: self.counters.sent_segments,
            received_segments: self.counters.received_segments,
            retransmitted_segments: self.counters.retransmitted,
            last_received: self.rcv.last,
        }
    }
}
