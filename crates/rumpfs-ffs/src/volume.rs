//! An opened volume: its metadata by fragment, its inodes by number.

use crate::{
    error::{Error, Place, Result, at},
    inode::Inode,
    layout::ROOT_INO,
    maps::Maps,
    options::Options,
    superblock::{self, Superblock},
    types::{index, number},
    wapbl::Journal,
};
use alloc::{sync::Arc, vec::Vec};
use rumpbio::{BufData, Volume, VolumeOptions};
use rumpuser::{BlockDevice, Threads};

/// An opened volume.
pub struct Ffs {
    /// What is read: the device, under what only the journal has.
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) superblock: Superblock,
    volume: Arc<Volume>,
}

/// A block whose fragments are read together.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours {
    /// First fragment.
    pub(crate) first: u64,
    /// Number of fragments.
    pub(crate) count: u64,
}

impl Ffs {
    /// Opens the volume on a device, for reading. What a journal in use holds is seen, and not written.
    ///
    /// # Errors
    /// [`Error::NotFfs`], and whatever is wrong with the superblock or the journal.
    pub fn open(
        mut device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
        options: Options,
    ) -> Result<Self> {
        let read = |device: &dyn BlockDevice| -> Result<Superblock> {
            superblock::find(device)?.ok_or(Error::NotFfs)?.check()
        };
        let mut superblock = read(&*device)?;
        if let Some(place) = superblock.log.filter(|_| !options.noreplay) {
            let journal = Journal::open(device.clone(), superblock.order, &place)?;
            device = journal.replay()?.overlay(device);
            superblock = read(&*device)?;
        }
        let volume_options = VolumeOptions {
            block_size: 1_u32.wrapping_shl(superblock.frag_bits),
            cache_bytes,
        };
        let volume = Volume::new(device.clone(), threads, volume_options);
        let volume = volume.map_err(at(Place::Superblock(superblock.at)))?;
        Ok(Self {
            device,
            superblock,
            volume,
        })
    }

    /// A fragment, read with its neighbours unless it is cached.
    pub(crate) fn frag(&self, frag: u64, block: Neighbours, place: Place) -> Result<BufData> {
        let count = u32::try_from(block.count.max(1)).unwrap_or(u32::MAX);
        let read = self.volume.read_among(frag, block.first, count);
        Ok(read.map_err(at(place))?.data())
    }

    /// The `len` bytes of metadata from the byte `byte` on, which do not cross a fragment.
    pub(crate) fn bytes_within(
        &self,
        byte: u64,
        len: usize,
        block: Neighbours,
        place: Place,
    ) -> Result<Vec<u8>> {
        let data = self.frag(byte.wrapping_shr(self.superblock.frag_bits), block, place)?;
        let start = index(byte & self.superblock.frag_size().wrapping_sub(1));
        let bytes = data.get(start..).and_then(|rest| rest.get(..len));
        bytes
            .map(Vec::from)
            .ok_or_else(|| Error::value(place, "offset", number(start), "within a fragment"))
    }

    /// Reads the maps of a group.
    ///
    /// # Errors
    /// As [`Maps::parse`].
    pub fn maps(&self, group: u32) -> Result<Maps> {
        let superblock = &self.superblock;
        let len = u64::from(superblock.group_bytes);
        if len > superblock.block_size() {
            let place = Place::Superblock(superblock.at);
            return Err(Error::value(place, "cgsize", len, "fs_bsize or less"));
        }
        let first = superblock
            .group_start(group)
            .saturating_add(superblock.group_block.into());
        let count = len.div_ceil(superblock.frag_size());
        let bytes = self.frags(first, count, Place::Group(group))?;
        Maps::parse(superblock, group, bytes)
    }

    /// The bytes of fragments of metadata that follow each other.
    pub(crate) fn frags(&self, first: u64, count: u64, place: Place) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for frag in first..first.saturating_add(count) {
            bytes.extend_from_slice(&self.frag(frag, Neighbours { first, count }, place)?);
        }
        Ok(bytes)
    }

    /// Reads an inode.
    ///
    /// # Errors
    /// [`Error::NoInode`] when none in use has this number, and whatever is wrong with it.
    pub fn inode(&self, ino: u64) -> Result<Inode> {
        let superblock = &self.superblock;
        if ino < ROOT_INO || ino >= superblock.inodes() {
            return Err(Error::NoInode(ino));
        }
        let per_group = u64::from(superblock.inodes_per_group);
        let group = ino.checked_div(per_group).unwrap_or(0);
        let within = ino.checked_rem(per_group).unwrap_or(0);
        let inode_bits = superblock.version.inode_bits();
        let table = superblock.inode_table_of(u32::try_from(group).unwrap_or(u32::MAX));
        let offset = within.wrapping_shl(inode_bits);
        let byte = table.saturating_add(offset);
        let len = 1_u64.wrapping_shl(inode_bits);
        if byte.saturating_add(len) > superblock.bytes() {
            // Of a last group that is cut off.
            return Err(Error::NoInode(ino));
        }
        let block_start = offset & !superblock.block_size().wrapping_sub(1);
        let first = table.saturating_add(block_start);
        let block = Neighbours {
            first: first.wrapping_shr(superblock.frag_bits),
            count: 1_u64.wrapping_shl(superblock.ratio_bits()),
        };
        let bytes = self.bytes_within(byte, index(len), block, Place::Inode(ino))?;
        Inode::parse(superblock, ino, &bytes)
    }
}
