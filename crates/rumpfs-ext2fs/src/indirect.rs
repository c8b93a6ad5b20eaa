//! Block maps of ext2 and ext3: twelve direct blocks, then single, double and triple indirect ones.

use crate::{
    error::{Error, Place, Result},
    fs::Ext2fs,
    inode::Inode,
    map::Mapping,
    types::{FileBlock, FsBlock, InodeNumber, index},
};

/// Direct blocks in `i_block`.
pub const EXT4_NDIR_BLOCKS: u32 = 12;
/// Levels of indirection at most.
pub const MAX_LEVELS: u32 = 3;

/// The way to a file block: a slot of `i_block`, then slots of indirect blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Number of indirect blocks on the way, 0 to 3.
    pub levels: u32,
    /// Slot in `i_block`, then in the indirect block of each level; only the first `levels + 1` hold.
    pub slots: [u32; 4],
}

impl Path {
    /// The way to `block` where an indirect block has `1 << bits` slots; `None` past the last block that a map reaches.
    #[must_use]
    pub fn to(block: FileBlock, bits: u32) -> Option<Self> {
        if block.0 < EXT4_NDIR_BLOCKS {
            return Some(Self {
                levels: 0,
                slots: [block.0, 0, 0, 0],
            });
        }
        let mut rest = u64::from(block).saturating_sub(u64::from(EXT4_NDIR_BLOCKS));
        let mask = 1_u64.wrapping_shl(bits).saturating_sub(1);
        let slot = |n: u64, level: u32| {
            u32::try_from(n.wrapping_shr(bits.saturating_mul(level)) & mask).unwrap_or(0)
        };
        for levels in 1..=MAX_LEVELS {
            let reach = 1_u64.wrapping_shl(bits.saturating_mul(levels));
            if rest < reach {
                let root = EXT4_NDIR_BLOCKS.saturating_add(levels).saturating_sub(1);
                let mut slots = [root, 0, 0, 0];
                for (to, level) in slots.iter_mut().skip(1).zip((0..levels).rev()) {
                    *to = slot(rest, level);
                }
                return Some(Self { levels, slots });
            }
            rest = rest.saturating_sub(reach);
        }
        None
    }
}

/// Slot `n` of an array of block numbers.
fn slot(array: &[u8], n: u32) -> u32 {
    let at = index(n).saturating_mul(4);
    let bytes = array
        .get(at..at.saturating_add(4))
        .and_then(|bytes| bytes.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl Ext2fs {
    /// Log2 of the slots in an indirect block.
    #[must_use]
    pub fn indirect_bits(&self) -> u32 {
        self.superblock().block_bits.saturating_sub(2)
    }

    /// The piece of a block-mapped file that starts at `from`: as far as one array of block numbers tells, at most `most`
    /// blocks.
    pub(crate) fn map_indirect(
        &self,
        inode: &Inode,
        from: FileBlock,
        most: u32,
    ) -> Result<Mapping> {
        let bits = self.indirect_bits();
        let Some(path) = Path::to(from, bits) else {
            return Ok(Mapping::Hole { len: most });
        };
        let mut place = Place::IndirectBlock(inode.ino, None);
        let [root, rest @ ..] = path.slots;
        if path.levels == 0 {
            return self.run(inode.ino, place, &inode.block, root, EXT4_NDIR_BLOCKS);
        }
        let mut block = slot(&inode.block, root);
        let mut data;
        for (level, n) in (1..=path.levels).rev().zip(rest) {
            if block == 0 {
                return Ok(Mapping::Hole {
                    len: hole_under(from, bits, level, path.levels),
                });
            }
            let at = FsBlock(u64::from(block));
            self.check_block(inode.ino, place, at)?;
            place = Place::IndirectBlock(inode.ino, Some(at));
            let buf = self.read(at, place)?;
            data = buf.data();
            if level == 1 {
                return self.run(inode.ino, place, &data, n, 1_u32.wrapping_shl(bits));
            }
            block = slot(&data, n);
        }
        Ok(Mapping::Hole { len: 1 })
    }

    /// The run of blocks, or of holes, from slot `n` on in an array of `count` slots.
    fn run(
        &self,
        ino: InodeNumber,
        place: Place,
        array: &[u8],
        n: u32,
        count: u32,
    ) -> Result<Mapping> {
        let first = slot(array, n);
        let block = FsBlock(u64::from(first));
        if first != 0 {
            self.check_block(ino, place, block)?;
        }
        let mut len = 1_u32;
        for next in (n..count).skip(1) {
            let number = slot(array, next);
            let follows = if first == 0 {
                number == 0
            } else {
                first.checked_add(len) == Some(number)
            };
            if !follows {
                break;
            }
            len = len.saturating_add(1);
        }
        // A run into what does not belong to a file is cut: the wrong block is an error when it is asked for.
        if first != 0 && ino != InodeNumber::RESIZE && !self.is_data(block, u64::from(len)) {
            len = 1;
        }
        Ok(if first == 0 {
            Mapping::Hole { len }
        } else {
            Mapping::OnDisk { block, len }
        })
    }

    fn check_block(&self, ino: InodeNumber, place: Place, block: FsBlock) -> Result<()> {
        if self.may_belong(ino, block) {
            return Ok(());
        }
        Err(Error::words(
            place,
            "entry",
            block,
            "a data block of the volume",
        ))
    }

    /// Whether a block may belong to an inode. The resize inode alone holds blocks beside the group descriptors.
    fn may_belong(&self, ino: InodeNumber, block: FsBlock) -> bool {
        if ino == InodeNumber::RESIZE {
            self.superblock().contains(block, 1)
        } else {
            self.is_data(block, 1)
        }
    }
}

/// Blocks from `from` to the end of what a missing indirect block with `level` levels under it (itself counted) covers.
fn hole_under(from: FileBlock, bits: u32, level: u32, levels: u32) -> u32 {
    // Where the part of the file with this many levels starts.
    let start = (1..levels).fold(u64::from(EXT4_NDIR_BLOCKS), |start, level| {
        start.saturating_add(1_u64.wrapping_shl(bits.saturating_mul(level)))
    });
    let covers = 1_u64.wrapping_shl(bits.saturating_mul(level));
    let within = u64::from(from).saturating_sub(start) & covers.saturating_sub(1);
    u32::try_from(covers.saturating_sub(within)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_1k_blocks() {
        let path = |block| Path::to(FileBlock(block), 8).map(|path| (path.levels, path.slots));
        assert_eq!(path(0), Some((0, [0, 0, 0, 0])));
        assert_eq!(path(11), Some((0, [11, 0, 0, 0])));
        assert_eq!(path(12), Some((1, [12, 0, 0, 0])));
        assert_eq!(path(267), Some((1, [12, 255, 0, 0])));
        assert_eq!(path(268), Some((2, [13, 0, 0, 0])));
        assert_eq!(path(268 + 65_535), Some((2, [13, 255, 255, 0])));
        assert_eq!(path(268 + 65_536), Some((3, [14, 0, 0, 0])));
        assert_eq!(
            path(268 + 65_536 + 16_777_215),
            Some((3, [14, 255, 255, 255]))
        );
        assert_eq!(path(268 + 65_536 + 16_777_216), None);
    }

    #[test]
    fn holes_end_where_the_missing_block_does() {
        assert_eq!(hole_under(FileBlock(12), 8, 1, 1), 256);
        assert_eq!(hole_under(FileBlock(20), 8, 1, 1), 248);
        assert_eq!(hole_under(FileBlock(268), 8, 2, 2), 65_536);
        assert_eq!(hole_under(FileBlock(268 + 300), 8, 1, 2), 512 - 300);
        assert_eq!(hole_under(FileBlock(268 + 65_536 + 5), 8, 3, 3), 16_777_211);
    }
}
