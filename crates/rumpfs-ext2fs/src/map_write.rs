//! Changing where the blocks of a file lie, whichever map it has.

use crate::{
    balloc::Blocks,
    error::{Error, Place, Result},
    extents::Extent,
    extents_write::{ExtentTree, MAX_UNWRITTEN, MAX_WRITTEN},
    indirect_write::BlockMap,
    inode::{FileType, Inode, InodeFlags},
    map::Mapping,
    txn::{MAP_STEP, Txn},
    types::{FileBlock, FsBlock},
};
use rumpbio::Space;
use rumpuser::Errno;

/// What is to become of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It will be written.
    Write,
    /// Space is to be kept for it; it goes on reading as zeros.
    Reserve,
}

/// Takes each piece that got a place or became written: file block, block on the volume, number of blocks.
pub(crate) type Place3<'a> = &'a mut dyn FnMut(FileBlock, FsBlock, u32);

/// The first block of the cluster that a file block is in.
fn cluster_start(txn: &Txn<'_>, block: u64) -> u64 {
    let bits = txn.sb().cluster_bits;
    block.wrapping_shr(bits).wrapping_shl(bits)
}

impl Txn<'_> {
    /// Gives every block from `from` on, `len` of them, a place. May do less than asked when the transaction has grown:
    /// returns how many blocks were done, above 0.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`; `EOPNOTSUPP` for reserving in a block map, which has no mark for unwritten blocks.
    pub(crate) fn place_blocks(
        &mut self,
        inode: &mut Inode,
        from: FileBlock,
        len: u32,
        purpose: Purpose,
        placed: Place3<'_>,
    ) -> Result<u32> {
        let extents = inode.flags.contains(InodeFlags::EXTENTS);
        if !extents && purpose == Purpose::Reserve {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        if !extents && self.sb().cluster_bits > 0 {
            return Err(Error::Unsupported(
                Place::Inode(inode.ino),
                "block map on a volume with clusters",
            ));
        }
        let end = u64::from(from).saturating_add(u64::from(len));
        if end > self.sb().max_file_blocks() {
            return Err(Error::Refused(Errno::EFBIG));
        }
        let mut done = 0_u32;
        while done < len {
            if done > 0 && self.changed() >= MAP_STEP {
                break;
            }
            let at = FileBlock(from.0.saturating_add(done));
            let left = len.saturating_sub(done);
            let step = match self.fs().map(inode, at, left)? {
                Mapping::OnDisk { len, .. } => len,
                Mapping::Unwritten { len, .. } if purpose == Purpose::Reserve => len,
                Mapping::Unwritten { block, len } => {
                    let n = self.write_reserved(inode, at, len)?;
                    placed(at, block, n);
                    n
                }
                Mapping::Hole { .. } => {
                    let (block, n) = self.fill_hole(inode, at, left, purpose)?;
                    if purpose == Purpose::Write {
                        placed(at, block, n);
                    }
                    n
                }
                Mapping::Inline => {
                    return Err(Error::words(
                        Place::Inode(inode.ino),
                        "i_flags",
                        inode.flags.bits(),
                        "no inline data here",
                    ));
                }
            };
            done = done.saturating_add(step.min(left));
        }
        Ok(done)
    }

    /// Marks blocks as written that were kept for the file: they were paid for, and so is what the map needs to say it.
    fn write_reserved(&mut self, inode: &mut Inode, at: FileBlock, len: u32) -> Result<u32> {
        let space = core::mem::replace(&mut self.space, Space::Reserve);
        let txn = &mut *self;
        let written = ExtentTree { txn, inode }.mark_written(at, len);
        self.space = space;
        written
    }

    /// Fills the hole at `at`, at most `len` blocks. Returns where and how much.
    fn fill_hole(
        &mut self,
        inode: &mut Inode,
        at: FileBlock,
        len: u32,
        purpose: Purpose,
    ) -> Result<(FsBlock, u32)> {
        let start = cluster_start(self, u64::from(at));
        let skip = u64::from(at).saturating_sub(start);
        // Asked to the end of the last cluster: whether that one is the file's own already matters.
        let ratio = u64::from(self.sb().cluster_ratio());
        let end = u64::from(at).saturating_add(u64::from(len));
        let end = end.div_ceil(ratio).saturating_mul(ratio);
        let ask = u32::try_from(end.saturating_sub(u64::from(at))).unwrap_or(u32::MAX);
        let hole = self.fs().map(inode, at, ask)?.len();
        if let Some(cluster) = self.own_cluster(inode, start)? {
            let in_cluster = u32::try_from(ratio.saturating_sub(skip)).unwrap_or(1);
            let n = len.min(hole).min(in_cluster);
            let block = FsBlock(cluster.0.saturating_add(skip));
            self.insert_blocks(inode, at, block, n, purpose)?;
            return Ok((block, n));
        }
        // The hole may end inside a cluster that the file has: that cluster is left for the next step.
        let n = len
            .min(hole)
            .min(MAX_UNWRITTEN.saturating_sub(u32::try_from(ratio).unwrap_or(0)));
        let end = u64::from(at).saturating_add(u64::from(n));
        let whole = end.div_ceil(ratio).saturating_mul(ratio);
        let hole_end = u64::from(at).saturating_add(u64::from(hole));
        let whole = if whole > hole_end {
            cluster_start(self, end)
        } else {
            whole
        };
        let mut want = whole.saturating_sub(start).max(ratio);
        if !inode.flags.contains(InodeFlags::EXTENTS) {
            let txn = &mut *self;
            want = u64::from(BlockMap { txn, inode }.slots_left(at, n)?);
        }
        let clusters = u32::try_from(want.div_ceil(ratio)).unwrap_or(u32::MAX);
        let goal = self.data_goal(inode, at)?;
        let blocks = self.allocate(goal, clusters)?;
        self.account(inode, blocks);
        let block = FsBlock(blocks.first.0.saturating_add(skip));
        let got = blocks
            .count
            .saturating_sub(u32::try_from(skip).unwrap_or(0));
        let n = n.min(got).max(1);
        self.insert_blocks(inode, at, block, n, purpose)?;
        Ok((block, n))
    }

    /// Counts blocks as the inode's.
    fn account(&self, inode: &mut Inode, blocks: Blocks) {
        let sectors = self.sectors(u64::from(blocks.count));
        inode.blocks_512 = inode.blocks_512.saturating_add(sectors);
        let next = blocks.first.0.saturating_add(u64::from(blocks.count));
        if !inode.is_dir() {
            self.note_stream(inode.ino, FsBlock(next));
        }
    }

    fn insert_blocks(
        &mut self,
        inode: &mut Inode,
        at: FileBlock,
        block: FsBlock,
        len: u32,
        purpose: Purpose,
    ) -> Result<()> {
        let txn = self;
        if !inode.flags.contains(InodeFlags::EXTENTS) {
            return BlockMap { txn, inode }.insert(at, block, len);
        }
        ExtentTree { txn, inode }.insert(Extent {
            first: at,
            len: len.min(MAX_WRITTEN),
            start: block,
            unwritten: purpose == Purpose::Reserve,
        })
    }

    /// Where the next block of a file should go: behind the one before it, else where its group's data is.
    fn data_goal(&self, inode: &Inode, at: FileBlock) -> Result<FsBlock> {
        if let Some(before) = at.0.checked_sub(1) {
            let piece = self.fs().map(inode, FileBlock(before), 1)?;
            if let Mapping::OnDisk { block, .. } | Mapping::Unwritten { block, .. } = piece {
                return Ok(FsBlock(block.0.saturating_add(1)));
            }
        }
        Ok(self.inode_goal(inode.ino, !inode.is_dir()))
    }

    /// The cluster on the volume that holds the file's cluster at `start`, if any of its blocks has a place.
    pub(crate) fn own_cluster(&self, inode: &Inode, start: u64) -> Result<Option<FsBlock>> {
        if self.sb().cluster_bits == 0 {
            return Ok(None);
        }
        let end = start.saturating_add(u64::from(self.sb().cluster_ratio()));
        let mut at = start;
        while at < end {
            let Ok(block) = u32::try_from(at) else { break };
            let left = u32::try_from(end.saturating_sub(at)).unwrap_or(1);
            let piece = self.fs().map(inode, FileBlock(block), left)?;
            if let Mapping::OnDisk { block, .. } | Mapping::Unwritten { block, .. } = piece {
                let skip = at.saturating_sub(start);
                return Ok(block.0.checked_sub(skip).map(FsBlock));
            }
            at = at.saturating_add(u64::from(piece.len()));
        }
        Ok(None)
    }

    /// Takes the blocks `from .. to` away from a file and frees them, beginning with the last, until the transaction has
    /// changed `budget` blocks. Returns whether all are gone. What went through the journal (directories, targets of
    /// symbolic links, values of attributes) is forgotten, too.
    pub(crate) fn remove_blocks(
        &mut self,
        inode: &mut Inode,
        from: u64,
        to: u64,
        budget: usize,
    ) -> Result<bool> {
        let metadata = inode.is_dir()
            || inode.file_type == FileType::Symlink
            || inode.flags.contains(InodeFlags::EA_INODE);
        let txn = self;
        if !inode.flags.contains(InodeFlags::EXTENTS) {
            if metadata {
                txn.forget_all(inode, from, to)?;
            }
            return BlockMap { txn, inode }.remove(from, to, budget);
        }
        ExtentTree { txn, inode }.remove(from, to, budget, &mut |txn, inode, cut| {
            if metadata {
                for n in 0..u64::from(cut.len) {
                    txn.forget(FsBlock(cut.start.0.saturating_add(n)));
                }
            }
            txn.free_cut(inode, cut)
        })
    }

    /// Forgets the blocks of a file with a block map before they are freed.
    fn forget_all(&mut self, inode: &Inode, from: u64, to: u64) -> Result<()> {
        let blocks = inode.size.div_ceil(u64::from(self.sb().block_size()));
        let mut at = from;
        while at < to.min(blocks) {
            let Ok(block) = u32::try_from(at) else { break };
            let left = u32::try_from(blocks.saturating_sub(at)).unwrap_or(u32::MAX);
            let piece = self.fs().map(inode, FileBlock(block), left)?;
            if let Mapping::OnDisk { block, len } = piece {
                for n in 0..u64::from(len) {
                    self.forget(FsBlock(block.0.saturating_add(n)));
                }
            }
            at = at.saturating_add(u64::from(piece.len()));
        }
        Ok(())
    }

    /// Frees the clusters of blocks that were taken out of a tree: those at the ends only if the file has no other block
    /// in them.
    fn free_cut(&mut self, inode: &mut Inode, cut: Extent) -> Result<()> {
        let ratio = u64::from(self.sb().cluster_ratio());
        let first = u64::from(cut.first);
        let mut start = cluster_start(self, first);
        let mut end = cut.end().div_ceil(ratio).saturating_mul(ratio);
        let Some(base) = cut.start.0.checked_sub(first.saturating_sub(start)) else {
            return Ok(());
        };
        let origin = start;
        if ratio > 1 {
            let last = end.saturating_sub(ratio);
            if self.own_cluster(inode, start)?.is_some() {
                start = start.saturating_add(ratio);
            }
            if last >= start && self.own_cluster(inode, last)?.is_some() {
                end = last;
            }
        }
        let count = end.saturating_sub(start);
        if count == 0 || end < start {
            return Ok(());
        }
        let block = FsBlock(base.saturating_add(start.saturating_sub(origin)));
        self.free(block, count)?;
        let sectors = self.sectors(count);
        inode.blocks_512 = inode.blocks_512.saturating_sub(sectors);
        Ok(())
    }
}
