//! The messages as bytes. Those of both protocols are alike but for their numbers and the size of addresses (RFC 3376 section 4, RFC 3810
//! section 5; the older ones: RFC 2236 section 2, RFC 2710 section 3).

use super::{Kind, Message, Query, Record, Version};
use crate::Packet;
use alloc::{collections::BTreeSet, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// Sources that a query may name; one with more is answered as if it named none.
const SOURCES: usize = 512;
/// Bytes of a report, and of a record of it, before their addresses.
const REPORT: usize = 8;
const RECORD: usize = 4;

/// In what the protocols differ.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Numbers of the reports of the three versions.
    pub report: [u8; 3],
    /// That of leaving.
    pub leave: u8,
    /// All routers: who hears of leaving.
    pub routers: IpAddr,
    /// Who hears of the newest version's reports.
    pub reports_to: IpAddr,
    /// Bytes of a message before its group in the older versions.
    pub head: usize,
    /// Bytes that a report may have.
    pub room: usize,
}

impl Protocol {
    /// Messages as they are sent, without their sums, and to whom.
    #[must_use]
    pub fn build(&self, message: Message) -> Vec<(IpAddr, Vec<u8>)> {
        let [one, two, three] = self.report;
        let old = |kind: u8, to: IpAddr, group: IpAddr| {
            let mut body = Vec::from([kind]);
            body.resize(self.head, 0);
            put(group, &mut body);
            Vec::from([(to, body)])
        };
        match message {
            Message::Report(Version::One, group) => old(one, group, group),
            Message::Report(_, group) => old(two, group, group),
            Message::Leave(group) => old(self.leave, self.routers, group),
            Message::Records(records) => {
                let reports = pack(records, self.room.saturating_sub(REPORT));
                let report = |records: Vec<Record>| (self.reports_to, report(three, &records));
                reports.into_iter().map(report).collect()
            }
        }
    }
}

/// A report of the newest version (RFC 3376 section 4.2, RFC 3810 section 5.2).
fn report(kind: u8, records: &[Record]) -> Vec<u8> {
    let mut body = Vec::from([kind, 0, 0, 0, 0, 0]);
    body.extend(short(records.len()));
    for record in records {
        body.extend([record.kind as u8, 0]);
        body.extend(short(record.sources.len()));
        put(record.group, &mut body);
        record.sources.iter().for_each(|ip| put(*ip, &mut body));
    }
    body
}

fn short(count: usize) -> [u8; 2] {
    u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes()
}

fn put(address: IpAddr, body: &mut Vec<u8>) {
    match address {
        IpAddr::V4(ip) => body.extend(ip.octets()),
        IpAddr::V6(ip) => body.extend(ip.octets()),
    }
}

const fn size(of: IpAddr) -> usize {
    match of {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 16,
    }
}

/// Cuts a report into such as have `room` bytes for records (RFC 3376 section 4.2.16): a list that is excluded is cut short, any other goes
/// on in the next.
pub(super) fn pack(records: Vec<Record>, room: usize) -> Vec<Vec<Record>> {
    let mut reports: Vec<Vec<Record>> = Vec::new();
    let mut left = 0_usize;
    let mut put = |record: Record| {
        let addresses = record.sources.len().saturating_add(1);
        let len = RECORD.saturating_add(addresses.saturating_mul(size(record.group)));
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
        let address = size(record.group);
        let fixed = RECORD.saturating_add(address);
        let most = room.saturating_sub(fixed).checked_div(address).unwrap_or(0);
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

impl Query {
    /// A query of an older version for a group, or for all if that is unspecified. `None`: it is no group.
    #[must_use]
    pub fn new(version: Version, group: IpAddr, response: Duration) -> Option<Self> {
        let group = Some(group).filter(|group| !group.is_unspecified());
        if group.is_some_and(|group| !group.is_multicast()) {
            return None;
        }
        Some(Self {
            version,
            group,
            sources: BTreeSet::new(),
            response,
            robustness: 0,
            interval: None,
        })
    }

    /// Makes it one of the newest version, with what a message of that has more, from byte `at` on (RFC 3376 section 4.1.5, RFC 3810 section
    /// 5.1.7): flags, the interval, and sources of the kind of `family`. `None`: the message is too short.
    #[must_use]
    pub fn newest(mut self, packet: &Packet, at: usize, family: IpAddr) -> Option<Self> {
        let mut more = [0; 4];
        if packet.copy_to(at, &mut more) < more.len() {
            return None;
        }
        let [flags, interval, n0, n1] = more;
        let count = usize::from(u16::from_be_bytes([n0, n1]));
        let first = at.saturating_add(more.len());
        let place = |n: usize| first.saturating_add(n.saturating_mul(size(family)));
        if packet.len() < place(count) {
            return None;
        }
        self.version = Version::Three;
        self.robustness = flags & 7;
        self.interval = Some(Duration::from_secs(unfold(interval).into()));
        let sources = (0..count).take_while(|_| count <= SOURCES);
        self.sources = sources.map(|n| get(packet, place(n), family)).collect();
        Some(self)
    }
}

fn get(packet: &Packet, at: usize, family: IpAddr) -> IpAddr {
    let (mut four, mut sixteen) = ([0; 4], [0; 16]);
    match family {
        IpAddr::V4(_) => {
            packet.copy_to(at, &mut four);
            Ipv4Addr::from(four).into()
        }
        IpAddr::V6(_) => {
            packet.copy_to(at, &mut sixteen);
            Ipv6Addr::from(sixteen).into()
        }
    }
}

/// The number that a byte stands for (RFC 3376 section 4.1.1): from 128 on three bits are an exponent.
#[must_use]
pub fn unfold(code: u8) -> u32 {
    if code < 128 {
        return code.into();
    }
    let (exponent, mantissa) = ((code >> 4) & 7, u32::from(code & 15) | 16);
    mantissa << exponent.saturating_add(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3376 section 4.1.1 and 4.1.7.
    #[test]
    fn codes() {
        assert_eq!((unfold(0), unfold(127)), (0, 127));
        assert_eq!((unfold(128), unfold(0xff)), (16 << 3, 31 << 10));
    }
}
