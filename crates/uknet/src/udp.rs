//! UDP.

use crate::{
    Net, ToSocketAddrs,
    macros::{common, options, with_peer},
    resolve::each,
    socket::{Socket, narrow},
};
use rumpnet::{
    Address,
    calls::MESSAGES,
    socket::{Incoming, Kind, MsgFlags, Outgoing, Received, SockOpt},
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Room for one of many datagrams, and what was received into it.
#[derive(Debug)]
pub struct Slot<'a> {
    buf: &'a mut [u8],
    len: usize,
    from: Option<SocketAddr>,
}

impl<'a> Slot<'a> {
    /// Room in a buffer.
    #[must_use]
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self {
            buf,
            len: 0,
            from: None,
        }
    }

    /// The bytes that were received.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// Who sent them; `None` before something was received.
    #[must_use]
    pub const fn from(&self) -> Option<SocketAddr> {
        self.from
    }
}

/// A socket of datagrams, as [`std::net::UdpSocket`].
pub struct UdpSocket {
    pub(crate) socket: Socket,
}

impl UdpSocket {
    common!();
    with_peer!();

    /// A socket at the first of the addresses that is free.
    ///
    /// # Errors
    /// Of the last address: `AddrInUse`, `AddrNotAvailable`; of the resolver.
    pub fn bind(net: &Net, at: impl ToSocketAddrs) -> io::Result<Self> {
        each(net, at, |address| {
            let socket = Socket::new(net, address, Kind::Datagram)?;
            socket.bind(address)?;
            Ok(Self { socket })
        })
    }

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// `WouldBlock`; `ConnectionRefused` and its like about what was sent before.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.receive_from(buf, MsgFlags::empty())
    }

    /// The same, and leaves it there.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.receive_from(buf, MsgFlags::PEEK)
    }

    /// Sends a datagram to the first of the addresses.
    ///
    /// # Errors
    /// `NetworkUnreachable`, `EMSGSIZE`, ...; of the resolver.
    pub fn send_to(&self, data: &[u8], to: impl ToSocketAddrs) -> io::Result<usize> {
        let all = to.to_socket_addrs(self.net())?;
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "no address to send to");
        let first = all.first().ok_or_else(none)?;
        self.socket.send(data, Some(*first))
    }

    /// Makes the first of the addresses that will do the peer: it alone is heard.
    ///
    /// # Errors
    /// `NetworkUnreachable`; of the resolver.
    pub fn connect(&self, to: impl ToSocketAddrs) -> io::Result<()> {
        each(self.net(), to, |address| self.socket.connect(address))
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    /// `EDESTADDRREQ` without one; as [`send_to`](Self::send_to).
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.send(data, None)
    }

    /// Receives a datagram from the peer.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(buf, MsgFlags::empty())
    }

    /// Sends many datagrams, each to an address or, without one, to the peer, as by a [`send_to`](Self::send_to) each; returns how many were sent. One
    /// that cannot be sent ends it: of less than all the next one is worth a call of its own, which says why. Datagrams cost a fraction of what they
    /// cost with a call each (`sendmmsg`). Of more than 1,024 the first 1,024 are sent. In std this is not there.
    ///
    /// ```
    /// use uknet::{Interface, Net, Slot, UdpSocket};
    ///
    /// # let (one, two) = uknet::cable();
    /// # let here = Net::builder().interface(Interface::device("wire0", one).address("10.0.0.1/24".parse()?)).boot()?;
    /// # let there = Net::builder().interface(Interface::device("wire0", two).address("10.0.0.2/24".parse()?)).boot()?;
    /// let sender = UdpSocket::bind(&here, "0.0.0.0:0")?;
    /// let receiver = UdpSocket::bind(&there, "10.0.0.2:7")?;
    /// let to = Some(receiver.local_addr()?);
    /// assert_eq!(sender.send_many(&[(b"one", to), (b"two", to), (b"three", to)])?, 3);
    ///
    /// let mut space = [[0; 1_500]; 8];
    /// let mut slots = space.each_mut().map(|buf| Slot::new(buf));
    /// assert_eq!(receiver.recv_many(&mut slots)?, 3);
    /// assert_eq!(slots[2].data(), b"three");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to), of the first one.
    pub fn send_many(&self, datagrams: &[(&[u8], Option<SocketAddr>)]) -> io::Result<usize> {
        let most = datagrams.len().min(MESSAGES);
        let datagrams = datagrams.get(..most).unwrap_or_default();
        let to: Vec<Option<Address>> = datagrams.iter().map(|(_, to)| to.map(Into::into)).collect();
        let bufs: Vec<[&[u8]; 1]> = datagrams.iter().map(|(data, _)| [*data]).collect();
        let message = |(to, bufs)| Outgoing {
            to: Option::as_ref(to),
            bufs,
            control: &[],
            flags: MsgFlags::empty(),
        };
        let messages: Vec<Outgoing<'_>> = to
            .iter()
            .zip(bufs.iter().map(|bufs| &bufs[..]))
            .map(message)
            .collect();
        let sent = self
            .socket
            .call(|socket, nonblock| socket.send_many(&messages, nonblock))?;
        Ok(sent.messages)
    }

    /// Receives datagrams into slots, in order; returns how many. It waits for the first one alone, and takes the others that are there. What
    /// does not fit into the buffer of one is lost. In std this is not there.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from); one that comes after a datagram is that of the next call.
    pub fn recv_many(&self, slots: &mut [Slot<'_>]) -> io::Result<usize> {
        let most = slots.len().min(MESSAGES);
        let slots = slots.get_mut(..most).unwrap_or_default();
        let mut bufs: Vec<[&mut [u8]; 1]> = slots.iter_mut().map(|slot| [&mut *slot.buf]).collect();
        let mut messages: Vec<Incoming<'_, '_>> =
            bufs.iter_mut().map(|bufs| Incoming::new(bufs)).collect();
        let flags = MsgFlags::WAITFORONE;
        let count = self
            .socket
            .call(|socket, nonblock| socket.receive_many(&mut messages, flags, None, nonblock))?;
        let got: Vec<Received> = messages.into_iter().map(|one| one.received).collect();
        for (slot, received) in slots.iter_mut().zip(got).take(count) {
            slot.len = received.len;
            slot.from = received.from.and_then(|from| from.inet().ok());
        }
        Ok(count)
    }

    options! {
        /// Whether it may send to all hosts of a network.
        set_broadcast,
        /// Whether it may send to all hosts of a network.
        broadcast: bool = Broadcast;
        /// Whether groups that this host is in hear what it sends to them.
        set_multicast_loop_v4,
        /// Whether groups that this host is in hear what it sends to them.
        multicast_loop_v4: bool = MulticastLoop;
    }

    /// Sets the time to live of what is sent to groups.
    ///
    /// # Errors
    /// `InvalidInput` above 255.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.socket.set(&SockOpt::MulticastTtl(narrow(ttl)?))
    }

    /// Joins a group on an interface: that with the address, that of the route to the group if it is 0.0.0.0.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` (no interface has it), as the stack says.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let index = self.interface(interface)?;
        self.socket
            .set(&SockOpt::AddMembership((*group).into(), index))
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` (no interface has it, or it was not joined).
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let index = self.interface(interface)?;
        self.socket
            .set(&SockOpt::DropMembership((*group).into(), index))
    }

    /// Joins a group of IPv6 on an interface by number.
    ///
    /// # Errors
    /// As the stack says.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket
            .set(&SockOpt::AddMembership((*group).into(), interface))
    }

    /// Leaves a group of IPv6.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket
            .set(&SockOpt::DropMembership((*group).into(), interface))
    }

    /// The number of the interface with an address; 0 for any.
    fn interface(&self, address: &Ipv4Addr) -> io::Result<u32> {
        if address.is_unspecified() {
            return Ok(0);
        }
        #[cfg(feature = "inet")]
        {
            use rumpnet::KernelNet as _;
            use rumpnet_inet::KernelInet as _;
            let kernel = self.net().kernel();
            if let (Ok(net), Ok(inet)) = (kernel.net(), kernel.inet()) {
                for interface in net.interfaces() {
                    let all = inet.addresses(interface.name()).unwrap_or_default();
                    if all
                        .iter()
                        .any(|cidr| cidr.address() == IpAddr::V4(*address))
                    {
                        return Ok(interface.index());
                    }
                }
            }
        }
        Err(crate::net::error(rumpuser::Errno::EADDRNOTAVAIL))
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.debug("UdpSocket", f)
    }
}
