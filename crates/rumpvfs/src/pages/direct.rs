//! Writing past the cache.

use super::{
    FilePages,
    read::Target,
    step::{Span, Step},
};
use crate::{
    calls::FileExtent,
    erased::{AnyFileSystem, AnyInode},
    fs::{Placed, Space},
};
use alloc::{vec, vec::Vec};
use rumpuser::{Errno, Result, Timespec};

/// From this many bytes on, what is appended goes straight to the device: a copy and a page of memory less each, for data
/// that is seldom read at once.
const DIRECT_MIN: u64 = 16 << 10;
/// Bytes whose extents are asked for in one transaction.
const STEP: u64 = 8 << 20;

impl FilePages {
    /// Whether the step `at .. to` may go past the cache: it begins with a page, behind the end of a file whose data is in
    /// blocks.
    pub(super) fn is_direct(&self, size: u64, at: u64, to: u64) -> bool {
        let g = &self.inner.geometry;
        // A file of a page or less may have its data in its inode, and that is to move out by way of the cache.
        let in_blocks = size > g.page_size() as u64 || size == 0 && at == 0;
        if g.memory || !in_blocks || at < size || g.in_page(at) != 0 || to - at < DIRECT_MIN {
            return false;
        }
        let state = self.inner.state.read();
        state.pages.is_empty()
            || !(g.page(at)..=g.page(to - 1)).any(|index| state.pages.contains(index))
    }

    /// Writes a span for which [`is_direct`](Self::is_direct); returns the bytes done, above 0.
    ///
    /// # Errors
    /// Those of [`FileSystem::allocate`](crate::fs::FileSystem::allocate). That the device does not take the bytes is none:
    /// then they go through the cache, where a write-back that has the same trouble reports it.
    pub(super) fn write_direct(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        size: u64,
        span: Span<'_, '_>,
    ) -> Result<u64> {
        let device = self.inner.mount.device()?;
        // The rest of the last block: bytes past the end of a file are zero.
        let rest = self.rest_of_block(span.to);
        let mut put = |extent: FileExtent, home: u64| {
            let mut source = span.source;
            source.skip((extent.offset - span.from) as usize);
            let mut slices = source.slices(extent.len as usize);
            if extent.offset + extent.len == span.to {
                slices.push(&rest);
            }
            device.write_vectored_at(home, &slices)
        };
        match self.put_direct(fs, inode, size, (span.from, span.to), span.space, &mut put)? {
            Ok(done) => Ok(done),
            Err(_) => {
                let size = fs.attributes(inode)?.size.min(i64::MAX as u64);
                self.write_step(fs, inode, size, span)
            }
        }
    }

    /// Appends `len` bytes at `offset` that the caller puts on the device: `put` is called with every extent of the file, in
    /// ascending order. Returns the bytes done, above 0; the caller writes what is missing at the end, if anything, in the
    /// usual way. The inode is locked exclusively; times are the caller's to update.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where this cannot be: not at a page behind the end, too short, no device. Those of
    /// [`FileSystem::allocate`](crate::fs::FileSystem::allocate) and of `put`. In any case nothing was done.
    pub fn write_extents(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        (offset, len): (u64, u64),
        space: Space,
        now: Timespec,
        put: &mut dyn FnMut(FileExtent) -> Result<()>,
    ) -> Result<u64> {
        let end = offset
            .saturating_add(len)
            .min(self.inner.geometry.file_size_max);
        let mut at = offset;
        while at < end {
            let to = end.min(at.saturating_add(STEP));
            match self.extents_step(fs, inode, (at, to), space, now, put) {
                Ok(done) => at += done,
                Err(error) if at == offset => return Err(error),
                Err(_) => break,
            }
        }
        Ok(at - offset)
    }

    fn extents_step(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        (at, to): (u64, u64),
        space: Space,
        now: Timespec,
        put: &mut dyn FnMut(FileExtent) -> Result<()>,
    ) -> Result<u64> {
        let size = fs.attributes(inode)?.size.min(i64::MAX as u64);
        if at >= to || !self.is_direct(size, at, to) {
            return Err(Errno::EOPNOTSUPP);
        }
        let device = self.inner.mount.device()?;
        let rest = self.rest_of_block(to);
        let mut put = |extent: FileExtent, home: u64| {
            put(extent)?;
            if extent.offset + extent.len == to && !rest.is_empty() {
                device.write_at(home + extent.len, &rest)?;
            }
            Ok(())
        };
        match self.put_direct(fs, inode, size, (at, to), space, &mut put)? {
            Ok(done) => Ok(done),
            Err(error) => {
                self.truncate(fs, inode, size, space, now)?;
                Err(error)
            }
        }
    }

    /// Zeros from `end` to the end of its block.
    fn rest_of_block(&self, end: u64) -> Vec<u8> {
        vec![0; (self.inner.geometry.block_ceil(end) - end) as usize]
    }

    /// Allocates `from .. to`, for which [`is_direct`](Self::is_direct), and has its bytes put on the device: `put` gets every
    /// extent and its address. Gives the bytes done, above 0, or why the bytes are not on the device though they have their
    /// place in the file.
    ///
    /// The device gets the bytes inside the driver's transaction, where page cache would get dirty pages: a commit that has
    /// the blocks in the file comes after the bytes, and its flush covers them. What the driver has chosen is free on
    /// the device, also after a crash; if the transaction is undone, nobody minds what is in it.
    ///
    /// # Errors
    /// Those of [`FileSystem::allocate`](crate::fs::FileSystem::allocate).
    fn put_direct(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        size: u64,
        (from, to): (u64, u64),
        space: Space,
        put: &mut dyn FnMut(FileExtent, u64) -> Result<()>,
    ) -> Result<Result<u64>> {
        let g = &self.inner.geometry;
        if from > size {
            self.settle_tail(Target { fs, inode, size }, from)?;
        }
        let (mut written, mut failed) = (0, None);
        let mut moved = Step::moves(self);
        let mut place = |placed: Placed| {
            // Blocks before the range have moved: what is cached of them goes with them.
            let before = from.saturating_sub(placed.offset).min(placed.len);
            if before > 0 {
                moved.place(Placed {
                    len: before,
                    ..placed
                });
            }
            let start = placed.offset.max(from);
            let end = placed.offset.saturating_add(placed.len).min(to);
            let home = placed
                .device
                .and_then(|home| home.checked_add(start.checked_sub(placed.offset)?));
            let Some(home) = home.filter(|_| start < end && failed.is_none()) else {
                return;
            };
            let extent = FileExtent {
                offset: start,
                len: end - start,
                device: Some(home),
            };
            match put(extent, home) {
                Ok(()) => written += extent.len,
                Err(error) => failed = Some(error),
            }
        };
        let len = g.block_ceil(to) - from;
        let done = match fs.allocate(inode, from, len, to, space, &mut place) {
            Ok(done) => done,
            Err(error) => {
                moved.roll_back();
                return Err(error);
            }
        };
        let done = g.block_floor(done).min(len).min(to - from);
        Ok(match failed {
            None if done > 0 && written >= done => Ok(done),
            // Some blocks had a place before and were not told.
            None => Err(Errno::EIO),
            Some(error) => Err(error),
        })
    }
}
