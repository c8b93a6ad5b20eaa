//! Sparse files (`SF`, RRIP 4.1.7): what is recorded is a header, index tables and the data; the file is what the tables make
//! of it.
//!
//! The first 2048 bytes are the header, the next the first table. A table has 256 entries; in one of depth *d* each stands for
//! 256 to the power of *d* bytes of the file: nothing recorded, data in one piece, or a table of depth *d* - 1. Tables lie at
//! multiples of 2048 bytes, data at multiples of 256.

use crate::{
    error::{Error, Place, Result},
    inode::Sections,
    layout::{RawSparseEntry, sparse_entry},
    types::{index, number},
    volume::Iso,
};
use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use zerocopy::FromBytes;

/// Bytes of a table, and the unit in which tables are counted.
const TABLE: u64 = 2048;
/// The unit in which data is counted, in bytes.
const UNIT: u64 = 256;
/// Entries of a table.
const ENTRIES: u64 = 256;
/// The first table, in units of tables.
const FIRST_TABLE: u64 = 1;
/// A table of this depth has room for any 64-bit size.
const DEEPEST: u8 = 7;

type Table = [RawSparseEntry; 256];
const _: () = assert!(size_of::<Table>() == 2048);

/// A sparse file.
#[derive(Debug)]
pub struct Sparse {
    /// Bytes of the file.
    pub size: u64,
    /// Of the first table.
    depth: u8,
    /// Where header, tables and data lie.
    sections: Sections,
    /// The tables are as they must be.
    checked: AtomicBool,
}

/// A piece of a sparse file that one entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    /// Offset in the file.
    start: u64,
    /// Where it ends, perhaps past the end of the file.
    end: u64,
    /// Where the data is in what is recorded; `None`: all zeros.
    data: Option<u64>,
}

/// What holds for a piece of a sparse file, from a block on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many bytes of zeros that are not recorded.
    Hole(u64),
    /// So many bytes in which there is data.
    Data(u64),
}

/// What an entry says.
enum Entry {
    Empty,
    /// In units of data.
    Data(u64),
    /// In units of tables.
    Table(u64),
}

impl Sparse {
    /// From the entry `SF`; `None` if the tables cannot be that deep, have no room for so large a file, or no file can be so
    /// large.
    pub(crate) fn new(size: u64, depth: u8, sections: Sections) -> Option<Self> {
        let fits = (1..=DEEPEST).contains(&depth)
            && i64::try_from(size).is_ok()
            && (depth == DEEPEST || size <= span(depth.saturating_add(1)));
        fits.then(|| Self {
            size,
            depth,
            sections,
            checked: AtomicBool::new(false),
        })
    }

    /// Bytes on the medium.
    pub(crate) fn recorded(&self) -> u64 {
        let last = self.sections.last();
        last.map_or(0, |last| last.offset.saturating_add(last.len))
    }
}

/// Bytes that an entry of a table of this depth, 7 at most, stands for.
fn span(depth: u8) -> u64 {
    1_u64.wrapping_shl(u32::from(depth).saturating_mul(8))
}

/// The way through the tables of a file, with the tables read last.
struct Walk<'a> {
    iso: &'a Iso,
    ino: u64,
    file: &'a Sparse,
    /// By depth: where it is, in units of tables, and its entries.
    tables: Vec<(u64, Box<Table>)>,
}

impl<'a> Walk<'a> {
    /// Through tables that have been checked.
    fn new(iso: &'a Iso, ino: u64, file: &'a Sparse) -> Result<Self> {
        let walk = Self {
            iso,
            ino,
            file,
            tables: Vec::new(),
        };
        if !file.checked.load(Ordering::Relaxed) {
            let mut room = file.recorded().wrapping_div(TABLE);
            walk.check(file.depth, FIRST_TABLE, 0, &mut room)?;
            file.checked.store(true, Ordering::Relaxed);
        }
        Ok(walk)
    }

    fn wrong(&self, field: &'static str, found: u64, expected: &'static str) -> Error {
        Error::value(Place::Data(self.ino), field, found, expected)
    }

    /// Checks a table that stands for the file from `start` on, and those below it. There is `room` for so many tables: where
    /// there are more, some are in several places, and one could have them for ever.
    fn check(&self, depth: u8, at: u64, start: u64, room: &mut u64) -> Result<()> {
        let Some(left) = room.checked_sub(1) else {
            return Err(self.wrong("sparse file's tables", *room, "each in one place"));
        };
        *room = left;
        let table = self.read(at)?;
        for (n, raw) in table.iter().enumerate() {
            let from = start.saturating_add(number(n).saturating_mul(span(depth)));
            if from >= self.file.size {
                break;
            }
            match entry(raw) {
                Entry::Empty => {}
                Entry::Data(unit) => {
                    let len = span(depth).min(self.file.size.saturating_sub(from));
                    let end = unit.saturating_mul(UNIT).saturating_add(len);
                    if end > self.file.recorded() {
                        return Err(self.wrong("sparse file's data", unit, "inside the file"));
                    }
                }
                Entry::Table(at) => {
                    let below = depth.checked_sub(1).filter(|below| *below > 0);
                    let Some(below) = below else {
                        return Err(self.wrong("sparse file's table", at, "data at depth 1"));
                    };
                    self.check(below, at, from, room)?;
                }
            }
        }
        Ok(())
    }

    fn read(&self, at: u64) -> Result<Box<Table>> {
        let start = at.saturating_mul(TABLE);
        if start.saturating_add(TABLE) > self.file.recorded() {
            return Err(self.wrong("sparse file's table", at, "inside the file"));
        }
        let mut bytes = [0; 2048];
        self.iso
            .read_sections(self.ino, &self.file.sections, start, &mut bytes)?;
        let table = Table::read_from_bytes(&bytes);
        let table = table.map_err(|_| self.wrong("sparse file's table", at, "a whole one"))?;
        Ok(Box::new(table))
    }

    /// The entry for the byte `offset` in the table of this depth that is at `at`.
    fn entry(&mut self, depth: u8, at: u64, offset: u64) -> Result<Entry> {
        let level = usize::from(self.file.depth.saturating_sub(depth));
        let known = self
            .tables
            .get(level)
            .is_some_and(|(known, _)| *known == at);
        if !known {
            // What is below another table is another's.
            self.tables.truncate(level);
            let table = self.read(at)?;
            self.tables.push((at, table));
        }
        let n = offset.wrapping_shr(u32::from(depth).saturating_mul(8)) & ENTRIES.wrapping_sub(1);
        let table = self.tables.get(level);
        let raw = table.and_then(|(_, table)| table.get(index(n)));
        Ok(raw.map_or(Entry::Empty, entry))
    }

    /// The region that the byte `offset` of the file is in.
    fn region(&mut self, offset: u64) -> Result<Region> {
        let (mut depth, mut at) = (self.file.depth, FIRST_TABLE);
        loop {
            let start = offset & !span(depth).wrapping_sub(1);
            let region = |data| Region {
                start,
                end: start.saturating_add(span(depth)),
                data,
            };
            match self.entry(depth, at, offset)? {
                Entry::Empty => return Ok(region(None)),
                Entry::Data(unit) => return Ok(region(Some(unit.saturating_mul(UNIT)))),
                Entry::Table(below) if depth > 1 => (depth, at) = (depth.saturating_sub(1), below),
                Entry::Table(at) => {
                    return Err(self.wrong("sparse file's table", at, "data at depth 1"));
                }
            }
        }
    }

    /// Where the run of regions that are all zeros, or are not, ends that goes on at `offset`; past `limit` nobody asks.
    fn run_end(&mut self, mut offset: u64, empty: bool, limit: u64) -> Result<u64> {
        while offset < limit {
            let region = self.region(offset)?;
            if region.data.is_none() != empty {
                break;
            }
            offset = region.end;
        }
        Ok(offset)
    }
}

fn entry(raw: &RawSparseEntry) -> Entry {
    let value = raw.value.get();
    let number = u64::from(value & sparse_entry::NUMBER);
    if value & sparse_entry::EMPTY != 0 {
        Entry::Empty
    } else if value & sparse_entry::TABLE != 0 {
        Entry::Table(number)
    } else {
        Entry::Data(number)
    }
}

impl Iso {
    /// What holds for the file from the block at `offset` on. Nobody asks for more than `len` bytes. Blocks with something
    /// recorded are data.
    pub(crate) fn sparse_piece(
        &self,
        ino: u64,
        file: &Sparse,
        offset: u64,
        len: u64,
    ) -> Result<Piece> {
        let mask = self.medium.block_size().wrapping_sub(1);
        let ceiling = |at: u64| at.saturating_add(mask) & !mask;
        // The whole blocks of a hole that ends here; one that reaches the end of the file has the rest of the last block.
        let hole_end = |end| {
            if end >= file.size {
                ceiling(end)
            } else {
                end & !mask
            }
        };
        let limit = offset.saturating_add(len.max(1)).min(file.size);
        let mut walk = Walk::new(self, ino, file)?;
        let hole = hole_end(walk.run_end(offset, true, limit)?);
        if hole > offset {
            return Ok(Piece::Hole(hole.saturating_sub(offset)));
        }
        let mut at = offset;
        while at < limit {
            let data_end = walk.run_end(at, false, limit)?;
            at = walk.run_end(data_end, true, limit)?;
            if hole_end(at) > ceiling(data_end) {
                at = data_end;
                break;
            }
        }
        Ok(Piece::Data(ceiling(at).saturating_sub(offset)))
    }

    /// Fills `buf` with the file's bytes from `offset` on; past its end with zeros.
    pub(crate) fn read_sparse(
        &self,
        ino: u64,
        file: &Sparse,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        let mut walk = Walk::new(self, ino, file)?;
        let end = offset.saturating_add(number(buf.len())).min(file.size);
        let (mut at, mut rest) = (offset, buf);
        while at < end {
            let region = walk.region(at)?;
            let data = region
                .data
                .map(|data| data.saturating_add(at.saturating_sub(region.start)));
            let mut to = region.end.min(end);
            // Regions that follow one another on the medium as in the file are read as one.
            while let Some(data) = data
                && to < end
            {
                let next = walk.region(to)?;
                let follows = data.saturating_add(to.saturating_sub(at));
                if next.data != Some(follows) {
                    break;
                }
                to = next.end.min(end);
            }
            let (part, after) = rest.split_at_mut(index(to.saturating_sub(at)));
            match data {
                Some(data) => self.read_sections(ino, &file.sections, data, part)?,
                None => part.fill(0),
            }
            (at, rest) = (to, after);
        }
        rest.fill(0);
        Ok(())
    }
}
