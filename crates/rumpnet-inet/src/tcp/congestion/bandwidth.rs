//! The largest rate of the last round trips: BBR.BtlBw (draft-cardwell-iccrg-bbr-congestion-control-00, section 4.1.1).

/// BtlBwFilterLen, in round trips.
const ROUNDS: usize = 10;

/// The largest rate of each of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bandwidth {
    largest: [u64; ROUNDS],
    /// The round that something was measured in last.
    last: u64,
}

impl Bandwidth {
    /// A rate was measured in this round; returns the largest of the last rounds.
    pub(super) fn measured(&mut self, rate: u64, round: u64) -> u64 {
        let passed = round.saturating_sub(self.last).min(ROUNDS as u64);
        for back in 0..passed {
            if let Some(old) = self.of(round.wrapping_sub(back)) {
                *old = 0;
            }
        }
        self.last = self.last.max(round);
        if let Some(this) = self.of(round) {
            *this = rate.max(*this);
        }
        self.largest.into_iter().max().unwrap_or(0)
    }

    fn of(&mut self, round: u64) -> Option<&mut u64> {
        let at = usize::try_from(round.checked_rem(ROUNDS as u64)?).ok()?;
        self.largest.get_mut(at)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::Bandwidth;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// Section 4.1.1.2: the largest of the last ten rounds, whatever comes in which.
        #[test]
        fn the_largest_of_ten_rounds(steps in prop::collection::vec((0_u64..1000, 0_u64..14), 0..100)) {
            let (mut filter, mut round, mut all) = (Bandwidth::default(), 0, Vec::new());
            for (rate, pause) in steps {
                // Most are in the same round, or the next.
                round += pause.saturating_sub(11) + u64::from(pause == 11) * 20;
                all.push((rate, round));
                let recent = all.iter().filter(|(_, then)| then + 10 > round);
                let expected = recent.map(|(rate, _)| *rate).max();
                prop_assert_eq!(Some(filter.measured(rate, round)), expected);
            }
        }
    }
}
