//! Vnodes: live inodes of all mounts, behind one sleep lock each.

mod attributes;
mod extra;
mod uses;

use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::Ino,
    mount::{Mount, MountRef},
    name::NameBytes,
    pages::FilePages,
};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use rumpkern::FileType;
use rumpuser::{
    Result,
    sleep::SleepRwLock,
    sync::{Mutex, Once},
};

use attributes::Attr;
pub(crate) use attributes::{Owner, Pending};
pub(crate) use extra::Extra;
pub(crate) use uses::{Exclusive, VnodeRef};

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
