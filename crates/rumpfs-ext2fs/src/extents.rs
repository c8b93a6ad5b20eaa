//! Extent trees.
//!
//! The root is in the inode's `i_block`, other nodes are blocks. Entries are sorted by file block and do not overlap. A
//! node's checksum and the order of its entries are looked at once per read from the medium; its header, and every entry
//! that is used, each time, so that a block that something else has marked as verified can mislead but do no harm.

use crate::{
    checksum::crc32c,
    error::{Error, Expected, Place, Result},
    features::Incompat,
    fs::Ext2fs,
    inode::Inode,
    layout::extent::{
        EXT_INIT_MAX_LEN, EXT4_EXT_MAGIC, EXT4_MAX_EXTENT_DEPTH, EXTENT_ENTRY_SIZE, RawExtent,
        RawExtentHeader, RawExtentIdx, RawExtentTail,
    },
    map::Mapping,
    superblock::Superblock,
    types::{FileBlock, FsBlock, join, number},
};
use rumpbio::Buf;
use zerocopy::FromBytes;

/// A run of blocks in a leaf, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block of the file.
    pub first: FileBlock,
    /// Number of blocks, 1 to 32768; unwritten 1 to 32767.
    pub len: u32,
    /// First block on the volume.
    pub start: FsBlock,
    /// Space is kept but was not written.
    pub unwritten: bool,
}

impl Extent {
    /// File block after the last, in 64 bits.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.first).saturating_add(u64::from(self.len))
    }

    fn parse(raw: &RawExtent) -> Self {
        let len = raw.ee_len.get();
        let unwritten = len > EXT_INIT_MAX_LEN;
        let len = if unwritten {
            len.wrapping_sub(EXT_INIT_MAX_LEN)
        } else {
            len
        };
        Self {
            first: FileBlock(raw.ee_block.get()),
            len: u32::from(len),
            start: FsBlock(join(raw.ee_start_hi.get(), raw.ee_start_lo.get())),
            unwritten,
        }
    }

    /// The extent as the medium has it.
    #[must_use]
    pub fn to_raw(self) -> RawExtent {
        let [a, b, c, d, e, f, ..] = self.start.0.to_le_bytes();
        let len = u16::try_from(self.len).unwrap_or(u16::MAX);
        let len = if self.unwritten {
            len.saturating_add(EXT_INIT_MAX_LEN)
        } else {
            len
        };
        RawExtent {
            ee_block: self.first.0.into(),
            ee_len: len.into(),
            ee_start_hi: u16::from_le_bytes([e, f]).into(),
            ee_start_lo: u32::from_le_bytes([a, b, c, d]).into(),
        }
    }
}

/// A node of a tree, its header checked.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    place: Place,
    /// 0 in a leaf.
    pub(crate) depth: u16,
    /// Room for entries.
    pub(crate) max: usize,
    entries: &'a [u8],
}

impl<'a> Node<'a> {
    /// The node at the start of `bytes`, all of which it may use. `depth` is what it must have, if that is known.
    pub(crate) fn parse(place: Place, bytes: &'a [u8], depth: Option<u16>) -> Result<Self> {
        let room = bytes
            .len()
            .saturating_sub(EXTENT_ENTRY_SIZE)
            .checked_div(EXTENT_ENTRY_SIZE)
            .unwrap_or(0);
        let Ok((header, rest)) = RawExtentHeader::ref_from_prefix(bytes) else {
            return Err(Error::words(
                place,
                "size",
                number(bytes.len()),
                "12 bytes or more",
            ));
        };
        let wrong = |field, found: u16, expected| Err(Error::value(place, field, found, expected));
        if header.eh_magic.get() != EXT4_EXT_MAGIC {
            let expected = Expected::Exactly(u64::from(EXT4_EXT_MAGIC));
            return wrong("eh_magic", header.eh_magic.get(), expected);
        }
        let found = header.eh_depth.get();
        let bad_depth = match depth {
            Some(depth) => (found != depth).then_some(Expected::Exactly(u64::from(depth))),
            None => (found > EXT4_MAX_EXTENT_DEPTH)
                .then_some(Expected::Range(0, u64::from(EXT4_MAX_EXTENT_DEPTH))),
        };
        if let Some(expected) = bad_depth {
            return wrong("eh_depth", found, expected);
        }
        let max = usize::from(header.eh_max.get());
        if max == 0 || max > room {
            let range = Expected::Range(1, number(room));
            return wrong("eh_max", header.eh_max.get(), range);
        }
        let count = usize::from(header.eh_entries.get());
        // An inner node without a child leads nowhere; an empty leaf is that of an empty file.
        let least = usize::from(found > 0);
        if count > max || count < least {
            let range = Expected::Range(number(least), number(max));
            return wrong("eh_entries", header.eh_entries.get(), range);
        }
        let entries = rest
            .get(..count.saturating_mul(EXTENT_ENTRY_SIZE))
            .unwrap_or_default();
        Ok(Self {
            place,
            depth: found,
            max,
            entries,
        })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries
            .len()
            .checked_div(EXTENT_ENTRY_SIZE)
            .unwrap_or(0)
    }

    fn entry(&self, n: usize) -> Option<&'a [u8]> {
        let at = n.checked_mul(EXTENT_ENTRY_SIZE)?;
        self.entries.get(at..at.checked_add(EXTENT_ENTRY_SIZE)?)
    }

    /// First file block of entry `n`, in a leaf or in an inner node: both start with it.
    fn first(&self, n: usize) -> Option<FileBlock> {
        let bytes: &[u8; 4] = self.entry(n)?.first_chunk()?;
        Some(FileBlock(u32::from_le_bytes(*bytes)))
    }

    /// The last entry that starts at or before `block`.
    pub(crate) fn find(&self, block: FileBlock) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.first(middle)? <= block {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }

    /// Extent `n` of a leaf, checked against the volume.
    pub(crate) fn extent(&self, fs: &Ext2fs, n: usize) -> Result<Option<Extent>> {
        let Some(Ok(raw)) = self.entry(n).map(RawExtent::ref_from_bytes) else {
            return Ok(None);
        };
        let extent = Extent::parse(raw);
        if extent.len == 0 || extent.end() > u64::from(u32::MAX).saturating_add(1) {
            return Err(Error::words(
                self.place,
                "ee_len",
                raw.ee_len.get(),
                "1 to the end of the file",
            ));
        }
        if !fs.is_data(extent.start, u64::from(extent.len)) {
            return Err(Error::words(
                self.place,
                "ee_start",
                extent.start,
                "data blocks of the volume",
            ));
        }
        Ok(Some(extent))
    }

    /// Child `n` of an inner node, checked against the volume.
    pub(crate) fn child(&self, fs: &Ext2fs, n: usize) -> Result<Option<FsBlock>> {
        let Some(Ok(raw)) = self.entry(n).map(RawExtentIdx::ref_from_bytes) else {
            return Ok(None);
        };
        let block = FsBlock(join(raw.ei_leaf_hi.get(), raw.ei_leaf_lo.get()));
        if !fs.is_data(block, 1) {
            return Err(Error::words(
                self.place,
                "ei_leaf",
                block,
                "a data block of the volume",
            ));
        }
        Ok(Some(block))
    }

    /// Checks that the entries are sorted, do not overlap and lie in `range` of the file.
    fn check_order(&self, fs: &Ext2fs, range: (FileBlock, u64)) -> Result<()> {
        let mut least = u64::from(range.0);
        for n in 0..self.len() {
            let (first, end) = if self.depth == 0 {
                let Some(extent) = self.extent(fs, n)? else {
                    break;
                };
                (extent.first, extent.end())
            } else {
                self.child(fs, n)?;
                let Some(first) = self.first(n) else { break };
                (first, u64::from(first).saturating_add(1))
            };
            let field = if self.depth == 0 {
                "ee_block"
            } else {
                "ei_block"
            };
            // The first index may start before its own range: the kernel takes it to begin there.
            let first_index = n == 0 && self.depth > 0;
            if (u64::from(first) < least && !first_index) || end > range.1 {
                return Err(Error::value(
                    self.place,
                    field,
                    first,
                    Expected::Range(least, range.1),
                ));
            }
            least = end;
        }
        Ok(())
    }
}

/// Offset of the checksum of a node with room for `max` entries.
fn tail_at(max: usize) -> usize {
    max.saturating_add(1).saturating_mul(EXTENT_ENTRY_SIZE)
}

/// The stored and the computed checksum of a node that is a block and has room for `max` entries; `None` on volumes
/// without.
fn node_checksums(sb: &Superblock, inode: &Inode, bytes: &[u8], max: usize) -> Option<(u32, u32)> {
    if !sb.features.metadata_csum() {
        return None;
    }
    let (covered, rest) = bytes.split_at_checked(tail_at(max))?;
    let (tail, _) = RawExtentTail::ref_from_prefix(rest).ok()?;
    Some((tail.et_checksum.get(), crc32c(inode.csum_seed, covered)))
}

/// Brings the checksum of a node that is a block up to date, if the volume has checksums.
pub fn update_checksum(sb: &Superblock, inode: &Inode, bytes: &mut [u8]) {
    let max = RawExtentHeader::ref_from_prefix(bytes).map_or(0, |(header, _)| header.eh_max.get());
    let max = usize::from(max);
    let Some((_, computed)) = node_checksums(sb, inode, bytes, max) else {
        return;
    };
    if let Some(rest) = bytes.get_mut(tail_at(max)..)
        && let Ok((tail, _)) = RawExtentTail::mut_from_prefix(rest)
    {
        tail.et_checksum.set(computed);
    }
}

impl Ext2fs {
    /// The piece of an extent-mapped file that starts at `from`: to the end of its extent, or of the hole as far as one
    /// leaf tells.
    pub(crate) fn map_extent(&self, inode: &Inode, from: FileBlock) -> Result<Mapping> {
        if !self.superblock().features.incompat(Incompat::EXTENTS) {
            return Err(Error::words(
                Place::Inode(inode.ino),
                "i_flags",
                inode.flags.bits(),
                "no extents without the feature",
            ));
        }
        let mut range = (FileBlock(0), u64::from(u32::MAX).saturating_add(1));
        let root = Node::parse(Place::ExtentNode(inode.ino, None), &inode.block, None)?;
        if root.depth == 0 {
            return self.map_in_leaf(root, from, range.1);
        }
        let mut depth = root.depth;
        let mut block = self.descend(root, from, &mut range)?;
        loop {
            // The depth falls with each step, so this ends.
            depth = depth.saturating_sub(1);
            let buf = self.extent_node(inode, block, depth, range)?;
            let data = buf.data();
            let place = Place::ExtentNode(inode.ino, Some(block));
            let node = Node::parse(place, &data, Some(depth))?;
            if depth == 0 {
                return self.map_in_leaf(node, from, range.1);
            }
            block = self.descend(node, from, &mut range)?;
        }
    }

    /// A node that is a block, checked. `range` is the part of the file that it covers.
    pub(crate) fn extent_node(
        &self,
        inode: &Inode,
        block: FsBlock,
        depth: u16,
        range: (FileBlock, u64),
    ) -> Result<Buf> {
        let place = Place::ExtentNode(inode.ino, Some(block));
        let buf = self.read(block, place)?;
        if !buf.verified() {
            let data = buf.data();
            let node = Node::parse(place, &data, Some(depth))?;
            self.verify_node(inode, node, &data)?;
            node.check_order(self, range)?;
            buf.set_verified();
        }
        Ok(buf)
    }

    /// The child of an inner node that covers `from`. `range` is cut to what the child covers.
    pub(crate) fn descend(
        &self,
        node: Node<'_>,
        from: FileBlock,
        range: &mut (FileBlock, u64),
    ) -> Result<FsBlock> {
        // What lies before the first index still belongs to the first child.
        let n = node.find(from).unwrap_or(0);
        if n > 0 {
            range.0 = node.first(n).unwrap_or(range.0).max(range.0);
        }
        if let Some(next) = node.first(n.saturating_add(1)) {
            range.1 = range.1.min(u64::from(next));
        }
        node.child(self, n)?.ok_or_else(|| {
            Error::words(
                node.place,
                "eh_entries",
                0_u64,
                "1 or more in an inner node",
            )
        })
    }

    fn verify_node(&self, inode: &Inode, node: Node<'_>, data: &[u8]) -> Result<()> {
        let place = node.place;
        match node_checksums(self.superblock(), inode, data, node.max) {
            Some((stored, computed)) if stored != computed => Err(Error::Checksum {
                place,
                stored,
                computed,
            }),
            _ => Ok(()),
        }
    }

    /// The piece at `from` in a leaf whose part of the file ends at `end`.
    fn map_in_leaf(&self, leaf: Node<'_>, from: FileBlock, end: u64) -> Result<Mapping> {
        let found = leaf.find(from);
        if let Some(extent) = found.map(|n| leaf.extent(self, n)).transpose()?.flatten()
            && extent.end() > u64::from(from)
        {
            let skip = from.0.saturating_sub(extent.first.0);
            let len = extent.len.saturating_sub(skip);
            let block = FsBlock(extent.start.0.saturating_add(u64::from(skip)));
            return Ok(if extent.unwritten {
                Mapping::Unwritten { block, len }
            } else {
                Mapping::OnDisk { block, len }
            });
        }
        let next = leaf
            .first(found.map_or(0, |n| n.saturating_add(1)))
            .map_or(end, |first| end.min(u64::from(first)));
        let len = u32::try_from(next.saturating_sub(u64::from(from))).unwrap_or(u32::MAX);
        Ok(Mapping::Hole { len: len.max(1) })
    }
}
