//! Acknowledgments that we send: when, and what is in them.

use super::solo::{Solo, ack_of, full_options, plain, sack_only, sacks_of};
use crate::tcp::{Config, Flags};
use alloc::vec;

/// RFC 9293, section 3.8.6.3 (RFC 1122, section 4.2.3.2): one segment waits less than half a second, the second is acknowledged.
#[test]
fn delayed() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.give_data(1, 1000);
    assert_eq!(solo.out(), vec![]);
    assert_eq!((solo.wait(), ack_of(&solo.one())), (40, 1001));
    solo.give_data(1001, 1000);
    solo.give_data(2001, 1000);
    assert_eq!(ack_of(&solo.one()), 3001);
    // A large segment stands for several.
    solo.give_data(3001, 4000);
    assert_eq!(ack_of(&solo.one()), 7001);
    assert_eq!(solo.deadline(), None);
}

/// Two full segments that come joined are two, though each has less than a kilobyte beside its timestamps.
#[test]
fn of_two_that_came_joined() {
    let mut solo = Solo::established(Config::default(), full_options());
    solo.give_data(1, 2 * 988);
    assert_eq!(ack_of(&solo.one()), 1977);
    solo.give_data(1977, 988);
    assert_eq!(solo.out(), vec![]);
}

/// RFC 9293, section 3.8.6.3: data takes the acknowledgment along.
#[test]
fn on_data() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.give_data(1, 10);
    solo.write(20);
    let segment = solo.one();
    assert_eq!((ack_of(&segment), segment.payload.len()), (11, 20));
    assert_ne!(solo.timers.ack, 0);
    assert_eq!(solo.timers.ack, u64::MAX);
}

/// RFC 5681, section 4.2: out of order, and into a gap, is acknowledged at once; RFC 2018, section 4: with what is there.
#[test]
fn gaps() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.give_data(1001, 1000);
    let segment = solo.one();
    assert_eq!(
        (ack_of(&segment), sacks_of(&segment)),
        (1, vec![(1001, 2001)])
    );
    solo.give_data(3001, 1000);
    let segment = solo.one();
    assert_eq!(
        (ack_of(&segment), sacks_of(&segment)),
        (1, vec![(3001, 4001), (1001, 2001)])
    );
    solo.give_data(1, 1000);
    let segment = solo.one();
    assert_eq!(
        (ack_of(&segment), sacks_of(&segment)),
        (2001, vec![(3001, 4001)])
    );
    solo.give_data(2001, 1000);
    let segment = solo.one();
    assert_eq!((ack_of(&segment), sacks_of(&segment)), (4001, vec![]));
    assert_eq!(solo.read().len(), 4000);
}

/// RFC 2018, section 2: no SACK without the permission.
#[test]
fn no_sack() {
    let mut solo = Solo::established(Config::default(), plain());
    solo.give_data(1001, 1000);
    assert_eq!(sacks_of(&solo.one()), vec![]);
}

/// RFC 2883, section 4: duplicates are reported first, and once: below the ACK, and in what came out of order.
#[test]
fn duplicates() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.give_data(1, 2000);
    solo.out();
    // 4.1.1: the whole segment.
    solo.give_data(1, 1000);
    let segment = solo.one();
    assert_eq!(
        (ack_of(&segment), sacks_of(&segment)),
        (2001, vec![(1, 1001)])
    );
    // 4.2.1: a part.
    solo.give_data(1501, 1000);
    let segment = solo.one();
    assert_eq!(
        (ack_of(&segment), sacks_of(&segment)),
        (2501, vec![(1501, 2001)])
    );
    // 4.1.2: out of order.
    solo.give_data(3501, 1000);
    solo.out();
    solo.give_data(3501, 1000);
    let segment = solo.one();
    assert_eq!(sacks_of(&segment), vec![(3501, 4501), (3501, 4501)]);
    solo.give_data(3001, 500);
    assert_eq!(sacks_of(&solo.one()), vec![(3001, 4501)]);
}

/// RFC 2018, section 3: three ranges fit beside timestamps, four without.
#[test]
fn how_many() {
    let mut solo = Solo::established(Config::default(), sack_only());
    for n in 1..8 {
        solo.give_data(n * 2000, 100);
    }
    assert_eq!(sacks_of(&solo.one()).len(), 4);
    let mut solo = Solo::established(Config::default(), super::solo::full_options());
    for n in 1..8 {
        solo.give_data(n * 2000, 100);
    }
    let segment = solo.one();
    assert_eq!(
        (sacks_of(&segment).len(), segment.options.encoded_len()),
        (3, 40)
    );
}

/// RFC 9293, section 3.10.7.4, first: what is old or beyond the window is answered with an ACK and not taken.
#[test]
fn acceptability() {
    let mut solo = Solo::established(
        Config {
            receive_buffer: 10_000,
            ..Config::default()
        },
        plain(),
    );
    solo.tcb.set_receive_buffer(10_000);
    solo.give_data(1, 100);
    assert_eq!(solo.read().len(), 100);
    solo.out();
    for (seq, len) in [(1, 50), (1, 100), (20_000, 10), (10_001, 1), (0, 1)] {
        solo.give_data(seq, len);
        assert_eq!(
            (ack_of(&solo.one()), solo.readable()),
            (101, 0),
            "{seq} {len}"
        );
    }
    // What is partly inside counts there.
    solo.give_data(51, 100);
    assert_eq!((ack_of(&solo.one()), solo.readable()), (151, 50));
    // Only as much as the window holds.
    solo.give_data(151, 20_000);
    assert_eq!(solo.readable(), 50 + 9850);
}

/// RFC 9293, section 3.10.7.4, fifth: an ACK of what was not sent is answered with an ACK, and the segment dropped.
#[test]
fn ack_of_the_future() {
    let mut solo = Solo::established(Config::default(), plain());
    let segment = solo.segment(1, Some(500), Flags::empty(), 10);
    solo.give(segment);
    assert_eq!((ack_of(&solo.one()), solo.readable()), (1, 0));
}

/// RFC 9293, section 3.10.7.4, fifth: without ACK a segment is dropped.
#[test]
fn without_ack() {
    let mut solo = Solo::established(Config::default(), plain());
    let segment = solo.segment(1, None, Flags::empty(), 10);
    solo.give(segment);
    assert_eq!((solo.out(), solo.readable()), (vec![], 0));
}
