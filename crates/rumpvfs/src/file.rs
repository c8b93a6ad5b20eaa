//! An open vnode, as a file of the descriptor table.

use crate::{
    calls::FileExtent,
    erased::AnyFileSystem,
    fs::{SetAttributes, Space},
    pages::{ErrorCursor, FilePages, Keep},
    perm,
    vnode::{Exclusive, LOCKED, Pending, VnodeRef},
};
use alloc::sync::Arc;
use core::{any::Any, sync::atomic::Ordering};
use rumpkern::{
    Cred, File, FileType, OpenFile, OpenFlags, Position, Stat,
    file::{Ready, Seekable},
};
use rumpuser::{Errno, Result};

/// An open regular file or directory, or with `PATH` anything.
pub(crate) struct VnodeFile {
    pub(crate) vnode: VnodeRef,
    /// Opened by the superuser, on whose behalf it is written.
    privileged: bool,
    /// Which blocks may be taken on the opener's behalf.
    pub(crate) space: Space,
    flags: OpenFlags,
    /// Which failed write-backs of its data it was told of.
    errors: ErrorCursor,
}

impl VnodeFile {
    /// Opens a vnode; everything has been checked.
    pub(crate) fn new(vnode: VnodeRef, cred: &Cred, flags: OpenFlags) -> Self {
        let mut space = Space::Ordinary;
        if Self::counts(flags) {
            vnode.writers.fetch_add(1, Ordering::SeqCst);
            space = vnode.mount.fs.space_for(cred);
        }
        // Data that was never used has not failed.
        let pages = vnode.pages_used();
        let errors = pages.map_or_else(ErrorCursor::default, FilePages::error_cursor);
        Self {
            vnode,
            privileged: cred.is_root(),
            space,
            flags,
            errors,
        }
    }

    /// The same for a consumer that says itself which writes take set-id bits away.
    pub(crate) fn unchecked(vnode: VnodeRef, cred: &Cred, flags: OpenFlags) -> Self {
        let mut file = Self::new(vnode, cred, flags);
        file.privileged = true;
        file
    }

    fn counts(flags: OpenFlags) -> bool {
        flags.writes() && !flags.contains(OpenFlags::PATH)
    }

    /// The open vnode behind a descriptor, if it is one.
    pub(crate) fn of(open: &OpenFile) -> Option<Arc<Self>> {
        open.file().clone().as_any().downcast().ok()
    }

    /// Names this open file description among owners of locks.
    pub(crate) fn description(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    fn pages(&self) -> Result<&FilePages> {
        match (self.vnode.pages(), self.vnode.file_type) {
            (Some(pages), _) => Ok(pages),
            (None, FileType::Directory) => Err(Errno::EISDIR),
            (None, _) => Err(Errno::EINVAL),
        }
    }

    /// Appends bytes that `put` puts on the device; returns how many were done. `keep_times` as [`write_data`](Self::write_data) has it.
    ///
    /// # Errors
    /// Those of [`FilePages::write_extents`].
    pub(crate) fn write_extents(
        &self,
        range: (u64, u64),
        keep_times: bool,
        put: &mut dyn FnMut(FileExtent) -> Result<()>,
    ) -> Result<u64> {
        let pages = self.pages()?;
        let mount = &self.vnode.mount;
        let mut inode = self.vnode.exclusive()?;
        let result =
            pages.write_extents(&mount.fs, &mut inode, range, self.space, mount.now(), put);
        let done = match keep_times {
            true => self.note_change(&mut inode, result)?,
            false => self.note_write(&mut inode, result)?,
        };
        drop(inode);
        mount.changed()?;
        Ok(done)
    }

    /// # Errors
    /// What a write-back of the file's data gave since it was opened, or asked here: once.
    fn check_error(&self) -> Result<()> {
        let pages = self.vnode.pages_used();
        pages.map_or(Ok(()), |pages| pages.check_error(&self.errors))
    }

    /// Notes the time of a read.
    pub(crate) fn note_read(&self) {
        if !self.flags.contains(OpenFlags::NOATIME) {
            self.vnode.data_read();
        }
    }

    /// After a change of data that ended with `result`: set-id bits go, times are noted.
    ///
    /// # Errors
    /// That of `result`, else what the driver says.
    pub(crate) fn note_write<T>(&self, inode: &mut Exclusive<'_>, result: Result<T>) -> Result<T> {
        let changed = result.is_ok();
        let done = self.note_change(inode, result);
        if changed {
            self.vnode.data_changed(self.vnode.mount.now());
        }
        done
    }

    /// The same without times.
    fn note_change<T>(&self, inode: &mut Exclusive<'_>, result: Result<T>) -> Result<T> {
        let vnode = &self.vnode;
        let mode = perm::mode_after_write(&vnode.owner(), self.privileged);
        let cleared = match mode {
            Some(_) if result.is_ok() => {
                let change = SetAttributes {
                    mode,
                    ..SetAttributes::default()
                };
                vnode.mount.fs.set_attributes(inode, &change)
            }
            _ => Ok(()),
        };
        // Also after an error the driver may have allocated blocks.
        vnode.refresh(inode, Pending::default());
        let done = result?;
        cleared.map(|()| done)
    }

    /// Writes; `keep_times` for a consumer that tells times itself. Gives how much, and where it ends.
    ///
    /// # Errors
    /// `EFBIG`, `ENOSPC`, `EROFS`, `EPERM`.
    pub(crate) fn write_data(
        &self,
        at: Position,
        bufs: &[&[u8]],
        keep_times: bool,
    ) -> Result<(usize, u64)> {
        let pages = self.pages()?;
        let vnode = &self.vnode;
        let mount = &vnode.mount;
        let mut inode = vnode.exclusive()?;
        let size = vnode.size();
        let offset = match at {
            Position::At(offset) => offset,
            Position::Append => size,
        };
        // A consumer's cache has what was appended behind what was there, and writes whole pages of it: who opened the file was asked.
        if vnode.protection().append_only && offset < size && !keep_times {
            return Err(Errno::EPERM);
        }
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        if len == 0 {
            return Ok((0, offset));
        }
        if offset >= mount.limits.file_size_max {
            return Err(Errno::EFBIG);
        }
        let result = pages.write(&mount.fs, &mut inode, offset, bufs, self.space);
        let done = match keep_times {
            true => self.note_change(&mut inode, result)?,
            false => self.note_write(&mut inode, result)?,
        };
        drop(inode);
        mount.changed()?;
        Ok((done, offset + done as u64))
    }

    /// Reads; whether what is read goes into the cache `keep` says.
    ///
    /// # Errors
    /// Those of [`FilePages::read`].
    pub(crate) fn read_data(
        &self,
        at: Position,
        bufs: &mut [&mut [u8]],
        keep: Keep,
    ) -> Result<usize> {
        let pages = self.pages()?;
        // POSIX read(): nothing asked for, nothing happens, not even to the access time.
        if bufs.iter().all(|b| b.is_empty()) {
            return Ok(0);
        }
        let inode = self.vnode.shared()?;
        let size = self.vnode.size();
        let offset = match at {
            Position::At(offset) => offset,
            Position::Append => size,
        };
        let done = pages.read(&self.vnode.mount.fs, &inode, size, offset, bufs, keep)?;
        drop(inode);
        self.note_read();
        Ok(done)
    }
}

impl File for VnodeFile {
    fn read(&self, at: Position, bufs: &mut [&mut [u8]], _nonblock: bool) -> Result<usize> {
        self.read_data(at, bufs, Keep::Pages)
    }

    fn write(&self, at: Position, bufs: &[&[u8]], _nonblock: bool) -> Result<(usize, u64)> {
        self.write_data(at, bufs, false)
    }

    fn stat(&self) -> Result<Stat> {
        self.vnode.stat()
    }

    fn seek(&self) -> Option<&dyn Seekable> {
        Some(self)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        crate::attr::set_size(&self.vnode, size, self.privileged, self.space)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        if self.flags.contains(OpenFlags::PATH) {
            return Err(Errno::EBADF);
        }
        let synced = sync(&self.vnode, data_only);
        self.check_error().and(synced)
    }

    fn poll(&self) -> Ready {
        Ready::IN | Ready::OUT
    }

    fn close(&self) -> Result<()> {
        if self.vnode.marked(LOCKED) {
            let locks = &self.vnode.mount.caches.locks;
            locks.description_closed(&self.vnode, self.description());
        }
        if !Self::counts(self.flags) || self.vnode.mount.fs.is_dead() {
            return Ok(());
        }
        let mtime = self.vnode.pending().mtime;
        if mtime && self.vnode.nlink() > 0 {
            self.vnode.flush_times()?;
        }
        self.check_error()
    }

    fn closing(&self, pid: u32) {
        if self.vnode.marked(LOCKED) {
            let locks = &self.vnode.mount.caches.locks;
            locks.process_closed(&self.vnode, pid);
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Drop for VnodeFile {
    fn drop(&mut self) {
        if Self::counts(self.flags) {
            self.vnode.writers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Seekable for VnodeFile {
    fn size(&self) -> Result<u64> {
        Ok(self.vnode.attributes()?.size)
    }

    fn data(&self, from: u64) -> Result<u64> {
        let pages = self.pages().map_err(|_| Errno::EINVAL)?;
        let inode = self.vnode.shared()?;
        pages.seek_data(&self.vnode.mount.fs, &inode, self.vnode.size(), from)
    }

    fn hole(&self, from: u64) -> Result<u64> {
        let pages = self.pages().map_err(|_| Errno::EINVAL)?;
        let inode = self.vnode.shared()?;
        pages.seek_hole(&self.vnode.mount.fs, &inode, self.vnode.size(), from)
    }
}

/// `fsync` of a vnode.
///
/// # Errors
/// `EIO`, `ENOSPC`, of this or an earlier delayed write.
pub(crate) fn sync(vnode: &VnodeRef, data_only: bool) -> Result<()> {
    let mount = &vnode.mount;
    if mount.read_only() {
        return Ok(());
    }
    if !data_only {
        vnode.flush_times()?;
    }
    if let Some(pages) = vnode.pages_used()
        && !mount.limits.memory
    {
        pages.flush()?;
    }
    let inode = vnode.shared()?;
    mount.fs.sync_inode(&inode, data_only)
}
