//! Inodes that hold the values of extended attributes (ea_inode).
//!
//! Such an inode has no name. It counts the entries that refer to it, in its change time and version, and keeps a hash of
//! its content in its access time. Its blocks go through the journal.

use crate::{
    error::{Error, Expected, Place, Result},
    inode::{FileType, Inode, InodeFlags},
    layout::inode::RawInode,
    map_write::Purpose,
    txn::Txn,
    types::{FileBlock, FsBlock, InodeNumber, index, number},
    xattr::value_hash,
    xattr_write::SIZE_MAX,
};
use alloc::vec::Vec;
use rumpuser::Timespec;
use zerocopy::FromBytes;

impl Txn<'_> {
    /// Makes an inode for a value, which one entry refers to. Returns it and the value's hash.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn new_value_inode(
        &mut self,
        owner: &Inode,
        value: &[u8],
    ) -> Result<(InodeNumber, u32)> {
        let ino = self.allocate_inode(owner, false)?;
        let mut inode = self.new_inode(ino, FileType::Regular, 0o600)?;
        inode.uid = owner.uid;
        inode.gid = owner.gid;
        inode.links = 1;
        inode.size = number(value.len());
        inode.flags = InodeFlags::EA_INODE | self.map_flags();
        inode.block = self.initial_map(inode.flags);
        let hash = value_hash(self.sb(), value);
        inode.atime = Timespec::from_secs(i64::from(hash));
        inode.ctime = Timespec::from_secs(0);
        inode.version = 1;
        self.write_content(&mut inode, value)?;
        self.store_inode(&inode)?;
        Ok((ino, hash))
    }

    /// Changes the number of entries of `owner` that refer to a value's inode; frees it with the last.
    ///
    /// # Errors
    /// [`Error::Value`] if it is no such inode.
    pub(crate) fn count_value(
        &mut self,
        owner: &Inode,
        ino: InodeNumber,
        change: i64,
    ) -> Result<()> {
        let place = Place::XattrInode(ino);
        if ino < self.sb().first_ino {
            let least = u64::from(self.sb().first_ino);
            let range = Expected::Range(least, u64::from(self.sb().inodes));
            return Err(Error::value(place, "e_value_inum", ino, range));
        }
        let mut inode = self.fs().inode(ino)?;
        if inode.file_type != FileType::Regular || !inode.flags.contains(InodeFlags::EA_INODE) {
            return Err(Error::words(
                place,
                "i_flags",
                inode.flags.bits(),
                "a regular file with EA_INODE",
            ));
        }
        // Lustre's first inodes of this kind belong to one owner, whom they name, and do not count.
        let of_owner = inode.mtime.sec & 0xFFFF_FFFF == i64::from(owner.ino.0)
            && inode.generation == owner.generation;
        let before = if of_owner {
            1
        } else {
            self.fs().xattr_inode_references(ino)?
        };
        match before.saturating_add_signed(change) {
            0 => self.free_value(&mut inode),
            references => {
                let [a, b, c, d, e, f, g, h] = references.to_le_bytes();
                self.modify_inode_bytes(ino, |bytes| {
                    if let Ok((raw, _)) = RawInode::mut_from_prefix(bytes) {
                        raw.l_i_version.set(u32::from_le_bytes([a, b, c, d]));
                        raw.i_ctime.set(u32::from_le_bytes([e, f, g, h]));
                    }
                })
            }
        }
    }

    /// Frees the inode of a value that nothing refers to.
    fn free_value(&mut self, inode: &mut Inode) -> Result<()> {
        if inode.size <= number(SIZE_MAX) {
            self.remove_blocks(inode, 0, u64::MAX, usize::MAX)?;
            return self.erase_inode(inode);
        }
        // Longer than system calls can make: too much for one transaction, perhaps. The next mount for writing frees it.
        inode.links = 0;
        self.store_inode(inode)?;
        self.add_orphan(inode.ino)
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
                    let part = content.get(from..).unwrap_or_default();
                    let buf = self.create(FsBlock(block.0.saturating_add(u64::from(n))))?;
                    self.modify(&buf, |bytes| {
                        bytes
                            .iter_mut()
                            .zip(part)
                            .for_each(|(to, from)| *to = *from);
                    });
                }
            }
            done = done.saturating_add(n);
        }
        Ok(())
    }
}
