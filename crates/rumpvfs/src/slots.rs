//! Vnodes by inode number, so that neighbours are neighbours.
//!
//! Files that are made, listed and removed together mostly have numbers in a row. A hash that scatters them brings a
//! cache line from memory for each; here sixteen numbers in a row lie side by side, eight on a line, in a tree of three levels of which the
//! upper two are small.

use crate::vnode::Vnode;
use alloc::{boxed::Box, sync::Arc};
use core::hash::BuildHasher;
use hashbrown::{DefaultHashBuilder, HashTable};

/// What a mount knows of an inode number.
pub(crate) enum Slot<'a> {
    Live(&'a Arc<Vnode>),
    /// A thread loads it, or gives it back to the driver; others wait.
    Busy,
}

/// Tables of a mount, which are locked apart; a power of two.
pub(crate) const TABLES: u64 = 16;
/// Inode numbers in a row that are in one table; a power of two.
const RUN: u64 = 64;
/// Numbers in a row that lie side by side; a power of two below [`RUN`], with a bit for each in a `u16`.
pub(crate) const ROW: u64 = 16;
/// Rows of a block: so many that what leads to the blocks of a million numbers is small.
const BLOCK: u64 = 64;

/// Which table a number is in.
pub(crate) fn table_of(ino: u64) -> usize {
    (ino / RUN % TABLES) as usize
}

/// Number of the block and of the row in it where a number is, if its table has no numbers but those that are in it.
fn row_of(ino: u64) -> (u64, usize) {
    let row = (ino / (RUN * TABLES) * RUN + ino % RUN) / ROW;
    (row / BLOCK, (row % BLOCK) as usize)
}

/// Rows side by side.
struct Block {
    rows: [Option<Box<Row>>; BLOCK as usize],
    /// How many there are.
    used: usize,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            rows: [const { None }; BLOCK as usize],
            used: 0,
        }
    }
}

/// Slots of numbers in a row.
#[derive(Default)]
pub(crate) struct Row {
    live: [Option<Arc<Vnode>>; ROW as usize],
    /// Those that are not live.
    busy: u16,
    /// See [`Slots::note`].
    noted: u16,
}

/// A table of slots.
#[derive(Default)]
pub(crate) struct Slots {
    blocks: HashTable<(u64, Box<Block>)>,
    /// Slots in use.
    len: usize,
    /// An empty row and an empty block, so that a file that comes and goes alone costs no allocation.
    spare: (Option<Box<Row>>, Option<Box<Block>>),
    /// With a seed: whoever makes an image cannot choose numbers that meet.
    hasher: DefaultHashBuilder,
}

fn place(ino: u64) -> usize {
    (ino % ROW) as usize
}

fn bit(ino: u64) -> u16 {
    1 << place(ino)
}

impl Row {
    /// The live vnode of a number that is in this row.
    pub(crate) fn live(&self, ino: u64) -> Option<&Arc<Vnode>> {
        self.live[place(ino)].as_ref()
    }

    /// What is known of a number that is in this row.
    pub(crate) fn get(&self, ino: u64) -> Option<Slot<'_>> {
        if self.busy & bit(ino) != 0 {
            return Some(Slot::Busy);
        }
        self.live(ino).map(Slot::Live)
    }

    fn is_empty(&self) -> bool {
        self.busy == 0 && self.live.iter().all(Option::is_none)
    }
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The row that a number is in, if a slot of it is in use.
    pub(crate) fn row(&self, ino: u64) -> Option<&Row> {
        let (block, row) = row_of(ino);
        let hash = self.hasher.hash_one(block);
        let (_, block) = self.blocks.find(hash, |b| b.0 == block)?;
        block.rows[row].as_deref()
    }

    fn row_mut(&mut self, ino: u64) -> Option<&mut Row> {
        let (block, row) = row_of(ino);
        let hash = self.hasher.hash_one(block);
        let (_, block) = self.blocks.find_mut(hash, |b| b.0 == block)?;
        block.rows[row].as_deref_mut()
    }

    fn row_or_new(&mut self, ino: u64) -> &mut Row {
        let (block, row) = row_of(ino);
        let Self {
            blocks,
            hasher,
            spare,
            ..
        } = self;
        let rehash = |b: &(u64, _)| hasher.hash_one(b.0);
        let entry = blocks.entry(hasher.hash_one(block), |b| b.0 == block, rehash);
        let found = entry.or_insert_with(|| (block, spare.1.take().unwrap_or_default()));
        let (_, block) = found.into_mut();
        let Block { rows, used } = &mut **block;
        rows[row].get_or_insert_with(|| {
            *used += 1;
            spare.0.take().unwrap_or_default()
        })
    }

    /// Takes an empty row out, and its block if that is empty, too.
    fn close_row(&mut self, ino: u64) {
        let (block, row) = row_of(ino);
        let hash = self.hasher.hash_one(block);
        if let Ok(mut found) = self.blocks.find_entry(hash, |b| b.0 == block) {
            let (_, block) = found.get_mut();
            if let Some(empty) = block.rows[row].take() {
                self.spare.0 = Some(empty);
                block.used -= 1;
            }
            if block.used == 0 {
                self.spare.1 = Some(found.remove().0.1);
            }
        }
    }

    pub(crate) fn get(&self, ino: u64) -> Option<Slot<'_>> {
        self.row(ino)?.get(ino)
    }

    /// The slot is busy from now on; its vnode, if it has one, is not found there any more.
    pub(crate) fn set_busy(&mut self, ino: u64) {
        let row = self.row_or_new(ino);
        let old = row.live[place(ino)].take();
        let new = old.is_none() && row.busy & bit(ino) == 0;
        row.busy |= bit(ino);
        self.len += usize::from(new);
    }

    /// The slot has this vnode from now on.
    pub(crate) fn set_live(&mut self, ino: u64, vnode: Arc<Vnode>) {
        let row = self.row_or_new(ino);
        let old = row.live[place(ino)].replace(vnode);
        let new = old.is_none() && row.busy & bit(ino) == 0;
        row.busy &= !bit(ino);
        self.len += usize::from(new);
    }

    /// The slot is free from now on. The vnode that it had, and whether it was noted.
    pub(crate) fn remove(&mut self, ino: u64) -> (Option<Arc<Vnode>>, bool) {
        let Some(row) = self.row_mut(ino) else {
            return (None, false);
        };
        let old = row.live[place(ino)].take();
        let used = old.is_some() || row.busy & bit(ino) != 0;
        let noted = row.noted & bit(ino) != 0;
        row.busy &= !bit(ino);
        row.noted &= !bit(ino);
        if row.is_empty() {
            self.close_row(ino);
        }
        self.len -= usize::from(used);
        (old, noted)
    }

    /// Notes a vnode in use: it is wanted by [`take_noted`](Self::take_noted).
    pub(crate) fn note(&mut self, ino: u64) {
        if let Some(row) = self.row_mut(ino)
            && row.get(ino).is_some()
        {
            row.noted |= bit(ino);
        }
    }

    /// Live vnodes that were noted since they were last taken.
    pub(crate) fn take_noted(&mut self) -> impl Iterator<Item = Arc<Vnode>> {
        let rows = self
            .blocks
            .iter_mut()
            .flat_map(|(_, block)| block.rows.iter_mut());
        let noted = rows.flatten().filter(|row| row.noted != 0);
        noted.flat_map(|row| {
            let noted = core::mem::take(&mut row.noted);
            let live = (0..ROW).filter(move |&n| noted & bit(n) != 0);
            live.filter_map(|n| row.live(n).cloned())
        })
    }

    /// All live vnodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Vnode>> {
        let rows = self
            .blocks
            .iter()
            .flat_map(|(_, block)| block.rows.iter().flatten());
        rows.flat_map(|row| row.live.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::{ROW, RUN, Slot, Slots, TABLES, row_of, table_of};
    use alloc::collections::BTreeSet;

    #[test]
    fn each_number_has_a_place_of_its_own_and_neighbours_share_a_row() {
        for start in [0, 1 << 40, u64::MAX - 5 * RUN * TABLES + 1] {
            let numbers = start..=start + (5 * RUN * TABLES - 1);
            let place = |ino| (table_of(ino), row_of(ino), ino % ROW);
            let places: BTreeSet<_> = numbers.clone().map(place).collect();
            assert_eq!(places.len() as u64, 5 * RUN * TABLES);
            for row in numbers.step_by(16) {
                let mates = (row..=row + 15).map(|ino| (table_of(ino), row_of(ino)));
                assert_eq!(mates.collect::<BTreeSet<_>>().len(), 1);
            }
        }
    }

    #[test]
    fn places_are_filled_changed_and_emptied() {
        let mut slots = Slots::default();
        let numbers = || (0..3000).filter(|ino| table_of(*ino) == 3);
        let third = numbers().filter(|ino| ino % 3 == 0).count();
        for ino in numbers().filter(|ino| ino % 3 == 0) {
            slots.set_busy(ino);
            slots.set_busy(ino);
        }
        assert_eq!((slots.len(), slots.iter().count()), (third, 0));
        for ino in numbers() {
            assert_eq!(matches!(slots.get(ino), Some(Slot::Busy)), ino % 3 == 0);
            slots.note(ino);
            let (live, noted) = slots.remove(ino);
            assert_eq!((live.is_none(), noted), (true, ino % 3 == 0));
            assert!(slots.get(ino).is_none());
        }
        assert_eq!((slots.len(), slots.blocks.len()), (0, 0));
        // The last empty row is used again, and clean.
        slots.set_busy(u64::MAX);
        assert!(slots.spare.0.is_none() && slots.spare.1.is_none());
        assert!(slots.take_noted().next().is_none());
    }
}
