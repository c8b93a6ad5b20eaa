//! TCP.

use crate::{
    Net, ToSocketAddrs,
    macros::{common, options, with_peer},
    resolve::each,
    socket::Socket,
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
    common!();
    with_peer!();

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

    /// Connects from an address of one's own within a time. In std this is not there.
    ///
    /// # Errors
    /// As [`connect_from`](Self::connect_from) and [`connect_timeout`](Self::connect_timeout).
    pub fn connect_from_timeout(
        net: &Net,
        from: SocketAddr,
        to: &SocketAddr,
        timeout: Duration,
    ) -> io::Result<Self> {
        let socket = Socket::new(net, *to, Kind::Stream)?;
        socket.bind(from)?;
        socket.connect_timeout(*to, timeout)?;
        Ok(Self { socket })
    }

    /// Ends a direction.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Sets how long closing tries to send what is not sent; zero resets the connection. In std this is not stable yet.
    ///
    /// # Errors
    /// As the stack says.
    pub fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        self.socket.set(&SockOpt::Linger(time))
    }

    /// Chooses the congestion control by its name: `cubic`, `newreno`, `bbr`, or what the host has.
    ///
    /// # Errors
    /// `NotFound`: there is none of that name.
    pub fn set_congestion(&self, name: &str) -> io::Result<()> {
        self.socket.set(&SockOpt::Congestion(name.into()))
    }

    options! {
        /// Whether small segments go out at once.
        set_nodelay,
        /// Whether small segments go out at once.
        nodelay: bool = NoDelay;
    }
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
    common!();

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
