//! What a congestion control that keeps a model of the path is told, and pacing. The others pay a look at which one it is.

use super::{Tcb, congestion::Ack, loss::Frto, loss::Phase, scoreboard::Delivered};

/// How things were before an acknowledgment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pipe: u32,
    losses: u32,
}

impl Tcb {
    /// How things are before an acknowledgment, if somebody wants to know.
    #[inline]
    pub(super) fn before_ack(&self) -> Option<Before> {
        self.control.is_bbr().then(|| Before {
            pipe: self.pipe(),
            losses: self.board.losses(),
        })
    }

    /// An acknowledgment has been dealt with.
    pub(super) fn update_model(&mut self, before: &Before, delivered: &Delivered, now: u64) {
        // Of what was sent again nobody knows which time it was (Karn).
        let once = delivered.once.filter(|_| !delivered.retransmitted);
        let ack = Ack {
            now,
            delivered: delivered.bytes,
            lost: self.board.losses().wrapping_sub(before.losses),
            in_flight: self.pipe(),
            prior_in_flight: before.pipe,
            newest: delivered.newest.map(|part| part.time),
            rtt: once.map(|sent| now.saturating_sub(sent).max(1)),
            min_rtt: self.rtt.min(),
        };
        let Some(bbr) = self.control.bbr() else {
            return;
        };
        let size = self.window.size;
        bbr.acknowledged(&mut self.window, &ack);
        if self.loss.phase == Phase::Timeout && self.loss.frto != Frto::Off {
            // F-RTO counts what it sends.
            self.window.size = size;
        }
        self.note_idleness();
    }

    /// Whether what there is to send may be sent now; if not, it waits for its time.
    #[inline]
    pub(super) fn may_send_at(&mut self, now: u64) -> bool {
        match self.control.bbr() {
            Some(bbr) => bbr.pacer().may_send(now),
            None => true,
        }
    }

    /// Something is sent, at a `time` that nothing else is. `first`: nothing is in flight.
    #[inline]
    pub(super) fn tell_sent(&mut self, first: bool, time: u64, len: u32) {
        if let Some(bbr) = self.control.bbr() {
            bbr.sends(&self.window, self.rtt.smoothed(), first, time, len);
        }
    }

    /// Notes if less is sent than could be (draft-cheng-iccrg-delivery-rate-estimation-00, section 3.4).
    #[inline]
    pub(super) fn note_idleness(&mut self) {
        if !self.control.is_bbr() {
            return;
        }
        let pipe = self.pipe();
        let idle = self.unsent() < self.window.mss
            && self.board.lost() == 0
            && !self.control.is_held()
            && pipe < self.window.size;
        if idle && let Some(bbr) = self.control.bbr() {
            bbr.limited_by_application(pipe);
        }
    }
}
