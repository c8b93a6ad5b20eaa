//! Each state with each kind of segment (RFC 9293, section 3.10.7.4), and with what a user does (section 3.10.2 to 3.10.6).

use super::solo::{OURS, Solo, ack_of, full_options, sack_only};
use crate::tcp::{Changes, Config, Flags, State};
use alloc::{vec, vec::Vec};
use rumpuser::{Errno, Instant};

const SYNCHRONIZED: [State; 7] = [
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

/// A connection in a state: nothing waits to be sent, and no data has come.
fn in_state(state: State) -> Solo {
    let mut solo = match state {
        State::SynSent => Solo::connect(Config::default()),
        State::SynReceived => Solo::accept(Config::default(), sack_only()),
        _ => Solo::established(Config::default(), sack_only()),
    };
    let peer_first = matches!(state, State::CloseWait | State::LastAck);
    if peer_first {
        solo.flags(1, Flags::FIN);
        solo.out();
    }
    if matches!(
        state,
        State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait
    ) {
        solo.tcb.shutdown_write();
        solo.out();
    }
    if matches!(state, State::FinWait2 | State::TimeWait) {
        solo.ack(2);
    }
    if matches!(state, State::Closing | State::TimeWait) {
        let ack = if state == State::Closing { 1 } else { 2 };
        let fin = solo.segment(1, Some(ack), Flags::FIN, 0);
        solo.give(fin);
    }
    solo.out();
    assert_eq!(solo.state(), state);
    solo
}

/// RCV.NXT, relative.
fn expected(solo: &Solo) -> u32 {
    solo.tcb.rcv.nxt.since(super::solo::PEERS)
}

/// SND.UNA, relative: an acknowledgment of nothing new.
fn una(solo: &Solo) -> u32 {
    solo.tcb.snd.una.since(OURS)
}

/// Second check: a reset at RCV.NXT ends every state, one elsewhere in the window is challenged, one outside is nothing (RFC 5961,
/// section 3.2).
#[test]
fn reset_in_every_state() {
    let ends = |state| match state {
        State::CloseWait => Some(Errno::EPIPE),
        State::Closing | State::LastAck | State::TimeWait => None,
        _ => Some(Errno::ECONNRESET),
    };
    for state in [State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        let mut solo = in_state(state);
        let next = expected(&solo);
        solo.flags(next + 140_000, Flags::RST);
        assert_eq!((solo.out(), solo.state()), (vec![], state));
        solo.flags(next + 100, Flags::RST);
        assert_eq!((ack_of(&solo.one()), solo.state()), (next, state));
        let changes = solo.flags(next, Flags::RST);
        assert!(changes.contains(Changes::CLOSED), "{state:?}");
        assert_eq!((solo.out(), solo.error()), (vec![], ends(state)));
        assert_eq!((solo.state(), solo.deadline()), (State::Closed, None));
    }
}

/// First check: what is outside of the window is answered with an acknowledgment, and changes nothing.
#[test]
fn outside_in_every_state() {
    for state in [State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        for (after, len) in [(140_000, 10), (140_000, 0), (u32::MAX - 99, 50)] {
            let mut solo = in_state(state);
            let next = expected(&solo);
            let una = una(&solo);
            let segment = solo.segment(next.wrapping_add(after), Some(una), Flags::empty(), len);
            solo.give(segment);
            let answer = solo.one();
            assert_eq!((ack_of(&answer), solo.state()), (next, state));
            assert_eq!((answer.flags, solo.readable()), (Flags::empty(), 0));
        }
    }
}

/// Fourth check: SYN in the window is challenged (RFC 5961, section 4.2).
#[test]
fn syn_in_every_state() {
    for state in [State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        let mut solo = in_state(state);
        let next = expected(&solo);
        solo.flags(next + 5, Flags::SYN);
        assert_eq!((ack_of(&solo.one()), solo.state()), (next, state));
    }
}

/// Fifth check: without ACK a segment is dropped, whatever else it has.
#[test]
fn no_ack_in_every_state() {
    for state in [State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        let mut solo = in_state(state);
        let next = expected(&solo);
        let segment = solo.segment(next, None, Flags::FIN, 10);
        solo.give(segment);
        assert_eq!((solo.out(), solo.state()), (vec![], state));
        assert_eq!((solo.readable(), expected(&solo)), (0, next));
    }
}

/// Fifth check: what was not sent cannot be acknowledged. In SYN-RECEIVED that is answered with a reset, later with an acknowledgment.
#[test]
fn ack_of_nothing_in_every_state() {
    for state in [State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        let mut solo = in_state(state);
        let (next, beyond) = (expected(&solo), solo.tcb.snd.nxt.since(OURS) + 1);
        let segment = solo.segment(next, Some(beyond), Flags::FIN, 10);
        solo.give(segment);
        let answer = solo.one();
        if state == State::SynReceived {
            assert_eq!((answer.flags, answer.seq), (Flags::RST, OURS.plus(beyond)));
        } else {
            assert_eq!((answer.flags, ack_of(&answer)), (Flags::empty(), next));
        }
        assert_eq!((solo.state(), solo.readable()), (state, 0));
    }
}

/// Seventh check: the peer's data counts until its FIN.
#[test]
fn data_in_every_state() {
    for state in SYNCHRONIZED {
        let mut solo = in_state(state);
        let (next, una) = (expected(&solo), una(&solo));
        let segment = solo.segment(next, Some(una), Flags::empty(), 10);
        solo.give(segment);
        let open = matches!(
            state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        let taken = if open { 10 } else { 0 };
        assert_eq!((solo.readable(), solo.state()), (taken, state));
        assert_eq!(expected(&solo) as usize, next as usize + taken);
    }
}

/// Eighth check: FIN, with and without an acknowledgment of our own.
#[test]
fn fin_in_every_state() {
    let with = |state, acknowledges| match (state, acknowledges) {
        (State::Established, _) => State::CloseWait,
        (State::FinWait1, false) => State::Closing,
        (State::FinWait1 | State::FinWait2 | State::Closing, true) => State::TimeWait,
        (State::FinWait2, false) => State::TimeWait,
        (State::LastAck, true) => State::Closed,
        (state, _) => state,
    };
    for state in SYNCHRONIZED {
        for acknowledges in [false, true] {
            let mut solo = in_state(state);
            let ack = if acknowledges {
                solo.tcb.snd.nxt.since(OURS)
            } else {
                una(&solo)
            };
            // The peer has sent its own before in some of them: it comes again.
            let before = matches!(
                state,
                State::CloseWait | State::Closing | State::LastAck | State::TimeWait
            );
            let seq = expected(&solo) - u32::from(before);
            let fin = solo.segment(seq, Some(ack), Flags::FIN, 0);
            solo.give(fin);
            if before {
                // It is old: answered, and its acknowledgment does not count.
                assert_eq!((ack_of(&solo.one()), solo.state()), (2, state));
                let pure = solo.segment(seq + 1, Some(ack), Flags::empty(), 0);
                solo.give(pure);
            }
            let after = with(state, acknowledges);
            assert_eq!(solo.state(), after, "{state:?} {acknowledges}");
            if !before {
                assert_eq!(ack_of(&solo.one()), 2);
            }
        }
    }
}

/// The handshake's states: SYN-SENT with each kind of segment (section 3.10.7.3).
#[test]
fn syn_sent() {
    let give = |ack: Option<u32>, flags| {
        let mut solo = in_state(State::SynSent);
        let segment = solo.segment(0, ack, flags, 0);
        solo.give(segment);
        let flags = |solo: &mut Solo| solo.out().iter().map(|s| s.flags).collect::<Vec<_>>();
        (solo.state(), flags(&mut solo), solo.error())
    };
    let none = Flags::empty();
    let sent = State::SynSent;
    // First: an acknowledgment of what was not sent.
    assert_eq!(give(Some(0), none), (sent, vec![Flags::RST], None));
    assert_eq!(give(Some(2), Flags::SYN), (sent, vec![Flags::RST], None));
    assert_eq!(give(Some(2), Flags::RST), (sent, vec![], None));
    // Second: a reset counts with an acknowledgment alone.
    assert_eq!(give(None, Flags::RST), (sent, vec![], None));
    let refused = Some(Errno::ECONNREFUSED);
    assert_eq!(give(Some(1), Flags::RST), (State::Closed, vec![], refused));
    assert_eq!(
        give(Some(1), Flags::RST | Flags::SYN),
        (State::Closed, vec![], refused)
    );
    // Fourth: SYN, with an acknowledgment or (simultaneous open) without.
    assert_eq!(
        give(Some(1), Flags::SYN),
        (State::Established, vec![none], None)
    );
    assert_eq!(
        give(None, Flags::SYN),
        (State::SynReceived, vec![Flags::SYN], None)
    );
    // Fifth: neither.
    assert_eq!(give(Some(1), none), (sent, vec![], None));
    assert_eq!(give(Some(1), Flags::FIN), (sent, vec![], None));
    assert_eq!(give(None, none), (sent, vec![], None));
}

/// SEND (section 3.10.2): data is taken while this side is open, and sent once the connection is there.
#[test]
fn send_in_every_state() {
    let early = [State::SynSent, State::SynReceived];
    for state in early.into_iter().chain(SYNCHRONIZED) {
        let mut solo = in_state(state);
        let (taken, sent) = match state {
            State::SynSent | State::SynReceived => (10, 0),
            State::Established | State::CloseWait => (10, 10),
            _ => (0, 0),
        };
        let error = (taken == 0).then_some(Errno::EPIPE);
        assert_eq!((solo.write(10), solo.check_send().err()), (taken, error));
        let bytes: usize = solo.sent().iter().map(|(_, len)| len).sum();
        assert_eq!(bytes, sent, "{state:?}");
    }
}

/// CLOSE (section 3.10.4): FIN goes out once, and in SYN-RECEIVED after the handshake.
#[test]
fn close_in_every_state() {
    for state in [State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        let mut solo = in_state(state);
        solo.tcb.shutdown_write();
        let after = match state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            state => state,
        };
        assert_eq!(solo.state(), after);
        let fins = solo
            .out()
            .iter()
            .filter(|s| s.flags.contains(Flags::FIN))
            .count();
        let sends = matches!(state, State::Established | State::CloseWait);
        assert_eq!(fins, usize::from(sends), "{state:?}");
    }
}

/// ABORT (section 3.10.5): a reset for a peer that may still send or wait.
#[test]
fn abort_in_every_state() {
    for state in [State::SynSent, State::SynReceived]
        .into_iter()
        .chain(SYNCHRONIZED)
    {
        let mut solo = in_state(state);
        let (next, mine) = (expected(&solo), solo.tcb.snd.nxt);
        let reset = solo.tcb.abort().map(|out| out.segment);
        let none = matches!(state, State::SynSent | State::TimeWait);
        assert_eq!(reset.is_none(), none, "{state:?}");
        if let Some(reset) = reset {
            assert_eq!((reset.flags, reset.seq), (Flags::RST, mine));
            assert_eq!(ack_of(&reset), next);
        }
        assert_eq!((solo.state(), solo.out()), (State::Closed, vec![]));
    }
}

/// Time (section 3.10.8): without the peer no state but ESTABLISHED, CLOSE-WAIT and FIN-WAIT-2, which wait for users, lasts for ever.
#[test]
fn every_state_ends() {
    for state in [State::SynSent, State::SynReceived]
        .into_iter()
        .chain(SYNCHRONIZED)
    {
        let mut solo = in_state(state);
        let mut steps = 0;
        while solo.deadline().is_some() && steps < 100 {
            solo.wait();
            solo.out();
            steps += 1;
        }
        let stays = matches!(
            state,
            State::Established | State::CloseWait | State::FinWait2
        );
        assert_eq!(solo.state() == State::Closed, !stays, "{state:?}");
        // Nor do these when the user is gone.
        let mut solo = in_state(state);
        solo.tcb.close(Instant(solo.now));
        solo.out();
        let mut steps = 0;
        while solo.state() != State::Closed && steps < 100 {
            solo.wait();
            solo.out();
            steps += 1;
        }
        assert_eq!(solo.state(), State::Closed, "{state:?}");
    }
}

/// RFC 9293, section 3.5, figure 8, and section 3.10.7.4: simultaneous open ends in ESTABLISHED, by SYN with ACK and by ACK alone.
#[test]
fn simultaneous_open() {
    for flags in [Flags::SYN, Flags::empty()] {
        let mut solo = in_state(State::SynSent);
        let mut syn = super::solo::syn(full_options());
        syn.seq = super::solo::PEERS;
        solo.give(syn);
        assert_eq!(solo.state(), State::SynReceived);
        let answer = solo.one();
        assert_eq!((answer.flags, answer.seq), (Flags::SYN, OURS));
        let seq = u32::from(flags.is_empty());
        let segment = solo.segment(seq, Some(1), flags, 0);
        solo.give(segment);
        assert_eq!(solo.state(), State::Established, "{flags:?}");
    }
}
