//! Operations on names: making, linking, unlinking, renaming. Each is one transaction.

use crate::{
    dir::Position,
    dir_write::NewEntry,
    error::{Error, Place, Result},
    features::{Incompat, RoCompat},
    inode::{Device, FileType, Inode, InodeFlags, clamp_time, csum_seed},
    layout::inode::I_BLOCK_SIZE,
    txn::{NAME_CREDITS, Txn, Writer},
    types::{FsBlock, InodeNumber, number},
    xattr::NameIndex,
    xattr_write::value_credits,
};
use alloc::vec::Vec;
use rumpbio::Space;
use rumpuser::{Errno, Timespec};
use rumpvfs::fs::XattrMode;

/// Most names of an inode: `EXT4_LINK_MAX`.
const LINK_MAX: u16 = 65_000;
/// Most names of an inode on volumes without ext4's features: `EXT2_LINK_MAX`.
const OLD_LINK_MAX: u16 = 32_000;

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
    fn file_type(&self) -> FileType {
        match *self {
            Self::Plain(file_type) | Self::Device(file_type, _) => file_type,
            Self::Symlink(_) => FileType::Symlink,
        }
    }
}

/// A name with the place where it was or could be.
#[derive(Clone, Copy, Debug)]
pub struct NamePlace<'n> {
    /// The name.
    pub name: &'n [u8],
    /// Where its entry was found.
    pub position: Option<Position>,
}

/// The directories of a renaming.
pub enum Dirs<'d> {
    /// Old and new name are in the same.
    Same(&'d mut Inode),
    /// That of the old name and that of the new one.
    Two(&'d mut Inode, &'d mut Inode),
}

impl Dirs<'_> {
    fn from(&mut self) -> &mut Inode {
        match self {
            Self::Same(dir) | Self::Two(dir, _) => dir,
        }
    }

    fn to(&mut self) -> &mut Inode {
        match self {
            Self::Same(dir) | Self::Two(_, dir) => dir,
        }
    }
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
    fn make(&mut self, dir: &Inode, new: &NewNode<'_>) -> Result<Inode> {
        let file_type = new.kind.file_type();
        let ino = self.allocate_inode(dir, file_type == FileType::Directory)?;
        let mut inode = self.new_inode(ino, file_type, new.permissions)?;
        inode.uid = new.uid;
        inode.gid = new.gid;
        inode.set_all_times(new.time);
        inode.flags = self.initial_flags(dir, file_type);
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
    pub(crate) fn create_unnamed(&mut self, near: &Inode, new: &NewNode<'_>) -> Result<Inode> {
        let inode = self.make(near, new)?;
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

    /// Gives `inode` a new name in the place of its old one, and in the place of `replaced` if there is one.
    pub(crate) fn rename(
        &mut self,
        mut dirs: Dirs<'_>,
        from: &NamePlace<'_>,
        to: &NamePlace<'_>,
        inode: &mut Inode,
        replaced: Option<&mut Inode>,
        time: Timespec,
    ) -> Result<()> {
        self.entry_of(dirs.from(), from, inode)?;
        match &replaced {
            Some(replaced) => {
                self.check_empty(replaced)?;
                let found = self.entry_of(dirs.to(), to, replaced)?;
                self.set_entry(dirs.to(), &found, inode.ino, inode.file_type)?;
            }
            None => {
                let entry = NewEntry {
                    name: to.name,
                    ino: inode.ino,
                    file_type: inode.file_type,
                };
                self.add_entry(dirs.to(), &entry)?;
            }
        }
        // The new name may have moved the old one.
        let found = self.entry_of(dirs.from(), from, inode)?;
        self.remove_entry(dirs.from(), &found)?;
        if replaced.as_ref().is_some_and(|inode| inode.is_dir()) {
            Self::lose_subdir(dirs.to());
        }
        if inode.is_dir()
            && let Dirs::Two(from_dir, to_dir) = &mut dirs
        {
            Self::lose_subdir(from_dir);
            self.gain_subdir(to_dir)?;
            self.set_parent(inode, to_dir.ino)?;
        }
        inode.ctime = clamp_time(inode, time);
        self.store_inode(inode)?;
        self.store_dirs(&mut dirs, time)?;
        match replaced {
            Some(replaced) => self.lose_name(replaced, time),
            None => Ok(()),
        }
    }

    /// Makes two names change their inodes.
    pub(crate) fn exchange(
        &mut self,
        mut dirs: Dirs<'_>,
        from: &NamePlace<'_>,
        to: &NamePlace<'_>,
        inode: &mut Inode,
        other: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        let first = self.entry_of(dirs.from(), from, inode)?;
        let second = self.entry_of(dirs.to(), to, other)?;
        self.set_entry(dirs.from(), &first, other.ino, other.file_type)?;
        self.set_entry(dirs.to(), &second, inode.ino, inode.file_type)?;
        if let Dirs::Two(from_dir, to_dir) = &mut dirs {
            match (inode.is_dir(), other.is_dir()) {
                (true, false) => {
                    Self::lose_subdir(from_dir);
                    self.gain_subdir(to_dir)?;
                }
                (false, true) => {
                    Self::lose_subdir(to_dir);
                    self.gain_subdir(from_dir)?;
                }
                _ => {}
            }
            if inode.is_dir() {
                self.set_parent(inode, to_dir.ino)?;
            }
            if other.is_dir() {
                self.set_parent(other, from_dir.ino)?;
            }
        }
        for inode in [inode, other] {
            inode.ctime = clamp_time(inode, time);
            self.store_inode(inode)?;
        }
        self.store_dirs(&mut dirs, time)
    }

    fn store_dirs(&mut self, dirs: &mut Dirs<'_>, time: Timespec) -> Result<()> {
        let both = matches!(dirs, Dirs::Two(..));
        dirs.from().touch(time);
        self.store_inode(dirs.from())?;
        if both {
            dirs.to().touch(time);
            self.store_inode(dirs.to())?;
        }
        Ok(())
    }
}

/// Blocks that an operation with these attributes changes at most.
fn credits(fs: &crate::fs::Ext2fs, xattrs: &[(NameIndex, Vec<u8>, Vec<u8>)]) -> usize {
    xattrs.iter().fold(NAME_CREDITS, |sum, (_, _, value)| {
        sum.saturating_add(value_credits(fs, value.len()))
    })
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

    /// Makes an inode without a name.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unnamed(&self, new: &NewNode<'_>, now: Timespec) -> Result<Inode> {
        let root = self.fs().inode(InodeNumber::ROOT)?;
        self.run(credits(self.fs(), &new.xattrs), now, |txn| {
            txn.space = new.space;
            txn.create_unnamed(&root, new)
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

    /// Renames. With `exchange`, `replaced` must be there and gets the old name.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `ENOSPC`, `EMLINK`, what is wrong with the volume. Nothing has changed then.
    #[allow(clippy::too_many_arguments, reason = "a renaming has that many parts")]
    pub fn rename(
        &self,
        dirs: Dirs<'_>,
        from: &NamePlace<'_>,
        to: &NamePlace<'_>,
        inode: &mut Inode,
        replaced: Option<&mut Inode>,
        exchange: bool,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        let (first, second) = match dirs {
            Dirs::Same(dir) => (dir, None),
            Dirs::Two(from, to) => (from, Some(to)),
        };
        let (a, b, moved, other) = self.run(NAME_CREDITS, time, |txn| {
            txn.space = space;
            let mut a = first.clone();
            let mut b = second.as_deref().cloned();
            let mut moved = inode.clone();
            let mut other = replaced.as_deref().cloned();
            let dirs = match &mut b {
                Some(b) => Dirs::Two(&mut a, b),
                None => Dirs::Same(&mut a),
            };
            match &mut other {
                Some(other) if exchange => {
                    txn.exchange(dirs, from, to, &mut moved, other, time)?;
                }
                other => txn.rename(dirs, from, to, &mut moved, other.as_mut(), time)?,
            }
            Ok((a, b, moved, other))
        })?;
        *first = a;
        if let (Some(to), Some(from)) = (second, b) {
            *to = from;
        }
        *inode = moved;
        if let (Some(to), Some(from)) = (replaced, other) {
            *to = from;
        }
        Ok(())
    }

    /// Sets an extended attribute, its value as it is stored.
    ///
    /// # Errors
    /// `EOPNOTSUPP` on a volume of the first revision, which has none; `EEXIST` and `ENODATA` by `mode`; `ERANGE`,
    /// `E2BIG`, `ENOSPC`; what is wrong with the volume.
    pub fn set_xattr(
        &self,
        inode: &mut Inode,
        (index, name): (NameIndex, &[u8]),
        value: &[u8],
        mode: XattrMode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        if self.fs().superblock().rev_level == 0 {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        let credits = self.fs().xattr_credits(inode, value.len())?;
        self.run_on(credits, time, inode, |txn, inode| {
            txn.space = space;
            txn.set_xattr(inode, index, name, value, mode)?;
            inode.ctime = clamp_time(inode, time);
            txn.store_inode(inode)
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; what is wrong with the volume.
    pub fn remove_xattr(
        &self,
        inode: &mut Inode,
        (index, name): (NameIndex, &[u8]),
        time: Timespec,
    ) -> Result<()> {
        let credits = self.fs().xattr_credits(inode, 0)?;
        self.run_on(credits, time, inode, |txn, inode| {
            txn.remove_xattr(inode, index, name)?;
            inode.ctime = clamp_time(inode, time);
            txn.store_inode(inode)
        })
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
