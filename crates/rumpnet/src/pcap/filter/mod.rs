//! Which frames a capture keeps, as an expression: the language of pcap-filter(7).
//!
//! ```
//! use rumpnet::pcap::Expression;
//!
//! let expression: Expression = "tcp port 80 and not host 10.0.0.1".parse()?;
//! # let _ = expression;
//! let error = "port http".parse::<Expression>().unwrap_err();
//! assert_eq!(error.to_string(), "at 5: a port is a number");
//! # Ok::<(), rumpnet::pcap::SyntaxError>(())
//! ```
//!
//! | part | what |
//! |---|---|
//! | `[ip\|ip6\|arp] [src\|dst\|src or dst\|src and dst] [host\|net] ADDRESS[/BITS]` | addresses; without a protocol also those of ARP |
//! | `[tcp\|udp] [src\|dst\|...] port N`, `portrange N-M` | ports |
//! | `[ip\|ip6] proto N`, `tcp`, `udp`, `icmp`, `icmp6`, `igmp` | what a packet carries, behind extension headers too |
//! | `ether [src\|dst] [host] MAC`, `ether proto N`, `ip`, `ip6`, `arp` | what a frame of Ethernet says |
//! | `[ether] broadcast`, `[ether\|ip\|ip6] multicast` | to whom it goes |
//! | `less N`, `greater N`, `len` | bytes of the frame |
//! | `inbound`, `outbound` | which way it goes |
//! | `tcp[tcpflags] & tcp-syn != 0`, `ip[2:2] > 576` | bytes of headers, with the operators of C |
//! | `and`, `or`, `not`, `&&`, `\|\|`, `!`, `( )` | `and` and `or` bind alike, from the left |
//!
//! As there, a keyword that is left out is that of the part before: `host a or b`. What is asked of bytes that a frame does not have is not so, and bytes
//! of what a packet carries are found with IPv6 as well. Not there: names of hosts, networks and ports, `gateway`, `vlan`, `mpls`, `pppoes`, `sctp`, `ip broadcast`, `protochain`.

mod parse;
mod view;
mod words;

use super::LinkType;
use crate::{Cidr, MacAddr, Packet, capture::Way, ethernet::EtherType};
use alloc::boxed::Box;
use core::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};
use view::View;

/// A filter that was read. The default lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Expression(Option<Box<Node>>);

/// What is wrong with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, in bytes from its begin.
    pub at: usize,
    /// What.
    pub what: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}: {}", self.at, self.what)
    }
}

impl core::error::Error for SyntaxError {}

impl FromStr for Expression {
    type Err = SyntaxError;

    /// An empty text lets everything through.
    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse::expression(text).map(|node| Self(node.map(Box::new)))
    }
}

impl Expression {
    /// Whether a frame of such a link is wanted. Without a way the frame goes neither in nor out.
    #[must_use]
    pub fn matches(&self, link: LinkType, way: Option<Way>, frame: &Packet) -> bool {
        let Some(node) = &self.0 else { return true };
        node.holds(&View::of(link, frame), way)
    }
}

#[derive(Clone, Debug)]
enum Node {
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Test(Test),
}

/// At which end something is.
#[derive(Clone, Copy, Debug, Default)]
enum End {
    From,
    To,
    #[default]
    Either,
    Both,
}

impl End {
    fn holds<T>(self, from: T, to: T, test: impl Fn(T) -> bool) -> bool {
        match self {
            Self::From => test(from),
            Self::To => test(to),
            Self::Either => test(from) || test(to),
            Self::Both => test(from) && test(to),
        }
    }
}

#[derive(Clone, Debug)]
enum Test {
    Way(Way),
    /// The frame is at most, or at least, so long.
    Less(u32),
    Greater(u32),
    Link(MacAddr, End),
    LinkBroadcast,
    LinkGroup,
    Type(EtherType),
    /// Of frames of this type, or any.
    Network(Option<EtherType>, Cidr, End),
    /// A group of IP.
    Group(EtherType),
    /// What a packet carries.
    Protocol(Option<EtherType>, u8),
    Port(Option<u8>, Ports, End),
    Compare(Relation, Value, Value),
}

type Ports = RangeInclusive<u16>;

#[derive(Clone, Copy, Debug)]
enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// A number.
#[derive(Clone, Debug)]
enum Value {
    Number(u32),
    Len,
    /// Bytes of a header.
    Load(Base, Box<Value>, u8),
    Binary(Operator, Box<Value>, Box<Value>),
}

/// Whose bytes.
#[derive(Clone, Copy, Debug)]
enum Base {
    Link,
    Network(EtherType),
    Transport(u8),
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    And,
    Or,
    Xor,
    Left,
    Right,
}

impl Node {
    fn holds(&self, view: &View<'_>, way: Option<Way>) -> bool {
        match self {
            Self::Not(node) => !node.holds(view, way),
            Self::And(a, b) => a.holds(view, way) && b.holds(view, way),
            Self::Or(a, b) => a.holds(view, way) || b.holds(view, way),
            Self::Test(test) => test.holds(view, way),
        }
    }
}

impl Test {
    fn holds(&self, view: &View<'_>, way: Option<Way>) -> bool {
        match self {
            Self::Way(wanted) => way == Some(*wanted),
            Self::Less(most) => view.len() <= *most,
            Self::Greater(least) => view.len() >= *least,
            Self::Link(mac, end) => view
                .macs()
                .is_some_and(|(from, to)| end.holds(from, to, |one| one == *mac)),
            Self::LinkBroadcast => view.macs().is_some_and(|(_, to)| to == MacAddr::BROADCAST),
            Self::LinkGroup => view.macs().is_some_and(|(_, to)| to.is_group()),
            Self::Type(wanted) => view.kind == Some(*wanted),
            Self::Network(kind, network, end) => {
                let here = kind.is_none() || view.kind == *kind;
                let ends = view.addresses.filter(|_| here);
                ends.is_some_and(|(from, to)| end.holds(from, to, |one| network.contains(one)))
            }
            Self::Group(kind) => {
                let ends = view.addresses.filter(|_| view.kind == Some(*kind));
                // As pcap has it: with the limited broadcast and what is reserved.
                ends.is_some_and(|(_, to)| match to {
                    IpAddr::V4(to) => to.octets() >= [224, 0, 0, 0],
                    IpAddr::V6(to) => to.is_multicast(),
                })
            }
            Self::Protocol(kind, wanted) => {
                (kind.is_none() || view.kind == *kind) && view.protocol == Some(*wanted)
            }
            Self::Port(protocol, ports, end) => {
                let ends = view.ports(*protocol);
                ends.is_some_and(|(from, to)| end.holds(from, to, |one| ports.contains(&one)))
            }
            Self::Compare(relation, a, b) => match (a.get(view), b.get(view)) {
                (Some(a), Some(b)) => relation.holds(a, b),
                _ => false,
            },
        }
    }
}

impl Relation {
    const fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Unequal => a != b,
            Self::Less => a < b,
            Self::AtMost => a <= b,
            Self::More => a > b,
            Self::AtLeast => a >= b,
        }
    }
}

impl Value {
    /// `None`: there are no such bytes, or something is divided by zero.
    fn get(&self, view: &View<'_>) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Len => Some(view.len()),
            Self::Load(base, at, size) => view.load(*base, at.get(view)?, *size),
            Self::Binary(operator, a, b) => {
                let (a, b) = (a.get(view)?, b.get(view)?);
                match operator {
                    Operator::Add => Some(a.wrapping_add(b)),
                    Operator::Sub => Some(a.wrapping_sub(b)),
                    Operator::Mul => Some(a.wrapping_mul(b)),
                    Operator::Div => a.checked_div(b),
                    Operator::Rem => a.checked_rem(b),
                    Operator::And => Some(a & b),
                    Operator::Or => Some(a | b),
                    Operator::Xor => Some(a ^ b),
                    Operator::Left => Some(a.checked_shl(b).unwrap_or(0)),
                    Operator::Right => Some(a.checked_shr(b).unwrap_or(0)),
                }
            }
        }
    }
}
