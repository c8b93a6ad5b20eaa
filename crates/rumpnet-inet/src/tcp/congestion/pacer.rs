//! Pacing: data leaves at a rate, and not in bursts (draft-cardwell-iccrg-bbr-congestion-control-00, section 4.2.1).

/// What was sent too late is made up for, within this time: timers of a host are late, and ring in ticks.
const LATE: u64 = 2_000_000;

/// When the next may be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tcp) struct Pacer {
    /// next_send_time.
    next: u64,
    /// Something waits for that time.
    held: bool,
}

impl Pacer {
    /// Whether something may be sent now; if not, it waits.
    pub(in crate::tcp) fn may_send(&mut self, now: u64) -> bool {
        self.held = now < self.next;
        !self.held
    }

    /// Time has passed.
    pub(in crate::tcp) fn look(&mut self, now: u64) {
        self.held &= now < self.next;
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// When what waits may be sent; `u64::MAX` if nothing waits.
    pub(super) const fn deadline(&self) -> u64 {
        if self.held { self.next } else { u64::MAX }
    }

    /// So many bytes were sent; `rate` in bytes per second.
    pub(super) fn sent(&mut self, bytes: u32, rate: u64, now: u64) {
        let time = u64::from(bytes)
            .saturating_mul(super::SECOND)
            .div_ceil(rate.max(1));
        self.next = self.next.max(now.saturating_sub(LATE)).saturating_add(time);
    }
}

#[cfg(test)]
mod tests {
    use super::Pacer;

    const MS: u64 = 1_000_000;

    /// Section 4.2.1: next_send_time = Now() + packet.size / pacing_rate.
    #[test]
    fn one_after_the_other() {
        let mut pacer = Pacer::default();
        assert!(pacer.may_send(100 * MS));
        assert_eq!(pacer.deadline(), u64::MAX);
        // What it may be late it may be early at first.
        pacer.sent(3000, 1_000_000, 100 * MS);
        assert!(!pacer.may_send(100 * MS) && pacer.is_held());
        assert_eq!(pacer.deadline(), 101 * MS);
        pacer.look(101 * MS - 1);
        assert!(pacer.is_held());
        pacer.look(101 * MS);
        assert!(!pacer.is_held() && pacer.may_send(101 * MS));
        pacer.sent(1000, 1_000_000, 101 * MS);
        assert!(!pacer.may_send(101 * MS));
        assert_eq!(pacer.deadline(), 102 * MS);
    }

    /// Late timers do not slow it down; a pause is not made up for.
    #[test]
    fn the_rate_is_kept() {
        let (mut pacer, mut now, mut sent) = (Pacer::default(), 1000 * MS, 0_u64);
        while now < 2000 * MS {
            while pacer.may_send(now) {
                pacer.sent(700, 1_000_000, now);
                sent = sent.saturating_add(700);
            }
            // In ticks of a millisecond.
            now = pacer.deadline().div_ceil(MS).saturating_mul(MS);
        }
        assert!((999_000..1_005_000).contains(&sent), "{sent}");
        let mut burst = 0_u64;
        while pacer.may_send(9000 * MS) {
            pacer.sent(700, 1_000_000, 9000 * MS);
            burst = burst.saturating_add(700);
        }
        assert!(burst < 3000, "{burst}");
    }
}
