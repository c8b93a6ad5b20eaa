//! A segment arrives (RFC 9293, section 3.10.7.4).

use super::{
    Changes, Count, Flags, Numbers, Segment, Seq, State, Tcb, loss::Phase, scoreboard::Delivered,
    tcb::Bits, timers::Retransmit,
};
use rumpuser::{Errno, Instant};

/// Timestamps older than this say nothing (RFC 7323, section 5.5): 24 days.
const TS_OUTDATED: u64 = 24 * 24 * 3600 * 1_000_000_000;
/// Challenge ACKs in an interval (RFC 5961, section 7).
const CHALLENGES_MAX: u8 = 10;
const CHALLENGE_INTERVAL: u64 = 1_000_000_000;

impl Tcb {
    /// A segment of this connection arrived. `ce` tells that the packet was marked by congestion (RFC 3168).
    pub fn on_segment(&mut self, mut segment: Segment, ce: bool, now: Instant) -> Changes {
        self.take_segment(&mut segment, ce, now)
    }

    /// The same; takes the data out of the segment.
    pub(crate) fn take_segment(
        &mut self,
        segment: &mut Segment,
        ce: bool,
        now: Instant,
    ) -> Changes {
        let now = now.0;
        let mut changes = Changes::empty();
        self.counters.received_segments = self.counters.received_segments.wrapping_add(1);
        match self.state {
            State::Closed => {}
            State::SynSent => {
                let segment = core::mem::take(segment);
                self.input_syn_sent(segment, now, &mut changes);
            }
            _ => {
                let (numbers, len) = (segment.numbers(), segment.payload.len());
                let more =
                    !segment.options.sack.is_empty() || segment.options.user_timeout.is_some();
                if !more && self.is_predicted(&numbers, len, ce) {
                    self.input_predicted(&numbers, len, now, &mut changes);
                    if len > 0 {
                        let payload = core::mem::take(&mut segment.payload);
                        self.take_next(payload, now, &mut changes);
                    }
                } else {
                    self.input(segment, ce, now, &mut changes);
                }
            }
        }
        self.finish(changes)
    }

    /// A segment without other options and its data, of few bytes, if it is what comes nearly always. Else nothing is done.
    #[inline(always)]
    pub(crate) fn take_predicted(
        &mut self,
        numbers: &Numbers,
        data: &[u8],
        ce: bool,
        now: Instant,
    ) -> Option<Changes> {
        let (len, now) = (data.len(), now.0);
        if !self.is_predicted(numbers, len, ce) {
            return None;
        }
        let mut changes = Changes::empty();
        self.counters.received_segments = self.counters.received_segments.wrapping_add(1);
        self.input_predicted(numbers, len, now, &mut changes);
        if len > 0 {
            self.ready.push_bytes(data);
            self.took_next(super::bytes_u32(len), now, &mut changes);
        }
        Some(self.finish(changes))
    }

    /// Whether a segment is what comes nearly always: the next data, of `len` bytes, or an acknowledgment of new data, when nothing is lost.
    #[inline(always)]
    fn is_predicted(&self, numbers: &Numbers, len: usize, ce: bool) -> bool {
        let Some(ack) = numbers.ack else {
            return false;
        };
        let len = super::bytes_u32(len);
        let timestamp = match numbers.timestamps {
            _ if !self.bits.contains(Bits::TIMESTAMPS) => true,
            Some(timestamps) => !ts_before(timestamps.value, self.rcv.ts_recent),
            None => false,
        };
        timestamp
            && self.state == State::Established
            && (numbers.flags | Flags::PSH) == Flags::PSH
            && !ce
            && numbers.seq == self.rcv.nxt
            && self.loss.is_calm()
            && self.board.sacked() == 0
            && self.reassembly.is_none()
            && self.rcv.fin.is_none()
            && ack.from(self.snd.una)
            && ack.up_to(self.snd.nxt)
            && len <= self.rcv.edge.since_or_zero(self.rcv.nxt)
            && !self
                .bits
                .intersects(Bits::READ_SHUT | Bits::ORPHANED | Bits::URGENT_RECEIVING)
            && self.timers.kind() != Retransmit::Persist
            && (len > 0 || ack != self.snd.una)
    }

    /// The straight way for such a segment, up to its data.
    #[inline(always)]
    fn input_predicted(&mut self, numbers: &Numbers, len: usize, now: u64, changes: &mut Changes) {
        self.update_ts_recent(numbers, now);
        self.heard(now);
        let ack = numbers.ack.unwrap_or(self.snd.una);
        self.update_window(numbers, ack);
        if ack != self.snd.una {
            let mut delivered = Delivered::default();
            let before = self.before_ack();
            self.advance(ack, &mut delivered, numbers, now, changes);
            self.after_acknowledgment(&delivered, false, false, now);
            if let Some(before) = before {
                self.update_model(&before, &delivered, now);
            }
            self.arm_retransmit(now);
        }
        if len > 0 {
            self.measure_receiver(numbers, len, now);
        }
    }

    /// Every other segment, in the order of RFC 9293, section 3.10.7.4.
    fn input(&mut self, segment: &mut Segment, ce: bool, now: u64, changes: &mut Changes) {
        let rst = segment.flags.contains(Flags::RST);
        // RFC 7323, section 5.3, R1: PAWS.
        if self.bits.contains(Bits::TIMESTAMPS) && !rst && !self.check_timestamps(segment, now) {
            return;
        }
        // First, the sequence number.
        if !self.is_acceptable(segment) {
            self.unacceptable(segment, now);
            return;
        }
        // Second, RST (RFC 5961, section 3.2).
        if rst {
            if segment.seq == self.rcv.nxt {
                self.was_reset(changes);
            } else {
                self.challenge(now);
            }
            return;
        }
        // Fourth, SYN (RFC 5961, section 4.2).
        if segment.flags.contains(Flags::SYN) {
            if self.state == State::SynReceived && segment.seq == self.rcv.irs {
                self.input_simultaneous(segment, now, changes);
            } else {
                self.challenge(now);
            }
            return;
        }
        // Fifth, ACK.
        let Some(ack) = segment.ack else {
            return;
        };
        if self.state == State::SynReceived {
            if !ack.after(self.snd.una) || !ack.up_to(self.snd.nxt) {
                self.reset = Some((ack, None));
                return;
            }
            let scaled = u32::from(segment.window) << self.snd.scale;
            self.snd.wnd = scaled;
            self.snd.max_wnd = scaled;
            self.snd.wl1 = segment.seq;
            self.snd.wl2 = ack;
            self.establish_passively(ack, now, changes);
        }
        self.heard(now);
        self.take_user_timeout(&segment.options);
        if !self.take_ack(segment, ack, now, changes) {
            return;
        }
        // Only now: who guesses no acknowledgment (RFC 5961, section 5) shall not have later segments be too old.
        self.update_ts_recent(&segment.numbers(), now);
        if self.state == State::Closed {
            return;
        }
        self.take_congestion_marks(segment, ce);
        // Sixth, URG; seventh, data; eighth, FIN.
        self.take_urgent_pointer(segment, segment.seq, changes);
        let fin = segment.flags.contains(Flags::FIN);
        if fin || !segment.payload.is_empty() {
            let payload = core::mem::take(&mut segment.payload);
            self.take_data(segment.seq, payload, fin, now, changes);
        }
    }

    /// A segment of the peer proves that it lives.
    fn heard(&mut self, now: u64) {
        self.rcv.last = now;
        self.keep_probes = 0;
    }

    /// SYN-RECEIVED, and SYN comes again: the answer was lost, or this is the other half of a simultaneous open.
    fn input_simultaneous(&mut self, segment: &Segment, now: u64, changes: &mut Changes) {
        if let Some(ack) = segment.ack
            && !self.bits.contains(Bits::PASSIVE)
            && ack == self.snd.nxt
        {
            self.snd.wnd = segment.window.into();
            self.snd.max_wnd = self.snd.wnd;
            self.establish_passively(ack, now, changes);
            self.bits.remove(Bits::SYN_NOW);
            self.bits.insert(Bits::ACK_NOW);
        } else if self.timers.syn_may_repeat(now) {
            self.bits.insert(Bits::SYN_NOW | Bits::SYN_RESENT);
        }
    }

    fn establish_passively(&mut self, ack: Seq, now: u64, changes: &mut Changes) {
        let up_to = if self.board.is_empty() {
            ack
        } else {
            // Data of fast open is acknowledged like any other.
            self.snd.iss.plus(1)
        };
        self.establish(up_to, now, changes);
        self.arm_retransmit(now);
        if !self.ready.is_empty() {
            *changes |= Changes::READABLE;
        }
    }

    /// RFC 7323, section 5.3, R1, and section 3.2 for a segment without timestamp.
    fn check_timestamps(&mut self, segment: &Segment, now: u64) -> bool {
        let Some(timestamps) = segment.options.timestamps else {
            return false;
        };
        if !ts_before(timestamps.value, self.rcv.ts_recent) {
            return true;
        }
        if now.saturating_sub(self.rcv.ts_time) > TS_OUTDATED {
            return true;
        }
        self.count(Count::PawsRejected, 1);
        self.repeat_ack(segment, now);
        false
    }

    /// RFC 7323, section 4.3, (2): only segments at the left edge count, so that a delayed ACK echoes the oldest.
    fn update_ts_recent(&mut self, numbers: &Numbers, now: u64) {
        if let Some(timestamps) = numbers.timestamps
            && self.bits.contains(Bits::TIMESTAMPS)
            && numbers.seq.up_to(self.rcv.acked)
        {
            self.rcv.ts_recent = timestamps.value;
            self.rcv.ts_time = now;
        }
    }

    /// RFC 9293, section 3.10.7.4, table 6. With a closed window a segment at RCV.NXT passes for the sake of its ACK; its data is
    /// cut off (MUST-66).
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let (next, edge) = (self.rcv.nxt, self.rcv.edge);
        if self.state == State::SynReceived && segment.flags.contains(Flags::SYN) {
            return segment.seq == self.rcv.irs
                || (segment.seq.from(next) && segment.seq.before(edge));
        }
        let inside = |seq: Seq| seq.from(next) && seq.before(edge);
        if segment.seq == next {
            return true;
        }
        let end = segment.end();
        if end == segment.seq {
            // An ACK at the right edge is from a peer that filled the window.
            return inside(segment.seq) || (segment.seq == edge && segment.seq.after(next));
        }
        inside(segment.seq) || inside(end.minus(1))
    }

    fn unacceptable(&mut self, segment: &Segment, now: u64) {
        if segment.flags.contains(Flags::RST) {
            return;
        }
        if self.state == State::TimeWait && segment.flags.contains(Flags::FIN) {
            // RFC 9293, section 3.10.7.4: the peer sends its FIN again, the time starts again.
            self.arm_time_wait(now);
        }
        if !segment.payload.is_empty()
            && segment.seq.before(self.rcv.nxt)
            && self.bits.contains(Bits::SACK)
        {
            // RFC 2883, section 4: the whole segment is a duplicate.
            self.rcv.duplicate = Some((segment.seq, segment.end().min(self.rcv.nxt)));
        }
        self.repeat_ack(segment, now);
    }

    /// Answers with an acknowledgment of what there is. Those without data are limited, so that two hosts that contradict each
    /// other do not do so for ever.
    fn repeat_ack(&mut self, segment: &Segment, now: u64) {
        if segment.payload.is_empty() && !segment.flags.contains(Flags::FIN) {
            self.challenge(now);
        } else {
            self.bits.insert(Bits::ACK_NOW);
        }
    }

    /// A challenge ACK (RFC 5961), unless there were too many.
    pub(super) fn challenge(&mut self, now: u64) {
        if now.saturating_sub(self.challenge_time) >= CHALLENGE_INTERVAL {
            self.challenge_time = now;
            self.challenges = 0;
        }
        if self.challenges < CHALLENGES_MAX {
            self.challenges = self.challenges.saturating_add(1);
            self.count(Count::ChallengeAcks, 1);
            self.bits.insert(Bits::ACK_NOW);
        } else {
            self.count(Count::ChallengesLimited, 1);
        }
    }

    fn was_reset(&mut self, changes: &mut Changes) {
        let error = match self.state {
            State::SynReceived if !self.bits.contains(Bits::PASSIVE) => {
                *changes |= Changes::REFUSED;
                Some(Errno::ECONNREFUSED)
            }
            State::Closing | State::LastAck | State::TimeWait => None,
            State::CloseWait => {
                *changes |= Changes::RESET;
                Some(Errno::EPIPE)
            }
            _ => {
                *changes |= Changes::RESET;
                Some(Errno::ECONNRESET)
            }
        };
        self.finish_with(error, changes);
    }

    /// RFC 3168, sections 6.1.2 and 6.1.3.
    fn take_congestion_marks(&mut self, segment: &Segment, ce: bool) {
        if !self.bits.contains(Bits::ECN) {
            return;
        }
        if segment.flags.contains(Flags::CWR) {
            self.bits.remove(Bits::ECHO_CE);
        }
        if ce {
            self.bits.insert(Bits::ECHO_CE);
        }
        if segment.flags.contains(Flags::ECE)
            && self.loss.phase == Phase::Open
            && self.snd.una.after(self.loss.reduced)
        {
            self.reduce_for_mark();
        }
    }
}

/// Whether a timestamp is older than another (RFC 7323, section 5.2).
pub(super) const fn ts_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}
