//! Renaming.

use super::NamePlace;
use crate::{
    dir_write::NewEntry,
    error::Result,
    inode::{Inode, clamp_time},
    txn::{NAME_CREDITS, Txn, Writer},
};
use rumpbio::Space;
use rumpuser::Timespec;

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

impl Txn<'_> {
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
        dirs.to().admits(inode)?;
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
        dirs.to().admits(inode)?;
        dirs.from().admits(other)?;
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

impl Writer {
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
}
