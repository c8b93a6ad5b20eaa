//! A transaction of this format: a handle of the volume, with the maps of the groups that it changes.

use crate::{
    error::{Error, Place, Result, at},
    inode::Inode,
    maps::Maps,
    order::{Staged, Step},
    stock::Stock,
    superblock::Superblock,
    types::{index, number},
    volume::{Ffs, Neighbours},
};
use alloc::{boxed::Box, vec::Vec};
use rumpbio::{Buf, Handle, Space, order::Stages};
use rumpuser::{Errno, Timespec};

/// Blocks of metadata that an operation on names changes at most, in whole blocks: two directories, their inodes and those of what is
/// moved and replaced, indirect blocks of a directory that grows, the maps of some groups.
const NAME_BLOCKS: usize = 20;
/// Blocks that one step of an operation on a file's blocks changes at most.
const MAP_BLOCKS: usize = 40;
/// After that many changed blocks an operation that can be cut ends its step.
const MAP_STEP: usize = 24;

/// How much a transaction may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// An operation on names.
    Names,
    /// A step of an operation on a file's blocks.
    Blocks,
}

impl Size {
    /// Blocks of the engine.
    fn blocks(self, ratio_bits: u32) -> usize {
        let blocks = match self {
            Self::Names => NAME_BLOCKS,
            Self::Blocks => MAP_BLOCKS,
        };
        blocks.wrapping_shl(ratio_bits)
    }

    /// The most that any transaction changes.
    pub(crate) fn most_blocks(ratio_bits: u32) -> usize {
        let names = Self::Names.blocks(ratio_bits);
        names.max(Self::Blocks.blocks(ratio_bits))
    }
}

/// An open transaction. Dropped without [`commit`](Self::commit) it has changed nothing.
pub(crate) struct Txn<'v> {
    ffs: &'v Ffs,
    handle: Option<Handle<'v>>,
    /// Always there while the transaction is open.
    stock: Option<Box<Stock>>,
    /// In which steps it goes home.
    pub(crate) stages: Staged,
    /// When this happens.
    pub(crate) now: Timespec,
    /// Free space was passed over because a crash could bring its former owner back: with a commit there is more.
    pub(crate) passed_held: bool,
    /// Which free space it may take.
    pub(crate) space: Space,
    /// Fragments that it has taken.
    pub(crate) taken: u64,
}

impl Ffs {
    /// Opens a transaction, which may take what `space` says.
    pub(crate) fn begin(&self, size: Size, space: Space, now: Timespec) -> Result<Txn<'_>> {
        let blocks = size.blocks(self.superblock.ratio_bits());
        let handle = self.volume.begin(blocks);
        let handle = handle.map_err(Error::Refused)?;
        let stock = self.stock.lock().take();
        Ok(Txn {
            ffs: self,
            handle: Some(handle),
            stock: Some(stock.ok_or(Error::Refused(Errno::EROFS))?),
            stages: self.journaling.used().is_none().then(Stages::default),
            now,
            passed_held: false,
            space,
            taken: 0,
        })
    }

    /// Runs `f` in a transaction: committed if it succeeds, else undone. When space was short only because what was freed waits for a
    /// commit, commits and runs it once more.
    pub(crate) fn transact<R>(
        &self,
        size: Size,
        space: Space,
        now: Timespec,
        mut f: impl FnMut(&mut Txn<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut retried = false;
        loop {
            let mut txn = self.begin(size, space, now)?;
            match f(&mut txn) {
                Ok(value) => {
                    txn.commit()?;
                    return Ok(value);
                }
                Err(Error::Refused(Errno::ENOSPC)) if txn.passed_held && !retried => {
                    drop(txn);
                    retried = true;
                    self.volume.commit().map_err(Error::Refused)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs `f` on a copy of the inode in a transaction; the inode becomes the copy if it succeeds.
    pub(crate) fn transact_on<R>(
        &self,
        size: Size,
        space: Space,
        now: Timespec,
        inode: &mut Inode,
        mut f: impl FnMut(&mut Txn<'_>, &mut Inode) -> Result<R>,
    ) -> Result<R> {
        let (value, copy) = self.transact(size, space, now, |txn| {
            let mut copy = inode.clone();
            let value = f(txn, &mut copy)?;
            Ok((value, copy))
        })?;
        *inode = copy;
        Ok(value)
    }

    /// Changes bytes of metadata in their buffers, across fragments.
    pub(crate) fn modify_bytes(
        &self,
        handle: &mut Handle<'_>,
        byte: u64,
        bytes: &[u8],
        place: Place,
    ) -> Result<()> {
        let bits = self.superblock.frag_bits;
        let mut rest = bytes;
        let mut at_byte = byte;
        while !rest.is_empty() {
            let frag = at_byte.wrapping_shr(bits);
            let within = index(at_byte & self.superblock.frag_size().wrapping_sub(1));
            let room = index(self.superblock.frag_size()).saturating_sub(within);
            let (part, behind) = rest.split_at(rest.len().min(room));
            let buf = self.volume.read(frag).map_err(at(place))?;
            let range = within..within.saturating_add(part.len());
            let same = buf.data().get(range.clone()) == Some(part);
            if !same {
                handle.modify(&buf, |data| {
                    if let Some(to) = data.get_mut(range) {
                        to.copy_from_slice(part);
                    }
                });
            }
            at_byte = at_byte.saturating_add(number(part.len()));
            rest = behind;
        }
        Ok(())
    }
}

impl<'v> Txn<'v> {
    /// The volume.
    pub(crate) fn ffs(&self) -> &'v Ffs {
        self.ffs
    }

    /// The superblock as it was at mount.
    pub(crate) fn sb(&self) -> &'v Superblock {
        &self.ffs.superblock
    }

    /// The handle.
    pub(crate) fn handle(&mut self) -> Result<&mut Handle<'v>> {
        self.handle.as_mut().ok_or(Error::Refused(Errno::EIO))
    }

    /// What is known of space and inodes.
    pub(crate) fn stock(&mut self) -> Result<&mut Stock> {
        self.stock.as_deref_mut().ok_or(Error::Refused(Errno::EIO))
    }

    /// Whether an operation that can be cut should end its step.
    pub(crate) fn is_full(&self) -> bool {
        let bits = self.sb().ratio_bits();
        let groups = self.stock.as_ref().map_or(0, |space| space.touched());
        let changed = self.handle.as_ref().map_or(0, Handle::changed);
        changed.saturating_add(groups.wrapping_shl(bits)) >= MAP_STEP.wrapping_shl(bits)
    }

    /// Changes a block, in a step. `f` says what bytes are to be, whatever they were: it is called for the contents in between too.
    pub(crate) fn modify<R>(
        &mut self,
        buf: &Buf,
        step: Step,
        f: impl Fn(&mut [u8]) -> R,
    ) -> Result<R> {
        let handle = self.handle.as_mut().ok_or(Error::Refused(Errno::EIO))?;
        Ok(match &mut self.stages {
            Some(stages) => {
                let order = &self.ffs.order;
                order.modify(stages, handle, buf, step.number(), f)
            }
            None => handle.modify(buf, f),
        })
    }

    /// Makes fragments metadata, filled with zeros.
    pub(crate) fn create(&mut self, first: u64, count: u64, place: Place) -> Result<()> {
        for frag in first..first.saturating_add(count) {
            self.unstage(frag);
            self.handle()?.create(frag).map_err(at(place))?;
        }
        Ok(())
    }

    /// Fills fragments that are metadata, but have nothing of use, with zeros.
    pub(crate) fn clear(&mut self, first: u64, count: u64, place: Place) -> Result<()> {
        for frag in first..first.saturating_add(count) {
            let buf = self.handle()?.clear(frag).map_err(at(place))?;
            self.stage_cleared(&buf);
        }
        Ok(())
    }

    /// The buffer of a fragment, read with its neighbours unless it is cached.
    pub(crate) fn buf(&self, frag: u64, block: Neighbours, place: Place) -> Result<Buf> {
        self.ffs.buf(frag, block, place)
    }

    /// The maps of a group for looking at; `None`: nothing is to be allocated there.
    pub(crate) fn look(&mut self, group: u32) -> Result<Option<&Maps>> {
        if self.stock()?.get(group).is_none() {
            self.load(group)?;
        }
        let space = self.stock()?;
        if space.is_bad(group) {
            return Ok(None);
        }
        Ok(space.get(group))
    }

    /// The maps of a group for changing.
    pub(crate) fn change(&mut self, group: u32) -> Result<&mut Maps> {
        if self.stock()?.get(group).is_none() {
            self.load(group)?;
        }
        let wrong = || Error::value(Place::Group(group), "number", group, "a group's");
        self.stock()?.change(group).ok_or_else(wrong)
    }

    fn load(&mut self, group: u32) -> Result<()> {
        let maps = self.ffs.maps(group)?;
        let wrong = maps.check(self.sb()).err();
        if let Some(error) = &wrong {
            self.ffs.tell(error);
        }
        let counts = maps.counts();
        let space = self.stock()?;
        if wrong.is_none() {
            space.adopt(group, counts);
        }
        space.put(maps, wrong.is_some());
        Ok(())
    }

    /// Writes the maps that have changed to their buffers.
    fn store_maps(&mut self) -> Result<()> {
        let ffs = self.ffs;
        let (Some(handle), Some(space)) = (&mut self.handle, &mut self.stock) else {
            return Ok(());
        };
        let frag_len = index(ffs.superblock.frag_size());
        for group in space.touched_groups() {
            let Some(maps) = space.change(group) else {
                continue;
            };
            maps.set_time(self.now.sec);
            let changed = maps.take_changed();
            let first = ffs.superblock.group_maps(group);
            for (n, part) in (0_u64..).zip(maps.bytes().chunks(frag_len)) {
                if changed.wrapping_shr(u32::try_from(n).unwrap_or(0)) & 1 == 0 {
                    continue;
                }
                let place = Place::Group(group);
                let buf = ffs
                    .volume
                    .read(first.saturating_add(n))
                    .map_err(at(place))?;
                handle.modify(&buf, |data| {
                    if let Some(to) = data.get_mut(..part.len()) {
                        to.copy_from_slice(part);
                    }
                });
            }
        }
        Ok(())
    }

    /// Ends the transaction with its changes.
    ///
    /// # Errors
    /// The device's: nothing has changed then.
    pub(crate) fn commit(mut self) -> Result<()> {
        self.store_maps()?;
        if let Some(mut space) = self.stock.take() {
            space.keep();
            self.ffs.put_stock(space);
        }
        if let Some(stages) = self.stages.take() {
            self.ffs.order.join(stages);
        }
        if let Some(handle) = self.handle.take() {
            handle.commit();
        }
        Ok(())
    }

    /// Writes zeros to fragments that are file data.
    pub(crate) fn write_zeros(&self, first: u64, count: u64) -> Result<()> {
        let len = count.saturating_mul(self.sb().frag_size());
        let zeros = alloc::vec![0; index(len)];
        self.write_data(first, &zeros)
    }

    /// Writes file data past all caches. What is there belongs to no file that a crash could bring back.
    pub(crate) fn write_data(&self, first: u64, bytes: &[u8]) -> Result<()> {
        let byte = first.saturating_mul(self.sb().frag_size());
        let written = self.ffs.device.write_at(byte, bytes);
        written.map_err(|errno| Error::Device(Place::Frag(first), errno))
    }

    /// Reads file data past all caches.
    pub(crate) fn read_data(&self, first: u64, count: u64) -> Result<Vec<u8>> {
        let size = self.sb().frag_size();
        let mut bytes = alloc::vec![0; index(count.saturating_mul(size))];
        let read = self
            .ffs
            .device
            .read_at(first.saturating_mul(size), &mut bytes);
        read.map_err(|errno| Error::Device(Place::Frag(first), errno))?;
        Ok(bytes)
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        // The space first: whoever gets the handle next needs it.
        if let Some(mut space) = self.stock.take() {
            space.roll_back();
            self.ffs.put_stock(space);
        }
        drop(self.handle.take());
    }
}
