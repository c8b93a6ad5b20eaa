//! Phase 2: directories. They are read from the root on, so that the path of each is known; then those that no path leads to.

use super::{
    Checker, Error, Finding, Phase, What,
    maps::State,
    records::{self, Entry, Met},
};
use crate::{
    layout::{ROOT_INO, WHITEOUT_INO},
    types::number,
};
use alloc::{collections::VecDeque, vec::Vec};

/// Type of a whiteout in a directory.
const WHITEOUT: u8 = 14;

/// A directory that is being read.
struct Reading {
    /// Its place in the list.
    at: usize,
    ino: u64,
    /// Records so far, those not in use only where `.` and `..` should be.
    records: u64,
    /// Directories in it.
    found: Vec<usize>,
}

impl Checker<'_> {
    pub(super) fn names(&mut self) -> Result<(), Error> {
        let root = self.maps.state(ROOT_INO);
        if !root.is_used() {
            let finding = Finding::new(Phase::Names, What::RootMissing);
            self.tell.finding(&finding.ino(ROOT_INO));
        } else if !root.is_directory() {
            let finding = Finding::new(Phase::Names, What::RootType);
            self.tell
                .finding(&finding.ino(ROOT_INO).found(root.kind().into()));
        }
        if let Some(at) = self.maps.directory(ROOT_INO) {
            self.below(at, true)?;
        }
        for at in 0..self.maps.directories.len() {
            let ino = self.ino_at(at);
            if !self.maps.state(ino).is_scanned() {
                self.below(at, false)?;
            }
        }
        Ok(())
    }

    pub(super) fn ino_at(&self, at: usize) -> u64 {
        let directory = self.maps.directories.get(at);
        directory.map_or(0, |directory| directory.ino.into())
    }

    /// A directory, and those in it that were not read yet.
    fn below(&mut self, top: usize, connected: bool) -> Result<(), Error> {
        let total = number(self.maps.directories.len());
        let mut waiting = VecDeque::from([top]);
        let mut done = 0_u64;
        while let Some(at) = waiting.pop_front() {
            if done & 0xFF == 0 {
                self.tell.progress(done, total)?;
            }
            done = done.saturating_add(1);
            let ino = self.ino_at(at);
            let state = self.maps.state(ino);
            if state.is_scanned() {
                continue;
            }
            let state = state.scanned();
            let state = if connected { state.connected() } else { state };
            self.maps.set_state(ino, state);
            if state.is_bad() {
                let finding = Finding::new(Phase::Names, What::DirectorySkipped).ino(ino);
                let path = self.path(ino);
                self.tell.finding(&finding.path(path));
                continue;
            }
            waiting.extend(self.directory(at, ino)?);
        }
        Ok(())
    }

    fn directory(&mut self, at: usize, ino: u64) -> Result<Vec<usize>, Error> {
        let mut reading = Reading {
            at,
            ino,
            records: 0,
            found: Vec::new(),
        };
        let Ok((inode, _)) = self.reader.inode(ino) else {
            return Ok(reading.found);
        };
        for (start, frag, count) in records::pieces(&self.reader, &inode) {
            let Ok(bytes) = self.reader.frags(frag, count) else {
                let finding = Finding::new(Phase::Names, What::Unreadable).ino(ino);
                self.tell.finding(&finding.block(frag));
                continue;
            };
            let superblock = self.reader.superblock.clone();
            records::scan(&superblock, start, inode.size, &bytes, &mut |met| {
                match met {
                    Met::Entry(entry) => self.entry(&mut reading, entry),
                    Met::Unused => self.unused(&mut reading),
                    Met::Damage(offset) => self.damage(&mut reading, offset),
                }
                true
            });
        }
        let missing: &[What] = match reading.records {
            0 => &[What::DotMissing, What::DotDotMissing],
            1 => &[What::DotDotMissing],
            _ => &[],
        };
        for what in missing {
            self.wrong(&reading, *what, b"");
        }
        Ok(reading.found)
    }

    /// Something about a name of a directory, or about the directory.
    fn wrong(&mut self, reading: &Reading, what: What, name: &[u8]) {
        let finding = self.about(reading, what, name);
        self.tell.finding(&finding);
    }

    fn about(&mut self, reading: &Reading, what: What, name: &[u8]) -> Finding {
        let mut path = self.path(reading.ino);
        if let Some(path) = path.as_mut().filter(|_| !name.is_empty()) {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Finding::new(Phase::Names, what).ino(reading.ino).path(path)
    }

    fn damage(&mut self, reading: &mut Reading, offset: u64) {
        let finding = self.about(reading, What::Record, b"");
        self.tell
            .finding(&finding.detail("at offset").found(offset));
    }

    /// A record without a name: neither `.` nor `..` may be one.
    fn unused(&mut self, reading: &mut Reading) {
        let what = match reading.records {
            0 => What::DotMissing,
            1 => What::DotDotMissing,
            _ => return,
        };
        reading.records = reading.records.saturating_add(1);
        self.wrong(reading, what, b"");
    }

    fn entry(&mut self, reading: &mut Reading, entry: Entry<'_>) {
        let number = reading.records;
        reading.records = number.saturating_add(1);
        match (number, entry.name) {
            (0, b".") => return self.dot(reading, entry),
            (1, b"..") => return self.dot_dot(reading, entry),
            (0, _) => self.wrong(reading, What::DotMissing, b""),
            (1, _) => self.wrong(reading, What::DotDotMissing, b""),
            _ => {}
        }
        if matches!(entry.name, b"." | b"..") {
            return self.wrong(reading, What::DotExtra, entry.name);
        }
        if !entry.ended || entry.name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            self.wrong(reading, What::RecordName, entry.name);
        }
        self.target(reading, entry);
    }

    /// The type byte.
    fn kind(&mut self, reading: &Reading, entry: Entry<'_>, state: State) {
        let superblock = &self.reader.superblock;
        if superblock.old_directories || entry.kind == state.kind() {
            return;
        }
        let finding = self.about(reading, What::RecordType, entry.name);
        let values = (entry.kind.into(), state.kind().into());
        self.tell.finding(&finding.values(values.0, values.1));
    }

    fn dot(&mut self, reading: &Reading, entry: Entry<'_>) {
        if u64::from(entry.ino) == reading.ino {
            self.maps.name_found(reading.ino);
            return self.kind(reading, entry, State::used(State::DIRECTORY));
        }
        let finding = self.about(reading, What::DotInode, b".");
        self.tell
            .finding(&finding.values(entry.ino.into(), reading.ino));
    }

    fn dot_dot(&mut self, reading: &Reading, entry: Entry<'_>) {
        let ino = u64::from(entry.ino);
        if let Some(directory) = self.maps.directories.get_mut(reading.at) {
            directory.dot_dot = entry.ino;
        }
        if self.maps.state(ino).is_directory() {
            self.maps.name_found(ino);
        }
        self.kind(reading, entry, State::used(State::DIRECTORY));
    }

    fn target(&mut self, reading: &mut Reading, entry: Entry<'_>) {
        let ino = u64::from(entry.ino);
        let modern = !self.reader.superblock.old_directories;
        let is_whiteout = entry.ino == WHITEOUT_INO;
        if modern && (is_whiteout || entry.kind == WHITEOUT) {
            if !(is_whiteout && entry.kind == WHITEOUT) {
                self.wrong(reading, What::Whiteout, entry.name);
            }
            if is_whiteout {
                return;
            }
        }
        let state = self.maps.state(ino);
        let what = if ino < ROOT_INO || ino >= self.reader.superblock.inodes() {
            What::InodeRange
        } else if !state.is_used() {
            What::InodeFree
        } else {
            if state.is_bad() {
                let finding = self.about(reading, What::InodeBad, entry.name);
                self.tell.finding(&finding.found(ino));
            }
            if entry.kind != WHITEOUT {
                self.kind(reading, entry, state);
            }
            return self.name_of(reading, entry, state);
        };
        let finding = self.about(reading, what, entry.name);
        self.tell.finding(&finding.found(ino));
    }

    /// A name of an inode in use.
    fn name_of(&mut self, reading: &mut Reading, entry: Entry<'_>, state: State) {
        let ino = u64::from(entry.ino);
        if state.is_directory() {
            let Some(at) = self.maps.directory(ino) else {
                return;
            };
            let parent = u32::try_from(reading.ino).unwrap_or(0);
            match self.maps.directories.get_mut(at) {
                Some(directory) if directory.parent == 0 && ino != ROOT_INO => {
                    directory.parent = parent;
                    reading.found.push(at);
                }
                _ => {
                    // It does not count: nobody reaches it by this name after a repair.
                    let finding = self.about(reading, What::SeveralParents, entry.name);
                    self.tell.finding(&finding.found(ino));
                    return;
                }
            }
        }
        self.maps.name_found(ino);
    }
}
