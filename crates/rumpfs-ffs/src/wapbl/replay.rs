//! What a journal in use holds.

use super::{
    form::{Fault, Listed, ListedInode, Record, parse},
    journal::Journal,
};
use crate::{
    error::{Error, Place, Result, at},
    overlay::{Overlay, SECTOR_BITS},
    types::{index, number, round_up},
};
use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};
use core::{fmt, mem};
use rumpuser::BlockDevice;

/// No more inodes are taken from lists. Bounds the memory for them.
const MOST_INODES: usize = 1 << 20;
/// No more is written home at once.
const TRANSFER_BYTES: usize = 1 << 20;

/// What a journal holds.
pub struct Replay {
    /// The byte on the device of the newest image of each sector that has one.
    images: BTreeMap<u64, u64>,
    /// Inodes that are to be freed.
    pub(super) inodes: Vec<ListedInode>,
    /// Where the records that list them begin.
    pub(super) list: u64,
    /// From there to the head, nothing but these.
    pub(super) only_list: bool,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("sectors", &self.images.len())
            .field("inodes", &self.inodes)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Reads what it holds.
    ///
    /// # Errors
    /// [`Error::Value`] when it is damaged, [`Error::Device`].
    pub fn replay(&self) -> Result<Replay> {
        let mut replay = Replay {
            images: BTreeMap::new(),
            inodes: Vec::new(),
            list: 0,
            only_list: true,
        };
        let mut left = self.header.ring.used(self.header.head, self.header.tail);
        let mut at = self.header.tail;
        let mut block = vec![0; index(self.block_len())];
        while left > 0 {
            self.area.read(at, &mut block)?;
            let (record, len) =
                parse(self.area.order, &block).map_err(|fault| self.fault(at, &fault))?;
            let mask = self.block_len().wrapping_sub(1);
            if len < self.block_len() || len > left || len & mask != 0 {
                let expected = "whole blocks in use";
                return Err(self.area.wrong(at, "length", len, expected));
            }
            self.take(at, len, record, &mut replay)?;
            at = self.header.ring.advance(at, len);
            left = left.saturating_sub(len);
        }
        Ok(replay)
    }

    fn fault(&self, at: u64, fault: &Fault) -> Error {
        match *fault {
            Fault::Kind(kind) => self.area.wrong(at, "type", kind.into(), "that of a record"),
            Fault::Count(count) => {
                let expected = "what fits a block";
                let count = count.into();
                self.area.wrong(at, "number of entries", count, expected)
            }
        }
    }

    /// Takes the record of `len` bytes at `at` into account.
    fn take(&self, at: u64, len: u64, record: Record, replay: &mut Replay) -> Result<()> {
        let mut needed = self.block_len();
        match record {
            Record::Blocks(listed) => {
                replay.only_list = false;
                let bytes = listed.iter().map(|entry| u64::from(entry.bytes));
                let images = bytes.fold(0, u64::saturating_add);
                needed = round_up(images, self.header.block_bits).saturating_add(needed);
                if needed == len {
                    self.note(at, &listed, &mut replay.images)?;
                }
            }
            Record::Revocations(listed) => {
                replay.only_list = false;
                for entry in listed {
                    let sectors = self.sectors(at, entry)?;
                    revoke(&mut replay.images, entry.sector, sectors);
                }
            }
            Record::Inodes { clear, inodes } => replay.list(at, clear, inodes),
        }
        if needed != len {
            let expected = "what the record's entries need";
            return Err(self.area.wrong(at, "length", len, expected));
        }
        if replay.inodes.len() > MOST_INODES {
            let place = Place::Log(self.area.byte(at));
            return Err(Error::Unsupported(place, "more than 2^20 inodes to free"));
        }
        Ok(())
    }

    /// Notes the images of the record at `at`.
    fn note(&self, at: u64, listed: &[Listed], images: &mut BTreeMap<u64, u64>) -> Result<()> {
        let ring = self.header.ring;
        let mut image = ring.advance(at, self.block_len());
        for entry in listed {
            for n in 0..self.sectors(at, *entry)? {
                images.insert(entry.sector.saturating_add(n), self.area.byte(image));
                image = ring.advance(image, 1 << SECTOR_BITS);
            }
        }
        Ok(())
    }

    /// The number of sectors of an entry, which are on the device and none of the journal's own.
    fn sectors(&self, at: u64, entry: Listed) -> Result<u64> {
        let len = u64::from(entry.bytes);
        let sectors = len.wrapping_shr(SECTOR_BITS);
        if len != sectors.wrapping_shl(SECTOR_BITS) {
            let field = "bytes of an entry";
            return Err(self.area.wrong(at, field, len, "whole sectors"));
        }
        let on_device = self.area.device.len().wrapping_shr(SECTOR_BITS);
        let end = entry.sector.checked_add(sectors);
        let home = end.filter(|end| *end <= on_device).is_some_and(|_| {
            self.area
                .is_home(entry.sector.wrapping_shl(SECTOR_BITS), len)
        });
        if home {
            return Ok(sectors);
        }
        let field = "address of an entry";
        let expected = "on the device, outside of the journal";
        Err(self.area.wrong(at, field, entry.sector, expected))
    }
}

impl Replay {
    fn list(&mut self, at: u64, clear: bool, inodes: Vec<ListedInode>) {
        if clear {
            self.inodes.clear();
        }
        if clear || self.inodes.is_empty() {
            self.list = at;
            self.only_list = true;
        }
        self.inodes.extend(inodes);
    }

    /// The inodes that no name leads to: to be freed once the images are home.
    #[must_use]
    pub fn inodes(&self) -> &[ListedInode] {
        &self.inodes
    }

    /// The device as it would be after the replay.
    #[must_use]
    pub fn overlay(self, device: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
        Arc::new(Overlay::new(device, self.images))
    }

    /// The same, where the replay itself may still come.
    pub(crate) fn overlaid(&self, device: Arc<dyn BlockDevice>) -> Arc<Overlay> {
        Arc::new(Overlay::new(device, self.images.clone()))
    }

    /// Writes every image home, and flushes. May be interrupted and done again.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn write_home(&self, device: &dyn BlockDevice) -> Result<()> {
        let mut buf = Vec::new();
        let mut run = Run::default();
        for (sector, image) in &self.images {
            if !run.extend(*sector, *image) {
                mem::replace(&mut run, Run::one(*sector, *image)).copy(device, &mut buf)?;
            }
        }
        run.copy(device, &mut buf)?;
        device.flush().map_err(at(Place::Log(0)))
    }
}

/// Sectors in a row with images in a row.
#[derive(Default)]
struct Run {
    sector: u64,
    image: u64,
    bytes: usize,
}

impl Run {
    fn one(sector: u64, image: u64) -> Self {
        Self {
            sector,
            image,
            bytes: 1 << SECTOR_BITS,
        }
    }

    /// Whether the next sector belongs to it.
    fn extend(&mut self, sector: u64, image: u64) -> bool {
        let bytes = number(self.bytes);
        let next = self.sector.saturating_add(bytes.wrapping_shr(SECTOR_BITS));
        let fits = self.bytes > 0
            && self.bytes < TRANSFER_BYTES
            && sector == next
            && image == self.image.saturating_add(bytes);
        if fits {
            self.bytes = self.bytes.saturating_add(1 << SECTOR_BITS);
        }
        fits
    }

    fn copy(&self, device: &dyn BlockDevice, buf: &mut Vec<u8>) -> Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        buf.resize(self.bytes, 0);
        let read = device.read_at(self.image, buf);
        read.map_err(at(Place::Log(self.image)))?;
        let home = self.sector.wrapping_shl(SECTOR_BITS);
        let written = device.write_at(home, buf);
        written.map_err(at(Place::Log(self.image)))
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
    use crate::{layout::log_type, superblock::LogPlace, types::Order};
    use rumpuser_sim::MemDisk;

    /// A journal of eight blocks of 512 bytes at byte 8192, big-endian, whose ring begins at its third block.
    struct Bytes(Vec<u8>);

    const START: usize = 8192;
    const PLACE: LogPlace = LogPlace {
        version: 1,
        location: 2,
        start: 16,
        count: 8,
        block_size: 512,
        inode: 3,
    };

    impl Bytes {
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
            Ok(self.replay()?.images.into_iter().collect())
        }

        fn replay(&self) -> Result<Replay> {
            let disk = Arc::new(MemDisk::from_bytes(&self.0));
            Journal::open(disk, Order::Big, &PLACE)?.replay()
        }
    }

    #[test]
    fn an_empty_journal_has_no_images() {
        assert_eq!(Bytes::new().header(0, 4, 0, 0).images(), Ok(vec![]));
    }

    #[test]
    fn records_go_round_and_revocations_count() {
        // Tail at the last block but one: images of sectors 3 and 4 lie in the last block and the first of the ring; then sector 4 is
        // revoked, then it is logged once more. The older header is of an empty journal.
        let journal = Bytes::new()
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
        let good = || Bytes::new().header(0, 1, 2048, 1024);
        let blocks = log_type::BLOCKS;
        for (journal, expected) in [
            (Bytes::new(), "number of headers"),
            (Bytes::new().header(0, 1, 1000, 1024), "head"),
            (Bytes::new().header(0, 1, 1024, 4096), "tail"),
            (good(), "type"),
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
        let disk = Arc::new(MemDisk::from_bytes(&Bytes::new().0));
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
            let refused = Journal::open(disk.clone(), Order::Big, &place);
            assert!(matches!(refused.err(), Some(Error::Unsupported(..))));
        }
        let long = LogPlace { count: 9, ..PLACE };
        let refused = Journal::open(disk, Order::Big, &long);
        assert!(matches!(
            refused.err(),
            Some(Error::Value {
                field: "length",
                ..
            })
        ));
    }
}
