//! Proportional rate reduction (RFC 9937): during recovery as much is sent as the peer says it received, in proportion.

/// Its state (RFC 9937, section 5), in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prr {
    /// Delivered since recovery began.
    delivered: u32,
    /// Sent since then.
    out: u32,
    /// In flight when it began (RecoverFS).
    flight: u32,
}

impl Prr {
    /// Recovery begins with so much in flight.
    pub(super) const fn new(flight: u32) -> Self {
        Self {
            delivered: 0,
            out: 0,
            flight,
        }
    }

    /// So much was sent.
    pub(super) fn sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// An acknowledgment delivered `bytes`: the new congestion window. `pipe` is what is in flight after it; `safe`: it acknowledged new data
    /// and told of no further loss (SafeACK).
    pub(super) fn window(
        &mut self,
        bytes: u32,
        safe: bool,
        pipe: u32,
        threshold: u32,
        mss: u32,
    ) -> u32 {
        self.delivered = self.delivered.saturating_add(bytes);
        let mut count = if pipe > threshold {
            let share = u64::from(self.delivered)
                .saturating_mul(threshold.into())
                .div_ceil(u64::from(self.flight.max(1)));
            u32::try_from(share)
                .unwrap_or(u32::MAX)
                .saturating_sub(self.out)
        } else {
            // What was delivered (the conservative reduction bound); a segment more where recovery makes progress (the slow start one).
            let limit = self
                .delivered
                .saturating_sub(self.out)
                .max(bytes)
                .saturating_add(if safe { mss } else { 0 });
            threshold.saturating_sub(pipe).min(limit)
        };
        if self.out == 0 {
            // The first retransmission is sent in any case.
            count = count.max(mss);
        }
        pipe.saturating_add(count)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::Prr;

    const MSS: u32 = 1000;

    /// RFC 9937, section 6: while more than ssthresh is in flight, ssthresh / RecoverFS of what is delivered is sent.
    #[test]
    fn proportional() {
        let (mut prr, mut pipe) = (Prr::new(20 * MSS), 19 * MSS);
        for _ in 0..10 {
            pipe -= MSS;
            let window = prr.window(MSS, true, pipe, 10 * MSS, MSS);
            let room = window - pipe;
            if room >= MSS {
                prr.sent(MSS);
                pipe += MSS;
            }
        }
        assert!((5..=6).contains(&(prr.out / MSS)), "{prr:?}");
    }

    /// RFC 9937, section 6, PRR-SSRB: after heavy loss the window comes back by at most one segment more than was delivered.
    #[test]
    fn slow_start_reduction_bound() {
        let mut prr = Prr::new(20 * MSS);
        assert_eq!(prr.window(MSS, true, 2 * MSS, 10 * MSS, MSS), 4 * MSS);
        prr.sent(2 * MSS);
        assert_eq!(prr.window(MSS, true, 3 * MSS, 10 * MSS, MSS), 5 * MSS);
        assert_eq!(prr.window(MSS, true, 10 * MSS, 10 * MSS, MSS), 10 * MSS);
    }

    /// RFC 9937, section 6, PRR-CRB: an acknowledgment that tells of more losses, or of nothing in order, lets out what it delivered.
    #[test]
    fn conservative_reduction_bound() {
        let mut prr = Prr::new(20 * MSS);
        assert_eq!(prr.window(MSS, false, 2 * MSS, 10 * MSS, MSS), 3 * MSS);
        prr.sent(MSS);
        assert_eq!(prr.window(MSS, false, 2 * MSS, 10 * MSS, MSS), 3 * MSS);
        assert_eq!(prr.window(0, false, 2 * MSS, 10 * MSS, MSS), 3 * MSS);
        prr.sent(MSS);
        assert_eq!(prr.window(0, false, 2 * MSS, 10 * MSS, MSS), 2 * MSS);
    }

    /// RFC 9937, section 6: the first retransmission goes out whatever the sums say.
    #[test]
    fn the_first_at_once() {
        let mut prr = Prr::new(10 * MSS);
        assert_eq!(prr.window(0, false, 9 * MSS, 5 * MSS, MSS), 10 * MSS);
    }
}
