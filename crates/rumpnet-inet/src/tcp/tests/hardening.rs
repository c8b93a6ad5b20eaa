//! What a host does against those who guess, lie and flood.

use super::{
    pair::MS,
    solo::{OURS, Solo, ack_of, full_options, plain, sack_only},
};
use crate::tcp::{Changes, Config, Flags, NetworkError, Options, Segment, Seq, State, Timestamps};
use alloc::vec;
use rumpuser::{Errno, Instant};

/// RFC 5961, section 3.2: a reset counts at RCV.NXT exactly; elsewhere in the window it is challenged; outside it is nothing.
#[test]
fn resets() {
    let mut solo = Solo::established(Config::default(), sack_only());
    for seq in [2, 1000, 60_000] {
        solo.flags(seq, Flags::RST);
        assert_eq!((ack_of(&solo.one()), solo.state()), (1, State::Established));
    }
    for seq in [0, 140_000, u32::MAX - 5] {
        solo.flags(seq, Flags::RST);
        assert_eq!((solo.out(), solo.state()), (vec![], State::Established));
    }
    assert!(
        solo.flags(1, Flags::RST)
            .contains(Changes::RESET | Changes::CLOSED)
    );
}

/// RFC 5961, section 4.2: SYN in a connection is challenged, wherever it is.
#[test]
fn syns() {
    let mut solo = Solo::established(Config::default(), sack_only());
    for seq in [0, 1, 5, 1 << 20, 1 << 31] {
        solo.flags(seq, Flags::SYN);
        assert_eq!((ack_of(&solo.one()), solo.state()), (1, State::Established));
        solo.now += 200 * MS;
    }
}

/// RFC 5961, section 5.2: an ACK that is older than the largest window is challenged, and its data not taken.
#[test]
fn old_acks() {
    let mut solo = Solo::established(Config::default(), plain());
    let segment = solo.segment(1, Some(0_u32.wrapping_sub(65_536)), Flags::empty(), 10);
    solo.give(segment);
    assert_eq!((ack_of(&solo.one()), solo.readable()), (1, 0));
    let segment = solo.segment(1, Some(0_u32.wrapping_sub(65_000)), Flags::empty(), 10);
    solo.give(segment);
    assert_eq!(solo.readable(), 10);
}

/// RFC 5961, section 7: challenges are limited.
#[test]
fn few_challenges() {
    let mut solo = Solo::established(Config::default(), sack_only());
    let mut count = 0;
    for _ in 0..1000 {
        solo.flags(500, Flags::RST);
        count += solo.out().len();
        solo.now += MS;
    }
    assert!((10..=20).contains(&count), "{count}");
}

/// RFC 7323, section 5.3, R1 (PAWS): an older timestamp is answered and dropped; a reset needs none.
#[test]
fn paws() {
    let mut solo = Solo::established(Config::default(), full_options());
    solo.timestamp = 100;
    solo.give_data(1, 10);
    solo.timestamp = 99;
    solo.give_data(11, 10);
    assert_eq!((ack_of(&solo.one()), solo.readable()), (11, 10));
    // RFC 7323, section 5.5: after 24 days without a segment timestamps say nothing.
    solo.now += 25 * 86_400_000 * MS;
    solo.give_data(11, 10);
    assert_eq!(solo.readable(), 20);
    solo.timestamp = 1;
    solo.flags(21, Flags::RST);
    assert_eq!(solo.state(), State::Closed);
}

/// RFC 7323, section 3.2: with timestamps in use, a segment without is dropped.
#[test]
fn without_timestamp() {
    let mut solo = Solo::established(Config::default(), full_options());
    let mut segment = solo.segment(1, Some(1), Flags::empty(), 10);
    segment.options.timestamps = None;
    solo.give(segment);
    assert_eq!((solo.out(), solo.readable()), (vec![], 0));
}

/// RFC 7323, section 4.3: TS.Recent is of the segment at the left edge, so that a delayed ACK echoes the first.
#[test]
fn echoes() {
    let mut solo = Solo::established(Config::default(), full_options());
    for (timestamp, seq) in [(10, 1), (20, 501)] {
        solo.timestamp = timestamp;
        solo.give_data(seq, 300);
    }
    solo.wait();
    let echo = |segment: &crate::tcp::Segment| segment.options.timestamps.unwrap().echo;
    // The second left a gap, and was acknowledged at once.
    assert_eq!(echo(&solo.one()), 10);
    solo.timestamp = 30;
    solo.give_data(301, 200);
    assert_eq!(echo(&solo.one()), 30);
    solo.timestamp = 40;
    solo.give_data(801, 100);
    solo.timestamp = 50;
    solo.give_data(901, 100);
    solo.wait();
    assert_eq!(echo(&solo.one()), 40);
}

/// RFC 7323, section 3.2: our own clock, with its offset.
#[test]
fn our_timestamps() {
    let mut solo = Solo::established(Config::default(), full_options());
    solo.write(10);
    let first = solo.one().options.timestamps.unwrap();
    assert_eq!((first.value, first.echo), ((solo.now / MS) as u32, 1));
}

/// RFC 5927, section 4.1: an ICMP message must be about what is under way; section 5.2: it does not end an established connection.
#[test]
fn icmp() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(500);
    solo.out();
    let now = Instant(solo.now);
    for seq in [0, 501, 9000] {
        let error = NetworkError::Unreachable(Errno::EHOSTUNREACH);
        assert!(
            !solo
                .tcb
                .on_icmp(error, OURS.plus(seq), now)
                .contains(Changes::SOFT_ERROR)
        );
        assert_eq!(solo.tcb.take_soft_error(), None);
    }
    for error in [
        NetworkError::Refused,
        NetworkError::Unreachable(Errno::EHOSTUNREACH),
    ] {
        assert!(
            solo.tcb
                .on_icmp(error, OURS.plus(1), now)
                .contains(Changes::SOFT_ERROR)
        );
        assert_eq!(solo.state(), State::Established);
    }
    // RFC 9293, section 3.9.2.2: it is told when the connection fails.
    while solo.state() != State::Closed {
        solo.wait();
        solo.out();
    }
    assert_eq!(solo.error(), Some(Errno::EHOSTUNREACH));
    // Before the connection is established nobody listens there.
    let mut solo = Solo::connect(Config::default());
    solo.out();
    let changes = solo
        .tcb
        .on_icmp(NetworkError::Refused, OURS, Instant(solo.now));
    assert!(changes.contains(Changes::REFUSED | Changes::CLOSED));
    assert_eq!(solo.error(), Some(Errno::ECONNREFUSED));
}

/// RFC 1191, section 6; RFC 8201, section 5.4: segments become smaller, what was too large is sent again, and the window stays.
#[test]
fn path_mtu() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(2000);
    solo.out();
    let window = solo.info().congestion_window;
    let too_big = |mss| NetworkError::TooBig { mss };
    solo.tcb
        .on_icmp(too_big(2000), OURS.plus(1), Instant(solo.now));
    assert_eq!(solo.sent(), []);
    let changes = solo
        .tcb
        .on_icmp(too_big(600), OURS.plus(1), Instant(solo.now));
    assert!(changes.contains(Changes::OUTPUT));
    assert_eq!(
        solo.sent(),
        [(1, 600), (601, 400), (1001, 600), (1601, 400)]
    );
    assert_eq!(solo.info().congestion_window, window);
    solo.tcb
        .on_icmp(too_big(0), OURS.plus(1), Instant(solo.now));
    assert_eq!(solo.info().send_mss, 64);
}

/// Whatever a peer sends, memory is bounded: by the buffer, and by the number of pieces.
#[test]
fn bounded_reassembly() {
    let mut solo = Solo::established(Config::default(), sack_only());
    for n in 0..50_000_u32 {
        solo.give_data(3 + n * 2, 1);
    }
    solo.out();
    // The gaps are filled: what was kept comes, the rest was not acknowledged.
    let next = solo.tcb.rcv.nxt;
    for n in 0..1000_u32 {
        solo.give_data(1 + n * 2, 2);
    }
    assert!(solo.tcb.rcv.nxt.since(next) >= 2000);
    // Small pieces in order do not pile up.
    let mut solo = Solo::established(Config::default(), sack_only());
    for n in 0..100_000 {
        solo.give_data(1 + n, 1);
        solo.out();
    }
    assert_eq!(solo.readable(), 100_000);
    assert!(solo.ready.overhead() < 10_000);
}

/// SACK ranges that lie are not followed: backwards, of what was not sent, of what was acknowledged.
#[test]
fn lying_sacks() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(5000);
    solo.out();
    for range in [
        (4000, 2000),
        (3001, 9001),
        (0, 0),
        (1 << 31, 5),
        (u32::MAX, 3000),
        (5001, 6001),
    ] {
        solo.sack(1, &[range]);
        assert_eq!(solo.info().sacked, 0, "{range:?}");
    }
    // One byte in the middle of a segment is none of its segments.
    solo.sack(1, &[(1500, 1501)]);
    assert_eq!(solo.info().sacked, 0);
    for _ in 0..100 {
        solo.sack(1, &[(1001, 5001)]);
    }
    assert_eq!(solo.info().sacked, 4000);
}

/// A connection needs little memory.
#[test]
fn small() {
    assert!(
        size_of::<crate::tcp::Tcb>() <= 1024,
        "{}",
        size_of::<crate::tcp::Tcb>()
    );
}

/// RFC 9293, section 3.10.7: nothing that arrives makes CLOSED do anything.
#[test]
fn closed() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.tcb.abort();
    for flags in [Flags::empty(), Flags::SYN, Flags::FIN, Flags::RST] {
        solo.flags(1, flags);
        assert_eq!((solo.out(), solo.deadline()), (vec![], None));
    }
}

/// Two hosts that believe different things of a connection do not answer each other for ever.
#[test]
fn no_ack_storm() {
    let mut one = Solo::established(Config::default(), sack_only());
    let mut two = Solo::established(Config::default(), sack_only());
    let mut next = one.segment(1, Some(1), Flags::empty(), 0);
    next.seq = Seq(0);
    // Neither can take what the other sends.
    let shift = |mut segment: Segment| {
        segment.seq = segment.seq.minus(1 << 20);
        segment
    };
    let mut count = 0;
    let mut queue = vec![next];
    while let Some(segment) = queue.pop() {
        one.give(segment);
        for reply in one.out() {
            two.give(shift(reply));
            queue.extend(two.out().into_iter().map(shift));
        }
        count += 1;
        assert!(count < 100);
    }
}

/// An option that only a SYN may have changes nothing later.
#[test]
fn late_options() {
    let mut solo = Solo::established(Config::default(), plain());
    let mut segment = solo.segment(1, Some(1), Flags::empty(), 10);
    segment.options = Options {
        mss: Some(10),
        window_scale: Some(14),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 9, echo: 9 }),
        ..Options::default()
    };
    solo.give(segment);
    let info = solo.info();
    assert_eq!(
        (info.send_mss, info.window_scale, info.sack, info.timestamps),
        (1000, None, false, false)
    );
}
