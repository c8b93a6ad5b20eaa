//! UFS1's old layout counts free blocks by cylinder and rotational position.

use crate::{superblock::Disk, types::index};

/// Where blocks are counted by cylinder and rotational position.
#[derive(Clone, Copy)]
pub(super) struct Positions {
    pub(super) disk: Disk,
    /// Cylinders, and positions in each.
    pub(super) cylinders: (u32, u32),
    pub(super) totals_at: usize,
    pub(super) counts_at: usize,
}

impl Positions {
    /// Where the block that begins with a fragment of the group is counted: by cylinder, and by position in it.
    pub(super) fn of(&self, frag: u32) -> Option<(usize, usize)> {
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
