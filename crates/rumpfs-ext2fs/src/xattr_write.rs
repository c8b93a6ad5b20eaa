//! Changing extended attributes.
//!
//! An attribute goes into the inode if it fits, else into the inode's attribute block, else, with the feature, its value
//! goes into an inode of its own and the entry where there is room. A block that inodes share is left to the others:
//! this one gets a copy. No sharing is looked for.
//!
//! The data of files and directories with inline data is an attribute, too (`system.data`). It stays in the inode whatever
//! else comes and goes, and no name that a caller can give reaches it.

use crate::{
    acl,
    error::{Error, Place, Result},
    features::{Compat, Incompat},
    fs::Ext2fs,
    inode::{FileType, Inode, clamp_time},
    layout::{
        inode::EXT4_GOOD_OLD_INODE_SIZE,
        xattr::{EXT4_XATTR_MAGIC, RawXattrHeader, XATTR_BLOCK_HEADER, XATTR_IBODY_HEADER},
    },
    txn::{MAP_STEP, Txn, Writer},
    types::{FsBlock, InodeNumber, index},
    xattr::{Area, Entry, NameIndex, Value, entry_hash_of_inode},
    xattr_pack::{Home, List, update_block_checksum},
};
use alloc::{borrow::Cow, vec, vec::Vec};
use rumpbio::{BufData, Space, XattrMode};
use rumpuser::{Errno, Timespec};
use zerocopy::FromBytes;

/// Longest value, as system calls allow: Linux's `XATTR_SIZE_MAX`.
pub const SIZE_MAX: usize = 65_536;
/// Longest name after the prefix.
const NAME_MAX: usize = 255;
/// Blocks that a change touches besides values in inodes: the inode, the old and the new block, bitmaps and descriptors of
/// both and of a value's inode, the superblock.
const CREDITS: usize = 24;

/// The areas of an inode as they are stored.
struct Stored {
    /// Bytes for attributes in the inode; empty if it has no room for any.
    inner: Vec<u8>,
    /// The block.
    outer: Option<(Place, BufData)>,
    /// Inodes that use the block; 0 without one.
    references: u32,
    place: Place,
}

impl Stored {
    fn lists(&self) -> Result<(List<'_>, List<'_>)> {
        let inner = match self.inner.split_at_checked(XATTR_IBODY_HEADER) {
            Some((mark, bytes)) if mark == EXT4_XATTR_MAGIC.to_le_bytes() => {
                let area = Area {
                    place: self.place,
                    bytes,
                    first: 0,
                };
                List::of(Home::Inode, &area)?
            }
            _ => List::new(Home::Inode),
        };
        let outer = match &self.outer {
            Some((place, bytes)) => List::of(Home::Block, &Area::block(*place, bytes))?,
            None => List::new(Home::Block),
        };
        Ok((inner, outer))
    }

    /// Whether `list` fits into the inode.
    fn fits(&self, list: &List<'_>) -> bool {
        let room = self.inner.len().saturating_sub(XATTR_IBODY_HEADER);
        list.size() <= room
    }

    /// The bytes of the inode's area with `list` in it. It has to fit.
    fn packed(&self, list: &List<'_>) -> Vec<u8> {
        let mut bytes = vec![0; self.inner.len()];
        if !list.is_empty()
            && let Some((mark, area)) = bytes.split_at_mut_checked(XATTR_IBODY_HEADER)
        {
            mark.copy_from_slice(&EXT4_XATTR_MAGIC.to_le_bytes());
            list.write(area, 0);
        }
        bytes
    }
}

/// What becomes of the areas of an inode.
struct Change {
    /// New bytes for the inode's area.
    inner: Option<Vec<u8>>,
    outer: Outer,
    /// Value inodes that a copy of a shared block refers to as well.
    copied: Vec<InodeNumber>,
    /// Value inodes that an entry less refers to.
    dropped: Option<InodeNumber>,
    /// What values in inodes take of `i_blocks`, before and after.
    charge: (u64, u64),
}

/// What becomes of the block.
enum Outer {
    /// It stays, or there stays none.
    Same,
    /// This inode needs none any more.
    Gone,
    /// It gets this content, whose checksum is not computed yet.
    Content(Vec<u8>),
}

/// The inode that an entry has its value in.
fn value_inode(entry: &Entry<'_>) -> Option<InodeNumber> {
    match entry.value {
        Value::Inode(ino, _) => Some(ino),
        Value::Here(_) => None,
    }
}

/// A block with `list` in it, for one inode, its checksum aside; `None` if it does not fit.
fn packed_block(list: &List<'_>, block_size: usize) -> Option<Vec<u8>> {
    if list.size() > block_size.saturating_sub(XATTR_BLOCK_HEADER) {
        return None;
    }
    let mut bytes = vec![0; block_size];
    list.write_block(1, &mut bytes);
    Some(bytes)
}

impl Ext2fs {
    /// The areas of an inode.
    fn stored_xattrs(&self, inode: &Inode) -> Result<Stored> {
        let mut inner = Vec::new();
        if inode.extra_isize > 0 {
            let (_, location, data) = self.inode_bytes(inode.ino)?;
            let size = usize::from(self.superblock().inode_size);
            let bytes = data.get(location.offset..location.offset.saturating_add(size));
            let area = bytes.and_then(|bytes| bytes.get(inner_start(inode)..));
            inner.extend_from_slice(area.unwrap_or_default());
        }
        let outer = self.xattr_block(inode)?;
        let references = outer.as_ref().map_or(0, |(_, data)| {
            RawXattrHeader::ref_from_prefix(data).map_or(0, |(header, _)| header.h_refcount.get())
        });
        Ok(Stored {
            inner,
            outer,
            references,
            place: Place::InodeXattrs(inode.ino),
        })
    }

    /// Blocks that a change of an inode's attributes touches at most, with a value of `len` bytes to be set.
    ///
    /// # Errors
    /// As [`xattrs`](Self::xattrs).
    pub(crate) fn xattr_credits(&self, inode: &Inode, len: usize) -> Result<usize> {
        if !self.superblock().features.incompat(Incompat::EA_INODE) {
            return Ok(CREDITS);
        }
        let mut values = 0_usize;
        self.xattrs(inode, |entry| {
            values = values.saturating_add(usize::from(value_inode(entry).is_some()));
            true
        })?;
        Ok(CREDITS
            .saturating_add(values)
            .saturating_add(value_credits(self, len)))
    }
}

/// Blocks that setting a value of `len` bytes changes besides the usual.
pub(crate) fn value_credits(fs: &Ext2fs, len: usize) -> usize {
    len.div_ceil(index(fs.block_size()))
}

/// Where the attributes in an inode start.
fn inner_start(inode: &Inode) -> usize {
    usize::from(EXT4_GOOD_OLD_INODE_SIZE).saturating_add(usize::from(inode.extra_isize))
}

/// The stored form of a value that a program gives for an attribute: access control lists have another one. `None`: a list
/// without entries, for which the attribute is removed.
///
/// # Errors
/// `EINVAL` for a list that is none, `EACCES` for a default list of what is no directory, `EOPNOTSUPP` for a list of a
/// symbolic link or of another version.
pub fn stored_value(
    file_type: FileType,
    prefix: NameIndex,
    value: &[u8],
) -> Result<Option<Cow<'_, [u8]>>> {
    if !prefix.is_acl() {
        return Ok(Some(Cow::Borrowed(value)));
    }
    if file_type == FileType::Symlink {
        return Err(Error::Refused(Errno::EOPNOTSUPP));
    }
    if prefix == NameIndex::ACL_DEFAULT && file_type != FileType::Directory {
        return Err(Error::Refused(Errno::EACCES));
    }
    let stored = acl::from_attribute(value)?;
    Ok((stored.len() > 4).then_some(Cow::Owned(stored)))
}

impl Txn<'_> {
    /// Sets an attribute. The caller stores the inode.
    ///
    /// # Errors
    /// `EEXIST` and `ENODATA` by `mode`; `ERANGE` for a name and `E2BIG` for a value too long, `ENOSPC`.
    pub(crate) fn set_xattr(
        &mut self,
        inode: &mut Inode,
        prefix: NameIndex,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Error::Refused(Errno::ERANGE));
        }
        if value.len() > SIZE_MAX {
            return Err(Error::Refused(Errno::E2BIG));
        }
        let stored = self.fs().stored_xattrs(inode)?;
        let (inner, outer) = stored.lists()?;
        let old = inner.find(prefix, name).or(outer.find(prefix, name));
        match (mode, old) {
            (XattrMode::Create, Some(_)) => return Err(Error::Refused(Errno::EEXIST)),
            (XattrMode::Replace, None) => return Err(Error::Refused(Errno::ENODATA)),
            (_, Some(old)) if old.value == Value::Here(value) => return Ok(()),
            _ => {}
        }
        let mut entry = Entry {
            index: prefix,
            name,
            value: Value::Here(value),
            hash: 0,
            offset: 0,
        };
        let change = match self.placed(&stored, entry) {
            Err(Error::Refused(Errno::ENOSPC))
                if self.sb().features.incompat(Incompat::EA_INODE) && !value.is_empty() =>
            {
                let (ino, hash) = self.new_value_inode(inode, value)?;
                entry.value = Value::Inode(ino, u32::try_from(value.len()).unwrap_or(u32::MAX));
                entry.hash = entry_hash_of_inode(name, hash);
                self.placed(&stored, entry)?
            }
            result => result?,
        };
        drop(stored);
        self.note_xattrs()?;
        self.apply_xattrs(inode, change)
    }

    /// Removes an attribute. The caller stores the inode.
    ///
    /// # Errors
    /// `ENODATA` if there is none of that name.
    pub(crate) fn remove_xattr(
        &mut self,
        inode: &mut Inode,
        prefix: NameIndex,
        name: &[u8],
    ) -> Result<()> {
        let stored = self.fs().stored_xattrs(inode)?;
        let (mut inner, mut outer) = stored.lists()?;
        let before = self.charge(&inner, &outer);
        let change = if let Some(old) = inner.remove(prefix, name) {
            Change {
                charge: (before, self.charge(&inner, &outer)),
                inner: Some(stored.packed(&inner)),
                outer: Outer::Same,
                copied: Vec::new(),
                dropped: value_inode(&old),
            }
        } else if let Some(old) = outer.remove(prefix, name) {
            let charge = (before, self.charge(&inner, &outer));
            let (outer, copied) = self.block_of(&stored, &outer)?;
            Change {
                charge,
                inner: None,
                outer,
                copied,
                dropped: value_inode(&old).filter(|_| stored.references == 1),
            }
        } else {
            return Err(Error::Refused(Errno::ENODATA));
        };
        drop(stored);
        self.apply_xattrs(inode, change)
    }

    /// Both areas with `entry` where it fits, and what it replaces taken out.
    ///
    /// # Errors
    /// `ENOSPC`.
    fn placed(&self, stored: &Stored, entry: Entry<'_>) -> Result<Change> {
        let (mut inner, mut outer) = stored.lists()?;
        let own_block = stored.references == 1;
        let before = self.charge(&inner, &outer);
        let mut with = inner.clone();
        let inner_old = with.put(entry);
        if stored.fits(&with) {
            let outer_old = outer.remove(entry.index, entry.name);
            let charge = (before, self.charge(&with, &outer));
            let (outer, copied) = match outer_old {
                Some(_) => self.block_of(stored, &outer)?,
                None => (Outer::Same, Vec::new()),
            };
            let outer_value = outer_old.as_ref().and_then(value_inode);
            return Ok(Change {
                charge,
                inner: Some(stored.packed(&with)),
                outer,
                copied,
                dropped: inner_old
                    .as_ref()
                    .and_then(value_inode)
                    .or(outer_value.filter(|_| own_block)),
            });
        }
        inner.remove(entry.index, entry.name);
        let outer_old = outer.put(entry);
        let charge = (before, self.charge(&inner, &outer));
        let (outer, mut copied) = self.block_of(stored, &outer)?;
        // The inode of the new value counts this entry already.
        copied.retain(|ino| Some(*ino) != value_inode(&entry));
        let outer_value = outer_old.as_ref().and_then(value_inode);
        Ok(Change {
            charge,
            inner: inner_old.map(|_| stored.packed(&inner)),
            outer,
            copied,
            dropped: inner_old
                .as_ref()
                .and_then(value_inode)
                .or(outer_value.filter(|_| own_block)),
        })
    }

    /// The block's future with `list` in it, and the value inodes that a copy refers to.
    fn block_of(&self, stored: &Stored, list: &List<'_>) -> Result<(Outer, Vec<InodeNumber>)> {
        if list.is_empty() {
            return Ok((Outer::Gone, Vec::new()));
        }
        let bytes = packed_block(list, index(self.sb().block_size()))
            .ok_or(Error::Refused(Errno::ENOSPC))?;
        let copied = if stored.references > 1 {
            list.entries().iter().filter_map(value_inode).collect()
        } else {
            Vec::new()
        };
        Ok((Outer::Content(bytes), copied))
    }

    /// What the values in inodes take of the owner's `i_blocks`, in its units: whole clusters each, however many share
    /// them, and besides what the inodes count themselves.
    fn charge(&self, inner: &List<'_>, outer: &List<'_>) -> u64 {
        let sb = self.sb();
        let cluster = u64::from(sb.block_size()).wrapping_shl(sb.cluster_bits);
        let entries = inner.entries().iter().chain(outer.entries());
        entries.fold(0, |sum: u64, entry| match entry.value {
            Value::Inode(_, len) => {
                let clusters = u64::from(len).div_ceil(cluster);
                sum.saturating_add(clusters.saturating_mul(self.metadata_sectors()))
            }
            Value::Here(_) => sum,
        })
    }

    /// Says in the superblock that there are attributes.
    fn note_xattrs(&mut self) -> Result<()> {
        let bit = Compat::EXT_ATTR.bits();
        if self.sb().features.compat(Compat::EXT_ATTR)
            || self
                .fs()
                .with_superblock(|raw| raw.s_feature_compat.get() & bit != 0)?
        {
            return Ok(());
        }
        self.modify_superblock(|raw| {
            let features = raw.s_feature_compat.get() | bit;
            raw.s_feature_compat.set(features);
        })
    }

    /// Makes a change.
    fn apply_xattrs(&mut self, inode: &mut Inode, change: Change) -> Result<()> {
        if let Some(inner) = change.inner {
            inode.has_inode_xattrs = inner.starts_with(&EXT4_XATTR_MAGIC.to_le_bytes());
            let start = inner_start(inode);
            self.modify_inode_bytes(inode.ino, |bytes| {
                if let Some(area) = bytes.get_mut(start..start.saturating_add(inner.len())) {
                    area.copy_from_slice(&inner);
                }
            })?;
        }
        for ino in change.copied {
            self.count_value(inode, ino, 1)?;
        }
        let (before, after) = change.charge;
        inode.blocks_512 = inode
            .blocks_512
            .saturating_add(after)
            .saturating_sub(before);
        match change.outer {
            Outer::Same => {}
            Outer::Gone => self.leave_xattr_block(inode)?,
            Outer::Content(bytes) => self.store_xattr_block(inode, bytes)?,
        }
        match change.dropped {
            Some(ino) => self.count_value(inode, ino, -1),
            None => Ok(()),
        }
    }

    /// Writes the attribute block: a new one if there is none or others share it.
    fn store_xattr_block(&mut self, inode: &mut Inode, mut bytes: Vec<u8>) -> Result<()> {
        if self.xattr_references(inode)? > 1 {
            self.leave_xattr_block(inode)?;
        }
        let buf = if inode.file_acl.0 == 0 {
            let goal = self.inode_goal(inode.ino, false);
            let (block, buf) = self.allocate_metadata(goal)?;
            self.check_file_acl(block)?;
            inode.file_acl = block;
            inode.blocks_512 = inode.blocks_512.saturating_add(self.metadata_sectors());
            buf
        } else {
            let place = Place::XattrBlock(inode.ino, inode.file_acl);
            self.fs().read(inode.file_acl, place)?
        };
        update_block_checksum(self.sb(), inode.file_acl, &mut bytes);
        self.modify(&buf, |to| {
            to.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        });
        Ok(())
    }

    /// Whether `i_file_acl` can hold a block's number: 32 bits without 64bit, else 48.
    fn check_file_acl(&self, block: FsBlock) -> Result<()> {
        let bits = if self.sb().features.incompat(Incompat::BIT64) {
            48
        } else {
            32
        };
        if block.0 >> bits != 0 {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        Ok(())
    }

    /// How many inodes use the inode's attribute block; 0 without one.
    fn xattr_references(&self, inode: &Inode) -> Result<u32> {
        Ok(self.fs().xattr_block(inode)?.map_or(0, |(_, data)| {
            RawXattrHeader::ref_from_prefix(&data).map_or(0, |(header, _)| header.h_refcount.get())
        }))
    }

    /// Ends an inode's use of its attribute block, which is freed with its last user.
    fn leave_xattr_block(&mut self, inode: &mut Inode) -> Result<()> {
        let references = self.xattr_references(inode)?;
        let block = inode.file_acl;
        match references {
            0 => return Ok(()),
            1 => self.free_metadata(block)?,
            _ => {
                let sb = self.sb();
                let buf = self.fs().read(block, Place::XattrBlock(inode.ino, block))?;
                self.modify(&buf, |bytes| {
                    if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(bytes) {
                        header.h_refcount.set(references.saturating_sub(1));
                    }
                    update_block_checksum(sb, block, bytes);
                });
            }
        }
        inode.file_acl = FsBlock(0);
        inode.blocks_512 = inode.blocks_512.saturating_sub(self.metadata_sectors());
        Ok(())
    }

    /// Takes all attributes of an inode away that is being deleted, until the transaction has grown. Returns whether all
    /// are gone. The caller stores the inode.
    ///
    /// # Errors
    /// What is wrong with an area: then nothing of it is freed.
    pub(crate) fn release_xattrs(&mut self, inode: &mut Inode) -> Result<bool> {
        if !self.sb().features.incompat(Incompat::EA_INODE) {
            self.leave_xattr_block(inode)?;
            return Ok(true);
        }
        let stored = self.fs().stored_xattrs(inode)?;
        let (mut inner, mut outer) = stored.lists()?;
        // Where others use the block, they go on using its values.
        let own_block = stored.references == 1;
        let mut values: Vec<_> = inner.entries().iter().filter_map(value_inode).collect();
        if own_block {
            values.extend(outer.entries().iter().filter_map(value_inode));
        }
        let mut released = 0_usize;
        for ino in &values {
            if self.changed() >= MAP_STEP {
                break;
            }
            self.count_value(inode, *ino, -1)?;
            released = released.saturating_add(1);
        }
        if released == values.len() {
            drop(stored);
            self.leave_xattr_block(inode)?;
            return Ok(true);
        }
        let before = self.charge(&inner, &outer);
        let inner_released = inner.drop_values(released);
        let outer_released = outer.drop_values(released.saturating_sub(inner_released));
        let change = Change {
            charge: (before, self.charge(&inner, &outer)),
            inner: (inner_released > 0).then(|| stored.packed(&inner)),
            outer: if outer_released > 0 {
                self.block_of(&stored, &outer)?.0
            } else {
                Outer::Same
            },
            copied: Vec::new(),
            dropped: None,
        };
        drop(stored);
        self.apply_xattrs(inode, change)?;
        Ok(false)
    }
}

impl Writer {
    /// Sets an extended attribute, its value as it is stored.
    ///
    /// # Errors
    /// `EOPNOTSUPP` on a volume of the first revision, which has none; `EEXIST` and `ENODATA` by `mode`; `ERANGE`,
    /// `E2BIG`, `ENOSPC`; what is wrong with the volume.
    pub fn set_xattr(
        &self,
        inode: &mut Inode,
        (index, name): (NameIndex, &[u8]),
        value: &[u8],
        mode: XattrMode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        if self.fs().superblock().rev_level == 0 {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        let credits = self.fs().xattr_credits(inode, value.len())?;
        self.run_on(credits, time, inode, |txn, inode| {
            txn.space = space;
            txn.set_xattr(inode, index, name, value, mode)?;
            inode.ctime = clamp_time(inode, time);
            txn.store_inode(inode)
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; what is wrong with the volume.
    pub fn remove_xattr(
        &self,
        inode: &mut Inode,
        (index, name): (NameIndex, &[u8]),
        time: Timespec,
    ) -> Result<()> {
        let credits = self.fs().xattr_credits(inode, 0)?;
        self.run_on(credits, time, inode, |txn, inode| {
            txn.remove_xattr(inode, index, name)?;
            inode.ctime = clamp_time(inode, time);
            txn.store_inode(inode)
        })
    }
}
