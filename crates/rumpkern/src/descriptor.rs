//! Open file descriptions and the table of descriptors that refer to them.

use crate::{Cred, Fd, File, OpenFlags, border::Border};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use rumpuser::{
    Errno, Result,
    sleep::{SleepMutex, SleepQueues},
    sync::RwLock,
};

/// Flags of an open file description that `F_SETFL` can change.
const SETTABLE: OpenFlags = OpenFlags::APPEND
    .union(OpenFlags::NONBLOCK)
    .union(OpenFlags::SYNC)
    .union(OpenFlags::DSYNC)
    .union(OpenFlags::NOATIME);

/// An open file description: a file, how it was opened, and an offset. Descriptors made by `dup` and `fork` share it.
pub struct OpenFile {
    file: Arc<dyn File>,
    flags: AtomicU32,
    offset: SleepMutex<u64>,
    /// Descriptors that refer to it, in all processes.
    descriptors: AtomicUsize,
}

impl OpenFile {
    fn new(file: Arc<dyn File>, flags: OpenFlags, queues: &Arc<SleepQueues>) -> Self {
        Self {
            file,
            flags: AtomicU32::new(flags.bits()),
            offset: SleepMutex::new(queues, 0),
            descriptors: AtomicUsize::new(1),
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// How it was opened, with what `F_SETFL` changed since.
    #[must_use]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Changes the flags that can be changed (append, non-blocking, synchronous); others in `flags` are ignored.
    pub fn set_flags(&self, flags: OpenFlags) {
        let fixed = self.flags() - SETTABLE;
        let new = fixed | (flags & SETTABLE);
        self.flags.store(new.bits(), Ordering::Relaxed);
    }

    /// The offset. Held during a transfer that uses it: POSIX has such transfers atomic with each other.
    #[must_use]
    pub fn offset(&self) -> &SleepMutex<u64> {
        &self.offset
    }

    fn retain(&self) {
        self.descriptors.fetch_add(1, Ordering::Relaxed);
    }

    /// One descriptor less; the last one closes the file.
    fn release(self: Arc<Self>, closer: &Closer<'_>) -> Result<()> {
        // Each for itself: many may be closed at once.
        closer.border.enter(|| {
            let last = self.descriptors.fetch_sub(1, Ordering::AcqRel) == 1;
            self.file.closing(closer.pid);
            let result = if last {
                self.file.close(closer.cred)
            } else {
                Ok(())
            };
            drop(self);
            result
        })
    }
}

#[derive(Clone)]
struct Entry {
    open: Arc<OpenFile>,
    close_on_exec: bool,
}

/// The descriptors of a process.
#[derive(Default)]
pub(crate) struct Table {
    slots: RwLock<Slots>,
}

#[derive(Default)]
struct Slots {
    entries: Vec<Option<Entry>>,
    /// No free slot is below this.
    first_free: usize,
}

impl Slots {
    /// Takes the lowest free slot at or above `min` and below `limit`.
    fn take(&mut self, min: usize, limit: usize, entry: Entry) -> Result<Fd> {
        let start = min.max(self.first_free);
        let slot = (start..self.entries.len())
            .find(|&i| self.entries[i].is_none())
            .unwrap_or_else(|| start.max(self.entries.len()));
        if slot >= limit {
            return Err(Errno::EMFILE);
        }
        if slot >= self.entries.len() {
            self.entries.resize(slot + 1, None);
        }
        self.entries[slot] = Some(entry);
        if min <= self.first_free {
            self.first_free = slot + 1;
        }
        Fd::try_from(slot).map_err(|_| Errno::EMFILE)
    }

    fn get(&self, fd: Fd) -> Result<&Entry> {
        self.entries
            .get(fd as usize)
            .and_then(Option::as_ref)
            .ok_or(Errno::EBADF)
    }

    fn get_mut(&mut self, fd: Fd) -> Result<&mut Entry> {
        self.entries
            .get_mut(fd as usize)
            .and_then(Option::as_mut)
            .ok_or(Errno::EBADF)
    }
}

/// Who closes: for the file's `close` and `closing`.
pub(crate) struct Closer<'a> {
    pub(crate) cred: &'a Cred,
    pub(crate) pid: u32,
    pub(crate) border: &'a Border,
}

impl Table {
    pub(crate) fn install(
        &self,
        file: Arc<dyn File>,
        flags: OpenFlags,
        queues: &Arc<SleepQueues>,
        limit: usize,
    ) -> Result<Fd> {
        let entry = Entry {
            close_on_exec: flags.contains(OpenFlags::CLOEXEC),
            open: Arc::new(OpenFile::new(file, flags - OpenFlags::CLOEXEC, queues)),
        };
        self.slots.write().take(0, limit, entry)
    }

    pub(crate) fn get(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        self.slots.read().get(fd).map(|e| e.open.clone())
    }

    pub(crate) fn dup(&self, fd: Fd, min: Fd, close_on_exec: bool, limit: usize) -> Result<Fd> {
        if min as usize >= limit {
            return Err(Errno::EINVAL);
        }
        let mut slots = self.slots.write();
        let open = slots.get(fd)?.open.clone();
        let new = slots.take(
            min as usize,
            limit,
            Entry {
                open: open.clone(),
                close_on_exec,
            },
        )?;
        open.retain();
        Ok(new)
    }

    pub(crate) fn dup2(
        &self,
        from: Fd,
        to: Fd,
        close_on_exec: bool,
        limit: usize,
        closer: &Closer<'_>,
    ) -> Result<Fd> {
        let old = {
            let mut slots = self.slots.write();
            let open = slots.get(from)?.open.clone();
            let slot = to as usize;
            if slot >= limit {
                return Err(Errno::EBADF);
            }
            if from == to {
                return Ok(to);
            }
            if slot >= slots.entries.len() {
                slots.entries.resize(slot + 1, None);
            }
            open.retain();
            slots.entries[slot].replace(Entry {
                open,
                close_on_exec,
            })
        };
        if let Some(old) = old {
            // As with close(2) inside dup2(2): an error of the old file cannot be told apart and is lost.
            let _ = old.open.release(closer);
        }
        Ok(to)
    }

    pub(crate) fn close(&self, fd: Fd, closer: &Closer<'_>) -> Result<()> {
        let entry = {
            let mut slots = self.slots.write();
            slots.get(fd)?;
            let slot = fd as usize;
            slots.first_free = slots.first_free.min(slot);
            slots.entries[slot].take()
        };
        entry.map_or(Err(Errno::EBADF), |e| e.open.release(closer))
    }

    pub(crate) fn close_on_exec(&self, fd: Fd) -> Result<bool> {
        self.slots.read().get(fd).map(|e| e.close_on_exec)
    }

    pub(crate) fn set_close_on_exec(&self, fd: Fd, on: bool) -> Result<()> {
        self.slots.write().get_mut(fd)?.close_on_exec = on;
        Ok(())
    }

    /// Closes those that `which` picks by their close-on-exec flag; the first error is returned.
    pub(crate) fn close_where(
        &self,
        which: impl Fn(bool) -> bool,
        closer: &Closer<'_>,
    ) -> Result<()> {
        let gone: Vec<Entry> = {
            let mut slots = self.slots.write();
            slots.first_free = 0;
            slots
                .entries
                .iter_mut()
                .filter_map(|e| e.take_if(|e| which(e.close_on_exec)))
                .collect()
        };
        gone.into_iter()
            .map(|e| e.open.release(closer))
            .fold(Ok(()), Result::and)
    }

    /// A copy for a child process: the same open file descriptions.
    pub(crate) fn fork(&self) -> Self {
        let slots = self.slots.read();
        for entry in slots.entries.iter().flatten() {
            entry.open.retain();
        }
        Self {
            slots: RwLock::new(Slots {
                entries: slots.entries.clone(),
                first_free: slots.first_free,
            }),
        }
    }
}
