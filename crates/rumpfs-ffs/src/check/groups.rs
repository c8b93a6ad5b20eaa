//! Phase 5: cylinder groups: their counts and maps against what phase 1 found.

use super::{Checker, Error, Finding, Phase, What, expected::Expected};
use crate::{
    cg::{Group, Tables, bit},
    error::{Error as FormatError, Place},
    layout::RawGroup,
    superblock::{Free, Superblock},
    types::{Version, index, number},
};
use alloc::vec::Vec;
use core::{mem::offset_of, ops::Range};
use zerocopy::LittleEndian;

/// Bytes of an entry of the summary.
const SUMMARY_ENTRY: u64 = 16;

impl Checker<'_> {
    /// Says what is free.
    pub(super) fn groups(&mut self) -> Result<Free, Error> {
        let groups = self.reader.groups();
        let (mut free, mut directories) = (Free::default(), 0_u64);
        for group in 0..groups {
            self.tell.progress(group.into(), groups.into())?;
            let expected = Expected::of(&self.reader, &self.maps, group)?;
            let all = &expected.free;
            free = Free {
                blocks: free.blocks.saturating_add(all.blocks),
                frags: free.frags.saturating_add(all.frags),
                inodes: free.inodes.saturating_add(all.inodes),
            };
            directories = directories.saturating_add(expected.directories);
            let whole = u64::from(self.reader.superblock.group_frags(group));
            // What a device that is cut off has of its last group tells nothing.
            if self.reader.group_frags(group) == whole {
                self.group(group, &expected);
                self.summary(group, &expected);
            }
        }
        if self.reader.end == self.reader.superblock.size {
            self.totals(directories, free);
        }
        Ok(free)
    }

    fn in_group(group: u32, what: What) -> Finding {
        Finding::new(Phase::Groups, what).group(group)
    }

    fn group(&mut self, number: u32, expected: &Expected) {
        let bytes = match self.reader.group_bytes(number) {
            Ok(bytes) => bytes,
            Err(errno) => {
                let finding = Self::in_group(number, What::Unreadable).detail(errno.text());
                return self.tell.finding(&finding);
            }
        };
        match Group::parse(&self.reader.superblock, number, &bytes) {
            Ok(group) => {
                self.fields(&group, &bytes);
                self.counts(&group, expected);
                self.maps_of(&group, expected, &bytes);
                self.sums(&group, expected, &bytes);
                self.rotational(&group, expected, &bytes);
            }
            Err(FormatError::Value {
                place: Place::Group(_),
                field,
                found,
                ..
            }) => {
                let finding = Self::in_group(number, What::Group).detail(field);
                self.tell.finding(&finding.found(found));
            }
            Err(_) => self.tell.finding(&Self::in_group(number, What::Group)),
        }
    }

    fn told(&mut self, group: u32, what: What, told: &[(&'static str, u64, u64)]) {
        for (field, found, expected) in told {
            if found != expected {
                let finding = Self::in_group(group, what).detail(field);
                self.tell.finding(&finding.values(*found, *expected));
            }
        }
    }

    /// Fields that follow from the superblock.
    fn fields(&mut self, group: &Group, bytes: &[u8]) {
        let superblock = &self.reader.superblock;
        let frags = u64::from(superblock.group_frags(group.number));
        let blocks = frags.wrapping_shr(superblock.ratio_bits());
        let has_clusters = superblock.cluster_runs > 0 && !group.ancient;
        let inopb = superblock
            .block_size()
            .wrapping_shr(superblock.version.inode_bits());
        let uneven = u64::from(group.initialised)
            .checked_rem(inopb)
            .filter(|_| group.initialised != group.inodes);
        let mut told = Vec::from([
            ("ndblk", u64::from(group.frags), frags),
            (
                "niblk",
                group.inodes.into(),
                superblock.inodes_per_group.into(),
            ),
            ("initediblk, of whole blocks", uneven.unwrap_or(0), 0),
        ]);
        if superblock.version == Version::Ufs1 && !group.ancient {
            // Of the number of inodes it has 16 bits.
            let short = bytes.get(offset_of!(RawGroup<LittleEndian>, old_niblk)..);
            let short = short.and_then(|rest| superblock.order.u16(rest));
            told.push((
                "old_niblk",
                short.unwrap_or(0).into(),
                u64::from(superblock.inodes_per_group) & 0xFFFF,
            ));
        }
        if has_clusters {
            told.push(("nclusterblks", group.clusters.into(), blocks));
        }
        if !group.ancient {
            told.extend(offsets(&group.tables, &Tables::of(superblock)));
        }
        self.told(group.number, What::GroupField, &told);
        self.rotors(group);
    }

    /// Where the next search begins.
    fn rotors(&mut self, group: &Group) {
        let rotors = [
            ("rotor", group.frags),
            ("frotor", group.frags),
            ("irotor", group.inodes),
        ];
        for ((field, most), found) in rotors.into_iter().zip(group.rotors) {
            // One that points behind the last is where the search began over.
            if found > most {
                let finding = Self::in_group(group.number, What::GroupField).detail(field);
                self.tell.finding(&finding.values(found.into(), 0));
            }
        }
    }

    fn counts(&mut self, group: &Group, expected: &Expected) {
        let told = counts(
            [
                group.directories.into(),
                group.free.blocks,
                group.free.inodes,
                group.free.frags,
            ],
            expected,
        );
        self.told(group.number, What::GroupCounts, &told);
    }

    fn maps_of(&mut self, group: &Group, expected: &Expected, bytes: &[u8]) {
        let table = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let inodes = table(&group.tables.inodes);
        let count = u64::from(self.reader.superblock.inodes_per_group);
        let base = u64::from(group.number).saturating_mul(count);
        let [used, free] = differences(inodes, &expected.inodes, count);
        for (what, (first, count)) in [(What::InodeMapUsed, used), (What::InodeMapFree, free)] {
            if count > 0 {
                let finding = Self::in_group(group.number, what).ino(base.saturating_add(first));
                self.tell
                    .finding(&finding.detail("number of them").found(count));
            }
        }
        let frags = table(&group.tables.frags);
        let count = u64::from(self.reader.superblock.frags_per_group);
        let base = self.reader.superblock.group_base(group.number);
        let [free, used] = differences(frags, &expected.frags, count);
        for (what, (first, count)) in [(What::FragMapFree, free), (What::FragMapUsed, used)] {
            if count > 0 {
                let finding = Self::in_group(group.number, what).block(base.saturating_add(first));
                self.tell
                    .finding(&finding.detail("number of them").found(count));
            }
        }
        if group.tables.clusters.is_empty() {
            return;
        }
        let clusters = table(&group.tables.clusters);
        let ratio_bits = self.reader.superblock.ratio_bits();
        let count = count.wrapping_shr(ratio_bits);
        let [more, fewer] = differences(clusters, &expected.clusters, count);
        for (detail, (first, count)) in [("marked free", more), ("missing", fewer)] {
            if count > 0 {
                let first = base.saturating_add(first.wrapping_shl(ratio_bits));
                let finding = Self::in_group(group.number, What::ClusterMap).block(first);
                self.tell.finding(&finding.detail(detail).found(count));
            }
        }
    }

    fn sums(&mut self, group: &Group, expected: &Expected, bytes: &[u8]) {
        let pairs = (0_u64..).zip(group.frag_runs.into_iter().zip(expected.frag_runs));
        for (length, (found, expected)) in pairs {
            // Nobody counts runs of no length.
            if found != expected && length > 0 {
                let finding = Self::in_group(group.number, What::FragSums)
                    .detail(LENGTHS.get(index(length)).copied().unwrap_or(""));
                self.tell
                    .finding(&finding.values(found.into(), expected.into()));
            }
        }
        if group.tables.cluster_sums.is_empty() {
            return;
        }
        let sums = bytes.get(group.tables.cluster_sums.clone());
        let order = self.reader.superblock.order;
        let sums = sums.unwrap_or_default().chunks_exact(4);
        let pairs = sums.zip(&expected.cluster_sums).enumerate().skip(1);
        for (length, (found, expected)) in pairs {
            let found = order.u32(found).unwrap_or(0);
            if found != *expected {
                let finding = Self::in_group(group.number, What::ClusterSums)
                    .detail(LENGTHS.get(length).copied().unwrap_or(""));
                self.tell
                    .finding(&finding.values(found.into(), u64::from(*expected)));
            }
        }
    }

    /// The tables that are kept up to date in UFS1's old layout only.
    fn rotational(&mut self, group: &Group, expected: &Expected, bytes: &[u8]) {
        let superblock = &self.reader.superblock;
        let Some(disk) = &superblock.disk else {
            return;
        };
        let order = superblock.order;
        let cylinders = superblock.cylinders;
        let ratio_bits = superblock.ratio_bits();
        let (totals, positions) = expected.rotational(disk, cylinders, &group.tables, ratio_bits);
        let table = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let found = table(&group.tables.cylinders).chunks_exact(4);
        let same = found
            .map(|bytes| order.u32(bytes).unwrap_or(0))
            .zip(totals)
            .all(|(found, expected)| found == expected);
        let found = table(&group.tables.positions).chunks_exact(2);
        let same_positions = found
            .map(|bytes| order.u16(bytes).unwrap_or(0))
            .zip(positions)
            .all(|(found, expected)| found == expected);
        for (same, detail) in [
            (same, "by cylinder"),
            (same_positions, "by rotational position"),
        ] {
            if !same {
                let finding = Self::in_group(group.number, What::Rotational);
                self.tell.finding(&finding.detail(detail));
            }
        }
    }

    /// The entry of a group in the summary.
    fn summary(&mut self, group: u32, expected: &Expected) {
        let superblock = &self.reader.superblock;
        let offset = u64::from(group).saturating_mul(SUMMARY_ENTRY);
        if offset >= superblock.summary_bytes.into() {
            return;
        }
        let byte = superblock
            .summary
            .saturating_mul(superblock.frag_size())
            .saturating_add(offset);
        let Ok(bytes) = self.reader.bytes(byte, index(SUMMARY_ENTRY)) else {
            let finding = Self::in_group(group, What::Unreadable).detail("summary");
            return self.tell.finding(&finding);
        };
        let order = superblock.order;
        let mut numbers = bytes
            .chunks_exact(4)
            .map(|bytes| u64::from(order.u32(bytes).unwrap_or(0)));
        let found = [(); 4].map(|()| numbers.next().unwrap_or(0));
        let told = counts(found, expected);
        self.told(group, What::Summary, &told);
    }

    fn totals(&mut self, directories: u64, free: Free) {
        let superblock: &Superblock = &self.reader.superblock;
        let own = superblock.free;
        // The totals of UFS1's old layout are not kept up to date in the new one.
        let told = [
            ("directories", superblock.directories, directories),
            ("free blocks", own.blocks, free.blocks),
            ("free inodes", own.inodes, free.inodes),
            ("free fragments", own.frags, free.frags),
        ];
        for (field, found, expected) in told {
            if found != expected {
                let finding = Finding::new(Phase::Groups, What::Total).detail(field);
                self.tell.finding(&finding.values(found, expected));
            }
        }
    }
}

/// What a run has by its length.
const LENGTHS: [&str; 17] = [
    "",
    "runs of 1",
    "runs of 2",
    "runs of 3",
    "runs of 4",
    "runs of 5",
    "runs of 6",
    "runs of 7",
    "runs of 8",
    "runs of 9",
    "runs of 10",
    "runs of 11",
    "runs of 12",
    "runs of 13",
    "runs of 14",
    "runs of 15",
    "runs of 16",
];

fn counts(found: [u64; 4], expected: &Expected) -> [(&'static str, u64, u64); 4] {
    let [directories, blocks, inodes, frags] = found;
    [
        ("directories", directories, expected.directories),
        ("free blocks", blocks, expected.free.blocks),
        ("free inodes", inodes, expected.free.inodes),
        ("free fragments", frags, expected.free.frags),
    ]
}

/// The first bit, and how many, that are set but should not be; and those that should be set.
fn differences(found: &[u8], expected: &[u8], bits: u64) -> [(u64, u64); 2] {
    let (mut more, mut fewer) = ((0, 0_u64), (0, 0_u64));
    let note = |all: &mut (u64, u64), at: u64| {
        if all.1 == 0 {
            all.0 = at;
        }
        all.1 = all.1.saturating_add(1);
    };
    for byte in 0..index(bits.div_ceil(8)) {
        let of = |map: &[u8]| map.get(byte).copied().unwrap_or(0);
        if of(found) == of(expected) {
            continue;
        }
        let first = number(byte).wrapping_shl(3);
        for at in first..first.saturating_add(8).min(bits) {
            match (bit(found, at), bit(expected, at)) {
                (true, false) => note(&mut more, at),
                (false, true) => note(&mut fewer, at),
                _ => {}
            }
        }
    }
    [more, fewer]
}

/// Where the tables of a group are and where they should be, with the names of the fields.
fn offsets(found: &Tables, made: &Tables) -> Vec<(&'static str, u64, u64)> {
    let starts = [
        ("iusedoff", &found.inodes, &made.inodes),
        ("freeoff", &found.frags, &made.frags),
        ("clustersumoff", &found.cluster_sums, &made.cluster_sums),
        ("clusteroff", &found.clusters, &made.clusters),
        ("old_btotoff", &found.cylinders, &made.cylinders),
        ("old_boff", &found.positions, &made.positions),
    ];
    let end = ("nextfreeoff", number(found.end), number(made.end));
    starts
        .into_iter()
        // UFS2 has no cylinders: some formatters leave their offsets out.
        .filter(|(.., made)| !made.is_empty())
        .map(|(field, found, made)| (field, number(found.start), number(made.start)))
        .chain([end])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_maps_are_counted() {
        assert_eq!(differences(&[0b101], &[0b110], 8), [(0, 1), (1, 1)]);
        assert_eq!(differences(&[0, 0xF0], &[], 14), [(12, 2), (0, 0)]);
        assert_eq!(differences(&[7], &[7], 8), [(0, 0), (0, 0)]);
    }
}
