//! Questions and answers (RFC 1035 section 4, RFC 6891).

use crate::Name;
use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// Bytes of a header.
const HEADER: usize = 12;
/// Class of the Internet.
const IN: u16 = 1;
/// Bytes of an answer that we take over UDP: what passes every link unfragmented.
pub const UDP_SIZE: u16 = 1_232;
/// Links of a chain of aliases that are followed at most.
const CHAIN: usize = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An address of IPv4.
    A,
    /// An address of IPv6 (RFC 3596).
    Aaaa,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

const CNAME: u16 = 5;
const SOA: u16 = 6;
const OPT: u16 = 41;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of which name.
    pub name: Name,
    /// What.
    pub kind: Kind,
}

impl Question {
    /// As a message with a number, to be answered by a server that asks others in turn.
    #[must_use]
    pub fn message(&self, id: u16, edns: bool) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(id.to_be_bytes());
        // Recursion desired; one question, and one additional record if there is EDNS.
        message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        self.name.write(&mut message);
        message.extend(self.kind.number().to_be_bytes());
        message.extend(IN.to_be_bytes());
        if edns {
            message.push(0);
            message.extend(OPT.to_be_bytes());
            message.extend(UDP_SIZE.to_be_bytes());
            message.extend([0; 6]);
        }
        message
    }
}

/// How an answer came out (RFC 1035 section 4.1.1, the RCODE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No error.
    Ok,
    /// The server did not understand.
    FormatError,
    /// The name does not exist.
    NoName,
    /// Anything else: the server could not or would not.
    Failure(u8),
}

impl Status {
    fn of(flags: u16) -> Self {
        match flags & 0xf {
            0 => Self::Ok,
            1 => Self::FormatError,
            3 => Self::NoName,
            code => Self::Failure(code.to_be_bytes()[1]),
        }
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it came out.
    pub status: Status,
    /// It did not fit, and is to be had over TCP.
    pub truncated: bool,
    /// The addresses of the name that the aliases lead to.
    pub addresses: Vec<IpAddr>,
    /// That name, when the answer has no address of it: to be asked for next.
    pub alias: Option<Name>,
    /// How long this may be kept: of all records that count the shortest; of a "no" what the zone says (RFC 2308 section 5).
    pub ttl: Option<Duration>,
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().copied().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().copied().map(u32::from_be_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        let (name, end) = Name::read(self.message, self.at)?;
        self.at = end;
        Some(name)
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let owner = self.name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = self.u32()?;
        let len = usize::from(self.u16()?);
        let start = self.at;
        let data = self.take(len)?;
        Some(Record {
            owner,
            kind,
            class,
            // RFC 2181 section 8: with the highest bit set it is none.
            ttl: if ttl > u32::MAX >> 1 { 0 } else { ttl },
            start,
            data,
        })
    }

    /// How long there is nothing for a name (RFC 2308 section 5), from so many records about those who say so.
    fn negative_ttl(&mut self, count: u16, name: &Name) -> Option<Option<Duration>> {
        let mut ttl = None;
        for _ in 0..count {
            let record = self.record()?;
            if (record.kind, record.class) != (SOA, IN) || !name.is_under(&record.owner) {
                continue;
            }
            let (_, at) = Name::read(self.message, record.start)?;
            let (_, at) = Name::read(self.message, at)?;
            let mut numbers = Reader {
                message: self.message,
                at,
            };
            numbers.take(16)?;
            let seconds = record.ttl.min(numbers.u32()?);
            ttl = Some(Duration::from_secs(seconds.into()));
        }
        Some(ttl)
    }
}

struct Record<'a> {
    owner: Name,
    kind: u16,
    class: u16,
    ttl: u32,
    /// Where the data begins, for names in it.
    start: usize,
    data: &'a [u8],
}

impl Answer {
    /// Reads a message, if it is an answer to this question with this number. `None` for anything else: broken, or a lie.
    #[must_use]
    pub fn read(message: &[u8], id: u16, question: &Question) -> Option<Self> {
        let mut reader = Reader { message, at: 0 };
        let number = reader.u16()?;
        let flags = reader.u16()?;
        let [questions, answers, authorities, _] =
            [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        debug_assert_eq!(reader.at, HEADER);
        // A response, of a standard query.
        if number != id || flags & 0xf800 != 0x8000 {
            return None;
        }
        let status = Status::of(flags);
        let mut this = Self {
            status,
            truncated: flags & 0x200 != 0,
            addresses: Vec::new(),
            alias: None,
            ttl: None,
        };
        if questions == 0 && status != Status::Ok && status != Status::NoName {
            // Some servers refuse without repeating the question.
            return Some(this);
        }
        if questions != 1 || reader.name()? != question.name {
            return None;
        }
        if (reader.u16()?, reader.u16()?) != (question.kind.number(), IN) {
            return None;
        }
        if this.truncated {
            return Some(this);
        }
        let mut records = Vec::new();
        for _ in 0..answers {
            // A message is at most 64 KiB, and each record takes some of it.
            let record = reader.record()?;
            if record.class == IN {
                records.push(record);
            }
        }
        this.follow(message, &records, question)?;
        if this.addresses.is_empty() && this.alias.is_none() {
            this.ttl = reader.negative_ttl(authorities, &question.name)?;
        }
        Some(this)
    }

    /// From the name that was asked for along the aliases to its addresses.
    fn follow(
        &mut self,
        message: &[u8],
        records: &[Record<'_>],
        question: &Question,
    ) -> Option<()> {
        let mut name = question.name.clone();
        let mut ttl = u32::MAX;
        for _ in 0..CHAIN {
            let here = records.iter().filter(|record| record.owner == name);
            let mut next = None;
            for record in here {
                let address = match (question.kind, record.kind, record.data.len()) {
                    (Kind::A, 1, 4) => {
                        let bytes: [u8; 4] = record.data.first_chunk().copied()?;
                        IpAddr::V4(Ipv4Addr::from(bytes))
                    }
                    (Kind::Aaaa, 28, 16) => {
                        let bytes: [u8; 16] = record.data.first_chunk().copied()?;
                        IpAddr::V6(Ipv6Addr::from(bytes))
                    }
                    (_, CNAME, _) => {
                        next = Some(Name::read(message, record.start)?.0);
                        ttl = ttl.min(record.ttl);
                        continue;
                    }
                    (kind, number, _) if kind.number() == number => return None,
                    _ => continue,
                };
                ttl = ttl.min(record.ttl);
                self.addresses.push(address);
            }
            self.ttl = Some(Duration::from_secs(ttl.into()));
            match next {
                Some(next) if self.addresses.is_empty() => name = next,
                _ => {
                    self.alias = Some(name).filter(|name| {
                        self.addresses.is_empty()
                            && *name != question.name
                            && self.status == Status::Ok
                    });
                    return Some(());
                }
            }
        }
        // Round and round, or longer than anybody needs.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: Kind) -> Question {
        Question {
            name: name.parse().unwrap(),
            kind,
        }
    }

    fn record(message: &mut Vec<u8>, owner: &str, kind: u16, ttl: u32, data: &[u8]) {
        owner.parse::<Name>().unwrap().write(message);
        message.extend(kind.to_be_bytes());
        message.extend(IN.to_be_bytes());
        message.extend(ttl.to_be_bytes());
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(data);
    }

    fn wire(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        name.parse::<Name>().unwrap().write(&mut bytes);
        bytes
    }

    fn reply(question: &Question, code: u8, answers: u8, authorities: u8) -> Vec<u8> {
        let mut message = question.message(7, false);
        message[2] = 0x81;
        message[3] = 0x80 | code;
        (message[7], message[9]) = (answers, authorities);
        message
    }

    #[test]
    fn aliases_lead_to_addresses() {
        let ask = question("www.example.org", Kind::A);
        let mut message = reply(&ask, 0, 3, 0);
        record(&mut message, "a.example.net", 1, 50, &[192, 0, 2, 2]);
        record(
            &mut message,
            "www.example.org",
            CNAME,
            60,
            &wire("a.example.net"),
        );
        record(&mut message, "a.example.net", 1, 40, &[192, 0, 2, 1]);
        let answer = Answer::read(&message, 7, &ask).unwrap();
        assert_eq!(
            answer.addresses,
            [[192, 0, 2, 2], [192, 0, 2, 1]].map(IpAddr::from)
        );
        assert_eq!(
            (answer.alias, answer.ttl),
            (None, Some(Duration::from_secs(40)))
        );
        // Another number, another question, a query: no answer.
        assert_eq!(Answer::read(&message, 8, &ask), None);
        assert_eq!(
            Answer::read(&message, 7, &question("www.example.org", Kind::Aaaa)),
            None
        );
        assert_eq!(Answer::read(&ask.message(7, true), 7, &ask), None);
        for len in 0..message.len() {
            assert_eq!(Answer::read(&message[..len], 7, &ask), None, "{len}");
        }
    }

    #[test]
    fn chains_that_end_elsewhere_or_nowhere() {
        let ask = question("a.org", Kind::Aaaa);
        let mut message = reply(&ask, 0, 1, 0);
        record(&mut message, "a.org", CNAME, 60, &wire("b.org"));
        let answer = Answer::read(&message, 7, &ask).unwrap();
        assert_eq!(answer.alias, Some("b.org".parse().unwrap()));
        message[7] = 2;
        record(&mut message, "b.org", CNAME, 60, &wire("a.org"));
        assert_eq!(Answer::read(&message, 7, &ask), None);
    }

    #[test]
    fn no_is_an_answer_for_as_long_as_the_zone_says() {
        let ask = question("none.example.org", Kind::A);
        let mut message = reply(&ask, 3, 0, 1);
        let mut soa = wire("ns.example.org");
        soa.extend(wire("root.example.org"));
        soa.extend([0; 16]);
        soa.extend(30_u32.to_be_bytes());
        record(&mut message, "example.org", SOA, 900, &soa);
        let answer = Answer::read(&message, 7, &ask).unwrap();
        assert_eq!(
            (answer.status, answer.ttl),
            (Status::NoName, Some(Duration::from_secs(30)))
        );
        assert!(answer.addresses.is_empty());
    }

    #[test]
    fn truncated_and_refused() {
        let ask = question("a.org", Kind::A);
        let mut message = reply(&ask, 0, 9, 0);
        message[2] |= 2;
        assert!(Answer::read(&message, 7, &ask).unwrap().truncated);
        let refused = [0, 7, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0];
        let answer = Answer::read(&refused, 7, &ask).unwrap();
        assert_eq!(answer.status, Status::Failure(5));
    }
}
