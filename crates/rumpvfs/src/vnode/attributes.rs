//! The attributes of a vnode: those that the driver told, with times that it has not been told yet.

use super::{HOST, Vnode};
use crate::{
    calls::MountFlags,
    erased::{AnyFileSystem, AnyInode},
    fs::{Attributes, Protection, SetAttributes},
};
use core::sync::atomic::Ordering;
use rumpkern::{FileType, Stat, types::DeviceNumber};
use rumpuser::{Errno, PackedTime, Result, Timespec, sync::MutexGuard};

/// In `search` of a vnode: an ACL may forbid more than the mode tells.
const HAS_ACL: u32 = 1 << 16;

/// Attributes beside those that a vnode has outside, without gaps between them; times with what the driver has not been told yet.
pub(super) struct Attr {
    generation: u64,
    nlink: u64,
    size: u64,
    blocks: u64,
    atime: PackedTime,
    mtime: PackedTime,
    ctime: PackedTime,
    birthtime: PackedTime,
    flags: u32,
    has_birthtime: bool,
    protection: Protection,
    pending: Pending,
    /// The mount knows that there are pending times.
    noted: bool,
}

/// Times that the driver has not been told yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) atime: bool,
    pub(crate) mtime: bool,
    pub(crate) ctime: bool,
}

impl Attr {
    pub(super) fn new(a: &Attributes) -> Self {
        Self {
            generation: a.generation,
            nlink: a.nlink,
            size: a.size,
            blocks: a.blocks,
            atime: PackedTime::new(a.atime),
            mtime: PackedTime::new(a.mtime),
            ctime: PackedTime::new(a.ctime),
            birthtime: PackedTime::new(a.birthtime.unwrap_or_default()),
            flags: a.flags,
            has_birthtime: a.birthtime.is_some(),
            protection: a.protection,
            pending: Pending::default(),
            noted: false,
        }
    }
}

/// What permission checks look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) file_type: FileType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) has_acl: bool,
}

impl Vnode {
    /// Owner, group, mode, and whether an ACL says more.
    pub(crate) fn owner(&self) -> Owner {
        let who = self.who.load(Ordering::Relaxed);
        let search = self.search.load(Ordering::Relaxed);
        Owner {
            file_type: self.file_type,
            mode: search & 0o7777,
            uid: (who >> 32) as u32,
            gid: who as u32,
            has_acl: search & HAS_ACL != 0,
        }
    }

    /// Whether everybody may search this directory.
    pub(crate) fn searchable(&self) -> bool {
        self.is_dir() && self.search.load(Ordering::Relaxed) & (HAS_ACL | 0o111) == 0o111
    }

    /// The attributes that lie outside of `attr`.
    pub(super) fn publish(&self, attributes: &Attributes) {
        let who = u64::from(attributes.uid) << 32 | u64::from(attributes.gid);
        let acl = if attributes.has_acl { HAS_ACL } else { 0 };
        self.who.store(who, Ordering::Relaxed);
        self.search
            .store(attributes.mode & 0o7777 | acl, Ordering::Relaxed);
        if self.is_device() {
            self.extra.lock().rdev = attributes.rdev;
        }
    }

    /// Takes over what the driver says after it changed the inode; `told` are the times that it has been told.
    pub(crate) fn refresh(&self, inode: &AnyInode, told: Pending) {
        // The change is made. A driver that cannot say what has come of it is out of service, and nobody asks here any more.
        let Ok(fresh) = self.mount.fs.attributes(inode) else {
            return;
        };
        let mut attr = self.attr.lock();
        let old = &*attr;
        let pending = Pending {
            atime: old.pending.atime && !told.atime,
            mtime: old.pending.mtime && !told.mtime,
            ctime: old.pending.ctime && !told.ctime,
        };
        let mut new = Attr {
            pending,
            noted: old.noted,
            ..Attr::new(&fresh)
        };
        if pending.atime {
            new.atime = old.atime;
        }
        if pending.mtime {
            new.mtime = old.mtime;
        }
        if pending.ctime {
            new.ctime = PackedTime::new(fresh.ctime.max(old.ctime.get()));
        }
        *attr = new;
        self.publish(&fresh);
    }

    /// Attributes as of now.
    ///
    /// # Errors
    /// `EIO` when the mount is dead.
    pub(crate) fn attributes(&self) -> Result<Attributes> {
        if self.mount.fs.is_dead() {
            return Err(Errno::EIO);
        }
        if self.mount.limits.revalidate {
            let inode = self.shared()?;
            return self.mount.fs.attributes(&inode);
        }
        Ok(self.attributes_of(&self.attr.lock()))
    }

    /// Attributes under the lock of the inode.
    ///
    /// # Errors
    /// `EIO` when the mount is dead.
    pub(crate) fn attributes_locked(&self, inode: &AnyInode) -> Result<Attributes> {
        if self.mount.limits.revalidate {
            return self.mount.fs.attributes(inode);
        }
        Ok(self.attributes_of(&self.attr.lock()))
    }

    #[inline]
    fn attributes_of(&self, attr: &Attr) -> Attributes {
        let owner = self.owner();
        Attributes {
            ino: self.ino(),
            generation: attr.generation,
            file_type: self.file_type,
            mode: owner.mode,
            nlink: attr.nlink,
            uid: owner.uid,
            gid: owner.gid,
            rdev: self.rdev(),
            size: attr.size,
            blocks: attr.blocks,
            atime: attr.atime.get(),
            mtime: attr.mtime.get(),
            ctime: attr.ctime.get(),
            birthtime: attr.has_birthtime.then(|| attr.birthtime.get()),
            flags: attr.flags,
            protection: attr.protection,
            has_acl: owner.has_acl,
        }
    }

    /// What `stat` tells.
    ///
    /// # Errors
    /// `EIO` when the mount is dead.
    pub(crate) fn stat(&self) -> Result<Stat> {
        if self.mount.fs.is_dead() {
            return Err(Errno::EIO);
        }
        let a = if self.mount.limits.revalidate {
            self.attributes()?
        } else {
            self.attributes_of(&self.attr.lock())
        };
        let mut stat = self.mount.stat_of(self.ino(), &a);
        if let Some(len) = self.host_len() {
            stat.size = len;
            stat.blocks = len.div_ceil(512);
        }
        Ok(stat)
    }

    /// Size of the host object that it shows, if it does.
    fn host_len(&self) -> Option<u64> {
        if self.marked(HOST) {
            self.extra.lock().host.as_ref().map(|(_, d)| d.len())
        } else {
            None
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.attr.lock().size
    }

    pub(crate) fn nlink(&self) -> u64 {
        self.attr.lock().nlink
    }

    pub(crate) fn protection(&self) -> Protection {
        self.attr.lock().protection
    }

    /// The times that the driver has not been told.
    pub(crate) fn pending(&self) -> Pending {
        self.attr.lock().pending
    }

    /// Data was changed: its times are kept here until the driver is told.
    pub(crate) fn data_changed(&self, now: Timespec) {
        let mut attr = self.attr.lock();
        attr.mtime = PackedTime::new(now);
        attr.ctime = PackedTime::new(now);
        attr.pending.mtime = true;
        attr.pending.ctime = true;
        self.note_pending(attr);
    }

    /// Data was read: its access time follows as the mount's flags say.
    pub(crate) fn data_read(&self) {
        let flags = self.mount.flags();
        if flags.intersects(MountFlags::RDONLY | MountFlags::NOATIME) {
            return;
        }
        let strict = flags.contains(MountFlags::STRICTATIME);
        let now = self.mount.now();
        let mut attr = self.attr.lock();
        let (atime, mtime, ctime) = (attr.atime.get(), attr.mtime.get(), attr.ctime.get());
        // Once a day otherwise, so that what was not used for long can be told.
        let old = atime.sec.saturating_add(86_400) <= now.sec;
        if atime != now && (strict || atime <= mtime || atime <= ctime || old) {
            attr.atime = PackedTime::new(now);
            attr.pending.atime = true;
            self.note_pending(attr);
        }
    }

    /// Has the mount know that there are pending times, so that it finds them when it is synced.
    fn note_pending(&self, mut attr: MutexGuard<'_, Attr>) {
        let noted = core::mem::replace(&mut attr.noted, true);
        drop(attr);
        if !noted {
            self.mount.note_pending(self);
        }
    }

    /// The mount, which has forgotten that there are pending times, has the driver told.
    ///
    /// # Errors
    /// Those of the driver: the times are pending as before then.
    pub(crate) fn flush_noted_times(&self) -> Result<()> {
        self.attr.lock().noted = false;
        let result = self.flush_times();
        let attr = self.attr.lock();
        if attr.pending != Pending::default() {
            self.note_pending(attr);
        }
        result
    }

    /// Tells the driver the times that it has not been told.
    ///
    /// # Errors
    /// Those of the driver.
    pub(crate) fn flush_times(&self) -> Result<()> {
        if self.pending() == Pending::default() {
            return Ok(());
        }
        let mut inode = self.exclusive()?;
        self.flush_times_locked(&mut inode)
    }

    /// As [`flush_times`](Self::flush_times), under the lock.
    pub(crate) fn flush_times_locked(&self, inode: &mut AnyInode) -> Result<()> {
        let attr = self.attr.lock();
        let pending = attr.pending;
        if pending == Pending::default() || self.mount.read_only() {
            return Ok(());
        }
        let change = SetAttributes {
            atime: pending.atime.then(|| attr.atime.get()),
            mtime: pending.mtime.then(|| attr.mtime.get()),
            ctime: pending.ctime.then(|| attr.ctime.get()),
            ..SetAttributes::default()
        };
        drop(attr);
        self.mount.fs.set_attributes(inode, &change)?;
        self.refresh(inode, pending);
        Ok(())
    }

    fn is_device(&self) -> bool {
        matches!(self.file_type, FileType::Block | FileType::Character)
    }

    #[inline]
    fn rdev(&self) -> DeviceNumber {
        if self.is_device() {
            self.extra.lock().rdev
        } else {
            DeviceNumber::default()
        }
    }
}
