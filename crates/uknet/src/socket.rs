//! What the sockets have in common: a socket of the kernel, which they hold without a descriptor.

use crate::{Net, net::error};
use rumpkern::{Fd, Held, OpenFlags};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{self, Domain, Endpoint, Kind, MsgFlags, Outgoing, SockOpt},
};
use rumpuser::{Errno, Result};
use std::{
    fmt, io,
    net::{Shutdown, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A socket; another handle of the same one when cloned, and closed with the last.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Inner>);

struct Inner {
    net: Net,
    socket: Arc<socket::Socket>,
    /// The same as an open file of the stack's process.
    held: Held,
    rest: Mutex<Rest>,
}

/// What few ask for.
#[derive(Clone, Copy, Default)]
struct Rest {
    /// As they were set: a kernel's socket cannot be asked.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// Its descriptor, if somebody wanted one.
    fd: Option<Fd>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let proc = self.net.proc();
        let rest = self.rest.get_mut().unwrap_or_else(PoisonError::into_inner);
        // As std: nobody is there to hear of it.
        if let Some(fd) = rest.fd {
            let _ = proc.close(fd);
        }
        let _ = proc.close_held(&self.held);
    }
}

impl Socket {
    pub(crate) fn new(net: &Net, address: SocketAddr, kind: Kind) -> io::Result<Self> {
        let domain = if address.is_ipv4() {
            Domain::Inet
        } else {
            Domain::Inet6
        };
        let proc = net.proc();
        let socket = proc.enter(|| proc.new_socket(net.network()?, domain, kind, 0));
        Ok(Self::with(net, socket.map_err(error)?, OpenFlags::empty()))
    }

    fn with(net: &Net, socket: Arc<socket::Socket>, flags: OpenFlags) -> Self {
        let held = net.proc().hold(socket.clone(), flags | OpenFlags::RDWR);
        Self(Arc::new(Inner {
            net: net.clone(),
            socket,
            held,
            rest: Mutex::default(),
        }))
    }

    pub(crate) fn net(&self) -> &Net {
        &self.0.net
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.0.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its descriptor; it gets one when it is first asked for.
    pub(crate) fn fd(&self) -> io::Result<Fd> {
        let mut rest = self.rest();
        if let Some(fd) = rest.fd {
            return Ok(fd);
        }
        let fd = self.net().proc().fd_of_held(&self.0.held).map_err(error)?;
        rest.fd = Some(fd);
        Ok(fd)
    }

    /// Makes a system call, which is told whether it may wait.
    #[inline]
    pub(crate) fn call<T>(
        &self,
        call: impl FnOnce(&socket::Socket, bool) -> Result<T>,
    ) -> io::Result<T> {
        let Inner {
            net, socket, held, ..
        } = &*self.0;
        let entered = net.proc().enter(|| {
            let nonblock = held.open()?.flags().contains(OpenFlags::NONBLOCK);
            call(socket, nonblock)
        });
        entered.map_err(error)
    }

    /// The same for one that never waits.
    pub(crate) fn ask<T>(&self, call: impl FnOnce(&dyn Endpoint) -> Result<T>) -> io::Result<T> {
        self.call(|socket, _| call(socket.endpoint()))
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let cred = self.net().proc().cred();
        self.ask(|endpoint| endpoint.bind(&address.into(), &cred))
    }

    pub(crate) fn listen(&self, backlog: usize) -> io::Result<()> {
        self.ask(|endpoint| endpoint.listen(backlog))
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        let cred = self.net().proc().cred();
        self.call(|socket, nonblock| socket.connect(&address.into(), &cred, nonblock))
    }

    /// Connects within a time.
    pub(crate) fn connect_timeout(&self, address: SocketAddr, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))?;
        let late = Errno::EINPROGRESS.number();
        match self.connect(address) {
            Err(error) if error.raw_os_error() == Some(late) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "connection timed out",
            )),
            done => {
                done?;
                self.set_write_timeout(None)
            }
        }
    }

    /// Accepts a connection, which is opened with these flags.
    pub(crate) fn accept(&self, flags: OpenFlags) -> io::Result<(Self, SocketAddr)> {
        let (socket, peer) = self.call(|socket, nonblock| socket.accept(nonblock))?;
        let this = Self::with(self.net(), socket, flags);
        Ok((this, peer.inet().map_err(error)?))
    }

    #[inline]
    pub(crate) fn receive(&self, buf: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
        self.receive_into(&mut [buf], flags)
    }

    #[inline]
    pub(crate) fn receive_into(
        &self,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
    ) -> io::Result<usize> {
        self.call(|socket, nonblock| Ok(socket.receive(bufs, flags, nonblock)?.len))
    }

    pub(crate) fn receive_from(
        &self,
        buf: &mut [u8],
        flags: MsgFlags,
    ) -> io::Result<(usize, SocketAddr)> {
        let received = self.call(|socket, nonblock| socket.receive(&mut [buf], flags, nonblock))?;
        let from = received.from.unwrap_or(Address::Unspecified);
        Ok((received.len, from.inet().map_err(error)?))
    }

    #[inline]
    pub(crate) fn send(&self, data: &[u8], to: Option<SocketAddr>) -> io::Result<usize> {
        self.send_from(&[data], to)
    }

    #[inline]
    pub(crate) fn send_from(&self, bufs: &[&[u8]], to: Option<SocketAddr>) -> io::Result<usize> {
        let to = to.map(Address::from);
        let message = Outgoing {
            to: to.as_ref(),
            bufs,
            control: &[],
            flags: MsgFlags::empty(),
        };
        self.call(|socket, nonblock| socket.send(&message, nonblock))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.ask(|endpoint| endpoint.local()?.inet())
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.ask(|endpoint| endpoint.peer()?.inet())
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        use rumpnet::socket::Shutdown as Ours;
        let how = match how {
            Shutdown::Read => Ours::Read,
            Shutdown::Write => Ours::Write,
            Shutdown::Both => Ours::Both,
        };
        self.ask(|endpoint| endpoint.shutdown(how))
    }

    pub(crate) fn set(&self, option: &SockOpt) -> io::Result<()> {
        self.call(|socket, _| socket.set_option(option))
    }

    pub(crate) fn get(&self, which: &SockOpt) -> io::Result<SockOpt> {
        self.call(|socket, _| socket.option(which))
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
        let open = self.0.held.open().map_err(error)?;
        let mut flags = open.flags();
        flags.set(OpenFlags::NONBLOCK, on);
        open.set_flags(flags);
        Ok(())
    }

    pub(crate) fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        let time = checked(time)?;
        let mut rest = self.rest();
        self.call(|socket, _| {
            socket.set_receive_timeout(time);
            Ok(())
        })?;
        rest.read_timeout = time;
        Ok(())
    }

    pub(crate) fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        let time = checked(time)?;
        let mut rest = self.rest();
        self.call(|socket, _| {
            socket.set_send_timeout(time);
            Ok(())
        })?;
        rest.write_timeout = time;
        Ok(())
    }

    pub(crate) fn read_timeout(&self) -> Option<Duration> {
        self.rest().read_timeout
    }

    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        self.rest().write_timeout
    }

    pub(crate) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(name);
        if let Ok(local) = self.local_addr() {
            out.field("addr", &local);
        }
        if let Ok(peer) = self.peer_addr() {
            out.field("peer", &peer);
        }
        if let Some(fd) = self.rest().fd {
            out.field("fd", &fd);
        }
        out.finish()
    }
}

/// A timeout, of which zero is none.
fn checked(time: Option<Duration>) -> io::Result<Option<Duration>> {
    if time.is_some_and(|time| time.is_zero()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a timeout of zero",
        ));
    }
    Ok(time)
}

/// A time to live as std has it.
pub(crate) fn narrow(ttl: u32) -> io::Result<u8> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "the time to live is above 255");
    u8::try_from(ttl).map_err(|_| bad())
}
