//! Which groups of a link are listened to, and what routers are told of it: the host's side of IGMP (RFC 2236, RFC 3376) and of MLD, which
//! is the same for IPv6 (RFC 2710, RFC 3810). Without I/O and clock: changes, queries and times go in, messages come out.
//!
//! | module | what |
//! |---|---|
//! | `filter` | whose packets are wanted |
//! | `group` | what is kept for a group |
//! | `link` | what is kept for a link |
//! | `wire` | the messages as bytes |

mod filter;
mod group;
mod link;
#[cfg(test)]
mod tests;
mod wire;

pub use filter::Filter;
pub use link::Link;
pub use wire::{Protocol, unfold};

use alloc::{collections::BTreeSet, vec::Vec};
use core::{net::IpAddr, time::Duration};

/// Which of the protocols a router speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// IGMPv1 (RFC 1112).
    One,
    /// IGMPv2, MLDv1.
    Two,
    /// IGMPv3, MLDv2.
    Three,
}

/// A router asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// As the message's form says.
    pub version: Version,
    /// For one group; `None` for all.
    pub group: Option<IpAddr>,
    /// For these sources; none for all.
    pub sources: BTreeSet<IpAddr>,
    /// Within this time the answers are wanted.
    pub response: Duration,
    /// The robustness variable: how often what may get lost is said. 0 if it does not tell.
    pub robustness: u8,
    /// The time between two queries, if it tells.
    pub interval: Option<Duration>,
}

/// What a record says; the numbers are those of the messages (RFC 3376 section 4.2.12, RFC 3810 section 5.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sources are wanted.
    IsInclude = 1,
    /// All others are.
    IsExclude,
    /// The same, from now on.
    ToInclude,
    /// The same, from now on.
    ToExclude,
    /// These as well.
    Allow,
    /// These no more.
    Block,
}

/// A record of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: Kind,
    /// Of which group.
    pub group: IpAddr,
    /// And which sources.
    pub sources: Vec<IpAddr>,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A report of the newest version, or as many as have room for it.
    Records(Vec<Record>),
    /// A report of an older version, to the group itself.
    Report(Version, IpAddr),
    /// Nobody here listens to a group any more (IGMPv2, MLDv1).
    Leave(IpAddr),
}
