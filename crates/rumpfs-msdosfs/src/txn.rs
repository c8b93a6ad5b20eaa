//! A transaction of this format: a handle of the volume, and the clusters that it takes and frees.

use crate::{
    error::{Error, Place, Result, at},
    fat::Link,
    fs::Msdosfs,
    types::{Cluster, Run},
};
use alloc::vec::Vec;
use rumpbio::Handle;
use rumpuser::Errno;

/// Sectors that a transaction may change before its caller should end it.
pub(crate) const ROOM: usize = 512;

/// An open transaction. Dropped without [`commit`](Self::commit), nothing has happened.
pub(crate) struct Txn<'v> {
    fs: &'v Msdosfs,
    handle: Option<Handle<'v>>,
    taken: Vec<Run>,
    freed: Vec<Run>,
}

impl Msdosfs {
    /// Opens a transaction with [`ROOM`] besides the sectors of a cluster.
    pub(crate) fn begin(&self) -> Result<Txn<'_>> {
        let cluster = crate::types::index(self.boot.cluster_sectors);
        let handle = self
            .volume
            .begin(ROOM.saturating_add(cluster).saturating_add(64));
        Ok(Txn {
            fs: self,
            handle: Some(handle.map_err(Error::Refused)?),
            taken: Vec::new(),
            freed: Vec::new(),
        })
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

    /// Whether the caller should end it.
    pub(crate) fn is_full(&self) -> bool {
        self.handle
            .as_ref()
            .is_some_and(|handle| handle.changed() >= ROOM)
    }

    /// Takes at most `want` clusters that follow each other, chained to each other and ended; `last` is chained to them, and
    /// they follow it where they can.
    pub(crate) fn append(&mut self, last: Option<Cluster>, want: u32) -> Result<Run> {
        let fs = self.fs;
        let run = fs.take_clusters(last.map(|last| last.after(1)), want, last.is_some())?;
        self.taken.push(run);
        let handle = self.handle()?;
        fs.set_run(handle, run, Link::End)?;
        if let Some(last) = last {
            fs.set_link(handle, last, Link::Next(run.first))?;
        }
        Ok(run)
    }

    /// Frees clusters that follow each other; they may be used again when this is durable.
    /// The caller has seen to it that they are [one file's alone](Msdosfs::check_owned).
    pub(crate) fn free(&mut self, run: Run) -> Result<()> {
        let fs = self.fs;
        let first = fs.boot.sector_of(run.first);
        let sectors = u64::from(run.len).saturating_mul(u64::from(fs.boot.cluster_sectors));
        let handle = self.handle()?;
        fs.set_run(handle, run, Link::Free)?;
        handle.hold(first, sectors);
        self.freed.push(run);
        Ok(())
    }

    /// Changes bytes of the medium that are metadata, within one sector.
    pub(crate) fn write(&mut self, byte: u64, bytes: &[u8], place: Place) -> Result<()> {
        let size = u64::from(self.fs.boot.sector_size);
        let sector = byte.checked_div(size).unwrap_or(0);
        let within = crate::types::index(byte.checked_rem(size).unwrap_or(0));
        let buf = self.fs.volume.read(sector).map_err(at(place))?;
        self.handle()?
            .modify(&buf, |data| crate::fat::put(data, within, bytes));
        Ok(())
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
        let handle = self.handle()?;
        for n in 0..sectors {
            handle.forget(first.saturating_add(n));
        }
        Ok(())
    }

    /// Ends it with all its changes.
    pub(crate) fn commit(mut self) {
        if let Some(handle) = self.handle.take() {
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
        // The medium first: the clusters are still in use there until it is put back.
        drop(self.handle.take());
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
