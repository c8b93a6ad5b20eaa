//! Shortening directories, as BSD does it when a name is made: blocks without a name at the end go.

use crate::{
    dir::Records,
    dir_write::block_of,
    error::Result,
    inode::Inode,
    layout::{DIRECT, DIRECTORY_BLOCK},
    map::Walk,
    map_write::Holds,
    txn::{Size, Txn},
    types::{number, round_up},
    volume::Ffs,
};
use core::sync::atomic::Ordering;
use rumpbio::Space;
use rumpuser::Timespec;

impl Ffs {
    /// Frees what a directory has behind its last name, but for the block where the next one is looked for room, so that a name that
    /// comes and goes does not have blocks come and go. A large directory is shortened in several transactions, each of which
    /// leaves it right by itself.
    ///
    /// # Errors
    /// What is wrong with the directory's map or the volume's.
    pub(crate) fn shrink_directory(&self, dir: &mut Inode, now: Timespec) -> Result<()> {
        // What cannot be read at the end does not keep a name from the start.
        let end = self.used_end(dir).unwrap_or(dir.size);
        let bits = self.superblock.block_bits;
        let keep = round_up(end, bits).wrapping_shr(bits);
        while end < dir.size {
            let before = dir.size;
            self.transact_on(Size::Blocks, Space::Reserve, now, dir, |txn, dir| {
                let reached = txn.cut(dir, keep, Holds::Metadata)?;
                if reached > keep {
                    dir.size = dir.size.min(reached.wrapping_shl(bits));
                } else {
                    txn.cut_directory_tail(dir, end)?;
                    dir.size = end;
                }
                txn.store_inode(dir)
            })?;
            if dir.size == before {
                break;
            }
        }
        Ok(())
    }

    /// Where the last block of a directory ends that has a name or is looked at for room.
    fn used_end(&self, dir: &Inode) -> Result<u64> {
        let mask = DIRECTORY_BLOCK.wrapping_sub(1);
        let room = dir.room.load(Ordering::Relaxed).min(dir.size) & !mask;
        let floor = room.saturating_add(DIRECTORY_BLOCK);
        let mut end = dir.size;
        if end <= floor || end & mask != 0 {
            return Ok(end);
        }
        let Some(mut walk) = Walk::new(self, dir) else {
            return Ok(end);
        };
        while end > floor {
            let block = end.saturating_sub(DIRECTORY_BLOCK);
            let (buf, within) = self.directory_block(dir, &mut walk, block)?;
            let data = buf.data();
            let bytes = block_of(&data, within);
            let mut records = Records::new(&self.superblock, dir.ino, block, bytes);
            while let Some((slot, _)) = records.slot()? {
                if slot.ino != 0 {
                    return Ok(end);
                }
            }
            end = block;
        }
        Ok(end)
    }
}

impl Txn<'_> {
    /// Frees the fragments that the last block of a directory does not need any more.
    fn cut_directory_tail(&mut self, dir: &mut Inode, size: u64) -> Result<()> {
        let sb = self.sb();
        let block = size.wrapping_shr(sb.block_bits);
        if size & sb.block_size().wrapping_sub(1) == 0 || block >= number(DIRECT) {
            return Ok(());
        }
        let frag = self.place_of(dir, block)?;
        let (had, want) = (dir.frags_of(sb, block), self.tail_frags(size));
        let (first, count) = (frag.saturating_add(want), had.saturating_sub(want));
        if frag == 0 || count == 0 {
            return Ok(());
        }
        self.forget(first, count)?;
        self.count_frags(dir, count, false);
        self.free(first, count)
    }
}
