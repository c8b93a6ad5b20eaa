//! The tags of descriptor blocks ("Descriptor Block") and the blocks of revocation blocks ("Revocation Block").

use super::{
    checksum::crc32c,
    layout::{
        Incompat, RawHeader, RawRevokeHeader, RawTag, RawTag3, RawTail, TAG_LAST, TAG_SAME_UUID,
        TAG_UUID_SIZE,
    },
    superblock::{Checksums, Sequence, Superblock},
};
use zerocopy::{FromBytes, IntoBytes, big_endian::U32};

/// The form that blocks of a log have: it depends on the journal's features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) checksums: Checksums,
    pub(crate) bit64: bool,
    pub(crate) block_len: usize,
    pub(crate) seed: u32,
}

/// A tag: one data block of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Home of the block.
    pub(crate) block: u64,
    /// `TAG_*`.
    pub(crate) flags: u32,
    /// The stored checksum; 16 bits under version 2, 0 below.
    pub(crate) checksum: u32,
}

impl Form {
    pub(crate) fn new(superblock: &Superblock, block_len: usize) -> Self {
        Self {
            checksums: superblock.checksums(),
            bit64: superblock.incompat().contains(Incompat::BIT64),
            block_len,
            seed: superblock.seed(),
        }
    }

    /// Bytes at the end of descriptor and revocation blocks.
    fn tail_len(self) -> usize {
        if self.checksums.per_block() {
            size_of::<RawTail>()
        } else {
            0
        }
    }

    /// Where the tail begins.
    pub(crate) fn usable(self) -> usize {
        self.block_len.saturating_sub(self.tail_len())
    }

    /// Bytes in a tag without its UUID.
    pub(crate) fn tag_len(self) -> usize {
        match (self.checksums, self.bit64) {
            (Checksums::V3, _) => size_of::<RawTag3>(),
            // See `RawTag` for the two bytes of padding.
            (Checksums::V2, true) => 14,
            (Checksums::V2, false) => 10,
            (_, true) => 12,
            (_, false) => size_of::<RawTag>(),
        }
    }

    /// How many tags fit in a descriptor block.
    pub(crate) fn tags_per_block(self) -> usize {
        let space = self
            .usable()
            .saturating_sub(size_of::<RawHeader>())
            .saturating_sub(TAG_UUID_SIZE);
        space.checked_div(self.tag_len()).unwrap_or(1).max(1)
    }

    /// Bytes of a block number in a revocation block.
    pub(crate) fn revoke_len(self) -> usize {
        if self.bit64 { 8 } else { 4 }
    }

    /// How many block numbers fit in a revocation block.
    pub(crate) fn revokes_per_block(self) -> usize {
        let space = self.usable().saturating_sub(size_of::<RawRevokeHeader>());
        space.checked_div(self.revoke_len()).unwrap_or(1).max(1)
    }

    /// Whether the checksum at the end of a descriptor or revocation block holds; `true` when it has none.
    pub(crate) fn tail_holds(self, block: &[u8]) -> bool {
        if !self.checksums.per_block() {
            return true;
        }
        let Some((body, tail)) = block.split_at_checked(self.usable()) else {
            return false;
        };
        let Ok(tail) = RawTail::read_from_bytes(tail) else {
            return false;
        };
        tail.t_checksum.get() == self.tail_checksum(body)
    }

    /// Writes the checksum at the end of a descriptor or revocation block, if it has one.
    pub(crate) fn seal_tail(self, block: &mut [u8]) {
        if !self.checksums.per_block() {
            return;
        }
        if let Some((body, tail)) = block.split_at_mut_checked(self.usable()) {
            let sum = self.tail_checksum(body);
            tail.copy_from_slice(&sum.to_be_bytes());
        }
    }

    fn tail_checksum(self, body: &[u8]) -> u32 {
        crc32c(crc32c(self.seed, body), &[0; size_of::<RawTail>()])
    }

    /// The checksum of a data block, as stored in its tag; 0 when tags have none.
    pub(crate) fn data_checksum(self, sequence: Sequence, stored: &[u8]) -> u32 {
        let full = || crc32c(crc32c(self.seed, &sequence.0.to_be_bytes()), stored);
        match self.checksums {
            Checksums::None | Checksums::V1 => 0,
            Checksums::V2 => full() & 0xFFFF,
            Checksums::V3 => full(),
        }
    }

    /// The tag at the start of `bytes`, `None` when they are too few.
    fn parse(self, bytes: &[u8]) -> Option<Tag> {
        if bytes.len() < self.tag_len() {
            return None;
        }
        if self.checksums == Checksums::V3 {
            let (raw, _) = RawTag3::read_from_prefix(bytes).ok()?;
            let high = if self.bit64 {
                raw.t_blocknr_high.get()
            } else {
                0
            };
            let block = join(raw.t_blocknr.get(), high);
            return Some(Tag {
                block,
                flags: raw.t_flags.get(),
                checksum: raw.t_checksum.get(),
            });
        }
        let (raw, rest) = RawTag::read_from_prefix(bytes).ok()?;
        let high = if self.bit64 {
            U32::read_from_prefix(rest).ok()?.0.get()
        } else {
            0
        };
        let checksum = if self.checksums == Checksums::V2 {
            u32::from(raw.t_checksum.get())
        } else {
            0
        };
        Some(Tag {
            block: join(raw.t_blocknr.get(), high),
            flags: u32::from(raw.t_flags.get()),
            checksum,
        })
    }

    /// Writes a tag to the start of `bytes`, which has at least [`tag_len`](Self::tag_len) of them.
    fn write(self, tag: Tag, bytes: &mut [u8]) {
        let low = U32::new(u32::try_from(tag.block & 0xFFFF_FFFF).unwrap_or(0));
        let high = U32::new(u32::try_from(tag.block >> 32).unwrap_or(0));
        // The halves of a masked number always fit; a prefix that is too short cannot occur, see above.
        if self.checksums == Checksums::V3 {
            let raw = RawTag3 {
                t_blocknr: low,
                t_flags: tag.flags.into(),
                t_blocknr_high: high,
                t_checksum: tag.checksum.into(),
            };
            let _ = raw.write_to_prefix(bytes);
            return;
        }
        let raw = RawTag {
            t_blocknr: low,
            t_checksum: u16::try_from(tag.checksum & 0xFFFF).unwrap_or(0).into(),
            t_flags: u16::try_from(tag.flags & 0xFFFF).unwrap_or(0).into(),
        };
        let _ = raw.write_to_prefix(bytes);
        if self.bit64
            && let Some(rest) = bytes.get_mut(size_of::<RawTag>()..)
        {
            let _ = high.write_to_prefix(rest);
        }
    }

    /// Fills the space after the header of a zeroed descriptor block with tags, at most
    /// [`tags_per_block`](Self::tags_per_block) of them.
    pub(crate) fn write_tags(self, tags: &[Tag], uuid: &[u8; 16], block: &mut [u8]) {
        let mut at = size_of::<RawHeader>();
        for (i, tag) in tags.iter().enumerate() {
            let mut tag = *tag;
            if i > 0 {
                tag.flags |= TAG_SAME_UUID;
            }
            if i.saturating_add(1) == tags.len() {
                tag.flags |= TAG_LAST;
            }
            let Some(rest) = block.get_mut(at..) else {
                return;
            };
            self.write(tag, rest);
            at = at.saturating_add(self.tag_len());
            if i == 0 {
                let end = at.saturating_add(TAG_UUID_SIZE);
                if let Some(place) = block.get_mut(at..end) {
                    place.copy_from_slice(uuid);
                }
                at = end;
            }
        }
        self.seal_tail(block);
    }

    /// The tags of a descriptor block, in order. Ends at the last tag or where the block ends.
    pub(crate) fn tags(self, block: &[u8]) -> impl Iterator<Item = Tag> {
        let mut rest = block
            .get(size_of::<RawHeader>()..self.usable())
            .unwrap_or(&[]);
        core::iter::from_fn(move || {
            let tag = self.parse(rest)?;
            let uuid = if tag.flags & TAG_SAME_UUID == 0 {
                TAG_UUID_SIZE
            } else {
                0
            };
            rest = match tag.flags & TAG_LAST {
                0 => rest
                    .get(self.tag_len().saturating_add(uuid)..)
                    .unwrap_or(&[]),
                _ => &[],
            };
            Some(tag)
        })
    }

    /// The blocks that a revocation block revokes, `None` when `r_count` cannot be.
    pub(crate) fn revokes(self, block: &[u8]) -> Option<impl Iterator<Item = u64>> {
        let (header, _) = RawRevokeHeader::read_from_prefix(block).ok()?;
        let used = usize::try_from(header.r_count.get()).ok()?;
        if used > self.usable() {
            return None;
        }
        let entries = block.get(size_of::<RawRevokeHeader>()..used)?;
        Some(entries.chunks_exact(self.revoke_len()).map(|entry| {
            entry
                .iter()
                .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
        }))
    }

    /// Fills a zeroed block with a revocation block, at most [`revokes_per_block`](Self::revokes_per_block) entries.
    pub(crate) fn write_revokes(self, header: RawHeader, blocks: &[u64], out: &mut [u8]) {
        let start = size_of::<RawRevokeHeader>();
        let used = blocks
            .len()
            .saturating_mul(self.revoke_len())
            .saturating_add(start);
        let raw = RawRevokeHeader {
            r_header: header,
            r_count: u32::try_from(used).unwrap_or(0).into(),
        };
        let _ = raw.write_to_prefix(out);
        if let Some(entries) = out.get_mut(start..used) {
            for (entry, block) in entries.chunks_exact_mut(self.revoke_len()).zip(blocks) {
                let bytes = block.to_be_bytes();
                let low = bytes
                    .get(bytes.len().saturating_sub(entry.len())..)
                    .unwrap_or(&bytes);
                entry.copy_from_slice(low);
            }
        }
        self.seal_tail(out);
    }
}

fn join(low: u32, high: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    const ALL: [Checksums; 4] = [Checksums::None, Checksums::V1, Checksums::V2, Checksums::V3];

    fn forms() -> impl Iterator<Item = Form> {
        ALL.into_iter().flat_map(|checksums| {
            [false, true].map(|bit64| Form {
                checksums,
                bit64,
                block_len: 1024,
                seed: 0x1234_5678,
            })
        })
    }

    #[test]
    fn tags_come_back_in_every_form() {
        for form in forms() {
            let count = form.tags_per_block();
            let high = if form.bit64 { 0x7_0000_0000 } else { 0 };
            let tags: Vec<Tag> = (0..count as u64)
                .map(|i| Tag {
                    block: high + i * 3,
                    flags: 0,
                    checksum: if form.tail_len() == 0 { 0 } else { 7 },
                })
                .collect();
            let mut block = vec![0; 1024];
            form.write_tags(&tags, &[9; 16], &mut block);
            assert!(form.tail_holds(&block));
            let back: Vec<Tag> = form.tags(&block).collect();
            assert_eq!(back.len(), count);
            assert!(
                back.iter()
                    .zip(&tags)
                    .all(|(a, b)| (a.block, a.checksum) == (b.block, b.checksum))
            );
            if form.tail_len() > 0 {
                block[100] ^= 1;
                assert!(!form.tail_holds(&block));
            }
        }
    }

    #[test]
    fn revokes_come_back_in_every_form() {
        for form in forms() {
            let high = if form.bit64 { 0x7_0000_0000 } else { 0 };
            let blocks: Vec<u64> = (0..form.revokes_per_block() as u64)
                .map(|i| high + i)
                .collect();
            let mut block = vec![0; 1024];
            let header = RawHeader {
                h_magic: 1.into(),
                h_blocktype: 5.into(),
                h_sequence: 2.into(),
            };
            form.write_revokes(header, &blocks, &mut block);
            assert!(form.tail_holds(&block));
            assert_eq!(form.revokes(&block).unwrap().collect::<Vec<_>>(), blocks);
            block[12..16].copy_from_slice(&2000_u32.to_be_bytes());
            assert!(form.revokes(&block).is_none());
            block[12..16].copy_from_slice(&3_u32.to_be_bytes());
            assert!(form.revokes(&block).is_none());
        }
    }

    #[test]
    fn sizes_of_tags() {
        let sizes: Vec<usize> = forms().map(Form::tag_len).collect();
        assert_eq!(sizes, [8, 12, 8, 12, 10, 14, 16, 16]);
    }
}
