//! Descriptors on their way from one process to another.

use crate::{
    Fd, OpenFile, Proc,
    border::Border,
    descriptor::{Closer, Reserved},
};
use alloc::sync::Arc;
use rumpuser::Result;

/// A descriptor that no process has: what is in a message between the one that sent it and the one that will receive it. It
/// keeps the file open as any descriptor does; dropped, it is closed, so it must not be dropped with a lock held that closing takes.
pub struct Passed {
    /// Gone only when a process has taken it.
    open: Option<Arc<OpenFile>>,
    border: Arc<Border>,
    uid: u32,
}

impl Passed {
    /// The open file description.
    #[must_use]
    pub fn open(&self) -> Option<&Arc<OpenFile>> {
        self.open.as_ref()
    }

    /// The user who sends it.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        self.uid
    }
}

impl Clone for Passed {
    fn clone(&self) -> Self {
        self.open.iter().for_each(|open| open.retain());
        Self {
            open: self.open.clone(),
            border: self.border.clone(),
            uid: self.uid,
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let closer = Closer {
                pid: 0,
                border: &self.border,
            };
            // As with close(2) of a message that nobody received: nobody is there to hear of an error.
            let _ = open.release(&closer);
        }
    }
}

impl Reserved<'_> {
    /// Lets the descriptor refer to what was passed.
    pub fn receive(self, mut passed: Passed, close_on_exec: bool) -> Option<Fd> {
        let open = passed.open.take()?;
        Some(self.put_open(open, close_on_exec))
    }
}

impl Proc {
    /// One more descriptor of what `fd` refers to, to be sent.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn fd_pass(&self, fd: Fd) -> Result<Passed> {
        Ok(Passed {
            open: Some(self.inner.table.retained(fd)?),
            border: self.inner.border().clone(),
            uid: self.cred().uid,
        })
    }
}
