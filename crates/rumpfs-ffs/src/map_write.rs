//! Changing where the blocks of a file are: new pointers, and taking blocks away from the end.

use crate::{
    error::{Error, Place, Result},
    inode::Inode,
    layout::DIRECT,
    map::Walk,
    order::Step,
    txn::Txn,
    types::{Version, index, number},
    volume::Neighbours,
};
use rumpuser::Errno;

/// How the blocks of an inode are written when they are freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// File data.
    Data,
    /// Metadata: a directory, the target of a symbolic link.
    Metadata,
}

/// Fragments to be freed that follow each other.
#[derive(Clone, Copy, Default)]
struct Freed {
    first: u64,
    count: u64,
}

/// What is cut off a file.
struct Cut<'a> {
    inode: &'a mut Inode,
    holds: Holds,
    pending: Freed,
    /// Blocks of the file from this one on are gone.
    from: u64,
}

impl Txn<'_> {
    /// Where a place in the tree of pointers is: the level of the first pointer (0 for a direct one), and the number of blocks before
    /// what that covers.
    fn level_of(&self, block: u64) -> Result<(u32, u64)> {
        let bits = self.sb().pointers_bits();
        let mut base = number(DIRECT);
        if block < base {
            return Ok((0, 0));
        }
        for level in 1..=3_u32 {
            let span = 1_u64.wrapping_shl(bits.saturating_mul(level));
            if block.saturating_sub(base) < span {
                return Ok((level, base));
            }
            base = base.saturating_add(span);
        }
        Err(Error::Refused(Errno::EFBIG))
    }

    /// How many blocks from `block` on have their pointers beside each other, in the inode or in one block of pointers.
    pub(crate) fn beside(&self, block: u64) -> Result<u64> {
        let (level, base) = self.level_of(block)?;
        if level == 0 {
            return Ok(number(DIRECT).saturating_sub(block));
        }
        let span = 1_u64.wrapping_shl(self.sb().pointers_bits());
        Ok(span.saturating_sub(block.saturating_sub(base) & span.wrapping_sub(1)))
    }

    /// The block of pointers that has that of `block`, made if it is not there; `None`: the pointer is in the inode.
    pub(crate) fn leaf(&mut self, inode: &mut Inode, block: u64, goal: u64) -> Result<Option<u64>> {
        let (level, base) = self.level_of(block)?;
        if level == 0 {
            return Ok(None);
        }
        let bits = self.sb().pointers_bits();
        let rest = block.saturating_sub(base);
        let slot = index(u64::from(level.saturating_sub(1)));
        let top = inode.pointers_mut()?.indirect.get(slot).copied();
        let mut at = top.unwrap_or(0);
        if at == 0 {
            at = self.new_pointers(inode, goal)?;
            if let Some(top) = inode.pointers_mut()?.indirect.get_mut(slot) {
                *top = at;
            }
        }
        for lower in (1..level).rev() {
            let n = rest.wrapping_shr(bits.saturating_mul(lower))
                & 1_u64.wrapping_shl(bits).wrapping_sub(1);
            let mut next = self.pointer(inode.ino, at, n)?;
            if next == 0 {
                next = self.new_pointers(inode, goal)?;
                self.set_pointers(inode, at, n, next, 1)?;
            }
            at = next;
        }
        Ok(Some(at))
    }

    /// A new block of pointers, none of which leads anywhere.
    fn new_pointers(&mut self, inode: &mut Inode, goal: u64) -> Result<u64> {
        let blocks = self.take_blocks(goal, 1)?;
        let count = 1_u64.wrapping_shl(self.sb().ratio_bits());
        self.create(blocks.frag, count, Place::Pointers(inode.ino))?;
        self.count_frags(inode, count, true);
        Ok(blocks.frag)
    }

    /// Counts fragments that an inode has got or lost.
    pub(crate) fn count_frags(&self, inode: &mut Inode, frags: u64, more: bool) {
        let sectors = frags.wrapping_shl(self.sb().frag_bits.saturating_sub(9));
        inode.blocks = if more {
            inode.blocks.saturating_add(sectors)
        } else {
            inode.blocks.saturating_sub(sectors)
        };
    }

    /// A block of pointers of the volume, checked.
    fn neighbours(&self, ino: u64, block: u64) -> Result<Neighbours> {
        let count = 1_u64.wrapping_shl(self.sb().ratio_bits());
        let end = block.checked_add(count);
        if block == 0 || end.is_none_or(|end| end > self.sb().size) {
            let place = Place::Pointers(ino);
            return Err(Error::value(place, "pointer", block, "within the volume"));
        }
        Ok(Neighbours {
            first: block,
            count,
        })
    }

    /// The `n`th pointer of a block of pointers.
    fn pointer(&self, ino: u64, block: u64, n: u64) -> Result<u64> {
        let sb = self.sb();
        let place = Place::Pointers(ino);
        let near = self.neighbours(ino, block)?;
        let offset = n.wrapping_shl(sb.version.pointer_bits());
        let frag = block.saturating_add(offset.wrapping_shr(sb.frag_bits));
        let data = self.buf(frag, near, place)?.data();
        let within = index(offset & sb.frag_size().wrapping_sub(1));
        let bytes = data.get(within..).unwrap_or_default();
        let found = sb.pointer(bytes);
        found.ok_or_else(|| Error::value(place, "offset", offset, "within the block"))
    }

    /// Sets `count` pointers from the `n`th on to blocks that follow each other from `first` on; 0: to none.
    fn set_pointers(
        &mut self,
        inode: &Inode,
        block: u64,
        n: u64,
        first: u64,
        count: u64,
    ) -> Result<()> {
        let sb = self.sb();
        let ino = inode.ino;
        let when = if inode.links == 0 {
            Step::Rest
        } else if inode.is_dir() && first == 0 {
            // A directory is shorter before it has a hole.
            self.keep_apart(Step::Names);
            Step::Rest
        } else {
            Step::Inodes
        };
        let near = self.neighbours(ino, block)?;
        let bits = sb.version.pointer_bits();
        let per_frag = 1_u64.wrapping_shl(sb.frag_bits.saturating_sub(bits));
        let step = if first == 0 {
            0
        } else {
            1_u64.wrapping_shl(sb.ratio_bits())
        };
        let (mut at, end) = (n, n.saturating_add(count));
        let mut value = first;
        while at < end {
            let frag = at.checked_div(per_frag).unwrap_or(0);
            let stop = frag.saturating_add(1).saturating_mul(per_frag).min(end);
            let buf = self.buf(block.saturating_add(frag), near, Place::Pointers(ino))?;
            let start = index((at & per_frag.wrapping_sub(1)).wrapping_shl(bits));
            let len = index(stop.saturating_sub(at).wrapping_shl(bits));
            if when == Step::Rest {
                self.defer(&buf, start..start.saturating_add(len));
            }
            value = self.modify(&buf, when, |data| {
                let mut value = value;
                let room = data.get_mut(start..start.saturating_add(len));
                for to in room
                    .unwrap_or_default()
                    .chunks_exact_mut(1_usize.wrapping_shl(bits))
                {
                    match sb.version {
                        Version::Ufs1 => {
                            let low = u32::try_from(value).unwrap_or(0);
                            to.copy_from_slice(&sb.order.bytes_u32(low));
                        }
                        Version::Ufs2 => to.copy_from_slice(&sb.order.bytes_u64(value)),
                    }
                    value = value.saturating_add(step);
                }
                value
            })?;
            at = stop;
        }
        Ok(())
    }

    /// Gives `count` blocks of a file from `block` on, whose pointers are [beside](Self::beside) each other, places that follow each
    /// other; `leaf` is the block of their pointers.
    pub(crate) fn point(
        &mut self,
        inode: &mut Inode,
        leaf: Option<u64>,
        (block, count): (u64, u64),
        frag: u64,
    ) -> Result<()> {
        if let Some(leaf) = leaf {
            let (_, base) = self.level_of(block)?;
            let mask = 1_u64
                .wrapping_shl(self.sb().pointers_bits())
                .wrapping_sub(1);
            let n = block.saturating_sub(base) & mask;
            return self.set_pointers(inode, leaf, n, frag, count);
        }
        let step = if frag == 0 {
            0
        } else {
            1_u64.wrapping_shl(self.sb().ratio_bits())
        };
        let mut value = frag;
        let direct = &mut inode.pointers_mut()?.direct;
        for slot in direct.iter_mut().skip(index(block)).take(index(count)) {
            *slot = value;
            value = value.saturating_add(step);
        }
        Ok(())
    }

    /// Where a block of a file is; 0: nowhere.
    pub(crate) fn place_of(&self, inode: &Inode, block: u64) -> Result<u64> {
        let Some(mut walk) = Walk::new(self.ffs(), inode) else {
            return Ok(0);
        };
        Ok(walk.block(block)?.frag.unwrap_or(0))
    }

    /// Takes all blocks from `keep` on away from a file, and blocks of pointers that are needed no more; from the end on, as many as
    /// a transaction has room for. Returns from which block on they are gone.
    pub(crate) fn cut(&mut self, inode: &mut Inode, keep: u64, holds: Holds) -> Result<u64> {
        let mut cut = Cut {
            inode,
            holds,
            pending: Freed::default(),
            from: u64::MAX,
        };
        let whole = self.cut_levels(&mut cut, keep)?;
        self.flush(&mut cut)?;
        Ok(if whole { keep } else { cut.from.max(keep) })
    }

    fn cut_levels(&mut self, cut: &mut Cut<'_>, keep: u64) -> Result<bool> {
        let bits = self.sb().pointers_bits();
        for level in (1..=3_u32).rev() {
            let base = (1..level).fold(number(DIRECT), |sum, lower| {
                sum.saturating_add(1_u64.wrapping_shl(bits.saturating_mul(lower)))
            });
            let span = 1_u64.wrapping_shl(bits.saturating_mul(level));
            let slot = index(u64::from(level.saturating_sub(1)));
            let top = cut
                .inode
                .pointers_mut()?
                .indirect
                .get(slot)
                .copied()
                .unwrap_or(0);
            if top == 0 || keep >= base.saturating_add(span) {
                continue;
            }
            let within = keep.saturating_sub(base);
            if !self.cut_tree(cut, top, level, base, within)? {
                return Ok(false);
            }
            if within == 0 {
                self.free_pointers(cut, top)?;
                if let Some(top) = cut.inode.pointers_mut()?.indirect.get_mut(slot) {
                    *top = 0;
                }
            }
        }
        self.cut_direct(cut, keep)?;
        Ok(true)
    }

    fn cut_direct(&mut self, cut: &mut Cut<'_>, keep: u64) -> Result<()> {
        for block in (keep.min(number(DIRECT))..number(DIRECT)).rev() {
            let frags = cut.inode.frags_of(self.sb(), block);
            let slot = cut.inode.pointers_mut()?.direct.get_mut(index(block));
            let frag = slot.map_or(0, core::mem::take);
            if frag != 0 {
                self.give(cut, frag, frags)?;
            }
        }
        cut.from = cut.from.min(keep);
        Ok(())
    }

    /// Cuts the blocks behind the first `keep` of those under a block of pointers; `base` is the first one. `false`: the transaction is full
    /// before all are gone.
    fn cut_tree(
        &mut self,
        cut: &mut Cut<'_>,
        block: u64,
        level: u32,
        base: u64,
        keep: u64,
    ) -> Result<bool> {
        let bits = self.sb().pointers_bits();
        let below = bits.saturating_mul(level.saturating_sub(1));
        let first = keep.wrapping_shr(below);
        let frags = 1_u64.wrapping_shl(self.sb().ratio_bits());
        let ino = cut.inode.ino;
        let end = 1_u64.wrapping_shl(bits);
        let mut n = end;
        let mut cleared = end;
        let mut whole = true;
        while n > first {
            n = n.saturating_sub(1);
            let child = self.pointer(ino, block, n)?;
            if child == 0 {
                continue;
            }
            let start = base.saturating_add(n.wrapping_shl(below));
            if level == 1 {
                self.give(cut, child, frags)?;
                cut.from = start;
                cleared = n;
            } else {
                let within = keep.saturating_sub(n.wrapping_shl(below));
                if !self.cut_tree(cut, child, level.saturating_sub(1), start, within)? {
                    whole = false;
                    break;
                }
                if within == 0 {
                    self.free_pointers(cut, child)?;
                    cut.from = start;
                    cleared = n;
                }
            }
            if n > first && self.is_full() {
                whole = false;
                break;
            }
        }
        let gone = whole && keep == 0;
        if !gone && cleared < end {
            let count = end.saturating_sub(cleared);
            self.set_pointers(cut.inode, block, cleared, 0, count)?;
        }
        Ok(whole)
    }

    /// A block of pointers goes.
    fn free_pointers(&mut self, cut: &mut Cut<'_>, block: u64) -> Result<()> {
        let count = self.neighbours(cut.inode.ino, block)?.count;
        self.forget(block, count)?;
        self.queue(cut, block, count)
    }

    /// Fragments of the file go.
    fn give(&mut self, cut: &mut Cut<'_>, first: u64, count: u64) -> Result<()> {
        if cut.holds == Holds::Metadata {
            self.forget(first, count)?;
        }
        self.queue(cut, first, count)
    }

    fn queue(&mut self, cut: &mut Cut<'_>, first: u64, count: u64) -> Result<()> {
        self.count_frags(cut.inode, count, false);
        let Freed {
            first: held,
            count: len,
        } = cut.pending;
        if len > 0 && first.checked_add(count) == Some(held) {
            cut.pending = Freed {
                first,
                count: len.saturating_add(count),
            };
        } else if len > 0 && held.checked_add(len) == Some(first) {
            cut.pending.count = len.saturating_add(count);
        } else {
            self.flush(cut)?;
            cut.pending = Freed { first, count };
        }
        Ok(())
    }

    fn flush(&mut self, cut: &mut Cut<'_>) -> Result<()> {
        let Freed { first, count } = core::mem::take(&mut cut.pending);
        if count == 0 {
            return Ok(());
        }
        self.free(first, count)
    }

    /// Fragments are metadata no more.
    pub(crate) fn forget(&mut self, first: u64, count: u64) -> Result<()> {
        for frag in first..first.saturating_add(count) {
            self.unstage(frag);
            self.handle()?.forget(frag);
        }
        Ok(())
    }
}
