//! Advisory locks: `flock` for open file descriptions, record locks for processes.
//!
//! One table for all files: locks are few and short. Waiting is on one event for all; who is woken looks again.

use crate::{
    calls::{Flock, RecordLock},
    vnode::{LOCKED, Vnode},
};
use alloc::{sync::Arc, vec::Vec};
use hashbrown::HashMap;
use rumpuser::{Errno, Event, Result, Threads, sync::Mutex};

/// A range of bytes: `start .. end`, where the greatest end has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    start: u64,
    end: u64,
}

impl Range {
    /// `len` 0 reaches to the end of the file.
    ///
    /// # Errors
    /// `EINVAL` past the greatest offset.
    pub(crate) fn new(start: u64, len: u64) -> Result<Self> {
        const MOST: u64 = i64::MAX.unsigned_abs();
        let end = match len {
            0 => u64::MAX,
            _ => start.checked_add(len).ok_or(Errno::EINVAL)?,
        };
        if start > MOST || len != 0 && end > MOST + 1 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { start, end })
    }

    fn meets(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    fn len(self) -> u64 {
        if self.end == u64::MAX {
            0
        } else {
            self.end - self.start
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    pid: u32,
    exclusive: bool,
    range: Range,
}

impl Record {
    fn against(self, other: Self) -> bool {
        self.pid != other.pid
            && (self.exclusive || other.exclusive)
            && self.range.meets(other.range)
    }
}

#[derive(Clone, Copy, Debug)]
struct Whole {
    description: usize,
    exclusive: bool,
}

/// Locks of one file.
#[derive(Default)]
struct FileLocks {
    whole: Vec<Whole>,
    /// Those of one process do not meet each other.
    records: Vec<Record>,
}

impl FileLocks {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.records.is_empty()
    }

    /// Takes a range out of a process's locks.
    fn cut(&mut self, pid: u32, range: Range) {
        let mut kept = Vec::with_capacity(self.records.len() + 1);
        for record in &self.records {
            if record.pid != pid || !record.range.meets(range) {
                kept.push(*record);
                continue;
            }
            let before = Range {
                start: record.range.start,
                end: range.start,
            };
            let after = Range {
                start: range.end,
                end: record.range.end,
            };
            for range in [before, after] {
                if range.start < range.end {
                    kept.push(Record { range, ..*record });
                }
            }
        }
        self.records = kept;
    }

    /// Puts a lock in, joined with neighbours of its kind.
    fn put(&mut self, mut new: Record) {
        self.cut(new.pid, new.range);
        self.records.retain(|old| {
            let touches = old.range.end == new.range.start || old.range.start == new.range.end;
            let joins = old.pid == new.pid && old.exclusive == new.exclusive && touches;
            if joins {
                new.range.start = new.range.start.min(old.range.start);
                new.range.end = new.range.end.max(old.range.end);
            }
            !joins
        });
        let at = self
            .records
            .partition_point(|r| r.range.start < new.range.start);
        self.records.insert(at, new);
    }
}

#[derive(Default)]
struct State {
    /// By serial number of the vnode.
    files: HashMap<u64, FileLocks>,
    /// Who waits, and for what.
    waiting: Vec<(u64, Record)>,
}

impl State {
    /// Forgets files without locks.
    fn tidy(&mut self, file: u64) {
        if self.files.get(&file).is_some_and(FileLocks::is_empty) {
            self.files.remove(&file);
        }
    }

    fn holders(&self, file: u64, wanted: Record) -> impl Iterator<Item = u32> {
        let records = self.files.get(&file).map_or(&[][..], |f| &f.records);
        records
            .iter()
            .filter(move |r| r.against(wanted))
            .map(|r| r.pid)
    }

    /// Whether the holders of what is wanted wait, one for the other, for the process that wants it.
    fn deadlocks(&self, file: u64, wanted: Record) -> bool {
        let mut seen: Vec<u32> = self.holders(file, wanted).collect();
        let mut next = 0;
        while let Some(&pid) = seen.get(next) {
            next += 1;
            if pid == wanted.pid {
                return true;
            }
            for &(file, waits_for) in self.waiting.iter().filter(|(_, r)| r.pid == pid) {
                for holder in self.holders(file, waits_for) {
                    if !seen.contains(&holder) {
                        seen.push(holder);
                    }
                }
            }
        }
        false
    }
}

/// The advisory locks of a kernel.
pub(crate) struct LockManager {
    event: Arc<dyn Event>,
    state: Mutex<State>,
}

impl LockManager {
    pub(crate) fn new(threads: &dyn Threads) -> Self {
        Self {
            event: threads.event(),
            state: Mutex::default(),
        }
    }

    /// `flock`.
    ///
    /// # Errors
    /// `EWOULDBLOCK`; `EIO` when the mount goes away during the wait.
    pub(crate) fn flock(
        &self,
        vnode: &Vnode,
        description: usize,
        op: Flock,
        nonblock: bool,
    ) -> Result<()> {
        let exclusive = match op {
            Flock::Unlock => {
                self.unlock_whole(vnode.id, description);
                return Ok(());
            }
            Flock::Shared => false,
            Flock::Exclusive => true,
        };
        vnode.mark(LOCKED);
        loop {
            let ticket = self.event.ticket();
            // It may have gone before there was a ticket: nobody would tell.
            if vnode.mount.fs.is_dead() {
                return Err(Errno::EIO);
            }
            let mut state = self.state.lock();
            let file = state.files.entry(vnode.id).or_default();
            let held = file
                .whole
                .iter()
                .any(|w| w.description != description && (exclusive || w.exclusive));
            if !held {
                file.whole.retain(|w| w.description != description);
                file.whole.push(Whole {
                    description,
                    exclusive,
                });
                drop(state);
                // A lock that became shared lets others in.
                self.event.notify();
                return Ok(());
            }
            if nonblock {
                return Err(Errno::EWOULDBLOCK);
            }
            // Two that both wait to make a shared lock exclusive would wait for ever: waiting gives it up, as flock(2) says.
            let before = file.whole.len();
            file.whole.retain(|w| w.description != description);
            let given_up = file.whole.len() != before;
            drop(state);
            if given_up {
                self.event.notify();
                continue;
            }
            self.event.wait(ticket, None);
        }
    }

    /// `F_SETLK`, `F_SETLKW`.
    ///
    /// # Errors
    /// `EAGAIN`, `EDEADLK`; `EIO` when the mount goes away during the wait.
    pub(crate) fn set(
        &self,
        vnode: &Vnode,
        pid: u32,
        (range, exclusive): (Range, bool),
        wait: bool,
    ) -> Result<()> {
        let wanted = Record {
            pid,
            exclusive,
            range,
        };
        vnode.mark(LOCKED);
        loop {
            let ticket = self.event.ticket();
            // It may have gone before there was a ticket: nobody would tell.
            if vnode.mount.fs.is_dead() {
                return Err(Errno::EIO);
            }
            let mut state = self.state.lock();
            if state.holders(vnode.id, wanted).next().is_none() {
                state.files.entry(vnode.id).or_default().put(wanted);
                drop(state);
                // An exclusive lock that became shared, or a part of it, lets others in.
                self.event.notify();
                return Ok(());
            }
            if !wait {
                return Err(Errno::EAGAIN);
            }
            if state.deadlocks(vnode.id, wanted) {
                return Err(Errno::EDEADLK);
            }
            state.waiting.push((vnode.id, wanted));
            drop(state);
            self.event.wait(ticket, None);
            let mut state = self.state.lock();
            let me = |w: &(u64, Record)| *w == (vnode.id, wanted);
            if let Some(at) = state.waiting.iter().position(me) {
                state.waiting.swap_remove(at);
            }
            drop(state);
            if vnode.mount.fs.is_dead() {
                return Err(Errno::EIO);
            }
        }
    }

    /// `F_UNLCK`.
    pub(crate) fn unlock(&self, vnode: &Vnode, pid: u32, range: Range) {
        let mut state = self.state.lock();
        if let Some(file) = state.files.get_mut(&vnode.id) {
            file.cut(pid, range);
        }
        state.tidy(vnode.id);
        drop(state);
        self.event.notify();
    }

    /// `F_GETLK`: the first lock in the way.
    pub(crate) fn get(
        &self,
        vnode: &Vnode,
        pid: u32,
        (range, exclusive): (Range, bool),
    ) -> Option<(RecordLock, u32)> {
        let wanted = Record {
            pid,
            exclusive,
            range,
        };
        let state = self.state.lock();
        let records = &state.files.get(&vnode.id)?.records;
        let first = records.iter().find(|r| r.against(wanted))?;
        let lock = RecordLock {
            exclusive: first.exclusive,
            start: first.range.start,
            len: first.range.len(),
        };
        Some((lock, first.pid))
    }

    fn unlock_whole(&self, file: u64, description: usize) {
        let mut state = self.state.lock();
        if let Some(locks) = state.files.get_mut(&file) {
            locks.whole.retain(|w| w.description != description);
        }
        state.tidy(file);
        drop(state);
        self.event.notify();
    }

    /// The last descriptor of an open file description is closed.
    pub(crate) fn description_closed(&self, vnode: &Vnode, description: usize) {
        self.unlock_whole(vnode.id, description);
    }

    /// A process closed some descriptor of a file: POSIX has all its record locks on the file go.
    pub(crate) fn process_closed(&self, vnode: &Vnode, pid: u32) {
        let all = Range {
            start: 0,
            end: u64::MAX,
        };
        self.unlock(vnode, pid, all);
    }

    /// A mount has gone: who waits for a lock on it looks.
    pub(crate) fn mount_gone(&self) {
        self.event.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Range {
        Range { start, end }
    }

    fn record(pid: u32, exclusive: bool, start: u64, end: u64) -> Record {
        Record {
            pid,
            exclusive,
            range: range(start, end),
        }
    }

    #[test]
    fn ranges_are_checked() {
        assert_eq!(Range::new(5, 0), Ok(range(5, u64::MAX)));
        assert_eq!(Range::new(5, 3), Ok(range(5, 8)));
        assert_eq!(Range::new(u64::MAX, 1), Err(Errno::EINVAL));
        assert_eq!(Range::new(i64::MAX as u64, 2), Err(Errno::EINVAL));
        assert!(Range::new(i64::MAX as u64, 1).is_ok());
        assert_eq!(range(5, u64::MAX).len(), 0);
    }

    #[test]
    fn locks_split_and_join() {
        let mut file = FileLocks::default();
        file.put(record(1, true, 0, 100));
        file.put(record(1, false, 40, 60));
        assert_eq!(
            file.records,
            [
                record(1, true, 0, 40),
                record(1, false, 40, 60),
                record(1, true, 60, 100)
            ]
        );
        file.put(record(1, true, 40, 60));
        assert_eq!(file.records, [record(1, true, 0, 100)]);
        file.put(record(2, false, 100, 200));
        file.cut(1, range(10, 20));
        assert_eq!(
            file.records,
            [
                record(1, true, 0, 10),
                record(1, true, 20, 100),
                record(2, false, 100, 200)
            ]
        );
        file.cut(1, range(0, u64::MAX));
        file.cut(2, range(0, u64::MAX));
        assert!(file.is_empty());
    }

    #[test]
    fn circles_of_waiters_are_found() {
        let mut state = State::default();
        let locks = state.files.entry(7).or_default();
        locks.put(record(1, true, 0, 1));
        locks.put(record(2, true, 1, 2));
        locks.put(record(3, true, 2, 3));
        state.waiting.push((7, record(1, true, 1, 2)));
        state.waiting.push((7, record(2, true, 2, 3)));
        assert!(state.deadlocks(7, record(3, true, 0, 1)));
        assert!(!state.deadlocks(7, record(4, true, 0, 1)));
        // Who waits for two others that do not wait is fine.
        assert!(!state.deadlocks(7, record(1, false, 1, 3)));
    }
}
