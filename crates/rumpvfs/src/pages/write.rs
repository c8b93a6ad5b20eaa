//! Writing.

use super::{
    FilePages,
    file::State,
    iovec::{self, Source},
    page::{Bytes, own},
    read::Target,
    step::{Span, Step},
};
use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::Space,
};
use alloc::vec::Vec;
use rumpuser::{Errno, Result};

/// Bytes that are written in one step, with one call of the driver's `allocate`.
const STEP: u64 = 1 << 20;

impl FilePages {
    /// Writes consecutive buffers from `offset` on, allocating blocks and growing the file as needed; returns the bytes
    /// written. The inode is locked exclusively. The data is in the cache or on the device then; times are the caller's to
    /// update.
    ///
    /// # Errors
    /// `EFBIG` from the file system's largest size on; those of
    /// [`FileSystem::allocate`](crate::fs::FileSystem::allocate); `EIO` also when too much is dirty and the device does not
    /// take it. An error after some bytes were written gives a short count.
    pub fn write(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        offset: u64,
        bufs: &[&[u8]],
        space: Space,
    ) -> Result<usize> {
        let len = iovec::total(bufs.iter().map(|b| b.len())) as u64;
        if len == 0 {
            return Ok(0);
        }
        let most = self.inner.geometry.file_size_max;
        if offset >= most {
            return Err(Errno::EFBIG);
        }
        let end = offset.saturating_add(len).min(most);
        let mut source = Source::new(bufs);
        let mut size = fs.attributes(inode)?.size.min(i64::MAX as u64);
        let mut at = offset;
        let block = self.inner.geometry.block_size() as u64;
        let mut step = STEP;
        while at < end {
            let to = end.min(self.step_end(at, step));
            let span = Span {
                from: at,
                to,
                source,
                space,
            };
            let done = if self.is_direct(size, at, to) {
                self.write_direct(fs, inode, size, span)
            } else {
                self.write_step(fs, inode, size, span)
            };
            match done {
                Ok(done) => {
                    source.skip(done as usize);
                    at += done;
                    size = size.max(at);
                }
                // As many bytes as there is room for (POSIX write()), though the driver may take back all of a step.
                Err(Errno::ENOSPC) if to - at > block => step = ((to - at) / 2).max(block),
                Err(error) if at == offset => return Err(error),
                Err(_) => break,
            }
        }
        Ok((at - offset) as usize)
    }

    /// Where a step of about so many bytes ends: with a page, or with a block when it is shorter than a page. Counted from the
    /// start of the page or block that `at` lies in, so that a step of one block never reaches into a second.
    fn step_end(&self, at: u64, step: u64) -> u64 {
        let g = &self.inner.geometry;
        if step >= g.page_size() as u64 {
            g.page_end(g.page_start(g.page(at)).saturating_add(step - 1))
        } else {
            g.block_floor(g.block_floor(at).saturating_add(step))
        }
    }

    /// Writes one span; returns the bytes done, above 0.
    pub(super) fn write_step(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        size: u64,
        span: Span<'_, '_>,
    ) -> Result<u64> {
        self.inner.mount.throttle()?;
        if span.to <= size && self.write_in_place(span) {
            return Ok(span.to - span.from);
        }
        let target = Target { fs, inode, size };
        if !self.inner.geometry.memory && span.from > size {
            self.settle_tail(target, span.from)?;
        }
        let (mut step, mapped, pins) = self.prepare(target, span)?;
        let g = &self.inner.geometry;
        let from = g.block_floor(span.from);
        let mut to = span.to;
        if !mapped || span.to > size {
            let len = g.block_ceil(span.to) - from;
            let done = fs.allocate(inode, from, len, span.to, span.space, &mut |placed| {
                step.place(placed)
            });
            match done {
                Ok(done) if from.saturating_add(done) > span.from => {
                    to = to.min(g.block_floor(from.saturating_add(done.min(len))));
                }
                Ok(_) => {
                    step.roll_back();
                    return Err(Errno::EIO);
                }
                Err(error) => {
                    step.roll_back();
                    return Err(error);
                }
            }
            step.find_homes(fs, inode, to);
        }
        let complete = step.finish(span, to);
        drop(pins);
        self.inner.mount.pool.shrink();
        complete.map(|()| to - span.from)
    }

    /// Writes a span whose pages are all cached and whose blocks all have their addresses. `false`: it is not so, and nothing
    /// was done.
    fn write_in_place(&self, span: Span<'_, '_>) -> bool {
        let g = &self.inner.geometry;
        let mut state = self.inner.state.write();
        let state = &mut *state;
        let pages = g.page(span.from)..=g.page(span.to - 1);
        let ready = pages.clone().all(|index| {
            state.pages.get(index).is_some_and(|page| {
                let blocks = g.blocks_touched(index, span.from, span.to);
                page.valid.contains(blocks) && (g.memory || page.homes_known(blocks))
            })
        });
        if !ready {
            return false;
        }
        let mut source = span.source;
        for index in pages {
            self.overlay(state, index, span.from, span.to, &mut source);
        }
        true
    }

    /// Copies the bytes of a span that fall into a cached page, and marks their blocks valid and dirty.
    pub(super) fn overlay(
        &self,
        state: &mut State,
        index: u64,
        from: u64,
        to: u64,
        source: &mut Source<'_, '_>,
    ) {
        let g = &self.inner.geometry;
        let blocks = g.blocks_touched(index, from, to);
        if let Some(page) = state.pages.get_mut(index) {
            source.fill(&mut own(&mut page.data)[self.part(index, from, to)]);
            page.valid = page.valid.or(blocks);
            page.touch();
        }
        self.inner.mark_dirty(state, index, blocks);
    }

    /// The bytes of a page that `from .. to` of the file covers.
    pub(super) fn part(&self, index: u64, from: u64, to: u64) -> core::ops::Range<usize> {
        let start = self.inner.geometry.page_start(index);
        let end = start + self.inner.geometry.page_size() as u64;
        (from.clamp(start, end) - start) as usize..(to.clamp(start, end) - start) as usize
    }

    /// Prepares a step: finds the addresses, loads what is only partly overwritten, builds the new pages. Tells also whether
    /// all blocks have their places already, and gives pins on the loaded pages.
    fn prepare<'f>(
        &'f self,
        target: Target<'_>,
        span: Span<'_, '_>,
    ) -> Result<(Step<'f>, bool, Vec<Bytes>)> {
        let g = &self.inner.geometry;
        let first = g.page(span.from);
        let count = (g.page(span.to - 1) - first + 1) as usize;
        let mut step = Step::new(self, span.from, span.to);
        let mut pins = Vec::new();
        let mapped = if g.memory {
            self.all_cached(first, count)
        } else {
            let (mapped, opaque) = step.map(target)?;
            for index in opaque {
                pins.push(self.load_page(target, index)?);
            }
            mapped
        };
        if !g.memory {
            self.load_edges(target, span, &mut pins)?;
        }
        step.stage(span);
        Ok((step, mapped, pins))
    }

    fn all_cached(&self, first: u64, count: usize) -> bool {
        let state = self.inner.state.read();
        (first..first + count as u64).all(|index| state.pages.contains(index))
    }

    /// Has the pages in the cache whose first or last block in the span keeps some of its old bytes.
    fn load_edges(
        &self,
        target: Target<'_>,
        span: Span<'_, '_>,
        pins: &mut Vec<Bytes>,
    ) -> Result<()> {
        let g = &self.inner.geometry;
        let partial = |edge: u64| {
            let start = g.block_floor(edge);
            let end = start + g.block_size() as u64;
            start < target.size && (span.from > start || span.to < end.min(target.size))
        };
        for edge in [span.from, span.to - 1] {
            if partial(edge) {
                pins.push(self.load_page(target, g.page(edge))?);
            }
        }
        Ok(())
    }

    /// Before a file grows past its last block: that block's bytes past the old end, which nobody has ever seen, must be
    /// zeros on the device as well.
    pub(super) fn settle_tail(&self, target: Target<'_>, new_size: u64) -> Result<()> {
        let g = &self.inner.geometry;
        if g.in_block(target.size) == 0 || new_size <= target.size {
            return Ok(());
        }
        let index = g.page(target.size);
        let pin = self.load_page(target, index)?;
        drop(pin);
        let blocks = g.blocks_touched(index, target.size, target.size + 1);
        let mut state = self.inner.state.write();
        self.inner.mark_dirty(&mut state, index, blocks);
        Ok(())
    }
}
