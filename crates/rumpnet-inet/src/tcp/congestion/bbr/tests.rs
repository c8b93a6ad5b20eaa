//! Each rule with its section of draft-cardwell-iccrg-bbr-congestion-control-00.
#![allow(clippy::arithmetic_side_effects)]

use super::{Ack, Bbr, CYCLE, DRAIN_GAIN, HIGH_GAIN, ONE, PROBE_BW_CWND_GAIN, State, Window};
use alloc::vec::Vec;

const MS: u64 = 1_000_000;
const MSS: u32 = 1000;
const RTT: u64 = 10 * MS;

fn window() -> Window {
    Window {
        size: 10 * MSS,
        threshold: u32::MAX,
        mss: MSS,
    }
}

/// A sender on a path of a megabyte per second and ten milliseconds: what is in flight there is 10,000 bytes.
struct Sender {
    bbr: Bbr,
    window: Window,
    now: u64,
}

impl Sender {
    fn new() -> Self {
        let mut sender = Self {
            bbr: Bbr::new(7),
            window: window(),
            now: 1000 * MS,
        };
        sender.send(1000 * MS);
        sender
    }

    /// In ProbeBW with that model.
    fn probing() -> Self {
        let mut sender = Self::new();
        sender.bbr.btl_bw = 1_000_000;
        sender.bbr.filter.measured(1_000_000, 0);
        sender.bbr.rtprop = RTT;
        sender.bbr.rtprop_stamp = sender.now;
        sender.bbr.filled_pipe = true;
        sender.bbr.enter_probe_bw(sender.now);
        sender.bbr.set_pacing_rate(ONE);
        sender.bbr.set_send_quantum(&sender.window);
        sender.window.size = 26 * MSS;
        sender
    }

    fn send(&mut self, time: u64) {
        let first = self.bbr.rate.delivered() == 0;
        self.bbr.sends(&self.window, Some(RTT), first, time, MSS);
    }

    fn ack(&self) -> Ack {
        Ack {
            now: self.now,
            delivered: 0,
            lost: 0,
            in_flight: 10 * MSS,
            prior_in_flight: 10 * MSS,
            newest: None,
            rtt: None,
            min_rtt: RTT,
        }
    }

    fn take(&mut self, ack: Ack) {
        self.bbr.acknowledged(&mut self.window, &ack);
    }

    /// A round trip in which so many bytes arrive.
    fn round(&mut self, bytes: u32) {
        let time = self.now;
        self.send(time);
        self.now += RTT;
        let ack = Ack {
            delivered: bytes,
            newest: Some(time),
            rtt: Some(RTT),
            ..self.ack()
        };
        self.take(ack);
    }
}

/// Section 4.2.1: at first the initial window in a round trip, times the gain; then with the model, and only upwards until the pipe is full.
#[test]
fn pacing_rate() {
    let mut sender = Sender::new();
    let initial = 1_000_000 * HIGH_GAIN / ONE;
    assert_eq!(sender.bbr.pacing_rate, initial);
    // Nothing measured: a millisecond.
    let mut blind = Bbr::new(0);
    blind.sends(&window(), None, true, MS, MSS);
    assert_eq!(blind.pacing_rate, 10_000_000 * HIGH_GAIN / ONE);
    let first = blind.acknowledged_once(RTT);
    assert_eq!(first, initial);
    sender.bbr.btl_bw = 500_000;
    sender.bbr.set_pacing_rate(ONE);
    assert_eq!(sender.bbr.pacing_rate, initial);
    sender.bbr.btl_bw = 9_000_000;
    sender.bbr.set_pacing_rate(ONE);
    assert_eq!(sender.bbr.pacing_rate, 9_000_000);
    sender.bbr.filled_pipe = true;
    sender.bbr.btl_bw = 500_000;
    sender.bbr.set_pacing_rate(750);
    assert_eq!(sender.bbr.pacing_rate, 375_000);
}

impl Bbr {
    /// The rate after the first round trip that is known, of data too little to say more.
    fn acknowledged_once(&mut self, rtt: u64) -> u64 {
        let ack = Ack {
            now: MS + rtt,
            delivered: 0,
            lost: 0,
            in_flight: 0,
            prior_in_flight: 0,
            newest: None,
            rtt: Some(rtt),
            min_rtt: rtt,
        };
        self.acknowledged(&mut window(), &ack);
        self.pacing_rate
    }
}

/// Section 4.2.2: one segment below 1.2 Mbit/s, two below 24, then a millisecond's worth up to 64 KiB.
#[test]
fn send_quantum() {
    let mut bbr = Bbr::new(0);
    for (rate, quantum) in [
        (149_999, MSS),
        (150_000, 2 * MSS),
        (2_999_999, 2 * MSS),
        (3_000_000, 3000),
        (50_000_000, 50_000),
        (500_000_000, 65_536),
    ] {
        bbr.pacing_rate = rate;
        bbr.set_send_quantum(&window());
        assert_eq!(bbr.quantum(), quantum, "{rate}");
    }
}

/// Section 4.1.1.3: a round is over when something arrives that was sent after its begin.
#[test]
fn rounds() {
    let mut sender = Sender::new();
    let first = sender.now;
    sender.send(first + 1);
    sender.now += RTT;
    let mut arrives = |time, now| {
        let ack = Ack {
            now,
            delivered: MSS,
            newest: Some(time),
            ..sender.ack()
        };
        sender.take(ack);
        let state = (sender.bbr.round_count, sender.bbr.round_start);
        sender.send(now);
        state
    };
    assert_eq!(arrives(first, first + RTT), (1, true));
    assert_eq!(arrives(first + 1, first + RTT + 1), (1, false));
    assert_eq!(arrives(first + RTT, first + 2 * RTT), (2, true));
    assert_eq!(arrives(first + RTT + 1, first + 2 * RTT + 1), (2, false));
}

/// Section 4.1.1.5: samples of a sender with too little to send count only if they are larger.
#[test]
fn samples_that_the_application_limits() {
    let mut sender = Sender::probing();
    sender.bbr.limited_by_application(100 * MSS);
    sender.round(5 * MSS);
    assert_eq!(sender.bbr.btl_bw, 1_000_000);
    sender.round(20 * MSS);
    assert_eq!(sender.bbr.btl_bw, 2_000_000);
    // Others do, once what was more is ten rounds old (section 4.1.1.2).
    let mut sender = Sender::probing();
    for round in 0..12 {
        sender.round(5 * MSS);
        let expected = if round < 9 { 1_000_000 } else { 500_000 };
        assert_eq!(sender.bbr.btl_bw, expected, "{round}");
    }
}

/// Section 4.1.2.3: the shortest round trip of the last ten seconds.
#[test]
fn round_trip() {
    let mut sender = Sender::probing();
    let begin = sender.now;
    let mut measured = |after: u64, rtt| {
        let ack = Ack {
            now: begin + after * MS,
            rtt: Some(rtt * MS),
            ..sender.ack()
        };
        sender.bbr.update_rtprop(&ack);
        (sender.bbr.rtprop / MS, sender.bbr.rtprop_expired)
    };
    assert_eq!(measured(1, 12), (10, false));
    assert_eq!(measured(2, 8), (8, false));
    assert_eq!(measured(10_001, 9), (8, false));
    assert_eq!(measured(10_002, 8), (8, false));
    assert_eq!(measured(20_002, 9), (8, false));
    assert_eq!(measured(20_003, 9), (9, true));
}

/// Section 4.2.3.2: gain times what fits the path, and three quanta; before a round trip is known the initial window.
#[test]
fn target_of_the_window() {
    let sender = Sender::probing();
    assert_eq!(sender.bbr.quantum(), 2 * MSS);
    assert_eq!(sender.bbr.inflight(ONE), 16 * MSS);
    assert_eq!(sender.bbr.inflight(PROBE_BW_CWND_GAIN), 26 * MSS);
    let mut blind = Bbr::new(0);
    blind.sends(&window(), None, true, MS, MSS);
    assert_eq!(blind.inflight(PROBE_BW_CWND_GAIN), 10 * MSS);
}

/// Section 4.2.3.6: downwards at once, upwards by what arrives; before the pipe is full beyond the target only while little has arrived; not
/// below four segments (section 4.2.3.3).
#[test]
fn window_follows_the_target() {
    let mut sender = Sender::probing();
    let size = |sender: &mut Sender, before: u32, delivered: u32| {
        sender.window.size = before * MSS;
        let ack = Ack {
            delivered: delivered * MSS,
            ..sender.ack()
        };
        let (bbr, window) = (&mut sender.bbr, &mut sender.window);
        bbr.set_cwnd(window, &ack);
        window.size / MSS
    };
    assert_eq!(size(&mut sender, 40, 1), 26);
    assert_eq!(size(&mut sender, 10, 3), 13);
    assert_eq!(size(&mut sender, 25, 3), 26);
    sender.bbr.btl_bw = 1;
    sender.bbr.send_quantum = 1;
    assert_eq!(size(&mut sender, 10, 1), 4);
    // Startup.
    let mut sender = Sender::probing();
    sender.bbr.filled_pipe = false;
    assert_eq!(size(&mut sender, 30, 3), 33);
    (0..9).for_each(|_| sender.round(2 * MSS));
    sender.bbr.filled_pipe = false;
    let target = sender.bbr.inflight(sender.bbr.cwnd_gain) / MSS;
    assert_eq!(size(&mut sender, target + 1, 3), target + 1);
    assert_eq!(size(&mut sender, target - 1, 3), target + 2);
}

/// Section 4.3.2: the pipe is full after three rounds without a quarter more; samples that the application limits do not count. Then the
/// queue is drained (section 4.3.3), until what is in flight fits the path.
#[test]
fn startup_and_drain() {
    let mut sender = Sender::new();
    for round in 0..4 {
        sender.round(MSS << round);
        assert_eq!(sender.bbr.state, State::Startup);
    }
    let gains = |bbr: &Bbr| (bbr.pacing_gain, bbr.cwnd_gain);
    assert_eq!(gains(&sender.bbr), (HIGH_GAIN, HIGH_GAIN));
    // Three rounds at about the same rate; one with too little to send is none of them.
    sender.round(9 * MSS);
    sender.bbr.limited_by_application(0);
    sender.round(8 * MSS);
    sender.bbr.rate.acknowledged(10 * MSS, u64::MAX, 0, 0);
    assert_eq!(sender.bbr.full_bw_count, 1);
    sender.round(9 * MSS);
    assert!(!sender.bbr.filled_pipe);
    sender.bbr.rtprop = RTT;
    let time = sender.now;
    sender.send(time);
    sender.now += RTT;
    let mut ack = Ack {
        delivered: 9 * MSS,
        newest: Some(time),
        in_flight: 100 * MSS,
        ..sender.ack()
    };
    sender.take(ack);
    assert_eq!(
        (sender.bbr.state, sender.bbr.filled_pipe),
        (State::Drain, true)
    );
    assert_eq!(gains(&sender.bbr), (DRAIN_GAIN, HIGH_GAIN));
    // Slower than the path.
    assert_eq!(sender.bbr.pacing_rate, sender.bbr.btl_bw * DRAIN_GAIN / ONE);
    (ack.newest, ack.delivered) = (None, 0);
    ack.in_flight = sender.bbr.inflight(ONE) + 1;
    sender.take(ack);
    assert_eq!(sender.bbr.state, State::Drain);
    ack.in_flight -= 1;
    sender.take(ack);
    assert_eq!(sender.bbr.state, State::ProbeBw);
    assert_eq!(sender.bbr.cwnd_gain, PROBE_BW_CWND_GAIN);
}

/// Section 4.3.4.2: a cycle begins at any phase but that of 3/4.
#[test]
fn cycles_begin_at_random() {
    let mut seen = Vec::new();
    for seed in 0..300 {
        let mut bbr = Bbr::new(seed);
        bbr.enter_probe_bw(5);
        assert_eq!(bbr.cycle_stamp, 5);
        seen.push(bbr.cycle_index);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0, 2, 3, 4, 5, 6, 7]);
}

/// Section 4.3.4.3: phases last a round trip; that of 5/4 until as much is in flight or something is lost, that of 3/4 until the queue is gone.
#[test]
fn phases_of_a_cycle() {
    let mut sender = Sender::probing();
    let mut next = |index: usize, after: u64, prior: u32, lost: u32| {
        sender.bbr.cycle_index = index;
        sender.bbr.pacing_gain = CYCLE[index];
        sender.bbr.cycle_stamp = 0;
        let ack = Ack {
            now: after,
            prior_in_flight: prior * MSS,
            lost,
            ..sender.ack()
        };
        sender.bbr.check_cycle_phase(&ack);
        (sender.bbr.cycle_index, sender.bbr.pacing_gain)
    };
    // 12,500 and 10,000 bytes, and three quanta of two segments.
    assert_eq!(next(2, RTT, 10, 0), (2, 1000));
    assert_eq!(next(2, RTT + 1, 10, 0), (3, 1000));
    assert_eq!(next(7, RTT + 1, 10, 0), (0, 1250));
    assert_eq!(next(0, RTT + 1, 18, 0), (0, 1250));
    assert_eq!(next(0, RTT + 1, 19, 0), (1, 750));
    assert_eq!(next(0, RTT + 1, 18, 1), (1, 750));
    assert_eq!(next(0, RTT, 19, 1), (0, 1250));
    assert_eq!(next(1, RTT, 17, 0), (1, 750));
    assert_eq!(next(1, RTT, 16, 0), (2, 1000));
    assert_eq!(next(1, RTT + 1, 17, 0), (2, 1000));
}

/// Section 4.3.4.4: after a pause because there was nothing to send, at exactly the rate of the path; and no probe of the round trip for the
/// time that passed.
#[test]
fn after_idle_time() {
    let mut sender = Sender::probing();
    sender.bbr.pacing_rate = 1_250_000;
    sender.bbr.limited_by_application(0);
    let time = sender.now + 20_000 * MS;
    sender.bbr.sends(&sender.window, Some(RTT), true, time, MSS);
    assert_eq!(sender.bbr.pacing_rate, 1_000_000);
    assert_eq!(sender.window.size, 26 * MSS);
    sender.now = time + RTT;
    let ack = Ack {
        delivered: MSS,
        newest: Some(time),
        rtt: Some(RTT + 1),
        ..sender.ack()
    };
    sender.take(ack);
    assert_eq!(sender.bbr.state, State::ProbeBw);
    assert!(!sender.bbr.idle_restart);
    assert_eq!(sender.bbr.rtprop, RTT + 1);
}

/// Section 4.3.5: without a shorter round trip for ten seconds four segments at most are in flight, for 200 ms and a round; then as before.
#[test]
fn probe_of_the_round_trip() {
    let mut sender = Sender::probing();
    sender.now += 9_000 * MS;
    sender.round(10 * MSS);
    assert_eq!(sender.bbr.state, State::ProbeBw);
    sender.now += MS;
    sender.bbr.rtprop = RTT - 1;
    sender.bbr.rtprop_stamp = sender.now - 10_001 * MS;
    sender.round(10 * MSS);
    assert_eq!(sender.bbr.state, State::ProbeRtt);
    assert_eq!(
        (sender.window.size, sender.bbr.prior_cwnd),
        (4 * MSS, 26 * MSS)
    );
    assert_eq!(sender.bbr.pacing_gain, ONE);
    assert_eq!(sender.bbr.probe_rtt_done_stamp, None);
    // Its samples are not of the path.
    assert!(sender.bbr.rate.is_app_limited());
    let mut ack = Ack {
        in_flight: 4 * MSS,
        ..sender.ack()
    };
    sender.take(ack);
    let done = sender.now + 200 * MS;
    assert_eq!(sender.bbr.probe_rtt_done_stamp, Some(done));
    // A round is over, and not yet the time.
    let time = sender.now;
    sender.send(time);
    sender.now += RTT;
    ack = Ack {
        delivered: MSS,
        newest: Some(time),
        in_flight: 4 * MSS,
        ..sender.ack()
    };
    sender.take(ack);
    assert!(sender.bbr.probe_rtt_round_done);
    assert_eq!(sender.bbr.state, State::ProbeRtt);
    sender.now = done + 1;
    ack = Ack {
        in_flight: 4 * MSS,
        ..sender.ack()
    };
    sender.take(ack);
    assert_eq!(sender.bbr.state, State::ProbeBw);
    assert_eq!(sender.bbr.rtprop_stamp, sender.now);
    assert_eq!(sender.window.size, 26 * MSS);
    // Without a full pipe it starts again.
    sender.bbr.filled_pipe = false;
    sender.bbr.state = State::ProbeRtt;
    sender.bbr.probe_rtt_done_stamp = Some(0);
    sender.bbr.probe_rtt_round_done = true;
    ack = sender.ack();
    sender.take(ack);
    assert_eq!(sender.bbr.state, State::Startup);
    assert_eq!(sender.bbr.pacing_gain, HIGH_GAIN);
}

/// Section 4.2.3.4: fast recovery begins with what is in flight, keeps that for a round, and ends with the window of before.
#[test]
fn loss() {
    let mut sender = Sender::probing();
    sender.bbr.enter_recovery(&mut sender.window, 12 * MSS);
    assert_eq!(sender.window.size, 13 * MSS);
    // One lost, one arrived: as many as there were.
    let time = sender.now;
    sender.send(time);
    let mut ack = Ack {
        delivered: MSS,
        lost: MSS,
        in_flight: 11 * MSS,
        ..sender.ack()
    };
    sender.take(ack);
    assert_eq!(sender.window.size, 12 * MSS);
    // A round later the window grows with what arrives.
    sender.now += RTT;
    ack = Ack {
        delivered: 2 * MSS,
        newest: Some(time),
        ..sender.ack()
    };
    sender.take(ack);
    assert!(!sender.bbr.packet_conservation);
    assert_eq!(sender.window.size, 14 * MSS);
    sender.bbr.exit_recovery(&mut sender.window);
    assert_eq!(sender.window.size, 26 * MSS);
    // A timeout in a recovery does not forget it.
    sender.bbr.enter_recovery(&mut sender.window, 12 * MSS);
    sender.bbr.timed_out(&sender.window);
    sender.window.size = MSS;
    sender.bbr.exit_recovery(&mut sender.window);
    assert_eq!(sender.window.size, 26 * MSS);
    // At least one segment is left, whatever is lost.
    sender.bbr.packet_conservation = true;
    ack = Ack {
        lost: 100 * MSS,
        in_flight: 0,
        ..sender.ack()
    };
    sender.take(ack);
    assert_eq!(sender.window.size, MSS);
}
