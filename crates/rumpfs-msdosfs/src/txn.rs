//! A transaction of this format: a handle of the volume, and the clusters that it takes and frees.

use crate::{
    error::{Error, Place, Result, at},
    fat::Link,
    fs::Msdosfs,
    layout::{DELETED, END},
    order::{Staged, Step},
    types::{Cluster, Run},
};
use alloc::vec::Vec;
use rumpbio::Handle;
use rumpuser::Errno;

/// Sectors that a transaction may change before its caller should end it.
pub(crate) const ROOM: usize = 512;

/// An open transaction. Dropped without [`commit`](Self::commit), nothing has happened.
pub(crate) struct Txn<'v> {
    pub(crate) fs: &'v Msdosfs,
    pub(crate) stages: Staged,
    pub(crate) handle: Option<Handle<'v>>,
    taken: Vec<Run>,
    freed: Vec<Run>,
}

impl Msdosfs {
    /// Opens a transaction with [`ROOM`] besides the sectors of a cluster.
    pub(crate) fn begin(&self) -> Result<Txn<'_>> {
        Ok(Txn {
            fs: self,
            stages: Staged::default(),
            handle: Some(self.handle()?),
            taken: Vec::new(),
            freed: Vec::new(),
        })
    }

    fn handle(&self) -> Result<Handle<'_>> {
        let cluster = crate::types::index(self.boot.cluster_sectors);
        let room = ROOM.saturating_add(cluster).saturating_add(64);
        self.volume.begin(room).map_err(Error::Refused)
    }

    /// Does something that may find no room; once more if there is room that only waits for a commit.
    pub(crate) fn with_room<T>(&self, mut op: impl FnMut() -> Result<T>) -> Result<T> {
        match op() {
            Err(Error::Refused(Errno::ENOSPC)) if self.free_clusters()? > 0 => {
                self.volume.commit().map_err(Error::Refused)?;
                op()
            }
            other => other,
        }
    }
}

impl<'v> Txn<'v> {
    /// The handle.
    ///
    /// # Errors
    /// Never while the transaction is open.
    pub(crate) fn handle(&mut self) -> Result<&mut Handle<'v>> {
        self.handle.as_mut().ok_or(Error::Refused(Errno::EIO))
    }

    /// Undoes all that was done so far.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.undo();
        self.handle = Some(self.fs.handle()?);
        Ok(())
    }

    /// Whether the caller should end it.
    pub(crate) fn is_full(&self) -> bool {
        self.handle
            .as_ref()
            .is_some_and(|handle| handle.changed() >= ROOM)
    }

    /// Takes at most `want` clusters that follow each other, chained to each other and ended; `last` is chained to them, and
    /// they follow it where they can.
    pub(crate) fn append(&mut self, last: Option<Cluster>, want: u32) -> Result<Run> {
        self.append_in(Step::Early, last, want)
    }

    /// The same; chained to `last` in a step.
    pub(crate) fn append_in(
        &mut self,
        step: Step,
        last: Option<Cluster>,
        want: u32,
    ) -> Result<Run> {
        let fs = self.fs;
        let run = fs.take_clusters(last.map(|last| last.after(1)), want, last.is_some())?;
        self.taken.push(run);
        fs.set_run(self, run, Link::End, Step::Early)?;
        if let Some(last) = last {
            fs.set_link(self, last, Link::Next(run.first), step)?;
        }
        Ok(run)
    }

    /// Frees clusters that follow each other; they may be used again when this is durable.
    /// The caller has seen to it that they are [one file's alone](Msdosfs::check_owned).
    pub(crate) fn free(&mut self, run: Run) -> Result<()> {
        let fs = self.fs;
        let first = fs.boot.sector_of(run.first);
        let sectors = u64::from(run.len).saturating_mul(u64::from(fs.boot.cluster_sectors));
        fs.set_run(self, run, Link::Free, Step::Late)?;
        self.handle()?.hold(first, sectors);
        self.freed.push(run);
        Ok(())
    }

    /// Changes bytes of a directory, within one sector.
    pub(crate) fn write(&mut self, byte: u64, bytes: &[u8], place: Place) -> Result<()> {
        self.change_at(Step::Main, byte, place, |to| crate::fat::put(to, 0, bytes))
    }

    /// Marks a slot as one of no entry, in a step. In what earlier steps have the directory may end before it, as it still does then.
    pub(crate) fn delete_slot(&mut self, step: Step, byte: u64) -> Result<()> {
        self.change_at(step, byte, Place::Entry(byte), |to| match to.first_mut() {
            Some(first) if *first != END => *first = DELETED,
            _ => {}
        })
    }

    fn change_at(
        &mut self,
        step: Step,
        byte: u64,
        place: Place,
        change: impl Fn(&mut [u8]),
    ) -> Result<()> {
        let size = u64::from(self.fs.boot.sector_size);
        let sector = byte.checked_div(size).unwrap_or(0);
        let within = crate::types::index(byte.checked_rem(size).unwrap_or(0));
        let buf = self.fs.volume.read(sector).map_err(at(place))?;
        self.change(&buf, step, |data| {
            change(data.get_mut(within..).unwrap_or_default());
        })
    }

    /// Makes the sectors of a cluster metadata, filled with zeros.
    pub(crate) fn clear_cluster(&mut self, cluster: Cluster) -> Result<()> {
        let fs = self.fs;
        let first = fs.boot.sector_of(cluster);
        for n in 0..u64::from(fs.boot.cluster_sectors) {
            let created = self.handle()?.create(first.saturating_add(n));
            created.map_err(at(Place::Fat(cluster)))?;
        }
        Ok(())
    }

    /// The sectors of clusters are metadata no more.
    pub(crate) fn forget(&mut self, run: Run) -> Result<()> {
        let fs = self.fs;
        let first = fs.boot.sector_of(run.first);
        let sectors = u64::from(run.len).saturating_mul(u64::from(fs.boot.cluster_sectors));
        for n in 0..sectors {
            let sector = first.saturating_add(n);
            self.keep_early(sector)?;
            self.handle()?.forget(sector);
        }
        Ok(())
    }

    /// Ends it with all its changes.
    pub(crate) fn commit(mut self) {
        if let Some(handle) = self.handle.take() {
            self.join_order();
            handle.commit();
        }
        self.taken.clear();
        if let Some(space) = &mut *self.fs.space.lock() {
            for run in self.freed.drain(..) {
                space.give(run);
            }
        }
        self.fs.changed();
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        self.undo();
    }
}

impl Txn<'_> {
    fn undo(&mut self) {
        // The medium first: the clusters are still in use there until it is put back.
        drop(self.handle.take());
        self.stages = Staged::default();
        self.freed.clear();
        if self.taken.is_empty() {
            return;
        }
        if let Some(space) = &mut *self.fs.space.lock() {
            for run in self.taken.drain(..) {
                space.give(run);
            }
        }
    }
}
