//! Sockets: what stands behind the descriptor, and what a protocol family provides.

mod many;
mod shared;

use crate::{Address, Chain};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use bytes::Bytes;
use core::{
    any::Any,
    sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use rumpkern::{
    Cred, Fd, File, FileType, Passed, Position, Proc, Stat, file::Ready, poll::Pollers,
    types::DeviceNumber,
};
use rumpuser::{Errno, Event, Fetch, Host, Instant, Result, Timespec};

pub use many::{Incoming, Sent};
pub(crate) use shared::message;

/// A protocol family, as `socket` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Within this kernel.
    Local,
}

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// Datagrams.
    Datagram,
    /// A stream of records.
    SeqPacket,
    /// Packets with the headers of the network layer.
    Raw,
}

/// Which directions `shutdown` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Receiving.
    Read,
    /// Sending.
    Write,
    /// Both.
    Both,
}

impl Shutdown {
    /// Whether it ends receiving.
    #[must_use]
    pub fn reads(self) -> bool {
        self != Self::Write
    }

    /// Whether it ends sending.
    #[must_use]
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

bitflags::bitflags! {
    /// Flags of a transfer, and what a receiver is told of a message.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MsgFlags: u32 {
        /// Urgent data.
        const OOB = 0x1;
        /// What is received stays.
        const PEEK = 0x2;
        /// Not through a gateway.
        const DONTROUTE = 0x4;
        /// Told: control data did not fit.
        const CTRUNC = 0x8;
        /// Told: the datagram was longer than the buffers. Asked for: return its whole length.
        const TRUNC = 0x20;
        /// Without waiting.
        const DONTWAIT = 0x40;
        /// End of a record.
        const EOR = 0x80;
        /// Wait until all buffers are full.
        const WAITALL = 0x100;
        /// An error of the peer raises no signal. Always so here.
        const NOSIGNAL = 0x4000;
        /// More is coming.
        const MORE = 0x8000;
        /// Of many messages wait for the first alone.
        const WAITFORONE = 0x1_0000;
        /// Connects with the data (TCP): it may go with the SYN.
        const FASTOPEN = 0x2000_0000;
        /// Descriptors that are received are closed on exec.
        const CMSG_CLOEXEC = 0x4000_0000;
        /// Of the kernel alone: what is received goes on with what was received before. Of a local stream nothing is when something parts
        /// the two.
        const GOES_ON = 0x8000_0000;
    }
}

/// What is sent besides bytes.
#[derive(Clone)]
pub enum Control {
    /// Descriptors (local sockets): the sender's, and what they are in the receiver.
    Rights(Vec<Fd>),
    /// The same on their way: what an endpoint gets and gives.
    Files(Vec<Passed>),
    /// Who sent it (local sockets).
    Cred {
        /// Process.
        pid: u32,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// The address that a datagram was sent to, and the interface that it came in by.
    PacketInfo {
        /// The destination, or when sending: the source to use.
        address: core::net::IpAddr,
        /// The interface's number; 0 for any.
        interface: u32,
    },
    /// Time to live, hop limit.
    HopLimit(u8),
    /// Type of service, traffic class.
    TrafficClass(u8),
    /// When it was received.
    Timestamp(Timespec),
    /// Payload bytes of each datagram that a message stands for (UDP; the last may have fewer): when sending as [`SockOpt::UdpSegment`], when
    /// receiving because of [`SockOpt::UdpGro`].
    Segment(u16),
}

impl Control {
    /// Who sends: this process.
    #[must_use]
    pub fn sender(proc: &Proc) -> Self {
        let cred = proc.cred();
        Self::Cred {
            pid: proc.getpid(),
            uid: cred.uid,
            gid: cred.gid,
        }
    }
}

/// A message to be sent.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// To whom; `None` for the peer.
    pub to: Option<&'a Address>,
    /// The bytes, in order.
    pub bufs: &'a [&'a [u8]],
    /// What goes with them.
    pub control: &'a [Control],
    /// How.
    pub flags: MsgFlags,
}

impl Outgoing<'_> {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bufs.iter().map(|buf| buf.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was received.
#[derive(Clone, Default)]
pub struct Received {
    /// Bytes put into the buffers; with [`MsgFlags::TRUNC`] asked for, the length of the datagram.
    pub len: usize,
    /// From whom.
    pub from: Option<Address>,
    /// What is told of it.
    pub flags: MsgFlags,
    /// What came with it.
    pub control: Vec<Control>,
}

/// An option of a socket, with its value. Getting one asks by the value's variant and ignores what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field's names, as in setsockopt")]
pub enum SockOpt {
    ReuseAddr(bool),
    ReusePort(bool),
    KeepAlive(bool),
    Broadcast(bool),
    OobInline(bool),
    /// Only to hosts on the socket's own links: what would go by a gateway is `ENETUNREACH`. A connection of TCP is asked when it is made.
    DontRoute(bool),
    Linger(Option<Duration>),
    SendBuffer(usize),
    ReceiveBuffer(usize),
    /// Bytes of a stream that a receiver waits for, unless no more will come, and that make it readable.
    ReceiveLowat(usize),
    /// The pending error; getting it clears it.
    Error(Option<Errno>),
    Kind(Kind),
    AcceptConn(bool),
    /// User and group of who was at the other end when a local connection was made (`getpeereid`).
    PeerCred(u32, u32),
    /// Receivers on a local socket are told who sent each message: [`Control::Cred`] (`SO_PASSCRED`).
    PassCred(bool),
    /// Receivers of datagrams are told when each came: [`Control::Timestamp`].
    Timestamp(bool),
    BindToDevice(Option<alloc::string::String>),
    // IP level.
    Ttl(u8),
    Tos(u8),
    PacketInfo(bool),
    ReceiveTtl(bool),
    ReceiveTos(bool),
    HeaderIncluded(bool),
    MtuDiscover(bool),
    /// The largest packet on the way to the peer, as far as routes and links tell.
    Mtu(u32),
    MulticastTtl(u8),
    MulticastLoop(bool),
    /// An interface's number; 0 for that of the route.
    MulticastInterface(u32),
    AddMembership(core::net::IpAddr, u32),
    DropMembership(core::net::IpAddr, u32),
    /// Of a group, a source, on an interface (RFC 3678, `MCAST_JOIN_SOURCE_GROUP` and so on).
    JoinSource(core::net::IpAddr, core::net::IpAddr, u32),
    LeaveSource(core::net::IpAddr, core::net::IpAddr, u32),
    BlockSource(core::net::IpAddr, core::net::IpAddr, u32),
    UnblockSource(core::net::IpAddr, core::net::IpAddr, u32),
    /// All at once (`MCAST_MSFILTER`); a filter that wants nothing leaves the group.
    SourceFilter(core::net::IpAddr, u32, crate::membership::Filter),
    V6Only(bool),
    // UDP.
    /// What is longer is sent as datagrams with so many bytes each (`UDP_SEGMENT`, udp(7)); 0 for none of that.
    UdpSegment(u16),
    /// Datagrams that came as one are received as one, and [`Control::Segment`] tells how long they were (`UDP_GRO`).
    UdpGro(bool),
    // TCP.
    NoDelay(bool),
    Cork(bool),
    MaxSegment(u16),
    KeepIdle(Duration),
    KeepInterval(Duration),
    KeepCount(u32),
    UserTimeout(Duration),
    /// The peer is told the user timeout, and what it tells of its own is heeded (RFC 5482).
    TellUserTimeout(bool),
    /// By name: `cubic`, `newreno`, `bbr`.
    Congestion(alloc::string::String),
    /// Of a listener: connections at most that begin with data, and have not shown yet that somebody is there. 0 takes none.
    FastOpen(u32),
}

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
/// `EINPROGRESS`), and [`Socket`] waits for readiness.
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
        let sent = shared::message(data, to, flags, |message| self.send(message))?;
        data.advance(sent);
        Ok(sent)
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

    /// Bytes that can be read (`FIONREAD`).
    fn readable(&self) -> usize;

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

    /// The last descriptor is closed. `linger`: how long what is not sent may take; zero aborts.
    ///
    /// # Errors
    /// What the protocol says; the socket is gone all the same.
    fn close(&self) -> Result<()>;
}

/// Who wants to hear of a socket without a thread that waits for it: an executor of asynchronous tasks.
pub trait Watcher: Send + Sync {
    /// Readiness may have changed. Called by any thread, with no lock of a stack held; should be quick.
    fn changed(&self);
}

/// An event that tells a [`Watcher`], too: what a family whose sockets have events keeps for a socket that is watched.
pub struct Watched {
    event: Arc<dyn Event>,
    watcher: Arc<dyn Watcher>,
}

impl Watched {
    /// Around the event that the socket had: who waits for it goes on.
    #[must_use]
    pub fn around(event: Arc<dyn Event>, watcher: Arc<dyn Watcher>) -> Arc<dyn Event> {
        Arc::new(Self { event, watcher })
    }
}

impl Event for Watched {
    fn ticket(&self) -> u64 {
        self.event.ticket()
    }

    fn wait(&self, ticket: u64, deadline: Option<Instant>) -> bool {
        self.event.wait(ticket, deadline)
    }

    fn wait_fetching(
        &self,
        ticket: u64,
        deadline: Option<Instant>,
        fetch: &mut dyn FnMut(Fetch),
    ) -> bool {
        self.event.wait_fetching(ticket, deadline, fetch)
    }

    fn notify(&self) {
        self.event.notify();
        self.watcher.changed();
    }
}

/// A socket as a file.
pub struct Socket {
    endpoint: Box<dyn Endpoint>,
    domain: Domain,
    host: Arc<dyn Host>,
    pollers: Arc<Pollers>,
    /// Nanoseconds; `u64::MAX` for ever.
    receive_timeout: AtomicU64,
    send_timeout: AtomicU64,
    receive_lowat: AtomicUsize,
    /// An error that ended a call which had done something, for the next one; 0 for none.
    kept: AtomicI32,
}

impl Socket {
    /// Around a protocol's endpoint.
    #[must_use]
    pub fn new(
        domain: Domain,
        endpoint: Box<dyn Endpoint>,
        host: &Arc<dyn Host>,
        pollers: &Arc<Pollers>,
    ) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            domain,
            host: host.clone(),
            pollers: pollers.clone(),
            receive_timeout: AtomicU64::new(u64::MAX),
            send_timeout: AtomicU64::new(u64::MAX),
            receive_lowat: AtomicUsize::new(1),
            kept: AtomicI32::new(0),
        })
    }

    /// Sets an option.
    ///
    /// # Errors
    /// As [`Endpoint::set_option`].
    pub fn set_option(&self, option: &SockOpt) -> Result<()> {
        self.endpoint.set_option(option)?;
        if let SockOpt::ReceiveLowat(_) = option
            && let SockOpt::ReceiveLowat(taken) = self.endpoint.option(option)?
        {
            self.receive_lowat.store(taken, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The protocol's side.
    #[must_use]
    pub fn endpoint(&self) -> &dyn Endpoint {
        &*self.endpoint
    }

    /// Sets how long receiving (or accepting) waits; `None` for ever.
    pub fn set_receive_timeout(&self, timeout: Option<Duration>) {
        self.receive_timeout
            .store(nanos(timeout), Ordering::Relaxed);
    }

    /// Sets how long sending (or connecting) waits; `None` for ever.
    pub fn set_send_timeout(&self, timeout: Option<Duration>) {
        self.send_timeout.store(nanos(timeout), Ordering::Relaxed);
    }

    fn deadline(&self, timeout: &AtomicU64) -> Option<Instant> {
        match timeout.load(Ordering::Relaxed) {
            u64::MAX => None,
            nanos => Some(self.host.monotonic().after(Duration::from_nanos(nanos))),
        }
    }

    /// Tells of an error that was kept, once.
    fn tell_kept(&self) -> Result<()> {
        // Nearly always there is none: this writes nothing then.
        if self.kept.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.kept.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            number => Err(Errno::from_number(number)),
        }
    }

    /// The value of an option.
    ///
    /// # Errors
    /// As [`Endpoint::option`].
    pub fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        if let SockOpt::Error(_) = which
            && let Err(error) = self.tell_kept()
        {
            return Ok(SockOpt::Error(Some(error)));
        }
        self.endpoint.option(which)
    }

    /// Tries until it is not `EAGAIN`, and waits in between.
    fn patiently<R>(
        &self,
        interest: Ready,
        nonblock: bool,
        attempt: impl FnMut() -> Result<R>,
    ) -> Result<R> {
        self.patiently_until(interest, nonblock, None, attempt)
    }

    /// The same, and no longer than until `over`.
    fn patiently_until<R>(
        &self,
        interest: Ready,
        nonblock: bool,
        over: Option<Instant>,
        mut attempt: impl FnMut() -> Result<R>,
    ) -> Result<R> {
        // Most calls find what they need: these touch no event.
        match attempt() {
            Err(Errno::EAGAIN) if !nonblock => {}
            done => return done,
        }
        let timeout = if interest.contains(Ready::IN) {
            &self.receive_timeout
        } else {
            &self.send_timeout
        };
        let deadline = earlier(self.deadline(timeout), over);
        loop {
            let ticket = self.endpoint.ticket();
            match attempt() {
                Err(Errno::EAGAIN) => {}
                done => return done,
            }
            if !self.endpoint.wait(ticket, interest, deadline) {
                return Err(Errno::EAGAIN);
            }
        }
    }

    /// Connects; waits for it unless `nonblock`.
    ///
    /// # Errors
    /// As [`Endpoint::connect`]; `EINPROGRESS` also when the time to send is over.
    pub fn connect(&self, address: &Address, cred: &Cred, nonblock: bool) -> Result<()> {
        // A local socket has no connection under way: it waits until there is room among those that wait.
        let attempt = || self.endpoint.connect(address, cred);
        match self.patiently(Ready::OUT, nonblock, attempt) {
            Err(Errno::EINPROGRESS) if !nonblock => {}
            done => return done,
        }
        // Over a cable in the process the answer is there: this touches no event.
        if let Some(done) = self.connected() {
            return done;
        }
        let deadline = self.deadline(&self.send_timeout);
        loop {
            let ticket = self.endpoint.ticket();
            if let Some(done) = self.connected() {
                return done;
            }
            if !self.endpoint.wait(ticket, Ready::OUT, deadline) {
                return Err(Errno::EINPROGRESS);
            }
        }
    }

    /// What has become of a connection under way, if anything has.
    fn connected(&self) -> Option<Result<()>> {
        let ready = self.endpoint.poll();
        if !ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
            return None;
        }
        Some(match self.endpoint.option(&SockOpt::Error(None)) {
            Ok(SockOpt::Error(Some(error))) | Err(error) => Err(error),
            Ok(_) => Ok(()),
        })
    }

    /// Accepts a connection.
    ///
    /// # Errors
    /// As [`Endpoint::accept`].
    pub fn accept(&self, nonblock: bool) -> Result<(Arc<Self>, Address)> {
        let attempt = || self.endpoint.accept();
        let (endpoint, address) = self.patiently(Ready::IN, nonblock, attempt)?;
        let socket = Self::new(self.domain, endpoint, &self.host, &self.pollers);
        Ok((socket, address))
    }

    /// Sends all of a message, waiting for room unless `nonblock`; then what there is room for.
    ///
    /// # Errors
    /// As [`Endpoint::send`]. After some bytes of a stream were sent, their number is returned instead.
    pub fn send(&self, message: &Outgoing<'_>, nonblock: bool) -> Result<usize> {
        self.tell_kept()?;
        self.send_all(message, nonblock)
    }

    fn send_all(&self, message: &Outgoing<'_>, nonblock: bool) -> Result<usize> {
        let nonblock = nonblock || message.flags.contains(MsgFlags::DONTWAIT);
        let attempt = || match self.endpoint.send(message) {
            // It connects first.
            Err(Errno::EINPROGRESS) if !nonblock => Err(Errno::EAGAIN),
            other => other,
        };
        let mut done = self.patiently(Ready::OUT, nonblock, attempt)?;
        let len = message.len();
        while done < len && !nonblock && self.endpoint.kind() == Kind::Stream {
            // Who sends stays the same; what else there was has gone with the first bytes.
            let all = message.control.iter();
            let cred: Vec<Control> = all
                .filter(|control| matches!(control, Control::Cred { .. }))
                .cloned()
                .collect();
            let mut rest = Vec::new();
            let mut skip = done;
            for buf in message.bufs {
                rest.push(buf.get(skip..).unwrap_or_default());
                skip = skip.saturating_sub(buf.len());
            }
            let attempt = || {
                self.endpoint.send(&Outgoing {
                    bufs: &rest,
                    control: &cred,
                    ..*message
                })
            };
            match self.patiently(Ready::OUT, false, attempt) {
                Ok(count) => done = done.saturating_add(count),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Receives, waiting for something unless `nonblock`; with `WAITALL` until the buffers are full or the stream ends, with
    /// [`SockOpt::ReceiveLowat`] until there are as many bytes.
    ///
    /// # Errors
    /// As [`Endpoint::receive`].
    pub fn receive(
        &self,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        nonblock: bool,
    ) -> Result<Received> {
        self.tell_kept()?;
        self.receive_until(bufs, flags, nonblock, None)
    }

    /// The same; nothing is waited for after `over`.
    fn receive_until(
        &self,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        nonblock: bool,
        over: Option<Instant>,
    ) -> Result<Received> {
        let nonblock = nonblock || flags.contains(MsgFlags::DONTWAIT);
        let flags = flags.difference(MsgFlags::GOES_ON);
        let mut received = self.patiently_until(Ready::IN, nonblock, over, || {
            self.endpoint.receive(bufs, flags)
        })?;
        let least = if flags.contains(MsgFlags::WAITALL) {
            usize::MAX
        } else {
            self.receive_lowat.load(Ordering::Relaxed)
        };
        let waits = !nonblock && !flags.contains(MsgFlags::PEEK);
        if least > 1 && waits && self.endpoint.kind() == Kind::Stream {
            let len: usize = bufs.iter().map(|buf| buf.len()).sum();
            while received.len < len.min(least) {
                let mut skip = received.len;
                let mut rest: Vec<&mut [u8]> = Vec::new();
                for buf in bufs.iter_mut() {
                    let (from, count) = (skip.min(buf.len()), buf.len());
                    rest.push(buf.get_mut(from..).unwrap_or_default());
                    skip = skip.saturating_sub(count);
                }
                let flags = flags | MsgFlags::GOES_ON;
                let more = self.patiently_until(Ready::IN, false, over, || {
                    self.endpoint.receive(&mut rest, flags)
                });
                match more {
                    Ok(more) if more.len > 0 => {
                        received.len = received.len.saturating_add(more.len);
                    }
                    _ => break,
                }
            }
        }
        Ok(received)
    }

    /// The family.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        self.domain
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

fn nanos(timeout: Option<Duration>) -> u64 {
    timeout.map_or(u64::MAX, |time| {
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    })
}

impl File for Socket {
    fn read(&self, _at: Position, bufs: &mut [&mut [u8]], nonblock: bool) -> Result<usize> {
        let received = self.receive(bufs, MsgFlags::empty(), nonblock)?;
        Ok(received.len)
    }

    fn write(&self, _at: Position, bufs: &[&[u8]], nonblock: bool) -> Result<(usize, u64)> {
        let message = Outgoing {
            to: None,
            bufs,
            control: &[],
            flags: MsgFlags::empty(),
        };
        self.send(&message, nonblock).map(|done| (done, 0))
    }

    fn write_by(
        &self,
        writer: &Proc,
        at: Position,
        bufs: &[&[u8]],
        nonblock: bool,
    ) -> Result<(usize, u64)> {
        if self.domain != Domain::Local || !self.endpoint.passes_cred(None) {
            return self.write(at, bufs, nonblock);
        }
        let message = Outgoing {
            to: None,
            bufs,
            control: &[Control::sender(writer)],
            flags: MsgFlags::empty(),
        };
        self.send(&message, nonblock).map(|done| (done, 0))
    }

    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: 0,
            ino: 0,
            generation: 0,
            file_type: FileType::Socket,
            mode: 0o777,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: DeviceNumber::default(),
            size: 0,
            blksize: 4_096,
            blocks: 0,
            atime: Timespec::default(),
            mtime: Timespec::default(),
            ctime: Timespec::default(),
            birthtime: None,
            flags: 0,
        })
    }

    fn poll(&self) -> Ready {
        let mut ready = self.endpoint.poll();
        if self.kept.load(Ordering::Relaxed) != 0 {
            ready |= Ready::ERR | Ready::IN;
        }
        ready
    }

    fn closing(&self, _pid: u32) {
        self.endpoint.released();
    }

    fn close(&self) -> Result<()> {
        self.endpoint.close()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
