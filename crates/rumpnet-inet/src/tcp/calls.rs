//! What the user of a connection does (RFC 9293, section 3.9.1).

use super::{
    Changes, Congestion, KeepAlive, Outgoing, State, Tcb, bytes_u32,
    config::Config,
    congestion::Control,
    nanos,
    options::Cookie,
    tcb::{BUFFER_MAX, Bits},
};
use alloc::{boxed::Box, sync::Arc};
use core::time::Duration;
use rumpnet::Chain;
use rumpuser::{Errno, Instant, Result};

impl Tcb {
    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why the connection ended, if it did not end well.
    #[must_use]
    pub const fn error(&self) -> Option<Errno> {
        self.error
    }

    /// An error that the network reported and that did not end the connection (RFC 9293, section 3.9.2.2), once.
    pub fn take_soft_error(&mut self) -> Option<Errno> {
        self.soft_error.take()
    }

    /// Whether data can be given to [`send`](Self::send), now or later.
    ///
    /// # Errors
    /// What ended the connection; `EPIPE` after [`shutdown_write`](Self::shutdown_write) or the end.
    pub fn check_send(&self) -> Result<()> {
        let open = matches!(
            self.state,
            State::SynSent | State::SynReceived | State::Established | State::CloseWait
        );
        match self.error {
            Some(error) => Err(error),
            None if !open || self.bits.contains(Bits::FIN_QUEUED) => Err(Errno::EPIPE),
            None => Ok(()),
        }
    }

    /// Queues data to be sent; returns how much of it there was room for. Before the connection is established it waits.
    pub fn send(&mut self, mut data: Chain) -> usize {
        if self.check_send().is_err() {
            return 0;
        }
        let room = self.send_room();
        if data.len() > room {
            self.bits.insert(Bits::SEND_FULL);
            data.truncate(room);
        }
        let count = data.len();
        self.sending.push(data);
        if count == room {
            self.bits.insert(Bits::SEND_FULL);
        }
        count
    }

    /// The same with a copy of bytes; of few it is one copy alone.
    #[inline(always)]
    pub fn send_bytes(&mut self, data: &[u8]) -> usize {
        if self.check_send().is_err() {
            return 0;
        }
        let room = self.send_room();
        let data = data.get(..room).unwrap_or(data);
        self.sending.push_bytes(data);
        if data.len() == room {
            self.bits.insert(Bits::SEND_FULL);
        }
        data.len()
    }

    /// Queues data whose last byte is urgent (`MSG_OOB`; RFC 9293, section 3.8.5); returns how much of it there was room for.
    pub fn send_urgent(&mut self, data: Chain) -> usize {
        let count = self.send(data);
        if count > 0 {
            self.snd.up = self.end_of_data();
            self.bits.insert(Bits::URGENT_SENDING);
        }
        count
    }

    /// How much [`send`](Self::send) takes.
    #[must_use]
    pub fn send_room(&self) -> usize {
        let used = self.sending.len().saturating_add(self.sending.overhead());
        let buffer = usize::try_from(self.send_buffer).unwrap_or(usize::MAX);
        buffer.saturating_sub(used)
    }

    /// Room from which on a full queue is writable again.
    pub(super) fn send_low_water(&self) -> usize {
        usize::try_from(self.send_buffer / 3).unwrap_or(usize::MAX)
    }

    /// Bytes queued: not sent, or not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.sending.len()
    }

    /// Bytes queued and not sent.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        let unsent = self.end_of_data().since_or_zero(self.snd.nxt);
        usize::try_from(unsent).unwrap_or(usize::MAX)
    }

    /// Bytes that can be read; urgent data that is out of the stream is not among them.
    #[must_use]
    pub fn readable(&self) -> usize {
        let aside = match self.mark() {
            Some(mark) => {
                mark >= self.ready.head()
                    && mark < self.ready.end()
                    && !self.bits.contains(Bits::URGENT_INLINE)
            }
            None => false,
        };
        self.ready.len().saturating_sub(aside.into())
    }

    /// Whether the peer has closed its side and everything was read: reads return no bytes.
    #[must_use]
    pub fn at_end(&self) -> bool {
        self.ready.is_empty() && !self.expects_more()
    }

    /// Whether more may come than is there to read.
    #[must_use]
    pub fn expects_more(&self) -> bool {
        let ended = Bits::FIN_RECEIVED | Bits::READ_SHUT;
        !self.bits.intersects(ended) && self.state != State::Closed
    }

    /// Takes up to `max` bytes; none when there are none, see [`at_end`](Self::at_end). At the urgent mark a read ends.
    pub fn receive(&mut self, max: usize) -> Chain {
        let span = self.span(max);
        let chain = self.ready.take(span);
        self.consider_window_update();
        chain
    }

    /// Moves bytes into `buf`; returns how many.
    #[inline(always)]
    pub fn receive_into(&mut self, buf: &mut [u8]) -> usize {
        let span = self.span(buf.len());
        let count = match buf.get_mut(..span) {
            Some(space) => self.ready.take_into(space),
            None => 0,
        };
        self.consider_window_update();
        count
    }

    /// Copies bytes into the buffers, one after the other, and leaves them there (`MSG_PEEK`).
    pub fn peek(&mut self, bufs: &mut [&mut [u8]]) -> usize {
        let span = self.span(bufs.iter().map(|buf| buf.len()).sum());
        let mut done = 0_usize;
        for buf in bufs {
            let len = span.saturating_sub(done).min(buf.len());
            let copied = buf.get_mut(..len);
            let copied = copied.map_or(0, |space| self.ready.copy_to(done, space));
            done = done.saturating_add(copied);
        }
        done
    }

    /// The same as pieces that are shared, of which there are at most `max` bytes.
    pub fn peek_shared(&mut self, max: usize) -> Chain {
        let span = self.span(max);
        self.ready.slice(0, span)
    }

    fn mark(&self) -> Option<u64> {
        self.path.as_deref().and_then(|rare| rare.mark)
    }

    /// How much of `max` bytes can be read at once: up to the mark. A read at the mark goes beyond it.
    #[inline(always)]
    fn span(&mut self, max: usize) -> usize {
        let Some(mark) = self.mark() else {
            return max.min(self.ready.len());
        };
        let before = usize::try_from(mark.saturating_sub(self.ready.head())).unwrap_or(usize::MAX);
        if before > 0 {
            return max.min(self.ready.len()).min(before);
        }
        if !self.ready.is_empty() {
            if mark == self.ready.head() && !self.bits.contains(Bits::URGENT_INLINE) {
                self.ready.advance(1);
            }
            self.rare().mark = None;
            self.bits.remove(Bits::URGENT_RECEIVING);
        }
        max.min(self.ready.len())
    }

    /// Whether the next byte is at the urgent mark (`sockatmark`).
    #[must_use]
    pub fn at_mark(&self) -> bool {
        self.mark() == Some(self.ready.head())
    }

    /// Whether an urgent byte has come that was neither taken nor read past.
    #[must_use]
    pub fn has_urgent(&self) -> bool {
        let rare = self.path.as_deref();
        rare.is_some_and(|rare| rare.urgent.is_some() && rare.mark.is_some())
    }

    /// The urgent byte (`MSG_OOB`), once unless it is only looked at.
    ///
    /// # Errors
    /// `EINVAL` when there is none, it was taken, or it is in the stream; `EAGAIN` when it was announced and has not arrived.
    pub fn receive_urgent(&mut self, peek: bool) -> Result<u8> {
        if self.bits.contains(Bits::URGENT_INLINE) {
            return Err(Errno::EINVAL);
        }
        let end = self.ready.end();
        match self.path.as_deref_mut() {
            Some(rare) => match (rare.urgent, rare.mark) {
                (Some(byte), _) => {
                    rare.urgent = rare.urgent.filter(|_| peek);
                    Ok(byte)
                }
                (None, Some(mark)) if mark >= end => Err(Errno::EAGAIN),
                _ => Err(Errno::EINVAL),
            },
            None => Err(Errno::EINVAL),
        }
    }

    /// No more is sent: FIN follows the data (`shutdown(SHUT_WR)`; RFC 9293, section 3.10.4).
    pub fn shutdown_write(&mut self) {
        match self.state {
            State::SynSent | State::SynReceived => {}
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            _ => return,
        }
        self.bits.insert(Bits::FIN_QUEUED);
    }

    /// No more is read (`shutdown(SHUT_RD)`): what is there is dropped, what comes is acknowledged and dropped.
    pub fn shutdown_read(&mut self) {
        self.bits.insert(Bits::READ_SHUT);
        let all = self.ready.len();
        self.ready.advance(all);
        self.consider_window_update();
    }

    /// The user is gone. What was queued is sent, then FIN. With data that was not read the peer is reset (RFC 9293, section 3.6.1, from
    /// RFC 1122, section 4.2.2.13).
    pub fn close(&mut self, now: Instant) -> Changes {
        let mut changes = Changes::empty();
        let unread = !self.ready.is_empty() && !self.bits.contains(Bits::READ_SHUT);
        match self.state {
            State::Closed | State::TimeWait => {}
            State::SynSent => self.finish_with(None, &mut changes),
            _ if unread => {
                self.reset = Some((self.snd.nxt, Some(self.rcv.nxt)));
                self.finish_with(None, &mut changes);
            }
            _ => {
                self.shutdown_write();
                if self.state == State::FinWait2 {
                    self.arm_fin_wait(now.0);
                }
            }
        }
        self.bits.insert(Bits::ORPHANED);
        self.ready.clear();
        self.finish(changes)
    }

    /// Ends the connection at once (RFC 9293, section 3.10.5); the reset to be transmitted, where the state has one.
    pub fn abort(&mut self) -> Option<Outgoing> {
        let reset = self.reset_now();
        let mut changes = Changes::empty();
        changes.set(Changes::RESET, reset.is_some());
        self.finish_with(Some(Errno::ECONNABORTED), &mut changes);
        self.reset = None;
        self.ready.clear();
        reset
    }

    /// `TCP_NODELAY`: small segments do not wait (RFC 9293, section 3.7.4, MUST-17).
    pub fn set_nodelay(&mut self, on: bool) {
        self.bits.set(Bits::NODELAY, on);
    }

    /// Whether small segments do not wait.
    #[must_use]
    pub const fn nodelay(&self) -> bool {
        self.bits.contains(Bits::NODELAY)
    }

    /// `TCP_CORK`: only full segments are sent, until it is taken off or the user closes.
    pub fn set_cork(&mut self, on: bool) {
        self.bits.set(Bits::CORK, on);
    }

    /// Whether only full segments are sent.
    #[must_use]
    pub const fn cork(&self) -> bool {
        self.bits.contains(Bits::CORK)
    }

    /// `SO_OOBINLINE`: urgent data stays in the stream.
    pub fn set_urgent_inline(&mut self, on: bool) {
        self.bits.set(Bits::URGENT_INLINE, on);
    }

    /// Whether urgent data stays in the stream.
    #[must_use]
    pub const fn urgent_inline(&self) -> bool {
        self.bits.contains(Bits::URGENT_INLINE)
    }

    /// `SO_KEEPALIVE` and its times.
    pub fn set_keep_alive(&mut self, keep_alive: Option<KeepAlive>, now: Instant) {
        self.keep_alive = keep_alive.map(Box::new);
        self.keep_probes = 0;
        self.arm_keep_alive(now.0);
    }

    /// The times of keep-alive, when it is on.
    #[must_use]
    pub fn keep_alive(&self) -> Option<KeepAlive> {
        self.keep_alive.as_deref().copied()
    }

    /// `TCP_USER_TIMEOUT`, and whether the peer is told (RFC 5482).
    pub fn set_user_timeout(&mut self, timeout: Option<Duration>, tell: bool) {
        self.user_timeout = timeout.map_or(u64::MAX, nanos);
        self.bits.set(Bits::TIMEOUT_FIXED, timeout.is_some());
        self.bits.set(Bits::TELL_TIMEOUT, tell);
        if tell && self.state.is_synchronized() {
            self.bits.insert(Bits::TELL_TIMEOUT_NOW | Bits::ACK_NOW);
        }
    }

    /// How long data may stay unacknowledged.
    #[must_use]
    pub fn user_timeout(&self) -> Option<Duration> {
        (self.user_timeout != u64::MAX).then(|| Duration::from_nanos(self.user_timeout))
    }

    /// `TCP_CONGESTION`.
    pub fn set_congestion(&mut self, congestion: Congestion) {
        if self.control.congestion() != congestion {
            self.control = Control::new(congestion, self.snd.iss.0);
        }
    }

    /// The algorithm of congestion control.
    #[must_use]
    pub const fn congestion(&self) -> Congestion {
        self.control.congestion()
    }

    /// `SO_SNDBUF`: space for data to send; it does not grow any more.
    pub fn set_send_buffer(&mut self, size: usize) {
        self.send_buffer = bytes_u32(size).min(BUFFER_MAX);
        self.bits.insert(Bits::SEND_FIXED);
    }

    /// Space for data to send.
    #[must_use]
    pub fn send_buffer(&self) -> usize {
        usize::try_from(self.send_buffer).unwrap_or(usize::MAX)
    }

    /// `SO_RCVBUF`: space for received data; it does not grow any more. A window that was offered stays (RFC 9293, section 3.8.6).
    pub fn set_receive_buffer(&mut self, size: usize) {
        self.rcv.buffer = bytes_u32(size).clamp(1, BUFFER_MAX);
        self.bits.insert(Bits::RECEIVE_FIXED);
    }

    /// Space for received data.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        usize::try_from(self.rcv.buffer).unwrap_or(usize::MAX)
    }

    /// The settings with which it was made.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The fast open cookie that a server gave, to be kept for the next connection (RFC 7413, section 4.1.3).
    #[must_use]
    pub fn fast_open_cookie(&self) -> Option<Cookie> {
        let cookie = self.path.as_deref()?.fast_open?;
        (!cookie.is_request() && !self.bits.contains(Bits::PASSIVE)).then_some(cookie)
    }
}
