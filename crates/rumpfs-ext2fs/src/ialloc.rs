//! Allocating and freeing inodes.
//!
//! A file goes into its directory's group, or the next with room. A directory at the top goes where there are few
//! directories and more room than on average (as Orlov proposed for FFS), others near their parent as long as there is
//! some room.

use crate::{
    balloc::free_blocks,
    error::{Error, Expected, Place, Result},
    features::Incompat,
    groups::{GroupDesc, GroupFlags},
    inode::{Inode, InodeFlags},
    txn::{Txn, bitmap_checksum},
    types::{FsBlock, GroupNumber, InodeNumber, index},
};
use rumpbio::{Buf, bitmap};
use rumpuser::Errno;

/// A group with fewer free inodes than this part of all gets no more directories while others have more.
const DIR_ROOM: u32 = 16;
/// Groups in a row that are looked at for a new directory, and as many others if none of them has room: a volume of
/// 16 TiB has 131,072.
const DIR_SCAN: u32 = 1024;

impl Txn<'_> {
    /// The group's inode bitmap, made if the group was never used, and checked.
    fn inode_bitmap(&mut self, group: GroupNumber, desc: &mut GroupDesc) -> Result<Buf> {
        let sb = self.sb();
        let bits = sb.inodes_per_group;
        if desc.flags.contains(GroupFlags::INODE_UNINIT) {
            let buf = self.create(desc.inode_bitmap)?;
            let all = sb.block_size().saturating_mul(8);
            self.modify(&buf, |map| bitmap::fill(map, bits..all, true));
            desc.flags.remove(GroupFlags::INODE_UNINIT);
            self.store_group(group, desc)?;
            self.inode_bitmap_changed(group);
            return Ok(buf);
        }
        let place = Place::InodeBitmap(group);
        let buf = self.fs().read(desc.inode_bitmap, place)?;
        if buf.verified() {
            return Ok(buf);
        }
        let map = buf.data();
        if sb.features.metadata_csum() {
            let mut computed = bitmap_checksum(sb, &map, bits);
            if sb.desc_size < 64 {
                computed &= 0xFFFF;
            }
            if computed != desc.inode_bitmap_csum {
                return Err(Error::Checksum {
                    place,
                    stored: desc.inode_bitmap_csum,
                    computed,
                });
            }
        }
        let free = bitmap::count(&map, false, bits);
        if free != desc.free_inodes {
            return Err(Error::value(
                Place::GroupDescriptor(group),
                "bg_free_inodes_count",
                desc.free_inodes,
                Expected::Exactly(u64::from(free)),
            ));
        }
        buf.set_verified();
        Ok(buf)
    }

    /// Allocates an inode near `parent`. Its slot in the table is filled with zeros.
    ///
    /// # Errors
    /// `ENOSPC`; what is wrong with the first bad group if all groups that could have had one are bad.
    pub(crate) fn allocate_inode(&mut self, parent: &Inode, dir: bool) -> Result<InodeNumber> {
        let start = if dir {
            self.directory_group(parent)?
        } else {
            self.parent_group(parent)
        };
        let mut first_error = None;
        let mut passed_over = false;
        if let Some(ino) = self.search_groups(start, dir, &mut first_error, &mut passed_over)? {
            return Ok(ino);
        }
        if passed_over {
            // They may have room all the same: the transaction that took the last inode of one may have been undone.
            self.writer().notes.lock().forget_full_inodes();
            if let Some(ino) = self.search_groups(start, dir, &mut first_error, &mut passed_over)? {
                return Ok(ino);
            }
        }
        Err(first_error.unwrap_or(Error::Refused(Errno::ENOSPC)))
    }

    /// Allocates an inode in `start` or the next group that has one. Those that are known to be full are passed over; `first_error` gets
    /// what is wrong with the first bad one.
    fn search_groups(
        &mut self,
        start: GroupNumber,
        dir: bool,
        first_error: &mut Option<Error>,
        passed_over: &mut bool,
    ) -> Result<Option<InodeNumber>> {
        let groups = self.sb().groups;
        let mut step = 0_u32;
        while step < groups {
            let number = u64::from(start.0).saturating_add(u64::from(step));
            let number = number.checked_rem(u64::from(groups)).unwrap_or(0);
            let group = GroupNumber(u32::try_from(number).unwrap_or(0));
            let full = self.writer().notes.lock().full_inodes(group);
            if full > 0 {
                *passed_over = true;
                step = step.saturating_add(full);
                continue;
            }
            step = step.saturating_add(1);
            match self.allocate_inode_in(group, dir) {
                Ok(None) => {}
                Err(error) if error.is_corruption() => {
                    // What cannot be read now may be readable later: only what is wrong stays out of use.
                    if !matches!(error, Error::Device(..)) {
                        self.writer().notes.lock().bad_inodes.insert(group);
                    }
                    self.count_error(&error)?;
                    first_error.get_or_insert(error);
                }
                found => return found,
            }
        }
        Ok(None)
    }

    fn parent_group(&self, parent: &Inode) -> GroupNumber {
        self.sb()
            .inode_group(parent.ino)
            .map_or(GroupNumber(0), |(group, _)| group)
    }

    /// The group for a new directory.
    fn directory_group(&mut self, parent: &Inode) -> Result<GroupNumber> {
        let sb = self.sb();
        let parent_group = self.parent_group(parent);
        let top = parent.ino == InodeNumber::ROOT || parent.flags.contains(InodeFlags::TOPDIR);
        if !top && let Ok(desc) = self.fs().group(parent_group) {
            let some = sb.inodes_per_group / DIR_ROOM;
            let blocks = sb.clusters_per_group / DIR_ROOM;
            if desc.free_inodes > some && desc.free_blocks > blocks {
                return Ok(parent_group);
            }
        }
        let wide = sb.features.incompat(Incompat::BIT64);
        let (free_inodes, free_blocks) = self.fs().with_superblock(|raw| {
            let free = u64::from(raw.s_free_inodes_count.get());
            (free, free_blocks(raw, wide))
        })?;
        let groups = u64::from(sb.groups);
        let free_clusters = free_blocks.wrapping_shr(sb.cluster_bits);
        let (mean_inodes, mean_clusters) = (
            free_inodes.checked_div(groups).unwrap_or(0),
            free_clusters.checked_div(groups).unwrap_or(0),
        );
        let start = if top { self.random() } else { parent_group.0 };
        let mut best: Option<(u32, GroupNumber)> = None;
        for step in 0..sb.groups.min(DIR_SCAN.saturating_mul(2)) {
            // What is near first, then here and there.
            let step = if step < DIR_SCAN {
                step
            } else if best.is_none() {
                self.random()
            } else {
                break;
            };
            let number = u64::from(start).saturating_add(u64::from(step));
            let number = number.checked_rem(groups).unwrap_or(0);
            let group = GroupNumber(u32::try_from(number).unwrap_or(0));
            let Ok(desc) = self.fs().group(group) else {
                continue;
            };
            let room = u64::from(desc.free_inodes) >= mean_inodes.max(1)
                && u64::from(desc.free_blocks) >= mean_clusters;
            if room && best.is_none_or(|(dirs, _)| desc.used_dirs < dirs) {
                best = Some((desc.used_dirs, group));
                if desc.used_dirs == 0 || !top {
                    break;
                }
            }
        }
        Ok(best.map_or(parent_group, |(_, group)| group))
    }

    fn allocate_inode_in(&mut self, group: GroupNumber, dir: bool) -> Result<Option<InodeNumber>> {
        let sb = self.sb();
        let hint = {
            let notes = self.writer().notes.lock();
            if notes.bad_inodes.contains(&group) {
                return Ok(None);
            }
            notes.last_inode.get(&group).copied().unwrap_or(0)
        };
        let mut desc = self.fs().group(group)?;
        if desc.free_inodes == 0 {
            self.writer().notes.lock().set_full_inodes(group, true);
            return Ok(None);
        }
        let buf = self.inode_bitmap(group, &mut desc)?;
        let map = buf.data();
        let per_group = sb.inodes_per_group;
        // Numbers below the first are never given out.
        let base = u64::from(group.0).saturating_mul(u64::from(per_group));
        let least = u64::from(sb.first_ino).saturating_sub(1);
        let least = u32::try_from(least.saturating_sub(base)).unwrap_or(u32::MAX);
        let never_used = if sb.features.group_csum() {
            per_group.saturating_sub(desc.itable_unused)
        } else {
            per_group
        };
        // A hint past what was ever used would leave a gap of inodes that hold anything.
        let from = hint.max(least).min(never_used.max(least));
        let mut n = bitmap::find(&map, false, from, per_group);
        if n == per_group {
            n = bitmap::find(&map, false, least, per_group);
        }
        drop(map);
        if n >= per_group {
            return Ok(None);
        }
        self.take_slot(group, &mut desc, &buf, n, dir)?;
        let next = n.saturating_add(1);
        self.writer().notes.lock().last_inode.insert(group, next);
        let number = base.saturating_add(u64::from(n)).saturating_add(1);
        Ok(u32::try_from(number).ok().map(InodeNumber))
    }

    /// Marks inode `n` of a group, which is free, as in use, and fills its slot with zeros.
    fn take_slot(
        &mut self,
        group: GroupNumber,
        desc: &mut GroupDesc,
        buf: &Buf,
        n: u32,
        dir: bool,
    ) -> Result<()> {
        let sb = self.sb();
        let per_group = sb.inodes_per_group;
        let never_used = if sb.features.group_csum() {
            per_group.saturating_sub(desc.itable_unused)
        } else {
            per_group
        };
        self.touch_group(group, desc)?;
        self.prepare_slot(desc, buf, n, never_used)?;
        self.modify(buf, |map| {
            bitmap::fill(map, n..n.saturating_add(1), true);
        });
        desc.free_inodes = desc.free_inodes.saturating_sub(1);
        if dir {
            desc.used_dirs = desc.used_dirs.saturating_add(1);
        }
        if sb.features.group_csum() {
            let behind = per_group.saturating_sub(n).saturating_sub(1);
            desc.itable_unused = desc.itable_unused.min(behind);
        }
        self.store_group(group, desc)?;
        self.inode_bitmap_changed(group);
        self.modify_superblock(|raw| {
            let free = raw.s_free_inodes_count.get().saturating_sub(1);
            raw.s_free_inodes_count.set(free);
        })
    }

    /// Whether an inode is in use as the bitmap says.
    ///
    /// # Errors
    /// [`Error::Unallocated`] for a number that is no inode's.
    pub(crate) fn inode_in_use(&mut self, ino: InodeNumber) -> Result<bool> {
        let Some((group, n)) = self.sb().inode_group(ino) else {
            return Err(Error::Unallocated(ino));
        };
        let mut desc = self.fs().group(group)?;
        if desc.flags.contains(GroupFlags::INODE_UNINIT) {
            return Ok(false);
        }
        let buf = self.inode_bitmap(group, &mut desc)?;
        let map = buf.data();
        Ok(bitmap::all(&map, true, n..n.saturating_add(1)))
    }

    /// Marks an inode that is free as in use, and fills its slot with zeros.
    ///
    /// # Errors
    /// [`Error::Unallocated`] for a number that is no inode's.
    pub(crate) fn take_inode(&mut self, ino: InodeNumber, dir: bool) -> Result<()> {
        let Some((group, n)) = self.sb().inode_group(ino) else {
            return Err(Error::Unallocated(ino));
        };
        let mut desc = self.fs().group(group)?;
        let buf = self.inode_bitmap(group, &mut desc)?;
        self.take_slot(group, &mut desc, &buf, n, dir)
    }

    /// Fills the slot of inode `n` of a group with zeros. A block of the table in which no inode is in use is not read:
    /// it may never have been written.
    fn prepare_slot(&mut self, desc: &GroupDesc, map: &Buf, n: u32, never_used: u32) -> Result<()> {
        let sb = self.sb();
        let per_block = sb.inodes_per_block();
        let in_table = n.checked_div(per_block).unwrap_or(0);
        let first = in_table.saturating_mul(per_block);
        let end = first.saturating_add(per_block).min(sb.inodes_per_group);
        let block = FsBlock(desc.inode_table.0.saturating_add(u64::from(in_table)));
        if first >= never_used || bitmap::all(&map.data(), false, first..end) {
            self.create(block)?;
            return Ok(());
        }
        let buf = self.fs().read(block, Place::Block(block))?;
        let size = usize::from(sb.inode_size);
        let start = index(n.saturating_sub(first)).saturating_mul(size);
        self.modify(&buf, |data| {
            if let Some(slot) = data.get_mut(start..start.saturating_add(size)) {
                slot.fill(0);
            }
        });
        Ok(())
    }

    /// Frees an inode: its blocks and attributes are gone already.
    ///
    /// # Errors
    /// [`Error::Value`] if it is free already.
    pub(crate) fn free_inode(&mut self, inode: &Inode) -> Result<()> {
        let sb = self.sb();
        let Some((group, n)) = sb.inode_group(inode.ino) else {
            return Err(Error::Unallocated(inode.ino));
        };
        let mut desc = self.fs().group(group)?;
        let buf = self.inode_bitmap(group, &mut desc)?;
        let bit = n..n.saturating_add(1);
        if inode.ino < sb.first_ino || !bitmap::all(&buf.data(), true, bit.clone()) {
            return Err(Error::words(
                Place::InodeBitmap(group),
                "inode to free",
                inode.ino,
                "in use and not reserved",
            ));
        }
        self.modify(&buf, |map| bitmap::fill(map, bit, false));
        desc.free_inodes = desc.free_inodes.saturating_add(1);
        if inode.is_dir() {
            desc.used_dirs = desc.used_dirs.saturating_sub(1);
        }
        self.store_group(group, &desc)?;
        self.inode_bitmap_changed(group);
        self.modify_superblock(|raw| {
            let free = raw.s_free_inodes_count.get().saturating_add(1);
            raw.s_free_inodes_count.set(free);
        })?;
        let mut notes = self.writer().notes.lock();
        notes.set_full_inodes(group, false);
        let hint = notes.last_inode.entry(group).or_insert(n);
        *hint = (*hint).min(n);
        Ok(())
    }

    /// Flags that a new inode takes over from its directory, and those that it is born with.
    pub(crate) fn initial_flags(
        &self,
        parent: &Inode,
        file_type: crate::inode::FileType,
    ) -> InodeFlags {
        use crate::inode::FileType;
        let inherited = InodeFlags::SECRM
            | InodeFlags::UNRM
            | InodeFlags::COMPR
            | InodeFlags::SYNC
            | InodeFlags::NODUMP
            | InodeFlags::NOATIME
            | InodeFlags::NOCOMPR
            | InodeFlags::JOURNAL_DATA
            | InodeFlags::NOTAIL
            | InodeFlags::DIRSYNC
            | InodeFlags::DAX
            | InodeFlags::PROJINHERIT;
        let kept = match file_type {
            FileType::Directory => inherited,
            FileType::Regular => {
                inherited.difference(InodeFlags::DIRSYNC | InodeFlags::PROJINHERIT)
            }
            _ => InodeFlags::NODUMP | InodeFlags::NOATIME,
        };
        let mut flags = parent.flags & kept;
        let mapped = matches!(file_type, FileType::Regular | FileType::Directory);
        if mapped && self.sb().features.incompat(Incompat::EXTENTS) {
            flags |= InodeFlags::EXTENTS;
        }
        flags
    }
}
