//! A block device as blocks of one size, cached.

use crate::{Buf, Buffer, Handle, Hooks, Log};
use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};
use core::cell::Cell;
use hashbrown::HashMap;
use rumpuser::{
    BlockDevice, Errno, Result, Threads,
    sync::{Mutex, MutexGuard},
};

pub(crate) type Exclusive<'v> = MutexGuard<'v, Cell<()>>;

/// How a [`Volume`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct VolumeOptions {
    /// Bytes in a block: a power of two, 512 to 65,536.
    pub block_size: u32,
    /// Clean buffers are dropped, least recently used first, when more bytes than this are cached.
    pub cache_bytes: usize,
}

/// The metadata of one volume, cached, and its transactions.
pub struct Volume {
    device: Arc<dyn BlockDevice>,
    block_size: u32,
    blocks: u64,
    buffers: Mutex<HashMap<u64, Buf>>,
    handle: Mutex<Cell<()>>,
    running: Mutex<Running>,
    log: Mutex<Option<Arc<dyn Log>>>,
    hooks: Mutex<Option<Arc<dyn Hooks>>>,
}

#[derive(Default)]
struct Running {
    dirty: BTreeMap<u64, Buf>,
    held: Vec<(u64, u64)>,
    revoked: Vec<u64>,
}

impl Volume {
    /// A volume over `device`. `threads` gives the waits of its handle lock.
    ///
    /// # Errors
    /// `EINVAL` when the block size is no power of two from 512 to 65,536.
    pub fn new(
        device: Arc<dyn BlockDevice>,
        _threads: &dyn Threads,
        options: VolumeOptions,
    ) -> Result<Arc<Self>> {
        let size = options.block_size;
        if !size.is_power_of_two() || !(512..=65_536).contains(&size) {
            return Err(Errno::EINVAL);
        }
        let blocks = device.len() / u64::from(size);
        Ok(Arc::new(Self {
            device,
            block_size: size,
            blocks,
            buffers: Mutex::default(),
            handle: Mutex::default(),
            running: Mutex::default(),
            log: Mutex::default(),
            hooks: Mutex::default(),
        }))
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// Bytes in a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Number of whole blocks on the device.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// From now on, transactions go through `log`. Called once, by a driver that mounts for writing, before the first handle.
    pub fn set_log(&self, log: Arc<dyn Log>) {
        *self.log.lock() = Some(log);
    }

    /// Whom to call before a commit. `rumpvfs` and the driver both have an interest: the driver sets its hooks here and
    /// `rumpvfs` is called by them (see `rumpvfs::fs::MountContext`).
    pub fn set_hooks(&self, hooks: Arc<dyn Hooks>) {
        *self.hooks.lock() = Some(hooks);
    }

    /// The buffer of a block, read from the medium if it is not cached.
    ///
    /// # Errors
    /// `EIO` when the block lies past the end or the medium fails.
    pub fn read(&self, block: u64) -> Result<Buf> {
        if let Some(buf) = self.buffers.lock().get(&block) {
            return Ok(buf.clone());
        }
        if block >= self.blocks {
            return Err(Errno::EIO);
        }
        let mut data = vec![0; self.block_size as usize];
        self.device
            .read_at(block * u64::from(self.block_size), &mut data)?;
        let buf = Arc::new(Buffer::new(block, data));
        Ok(self.buffers.lock().entry(block).or_insert(buf).clone())
    }

    /// Reads `count` blocks from `first` on into the cache in one transfer, those that are not there. A hint: errors show
    /// when the blocks are read one by one.
    pub fn read_ahead(&self, first: u64, count: u32) {
        let _ = (first, count);
    }

    /// The cached buffer of a block without reading the medium.
    pub(crate) fn blank(&self, block: u64) -> Buf {
        let size = self.block_size as usize;
        self.buffers
            .lock()
            .entry(block)
            .or_insert_with(|| Arc::new(Buffer::new(block, vec![0; size])))
            .clone()
    }

    /// Opens the volume's handle, waiting for the one that is open. `blocks` is the most that it will change; the engine
    /// makes room for as many in the log first.
    ///
    /// # Errors
    /// `EROFS` when the device is read-only or the volume was aborted; `ENOSPC` when `blocks` exceeds what one transaction
    /// of the log can hold; `EIO` when making room failed.
    pub fn begin(&self, _blocks: usize) -> Result<Handle<'_>> {
        if self.device.read_only() {
            return Err(Errno::EROFS);
        }
        Ok(Handle::new(self, self.handle.lock()))
    }

    /// Whether any of the `count` blocks from `first` on was freed by a transaction that is not durable yet.
    #[must_use]
    pub fn held(&self, first: u64, count: u64) -> bool {
        self.running
            .lock()
            .held
            .iter()
            .any(|&(f, c)| first < f + c && f < first + count)
    }

    pub(crate) fn join(
        &self,
        bufs: impl Iterator<Item = Buf>,
        forgotten: &[u64],
        held: &[(u64, u64)],
    ) {
        let mut running = self.running.lock();
        for buf in bufs {
            running.dirty.insert(buf.block(), buf);
        }
        for block in forgotten {
            running.dirty.remove(block);
            running.revoked.push(*block);
            self.buffers.lock().remove(block);
        }
        running.held.extend_from_slice(held);
    }

    /// Makes all handles that committed so far durable.
    ///
    /// # Errors
    /// `EIO` or `ENOSPC` from the device: the volume is then aborted, every later [`begin`](Self::begin) is `EROFS`.
    pub fn commit(&self) -> Result<()> {
        let hooks = self.hooks.lock().clone();
        if let Some(hooks) = &hooks {
            let mut handle = self.begin(0)?;
            hooks.before_commit(&mut handle)?;
            handle.commit();
        }
        let running = core::mem::take(&mut *self.running.lock());
        if let Some(hooks) = &hooks {
            hooks.write_ordered()?;
        }
        for (block, buf) in running.dirty {
            self.device
                .write_at(block * u64::from(self.block_size), &buf.data())?;
        }
        self.device.flush()
    }

    /// Commits, writes every block home and empties the log: what a clean unmount and `sync` at the end do.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn checkpoint(&self) -> Result<()> {
        self.commit()
    }
}
