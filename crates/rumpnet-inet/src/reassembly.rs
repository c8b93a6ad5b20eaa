//! Putting fragments together (RFC 791 section 3.2, RFC 815, RFC 8200 section 4.5), with bounds for whatever comes.

use crate::ipv4;
use alloc::{collections::BTreeMap, vec::Vec};
use core::{net::IpAddr, time::Duration};
use rumpnet::{Chain, Packet, packet::Checksum};
use rumpuser::Instant;

/// Packets of which parts are missing at most.
const MOST: usize = 256;
/// Bytes that all of them may hold.
const MEMORY: usize = 4 << 20;
/// What a fragment costs besides its bytes.
const OVERHEAD: usize = 256;

/// What fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// What the packet carries; 0 where that does not count (RFC 8200 section 4.5).
    pub protocol: u8,
    /// The number that its sender gave it.
    pub id: u32,
}

/// The header of a fragment.
pub trait Head: Copy {
    /// The byte with the ECN field (TOS, traffic class).
    fn class(&mut self) -> &mut u8;
}

impl Head for ipv4::Header {
    fn class(&mut self) -> &mut u8 {
        &mut self.tos
    }
}

/// The codepoint of congestion: both bits of the ECN field (RFC 3168 section 5).
const CE: u8 = 3;

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it begins in the payload, in bytes.
    pub from: usize,
    /// More fragments follow.
    pub more: bool,
}

struct Partial<H> {
    parts: BTreeMap<usize, Chain>,
    /// Length of the whole, when the last fragment is there.
    total: Option<usize>,
    have: usize,
    /// It was given up: what still comes of it is dropped as well (RFC 5722 section 4).
    refused: bool,
    /// Of the first fragment, for the error that is sent when the rest does not come.
    first: Option<H>,
    /// A bit for each codepoint of ECN that its fragments have had.
    codepoints: u8,
    until: Instant,
}

impl<H: Head> Partial<H> {
    /// The header of the whole. Congestion that any fragment has met is not forgotten (RFC 3168 section 5.3): nothing if it cannot be told, as not
    /// all of them were capable of it.
    fn head(&self) -> Option<H> {
        let mut head = self.first?;
        if self.codepoints & (1 << CE) != 0 {
            if self.codepoints & 1 != 0 {
                return None;
            }
            *head.class() |= CE;
        }
        Some(head)
    }

    /// The packet that its parts make up.
    fn joined(self) -> Packet {
        let mut whole = Chain::new();
        self.parts.into_values().for_each(|part| whole.append(part));
        let mut whole = Packet::with_chain(whole);
        whole.meta.checksum = Checksum::InPacket;
        whole
    }

    /// Whether a fragment cannot be of the same packet as those that are there: they overlap, or do not agree where it ends.
    fn clashes(&self, from: usize, end: usize, last: bool) -> bool {
        let before = self.parts.range(..end).next_back();
        let overlaps = before.is_some_and(|(at, part)| at.saturating_add(part.len()) > from);
        let beyond = self.total.is_some_and(|total| end > total);
        let furthest = self.parts.last_key_value();
        let ends = furthest.map_or(0, |(at, part)| at.saturating_add(part.len()));
        let short = last && self.have > 0 && ends > end;
        let again = last && self.total.is_some_and(|total| total != end);
        overlaps || beyond || short || again
    }
}

/// The first fragment of a packet that was never complete, if it came.
pub type First<H> = Option<(H, Packet)>;

/// All packets of which parts are missing.
pub struct Reassembly<H> {
    partial: BTreeMap<Key, Partial<H>>,
    memory: usize,
    patience: Duration,
    longest: usize,
    /// Not after the time when the first of them is given up. It is looked at for every packet.
    due: Option<Instant>,
}

impl<H: Head> Reassembly<H> {
    /// Bytes that are held, with what they cost.
    pub const fn memory(&self) -> usize {
        self.memory
    }

    /// None yet. `patience`: how long the rest of a packet may take; `longest`: the largest payload.
    #[must_use]
    pub const fn new(patience: Duration, longest: usize) -> Self {
        Self {
            partial: BTreeMap::new(),
            memory: 0,
            patience,
            longest,
            due: None,
        }
    }

    /// Takes a fragment without its header. Returns the packet, and the header of its first fragment, when it is the last one that
    /// was missing.
    ///
    /// # Errors
    /// The packet is given up: fragments overlap (which only an attacker's do, RFC 5722), it would be too long, there is no room, or congestion
    /// that it has met could not be told.
    #[expect(clippy::result_unit_err, reason = "there is nothing more to say")]
    pub fn add(
        &mut self,
        key: Key,
        place: Place,
        header: &H,
        packet: Packet,
        now: Instant,
    ) -> Result<Option<(H, Packet)>, ()> {
        let Place { from, more } = place;
        let end = from.saturating_add(packet.len());
        let aligned = packet.len().is_multiple_of(8) && !packet.is_empty();
        if more && !aligned || end > self.longest {
            self.forget(key);
            return Err(());
        }
        let cost = packet.len().saturating_add(OVERHEAD);
        self.make_room(key, cost);
        // All wait equally long: those that come later are due later.
        self.due = self.due.or(Some(now.after(self.patience)));
        let partial = self.partial.entry(key).or_insert_with(|| Partial {
            parts: BTreeMap::new(),
            total: None,
            have: 0,
            refused: false,
            first: None,
            codepoints: 0,
            until: now.after(self.patience),
        });
        let last = !more;
        // The same fragment twice is a duplicate, not an attack.
        let same = partial.parts.range(..end).next_back();
        if same.is_some_and(|(at, part)| *at == from && part.len() == packet.len()) {
            return Ok(None);
        }
        if partial.refused {
            return Err(());
        }
        if partial.clashes(from, end, last) {
            self.refuse(key);
            return Err(());
        }
        if from == 0 {
            partial.first = Some(*header);
        }
        let mut head = *header;
        partial.codepoints |= 1_u8.wrapping_shl((*head.class() & CE).into());
        if last {
            partial.total = Some(end);
        }
        partial.have = partial.have.saturating_add(packet.len());
        self.memory = self.memory.saturating_add(cost);
        partial.parts.insert(from, packet.into_chain());
        if partial.total != Some(partial.have) {
            return Ok(None);
        }
        let done = self.take(key).ok_or(())?;
        let first = done.head().ok_or(())?;
        Ok(Some((first, done.joined())))
    }

    /// Gives up the oldest packets until there is room for a fragment of another.
    fn make_room(&mut self, key: Key, cost: usize) {
        while self.memory.saturating_add(cost) > MEMORY || self.partial.len() >= MOST {
            let oldest = self.partial.iter().filter(|(other, _)| **other != key);
            let oldest = oldest.min_by_key(|(_, partial)| partial.until);
            match oldest.map(|(other, _)| *other) {
                Some(other) => self.forget(other),
                None => break,
            }
        }
    }

    fn take(&mut self, key: Key) -> Option<Partial<H>> {
        let partial = self.partial.remove(&key)?;
        let cost = partial.parts.len().saturating_mul(OVERHEAD);
        self.memory = self
            .memory
            .saturating_sub(cost.saturating_add(partial.have));
        Some(partial)
    }

    /// Drops the parts of a packet, and what still comes of it.
    fn refuse(&mut self, key: Key) {
        if let Some(mut partial) = self.take(key) {
            partial.parts.clear();
            (partial.have, partial.total, partial.refused) = (0, None, true);
            self.partial.insert(key, partial);
        }
    }

    fn forget(&mut self, key: Key) {
        drop(self.take(key));
    }

    /// When the first of them is given up, or earlier.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Gives up those whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<First<H>> {
        let due = self.partial.iter().filter(|(_, p)| p.until <= now);
        let due: Vec<Key> = due.map(|(key, _)| *key).collect();
        let gone: Vec<_> = due.into_iter().filter_map(|key| self.take(key)).collect();
        self.due = self.partial.values().map(|partial| partial.until).min();
        gone.into_iter()
            .map(|mut partial| {
                let packet = Packet::with_chain(partial.parts.remove(&0)?);
                Some((partial.first?, packet))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    impl Head for u8 {
        fn class(&mut self) -> &mut u8 {
            self
        }
    }

    fn new() -> Reassembly<u8> {
        Reassembly::new(PATIENCE, 65_515)
    }

    fn fragment(id: u32, from: usize, len: usize, more: bool) -> (Key, Place, Packet) {
        let key = Key {
            source: core::net::Ipv4Addr::LOCALHOST.into(),
            destination: core::net::Ipv4Addr::LOCALHOST.into(),
            protocol: 17,
            id,
        };
        let bytes: Vec<u8> = (from..from.saturating_add(len))
            .map(|n| n.to_le_bytes()[0])
            .collect();
        (
            key,
            Place { from, more },
            Packet::with_chain(Bytes::from(bytes).into()),
        )
    }

    fn add(
        r: &mut Reassembly<u8>,
        (key, place, packet): (Key, Place, Packet),
    ) -> Result<Option<Packet>, ()> {
        let whole = r.add(key, place, &0, packet, Instant(0));
        whole.map(|whole| whole.map(|(_, whole)| whole))
    }

    proptest! {
        /// In any order, with some twice.
        #[test]
        fn any_order(order in Just((0..7_usize).chain([2, 5]).collect::<Vec<_>>()).prop_shuffle()) {
            let mut r = new();
            let mut whole = None;
            for n in order {
                let done = add(&mut r, fragment(1, n.saturating_mul(16), if n == 6 { 5 } else { 16 }, n < 6)).unwrap();
                whole = whole.or(done);
            }
            let whole: Vec<u8> = whole.unwrap().pieces().flatten().copied().collect();
            let wanted: Vec<u8> = (0..101).collect();
            prop_assert_eq!(whole, wanted);
        }
    }

    #[test]
    fn overlapping_fragments_give_up_the_packet() {
        let mut r = new();
        assert_eq!(
            add(&mut r, fragment(1, 0, 24, true)).unwrap().map(|_| ()),
            None
        );
        assert!(add(&mut r, fragment(1, 16, 16, true)).is_err());
        assert_eq!((r.partial.len(), r.memory), (1, 0));
        // What comes afterwards does not make it whole (RFC 5722 section 4).
        assert!(add(&mut r, fragment(1, 0, 16, true)).is_err());
        assert!(add(&mut r, fragment(1, 16, 8, false)).is_err());
        assert!(add(&mut r, fragment(2, 65_512, 24, false)).is_err());
        assert!(add(&mut r, fragment(2, 0, 7, true)).is_err());
        assert!(add(&mut r, fragment(3, 64, 8, false)).is_ok());
        assert!(add(&mut r, fragment(3, 72, 8, true)).is_err());
    }

    /// RFC 3168 section 5.3.
    #[test]
    fn congestion_that_a_fragment_has_met_is_told_of_the_whole() {
        let whole = |classes: [u8; 3]| {
            let mut r = new();
            let mut last = Ok(None);
            for (n, class) in classes.into_iter().enumerate() {
                let (key, place, packet) = fragment(1, n.saturating_mul(8), 8, n < 2);
                last = r.add(key, place, &class, packet, Instant(0));
            }
            assert_eq!(r.memory, 0);
            last.map(|whole| whole.map(|(class, _)| class))
        };
        // The field beside it is the first fragment's.
        assert_eq!(whole([0x28, 0x40, 0x80]), Ok(Some(0x28)));
        assert_eq!(whole([0x2a, 2, 2]), Ok(Some(0x2a)));
        assert_eq!(whole([0x2a, 3, 2]), Ok(Some(0x2b)));
        assert_eq!(whole([0x29, 1, 3]), Ok(Some(0x2b)));
        assert_eq!(whole([3, 2, 2]), Ok(Some(3)));
        // Not all were capable of it.
        assert_eq!(whole([2, 3, 0]), Err(()));
    }

    #[test]
    fn memory_is_bounded_and_time_as_well() {
        let mut r = new();
        for id in 0..2_000 {
            assert!(add(&mut r, fragment(id, 0, 16_000, true)).is_ok());
            assert!(r.memory <= MEMORY && r.partial.len() <= MOST);
        }
        assert_eq!(r.deadline(), Some(Instant(0).after(PATIENCE)));
        let gone = r.expire(Instant(0).after(PATIENCE));
        assert!(gone.len() > 100 && gone.iter().all(Option::is_some));
        assert_eq!((r.memory, r.deadline()), (0, None));
    }
}
