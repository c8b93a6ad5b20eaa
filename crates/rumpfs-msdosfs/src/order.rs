//! In which order the changes of a transaction go home, so that a power cut between them leaves no name with the content of nothing, or of
//! something else.
//!
//! Each change belongs to a [`Step`].

use crate::{
    error::{Error, Place, Result, at},
    fs::Msdosfs,
    inode::Inode,
    txn::Txn,
    types::Cluster,
};
use alloc::vec::Vec;
use hashbrown::HashSet;
use rumpbio::{
    Buf, LogRecord,
    order::{Order, Stages},
};
use rumpuser::{Errno, sync::Mutex};

/// When a change goes home. New clusters of directories do before all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Clusters are taken, and chained to files. The old names of files go that get names in other sectors: two names for the same
    /// clusters would cost one of them its content in a repair.
    Early,
    /// Directories change.
    Main,
    /// Clusters are freed, and chains cut. The old names of directories go that get names in other sectors: all below would lose its name
    /// if there were none for a while.
    Late,
}

/// Steps before the last.
const STEPS: usize = 2;

impl Step {
    const fn number(self) -> usize {
        match self {
            Self::Early => 0,
            Self::Main => 1,
            Self::Late => STEPS,
        }
    }
}

/// What an open transaction changes in steps.
#[derive(Default)]
pub(crate) struct Staged {
    sectors: Stages<STEPS>,
    late: Late,
}

/// What the late step brings, and must not be met before.
#[derive(Default)]
struct Late {
    /// Numbers of slots that entries leave: no other may be there before.
    leaving: HashSet<u64>,
    /// First clusters of the files of which clusters are cut off.
    cut: HashSet<Cluster>,
}

/// The steps of this volume's transactions.
#[derive(Default)]
pub(crate) struct Steps {
    sectors: Order<STEPS>,
    /// Of the running transaction.
    late: Mutex<Late>,
}

impl Steps {
    /// The running transaction closes.
    pub(crate) fn close(&self) {
        self.sectors.close();
        *self.late.lock() = Late::default();
    }

    /// Whether the closed transaction needs what was written before it to be durable first, and has no early step that sees to that.
    pub(crate) fn needs_flush(&self) -> bool {
        self.sectors.waits_for_nothing(Step::Early.number())
    }

    /// The steps before the last one, of the transaction that closed last.
    pub(crate) fn of_closed(&self, records: &[LogRecord]) -> Vec<Vec<LogRecord>> {
        // Names lead to new clusters of directories.
        self.sectors.steps(records, Step::Main.number())
    }

    /// Whether an entry has yet to leave the slot with this number.
    pub(crate) fn is_leaving(&self, slot: u64) -> bool {
        self.late.lock().leaving.contains(&slot)
    }
}

impl Txn<'_> {
    /// Changes a sector, in a step.
    ///
    /// # Errors
    /// Never while the transaction is open.
    pub(crate) fn change<R>(
        &mut self,
        buf: &Buf,
        step: Step,
        change: impl Fn(&mut [u8]) -> R,
    ) -> Result<R> {
        if step == Step::Late {
            self.stages.sectors.keep_apart(Step::Main.number());
        }
        let handle = self.handle.as_mut().ok_or(Error::Refused(Errno::EIO))?;
        let (order, stages) = (&self.fs.order.sectors, &mut self.stages.sectors);
        Ok(order.modify(stages, handle, buf, step.number(), change))
    }

    /// A sector is metadata no more. Its directory may be there until the late step, and must not have what has gone in the early one.
    pub(crate) fn keep_early(&mut self, sector: u64) -> Result<()> {
        let (order, stages) = (&self.fs.order.sectors, &mut self.stages.sectors);
        let now = || {
            let buf = self.fs.volume.read(sector);
            Ok(buf.map_err(at(Place::Entry(sector)))?.data())
        };
        order.leave(stages, sector, Step::Early.number(), now)
    }

    /// The early step of this transaction must be home before the main one.
    pub(crate) fn keep_apart(&mut self) {
        self.stages.sectors.keep_apart(Step::Early.number());
    }

    /// Notes that an entry leaves a slot in the late step.
    pub(crate) fn leaves(&mut self, slot: u64) {
        self.stages.late.leaving.insert(slot);
    }

    /// Notes that the end of a file is cut off.
    pub(crate) fn cuts(&mut self, inode: &Inode) {
        self.stages.late.cut.extend(inode.chain.first());
    }

    /// The changes become those of the running transaction: before the handle is given up.
    pub(crate) fn join_order(&mut self) {
        let Staged { sectors, late } = core::mem::take(&mut self.stages);
        self.fs.order.sectors.join(sectors);
        let mut running = self.fs.order.late.lock();
        running.leaving.extend(late.leaving);
        running.cut.extend(late.cut);
    }
}

impl Msdosfs {
    /// To be called before a file grows. If its end was cut off in the running transaction, that is made durable: what it grows by
    /// would be chained to it in the early step, in place of the clusters that its entry counts until the main one.
    pub(crate) fn settle_cut(&self, inode: &Inode) -> Result<()> {
        let first = inode.chain.first();
        if first.is_some_and(|first| self.order.late.lock().cut.contains(&first)) {
            self.volume.commit().map_err(Error::Refused)?;
        }
        Ok(())
    }
}
