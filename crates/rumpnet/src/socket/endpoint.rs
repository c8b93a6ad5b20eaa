//! What a protocol family provides.

use super::{Incoming, Kind, MsgFlags, Outgoing, Received, Sent, Shutdown, SockOpt, shared};
use crate::{Address, Chain};
use alloc::{boxed::Box, sync::Arc};
use bytes::Bytes;
use core::{any::Any, time::Duration};
use rumpkern::{Cred, file::Ready};
use rumpuser::{Errno, Instant, Result};

/// A protocol family.
pub trait Family: Send + Sync {
    /// Makes a socket.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT`, `EPROTOTYPE` (kind and protocol do not go together), `EACCES` (raw, not root), `ENOBUFS`.
    fn socket(&self, kind: Kind, protocol: u8, cred: &Cred) -> Result<Box<dyn Endpoint>>;

    /// Makes two sockets that are connected.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the family has none; as [`socket`](Self::socket).
    fn pair(
        &self,
        _kind: Kind,
        _protocol: u8,
        _cred: &Cred,
    ) -> Result<(Box<dyn Endpoint>, Box<dyn Endpoint>)> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// The protocol's side of a socket. No call waits: what cannot be done at once is `EAGAIN` (a connection under way:
/// `EINPROGRESS`), and [`Socket`](super::Socket) waits for readiness.
pub trait Endpoint: Any + Send + Sync {
    /// What it carries.
    fn kind(&self) -> Kind;

    /// Gives it an address.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL` (has one), `EAFNOSUPPORT`.
    fn bind(&self, address: &Address, cred: &Cred) -> Result<()>;

    /// Connects, or begins to.
    ///
    /// # Errors
    /// `EINPROGRESS`; `EISCONN`, `EALREADY`, `ECONNREFUSED`, `ENETUNREACH`, `EADDRNOTAVAIL`, ...
    fn connect(&self, address: &Address, cred: &Cred) -> Result<()>;

    /// Accepts connections; at most `backlog` wait.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`, `EADDRINUSE`.
    fn listen(&self, _backlog: usize) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Takes a connection that waits, and its peer's address.
    ///
    /// # Errors
    /// `EAGAIN`; `EINVAL` when it does not listen; `EOPNOTSUPP`, `ECONNABORTED`.
    fn accept(&self) -> Result<(Box<dyn Endpoint>, Address)> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sends what there is room for; a datagram goes whole.
    ///
    /// # Errors
    /// `EAGAIN`, `EMSGSIZE`, `EPIPE`, `ENOTCONN`, `EDESTADDRREQ`, `EISCONN`, the pending error.
    fn send(&self, message: &Outgoing<'_>) -> Result<usize>;

    /// Receives what is there, at most one datagram.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOTCONN`, the pending error.
    fn receive(&self, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received>;

    /// Whether who gets a message `to` that address, or the peer, wants to know who sends it.
    fn passes_cred(&self, _to: Option<&Address>) -> bool {
        false
    }

    /// Sends messages in order, as by a [`send`](Self::send) each, until one of them fails or is not sent whole. Returns what was sent, and
    /// the error.
    fn send_many(&self, messages: &[Outgoing<'_>]) -> (Sent, Option<Errno>) {
        let mut sent = Sent::default();
        for message in messages {
            match self.send(message) {
                Ok(bytes) if sent.add(message, bytes) => {}
                Ok(_) => break,
                Err(error) => return (sent, Some(error)),
            }
        }
        (sent, None)
    }

    /// Receives messages, as by a [`receive`](Self::receive) each, until one of them fails. Returns how many there were, and the error
    /// if the endpoint does not tell it the next time.
    fn receive_many(
        &self,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
    ) -> (usize, Option<Errno>) {
        let mut count = 0_usize;
        for Incoming { bufs, received } in messages {
            match self.receive(bufs, flags) {
                Ok(new) => *received = new,
                Err(error) => return (count, Some(error)),
            }
            count = count.saturating_add(1);
        }
        (count, None)
    }

    /// Sends bytes of a chain as [`send`](Self::send), and takes them out of it. Where the protocol can, it keeps the pieces and copies nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn send_bytes(&self, data: &mut Chain, to: Option<&Address>, flags: MsgFlags) -> Result<usize> {
        shared::send_copied(self, data, to, flags)
    }

    /// Receives as [`receive`](Self::receive), at most `most` bytes. Where the protocol can, it gives the pieces that it has and copies nothing.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    fn receive_bytes(&self, most: usize, flags: MsgFlags) -> Result<(Chain, Received)> {
        let room = match self.kind() {
            Kind::Stream => self.readable().max(1),
            _ => shared::MESSAGE,
        };
        let mut buf = alloc::vec![0; most.min(room)];
        let received = self.receive(&mut [&mut buf], flags)?;
        buf.truncate(received.len);
        Ok((Chain::from(Bytes::from(buf)), received))
    }

    /// Ends a direction.
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn shutdown(&self, how: Shutdown) -> Result<()>;

    /// Its own address.
    ///
    /// # Errors
    /// `EINVAL` when it is shut down.
    fn local(&self) -> Result<Address>;

    /// Its peer's address.
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn peer(&self) -> Result<Address>;

    /// Sets an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`, `EDOM`.
    fn set_option(&self, option: &SockOpt) -> Result<()>;

    /// The value of an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    fn option(&self, which: &SockOpt) -> Result<SockOpt>;

    /// Readiness now.
    fn poll(&self) -> Ready;

    /// What has become of a connection under way, if anything has. An error is told once.
    fn connected(&self) -> Option<Result<()>> {
        let ready = self.poll();
        if !ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
            return None;
        }
        Some(match self.option(&SockOpt::Error(None)) {
            Ok(SockOpt::Error(Some(error))) | Err(error) => Err(error),
            Ok(_) => Ok(()),
        })
    }

    /// Bytes that can be read (`FIONREAD`).
    fn readable(&self) -> usize;

    /// Whether the next byte that is read is that of the urgent mark.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: it cannot be told.
    fn at_mark(&self) -> Result<bool> {
        Ok(false)
    }

    /// Whether it is closed and its peer has not acknowledged all: what closing with [`SockOpt::Linger`] waits for.
    fn is_leaving(&self) -> bool {
        false
    }

    /// A number that changes with each change of readiness, for [`wait`](Self::wait).
    fn ticket(&self) -> u64;

    /// Waits until readiness may have changed since `ticket`, or `deadline`. `false` when it is over.
    fn wait(&self, ticket: u64, interest: Ready, deadline: Option<Instant>) -> bool;

    /// Tells `watcher` as well, from now on, each time that readiness may have changed. There is no way back: once for each socket.
    ///
    /// # Errors
    /// `EOPNOTSUPP`; what the host says.
    fn watch(&self, _watcher: Arc<dyn Watcher>) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A descriptor of it was closed; others may be in messages.
    fn released(&self) {}

    /// The last descriptor is closed. What is not sent is sent on, unless [`SockOpt::Linger`] is zero: then it is thrown away. Returns how long
    /// who closes waits while it [is leaving](Self::is_leaving): what that option says.
    ///
    /// # Errors
    /// What the protocol says; the socket is gone all the same.
    fn close(&self) -> Result<Option<Duration>>;
}

/// Who wants to hear of a socket without a thread that waits for it: an executor of asynchronous tasks.
pub trait Watcher: Send + Sync {
    /// Readiness may have changed. Called by any thread, with no lock of a stack held; should be quick.
    fn changed(&self);
}
