//! The data of a segment: in order, out of order, urgent, and its end.

use super::{
    Changes, Count, Flags, Segment, Seq, State, Tcb, bytes_u32, reassembly::Reassembly, tcb::Bits,
};
use alloc::boxed::Box;
use rumpnet::Chain;

impl Tcb {
    /// Data and FIN of a segment that passed all checks (RFC 9293, section 3.10.7.4, seventh and eighth).
    pub(super) fn take_data(
        &mut self,
        mut seq: Seq,
        mut payload: Chain,
        fin: bool,
        now: u64,
        changes: &mut Changes,
    ) {
        if !self.state.receives() {
            // The peer said before that there is no more, or sends it again.
            self.bits.insert(Bits::ACK_NOW);
            if self.state == State::TimeWait && fin {
                self.arm_time_wait(now);
            }
            return;
        }
        if seq.before(self.rcv.nxt) {
            let old = self.rcv.nxt.since(seq).min(bytes_u32(payload.len()));
            if old > 0 {
                self.report_duplicate(seq, seq.plus(old));
                payload.advance(usize::try_from(old).unwrap_or(usize::MAX));
                seq = seq.plus(old);
                self.bits.insert(Bits::ACK_NOW);
            }
            if seq.before(self.rcv.nxt) {
                // A FIN of the past.
                return;
            }
        }
        // A FIN that was there before is the end, whatever comes behind it.
        let end = self.rcv.fin.unwrap_or(self.rcv.edge).min(self.rcv.edge);
        let room = end.since_or_zero(seq);
        let mut fin = fin;
        if bytes_u32(payload.len()) > room {
            payload.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            fin = false;
            self.bits.insert(Bits::ACK_NOW);
        }
        if !payload.is_empty() && self.bits.contains(Bits::ORPHANED) {
            // RFC 9293, section 3.6.1 (RFC 1122, section 4.2.2.13): data that nobody will read is answered with a reset.
            self.reset = Some((self.snd.nxt, Some(self.rcv.nxt)));
            self.finish_with(None, changes);
            return;
        }
        if fin {
            let number = seq.plus(bytes_u32(payload.len()));
            // The first one counts; another place for it would be a lie.
            self.rcv.fin.get_or_insert(number);
        }
        if seq == self.rcv.nxt {
            if !payload.is_empty() {
                self.take_next(payload, now, changes);
            }
        } else if !payload.is_empty() {
            self.take_later(seq, payload);
        } else {
            self.bits.insert(Bits::ACK_NOW);
        }
        if self.rcv.fin.is_some_and(|fin| fin.up_to(self.rcv.nxt)) {
            self.take_fin(now, changes);
        }
    }

    /// The data that comes next.
    pub(super) fn take_next(&mut self, payload: Chain, now: u64, changes: &mut Changes) {
        let len = bytes_u32(payload.len());
        self.ready.push(payload);
        self.took_next(len, now, changes);
    }

    /// The next `len` bytes are there.
    #[inline(always)]
    pub(super) fn took_next(&mut self, len: u32, now: u64, changes: &mut Changes) {
        let mut moved = 0;
        self.rcv.forward = now;
        if let Some(reassembly) = &mut self.reassembly {
            moved = reassembly.drain_into(&mut self.ready);
            if reassembly.is_empty() {
                self.reassembly = None;
            }
            // RFC 5681, section 4.2: a segment that fills a gap is acknowledged at once.
            self.bits.insert(Bits::ACK_NOW);
        }
        self.arrived(len.saturating_add(moved), changes);
        self.tune_receive(now);
        self.delay_ack(len, now);
    }

    #[inline(always)]
    fn arrived(&mut self, len: u32, changes: &mut Changes) {
        self.rcv.nxt = self.rcv.nxt.plus(len);
        self.counters.received_bytes = self.counters.received_bytes.saturating_add(len.into());
        if self.bits.contains(Bits::READ_SHUT) {
            let all = self.ready.len();
            self.ready.advance(all);
            return;
        }
        if self.bits.contains(Bits::URGENT_RECEIVING) {
            self.take_urgent_byte(changes);
        }
        *changes |= Changes::READABLE;
    }

    /// Data after a gap is kept, and acknowledged at once (RFC 5681, section 4.2).
    fn take_later(&mut self, seq: Seq, payload: Chain) {
        self.bits.insert(Bits::ACK_NOW);
        self.count(Count::OutOfOrder, 1);
        let place = self
            .ready
            .end()
            .saturating_add(seq.since(self.rcv.nxt).into());
        let buffer = usize::try_from(self.rcv.buffer).unwrap_or(usize::MAX);
        let reassembly = self
            .reassembly
            .get_or_insert_with(Box::<Reassembly>::default);
        let duplicate = reassembly.insert(place, payload, buffer);
        if reassembly.is_empty() {
            self.reassembly = None;
        }
        if let Some((start, end)) = duplicate {
            let number = |at: u64| {
                let after = at.saturating_sub(self.ready.end());
                self.rcv.nxt.plus(u32::try_from(after).unwrap_or(u32::MAX))
            };
            let (start, end) = (number(start), number(end));
            self.report_duplicate(start, end);
        }
    }

    fn report_duplicate(&mut self, start: Seq, end: Seq) {
        if self.bits.contains(Bits::SACK) {
            self.rcv.duplicate = Some((start, end));
        }
    }

    /// RFC 9293, section 3.8.6.3 (RFC 1122, section 4.2.3.2): every second full segment is acknowledged at once, else within the
    /// time of the delayed ACK.
    #[inline(always)]
    fn delay_ack(&mut self, len: u32, now: u64) {
        if len > u32::from(self.rcv.mss) {
            // What is longer is several segments that came joined. Of two of them it would take a third to be acknowledged if the options that
            // each has were counted.
            let most = self.payload_of(self.rcv.mss_said);
            let seen = u16::try_from(len.min(most)).unwrap_or(u16::MAX);
            self.rcv.mss = seen.max(self.rcv.mss);
        }
        let pending = self.rcv.nxt.since(self.rcv.acked);
        if pending >= u32::from(self.rcv.mss).saturating_mul(2) {
            self.bits.insert(Bits::ACK_NOW);
        } else if !self.bits.contains(Bits::ACK_NOW) {
            let due = now.saturating_add(self.times.delayed_ack);
            self.timers.ack = self.timers.ack.min(due);
        }
    }

    /// FIN is the next number.
    fn take_fin(&mut self, now: u64, changes: &mut Changes) {
        self.rcv.nxt = self.rcv.nxt.plus(1);
        self.rcv.fin = None;
        self.reassembly = None;
        self.bits.insert(Bits::FIN_RECEIVED | Bits::ACK_NOW);
        *changes |= Changes::PEER_CLOSED | Changes::READABLE;
        match self.state {
            State::Established => self.state = State::CloseWait,
            // An acknowledged FIN made it FIN-WAIT-2 before.
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(now, changes),
            _ => {}
        }
    }

    /// The urgent pointer (RFC 9293, section 3.8.5; RFC 6093): it names the number after the urgent data.
    pub(super) fn take_urgent_pointer(
        &mut self,
        segment: &Segment,
        seq: Seq,
        changes: &mut Changes,
    ) {
        if !segment.flags.contains(Flags::URG) || segment.urgent == 0 || !self.state.receives() {
            return;
        }
        let up = seq.plus(segment.urgent.into());
        if !up.after(self.rcv.up)
            || !up.after(self.rcv.nxt)
            || up.since(self.rcv.nxt) > self.rcv.buffer.max(0xffff)
        {
            return;
        }
        self.rcv.up = up;
        let place = self
            .ready
            .end()
            .saturating_add(up.since(self.rcv.nxt).into());
        let rare = self.rare();
        rare.mark = Some(place.saturating_sub(1));
        rare.urgent = None;
        self.bits.insert(Bits::URGENT_RECEIVING);
        *changes |= Changes::URGENT;
    }

    /// The urgent byte has arrived, perhaps: POSIX takes it out of the stream unless it is wanted in it.
    fn take_urgent_byte(&mut self, changes: &mut Changes) {
        let Some(mark) = self.path.as_deref().and_then(|rare| rare.mark) else {
            return;
        };
        if mark >= self.ready.end() || mark < self.ready.head() {
            return;
        }
        let offset = usize::try_from(mark.saturating_sub(self.ready.head())).unwrap_or(usize::MAX);
        let mut byte = [0];
        if self.ready.copy_to(offset, &mut byte) == 1 {
            let [byte] = byte;
            self.rare().urgent = Some(byte);
            *changes |= Changes::URGENT;
        }
    }
}
