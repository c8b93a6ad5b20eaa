//! Round-trip time and retransmission timeout (RFC 6298). Times are nanoseconds.

/// Granularity of the clock, G.
const GRANULARITY: u64 = 1_000_000;
/// The timeout before anything was measured (RFC 6298, section 2.1).
pub(super) const INITIAL_RTO: u64 = 1_000_000_000;
/// The timeout when a SYN had to be sent again and nothing was measured (RFC 6298, section 5.7).
pub(super) const RTO_AFTER_SYN_LOSS: u64 = 3_000_000_000;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rtt {
    /// SRTT; 0 before the first measurement.
    smoothed: u64,
    /// RTTVAR.
    variation: u64,
    rto: u64,
    min: u64,
    /// The last measurement.
    latest: u64,
    /// How often the timer was backed off since the last measurement.
    backoff: u8,
}

impl Default for Rtt {
    fn default() -> Self {
        Self {
            smoothed: 0,
            variation: 0,
            rto: INITIAL_RTO,
            min: u64::MAX,
            latest: 0,
            backoff: 0,
        }
    }
}

impl Rtt {
    /// SRTT, once something was measured.
    pub(super) fn smoothed(&self) -> Option<u64> {
        (self.smoothed > 0).then_some(self.smoothed)
    }

    pub(super) const fn variation(&self) -> u64 {
        self.variation
    }

    /// The shortest round trip, `u64::MAX` before the first.
    pub(super) const fn min(&self) -> u64 {
        self.min
    }

    pub(super) const fn latest(&self) -> u64 {
        self.latest
    }

    /// A round trip was seen. `smooth` is true once per round trip: RFC 6298 takes its weights for that rate (section 3; RFC 7323,
    /// section 4.2).
    #[inline(always)]
    pub(super) fn measure(&mut self, rtt: u64, smooth: bool, min: u64, max: u64) {
        // 0 stands for nothing; a simulated wire may have no delay.
        let rtt = rtt.max(1);
        self.min = self.min.min(rtt);
        self.latest = rtt;
        if self.smoothed == 0 {
            self.smoothed = rtt;
            self.variation = rtt / 2;
        } else if smooth {
            let deviation = self.smoothed.abs_diff(rtt);
            let variation = self.variation.saturating_sub(self.variation / 4);
            self.variation = variation.saturating_add(deviation / 4);
            let smoothed = self.smoothed.saturating_sub(self.smoothed / 8);
            self.smoothed = smoothed.saturating_add(rtt / 8).max(1);
        }
        let spread = self.variation.saturating_mul(4).max(GRANULARITY);
        self.rto = self.smoothed.saturating_add(spread).clamp(min, max);
        self.backoff = 0;
    }

    /// A timeout for connections whose SYN was lost (RFC 6298, section 5.7).
    pub(super) fn syn_was_lost(&mut self) {
        self.backoff = 0;
        if self.smoothed == 0 {
            self.rto = RTO_AFTER_SYN_LOSS;
        }
    }

    /// The timeout, backed off.
    pub(super) fn rto(&self, max: u64) -> u64 {
        let factor = 1_u64.checked_shl(self.backoff.into()).unwrap_or(u64::MAX);
        self.rto.saturating_mul(factor).min(max.max(self.rto))
    }

    /// The timer expired (RFC 6298, section 5.5).
    pub(super) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(32);
    }

    /// The peer lives, or nothing was lost after all: the next timeout is not backed off.
    pub(super) fn progress(&mut self) {
        self.backoff = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Rtt;

    const MS: u64 = 1_000_000;
    const MAX: u64 = 60_000 * MS;

    /// RFC 6298, section 2: rules 2.1, 2.2, 2.3, 2.4, 2.5.
    #[test]
    fn computed() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(MAX), 1000 * MS);
        rtt.measure(100 * MS, true, 0, MAX);
        assert_eq!(
            (rtt.smoothed, rtt.variation, rtt.rto(MAX)),
            (100 * MS, 50 * MS, 300 * MS)
        );
        rtt.measure(200 * MS, true, 0, MAX);
        assert_eq!((rtt.smoothed, rtt.variation), (112_500_000, 62_500_000));
        assert_eq!(rtt.rto(MAX), 362_500_000);
        rtt.measure(MS, true, 1000 * MS, MAX);
        assert_eq!(rtt.rto(MAX), 1000 * MS);
        rtt.measure(500_000 * MS, true, 0, MAX);
        assert_eq!((rtt.rto(MAX), rtt.min()), (MAX, MS));
    }

    /// RFC 6298, section 5.5: each expiry doubles the timeout, up to the maximum; section 2.5.
    #[test]
    fn backed_off() {
        let mut rtt = Rtt::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(rtt.rto(MAX), seconds * 1000 * MS);
            rtt.back_off();
        }
        rtt.measure(100 * MS, true, 0, MAX);
        assert_eq!(rtt.rto(MAX), 300 * MS);
        (0..100).for_each(|_| rtt.back_off());
        assert_eq!(rtt.rto(MAX), MAX);
    }

    /// RFC 6298, section 5.7: 3 seconds after the loss of a SYN, when nothing could be measured.
    #[test]
    fn after_the_loss_of_a_syn() {
        let mut rtt = Rtt::default();
        rtt.back_off();
        rtt.syn_was_lost();
        assert_eq!(rtt.rto(MAX), 3000 * MS);
    }

    /// RFC 6298, section 2.3: with a constant time the timeout comes down to SRTT + G.
    #[test]
    fn settles() {
        let mut rtt = Rtt::default();
        (0..200).for_each(|_| rtt.measure(100 * MS, true, 0, MAX));
        assert!(rtt.rto(MAX).abs_diff(101 * MS) < MS);
    }
}
