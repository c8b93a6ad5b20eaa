//! Directories: lists of entries, block by block.
//!
//! Every directory can be read as such a list; what the index of a hashed directory adds is in [`htree`](crate::htree).
//! A position in a listing is the offset of an entry in the directory, in bytes. An entry that disappears is merged into
//! the one before it, so a position may lie inside an entry later on: listing goes on at the first entry that does not
//! start before it.

mod block;
mod inline;

pub(crate) use block::Placed;
pub use block::{
    Block, Located, MIN_ENTRY, Position, RawEntry, Wanted, entry_size, rec_len_to_raw,
    update_checksum,
};

use crate::{
    crypt,
    error::{Error, Place, Result},
    features::Incompat,
    fs::Ext2fs,
    inode::{FileType, Inode, InodeFlags},
    map::Mapping,
    types::{FileBlock, FsBlock, InodeNumber, index, number},
};
use alloc::borrow::Cow;
use block::verify_entries;
use rumpbio::{Buf, BufData};

/// Blocks of a directory that are asked for at once.
const READ_AHEAD: u32 = 32;

/// An entry of a listing.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    /// Name; of an encrypted one the form in which it is shown.
    pub name: Cow<'a, [u8]>,
    /// Inode.
    pub ino: InodeNumber,
    /// Type, where the directory tells.
    pub file_type: Option<FileType>,
    /// Position after this entry.
    pub next: u64,
}

impl Ext2fs {
    /// Blocks of a directory.
    #[must_use]
    pub fn dir_blocks(&self, dir: &Inode) -> u32 {
        u32::try_from(dir.size.div_ceil(u64::from(self.block_size()))).unwrap_or(u32::MAX)
    }

    /// The entries of `bytes` as a block of `dir`.
    #[must_use]
    pub fn dir_entries<'a>(&self, dir: &Inode, number: FileBlock, bytes: &'a [u8]) -> Block<'a> {
        let sb = self.superblock();
        Block {
            dir: dir.ino,
            number,
            bytes,
            filetype: sb.features.incompat(Incompat::FILETYPE),
            hashed: dir
                .flags
                .contains(InodeFlags::ENCRYPT | InodeFlags::CASEFOLD),
            inodes: sb.inodes,
            block_size: index(self.block_size()),
        }
    }

    /// Reads a block of a directory that lies at `at` and checks its checksum, that of an index block too.
    pub(crate) fn dir_block(&self, dir: &Inode, number: FileBlock, at: FsBlock) -> Result<BufData> {
        Ok(self.dir_block_buf(dir, number, at)?.data())
    }

    /// As [`dir_block`](Self::dir_block), the buffer.
    pub(crate) fn dir_block_buf(&self, dir: &Inode, number: FileBlock, at: FsBlock) -> Result<Buf> {
        let place = Place::Directory {
            ino: dir.ino,
            block: number,
            offset: 0,
        };
        let buf = self.read(at, place)?;
        if buf.verified() {
            return Ok(buf);
        }
        let data = buf.data();
        if self.superblock().features.metadata_csum() {
            if self.is_index_block(dir, number, &data) {
                self.verify_index_block(dir, number, &data)?;
            } else {
                verify_entries(dir, number, &data)?;
            }
        }
        buf.set_verified();
        Ok(buf)
    }

    /// Lists a directory from a position on until `emit` says `false`: that entry counts as not taken. `.` and `..` are
    /// among the entries. Holes are skipped, as Linux does.
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::Checksum`], [`Error::Device`], each after the entries before the damage.
    pub fn read_dir(
        &self,
        dir: &Inode,
        from: u64,
        mut emit: impl FnMut(Listed<'_>) -> bool,
    ) -> Result<()> {
        if dir.flags.contains(InodeFlags::INLINE_DATA) {
            return self.read_inline_dir(dir, from, emit);
        }
        let size = u64::from(self.block_size());
        let blocks = self.dir_blocks(dir);
        let mut at =
            FileBlock(u32::try_from(from.checked_div(size).unwrap_or(0)).unwrap_or(u32::MAX));
        while at.0 < blocks {
            let run = self.map(dir, at, READ_AHEAD.min(blocks.saturating_sub(at.0)))?;
            if let Mapping::OnDisk { block, len } = run {
                self.volume().read_ahead(block.0, len);
                for n in 0..len {
                    let number = FileBlock(at.0.saturating_add(n));
                    let data =
                        self.dir_block(dir, number, FsBlock(block.0.saturating_add(u64::from(n))))?;
                    let start = u64::from(number).saturating_mul(size);
                    let entries = self.dir_entries(dir, number, &data);
                    if !self.list(dir, entries, start, from, &mut emit)? {
                        return Ok(());
                    }
                }
            }
            at = FileBlock(at.0.saturating_add(run.len()));
        }
        Ok(())
    }

    /// Lists the entries of one block, whose position is `start`, that do not start before `from`. Whether to go on.
    fn list(
        &self,
        dir: &Inode,
        block: Block<'_>,
        start: u64,
        from: u64,
        emit: &mut impl FnMut(Listed<'_>) -> bool,
    ) -> Result<bool> {
        let encrypted = dir.flags.contains(InodeFlags::ENCRYPT);
        for entry in block.entries() {
            let (offset, entry) = entry?;
            let position = start.saturating_add(number(offset));
            if entry.ino.0 == 0 || position < from {
                continue;
            }
            let shown = encrypted && entry.name != b"." && entry.name != b"..";
            let listed = Listed {
                name: if shown {
                    Cow::Owned(crypt::presented(entry.name))
                } else {
                    Cow::Borrowed(entry.name)
                },
                ino: entry.ino,
                file_type: entry.file_type,
                next: position.saturating_add(number(entry.rec_len)),
            };
            if !emit(listed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks for a name: through the index where there is one that can be used, else from end to end. Names of
    /// case-insensitive directories must match exactly: folding needs the tables of the volume's Unicode version.
    ///
    /// # Errors
    /// As [`read_dir`](Self::read_dir).
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<Located>> {
        let wanted = Wanted {
            name,
            encrypted: dir.flags.contains(InodeFlags::ENCRYPT),
        };
        if dir.flags.contains(InodeFlags::INLINE_DATA) {
            return self.lookup_inline(dir, &wanted);
        }
        // The index of these is sorted by hashes of folded or of plain names.
        let by_index = dir.flags.contains(InodeFlags::INDEX)
            && !dir
                .flags
                .intersects(InodeFlags::ENCRYPT | InodeFlags::CASEFOLD)
            && self
                .superblock()
                .features
                .compat(crate::features::Compat::DIR_INDEX);
        if by_index && let Some(answer) = self.lookup_indexed(dir, name)? {
            return Ok(answer);
        }
        self.lookup_linear(dir, &wanted)
    }

    fn lookup_linear(&self, dir: &Inode, wanted: &Wanted<'_>) -> Result<Option<Located>> {
        let blocks = self.dir_blocks(dir);
        let mut at = FileBlock(0);
        while at.0 < blocks {
            let run = self.map(dir, at, READ_AHEAD.min(blocks.saturating_sub(at.0)))?;
            if let Mapping::OnDisk { block, len } = run {
                self.volume().read_ahead(block.0, len);
                for n in 0..len {
                    let number = FileBlock(at.0.saturating_add(n));
                    let data =
                        self.dir_block(dir, number, FsBlock(block.0.saturating_add(u64::from(n))))?;
                    if let Some(found) = self.dir_entries(dir, number, &data).find(wanted)? {
                        return Ok(Some(found));
                    }
                }
            }
            at = FileBlock(at.0.saturating_add(run.len()));
        }
        Ok(None)
    }

    /// The inode that `..` of a directory names.
    ///
    /// # Errors
    /// [`Error::Value`] if there is no such entry at the start of the directory; as [`read_dir`](Self::read_dir).
    pub fn parent(&self, dir: &Inode) -> Result<InodeNumber> {
        let wanted = Wanted {
            name: b"..",
            encrypted: false,
        };
        let found = if dir.flags.contains(InodeFlags::INLINE_DATA) {
            self.lookup_inline(dir, &wanted)?
        } else {
            match self.map_one(dir, FileBlock(0))? {
                Some(at) => {
                    let data = self.dir_block(dir, FileBlock(0), at)?;
                    self.dir_entries(dir, FileBlock(0), &data).find(&wanted)?
                }
                None => None,
            }
        };
        let place = Place::Directory {
            ino: dir.ino,
            block: FileBlock(0),
            offset: 0,
        };
        found
            .map(|found| found.ino)
            .ok_or_else(|| Error::words(place, "entries", 0_u64, ".. in the first block"))
    }
}
