//! In which order the changes of a transaction go home without a journal.
//!
//! The rules are those of soft updates: what a pointer leads to is initialised before it, an inode before a name of it, and what is freed gets
//! another owner only after the commit that freed it. New blocks of metadata go home before all steps, and file data before them.

use crate::{
    error::{Place, Result, at},
    txn::Txn,
    volume::Neighbours,
};
use core::ops::Range;
use rumpbio::{
    Buf, BufData,
    order::{Order, Stages},
};

/// When a change goes home. What belongs to no step of its own, as maps and counts, is of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Inodes of files that have names or get them, of new directories, their blocks of pointers, and room for names in directories.
    Inodes,
    /// Names, and the inodes of directories that had names before: such a one does not grow before the inodes are there that its new blocks
    /// name.
    Names,
    /// Inodes without a name, as they are shortened and freed.
    Rest,
}

/// Steps before the last.
pub(crate) const STEPS: usize = 2;

/// The steps of this format's transactions.
pub(crate) type Steps = Order<STEPS>;

impl Step {
    pub(crate) fn number(self) -> usize {
        match self {
            Self::Inodes => 0,
            Self::Names => 1,
            Self::Rest => STEPS,
        }
    }
}

/// The steps of an open transaction; `None` with a journal, which makes all changes at once.
pub(crate) type Staged = Option<Stages<STEPS>>;

impl Txn<'_> {
    /// What goes home in this step and before must be there before the next one begins.
    pub(crate) fn keep_apart(&mut self, step: Step) {
        if let Some(stages) = &mut self.stages {
            stages.keep_apart(step.number());
        }
    }

    /// Makes fragments metadata that are to have names, filled with zeros. They go home without names, even where their directory is new: a
    /// name comes only after its inode, whether or not a path leads there.
    pub(crate) fn create_for_names(&mut self, first: u64, count: u64, place: Place) -> Result<()> {
        if self.stages.is_none() {
            return self.create(first, count, place);
        }
        for frag in first..first.saturating_add(count) {
            self.handle()?.clear(frag).map_err(at(place))?;
            let order = &self.ffs().order;
            if let Some(stages) = &mut self.stages {
                order.create(stages, frag);
            }
        }
        Ok(())
    }

    /// Makes a fragment metadata that takes the place of another, with its content.
    pub(crate) fn create_copy(&mut self, from: u64, to: u64, place: Place) -> Result<()> {
        let alone = |first| Neighbours { first, count: 1 };
        let content = self.buf(from, alone(from), place)?.data();
        self.create_for_names(to, 1, place)?;
        let order = &self.ffs().order;
        if let Some(stages) = &mut self.stages {
            order.relocate(stages, from, to);
        }
        let buf = self.buf(to, alone(to), place)?;
        self.handle()?
            .modify(&buf, |data| data.copy_from_slice(&content));
        Ok(())
    }

    /// A block has zeros only, and nothing was there before.
    pub(crate) fn stage_cleared(&mut self, buf: &Buf) {
        let order = &self.ffs().order;
        if let Some(stages) = &mut self.stages {
            order.clear(stages, buf);
        }
    }

    /// The contents of a block in between are not needed.
    pub(crate) fn unstage(&mut self, frag: u64) {
        let order = &self.ffs().order;
        if let Some(stages) = &mut self.stages {
            order.forget(stages, frag);
        }
    }

    /// Has a part of a block change in the last step only: until then it is as before the transaction.
    pub(crate) fn defer(&mut self, buf: &Buf, range: Range<usize>) {
        let order = &self.ffs().order;
        if let Some(stages) = &mut self.stages {
            order.defer(stages, buf, range);
        }
    }

    /// What a block was like before the transaction, if it has changed since.
    pub(crate) fn before(&self, frag: u64) -> Option<BufData> {
        let stages = self.stages.as_ref()?;
        self.ffs().order.before(stages, frag)
    }

    /// Holds back the number of a freed inode: a name of it may be on the medium until this transaction is durable. Numbers of inodes stand
    /// behind those of fragments there.
    pub(crate) fn hold_inode(&mut self, ino: u64) -> Result<()> {
        if self.stages.is_some() {
            let number = self.held_number(ino);
            self.handle()?.hold(number, 1);
        }
        Ok(())
    }

    /// Whether a free inode is held back, and up to which one all are.
    pub(crate) fn inode_held(&self, ino: u64) -> Option<u64> {
        self.stages.as_ref()?;
        let number = self.held_number(ino);
        let held = self
            .ffs()
            .volume
            .first_held(number, number.saturating_add(1));
        held.map(|(_, past)| past.saturating_sub(self.sb().size))
    }

    fn held_number(&self, ino: u64) -> u64 {
        self.sb().size.saturating_add(ino)
    }
}
