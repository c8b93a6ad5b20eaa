//! Changes of a group's maps; each keeps all counts in step.

use super::{CS, Maps, Runs, frag_runs::runs_of, frsum};
use crate::{
    layout::RawGroup,
    types::{Version, index, number},
};
use core::mem::offset_of;
use rumpbio::bitmap;
use zerocopy::LittleEndian;

impl Maps {
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
        if end > self.frags || bitmap::find(self.frag_map(), free, first, end) < end {
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
        bitmap::set(&mut self.blocks, block, free);
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
        let behind = bitmap::run_at(map, true, next, runs.longest, self.block_count()).count;
        let before = bitmap::run_before(map, true, block, runs.longest);
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
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
