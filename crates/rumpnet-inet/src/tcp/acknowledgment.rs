//! The acknowledgment in a segment (RFC 9293, section 3.10.7.4, fifth check).

use super::{
    Changes, Flags, Numbers, Segment, Seq, State, Tcb, scoreboard::Delivered, tcb::Bits,
    timers::Retransmit,
};

impl Tcb {
    /// Takes the ACK; false when the segment is to be dropped.
    pub(super) fn take_ack(
        &mut self,
        segment: &Segment,
        ack: Seq,
        now: u64,
        changes: &mut Changes,
    ) -> bool {
        if ack.after(self.snd.nxt) {
            // It acknowledges what was not sent.
            self.challenge(now);
            return false;
        }
        // RFC 5961, section 5.2: an old ACK is not older than the largest window.
        if ack.before(self.snd.una.minus(self.snd.max_wnd)) {
            self.challenge(now);
            return false;
        }
        let old_window = self.snd.wnd;
        let before = self.before_ack();
        let fresh = ack.from(self.snd.una);
        if fresh {
            self.update_window(&segment.numbers(), ack);
        }
        let outstanding = !self.board.is_empty();
        let advances = ack.after(self.snd.una);
        let mut delivered = Delivered::default();
        if advances {
            self.advance(ack, &mut delivered, &segment.numbers(), now, changes);
        }
        let duplicate_seen = self.take_sacks(segment, ack, &mut delivered);
        // RFC 5681, section 2.
        let is_duplicate = outstanding
            && ack == self.snd.una
            && !advances
            && segment.payload.is_empty()
            && !segment.flags.intersects(Flags::SYN | Flags::FIN)
            && (self.snd.wnd == old_window || delivered.sacked > 0);
        if outstanding || advances {
            if self.bits.contains(Bits::SACK) && duplicate_seen {
                self.on_duplicate_report(now);
            }
            self.after_acknowledgment(&delivered, is_duplicate, duplicate_seen, now);
            if let Some(before) = before {
                self.update_model(&before, &delivered, now);
            }
        }
        if self.timers.kind() == Retransmit::Persist {
            // RFC 9293, section 3.8.6.1, MUST-37: who answers probes lives. Where nobody is left who waits for it, it does so for as many probes as
            // there are retransmissions, and not for ever (RFC 6429, section 3).
            if !self.bits.contains(Bits::ORPHANED) {
                self.retries = 0;
                self.snd.progress = now;
            }
        }
        if fresh && self.snd.wnd > 0 {
            self.window_opened(old_window, now);
        }
        if advances || delivered.sacked > 0 {
            self.arm_retransmit(now);
        }
        self.after_fin(ack, now, changes);
        true
    }

    /// RFC 9293, section 3.10.7.4: SND.WND, SND.WL1 and SND.WL2.
    #[inline(always)]
    pub(super) fn update_window(&mut self, numbers: &Numbers, ack: Seq) {
        let newer = self.snd.wl1.before(numbers.seq)
            || (self.snd.wl1 == numbers.seq && self.snd.wl2.up_to(ack));
        if newer {
            self.snd.wnd = u32::from(numbers.window) << self.snd.scale;
            self.snd.max_wnd = self.snd.max_wnd.max(self.snd.wnd);
            self.snd.wl1 = numbers.seq;
            self.snd.wl2 = ack;
        }
    }

    /// SND.UNA moves to `ack`.
    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        ack: Seq,
        delivered: &mut Delivered,
        numbers: &Numbers,
        now: u64,
        changes: &mut Changes,
    ) {
        self.board.acknowledge(ack, delivered);
        let data = ack
            .since_or_zero(self.snd.queued)
            .min(super::bytes_u32(self.sending.len()));
        self.sending
            .advance(usize::try_from(data).unwrap_or(usize::MAX));
        self.snd.queued = self.snd.queued.plus(data);
        self.snd.una = ack;
        self.counters.acked_bytes = self.counters.acked_bytes.saturating_add(data.into());
        self.retries = 0;
        self.snd.progress = now;
        self.rcv.forward = now;
        self.measure(ack, delivered, numbers, now);
        if self.bits.contains(Bits::SEND_FULL) {
            self.tune_send();
            if self.send_room() >= self.send_low_water() {
                self.bits.remove(Bits::SEND_FULL);
                *changes |= Changes::WRITABLE;
            }
        }
    }

    /// RFC 6298, section 3 (Karn): data sent once is measured; with timestamps (RFC 7323, section 4.1) also data sent again, when the
    /// echo is that of the last time. An older one may answer an earlier sending, or this one after the loss of an ACK, and then is no
    /// round trip. Without a measurement the timeout stays backed off (RFC 6298, section 5).
    #[inline(always)]
    fn measure(&mut self, ack: Seq, delivered: &Delivered, numbers: &Numbers, now: u64) {
        let rtt = match (delivered.once, delivered.newest, numbers.timestamps) {
            (Some(sent), ..) if !delivered.retransmitted => now.saturating_sub(sent),
            (_, Some(newest), Some(timestamps))
                if self.bits.contains(Bits::TIMESTAMPS)
                    && timestamps.echo == self.timestamp(newest.time) =>
            {
                now.saturating_sub(newest.time)
            }
            _ => return,
        };
        let smooth = ack.after(self.snd.measured);
        if smooth {
            self.snd.measured = self.snd.nxt;
        }
        let (min, max) = (self.times.min_rto, self.times.max_rto);
        self.rtt.measure(rtt, smooth, min, max);
    }

    /// SACK ranges (RFC 2018, RFC 6675). Returns whether the first one reports a duplicate (RFC 2883, section 4).
    fn take_sacks(&mut self, segment: &Segment, ack: Seq, delivered: &mut Delivered) -> bool {
        if !self.bits.contains(Bits::SACK) || segment.options.sack.is_empty() {
            return false;
        }
        let mut duplicate = false;
        let mut first: Option<(Seq, Seq)> = None;
        let full = self.full();
        for (index, (start, end)) in segment.options.sack.iter().enumerate() {
            if !start.before(end) {
                continue;
            }
            if index == 0 {
                first = Some((start, end));
                if end.up_to(ack) && start.from(ack.minus(self.snd.max_wnd.max(1))) {
                    duplicate = true;
                    continue;
                }
            } else if index == 1
                && let Some((from, to)) = first
                && from.from(start)
                && to.up_to(end)
            {
                duplicate = true;
            }
            // Only what is in flight counts.
            if start.before(self.snd.una) || end.after(self.snd.nxt) {
                continue;
            }
            self.board.sack(start, end, full, delivered);
        }
        duplicate
    }

    /// Our FIN was acknowledged, perhaps: the next state.
    fn after_fin(&mut self, ack: Seq, now: u64, changes: &mut Changes) {
        let acknowledged = self.bits.contains(Bits::FIN_SENT)
            && ack == self.snd.nxt
            && self.snd.una == self.snd.nxt;
        if !acknowledged {
            return;
        }
        match self.state {
            State::FinWait1 => {
                *changes |= Changes::FIN_ACKNOWLEDGED;
                self.state = State::FinWait2;
                if self.bits.contains(Bits::ORPHANED) {
                    self.arm_fin_wait(now);
                }
            }
            State::Closing => {
                *changes |= Changes::FIN_ACKNOWLEDGED;
                self.enter_time_wait(now, changes);
            }
            State::LastAck => self.finish_with(None, changes),
            _ => {}
        }
    }

    pub(super) fn enter_time_wait(&mut self, now: u64, changes: &mut Changes) {
        self.state = State::TimeWait;
        self.timers.stop_retransmit();
        self.reassembly = None;
        self.arm_time_wait(now);
        *changes |= Changes::TIME_WAIT;
    }
}
