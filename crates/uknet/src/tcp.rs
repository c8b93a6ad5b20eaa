//! TCP.

use crate::{
    Net, ToSocketAddrs,
    resolve::each,
    socket::{Socket, options},
};
use rumpkern::OpenFlags;
use rumpnet::{
    SocketCalls as _,
    socket::{Kind, MsgFlags, SockOpt},
};
use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    iter::FusedIterator,
    net::{Shutdown, SocketAddr},
    time::Duration,
};

/// Connections that wait to be accepted at most, unless told otherwise: as std has it.
const BACKLOG: usize = 128;

/// A connection, as [`std::net::TcpStream`].
pub struct TcpStream {
    pub(crate) socket: Socket,
}

impl TcpStream {
    /// Connects to the first of the addresses that takes the connection.
    ///
    /// # Errors
    /// Of the last address: `ConnectionRefused`, `TimedOut`, `NetworkUnreachable`, ...; of the resolver.
    pub fn connect(net: &Net, to: impl ToSocketAddrs) -> io::Result<Self> {
        each(net, to, |address| {
            let socket = Socket::new(net, address, Kind::Stream)?;
            socket.connect(address)?;
            Ok(Self { socket })
        })
    }

    /// Connects to one address within a time.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); `InvalidInput` for a time of zero.
    pub fn connect_timeout(net: &Net, to: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        let socket = Socket::new(net, *to, Kind::Stream)?;
        socket.connect_timeout(*to, timeout)?;
        Ok(Self { socket })
    }

    /// Connects from an address of one's own; port 0 is any. In std this is not there.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); `AddrInUse`, `AddrNotAvailable`.
    pub fn connect_from(net: &Net, from: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(net, to, Kind::Stream)?;
        socket.bind(from)?;
        socket.connect(to)?;
        Ok(Self { socket })
    }

    /// Its descriptor, for system calls that have no word here.
    #[must_use]
    pub fn fd(&self) -> rumpkern::Fd {
        self.socket.fd()
    }

    /// The stack that it is on.
    #[must_use]
    pub fn net(&self) -> &Net {
        self.socket.net()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Its own address.
    ///
    /// # Errors
    /// As the stack says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Ends a direction.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Another handle of the same connection.
    ///
    /// # Errors
    /// None; it is as std has it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.clone(),
        })
    }

    /// Sets how long a read waits; `WouldBlock` after that.
    ///
    /// # Errors
    /// `InvalidInput` for a time of zero.
    pub fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(time)
    }

    /// Sets how long a write waits; `WouldBlock` after that.
    ///
    /// # Errors
    /// `InvalidInput` for a time of zero.
    pub fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(time)
    }

    /// How long a read waits.
    ///
    /// # Errors
    /// None; it is as std has it.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.timeouts().0)
    }

    /// How long a write waits.
    ///
    /// # Errors
    /// None; it is as std has it.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.timeouts().1)
    }

    /// Reads without taking it away.
    ///
    /// # Errors
    /// As reading.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(buf, MsgFlags::PEEK)
    }

    /// Whether calls that would wait give `WouldBlock` instead.
    ///
    /// # Errors
    /// As the stack says.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket.set_nonblocking(on)
    }

    /// The pending error, which is taken away.
    ///
    /// # Errors
    /// As the stack says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Sets how long closing tries to send what is not sent; zero resets the connection. In std this is not stable yet.
    ///
    /// # Errors
    /// As the stack says.
    pub fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        self.socket.set(&SockOpt::Linger(time))
    }

    options! {
        /// Whether small segments go out at once.
        set_nodelay,
        /// Whether small segments go out at once.
        nodelay: bool = NoDelay;
    }

    /// Sets the time to live (hop limit) of what is sent.
    ///
    /// # Errors
    /// `InvalidInput` above 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set(&SockOpt::Ttl(narrow(ttl)?))
    }

    /// The time to live (hop limit) of what is sent.
    ///
    /// # Errors
    /// As the stack says.
    pub fn ttl(&self) -> io::Result<u32> {
        match self.socket.get(&SockOpt::Ttl(0))? {
            SockOpt::Ttl(ttl) => Ok(ttl.into()),
            _ => Err(crate::net::error(rumpuser::Errno::ENOPROTOOPT)),
        }
    }
}

/// A time to live as std has it.
pub(crate) fn narrow(ttl: u32) -> io::Result<u8> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "the time to live is above 255");
    u8::try_from(ttl).map_err(|_| bad())
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(buf, MsgFlags::empty())
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut bufs: Vec<&mut [u8]> = bufs.iter_mut().map(|buf| &mut **buf).collect();
        let flags = MsgFlags::empty();
        let received = self
            .socket
            .call(|proc, fd| proc.recvmsg(fd, &mut bufs, flags))?;
        Ok(received.len)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.socket.send(data, MsgFlags::empty(), None)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.socket.call(|proc, fd| proc.writev(fd, &bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.debug("TcpStream", f)
    }
}

/// A socket that connections come in by, as [`std::net::TcpListener`].
pub struct TcpListener {
    pub(crate) socket: Socket,
}

impl TcpListener {
    /// Listens at the first of the addresses that is free. As std, it takes a port over from connections that have ended.
    ///
    /// # Errors
    /// Of the last address: `AddrInUse`, `AddrNotAvailable`; of the resolver.
    pub fn bind(net: &Net, at: impl ToSocketAddrs) -> io::Result<Self> {
        each(net, at, |address| {
            let socket = Socket::new(net, address, Kind::Stream)?;
            socket.set(&SockOpt::ReuseAddr(true))?;
            socket.bind(address)?;
            socket.call(|proc, fd| proc.listen(fd, BACKLOG))?;
            Ok(Self { socket })
        })
    }

    /// The stack that it is on.
    #[must_use]
    pub fn net(&self) -> &Net {
        self.socket.net()
    }

    /// Its address.
    ///
    /// # Errors
    /// As the stack says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    /// None; it is as std has it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.clone(),
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// `WouldBlock`, `ConnectionAborted`, `EMFILE`.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = self.socket.accept(OpenFlags::empty())?;
        Ok((TcpStream { socket }, peer))
    }

    /// The connections that come in, for ever.
    #[must_use]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Whether calls that would wait give `WouldBlock` instead.
    ///
    /// # Errors
    /// As the stack says.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket.set_nonblocking(on)
    }

    /// The pending error, which is taken away.
    ///
    /// # Errors
    /// As the stack says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Sets the time to live (hop limit) of what is sent.
    ///
    /// # Errors
    /// `InvalidInput` above 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set(&SockOpt::Ttl(narrow(ttl)?))
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.debug("TcpListener", f)
    }
}

/// The connections that come in by a [`TcpListener`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}
