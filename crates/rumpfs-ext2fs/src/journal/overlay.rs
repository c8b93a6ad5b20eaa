//! Seeing a replayed log without writing it home.

use super::layout::MAGIC_BYTES;
use super::replay::{LogBlock, Replay};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{fmt, ops::RangeInclusive};
use rumpuser::{BlockDevice, Errno, Result, sync::RwLock};

/// Bytes that are written home at a time.
const HOME_CHUNK: usize = 1 << 20;

/// Where the present content of a block is.
#[derive(Clone, Debug)]
enum Content {
    Log(LogBlock),
    Memory(Arc<[u8]>),
}

/// A device as it would be after the log was written home; it cannot be written.
pub struct OverlayDevice {
    base: Base,
    /// By block.
    blocks: Box<[(u64, Content)]>,
}

impl fmt::Debug for OverlayDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverlayDevice")
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

impl OverlayDevice {
    /// Lays the blocks of `replay`, of `block_size` bytes, over the device that has the journal.
    #[must_use]
    pub fn new(base: Arc<dyn BlockDevice>, block_size: u32, replay: &Replay) -> Self {
        let blocks = replay
            .blocks
            .iter()
            .map(|(block, place)| (*block, Content::Log(*place)))
            .collect();
        Self {
            base: Base {
                device: base,
                block_size: u64::from(block_size.max(1)),
            },
            blocks,
        }
    }

    /// Lays `bytes` over the device from `offset` on.
    ///
    /// # Errors
    /// The device's, as the rest of their blocks is read.
    pub(crate) fn with_bytes(
        base: Arc<dyn BlockDevice>,
        block_size: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Self> {
        let scratch = ScratchDevice::over(base, block_size, BTreeMap::new(), usize::MAX);
        scratch.write_at(offset, bytes)?;
        Ok(scratch.freeze())
    }

    /// The blocks that lie over a range of block numbers.
    fn over(&self, range: RangeInclusive<u64>) -> &[(u64, Content)] {
        let from = self
            .blocks
            .partition_point(|(block, _)| block < range.start());
        let rest = self.blocks.get(from..).unwrap_or(&[]);
        let count = rest
            .iter()
            .take_while(|(block, _)| block <= range.end())
            .count();
        rest.get(..count).unwrap_or(&[])
    }
}

impl BlockDevice for OverlayDevice {
    fn len(&self) -> u64 {
        self.base.device.len()
    }

    fn sector_size(&self) -> u32 {
        self.base.device.sector_size()
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self.base.blocks_of(offset, buf.len())? {
            Some(range) => self.base.read(
                offset,
                buf,
                range.clone(),
                self.over(range).iter().map(|(b, c)| (*b, c)),
            ),
            None => Ok(()),
        }
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        let len = bufs
            .iter()
            .fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
        let replaced = self
            .base
            .blocks_of(offset, len)?
            .is_some_and(|range| !self.over(range).is_empty());
        if !replaced {
            return self.base.device.read_vectored_at(offset, bufs);
        }
        let mut at = offset;
        for buf in bufs {
            self.read_at(at, buf)?;
            at = u64::try_from(buf.len())
                .ok()
                .and_then(|len| at.checked_add(len))
                .ok_or(Errno::EIO)?;
        }
        Ok(())
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::EROFS)
    }

    fn host_window(&self, offset: u64) -> Option<(&dyn core::any::Any, u64)> {
        // A window says nothing of its length, so one that ends at the next replaced block cannot be told.
        if self.blocks.is_empty() {
            self.base.device.host_window(offset)
        } else {
            None
        }
    }
}

/// A device as it would be after the log was written home, whose writes stay in memory: for applying fast commits to a volume that
/// is mounted read-only. [`freeze`](Self::freeze) it then.
pub struct ScratchDevice {
    base: Base,
    blocks: RwLock<BTreeMap<u64, Content>>,
    /// Most blocks that may be held in memory.
    limit: usize,
}

impl fmt::Debug for ScratchDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScratchDevice")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl ScratchDevice {
    /// Lays the blocks of `replay`, of `block_size` bytes, over the device that has the journal. Writes fail with `ENOSPC` once
    /// more than `limit` blocks would be replaced, those of the log included.
    #[must_use]
    pub fn new(base: Arc<dyn BlockDevice>, block_size: u32, replay: &Replay, limit: usize) -> Self {
        let blocks = replay
            .blocks
            .iter()
            .map(|(block, place)| (*block, Content::Log(*place)))
            .collect();
        Self::over(base, block_size, blocks, limit)
    }

    fn over(
        base: Arc<dyn BlockDevice>,
        block_size: u32,
        blocks: BTreeMap<u64, Content>,
        limit: usize,
    ) -> Self {
        let base = Base {
            device: base,
            block_size: u64::from(block_size.max(1)),
        };
        Self {
            base,
            blocks: RwLock::new(blocks),
            limit,
        }
    }

    /// The present state as a device that cannot be written.
    #[must_use]
    pub fn freeze(&self) -> OverlayDevice {
        let blocks = self
            .blocks
            .read()
            .iter()
            .map(|(block, content)| (*block, content.clone()))
            .collect();
        OverlayDevice {
            base: self.base.clone(),
            blocks,
        }
    }

    /// Writes all blocks that lie over the device, but one, to it, and flushes it: the log is written home with what came after.
    ///
    /// # Errors
    /// The device's.
    pub fn write_home_all_but(&self, one: u64) -> Result<()> {
        let blocks = self.blocks.read();
        let len = self.base.block_len()?;
        let at_once = HOME_CHUNK.checked_div(len).unwrap_or(1).max(1);
        let mut batch: Vec<u8> = Vec::new();
        let mut first = 0_u64;
        let mut count = 0_usize;
        for (block, content) in blocks.iter().filter(|(block, _)| **block != one) {
            let next = u64::try_from(count).ok().and_then(|n| first.checked_add(n));
            if count > 0 && (next != Some(*block) || count >= at_once) {
                self.base.write(first, &batch)?;
                batch.clear();
                count = 0;
            }
            if count == 0 {
                first = *block;
            }
            let from = batch.len();
            batch.resize(from.saturating_add(len), 0);
            if let Some(part) = batch.get_mut(from..) {
                self.base.fetch(content, 0, part)?;
            }
            count = count.saturating_add(1);
        }
        if count > 0 {
            self.base.write(first, &batch)?;
        }
        self.base.device.flush()
    }

    /// Replaces part of one block, from `from` on.
    fn write_block(&self, block: u64, from: usize, data: &[u8]) -> Result<()> {
        let mut blocks = self.blocks.write();
        let full = blocks.len() >= self.limit;
        let size = self.base.block_len()?;
        let mut bytes = vec![0; size];
        let start = block.checked_mul(self.base.block_size).ok_or(Errno::EIO)?;
        let entry = blocks.entry(block);
        match &entry {
            // Wholly replaced: what was there does not matter.
            _ if data.len() == size => (),
            Entry::Occupied(old) => {
                self.base.read(
                    start,
                    &mut bytes,
                    block..=block,
                    core::iter::once((block, old.get())),
                )?;
            }
            Entry::Vacant(_) => self.base.device.read_at(start, &mut bytes)?,
        }
        let end = from.checked_add(data.len()).ok_or(Errno::EIO)?;
        bytes
            .get_mut(from..end)
            .ok_or(Errno::EIO)?
            .copy_from_slice(data);
        let content = Content::Memory(bytes.into());
        match entry {
            Entry::Occupied(mut old) => {
                old.insert(content);
            }
            Entry::Vacant(_) if full => return Err(Errno::ENOSPC),
            Entry::Vacant(place) => {
                place.insert(content);
            }
        }
        Ok(())
    }
}

impl BlockDevice for ScratchDevice {
    fn len(&self) -> u64 {
        self.base.device.len()
    }

    fn sector_size(&self) -> u32 {
        self.base.device.sector_size()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let Some(range) = self.base.blocks_of(offset, buf.len())? else {
            return Ok(());
        };
        let blocks = self.blocks.read();
        self.base.read(
            offset,
            buf,
            range.clone(),
            blocks.range(range).map(|(b, c)| (*b, c)),
        )
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let Some(range) = self.base.blocks_of(offset, data.len())? else {
            return Ok(());
        };
        let mut rest = data;
        for block in range {
            let start = block.checked_mul(self.base.block_size).ok_or(Errno::EIO)?;
            let from = usize::try_from(offset.saturating_sub(start)).map_err(|_| Errno::EIO)?;
            let room = self.base.block_len()?.saturating_sub(from);
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.write_block(block, from, now)?;
            rest = later;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// The device below.
#[derive(Clone)]
struct Base {
    device: Arc<dyn BlockDevice>,
    block_size: u64,
}

impl Base {
    fn block_len(&self) -> Result<usize> {
        usize::try_from(self.block_size).map_err(|_| Errno::EIO)
    }

    /// Writes whole blocks from block `first` on.
    fn write(&self, first: u64, data: &[u8]) -> Result<()> {
        let start = first.checked_mul(self.block_size).ok_or(Errno::EIO)?;
        self.device.write_at(start, data)
    }

    /// The blocks that a range of bytes touches, `None` when it is empty.
    ///
    /// # Errors
    /// `EIO` when it passes the end of the device.
    fn blocks_of(&self, offset: u64, len: usize) -> Result<Option<RangeInclusive<u64>>> {
        let len = u64::try_from(len).map_err(|_| Errno::EIO)?;
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= self.device.len())
            .ok_or(Errno::EIO)?;
        let block = |at: u64| at.checked_div(self.block_size).unwrap_or(0);
        Ok(end
            .checked_sub(1)
            .filter(|_| len > 0)
            .map(|last| block(offset)..=block(last)))
    }

    /// Fills `buf` with the bytes at `offset`, which lie in the blocks of `range`: from `over`, sorted, where it has the block,
    /// else from the device.
    fn read<'c>(
        &self,
        offset: u64,
        buf: &mut [u8],
        range: RangeInclusive<u64>,
        over: impl Iterator<Item = (u64, &'c Content)>,
    ) -> Result<()> {
        let mut over = over.peekable();
        if over.peek().is_none() || range.start() != range.end() {
            self.device.read_at(offset, buf)?;
        }
        for (block, content) in over {
            let start = block.checked_mul(self.block_size).ok_or(Errno::EIO)?;
            // Where the block begins in `buf`, or where `buf` begins in the block.
            let at = usize::try_from(start.saturating_sub(offset)).map_err(|_| Errno::EIO)?;
            let from = usize::try_from(offset.saturating_sub(start)).map_err(|_| Errno::EIO)?;
            let room = self.block_len()?.saturating_sub(from);
            let Some(part) = buf.get_mut(at..) else {
                continue;
            };
            let len = room.min(part.len());
            if let Some(part) = part.get_mut(..len) {
                self.fetch(content, from, part)?;
            }
        }
        Ok(())
    }

    /// Fills `part` with the content of one block from its byte `from` on.
    fn fetch(&self, content: &Content, from: usize, part: &mut [u8]) -> Result<()> {
        let end = from.checked_add(part.len()).ok_or(Errno::EIO)?;
        match content {
            Content::Memory(bytes) => part.copy_from_slice(bytes.get(from..end).ok_or(Errno::EIO)?),
            Content::Log(place) => {
                let start = place
                    .physical
                    .checked_mul(self.block_size)
                    .ok_or(Errno::EIO)?;
                let at = u64::try_from(from)
                    .ok()
                    .and_then(|from| start.checked_add(from))
                    .ok_or(Errno::EIO)?;
                self.device.read_at(at, part)?;
                if place.escaped {
                    let magic = MAGIC_BYTES.get(from..).unwrap_or(&[]);
                    part.iter_mut()
                        .zip(magic)
                        .for_each(|(byte, magic)| *byte = *magic);
                }
            }
        }
        Ok(())
    }
}
