//! Buffers that grow with what the way can hold.

use super::{
    Numbers, Tcb, bytes_u32,
    tcb::{BUFFER_MAX, Bits},
};

/// Milliseconds; longer no round trip is.
const AGE_MAX: u32 = 60_000;

impl Tcb {
    /// Dynamic right-sizing: when the user takes out more than half of the buffer in a round trip, the window would limit the sender;
    /// twice of what was taken gives it room.
    #[inline(always)]
    pub(super) fn tune_receive(&mut self, now: u64) {
        let (begin, place) = self.rcv.round;
        let rtt = match self.rcv.rtt {
            0 => self.rtt.smoothed().unwrap_or(u64::MAX),
            rtt => rtt,
        };
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

    /// Who only receives measures the round trip by the timestamps that come back: from an acknowledgment to the data that it let
    /// out. Those of less than a millisecond say nothing.
    #[inline(always)]
    pub(super) fn measure_receiver(&mut self, numbers: &Numbers, len: usize, now: u64) {
        let Some(timestamps) = numbers.timestamps else {
            return;
        };
        let echo = timestamps.echo;
        if echo == 0 || echo == self.rcv.echo || len < usize::from(self.rcv.mss) {
            return;
        }
        self.rcv.echo = echo;
        let age = self.timestamp(now).wrapping_sub(echo);
        if age == 0 || age > AGE_MAX {
            return;
        }
        let sample = u64::from(age).saturating_mul(1_000_000);
        self.rcv.rtt = match self.rcv.rtt {
            0 => sample,
            old => old.saturating_sub(old / 8).saturating_add(sample / 8),
        };
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
