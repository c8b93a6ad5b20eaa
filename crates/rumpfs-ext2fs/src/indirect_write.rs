//! Changing block maps: putting blocks into holes, taking them out.

use crate::{
    error::{Error, Place, Result},
    indirect::{EXT4_NDIR_BLOCKS, MAX_LEVELS, Path},
    inode::Inode,
    txn::Txn,
    types::{FileBlock, FsBlock, index},
};
use core::ops::Range;
use rumpbio::Buf;
use rumpuser::Errno;

/// An array of block numbers: `i_block` or an indirect block.
enum Array {
    Inode,
    Block(Buf),
}

/// A block map that is being changed.
pub(crate) struct BlockMap<'t, 'w> {
    pub(crate) txn: &'t mut Txn<'w>,
    pub(crate) inode: &'t mut Inode,
}

fn get(bytes: &[u8], slot: u32) -> u32 {
    let at = index(slot).saturating_mul(4);
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map_or(0, |n| u32::from_le_bytes(*n))
}

fn put(bytes: &mut [u8], slot: u32, block: u32) {
    let at = index(slot).saturating_mul(4);
    if let Some(to) = bytes
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut::<4>())
    {
        *to = block.to_le_bytes();
    }
}

impl BlockMap<'_, '_> {
    fn slot(&self, array: &Array, slot: u32) -> u32 {
        match array {
            Array::Inode => get(&self.inode.block, slot),
            Array::Block(buf) => get(&buf.data(), slot),
        }
    }

    fn set_slot(&mut self, array: &Array, slot: u32, block: u32) {
        match array {
            Array::Inode => put(&mut self.inode.block, slot, block),
            Array::Block(buf) => self.txn.modify(buf, |bytes| put(bytes, slot, block)),
        }
    }

    /// The number of a block as this map holds it.
    fn number(block: FsBlock) -> Result<u32> {
        u32::try_from(block.0).map_err(|_| Error::Refused(Errno::ENOSPC))
    }

    fn child(&self, block: u32) -> Result<Buf> {
        let block = FsBlock(u64::from(block));
        let place = Place::IndirectBlock(self.inode.ino, Some(block));
        if !self.txn.fs().is_data(block, 1) {
            return Err(Error::words(
                place,
                "number",
                block,
                "a data block of the volume",
            ));
        }
        self.txn.fs().read(block, place)
    }

    /// Slots that follow the way to `from` in the same array, itself counted, at most `most`.
    pub(crate) fn slots_left(&self, from: FileBlock, most: u32) -> Result<u32> {
        let bits = self.txn.fs().indirect_bits();
        let path = Path::to(from, bits).ok_or(Error::Refused(Errno::EFBIG))?;
        let [first, ..] = path.slots;
        let left = if path.levels == 0 {
            EXT4_NDIR_BLOCKS.saturating_sub(first)
        } else {
            let last = path
                .slots
                .get(index(path.levels))
                .copied()
                .unwrap_or_default();
            1_u32.wrapping_shl(bits).saturating_sub(last)
        };
        Ok(left.min(most))
    }

    /// Puts the `count` blocks from `block` on into the hole at `from`, all in one array; makes the indirect blocks on the
    /// way.
    pub(crate) fn insert(&mut self, from: FileBlock, block: FsBlock, count: u32) -> Result<()> {
        let bits = self.txn.fs().indirect_bits();
        let path = Path::to(from, bits).ok_or(Error::Refused(Errno::EFBIG))?;
        let [mut slot, rest @ ..] = path.slots;
        let mut array = Array::Inode;
        for (_, next) in (0..path.levels).zip(rest) {
            let child = match self.slot(&array, slot) {
                0 => self.new_child(&array, slot)?,
                child => self.child(child)?,
            };
            array = Array::Block(child);
            slot = next;
        }
        let first = Self::number(block)?;
        let last = first
            .checked_add(count)
            .ok_or(Error::Refused(Errno::ENOSPC))?;
        match &array {
            Array::Inode => {
                for (slot, block) in (slot..).zip(first..last) {
                    put(&mut self.inode.block, slot, block);
                }
            }
            Array::Block(buf) => self.txn.modify(buf, |bytes| {
                for (slot, block) in (slot..).zip(first..last) {
                    put(bytes, slot, block);
                }
            }),
        }
        Ok(())
    }

    fn new_child(&mut self, array: &Array, slot: u32) -> Result<Buf> {
        let goal = self.txn.inode_goal(self.inode.ino, false);
        let (block, buf) = self.txn.allocate_metadata(goal)?;
        let number = Self::number(block)?;
        self.inode.blocks_512 = self
            .inode
            .blocks_512
            .saturating_add(self.txn.metadata_sectors());
        self.set_slot(array, slot, number);
        Ok(buf)
    }

    /// Takes the blocks `from .. to` out of the map and frees them, beginning with the last, until the transaction has
    /// changed `budget` blocks. Returns whether all are out.
    pub(crate) fn remove(&mut self, from: u64, to: u64, budget: usize) -> Result<bool> {
        let bits = self.txn.fs().indirect_bits();
        let direct = u64::from(EXT4_NDIR_BLOCKS);
        let mut start = direct;
        let mut starts = [0_u64; 3];
        for (to, level) in starts.iter_mut().zip(1..=MAX_LEVELS) {
            *to = start;
            start = start.saturating_add(1_u64.wrapping_shl(bits.saturating_mul(level)));
        }
        for (start, level) in starts.into_iter().rev().zip((1..=MAX_LEVELS).rev()) {
            let slot = EXT4_NDIR_BLOCKS.saturating_add(level).saturating_sub(1);
            let range = from.saturating_sub(start)..to.saturating_sub(start);
            if !self.remove_child(&Array::Inode, slot, level, range, budget)? {
                return Ok(false);
            }
        }
        let range = from.min(direct)..to.min(direct);
        self.remove_blocks(&Array::Inode, range, budget)
    }

    /// Removes `range`, counted from the start of what the child in `slot` covers, and the child if nothing is left in it.
    /// `level` is how many levels of indirect blocks there are from the child on, itself counted.
    fn remove_child(
        &mut self,
        array: &Array,
        slot: u32,
        level: u32,
        range: Range<u64>,
        budget: usize,
    ) -> Result<bool> {
        let bits = self.txn.fs().indirect_bits();
        let number = self.slot(array, slot);
        let covers = 1_u64.wrapping_shl(bits.saturating_mul(level));
        let range = range.start..range.end.min(covers);
        if number == 0 || range.start >= range.end {
            return Ok(true);
        }
        if self.txn.changed() >= budget {
            return Ok(false);
        }
        let child = Array::Block(self.child(number)?);
        if level == 1 {
            if !self.remove_blocks(&child, range, budget)? {
                return Ok(false);
            }
        } else {
            let below = bits.saturating_mul(level.saturating_sub(1));
            let slots = (range.start >> below)..range.end.div_ceil(1_u64.wrapping_shl(below));
            for slot in slots.rev() {
                let start = slot.wrapping_shl(below);
                let inner = range.start.saturating_sub(start)..range.end.saturating_sub(start);
                let slot = u32::try_from(slot).unwrap_or(u32::MAX);
                let level = level.saturating_sub(1);
                if !self.remove_child(&child, slot, level, inner, budget)? {
                    return Ok(false);
                }
            }
        }
        let empty = match &child {
            Array::Block(buf) => buf.data().iter().all(|byte| *byte == 0),
            Array::Inode => false,
        };
        if empty {
            self.set_slot(array, slot, 0);
            self.txn.free_metadata(FsBlock(u64::from(number)))?;
            let sectors = self.txn.metadata_sectors();
            self.inode.blocks_512 = self.inode.blocks_512.saturating_sub(sectors);
        }
        Ok(true)
    }

    /// Removes a range of slots that hold blocks of the file, and frees the blocks run by run: each may be in another
    /// group. `false` if the transaction has grown before all were gone.
    fn remove_blocks(&mut self, array: &Array, slots: Range<u64>, budget: usize) -> Result<bool> {
        let data;
        let old: &[u8] = match array {
            Array::Inode => &self.inode.block.clone(),
            Array::Block(buf) => {
                data = buf.data();
                &data
            }
        };
        let first = u32::try_from(slots.start).unwrap_or(u32::MAX);
        let mut end = u32::try_from(slots.end).unwrap_or(u32::MAX);
        while end > first {
            let last = end.saturating_sub(1);
            let block = get(old, last);
            if block == 0 {
                end = last;
                continue;
            }
            if self.txn.changed() >= budget {
                return Ok(false);
            }
            let mut start = last;
            let mut lowest = block;
            while let Some(before) = start.checked_sub(1).filter(|before| *before >= first)
                && get(old, before).checked_add(1) == Some(lowest)
                && lowest > 1
            {
                start = before;
                lowest = lowest.saturating_sub(1);
            }
            self.clear_slots(array, start..end);
            let count = u64::from(end.saturating_sub(start));
            self.txn.free(FsBlock(u64::from(lowest)), count)?;
            let sectors = self.txn.sectors(count);
            self.inode.blocks_512 = self.inode.blocks_512.saturating_sub(sectors);
            end = start;
        }
        Ok(true)
    }

    fn clear_slots(&mut self, array: &Array, slots: Range<u32>) {
        match array {
            Array::Inode => slots.for_each(|slot| put(&mut self.inode.block, slot, 0)),
            Array::Block(buf) => self
                .txn
                .modify(buf, |bytes| slots.for_each(|slot| put(bytes, slot, 0))),
        }
    }
}
