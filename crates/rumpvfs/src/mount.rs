//! A mount: a driver at work, and the table of its vnodes.

use crate::{
    calls::{MountFlags, SetTime},
    erased::{AnyFileSystem, AnyInode},
    fs::{Attributes, Ino, Limits},
    guarded::Guarded,
    idle::IdleQueue,
    lock::LockManager,
    namecache::Names,
    pages::{MountedPages, PagePool},
    slots::{ROW, Row, Slot, Slots, TABLES, table_of},
    vnode::{COVERED, QUEUED, Vnode, VnodeRef},
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::{
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
use rumpkern::{FileType, Log, Stat, poll::Pollers, types::DeviceNumber};
use rumpuser::{
    Errno, Event, Host, Result, Timespec,
    sleep::{SleepMutex, SleepQueues},
    sync::{CachePadded, Lanes, Mutex, MutexGuard},
};

/// What all mounts of a kernel share.
pub(crate) struct Caches {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) log: Log,
    pub(crate) queues: Lanes<Arc<SleepQueues>>,
    pub(crate) pollers: Arc<Pollers>,
    pub(crate) names: Names,
    pub(crate) locks: LockManager,
    pub(crate) idle: IdleQueue,
    pub(crate) pool: Arc<PagePool>,
    /// Vnodes made by the threads of each lane.
    pub(crate) serials: Lanes<AtomicU64>,
    /// Vnodes of all mounts, used and idle, that can be given back.
    pub(crate) live: AtomicUsize,
}

#[derive(Default)]
struct Table {
    slots: Slots,
    /// Threads that wait for a slot to change.
    waiters: usize,
    /// How many slots were reserved.
    loads: u64,
}

/// A slot that the holder loads or ends. Dropped it is free again, and who waits for it looks.
struct Busy<'a> {
    mount: &'a Mount,
    ino: Ino,
}

impl Busy<'_> {
    /// The vnode is loaded.
    fn fill(self, vnode: Arc<Vnode>) {
        self.mount
            .change(self.ino, |slots| slots.set_live(self.ino.0, vnode));
        core::mem::forget(self);
    }

    /// The vnode is not given back after all. Nobody can use it before it is in its place, and end it again.
    fn put_back(self, vnode: &Arc<Vnode>) {
        self.mount.change(self.ino, |slots| {
            slots.set_live(self.ino.0, vnode.clone());
            vnode.revive();
        });
        core::mem::forget(self);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        // The driver may or may not have the inode back.
        self.mount.let_go();
        self.mount.change(self.ino, |slots| {
            if let Some(Slot::Busy) = slots.get(self.ino.0) {
                slots.remove(self.ino.0);
            }
        });
    }
}

/// What [`Mount::look`] finds.
pub(crate) enum Look {
    Vnode(VnodeRef),
    /// There is no vnode.
    Stat(Stat),
}

/// A driver at work.
pub(crate) struct Mount {
    /// Number of the mount, `st_dev`.
    pub(crate) id: u64,
    pub(crate) caches: Arc<Caches>,
    pub(crate) fs: Guarded,
    pub(crate) limits: Limits,
    pub(crate) root_ino: Ino,
    flags: AtomicU32,
    pub(crate) fs_type: &'static str,
    /// Path of the device.
    pub(crate) from: String,
    /// Path of the covered directory.
    pub(crate) on: String,
    pub(crate) pages: MountedPages,
    /// Renames across directories take it, one at a time, so that nothing becomes its own ancestor.
    pub(crate) rename: SleepMutex<()>,
    /// Held while the whole mount is synced: who ends writing waits for that. Taken with no inode locked.
    pub(crate) syncing: SleepMutex<()>,
    /// It is being unmounted.
    closing: AtomicBool,
    /// The device's number, while it is in use by this mount.
    pub(crate) device: Option<DeviceNumber>,
    tables: [CachePadded<Mutex<Table>>; TABLES as usize],
    event: Arc<dyn Event>,
    /// The root directory and the covered one, in use as long as it is mounted.
    pub(crate) anchors: Mutex<Anchors>,
    /// What the vnodes refer to it by, until it is being unmounted.
    handles: Lanes<Mutex<Option<MountRef>>>,
}

/// A mount as its vnodes refer to it: through a reference of the lane that made the vnode, so that making and ending vnodes counts on a
/// cache line that other lanes do not use.
#[derive(Clone)]
pub(crate) struct MountRef(Arc<CachePadded<Arc<Mount>>>);

impl Deref for MountRef {
    type Target = Arc<Mount>;
    fn deref(&self) -> &Arc<Mount> {
        &self.0
    }
}

/// What a mount keeps in use.
#[derive(Default)]
pub(crate) struct Anchors {
    pub(crate) root: Option<VnodeRef>,
    pub(crate) covered: Option<VnodeRef>,
}

/// What a mount is made of.
pub(crate) struct NewMount {
    pub(crate) id: u64,
    pub(crate) fs: Guarded,
    pub(crate) flags: MountFlags,
    pub(crate) fs_type: &'static str,
    pub(crate) from: String,
    pub(crate) on: String,
    pub(crate) pages: MountedPages,
    pub(crate) device: Option<DeviceNumber>,
}

impl Mount {
    pub(crate) fn new(caches: &Arc<Caches>, new: NewMount) -> Arc<Self> {
        Arc::new(Self {
            id: new.id,
            limits: new.fs.limits(),
            root_ino: new.fs.root(),
            fs: new.fs,
            flags: AtomicU32::new(new.flags.bits()),
            fs_type: new.fs_type,
            from: new.from,
            on: new.on,
            pages: new.pages,
            rename: SleepMutex::new(caches.queues(), ()),
            syncing: SleepMutex::new(caches.queues(), ()),
            closing: AtomicBool::new(false),
            device: new.device,
            tables: Default::default(),
            event: caches.host.event(),
            anchors: Mutex::default(),
            handles: Lanes::new(caches.host.cpus(), |_| Mutex::default()),
            caches: caches.clone(),
        })
    }

    /// A lock of an inode is let go: if by a panic, what it guards may be half changed, and the mount is out of service.
    pub(crate) fn let_go(&self) {
        if self.caches.host.unwinding() {
            self.fs.lose();
        }
    }

    /// The mount for a vnode to keep.
    pub(crate) fn handle(self: &Arc<Self>) -> MountRef {
        let mut own = self.handles.of(self.caches.host.current()).lock();
        if let Some(handle) = &*own {
            return handle.clone();
        }
        let made = MountRef(Arc::new(CachePadded(self.clone())));
        // Kept, it keeps the mount itself: not any more when that ends.
        if !self.closing.load(Ordering::Acquire) {
            *own = Some(made.clone());
        }
        made
    }

    pub(crate) fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    pub(crate) fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    pub(crate) fn read_only(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY)
    }

    /// # Errors
    /// `EROFS` when nothing may be written.
    pub(crate) fn writable(&self) -> Result<()> {
        if self.read_only() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Wall time in the steps of this file system.
    pub(crate) fn now(&self) -> Timespec {
        self.round(self.caches.host.wall())
    }

    /// Access and modification time as they are to be stored; `None` where the old one stays.
    pub(crate) fn times(&self, set: (SetTime, SetTime)) -> (Option<Timespec>, Option<Timespec>) {
        let present = self.now();
        let time = |set| match set {
            SetTime::Omit => None,
            SetTime::Now => Some(present),
            SetTime::To(time) => Some(self.round(time)),
        };
        (time(set.0), time(set.1))
    }

    /// A time in the steps of this file system.
    pub(crate) fn round(&self, time: Timespec) -> Timespec {
        const SECOND: u32 = 1_000_000_000;
        match self.limits.time_granularity {
            0 | 1 => time,
            step if step < SECOND => Timespec {
                nsec: time.nsec - time.nsec % step,
                ..time
            },
            step => {
                let seconds = i64::from(step / SECOND).max(1);
                Timespec::from_secs(time.sec - time.sec.rem_euclid(seconds))
            }
        }
    }

    /// The vnode of an inode number, loaded if it is not live.
    ///
    /// # Errors
    /// `ESTALE` when the number is of no inode in use, `EIO`.
    pub(crate) fn vnode(self: &Arc<Self>, ino: Ino) -> Result<VnodeRef> {
        if self.fs.is_dead() || self.closing.load(Ordering::Acquire) {
            return Err(Errno::EIO);
        }
        let slot = match self.reserve(ino) {
            Ok(vnode) => return Ok(vnode),
            Err(slot) => slot,
        };
        let inode = self.fs.load(ino)?;
        self.install(slot, inode)
    }

    /// What `stat` tells of an inode, without a vnode for it if none is live. Directories get one all the same: who lists
    /// them goes on into them.
    ///
    /// # Errors
    /// As [`vnode`](Self::vnode).
    pub(crate) fn look(self: &Arc<Self>, ino: Ino) -> Result<Look> {
        if self.fs.is_dead() || self.closing.load(Ordering::Acquire) {
            return Err(Errno::EIO);
        }
        let slot = match self.reserve(ino) {
            Ok(vnode) => return Ok(Look::Vnode(vnode)),
            Err(slot) => slot,
        };
        let inode = self.fs.load(ino)?;
        let attributes = self.fs.attributes(&inode)?;
        if attributes.file_type == FileType::Directory || !self.evictable(attributes.file_type) {
            return Ok(Look::Vnode(self.install(slot, inode)?));
        }
        // Nobody else can load or change it before the slot is given back.
        self.fs.reclaim(inode)?;
        Ok(Look::Stat(self.stat_of(ino, &attributes)))
    }

    /// What `stat` tells of a few inodes, without a use of vnodes: of those that are live, and of others if the driver tells it at a glance. Those that
    /// need more than a look are left out, or taken back: an error. The numbers rise; `at` of each goes to `found`.
    ///
    /// Where there are very many, each step from a number to its vnode waits for memory. So all make a step before any makes the next,
    /// with all tables locked from the first to the last of a group, for no lock to stand between.
    pub(crate) fn look_many(
        &self,
        inodes: &[(u64, u32)],
        mut found: impl FnMut(u32, Result<Stat>),
    ) {
        if self.limits.revalidate || self.closing.load(Ordering::Acquire) {
            return;
        }
        let mut absent = Vec::new();
        let mut loads = [None; TABLES as usize];
        for group in inodes.chunks(GROUP) {
            let tables = self.tables_of(group);
            for (before, table) in loads.iter_mut().zip(&tables) {
                *before = before.or(table.as_ref().map(|table| table.loads));
            }
            let rows = rows_of(&tables, group);
            self.bring_rows(&rows);
            let mut ahead = rows.iter().zip(group);
            ahead.by_ref().take(AHEAD).for_each(|next| self.bring(next));
            for (&(ino, at), row) in group.iter().zip(rows) {
                if let Some(next) = ahead.next() {
                    self.bring(next);
                }
                match row.and_then(|row| row.get(ino)) {
                    None => absent.push((Ino(ino), at)),
                    Some(Slot::Live(vnode))
                        if !vnode.ending() && !vnode.marked(COVERED) && !vnode.is_dir() =>
                    {
                        found(at, vnode.stat());
                    }
                    _ => {}
                }
            }
        }
        if self.limits.memory || absent.is_empty() {
            return;
        }
        let inodes: Vec<Ino> = absent.iter().map(|(ino, _)| *ino).collect();
        self.fs.glance(&inodes, &mut |n, attributes| {
            // Who lists directories goes on into them.
            if let Some(&(ino, at)) = absent.get(n)
                && attributes.file_type != FileType::Directory
            {
                found(at, Ok(self.stat_of(ino, attributes)));
            }
        });
        // One that was loaded meanwhile may have been changed, and told half of it.
        let loaded =
            |n: usize| loads[n].is_some_and(|before| self.tables[n].lock().loads != before);
        let loaded: [bool; TABLES as usize] = core::array::from_fn(loaded);
        for (ino, at) in absent {
            if loaded[table_of(ino.0)] {
                found(at, Err(Errno::EIO));
            }
        }
    }

    /// A few inodes are looked at soon: their vnodes are brought from memory.
    pub(crate) fn will_look(&self, inodes: &[(u64, u32)]) {
        for group in inodes.chunks(GROUP) {
            let tables = self.tables_of(group);
            let rows = rows_of(&tables, group);
            self.bring_rows(&rows);
            rows.iter().zip(group).for_each(|next| self.bring(next));
        }
    }

    /// The tables that a few inodes are in, all others left out.
    fn tables_of(&self, inodes: &[(u64, u32)]) -> Locked<'_> {
        let wanted = inodes
            .iter()
            .fold(0_u16, |wanted, (ino, _)| wanted | 1 << table_of(*ino));
        // In order, as for each who locks more than one.
        core::array::from_fn(|n| (wanted & 1 << n != 0).then(|| self.tables[n].lock()))
    }

    /// Has rows brought from memory.
    fn bring_rows(&self, rows: &[Option<&Row>]) {
        let mut last = core::ptr::null();
        for row in rows.iter().flatten() {
            let place = core::ptr::from_ref(*row).cast();
            if place != last {
                self.caches.host.will_read(place, size_of::<Row>());
                last = place;
            }
        }
    }

    /// Has a vnode brought from memory, if there is one.
    fn bring(&self, (row, (ino, _)): (&Option<&Row>, &(u64, u32))) {
        if let Some(vnode) = row.and_then(|row| row.live(*ino)) {
            let place = Arc::as_ptr(vnode).cast();
            self.caches.host.will_read(place, Vnode::STAT);
        }
    }

    /// Whether there is a vnode of this inode, or is about to be.
    pub(crate) fn in_use(&self, ino: Ino) -> bool {
        self.table(ino).lock().slots.get(ino.0).is_some()
    }

    /// What `stat` tells of an inode with these attributes.
    #[inline]
    pub(crate) fn stat_of(&self, ino: Ino, a: &Attributes) -> Stat {
        Stat {
            dev: self.id,
            ino: ino.0,
            generation: a.generation,
            file_type: a.file_type,
            mode: a.mode,
            nlink: a.nlink,
            uid: a.uid,
            gid: a.gid,
            rdev: a.rdev,
            size: a.size,
            blksize: self.limits.block_size.max(4096),
            blocks: a.blocks,
            atime: a.atime,
            mtime: a.mtime,
            ctime: a.ctime,
            birthtime: a.birthtime,
            flags: a.flags,
        }
    }

    /// The vnode of an inode that the driver has just made.
    pub(crate) fn adopt(self: &Arc<Self>, ino: Ino, inode: AnyInode) -> Result<VnodeRef> {
        // An old inode of that number may still be on its way out, but none can be live.
        match self.reserve(ino) {
            Err(slot) => self.install(slot, inode),
            Ok(_) => {
                self.caches.log.message(format_args!(
                    "{}: inode {} was made while it is in use",
                    self.from, ino.0
                ));
                self.fs.kill();
                Err(Errno::EIO)
            }
        }
    }

    fn table(&self, ino: Ino) -> &Mutex<Table> {
        &self.tables[table_of(ino.0)]
    }

    /// The live vnode of a number, or as an error its slot, reserved for the caller to load.
    fn reserve(&self, ino: Ino) -> core::result::Result<VnodeRef, Busy<'_>> {
        let mut table = self.table(ino).lock();
        loop {
            match table.slots.get(ino.0) {
                Some(Slot::Live(vnode)) => {
                    if let Some(vnode) = VnodeRef::acquire(vnode) {
                        return Ok(vnode);
                    }
                }
                Some(Slot::Busy) => {}
                None => {
                    table.slots.set_busy(ino.0);
                    table.loads = table.loads.wrapping_add(1);
                    return Err(Busy { mount: self, ino });
                }
            }
            let ticket = self.event.ticket();
            table.waiters += 1;
            drop(table);
            self.event.wait(ticket, None);
            table = self.table(ino).lock();
            table.waiters -= 1;
        }
    }

    fn install(self: &Arc<Self>, slot: Busy<'_>, inode: AnyInode) -> Result<VnodeRef> {
        let used = VnodeRef::first(Vnode::new(self, slot.ino, inode)?);
        if self.evictable(used.file_type) {
            self.caches.live.fetch_add(1, Ordering::Relaxed);
        }
        slot.fill(used.arc().clone());
        self.caches.trim();
        Ok(used)
    }

    /// Changes the table that a number is in and wakes who waits for that.
    fn change<R>(&self, ino: Ino, change: impl FnOnce(&mut Slots) -> R) -> R {
        let mut table = self.table(ino).lock();
        let result = change(&mut table.slots);
        let waiters = table.waiters;
        drop(table);
        if waiters != 0 {
            self.event.notify();
        }
        result
    }

    /// The vnode's number has become another one.
    pub(crate) fn rekey(&self, vnode: &Vnode, to: Ino) {
        let from = vnode.ino();
        let (old, new) = (table_of(from.0), table_of(to.0));
        // Both tables at once, the lower first: nobody sees the vnode in neither.
        let mut low = self.tables[old.min(new)].lock();
        let mut high = (old != new).then(|| self.tables[old.max(new)].lock());
        let mut table = |index: usize, change: &mut dyn FnMut(&mut Table)| match &mut high {
            Some(high) if index == old.max(new) => change(high),
            _ => change(&mut low),
        };
        let mut slot = (None, false);
        table(old, &mut |table| slot = table.slots.remove(from.0));
        table(new, &mut |table| {
            if let (Some(vnode), noted) = core::mem::take(&mut slot) {
                table.slots.set_live(to.0, vnode);
                if noted {
                    table.slots.note(to.0);
                }
            }
        });
        vnode.set_ino(to);
        drop((low, high));
        self.event.notify();
    }

    /// Number of its vnodes, used and idle.
    pub(crate) fn vnode_count(&self) -> usize {
        self.tables.iter().map(|t| t.lock().slots.len()).sum()
    }

    /// Live vnodes.
    pub(crate) fn vnodes(&self) -> Vec<Arc<Vnode>> {
        let mut live = Vec::new();
        for table in &self.tables {
            live.extend(table.lock().slots.iter().cloned());
        }
        in_order(live)
    }

    /// A vnode has times that the driver has not been told: [`write_back`](Self::write_back) goes to those that it knows of.
    pub(crate) fn note_pending(&self, vnode: &Vnode) {
        loop {
            let ino = vnode.ino();
            let mut table = self.table(ino).lock();
            if vnode.ino() == ino {
                table.slots.note(ino.0);
                return;
            }
        }
    }

    /// The last use of a vnode has ended.
    pub(crate) fn idle(&self, vnode: &Arc<Vnode>) {
        // A dead mount keeps nothing: its queue may be gone already.
        let unlinked = vnode.nlink() == 0 && !self.limits.revalidate;
        if unlinked || self.fs.is_dead() {
            if vnode.try_end() {
                self.end(vnode);
            }
        } else if self.evictable(vnode.file_type) && !vnode.mark(QUEUED) {
            self.caches.idle.push(vnode.clone());
        }
    }

    /// Whether an idle vnode of this type may be given back to the driver to make room.
    pub(crate) fn evictable(&self, file_type: FileType) -> bool {
        // In memory the pages are the file.
        !(self.limits.memory && file_type == FileType::Regular)
    }

    /// Gives an idle vnode back to the driver. The caller has [`Vnode::try_end`]ed it. One whose data the device does not take
    /// stays: it idles on, for a later write-back.
    pub(crate) fn end(&self, vnode: &Arc<Vnode>) {
        let ino = vnode.ino();
        self.change(ino, |slots| {
            if let Some(Slot::Live(_)) = slots.get(ino.0) {
                slots.set_busy(ino.0);
            }
        });
        let slot = Busy { mount: self, ino };
        self.caches.names.forget_vnode(vnode);
        if let Err(error) = self.write_data(vnode) {
            self.caches.log.message(format_args!(
                "{}: inode {}: {error}: its data stays in memory",
                self.from, ino.0
            ));
            slot.put_back(vnode);
            if !vnode.mark(QUEUED) {
                self.caches.idle.push(vnode.clone());
            }
            return;
        }
        if let Err(error) = self.give_back(vnode) {
            self.caches.log.message(format_args!(
                "{}: inode {}: {error} when its last use ended",
                self.from, ino.0
            ));
        }
        if self.evictable(vnode.file_type) {
            self.caches.live.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Writes the dirty pages of a vnode, as long as they are wanted.
    fn write_data(&self, vnode: &Vnode) -> Result<()> {
        match vnode.pages_used() {
            Some(pages) if vnode.nlink() > 0 && !self.limits.memory && !self.fs.is_dead() => {
                pages.flush()
            }
            _ => Ok(()),
        }
    }

    /// Writes back what the driver or the device has not got, and gives the inode back.
    pub(crate) fn give_back(&self, vnode: &Vnode) -> Result<()> {
        let mut result = Ok(());
        if vnode.nlink() == 0 {
            if let Some(pages) = vnode.pages_used() {
                pages.invalidate();
            }
        } else if !self.fs.is_dead() {
            result = vnode.flush_times().and(self.write_data(vnode));
        }
        if let Some(pages) = vnode.pages_used() {
            pages.invalidate();
        }
        let inode = vnode.inode.write().take();
        match inode {
            Some(inode) => result.and(self.fs.reclaim(inode)),
            None => result,
        }
    }

    /// No vnode is loaded any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        for handle in self.handles.iter() {
            let handle = handle.lock().take();
            drop(handle);
        }
    }

    /// Takes every inode out of its vnode and gives it back: those in use are dead from then on.
    ///
    /// # Errors
    /// The first error; all are given back.
    pub(crate) fn give_back_all(&self) -> Result<()> {
        let mut result = Ok(());
        for vnode in self.vnodes() {
            result = result.and(self.fs.contain(|| self.give_back(&vnode)));
        }
        result
    }

    /// Forgets all vnodes without a word to the driver.
    pub(crate) fn abandon(&self) {
        self.fs.kill();
        self.close();
        let anchors = core::mem::take(&mut *self.anchors.lock());
        drop(anchors);
        for table in &self.tables {
            let slots = core::mem::take(&mut table.lock().slots);
            drop(slots);
        }
        self.event.notify();
    }

    /// After a call that changed something, with no lock held.
    pub(crate) fn changed(&self) -> Result<()> {
        let result = if self.flags().contains(MountFlags::SYNCHRONOUS) {
            self.sync()
        } else {
            Ok(())
        };
        // What was changed is changed; the next sync tells what is wrong.
        let _ = self.fs.balance();
        result
    }

    /// Tells the driver all pending times and writes the dirty pages.
    ///
    /// # Errors
    /// The first error; all is tried.
    pub(crate) fn write_back(&self) -> Result<()> {
        let mut result = Ok(());
        let mut noted = Vec::new();
        for table in &self.tables {
            noted.extend(table.lock().slots.take_noted());
        }
        for vnode in in_order(noted) {
            result = result.and(match vnode.flush_noted_times() {
                // It was given back meanwhile, which wrote it.
                Err(Errno::EIO) if !self.fs.is_dead() && vnode.ending() => Ok(()),
                other => other,
            });
        }
        if !self.limits.memory {
            result = result.and(self.pages.write_back());
        }
        result
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The first error; all is tried.
    pub(crate) fn sync(&self) -> Result<()> {
        let _one = self.syncing.lock();
        if self.read_only() || self.closing.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.write_back();
        result.and(self.fs.sync())
    }
}

/// How many inodes of a listing are looked at together.
const GROUP: usize = 128;
/// How many of them ahead of what is looked at vnodes are brought from memory.
const AHEAD: usize = 16;

/// Some tables of a mount, locked.
type Locked<'m> = [Option<MutexGuard<'m, Table>>; TABLES as usize];

/// The rows of inodes.
fn rows_of<'t>(tables: &'t Locked<'_>, inodes: &[(u64, u32)]) -> [Option<&'t Row>; GROUP] {
    let mut rows = [None; GROUP];
    let mut last = (None, None);
    for (row, (ino, _)) in rows.iter_mut().zip(inodes) {
        if last.0 != Some(ino / ROW) {
            let table = tables[table_of(*ino)].as_ref();
            last = (Some(ino / ROW), table.and_then(|t| t.slots.row(*ino)));
        }
        *row = last.1;
    }
    rows
}

/// Vnodes in the order in which they were made. That of a hash table differs from run to run; a simulated host's runs must not.
fn in_order(mut vnodes: Vec<Arc<Vnode>>) -> Vec<Arc<Vnode>> {
    vnodes.sort_unstable_by_key(|v| v.id);
    vnodes
}

impl Caches {
    /// The events on which sleep locks wait, in the calling thread's share.
    pub(crate) fn queues(&self) -> &Arc<SleepQueues> {
        self.queues.of(self.host.current())
    }

    /// A number for a vnode that no other has or had.
    pub(crate) fn next_serial(&self) -> u64 {
        let thread = self.host.current();
        let made = self.serials.of(thread).fetch_add(1, Ordering::Relaxed);
        made * self.serials.count() as u64 + self.serials.lane(thread) as u64
    }

    /// Gives idle vnodes back to their drivers until there are no more than the limit.
    pub(crate) fn trim(&self) {
        if self.live.load(Ordering::Relaxed) <= self.idle.limit {
            return;
        }
        // Each vnode is looked at twice at most: once to take its mark of use away.
        let mut chances = self.idle.len().saturating_mul(2);
        while self.live.load(Ordering::Relaxed) > self.idle.limit && chances > 0 {
            chances -= 1;
            let Some(vnode) = self.idle.pop() else {
                return;
            };
            if vnode.users() == 0 && vnode.try_end() {
                vnode.mount.end(&vnode);
            }
        }
    }

    /// Gives all idle vnodes of a mount back to the driver, as far as nobody uses them.
    pub(crate) fn drop_idle(&self, mount: &Mount) {
        drop(self.idle.take(mount.id));
        for vnode in mount.vnodes() {
            if vnode.try_end() {
                mount.end(&vnode);
            }
        }
    }
}
