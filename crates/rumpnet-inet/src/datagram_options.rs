//! The options that all sockets of datagrams have, those of UDP and raw ones.

use crate::{
    datagram::{Queue, Telling},
    groups::Groups,
    ip::{DEFAULT_TTL, hops, scope},
    stack::Path,
    tcp_socket::{BUFFER_MAX, BUFFER_MIN},
};
use core::net::SocketAddr;
use rumpnet::socket::SockOpt;
use rumpuser::{Errno, Result};

#[derive(Clone, Copy)]
pub(crate) struct DatagramOptions {
    /// That of the way if `None`.
    ttl: Option<u8>,
    pub(crate) tos: u8,
    multicast_ttl: u8,
    pub(crate) multicast_loop: bool,
    /// Its number; 0 for that of the way.
    multicast_interface: u32,
    /// The only one that is used.
    pub(crate) interface: Option<u32>,
    pub(crate) telling: Telling,
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self {
            ttl: None,
            tos: 0,
            multicast_ttl: 1,
            multicast_loop: true,
            multicast_interface: 0,
            interface: None,
            telling: Telling::default(),
        }
    }
}

impl DatagramOptions {
    /// Sets an option of a socket with this queue.
    ///
    /// # Errors
    /// `ENOPROTOOPT`: it is another option; `EINVAL`: a time to live of 0.
    pub(crate) fn set(&mut self, option: &SockOpt, queue: &mut Queue) -> Result<()> {
        match option {
            SockOpt::Ttl(ttl) => self.ttl = Some(hops(*ttl)?),
            SockOpt::Tos(tos) => self.tos = *tos,
            SockOpt::MulticastTtl(ttl) => self.multicast_ttl = *ttl,
            SockOpt::MulticastLoop(on) => self.multicast_loop = *on,
            SockOpt::MulticastInterface(interface) => self.multicast_interface = *interface,
            SockOpt::PacketInfo(on) => self.telling.packet_info = *on,
            SockOpt::ReceiveTtl(on) => self.telling.ttl = *on,
            SockOpt::ReceiveTos(on) => self.telling.tos = *on,
            SockOpt::Timestamp(on) => self.telling.timestamp = *on,
            SockOpt::ReceiveBuffer(bytes) => queue.limit = (*bytes).clamp(BUFFER_MIN, BUFFER_MAX),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// The value of an option of a socket with this queue and in these groups.
    ///
    /// # Errors
    /// `ENOPROTOOPT`: it is another option; `EADDRNOTAVAIL`: it is about a group that is not joined.
    pub(crate) fn get(&self, which: &SockOpt, queue: &Queue, groups: &Groups) -> Result<SockOpt> {
        Ok(match which {
            SockOpt::AcceptConn(_) => SockOpt::AcceptConn(false),
            SockOpt::Ttl(_) => SockOpt::Ttl(self.ttl.unwrap_or(DEFAULT_TTL)),
            SockOpt::Tos(_) => SockOpt::Tos(self.tos),
            SockOpt::MulticastTtl(_) => SockOpt::MulticastTtl(self.multicast_ttl),
            SockOpt::MulticastLoop(_) => SockOpt::MulticastLoop(self.multicast_loop),
            SockOpt::MulticastInterface(_) => SockOpt::MulticastInterface(self.multicast_interface),
            SockOpt::PacketInfo(_) => SockOpt::PacketInfo(self.telling.packet_info),
            SockOpt::ReceiveTtl(_) => SockOpt::ReceiveTtl(self.telling.ttl),
            SockOpt::ReceiveTos(_) => SockOpt::ReceiveTos(self.telling.tos),
            SockOpt::Timestamp(_) => SockOpt::Timestamp(self.telling.timestamp),
            SockOpt::ReceiveBuffer(_) => SockOpt::ReceiveBuffer(queue.limit),
            SockOpt::SourceFilter(group, interface, _) => groups.filter(*group, *interface)?,
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }

    /// The interface by which what is sent to somebody has to go.
    pub(crate) fn interface_to(&self, to: &SocketAddr) -> Option<u32> {
        match self.multicast_interface {
            interface if to.ip().is_multicast() && interface != 0 => Some(interface),
            _ => self.interface.or(scope(to)),
        }
    }

    /// The time to live of what goes a way, to a group or not.
    pub(crate) fn ttl(&self, path: &Path, group: bool) -> u8 {
        if group {
            self.multicast_ttl
        } else {
            self.ttl.unwrap_or(path.hops)
        }
    }
}
