//! The vnodes of a mount: loaded once, whoever asks at the same time, and given back to the driver.

use super::Mount;
use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::Ino,
    slots::{Slot, Slots, table_of},
    vnode::{QUEUED, Vnode, VnodeRef},
};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use rumpkern::FileType;
use rumpuser::{Errno, Result, sync::Mutex};

/// Some of the vnodes of a mount.
#[derive(Default)]
pub(super) struct Table {
    pub(super) slots: Slots,
    /// Threads that wait for a slot to change.
    waiters: usize,
    /// How many slots were reserved.
    pub(super) loads: u64,
}

/// A slot that the holder loads or ends. Dropped it is free again, and who waits for it looks.
pub(super) struct Busy<'a> {
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

impl Mount {
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

    pub(super) fn table(&self, ino: Ino) -> &Mutex<Table> {
        &self.tables[table_of(ino.0)]
    }

    /// The live vnode of a number, or as an error its slot, reserved for the caller to load.
    pub(super) fn reserve(&self, ino: Ino) -> core::result::Result<VnodeRef, Busy<'_>> {
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

    pub(super) fn install(self: &Arc<Self>, slot: Busy<'_>, inode: AnyInode) -> Result<VnodeRef> {
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
}

/// Vnodes in the order in which they were made. That of a hash table differs from run to run; a simulated host's runs must not.
pub(super) fn in_order(mut vnodes: Vec<Arc<Vnode>>) -> Vec<Arc<Vnode>> {
    vnodes.sort_unstable_by_key(|v| v.id);
    vnodes
}
