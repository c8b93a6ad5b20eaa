//! TCP.

use crate::{
    Chain, Net, ToSocketAddrs,
    macros::{common, options, with_peer},
    resolve::each,
    socket::Socket,
};
use rumpkern::OpenFlags;
use rumpnet::socket::{Kind, MsgFlags, SockOpt};
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

    /// Sends a chain of bytes without copying it, and takes out of it what was sent: all, unless it is [non-blocking](Self::set_nonblocking) or an
    /// error came in between. The memory of a piece is free when the peer has acknowledged its last byte. In std this is not there.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use uknet::{Chain, Interface, Net, TcpListener, TcpStream};
    ///
    /// # let (one, two) = uknet::cable();
    /// # let server = Net::builder().interface(Interface::device("wire0", one).address("10.0.0.1/24".parse()?)).boot()?;
    /// # let client = Net::builder().interface(Interface::device("wire0", two).address("10.0.0.2/24".parse()?)).boot()?;
    /// let listener = TcpListener::bind(&server, "0.0.0.0:80")?;
    /// let stream = TcpStream::connect(&client, "10.0.0.1:80")?;
    /// let (accepted, _) = listener.accept()?;
    ///
    /// let page = Bytes::from(vec![7; 50_000]);
    /// let mut rest = Chain::from(page.clone());
    /// stream.send_bytes(&mut rest)?;
    /// assert!(rest.is_empty());
    ///
    /// let mut got = 0;
    /// while got < page.len() {
    ///     // Pieces of what was sent; a proxy would send the chain on as it is.
    ///     let data = accepted.recv_bytes(usize::MAX)?;
    ///     got += data.pieces().map(|piece| piece.len()).sum::<usize>();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As writing; the chain is as it was then.
    pub fn send_bytes(&self, data: &mut Chain) -> io::Result<usize> {
        self.socket
            .call(|socket, nonblock| socket.send_bytes(data, None, MsgFlags::empty(), nonblock))
    }

    /// Receives at most `most` bytes, all that are there, in the pieces in which the stack has them; none at the end. Whoever keeps a piece keeps the
    /// memory behind it, which may be that of a frame of 64 KiB. In std this is not there.
    ///
    /// # Errors
    /// As reading.
    pub fn recv_bytes(&self, most: usize) -> io::Result<Chain> {
        let flags = MsgFlags::empty();
        let received = self
            .socket
            .call(|socket, nonblock| socket.receive_bytes(most, flags, nonblock))?;
        Ok(received.0)
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
        self.socket.receive_into(&mut bufs, MsgFlags::empty())
    }
}

impl Write for &TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.socket.send(data, None)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.socket.send_from(&bufs, None)
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
            socket.listen(BACKLOG)?;
            Ok(Self { socket })
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// `WouldBlock`, `ConnectionAborted`.
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
