//! NewReno: additive increase, half after a loss (RFC 5681, section 3.1).

use super::{Algorithm, Window};

/// Its state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewReno {
    /// Bytes acknowledged since the window grew.
    acked: u32,
}

impl Algorithm for NewReno {
    /// RFC 5681, section 3.1: one segment per round trip, by counting the bytes.
    fn acked(&mut self, window: &mut Window, acked: u32, _now: u64, _srtt: u64) {
        self.acked = self.acked.saturating_add(acked);
        while self.acked >= window.size {
            self.acked = self.acked.saturating_sub(window.size);
            window.size = window.size.saturating_add(window.mss);
        }
    }

    /// RFC 5681, equation 4.
    fn threshold(&mut self, window: &Window, in_flight: u32) -> u32 {
        self.acked = 0;
        (in_flight / 2).max(window.mss.saturating_mul(2))
    }

    fn timed_out(&mut self) {}

    fn undo(&mut self) {}

    fn idle(&mut self, _since: u64, _now: u64) {}
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, NewReno, Window};

    /// RFC 5681, section 3.1: in congestion avoidance one segment per round trip.
    #[test]
    fn one_segment_per_round_trip() {
        let mut window = Window {
            size: 20_000,
            threshold: 20_000,
            mss: 1000,
        };
        let mut newreno = NewReno::default();
        (0..20).for_each(|_| newreno.acked(&mut window, 1000, 0, 0));
        assert_eq!(window.size, 21_000);
        newreno.acked(&mut window, 21_000, 0, 0);
        assert_eq!(window.size, 22_000);
    }

    /// RFC 5681, section 3.1, equation 4: max(FlightSize / 2, 2 * SMSS).
    #[test]
    fn half_of_what_was_in_flight() {
        let window = Window {
            size: 50_000,
            threshold: u32::MAX,
            mss: 1000,
        };
        assert_eq!(NewReno::default().threshold(&window, 30_000), 15_000);
        assert_eq!(NewReno::default().threshold(&window, 3000), 2000);
    }
}
