//! Packets that are used again: whoever gives away about as often as he takes need not ask for memory.
//!
//! A stack has a few of its own. All kernels of a process share those of batches, datagrams or the parts of a large packet, which are more than
//! the C library keeps at hand: see [`take`] and [`give`].

use crate::Packet;
use alloc::vec::Vec;
use rumpuser::sync::Mutex;

/// Packets that wait to be used again.
#[derive(Debug)]
pub struct Spares {
    waiting: Vec<Packet>,
    /// So many at most.
    kept: usize,
}

impl Spares {
    /// None yet, and never more than `kept`.
    #[must_use]
    pub const fn new(kept: usize) -> Self {
        let waiting = Vec::new();
        Self { waiting, kept }
    }

    /// An empty packet.
    #[inline]
    pub fn take(&mut self) -> Packet {
        self.waiting.pop().unwrap_or_default()
    }

    /// A packet that is not needed any more.
    #[inline]
    pub fn give(&mut self, packet: Packet) {
        if self.waiting.len() < self.kept {
            self.waiting.push(packet.cleared());
        }
    }
}

/// So many are kept for all: half a megabyte.
pub const KEPT: usize = 2_048;
static SHARED: Mutex<Spares> = Mutex::new(Spares::new(KEPT));

/// So many empty packets, out of those that all share.
#[must_use]
pub fn take(count: usize) -> Vec<Packet> {
    let mut all = Vec::with_capacity(count);
    let mut shared = SHARED.lock();
    let first = shared.waiting.len().saturating_sub(count);
    all.extend(shared.waiting.drain(first..));
    drop(shared);
    all.resize_with(count, Packet::new);
    all
}

/// Packets that are not needed any more, to those that all share.
pub fn give(packets: impl ExactSizeIterator<Item = Packet>) {
    // What the payload is freed by may take locks itself.
    let mut empty = Vec::with_capacity(packets.len());
    empty.extend(packets.map(Packet::cleared));
    let mut shared = SHARED.lock();
    let room = shared.kept.saturating_sub(shared.waiting.len());
    let count = room.min(empty.len());
    shared.waiting.extend(empty.drain(..count));
}

#[cfg(test)]
mod tests {
    use super::{KEPT, SHARED, Spares, give, take};
    use crate::{
        Packet,
        packet::{Checksum, Meta},
    };
    use alloc::vec::Vec;
    use bytes::Bytes;

    #[test]
    fn a_packet_that_is_used_again_is_like_a_new_one() {
        let mut spares = Spares::new(16);
        let mut packet = Packet::with_chain(Bytes::from([7; 200].to_vec()).into());
        packet.pull(40).unwrap();
        packet.strip(3);
        packet.meta.checksum = Checksum::Valid;
        packet.meta.interface = 3;
        spares.give(packet);
        let mut again = spares.take();
        assert_eq!((again.len(), again.meta), (0, Packet::new().meta));
        again.extend(3).unwrap().copy_from_slice(b"few");
        again.prepend(66).unwrap().fill(1);
        let bytes: Vec<u8> = again.pieces().flatten().copied().collect();
        assert_eq!(bytes[64..], *b"\x01\x01few");
        assert!(spares.take().is_empty());
        (0..100).for_each(|_| spares.give(Packet::new()));
        assert_eq!(spares.waiting.len(), 16);
    }

    #[test]
    fn many_that_are_used_again_are_empty_and_not_without_end() {
        let mut all = take(100);
        for (n, packet) in (0..).zip(&mut all) {
            packet.fill(&alloc::vec![n; usize::from(n)]);
            packet.prepend(40).unwrap().fill(n);
            packet.meta.segment = 1;
        }
        give(all.into_iter());
        let again = take(150);
        assert_eq!(again.len(), 150);
        for mut packet in again {
            assert_eq!((packet.len(), packet.meta), (0, Meta::default()));
            packet.fill(b"new");
            packet.prepend(128).unwrap().fill(0);
            assert!(packet.prepend(1).is_none());
            assert_eq!(packet.len(), 131);
        }
        give(take(2 * KEPT).into_iter());
        assert!((1..=KEPT).contains(&SHARED.lock().waiting.len()));
    }
}
