//! The superblock, field by field, and its copies.

use super::{Checker, Finding, Phase, What};
use crate::{
    cg::Tables,
    layout::{
        DIRECT, INDIRECT, POSTBL_42, RawSuperblock, SUPERBLOCK_LEN, journal_flag, journal_location,
        volume_flag,
    },
    superblock::{self, Maker, Superblock},
    types::{Order, Version, number, round_up},
};
use alloc::vec::Vec;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// Bits of `fs_flags` that have a meaning.
const KNOWN_FLAGS: u32 = (volume_flag::TRIM << 1) - 1;

/// A field, what is there and what should be.
type Told = (&'static str, u64, u64);

impl Checker<'_> {
    pub(super) fn volume(&mut self) {
        let at = self.reader.superblock.at;
        let Ok(bytes) = self.reader.bytes(at, SUPERBLOCK_LEN) else {
            let finding = Finding::new(Phase::Superblock, What::Unreadable);
            self.tell.finding(&finding.detail("superblock"));
            return;
        };
        match self.reader.superblock.order {
            Order::Little => self.superblock_fields::<LittleEndian>(&bytes),
            Order::Big => self.superblock_fields::<BigEndian>(&bytes),
        }
        let superblock = &self.reader.superblock;
        if self.reader.end < superblock.size {
            let finding = Finding::new(Phase::Superblock, What::PastDevice);
            let finding = finding.values(superblock.size, self.reader.end);
            self.tell.finding(&finding.detail("fragments"));
        }
        self.copies();
    }

    fn superblock_fields<O: ByteOrder>(&mut self, bytes: &[u8]) {
        let Ok(raw) = RawSuperblock::<O>::ref_from_bytes(bytes) else {
            return;
        };
        self.hidden = hidden(&self.reader.superblock, raw);
        self.snapshots = snapshots(&self.reader.superblock, raw);
        let superblock = &self.reader.superblock;
        let mut wrong = |(field, found, expected): Told| {
            let finding = Finding::new(Phase::Superblock, What::SuperblockField);
            self.tell
                .finding(&finding.detail(field).values(found, expected));
        };
        derived(superblock, raw)
            .into_iter()
            .flatten()
            .filter(|(_, found, expected)| found != expected)
            .for_each(&mut wrong);
        bounds(superblock, raw)
            .into_iter()
            .chain(journal(superblock, raw))
            .filter(|(_, found, least, most)| !(least..=most).contains(&found))
            .for_each(|(field, found, least, most)| {
                let nearest = if found < least { least } else { most };
                wrong((field, found, nearest));
            });
    }

    /// The copies in all groups: what says where everything is has to be the same.
    fn copies(&mut self) {
        for group in 0..self.reader.groups() {
            let superblock = &self.reader.superblock;
            let frag = superblock
                .group_start(group)
                .saturating_add(superblock.copy.into());
            let byte = frag.saturating_mul(superblock.frag_size());
            if byte.saturating_add(number(SUPERBLOCK_LEN))
                > self.reader.end.wrapping_shl(superblock.frag_bits)
            {
                continue;
            }
            let finding = Finding::new(Phase::Superblock, What::SuperblockCopy)
                .group(group)
                .block(frag);
            let field = match self.reader.bytes(byte, SUPERBLOCK_LEN) {
                Err(_) => Some("not read"),
                Ok(bytes) => match superblock::recognise_copy(byte, &bytes) {
                    None => Some("magic"),
                    Some(found) => match found.check() {
                        Err(crate::Error::Value { field, .. }) => Some(field),
                        Err(_) => Some("superblock"),
                        Ok(copy) => difference(superblock, &copy),
                    },
                },
            };
            if let Some(field) = field {
                self.tell.finding(&finding.detail(field));
            }
        }
    }
}

/// Inodes without a name: the journal, quota.
fn hidden<O: ByteOrder>(superblock: &Superblock, raw: &RawSuperblock<O>) -> [u64; 3] {
    let [user, group] = raw.quotafile.map(|n| n.get());
    let journal = superblock.journal.map_or(0, |place| place.inode);
    if superblock.quota {
        [user, group, journal]
    } else {
        [0, 0, journal]
    }
}

/// Inodes that are listed as snapshots.
fn snapshots<O: ByteOrder>(superblock: &Superblock, raw: &RawSuperblock<O>) -> Vec<u64> {
    let listed = raw.snapinum.iter().map(|ino| u64::from(ino.get()));
    let listed = listed.filter(|ino| *ino != 0 && superblock.has_snapshots);
    listed.collect()
}

/// Fields that follow from others.
fn derived<O: ByteOrder>(superblock: &Superblock, raw: &RawSuperblock<O>) -> [Option<Told>; 14] {
    let (block, frag) = (superblock.block_size(), superblock.frag_size());
    let signed = |n: i32| u64::from(n.cast_unsigned());
    let mask = |size: u64| u64::from(u32::try_from(size).unwrap_or(0).wrapping_neg());
    let wide = |n: i64| n.cast_unsigned();
    let per_group = u64::from(superblock.frags_per_group).max(1);
    let ratio = 1_u64.wrapping_shl(superblock.ratio_bits());
    let summary = round_up(
        u64::from(superblock.groups).saturating_mul(16),
        superblock.frag_bits,
    );
    let inopb = u64::from(raw.inopb.get()).max(1);
    let inodes = u64::from(superblock.inodes_per_group);
    let inode_frags = inodes.div_ceil(inopb).saturating_mul(ratio);
    let old_format = superblock.old_inodes;
    let ufs1 = superblock.version == Version::Ufs1;
    let modern = superblock.disk.is_none() && ufs1;
    [
        Some(("bmask", signed(raw.bmask.get()), mask(block))),
        Some(("fmask", signed(raw.fmask.get()), mask(frag))),
        (!old_format).then(|| ("qbmask", wide(raw.qbmask.get()), block.wrapping_sub(1))),
        (!old_format).then(|| ("qfmask", wide(raw.qfmask.get()), frag.wrapping_sub(1))),
        (!old_format).then(|| {
            let room = number(superblock.version.inline_room());
            ("maxsymlinklen", number(superblock.inline_link), room)
        }),
        (!old_format).then(|| {
            let largest = largest_file(superblock);
            ("maxfilesize", raw.maxfilesize.get(), largest)
        }),
        Some((
            "ncg",
            superblock.groups.into(),
            superblock.size.div_ceil(per_group),
        )),
        Some(("cssize", superblock.summary_bytes.into(), summary)),
        Some(("ipg", inodes, inodes.div_ceil(inopb).saturating_mul(inopb))),
        Some((
            "fpg",
            per_group,
            per_group.div_ceil(ratio).saturating_mul(ratio),
        )),
        Some((
            "dblkno",
            superblock.data_start.into(),
            u64::from(superblock.inode_table).saturating_add(inode_frags),
        )),
        modern.then(|| ("old_size", raw.old_size.get().into(), superblock.size)),
        modern.then(|| {
            (
                "old_dsize",
                raw.old_dsize.get().into(),
                superblock.data_size,
            )
        }),
        modern.then(|| {
            (
                "old_csaddr",
                raw.old_csaddr.get().into(),
                superblock.summary,
            )
        }),
    ]
}

/// Bytes that a file can have by its pointers.
fn largest_file(superblock: &Superblock) -> u64 {
    let pointers = 1_u64.wrapping_shl(superblock.pointers_bits());
    let levels = (1..=number(INDIRECT)).fold((0_u64, 1_u64), |(all, span), _| {
        let span = span.saturating_mul(pointers);
        (all.saturating_add(span), span)
    });
    let blocks = levels.0.saturating_add(number(DIRECT));
    blocks
        .saturating_mul(superblock.block_size())
        .saturating_sub(1)
}

/// What tells where the journal is.
fn journal<O: ByteOrder>(
    superblock: &Superblock,
    raw: &RawSuperblock<O>,
) -> Vec<(&'static str, u64, u64, u64)> {
    // FreeBSD has other things there, the old layout anything.
    if superblock.disk.is_some() || superblock.maker == Maker::FreeBsd {
        return Vec::new();
    }
    let flags = journal_flag::CREATE | journal_flag::CLEAR;
    let mut told = Vec::from([
        ("journal_version", raw.journal_version.into(), 0, 1),
        (
            "journal_location",
            raw.journal_location.into(),
            0,
            journal_location::INSIDE.into(),
        ),
        (
            "journal_flags",
            u64::from(raw.journal_flags.get() & !flags),
            0,
            0,
        ),
        ("flags", u64::from(raw.flags.get() & !KNOWN_FLAGS), 0, 0),
    ]);
    let Some(place) = superblock.journal.filter(|place| place.count != 0) else {
        return told;
    };
    let start = place.start.saturating_mul(place.block_size);
    let end = start.saturating_add(place.count.saturating_mul(place.block_size));
    let bytes = superblock.bytes();
    told.push(match place.location {
        journal_location::BEHIND => ("journal's place", start, bytes, u64::MAX),
        _ => ("journal's place", end, 0, bytes),
    });
    told
}

/// Fields with bounds: the least and the most.
fn bounds<O: ByteOrder>(
    superblock: &Superblock,
    raw: &RawSuperblock<O>,
) -> [(&'static str, u64, u64, u64); 13] {
    let maps = number(Tables::of(superblock).end);
    let per_group = u64::from(superblock.frags_per_group);
    let table = u64::from(superblock.inode_table);
    let block = superblock.block_size();
    let signed = |n: i32| u64::from(n.cast_unsigned());
    let log_sectors = u64::from(superblock.frag_bits.saturating_sub(9));
    let metadata = u64::from(superblock.data_start);
    // UFS2 knows no disks that turn, 4.2BSD no other order of their sectors.
    let turns = superblock.version == Version::Ufs1 && raw.old_postblformat.get() != POSTBL_42;
    let turns = u64::from(turns);
    let most = u64::from(u32::MAX);
    [
        (
            "sblkno",
            superblock.copy.into(),
            0,
            superblock.group_block.into(),
        ),
        (
            "cblkno",
            superblock.group_block.into(),
            1,
            table.saturating_sub(1),
        ),
        ("dblkno", metadata, table.saturating_add(1), per_group),
        (
            "cgsize",
            superblock.group_bytes.into(),
            maps.min(block),
            block,
        ),
        (
            "csaddr",
            superblock.summary,
            metadata.min(superblock.size),
            superblock.size,
        ),
        ("minfree", raw.minfree.get().into(), 0, 99),
        (
            "old_interleave",
            signed(raw.old_interleave.get()),
            turns,
            most,
        ),
        (
            "old_npsect",
            signed(raw.old_npsect.get()),
            turns.saturating_mul(signed(raw.old_nsect.get())),
            most,
        ),
        ("optim", signed(raw.optim.get()), 0, 1),
        ("fsbtodb", raw.fsbtodb.get().into(), 0, log_sectors),
        ("dsize", superblock.data_size, 1, superblock.size),
        ("clean", superblock.clean.into(), 0, 2),
        (
            "contigsumsize",
            signed(raw.contigsumsize.get()),
            0,
            crate::layout::CLUSTER_RUNS_MAX.into(),
        ),
    ]
}

/// The first field that a copy has otherwise.
fn difference(superblock: &Superblock, copy: &Superblock) -> Option<&'static str> {
    let fields = |s: &Superblock| {
        [
            ("bsize", s.block_size()),
            ("fsize", s.frag_size()),
            ("ncg", s.groups.into()),
            ("ipg", s.inodes_per_group.into()),
            ("fpg", s.frags_per_group.into()),
            ("sblkno", s.copy.into()),
            ("cblkno", s.group_block.into()),
            ("iblkno", s.inode_table.into()),
            ("dblkno", s.data_start.into()),
            ("cgsize", s.group_bytes.into()),
            ("size", s.size),
            ("csaddr", s.summary),
            ("cssize", s.summary_bytes.into()),
            ("cgoffset", s.stagger.0.into()),
            ("cgmask", s.stagger.1.into()),
            ("magic", u64::from(s.version == Version::Ufs2)),
            ("byte order", u64::from(s.order == Order::Big)),
        ]
    };
    let pairs = fields(superblock).into_iter().zip(fields(copy));
    let mut different = pairs.filter(|((_, own), (_, copied))| own != copied);
    different.next().map(|((field, _), _)| field)
}
