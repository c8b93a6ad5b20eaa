//! Changing directories: entries put in, taken out, pointed elsewhere.
//!
//! A new entry takes the unused end of another, or an unused one. A removed entry becomes part of the one before it in
//! its block, or unused if it is the first.

use crate::{
    dir::{
        Block, Located, MIN_ENTRY, Placed, Position, entry_size, rec_len_to_raw, update_checksum,
    },
    error::{Error, Place, Result},
    features::{Compat, Incompat},
    inode::{FileType, Inode, InodeFlags, entry_type},
    layout::dir_entry::{DIR_TAIL_SIZE, RawDirEntry},
    leaf_names::{self, LeafNames},
    map_write::Purpose,
    txn::Txn,
    types::{FileBlock, InodeNumber, index},
};
use rumpbio::Buf;
use rumpuser::Errno;
use zerocopy::FromBytes;

/// What an entry is to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'n> {
    /// Name.
    pub(crate) name: &'n [u8],
    /// Inode.
    pub(crate) ino: InodeNumber,
    /// Type.
    pub(crate) file_type: FileType,
}

/// Where a new entry fits: the entry at `offset` keeps `used` bytes (none if it is unused), the new one has `len`.
pub(crate) struct Room {
    pub(crate) offset: usize,
    pub(crate) used: usize,
    pub(crate) len: usize,
}

/// Room for `need` bytes among the entries of a block.
pub(crate) fn room(block: Block<'_>, need: usize) -> Result<Option<Room>> {
    let found = block.first(|head| head.spare() >= need)?;
    Ok(found.map(|Placed { head, offset, .. }| Room {
        offset,
        used: head.used(),
        len: head.spare(),
    }))
}

/// Writes `.` and `..` at the start of a block; the room of `..` reaches to its end.
pub(crate) fn write_dots(bytes: &mut [u8], ino: InodeNumber, parent: InodeNumber, filetype: bool) {
    let rest = bytes.len().saturating_sub(MIN_ENTRY);
    let mut entry = NewEntry {
        name: b".",
        ino,
        file_type: FileType::Directory,
    };
    write_entry(bytes, 0, MIN_ENTRY, &entry, filetype);
    entry.name = b"..";
    entry.ino = parent;
    write_entry(bytes, MIN_ENTRY, rest, &entry, filetype);
}

/// Writes an entry of `rec_len` bytes at `offset`.
pub(crate) fn write_entry(
    bytes: &mut [u8],
    offset: usize,
    rec_len: usize,
    entry: &NewEntry<'_>,
    filetype: bool,
) {
    let Some(rest) = bytes.get_mut(offset..) else {
        return;
    };
    if let Ok((raw, names)) = RawDirEntry::mut_from_prefix(rest) {
        raw.inode.set(entry.ino.0);
        raw.rec_len.set(rec_len_to_raw(rec_len));
        raw.name_len = u8::try_from(entry.name.len()).unwrap_or(u8::MAX);
        raw.file_type = if filetype && entry.ino.0 != 0 {
            entry_type(entry.file_type)
        } else {
            0
        };
        for (to, from) in names.iter_mut().zip(entry.name) {
            *to = *from;
        }
    }
}

/// Changes the length of the entry at `offset`.
pub(crate) fn set_rec_len(bytes: &mut [u8], offset: usize, rec_len: usize) {
    if let Some(Ok((raw, _))) = bytes.get_mut(offset..).map(RawDirEntry::mut_from_prefix) {
        raw.rec_len.set(rec_len_to_raw(rec_len));
    }
}

/// Writes one unused entry over all of `bytes`.
pub(crate) fn write_unused(bytes: &mut [u8]) {
    let len = bytes.len();
    let unused = NewEntry {
        name: &[],
        ino: InodeNumber(0),
        file_type: FileType::Regular,
    };
    write_entry(bytes, 0, len, &unused, false);
}

/// Puts an entry where there is room for it.
pub(crate) fn write_in_room(bytes: &mut [u8], room: &Room, entry: &NewEntry<'_>, filetype: bool) {
    if room.used > 0 {
        set_rec_len(bytes, room.offset, room.used);
    }
    let at = room.offset.saturating_add(room.used);
    write_entry(bytes, at, room.len, entry, filetype);
}

impl Txn<'_> {
    /// Whether entries hold the type.
    pub(crate) fn filetype(&self) -> bool {
        self.sb().features.incompat(Incompat::FILETYPE)
    }

    /// Bytes for entries in a block: without the checksum tail.
    pub(crate) fn entry_bytes(&self) -> usize {
        let size = index(self.sb().block_size());
        if self.sb().features.metadata_csum() {
            size.saturating_sub(DIR_TAIL_SIZE)
        } else {
            size
        }
    }

    fn dir_place(dir: &Inode, number: FileBlock, offset: u32) -> Place {
        Place::Directory {
            ino: dir.ino,
            block: number,
            offset,
        }
    }

    /// A block of a directory, checked, and where it lies.
    pub(crate) fn dir_buf(&self, dir: &Inode, number: FileBlock) -> Result<Option<Buf>> {
        match self.fs().map_one(dir, number)? {
            Some(block) => self.fs().dir_block_buf(dir, number, block).map(Some),
            None => Ok(None),
        }
    }

    /// Changes a block of entries; its checksum follows.
    pub(crate) fn modify_dir<R>(
        &mut self,
        dir: &Inode,
        buf: &Buf,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let sb = self.sb();
        let len = self.entry_bytes();
        self.modify(buf, |bytes| {
            let value = f(bytes.get_mut(..len).unwrap_or_default());
            update_checksum(sb, dir, bytes);
            value
        })
    }

    /// As [`modify_dir`](Self::modify_dir); `follow` tells the block's [`LeafNames`], if it has them, of the change.
    fn modify_leaf(
        &mut self,
        dir: &Inode,
        buf: &Buf,
        change: impl FnOnce(&mut [u8]),
        follow: impl FnOnce(&mut LeafNames) -> bool,
    ) {
        let sb = self.sb();
        let len = self.entry_bytes();
        self.modify_derived(buf, |bytes, derived| {
            change(bytes.get_mut(..len).unwrap_or_default());
            update_checksum(sb, dir, bytes);
            leaf_names::follow(derived, follow);
        });
    }

    /// Refuses directories into which a name cannot be put at the right place.
    fn check_writable(dir: &Inode) -> Result<()> {
        if dir
            .flags
            .intersects(InodeFlags::ENCRYPT | InodeFlags::CASEFOLD)
        {
            return Err(Error::Unsupported(
                Self::dir_place(dir, FileBlock(0), 0),
                "change of an encrypted or case-insensitive directory",
            ));
        }
        Ok(())
    }

    /// Puts an entry into a directory that has none of that name. The directory's size and flags may change; the caller
    /// stores the inode.
    ///
    /// # Errors
    /// `ENOSPC` when the directory or its index cannot grow.
    pub(crate) fn add_entry(&mut self, dir: &mut Inode, entry: &NewEntry<'_>) -> Result<()> {
        Self::check_writable(dir)?;
        if dir.flags.contains(InodeFlags::INLINE_DATA) {
            if self.add_inline_entry(dir, entry)? {
                return Ok(());
            }
            self.inline_dir_to_block(dir)?;
        }
        let indexing = self.sb().features.compat(Compat::DIR_INDEX);
        if dir.flags.contains(InodeFlags::INDEX) {
            if indexing {
                return self.add_indexed(dir, entry);
            }
            // Without the feature nobody keeps the index up to date from now on.
            dir.flags.remove(InodeFlags::INDEX);
        }
        let blocks = self.fs().dir_blocks(dir);
        let first = self.writer().notes.lock().dir_room(dir.ino);
        for n in first..blocks {
            if self.add_to_block(dir, FileBlock(n), entry)? {
                self.writer().notes.lock().set_dir_room(dir.ino, n);
                return Ok(());
            }
        }
        if blocks == 1 && indexing && self.make_index(dir)? {
            return self.add_indexed(dir, entry);
        }
        let (number, buf) = self.append_dir_block(dir)?;
        self.writer().notes.lock().set_dir_room(dir.ino, number.0);
        self.init_entries(dir, &buf);
        let room = Room {
            offset: 0,
            used: 0,
            len: self.entry_bytes(),
        };
        let filetype = self.filetype();
        self.modify_dir(dir, &buf, |bytes| {
            write_in_room(bytes, &room, entry, filetype);
        });
        Ok(())
    }

    /// Puts an entry into one block; `false` if there is no room.
    pub(crate) fn add_to_block(
        &mut self,
        dir: &Inode,
        number: FileBlock,
        entry: &NewEntry<'_>,
    ) -> Result<bool> {
        let Some(buf) = self.dir_buf(dir, number)? else {
            return Ok(false);
        };
        let need = entry_size(entry.name.len());
        let found = buf.look(|bytes, derived| {
            let bytes = bytes.get(..self.entry_bytes()).unwrap_or_default();
            let block = self.fs().dir_entries(dir, number, bytes);
            match leaf_names::of(derived).and_then(|names| names.room(block, need)) {
                None => room(block, need),
                found => Ok(found),
            }
        })?;
        let Some(found) = found else { return Ok(false) };
        let filetype = self.filetype();
        self.modify_leaf(
            dir,
            &buf,
            |bytes| write_in_room(bytes, &found, entry, filetype),
            |names| names.insert(&found, entry.name),
        );
        Ok(true)
    }

    /// Adds a block, filled with zeros, at the end of a directory.
    ///
    /// # Errors
    /// `ENOSPC`, also when the directory is as large as it can be.
    pub(crate) fn append_dir_block(&mut self, dir: &mut Inode) -> Result<(FileBlock, Buf)> {
        let size = u64::from(self.sb().block_size());
        let number = self.fs().dir_blocks(dir);
        let end = u64::from(number).saturating_add(1).saturating_mul(size);
        let most = if self.sb().features.incompat(Incompat::LARGEDIR) {
            // The index has 28 bits for a block's number.
            size.saturating_mul(1 << 28)
        } else {
            u64::from(u32::MAX >> 1)
        };
        if end > most {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        let mut at = None;
        let number = FileBlock(number);
        // A hole or unwritten space past the end would be taken as it is: both become blocks of their own.
        self.place_blocks(dir, number, 1, Purpose::Write, &mut |_, block, _| {
            at = Some(block);
        })?;
        let block = match at {
            Some(block) => block,
            None => self.fs().map_one(dir, number)?.ok_or_else(|| {
                Error::words(Self::dir_place(dir, number, 0), "block", 0_u64, "a place")
            })?,
        };
        let buf = self.create(block)?;
        dir.size = end;
        Ok((number, buf))
    }

    /// Makes a block of entries empty.
    pub(crate) fn init_entries(&mut self, dir: &Inode, buf: &Buf) {
        self.modify_dir(dir, buf, write_unused);
    }

    /// Gives a new directory its first block with `.` and `..`.
    pub(crate) fn init_dir(&mut self, dir: &mut Inode, parent: InodeNumber) -> Result<()> {
        let (_, buf) = self.append_dir_block(dir)?;
        let filetype = self.filetype();
        let ino = dir.ino;
        // Another directory may have had the number.
        self.writer().notes.lock().set_dir_room(dir.ino, 0);
        self.modify_dir(dir, &buf, |bytes| write_dots(bytes, ino, parent, filetype));
        Ok(())
    }

    /// Where the entry with this name is: `position` if it is there, else searched for.
    ///
    /// # Errors
    /// `ENOENT` if it is nowhere.
    pub(crate) fn locate(
        &self,
        dir: &Inode,
        name: &[u8],
        position: Option<Position>,
    ) -> Result<Located> {
        if let Some(position) = position
            && let Some(found) = self.entry_at(dir, name, position)?
        {
            return Ok(found);
        }
        self.fs()
            .lookup(dir, name)?
            .ok_or(Error::Refused(Errno::ENOENT))
    }

    /// The entry at a position, if it has this name and the entry before it ends there.
    fn entry_at(&self, dir: &Inode, name: &[u8], position: Position) -> Result<Option<Located>> {
        if dir.flags.contains(InodeFlags::INLINE_DATA)
            || position.block.0 >= self.fs().dir_blocks(dir)
        {
            return Ok(None);
        }
        let Some(buf) = self.dir_buf(dir, position.block)? else {
            return Ok(None);
        };
        let data = buf.data();
        let bytes = data.get(..self.entry_bytes()).unwrap_or_default();
        let block = self.fs().dir_entries(dir, position.block, bytes);
        if let Some(previous) = position.previous {
            let ends = block
                .entry(index(previous))
                .is_ok_and(|e| index(previous).saturating_add(e.rec_len) == index(position.offset));
            if !ends {
                return Ok(None);
            }
        } else if position.offset != 0 {
            return Ok(None);
        }
        let Ok(entry) = block.entry(index(position.offset)) else {
            return Ok(None);
        };
        Ok((entry.ino.0 != 0 && entry.name == name).then_some(Located {
            ino: entry.ino,
            file_type: entry.file_type,
            position,
        }))
    }

    /// Takes an entry out of a directory.
    pub(crate) fn remove_entry(&mut self, dir: &mut Inode, found: &Located) -> Result<()> {
        Self::check_writable(dir)?;
        if dir.flags.contains(InodeFlags::INLINE_DATA) {
            return self.remove_inline_entry(dir, found);
        }
        let position = found.position;
        self.writer()
            .notes
            .lock()
            .lower_dir_room(dir.ino, position.block.0);
        let Some(buf) = self.dir_buf(dir, position.block)? else {
            return Err(Error::Refused(Errno::ENOENT));
        };
        let data = buf.data();
        let bytes = data.get(..self.entry_bytes()).unwrap_or_default();
        let block = self.fs().dir_entries(dir, position.block, bytes);
        let len = block.entry(index(position.offset))?.rec_len;
        let merged = match position.previous {
            Some(previous) => Some((
                index(previous),
                block.entry(index(previous))?.rec_len.saturating_add(len),
            )),
            None => None,
        };
        drop(data);
        let offset = index(position.offset);
        self.modify_leaf(
            dir,
            &buf,
            |bytes| merge(bytes, offset, len, merged),
            |names| merged.is_none() || names.remove(offset),
        );
        Ok(())
    }

    /// Makes an entry name another inode.
    pub(crate) fn set_entry(
        &mut self,
        dir: &mut Inode,
        found: &Located,
        ino: InodeNumber,
        file_type: FileType,
    ) -> Result<()> {
        Self::check_writable(dir)?;
        let filetype = self.filetype();
        let change = |bytes: &mut [u8], offset: usize| {
            if let Some(Ok((raw, _))) = bytes.get_mut(offset..).map(RawDirEntry::mut_from_prefix) {
                raw.inode.set(ino.0);
                if filetype {
                    raw.file_type = entry_type(file_type);
                }
            }
        };
        let offset = index(found.position.offset);
        if dir.flags.contains(InodeFlags::INLINE_DATA) {
            return self.modify_inline(dir, |part, start| {
                if offset >= start && offset < start.saturating_add(part.len()) {
                    change(part, offset.saturating_sub(start));
                }
            });
        }
        let Some(buf) = self.dir_buf(dir, found.position.block)? else {
            return Err(Error::Refused(Errno::ENOENT));
        };
        self.modify_dir_or_root(dir, found.position.block, &buf, |bytes| {
            change(bytes, offset);
        });
        Ok(())
    }

    /// Makes `..` of a directory name another parent.
    pub(crate) fn set_parent(&mut self, dir: &mut Inode, parent: InodeNumber) -> Result<()> {
        if dir.flags.contains(InodeFlags::INLINE_DATA) {
            if let Some(to) = dir.block.first_chunk_mut::<4>() {
                *to = parent.0.to_le_bytes();
            }
            return Ok(());
        }
        let Some(buf) = self.dir_buf(dir, FileBlock(0))? else {
            return Err(Error::words(
                Self::dir_place(dir, FileBlock(0), 0),
                "entries",
                0_u64,
                ".. in the first block",
            ));
        };
        let data = buf.data();
        let block = self.fs().dir_entries(dir, FileBlock(0), &data);
        let dot = block.entry(0)?;
        let dotdot = block.entry(dot.rec_len)?;
        if dotdot.name != b".." {
            return Err(Error::words(
                Self::dir_place(dir, FileBlock(0), 0),
                "entries",
                0_u64,
                ".. behind .",
            ));
        }
        let offset = dot.rec_len;
        drop(data);
        self.modify_dir_or_root(dir, FileBlock(0), &buf, |bytes| {
            if let Some(Ok((raw, _))) = bytes.get_mut(offset..).map(RawDirEntry::mut_from_prefix) {
                raw.inode.set(parent.0);
            }
        });
        Ok(())
    }

    /// Changes an entry in a block that may be the root of an index, which has another checksum.
    fn modify_dir_or_root(
        &mut self,
        dir: &Inode,
        number: FileBlock,
        buf: &Buf,
        f: impl FnOnce(&mut [u8]),
    ) {
        if self.fs().is_index_block(dir, number, &buf.data()) {
            self.modify_index(dir, number, buf, f);
        } else {
            self.modify_dir(dir, buf, f);
        }
    }

    /// Whether a directory holds nothing but `.` and `..`.
    pub(crate) fn dir_is_empty(&self, dir: &Inode) -> Result<bool> {
        let mut empty = true;
        self.fs().read_dir(dir, 0, |entry| {
            empty = matches!(&*entry.name, b"." | b"..");
            empty
        })?;
        Ok(empty)
    }
}

/// Takes the entry of `len` bytes at `offset` out: makes the one before it longer, or it becomes unused.
pub(crate) fn merge(bytes: &mut [u8], offset: usize, len: usize, before: Option<(usize, usize)>) {
    // The name goes, so that it does not stay behind on the medium.
    if let Some(rest) = bytes.get_mut(offset..offset.saturating_add(len)) {
        rest.fill(0);
    }
    match before {
        Some((previous, whole)) => set_rec_len(bytes, previous, whole),
        None => set_rec_len(bytes, offset, len),
    }
}
