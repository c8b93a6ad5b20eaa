//! What names the other end of a connection.

use crate::Net;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

/// As [`std::net::ToSocketAddrs`], but that names are looked up by the stack's own resolver.
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they are to be tried.
    ///
    /// # Errors
    /// `InvalidInput`; of the resolver, as [`Net::lookup`].
    fn to_socket_addrs(&self, net: &Net) -> io::Result<Vec<SocketAddr>>;

    /// The address if it is one: then there is nothing to look up, and no list.
    fn to_one(&self) -> Option<SocketAddr> {
        None
    }
}

macro_rules! addresses {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {
            fn to_socket_addrs(&self, _net: &Net) -> io::Result<Vec<SocketAddr>> {
                Ok(vec![SocketAddr::from(*self)])
            }

            fn to_one(&self) -> Option<SocketAddr> {
                Some(SocketAddr::from(*self))
            }
        }
    )*};
}

addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToSocketAddrs for (&str, u16) {
    fn to_socket_addrs(&self, net: &Net) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = *self;
        let all = net.lookup(host)?;
        Ok(all
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }
}

impl ToSocketAddrs for (String, u16) {
    fn to_socket_addrs(&self, net: &Net) -> io::Result<Vec<SocketAddr>> {
        (&*self.0, self.1).to_socket_addrs(net)
    }
}

impl ToSocketAddrs for str {
    fn to_socket_addrs(&self, net: &Net) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.parse::<SocketAddr>() {
            return Ok(vec![address]);
        }
        let bad = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let (host, port) = self
            .rsplit_once(':')
            .ok_or_else(|| bad("no port: HOST:PORT is needed"))?;
        let port = port
            .parse()
            .map_err(|_| bad("the port is no number up to 65535"))?;
        (host, port).to_socket_addrs(net)
    }
}

impl ToSocketAddrs for String {
    fn to_socket_addrs(&self, net: &Net) -> io::Result<Vec<SocketAddr>> {
        (**self).to_socket_addrs(net)
    }
}

impl ToSocketAddrs for [SocketAddr] {
    fn to_socket_addrs(&self, _net: &Net) -> io::Result<Vec<SocketAddr>> {
        Ok(self.to_vec())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn to_socket_addrs(&self, net: &Net) -> io::Result<Vec<SocketAddr>> {
        (**self).to_socket_addrs(net)
    }

    fn to_one(&self) -> Option<SocketAddr> {
        (**self).to_one()
    }
}

/// Tries one address after the other; the last error if none will do.
pub(crate) fn each<T>(
    net: &Net,
    to: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    if let Some(address) = to.to_one() {
        return attempt(address);
    }
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to try");
    for address in to.to_socket_addrs(net)? {
        match attempt(address) {
            Err(error) => last = error,
            done => return done,
        }
    }
    Err(last)
}
