//! Changing the size, making holes, reserving.

use super::{
    FilePages,
    file::State,
    page::{Blocks, NOWHERE, Page, own},
    read::Target,
    step::Step,
};
use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::{Place, Space},
};
use alloc::vec::Vec;
use rumpuser::{Errno, Result, Timespec};

impl FilePages {
    /// Sets the size. Bytes past a smaller size are gone for good; a larger size makes a hole. The inode is locked
    /// exclusively.
    ///
    /// # Errors
    /// `EFBIG` above the file system's largest size; `EIO`. The content is then as before.
    pub fn truncate(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        size: u64,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        let old = fs.attributes(inode)?.size.min(i64::MAX as u64);
        if size > old {
            if size > self.inner.geometry.file_size_max {
                return Err(Errno::EFBIG);
            }
            if !self.inner.geometry.memory {
                self.move_out(fs, inode, old, space)?;
                let target = Target {
                    fs,
                    inode,
                    size: old,
                };
                self.settle_tail(target, size)?;
            }
            let mut moved = Step::moves(self);
            let grown = fs.grow(inode, size, space, time, &mut |placed| moved.place(placed));
            if grown.is_err() {
                moved.roll_back();
            }
            return grown;
        }
        let mut undo = Vec::new();
        let target = Target {
            fs,
            inode,
            size: old,
        };
        let rest = old.min(self.inner.geometry.block_ceil(size));
        let result = self
            .clear_range(target, size, rest, &mut undo)
            .and_then(|()| {
                self.take_pages(size, u64::MAX, &mut undo);
                fs.set_size(inode, size, time)
            });
        if result.is_err() {
            self.put_back(undo);
        }
        result
    }

    /// Puts data that lies in the inode into blocks, which can be grown and punched: by writing it to where it is.
    fn move_out(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        size: u64,
        space: Space,
    ) -> Result<()> {
        let g = &self.inner.geometry;
        if g.memory || size == 0 || size > g.page_size() as u64 {
            return Ok(());
        }
        if fs.map(inode, 0, size)?.place != Place::Opaque {
            return Ok(());
        }
        let data = self.load_page(Target { fs, inode, size }, 0)?;
        match self.write(fs, inode, 0, &[&data[..size as usize]], space)? as u64 {
            n if n == size => Ok(()),
            _ => Err(Errno::ENOSPC),
        }
    }

    /// Makes a hole: the bytes read as zeros, whole blocks are freed. The size stays. The inode is locked exclusively.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EIO`, and nothing has changed then.
    pub fn punch(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        offset: u64,
        len: u64,
        space: Space,
    ) -> Result<()> {
        let g = &self.inner.geometry;
        let size = fs.attributes(inode)?.size.min(i64::MAX as u64);
        let end = offset.saturating_add(len).min(size);
        if offset >= end {
            return Ok(());
        }
        self.move_out(fs, inode, size, space)?;
        // The last block counts as whole if nothing of the file is behind the hole.
        let whole_end = if end == size {
            g.block_ceil(end)
        } else {
            g.block_floor(end)
        };
        let whole_start = g.block_ceil(offset);
        let mut undo = Vec::new();
        let target = Target { fs, inode, size };
        let head_end = end.min(whole_start);
        let tail_start = whole_end.max(head_end);
        let mut result = self
            .clear_range(target, offset, head_end, &mut undo)
            .and_then(|()| self.clear_range(target, tail_start, end, &mut undo));
        if result.is_ok() && whole_start < whole_end {
            self.take_blocks(whole_start, whole_end, &mut undo);
            result = fs.punch(inode, whole_start, whole_end - whole_start);
        }
        if result.is_err() {
            self.put_back(undo);
        }
        result
    }

    /// Reserves blocks for a range without writing it: later writes there do not fail for want of space. The size stays. The
    /// inode is locked exclusively.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EFBIG`, `EOPNOTSUPP`, `EIO`.
    pub fn reserve(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &mut AnyInode,
        offset: u64,
        len: u64,
        space: Space,
    ) -> Result<()> {
        let g = &self.inner.geometry;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        if end > g.file_size_max {
            return Err(Errno::EFBIG);
        }
        let start = g.block_floor(offset);
        let end = g.block_ceil(end);
        if start < end {
            fs.reserve(inode, start, end - start, space)?;
        }
        Ok(())
    }

    /// Zeroes `from .. to`, which lie in one block (the rest of a block that stays, behind a new end or beside a hole), if
    /// the block holds something.
    fn clear_range(
        &self,
        target: Target<'_>,
        from: u64,
        to: u64,
        undo: &mut Vec<(u64, Page)>,
    ) -> Result<()> {
        let g = self.inner.geometry;
        if from >= to {
            return Ok(());
        }
        let index = g.page(from);
        let cached = self.inner.state.read().pages.contains(index);
        if !cached {
            if g.memory {
                return Ok(());
            }
            let start = g.block_floor(from);
            let place = target.fs.map(target.inode, start, to - start)?.place;
            if matches!(place, Place::Hole | Place::Unwritten(_)) {
                return Ok(());
            }
        }
        // Held until the block is dirty, so that the page is not dropped in between.
        let pin = if g.memory {
            None
        } else {
            Some(self.load_page(target, index)?)
        };
        let mut state = self.inner.state.write();
        let state = &mut *state;
        if let Some(page) = state.pages.get_mut(index) {
            undo.push((index, page.snapshot()));
            own(&mut page.data)[g.in_page(from)..g.in_page(to - 1) + 1].fill(0);
        }
        drop(pin);
        let block = g.blocks_touched(index, from, to);
        self.inner.mark_dirty(state, index, block);
        Ok(())
    }

    /// Takes the blocks in `from .. to`, whole ones, out of the cache.
    fn take_blocks(&self, from: u64, to: u64, undo: &mut Vec<(u64, Page)>) {
        let g = self.inner.geometry;
        let mut whole_from = from;
        if g.in_page(from) != 0 {
            self.blank(from, to.min(g.page_end(from)), undo);
            whole_from = g.page_end(from);
        }
        let whole_to = g.page_start(g.page(to));
        if whole_from <= whole_to {
            if g.in_page(to) != 0 {
                self.blank(whole_to, to, undo);
            }
            self.take_pages_between(g.page(whole_from), g.page(whole_to), undo);
        }
    }

    /// Makes some blocks of one page a hole.
    fn blank(&self, from: u64, to: u64, undo: &mut Vec<(u64, Page)>) {
        let g = self.inner.geometry;
        let index = g.page(from);
        let blocks = g.blocks_touched(index, from, to);
        let mut state = self.inner.state.write();
        let state = &mut *state;
        if let Some(page) = state.pages.get_mut(index) {
            undo.push((index, page.snapshot()));
            forget(page, blocks, |block| g.block_range(block));
        }
        self.inner.mark_clean(state, index, blocks);
    }

    /// Takes everything from `from` on out of the cache: whole pages, and the blocks of its page that start behind it.
    fn take_pages(&self, from: u64, to: u64, undo: &mut Vec<(u64, Page)>) {
        let g = self.inner.geometry;
        let rest = g.block_ceil(from);
        let mut first = g.page(rest);
        if g.in_page(rest) != 0 {
            self.blank(rest, g.page_end(rest), undo);
            first += 1;
        }
        self.take_pages_between(first, g.page(to), undo);
    }

    fn take_pages_between(&self, first: u64, end: u64, undo: &mut Vec<(u64, Page)>) {
        let mut state = self.inner.state.write();
        let state: &mut State = &mut state;
        let few = end.saturating_sub(first) < state.pages.len() as u64;
        let gone: Vec<u64> = if few {
            (first..end).filter(|i| state.pages.contains(*i)).collect()
        } else {
            let inside = state.pages.indices().filter(|i| (first..end).contains(i));
            inside.collect()
        };
        for index in gone {
            if let Some(page) = self.inner.remove(state, index) {
                undo.push((index, page));
            }
        }
    }

    fn put_back(&self, undo: Vec<(u64, Page)>) {
        let mut state = self.inner.state.write();
        for (index, page) in undo.into_iter().rev() {
            self.inner.insert(&mut state, index, page);
        }
    }
}

/// Blocks of a page become a hole: zeros without an address.
fn forget(page: &mut Page, blocks: Blocks, range: impl Fn(usize) -> core::ops::Range<usize>) {
    for block in blocks.iter() {
        own(&mut page.data)[range(block)].fill(0);
        page.set_home(block, NOWHERE);
    }
    page.valid = page.valid.or(blocks);
}
