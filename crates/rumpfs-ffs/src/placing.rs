//! Giving the blocks of a file their places.
//!
//! A block below the twelfth has as many fragments as the file's size asks for if it is the last one, all others are whole: the last
//! block may have to move when the file grows.

use crate::{
    error::{Error, Result},
    inode::Inode,
    layout::DIRECT,
    map_write::Holds,
    txn::Txn,
    types::{number, round_up},
};
use alloc::vec::Vec;
use core::ops::Range;
use rumpuser::Errno;

/// A piece of a file that got a place on the volume, or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// First byte on the device.
    pub device: u64,
}

/// A range of a file that gets its places.
pub(crate) struct Placing {
    /// Bytes, whole fragments.
    pub(crate) range: Range<u64>,
    /// End of the fragments with data before.
    pub(crate) old_end: u64,
    /// Size of the file after.
    pub(crate) size: u64,
    pub(crate) pieces: Vec<Placed>,
    /// Fragments that become part of the file and are not written by anybody.
    pub(crate) zeros: Vec<(u64, u64)>,
}

impl Placing {
    /// `len` bytes at `offset` are at fragment `frag`: those in the range are placed, others in the file are to be zeros. Only what is in
    /// `fresh` held no data.
    fn placed(&mut self, bits: u32, offset: u64, frag: u64, fresh: Range<u64>) {
        let end_of_file = round_up(self.size, bits);
        let device = |at: u64| {
            let within = at.saturating_sub(offset);
            frag.wrapping_shl(bits).saturating_add(within)
        };
        let (from, to) = (
            fresh.start.max(self.range.start),
            fresh.end.min(self.range.end),
        );
        if from < to {
            self.add(Placed {
                offset: from,
                len: to.saturating_sub(from),
                device: device(from),
            });
        }
        let before = fresh.start..fresh.end.min(self.range.start);
        let behind = fresh.start.max(self.range.end)..fresh.end;
        for part in [before, behind] {
            let end = part.end.min(end_of_file);
            if part.start < end {
                let first = device(part.start).wrapping_shr(bits);
                let count = end.saturating_sub(part.start).wrapping_shr(bits);
                self.zeros.push((first, count));
            }
        }
    }

    /// Adds a piece, to the one before if it lies behind that.
    fn add(&mut self, piece: Placed) {
        if let Some(last) = self.pieces.last_mut()
            && last.offset.checked_add(last.len) == Some(piece.offset)
            && last.device.checked_add(last.len) == Some(piece.device)
        {
            last.len = last.len.saturating_add(piece.len);
            return;
        }
        self.pieces.push(piece);
    }
}

impl Txn<'_> {
    /// Where the next block of a file should go: behind the one before, in the inode's group if there is none; in another group after
    /// `fs_maxbpg` blocks.
    pub(crate) fn goal(&mut self, inode: &Inode, block: u64) -> Result<u64> {
        let sb = self.sb();
        let before = match block.checked_sub(1) {
            Some(before) => self.place_of(inode, before)?,
            None => 0,
        };
        let behind = before.saturating_add(1_u64.wrapping_shl(sb.ratio_bits()));
        if self.until_move(block) == Some(0) {
            return self.other_group(inode, before);
        }
        if before != 0 && behind < sb.size {
            return Ok(behind);
        }
        let group = self.inode_group(inode.ino);
        let base = sb.group_base(group);
        let rotor = self.look(group)?.map_or(0, |maps| maps.rotor());
        Ok(base.saturating_add(rotor.into()))
    }

    /// Blocks from `block` on after which a file moves to another group; `None`: never.
    fn until_move(&self, block: u64) -> Option<u64> {
        let most = u64::from(self.sb().policy.max_blocks);
        let behind = block.checked_sub(number(DIRECT))?;
        let within = behind.checked_rem(most)?;
        Some(if within == 0 && behind > 0 {
            0
        } else {
            most.saturating_sub(within)
        })
    }

    /// A place in the next group that has no less free blocks than the others have on average.
    fn other_group(&mut self, inode: &Inode, before: u64) -> Result<u64> {
        let sb = self.sb();
        let start = if before == 0 {
            self.inode_group(inode.ino)
        } else {
            self.ffs().group_of(before).0
        };
        let groups = u64::from(sb.groups);
        let space = self.stock()?;
        let mean = space.totals.blocks.checked_div(groups).unwrap_or(0);
        let found = (1..=groups).find_map(|step| {
            let group = u64::from(start).saturating_add(step).checked_rem(groups)?;
            let group = u32::try_from(group).ok()?;
            (u64::from(space.counts(group).blocks) >= mean).then_some(group)
        });
        let group = found.unwrap_or(start);
        let rotor = self.look(group)?.map_or(0, |maps| maps.rotor());
        Ok(sb.group_base(group).saturating_add(rotor.into()))
    }

    /// Gives the last block of a file the fragments that it has at the new size. `moved` is told of those that it had, if they get
    /// another place.
    fn grow_tail(
        &mut self,
        inode: &mut Inode,
        size: u64,
        mut moved: impl FnMut(&mut Self, u64, u64, u64) -> Result<()>,
    ) -> Result<()> {
        let sb = self.sb();
        let Some(last) = inode.size.checked_sub(1) else {
            return Ok(());
        };
        let block = last.wrapping_shr(sb.block_bits);
        if block >= number(DIRECT) || size <= inode.size {
            return Ok(());
        }
        let had = inode.frags_of(sb, block);
        let frag = self.place_of(inode, block)?;
        let ratio = 1_u64.wrapping_shl(sb.ratio_bits());
        let left = size.saturating_sub(block.wrapping_shl(sb.block_bits));
        let want = round_up(left, sb.frag_bits)
            .wrapping_shr(sb.frag_bits)
            .min(ratio);
        if frag == 0 || want <= had {
            return Ok(());
        }
        let short = |n: u64| u32::try_from(n).unwrap_or(0);
        self.count_frags(inode, want.saturating_sub(had), true);
        if self.extend_frags(frag, short(had), short(want))? {
            return Ok(());
        }
        let goal = self.goal(inode, block)?;
        let new = if want == ratio {
            self.take_blocks(goal, 1)?.frag
        } else {
            self.take_frags(goal, short(want))?
        };
        moved(self, frag, new, had)?;
        self.free(frag, had)?;
        self.point(inode, None, (block, 1), new)
    }

    /// The same for a directory.
    pub(crate) fn grow_directory_tail(&mut self, dir: &mut Inode, size: u64) -> Result<()> {
        let ino = dir.ino;
        self.grow_tail(dir, size, |txn, old, new, count| {
            txn.move_metadata(ino, old, new, count)
        })
    }

    /// Gives the blocks of a range their places. Returns how many bytes of it were done.
    pub(crate) fn place(&mut self, inode: &mut Inode, placing: &mut Placing) -> Result<u64> {
        let sb = self.sb();
        let bits = sb.frag_bits;
        let block_start = |block: u64| block.wrapping_shl(sb.block_bits);
        let mut moves = Vec::new();
        self.grow_tail(inode, placing.size, |txn, old, new, count| {
            let bytes = txn.read_data(old, count)?;
            txn.write_data(new, &bytes)?;
            moves.push((new, count));
            Ok(())
        })?;
        let last_block = inode.size.saturating_sub(1).wrapping_shr(sb.block_bits);
        for (frag, count) in moves {
            placing.add(Placed {
                offset: block_start(last_block),
                len: count.wrapping_shl(bits),
                device: frag.wrapping_shl(bits),
            });
        }
        // What the last block had, or got now, behind the data.
        if inode.size > 0 && placing.size > inode.size {
            let frag = self.place_of(inode, last_block)?;
            let end = block_start(last_block.saturating_add(1));
            if frag != 0 && placing.old_end < end {
                let fresh = placing.old_end..end.min(round_up(placing.size, bits));
                placing.placed(bits, block_start(last_block), frag, fresh);
            }
        }
        // The last block of a file is always there: other systems take what ends with a hole for damaged.
        let range = if placing.range.is_empty() {
            placing.size.saturating_sub(1)..placing.size
        } else {
            placing.range.clone()
        };
        let first = range.start.wrapping_shr(sb.block_bits);
        let end = round_up(range.end, sb.block_bits).wrapping_shr(sb.block_bits);
        let mut block = first;
        while block < end {
            match self.place_next(inode, placing, block, end) {
                Ok(done) => block = block.saturating_add(done),
                Err(Error::Refused(Errno::ENOSPC)) if block > first => {
                    if block_start(block) >= inode.size {
                        // Blocks of pointers that were made for it.
                        self.cut(inode, block, Holds::Data)?;
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
            if block < end && self.is_full() {
                break;
            }
        }
        let done = block_start(block).min(placing.range.end);
        Ok(done.saturating_sub(placing.range.start))
    }

    /// Sees to the block `block` and to some that follow; returns how many.
    fn place_next(
        &mut self,
        inode: &mut Inode,
        placing: &mut Placing,
        block: u64,
        end: u64,
    ) -> Result<u64> {
        let sb = self.sb();
        let most = end.saturating_sub(block);
        let run = self.ffs().run(inode, block, most)?;
        if run.frag.is_some() {
            return Ok(run.blocks.min(most));
        }
        let bits = sb.frag_bits;
        let mut want = run.blocks.min(most).min(self.beside(block)?).min(1 << 16);
        if let Some(until) = self.until_move(block).filter(|until| *until > 0) {
            want = want.min(until);
        } else if sb.policy.max_blocks > 0 {
            want = want.min(sb.policy.max_blocks.into());
        }
        let goal = self.goal(inode, block)?;
        let leaf = self.leaf(inode, block, goal)?;
        let goal = match leaf {
            // A block of pointers that was made now took the goal.
            Some(leaf) if leaf == goal => goal.saturating_add(1_u64.wrapping_shl(sb.ratio_bits())),
            _ => goal,
        };
        let last = placing.size.saturating_sub(1).wrapping_shr(sb.block_bits);
        let ratio = 1_u64.wrapping_shl(sb.ratio_bits());
        let tail = self.tail_frags(placing.size);
        if tail < ratio && last < number(DIRECT) {
            if block == last {
                let frag = self.take_frags(goal, u32::try_from(tail).unwrap_or(1))?;
                self.point(inode, leaf, (block, 1), frag)?;
                self.count_frags(inode, tail, true);
                let offset = block.wrapping_shl(sb.block_bits);
                let fresh = offset..offset.saturating_add(tail.wrapping_shl(bits));
                placing.placed(bits, offset, frag, fresh);
                return Ok(1);
            }
            if block < last {
                want = want.min(last.saturating_sub(block));
            }
        }
        let blocks = self.take_blocks(goal, u32::try_from(want).unwrap_or(1))?;
        let count = u64::from(blocks.count);
        self.point(inode, leaf, (block, count), blocks.frag)?;
        self.count_frags(inode, count.wrapping_shl(sb.ratio_bits()), true);
        let offset = block.wrapping_shl(sb.block_bits);
        let fresh = offset..offset.saturating_add(count.wrapping_shl(sb.block_bits));
        placing.placed(bits, offset, blocks.frag, fresh);
        Ok(count)
    }

    /// Fragments that the last block of a file of this size has if it is below the twelfth.
    pub(crate) fn tail_frags(&self, size: u64) -> u64 {
        let sb = self.sb();
        let within = size.saturating_sub(1) & sb.block_size().wrapping_sub(1);
        within.wrapping_shr(sb.frag_bits).saturating_add(1)
    }
}
