//! RACK-TLP (RFC 8985): loss by time, and probes for a lost tail.

use super::{
    Count, Seq, Tcb,
    scoreboard::{Delivered, Fate, Part},
    tcb::Bits,
    timers::Retransmit,
};

/// TLP.max_ack_delay: the longest delay of an acknowledgment that is expected.
const ACK_DELAY_MAX: u64 = 200_000_000;
/// The probe timeout before a round trip was measured (RFC 8985, section 7.2).
const PROBE_TIMEOUT_INITIAL: u64 = 1_000_000_000;
/// So many recoveries a widened window is kept (RFC 8985, section 6.2, step 4).
const WINDOW_PERSIST: u8 = 16;

/// The state of RACK (RFC 8985, section 5.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rack {
    /// RACK.xmit_ts: when the newest part that arrived was sent.
    time: u64,
    /// RACK.end_seq of it.
    end: Seq,
    /// RACK.rtt of it.
    rtt: u64,
    /// RACK.reordering_seen.
    pub(super) reordering: bool,
    /// RACK.reo_wnd_mult.
    multiplier: u8,
    /// RACK.reo_wnd_persist.
    persist: u8,
    /// RACK.dsack_round.
    round: Option<Seq>,
    /// When parts that are late will be lost; `u64::MAX` for none.
    pub(super) due: u64,
}

impl Rack {
    pub(super) const fn new(start: Seq) -> Self {
        Self {
            time: 0,
            end: start,
            rtt: 0,
            reordering: false,
            multiplier: 1,
            persist: WINDOW_PERSIST,
            round: None,
            due: u64::MAX,
        }
    }

    /// RFC 8985, section 6.2, steps 1 to 3.
    pub(super) fn update(&mut self, delivered: &Delivered, min_rtt: u64, now: u64) {
        self.reordering |= delivered.reordered;
        let Some(part) = delivered.newest else {
            return;
        };
        let rtt = now.saturating_sub(part.time);
        if part.fate.contains(Fate::RETRANSMITTED) && rtt < min_rtt {
            // It answers what was sent before.
            return;
        }
        if part.time > self.time || (part.time == self.time && part.end.after(self.end)) {
            self.time = part.time;
            self.end = part.end;
            self.rtt = rtt;
        }
    }

    /// Whether `part` was sent after the newest that arrived.
    fn is_later(&self, part: &Part) -> bool {
        part.time > self.time || (part.time == self.time && part.end.after(self.end))
    }

    /// The reordering window was too small, says a duplicate (section 6.2, step 4).
    fn widen(&mut self, una: Seq, nxt: Seq) {
        if self.round.is_none_or(|round| una.from(round)) {
            self.round = Some(nxt);
            self.multiplier = self.multiplier.saturating_add(1);
            self.persist = WINDOW_PERSIST;
        }
    }

    /// A recovery ended.
    pub(super) fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.multiplier = 1;
            self.persist = WINDOW_PERSIST;
        }
    }
}

/// A tail loss probe under way (RFC 8985, section 7.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// TLP.end_seq.
    pub(super) end: Seq,
    /// TLP.is_retrans.
    pub(super) again: bool,
}

impl Tcb {
    /// The peer reports a duplicate.
    pub(super) fn on_duplicate_report(&mut self, _now: u64) {
        self.count(Count::DuplicateReports, 1);
        self.loss.rack.widen(self.snd.una, self.snd.nxt);
    }

    /// RFC 8985, section 6.2, step 4.
    fn reordering_window(&self, in_recovery: bool) -> u64 {
        let rack = &self.loss.rack;
        if !rack.reordering && (in_recovery || self.has_dup_thresh()) {
            return 0;
        }
        // Before a round trip was measured, the one that RACK saw.
        let shortest = if self.rtt.smoothed().is_some() {
            self.rtt.min()
        } else {
            rack.rtt
        };
        let quarter = shortest / 4;
        let window = quarter.saturating_mul(rack.multiplier.into());
        window.min(self.rtt.smoothed().unwrap_or(u64::MAX))
    }

    /// RFC 6675, section 4: DupThresh segments, or more than two segments' bytes, are beyond a gap.
    fn has_dup_thresh(&self) -> bool {
        self.board.sacked() > self.full().saturating_mul(2) || self.loss.dup_acks >= 3
    }

    /// RFC 8985, section 6.2, step 5: marks what is lost; returns how many bytes. Sets when the next will be.
    pub(super) fn detect_loss(&mut self, in_recovery: bool, now: u64) -> u32 {
        let window = self.reordering_window(in_recovery);
        let rack = self.loss.rack;
        let mut due = u64::MAX;
        let lost = self.board.mark_lost(|part| {
            if rack.is_later(part) {
                return false;
            }
            let limit = part.time.saturating_add(rack.rtt).saturating_add(window);
            if limit <= now {
                return true;
            }
            due = due.min(limit);
            false
        });
        self.loss.rack.due = due;
        lost
    }

    /// RFC 8985, section 7.2: the probe timeout, when a probe is allowed.
    pub(super) fn probe_timeout(&self) -> Option<u64> {
        let allowed = self.bits.contains(Bits::SACK)
            && self.loss.is_calm()
            && self.board.sacked() == 0
            && !self.board.is_empty();
        if !allowed {
            return None;
        }
        let Some(smoothed) = self.rtt.smoothed() else {
            return Some(PROBE_TIMEOUT_INITIAL);
        };
        let timeout = smoothed.saturating_mul(2);
        // A peer that acknowledges every second full segment holds the answer to less.
        if self.flight() < self.full().saturating_mul(2) {
            Some(timeout.saturating_add(ACK_DELAY_MAX))
        } else {
            // The peer's timer and ours are not exact.
            Some(timeout.saturating_add(2_000_000))
        }
    }

    /// RFC 8985, section 7.3: the probe timeout expired.
    pub(super) fn on_probe_timeout(&mut self, now: u64) {
        self.bits.insert(Bits::TAIL_PROBE_NOW);
        self.timers
            .retransmit_in(Retransmit::Timeout, now, self.rtt.rto(self.times.max_rto));
    }

    /// RFC 8985, section 7.4.2: the answer to a probe. Returns whether the window is to be reduced, since the probe repaired a loss.
    pub(super) fn probe_answered(&mut self, advances: bool, duplicate_report: bool) -> bool {
        let Some(probe) = self.loss.probe else {
            return false;
        };
        if self.snd.una.before(probe.end) {
            return false;
        }
        if !probe.again || duplicate_report {
            self.loss.probe = None;
            return false;
        }
        if self.snd.una.after(probe.end) {
            self.loss.probe = None;
            return true;
        }
        if !advances {
            // The original arrived, and then the probe.
            self.loss.probe = None;
        }
        false
    }
}
