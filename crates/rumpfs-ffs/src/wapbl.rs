//! WAPBL, NetBSD's journal of block images: what it holds is laid over the device.
//!
//! Two headers, each in a block of its own, then a ring of records from `tail` to `head`. A record of block images has a block with a
//! list of addresses, and behind it the images, which may go round the end of the ring. A record of revocations takes
//! addresses out again. The numbers are in the byte order of the volume.

use crate::{
    error::{Error, Place, Result, at},
    layout::{RawBlockList, RawLogHeader, RawLogged, log_type},
    overlay::{Overlay, SECTOR_BITS},
    superblock::LogPlace,
    types::{Order, index, number, round_up},
};
use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};
use rumpuser::BlockDevice;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// No larger journal is replayed: sixteen times the size that newfs gives one at most. Bounds the memory for its addresses.
const MOST_BYTES: u64 = 1 << 30;

/// The device as it would be after replay.
///
/// # Errors
/// [`Error::Value`] when the journal is damaged, [`Error::Unsupported`] for a version or a place that is not known,
/// [`Error::Device`].
pub(crate) fn replay(
    device: &Arc<dyn BlockDevice>,
    order: Order,
    place: LogPlace,
) -> Result<Arc<dyn BlockDevice>> {
    let images = match order {
        Order::Little => Log::<LittleEndian>::open(&**device, place)?.images()?,
        Order::Big => Log::<BigEndian>::open(&**device, place)?.images()?,
    };
    Ok(Arc::new(Overlay::new(device.clone(), images)))
}

/// An opened journal.
struct Log<'a, O> {
    device: &'a dyn BlockDevice,
    /// Its first byte on the device; all other offsets count from there.
    start: u64,
    block_bits: u32,
    ring_start: u64,
    ring_size: u64,
    head: u64,
    tail: u64,
    order: core::marker::PhantomData<O>,
}

impl<'a, O: ByteOrder> Log<'a, O> {
    fn open(device: &'a dyn BlockDevice, place: LogPlace) -> Result<Self> {
        let start = place.start.saturating_mul(place.block_size);
        let where_ = Place::Log(start);
        if place.version != 1 {
            return Err(Error::Unsupported(where_, "version"));
        }
        if !matches!(place.location, 1 | 2) {
            return Err(Error::Unsupported(where_, "location"));
        }
        let wrong = |field, found: u64, expected| Error::value(where_, field, found, expected);
        let block = place.block_size;
        if !block.is_power_of_two() || !(512..=65_536).contains(&block) {
            return Err(wrong("block size", block, "a power of two, 512 to 65536"));
        }
        let len = place.count.saturating_mul(block);
        if start.saturating_add(len) > device.len() {
            return Err(wrong("length", len, "within the device"));
        }
        if len > MOST_BYTES {
            return Err(Error::Unsupported(where_, "a journal of more than 1 GiB"));
        }
        let mut newest: Option<(u32, Self)> = None;
        for slot in [0, block] {
            let mut bytes = [0; size_of::<RawLogHeader<LittleEndian>>()];
            let read = device.read_at(start.saturating_add(slot), &mut bytes);
            read.map_err(at(where_))?;
            let Ok(raw) = RawLogHeader::<O>::ref_from_bytes(&bytes) else {
                continue;
            };
            let generation = raw.generation.get();
            if raw.kind.get() != log_type::HEADER
                || newest
                    .as_ref()
                    .is_some_and(|(known, _)| *known > generation)
            {
                continue;
            }
            newest = Some((
                generation,
                Self {
                    device,
                    start,
                    block_bits: raw.log_dev_bshift.get(),
                    ring_start: raw.circ_off.get(),
                    ring_size: raw.circ_size.get(),
                    head: raw.head.get(),
                    tail: raw.tail.get(),
                    order: core::marker::PhantomData,
                },
            ));
        }
        let (_, log) = newest.ok_or_else(|| wrong("number of headers", 0, "1 or 2"))?;
        log.check(len)?;
        Ok(log)
    }

    fn wrong(&self, at: u64, field: &'static str, found: u64, expected: &'static str) -> Error {
        let place = Place::Log(self.start.saturating_add(at));
        Error::value(place, field, found, expected)
    }

    /// The ring lies in the journal, head and tail lie in the ring.
    fn check(&self, len: u64) -> Result<()> {
        if !(SECTOR_BITS..=16).contains(&self.block_bits) {
            let bits = self.block_bits.into();
            return Err(self.wrong(0, "log_dev_bshift", bits, "9 to 16"));
        }
        let mask = self.block_len().wrapping_sub(1);
        let two = self.block_len().saturating_mul(2);
        if self.ring_start < two || self.ring_start & mask != 0 {
            return Err(self.wrong(0, "circ_off", self.ring_start, "behind the headers"));
        }
        let end = self.ring_start.checked_add(self.ring_size);
        let end = end.filter(|end| *end <= len && self.ring_size & mask == 0);
        let Some(end) = end.filter(|_| self.ring_size > 0) else {
            return Err(self.wrong(0, "circ_size", self.ring_size, "within the journal"));
        };
        if self.head == 0 && self.tail == 0 {
            return Ok(());
        }
        for (field, at) in [("head", self.head), ("tail", self.tail)] {
            if at < self.ring_start || at >= end || at & mask != 0 {
                return Err(self.wrong(0, field, at, "in the ring"));
            }
        }
        Ok(())
    }

    fn block_len(&self) -> u64 {
        1_u64.wrapping_shl(self.block_bits)
    }

    /// The place `len` bytes after `at`, round the ring's end; `len` is no more than the ring.
    fn advance(&self, at: u64, len: u64) -> u64 {
        let end = self.ring_start.saturating_add(self.ring_size);
        let to = at.saturating_add(len);
        if to >= end {
            to.saturating_sub(self.ring_size)
        } else {
            to
        }
    }

    /// Bytes of the ring that hold records. Where head and tail meet it is full.
    fn used(&self) -> u64 {
        match (self.head, self.tail) {
            (0, 0) => 0,
            (head, tail) if head > tail => head.saturating_sub(tail),
            (head, tail) => self.ring_size.saturating_sub(tail.saturating_sub(head)),
        }
    }

    /// The byte of the newest image of each sector that has one.
    fn images(&self) -> Result<BTreeMap<u64, u64>> {
        let mut images = BTreeMap::new();
        let mut left = self.used();
        let mut at_ = self.tail;
        let mut block = vec![0; index(self.block_len())];
        while left > 0 {
            let place = Place::Log(self.start.saturating_add(at_));
            let from = self.start.saturating_add(at_);
            self.device.read_at(from, &mut block).map_err(at(place))?;
            let list = RawBlockList::<O>::read_from_prefix(&block);
            let (raw, entries) = list.map_err(|_| self.wrong(at_, "block", 0, "a record"))?;
            let (kind, len) = (raw.kind.get(), u64::from(raw.len.get()));
            if len < self.block_len() || len > left || len & self.block_len().wrapping_sub(1) != 0 {
                return Err(self.wrong(at_, "length", len, "whole blocks in use"));
            }
            let taken = match kind {
                log_type::INODES => self.block_len(),
                log_type::REVOCATIONS => {
                    for (sector, count) in self.entries(at_, &raw, entries)? {
                        revoke(&mut images, sector, count);
                    }
                    self.block_len()
                }
                log_type::BLOCKS => {
                    self.take(at_, len, &self.entries(at_, &raw, entries)?, &mut images)?
                }
                _ => return Err(self.wrong(at_, "type", kind.into(), "that of a record")),
            };
            if taken != len {
                return Err(self.wrong(at_, "length", len, "what the record's entries need"));
            }
            at_ = self.advance(at_, len);
            left = left.saturating_sub(len);
        }
        Ok(images)
    }

    /// The entries of a record: first sector and number of sectors.
    fn entries(&self, at: u64, raw: &RawBlockList<O>, bytes: &[u8]) -> Result<Vec<(u64, u64)>> {
        let count = raw.count.get();
        let most = bytes
            .len()
            .checked_div(size_of::<RawLogged<LittleEndian>>())
            .unwrap_or(0);
        if number(most) < count.into() {
            return Err(self.wrong(at, "number of entries", count.into(), "what fits a block"));
        }
        let mut entries = Vec::with_capacity(most);
        for bytes in bytes
            .chunks_exact(size_of::<RawLogged<LittleEndian>>())
            .take(index(count.into()))
        {
            let Ok(raw) = RawLogged::<O>::ref_from_bytes(bytes) else {
                continue;
            };
            let (sector, len) = (raw.daddr.get(), u64::from(raw.dlen.get()));
            let sectors = len.wrapping_shr(SECTOR_BITS);
            if len != sectors.wrapping_shl(SECTOR_BITS) {
                return Err(self.wrong(at, "bytes of an entry", len, "whole sectors"));
            }
            let on_device = self.device.len().wrapping_shr(SECTOR_BITS);
            if sector
                .checked_add(sectors)
                .is_none_or(|end| end > on_device)
            {
                return Err(self.wrong(at, "address of an entry", sector, "on the device"));
            }
            entries.push((sector, sectors));
        }
        Ok(entries)
    }

    /// Notes the images of a record of `len` bytes; says how many bytes the record needs.
    fn take(
        &self,
        at: u64,
        len: u64,
        entries: &[(u64, u64)],
        images: &mut BTreeMap<u64, u64>,
    ) -> Result<u64> {
        let sum = entries.iter().fold(0_u64, |sum, (_, sectors)| {
            sum.saturating_add(sectors.wrapping_shl(SECTOR_BITS))
        });
        let needed = round_up(sum, self.block_bits).saturating_add(self.block_len());
        if needed != len {
            return Ok(needed);
        }
        let mut image = self.advance(at, self.block_len());
        for (sector, count) in entries {
            for n in 0..*count {
                images.insert(sector.saturating_add(n), self.start.saturating_add(image));
                image = self.advance(image, 1 << SECTOR_BITS);
            }
        }
        Ok(needed)
    }
}

/// Forgets the images of a range of sectors.
fn revoke(images: &mut BTreeMap<u64, u64>, sector: u64, count: u64) {
    let range = sector..sector.saturating_add(count);
    while let Some((sector, _)) = images.range(range.clone()).next() {
        let sector = *sector;
        images.remove(&sector);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use rumpuser_sim::MemDisk;

    /// A journal of eight blocks of 512 bytes at byte 8192, big-endian, whose ring begins at its third block.
    struct Journal(Vec<u8>);

    const START: usize = 8192;
    const PLACE: LogPlace = LogPlace {
        version: 1,
        location: 2,
        start: 16,
        count: 8,
        block_size: 512,
    };

    impl Journal {
        fn new() -> Self {
            Self(vec![0; START + 8 * 512])
        }

        fn put(&mut self, at: usize, bytes: &[u8]) {
            self.0[START + at..START + at + bytes.len()].copy_from_slice(bytes);
        }

        fn header(mut self, slot: usize, generation: u32, head: u64, tail: u64) -> Self {
            let at = slot * 512;
            for (offset, n) in [
                (0, log_type::HEADER),
                (4, 512),
                (12, generation),
                (36, 1),
                (40, 9),
                (44, 9),
            ] {
                self.put(at + offset, &n.to_be_bytes());
            }
            for (offset, n) in [(48, head), (56, tail), (64, 1024), (72, 6 * 512)] {
                self.put(at + offset, &n.to_be_bytes());
            }
            self
        }

        /// A record in the block at `at`: its type, its length and its entries (sector and bytes).
        fn record(mut self, at: usize, kind: u32, len: u32, entries: &[(u64, u32)]) -> Self {
            let count = u32::try_from(entries.len()).unwrap();
            for (n, word) in [kind, len, count].into_iter().enumerate() {
                self.put(at + n * 4, &word.to_be_bytes());
            }
            for (n, (sector, bytes)) in entries.iter().enumerate() {
                self.put(at + 16 + n * 16, &sector.to_be_bytes());
                self.put(at + 16 + n * 16 + 12, &bytes.to_be_bytes());
            }
            self
        }

        fn images(&self) -> Result<Vec<(u64, u64)>> {
            let disk = MemDisk::from_bytes(&self.0);
            let images = Log::<BigEndian>::open(&disk, PLACE)?.images()?;
            Ok(images.into_iter().collect())
        }
    }

    #[test]
    fn an_empty_journal_has_no_images() {
        assert_eq!(Journal::new().header(0, 4, 0, 0).images(), Ok(vec![]));
    }

    #[test]
    fn records_go_round_and_revocations_count() {
        // Tail at the last block but one: images of sectors 3 and 4 lie in the last block and the first of the ring; then sector 4 is
        // revoked, then it is logged once more. The older header is of an empty journal.
        let journal = Journal::new()
            .header(0, 6, 0, 0)
            .header(1, 7, 2560, 3072)
            .record(3072, log_type::BLOCKS, 1536, &[(3, 512), (4, 512)])
            .record(1536, log_type::REVOCATIONS, 512, &[(4, 512)])
            .record(2048, log_type::INODES, 512, &[]);
        let last = START as u64 + 3584;
        assert_eq!(journal.images(), Ok(vec![(3, last)]));
        let again =
            journal
                .header(0, 8, 3072, 3072)
                .record(2048, log_type::BLOCKS, 1024, &[(4, 512)]);
        let expected = vec![(3, last), (4, START as u64 + 2560)];
        assert_eq!(again.images(), Ok(expected));
    }

    #[test]
    fn broken_journals_are_named() {
        let good = || Journal::new().header(0, 1, 2048, 1024);
        let blocks = log_type::BLOCKS;
        for (journal, expected) in [
            (Journal::new(), "number of headers"),
            (Journal::new().header(0, 1, 1000, 1024), "head"),
            (Journal::new().header(0, 1, 1024, 4096), "tail"),
            (good(), "length"),
            (good().record(1024, 0x1234_5678, 512, &[]), "type"),
            (good().record(1024, blocks, 512, &[(3, 512)]), "length"),
            (
                good().record(1024, blocks, 1024, &[(3, 100)]),
                "bytes of an entry",
            ),
            (
                good().record(1024, blocks, 1024, &[(24, 512)]),
                "address of an entry",
            ),
            (good().record(1024, blocks, 4096, &[]), "length"),
        ] {
            let wrong = journal.images();
            assert!(
                matches!(wrong, Err(Error::Value { field, .. }) if field == expected),
                "{expected}: {wrong:?}"
            );
        }
        let mut crowded = good().record(1024, blocks, 1024, &[]);
        crowded.put(1024 + 8, &32_u32.to_be_bytes());
        assert!(matches!(
            crowded.images(),
            Err(Error::Value {
                field: "number of entries",
                ..
            })
        ));
    }

    #[test]
    fn unknown_journals_are_not_supported() {
        let disk = MemDisk::from_bytes(&Journal::new().0);
        for place in [
            LogPlace {
                version: 2,
                ..PLACE
            },
            LogPlace {
                location: 3,
                ..PLACE
            },
        ] {
            let refused = Log::<BigEndian>::open(&disk, place);
            assert!(matches!(refused.err(), Some(Error::Unsupported(..))));
        }
        let long = LogPlace { count: 9, ..PLACE };
        let refused = Log::<BigEndian>::open(&disk, long);
        assert!(matches!(
            refused.err(),
            Some(Error::Value {
                field: "length",
                ..
            })
        ));
    }
}
