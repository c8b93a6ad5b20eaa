//! Operations on names: making, linking, unlinking, renaming. Each is one transaction.

mod make;
mod rename;

use crate::{
    dir::Position,
    dir_write::NewEntry,
    error::{Error, Place, Result},
    features::{Incompat, RoCompat},
    inode::{FileType, Inode, InodeFlags, clamp_time},
    txn::{NAME_CREDITS, Txn, Writer},
};
use rumpbio::Space;
use rumpuser::{Errno, Timespec};

use make::credits;
pub use make::{NewKind, NewNode};
pub use rename::Dirs;

/// Most names of an inode: `EXT4_LINK_MAX`.
const LINK_MAX: u16 = 65_000;
/// Most names of an inode on volumes without ext4's features: `EXT2_LINK_MAX`.
const OLD_LINK_MAX: u16 = 32_000;

/// A name with the place where it was or could be.
#[derive(Clone, Copy, Debug)]
pub struct NamePlace<'n> {
    /// The name.
    pub name: &'n [u8],
    /// Where its entry was found.
    pub position: Option<Position>,
}

/// Most names of an inode of this volume.
#[must_use]
pub fn link_max(sb: &crate::superblock::Superblock) -> u16 {
    if sb.features.incompat(Incompat::EXTENTS) {
        LINK_MAX
    } else {
        OLD_LINK_MAX
    }
}

impl Txn<'_> {
    /// Counts one more subdirectory of `dir`.
    fn gain_subdir(&self, dir: &mut Inode) -> Result<()> {
        let sb = self.sb();
        // 1 says "too many to count".
        if dir.links == 1 {
            return Ok(());
        }
        if dir.links < link_max(sb) {
            dir.links = dir.links.saturating_add(1);
            return Ok(());
        }
        let uncounted =
            sb.features.ro_compat(RoCompat::DIR_NLINK) && dir.flags.contains(InodeFlags::INDEX);
        if uncounted {
            dir.links = 1;
            return Ok(());
        }
        Err(Error::Refused(Errno::EMLINK))
    }

    /// Counts one subdirectory of `dir` less.
    fn lose_subdir(dir: &mut Inode) {
        if dir.links > 2 {
            dir.links = dir.links.saturating_sub(1);
        }
    }

    /// Makes an inode with a name.
    pub(crate) fn create_named(
        &mut self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        new: &NewNode<'_>,
    ) -> Result<Inode> {
        let is_dir = new.kind.file_type() == FileType::Directory;
        if is_dir {
            self.gain_subdir(dir)?;
        }
        let mut inode = self.make(dir, new)?;
        inode.links = 1;
        if is_dir {
            inode.links = 2;
            self.init_dir(&mut inode, dir.ino)?;
        }
        self.store_inode(&inode)?;
        self.enter(dir, place, &inode, new.time)?;
        Ok(inode)
    }

    /// Makes an inode without a name: an orphan until it gets one.
    pub(crate) fn create_unnamed(&mut self, dir: &Inode, new: &NewNode<'_>) -> Result<Inode> {
        let inode = self.make(dir, new)?;
        self.store_inode(&inode)?;
        self.add_orphan(inode.ino)?;
        Ok(inode)
    }

    /// Puts a name into `dir` and stores `dir`.
    fn enter(
        &mut self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        inode: &Inode,
        time: Timespec,
    ) -> Result<()> {
        let entry = NewEntry {
            name: place.name,
            ino: inode.ino,
            file_type: inode.file_type,
        };
        self.add_entry(dir, &entry)?;
        dir.touch(time);
        self.store_inode(dir)
    }

    /// Gives an inode one more name.
    pub(crate) fn link(
        &mut self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        dir.admits(target)?;
        if target.links >= link_max(self.sb()) {
            return Err(Error::Refused(Errno::EMLINK));
        }
        if target.links == 0 {
            self.remove_orphan(target.ino)?;
        }
        target.links = target.links.saturating_add(1);
        target.ctime = clamp_time(target, time);
        self.store_inode(target)?;
        self.enter(dir, place, target, time)
    }

    /// The entry of a name, which must lead to `inode`.
    fn entry_of(
        &self,
        dir: &Inode,
        place: &NamePlace<'_>,
        inode: &Inode,
    ) -> Result<crate::dir::Located> {
        let found = self.locate(dir, place.name, place.position)?;
        if found.ino == inode.ino {
            return Ok(found);
        }
        Err(Error::words(
            Place::Directory {
                ino: dir.ino,
                block: found.position.block,
                offset: found.position.offset,
            },
            "inode",
            found.ino,
            "the inode that was looked up",
        ))
    }

    /// Takes one name of an inode off its count; it is an orphan without any.
    fn lose_name(&mut self, target: &mut Inode, time: Timespec) -> Result<()> {
        if target.links == 0 {
            return Err(Error::value(
                Place::Inode(target.ino),
                "i_links_count",
                0_u64,
                crate::error::Expected::Range(1, u64::from(LINK_MAX)),
            ));
        }
        target.links = if target.is_dir() {
            0
        } else {
            target.links.saturating_sub(1)
        };
        target.ctime = clamp_time(target, time);
        self.store_inode(target)?;
        if target.links == 0 {
            self.add_orphan(target.ino)?;
        }
        Ok(())
    }

    fn check_empty(&self, dir: &Inode) -> Result<()> {
        if dir.is_dir() && !self.dir_is_empty(dir)? {
            return Err(Error::Refused(Errno::ENOTEMPTY));
        }
        Ok(())
    }

    /// Takes a name away.
    pub(crate) fn unlink(
        &mut self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        self.check_empty(target)?;
        let found = self.entry_of(dir, place, target)?;
        self.remove_entry(dir, &found)?;
        if target.is_dir() {
            Self::lose_subdir(dir);
        }
        dir.touch(time);
        self.store_inode(dir)?;
        self.lose_name(target, time)
    }
}

impl Writer {
    /// Makes an inode with a name in `dir`. The name must not be there.
    ///
    /// # Errors
    /// `ENOSPC`; `EMLINK` when `dir` cannot have one more subdirectory; `ENAMETOOLONG` for the target of a symbolic link;
    /// what is wrong with the volume. Nothing has changed then.
    pub fn create(
        &self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        new: &NewNode<'_>,
        now: Timespec,
    ) -> Result<Inode> {
        let credits = credits(self.fs(), &new.xattrs);
        self.run_on(credits, now, dir, |txn, dir| {
            txn.space = new.space;
            txn.create_named(dir, place, new)
        })
    }

    /// Makes an inode without a name, as one of `dir`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unnamed(&self, dir: &Inode, new: &NewNode<'_>, now: Timespec) -> Result<Inode> {
        self.run(credits(self.fs(), &new.xattrs), now, |txn| {
            txn.space = new.space;
            txn.create_unnamed(dir, new)
        })
    }

    /// Gives an inode one more name.
    ///
    /// # Errors
    /// `EMLINK`, `ENOSPC`, what is wrong with the volume. Nothing has changed then.
    pub fn link(
        &self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        target: &mut Inode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        let copies = self.run(NAME_CREDITS, time, |txn| {
            txn.space = space;
            let mut copies = (dir.clone(), target.clone());
            txn.link(&mut copies.0, place, &mut copies.1, time)?;
            Ok(copies)
        })?;
        (*dir, *target) = copies;
        Ok(())
    }

    /// Takes a name away. A target without any other is an orphan from then on, to be given to
    /// [`reclaim`](Self::reclaim).
    ///
    /// # Errors
    /// `ENOTEMPTY`, what is wrong with the volume. Nothing has changed then.
    pub fn unlink(
        &self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        let copies = self.run(NAME_CREDITS, time, |txn| {
            let mut copies = (dir.clone(), target.clone());
            txn.unlink(&mut copies.0, place, &mut copies.1, time)?;
            Ok(copies)
        })?;
        (*dir, *target) = copies;
        Ok(())
    }

    /// Frees an inode without a name; another is just dropped.
    ///
    /// # Errors
    /// What is wrong with the volume: the inode stays an orphan.
    pub fn reclaim(&self, inode: Inode, now: Timespec) -> Result<()> {
        if inode.links > 0 {
            return Ok(());
        }
        self.delete(inode, now)
    }
}
