//! Local sockets (`AF_LOCAL`, unix(7)): streams, datagrams and records between processes of one kernel.
//!
//! | module | what |
//! |---|---|
//! | `table` | the sockets of a kernel, and who has which name |
//! | `queue` | what waits to be received |
//! | `flight` | descriptors in messages |
//! | `socket` | the protocol's side of a socket |
//!
//! **Names.** A name that begins with a zero byte is in a name space of its own and goes with its socket. Any other is a path: where the
//! kernel has files ([`rumpkern::names`]) `bind` makes a socket there, which stays until it is removed, and `connect` asks for permission to
//! write; where it has none, it is `EOPNOTSUPP`.
//!
//! **Credentials.** A connection knows who was at its other end when it was made ([`peer_cred`], as `getpeereid`). Who asks for it
//! ([`SockOpt::PassCred`](rumpnet::socket::SockOpt::PassCred)) is told with each message who sent it, by [`Control::Cred`](rumpnet::socket::Control::Cred): the
//! process that sends, whatever it says, unless it is the superuser's.
//!
//! **Descriptors.** A message may carry some ([`Control::Rights`](rumpnet::socket::Control::Rights)). They are open until they are received, or the message is dropped with
//! the socket that it waits at. Sockets that can only be reached through messages in each other are found and closed (`flight`).
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

mod flight;
mod queue;
mod socket;
mod table;

use alloc::{boxed::Box, sync::Arc};
use rumpkern::{Component, Cred, Phase, Proc};
use rumpnet::{
    KernelNet as _, SocketCalls as _,
    socket::{Domain, Endpoint, Family, Kind},
};
use rumpuser::{Errno, Result};
use socket::LocalSocket;
use table::Local;

/// The family as a component; brings `net` with it.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "local",
        phase: Phase::Driver,
        requires: &[rumpnet::component],
        init: |kernel| {
            let local = Local::new(kernel.host(), &kernel.init_proc().pollers());
            kernel
                .net()?
                .add_family(Domain::Local, Arc::new(Sockets(local)))
        },
    }
}

struct Sockets(Arc<Local>);

fn known(kind: Kind, protocol: u8) -> Result<()> {
    match (kind, protocol) {
        (Kind::Raw, _) => Err(Errno::EPROTOTYPE),
        (_, 0) => Ok(()),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

impl Family for Sockets {
    fn socket(&self, kind: Kind, protocol: u8, cred: &Cred) -> Result<Box<dyn Endpoint>> {
        known(kind, protocol)?;
        Ok(Box::new(LocalSocket::new(&self.0, kind, cred)))
    }

    fn pair(
        &self,
        kind: Kind,
        protocol: u8,
        cred: &Cred,
    ) -> Result<(Box<dyn Endpoint>, Box<dyn Endpoint>)> {
        known(kind, protocol)?;
        let (one, two) = LocalSocket::pair(&self.0, kind, cred);
        Ok((Box::new(one), Box::new(two)))
    }
}

/// Who was at the other end of a connection when it was made: user and group (`getpeereid`).
///
/// # Errors
/// `ENOTCONN`; `EBADF`, `ENOTSOCK`; `ENOPROTOOPT`: it is no local socket.
pub fn peer_cred(proc: &Proc, fd: rumpkern::Fd) -> Result<(u32, u32)> {
    let (_, socket) = proc.fd_socket(fd)?;
    match socket
        .endpoint()
        .option(&rumpnet::socket::SockOpt::PeerCred(0, 0))?
    {
        rumpnet::socket::SockOpt::PeerCred(uid, gid) => Ok((uid, gid)),
        _ => Err(Errno::ENOPROTOOPT),
    }
}
