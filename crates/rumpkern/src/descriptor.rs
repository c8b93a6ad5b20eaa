//! Open file descriptions and the table of descriptors that refer to them.

use crate::{Fd, File, OpenFlags, border::Border, held::Shelf};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use rumpuser::{
    Errno, Host, Result,
    sleep::{SleepMutex, SleepQueues},
    sync::{CachePadded, Mutex, RwLock},
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
    /// Descriptors that refer to it, in all processes and in messages, and [`Held`](crate::Held) ones.
    descriptors: AtomicUsize,
}

impl OpenFile {
    pub(crate) fn new(file: Arc<dyn File>, flags: OpenFlags, queues: &Arc<SleepQueues>) -> Self {
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

    /// Descriptors that refer to it: in all processes, and in messages. One that is [`Held`](crate::Held) counts as one.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors.load(Ordering::Acquire)
    }

    pub(crate) fn retain(&self) {
        self.descriptors.fetch_add(1, Ordering::Relaxed);
    }

    /// One more descriptor that refers to it, unless the last one is closed: then there is none to come.
    pub(crate) fn retain_open(&self) -> bool {
        let more = |count: usize| (count > 0).then_some(count + 1);
        self.descriptors
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// One descriptor less; the last one closes the file.
    pub(crate) fn release(self: Arc<Self>, closer: &Closer<'_>) -> Result<()> {
        // Each for itself: many may be closed at once.
        closer.border.enter(|| {
            let last = self.descriptors.fetch_sub(1, Ordering::AcqRel) == 1;
            self.file.closing(closer.pid);
            let result = if last { self.file.close() } else { Ok(()) };
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

/// Parts of a table that are locked apart.
const STRIPES: usize = 16;

/// The descriptors of a process.
///
/// A descriptor's number is taken first and given back last; in between its stripe holds the entry, or it is
/// [`Reserved`]. Threads that use different files meet in the word of the lowest numbers alone, which POSIX wants them to share.
///
/// That word's cache line moves between the CPUs of these threads, once for a `close` and the `open` after it: `close` gives the number
/// back at its end, when the file is closed, and has the line brought meanwhile. Whoever asks for the descriptor before that finishes the
/// closing ([`Slot::Closing`]), so that all agree on when it was free.
#[derive(Default)]
pub(crate) struct Table {
    numbers: CachePadded<Numbers>,
    /// Descriptor `fd` is in stripe `fd % STRIPES`, at `fd / STRIPES`.
    stripes: [CachePadded<RwLock<Stripe>>; STRIPES],
    /// What is open without a descriptor.
    pub(crate) shelf: Mutex<Shelf>,
}

/// Every sixteenth descriptor. The first of them stands beside the lock, on its cache line.
#[derive(Clone, Default)]
struct Stripe {
    first: Slot,
    rest: Vec<Slot>,
}

/// What is behind a number.
#[derive(Clone, Default)]
enum Slot {
    /// It is free, or [`Reserved`].
    #[default]
    Empty,
    Open(Entry),
    /// Its file is being closed, and the number is still taken. Who makes this [`Slot::Empty`] gives the number back.
    Closing,
}

impl Slot {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Open(entry) => Some(entry),
            _ => None,
        }
    }

    /// Takes the entry, if there is one, and leaves `rest` behind.
    fn take(&mut self, rest: Self) -> Option<Entry> {
        match self {
            Self::Open(_) => match core::mem::replace(self, rest) {
                Self::Open(entry) => Some(entry),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Stripe {
    fn get(&self, at: usize) -> Option<&Slot> {
        match at {
            0 => Some(&self.first),
            _ => self.rest.get(at - 1),
        }
    }

    /// A place that is there.
    fn get_mut(&mut self, at: usize) -> Option<&mut Slot> {
        match at {
            0 => Some(&mut self.first),
            _ => self.rest.get_mut(at - 1),
        }
    }

    /// A place, made if need be.
    fn place(&mut self, at: usize) -> &mut Slot {
        if at == 0 {
            return &mut self.first;
        }
        if at > self.rest.len() {
            self.rest.resize(at, Slot::Empty);
        }
        &mut self.rest[at - 1]
    }

    /// The places, by their number.
    fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Slot)> {
        let first = core::iter::once(&mut self.first);
        first.chain(&mut self.rest).enumerate()
    }
}

/// Which descriptors are in use: a bit for each.
#[derive(Default)]
struct Numbers {
    /// The first ones, without a lock.
    first: [AtomicU64; FIRST / 64],
    rest: Mutex<Rest>,
}

/// Numbers that need no lock.
const FIRST: usize = 256;

/// The numbers from [`FIRST`] on.
#[derive(Default)]
struct Rest {
    used: Vec<u64>,
    /// No word below this has a free bit.
    first_free: usize,
}

/// The bits of a word below a number in it.
const fn below(number: usize) -> u64 {
    (1 << (number % 64)) - 1
}

const fn bit(number: usize) -> u64 {
    1 << (number % 64)
}

impl Numbers {
    /// Takes the lowest free number at or above `min` and below `limit`.
    fn take(&self, min: usize, limit: usize) -> Option<usize> {
        for (word, used) in self.first.iter().enumerate().skip(min / 64) {
            let skipped = if word == min / 64 { below(min) } else { 0 };
            let mut now = used.load(Ordering::Relaxed);
            while now | skipped != u64::MAX {
                let number = word * 64 + (now | skipped).trailing_ones() as usize;
                if number >= limit {
                    return None;
                }
                match used.compare_exchange_weak(
                    now,
                    now | bit(number),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(number),
                    Err(newer) => now = newer,
                }
            }
        }
        let mut rest = self.rest.lock();
        let number = FIRST + rest.lowest(min.saturating_sub(FIRST));
        (number < limit).then(|| {
            rest.set(number - FIRST);
            number
        })
    }

    /// Takes a number; whether it was free.
    fn take_this(&self, number: usize) -> bool {
        match self.first.get(number / 64) {
            Some(used) => used.fetch_or(bit(number), Ordering::Acquire) & bit(number) == 0,
            None => self.rest.lock().set(number - FIRST),
        }
    }

    fn give_back(&self, number: usize) {
        match self.first.get(number / 64) {
            Some(used) => {
                used.fetch_and(!bit(number), Ordering::Release);
            }
            None => self.rest.lock().clear(number - FIRST),
        }
    }
}

impl Rest {
    /// The lowest free number at or above `min`; it stays free.
    fn lowest(&self, min: usize) -> usize {
        let start = min.max(self.first_free * 64);
        let words = self.used.iter().enumerate().skip(start / 64);
        let free = words
            .map(|(word, used)| match word == start / 64 {
                true => (word, used | below(start)),
                false => (word, *used),
            })
            .find(|(_, used)| *used != u64::MAX);
        match free {
            Some((word, used)) => word * 64 + used.trailing_ones() as usize,
            None => start.max(self.used.len() * 64),
        }
    }

    /// Whether it was free.
    fn set(&mut self, number: usize) -> bool {
        let word = number / 64;
        if word >= self.used.len() {
            self.used.resize(word + 1, 0);
        }
        let free = self.used[word] & bit(number) == 0;
        self.used[word] |= bit(number);
        while self.used.get(self.first_free) == Some(&u64::MAX) {
            self.first_free += 1;
        }
        free
    }

    fn clear(&mut self, number: usize) {
        let word = number / 64;
        if let Some(used) = self.used.get_mut(word) {
            *used &= !bit(number);
            self.first_free = self.first_free.min(word);
        }
    }
}

/// Who closes: for the file's `closing`.
pub(crate) struct Closer<'a> {
    pub(crate) pid: u32,
    pub(crate) border: &'a Border,
}

/// A descriptor that nothing is behind yet. Dropped, it is free again.
///
/// Who opens takes the number before the work, not after it: a thread that closes and opens again then touches the word of the
/// numbers twice in a row, and not twice with a path walk between in which another CPU takes its cache line. It also knows that
/// there is a descriptor before it makes or empties a file.
#[must_use = "it is free again when it is dropped"]
pub struct Reserved<'a> {
    table: &'a Table,
    queues: &'a Arc<SleepQueues>,
    fd: Fd,
}

impl Reserved<'_> {
    /// Lets the descriptor refer to a file that was opened with `flags`.
    pub fn fill(self, file: Arc<dyn File>, flags: OpenFlags) -> Fd {
        let entry = Entry {
            close_on_exec: flags.contains(OpenFlags::CLOEXEC),
            open: Arc::new(OpenFile::new(file, flags - OpenFlags::CLOEXEC, self.queues)),
        };
        self.put(entry)
    }

    pub(crate) fn put_open(self, open: Arc<OpenFile>, close_on_exec: bool) -> Fd {
        self.put(Entry {
            open,
            close_on_exec,
        })
    }

    fn put(self, entry: Entry) -> Fd {
        let (stripe, at) = place(self.fd);
        *self.table.stripes[stripe].write().place(at) = Slot::Open(entry);
        let fd = self.fd;
        core::mem::forget(self);
        fd
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.table.numbers.give_back(self.fd as usize);
    }
}

impl Table {
    /// Takes the lowest free number at or above `min` and below `limit`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(crate) fn reserve<'a>(
        &'a self,
        min: usize,
        limit: usize,
        queues: &'a Arc<SleepQueues>,
        host: &dyn Host,
    ) -> Result<Reserved<'a>> {
        let limit = limit.min(Fd::MAX as usize);
        let number = self.numbers.take(min, limit).ok_or(Errno::EMFILE)?;
        // Another CPU may have had this number before.
        host.will_write(line(&self.stripes[number % STRIPES]));
        Ok(Reserved {
            table: self,
            queues,
            fd: number as Fd,
        })
    }

    fn look<R>(&self, fd: Fd, what: impl FnOnce(&Entry) -> R) -> Result<R> {
        let (stripe, at) = place(fd);
        let entries = self.stripes[stripe].read();
        match entries.get(at) {
            Some(Slot::Open(entry)) => return Ok(what(entry)),
            Some(Slot::Closing) => {}
            Some(Slot::Empty) | None => return Err(Errno::EBADF),
        }
        drop(entries);
        self.closed(fd);
        Err(Errno::EBADF)
    }

    /// A descriptor's number is given back, if nobody did since its file began to be closed.
    fn closed(&self, fd: Fd) {
        let (stripe, at) = place(fd);
        let mut entries = self.stripes[stripe].write();
        if let Some(slot @ Slot::Closing) = entries.get_mut(at) {
            *slot = Slot::Empty;
            self.numbers.give_back(fd as usize);
        }
    }

    pub(crate) fn get(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        self.look(fd, |e| e.open.clone())
    }

    pub(crate) fn dup(
        &self,
        fd: Fd,
        min: Fd,
        close_on_exec: bool,
        limit: usize,
        queues: &Arc<SleepQueues>,
        host: &dyn Host,
    ) -> Result<Fd> {
        if min as usize >= limit {
            return Err(Errno::EINVAL);
        }
        self.get(fd)?;
        let reserved = self.reserve(min as usize, limit, queues, host)?;
        Ok(reserved.put(Entry {
            // Another thread may have closed it by now.
            open: self.retained(fd)?,
            close_on_exec,
        }))
    }

    /// The open file description behind a descriptor, with one descriptor more that refers to it.
    pub(crate) fn retained(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        self.look(fd, |e| {
            e.open.retain();
            e.open.clone()
        })
    }

    pub(crate) fn dup2(
        &self,
        from: Fd,
        to: Fd,
        close_on_exec: bool,
        limit: usize,
        closer: &Closer<'_>,
    ) -> Result<Fd> {
        self.get(from)?;
        if to as usize >= limit {
            return Err(Errno::EBADF);
        }
        if from == to {
            return Ok(to);
        }
        let entry = Entry {
            open: self.retained(from)?,
            close_on_exec,
        };
        let (stripe, at) = place(to);
        let (unused, old) = {
            let mut entries = self.stripes[stripe].write();
            let slot = entries.place(at);
            if !matches!(slot, Slot::Empty) || self.numbers.take_this(to as usize) {
                let old = core::mem::replace(slot, Slot::Open(entry));
                (None, old)
            } else {
                (Some(entry), Slot::Empty)
            }
        };
        if let Some(unused) = unused {
            // As on Linux: another thread is opening something there, which may take any time.
            let _ = unused.open.release(closer);
            return Err(Errno::EBUSY);
        }
        if let Slot::Open(old) = old {
            // As with close(2) inside dup2(2): an error of the old file cannot be told apart and is lost.
            let _ = old.open.release(closer);
        }
        Ok(to)
    }

    pub(crate) fn close(&self, fd: Fd, closer: &Closer<'_>) -> Result<()> {
        closer.border.host().will_write(line(&self.numbers));
        let (stripe, at) = place(fd);
        let mut entries = self.stripes[stripe].write();
        let slot = entries.get_mut(at).ok_or(Errno::EBADF)?;
        let Some(entry) = slot.take(Slot::Closing) else {
            drop(entries);
            self.closed(fd);
            return Err(Errno::EBADF);
        };
        drop(entries);
        let result = entry.open.release(closer);
        self.closed(fd);
        result
    }

    pub(crate) fn close_on_exec(&self, fd: Fd) -> Result<bool> {
        self.look(fd, |e| e.close_on_exec)
    }

    pub(crate) fn set_close_on_exec(&self, fd: Fd, on: bool) -> Result<()> {
        let (stripe, at) = place(fd);
        let mut entries = self.stripes[stripe].write();
        match entries.get_mut(at) {
            Some(Slot::Open(entry)) => {
                entry.close_on_exec = on;
                return Ok(());
            }
            Some(Slot::Closing) => {}
            Some(Slot::Empty) | None => return Err(Errno::EBADF),
        }
        drop(entries);
        self.closed(fd);
        Err(Errno::EBADF)
    }

    /// Closes those that `which` picks by their close-on-exec flag; the first error is returned.
    pub(crate) fn close_where(
        &self,
        which: impl Fn(bool) -> bool,
        closer: &Closer<'_>,
    ) -> Result<()> {
        let gone: Vec<Entry> = {
            let mut stripes = self.stripes.each_ref().map(|stripe| stripe.write());
            let mut gone = Vec::new();
            for (stripe, entries) in stripes.iter_mut().enumerate() {
                for (at, slot) in entries.iter_mut() {
                    let goes = slot.entry().is_some_and(|e| which(e.close_on_exec));
                    if let Some(entry) = goes.then(|| slot.take(Slot::Empty)).flatten() {
                        let number = at * STRIPES + stripe;
                        self.numbers.give_back(number);
                        gone.push((number, entry));
                    }
                }
            }
            drop(stripes);
            // In the order of the descriptors, wherever they stood.
            gone.sort_unstable_by_key(|(number, _)| *number);
            gone.into_iter().map(|(_, entry)| entry).collect()
        };
        gone.into_iter()
            .map(|e| e.open.release(closer))
            .fold(Ok(()), Result::and)
    }

    /// A copy for a child process: the same open file descriptions.
    pub(crate) fn fork(&self) -> Self {
        // All at once: what the child gets is what there is at one moment.
        let mut stripes = self.stripes.each_ref().map(|stripe| stripe.write());
        let child = Self::default();
        for (stripe, entries) in stripes.iter_mut().enumerate() {
            for (at, slot) in entries.iter_mut() {
                let number = at * STRIPES + stripe;
                match slot {
                    Slot::Open(entry) => {
                        entry.open.retain();
                        child.numbers.take_this(number);
                    }
                    Slot::Closing => {
                        *slot = Slot::Empty;
                        self.numbers.give_back(number);
                    }
                    Slot::Empty => {}
                }
            }
            *child.stripes[stripe].write() = (*entries).clone();
        }
        child
    }
}

/// Where a value begins, for [`will_write`](rumpuser::Threads::will_write).
fn line<T>(of: &T) -> *const u8 {
    core::ptr::from_ref(of).cast()
}

/// Stripe of a descriptor and place in it.
fn place(fd: Fd) -> (usize, usize) {
    (fd as usize % STRIPES, fd as usize / STRIPES)
}

#[cfg(test)]
mod tests {
    use super::{FIRST, Numbers};

    #[test]
    fn the_lowest_number_is_taken() {
        let numbers = Numbers::default();
        let all = FIRST + 200;
        for number in 0..all {
            assert_eq!(numbers.take(0, all), Some(number));
        }
        assert_eq!(numbers.take(0, all), None);
        for number in [5, 70, FIRST - 1, FIRST, FIRST + 150] {
            numbers.give_back(number);
        }
        assert_eq!(numbers.take(6, all), Some(70));
        assert_eq!(numbers.take(FIRST + 1, all), Some(FIRST + 150));
        assert_eq!(numbers.take(0, 5), None);
        assert_eq!(numbers.take(0, all), Some(5));
        assert_eq!(numbers.take(0, all), Some(FIRST - 1));
        assert_eq!(numbers.take(0, all), Some(FIRST));
        assert_eq!(numbers.take(0, all), None);
        assert_eq!(numbers.take(all + 1000, usize::MAX), Some(all + 1000));
        assert!(!numbers.take_this(all + 1000) && numbers.take_this(all + 999));
        assert!(!numbers.take_this(5) && numbers.take_this(all));
        assert_eq!(numbers.take(0, usize::MAX), Some(all + 1));
    }
}
