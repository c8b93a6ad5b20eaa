//! Changing a file: its blocks and its size.
//!
//! The size says how many fragments the last block has, so that the size and the places change together: each transaction here leaves
//! a file that is right by itself.

use crate::{
    error::{Error, Result},
    inode::{Content, FileType, Inode},
    layout::DIRECT,
    map_write::Holds,
    placing::{Placed, Placing},
    txn::{Size, Txn},
    types::{Version, number, round_up},
    volume::Ffs,
};
use alloc::vec::Vec;
use core::ops::Range;
use rumpbio::Space;
use rumpuser::{Errno, Timespec};

impl Txn<'_> {
    /// Grows a file to `size`, with places for a range. Returns how many bytes of the range were done; the size is cut to
    /// these.
    fn extend(
        &mut self,
        inode: &mut Inode,
        range: Range<u64>,
        size: u64,
    ) -> Result<(u64, Vec<Placed>)> {
        let bits = self.sb().frag_bits;
        let mut placing = Placing {
            old_end: round_up(inode.size, bits),
            size: inode.size.max(size),
            pieces: Vec::new(),
            zeros: Vec::new(),
            range: range.clone(),
        };
        let done = self.place(inode, &mut placing)?;
        let reached = if done < range.end.saturating_sub(range.start) {
            size.min(range.start.saturating_add(done))
        } else {
            size
        };
        inode.size = inode.size.max(reached);
        for (first, count) in &placing.zeros {
            self.write_zeros(*first, *count)?;
        }
        if !placing.pieces.is_empty() || !placing.zeros.is_empty() {
            self.handle()?.leads_to_data();
        }
        self.store_inode(inode)?;
        Ok((done, placing.pieces))
    }

    /// Frees what the last block that stays has behind the new size.
    fn cut_tail(&mut self, inode: &mut Inode, size: u64) -> Result<()> {
        let sb = self.sb();
        let block = size.wrapping_shr(sb.block_bits);
        if size & sb.block_size().wrapping_sub(1) == 0 || block >= number(DIRECT) {
            return Ok(());
        }
        let frag = self.place_of(inode, block)?;
        let (had, want) = (inode.frags_of(sb, block), self.tail_frags(size));
        if frag == 0 || want >= had {
            return Ok(());
        }
        self.count_frags(inode, had.saturating_sub(want), false);
        self.free(frag.saturating_add(want), had.saturating_sub(want))
    }

    /// Makes a part of a block a hole, or zeros if it is not all of the block.
    fn punch_block(&mut self, inode: &mut Inode, block: u64, part: Range<u64>) -> Result<()> {
        let sb = self.sb();
        let frag = self.place_of(inode, block)?;
        let frags = inode.frags_of(sb, block);
        let start = block.wrapping_shl(sb.block_bits);
        let data_end = round_up(inode.size, sb.frag_bits);
        let end = start.saturating_add(sb.block_size()).min(data_end);
        let is_last = start.saturating_add(sb.block_size()) >= inode.size;
        if !is_last && part.start <= start && part.end >= end {
            let leaf = self.leaf(inode, block, frag)?;
            self.point(inode, leaf, (block, 1), 0)?;
            self.count_frags(inode, frags, false);
            return self.free(frag, frags);
        }
        let first = part.start.saturating_sub(start).wrapping_shr(sb.frag_bits);
        let count = part
            .end
            .saturating_sub(part.start)
            .wrapping_shr(sb.frag_bits);
        self.write_zeros(frag.saturating_add(first), count)
    }
}
impl Ffs {
    /// Gives all blocks of a range of a file a place, and the file a size of at least `size`. `placed` is told, inside the transaction,
    /// of all bytes that had none or get another. Returns how many bytes were done.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`, what is wrong with the file's map.
    pub fn allocate(
        &self,
        inode: &mut Inode,
        (offset, len): (u64, u64),
        size: u64,
        (space, now): (Space, Timespec),
        placed: &mut dyn FnMut(Placed),
    ) -> Result<u64> {
        let bits = self.superblock.frag_bits;
        let end = round_up(offset.saturating_add(len), bits);
        if end.max(size) > self.file_size_max() {
            return Err(Error::Refused(Errno::EFBIG));
        }
        Self::check_content(inode)?;
        self.transact_on(Size::Blocks, space, now, inode, |txn, inode| {
            let (done, pieces) = txn.extend(inode, offset..end, size)?;
            for piece in pieces {
                placed(piece);
            }
            Ok(done.min(len))
        })
    }

    /// Sets a larger size. The last block may get another place, which `placed` is told of.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`, what is wrong with the file's map.
    pub fn grow(
        &self,
        inode: &mut Inode,
        size: u64,
        (space, time): (Space, Timespec),
        placed: &mut dyn FnMut(Placed),
    ) -> Result<()> {
        if size > self.file_size_max() {
            return Err(Error::Refused(Errno::EFBIG));
        }
        Self::check_content(inode)?;
        self.transact_on(Size::Blocks, space, time, inode, |txn, inode| {
            inode.touch(time);
            let at = round_up(size, txn.sb().frag_bits);
            let (_, pieces) = txn.extend(inode, at..at, size)?;
            for piece in pieces {
                placed(piece);
            }
            Ok(())
        })
    }

    /// Sets a smaller size; blocks past it are freed. A very large file is shortened in several transactions, each of which leaves it
    /// right by itself.
    ///
    /// # Errors
    /// What is wrong with the file's map; what is done before an error stays done.
    pub fn shorten(&self, inode: &mut Inode, size: u64, time: Timespec) -> Result<()> {
        Self::check_content(inode)?;
        let sb = &self.superblock;
        let keep = round_up(size, sb.block_bits).wrapping_shr(sb.block_bits);
        loop {
            let reached =
                self.transact_on(Size::Blocks, Space::Reserve, time, inode, |txn, inode| {
                    let reached = txn.cut(inode, keep, Holds::Data)?;
                    if reached > keep {
                        inode.size = inode.size.min(reached.wrapping_shl(sb.block_bits));
                    } else {
                        txn.cut_tail(inode, size)?;
                        inode.size = size;
                        inode.touch(time);
                        let at = round_up(size, sb.frag_bits);
                        match txn.extend(inode, at..at, size) {
                            // A hole at the end is better than a file that cannot be shortened.
                            Ok(_) | Err(Error::Refused(Errno::ENOSPC)) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    txn.store_inode(inode)?;
                    Ok(reached)
                })?;
            if reached <= keep {
                return Ok(());
            }
        }
    }

    /// Makes a hole: whole blocks are freed, fragments of others become zeros.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for what is no regular file; what is wrong with the file's map; what is done before an error stays done.
    pub fn punch(&self, inode: &mut Inode, range: Range<u64>, now: Timespec) -> Result<()> {
        Self::check_content(inode)?;
        if inode.file_type != FileType::Regular {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        let bits = self.superblock.block_bits;
        let end = range
            .end
            .min(round_up(inode.size, self.superblock.frag_bits));
        let mut at = range.start;
        while at < end {
            at = self.transact_on(Size::Blocks, Space::Reserve, now, inode, |txn, inode| {
                let mut at = at;
                while at < end && !txn.is_full() {
                    let block = at.wrapping_shr(bits);
                    let start = block.wrapping_shl(bits);
                    let stop = end.min(start.saturating_add(self.superblock.block_size()));
                    let run = self.run(inode, block, 1)?;
                    if run.frag.is_none() {
                        let skip = block.saturating_add(run.blocks).min(u64::MAX >> bits);
                        at = skip.wrapping_shl(bits).min(end).max(stop);
                        continue;
                    }
                    txn.punch_block(inode, block, at..stop)?;
                    at = stop;
                }
                txn.store_inode(inode)?;
                Ok(at)
            })?;
        }
        Ok(())
    }

    /// Largest file: what pointers reach and an inode can count. Sizes are kept below what overflows elsewhere.
    #[must_use]
    pub fn file_size_max(&self) -> u64 {
        let most = self.superblock.max_file_size();
        match self.superblock.version {
            // Systems that know this format number blocks with 31 bits.
            Version::Ufs1 => most.min(self.superblock.block_size().saturating_mul(0x7FFF_FFFF)),
            Version::Ufs2 => most,
        }
    }

    /// Refuses files whose pointers mean other things.
    fn check_content(inode: &Inode) -> Result<()> {
        if inode.is_snapshot() || !matches!(inode.content, Content::Blocks(_)) {
            return Err(Error::Refused(Errno::EPERM));
        }
        Ok(())
    }
}
