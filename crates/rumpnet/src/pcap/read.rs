//! Captures as they are read: pcap in both byte orders, with micro- and nanoseconds; pcapng with its packet blocks, old ones too.

use super::LinkType;
use alloc::vec::Vec;
use core::fmt;
use rumpuser::Timespec;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Bytes of the header of a pcap file.
const HEAD: usize = 24;

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Interfaces that a section of pcapng may describe here.
const INTERFACES: usize = 4_096;

/// Why a file is not a capture, or not to its end. Numbers are places in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not begin as a capture does.
    NotACapture,
    /// It is of a version that nobody knows.
    Version(u16),
    /// It ends in the middle of the record at this place.
    Truncated(usize),
    /// The record at this place cannot be.
    Record(usize),
    /// The packet at this place came by an interface that the file does not describe.
    Interface(usize),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACapture => f.write_str("neither pcap nor pcapng"),
            Self::Version(major) => write!(f, "a capture of version {major}, which is not known"),
            Self::Truncated(at) => write!(f, "the capture ends within the record at byte {at}"),
            Self::Record(at) => write!(f, "the record at byte {at} is not one"),
            Self::Interface(at) => write!(f, "the packet at byte {at} is of no interface"),
        }
    }
}

impl core::error::Error for Malformed {}

/// A frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub link: LinkType,
    /// When it was seen, if the file says so.
    pub time: Option<Timespec>,
    /// How long it was.
    pub len: u32,
    /// What was kept of it: may be less.
    pub bytes: &'a [u8],
}

/// The frames of a capture, in the order of the file. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    file: &'a [u8],
    at: usize,
    big: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Pcap { link: LinkType, nanos: bool },
    PcapNg { interfaces: Vec<Interface> },
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snap: u32,
    /// As the option has it: a power of 10, or of 2 with the upper bit.
    resolution: u8,
    /// Seconds to add.
    offset: i64,
}

impl<'a> Reader<'a> {
    /// Looks at the begin of a file.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn new(file: &'a [u8]) -> Result<Self, Malformed> {
        let magic = file.first_chunk().ok_or(Malformed::NotACapture)?;
        let (little, big) = (u32::from_le_bytes(*magic), u32::from_be_bytes(*magic));
        if little == SECTION {
            let kind = Kind::PcapNg {
                interfaces: Vec::new(),
            };
            return Ok(Self {
                file,
                at: 0,
                big: false,
                kind,
            });
        }
        let known = |magic| matches!(magic, MICROSECONDS | NANOSECONDS);
        let is_big = match (known(little), known(big)) {
            (true, _) => false,
            (_, true) => true,
            _ => return Err(Malformed::NotACapture),
        };
        let mut reader = Self {
            file,
            at: HEAD,
            big: is_big,
            kind: Kind::Pcap {
                link: LinkType::ETHERNET,
                nanos: little == NANOSECONDS || big == NANOSECONDS,
            },
        };
        let head = file.get(..HEAD).ok_or(Malformed::Truncated(0))?;
        let major = reader.u16(head, 4).ok_or(Malformed::Truncated(0))?;
        if major != 2 {
            return Err(Malformed::Version(major));
        }
        // The upper bits tell of checksums at the end of frames.
        let number = reader.u32(head, 20).ok_or(Malformed::Truncated(0))? & 0xffff;
        if let Kind::Pcap { link, .. } = &mut reader.kind {
            *link = LinkType(u16::try_from(number).unwrap_or(0));
        }
        Ok(reader)
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    /// `len` bytes of the file from `from` on, for the record at `self.at`.
    fn part(&self, from: usize, len: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self.file.get(from..).and_then(|rest| rest.get(..len));
        bytes.ok_or(Malformed::Truncated(self.at))
    }

    fn next_record(&mut self) -> Result<Option<Record<'a>>, Malformed> {
        while self.at < self.file.len() {
            let record = match self.kind {
                Kind::Pcap { link, nanos } => Some(self.pcap_record(link, nanos)?),
                Kind::PcapNg { .. } => self.block()?,
            };
            if record.is_some() {
                return Ok(record);
            }
        }
        Ok(None)
    }

    fn pcap_record(&mut self, link: LinkType, nanos: bool) -> Result<Record<'a>, Malformed> {
        let head = self.part(self.at, 16)?;
        let word = |at| self.u32(head, at).unwrap_or(0);
        let kept = usize::try_from(word(8)).map_err(|_| Malformed::Record(self.at))?;
        let fraction = if nanos {
            word(4)
        } else {
            word(4).saturating_mul(1_000)
        };
        if fraction >= 1_000_000_000 {
            return Err(Malformed::Record(self.at));
        }
        let from = self.at.saturating_add(16);
        let bytes = self.part(from, kept)?;
        let record = Record {
            link,
            time: Some(Timespec {
                sec: word(0).into(),
                nsec: fraction,
            }),
            len: word(12),
            bytes,
        };
        self.at = from.saturating_add(kept);
        Ok(record)
    }

    /// A block of pcapng; most are no packets.
    fn block(&mut self) -> Result<Option<Record<'a>>, Malformed> {
        let bad = Malformed::Record(self.at);
        let head = self.part(self.at, 12)?;
        if self.u32(head, 0) == Some(SECTION) {
            // This is where the byte order of the section is, and its other numbers have it already.
            let order: &[u8; 4] = head.last_chunk().ok_or(bad)?;
            self.big = match *order {
                order if order == BYTE_ORDER.to_le_bytes() => false,
                order if order == BYTE_ORDER.to_be_bytes() => true,
                _ => return Err(bad),
            };
        }
        let kind = self.u32(head, 0).ok_or(bad)?;
        let len = self.u32(head, 4).ok_or(bad)?;
        let len = usize::try_from(len).map_err(|_| bad)?;
        if len < 12 || !len.is_multiple_of(4) {
            return Err(bad);
        }
        let whole = self.part(self.at, len)?;
        let body = whole.get(8..len.saturating_sub(4)).ok_or(bad)?;
        if self.u32(whole, len.saturating_sub(4)) != self.u32(whole, 4) {
            return Err(bad);
        }
        let record = match kind {
            SECTION => self.section(body).ok_or(bad)??,
            1 => self.interface(body).ok_or(bad)??,
            2 | 6 => Some(self.packet(kind, body).ok_or(bad)??),
            3 => Some(self.simple_packet(body).ok_or(bad)??),
            _ => None,
        };
        self.at = self.at.saturating_add(len);
        Ok(record)
    }

    /// Section header: the interfaces begin anew.
    fn section(&mut self, body: &[u8]) -> Option<Result<Option<Record<'a>>, Malformed>> {
        let major = self.u16(body, 4)?;
        if major != 1 {
            return Some(Err(Malformed::Version(major)));
        }
        self.kind = Kind::PcapNg {
            interfaces: Vec::new(),
        };
        Some(Ok(None))
    }

    /// Interface description.
    fn interface(&mut self, body: &[u8]) -> Option<Result<Option<Record<'a>>, Malformed>> {
        let mut interface = Interface {
            link: LinkType(self.u16(body, 0)?),
            snap: self.u32(body, 4)?,
            resolution: 6,
            offset: 0,
        };
        let mut options = body.get(8..)?;
        while let (Some(code), Some(len)) = (self.u16(options, 0), self.u16(options, 2)) {
            let len = usize::from(len);
            let value = options.get(4..)?.get(..len)?;
            match (code, value) {
                (0, _) => break,
                (9, [resolution, ..]) => interface.resolution = *resolution,
                (14, value) => {
                    let bytes = *value.first_chunk()?;
                    interface.offset = if self.big {
                        i64::from_be_bytes(bytes)
                    } else {
                        i64::from_le_bytes(bytes)
                    };
                }
                _ => {}
            }
            options = options.get(len.next_multiple_of(4).saturating_add(4)..)?;
        }
        match &mut self.kind {
            Kind::PcapNg { interfaces } if interfaces.len() < INTERFACES => {
                interfaces.push(interface);
            }
            _ => return None,
        }
        Some(Ok(None))
    }

    fn of(&self, number: u32) -> Result<Interface, Malformed> {
        let Kind::PcapNg { interfaces } = &self.kind else {
            return Err(Malformed::Interface(self.at));
        };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let found = interfaces.get(number).copied();
        found.ok_or(Malformed::Interface(self.at))
    }

    /// Enhanced packet, and the packet block before it, whose number of the interface is shorter.
    fn packet(&self, kind: u32, body: &'a [u8]) -> Option<Result<Record<'a>, Malformed>> {
        let number = match kind {
            2 => self.u16(body, 0)?.into(),
            _ => self.u32(body, 0)?,
        };
        let interface = match self.of(number) {
            Ok(interface) => interface,
            Err(error) => return Some(Err(error)),
        };
        let ticks = u64::from(self.u32(body, 4)?) << 32 | u64::from(self.u32(body, 8)?);
        let kept = usize::try_from(self.u32(body, 12)?).ok()?;
        Some(Ok(Record {
            link: interface.link,
            time: time(ticks, &interface),
            len: self.u32(body, 16)?,
            bytes: body.get(20..)?.get(..kept)?,
        }))
    }

    /// A packet of the first interface, without a time.
    fn simple_packet(&self, body: &'a [u8]) -> Option<Result<Record<'a>, Malformed>> {
        let interface = match self.of(0) {
            Ok(interface) => interface,
            Err(error) => return Some(Err(error)),
        };
        let len = self.u32(body, 0)?;
        let kept = match interface.snap {
            0 => len,
            snap => len.min(snap),
        };
        let kept = usize::try_from(kept).ok()?;
        Some(Ok(Record {
            link: interface.link,
            time: None,
            len,
            bytes: body.get(4..)?.get(..kept)?,
        }))
    }
}

/// The time that a number of an interface's ticks stands for, if it can be told.
fn time(ticks: u64, interface: &Interface) -> Option<Timespec> {
    let exponent = u32::from(interface.resolution & 0x7f);
    let base: u128 = if interface.resolution & 0x80 == 0 {
        10
    } else {
        2
    };
    let per_second = base.checked_pow(exponent)?;
    let ticks = u128::from(ticks);
    let sec = i64::try_from(ticks.checked_div(per_second)?).ok()?;
    let rest = ticks.checked_rem(per_second)?;
    let nanos = rest.checked_mul(1_000_000_000)?.checked_div(per_second)?;
    Some(Timespec {
        sec: sec.checked_add(interface.offset)?,
        nsec: u32::try_from(nanos).ok()?,
    })
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.next_record().transpose();
        if matches!(result, Some(Err(_))) {
            self.at = self.file.len();
        }
        result
    }
}

#[cfg(test)]
mod tests;
