//! Which groups of a link are listened to, and what routers are told of it: the host's side of IGMP (RFC 2236, RFC 3376) and of MLD, which
//! is the same for IPv6 (RFC 2710, RFC 3810). Without I/O and clock: changes, queries and times go in, messages come out.
//!
//! | module | what |
//! |---|---|
//! | `filter` | whose packets are wanted |
//! | `group` | what is kept for a group |
//! | `link` | what is kept for a link |

mod filter;
mod group;
mod link;
#[cfg(test)]
mod tests;

pub use filter::Filter;
pub use link::Link;

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
    /// A report of the newest version. It may have to be more than one: [`pack`].
    Records(Vec<Record>),
    /// A report of an older version, to the group itself.
    Report(Version, IpAddr),
    /// Nobody here listens to a group any more (IGMPv2, MLDv1).
    Leave(IpAddr),
}

/// Cuts a report into such as fit `room` bytes, with `fixed` bytes for a record and `address` for a source (RFC 3376 section 4.2.16): a list
/// that is excluded is cut short, any other goes on in the next.
#[must_use]
pub fn pack(records: Vec<Record>, fixed: usize, address: usize, room: usize) -> Vec<Vec<Record>> {
    let most = room.saturating_sub(fixed).checked_div(address).unwrap_or(0);
    let mut reports: Vec<Vec<Record>> = Vec::new();
    let mut left = 0_usize;
    let mut put = |record: Record| {
        let len = fixed.saturating_add(record.sources.len().saturating_mul(address));
        match reports.last_mut() {
            Some(report) if len <= left => {
                left = left.saturating_sub(len);
                report.push(record);
            }
            _ => {
                left = room.saturating_sub(len);
                reports.push(Vec::from([record]));
            }
        }
    };
    for mut record in records {
        if matches!(record.kind, Kind::IsExclude | Kind::ToExclude) {
            record.sources.truncate(most);
        }
        if record.sources.len() <= most || most == 0 {
            put(record);
            continue;
        }
        for part in record.sources.chunks(most) {
            put(Record {
                kind: record.kind,
                group: record.group,
                sources: part.to_vec(),
            });
        }
    }
    reports
}
