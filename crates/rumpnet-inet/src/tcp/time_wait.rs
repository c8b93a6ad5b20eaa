//! TIME-WAIT without the weight of a connection (RFC 9293, section 3.6; RFC 6191).

use super::{
    Flags, Options, Segment, Seq, State, Tcb, Timestamps,
    input::ts_before,
    nanos,
    tcb::{Bits, timestamp_clock},
};
use rumpuser::Instant;

/// Acknowledgments of empty segments are not sent more often.
const REPLY_INTERVAL: u64 = 500_000_000;

/// What is left of a connection: enough to answer a FIN that comes again, and to tell a new connection from old segments.
#[derive(Clone, Copy, Debug)]
pub struct TimeWait {
    until: u64,
    /// When an empty segment was answered last.
    replied: u64,
    /// TIME-WAIT in milliseconds.
    time: u32,
    /// SND.NXT.
    next: Seq,
    /// RCV.NXT.
    expected: Seq,
    ts_recent: u32,
    ts_offset: u32,
    window: u16,
    timestamps: bool,
}

/// What a segment in TIME-WAIT leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// An answer is to be transmitted; the time may begin again.
    Reply(Segment),
    /// The SYN begins a new connection; its initial sequence number must be after this one (RFC 9293, section 3.6.1, MAY-2).
    Reuse {
        /// The highest number used before.
        after: Seq,
    },
    /// The peer reset the connection: TIME-WAIT is over.
    Closed,
}

impl TimeWait {
    /// One that ends then.
    #[cfg(test)]
    pub(crate) fn ending(until: Instant) -> Self {
        Self {
            until: until.0,
            replied: 0,
            time: 60_000,
            next: Seq(500),
            expected: Seq(9000),
            ts_recent: 40,
            ts_offset: 0,
            window: 100,
            timestamps: false,
        }
    }

    /// When TIME-WAIT ends.
    #[must_use]
    pub const fn until(&self) -> Instant {
        Instant(self.until)
    }

    /// A segment of the old connection, or a SYN of a new one (RFC 9293, section 3.10.7.4; RFC 6191, section 2).
    pub fn on_segment(&mut self, segment: &Segment, now: Instant) -> Verdict {
        let now = now.0;
        let timestamp = segment.options.timestamps.filter(|_| self.timestamps);
        if segment.flags.contains(Flags::RST) {
            return if segment.seq == self.expected {
                Verdict::Closed
            } else {
                Verdict::Nothing
            };
        }
        if segment.flags.contains(Flags::SYN) && segment.ack.is_none() {
            return if self.is_new(segment, timestamp) {
                Verdict::Reuse { after: self.next }
            } else {
                self.reply(now)
            };
        }
        let old = timestamp.is_some_and(|timestamp| ts_before(timestamp.value, self.ts_recent));
        if segment.flags.contains(Flags::FIN) && !old && segment.end() == self.expected {
            self.until = now.saturating_add(u64::from(self.time).saturating_mul(1_000_000));
            return self.reply(now);
        }
        if !segment.is_empty() {
            return self.reply(now);
        }
        let expected = segment.seq == self.expected && !old;
        if expected || now.saturating_sub(self.replied) < REPLY_INTERVAL {
            return Verdict::Nothing;
        }
        self.replied = now;
        self.reply(now)
    }

    /// RFC 6191, section 2: a later timestamp tells a new connection; without timestamps, or with the same, a number after the last one that was used.
    fn is_new(&self, segment: &Segment, timestamp: Option<Timestamps>) -> bool {
        match timestamp {
            Some(timestamp) if timestamp.value != self.ts_recent => {
                ts_before(self.ts_recent, timestamp.value)
            }
            _ => !segment.seq.before(self.expected),
        }
    }

    fn reply(&self, now: u64) -> Verdict {
        let value = timestamp_clock(now).wrapping_add(self.ts_offset);
        let timestamps = Timestamps {
            value,
            echo: self.ts_recent,
        };
        Verdict::Reply(Segment {
            seq: self.next,
            ack: Some(self.expected),
            window: self.window,
            options: Options {
                timestamps: self.timestamps.then_some(timestamps),
                ..Options::default()
            },
            ..Segment::default()
        })
    }
}

impl Tcb {
    /// What has to stay of a connection in TIME-WAIT, once nobody reads from it any more; `None` in other states. An acknowledgment
    /// that is due is to be transmitted before.
    #[must_use]
    pub fn to_time_wait(&self) -> Option<TimeWait> {
        if self.state != State::TimeWait {
            return None;
        }
        let current = self.rcv.edge.since_or_zero(self.rcv.nxt) >> self.rcv.scale;
        Some(TimeWait {
            until: self.timers.life,
            replied: 0,
            time: u32::try_from(nanos(self.config.time_wait) / 1_000_000).unwrap_or(u32::MAX),
            next: self.snd.nxt,
            expected: self.rcv.nxt,
            ts_recent: self.rcv.ts_recent,
            ts_offset: self.rcv.ts_offset,
            window: u16::try_from(current).unwrap_or(u16::MAX),
            timestamps: self.bits.contains(Bits::TIMESTAMPS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{TimeWait, Verdict};
    use crate::tcp::{Flags, Options, Segment, Seq, Timestamps};
    use rumpuser::Instant;

    const SECOND: u64 = 1_000_000_000;

    fn time_wait(timestamps: bool) -> TimeWait {
        TimeWait {
            timestamps,
            ..TimeWait::ending(Instant(60 * SECOND))
        }
    }

    fn segment(seq: u32, flags: Flags, timestamp: Option<u32>) -> Segment {
        Segment {
            seq: Seq(seq),
            ack: (!flags.contains(Flags::SYN)).then_some(Seq(500)),
            flags,
            options: Options {
                timestamps: timestamp.map(|value| Timestamps { value, echo: 0 }),
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    /// It stays small.
    #[test]
    fn small() {
        assert!(size_of::<TimeWait>() <= 48);
    }

    /// RFC 9293, section 3.10.7.4, TIME-WAIT: a FIN that comes again is acknowledged, and the time starts again.
    #[test]
    fn fin_again() {
        let mut time_wait = time_wait(true);
        let verdict =
            time_wait.on_segment(&segment(8999, Flags::FIN, Some(41)), Instant(20 * SECOND));
        let Verdict::Reply(reply) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(
            (reply.seq, reply.ack, reply.window),
            (Seq(500), Some(Seq(9000)), 100)
        );
        assert_eq!(time_wait.until(), Instant(80 * SECOND));
    }

    /// RFC 6191, section 2, and RFC 9293, section 3.6.1: which SYN begins a new connection.
    #[test]
    fn reuse() {
        let reuse = Verdict::Reuse { after: Seq(500) };
        for (timestamps, seq, timestamp, new) in [
            (true, 100, Some(41), true),
            (true, 9001, Some(40), true),
            // The FIN had 8999: 9000 comes after the last number that was used.
            (true, 9000, Some(40), true),
            (true, 8999, Some(40), false),
            (true, 9001, Some(39), false),
            (true, 9001, None, true),
            (true, 8000, None, false),
            (false, 9001, None, true),
            (false, 8999, Some(99), false),
        ] {
            let syn = segment(seq, Flags::SYN, timestamp);
            let verdict = time_wait(timestamps).on_segment(&syn, Instant(SECOND));
            assert_eq!(
                verdict == reuse,
                new,
                "{timestamps} {seq} {timestamp:?} {verdict:?}"
            );
            assert!(new || matches!(verdict, Verdict::Reply(_)));
        }
    }

    /// RFC 5961, section 3.2: only a reset at RCV.NXT counts.
    #[test]
    fn reset() {
        let mut time_wait = time_wait(false);
        for (seq, verdict) in [
            (8999, Verdict::Nothing),
            (9001, Verdict::Nothing),
            (9000, Verdict::Closed),
        ] {
            assert_eq!(
                time_wait.on_segment(&segment(seq, Flags::RST, None), Instant(SECOND)),
                verdict
            );
        }
    }

    /// Old acknowledgments are answered now and then, so that two hosts do not answer each other for ever.
    #[test]
    fn no_storm() {
        let mut time_wait = time_wait(false);
        let old = segment(8000, Flags::empty(), None);
        let replies = (0..1000_u64).filter(|n| {
            let verdict = time_wait.on_segment(&old, Instant(SECOND + n * SECOND / 1000));
            matches!(verdict, Verdict::Reply(_))
        });
        assert_eq!(replies.count(), 2);
        let current = segment(9000, Flags::empty(), None);
        assert_eq!(
            time_wait.on_segment(&current, Instant(9 * SECOND)),
            Verdict::Nothing
        );
    }
}
