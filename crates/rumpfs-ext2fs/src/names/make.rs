//! Inodes that are made, before they have a name.

use crate::{
    error::{Error, Result},
    features::Incompat,
    inode::{Device, FileType, Inode, InodeFlags, csum_seed},
    layout::inode::I_BLOCK_SIZE,
    txn::{NAME_CREDITS, Txn},
    types::{FsBlock, InodeNumber, number},
    xattr::NameIndex,
    xattr_write::value_credits,
};
use alloc::vec::Vec;
use rumpbio::{Space, XattrMode};
use rumpuser::{Errno, Timespec};

/// An inode to be made.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// Type and what only that type has.
    pub kind: NewKind<'a>,
    /// Permissions with the set-id and sticky bits: 12 bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All its times.
    pub time: Timespec,
    /// Attributes that it is born with, as they are stored.
    pub xattrs: Vec<(NameIndex, Vec<u8>, Vec<u8>)>,
    /// Which free blocks it may take.
    pub space: Space,
}

/// Type of an inode to be made.
#[derive(Clone, Copy, Debug)]
pub enum NewKind<'a> {
    /// Regular file, directory, FIFO or socket.
    Plain(FileType),
    /// Symbolic link and its target.
    Symlink(&'a [u8]),
    /// Device node; the type is one of the two.
    Device(FileType, Device),
}

impl NewKind<'_> {
    pub(super) fn file_type(&self) -> FileType {
        match *self {
            Self::Plain(file_type) | Self::Device(file_type, _) => file_type,
            Self::Symlink(_) => FileType::Symlink,
        }
    }
}

/// Blocks that an operation with these attributes changes at most.
pub(super) fn credits(fs: &crate::fs::Ext2fs, xattrs: &[(NameIndex, Vec<u8>, Vec<u8>)]) -> usize {
    xattrs.iter().fold(NAME_CREDITS, |sum, (_, _, value)| {
        sum.saturating_add(value_credits(fs, value.len()))
    })
}

impl Txn<'_> {
    /// A new inode in memory, its slot in the table is zero. It has no name and no content.
    pub(crate) fn new_inode(
        &mut self,
        ino: InodeNumber,
        file_type: FileType,
        permissions: u16,
    ) -> Result<Inode> {
        let sb = self.sb();
        let generation = self.random();
        let mut inode = Inode {
            ino,
            location: self.fs().inode_location(ino)?,
            file_type,
            permissions,
            uid: 0,
            gid: 0,
            projid: 0,
            size: 0,
            atime: self.now,
            ctime: self.now,
            mtime: self.now,
            crtime: None,
            dtime: 0,
            links: 0,
            blocks_512: 0,
            flags: InodeFlags::empty(),
            generation,
            version: 1,
            file_acl: FsBlock(0),
            block: [0; I_BLOCK_SIZE],
            extra_isize: sb.want_extra_isize,
            has_inode_xattrs: false,
            csum_seed: csum_seed(sb, ino, generation),
        };
        inode.set_all_times(self.now);
        Ok(inode)
    }

    /// Makes an inode in the group of `dir`, with its content and attributes, but without a name. It is not stored yet
    /// as it will be: the caller does that.
    pub(super) fn make(&mut self, dir: &Inode, new: &NewNode<'_>) -> Result<Inode> {
        let file_type = new.kind.file_type();
        let ino = self.allocate_inode(dir, file_type == FileType::Directory)?;
        let mut inode = self.new_inode(ino, file_type, new.permissions)?;
        inode.uid = new.uid;
        inode.gid = new.gid;
        inode.set_all_times(new.time);
        inode.flags = self.initial_flags(dir, file_type);
        inode.projid = dir.project_of_children();
        match new.kind {
            NewKind::Plain(_) => inode.block = self.initial_map(inode.flags),
            NewKind::Device(_, device) => inode.set_device(device),
            NewKind::Symlink(target) => self.set_target(&mut inode, target)?,
        }
        self.store_inode(&inode)?;
        for (index, name, value) in &new.xattrs {
            self.set_xattr(&mut inode, *index, name, value, XattrMode::Set)?;
        }
        Ok(inode)
    }

    /// Puts the target into a symbolic link: into `i_block` if it is short.
    fn set_target(&mut self, inode: &mut Inode, target: &[u8]) -> Result<()> {
        let most = u64::from(self.sb().block_size()).saturating_sub(1);
        if number(target.len()) > most {
            return Err(Error::Refused(Errno::ENAMETOOLONG));
        }
        inode.size = number(target.len());
        if target.len() < I_BLOCK_SIZE {
            for (to, from) in inode.block.iter_mut().zip(target) {
                *to = *from;
            }
            return Ok(());
        }
        if self.sb().features.incompat(Incompat::EXTENTS) {
            inode.flags.insert(InodeFlags::EXTENTS);
        }
        inode.block = self.initial_map(inode.flags);
        self.write_content(inode, target)
    }
}
