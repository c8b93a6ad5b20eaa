//! In which order the changes of a transaction go home, so that a power cut between them leaves no name with the content of nothing, or of
//! something else.
//!
//! Each change belongs to a [`Step`]. A sector that is changed in several of them is written as often, each time without the changes
//! of later steps; for that it is kept as it is to be after the earlier ones.

use crate::{
    error::{Error, Place, Result, at},
    fs::Msdosfs,
    inode::Inode,
    txn::Txn,
    types::Cluster,
};
use alloc::{sync::Arc, vec::Vec};
use hashbrown::{HashMap, HashSet};
use rumpbio::{Buf, BufData, LogRecord};
use rumpuser::sync::Mutex;

/// When a change goes home. New clusters of directories do before all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// What a sector is like after the steps before the last. The contents are shared with the buffer until they differ.
#[derive(Clone, Default)]
struct Staged {
    /// In which steps it changes.
    steps: [bool; 3],
    /// After the early step; `None`: as after the main one.
    early: Option<BufData>,
    /// After the main step; `None`: as it is in the end.
    main: Option<BufData>,
}

impl Staged {
    /// Notes that a change of `buf` is to come; the contents that it is to be made in too.
    fn change(&mut self, buf: &Buf, step: Step) -> impl Iterator<Item = &mut Vec<u8>> {
        let Self { steps, early, main } = self;
        let now = || buf.data();
        match step {
            Step::Early => {}
            Step::Main if early.is_none() => *early = Some(main.clone().unwrap_or_else(now)),
            Step::Late if main.is_none() => *main = Some(now()),
            Step::Main | Step::Late => {}
        }
        let [in_early, in_main, in_late] = steps;
        *match step {
            Step::Early => in_early,
            Step::Main => in_main,
            Step::Late => in_late,
        } = true;
        let early = early.as_mut().filter(|_| step == Step::Early);
        let main = main.as_mut().filter(|_| step <= Step::Main);
        early.into_iter().chain(main).map(Arc::make_mut)
    }
}

/// What changes in steps.
#[derive(Default)]
pub(crate) struct Stages {
    sectors: HashMap<u64, Staged>,
    /// Numbers of slots that entries leave in the late step: no other may be there before.
    leaving: HashSet<u64>,
    /// First clusters of the files of which clusters are cut off in the late step.
    cut: HashSet<Cluster>,
    /// Whether the early step must be home before the main one.
    apart: bool,
}

/// The steps of the running transaction, and those of the one that commits.
#[derive(Default)]
pub(crate) struct Order {
    running: Mutex<Stages>,
    closed: Mutex<Stages>,
}

impl Order {
    /// What an open handle has changed belongs to the running transaction.
    fn join(&self, stages: Stages) {
        let mut running = self.running.lock();
        running.sectors.extend(stages.sectors);
        running.leaving.extend(stages.leaving);
        running.cut.extend(stages.cut);
        running.apart |= stages.apart;
    }

    /// The running transaction closes.
    pub(crate) fn close(&self) {
        let closed = core::mem::take(&mut *self.running.lock());
        *self.closed.lock() = closed;
    }

    /// Whether the closed transaction needs what was written before it to be durable first, and has no early step that sees to that.
    pub(crate) fn needs_flush(&self) -> bool {
        let closed = self.closed.lock();
        let early = |staged: &Staged| matches!(staged.steps, [true, ..]);
        closed.apart && !closed.sectors.values().any(early)
    }

    /// Whether an entry has yet to leave the slot with this number.
    pub(crate) fn is_leaving(&self, slot: u64) -> bool {
        self.running.lock().leaving.contains(&slot)
    }

    /// The steps before the last one, of the transaction that closed last. Those that nothing needs apart are one.
    pub(crate) fn steps(&self, records: &[LogRecord]) -> Vec<Vec<LogRecord>> {
        let Stages {
            mut sectors, apart, ..
        } = core::mem::take(&mut *self.closed.lock());
        let late = sectors.values().any(
            |Staged {
                 steps: [.., late], ..
             }| *late,
        );
        let (mut early, mut main) = (Vec::new(), Vec::new());
        if !apart && !late {
            return Vec::new();
        }
        for record in records {
            let block = record.block;
            let Some(staged) = sectors.remove(&block) else {
                main.push(record.clone());
                continue;
            };
            let [in_early, in_main, _] = staged.steps;
            let data = staged.main.unwrap_or_else(|| record.data.clone());
            if in_main || in_early && !apart {
                let data = data.clone();
                main.push(LogRecord { block, data });
            }
            if in_early && apart {
                let data = staged.early.unwrap_or(data);
                early.push(LogRecord { block, data });
            }
        }
        // What is left are sectors of directories that were removed since; what goes early goes from these too.
        for (block, staged) in sectors.into_iter().filter(|_| apart) {
            if let ([true, ..], Some(data)) = (staged.steps, staged.early) {
                early.push(LogRecord { block, data });
            }
        }
        early.sort_unstable_by_key(|record| record.block);
        if late {
            [early, main].into()
        } else {
            [early].into()
        }
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
        let order = &self.fs.order;
        let staged = self.stages.sectors.entry(buf.block()).or_insert_with(|| {
            let running = order.running.lock();
            running
                .sectors
                .get(&buf.block())
                .cloned()
                .unwrap_or_default()
        });
        for earlier in staged.change(buf, step) {
            change(earlier);
        }
        Ok(self.handle()?.modify(buf, change))
    }

    /// A sector is metadata no more. Its directory may be there until the late step, and must not have what has gone in the early one.
    pub(crate) fn keep_early(&mut self, sector: u64) -> Result<()> {
        let running = self.fs.order.running.lock().sectors.get(&sector).cloned();
        let staged = self.stages.sectors.remove(&sector).or(running);
        let Some(mut staged) = staged.filter(|staged| matches!(staged.steps, [true, ..])) else {
            return Ok(());
        };
        if staged.early.is_none() {
            staged.early = match staged.main.take() {
                Some(main) => Some(main),
                None => {
                    let buf = self.fs.volume.read(sector);
                    Some(buf.map_err(at(Place::Entry(sector)))?.data())
                }
            };
        }
        self.stages.sectors.insert(sector, staged);
        Ok(())
    }

    /// The early step of this transaction must be home before the main one.
    pub(crate) fn keep_apart(&mut self) {
        self.stages.apart = true;
    }

    /// Notes that an entry leaves a slot in the late step.
    pub(crate) fn leaves(&mut self, slot: u64) {
        self.stages.leaving.insert(slot);
    }

    /// Notes that the end of a file is cut off.
    pub(crate) fn cuts(&mut self, inode: &Inode) {
        self.stages.cut.extend(inode.chain.first());
    }

    /// The changes become those of the running transaction: before the handle is given up.
    pub(crate) fn join_order(&mut self) {
        self.fs.order.join(core::mem::take(&mut self.stages));
    }
}

impl Msdosfs {
    /// To be called before a file grows. If its end was cut off in the running transaction, that is made durable: what it grows by
    /// would be chained to it in the early step, in place of the clusters that its entry counts until the main one.
    pub(crate) fn settle_cut(&self, inode: &Inode) -> Result<()> {
        let first = inode.chain.first();
        if first.is_some_and(|first| self.order.running.lock().cut.contains(&first)) {
            self.volume.commit().map_err(Error::Refused)?;
        }
        Ok(())
    }
}
