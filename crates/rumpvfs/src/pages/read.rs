//! Reading.

use super::{
    FilePages,
    file::State,
    iovec::{self, Sink},
    page::{Bytes, Page, own, zero_page},
};
use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::Place,
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::{ops::Range, sync::atomic::Ordering};
use rumpuser::{Errno, Result};

/// From this many bytes on that lie together on the device and are not cached, a read goes straight to the caller's
/// buffers: one copy and a page of memory less each, for data that is seldom read twice.
const DIRECT_MIN: u64 = 128 << 10;
/// Whether what a read brings is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Pages that are not cached go into the cache.
    Pages,
    /// Those that are read ahead alone: the caller keeps what it asks for and will hardly ask again.
    Ahead,
}

/// First and largest window of read-ahead, in bytes.
const WINDOW_MIN: u64 = 64 << 10;
const WINDOW_MAX: u64 = 1 << 20;

/// A file as a method sees it: the driver, the inode, the size.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) fs: &'a dyn AnyFileSystem,
    pub(super) inode: &'a AnyInode,
    pub(super) size: u64,
}

/// A run of pages read from the device, not in the cache yet. `None`: a hole from end to end.
struct Run {
    first: u64,
    pages: Vec<Option<Loaded>>,
}

struct Loaded {
    data: Bytes,
    homes: Vec<(usize, u64)>,
}

impl Loaded {
    fn zeros(page_size: usize) -> Self {
        Self {
            data: zero_page(page_size),
            homes: Vec::new(),
        }
    }
}

/// A transfer from the device to a run.
struct Transfer {
    device: u64,
    page: usize,
    start: usize,
    len: usize,
}

impl FilePages {
    /// Reads from `offset` on into consecutive buffers; returns the bytes read, 0 from `size` on. The inode is locked
    /// shared, and `size` is its size. Whether what is read goes into the cache `keep` says.
    ///
    /// # Errors
    /// `EIO`, and what [`FileSystem::read_pages`](crate::fs::FileSystem::read_pages) gives; an error behind bytes that
    /// could be read shows in the next call.
    pub fn read(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &AnyInode,
        size: u64,
        offset: u64,
        bufs: &mut [&mut [u8]],
        keep: Keep,
    ) -> Result<usize> {
        let size = size.min(i64::MAX as u64);
        let wanted = iovec::total(bufs.iter().map(|b| b.len())) as u64;
        let len = wanted.min(size.saturating_sub(offset));
        let end = offset + len;
        let target = Target { fs, inode, size };
        let mut sink = Sink::new(bufs);
        let mut at = offset;
        while at < end {
            at = self.read_cached(at, end, &mut sink);
            if at == end {
                break;
            }
            match self.read_missing(target, at, end, &mut sink, keep) {
                Ok(next) => at = next,
                Err(error) if at == offset => return Err(error),
                Err(_) => break,
            }
        }
        Ok((at - offset) as usize)
    }

    /// Copies what is cached from `at` on, up to the first page that is not; where that is.
    fn read_cached(&self, mut at: u64, end: u64, sink: &mut Sink<'_, '_>) -> u64 {
        let g = &self.inner.geometry;
        let all = g.all_blocks();
        let state = self.inner.state.read();
        while at < end {
            let start = g.in_page(at);
            let len = (g.page_size() - start).min((end - at) as usize);
            match state.pages.get(g.page(at)) {
                Some(page) if page.valid == all => {
                    page.touch();
                    sink.put(&page.data[start..start + len]);
                }
                None if g.memory => sink.zeros(len),
                _ => break,
            }
            at += len as u64;
        }
        at
    }

    /// Reads on at `at`, whose page is not (wholly) cached; returns how far it came, past `at`.
    fn read_missing(
        &self,
        target: Target<'_>,
        at: u64,
        end: u64,
        sink: &mut Sink<'_, '_>,
        keep: Keep,
    ) -> Result<u64> {
        let g = &self.inner.geometry;
        let gap_end = self.gap_end(at, end);
        if gap_end == at {
            // Some blocks of the page are here, and newer than the device's.
            return self.read_run(target, at, g.page_end(at).min(end), 1, sink);
        }
        let from = g.block_floor(at);
        let extent = target.fs.map(target.inode, from, gap_end - from)?;
        let piece_end = from.saturating_add(extent.len.max(1)).min(gap_end);
        if piece_end <= at {
            return Err(Errno::EIO);
        }
        let len = piece_end - at;
        match extent.place {
            Place::Hole | Place::Unwritten(_) | Place::Resident => {
                sink.zeros(len as usize);
                Ok(piece_end)
            }
            Place::Device(device) if len >= DIRECT_MIN => {
                self.read_direct(device, at - from, len, sink)?;
                let next = g.page(piece_end);
                self.inner.ahead.next.store(next, Ordering::Relaxed);
                Ok(piece_end)
            }
            place @ (Place::Device(_) | Place::Opaque) => {
                let need = gap_end.min(at.saturating_add(WINDOW_MAX));
                let pages = self.read_ahead(target.size, at, need);
                match place {
                    Place::Device(device)
                        if keep == Keep::Ahead && g.page(at) + pages == g.page(need - 1) + 1 =>
                    {
                        self.read_direct(device, at - from, len, sink)?;
                        Ok(piece_end)
                    }
                    _ => self.read_run(target, at, need, pages, sink),
                }
            }
        }
    }

    /// Reads `len` bytes, `skip` behind `device`, into the caller's buffers alone.
    fn read_direct(&self, device: u64, skip: u64, len: u64, sink: &mut Sink<'_, '_>) -> Result<()> {
        let from = device.checked_add(skip).ok_or(Errno::EIO)?;
        let mut slices = sink.next(len as usize);
        self.inner
            .mount
            .device()?
            .read_vectored_at(from, &mut slices)?;
        sink.skip(len as usize);
        Ok(())
    }

    /// End of the bytes from `at` on of which no page is in the cache.
    fn gap_end(&self, at: u64, end: u64) -> u64 {
        let g = &self.inner.geometry;
        let state = self.inner.state.read();
        if state.pages.is_empty() {
            return end;
        }
        let mut gap_end = at;
        while gap_end < end && !state.pages.contains(g.page(gap_end)) {
            gap_end = g.page_end(gap_end).min(end);
        }
        gap_end
    }

    /// How many pages to read from that of `at` on, when those up to `need` are asked for: more when the file is read in
    /// sequence.
    fn read_ahead(&self, size: u64, at: u64, need: u64) -> u64 {
        let g = &self.inner.geometry;
        let page_size = g.page_size() as u64;
        let first = g.page(at);
        let asked = g.page(need - 1) + 1 - first;
        let ahead = &self.inner.ahead;
        let mut window = asked;
        if first == 0 || ahead.next.load(Ordering::Relaxed) == first {
            let most = WINDOW_MAX.min(self.inner.mount.pool.limit() as u64 / 8) / page_size;
            let before = ahead.window.load(Ordering::Relaxed);
            window = (before * 2)
                .max(WINDOW_MIN / page_size)
                .min(most)
                .max(asked);
        }
        let file_end = g.page(size - 1) + 1;
        window = window.min(file_end - first);
        let state = self.inner.state.read();
        let cached = (asked..window).find(|n| state.pages.contains(first + n));
        window = cached.unwrap_or(window);
        ahead.window.store(window, Ordering::Relaxed);
        ahead.next.store(first + window, Ordering::Relaxed);
        window
    }

    /// Reads `pages` pages from that of `at` on, copies `at .. end` of them and puts them into the cache. Returns how far
    /// it came.
    fn read_run(
        &self,
        target: Target<'_>,
        at: u64,
        end: u64,
        pages: u64,
        sink: &mut Sink<'_, '_>,
    ) -> Result<u64> {
        let g = &self.inner.geometry;
        let first = g.page(at);
        let run = match self.load(target, first, pages) {
            // Perhaps what is bad was not asked for.
            Err(_) if pages > 1 => self.load(target, first, 1)?,
            run => run?,
        };
        let mut state = self.inner.state.write();
        let mut at = at;
        for (n, loaded) in run.pages.into_iter().enumerate() {
            let index = run.first + n as u64;
            let hole = loaded.is_none() && !state.pages.contains(index);
            if !hole {
                let loaded = loaded.unwrap_or_else(|| Loaded::zeros(g.page_size()));
                self.merge(&mut state, index, loaded);
            }
            if at >= end {
                continue;
            }
            let start = g.in_page(at);
            let len = (g.page_size() - start).min((end - at) as usize);
            match state.pages.get(index) {
                Some(page) => sink.put(&page.data[start..start + len]),
                None => sink.zeros(len),
            }
            at += len as u64;
        }
        drop(state);
        self.inner.mount.pool.shrink();
        Ok(at)
    }

    /// Has a page in the cache with all its blocks valid, and gives its bytes: while they are held, the page is not
    /// dropped.
    pub(super) fn load_page(&self, target: Target<'_>, index: u64) -> Result<Bytes> {
        let g = &self.inner.geometry;
        {
            let state = self.inner.state.read();
            if let Some(page) = state.pages.get(index)
                && page.valid == g.all_blocks()
            {
                return Ok(page.data.clone());
            }
        }
        let mut run = self.load(target, index, 1)?;
        let loaded = run
            .pages
            .pop()
            .flatten()
            .unwrap_or_else(|| Loaded::zeros(g.page_size()));
        let mut state = self.inner.state.write();
        self.merge(&mut state, index, loaded);
        state
            .pages
            .get(index)
            .map(|page| page.data.clone())
            .ok_or(Errno::EIO)
    }

    /// Puts what was read into the cache, where it has nothing yet.
    fn merge(&self, state: &mut State, index: u64, loaded: Loaded) {
        let g = &self.inner.geometry;
        let all = g.all_blocks();
        let Some(page) = state.pages.get_mut(index) else {
            let mut page = Page::new(g, loaded.data, all);
            for (block, home) in loaded.homes {
                page.set_home(block, home);
            }
            self.inner.insert(state, index, page);
            return;
        };
        let missing = all.without(page.valid);
        if missing.is_empty() {
            return;
        }
        let bytes = own(&mut page.data);
        for block in missing.iter() {
            let range = g.block_range(block);
            bytes[range.clone()].copy_from_slice(&loaded.data[range]);
        }
        for (block, home) in loaded.homes {
            if missing.contains(super::page::Blocks::range(block, block + 1)) {
                page.set_home(block, home);
            }
        }
        page.valid = all;
    }

    /// Reads pages as they are on the device: neighbours in one transfer.
    fn load(&self, target: Target<'_>, first: u64, pages: u64) -> Result<Run> {
        let g = &self.inner.geometry;
        let mut run = Run {
            first,
            pages: (0..pages).map(|_| None).collect(),
        };
        let mut transfers = Vec::new();
        let start = g.page_start(first);
        let end = g
            .page_start(first + pages)
            .min(g.block_ceil(target.size))
            .max(start);
        let mut at = start;
        while at < end {
            let extent = target.fs.map(target.inode, at, end - at)?;
            // Whole blocks: a driver may cut the last at the end of the file.
            let len = g.block_ceil(extent.len.min(end - at)).min(end - at);
            if len == 0 {
                return Err(Errno::EIO);
            }
            match extent.place {
                Place::Device(device) => {
                    self.plan(&mut run, &mut transfers, target.size, at..at + len, device)?;
                }
                Place::Opaque => self.load_opaque(target, &mut run, at, len)?,
                Place::Hole | Place::Unwritten(_) | Place::Resident => (),
            }
            at += len;
        }
        self.transfer(&mut run, &transfers)?;
        self.clear_tail(target.size, &mut run);
        Ok(run)
    }

    /// Plans the transfers of a piece, in whole blocks, that lies on the device.
    fn plan(
        &self,
        run: &mut Run,
        transfers: &mut Vec<Transfer>,
        size: u64,
        piece: Range<u64>,
        device: u64,
    ) -> Result<()> {
        let g = &self.inner.geometry;
        let mut done = 0;
        while piece.start + done < piece.end {
            let here = piece.start + done;
            let start = g.in_page(here);
            let n = (g.page_size() - start).min((piece.end - here) as usize);
            let page = (g.page(here) - run.first) as usize;
            let loaded = run.pages[page].get_or_insert_with(|| Loaded::zeros(g.page_size()));
            let from = device.checked_add(done).ok_or(Errno::EIO)?;
            from.checked_add(n as u64).ok_or(Errno::EIO)?;
            for block in (0..n).step_by(g.block_size()) {
                loaded
                    .homes
                    .push(((start + block) / g.block_size(), from + block as u64));
            }
            // Behind the end of the file is nothing to read, and perhaps not even a device.
            let data = size.saturating_sub(here).min(n as u64) as usize;
            transfers.push(Transfer {
                device: from,
                page,
                start,
                len: data,
            });
            done += n as u64;
        }
        Ok(())
    }

    /// Has the driver read a piece that is not in plain blocks.
    fn load_opaque(&self, target: Target<'_>, run: &mut Run, at: u64, len: u64) -> Result<()> {
        let g = &self.inner.geometry;
        let mut bytes = vec![0; len as usize];
        target.fs.read_pages(target.inode, at, &mut bytes)?;
        let mut done = 0;
        while done < bytes.len() {
            let here = at + done as u64;
            let start = g.in_page(here);
            let n = (g.page_size() - start).min(bytes.len() - done);
            let page = (g.page(here) - run.first) as usize;
            let loaded = run.pages[page].get_or_insert_with(|| Loaded::zeros(g.page_size()));
            own(&mut loaded.data)[start..start + n].copy_from_slice(&bytes[done..done + n]);
            done += n;
        }
        Ok(())
    }

    /// Carries the transfers out, those that follow one another on the device as one.
    fn transfer(&self, run: &mut Run, transfers: &[Transfer]) -> Result<()> {
        if transfers.is_empty() {
            return Ok(());
        }
        let device = self.inner.mount.device()?;
        let mut slices: Vec<&mut [u8]> = Vec::new();
        let (mut start, mut next) = (0, None);
        // Transfers are in the order of the file: each page's come together and in the order of its bytes.
        let mut transfers = transfers.iter().peekable();
        for (n, page) in run.pages.iter_mut().enumerate() {
            let Some(page) = page else {
                continue;
            };
            let mut rest = Arc::get_mut(&mut page.data).ok_or(Errno::EIO)?;
            let mut passed = 0;
            while let Some(t) = transfers.next_if(|t| t.page == n) {
                let (_, tail) = rest.split_at_mut(t.start - passed);
                let (slice, tail) = tail.split_at_mut(t.len);
                (rest, passed) = (tail, t.start + t.len);
                if next != Some(t.device) && !slices.is_empty() {
                    device.read_vectored_at(start, &mut slices)?;
                    slices.clear();
                }
                if slices.is_empty() {
                    start = t.device;
                }
                slices.push(slice);
                next = Some(t.device + t.len as u64);
            }
        }
        if !slices.is_empty() {
            device.read_vectored_at(start, &mut slices)?;
        }
        Ok(())
    }

    /// Bytes past the end of the file are zero, whatever the last block holds.
    fn clear_tail(&self, size: u64, run: &mut Run) {
        let g = &self.inner.geometry;
        if g.in_page(size) == 0 || g.page(size) < run.first {
            return;
        }
        let last = (g.page(size) - run.first) as usize;
        if let Some(Some(loaded)) = run.pages.get_mut(last) {
            own(&mut loaded.data)[g.in_page(size)..].fill(0);
        }
    }
}
