//! All that a program may do to a mounted volume, whatever comes of it.

use super::{Choose, choose::index};
use crate::mounted::MOUNT_POINT;
use rumpkern::{FileType, OpenFlags, Proc, Result, Stat, Timespec, types::DeviceNumber};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, RenameFlags, SetTime},
    fs::XattrMode,
};

/// Bounds of one walk: a broken directory may hold itself.
const ENTRIES_MAX: usize = 400;
const DEPTH_MAX: usize = 24;
const DATA_MAX: usize = 2 << 20;
const XATTRS_MAX: usize = 32;
/// Data is read in pieces of that many bytes.
const PIECE: usize = 64 << 10;
/// Operations of one case at most.
const OPS_MAX: usize = 24;

/// What was a file may be a FIFO by now, which nobody else opens.
const READ: OpenFlags = OpenFlags::RDONLY.union(OpenFlags::NONBLOCK);
const WRITE: OpenFlags = OpenFlags::RDWR.union(OpenFlags::NONBLOCK);

/// Something in the volume.
#[derive(Clone, Debug)]
struct Found {
    path: Vec<u8>,
    file_type: FileType,
    size: u64,
}

/// A volume in use.
pub(super) struct Exercise<'a> {
    proc: &'a Proc,
    found: Vec<Found>,
    data_left: usize,
    succeeded: usize,
    failed: usize,
}

impl<'a> Exercise<'a> {
    pub(super) fn new(proc: &'a Proc) -> Self {
        let root = Found {
            path: MOUNT_POINT.as_bytes().to_vec(),
            file_type: FileType::Directory,
            size: 0,
        };
        Self {
            proc,
            found: vec![root],
            data_left: DATA_MAX,
            succeeded: 0,
            failed: 0,
        }
    }

    /// Entries found so far.
    pub(super) fn found(&self) -> usize {
        self.found.len()
    }

    /// Calls that succeeded and failed.
    pub(super) fn calls(&self) -> (usize, usize) {
        (self.succeeded, self.failed)
    }

    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        if result.is_ok() {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
        result.ok()
    }

    /// Reads everything, within bounds.
    pub(super) fn walk(&mut self) {
        self.look();
        for at in 0..self.found.len() {
            let found = self.found[at].clone();
            self.read(&found);
        }
        self.note(self.proc.statvfs(MOUNT_POINT));
    }

    /// Finds what is there.
    pub(super) fn look(&mut self) {
        let mut at = 0;
        while at < self.found.len() && self.found.len() < ENTRIES_MAX {
            if self.found[at].file_type == FileType::Directory {
                let path = self.found[at].path.clone();
                self.list(&path);
            }
            at += 1;
        }
    }

    fn list(&mut self, path: &[u8]) {
        if path.iter().filter(|byte| **byte == b'/').count() > DEPTH_MAX {
            return;
        }
        let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
        let Some(fd) = self.note(self.proc.open(path, flags, 0)) else {
            return;
        };
        // A directory that never ends would be a hang, which the watchdog sees; what it lists is bounded here.
        let mut listed = 0;
        while let Some(entries) = self.note(self.proc.getdents_plus(fd, 4096)) {
            if entries.is_empty() || listed > 4 * ENTRIES_MAX {
                break;
            }
            listed += entries.len();
            for entry in entries {
                let Ok(Stat {
                    file_type, size, ..
                }) = entry.stat
                else {
                    self.failed += 1;
                    continue;
                };
                if self.found.len() < ENTRIES_MAX {
                    let path = [path, b"/", &entry.name].concat();
                    self.found.push(Found {
                        path,
                        file_type,
                        size,
                    });
                }
            }
        }
        self.note(self.proc.close(fd));
    }

    fn read(&mut self, found: &Found) {
        let path = &found.path[..];
        self.note(self.proc.lstat(path));
        match found.file_type {
            FileType::Regular => self.read_file(path),
            FileType::Symlink => {
                self.note(self.proc.readlinkat(At::Cwd, path));
                self.note(self.proc.stat(path));
            }
            FileType::Directory => self.read_dir(path),
            _ => {}
        }
        let names = self.note(self.proc.listxattr(path, Follow::No));
        for name in names.unwrap_or_default().iter().take(XATTRS_MAX) {
            self.note(self.proc.getxattr(path, name, Follow::No));
        }
    }

    fn read_dir(&mut self, path: &[u8]) {
        for name in [&b"/.."[..], b"/no such name", &[b'/', 0xFF, 0xFE]] {
            let _ = self.proc.lstat([path, name].concat());
        }
        let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
        if let Some(fd) = self.note(self.proc.open(path, flags, 0)) {
            self.note(self.proc.getdents(fd, 1024));
            self.note(self.proc.close(fd));
        }
    }

    /// The start, the middle and the end of a file, and the start of all after.
    fn read_file(&mut self, path: &[u8]) {
        let Some(fd) = self.note(self.proc.open(path, READ, 0)) else {
            return;
        };
        let size = self.note(self.proc.fstat(fd)).map_or(0, |stat| stat.size);
        let mut piece = vec![0; PIECE];
        let end = size.saturating_sub(PIECE as u64);
        for offset in [0, size / 2, end, size.saturating_sub(1), size, 1 << 40] {
            let most = PIECE.min(self.data_left);
            let read = self.note(self.proc.pread(fd, &mut piece[..most], offset));
            self.data_left -= read.unwrap_or(0);
        }
        self.note(self.proc.extents(fd, 0, u64::MAX));
        self.note(self.proc.close(fd));
    }

    /// Changes things until there is nothing left to choose by.
    pub(super) fn change(&mut self, choose: &mut dyn Choose) {
        for n in 0..OPS_MAX {
            if choose.ended() {
                break;
            }
            self.step(n, choose);
        }
    }

    fn any(&self, choose: &mut dyn Choose) -> Found {
        self.found[index(choose, self.found.len())].clone()
    }

    /// Something of a type; the root if there is none.
    fn of(&self, file_type: FileType, choose: &mut dyn Choose) -> Found {
        let all: Vec<&Found> = self
            .found
            .iter()
            .filter(|f| f.file_type == file_type)
            .collect();
        match all.len() {
            0 => self.found[0].clone(),
            len => all[index(choose, len)].clone(),
        }
    }

    /// A name that is new as a rule, short or long.
    fn new_path(&self, n: usize, choose: &mut dyn Choose) -> Vec<u8> {
        let dir = self.of(FileType::Directory, choose).path;
        let long = [0, 0, 20, 200][index(choose, 4)];
        let name = format!("new{n}{}", "x".repeat(long));
        [&dir[..], b"/", name.as_bytes()].concat()
    }

    fn step(&mut self, n: usize, choose: &mut dyn Choose) {
        match choose.below(20) {
            0 | 1 => self.create(n, choose),
            2 | 3 => self.write(choose),
            4 => self.truncate(choose),
            5 => self.unlink(choose),
            6 => {
                let path = self.new_path(n, choose);
                if self
                    .note(self.proc.mkdirat(At::Cwd, &path, 0o755))
                    .is_some()
                {
                    self.add(path, FileType::Directory);
                }
            }
            7 => {
                let dir = self.of(FileType::Directory, choose);
                self.note(self.proc.unlinkat(At::Cwd, dir.path, true));
            }
            8 | 9 => self.rename(n, choose),
            10 => {
                let (from, to) = (self.any(choose), self.new_path(n, choose));
                let linked = self
                    .proc
                    .linkat((At::Cwd, &from.path), (At::Cwd, &to), Follow::No);
                self.note(linked);
            }
            11 => {
                let path = self.new_path(n, choose);
                let target = vec![b't'; [1, 59, 60, 300, 1023, 4000][index(choose, 6)]];
                self.note(self.proc.symlinkat(&target, At::Cwd, path));
            }
            12 | 13 => self.attribute(choose),
            14 => self.status(choose),
            15 => self.space(choose),
            16 => self.many(n, choose),
            17 => {
                let found = self.any(choose);
                self.read(&found);
            }
            18 => self.open_unlinked(choose),
            _ => {
                self.note(self.proc.sync());
            }
        }
    }

    fn add(&mut self, path: Vec<u8>, file_type: FileType) {
        self.found.push(Found {
            path,
            file_type,
            size: 0,
        });
    }

    fn create(&mut self, n: usize, choose: &mut dyn Choose) {
        let path = self.new_path(n, choose);
        if choose.below(8) == 0 {
            let kind = [FileType::Fifo, FileType::Character][index(choose, 2)];
            let device = DeviceNumber {
                major: 300,
                minor: 7,
            };
            self.note(self.proc.mknodat(At::Cwd, path, kind, 0o600, device));
            return;
        }
        let flags = WRITE | OpenFlags::CREAT;
        let Some(fd) = self.note(self.proc.open(&path, flags, 0o644)) else {
            return;
        };
        self.write_to(fd, 0, choose);
        if choose.below(2) == 0 {
            self.note(self.proc.fsync(fd));
        }
        self.note(self.proc.close(fd));
        self.add(path, FileType::Regular);
    }

    fn write_to(&mut self, fd: rumpkern::Fd, size: u64, choose: &mut dyn Choose) {
        let offset = offset(size, choose);
        let data = vec![b'w'; [1, 100, 1024, 5000, 40_000][index(choose, 5)]];
        self.note(self.proc.pwrite(fd, &data, offset));
        let mut back = vec![0; 1000];
        self.note(self.proc.pread(fd, &mut back, offset.saturating_sub(500)));
    }

    fn write(&mut self, choose: &mut dyn Choose) {
        let file = self.of(FileType::Regular, choose);
        if let Some(fd) = self.note(self.proc.open(&file.path, WRITE, 0)) {
            self.write_to(fd, file.size, choose);
            self.note(self.proc.close(fd));
        }
    }

    fn truncate(&mut self, choose: &mut dyn Choose) {
        let file = self.of(FileType::Regular, choose);
        let size = offset(file.size, choose);
        self.note(self.proc.truncate(&file.path, size));
    }

    fn unlink(&mut self, choose: &mut dyn Choose) {
        let found = self.any(choose);
        self.note(self.proc.unlinkat(At::Cwd, found.path, false));
    }

    fn rename(&mut self, n: usize, choose: &mut dyn Choose) {
        let from = self.any(choose);
        let to = if choose.below(2) == 0 {
            self.new_path(n, choose)
        } else {
            self.any(choose).path
        };
        let flags = [
            RenameFlags::empty(),
            RenameFlags::empty(),
            RenameFlags::EXCHANGE,
        ][index(choose, 3)];
        let renamed = self
            .proc
            .renameat((At::Cwd, &from.path), (At::Cwd, &to), flags);
        if self.note(renamed).is_some() {
            self.add(to, from.file_type);
        }
    }

    fn attribute(&mut self, choose: &mut dyn Choose) {
        let path = self.any(choose).path;
        let names = self
            .note(self.proc.listxattr(&path, Follow::No))
            .unwrap_or_default();
        let own = [&b"user.new"[..], b"trusted.new", b"security.new"][index(choose, 3)];
        let name = match names.len() {
            0 => own.to_vec(),
            len if choose.below(2) == 0 => names[index(choose, len)].clone(),
            _ => own.to_vec(),
        };
        if choose.below(3) == 0 {
            self.note(self.proc.removexattr(&path, &name, Follow::No));
        } else {
            let value = vec![b'v'; [0, 10, 100, 900, 3000, 20_000][index(choose, 6)]];
            let set = self
                .proc
                .setxattr(&path, &name, &value, XattrMode::Set, Follow::No);
            self.note(set);
        }
    }

    fn status(&mut self, choose: &mut dyn Choose) {
        let path = self.any(choose).path;
        let proc = self.proc;
        match choose.below(3) {
            0 => self.note(proc.fchmodat(At::Cwd, path, 0o2750, Follow::Yes)),
            1 => self.note(proc.fchownat(At::Cwd, path, Some(70_000), Some(7), Follow::No)),
            _ => {
                let time = SetTime::To(Timespec::from_secs(-1));
                self.note(proc.utimensat(At::Cwd, path, SetTime::Now, time, Follow::No))
            }
        };
    }

    /// Reserves space, or makes a hole.
    fn space(&mut self, choose: &mut dyn Choose) {
        let file = self.of(FileType::Regular, choose);
        let Some(fd) = self.note(self.proc.open(&file.path, WRITE, 0)) else {
            return;
        };
        let start = offset(file.size, choose);
        let len = [1, 1000, 9000, 300_000][index(choose, 4)];
        if choose.below(2) == 0 {
            self.note(self.proc.fallocate(fd, start, len, choose.below(2) == 0));
        } else {
            self.note(self.proc.punch_hole(fd, start, len));
        }
        self.note(self.proc.close(fd));
    }

    /// Fills a directory with names, or empties it.
    fn many(&mut self, n: usize, choose: &mut dyn Choose) {
        let dir = self.of(FileType::Directory, choose).path;
        if choose.below(2) == 0 {
            let inside: Vec<Found> = self
                .found
                .iter()
                .filter(|f| f.path.starts_with(&dir))
                .cloned()
                .collect();
            for found in inside.into_iter().rev().take(60) {
                let is_dir = found.file_type == FileType::Directory;
                self.note(self.proc.unlinkat(At::Cwd, found.path, is_dir));
            }
            return;
        }
        for k in 0..40 {
            let path = [
                &dir[..],
                format!("/many {n} {k} {}", "m".repeat(100)).as_bytes(),
            ]
            .concat();
            let flags = WRITE | OpenFlags::CREAT;
            if let Some(fd) = self.note(self.proc.open(path, flags, 0o600)) {
                self.note(self.proc.close(fd));
            }
        }
    }

    /// A file is written to after its last name is gone.
    fn open_unlinked(&mut self, choose: &mut dyn Choose) {
        let file = self.of(FileType::Regular, choose);
        let Some(fd) = self.note(self.proc.open(&file.path, WRITE, 0)) else {
            return;
        };
        self.note(self.proc.unlinkat(At::Cwd, &file.path, false));
        self.write_to(fd, file.size, choose);
        self.note(self.proc.ftruncate(fd, offset(file.size, choose)));
        self.note(self.proc.close(fd));
    }
}

/// A place in a file of that size, or past it.
fn offset(size: u64, choose: &mut dyn Choose) -> u64 {
    match choose.below(8) {
        0 | 1 => 0,
        2 => size / 2,
        3 => size,
        4 => size.saturating_add(10_000),
        5 => choose.below(1 << 17),
        6 => choose.below(1 << 33),
        _ => size.saturating_sub(1),
    }
}
