//! What should be in a cylinder group, by what phase 1 found.

use super::{
    Error,
    inodes::metadata_of,
    maps::{Maps, zeros},
    reader::Reader,
};
use crate::{
    cg::{Tables, bit, set_bit},
    superblock::{Disk, Free},
    types::{index, number},
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// What should be in a group.
#[derive(Default)]
pub(super) struct Expected {
    /// A bit for each inode: in use.
    pub(super) inodes: Vec<u8>,
    /// A bit for each fragment: free.
    pub(super) frags: Vec<u8>,
    /// A bit for each block: free.
    pub(super) clusters: Vec<u8>,
    /// Runs of free blocks by length.
    pub(super) cluster_sums: Vec<u32>,
    /// Runs of free fragments by length.
    pub(super) frag_runs: [u32; 8],
    pub(super) directories: u64,
    pub(super) free: Free,
}

impl Expected {
    pub(super) fn of(reader: &Reader, maps: &Maps, group: u32) -> Result<Self, Error> {
        let superblock = &reader.superblock;
        let mut expected = Self::default();
        expected.inodes(maps, group, superblock.inodes_per_group.into())?;
        let frags = reader.group_frags(group);
        expected.frags(reader, maps, group, frags)?;
        expected.blocks(frags, superblock.ratio_bits(), superblock.cluster_runs)?;
        Ok(expected)
    }

    fn inodes(&mut self, maps: &Maps, group: u32, count: u64) -> Result<(), Error> {
        let known = maps.inodes(group);
        let base = u64::from(group).saturating_mul(count);
        // No longer than what is known: the rest is free.
        self.inodes = zeros(index(known.max(2).div_ceil(8)))?;
        let mut used = 0_u64;
        for within in 0..known {
            let state = maps.state(base.saturating_add(within));
            if state.is_used() {
                set_bit(&mut self.inodes, within, true);
                used = used.saturating_add(1);
            }
            if state.is_directory() {
                self.directories = self.directories.saturating_add(1);
            }
        }
        if group == 0 {
            // 0 is none, and 1 once had the bad blocks.
            for within in 0..count.min(2) {
                if !bit(&self.inodes, within) {
                    set_bit(&mut self.inodes, within, true);
                    used = used.saturating_add(1);
                }
            }
        }
        self.free.inodes = count.saturating_sub(used);
        Ok(())
    }

    fn frags(&mut self, reader: &Reader, maps: &Maps, group: u32, count: u64) -> Result<(), Error> {
        self.frags = zeros(index(count.div_ceil(8)))?;
        for within in 0..count {
            set_bit(&mut self.frags, within, !maps.is_claimed(group, within));
        }
        let base = reader.superblock.group_base(group);
        for area in metadata_of(&reader.superblock, group) {
            let start = area.start.saturating_sub(base);
            let end = area.end.saturating_sub(base).min(count);
            for within in start..end {
                set_bit(&mut self.frags, within, false);
            }
        }
        Ok(())
    }

    fn blocks(&mut self, frags: u64, ratio_bits: u32, cluster_runs: u32) -> Result<(), Error> {
        let ratio = 1_u64.wrapping_shl(ratio_bits);
        let whole = frags.wrapping_shr(ratio_bits);
        self.clusters = zeros(index(whole.div_ceil(8)))?;
        self.cluster_sums = vec![0; index(u64::from(cluster_runs).saturating_add(1))];
        let mut run = 0_u64;
        for block in 0..frags.div_ceil(ratio) {
            let first = block.wrapping_shl(ratio_bits);
            let last = first.saturating_add(ratio).min(frags);
            let free = (first..last).filter(|within| bit(&self.frags, *within));
            if number(free.count()) == ratio {
                self.free.blocks = self.free.blocks.saturating_add(1);
                set_bit(&mut self.clusters, block, true);
                run = run.saturating_add(1);
                continue;
            }
            self.end_of_blocks(&mut run);
            self.pieces(first, last);
        }
        self.end_of_blocks(&mut run);
        Ok(())
    }

    fn end_of_blocks(&mut self, run: &mut u64) {
        let longest = number(self.cluster_sums.len()).saturating_sub(1);
        let at = (*run).min(longest);
        if at > 0
            && let Some(sum) = self.cluster_sums.get_mut(index(at))
        {
            *sum = sum.saturating_add(1);
        }
        *run = 0;
    }

    /// Free fragments of a block in pieces.
    fn pieces(&mut self, first: u64, last: u64) {
        let mut run = 0_usize;
        for within in first..=last {
            if within < last && bit(&self.frags, within) {
                run = run.saturating_add(1);
                self.free.frags = self.free.frags.saturating_add(1);
                continue;
            }
            if run > 0
                && let Some(sum) = self.frag_runs.get_mut(run)
            {
                *sum = sum.saturating_add(1);
            }
            run = 0;
        }
    }

    /// Free blocks by cylinder, and by cylinder and rotational position.
    pub(super) fn rotational(
        &self,
        disk: &Disk,
        cylinders: (u32, u32),
        tables: &Tables,
        ratio_bits: u32,
    ) -> (Vec<u32>, Vec<u16>) {
        let positions = u64::from(cylinders.1);
        // 4.2BSD's tables have their sizes whatever the superblock says.
        let of = |table: &Range<usize>, bits: u32| number(table.len()).wrapping_shr(bits);
        let cylinders = u64::from(cylinders.0).min(of(&tables.cylinders, 2));
        let entries = cylinders
            .saturating_mul(positions)
            .min(of(&tables.positions, 1));
        let mut totals = vec![0_u32; index(cylinders)];
        let mut by_position = vec![0_u16; index(entries)];
        let (frag_sectors, cylinder) = (u64::from(disk.frag_sectors), u64::from(disk.sectors));
        for block in 0..number(self.clusters.len()).saturating_mul(8) {
            if !bit(&self.clusters, block) {
                continue;
            }
            let sector = block.wrapping_shl(ratio_bits).saturating_mul(frag_sectors);
            let at = sector.checked_div(cylinder).unwrap_or(0);
            if let Some(total) = totals.get_mut(index(at)) {
                *total = total.saturating_add(1);
            }
            let position = position(disk, sector, positions);
            let at = at.saturating_mul(positions).saturating_add(position);
            if let Some(total) = by_position.get_mut(index(at)) {
                *total = total.saturating_add(1);
            }
        }
        (totals, by_position)
    }
}

/// The rotational position of a sector of a group.
fn position(disk: &Disk, sector: u64, positions: u64) -> u64 {
    let [cylinder, track, track_all] = [disk.sectors, disk.track, disk.track_all].map(u64::from);
    let [interleave, skew] = [disk.interleave, disk.skew].map(u64::from);
    if positions <= 1 {
        return 0;
    }
    let within = sector.checked_rem(cylinder).unwrap_or(0);
    let track_number = within.checked_div(track).unwrap_or(0);
    let in_track = within.checked_rem(track).unwrap_or(0);
    track_number
        .saturating_mul(skew)
        .saturating_add(in_track.saturating_mul(interleave))
        .checked_rem(track)
        .unwrap_or(0)
        .saturating_mul(positions)
        .checked_div(track_all)
        .unwrap_or(0)
}
