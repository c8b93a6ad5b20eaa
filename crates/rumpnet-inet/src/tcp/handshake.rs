//! The handshake: SYN in the states SYN-SENT and SYN-RECEIVED (RFC 9293, sections 3.5 and 3.10.7.3).

use super::{Changes, Flags, Segment, Seq, State, Tcb, tcb::Bits};
use rumpuser::Errno;

/// The peer's MSS when it says none (RFC 9293, section 3.7.1, MUST-15).
const MSS_DEFAULT: u16 = 536;
/// The largest shift count that counts (RFC 7323, section 2.3).
const SCALE_MAX: u8 = 14;

impl Tcb {
    /// Takes over what a SYN says: numbers, window and options.
    pub(super) fn take_syn(&mut self, syn: &Segment, now: u64) {
        let options = &syn.options;
        self.rcv.irs = syn.seq;
        self.rcv.nxt = syn.seq.plus(1);
        self.rcv.acked = self.rcv.nxt;
        self.rcv.edge = self.rcv.nxt.plus(self.rcv.buffer.min(0xffff));
        self.rcv.up = self.rcv.nxt;
        self.bits
            .set(Bits::SACK, self.config.sack && options.sack_permitted);
        // RFC 7323, section 2.2: windows are scaled when both SYNs have the option.
        let scale = options.window_scale.filter(|_| self.config.window_scaling);
        self.bits.set(Bits::SCALING, scale.is_some());
        self.snd.scale = scale.map_or(0, |scale| scale.min(SCALE_MAX));
        self.rcv.scale = if scale.is_some() {
            self.config.window_scale()
        } else {
            0
        };
        let timestamps = options.timestamps.filter(|_| self.config.timestamps);
        self.bits.set(Bits::TIMESTAMPS, timestamps.is_some());
        if let Some(timestamps) = timestamps {
            self.rcv.ts_recent = timestamps.value;
            self.rcv.ts_time = now;
        }
        self.take_user_timeout(options);
        let least = self.config.mss_min.max(1);
        self.snd.peer_mss = options.mss.unwrap_or(MSS_DEFAULT).max(least);
        self.set_mss(self.snd.mss.min(self.snd.peer_mss));
        self.start_window();
        // The window of a SYN is never scaled (RFC 7323, section 2.2).
        self.snd.wnd = syn.window.into();
        self.snd.max_wnd = self.snd.wnd;
        self.snd.wl1 = syn.seq;
        self.snd.wl2 = syn.ack.unwrap_or(self.snd.iss);
    }

    /// The data of a SYN that a fast open cookie came with (RFC 7413, section 4.2.2).
    pub(super) fn take_syn_data(&mut self, syn: &Segment) {
        self.bits.insert(Bits::FAST_OPEN);
        let mut data = syn.payload.clone();
        data.truncate(usize::try_from(self.rcv.buffer).unwrap_or(usize::MAX));
        let len = super::bytes_u32(data.len());
        self.counters.received_bytes = u64::from(len);
        self.rcv.nxt = self.rcv.nxt.plus(len);
        self.ready.push(data);
    }

    /// RFC 9293, section 3.10.7.3.
    pub(super) fn input_syn_sent(&mut self, segment: Segment, now: u64, changes: &mut Changes) {
        let acceptable = segment
            .ack
            .map(|ack| ack.after(self.snd.iss) && ack.up_to(self.snd.nxt));
        // First, the ACK bit.
        if acceptable == Some(false) {
            if !segment.flags.contains(Flags::RST) {
                self.reset = segment.ack.map(|ack| (ack, None));
            }
            return;
        }
        // Second, RST.
        if segment.flags.contains(Flags::RST) {
            if acceptable == Some(true) {
                *changes |= Changes::REFUSED;
                self.finish_with(Some(Errno::ECONNREFUSED), changes);
            }
            return;
        }
        // Fourth, SYN.
        if !segment.flags.contains(Flags::SYN) {
            return;
        }
        self.take_syn(&segment, now);
        self.rcv.last = now;
        let Some(ack) = segment.ack else {
            // Simultaneous open.
            let offer = segment.flags.contains(Flags::ECE | Flags::CWR);
            self.bits.set(Bits::ECN, self.config.ecn && offer);
            self.withdraw_syn_data();
            self.state = State::SynReceived;
            self.bits.insert(Bits::SYN_NOW);
            return;
        };
        // RFC 3168, section 6.1.1: ECE alone accepts ECN.
        let accepted = segment.flags & (Flags::ECE | Flags::CWR) == Flags::ECE;
        let ecn = self.bits.contains(Bits::ECN) && accepted;
        self.bits.set(Bits::ECN, ecn);
        if let Some(cookie) = segment.options.fast_open
            && self.bits.contains(Bits::FAST_OPEN)
        {
            self.rare().fast_open = Some(cookie);
        }
        if self.bits.contains(Bits::SYN_DATA) && ack == self.snd.iss.plus(1) {
            // The server did not take the data (RFC 7413, section 4.2.2): it is sent as usual.
            self.withdraw_syn_data();
        }
        self.bits.remove(Bits::SYN_NOW);
        self.establish(ack, now, changes);
        self.bits.insert(Bits::ACK_NOW);
        let start = segment.seq.plus(1);
        let fin = segment.flags.contains(Flags::FIN);
        self.take_urgent_pointer(&segment, start, changes);
        if fin || !segment.payload.is_empty() {
            self.take_data(start, segment.payload, fin, now, changes);
        }
    }

    fn withdraw_syn_data(&mut self) {
        self.bits.remove(Bits::SYN_DATA);
        self.snd.nxt = self.snd.iss.plus(1);
    }

    /// SYN was acknowledged by `ack`.
    pub(super) fn establish(&mut self, ack: Seq, now: u64, changes: &mut Changes) {
        let (min, max) = (self.times.min_rto, self.times.max_rto);
        if self.bits.contains(Bits::SYN_RESENT) {
            // Karn's algorithm: which SYN this answers is not known (RFC 6298, section 3).
            self.rtt.syn_was_lost();
        } else if !self.bits.contains(Bits::PASSIVE) || self.snd.last > 0 {
            let rtt = now.saturating_sub(self.snd.last);
            self.rtt.measure(rtt, true, min, max);
        }
        self.start_window();
        let tell = self.bits.contains(Bits::TELL_TIMEOUT);
        self.bits.set(Bits::TELL_TIMEOUT_NOW, tell);
        self.retries = 0;
        self.timers.stop_retransmit();
        self.snd.una = ack;
        self.snd.measured = self.snd.nxt;
        self.snd.progress = now;
        self.rcv.forward = now;
        self.rcv.round = (now, self.ready.head());
        let data = ack.since_or_zero(self.snd.queued);
        self.sending
            .advance(usize::try_from(data).unwrap_or(usize::MAX));
        self.snd.queued = self.snd.queued.plus(data);
        self.bits.remove(Bits::SYN_DATA);
        self.state = if self.bits.contains(Bits::FIN_QUEUED) {
            State::FinWait1
        } else {
            State::Established
        };
        *changes |= Changes::CONNECTED | Changes::WRITABLE;
    }
}
