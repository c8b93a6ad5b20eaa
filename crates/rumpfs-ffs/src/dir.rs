//! Directories: blocks of 512 bytes, each filled with records to the last byte.

use crate::{
    dir_index::Whereabouts,
    error::{Error, Place, Result},
    inode::{FileType, Inode, type_of},
    layout::{DIRECTORY_BLOCK, DIRECTORY_BLOCK_BITS, ROOT_INO, RawRecord, WHITEOUT_INO},
    map::Walk,
    superblock::Superblock,
    types::{Order, index, number},
    volume::Ffs,
};
use core::{ops::Range, sync::atomic::Ordering};
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// Bytes before the name.
pub(crate) const FIXED: usize = size_of::<RawRecord<LittleEndian>>();

/// A record, in use or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its offset in its block.
    pub(crate) at: usize,
    /// Bytes.
    pub(crate) len: usize,
    /// Bytes that its name needs; 0: it is not in use.
    pub(crate) used: usize,
    /// The inode.
    pub(crate) ino: u64,
}

/// Bytes of a record with a name of this length.
pub(crate) fn needed(name: usize) -> usize {
    FIXED
        .saturating_add(name)
        .saturating_add(1)
        .checked_next_multiple_of(4)
        .unwrap_or(usize::MAX)
}

/// A record in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the directory.
    pub offset: u64,
    /// Where the next one begins.
    pub next: u64,
    /// What it leads to.
    pub ino: u64,
    /// The type of that, where the directory tells it.
    pub file_type: Option<FileType>,
    /// Its name.
    pub name: &'a [u8],
}

impl Ffs {
    /// Gives the records in use that begin in a range of offsets to `each`, in order, until that says `false`.
    fn scan(
        &self,
        dir: &Inode,
        range: Range<u64>,
        mut each: impl FnMut(Record<'_>) -> bool,
    ) -> Result<()> {
        let Some(mut walk) = Walk::new(self, dir) else {
            return Ok(());
        };
        let mut offset = range.start & !DIRECTORY_BLOCK.wrapping_sub(1);
        let end = range.end.min(dir.size);
        while offset < end {
            let place = Place::Record(dir.ino, offset);
            let Some((frag, block)) = self.frag_at(&mut walk, offset)? else {
                return Err(Error::value(place, "block", 0_u32, "not a hole"));
            };
            let data = self.frag(frag, block, place)?;
            let within = index(offset & self.superblock.frag_size().wrapping_sub(1));
            for bytes in data
                .get(within..)
                .unwrap_or_default()
                .chunks_exact(index(DIRECTORY_BLOCK))
            {
                if offset >= end {
                    break;
                }
                let mut records = Records::new(&self.superblock, dir.ino, offset, bytes);
                while let Some(record) = records.next()? {
                    if range.contains(&record.offset) && !each(record) {
                        return Ok(());
                    }
                }
                offset = offset.saturating_add(DIRECTORY_BLOCK);
            }
        }
        Ok(())
    }

    /// Gives the entries from the offset `from` on to `each`, without `.` and `..`, until that says `false`.
    ///
    /// # Errors
    /// [`Error::Value`] for a directory that is damaged, after the entries before the damage; [`Error::Device`].
    pub fn list(
        &self,
        dir: &Inode,
        from: u64,
        mut each: impl FnMut(Record<'_>) -> bool,
    ) -> Result<()> {
        self.scan(dir, from..u64::MAX, |record| {
            matches!(record.name, b"." | b"..") || each(record)
        })
    }

    /// The inode number that a name leads to.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<u64>> {
        // Names are mostly asked for in the order of the directory.
        let hint = dir.hint.load(Ordering::Relaxed).min(dir.size);
        let near = hint..hint.saturating_add(DIRECTORY_BLOCK);
        if let Some(ino) = self.lookup_in(dir, near, name)? {
            return Ok(Some(ino));
        }
        let ranges = match self.whereabouts(dir, name)? {
            Whereabouts::Absent => return Ok(None),
            Whereabouts::Block(block) => {
                [block..block.saturating_add(DIRECTORY_BLOCK), 0..u64::MAX]
            }
            Whereabouts::Unknown => [hint..u64::MAX, 0..hint],
        };
        for range in ranges {
            if let Some(ino) = self.lookup_in(dir, range, name)? {
                return Ok(Some(ino));
            }
        }
        Ok(None)
    }

    fn lookup_in(&self, dir: &Inode, range: Range<u64>, name: &[u8]) -> Result<Option<u64>> {
        let mut found = None;
        self.scan(dir, range, |record| {
            if record.name == name {
                found = Some((record.ino, record.next));
            }
            found.is_none()
        })?;
        Ok(found.map(|(ino, next)| {
            dir.hint.store(next, Ordering::Relaxed);
            ino
        }))
    }

    /// Gives all records in use to `each`.
    pub(crate) fn list_all(&self, dir: &Inode, mut each: impl FnMut(Record<'_>)) -> Result<()> {
        self.scan(dir, 0..u64::MAX, |record| {
            each(record);
            true
        })
    }

    /// The directory that holds a directory.
    ///
    /// # Errors
    /// As [`list`](Self::list); [`Error::Value`] when it has no `..`.
    pub fn parent(&self, dir: &Inode) -> Result<u64> {
        if dir.ino == ROOT_INO {
            return Ok(ROOT_INO);
        }
        let mut parent = None;
        self.scan(dir, 0..DIRECTORY_BLOCK, |record| {
            if record.name == b".." {
                parent = Some(record.ino);
            }
            parent.is_none()
        })?;
        let place = Place::Record(dir.ino, 0);
        parent.ok_or_else(|| Error::value(place, "number of names ..", 0_u32, "1"))
    }
}

/// The records of one block of 512 bytes.
pub(crate) struct Records<'a> {
    order: Order,
    /// See [`Superblock::old_directories`].
    old: bool,
    ino: u64,
    /// Offset of the block in the directory.
    start: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(superblock: &Superblock, ino: u64, start: u64, bytes: &'a [u8]) -> Self {
        Self {
            order: superblock.order,
            old: superblock.old_directories,
            ino,
            start,
            bytes,
            at: 0,
        }
    }

    /// The next one in use.
    fn next(&mut self) -> Result<Option<Record<'a>>> {
        while let Some((_, record)) = self.slot()? {
            if record.is_some() {
                return Ok(record);
            }
        }
        Ok(None)
    }

    /// The next one, in use or not, and what it holds.
    pub(crate) fn slot(&mut self) -> Result<Option<(Slot, Option<Record<'a>>)>> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        match self.order {
            Order::Little => self.one::<LittleEndian>(),
            Order::Big => self.one::<BigEndian>(),
        }
        .map(Some)
    }

    fn one<O: ByteOrder>(&mut self) -> Result<(Slot, Option<Record<'a>>)> {
        let offset = self.start.saturating_add(number(self.at));
        let wrong = |field, found: u64, expected| {
            let place = Place::Record(self.ino, offset);
            Err(Error::value(place, field, found, expected))
        };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Ok((raw, _)) = RawRecord::<O>::ref_from_prefix(rest) else {
            return wrong("bytes left in the block", number(rest.len()), "8 or more");
        };
        let len = usize::from(raw.reclen.get());
        if len & 3 != 0 || len < FIXED || len > rest.len() {
            let expected = "a multiple of 4 within the block";
            return wrong("record length", number(len), expected);
        }
        let ino = raw.ino.get();
        let mut slot = Slot {
            at: self.at,
            len,
            used: 0,
            ino: ino.into(),
        };
        self.at = self.at.saturating_add(len);
        // 16 bits in the old format; the upper ones are 0.
        let name_len = match (self.old, self.order) {
            (true, Order::Little) => raw.kind,
            _ => raw.namlen,
        };
        if ino == 0 {
            return Ok((slot, None));
        }
        slot.used = needed(name_len.into()).min(len);
        if ino == WHITEOUT_INO && !self.old {
            return Ok((slot, None));
        }
        let name = rest
            .get(FIXED..len)
            .and_then(|room| room.get(..usize::from(name_len)))
            .filter(|name| !name.is_empty());
        let Some(name) = name else {
            let expected = "1 to what the record has room for";
            return wrong("name length", name_len.into(), expected);
        };
        let record = Record {
            offset,
            next: self.start.saturating_add(number(self.at)),
            ino: ino.into(),
            file_type: if self.old {
                None
            } else {
                type_of(raw.kind.into())
            },
            name,
        };
        Ok((slot, Some(record)))
    }
}

const _: () = assert!(1 << DIRECTORY_BLOCK_BITS == DIRECTORY_BLOCK);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        superblock::tests::{checked, raw},
        types::Version,
    };
    use alloc::{vec, vec::Vec};

    fn names(superblock: &Superblock, bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut found = vec![];
        let mut records = Records::new(superblock, 2, 0, bytes);
        while let Some(record) = records.next()? {
            found.push((record.ino, record.name.to_vec()));
        }
        Ok(found)
    }

    /// Each format's block: `abc`, a whiteout or something of inode 1, an unused record, `z`.
    #[test]
    fn old_and_new_records_in_both_orders() {
        let little: &[u8] = b"\x05\0\0\0\x0C\0\x08\x03abc\0\x01\0\0\0\x0C\0\x0E\x01w\0\0\0\0\0\0\0\x0C\0\0\0    \x06\0\0\0\x0C\0\x04\x01z\0\0\0";
        let old_big: &[u8] = b"\0\0\0\x05\0\x0C\0\x03abc\0\0\0\0\x06\0\x0C\0\x01z\0\0\0";
        let old_little: &[u8] = b"\x05\0\0\0\x0C\0\x03\0abc\0\x06\0\0\0\x0C\0\x01\0z\0\0\0";
        let expected = Ok(vec![(5, b"abc".to_vec()), (6, b"z".to_vec())]);
        let new = checked(&raw::<LittleEndian>(Version::Ufs2, 65_536), 65_536).unwrap();
        assert_eq!(names(&new, little), expected);
        let mut old = raw::<LittleEndian>(Version::Ufs1, 8192);
        old.maxsymlinklen.set(0);
        old.old_inodefmt.set(-1);
        assert_eq!(names(&checked(&old, 8192).unwrap(), old_little), expected);
        let mut old = raw::<BigEndian>(Version::Ufs1, 8192);
        old.maxsymlinklen.set(0);
        old.old_inodefmt.set(-1);
        assert_eq!(names(&checked(&old, 8192).unwrap(), old_big), expected);
    }

    #[test]
    fn broken_records_are_named() {
        let new = checked(&raw::<LittleEndian>(Version::Ufs2, 65_536), 65_536).unwrap();
        for (bytes, expected) in [
            (&b"\x05\0\0\0\x0D\0\x08\x03abc\0"[..], "record length"),
            (b"\x05\0\0\0\x10\0\x08\x03abc\0", "record length"),
            (b"\x05\0\0\0\0\0\x08\x03abc\0", "record length"),
            (b"\x05\0\0\0\x0C\0\x08\x05abc\0", "name length"),
            (b"\x05\0\0\0\x0C\0\x08\0abc\0", "name length"),
            (b"\x05\0\0\0", "bytes left in the block"),
        ] {
            let wrong = names(&new, bytes);
            assert!(
                matches!(wrong, Err(Error::Value { field, .. }) if field == expected),
                "{wrong:?}"
            );
        }
    }
}
