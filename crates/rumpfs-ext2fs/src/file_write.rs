//! Changing a file: its size, the places of its blocks, its attributes.

use crate::{
    error::{Error, Place, Result},
    features::RoCompat,
    inode::{FileType, Inode, InodeFlags, clamp_time},
    layout::inode::I_BLOCK_SIZE,
    map_write::Purpose,
    txn::{MAP_CREDITS, MAP_STEP, Txn, Writer},
    types::{FileBlock, FsBlock, index, number},
};
use rumpbio::Space;
use rumpuser::{Errno, Timespec};

/// Files above this size need the large_file feature.
const LARGE: u64 = 0x7FFF_FFFF;
/// Flags that a caller may change.
const CHANGEABLE: InodeFlags = InodeFlags::SECRM
    .union(InodeFlags::UNRM)
    .union(InodeFlags::SYNC)
    .union(InodeFlags::IMMUTABLE)
    .union(InodeFlags::APPEND)
    .union(InodeFlags::NODUMP)
    .union(InodeFlags::NOATIME)
    .union(InodeFlags::NOCOMPR)
    .union(InodeFlags::NOTAIL)
    .union(InodeFlags::DIRSYNC)
    .union(InodeFlags::TOPDIR)
    .union(InodeFlags::PROJINHERIT);

/// A change of attributes; what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Permissions: 12 bits.
    pub permissions: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time.
    pub atime: Option<Timespec>,
    /// Modification time.
    pub mtime: Option<Timespec>,
    /// Change time.
    pub ctime: Option<Timespec>,
    /// Creation time.
    pub crtime: Option<Timespec>,
    /// Flags.
    pub flags: Option<u32>,
    /// Project.
    pub project: Option<u32>,
}

/// Bytes of a file that got a place on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedBytes {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// First byte on the device.
    pub device: u64,
}

impl Txn<'_> {
    /// Changes the size of a file in its inode.
    fn set_inode_size(&mut self, inode: &mut Inode, size: u64) -> Result<()> {
        let sb = self.sb();
        if size > LARGE && inode.size <= LARGE && !sb.features.ro_compat(RoCompat::LARGE_FILE) {
            if sb.rev_level == 0 {
                return Err(Error::Refused(Errno::EFBIG));
            }
            self.modify_superblock(|raw| {
                let features = raw.s_feature_ro_compat.get() | RoCompat::LARGE_FILE.bits();
                raw.s_feature_ro_compat.set(features);
            })?;
        }
        inode.size = size;
        Ok(())
    }

    /// Refuses files whose content must not be changed by somebody without a key.
    fn check_content(inode: &Inode) -> Result<()> {
        let what = if inode.flags.contains(InodeFlags::ENCRYPT) {
            "change of an encrypted file"
        } else if inode.flags.contains(InodeFlags::VERITY) {
            "change of a file with a Merkle tree"
        } else {
            return Ok(());
        };
        Err(Error::Unsupported(Place::Inode(inode.ino), what))
    }

    /// Takes the data of a file out of its inode. Gives the data, and the block that is to hold it, if there is any data.
    fn move_inline_out(&mut self, inode: &mut Inode) -> Result<(alloc::vec::Vec<u8>, FsBlock)> {
        let content = self.fs().inline_data(inode)?;
        self.drop_inline_data(inode)?;
        let mut place = FsBlock(0);
        if !content.is_empty() {
            self.place_blocks(
                inode,
                FileBlock(0),
                1,
                Purpose::Write,
                &mut |_, block, _| {
                    place = block;
                },
            )?;
        }
        Ok((content, place))
    }

    /// Moves inline data of a file into its first block, which is written at once, past all caches.
    fn inline_file_to_block(&mut self, inode: &mut Inode) -> Result<()> {
        let (content, place) = self.move_inline_out(inode)?;
        if content.is_empty() {
            return Ok(());
        }
        let mut bytes = content;
        bytes.resize(index(self.sb().block_size()), 0);
        let offset = place.0.wrapping_shl(self.sb().block_bits);
        // The block was free: if the transaction is undone it is again, and nobody minds what is in it.
        self.fs()
            .volume()
            .device()
            .write_at(offset, &bytes)
            .map_err(|errno| Error::Device(Place::Block(place), errno))
    }

    /// Zeros inline data from `size` on.
    fn clear_inline_from(&mut self, inode: &mut Inode, size: u64) -> Result<()> {
        let from = usize::try_from(size).unwrap_or(usize::MAX);
        if let Some(rest) = inode.block.get_mut(from..) {
            rest.fill(0);
        }
        let rest = from.saturating_sub(I_BLOCK_SIZE);
        self.modify_inline_rest(inode, |bytes| {
            if let Some(bytes) = bytes.get_mut(rest..) {
                bytes.fill(0);
            }
        })
    }
}

impl Writer {
    fn block_bits(&self) -> u32 {
        self.fs().superblock().block_bits
    }

    /// Blocks that `offset .. offset + len` touches: the first and how many.
    fn block_range(&self, offset: u64, len: u64) -> Result<(FileBlock, u32)> {
        let first = offset >> self.block_bits();
        let size = u64::from(self.fs().block_size());
        let end = offset
            .checked_add(len)
            .ok_or(Error::Refused(Errno::EFBIG))?
            .div_ceil(size);
        let most = self.fs().superblock().max_file_blocks();
        if end > most {
            return Err(Error::Refused(Errno::EFBIG));
        }
        let first = u32::try_from(first).map_err(|_| Error::Refused(Errno::EFBIG))?;
        let count = end.saturating_sub(u64::from(first));
        Ok((
            FileBlock(first),
            u32::try_from(count).map_err(|_| Error::Refused(Errno::EFBIG))?,
        ))
    }

    /// Gives all blocks of a range of a file, offset and length, a place, and the file a size of at least `size_at_least`. `placed` is told,
    /// inside the transaction, of all bytes that had none or were not written. Returns how many bytes were done.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`, `EOPNOTSUPP` for encrypted and verity files, what is wrong with the file's map.
    pub fn allocate(
        &self,
        inode: &mut Inode,
        (offset, len, size_at_least): (u64, u64, u64),
        space: Space,
        now: Timespec,
        placed: &mut dyn FnMut(PlacedBytes),
    ) -> Result<u64> {
        Txn::check_content(inode)?;
        let (first, count) = self.block_range(offset, len.max(1))?;
        let bits = self.block_bits();
        let bytes = |at: FileBlock, block: FsBlock, n: u32| PlacedBytes {
            offset: u64::from(at).wrapping_shl(bits),
            len: u64::from(n).wrapping_shl(bits),
            device: block.0.wrapping_shl(bits),
        };
        self.run_on(MAP_CREDITS, now, inode, |txn, inode| {
            txn.space = space;
            // Told at the end, when the transaction cannot fail any more: it may be run twice.
            let mut pieces = alloc::vec::Vec::new();
            if inode.flags.contains(InodeFlags::INLINE_DATA) {
                let (content, block) = txn.move_inline_out(inode)?;
                if !content.is_empty() {
                    pieces.push(bytes(FileBlock(0), block, 1));
                }
            }
            let mut take = |at, block, n| pieces.push(bytes(at, block, n));
            let done = txn.place_blocks(inode, first, count, Purpose::Write, &mut take)?;
            let end = u64::from(first)
                .saturating_add(u64::from(done))
                .wrapping_shl(bits);
            let done = end.saturating_sub(offset).min(len.max(1));
            let size = size_at_least.min(offset.saturating_add(done));
            if size > inode.size {
                txn.set_inode_size(inode, size)?;
            }
            txn.store_inode(inode)?;
            if !pieces.is_empty() {
                txn.leads_to_data();
            }
            for piece in pieces {
                placed(piece);
            }
            Ok(done)
        })
    }

    /// Keeps blocks for a range of a file that is not written yet.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); `EOPNOTSUPP` for files with a block map.
    pub fn reserve(
        &self,
        inode: &mut Inode,
        offset: u64,
        len: u64,
        space: Space,
        now: Timespec,
    ) -> Result<()> {
        Txn::check_content(inode)?;
        let (first, count) = self.block_range(offset, len)?;
        let mut done = 0_u32;
        while done < count {
            let at = FileBlock(first.0.saturating_add(done));
            let left = count.saturating_sub(done);
            let n = self.run_on(MAP_CREDITS, now, inode, |txn, inode| {
                txn.space = space;
                if inode.flags.contains(InodeFlags::INLINE_DATA) {
                    txn.inline_file_to_block(inode)?;
                }
                let n = txn.place_blocks(inode, at, left, Purpose::Reserve, &mut |_, _, _| {})?;
                txn.store_inode(inode)?;
                Ok(n)
            })?;
            done = done.saturating_add(n.max(1));
        }
        Ok(())
    }

    /// Sets the size of a regular file; blocks past it are freed.
    ///
    /// # Errors
    /// `EFBIG`, `EOPNOTSUPP` as [`allocate`](Self::allocate); what is wrong with the file's map. If a very large file
    /// fails after the first of several transactions, its size is set and it is shortened further at the next mount.
    pub fn set_size(
        &self,
        inode: &mut Inode,
        size: u64,
        time: Timespec,
        now: Timespec,
    ) -> Result<()> {
        Txn::check_content(inode)?;
        self.block_range(0, size)?;
        let done = self.run_on(MAP_CREDITS, now, inode, |txn, inode| {
            let shrinks = size < inode.size;
            if inode.flags.contains(InodeFlags::INLINE_DATA) {
                let room = number(txn.fs().inline_area(inode)?.len());
                if size > room {
                    txn.inline_file_to_block(inode)?;
                } else if shrinks {
                    txn.clear_inline_from(inode, size)?;
                }
            }
            txn.set_inode_size(inode, size)?;
            inode.touch(time);
            let mut done = true;
            // Blocks may also be past an unchanged size: reserved ones.
            if !inode.flags.contains(InodeFlags::INLINE_DATA) && (shrinks || inode.blocks_512 > 0) {
                let block_size = u64::from(txn.sb().block_size());
                let first = size.div_ceil(block_size);
                done = txn.remove_blocks(inode, first, u64::MAX, MAP_STEP)?;
                if !done {
                    txn.add_orphan(inode.ino)?;
                }
            }
            txn.store_inode(inode)?;
            Ok(done)
        })?;
        if done {
            return Ok(());
        }
        self.finish_truncate(inode, now)
    }

    /// Makes a hole of whole blocks.
    ///
    /// # Errors
    /// As [`set_size`](Self::set_size); what is done before an error stays done.
    pub fn punch(&self, inode: &mut Inode, offset: u64, len: u64, now: Timespec) -> Result<()> {
        Txn::check_content(inode)?;
        if inode.file_type != FileType::Regular {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        let size = u64::from(self.fs().block_size());
        let first = offset.div_ceil(size);
        let end = offset.saturating_add(len).checked_div(size).unwrap_or(0);
        if inode.flags.contains(InodeFlags::INLINE_DATA) {
            if first > 0 || end == 0 {
                return Ok(());
            }
            return self.run_on(MAP_CREDITS, now, inode, |txn, inode| {
                txn.clear_inline_from(inode, 0)?;
                txn.store_inode(inode)
            });
        }
        loop {
            let done = self.run_on(MAP_CREDITS, now, inode, |txn, inode| {
                let done = txn.remove_blocks(inode, first, end, MAP_STEP)?;
                txn.store_inode(inode)?;
                Ok(done)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for flags that are not set and cannot be, and for a project on a volume without; `EOVERFLOW` for one that the inode has no
    /// room for.
    pub fn change(&self, inode: &mut Inode, change: &Change, now: Timespec) -> Result<()> {
        let flags = match change.flags.map(InodeFlags::from_bits_retain) {
            Some(flags)
                if !flags
                    .difference(inode.flags)
                    .difference(CHANGEABLE)
                    .is_empty() =>
            {
                return Err(Error::Refused(Errno::EOPNOTSUPP));
            }
            // What the format needs stays, whether the caller names it or not.
            Some(flags) => Some((flags & CHANGEABLE) | inode.flags.difference(CHANGEABLE)),
            None => None,
        };
        self.run_on(4, now, inode, |txn, inode| {
            if let Some(permissions) = change.permissions {
                inode.permissions = permissions & 0o7777;
            }
            inode.uid = change.uid.unwrap_or(inode.uid);
            inode.gid = change.gid.unwrap_or(inode.gid);
            if let Some(time) = change.atime {
                inode.atime = clamp_time(inode, time);
            }
            if let Some(time) = change.mtime {
                inode.mtime = clamp_time(inode, time);
            }
            if let Some(time) = change.ctime {
                inode.ctime = clamp_time(inode, time);
            }
            if let (Some(time), Some(_)) = (change.crtime, inode.crtime) {
                inode.crtime = Some(clamp_time(inode, time));
            }
            inode.flags = flags.unwrap_or(inode.flags);
            if !inode.is_dir() {
                // Of no use there, and no error for Linux.
                inode.flags.remove(InodeFlags::PROJINHERIT);
            }
            if let Some(project) = change.project {
                inode.set_project(txn.sb(), project)?;
            }
            txn.store_inode(inode)
        })
    }
}
