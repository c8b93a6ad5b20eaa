//! Timers: a connection has several and shows one deadline.

use super::{Changes, Count, Options, State, Tcb, nanos, options::UserTimeout, tcb::Bits};
use core::time::Duration;
use rumpuser::{Errno, Instant};

/// What the retransmission timer is for; one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Retransmit {
    /// It does not run.
    #[default]
    None,
    /// SYN, or the answer to it.
    Syn,
    /// Data (RFC 6298).
    Timeout,
    /// A tail loss probe (RFC 8985, section 7).
    Probe,
    /// Parts that are late are lost (RFC 8985, section 6.3).
    Reorder,
    /// A probe of a closed window (RFC 9293, section 3.8.6.1).
    Persist,
}

/// Times at which something is due; `u64::MAX` is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    kind: Retransmit,
    retransmit: u64,
    /// The delayed ACK.
    pub(super) ack: u64,
    pub(super) keep_alive: u64,
    /// The end of TIME-WAIT, or of FIN-WAIT-2 without a reader.
    pub(super) life: u64,
    /// The deadline that the owner knows.
    pub(super) armed: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            kind: Retransmit::None,
            retransmit: u64::MAX,
            ack: u64::MAX,
            keep_alive: u64::MAX,
            life: u64::MAX,
            armed: u64::MAX,
        }
    }
}

impl Timers {
    pub(super) const fn kind(&self) -> Retransmit {
        self.kind
    }

    pub(super) fn deadline(&self) -> u64 {
        self.retransmit
            .min(self.ack)
            .min(self.keep_alive)
            .min(self.life)
    }

    pub(super) fn retransmit_in(&mut self, kind: Retransmit, now: u64, delay: u64) {
        self.kind = kind;
        self.retransmit = now.saturating_add(delay);
    }

    pub(super) fn stop_retransmit(&mut self) {
        self.kind = Retransmit::None;
        self.retransmit = u64::MAX;
    }

    pub(super) fn stop(&mut self) {
        *self = Self {
            armed: self.armed,
            ..Self::default()
        };
    }

    /// Whether SYN may be sent again before its time: the peer sent its own again. Not more often than ten times a second.
    pub(super) fn syn_may_repeat(&self, now: u64) -> bool {
        self.kind == Retransmit::Syn && self.retransmit.saturating_sub(now) < 900_000_000
    }
}

impl Tcb {
    /// When [`on_timer`](Self::on_timer) is to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.next_deadline();
        (deadline != u64::MAX).then_some(Instant(deadline))
    }

    pub(super) fn next_deadline(&self) -> u64 {
        let deadline = self.timers.deadline().min(self.control.deadline());
        if self.user_timeout != u64::MAX && self.timers.kind != Retransmit::None {
            return deadline.min(self.snd.progress.saturating_add(self.user_timeout));
        }
        deadline
    }

    /// The deadline, if it is earlier than the one returned before. A deadline that moved back needs no other timer: calling
    /// [`on_timer`](Self::on_timer) too early does no harm.
    pub fn rearm(&mut self) -> Option<Instant> {
        let deadline = self.next_deadline();
        (deadline < self.timers.armed).then(|| {
            self.timers.armed = deadline;
            Instant(deadline)
        })
    }

    /// Time has come. Does what is due; nothing if that is nothing.
    pub fn on_timer(&mut self, now: Instant) -> Changes {
        let now = now.0;
        let mut changes = Changes::empty();
        if self.timers.armed <= now {
            self.timers.armed = u64::MAX;
        }
        if self.timers.ack <= now {
            self.timers.ack = u64::MAX;
            self.bits.insert(Bits::ACK_NOW);
        }
        if let Some(bbr) = self.control.bbr() {
            bbr.pacer().look(now);
        }
        if self.timers.life <= now {
            self.finish_with(None, &mut changes);
        }
        if self.timers.keep_alive <= now {
            self.on_keep_alive(now, &mut changes);
        }
        let waits = self.timers.kind != Retransmit::None;
        if waits && now.saturating_sub(self.snd.progress) >= self.user_timeout {
            // RFC 9293, section 3.8.3 (RFC 5482): the user's own limit.
            self.give_up(&mut changes);
        }
        if self.timers.retransmit <= now {
            self.on_retransmit(now, &mut changes);
        }
        self.finish(changes)
    }

    fn on_retransmit(&mut self, now: u64, changes: &mut Changes) {
        let kind = self.timers.kind;
        self.timers.stop_retransmit();
        match kind {
            Retransmit::None => {}
            Retransmit::Probe => self.on_probe_timeout(now),
            Retransmit::Reorder => {
                self.on_reordering_timeout(now);
                self.arm_retransmit(now);
            }
            Retransmit::Syn | Retransmit::Timeout | Retransmit::Persist => {
                self.retries = self.retries.saturating_add(1);
                if self.retries > self.most_retries(kind) {
                    self.give_up(changes);
                } else if kind == Retransmit::Syn {
                    self.count(Count::Timeouts, 1);
                    self.rtt.back_off();
                    self.bits.insert(Bits::SYN_NOW | Bits::SYN_RESENT);
                } else if kind == Retransmit::Persist || self.snd.wnd == 0 {
                    self.rtt.back_off();
                    self.bits.insert(Bits::WINDOW_PROBE_NOW);
                    let rto = self.rtt.rto(self.times.max_rto);
                    self.timers.retransmit_in(Retransmit::Persist, now, rto);
                } else {
                    self.on_timeout(now);
                }
            }
        }
    }

    fn most_retries(&self, kind: Retransmit) -> u8 {
        match kind {
            Retransmit::Syn if self.bits.contains(Bits::PASSIVE) => self.config.syn_ack_retries,
            Retransmit::Syn => self.config.syn_retries,
            // Time alone counts where somebody has said how much.
            _ if self.user_timeout != u64::MAX => u8::MAX,
            _ => self.config.retries,
        }
    }

    /// ADV_UTO (RFC 5482, section 3.1): what the user has said, or what TCP has of itself (RFC 9293, section 3.9.1.1).
    pub(super) fn told_timeout(&self) -> UserTimeout {
        const DEFAULT: Duration = Duration::from_secs(300);
        UserTimeout::of(if self.bits.contains(Bits::TIMEOUT_FIXED) {
            Duration::from_nanos(self.user_timeout)
        } else {
            DEFAULT
        })
    }

    /// RFC 5482, section 3.1: the longer of both user timeouts counts, within limits (section 3.2), unless the user has said how long it is.
    pub(super) fn take_user_timeout(&mut self, options: &Options) {
        /// At least this long data is sent again (RFC 9293, section 3.8.3, SHLD-10).
        const LEAST: Duration = Duration::from_secs(100);
        /// The longest that a peer may have data kept for it.
        const MOST: Duration = Duration::from_secs(3600);
        let Some(theirs) = options.user_timeout else {
            return;
        };
        let heeds = self.bits & (Bits::TELL_TIMEOUT | Bits::TIMEOUT_FIXED) == Bits::TELL_TIMEOUT;
        if heeds {
            let longer = theirs.time().max(self.told_timeout().time());
            self.user_timeout = nanos(longer.clamp(LEAST, MOST));
        }
    }

    fn give_up(&mut self, changes: &mut Changes) {
        *changes |= Changes::TIMED_OUT;
        self.count(Count::TimeoutAborts, 1);
        // An error of the network tells more (RFC 9293, section 3.9.2.2).
        let error = self.soft_error.unwrap_or(Errno::ETIMEDOUT);
        self.finish_with(Some(error), changes);
    }

    /// Sets the retransmission timer by what is in flight (RFC 6298, section 5; RFC 8985, section 8).
    pub(super) fn arm_retransmit(&mut self, now: u64) {
        if self.board.is_empty() {
            let stuck = self.is_stuck();
            if stuck && self.timers.kind == Retransmit::Persist {
                return;
            }
            self.timers.stop_retransmit();
            if stuck {
                let rto = self.rtt.rto(self.times.max_rto);
                self.timers.retransmit_in(Retransmit::Persist, now, rto);
            }
            return;
        }
        if self.timers.kind == Retransmit::Persist {
            return;
        }
        let rto = self.rtt.rto(self.times.max_rto);
        let late = self.loss.rack.due.saturating_sub(now);
        if late < rto {
            self.timers.retransmit_in(Retransmit::Reorder, now, late);
        } else if let Some(timeout) = self.probe_timeout().filter(|timeout| *timeout < rto) {
            self.timers.retransmit_in(Retransmit::Probe, now, timeout);
        } else {
            self.timers.retransmit_in(Retransmit::Timeout, now, rto);
        }
    }

    /// New data was sent: a timeout that runs goes on (RFC 6298, section 5.1), a probe is put off (RFC 8985, section 7.2).
    #[inline(always)]
    pub(super) fn arm_after_sending(&mut self, now: u64) {
        match self.timers.kind {
            Retransmit::Persist => {
                self.timers.stop_retransmit();
                self.arm_retransmit(now);
            }
            Retransmit::None | Retransmit::Probe => self.arm_retransmit(now),
            Retransmit::Timeout => {
                if let Some(timeout) = self.probe_timeout()
                    && now.saturating_add(timeout) < self.timers.retransmit
                {
                    self.timers.retransmit_in(Retransmit::Probe, now, timeout);
                }
            }
            Retransmit::Syn | Retransmit::Reorder => {}
        }
    }

    pub(super) fn arm_time_wait(&mut self, now: u64) {
        self.timers.life = now.saturating_add(nanos(self.config.time_wait));
    }

    pub(super) fn arm_fin_wait(&mut self, now: u64) {
        self.timers.life = now.saturating_add(nanos(self.config.fin_timeout));
    }

    pub(super) fn arm_keep_alive(&mut self, now: u64) {
        self.timers.keep_alive = match &self.keep_alive {
            Some(keep_alive) => now.saturating_add(nanos(keep_alive.idle)),
            None => u64::MAX,
        };
    }

    /// RFC 9293, section 3.8.4. Segments do not move this timer; it looks when the last one came.
    fn on_keep_alive(&mut self, now: u64, changes: &mut Changes) {
        self.timers.keep_alive = u64::MAX;
        let Some(keep_alive) = self.keep_alive.as_deref().copied() else {
            return;
        };
        if !self.state.is_synchronized() || self.state == State::TimeWait {
            self.arm_keep_alive(now);
            return;
        }
        let idle = nanos(keep_alive.idle);
        let due = self.rcv.last.saturating_add(idle);
        if due > now && self.keep_probes == 0 {
            self.timers.keep_alive = due;
            return;
        }
        if !self.board.is_empty() || self.timers.kind == Retransmit::Persist {
            // Data is better than a probe (MUST-26: only while nothing is under way).
            self.timers.keep_alive = now.saturating_add(idle);
            return;
        }
        if self.keep_probes >= keep_alive.count {
            self.reset = Some((self.snd.nxt, Some(self.rcv.nxt)));
            self.give_up(changes);
            return;
        }
        self.keep_probes = self.keep_probes.saturating_add(1);
        self.bits.insert(Bits::KEEP_ALIVE_NOW);
        self.timers.keep_alive = now.saturating_add(nanos(keep_alive.interval));
    }
}
