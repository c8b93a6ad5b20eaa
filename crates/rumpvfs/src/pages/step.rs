//! One step of a write that needs the driver: prepared, placed inside the driver's transaction, finished or rolled back.

use super::{
    FilePages,
    file::State,
    iovec::Source,
    page::{Blocks, Bytes, NOWHERE, Page, own, zero_page},
    read::Target,
};
use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::{Place, Placed, Space},
};
use alloc::{sync::Arc, vec, vec::Vec};
use rumpuser::{Errno, Result};

/// The bytes `from .. to` of a file that one step writes.
#[derive(Clone, Copy)]
pub(super) struct Span<'a, 'b> {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) source: Source<'a, 'b>,
    /// Which blocks it may take.
    pub(super) space: Space,
}

/// A step that needs the driver, prepared: nothing of it shows in the cache before the driver's transaction.
pub(super) struct Step<'f> {
    pages: &'f FilePages,
    from: u64,
    to: u64,
    /// Number of the first page.
    first: u64,
    /// What becomes of each page.
    staged: Vec<Stage>,
    /// For each block of the pages its address, as far as known.
    homes: Vec<u64>,
    /// Pages that were put into the cache or changed there, as they were before.
    undo: Vec<(u64, Option<Page>)>,
}

/// What a step does with a page.
enum Stage {
    /// It is cached with all its addresses: the bytes are copied at the end.
    InPlace,
    /// Its new content.
    Ready(Bytes),
    /// The new content is in the cache.
    Placed,
}

impl<'f> Step<'f> {
    pub(super) fn new(pages: &'f FilePages, from: u64, to: u64) -> Self {
        let g = &pages.inner.geometry;
        let first = g.page(from);
        Self {
            pages,
            from,
            to,
            first,
            staged: (first..=g.page(to - 1)).map(|_| Stage::InPlace).collect(),
            homes: Vec::new(),
            undo: Vec::new(),
        }
    }

    /// A step that writes nothing: only for blocks that the driver gives another place.
    pub(super) fn moves(pages: &'f FilePages) -> Self {
        Self {
            pages,
            from: 0,
            to: 0,
            first: 0,
            staged: Vec::new(),
            homes: Vec::new(),
            undo: Vec::new(),
        }
    }

    fn geometry(&self) -> &super::mount::Geometry {
        &self.pages.inner.geometry
    }

    /// Index into `homes` of the block at an offset of the file, if it belongs to the step's pages.
    fn block_index(&self, offset: u64) -> Option<usize> {
        let g = self.geometry();
        let index = offset.checked_sub(g.page_start(self.first))? / g.block_size() as u64;
        (index < self.homes.len() as u64).then_some(index as usize)
    }

    /// Finds the addresses of the blocks in the span, from cached pages or from the driver. Tells whether all have one, and
    /// which pages hold data in no plain blocks: those that the span touches, and the first page of a file no larger than a
    /// page, whose data may have to move out of the inode.
    pub(super) fn map(&mut self, target: Target<'_>) -> Result<(bool, Vec<u64>)> {
        let g = *self.geometry();
        let per_page = g.blocks_per_page();
        self.homes = vec![NOWHERE; self.staged.len() * per_page];
        {
            let state = self.pages.inner.state.read();
            for (n, homes) in self.homes.chunks_mut(per_page).enumerate() {
                if let Some(page) = state.pages.get(self.first + n as u64) {
                    for (block, home) in homes.iter_mut().enumerate() {
                        *home = page.home(block);
                    }
                }
            }
        }
        let mut opaque = Vec::new();
        if target.size <= g.page_size() as u64
            && (target.size > 0 || self.first > 0)
            && target.fs.map(target.inode, 0, target.size.max(1))?.place == Place::Opaque
        {
            opaque.push(0);
        }
        // Past the end there is nothing to be found, and mostly to be allocated.
        let end = g.block_ceil(self.to).min(g.block_ceil(target.size));
        let mut at = g.block_floor(self.from);
        while at < end {
            if self.home(at) != NOWHERE {
                at += g.block_size() as u64;
                continue;
            }
            let (place, len) = self.look_up(target.fs, target.inode, at, end)?;
            if place == Place::Opaque {
                opaque.extend(g.page(at)..=g.page(at + len - 1));
            }
            at += len;
        }
        opaque.dedup();
        Ok((self.unplaced(self.to).is_none(), opaque))
    }

    /// Asks the driver where the block at `at` is, and enters it with those that follow. Gives the place and the bytes that
    /// it holds for, in whole blocks.
    fn look_up(
        &mut self,
        fs: &dyn AnyFileSystem,
        inode: &AnyInode,
        at: u64,
        end: u64,
    ) -> Result<(Place, u64)> {
        let g = *self.geometry();
        let extent = fs.map(inode, at, end - at)?;
        let len = g.block_ceil(extent.len.min(end - at)).min(end - at);
        if len == 0 {
            return Err(Errno::EIO);
        }
        if let Place::Device(device) = extent.place {
            device.checked_add(len).ok_or(Errno::EIO)?;
            self.enter(at, len, device, |home| home == NOWHERE);
        }
        Ok((extent.place, len))
    }

    /// Enters the addresses of the step's blocks in `at .. at + len`.
    fn enter(&mut self, at: u64, len: u64, device: u64, which: impl Fn(u64) -> bool) {
        let block = self.geometry().block_size() as u64;
        for n in 0..len / block {
            if let Some(index) = self.block_index(at + n * block)
                && which(self.homes[index])
            {
                self.homes[index] = device + n * block;
            }
        }
    }

    fn home(&self, offset: u64) -> u64 {
        self.block_index(offset)
            .map_or(NOWHERE, |index| self.homes[index])
    }

    /// The first block of the span, up to `to`, that has no address.
    fn unplaced(&self, to: u64) -> Option<u64> {
        let g = self.geometry();
        let end = g.block_ceil(to);
        (g.block_floor(self.from)..end)
            .step_by(g.block_size())
            .find(|&at| self.home(at) == NOWHERE)
    }

    /// Builds the new content of pages that cannot be written in place: those not in the cache, and those with a block
    /// that has no address yet.
    pub(super) fn stage(&mut self, span: Span<'_, '_>) {
        let g = *self.geometry();
        let mut source = span.source;
        let inner = &self.pages.inner;
        let state = inner.state.read();
        for n in 0..self.staged.len() {
            let index = self.first + n as u64;
            let part = self.pages.part(index, span.from, span.to);
            let cached = state.pages.get(index);
            let blocks = g.blocks_touched(index, span.from, span.to);
            let placed = g.memory
                || blocks
                    .iter()
                    .all(|b| self.homes[n * g.blocks_per_page() + b] != NOWHERE);
            let len = part.len();
            if cached.is_some() && placed {
                source.skip(len);
                continue;
            }
            let whole = (len == g.page_size())
                .then(|| source.contiguous(len))
                .flatten();
            self.staged[n] = Stage::Ready(if let Some(bytes) = whole {
                source.skip(len);
                Arc::from(bytes)
            } else {
                let mut data = match cached {
                    Some(page) => Arc::from(&page.data[..]),
                    None => zero_page(g.page_size()),
                };
                source.fill(&mut own(&mut data)[part]);
                data
            });
        }
    }

    /// The driver has placed blocks: inside its transaction, their pages become dirty at their addresses.
    pub(super) fn place(&mut self, placed: Placed) {
        let g = *self.geometry();
        let Some(device) = placed.device.filter(|_| !g.memory) else {
            return;
        };
        let Some(end) = placed.offset.checked_add(placed.len) else {
            return;
        };
        if device.checked_add(placed.len).is_none() || end > i64::MAX as u64 {
            return;
        }
        self.enter(placed.offset, placed.len, device, |_| true);
        let inner = &self.pages.inner;
        let mut state = inner.state.write();
        let mut at = placed.offset;
        while at < end {
            let index = g.page(at);
            let to = end.min(g.page_end(at));
            let blocks = g.blocks_touched(index, at, to);
            self.touch(&mut state, index, true);
            if let Some(page) = state.pages.get_mut(index) {
                for block in blocks.iter() {
                    let start = g.page_start(index) + g.block_range(block).start as u64;
                    page.set_home(block, device + (start - placed.offset));
                }
                let valid = blocks.and(page.valid);
                inner.mark_dirty(&mut state, index, valid);
            }
            at = to;
        }
    }

    /// Puts the staged page of `index` into the cache, if there is one, and with `keep` keeps what was there before.
    fn touch(&mut self, state: &mut State, index: u64, keep: bool) {
        let g = *self.geometry();
        let inner = &self.pages.inner;
        let slot = index
            .checked_sub(self.first)
            .and_then(|n| self.staged.get_mut(n as usize));
        let stage = slot.map(|s| match s {
            Stage::Ready(_) => core::mem::replace(s, Stage::Placed),
            Stage::Placed => Stage::Placed,
            Stage::InPlace => Stage::InPlace,
        });
        if let Some(Stage::Ready(data)) = stage {
            let blocks = g.blocks_touched(index, self.from, self.to);
            let mut page = Page::new(&g, data, blocks);
            if let Some(old) = state.pages.get(index) {
                for block in g.all_blocks().iter() {
                    page.set_home(block, old.home(block));
                }
                page.valid = page.valid.or(old.valid);
                page.dirty = old.dirty;
            }
            let old = inner.insert(state, index, page);
            if keep {
                self.undo.push((index, old));
            }
        } else if !matches!(stage, Some(Stage::Placed))
            && !self.undo.iter().any(|(i, _)| *i == index)
            && let Some(page) = state.pages.get(index)
        {
            self.undo.push((index, Some(page.snapshot())));
        }
    }

    /// The driver failed: the cache is as before.
    pub(super) fn roll_back(&mut self) {
        let inner = &self.pages.inner;
        let mut state = inner.state.write();
        for (index, old) in self.undo.drain(..).rev() {
            match old {
                Some(page) => drop(inner.insert(&mut state, index, page)),
                None => drop(inner.remove(&mut state, index)),
            }
        }
    }

    /// Asks the driver for addresses that are still missing after it has allocated. What it does not tell stays unknown.
    pub(super) fn find_homes(&mut self, fs: &dyn AnyFileSystem, inode: &AnyInode, to: u64) {
        if self.geometry().memory {
            return;
        }
        let end = self.geometry().block_ceil(to);
        while let Some(at) = self.unplaced(to) {
            let found = self.look_up(fs, inode, at, end);
            if !matches!(found, Ok((Place::Device(_), _))) {
                break;
            }
        }
    }

    /// The blocks up to `to` are there: the span shows in the cache, and what is behind `to` is as before.
    ///
    /// # Errors
    /// `EIO` when the driver did not tell where a block is: it could never be written.
    pub(super) fn finish(&mut self, span: Span<'_, '_>, to: u64) -> Result<()> {
        let g = *self.geometry();
        let pages = self.pages;
        let mut state = pages.inner.state.write();
        let mut source = span.source;
        for n in 0..self.staged.len() {
            let index = self.first + n as u64;
            let part = pages.part(index, span.from, to);
            if part.is_empty() {
                self.undo_page(&mut state, index);
                continue;
            }
            if matches!(self.staged[n], Stage::Ready(_)) {
                self.touch(&mut state, index, to < self.to);
            }
            let installed = matches!(self.staged[n], Stage::Placed);
            if !g.memory
                && let Some(page) = state.pages.get_mut(index)
            {
                for block in g.blocks_touched(index, span.from, to).iter() {
                    page.set_home(block, self.homes[n * g.blocks_per_page() + block]);
                }
            }
            if installed {
                source.skip(part.len());
                let blocks = g.blocks_touched(index, span.from, to);
                pages.inner.mark_dirty(&mut state, index, blocks);
                self.cut(&mut state, index, to);
            } else {
                pages.overlay(&mut state, index, span.from, to, &mut source);
            }
        }
        if g.memory || self.unplaced(to).is_none() {
            Ok(())
        } else {
            Err(Errno::EIO)
        }
    }

    /// Takes what the driver did not allocate out of a page again: the blocks from `to` on.
    fn cut(&self, state: &mut State, index: u64, to: u64) {
        let g = *self.geometry();
        let beyond = g.blocks_touched(index, to, self.to);
        if to >= self.to || beyond.is_empty() {
            return;
        }
        let old = self.undo.iter().find(|(i, _)| *i == index);
        let old = old.and_then(|(_, page)| page.as_ref());
        let Some(page) = state.pages.get_mut(index) else {
            return;
        };
        let kept = old.map_or(Blocks::default(), |old| old.valid.and(beyond));
        let bytes = own(&mut page.data);
        for block in beyond.iter() {
            let range = g.block_range(block);
            match old {
                Some(old) if old.valid.contains(Blocks::range(block, block + 1)) => {
                    bytes[range.clone()].copy_from_slice(&old.data[range]);
                }
                _ => bytes[range].fill(0),
            }
        }
        page.valid = page.valid.without(beyond).or(kept);
    }

    /// Puts a page back as it was before.
    fn undo_page(&mut self, state: &mut State, index: u64) {
        let Some(n) = self.undo.iter().position(|(i, _)| *i == index) else {
            return;
        };
        let inner = &self.pages.inner;
        match self.undo.swap_remove(n).1 {
            Some(page) => drop(inner.insert(state, index, page)),
            None => drop(inner.remove(state, index)),
        }
    }
}
