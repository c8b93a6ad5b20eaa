//! The maps of a cylinder group, and how they change.
//!
//! The structure ([`Group`]) is kept as its bytes, whole and in one piece, and looked at and changed through methods that keep all its counts
//! in step: those of blocks and fragments, of runs of fragments, of runs of blocks, and in UFS1's old layout of blocks by
//! cylinder and rotational position.

use crate::{
    cg::Group,
    error::{Error, Place, Result},
    layout::RawGroup,
    superblock::Superblock,
    types::{Order, Version, index},
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::{mem::offset_of, ops::Range};
use rumpbio::bitmap;
use zerocopy::LittleEndian;

mod change;
mod frag_runs;
mod positions;

use frag_runs::run_in;
pub use frag_runs::runs_of;
use positions::Positions;

/// Counts of a group (`struct csum`), or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Directories.
    pub dirs: u32,
    /// Free blocks.
    pub blocks: u32,
    /// Free inodes.
    pub inodes: u32,
    /// Free fragments outside of free blocks.
    pub frags: u32,
}

/// The maps of a group, checked.
#[derive(Clone)]
pub struct Maps {
    order: Order,
    version: Version,
    group: u32,
    /// Fragments.
    frags: u32,
    /// Inodes.
    inodes: u32,
    ratio_bits: u32,
    frag_bits: u32,
    /// Where the map of inodes begins.
    inodes_at: usize,
    /// Where the map of free fragments begins.
    frags_at: usize,
    /// Counts of runs of blocks, if they are kept.
    runs: Option<Runs>,
    /// Counts of blocks by cylinder and position, if they are kept.
    positions: Option<Positions>,
    bytes: Vec<u8>,
    /// A bit for each block that is free as a whole.
    blocks: Box<[u8]>,
    /// Bits of the fragments of `bytes` that have changed since [`take_changed`](Self::take_changed).
    changed: u64,
}

/// Where runs of free blocks are counted.
#[derive(Clone, Copy)]
struct Runs {
    /// Length of the longest that has a count of its own.
    longest: u32,
    counts_at: usize,
    map_at: usize,
}

impl Maps {
    /// From the bytes of a group's own block: as many as `fs_cgsize` says, or more.
    ///
    /// # Errors
    /// As [`Group::parse`]; [`Error::Unsupported`] for the maps of 4.2BSD.
    pub fn parse(superblock: &Superblock, number: u32, bytes: Vec<u8>) -> Result<Self> {
        let place = Place::Group(number);
        let group = Group::parse(superblock, number, &bytes)?;
        if group.ancient {
            return Err(Error::Unsupported(place, "the maps of 4.2BSD"));
        }
        let inodes = superblock.inodes_per_group;
        if group.frags != superblock.group_frags(number) {
            let expected = "the group's fragments";
            return Err(Error::value(place, "ndblk", group.frags, expected));
        }
        if superblock.version == Version::Ufs2 && group.inodes != inodes {
            return Err(Error::value(place, "niblk", group.inodes, "fs_ipg"));
        }
        let tables = &group.tables;
        let runs = (superblock.cluster_runs > 0).then_some(Runs {
            longest: superblock.cluster_runs,
            counts_at: tables.cluster_sums.start,
            map_at: tables.clusters.start,
        });
        let mut maps = Self {
            order: superblock.order,
            version: superblock.version,
            group: number,
            frags: group.frags,
            inodes,
            ratio_bits: superblock.ratio_bits(),
            frag_bits: superblock.frag_bits,
            inodes_at: tables.inodes.start,
            frags_at: tables.frags.start,
            runs,
            positions: superblock.disk.map(|disk| Positions {
                disk,
                cylinders: superblock.cylinders,
                totals_at: tables.cylinders.start,
                counts_at: tables.positions.start,
            }),
            bytes,
            blocks: Box::default(),
            changed: 0,
        };
        maps.blocks = maps.free_blocks_map();
        Ok(maps)
    }

    /// A bit for each block whose fragments are all free.
    fn free_blocks_map(&self) -> Box<[u8]> {
        let blocks = self.block_count();
        let mut map = vec![0; index(blocks.div_ceil(8).into())];
        let whole = self.whole();
        for block in 0..blocks {
            if self.frags_of_block(block) == whole {
                bitmap::set(&mut map, block, true);
            }
        }
        map.into_boxed_slice()
    }

    /// Checks what an allocator relies on: that the counts are those of the maps, and that what belongs to the volume itself is in
    /// use.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn check(&self, superblock: &Superblock) -> Result<()> {
        let place = Place::Group(self.group);
        let counts = self.counts();
        let counted = self.counted();
        let told = [
            ("nbfree", counts.blocks, counted.blocks),
            ("nffree", counts.frags, counted.frags),
            ("nifree", counts.inodes, counted.inodes),
        ];
        for (field, found, expected) in told {
            if found != expected {
                return Err(Error::value(place, field, found, "what the map has"));
            }
        }
        for range in self.fixed(superblock) {
            if bitmap::find(self.frag_map(), true, range.start, range.end) < range.end {
                return Err(Error::value(place, "map", range.start, "metadata in use"));
            }
        }
        Ok(())
    }

    /// The fragments of the group that belong to the volume itself.
    pub fn fixed(&self, superblock: &Superblock) -> [Range<u32>; 2] {
        fixed(superblock, self.group, self.frags)
    }

    /// What the maps say.
    #[must_use]
    pub fn counted(&self) -> Counts {
        let blocks = bitmap::count(&self.blocks, true, self.block_count());
        let frags = bitmap::count(self.frag_map(), true, self.frags);
        let inodes = bitmap::count(self.inode_map(), false, self.inodes);
        Counts {
            dirs: self.counts().dirs,
            blocks,
            inodes,
            frags: frags.saturating_sub(blocks.wrapping_shl(self.ratio_bits)),
        }
    }

    /// The group's number.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Fragments in the group.
    #[must_use]
    pub fn frag_count(&self) -> u32 {
        self.frags
    }

    /// Whole blocks in the group.
    #[must_use]
    pub fn block_count(&self) -> u32 {
        self.frags.wrapping_shr(self.ratio_bits)
    }

    /// Fragments of a block.
    fn ratio(&self) -> u32 {
        1_u32.wrapping_shl(self.ratio_bits)
    }

    /// The bits of a block that is free.
    fn whole(&self) -> u8 {
        u8::MAX.wrapping_shr(8_u32.saturating_sub(self.ratio()))
    }

    /// The bytes of the structure.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fragments of the structure that have changed since the last call, as bits.
    pub fn take_changed(&mut self) -> u64 {
        core::mem::take(&mut self.changed)
    }

    /// The map of inodes in use.
    #[must_use]
    pub fn inode_map(&self) -> &[u8] {
        self.bytes.get(self.inodes_at..).unwrap_or_default()
    }

    /// The map of free fragments.
    #[must_use]
    pub fn frag_map(&self) -> &[u8] {
        self.bytes.get(self.frags_at..).unwrap_or_default()
    }

    /// The map of blocks that are free as a whole, made from that of fragments.
    #[must_use]
    pub fn block_map(&self) -> &[u8] {
        &self.blocks
    }

    /// The medium's map of blocks that are free as a whole, if it has one.
    #[must_use]
    pub fn run_map(&self) -> Option<&[u8]> {
        self.bytes.get(self.runs?.map_at..)
    }

    /// How many runs of `len` free blocks there are by the medium's count, longer ones counted as the longest; `None` if they are not
    /// counted.
    #[must_use]
    pub fn run_count(&self, len: u32) -> Option<u32> {
        let runs = self.runs?;
        let len = len.min(runs.longest);
        self.u32(
            runs.counts_at
                .saturating_add(index(len.into()).saturating_mul(4)),
        )
    }

    /// Length of the longest run of blocks that has a count of its own; 0: runs are not counted.
    #[must_use]
    pub fn longest_run(&self) -> u32 {
        self.runs.map_or(0, |runs| runs.longest)
    }

    /// How many runs of `len` free fragments there are in blocks that are partly in use, by the medium's count.
    #[must_use]
    pub fn frag_runs(&self, len: u32) -> u32 {
        self.u32(frsum(len)).unwrap_or(0)
    }

    /// The counts of the group, as the medium has them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let at = |n: usize| self.u32(CS.saturating_add(n)).unwrap_or(0);
        Counts {
            dirs: at(0),
            blocks: at(4),
            inodes: at(8),
            frags: at(12),
        }
    }

    /// Inodes that were initialised on the medium (UFS2); all in UFS1.
    #[must_use]
    pub fn initialised(&self) -> u32 {
        match self.version {
            Version::Ufs1 => self.inodes,
            Version::Ufs2 => self
                .u32(offset_of!(RawGroup<LittleEndian>, initediblk))
                .unwrap_or(0),
        }
    }

    /// The bits of a block's fragments: ones are free.
    #[must_use]
    pub fn frags_of_block(&self, block: u32) -> u8 {
        let bit = block.wrapping_shl(self.ratio_bits);
        let byte = self.frag_map().get(index(u64::from(bit / 8)));
        byte.copied().unwrap_or(0).wrapping_shr(bit % 8) & self.whole()
    }

    /// Whether an inode is in use.
    #[must_use]
    pub fn inode_in_use(&self, n: u32) -> bool {
        bitmap::get(self.inode_map(), n)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.order.u32(self.bytes.get(at..)?)
    }

    /// Where the last block was taken, as a fragment of the group.
    #[must_use]
    pub fn rotor(&self) -> u32 {
        self.u32(offset_of!(RawGroup<LittleEndian>, rotor))
            .unwrap_or(0)
    }

    /// Where the last fragments were taken, as a fragment of the group.
    #[must_use]
    pub fn frag_rotor(&self) -> u32 {
        self.u32(offset_of!(RawGroup<LittleEndian>, frotor))
            .unwrap_or(0)
    }

    /// Where the search for a free inode begins, as an inode of the group.
    #[must_use]
    pub fn inode_rotor(&self) -> u32 {
        self.u32(offset_of!(RawGroup<LittleEndian>, irotor))
            .unwrap_or(0)
    }

    /// The first block at or behind `from`, else from the start on, whose fragments have a run of exactly `len` free ones, and that run:
    /// its first fragment. `usable` may refuse one.
    pub fn find_frags(
        &self,
        from: u32,
        len: u32,
        mut usable: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let blocks = self.frags.div_ceil(self.ratio());
        let start = from.wrapping_shr(self.ratio_bits).min(blocks);
        let mut found = |block: u32| {
            let bits = self.frags_of_block(block);
            if bits == self.whole() || runs_of(bits, len) == 0 {
                return None;
            }
            let first = run_in(bits, len)?;
            let frag = block.wrapping_shl(self.ratio_bits).saturating_add(first);
            usable(frag).then_some(frag)
        };
        (start..blocks)
            .find_map(&mut found)
            .or_else(|| (0..start).find_map(&mut found))
    }
}

/// Byte of the counts.
const CS: usize = offset_of!(RawGroup<LittleEndian>, cs);

/// Byte of the count of runs of `len` fragments.
fn frsum(len: u32) -> usize {
    let at = offset_of!(RawGroup<LittleEndian>, frsum);
    at.saturating_add(index(len.min(7).into()).saturating_mul(4))
}

/// The fragments of a group that belong to the volume itself: the copy of the superblock, the maps, the inodes; and what of the table of
/// counts lies there. In the first group also what is before.
pub(crate) fn fixed(superblock: &Superblock, group: u32, frags: u32) -> [Range<u32>; 2] {
    let base = superblock.group_base(group);
    let start = superblock.group_start(group).saturating_sub(base);
    let within = |from: u64, to: u64| {
        let clip = |n: u64| u32::try_from(n.min(frags.into())).unwrap_or(frags);
        clip(from)..clip(to)
    };
    let first = if group == 0 {
        0
    } else {
        start.saturating_add(superblock.copy.into())
    };
    let table = u64::from(superblock.summary_bytes).div_ceil(superblock.frag_size());
    let table_end = superblock.summary.saturating_add(table);
    [
        within(first, start.saturating_add(superblock.data_start.into())),
        within(
            superblock.summary.saturating_sub(base),
            table_end.saturating_sub(base),
        ),
    ]
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{
        layout::GROUP_MAGIC,
        superblock::tests::{checked, raw},
    };
    use rumpuser::Rng;
    use zerocopy::{BigEndian, ByteOrder, FromZeros, IntoBytes};

    /// A group of 1024 fragments of which the first 100 are in use.
    fn group<O: ByteOrder>() -> (Superblock, Maps) {
        let mut sb = raw::<O>(Version::Ufs2, 65_536);
        sb.contigsumsize.set(4);
        sb.sblkno.set(64);
        sb.cblkno.set(72);
        sb.dblkno.set(96);
        sb.cgsize.set(512);
        let superblock = checked(&sb, 65_536).unwrap();
        let mut raw = RawGroup::<O>::new_zeroed();
        raw.magic.set(GROUP_MAGIC);
        raw.ndblk.set(1024);
        raw.niblk.set(64);
        raw.iusedoff.set(168);
        raw.freeoff.set(176);
        raw.clustersumoff.set(300);
        raw.clusteroff.set(320);
        raw.cs[2].set(64);
        let mut bytes = vec![0; 512];
        bytes[..size_of::<RawGroup<O>>()].copy_from_slice(raw.as_bytes());
        let mut cg = Maps::parse(&superblock, 0, bytes).unwrap();
        assert!(cg.set_frags(100, 924, true));
        (superblock, cg)
    }

    fn check(superblock: &Superblock, cg: &Maps) {
        cg.check(superblock).unwrap();
        // The medium's map of blocks is the one made of fragments, and its counts are those of the maps.
        assert_eq!(&cg.run_map().unwrap()[..16], &cg.block_map()[..16]);
        let mut runs = [0; 5];
        let mut at = 0;
        while at < 128 {
            let run = bitmap::run_at(cg.block_map(), true, at, 1024, 128).count;
            if run > 0 {
                runs[run.min(4) as usize] += 1;
            }
            at += run.max(1);
        }
        let mut frag_runs = [0; 8];
        for block in 0..128 {
            let bits = cg.frags_of_block(block);
            for len in (1..8).filter(|_| bits != 0xFF) {
                frag_runs[len as usize] += runs_of(bits, len);
            }
        }
        for len in 1..5 {
            assert_eq!(cg.run_count(len), Some(runs[len as usize]), "runs of {len}");
        }
        for len in 1..8 {
            assert_eq!(cg.frag_runs(len), frag_runs[len as usize], "frags {len}");
        }
    }

    fn changes_keep_all_counts<O: ByteOrder>() {
        let (superblock, mut cg) = group::<O>();
        check(&superblock, &cg);
        assert_eq!((cg.counts().blocks, cg.counts().frags), (115, 4));
        let mut random = Rng::new(1);
        for _ in 0..4000 {
            let first = 100 + u32::try_from(random.index(900)).unwrap();
            let len = 1 + u32::try_from(random.index(24)).unwrap();
            let free = random.flip();
            let before = cg.clone();
            if !cg.set_frags(first, len, free) {
                assert_eq!(cg.bytes(), before.bytes());
            }
        }
        check(&superblock, &cg);
        assert!(!cg.set_frags(1020, 5, false));
        assert!(cg.set_inode(5, true, true) && !cg.set_inode(5, true, true));
        assert_eq!((cg.counts().inodes, cg.counts().dirs), (63, 1));
        assert!(cg.set_inode(5, false, true));
        assert_eq!((cg.counts().inodes, cg.counts().dirs), (64, 0));
        assert_eq!(cg.take_changed(), 1);
    }

    #[test]
    fn changes_keep_all_counts_in_both_orders() {
        changes_keep_all_counts::<LittleEndian>();
        changes_keep_all_counts::<BigEndian>();
    }

    #[test]
    fn fragments_are_found_by_the_length_of_their_run() {
        let (_, mut cg) = group::<LittleEndian>();
        assert_eq!(cg.find_frags(0, 4, |_| true), Some(100));
        assert_eq!(cg.find_frags(0, 3, |_| true), None);
        cg.set_frags(200, 5, false);
        assert_eq!(cg.find_frags(0, 3, |_| true), Some(205));
        assert_eq!(cg.find_frags(500, 3, |_| true), Some(205));
        assert_eq!(cg.find_frags(500, 3, |frag| frag != 205), None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let (superblock, cg) = group::<LittleEndian>();
        for at in [28, 32, 36, 176] {
            let mut bytes = cg.bytes().to_vec();
            bytes[at] ^= 1;
            let cg = Maps::parse(&superblock, 0, bytes).unwrap();
            assert!(
                matches!(cg.check(&superblock), Err(Error::Value { .. })),
                "{at}"
            );
        }
    }
}
