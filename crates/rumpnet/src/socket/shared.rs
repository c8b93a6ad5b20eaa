//! Data that is passed on in pieces and not copied.

use super::{Endpoint, Kind, MsgFlags, Outgoing, Received, Socket};
use crate::{Address, Chain};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use rumpkern::file::Ready;
use rumpuser::Result;

/// Room for a message of a protocol that copies.
pub(super) const MESSAGE: usize = 1 << 18;

/// Pieces of fewer bytes are copied when they are passed on: they may hold a large buffer in memory.
pub const COPY_BELOW: usize = 1_024;

/// Does something with a message that has the bytes of a chain.
pub(crate) fn message<R>(
    data: &Chain,
    to: Option<&Address>,
    flags: MsgFlags,
    send: impl FnOnce(&Outgoing<'_>) -> R,
) -> R {
    let bufs: Vec<&[u8]> = data.pieces().map(|piece| &**piece).collect();
    send(&Outgoing {
        to,
        bufs: &bufs,
        control: &[],
        flags,
    })
}

/// Sends the bytes of a chain as a protocol does that copies, and takes out of it what was sent.
///
/// # Errors
/// As [`Endpoint::send`].
pub fn send_copied(
    endpoint: &(impl Endpoint + ?Sized),
    data: &mut Chain,
    to: Option<&Address>,
    flags: MsgFlags,
) -> Result<usize> {
    let sent = message(data, to, flags, |message| endpoint.send(message))?;
    data.advance(sent);
    Ok(sent)
}

impl Socket {
    /// Sends a chain as [`send`](Self::send), and takes out of it what was sent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_bytes(
        &self,
        data: &mut Chain,
        to: Option<&Address>,
        flags: MsgFlags,
        nonblock: bool,
    ) -> Result<usize> {
        self.tell_kept()?;
        let nonblock = nonblock || flags.contains(MsgFlags::DONTWAIT);
        let mut attempt = || self.endpoint().send_bytes(data, to, flags);
        let mut done = self.patiently(Ready::OUT, nonblock, &mut attempt)?;
        if nonblock || self.endpoint().kind() != Kind::Stream {
            return Ok(done);
        }
        while !data.is_empty() {
            let attempt = || self.endpoint().send_bytes(data, to, flags);
            match self.patiently(Ready::OUT, false, attempt) {
                Ok(count) => done = done.saturating_add(count),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Receives as [`receive`](Self::receive), at most `most` bytes.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_bytes(
        &self,
        most: usize,
        flags: MsgFlags,
        nonblock: bool,
    ) -> Result<(Chain, Received)> {
        self.tell_kept()?;
        let nonblock = nonblock || flags.contains(MsgFlags::DONTWAIT);
        let flags = flags.difference(MsgFlags::GOES_ON);
        let (mut data, mut received) = self.patiently(Ready::IN, nonblock, || {
            self.endpoint().receive_bytes(most, flags)
        })?;
        let least = if flags.contains(MsgFlags::WAITALL) {
            usize::MAX
        } else {
            self.receive_lowat.load(Ordering::Relaxed)
        };
        let goes_on =
            self.endpoint().kind() == Kind::Stream && !nonblock && !flags.contains(MsgFlags::PEEK);
        while goes_on && data.len() < most.min(least) {
            let rest = most.saturating_sub(data.len());
            let more = self.patiently(Ready::IN, false, || {
                self.endpoint()
                    .receive_bytes(rest, flags | MsgFlags::GOES_ON)
            });
            match more {
                Ok((more, _)) if !more.is_empty() => data.append(more),
                _ => break,
            }
        }
        if self.endpoint().kind() == Kind::Stream {
            received.len = data.len();
        }
        Ok((data, received))
    }
}
