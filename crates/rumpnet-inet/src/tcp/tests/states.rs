//! Closing: the states after ESTABLISHED.

use super::{
    pair::{MS, Pair, bytes},
    solo::{PEERS, Solo, ack_of, full_options, sack_only},
};
use crate::tcp::{Changes, Config, Flags, State};
use alloc::vec;
use rumpuser::Errno;

/// RFC 9293, section 3.6, figure 12: normal close, the passive side.
#[test]
fn passive_close() {
    let mut solo = Solo::established(Config::default(), sack_only());
    let changes = solo.flags(1, Flags::FIN);
    assert!(changes.contains(Changes::PEER_CLOSED | Changes::READABLE));
    assert_eq!((solo.state(), ack_of(&solo.one())), (State::CloseWait, 2));
    assert!(solo.at_end());
    solo.write(100);
    assert_eq!(solo.sent(), [(1, 100)]);
    solo.tcb.shutdown_write();
    let fin = solo.one();
    assert_eq!((fin.flags, solo.state()), (Flags::FIN, State::LastAck));
    assert!(solo.ack(102).contains(Changes::CLOSED));
    assert_eq!((solo.error(), solo.deadline()), (None, None));
}

/// RFC 9293, section 3.6, figure 13: simultaneous close.
#[test]
fn simultaneous_close() {
    let mut pair = Pair::established(Config::default(), Config::default());
    pair.close(0);
    pair.close(1);
    assert_eq!(
        (pair.state(0), pair.state(1)),
        (State::FinWait1, State::FinWait1)
    );
    pair.run(6 * MS);
    assert_eq!(
        (pair.state(0), pair.state(1)),
        (State::Closing, State::Closing)
    );
    pair.run(20 * MS);
    assert_eq!(
        (pair.state(0), pair.state(1)),
        (State::TimeWait, State::TimeWait)
    );
    assert!(pair.changes[0].contains(Changes::TIME_WAIT));
    pair.run(60_000 * MS);
    assert_eq!(
        (pair.state(0), pair.state(1)),
        (State::Closed, State::Closed)
    );
}

/// RFC 9293, section 3.10.7.4, eighth: FIN in FIN-WAIT-1, with and without the ACK of ours, and in FIN-WAIT-2.
#[test]
fn fin_wait() {
    for (acked, together) in [(true, true), (false, false), (true, false)] {
        let mut solo = Solo::established(Config::default(), sack_only());
        solo.tcb.shutdown_write();
        assert_eq!(solo.one().flags, Flags::FIN);
        if !together && acked {
            solo.ack(2);
            assert_eq!(solo.state(), State::FinWait2);
        }
        let ack = if acked { 2 } else { 1 };
        let fin = solo.segment(1, Some(ack), Flags::FIN, 0);
        solo.give(fin);
        let expected = if acked {
            State::TimeWait
        } else {
            State::Closing
        };
        assert_eq!((solo.state(), ack_of(&solo.one())), (expected, 2));
        if !acked {
            solo.ack(2);
            // The ACK of FIN after FIN: its number is the next.
            assert_eq!(solo.state(), State::TimeWait);
        }
    }
}

/// RFC 9293, section 3.10.7.4, eighth: FIN again in TIME-WAIT restarts the time; section 3.6.1, MUST-13: twice the lifetime.
#[test]
fn time_wait() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.tcb.shutdown_write();
    solo.out();
    solo.ack(2);
    solo.flags(1, Flags::FIN);
    solo.out();
    assert!(solo.to_time_wait().is_some());
    solo.sleep(30_000);
    solo.flags(1, Flags::FIN);
    assert_eq!(ack_of(&solo.one()), 2);
    solo.sleep(59_000);
    assert_eq!(solo.state(), State::TimeWait);
    solo.sleep(1_001);
    assert_eq!(solo.state(), State::Closed);
}

/// RFC 9293, section 3.6: half-close; data arrives after our FIN.
#[test]
fn half_close() {
    let mut pair = Pair::established(Config::default(), Config::default());
    pair.shutdown(0);
    pair.run(50 * MS);
    assert_eq!(
        (pair.state(0), pair.state(1)),
        (State::FinWait2, State::CloseWait)
    );
    pair.transfer(1, &bytes(200_000));
    assert_eq!(pair.tcb(0).check_send(), Err(Errno::EPIPE));
    pair.shutdown(1);
    pair.run(50 * MS);
    assert_eq!(
        (pair.state(0), pair.state(1)),
        (State::TimeWait, State::Closed)
    );
}

/// RFC 9293, section 3.6.1 (RFC 1122, section 4.2.2.13): closing with unread data, and data after closing, are answered with a reset.
#[test]
fn close_with_data() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.give_data(1, 10);
    let now = rumpuser::Instant(solo.now);
    assert!(
        solo.tcb
            .close(now)
            .contains(Changes::CLOSED | Changes::OUTPUT)
    );
    let reset = solo.one();
    assert_eq!((reset.flags, reset.ack), (Flags::RST, Some(PEERS.plus(11))));
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.tcb.close(now);
    assert_eq!(solo.one().flags, Flags::FIN);
    solo.give_data(1, 10);
    assert_eq!(
        (solo.one().flags, solo.state()),
        (Flags::RST, State::Closed)
    );
}

/// A connection that nobody reads from leaves FIN-WAIT-2 after a time (customary; RFC 9293, section 3.6, lets it wait for ever).
#[test]
fn orphan() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.tcb.close(rumpuser::Instant(solo.now));
    solo.out();
    solo.ack(2);
    assert_eq!((solo.state(), solo.wait()), (State::FinWait2, 60_000));
    assert_eq!(solo.state(), State::Closed);
    // With a reader it stays.
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.tcb.shutdown_write();
    solo.out();
    solo.ack(2);
    assert_eq!((solo.state(), solo.deadline()), (State::FinWait2, None));
}

/// RFC 9293, section 3.10.4: CLOSE in SYN-SENT deletes the connection; in SYN-RECEIVED FIN follows the handshake.
#[test]
fn close_early() {
    let mut solo = Solo::connect(Config::default());
    solo.out();
    assert!(
        solo.tcb
            .close(rumpuser::Instant(solo.now))
            .contains(Changes::CLOSED)
    );
    assert_eq!(solo.out(), vec![]);
    let mut solo = Solo::accept(Config::default(), full_options());
    solo.out();
    solo.tcb.shutdown_write();
    assert_eq!((solo.out(), solo.state()), (vec![], State::SynReceived));
    solo.ack(1);
    assert_eq!(
        (solo.one().flags, solo.state()),
        (Flags::FIN, State::FinWait1)
    );
}

/// RFC 9293, section 3.10.5: ABORT sends a reset, but not in SYN-SENT.
#[test]
fn abort() {
    let mut solo = Solo::connect(Config::default());
    solo.out();
    assert_eq!(solo.tcb.abort(), None);
    let mut solo = Solo::established(Config::default(), full_options());
    solo.write(100);
    solo.out();
    let reset = solo.tcb.abort().unwrap().segment;
    assert_eq!(
        (reset.flags, reset.seq),
        (Flags::RST, super::solo::OURS.plus(101))
    );
    assert_eq!(
        (solo.state(), solo.unacknowledged(), solo.out()),
        (State::Closed, 0, vec![])
    );
}

/// RFC 9293, section 3.10.7.4, eighth: a FIN that comes before data counts once the data is there.
#[test]
fn fin_out_of_order() {
    let mut solo = Solo::established(Config::default(), sack_only());
    let fin = solo.segment(501, Some(1), Flags::FIN, 500);
    solo.give(fin);
    assert_eq!((solo.state(), ack_of(&solo.one())), (State::Established, 1));
    solo.give_data(1, 500);
    assert_eq!(
        (solo.state(), ack_of(&solo.one()), solo.read().len()),
        (State::CloseWait, 1002, 1000)
    );
}

/// RFC 9293, section 3.10.7.4: data after the peer's FIN does not exist.
#[test]
fn data_after_fin() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.flags(1, Flags::FIN);
    solo.out();
    solo.give_data(2, 100);
    assert_eq!((solo.readable(), ack_of(&solo.one())), (0, 2));
}

/// POSIX shutdown(SHUT_RD): what comes is dropped and acknowledged.
#[test]
fn shutdown_read() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.give_data(1, 100);
    solo.tcb.shutdown_read();
    assert_eq!((solo.readable(), solo.at_end()), (0, true));
    solo.give_data(101, 2000);
    assert_eq!((solo.readable(), ack_of(&solo.one())), (0, 2101));
}
