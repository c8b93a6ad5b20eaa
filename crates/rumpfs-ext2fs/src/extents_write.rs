//! Changing extent trees: inserting, splitting, growing; marking as written; removing, shrinking.
//!
//! A change finds its way from the root (`Step`s), edits nodes in place and, where a key of a node changes, those above.
//! When there is no room, one node is split or the root grows, and the way is looked for again.

use crate::{
    error::{Error, Place, Result},
    extents::{Extent, Node, update_checksum},
    extents_node::{Entry, NodeMut, ROOT_ENTRIES, empty_root, index_entry, key},
    fs::Ext2fs,
    inode::Inode,
    layout::extent::{EXT_INIT_MAX_LEN, EXT4_MAX_EXTENT_DEPTH, EXTENT_ENTRY_SIZE},
    txn::Txn,
    types::{FileBlock, FsBlock},
};
use alloc::vec::Vec;
use rumpbio::Buf;
use rumpuser::Errno;
use zerocopy::IntoBytes;

/// Splits that one insertion needs at most: one for each level, and the root's growth.
const MOST_SPLITS: u32 = 16;
/// Longest written extent in blocks.
pub(crate) const MAX_WRITTEN: u32 = EXT_INIT_MAX_LEN as u32;
/// Longest unwritten extent in blocks.
pub(crate) const MAX_UNWRITTEN: u32 = MAX_WRITTEN - 1;
/// A node on the way to a file block.
struct Step {
    /// The node's block; `None` is the root in the inode.
    buf: Option<Buf>,
    /// The entry that covers the block: the last that does not start behind it. In an inner node the first entry also
    /// covers what is before it.
    at: Option<usize>,
    /// Entries in use.
    len: usize,
    /// Room for entries.
    max: usize,
    /// Height above the leaves.
    depth: u16,
    /// Where the part of the file that the node covers starts.
    low: FileBlock,
}

/// Two extents as one, if they can be.
fn joined(left: Extent, right: Extent) -> Option<Extent> {
    let len = left.len.checked_add(right.len)?;
    let most = if left.unwritten {
        MAX_UNWRITTEN
    } else {
        MAX_WRITTEN
    };
    let fits = left.unwritten == right.unwritten
        && len <= most
        && left.end() == u64::from(right.first)
        && left.start.after(u64::from(left.len)) == Some(right.start);
    fits.then_some(Extent { len, ..left })
}

/// The part of an extent from `from` on, which lies in it.
fn tail(extent: Extent, from: u64) -> Extent {
    let skip = u32::try_from(from.saturating_sub(u64::from(extent.first))).unwrap_or(extent.len);
    Extent {
        first: FileBlock(extent.first.0.saturating_add(skip)),
        len: extent.len.saturating_sub(skip),
        start: FsBlock(extent.start.0.saturating_add(u64::from(skip))),
        ..extent
    }
}

/// The part of an extent before `end`, which lies in it.
fn head(extent: Extent, end: u64) -> Extent {
    let len = u32::try_from(end.saturating_sub(u64::from(extent.first))).unwrap_or(extent.len);
    Extent { len, ..extent }
}

impl Ext2fs {
    /// The way from the root to the leaf that covers `block`.
    fn extent_path(&self, inode: &Inode, block: FileBlock) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let mut range = (FileBlock(0), u64::from(u32::MAX).saturating_add(1));
        let root = Node::parse(Place::ExtentNode(inode.ino, None), &inode.block, None)?;
        let mut depth = root.depth;
        let mut step = Step::new(None, &root, block, range.0);
        let mut child = (depth > 0)
            .then(|| self.descend(root, block, &mut range))
            .transpose()?;
        while let Some(at) = child {
            steps.push(step);
            depth = depth.saturating_sub(1);
            let buf = self.extent_node(inode, at, depth, range)?;
            let data = buf.data();
            let node = Node::parse(Place::ExtentNode(inode.ino, Some(at)), &data, Some(depth))?;
            step = Step::new(Some(buf), &node, block, range.0);
            child = (depth > 0)
                .then(|| self.descend(node, block, &mut range))
                .transpose()?;
        }
        steps.push(step);
        Ok(steps)
    }
}

impl Step {
    fn new(buf: Option<Buf>, node: &Node<'_>, block: FileBlock, low: FileBlock) -> Self {
        let at = node.find(block);
        Self {
            buf,
            at: if node.depth > 0 {
                Some(at.unwrap_or(0))
            } else {
                at
            },
            len: node.len(),
            max: node.max,
            depth: node.depth,
            low,
        }
    }

    fn extent(&self, fs: &Ext2fs, inode: &Inode, at: usize) -> Result<Option<Extent>> {
        let place = Place::ExtentNode(inode.ino, self.buf.as_ref().map(|b| FsBlock(b.block())));
        match &self.buf {
            None => Node::parse(place, &inode.block, Some(self.depth))?.extent(fs, at),
            Some(buf) => Node::parse(place, &buf.data(), Some(self.depth))?.extent(fs, at),
        }
    }
}

/// A tree that is being changed.
pub(crate) struct ExtentTree<'t, 'w> {
    pub(crate) txn: &'t mut Txn<'w>,
    pub(crate) inode: &'t mut Inode,
}

impl ExtentTree<'_, '_> {
    fn path(&self, block: FileBlock) -> Result<Vec<Step>> {
        self.txn.fs().extent_path(self.inode, block)
    }

    fn extent(&self, step: &Step, at: usize) -> Result<Option<Extent>> {
        step.extent(self.txn.fs(), self.inode, at)
    }

    fn damaged(&self) -> Error {
        Error::words(
            Place::Inode(self.inode.ino),
            "extent tree",
            0_u64,
            "a tree that can be followed",
        )
    }

    /// Edits the node of a step.
    fn edit<R>(&mut self, step: &Step, f: impl FnOnce(&mut NodeMut<'_>) -> R) -> R {
        let sb = self.txn.sb();
        match &step.buf {
            None => f(&mut NodeMut(&mut self.inode.block)),
            Some(buf) => {
                let inode = &*self.inode;
                self.txn.modify(buf, |bytes| {
                    let value = f(&mut NodeMut(bytes));
                    update_checksum(sb, inode, bytes);
                    value
                })
            }
        }
    }

    /// After the first key of the last step's node became `key`: changes the keys above that name it.
    fn fix_keys(&mut self, path: &[Step], key: FileBlock) {
        for step in path.iter().rev().skip(1) {
            let at = step.at.unwrap_or(0);
            self.edit(step, |node| node.set_key(at, key));
            if at != 0 {
                break;
            }
        }
    }

    /// Puts an extent into the tree, where there is a hole, and joins it with its neighbours.
    ///
    /// # Errors
    /// `ENOSPC` when a node is needed and there is no block; `EFBIG` when the tree would be too deep.
    pub(crate) fn insert(&mut self, new: Extent) -> Result<()> {
        for _ in 0..MOST_SPLITS {
            let path = self.path(new.first)?;
            let Some(leaf) = path.last() else { break };
            if self.join(&path, leaf, new)? {
                return Ok(());
            }
            if leaf.len < leaf.max {
                let at = leaf.at.map_or(0, |at| at.saturating_add(1));
                self.edit(leaf, |node| node.insert(at, new.to_raw().as_bytes()));
                if at == 0 {
                    self.fix_keys(&path, new.first);
                }
                return Ok(());
            }
            self.make_room(&path, new.first)?;
        }
        Err(self.damaged())
    }

    /// Joins `new` with the extent before it, the one behind it, or both. `false` if it fits neither.
    fn join(&mut self, path: &[Step], leaf: &Step, new: Extent) -> Result<bool> {
        let left = match leaf.at {
            Some(at) => self.extent(leaf, at)?,
            None => None,
        };
        let next = leaf.at.map_or(0, |at| at.saturating_add(1));
        let right = self.extent(leaf, next)?;
        if let Some(whole) = left.and_then(|left| joined(left, new)) {
            let both = right.and_then(|right| joined(whole, right));
            let at = leaf.at.unwrap_or(0);
            self.edit(leaf, |node| {
                node.put(at, both.unwrap_or(whole).to_raw().as_bytes());
                if both.is_some() {
                    node.remove(next);
                }
            });
            return Ok(true);
        }
        if let Some(whole) = right.and_then(|right| joined(new, right)) {
            self.edit(leaf, |node| node.put(next, whole.to_raw().as_bytes()));
            if next == 0 {
                self.fix_keys(path, whole.first);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Splits the highest full node under one with room, or grows the root. `new` is what is to be inserted.
    fn make_room(&mut self, path: &[Step], new: FileBlock) -> Result<()> {
        match path.iter().rposition(|step| step.len < step.max) {
            None => self.grow(),
            Some(above) => {
                let (Some(parent), Some(node)) =
                    (path.get(above), path.get(above.saturating_add(1)))
                else {
                    return Err(self.damaged());
                };
                self.split(parent, node, new)
            }
        }
    }

    /// Entries that fit into a node that is a block.
    fn block_max(&self) -> usize {
        let size = crate::types::index(self.txn.sb().block_size());
        size.saturating_sub(EXTENT_ENTRY_SIZE)
            .checked_div(EXTENT_ENTRY_SIZE)
            .unwrap_or(0)
    }

    /// A new node.
    fn new_node(&mut self, depth: u16, entries: &[Entry]) -> Result<FsBlock> {
        let goal = self.txn.inode_goal(self.inode.ino, false);
        let (block, buf) = self.txn.allocate_metadata(goal)?;
        self.inode.blocks_512 = self
            .inode
            .blocks_512
            .saturating_add(self.txn.metadata_sectors());
        let max = self.block_max();
        let (sb, inode) = (self.txn.sb(), &*self.inode);
        self.txn.modify(&buf, |bytes| {
            let mut node = NodeMut(bytes);
            node.init(depth, max);
            for (at, entry) in entries.iter().enumerate() {
                node.put(at, entry);
            }
            node.set_len(entries.len());
            update_checksum(sb, inode, bytes);
        });
        Ok(block)
    }

    /// Moves the root's entries into a new node and makes that the root's only child.
    fn grow(&mut self) -> Result<()> {
        let mut root = self.inode.block;
        let mut node = NodeMut(&mut root);
        let len = node.len();
        let entries: Vec<Entry> = (0..len).filter_map(|at| node.get(at)).collect();
        let depth = node.header().map_or(0, |h| h.eh_depth.get());
        if depth >= EXT4_MAX_EXTENT_DEPTH {
            return Err(Error::Refused(Errno::EFBIG));
        }
        let first = entries.first().map_or(FileBlock(0), key);
        let child = self.new_node(depth, &entries)?;
        let mut node = NodeMut(&mut self.inode.block);
        node.init(depth.saturating_add(1), ROOT_ENTRIES);
        node.insert(0, index_entry(first, child).as_bytes());
        Ok(())
    }

    /// Moves the end of a full node into a new one behind it. When the tree grows at its end, as it mostly does, next to
    /// nothing moves and nodes stay full.
    fn split(&mut self, parent: &Step, node: &Step, new: FileBlock) -> Result<()> {
        let last = node.len.saturating_sub(1);
        let at = match node.at {
            Some(at) if at == last && node.depth == 0 => node.len,
            Some(at) if at == last => last.max(1),
            _ => node.len.div_ceil(2),
        };
        let moved: Vec<Entry> = self.edit(node, |bytes| {
            (at..node.len).filter_map(|n| bytes.get(n)).collect()
        });
        let block = self.new_node(node.depth, &moved)?;
        self.edit(node, |bytes| bytes.set_len(at));
        let first = moved.first().map_or(new, key);
        let after = parent.at.unwrap_or(0).saturating_add(1);
        self.edit(parent, |bytes| {
            bytes.insert(after, index_entry(first, block).as_bytes());
        });
        Ok(())
    }

    /// Marks the unwritten blocks from `from` on as written, at most `len` and as far as their extent goes. Returns how
    /// many.
    pub(crate) fn mark_written(&mut self, from: FileBlock, len: u32) -> Result<u32> {
        let path = self.path(from)?;
        let Some((leaf, at)) = path.last().and_then(|leaf| Some((leaf, leaf.at?))) else {
            return Err(self.damaged());
        };
        let Some(old) = self.extent(leaf, at)?.filter(|e| e.unwritten) else {
            return Err(self.damaged());
        };
        let start = u64::from(from);
        let end = start.saturating_add(u64::from(len)).min(old.end());
        let written = Extent {
            unwritten: false,
            ..head(tail(old, start), end)
        };
        if written.len == 0 {
            return Err(self.damaged());
        }
        let rest = (end < old.end()).then(|| tail(old, end));
        if written.first == old.first {
            self.write_head(&path, leaf, at, written, rest)?;
            return Ok(written.len);
        }
        self.edit(leaf, |node| {
            node.put(at, head(old, start).to_raw().as_bytes());
        });
        if let Some(rest) = rest {
            self.insert(rest)?;
        }
        self.insert(written)?;
        Ok(written.len)
    }

    /// Replaces extent `at` by its beginning, now written, and the rest of it, if any.
    fn write_head(
        &mut self,
        path: &[Step],
        leaf: &Step,
        at: usize,
        written: Extent,
        rest: Option<Extent>,
    ) -> Result<()> {
        let before = match at.checked_sub(1) {
            Some(before) => self.extent(leaf, before)?,
            None => None,
        };
        // The common case, a file written from its start to its end: the written extent before grows.
        if let (Some(whole), Some(before)) =
            (before.and_then(|b| joined(b, written)), at.checked_sub(1))
        {
            self.edit(leaf, |node| {
                node.put(before, whole.to_raw().as_bytes());
                match rest {
                    Some(rest) => node.put(at, rest.to_raw().as_bytes()),
                    None => node.remove(at),
                }
            });
            return Ok(());
        }
        match rest {
            Some(rest) => {
                self.edit(leaf, |node| node.put(at, rest.to_raw().as_bytes()));
                if at == 0 {
                    self.fix_keys(path, rest.first);
                }
            }
            None => self.edit(leaf, |node| node.remove(at)),
        }
        self.insert(written)
    }

    /// Takes the blocks `from .. to` out of the tree, beginning with the last, until the transaction has changed `budget`
    /// blocks. Each piece taken out is given to `freed`, after the tree is without it. Returns whether all are out.
    pub(crate) fn remove(
        &mut self,
        from: u64,
        mut to: u64,
        budget: usize,
        freed: &mut dyn FnMut(&mut Txn<'_>, &mut Inode, Extent) -> Result<()>,
    ) -> Result<bool> {
        to = to.min(u64::from(u32::MAX).saturating_add(1));
        while from < to {
            if self.txn.changed() >= budget {
                return Ok(false);
            }
            let Ok(last) = u32::try_from(to.saturating_sub(1)) else {
                return Err(self.damaged());
            };
            let path = self.path(FileBlock(last))?;
            let Some(leaf) = path.last() else { break };
            let found = match leaf.at {
                Some(at) => self.extent(leaf, at)?.map(|extent| (at, extent)),
                None => None,
            };
            let Some((at, extent)) = found else {
                // Nothing in this leaf: what is before it may still have something.
                to = u64::from(leaf.low);
                continue;
            };
            if extent.end() <= from {
                break;
            }
            let start = from.max(u64::from(extent.first));
            let cut = head(tail(extent, start), to.min(extent.end()));
            self.cut(&path, leaf, at, extent, cut)?;
            freed(self.txn, self.inode, cut)?;
            to = u64::from(cut.first);
        }
        self.collapse()?;
        Ok(true)
    }

    /// Takes `cut`, a part of extent `at`, out of a leaf.
    fn cut(
        &mut self,
        path: &[Step],
        leaf: &Step,
        at: usize,
        extent: Extent,
        cut: Extent,
    ) -> Result<()> {
        let end = cut.end();
        let before = (cut.first > extent.first).then(|| head(extent, u64::from(cut.first)));
        let after = (end < extent.end()).then(|| tail(extent, end));
        match (before, after) {
            (Some(before), after) => {
                self.edit(leaf, |node| node.put(at, before.to_raw().as_bytes()));
                match after {
                    Some(after) => self.insert(after),
                    None => Ok(()),
                }
            }
            (None, Some(after)) => {
                self.edit(leaf, |node| node.put(at, after.to_raw().as_bytes()));
                if at == 0 {
                    self.fix_keys(path, after.first);
                }
                Ok(())
            }
            (None, None) => self.remove_entry(path, at),
        }
    }

    /// Takes entry `at` out of the last node of `path`, and the node out of the tree if that was its last entry.
    fn remove_entry(&mut self, path: &[Step], at: usize) -> Result<()> {
        let Some((node, above)) = path.split_last() else {
            return Err(self.damaged());
        };
        if node.len > 1 || node.buf.is_none() {
            let first = self.edit(node, |bytes| {
                bytes.remove(at);
                bytes.get(0)
            });
            if node.len <= 1 {
                self.inode.block = empty_root();
            } else if let Some(first) = first.filter(|_| at == 0) {
                self.fix_keys(path, key(&first));
            }
            return Ok(());
        }
        if let Some(buf) = &node.buf {
            self.free_node(FsBlock(buf.block()))?;
        }
        let at = above.last().and_then(|step| step.at).unwrap_or(0);
        self.remove_entry(above, at)
    }

    fn free_node(&mut self, block: FsBlock) -> Result<()> {
        self.txn.free_metadata(block)?;
        self.inode.blocks_512 = self
            .inode
            .blocks_512
            .saturating_sub(self.txn.metadata_sectors());
        Ok(())
    }

    /// Moves the entries of the root's only child into the root, as long as they fit: a tree is no deeper than it needs.
    fn collapse(&mut self) -> Result<()> {
        for _ in 0..EXT4_MAX_EXTENT_DEPTH {
            let path = self.path(FileBlock(0))?;
            let (Some(root), Some(child)) = (path.first(), path.get(1)) else {
                return Ok(());
            };
            if root.len != 1 || child.len > ROOT_ENTRIES {
                return Ok(());
            }
            let Some(buf) = &child.buf else { return Ok(()) };
            let data = buf.data();
            let entries = data
                .get(EXTENT_ENTRY_SIZE..)
                .and_then(|rest| rest.get(..child.len.saturating_mul(EXTENT_ENTRY_SIZE)))
                .unwrap_or_default();
            let mut node = NodeMut(&mut self.inode.block);
            node.init(child.depth, ROOT_ENTRIES);
            for (at, entry) in entries.chunks_exact(EXTENT_ENTRY_SIZE).enumerate() {
                node.put(at, entry);
            }
            node.set_len(child.len);
            self.free_node(FsBlock(buf.block()))?;
        }
        Ok(())
    }
}
