//! Loss: how it is found, what is sent again, what the window does.

use super::{
    pair::{Fate, MS, Pair, bytes, quick},
    solo::{Solo, full_options, plain, sack_only},
};
use crate::tcp::{Config, Flags, Segment};
use alloc::{boxed::Box, vec, vec::Vec};
use rumpuser::Rng;

fn sender(options: crate::tcp::Options, segments: usize) -> Solo {
    let mut solo = Solo::established(quick(), options);
    solo.write(segments * 1000);
    let first = segments.min(10);
    assert_eq!(solo.sent().len(), first);
    solo.sleep(10);
    solo
}

/// RFC 6298, section 5: the timer starts with data (5.1), stops when all is acknowledged (5.2), starts again with each advance (5.3);
/// when it expires the first segment is sent again (5.4), twice the time later again (5.5, 5.6).
#[test]
fn timeout() {
    let mut solo = sender(plain(), 2);
    assert_eq!(solo.wait(), 190);
    assert_eq!(solo.sent(), [(1, 1000)]);
    assert_eq!(solo.wait(), 400);
    assert_eq!(solo.sent(), [(1, 1000)]);
    assert_eq!(solo.wait(), 800);
    assert_eq!(solo.sent(), [(1, 1000)]);
    solo.sleep(10);
    solo.ack(1001);
    assert_eq!(solo.sent(), [(1001, 1000)]);
    // Karn's algorithm: nothing was measured, and the timeout stays backed off until something is.
    assert_eq!(solo.wait(), 1600);
    solo.out();
    solo.ack(2001);
    assert_eq!(solo.deadline(), None);
}

/// RFC 5681, section 3.1: after a timeout the window is one segment, the threshold half of the flight (here CUBIC's 0.7), and stays for
/// the next timeout.
#[test]
fn window_after_timeout() {
    let mut solo = sender(plain(), 10);
    for _ in 0..2 {
        solo.wait();
        assert_eq!(solo.sent().len(), 1);
        assert_eq!(solo.info().congestion_window, 1000);
        assert_eq!(solo.info().slow_start_threshold, Some(7000));
    }
    // Slow start.
    solo.ack(1001);
    assert_eq!(solo.sent(), [(1001, 1000), (2001, 1000)]);
    solo.ack(3001);
    assert_eq!(solo.sent().len(), 4);
}

/// RFC 5681, section 3.2: the third duplicate ACK sends the first segment again; RFC 3042: the first two send new data.
#[test]
fn fast_retransmit() {
    let mut solo = sender(plain(), 14);
    solo.ack(1);
    assert_eq!(solo.sent(), [(10_001, 1000)]);
    solo.ack(1);
    assert_eq!(solo.sent(), [(11_001, 1000)]);
    solo.ack(1);
    assert_eq!(solo.sent()[0], (1, 1000));
    assert!(solo.info().in_recovery);
    assert_eq!(solo.info().slow_start_threshold, Some(7000));
}

/// RFC 5681, section 2: what is no duplicate ACK: one with data, with another window, with nothing in flight.
#[test]
fn no_duplicates() {
    let mut solo = sender(plain(), 10);
    for n in 0..5 {
        let segment = solo.segment(1 + n * 10, Some(1), Flags::empty(), 10);
        solo.give(segment);
        assert!(solo.out().iter().all(|segment| segment.payload.is_empty()));
    }
    for n in 0..5 {
        solo.window = 60_000 - n;
        solo.ack(1);
        assert_eq!(solo.sent(), []);
    }
    let mut solo = Solo::established(quick(), plain());
    for _ in 0..5 {
        solo.ack(1);
    }
    solo.write(2000);
    assert_eq!(solo.sent().len(), 2);
    assert!(!solo.info().in_recovery);
}

/// RFC 6582, section 3.2: a partial acknowledgment sends the next hole again; recovery ends with the last; then it is over.
#[test]
fn newreno() {
    let mut solo = sender(plain(), 10);
    for _ in 0..3 {
        solo.ack(1);
    }
    assert_eq!(solo.sent()[0], (1, 1000));
    solo.ack(4001);
    assert_eq!(solo.sent()[0], (4001, 1000));
    solo.ack(7001);
    assert_eq!(solo.sent()[0], (7001, 1000));
    assert!(solo.info().in_recovery);
    solo.ack(10_001);
    let info = solo.info();
    assert_eq!((info.in_recovery, info.congestion_window), (false, 7000));
    assert_eq!(solo.info().retransmitted_segments, 3);
}

/// RFC 6675, section 4; RFC 8985, section 6.2: three segments beyond a gap: it is lost. What is not beyond one is not.
#[test]
fn sack() {
    let mut solo = sender(sack_only(), 10);
    solo.sack(1, &[(1001, 2001)]);
    solo.sack(1, &[(1001, 3001)]);
    assert_eq!(solo.sent(), []);
    solo.sack(1, &[(1001, 4001)]);
    assert_eq!(solo.sent(), [(1, 1000)]);
    let info = solo.info();
    assert!(info.in_recovery && info.sacked == 3000 && info.lost == 0);
    // Two gaps at once: each hole is sent, nothing twice.
    let mut solo = sender(sack_only(), 10);
    solo.sack(1, &[(1001, 3001), (5001, 10_001)]);
    let sent: Vec<_> = solo.sent();
    assert_eq!(sent, [(1, 1000), (3001, 1000), (4001, 1000)]);
    solo.sleep(10);
    solo.ack(10_001);
    assert!(!solo.info().in_recovery);
}

/// RFC 8985, section 6.2: what was sent again and is late is sent again again, without a timeout.
#[test]
fn lost_again() {
    let mut solo = sender(sack_only(), 20);
    solo.sack(1, &[(1001, 5001)]);
    let first = solo.sent();
    assert_eq!(first[0], (1, 1000));
    solo.sleep(10);
    solo.sack(1, &[(1001, 10_001)]);
    solo.sent();
    solo.sleep(15);
    // New data that was sent after the retransmission arrives.
    solo.sack(1, &[(1001, 12_001)]);
    let again = solo.sent();
    assert_eq!(again[0], (1, 1000), "{again:?}");
}

/// RFC 8985, section 6.2, steps 3 and 4: with reordering seen a gap waits for a quarter of the round trip, by its timer (section 6.3).
#[test]
fn reordering() {
    let mut solo = sender(sack_only(), 10);
    solo.sack(1, &[(1001, 2001)]);
    // The first arrives after the second: reordering.
    solo.ack(2001);
    assert!(solo.info().reordering);
    solo.out();
    solo.sleep(1);
    solo.sack(2001, &[(3001, 6001)]);
    assert_eq!(solo.sent(), []);
    // They were sent 11 ms ago.
    assert_eq!(solo.wait(), 2);
    assert_eq!(solo.sent(), [(2001, 1000)]);
}

/// RFC 8985, section 6.2, step 4: a duplicate report widens the window.
#[test]
fn duplicate_report_widens() {
    let mut solo = sender(sack_only(), 10);
    solo.sack(1, &[(1001, 2001)]);
    solo.ack(2001);
    solo.sack(2001, &[(1, 1001)]);
    solo.sleep(2);
    solo.sack(2001, &[(3001, 6001)]);
    // Two quarters of 10 ms since they were sent 12 ms ago.
    // (and some nanoseconds)
    assert_eq!((solo.sent(), solo.wait()), (vec![], 4));
}

/// RFC 8985, section 7.2 and 7.3: two round trips without an ACK: the last segment again, or new data; not twice in a row.
#[test]
fn tail_loss_probe() {
    let mut solo = sender(sack_only(), 10);
    solo.ack(5001);
    assert_eq!(solo.sent(), []);
    // (and some nanoseconds)
    assert_eq!(solo.wait(), 21);
    assert_eq!(solo.sent(), [(9001, 1000)]);
    // Now the timeout, as long as nothing comes.
    assert_eq!(solo.wait(), 200);
    assert_eq!(solo.sent(), [(5001, 1000)]);
    // New data, if there is some.
    let mut solo = sender(sack_only(), 10);
    solo.ack(1001);
    solo.sent();
    solo.tcb.window.size = 3000;
    solo.write(1000);
    assert_eq!(solo.sent(), []);
    solo.wait();
    assert_eq!(solo.sent(), [(10_001, 1000)]);
}

/// RFC 8985, section 7.4.2: the answer to a probe that repaired a loss reduces the window; of one that was needless it does not.
#[test]
fn probe_answers() {
    for (ack, duplicate, reduced) in [
        (10_001, false, false),
        (10_001, true, false),
        (11_001, false, true),
    ] {
        let mut solo = sender(sack_only(), 10);
        solo.ack(8001);
        solo.out();
        solo.wait();
        assert_eq!(solo.sent(), [(9001, 1000)]);
        solo.sleep(10);
        if ack > 10_001 {
            solo.write(1000);
            solo.sent();
        }
        let window = solo.info().congestion_window;
        let ranges: &[(u32, u32)] = if duplicate { &[(9001, 10_001)] } else { &[] };
        solo.sack(ack, ranges);
        assert_eq!(
            solo.info().congestion_window < window,
            reduced,
            "{ack} {duplicate}"
        );
        assert!(!solo.info().in_recovery);
    }
}

/// RFC 8985, sections 1 and 7: the loss of a tail is repaired without a timeout.
#[test]
fn tail() {
    let mut pair = Pair::established(quick(), quick());
    let mut lose = vec![3, 4, 5];
    let mut count = 0;
    pair.script = Box::new(move |side, segment: &Segment, _| {
        if side == 0 && !segment.payload.is_empty() {
            count += 1;
            if lose.contains(&count) {
                lose.retain(|n| *n != count);
                return Fate::Drop;
            }
        }
        Fate::Deliver
    });
    let begin = pair.now;
    pair.transfer(0, &bytes(5000));
    assert!(pair.now - begin < 100 * MS, "{}", pair.now - begin);
    assert_eq!(pair.tcb(0).info().retries, 0);
}

/// RFC 5682, section 3.1: a timeout because of a delay is seen as such: nothing but the first segment is sent again, and the window
/// comes back.
#[test]
fn spurious_timeout() {
    let mut solo = sender(sack_only(), 16);
    let window = solo.info().congestion_window;
    // The tail loss probe first.
    solo.wait();
    solo.out();
    solo.wait();
    assert_eq!(solo.sent(), [(1, 1000)]);
    assert_eq!(solo.info().congestion_window, 1000);
    // The acknowledgments that were delayed: step 2b sends new data, step 3a sees it.
    solo.ack(1001);
    let sent = solo.sent();
    assert_eq!(sent, [(11_001, 1000), (12_001, 1000)]);
    solo.ack(2001);
    let info = solo.info();
    assert!(
        !info.in_recovery && info.congestion_window >= window && info.lost == 0,
        "{info:?}"
    );
    assert!(solo.sent().iter().all(|(start, _)| *start > 12_001));
}

/// RFC 5682, section 3.1, steps 2a and 3b: a duplicate ACK tells that it was a loss.
#[test]
fn real_timeout() {
    for new_data in [false, true] {
        let mut solo = sender(sack_only(), if new_data { 16 } else { 10 });
        solo.wait();
        solo.out();
        solo.wait();
        assert_eq!(solo.sent(), [(1, 1000)]);
        solo.ack(1001);
        let sent = solo.sent();
        if new_data {
            assert_eq!(sent, [(11_001, 1000), (12_001, 1000)]);
            solo.sack(1001, &[(11_001, 12_001)]);
            assert_eq!(solo.sent()[0], (1001, 1000));
        } else {
            assert_eq!(sent, [(1001, 1000), (2001, 1000)]);
        }
        assert!(solo.info().in_recovery);
    }
}

/// RFC 2018, section 8: a peer may drop what it reported; after a timeout everything is sent again.
#[test]
fn reneging() {
    let mut solo = sender(sack_only(), 5);
    solo.sack(1, &[(1001, 5001)]);
    assert_eq!(solo.sent(), [(1, 1000)]);
    // The first arrives, and the peer has forgotten the others.
    solo.ack(1001);
    while solo.info().in_flight > 0 {
        solo.wait();
        let sent = solo.sent();
        if let Some((start, len)) = sent.first() {
            solo.ack(start + *len as u32);
        }
    }
    assert_eq!(solo.unacknowledged(), 0);
}

/// RFC 9937: during recovery the window comes down to the threshold, and at its end is there.
#[test]
fn proportional_rate_reduction() {
    let mut solo = sender(sack_only(), 40);
    let mut sent = 0;
    for n in 2..10 {
        solo.sack(1, &[(1001, n * 1000 + 1)]);
        sent += solo.sent().len();
    }
    // 10 were in flight, 8 arrived; 7 of 10 are sent, the first again.
    assert!((5..=7).contains(&sent), "{sent}");
    solo.ack(10_001);
    let info = solo.info();
    assert_eq!(
        (info.congestion_window, info.slow_start_threshold),
        (7000, Some(7000))
    );
}

/// RFC 6298, section 3 (Karn): what was sent twice is not measured; RFC 7323, section 4.1: with timestamps it is.
#[test]
fn measured() {
    for (options, timestamps) in [(sack_only(), false), (full_options(), true)] {
        let mut solo = Solo::established(quick(), options);
        assert_eq!(solo.info().rtt.as_millis(), 10);
        solo.write(100);
        solo.out();
        solo.wait();
        solo.out();
        solo.echo = (solo.now / MS) as u32;
        solo.sleep(30);
        solo.ack(101);
        let rtt = solo.info().rtt_latest.as_millis();
        assert_eq!(rtt, if timestamps { 30 } else { 10 });
        // An echo of the first sending says nothing.
        solo.write(100);
        solo.echo = (solo.now / MS) as u32;
        solo.out();
        solo.wait();
        solo.out();
        solo.sleep(20);
        solo.ack(201);
        assert_eq!(solo.info().rtt_latest.as_millis(), rtt);
    }
}

/// Large segments are cut where ranges cut them, and only what is lost is sent again.
#[test]
fn large_segments() {
    let mut pair = Pair::established(quick(), quick());
    (pair.limit, pair.cut) = (65_536, true);
    let (mut count, mut lost) = (0, 0_u32);
    pair.script = Box::new(move |side, segment: &Segment, _| {
        count += 1;
        if side == 0 && !segment.payload.is_empty() && count % 100 == 50 && lost < 20 {
            lost += 1;
            return Fate::Drop;
        }
        Fate::Deliver
    });
    pair.transfer(0, &bytes(4_000_000));
    assert_eq!(pair.tcb(0).info().retransmitted_segments, 20);
}

/// One segment of a hundred is lost: the rate is about what the window makes of that, 1.2 * MSS / (RTT * sqrt(loss)) (RFC 3819, section
/// 8.5.2), 600 kB/s here, and timeouts are rare.
#[test]
fn rate_with_loss() {
    for (config, least) in [
        (quick(), 400_000),
        (
            Config {
                sack: false,
                ..quick()
            },
            200_000,
        ),
    ] {
        let mut pair = Pair::established(config.clone(), config);
        pair.delay = 10 * MS;
        // With this seed about as many are lost as are to be expected.
        let mut random = Rng::new(2);
        pair.script = Box::new(move |_, _, _| {
            if random.below(100) == 0 {
                Fate::Drop
            } else {
                Fate::Deliver
            }
        });
        let (begin, data) = (pair.now, bytes(2_000_000));
        pair.transfer(0, &data);
        let rate = data.len() as u64 * 1_000_000_000 / (pair.now - begin);
        assert!(rate > least, "{rate}");
        // Little is sent for nothing.
        let again = pair.tcb(0).info().retransmitted_segments;
        assert!((15..40).contains(&again), "{again}");
    }
}
