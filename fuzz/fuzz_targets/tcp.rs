//! The engine of TCP against a peer that sends anything, and two of them over a network that does anything.
#![no_main]

use arbitrary::Unstructured;
use bytes::Bytes;
use rumpnet_inet::tcp::{
    Config, Congestion, Flags, NetworkError, Options, Outgoing, Path, Segment, Seq, State, Tcb,
    Timestamps, TransmitLimit, reset_for,
};
use rumpuser::{Errno, Instant};
use std::{sync::Arc, time::Duration};

const SECOND: u64 = 1_000_000_000;
/// Steps of one input.
const STEPS: usize = 2000;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    if flip(&mut input) {
        alone(&mut input);
    } else {
        pair(&mut input);
    }
});

fn flip(input: &mut Unstructured<'_>) -> bool {
    below(input, 2) == 1
}

/// A number below `bound`; 0 at the end of the input.
fn below(input: &mut Unstructured<'_>, bound: u32) -> u32 {
    input.int_in_range(0..=bound - 1).unwrap_or(0)
}

fn config(input: &mut Unstructured<'_>) -> Config {
    let bits = below(input, 1 << 12);
    let bit = |n: u32| bits & (1 << n) != 0;
    let buffer = 1 + below(input, 200_000) as usize;
    Config {
        window_scaling: bit(0),
        timestamps: bit(1),
        sack: bit(2),
        ecn: bit(3),
        nodelay: bit(4),
        congestion: match (bit(5), bit(11)) {
            (true, _) => Congestion::NewReno,
            (false, true) => Congestion::Bbr,
            (false, false) => Congestion::Cubic,
        },
        fast_open: bit(6),
        urgent_inline: bit(7),
        receive_buffer: buffer,
        receive_buffer_max: if bit(8) { buffer } else { 1 << 20 },
        keep_alive: bit(9),
        tell_user_timeout: bit(10),
        ..Config::default()
    }
}

fn path(input: &mut Unstructured<'_>) -> Path {
    Path {
        mss: u16::try_from(below(input, 1 << 16)).unwrap_or(u16::MAX),
        ..Path::default()
    }
}

fn limit(input: &mut Unstructured<'_>) -> TransmitLimit {
    TransmitLimit {
        max_payload: below(input, 70_000) as usize,
    }
}

/// A number near one of those that count, or any.
fn near(input: &mut Unstructured<'_>, seq: Seq) -> Seq {
    match below(input, 4) {
        0 => seq,
        1 => seq.plus(below(input, 3000)),
        2 => seq.minus(below(input, 3000)),
        _ => Seq(input.arbitrary().unwrap_or(0)),
    }
}

/// A segment that may be anything, mostly near what is expected: `next` of the peer, `ack` of ours.
fn segment(input: &mut Unstructured<'_>, next: Seq, ack: Seq) -> Segment {
    let rare = below(input, 4) == 0;
    let flags = if rare {
        input.arbitrary().unwrap_or(0)
    } else {
        0
    };
    let len = [0, 1, 100, 1460, 9000][below(input, 5) as usize];
    let mut options = Options::default();
    if flip(input) {
        options.timestamps = Some(Timestamps {
            value: below(input, 100_000),
            echo: below(input, 100_000),
        });
    }
    for _ in 0..below(input, 5) {
        let start = near(input, ack);
        options.sack.push(start, start.plus(below(input, 5000)));
    }
    if flags & 2 != 0 {
        options.mss = input.arbitrary().ok();
        options.window_scale = input.arbitrary().ok();
        options.sack_permitted = flip(input);
    }
    Segment {
        seq: near(input, next),
        ack: (!rare || flip(input)).then(|| near(input, ack)),
        flags: Flags::from_bits_truncate(flags),
        window: [0, 1, 1000, u16::MAX][below(input, 4) as usize],
        urgent: if rare {
            input.arbitrary().unwrap_or(0)
        } else {
            0
        },
        options,
        payload: Bytes::from(vec![0; len]).into(),
    }
}

/// What the user may do.
fn call(input: &mut Unstructured<'_>, tcb: &mut Tcb, now: Instant) {
    match below(input, 14) {
        0..4 => drop(tcb.send(Bytes::from(vec![1; below(input, 20_000) as usize]).into())),
        4 => drop(tcb.receive(below(input, 100_000) as usize)),
        5 => drop(tcb.receive_into(&mut vec![0; below(input, 5000) as usize])),
        6 => drop(tcb.send_urgent(Bytes::from_static(b"!").into())),
        7 => drop(tcb.receive_urgent(false)),
        8 => tcb.set_cork(flip(input)),
        9 => tcb.set_receive_buffer(below(input, 300_000) as usize),
        10 => tcb.set_send_buffer(below(input, 300_000) as usize),
        11 => tcb.shutdown_write(),
        12 if flip(input) => tcb.shutdown_read(),
        12 => {
            tcb.close(now);
        }
        _ if below(input, 8) == 0 => drop(tcb.abort()),
        _ => {
            tcb.set_user_timeout(
                flip(input).then(|| Duration::from_millis(u64::from(below(input, 10_000)))),
                flip(input),
            );
            tcb.set_urgent_inline(flip(input));
            tcb.set_congestion(if flip(input) {
                Congestion::NewReno
            } else {
                Congestion::Cubic
            });
        }
    }
}

/// Takes everything that it sends, and looks at what must hold.
fn transmit(tcb: &mut Tcb, now: Instant, limit: TransmitLimit) -> Vec<Outgoing> {
    let mut all = Vec::new();
    while let Some(outgoing) = tcb.poll_transmit(now, limit) {
        assert!(outgoing.mss > 0 && outgoing.segment.options.encoded_len() <= 40);
        assert!(outgoing.segment.payload.len() <= limit.max_payload.max(usize::from(outgoing.mss)));
        all.push(outgoing);
        assert!(all.len() < 100_000, "it does not come to an end");
    }
    assert!(!tcb.has_output());
    let waits = tcb.unacknowledged() > 0 && tcb.state() != State::Closed && !tcb.cork();
    assert!(
        !waits || tcb.deadline().is_some(),
        "it waits for nothing: {tcb:?}"
    );
    let _ = (
        tcb.info(),
        tcb.at_mark(),
        tcb.at_end(),
        tcb.readable(),
        tcb.rearm(),
    );
    all
}

/// One connection, and the input plays its peer.
fn alone(input: &mut Unstructured<'_>) {
    let (config, path, limit) = (Arc::new(config(input)), path(input), limit(input));
    let mut now = SECOND;
    let (mut next, mut ours) = (Seq(0), Seq(5));
    let mut tcb = if flip(input) {
        Tcb::connect(&config, path, ours, Instant(now))
    } else {
        let mut syn = segment(input, next, ours);
        syn.flags = Flags::SYN;
        next = syn.seq.plus(1);
        Tcb::accept(&config, path, ours, &syn, Instant(now))
    };
    for _ in 0..STEPS {
        for outgoing in transmit(&mut tcb, Instant(now), limit) {
            ours = ours.max(outgoing.segment.end());
            next = outgoing.segment.ack.unwrap_or(next);
        }
        // Nothing that it holds is more than its windows allowed.
        assert!(tcb.readable() <= 1 << 21);
        if input.is_empty() {
            break;
        }
        now += u64::from(below(input, 1000)) * SECOND / 1000;
        match below(input, 8) {
            0..4 => {
                let segment = segment(input, next, ours);
                tcb.on_segment(segment, flip(input), Instant(now));
            }
            4 => {
                if let Some(Instant(time)) = tcb.deadline() {
                    now = now.max(time);
                }
                tcb.on_timer(Instant(now));
            }
            5 => {
                let error = match below(input, 3) {
                    0 => NetworkError::Refused,
                    1 => NetworkError::Unreachable(Errno::EHOSTUNREACH),
                    _ => NetworkError::TooBig {
                        mss: input.arbitrary().unwrap_or(0),
                    },
                };
                let seq = near(input, ours.minus(1));
                tcb.on_icmp(error, seq, Instant(now));
            }
            _ => call(input, &mut tcb, Instant(now)),
        }
    }
    // Whatever happened, it does not run for ever by itself.
    tcb.close(Instant(now));
    for _ in 0..10_000 {
        transmit(&mut tcb, Instant(now), limit);
        let Some(time) = tcb.deadline() else {
            return;
        };
        now = now.max(time.0);
        tcb.on_timer(Instant(now));
    }
    panic!("it does not end: {tcb:?}");
}

struct Side {
    tcb: Box<Tcb>,
    limit: TransmitLimit,
    /// On the way to this side.
    wire: Vec<(Segment, bool)>,
    sent: u64,
    received: u64,
}

impl Side {
    fn send(&mut self, len: usize) {
        let bytes: Vec<u8> = (0..len as u64).map(|n| pattern(self.sent + n)).collect();
        self.sent += self.tcb.send(Bytes::from(bytes).into()) as u64;
    }

    fn receive(&mut self, max: usize) {
        let chain = self.tcb.receive(max);
        for byte in chain.pieces().flatten() {
            assert_eq!(*byte, pattern(self.received));
            self.received += 1;
        }
    }
}

fn pattern(place: u64) -> u8 {
    (place ^ (place >> 8)).to_le_bytes()[0]
}

fn flush(sides: &mut [Side; 2], from: usize, now: u64) {
    let limit = sides[from].limit;
    for outgoing in transmit(&mut sides[from].tcb, Instant(now), limit) {
        sides[1 - from].wire.push((outgoing.segment, outgoing.ect));
    }
}

fn deliver(sides: &mut [Side; 2], to: usize, segment: Segment, mark: bool, now: u64) {
    if sides[to].tcb.state() == State::Closed {
        if let Some(reset) = reset_for(&segment) {
            sides[1 - to].wire.push((reset, false));
        }
        return;
    }
    sides[to].tcb.on_segment(segment, mark, Instant(now));
    flush(sides, to, now);
}

/// Two connections: the bytes arrive in order and once, and in the end all of them.
fn pair(input: &mut Unstructured<'_>) {
    let mut now = SECOND;
    let configs = [config(input), config(input)].map(|config| {
        Arc::new(Config {
            keep_alive: false,
            fast_open: false,
            retries: 255,
            ..config
        })
    });
    let limit = TransmitLimit { max_payload: 1 };
    let mut client = Tcb::connect(
        &configs[0],
        path(input),
        Seq(input.arbitrary().unwrap_or(0)),
        Instant(now),
    );
    let syn = transmit(&mut client, Instant(now), limit).remove(0).segment;
    let server = Tcb::accept(
        &configs[1],
        path(input),
        Seq(input.arbitrary().unwrap_or(0)),
        &syn,
        Instant(now),
    );
    let mut sides = [client, server].map(|tcb| Side {
        tcb,
        limit: self::limit(input),
        wire: Vec::new(),
        sent: 0,
        received: 0,
    });
    flush(&mut sides, 1, now);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        now += u64::from(below(input, 300)) * SECOND / 1000;
        let side = below(input, 2) as usize;
        match below(input, 10) {
            0..5 => {
                let count = sides[side].wire.len() as u32;
                if count == 0 {
                    continue;
                }
                // Mostly the oldest; it may be lost, or stay to come again.
                let index = if below(input, 4) == 0 {
                    below(input, count) as usize
                } else {
                    0
                };
                let (segment, ect) = match below(input, 8) {
                    0 => {
                        sides[side].wire.remove(index);
                        continue;
                    }
                    1 => sides[side].wire[index].clone(),
                    _ => sides[side].wire.remove(index),
                };
                let mark = ect && below(input, 8) == 0;
                deliver(&mut sides, side, segment, mark, now);
            }
            5 | 6 => sides[side].send(below(input, 20_000) as usize),
            7 => sides[side].receive(below(input, 50_000) as usize),
            8 => {
                if let Some(Instant(time)) = sides[side].tcb.deadline() {
                    now = now.max(time);
                }
                sides[side].tcb.on_timer(Instant(now));
            }
            _ => sides[side].tcb.set_nodelay(flip(input)),
        }
        flush(&mut sides, side, now);
    }
    finish(&mut sides, now);
}

/// A good network from now on: everything arrives, and both sides close.
fn finish(sides: &mut [Side; 2], mut now: u64) {
    for side in 0..2 {
        sides[side].tcb.shutdown_write();
        flush(sides, side, now);
    }
    let lost = sides.iter().any(|side| side.tcb.error().is_some());
    // Through a window of one byte each takes a turn there, one back and perhaps a timer.
    let left = sides[0].sent + sides[1].sent - sides[0].received - sides[1].received;
    for _ in 0..200_000 + 4 * left {
        for side in 0..2 {
            for (segment, _) in std::mem::take(&mut sides[side].wire) {
                deliver(sides, side, segment, false, now);
            }
            sides[side].receive(usize::MAX);
            flush(sides, side, now);
        }
        if sides.iter().any(|side| !side.wire.is_empty()) {
            continue;
        }
        let Some(time) = sides.iter().filter_map(|side| side.tcb.deadline()).min() else {
            break;
        };
        now = now.max(time.0);
        for side in 0..2 {
            sides[side].tcb.on_timer(Instant(now));
            flush(sides, side, now);
        }
    }
    let [one, two] = sides;
    for side in [&*one, &*two] {
        assert_eq!(
            side.tcb.state(),
            State::Closed,
            "it does not end: {:?}",
            side.tcb
        );
    }
    if !lost {
        assert_eq!(
            (one.sent, two.sent),
            (two.received, one.received),
            "{:?} {:?}",
            one.tcb,
            two.tcb
        );
    }
}
