//! A medium in memory that fails on demand and remembers what a power cut may lose.

use crate::{
    Fault, History, Loss, Operation,
    crash::{Change, Medium, SPOILED},
    fault::Failure,
    store::{CHUNK, Store},
};
use rumpuser::{BlockDevice, Errno, Result, sync::Mutex};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// How often a disk was asked for what; failed operations count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads, a vectored one as one.
    pub reads: u64,
    /// Writes, a vectored one as one.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards.
    pub discards: u64,
    /// Bytes asked for by reads.
    pub bytes_read: u64,
    /// Bytes given to writes.
    pub bytes_written: u64,
    /// Operations that a [`Fault`] made fail.
    pub failures: u64,
}

/// A disk in memory. Sparse: only what is written and is not zeros takes memory, so it may be of any size.
///
/// It behaves as a real one with a volatile cache: a write is seen by reads at once and safe only after the next flush.
/// [`crash_image`](Self::crash_image) gives a disk as a power cut now could leave it. The writes since the last flush are kept for
/// that purpose.
#[derive(Debug)]
pub struct MemDisk {
    len: u64,
    sector_size: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    medium: Medium,
    read_only: bool,
    faults: Vec<Fault>,
    power: Power,
    counters: Counters,
    recording: Option<(Store, Vec<Change>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// Goes during the write after that many.
    OnFor(u64),
    Off,
}

impl MemDisk {
    /// A disk of `len` zero bytes with sectors of 512.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self::from_store(Store::default(), len, 512)
    }

    /// A disk with that content.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::from_store(Store::from_bytes(bytes), bytes.len() as u64, 512)
    }

    /// The same disk with sectors of another size: the unit that is written whole or not at all.
    ///
    /// # Panics
    /// If it is no power of two or below 512.
    #[must_use]
    pub fn with_sector_size(self, sector_size: u32) -> Self {
        assert!(
            sector_size.is_power_of_two() && sector_size >= 512,
            "sector size {sector_size}"
        );
        Self {
            sector_size,
            ..self
        }
    }

    /// The same disk with another end: what lies behind is gone, what is new is zero.
    #[must_use]
    pub fn with_len(self, len: u64) -> Self {
        Self { len, ..self }
    }

    pub(crate) fn from_store(content: Store, len: u64, sector_size: u32) -> Self {
        let state = State {
            medium: Medium::new(content),
            read_only: false,
            faults: vec![],
            power: Power::On,
            counters: Counters::default(),
            recording: None,
        };
        Self {
            len,
            sector_size,
            state: Mutex::new(state),
        }
    }

    /// Refuses writes from now on, or takes them again.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.lock().read_only = read_only;
    }

    /// Adds a fault. The first of several that hit an operation decides; all count it.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Ends all faults, and gives the power back if it was cut.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.power = Power::On;
    }

    /// Lets `writes` more writes through; during the next one the power goes, and everything fails with `EIO` from then on.
    /// What the interrupted write leaves is up to [`crash_image`](Self::crash_image).
    pub fn cut_power_after(&self, writes: u64) {
        self.state.lock().power = Power::OnFor(writes);
    }

    /// A disk as a power cut now may leave it: all that was flushed, and of the rest what `loss` and `seed` say.
    #[must_use]
    pub fn crash_image(&self, loss: Loss, seed: u64) -> Self {
        let state = self.state.lock();
        let content = state.medium.crash(loss, self.sector_size, seed);
        Self::from_store(content, self.len, self.sector_size)
    }

    /// Number of writes and discards that a power cut now may lose.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.state.lock().medium.unflushed()
    }

    /// Starts to record every write, discard and flush from here on; forgets an earlier recording. What is unflushed now counts
    /// as safe there.
    pub fn record(&self) {
        let mut state = self.state.lock();
        state.recording = Some((state.medium.current.clone(), vec![]));
    }

    /// What was recorded, which goes on.
    ///
    /// # Panics
    /// If [`record`](Self::record) was never called.
    #[must_use]
    pub fn history(&self) -> History {
        let state = self.state.lock();
        let (start, changes) = state.recording.clone().expect("record() was not called");
        History {
            start,
            changes,
            len: self.len,
            sector_size: self.sector_size,
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Everything that a reader would see now.
    ///
    /// # Panics
    /// If the disk is too large to be a slice.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("fits in memory")];
        self.state.lock().medium.current.read(0, &mut bytes);
        bytes
    }

    /// Bytes in a [piece](Self::pieces).
    pub const PIECE: usize = CHUNK as usize;

    /// What a reader would see now, in pieces by their number; those that are missing are zero. The last may go past the end of the
    /// disk. As long as nobody writes to a piece, all disks that came from each other by [`crash_image`](Self::crash_image) share it, so
    /// that it is the same memory.
    #[must_use]
    pub fn pieces(&self) -> BTreeMap<u64, Arc<Vec<u8>>> {
        self.state.lock().medium.current.chunks().clone()
    }

    /// Whether a reader sees the same on both. Quick where one began as a [`crash_image`](Self::crash_image) of the other.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let current = |disk: &Self| disk.state.lock().medium.current.clone();
        self.len == other.len && current(self).same(&current(other))
    }

    fn range(&self, offset: u64, len: u64) -> Result<Range<u64>> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(offset..end),
            _ => Err(Errno::EIO),
        }
    }

    fn write(&self, offset: u64, data: Vec<u8>) -> Result<()> {
        let mut state = self.state.lock();
        state.counters.writes += 1;
        state.counters.bytes_written += data.len() as u64;
        let range = self.range(offset, data.len() as u64)?;
        state.write(Change::write(offset, data), &range, self.sector_size)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut state = self.state.lock();
        state.counters.reads += 1;
        state.counters.bytes_read += buf.len() as u64;
        let range = self.range(offset, buf.len() as u64)?;
        let failed = state.check(Operation::Read, &range);
        if let Err(Failure {
            torn: Some(mut rng),
            errno,
        }) = failed
        {
            let (read, spoiled) = buf.split_at_mut(rng.below(buf.len() as u64 + 1) as usize);
            state.medium.current.read(offset, read);
            spoiled.fill(SPOILED);
            return Err(errno);
        }
        failed.map_err(|failure| failure.errno)?;
        state.medium.current.read(offset, buf);
        Ok(())
    }
}

impl State {
    /// `Err` if an operation other than a write is to fail.
    fn check(&mut self, operation: Operation, range: &Range<u64>) -> Result<(), Failure> {
        if self.power == Power::Off {
            return Err(Failure {
                errno: Errno::EIO,
                torn: None,
            });
        }
        self.fault(operation, range).map_or(Ok(()), Err)
    }

    fn write(&mut self, write: Change, range: &Range<u64>, sector_size: u32) -> Result<()> {
        if self.read_only {
            return Err(Errno::EROFS);
        }
        match &mut self.power {
            Power::On => {}
            Power::OnFor(0) => {
                self.power = Power::Off;
                self.medium.interrupt(write);
                return Err(Errno::EIO);
            }
            Power::OnFor(writes) => *writes -= 1,
            Power::Off => return Err(Errno::EIO),
        }
        let Some(Failure { errno, torn }) = self.fault(Operation::Write, range) else {
            self.change(write);
            return Ok(());
        };
        if let Some(mut rng) = torn {
            for part in write.torn(sector_size, &mut rng) {
                self.change(part);
            }
        }
        Err(errno)
    }

    fn change(&mut self, change: Change) {
        if let Some((_, changes)) = &mut self.recording {
            changes.push(change.clone());
        }
        self.medium.change(change);
    }

    fn fault(&mut self, operation: Operation, range: &Range<u64>) -> Option<Failure> {
        let mut hits = self
            .faults
            .iter_mut()
            .map(|fault| fault.hit(operation, range));
        let first = hits.by_ref().flatten().next();
        hits.for_each(drop); // the others count it too
        self.counters.failures += u64::from(first.is_some());
        first
    }
}

impl BlockDevice for MemDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_only(&self) -> bool {
        self.state.lock().read_only
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read(offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        let mut whole = vec![0; bufs.iter().map(|buf| buf.len()).sum()];
        self.read(offset, &mut whole)?;
        let mut rest = &whole[..];
        for buf in bufs {
            let (part, after) = rest.split_at(buf.len());
            buf.copy_from_slice(part);
            rest = after;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write(offset, data.to_vec())
    }

    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        self.write(offset, data.concat())
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.counters.flushes += 1;
        if let Err(Failure { errno, torn }) = state.check(Operation::Flush, &(0..0)) {
            if let Some(mut rng) = torn {
                let left = state
                    .medium
                    .crash(Loss::Any, self.sector_size, rng.next_u64());
                state.medium = Medium::new(left);
            }
            return Err(errno);
        }
        state.change(Change::Flush);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.state.lock();
        state.counters.discards += 1;
        let range = self.range(offset, len)?;
        if state.read_only {
            return Err(Errno::EROFS);
        }
        let failed = state.check(Operation::Discard, &range);
        failed.map_err(|failure| failure.errno)?;
        state.change(Change::Discard { range });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
