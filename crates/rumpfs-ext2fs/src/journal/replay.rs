//! Finding out what the log says: which blocks of the volume it replaces.

use super::{
    area::JournalArea,
    checksum::crc32_be,
    commit::Commit,
    error::Error,
    fast_commit::{self, FastCommits},
    layout::{
        COMMIT_BLOCK, DESCRIPTOR_BLOCK, Incompat, MAGIC, REVOKE_BLOCK, RawHeader, TAG_ESCAPE,
    },
    superblock::{Checksums, Sequence, Superblock},
    tags::{Form, Tag},
};
use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::fmt;
use rumpuser::{Errno, Timespec};
use zerocopy::FromBytes;

/// Where the log holds the content of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBlock {
    /// The block of the volume, inside the journal, that has the content.
    pub physical: u64,
    /// Whether its first four bytes are to be replaced by the journal's magic number.
    pub escaped: bool,
}

/// What the log says.
///
/// It refers to the blocks of the log and does not hold their content: its size is bounded by the number of blocks of the log.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The blocks of the volume that the log replaces, each with the place of its last content.
    pub blocks: BTreeMap<u64, LogBlock>,
    /// Number of transactions that the log holds whole.
    pub transactions: u32,
    /// The first transaction that it does not hold: the fast commits belong to it.
    pub end: Sequence,
    /// The number that a new transaction may have: newer than all of which the log has a trace.
    pub next_sequence: Sequence,
    /// When the last whole transaction was committed.
    pub last_commit: Option<Timespec>,
    /// Set when the log ends at a transaction that is damaged, not just unfinished.
    pub damage: Option<Damage>,
    /// The fast commits that are to be applied after `blocks`.
    pub fast_commits: FastCommits,
}

impl Replay {
    /// Whether the log changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.fast_commits.is_empty()
    }
}

/// A transaction of the log that cannot be replayed though it, or one after it, was committed.
///
/// The log ends before it, so that no part of it is applied. (The kernel refuses to mount such a file system; e2fsck applies what
/// checks out and then checks everything.) A mount for writing should be refused unless
/// [`torn`](Self::torn); a read-only one may go on with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The transaction.
    pub sequence: Sequence,
    /// What is wrong with it.
    pub kind: DamageKind,
    /// Block of the journal where that was found.
    pub at: u32,
    /// The newest whole commit block behind it, of it or of a later transaction: what the damage loses. `None` when nothing
    /// but this transaction is lost.
    pub later: Option<Sequence>,
}

/// What is wrong with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Checksum of a descriptor block.
    Descriptor,
    /// A descriptor block names a home that is not on the volume or is the journal's own.
    Home(u64),
    /// Checksum of a data block.
    Data,
    /// Checksum or size of a revocation block.
    Revoke,
    /// Checksum of the commit block; under checksum version 1, of the whole transaction.
    Commit,
}

impl Damage {
    /// Whether this is what a power cut can leave behind: the last transaction of the log, with a commit block that was
    /// not written whole or (in a journal with asynchronous commits) reached the medium before the rest.
    #[must_use]
    pub fn torn(&self) -> bool {
        self.later.is_none()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "journal block {}: transaction {}: ",
            self.at, self.sequence.0
        )?;
        match self.kind {
            DamageKind::Descriptor => f.write_str("bad checksum of a descriptor block")?,
            DamageKind::Home(block) => write!(f, "block {block} cannot be in the journal")?,
            DamageKind::Data => f.write_str("bad checksum of a data block")?,
            DamageKind::Revoke => f.write_str("bad revocation block")?,
            DamageKind::Commit => f.write_str("bad checksum of the commit block")?,
        }
        match self.later {
            Some(later) => write!(f, "; changes up to transaction {} are lost", later.0),
            None => f.write_str("; it is the last one and is ignored"),
        }
    }
}

/// Reads the log. Nothing is written.
pub(crate) fn scan(area: &JournalArea, superblock: &Superblock) -> Result<Replay, Error> {
    let mut replay = Replay {
        blocks: BTreeMap::new(),
        transactions: 0,
        end: superblock.sequence(),
        next_sequence: superblock.sequence().next(),
        last_commit: None,
        damage: None,
        fast_commits: FastCommits::default(),
    };
    let Some(start) = superblock.start() else {
        return Ok(replay);
    };
    let mut scanner = Scanner::new(area, superblock, start);
    loop {
        match scanner.transaction(replay.end)? {
            Found::Whole(transaction) => {
                scanner.apply(&transaction, &mut replay.blocks)?;
                replay.last_commit = Some(transaction.time);
                replay.transactions = replay.transactions.saturating_add(1);
                replay.end = replay.end.next();
            }
            Found::Damaged { kind, at, commit } => {
                replay.damage = scanner.judge(&replay, kind, at, commit)?;
                break;
            }
            Found::End => break,
        }
    }
    let newest = replay
        .damage
        .and_then(|damage| damage.later)
        .unwrap_or(replay.end);
    replay.next_sequence = newest.next();
    if replay.damage.is_none() && superblock.incompat().contains(Incompat::FAST_COMMIT) {
        replay.fast_commits = fast_commit::scan(area, superblock.fast_commit_area(), replay.end)?;
    }
    Ok(replay)
}

/// A transaction with its commit block.
struct Transaction {
    records: Vec<(u64, LogBlock)>,
    /// Blocks of the journal that are its revocation blocks: read again when they apply, as they may be many.
    revokes: Vec<u32>,
    time: Timespec,
}

enum Found {
    Whole(Transaction),
    /// Its commit block, if that is there, and what is wrong.
    Damaged {
        kind: DamageKind,
        at: u32,
        commit: Option<Commit>,
    },
    End,
}

impl Found {
    /// Damage in front of the commit block.
    fn damaged(kind: DamageKind, at: u32) -> Self {
        Self::Damaged {
            kind,
            at,
            commit: None,
        }
    }
}

/// What has been read of a transaction.
struct Parts {
    records: Vec<(u64, LogBlock)>,
    revokes: Vec<u32>,
    crc32: u32,
    /// A data block whose checksum is wrong: what that means depends on whether the commit block is there.
    bad_data: Option<u32>,
}

struct Scanner<'a> {
    area: &'a JournalArea,
    log: core::ops::Range<u32>,
    form: Form,
    async_commit: bool,
    /// The next block to look at.
    next: u32,
    /// How many blocks the log can still have: it never holds more than its area.
    left: u32,
    block: Vec<u8>,
    data: Vec<u8>,
}

/// Data blocks read at a time, in bytes.
const CHUNK: usize = 256 << 10;

impl<'a> Scanner<'a> {
    fn new(area: &'a JournalArea, superblock: &Superblock, start: u32) -> Self {
        let log = superblock.log();
        Self {
            area,
            left: log.end.saturating_sub(log.start),
            log,
            form: Form::new(superblock, area.block_len()),
            async_commit: superblock.incompat().contains(Incompat::ASYNC_COMMIT),
            next: start,
            block: vec![0; area.block_len()],
            data: Vec::new(),
        }
    }

    /// Moves past one block and returns it, `None` when the whole area was seen.
    fn take(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        let next = at.saturating_add(1);
        self.next = if next >= self.log.end {
            self.log.start
        } else {
            next
        };
        Some(at)
    }

    /// Reads the next block of the log into `self.block`, if it has a header.
    fn take_header(&mut self) -> Result<Option<(u32, RawHeader)>, Error> {
        let Some(at) = self.take() else {
            return Ok(None);
        };
        self.area.read(at, &mut self.block)?;
        let header = RawHeader::read_from_prefix(&self.block)
            .ok()
            .map(|(header, _)| header);
        Ok(header
            .filter(|header| header.h_magic.get() == MAGIC)
            .map(|header| (at, header)))
    }

    /// Reads the transaction at the present place.
    fn transaction(&mut self, sequence: Sequence) -> Result<Found, Error> {
        let mut parts = Parts {
            records: Vec::new(),
            revokes: Vec::new(),
            crc32: !0,
            bad_data: None,
        };
        loop {
            let Some((at, header)) = self.take_header()? else {
                return Ok(Found::End);
            };
            if header.h_sequence.get() != sequence.0 {
                return Ok(Found::End);
            }
            let end = match header.h_blocktype.get() {
                DESCRIPTOR_BLOCK => self.take_descriptor(at, sequence, &mut parts)?,
                REVOKE_BLOCK => self.take_revokes(at, &mut parts),
                COMMIT_BLOCK => return Ok(self.take_commit(at, parts)),
                _ => Some(Found::End),
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Takes the descriptor block in `self.block` and what it describes; gives the end of the log, if that is here.
    fn take_descriptor(
        &mut self,
        at: u32,
        sequence: Sequence,
        parts: &mut Parts,
    ) -> Result<Option<Found>, Error> {
        if !self.form.tail_holds(&self.block) {
            return Ok(Some(Found::damaged(DamageKind::Descriptor, at)));
        }
        if self.form.checksums == Checksums::V1 {
            parts.crc32 = crc32_be(parts.crc32, &self.block);
        }
        let tags = self.descriptor(sequence, &mut parts.records, &mut parts.crc32)?;
        Ok(match tags {
            Tags::Whole => None,
            Tags::PastEnd => Some(Found::End),
            Tags::BadHome(home) => Some(Found::damaged(DamageKind::Home(home), at)),
            Tags::BadData(at) => {
                parts.bad_data = parts.bad_data.or(Some(at));
                None
            }
        })
    }

    /// As [`take_descriptor`](Self::take_descriptor), for a revoke block.
    fn take_revokes(&self, at: u32, parts: &mut Parts) -> Option<Found> {
        if !self.form.tail_holds(&self.block) || self.form.revokes(&self.block).is_none() {
            return Some(Found::damaged(DamageKind::Revoke, at));
        }
        parts.revokes.push(at);
        None
    }

    /// What a transaction is that ends with the commit block in `self.block`.
    fn take_commit(&self, at: u32, parts: Parts) -> Found {
        let Some(commit) = self.form.parse_commit(&self.block, Some(parts.crc32)) else {
            return Found::End;
        };
        let (kind, at) = match parts.bad_data {
            _ if !commit.holds => (DamageKind::Commit, at),
            Some(at) => (DamageKind::Data, at),
            None => {
                return Found::Whole(Transaction {
                    records: parts.records,
                    revokes: parts.revokes,
                    time: commit.time,
                });
            }
        };
        Found::Damaged {
            kind,
            at,
            commit: Some(commit),
        }
    }

    /// Takes the data blocks of the descriptor block in `self.block`.
    fn descriptor(
        &mut self,
        sequence: Sequence,
        records: &mut Vec<(u64, LogBlock)>,
        crc32: &mut u32,
    ) -> Result<Tags, Error> {
        let tags: Vec<Tag> = self.form.tags(&self.block).collect();
        let mut places = Vec::with_capacity(tags.len());
        for tag in &tags {
            if !self.area.are_homes(tag.block, tag.block) {
                return Ok(Tags::BadHome(tag.block));
            }
            let Some(at) = self.take() else {
                return Ok(Tags::PastEnd);
            };
            let (physical, _) = self.area.physical(at)?;
            records.push((
                tag.block,
                LogBlock {
                    physical,
                    escaped: tag.flags & TAG_ESCAPE != 0,
                },
            ));
            places.push((at, *tag));
        }
        if self.form.checksums == Checksums::None {
            return Ok(Tags::Whole);
        }
        let mut bad = None;
        let at_once = CHUNK.checked_div(self.form.block_len).unwrap_or(1).max(1);
        for part in places.chunks(at_once) {
            self.read_places(part)?;
            for ((at, tag), stored) in part.iter().zip(self.data.chunks_exact(self.form.block_len))
            {
                if self.form.checksums == Checksums::V1 {
                    *crc32 = crc32_be(*crc32, stored);
                } else if self.form.data_checksum(sequence, stored) != tag.checksum {
                    bad = bad.or(Some(*at));
                }
            }
        }
        Ok(bad.map_or(Tags::Whole, Tags::BadData))
    }

    /// Reads blocks of the log, consecutive but for the wrap, into `self.data`.
    fn read_places(&mut self, places: &[(u32, Tag)]) -> Result<(), Error> {
        let block_len = self.form.block_len;
        self.data.resize(places.len().saturating_mul(block_len), 0);
        let wrap = places
            .iter()
            .position(|(at, _)| *at == self.log.start)
            .unwrap_or(0);
        let wrap_at = wrap.saturating_mul(block_len).min(self.data.len());
        let (before, after) = self.data.split_at_mut(wrap_at);
        for (part, data) in [(places.first(), before), (places.get(wrap), after)] {
            if let Some((at, _)) = part {
                self.area.read(*at, data)?;
            }
        }
        Ok(())
    }

    /// Adds a whole transaction. What it revokes is dropped, in it and before it; a later transaction may bring it back.
    fn apply(
        &mut self,
        transaction: &Transaction,
        blocks: &mut BTreeMap<u64, LogBlock>,
    ) -> Result<(), Error> {
        blocks.extend(transaction.records.iter().copied());
        for at in &transaction.revokes {
            self.area.read(*at, &mut self.block)?;
            // It was checked when it was first read; a medium that changes under us is out of order.
            let revoked = self
                .form
                .revokes(&self.block)
                .ok_or(Error::Io(Errno::EIO))?;
            for block in revoked {
                blocks.remove(&block);
            }
        }
        Ok(())
    }

    /// Tells a damaged transaction from what is left of an older use of these blocks (`None`), and looks how much is lost.
    fn judge(
        &mut self,
        replay: &Replay,
        kind: DamageKind,
        at: u32,
        commit: Option<Commit>,
    ) -> Result<Option<Damage>, Error> {
        let since = replay.last_commit.map_or(i64::MIN, |time| time.sec);
        if commit.is_some_and(|commit| commit.time.sec < since) {
            return Ok(None);
        }
        let sequence = replay.end;
        let mut later = self.newest_commit(sequence, since)?;
        // With the commit block whole, the blocks before it had been flushed, unless commits are asynchronous.
        if later.is_none() && commit.is_some_and(|commit| commit.holds) && !self.async_commit {
            later = Some(sequence);
        }
        // Behind a bad descriptor or revocation block whose transaction was never committed lies nothing to lose.
        if later.is_none() && commit.is_none() {
            return Ok(None);
        }
        Ok(Some(Damage {
            sequence,
            kind,
            at,
            later,
        }))
    }

    /// The newest transaction from `sequence` on whose whole commit block lies in the rest of the log.
    fn newest_commit(&mut self, sequence: Sequence, since: i64) -> Result<Option<Sequence>, Error> {
        let mut newest = None;
        let most = self.log.end;
        while self.left > 0 {
            let Some((_, header)) = self.take_header()? else {
                continue;
            };
            let found = Sequence(header.h_sequence.get());
            if header.h_blocktype.get() != COMMIT_BLOCK || found.ahead_of(sequence) > most {
                continue;
            }
            let whole = self.form.parse_commit(&self.block, None);
            if whole.is_some_and(|commit| commit.holds && commit.time.sec >= since)
                && newest.is_none_or(|n| found.is_newer(n))
            {
                newest = Some(found);
            }
        }
        Ok(newest)
    }
}

/// How the data blocks of a descriptor block were found.
enum Tags {
    Whole,
    /// They would take more blocks than the log has.
    PastEnd,
    /// One has an impossible home.
    BadHome(u64),
    /// One, at that block of the journal, has a wrong checksum.
    BadData(u32),
}
