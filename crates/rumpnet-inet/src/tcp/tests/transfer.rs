//! Connect, transfer, close.

use super::pair::{Fate, MS, Pair, bytes, quick};
use crate::tcp::{Changes, Config, State};
use alloc::boxed::Box;
use rumpuser::{Errno, Rng};

fn no_options() -> Config {
    Config {
        timestamps: false,
        sack: false,
        window_scaling: false,
        ..Config::default()
    }
}

/// RFC 9293, figures 6 and 12: the handshake, data in both directions, both ways of closing.
#[test]
fn there_and_back() {
    for config in [Config::default(), no_options()] {
        let mut pair = Pair::established(config.clone(), config);
        assert!(
            pair.changes[0].contains(Changes::CONNECTED)
                && pair.changes[1].contains(Changes::CONNECTED)
        );
        pair.transfer(0, &bytes(300_000));
        pair.transfer(1, &bytes(300_000));
        pair.shutdown(0);
        pair.run(100 * MS);
        assert_eq!(
            (pair.state(0), pair.state(1)),
            (State::FinWait2, State::CloseWait)
        );
        assert!(pair.changes[1].contains(Changes::PEER_CLOSED) && pair.tcb(1).at_end());
        pair.transfer(1, &bytes(10_000));
        pair.close(1);
        pair.run(100 * MS);
        assert_eq!(
            (pair.state(0), pair.state(1)),
            (State::TimeWait, State::Closed)
        );
        pair.run(60_000 * MS);
        assert_eq!(pair.state(0), State::Closed);
        assert_eq!((pair.tcb(0).error(), pair.tcb(1).error()), (None, None));
        assert_eq!(pair.tcb(0).info().retransmitted_segments, 0);
    }
}

/// Large segments pass whole, and nobody copies.
#[test]
fn large_segments() {
    let mut pair = Pair::established(Config::default(), Config::default());
    (pair.limit, pair.cut) = (65_536, false);
    pair.transfer(0, &bytes(3_000_000));
    let largest = pair.sent[0]
        .iter()
        .map(|segment| segment.payload.len())
        .max();
    assert!(largest > Some(60_000), "{largest:?}");
    assert_eq!(pair.tcb(0).info().retransmitted_segments, 0);
}

/// With one of n segments lost everything arrives all the same.
#[test]
fn losses() {
    for config in [Config::default(), no_options()] {
        for n in [4_u64, 7, 20] {
            let mut pair = Pair::new(config.clone(), config.clone());
            let mut random = Rng::new(n);
            pair.script = Box::new(move |_, _, _| {
                if random.below(n) == 0 {
                    Fate::Drop
                } else {
                    Fate::Deliver
                }
            });
            pair.connect();
            pair.run_until(|pair| pair.state(1) == State::Established);
            pair.transfer(0, &bytes(100_000));
            pair.transfer(1, &bytes(100_000));
            pair.close(0);
            pair.close(1);
            pair.run_until(|pair| pair.state(0) == State::Closed && pair.state(1) == State::Closed);
        }
    }
}

/// Segments that overtake each other or come twice do no harm.
#[test]
fn reordered_and_doubled() {
    for config in [quick(), no_options()] {
        let mut pair = Pair::established(config.clone(), config);
        let mut count = 0;
        pair.script = Box::new(move |_, _, _| {
            count += 1;
            match count % 5 {
                0 => Fate::Delay(3 * MS),
                1 => Fate::Twice,
                _ => Fate::Deliver,
            }
        });
        pair.transfer(0, &bytes(100_000));
        pair.transfer(1, &bytes(100_000));
    }
}

/// RFC 9293, section 3.10.7.4: a reset at RCV.NXT ends the connection.
#[test]
fn reset() {
    let mut pair = Pair::established(quick(), quick());
    let reset = pair.tcb(0).abort().unwrap();
    let changes = pair.inject(1, reset.segment);
    assert!(changes.contains(Changes::RESET | Changes::CLOSED));
    assert_eq!(pair.tcb(1).error(), Some(Errno::ECONNRESET));
}
