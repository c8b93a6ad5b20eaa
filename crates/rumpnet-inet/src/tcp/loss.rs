//! Recovery from loss: what follows from acknowledgments, duplicates and timeouts (RFC 5681, 6582, 6675, 9937, 5682, 3042).

use super::{
    Count, Seq, State, Tcb,
    prr::Prr,
    rack::{Probe, Rack},
    scoreboard::{Delivered, Fate},
    tcb::Bits,
    timers::Retransmit,
};

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Open,
    /// The window was reduced without loss (RFC 3168).
    Reduced,
    /// Fast recovery.
    Recovery,
    /// The retransmission timer expired.
    Timeout,
}

/// F-RTO (RFC 5682, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frto {
    /// Not under way.
    Off,
    /// After step 1: the first segment was sent again.
    Sent,
    /// After step 2b: new data was sent.
    New,
}

/// The state of recovery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    pub(super) phase: Phase,
    pub(super) frto: Frto,
    pub(super) dup_acks: u8,
    /// Recovery ends when this is acknowledged (RecoveryPoint).
    pub(super) recover: Seq,
    /// The window is not reduced for a mark before this is acknowledged.
    pub(super) reduced: Seq,
    pub(super) prr: Prr,
    pub(super) rack: Rack,
    pub(super) probe: Option<Probe>,
    /// Window and threshold before the reduction.
    before: (u32, u32),
}

impl Loss {
    pub(super) const fn new(iss: Seq) -> Self {
        Self {
            phase: Phase::Open,
            frto: Frto::Off,
            dup_acks: 0,
            recover: iss,
            reduced: iss,
            prr: Prr::new(0),
            rack: Rack::new(iss),
            probe: None,
            before: (0, 0),
        }
    }

    /// Whether nothing is lost, suspected or probed.
    pub(super) fn is_calm(&self) -> bool {
        self.phase == Phase::Open && self.dup_acks == 0 && self.probe.is_none()
    }
}

impl Tcb {
    /// Bytes that are on their way (RFC 6675, section 4, pipe). Without SACK each duplicate ACK tells of a segment that left the network
    /// (RFC 5681, section 3.2).
    pub(super) fn pipe(&self) -> u32 {
        let gone = self.board.sacked().saturating_add(self.board.lost());
        let duplicates = if self.bits.contains(Bits::SACK) {
            0
        } else {
            u32::from(self.loss.dup_acks).saturating_mul(self.window.mss)
        };
        self.flight()
            .saturating_sub(gone)
            .saturating_sub(duplicates)
    }

    /// What an acknowledgment means for loss and window. `duplicate`: it is a duplicate ACK; `report`: it reports a duplicate segment.
    pub(super) fn after_acknowledgment(
        &mut self,
        delivered: &Delivered,
        duplicate: bool,
        report: bool,
        now: u64,
    ) {
        let advances = delivered.bytes > delivered.sacked;
        self.loss.rack.update(delivered, self.rtt.min(), now);
        if self.probe_answered(advances, report) {
            self.count(Count::LossProbeRecoveries, 1);
            self.reduce(now);
            self.take_threshold();
            self.loss.reduced = self.snd.nxt;
        }
        let limited = self.bits.contains(Bits::WINDOW_LIMITED);
        if advances {
            self.bits.remove(Bits::WINDOW_LIMITED);
        }
        if self.loss.phase == Phase::Open
            && !duplicate
            && self.board.sacked() == 0
            && self.loss.dup_acks == 0
        {
            // Most acknowledgments end here.
            self.loss.rack.due = u64::MAX;
            self.grow(delivered, limited, now);
            return;
        }
        let before = self.loss.dup_acks;
        if duplicate {
            self.loss.dup_acks = self.loss.dup_acks.saturating_add(1);
        } else if advances && self.loss.phase == Phase::Open {
            self.loss.dup_acks = 0;
        }
        if self.loss.phase != Phase::Open && self.snd.una.from(self.loss.recover) && advances {
            self.end_recovery();
        }
        self.step_frto(delivered, advances, duplicate);
        let further = self.find_losses(advances, now) > 0;
        if self.board.lost() > 0 && matches!(self.loss.phase, Phase::Open | Phase::Reduced) {
            self.begin_recovery(delivered.bytes, now);
        }
        match self.loss.phase {
            Phase::Recovery => {
                let count = self.delivered_count(delivered, duplicate, before);
                if self.control.is_bbr() {
                    // Its model says how large the window is.
                    return;
                }
                let (threshold, mss) = (self.window.threshold, self.window.mss);
                let safe = advances && !further;
                let pipe = self.pipe();
                self.window.size = self.loss.prr.window(count, safe, pipe, threshold, mss);
            }
            // F-RTO counts what it sends.
            Phase::Timeout if self.loss.frto != Frto::Off => {}
            Phase::Open | Phase::Timeout => self.grow(delivered, limited, now),
            Phase::Reduced => {}
        }
    }

    /// DeliveredData (RFC 9937, section 5): without SACK a duplicate ACK stands for a segment, which does not count a second time.
    fn delivered_count(&mut self, delivered: &Delivered, duplicate: bool, dup_acks: u8) -> u32 {
        if self.bits.contains(Bits::SACK) {
            return delivered.bytes;
        }
        if duplicate {
            return self.window.mss;
        }
        let told = u32::from(dup_acks).saturating_mul(self.window.mss);
        let left = told
            .saturating_sub(delivered.bytes)
            .checked_div(self.window.mss)
            .unwrap_or(0);
        self.loss.dup_acks = u8::try_from(left).unwrap_or(u8::MAX);
        delivered.bytes.saturating_sub(told).max(self.window.mss)
    }

    /// Takes for lost what this acknowledgment says; returns how many bytes.
    fn find_losses(&mut self, advances: bool, now: u64) -> u32 {
        if self.loss.phase == Phase::Timeout && self.loss.frto != Frto::Off {
            return 0;
        }
        if self.bits.contains(Bits::SACK) {
            let in_recovery = matches!(self.loss.phase, Phase::Recovery | Phase::Timeout);
            return self.detect_loss(in_recovery, now);
        }
        let mss = self.window.mss;
        match self.loss.phase {
            // RFC 6582, section 3.2, step 2; not for segments before the last recovery.
            Phase::Open | Phase::Reduced
                if self.loss.dup_acks == 3 && self.snd.una.from(self.loss.recover) =>
            {
                self.board.mark_first_lost(mss)
            }
            // Step 3: a partial acknowledgment.
            Phase::Recovery if advances => {
                let again = self
                    .board
                    .first()
                    .is_some_and(|part| part.fate.contains(Fate::RETRANSMITTED));
                if again {
                    0
                } else {
                    self.board.mark_first_lost(mss)
                }
            }
            _ => 0,
        }
    }

    /// The window grows, if it was used up (RFC 5681, section 3.1; RFC 7661, section 4).
    fn grow(&mut self, delivered: &Delivered, limited: bool, now: u64) {
        let acked = delivered.bytes.saturating_sub(delivered.sacked);
        if acked == 0 {
            return;
        }
        // In slow start the window may be twice what was in flight.
        let flight = self.flight().saturating_add(acked);
        let used =
            limited || (self.window.in_slow_start() && self.window.size < flight.saturating_mul(2));
        if used {
            let smoothed = self.rtt.smoothed().unwrap_or(0);
            self.control.acked(&mut self.window, acked, now, smoothed);
        }
    }

    /// A new threshold (RFC 5681, equation 4); what was before is kept.
    fn reduce(&mut self, _now: u64) {
        if self.loss.phase == Phase::Open {
            self.loss.before = (self.window.size, self.window.threshold);
        }
        let flight = self.flight();
        self.window.threshold = self.control.threshold(&self.window, flight);
        if self.bits.contains(Bits::ECN) {
            self.bits.insert(Bits::CWR_QUEUED);
        }
    }

    /// The window is as large as the threshold, for algorithms that have one.
    fn take_threshold(&mut self) {
        if !self.control.is_bbr() {
            self.window.size = self.window.threshold;
        }
    }

    /// `delivered`: bytes that arrived as the acknowledgment says which begins it.
    fn begin_recovery(&mut self, delivered: u32, now: u64) {
        if self.loss.phase != Phase::Reduced {
            self.reduce(now);
        }
        self.count(
            if self.bits.contains(Bits::SACK) {
                Count::SackRecoveries
            } else {
                Count::RenoRecoveries
            },
            1,
        );
        self.loss.phase = Phase::Recovery;
        self.loss.recover = self.snd.nxt;
        // RecoverFS (RFC 9937, section 6): what arrived before will not be delivered in recovery.
        let before = self.board.sacked();
        let flight = self.flight().saturating_sub(before);
        self.loss.prr = Prr::new(flight.saturating_add(delivered));
        self.loss.probe = None;
        let pipe = self.pipe();
        if let Some(bbr) = self.control.bbr() {
            bbr.enter_recovery(&mut self.window, pipe);
        }
    }

    fn end_recovery(&mut self) {
        if self.loss.phase == Phase::Recovery {
            // RFC 9937, section 6; RFC 6582, section 3.2, step 3.
            self.take_threshold();
            self.loss.rack.recovered();
        }
        if let Some(bbr) = self.control.bbr() {
            bbr.exit_recovery(&mut self.window);
        }
        self.loss.phase = Phase::Open;
        self.loss.frto = Frto::Off;
        self.loss.dup_acks = 0;
        self.loss.reduced = self.loss.recover;
    }

    /// The peer was told of congestion by a mark (RFC 3168, section 6.1.2): as for a loss, but nothing is sent again.
    pub(super) fn reduce_for_mark(&mut self) {
        if self.control.is_bbr() {
            // Its data is not ECN-capable: this is left from another algorithm, and the peer is told that it was seen.
            self.bits.insert(Bits::CWR_QUEUED);
            self.loss.reduced = self.snd.nxt;
            return;
        }
        self.reduce(0);
        self.count(Count::EcnReductions, 1);
        self.take_threshold();
        self.loss.phase = Phase::Reduced;
        self.loss.recover = self.snd.nxt;
        self.loss.reduced = self.snd.nxt;
    }

    /// The retransmission timer expired (RFC 5681, section 3.1; RFC 6298, section 5; RFC 6675, section 5.1).
    pub(super) fn on_timeout(&mut self, now: u64) {
        self.count(Count::Timeouts, 1);
        // RFC 5682, section 3.1: not when the loss of an earlier retransmission is suspected.
        let first = self.loss.phase == Phase::Open || self.loss.phase == Phase::Reduced;
        if self.loss.phase != Phase::Timeout {
            self.reduce(now);
            self.control.timed_out(&self.window);
        }
        let renege = self
            .board
            .first()
            .is_some_and(|part| part.fate.contains(Fate::SACKED));
        if renege {
            // RFC 2018, section 8: the peer may have dropped it.
            self.board.forget_sacks();
            self.count(Count::SackReneging, 1);
        }
        self.loss.frto = if first && self.bits.contains(Bits::SACK) && !renege {
            Frto::Sent
        } else {
            Frto::Off
        };
        self.loss.phase = Phase::Timeout;
        self.loss.recover = self.snd.nxt;
        self.loss.dup_acks = 0;
        self.loss.probe = None;
        self.loss.rack.due = u64::MAX;
        self.board.timed_out();
        // The loss window is one segment.
        self.window.size = self.window.mss;
        self.rtt.back_off();
        self.bits.remove(Bits::TAIL_PROBE_NOW);
        let rto = self.rtt.rto(self.times.max_rto);
        self.timers.retransmit_in(Retransmit::Timeout, now, rto);
    }

    /// RFC 5682, section 3.1, the SACK-enhanced algorithm.
    fn step_frto(&mut self, delivered: &Delivered, advances: bool, duplicate: bool) {
        match self.loss.frto {
            Frto::Off => {}
            // Step 3a: data sent before the timeout and not again arrived, so the timeout was for nothing.
            Frto::New if delivered.original => self.undo(),
            // Step 2a: nothing but a duplicate.
            Frto::Sent if duplicate && !advances => self.loss.frto = Frto::Off,
            Frto::Sent if advances => {
                // Step 2b: try with up to two new segments, if there are some and the window lets them.
                let unsent = self.end_of_data().since_or_zero(self.snd.nxt);
                let open = self.snd.una.plus(self.snd.wnd).after(self.snd.nxt);
                if unsent > 0 && open && self.state.sends() {
                    self.loss.frto = Frto::New;
                    self.window.size = self.window.mss.saturating_mul(2);
                } else {
                    self.loss.frto = Frto::Off;
                }
            }
            // Step 3b.
            Frto::New if duplicate => {
                self.loss.frto = Frto::Off;
                self.window.size = self.window.size.min(self.window.mss.saturating_mul(3));
            }
            _ => {}
        }
    }

    /// The reduction was for nothing (RFC 5682, section 3.1, step 3a; RFC 4015, section 3.2).
    fn undo(&mut self) {
        self.count(Count::SpuriousTimeouts, 1);
        self.board.undo_lost();
        let (size, threshold) = self.loss.before;
        self.window.size = self.window.size.max(size);
        self.window.threshold = self.window.threshold.max(threshold);
        self.control.undo(&mut self.window);
        self.loss.phase = Phase::Open;
        self.loss.frto = Frto::Off;
        self.loss.dup_acks = 0;
        self.loss.recover = self.snd.una;
        self.rtt.progress();
    }

    /// RACK's timer expired (RFC 8985, section 6.3).
    pub(super) fn on_reordering_timeout(&mut self, now: u64) {
        let in_recovery = matches!(self.loss.phase, Phase::Recovery | Phase::Timeout);
        let lost = self.detect_loss(in_recovery, now);
        if lost == 0 {
            return;
        }
        if matches!(self.loss.phase, Phase::Open | Phase::Reduced) {
            self.begin_recovery(0, now);
        }
        if self.loss.phase == Phase::Recovery && !self.control.is_bbr() {
            let (threshold, mss) = (self.window.threshold, self.window.mss);
            let pipe = self.pipe();
            self.window.size = self.loss.prr.window(0, false, pipe, threshold, mss);
        }
    }

    /// Whether new data goes before lost data (RFC 5682, step 2b).
    pub(super) fn prefers_new(&self) -> bool {
        self.loss.frto == Frto::New
    }

    /// A window that was closed is open: a probe that was not taken is sent again at once.
    pub(super) fn window_opened(&mut self, old: u32, now: u64) {
        if self.timers.kind() != Retransmit::Persist {
            return;
        }
        let usable = self.snd.una.plus(self.snd.wnd);
        if old == 0 || usable.after(self.snd.nxt) {
            self.rtt.progress();
            self.retries = 0;
            self.timers.stop_retransmit();
            if self.state != State::Closed && !self.board.is_empty() {
                self.board.mark_lost(|_| true);
                self.loss.phase = Phase::Timeout;
                self.loss.recover = self.snd.nxt;
            }
            self.arm_retransmit(now);
        }
    }
}
