//! Vnodes: live inodes of all mounts, behind one sleep lock each.

use crate::{
    acl::Acl,
    calls::MountFlags,
    erased::{AnyFileSystem, AnyInode},
    fs::{Attributes, Ino, Protection, SetAttributes},
    mount::{Mount, MountRef},
    name::NameBytes,
    pages::FilePages,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};
use rumpkern::{FileType, Pipe, Stat, types::DeviceNumber};
use rumpuser::{
    BlockDevice, Errno, PackedTime, Result, Timespec,
    sleep::{SleepReadGuard, SleepRwLock, SleepWriteGuard},
    sync::{Mutex, MutexGuard, Once},
};

/// A live inode.
///
/// `users` counts the [`VnodeRef`]s. At zero the vnode idles until it is used again or evicted; an unlinked one is given back
/// to the driver at once. Who takes the count from zero to [`DYING`] owns the end of the vnode.
///
/// Of a million vnodes hardly one is in the processor's caches, and each cache line counts: what walks, `stat` and listings look at lies
/// together in front, down to `attr`.
#[repr(C)]
pub(crate) struct Vnode {
    /// Names the vnode in the name cache; never used again for another.
    pub(crate) id: u64,
    pub(crate) mount: MountRef,
    /// Changes only by [`Mount::rekey`], under the lock of the table.
    ino: AtomicU64,
    /// Owner and group.
    who: AtomicU64,
    users: AtomicU32,
    /// Mode, and whether an ACL says more. As `who` it changes under the lock of `attr`.
    search: AtomicU32,
    /// Marks for the caches; see the constants.
    marks: AtomicU8,
    pub(crate) file_type: FileType,
    /// Open file descriptions that may write.
    pub(crate) writers: AtomicU32,
    /// Other attributes.
    attr: Mutex<Attr>,
    /// The name that it was first found by.
    first: Once<FirstName>,
    /// The driver's inode. Nothing, when the file system was unmounted by force.
    pub(crate) inode: SleepRwLock<AnyInode>,
    /// The data of a regular file, from the first use of it on.
    pages: Once<FilePages>,
    /// Changes of what the name cache has of this directory.
    names_changes: AtomicU64,
    /// What few vnodes have.
    pub(crate) extra: Mutex<Extra>,
}

/// A place in the name cache with its name.
struct FirstName {
    /// Directory and hash.
    place: (u64, u64),
    name: NameBytes,
}

/// `users` of a vnode on its way back to the driver.
const DYING: u32 = u32::MAX;

/// In `search`: an ACL may forbid more than the mode tells.
const HAS_ACL: u32 = 1 << 16;

/// In `marks`: something is mounted here.
pub(crate) const COVERED: u8 = 1;
/// In `marks`: in the queue of idle vnodes.
pub(crate) const QUEUED: u8 = 2;
/// In `marks`: used since the queue was last looked through.
pub(crate) const TOUCHED: u8 = 4;
/// In `marks`: has advisory locks, or had.
pub(crate) const LOCKED: u8 = 8;
/// In `marks`: a directory that was removed.
pub(crate) const REMOVED: u8 = 16;
/// In `marks`: made without a name, and may still get its first.
pub(crate) const NAMELESS: u8 = 32;

/// In `marks`: shows an object of the host.
pub(crate) const HOST: u8 = 64;
/// In `marks`: looked up in the name cache by a name since that was last looked through.
pub(crate) const NAMED: u8 = 128;

/// Attributes beside those that a vnode has outside, without gaps between them; times with what the driver has not been told yet.
struct Attr {
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

/// What few vnodes have: made when it is first changed, and reads as empty before.
#[derive(Default)]
pub(crate) struct Extra(Option<Box<Rare>>);

/// What few vnodes have.
#[derive(Default)]
pub(crate) struct Rare {
    /// Target of a symbolic link, once read.
    pub(crate) target: Option<Arc<[u8]>>,
    /// Access ACL, once asked for.
    pub(crate) access: Option<Option<Arc<Acl>>>,
    /// Default ACL, once asked for.
    pub(crate) default: Option<Option<Arc<Acl>>>,
    /// The number of a device.
    rdev: DeviceNumber,
    /// The stream of a FIFO.
    pub(crate) pipe: Option<Arc<Pipe>>,
    /// The object of the host that a regular file shows.
    pub(crate) host: Option<(DeviceNumber, Arc<dyn BlockDevice>)>,
    /// Places in the name cache, directory and hash, beside that of the first name.
    pub(crate) names: Vec<(u64, u64)>,
}

impl Deref for Extra {
    type Target = Rare;
    fn deref(&self) -> &Rare {
        static NONE: Rare = Rare {
            target: None,
            access: None,
            default: None,
            rdev: DeviceNumber { major: 0, minor: 0 },
            pipe: None,
            host: None,
            names: Vec::new(),
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Extra {
    fn deref_mut(&mut self) -> &mut Rare {
        self.0.get_or_insert_default()
    }
}

impl Extra {
    /// Places in the name cache that are noted of one vnode. A file has few names; those beyond are found when they age.
    const MOST_NAMES: usize = 64;

    /// Notes a place in the name cache.
    pub(crate) fn note_name(&mut self, place: (u64, u64)) {
        if !self.names.contains(&place) {
            if self.names.len() >= Self::MOST_NAMES {
                self.names.remove(0);
            }
            self.names.push(place);
        }
    }

    /// The places that were noted; none are afterwards.
    pub(crate) fn take_names(&mut self) -> Vec<(u64, u64)> {
        let rare = self.0.as_mut();
        rare.map_or_else(Vec::new, |rare| core::mem::take(&mut rare.names))
    }

    /// The ACLs are to be asked for again.
    pub(crate) fn forget_acls(&mut self) {
        if let Some(rare) = &mut self.0 {
            (rare.access, rare.default) = (None, None);
        }
    }
}

impl Attr {
    fn new(a: &Attributes) -> Self {
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

impl Vnode {
    /// Bytes from the start on that say what `stat` tells.
    pub(crate) const STAT: usize = core::mem::offset_of!(Self, first);
    /// Bytes from the start on that `stat` of a name looks at.
    pub(crate) const FRONT: usize = core::mem::offset_of!(Self, inode);

    /// A vnode that nobody knows of yet.
    ///
    /// # Errors
    /// `EIO` when the mount is out of service.
    pub(crate) fn new(mount: &Arc<Mount>, ino: Ino, inode: AnyInode) -> Result<Self> {
        let attributes = mount.fs.attributes(&inode)?;
        let vnode = Self {
            id: mount.caches.next_serial(),
            mount: mount.handle(),
            ino: AtomicU64::new(ino.0),
            who: AtomicU64::new(0),
            users: AtomicU32::new(0),
            search: AtomicU32::new(0),
            marks: AtomicU8::new(0),
            file_type: attributes.file_type,
            writers: AtomicU32::new(0),
            first: Once::new(),
            attr: Mutex::new(Attr::new(&attributes)),
            inode: SleepRwLock::new(mount.caches.queues(), inode),
            pages: Once::new(),
            names_changes: AtomicU64::new(0),
            extra: Mutex::default(),
        };
        vnode.publish(&attributes);
        Ok(vnode)
    }

    pub(crate) fn ino(&self) -> Ino {
        Ino(self.ino.load(Ordering::Relaxed))
    }

    pub(crate) fn set_ino(&self, ino: Ino) {
        self.ino.store(ino.0, Ordering::Relaxed);
    }

    /// The data of a regular file; other files have none.
    pub(crate) fn pages(&self) -> Option<&FilePages> {
        let make = || FilePages::new(&self.mount.pages);
        (self.file_type == FileType::Regular).then(|| self.pages.call_once(make))
    }

    /// The data of a regular file, if it was ever used.
    pub(crate) fn pages_used(&self) -> Option<&FilePages> {
        self.pages.get()
    }

    /// The name becomes its first if it has none; whether it is its first.
    pub(crate) fn name_first(&self, place: (u64, u64), name: &[u8]) -> bool {
        let first = self.first.call_once(|| FirstName {
            place,
            name: NameBytes::new(name),
        });
        first.place == place && first.name.get() == name
    }

    /// Whether it is its first name.
    pub(crate) fn first_named(&self, name: &[u8]) -> bool {
        self.first_bytes() == name
    }

    /// Its first name; empty without one.
    pub(crate) fn first_bytes(&self) -> &[u8] {
        self.first.get().map_or(&[], |first| first.name.get())
    }

    /// Where the name cache has its first name, if at all: directory and hash.
    pub(crate) fn first_place(&self) -> Option<(u64, u64)> {
        self.first.get().map(|first| first.place)
    }

    /// How often what the name cache has of this directory was changed.
    pub(crate) fn names_changes(&self) -> u64 {
        self.names_changes.load(Ordering::Acquire)
    }

    /// Counts a change of the name cache, under its lock.
    pub(crate) fn count_names_change(&self) {
        self.names_changes.fetch_add(1, Ordering::Release);
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

    pub(crate) fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// Whether it is the root directory of its mount.
    pub(crate) fn is_root(&self) -> bool {
        self.ino() == self.mount.root_ino
    }

    pub(crate) fn marked(&self, mark: u8) -> bool {
        self.marks.load(Ordering::Acquire) & mark != 0
    }

    /// Sets a mark; whether it was set before.
    pub(crate) fn mark(&self, mark: u8) -> bool {
        self.marks.fetch_or(mark, Ordering::AcqRel) & mark != 0
    }

    pub(crate) fn unmark(&self, mark: u8) {
        self.marks.fetch_and(!mark, Ordering::AcqRel);
    }

    /// Notes that it was used, for the queue of idle vnodes.
    pub(crate) fn touch(&self) {
        if self.marks.load(Ordering::Relaxed) & TOUCHED == 0 {
            self.mark(TOUCHED);
        }
    }

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

    fn publish(&self, attributes: &Attributes) {
        let who = u64::from(attributes.uid) << 32 | u64::from(attributes.gid);
        let acl = if attributes.has_acl { HAS_ACL } else { 0 };
        self.who.store(who, Ordering::Relaxed);
        self.search
            .store(attributes.mode & 0o7777 | acl, Ordering::Relaxed);
        if self.is_device() {
            self.extra.lock().rdev = attributes.rdev;
        }
    }

    /// Takes the inode for reading.
    ///
    /// # Errors
    /// `EIO` when the mount is gone or out of service.
    pub(crate) fn shared(&self) -> Result<Shared<'_>> {
        let inode = self.inode.read();
        if !inode.is_live() || self.mount.fs.is_dead() {
            return Err(Errno::EIO);
        }
        let mount = &self.mount;
        Ok(Shared { inode, mount })
    }

    /// Takes the inode for changing.
    ///
    /// # Errors
    /// `EIO` when the mount is gone or out of service.
    pub(crate) fn exclusive(&self) -> Result<Exclusive<'_>> {
        let inode = self.inode.write();
        if !inode.is_live() || self.mount.fs.is_dead() {
            return Err(Errno::EIO);
        }
        let mount = &self.mount;
        Ok(Exclusive { inode, mount })
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

    /// Ends an idle vnode if nobody uses it now: the caller that gets `true` must give it back to the driver.
    pub(crate) fn try_end(&self) -> bool {
        self.users
            .compare_exchange(0, DYING, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes [`try_end`](Self::try_end) back.
    pub(crate) fn revive(&self) {
        self.users.store(0, Ordering::Release);
    }

    /// Whether it is on its way back to the driver: what it says may be old.
    pub(crate) fn ending(&self) -> bool {
        self.users() == DYING
    }

    pub(crate) fn users(&self) -> u32 {
        self.users.load(Ordering::Acquire)
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

/// A use of a vnode.
pub(crate) struct VnodeRef(Arc<Vnode>);

impl VnodeRef {
    /// The first use of a vnode, which nobody else knows of yet.
    pub(crate) fn first(mut vnode: Vnode) -> Self {
        *vnode.users.get_mut() = 1;
        Self(Arc::new(vnode))
    }

    /// Uses a vnode, unless it is on its way out.
    pub(crate) fn acquire(vnode: &Arc<Vnode>) -> Option<Self> {
        let mut users = vnode.users.load(Ordering::Relaxed);
        loop {
            if users == DYING {
                return None;
            }
            match vnode.users.compare_exchange_weak(
                users,
                users + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(Self(vnode.clone())),
                Err(now) => users = now,
            }
        }
    }

    pub(crate) fn arc(&self) -> &Arc<Vnode> {
        &self.0
    }

    pub(crate) fn same(&self, other: &Vnode) -> bool {
        self.0.id == other.id
    }
}

impl Clone for VnodeRef {
    fn clone(&self) -> Self {
        self.0.users.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for VnodeRef {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.mount.idle(&self.0);
        }
    }
}

impl Deref for VnodeRef {
    type Target = Vnode;
    fn deref(&self) -> &Vnode {
        &self.0
    }
}

/// A live inode, locked for reading.
pub(crate) struct Shared<'a> {
    inode: SleepReadGuard<'a, AnyInode>,
    mount: &'a Mount,
}

impl Deref for Shared<'_> {
    type Target = AnyInode;
    fn deref(&self) -> &AnyInode {
        &self.inode
    }
}

/// A live inode, locked for changing.
pub(crate) struct Exclusive<'a> {
    inode: SleepWriteGuard<'a, AnyInode>,
    mount: &'a Mount,
}

impl Deref for Exclusive<'_> {
    type Target = AnyInode;
    fn deref(&self) -> &AnyInode {
        &self.inode
    }
}

impl DerefMut for Exclusive<'_> {
    fn deref_mut(&mut self) -> &mut AnyInode {
        &mut self.inode
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.mount.let_go();
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.mount.let_go();
    }
}
