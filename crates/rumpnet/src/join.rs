//! Segments of TCP that came one after the other, joined to one large packet: what is above then has to do once what it would do
//! for each of them. Cut again ([`offload`](crate::offload)), it is the same segments.

use crate::{
    Packet, checksum,
    interface::Batch,
    offload::{Layout, TCP, TCP_SUM},
    packet::Checksum,
    spares,
};
use alloc::vec::Vec;

/// Largest packet of IP.
const PACKET: usize = 65_535;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// Do not fragment (IPv4).
const DF: u16 = 0x4000;

/// Joins what may be joined. `link`: bytes of the link's header.
#[inline]
pub(crate) fn join(frames: &mut Batch, link: usize) {
    // Batches of datagrams are left as they are.
    if frames.len() > 1 && frames.iter().any(|frame| may_be_tcp(frame, link)) {
        join_all(frames, link);
    }
}

/// Whether one of the bytes that may name a protocol in a header of IP names TCP, or the header is not in the first bytes.
fn may_be_tcp(frame: &Packet, link: usize) -> bool {
    const V4: usize = 9;
    const V6: usize = 6;
    match frame.head().get(link..link.saturating_add(10)) {
        Some(ip) => ip.get(V4) == Some(&TCP) || ip.get(V6) == Some(&TCP),
        None => true,
    }
}

fn join_all(frames: &mut Batch, link: usize) {
    let mut last: Option<Run> = None;
    let mut spent = Vec::with_capacity(frames.len());
    // Round once, so that the batch keeps its memory.
    for _ in 0..frames.len() {
        let Some(mut frame) = frames.pop_front() else {
            break;
        };
        let segment = Segment::of(&mut frame, link);
        if let (Some(run), Some(segment)) = (&mut last, &segment)
            && run.takes(&frame, segment)
        {
            spent.push(run.add(frame, segment));
            continue;
        }
        frames.extend(last.take().and_then(Run::end));
        match segment {
            Some(segment) => last = Some(Run::new(frame, segment)),
            None => frames.push_back(frame),
        }
    }
    frames.extend(last.and_then(Run::end));
    if !spent.is_empty() {
        spares::give(spent.into_iter());
    }
}

/// What a frame must have to be joined with others: a segment with data, an acknowledgment, and nothing special.
struct Segment {
    layout: Layout,
    seq: u32,
    /// Of IPv4 with fragments allowed.
    id: Option<u16>,
    push: bool,
    payload: usize,
    /// Its sum holds, or need not.
    verified: bool,
}

impl Segment {
    fn of(frame: &mut Packet, link: usize) -> Option<Self> {
        if frame.meta.segment > 0 || matches!(frame.meta.checksum, Checksum::Partial { .. }) {
            return None;
        }
        let layout = Layout::of(frame, link)?;
        let len = frame.len().checked_sub(layout.ip)?;
        let head = frame.head();
        let ip = head.get(layout.ip..layout.tcp)?;
        let kind: u16 = if layout.version == 4 { 0x0800 } else { 0x86dd };
        if link > 0 && !head.get(..link)?.ends_with(&kind.to_be_bytes()) {
            return None;
        }
        let word = |at: usize| Some(u16::from_be_bytes(*ip.get(at..)?.first_chunk()?));
        let (said, id) = if layout.version == 4 {
            let fragment = word(6)?;
            let sound = ip.len() == 20 && crate::checksum::of(ip) == [0, 0];
            if !sound || fragment & !DF != 0 {
                return None;
            }
            (word(2)?.into(), (fragment & DF == 0).then_some(word(4)?))
        } else {
            (usize::from(word(4)?).checked_add(40)?, None)
        };
        let tcp = head.get(layout.tcp..)?;
        let flags = *tcp.get(13)?;
        let payload = frame.len().checked_sub(layout.payload)?;
        if said != len || flags & !PSH != ACK || payload == 0 {
            return None;
        }
        Some(Self {
            seq: u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?),
            id,
            push: flags & PSH != 0,
            payload,
            verified: frame.meta.checksum == Checksum::Valid,
            layout,
        })
    }

    /// Whether the sum is right.
    fn holds(&self, frame: &Packet) -> bool {
        if self.verified {
            return true;
        }
        let head = frame.head();
        let (Some((from, to)), Some(tcp)) =
            (self.layout.addresses(head), head.get(self.layout.tcp..))
        else {
            return false;
        };
        let len = frame.len().saturating_sub(self.layout.tcp);
        let mut sum = checksum::pseudo(from, to, TCP, len);
        sum.add_bytes(tcp);
        frame
            .chain()
            .pieces()
            .for_each(|piece| sum.add_bytes(piece));
        sum.checksum() == [0, 0]
    }
}

/// Segments that have been joined, or one to which others may be.
struct Run {
    frame: Packet,
    first: Segment,
    /// Sequence number that comes next.
    next: u32,
    count: u16,
    /// Nothing may follow: the last was shorter, or wants to be delivered.
    ended: bool,
}

impl Run {
    fn new(frame: Packet, first: Segment) -> Self {
        Self {
            next: first.seq.wrapping_add(length(first.payload)),
            count: 1,
            ended: first.push,
            first,
            frame,
        }
    }

    /// Whether a frame goes on where this one ends, with headers that differ in nothing else.
    fn takes(&mut self, frame: &Packet, segment: &Segment) -> bool {
        let Self { first, .. } = self;
        let len = self.frame.len().saturating_add(segment.payload);
        let id = first.id.map(|id| id.wrapping_add(self.count));
        let follows = !self.ended
            && segment.seq == self.next
            && segment.id == id
            && segment.payload <= first.payload
            && len.saturating_sub(first.layout.ip) <= PACKET
            && same(&self.frame, frame, &first.layout, &segment.layout);
        if !follows || !segment.holds(frame) {
            return false;
        }
        first.verified |= first.holds(&self.frame);
        first.verified
    }

    /// Adds the payload of a frame, and gives the rest back.
    fn add(&mut self, mut frame: Packet, segment: &Segment) -> Packet {
        frame.strip(segment.layout.payload);
        self.frame.append(frame.take_chain());
        self.next = self.next.wrapping_add(length(segment.payload));
        self.count = self.count.saturating_add(1);
        self.ended = segment.push || segment.payload < self.first.payload;
        self.first.push |= segment.push;
        frame
    }

    /// The packet, with headers that say what it has become.
    fn end(mut self) -> Option<Packet> {
        if self.count > 1 {
            self.adapt()?;
        }
        Some(self.frame)
    }

    fn adapt(&mut self) -> Option<()> {
        let Self { frame, first, .. } = self;
        let Layout { ip, tcp, .. } = first.layout;
        let total = frame.len().checked_sub(ip)?;
        let transport = frame.len().checked_sub(tcp)?;
        let header = u16::try_from(tcp.checked_sub(ip)?).ok()?;
        let (from, to) = first.layout.addresses(frame.head())?;
        let partial = checksum::partial(&checksum::pseudo(from, to, TCP, transport));
        let head = frame.head_mut();
        let bytes = head.get_mut(ip..tcp)?;
        if first.layout.version == 4 {
            let len = u16::try_from(total).ok()?;
            bytes.get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
            bytes.get_mut(10..12)?.fill(0);
            let sum = crate::checksum::of(bytes);
            bytes.get_mut(10..12)?.copy_from_slice(&sum);
        } else {
            let len = u16::try_from(transport).ok()?;
            bytes.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
        }
        let bytes = head.get_mut(tcp..)?;
        if first.push {
            *bytes.get_mut(13)? |= PSH;
        }
        let place = TCP_SUM..TCP_SUM.checked_add(2)?;
        bytes.get_mut(place)?.copy_from_slice(&partial);
        frame.meta.segment = u16::try_from(first.payload).ok()?;
        frame.meta.checksum = Checksum::Partial {
            start: header,
            offset: 16,
        };
        Some(())
    }
}

/// Payloads are shorter than a packet.
fn length(payload: usize) -> u32 {
    u32::try_from(payload).unwrap_or(u32::MAX)
}

/// Whether two frames have the same headers but for what differs between segments of one connection: lengths, sums, identification,
/// sequence number, PSH.
fn same(one: &Packet, other: &Packet, a: &Layout, b: &Layout) -> bool {
    if (a.version, a.ip, a.tcp, a.payload) != (b.version, b.ip, b.tcp, b.payload) {
        return false;
    }
    let (one, other) = (one.head(), other.head());
    let equal = |from: usize, to: usize| {
        let one = one.get(from..to);
        one.is_some() && one == other.get(from..to)
    };
    let in_ip = |from: usize, to: usize| equal(a.ip.saturating_add(from), a.ip.saturating_add(to));
    let in_tcp =
        |from: usize, to: usize| equal(a.tcp.saturating_add(from), a.tcp.saturating_add(to));
    let ip = match a.version {
        4 => in_ip(0, 2) && in_ip(6, 10) && in_ip(12, 20),
        _ => in_ip(0, 4) && in_ip(6, 40),
    };
    // Ports; acknowledgment and length; window; urgent pointer and options.
    let options = a.payload.saturating_sub(a.tcp);
    equal(0, a.ip) && ip && in_tcp(0, 4) && in_tcp(8, 13) && in_tcp(14, 16) && in_tcp(18, options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "numbers of a test")]

    use super::join;
    use crate::{
        Packet,
        interface::{Batch, Features},
        offload::{fit, tests::large},
        packet::Checksum,
    };
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn bytes(frame: &Packet) -> Vec<u8> {
        frame.pieces().flatten().copied().collect()
    }

    /// Segments of a large packet without flags that only some of them have, as they come from a device.
    fn segments(version: u8, payload: usize, segment: u16) -> Batch {
        let mut frame = large(version, payload, segment);
        let flags = if version == 4 {
            14 + 20 + 13
        } else {
            14 + 40 + 13
        };
        frame.pull(flags + 1).unwrap()[flags] = 0x18;
        let mut frames = Batch::new();
        fit(frame, 14, Features::empty(), &mut frames).unwrap();
        for frame in &mut frames {
            frame.meta.checksum = Checksum::InPacket;
        }
        frames
    }

    proptest! {
        /// Joined and cut again they are what they were.
        #[test]
        fn there_and_back(version in prop_oneof![Just(4_u8), Just(6)], payload in 1_usize..60_000, segment in 600_u16..9_000) {
            let mut frames = segments(version, payload, segment);
            let before: Vec<Vec<u8>> = frames.iter().map(bytes).collect();
            join(&mut frames, 14);
            prop_assert_eq!(frames.len(), 1);
            let frame = frames.pop_front().unwrap();
            if before.len() > 1 {
                prop_assert_eq!(frame.meta.segment, segment);
                fit(frame, 14, Features::empty(), &mut frames).unwrap();
            } else {
                frames.push_back(frame);
            }
            prop_assert!(frames.iter().map(bytes).eq(before));
        }

        /// A frame that is damaged, missing or in a wrong place is joined with nothing that it does not belong to: no byte of the data is lost, doubled
        /// or moved.
        #[test]
        fn only_what_belongs_together(payload in 15_000_usize..60_000, what in 0_u8..4, at in 0_usize..3, place in any::<prop::sample::Index>()) {
            let mut frames = segments(4, payload, 1_448);
            match what {
                0 => drop(frames.remove(at)),
                1 => frames.swap(at, at + 1),
                2 => {
                    let twice = frames[at].clone();
                    frames.insert(at, twice);
                }
                _ => {
                    let mut damaged = bytes(&frames[at]);
                    let place = place.index(damaged.len());
                    damaged[place] ^= 0x20;
                    frames[at] = Packet::with_bytes(&damaged);
                }
            }
            let before: Vec<Vec<u8>> = frames.iter().map(bytes).collect();
            join(&mut frames, 14);
            prop_assert!(frames.len() < before.len());
            let mut after = Batch::new();
            for frame in frames {
                if frame.meta.segment > 0 {
                    fit(frame, 14, Features::empty(), &mut after).unwrap();
                } else {
                    after.push_back(frame);
                }
            }
            prop_assert!(after.iter().map(bytes).eq(before));
        }

        #[test]
        fn nonsense(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6)) {
            let mut batch: Batch = frames.iter().map(|frame| Packet::with_bytes(frame)).collect();
            join(&mut batch, 14);
            prop_assert!(batch.iter().map(bytes).eq(frames));
        }
    }

    #[test]
    fn others_stay_as_they_are() {
        let mut frames = segments(6, 10_000, 1_000);
        for frame in frames.iter_mut().step_by(2) {
            // The traffic class, and with it whether congestion was met.
            frame.pull(15).unwrap()[14] = 0x6f;
        }
        join(&mut frames, 14);
        assert_eq!(frames.len(), 10);
    }
}
