//! The commit block ("Commit Block").

use super::{
    checksum::crc32c,
    layout::{CHECKSUM_CRC32, COMMIT_BLOCK, MAGIC, RawCommitHeader, RawHeader},
    superblock::{Checksums, Sequence},
    tags::Form,
};
use rumpuser::Timespec;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A parsed commit block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit {
    /// When the transaction was committed.
    pub(crate) time: Timespec,
    /// Whether its checksum holds.
    pub(crate) holds: bool,
}

impl Form {
    /// Reads a commit block. `crc32` is the CRC-32 of the transaction's blocks, for checksum version 1; without it the checksum
    /// of that version is not checked.
    pub(crate) fn parse_commit(self, block: &[u8], crc32: Option<u32>) -> Option<Commit> {
        let (raw, _) = RawCommitHeader::read_from_prefix(block).ok()?;
        let found = raw.h_chksum.first().map_or(0, |sum| sum.get());
        let holds = match self.checksums {
            Checksums::None => true,
            Checksums::V1 => {
                let unused = (raw.h_chksum_type, raw.h_chksum_size, found) == (0, 0, 0);
                let kind = (raw.h_chksum_type, raw.h_chksum_size) == (CHECKSUM_CRC32, 4);
                unused || crc32.is_none() || (kind && crc32 == Some(found))
            }
            Checksums::V2 | Checksums::V3 => {
                // A medium whose sectors are smaller than a block may have torn the write behind the header, where
                // nothing but zeros belongs: the header decides.
                let rest = self.block_len.saturating_sub(size_of::<RawCommitHeader>());
                self.commit_checksum(raw, |crc| crc32c_zeros(crc, rest)) == found
            }
        };
        let time = Timespec {
            sec: i64::try_from(raw.h_commit_sec.get()).unwrap_or(i64::MAX),
            nsec: raw.h_commit_nsec.get().min(999_999_999),
        };
        Some(Commit { time, holds })
    }

    /// Fills a zeroed block with the commit block of a transaction. `crc32` as for [`parse_commit`](Self::parse_commit).
    pub(crate) fn write_commit(
        self,
        sequence: Sequence,
        time: Timespec,
        crc32: u32,
        block: &mut [u8],
    ) {
        let mut raw = RawCommitHeader::new_zeroed();
        raw.h_header = header(COMMIT_BLOCK, sequence);
        raw.h_commit_sec.set(u64::try_from(time.sec).unwrap_or(0));
        raw.h_commit_nsec.set(time.nsec);
        let sum = match self.checksums {
            Checksums::None => 0,
            Checksums::V1 => {
                raw.h_chksum_type = CHECKSUM_CRC32;
                raw.h_chksum_size = 4;
                crc32
            }
            Checksums::V2 | Checksums::V3 => {
                let rest = self.block_len.saturating_sub(size_of::<RawCommitHeader>());
                self.commit_checksum(raw, |crc| crc32c_zeros(crc, rest))
            }
        };
        if let Some(first) = raw.h_chksum.first_mut() {
            first.set(sum);
        }
        // A block has room for the 60 bytes.
        let _ = raw.write_to_prefix(block);
    }

    fn commit_checksum(self, mut raw: RawCommitHeader, rest: impl Fn(u32) -> u32) -> u32 {
        if let Some(first) = raw.h_chksum.first_mut() {
            first.set(0);
        }
        rest(crc32c(self.seed, raw.as_bytes()))
    }
}

/// The header of a block of the log.
pub(crate) fn header(kind: u32, sequence: Sequence) -> RawHeader {
    RawHeader {
        h_magic: MAGIC.into(),
        h_blocktype: kind.into(),
        h_sequence: sequence.0.into(),
    }
}

fn crc32c_zeros(mut crc: u32, mut len: usize) -> u32 {
    const ZEROS: [u8; 256] = [0; 256];
    while let Some(part) = ZEROS
        .get(..len.min(ZEROS.len()))
        .filter(|part| !part.is_empty())
    {
        crc = crc32c(crc, part);
        len = len.saturating_sub(part.len());
    }
    crc
}
