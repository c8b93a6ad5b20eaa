//! Changing directories: putting records in, taking them away.
//!
//! A change stays within one block of 512 bytes, so that a sector that is written has all of it or nothing. Records are never moved
//! within their block: who lists the directory at the same time keeps his place.

use crate::{
    dir::{FIXED, Records, Slot, needed},
    dir_index::Whereabouts,
    error::{Error, Place, Result},
    inode::{FileType, Inode, type_bits},
    layout::{DIRECT, DIRECTORY_BLOCK, DIRECTORY_BLOCK_BITS},
    map::Walk,
    order::Step,
    txn::Txn,
    types::{Order, index, number},
    volume::Ffs,
};
use core::sync::atomic::Ordering;
use rumpbio::Buf;
use rumpuser::Errno;

/// Where a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// Offset of its block in the directory.
    pub(crate) block: u64,
    /// Its record.
    pub(crate) slot: Slot,
    /// The record before in the same block.
    pub(crate) before: Option<Slot>,
}

/// A name that is put into a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRecord<'n> {
    pub(crate) name: &'n [u8],
    pub(crate) ino: u64,
    pub(crate) file_type: FileType,
}

impl Ffs {
    /// The buffer with a block of a directory, and the block's byte in it.
    pub(crate) fn directory_block(
        &self,
        dir: &Inode,
        walk: &mut Walk<'_>,
        offset: u64,
    ) -> Result<(Buf, usize)> {
        let place = Place::Record(dir.ino, offset);
        let Some((frag, block)) = self.frag_at(walk, offset)? else {
            return Err(Error::value(place, "block", 0_u32, "not a hole"));
        };
        let within = index(offset & self.superblock.frag_size().wrapping_sub(1));
        Ok((self.buf(frag, block, place)?, within))
    }

    /// Finds a name; `hint` is where its record may be.
    pub(crate) fn locate(&self, dir: &Inode, name: &[u8], hint: u64) -> Result<Option<Located>> {
        let Some(mut walk) = Walk::new(self, dir) else {
            return Ok(None);
        };
        let first = hint & !DIRECTORY_BLOCK.wrapping_sub(1);
        if first < dir.size
            && let Some(found) = self.locate_in(dir, &mut walk, first, name)?
        {
            return Ok(Some(found));
        }
        match self.whereabouts(dir, name)? {
            Whereabouts::Absent => return Ok(None),
            Whereabouts::Block(block) if block < dir.size => {
                if let Some(found) = self.locate_in(dir, &mut walk, block, name)? {
                    return Ok(Some(found));
                }
            }
            _ => {}
        }
        for n in 0..dir.size.wrapping_shr(DIRECTORY_BLOCK_BITS) {
            let block = n.wrapping_shl(DIRECTORY_BLOCK_BITS);
            if let Some(found) = self.locate_in(dir, &mut walk, block, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Finds a name in a block of a directory.
    fn locate_in(
        &self,
        dir: &Inode,
        walk: &mut Walk<'_>,
        block: u64,
        name: &[u8],
    ) -> Result<Option<Located>> {
        let (buf, within) = self.directory_block(dir, walk, block)?;
        let data = buf.data();
        let mut records = Records::new(&self.superblock, dir.ino, block, block_of(&data, within));
        let mut before = None;
        while let Some((slot, found)) = records.slot()? {
            if found.is_some_and(|found| found.name == name) {
                return Ok(Some(Located {
                    block,
                    slot,
                    before,
                }));
            }
            before = Some(slot);
        }
        Ok(None)
    }

    /// Whether a directory has no names but `.` and `..`.
    pub(crate) fn is_empty(&self, dir: &Inode) -> Result<bool> {
        let mut empty = true;
        self.list(dir, 0, |_| {
            empty = false;
            false
        })?;
        Ok(empty)
    }
}

/// The block of a directory that begins at a byte of its fragment.
pub(crate) fn block_of(data: &[u8], within: usize) -> &[u8] {
    data.get(within..)
        .and_then(|rest| rest.get(..index(DIRECTORY_BLOCK)))
        .unwrap_or_default()
}

impl Txn<'_> {
    /// Changes a block of a directory.
    fn modify_directory(
        &mut self,
        dir: &Inode,
        block: u64,
        step: Step,
        f: impl Fn(&mut [u8]),
    ) -> Result<()> {
        let ffs = self.ffs();
        let hole = || Error::value(Place::Record(dir.ino, block), "block", 0_u32, "not a hole");
        let mut walk = Walk::new(ffs, dir).ok_or_else(hole)?;
        let (buf, within) = ffs.directory_block(dir, &mut walk, block)?;
        self.modify(&buf, step, |data| {
            let end = within.saturating_add(index(DIRECTORY_BLOCK));
            if let Some(bytes) = data.get_mut(within..end) {
                f(bytes);
            }
        })
    }

    /// Puts a name into a directory; it is not there yet.
    ///
    /// # Errors
    /// `ENOSPC`; what is wrong with the directory.
    pub(crate) fn add_record(&mut self, dir: &mut Inode, new: &NewRecord<'_>) -> Result<()> {
        let need = needed(new.name.len());
        let start = dir.room.load(Ordering::Relaxed).min(dir.size);
        let found = self.find_room(dir, start, need)?;
        let (block, slot) = match found {
            Some(found) => found,
            None => {
                let whole = Slot {
                    at: 0,
                    len: index(DIRECTORY_BLOCK),
                    used: 0,
                    ino: 0,
                };
                (self.grow_directory(dir)?, whole)
            }
        };
        dir.room.store(block, Ordering::Relaxed);
        dir.names.lock().add(new.name, block);
        let form = self.form();
        self.keep_apart(Step::Inodes);
        self.modify_directory(dir, block, Step::Names, |data| form.insert(data, slot, new))
    }

    fn form(&self) -> Form {
        Form {
            order: self.sb().order,
            old: self.sb().old_directories,
        }
    }

    /// A record with room for `need` bytes, in the blocks from `start` on.
    fn find_room(&self, dir: &Inode, start: u64, need: usize) -> Result<Option<(u64, Slot)>> {
        let ffs = self.ffs();
        let Some(mut walk) = Walk::new(ffs, dir) else {
            return Ok(None);
        };
        let mut block = start & !DIRECTORY_BLOCK.wrapping_sub(1);
        while block < dir.size {
            let (buf, within) = ffs.directory_block(dir, &mut walk, block)?;
            let data = buf.data();
            let mut records = Records::new(self.sb(), dir.ino, block, block_of(&data, within));
            while let Some((slot, _)) = records.slot()? {
                if slot.len.saturating_sub(slot.used) >= need {
                    return Ok(Some((block, slot)));
                }
            }
            block = block.saturating_add(DIRECTORY_BLOCK);
        }
        Ok(None)
    }

    /// Gives a directory one more block, whose offset it returns. The block is one record that is not in use.
    fn grow_directory(&mut self, dir: &mut Inode) -> Result<u64> {
        let sb = self.sb();
        let (old, new) = (dir.size, dir.size.saturating_add(DIRECTORY_BLOCK));
        if new > sb.bytes() || new > u64::from(u32::MAX) {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        let block = old.wrapping_shr(sb.block_bits);
        if old & sb.block_size().wrapping_sub(1) == 0 {
            self.add_directory_block(dir, block)?;
        } else {
            let had = dir.frags_of(sb, block);
            self.grow_directory_tail(dir, new)?;
            let first = self.place_of(dir, block)?;
            dir.size = new;
            let has = dir.frags_of(sb, block);
            if had < has {
                let count = has.saturating_sub(had);
                self.create_for_names(
                    first.saturating_add(had),
                    count,
                    Place::Record(dir.ino, old),
                )?;
            }
        }
        dir.size = new;
        let form = self.form();
        self.modify_directory(dir, old, Step::Inodes, |data| form.clear(data))?;
        self.store_inode(dir)?;
        Ok(old)
    }

    /// The first fragments of a new block of a directory: one, or all if only whole blocks can be there.
    fn add_directory_block(&mut self, dir: &mut Inode, block: u64) -> Result<()> {
        let ratio = 1_u64.wrapping_shl(self.sb().ratio_bits());
        let goal = self.goal(dir, block)?;
        let leaf = self.leaf(dir, block, goal)?;
        let (frag, count) = if block < number(DIRECT) && ratio > 1 {
            (self.take_frags(goal, 1)?, 1)
        } else {
            (self.take_blocks(goal, 1)?.frag, ratio)
        };
        self.create_for_names(frag, count, Place::Record(dir.ino, dir.size))?;
        self.point(dir, leaf, (block, 1), frag)?;
        self.count_frags(dir, count, true);
        Ok(())
    }

    /// Metadata of an inode gets another place.
    pub(crate) fn move_metadata(&mut self, ino: u64, old: u64, new: u64, count: u64) -> Result<()> {
        let place = Place::Inode(ino);
        for n in 0..count {
            self.create_copy(old.saturating_add(n), new.saturating_add(n), place)?;
        }
        self.forget(old, count)
    }

    /// Takes a name out of a directory.
    pub(crate) fn remove_record(
        &mut self,
        dir: &Inode,
        located: &Located,
        name: &[u8],
    ) -> Result<()> {
        let form = self.form();
        let Located {
            block,
            slot,
            before,
        } = *located;
        dir.room.fetch_min(block, Ordering::Relaxed);
        dir.names.lock().remove(name);
        self.modify_directory(dir, block, Step::Names, |data| match before {
            Some(before) => form.set_len(data, before.at, before.len.saturating_add(slot.len)),
            None => form.set_ino(data, slot.at, 0),
        })
    }

    /// Has a name lead to another inode.
    pub(crate) fn set_record(
        &mut self,
        dir: &Inode,
        located: &Located,
        ino: u64,
        file_type: FileType,
    ) -> Result<()> {
        let form = self.form();
        let at = located.slot.at;
        self.keep_apart(Step::Inodes);
        self.modify_directory(dir, located.block, Step::Names, |data| {
            form.set_ino(data, at, ino);
            form.set_type(data, at, file_type);
        })
    }

    /// The content of a new directory: `.` and `..`.
    pub(crate) fn init_directory(&mut self, dir: &mut Inode, parent: u64) -> Result<()> {
        self.add_directory_block(dir, 0)?;
        dir.size = DIRECTORY_BLOCK;
        let form = self.form();
        let ino = dir.ino;
        self.modify_directory(dir, 0, Step::Inodes, |data| {
            form.clear(data);
            for (name, ino, used) in [(&b"."[..], ino, 0), (b"..", parent, needed(1))] {
                let slot = Slot {
                    at: 0,
                    len: index(DIRECTORY_BLOCK),
                    used,
                    ino,
                };
                let new = NewRecord {
                    name,
                    ino,
                    file_type: FileType::Directory,
                };
                form.insert(data, slot, &new);
            }
        })
    }

    /// Has `..` lead to another directory.
    pub(crate) fn set_parent(&mut self, dir: &Inode, parent: u64) -> Result<()> {
        let wrong = || Error::value(Place::Record(dir.ino, 0), "names ..", 0_u32, "1");
        let located = self.ffs().locate(dir, b"..", 0)?.ok_or_else(wrong)?;
        self.set_record(dir, &located, parent, FileType::Directory)
    }
}

/// How records are written.
#[derive(Clone, Copy)]
struct Form {
    order: Order,
    /// Without types: the length of a name has 16 bits.
    old: bool,
}

impl Form {
    fn set_len(self, data: &mut [u8], at: usize, len: usize) {
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        put(data, at.saturating_add(4), &self.order.bytes_u16(len));
    }

    fn set_ino(self, data: &mut [u8], at: usize, ino: u64) {
        let ino = u32::try_from(ino).unwrap_or(0);
        put(data, at, &self.order.bytes_u32(ino));
    }

    fn set_type(self, data: &mut [u8], at: usize, file_type: FileType) {
        if !self.old {
            put(data, at.saturating_add(6), &[type_bits(file_type)]);
        }
    }

    /// A record that fills the block and is not in use.
    fn clear(self, data: &mut [u8]) {
        data.fill(0);
        self.set_len(data, 0, data.len());
    }

    /// Puts a record behind the bytes that are in use of another.
    fn insert(self, data: &mut [u8], slot: Slot, new: &NewRecord<'_>) {
        let at = slot.at.saturating_add(slot.used);
        let len = slot.len.saturating_sub(slot.used);
        let name_len = u8::try_from(new.name.len()).unwrap_or(u8::MAX);
        let kind_and_len = match (self.old, self.order) {
            (false, _) => [type_bits(new.file_type), name_len],
            (true, Order::Little) => [name_len, 0],
            (true, Order::Big) => [0, name_len],
        };
        self.set_ino(data, at, new.ino);
        self.set_len(data, at, len);
        put(data, at.saturating_add(6), &kind_and_len);
        let name = at.saturating_add(FIXED);
        let end = at.saturating_add(needed(new.name.len()));
        if let Some(room) = data.get_mut(name..end) {
            room.fill(0);
        }
        put(data, name, new.name);
        if slot.used > 0 {
            self.set_len(data, slot.at, slot.used);
        }
    }
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if let Some(to) = data.get_mut(at..end) {
        to.copy_from_slice(bytes);
    }
}
