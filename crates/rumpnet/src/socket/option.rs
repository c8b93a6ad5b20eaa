//! Options.

use super::Kind;
use core::time::Duration;
use rumpuser::Errno;

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
    /// How long closing waits until the peer has acknowledged all; zero throws away what it has not, and resets the connection.
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
    /// Receivers on a local socket are told who sent each message: [`Control::Cred`](super::Control::Cred) (`SO_PASSCRED`).
    PassCred(bool),
    /// Receivers of datagrams are told when each came: [`Control::Timestamp`](super::Control::Timestamp).
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
    /// The address of this host by which it speaks to the peer is to be used by what uses it already alone (RFC 4862 section 5.5.4). Only to be read.
    Deprecated(bool),
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
    /// Datagrams that came as one are received as one, and [`Control::Segment`](super::Control::Segment) tells how long they were (`UDP_GRO`).
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
