//! Changing directories that lie in their inode. Their entries are in two parts; one that grows moves into a block.

use crate::{
    dir::{Located, MIN_ENTRY, entry_size},
    dir_write::{NewEntry, merge, room, write_in_room, write_unused},
    error::{Error, Place, Result},
    inode::{FileType, Inode},
    layout::inode::I_BLOCK_SIZE,
    txn::Txn,
    types::{FileBlock, index},
};
use alloc::vec::Vec;

impl Txn<'_> {
    /// Moves the entries of an inline directory into its first block.
    pub(crate) fn inline_dir_to_block(&mut self, dir: &mut Inode) -> Result<()> {
        let parent = self.fs().parent(dir)?;
        let mut entries = Vec::new();
        self.fs().read_dir(dir, 0, |entry| {
            if !matches!(&*entry.name, b"." | b"..") {
                entries.push((entry.name.into_owned(), entry.ino, entry.file_type));
            }
            true
        })?;
        self.drop_inline_data(dir)?;
        dir.size = 0;
        self.init_dir(dir, parent)?;
        for (name, ino, file_type) in &entries {
            let entry = NewEntry {
                name,
                ino: *ino,
                // Inline data came after the filetype feature.
                file_type: file_type.unwrap_or(FileType::Regular),
            };
            if !self.add_to_block(dir, FileBlock(0), &entry)? {
                return Err(Error::words(
                    Place::InlineData(dir.ino),
                    "entries",
                    0_u64,
                    "room for them in one block",
                ));
            }
        }
        Ok(())
    }

    /// Puts an entry into an inline directory; `false` if there is no room.
    pub(crate) fn add_inline_entry(
        &mut self,
        dir: &mut Inode,
        entry: &NewEntry<'_>,
    ) -> Result<bool> {
        let need = entry_size(entry.name.len());
        let fs = self.fs();
        let filetype = self.filetype();
        let mut done = Ok(false);
        let shape = dir.clone();
        self.modify_inline(dir, |part, _| {
            if done != Ok(false) {
                return;
            }
            // An area that was never used is all zeros.
            if part.len() >= MIN_ENTRY && part.iter().all(|byte| *byte == 0) {
                write_unused(part);
            }
            match room(fs.dir_entries(&shape, FileBlock(0), part), need) {
                Ok(Some(room)) => {
                    write_in_room(part, &room, entry, filetype);
                    done = Ok(true);
                }
                Ok(None) => {}
                Err(error) => done = Err(error),
            }
        })?;
        done
    }

    /// Takes an entry out of an inline directory.
    pub(crate) fn remove_inline_entry(&mut self, dir: &mut Inode, found: &Located) -> Result<()> {
        let fs = self.fs();
        let offset = index(found.position.offset);
        let previous = found.position.previous.map(index);
        let shape = dir.clone();
        let mut done = Ok(());
        self.modify_inline(dir, |part, start| {
            let end = start.saturating_add(part.len());
            if offset < start || offset >= end {
                return;
            }
            let block = fs.dir_entries(&shape, FileBlock(0), part);
            let at = offset.saturating_sub(start);
            let lens = block.entry(at).and_then(|entry| {
                let merged = match previous.map(|previous| previous.saturating_sub(start)) {
                    Some(previous) => {
                        let before = block.entry(previous)?.rec_len;
                        Some((previous, before.saturating_add(entry.rec_len)))
                    }
                    None => None,
                };
                Ok((entry.rec_len, merged))
            });
            match lens {
                Ok((len, merged)) => merge(part, at, len, merged),
                Err(error) => done = Err(error),
            }
        })?;
        done
    }

    /// Changes the two parts of inline data of a directory, each given with its offset in the data.
    pub(crate) fn modify_inline(
        &mut self,
        dir: &mut Inode,
        mut f: impl FnMut(&mut [u8], usize),
    ) -> Result<()> {
        if let Some(part) = dir.block.get_mut(4..) {
            f(part, 4);
        }
        self.modify_inline_rest(dir, |part| f(part, I_BLOCK_SIZE))
    }
}
