//! Segments that leave (RFC 9293, section 3.8).

use super::{
    Count, Flags, Options, Sacks, Segment, Seq, State, Tcb, Timestamps, bytes_u32,
    congestion::initial_window, loss::Phase, scoreboard::Fate, tcb::Bits, timers::Retransmit,
};
use rumpnet::Chain;
use rumpuser::Instant;

/// What the one who transmits can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransmitLimit {
    /// Payload of one [`Outgoing`]; less than a segment counts as one segment.
    pub max_payload: usize,
}

/// A segment to be transmitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The segment.
    pub segment: Segment,
    /// A longer payload is to be cut into segments of this size.
    pub mss: u16,
    /// Mark the packet as of an ECN-capable transport, ECT(0) (RFC 3168, section 6.1.1).
    pub ect: bool,
}

/// What is to be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Lost data again.
    Again { start: Seq, len: u32 },
    /// New data, and FIN.
    New { len: u32, fin: bool },
}

impl Tcb {
    /// The next segment to transmit. To be called until there is none.
    pub fn poll_transmit(&mut self, now: Instant, limit: TransmitLimit) -> Option<Outgoing> {
        let now = now.0;
        if let Some((seq, ack)) = self.reset.take() {
            return Some(self.plain(reset_segment(seq, ack)));
        }
        match self.state {
            State::Closed => return None,
            State::SynSent | State::SynReceived if self.bits.contains(Bits::SYN_NOW) => {
                return Some(self.syn(now));
            }
            _ => {}
        }
        if self
            .bits
            .intersects(Bits::TAIL_PROBE_NOW | Bits::WINDOW_PROBE_NOW | Bits::KEEP_ALIVE_NOW)
            && let Some(probe) = self.probe(now)
        {
            return Some(probe);
        }
        let most = bytes_u32(limit.max_payload).min(self.control.quantum());
        if let Some(plan) = self.plan(most)
            && self.may_send_at(now)
        {
            return Some(match plan {
                Plan::Again { start, len } => self.again(start, len, now),
                Plan::New { len, fin } => self.fresh(len, fin, now),
            });
        }
        self.note_limits(now);
        if self.bits.contains(Bits::ACK_NOW) {
            let outgoing = self.acknowledge(self.snd.nxt, now);
            self.counters.sent_segments = self.counters.sent_segments.wrapping_add(1);
            return Some(outgoing);
        }
        None
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) should be called.
    #[must_use]
    #[inline(always)]
    pub fn has_output(&self) -> bool {
        const DUE: Bits = Bits::ACK_NOW
            .union(Bits::SYN_NOW)
            .union(Bits::TAIL_PROBE_NOW)
            .union(Bits::WINDOW_PROBE_NOW)
            .union(Bits::KEEP_ALIVE_NOW);
        self.bits.intersects(DUE)
            || self.reset.is_some()
            || self.has_more()
                && (!self.control.is_held() && self.plan(u32::MAX).is_some()
                    || self.needs_persist())
    }

    /// Whether data or FIN is left to be sent, or to be sent again.
    #[inline]
    fn has_more(&self) -> bool {
        self.unsent() > 0 || self.board.lost() > 0 || self.fin_pending()
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has nothing to give, and nothing to note of what holds it back.
    #[must_use]
    #[inline(always)]
    pub fn is_silent(&self) -> bool {
        self.unsent() == 0 && !self.fin_pending() && !self.has_output()
    }

    pub(super) fn may_send(&self) -> bool {
        self.state.sends()
            || (self.state == State::SynReceived
                && self.bits.contains(Bits::FAST_OPEN)
                && self.snd.nxt != self.snd.iss)
    }

    /// The right edge of the peer's window.
    pub(super) fn edge(&self) -> Seq {
        self.snd.una.plus(self.snd.wnd)
    }

    pub(super) fn unsent(&self) -> u32 {
        self.end_of_data().since_or_zero(self.snd.nxt)
    }

    pub(super) fn fin_pending(&self) -> bool {
        self.bits & (Bits::FIN_QUEUED | Bits::FIN_SENT) == Bits::FIN_QUEUED && self.state.sends()
    }

    /// Payload of a segment that has, besides, what is to be acknowledged selectively.
    pub(super) fn segment_size(&self) -> u32 {
        let ranges = self.sack_count();
        let sacks = if ranges == 0 {
            0
        } else {
            ranges.saturating_mul(8).saturating_add(4)
        };
        let timeout = if self.bits.contains(Bits::TELL_TIMEOUT_NOW) {
            4
        } else {
            0
        };
        self.full()
            .saturating_sub(sacks)
            .saturating_sub(timeout)
            .max(1)
    }

    fn sack_count(&self) -> u32 {
        if !self.bits.contains(Bits::SACK) {
            return 0;
        }
        let ranges = self
            .reassembly
            .as_deref()
            .map_or(0, super::reassembly::Reassembly::sack_count);
        let duplicate = usize::from(self.rcv.duplicate.is_some());
        let fit = if self.bits.contains(Bits::TIMESTAMPS) {
            3
        } else {
            4
        };
        bytes_u32(ranges.saturating_add(duplicate).min(fit))
    }

    pub(super) fn plan(&self, max: u32) -> Option<Plan> {
        if !self.has_more() || !self.may_send() {
            return None;
        }
        let size = self.segment_size();
        let max = max.max(size);
        let pipe = self.pipe();
        let room = self.window.size.saturating_sub(pipe);
        if self.board.lost() > 0 && !(self.prefers_new() && self.unsent() > 0) {
            let part = self.board.next_lost()?;
            let inside = part.start == self.snd.una || part.start.before(self.edge());
            let len = part.len().min(max);
            if !inside || (room < len.min(size) && pipe > 0) {
                return None;
            }
            // Whole segments, of one that is larger than the window permits.
            let len = if len > room {
                whole_segments(room, size).max(size).min(len)
            } else {
                len
            };
            let start = part.start;
            return Some(Plan::Again { start, len });
        }
        let unsent = self.unsent();
        let offered = self.edge().since_or_zero(self.snd.nxt);
        if unsent == 0 {
            let fin = self.fin_pending() && offered > 0;
            return fin.then_some(Plan::New { len: 0, fin });
        }
        let usable = offered.min(room);
        let len = unsent.min(usable).min(max);
        let len = if len < unsent {
            self.part_of_queue(len, size)?
        } else {
            self.end_of_queue(len, size)?
        };
        let fin = len == unsent && self.fin_pending() && offered > len;
        Some(Plan::New { len, fin })
    }

    /// The silly window syndrome (RFC 9293, section 3.8.6.2.1): full segments, or half of the largest window, when more data waits
    /// than can be sent.
    fn part_of_queue(&self, len: u32, size: u32) -> Option<u32> {
        if len >= size {
            return Some(whole_segments(len, size));
        }
        let idle = self.snd.una == self.snd.nxt;
        (len > 0 && idle && len >= self.snd.max_wnd / 2).then_some(len)
    }

    /// Nagle (RFC 9293, section 3.7.4), as Minshall refined it: a small segment waits while another small one is not acknowledged.
    fn end_of_queue(&self, len: u32, size: u32) -> Option<u32> {
        let full = whole_segments(len, size);
        if full == len {
            return Some(len);
        }
        let push = self.bits.contains(Bits::FIN_QUEUED) || self.snd.up.after(self.snd.nxt);
        let cork = self.bits.contains(Bits::CORK);
        let nagle = !self.bits.contains(Bits::NODELAY) && self.snd.small.after(self.snd.una);
        if (cork || nagle) && !push {
            return (full > 0).then_some(full);
        }
        Some(len)
    }

    /// Nothing more can be sent: why not?
    fn note_limits(&mut self, now: u64) {
        self.note_idleness();
        if (self.unsent() == 0 && !self.fin_pending()) || !self.may_send() {
            return;
        }
        if self.unsent() > 0 && self.window.size.saturating_sub(self.pipe()) < self.segment_size() {
            self.bits.insert(Bits::WINDOW_LIMITED);
        }
        if self.needs_persist() {
            self.rtt.progress();
            self.retries = 0;
            self.snd.progress = now;
            self.arm_retransmit(now);
        }
    }

    /// Whether data waits, nothing is in flight that would bring an acknowledgment, and no timer runs (RFC 9293, section 3.8.6.1).
    pub(super) fn needs_persist(&self) -> bool {
        self.timers.kind() == Retransmit::None && self.is_stuck()
    }

    pub(super) fn is_stuck(&self) -> bool {
        let waits = self.unsent() > 0 || self.fin_pending();
        waits
            && self.state.sends()
            && self.board.is_empty()
            && !self.is_corked()
            && self.plan(u32::MAX).is_none()
    }

    /// Whether it is the user who holds back what is left, and not the window.
    fn is_corked(&self) -> bool {
        self.bits & (Bits::CORK | Bits::FIN_QUEUED) == Bits::CORK
            && self.unsent() < self.segment_size()
            && !self.snd.up.after(self.snd.nxt)
    }

    /// New data.
    pub(super) fn fresh(&mut self, len: u32, fin: bool, now: u64) -> Outgoing {
        self.before_sending(now);
        let start = self.snd.nxt;
        let mut outgoing = self.data_segment(start, len, fin, now);
        outgoing.ect = self.bits.contains(Bits::ECN) && len > 0 && !self.control.is_bbr();
        if self.bits.contains(Bits::CWR_QUEUED) && len > 0 {
            // RFC 3168, section 6.1.2: in the first new data after the reduction.
            self.bits.remove(Bits::CWR_QUEUED);
            outgoing.segment.flags.insert(Flags::CWR);
        }
        self.note_sent(len, fin, outgoing.mss.into(), now);
        outgoing
    }

    /// New data is to be sent.
    pub(super) fn before_sending(&mut self, now: u64) {
        if self.board.is_empty() {
            self.snd.progress = now;
            self.restart_after_idle(now);
        }
    }

    /// The next data was sent, in segments of `size` bytes, and FIN.
    #[inline(always)]
    pub(super) fn note_sent(&mut self, len: u32, fin: bool, size: u32, now: u64) {
        let start = self.snd.nxt;
        let end = start.plus(len).plus(fin.into());
        if whole_segments(len, size) != len {
            self.snd.small = end;
        }
        let fate = if self.loss.phase == Phase::Timeout {
            Fate::AFTER_TIMEOUT
        } else {
            Fate::empty()
        };
        let time = self.send_time(now);
        self.tell_sent(self.board.is_empty(), time, len);
        self.board.sent(start, end, time, size, fate);
        self.snd.nxt = end;
        self.loss.prr.sent(len);
        self.counters.sent_bytes = self.counters.sent_bytes.saturating_add(len.into());
        if fin {
            self.bits.insert(Bits::FIN_SENT);
        }
        self.arm_after_sending(now);
    }

    /// Lost data again; it is not ECN-capable (RFC 3168, section 6.1.5).
    pub(super) fn again(&mut self, start: Seq, len: u32, now: u64) -> Outgoing {
        let size = self.segment_size();
        let time = self.send_time(now);
        self.tell_sent(false, time, len);
        self.board.resent(start, len, time);
        self.loss.prr.sent(len);
        self.note_again(len.div_ceil(size));
        let outgoing = self.data_segment_of(start, start.plus(len), now);
        if matches!(self.timers.kind(), Retransmit::None | Retransmit::Probe) {
            self.arm_retransmit(now);
        }
        outgoing
    }

    fn note_again(&mut self, segments: u32) {
        self.counters.retransmitted = self.counters.retransmitted.wrapping_add(segments);
        self.count(Count::RetransSegs, segments);
        if self.loss.phase == Phase::Recovery {
            self.count(Count::FastRetrans, segments);
        }
    }

    /// The time of sending. RACK orders by it, so no two are the same, even where the clock stands still.
    fn send_time(&mut self, now: u64) -> u64 {
        self.snd.last = now.max(self.snd.last.saturating_add(1));
        self.snd.last
    }

    /// Numbers that were sent before.
    pub(super) fn data_segment_of(&mut self, start: Seq, end: Seq, now: u64) -> Outgoing {
        let data_end = self.end_of_data();
        let fin = self.bits.contains(Bits::FIN_SENT) && end.after(data_end);
        let len = end.min(data_end).since_or_zero(start);
        self.data_segment(start, len, fin, now)
    }

    fn data_segment(&mut self, start: Seq, len: u32, fin: bool, now: u64) -> Outgoing {
        let mut outgoing = self.acknowledge(start, now);
        let segment = &mut outgoing.segment;
        if len > 0 {
            let offset = start.since_or_zero(self.snd.queued);
            let narrow = |len: u32| usize::try_from(len).unwrap_or(usize::MAX);
            segment.payload = self.sending.slice(narrow(offset), narrow(len));
            if start.plus(len) == self.end_of_data() {
                segment.flags.insert(Flags::PSH);
            }
        }
        segment.flags.set(Flags::FIN, fin);
        if self.bits.contains(Bits::URGENT_SENDING) {
            self.add_urgent_pointer(segment, start);
        }
        let count = len.div_ceil(u32::from(outgoing.mss).max(1)).max(1);
        self.counters.sent_segments = self.counters.sent_segments.wrapping_add(count);
        outgoing
    }

    /// RFC 9293, section 3.8.5; RFC 6093, section 4: the pointer names the number after the urgent data.
    fn add_urgent_pointer(&mut self, segment: &mut Segment, start: Seq) {
        if self.snd.up.after(start) {
            segment.flags.insert(Flags::URG);
            segment.urgent = u16::try_from(self.snd.up.since(start)).unwrap_or(u16::MAX);
        } else if self.snd.up.up_to(self.snd.una) {
            self.bits.remove(Bits::URGENT_SENDING);
        }
    }

    /// RFC 5681, section 4.1: after an idle time the window begins again.
    fn restart_after_idle(&mut self, now: u64) {
        let idle = now.saturating_sub(self.snd.last);
        // A model remembers what the path can take, and paces.
        if !self.control.is_bbr() && idle > self.rtt.rto(self.times.max_rto) {
            let restart = initial_window(self.window.mss, self.config.initial_window.max(1));
            self.window.size = self.window.size.min(restart);
            self.control.idle(self.snd.last, now);
        }
    }

    /// An acknowledgment of all that arrived, without data.
    pub(super) fn acknowledge(&mut self, seq: Seq, now: u64) -> Outgoing {
        let size = self.segment_size();
        let options = self.options(now);
        let window = self.note_acknowledged();
        let mut flags = Flags::empty();
        flags.set(Flags::ECE, self.bits.contains(Bits::ECN | Bits::ECHO_CE));
        Outgoing {
            segment: Segment {
                seq,
                ack: Some(self.rcv.nxt),
                flags,
                window,
                urgent: 0,
                options,
                payload: Chain::new(),
            },
            mss: u16::try_from(size).unwrap_or(u16::MAX),
            ect: false,
        }
    }

    /// All that arrived is acknowledged; the window to be said with that.
    #[inline(always)]
    pub(super) fn note_acknowledged(&mut self) -> u16 {
        self.bits.remove(Bits::ACK_NOW);
        self.timers.ack = u64::MAX;
        self.rcv.acked = self.rcv.nxt;
        self.offer()
    }

    fn options(&mut self, now: u64) -> Options {
        let mut options = Options::default();
        if self.bits.contains(Bits::TIMESTAMPS) {
            options.timestamps = Some(self.timestamps(now));
        }
        if self.rcv.duplicate.is_some() || self.reassembly.is_some() {
            let count = self.sack_count();
            options.sack = self.sacks();
            options
                .sack
                .truncate(u8::try_from(count).unwrap_or(u8::MAX));
        }
        if self.bits.contains(Bits::TELL_TIMEOUT_NOW) {
            self.bits.remove(Bits::TELL_TIMEOUT_NOW);
            options.user_timeout = Some(self.told_timeout());
        }
        options
    }

    /// RFC 2018, section 4, and RFC 2883, section 4: a duplicate is reported first, and once.
    fn sacks(&mut self) -> Sacks {
        let mut sacks = Sacks::default();
        if let Some((start, end)) = self.rcv.duplicate.take() {
            sacks.push(start, end);
        }
        if let Some(reassembly) = &self.reassembly {
            reassembly.sacks(self.ready.end(), self.rcv.nxt, &mut sacks);
        }
        sacks
    }

    pub(super) fn timestamps(&self, now: u64) -> Timestamps {
        Timestamps {
            value: self.timestamp(now),
            echo: self.rcv.ts_recent,
        }
    }

    pub(super) fn plain(&mut self, segment: Segment) -> Outgoing {
        self.counters.sent_segments = self.counters.sent_segments.wrapping_add(1);
        Outgoing {
            segment,
            mss: u16::try_from(self.full()).unwrap_or(u16::MAX),
            ect: false,
        }
    }

    /// The reset that ends this connection, if its state has one (RFC 9293, section 3.10.5).
    pub(super) fn reset_now(&mut self) -> Option<Outgoing> {
        let seq = self.snd.nxt;
        let ack = match self.state {
            State::Closed | State::SynSent | State::TimeWait => return None,
            _ => Some(self.rcv.nxt),
        };
        Some(self.plain(reset_segment(seq, ack)))
    }
}

fn reset_segment(seq: Seq, ack: Option<Seq>) -> Segment {
    Segment {
        seq,
        ack,
        flags: Flags::RST,
        ..Segment::default()
    }
}

/// The most whole segments of `size` in `len`.
const fn whole_segments(len: u32, size: u32) -> u32 {
    // Most data is less, and to divide takes longer than all the rest.
    if len < size {
        return 0;
    }
    match len.checked_rem(size) {
        Some(rest) => len.saturating_sub(rest),
        None => len,
    }
}
