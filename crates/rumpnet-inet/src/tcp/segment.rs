//! A segment without its addresses.

use super::{Options, Seq, Timestamps, bytes_u32};
use rumpnet::Chain;

bitflags::bitflags! {
    /// Control bits of the header (RFC 9293, section 3.1; RFC 3168, section 6.1). ACK is not among them: it follows from
    /// [`Segment::ack`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u8 {
        /// No more data from the sender.
        const FIN = 0x01;
        /// Synchronizes sequence numbers.
        const SYN = 0x02;
        /// Resets the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The urgent pointer counts.
        const URG = 0x20;
        /// Congestion was experienced.
        const ECE = 0x40;
        /// The congestion window was reduced.
        const CWR = 0x80;
    }
}

/// A segment as it was in a packet, or is to be put into one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte, or of SYN.
    pub seq: Seq,
    /// The next number that the sender expects.
    pub ack: Option<Seq>,
    /// Control bits.
    pub flags: Flags,
    /// The window as in the header, not scaled.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// Data; may be more than a packet can hold, in both directions.
    pub payload: Chain,
}

/// What the header of a segment says, and of its options the timestamps. Nearly all segments have no more than this and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) seq: Seq,
    pub(crate) ack: Option<Seq>,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) timestamps: Option<Timestamps>,
}

impl Numbers {
    /// The segment with this data.
    pub(crate) fn with(self, payload: Chain) -> Segment {
        Segment {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: Options {
                timestamps: self.timestamps,
                ..Options::default()
            },
            payload,
        }
    }
}

impl Segment {
    pub(crate) const fn numbers(&self) -> Numbers {
        Numbers {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            timestamps: self.options.timestamps,
        }
    }

    /// Sequence numbers that it takes (SEG.LEN): data, SYN and FIN.
    #[must_use]
    pub fn len(&self) -> u32 {
        let control = |flag| u32::from(self.flags.contains(flag));
        bytes_u32(self.payload.len())
            .saturating_add(control(Flags::SYN))
            .saturating_add(control(Flags::FIN))
    }

    /// Whether it takes no sequence number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number after the last one that it takes.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.seq.plus(self.len())
    }
}

/// The reset with which a host answers a segment that belongs to no connection (RFC 9293, section 3.10.7.1); `None` for a reset.
#[must_use]
pub fn reset_for(segment: &Segment) -> Option<Segment> {
    if segment.flags.contains(Flags::RST) {
        return None;
    }
    let mut reset = Segment {
        flags: Flags::RST,
        ..Segment::default()
    };
    match segment.ack {
        Some(ack) => reset.seq = ack,
        None => reset.ack = Some(segment.end()),
    }
    Some(reset)
}
