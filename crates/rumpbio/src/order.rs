//! The order in which the changes of one transaction go home on a volume without a log.
//!
//! A driver says of each change in which of the steps `0 ..= N` it goes home. A block that changes in several is written as often, each
//! time without the changes of later steps: for that its contents after the steps before the last are kept here, shared with the
//! buffer until they differ. [`Order::steps`] is what [`Hooks::home_steps`](crate::Hooks::home_steps) gives.

use crate::{Buf, BufData, Handle, LogRecord};
use alloc::{sync::Arc, vec::Vec};
use core::{array, ops::Range};
use hashbrown::{HashMap, hash_map::Entry};
use rumpuser::sync::Mutex;

/// What a block is like after the steps before the last.
#[derive(Clone)]
struct Staged<const N: usize> {
    /// In which of these steps it changes.
    changes: [bool; N],
    /// Its content after each; `None`: as after the next one, and after the last as it is in the end.
    after: [Option<BufData>; N],
    /// Its content before the transaction; `None`: of no use.
    before: Option<BufData>,
    /// It became metadata in the transaction, and goes home before all steps as it is after the first.
    new: bool,
    /// It is metadata no more, but goes home with steps before this one.
    leaves: usize,
}

impl<const N: usize> Default for Staged<N> {
    fn default() -> Self {
        Self {
            changes: [false; N],
            after: array::from_fn(|_| None),
            before: None,
            new: false,
            leaves: 0,
        }
    }
}

impl<const N: usize> Staged<N> {
    /// Whether it is to be written with the steps `steps`, of which the last ones have not been written yet.
    fn is_due(&self, steps: Range<usize>) -> bool {
        // A new block has been written with the changes of the first step.
        let first = steps.start.max(usize::from(self.new));
        let mut changes = self.changes.iter().take(steps.end).skip(first);
        changes.any(|change| *change)
    }

    /// Its content after a step, if it is another one than in the end.
    fn after(&self, step: usize) -> Option<&BufData> {
        self.after.iter().skip(step).flatten().next()
    }

    /// Notes that a change of `buf` in a step is to come; gives the kept contents that it is to be made in too.
    fn change(&mut self, buf: &Buf, step: usize) -> impl Iterator<Item = &mut [u8]> {
        let (before, from) = self.after.split_at_mut(step.min(N));
        if let Some(last @ None) = before.last_mut() {
            *last = Some(
                from.iter()
                    .flatten()
                    .next()
                    .cloned()
                    .unwrap_or_else(|| buf.data()),
            );
        }
        if let Some(changes) = self.changes.get_mut(step) {
            *changes = true;
        }
        from.iter_mut().flatten().map(Arc::make_mut)
    }

    /// Has a part of it change in the last step only.
    fn defer(&mut self, range: Range<usize>) {
        let Some(before) = self
            .before
            .as_ref()
            .and_then(|data| data.get(range.clone()))
        else {
            return;
        };
        for content in self.after.iter_mut().flatten() {
            if let Some(to) = Arc::make_mut(content).get_mut(range.clone()) {
                to.copy_from_slice(before);
            }
        }
    }
}

/// The changes of a transaction by steps, or of one handle.
pub struct Stages<const N: usize> {
    blocks: HashMap<u64, Staged<N>>,
    apart: [bool; N],
}

impl<const N: usize> Default for Stages<N> {
    fn default() -> Self {
        Self {
            blocks: HashMap::new(),
            apart: [false; N],
        }
    }
}

impl<const N: usize> Stages<N> {
    /// What goes home in this step and before must be there before anything of the next one is. Steps that nobody wants apart are one: each
    /// one more costs a flush.
    pub fn keep_apart(&mut self, step: usize) {
        if let Some(apart) = self.apart.get_mut(step) {
            *apart = true;
        }
    }
}

/// The steps of the running transaction, and those of the one that commits.
pub struct Order<const N: usize> {
    running: Mutex<Stages<N>>,
    closed: Mutex<Stages<N>>,
}

impl<const N: usize> Default for Order<N> {
    fn default() -> Self {
        Self {
            running: Mutex::new(Stages::default()),
            closed: Mutex::new(Stages::default()),
        }
    }
}

impl<const N: usize> Order<N> {
    /// Changes a block, in a step. `change` is called for its content after this step and each later one, the last time for what it is in the
    /// end, whose result is returned; so it says what the bytes are to be, whatever they were.
    pub fn modify<R>(
        &self,
        stages: &mut Stages<N>,
        handle: &mut Handle<'_>,
        buf: &Buf,
        step: usize,
        change: impl Fn(&mut [u8]) -> R,
    ) -> R {
        let block = buf.block();
        let staged = stages.blocks.entry(block).or_insert_with(|| {
            let running = self.running.lock();
            running
                .blocks
                .get(&block)
                .cloned()
                .unwrap_or_else(|| Staged {
                    before: Some(buf.data()),
                    ..Staged::default()
                })
        });
        for content in staged.change(buf, step) {
            change(content);
        }
        handle.modify(buf, change)
    }

    /// What a block was like before the transaction, if it has changed in a step since.
    pub fn before(&self, stages: &Stages<N>, block: u64) -> Option<BufData> {
        match stages.blocks.get(&block) {
            Some(staged) => staged.before.clone(),
            None => self.running.lock().blocks.get(&block)?.before.clone(),
        }
    }

    /// Has a part of a block change in the last step only: it is until then as before the transaction, whatever was
    /// changed there. For what is freed, so that nothing in between leads to what is not written any more.
    pub fn defer(&self, stages: &mut Stages<N>, buf: &Buf, range: Range<usize>) {
        let block = buf.block();
        let staged = match stages.blocks.entry(block) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match self.running.lock().blocks.get(&block) {
                Some(staged) => entry.insert(staged.clone()),
                None => return,
            },
        };
        // What is as in the end must not be so any more.
        if let Some(last @ None) = staged.after.last_mut() {
            *last = Some(buf.data());
        }
        staged.defer(range);
    }

    /// A block that was filled with zeros and has been nothing before.
    pub fn clear(&self, stages: &mut Stages<N>, buf: &Buf) {
        let staged = Staged {
            before: Some(buf.data()),
            ..Staged::default()
        };
        stages.blocks.insert(buf.block(), staged);
    }

    /// A block that becomes metadata, [cleared](Handle::clear) by the caller. Unlike one that is [created](Handle::create) it goes home as it is
    /// after the first step, before all steps, and again with each later one in which it changes: for blocks with something that leads to
    /// what the first step makes, where what leads to the block goes home with that step as well.
    pub fn create(&self, stages: &mut Stages<N>, block: u64) {
        let staged = Staged {
            new: true,
            ..Staged::default()
        };
        stages.blocks.insert(block, staged);
    }

    /// The block `to`, which becomes metadata as in [`create`](Self::create), takes the place of `from`: whatever that was like in between, it is. The
    /// caller copies what it is in the end.
    pub fn relocate(&self, stages: &mut Stages<N>, from: u64, to: u64) {
        let staged = match stages.blocks.get(&from) {
            Some(staged) => Some(staged.clone()),
            None => self.running.lock().blocks.get(&from).cloned(),
        };
        let staged = Staged {
            before: None,
            new: true,
            ..staged.unwrap_or_default()
        };
        stages.blocks.insert(to, staged);
    }

    /// A block is metadata no more, or is all new: what it was like in between is not needed.
    pub fn forget(&self, stages: &mut Stages<N>, block: u64) {
        stages.blocks.insert(block, Staged::default());
    }

    /// A block is metadata no more, but what leads to it is there until a later step: what has changed up to `step` goes home all the same.
    /// The caller has it [held](Handle::hold). `now` tells its content, if that is needed.
    ///
    /// # Errors
    /// Those of `now`.
    pub fn leave<E>(
        &self,
        stages: &mut Stages<N>,
        block: u64,
        step: usize,
        now: impl FnOnce() -> Result<BufData, E>,
    ) -> Result<(), E> {
        let staged = match stages.blocks.get(&block) {
            Some(staged) => Some(staged.clone()),
            None => self.running.lock().blocks.get(&block).cloned(),
        };
        let past = step.saturating_add(1);
        let Some(mut staged) = staged.filter(|staged| staged.is_due(0..past)) else {
            self.forget(stages, block);
            return Ok(());
        };
        let content = match staged.after(step) {
            Some(content) => content.clone(),
            None => now()?,
        };
        if let Some(after) = staged.after.get_mut(step) {
            *after = Some(content);
        }
        staged.leaves = past;
        stages.blocks.insert(block, staged);
        Ok(())
    }

    /// The changes of a handle become those of the running transaction. To be called just before [`Handle::commit`].
    pub fn join(&self, stages: Stages<N>) {
        let mut running = self.running.lock();
        running.blocks.extend(stages.blocks);
        for (apart, wanted) in running.apart.iter_mut().zip(stages.apart) {
            *apart |= wanted;
        }
    }

    /// The running transaction closes. To be called at the end of [`Hooks::before_commit`](crate::Hooks::before_commit), when nothing can
    /// fail any more.
    pub fn close(&self) {
        let closed = core::mem::take(&mut *self.running.lock());
        *self.closed.lock() = closed;
    }

    /// Whether the transaction that closed last is to wait for a step in which nothing goes home: then only a flush of the device tells
    /// that what was written before is there.
    pub fn waits_for_nothing(&self, step: usize) -> bool {
        let closed = self.closed.lock();
        let past = step.saturating_add(1);
        let wanted = closed.apart.get(step) == Some(&true);
        wanted && !closed.blocks.values().any(|staged| staged.is_due(0..past))
    }

    /// The steps of the transaction that closed last but for the one that ends it; `records` are its blocks. None if nothing is wanted apart.
    ///
    /// `linked` is the step in which something may lead to blocks that became metadata. One that is wanted apart before it takes them along; else the
    /// first of what is returned has what goes home before all steps, which may be nothing.
    pub fn steps(&self, records: &[LogRecord], linked: usize) -> Vec<Vec<LogRecord>> {
        let Stages { blocks, apart } = core::mem::take(&mut *self.closed.lock());
        if !apart.contains(&true) && !blocks.values().any(|staged| staged.new) {
            return Vec::new();
        }
        let home = |record: &LogRecord, staged: &Staged<N>, step| LogRecord {
            block: record.block,
            data: staged.after(step).unwrap_or(&record.data).clone(),
        };
        let new = |record: &LogRecord| {
            let staged = blocks.get(&record.block).filter(|staged| staged.new)?;
            Some(home(record, staged, 0))
        };
        let before: Vec<_> = records.iter().filter_map(new).collect();
        let along = before.is_empty() && apart.iter().take(linked).any(|apart| *apart);
        let mut steps = if along {
            Vec::new()
        } else {
            Vec::from([before])
        };
        let mut first = 0;
        for (last, _) in apart.iter().enumerate().filter(|(_, apart)| **apart) {
            let past = last.saturating_add(1);
            let due = |record: &LogRecord| {
                let staged = blocks.get(&record.block)?;
                let due = staged.is_due(first..past);
                due.then(|| home(record, staged, last))
            };
            let mut step: Vec<LogRecord> = records.iter().filter_map(due).collect();
            let stay = step.len();
            step.extend(leaving(&blocks, first..past));
            if step.len() > stay {
                step.sort_unstable_by_key(|record| record.block);
                step.dedup_by_key(|record| record.block);
            }
            steps.push(step);
            first = past;
        }
        steps
    }
}

/// What goes home in these steps of the blocks that leave later.
fn leaving<const N: usize>(
    blocks: &HashMap<u64, Staged<N>>,
    steps: Range<usize>,
) -> impl Iterator<Item = LogRecord> {
    let last = steps.end.saturating_sub(1);
    blocks.iter().filter_map(move |(block, staged)| {
        let due = last < staged.leaves && staged.is_due(steps.clone());
        let (block, data) = (*block, staged.after(last).filter(|_| due)?.clone());
        Some(LogRecord { block, data })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;
    use alloc::vec;

    /// Changes without a handle.
    fn change(stages: &mut Stages<2>, buf: &Buf, step: usize, at: usize) {
        let staged = stages.blocks.entry(buf.block()).or_default();
        let set = |data: &mut [u8]| data[at] = 1;
        staged.change(buf, step).for_each(set);
        let mut spares = crate::buffer::Spares::new(1);
        buf.change(&mut spares, None::<fn(BufData)>, |data, _| set(data));
    }

    fn steps(stages: Stages<2>, bufs: &[&Buf]) -> Vec<Vec<(u64, Vec<u8>)>> {
        let order = Order::default();
        order.join(stages);
        order.close();
        let records: Vec<LogRecord> = bufs
            .iter()
            .map(|buf| LogRecord {
                block: buf.block(),
                data: buf.data(),
            })
            .collect();
        let steps = order.steps(&records, 0).into_iter();
        let plain = |step: Vec<LogRecord>| step.into_iter().map(|r| (r.block, r.data.to_vec()));
        steps.map(|step| plain(step).collect()).collect()
    }

    fn buf(block: u64) -> Buf {
        Arc::new(Buffer::new(block, [0; 3].into()))
    }

    #[test]
    fn a_step_lacks_what_comes_in_later_ones() {
        for wanted in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
            let (a, b) = (buf(7), buf(9));
            let mut stages = Stages::default();
            for step in wanted {
                change(&mut stages, &a, step, step);
            }
            change(&mut stages, &b, 2, 0);
            stages.keep_apart(0);
            stages.keep_apart(1);
            let expected = vec![vec![], vec![(7, vec![1, 0, 0])], vec![(7, vec![1, 1, 0])]];
            assert_eq!(steps(stages, &[&a, &b]), expected, "{wanted:?}");
            assert_eq!(*a.data(), [1, 1, 1]);
        }
    }

    #[test]
    fn steps_that_nobody_wants_apart_are_one() {
        for apart in [false, true] {
            let (a, b) = (buf(7), buf(9));
            let mut stages = Stages::default();
            change(&mut stages, &a, 0, 0);
            change(&mut stages, &b, 1, 1);
            change(&mut stages, &a, 2, 2);
            if apart {
                stages.keep_apart(1);
            }
            let both = vec![(7, vec![1, 0, 0]), (9, vec![0, 1, 0])];
            let expected = if apart { vec![vec![], both] } else { vec![] };
            assert_eq!(steps(stages, &[&a, &b]), expected);
        }
    }

    #[test]
    fn what_is_deferred_is_as_before_until_the_end() {
        let a = buf(7);
        let mut stages = Stages::default();
        stages.blocks.entry(7).or_default().before = Some(a.data());
        change(&mut stages, &a, 0, 0);
        change(&mut stages, &a, 1, 1);
        change(&mut stages, &a, 0, 2);
        stages.keep_apart(0);
        stages.keep_apart(1);
        Order::default().defer(&mut stages, &a, 0..2);
        let expected = vec![(7, vec![0, 0, 1])];
        assert_eq!(steps(stages, &[&a]), [vec![], expected.clone(), expected]);
    }

    #[test]
    fn a_new_block_goes_first_without_what_comes_later() {
        for apart in [&[][..], &[0], &[1], &[0, 1]] {
            let (a, b, moved) = (buf(7), buf(8), buf(9));
            let (order, mut stages) = (Order::default(), Stages::default());
            order.create(&mut stages, 7);
            order.create(&mut stages, 8);
            change(&mut stages, &a, 0, 0);
            change(&mut stages, &a, 1, 1);
            change(&mut stages, &b, 0, 0);
            order.relocate(&mut stages, 7, 9);
            let mut spares = crate::buffer::Spares::new(1);
            let whole = a.data();
            moved.change(&mut spares, None::<fn(BufData)>, |data, _| {
                data.copy_from_slice(&whole);
            });
            apart.iter().for_each(|step| stages.keep_apart(*step));
            let first = vec![(7, vec![1, 0, 0]), (8, vec![1, 0, 0]), (9, vec![1, 0, 0])];
            let both = vec![(7, vec![1, 1, 0]), (9, vec![1, 1, 0])];
            let expected = match apart {
                [] => vec![first],
                [0] => vec![first, vec![]],
                [1] => vec![first, both],
                _ => vec![first, vec![], both],
            };
            assert_eq!(steps(stages, &[&a, &b, &moved]), expected, "{apart:?}");
        }
    }

    #[test]
    fn what_leaves_goes_home_until_then() {
        for apart in [&[][..], &[0], &[1], &[0, 1]] {
            let (a, b) = (buf(7), buf(9));
            let (order, mut stages) = (Order::default(), Stages::default());
            change(&mut stages, &a, 0, 0);
            change(&mut stages, &a, 1, 1);
            change(&mut stages, &b, 0, 0);
            let now = || Ok::<_, ()>(a.data());
            order.leave(&mut stages, 7, 0, now).unwrap();
            apart.iter().for_each(|step| stages.keep_apart(*step));
            let (gone, stays) = ((7, vec![1, 0, 0]), (9, vec![1, 0, 0]));
            let expected = match apart {
                [] => vec![],
                [0] => vec![vec![], vec![gone, stays]],
                [1] => vec![vec![], vec![stays]],
                _ => vec![vec![], vec![gone, stays], vec![]],
            };
            assert_eq!(steps(stages, &[&b]), expected, "{apart:?}");
        }
    }

    #[test]
    fn what_leaves_unchanged_is_forgotten() {
        let (order, mut stages) = (Order::default(), Stages::default());
        change(&mut stages, &buf(7), 1, 1);
        let now = || Err::<BufData, _>("not asked for");
        assert_eq!(order.leave(&mut stages, 7, 0, now), Ok(()));
        assert_eq!(order.leave(&mut stages, 8, 0, now), Ok(()));
        stages.keep_apart(0);
        stages.keep_apart(1);
        assert_eq!(steps(stages, &[]), [vec![], vec![], vec![]]);
        let mut stages = Stages::default();
        change(&mut stages, &buf(7), 0, 1);
        assert_eq!(order.leave(&mut stages, 7, 0, now), Err("not asked for"));
    }

    #[test]
    fn what_became_metadata_goes_along_where_nothing_leads_to_it() {
        for (apart, linked, expected) in [
            (&[][..], 1, 0),
            (&[0], 0, 2),
            (&[0], 1, 1),
            (&[1], 1, 2),
            (&[1], 2, 1),
            (&[0, 1], 0, 3),
            (&[0, 1], 1, 2),
        ] {
            let (order, mut stages) = (Order::<2>::default(), Stages::default());
            apart.iter().for_each(|step| stages.keep_apart(*step));
            order.join(stages);
            order.close();
            assert_eq!(order.steps(&[], linked).len(), expected, "{apart:?}");
        }
    }

    #[test]
    fn a_step_without_blocks_is_told_of() {
        for (changes, apart, waits) in [
            (Some(0), Some(0), false),
            (Some(1), Some(0), true),
            (None, Some(0), true),
            (None, None, false),
            (Some(1), Some(1), false),
        ] {
            let (order, mut stages) = (Order::<2>::default(), Stages::default());
            if let Some(step) = changes {
                change(&mut stages, &buf(7), step, 0);
            }
            if let Some(step) = apart {
                stages.keep_apart(step);
            }
            order.join(stages);
            assert!(!order.waits_for_nothing(0));
            order.close();
            assert_eq!(order.waits_for_nothing(0), waits, "{changes:?} {apart:?}");
        }
    }

    #[test]
    fn what_is_forgotten_has_no_steps() {
        let a = buf(7);
        let mut stages = Stages::default();
        change(&mut stages, &a, 0, 0);
        change(&mut stages, &a, 1, 1);
        stages.keep_apart(0);
        Order::default().forget(&mut stages, 7);
        assert_eq!(steps(stages, &[&a]), [vec![], vec![]]);
    }
}
