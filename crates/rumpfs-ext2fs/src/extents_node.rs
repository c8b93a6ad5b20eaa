//! Editing one node of an extent tree in place.

use crate::{
    layout::extent::{EXT4_EXT_MAGIC, EXTENT_ENTRY_SIZE, RawExtentHeader, RawExtentIdx},
    layout::inode::I_BLOCK_SIZE,
    types::{FileBlock, FsBlock},
};
use zerocopy::FromBytes;

/// Entries in the root.
pub(crate) const ROOT_ENTRIES: usize = 4;

/// An extent or an index as it lies in a node: both start with the first file block.
pub(crate) type Entry = [u8; EXTENT_ENTRY_SIZE];

/// A node's bytes, to be edited.
pub(crate) struct NodeMut<'a>(pub(crate) &'a mut [u8]);

impl NodeMut<'_> {
    /// The header, if there is room for one.
    pub(crate) fn header(&mut self) -> Option<&mut RawExtentHeader> {
        RawExtentHeader::mut_from_prefix(self.0)
            .ok()
            .map(|(header, _)| header)
    }

    /// Entries in use.
    pub(crate) fn len(&mut self) -> usize {
        self.header().map_or(0, |h| usize::from(h.eh_entries.get()))
    }

    /// Changes how many entries are in use.
    pub(crate) fn set_len(&mut self, len: usize) {
        if let Some(header) = self.header() {
            header.eh_entries.set(u16::try_from(len).unwrap_or(0));
        }
    }

    /// Where entry `at` starts.
    pub(crate) fn offset(at: usize) -> usize {
        at.saturating_add(1).saturating_mul(EXTENT_ENTRY_SIZE)
    }

    /// Entry `at`.
    pub(crate) fn get(&self, at: usize) -> Option<Entry> {
        self.0
            .get(Self::offset(at)..)?
            .first_chunk::<EXTENT_ENTRY_SIZE>()
            .copied()
    }

    /// Changes entry `at`.
    pub(crate) fn put(&mut self, at: usize, entry: &[u8]) {
        if let Some(to) = self
            .0
            .get_mut(Self::offset(at)..)
            .and_then(|rest| rest.get_mut(..EXTENT_ENTRY_SIZE))
        {
            to.copy_from_slice(entry);
        }
    }

    /// Changes the first file block of an entry.
    pub(crate) fn set_key(&mut self, at: usize, key: FileBlock) {
        if let Some(to) = self
            .0
            .get_mut(Self::offset(at)..)
            .and_then(|rest| rest.first_chunk_mut::<4>())
        {
            *to = key.0.to_le_bytes();
        }
    }

    /// Puts an entry in before entry `at`; there is room.
    pub(crate) fn insert(&mut self, at: usize, entry: &[u8]) {
        let len = self.len();
        let (from, end) = (Self::offset(at), Self::offset(len));
        if end.saturating_add(EXTENT_ENTRY_SIZE) <= self.0.len() && from <= end {
            self.0
                .copy_within(from..end, from.saturating_add(EXTENT_ENTRY_SIZE));
            self.put(at, entry);
            self.set_len(len.saturating_add(1));
        }
    }

    /// Takes entry `at` out.
    pub(crate) fn remove(&mut self, at: usize) {
        let len = self.len();
        let (from, end) = (Self::offset(at), Self::offset(len));
        let next = from.saturating_add(EXTENT_ENTRY_SIZE);
        if next <= end && end <= self.0.len() {
            self.0.copy_within(next..end, from);
            self.set_len(len.saturating_sub(1));
        }
    }

    /// Makes it an empty node.
    pub(crate) fn init(&mut self, depth: u16, max: usize) {
        if let Some(header) = self.header() {
            header.eh_magic.set(EXT4_EXT_MAGIC);
            header.eh_entries.set(0);
            header.eh_max.set(u16::try_from(max).unwrap_or(u16::MAX));
            header.eh_depth.set(depth);
        }
    }
}

/// First file block of an entry.
pub(crate) fn key(entry: &Entry) -> FileBlock {
    let [a, b, c, d, ..] = *entry;
    FileBlock(u32::from_le_bytes([a, b, c, d]))
}

/// An entry of an inner node.
pub(crate) fn index_entry(key: FileBlock, child: FsBlock) -> RawExtentIdx {
    let [a, b, c, d, e, f, ..] = child.0.to_le_bytes();
    RawExtentIdx {
        ei_block: key.0.into(),
        ei_leaf_lo: u32::from_le_bytes([a, b, c, d]).into(),
        ei_leaf_hi: u16::from_le_bytes([e, f]).into(),
        ei_unused: 0.into(),
    }
}

/// An empty extent tree for `i_block`.
#[must_use]
pub(crate) fn empty_root() -> [u8; I_BLOCK_SIZE] {
    let mut root = [0; I_BLOCK_SIZE];
    NodeMut(&mut root).init(0, ROOT_ENTRIES);
    root
}
