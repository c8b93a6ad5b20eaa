//! The window that we offer (RFC 9293, section 3.8.6.2.2).

use super::{Tcb, bytes_u32, tcb::Bits};

impl Tcb {
    /// The window that the peer knows, and the one that there is room for, if that is more by enough to be said (RFC 9293, section
    /// 3.8.6.2.2).
    fn windows(&self) -> (u32, u32) {
        let scale = self.rcv.scale;
        let current = self.rcv.edge.since_or_zero(self.rcv.nxt);
        // A buffer smaller than the unit of windows would stay closed for ever.
        let buffer = self.rcv.buffer.max(1 << scale);
        let free = buffer.saturating_sub(bytes_u32(self.ready.len()));
        let wanted = (free.min(0xffff << scale) >> scale) << scale;
        let step = (buffer / 2).min(self.rcv.mss_said.into()).max(1);
        if wanted.saturating_sub(current) >= step {
            (current, wanted)
        } else {
            (current, current)
        }
    }

    /// The window to be offered: its right edge never moves back, and forward only by much.
    pub(super) fn offer(&mut self) -> u16 {
        let scale = self.rcv.scale;
        let (current, wanted) = self.windows();
        let window = if wanted > current {
            wanted
        } else {
            // Rounded up, so that the edge stays.
            let unit = (1_u32 << scale).wrapping_sub(1);
            (current.saturating_add(unit) & !unit).min(0xffff << scale)
        };
        self.rcv.edge = self.rcv.edge.max(self.rcv.nxt.plus(window));
        u16::try_from(window >> scale).unwrap_or(u16::MAX)
    }

    /// After data was read: whether the peer should hear of the window at once, since it may wait for it.
    pub(super) fn consider_window_update(&mut self) {
        let (current, wanted) = self.windows();
        if wanted > current && wanted / 2 >= current && self.state.receives() {
            self.bits.insert(Bits::ACK_NOW);
        }
    }
}
