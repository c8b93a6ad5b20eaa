//! Fast commits of names.

use super::Target;
use crate::{
    dir_write::NewEntry,
    error::{Error, Place, Result},
    features::RoCompat,
    inode::{FileType, Inode, InodeFlags},
    map::Mapping,
    names::link_max,
    txn::Txn,
    types::{FileBlock, InodeNumber},
};

/// What a new name is to its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entering {
    /// The first one.
    New,
    /// One more.
    Another,
}

impl Target<'_> {
    /// A directory that names are to be changed in.
    fn dir(&self, ino: u32) -> Result<Inode> {
        let ino = self.inode_number(ino)?;
        let inode = self.writer.fs().inode(ino)?;
        if !inode.is_dir() {
            let mode = inode.mode();
            return Err(Error::words(
                Place::Inode(ino),
                "i_mode",
                mode,
                "a directory",
            ));
        }
        Ok(inode)
    }

    /// Puts a name into a directory.
    pub(super) fn enter(
        &mut self,
        txn: &mut Txn<'_>,
        parent: u32,
        ino: u32,
        name: &[u8],
        entering: Entering,
    ) -> Result<()> {
        let mut dir = self.dir(parent)?;
        let ino = self.inode_number(ino)?;
        let mut inode = txn.fs().inode(ino)?;
        let wrong = |field, found: u64, expected| {
            Err(Error::words(Place::Inode(ino), field, found, expected))
        };
        if matches!(name, b"." | b"..") || ino == dir.ino || ino == InodeNumber::ROOT {
            return wrong("name in a fast commit", ino.into(), "a file's name");
        }
        if inode.is_dir() {
            if entering == Entering::Another {
                return wrong("i_mode", inode.mode().into(), "no directory to link");
            }
            init_dir(txn, &mut inode, dir.ino)?;
            self.dirs.insert(ino);
        } else {
            self.inodes.insert(ino);
            if entering == Entering::New {
                inode.links = 1;
                txn.store_inode(&inode)?;
            }
        }
        match txn.fs().lookup(&dir, name)? {
            Some(found) if found.ino == ino => return Ok(()),
            Some(found) => {
                self.leave(txn, parent, found.ino.0, name)?;
                dir = self.dir(parent)?;
            }
            None => {}
        }
        let entry = NewEntry {
            name,
            ino,
            file_type: inode.file_type,
        };
        txn.add_entry(&mut dir, &entry)?;
        dir.mtime = dir.mtime.max(inode.ctime);
        dir.ctime = dir.ctime.max(inode.ctime);
        txn.store_inode(&dir)?;
        self.dirs.insert(dir.ino);
        if entering == Entering::Another {
            inode.links = inode.links.saturating_add(1);
            txn.store_inode(&inode)?;
        }
        Ok(())
    }

    /// Takes a name out of a directory, if it is there and stands for the inode, which is freed without any.
    pub(super) fn leave(
        &mut self,
        txn: &mut Txn<'_>,
        parent: u32,
        ino: u32,
        name: &[u8],
    ) -> Result<()> {
        let mut dir = self.dir(parent)?;
        let ino = self.inode_number(ino)?;
        let Some(found) = txn.fs().lookup(&dir, name)? else {
            return Ok(());
        };
        if found.ino != ino || matches!(name, b"." | b"..") {
            return Ok(());
        }
        let inode = self.present(txn, ino)?;
        if let Some(inode) = inode.as_ref().filter(|inode| inode.is_dir())
            && !txn.dir_is_empty(inode)?
        {
            let place = Place::Inode(ino);
            return Err(Error::words(place, "names", ino, "none in what is removed"));
        }
        txn.remove_entry(&mut dir, &found)?;
        txn.store_inode(&dir)?;
        self.dirs.insert(dir.ino);
        let Some(mut inode) = inode else {
            return Ok(());
        };
        inode.links = inode.links.saturating_sub(1);
        if inode.is_dir() || inode.links == 0 {
            return self.free(txn, inode);
        }
        self.inodes.insert(ino);
        txn.store_inode(&inode)
    }

    /// Brings the links of a directory in line with its subdirectories.
    pub(super) fn count_links(&self, txn: &mut Txn<'_>, mut dir: Inode) -> Result<()> {
        let mut links = 2_u64;
        let mut unknown = alloc::vec::Vec::new();
        txn.fs().read_dir(&dir, 0, |entry| {
            match entry.file_type {
                _ if matches!(&*entry.name, b"." | b"..") => {}
                Some(FileType::Directory) => links = links.saturating_add(1),
                Some(_) => {}
                None => unknown.push(entry.ino),
            }
            true
        })?;
        for ino in unknown {
            let is_dir = txn.fs().inode(ino)?.is_dir();
            links = links.saturating_add(u64::from(is_dir));
        }
        let most = u64::from(link_max(txn.sb()));
        let uncounted = txn.sb().features.ro_compat(RoCompat::DIR_NLINK) && links >= most;
        let links = if uncounted { 1 } else { links.min(most) };
        dir.links = u16::try_from(links).unwrap_or(u16::MAX);
        txn.store_inode(&dir)
    }
}

/// Gives a directory its first block, unless it has its entries already.
fn init_dir(txn: &mut Txn<'_>, dir: &mut Inode, parent: InodeNumber) -> Result<()> {
    if dir.flags.contains(InodeFlags::INLINE_DATA) {
        return Ok(());
    }
    let first = txn.fs().map(dir, FileBlock(0), 1)?;
    if matches!(first, Mapping::OnDisk { .. }) {
        return Ok(());
    }
    // The record has the size and the index that it had with all its names: these come one by one.
    dir.size = 0;
    dir.flags.remove(InodeFlags::INDEX);
    txn.init_dir(dir, parent)?;
    txn.store_inode(dir)
}
