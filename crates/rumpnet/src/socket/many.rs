//! Many messages in one call (`sendmmsg`, `recvmmsg`).

use super::{Kind, MsgFlags, Outgoing, Received, Socket};
use core::{sync::atomic::Ordering, time::Duration};
use rumpkern::file::Ready;
use rumpuser::{Errno, Instant, Result};

/// What has become of many messages that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// So many were sent.
    pub messages: usize,
    /// Bytes of the last of them. Only of a stream they may be fewer than it has: then no other was sent after it.
    pub last: usize,
}

impl Sent {
    /// Counts one more; whether it was sent whole.
    pub fn add(&mut self, message: &Outgoing<'_>, bytes: usize) -> bool {
        self.messages = self.messages.saturating_add(1);
        self.last = bytes;
        bytes >= message.len()
    }
}

/// Room for one of many messages, and what was received into it (`struct mmsghdr`).
pub struct Incoming<'a, 'b> {
    /// Where its bytes go, in order.
    pub bufs: &'a mut [&'b mut [u8]],
    /// What was received.
    pub received: Received,
}

impl<'a, 'b> Incoming<'a, 'b> {
    /// Room in these buffers.
    #[must_use]
    pub fn new(bufs: &'a mut [&'b mut [u8]]) -> Self {
        Self {
            bufs,
            received: Received::default(),
        }
    }
}

impl Socket {
    /// Sends messages in order, waiting for room unless `nonblock` or a message says otherwise, until one of them fails or is not sent whole.
    ///
    /// # Errors
    /// As [`send`](Self::send), of the first one. That of another ends the call, and comes again when that one is sent again, if its reason is
    /// still there.
    pub fn send_many(&self, messages: &[Outgoing<'_>], nonblock: bool) -> Result<Sent> {
        self.tell_kept()?;
        let mut sent = Sent::default();
        while let Some(rest @ [_, ..]) = messages.get(sent.messages..) {
            let (more, error) = self.send_some(rest, nonblock);
            if more.messages > 0 {
                sent.messages = sent.messages.saturating_add(more.messages);
                sent.last = more.last;
            }
            let last = messages.get(sent.messages.wrapping_sub(1));
            match error {
                None if last.is_some_and(|last| sent.last >= last.len()) => {}
                Some(Errno::EAGAIN) if more.messages > 0 => {}
                Some(error) if sent.messages == 0 => return Err(error),
                _ => break,
            }
        }
        Ok(sent)
    }

    /// At least one message, or an error.
    fn send_some(&self, messages: &[Outgoing<'_>], nonblock: bool) -> (Sent, Option<Errno>) {
        let Some(first) = messages.first() else {
            return Default::default();
        };
        if self.endpoint().kind() == Kind::Stream {
            let bytes = self.send_all(first, nonblock);
            return match bytes {
                Ok(last) => (Sent { messages: 1, last }, None),
                Err(error) => (Sent::default(), Some(error)),
            };
        }
        let nonblock = nonblock || first.flags.contains(MsgFlags::DONTWAIT);
        let some = self.patiently(Ready::OUT, nonblock, || {
            match self.endpoint().send_many(messages) {
                (Sent { messages: 0, .. }, Some(error)) => Err(error),
                some => Ok(some),
            }
        });
        some.unwrap_or_else(|error| (Sent::default(), Some(error)))
    }

    /// Receives messages in order until all have come; how many did. Unless `nonblock` it waits for them, with [`MsgFlags::WAITFORONE`] for the
    /// first alone, and no longer than `timeout`.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), of the first one. That of another ends the call, and is told by the next one of the socket.
    pub fn receive_many(
        &self,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
        timeout: Option<Duration>,
        nonblock: bool,
    ) -> Result<usize> {
        self.tell_kept()?;
        let nonblock = nonblock || flags.contains(MsgFlags::DONTWAIT);
        let waits_once = flags.contains(MsgFlags::WAITFORONE);
        let flags = flags.difference(MsgFlags::WAITFORONE | MsgFlags::GOES_ON);
        let over = timeout.map(|timeout| self.host.monotonic().after(timeout));
        let mut done = 0_usize;
        while let Some(rest @ [_, ..]) = messages.get_mut(done..) {
            let nonblock = nonblock || waits_once && done > 0;
            let (count, error) = self.receive_some(rest, flags, nonblock, over);
            done = done.saturating_add(count);
            match error {
                None => {}
                Some(Errno::EAGAIN) if count > 0 && !nonblock && !waits_once => {}
                Some(error) if done == 0 => return Err(error),
                Some(Errno::EAGAIN) => break,
                Some(error) => {
                    self.kept.store(error.number(), Ordering::Relaxed);
                    break;
                }
            }
        }
        Ok(done)
    }

    /// At least one message, or an error.
    fn receive_some(
        &self,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
        nonblock: bool,
        over: Option<Instant>,
    ) -> (usize, Option<Errno>) {
        if self.endpoint().kind() == Kind::Stream {
            let Some(Incoming { bufs, received }) = messages.first_mut() else {
                return (0, None);
            };
            return match self.receive_until(bufs, flags, nonblock, over) {
                Ok(new) => {
                    *received = new;
                    (1, None)
                }
                Err(error) => (0, Some(error)),
            };
        }
        let some = self.patiently_until(Ready::IN, nonblock, over, || {
            match self.endpoint().receive_many(messages, flags) {
                (0, Some(error)) => Err(error),
                some => Ok(some),
            }
        });
        some.unwrap_or_else(|error| (0, Some(error)))
    }
}
