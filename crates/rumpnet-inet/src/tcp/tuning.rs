//! Buffers that grow with what the way can hold.

use super::{
    Tcb, bytes_u32,
    tcb::{BUFFER_MAX, Bits},
};

impl Tcb {
    /// Dynamic right-sizing: when the user takes out more than half of the buffer in a round trip, the window would limit the sender;
    /// twice of what was taken gives it room.
    pub(super) fn tune_receive(&mut self, now: u64) {
        let (begin, place) = self.rcv.round;
        let rtt = self.rtt.smoothed().unwrap_or(u64::MAX);
        if now.saturating_sub(begin) < rtt {
            return;
        }
        let taken = self.ready.head().saturating_sub(place);
        self.rcv.round = (now, self.ready.head());
        if self.bits.contains(Bits::RECEIVE_FIXED) {
            return;
        }
        let wanted = u32::try_from(taken.saturating_mul(2)).unwrap_or(u32::MAX);
        let most = bytes_u32(self.config.receive_buffer_max).min(BUFFER_MAX);
        if wanted > self.rcv.buffer {
            self.rcv.buffer = wanted.min(most).max(self.rcv.buffer);
        }
    }

    /// The queue was full: it should hold two windows, one in flight and one to follow.
    pub(super) fn tune_send(&mut self) {
        if self.bits.contains(Bits::SEND_FIXED) {
            return;
        }
        let most = bytes_u32(self.config.send_buffer_max).min(BUFFER_MAX);
        let wanted = self.window.size.min(self.snd.max_wnd).saturating_mul(2);
        self.send_buffer = self.send_buffer.max(wanted.min(most));
    }
}
