//! An opened journal: where it lies, and its newest header.

use super::{
    form::{HEADER_LEN, Header},
    ring::Ring,
};
use crate::{
    error::{Error, Place, Result, at},
    overlay::SECTOR_BITS,
    superblock::LogPlace,
    types::Order,
};
use alloc::{sync::Arc, vec::Vec};
use core::fmt;
use rumpuser::BlockDevice;

/// No larger journal is read: sixteen times the size that newfs gives one at most. Bounds the memory for its addresses.
const MOST_BYTES: u64 = 1 << 30;

/// The bytes of the device that are a journal.
#[derive(Clone)]
pub(super) struct Area {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) order: Order,
    /// Its first byte on the device; all other offsets count from there.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Bytes of the blocks in which its place is told.
    pub(super) block: u64,
}

impl Area {
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        order: Order,
        place: &LogPlace,
    ) -> Result<Self> {
        let block = place.block_size;
        let start = place.start.saturating_mul(block);
        let where_ = Place::Log(start);
        if place.version != 1 {
            return Err(Error::Unsupported(where_, "version"));
        }
        if !matches!(place.location, 1 | 2) {
            return Err(Error::Unsupported(where_, "location"));
        }
        let wrong = |field, found: u64, expected| Error::value(where_, field, found, expected);
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
        Ok(Self {
            device,
            order,
            start,
            len,
            block,
        })
    }

    /// A byte of the journal as one of the device.
    pub(super) fn byte(&self, at: u64) -> u64 {
        self.start.saturating_add(at)
    }

    /// Whether a byte range of the device is outside of the journal: only there have its images their homes.
    pub(super) fn is_home(&self, first: u64, len: u64) -> bool {
        first.saturating_add(len) <= self.start || first >= self.byte(self.len)
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let byte = self.byte(offset);
        let read = self.device.read_at(byte, buf);
        read.map_err(at(Place::Log(byte)))
    }

    pub(super) fn wrong(
        &self,
        at: u64,
        field: &'static str,
        found: u64,
        expected: &'static str,
    ) -> Error {
        Error::value(Place::Log(self.byte(at)), field, found, expected)
    }
}

/// An opened journal.
pub struct Journal {
    pub(super) area: Area,
    pub(super) header: Header,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("start", &self.area.start)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal of a volume in this byte order.
    ///
    /// # Errors
    /// [`Error::Value`] when it is damaged, [`Error::Unsupported`] for a version or a place that is not known,
    /// [`Error::Device`].
    pub fn open(device: Arc<dyn BlockDevice>, order: Order, place: &LogPlace) -> Result<Self> {
        let area = Area::new(device, order, place)?;
        let mut headers = Vec::with_capacity(2);
        for slot in [0, area.block] {
            let mut bytes = [0; HEADER_LEN];
            area.read(slot, &mut bytes)?;
            headers.extend(Header::parse(order, &bytes));
        }
        let newest = headers.into_iter().max_by_key(|header| header.generation);
        let header = newest.ok_or_else(|| area.wrong(0, "number of headers", 0, "1 or 2"))?;
        check(&area, &header)?;
        Ok(Self { area, header })
    }

    /// Bytes of its blocks.
    pub(super) fn block_len(&self) -> u64 {
        1_u64.wrapping_shl(self.header.block_bits)
    }
}

/// The ring lies in the journal, head and tail lie in the ring.
fn check(area: &Area, header: &Header) -> Result<()> {
    if !header.is_known() {
        return Err(Error::Unsupported(Place::Log(area.start), "version"));
    }
    if !(SECTOR_BITS..=16).contains(&header.block_bits) {
        let bits = header.block_bits.into();
        return Err(area.wrong(0, "log_dev_bshift", bits, "9 to 16"));
    }
    let block = 1_u64.wrapping_shl(header.block_bits);
    let mask = block.wrapping_sub(1);
    let Ring { start, size } = header.ring;
    if start < block.saturating_mul(2) || start & mask != 0 {
        return Err(area.wrong(0, "circ_off", start, "behind the headers"));
    }
    let end = start.checked_add(size);
    let end = end.filter(|end| *end <= area.len && size & mask == 0);
    let Some(end) = end.filter(|_| size > 0) else {
        return Err(area.wrong(0, "circ_size", size, "within the journal"));
    };
    if header.head == 0 && header.tail == 0 {
        return Ok(());
    }
    for (field, at) in [("head", header.head), ("tail", header.tail)] {
        if at < start || at >= end || at & mask != 0 {
            return Err(area.wrong(0, field, at, "in the ring"));
        }
    }
    Ok(())
}
