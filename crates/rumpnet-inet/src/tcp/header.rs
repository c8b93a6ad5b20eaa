//! The header as it is on the wire (RFC 9293, section 3.1).

use super::{Flags, Numbers, Options, Segment, Seq, Timestamps, options::OPTIONS_MAX};
use rumpnet::Packet;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    byteorder::big_endian::{U16, U32},
};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// The ACK bit, which [`Flags`] has not.
const ACK: u8 = 0x10;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    source: U16,
    destination: U16,
    seq: U32,
    ack: U32,
    /// Data offset in words in the upper half, the lower reserved.
    offset: u8,
    flags: u8,
    window: U16,
    checksum: U16,
    urgent: U16,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);
/// Place of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = 16;

/// The ports of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Of the sender.
    pub source: u16,
    /// Of the receiver.
    pub destination: u16,
}

/// Why a packet holds no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than a header.
    Short {
        /// Its length.
        len: usize,
    },
    /// The data offset is less than a header, or leads out of the packet.
    DataOffset {
        /// The offset in bytes.
        offset: usize,
        /// Length of the packet.
        len: usize,
    },
}

/// Takes the header off a packet that begins with it. The packet is empty afterwards; on an error it is as before. The checksum
/// is not looked at.
///
/// # Errors
/// The header is [`Malformed`].
pub fn parse(packet: &mut Packet) -> Result<(Ports, Segment), Malformed> {
    let len = packet.len();
    let raw = packet.pull(HEADER_LEN).ok_or(Malformed::Short { len })?;
    let raw = RawHeader::read_from_bytes(raw).map_err(|_| Malformed::Short { len })?;
    let offset = usize::from(raw.offset >> 4).saturating_mul(4);
    let malformed = Malformed::DataOffset { offset, len };
    if offset < HEADER_LEN {
        return Err(malformed);
    }
    let header = packet.pull(offset).ok_or(malformed)?;
    let options = match header.get(HEADER_LEN..) {
        Some(bytes) if !bytes.is_empty() => Options::parse(bytes),
        _ => Options::default(),
    };
    packet.strip(offset);
    let payload = packet.take_chain();
    let ports = Ports {
        source: raw.source.get(),
        destination: raw.destination.get(),
    };
    let segment = Segment {
        options,
        ..raw.numbers(None).with(payload)
    };
    Ok((ports, segment))
}

impl RawHeader {
    const fn numbers(&self, timestamps: Option<Timestamps>) -> Numbers {
        Numbers {
            seq: Seq(self.seq.get()),
            ack: if self.flags & ACK != 0 {
                Some(Seq(self.ack.get()))
            } else {
                None
            },
            flags: Flags::from_bits_truncate(self.flags),
            window: self.window.get(),
            urgent: self.urgent.get(),
            timestamps,
        }
    }

    /// With a checksum of 0.
    fn of(numbers: &Numbers, ports: Ports, words: u8) -> Self {
        let ack = if numbers.ack.is_some() { ACK } else { 0 };
        Self {
            source: ports.source.into(),
            destination: ports.destination.into(),
            seq: numbers.seq.0.into(),
            ack: numbers.ack.unwrap_or_default().0.into(),
            offset: words << 4,
            flags: numbers.flags.bits() | ack,
            window: numbers.window.into(),
            checksum: 0.into(),
            urgent: numbers.urgent.into(),
        }
    }
}

/// The header of nearly all segments, without options or with timestamps alone: its length, and what it says. `options`: what follows after
/// the fixed part. `None` for any other.
#[inline(always)]
pub(crate) fn read_plain(fixed: [u8; HEADER_LEN], options: &[u8]) -> Option<(usize, Numbers)> {
    let raw: RawHeader = zerocopy::transmute!(fixed);
    let timestamps = match raw.offset >> 4 {
        5 => None,
        8 => Some(Timestamps::alone(options.first_chunk()?)?),
        _ => return None,
    };
    let len = usize::from(raw.offset >> 4).wrapping_mul(4);
    Some((len, raw.numbers(timestamps)))
}

/// Puts such a header in front of the data of a segment, with a checksum of 0.
#[inline(always)]
pub(crate) fn write_plain(numbers: &Numbers, ports: Ports, packet: &mut Packet) -> Option<()> {
    let words = if numbers.timestamps.is_some() { 8 } else { 5 };
    let room = packet.prepend(usize::from(words).wrapping_mul(4))?;
    let (fixed, options) = room.split_first_chunk_mut::<HEADER_LEN>()?;
    *fixed = zerocopy::transmute!(RawHeader::of(numbers, ports, words));
    if let Some(timestamps) = numbers.timestamps {
        *options.first_chunk_mut()? = timestamps.padded();
    }
    Some(())
}

/// A packet of a segment: header with a checksum of 0, and payload.
#[must_use]
pub fn write(segment: Segment, ports: Ports) -> Packet {
    let (numbers, options) = (segment.numbers(), segment.options);
    let mut packet = Packet::with_chain(segment.payload);
    // The headroom is made for this.
    let _ = write_to(&numbers, &options, ports, &mut packet);
    packet
}

/// Puts the header of a segment in front of its data, with a checksum of 0. `None`: there is no room.
pub(crate) fn write_to(
    numbers: &Numbers,
    options: &Options,
    ports: Ports,
    packet: &mut Packet,
) -> Option<()> {
    let mut space = [0; OPTIONS_MAX];
    let used = options.encode(&mut space);
    let options = space.get(..used)?;
    let len = HEADER_LEN.saturating_add(options.len());
    let words = u8::try_from(len / 4).unwrap_or_default();
    let room = packet.prepend(len)?;
    let (fixed, rest) = room.split_first_chunk_mut::<HEADER_LEN>()?;
    *fixed = zerocopy::transmute!(RawHeader::of(numbers, ports, words));
    rest.copy_from_slice(options);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Ports, parse, write};
    use crate::tcp::{Flags, Options, Segment, Seq};
    use alloc::vec::Vec;
    use bytes::Bytes;
    use proptest::prelude::*;
    use rumpnet::Packet;

    fn segment() -> Segment {
        Segment {
            seq: Seq(0x0102_0304),
            ack: Some(Seq(0x0506_0708)),
            flags: Flags::PSH | Flags::CWR,
            window: 0x090a,
            urgent: 0x0b0c,
            options: Options {
                window_scale: Some(3),
                ..Options::default()
            },
            payload: Bytes::from_static(b"data").into(),
        }
    }

    /// RFC 9293, section 3.1: the place of each field.
    #[test]
    fn on_the_wire() {
        let ports = Ports {
            source: 0x1112,
            destination: 0x1314,
        };
        let mut packet = write(segment(), ports);
        let bytes: Vec<u8> = packet.pieces().flatten().copied().collect();
        assert_eq!(
            bytes,
            b"\x11\x12\x13\x14\x01\x02\x03\x04\x05\x06\x07\x08\x60\x98\x09\x0a\0\0\x0b\x0c\x01\x03\x03\x03data"
        );
        assert_eq!(parse(&mut packet), Ok((ports, segment())));
        assert!(packet.is_empty());
    }

    /// RFC 9293, section 3.1: a data offset is 5 or more and inside the packet.
    #[test]
    fn broken() {
        let mut short = Packet::with_bytes(&[0; 19]);
        assert_eq!(parse(&mut short), Err(Malformed::Short { len: 19 }));
        for (words, len) in [(4, 60), (0, 60), (6, 23), (15, 59)] {
            let mut bytes = [0; 60];
            bytes[12] = words << 4;
            let mut packet = Packet::with_bytes(&bytes[..len]);
            let offset = usize::from(words) * 4;
            assert_eq!(
                parse(&mut packet),
                Err(Malformed::DataOffset { offset, len })
            );
            assert_eq!(packet.len(), len);
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut packet = Packet::with_bytes(&bytes);
            if let Ok((ports, segment)) = parse(&mut packet) {
                let again = parse(&mut write(segment.clone(), ports)).unwrap().1;
                prop_assert_eq!((again.seq, again.flags, again.payload), (segment.seq, segment.flags, segment.payload));
            }
        }
    }
}
