//! Inodes without a name, and files that are being shortened: after a crash they are freed, or shortened to the end.
//!
//! They are in a list that starts in the superblock and goes through `i_dtime`, or, with the orphan_file feature, in a
//! file of inode numbers, and in the list when that is full.

use crate::{
    checksum::{crc32c, crc32c_u32},
    error::{Error, Expected, Place, Result},
    features::{Compat, RoCompat},
    inode::{FileType, Inode, InodeFlags, dtime_of, set_dtime},
    layout::orphan::{EXT4_ORPHAN_BLOCK_MAGIC, ORPHAN_TAIL_SIZE, RawOrphanTail},
    map::Mapping,
    txn::{MAP_CREDITS, MAP_STEP, Txn, Writer},
    types::{FileBlock, FsBlock, InodeNumber},
};
use rumpbio::Buf;
use rumpuser::Timespec;
use zerocopy::FromBytes;

/// Blocks of an orphan file at most that are looked at: Linux makes up to 512.
const MOST_ORPHAN_BLOCKS: u32 = 512;

impl Txn<'_> {
    /// Enters an inode.
    pub(crate) fn add_orphan(&mut self, ino: InodeNumber) -> Result<()> {
        if self.add_to_orphan_file(ino)? {
            return Ok(());
        }
        let next = self.modify_superblock(|raw| {
            let next = raw.s_last_orphan.get();
            raw.s_last_orphan.set(ino.0);
            next
        })?;
        self.modify_inode_bytes(ino, |bytes| set_dtime(bytes, next))?;
        let mut notes = self.writer().notes.lock();
        notes.orphan_before.insert(ino, None);
        if next != 0 {
            notes.orphan_before.insert(InodeNumber(next), Some(ino));
        }
        Ok(())
    }

    /// Takes an inode out.
    ///
    /// # Errors
    /// [`Error::Value`] if it is not entered.
    pub(crate) fn remove_orphan(&mut self, ino: InodeNumber) -> Result<()> {
        if self.remove_from_orphan_file(ino)? {
            return Ok(());
        }
        let before = self.orphan_before(ino)?;
        let next = dtime_of(self.fs(), ino)?;
        match before {
            None => self.modify_superblock(|raw| raw.s_last_orphan.set(next))?,
            Some(before) => self.modify_inode_bytes(before, |bytes| set_dtime(bytes, next))?,
        }
        self.modify_inode_bytes(ino, |bytes| set_dtime(bytes, 0))?;
        let mut notes = self.writer().notes.lock();
        notes.orphan_before.remove(&ino);
        if next != 0 {
            notes.orphan_before.insert(InodeNumber(next), before);
        }
        Ok(())
    }

    /// Who is before an inode in the list; `None` is the superblock.
    fn orphan_before(&mut self, ino: InodeNumber) -> Result<Option<InodeNumber>> {
        let fs = self.fs();
        let head = fs.with_superblock(|raw| raw.s_last_orphan.get())?;
        if head == ino.0 {
            return Ok(None);
        }
        let hint = self.writer().notes.lock().orphan_before.get(&ino).copied();
        if let Some(Some(before)) = hint
            && fs.inode(before).is_ok_and(|inode| inode.links == 0)
            && dtime_of(fs, before).is_ok_and(|next| next == ino.0)
        {
            return Ok(Some(before));
        }
        let mut at = head;
        for _ in 0..self.sb().inodes {
            if at == 0 {
                break;
            }
            let next = dtime_of(fs, InodeNumber(at))?;
            if next == ino.0 {
                return Ok(Some(InodeNumber(at)));
            }
            at = next;
        }
        Err(Error::words(
            Place::Superblock,
            "list of orphans",
            ino,
            "this inode in it",
        ))
    }

    /// The orphan file's block `n`, its place, and its inode; `None` past its end.
    fn orphan_block(&self, file: &Inode, n: u32) -> Result<Option<(Buf, FsBlock)>> {
        let blocks = file.size >> self.sb().block_bits;
        if n >= MOST_ORPHAN_BLOCKS || u64::from(n) >= blocks {
            return Ok(None);
        }
        let Mapping::OnDisk { block, .. } = self.fs().map(file, FileBlock(n), 1)? else {
            return Ok(None);
        };
        let buf = self.fs().read(block, Place::OrphanFile(block))?;
        if !buf.verified() {
            self.check_orphan_block(file, block, &buf.data())?;
            buf.set_verified();
        }
        Ok(Some((buf, block)))
    }

    fn check_orphan_block(&self, file: &Inode, block: FsBlock, data: &[u8]) -> Result<()> {
        let place = Place::OrphanFile(block);
        let Ok((_, tail)) = RawOrphanTail::ref_from_suffix(data) else {
            return Err(Error::words(place, "size", 0_u64, "a tail"));
        };
        if tail.ob_magic.get() != EXT4_ORPHAN_BLOCK_MAGIC {
            return Err(Error::value(
                place,
                "ob_magic",
                tail.ob_magic.get(),
                Expected::Exactly(u64::from(EXT4_ORPHAN_BLOCK_MAGIC)),
            ));
        }
        if !self.sb().features.metadata_csum() {
            return Ok(());
        }
        let (stored, computed) = (
            tail.ob_checksum.get(),
            orphan_checksum(file.csum_seed, block, data),
        );
        if stored != computed {
            return Err(Error::Checksum {
                place,
                stored,
                computed,
            });
        }
        Ok(())
    }

    fn orphan_file(&self) -> Result<Option<Inode>> {
        match self.sb().orphan_file {
            Some(ino) if self.sb().features.compat(Compat::ORPHAN_FILE) => {
                self.fs().inode(ino).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Changes slot `slot` of a block of the orphan file.
    fn set_orphan_slot(
        &mut self,
        file: &Inode,
        (buf, block): &(Buf, FsBlock),
        slot: usize,
        value: u32,
    ) {
        let seed = file.csum_seed;
        let checked = self.sb().features.metadata_csum();
        self.modify(buf, |data| {
            if let Some(to) = data.as_chunks_mut::<4>().0.get_mut(slot) {
                *to = value.to_le_bytes();
            }
            let computed = orphan_checksum(seed, *block, data);
            if checked && let Ok((_, tail)) = RawOrphanTail::mut_from_suffix(data) {
                tail.ob_checksum.set(computed);
            }
        });
    }

    /// Enters an inode into the orphan file. `false` if there is none or it is full.
    fn add_to_orphan_file(&mut self, ino: InodeNumber) -> Result<bool> {
        let Some(file) = self.orphan_file()? else {
            return Ok(false);
        };
        let mut n = 0_u32;
        while let Some(at) = self.orphan_block(&file, n)? {
            let data = at.0.data();
            let free = slots(&data).position(|(_, ino)| ino == 0);
            drop(data);
            if let Some(slot) = free {
                self.set_orphan_slot(&file, &at, slot, ino.0);
                self.writer()
                    .notes
                    .lock()
                    .orphan_slot
                    .insert(ino, (n, slot));
                return Ok(true);
            }
            n = n.saturating_add(1);
        }
        Ok(false)
    }

    /// Takes an inode out of the orphan file. `false` if it is not there.
    fn remove_from_orphan_file(&mut self, ino: InodeNumber) -> Result<bool> {
        let Some(file) = self.orphan_file()? else {
            return Ok(false);
        };
        let hint = self.writer().notes.lock().orphan_slot.remove(&ino);
        if let Some((n, slot)) = hint
            && let Some(at) = self.orphan_block(&file, n)?
            && slots(&at.0.data()).nth(slot).is_some_and(|s| s.1 == ino.0)
        {
            self.set_orphan_slot(&file, &at, slot, 0);
            return Ok(true);
        }
        let mut n = 0_u32;
        while let Some(at) = self.orphan_block(&file, n)? {
            let found = slots(&at.0.data()).position(|(_, found)| found == ino.0);
            if let Some(slot) = found {
                self.set_orphan_slot(&file, &at, slot, 0);
                return Ok(true);
            }
            n = n.saturating_add(1);
        }
        Ok(false)
    }

    /// Whether no inode is in the orphan file.
    pub(crate) fn orphan_file_is_empty(&self) -> Result<bool> {
        Ok(self.first_in_orphan_file()?.is_none())
    }

    /// The first inode in the orphan file.
    fn first_in_orphan_file(&self) -> Result<Option<InodeNumber>> {
        let Some(file) = self.orphan_file()? else {
            return Ok(None);
        };
        let mut n = 0_u32;
        while let Some((buf, _)) = self.orphan_block(&file, n)? {
            let data = buf.data();
            if let Some((_, ino)) = slots(&data).find(|(_, ino)| *ino != 0) {
                return Ok(Some(InodeNumber(ino)));
            }
            n = n.saturating_add(1);
        }
        Ok(None)
    }
}

/// The slots of a block of the orphan file.
fn slots(data: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let end = data.len().saturating_sub(ORPHAN_TAIL_SIZE);
    let bytes = data.get(..end).unwrap_or_default();
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|slot| u32::from_le_bytes(*slot))
        .enumerate()
}

/// The checksum of a block of the orphan file.
fn orphan_checksum(seed: u32, block: FsBlock, data: &[u8]) -> u32 {
    let end = data.len().saturating_sub(ORPHAN_TAIL_SIZE);
    let [a, b, c, d, e, f, g, h] = block.0.to_le_bytes();
    let state = crc32c_u32(seed, u32::from_le_bytes([a, b, c, d]));
    let state = crc32c_u32(state, u32::from_le_bytes([e, f, g, h]));
    crc32c(state, data.get(..end).unwrap_or_default())
}

impl Writer {
    /// Frees an inode without a name, its blocks and its attributes, in as many transactions as it takes. It is entered
    /// as an orphan.
    ///
    /// # Errors
    /// Any; it is an orphan still.
    pub(crate) fn delete(&self, mut inode: Inode, now: Timespec) -> Result<()> {
        loop {
            let done = self.run_on(MAP_CREDITS, now, &mut inode, |txn, inode| {
                let gone = txn.remove_all_blocks(inode)? && txn.release_xattrs(inode)?;
                if !gone {
                    txn.store_inode(inode)?;
                    return Ok(false);
                }
                txn.finish_delete(inode)?;
                Ok(true)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Shortens a file to its size, in as many transactions as it takes. It is entered as an orphan, and taken out at the
    /// end.
    pub(crate) fn finish_truncate(&self, inode: &mut Inode, now: Timespec) -> Result<()> {
        loop {
            let done = self.run_on(MAP_CREDITS, now, inode, |txn, inode| {
                let block_size = u64::from(txn.sb().block_size());
                let first = inode.size.div_ceil(block_size);
                let done = txn.remove_blocks(inode, first, u64::MAX, MAP_STEP)?;
                if done {
                    txn.remove_orphan(inode.ino)?;
                }
                txn.store_inode(inode)?;
                Ok(done)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Frees or shortens what a crash left. Returns how many inodes were freed and how many shortened.
    ///
    /// # Errors
    /// Device errors. A damaged list is cut, and the volume marked as damaged.
    pub fn recover_orphans(&self, now: Timespec) -> Result<(u32, u32)> {
        let (mut freed, mut shortened) = (0_u32, 0_u32);
        for _ in 0..self.fs().superblock().inodes {
            let Some(ino) = self.first_orphan(now)? else {
                return Ok((freed, shortened));
            };
            let done = self.recover_orphan(ino, now);
            match done {
                Ok(true) => freed = freed.saturating_add(1),
                Ok(false) => shortened = shortened.saturating_add(1),
                Err(error) => {
                    self.message(&error);
                    self.note_error(&error, now);
                    self.drop_orphan(ino, now)?;
                }
            }
        }
        Ok((freed, shortened))
    }

    fn first_orphan(&self, now: Timespec) -> Result<Option<InodeNumber>> {
        let head = self.fs().with_superblock(|raw| raw.s_last_orphan.get())?;
        if head != 0 {
            return Ok(Some(InodeNumber(head)));
        }
        if !self
            .fs()
            .superblock()
            .features
            .ro_compat(RoCompat::ORPHAN_PRESENT)
        {
            return Ok(None);
        }
        self.begin(0, now)?.first_in_orphan_file()
    }

    /// Recovers one inode; `true` if it was freed.
    fn recover_orphan(&self, ino: InodeNumber, now: Timespec) -> Result<bool> {
        let sb = self.fs().superblock();
        if ino < sb.first_ino || ino.0 > sb.inodes {
            let range = Expected::Range(u64::from(sb.first_ino), u64::from(sb.inodes));
            return Err(Error::value(Place::Superblock, "s_last_orphan", ino, range));
        }
        let mut inode = self.fs().inode(ino)?;
        if inode.links == 0 {
            self.delete(inode, now)?;
            return Ok(true);
        }
        let mapped =
            inode.file_type == FileType::Regular && !inode.flags.contains(InodeFlags::INLINE_DATA);
        if mapped {
            self.finish_truncate(&mut inode, now)?;
        } else {
            self.run(8, now, |txn| txn.remove_orphan(ino))?;
        }
        Ok(false)
    }

    /// Takes an inode that cannot be recovered out of the orphan file, or cuts the list before it.
    fn drop_orphan(&self, ino: InodeNumber, now: Timespec) -> Result<()> {
        self.run(8, now, |txn| {
            if txn.remove_from_orphan_file(ino)? {
                return Ok(());
            }
            txn.modify_superblock(|raw| raw.s_last_orphan.set(0))
        })
    }
}

impl Txn<'_> {
    /// Takes all blocks of an inode away; `false` if the transaction has grown before all were gone.
    fn remove_all_blocks(&mut self, inode: &mut Inode) -> Result<bool> {
        let sb = self.sb();
        let mapped = match inode.file_type {
            FileType::Regular | FileType::Directory => true,
            FileType::Symlink => !inode.is_fast_symlink(sb),
            _ => false,
        };
        if !mapped || inode.flags.contains(InodeFlags::INLINE_DATA) {
            return Ok(true);
        }
        self.remove_blocks(inode, 0, u64::MAX, MAP_STEP)
    }

    /// The end of an inode whose blocks and attributes are gone.
    fn finish_delete(&mut self, inode: &mut Inode) -> Result<()> {
        self.remove_orphan(inode.ino)?;
        self.erase_inode(inode)
    }

    /// Marks an inode that is no orphan as deleted and frees it.
    pub(crate) fn erase_inode(&mut self, inode: &mut Inode) -> Result<()> {
        inode.size = 0;
        inode.links = 0;
        self.store_inode(inode)?;
        // A deletion time of 0 would look like none, a small one like a member of the list.
        let floor = i64::from(self.sb().inodes).saturating_add(1);
        let now = u32::try_from(self.now.sec.max(floor)).unwrap_or(u32::MAX);
        self.modify_inode_bytes(inode.ino, |bytes| set_dtime(bytes, now))?;
        self.free_inode(inode)
    }
}
