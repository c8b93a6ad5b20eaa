//! Writing transactions to the journal.

use super::{
    form::{
        ENTRY_LEN, Header, Listed, ListedInode, inodes_per_block, listed_per_block, write_inodes,
        write_list,
    },
    journal::{Area, Journal},
    replay::Replay,
    ring::Ring,
};
use crate::{
    error::{Error, Place, Result, at},
    layout::log_type,
    overlay::SECTOR_BITS,
    superblock::LogPlace,
    types::{Order, index, number, round_up},
};
use alloc::{borrow::Cow, boxed::Box, collections::BTreeSet, sync::Arc, vec, vec::Vec};
use core::fmt;
use rumpbio::{Log, LogRecord};
use rumpuser::{BlockDevice, Errno, Timespec, sync::Mutex};

/// No smaller journal is made: NetBSD starts none.
pub const LEAST_BYTES: u64 = 64 << 10;
/// An entry of a list covers no more: the largest block.
const ENTRY_BYTES: u32 = 64 << 10;

/// Wall time, for headers.
pub type Wall = Box<dyn Fn() -> Timespec + Send + Sync>;

/// The journal of a volume that is mounted for writing, which the transaction engine appends to.
///
/// A transaction is a number of records of images, of revocations, and the list of [orphans](Self::set_orphans). It counts
/// from the moment that a header with its end as the head is on the medium. Within a mount the records go on around the
/// ring, so that those of transactions that were just checkpointed are not overwritten at once.
pub struct Wapbl {
    area: Area,
    /// Logarithm of the bytes of a block of the engine, a fragment.
    frag_bits: u32,
    /// Blocks of the journal that one list of inodes may take.
    list_blocks: u64,
    wall: Wall,
    state: Mutex<State>,
}

struct State {
    /// The newest, as it is on the medium.
    header: Header,
    /// Where the next transaction begins.
    at: u64,
    /// Bytes of the ring from the tail to there.
    used: u64,
    /// Blocks with images in the ring: only these need to be revoked.
    live: BTreeSet<u64>,
    /// The list of inodes that the next transaction is to have.
    orphans: Vec<ListedInode>,
    /// The one that the newest transaction has, and where.
    listed: Vec<ListedInode>,
    list: u64,
    /// A write or flush failed and what is on the medium is not known, or the journal's use has ended.
    ended: bool,
}

impl fmt::Debug for Wapbl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Wapbl")
            .field("start", &self.area.start)
            .field("header", &state.header)
            .field("used", &state.used)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Goes on with a journal after its images were [written home](Replay::write_home): from now on it holds nothing but the list
    /// of inodes to be freed, which stays until other [orphans](Wapbl::set_orphans) are named. `frag_bits` is the logarithm of the
    /// engine's block size.
    ///
    /// # Errors
    /// [`Error::Device`]. [`Error::Unsupported`] when the list is too long for the journal, or lies in it as NetBSD does not write it
    /// and there is no room for another.
    pub fn start(self, replay: &Replay, frag_bits: u32, wall: Wall) -> Result<Wapbl> {
        let Self { area, header } = self;
        let where_ = Place::Log(area.start);
        if area.block != 1_u64.wrapping_shl(header.block_bits) {
            return Err(Error::Unsupported(where_, "blocks of two sizes"));
        }
        let log = Wapbl::new(area, header, frag_bits, wall);
        {
            let mut state = log.state.lock();
            if header.head != 0 {
                state.at = header.head;
            }
            if number(replay.inodes.len()) > number(log.most_orphans()) {
                return Err(Error::Unsupported(where_, "so many inodes to free"));
            }
            state.orphans = replay.inodes.clone();
            if !replay.inodes.is_empty() && replay.only_list {
                state.keep_list(replay.list, replay.inodes.clone());
            } else if !replay.inodes.is_empty() {
                // Behind all that the old header counts: it holds until there is a new one.
                let free = header
                    .ring
                    .size
                    .saturating_sub(header.ring.used(header.head, header.tail));
                let mut parts = Vec::new();
                log.list_parts(&state, &mut parts);
                if length(&parts) > free {
                    return Err(Error::Unsupported(where_, "inodes to free before others"));
                }
                let list = state.at;
                let written = log.write(&state, list, &parts);
                state.at = written.map_err(at(where_))?;
                log.area.device.flush().map_err(at(where_))?;
                state.keep_list(list, replay.inodes.clone());
            }
            log.write_header(&mut state).map_err(at(where_))?;
        }
        Ok(log)
    }
}

impl Wapbl {
    /// Makes an empty journal, whatever the place held: a new one, or one that was not in use. The superblock says that it is in use
    /// only afterwards. `frag_bits` is the logarithm of the engine's block size.
    ///
    /// # Errors
    /// [`Error::Value`] and [`Error::Unsupported`] when the place cannot hold one, [`Error::Device`].
    pub fn create(
        device: Arc<dyn BlockDevice>,
        order: Order,
        place: &LogPlace,
        frag_bits: u32,
        wall: Wall,
    ) -> Result<Self> {
        let area = Area::new(device, order, place)?;
        if area.len < LEAST_BYTES {
            return Err(area.wrong(0, "length", area.len, "64 KiB or more"));
        }
        let block_bits = area.block.trailing_zeros();
        let ring = Ring {
            start: headers(area.block),
            size: area.len.saturating_sub(headers(area.block)),
        };
        if ring.size < area.block.saturating_mul(8) {
            return Err(area.wrong(0, "length", area.len, "ten blocks or more"));
        }
        let header = Header::new(block_bits, block_bits.min(frag_bits), ring);
        let where_ = Place::Log(area.start);
        let log = Self::new(area, header, frag_bits, wall);
        {
            // The first is number 0, which is in neither place the highest.
            let mut state = log.state.lock();
            state.header.generation = u32::MAX;
            log.write_header(&mut state).map_err(at(where_))?;
        }
        Ok(log)
    }

    fn new(area: Area, header: Header, frag_bits: u32, wall: Wall) -> Self {
        Self {
            area,
            frag_bits,
            list_blocks: list_blocks(header.ring.size, header.block_bits),
            wall,
            state: Mutex::new(State {
                header,
                at: header.ring.start,
                used: 0,
                live: BTreeSet::new(),
                orphans: Vec::new(),
                listed: Vec::new(),
                list: 0,
                ended: false,
            }),
        }
    }

    /// How many inodes [`set_orphans`](Self::set_orphans) takes.
    #[must_use]
    pub fn most_orphans(&self) -> usize {
        inodes_per_block(self.area.block).saturating_mul(index(self.list_blocks))
    }

    /// Inodes in use that no name leads to, as they are after the transaction that closes next: the replay after a crash frees them. The
    /// list replaces the one before. Called in [`Hooks::before_commit`](rumpbio::Hooks::before_commit); inodes that lost
    /// their last name or were made without one in a handle are listed with the transaction of this handle.
    ///
    /// # Errors
    /// `ENOSPC` when there are [too many](Self::most_orphans).
    pub fn set_orphans(&self, orphans: Vec<ListedInode>) -> rumpuser::Result<()> {
        if orphans.len() > self.most_orphans() {
            return Err(Errno::ENOSPC);
        }
        self.state.lock().orphans = orphans;
        Ok(())
    }

    /// Ends the use of the journal at a clean unmount, after the engine's last checkpoint. Nothing is in it.
    ///
    /// # Errors
    /// `EBUSY` when transactions are not checkpointed, or orphans are listed. `EIO` as for [`append`](Log::append).
    pub fn shutdown(&self) -> rumpuser::Result<()> {
        let mut state = self.state.lock();
        state.usable()?;
        if state.used > 0 {
            return Err(Errno::EBUSY);
        }
        state.ended = true;
        Ok(())
    }

    /// Writes the next header, whose head and tail follow from the state, and makes it durable.
    fn write_header(&self, state: &mut State) -> rumpuser::Result<()> {
        let (ring, mut header) = (state.header.ring, state.header);
        (header.head, header.tail) = (0, 0);
        if state.used > 0 {
            header.head = state.at;
            let free = ring.size.saturating_sub(state.used);
            header.tail = ring.advance(state.at, free);
        }
        loop {
            header.generation = header.generation.wrapping_add(1);
            let mut block = vec![0; index(self.area.block)];
            header.write(self.area.order, (self.wall)(), &mut block);
            let slot = u64::from(header.generation & 1);
            let at = slot.saturating_mul(self.area.block);
            self.area.device.write_at(self.area.byte(at), &block)?;
            // Number 0 is less than whatever the other place has.
            if header.generation != 0 {
                break;
            }
        }
        self.area.device.flush()?;
        state.header = header;
        Ok(())
    }

    /// Writes to the ring from `at` on, round its end. The place behind.
    fn write(&self, state: &State, at: u64, parts: &[Cow<'_, [u8]>]) -> rumpuser::Result<u64> {
        let ring = state.header.ring;
        let len = length(parts);
        let mut room = index(ring.before_end(at, len));
        let (mut before, mut behind) = (Vec::with_capacity(parts.len()), Vec::new());
        for part in parts {
            let (first, second) = part.split_at(room.min(part.len()));
            room = room.saturating_sub(first.len());
            for (part, list) in [(first, &mut before), (second, &mut behind)] {
                if !part.is_empty() {
                    list.push(part);
                }
            }
        }
        let device = &self.area.device;
        device.write_vectored_at(self.area.byte(at), &before)?;
        if !behind.is_empty() {
            device.write_vectored_at(self.area.byte(ring.start), &behind)?;
        }
        Ok(ring.advance(at, len))
    }

    /// The records of a transaction.
    fn parts<'r>(
        &self,
        state: &State,
        records: &'r [LogRecord],
        revokes: &[u64],
    ) -> Vec<Cow<'r, [u8]>> {
        let mut parts = Vec::with_capacity(records.len().saturating_add(4));
        let block_bits = state.header.block_bits;
        let block = 1_u64.wrapping_shl(block_bits);
        let most = listed_per_block(block);
        let homes: Vec<u64> = records.iter().map(|record| record.block).collect();
        let mut images = records.iter();
        for listed in self.listed(&homes).chunks(most) {
            let bytes = listed.iter().map(|entry| u64::from(entry.bytes));
            let bytes = bytes.fold(0, u64::saturating_add);
            let padded = round_up(bytes, block_bits);
            let mut list = vec![0; index(block)];
            let len = padded.saturating_add(block);
            write_list(self.area.order, log_type::BLOCKS, len, listed, &mut list);
            parts.push(Cow::Owned(list));
            let count = index(bytes.wrapping_shr(self.frag_bits));
            let images = images.by_ref().take(count);
            parts.extend(images.map(|record| Cow::Borrowed(&*record.data)));
            if padded > bytes {
                parts.push(Cow::Owned(vec![0; index(padded.saturating_sub(bytes))]));
            }
        }
        for listed in self.listed(revokes).chunks(most) {
            let mut list = vec![0; index(block)];
            let kind = log_type::REVOCATIONS;
            write_list(self.area.order, kind, block, listed, &mut list);
            parts.push(Cow::Owned(list));
        }
        parts
    }

    /// Entries of lists for blocks in ascending order, those in a row together.
    fn listed(&self, blocks: &[u64]) -> Vec<Listed> {
        let frag = 1_u32.wrapping_shl(self.frag_bits);
        let shift = self.frag_bits.saturating_sub(SECTOR_BITS);
        let mut listed: Vec<Listed> = Vec::new();
        for block in blocks {
            let sector = block.wrapping_shl(shift);
            if let Some(last) = listed.last_mut()
                && last
                    .sector
                    .saturating_add(last.bytes.wrapping_shr(SECTOR_BITS).into())
                    == sector
                && last.bytes.saturating_add(frag) <= ENTRY_BYTES
            {
                last.bytes = last.bytes.saturating_add(frag);
            } else {
                listed.push(Listed {
                    sector,
                    bytes: frag,
                });
            }
        }
        listed
    }

    /// The records that list the orphans: one at least.
    fn list_parts(&self, state: &State, parts: &mut Vec<Cow<'_, [u8]>>) {
        let block = 1_u64.wrapping_shl(state.header.block_bits);
        let most = inodes_per_block(block);
        let mut rest = &*state.orphans;
        let mut clear = true;
        while clear || !rest.is_empty() {
            let (now, later) = rest.split_at(most.min(rest.len()));
            let mut list = vec![0; index(block)];
            write_inodes(self.area.order, clear, now, &mut list);
            parts.push(Cow::Owned(list));
            (rest, clear) = (later, false);
        }
    }

    /// Whether a record is a block of the engine, at home outside of the journal.
    fn fits(&self, record: &LogRecord) -> bool {
        let frag = 1_u64.wrapping_shl(self.frag_bits);
        number(record.data.len()) == frag
            && record
                .block
                .checked_mul(frag)
                .is_some_and(|byte| self.area.is_home(byte, frag))
    }

    /// Writes a transaction behind the others; the header comes last.
    fn commit(
        &self,
        state: &mut State,
        parts: &[Cow<'_, [u8]>],
        list: u64,
    ) -> rumpuser::Result<()> {
        let len = length(parts);
        let begin = state.at;
        state.at = self.write(state, begin, parts)?;
        // Not only the records: also the file data that they lead to.
        self.area.device.flush()?;
        state.used = state.used.saturating_add(len);
        state.list = state.header.ring.advance(begin, list);
        state.listed.clone_from(&state.orphans);
        self.write_header(state)
    }
}

/// Bytes of the two headers, before the ring.
fn headers(block: u64) -> u64 {
    block.saturating_mul(2)
}

/// Bytes of a journal in blocks of `block` bytes that takes transactions of `images` images of 2^`frag_bits` bytes; not many more than it
/// needs.
pub(super) fn bytes_for(images: usize, block: u64, frag_bits: u32) -> u64 {
    let takes = |bytes: u64| {
        let ring = bytes.saturating_sub(headers(block));
        capacity(ring, block.trailing_zeros(), frag_bits)
    };
    let mut bytes = number(images).wrapping_shl(frag_bits).max(LEAST_BYTES);
    while takes(bytes) < images {
        bytes = bytes.saturating_add(bytes.wrapping_shr(4));
    }
    bytes
}

/// Images of 2^`frag_bits` bytes that one transaction takes at most, when the ring has `ring` bytes in blocks of 2^`block_bits`.
pub(super) fn capacity(ring: u64, block_bits: u32, frag_bits: u32) -> usize {
    let block = 1_u64.wrapping_shl(block_bits);
    let frag = 1_u64.wrapping_shl(frag_bits);
    // The list of inodes that must stay and the one that is to come, the rest of the last list, and one block, so that a full
    // ring does not end where it begins.
    let kept = list_blocks(ring, block_bits)
        .saturating_mul(2)
        .saturating_add(4)
        .saturating_mul(block);
    let room = ring.saturating_sub(kept);
    // A record is one image with its part of a list (and of what fills the list's last block), or a fragment full of
    // revocations.
    let entries = number(listed_per_block(block)).max(1);
    let lists = if frag < block {
        block.saturating_mul(2)
    } else {
        block
    };
    let image = frag.saturating_add(lists.div_ceil(entries));
    let revocations = frag
        .checked_div(ENTRY_LEN)
        .unwrap_or(0)
        .saturating_mul(block)
        .div_ceil(entries);
    let most = room.checked_div(image.max(revocations));
    index(most.unwrap_or(0))
}

/// Blocks for the list of inodes: a sixteenth of the ring.
fn list_blocks(ring: u64, block_bits: u32) -> u64 {
    ring.wrapping_shr(block_bits).wrapping_shr(4).max(1)
}

impl Log for Wapbl {
    fn capacity(&self) -> usize {
        let header = self.state.lock().header;
        capacity(header.ring.size, header.block_bits, self.frag_bits)
    }

    fn append(&self, records: &[LogRecord], revoked: &[u64]) -> rumpuser::Result<()> {
        let mut state = self.state.lock();
        state.usable()?;
        if !records.iter().all(|record| self.fits(record)) {
            return Err(Errno::EIO);
        }
        let live = |block: &&u64| state.live.contains(block);
        let revokes: Vec<u64> = revoked.iter().filter(live).copied().collect();
        if records.is_empty() && revokes.is_empty() && state.orphans == state.listed {
            // What the caller wrote outside of the journal is to be durable all the same.
            return self.area.device.flush();
        }
        let mut parts = self.parts(&state, records, &revokes);
        let list = length(&parts);
        self.list_parts(&state, &mut parts);
        let used = state.used.saturating_add(length(&parts));
        if used >= state.header.ring.size {
            return Err(Errno::ENOSPC);
        }
        let written = self.commit(&mut state, &parts, list);
        state.note(written)?;
        for block in &revokes {
            state.live.remove(block);
        }
        state.live.extend(records.iter().map(|record| record.block));
        Ok(())
    }

    fn checkpointed(&self) -> rumpuser::Result<()> {
        let mut state = self.state.lock();
        state.usable()?;
        let before = state.used;
        if state.listed.is_empty() {
            state.used = 0;
        } else {
            let list = state.list;
            let listed = core::mem::take(&mut state.listed);
            state.keep_list(list, listed);
        }
        state.live.clear();
        if state.used == before {
            return Ok(());
        }
        let written = self.write_header(&mut state);
        state.note(written)
    }
}

impl State {
    fn usable(&self) -> rumpuser::Result<()> {
        if self.ended { Err(Errno::EIO) } else { Ok(()) }
    }

    fn note(&mut self, result: rumpuser::Result<()>) -> rumpuser::Result<()> {
        self.ended |= result.is_err();
        result
    }

    /// The ring holds nothing any more but the list of inodes from `list` to its head.
    fn keep_list(&mut self, list: u64, listed: Vec<ListedInode>) {
        self.used = self.header.ring.used(self.at, list);
        self.list = list;
        self.listed = listed;
    }
}

fn length(parts: &[Cow<'_, [u8]>]) -> u64 {
    let lens = parts.iter().map(|part| number(part.len()));
    lens.fold(0, u64::saturating_add)
}
