//! Ports: who has which.

use crate::{
    ip::scoped,
    stack::Inet,
    tcp::cookie::{Secret, keyed},
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use rumpkern::Cred;
use rumpnet::{Address, socket::Domain};
use rumpuser::{Errno, Host, Result, Rng};

/// Ports below this are root's.
const RESERVED: u16 = 1_024;
/// First of the ports that sockets get that ask for none (RFC 6335 section 6).
const EPHEMERAL: u16 = 49_152;
/// How many these are.
const COUNT: u16 = 16_384;

/// Whether these credentials may have a port.
///
/// # Errors
/// `EACCES`.
pub(crate) fn allowed(port: u16, cred: &Cred) -> Result<()> {
    if port != 0 && port < RESERVED && !cred.is_root() {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// How many ports are not chosen again at once. A connection with the ports of one that has just ended needs a later timestamp or initial
/// sequence number, whose clocks go in milliseconds and at 15 megabytes a second (RFC 6191 section 2).
const RESTING: usize = 128;

/// Chooses ports that nobody can guess (RFC 6056 section 3.3.2: at random, then the next that is free).
pub(crate) struct Chooser {
    rng: Rng,
    /// Those chosen last, in a ring, and where it goes on.
    recent: [u16; RESTING],
    oldest: usize,
}

impl Chooser {
    pub(crate) fn new(host: &dyn Host) -> Self {
        Self {
            rng: Rng::new(Inet::random_u64(host)),
            recent: [0; RESTING],
            oldest: 0,
        }
    }

    /// A port that is `free`.
    ///
    /// # Errors
    /// `EADDRINUSE`: none is.
    pub(crate) fn choose(&mut self, mut free: impl FnMut(u16) -> bool) -> Result<u16> {
        let [a, b, ..] = self.rng.next_u64().to_be_bytes();
        let first = u16::from_ne_bytes([a, b]) % COUNT;
        let ports = || (0..COUNT).map(|n| EPHEMERAL.wrapping_add(first.wrapping_add(n) % COUNT));
        let rested = |port: &u16| !self.recent.contains(port);
        let port = ports()
            .find(|port| free(*port) && rested(port))
            .or_else(|| ports().find(|port| free(*port)))
            .ok_or(Errno::EADDRINUSE)?;
        if let Some(place) = self.recent.get_mut(self.oldest) {
            *place = port;
        }
        self.oldest = self.oldest.wrapping_add(1) % RESTING;
        Ok(port)
    }
}

/// With whom a socket shares its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reuse {
    /// `SO_REUSEADDR`: with those that do not listen; datagrams have no such difference.
    pub(crate) address: bool,
    /// `SO_REUSEPORT`: with those that say so as well, and each gets its part of what comes.
    pub(crate) port: bool,
}

/// Which of `count` sockets that share a port gets what comes from a peer: always the same one, and nobody outside can tell which, so that
/// nobody can have one get all.
pub(crate) fn share(secret: &Secret, peer: SocketAddr, count: usize) -> usize {
    let mut bytes = [0; 18];
    let (ip, port) = bytes.split_at_mut(16);
    ip.copy_from_slice(&match peer.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    });
    port.copy_from_slice(&peer.port().to_be_bytes());
    usize::try_from(keyed(secret, &bytes) >> 32)
        .ok()
        .and_then(|hash| hash.checked_rem(count))
        .unwrap_or(0)
}

/// An address that a socket is bound to; `None` is any.
pub(crate) type Bound = Option<IpAddr>;

/// Which addresses a socket takes and shows. Within the stack an address of IPv4 is one of IPv4 whatever the socket is; a socket of
/// IPv6 sees it mapped (RFC 3493 section 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// A socket of IPv4.
    V4,
    /// A socket of IPv6, with `IPV6_V6ONLY`.
    V6,
    /// A socket of IPv6 that speaks both.
    Both,
}

impl Speaks {
    pub(crate) const fn new(domain: Domain) -> Self {
        match domain {
            Domain::Inet6 => Self::Both,
            _ => Self::V4,
        }
    }

    /// Whether it receives at an address if it is bound to none.
    pub(crate) const fn with(self, ip: IpAddr) -> bool {
        match self {
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
            Self::Both => true,
        }
    }

    /// A caller's address, as the stack has it.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`; `EINVAL`: one of IPv4 for a socket of IPv6 alone.
    pub(crate) fn address(self, address: &Address) -> Result<SocketAddr> {
        match (self, address.inet()?) {
            (Self::V4, address @ SocketAddr::V4(_)) => Ok(address),
            (Self::V6 | Self::Both, SocketAddr::V6(six)) => match six.ip().to_ipv4_mapped() {
                Some(_) if self == Self::V6 => Err(Errno::EINVAL),
                Some(four) => Ok(SocketAddr::new(four.into(), six.port())),
                None => Ok(scoped(six.into(), six.scope_id())),
            },
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// An address as the caller sees it.
    #[inline]
    pub(crate) fn told(self, address: SocketAddr) -> SocketAddr {
        match (self, address.ip()) {
            (Self::Both | Self::V6, four @ IpAddr::V4(_)) => {
                SocketAddr::new(self.told_ip(four), address.port())
            }
            _ => address,
        }
    }

    /// The same of an address without a port.
    #[inline]
    pub(crate) fn told_ip(self, address: IpAddr) -> IpAddr {
        match (self, address) {
            (Self::Both | Self::V6, IpAddr::V4(four)) => four.to_ipv6_mapped().into(),
            _ => address,
        }
    }

    /// The socket's own address.
    pub(crate) fn local(self, local: Bound, port: u16) -> SocketAddr {
        let any = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 | Self::Both => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.told(SocketAddr::new(local.unwrap_or(any), port))
    }

    /// `IPV6_V6ONLY`.
    ///
    /// # Errors
    /// `EINVAL`: it is bound already. `ENOPROTOOPT`: a socket of IPv4.
    pub(crate) const fn set_only(&mut self, on: bool, bound: bool) -> Result<()> {
        if matches!(self, Self::V4) {
            return Err(Errno::ENOPROTOOPT);
        }
        if bound {
            return Err(Errno::EINVAL);
        }
        *self = if on { Self::V6 } else { Self::Both };
        Ok(())
    }

    /// The same, asked for.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub(crate) const fn only(self) -> Result<bool> {
        match self {
            Self::V4 => Err(Errno::ENOPROTOOPT),
            Self::V6 => Ok(true),
            Self::Both => Ok(false),
        }
    }
}

/// Whether two sockets with one port would receive the same packets.
pub(crate) fn conflict(one: (Bound, Speaks), two: (Bound, Speaks)) -> bool {
    match (one, two) {
        ((Some(one), _), (Some(two), _)) => one == two,
        ((Some(ip), _), (None, speaks)) | ((None, speaks), (Some(ip), _)) => speaks.with(ip),
        ((None, Speaks::V4), (None, Speaks::V6)) | ((None, Speaks::V6), (None, Speaks::V4)) => {
            false
        }
        ((None, _), (None, _)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_found_before_there_is_none() {
        let host = rumpuser_posix::Host::new();
        let mut chooser = Chooser::new(&*host);
        let port = chooser.choose(|port| port == 50_000);
        assert_eq!(port, Ok(50_000));
        assert_eq!(chooser.choose(|_| false), Err(Errno::EADDRINUSE));
        let (one, two) = (chooser.choose(|_| true), chooser.choose(|_| true));
        assert!(one.is_ok_and(|port| port >= EPHEMERAL) && two.is_ok());
        // The only one that is free is taken though it has not rested.
        assert_eq!(chooser.choose(|port| port == 50_000), Ok(50_000));
    }

    /// Peers are spread evenly, each kernel in its own way, and a peer stays where it is.
    #[test]
    fn shared_by_a_secret() {
        let (one, two) = (Secret([1; 16]), Secret([2; 16]));
        let peer = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let all = |secret: &Secret| {
            let ports = 1_000..9_000_u16;
            let all = ports.map(|n| share(secret, peer(n), 4));
            all.collect::<alloc::vec::Vec<_>>()
        };
        let (first, other) = (all(&one), all(&two));
        for socket in 0..4 {
            let count = first.iter().filter(|to| **to == socket).count();
            assert!((1_800..2_200).contains(&count), "{socket}: {count}");
        }
        let same = first.iter().zip(&other).filter(|(one, two)| one == two);
        assert!((1_800..2_200).contains(&same.count()));
        assert_eq!(first, all(&one));
    }

    #[test]
    fn no_port_comes_again_at_once() {
        let host = rumpuser_posix::Host::new();
        let mut chooser = Chooser::new(&*host);
        let ports: alloc::vec::Vec<_> = (0..5_000).map(|_| chooser.choose(|_| true)).collect();
        let again = ports.windows(RESTING).any(|some| {
            let (last, before) = some.split_last().unwrap();
            before.contains(last)
        });
        assert!(!again);
    }
}
