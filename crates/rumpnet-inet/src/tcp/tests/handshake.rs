//! The handshake and its options.

use super::{
    pair::{Fate, MS, MSS, Pair, bytes},
    solo::{OURS, PEERS, Solo, full_options, path, plain, syn},
};
use crate::tcp::{
    Changes, Config, Cookie, Flags, Options, Path, Segment, Seq, State, Tcb, TransmitLimit, cookie,
    reset_for,
};
use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use bytes::Bytes;
use rumpuser::{Errno, Instant};

/// RFC 9293, section 3.5, figure 6; section 3.7.1, MUST-14: each SYN says an MSS.
#[test]
fn three_ways() {
    let mut solo = Solo::connect(Config::default());
    let syn = solo.one();
    assert_eq!((syn.seq, syn.ack, syn.flags), (OURS, None, Flags::SYN));
    assert_eq!(syn.options.mss, Some(MSS));
    assert!(
        syn.options.sack_permitted
            && syn.options.window_scale == Some(7)
            && syn.options.timestamps.is_some()
    );
    let mut answer = solo.segment(0, Some(1), Flags::SYN, 0);
    answer.options = full_options();
    assert!(
        solo.give(answer)
            .contains(Changes::CONNECTED | Changes::OUTPUT)
    );
    assert_eq!(solo.state(), State::Established);
    let ack = solo.one();
    assert_eq!(
        (ack.seq, ack.ack, ack.flags),
        (OURS.plus(1), Some(PEERS.plus(1)), Flags::empty())
    );
}

/// RFC 9293, section 3.5, figure 7: simultaneous open.
#[test]
fn simultaneous_open() {
    let mut pair = Pair::new(Config::default(), Config::default());
    pair.connect();
    let now = Instant(pair.now);
    pair.side[1] = Some(Tcb::connect(&pair.configs[1], pair.path(1), Seq(99), now));
    pair.flush(1);
    pair.run(100 * MS);
    assert_eq!(
        (pair.state(0), pair.state(1)),
        (State::Established, State::Established)
    );
    assert!(
        pair.changes
            .iter()
            .all(|changes| changes.contains(Changes::CONNECTED))
    );
    let answers = pair.sent[0]
        .iter()
        .filter(|segment| segment.flags.contains(Flags::SYN) && segment.ack.is_some());
    assert_eq!(answers.count(), 1);
    pair.transfer(0, &bytes(50_000));
    pair.transfer(1, &bytes(50_000));
}

/// RFC 9293, section 3.5.2 and 3.10.7.1: what belongs to no connection is reset, a reset is not.
#[test]
fn resets_for_nothing() {
    let segment = Segment {
        seq: Seq(5),
        ack: Some(Seq(9)),
        ..Segment::default()
    };
    let reset = reset_for(&segment).unwrap();
    assert_eq!(
        (reset.seq, reset.ack, reset.flags),
        (Seq(9), None, Flags::RST)
    );
    let payload = Bytes::from_static(b"abc").into();
    let segment = Segment {
        seq: Seq(5),
        flags: Flags::SYN | Flags::FIN,
        payload,
        ..Segment::default()
    };
    let reset = reset_for(&segment).unwrap();
    assert_eq!(
        (reset.seq, reset.ack, reset.flags),
        (Seq(0), Some(Seq(10)), Flags::RST)
    );
    assert_eq!(reset_for(&reset), None);
}

/// RFC 9293, section 3.10.7.3: SYN-SENT, each check in its order.
#[test]
fn syn_sent() {
    let start = || {
        let mut solo = Solo::connect(Config::default());
        solo.out();
        solo
    };
    // First: an ACK of something else is reset, unless it is a reset.
    for ack in [0, 2, u32::MAX] {
        let mut solo = start();
        let segment = solo.segment(0, Some(ack), Flags::SYN, 0);
        solo.give(segment);
        let reset = solo.one();
        assert_eq!(
            (reset.seq, reset.flags, solo.state()),
            (OURS.plus(ack), Flags::RST, State::SynSent)
        );
        let segment = solo.segment(0, Some(ack), Flags::RST, 0);
        solo.give(segment);
        assert_eq!((solo.out(), solo.state()), (vec![], State::SynSent));
    }
    // Second: a reset counts with an acceptable ACK only.
    let mut solo = start();
    let segment = solo.segment(0, None, Flags::RST, 0);
    solo.give(segment);
    assert_eq!(solo.state(), State::SynSent);
    let segment = solo.segment(0, Some(1), Flags::RST, 0);
    assert!(
        solo.give(segment)
            .contains(Changes::REFUSED | Changes::CLOSED)
    );
    assert_eq!(solo.error(), Some(Errno::ECONNREFUSED));
    // Fifth: neither SYN nor RST is dropped.
    let mut solo = start();
    let segment = solo.segment(0, Some(1), Flags::empty(), 10);
    solo.give(segment);
    assert_eq!((solo.out(), solo.state()), (vec![], State::SynSent));
}

/// RFC 9293, section 3.10.7.4, fifth: in SYN-RECEIVED an ACK of something else is reset.
#[test]
fn syn_received() {
    let mut solo = Solo::accept(Config::default(), full_options());
    let answer = solo.one();
    assert_eq!(
        (answer.seq, answer.ack, answer.flags),
        (OURS, Some(PEERS.plus(1)), Flags::SYN)
    );
    for ack in [0, 2] {
        solo.ack(ack);
        let reset = solo.one();
        assert_eq!(
            (reset.seq, reset.flags, solo.state()),
            (OURS.plus(ack), Flags::RST, State::SynReceived)
        );
    }
    // SYN again: the answer was lost.
    solo.sleep(200);
    solo.give(syn(full_options()));
    assert_eq!(solo.one().flags, Flags::SYN);
    // A reset ends it (second check).
    let segment = solo.segment(1, None, Flags::RST, 0);
    assert!(solo.give(segment).contains(Changes::CLOSED));
}

/// RFC 9293, section 3.7.1, MUST-15: without the option the MSS is 536; a silly one is not followed.
#[test]
fn mss() {
    for (said, used) in [
        (None, 536),
        (Some(700), 700),
        (Some(9000), 1000),
        (Some(1), 64),
        (Some(0), 64),
    ] {
        let options = Options {
            mss: said,
            ..Options::default()
        };
        let mut solo = Solo::established(Config::default(), options);
        solo.write(5000);
        assert_eq!(solo.sent()[0], (1, used), "{said:?}");
    }
}

/// RFC 7323, section 2.2: windows are scaled when both said so, and not in SYN; section 2.3: by 14 at most.
#[test]
fn window_scaling() {
    for (said, shift) in [
        (Some(3), 3),
        (Some(14), 14),
        (Some(15), 14),
        (Some(255), 14),
        (None, 0),
    ] {
        let mut solo = Solo::accept(
            Config::default(),
            Options {
                window_scale: said,
                ..plain()
            },
        );
        let answer = solo.one();
        assert_eq!(answer.options.window_scale, said.map(|_| 7));
        assert_eq!(solo.info().send_window, 65_535);
        solo.window = 100;
        solo.ack(1);
        assert_eq!(solo.info().send_window, 100 << shift, "{said:?}");
    }
    let config = Config {
        window_scaling: false,
        ..Config::default()
    };
    let mut solo = Solo::accept(config, full_options());
    assert_eq!(solo.one().options.window_scale, None);
}

/// RFC 9293, section 3.8.3, MUST-23: SYN is sent again for at least three minutes; RFC 6298, section 2.1: after one second at first.
#[test]
fn syn_again() {
    let mut solo = Solo::connect(Config::default());
    let mut waits = vec![];
    let mut total = 0;
    while solo.state() == State::SynSent {
        assert_eq!(solo.one().flags, Flags::SYN);
        waits.push(solo.wait() / 1000);
        total += waits.last().unwrap();
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120]);
    assert!(total >= 180 && solo.changes.contains(Changes::TIMED_OUT));
    assert_eq!(solo.error(), Some(Errno::ETIMEDOUT));
}

/// RFC 6298, section 5.7: after the loss of a SYN the timeout is 3 seconds; RFC 6928, section 2: and the window one segment.
#[test]
fn after_syn_loss() {
    let mut solo = Solo::connect(Config {
        timestamps: false,
        ..Config::default()
    });
    solo.out();
    solo.wait();
    solo.out();
    let mut answer = solo.segment(0, Some(1), Flags::SYN, 0);
    answer.options = plain();
    solo.give(answer);
    assert_eq!(solo.info().congestion_window, 1000);
    solo.write(10);
    solo.out();
    assert_eq!(solo.wait(), 3000);
}

/// RFC 7413, sections 4.1 and 4.2: a cookie is asked for, given, and then data goes with SYN and is read before the handshake ends.
#[test]
fn fast_open() {
    let now = Instant(1000 * MS);
    let config = Arc::new(Config {
        fast_open: true,
        ..Config::default()
    });
    let limit = TransmitLimit { max_payload: 1 };
    let secret = cookie::Secret([3; 16]);
    let good = cookie::fast_open_cookie(&secret, b"client");
    let client = |fast_open| {
        Tcb::connect(
            &config,
            Path {
                fast_open: Some(fast_open),
                ..path()
            },
            OURS,
            now,
        )
    };
    // The first connection.
    let mut one = client(Cookie::default());
    one.send(Bytes::from_static(b"request").into());
    let syn = one.poll_transmit(now, limit).unwrap().segment;
    assert!(syn.options.fast_open.unwrap().is_request() && syn.payload.is_empty());
    let asks = Path {
        fast_open: Some(good),
        ..path()
    };
    let mut server = Tcb::accept(&Arc::new(Config::default()), asks, PEERS, &syn, now);
    let answer = server.poll_transmit(now, limit).unwrap().segment;
    one.on_segment(answer, false, now);
    assert_eq!(one.fast_open_cookie(), Some(good));
    // The second one.
    let mut two = client(good);
    two.send(Bytes::from_static(b"request").into());
    let syn = two.poll_transmit(now, limit).unwrap().segment;
    assert_eq!((syn.options.fast_open, syn.payload.len()), (Some(good), 7));
    let mut server = Tcb::accept(&config, path(), PEERS, &syn, now);
    assert_eq!((server.readable(), server.state()), (7, State::SynReceived));
    server.send(Bytes::from_static(b"answer").into());
    let answers: Vec<Segment> = core::iter::from_fn(|| server.poll_transmit(now, limit))
        .map(|out| out.segment)
        .collect();
    assert_eq!(
        (answers.len(), answers[0].ack, answers[1].payload.len()),
        (2, Some(OURS.plus(8)), 6)
    );
    for answer in answers {
        two.on_segment(answer, false, now);
    }
    assert_eq!(
        (two.state(), two.readable(), two.unacknowledged()),
        (State::Established, 6, 0)
    );
    while let Some(outgoing) = two.poll_transmit(now, limit) {
        server.on_segment(outgoing.segment, false, now);
    }
    assert_eq!(
        (server.state(), server.unacknowledged()),
        (State::Established, 0)
    );
    // A server that does not take the data: it is sent as usual.
    let mut three = client(good);
    three.send(Bytes::from_static(b"request").into());
    let syn = three.poll_transmit(now, limit).unwrap().segment;
    let mut server = Tcb::accept(&Arc::new(Config::default()), path(), PEERS, &syn, now);
    let answer = server.poll_transmit(now, limit).unwrap().segment;
    three.on_segment(answer, false, now);
    let data = three.poll_transmit(now, limit).unwrap().segment;
    assert_eq!((data.seq, data.payload.len()), (OURS.plus(1), 7));
    server.on_segment(data, false, now);
    assert_eq!((server.state(), server.readable()), (State::Established, 7));
}

/// RFC 7413, section 4.1.3.1: a SYN that is sent again has neither data nor cookie.
#[test]
fn fast_open_lost() {
    let now = Instant(1000 * MS);
    let good = Cookie::new(&[1; 8]).unwrap();
    let path = Path {
        fast_open: Some(good),
        ..path()
    };
    let mut solo = Solo::with(Tcb::connect(&Arc::new(Config::default()), path, OURS, now));
    solo.write(100);
    assert_eq!(solo.one().payload.len(), 100);
    solo.wait();
    let again = solo.one();
    assert_eq!((again.payload.len(), again.options.fast_open), (0, None));
}

/// RFC 4987, section 3.6: a connection from a SYN cookie works as any other.
#[test]
fn syn_cookies() {
    let mut pair = Pair::new(Config::default(), Config::default());
    pair.script = Box::new(|_, _, _| Fate::Drop);
    pair.connect();
    let syn = pair.sent[0][0].clone();
    let secret = cookie::Secret([9; 16]);
    let (config, path, now) = (pair.configs[1].clone(), pair.path(1), pair.now());
    let answer = cookie::syn_cookie(&secret, b"tuple", &syn, &config, path, now);
    pair.inject(0, answer);
    assert_eq!(pair.state(0), State::Established);
    let ack = pair.sent[0].last().unwrap().clone();
    let options = cookie::check_syn_cookie(&secret, b"tuple", &ack, now).unwrap();
    let tcb = Tcb::accept_cookie(&config, path, &ack, &options, now);
    pair.side[1] = Some(tcb);
    let changes = pair.inject(1, ack);
    assert!(changes.contains(Changes::CONNECTED));
    let info = pair.tcb(1).info();
    assert!(
        info.sack && info.timestamps && info.window_scale == Some((7, 7)),
        "{info:?}"
    );
    pair.script = Box::new(|_, _, _| Fate::Deliver);
    pair.transfer(0, &bytes(200_000));
    pair.transfer(1, &bytes(200_000));
}
