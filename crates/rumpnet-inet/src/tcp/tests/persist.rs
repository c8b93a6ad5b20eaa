//! Timers besides retransmission: probes of closed windows, keep-alive, the user timeout.

use super::{
    pair::MS,
    solo::{OURS, PEERS, Solo, full_options, path, sack_only},
};
use crate::tcp::{Changes, Config, Flags, KeepAlive, State, Tcb, TransmitLimit};
use alloc::{sync::Arc, vec, vec::Vec};
use bytes::Bytes;
use core::time::Duration;
use rumpuser::{Errno, Instant};

fn closed_window() -> Solo {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.window = 0;
    solo.ack(1);
    solo.write(3000);
    assert_eq!(solo.sent(), []);
    solo
}

/// RFC 9293, section 3.8.6.1, MUST-36, SHLD-29, SHLD-30: a closed window is probed after a timeout, then in growing intervals; MUST-37:
/// as long as the peer answers the connection stays.
#[test]
fn probes() {
    let mut solo = closed_window();
    let mut waits = vec![];
    for _ in 0..30 {
        waits.push(solo.wait());
        assert_eq!(solo.sent(), [(1, 1)]);
        solo.sleep(1);
        solo.ack(1);
    }
    assert_eq!(waits[..4], [200, 399, 799, 1599]);
    assert_eq!(solo.state(), State::Established);
    // Once it is open everything goes on, the probed byte first.
    solo.window = 5000;
    solo.ack(1);
    let sent = solo.sent();
    // The end waits for the small one (Nagle).
    assert_eq!(sent, [(1, 1), (2, 1000), (1002, 1000)]);
}

/// RFC 9293, section 3.8.6.1: the peer takes the byte of a probe.
#[test]
fn probe_taken() {
    let mut solo = closed_window();
    solo.wait();
    assert_eq!(solo.sent(), [(1, 1)]);
    solo.ack(2);
    assert_eq!(solo.sent(), []);
    solo.wait();
    assert_eq!(solo.sent(), [(2, 1)]);
    solo.window = 5000;
    solo.ack(3);
    assert_eq!(solo.sent(), [(3, 1000), (1003, 1000), (2003, 998)]);
}

/// RFC 9293, section 3.8.3: a peer that does not answer probes is given up.
#[test]
fn nobody_answers_probes() {
    let mut solo = closed_window();
    let begin = solo.now;
    while solo.state() != State::Closed {
        solo.wait();
        solo.out();
    }
    assert_eq!(solo.error(), Some(Errno::ETIMEDOUT));
    assert!(solo.now - begin > 100_000_000_000);
}

/// RFC 9293, section 3.8.6.2.1, (4): a window too small for a segment is used after a time.
#[test]
fn override_timeout() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.window = 300;
    solo.ack(1);
    solo.write(3000);
    assert_eq!(solo.sent(), []);
    assert_eq!(solo.wait(), 200);
    assert_eq!(solo.sent(), [(1, 300)]);
}

/// RFC 9293, section 3.8.6.1: FIN alone is probed for, too.
#[test]
fn fin_and_closed_window() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.window = 0;
    solo.ack(1);
    solo.tcb.shutdown_write();
    assert_eq!(solo.out(), vec![]);
    solo.wait();
    assert_eq!(solo.one().flags, Flags::FIN);
    solo.ack(2);
    assert_eq!(solo.state(), State::FinWait2);
}

/// The window closes while data is in flight.
#[test]
fn closes_in_flight() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(3000);
    solo.out();
    solo.window = 0;
    solo.ack(1001);
    let mut sent = vec![];
    while sent.is_empty() {
        solo.wait();
        sent = solo.sent();
    }
    // A probe of one byte, or the last segment once (TLP); no loss is concluded.
    assert!(
        sent.iter().all(|(start, len)| start + *len as u32 <= 3001),
        "{sent:?}"
    );
    for _ in 0..20 {
        solo.wait();
        solo.out();
        solo.ack(1001);
    }
    assert_eq!(solo.state(), State::Established);
    solo.window = 9000;
    solo.ack(1001);
    assert_eq!(solo.sent()[0].0, 1001);
}

fn keep_alive() -> Config {
    Config {
        keep_alive: true,
        keep_times: KeepAlive {
            idle: Duration::from_secs(100),
            interval: Duration::from_secs(10),
            count: 3,
        },
        ..Config::default()
    }
}

/// RFC 9293, section 3.8.4: probes after the idle time, of a number that was acknowledged; MUST-29: several before giving up;
/// MUST-25: not unless asked for.
#[test]
fn keep_alive_probes() {
    let mut solo = Solo::established(keep_alive(), full_options());
    let mut waits = vec![];
    while solo.state() != State::Closed {
        waits.push(solo.wait() / 1000);
        if solo.state() != State::Closed {
            for segment in solo.out() {
                assert_eq!((segment.seq, segment.payload.len()), (OURS, 0));
            }
        }
    }
    assert_eq!(waits.iter().sum::<u64>(), 129, "{waits:?}");
    assert_eq!(
        (solo.error(), solo.one().flags),
        (Some(Errno::ETIMEDOUT), Flags::RST)
    );
    let solo = Solo::established(Config::default(), full_options());
    assert_eq!(solo.deadline(), None);
}

/// RFC 9293, section 3.8.4: an answer ends probing, and any segment puts it off.
#[test]
fn keep_alive_answered() {
    let mut solo = Solo::established(keep_alive(), full_options());
    for _ in 0..10 {
        solo.sleep(90_000);
        solo.give_data(solo.tcb.rcv.nxt.since(super::solo::PEERS), 10);
        solo.read();
        while !solo.sleep(50).is_empty() {
            solo.out();
        }
    }
    assert_eq!(solo.keep_probes, 0);
    while solo.keep_probes == 0 {
        solo.wait();
    }
    assert_eq!(solo.out().len(), 1);
    solo.ack(1);
    assert_eq!((solo.keep_probes, solo.state()), (0, State::Established));
    // The other side answers a probe.
    let mut solo = Solo::established(Config::default(), full_options());
    let probe = solo.segment(0, Some(1), Flags::empty(), 0);
    solo.give(probe);
    assert_eq!(super::solo::ack_of(&solo.one()), 1);
}

/// RFC 5482; RFC 9293, section 3.8.3: the user says how long data may stay unacknowledged.
#[test]
fn user_timeout() {
    let config = Config {
        user_timeout: Some(Duration::from_secs(5)),
        ..Config::default()
    };
    let mut solo = Solo::established(config, sack_only());
    solo.sleep(60_000);
    assert_eq!(solo.state(), State::Established);
    solo.write(100);
    let begin = solo.now;
    solo.out();
    while solo.state() != State::Closed {
        solo.wait();
        solo.out();
    }
    assert_eq!(
        (solo.now - begin, solo.error()),
        (5_000_000_000, Some(Errno::ETIMEDOUT))
    );
    assert!(solo.changes.contains(Changes::TIMED_OUT));
}

/// RFC 5482, section 3: both sides tell theirs with SYN and with what comes after it; the longer one counts.
#[test]
fn user_timeouts_are_told() {
    let seconds = Duration::from_secs;
    let telling = |user_timeout| {
        Arc::new(Config {
            user_timeout,
            tell_user_timeout: true,
            ..Config::default()
        })
    };
    let (now, limit) = (Instant(1000 * MS), TransmitLimit { max_payload: 1 });
    let mut one = Tcb::connect(&telling(Some(seconds(900))), path(), OURS, now);
    let syn = one.poll_transmit(now, limit).unwrap().segment;
    assert_eq!(syn.options.user_timeout.unwrap().time(), seconds(900));
    let mut other = Tcb::accept(&telling(None), path(), PEERS, &syn, now);
    let answer = other.poll_transmit(now, limit).unwrap().segment;
    assert_eq!(answer.options.user_timeout.unwrap().time(), seconds(300));
    one.on_segment(answer, false, now);
    // With the first segment after SYN, data or not, once.
    one.send(Bytes::from(vec![1; 100_000]).into());
    let mut told = 0;
    while let Some(outgoing) = one.poll_transmit(now, limit) {
        let options = outgoing.segment.options;
        told += usize::from(options.user_timeout.is_some());
        let len = outgoing.segment.payload.len() + options.encoded_len();
        assert!(len <= usize::from(path().mss), "{len}");
        other.on_segment(outgoing.segment, false, now);
    }
    assert_eq!(told, 1);
    // Who has said how long it is keeps that; the other side takes the longer one.
    assert_eq!(one.user_timeout(), Some(seconds(900)));
    assert_eq!(other.user_timeout(), Some(seconds(900)));
    // It may change, and has limits.
    for (says, heard) in [(40_000, 3600), (1, 300), (7200, 3600)] {
        one.set_user_timeout(Some(seconds(says)), true);
        let told = one.poll_transmit(now, limit).unwrap().segment;
        let coded = told.options.user_timeout.unwrap().time();
        assert!(coded >= seconds(says) && coded < seconds(says + 60));
        other.on_segment(told, false, now);
        assert_eq!(other.user_timeout(), Some(seconds(heard)));
    }
    // Who does not tell is not told either.
    let mut deaf = Tcb::accept(&Arc::new(Config::default()), path(), PEERS, &syn, now);
    assert_eq!(deaf.user_timeout(), None);
    let answer = deaf.poll_transmit(now, limit).unwrap().segment;
    assert_eq!(answer.options.user_timeout, None);
}

/// RFC 5482, section 3: a time that somebody has said counts, however often data was sent again.
#[test]
fn a_long_user_timeout_counts_alone() {
    let config = Config {
        user_timeout: Some(Duration::from_secs(3600)),
        ..Config::default()
    };
    let mut solo = Solo::established(config, sack_only());
    solo.write(100);
    let begin = solo.now;
    while solo.state() != State::Closed {
        solo.out();
        solo.wait();
    }
    assert_eq!(solo.now - begin, 3_600_000_000_000);
}

/// RFC 9293, section 3.8.3: without it data is sent again for more than 100 seconds.
#[test]
fn gives_up() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(100);
    let begin = solo.now;
    let mut times: Vec<u64> = vec![];
    while solo.state() != State::Closed {
        if !solo.out().is_empty() {
            times.push((solo.now - begin) / 1_000_000);
        }
        solo.wait();
    }
    assert_eq!(times.len(), 16);
    assert_eq!(times[..5], [0, 200, 600, 1400, 3000]);
    assert!(solo.now - begin > 100_000_000_000);
}

/// One deadline: `rearm` tells of one that is earlier only, and calling too early does no harm.
#[test]
fn one_deadline() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.tcb.rearm();
    solo.write(1000);
    assert!(solo.tcb.rearm().is_none());
    solo.out();
    let first = solo.tcb.rearm().unwrap();
    assert!(solo.tcb.rearm().is_none());
    solo.sleep(10);
    solo.ack(1001);
    solo.write(1000);
    solo.out();
    // It moved back: the owner need not know.
    assert!(solo.deadline().unwrap() > first);
    assert!(solo.tcb.rearm().is_none());
    let changes = solo.tcb.on_timer(first);
    assert!(changes.contains(Changes::TIMER) && !changes.contains(Changes::OUTPUT));
    assert_eq!(solo.tcb.rearm(), solo.deadline());
    assert!(solo.tcb.on_timer(Instant(0)).is_empty());
}
