//! Phase 4: each inode has as many names as it says.

use super::{Checker, Error, Finding, Phase, What};
use crate::layout::ROOT_INO;

impl Checker<'_> {
    pub(super) fn links(&mut self) -> Result<(), Error> {
        // The journal and quota have no names.
        for ino in self.hidden {
            if self.maps.state(ino).is_used() && !self.maps.state(ino).is_directory() {
                self.maps.name_found(ino);
            }
        }
        self.each_used(|checker, ino| {
            if checker.maps.links_left(ino) != 0 {
                checker.link_count(ino);
            }
        })?;
        for ino in core::mem::take(&mut self.zero_links) {
            if self.maps.links_left(ino) == 0 && !self.orphans.contains(&ino) {
                let finding = Finding::new(Phase::Links, What::ZeroLinks);
                self.tell.finding(&finding.ino(ino));
            }
        }
        Ok(())
    }

    fn link_count(&mut self, ino: u64) {
        let Ok((inode, _)) = self.reader.inode(ino) else {
            return;
        };
        let left = i64::from(self.maps.links_left(ino));
        let names = i64::from(inode.links).saturating_sub(left).max(0);
        let names = names.unsigned_abs();
        let new = |what| Finding::new(Phase::Links, what).ino(ino);
        let state = self.maps.state(ino);
        if names == 0 && self.orphans.contains(&ino) {
            return;
        }
        if !state.is_directory() {
            let finding = match names {
                0 => new(What::UnreferencedFile).found(inode.size),
                _ => new(What::LinkCount).values(inode.links.into(), names),
            };
            return self.tell.finding(&finding);
        }
        let at = self.maps.directory(ino);
        let directory = at.and_then(|at| self.maps.directories.get(at));
        let no_name = directory.is_some_and(|directory| directory.parent == 0) && ino != ROOT_INO;
        // One that nobody has a name for lacks that one, which was told before; one that was not read lacks more.
        if no_name && left == 1 || state.is_bad() {
            return;
        }
        let path = self.path(ino);
        let finding = new(What::LinkCount).path(path);
        self.tell
            .finding(&finding.values(inode.links.into(), names));
    }
}
