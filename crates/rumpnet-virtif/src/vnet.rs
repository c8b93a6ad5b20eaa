//! The header in front of frames (virtio 1.2, section 5.1.6, without the count of buffers).

use rumpnet::{
    Packet, ethernet,
    offload::DATAGRAMS,
    packet::{Checksum, Meta},
};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, byteorder::native_endian::U16,
};

/// Bytes of the header.
pub const LEN: usize = 10;
/// Bytes of a header of UDP.
const UDP: u16 = 8;

mod flag {
    pub(super) const NEEDS_CSUM: u8 = 1;
    pub(super) const DATA_VALID: u8 = 2;
}

mod gso {
    pub(super) const NONE: u8 = 0;
    pub(super) const TCPV4: u8 = 1;
    pub(super) const TCPV6: u8 = 4;
    /// Datagrams of UDP, over either version of IP.
    pub(super) const UDP_L4: u8 = 5;
    pub(super) const ECN: u8 = 0x80;
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    flags: u8,
    gso: u8,
    header: U16,
    segment: U16,
    start: U16,
    offset: U16,
}

const _: () = assert!(size_of::<Raw>() == LEN);

/// The header for a frame.
#[must_use]
pub fn write(frame: &Packet) -> [u8; LEN] {
    let (flags, start, offset) = match frame.meta.checksum {
        Checksum::Partial { start, offset } => (flag::NEEDS_CSUM, start.saturating_add(14), offset),
        Checksum::InPacket | Checksum::Valid => (0, 0, 0),
    };
    let mut raw = Raw {
        flags,
        gso: gso::NONE,
        header: 0.into(),
        segment: 0.into(),
        start: start.into(),
        offset: offset.into(),
    };
    if frame.meta.segment > 0 && frame.meta.datagrams {
        raw.gso = gso::UDP_L4;
        raw.header = start.saturating_add(UDP).into();
        raw.segment = frame.meta.segment.into();
    } else if frame.meta.segment > 0 {
        // The length of TCP's header is in the upper half of its 13th byte.
        let mut length = [0];
        frame.copy_to(usize::from(start).saturating_add(12), &mut length);
        let header = u16::from(length[0] >> 4).saturating_mul(4);
        let six = frame.head().get(12..14) == Some(&[0x86, 0xdd]);
        raw.gso = if six { gso::TCPV6 } else { gso::TCPV4 };
        raw.header = start.saturating_add(header).into();
        raw.segment = frame.meta.segment.into();
    }
    let mut bytes = [0; LEN];
    bytes.copy_from_slice(raw.as_bytes());
    bytes
}

/// What a header says of the frame behind it; `None` when it cannot be.
#[must_use]
pub fn read(header: &[u8], frame: &[u8]) -> Option<Meta> {
    let raw = Raw::read_from_bytes(header).ok()?;
    let checksum = if raw.flags & flag::NEEDS_CSUM != 0 {
        let (start, offset) = (raw.start.get(), raw.offset.get());
        let end = usize::from(start)
            .checked_add(offset.into())?
            .checked_add(2)?;
        if end > frame.len() {
            return None;
        }
        let link = u16::try_from(ethernet::HEADER).unwrap_or(14);
        Checksum::Partial {
            start: start.checked_sub(link)?,
            offset,
        }
    } else if raw.flags & flag::DATA_VALID != 0 {
        Checksum::Valid
    } else {
        Checksum::InPacket
    };
    let (segment, datagrams) = match raw.gso & !gso::ECN {
        gso::NONE => (0, false),
        gso::TCPV4 | gso::TCPV6 => (raw.segment.get(), false),
        gso::UDP_L4 => datagrams(frame, checksum, raw.segment.get())?,
        _ => return None,
    };
    Some(Meta {
        checksum,
        segment,
        datagrams,
        ..Meta::default()
    })
}

/// How long the datagrams are that a frame stands for, if it stands for several; `None` when it cannot.
fn datagrams(frame: &[u8], checksum: Checksum, segment: u16) -> Option<(u16, bool)> {
    const PROTOCOL: u8 = 17;
    const SUM: u16 = 6;
    // The sum is left to who cuts it: that says where the header of UDP is.
    let Checksum::Partial { start, offset: SUM } = checksum else {
        return None;
    };
    let ip = frame.get(ethernet::HEADER..)?;
    let (protocol, header) = match ip.first()? >> 4 {
        4 => (*ip.get(9)?, u16::from(ip.first()? & 15).checked_mul(4)?),
        6 => (*ip.get(6)?, 40),
        _ => return None,
    };
    let payload = ip.len().checked_sub(usize::from(start.checked_add(UDP)?))?;
    if segment == 0 || payload.div_ceil(segment.into()) > DATAGRAMS {
        return None;
    }
    if protocol != PROTOCOL || start != header {
        return None;
    }
    // One that is not longer than that is one, as it is.
    let several = payload > usize::from(segment);
    Some((if several { segment } else { 0 }, several))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut frame = Packet::with_bytes(&[0; 60]);
        frame.meta.checksum = Checksum::Partial {
            start: 20,
            offset: 16,
        };
        let header = write(&frame);
        assert_eq!(
            read(&header, &[0; 60]).map(|meta| meta.checksum),
            Some(frame.meta.checksum)
        );
        // The sum lies behind the end of the frame.
        assert_eq!(read(&header, &[0; 51]), None);
        assert_eq!(read(&header[..9], &[0; 60]), None);
        assert_eq!(read(&[0; LEN], &[]), Some(Meta::default()));
    }

    /// A frame with a datagram of UDP of so many bytes, without sums.
    fn udp(version: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 14];
        if version == 4 {
            frame.extend([
                0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
            ]);
        } else {
            frame.extend([0x60, 0, 0, 0, 0, 0, 17, 64]);
            frame.extend([7; 32]);
        }
        frame.extend([0, 53, 1, 0, 0, 0, 0, 0]);
        frame.resize(frame.len() + payload, 9);
        frame
    }

    fn large(version: u8, segment: u16) -> Meta {
        Meta {
            checksum: Checksum::Partial {
                start: if version == 4 { 20 } else { 40 },
                offset: 6,
            },
            segment,
            datagrams: true,
            ..Meta::default()
        }
    }

    #[test]
    fn datagrams_there_and_back() {
        for version in [4, 6] {
            let bytes = udp(version, 5_000);
            let mut frame = Packet::with_bytes(&bytes);
            frame.meta = large(version, 1_200);
            let header = write(&frame);
            assert_eq!((header[0], header[1]), (flag::NEEDS_CSUM, gso::UDP_L4));
            assert_eq!(read(&header, &bytes), Some(frame.meta));
            // One that is not longer than each shall be is one.
            let short = read(&header, &udp(version, 1_200)).unwrap();
            assert_eq!((short.segment, short.datagrams), (0, false));
            assert_eq!(short.checksum, frame.meta.checksum);
        }
    }

    /// What who is at the other end may say, and what not.
    #[test]
    fn impossible_datagrams() {
        for version in [4, 6] {
            let bytes = udp(version, 5_000);
            let header = |meta: Meta| {
                let mut frame = Packet::with_bytes(&bytes);
                frame.meta = meta;
                write(&frame)
            };
            let good = header(large(version, 1_200));
            // None at all, more than there may be, and as many as may be.
            let (mut none, mut many, mut most) = (good, good, good);
            none[4..6].copy_from_slice(&0_u16.to_ne_bytes());
            many[4..6].copy_from_slice(&39_u16.to_ne_bytes());
            most[4..6].copy_from_slice(&40_u16.to_ne_bytes());
            assert_eq!(read(&none, &bytes), None);
            assert_eq!(read(&many, &bytes), None);
            assert_eq!(read(&most, &bytes).unwrap().segment, 40);
            // Without a sum to be left, or with that of another protocol.
            let mut summed = good;
            summed[0] = 0;
            assert_eq!(read(&summed, &bytes), None);
            let mut tcp = good;
            tcp[8..10].copy_from_slice(&16_u16.to_ne_bytes());
            assert_eq!(read(&tcp, &bytes), None);
            // The header of UDP is not where it says.
            let mut moved = good;
            moved[6..8].copy_from_slice(&60_u16.to_ne_bytes());
            assert_eq!(read(&moved, &bytes), None);
            // It is no UDP, no IP; it ends in its headers.
            let mut other = bytes.clone();
            other[if version == 4 { 23 } else { 20 }] = 6;
            assert_eq!(read(&good, &other), None);
            other = bytes.clone();
            other[14] = 0x50;
            assert_eq!(read(&good, &other), None);
            for len in 0..14 + 28 {
                assert_eq!(read(&good, &bytes[..len]), None, "{len}");
            }
        }
    }

    proptest::proptest! {
        /// Whatever it says, it does no harm, and what is believed is inside of the frame.
        #[test]
        fn anything(header: [u8; LEN], frame in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Some(meta) = read(&header, &frame) {
                if let Checksum::Partial { start, offset } = meta.checksum {
                    proptest::prop_assert!(usize::from(start) + usize::from(offset) + 16 <= frame.len());
                }
                proptest::prop_assert!(!meta.datagrams || usize::from(meta.segment) < frame.len());
                let mut packet = Packet::with_bytes(&frame);
                packet.meta = meta;
                let mut frames = rumpnet::interface::Batch::new();
                let none = rumpnet::interface::Features::empty();
                let _ = rumpnet::offload::fit(packet, ethernet::HEADER, none, &mut frames);
            }
        }
    }
}
