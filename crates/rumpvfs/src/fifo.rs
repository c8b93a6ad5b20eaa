//! FIFOs: all that open the same vnode share one stream.

use crate::{process::Ctx, vnode::VnodeRef};
use alloc::sync::Arc;
use core::any::Any;
use rumpkern::{File, OpenFlags, Pipe, Position, Stat, file::Ready, pipe};
use rumpuser::{Errno, Result};

/// An open end of a FIFO.
pub(crate) struct FifoFile {
    end: Arc<pipe::End>,
    pub(crate) vnode: VnodeRef,
}

impl Ctx<'_> {
    /// Opens a FIFO; waits for the other side unless told not to.
    ///
    /// # Errors
    /// `ENXIO`: for writing, without waiting, and nobody reads.
    pub(crate) fn open_fifo(&self, vnode: &VnodeRef, flags: OpenFlags) -> Result<Arc<dyn File>> {
        let caches = &self.vfs.caches;
        let pipe = vnode
            .extra
            .lock()
            .pipe
            .get_or_insert_with(|| Pipe::new(&caches.host, &caches.pollers))
            .clone();
        let side = match (flags.reads(), flags.writes()) {
            (true, false) => pipe::Side::Read,
            (false, _) => pipe::Side::Write,
            (true, true) => pipe::Side::Both,
        };
        let end = pipe.open(side, flags.contains(OpenFlags::NONBLOCK))?;
        Ok(Arc::new(FifoFile {
            end,
            vnode: vnode.clone(),
        }))
    }
}

impl FifoFile {
    fn alive(&self) -> Result<()> {
        if self.vnode.mount.fs.is_dead() {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }
}

impl File for FifoFile {
    fn read(&self, at: Position, bufs: &mut [&mut [u8]], nonblock: bool) -> Result<usize> {
        self.alive()?;
        let done = self.end.read(at, bufs, nonblock)?;
        if done > 0 {
            self.vnode.data_read();
        }
        Ok(done)
    }

    fn write(&self, at: Position, bufs: &[&[u8]], nonblock: bool) -> Result<(usize, u64)> {
        self.alive()?;
        let done = self.end.write(at, bufs, nonblock)?;
        let mount = &self.vnode.mount;
        if done.0 > 0 && !mount.read_only() {
            self.vnode.data_changed(mount.now());
        }
        Ok(done)
    }

    fn stat(&self) -> Result<Stat> {
        self.vnode.stat()
    }

    fn poll(&self) -> Ready {
        self.end.poll()
    }

    fn close(&self) -> Result<()> {
        self.end.close()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
