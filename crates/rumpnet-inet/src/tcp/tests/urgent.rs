//! Urgent data (RFC 9293, section 3.8.5; RFC 6093), as POSIX shows it.

use super::{
    pair::{MS, Pair, quick},
    solo::{Solo, sack_only},
};
use crate::tcp::{Changes, Config, Flags};
use bytes::Bytes;
use rumpuser::Errno;

/// RFC 9293, section 3.8.5; RFC 6093, section 4: the pointer names the number after the urgent data.
#[test]
fn sent() {
    let mut solo = Solo::established(
        Config {
            nodelay: true,
            ..Config::default()
        },
        sack_only(),
    );
    solo.write(10);
    solo.tcb.send_urgent(Bytes::from_static(b"!").into());
    solo.write(5);
    let segment = solo.one();
    assert_eq!(
        (segment.flags.contains(Flags::URG), segment.urgent),
        (true, 11)
    );
    solo.write(5);
    assert!(!solo.one().flags.contains(Flags::URG));
    // Far ahead the pointer says as far as it can.
    solo.ack(22);
    solo.tcb.set_send_buffer(1 << 20);
    solo.write(100_000);
    solo.tcb.send_urgent(Bytes::from_static(b"!").into());
    assert!(solo.out().iter().all(|segment| segment.urgent == u16::MAX));
}

fn exchange(inline: bool) -> Pair {
    let mut pair = Pair::established(
        quick(),
        Config {
            urgent_inline: inline,
            ..quick()
        },
    );
    pair.reads = [false; 2];
    pair.tcb(0).send(Bytes::from_static(b"before").into());
    pair.tcb(0).send_urgent(Bytes::from_static(b"x!").into());
    pair.tcb(0).send(Bytes::from_static(b"after").into());
    pair.flush(0);
    pair.run(50 * MS);
    assert!(pair.changes[1].contains(Changes::URGENT));
    pair
}

fn read(pair: &mut Pair, expected: &[u8]) {
    let mut buf = [0; 100];
    assert_eq!(pair.tcb(1).peek(&mut [&mut buf]), expected.len());
    let count = pair.tcb(1).receive_into(&mut buf);
    assert_eq!(&buf[..count], expected);
}

/// POSIX: the last urgent byte is out of the stream; a read ends at the mark.
#[test]
fn out_of_line() {
    let mut pair = exchange(false);
    assert_eq!(pair.tcb(1).readable(), 12);
    assert!(!pair.tcb(1).at_mark());
    assert!(pair.tcb(1).has_urgent());
    assert_eq!(pair.tcb(1).receive_urgent(true), Ok(b'!'));
    assert_eq!(pair.tcb(1).receive_urgent(false), Ok(b'!'));
    assert_eq!(pair.tcb(1).receive_urgent(false), Err(Errno::EINVAL));
    assert!(!pair.tcb(1).has_urgent());
    read(&mut pair, b"beforex");
    assert!(pair.tcb(1).at_mark());
    read(&mut pair, b"after");
    assert!(!pair.tcb(1).at_mark());
}

/// POSIX, `SO_OOBINLINE`: the byte stays, and the mark shows where.
#[test]
fn in_line() {
    let mut pair = exchange(true);
    assert_eq!(
        (pair.tcb(1).readable(), pair.tcb(1).receive_urgent(false)),
        (13, Err(Errno::EINVAL))
    );
    read(&mut pair, b"beforex");
    assert!(pair.tcb(1).at_mark());
    read(&mut pair, b"!after");
}

/// RFC 9293, section 3.8.5: the user hears of urgent data before it arrives.
#[test]
fn announced() {
    let mut solo = Solo::established(Config::default(), sack_only());
    let mut segment = solo.segment(1, Some(1), Flags::URG, 0);
    segment.urgent = 5;
    assert!(solo.give(segment.clone()).contains(Changes::URGENT));
    assert_eq!(solo.tcb.receive_urgent(false), Err(Errno::EAGAIN));
    // The same again is no news.
    assert!(!solo.give(segment).contains(Changes::URGENT));
    assert!(solo.give_data(1, 10).contains(Changes::URGENT));
    assert!(solo.tcb.receive_urgent(false).is_ok());
    assert_eq!((solo.read().len(), solo.read().len()), (4, 5));
}
