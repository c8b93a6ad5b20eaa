//! Operations on names, each a transaction.

use crate::{
    dir::{Entries, Entry},
    dir_write::Grown,
    error::{Error, Place, Result},
    fs::Msdosfs,
    inode::{Inode, byte_of},
    layout::{RawEntry, attribute},
    name::{NewName, given},
    order::Step,
    txn::Txn,
};
use alloc::vec::Vec;
use rumpuser::{Errno, Timespec};
use zerocopy::IntoBytes;

impl Msdosfs {
    /// Makes a file or a directory. The name must not be there.
    ///
    /// # Errors
    /// `ENOSPC`, `EINVAL` for a name that cannot be, `ENAMETOOLONG`; the directory is damaged.
    pub fn create(
        &self,
        dir: &mut Inode,
        name: &[u8],
        is_directory: bool,
        read_only: bool,
        time: Timespec,
    ) -> Result<Inode> {
        let name = self.new_name(dir, given(name)?, &[])?;
        self.with_room(|| {
            let mut txn = self.begin()?;
            let mut inode = Inode::new(is_directory, time);
            if read_only && !is_directory {
                inode.raw.attributes |= attribute::READ_ONLY;
            }
            if is_directory {
                let run = txn.append(None, 1)?;
                inode.chain.appended(run);
                inode.size = self.boot.cluster_size().into();
                let entry = inode.entry(self.options.time_offset);
                self.write_dots(&mut txn, run.first, &entry, self.dot_dot_of(dir))?;
            }
            let raw = inode.entry(self.options.time_offset);
            let (entry, grown) = self.insert(&mut txn, dir, &name, raw)?;
            let parent = self.touched(&mut txn, dir, time)?;
            txn.commit();
            self.inserted(dir, &entry, grown);
            parent.note(dir);
            (inode.ino, inode.raw) = (entry.ino, entry.raw);
            self.note_directory(&inode);
            self.note_first(inode.chain.first(), inode.ino);
            Ok(inode)
        })
    }

    /// Takes a name away, whose entry has its first slot at the offset `first` of `dir`. A directory must be empty.
    ///
    /// # Errors
    /// `ENOTEMPTY`; the directory is damaged.
    pub fn unlink(
        &self,
        dir: &mut Inode,
        first: u64,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        self.check_removable(target)?;
        let entry = self.entry_at(dir, first, target)?;
        let mut txn = self.begin()?;
        self.remove(&mut txn, dir, &entry, Step::Main)?;
        let parent = self.touched(&mut txn, dir, time)?;
        txn.commit();
        self.removed(dir, &entry);
        parent.note(dir);
        self.forget_first(target.chain.first(), target.ino);
        self.lost_name(target, time);
        Ok(())
    }

    fn check_removable(&self, target: &Inode) -> Result<()> {
        if target.is_directory && !self.is_empty(target)? {
            return Err(Error::Refused(Errno::ENOTEMPTY));
        }
        Ok(())
    }

    /// The entry of an inode, which begins at an offset of its directory.
    fn entry_at(&self, dir: &Inode, first: u64, inode: &Inode) -> Result<Entry> {
        let entry = Entries::new(self, dir, first).next()?;
        entry.filter(|entry| entry.ino == inode.ino).ok_or_else(|| {
            let place = Place::Entry(inode.entry_byte());
            Error::value(place, "entry", inode.ino, "the one that was found")
        })
    }

    /// An inode lives on without a name; the slot of its entry is not used again before it ends.
    fn lost_name(&self, inode: &mut Inode, time: Timespec) {
        inode.named = false;
        inode.ctime = time;
        if let Some(first) = inode.chain.first().filter(|_| inode.is_directory) {
            self.directories.lock().remove(&first);
        }
        self.nameless.lock().insert(inode.ino);
    }

    /// Renames. The inode's number is another afterwards.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOTEMPTY`, `EINVAL` for a name that cannot be; a directory is damaged.
    pub fn rename(&self, op: &mut Renaming<'_>) -> Result<()> {
        if let Some(replaced) = &op.replaced {
            self.check_removable(replaced)?;
        }
        let old = self.entry_at(op.from_dir, op.from_first, op.inode)?;
        let replaced = match &op.replaced {
            Some(replaced) => {
                let dir = op.to_dir.as_deref().unwrap_or(op.from_dir);
                Some(self.entry_at(dir, op.to_first, replaced)?)
            }
            None => None,
        };
        self.with_room(|| self.rename_once(op, &old, replaced.as_ref()))
    }

    fn rename_once(
        &self,
        op: &mut Renaming<'_>,
        old: &Entry,
        replaced: Option<&Entry>,
    ) -> Result<()> {
        let time = op.time;
        let to_dir = op.to_dir.as_deref().unwrap_or(&*op.from_dir);
        let raw = op.inode.entry(self.options.time_offset);
        let mut txn = self.begin()?;
        let (entry, grown) = match replaced {
            Some(replaced) => {
                // The clusters of the new content are home before the name leads to them.
                txn.keep_apart();
                let entry = self.replace(&mut txn, replaced, raw)?;
                let step = self.leaving_step(old, &entry);
                self.leave(&mut txn, op.from_dir, old, step)?;
                (entry, Vec::new())
            }
            None => {
                let name = self.new_name(to_dir, given(op.to_name)?, &[old.ino])?;
                self.move_entry(&mut txn, (op.from_dir, old), (to_dir, &name), raw)?
            }
        };
        if let (true, true, Some(cluster)) = (
            op.inode.is_directory,
            op.to_dir.is_some(),
            op.inode.chain.first(),
        ) {
            self.write_dot_dot(&mut txn, cluster, &raw, self.dot_dot_of(to_dir))?;
        }
        let from_times = self.touched(&mut txn, op.from_dir, time)?;
        let to_times = self.touched(&mut txn, to_dir, time)?;
        txn.commit();
        self.removed(op.from_dir, old);
        from_times.note(op.from_dir);
        let to_dir = op.to_dir.as_deref_mut().unwrap_or(&mut *op.from_dir);
        if let Some(replaced) = replaced {
            self.removed(to_dir, replaced);
        }
        self.inserted(to_dir, &entry, grown);
        to_times.note(to_dir);
        if let Some(replaced) = &mut op.replaced {
            // It may be open. Its place is the moved one's.
            self.forget_first(replaced.chain.first(), replaced.ino);
            replaced.ino = self.displaced();
            self.lost_name(replaced, time);
        }
        (op.inode.ino, op.inode.raw) = (entry.ino, entry.raw);
        op.inode.ctime = time;
        self.note_directory(op.inode);
        self.note_first(op.inode.chain.first(), op.inode.ino);
        Ok(())
    }

    /// Gives a file a new entry and takes the old one away: in one sector at once, else in the order that [`Step`] has.
    fn move_entry<'v>(
        &'v self,
        txn: &mut Txn<'v>,
        (from_dir, old): (&Inode, &Entry),
        (to_dir, name): (&Inode, &NewName),
        raw: RawEntry,
    ) -> Result<(Entry, Grown)> {
        self.remove(txn, from_dir, old, Step::Main)?;
        let (entry, grown) = self.insert(txn, to_dir, name, raw)?;
        let step = self.leaving_step(old, &entry);
        if step == Step::Main {
            return Ok((entry, grown));
        }
        txn.restart()?;
        if step == Step::Early {
            self.leave(txn, from_dir, old, step)?;
            return self.insert(txn, to_dir, name, raw);
        }
        match self.insert(txn, to_dir, name, raw) {
            // The root directory is full: there is no place but the old one's.
            Err(Error::Refused(Errno::ENOSPC)) => {
                txn.restart()?;
                self.remove(txn, from_dir, old, Step::Main)?;
                self.insert(txn, to_dir, name, raw)
            }
            other => {
                let (entry, grown) = other?;
                let step = self.leaving_step(old, &entry);
                self.leave(txn, from_dir, old, step)?;
                Ok((entry, grown))
            }
        }
    }

    /// Takes the old entry of a file away that has a new one.
    fn leave(&self, txn: &mut Txn<'_>, dir: &Inode, old: &Entry, step: Step) -> Result<()> {
        if step == Step::Early {
            txn.keep_apart();
        }
        self.remove(txn, dir, old, step)
    }

    /// Puts another file in the place of an entry. It keeps the name as it is, also where the new one differs in case.
    fn replace(&self, txn: &mut Txn<'_>, replaced: &Entry, mut raw: RawEntry) -> Result<Entry> {
        (raw.name, raw.case) = (replaced.raw.name, replaced.raw.case);
        let byte = byte_of(replaced.ino);
        txn.write(byte, raw.as_bytes(), Place::Entry(byte))?;
        Ok(Entry {
            raw,
            ..replaced.clone()
        })
    }

    /// When the old entry of a file goes that has a new one.
    fn leaving_step(&self, old: &Entry, new: &Entry) -> Step {
        let sector = |entry: &Entry| {
            let size = u64::from(self.boot.sector_size);
            byte_of(entry.ino).checked_div(size)
        };
        if sector(old) == sector(new) {
            Step::Main
        } else if old.is_directory() {
            Step::Late
        } else {
            Step::Early
        }
    }

    /// Notes in the entry of a directory that it has changed; the root directory has none.
    fn touched(&self, txn: &mut Txn<'_>, dir: &Inode, time: Timespec) -> Result<Touched> {
        if !dir.is_root() {
            let mut raw = dir.raw;
            let written = crate::time::Stamp::encode(time, self.options.time_offset);
            (raw.write_date, raw.write_time) = (written.date.into(), written.time.into());
            let byte = dir.entry_byte();
            let dates = [raw.write_time, raw.write_date];
            let offset = WRITE_TIME;
            txn.write(
                byte.saturating_add(offset),
                dates.as_bytes(),
                Place::Entry(byte),
            )?;
        }
        Ok(Touched(time))
    }
}

/// Byte of `DIR_WrtTime` in an entry; `DIR_WrtDate` follows.
const WRITE_TIME: u64 = 22;

/// The time of a change of a directory, to be noted in its inode.
struct Touched(Timespec);

impl Touched {
    fn note(&self, dir: &mut Inode) {
        (dir.mtime, dir.ctime) = (self.0, self.0);
    }
}

/// A renaming: see `rumpvfs::fs::Rename`.
pub struct Renaming<'a> {
    /// Directory of the old name.
    pub from_dir: &'a mut Inode,
    /// Directory of the new name, if another.
    pub to_dir: Option<&'a mut Inode>,
    /// Offset of the old entry.
    pub from_first: u64,
    /// Offset of the entry that is replaced.
    pub to_first: u64,
    /// New name.
    pub to_name: &'a [u8],
    /// What moves.
    pub inode: &'a mut Inode,
    /// What the new name referred to.
    pub replaced: Option<&'a mut Inode>,
    /// For the times that change.
    pub time: Timespec,
}
