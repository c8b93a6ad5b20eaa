//! How fast data is delivered (draft-cheng-iccrg-delivery-rate-estimation-00): for each acknowledgment the rate between the sending of the
//! newest part that it acknowledges and its arrival. Bytes, nanoseconds, and bytes per second.

use alloc::collections::VecDeque;

/// So many transmissions are remembered; an acknowledgment of an older one says nothing of the rate.
const SENT_MAX: usize = 16_384;

/// A transmission (section 3.1.2).
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// P.sent_time. No two are the same.
    time: u64,
    /// P.delivered.
    delivered: u64,
    /// P.delivered_time.
    delivered_time: u64,
    /// P.first_sent_time.
    first_sent_time: u64,
    /// P.is_app_limited.
    app_limited: bool,
}

/// What an acknowledgment says of the rate (section 3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// rs.delivery_rate, if the time that it was measured over was long enough.
    pub(super) rate: Option<u64>,
    /// rs.prior_delivered: what had been delivered when the newest part was sent.
    pub(super) prior_delivered: u64,
    /// rs.is_app_limited.
    pub(super) app_limited: bool,
}

/// The state of a connection (section 3.1.1).
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// C.delivered.
    delivered: u64,
    /// C.delivered_time.
    delivered_time: u64,
    /// C.first_sent_time.
    first_sent_time: u64,
    /// C.app_limited; 0 if the sender has enough to send.
    app_limited: u64,
    /// By time.
    sent: VecDeque<Sent>,
}

impl Rate {
    /// C.delivered.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) const fn is_app_limited(&self) -> bool {
        self.app_limited != 0
    }

    /// Something is sent (section 3.2). `first`: nothing is in flight.
    pub(super) fn sent(&mut self, time: u64, first: bool) {
        if first {
            (self.first_sent_time, self.delivered_time) = (time, time);
        }
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            time,
            delivered: self.delivered,
            delivered_time: self.delivered_time,
            first_sent_time: self.first_sent_time,
            app_limited: self.is_app_limited(),
        });
    }

    /// So many bytes were delivered; the newest part of them was sent at `newest` (section 3.3). A time shorter than `min_rtt` cannot be
    /// that of a round trip: what was sent again had arrived before.
    pub(super) fn acknowledged(
        &mut self,
        bytes: u32,
        newest: u64,
        min_rtt: u64,
        now: u64,
    ) -> Option<Sample> {
        self.delivered = self.delivered.saturating_add(bytes.into());
        self.delivered_time = now;
        if self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        let at = self.sent.partition_point(|sent| sent.time < newest);
        self.sent.drain(..at);
        // A part may be acknowledged in pieces: its own stays.
        let sent = *self.sent.front().filter(|sent| sent.time == newest)?;
        self.first_sent_time = sent.time;
        let send_elapsed = sent.time.saturating_sub(sent.first_sent_time);
        let ack_elapsed = now.saturating_sub(sent.delivered_time);
        let interval = send_elapsed.max(ack_elapsed);
        let delivered = self.delivered.saturating_sub(sent.delivered);
        let rate = delivered
            .saturating_mul(super::SECOND)
            .checked_div(interval)
            .filter(|_| interval >= min_rtt);
        Some(Sample {
            rate,
            prior_delivered: sent.delivered,
            app_limited: sent.app_limited,
        })
    }

    /// There is less to send than could be (section 3.4); `in_flight` is what is under way.
    pub(super) fn limited_by_application(&mut self, in_flight: u32) {
        self.app_limited = self.delivered.saturating_add(in_flight.into()).max(1);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::{Rate, Sample};

    const MS: u64 = 1_000_000;

    /// Section 3.3: what was delivered since the newest part was sent, over the longer of the times that sending and acknowledging took.
    #[test]
    fn the_slower_of_sending_and_acknowledging() {
        let mut rate = Rate::default();
        // Ten at once: acknowledged one each millisecond.
        (0..10).for_each(|n| rate.sent(100 * MS + n, n == 0));
        for n in 1..10 {
            let sample = rate.acknowledged(1000, 100 * MS + n - 1, 0, (110 + n) * MS);
            let expected = n * 1000 * 1000 / (10 + n);
            assert_eq!(sample.unwrap().rate, Some(expected), "{n}");
        }
        // Sent one each millisecond, acknowledged all at once.
        let mut rate = Rate::default();
        (0..10).for_each(|n| rate.sent((100 + n) * MS, n == 0));
        let sample = rate.acknowledged(10_000, 109 * MS, 0, 112 * MS).unwrap();
        assert_eq!(sample.rate, Some(10_000 * 1000 / 12));
        (0..10).for_each(|n| rate.sent((120 + n) * MS, false));
        // Since the last one that was acknowledged 20 milliseconds of sending, 18 of acknowledging.
        let sample = rate.acknowledged(10_000, 129 * MS, 0, 130 * MS).unwrap();
        assert_eq!(sample.rate, Some(10_000 * 1000 / 20));
        assert_eq!(sample.prior_delivered, 10_000);
    }

    /// Section 3.2: after an idle time the clocks begin again.
    #[test]
    fn idle_time_does_not_count() {
        let mut rate = Rate::default();
        rate.sent(MS, true);
        rate.acknowledged(1000, MS, 0, 11 * MS);
        rate.sent(1_000 * MS, true);
        let sample = rate.acknowledged(1000, 1_000 * MS, 0, 1_010 * MS);
        assert_eq!(sample.unwrap().rate, Some(100_000));
    }

    /// Section 3.3: an interval shorter than the shortest round trip says nothing; and what is not known either.
    #[test]
    fn impossible_samples() {
        let mut rate = Rate::default();
        rate.sent(MS, true);
        let sample = rate.acknowledged(1000, MS, 10 * MS, 5 * MS);
        let expected = Sample {
            rate: None,
            prior_delivered: 0,
            app_limited: false,
        };
        assert_eq!(sample, Some(expected));
        assert_eq!(rate.acknowledged(1000, 3 * MS, 0, 9 * MS), None);
        assert_eq!(rate.delivered(), 2000);
        // No time at all.
        rate.sent(9 * MS, true);
        assert_eq!(rate.acknowledged(1, 9 * MS, 0, 9 * MS).unwrap().rate, None);
    }

    /// Section 3.4: samples of what is sent while the application has too little, until that is acknowledged.
    #[test]
    fn limited_by_the_application() {
        let mut rate = Rate::default();
        rate.limited_by_application(0);
        assert!(rate.is_app_limited());
        for (n, limited) in [(0, true), (1, true), (2, true), (3, false)] {
            rate.sent((10 + n) * MS, n == 0);
            let last = rate.sent.back().unwrap();
            assert_eq!(last.app_limited, limited, "{n}");
            if n == 0 {
                rate.limited_by_application(1000);
            } else {
                // The bubble is over once more than it has arrived.
                let sample = rate.acknowledged(1000, (9 + n) * MS, 0, (20 + n) * MS);
                assert!(sample.unwrap().app_limited, "{n}");
            }
            assert_eq!(rate.is_app_limited(), n < 2, "{n}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut rate = Rate::default();
        (0..20_000).for_each(|n| rate.sent(n, false));
        assert_eq!(rate.sent.len(), super::SENT_MAX);
        rate.acknowledged(1, 19_999, 0, 30_000);
        assert_eq!(rate.sent.len(), 1);
    }
}
