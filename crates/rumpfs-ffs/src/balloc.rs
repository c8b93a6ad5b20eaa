//! Allocating and freeing blocks and fragments.
//!
//! A request gives a goal. Looked at in this order, as 4.4BSD does: the goal itself, its group, groups 1, 2, 4 and so on further,
//! then all of them. Runs of blocks are taken at once. What a transaction that is not durable has freed is passed over.
//!
//! Of the last `fs_minfree` percent nothing is given to operations that may use [`Space::Ordinary`] alone. What gives space back may
//! always use them.

use crate::{
    error::{Error, Place, Result},
    maps::Maps,
    txn::Txn,
    volume::Ffs,
};
use rumpbio::{
    Space,
    bitmap::{self, Run},
};
use rumpuser::Errno;

/// A run this long that begins at the goal is good enough, whatever is wanted.
const GOOD_RUN: u32 = 16;
/// How often a search within one group steps over what is held back.
const HELD_STEPS: u32 = 64;

/// Blocks that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// First fragment.
    pub(crate) frag: u64,
    /// Number of blocks, above 0.
    pub(crate) count: u32,
}

/// The groups in the order in which they are tried from `start` on.
fn groups(start: u32, count: u32) -> impl Iterator<Item = u32> {
    let wrapped = move |n: u64| {
        let n = n.checked_rem(count.into()).unwrap_or(0);
        u32::try_from(n).unwrap_or(0)
    };
    let steps = (0..u32::BITS).map(|bit| 1_u64.wrapping_shl(bit));
    let near = steps.take_while(move |step| *step < count.into());
    let mut at = u64::from(start);
    let near = near.map(move |step| {
        at = at.saturating_add(step);
        wrapped(at)
    });
    let all = (1..count).map(move |n| wrapped(u64::from(start).saturating_add(n.into())));
    core::iter::once(start).chain(near).chain(all)
}

impl Ffs {
    /// The group that a fragment lies in, and its number there.
    pub(crate) fn group_of(&self, frag: u64) -> (u32, u32) {
        let per = u64::from(self.superblock.frags_per_group);
        let group = frag.checked_div(per).unwrap_or(0);
        let within = frag.checked_rem(per).unwrap_or(0);
        let last = self.superblock.groups.saturating_sub(1);
        match u32::try_from(group) {
            Ok(group) if group <= last => (group, u32::try_from(within).unwrap_or(0)),
            _ => (last, 0),
        }
    }
}

impl Txn<'_> {
    /// Allocates up to `want` blocks in one run.
    ///
    /// # Errors
    /// `ENOSPC`; the device's.
    pub(crate) fn take_blocks(&mut self, goal: u64, want: u32) -> Result<Blocks> {
        let ratio = 1_u32.wrapping_shl(self.sb().ratio_bits());
        let frags = u64::from(want).saturating_mul(ratio.into());
        let want = match self.outside_reserve(frags)?.checked_div(ratio.into()) {
            Some(0) | None => return Err(Error::Refused(Errno::ENOSPC)),
            Some(most) => u32::try_from(most).unwrap_or(want),
        };
        let (start, within) = self.ffs().group_of(goal);
        for group in groups(start, self.sb().groups) {
            let goal = (group == start).then_some(within);
            if let Some(blocks) = self.take_blocks_in(group, goal, want)? {
                let taken = u64::from(blocks.count).saturating_mul(ratio.into());
                self.taken = self.taken.saturating_add(taken);
                return Ok(blocks);
            }
        }
        Err(Error::Refused(Errno::ENOSPC))
    }

    fn take_blocks_in(
        &mut self,
        group: u32,
        goal: Option<u32>,
        want: u32,
    ) -> Result<Option<Blocks>> {
        if self.stock()?.counts(group).blocks == 0 {
            return Ok(None);
        }
        let sb = self.sb();
        let (base, bits) = (sb.group_base(group), sb.ratio_bits());
        let volume = self.ffs().volume.clone();
        let held = |first: u32, end: u32| {
            let at = |block: u32| base.saturating_add(u64::from(block).wrapping_shl(bits));
            let (from, to) = volume.first_held(at(first), at(end))?;
            let block = |frag: u64| u32::try_from(frag.saturating_sub(base)).unwrap_or(u32::MAX);
            let stop = block(to).div_ceil(1_u32.wrapping_shl(bits));
            Some((block(from).wrapping_shr(bits).max(first), stop))
        };
        let mut passed = false;
        let Some(maps) = self.look(group)? else {
            return Ok(None);
        };
        let from = goal.unwrap_or_else(|| maps.rotor()).wrapping_shr(bits);
        let found = find(maps, from, goal.is_some(), want, held, &mut passed);
        self.passed_held |= passed;
        let Some(run) = found else {
            return Ok(None);
        };
        let first = run.first.wrapping_shl(bits);
        let maps = self.change(group)?;
        if !maps.set_frags(first, run.count.wrapping_shl(bits), false) {
            return Err(Error::value(
                Place::Group(group),
                "map",
                first,
                "free blocks",
            ));
        }
        let last = run.first.saturating_add(run.count);
        maps.set_rotor(
            last.min(maps.block_count().saturating_sub(1))
                .wrapping_shl(bits),
        );
        Ok(Some(Blocks {
            frag: base.saturating_add(first.into()),
            count: run.count,
        }))
    }

    /// Allocates `count` fragments, fewer than a block has, within one block.
    ///
    /// # Errors
    /// `ENOSPC`; the device's.
    pub(crate) fn take_frags(&mut self, goal: u64, count: u32) -> Result<u64> {
        if self.outside_reserve(count.into())? < count.into() {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        let (start, within) = self.ffs().group_of(goal);
        for group in groups(start, self.sb().groups) {
            let goal = (group == start).then_some(within);
            if let Some(frag) = self.take_frags_in(group, goal, count)? {
                self.taken = self.taken.saturating_add(count.into());
                return Ok(frag);
            }
        }
        Err(Error::Refused(Errno::ENOSPC))
    }

    fn take_frags_in(&mut self, group: u32, goal: Option<u32>, count: u32) -> Result<Option<u64>> {
        let counts = self.stock()?.counts(group);
        if counts.frags >= count {
            let base = self.sb().group_base(group);
            let ratio = 1_u32.wrapping_shl(self.sb().ratio_bits());
            let volume = self.ffs().volume.clone();
            let Some(maps) = self.look(group)? else {
                return Ok(None);
            };
            let mut passed = false;
            let mut found = None;
            for len in count..ratio {
                if maps.frag_runs(len) == 0 {
                    continue;
                }
                found = maps.find_frags(maps.frag_rotor(), len, |frag| {
                    let held = volume.held(base.saturating_add(frag.into()), count.into());
                    passed |= held;
                    !held
                });
                if found.is_some() {
                    break;
                }
            }
            self.passed_held |= passed;
            if let Some(first) = found {
                let maps = self.change(group)?;
                maps.set_frag_rotor(first);
                if !maps.set_frags(first, count, false) {
                    return Err(Error::value(Place::Group(group), "map", first, "free"));
                }
                return Ok(Some(base.saturating_add(first.into())));
            }
        }
        let Some(block) = self.take_blocks_in(group, goal, 1)? else {
            return Ok(None);
        };
        let (group, first) = self.ffs().group_of(block.frag);
        let ratio = 1_u32.wrapping_shl(self.sb().ratio_bits());
        let maps = self.change(group)?;
        let rest = first.saturating_add(count);
        maps.set_frag_rotor(first);
        maps.set_frags(rest, ratio.saturating_sub(count), true);
        Ok(Some(block.frag))
    }

    /// Makes `had` fragments from `frag` on `want`, if those behind them are free.
    pub(crate) fn extend_frags(&mut self, frag: u64, had: u32, want: u32) -> Result<bool> {
        let ratio = 1_u32.wrapping_shl(self.sb().ratio_bits());
        let (group, first) = self.ffs().group_of(frag);
        let within = first & ratio.wrapping_sub(1);
        if within.saturating_add(want) > ratio {
            return Ok(false);
        }
        let more = want.saturating_sub(had);
        if self.outside_reserve(more.into())? < more.into() {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        let next = frag.saturating_add(had.into());
        let held = self.ffs().volume.held(next, more.into());
        let Some(maps) = self.look(group)? else {
            return Ok(false);
        };
        let next = first.saturating_add(had);
        let end = next.saturating_add(more);
        if held || bitmap::find(maps.frag_map(), false, next, end) < end || end > maps.frag_count()
        {
            return Ok(false);
        }
        self.taken = self.taken.saturating_add(more.into());
        Ok(self.change(group)?.set_frags(next, more, false))
    }

    /// How many of `want` fragments the operation may take.
    fn outside_reserve(&mut self, want: u64) -> Result<u64> {
        if self.space == Space::Reserve {
            return Ok(want);
        }
        let sb = self.sb();
        let taken = self.taken;
        let totals = self.stock()?.totals;
        let blocks = totals.blocks.wrapping_shl(sb.ratio_bits());
        let free = blocks.saturating_add(totals.frags).saturating_sub(taken);
        Ok(free.saturating_sub(sb.reserve()).min(want))
    }

    /// Frees fragments, which may be many blocks; they may be used again when this transaction is durable.
    ///
    /// # Errors
    /// [`Error::Value`] if one is free already, or belongs to the volume itself.
    pub(crate) fn free(&mut self, first: u64, count: u64) -> Result<()> {
        self.handle()?.hold(first, count);
        let sb = self.sb();
        let mut frag = first;
        let end = first.saturating_add(count);
        if end > sb.size {
            return Err(Error::value(
                Place::Frag(first),
                "number",
                end,
                "within the volume",
            ));
        }
        while frag < end {
            let (group, within) = self.ffs().group_of(frag);
            let left = u64::from(sb.frags_per_group.saturating_sub(within));
            let here = u32::try_from(left.min(end.saturating_sub(frag))).unwrap_or(0);
            let maps = self.change(group)?;
            let stop = within.saturating_add(here);
            let own = maps
                .fixed(sb)
                .iter()
                .any(|r| r.start < stop && within < r.end);
            if here == 0 || own || !maps.set_frags(within, here, true) {
                let place = Place::Group(group);
                return Err(Error::value(
                    place,
                    "map",
                    frag,
                    "a file's fragments in use",
                ));
            }
            frag = frag.saturating_add(here.into());
        }
        Ok(())
    }
}

/// A run of free blocks: at `from` if it is the goal and the run is good, else the best there is.
fn find(
    maps: &Maps,
    from: u32,
    is_goal: bool,
    want: u32,
    held: impl Fn(u32, u32) -> Option<(u32, u32)>,
    passed: &mut bool,
) -> Option<Run> {
    let (map, end) = (maps.block_map(), maps.block_count());
    let from = from.min(end);
    let mut best = Run::default();
    if is_goal {
        let run = free_part(bitmap::run_at(map, true, from, want, end), &held, passed);
        if run.first == from && run.count >= want.min(GOOD_RUN) {
            return Some(run);
        }
    }
    for range in [from..end, 0..from] {
        let mut at = range.start;
        for _ in 0..HELD_STEPS {
            let Some(run) = bitmap::find_run(map, true, at..range.end, want) else {
                break;
            };
            let part = free_part(run, &held, passed);
            if part.count > best.count {
                best = part;
            }
            if best.count >= want || part == run {
                break;
            }
            at = run.first.saturating_add(run.count);
        }
        if best.count >= want {
            break;
        }
    }
    (best.count > 0).then_some(best)
}

/// The longest part of a run that is not held back.
fn free_part(run: Run, held: impl Fn(u32, u32) -> Option<(u32, u32)>, passed: &mut bool) -> Run {
    let end = run.first.saturating_add(run.count);
    let mut best = Run {
        first: run.first,
        count: 0,
    };
    let mut at = run.first;
    while at < end {
        let stop = held(at, end);
        let to = stop.map_or(end, |(first, _)| first.clamp(at, end));
        let count = to.saturating_sub(at);
        if count > best.count {
            best = Run { first: at, count };
        }
        let Some((_, past)) = stop else { break };
        *passed = true;
        at = past.max(at.saturating_add(1));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn all_groups_are_tried() {
        let order: Vec<u32> = groups(3, 5).collect();
        assert_eq!(order, [3, 4, 1, 0, 4, 0, 1, 2]);
        assert_eq!(groups(0, 1).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn what_is_held_is_stepped_over() {
        let run = Run {
            first: 10,
            count: 20,
        };
        let mut passed = false;
        let held = |from: u32, to: u32| (from < 14 && to > 12).then_some((12.max(from), 14));
        let part = free_part(run, held, &mut passed);
        assert_eq!((part.first, part.count, passed), (14, 16, true));
    }
}
