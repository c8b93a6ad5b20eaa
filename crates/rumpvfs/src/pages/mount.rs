//! The page cache of a mount: geometry, dirty files, write-back.

use super::{
    PagePool,
    file::Inner,
    page::{Blocks, Bytes},
};
use crate::fs::{Limits, WriteOrdered};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};
use rumpuser::{
    BlockDevice, Errno, Result,
    sleep::SleepMutex,
    sync::{Mutex, Once},
};

/// The smallest page in bytes.
const PAGE_MIN: u32 = 4096;
/// Bytes of one transfer to the device.
const TRANSFER_MAX: usize = 4 << 20;
/// Buffers of one transfer: what hosts take at once.
const SLICES_MAX: usize = 1024;
/// Bytes that are gathered and sorted before they are written.
const BATCH: usize = 64 << 20;

/// Sizes of blocks and pages of a mount.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    block_shift: u32,
    page_shift: u32,
    pub(super) memory: bool,
    pub(super) file_size_max: u64,
}

impl Geometry {
    fn new(limits: &Limits) -> Self {
        // A block size that is no power of two breaks the contract of `Limits`; the next one keeps the arithmetic right.
        let block = limits.block_size.max(512).next_power_of_two();
        Self {
            block_shift: block.trailing_zeros(),
            page_shift: block.max(PAGE_MIN).trailing_zeros(),
            memory: limits.memory,
            file_size_max: limits.file_size_max.min(i64::MAX as u64),
        }
    }

    pub(super) const fn page_size(&self) -> usize {
        1 << self.page_shift
    }

    pub(super) const fn block_size(&self) -> usize {
        1 << self.block_shift
    }

    pub(super) const fn blocks_per_page(&self) -> usize {
        1 << (self.page_shift - self.block_shift)
    }

    /// Number of the page that holds a byte.
    pub(super) const fn page(&self, offset: u64) -> u64 {
        offset >> self.page_shift
    }

    /// First byte of a page.
    pub(super) const fn page_start(&self, page: u64) -> u64 {
        page << self.page_shift
    }

    /// Offset in its page.
    pub(super) const fn in_page(&self, offset: u64) -> usize {
        offset as usize & (self.page_size() - 1)
    }

    /// Offset in its block.
    pub(super) const fn in_block(&self, offset: u64) -> usize {
        offset as usize & (self.block_size() - 1)
    }

    /// Start of the block that holds a byte.
    pub(super) const fn block_floor(&self, offset: u64) -> u64 {
        offset & !(self.block_size() as u64 - 1)
    }

    /// End of the block that holds the byte before; offsets are below 2^63.
    pub(super) const fn block_ceil(&self, offset: u64) -> u64 {
        self.block_floor(offset + self.block_size() as u64 - 1)
    }

    /// End of the page that holds a byte.
    pub(super) const fn page_end(&self, offset: u64) -> u64 {
        self.page_start(self.page(offset) + 1)
    }

    /// All blocks of a page.
    pub(super) fn all_blocks(&self) -> Blocks {
        Blocks::range(0, self.blocks_per_page())
    }

    /// The blocks of `page` that the bytes `from .. to` of the file touch.
    pub(super) fn blocks_touched(&self, page: u64, from: u64, to: u64) -> Blocks {
        let start = self.page_start(page);
        let end = start + self.page_size() as u64;
        let (from, to) = (from.clamp(start, end), to.clamp(start, end));
        if from >= to {
            return Blocks::default();
        }
        let first = (from - start) as usize >> self.block_shift;
        let last = (to - start - 1) as usize >> self.block_shift;
        Blocks::range(first, last + 1)
    }

    /// Range of a block's bytes in its page.
    pub(super) const fn block_range(&self, block: usize) -> core::ops::Range<usize> {
        block << self.block_shift..(block + 1) << self.block_shift
    }
}

/// A run of dirty bytes to be written.
pub(super) struct Piece {
    pub(super) device: u64,
    pub(super) data: Bytes,
    pub(super) range: core::ops::Range<usize>,
    /// Whose it is: an index into the files of the batch.
    pub(super) file: usize,
    pub(super) page: u64,
    pub(super) blocks: Blocks,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        &self.data[self.range.clone()]
    }
}

/// The page cache of a mount. Made before the driver mounts, as the driver is given it for its transactions; files are opened
/// with the [`MountedPages`] that it becomes then.
pub struct MountPages {
    pub(super) pool: Arc<PagePool>,
    /// What dirty pages are written to.
    device: Once<Arc<dyn BlockDevice>>,
    /// Files with dirty pages, by their number.
    dirty: Mutex<BTreeMap<u64, Arc<Inner>>>,
    next_id: AtomicU64,
    dirty_bytes: AtomicUsize,
    /// One write-back at a time: an older snapshot of a page must not land on a newer one, and who waits here knows that
    /// no write to a freed block is under way.
    writing: SleepMutex<()>,
}

/// The page cache of a mount whose driver has mounted.
#[derive(Clone, Debug)]
pub struct MountedPages {
    pub(super) mount: Arc<MountPages>,
    pub(super) geometry: Geometry,
}

impl MountedPages {
    /// Writes all pages that are dirty now.
    ///
    /// # Errors
    /// The first error of the device; what could be written was written.
    pub(crate) fn write_back(&self) -> Result<()> {
        self.mount.write_back()
    }
}

impl MountPages {
    /// The page cache of a mount to be.
    #[must_use]
    pub fn new(pool: &Arc<PagePool>) -> Arc<Self> {
        Arc::new(Self {
            pool: pool.clone(),
            device: Once::new(),
            dirty: Mutex::default(),
            next_id: AtomicU64::new(0),
            dirty_bytes: AtomicUsize::new(0),
            writing: SleepMutex::new(pool.queues(), ()),
        })
    }

    /// The driver has mounted: its limits, and the device that dirty pages go to, which a later call cannot change.
    #[must_use]
    pub fn mounted(
        self: &Arc<Self>,
        device: Option<Arc<dyn BlockDevice>>,
        limits: &Limits,
    ) -> MountedPages {
        if let Some(device) = device {
            self.device.call_once(|| device);
        }
        MountedPages {
            mount: self.clone(),
            geometry: Geometry::new(limits),
        }
    }

    /// Whether no page is dirty.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.dirty_bytes.load(Ordering::Relaxed) == 0
    }

    /// # Errors
    /// `EIO` for a mount without a device.
    pub(super) fn device(&self) -> Result<&Arc<dyn BlockDevice>> {
        self.device.get().ok_or(Errno::EIO)
    }

    pub(super) fn add_dirty(&self, bytes: usize) {
        self.dirty_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pool.add_dirty(bytes);
    }

    pub(super) fn sub_dirty(&self, bytes: usize) {
        self.dirty_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.pool.sub_dirty(bytes);
    }

    /// A number for a file.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A file has dirty pages.
    pub(super) fn list(&self, id: u64, file: Arc<Inner>) {
        self.dirty.lock().insert(id, file);
    }

    /// A file has no dirty page any more.
    pub(super) fn unlist(&self, id: u64) {
        // The file may end here: not under the lock.
        let _file = self.dirty.lock().remove(&id);
    }

    /// Keeps a writer from making too much dirty: writes back when the pool holds more dirty pages than it should and this
    /// mount has a fair part of them.
    pub(super) fn throttle(&self) -> Result<()> {
        let limit = self.pool.dirty_limit();
        let mine = self.dirty_bytes.load(Ordering::Relaxed);
        if self.pool.dirty() > limit && mine > limit / 8 {
            self.write_back()?;
        }
        Ok(())
    }

    /// Writes all pages that are dirty now.
    ///
    /// # Errors
    /// The first error of the device; what could be written was written. The users of the files concerned
    /// learn it by their [`ErrorCursor`](super::ErrorCursor).
    pub(super) fn write_back(&self) -> Result<()> {
        let _writing = self.writing.lock();
        let files: Vec<_> = self.dirty.lock().values().cloned().collect();
        self.write_files(&files)
    }

    /// Writes the pages of one file that are dirty now.
    pub(super) fn write_file(&self, file: &Arc<Inner>) -> Result<()> {
        let _writing = self.writing.lock();
        self.write_files(core::slice::from_ref(file))
    }

    fn write_files(&self, files: &[Arc<Inner>]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let device = match self.device() {
            Ok(device) => device,
            Err(_) if files.iter().all(|f| f.is_clean()) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut result = Ok(());
        let mut on_way = Taken {
            files,
            pieces: Vec::new(),
        };
        let mut bytes = 0;
        for (index, file) in files.iter().enumerate() {
            loop {
                let (taken, more) = file.take_dirty(index, BATCH - bytes, &mut on_way.pieces);
                bytes += taken;
                if bytes >= BATCH {
                    result = result.and(on_way.write(&**device));
                    bytes = 0;
                }
                if !more {
                    break;
                }
            }
        }
        result.and(on_way.write(&**device))
    }
}

/// Pieces of dirty pages on their way to the device. Those that are left when it is dropped - the device panicked - are dirty
/// again.
struct Taken<'a> {
    files: &'a [Arc<Inner>],
    pieces: Vec<Piece>,
}

impl Taken<'_> {
    /// Writes the pieces in the order of the device, neighbours together.
    fn write(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.pieces.sort_unstable_by_key(|p| p.device);
        let mut result = Ok(());
        let mut slices: Vec<&[u8]> = Vec::new();
        let mut rest = &self.pieces[..];
        while !rest.is_empty() {
            let run = run_length(rest);
            slices.clear();
            slices.extend(rest[..run].iter().map(Piece::bytes));
            if let Err(error) = device.write_vectored_at(rest[0].device, &slices) {
                for piece in &rest[..run] {
                    self.files[piece.file].write_failed(piece, error);
                }
                result = result.and(Err(error));
            }
            rest = &rest[run..];
        }
        self.pieces.clear();
        result
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for piece in &self.pieces {
            self.files[piece.file].write_failed(piece, Errno::EIO);
        }
    }
}

/// How many pieces at the start lie one after the other on the device, within one transfer.
fn run_length(pieces: &[Piece]) -> usize {
    let mut bytes = pieces[0].range.len();
    let mut run = 1;
    for pair in pieces.windows(2) {
        let next = pair[0].device.checked_add(pair[0].range.len() as u64);
        bytes += pair[1].range.len();
        if next != Some(pair[1].device) || bytes > TRANSFER_MAX || run == SLICES_MAX {
            break;
        }
        run += 1;
    }
    run
}

impl WriteOrdered for MountPages {
    fn write_ordered(&self) -> Result<()> {
        self.write_back()
    }
}

impl fmt::Debug for MountPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dirty = self.dirty_bytes.load(Ordering::Relaxed);
        write!(f, "MountPages({dirty} bytes dirty)")
    }
}
