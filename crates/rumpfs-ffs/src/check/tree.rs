//! Phase 3: directories that no path leads to; and paths.

use super::{
    Checker, Error, Finding, Phase, What,
    maps::zeros,
    records::{self, Met},
};
use crate::layout::ROOT_INO;
use alloc::vec::Vec;

/// Bytes of directories that are read for paths in all; what is found after that has none.
pub(super) const PATH_BYTES: u64 = 64 << 20;
/// Directories of a path at most.
const DEPTH_MAX: usize = 64;

impl Checker<'_> {
    pub(super) fn connectivity(&mut self) -> Result<(), Error> {
        let count = self.maps.directories.len();
        for at in 0..count {
            let Some(directory) = self.maps.directories.get(at).copied() else {
                break;
            };
            let ino = u64::from(directory.ino);
            let is_root = ino == ROOT_INO;
            if directory.parent == 0 && !is_root {
                let finding = Finding::new(Phase::Connectivity, What::UnreferencedDirectory);
                self.tell.finding(&finding.ino(ino));
                continue;
            }
            let parent = if is_root {
                directory.ino
            } else {
                directory.parent
            };
            if directory.dot_dot != 0 && directory.dot_dot != parent {
                let finding = Finding::new(Phase::Connectivity, What::DotDotInode)
                    .ino(ino)
                    .path(self.path(ino));
                self.tell
                    .finding(&finding.values(directory.dot_dot.into(), parent.into()));
            }
        }
        self.loops()
    }

    /// Directories that are not connected to the root and have no end above them.
    fn loops(&mut self) -> Result<(), Error> {
        /// Not seen, on the way up, done.
        const NEW: u8 = 0; // As the list begins.
        const ON_THE_WAY: u8 = 1;
        const DONE: u8 = 2;
        let mut seen = zeros(self.maps.directories.len())?;
        for start in 0..seen.len() {
            let mut way = Vec::new();
            let mut at = Some(start);
            while let Some(here) = at {
                let ino = self.ino_at(here);
                let Some(mark) = seen
                    .get_mut(here)
                    .filter(|_| !self.maps.state(ino).is_connected())
                else {
                    break;
                };
                match *mark {
                    NEW => {
                        *mark = ON_THE_WAY;
                        way.push(here);
                    }
                    ON_THE_WAY => {
                        let finding = Finding::new(Phase::Connectivity, What::Loop).ino(ino);
                        self.tell.finding(&finding);
                        break;
                    }
                    _ => break,
                }
                let parent = self.maps.directories.get(here).map_or(0, |d| d.parent);
                at = self.maps.directory(parent.into());
            }
            for here in way {
                if let Some(mark) = seen.get_mut(here) {
                    *mark = DONE;
                }
            }
        }
        Ok(())
    }

    /// The path of a directory; it begins with `?` where none leads. `None` when looking for it took too long.
    pub(super) fn path(&mut self, ino: u64) -> Option<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut here = ino;
        while here != ROOT_INO {
            let at = self.maps.directory(here);
            let parent = at.and_then(|at| self.maps.directories.get(at));
            let parent = parent.map_or(0, |directory| u64::from(directory.parent));
            if parent == 0 || names.len() >= DEPTH_MAX {
                names.push(b"?".to_vec());
                break;
            }
            names.push(self.name_in(parent, here)?);
            here = parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            if here == ROOT_INO || !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Some(path)
    }

    /// The name that a directory has for an inode.
    fn name_in(&mut self, parent: u64, ino: u64) -> Option<Vec<u8>> {
        let (inode, _) = self.reader.inode(parent).ok()?;
        self.path_bytes = self.path_bytes.checked_sub(inode.size)?;
        let mut found = None;
        for (start, frag, count) in records::pieces(&self.reader, &inode) {
            let bytes = self.reader.frags(frag, count).ok()?;
            let superblock = &self.reader.superblock;
            records::scan(superblock, start, inode.size, &bytes, &mut |met| {
                if let Met::Entry(entry) = met
                    && u64::from(entry.ino) == ino
                    && !matches!(entry.name, b"." | b"..")
                {
                    found = Some(entry.name.to_vec());
                }
                found.is_none()
            });
            if found.is_some() {
                break;
            }
        }
        found
    }
}
