//! Writing transactions to the log.

use super::{
    area::{JournalArea, Spare},
    checksum::crc32_be,
    commit::header,
    error::Error,
    layout::{DESCRIPTOR_BLOCK, Incompat, MAGIC_BYTES, REVOKE_BLOCK, TAG_ESCAPE},
    superblock::{Checksums, Sequence, Superblock},
    tags::{Form, Tag},
};
use alloc::{borrow::Cow, boxed::Box, vec, vec::Vec};
use core::fmt;
use hashbrown::HashSet;
use rumpbio::{Log, LogRecord};
use rumpuser::{Errno, Result, Timespec, sync::Mutex};
use zerocopy::IntoBytes;

/// How a [`JournalLog`] is to be.
pub struct LogOptions {
    /// The file system has `metadata_csum`: the log gets checksums of version 3, as the kernel does. Without, it keeps those that it has.
    pub metadata_csum: bool,
    /// The file system has `64bit`: so get the block numbers of the log.
    pub bit64: bool,
    /// Wall time, for commit blocks.
    pub wall: Box<dyn Fn() -> Timespec + Send + Sync>,
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("metadata_csum", &self.metadata_csum)
            .field("bit64", &self.bit64)
            .finish_non_exhaustive()
    }
}

/// The log of a mounted journal, which the transaction engine appends to.
///
/// Nothing is written to the journal before the first transaction. Then its superblock says where the log starts and which
/// features it has, and `needs_recovery` in the superblock of the file system must be set already: that is the mount code's to
/// do, and to undo after [`shutdown`](Self::shutdown).
///
/// Within a mount the log goes on where it stopped, around the area, so that the blocks of transactions that were just
/// checkpointed are not overwritten at once.
pub struct JournalLog {
    area: JournalArea,
    form: Form,
    wall: Box<dyn Fn() -> Timespec + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    superblock: Superblock,
    /// The block that the next transaction begins at.
    head: u32,
    /// Blocks of transactions that are not checkpointed.
    used: u32,
    /// Number of the next transaction.
    sequence: Sequence,
    /// Homes of the records that are not checkpointed: only these need to be revoked.
    live: HashSet<u64>,
    /// A write or flush failed; what is on the medium is not known.
    failed: bool,
}

impl fmt::Debug for JournalLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("JournalLog")
            .field("form", &self.form)
            .field("head", &state.head)
            .field("used", &state.used)
            .field("sequence", &state.sequence)
            .finish_non_exhaustive()
    }
}

impl JournalLog {
    pub(crate) fn new(
        area: JournalArea,
        mut superblock: Superblock,
        options: LogOptions,
    ) -> core::result::Result<Self, Error> {
        let checksums = if options.metadata_csum {
            Checksums::V3
        } else {
            superblock.checksums()
        };
        // Fast and asynchronous commits are for the kernel to turn on again; this log has neither.
        let mut incompat = superblock
            .incompat()
            .difference(Incompat::FAST_COMMIT | Incompat::ASYNC_COMMIT);
        incompat |= Incompat::REVOKE;
        if options.bit64 {
            incompat |= Incompat::BIT64;
        }
        superblock.set_features(checksums, superblock.compat(), incompat);
        let form = Form::new(&superblock, area.block_len());
        let state = State {
            head: superblock.log().start,
            used: 0,
            sequence: superblock.sequence().next(),
            live: HashSet::new(),
            failed: false,
            superblock,
        };
        let log = Self {
            area,
            form,
            wall: options.wall,
            state: Mutex::new(state),
        };
        if log.capacity() == 0 {
            return Err(Errno::ENOSPC.into());
        }
        Ok(log)
    }

    /// Ends the use of the log at a clean unmount, after the engine's last checkpoint. From then on the journal has nothing to
    /// replay, and says so.
    ///
    /// # Errors
    /// `EBUSY` when transactions of the log are not checkpointed: their blocks may not be home. `EIO` as for
    /// [`append`](Log::append).
    pub fn shutdown(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.usable()?;
        if state.used > 0 {
            return Err(Errno::EBUSY);
        }
        if state.superblock.start().is_some() {
            self.empty(&mut state)?;
        }
        Ok(())
    }

    /// The first block of the log, after its [end](Self::shutdown).
    ///
    /// # Errors
    /// [`Error::Io`] with `EBUSY` while it is in use.
    pub(crate) fn spare(&self) -> core::result::Result<Spare<'_>, Error> {
        let state = self.state.lock();
        if state.failed || state.superblock.start().is_some() {
            return Err(Errno::EBUSY.into());
        }
        self.area.spare(state.superblock.log().start)
    }

    /// Blocks of the log. One is never used, so that a full log does not end where it starts.
    fn room(&self, state: &State) -> u32 {
        let log = state.superblock.log();
        log.end.saturating_sub(log.start).saturating_sub(1)
    }

    /// Writes the superblock of an empty log, and flushes the device.
    fn empty(&self, state: &mut State) -> Result<()> {
        let sequence = state.sequence;
        state.superblock.set_log(None, sequence);
        let result = state.superblock.write(&self.area).map_err(Errno::from);
        state.note(result.and_then(|()| self.area.device().flush()))?;
        state.used = 0;
        state.live.clear();
        Ok(())
    }

    /// Which blocks are to be revoked: those that the log has records of and this transaction does not.
    fn revokes(state: &State, records: &[LogRecord], revoked: &[u64]) -> Vec<u64> {
        let mut revokes: Vec<u64> = revoked
            .iter()
            .copied()
            .filter(|block| state.live.contains(block))
            .collect();
        if !revokes.is_empty() {
            // Replay takes a revocation as newer than the records of its own transaction.
            let again: HashSet<u64> = records.iter().map(|record| record.block).collect();
            revokes.retain(|block| !again.contains(block));
            revokes.sort_unstable();
            revokes.dedup();
        }
        revokes
    }

    /// Writes blocks to the log from `at` on, around its end. The block after the last.
    fn write(&self, state: &State, at: u32, blocks: &[&[u8]]) -> Result<u32> {
        let log = state.superblock.log();
        let (mut at, mut rest) = (at, blocks);
        while !rest.is_empty() {
            let room = usize::try_from(log.end.saturating_sub(at)).map_err(|_| Errno::EIO)?;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.area.write(at, now)?;
            at = at.saturating_add(u32::try_from(now.len()).map_err(|_| Errno::EIO)?);
            if at >= log.end {
                at = log.start;
            }
            rest = later;
        }
        Ok(at)
    }

    /// Writes a transaction's blocks, commit block last, with a flush before and after it.
    fn commit(&self, state: &mut State, body: &Body<'_>) -> Result<()> {
        let mut blocks: Vec<&[u8]> = Vec::with_capacity(body.len());
        blocks.extend(body.revokes.iter().map(Vec::as_slice));
        let mut data = body.data.iter();
        for descriptor in &body.descriptors {
            blocks.push(descriptor);
            blocks.extend(
                data.by_ref()
                    .take(self.form.tags_per_block())
                    .map(AsRef::as_ref),
            );
        }
        if state.used == 0 {
            let (head, sequence) = (state.head, state.sequence);
            state.superblock.set_log(Some(head), sequence);
            state.superblock.write(&self.area)?;
        }
        let at = self.write(state, state.head, &blocks)?;
        self.area.device().flush()?;
        let mut commit = vec![0; self.form.block_len];
        self.form
            .write_commit(state.sequence, (self.wall)(), body.crc32, &mut commit);
        state.head = self.write(state, at, &[&commit])?;
        self.area.device().flush()
    }

    /// Forms the blocks of a transaction, all but the commit block.
    fn body<'r>(&self, state: &State, records: &'r [LogRecord], revokes: &[u64]) -> Body<'r> {
        let mut body = Body {
            revokes: Vec::new(),
            descriptors: Vec::new(),
            data: Vec::new(),
            crc32: !0,
        };
        for part in revokes.chunks(self.form.revokes_per_block()) {
            let mut block = vec![0; self.form.block_len];
            self.form
                .write_revokes(header(REVOKE_BLOCK, state.sequence), part, &mut block);
            body.revokes.push(block);
        }
        body.data.reserve(records.len());
        let uuid = state.superblock.uuid();
        let mut tags = Vec::with_capacity(self.form.tags_per_block().min(records.len()));
        for part in records.chunks(self.form.tags_per_block()) {
            tags.clear();
            for record in part {
                let stored = escape(&record.data);
                let flags = if matches!(stored, Cow::Owned(_)) {
                    TAG_ESCAPE
                } else {
                    0
                };
                let checksum = self.form.data_checksum(state.sequence, &stored);
                tags.push(Tag {
                    block: record.block,
                    flags,
                    checksum,
                });
                body.data.push(stored);
            }
            let mut block = vec![0; self.form.block_len];
            if let Some(start) = block.get_mut(..12) {
                start.copy_from_slice(header(DESCRIPTOR_BLOCK, state.sequence).as_bytes());
            }
            self.form.write_tags(&tags, &uuid, &mut block);
            if self.form.checksums == Checksums::V1 {
                body.crc32 = crc32_be(body.crc32, &block);
                let from = body.data.len().saturating_sub(part.len());
                for stored in body.data.get(from..).unwrap_or(&[]) {
                    body.crc32 = crc32_be(body.crc32, stored);
                }
            }
            body.descriptors.push(block);
        }
        body
    }

    /// Blocks that a transaction takes in the log, commit block included.
    fn size(&self, records: usize, revokes: usize) -> usize {
        let descriptors = records.div_ceil(self.form.tags_per_block());
        let revokes = revokes.div_ceil(self.form.revokes_per_block());
        records
            .saturating_add(descriptors)
            .saturating_add(revokes)
            .saturating_add(1)
    }
}

impl Log for JournalLog {
    fn capacity(&self) -> usize {
        let room = usize::try_from(self.room(&self.state.lock()))
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        let tags = self.form.tags_per_block();
        let group = tags.saturating_add(1);
        let whole = room.checked_div(group).unwrap_or(0).saturating_mul(tags);
        let rest = room.checked_rem(group).unwrap_or(0).saturating_sub(1);
        whole.saturating_add(rest)
    }

    fn append(&self, records: &[LogRecord], revoked: &[u64]) -> Result<()> {
        let mut state = self.state.lock();
        state.usable()?;
        for record in records {
            // A block of the journal would be one that a broken bitmap says is free.
            if record.data.len() != self.form.block_len
                || !self.area.are_homes(record.block, record.block)
            {
                return Err(Errno::EIO);
            }
        }
        let revokes = Self::revokes(&state, records, revoked);
        if records.is_empty() && revokes.is_empty() {
            // What the caller wrote outside the log is to be durable all the same.
            return self.area.device().flush();
        }
        let size =
            u32::try_from(self.size(records.len(), revokes.len())).map_err(|_| Errno::ENOSPC)?;
        let used = state
            .used
            .checked_add(size)
            .filter(|used| *used <= self.room(&state))
            .ok_or(Errno::ENOSPC)?;
        let body = self.body(&state, records, &revokes);
        let result = self.commit(&mut state, &body);
        state.note(result)?;
        state.used = used;
        state.sequence = state.sequence.next();
        for block in &revokes {
            state.live.remove(block);
        }
        state.live.extend(records.iter().map(|record| record.block));
        Ok(())
    }

    fn checkpointed(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.usable()?;
        if state.used == 0 {
            return Ok(());
        }
        self.empty(&mut state)
    }
}

impl State {
    fn usable(&self) -> Result<()> {
        if self.failed { Err(Errno::EIO) } else { Ok(()) }
    }

    fn note(&mut self, result: Result<()>) -> Result<()> {
        self.failed |= result.is_err();
        result
    }
}

/// The blocks of a transaction in memory.
struct Body<'r> {
    revokes: Vec<Vec<u8>>,
    descriptors: Vec<Vec<u8>>,
    data: Vec<Cow<'r, [u8]>>,
    crc32: u32,
}

impl Body<'_> {
    fn len(&self) -> usize {
        self.revokes
            .len()
            .saturating_add(self.descriptors.len())
            .saturating_add(self.data.len())
    }
}

/// A block as it is stored: one that begins with the magic number has zeros there.
fn escape(data: &[u8]) -> Cow<'_, [u8]> {
    if !data.starts_with(&MAGIC_BYTES) {
        return Cow::Borrowed(data);
    }
    let mut stored = data.to_vec();
    stored
        .iter_mut()
        .take(MAGIC_BYTES.len())
        .for_each(|byte| *byte = 0);
    Cow::Owned(stored)
}
