//! Writing past the cache.

use super::{FilePages, read::Target, step::Span};
use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::Placed,
};
use alloc::vec;
use rumpuser::Result;

/// From this many bytes on, what is appended goes straight to the device: a copy and a page of memory less each, for data
/// that is seldom read at once.
const DIRECT_MIN: u64 = 16 << 10;

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
    /// The device gets the bytes inside the driver's transaction, where page cache would get dirty pages: a commit that has
    /// the blocks in the file comes after the bytes, and its flush covers them. What the driver has chosen is free on
    /// the device, also after a crash; if the transaction is undone, nobody minds what is in it.
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
        let g = &self.inner.geometry;
        if span.from > size {
            self.settle_tail(Target { fs, inode, size }, span.from)?;
        }
        let device = self.inner.mount.device()?;
        let end = g.block_ceil(span.to);
        // The rest of the last block: bytes past the end of a file are zero.
        let rest = vec![0; (end - span.to) as usize];
        let (mut written, mut failed) = (0, false);
        let mut write = |placed: Placed| {
            let from = placed.offset.max(span.from);
            let to = placed.offset.saturating_add(placed.len).min(end);
            let home = placed
                .device
                .and_then(|home| home.checked_add(from.checked_sub(placed.offset)?));
            let Some(home) = home.filter(|_| from < to && !failed) else {
                return;
            };
            let mut source = span.source;
            source.skip((from - span.from) as usize);
            let mut slices = source.slices(to.min(span.to).saturating_sub(from) as usize);
            if to > span.to {
                slices.push(&rest);
            }
            match device.write_vectored_at(home, &slices) {
                Ok(()) => written += to - from,
                Err(_) => failed = true,
            }
        };
        let len = end - span.from;
        let done = fs.allocate(inode, span.from, len, span.to, &mut write)?;
        let done = g.block_floor(done).min(len);
        if done > 0 && written >= done {
            return Ok(done.min(span.to - span.from));
        }
        // The device failed, or some blocks had a place before and were not told.
        let size = fs.attributes(inode).size.min(i64::MAX as u64);
        self.write_step(fs, inode, size, span)
    }
}
