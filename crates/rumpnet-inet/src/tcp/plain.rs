//! Segments that leave with nothing unusual about them: at most one with data, an acknowledgment, FIN, and no option but timestamps. They are given
//! out as numbers, for who has the rest of their headers ready.
//!
//! What [`poll_transmit`](Tcb::poll_transmit) would give out is the same.

use super::{Flags, Numbers, Tcb, output::Plan, tcb::Bits};
use rumpnet::Chain;
use rumpuser::Instant;

/// Such a segment.
pub(crate) struct Plain {
    pub(crate) numbers: Numbers,
    /// Nothing more is to be sent after it.
    pub(crate) last: bool,
    /// Bytes of data.
    pub(crate) len: usize,
    /// Where they are among those that are not acknowledged.
    offset: usize,
}

/// What such a segment is not sent for.
const UNUSUAL: Bits = Bits::SYN_NOW
    .union(Bits::WINDOW_PROBE_NOW)
    .union(Bits::TAIL_PROBE_NOW)
    .union(Bits::KEEP_ALIVE_NOW)
    .union(Bits::ECN)
    .union(Bits::URGENT_SENDING)
    .union(Bits::TELL_TIMEOUT_NOW);

impl Tcb {
    /// The next segment to transmit, if there is one and it is plain and has no more than `most` bytes. What is left is for
    /// [`poll_transmit`](Self::poll_transmit).
    #[inline(always)]
    pub(crate) fn plain_segment(&mut self, most: u32, now: Instant) -> Option<Plain> {
        let now = now.0;
        let (size, unsent) = (self.full(), self.unsent());
        let plain = unsent <= size.min(most)
            && !self.bits.intersects(UNUSUAL)
            && self.state.is_synchronized()
            && self.reset.is_none()
            && self.rcv.duplicate.is_none()
            && self.reassembly.is_none();
        if !plain {
            return None;
        }
        let (len, fin) = match self.plan(size) {
            Some(Plan::New { len, fin }) => (len, fin),
            None if self.bits.contains(Bits::ACK_NOW) && unsent == 0 && !self.fin_pending() => {
                (0, false)
            }
            _ => return None,
        };
        let seq = self.snd.nxt;
        let mut flags = Flags::empty();
        flags.set(Flags::PSH, len > 0 && len == unsent);
        flags.set(Flags::FIN, fin);
        let sends = len > 0 || fin;
        if sends && !self.may_send_at(now) {
            return None;
        }
        if sends {
            self.before_sending(now);
        }
        let timestamps = self.bits.contains(Bits::TIMESTAMPS);
        let narrow = |len: u32| usize::try_from(len).unwrap_or(usize::MAX);
        let plain = Plain {
            numbers: Numbers {
                seq,
                ack: Some(self.rcv.nxt),
                flags,
                window: self.note_acknowledged(),
                urgent: 0,
                timestamps: timestamps.then(|| self.timestamps(now)),
            },
            last: len == unsent && fin == self.fin_pending() && self.board.lost() == 0,
            len: narrow(len),
            offset: narrow(seq.since_or_zero(self.snd.queued)),
        };
        if sends {
            self.note_sent(len, fin, size, now);
        }
        self.counters.sent_segments = self.counters.sent_segments.wrapping_add(1);
        Some(plain)
    }

    /// Copies the data of such a segment, for which there is just room.
    #[inline(always)]
    pub(crate) fn copy_plain(&self, plain: &Plain, space: &mut [u8]) {
        self.sending.copy_to(plain.offset, space);
    }

    /// The data of such a segment.
    pub(crate) fn share_plain(&mut self, plain: &Plain) -> Chain {
        match plain.len {
            0 => Chain::new(),
            len => self.sending.slice(plain.offset, len),
        }
    }
}
