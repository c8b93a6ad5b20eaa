//! How blocks come from the medium into the cache: each once, however many threads ask.

use crate::{
    Buf, BufData, Buffer, Volume,
    buffer::{Fill, zeros},
};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{Ordering, fence};
use rumpuser::{Errno, Result, Threads};

impl Volume {
    /// The buffer of a block, read from the medium if it is not cached. Threads that ask for the same block at once wait for
    /// one transfer.
    ///
    /// # Errors
    /// `EIO` when the block lies past the end or the medium fails.
    pub fn read(&self, block: u64) -> Result<Buf> {
        match self.cache.get(block) {
            Some(buf) if buf.is_ready() => Ok(buf),
            _ => self.read_slowly(block),
        }
    }

    /// As [`read`](Self::read); if the block is not cached, `count` blocks from `first` on, its neighbours, are
    /// [read ahead](Self::read_ahead) in the same transfer. For tables whose neighbours will be asked for soon.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_among(&self, block: u64, first: u64, count: u32) -> Result<Buf> {
        match self.cache.get(block) {
            Some(buf) if buf.is_ready() => Ok(buf),
            _ => {
                self.read_ahead(first, count);
                self.read(block)
            }
        }
    }

    /// The buffer of a block if it is cached with its content.
    #[must_use]
    pub fn cached(&self, block: u64) -> Option<Buf> {
        self.cache.get(block).filter(|buf| buf.is_ready())
    }

    /// The buffers of some blocks, few, as by [`cached`](Self::cached). `len` bytes of each, from the offset on that is given with
    /// it, are [looked](Buffer::look) at soon: all are brought from memory at once.
    #[must_use]
    pub fn cached_all(
        &self,
        threads: &dyn Threads,
        places: &[(u64, usize)],
        len: usize,
    ) -> Vec<Option<Buf>> {
        let blocks: Vec<u64> = places.iter().map(|(block, _)| *block).collect();
        let ready = |buf: Option<Buf>| buf.filter(|buf| buf.is_ready());
        let found = self.cache.get_all(threads, &blocks);
        let found: Vec<Option<Buf>> = found.into_iter().map(ready).collect();
        let bytes =
            |(buf, (_, offset)): (&Option<Buf>, &(u64, usize))| buf.as_ref()?.place(*offset);
        let bytes: Vec<Option<*const u8>> = found.iter().zip(places).map(bytes).collect();
        for place in bytes.into_iter().flatten() {
            threads.will_read(place, len);
        }
        found
    }

    #[cold]
    fn read_slowly(&self, block: u64) -> Result<Buf> {
        if block >= self.blocks() {
            return Err(Errno::EIO);
        }
        loop {
            let (buf, new) = self.cache.get_or_insert(block, || Buffer::loading(block));
            if new {
                return self.load(buf);
            }
            match self.wait_filled(&buf) {
                Fill::Ready => return Ok(buf),
                Fill::Failed(errno) => return Err(errno),
                Fill::Loading | Fill::Retry => {}
            }
        }
    }

    fn load(&self, buf: Buf) -> Result<Buf> {
        let loading = Loading::new(self, buf);
        let mut content = zeros(self.block_size());
        let bytes = Arc::make_mut(&mut content);
        match self
            .device()
            .read_at(self.offset(loading.buf.block()), bytes)
        {
            Ok(()) => Ok(loading.done(content)),
            Err(errno) => {
                loading.failed(errno);
                Err(errno)
            }
        }
    }

    /// Reads `count` blocks from `first` on into the cache in one transfer, those that are not there (blocks that are there
    /// cut the transfer in parts). A hint: no more than 4 MiB and half of the cache are read, what lies past the
    /// end is not, and errors show when the blocks are read one by one.
    pub fn read_ahead(&self, first: u64, count: u32) {
        let most = (Self::AHEAD_BYTES / self.block_size() as usize).min(self.cache.limit() / 2);
        let count = u64::from(count).min(most as u64);
        let end = first.saturating_add(count).min(self.blocks());
        let mut run = Vec::new();
        for block in first..end {
            let missing = !self.cache.contains(block);
            if missing
                && let (buf, true) = self.cache.get_or_insert(block, || Buffer::loading(block))
            {
                run.push(Loading::new(self, buf));
            } else {
                self.load_run(&mut run);
            }
        }
        self.load_run(&mut run);
    }

    /// Loads consecutive blocks. When that fails, whoever wants one of them tries it alone.
    fn load_run(&self, run: &mut Vec<Loading<'_>>) {
        let Some(first) = run.first() else { return };
        let offset = self.offset(first.buf.block());
        let mut contents: Vec<BufData> = run.iter().map(|_| zeros(self.block_size())).collect();
        let mut parts: Vec<&mut [u8]> = contents.iter_mut().map(Arc::make_mut).collect();
        if self.device().read_vectored_at(offset, &mut parts).is_ok() {
            for (loading, content) in run.drain(..).zip(contents) {
                loading.done(content);
            }
        }
        run.clear();
    }

    /// The buffer of a block without reading the medium, and whether it is new: zeros.
    ///
    /// # Errors
    /// `EIO` when the block lies past the end.
    pub(crate) fn blank(&self, block: u64) -> Result<(Buf, bool)> {
        if block >= self.blocks() {
            return Err(Errno::EIO);
        }
        loop {
            let (buf, new) = self
                .cache
                .get_or_insert(block, || Buffer::new(block, zeros(self.block_size())));
            if new || self.wait_filled(&buf) == Fill::Ready {
                return Ok((buf, new));
            }
        }
    }

    /// Waits until a buffer is not loading. The counterpart of the fences is in [`Loading`]'s end.
    fn wait_filled(&self, buf: &Buffer) -> Fill {
        if buf.filled() != Fill::Loading {
            return buf.filled();
        }
        self.load_waiters.fetch_add(1, Ordering::SeqCst);
        let fill = loop {
            let ticket = self.loaded.ticket();
            fence(Ordering::SeqCst);
            match buf.filled() {
                Fill::Loading => self.loaded.wait(ticket, None),
                fill => break fill,
            };
        };
        self.load_waiters.fetch_sub(1, Ordering::SeqCst);
        fill
    }

    fn wake_load_waiters(&self) {
        fence(Ordering::SeqCst);
        if self.load_waiters.load(Ordering::Relaxed) != 0 {
            self.loaded.notify();
        }
    }
}

/// The duty to fill a buffer that is in the table already. Dropped undone, it leaves the block to others.
struct Loading<'v> {
    volume: &'v Volume,
    buf: Buf,
}

impl<'v> Loading<'v> {
    fn new(volume: &'v Volume, buf: Buf) -> Self {
        Self { volume, buf }
    }

    fn done(self, content: BufData) -> Buf {
        self.buf.fill(content);
        self.buf.clone()
    }

    fn failed(self, errno: Errno) {
        self.volume.cache.remove_exact(&self.buf);
        self.buf.set_filled(Fill::Failed(errno));
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if self.buf.filled() == Fill::Loading {
            self.volume.cache.remove_exact(&self.buf);
            self.buf.set_filled(Fill::Retry);
        }
        self.volume.wake_load_waiters();
    }
}
