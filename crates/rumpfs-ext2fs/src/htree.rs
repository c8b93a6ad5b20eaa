//! The index of hashed directories.
//!
//! Block 0 is the root: `.` and `..`, then the hash's kind and index entries. Index entries of the last level lead to
//! blocks of ordinary directory entries. All index blocks look like empty blocks to a reader that does not know of them.
//! An index that makes no sense is not used, as in Linux: the directory is then searched from end to end.

use crate::{
    checksum::crc32c,
    dir::{Located, Wanted},
    error::{Error, Place, Result},
    features::Incompat,
    fs::Ext2fs,
    hash::{HashVersion, Hasher},
    inode::{Inode, InodeFlags},
    layout::htree::{
        DX_ENTRY_SIZE, DX_NODE_ENTRIES_OFFSET, DX_ROOT_INFO_OFFSET, DX_TAIL_SIZE, RawDxCountLimit,
        RawDxEntry, RawDxRootInfo, RawDxTail,
    },
    types::{FileBlock, index, number},
};
use alloc::vec::Vec;
use rumpbio::{Buf, BufData};
use zerocopy::FromBytes;

/// The bits of an index entry's block that count.
const BLOCK_MASK: u32 = 0x0FFF_FFFF;
/// `info_length` of the root.
const INFO_LENGTH: usize = 8;
/// `dt_reserved` of the tail, and its length.
const TAIL_RESERVED: usize = 4;

/// The index entries of a block.
#[derive(Clone, Debug)]
pub(crate) struct IndexBlock {
    at: FileBlock,
    data: BufData,
    /// Where the entries start.
    start: usize,
    count: usize,
}

impl IndexBlock {
    /// The entries from `start` on, if their number makes sense.
    fn new(at: FileBlock, data: BufData, start: usize, has_tail: bool) -> Option<Self> {
        let (raw, _) = RawDxCountLimit::ref_from_prefix(data.get(start..)?).ok()?;
        let tail = if has_tail { DX_TAIL_SIZE } else { 0 };
        let limit = data
            .len()
            .checked_sub(start)?
            .checked_sub(tail)?
            .checked_div(DX_ENTRY_SIZE)?;
        let count = usize::from(raw.count.get());
        let right = usize::from(raw.limit.get()) == limit && (1..=limit).contains(&count);
        right.then_some(Self {
            at,
            data,
            start,
            count,
        })
    }

    /// Which block of the directory it is.
    pub(crate) fn at(&self) -> FileBlock {
        self.at
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// All entries: smallest hash and child.
    pub(crate) fn entries(&self) -> Vec<(u32, FileBlock)> {
        (0..self.count)
            .filter_map(|n| Some((self.hash(n), self.child(n)?)))
            .collect()
    }

    fn raw(&self, n: usize) -> Option<&RawDxEntry> {
        let at = self.start.checked_add(n.checked_mul(DX_ENTRY_SIZE)?)?;
        RawDxEntry::ref_from_prefix(self.data.get(at..)?)
            .ok()
            .map(|(raw, _)| raw)
    }

    /// Smallest hash of child `n`; the first child has none.
    fn hash(&self, n: usize) -> u32 {
        if n == 0 {
            0
        } else {
            self.raw(n).map_or(0, |raw| raw.hash.get())
        }
    }

    /// Child `n`.
    fn child(&self, n: usize) -> Option<FileBlock> {
        if n >= self.count {
            return None;
        }
        self.raw(n)
            .map(|raw| FileBlock(raw.block.get() & BLOCK_MASK))
    }

    /// The last child whose smallest hash is not above `hash`.
    fn find(&self, hash: u32) -> usize {
        let bytes = self.data.get(self.start..).unwrap_or_default();
        let Ok((entries, _)) = <[RawDxEntry]>::ref_from_prefix_with_elems(bytes, self.count) else {
            return 0;
        };
        // Without the first, which has no hash.
        let others = entries.get(1..).unwrap_or_default();
        others.partition_point(|raw| raw.hash.get() <= hash)
    }
}

/// The way through the index to a leaf: at each level the block and the child taken.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    frames: Vec<(IndexBlock, usize)>,
}

impl Way {
    /// Index blocks from the root on, each with the child taken.
    pub(crate) fn frames(&self) -> &[(IndexBlock, usize)] {
        &self.frames
    }

    pub(crate) fn leaf(&self) -> Option<FileBlock> {
        self.frames.last().and_then(|(block, n)| block.child(*n))
    }

    /// The smallest hash of the leaf.
    pub(crate) fn first_hash(&self) -> u32 {
        let hashes = self.frames.iter().map(|(block, n)| block.hash(*n));
        hashes.max().unwrap_or(0)
    }

    /// The lowest level at which there is a next child.
    fn next_level(&self) -> Option<usize> {
        let more = |(block, n): &(IndexBlock, usize)| n.saturating_add(1) < block.count;
        self.frames.iter().rposition(more)
    }

    /// The smallest hash of the next leaf, if there is one; bit 0 tells that it goes on with the hash of this one.
    pub(crate) fn next_hash(&self) -> Option<u32> {
        let (block, n) = self.frames.get(self.next_level()?)?;
        Some(block.hash(n.saturating_add(1)))
    }
}

impl Ext2fs {
    /// How this volume hashes names.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        let sb = self.superblock();
        Hasher {
            seed: sb.hash_seed,
            unsigned: sb.unsigned_hash,
        }
    }

    /// Looks a name up through the index. `None` if the index cannot be used.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub fn lookup_indexed(&self, dir: &Inode, name: &[u8]) -> Result<Option<Option<Located>>> {
        let wanted = Wanted::plain(name);
        // These two lie in the root itself.
        if name == b"." || name == b".." {
            return Ok(None);
        }
        let Some((version, root)) = self.index_root(dir)? else {
            return Ok(None);
        };
        let Some(hash) = self.hasher().hash(version, name) else {
            return Ok(None);
        };
        let Some(mut way) = self.index_way(dir, root, hash.hash)? else {
            return Ok(None);
        };
        // Every step reads another leaf, so there are no more than blocks.
        for _ in 0..self.dir_blocks(dir) {
            let Some(leaf) = way.leaf() else {
                return Ok(None);
            };
            let Some(found) = self.find_in_leaf(dir, leaf, &wanted)? else {
                return Ok(None);
            };
            if found.is_some() {
                return Ok(Some(found));
            }
            match self.next_leaf(dir, &mut way, hash.hash)? {
                Step::Same => {}
                Step::Other => return Ok(Some(None)),
                Step::Damaged => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The hash's kind and the root's entries with the number of levels below, if they make sense.
    pub(crate) fn index_root(
        &self,
        dir: &Inode,
    ) -> Result<Option<(HashVersion, (IndexBlock, u8))>> {
        let Some(data) = self.dir_leaf(dir, FileBlock(0))? else {
            return Ok(None);
        };
        let Some(rest) = data.get(DX_ROOT_INFO_OFFSET..) else {
            return Ok(None);
        };
        let Ok((info, _)) = RawDxRootInfo::ref_from_prefix(rest) else {
            return Ok(None);
        };
        let most = if self.superblock().features.incompat(Incompat::LARGEDIR) {
            2
        } else {
            1
        };
        let levels = info.indirect_levels;
        let right = usize::from(info.info_length) == INFO_LENGTH
            && info.unused_flags & 1 == 0
            && levels <= most;
        let Some(version) = HashVersion::from_raw(info.hash_version).filter(|_| right) else {
            return Ok(None);
        };
        let start = DX_ROOT_INFO_OFFSET.saturating_add(INFO_LENGTH);
        let block = IndexBlock::new(
            FileBlock(0),
            data.clone(),
            start,
            self.superblock().features.metadata_csum(),
        );
        Ok(block.map(|block| (version, (block, levels))))
    }

    /// The way to the first leaf that may hold `hash`.
    pub(crate) fn index_way(
        &self,
        dir: &Inode,
        root: (IndexBlock, u8),
        hash: u32,
    ) -> Result<Option<Way>> {
        let (mut block, levels) = root;
        let mut way = Way {
            frames: Vec::with_capacity(3),
        };
        for _ in 0..levels {
            let n = block.find(hash);
            let Some(child) = block.child(n) else {
                return Ok(None);
            };
            way.frames.push((block, n));
            match self.index_node(dir, child)? {
                Some(node) => block = node,
                None => return Ok(None),
            }
        }
        let n = block.find(hash);
        way.frames.push((block, n));
        Ok(Some(way))
    }

    fn index_node(&self, dir: &Inode, at: FileBlock) -> Result<Option<IndexBlock>> {
        let Some(data) = self.dir_leaf(dir, at)? else {
            return Ok(None);
        };
        Ok(IndexBlock::new(
            at,
            data,
            DX_NODE_ENTRIES_OFFSET,
            self.superblock().features.metadata_csum(),
        ))
    }

    /// Goes to the next leaf if it continues `hash`: names of one hash may fill more than a block.
    fn next_leaf(&self, dir: &Inode, way: &mut Way, hash: u32) -> Result<Step> {
        match way.next_hash() {
            Some(next) if next & !1 == hash => {}
            _ => return Ok(Step::Other),
        }
        Ok(if self.advance(dir, way)? {
            Step::Same
        } else {
            Step::Damaged
        })
    }

    /// Goes to the next leaf. `false` if there is none or the index makes no sense.
    pub(crate) fn advance(&self, dir: &Inode, way: &mut Way) -> Result<bool> {
        let depth = way.frames.len();
        let Some(level) = way.next_level() else {
            return Ok(false);
        };
        let Some((block, n)) = way.frames.get_mut(level) else {
            return Ok(false);
        };
        *n = n.saturating_add(1);
        let mut child = block.child(*n);
        way.frames.truncate(level.saturating_add(1));
        while way.frames.len() < depth {
            let Some(at) = child else {
                return Ok(false);
            };
            let Some(node) = self.index_node(dir, at)? else {
                return Ok(false);
            };
            child = node.child(0);
            way.frames.push((node, 0));
        }
        Ok(true)
    }

    /// A block of the directory; `None` past its end or in a hole.
    pub(crate) fn dir_leaf(&self, dir: &Inode, at: FileBlock) -> Result<Option<BufData>> {
        Ok(self.dir_leaf_buf(dir, at)?.map(|buf| buf.data()))
    }

    /// As [`dir_leaf`](Self::dir_leaf), the buffer.
    pub(crate) fn dir_leaf_buf(&self, dir: &Inode, at: FileBlock) -> Result<Option<Buf>> {
        if at.0 >= self.dir_blocks(dir) {
            return Ok(None);
        }
        match self.map_one(dir, at)? {
            Some(block) => self.dir_block_buf(dir, at, block).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a block of a directory is one of its index: the root, or a block with nothing but one unused entry.
    pub(crate) fn is_index_block(&self, dir: &Inode, at: FileBlock, data: &[u8]) -> bool {
        if !dir.flags.contains(InodeFlags::INDEX)
            || !self
                .superblock()
                .features
                .compat(crate::features::Compat::DIR_INDEX)
        {
            return false;
        }
        if at.0 == 0 {
            return true;
        }
        let Some([a, b, c, d, low, high, 0, _]) = data.first_chunk::<8>() else {
            return false;
        };
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        // 64 KiB are written as 65535 or 0.
        let whole = len == data.len() || (data.len() == 65_536 && (len == 0 || len == 65_535));
        [*a, *b, *c, *d] == [0; 4] && whole
    }

    /// Checks the checksum of an index block.
    pub(crate) fn verify_index_block(&self, dir: &Inode, at: FileBlock, data: &[u8]) -> Result<()> {
        let place = Place::Htree(dir.ino, at);
        match index_checksums(dir, at, data) {
            None => Err(Error::words(
                place,
                "limit",
                number(data.len()),
                "a checksum tail inside the block",
            )),
            Some((stored, computed)) if stored != computed => Err(Error::Checksum {
                place,
                stored,
                computed,
            }),
            Some(_) => Ok(()),
        }
    }
}

/// What comes after a leaf.
enum Step {
    /// A leaf that continues the hash.
    Same,
    /// Another hash, or the end.
    Other,
    /// An index that makes no sense.
    Damaged,
}

/// Offset of `dx_countlimit` in an index block, where its checksum starts to matter: the root's is behind `.` and `..`.
fn entries_offset(at: FileBlock) -> usize {
    if at.0 == 0 {
        DX_ROOT_INFO_OFFSET.saturating_add(INFO_LENGTH)
    } else {
        DX_NODE_ENTRIES_OFFSET
    }
}

/// The stored and the computed checksum of an index block; `None` if the number of entries leaves no room for one.
fn index_checksums(dir: &Inode, at: FileBlock, data: &[u8]) -> Option<(u32, u32)> {
    let start = entries_offset(at);
    let (raw, _) = RawDxCountLimit::ref_from_prefix(data.get(start..)?).ok()?;
    let (limit, count) = (usize::from(raw.limit.get()), usize::from(raw.count.get()));
    let tail_at = start.checked_add(limit.checked_mul(DX_ENTRY_SIZE)?)?;
    let (tail, _) = RawDxTail::ref_from_prefix(data.get(tail_at..)?).ok()?;
    let covered = data.get(..start.checked_add(count.checked_mul(DX_ENTRY_SIZE)?)?)?;
    let reserved = data.get(tail_at..tail_at.checked_add(TAIL_RESERVED)?)?;
    let state = crc32c(crc32c(dir.csum_seed, covered), reserved);
    (count <= limit).then(|| (tail.dt_checksum.get(), crc32c(state, &[0; 4])))
}

/// Brings the checksum of an index block up to date. Only for volumes with checksums: others have no tail.
pub fn update_checksum(dir: &Inode, at: FileBlock, data: &mut [u8]) {
    let Some((_, computed)) = index_checksums(dir, at, data) else {
        return;
    };
    let start = entries_offset(at);
    let limit = data
        .get(start..)
        .and_then(|rest| RawDxCountLimit::ref_from_prefix(rest).ok());
    let Some(limit) = limit.map(|(raw, _)| index(u32::from(raw.limit.get()))) else {
        return;
    };
    let tail_at = start.saturating_add(limit.saturating_mul(DX_ENTRY_SIZE));
    if let Some(rest) = data.get_mut(tail_at..)
        && let Ok((tail, _)) = RawDxTail::mut_from_prefix(rest)
    {
        tail.dt_checksum.set(computed);
    }
}
