//! UDP.

use crate::{
    Net, ToSocketAddrs,
    macros::{common, options, with_peer},
    resolve::each,
    socket::{Socket, narrow},
};
use rumpnet::socket::{Kind, MsgFlags, SockOpt};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

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
        self.socket.send(data, MsgFlags::empty(), Some(*first))
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
        self.socket.send(data, MsgFlags::empty(), None)
    }

    /// Receives a datagram from the peer.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(buf, MsgFlags::empty())
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
