//! Allocating and freeing inodes.
//!
//! A file goes into its directory's group, or the next with room. A directory in the root goes where there are few directories
//! and no less room than on average; others stay near their parent while there is room and not too many directories came
//! there in a row (`dirpref` of 4.4BSD and its successors).

use crate::{
    error::{Error, Place, Result},
    inode::Inode,
    layout::{ROOT_INO, RawInode1, RawInode2},
    maps::Maps,
    order::Step,
    txn::Txn,
    types::{Version, number},
};
use core::mem::offset_of;
use rumpbio::bitmap;
use rumpuser::Errno;
use zerocopy::LittleEndian;

/// Most directories that come into a group one after the other.
const MOST_DIRS_IN_ROW: u64 = 255;

/// Byte of the generation in an inode.
fn generation_at(version: Version) -> usize {
    match version {
        Version::Ufs1 => offset_of!(RawInode1<LittleEndian>, generation),
        Version::Ufs2 => offset_of!(RawInode2<LittleEndian>, generation),
    }
}

impl Txn<'_> {
    /// Allocates an inode near `parent`, and clears it. Gives its number and its generation.
    ///
    /// # Errors
    /// `ENOSPC`; the device's.
    pub(crate) fn take_inode(&mut self, parent: &Inode, dir: bool) -> Result<(u64, u32)> {
        let groups = self.sb().groups;
        let near = self.inode_group(parent.ino);
        let start = if dir {
            self.directory_group(parent, near)?
        } else {
            near
        };
        for step in 0..groups {
            let group = u64::from(start).saturating_add(step.into());
            let group = group.checked_rem(groups.into()).unwrap_or(0);
            let group = u32::try_from(group).unwrap_or(0);
            if let Some(ino) = self.take_inode_in(group, dir)? {
                let row = &mut self.stock()?.dirs_in_row;
                let in_row = row.entry(group).or_default();
                *in_row = if dir {
                    in_row.saturating_add(1)
                } else {
                    in_row.saturating_sub(1)
                };
                let generation = self.clear_inode(ino, Step::Inodes)?;
                return Ok((ino, generation));
            }
        }
        Err(Error::Refused(Errno::ENOSPC))
    }

    /// The group of an inode.
    pub(crate) fn inode_group(&self, ino: u64) -> u32 {
        self.inode_slot(ino).0
    }

    /// The group of an inode, and its number there.
    pub(crate) fn inode_slot(&self, ino: u64) -> (u32, u32) {
        let per = u64::from(self.sb().inodes_per_group);
        let group = ino.checked_div(per).unwrap_or(0);
        let n = ino.checked_rem(per).unwrap_or(u64::MAX);
        (
            u32::try_from(group).unwrap_or(0),
            u32::try_from(n).unwrap_or(u32::MAX),
        )
    }

    /// The group for a new directory.
    fn directory_group(&mut self, parent: &Inode, near: u32) -> Result<u32> {
        let sb = self.sb();
        let groups = u64::from(sb.groups);
        let space = self.stock()?;
        let totals = space.totals;
        let mean = |n: u64| n.checked_div(groups).unwrap_or(0);
        let (inodes, blocks, dirs) = (mean(totals.inodes), mean(totals.blocks), mean(totals.dirs));
        let wrapped = |n: u64| u32::try_from(n.checked_rem(groups).unwrap_or(0)).unwrap_or(0);
        let all = |start: u32| {
            (0..groups).map(move |step| wrapped(u64::from(start).saturating_add(step)))
        };
        if parent.ino == ROOT_INO {
            let start = wrapped(space.random().into());
            let good = all(start).filter(|group| {
                let counts = space.counts(*group);
                u64::from(counts.inodes) >= inodes && u64::from(counts.blocks) >= blocks
            });
            let best = good.min_by_key(|group| space.counts(*group).dirs);
            return Ok(best.unwrap_or(near));
        }
        let most_dirs = dirs.saturating_add(u64::from(sb.inodes_per_group) / 16);
        let (least_inodes, least_blocks) = (
            inodes.saturating_sub(inodes / 4),
            blocks.saturating_sub(blocks / 4),
        );
        let dir_bytes = u64::from(sb.policy.file_size)
            .saturating_mul(sb.policy.files_per_dir.into())
            .max(1);
        let by_space = blocks
            .saturating_mul(sb.block_size())
            .checked_div(dir_bytes)
            .unwrap_or(0);
        let by_inodes = sb.inodes_per_group.checked_div(sb.policy.files_per_dir);
        let most_in_row = MOST_DIRS_IN_ROW
            .min(by_space)
            .min(by_inodes.unwrap_or(0).into())
            .max(1);
        let good = all(near).find(|group| {
            let counts = space.counts(*group);
            let in_row = space.dirs_in_row.get(group).copied().unwrap_or(0);
            u64::from(counts.dirs) < most_dirs
                && u64::from(counts.inodes) >= least_inodes
                && u64::from(counts.blocks) >= least_blocks
                && u64::from(in_row) < most_in_row
        });
        let some = || all(near).find(|group| u64::from(space.counts(*group).inodes) >= inodes);
        Ok(good.or_else(some).unwrap_or(near))
    }

    fn take_inode_in(&mut self, group: u32, dir: bool) -> Result<Option<u64>> {
        if self.stock()?.counts(group).inodes == 0 {
            return Ok(None);
        }
        let per = self.sb().inodes_per_group;
        // The first two numbers are never given out, whatever the map says.
        let first = u64::from(group).saturating_mul(per.into());
        let least = u32::try_from(ROOT_INO.saturating_sub(first)).unwrap_or(0);
        let Some(n) = self.find_inode(group, first, least)? else {
            return Ok(None);
        };
        self.initialise(group, n)?;
        if !self.change(group)?.set_inode(n, true, dir) {
            return Err(Error::value(Place::Group(group), "map", n, "a free inode"));
        }
        Ok(Some(first.saturating_add(n.into())))
    }

    /// A free inode of a group from `least` on, by its number there; `first` is the group's first inode.
    fn find_inode(&mut self, group: u32, first: u64, least: u32) -> Result<Option<u32>> {
        let end = self.sb().inodes_per_group;
        let rotor = self.look(group)?.map_or(end, Maps::inode_rotor);
        let rotor = rotor.max(least).min(end);
        for range in [rotor..end, least..rotor] {
            let mut at = range.start;
            while let Some(maps) = self.look(group)? {
                let n = bitmap::find(maps.inode_map(), false, at, range.end);
                if n >= range.end {
                    break;
                }
                let Some(past) = self.inode_held(first.saturating_add(n.into())) else {
                    return Ok(Some(n));
                };
                self.passed_held = true;
                let past = u32::try_from(past.saturating_sub(first)).unwrap_or(end);
                at = past.max(n.saturating_add(1));
            }
        }
        Ok(None)
    }

    /// Has the table of inodes cleared beyond inode `n` of a group (UFS2).
    fn initialise(&mut self, group: u32, n: u32) -> Result<()> {
        let sb = self.sb();
        let per_block = 1_u32.wrapping_shl(sb.block_bits.saturating_sub(sb.version.inode_bits()));
        loop {
            let ready = self.change(group)?.initialised();
            if ready >= sb.inodes_per_group || n.saturating_add(per_block) < ready {
                return Ok(());
            }
            if n < ready && ready.checked_rem(per_block) != Some(0) {
                return Ok(());
            }
            let first = u64::from(group)
                .saturating_mul(sb.inodes_per_group.into())
                .saturating_add(ready.into());
            let place = Place::Inode(first);
            let frag = self.ffs().inode_place(first)?.0;
            let frags = 1_u64.wrapping_shl(sb.ratio_bits());
            self.clear(frag, frags, place)?;
            for n in 0..per_block {
                let generation = self.stock()?.random();
                self.set_generation(first.saturating_add(n.into()), generation)?;
            }
            let ready = ready.saturating_add(per_block).min(sb.inodes_per_group);
            self.change(group)?.set_initialised(ready);
        }
    }

    fn set_generation(&mut self, ino: u64, generation: u32) -> Result<()> {
        let at = generation_at(self.sb().version);
        let bytes = self.sb().order.bytes_u32(generation);
        self.modify_inode(ino, Step::Inodes, |inode| {
            let end = at.saturating_add(bytes.len());
            if let Some(to) = inode.get_mut(at..end) {
                to.copy_from_slice(&bytes);
            }
        })
    }

    /// Clears an inode but for its generation, which gets the next value.
    fn clear_inode(&mut self, ino: u64, step: Step) -> Result<u32> {
        let at = generation_at(self.sb().version);
        let order = self.sb().order;
        let random = self.stock()?.random();
        let (frag, offset, block) = self.ffs().inode_place(ino)?;
        let data = self.buf(frag, block, Place::Inode(ino))?.data();
        let before = data.get(offset.saturating_add(at)..);
        let before = before.and_then(|rest| order.u32(rest));
        drop(data);
        // A signed number for the systems that have it.
        let next = match before {
            Some(0) | None => random,
            Some(before) => before.wrapping_add(1),
        };
        let next = (next & 0x7FFF_FFFF).max(1);
        self.modify_inode(ino, step, |inode| {
            inode.fill(0);
            let end = at.saturating_add(4);
            if let Some(to) = inode.get_mut(at..end) {
                to.copy_from_slice(&order.bytes_u32(next));
            }
            next
        })
    }

    /// Frees an inode: its slot keeps its generation only.
    ///
    /// # Errors
    /// [`Error::Value`] if it is free already.
    pub(crate) fn free_inode(&mut self, ino: u64, dir: bool) -> Result<()> {
        self.clear_inode(ino, Step::Rest)?;
        self.hold_inode(ino)?;
        self.keep_apart(Step::Names);
        let (group, n) = self.inode_slot(ino);
        let maps = self.change(group)?;
        if !maps.set_inode(n, false, dir) {
            let place = Place::Inode(ino);
            return Err(Error::value(place, "state", number(0), "in use"));
        }
        if n < maps.inode_rotor() {
            maps.set_inode_rotor(n);
        }
        self.stock()?.set_nameless(ino, None);
        Ok(())
    }
}
