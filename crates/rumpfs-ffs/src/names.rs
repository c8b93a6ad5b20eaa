//! Operations on names: making, linking, unlinking, renaming. Each is one transaction.

use crate::{
    dir_index::Names,
    dir_write::{Located, NewRecord},
    error::{Error, Place, Result},
    inode::{Content, FileType, Inode, Pointers},
    layout::TARGET_MAX,
    map_write::Holds,
    order::Step,
    txn::{Size, Txn},
    types::{Version, index, number, round_up},
    volume::{Ffs, Neighbours},
};
use alloc::sync::Arc;
use core::sync::atomic::AtomicU64;
use rumpbio::Space;
use rumpuser::{Errno, Timespec};

/// Most names of an inode.
pub const LINK_MAX: u16 = 32_767;

/// An inode to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Type and what only that type has.
    pub kind: NewKind<'a>,
    /// Permissions with the set-id and sticky bits: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Which free space it may take.
    pub space: Space,
    /// All its times.
    pub time: Timespec,
}

/// Type of an inode to be made.
#[derive(Clone, Copy, Debug)]
pub enum NewKind<'a> {
    /// Regular file, directory, FIFO or socket.
    Plain(FileType),
    /// Symbolic link and its target.
    Symlink(&'a [u8]),
    /// Device node with its major and minor number; the type is one of the two.
    Device(FileType, u32, u32),
}

impl NewKind<'_> {
    fn file_type(&self) -> FileType {
        match *self {
            Self::Plain(file_type) | Self::Device(file_type, ..) => file_type,
            Self::Symlink(_) => FileType::Symlink,
        }
    }
}

/// A name, and where its record may be.
#[derive(Clone, Copy, Debug)]
pub struct NamePlace<'n> {
    /// The name.
    pub name: &'n [u8],
    /// Offset in the directory where it was found.
    pub hint: u64,
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

impl Inode {
    /// What is known of its names may be wrong: they are read again when they are needed.
    fn forget_names(&self) {
        *self.names.lock() = Names::Unread;
    }

    /// Its data has changed.
    pub(crate) fn touch(&mut self, time: Timespec) {
        self.mtime = time;
        self.ctime = time;
    }
}

impl Txn<'_> {
    /// Makes an inode in the group of `dir`, with its content, but without a name. The caller stores it.
    pub(crate) fn make(&mut self, dir: &Inode, new: &NewNode<'_>) -> Result<Inode> {
        let file_type = new.kind.file_type();
        let (ino, generation) = self.take_inode(dir, file_type == FileType::Directory)?;
        let time = self.ffs().fit_time(new.time);
        let mut inode = Inode {
            ino,
            file_type,
            mode: new.mode & 0o7777,
            links: 0,
            uid: new.uid,
            gid: new.gid,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            birthtime: (self.sb().version == Version::Ufs2).then_some(time),
            flags: 0,
            generation,
            content: match new.kind {
                NewKind::Plain(FileType::Fifo | FileType::Socket) => Content::Nothing,
                NewKind::Device(_, major, minor) => Content::Device(major, minor),
                _ => Content::Blocks(Pointers::default()),
            },
            attributes: (0, [0; 2]),
            hint: AtomicU64::new(0),
            room: Arc::default(),
            names: Arc::default(),
        };
        if let NewKind::Symlink(target) = new.kind {
            self.set_target(&mut inode, target)?;
        }
        Ok(inode)
    }

    /// Puts the target into a symbolic link: into the inode if it is short.
    fn set_target(&mut self, inode: &mut Inode, target: &[u8]) -> Result<()> {
        let sb = self.sb();
        let len = number(target.len());
        if len > TARGET_MAX || len >= sb.block_size() {
            return Err(Error::Refused(Errno::ENAMETOOLONG));
        }
        inode.size = len;
        if target.len() < sb.inline_link {
            inode.content = Content::Link(target.to_vec());
            return Ok(());
        }
        let count = round_up(len, sb.frag_bits).wrapping_shr(sb.frag_bits);
        let goal = self.goal(inode, 0)?;
        let first = if count == 1_u64.wrapping_shl(sb.ratio_bits()) {
            self.take_blocks(goal, 1)?.frag
        } else {
            self.take_frags(goal, u32::try_from(count).unwrap_or(1))?
        };
        let place = Place::Link(inode.ino);
        self.create(first, count, place)?;
        let block = Neighbours { first, count };
        for (frag, part) in (first..).zip(target.chunks(index(sb.frag_size()))) {
            let buf = self.buf(frag, block, place)?;
            self.modify(&buf, Step::Inodes, |data| {
                if let Some(to) = data.get_mut(..part.len()) {
                    to.copy_from_slice(part);
                }
            })?;
        }
        self.point(inode, None, (0, 1), first)?;
        self.count_frags(inode, count, true);
        Ok(())
    }

    /// Counts one more subdirectory of `dir`.
    fn gain_subdir(dir: &mut Inode) -> Result<()> {
        if dir.links >= LINK_MAX {
            return Err(Error::Refused(Errno::EMLINK));
        }
        dir.links = dir.links.saturating_add(1);
        Ok(())
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
        name: &[u8],
        new: &NewNode<'_>,
    ) -> Result<Inode> {
        let mut inode = self.make(dir, new)?;
        inode.links = 1;
        if inode.is_dir() {
            Self::gain_subdir(dir)?;
            inode.links = 2;
            self.init_directory(&mut inode, dir.ino)?;
        }
        self.store_inode(&inode)?;
        self.enter(dir, name, &inode, new.time)?;
        Ok(inode)
    }

    /// Puts a name into `dir` and stores `dir`.
    fn enter(&mut self, dir: &mut Inode, name: &[u8], inode: &Inode, time: Timespec) -> Result<()> {
        let record = NewRecord {
            name,
            ino: inode.ino,
            file_type: inode.file_type,
        };
        self.add_record(dir, &record)?;
        dir.touch(time);
        self.store_inode(dir)
    }

    /// Gives an inode one more name.
    fn link(
        &mut self,
        dir: &mut Inode,
        name: &[u8],
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        if target.links >= LINK_MAX {
            return Err(Error::Refused(Errno::EMLINK));
        }
        if target.links == 0 {
            self.stock()?.set_nameless(target.ino, None);
        }
        target.links = target.links.saturating_add(1);
        target.ctime = time;
        self.store_inode(target)?;
        self.enter(dir, name, target, time)
    }

    /// The record of a name, which must lead to `inode`.
    fn record_of(&self, dir: &Inode, place: &NamePlace<'_>, inode: &Inode) -> Result<Located> {
        let found = self.ffs().locate(dir, place.name, place.hint)?;
        let at = Place::Record(dir.ino, place.hint);
        let expected = "the inode that was looked up";
        match found {
            Some(found) if found.slot.ino == inode.ino => Ok(found),
            Some(found) => Err(Error::value(at, "inode", found.slot.ino, expected)),
            None => Err(Error::value(at, "inode", 0_u32, expected)),
        }
    }

    /// Takes one name of an inode off its count.
    fn lose_name(&mut self, target: &mut Inode, time: Timespec) -> Result<()> {
        if target.links == 0 {
            let place = Place::Inode(target.ino);
            return Err(Error::value(place, "nlink", 0_u32, "1 or more"));
        }
        target.links = if target.is_dir() {
            0
        } else {
            target.links.saturating_sub(1)
        };
        target.ctime = time;
        if target.links == 0 {
            self.defer_inode(target.ino)?;
        }
        self.store_inode(target)?;
        if target.links == 0 {
            let mode = target.full_mode();
            self.stock()?.set_nameless(target.ino, Some(mode));
        }
        Ok(())
    }

    fn check_empty(&self, dir: &Inode) -> Result<()> {
        if dir.is_dir() && !self.ffs().is_empty(dir)? {
            return Err(Error::Refused(Errno::ENOTEMPTY));
        }
        Ok(())
    }

    /// Takes a name away.
    fn unlink(
        &mut self,
        dir: &mut Inode,
        place: &NamePlace<'_>,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        self.check_empty(target)?;
        let found = self.record_of(dir, place, target)?;
        self.remove_record(dir, &found, place.name)?;
        if target.is_dir() {
            Self::lose_subdir(dir);
        }
        dir.touch(time);
        self.store_inode(dir)?;
        self.lose_name(target, time)
    }

    /// Gives `inode` a new name in the place of its old one, and in the place of `replaced` if there is one.
    fn rename(
        &mut self,
        mut dirs: Dirs<'_>,
        from: &NamePlace<'_>,
        to: &NamePlace<'_>,
        inode: &mut Inode,
        replaced: Option<&mut Inode>,
        time: Timespec,
    ) -> Result<()> {
        match &replaced {
            Some(replaced) => {
                self.check_empty(replaced)?;
                let found = self.record_of(dirs.to(), to, replaced)?;
                self.set_record(dirs.to(), &found, inode.ino, inode.file_type)?;
            }
            None => {
                let record = NewRecord {
                    name: to.name,
                    ino: inode.ino,
                    file_type: inode.file_type,
                };
                self.add_record(dirs.to(), &record)?;
            }
        }
        // The new name may have changed the record before the old one.
        let found = self.record_of(dirs.from(), from, inode)?;
        self.remove_record(dirs.from(), &found, from.name)?;
        if replaced.as_ref().is_some_and(|inode| inode.is_dir()) {
            Self::lose_subdir(dirs.to());
        }
        if inode.is_dir()
            && let Dirs::Two(from_dir, to_dir) = &mut dirs
        {
            Self::lose_subdir(from_dir);
            Self::gain_subdir(to_dir)?;
            self.set_parent(inode, to_dir.ino)?;
        }
        inode.ctime = time;
        self.store_inode(inode)?;
        self.store_dirs(&mut dirs, time)?;
        match replaced {
            Some(replaced) => self.lose_name(replaced, time),
            None => Ok(()),
        }
    }

    /// Makes two names change their inodes.
    fn exchange(
        &mut self,
        mut dirs: Dirs<'_>,
        from: &NamePlace<'_>,
        to: &NamePlace<'_>,
        inode: &mut Inode,
        other: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        let first = self.record_of(dirs.from(), from, inode)?;
        let second = self.record_of(dirs.to(), to, other)?;
        self.set_record(dirs.from(), &first, other.ino, other.file_type)?;
        self.set_record(dirs.to(), &second, inode.ino, inode.file_type)?;
        if let Dirs::Two(from_dir, to_dir) = &mut dirs {
            match (inode.is_dir(), other.is_dir()) {
                (true, false) => {
                    Self::lose_subdir(from_dir);
                    Self::gain_subdir(to_dir)?;
                }
                (false, true) => {
                    Self::lose_subdir(to_dir);
                    Self::gain_subdir(from_dir)?;
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
            inode.ctime = time;
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

impl Ffs {
    /// Makes an inode with a name in `dir`. The name must not be there.
    ///
    /// # Errors
    /// `ENOSPC`; `EMLINK` when `dir` cannot have one more subdirectory; `ENAMETOOLONG` for the target of a symbolic link; `EINVAL`
    /// for owners and devices that the format has no room for; what is wrong with the volume. Nothing has changed then.
    pub fn create(&self, dir: &mut Inode, name: &[u8], new: &NewNode<'_>) -> Result<Inode> {
        self.shrink_directory(dir, new.time)?;
        let created = self.transact_on(Size::Names, new.space, new.time, dir, |txn, dir| {
            txn.create_named(dir, name, new)
        });
        created.inspect_err(|_| dir.forget_names())
    }

    /// Makes an inode without a name.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unnamed(&self, dir: &Inode, new: &NewNode<'_>) -> Result<Inode> {
        self.transact(Size::Names, new.space, new.time, |txn| {
            let inode = txn.make(dir, new)?;
            txn.store_inode(&inode)?;
            let mode = inode.full_mode();
            txn.stock()?.set_nameless(inode.ino, Some(mode));
            Ok(inode)
        })
    }

    /// Gives an inode one more name.
    ///
    /// # Errors
    /// `EMLINK`, `ENOSPC`, what is wrong with the volume. Nothing has changed then.
    pub fn link(
        &self,
        dir: &mut Inode,
        name: &[u8],
        target: &mut Inode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        self.shrink_directory(dir, time)?;
        let copies = self.transact(Size::Names, space, time, |txn| {
            let mut copies = (dir.clone(), target.clone());
            txn.link(&mut copies.0, name, &mut copies.1, time)?;
            Ok(copies)
        });
        let copies = copies.inspect_err(|_| dir.forget_names())?;
        (*dir, *target) = copies;
        Ok(())
    }

    /// Takes a name away. A target without any other is to be given to [`reclaim`](Self::reclaim).
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
        let copies = self.transact(Size::Names, Space::Reserve, time, |txn| {
            let mut copies = (dir.clone(), target.clone());
            txn.unlink(&mut copies.0, place, &mut copies.1, time)?;
            Ok(copies)
        });
        let copies = copies.inspect_err(|_| dir.forget_names())?;
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
        mut dirs: Dirs<'_>,
        from: &NamePlace<'_>,
        to: &NamePlace<'_>,
        inode: &mut Inode,
        replaced: Option<&mut Inode>,
        exchange: bool,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        if replaced.is_none() {
            self.shrink_directory(dirs.to(), time)?;
        }
        let (first, second) = match dirs {
            Dirs::Same(dir) => (dir, None),
            Dirs::Two(from, to) => (from, Some(to)),
        };
        let renamed = self.transact(Size::Names, space, time, |txn| {
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
        });
        let (a, b, moved, other) = renamed.inspect_err(|_| {
            first.forget_names();
            if let Some(second) = &second {
                second.forget_names();
            }
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

    /// The last reference to an inode is gone: if it has no name, it and its blocks are freed, in as many transactions as it takes.
    ///
    /// # Errors
    /// What is wrong with the volume: blocks are left that nobody uses.
    pub fn reclaim(&self, mut inode: Inode, now: Timespec) -> Result<()> {
        if inode.links > 0 {
            return Ok(());
        }
        let holds = match inode.file_type {
            FileType::Regular => Holds::Data,
            _ => Holds::Metadata,
        };
        let bits = self.superblock.block_bits;
        loop {
            let done = self.transact_on(
                Size::Blocks,
                Space::Reserve,
                now,
                &mut inode,
                |txn, inode| {
                    if inode.pointers().is_some() {
                        let reached = txn.cut(inode, 0, holds)?;
                        inode.size = inode.size.min(reached.wrapping_shl(bits));
                        if reached > 0 {
                            txn.store_inode(inode)?;
                            return Ok(false);
                        }
                    }
                    txn.free_attributes(inode)?;
                    txn.free_inode(inode.ino, inode.is_dir())?;
                    Ok(true)
                },
            )?;
            if done {
                return Ok(());
            }
        }
    }
}
