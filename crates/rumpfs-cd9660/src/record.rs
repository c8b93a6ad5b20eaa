//! Directory records (ECMA-119 9.1): the entries of directories, and all that the plain format knows about a file.

use crate::{
    error::{Error, Place, Result},
    layout::{RawDirectoryRecord, file_flag},
    medium::Medium,
    types::{index, number},
};
use alloc::vec::Vec;
use rumpbio::BufData;
use zerocopy::FromBytes;

/// Bytes before the identifier.
pub(crate) const FIXED: usize = size_of::<RawDirectoryRecord>();
/// Bytes that a record takes at most: its own, 255, and the zeros that end a block, fewer than the next record would need.
const SPAN: u64 = 512;
/// Identifier of a directory's record of itself (6.8.2.2).
const SELF: &[u8] = &[0];
/// Identifier of a directory's record of its parent.
const PARENT: &[u8] = &[1];

/// A checked record.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    /// Its byte on the device.
    pub(crate) at: u64,
    /// The fixed part.
    pub(crate) raw: RawDirectoryRecord,
    /// The identifier, 1 byte at least.
    pub(crate) identifier: &'a [u8],
    /// The system use area (9.1.13), perhaps empty.
    pub(crate) system_use: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, which lies at the byte `at` of the device.
    pub(crate) fn parse(at: u64, bytes: &'a [u8]) -> Result<Self> {
        let wrong = |field, found: u8, expected| {
            Err(Error::value(Place::Record(at), field, found, expected))
        };
        let Ok((raw, _)) = RawDirectoryRecord::read_from_prefix(bytes) else {
            return wrong("length", 0, "a whole record");
        };
        let Some(all) = bytes.get(..usize::from(raw.length)) else {
            return wrong("length", raw.length, "no more than the directory has");
        };
        let identifier_end = FIXED.saturating_add(usize::from(raw.identifier_length));
        let identifier = all.get(FIXED..identifier_end).unwrap_or_default();
        if identifier.is_empty() {
            let field = "identifier length";
            return wrong(field, raw.identifier_length, "1 to what the record has");
        }
        // 9.1.12: an even identifier is padded.
        let padded = identifier_end.next_multiple_of(2);
        Ok(Self {
            at,
            raw,
            identifier,
            system_use: all.get(padded..).unwrap_or_default(),
        })
    }

    /// Whether it is the directory's record of itself.
    pub(crate) fn is_self(&self) -> bool {
        self.identifier == SELF
    }

    /// Whether it is one of the two that are no entries.
    pub(crate) fn is_dot(&self) -> bool {
        self.identifier == SELF || self.identifier == PARENT
    }

    /// Whether a flag of 9.1.6 is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.raw.flags & flag != 0
    }

    /// Whether it is a directory's.
    pub(crate) fn is_directory(&self) -> bool {
        self.has(file_flag::DIRECTORY)
    }

    /// First logical block of the data, after the extended attribute record.
    pub(crate) fn data_block(&self) -> Result<u32> {
        let extent = self.raw.extent.get();
        extent
            .checked_add(u32::from(self.raw.extended_attribute_length))
            .ok_or_else(|| {
                let place = Place::Record(self.at);
                Error::value(place, "extent", extent, "a block of the volume")
            })
    }
}

/// The records in a range of the medium, one after the other. A record may pass the end of a block; a zero byte ends the
/// block (6.8.1.1).
pub(crate) struct Records<'a> {
    medium: &'a Medium,
    start: u64,
    len: u64,
    offset: u64,
    /// What was read last, and its byte on the device.
    block: Option<(u64, BufData)>,
    crossing: Vec<u8>,
}

impl<'a> Records<'a> {
    /// The records in `len` bytes from the byte `start` on, beginning at `offset` in them.
    pub(crate) fn new(medium: &'a Medium, start: u64, len: u64, offset: u64) -> Self {
        Self {
            medium,
            start,
            len,
            offset,
            block: None,
            crossing: Vec::new(),
        }
    }

    /// The first `count` records from the byte `at` on, of a directory whose end is not known: `end` is the medium's. Zeros are
    /// padding, and a medium can have any number of them: they are not followed further than so many records can be.
    pub(crate) fn from(medium: &'a Medium, at: u64, count: u64, end: u64) -> Self {
        let len = count.saturating_mul(SPAN).min(end.saturating_sub(at));
        Self::new(medium, at, len, 0)
    }

    /// The next record with its offset in the range; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Record<'_>)>> {
        let size = self.medium.block_size();
        loop {
            if self.offset >= self.len {
                return Ok(None);
            }
            let offset = self.offset;
            let at = self.start.saturating_add(offset);
            let within = self.load(at)?;
            let data = self.block.as_ref().map_or(&[][..], |(_, data)| data);
            let bytes = data.get(within..).unwrap_or_default();
            let length = bytes.first().copied().unwrap_or(0);
            if length == 0 {
                let past = at.saturating_add(1).checked_next_multiple_of(size);
                self.offset = past.unwrap_or(u64::MAX).saturating_sub(self.start);
                continue;
            }
            let length = usize::from(length);
            self.offset = offset.saturating_add(u64::try_from(length).unwrap_or(0));
            if self.offset > self.len {
                let place = Place::Record(at);
                let expected = "no more than the directory has";
                let found = u64::try_from(length).unwrap_or(0);
                return Err(Error::value(place, "length", found, expected));
            }
            if length > bytes.len() {
                self.crossing.clear();
                let place = Place::Record(at);
                self.medium.append(at, length, place, &mut self.crossing)?;
                return Record::parse(at, &self.crossing).map(|record| Some((offset, record)));
            }
            // Again, as the borrow of the block must begin after the loop's last change.
            let data = self.block.as_ref().map_or(&[][..], |(_, data)| data);
            let bytes = data.get(within..).unwrap_or_default();
            return Record::parse(at, bytes).map(|record| Some((offset, record)));
        }
    }

    /// Has the byte `at` in `block`; returns where in it the byte is.
    fn load(&mut self, at: u64) -> Result<usize> {
        if let Some((first, data)) = &self.block
            && let Some(within) = at.checked_sub(*first).map(index)
            && within < data.len()
        {
            return Ok(within);
        }
        let (data, within) = self.medium.around(at, Place::Record(at))?;
        self.block = Some((at.saturating_sub(number(within)), data));
        Ok(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with this identifier and this system use area.
    fn record(identifier: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0; FIXED];
        bytes[32] = u8::try_from(identifier.len()).unwrap();
        bytes.extend_from_slice(identifier);
        if identifier.len().is_multiple_of(2) {
            bytes.push(0);
        }
        bytes.extend_from_slice(rest);
        bytes[0] = u8::try_from(bytes.len()).unwrap();
        bytes
    }

    #[test]
    fn parts() {
        for identifier in [&b"A.;1"[..], b"AB.;1"] {
            let bytes = record(identifier, b"RR");
            let parsed = Record::parse(7, &bytes).unwrap();
            assert_eq!(parsed.identifier, identifier);
            assert_eq!(parsed.system_use, b"RR");
            assert!(!parsed.is_dot());
        }
        assert!(Record::parse(0, &record(&[0], b"")).unwrap().is_self());
        assert!(Record::parse(0, &record(&[1], b"")).unwrap().is_dot());
    }

    #[test]
    fn broken_lengths() {
        let good = record(b"FILE.;1", b"");
        for (byte, value) in [(0, 33), (0, 20), (0, 255), (32, 0), (32, 200)] {
            let mut bytes = good.clone();
            bytes[byte] = value;
            assert!(Record::parse(0, &bytes).is_err(), "byte {byte} = {value}");
        }
        assert!(Record::parse(0, &good[..30]).is_err());
    }
}
