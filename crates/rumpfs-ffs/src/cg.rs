//! Cylinder groups: each has a block of its own, with counts of what is free and maps of inodes, fragments and whole free blocks.
//!
//! The inode map has a bit set for what is in use, the other two for what is free; bit 0 of a byte is the first. A block is free
//! or in pieces: `frsum` counts the runs of free fragments in those in pieces. The blocks of 4.2BSD have their maps at fixed places.

use crate::{
    error::{Error, Place, Result},
    layout::{GROUP_LEN, GROUP_MAGIC, RawGroup},
    superblock::{Free, Superblock},
    types::{Order, Version, index, number},
};
use core::ops::Range;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// Where 4.2BSD has its magic number and its maps, in place of what was behind `frsum` later.
mod ancient {
    pub(super) const MAGIC: usize = 980;
    pub(super) const CYLINDERS: usize = 84;
    pub(super) const POSITIONS: usize = 212;
    pub(super) const POSITIONS_END: usize = 724;
    pub(super) const INODES: usize = 724;
    pub(super) const FRAGS: usize = 984;
}

/// Where the tables lie in a group's block. An empty range: it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// UFS1: free blocks by cylinder, 32 bits each.
    pub cylinders: Range<usize>,
    /// UFS1: free blocks by cylinder and rotational position, 16 bits each.
    pub positions: Range<usize>,
    /// A bit for each inode: in use.
    pub inodes: Range<usize>,
    /// A bit for each fragment: free.
    pub frags: Range<usize>,
    /// Numbers of runs of free blocks by length, 32 bits each, from length 0 on; that of the last length counts longer ones too.
    pub cluster_sums: Range<usize>,
    /// A bit for each block: free.
    pub clusters: Range<usize>,
    /// Bytes in use.
    pub end: usize,
}

impl Tables {
    /// Where newfs puts them.
    #[must_use]
    pub fn of(superblock: &Superblock) -> Self {
        let (cylinders, positions) = superblock.cylinders;
        let span = |start: usize, len: usize| start..start.saturating_add(len);
        let cylinder_bytes = index(u64::from(cylinders).saturating_mul(4));
        let positions = u64::from(cylinders).saturating_mul(positions.into());
        let cylinders = span(GROUP_LEN, cylinder_bytes);
        let positions = span(cylinders.end, index(positions.saturating_mul(2)));
        let inodes = span(positions.end, map_bytes(superblock.inodes_per_group));
        let frags = span(inodes.end, map_bytes(superblock.frags_per_group));
        let mut tables = Self {
            cylinders,
            positions,
            inodes,
            end: frags.end,
            frags,
            ..Self::default()
        };
        if superblock.cluster_runs > 0 {
            // Nobody counts runs of length 0: the table begins four bytes early.
            let start = tables
                .end
                .saturating_sub(4)
                .checked_next_multiple_of(4)
                .unwrap_or(usize::MAX);
            tables.cluster_sums = span(start, sums_bytes(superblock));
            let blocks = superblock
                .frags_per_group
                .wrapping_shr(superblock.ratio_bits());
            tables.clusters = span(tables.cluster_sums.end, map_bytes(blocks));
            tables.end = tables.clusters.end;
        }
        tables
    }
}

fn map_bytes(bits: u32) -> usize {
    index(u64::from(bits.div_ceil(8)))
}

fn sums_bytes(superblock: &Superblock) -> usize {
    let entries = u64::from(superblock.cluster_runs).saturating_add(1);
    index(entries.saturating_mul(4))
}

/// The numbers of a cylinder group, in the host's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub number: u32,
    /// Has the fixed places of 4.2BSD.
    pub ancient: bool,
    /// Fragments.
    pub frags: u32,
    /// Inodes.
    pub inodes: u32,
    /// Inodes that have been written to the table ever; all of them in UFS1.
    pub initialised: u32,
    /// Directories.
    pub directories: u32,
    /// What is free.
    pub free: Free,
    /// Where the last block, fragments and inode were taken.
    pub rotors: [u32; 3],
    /// Runs of free fragments in blocks in pieces, by length.
    pub frag_runs: [u32; 8],
    /// Blocks that the map of clusters has bits for.
    pub clusters: u32,
    /// Last change, in seconds since 1970.
    pub time: i64,
    /// Where its tables lie, within the group's bytes.
    pub tables: Tables,
}

impl Group {
    /// From the bytes of the group's block, of which `superblock.group_bytes` at least are there.
    ///
    /// # Errors
    /// [`Error::Value`]: no magic number, another group's number, tables that do not lie in the block or are too short. What counts
    /// and maps say is not checked.
    pub fn parse(superblock: &Superblock, group: u32, bytes: &[u8]) -> Result<Self> {
        match superblock.order {
            Order::Little => parse::<LittleEndian>(superblock, group, bytes),
            Order::Big => parse::<BigEndian>(superblock, group, bytes),
        }
    }

    /// Writes counts, rotors, the number of initialised inodes and the time to the group's bytes. What lies where does not change.
    ///
    /// # Errors
    /// [`Error::Value`] when `bytes` are too few.
    pub fn store(&self, superblock: &Superblock, bytes: &mut [u8]) -> Result<()> {
        match superblock.order {
            Order::Little => self.store_as::<LittleEndian>(superblock, bytes),
            Order::Big => self.store_as::<BigEndian>(superblock, bytes),
        }
    }

    fn store_as<O: ByteOrder>(&self, superblock: &Superblock, bytes: &mut [u8]) -> Result<()> {
        let len = number(bytes.len());
        let Ok((raw, _)) = RawGroup::<O>::mut_from_prefix(bytes) else {
            return Err(wrong(self.number, "length", len, "168 or more"));
        };
        let low = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let free = [self.free.blocks, self.free.inodes, self.free.frags].map(low);
        let [blocks, inodes, frags] = free;
        raw.cs = [self.directories, blocks, inodes, frags].map(Into::into);
        let [block, frag, inode] = self.rotors;
        raw.rotor.set(block);
        raw.frotor.set(frag);
        raw.irotor.set(inode);
        raw.frsum = self.frag_runs.map(Into::into);
        let seconds = i32::try_from(self.time).unwrap_or(i32::MAX);
        raw.old_time.set(seconds);
        if !self.ancient {
            raw.time.set(self.time);
        }
        if superblock.version == Version::Ufs2 {
            raw.initediblk.set(self.initialised);
        }
        Ok(())
    }
}

/// Whether bit `n` of a map is set; one behind its end is not.
#[must_use]
pub fn bit(map: &[u8], n: u64) -> bool {
    let byte = map.get(index(n.wrapping_shr(3))).copied().unwrap_or(0);
    byte & 1_u8.wrapping_shl(within_byte(n)) != 0
}

/// Sets or clears bit `n` of a map; one behind its end stays.
pub fn set_bit(map: &mut [u8], n: u64, to: bool) {
    if let Some(byte) = map.get_mut(index(n.wrapping_shr(3))) {
        let mask = 1_u8.wrapping_shl(within_byte(n));
        *byte = if to { *byte | mask } else { *byte & !mask };
    }
}

fn within_byte(n: u64) -> u32 {
    u32::try_from(n & 7).unwrap_or(0)
}

fn wrong(group: u32, field: &'static str, found: u64, expected: &'static str) -> Error {
    Error::value(Place::Group(group), field, found, expected)
}

fn parse<O: ByteOrder>(superblock: &Superblock, group: u32, bytes: &[u8]) -> Result<Group> {
    let bytes = bytes
        .get(..index(superblock.group_bytes.into()))
        .unwrap_or(bytes);
    let Ok((raw, _)) = RawGroup::<O>::ref_from_prefix(bytes) else {
        return Err(wrong(group, "length", number(bytes.len()), "168 or more"));
    };
    let ancient = raw.magic.get() != GROUP_MAGIC && is_ancient(superblock, bytes);
    if raw.magic.get() != GROUP_MAGIC && !ancient {
        return Err(wrong(group, "magic", raw.magic.get().into(), "0x90255"));
    }
    if raw.cgx.get() != group {
        return Err(wrong(group, "cgx", raw.cgx.get().into(), "its own number"));
    }
    let frags = raw.ndblk.get();
    if frags > superblock.group_frags(group) {
        return Err(wrong(group, "ndblk", frags.into(), "what the volume has"));
    }
    let (inodes, initialised) = match superblock.version {
        // Its own field has 16 bits only.
        Version::Ufs1 => (superblock.inodes_per_group, superblock.inodes_per_group),
        Version::Ufs2 => (raw.niblk.get(), raw.initediblk.get()),
    };
    if inodes > superblock.inodes_per_group {
        return Err(wrong(group, "niblk", inodes.into(), "ipg or less"));
    }
    if initialised > inodes {
        let found = initialised.into();
        return Err(wrong(group, "initediblk", found, "niblk or less"));
    }
    let [directories, blocks, free_inodes, free_frags] = raw.cs.map(|n| n.get());
    Ok(Group {
        number: group,
        ancient,
        frags,
        inodes,
        initialised,
        directories,
        free: Free {
            blocks: blocks.into(),
            frags: free_frags.into(),
            inodes: free_inodes.into(),
        },
        rotors: [raw.rotor.get(), raw.frotor.get(), raw.irotor.get()],
        frag_runs: raw.frsum.map(|n| n.get()),
        clusters: if ancient { 0 } else { raw.nclusterblks.get() },
        time: match (superblock.version, ancient) {
            (Version::Ufs2, _) => raw.time.get(),
            (Version::Ufs1, _) => raw.old_time.get().into(),
        },
        tables: if ancient {
            ancient_tables(superblock, group, bytes.len())?
        } else {
            tables(superblock, group, raw, bytes.len())?
        },
    })
}

/// Whether it is a group of 4.2BSD, whose magic is elsewhere.
fn is_ancient(superblock: &Superblock, bytes: &[u8]) -> bool {
    let magic = bytes.get(ancient::MAGIC..);
    let magic = magic.and_then(|rest| superblock.order.u32(rest));
    superblock.version == Version::Ufs1 && magic == Some(GROUP_MAGIC)
}

/// The tables where the group says they are.
fn tables<O: ByteOrder>(
    superblock: &Superblock,
    group: u32,
    raw: &RawGroup<O>,
    len: usize,
) -> Result<Tables> {
    let made = Tables::of(superblock);
    let span = |field, offset: u32, like: &Range<usize>| {
        let start = index(offset.into());
        let end = start.saturating_add(like.len());
        if start < GROUP_LEN.saturating_sub(4) || end > len {
            return Err(wrong(group, field, offset.into(), "room in the block"));
        }
        Ok(start..end)
    };
    let mut found = Tables {
        inodes: span("iusedoff", raw.iusedoff.get(), &made.inodes)?,
        frags: span("freeoff", raw.freeoff.get(), &made.frags)?,
        end: index(raw.nextfreeoff.get().into()).min(len),
        ..Tables::default()
    };
    if superblock.version == Version::Ufs1 {
        found.cylinders = span("old_btotoff", raw.old_btotoff.get(), &made.cylinders)?;
        found.positions = span("old_boff", raw.old_boff.get(), &made.positions)?;
    }
    if superblock.cluster_runs > 0 {
        let offset = raw.clustersumoff.get();
        found.cluster_sums = span("clustersumoff", offset, &made.cluster_sums)?;
        found.clusters = span("clusteroff", raw.clusteroff.get(), &made.clusters)?;
    }
    if found.inodes.start < found.frags.end && found.frags.start < found.inodes.end {
        let found = raw.freeoff.get().into();
        return Err(wrong(
            group,
            "freeoff",
            found,
            "another place than iusedoff",
        ));
    }
    Ok(found)
}

fn ancient_tables(superblock: &Superblock, group: u32, len: usize) -> Result<Tables> {
    let made = Tables::of(superblock);
    let inodes = ancient::INODES..ancient::INODES.saturating_add(made.inodes.len());
    let frags = ancient::FRAGS..ancient::FRAGS.saturating_add(made.frags.len());
    if inodes.end > ancient::MAGIC || frags.end > len {
        let found = number(frags.end);
        return Err(wrong(
            group,
            "length of the maps",
            found,
            "room in the block",
        ));
    }
    Ok(Tables {
        cylinders: ancient::CYLINDERS..ancient::POSITIONS,
        positions: ancient::POSITIONS..ancient::POSITIONS_END,
        inodes,
        end: frags.end,
        frags,
        ..Tables::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::superblock::tests::{checked, raw};
    use alloc::{vec, vec::Vec};
    use zerocopy::{FromZeros, IntoBytes};

    fn superblock<O: ByteOrder>(version: Version) -> Superblock {
        let at = match version {
            Version::Ufs1 => 8192,
            Version::Ufs2 => 65_536,
        };
        let mut raw = raw::<O>(version, at);
        raw.contigsumsize.set(8);
        raw.old_cpg.set(2);
        raw.old_nrpos.set(4);
        raw.cgsize.set(2048);
        checked(&raw, at).unwrap()
    }

    fn group<O: ByteOrder>(
        superblock: &Superblock,
        change: impl FnOnce(&mut RawGroup<O>),
    ) -> Vec<u8> {
        let tables = Tables::of(superblock);
        let at = |range: &Range<usize>| u32::try_from(range.start).unwrap();
        let mut raw = RawGroup::<O>::new_zeroed();
        raw.magic.set(GROUP_MAGIC);
        raw.cgx.set(1);
        raw.ndblk.set(976);
        raw.old_niblk.set(64);
        raw.niblk.set(64);
        raw.initediblk.set(32);
        raw.cs = [1, 2, 3, 4].map(Into::into);
        raw.old_btotoff.set(at(&tables.cylinders));
        raw.old_boff.set(at(&tables.positions));
        raw.iusedoff.set(at(&tables.inodes));
        raw.freeoff.set(at(&tables.frags));
        raw.clustersumoff.set(at(&tables.cluster_sums));
        raw.clusteroff.set(at(&tables.clusters));
        change(&mut raw);
        let mut bytes = raw.as_bytes().to_vec();
        bytes.resize(2048, 0);
        bytes
    }

    #[test]
    fn tables_lie_where_newfs_puts_them() {
        let tables = Tables::of(&superblock::<BigEndian>(Version::Ufs2));
        assert_eq!(tables.inodes, 168..176);
        assert_eq!(tables.frags, 176..304);
        assert_eq!(tables.cluster_sums, 300..336);
        assert_eq!(tables.clusters, 336..352);
        let tables = Tables::of(&superblock::<BigEndian>(Version::Ufs1));
        assert_eq!((tables.cylinders, tables.positions), (168..176, 176..192));
        assert_eq!(tables.inodes, 192..200);
    }

    #[test]
    fn numbers_are_read_and_written_in_both_orders() {
        fn check<O: ByteOrder>(version: Version) {
            let superblock = superblock::<O>(version);
            let mut bytes = group::<O>(&superblock, |_| {});
            let mut parsed = Group::parse(&superblock, 1, &bytes).unwrap();
            assert_eq!(parsed.tables.frags, Tables::of(&superblock).frags);
            let free = Free {
                blocks: 2,
                inodes: 3,
                frags: 4,
            };
            assert_eq!((parsed.directories, parsed.free), (1, free));
            let initialised = if version == Version::Ufs1 { 64 } else { 32 };
            assert_eq!((parsed.frags, parsed.initialised), (976, initialised));
            parsed.free.frags = 9;
            parsed.rotors = [5, 6, 7];
            parsed.frag_runs[7] = 1;
            parsed.time = 1000;
            parsed.store(&superblock, &mut bytes).unwrap();
            assert_eq!(Group::parse(&superblock, 1, &bytes), Ok(parsed));
        }
        for version in [Version::Ufs1, Version::Ufs2] {
            check::<LittleEndian>(version);
            check::<BigEndian>(version);
        }
    }

    #[test]
    fn broken_groups_are_named() {
        let superblock = superblock::<LittleEndian>(Version::Ufs2);
        type Change = fn(&mut RawGroup<LittleEndian>);
        let cases: [(Change, &str); 9] = [
            (|raw| raw.magic.set(7), "magic"),
            (|raw| raw.cgx.set(0), "cgx"),
            (|raw| raw.ndblk.set(977), "ndblk"),
            (|raw| raw.niblk.set(65), "niblk"),
            (|raw| raw.initediblk.set(65), "initediblk"),
            (|raw| raw.iusedoff.set(3), "iusedoff"),
            (|raw| raw.freeoff.set(2000), "freeoff"),
            (|raw| raw.freeoff.set(170), "freeoff"),
            (|raw| raw.clusteroff.set(u32::MAX), "clusteroff"),
        ];
        for (change, expected) in cases {
            let wrong = Group::parse(&superblock, 1, &group(&superblock, change));
            assert!(
                matches!(wrong, Err(Error::Value { field, .. }) if field == expected),
                "{expected}: {wrong:?}"
            );
        }
        let short = Group::parse(&superblock, 1, &[0; 100]);
        assert!(matches!(
            short,
            Err(Error::Value {
                field: "length",
                ..
            })
        ));
    }

    #[test]
    fn maps_of_4_2bsd_are_at_fixed_places() {
        let superblock = superblock::<BigEndian>(Version::Ufs1);
        let mut bytes = group::<BigEndian>(&superblock, |raw| raw.magic.set(0));
        bytes[980..984].copy_from_slice(&GROUP_MAGIC.to_be_bytes());
        let parsed = Group::parse(&superblock, 1, &bytes).unwrap();
        assert_eq!(
            (parsed.tables.inodes, parsed.tables.frags),
            (724..732, 984..1112)
        );
        assert!(parsed.ancient);
    }

    #[test]
    fn bits_count_from_the_lowest() {
        let mut map = vec![0b0000_0010, 0x80];
        assert!(bit(&map, 1) && bit(&map, 15));
        assert!(!bit(&map, 0) && !bit(&map, 16));
        set_bit(&mut map, 0, true);
        set_bit(&mut map, 15, false);
        set_bit(&mut map, 99, true);
        assert_eq!(map, [3, 0]);
    }
}
