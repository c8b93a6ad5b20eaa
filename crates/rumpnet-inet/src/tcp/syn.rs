//! SYN, and the answer to it, as they leave (RFC 9293, section 3.5).

use super::{
    Count, Flags, Outgoing, Segment, State, Tcb, options::OPTIONS_MAX, tcb::Bits,
    timers::Retransmit,
};
use rumpuser::Instant;

impl Tcb {
    /// SYN, or the answer to it, if that is the next segment to transmit and has no data. What [`poll_transmit`](Self::poll_transmit) would give
    /// out is the same.
    pub(crate) fn plain_syn(&mut self, now: Instant) -> Option<Segment> {
        let due = matches!(self.state, State::SynSent | State::SynReceived)
            && self.bits.contains(Bits::SYN_NOW)
            && self.reset.is_none();
        // Fast open has data perhaps.
        (due && self.path.is_none()).then(|| self.syn(now.0).segment)
    }

    /// SYN, or the answer to it.
    pub(super) fn syn(&mut self, now: u64) -> Outgoing {
        self.bits.remove(Bits::SYN_NOW);
        let answer = self.state == State::SynReceived;
        let resent = self.bits.contains(Bits::SYN_RESENT);
        if resent {
            self.counters.retransmitted = self.counters.retransmitted.wrapping_add(1);
            self.count(Count::RetransSegs, 1);
            self.count(Count::SynRetrans, 1);
        }
        let mut segment = Segment {
            seq: self.snd.iss,
            ack: answer.then_some(self.rcv.nxt),
            flags: Flags::SYN,
            window: u16::try_from(self.rcv.buffer).unwrap_or(u16::MAX),
            ..Segment::default()
        };
        let options = &mut segment.options;
        options.mss = Some(self.rcv.mss_said);
        let scaling = self.bits.contains(Bits::SCALING);
        options.window_scale = scaling.then_some(self.config.window_scale());
        options.sack_permitted = self.bits.contains(Bits::SACK);
        if self.bits.contains(Bits::TIMESTAMPS) {
            options.timestamps = Some(self.timestamps(now));
        }
        // RFC 7413, section 4.1.3: a SYN that is sent again is an ordinary one.
        if !resent {
            options.fast_open = self.path.as_deref().and_then(|path| path.fast_open);
        }
        if self.bits.contains(Bits::TELL_TIMEOUT) {
            options.user_timeout = Some(self.told_timeout());
        }
        if self.bits.contains(Bits::ECN) && !resent {
            // RFC 3168, section 6.1.1; after a loss without, since something on the way may drop it (section 6.1.1.1).
            segment.flags |= if answer {
                Flags::ECE
            } else {
                Flags::ECE | Flags::CWR
            };
        }
        if self.snd.nxt == self.snd.iss {
            self.snd.nxt = self.snd.iss.plus(1);
            self.snd.progress = now;
        }
        if answer {
            self.rcv.acked = self.rcv.nxt;
            self.rcv.edge = self.rcv.nxt.plus(segment.window.into());
        } else {
            self.add_syn_data(&mut segment, resent);
        }
        self.snd.last = now;
        let rto = self.rtt.rto(self.times.max_rto);
        self.timers.retransmit_in(Retransmit::Syn, now, rto);
        self.plain(segment)
    }

    /// RFC 7413, section 4.2.1: with a cookie, data goes with SYN.
    fn add_syn_data(&mut self, segment: &mut Segment, resent: bool) {
        let cookie = segment
            .options
            .fast_open
            .is_some_and(|cookie| !cookie.is_request());
        if resent || !cookie {
            self.snd.nxt = self.snd.iss.plus(1);
            self.bits.remove(Bits::SYN_DATA);
            return;
        }
        let room = usize::from(self.snd.mss).saturating_sub(OPTIONS_MAX);
        segment.payload = self.sending.slice(0, room);
        if !segment.payload.is_empty() {
            self.snd.nxt = segment.end();
            self.bits.insert(Bits::SYN_DATA);
        }
    }
}
