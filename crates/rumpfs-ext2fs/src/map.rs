//! From a block of a file to blocks of the volume.

use crate::{
    error::{Error, Place, Result},
    fs::Ext2fs,
    inode::{FileType, Inode, InodeFlags},
    types::{FileBlock, FsBlock},
};

/// Pieces that [`Ext2fs::map`] joins at most: bounds the work on a file whose pieces happen to follow each other.
const MOST_PIECES: u32 = 4096;

/// Where a piece of a file lies. Lengths are in blocks, 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// On the volume, from this block on.
    OnDisk {
        /// First block.
        block: FsBlock,
        /// Number of blocks.
        len: u32,
    },
    /// Space is kept for it on the volume but was not written: it reads as zeros.
    Unwritten {
        /// First block.
        block: FsBlock,
        /// Number of blocks.
        len: u32,
    },
    /// Nowhere: it reads as zeros.
    Hole {
        /// Number of blocks.
        len: u32,
    },
    /// In the inode: [`Ext2fs::inline_data`] gives it.
    Inline,
}

impl Mapping {
    /// Number of blocks; 1 for inline data.
    #[must_use]
    pub fn len(&self) -> u32 {
        match *self {
            Self::OnDisk { len, .. } | Self::Unwritten { len, .. } | Self::Hole { len } => len,
            Self::Inline => 1,
        }
    }

    /// Never: a mapping has a block at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// This piece and the one that follows it in the file as one, if they are of a kind and next to each other.
    fn joined(self, next: Self) -> Option<Self> {
        let len = self.len().checked_add(next.len())?;
        let follows =
            |block: FsBlock, next: FsBlock| block.after(u64::from(self.len())) == Some(next);
        match (self, next) {
            (Self::OnDisk { block, .. }, Self::OnDisk { block: b, .. }) if follows(block, b) => {
                Some(Self::OnDisk { block, len })
            }
            (Self::Unwritten { block, .. }, Self::Unwritten { block: b, .. })
                if follows(block, b) =>
            {
                Some(Self::Unwritten { block, len })
            }
            (Self::Hole { .. }, Self::Hole { .. }) => Some(Self::Hole { len }),
            _ => None,
        }
    }

    /// At most the first `most` blocks.
    pub(crate) fn cut(self, most: u32) -> Self {
        match self {
            Self::OnDisk { block, len } => Self::OnDisk {
                block,
                len: len.min(most),
            },
            Self::Unwritten { block, len } => Self::Unwritten {
                block,
                len: len.min(most),
            },
            Self::Hole { len } => Self::Hole { len: len.min(most) },
            Self::Inline => Self::Inline,
        }
    }
}

impl Ext2fs {
    /// Where the blocks of a file from `from` on lie: the longest piece of one kind that starts there, at most `most`
    /// blocks (0 counts as 1). Pieces are joined across extents and indirect blocks.
    ///
    /// # Errors
    /// [`Error::Value`] and [`Error::Checksum`] where the map is damaged, [`Error::Device`].
    pub fn map(&self, inode: &Inode, from: FileBlock, most: u32) -> Result<Mapping> {
        if inode.flags.contains(InodeFlags::INLINE_DATA) {
            return Ok(Mapping::Inline);
        }
        let has_blocks = match inode.file_type {
            FileType::Regular | FileType::Directory => true,
            FileType::Symlink => !inode.is_fast_symlink(self.superblock()),
            _ => false,
        };
        if !has_blocks {
            return Err(Error::words(
                Place::Inode(inode.ino),
                "i_mode",
                inode.mode(),
                "a file that has blocks",
            ));
        }
        let most = most.clamp(1, u32::MAX.saturating_sub(from.0).max(1));
        let mut whole = self.map_piece(inode, from, most)?;
        for _ in 0..MOST_PIECES {
            let left = most.saturating_sub(whole.len());
            let Some(next) = from.after(whole.len()).filter(|_| left > 0) else {
                break;
            };
            // Damage behind the first piece shows when it is asked for.
            let Ok(piece) = self.map_piece(inode, next, left) else {
                break;
            };
            match whole.joined(piece) {
                Some(joined) => whole = joined,
                None => break,
            }
        }
        Ok(whole)
    }

    fn map_piece(&self, inode: &Inode, from: FileBlock, most: u32) -> Result<Mapping> {
        let piece = if inode.flags.contains(InodeFlags::EXTENTS) {
            self.map_extent(inode, from)?
        } else {
            self.map_indirect(inode, from, most)?
        };
        Ok(piece.cut(most))
    }

    /// The block of metadata-like content (a directory's) at `from`; `None` in a hole. Unwritten counts as a hole.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub(crate) fn map_one(&self, inode: &Inode, from: FileBlock) -> Result<Option<FsBlock>> {
        Ok(match self.map_piece(inode, from, 1)? {
            Mapping::OnDisk { block, .. } => Some(block),
            _ => None,
        })
    }
}
