//! The congestion window in a connection, and ECN.

use super::{
    pair::{Fate, MS, Pair, bytes, quick},
    solo::{OURS, Solo, plain, sack_only},
};
use crate::tcp::{Config, Congestion, Flags, Options, Segment, TransmitLimit};
use alloc::boxed::Box;
use rumpuser::Instant;

/// RFC 6928, section 2: ten segments at first; RFC 5681, section 3.1: twice as many after each round trip.
#[test]
fn slow_start() {
    let mut solo = Solo::established(quick(), plain());
    solo.write(100_000);
    assert_eq!(solo.sent().len(), 10);
    for n in 1..=10 {
        solo.ack(n * 1000 + 1);
        assert_eq!(solo.sent().len(), 2);
    }
    solo.ack(30_001);
    assert_eq!(solo.sent().len(), 40);
}

/// RFC 5681, section 3.1; RFC 7661, section 4: a window that is not used up does not grow.
#[test]
fn only_what_is_used() {
    let mut solo = Solo::established(quick(), plain());
    for n in 0..100 {
        solo.write(1000);
        solo.out();
        solo.ack(n * 1000 + 1001);
    }
    assert_eq!(solo.info().congestion_window, 10_000);
}

/// RFC 5681, section 4.1: after an idle time the window begins again.
#[test]
fn after_idle() {
    let mut solo = Solo::established(quick(), plain());
    solo.write(100_000);
    let mut acked = 1;
    while solo.unacknowledged() > 0 {
        let sent = solo.sent();
        acked += sent.iter().map(|(_, len)| *len as u32).sum::<u32>();
        solo.ack(acked);
    }
    assert!(solo.info().congestion_window > 50_000);
    solo.sleep(10_000);
    solo.write(100_000);
    assert_eq!(solo.sent().len(), 10);
}

/// The algorithm can be chosen for each connection.
#[test]
fn chosen() {
    for (congestion, _) in Congestion::ALL {
        let mut pair = Pair::established(
            Config {
                congestion,
                ..quick()
            },
            quick(),
        );
        let mut count = 0;
        pair.script = Box::new(move |_, _, _| {
            count += 1;
            if count % 97 == 0 {
                Fate::Drop
            } else {
                Fate::Deliver
            }
        });
        pair.transfer(0, &bytes(500_000));
        assert_eq!(pair.tcb(0).congestion(), congestion);
        pair.tcb(0).set_congestion(Congestion::NewReno);
        pair.transfer(0, &bytes(100_000));
    }
}

fn ecn() -> Config {
    Config {
        ecn: true,
        ..quick()
    }
}

/// RFC 3168, section 6.1.1: both sides must want it.
#[test]
fn ecn_negotiation() {
    for (one, two) in [(true, true), (true, false), (false, true), (false, false)] {
        let config = |ecn| Config { ecn, ..quick() };
        let mut pair = Pair::established(config(one), config(two));
        assert_eq!(
            (pair.tcb(0).info().ecn, pair.tcb(1).info().ecn),
            (one && two, one && two)
        );
        let flags = |segment: &Segment| segment.flags & (Flags::ECE | Flags::CWR);
        let expected = if one {
            Flags::ECE | Flags::CWR
        } else {
            Flags::empty()
        };
        assert_eq!(flags(&pair.sent[0][0]), expected);
        let expected = if one && two {
            Flags::ECE
        } else {
            Flags::empty()
        };
        assert_eq!(flags(&pair.sent[1][0]), expected);
    }
    // Section 6.1.1: an answer with both bits is from a host that mirrors reserved bits.
    let mut solo = Solo::connect(ecn());
    solo.out();
    let mut answer = solo.segment(0, Some(1), Flags::SYN | Flags::ECE | Flags::CWR, 0);
    answer.options = sack_only();
    solo.give(answer);
    assert!(!solo.info().ecn);
    // Section 6.1.1.1: SYN again does not offer it.
    let mut solo = Solo::connect(ecn());
    assert_eq!(solo.one().flags, Flags::SYN | Flags::ECE | Flags::CWR);
    solo.wait();
    assert_eq!(solo.one().flags, Flags::SYN);
}

/// RFC 3168, section 6.1.2: the window is reduced once per round trip, and new data says so with CWR; section 6.1.3: ECE is repeated
/// until then.
#[test]
fn ecn_reaction() {
    let mut pair = Pair::established(ecn(), ecn());
    let mut count = 0;
    pair.script = Box::new(move |side, _, _| {
        if side == 0 {
            count += 1;
        }
        if (12..20).contains(&count) {
            Fate::Mark
        } else {
            Fate::Deliver
        }
    });
    pair.transfer(0, &bytes(100_000));
    let info = pair.tcb(0).info();
    assert!(
        info.slow_start_threshold.is_some() && info.retransmitted_segments == 0,
        "{info:?}"
    );
    let cwr = pair.sent[0].iter().filter(|segment| {
        segment.flags.contains(Flags::CWR) && !segment.flags.contains(Flags::SYN)
    });
    assert!((1..=2).contains(&cwr.count()));
    let ece = pair.sent[1]
        .iter()
        .filter(|segment| segment.flags == Flags::ECE);
    assert!(ece.count() > 3);
    assert!(!pair.sent[1].last().unwrap().flags.contains(Flags::ECE));
}

/// RFC 3168, sections 6.1.4 and 6.1.5: data is ECN-capable; acknowledgments and what is sent again are not.
#[test]
fn ecn_capable() {
    let options = Options {
        sack_permitted: true,
        ..plain()
    };
    let mut syn = super::solo::syn(options);
    syn.flags |= Flags::ECE | Flags::CWR;
    let config = alloc::sync::Arc::new(ecn());
    let tcb = crate::tcp::Tcb::accept(&config, super::solo::path(), OURS, &syn, Instant(1000 * MS));
    let mut solo = Solo::with(tcb);
    assert!(!solo.outgoing()[0].ect);
    solo.ack(1);
    solo.write(3000);
    assert!(solo.outgoing().iter().all(|outgoing| outgoing.ect));
    solo.sleep(10);
    solo.sack(1, &[(1001, 3001)]);
    let begin = solo.info().retransmitted_segments;
    solo.wait();
    let limit = TransmitLimit { max_payload: 1 };
    while let Some(outgoing) = solo.tcb.poll_transmit(Instant(solo.now), limit) {
        assert!(!outgoing.ect);
    }
    assert!(solo.info().retransmitted_segments > begin);
    solo.ack(3001);
    solo.give_data(1, 10);
    solo.wait();
    assert!(!solo.outgoing()[0].ect);
}

/// draft-cardwell-iccrg-bbr-congestion-control-00, section 4.2.1: BBR sends at a rate, and what waits for its time has a deadline. The
/// others send what the window lets them, and have none for it.
#[test]
fn pacing() {
    let config = |congestion| Config {
        congestion,
        ..quick()
    };
    let mut solo = Solo::established(config(Congestion::Bbr), sack_only());
    solo.write(100_000);
    let begin = solo.now;
    let (mut sent, mut times) = (solo.sent().len(), 1);
    assert!((2..10).contains(&sent), "{sent}");
    while sent < 10 {
        assert!(!solo.has_output());
        // Nothing is heard: it is time alone that lets the next go.
        let at = solo.deadline().expect("a deadline").0;
        assert!(at > solo.now && at < begin + 10 * MS, "{at}");
        solo.now = at;
        let _ = solo.tcb.on_timer(Instant(at));
        let more = solo.sent().len();
        assert!(more > 0);
        sent += more;
        times += 1;
    }
    assert!(times > 2 && sent == 10, "{times} {sent}");
    for congestion in [Congestion::Cubic, Congestion::NewReno] {
        let mut solo = Solo::established(config(congestion), sack_only());
        solo.write(100_000);
        assert_eq!(solo.sent().len(), 10);
        assert!(solo.deadline().expect("a deadline").0 >= solo.now + 10 * MS);
    }
}

/// RFC 3168, section 6.1: who does not heed marks does not say that it does.
#[test]
fn bbr_is_not_ecn_capable() {
    for (congestion, capable) in [(Congestion::Cubic, true), (Congestion::Bbr, false)] {
        let config = Config {
            congestion,
            ..ecn()
        };
        let mut pair = Pair::established(config, ecn());
        assert!(pair.tcb(0).info().ecn);
        let now = pair.now();
        let _ = pair.tcb(0).send_bytes(&[1; 500]);
        let limit = TransmitLimit { max_payload: 1 };
        let out = pair.tcb(0).poll_transmit(now, limit).expect("data");
        assert_eq!(out.ect, capable, "{congestion:?}");
    }
}

/// RFC 3168, section 6.1.3: a peer that saw a mark of what was sent before is told, and stops saying so.
#[test]
fn marks_from_before_bbr() {
    let mut pair = Pair::established(ecn(), ecn());
    pair.script = Box::new(|side, segment, _| {
        if side == 0 && !segment.payload.is_empty() {
            Fate::Mark
        } else {
            Fate::Deliver
        }
    });
    pair.send(0, &bytes(1000));
    pair.tcb(0).set_congestion(Congestion::Bbr);
    pair.run(20 * MS);
    let window = pair.tcb(0).info().congestion_window;
    let said = |pair: &Pair| pair.sent[1].last().map(|s| s.flags.contains(Flags::ECE));
    assert_eq!(said(&pair), Some(true));
    let before = pair.sent[0].len();
    pair.transfer(0, &bytes(50_000));
    let cwr = |segment: &Segment| segment.flags.contains(Flags::CWR);
    let told = pair.sent[0][before..].iter().filter(|s| cwr(s)).count();
    assert_eq!((told, said(&pair)), (1, Some(false)));
    assert!(pair.tcb(0).info().congestion_window >= window);
}

/// An algorithm may be exchanged for another while data is under way.
#[test]
fn exchanged_under_way() {
    let mut pair = Pair::established(quick(), quick());
    let mut count = 0;
    pair.script = Box::new(move |_, _, _| {
        count += 1;
        if count % 23 == 0 {
            Fate::Drop
        } else {
            Fate::Deliver
        }
    });
    let data = bytes(100_000);
    for round in 0..9 {
        let (next, _) = Congestion::ALL[round % Congestion::ALL.len()];
        let sent = pair.send(0, &data);
        pair.run(3 * MS);
        pair.tcb(0).set_congestion(next);
        let begin = pair.received[1].len();
        pair.run_until(|pair| pair.tcb(0).unacknowledged() == 0);
        assert!(pair.received[1].len() >= begin && sent > 0);
    }
}
