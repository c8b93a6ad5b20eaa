//! What the sockets have in common: a descriptor of the stack's process.

use crate::{Net, net::error};
use rumpkern::{Fd, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{Domain, Kind, MsgFlags, SockOpt},
};
use rumpuser::{Errno, Result};
use std::{
    fmt, io,
    net::{Shutdown, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A socket; another handle of the same one when cloned, and closed with the last.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Inner>);

struct Inner {
    net: Net,
    fd: Fd,
    /// As they were set: a kernel's socket cannot be asked.
    timeouts: Mutex<Timeouts>,
}

#[derive(Clone, Copy, Default)]
struct Timeouts {
    read: Option<Duration>,
    write: Option<Duration>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // As std: nobody is there to hear of it.
        let _ = self.net.proc().close(self.fd);
    }
}

impl Socket {
    pub(crate) fn new(net: &Net, address: SocketAddr, kind: Kind) -> io::Result<Self> {
        let domain = if address.is_ipv4() {
            Domain::Inet
        } else {
            Domain::Inet6
        };
        let fd = net.proc().socket(domain, kind, 0, OpenFlags::CLOEXEC);
        Ok(Self::with(net, fd.map_err(error)?))
    }

    fn with(net: &Net, fd: Fd) -> Self {
        Self(Arc::new(Inner {
            net: net.clone(),
            fd,
            timeouts: Mutex::default(),
        }))
    }

    pub(crate) fn net(&self) -> &Net {
        &self.0.net
    }

    pub(crate) fn fd(&self) -> Fd {
        self.0.fd
    }

    /// Makes a system call.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&Proc, Fd) -> Result<T>) -> io::Result<T> {
        call(self.0.net.proc(), self.0.fd).map_err(error)
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.call(|proc, fd| proc.bind(fd, &address.into()))
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        self.call(|proc, fd| proc.connect(fd, &address.into()))
    }

    /// Connects within a time.
    pub(crate) fn connect_timeout(&self, address: SocketAddr, time: Duration) -> io::Result<()> {
        if time.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero",
            ));
        }
        self.set_nonblocking(true)?;
        match self.call(|proc, fd| proc.connect(fd, &address.into())) {
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS.number()) => {
                let mut fds = [PollFd {
                    fd: self.fd(),
                    events: Ready::OUT,
                    ready: Ready::empty(),
                }];
                if self.call(|proc, _| proc.poll(&mut fds, Some(time)))? == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "connection timed out",
                    ));
                }
                if let Some(error) = self.take_error()? {
                    return Err(error);
                }
            }
            done => done?,
        }
        self.set_nonblocking(false)
    }

    pub(crate) fn accept(&self, flags: OpenFlags) -> io::Result<(Self, SocketAddr)> {
        let accepted = self.call(|proc, fd| proc.accept(fd, flags | OpenFlags::CLOEXEC))?;
        let this = Self::with(self.net(), accepted.0);
        Ok((this, accepted.1.inet().map_err(error)?))
    }

    pub(crate) fn receive(&self, buf: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
        let received = self.call(|proc, fd| proc.recvmsg(fd, &mut [buf], flags))?;
        Ok(received.len)
    }

    pub(crate) fn receive_from(
        &self,
        buf: &mut [u8],
        flags: MsgFlags,
    ) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.call(|proc, fd| proc.recvfrom(fd, buf, flags))?;
        let from = from.unwrap_or(Address::Unspecified);
        Ok((len, from.inet().map_err(error)?))
    }

    pub(crate) fn send(
        &self,
        data: &[u8],
        flags: MsgFlags,
        to: Option<SocketAddr>,
    ) -> io::Result<usize> {
        let to = to.map(Address::from);
        self.call(|proc, fd| proc.sendto(fd, data, flags, to.as_ref()))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.call(|proc, fd| proc.getsockname(fd)?.inet())
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.call(|proc, fd| proc.getpeername(fd)?.inet())
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        use rumpnet::socket::Shutdown as Ours;
        let how = match how {
            Shutdown::Read => Ours::Read,
            Shutdown::Write => Ours::Write,
            Shutdown::Both => Ours::Both,
        };
        self.call(|proc, fd| proc.shutdown(fd, how))
    }

    pub(crate) fn set(&self, option: &SockOpt) -> io::Result<()> {
        self.call(|proc, fd| proc.setsockopt(fd, option))
    }

    pub(crate) fn get(&self, which: &SockOpt) -> io::Result<SockOpt> {
        self.call(|proc, fd| proc.getsockopt(fd, which))
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self.get(&SockOpt::Error(None))? {
            SockOpt::Error(pending) => Ok(pending.map(error)),
            _ => Err(error(Errno::ENOPROTOOPT)),
        }
    }

    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set(&SockOpt::Ttl(narrow(ttl)?))
    }

    pub(crate) fn ttl(&self) -> io::Result<u32> {
        match self.get(&SockOpt::Ttl(0))? {
            SockOpt::Ttl(ttl) => Ok(ttl.into()),
            _ => Err(error(Errno::ENOPROTOOPT)),
        }
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.call(|proc, fd| {
            let mut flags = proc.status_flags(fd)?;
            flags.set(OpenFlags::NONBLOCK, on);
            proc.set_status_flags(fd, flags)
        })
    }

    /// Changes one of the timeouts, of which zero is none.
    fn set_timeout(
        &self,
        time: Option<Duration>,
        change: impl FnOnce(&mut Timeouts),
    ) -> io::Result<()> {
        if time.is_some_and(|time| time.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero",
            ));
        }
        let mut timeouts = self
            .0
            .timeouts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut new = *timeouts;
        change(&mut new);
        self.call(|proc, fd| {
            proc.set_receive_timeout(fd, new.read)?;
            proc.set_send_timeout(fd, new.write)
        })?;
        *timeouts = new;
        Ok(())
    }

    pub(crate) fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        self.set_timeout(time, |timeouts| timeouts.read = time)
    }

    pub(crate) fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        self.set_timeout(time, |timeouts| timeouts.write = time)
    }

    pub(crate) fn timeouts(&self) -> (Option<Duration>, Option<Duration>) {
        let timeouts = self
            .0
            .timeouts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (timeouts.read, timeouts.write)
    }

    pub(crate) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(name);
        if let Ok(local) = self.local_addr() {
            out.field("addr", &local);
        }
        if let Ok(peer) = self.peer_addr() {
            out.field("peer", &peer);
        }
        out.field("fd", &self.fd()).finish()
    }
}

/// A time to live as std has it.
pub(crate) fn narrow(ttl: u32) -> io::Result<u8> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "the time to live is above 255");
    u8::try_from(ttl).map_err(|_| bad())
}
