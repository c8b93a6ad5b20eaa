//! What the check remembers: a bit for each fragment, five bytes for each inode up to the last one in use, twelve for each directory.
//! All by cylinder group, and none for what is not used.

use super::{Error, reader::Reader};
use crate::{
    cg::{bit, set_bit},
    types::index,
};
use alloc::{collections::BTreeMap, vec::Vec};

/// What is known of an inode; 0: it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State(u8);

impl State {
    const KIND: u8 = 0x0F;
    const USED: u8 = 0x10;
    const BAD: u8 = 0x20;
    const CONNECTED: u8 = 0x40;
    const SCANNED: u8 = 0x80;
    /// Type of a directory.
    pub(super) const DIRECTORY: u8 = 4;

    /// In use, of that type: the upper bits of the mode.
    pub(super) fn used(kind: u8) -> Self {
        Self(Self::USED | kind & Self::KIND)
    }

    pub(super) fn is_used(self) -> bool {
        self.0 & Self::USED != 0
    }

    pub(super) fn kind(self) -> u8 {
        self.0 & Self::KIND
    }

    pub(super) fn is_directory(self) -> bool {
        self.is_used() && self.kind() == Self::DIRECTORY
    }

    /// Something is wrong with its blocks or its type.
    pub(super) fn is_bad(self) -> bool {
        self.0 & Self::BAD != 0
    }

    /// A path leads there.
    pub(super) fn is_connected(self) -> bool {
        self.0 & Self::CONNECTED != 0
    }

    /// Its names were looked at.
    pub(super) fn is_scanned(self) -> bool {
        self.0 & Self::SCANNED != 0
    }

    pub(super) fn bad(self) -> Self {
        Self(self.0 | Self::BAD)
    }

    pub(super) fn connected(self) -> Self {
        Self(self.0 | Self::CONNECTED)
    }

    pub(super) fn scanned(self) -> Self {
        Self(self.0 | Self::SCANNED)
    }
}

/// As many zeros, of which the volume says how many: it is no reason to stop if there is not so much memory.
pub(super) fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>, Error> {
    let mut zeros = Vec::new();
    let room = zeros.try_reserve_exact(len);
    room.map_err(|_| Error::TooLarge)?;
    zeros.resize(len, T::default());
    Ok(zeros)
}

/// Of one cylinder group.
#[derive(Default)]
struct GroupMap {
    /// Fragments in use, without the areas for metadata; empty: none.
    frags: Vec<u8>,
    states: Vec<State>,
    /// Names that an inode should have and that were not found yet.
    links: Vec<i32>,
}

/// A directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory {
    pub(super) ino: u32,
    /// Who has a name for it; 0: nobody yet.
    pub(super) parent: u32,
    /// Where its `..` leads; 0: nowhere.
    pub(super) dot_dot: u32,
}

/// All of it.
pub(super) struct Maps {
    groups: Vec<GroupMap>,
    frags_per_group: u64,
    inodes_per_group: u64,
    /// Fragments on the device.
    end: u64,
    /// By inode number.
    pub(super) directories: Vec<Directory>,
    /// Fragments that were found twice, and whether it is known who had them first.
    pub(super) duplicates: BTreeMap<u64, bool>,
    left: u64,
}

impl Maps {
    pub(super) fn new(reader: &Reader, memory: u64) -> Result<Self, Error> {
        let groups = index(reader.groups().into());
        let mut maps = Self {
            groups: Vec::new(),
            frags_per_group: u64::from(reader.superblock.frags_per_group).max(1),
            inodes_per_group: u64::from(reader.superblock.inodes_per_group).max(1),
            end: reader.end,
            directories: Vec::new(),
            duplicates: BTreeMap::new(),
            left: memory,
        };
        let bytes = u64::from(reader.groups()).saturating_mul(72);
        maps.take(bytes)?;
        let room = maps.groups.try_reserve_exact(groups);
        room.map_err(|_| Error::TooLarge)?;
        maps.groups.resize_with(groups, GroupMap::default);
        Ok(maps)
    }

    /// Notes that so many bytes are used.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), Error> {
        self.left = self.left.checked_sub(bytes).ok_or(Error::TooLarge)?;
        Ok(())
    }

    /// The group of a fragment, and its number in it.
    fn frag_group(&self, frag: u64) -> (usize, u64) {
        let group = frag.checked_div(self.frags_per_group).unwrap_or(0);
        let within = frag.checked_rem(self.frags_per_group).unwrap_or(0);
        (index(group), within)
    }

    fn inode_group(&self, ino: u64) -> (usize, usize) {
        let group = ino.checked_div(self.inodes_per_group).unwrap_or(0);
        let within = ino.checked_rem(self.inodes_per_group).unwrap_or(0);
        (index(group), index(within))
    }

    /// Marks a fragment as in use; says whether it was before.
    pub(super) fn claim(&mut self, frag: u64) -> Result<bool, Error> {
        let (group, within) = self.frag_group(frag);
        let base = self
            .frags_per_group
            .saturating_mul(frag.checked_div(self.frags_per_group).unwrap_or(0));
        let bits = self.end.saturating_sub(base).min(self.frags_per_group);
        let bytes = bits.div_ceil(8);
        let empty = self
            .groups
            .get(group)
            .is_some_and(|map| map.frags.is_empty());
        if empty {
            self.take(bytes)?;
        }
        let Some(map) = self.groups.get_mut(group) else {
            return Ok(false);
        };
        if empty {
            map.frags = zeros(index(bytes))?;
        }
        let before = bit(&map.frags, within);
        set_bit(&mut map.frags, within, true);
        Ok(before)
    }

    /// Whether a fragment of a group is in use.
    pub(super) fn is_claimed(&self, group: u32, within: u64) -> bool {
        let map = self.groups.get(index(group.into()));
        map.is_some_and(|map| bit(&map.frags, within))
    }

    /// Remembers the inodes of a group, up to the last one in use.
    pub(super) fn set_group(
        &mut self,
        group: u32,
        mut states: Vec<State>,
        mut links: Vec<i32>,
    ) -> Result<(), Error> {
        let used = states.iter().rposition(|state| state.is_used());
        let len = used.map_or(0, |last| last.saturating_add(1));
        states.truncate(len);
        states.shrink_to_fit();
        links.truncate(len);
        links.shrink_to_fit();
        self.take(u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(5))?;
        if let Some(map) = self.groups.get_mut(index(group.into())) {
            map.states = states;
            map.links = links;
        }
        Ok(())
    }

    pub(super) fn state(&self, ino: u64) -> State {
        let (group, within) = self.inode_group(ino);
        let map = self.groups.get(group);
        map.and_then(|map| map.states.get(within))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn set_state(&mut self, ino: u64, state: State) {
        let (group, within) = self.inode_group(ino);
        let map = self.groups.get_mut(group);
        if let Some(known) = map.and_then(|map| map.states.get_mut(within)) {
            *known = state;
        }
    }

    /// A name was found.
    pub(super) fn name_found(&mut self, ino: u64) {
        let (group, within) = self.inode_group(ino);
        let map = self.groups.get_mut(group);
        if let Some(left) = map.and_then(|map| map.links.get_mut(within)) {
            *left = left.saturating_sub(1);
        }
    }

    /// Names that are missing; fewer than 0: there are more than there should be.
    pub(super) fn links_left(&self, ino: u64) -> i32 {
        let (group, within) = self.inode_group(ino);
        let map = self.groups.get(group);
        map.and_then(|map| map.links.get(within))
            .copied()
            .unwrap_or(0)
    }

    /// Inodes of a group up to the last one in use.
    pub(super) fn inodes(&self, group: u32) -> u64 {
        let map = self.groups.get(index(group.into()));
        map.map_or(0, |map| u64::try_from(map.states.len()).unwrap_or(0))
    }

    /// Notes a directory; they come by their numbers.
    pub(super) fn add_directory(&mut self, ino: u64) -> Result<(), Error> {
        self.take(16)?;
        let room = self.directories.try_reserve(1);
        room.map_err(|_| Error::TooLarge)?;
        self.directories.push(Directory {
            ino: u32::try_from(ino).unwrap_or(0),
            parent: 0,
            dot_dot: 0,
        });
        Ok(())
    }

    /// The place of a directory in the list.
    pub(super) fn directory(&self, ino: u64) -> Option<usize> {
        let ino = u32::try_from(ino).ok()?;
        self.directories
            .binary_search_by_key(&ino, |known| known.ino)
            .ok()
    }
}
