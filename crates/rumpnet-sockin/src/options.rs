//! Options of a socket as the host has them.

use crate::errno;
use rumpnet::socket::{Kind, SockOpt};
use rumpuser::{Errno, Result};
use rustix::{
    fd::BorrowedFd,
    net::{
        AddressFamily,
        sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery},
    },
};
use std::net::{IpAddr, Ipv4Addr};

fn six(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(sockopt::socket_domain(fd).map_err(errno)? == AddressFamily::INET6)
}

/// Sets one.
pub(crate) fn set(fd: BorrowedFd<'_>, option: &SockOpt) -> Result<()> {
    let six = six(fd)?;
    let millis = |time: &core::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    match option {
        SockOpt::ReuseAddr(on) => sockopt::set_socket_reuseaddr(fd, *on),
        SockOpt::ReusePort(on) => sockopt::set_socket_reuseport(fd, *on),
        SockOpt::KeepAlive(on) => sockopt::set_socket_keepalive(fd, *on),
        SockOpt::Broadcast(on) => sockopt::set_socket_broadcast(fd, *on),
        SockOpt::OobInline(on) => sockopt::set_socket_oobinline(fd, *on),
        SockOpt::Linger(time) => sockopt::set_socket_linger(fd, *time),
        SockOpt::SendBuffer(size) => sockopt::set_socket_send_buffer_size(fd, *size),
        SockOpt::ReceiveBuffer(size) => sockopt::set_socket_recv_buffer_size(fd, *size),
        SockOpt::Ttl(ttl) if six => sockopt::set_ipv6_unicast_hops(fd, Some(*ttl)),
        SockOpt::Ttl(ttl) => sockopt::set_ip_ttl(fd, (*ttl).into()),
        SockOpt::Tos(tos) if six => sockopt::set_ipv6_tclass(fd, (*tos).into()),
        SockOpt::Tos(tos) => sockopt::set_ip_tos(fd, *tos),
        SockOpt::MtuDiscover(on) if six => sockopt::set_ipv6_mtu_discover(
            fd,
            if *on {
                Ipv6PathMtuDiscovery::DO
            } else {
                Ipv6PathMtuDiscovery::DONT
            },
        ),
        SockOpt::MtuDiscover(on) => sockopt::set_ip_mtu_discover(
            fd,
            if *on {
                Ipv4PathMtuDiscovery::DO
            } else {
                Ipv4PathMtuDiscovery::DONT
            },
        ),
        SockOpt::MulticastTtl(ttl) if six => sockopt::set_ipv6_multicast_hops(fd, (*ttl).into()),
        SockOpt::MulticastTtl(ttl) => sockopt::set_ip_multicast_ttl(fd, (*ttl).into()),
        SockOpt::MulticastLoop(on) if six => sockopt::set_ipv6_multicast_loop(fd, *on),
        SockOpt::MulticastLoop(on) => sockopt::set_ip_multicast_loop(fd, *on),
        SockOpt::AddMembership(IpAddr::V4(group), 0) => {
            sockopt::set_ip_add_membership(fd, group, &Ipv4Addr::UNSPECIFIED)
        }
        SockOpt::DropMembership(IpAddr::V4(group), 0) => {
            sockopt::set_ip_drop_membership(fd, group, &Ipv4Addr::UNSPECIFIED)
        }
        SockOpt::AddMembership(IpAddr::V6(group), interface) => {
            sockopt::set_ipv6_add_membership(fd, group, *interface)
        }
        SockOpt::DropMembership(IpAddr::V6(group), interface) => {
            sockopt::set_ipv6_drop_membership(fd, group, *interface)
        }
        SockOpt::V6Only(on) => sockopt::set_ipv6_v6only(fd, *on),
        SockOpt::NoDelay(on) => sockopt::set_tcp_nodelay(fd, *on),
        SockOpt::Cork(on) => sockopt::set_tcp_cork(fd, *on),
        SockOpt::KeepIdle(time) => sockopt::set_tcp_keepidle(fd, *time),
        SockOpt::KeepInterval(time) => sockopt::set_tcp_keepintvl(fd, *time),
        SockOpt::KeepCount(count) => sockopt::set_tcp_keepcnt(fd, *count),
        SockOpt::UserTimeout(time) => sockopt::set_tcp_user_timeout(fd, millis(time)),
        SockOpt::Congestion(name) => sockopt::set_tcp_congestion(fd, name),
        _ => return Err(Errno::ENOPROTOOPT),
    }
    .map_err(errno)
}

/// The value of one.
pub(crate) fn get(fd: BorrowedFd<'_>, kind: Kind, which: &SockOpt) -> Result<SockOpt> {
    let six = six(fd)?;
    let value = match which {
        SockOpt::Kind(_) => Ok(SockOpt::Kind(kind)),
        SockOpt::Error(_) => {
            sockopt::socket_error(fd).map(|error| SockOpt::Error(error.err().map(errno)))
        }
        SockOpt::AcceptConn(_) => sockopt::socket_acceptconn(fd).map(SockOpt::AcceptConn),
        SockOpt::ReuseAddr(_) => sockopt::socket_reuseaddr(fd).map(SockOpt::ReuseAddr),
        SockOpt::ReusePort(_) => sockopt::socket_reuseport(fd).map(SockOpt::ReusePort),
        SockOpt::KeepAlive(_) => sockopt::socket_keepalive(fd).map(SockOpt::KeepAlive),
        SockOpt::Broadcast(_) => sockopt::socket_broadcast(fd).map(SockOpt::Broadcast),
        SockOpt::OobInline(_) => sockopt::socket_oobinline(fd).map(SockOpt::OobInline),
        SockOpt::Linger(_) => sockopt::socket_linger(fd).map(SockOpt::Linger),
        SockOpt::SendBuffer(_) => sockopt::socket_send_buffer_size(fd).map(SockOpt::SendBuffer),
        SockOpt::ReceiveBuffer(_) => {
            sockopt::socket_recv_buffer_size(fd).map(SockOpt::ReceiveBuffer)
        }
        SockOpt::Ttl(_) if six => sockopt::ipv6_unicast_hops(fd).map(SockOpt::Ttl),
        SockOpt::Ttl(_) => {
            sockopt::ip_ttl(fd).map(|ttl| SockOpt::Ttl(u8::try_from(ttl).unwrap_or(u8::MAX)))
        }
        SockOpt::Tos(_) if !six => sockopt::ip_tos(fd).map(SockOpt::Tos),
        SockOpt::V6Only(_) => sockopt::ipv6_v6only(fd).map(SockOpt::V6Only),
        SockOpt::Mtu(_) if six => sockopt::ipv6_mtu(fd).map(SockOpt::Mtu),
        SockOpt::Mtu(_) => sockopt::ip_mtu(fd).map(SockOpt::Mtu),
        SockOpt::NoDelay(_) => sockopt::tcp_nodelay(fd).map(SockOpt::NoDelay),
        SockOpt::Cork(_) => sockopt::tcp_cork(fd).map(SockOpt::Cork),
        SockOpt::KeepIdle(_) => sockopt::tcp_keepidle(fd).map(SockOpt::KeepIdle),
        SockOpt::KeepInterval(_) => sockopt::tcp_keepintvl(fd).map(SockOpt::KeepInterval),
        SockOpt::KeepCount(_) => sockopt::tcp_keepcnt(fd).map(SockOpt::KeepCount),
        SockOpt::Congestion(_) => sockopt::tcp_congestion(fd).map(SockOpt::Congestion),
        _ => return Err(Errno::ENOPROTOOPT),
    };
    value.map_err(errno)
}
