//! The journal's superblock ("Super Block").

use super::{
    area::JournalArea,
    checksum::crc32c,
    error::{Error, SuperblockFault},
    layout::{
        CHECKSUM_CRC32C, Compat, DEFAULT_FAST_COMMIT_BLOCKS, Incompat, MAGIC, MIN_LOG_BLOCKS,
        RawSuperblock, SUPERBLOCK_V1, SUPERBLOCK_V2,
    },
};
use core::ops::Range;
use zerocopy::{FromBytes, IntoBytes};

/// Number of a transaction. Numbers wrap around; of two, that one is newer which is less than half the circle ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How far this number is ahead of `other`: below 2^31 when it is the same or newer.
    #[must_use]
    pub fn ahead_of(self, other: Self) -> u32 {
        self.0.wrapping_sub(other.0)
    }

    /// Whether this number is newer than `other`.
    #[must_use]
    pub fn is_newer(self, other: Self) -> bool {
        (1..0x8000_0000).contains(&self.ahead_of(other))
    }
}

/// How the log is protected against torn and rotten blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Not at all.
    None,
    /// Commit blocks have a CRC-32 of the transaction's descriptor and data blocks.
    V1,
    /// Each block has a CRC-32C, that of a data block cut to 16 bits.
    V2,
    /// Each block has a CRC-32C.
    V3,
}

impl Checksums {
    /// Whether blocks of the log have their own checksum, seeded by the UUID.
    pub(crate) fn per_block(self) -> bool {
        matches!(self, Self::V2 | Self::V3)
    }
}

/// A checked superblock of a journal.
#[derive(Clone, Debug)]
pub struct Superblock {
    raw: RawSuperblock,
    checksums: Checksums,
    /// First block after the log.
    end: u32,
    fast_commit: Range<u32>,
}

/// Features that this driver knows.
const KNOWN_INCOMPAT: Incompat = Incompat::REVOKE
    .union(Incompat::BIT64)
    .union(Incompat::ASYNC_COMMIT)
    .union(Incompat::CSUM_V2)
    .union(Incompat::CSUM_V3)
    .union(Incompat::FAST_COMMIT);

impl Superblock {
    /// Reads and checks block 0 of the journal.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Superblock`] for a field that cannot be; [`Error::UnknownIncompat`],
    /// [`Error::UnknownRoCompat`]; [`Error::External`] when several file systems share it.
    pub fn read(area: &JournalArea) -> Result<Self, Error> {
        let mut raw = [0; size_of::<RawSuperblock>()];
        let (physical, _) = area.physical(0)?;
        area.device().read_at(area.offset(physical)?, &mut raw)?;
        let raw = RawSuperblock::read_from_bytes(&raw).map_err(|_| SuperblockFault::Magic(0))?;
        Self::check(raw, area.block_size(), area.mapped())
    }

    /// Checks a superblock of a journal of `mapped` blocks of `block_size` bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn check(mut raw: RawSuperblock, block_size: u32, mapped: u64) -> Result<Self, Error> {
        check_geometry(&raw, block_size, mapped)?;
        if raw.s_header.h_blocktype.get() == SUPERBLOCK_V1 {
            // Whatever lies where version 2 has its fields has no meaning.
            let meaningful = core::mem::offset_of!(RawSuperblock, s_feature_compat);
            if let Some(rest) = raw.as_mut_bytes().get_mut(meaningful..) {
                rest.fill(0);
            }
        }
        let checksums = check_features(&raw)?;
        if checksums.per_block() {
            if raw.s_checksum_type != CHECKSUM_CRC32C {
                return Err(SuperblockFault::ChecksumType(raw.s_checksum_type).into());
            }
            let (found, computed) = (raw.s_checksum.get(), checksum(&raw));
            if found != computed {
                return Err(SuperblockFault::Checksum { found, computed }.into());
            }
        }
        let (end, fast_commit) = split(&raw);
        let start = raw.s_start.get();
        if start != 0 && !(raw.s_first.get()..end).contains(&start) {
            return Err(SuperblockFault::Start(start).into());
        }
        Ok(Self {
            raw,
            checksums,
            end,
            fast_commit,
        })
    }

    /// Blocks of the log, in which it wraps around.
    #[must_use]
    pub fn log(&self) -> Range<u32> {
        self.raw.s_first.get()..self.end
    }

    /// Blocks of the fast-commit area, empty without that feature.
    #[must_use]
    pub fn fast_commit_area(&self) -> Range<u32> {
        self.fast_commit.clone()
    }

    /// Where the log starts, `None` when nothing is to be replayed.
    #[must_use]
    pub fn start(&self) -> Option<u32> {
        Some(self.raw.s_start.get()).filter(|start| *start != 0)
    }

    /// The first transaction of the log; when there is none, a number that the next one must be newer than.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence(self.raw.s_sequence.get())
    }

    /// `s_errno`: not 0 when the journal was aborted because of an error. The mount code then sets the error flag in the
    /// `s_state` of the file system.
    #[must_use]
    pub fn errno(&self) -> u32 {
        self.raw.s_errno.get()
    }

    /// The protection of the log.
    #[must_use]
    pub fn checksums(&self) -> Checksums {
        self.checksums
    }

    /// Compatible features.
    #[must_use]
    pub fn compat(&self) -> Compat {
        Compat::from_bits_retain(self.raw.s_feature_compat.get())
    }

    /// Incompatible features.
    #[must_use]
    pub fn incompat(&self) -> Incompat {
        Incompat::from_bits_retain(self.raw.s_feature_incompat.get())
    }

    /// Start value of the CRC-32C of blocks of the log.
    pub(crate) fn seed(&self) -> u32 {
        crc32c(!0, &self.raw.s_uuid)
    }

    /// The UUID, which the first tag of each descriptor block repeats.
    pub(crate) fn uuid(&self) -> [u8; 16] {
        self.raw.s_uuid
    }

    /// Sets where the log starts (`None`: it is empty) and its first transaction.
    pub(crate) fn set_log(&mut self, start: Option<u32>, sequence: Sequence) {
        self.raw.s_start.set(start.unwrap_or(0));
        self.raw.s_sequence.set(sequence.0);
    }

    /// Forgets the error of an aborted journal.
    pub(crate) fn clear_errno(&mut self) {
        self.raw.s_errno.set(0);
    }

    /// Turns into a version 2 superblock with these features. The log must be empty: its blocks change their form.
    pub(crate) fn set_features(
        &mut self,
        checksums: Checksums,
        compat: Compat,
        incompat: Incompat,
    ) {
        if self.raw.s_header.h_blocktype.get() == SUPERBLOCK_V1 {
            self.raw.s_header.h_blocktype.set(SUPERBLOCK_V2);
            self.raw.s_nr_users.set(1);
        }
        let mut compat = compat.difference(Compat::CHECKSUM);
        let mut incompat = incompat.difference(Incompat::CSUM_V2 | Incompat::CSUM_V3);
        match checksums {
            Checksums::None => (),
            Checksums::V1 => compat |= Compat::CHECKSUM,
            Checksums::V2 => incompat |= Incompat::CSUM_V2,
            Checksums::V3 => incompat |= Incompat::CSUM_V3,
        }
        self.raw.s_checksum_type = if checksums.per_block() {
            CHECKSUM_CRC32C
        } else {
            0
        };
        self.raw.s_feature_compat.set(compat.bits());
        self.raw.s_feature_incompat.set(incompat.bits());
        self.checksums = checksums;
        (self.end, self.fast_commit) = split(&self.raw);
    }

    /// Writes it to block 0 of the journal. Durable after a flush of the device.
    pub(crate) fn write(&mut self, area: &JournalArea) -> Result<(), Error> {
        self.raw.s_checksum.set(0);
        if self.checksums.per_block() {
            self.raw.s_checksum.set(checksum(&self.raw));
        }
        let (physical, _) = area.physical(0)?;
        area.device()
            .write_at(area.offset(physical)?, self.raw.as_bytes())?;
        Ok(())
    }
}

fn check_geometry(raw: &RawSuperblock, block_size: u32, mapped: u64) -> Result<(), Error> {
    let magic = raw.s_header.h_magic.get();
    if magic != MAGIC {
        return Err(SuperblockFault::Magic(magic).into());
    }
    let kind = raw.s_header.h_blocktype.get();
    if kind != SUPERBLOCK_V1 && kind != SUPERBLOCK_V2 {
        return Err(SuperblockFault::BlockType(kind).into());
    }
    let found = raw.s_blocksize.get();
    if found != block_size {
        return Err(SuperblockFault::BlockSize {
            found,
            expected: block_size,
        }
        .into());
    }
    let found = raw.s_maxlen.get();
    if found == 0 || u64::from(found) > mapped {
        return Err(SuperblockFault::MaxLen { found, mapped }.into());
    }
    let first = raw.s_first.get();
    if first == 0 || first >= found {
        return Err(SuperblockFault::First(first).into());
    }
    Ok(())
}

fn check_features(raw: &RawSuperblock) -> Result<Checksums, Error> {
    let compat = Compat::from_bits_retain(raw.s_feature_compat.get());
    let incompat = Incompat::from_bits_retain(raw.s_feature_incompat.get());
    let unknown = incompat.difference(KNOWN_INCOMPAT);
    if !unknown.is_empty() {
        return Err(Error::UnknownIncompat(unknown.bits()));
    }
    if raw.s_feature_ro_compat.get() != 0 {
        return Err(Error::UnknownRoCompat(raw.s_feature_ro_compat.get()));
    }
    if raw.s_nr_users.get() > 1 {
        return Err(Error::External);
    }
    let versions = (
        compat.contains(Compat::CHECKSUM),
        incompat.contains(Incompat::CSUM_V2),
        incompat.contains(Incompat::CSUM_V3),
    );
    match versions {
        (false, false, false) => Ok(Checksums::None),
        (true, false, false) => Ok(Checksums::V1),
        (false, true, false) => Ok(Checksums::V2),
        (false, false, true) => Ok(Checksums::V3),
        _ => Err(SuperblockFault::Checksums(compat, incompat).into()),
    }
}

/// The end of the log, and the fast-commit area behind it. jbd2 leaves one block between them unused.
fn split(raw: &RawSuperblock) -> (u32, Range<u32>) {
    let maxlen = raw.s_maxlen.get();
    let none = (maxlen, maxlen..maxlen);
    if !Incompat::from_bits_retain(raw.s_feature_incompat.get()).contains(Incompat::FAST_COMMIT) {
        return none;
    }
    let blocks = match raw.s_num_fc_blocks.get() {
        0 => DEFAULT_FAST_COMMIT_BLOCKS,
        blocks => blocks,
    };
    match maxlen.checked_sub(blocks) {
        Some(end) if end >= MIN_LOG_BLOCKS && end > raw.s_first.get() => {
            (end, end.saturating_add(1).min(maxlen)..maxlen)
        }
        _ => none,
    }
}

fn checksum(raw: &RawSuperblock) -> u32 {
    let mut copy = raw.clone();
    copy.s_checksum.set(0);
    crc32c(!0, copy.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    const MAPPED: u64 = 4096;

    fn good() -> RawSuperblock {
        let mut raw = RawSuperblock::new_zeroed();
        raw.s_header.h_magic.set(MAGIC);
        raw.s_header.h_blocktype.set(SUPERBLOCK_V2);
        raw.s_blocksize.set(1024);
        raw.s_maxlen.set(4096);
        raw.s_first.set(1);
        raw.s_sequence.set(7);
        raw.s_nr_users.set(1);
        raw
    }

    fn v3() -> RawSuperblock {
        let mut raw = good();
        raw.s_feature_incompat
            .set((Incompat::CSUM_V3 | Incompat::BIT64).bits());
        raw.s_checksum_type = CHECKSUM_CRC32C;
        raw.s_checksum.set(checksum(&raw));
        raw
    }

    fn check(raw: &RawSuperblock) -> Result<Superblock, Error> {
        Superblock::check(raw.clone(), 1024, MAPPED)
    }

    #[track_caller]
    fn fault(change: impl Fn(&mut RawSuperblock), expected: SuperblockFault) {
        let mut raw = good();
        change(&mut raw);
        assert_eq!(check(&raw).err(), Some(Error::Superblock(expected)));
    }

    #[test]
    fn fields_that_cannot_be() {
        assert!(check(&good()).is_ok());
        fault(|raw| raw.s_header.h_magic.set(1), SuperblockFault::Magic(1));
        fault(
            |raw| raw.s_header.h_blocktype.set(2),
            SuperblockFault::BlockType(2),
        );
        let size = SuperblockFault::BlockSize {
            found: 4096,
            expected: 1024,
        };
        fault(|raw| raw.s_blocksize.set(4096), size);
        fault(
            |raw| raw.s_maxlen.set(4097),
            SuperblockFault::MaxLen {
                found: 4097,
                mapped: MAPPED,
            },
        );
        fault(
            |raw| raw.s_maxlen.set(0),
            SuperblockFault::MaxLen {
                found: 0,
                mapped: MAPPED,
            },
        );
        fault(|raw| raw.s_first.set(0), SuperblockFault::First(0));
        fault(|raw| raw.s_first.set(4096), SuperblockFault::First(4096));
        fault(|raw| raw.s_start.set(4096), SuperblockFault::Start(4096));
        let both = Incompat::CSUM_V2 | Incompat::CSUM_V3;
        fault(
            |raw| raw.s_feature_incompat.set(both.bits()),
            SuperblockFault::Checksums(Compat::empty(), both),
        );
        fault(
            |raw| raw.s_feature_incompat.set(Incompat::CSUM_V3.bits()),
            SuperblockFault::ChecksumType(0),
        );
    }

    #[test]
    fn features_that_nobody_knows() {
        let mut raw = good();
        raw.s_feature_incompat.set(0x40);
        assert_eq!(check(&raw).err(), Some(Error::UnknownIncompat(0x40)));
        let mut raw = good();
        raw.s_feature_ro_compat.set(4);
        assert_eq!(check(&raw).err(), Some(Error::UnknownRoCompat(4)));
        let mut raw = good();
        raw.s_nr_users.set(2);
        assert_eq!(check(&raw).err(), Some(Error::External));
        // Version 1 has no such fields.
        raw.s_header.h_blocktype.set(SUPERBLOCK_V1);
        raw.s_feature_incompat.set(!0);
        assert_eq!(check(&raw).unwrap().incompat(), Incompat::empty());
    }

    #[test]
    fn every_byte_is_under_the_checksum() {
        assert_eq!(check(&v3()).unwrap().checksums(), Checksums::V3);
        for at in 0..size_of::<RawSuperblock>() {
            let mut raw = v3();
            raw.as_mut_bytes()[at] ^= 1;
            assert!(check(&raw).is_err(), "byte {at}");
        }
    }

    #[test]
    fn fast_commits_take_the_end() {
        let with = |maxlen: u32, blocks: u32| {
            let mut raw = good();
            raw.s_maxlen.set(maxlen);
            raw.s_num_fc_blocks.set(blocks);
            raw.s_feature_incompat.set(Incompat::FAST_COMMIT.bits());
            let superblock = check(&raw).unwrap();
            (superblock.log(), superblock.fast_commit_area())
        };
        assert_eq!(with(4096, 64), (1..4032, 4033..4096));
        assert_eq!(with(4096, 0), (1..3840, 3841..4096));
        // Where too little would be left for full commits, the area is not split.
        assert_eq!(with(1050, 64), (1..1050, 1050..1050));
        assert_eq!(with(4096, u32::MAX), (1..4096, 4096..4096));
    }

    #[test]
    fn sequences_wrap_around() {
        let last = Sequence(u32::MAX);
        assert_eq!(last.next(), Sequence(0));
        assert!(last.next().is_newer(last) && !last.is_newer(last.next()));
        assert!(!last.is_newer(last));
        assert!(
            Sequence(0x7FFF_FFFF).is_newer(Sequence(0))
                && !Sequence(0x8000_0000).is_newer(Sequence(0))
        );
    }
}
