//! Segments that a timer asks for: probes of a tail, of a closed window, of an idle peer.

use super::{Count, Flags, Outgoing, Tcb, rack::Probe, tcb::Bits, timers::Retransmit};

impl Tcb {
    /// What a timer asked for.
    pub(super) fn probe(&mut self, now: u64) -> Option<Outgoing> {
        if self.bits.contains(Bits::TAIL_PROBE_NOW) {
            self.bits.remove(Bits::TAIL_PROBE_NOW);
            return self.tail_probe(now);
        }
        if self.bits.contains(Bits::WINDOW_PROBE_NOW) {
            self.bits.remove(Bits::WINDOW_PROBE_NOW);
            return self.window_probe(now);
        }
        self.bits.remove(Bits::KEEP_ALIVE_NOW);
        self.count(Count::KeepAlives, 1);
        // RFC 9293, section 3.8.4: a number that the peer has acknowledged, so that it answers.
        let outgoing = self.acknowledge(self.snd.una.minus(1), now);
        self.counters.sent_segments = self.counters.sent_segments.wrapping_add(1);
        Some(outgoing)
    }

    /// RFC 8985, section 7.3: new data if there is some, else the last segment again.
    fn tail_probe(&mut self, now: u64) -> Option<Outgoing> {
        if !self.may_send() || self.board.is_empty() {
            return None;
        }
        self.count(Count::LossProbes, 1);
        let size = self.segment_size();
        let offered = self.edge().since_or_zero(self.snd.nxt);
        let len = self.unsent().min(size);
        let outgoing = if len > 0 && len <= offered {
            self.fresh(len, false, now)
        } else {
            let last = *self.board.last()?;
            let len = last.len().min(size);
            self.again(last.end.minus(len), len, now)
        };
        let again = self.snd.nxt != outgoing.segment.end() || len == 0 || len > offered;
        self.loss.probe = Some(Probe {
            end: self.snd.nxt,
            again,
        });
        // Not one probe after the other (RFC 8985, section 7.2).
        let rto = self.rtt.rto(self.times.max_rto);
        self.timers.retransmit_in(Retransmit::Timeout, now, rto);
        Some(outgoing)
    }

    /// RFC 9293, section 3.8.6.1: one byte beyond the window, or what fits into a window too small for a segment.
    fn window_probe(&mut self, now: u64) -> Option<Outgoing> {
        if !self.may_send() {
            return None;
        }
        self.count(Count::WindowProbes, 1);
        let kind = Retransmit::Persist;
        let rto = self.rtt.rto(self.times.max_rto);
        if let Some(first) = self.board.first() {
            let (start, end) = (first.start, first.end);
            return Some(self.data_segment_of(start, start.plus(1).min(end), now));
        }
        let offered = self
            .edge()
            .since_or_zero(self.snd.nxt)
            .min(self.segment_size());
        let len = self.unsent().min(offered.max(1));
        let fin = len == 0 && self.fin_pending();
        if len == 0 && !fin {
            return None;
        }
        let reduced = self.bits & Bits::CWR_QUEUED;
        let mut outgoing = self.fresh(len, fin, now);
        // RFC 3168, section 6.1.6: neither ECT nor CWR, since nobody would hear of the loss of a probe.
        outgoing.ect = false;
        outgoing.segment.flags.remove(Flags::CWR);
        self.bits.insert(reduced);
        self.timers.retransmit_in(kind, now, rto);
        Some(outgoing)
    }
}
