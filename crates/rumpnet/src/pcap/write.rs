//! Captures as they are written.

use super::{Format, LinkType};
use crate::{Packet, capture::Way};
use alloc::vec::Vec;
use rumpuser::Timespec;

/// Writes captures of one interface.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    format: Format,
    link: LinkType,
    snap: usize,
}

impl Encoder {
    /// For frames of this kind, of which at most `snap` bytes each are kept.
    #[must_use]
    pub const fn new(format: Format, link: LinkType, snap: usize) -> Self {
        Self { format, link, snap }
    }

    /// What a capture begins with; pcapng also keeps the interface's name.
    #[must_use]
    pub fn head(&self, name: &str) -> Vec<u8> {
        let mut head = Vec::new();
        let LinkType(link) = self.link;
        match self.format {
            Format::Pcap => {
                // Magic number for nanoseconds, version 2.4, time zone and accuracy that nobody uses.
                head.extend(0xa1b2_3c4d_u32.to_le_bytes());
                head.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                head.extend(word(self.snap));
                head.extend(u32::from(link).to_le_bytes());
            }
            Format::PcapNg => {
                let mut section = Vec::new();
                section.extend(0x1a2b_3c4d_u32.to_le_bytes());
                section.extend([1, 0, 0, 0]);
                section.extend(u64::MAX.to_le_bytes());
                block(&mut head, 0x0a0d_0d0a, &section);
                let mut description = Vec::new();
                description.extend(link.to_le_bytes());
                description.extend([0, 0]);
                description.extend(word(self.snap));
                option(&mut description, 2, name.as_bytes());
                // Times in nanoseconds.
                option(&mut description, 9, &[9]);
                option(&mut description, 0, &[]);
                block(&mut head, 1, &description);
            }
        }
        head
    }

    /// Adds a frame. pcapng also keeps which way it went, if that is known.
    pub fn record(&self, out: &mut Vec<u8>, way: Option<Way>, frame: &Packet, time: Timespec) {
        let len = frame.len().min(self.snap);
        let mut bytes = alloc::vec![0; len];
        frame.copy_to(0, &mut bytes);
        if len == frame.len() {
            frame.meta.checksum.complete(&mut bytes, self.link.header());
        }
        match self.format {
            Format::Pcap => {
                // Seconds of this format end in 2106.
                let seconds = u32::try_from(time.sec).unwrap_or(u32::MAX);
                out.extend(seconds.to_le_bytes());
                out.extend(time.nsec.to_le_bytes());
                out.extend(word(len));
                out.extend(word(frame.len()));
                out.extend(bytes);
            }
            Format::PcapNg => {
                let seconds = u64::try_from(time.sec).unwrap_or(0);
                let nanos = seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(time.nsec.into());
                let mut packet = Vec::new();
                packet.extend([0; 4]);
                let high = u32::try_from(nanos >> 32).unwrap_or(u32::MAX);
                let low = u32::try_from(nanos & 0xffff_ffff).unwrap_or(u32::MAX);
                packet.extend(high.to_le_bytes());
                packet.extend(low.to_le_bytes());
                packet.extend(word(len));
                packet.extend(word(frame.len()));
                packet.extend(bytes);
                pad(&mut packet);
                if let Some(way) = way {
                    let direction: u32 = if way == Way::In { 1 } else { 2 };
                    option(&mut packet, 2, &direction.to_le_bytes());
                    option(&mut packet, 0, &[]);
                }
                block(out, 6, &packet);
            }
        }
    }
}

fn word(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    out.extend(value);
    pad(out);
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = word(body.len().saturating_add(12));
    out.extend(kind.to_le_bytes());
    out.extend(len);
    out.extend(body);
    out.extend(len);
}
