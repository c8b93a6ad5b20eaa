//! Changing extended attributes.
//!
//! An attribute goes into the inode if it fits, else into the inode's attribute block, else, with the feature, its value
//! goes into an inode of its own. A block that inodes share is copied before it is changed.

use crate::{
    error::{Error, Place, Result},
    extents_write::empty_root,
    features::Incompat,
    fs::Ext2fs,
    inode::{FileType, Inode, InodeFlags},
    layout::{
        inode::{EXT4_GOOD_OLD_INODE_SIZE, I_BLOCK_SIZE, RawInode},
        xattr::{
            EXT4_XATTR_MAGIC, RawXattrEntry, RawXattrHeader, XATTR_BLOCK_HEADER,
            XATTR_ENTRY_HEADER, XATTR_IBODY_HEADER,
        },
    },
    map_write::Purpose,
    txn::Txn,
    types::{FileBlock, FsBlock, InodeNumber, index, number},
    xattr::{
        Area, Entry, NameIndex, Value, block_checksum, entry_hash, entry_hash_of_inode, entry_size,
        value_hash, value_size,
    },
};
use alloc::vec::Vec;
use rumpuser::{Errno, Timespec};
use zerocopy::{FromBytes, IntoBytes};

/// Longest value, as system calls allow: Linux's `XATTR_SIZE_MAX`.
const VALUE_MAX: usize = 65_536;
/// Longest name after the prefix.
const NAME_MAX: usize = 255;

/// Where a value is to be, or is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    Here(Vec<u8>),
    /// Inode, length of the value, the entry's hash.
    Inode(InodeNumber, u32, u32),
}

/// An attribute in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    index: NameIndex,
    name: Vec<u8>,
    value: Kept,
}

impl Attribute {
    fn of(entry: &Entry<'_>) -> Self {
        Self {
            index: entry.index,
            name: entry.name.to_vec(),
            value: match entry.value {
                Value::Here(bytes) => Kept::Here(bytes.to_vec()),
                Value::Inode(ino, len) => Kept::Inode(ino, len, entry.hash),
            },
        }
    }

    fn is(&self, index: NameIndex, name: &[u8]) -> bool {
        self.index == index && self.name == name
    }

    /// Bytes that it takes in an area.
    fn size(&self) -> usize {
        let value = match &self.value {
            Kept::Here(bytes) => value_size(bytes.len()),
            Kept::Inode(..) => 0,
        };
        entry_size(self.name.len()).saturating_add(value)
    }
}

/// Bytes that attributes take in an area, its end mark included.
fn total(attributes: &[Attribute]) -> usize {
    attributes
        .iter()
        .fold(4, |sum, attribute| sum.saturating_add(attribute.size()))
}

/// Lays attributes out in `area`: entries from `first` on, values from the end back. With `hashes`, entries whose value
/// is beside them get its hash, as in blocks.
fn lay_out(area: &mut [u8], first: usize, attributes: &[Attribute], hashes: bool) {
    if let Some(rest) = area.get_mut(first..) {
        rest.fill(0);
    }
    let (mut at, mut end) = (first, area.len());
    for attribute in attributes {
        let (inum, size, offset, hash) = match &attribute.value {
            Kept::Inode(ino, len, hash) => (ino.0, *len, 0, *hash),
            Kept::Here(value) => {
                if !value.is_empty() {
                    end = end.saturating_sub(value_size(value.len()));
                    let stop = end.saturating_add(value.len());
                    if let Some(to) = area.get_mut(end..stop) {
                        to.copy_from_slice(value);
                    }
                }
                let offset = if value.is_empty() { 0 } else { end };
                let hash = if hashes {
                    entry_hash(&attribute.name, value)
                } else {
                    0
                };
                let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
                (0, size, offset, hash)
            }
        };
        let raw = RawXattrEntry {
            e_name_len: u8::try_from(attribute.name.len()).unwrap_or(u8::MAX),
            e_name_index: attribute.index.0,
            e_value_offs: u16::try_from(offset).unwrap_or(u16::MAX).into(),
            e_value_inum: inum.into(),
            e_value_size: size.into(),
            e_hash: hash.into(),
        };
        let name_at = at.saturating_add(XATTR_ENTRY_HEADER);
        if let Some(to) = area.get_mut(at..name_at) {
            to.copy_from_slice(raw.as_bytes());
        }
        if let Some(to) = area.get_mut(name_at..name_at.saturating_add(attribute.name.len())) {
            to.copy_from_slice(&attribute.name);
        }
        at = at.saturating_add(entry_size(attribute.name.len()));
    }
}

/// `h_hash`: of all entries' hashes; 0, "do not share", if one has none.
fn block_hash(block: &[u8], attributes: &[Attribute]) -> u32 {
    let mut at = XATTR_BLOCK_HEADER;
    let mut hash = 0_u32;
    for attribute in attributes {
        let Some(Ok((raw, _))) = block.get(at..).map(RawXattrEntry::ref_from_prefix) else {
            return 0;
        };
        if raw.e_hash.get() == 0 {
            return 0;
        }
        hash = hash.rotate_left(16) ^ raw.e_hash.get();
        at = at.saturating_add(entry_size(attribute.name.len()));
    }
    hash
}

impl Ext2fs {
    /// Bytes for attributes in the inode, behind the mark; 0 if it cannot have any.
    fn inode_area_len(&self, inode: &Inode) -> usize {
        if inode.extra_isize == 0 {
            return 0;
        }
        usize::from(self.superblock().inode_size)
            .saturating_sub(usize::from(EXT4_GOOD_OLD_INODE_SIZE))
            .saturating_sub(usize::from(inode.extra_isize))
            .saturating_sub(XATTR_IBODY_HEADER)
    }

    /// The attributes in the inode.
    fn attributes_in_inode(&self, inode: &Inode) -> Result<Vec<Attribute>> {
        let (_, location, data) = self.inode_bytes(inode.ino)?;
        let size = usize::from(self.superblock().inode_size);
        let bytes = data
            .get(location.offset..location.offset.saturating_add(size))
            .unwrap_or_default();
        match Area::inode(inode, bytes) {
            Some(area) => area
                .entries()
                .map(|entry| entry.map(|entry| Attribute::of(&entry)))
                .collect(),
            None => Ok(Vec::new()),
        }
    }

    /// The attributes in the block.
    fn attributes_in_block(&self, inode: &Inode) -> Result<Vec<Attribute>> {
        match self.xattr_block(inode)? {
            Some((place, data)) => Area::block(place, &data)
                .entries()
                .map(|entry| entry.map(|entry| Attribute::of(&entry)))
                .collect(),
            None => Ok(Vec::new()),
        }
    }
}

/// How an attribute is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetMode {
    /// Make or replace.
    Set,
    /// Make; `EEXIST` if it is there.
    Create,
    /// Replace; `ENOATTR` if it is not there.
    Replace,
}

/// Blocks that setting a value of `len` bytes changes beside the usual.
pub(crate) fn value_credits(fs: &Ext2fs, len: usize) -> usize {
    len.checked_div(index(fs.block_size())).unwrap_or(0)
}

impl Txn<'_> {
    /// Sets an attribute. The caller stores the inode.
    ///
    /// # Errors
    /// `EEXIST` and `ENODATA` by `mode`; `ERANGE` for a name and `E2BIG` for a value too long, `ENOSPC`.
    pub(crate) fn set_xattr(
        &mut self,
        inode: &mut Inode,
        name_index: NameIndex,
        name: &[u8],
        value: &[u8],
        mode: SetMode,
    ) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Error::Refused(Errno::ERANGE));
        }
        if value.len() > VALUE_MAX {
            return Err(Error::Refused(Errno::E2BIG));
        }
        let mut inner = self.fs().attributes_in_inode(inode)?;
        let mut outer = self.fs().attributes_in_block(inode)?;
        let old = take(&mut inner, name_index, name).or_else(|| take(&mut outer, name_index, name));
        match (mode, &old) {
            (SetMode::Create, Some(_)) => return Err(Error::Refused(Errno::EEXIST)),
            (SetMode::Replace, None) => return Err(Error::Refused(Errno::ENODATA)),
            _ => {}
        }
        let had_block = inode.file_acl.0 != 0;
        let mut new = Attribute {
            index: name_index,
            name: name.to_vec(),
            value: Kept::Here(value.to_vec()),
        };
        let inside = self.fs().inode_area_len(inode);
        let outside = index(self.sb().block_size()).saturating_sub(XATTR_BLOCK_HEADER);
        let fits = |list: &[Attribute], new: &Attribute, room: usize| {
            total(list).saturating_add(new.size()) <= room
        };
        if !fits(&inner, &new, inside) && !fits(&outer, &new, outside) {
            if !self.sb().features.incompat(Incompat::EA_INODE) {
                return Err(Error::Refused(Errno::ENOSPC));
            }
            let (ino, hash) = self.new_value_inode(inode, value)?;
            let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
            new.value = Kept::Inode(ino, len, entry_hash_of_inode(name, hash));
        }
        let mut change_block = had_block;
        if fits(&inner, &new, inside) {
            inner.push(new);
        } else if fits(&outer, &new, outside) {
            outer.push(new);
            change_block = true;
        } else {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        self.store_attributes(inode, &inner, change_block.then_some(outer))?;
        self.drop_value(old)
    }

    /// Removes an attribute. The caller stores the inode.
    ///
    /// # Errors
    /// `ENODATA` if there is none of that name.
    pub(crate) fn remove_xattr(
        &mut self,
        inode: &mut Inode,
        name_index: NameIndex,
        name: &[u8],
    ) -> Result<()> {
        let mut inner = self.fs().attributes_in_inode(inode)?;
        let mut outer = self.fs().attributes_in_block(inode)?;
        let old = take(&mut inner, name_index, name);
        let (old, outer) = match old {
            Some(old) => (Some(old), None),
            None => (take(&mut outer, name_index, name), Some(outer)),
        };
        if old.is_none() {
            return Err(Error::Refused(Errno::ENODATA));
        }
        self.store_attributes(inode, &inner, outer)?;
        self.drop_value(old)
    }

    /// Writes the attributes of an inode: those in the inode, and those in the block if they changed.
    fn store_attributes(
        &mut self,
        inode: &mut Inode,
        inner: &[Attribute],
        outer: Option<Vec<Attribute>>,
    ) -> Result<()> {
        let start =
            usize::from(EXT4_GOOD_OLD_INODE_SIZE).saturating_add(usize::from(inode.extra_isize));
        if self.fs().inode_area_len(inode) > 0 {
            inode.has_inode_xattrs = !inner.is_empty();
            self.modify_inode_bytes(inode.ino, |bytes| {
                let Some(area) = bytes.get_mut(start..) else {
                    return;
                };
                area.fill(0);
                let Some((mark, area)) = area.split_at_mut_checked(XATTR_IBODY_HEADER) else {
                    return;
                };
                if !inner.is_empty() {
                    mark.copy_from_slice(&EXT4_XATTR_MAGIC.to_le_bytes());
                    lay_out(area, 0, inner, false);
                }
            })?;
        }
        match outer {
            Some(outer) => self.store_xattr_block(inode, outer),
            None => Ok(()),
        }
    }

    /// Writes the attribute block: a new one if there is none or others share it; none if nothing is left.
    fn store_xattr_block(&mut self, inode: &mut Inode, mut outer: Vec<Attribute>) -> Result<()> {
        if outer.is_empty() {
            return self.leave_xattr_block(inode);
        }
        outer.sort_by(|a, b| {
            (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name))
        });
        if self.xattr_references(inode)? > 1 {
            // The copy refers to the same value inodes.
            for attribute in &outer {
                if let Kept::Inode(ino, ..) = attribute.value {
                    self.count_value(ino, 1)?;
                }
            }
            self.leave_xattr_block(inode)?;
        }
        let (block, buf) = if inode.file_acl.0 == 0 {
            let goal = self.inode_goal(inode.ino, false);
            let (block, buf) = self.allocate_metadata(goal)?;
            inode.file_acl = block;
            inode.blocks_512 = inode.blocks_512.saturating_add(self.metadata_sectors());
            (block, buf)
        } else {
            let block = inode.file_acl;
            let place = Place::XattrBlock(inode.ino, block);
            (block, self.fs().read(block, place)?)
        };
        let sb = self.sb();
        self.modify(&buf, |bytes| {
            lay_out(bytes, XATTR_BLOCK_HEADER, &outer, true);
            let hash = block_hash(bytes, &outer);
            if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(bytes) {
                header.h_magic.set(EXT4_XATTR_MAGIC);
                header.h_refcount.set(1);
                header.h_blocks.set(1);
                header.h_hash.set(hash);
            }
            store_block_checksum(sb, block, bytes);
        });
        Ok(())
    }

    /// How many inodes share the inode's attribute block; 0 without one.
    fn xattr_references(&self, inode: &Inode) -> Result<u32> {
        Ok(self.fs().xattr_block(inode)?.map_or(0, |(_, data)| {
            RawXattrHeader::ref_from_prefix(&data).map_or(0, |(header, _)| header.h_refcount.get())
        }))
    }

    /// Ends an inode's use of its attribute block, which is freed with its last user.
    fn leave_xattr_block(&mut self, inode: &mut Inode) -> Result<()> {
        let references = self.xattr_references(inode)?;
        let block = inode.file_acl;
        if references == 0 {
            return Ok(());
        }
        if references == 1 {
            self.free_metadata(block)?;
        } else {
            let sb = self.sb();
            let buf = self.fs().read(block, Place::XattrBlock(inode.ino, block))?;
            self.modify(&buf, |bytes| {
                if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(bytes) {
                    header.h_refcount.set(references.saturating_sub(1));
                }
                store_block_checksum(sb, block, bytes);
            });
        }
        inode.file_acl = FsBlock(0);
        inode.blocks_512 = inode.blocks_512.saturating_sub(self.metadata_sectors());
        Ok(())
    }

    /// Frees all attributes of an inode that is being deleted.
    pub(crate) fn release_xattrs(&mut self, inode: &mut Inode) -> Result<()> {
        let mut values: Vec<Attribute> = Vec::new();
        if self.sb().features.incompat(Incompat::EA_INODE) {
            values = self.fs().attributes_in_inode(inode)?;
            if self.xattr_references(inode)? == 1 {
                values.extend(self.fs().attributes_in_block(inode)?);
            }
        }
        self.leave_xattr_block(inode)?;
        for value in values {
            self.drop_value(Some(value))?;
        }
        Ok(())
    }

    /// An inode that holds a value, referred to once. Returns it and the value's hash.
    fn new_value_inode(&mut self, owner: &Inode, value: &[u8]) -> Result<(InodeNumber, u32)> {
        let ino = self.allocate_inode(owner, false)?;
        let mut inode = self.new_inode(ino, FileType::Regular, 0o600)?;
        inode.uid = owner.uid;
        inode.gid = owner.gid;
        inode.links = 1;
        inode.size = number(value.len());
        inode.flags = InodeFlags::EA_INODE;
        if self.sb().features.incompat(Incompat::EXTENTS) {
            inode.flags |= InodeFlags::EXTENTS;
        }
        inode.block = self.initial_map(inode.flags);
        let hash = value_hash(self.sb(), value);
        inode.atime = Timespec::from_secs(i64::from(hash));
        inode.ctime = Timespec::from_secs(0);
        inode.version = 1;
        self.write_content(&mut inode, value)?;
        self.store_inode(&inode)?;
        Ok((ino, hash))
    }

    /// Writes the content of a file whose blocks go through the journal: a value, the target of a symbolic link.
    pub(crate) fn write_content(&mut self, inode: &mut Inode, content: &[u8]) -> Result<()> {
        let size = index(self.sb().block_size());
        let blocks = u32::try_from(content.len().div_ceil(size)).unwrap_or(u32::MAX);
        let mut done = 0_u32;
        while done < blocks {
            let mut pieces: Vec<(FileBlock, FsBlock, u32)> = Vec::new();
            let left = blocks.saturating_sub(done);
            let at = FileBlock(done);
            let n = self.place_blocks(inode, at, left, Purpose::Write, &mut |at, block, len| {
                pieces.push((at, block, len));
            })?;
            for (at, block, len) in pieces {
                for n in 0..len {
                    let from = index(at.0.saturating_add(n)).saturating_mul(size);
                    let part = content
                        .get(from..)
                        .map(|rest| rest.get(..size).unwrap_or(rest))
                        .unwrap_or_default();
                    let buf = self.create(FsBlock(block.0.saturating_add(u64::from(n))))?;
                    self.modify(&buf, |bytes| {
                        for (to, from) in bytes.iter_mut().zip(part) {
                            *to = *from;
                        }
                    });
                }
            }
            done = done.saturating_add(n);
        }
        Ok(())
    }

    /// Ends an entry's use of a value inode, if it has one.
    fn drop_value(&mut self, attribute: Option<Attribute>) -> Result<()> {
        match attribute.map(|attribute| attribute.value) {
            Some(Kept::Inode(ino, ..)) => self.count_value(ino, -1),
            _ => Ok(()),
        }
    }

    /// Changes the number of entries that refer to a value inode; frees it with the last.
    fn count_value(&mut self, ino: InodeNumber, change: i64) -> Result<()> {
        let references = self.fs().xattr_inode_references(ino)?;
        let references = references.saturating_add_signed(change);
        let mut inode = self.fs().inode(ino)?;
        if !inode.flags.contains(InodeFlags::EA_INODE) {
            return Err(Error::words(
                Place::XattrInode(ino),
                "i_flags",
                inode.flags.bits(),
                "a regular file with EA_INODE",
            ));
        }
        if references == 0 {
            // 64 KiB at most: a transaction has room for that.
            self.remove_blocks(&mut inode, 0, u64::MAX, usize::MAX)?;
            return self.erase_inode(&mut inode);
        }
        let [a, b, c, d, e, f, g, h] = references.to_le_bytes();
        self.modify_inode_bytes(ino, |bytes| {
            if let Ok((raw, _)) = RawInode::mut_from_prefix(bytes) {
                raw.l_i_version.set(u32::from_le_bytes([a, b, c, d]));
                raw.i_ctime.set(u32::from_le_bytes([e, f, g, h]));
            }
        })
    }

    /// `i_block` of an empty file with these flags.
    pub(crate) fn initial_map(&self, flags: InodeFlags) -> [u8; I_BLOCK_SIZE] {
        if flags.contains(InodeFlags::EXTENTS) {
            empty_root()
        } else {
            [0; I_BLOCK_SIZE]
        }
    }

    /// Takes the inline data of an inode away and gives it an empty map.
    pub(crate) fn drop_inline_data(&mut self, inode: &mut Inode) -> Result<()> {
        let mut inner = self.fs().attributes_in_inode(inode)?;
        take(&mut inner, NameIndex::SYSTEM, crate::inline::DATA_NAME);
        self.store_attributes(inode, &inner, None)?;
        inode.flags.remove(InodeFlags::INLINE_DATA);
        if self.sb().features.incompat(Incompat::EXTENTS) {
            inode.flags.insert(InodeFlags::EXTENTS);
        }
        inode.block = self.initial_map(inode.flags);
        Ok(())
    }

    /// Changes the part of inline data that is behind `i_block`, if there is one.
    pub(crate) fn modify_inline_rest(
        &mut self,
        inode: &Inode,
        f: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let start = usize::from(EXT4_GOOD_OLD_INODE_SIZE)
            .saturating_add(usize::from(inode.extra_isize))
            .saturating_add(XATTR_IBODY_HEADER);
        let (_, location, data) = self.fs().inode_bytes(inode.ino)?;
        let size = usize::from(self.sb().inode_size);
        let bytes = data
            .get(location.offset..location.offset.saturating_add(size))
            .unwrap_or_default();
        let Some(area) = Area::inode(inode, bytes) else {
            return Ok(());
        };
        let found = area
            .find(NameIndex::SYSTEM, crate::inline::DATA_NAME)?
            .and_then(|entry| {
                let raw = area.bytes.get(entry.offset..)?;
                let (raw, _) = RawXattrEntry::ref_from_prefix(raw).ok()?;
                Some((usize::from(raw.e_value_offs.get()), entry.value_len()))
            });
        drop(data);
        let Some((offset, len)) = found.filter(|(_, len)| *len > 0) else {
            return Ok(());
        };
        let at = start.saturating_add(offset);
        self.modify_inode_bytes(inode.ino, |bytes| {
            if let Some(value) = bytes.get_mut(at..at.saturating_add(len)) {
                f(value);
            }
        })
    }
}

/// Takes an attribute out of a list.
fn take(list: &mut Vec<Attribute>, index: NameIndex, name: &[u8]) -> Option<Attribute> {
    let at = list
        .iter()
        .position(|attribute| attribute.is(index, name))?;
    Some(list.remove(at))
}

fn store_block_checksum(sb: &crate::superblock::Superblock, block: FsBlock, bytes: &mut [u8]) {
    if let Some(checksum) = block_checksum(sb, block, bytes)
        && let Ok((header, _)) = RawXattrHeader::mut_from_prefix(bytes)
    {
        header.h_checksum.set(checksum);
    }
}
