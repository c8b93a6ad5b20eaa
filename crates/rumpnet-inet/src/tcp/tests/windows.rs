//! Flow control: our window, the peer's, the silly window syndrome, Nagle.

use super::{
    pair::{MS, Pair, bytes},
    solo::{Solo, ack_of, plain, sack_only},
};
use crate::tcp::{Config, Flags};
use alloc::{boxed::Box, vec};

fn window_of(segment: &crate::tcp::Segment) -> u32 {
    segment.window.into()
}

/// RFC 9293, section 3.7.4 (Nagle): small data waits for the ACK of small data; MUST-17: it can be switched off.
#[test]
fn nagle() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(10);
    assert_eq!(solo.sent(), [(1, 10)]);
    solo.write(10);
    solo.write(20);
    assert_eq!(solo.sent(), []);
    solo.ack(11);
    assert_eq!(solo.sent(), [(11, 30)]);
    solo.write(1000);
    assert_eq!(solo.sent(), [(41, 1000)]);
    solo.write(5);
    assert_eq!(solo.sent(), []);
    solo.tcb.set_nodelay(true);
    assert_eq!(solo.sent(), [(1041, 5)]);
}

/// The end of large data waits only for small data (Minshall), and FIN waits for nothing.
#[test]
fn nagle_at_the_end() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(2500);
    assert_eq!(solo.sent(), [(1, 1000), (1001, 1000), (2001, 500)]);
    solo.write(10);
    solo.tcb.shutdown_write();
    let segment = solo.one();
    assert_eq!(
        (segment.payload.len(), segment.flags),
        (10, Flags::FIN | Flags::PSH)
    );
}

/// `TCP_CORK`: only full segments, until it is taken off.
#[test]
fn cork() {
    let mut solo = Solo::established(
        Config {
            cork: true,
            nodelay: true,
            ..Config::default()
        },
        sack_only(),
    );
    solo.write(1100);
    assert_eq!(solo.sent(), [(1, 1000)]);
    solo.ack(1001);
    assert_eq!((solo.sent(), solo.deadline()), (vec![], None));
    solo.tcb.set_cork(false);
    assert_eq!(solo.sent(), [(1001, 100)]);
}

/// RFC 9293, section 3.8.6.2.1: the sender sends full segments, or half of the largest window.
#[test]
fn silly_window_of_the_sender() {
    let mut solo = Solo::established(
        Config {
            nodelay: true,
            ..Config::default()
        },
        sack_only(),
    );
    solo.window = 1500;
    solo.ack(1);
    solo.write(5000);
    assert_eq!(solo.sent(), [(1, 1000)]);
    // 500 are left in the window, and data is in flight.
    assert_eq!(solo.sent(), []);
    solo.window = 900;
    solo.ack(1001);
    // Less than half of the largest window, which was 65535.
    assert_eq!(solo.sent(), []);
    solo.window = 1000;
    solo.ack(1001);
    assert_eq!(solo.sent(), [(1001, 1000)]);
    // With a peer whose window never was larger, half of it is much.
    let mut syn = super::solo::syn(sack_only());
    syn.window = 800;
    let config = alloc::sync::Arc::new(Config::default());
    let now = rumpuser::Instant(1000 * MS);
    let tcb = crate::tcp::Tcb::accept(&config, super::solo::path(), super::solo::OURS, &syn, now);
    let mut solo = Solo::with(tcb);
    solo.out();
    solo.window = 800;
    solo.ack(1);
    solo.write(5000);
    assert_eq!(solo.sent(), [(1, 800)]);
}

/// RFC 9293, section 3.8.6.2.2: the receiver opens the window by a segment or half of the buffer, and its edge never moves back
/// (section 3.8.6, MUST-14 of RFC 1122 section 4.2.2.16).
#[test]
fn silly_window_of_the_receiver() {
    let mut solo = Solo::established(
        Config {
            window_scaling: false,
            receive_buffer: 4000,
            ..Config::default()
        },
        plain(),
    );
    solo.tcb.set_receive_buffer(4000);
    let mut edge = 4001;
    let mut next = 1;
    for (len, read) in [
        (1000, 0),
        (2000, 500),
        (900, 0),
        (100, 1),
        (0, 998),
        (0, 1),
        (0, 500),
        (0, 3000),
    ] {
        if len > 0 {
            solo.give_data(next, len);
            next += len as u32;
        }
        solo.tcb.receive(read);
        solo.sleep(100);
        for segment in solo.out() {
            let new = ack_of(&segment) + window_of(&segment);
            assert!(new >= edge, "{len} {read}: {edge} to {new}");
            assert!(
                new == edge || new - edge >= 1000,
                "{len} {read}: {edge} to {new}"
            );
            edge = new;
        }
    }
    // All was read: the window is open again.
    assert_eq!((solo.readable(), edge), (0, 8001));
}

/// RFC 9293, section 3.8.6.2.2: a closed window is opened by an update as soon as there is room.
#[test]
fn window_update() {
    let mut solo = Solo::established(
        Config {
            window_scaling: false,
            receive_buffer: 4000,
            ..Config::default()
        },
        plain(),
    );
    solo.tcb.set_receive_buffer(4000);
    solo.give_data(1, 4000);
    let segment = solo.one();
    assert_eq!((ack_of(&segment), segment.window), (4001, 0));
    solo.tcb.receive(999);
    assert_eq!(solo.out(), vec![]);
    solo.tcb.receive(1);
    assert_eq!(solo.one().window, 1000);
}

/// A reader that keeps up makes no more acknowledgments than the data does.
#[test]
fn no_needless_updates() {
    let mut pair = Pair::established(Config::default(), Config::default());
    pair.transfer(0, &bytes(1_000_000));
    let (data, acks) = (pair.sent[0].len(), pair.sent[1].len());
    assert!(acks <= data / 2 + 20, "{data} {acks}");
}

/// RFC 9293, section 3.8.6: a window that shrinks does not confuse the sender.
#[test]
fn shrinking_window() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(8000);
    assert_eq!(solo.sent().len(), 8);
    solo.window = 2000;
    solo.ack(2001);
    solo.write(5000);
    assert_eq!(solo.sent(), []);
    solo.ack(8001);
    assert_eq!(solo.sent(), [(8001, 1000), (9001, 1000)]);
}

/// RFC 9293, section 3.10.7.4, fifth: the window of an older segment is not taken (SND.WL1, SND.WL2).
#[test]
fn old_windows() {
    let mut solo = Solo::established(Config::default(), sack_only());
    solo.write(3000);
    solo.out();
    let data = solo.segment(1, Some(1), Flags::empty(), 10);
    solo.give(data);
    solo.window = 3000;
    solo.ack(2001);
    assert_eq!(solo.info().send_window, 3000);
    solo.window = 9000;
    let old = solo.segment(11, Some(1001), Flags::empty(), 0);
    solo.give(old);
    assert_eq!(solo.info().send_window, 3000);
}

/// Dynamic right-sizing: over a long way the receive buffer grows to what a round trip brings, and the send buffer with it.
#[test]
fn buffers_grow() {
    let mut pair = Pair::established(Config::default(), Config::default());
    pair.delay = 50 * MS;
    pair.transfer(0, &bytes(20_000_000));
    let (send, receive) = (pair.tcb(0).send_buffer(), pair.tcb(1).receive_buffer());
    assert!(send > 1_000_000 && receive > 1_000_000, "{send} {receive}");
    // Each has its limit, and stays when it was set.
    let config = Config {
        receive_buffer_max: 200_000,
        send_buffer_max: 300_000,
        ..Config::default()
    };
    let mut pair = Pair::established(config.clone(), config);
    pair.tcb(1).set_receive_buffer(150_000);
    pair.delay = 50 * MS;
    pair.transfer(0, &bytes(3_000_000));
    let (send, receive) = (pair.tcb(0).send_buffer(), pair.tcb(1).receive_buffer());
    assert!(send <= 300_000 && receive == 150_000, "{send} {receive}");
}

/// A reader that reads nothing: no more is taken than the buffer, whatever the sender has.
#[test]
fn slow_reader() {
    let mut pair = Pair::established(
        Config::default(),
        Config {
            receive_buffer_max: 128 << 10,
            ..Config::default()
        },
    );
    pair.reads[1] = false;
    pair.script = Box::new(|_, _, _| super::pair::Fate::Deliver);
    let data = bytes(300_000);
    let mut sent = pair.send(0, &data);
    for _ in 0..100 {
        pair.run(100 * MS);
        sent += pair.send(0, &data[sent..]);
    }
    let held = pair.tcb(1).readable();
    assert!(held <= 128 << 10 && held > 120 << 10, "{held}");
    pair.reads[1] = true;
    pair.run_until(|pair| {
        let chain = pair.tcb(1).receive(usize::MAX);
        pair.received[1].extend(chain.pieces().flatten());
        pair.flush(1);
        if sent < data.len() {
            sent += pair.send(0, &data[sent..]);
        }
        pair.received[1].len() == data.len()
    });
    assert!(pair.received[1] == data);
}

/// A buffer of a byte, less than the unit of the windows: data comes through all the same, and reading nothing says nothing.
#[test]
fn tiny_buffer() {
    let mut pair = Pair::established(
        Config::default(),
        Config {
            receive_buffer: 1,
            ..Config::default()
        },
    );
    pair.tcb(1).set_receive_buffer(1);
    pair.transfer(0, &bytes(500));
    pair.run(1000 * MS);
    for _ in 0..10 {
        pair.tcb(1).receive(100);
        assert!(!pair.tcb(1).has_output());
    }
}
