//! Changing extended attributes of UFS2.

use crate::{error::Result, inode::Inode, txn::Txn, types::round_up};

impl Txn<'_> {
    /// Frees the blocks of an inode's extended attributes.
    pub(crate) fn free_attributes(&mut self, inode: &mut Inode) -> Result<()> {
        let sb = self.sb();
        let (size, blocks) = inode.attributes;
        let mut left = u64::from(size);
        for first in blocks {
            let here = left.min(sb.block_size());
            left = left.saturating_sub(here);
            let count = round_up(here, sb.frag_bits).wrapping_shr(sb.frag_bits);
            if first == 0 || count == 0 {
                continue;
            }
            self.forget(first, count)?;
            self.free(first, count)?;
            self.count_frags(inode, count, false);
        }
        inode.attributes = (0, [0; 2]);
        Ok(())
    }
}
