//! A directory.
//!
//! Entries stand in a vector in the order in which they were made, each with a sequence number that never changes: a listing
//! goes on after the number that it came to, whatever was added or removed meanwhile. A hash table finds an entry's place by
//! its name. A removed entry leaves a gap; when half of the vector is gaps, it is packed. So every operation takes constant
//! time in the mean, with a million entries as with one.

use alloc::vec::Vec;
use hashbrown::{DefaultHashBuilder, HashTable};
use rumpkern::FileType;
use rumpuser::{Errno, Result};
use rumpvfs::{
    fs::{DirSlot, Ino},
    name::{self, Name, NameBytes},
};

/// Gaps that are tolerated in any directory.
const GAPS_MIN: usize = 16;

/// A directory's entries.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Number of the parent directory.
    pub(crate) parent: Ino,
    /// In order of `sequence`.
    entries: Vec<Entry>,
    /// Places in `entries`, by name.
    table: HashTable<Place>,
    /// Of the next entry; the first is 1.
    next_sequence: u64,
}

/// An entry, or the gap where one was (the name is empty). With a short name it has 56 bytes.
#[derive(Debug)]
pub(crate) struct Entry {
    name: NameBytes,
    pub(crate) ino: Ino,
    pub(crate) sequence: u64,
    pub(crate) file_type: FileType,
}

/// Where an entry stands in the vector. What the table needs of its hash is here as well: a table that grows does not go to all entries.
#[derive(Debug)]
struct Place {
    hash: u32,
    at: u32,
}

impl Place {
    /// `None` past the largest directory.
    fn new(hash: u64, at: usize) -> Option<Self> {
        let at = u32::try_from(at).ok()?;
        Some(Self {
            hash: Self::part(hash),
            at,
        })
    }

    fn at(&self) -> usize {
        usize::try_from(self.at).unwrap_or(usize::MAX)
    }

    /// The bits of a hash that a table looks at: the top seven, and the lowest for where to look first.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn part(hash: u64) -> u32 {
        (hash as u32 & 0x1ff_ffff) | ((hash >> 57) as u32) << 25
    }

    fn whole(part: u32) -> u64 {
        u64::from(part & 0x1ff_ffff) | u64::from(part >> 25) << 57
    }

    /// As the table of a directory takes a hash.
    fn cut(hash: u64) -> u64 {
        Self::whole(Self::part(hash))
    }

    fn hash(&self) -> u64 {
        Self::whole(self.hash)
    }
}

impl Entry {
    pub(crate) fn name(&self) -> &[u8] {
        self.name.get()
    }

    fn is_gap(&self) -> bool {
        self.name().is_empty()
    }
}

impl Dir {
    pub(crate) fn new(parent: Ino) -> Self {
        Self {
            parent,
            entries: Vec::new(),
            table: HashTable::new(),
            next_sequence: 1,
        }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Hash of a name, for a [`DirSlot`].
    pub(crate) fn hash(hasher: &DefaultHashBuilder, name: Name<'_>) -> u64 {
        name::hash(hasher, 0, name.bytes())
    }

    /// The entry of a name and its slot.
    pub(crate) fn find(&self, hash: u64, name: Name<'_>) -> Option<(&Entry, DirSlot)> {
        let place = self.place(hash, name)?;
        let entry = self.entries.get(place)?;
        Some((entry, slot(hash, place, entry.sequence)))
    }

    fn place(&self, hash: u64, name: Name<'_>) -> Option<usize> {
        let is = is(&self.entries, hash, name);
        self.table.find(Place::cut(hash), is).map(Place::at)
    }

    /// Whether there is a place for one more name.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn room(&self) -> Result<()> {
        Place::new(0, self.entries.len())
            .map(drop)
            .ok_or(Errno::ENOSPC)
    }

    /// Puts a new name in, for which there is [room](Self::room).
    pub(crate) fn insert(&mut self, hash: u64, name: Name<'_>, ino: Ino, file_type: FileType) {
        let Some(place) = Place::new(hash, self.entries.len()) else {
            return;
        };
        self.entries.push(Entry {
            name: NameBytes::new(name.bytes()),
            ino,
            sequence: self.next_sequence,
            file_type,
        });
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.table.insert_unique(place.hash(), place, Place::hash);
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, hash: u64, name: Name<'_>) {
        let entries = &mut self.entries;
        let Ok(found) = self
            .table
            .find_entry(Place::cut(hash), is(entries, hash, name))
        else {
            return;
        };
        let place = found.get().at();
        found.remove();
        if place.checked_add(1) == Some(entries.len()) {
            entries.pop();
            while entries.last().is_some_and(Entry::is_gap) {
                entries.pop();
            }
        } else if let Some(entry) = entries.get_mut(place) {
            entry.name = NameBytes::new(b"");
        }
        self.pack();
    }

    /// Lets an existing name lead elsewhere.
    pub(crate) fn replace(&mut self, hash: u64, name: Name<'_>, ino: Ino, file_type: FileType) {
        let place = self.place(hash, name);
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) {
            (entry.ino, entry.file_type) = (ino, file_type);
        }
    }

    /// Closes the gaps when they are as many as the entries.
    fn pack(&mut self) {
        let gaps = self.entries.len().saturating_sub(self.table.len());
        if gaps <= self.table.len().max(GAPS_MIN) {
            return;
        }
        let mut left = 0_u32;
        let moved = self.entries.iter().map(|entry| {
            let at = left;
            left = left.saturating_add(u32::from(!entry.is_gap()));
            at
        });
        let moved: Vec<u32> = moved.collect();
        for place in &mut self.table {
            place.at = moved.get(place.at()).copied().unwrap_or(u32::MAX);
        }
        self.entries.retain(|e| !e.is_gap());
        self.entries.shrink_to(self.entries.len().saturating_mul(2));
        self.table.shrink_to(self.entries.len(), Place::hash);
    }

    /// The entries whose sequence number is `from` or more.
    pub(crate) fn list(&self, from: u64) -> impl Iterator<Item = &Entry> {
        let start = self.entries.partition_point(|e| e.sequence < from);
        self.entries
            .iter()
            .skip(start)
            .filter(|entry| !entry.is_gap())
    }
}

/// Whether a place is that of a name.
fn is(entries: &[Entry], hash: u64, name: Name<'_>) -> impl Fn(&Place) -> bool {
    let part = Place::part(hash);
    move |place| {
        place.hash == part
            && entries
                .get(place.at())
                .is_some_and(|e| e.name() == name.bytes())
    }
}

/// The slot of an entry or of a name that is not there: the hash is what saves work later.
fn slot(hash: u64, place: usize, sequence: u64) -> DirSlot {
    DirSlot([hash, u64::try_from(place).unwrap_or(u64::MAX), sequence])
}

/// The slot of a name that is not there.
pub(crate) fn absent(hash: u64) -> DirSlot {
    DirSlot([hash, u64::MAX, 0])
}

/// The hash of the name that a slot is of.
pub(crate) fn hash_of(slot: DirSlot) -> u64 {
    let DirSlot([hash, ..]) = slot;
    hash
}

#[cfg(test)]
mod tests {
    use super::Dir;
    use alloc::{
        collections::{BTreeMap, BTreeSet},
        format,
        vec::Vec,
    };
    use hashbrown::DefaultHashBuilder;
    use proptest::prelude::*;
    use rumpkern::FileType;
    use rumpvfs::{fs::Ino, name::Name};

    fn with_name<R>(n: u64, f: impl FnOnce(Name<'_>) -> R) -> R {
        f(Name::new(format!("name{n}").as_bytes()).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Lists in steps while names come and go: what is there all the time is listed once.
        #[test]
        fn listing_is_stable(ops in proptest::collection::vec((0..120_u64, any::<bool>(), 0..4_usize), 1..300)) {
            let hasher = DefaultHashBuilder::default();
            let mut dir = Dir::new(Ino(1));
            let mut model = BTreeMap::new();
            for n in (0..120).step_by(3) {
                with_name(n, |name| dir.insert(Dir::hash(&hasher, name), name, Ino(n), FileType::Regular));
                model.insert(n, n);
            }
            let mut always: BTreeSet<u64> = model.keys().copied().collect();
            let (mut from, mut seen) = (0, Vec::new());
            for (n, add, step) in ops {
                with_name(n, |name| {
                    let hash = Dir::hash(&hasher, name);
                    assert_eq!(dir.find(hash, name).map(|(e, _)| e.ino.0), model.get(&n).copied());
                    match (add, model.contains_key(&n)) {
                        (true, false) => {
                            dir.insert(hash, name, Ino(n), FileType::Regular);
                            model.insert(n, n);
                        }
                        (true, true) => dir.replace(hash, name, Ino(n), FileType::Regular),
                        (false, _) => {
                            dir.remove(hash, name);
                            model.remove(&n);
                            always.remove(&n);
                        }
                    }
                });
                assert_eq!(dir.len(), model.len());
                for entry in dir.list(from).take(step) {
                    seen.push(entry.ino.0);
                    from = entry.sequence + 1;
                }
            }
            seen.extend(dir.list(from).map(|e| e.ino.0));
            for n in always {
                prop_assert_eq!(seen.iter().filter(|s| **s == n).count(), 1, "{}", n);
            }
            prop_assert!(dir.entries.len() <= 2 * dir.len() + 17);
        }
    }
}
