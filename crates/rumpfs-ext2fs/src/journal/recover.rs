//! A journal of a volume that is being mounted.

use super::{
    area::{JournalArea, Spare},
    error::Error,
    layout::MAGIC_BYTES,
    log::{JournalLog, LogOptions},
    replay::{self, LogBlock, Replay},
    superblock::{Sequence, Superblock},
};
use alloc::{sync::Arc, vec, vec::Vec};
use rumpuser::Errno;

/// A journal whose superblock was checked.
#[derive(Debug)]
pub struct Journal {
    area: JournalArea,
    superblock: Superblock,
}

/// Bytes that are read from the log and written home at a time.
const CHUNK: usize = 1 << 20;

impl Journal {
    /// Reads and checks the superblock of the journal at `area`.
    ///
    /// # Errors
    /// As [`Superblock::read`].
    pub fn open(area: JournalArea) -> Result<Self, Error> {
        let superblock = Superblock::read(&area)?;
        Ok(Self { area, superblock })
    }

    /// The superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The blocks of the journal.
    #[must_use]
    pub fn area(&self) -> &JournalArea {
        &self.area
    }

    /// Whether the log has nothing to replay.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.superblock.start().is_none()
    }

    /// The first block of the log, which must be [clean](Self::is_clean).
    ///
    /// # Errors
    /// [`Error::Io`] with `EBUSY` when there is something to replay.
    pub(crate) fn spare(&self) -> Result<Spare<'_>, Error> {
        if !self.is_clean() {
            return Err(Errno::EBUSY.into());
        }
        self.area.spare(self.superblock.log().start)
    }

    /// Reads the log. Nothing is written.
    ///
    /// A log that is torn, cut or damaged ends there, see [`Replay::damage`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::UnknownFastCommit`].
    pub fn replay(&self) -> Result<Replay, Error> {
        replay::scan(&self.area, &self.superblock)
    }

    /// Writes all blocks home and flushes the device. The log stays: should the machine stop before [`reset`](Self::reset)
    /// is through, it is replayed once more, to the same end.
    ///
    /// # Errors
    /// [`Error::Io`]: `EROFS` on a device that cannot be written.
    pub fn write_home(&self, replay: &Replay) -> Result<(), Error> {
        if replay.blocks.is_empty() {
            return Ok(());
        }
        let at_once = CHUNK.checked_div(self.area.block_len()).unwrap_or(1).max(1);
        let mut batch: Vec<LogBlock> = Vec::with_capacity(at_once.min(replay.blocks.len()));
        let mut first = 0_u64;
        let mut buf = Vec::new();
        for (block, place) in &replay.blocks {
            let follows = u64::try_from(batch.len())
                .ok()
                .and_then(|len| first.checked_add(len))
                == Some(*block);
            if !follows || batch.len() >= at_once {
                self.write_run(first, &batch, &mut buf)?;
                batch.clear();
                first = *block;
            }
            batch.push(*place);
        }
        self.write_run(first, &batch, &mut buf)?;
        self.area.device().flush()?;
        Ok(())
    }

    /// Writes consecutive blocks of the volume.
    fn write_run(&self, first: u64, places: &[LogBlock], buf: &mut Vec<u8>) -> Result<(), Error> {
        if places.is_empty() {
            return Ok(());
        }
        let len = self.area.block_len();
        buf.resize(places.len().saturating_mul(len), 0);
        let mut rest = buf.as_mut_slice();
        for part in places.chunk_by(|a, b| a.physical.checked_add(1) == Some(b.physical)) {
            let (now, later) = rest.split_at_mut(part.len().saturating_mul(len).min(rest.len()));
            let start = part.first().map_or(0, |place| place.physical);
            self.area.device().read_at(self.area.offset(start)?, now)?;
            for (block, place) in now.chunks_exact_mut(len).zip(part) {
                if place.escaped {
                    block
                        .iter_mut()
                        .zip(MAGIC_BYTES)
                        .for_each(|(byte, magic)| *byte = magic);
                }
            }
            rest = later;
        }
        self.area.device().write_at(self.area.offset(first)?, buf)?;
        Ok(())
    }

    /// Empties the log, whose blocks are [home](Self::write_home) and to which the fast commits were applied, and flushes the
    /// device. Transactions go on from [`Replay::next_sequence`]. What was not applied is lost with this: the fast commits belong to a
    /// transaction whose number will not come again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reset(&mut self, replay: &Replay) -> Result<(), Error> {
        self.area.device().flush()?;
        self.write_empty(replay.next_sequence)
    }

    /// Forgets the [error](Superblock::errno) of an aborted journal. The mount code has set the error flag in the superblock of the
    /// file system, and flushed, before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear_errno(&mut self) -> Result<(), Error> {
        self.superblock.clear_errno();
        self.superblock.write(&self.area)?;
        Ok(self.area.device().flush()?)
    }

    fn write_empty(&mut self, sequence: Sequence) -> Result<(), Error> {
        self.superblock.set_log(None, sequence);
        self.superblock.write(&self.area)?;
        Ok(self.area.device().flush()?)
    }

    /// The log for new transactions of a journal that is [clean](Self::is_clean).
    ///
    /// # Errors
    /// [`Error::Io`] with `EBUSY` when there is something to replay, `ENOSPC` when the journal is too short for any transaction.
    pub fn into_log(self, options: LogOptions) -> Result<Arc<JournalLog>, Error> {
        if !self.is_clean() {
            return Err(Errno::EBUSY.into());
        }
        JournalLog::new(self.area, self.superblock, options).map(Arc::new)
    }

    /// The content of a block that the log replaces.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn content(&self, place: LogBlock) -> Result<Vec<u8>, Error> {
        let mut block = vec![0; self.area.block_len()];
        self.area
            .device()
            .read_at(self.area.offset(place.physical)?, &mut block)?;
        if place.escaped {
            block
                .iter_mut()
                .zip(MAGIC_BYTES)
                .for_each(|(byte, magic)| *byte = magic);
        }
        Ok(block)
    }
}
