//! Files that a process has open without a descriptor.
//!
//! A library whose handles are values of Rust finds its file by the handle: a number, and the table to look it up in at each call, would be
//! in between for nothing. What is held ends as a descriptor does: with [`Proc::exit`], [`Proc::exec`] and the kernel.

use crate::{
    Fd, File, OpenFile, OpenFlags, Proc,
    descriptor::{Closer, Table},
};
use alloc::{sync::Arc, vec::Vec};
use rumpuser::{Errno, Result};

/// A file that a process has open without a descriptor. To be closed by [`Proc::close_held`]; if it is not, it is open until the process ends.
pub struct Held {
    open: Arc<OpenFile>,
    /// Where it is among those of the process.
    place: usize,
}

impl Held {
    /// The open file description.
    ///
    /// # Errors
    /// `EBADF`: it is closed.
    #[inline]
    pub fn open(&self) -> Result<&OpenFile> {
        if self.open.descriptors() == 0 {
            return Err(Errno::EBADF);
        }
        Ok(&self.open)
    }
}

/// All of a process. A free place is used again.
#[derive(Default)]
pub(crate) struct Shelf {
    files: Vec<Option<Arc<OpenFile>>>,
    free: Vec<usize>,
}

impl Shelf {
    fn put(&mut self, open: Arc<OpenFile>) -> usize {
        if let Some(place) = self.free.pop() {
            self.files[place] = Some(open);
            return place;
        }
        self.files.push(Some(open));
        self.files.len() - 1
    }

    /// Takes a file off; `None` if somebody else has. Its place may have another's by now.
    fn take(&mut self, held: &Held) -> Option<Arc<OpenFile>> {
        let file = self.files.get_mut(held.place)?;
        let is_it = |open: &Arc<OpenFile>| Arc::ptr_eq(open, &held.open);
        let taken = file.take_if(|open| is_it(open))?;
        self.free.push(held.place);
        Some(taken)
    }
}

impl Table {
    /// Closes all files without a descriptor; the first error is returned.
    pub(crate) fn close_shelf(&self, closer: &Closer<'_>) -> Result<()> {
        let shelf = core::mem::take(&mut *self.shelf.lock());
        let files = shelf.files.into_iter().flatten();
        files
            .map(|open| open.release(closer))
            .fold(Ok(()), Result::and)
    }
}

impl Proc {
    /// Opens a file without a descriptor. There may be as many as there is memory for.
    #[must_use = "it is open until the process ends"]
    pub fn hold(&self, file: Arc<dyn File>, flags: OpenFlags) -> Held {
        let flags = flags - OpenFlags::CLOEXEC;
        let open = Arc::new(OpenFile::new(file, flags, self.kernel.queues()));
        let place = self.inner.table.shelf.lock().put(open.clone());
        Held { open, place }
    }

    /// Closes such a file. A descriptor that it was given is another one's: the file is closed with the last of them.
    ///
    /// # Errors
    /// `EBADF`: it is closed; what the file says.
    pub fn close_held(&self, held: &Held) -> Result<()> {
        let taken = self.inner.table.shelf.lock().take(held);
        taken.ok_or(Errno::EBADF)?.release(&self.closer())
    }

    /// All such files of the process.
    #[must_use]
    pub fn held_files(&self) -> Vec<Arc<OpenFile>> {
        let shelf = self.inner.table.shelf.lock();
        shelf.files.iter().flatten().cloned().collect()
    }

    /// Gives such a file a descriptor as well, which is marked close-on-exec.
    ///
    /// # Errors
    /// `EBADF`: it is closed; `EMFILE`.
    pub fn fd_of_held(&self, held: &Held) -> Result<Fd> {
        let place = self.fd_reserve()?;
        if !held.open.retain_open() {
            return Err(Errno::EBADF);
        }
        Ok(place.put_open(held.open.clone(), true))
    }
}
