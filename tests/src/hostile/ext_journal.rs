//! The journal of an ext3 or ext4 image: its blocks, the structures in the copies that it has of other blocks, and the operations
//! of its fast commits.

use super::{
    ext_map::{Mapper, le16, le32, store},
    map::{Field, Fix, Seal, Structure, fields},
};
use rumpfs_ext2fs::{
    checksum::{CRC32C_START, crc32c},
    journal::layout::{
        COMMIT_BLOCK, DESCRIPTOR_BLOCK, Incompat, MAGIC_BYTES, REVOKE_BLOCK, RawCommitHeader,
        RawFcTl, RawHeader, RawRevokeHeader, RawSuperblock, RawTag, RawTag3, TAG_LAST,
        TAG_SAME_UUID, fc_tag,
    },
    map::Mapping,
    types::FileBlock,
};
use rumpuser::BlockDevice as _;
use std::{collections::BTreeMap, sync::Arc};

/// So many blocks of the log are looked at.
const BLOCKS_MAX: u32 = 2048;

const SUPERBLOCK: &[Field] = fields!(big RawSuperblock:
    s_header, s_blocksize, s_maxlen, s_first, s_sequence, s_start, s_errno, s_feature_compat, s_feature_incompat,
    s_feature_ro_compat, s_uuid, s_nr_users, s_checksum_type, s_num_fc_blocks, s_head, s_checksum);
const HEADER: &[Field] = fields!(big RawHeader: h_magic, h_blocktype, h_sequence);
const TAG3: &[Field] = fields!(big RawTag3: t_blocknr, t_flags, t_blocknr_high, t_checksum);
const TAG: &[Field] = fields!(big RawTag: t_blocknr, t_checksum, t_flags);
const REVOKE: &[Field] = fields!(big RawRevokeHeader: r_count);
const COMMIT: &[Field] =
    fields!(big RawCommitHeader: h_chksum_type, h_chksum_size, h_chksum, h_commit_sec);
const REVOKED: &[Field] = &[Field {
    name: "block",
    at: 0,
    len: 4,
    big: true,
}];
const REVOKED_64: &[Field] = &[Field {
    name: "block",
    at: 0,
    len: 8,
    big: true,
}];
const FAST_COMMIT: &[Field] = fields!(RawFcTl: fc_tag, fc_len);
/// The values of most operations begin with numbers of 4 bytes.
const FAST_COMMIT_VALUE: &[Field] = &[
    Field {
        name: "first",
        at: 0,
        len: 4,
        big: false,
    },
    Field {
        name: "second",
        at: 4,
        len: 4,
        big: false,
    },
    Field {
        name: "third",
        at: 8,
        len: 2,
        big: false,
    },
    Field {
        name: "third, whole",
        at: 8,
        len: 4,
        big: false,
    },
];

fn be32(bytes: &[u8], at: usize) -> u32 {
    le32(bytes, at).swap_bytes()
}

/// What a log looks like.
#[derive(Clone, Copy)]
struct Form {
    v3: bool,
    v2: bool,
    bit64: bool,
    seed: u32,
}

impl Form {
    fn sealed(self) -> bool {
        self.v2 || self.v3
    }

    fn tag_len(self) -> usize {
        match (self.v3, self.v2, self.bit64) {
            (true, ..) => 16,
            (_, true, true) => 14,
            (_, true, false) => 10,
            (_, _, true) => 12,
            _ => 8,
        }
    }
}

/// Finds the structures of the journal, if there is one.
pub(super) fn journal(mapper: &mut Mapper<'_>) {
    let Some(inode) = mapper.sb.journal.and_then(|ino| mapper.fs.inode(ino).ok()) else {
        return;
    };
    let block = mapper.block();
    let mut places = vec![];
    for n in 0..(inode.size / block).min(1 << 20) as u32 {
        match mapper.fs.map(&inode, FileBlock(n), 1) {
            Ok(Mapping::OnDisk { block: at, .. }) => places.push(at.0 * block),
            _ => return,
        }
    }
    let Some(&first) = places.first() else { return };
    let raw = mapper.bytes(first, 1024);
    let incompat = Incompat::from_bits_retain(be32(&raw, 0x28));
    let form = Form {
        v3: incompat.contains(Incompat::CSUM_V3),
        v2: incompat.contains(Incompat::CSUM_V2),
        bit64: incompat.contains(Incompat::BIT64),
        seed: crc32c(CRC32C_START, &raw[0x30..0x40]),
    };
    let fix: Fix = Arc::new(|bytes, _| {
        store(bytes, 0xFC, &[0; 4]);
        let sum = crc32c(CRC32C_START, bytes);
        store(bytes, 0xFC, &sum.to_be_bytes());
    });
    let seal = form.sealed().then(|| seal(first, 1024, fix, None));
    mapper.push("journal superblock", first, 1024, SUPERBLOCK, seal.as_ref());
    let mut log = Log {
        mapper,
        form,
        places: &places,
        homes: BTreeMap::new(),
    };
    let fast = if incompat.contains(Incompat::FAST_COMMIT) {
        (be32(&raw, 0x54) as usize).min(places.len())
    } else {
        0
    };
    log.blocks();
    log.copies();
    // jbd2 leaves the first block of the area unused.
    let begin = places.len() - fast.saturating_sub(1);
    log.fast_commits(&places[begin.min(places.len())..]);
}

fn seal(at: u64, len: usize, fix: Fix, then: Option<&Arc<Seal>>) -> Arc<Seal> {
    Arc::new(Seal {
        at,
        len,
        fix,
        then: then.cloned(),
    })
}

struct Log<'a, 'b> {
    mapper: &'a mut Mapper<'b>,
    form: Form,
    places: &'a [u64],
    /// Of each home, in bytes: its last copy in the log, and the checksum over that.
    homes: BTreeMap<u64, (u64, Option<Arc<Seal>>)>,
}

impl Log<'_, '_> {
    fn blocks(&mut self) {
        let len = self.mapper.block() as usize;
        let mut n = 1;
        while n < self.places.len().min(BLOCKS_MAX as usize) {
            let at = self.places[n];
            let bytes = self.mapper.bytes(at, len);
            n += 1;
            if bytes[..4] != MAGIC_BYTES {
                continue;
            }
            let seal = self.tail(at, len);
            match be32(&bytes, 4) {
                DESCRIPTOR_BLOCK => {
                    self.mapper
                        .push("journal descriptor", at, 12, HEADER, seal.as_ref());
                    n += self.tags(at, &bytes, n, seal.as_ref());
                }
                REVOKE_BLOCK => self.revoked(at, &bytes, seal.as_ref()),
                COMMIT_BLOCK => self.commit(at, len),
                _ => {}
            }
        }
    }

    /// The checksum at the end of a descriptor or revocation block.
    fn tail(&self, at: u64, len: usize) -> Option<Arc<Seal>> {
        let seed = self.form.seed;
        let fix: Fix = Arc::new(move |bytes, _| {
            store(bytes, len - 4, &[0; 4]);
            let sum = crc32c(seed, bytes);
            store(bytes, len - 4, &sum.to_be_bytes());
        });
        self.form.sealed().then(|| seal(at, len, fix, None))
    }

    /// The tags of a descriptor block, whose blocks follow it in the log; how many there are.
    fn tags(&mut self, at: u64, bytes: &[u8], next: usize, block: Option<&Arc<Seal>>) -> usize {
        let (form, len) = (self.form, bytes.len());
        let (mut offset, mut count) = (12, 0);
        while offset + form.tag_len() + 4 <= len {
            let tag = &bytes[offset..];
            let (fields, flags) = if form.v3 {
                (TAG3, be32(tag, 4))
            } else {
                (TAG, u32::from(le16(tag, 6).swap_bytes()))
            };
            let place = at + offset as u64;
            self.mapper
                .push("journal tag", place, form.tag_len(), fields, block);
            if let Some(&copy) = self.places.get(next + count) {
                let high = if form.bit64 {
                    u64::from(be32(tag, 8))
                } else {
                    0
                };
                let home = (u64::from(be32(tag, 0)) | high << 32) * len as u64;
                let sequence = bytes[8..12].to_vec();
                let fix: Fix = Arc::new(move |tag, image| {
                    let mut data = vec![0; len];
                    if image.read_at(copy, &mut data).is_ok() {
                        let sum = crc32c(crc32c(form.seed, &sequence), &data);
                        if form.v3 {
                            store(tag, 12, &sum.to_be_bytes());
                        } else {
                            store(tag, 4, &sum.to_be_bytes()[2..]);
                        }
                    }
                });
                let over = form
                    .sealed()
                    .then(|| seal(place, form.tag_len(), fix, block));
                self.homes.insert(home, (copy, over));
            }
            count += 1;
            offset += form.tag_len() + if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        count
    }

    fn revoked(&mut self, at: u64, bytes: &[u8], seal: Option<&Arc<Seal>>) {
        self.mapper.push("journal revocation", at, 12, HEADER, seal);
        self.mapper.push("journal revocation", at, 16, REVOKE, seal);
        let (size, fields) = if self.form.bit64 {
            (8, REVOKED_64)
        } else {
            (4, REVOKED)
        };
        let end = (be32(bytes, 12) as usize).min(bytes.len());
        for offset in (16..end).step_by(size).take(20) {
            self.mapper.push(
                "journal revoked block",
                at + offset as u64,
                size,
                fields,
                seal,
            );
        }
    }

    fn commit(&mut self, at: u64, len: usize) {
        let seed = self.form.seed;
        let fix: Fix = Arc::new(move |bytes, _| {
            store(bytes, 16, &[0; 4]);
            let sum = crc32c(seed, bytes);
            store(bytes, 16, &sum.to_be_bytes());
        });
        let seal = self.form.sealed().then(|| seal(at, len, fix, None));
        self.mapper
            .push("journal commit", at, 12, HEADER, seal.as_ref());
        self.mapper
            .push("journal commit", at, 60, COMMIT, seal.as_ref());
    }

    /// Where the log has a copy of a structure, that one counts: each is broken there as well.
    fn copies(&mut self) {
        let block = self.mapper.block();
        let mut copies = vec![];
        for structure in &self.mapper.structures {
            let home = structure.at - structure.at % block;
            let Some((copy, over)) = self.homes.get(&home) else {
                continue;
            };
            let moved = |at: u64| *copy + (at - home);
            let own = structure
                .seal
                .as_ref()
                .filter(|own| own.at >= home && own.at + own.len as u64 <= home + block);
            let moved_seal = match own {
                Some(own) => Some(seal(moved(own.at), own.len, own.fix.clone(), over.as_ref())),
                None => over.clone(),
            };
            copies.push(Structure {
                at: moved(structure.at),
                seal: moved_seal,
                ..structure.clone()
            });
        }
        self.mapper.structures.extend(copies);
    }

    /// The operations of the fast-commit area, each commit under the checksum in its tail.
    fn fast_commits(&mut self, places: &[u64]) {
        // Blocks of the area may lie anywhere; a checksum that crosses blocks is repaired where they follow each other.
        let len = self.mapper.block() as usize;
        let Some(&first) = places.first() else { return };
        let adjacent = (0..)
            .zip(places)
            .take_while(|(n, at)| **at == first + n * len as u64);
        let area = self.mapper.bytes(first, adjacent.count() * len);
        let (mut at, mut begin, mut open) = (0, 0, vec![]);
        while at + 4 <= area.len() {
            let (tag, size) = (le16(&area, at), usize::from(le16(&area, at + 2)));
            if tag == 0 || tag > fc_tag::HEAD || at + 4 + size > area.len() {
                break;
            }
            open.push((at, size));
            at += 4 + size;
            if tag != fc_tag::TAIL {
                continue;
            }
            let (value, (tail, _)) = (at - size, open[open.len() - 1]);
            // Up to the transaction's number, the first of the tail's value.
            let covered = tail + 8 - begin;
            let fix: Fix = Arc::new(move |bytes, _| {
                let sum = crc32c(0, &bytes[..covered]);
                store(bytes, covered, &sum.to_le_bytes());
            });
            let over = seal(first + begin as u64, value + 8 - begin, fix, None);
            for (op, size) in open.drain(..) {
                let place = first + op as u64;
                self.mapper
                    .push("fast commit", place, 4, FAST_COMMIT, Some(&over));
                if size >= 12 {
                    self.mapper.push(
                        "fast commit value",
                        place + 4,
                        size,
                        FAST_COMMIT_VALUE,
                        Some(&over),
                    );
                } else if size > 0 {
                    self.mapper
                        .push("fast commit value", place + 4, size, &[], Some(&over));
                }
                if size >= 132 {
                    // An inode, after its number.
                    self.mapper.push(
                        "fast commit inode",
                        place + 8,
                        128,
                        super::ext_map::INODE,
                        Some(&over),
                    );
                }
            }
            begin = at;
        }
    }
}
