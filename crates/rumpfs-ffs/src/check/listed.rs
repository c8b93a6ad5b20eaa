//! Inodes that the superblock lists: the one with the journal, snapshots.

use super::{
    Checker, Finding, Phase, What,
    blocks::{Blocks, Item, Next},
};
use crate::{
    inode::{FileType, type_of},
    layout::{file_flag, journal_flag, journal_location},
    superblock::LogPlace,
};

impl Checker<'_> {
    pub(super) fn listed(&mut self) {
        let superblock = &self.reader.superblock;
        // Until it is made, its place says how large it is to be.
        let made = superblock.journal_flags & journal_flag::CREATE == 0;
        let journal = superblock
            .journal
            .filter(|place| made && place.location == journal_location::INSIDE && place.count != 0);
        if let Some(place) = journal {
            let fault = self.marked(place.inode, file_flag::SF_LOG);
            if let Some(detail) = fault.or_else(|| self.other_blocks(&place)) {
                let finding = Finding::new(Phase::Blocks, What::JournalInode);
                self.tell.finding(&finding.ino(place.inode).detail(detail));
            }
        }
        for ino in core::mem::take(&mut self.snapshots) {
            if let Some(detail) = self.marked(ino, file_flag::SF_SNAPSHOT) {
                let finding = Finding::new(Phase::Blocks, What::SnapshotInode);
                self.tell.finding(&finding.ino(ino).detail(detail));
            }
        }
    }

    /// What keeps an inode from being a file with that flag.
    fn marked(&self, ino: u64, flag: u32) -> Option<&'static str> {
        if !self.maps.state(ino).is_used() {
            return Some("not in use");
        }
        let (inode, _) = self.reader.inode(ino).ok()?;
        if type_of(inode.kind().into()) != Some(FileType::Regular) {
            return Some("no file");
        }
        (inode.flags & flag == 0).then_some("without its flag")
    }

    /// Whether the inode's blocks are others than the superblock says: the journal is in one piece.
    fn other_blocks(&self, place: &LogPlace) -> Option<&'static str> {
        let (inode, _) = self.reader.inode(place.inode).ok()?;
        // What is wrong with these was told.
        if self.maps.state(place.inode).is_bad() {
            return None;
        }
        let superblock = &self.reader.superblock;
        let start = place.start.saturating_mul(place.block_size);
        let end = start.saturating_add(place.count.saturating_mul(place.block_size));
        let frag_size = superblock.frag_size();
        let mut next = start.wrapping_shr(superblock.frag_bits);
        let end = end.div_ceil(frag_size);
        let mut same = start & frag_size.wrapping_sub(1) == 0;
        let mut visit = |item| {
            match item {
                Item::Data { frag, count, .. } => {
                    same &= frag == next;
                    next = next.saturating_add(count);
                }
                Item::Indirect { .. } => {}
                _ => same = false,
            }
            // No more than the journal has: so this ends, whatever blocks of pointers there are.
            if same && next < end {
                Next::On
            } else {
                Next::Stop
            }
        };
        Blocks::new(&self.reader, &inode).walk(true, &mut visit);
        (!same || next < end).then_some("other blocks than the superblock says")
    }
}
