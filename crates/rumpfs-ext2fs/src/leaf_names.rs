//! What the names of a leaf of a hashed directory are, in short.
//!
//! A leaf is a list whose entries lead each to the next. To find a name in one of a million files means to wait for half of its lines of memory, and to
//! find that there is none, for all of them. So 18 bits of each name are kept with the block's buffer, and where the entry begins: a hundred names in
//! seven lines. They only tell where to look; an entry is found if the block itself says so.

use crate::{
    dir::{Block, Located, Wanted},
    dir_write::Room,
    error::Result,
    fs::Ext2fs,
    inode::Inode,
    types::{FileBlock, index},
};
use rumpbio::Derived;

/// Leaves with more entries are gone through entry by entry.
const MOST: usize = 256;
/// Blocks of fewer bytes have few entries.
const LEAST_BLOCK: usize = 2048;
/// Entries that are compared at once: a line of memory.
const STEP: usize = 16;
/// The bits of an entry here that tell where it begins, in units of four bytes. The others are its name's.
const PLACE: u32 = 0x3FFF;

/// The entries of a leaf, in the order in which they lie there; unused ones are among them.
pub(crate) struct LeafNames {
    count: usize,
    entries: [u32; MOST],
    /// Where room was found last.
    roomy: u32,
}

/// What was derived of a block, if it is this.
pub(crate) fn of(derived: Option<&Derived>) -> Option<&LeafNames> {
    derived?.get()
}

/// Tells the names of a leaf, if they are known, of a change. They are forgotten if `change` says that it cannot be told.
pub(crate) fn follow(derived: &mut Option<Derived>, change: impl FnOnce(&mut LeafNames) -> bool) {
    let names = derived.as_mut().and_then(Derived::get_mut);
    if !names.is_some_and(change) {
        *derived = None;
    }
}

/// The bits for a name.
fn tag(name: &[u8]) -> u32 {
    let mut state = 0_u64;
    for part in name.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(part) {
            *to = *from;
        }
        let mixed = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state = mixed ^ mixed >> 32;
    }
    let [a, b, c, d, ..] = state.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) & !PLACE
}

/// The bits for a place, which is a multiple of four.
fn place(offset: usize) -> Option<u32> {
    let place = u32::try_from(offset).ok()? / 4;
    (place <= PLACE).then_some(place)
}

/// Where an entry begins.
fn offset(entry: u32) -> u32 {
    (entry & PLACE).saturating_mul(4)
}

impl LeafNames {
    /// The entries of a block, if all are sound and not too many.
    fn new(block: Block<'_>) -> Option<Self> {
        if block.block_size < LEAST_BLOCK {
            return None;
        }
        let mut names = Self {
            count: 0,
            entries: [0; MOST],
            roomy: 0,
        };
        for entry in block.entries() {
            let (offset, entry) = entry.ok()?;
            *names.entries.get_mut(names.count)? = tag(entry.name) | place(offset)?;
            names.count = names.count.saturating_add(1);
        }
        Some(names)
    }

    fn entries(&self) -> &[u32] {
        self.entries.get(..self.count).unwrap_or_default()
    }

    /// Which of them begins there.
    fn at(&self, place: u32) -> Option<usize> {
        let found = self
            .entries()
            .binary_search_by_key(&place, |entry| entry & PLACE);
        found.ok()
    }

    /// Looks for a name in the block that this belongs to.
    fn find(&self, block: Block<'_>, wanted: &Wanted<'_>) -> Result<Option<Located>> {
        let tag = tag(wanted.name);
        let is = |entry: &u32| entry & !PLACE == tag;
        let mut before = None;
        for some in self.entries().chunks(STEP) {
            // All of a line without a branch for each.
            if some.iter().fold(false, |any, entry| any | is(entry)) {
                let mut previous = before;
                for entry in some {
                    let offset = offset(*entry);
                    if is(entry)
                        && let Some(found) = block.find_at(index(offset), previous, wanted)?
                    {
                        return Ok(Some(found));
                    }
                    previous = Some(offset);
                }
            }
            before = some.last().map(|entry| offset(*entry));
        }
        Ok(None)
    }

    /// Room for `need` bytes where there was room before.
    pub(crate) fn room(&self, block: Block<'_>, need: usize) -> Option<Room> {
        self.at(self.roomy)?;
        let offset = index(offset(self.roomy));
        let (used, len) = block.room_at(offset)?;
        (len >= need).then_some(Room { offset, used, len })
    }

    /// An entry was put where there was room; whether it could be noted.
    pub(crate) fn insert(&mut self, room: &Room, name: &[u8]) -> bool {
        let (Some(before), Some(new)) = (
            place(room.offset).and_then(|place| self.at(place)),
            place(room.offset.saturating_add(room.used)),
        ) else {
            return false;
        };
        let mut at = before;
        if room.used > 0 {
            if self.count >= MOST {
                return false;
            }
            at = before.saturating_add(1);
            self.entries
                .copy_within(at..self.count, at.saturating_add(1));
            self.count = self.count.saturating_add(1);
        }
        if let Some(entry) = self.entries.get_mut(at) {
            *entry = tag(name) | new;
        }
        // What the room had more than was needed is the new entry's.
        self.roomy = new;
        true
    }

    /// The entry at `offset` has become part of the one before it; whether that could be noted.
    pub(crate) fn remove(&mut self, offset: usize) -> bool {
        let Some(at) = place(offset).and_then(|place| self.at(place)) else {
            return false;
        };
        self.entries
            .copy_within(at.saturating_add(1)..self.count, at);
        self.count = self.count.saturating_sub(1);
        true
    }
}

impl Ext2fs {
    /// Looks for a name in a leaf; `None` if the directory has no such block.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub(crate) fn find_in_leaf(
        &self,
        dir: &Inode,
        leaf: FileBlock,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Option<Located>>> {
        let Some(buf) = self.dir_leaf_buf(dir, leaf)? else {
            return Ok(None);
        };
        let known = buf.look(|bytes, derived| {
            let block = self.dir_entries(dir, leaf, bytes);
            of(derived).map(|names| names.find(block, wanted))
        });
        if let Some(found) = known {
            return found.map(Some);
        }
        let data = buf.data();
        let block = self.dir_entries(dir, leaf, &data);
        match LeafNames::new(block) {
            Some(names) => {
                let found = names.find(block, wanted);
                buf.derive(&data, self.volume().derived(names));
                found.map(Some)
            }
            None => block.find(wanted).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dir::{Position, entry_size},
        dir_write::{NewEntry, merge, room, write_in_room, write_unused},
        inode::FileType,
        types::InodeNumber,
    };
    use alloc::{format, string::String, sync::Arc, vec, vec::Vec};
    use rumpuser::Rng;

    fn block(bytes: &[u8]) -> Block<'_> {
        Block {
            dir: InodeNumber(2),
            number: FileBlock(1),
            bytes,
            filetype: true,
            hashed: false,
            inodes: 1000,
            block_size: bytes.len(),
        }
    }

    /// A leaf, what is known of its names, and the names.
    struct Leaf {
        bytes: Vec<u8>,
        known: Option<Derived>,
        names: Vec<String>,
    }

    impl Leaf {
        fn find(&self, name: &str) -> Option<Position> {
            let wanted = Wanted::plain(name.as_bytes());
            let walked = block(&self.bytes).find(&wanted).unwrap();
            if let Some(names) = of(self.known.as_ref()) {
                assert_eq!(names.find(block(&self.bytes), &wanted).unwrap(), walked);
            }
            walked.map(|found| found.position)
        }

        /// Whether there was room.
        fn add(&mut self, name: &str) -> bool {
            let need = entry_size(name.len());
            let whole = block(&self.bytes);
            let roomy = of(self.known.as_ref()).and_then(|names| names.room(whole, need));
            let Some(found) = roomy.or_else(|| room(whole, need).unwrap()) else {
                return false;
            };
            let entry = NewEntry {
                name: name.as_bytes(),
                ino: InodeNumber(12),
                file_type: FileType::Regular,
            };
            write_in_room(&mut self.bytes, &found, &entry, true);
            follow(&mut self.known, |names| names.insert(&found, entry.name));
            self.names.push(name.into());
            true
        }

        fn remove(&mut self, n: usize) {
            let name = self.names.swap_remove(n);
            let position = self.find(&name).unwrap();
            let (offset, whole) = (index(position.offset), block(&self.bytes));
            let len = whole.entry(offset).unwrap().rec_len;
            let merged = position.previous.map(|previous| {
                let before = whole.entry(index(previous)).unwrap().rec_len;
                (index(previous), before.saturating_add(len))
            });
            merge(&mut self.bytes, offset, len, merged);
            follow(&mut self.known, |names| {
                merged.is_none() || names.remove(offset)
            });
        }

        /// What is known is what the block has.
        fn check(&self) {
            let anew = LeafNames::new(block(&self.bytes)).unwrap();
            let known = of(self.known.as_ref()).unwrap();
            // What is kept of an unused entry does not matter.
            let seen = |entry: &u32| {
                let used = block(&self.bytes)
                    .entry(index(offset(*entry)))
                    .unwrap()
                    .ino
                    .0
                    != 0;
                if used { *entry } else { *entry & PLACE }
            };
            let [known, anew] =
                [known, &anew].map(|names| names.entries().iter().map(seen).collect::<Vec<_>>());
            assert_eq!(known, anew);
        }
    }

    #[test]
    fn what_is_known_follows_each_change() {
        let mut bytes = vec![0; 4096];
        write_unused(&mut bytes);
        let names = LeafNames::new(block(&bytes)).unwrap();
        let mut leaf = Leaf {
            bytes,
            known: Some(Derived::new(names, &Arc::default())),
            names: Vec::new(),
        };
        let mut random = Rng::new(1);
        let mut full = 0;
        for n in 0..3000 {
            let name = format!("{:01$}", n, 8 + random.index(30));
            assert!(leaf.find(&name).is_none());
            if !leaf.add(&name) {
                full += 1;
                for _ in 0..=random.index(60).min(leaf.names.len() - 1) {
                    leaf.remove(random.index(leaf.names.len()));
                }
            }
            leaf.check();
            if n % 50 == 0 {
                assert!(leaf.names.iter().all(|name| leaf.find(name).is_some()));
            }
        }
        assert!(full > 20, "{full}");
    }

    #[test]
    fn what_cannot_be_noted_is_forgotten() {
        let mut bytes = vec![0; 4096];
        write_unused(&mut bytes);
        let names = LeafNames::new(block(&bytes)).unwrap();
        let mut leaf = Leaf {
            bytes,
            known: Some(Derived::new(names, &Arc::default())),
            names: Vec::new(),
        };
        // 341 entries of 12 bytes.
        let mut n = 0_u32;
        while leaf.add(&format!("{n:03}")) {
            assert_eq!(leaf.known.is_some(), leaf.names.len() <= MOST);
            n += 1;
        }
        assert_eq!(n, 341);
        assert!(LeafNames::new(block(&leaf.bytes)).is_none());
    }

    #[test]
    fn damaged_and_small_blocks_have_none() {
        let mut bytes = vec![0; 4096];
        assert!(LeafNames::new(block(&bytes)).is_none());
        write_unused(&mut bytes);
        assert!(LeafNames::new(block(&bytes)).is_some());
        let mut bytes = vec![0; 1024];
        write_unused(&mut bytes);
        assert!(LeafNames::new(block(&bytes)).is_none());
    }
}
