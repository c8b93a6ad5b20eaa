//! The maps of a cylinder group, and how they change.
//!
//! The structure ([`Group`]) is kept as its bytes, whole and in one piece, and looked at and changed through methods that keep all its counts
//! in step: those of blocks and fragments, of runs of fragments, of runs of blocks, and in UFS1's old layout of blocks by
//! cylinder and rotational position.

use crate::{
    bits,
    cg::Group,
    error::{Error, Place, Result},
    layout::RawGroup,
    superblock::{Disk, Superblock},
    types::{Order, Version, index, number},
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::{mem::offset_of, ops::Range};
use zerocopy::LittleEndian;

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

/// Where blocks are counted by cylinder and rotational position.
#[derive(Clone, Copy)]
struct Positions {
    disk: Disk,
    /// Cylinders, and positions in each.
    cylinders: (u32, u32),
    totals_at: usize,
    counts_at: usize,
}

/// The lengths of the runs of ones in a byte, that of length `n` as bit `n - 1`; and how often each is there, four bits each.
const RUNS_IN: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        let (mut counts, mut run, mut bit) = (0_u32, 0_u32, 0_u32);
        while bit <= 8 {
            if bit < 8 && byte >> bit & 1 == 1 {
                run = run.wrapping_add(1);
            } else if run > 0 {
                let shift = run.wrapping_sub(1).wrapping_mul(4);
                counts = counts.wrapping_add(1_u32.wrapping_shl(shift));
                run = 0;
            }
            bit = bit.wrapping_add(1);
        }
        table[byte] = counts;
        byte = byte.wrapping_add(1);
    }
    table
};

/// How many runs of ones of the length `len` the bits have.
#[must_use]
pub fn runs_of(byte: u8, len: u32) -> u32 {
    let counts = RUNS_IN.get(usize::from(byte)).copied().unwrap_or(0);
    counts.wrapping_shr(len.saturating_sub(1).wrapping_mul(4)) & 0xF
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
                bits::set(&mut map, block, true);
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
            if bits::find(self.frag_map(), true, range.start, range.end) < range.end {
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
        let blocks = bits::ones(&self.blocks, self.block_count());
        let frags = bits::ones(self.frag_map(), self.frags);
        let used = bits::ones(self.inode_map(), self.inodes);
        Counts {
            dirs: self.counts().dirs,
            blocks,
            inodes: self.inodes.saturating_sub(used),
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

    /// The counts.
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
        bits::get(self.inode_map(), n)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.order.u32(self.bytes.get(at..)?)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if let Some(to) = self.bytes.get_mut(at..end) {
            to.copy_from_slice(bytes);
            for byte in [at, end.saturating_sub(1)] {
                let frag = number(byte).wrapping_shr(self.frag_bits);
                self.changed |= 1_u64
                    .checked_shl(u32::try_from(frag).unwrap_or(64))
                    .unwrap_or(0);
            }
        }
    }

    fn put_u32(&mut self, at: usize, n: u32) {
        let bytes = self.order.bytes_u32(n);
        self.put(at, &bytes);
    }

    /// Adds to a count; one that a damaged volume has too small stays 0.
    fn add(&mut self, at: usize, n: i32) {
        if n != 0
            && let Some(before) = self.u32(at)
        {
            self.put_u32(at, before.saturating_add_signed(n));
        }
    }

    /// Sets the time of the last change, in seconds.
    pub fn set_time(&mut self, sec: i64) {
        let short = u32::try_from(sec.max(0)).unwrap_or(u32::MAX);
        self.put_u32(offset_of!(RawGroup<LittleEndian>, old_time), short);
        if self.version == Version::Ufs2 {
            let bytes = self.order.bytes_u64(sec.max(0).unsigned_abs());
            self.put(offset_of!(RawGroup<LittleEndian>, time), &bytes);
        }
    }

    /// Where the last block was taken.
    #[must_use]
    pub fn rotor(&self) -> u32 {
        self.u32(offset_of!(RawGroup<LittleEndian>, rotor))
            .unwrap_or(0)
    }

    /// Where the last fragments were taken.
    #[must_use]
    pub fn frag_rotor(&self) -> u32 {
        self.u32(offset_of!(RawGroup<LittleEndian>, frotor))
            .unwrap_or(0)
    }

    /// Where the last inode was taken.
    #[must_use]
    pub fn inode_rotor(&self) -> u32 {
        self.u32(offset_of!(RawGroup<LittleEndian>, irotor))
            .unwrap_or(0)
    }

    /// Notes where the last block was taken, as a fragment of the group.
    pub fn set_rotor(&mut self, frag: u32) {
        self.put_u32(offset_of!(RawGroup<LittleEndian>, rotor), frag);
    }

    /// Notes where the last fragments were taken.
    pub fn set_frag_rotor(&mut self, frag: u32) {
        self.put_u32(offset_of!(RawGroup<LittleEndian>, frotor), frag);
    }

    /// Notes where an inode is free: nothing before it is looked at first.
    pub fn set_inode_rotor(&mut self, n: u32) {
        self.put_u32(offset_of!(RawGroup<LittleEndian>, irotor), n);
    }

    /// Notes how many inodes are initialised.
    pub fn set_initialised(&mut self, inodes: u32) {
        self.put_u32(offset_of!(RawGroup<LittleEndian>, initediblk), inodes);
    }

    /// Takes or frees an inode. `false`: it was that already, and nothing has changed.
    pub fn set_inode(&mut self, n: u32, in_use: bool, dir: bool) -> bool {
        if n >= self.inodes || self.inode_in_use(n) == in_use {
            return false;
        }
        let at = self.inodes_at.saturating_add(index(u64::from(n / 8)));
        let mask = 1_u8.wrapping_shl(n % 8);
        let byte = self.bytes.get(at).copied().unwrap_or(0);
        self.put(at, &[if in_use { byte | mask } else { byte & !mask }]);
        let one = if in_use { 1 } else { -1 };
        self.add(CS.saturating_add(8), 0_i32.saturating_sub(one));
        if dir {
            self.add(CS, one);
        }
        if in_use {
            self.put_u32(offset_of!(RawGroup<LittleEndian>, irotor), n);
        }
        true
    }

    /// Takes or frees `count` fragments from `first` on, which may reach over blocks. `false`: one of them was that already, or is not
    /// of the group, and nothing has changed.
    pub fn set_frags(&mut self, first: u32, count: u32, free: bool) -> bool {
        let end = first.saturating_add(count);
        if end > self.frags || bits::find(self.frag_map(), free, first, end) < end {
            return false;
        }
        let mut at = first;
        while at < end {
            let block = at.wrapping_shr(self.ratio_bits);
            let start = block.wrapping_shl(self.ratio_bits);
            let stop = end.min(start.saturating_add(self.ratio()));
            let len = stop.saturating_sub(at);
            let ones = u8::MAX.wrapping_shr(8_u32.saturating_sub(len));
            let mask = ones.wrapping_shl(at.saturating_sub(start));
            let before = self.frags_of_block(block);
            let after = if free { before | mask } else { before & !mask };
            self.change_block(block, before, after);
            at = stop;
        }
        true
    }

    /// Gives a block other bits, and keeps all counts in step.
    fn change_block(&mut self, block: u32, before: u8, after: u8) {
        let bit = block.wrapping_shl(self.ratio_bits);
        let at = self.frags_at.saturating_add(index(u64::from(bit / 8)));
        let old = self.bytes.get(at).copied().unwrap_or(0);
        let cleared = old & !self.whole().wrapping_shl(bit % 8);
        self.put(at, &[cleared | after.wrapping_shl(bit % 8)]);
        let whole = self.whole();
        let partial = |bits: u8| if bits == whole { 0 } else { bits };
        let (was, is) = (partial(before), partial(after));
        for len in 1..self.ratio() {
            let change = count(runs_of(is, len)).saturating_sub(count(runs_of(was, len)));
            self.add(frsum(len), change);
        }
        let change = count(is.count_ones()).saturating_sub(count(was.count_ones()));
        self.add(CS.saturating_add(12), change);
        match (before == whole, after == whole) {
            (false, true) => self.count_block(block, true),
            (true, false) => self.count_block(block, false),
            _ => {}
        }
    }

    /// A block has become free as a whole, or is that no more.
    fn count_block(&mut self, block: u32, free: bool) {
        let one = if free { 1 } else { -1 };
        self.add(CS.saturating_add(4), one);
        bits::set(&mut self.blocks, block, free);
        if let Some(runs) = self.runs {
            self.count_runs(runs, block, free);
        }
        if let Some(positions) = self.positions
            && let Some((total, place)) = positions.of(block.wrapping_shl(self.ratio_bits))
        {
            self.add(total, one);
            self.add_u16(place, if free { 1 } else { -1 });
        }
    }

    fn count_runs(&mut self, runs: Runs, block: u32, free: bool) {
        let at = runs.map_at.saturating_add(index(u64::from(block / 8)));
        let byte = self.bytes.get(at).copied().unwrap_or(0);
        let mask = 1_u8.wrapping_shl(block % 8);
        self.put(at, &[if free { byte | mask } else { byte & !mask }]);
        let map = self.bytes.get(runs.map_at..).unwrap_or_default();
        let next = block.saturating_add(1);
        let behind = bits::run_at(map, next, runs.longest, self.block_count()).count;
        let before = bits::run_before(map, block, runs.longest);
        let whole = before.saturating_add(behind).saturating_add(1);
        let one = if free { 1 } else { -1 };
        let at = |len: u32| {
            let len = len.min(runs.longest);
            runs.counts_at
                .saturating_add(index(len.into()).saturating_mul(4))
        };
        self.add(at(whole), one);
        for len in [before, behind] {
            if len > 0 {
                self.add(at(len), 0_i32.saturating_sub(one));
            }
        }
    }

    fn add_u16(&mut self, at: usize, n: i16) {
        if let Some(before) = self.bytes.get(at..).and_then(|rest| self.order.u16(rest)) {
            let bytes = self.order.bytes_u16(before.wrapping_add_signed(n));
            self.put(at, &bytes);
        }
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

/// Where in a byte the first run of exactly `len` ones begins.
fn run_in(byte: u8, len: u32) -> Option<u32> {
    let ones = u16::from(u8::MAX.wrapping_shr(8_u32.saturating_sub(len)));
    // A zero on both sides.
    let padded = u16::from(byte).wrapping_shl(1);
    let around = ones.wrapping_shl(1) | 1 | 1_u16.wrapping_shl(len.saturating_add(1));
    (0..8_u32).find(|at| {
        let window = padded.wrapping_shr(*at) & around;
        window == ones.wrapping_shl(1)
    })
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
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

impl Positions {
    /// Where the block that begins with a fragment of the group is counted: by cylinder, and by position in it.
    fn of(&self, frag: u32) -> Option<(usize, usize)> {
        let (per_group, positions) = self.cylinders;
        let Disk {
            sectors,
            track,
            track_all,
            interleave,
            skew,
            frag_sectors,
        } = self.disk;
        let sector = frag.saturating_mul(frag_sectors);
        let cylinder = sector.checked_div(sectors)?;
        if cylinder >= per_group {
            return None;
        }
        let position = if positions <= 1 {
            0
        } else {
            let within = sector.checked_rem(sectors)?;
            let turned = within.checked_div(track)?.saturating_mul(skew);
            let along = within.checked_rem(track)?.saturating_mul(interleave);
            let at = turned.saturating_add(along).checked_rem(track)?;
            at.saturating_mul(positions).checked_div(track_all)?
        };
        if position >= positions.max(1) {
            return None;
        }
        let entry = cylinder.saturating_mul(positions).saturating_add(position);
        Some((
            self.totals_at
                .saturating_add(index(cylinder.into()).saturating_mul(4)),
            self.counts_at
                .saturating_add(index(entry.into()).saturating_mul(2)),
        ))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{
        layout::GROUP_MAGIC,
        superblock::tests::{checked, raw},
    };
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
            let run = bits::run_at(cg.block_map(), at, 1024, 128).count;
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
        let mut seed = 12_345_u32;
        for _ in 0..4000 {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let first = 100 + (seed >> 8) % 900;
            let len = 1 + (seed >> 20) % 24;
            let free = seed >> 30 & 1 == 1;
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
        assert_eq!(run_in(0b0111_0110, 3), Some(4));
        assert_eq!(run_in(0b0111_0110, 2), Some(1));
        assert_eq!(run_in(0b1110_0000, 3), Some(5));
        assert_eq!(run_in(0b1111_1111, 3), None);
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
