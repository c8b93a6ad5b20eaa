//! Reading: bytes and inodes as they are on the medium.

use crate::{
    inode::FileType,
    layout::{DIRECT, INDIRECT, RawInode1, RawInode2},
    superblock::Superblock,
    types::{Order, Version, index, number},
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::mem::offset_of;
use rumpuser::{BlockDevice, Errno};
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// The device and the superblock that was checked.
pub(super) struct Reader {
    device: Arc<dyn BlockDevice>,
    pub(super) superblock: Arc<Superblock>,
    /// Fragments that the device has.
    pub(super) end: u64,
}

/// An inode in the host's order, unchecked.
#[derive(Clone, Debug, Default)]
pub(super) struct Dinode {
    pub(super) ino: u64,
    pub(super) mode: u16,
    pub(super) links: u16,
    pub(super) size: u64,
    pub(super) blocks: u64,
    pub(super) flags: u32,
    pub(super) direct: [u64; DIRECT],
    pub(super) indirect: [u64; INDIRECT],
    pub(super) attr_size: u32,
    pub(super) attr: [u64; 2],
}

impl Dinode {
    /// The upper four bits of the mode.
    pub(super) fn kind(&self) -> u8 {
        u8::try_from(self.mode.wrapping_shr(12)).unwrap_or(0)
    }
}

impl Reader {
    pub(super) fn new(device: Arc<dyn BlockDevice>, superblock: Superblock) -> Self {
        let on_device = device.len().wrapping_shr(superblock.frag_bits);
        Self {
            end: on_device.min(superblock.size),
            device,
            superblock: Arc::new(superblock),
        }
    }

    pub(super) fn bytes(&self, byte: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let end = byte.checked_add(number(len)).ok_or(Errno::EIO)?;
        if end > self.device.len() {
            return Err(Errno::EIO);
        }
        let mut bytes = vec![0; len];
        self.device.read_at(byte, &mut bytes)?;
        Ok(bytes)
    }

    /// Whole fragments, of one block at most.
    pub(super) fn frags(&self, frag: u64, count: u64) -> Result<Vec<u8>, Errno> {
        let bits = self.superblock.frag_bits;
        let byte = frag
            .checked_shl(bits)
            .filter(|byte| byte.wrapping_shr(bits) == frag);
        let len = count.wrapping_shl(bits).min(self.superblock.block_size());
        self.bytes(byte.ok_or(Errno::EIO)?, index(len))
    }

    /// The block of a group with its maps.
    pub(super) fn group_bytes(&self, group: u32) -> Result<Vec<u8>, Errno> {
        let superblock = &self.superblock;
        let byte = superblock
            .group_maps(group)
            .saturating_mul(superblock.frag_size());
        let len = u64::from(superblock.group_bytes).min(superblock.block_size());
        self.bytes(byte, index(len))
    }

    /// Groups that begin on the device.
    pub(super) fn groups(&self) -> u32 {
        let groups = self
            .end
            .div_ceil(u64::from(self.superblock.frags_per_group).max(1));
        u32::try_from(groups)
            .unwrap_or(u32::MAX)
            .min(self.superblock.groups)
    }

    /// Fragments of a group that are on the device.
    pub(super) fn group_frags(&self, group: u32) -> u64 {
        self.end
            .saturating_sub(self.superblock.group_base(group))
            .min(self.superblock.frags_per_group.into())
    }

    /// The group of an inode, and its number in it.
    pub(super) fn group_of(&self, ino: u64) -> (u32, u64) {
        let per_group = u64::from(self.superblock.inodes_per_group);
        let group = ino.checked_div(per_group).unwrap_or(0);
        let within = ino.checked_rem(per_group).unwrap_or(0);
        (u32::try_from(group).unwrap_or(u32::MAX), within)
    }

    /// Inodes of a group whose place in the table is on the device.
    pub(super) fn inodes_on_device(&self, group: u32) -> u64 {
        let superblock = &self.superblock;
        let table = superblock.inode_table_of(group);
        let end = self.end.wrapping_shl(superblock.frag_bits);
        end.saturating_sub(table)
            .wrapping_shr(superblock.version.inode_bits())
            .min(superblock.inodes_per_group.into())
    }

    /// The bytes of a piece of a group's inode table, `count` inodes from the `first` of the group on.
    pub(super) fn inode_table(&self, group: u32, first: u64, count: u64) -> Result<Vec<u8>, Errno> {
        let bits = self.superblock.version.inode_bits();
        let start = self.superblock.inode_table_of(group);
        let byte = start.saturating_add(first.wrapping_shl(bits));
        self.bytes(byte, index(count.wrapping_shl(bits)))
    }

    pub(super) fn inode(&self, ino: u64) -> Result<(Dinode, Vec<u8>), Errno> {
        let (group, within) = self.group_of(ino);
        let bytes = self.inode_table(group, within, 1)?;
        let inode = self.parse(ino, &bytes).ok_or(Errno::EIO)?;
        Ok((inode, bytes))
    }

    pub(super) fn parse(&self, ino: u64, bytes: &[u8]) -> Option<Dinode> {
        match (self.superblock.version, self.superblock.order) {
            (Version::Ufs1, Order::Little) => ufs1::<LittleEndian>(ino, bytes),
            (Version::Ufs1, Order::Big) => ufs1::<BigEndian>(ino, bytes),
            (Version::Ufs2, Order::Little) => ufs2::<LittleEndian>(ino, bytes),
            (Version::Ufs2, Order::Big) => ufs2::<BigEndian>(ino, bytes),
        }
    }

    /// The bytes of an inode's pointers, which hold the text of a short symbolic link.
    pub(super) fn inline<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let version = self.superblock.version;
        let start = match version {
            Version::Ufs1 => offset_of!(RawInode1<LittleEndian>, db),
            Version::Ufs2 => offset_of!(RawInode2<LittleEndian>, db),
        };
        bytes
            .get(start..)
            .and_then(|rest| rest.get(..version.inline_room()))
            .unwrap_or_default()
    }

    /// The pointers of a block of them.
    pub(super) fn pointers(&self, bytes: &[u8]) -> impl Iterator<Item = u64> {
        let len = 1_usize.wrapping_shl(self.superblock.version.pointer_bits());
        let pointers = bytes.chunks_exact(len);
        pointers.map(|bytes| self.superblock.pointer(bytes).unwrap_or(0))
    }

    /// Whether the pointers of an inode lead to blocks: they may be the text of a link, or the number of a device.
    pub(super) fn has_data(&self, inode: &Dinode, file_type: FileType) -> bool {
        match file_type {
            FileType::Regular | FileType::Directory => true,
            FileType::Symlink => inode.size >= number(self.superblock.inline_link),
            _ => false,
        }
    }
}

fn ufs1<O: ByteOrder>(ino: u64, bytes: &[u8]) -> Option<Dinode> {
    let raw = RawInode1::<O>::ref_from_bytes(bytes).ok()?;
    Some(Dinode {
        ino,
        mode: raw.mode.get(),
        links: raw.nlink.get(),
        size: raw.size.get(),
        blocks: raw.blocks.get().into(),
        flags: raw.flags.get(),
        direct: raw.db.map(|pointer| pointer.get().into()),
        indirect: raw.ib.map(|pointer| pointer.get().into()),
        attr_size: 0,
        attr: [0; 2],
    })
}

fn ufs2<O: ByteOrder>(ino: u64, bytes: &[u8]) -> Option<Dinode> {
    let raw = RawInode2::<O>::ref_from_bytes(bytes).ok()?;
    Some(Dinode {
        ino,
        mode: raw.mode.get(),
        links: raw.nlink.get(),
        size: raw.size.get(),
        blocks: raw.blocks.get(),
        flags: raw.flags.get(),
        direct: raw.db.map(|pointer| pointer.get()),
        indirect: raw.ib.map(|pointer| pointer.get()),
        attr_size: raw.extsize.get(),
        attr: raw.extb.map(|pointer| pointer.get()),
    })
}
