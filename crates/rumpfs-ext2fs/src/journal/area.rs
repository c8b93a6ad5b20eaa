//! The blocks of a journal, and reading and writing them.

use super::error::{AreaFault, Error};
use alloc::{sync::Arc, vec::Vec};
use core::fmt;
use rumpuser::{BlockDevice, Errno};

/// A run of consecutive blocks of the journal: `count` blocks from logical block `logical` on lie from `physical` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First block, counted from the start of the journal.
    pub logical: u32,
    /// First block, counted from the start of the volume.
    pub physical: u64,
    /// Number of blocks, 1 or more.
    pub count: u32,
}

/// The first block of a log that is empty on the medium: nobody reads it, and the first transaction writes over it.
#[derive(Clone, Copy)]
pub(crate) struct Spare<'a> {
    /// The device.
    pub(crate) device: &'a dyn BlockDevice,
    /// Where the block begins on it.
    pub(crate) offset: u64,
}

/// Where a journal lies on its volume: what the mount code found by mapping the journal inode.
///
/// The inode is `s_journal_inum`'s; should that be unreadable, its map is also in `s_jnl_blocks` of the superblock.
pub struct JournalArea {
    device: Arc<dyn BlockDevice>,
    block_size: u32,
    volume_blocks: u64,
    /// By logical block.
    runs: Vec<Run>,
    /// First and last physical block of each run, by physical block.
    occupied: Vec<(u64, u64)>,
}

impl fmt::Debug for JournalArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalArea")
            .field("block_size", &self.block_size)
            .field("runs", &self.runs)
            .finish()
    }
}

impl JournalArea {
    /// The journal that lies at `runs` (in any order) of the volume on `device`, which has `volume_blocks` blocks of
    /// `block_size` bytes.
    ///
    /// # Errors
    /// [`Error::Area`] when the block size is none, or runs are empty, overlap or leave the volume or the device. A hole
    /// between runs is no error here, but limits `s_maxlen`.
    pub fn new(
        device: Arc<dyn BlockDevice>,
        block_size: u32,
        volume_blocks: u64,
        mut runs: Vec<Run>,
    ) -> Result<Self, Error> {
        if !block_size.is_power_of_two() || !(1024..=65_536).contains(&block_size) {
            return Err(AreaFault::BlockSize(block_size).into());
        }
        let on_device = device.len().checked_div(u64::from(block_size)).unwrap_or(0);
        let end = volume_blocks.min(on_device);
        runs.sort_unstable_by_key(|run| run.logical);
        let mut occupied = Vec::with_capacity(runs.len());
        let mut logical_end = 0;
        for run in &runs {
            let fault = AreaFault::Run {
                logical: run.logical,
            };
            let last = run.count.checked_sub(1).ok_or(fault)?;
            let last_physical = run.physical.checked_add(u64::from(last)).ok_or(fault)?;
            if last_physical >= end {
                return Err(fault.into());
            }
            if run.logical < logical_end {
                return Err(AreaFault::Overlap {
                    block: u64::from(run.logical),
                }
                .into());
            }
            logical_end = run.logical.checked_add(run.count).ok_or(fault)?;
            occupied.push((run.physical, last_physical));
        }
        occupied.sort_unstable();
        if let Some(pair) = occupied
            .windows(2)
            .find(|pair| matches!(pair, [a, b] if a.1 >= b.0))
        {
            return Err(AreaFault::Overlap {
                block: pair.last().map_or(0, |run| run.0),
            }
            .into());
        }
        Ok(Self {
            device,
            block_size,
            volume_blocks,
            runs,
            occupied,
        })
    }

    /// The device under the volume.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// Bytes in a block of volume and journal.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The same as a length in memory.
    pub(crate) fn block_len(&self) -> usize {
        // At most 65,536.
        self.block_size as usize
    }

    /// Number of logical blocks that are mapped from 0 on without a hole.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        let mut end = 0_u64;
        for run in &self.runs {
            if u64::from(run.logical) != end {
                break;
            }
            end = end.saturating_add(u64::from(run.count));
        }
        end
    }

    /// Whether blocks of the volume are ones that a record of the log may be of: on the volume and not of the journal.
    pub(crate) fn are_homes(&self, first: u64, last: u64) -> bool {
        if first > last || last >= self.volume_blocks {
            return false;
        }
        let after = self.occupied.partition_point(|run| run.0 <= last);
        !matches!(after.checked_sub(1).and_then(|i| self.occupied.get(i)), Some(run) if run.1 >= first)
    }

    /// The physical block of a logical one, and how many follow it in one piece, itself included.
    pub(crate) fn physical(&self, logical: u32) -> Result<(u64, u32), Error> {
        let hole = AreaFault::Hole { logical };
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = after
            .checked_sub(1)
            .and_then(|i| self.runs.get(i))
            .ok_or(hole)?;
        let into = logical.checked_sub(run.logical).ok_or(hole)?;
        let left = run
            .count
            .checked_sub(into)
            .filter(|left| *left > 0)
            .ok_or(hole)?;
        let physical = run.physical.checked_add(u64::from(into)).ok_or(hole)?;
        Ok((physical, left))
    }

    /// Byte offset of a block of the volume.
    pub(crate) fn offset(&self, physical: u64) -> Result<u64, Error> {
        physical
            .checked_mul(u64::from(self.block_size))
            .ok_or(Error::Io(Errno::EIO))
    }

    /// A block as a spare one.
    pub(crate) fn spare(&self, logical: u32) -> Result<Spare<'_>, Error> {
        let (physical, _) = self.physical(logical)?;
        Ok(Spare {
            device: &*self.device,
            offset: self.offset(physical)?,
        })
    }

    /// Fills `buf`, whose length is a multiple of the block size, with the journal's blocks from `logical` on.
    pub(crate) fn read(&self, mut logical: u32, mut buf: &mut [u8]) -> Result<(), Error> {
        while !buf.is_empty() {
            let (physical, left) = self.physical(logical)?;
            let bytes = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .saturating_mul(self.block_len());
            let (now, rest) = buf.split_at_mut(bytes.min(buf.len()));
            self.device.read_at(self.offset(physical)?, now)?;
            logical = logical.saturating_add(left);
            buf = rest;
        }
        Ok(())
    }

    /// Writes whole blocks, each of the block size, to the journal from `logical` on: one vectored write for each run.
    pub(crate) fn write(&self, mut logical: u32, mut blocks: &[&[u8]]) -> Result<(), Error> {
        while !blocks.is_empty() {
            let (physical, left) = self.physical(logical)?;
            let count = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(blocks.len());
            let (now, rest) = blocks.split_at(count);
            self.device.write_vectored_at(self.offset(physical)?, now)?;
            logical = logical.saturating_add(left);
            blocks = rest;
        }
        Ok(())
    }
}
