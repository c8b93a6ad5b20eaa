//! BBR: the window and the rate of sending follow a model of the path, its bandwidth and its shortest round trip, and not losses
//! (draft-cardwell-iccrg-bbr-congestion-control-00, whose names and sections these are). Bytes, nanoseconds, bytes per second.

use super::{
    SECOND, Window,
    bandwidth::Bandwidth,
    pacer::Pacer,
    rate::{Rate, Sample},
};

/// Gains are in thousandths.
const ONE: u64 = 1000;
/// BBRHighGain, 2 / ln 2 (section 4.3.2.1).
const HIGH_GAIN: u64 = 2885;
/// Its inverse (section 4.3.3).
const DRAIN_GAIN: u64 = 346;
/// cwnd_gain of ProbeBW (section 4.3.4.1).
const PROBE_BW_CWND_GAIN: u64 = 2000;
/// The gains of a cycle (section 4.3.4.1).
const CYCLE: [u64; 8] = [1250, 750, ONE, ONE, ONE, ONE, ONE, ONE];
/// RTpropFilterLen, and ProbeRTTInterval (section 4.3.5).
const RTPROP_FILTER: u64 = 10 * SECOND;
/// ProbeRTTDuration.
const PROBE_RTT_DURATION: u64 = 200_000_000;
/// BBRMinPipeCwnd, in segments (section 4.2.3.3).
const MIN_PIPE: u32 = 4;
/// The initial round trip for the rate, while none was measured (section 4.2.1).
const INITIAL_RTT: u64 = 1_000_000;
/// Rates from which on more is sent at once (section 4.2.2): 1.2 and 24 Mbit/s.
const QUANTUM_RATES: (u64, u64) = (150_000, 3_000_000);
/// Most that is sent at once.
const QUANTUM_MAX: u64 = 64 << 10;

/// BBR.state (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    ProbeBw,
    ProbeRtt,
}

/// What an acknowledgment tells.
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) struct Ack {
    pub(in crate::tcp) now: u64,
    /// packets_delivered: bytes that it says have newly arrived.
    pub(in crate::tcp) delivered: u32,
    /// packets_lost: bytes that are newly taken for lost.
    pub(in crate::tcp) lost: u32,
    /// packets_in_flight.
    pub(in crate::tcp) in_flight: u32,
    /// prior_inflight: the same before it came.
    pub(in crate::tcp) prior_in_flight: u32,
    /// When the newest part of what arrived was sent.
    pub(in crate::tcp) newest: Option<u64>,
    /// packet.rtt.
    pub(in crate::tcp) rtt: Option<u64>,
    /// The shortest round trip of the connection.
    pub(in crate::tcp) min_rtt: u64,
}

/// Its state.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Bbr {
    rate: Rate,
    pacer: Pacer,
    filter: Bandwidth,
    state: State,
    begun: bool,
    /// InitialCwnd.
    initial: u32,
    pacing_gain: u64,
    cwnd_gain: u64,
    pacing_rate: u64,
    send_quantum: u32,
    /// BtlBw.
    btl_bw: u64,
    /// RTprop; `u64::MAX` before the first.
    rtprop: u64,
    rtprop_stamp: u64,
    rtprop_expired: bool,
    next_round_delivered: u64,
    round_count: u64,
    round_start: bool,
    filled_pipe: bool,
    full_bw: u64,
    full_bw_count: u8,
    cycle_index: usize,
    cycle_stamp: u64,
    probe_rtt_done_stamp: Option<u64>,
    probe_rtt_round_done: bool,
    packet_conservation: bool,
    in_recovery: bool,
    prior_cwnd: u32,
    idle_restart: bool,
    random: u64,
}

impl Bbr {
    /// `seed` decides where cycles begin (section 4.3.4.2).
    pub(super) fn new(seed: u32) -> Self {
        Self {
            rate: Rate::default(),
            pacer: Pacer::default(),
            filter: Bandwidth::default(),
            state: State::Startup,
            begun: false,
            initial: 0,
            pacing_gain: HIGH_GAIN,
            cwnd_gain: HIGH_GAIN,
            pacing_rate: 0,
            send_quantum: u32::MAX,
            btl_bw: 0,
            rtprop: u64::MAX,
            rtprop_stamp: 0,
            rtprop_expired: false,
            next_round_delivered: 0,
            round_count: 0,
            round_start: false,
            filled_pipe: false,
            full_bw: 0,
            full_bw_count: 0,
            cycle_index: 0,
            cycle_stamp: 0,
            probe_rtt_done_stamp: None,
            probe_rtt_round_done: false,
            packet_conservation: false,
            in_recovery: false,
            prior_cwnd: 0,
            idle_restart: false,
            random: seed.into(),
        }
    }

    /// When what waits may be sent.
    pub(in crate::tcp) const fn pacer(&mut self) -> &mut Pacer {
        &mut self.pacer
    }

    pub(super) const fn paced(&self) -> &Pacer {
        &self.pacer
    }

    /// BBR.send_quantum: most that is sent at once.
    pub(in crate::tcp) const fn quantum(&self) -> u32 {
        self.send_quantum
    }

    /// BBRInit (section 4.3.1), when the first data is sent.
    fn begin(&mut self, window: &Window, smoothed: Option<u64>, now: u64) {
        self.begun = true;
        self.initial = window.size;
        self.rtprop = smoothed.unwrap_or(u64::MAX);
        self.rtprop_stamp = now;
        self.init_pacing_rate(smoothed);
        self.set_send_quantum(window);
    }

    /// BBRInitPacingRate (section 4.2.1).
    fn init_pacing_rate(&mut self, smoothed: Option<u64>) {
        let rtt = smoothed.unwrap_or(INITIAL_RTT).max(1);
        let nominal = u64::from(self.initial)
            .saturating_mul(SECOND)
            .checked_div(rtt);
        self.pacing_rate = share(nominal.unwrap_or(0), HIGH_GAIN).max(1);
    }

    /// BBROnTransmit (section 4.3.4.4): before something is sent. `first`: nothing is in flight; `time` is its own.
    pub(in crate::tcp) fn sends(
        &mut self,
        window: &Window,
        smoothed: Option<u64>,
        first: bool,
        time: u64,
        bytes: u32,
    ) {
        if !self.begun {
            self.begin(window, smoothed, time);
        }
        if first && self.rate.is_app_limited() {
            self.idle_restart = true;
            if self.state == State::ProbeBw {
                self.set_pacing_rate(ONE);
            }
        }
        self.rate.sent(time, first);
        self.pacer.sent(bytes, self.pacing_rate, time);
    }

    /// There is less to send than could be.
    pub(in crate::tcp) fn limited_by_application(&mut self, in_flight: u32) {
        self.rate.limited_by_application(in_flight);
    }

    /// BBRUpdateOnACK (section 3.5.2).
    pub(in crate::tcp) fn acknowledged(&mut self, window: &mut Window, ack: &Ack) {
        self.pacer.look(ack.now);
        self.update_model(window, ack);
        self.set_pacing_rate(self.pacing_gain);
        self.set_send_quantum(window);
        self.set_cwnd(window, ack);
    }

    /// BBRUpdateModelAndState.
    fn update_model(&mut self, window: &mut Window, ack: &Ack) {
        let min_rtt = if ack.min_rtt == u64::MAX {
            0
        } else {
            ack.min_rtt
        };
        let sample = match ack.newest {
            Some(newest) => self
                .rate
                .acknowledged(ack.delivered, newest, min_rtt, ack.now),
            None => None,
        };
        self.update_btl_bw(sample);
        self.check_cycle_phase(ack);
        self.check_full_pipe(sample);
        self.check_drain(ack);
        self.update_rtprop(ack);
        self.check_probe_rtt(window, ack);
    }

    /// BBRUpdateRound (section 4.1.1.3).
    fn update_round(&mut self, sample: Sample) {
        self.round_start = sample.prior_delivered >= self.next_round_delivered;
        if self.round_start {
            self.next_round_delivered = self.rate.delivered();
            self.round_count = self.round_count.saturating_add(1);
            // Section 4.2.3.4: after one round trip in fast recovery.
            self.packet_conservation = false;
        }
    }

    /// BBRUpdateBtlBw (section 4.1.1.5).
    fn update_btl_bw(&mut self, sample: Option<Sample>) {
        self.round_start = false;
        let Some(sample) = sample else { return };
        self.update_round(sample);
        if let Some(rate) = sample.rate
            && (rate >= self.btl_bw || !sample.app_limited)
        {
            self.btl_bw = self.filter.measured(rate, self.round_count);
        }
    }

    /// BBRUpdateRTprop (section 4.1.2.3).
    fn update_rtprop(&mut self, ack: &Ack) {
        self.rtprop_expired = ack.now > self.rtprop_stamp.saturating_add(RTPROP_FILTER);
        let Some(rtt) = ack.rtt else { return };
        if self.rtprop == u64::MAX {
            // Section 4.2.1: the first round trip that is known.
            self.init_pacing_rate(Some(rtt));
        }
        if rtt <= self.rtprop || self.rtprop_expired {
            self.rtprop = rtt;
            self.rtprop_stamp = ack.now;
        }
    }

    /// BBRSetPacingRateWithGain (section 4.2.1).
    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = share(self.btl_bw, gain);
        if (self.filled_pipe && rate > 0) || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    /// BBRSetSendQuantum (section 4.2.2).
    fn set_send_quantum(&mut self, window: &Window) {
        let mss = u64::from(window.mss);
        let quantum = match self.pacing_rate {
            rate if rate < QUANTUM_RATES.0 => mss,
            rate if rate < QUANTUM_RATES.1 => mss.saturating_mul(2),
            rate => (rate / 1000).min(QUANTUM_MAX),
        };
        self.send_quantum = narrow(quantum.max(mss));
    }

    /// BBRInflight (section 4.2.3.2).
    fn inflight(&self, gain: u64) -> u32 {
        if self.rtprop == u64::MAX {
            return self.initial;
        }
        let quanta = u64::from(self.send_quantum).saturating_mul(3);
        let bdp = self.btl_bw.saturating_mul(self.rtprop) / SECOND;
        narrow(share(bdp, gain).saturating_add(quanta))
    }

    /// BBRSetCwnd (section 4.2.3.6).
    fn set_cwnd(&mut self, window: &mut Window, ack: &Ack) {
        let target = self.inflight(self.cwnd_gain);
        self.modulate_for_recovery(window, ack);
        if !self.packet_conservation {
            let more = window.size.saturating_add(ack.delivered);
            if self.filled_pipe {
                window.size = more.min(target);
            } else if window.size < target || self.rate.delivered() < self.initial.into() {
                window.size = more;
            }
            window.size = window.size.max(min_pipe(window));
        }
        // Section 4.2.3.5.
        if self.state == State::ProbeRtt {
            window.size = window.size.min(min_pipe(window));
        }
    }

    /// BBRModulateCwndForRecovery (section 4.2.3.4).
    fn modulate_for_recovery(&self, window: &mut Window, ack: &Ack) {
        if ack.lost > 0 {
            window.size = window.size.saturating_sub(ack.lost).max(window.mss);
        }
        if self.packet_conservation {
            let conserved = ack.in_flight.saturating_add(ack.delivered);
            window.size = window.size.max(conserved);
        }
    }

    /// Fast recovery begins (section 4.2.3.4).
    pub(in crate::tcp) fn enter_recovery(&mut self, window: &mut Window, in_flight: u32) {
        self.save_cwnd(window);
        self.in_recovery = true;
        self.packet_conservation = true;
        // A round trip from now on.
        self.next_round_delivered = self.rate.delivered();
        window.size = in_flight.saturating_add(window.mss);
    }

    /// The retransmission timer expires (section 4.2.3.4); the window of one segment is set by who says so.
    pub(in crate::tcp) fn timed_out(&mut self, window: &Window) {
        self.save_cwnd(window);
        self.in_recovery = true;
        self.packet_conservation = false;
    }

    /// All is repaired, or nothing was lost (section 4.2.3.4).
    pub(in crate::tcp) fn exit_recovery(&mut self, window: &mut Window) {
        self.in_recovery = false;
        self.packet_conservation = false;
        self.restore_cwnd(window);
    }

    /// BBRSaveCwnd (section 4.2.3.4).
    fn save_cwnd(&mut self, window: &Window) {
        let modulated = self.in_recovery || self.state == State::ProbeRtt;
        self.prior_cwnd = if modulated {
            self.prior_cwnd.max(window.size)
        } else {
            window.size
        };
    }

    /// BBRRestoreCwnd.
    fn restore_cwnd(&self, window: &mut Window) {
        window.size = window.size.max(self.prior_cwnd);
    }

    /// BBREnterStartup (section 4.3.2.1).
    const fn enter_startup(&mut self) {
        self.state = State::Startup;
        (self.pacing_gain, self.cwnd_gain) = (HIGH_GAIN, HIGH_GAIN);
    }

    /// BBRCheckFullPipe (section 4.3.2.2).
    fn check_full_pipe(&mut self, sample: Option<Sample>) {
        let limited = sample.is_none_or(|sample| sample.app_limited);
        if self.filled_pipe || !self.round_start || limited {
            return;
        }
        // It still grows, by a quarter.
        if self.btl_bw >= self.full_bw.saturating_add(self.full_bw / 4) {
            self.full_bw = self.btl_bw;
            self.full_bw_count = 0;
            return;
        }
        self.full_bw_count = self.full_bw_count.saturating_add(1);
        self.filled_pipe = self.full_bw_count >= 3;
    }

    /// BBRCheckDrain (section 4.3.3).
    fn check_drain(&mut self, ack: &Ack) {
        if self.state == State::Startup && self.filled_pipe {
            self.state = State::Drain;
            (self.pacing_gain, self.cwnd_gain) = (DRAIN_GAIN, HIGH_GAIN);
        }
        if self.state == State::Drain && ack.in_flight <= self.inflight(ONE) {
            self.enter_probe_bw(ack.now);
        }
    }

    /// BBREnterProbeBW (section 4.3.4.3): at a random phase, but not that of 3/4 (section 4.3.4.2).
    fn enter_probe_bw(&mut self, now: u64) {
        self.state = State::ProbeBw;
        self.cwnd_gain = PROBE_BW_CWND_GAIN;
        // The multiplier of Knuth's MMIX; the upper bits are the better ones.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = usize::try_from((self.random >> 33) % 7).unwrap_or(0);
        self.cycle_index = CYCLE.len().saturating_sub(1).saturating_sub(random);
        self.advance_cycle_phase(now);
    }

    /// BBRAdvanceCyclePhase (section 4.3.4.3).
    fn advance_cycle_phase(&mut self, now: u64) {
        self.cycle_stamp = now;
        self.cycle_index = self.cycle_index.saturating_add(1);
        if self.cycle_index >= CYCLE.len() {
            self.cycle_index = 0;
        }
        self.pacing_gain = CYCLE.get(self.cycle_index).copied().unwrap_or(ONE);
    }

    /// BBRCheckCyclePhase and BBRIsNextCyclePhase (section 4.3.4.3).
    fn check_cycle_phase(&mut self, ack: &Ack) {
        if self.state != State::ProbeBw {
            return;
        }
        let full_length = ack.now.saturating_sub(self.cycle_stamp) > self.rtprop;
        let next = match self.pacing_gain {
            ONE => full_length,
            gain if gain > ONE => {
                let reached = ack.prior_in_flight >= self.inflight(gain);
                full_length && (ack.lost > 0 || reached)
            }
            _ => full_length || ack.prior_in_flight <= self.inflight(ONE),
        };
        if next {
            self.advance_cycle_phase(ack.now);
        }
    }

    /// BBRCheckProbeRTT (section 4.3.5).
    fn check_probe_rtt(&mut self, window: &mut Window, ack: &Ack) {
        if self.state != State::ProbeRtt && self.rtprop_expired && !self.idle_restart {
            self.save_cwnd(window);
            self.state = State::ProbeRtt;
            (self.pacing_gain, self.cwnd_gain) = (ONE, ONE);
            self.probe_rtt_done_stamp = None;
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(window, ack);
        }
        self.idle_restart = false;
    }

    /// BBRHandleProbeRTT (section 4.3.5).
    fn handle_probe_rtt(&mut self, window: &mut Window, ack: &Ack) {
        // Its low rates say nothing of the path.
        self.rate.limited_by_application(ack.in_flight);
        let Some(done) = self.probe_rtt_done_stamp else {
            if ack.in_flight <= min_pipe(window) {
                self.probe_rtt_done_stamp = Some(ack.now.saturating_add(PROBE_RTT_DURATION));
                self.probe_rtt_round_done = false;
                self.next_round_delivered = self.rate.delivered();
            }
            return;
        };
        self.probe_rtt_round_done |= self.round_start;
        if !self.probe_rtt_round_done || ack.now <= done {
            return;
        }
        self.rtprop_stamp = ack.now;
        self.restore_cwnd(window);
        if self.filled_pipe {
            self.enter_probe_bw(ack.now);
        } else {
            self.enter_startup();
        }
    }
}

/// BBRMinPipeCwnd in bytes.
const fn min_pipe(window: &Window) -> u32 {
    window.mss.saturating_mul(MIN_PIPE)
}

/// A gain of something.
const fn share(of: u64, gain: u64) -> u64 {
    of.saturating_mul(gain) / ONE
}

fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
