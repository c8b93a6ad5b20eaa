//! One connection, whose peer is played by the test. Numbers are relative: 0 is SYN, 1 the first byte.

use super::pair::{MS, MSS, bytes};
use crate::tcp::{
    Changes, Config, Flags, Options, Outgoing, Path, Segment, Seq, State, Tcb, Timestamps,
    TransmitLimit,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use bytes::Bytes;
use core::ops::{Deref, DerefMut};
use rumpuser::Instant;

pub(super) const OURS: Seq = Seq(u32::MAX - 5000);
pub(super) const PEERS: Seq = Seq(u32::MAX - 70_000);

pub(super) struct Solo {
    pub(super) tcb: Box<Tcb>,
    pub(super) now: u64,
    /// The window that the peer says next.
    pub(super) window: u16,
    /// The timestamp that it says next, when timestamps are in use.
    pub(super) timestamp: u32,
    pub(super) echo: u32,
    pub(super) limit: usize,
    pub(super) changes: Changes,
}

impl Deref for Solo {
    type Target = Tcb;
    fn deref(&self) -> &Tcb {
        &self.tcb
    }
}

impl DerefMut for Solo {
    fn deref_mut(&mut self) -> &mut Tcb {
        &mut self.tcb
    }
}

/// What a SYN says that offers everything.
pub(super) fn full_options() -> Options {
    Options {
        mss: Some(MSS),
        window_scale: Some(0),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 1, echo: 0 }),
        ..Options::default()
    }
}

/// SACK, and no timestamps: full segments have 1000 bytes.
pub(super) fn sack_only() -> Options {
    Options {
        timestamps: None,
        ..full_options()
    }
}

/// The MSS alone.
pub(super) fn plain() -> Options {
    Options {
        mss: Some(MSS),
        ..Options::default()
    }
}

pub(super) fn path() -> Path {
    Path {
        mss: MSS,
        ..Path::default()
    }
}

pub(super) fn syn(options: Options) -> Segment {
    Segment {
        seq: PEERS,
        flags: Flags::SYN,
        window: 65_535,
        options,
        ..Segment::default()
    }
}

impl Solo {
    pub(super) fn with(tcb: Box<Tcb>) -> Self {
        Self {
            tcb,
            now: 1000 * MS,
            window: 65_535,
            timestamp: 1,
            echo: 0,
            limit: 1,
            changes: Changes::empty(),
        }
    }

    pub(super) fn connect(config: Config) -> Self {
        Self::with(Tcb::connect(
            &Arc::new(config),
            path(),
            OURS,
            Instant(1000 * MS),
        ))
    }

    pub(super) fn accept(config: Config, options: Options) -> Self {
        let syn = syn(options);
        Self::with(Tcb::accept(
            &Arc::new(config),
            path(),
            OURS,
            &syn,
            Instant(1000 * MS),
        ))
    }

    /// Established passively; the round trip is 10 ms.
    pub(super) fn established(config: Config, options: Options) -> Self {
        let mut solo = Self::accept(config, options);
        solo.out();
        solo.sleep(10);
        solo.ack(1);
        assert_eq!(solo.state(), State::Established);
        solo
    }

    /// A segment of the peer.
    pub(super) fn segment(&self, seq: u32, ack: Option<u32>, flags: Flags, len: usize) -> Segment {
        let timestamps = Timestamps {
            value: self.timestamp,
            echo: self.echo,
        };
        Segment {
            seq: PEERS.plus(seq),
            ack: ack.map(|ack| OURS.plus(ack)),
            flags,
            window: self.window,
            options: Options {
                timestamps: self.tcb.info().timestamps.then_some(timestamps),
                ..Options::default()
            },
            payload: Bytes::from(bytes(len)).into(),
            ..Segment::default()
        }
    }

    pub(super) fn give(&mut self, segment: Segment) -> Changes {
        let changes = self.tcb.on_segment(segment, false, Instant(self.now));
        self.changes |= changes;
        changes
    }

    /// A segment with the acknowledgment of all that was sent.
    pub(super) fn give_data(&mut self, seq: u32, len: usize) -> Changes {
        let ack = self.tcb.snd.nxt.since(OURS);
        let segment = self.segment(seq, Some(ack), Flags::empty(), len);
        self.give(segment)
    }

    /// An acknowledgment: `seq` is what the peer sent before.
    pub(super) fn ack(&mut self, ack: u32) -> Changes {
        let seq = self.tcb.rcv.nxt.since(PEERS);
        let segment = self.segment(seq, Some(ack), Flags::empty(), 0);
        self.give(segment)
    }

    /// An acknowledgment with SACK ranges.
    pub(super) fn sack(&mut self, ack: u32, ranges: &[(u32, u32)]) -> Changes {
        let seq = self.tcb.rcv.nxt.since(PEERS);
        let mut segment = self.segment(seq, Some(ack), Flags::empty(), 0);
        for (start, end) in ranges {
            segment
                .options
                .sack
                .push(OURS.plus(*start), OURS.plus(*end));
        }
        self.give(segment)
    }

    pub(super) fn flags(&mut self, seq: u32, flags: Flags) -> Changes {
        let ack = self.tcb.snd.nxt.since(OURS);
        let segment = self.segment(seq, Some(ack), flags, 0);
        self.give(segment)
    }

    /// Everything that it sends.
    pub(super) fn outgoing(&mut self) -> Vec<Outgoing> {
        let mut all = Vec::new();
        let limit = TransmitLimit {
            max_payload: self.limit,
        };
        while let Some(outgoing) = self.tcb.poll_transmit(Instant(self.now), limit) {
            all.push(outgoing);
            assert!(all.len() < 10_000);
        }
        assert!(!self.tcb.has_output());
        all
    }

    pub(super) fn out(&mut self) -> Vec<Segment> {
        self.outgoing()
            .into_iter()
            .map(|outgoing| outgoing.segment)
            .collect()
    }

    /// The one segment that it sends.
    pub(super) fn one(&mut self) -> Segment {
        let mut all = self.out();
        assert_eq!(all.len(), 1, "{all:?}");
        all.pop().expect("one")
    }

    /// Number and length of each segment that it sends.
    pub(super) fn sent(&mut self) -> Vec<(u32, usize)> {
        let number = |segment: &Segment| (segment.seq.since(OURS), segment.payload.len());
        self.out().iter().map(number).collect()
    }

    pub(super) fn write(&mut self, len: usize) -> usize {
        self.tcb.send(Bytes::from(bytes(len)).into())
    }

    /// Lets milliseconds pass; timers expire at their time.
    pub(super) fn sleep(&mut self, millis: u64) -> Changes {
        self.sleep_nanos(millis * MS)
    }

    pub(super) fn sleep_nanos(&mut self, nanos: u64) -> Changes {
        let end = self.now + nanos;
        let mut changes = Changes::empty();
        while let Some(Instant(time)) = self.tcb.deadline().filter(|time| time.0 <= end) {
            self.now = self.now.max(time);
            changes |= self.tcb.on_timer(Instant(self.now));
            if changes.contains(Changes::OUTPUT) {
                break;
            }
        }
        if !changes.contains(Changes::OUTPUT) {
            self.now = end;
        }
        self.changes |= changes;
        changes
    }

    /// Lets time pass until the next deadline; how long that was, in milliseconds.
    pub(super) fn wait(&mut self) -> u64 {
        let begin = self.now;
        let Instant(time) = self.tcb.deadline().expect("a deadline");
        self.now = self.now.max(time);
        self.changes |= self.tcb.on_timer(Instant(self.now));
        (self.now - begin) / MS
    }

    pub(super) fn read(&mut self) -> Vec<u8> {
        let chain = self.tcb.receive(usize::MAX);
        chain.pieces().flatten().copied().collect()
    }
}

/// Number of a segment's acknowledgment.
pub(super) fn ack_of(segment: &Segment) -> u32 {
    segment.ack.expect("an acknowledgment").since(PEERS)
}

/// SACK ranges of a segment.
pub(super) fn sacks_of(segment: &Segment) -> Vec<(u32, u32)> {
    let range = |(start, end): (Seq, Seq)| (start.since(PEERS), end.since(PEERS));
    segment.options.sack.iter().map(range).collect()
}
