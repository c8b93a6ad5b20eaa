//! Addresses of links, networks and sockets.

use alloc::vec::Vec;
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};
use rumpuser::Errno;

/// An address of Ethernet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All hosts of the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names a group (all hosts included).
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The group of an IPv4 group (RFC 1112 section 6.4) or an IPv6 group (RFC 2464 section 7).
    #[must_use]
    pub const fn of_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(group) => {
                let [_, b, c, d] = group.octets();
                Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
            }
            IpAddr::V6(group) => {
                let [.., a, b, c, d] = group.octets();
                Self([0x33, 0x33, a, b, c, d])
            }
        }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = Errno;

    /// Six hexadecimal numbers with colons between them.
    ///
    /// # Errors
    /// `EINVAL`.
    fn from_str(text: &str) -> Result<Self, Errno> {
        let mut parts = text.split(':');
        let mut mac = [0; 6];
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() <= 2);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or(Errno::EINVAL)?;
        }
        parts.next().map_or(Ok(Self(mac)), |_| Err(Errno::EINVAL))
    }
}

/// An address with the length of its network's prefix: `192.0.2.1/24`. The bits after the prefix may be set (an interface's
/// address) or not (a network).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// An address and the length of its prefix in bits.
    ///
    /// # Errors
    /// `EINVAL` when an address has fewer bits.
    pub const fn new(address: IpAddr, prefix: u8) -> Result<Self, Errno> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(Errno::EINVAL);
        }
        Ok(Self { address, prefix })
    }

    /// One host.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    /// All of IPv4.
    pub const ANY_V4: Self = Self {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        prefix: 0,
    };
    /// All of IPv6.
    pub const ANY_V6: Self = Self {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        prefix: 0,
    };

    /// The address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network: the same without the bits after the prefix.
    #[must_use]
    pub fn network(self) -> Self {
        Self {
            address: mask(self.address, self.prefix),
            prefix: self.prefix,
        }
    }

    /// Whether an address lies in the network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && mask(address, self.prefix) == mask(self.address, self.prefix)
    }

    /// The address of all hosts in the network, which IPv4 networks of more than two addresses have (RFC 922, RFC 3021).
    #[must_use]
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        let IpAddr::V4(address) = self.address else {
            return None;
        };
        let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        (self.prefix < 31).then(|| Ipv4Addr::from_bits(address.to_bits() | hosts))
    }
}

/// The address without the bits after the prefix.
#[must_use]
pub fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(prefix).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & !hosts).into()
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(prefix).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & !hosts).into()
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = Errno;

    /// `ADDRESS/BITS`, or `ADDRESS` for one host.
    ///
    /// # Errors
    /// `EINVAL`.
    fn from_str(text: &str) -> Result<Self, Errno> {
        let parse = |text: &str| text.parse::<IpAddr>().map_err(|_| Errno::EINVAL);
        match text.split_once('/') {
            Some((address, bits)) => {
                let bits = bits.parse().map_err(|_| Errno::EINVAL)?;
                Self::new(parse(address)?, bits)
            }
            None => parse(text).map(Self::host),
        }
    }
}

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Of the Internet families: address and port.
    Inet(SocketAddr),
    /// Of the local family: a path, or a name that begins with a zero byte.
    Local(Vec<u8>),
    /// The same, where the system calls have found the file of a path: what a family gets of it. `getsockname` tells the path.
    Node {
        /// The path.
        path: Vec<u8>,
        /// What it leads to.
        node: rumpkern::names::NodeId,
    },
    /// None: a local socket without a name; given to `connect`, it takes the peer away (`AF_UNSPEC`).
    Unspecified,
}

impl Address {
    /// The address of an Internet family.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` for any other.
    pub const fn inet(&self) -> Result<SocketAddr, Errno> {
        match self {
            Self::Inet(address) => Ok(*address),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Node { path, .. } => write!(f, "{}", path.escape_ascii()),
            Self::Local(path) => match path.split_first() {
                Some((0, name)) => write!(f, "@{}", name.escape_ascii()),
                _ => write!(f, "{}", path.escape_ascii()),
            },
            Self::Unspecified => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn networks() {
        let cidr: Cidr = "192.0.2.130/25".parse().unwrap();
        assert_eq!(cidr.network().to_string(), "192.0.2.128/25");
        assert_eq!(cidr.broadcast(), Some(Ipv4Addr::new(192, 0, 2, 255)));
        assert!(cidr.contains("192.0.2.129".parse().unwrap()));
        assert!(!cidr.contains("192.0.2.1".parse().unwrap()));
        assert!(Cidr::ANY_V4.contains("8.8.8.8".parse().unwrap()));
        assert!(!Cidr::ANY_V4.contains("::1".parse().unwrap()));
        assert_eq!("10.0.0.0/31".parse::<Cidr>().unwrap().broadcast(), None);
        assert_eq!("10.0.0.0/33".parse::<Cidr>(), Err(Errno::EINVAL));
        let six: Cidr = "2001:db8::1/32".parse().unwrap();
        assert_eq!(six.network().to_string(), "2001:db8::/32");
    }

    #[test]
    fn links() {
        let mac: MacAddr = "02:0:5E:00:00:fF".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:00:00:ff");
        assert!("02:00:5e:00:00".parse::<MacAddr>().is_err());
        assert!("02:00:5e:00:00:00:00".parse::<MacAddr>().is_err());
        let group = MacAddr::of_group("239.129.2.3".parse().unwrap());
        assert_eq!(group.to_string(), "01:00:5e:01:02:03");
        let group = MacAddr::of_group("ff02::1:ff28:9c5a".parse().unwrap());
        assert_eq!(group.to_string(), "33:33:ff:28:9c:5a");
        assert!(group.is_group() && MacAddr::BROADCAST.is_group() && !mac.is_group());
    }
}
