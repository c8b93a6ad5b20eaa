//! Each operation, done on the mount and on the model.

use super::{InodeKind, Model, Op, Outcome, Place, SIZE_MAX};
use rumpkern::{Errno, FileType, OpenFlags, Proc, Timespec};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, RenameFlags, SetTime},
    fs::XattrMode,
};
use std::collections::BTreeMap;

/// What the mount said, and what the model expects.
type Results = (rumpkern::Result<()>, Outcome);

/// The mount and the model of it.
struct Both<'a> {
    model: &'a mut Model,
    proc: &'a Proc,
    /// Where it is mounted.
    root: &'a str,
}

impl Model {
    /// Does an operation on the mount at `root` and on the model.
    ///
    /// # Panics
    /// When the results differ.
    pub fn step(&mut self, proc: &Proc, root: &str, op: &Op) {
        let mut both = Both {
            model: self,
            proc,
            root,
        };
        // Without a file to do it with there is nothing to do.
        if let Some(results) = both.perform(op) {
            both.compare(op, results);
        }
    }
}

/// Which inodes an operation is for.
fn regular(kind: &InodeKind) -> bool {
    matches!(kind, InodeKind::Regular(_))
}

fn directory(kind: &InodeKind) -> bool {
    matches!(kind, InodeKind::Directory(_))
}

fn symlink(kind: &InodeKind) -> bool {
    matches!(kind, InodeKind::Symlink(_))
}

impl Both<'_> {
    fn perform(&mut self, op: &Op) -> Option<Results> {
        match *op {
            Op::Create(place, mode) => Some(self.create(place, mode)),
            Op::Write {
                file,
                offset,
                len,
                fill,
            } => self.write(file, offset, pattern(len as usize % 60_000, fill)),
            Op::Append { file, len, fill } => {
                self.append(file, pattern(usize::from(len) % 9_000, fill))
            }
            Op::Truncate { file, size } => self.truncate(file, size),
            Op::Punch { file, offset, len } => self.punch(file, offset, len),
            Op::Reserve { file, offset, len } => self.reserve(file, offset, len),
            Op::Mkdir(place, mode) => Some(self.mkdir(place, mode)),
            Op::Rmdir(place) => Some(self.unlink(place, true)),
            Op::Unlink(place) => Some(self.unlink(place, false)),
            Op::UnlinkOpen(place, len) => self.unlink_open(place, len),
            Op::Link(file, place) => self.link(file, place),
            Op::Symlink(place, len) => Some(self.symlink(place, len)),
            Op::Mkfifo(place) => Some(self.mkfifo(place)),
            Op::Rename(from, to, kind) => Some(self.rename(from, to, kind)),
            Op::Chmod(file, mode) => self.chmod(file, mode),
            Op::Chown(file, uid, gid) => self.chown(file, uid, gid),
            Op::Utimes(file, sec, nsec) => self.utimes(file, sec, nsec),
            Op::SetXattr {
                file,
                name,
                len,
                fill,
            } => self.set_xattr(file, name, pattern(usize::from(len) % 180, fill)),
            Op::RemoveXattr { file, name } => self.remove_xattr(file, name),
            Op::Fsync(file) => self.fsync(file),
            Op::Sync => Some((self.proc.sync(), Ok(()))),
        }
    }

    fn compare(&self, op: &Op, (got, expected): Results) {
        match (&got, &expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(any)) if any.contains(error) => {}
            _ => {
                let messages = self.proc.kernel().log().since(0);
                let last: Vec<_> = messages.iter().rev().take(5).collect();
                panic!("{op:?}: got {got:?}, expected {expected:?}; messages: {last:?}");
            }
        }
    }

    fn at(&self, path: &[u8]) -> Vec<u8> {
        [self.root.as_bytes(), b"/", path].concat()
    }

    /// One of the files of these kinds: its path on the mount, and its inode in the model.
    fn choose(&self, file: u16, which: impl Fn(&InodeKind) -> bool) -> Option<(Vec<u8>, usize)> {
        let (path, id) = self.model.choose(file, which)?;
        Some((self.at(&path), id))
    }

    /// A place: its path on the mount, its directory in the model, and the name in it.
    fn place(&self, place: Place) -> (Vec<u8>, usize, Vec<u8>) {
        let (path, dir, name) = self.model.place(place);
        (self.at(&path), dir, name)
    }
}

/// Names.
impl Both<'_> {
    fn create(&mut self, place: Place, mode: u16) -> Results {
        let (path, dir, name) = self.place(place);
        let mode = u32::from(mode) & 0o7777;
        let flags = OpenFlags::RDWR | OpenFlags::CREAT | OpenFlags::EXCL;
        let fd = self.proc.open(path, flags, mode);
        let got = fd.and_then(|fd| self.proc.close(fd));
        let kind = InodeKind::Regular(Vec::new());
        (got, self.model.make(dir, name, kind, mode))
    }

    fn mkdir(&mut self, place: Place, mode: u16) -> Results {
        let (path, dir, name) = self.place(place);
        let mode = u32::from(mode) & 0o1777;
        let got = self.proc.mkdirat(At::Cwd, path, mode);
        let kind = InodeKind::Directory(BTreeMap::new());
        (got, self.model.make(dir, name, kind, mode))
    }

    fn symlink(&mut self, place: Place, len: u16) -> Results {
        let (path, dir, name) = self.place(place);
        let target = vec![b't'; usize::from(len) % 900 + 1];
        let got = self.proc.symlinkat(&target, At::Cwd, path);
        let kind = InodeKind::Symlink(target);
        (got, self.model.make(dir, name, kind, 0o777))
    }

    fn mkfifo(&mut self, place: Place) -> Results {
        let (path, dir, name) = self.place(place);
        let device = rumpkern::types::DeviceNumber::default();
        let got = self
            .proc
            .mknodat(At::Cwd, path, FileType::Fifo, 0o640, device);
        (got, self.model.make(dir, name, InodeKind::Fifo, 0o640))
    }

    fn link(&mut self, file: u16, place: Place) -> Option<Results> {
        let (source, id) = self.choose(file, |kind| !directory(kind))?;
        let (path, dir, name) = self.place(place);
        let (from, to) = ((At::Cwd, &source[..]), (At::Cwd, &path[..]));
        let got = self.proc.linkat(from, to, Follow::No);
        if self.model.entries(dir).contains_key(&name) {
            return Some((got, Err(vec![Errno::EEXIST])));
        }
        self.model.entries_mut(dir).insert(name, id);
        Some((got, Ok(())))
    }

    fn unlink(&mut self, place: Place, rmdir: bool) -> Results {
        let (path, dir, name) = self.place(place);
        let got = self.proc.unlinkat(At::Cwd, path, rmdir);
        (got, self.model.remove(dir, &name, rmdir))
    }

    fn unlink_open(&mut self, place: Place, len: u32) -> Option<Results> {
        let (path, dir, name) = self.place(place);
        let &id = self.model.entries(dir).get(&name)?;
        if !regular(&self.model.inode(id).kind) {
            return None;
        }
        let data = pattern(len as usize % 100_000, 77);
        let proc = self.proc;
        let got = open_and(proc, &path, |fd| {
            proc.unlinkat(At::Cwd, &path, false)?;
            assert_eq!(proc.pwrite(fd, &data, 10)?, data.len());
            let mut back = vec![0; data.len()];
            assert_eq!(proc.pread(fd, &mut back, 10)?, data.len());
            assert!(back == data, "an unlinked file reads what was written");
            Ok(())
        });
        self.model.write(id, 10, &data);
        Some((got, self.model.remove(dir, &name, false)))
    }

    fn rename(&mut self, from: Place, to: Place, kind: u8) -> Results {
        let (from_path, from_dir, from_name) = self.place(from);
        let (to_path, to_dir, to_name) = self.place(to);
        let flags = match kind % 8 {
            1 => RenameFlags::NOREPLACE,
            2 => RenameFlags::EXCHANGE,
            _ => RenameFlags::empty(),
        };
        let paths = ((At::Cwd, &from_path[..]), (At::Cwd, &to_path[..]));
        let got = self.proc.renameat(paths.0, paths.1, flags);
        let (from, to) = ((from_dir, from_name), (to_dir, to_name));
        (got, self.model.rename(from, to, flags))
    }
}

/// Data.
impl Both<'_> {
    fn write(&mut self, file: u16, offset: u32, data: Vec<u8>) -> Option<Results> {
        let (path, id) = self.choose(file, regular)?;
        let offset = u64::from(offset) % SIZE_MAX;
        let got = open_and(self.proc, &path, |fd| {
            assert_eq!(self.proc.pwrite(fd, &data, offset)?, data.len());
            Ok(())
        });
        self.model.write(id, offset, &data);
        Some((got, Ok(())))
    }

    fn append(&mut self, file: u16, data: Vec<u8>) -> Option<Results> {
        let (path, id) = self.choose(file, regular)?;
        let size = self.model.content(id).len() as u64;
        if size > SIZE_MAX {
            return None;
        }
        let flags = OpenFlags::WRONLY | OpenFlags::APPEND;
        let got = self.proc.open(path, flags, 0).and_then(|fd| {
            assert_eq!(self.proc.write(fd, &data)?, data.len());
            self.proc.close(fd)
        });
        self.model.write(id, size, &data);
        Some((got, Ok(())))
    }

    fn truncate(&mut self, file: u16, size: u32) -> Option<Results> {
        let (path, id) = self.choose(file, regular)?;
        let size = u64::from(size) % SIZE_MAX;
        self.model.content(id).resize(index(size), 0);
        Some((self.proc.truncate(path, size), Ok(())))
    }

    fn punch(&mut self, file: u16, offset: u32, len: u32) -> Option<Results> {
        let (path, id) = self.choose(file, regular)?;
        let (offset, len) = (u64::from(offset) % SIZE_MAX, u64::from(len) % 200_000 + 1);
        let proc = self.proc;
        let got = open_and(proc, &path, |fd| proc.punch_hole(fd, offset, len));
        if got == Err(Errno::EOPNOTSUPP) {
            return None;
        }
        let content = self.model.content(id);
        let end = index(offset + len).min(content.len());
        if index(offset) < end {
            content[index(offset)..end].fill(0);
        }
        Some((got, Ok(())))
    }

    fn reserve(&mut self, file: u16, offset: u32, len: u32) -> Option<Results> {
        let (path, id) = self.choose(file, regular)?;
        let (offset, len) = (u64::from(offset) % SIZE_MAX, u64::from(len) % 100_000 + 1);
        let proc = self.proc;
        let got = open_and(proc, &path, |fd| proc.fallocate(fd, offset, len, false));
        if got == Err(Errno::EOPNOTSUPP) {
            return None;
        }
        let content = self.model.content(id);
        let end = index(offset + len).max(content.len());
        content.resize(end, 0);
        Some((got, Ok(())))
    }

    fn fsync(&mut self, file: u16) -> Option<Results> {
        let (path, _) = self.choose(file, regular)?;
        let got = open_and(self.proc, &path, |fd| self.proc.fsync(fd));
        Some((got, Ok(())))
    }
}

/// Attributes.
impl Both<'_> {
    fn chmod(&mut self, file: u16, mode: u16) -> Option<Results> {
        let (path, id) = self.choose(file, |kind| !symlink(kind))?;
        let mode = u32::from(mode) & 0o7777;
        self.model.inode_mut(id).mode = mode;
        let got = self.proc.fchmodat(At::Cwd, path, mode, Follow::Yes);
        Some((got, Ok(())))
    }

    fn chown(&mut self, file: u16, uid: u32, gid: u32) -> Option<Results> {
        let (path, id) = self.choose(file, |_| true)?;
        let (uid, gid) = (uid % 0xffff_fffe, gid % 0xffff_fffe);
        let (owner, group) = (Some(uid), Some(gid));
        let got = self.proc.fchownat(At::Cwd, &path, owner, group, Follow::No);
        // Whether the superuser's chown clears set-id bits is the system's choice: take what came.
        let mode = self.proc.lstat(&path).map_or(0, |s| s.mode);
        let inode = self.model.inode_mut(id);
        let others = inode.mode | 0o6000;
        assert_eq!(mode | 0o6000, others, "chown changes no other bits");
        (inode.uid, inode.gid, inode.mode) = (uid, gid, mode);
        Some((got, Ok(())))
    }

    fn utimes(&mut self, file: u16, sec: i64, nsec: u32) -> Option<Results> {
        let (path, id) = self.choose(file, |_| true)?;
        let format = self.model.format;
        let range = format.max - i64::from(i32::MIN) + 1;
        let sec = sec.rem_euclid(range) + i64::from(i32::MIN);
        let nsec = nsec % 1_000_000_000;
        let kept = nsec - nsec % format.granularity;
        self.model.inode_mut(id).mtime = Some(Timespec { sec, nsec: kept });
        let to = SetTime::To(Timespec { sec, nsec });
        let got = self
            .proc
            .utimensat(At::Cwd, path, SetTime::Omit, to, Follow::No);
        Some((got, Ok(())))
    }

    fn set_xattr(&mut self, file: u16, name: u8, value: Vec<u8>) -> Option<Results> {
        let (path, id) = self.choose(file, |kind| regular(kind) || directory(kind))?;
        let name = attribute(name);
        let got = self
            .proc
            .setxattr(path, &name, &value, XattrMode::Set, Follow::No);
        if !self.model.format.xattrs {
            return Some((got, Err(vec![Errno::EOPNOTSUPP])));
        }
        self.model.inode_mut(id).xattrs.insert(name, value);
        Some((got, Ok(())))
    }

    fn remove_xattr(&mut self, file: u16, name: u8) -> Option<Results> {
        let (path, id) = self.choose(file, |kind| regular(kind) || directory(kind))?;
        let name = attribute(name);
        let got = self.proc.removexattr(path, &name, Follow::No);
        let expected = match self.model.inode_mut(id).xattrs.remove(&name) {
            Some(_) => Ok(()),
            None => Err(vec![Errno::ENOATTR, Errno::EOPNOTSUPP]),
        };
        Some((got, expected))
    }
}

fn open_and(
    proc: &Proc,
    path: &[u8],
    f: impl FnOnce(u32) -> rumpkern::Result<()>,
) -> rumpkern::Result<()> {
    let fd = proc.open(path, OpenFlags::RDWR, 0)?;
    let result = f(fd);
    result.and(proc.close(fd))
}

/// An offset in a file of the model.
fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a small file")
}

/// The full name of an extended attribute.
fn attribute(number: u8) -> Vec<u8> {
    format!("user.attr{}", number % 4).into_bytes()
}

/// Bytes that tell where they belong.
fn pattern(len: usize, fill: u8) -> Vec<u8> {
    (0..len)
        .map(|i| {
            fill.wrapping_add((i / 512) as u8)
                .wrapping_add((i % 7) as u8)
        })
        .collect()
}
