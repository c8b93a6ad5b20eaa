//! Errors from the network (RFC 9293, section 3.9.2.2), which anybody may have sent (RFC 5927).

use super::{
    Changes, Seq, State, Tcb,
    loss::{Frto, Phase},
};
use rumpuser::{Errno, Instant};

/// What an ICMP or ICMPv6 message says of a segment of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// Nobody takes it: port or protocol unreachable.
    Refused,
    /// It did not get there: network or host unreachable, prohibited, time exceeded, a parameter problem.
    Unreachable(Errno),
    /// It was larger than the MTU of a link.
    TooBig {
        /// The MTU without the headers of IP and TCP.
        mss: u16,
    },
}

impl Tcb {
    /// A message about a segment that began at `seq` arrived.
    pub fn on_icmp(&mut self, error: NetworkError, seq: Seq, now: Instant) -> Changes {
        let mut changes = Changes::empty();
        // RFC 5927, section 4.1: it must be about something that is under way.
        let ours = seq.from(self.snd.una) && seq.before(self.snd.nxt);
        if !ours || self.state == State::Closed {
            return changes;
        }
        match error {
            // RFC 5927, section 5.2: hard only before the connection is established.
            NetworkError::Refused if self.state == State::SynSent => {
                changes |= Changes::REFUSED;
                self.finish_with(Some(Errno::ECONNREFUSED), &mut changes);
            }
            NetworkError::Refused => self.note(Errno::ECONNREFUSED, &mut changes),
            NetworkError::Unreachable(errno) => self.note(errno, &mut changes),
            NetworkError::TooBig { mss } => self.path_mtu(mss, now.0),
        }
        self.finish(changes)
    }

    /// A soft error: it is told when the connection fails (RFC 9293, section 3.9.2.2, MUST-56).
    fn note(&mut self, errno: Errno, changes: &mut Changes) {
        self.soft_error = Some(errno);
        *changes |= Changes::SOFT_ERROR;
    }

    /// The way is another one, or an interface's MTU is, without anybody's complaint.
    pub(crate) fn way_takes(&mut self, mss: u16, now: Instant) {
        self.path_mtu(mss, now.0);
    }

    /// Segments become smaller, and those that were too large are sent again; the congestion window stays (RFC 1191, section 6.4; RFC
    /// 8201, section 5.4).
    fn path_mtu(&mut self, mss: u16, now: u64) {
        let mss = mss.max(self.config.mss_min).max(1);
        if mss >= self.snd.mss {
            return;
        }
        self.set_mss(mss);
        if matches!(self.state, State::SynSent | State::SynReceived) {
            return;
        }
        self.window.size = self.window.size.max(self.window.mss);
        let full = self.full();
        let lost = self.board.mark_lost(|part| part.len() > full);
        if lost > 0 && self.loss.phase != Phase::Timeout {
            self.loss.phase = Phase::Timeout;
            self.loss.frto = Frto::Off;
            self.loss.recover = self.snd.nxt;
            self.arm_retransmit(now);
        }
    }
}
