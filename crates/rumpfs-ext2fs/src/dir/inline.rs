//! Directories that are small enough to be in their inodes.

use super::{Block, Listed, Located, Position, Wanted, block::place_offset};
use crate::{
    error::{Error, Expected, Place, Result},
    fs::Ext2fs,
    inode::{FileType, Inode},
    layout::inode::I_BLOCK_SIZE,
    types::{FileBlock, InodeNumber, number},
};
use alloc::borrow::Cow;

/// In the listing of an inline directory, `.` is at 0, `..` here, and what lies in the inode from [`INLINE_FIRST`] on:
/// the same positions that the entries have once the directory moves into a block.
const INLINE_DOTDOT: u64 = 12;
/// See [`INLINE_DOTDOT`].
const INLINE_FIRST: u64 = 24;
/// Bytes before the entries in inline data: the number of the parent.
const INLINE_PARENT: usize = 4;

impl Ext2fs {
    pub(super) fn read_inline_dir(
        &self,
        dir: &Inode,
        from: u64,
        mut emit: impl FnMut(Listed<'_>) -> bool,
    ) -> Result<()> {
        let content = self.inline_area(dir)?;
        let dots = [
            (&b"."[..], dir.ino, 0, INLINE_DOTDOT),
            (b"..", self.inline_parent(dir)?, INLINE_DOTDOT, INLINE_FIRST),
        ];
        for (name, ino, position, next) in dots {
            let listed = Listed {
                name: Cow::Borrowed(name),
                ino,
                file_type: Some(FileType::Directory),
                next,
            };
            if position >= from && !emit(listed) {
                return Ok(());
            }
        }
        for (block, offset) in self.inline_parts(dir, &content) {
            let start = INLINE_FIRST.saturating_add(number(offset.saturating_sub(INLINE_PARENT)));
            if !self.list(dir, block, start, from, &mut emit)? {
                break;
            }
        }
        Ok(())
    }

    fn inline_parent(&self, dir: &Inode) -> Result<InodeNumber> {
        let [a, b, c, d, ..] = dir.block;
        let parent = u32::from_le_bytes([a, b, c, d]);
        let inodes = self.superblock().inodes;
        if parent == 0 || parent > inodes {
            let range = Expected::Range(1, u64::from(inodes));
            return Err(Error::value(
                Place::InlineData(dir.ino),
                "parent",
                parent,
                range,
            ));
        }
        Ok(InodeNumber(parent))
    }

    /// The two parts of inline data that hold entries, with their offsets in it.
    fn inline_parts<'a>(
        &self,
        dir: &Inode,
        content: &'a [u8],
    ) -> impl Iterator<Item = (Block<'a>, usize)> {
        let first = content.get(INLINE_PARENT..I_BLOCK_SIZE).unwrap_or_default();
        let second = content.get(I_BLOCK_SIZE..).unwrap_or_default();
        let parts = [(first, INLINE_PARENT), (second, I_BLOCK_SIZE)];
        parts
            .map(|(bytes, offset)| (self.dir_entries(dir, FileBlock(0), bytes), offset))
            .into_iter()
    }

    pub(super) fn lookup_inline(
        &self,
        dir: &Inode,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Located>> {
        let position = Position {
            block: FileBlock(0),
            offset: 0,
            previous: None,
        };
        if wanted.name == b"." || wanted.name == b".." {
            let ino = if wanted.name == b"." {
                dir.ino
            } else {
                self.inline_parent(dir)?
            };
            return Ok(Some(Located {
                ino,
                file_type: Some(FileType::Directory),
                position,
            }));
        }
        let content = self.inline_area(dir)?;
        for (block, offset) in self.inline_parts(dir, &content) {
            if let Some(mut found) = block.find(wanted)? {
                let shift = place_offset(offset);
                found.position.offset = found.position.offset.saturating_add(shift);
                found.position.previous = found
                    .position
                    .previous
                    .map(|previous| previous.saturating_add(shift));
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
