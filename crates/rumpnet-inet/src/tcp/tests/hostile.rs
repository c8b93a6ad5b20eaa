//! A peer that lies, overtakes itself or sits on its window.

use super::{
    pair::MS,
    solo::{OURS, Solo, ack_of, full_options, plain, sack_only},
};
use crate::tcp::{Config, Count, Flags, Options, State, Tcb};
use alloc::vec;
use rumpuser::{Errno, Instant};

/// RFC 9293, section 3.10.7.4, eighth: a FIN by itself that overtakes the data before it counts once the data is there.
#[test]
fn lone_fin_overtakes() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.flags(101, Flags::FIN);
    assert_eq!((solo.state(), ack_of(&solo.one())), (State::Established, 1));
    solo.give_data(1, 100);
    assert_eq!(solo.state(), State::CloseWait);
    assert_eq!((ack_of(&solo.one()), solo.read().len()), (102, 100));
}

/// RFC 9293, section 3.4: FIN is the end. Data behind one that came early is not part of the stream, whichever comes first.
#[test]
fn data_behind_an_early_fin() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.flags(101, Flags::FIN);
    solo.give_data(1, 300);
    assert_eq!((solo.readable(), solo.state()), (100, State::CloseWait));
    solo.out();
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.flags(101, Flags::FIN);
    solo.give_data(51, 300);
    solo.give_data(1, 50);
    assert_eq!((solo.readable(), solo.state()), (100, State::CloseWait));
    assert_eq!(ack_of(&solo.out()[0]), 102);
}

/// RFC 7323, section 5.3, R3, after RFC 5961, section 5.2: a segment whose acknowledgment cannot be leaves TS.Recent alone. Else whoever
/// guesses a place in the window could have all that follows taken for old.
#[test]
fn guessed_timestamps() {
    let mut solo = Solo::established(Config::default(), full_options());
    for ack in [Some(40_000), Some(0_u32.wrapping_sub(70_000)), None] {
        let mut segment = solo.segment(1, ack, Flags::empty(), 10);
        if let Some(timestamps) = &mut segment.options.timestamps {
            timestamps.value = 1 << 30;
        }
        solo.give(segment);
        solo.out();
    }
    solo.timestamp = 2;
    solo.give_data(1, 10);
    assert_eq!(solo.readable(), 10);
}

/// RFC 9293, section 3.8.6.1: a closed window is probed though the user holds back what does not fill a segment (`TCP_CORK`): what
/// does waits for the window, and so does all once the user has closed.
#[test]
fn corked_and_closed_window() {
    let config = Config {
        cork: true,
        ..Config::default()
    };
    let mut solo = Solo::established(config.clone(), sack_only());
    solo.window = 0;
    solo.ack(1);
    solo.write(3000);
    assert_eq!(solo.sent(), []);
    assert!(solo.wait() < 1000);
    assert_eq!(solo.sent(), [(1, 1)]);
    let mut solo = Solo::established(config.clone(), sack_only());
    solo.window = 0;
    solo.ack(1);
    solo.write(10);
    solo.out();
    assert_eq!(solo.deadline(), None);
    solo.tcb.shutdown_write();
    solo.out();
    assert!(solo.wait() < 1000);
    assert_eq!(solo.sent(), [(1, 1)]);
    // With the window open nothing is to be probed.
    let mut solo = Solo::established(config, sack_only());
    solo.write(10);
    assert_eq!((solo.sent(), solo.deadline()), (vec![], None));
}

/// RFC 6429, section 3: a peer that keeps its window closed holds a connection whose user is gone for as long as retransmissions
/// last, and not for ever.
#[test]
fn orphan_and_closed_window() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.window = 0;
    solo.ack(1);
    solo.write(3000);
    solo.out();
    solo.tcb.close(Instant(solo.now));
    let mut probes = 0;
    while solo.state() != State::Closed {
        solo.wait();
        probes += solo.out().len();
        assert!(probes < 30);
        solo.ack(1);
        solo.out();
    }
    assert_eq!(solo.error(), Some(Errno::ETIMEDOUT));
    assert!(probes >= 10);
    // RFC 9293, section 3.8.6.1, MUST-37: with a user it stays.
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.window = 0;
    solo.ack(1);
    solo.write(3000);
    for _ in 0..50 {
        solo.out();
        solo.wait();
        solo.out();
        solo.ack(1);
    }
    assert_eq!(solo.state(), State::Established);
}

/// RFC 3168, section 6.1.6: a probe of a closed window is not ECN-capable, and does not say that the window was reduced; the first data
/// after it does.
#[test]
fn probes_and_ecn() {
    let mut syn = super::solo::syn(sack_only());
    syn.flags = Flags::SYN | Flags::ECE | Flags::CWR;
    let config = alloc::sync::Arc::new(Config {
        ecn: true,
        ..Config::default()
    });
    let path = super::solo::path();
    let tcb = Tcb::accept(&config, path, OURS, &syn, Instant(1000 * MS));
    let mut solo = Solo::with(tcb);
    solo.out();
    solo.sleep(10);
    solo.ack(1);
    solo.write(1000);
    assert!(solo.outgoing()[0].ect);
    solo.window = 0;
    solo.write(3000);
    let segment = solo.segment(1, Some(1001), Flags::ECE, 0);
    solo.give(segment);
    assert_eq!(
        solo.tcb
            .tally()
            .map(|tally| tally.get(Count::EcnReductions)),
        Some(1)
    );
    assert!(solo.out().is_empty());
    solo.wait();
    let probe = solo.outgoing();
    assert_eq!((probe.len(), probe[0].segment.payload.len()), (1, 1));
    assert!(!probe[0].ect && !probe[0].segment.flags.contains(Flags::CWR));
    solo.window = 5000;
    solo.ack(1002);
    let data = solo.outgoing();
    assert!(data[0].ect && data[0].segment.flags.contains(Flags::CWR));
}

/// RFC 9293, section 3.7.1: an MSS of zero, or of less than the options take, is one that still sends; the largest is what the way takes.
#[test]
fn absurd_mss() {
    for (said, most) in [(0, 64), (1, 64), (u16::MAX, 1000)] {
        let options = Options {
            mss: Some(said),
            ..plain()
        };
        let mut solo = Solo::established(Config::default(), options);
        solo.write(5000);
        let sent = solo.sent();
        assert!(!sent.is_empty());
        assert!(
            sent.iter().all(|(_, len)| (1..=most).contains(len)),
            "{said}: {sent:?}"
        );
    }
}

/// RFC 2018, section 8, and RFC 6675: ranges that are turned around, beyond what was sent, before what is acknowledged or of everything do
/// not make the sender lose data or send what nobody asked for.
#[test]
fn sacks_that_lie() {
    let lies: [&[(u32, u32)]; 5] = [
        &[(2001, 1001)],
        &[(5001, 90_001)],
        &[(1, 1)],
        &[(0_u32.wrapping_sub(500), 2001)],
        &[(1_u32.wrapping_add(1 << 31), 1001)],
    ];
    for lie in lies {
        let mut solo = Solo::established(Config::default(), sack_only());
        solo.write(5000);
        assert_eq!(solo.sent().len(), 5);
        for _ in 0..5 {
            solo.sack(1, lie);
        }
        assert_eq!(solo.tcb.info().sacked, 0, "{lie:?}");
        assert_eq!(solo.tcb.flight(), 5000);
    }
    // Everything is said to be there and never acknowledged: after the timeout all of it goes again (section 8).
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(5000);
    solo.out();
    solo.sack(1, &[(1, 5001)]);
    let mut sent = vec![];
    for _ in 0..10 {
        if !sent.is_empty() {
            break;
        }
        solo.wait();
        sent = solo.sent();
    }
    assert_eq!(sent[0].0, 1);
    solo.ack(1001);
    assert_eq!(solo.sent()[0].0, 1001);
}

/// RFC 4022 and others: what happens is counted, of SYN as of data.
#[test]
fn counted() {
    let mut solo = Solo::connect(Config::default());
    solo.out();
    solo.wait();
    solo.out();
    let get = |solo: &Solo, what| solo.tcb.tally().map_or(0, |tally| tally.get(what));
    let counts = [Count::RetransSegs, Count::SynRetrans, Count::Timeouts];
    assert_eq!(counts.map(|what| get(&solo, what)), [1, 1, 1]);
    let segment = solo.segment(0, Some(1), Flags::RST, 0);
    solo.give(segment);
    assert_eq!(get(&solo, Count::AttemptFails), 1);
    let mut solo = Solo::established(Config::default(), sack_only());
    assert_eq!(solo.tcb.tally(), None);
    solo.write(5000);
    solo.out();
    for end in [2001, 3001, 4001, 5001] {
        solo.sack(1, &[(1001, end)]);
    }
    solo.out();
    let counts = [
        Count::SackRecoveries,
        Count::FastRetrans,
        Count::RetransSegs,
        Count::Timeouts,
    ];
    assert_eq!(counts.map(|what| get(&solo, what)), [1, 1, 1, 0]);
    solo.give_data(501, 10);
    solo.flags(1, Flags::RST);
    let counts = [Count::OutOfOrder, Count::EstabResets, Count::AttemptFails];
    assert_eq!(counts.map(|what| get(&solo, what)), [1, 1, 0]);
}
