//! Changing the index of hashed directories: making one, splitting leaves and index blocks, adding levels.

use crate::{
    dir::entry_size,
    dir_write::{NewEntry, set_rec_len, write_dots, write_entry, write_unused},
    error::{Error, Place, Result},
    features::Incompat,
    hash::HashVersion,
    htree::{IndexBlock, Way, update_checksum},
    inode::{FileType, Inode, InodeFlags},
    layout::htree::{
        DX_ENTRY_SIZE, DX_NODE_ENTRIES_OFFSET, DX_ROOT_INFO_OFFSET, DX_TAIL_SIZE, RawDxCountLimit,
        RawDxEntry, RawDxRootInfo,
    },
    txn::Txn,
    types::{FileBlock, InodeNumber, index},
};
use alloc::vec::Vec;
use rumpbio::Buf;
use rumpuser::Errno;
use zerocopy::FromBytes;

/// Splits that one insertion needs at most: the leaf, an index block of each level, a new root.
const MOST_SPLITS: u32 = 8;
/// `info_length`.
const INFO_LENGTH: u8 = 8;
/// Where the index entries of the root start.
const ROOT_ENTRIES_OFFSET: usize = DX_ROOT_INFO_OFFSET + 8;

/// A directory entry on its way to another block.
struct Moving {
    hash: u32,
    name: Vec<u8>,
    ino: InodeNumber,
    file_type: Option<FileType>,
}

impl Moving {
    fn size(&self) -> usize {
        entry_size(self.name.len())
    }
}

/// Where the index entries of a block start.
fn entries_offset(at: FileBlock) -> usize {
    if at.0 == 0 {
        ROOT_ENTRIES_OFFSET
    } else {
        DX_NODE_ENTRIES_OFFSET
    }
}

/// Writes the index entries of a block.
fn write_index(bytes: &mut [u8], start: usize, limit: usize, entries: &[(u32, FileBlock)]) {
    for (n, (hash, block)) in entries.iter().enumerate() {
        let at = start.saturating_add(n.saturating_mul(DX_ENTRY_SIZE));
        if let Some(Ok((raw, _))) = bytes.get_mut(at..).map(RawDxEntry::mut_from_prefix) {
            raw.hash.set(*hash);
            raw.block.set(block.0);
        }
    }
    if let Some(Ok((raw, _))) = bytes.get_mut(start..).map(RawDxCountLimit::mut_from_prefix) {
        raw.limit.set(u16::try_from(limit).unwrap_or(u16::MAX));
        raw.count
            .set(u16::try_from(entries.len()).unwrap_or(u16::MAX));
    }
}

impl Txn<'_> {
    fn damaged_index(dir: &Inode, at: FileBlock) -> Error {
        Error::words(
            Place::Htree(dir.ino, at),
            "index",
            0_u64,
            "an index that can be followed",
        )
    }

    /// Room for index entries in a block.
    fn index_limit(&self, at: FileBlock) -> usize {
        let tail = if self.sb().features.metadata_csum() {
            DX_TAIL_SIZE
        } else {
            0
        };
        index(self.sb().block_size())
            .saturating_sub(entries_offset(at))
            .saturating_sub(tail)
            .checked_div(DX_ENTRY_SIZE)
            .unwrap_or(0)
    }

    /// Changes a block of the index; its checksum follows.
    pub(crate) fn modify_index<R>(
        &mut self,
        dir: &Inode,
        at: FileBlock,
        buf: &Buf,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let checked = self.sb().features.metadata_csum();
        self.modify(buf, |bytes| {
            let value = f(bytes);
            if checked {
                update_checksum(dir, at, bytes);
            }
            value
        })
    }

    fn index_buf(&self, dir: &Inode, at: FileBlock) -> Result<Buf> {
        self.dir_buf(dir, at)?
            .ok_or_else(|| Self::damaged_index(dir, at))
    }

    /// Writes the entries of an index block.
    fn store_index(
        &mut self,
        dir: &Inode,
        at: FileBlock,
        entries: &[(u32, FileBlock)],
    ) -> Result<()> {
        let buf = self.index_buf(dir, at)?;
        let limit = self.index_limit(at);
        self.modify_index(dir, at, &buf, |bytes| {
            write_index(bytes, entries_offset(at), limit, entries);
        });
        Ok(())
    }

    /// Appends an index block with these entries.
    fn new_index_block(
        &mut self,
        dir: &mut Inode,
        entries: &[(u32, FileBlock)],
    ) -> Result<FileBlock> {
        let (at, buf) = self.append_dir_block(dir)?;
        let limit = self.index_limit(at);
        self.modify_index(dir, at, &buf, |bytes| {
            // To a reader that knows of no index: one unused entry over the whole block.
            write_unused(bytes);
            write_index(bytes, DX_NODE_ENTRIES_OFFSET, limit, entries);
        });
        Ok(at)
    }

    /// Gives a directory of one block an index. `false` if it cannot have one.
    pub(crate) fn make_index(&mut self, dir: &mut Inode) -> Result<bool> {
        let Some(version) = HashVersion::from_raw(self.sb().def_hash_version)
            .filter(|version| *version != HashVersion::SipHash)
        else {
            return Ok(false);
        };
        let root = FileBlock(0);
        let Some(buf) = self.dir_buf(dir, root)? else {
            return Ok(false);
        };
        let mut entries = self.entries_of(dir, root, &buf, version)?;
        let dots = entries.len() >= 2
            && entries.first().is_some_and(|e| e.name == b".")
            && entries.get(1).is_some_and(|e| e.name == b"..");
        if !dots {
            return Ok(false);
        }
        let rest = entries.split_off(2);
        let parent = entries.get(1).map_or(dir.ino, |e| e.ino);
        let (leaf, leaf_buf) = self.append_dir_block(dir)?;
        self.write_leaf(dir, &leaf_buf, &rest);
        dir.flags.insert(InodeFlags::INDEX);
        let (ino, filetype) = (dir.ino, self.filetype());
        let limit = self.index_limit(root);
        self.modify_index(dir, root, &buf, |bytes| {
            bytes.fill(0);
            write_dots(bytes, ino, parent, filetype);
            if let Some(Ok((info, _))) = bytes
                .get_mut(DX_ROOT_INFO_OFFSET..)
                .map(RawDxRootInfo::mut_from_prefix)
            {
                info.hash_version = version.to_raw();
                info.info_length = INFO_LENGTH;
            }
            write_index(bytes, ROOT_ENTRIES_OFFSET, limit, &[(0, leaf)]);
        });
        Ok(true)
    }

    /// The entries of a block of names, with their hashes.
    fn entries_of(
        &self,
        dir: &Inode,
        at: FileBlock,
        buf: &Buf,
        version: HashVersion,
    ) -> Result<Vec<Moving>> {
        let data = buf.data();
        let bytes = data.get(..self.entry_bytes()).unwrap_or_default();
        let hasher = self.fs().hasher();
        let mut entries = Vec::new();
        for entry in self.fs().dir_entries(dir, at, bytes).entries() {
            let (_, entry) = entry?;
            if entry.ino.0 == 0 {
                continue;
            }
            let hash = hasher
                .hash(version, entry.name)
                .ok_or_else(|| Self::damaged_index(dir, at))?;
            entries.push(Moving {
                hash: hash.hash,
                name: entry.name.to_vec(),
                ino: entry.ino,
                file_type: entry.file_type,
            });
        }
        Ok(entries)
    }

    /// Fills a block with these entries, which fit.
    fn write_leaf(&mut self, dir: &Inode, buf: &Buf, entries: &[Moving]) {
        let filetype = self.filetype();
        self.modify_dir(dir, buf, |bytes| {
            bytes.fill(0);
            write_unused(bytes);
            let len = bytes.len();
            let (mut at, mut last) = (0_usize, None);
            for entry in entries {
                let new = NewEntry {
                    name: &entry.name,
                    ino: entry.ino,
                    file_type: entry.file_type.unwrap_or(FileType::Regular),
                };
                write_entry(bytes, at, entry.size(), &new, filetype);
                last = Some(at);
                at = at.saturating_add(entry.size());
            }
            if let Some(last) = last {
                set_rec_len(bytes, last, len.saturating_sub(last));
            }
        });
    }

    /// Puts an entry into a directory with an index.
    ///
    /// # Errors
    /// [`Error::Value`] if the index makes no sense; `ENOSPC` if it is full.
    pub(crate) fn add_indexed(&mut self, dir: &mut Inode, entry: &NewEntry<'_>) -> Result<()> {
        for _ in 0..MOST_SPLITS {
            let root = FileBlock(0);
            let damaged = Self::damaged_index(dir, root);
            let Some((version, index_root)) = self.fs().index_root(dir)? else {
                return Err(damaged);
            };
            let Some(hash) = self.fs().hasher().hash(version, entry.name) else {
                return Err(damaged);
            };
            let levels = index_root.1;
            let Some(way) = self.fs().index_way(dir, index_root, hash.hash)? else {
                return Err(damaged);
            };
            let Some(leaf) = way.leaf() else {
                return Err(damaged);
            };
            if leaf.0 == 0 || leaf.0 >= self.fs().dir_blocks(dir) {
                return Err(damaged);
            }
            if self.add_to_block(dir, leaf, entry)? {
                return Ok(());
            }
            if !self.make_index_room(dir, &way, levels)? {
                continue;
            }
            self.split_leaf(dir, &way, leaf, version)?;
        }
        Err(Self::damaged_index(dir, FileBlock(0)))
    }

    /// Sees to it that the last index block of the way has room for one more entry. `false` if the index was changed and
    /// the way must be looked for again.
    fn make_index_room(&mut self, dir: &mut Inode, way: &Way, levels: u8) -> Result<bool> {
        let frames = way.frames();
        let Some(free) = frames
            .iter()
            .rposition(|(block, _)| block.len() < self.index_limit(block.at()))
        else {
            self.add_level(dir, frames, levels)?;
            return Ok(false);
        };
        let Some((node, _)) = frames.get(free.saturating_add(1)) else {
            return Ok(true);
        };
        let Some((parent, child)) = frames.get(free) else {
            return Ok(true);
        };
        let mut kept = node.entries();
        let moved = kept.split_off(kept.len() / 2);
        let Some(&(hash, _)) = moved.first() else {
            return Err(Self::damaged_index(dir, node.at()));
        };
        let new = self.new_index_block(dir, &moved)?;
        self.store_index(dir, node.at(), &kept)?;
        self.insert_index(dir, parent, *child, (hash, new))?;
        Ok(false)
    }

    /// Moves the root's entries into a new block one level down.
    fn add_level(
        &mut self,
        dir: &mut Inode,
        frames: &[(IndexBlock, usize)],
        levels: u8,
    ) -> Result<()> {
        let most = if self.sb().features.incompat(Incompat::LARGEDIR) {
            2
        } else {
            1
        };
        let Some((root, _)) = frames.first() else {
            return Err(Self::damaged_index(dir, FileBlock(0)));
        };
        if levels >= most {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        let new = self.new_index_block(dir, &root.entries())?;
        self.store_index(dir, FileBlock(0), &[(0, new)])?;
        let buf = self.index_buf(dir, FileBlock(0))?;
        self.modify_index(dir, FileBlock(0), &buf, |bytes| {
            if let Some(Ok((info, _))) = bytes
                .get_mut(DX_ROOT_INFO_OFFSET..)
                .map(RawDxRootInfo::mut_from_prefix)
            {
                info.indirect_levels = levels.saturating_add(1);
            }
        });
        Ok(())
    }

    /// Puts an index entry behind child `after`.
    fn insert_index(
        &mut self,
        dir: &Inode,
        block: &IndexBlock,
        after: usize,
        entry: (u32, FileBlock),
    ) -> Result<()> {
        let mut entries = block.entries();
        let at = after.saturating_add(1).min(entries.len());
        entries.insert(at, entry);
        self.store_index(dir, block.at(), &entries)
    }

    /// Moves the names with the larger hashes into a new leaf.
    fn split_leaf(
        &mut self,
        dir: &mut Inode,
        way: &Way,
        leaf: FileBlock,
        version: HashVersion,
    ) -> Result<()> {
        let buf = self.index_buf(dir, leaf)?;
        let mut entries = self.entries_of(dir, leaf, &buf, version)?;
        entries.sort_by_key(|entry| entry.hash);
        let half = self.entry_bytes() / 2;
        let mut size = 0_usize;
        // As many from the end as fill half of the block, but never all.
        let mut at = entries.len();
        while let Some(entry) = at.checked_sub(1).and_then(|n| entries.get(n)) {
            size = size.saturating_add(entry.size());
            if size > half {
                break;
            }
            at = at.saturating_sub(1);
        }
        let at = at.clamp(1, entries.len().saturating_sub(1).max(1));
        let moved = entries.split_off(at);
        let (Some(first), Some(before)) = (moved.first(), entries.last()) else {
            return Err(Self::damaged_index(dir, leaf));
        };
        // Bit 0 says that the names of one hash go on in the new leaf.
        let hash = first.hash | u32::from(first.hash == before.hash);
        let (new, new_buf) = self.append_dir_block(dir)?;
        self.write_leaf(dir, &new_buf, &moved);
        self.write_leaf(dir, &buf, &entries);
        let Some((block, child)) = way.frames().last() else {
            return Err(Self::damaged_index(dir, leaf));
        };
        self.insert_index(dir, block, *child, (hash, new))
    }
}
