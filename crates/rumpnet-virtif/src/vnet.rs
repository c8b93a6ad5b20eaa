//! The header in front of frames (virtio 1.2, section 5.1.6, without the count of buffers).

use rumpnet::{
    Packet, ethernet,
    packet::{Checksum, Meta},
};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, byteorder::native_endian::U16,
};

/// Bytes of the header.
pub const LEN: usize = 10;

mod flag {
    pub(super) const NEEDS_CSUM: u8 = 1;
    pub(super) const DATA_VALID: u8 = 2;
}

mod gso {
    pub(super) const NONE: u8 = 0;
    pub(super) const TCPV4: u8 = 1;
    pub(super) const TCPV6: u8 = 4;
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
    if frame.meta.segment > 0 {
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

/// What a header says of the frame behind it, in `frame` bytes; `None` when it cannot be.
#[must_use]
pub fn read(header: &[u8], frame: usize) -> Option<Meta> {
    let raw = Raw::read_from_bytes(header).ok()?;
    let checksum = if raw.flags & flag::NEEDS_CSUM != 0 {
        let (start, offset) = (raw.start.get(), raw.offset.get());
        let end = usize::from(start)
            .checked_add(offset.into())?
            .checked_add(2)?;
        if end > frame {
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
    let segment = match raw.gso & !gso::ECN {
        gso::NONE => 0,
        gso::TCPV4 | gso::TCPV6 => raw.segment.get(),
        _ => return None,
    };
    Some(Meta {
        checksum,
        segment,
        ..Meta::default()
    })
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
            read(&header, 60).map(|meta| meta.checksum),
            Some(frame.meta.checksum)
        );
        // The sum lies behind the end of the frame.
        assert_eq!(read(&header, 51), None);
        assert_eq!(read(&header[..9], 60), None);
        assert_eq!(read(&[0; LEN], 0), Some(Meta::default()));
    }
}
