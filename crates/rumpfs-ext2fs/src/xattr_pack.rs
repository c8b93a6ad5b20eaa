//! Packing extended attributes into an area: a list of entries that is changed as a list and written anew as a whole.
//!
//! Entries stand from the area's start on, values from its end back, at least four zero bytes between. An area in the
//! inode keeps the order in which the attributes came; one in a block is sorted by prefix, length of the name, and
//! name, which readers of blocks may rely on.

use crate::{
    error::Result,
    layout::xattr::{EXT4_XATTR_MAGIC, RawXattrEntry, RawXattrHeader, XATTR_BLOCK_HEADER},
    superblock::Superblock,
    types::FsBlock,
    xattr::{Area, Entry, NameIndex, Value, block_checksum, entry_hash, entry_size, value_size},
};
use alloc::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

/// Zero bytes that end the list of entries.
const END: usize = 4;

/// Where the entries of a list go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Behind the fields of the inode: in no order, hashes of values beside the entry are left out.
    Inode,
    /// A block: sorted, with all hashes.
    Block,
}

/// The attributes of one area.
#[derive(Clone, Debug)]
pub(crate) struct List<'a> {
    home: Home,
    entries: Vec<Entry<'a>>,
}

impl<'a> List<'a> {
    /// No attributes.
    pub(crate) fn new(home: Home) -> Self {
        Self {
            home,
            entries: Vec::new(),
        }
    }

    /// The attributes of an area.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) where an entry is damaged.
    pub(crate) fn of(home: Home, area: &Area<'a>) -> Result<Self> {
        let entries = area.entries().collect::<Result<_>>()?;
        Ok(Self { home, entries })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, in their order.
    pub(crate) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The attribute of that name.
    pub(crate) fn find(&self, index: NameIndex, name: &[u8]) -> Option<&Entry<'a>> {
        self.entries
            .iter()
            .find(|entry| entry.index == index && entry.name == name)
    }

    /// Takes the attribute of that name out.
    pub(crate) fn remove(&mut self, index: NameIndex, name: &[u8]) -> Option<Entry<'a>> {
        let same = |entry: &Entry<'_>| entry.index == index && entry.name == name;
        let at = self.entries.iter().position(same)?;
        Some(self.entries.remove(at))
    }

    /// Puts an attribute in, in place of the one of its name if there is one, which is returned. Its hash is the caller's if
    /// the value is in an inode, else what this kind of area has.
    pub(crate) fn put(&mut self, mut entry: Entry<'a>) -> Option<Entry<'a>> {
        if let Value::Here(value) = entry.value {
            entry.hash = match self.home {
                Home::Inode => 0,
                Home::Block => entry_hash(entry.name, value),
            };
        }
        let same = |old: &&mut Entry<'_>| old.index == entry.index && old.name == entry.name;
        if let Some(old) = self.entries.iter_mut().find(same) {
            return Some(core::mem::replace(old, entry));
        }
        let key = |e: &Entry<'a>| (e.index, e.name.len(), e.name);
        let at = match self.home {
            Home::Inode => self.entries.len(),
            Home::Block => self
                .entries
                .iter()
                .position(|old| key(old) > key(&entry))
                .unwrap_or(self.entries.len()),
        };
        self.entries.insert(at, entry);
        None
    }

    /// Takes out the first `count` attributes whose values are in inodes of their own. Returns how many it took.
    pub(crate) fn drop_values(&mut self, count: usize) -> usize {
        let mut dropped = 0_usize;
        self.entries.retain(|entry| {
            let drop = dropped < count && matches!(entry.value, Value::Inode(..));
            dropped = dropped.saturating_add(usize::from(drop));
            !drop
        });
        dropped
    }

    /// Bytes that it takes, header aside.
    pub(crate) fn size(&self) -> usize {
        self.entries.iter().fold(END, |sum, entry| {
            sum.saturating_add(entry_size(entry.name.len()))
                .saturating_add(value_here(entry))
        })
    }

    /// Writes the list into an area whose entries start at `first`. All of the area from there on is written.
    ///
    /// The list must fit: [`size`](Self::size) is at most the area's length from `first` on. One that does not is cut.
    pub(crate) fn write(&self, bytes: &mut [u8], first: usize) {
        if let Some(area) = bytes.get_mut(first..) {
            area.fill(0);
        }
        let mut at = first;
        let mut values = bytes.len();
        for entry in &self.entries {
            let mut raw = RawXattrEntry {
                e_name_len: u8::try_from(entry.name.len()).unwrap_or(u8::MAX),
                e_name_index: entry.index.0,
                e_value_offs: 0.into(),
                e_value_inum: 0.into(),
                e_value_size: u32::try_from(entry.value_len()).unwrap_or(u32::MAX).into(),
                e_hash: entry.hash.into(),
            };
            match entry.value {
                Value::Inode(ino, _) => raw.e_value_inum.set(ino.0),
                Value::Here([]) => {}
                Value::Here(value) => {
                    values = values.saturating_sub(value_size(value.len()));
                    raw.e_value_offs
                        .set(u16::try_from(values).unwrap_or(u16::MAX));
                    put(bytes, values, value);
                }
            }
            put(bytes, at, raw.as_bytes());
            let name_at = at.saturating_add(size_of::<RawXattrEntry>());
            put(bytes, name_at, entry.name);
            at = at.saturating_add(entry_size(entry.name.len()));
        }
    }

    /// Writes the list into the block `bytes` for `references` inodes; its checksum, which needs its number, is 0.
    pub(crate) fn write_block(&self, references: u32, bytes: &mut [u8]) {
        self.write(bytes, XATTR_BLOCK_HEADER);
        let header = RawXattrHeader {
            h_magic: EXT4_XATTR_MAGIC.into(),
            h_refcount: references.into(),
            h_blocks: 1.into(),
            h_hash: self.block_hash().into(),
            h_checksum: 0.into(),
            h_reserved: [0.into(); 3],
        };
        put(bytes, 0, header.as_bytes());
    }

    /// `h_hash`: of all entries; 0, which forbids sharing, if one has none.
    fn block_hash(&self) -> u32 {
        if self.entries.iter().any(|entry| entry.hash == 0) {
            return 0;
        }
        self.entries
            .iter()
            .fold(0_u32, |hash, entry| hash.rotate_left(16) ^ entry.hash)
    }
}

/// Bytes that the value of an entry takes in its area.
fn value_here(entry: &Entry<'_>) -> usize {
    match entry.value {
        Value::Here(value) => value_size(value.len()),
        Value::Inode(..) => 0,
    }
}

/// Brings the checksum of the attribute block `bytes` up to date.
pub(crate) fn update_block_checksum(sb: &Superblock, block: FsBlock, bytes: &mut [u8]) {
    let checksum = block_checksum(sb, block, bytes).unwrap_or(0);
    if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(bytes) {
        header.h_checksum.set(checksum);
    }
}

/// Copies `part` to `at` as far as it fits.
fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    if let Some(to) = bytes.get_mut(at..) {
        to.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::{error::Place, types::InodeNumber};
    use alloc::{format, string::String, vec};

    const PLACE: Place = Place::InodeXattrs(InodeNumber(12));

    fn entry<'a>(index: NameIndex, name: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry {
            index,
            name,
            value: Value::Here(value),
            hash: 0,
            offset: 0,
        }
    }

    fn area(bytes: &[u8], first: usize) -> Area<'_> {
        Area {
            place: PLACE,
            bytes,
            first,
        }
    }

    fn names(list: &List<'_>) -> Vec<String> {
        let text = |e: &Entry<'_>| format!("{}{}", e.index.0, String::from_utf8_lossy(e.name));
        list.entries().iter().map(text).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut list = List::new(Home::Inode);
        list.put(entry(NameIndex::USER, b"zoo", b"12345"));
        list.put(entry(NameIndex::USER, b"empty", b""));
        list.put(entry(NameIndex::SECURITY, b"a", b"1234"));
        list.put(Entry {
            value: Value::Inode(InodeNumber(77), 5000),
            hash: 0x1234,
            ..entry(NameIndex::TRUSTED, b"large", b"")
        });
        // Entries of 20, 24, 20 and 24 bytes, values of 8 and 4, the end of 4.
        assert_eq!(list.size(), 20 + 24 + 20 + 24 + 12 + 4);
        let mut bytes = vec![0xAA; list.size()];
        list.write(&mut bytes, 0);
        let back = List::of(Home::Inode, &area(&bytes, 0)).unwrap();
        let plain = |list: &List<'_>| {
            let facts = |e: &Entry<'_>| (e.index, e.name.to_vec(), format!("{:?}", e.value));
            list.entries().iter().map(facts).collect::<Vec<_>>()
        };
        assert_eq!(plain(&back), plain(&list));
        assert_eq!(names(&back), ["1zoo", "1empty", "6a", "4large"]);
        assert_eq!(back.entries()[3].hash, 0x1234);
    }

    #[test]
    fn a_block_is_sorted_by_prefix_length_and_name() {
        let mut list = List::new(Home::Block);
        for (index, name) in [
            (NameIndex::SECURITY, &b"b"[..]),
            (NameIndex::USER, b"aaa"),
            (NameIndex::USER, b"zz"),
            (NameIndex::ACL_ACCESS, b""),
            (NameIndex::USER, b"ab"),
        ] {
            assert!(list.put(entry(index, name, b"v")).is_none());
        }
        assert_eq!(names(&list), ["1ab", "1zz", "1aaa", "2", "6b"]);
        let old = list.put(entry(NameIndex::USER, b"zz", b"new")).unwrap();
        assert_eq!(old.value, Value::Here(b"v"));
        assert_eq!(list.remove(NameIndex::USER, b"ab").unwrap().name, b"ab");
        assert!(list.remove(NameIndex::USER, b"ab").is_none());
        assert_eq!(names(&list), ["1zz", "1aaa", "2", "6b"]);
    }

    #[test]
    fn only_blocks_have_hashes_of_values_beside_entries() {
        for (home, has) in [(Home::Inode, false), (Home::Block, true)] {
            let mut list = List::new(home);
            list.put(entry(NameIndex::USER, b"name", b"value"));
            assert_eq!(list.entries()[0].hash != 0, has);
        }
    }

    #[test]
    fn a_block_without_a_hash_is_not_shared() {
        let mut list = List::new(Home::Block);
        list.put(entry(NameIndex::USER, b"a", b"1"));
        assert_ne!(list.block_hash(), 0);
        list.put(Entry {
            value: Value::Inode(InodeNumber(77), 5000),
            ..entry(NameIndex::USER, b"b", b"")
        });
        assert_eq!(list.block_hash(), 0);
    }
}
