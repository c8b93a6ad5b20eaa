//! What a writer keeps in memory of the space of a volume: the counts of all groups, and the maps of those that it uses.
//!
//! The maps are changed here and go to their buffers when the transaction ends, so that the truth is in the buffers between
//! transactions. An open transaction has the whole of it for itself.

use crate::{
    error::{Error, Place, Result},
    maps::{Counts, Maps},
    superblock::Superblock,
    types::{Order, index, number},
};
use alloc::{collections::BTreeMap, vec::Vec};
use rumpuser::Rng;

/// Bytes of the counts of a group.
pub(crate) const COUNTS_LEN: usize = 16;
/// Most maps that are kept between transactions, in bytes.
const MOST_BYTES: usize = 16 << 20;

/// Counts of the whole volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Directories.
    pub dirs: u64,
    /// Free blocks.
    pub blocks: u64,
    /// Free inodes.
    pub inodes: u64,
    /// Free fragments outside of free blocks.
    pub frags: u64,
}

/// Stock and inodes of a volume that is written.
pub(crate) struct Stock {
    /// Counts of all groups.
    counts: Vec<Counts>,
    /// Groups whose counts are not in the table on the medium, by their number.
    pub(crate) counts_changed: Vec<u32>,
    pub(crate) totals: Totals,
    /// The superblock's totals are old.
    pub(crate) totals_changed: bool,
    groups: BTreeMap<u32, Group>,
    /// Groups whose maps the open transaction has changed, with their counts before.
    touched: Vec<(u32, Counts)>,
    /// Counts the looks at groups, to find out which was not used for long.
    clock: u64,
    /// Directories made in a group one after the other without a file between them.
    pub(crate) dirs_in_row: BTreeMap<u32, u32>,
    /// Inodes without a name that are in use, with their modes.
    pub(crate) nameless: BTreeMap<u64, u16>,
    /// Those that the open transaction has added or taken away, as they were before.
    nameless_undo: Vec<(u64, Option<u16>)>,
    random: Rng,
}

struct Group {
    maps: Maps,
    used: u64,
    /// Something is wrong with it: nothing is allocated there.
    bad: bool,
}

impl Stock {
    /// From the table of counts.
    pub(crate) fn new(superblock: &Superblock, table: &[u8], seed: u64) -> Result<Self> {
        let mut counts = Vec::new();
        let order = superblock.order;
        for entry in table
            .chunks_exact(COUNTS_LEN)
            .take(index(superblock.groups.into()))
        {
            counts.push(parse(order, entry).unwrap_or_default());
        }
        if number(counts.len()) != superblock.groups.into() {
            let place = Place::Superblock(superblock.at);
            let found = superblock.summary_bytes;
            return Err(Error::value(
                place,
                "cssize",
                found,
                "16 bytes for each group",
            ));
        }
        let mut space = Self {
            counts,
            counts_changed: Vec::new(),
            totals: Totals::default(),
            totals_changed: true,
            groups: BTreeMap::new(),
            touched: Vec::new(),
            clock: 0,
            dirs_in_row: BTreeMap::new(),
            nameless: BTreeMap::new(),
            nameless_undo: Vec::new(),
            random: Rng::new(seed),
        };
        for counts in &space.counts {
            space.totals.add(*counts);
        }
        Ok(space)
    }

    /// A number that nobody guesses.
    pub(crate) fn random(&mut self) -> u32 {
        u32::try_from(self.random.next_u64().wrapping_shr(32)).unwrap_or(0)
    }

    /// The counts of a group.
    pub(crate) fn counts(&self, group: u32) -> Counts {
        self.counts
            .get(index(group.into()))
            .copied()
            .unwrap_or_default()
    }

    /// All counts as they are stored from group `first` on.
    pub(crate) fn store_counts(&self, order: Order, first: u32, table: &mut [u8]) {
        let from = self.counts.get(index(first.into())..).unwrap_or_default();
        for (entry, counts) in table.chunks_exact_mut(COUNTS_LEN).zip(from) {
            let Counts {
                dirs,
                blocks,
                inodes,
                frags,
            } = *counts;
            for (to, n) in entry.chunks_exact_mut(4).zip([dirs, blocks, inodes, frags]) {
                to.copy_from_slice(&order.bytes_u32(n));
            }
        }
    }

    /// The maps of a group, if they are in memory.
    pub(crate) fn get(&mut self, group: u32) -> Option<&Maps> {
        self.clock = self.clock.saturating_add(1);
        let entry = self.groups.get_mut(&group)?;
        entry.used = self.clock;
        Some(&entry.maps)
    }

    /// Whether nothing is to be allocated in a group.
    pub(crate) fn is_bad(&self, group: u32) -> bool {
        self.groups.get(&group).is_some_and(|entry| entry.bad)
    }

    /// Puts the maps of a group into memory; `bad`: nothing is to be allocated there.
    pub(crate) fn put(&mut self, maps: Maps, bad: bool) {
        let most = MOST_BYTES
            .checked_div(maps.bytes().len())
            .unwrap_or(0)
            .max(8);
        if self.groups.len() >= most {
            let idle = |group: &u32| !self.touched.iter().any(|(touched, _)| touched == group);
            let oldest = self.groups.iter().filter(|(group, _)| idle(group));
            let oldest = oldest.min_by_key(|(_, entry)| entry.used);
            if let Some(group) = oldest.map(|(group, _)| *group) {
                self.groups.remove(&group);
            }
        }
        let (group, used) = (maps.group(), self.clock);
        self.groups.insert(group, Group { maps, used, bad });
    }

    /// The maps of a group that the open transaction changes, if they are in memory.
    pub(crate) fn change(&mut self, group: u32) -> Option<&mut Maps> {
        let entry = self.groups.get_mut(&group)?;
        if !self.touched.iter().any(|(touched, _)| *touched == group) {
            self.touched.push((group, entry.maps.counts()));
        }
        Some(&mut entry.maps)
    }

    /// How many groups the open transaction has changed.
    pub(crate) fn touched(&self) -> usize {
        self.touched.len()
    }

    /// The groups that the open transaction has changed.
    pub(crate) fn touched_groups(&self) -> Vec<u32> {
        self.touched.iter().map(|(group, _)| *group).collect()
    }

    /// Adds an inode without a name, or takes one away.
    pub(crate) fn set_nameless(&mut self, ino: u64, mode: Option<u16>) {
        let before = match mode {
            Some(mode) => self.nameless.insert(ino, mode),
            None => self.nameless.remove(&ino),
        };
        self.nameless_undo.push((ino, before));
    }

    /// Keeps what the open transaction has changed.
    pub(crate) fn keep(&mut self) {
        self.nameless_undo.clear();
        for (group, before) in core::mem::take(&mut self.touched) {
            let Some(entry) = self.groups.get(&group) else {
                continue;
            };
            let after = entry.maps.counts();
            if before == after {
                continue;
            }
            self.totals.subtract(before);
            self.totals.add(after);
            self.totals_changed = true;
            if let Some(counts) = self.counts.get_mut(index(group.into())) {
                *counts = after;
            }
            if !self.counts_changed.contains(&group) {
                self.counts_changed.push(group);
            }
        }
    }

    /// Takes back what the open transaction has changed.
    pub(crate) fn roll_back(&mut self) {
        for (ino, before) in core::mem::take(&mut self.nameless_undo).into_iter().rev() {
            match before {
                Some(mode) => self.nameless.insert(ino, mode),
                None => self.nameless.remove(&ino),
            };
        }
        // Their buffers have them as they were.
        for (group, _) in core::mem::take(&mut self.touched) {
            self.groups.remove(&group);
        }
    }

    /// The counts of a group's own maps are what holds.
    pub(crate) fn adopt(&mut self, group: u32, counts: Counts) {
        let Some(held) = self.counts.get_mut(index(group.into())) else {
            return;
        };
        if *held != counts {
            self.totals.subtract(*held);
            self.totals.add(counts);
            *held = counts;
            self.totals_changed = true;
            self.counts_changed.push(group);
        }
    }
}

impl Totals {
    fn add(&mut self, counts: Counts) {
        self.dirs = self.dirs.saturating_add(counts.dirs.into());
        self.blocks = self.blocks.saturating_add(counts.blocks.into());
        self.inodes = self.inodes.saturating_add(counts.inodes.into());
        self.frags = self.frags.saturating_add(counts.frags.into());
    }

    fn subtract(&mut self, counts: Counts) {
        self.dirs = self.dirs.saturating_sub(counts.dirs.into());
        self.blocks = self.blocks.saturating_sub(counts.blocks.into());
        self.inodes = self.inodes.saturating_sub(counts.inodes.into());
        self.frags = self.frags.saturating_sub(counts.frags.into());
    }
}

fn parse(order: Order, entry: &[u8]) -> Option<Counts> {
    let at = |n: usize| order.u32(entry.get(n..)?);
    Some(Counts {
        dirs: at(0)?,
        blocks: at(4)?,
        inodes: at(8)?,
        frags: at(12)?,
    })
}
