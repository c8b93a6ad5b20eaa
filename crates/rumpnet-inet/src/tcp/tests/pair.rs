//! Two connections and a network between them, in virtual time.

use crate::tcp::{
    Changes, Config, HEADER_LEN, Outgoing, Path, Plain, Segment, Seq, State, Tcb, TransmitLimit,
    reset_for,
};
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec, vec::Vec};
use bytes::Bytes;
use core::time::Duration;
use rumpuser::Instant;

pub(super) const MS: u64 = 1_000_000;
pub(super) const MSS: u16 = 1000;

/// What the network does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Deliver,
    Drop,
    /// Delivers it later by so many nanoseconds.
    Delay(u64),
    /// Delivers it twice.
    Twice,
    /// Delivers it with a mark of congestion.
    Mark,
}

type Script = Box<dyn FnMut(usize, &Segment, u64) -> Fate>;

/// Side 0 connects, side 1 accepts.
pub(super) struct Pair {
    pub(super) side: [Option<Box<Tcb>>; 2],
    pub(super) configs: [Arc<Config>; 2],
    pub(super) mss: [u16; 2],
    pub(super) now: u64,
    pub(super) delay: u64,
    /// Payload of one segment that is given out.
    pub(super) limit: usize,
    /// Cut large segments, as a network does.
    pub(super) cut: bool,
    /// What can goes the short ways.
    pub(super) short: bool,
    /// Segments that did, out and in.
    pub(super) shortened: [usize; 2],
    pub(super) script: Script,
    wire: BTreeMap<(u64, u64), (usize, Segment, bool)>,
    count: u64,
    pub(super) sent: [Vec<Segment>; 2],
    pub(super) changes: [Changes; 2],
    pub(super) received: [Vec<u8>; 2],
    /// Reads what arrives.
    pub(super) reads: [bool; 2],
}

impl Pair {
    pub(super) fn new(client: Config, server: Config) -> Self {
        Self {
            side: [None, None],
            configs: [Arc::new(client), Arc::new(server)],
            mss: [MSS, MSS],
            now: 1_000 * MS,
            delay: 5 * MS,
            limit: 1,
            cut: true,
            short: false,
            shortened: [0; 2],
            script: Box::new(|_, _, _| Fate::Deliver),
            wire: BTreeMap::new(),
            count: 0,
            sent: [vec![], vec![]],
            changes: [Changes::empty(); 2],
            received: [vec![], vec![]],
            reads: [true, true],
        }
    }

    /// An established connection.
    pub(super) fn established(client: Config, server: Config) -> Self {
        let mut pair = Self::new(client, server);
        pair.connect();
        pair.run(100 * MS);
        assert_eq!(
            (pair.state(0), pair.state(1)),
            (State::Established, State::Established)
        );
        pair
    }

    pub(super) fn path(&self, side: usize) -> Path {
        Path {
            mss: self.mss[side],
            ..Path::default()
        }
    }

    pub(super) fn connect(&mut self) {
        let tcb = Tcb::connect(
            &self.configs[0],
            self.path(0),
            Seq(u32::MAX - 2000),
            Instant(self.now),
        );
        self.side[0] = Some(tcb);
        self.flush(0);
    }

    pub(super) fn tcb(&mut self, side: usize) -> &mut Tcb {
        self.side[side].as_mut().expect("a connection")
    }

    pub(super) fn state(&self, side: usize) -> State {
        self.side[side]
            .as_ref()
            .map_or(State::Closed, |tcb| tcb.state())
    }

    pub(super) fn now(&self) -> Instant {
        Instant(self.now)
    }

    /// Sends bytes, as far as there is room.
    pub(super) fn send(&mut self, side: usize, data: &[u8]) -> usize {
        let data = &data[..data.len().min(self.tcb(side).send_room())];
        let count = self.tcb(side).send(Bytes::copy_from_slice(data).into());
        self.flush(side);
        count
    }

    pub(super) fn shutdown(&mut self, side: usize) {
        self.tcb(side).shutdown_write();
        self.flush(side);
    }

    pub(super) fn close(&mut self, side: usize) {
        let now = self.now();
        let changes = self.tcb(side).close(now);
        self.changes[side] |= changes;
        self.flush(side);
    }

    /// Puts on the wire what a side has to send.
    pub(super) fn flush(&mut self, side: usize) {
        let limit = TransmitLimit {
            max_payload: self.limit,
        };
        while let Some(tcb) = &mut self.side[side] {
            if self.short
                && let Some(plain) = tcb.plain_segment(u32::MAX, Instant(self.now))
            {
                assert!(!plain.last || tcb.is_silent(), "{tcb:?}");
                let outgoing = plain_outgoing(tcb, &plain);
                self.shortened[0] += 1;
                self.put(side, outgoing);
                continue;
            }
            if self.short
                && let Some(segment) = tcb.plain_syn(Instant(self.now))
            {
                let (mss, ect) = (MSS, false);
                self.put(side, Outgoing { segment, mss, ect });
                continue;
            }
            let Some(outgoing) = tcb.poll_transmit(Instant(self.now), limit) else {
                assert!(!tcb.has_output(), "{tcb:?}");
                // What waits, waits for something.
                let waits = tcb.unacknowledged() > 0
                    && !matches!(tcb.state(), State::Closed)
                    && !tcb.cork();
                assert!(!waits || tcb.deadline().is_some(), "{tcb:?}");
                break;
            };
            self.put(side, outgoing);
        }
    }

    pub(super) fn put(&mut self, side: usize, outgoing: Outgoing) {
        let parts = if self.cut {
            cut(outgoing.segment, usize::from(outgoing.mss))
        } else {
            vec![outgoing.segment]
        };
        for segment in parts {
            assert!(segment.options.encoded_len() + HEADER_LEN <= 60);
            self.sent[side].push(segment.clone());
            let fate = (self.script)(side, &segment, self.now);
            let mark = fate == Fate::Mark && outgoing.ect;
            let delay = self.delay
                + if let Fate::Delay(more) = fate {
                    more
                } else {
                    0
                };
            let copies = match fate {
                Fate::Drop => 0,
                Fate::Twice => 2,
                _ => 1,
            };
            for _ in 0..copies {
                self.count += 1;
                let key = (self.now + delay, self.count);
                self.wire.insert(key, (1 - side, segment.clone(), mark));
            }
        }
    }

    /// Gives a segment to a side now.
    pub(super) fn inject(&mut self, side: usize, segment: Segment) -> Changes {
        self.deliver(side, segment, false)
    }

    fn deliver(&mut self, side: usize, segment: Segment, mark: bool) -> Changes {
        let now = self.now();
        let changes = match &mut self.side[side] {
            Some(tcb) if tcb.state() == State::Closed => {
                // Nobody knows of the connection any more.
                if let Some(segment) = reset_for(&segment) {
                    self.put(
                        side,
                        Outgoing {
                            segment,
                            mss: MSS,
                            ect: false,
                        },
                    );
                }
                Changes::empty()
            }
            Some(tcb) => {
                let numbers = segment.numbers();
                let whole = numbers.with(segment.payload.clone()) == segment;
                let data = segment.payload.single().filter(|_| self.short && whole);
                let short = data.and_then(|data| tcb.take_predicted(&numbers, data, mark, now));
                self.shortened[1] += usize::from(short.is_some());
                short.unwrap_or_else(|| tcb.on_segment(segment, mark, now))
            }
            None => {
                let path = self.path(side);
                let tcb = Tcb::accept(&self.configs[side], path, Seq(5_000_000), &segment, now);
                self.side[side] = Some(tcb);
                Changes::OUTPUT
            }
        };
        self.after(side, changes);
        changes
    }

    fn after(&mut self, side: usize, changes: Changes) {
        self.changes[side] |= changes;
        if self.reads[side] {
            let chain = self.tcb(side).receive(usize::MAX);
            self.received[side].extend(chain.pieces().flatten());
        }
        self.flush(side);
    }

    /// The time of what happens next.
    pub(super) fn next(&self) -> Option<u64> {
        let wire = self.wire.keys().next().map(|(time, _)| *time);
        let timer = |tcb: &Option<Box<Tcb>>| {
            tcb.as_ref()
                .and_then(|tcb| tcb.deadline())
                .map(|time| time.0)
        };
        let [one, two] = &self.side;
        [wire, timer(one), timer(two)].into_iter().flatten().min()
    }

    /// Does what happens next; false if nothing does.
    pub(super) fn step(&mut self) -> bool {
        let Some(time) = self.next() else {
            return false;
        };
        self.now = self.now.max(time);
        if let Some(entry) = self.wire.first_entry()
            && entry.key().0 <= self.now
        {
            let (side, segment, mark) = entry.remove();
            self.deliver(side, segment, mark);
            return true;
        }
        for side in 0..2 {
            let now = self.now();
            if let Some(tcb) = &mut self.side[side]
                && tcb.deadline().is_some_and(|time| time <= now)
            {
                let changes = tcb.on_timer(now);
                self.after(side, changes);
            }
        }
        true
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, nanos: u64) {
        let end = self.now + nanos;
        let mut steps = 0;
        while self.next().is_some_and(|time| time <= end) {
            self.step();
            steps += 1;
            assert!(steps < 1_000_000, "it does not come to rest");
        }
        self.now = end;
    }

    /// Lets time pass until `done`, or a day.
    pub(super) fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + 86_400_000 * MS;
        while !done(self) {
            assert!(
                self.now < end && self.step(),
                "nothing more happens: {:?}",
                self.side
            );
        }
    }

    /// Sends everything, and waits until it has arrived.
    pub(super) fn transfer(&mut self, side: usize, data: &[u8]) {
        let begin = self.received[1 - side].len();
        let mut sent = self.send(side, data);
        self.run_until(|pair| {
            if sent < data.len() {
                sent += pair.send(side, &data[sent..]);
            }
            pair.received[1 - side].len() == begin + data.len()
        });
        assert!(self.received[1 - side][begin..] == *data);
    }
}

/// A plain segment as one like all others.
fn plain_outgoing(tcb: &mut Tcb, plain: &Plain) -> Outgoing {
    let mut copy = vec![0; plain.len];
    tcb.copy_plain(plain, &mut copy);
    let payload = tcb.share_plain(plain);
    assert!(payload.pieces().flatten().eq(&copy));
    let segment = plain.numbers.with(payload);
    Outgoing {
        segment,
        mss: u16::MAX,
        ect: false,
    }
}

/// Segments of `mss` bytes from one that is larger.
pub(super) fn cut(segment: Segment, mss: usize) -> Vec<Segment> {
    let mut parts = vec![];
    let mut rest = segment;
    while rest.payload.len() > mss {
        let mut part = rest.clone();
        part.payload.truncate(mss);
        part.flags
            .remove(crate::tcp::Flags::FIN | crate::tcp::Flags::PSH);
        rest.payload.advance(mss);
        rest.seq = rest.seq.plus(mss as u32);
        rest.urgent = rest.urgent.saturating_sub(mss as u16);
        rest.flags.remove(crate::tcp::Flags::CWR);
        parts.push(part);
    }
    parts.push(rest);
    parts
}

/// Bytes that differ.
pub(super) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 251) as u8).collect()
}

/// No delayed acknowledgments, and small segments at once.
pub(super) fn quick() -> Config {
    Config {
        nodelay: true,
        delayed_ack: Duration::ZERO,
        ..Config::default()
    }
}
