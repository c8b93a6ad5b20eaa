//! Sockets for tokio's tasks.
//!
//! No thread waits for a socket: the stack itself wakes the task. Any executor will do; tokio's own reactor is not used.
//!
//! ```
//! # use uknet::{Interface, Net};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use uknet::tokio::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let net = Net::builder().boot()?;
//! let listener = TcpListener::bind(&net, "127.0.0.1:80".parse()?)?;
//! let server = async {
//!     let (mut stream, _peer) = listener.accept().await?;
//!     stream.write_all(b"hello").await?;
//!     stream.shutdown().await
//! };
//! let client = async {
//!     let mut stream = TcpStream::connect(&net, "127.0.0.1:80".parse().unwrap()).await?;
//!     let mut text = String::new();
//!     stream.read_to_string(&mut text).await?;
//!     std::io::Result::Ok(text)
//! };
//! let (served, text) = tokio::join!(server, client);
//! served?;
//! assert_eq!(text?, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! Addresses are given as such: looking a name up takes a thread's time ([`Net::lookup`] in `tokio::task::spawn_blocking`).

use crate::{Net, net::error, socket::Socket};
use rumpkern::OpenFlags;
use rumpnet::socket::{Kind, MsgFlags, SockOpt, Watcher};
use rumpuser::Errno;
use std::{
    fmt,
    future::poll_fn,
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Connections that wait to be accepted at most.
const BACKLOG: usize = 1_024;

/// The tasks that wait for a socket.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn add(&self, waker: &Waker) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|other| other.will_wake(waker)) {
            all.push(waker.clone());
        }
    }
}

impl Watcher for Waiting {
    fn changed(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_iter().for_each(Waker::wake);
    }
}

/// A socket whose readiness tasks hear of.
struct Watched {
    socket: Socket,
    waiting: Arc<Waiting>,
}

impl Watched {
    fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let waiting = Arc::new(Waiting::default());
        socket.ask(|endpoint| endpoint.watch(waiting.clone()))?;
        Ok(Self { socket, waiting })
    }

    /// Tries; if it would have to wait, the task hears of the next change.
    fn attempt<T>(
        &self,
        context: &Context<'_>,
        mut call: impl FnMut(&Socket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let would_wait = |done: &io::Result<T>| {
            let kind = done.as_ref().err().map(io::Error::kind);
            kind == Some(io::ErrorKind::WouldBlock)
        };
        let done = call(&self.socket);
        if !would_wait(&done) {
            return Poll::Ready(done);
        }
        // A change between the attempt and this would be missed: so once more.
        self.waiting.add(context.waker());
        let done = call(&self.socket);
        if would_wait(&done) {
            return Poll::Pending;
        }
        Poll::Ready(done)
    }
}

/// A connection.
pub struct TcpStream(Watched);

impl TcpStream {
    /// Connects.
    ///
    /// # Errors
    /// As [`crate::TcpStream::connect`].
    pub async fn connect(net: &Net, to: SocketAddr) -> io::Result<Self> {
        let watched = Watched::new(Socket::new(net, to, Kind::Stream)?)?;
        match watched.socket.connect(to) {
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS.number()) => {
                poll_fn(|context| watched.attempt(context, connected)).await?;
            }
            done => done?,
        }
        Ok(Self(watched))
    }

    /// A connection that another thread may go on using, but which no longer waits.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the stack cannot be watched; what the host says.
    pub fn from_std(stream: crate::TcpStream) -> io::Result<Self> {
        Watched::new(stream.socket).map(Self)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.socket.peer_addr()
    }

    /// Its own address.
    ///
    /// # Errors
    /// As the stack says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.socket.local_addr()
    }

    /// Sets whether small segments go out at once.
    ///
    /// # Errors
    /// As the stack says.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.0.socket.set(&SockOpt::NoDelay(on))
    }
}

/// Whether a connection that was begun is there.
fn connected(socket: &Socket) -> io::Result<()> {
    use rumpkern::file::Ready;
    let ready = socket.ask(|endpoint| Ok(endpoint.poll()))?;
    if !ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
        return Err(error(Errno::EAGAIN));
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        let done = self
            .0
            .attempt(context, |socket| socket.receive(room, MsgFlags::empty()));
        done.map_ok(|count| buf.advance(count))
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.attempt(context, |socket| socket.send(data, None))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.socket.shutdown(Shutdown::Write))
    }
}

/// A socket that connections come in by.
pub struct TcpListener(Watched);

impl TcpListener {
    /// Listens.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`.
    pub fn bind(net: &Net, at: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(net, at, Kind::Stream)?;
        socket.set(&SockOpt::ReuseAddr(true))?;
        socket.bind(at)?;
        socket.listen(BACKLOG)?;
        Watched::new(socket).map(Self)
    }

    /// Its address.
    ///
    /// # Errors
    /// As the stack says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.socket.local_addr()
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// `ConnectionAborted`.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// The same for who polls.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accepted = self
            .0
            .attempt(context, |socket| socket.accept(OpenFlags::NONBLOCK));
        accepted.map(|accepted| {
            let (socket, peer) = accepted?;
            Ok((TcpStream(Watched::new(socket)?), peer))
        })
    }
}

/// A socket of datagrams.
pub struct UdpSocket(Watched);

impl UdpSocket {
    /// A socket at an address.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`.
    pub fn bind(net: &Net, at: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(net, at, Kind::Datagram)?;
        socket.bind(at)?;
        Watched::new(socket).map(Self)
    }

    /// Makes an address the peer: it alone is heard.
    ///
    /// # Errors
    /// `NetworkUnreachable`.
    pub fn connect(&self, to: SocketAddr) -> io::Result<()> {
        self.0.socket.connect(to)
    }

    /// Its own address.
    ///
    /// # Errors
    /// As the stack says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.socket.local_addr()
    }

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// As [`crate::UdpSocket::recv_from`].
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut receive = |socket: &Socket| socket.receive_from(buf, MsgFlags::empty());
        poll_fn(|context| self.0.attempt(context, &mut receive)).await
    }

    /// Receives a datagram from the peer.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).await.map(|(len, _)| len)
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// `NetworkUnreachable`, `EMSGSIZE`.
    pub async fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        let send = |socket: &Socket| socket.send(data, Some(to));
        poll_fn(|context| self.0.attempt(context, send)).await
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    /// `EDESTADDRREQ` without one.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        let send = |socket: &Socket| socket.send(data, None);
        poll_fn(|context| self.0.attempt(context, send)).await
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.socket.debug("TcpStream", f)
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.socket.debug("TcpListener", f)
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.socket.debug("UdpSocket", f)
    }
}
