//! A socket of the host.

use crate::{batch, errno, options, reactor::Reactor};
use rumpkern::{Cred, file::Ready};
use rumpnet::{
    Address,
    socket::{
        Domain, Endpoint, Incoming, Kind, MsgFlags, Outgoing, Received, Sent, Shutdown, SockOpt,
        Watcher,
    },
};
use rumpuser::{Errno, Instant, Result};
use rumpuser_posix::{Patience, at_mark};
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    fd::{AsFd as _, OwnedFd},
    net::{
        self, AddressFamily, Protocol, RecvAncillaryBuffer, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketFlags, SocketType,
    },
    time::{ClockId, clock_gettime},
};
use std::{
    io::{IoSlice, IoSliceMut},
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(crate) struct HostSocket {
    fd: OwnedFd,
    domain: Domain,
    kind: Kind,
    reactor: Arc<Reactor>,
    /// Its last descriptor in the kernel is closed.
    closed: AtomicBool,
    patience: Patience,
    /// Its place among those that are watched.
    watched: OnceLock<u64>,
}

impl HostSocket {
    pub(crate) fn new(
        domain: Domain,
        kind: Kind,
        protocol: u8,
        reactor: &Arc<Reactor>,
    ) -> Result<Self> {
        let family = match domain {
            Domain::Inet => AddressFamily::INET,
            Domain::Inet6 => AddressFamily::INET6,
            Domain::Local => return Err(Errno::EAFNOSUPPORT),
        };
        let host_kind = match kind {
            Kind::Stream => SocketType::STREAM,
            Kind::Datagram => SocketType::DGRAM,
            Kind::SeqPacket => SocketType::SEQPACKET,
            Kind::Raw => SocketType::RAW,
        };
        let protocol = core::num::NonZeroU32::new(protocol.into()).map(Protocol::from_raw);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(family, host_kind, flags, protocol).map_err(errno)?;
        Ok(Self::with(fd, domain, kind, reactor))
    }

    fn with(fd: OwnedFd, domain: Domain, kind: Kind, reactor: &Arc<Reactor>) -> Self {
        Self {
            fd,
            domain,
            kind,
            reactor: reactor.clone(),
            closed: AtomicBool::new(false),
            patience: Patience::default(),
            watched: OnceLock::new(),
        }
    }

    fn look(&self) -> PollFlags {
        let all = PollFlags::IN | PollFlags::PRI | PollFlags::OUT;
        let mut fds = [PollFd::new(&self.fd, all)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => fds[0].revents(),
            Err(_) => PollFlags::ERR,
        }
    }
}

/// An address of a family of the host.
fn inet(address: SocketAddrAny) -> Result<Address> {
    SocketAddr::try_from(address)
        .map(Address::Inet)
        .map_err(|_| Errno::EAFNOSUPPORT)
}

pub(crate) fn receive_flags(flags: MsgFlags) -> RecvFlags {
    let mut host = RecvFlags::DONTWAIT;
    host.set(RecvFlags::OOB, flags.contains(MsgFlags::OOB));
    host.set(RecvFlags::PEEK, flags.contains(MsgFlags::PEEK));
    host.set(RecvFlags::TRUNC, flags.contains(MsgFlags::TRUNC));
    host
}

/// What the host tells of a message.
pub(crate) fn told(flags: ReturnFlags) -> MsgFlags {
    let mut told = MsgFlags::empty();
    told.set(MsgFlags::TRUNC, flags.contains(ReturnFlags::TRUNC));
    told.set(MsgFlags::EOR, flags.contains(ReturnFlags::EOR));
    told.set(MsgFlags::OOB, flags.contains(ReturnFlags::OOB));
    told.set(MsgFlags::CTRUNC, flags.contains(ReturnFlags::CTRUNC));
    told
}

pub(crate) fn send_flags(flags: MsgFlags) -> Result<SendFlags> {
    // No signal is raised in the host's process.
    let mut host = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let known = [
        (MsgFlags::OOB, SendFlags::OOB),
        (MsgFlags::DONTROUTE, SendFlags::DONTROUTE),
        (MsgFlags::EOR, SendFlags::EOR),
        (MsgFlags::MORE, SendFlags::MORE),
    ];
    let mut rest = flags - (MsgFlags::NOSIGNAL | MsgFlags::DONTWAIT);
    for (ours, theirs) in known {
        if rest.contains(ours) {
            host |= theirs;
            rest -= ours;
        }
    }
    if rest.is_empty() {
        Ok(host)
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

impl Endpoint for HostSocket {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn bind(&self, address: &Address, _cred: &Cred) -> Result<()> {
        net::bind(&self.fd, &address.inet()?).map_err(errno)
    }

    fn connect(&self, address: &Address, _cred: &Cred) -> Result<()> {
        match address {
            Address::Unspecified => net::connect_unspec(&self.fd),
            address => net::connect(&self.fd, &address.inet()?),
        }
        .map_err(errno)
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        net::listen(&self.fd, backlog).map_err(errno)
    }

    fn accept(&self) -> Result<(Box<dyn Endpoint>, Address)> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Errno::EINVAL);
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = net::acceptfrom_with(&self.fd, flags).map_err(errno)?;
        let peer = peer.map_or(Ok(Address::Unspecified), inet)?;
        let socket = Self::with(fd, self.domain, self.kind, &self.reactor);
        Ok((Box::new(socket), peer))
    }

    fn send(&self, message: &Outgoing<'_>) -> Result<usize> {
        if !message.control.is_empty() {
            return Err(Errno::EOPNOTSUPP);
        }
        let flags = send_flags(message.flags)?;
        let sent = match (message.bufs, message.to) {
            ([one], None) => net::send(&self.fd, one, flags),
            ([one], Some(to)) => net::sendto(&self.fd, one, flags, &to.inet()?),
            (bufs, to) => {
                let bufs: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
                let mut none = SendAncillaryBuffer::default();
                match to {
                    Some(to) => net::sendmsg_addr(&self.fd, &to.inet()?, &bufs, &mut none, flags),
                    None => net::sendmsg(&self.fd, &bufs, &mut none, flags),
                }
            }
        };
        sent.map_err(errno)
    }

    fn send_many(&self, messages: &[Outgoing<'_>]) -> (Sent, Option<Errno>) {
        batch::send_many(self, self.fd.as_fd(), messages)
    }

    fn receive(&self, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(Received::default());
        }
        let host = receive_flags(flags);
        if let ([buf], Kind::Stream) = (&mut *bufs, self.kind) {
            let len = net::recv(&self.fd, &mut **buf, host).map_err(errno)?.1;
            return Ok(Received {
                len,
                ..Received::default()
            });
        }
        let mut bufs: Vec<IoSliceMut<'_>> = bufs.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let mut none = RecvAncillaryBuffer::default();
        let got = net::recvmsg(&self.fd, &mut bufs, &mut none, host).map_err(errno)?;
        Ok(Received {
            len: got.bytes,
            from: got.address.map(inet).transpose()?,
            flags: told(got.flags),
            control: Vec::new(),
        })
    }

    fn receive_many(
        &self,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
    ) -> (usize, Option<Errno>) {
        if self.closed.load(Ordering::Relaxed) {
            for message in &mut *messages {
                message.received = Received::default();
            }
            return (messages.len(), None);
        }
        batch::receive_many(self.fd.as_fd(), messages, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        let how = match how {
            Shutdown::Read => net::Shutdown::Read,
            Shutdown::Write => net::Shutdown::Write,
            Shutdown::Both => net::Shutdown::Both,
        };
        net::shutdown(&self.fd, how).map_err(errno)
    }

    fn local(&self) -> Result<Address> {
        inet(net::getsockname(&self.fd).map_err(errno)?)
    }

    fn peer(&self) -> Result<Address> {
        let peer = net::getpeername(&self.fd).map_err(errno)?;
        peer.map_or(Err(Errno::ENOTCONN), inet)
    }

    fn set_option(&self, option: &SockOpt) -> Result<()> {
        options::set(self.fd.as_fd(), option)
    }

    fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        options::get(self.fd.as_fd(), self.kind, which)
    }

    fn poll(&self) -> Ready {
        let now = self.look();
        let mut ready = Ready::empty();
        ready.set(Ready::IN, now.intersects(PollFlags::IN | PollFlags::RDHUP));
        ready.set(Ready::PRI, now.contains(PollFlags::PRI));
        ready.set(Ready::OUT, now.contains(PollFlags::OUT));
        ready.set(Ready::ERR, now.contains(PollFlags::ERR));
        ready.set(Ready::HUP, now.contains(PollFlags::HUP));
        let mut missing = epoll::EventFlags::empty();
        missing.set(epoll::EventFlags::IN, !ready.contains(Ready::IN));
        missing.set(epoll::EventFlags::PRI, !ready.contains(Ready::PRI));
        missing.set(epoll::EventFlags::OUT, !ready.contains(Ready::OUT));
        // Without a thread that tells, who polls would sleep on: better to say that something is wrong.
        let told = self.watched.get().is_some() || missing.is_empty();
        if !told && self.reactor.tell_once(self.fd.as_fd(), missing).is_err() {
            ready |= Ready::ERR;
        }
        ready
    }

    fn readable(&self) -> usize {
        let count = rustix::io::ioctl_fionread(&self.fd).unwrap_or(0);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn at_mark(&self) -> Result<bool> {
        at_mark(self.fd.as_fd())
    }

    fn ticket(&self) -> u64 {
        // The host keeps the readiness: a wait sees what has been since.
        0
    }

    fn wait(&self, _ticket: u64, interest: Ready, deadline: Option<Instant>) -> bool {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, interest.contains(Ready::IN));
        events.set(PollFlags::OUT, interest.contains(Ready::OUT));
        let at_once = Timespec::default();
        let ready = || poll(&mut [PollFd::new(&self.fd, events)], Some(&at_once)) != Ok(0);
        if self.patience.look(deadline, ready) {
            return true;
        }
        loop {
            let timeout = deadline.map(|deadline| {
                // The clock of a kernel's host is this one.
                let now = clock_gettime(ClockId::Monotonic);
                let nanos = u64::try_from(now.tv_sec)
                    .unwrap_or(0)
                    .saturating_mul(1_000_000_000)
                    .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0));
                let left = deadline.since(Instant(nanos));
                Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                }
            });
            let mut fds = [PollFd::new(&self.fd, events)];
            match poll(&mut fds, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return false,
                _ => return true,
            }
        }
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        let number = self.reactor.watch(self.fd.as_fd(), watcher)?;
        self.watched.set(number).map_err(|_| Errno::EBUSY)
    }

    fn close(&self) -> Result<Option<Duration>> {
        // Calls that are under way end; the descriptor of the host is closed with the last of them.
        self.closed.store(true, Ordering::Relaxed);
        if self.kind == Kind::Stream
            && self.option(&SockOpt::AcceptConn(false)) == Ok(SockOpt::AcceptConn(true))
        {
            net::shutdown(&self.fd, net::Shutdown::Both).map_err(errno)?;
        }
        Ok(None)
    }
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        if let Some(number) = self.watched.get() {
            self.reactor.forget(*number);
        }
    }
}
