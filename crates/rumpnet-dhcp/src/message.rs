//! Messages (RFC 2131 section 2) and options (RFC 2132).

use alloc::{string::String, vec::Vec};
use core::{net::Ipv4Addr, time::Duration};
use rumpnet::{Cidr, MacAddr};

/// Bytes before the options.
const FIXED: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Shortest message that all relays pass on (RFC 951, RFC 1542 section 2.1).
const SHORTEST: usize = 300;
/// Addresses of a kind that count at most.
const MOST: usize = 8;
/// Routes that count at most.
const ROUTES: usize = 64;

/// What a message is (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the RFC's names")]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
}

/// Numbers of options.
pub mod option {
    #![allow(missing_docs, reason = "the RFC's names")]
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const REQUESTED: u8 = 50;
    pub const LEASE: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const KIND: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const SIZE: u8 = 57;
    pub const T1: u8 = 58;
    pub const T2: u8 = 59;
    pub const CLIENT: u8 = 61;
    pub const ROUTES: u8 = 121;
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// What it is.
    pub kind: Kind,
    /// Number of the exchange.
    pub xid: u32,
    /// Seconds since it began.
    pub secs: u16,
    /// The address that the client has, and can answer at.
    pub ciaddr: Ipv4Addr,
    /// Its link address.
    pub chaddr: MacAddr,
    /// The address that it would like to have.
    pub requested: Option<Ipv4Addr>,
    /// The server that it speaks to.
    pub server: Option<Ipv4Addr>,
    /// Its name, of at most 255 bytes.
    pub host_name: Option<&'a str>,
}

impl Outgoing<'_> {
    /// As bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A request, over Ethernet, whose addresses have 6 bytes.
        bytes.extend([1, 1, 6, 0]);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.ciaddr.octets());
        bytes.resize(28, 0);
        bytes.extend(self.chaddr.0);
        bytes.resize(FIXED, 0);
        bytes.extend(MAGIC);
        let mut put = |code: u8, value: &[u8]| {
            bytes.push(code);
            bytes.push(u8::try_from(value.len()).unwrap_or(0));
            bytes.extend(value.iter().take(255));
        };
        put(option::KIND, &[self.kind as u8]);
        let [a, b, c, d, e, f] = self.chaddr.0;
        put(option::CLIENT, &[1, a, b, c, d, e, f]);
        if let Some(address) = self.requested {
            put(option::REQUESTED, &address.octets());
        }
        if let Some(server) = self.server {
            put(option::SERVER, &server.octets());
        }
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            use option::{
                DNS, DOMAIN, LEASE, MASK, MTU, ROUTER, ROUTES, SERVER, SIZE, T1, T2, WANTED,
            };
            // Classless routes first: RFC 3442 wants them before the router.
            put(
                WANTED,
                &[
                    MASK, ROUTES, ROUTER, DNS, DOMAIN, MTU, LEASE, SERVER, T1, T2,
                ],
            );
            put(SIZE, &1_500_u16.to_be_bytes());
            if let Some(name) = self.host_name {
                put(option::HOST_NAME, name.as_bytes());
            }
        }
        bytes.push(255);
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        bytes
    }
}

/// What a server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// What it is.
    pub kind: Option<Kind>,
    /// Number of the exchange.
    pub xid: u32,
    /// The client's new address.
    pub yiaddr: Option<Ipv4Addr>,
    /// Whom it is for.
    pub chaddr: MacAddr,
    /// Who says it.
    pub server: Option<Ipv4Addr>,
    /// Length of the network's prefix.
    pub prefix: Option<u8>,
    /// Routers.
    pub routers: Vec<Ipv4Addr>,
    /// Classless routes, which replace the routers: network, and router or 0.0.0.0 for the link.
    pub routes: Option<Vec<(Cidr, Ipv4Addr)>>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain.
    pub domain: Option<String>,
    /// Largest packet.
    pub mtu: Option<u16>,
    /// How long the address is the client's; `Duration::MAX` for ever.
    pub lease: Option<Duration>,
    /// When to ask the same server for more.
    pub t1: Option<Duration>,
    /// When to ask any.
    pub t2: Option<Duration>,
}

impl Incoming {
    /// Reads a message of a server. `None` if it is none: its options are broken, or it is for another kind of link.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
        // An answer, over Ethernet.
        if fixed.get(..3)? != [2, 1, 6] {
            return None;
        }
        let quad = |at: usize| fixed.get(at..)?.first_chunk::<4>().copied();
        let yiaddr = Ipv4Addr::from(quad(16)?);
        let mut this = Self {
            xid: u32::from_be_bytes(quad(4)?),
            yiaddr: Some(yiaddr).filter(|ip| !ip.is_unspecified()),
            chaddr: MacAddr(fixed.get(28..34)?.first_chunk().copied()?),
            ..Self::default()
        };
        let options = rest.strip_prefix(&MAGIC)?;
        let mut all = Vec::new();
        split(options, &mut all)?;
        let overload = all.iter().find(|(code, _)| *code == option::OVERLOAD);
        match overload.and_then(|(_, value)| value.first().copied()) {
            Some(which @ 1..=3) => {
                if which & 1 != 0 {
                    split(fixed.get(108..)?, &mut all)?;
                }
                if which & 2 != 0 {
                    split(fixed.get(44..108)?, &mut all)?;
                }
            }
            Some(_) => return None,
            None => {}
        }
        for (code, value) in &all {
            this.take(*code, value)?;
        }
        Some(this)
    }

    fn take(&mut self, code: u8, value: &[u8]) -> Option<()> {
        let addresses = || -> Option<Vec<Ipv4Addr>> {
            let (all, []) = value.as_chunks::<4>() else {
                return None;
            };
            Some(all.iter().copied().map(Ipv4Addr::from).take(MOST).collect())
        };
        let seconds = || {
            let number = u32::from_be_bytes(value.try_into().ok()?);
            Some(match number {
                u32::MAX => Duration::MAX,
                number => Duration::from_secs(number.into()),
            })
        };
        match code {
            option::KIND => {
                self.kind = Some(match value {
                    [2] => Kind::Offer,
                    [5] => Kind::Ack,
                    [6] => Kind::Nak,
                    _ => return None,
                });
            }
            option::MASK => {
                let mask = u32::from_be_bytes(value.try_into().ok()?);
                let ones = mask.leading_ones();
                if mask.count_ones() != ones {
                    return None;
                }
                self.prefix = Some(u8::try_from(ones).ok()?);
            }
            option::SERVER => self.server = Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
            option::ROUTER => self.routers = addresses()?,
            option::DNS => self.dns = addresses()?,
            option::DOMAIN => {
                let text = core::str::from_utf8(value).ok()?;
                self.domain = Some(text.trim_end_matches('\0').into());
            }
            option::MTU => self.mtu = Some(u16::from_be_bytes(value.try_into().ok()?)),
            option::LEASE => self.lease = Some(seconds()?),
            option::T1 => self.t1 = Some(seconds()?),
            option::T2 => self.t2 = Some(seconds()?),
            option::ROUTES => self.routes = Some(routes(value)?),
            _ => {}
        }
        Some(())
    }
}

/// Cuts options apart; the pieces of one are put together (RFC 3396).
fn split(mut bytes: &[u8], all: &mut Vec<(u8, Vec<u8>)>) -> Option<()> {
    loop {
        let (code, rest) = match bytes.split_first() {
            // Some servers leave the end out.
            None | Some((255, _)) => return Some(()),
            Some((0, rest)) => {
                bytes = rest;
                continue;
            }
            Some((code, rest)) => (*code, rest),
        };
        let (len, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        match all.iter_mut().find(|(other, _)| *other == code) {
            Some((_, there)) => there.extend_from_slice(value),
            None => all.push((code, value.to_vec())),
        }
        bytes = rest;
    }
}

/// Classless routes: the length of each prefix, as many bytes of the network as it takes, and the router.
fn routes(mut value: &[u8]) -> Option<Vec<(Cidr, Ipv4Addr)>> {
    let mut all = Vec::new();
    while let Some((prefix, rest)) = value.split_first() {
        let (network, rest) = rest.split_at_checked(usize::from(prefix.div_ceil(8)))?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        let mut octets = [0; 4];
        octets.get_mut(..network.len())?.copy_from_slice(network);
        let network = Cidr::new(Ipv4Addr::from(octets).into(), *prefix).ok()?;
        if all.len() < ROUTES {
            all.push((network.network(), Ipv4Addr::from(*router)));
        }
        value = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn reply(options: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0; FIXED];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[4..8].copy_from_slice(&7_u32.to_be_bytes());
        bytes[16..20].copy_from_slice(&[10, 0, 0, 9]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        bytes.extend(MAGIC);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn what_a_server_says() {
        let options = [
            &[53, 1, 5, 0, 0, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 255, 0][..],
            &[
                3, 4, 10, 0, 0, 1, 6, 8, 10, 0, 0, 1, 10, 0, 0, 2, 26, 2, 5, 120,
            ],
            &[51, 4, 0, 0, 14, 16, 15, 3, b'l', b'a', b'n', 255, 9, 9],
        ]
        .concat();
        let message = Incoming::parse(&reply(&options)).unwrap();
        assert_eq!((message.kind, message.xid), (Some(Kind::Ack), 7));
        assert_eq!(message.yiaddr, Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!((message.prefix, message.mtu), (Some(24), Some(1_400)));
        assert_eq!(message.dns.len(), 2);
        assert_eq!(message.lease, Some(Duration::from_secs(3_600)));
        assert_eq!(message.domain.as_deref(), Some("lan"));
        let whole = reply(&options);
        for len in 0..FIXED + 4 {
            assert_eq!(Incoming::parse(&whole[..len]), None, "{len}");
        }
    }

    #[test]
    fn broken_options_make_no_message() {
        for bad in [
            &[53, 1][..],
            &[53, 1, 9],
            &[53, 2, 5, 5],
            &[1, 4, 255, 0, 255, 0],
            &[1, 3, 255, 0, 255],
            &[3, 3, 1, 1, 1],
            &[6, 5, 1, 1, 1, 1, 1],
            &[51, 3, 0, 0, 1],
            &[121, 6, 33, 10, 0, 0, 0, 1],
            &[121, 5, 24, 10, 0, 0, 1],
            &[52, 1, 4],
            &[12],
        ] {
            assert_eq!(Incoming::parse(&reply(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn pieces_overload_and_routes() {
        let mut bytes = reply(&[53, 1, 5, 52, 1, 1, 121, 5, 0, 10, 0, 0, 1, 255]);
        // In the place of a file's name: the rest of the routes.
        bytes[108..119].copy_from_slice(&[121, 8, 24, 192, 0, 2, 10, 0, 0, 2, 255]);
        let message = Incoming::parse(&bytes).unwrap();
        let all = message.routes.unwrap();
        assert_eq!(all[0], (Cidr::ANY_V4, Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(
            all[1],
            ("192.0.2.0/24".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 2))
        );
    }

    #[test]
    fn what_a_client_says() {
        let message = Outgoing {
            kind: Kind::Request,
            xid: 1,
            secs: 2,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: MacAddr([2, 0, 0, 0, 0, 1]),
            requested: Some(Ipv4Addr::new(10, 0, 0, 9)),
            server: Some(Ipv4Addr::new(10, 0, 0, 1)),
            host_name: Some("box"),
        };
        let bytes = message.bytes();
        assert!(bytes.len() >= SHORTEST);
        let mut all = Vec::new();
        split(&bytes[FIXED + 4..], &mut all).unwrap();
        let get = |code| {
            all.iter()
                .find(|(other, _)| *other == code)
                .map(|(_, v)| v.as_slice())
        };
        assert_eq!(get(option::KIND), Some(&[3][..]));
        assert_eq!(get(option::REQUESTED), Some(&[10, 0, 0, 9][..]));
        assert_eq!(get(option::CLIENT), Some(&[1, 2, 0, 0, 0, 0, 1][..]));
        assert_eq!(get(option::HOST_NAME), Some(&b"box"[..]));
    }
}
