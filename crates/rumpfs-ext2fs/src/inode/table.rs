//! Reading inodes from the tables of inodes.

use crate::{
    error::{Place, Result},
    fs::Ext2fs,
    groups::DescLocation,
    inode::{Inode, checksum::verify},
    layout::inode::RawInode,
    superblock::Superblock,
    types::InodeNumber,
};
use alloc::vec::Vec;
use core::ops::Range;
use rumpbio::Buf;
use rumpuser::Threads;
use zerocopy::FromBytes;

/// Bytes of an inode table that are read at once: a power of two.
const TABLE_READ_AHEAD: u32 = 128 << 10;

/// Of how many blocks what is to be looked at is brought from memory at once.
const AT_ONCE: usize = 32;
/// Bytes of an inode that are looked at, at most: attributes in it are not, but its checksum is of them, too.
const LOOKED_AT: usize = 256;

impl Ext2fs {
    /// Reads an inode.
    ///
    /// # Errors
    /// `Unallocated` if it is not in use, `Checksum`, `Value` for a field out of range or a number that is no inode's, `Device`.
    pub fn inode(&self, ino: InodeNumber) -> Result<Inode> {
        let location = self.inode_location(ino)?;
        let buf = self.read_table_block(ino, location, Place::Inode(ino))?;
        self.inode_in(&buf, ino, location)
    }

    /// Calls `each` with inodes, by their place in `inodes`, whose numbers rise. What cannot be read is left out.
    ///
    /// Each block is looked for once for all that are wanted of it. In a large directory that is listed by hash that is hardly more than one, and each
    /// step to it waits for memory: so what is needed next is brought meanwhile.
    pub(crate) fn glance(
        &self,
        threads: &dyn Threads,
        inodes: &[InodeNumber],
        mut each: impl FnMut(usize, &Inode),
    ) {
        let sb = self.superblock();
        let place = |ino: InodeNumber| {
            let (group, n) = sb.inode_group(ino)?;
            Some((group, n.checked_div(sb.inodes_per_block())?))
        };
        let mut blocks = Vec::with_capacity(inodes.len());
        let mut before = 0_usize;
        // The group of the last block, and its table.
        let mut last = None;
        for inodes in inodes.chunk_by(|one, next| place(*one) == place(*next)) {
            if let Some(&first) = inodes.first()
                && let Some((group, n)) = sb.inode_group(first)
                && let Ok(table) = match last {
                    Some((same, table)) if same == group => Ok(table),
                    _ => self.inode_table(group),
                }
            {
                last = Some((group, table));
                blocks.push((self.location_in(table, n), before, inodes));
            }
            before = before.saturating_add(inodes.len());
        }
        let looked_at = LOOKED_AT.min(usize::from(sb.inode_size));
        for blocks in blocks.chunks(AT_ONCE) {
            let places: Vec<(u64, usize)> = blocks
                .iter()
                .map(|(location, ..)| (location.block.0, location.offset))
                .collect();
            let cached = self.volume().cached_all(threads, &places, looked_at);
            for ((location, before, inodes), cached) in blocks.iter().zip(cached) {
                self.glance_block(cached, *location, inodes, |n, inode| {
                    each(before.saturating_add(n), inode);
                });
            }
        }
    }

    /// As [`glance`](Self::glance), of one block, where the first of the inodes is at `location`; `cached` is its buffer, if that was there a moment ago.
    fn glance_block(
        &self,
        cached: Option<Buf>,
        location: DescLocation,
        inodes: &[InodeNumber],
        mut each: impl FnMut(usize, &Inode),
    ) {
        let size = usize::from(self.superblock().inode_size);
        let first = inodes.first().map_or(0, |first| first.0);
        let mut read = cached;
        let mut data = None;
        for (n, &ino) in inodes.iter().enumerate() {
            let after = usize::try_from(ino.0.saturating_sub(first)).unwrap_or(0);
            let location = DescLocation {
                offset: location.offset.saturating_add(after.saturating_mul(size)),
                ..location
            };
            if read.is_none() {
                read = self.read_table_block(ino, location, Place::Inode(ino)).ok();
            }
            let Some(buf) = &read else {
                continue;
            };
            let inode = if inodes.len() > 1 {
                let data = data.get_or_insert_with(|| buf.data());
                self.inode_of(buf, data, ino, location)
            } else {
                self.inode_in(buf, ino, location)
            };
            if let Ok(inode) = inode {
                each(n, &inode);
            }
        }
    }

    /// An inode of a block of a table, checked.
    fn inode_in(&self, buf: &Buf, ino: InodeNumber, location: DescLocation) -> Result<Inode> {
        buf.look(|data, _| self.inode_of(buf, data, ino, location))
    }

    /// As [`inode_in`](Self::inode_in); `data` is what the block has.
    fn inode_of(
        &self,
        buf: &Buf,
        data: &[u8],
        ino: InodeNumber,
        location: DescLocation,
    ) -> Result<Inode> {
        let bytes = self.check_inode(buf, data, ino, location)?;
        Inode::parse(self.superblock(), ino, location, bytes)
    }

    /// The bytes of an inode, its checksum compared once per read. Each inode has it compared when it is asked for: of a block that is read
    /// for one of them the others may never be, and if one is wrong they stay usable.
    fn check_inode<'a>(
        &self,
        buf: &Buf,
        data: &'a [u8],
        ino: InodeNumber,
        location: DescLocation,
    ) -> Result<&'a [u8]> {
        let sb = self.superblock();
        let bytes = inode_at(sb, location, data);
        let part = location.offset.checked_div(usize::from(sb.inode_size));
        let part = part.map_or(u32::MAX, |part| u32::try_from(part).unwrap_or(u32::MAX));
        if sb.features.metadata_csum() && !buf.part_verified(part) {
            if !is_unused(bytes) {
                verify(sb, ino, bytes)?;
            }
            buf.set_part_verified(part);
        }
        Ok(bytes)
    }

    /// The buffer that an inode lies in, its place, and the buffer's content, checked.
    pub(crate) fn inode_bytes(
        &self,
        ino: InodeNumber,
    ) -> Result<(Buf, DescLocation, rumpbio::BufData)> {
        let location = self.inode_location(ino)?;
        let buf = self.read_table_block(ino, location, Place::Inode(ino))?;
        let data = buf.data();
        self.check_inode(&buf, &data, ino, location)?;
        Ok((buf, location, data))
    }

    /// As [`inode_bytes`](Self::inode_bytes), of an inode whose place is known, the buffer alone.
    pub(crate) fn inode_buffer(&self, ino: InodeNumber, location: DescLocation) -> Result<Buf> {
        let buf = self.read_table_block(ino, location, Place::Inode(ino))?;
        buf.look(|data, _| self.check_inode(&buf, data, ino, location).map(drop))?;
        Ok(buf)
    }

    /// Where in its block an inode lies.
    pub(crate) fn inode_part(&self, location: DescLocation) -> Range<usize> {
        let size = usize::from(self.superblock().inode_size);
        location.offset..location.offset.saturating_add(size)
    }

    /// Reads a block of an inode table. Next to blocks that were read lately it comes with its neighbours: whoever lists a
    /// directory will ask for those as well. Elsewhere it does not: a large directory that is listed by hash asks for inodes
    /// all over the tables, and neighbours would only drive each other out.
    fn read_table_block(
        &self,
        ino: InodeNumber,
        location: DescLocation,
        place: Place,
    ) -> Result<Buf> {
        let volume = self.volume();
        if let Some(buf) = volume.cached(location.block.0) {
            return Ok(buf);
        }
        let sb = self.superblock();
        let window = TABLE_READ_AHEAD.wrapping_shr(sb.block_bits).max(1);
        if self.recent().near(location.block.0, u64::from(window)) {
            let n = sb.inode_group(ino).map_or(0, |(_, n)| n);
            let block = n.checked_div(sb.inodes_per_block()).unwrap_or(0);
            // A power of two, so this is the start of the window; what lies past the table is not read.
            let before = block & window.saturating_sub(1);
            let first = location.block.0.saturating_sub(u64::from(before));
            let left = sb
                .inode_table_blocks()
                .saturating_sub(block.saturating_sub(before));
            volume.read_ahead(first, window.min(left));
        }
        self.read(location.block, place)
    }
}

/// The bytes of the inode at `location` of its block.
fn inode_at<'a>(sb: &Superblock, location: DescLocation, data: &'a [u8]) -> &'a [u8] {
    let end = location.offset.saturating_add(usize::from(sb.inode_size));
    data.get(location.offset..end).unwrap_or_default()
}

/// Inodes without a type were never used and may hold anything.
fn is_unused(bytes: &[u8]) -> bool {
    RawInode::ref_from_prefix(bytes).is_ok_and(|(raw, _)| raw.i_mode.get() == 0)
}

/// `i_dtime` of the inode in `bytes`.
pub(crate) fn stored_dtime(bytes: &[u8]) -> u32 {
    RawInode::ref_from_prefix(bytes).map_or(0, |(raw, _)| raw.i_dtime.get())
}

/// Changes `i_dtime` of the inode in `bytes`; its checksum is the caller's.
pub(crate) fn set_dtime(bytes: &mut [u8], dtime: u32) {
    if let Ok((raw, _)) = RawInode::mut_from_prefix(bytes) {
        raw.i_dtime.set(dtime);
    }
}

/// `i_dtime` of an inode as it is now.
pub(crate) fn dtime_of(fs: &Ext2fs, ino: InodeNumber) -> Result<u32> {
    let (_, location, data) = fs.inode_bytes(ino)?;
    Ok(stored_dtime(
        data.get(location.offset..).unwrap_or_default(),
    ))
}
