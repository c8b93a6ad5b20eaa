//! The pages of one file.

use super::{
    MountPages, MountedPages, PagePool,
    map::PageMap,
    mount::{Geometry, Piece},
    page::{Blocks, NOWHERE, Page},
};
use alloc::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    fmt,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};
use rumpuser::{Errno, Result, sync::RwLock};

/// The cached data of a regular file; one per vnode.
///
/// Dropping it drops all pages, as a power cut would: an owner that wants the dirty ones written calls
/// [`flush`](Self::flush) first. Before the blocks of a deleted file are freed, the owner calls
/// [`invalidate`](Self::invalidate).
pub struct FilePages {
    pub(super) inner: Arc<Inner>,
}

/// What a file's pages consist of, shared with the mount's dirty list and the pool's clock.
pub(super) struct Inner {
    pub(super) mount: Arc<MountPages>,
    pub(super) geometry: Geometry,
    pub(super) state: RwLock<State>,
    pub(super) ahead: ReadAhead,
    /// Number among the files of the mount.
    id: u64,
    this: Weak<Inner>,
}

/// Where a sequential reader is expected, and how far it is read ahead of.
#[derive(Default)]
pub(super) struct ReadAhead {
    /// Page after the last miss.
    pub(super) next: AtomicU64,
    /// Pages read at the last miss.
    pub(super) window: AtomicU64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) pages: PageMap,
    /// Pages with dirty blocks.
    dirty: BTreeSet<u64>,
    /// What write-backs met.
    failures: Failures,
    /// The file's place in the pool's clock, while it has pages.
    slot: Option<usize>,
    /// Pages in the order in which they came; those that have gone since are passed over.
    order: VecDeque<u64>,
}

/// Failed write-backs of a file, counted so that each of its users is told of each once.
#[derive(Default)]
struct Failures {
    count: u32,
    last: Option<Errno>,
    /// Nobody was told of the last one.
    news: bool,
}

/// Up to which failed write-back of a file one of its users knows; the default is for a file whose data was never used.
#[derive(Debug, Default)]
pub struct ErrorCursor(AtomicU32);

impl FilePages {
    /// An empty cache for a file of a mount.
    #[must_use]
    pub fn new(pages: &MountedPages) -> Self {
        let MountedPages { mount, geometry } = pages;
        Self {
            inner: Arc::new_cyclic(|this| Inner {
                mount: mount.clone(),
                geometry: *geometry,
                state: RwLock::default(),
                ahead: ReadAhead::default(),
                id: mount.next_id(),
                this: this.clone(),
            }),
        }
    }

    /// Writes the file's dirty pages to the device, without flushing the device. Takes no inode lock.
    ///
    /// # Errors
    /// What the device gave: `EIO`, `ENOSPC`. Every [`ErrorCursor`] of the file shows it, too.
    pub fn flush(&self) -> Result<()> {
        // Even when no page is dirty: a write-back under way may have taken them and is waited for.
        self.inner.mount.write_file(&self.inner)
    }

    /// For a new user of the file: what nobody was told of yet is news to it, too.
    #[must_use]
    pub fn error_cursor(&self) -> ErrorCursor {
        let state = self.inner.state.read();
        let unknown = u32::from(state.failures.news);
        ErrorCursor(AtomicU32::new(state.failures.count.wrapping_sub(unknown)))
    }

    /// Whether a write-back of the file failed since the cursor was last asked.
    ///
    /// # Errors
    /// What the device gave: `EIO`, `ENOSPC`.
    pub fn check_error(&self, cursor: &ErrorCursor) -> Result<()> {
        let known = cursor.0.load(Ordering::Relaxed);
        if self.inner.state.read().failures.count == known {
            return Ok(());
        }
        let failures = &mut self.inner.state.write().failures;
        cursor.0.store(failures.count, Ordering::Relaxed);
        failures.news = false;
        failures.last.map_or(Ok(()), Err)
    }

    /// Whether some page is not on the device yet.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.inner.is_clean()
    }

    /// Drops all pages, dirty ones as well: for a file that is deleted, or whose device is gone. On a file system in memory
    /// that is the end of the data.
    pub fn invalidate(&self) {
        self.inner.clear();
    }

    /// Drops pages that are clean (nothing, on a file system in memory).
    pub fn drop_clean(&self) {
        if !self.inner.geometry.memory {
            let pages = self.inner.state.read().pages.len();
            // Twice: the first time may only take the marks of use away.
            self.inner.evict(pages);
            self.inner.evict(pages);
        }
    }
}

impl Drop for FilePages {
    fn drop(&mut self) {
        self.inner.clear();
    }
}

impl Inner {
    fn pool(&self) -> &PagePool {
        &self.mount.pool
    }

    pub(super) fn is_clean(&self) -> bool {
        self.state.read().dirty.is_empty()
    }

    fn clear(&self) {
        let mut state = self.state.write();
        let indices: Vec<u64> = state.pages.indices().collect();
        for index in indices {
            self.remove(&mut state, index);
        }
        state.order = VecDeque::new();
        if let Some(slot) = state.slot.take() {
            self.pool().leave(slot);
        }
    }

    /// Puts a page in; gives back the one that was there.
    pub(super) fn insert(&self, state: &mut State, index: u64, page: Page) -> Option<Page> {
        let old = self.remove(state, index);
        if !self.geometry.memory {
            self.pool().add_used(self.geometry.page_size());
            if state.slot.is_none() {
                state.slot = Some(self.pool().enter(self.this.clone()));
            }
            if old.is_none() {
                state.order.push_back(index);
                state.tidy_order();
            }
        }
        let dirty = page.dirty;
        state.pages.insert(index, page);
        if !dirty.is_empty() {
            self.note_dirty(state, index);
        }
        old
    }

    /// Takes a page out.
    pub(super) fn remove(&self, state: &mut State, index: u64) -> Option<Page> {
        let page = state.pages.remove(index)?;
        if !self.geometry.memory {
            self.pool().sub_used(self.geometry.page_size());
            if !page.dirty.is_empty() {
                self.note_clean(state, index);
            }
        }
        Some(page)
    }

    /// Marks blocks of a page dirty: those that have an address.
    pub(super) fn mark_dirty(&self, state: &mut State, index: u64, blocks: Blocks) {
        if self.geometry.memory {
            return;
        }
        let Some(page) = state.pages.get_mut(index) else {
            return;
        };
        let was_clean = page.dirty.is_empty();
        for block in blocks.iter() {
            if page.home(block) != NOWHERE {
                page.dirty = page.dirty.or(Blocks::range(block, block + 1));
            }
        }
        if was_clean && !page.dirty.is_empty() {
            self.note_dirty(state, index);
        }
    }

    /// Takes blocks off a page's dirty ones.
    pub(super) fn mark_clean(&self, state: &mut State, index: u64, blocks: Blocks) {
        let Some(page) = state.pages.get_mut(index) else {
            return;
        };
        let was_dirty = !page.dirty.is_empty();
        page.dirty = page.dirty.without(blocks);
        if was_dirty && page.dirty.is_empty() {
            self.note_clean(state, index);
        }
    }

    fn note_dirty(&self, state: &mut State, index: u64) {
        if state.dirty.is_empty()
            && let Some(this) = self.this.upgrade()
        {
            self.mount.list(self.id, this);
        }
        if state.dirty.insert(index) {
            self.mount.add_dirty(self.geometry.page_size());
        }
    }

    fn note_clean(&self, state: &mut State, index: u64) {
        if state.dirty.remove(&index) {
            self.mount.sub_dirty(self.geometry.page_size());
            if state.dirty.is_empty() {
                self.mount.unlist(self.id);
            }
        }
    }

    /// Takes up to `bytes` of dirty pages for writing: from now on they are clean, kept in memory by the snapshot. Tells how
    /// many bytes it took, and whether there are more.
    pub(super) fn take_dirty(
        &self,
        file: usize,
        bytes: usize,
        pieces: &mut Vec<Piece>,
    ) -> (usize, bool) {
        let mut state = self.state.write();
        let state = &mut *state;
        let mut taken = 0;
        while taken < bytes {
            let Some(index) = state.dirty.pop_first() else {
                break;
            };
            self.mount.sub_dirty(self.geometry.page_size());
            if state.dirty.is_empty() {
                self.mount.unlist(self.id);
            }
            taken += self.geometry.page_size();
            if let Some(page) = state.pages.get_mut(index) {
                self.page_pieces(file, index, page, pieces);
                page.dirty = Blocks::default();
            }
        }
        let more = !state.dirty.is_empty();
        (taken, more)
    }

    /// The dirty blocks of a page as pieces; blocks that are neighbours on the device are one piece.
    fn page_pieces(&self, file: usize, index: u64, page: &Page, pieces: &mut Vec<Piece>) {
        let first = pieces.len();
        for block in page.dirty.iter() {
            let range = self.geometry.block_range(block);
            let home = page.home(block);
            if let Some(last) = pieces[first..].last_mut()
                && last.range.end == range.start
                && last.device.checked_add(last.range.len() as u64) == Some(home)
            {
                last.range.end = range.end;
                last.blocks = last.blocks.or(Blocks::range(block, block + 1));
                continue;
            }
            pieces.push(Piece {
                device: home,
                data: page.data.clone(),
                range,
                file,
                page: index,
                blocks: Blocks::range(block, block + 1),
            });
        }
    }

    /// A piece could not be written: its blocks are dirty again, if they are still there and still live where they did.
    pub(super) fn write_failed(&self, piece: &Piece, error: Errno) {
        let mut state = self.state.write();
        let state = &mut *state;
        state.failures.note(error);
        let Some(page) = state.pages.get(piece.page) else {
            return;
        };
        let mut again = Blocks::default();
        for block in piece.blocks.iter() {
            let range = self.geometry.block_range(block);
            let home = piece.device + (range.start - piece.range.start) as u64;
            if page.home(block) == home {
                again = again.or(Blocks::range(block, block + 1));
            }
        }
        self.mark_dirty(state, piece.page, again);
    }

    /// Drops up to `want` pages that are clean and were not used since the last look; looks at each page once at most.
    /// Tells how many it dropped.
    pub(super) fn evict(&self, want: usize) -> usize {
        let mut state = self.state.write();
        let state = &mut *state;
        let mut dropped = 0;
        for _ in 0..state.order.len() {
            if dropped == want {
                break;
            }
            let Some(index) = state.order.pop_front() else {
                break;
            };
            let Some(page) = state.pages.get(index) else {
                continue;
            };
            if page.evictable() && !page.take_referenced() {
                self.remove(state, index);
                dropped += 1;
            } else {
                state.order.push_back(index);
            }
        }
        dropped
    }
}

impl Failures {
    fn note(&mut self, error: Errno) {
        self.count = self.count.wrapping_add(1);
        self.last = Some(error);
        self.news = true;
    }
}

impl State {
    /// Keeps the order from growing with pages that have gone.
    fn tidy_order(&mut self) {
        if self.order.len() > 2 * self.pages.len() + 64 {
            self.order = self.pages.indices().collect();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(slot) = self.state.get_mut().slot.take() {
            self.mount.pool.leave(slot);
        }
    }
}

impl fmt::Debug for FilePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.read();
        write!(
            f,
            "FilePages({} pages, {} dirty)",
            state.pages.len(),
            state.dirty.len()
        )
    }
}
