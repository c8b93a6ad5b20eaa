//! A packet on its way: headers in a small buffer of its own, payload as a [`Chain`].

use crate::Chain;
use alloc::boxed::Box;
use bytes::Bytes;
use core::mem;

/// Room in front of the payload for the headers of all layers: Ethernet with a VLAN tag, IPv6 with options, TCP with options.
const HEADROOM: usize = BEGIN as usize;
/// Payload that fits behind that room needs no memory of its own.
const INLINE: usize = 64;
const ROOM: usize = HEADROOM + INLINE;
/// Where the head of a new packet begins.
const BEGIN: u16 = 128;

/// What is known of the transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is in the packet, and was not verified.
    #[default]
    InPacket,
    /// It was verified, or no wire was between: a receiver need not look.
    Valid,
    /// In its place is the sum of the pseudo-header alone; who puts the packet on a wire adds the bytes from `start` on, counted
    /// from the begin of the network header.
    Partial {
        /// Begin of the transport header.
        start: u16,
        /// Place of the checksum after `start`.
        offset: u16,
    },
}

impl Checksum {
    /// Completes the sum in the bytes of a whole frame whose network header begins at `network`, if that is left to do.
    pub fn complete(self, frame: &mut [u8], network: usize) {
        let Self::Partial { start, offset } = self else {
            return;
        };
        let start = network.saturating_add(start.into());
        let Some(transport) = frame.get_mut(start..) else {
            return;
        };
        let at = usize::from(offset);
        // UDP says with zero that there is no sum (RFC 768); 6 is the place of its sum.
        let sum = match crate::checksum::of(transport) {
            [0, 0] if offset == 6 => [0xff, 0xff],
            sum => sum,
        };
        if let Some(field) = transport.get_mut(at..at.saturating_add(2)) {
            field.copy_from_slice(&sum);
        }
    }
}

/// To whom the frame was addressed on its link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cast {
    /// To this host.
    #[default]
    Unicast,
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
}

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The state of its transport checksum.
    pub checksum: Checksum,
    /// Payload bytes of each segment of TCP, or datagram of UDP, that a large packet stands for (the last may have fewer); 0 when it is one.
    pub segment: u16,
    /// A large packet stands for datagrams of UDP, and not for segments of TCP.
    pub datagrams: bool,
    /// Index of the interface that it came from; 0 for none.
    pub interface: u32,
    /// How it was addressed on the link.
    pub cast: Cast,
}

/// A packet. Layers put their headers in front when it goes down, and take them off when it comes up.
///
/// It passes through a dozen hands by value, so that what is large of it is in a box.
#[derive(Clone, Debug)]
pub struct Packet {
    body: Box<Body>,
    start: u16,
    end: u16,
    /// What is known of it.
    pub meta: Meta,
}

#[derive(Clone, Debug)]
struct Body {
    buf: [u8; ROOM],
    chain: Chain,
}

impl Default for Packet {
    fn default() -> Self {
        Self::new()
    }
}

impl Packet {
    /// An empty packet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_chain(Chain::new())
    }

    /// A packet with this payload.
    #[must_use]
    pub fn with_chain(chain: Chain) -> Self {
        Self {
            body: Box::new(Body {
                buf: [0; ROOM],
                chain,
            }),
            start: BEGIN,
            end: BEGIN,
            meta: Meta::default(),
        }
    }

    /// A packet with a copy of these bytes. Few bytes take no memory of their own.
    #[must_use]
    pub fn with_bytes(bytes: &[u8]) -> Self {
        let mut packet = Self::new();
        packet.fill(bytes);
        packet
    }

    /// Puts a copy of these bytes into it, which is empty.
    #[inline]
    pub fn fill(&mut self, bytes: &[u8]) {
        let end = HEADROOM.saturating_add(bytes.len());
        if let Some(space) = self.body.buf.get_mut(HEADROOM..end) {
            space.copy_from_slice(bytes);
            self.set_head(HEADROOM, end);
        } else {
            self.body.chain.push(Bytes::copy_from_slice(bytes));
        }
    }

    /// Makes it as if it were new, but for bytes that nobody sees.
    pub(crate) fn cleared(mut self) -> Self {
        if !self.body.chain.is_empty() {
            self.body.chain = Chain::new();
        }
        (self.start, self.end, self.meta) = (BEGIN, BEGIN, Meta::default());
        self
    }

    /// Where in the buffer the head is.
    const fn bounds(&self) -> (usize, usize) {
        (self.start as usize, self.end as usize)
    }

    /// Both are at most [`ROOM`].
    #[expect(clippy::cast_possible_truncation, reason = "the buffer is short")]
    const fn set_head(&mut self, start: usize, end: usize) {
        (self.start, self.end) = (start as u16, end as u16);
    }

    const fn head_len(&self) -> usize {
        let (start, end) = self.bounds();
        end.saturating_sub(start)
    }

    /// Number of bytes.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.head_len().saturating_add(self.body.chain.len())
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in front of [`chain`](Self::chain): headers, and payload that is short.
    #[must_use]
    #[inline]
    pub fn head(&self) -> &[u8] {
        let (start, end) = self.bounds();
        self.body.buf.get(start..end).unwrap_or_default()
    }

    /// The same to be changed.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let (start, end) = self.bounds();
        self.body.buf.get_mut(start..end).unwrap_or_default()
    }

    /// The bytes after [`head`](Self::head).
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.body.chain
    }

    /// Makes room for `count` bytes in front and returns it, zeros or not. `None` without such room.
    #[inline]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        let (old, end) = self.bounds();
        let start = old.checked_sub(count)?;
        self.set_head(start, end);
        self.body.buf.get_mut(start..old)
    }

    /// Makes room for `count` bytes behind those of the head and returns it, zeros or not. `None` without such room, or when the chain has bytes.
    #[inline]
    pub fn extend(&mut self, count: usize) -> Option<&mut [u8]> {
        let (start, old) = self.bounds();
        let end = old.checked_add(count)?;
        if end > ROOM || !self.body.chain.is_empty() {
            return None;
        }
        self.set_head(start, end);
        self.body.buf.get_mut(old..end)
    }

    /// The first `count` bytes, moved together where necessary. `None` when there are fewer, or more than the headers of all layers
    /// may have.
    #[inline]
    pub fn pull(&mut self, count: usize) -> Option<&mut [u8]> {
        let have = self.head_len();
        if have < count {
            self.gather(count.saturating_sub(have), count)?;
        }
        let (start, _) = self.bounds();
        self.body.buf.get_mut(start..start.saturating_add(count))
    }

    /// Moves so many bytes of the chain to the head, which has `count` then.
    fn gather(&mut self, missing: usize, count: usize) -> Option<()> {
        if missing > self.body.chain.len() || count > ROOM {
            return None;
        }
        let (mut start, mut end) = self.bounds();
        let body = &mut *self.body;
        // Moved no further than it takes: headers of other layers are still to come in front.
        if let Some(over) = end.saturating_add(missing).checked_sub(ROOM) {
            let begin = start.saturating_sub(over);
            body.buf.copy_within(start..end, begin);
            (start, end) = (begin, begin.saturating_add(end.saturating_sub(start)));
        }
        let more = end.saturating_add(missing);
        body.chain.take_into(body.buf.get_mut(end..more)?);
        self.set_head(start, more);
        Some(())
    }

    /// Takes the first `count` bytes off, all if there are fewer.
    #[inline]
    pub fn strip(&mut self, count: usize) {
        let head = self.head_len().min(count);
        let (start, end) = self.bounds();
        self.set_head(start.saturating_add(head), end);
        if count > head {
            self.body.chain.advance(count.saturating_sub(head));
        }
    }

    /// Keeps the first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.cut(len);
        }
    }

    fn cut(&mut self, len: usize) {
        let head = self.head_len();
        if len < head {
            let (start, _) = self.bounds();
            self.set_head(start, start.saturating_add(len));
            self.body.chain = Chain::new();
        } else {
            self.body.chain.truncate(len.saturating_sub(head));
        }
    }

    /// Copies bytes from `from` on into `buf`; returns how many there were.
    pub fn copy_to(&self, from: usize, buf: &mut [u8]) -> usize {
        let head = self.head();
        let first = head.get(from..).unwrap_or_default();
        let count = first.len().min(buf.len());
        let (begin, rest) = buf.split_at_mut(count);
        begin.copy_from_slice(first.get(..count).unwrap_or_default());
        let more = self
            .body
            .chain
            .copy_to(from.saturating_sub(head.len()), rest);
        count.saturating_add(more)
    }

    /// The bytes in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let head = Some(self.head()).filter(|head| !head.is_empty());
        head.into_iter()
            .chain(self.body.chain.pieces().map(|piece| &**piece))
    }

    /// Puts more payload behind it.
    pub fn append(&mut self, more: Chain) {
        self.body.chain.append(more);
    }

    /// All bytes as payload. What is in the buffer is copied.
    #[must_use]
    pub fn into_chain(mut self) -> Chain {
        self.take_chain()
    }

    /// The same; the packet is left empty.
    #[must_use]
    pub fn take_chain(&mut self) -> Chain {
        let rest = mem::take(&mut self.body.chain);
        if self.start == self.end {
            return rest;
        }
        let mut chain = Chain::from(Bytes::copy_from_slice(self.head()));
        chain.append(rest);
        self.end = self.start;
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::Packet;
    use crate::Chain;
    use alloc::vec::Vec;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn bytes(packet: &Packet) -> Vec<u8> {
        packet.pieces().flatten().copied().collect()
    }

    #[test]
    fn headers_that_are_pulled_leave_room_in_front() {
        // Ethernet, IPv6 and TCP come up; then the packet is passed on.
        let mut packet = Packet::with_chain(Bytes::from([7; 200].to_vec()).into());
        packet.pull(14).unwrap();
        packet.strip(14);
        assert_eq!(packet.pull(72).unwrap().len(), 72);
        packet.pull(72).unwrap()[0] = 1;
        packet.prepend(14).unwrap().fill(2);
        let mut all = [0; 186 + 14];
        assert_eq!(packet.copy_to(0, &mut all), 200);
        assert_eq!((all[13], all[14], all[15], all[199]), (2, 1, 7, 7));
    }

    #[test]
    fn headers_come_and_go() {
        let mut packet = Packet::with_bytes(b"payload");
        packet.prepend(4).unwrap().copy_from_slice(b"tcp ");
        packet.prepend(3).unwrap().copy_from_slice(b"ip ");
        assert_eq!(bytes(&packet), b"ip tcp payload");
        assert_eq!(packet.pull(3).unwrap(), b"ip ");
        packet.strip(3);
        packet.truncate(7);
        assert_eq!(bytes(&packet), b"tcp pay");
        assert!(packet.prepend(1_000).is_none());
        assert!(packet.pull(8).is_none());
    }

    proptest! {
        /// Pulling, stripping and cutting change no byte, wherever the pieces begin.
        #[test]
        fn like_a_vector(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..90), 0..5),
            steps in prop::collection::vec((0_usize..3, 0_usize..150), 0..12),
        ) {
            let mut chain = Chain::new();
            pieces.iter().for_each(|piece| chain.push(Bytes::copy_from_slice(piece)));
            let (mut packet, mut model) = (Packet::with_chain(chain), pieces.concat());
            for (step, n) in steps {
                match step {
                    0 => {
                        let pulled = packet.pull(n).map(|bytes| bytes.to_vec());
                        prop_assert_eq!(pulled.as_deref(), model.get(..n));
                    }
                    1 => {
                        packet.strip(n);
                        model.drain(..n.min(model.len()));
                    }
                    _ => {
                        packet.truncate(n);
                        model.truncate(n);
                    }
                }
                prop_assert_eq!(packet.len(), model.len());
                let mut copy = [0; 60];
                let count = packet.copy_to(n, &mut copy);
                let end = model.len().min(n.saturating_add(60));
                prop_assert_eq!(&copy[..count], model.get(n..end).unwrap_or_default());
            }
            prop_assert_eq!(bytes(&packet), &model[..]);
            let chain = packet.into_chain();
            let all: Vec<u8> = chain.pieces().flatten().copied().collect();
            prop_assert_eq!(all, model);
        }
    }
}
