//! Random operations, done on a mount and on a model of it; each result must agree, and in the end the whole tree.

use crate::tree::{Kind, Node, Tree};
use rumpkern::{Errno, FileType, OpenFlags, Proc, Timespec};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, RenameFlags, SetTime},
    fs::XattrMode,
};
use std::collections::BTreeMap;

/// Files do not grow past this.
const SIZE_MAX: u64 = 1_200_000;

/// One operation. Numbers choose among what is there when it is done.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum Op {
    /// Makes an empty file.
    Create(Place, u16),
    /// Writes `len` bytes at an offset.
    Write {
        file: u16,
        offset: u32,
        len: u32,
        fill: u8,
    },
    /// Writes at the end.
    Append { file: u16, len: u16, fill: u8 },
    /// Sets a size.
    Truncate { file: u16, size: u32 },
    /// Makes a hole.
    Punch { file: u16, offset: u32, len: u32 },
    /// Reserves space past or inside the file.
    Reserve { file: u16, offset: u32, len: u32 },
    /// Makes a directory.
    Mkdir(Place, u16),
    /// Removes a directory.
    Rmdir(Place),
    /// Removes a file.
    Unlink(Place),
    /// Removes a file that is open, and writes to it after that.
    UnlinkOpen(Place, u32),
    /// One more name.
    Link(u16, Place),
    /// A symbolic link with a target of that length.
    Symlink(Place, u16),
    /// A FIFO.
    Mkfifo(Place),
    /// Renames; 1: no replacing, 2: exchanging, else plainly.
    Rename(Place, Place, u8),
    /// Changes permission bits.
    Chmod(u16, u16),
    /// Changes owner and group.
    Chown(u16, u32, u32),
    /// Sets times.
    Utimes(u16, i64, u32),
    /// Sets an extended attribute.
    SetXattr {
        file: u16,
        name: u8,
        len: u8,
        fill: u8,
    },
    /// Removes one.
    RemoveXattr { file: u16, name: u8 },
    /// Makes one file durable.
    Fsync(u16),
    /// Makes all durable.
    Sync,
}

/// A name in some directory.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which directory.
    pub dir: u16,
    /// Which name.
    pub name: u8,
}

#[derive(Clone, Debug)]
struct Inode {
    kind: InodeKind,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Option<Timespec>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum InodeKind {
    Regular(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, usize>),
    Symlink(Vec<u8>),
    Fifo,
}

/// The model: what the volume should be.
pub struct Model {
    inodes: Vec<Option<Inode>>,
    /// What the volume's format can keep.
    format: Format,
}

/// What a format can keep.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Step in nanoseconds.
    pub granularity: u32,
    /// Largest second.
    pub max: i64,
    /// Whether there are extended attributes.
    pub xattrs: bool,
}

/// The outcome of an operation in the model: done, or any of these errors.
type Outcome = Result<(), Vec<Errno>>;

impl Model {
    /// An empty volume.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let root = Inode {
            kind: InodeKind::Directory(BTreeMap::new()),
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: None,
            xattrs: BTreeMap::new(),
        };
        Self {
            inodes: vec![Some(root)],
            format,
        }
    }

    fn inode(&self, id: usize) -> &Inode {
        self.inodes[id].as_ref().expect("an inode of the model")
    }

    fn inode_mut(&mut self, id: usize) -> &mut Inode {
        self.inodes[id].as_mut().expect("an inode of the model")
    }

    fn entries(&self, dir: usize) -> &BTreeMap<Vec<u8>, usize> {
        match &self.inode(dir).kind {
            InodeKind::Directory(entries) => entries,
            other => panic!("no directory: {other:?}"),
        }
    }

    fn entries_mut(&mut self, dir: usize) -> &mut BTreeMap<Vec<u8>, usize> {
        self.inode_mut(dir).mtime = None;
        match &mut self.inode_mut(dir).kind {
            InodeKind::Directory(entries) => entries,
            other => panic!("no directory: {other:?}"),
        }
    }

    /// All paths with their inodes, the root first.
    fn paths(&self) -> Vec<(Vec<u8>, usize)> {
        let mut paths = vec![(Vec::new(), 0)];
        let mut at = 0;
        while at < paths.len() {
            let (path, id) = paths[at].clone();
            if let InodeKind::Directory(entries) = &self.inode(id).kind {
                for (name, child) in entries {
                    let full = if path.is_empty() {
                        name.clone()
                    } else {
                        [&path[..], b"/", name].concat()
                    };
                    paths.push((full, *child));
                }
            }
            at += 1;
        }
        paths
    }

    fn choose(&self, number: u16, which: impl Fn(&InodeKind) -> bool) -> Option<(Vec<u8>, usize)> {
        let mut paths = self.paths();
        paths.retain(|(_, id)| which(&self.inode(*id).kind));
        if paths.is_empty() {
            return None;
        }
        Some(paths.swap_remove(usize::from(number) % paths.len()))
    }

    fn place(&self, place: Place) -> (Vec<u8>, usize, Vec<u8>) {
        let is_dir = |k: &InodeKind| matches!(k, InodeKind::Directory(_));
        let (path, dir) = self
            .choose(place.dir, is_dir)
            .expect("the root is a directory");
        let name = name(place.name);
        let full = if path.is_empty() {
            name.clone()
        } else {
            [&path[..], b"/", &name].concat()
        };
        (full, dir, name)
    }

    /// Adds an inode. In a set-group-id directory it gets that directory's group, and a directory the bit as well.
    fn add(&mut self, dir: usize, name: Vec<u8>, kind: InodeKind, mode: u32) {
        let id = self.inodes.len();
        let parent = self.inode(dir);
        let inherits = parent.mode & 0o2000 != 0;
        let gid = if inherits { parent.gid } else { 0 };
        let bit = if inherits && matches!(kind, InodeKind::Directory(_)) {
            0o2000
        } else {
            0
        };
        let inode = Inode {
            kind,
            mode: mode | bit,
            uid: 0,
            gid,
            mtime: None,
            xattrs: BTreeMap::new(),
        };
        self.inodes.push(Some(inode));
        self.entries_mut(dir).insert(name, id);
    }

    fn within(&self, ancestor: usize, dir: usize) -> bool {
        if ancestor == dir {
            return true;
        }
        match &self.inode(ancestor).kind {
            InodeKind::Directory(entries) => entries.values().any(|&child| self.within(child, dir)),
            _ => false,
        }
    }

    fn is_dir(&self, id: usize) -> bool {
        matches!(self.inode(id).kind, InodeKind::Directory(_))
    }

    fn rename(
        &mut self,
        from: (usize, Vec<u8>),
        to: (usize, Vec<u8>),
        flags: RenameFlags,
    ) -> Outcome {
        let Some(&moved) = self.entries(from.0).get(&from.1) else {
            return Err(vec![Errno::ENOENT]);
        };
        let target = self.entries(to.0).get(&to.1).copied();
        let mut errors = Vec::new();
        if self.is_dir(moved) && self.within(moved, to.0) {
            errors.push(Errno::EINVAL);
        }
        if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
            errors.push(Errno::EEXIST);
        }
        if flags.contains(RenameFlags::EXCHANGE) {
            match target {
                None => errors.push(Errno::ENOENT),
                Some(t) if t != moved && self.is_dir(t) && self.within(t, from.0) => {
                    errors.push(Errno::EINVAL)
                }
                Some(_) => {}
            }
        } else if let Some(t) = target.filter(|t| *t != moved) {
            match (self.is_dir(moved), self.is_dir(t)) {
                (true, false) => errors.push(Errno::ENOTDIR),
                (false, true) => errors.push(Errno::EISDIR),
                _ => {}
            }
            if self.is_dir(t) && !self.entries(t).is_empty() {
                errors.push(Errno::ENOTEMPTY);
                errors.push(Errno::EEXIST);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if target == Some(moved) {
            return Ok(());
        }
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = target.expect("checked above");
            self.entries_mut(from.0).insert(from.1, other);
        } else {
            self.entries_mut(from.0).remove(&from.1);
        }
        self.entries_mut(to.0).insert(to.1, moved);
        // A directory whose `..` changes may have its times changed or not.
        if self.is_dir(moved) {
            self.inode_mut(moved).mtime = None;
        }
        if let Some(t) = target.filter(|t| self.is_dir(*t)) {
            self.inode_mut(t).mtime = None;
        }
        Ok(())
    }

    fn remove(&mut self, dir: usize, name: &[u8], rmdir: bool) -> Outcome {
        let Some(&id) = self.entries(dir).get(name) else {
            return Err(vec![Errno::ENOENT]);
        };
        match (&self.inode(id).kind, rmdir) {
            (InodeKind::Directory(_), false) => return Err(vec![Errno::EPERM, Errno::EISDIR]),
            (InodeKind::Directory(entries), true) if !entries.is_empty() => {
                return Err(vec![Errno::ENOTEMPTY]);
            }
            (InodeKind::Directory(_), true) | (_, false) => {}
            (_, true) => return Err(vec![Errno::ENOTDIR]),
        }
        self.entries_mut(dir).remove(name);
        Ok(())
    }

    fn write(&mut self, id: usize, offset: u64, data: &[u8]) {
        let inode = self.inode_mut(id);
        if data.is_empty() {
            return;
        }
        inode.mtime = None;
        let InodeKind::Regular(content) = &mut inode.kind else {
            panic!("no regular file")
        };
        let start = usize::try_from(offset).expect("a small file");
        if content.len() < start + data.len() {
            content.resize(start + data.len(), 0);
        }
        content[start..start + data.len()].copy_from_slice(data);
    }

    fn content(&mut self, id: usize) -> &mut Vec<u8> {
        let inode = self.inode_mut(id);
        inode.mtime = None;
        match &mut inode.kind {
            InodeKind::Regular(content) => content,
            other => panic!("no regular file: {other:?}"),
        }
    }

    /// The tree that the volume should show.
    #[must_use]
    pub fn tree(&self) -> Tree {
        let paths = self.paths();
        let names = |id: usize| paths.iter().filter(|(_, other)| *other == id).count() as u64;
        paths
            .iter()
            .map(|(path, id)| {
                let inode = self.inode(*id);
                let (kind, nlink) = match &inode.kind {
                    InodeKind::Regular(data) => (Kind::Regular(data.clone()), names(*id)),
                    InodeKind::Symlink(target) => (Kind::Symlink(target.clone()), names(*id)),
                    InodeKind::Fifo => (Kind::Fifo, names(*id)),
                    InodeKind::Directory(entries) => (
                        Kind::Directory,
                        2 + entries.values().filter(|c| self.is_dir(**c)).count() as u64,
                    ),
                };
                let node = Node {
                    kind,
                    mode: inode.mode,
                    uid: inode.uid,
                    gid: inode.gid,
                    nlink,
                    mtime: inode.mtime,
                    xattrs: Some(inode.xattrs.clone()),
                };
                (path.clone(), node)
            })
            .collect()
    }

    /// Does an operation on the mount at `root` and on the model.
    ///
    /// # Panics
    /// When the results differ.
    #[allow(clippy::too_many_lines, reason = "one arm an operation")]
    pub fn step(&mut self, proc: &Proc, root: &str, op: &Op) {
        let at = |path: &[u8]| [root.as_bytes(), b"/", path].concat();
        let regular = |k: &InodeKind| matches!(k, InodeKind::Regular(_));
        let owned = |k: &InodeKind| !matches!(k, InodeKind::Symlink(_));
        let (got, expected): (rumpkern::Result<()>, Outcome) = match op {
            Op::Create(place, mode) => {
                let (path, dir, name) = self.place(*place);
                let mode = u32::from(*mode) & 0o7777;
                let flags = OpenFlags::RDWR | OpenFlags::CREAT | OpenFlags::EXCL;
                let got = proc
                    .open(at(&path), flags, mode)
                    .and_then(|fd| proc.close(fd));
                (
                    got,
                    self.make(dir, name, InodeKind::Regular(Vec::new()), mode),
                )
            }
            Op::Write {
                file,
                offset,
                len,
                fill,
            } => {
                let Some((path, id)) = self.choose(*file, regular) else {
                    return;
                };
                let offset = u64::from(*offset) % SIZE_MAX;
                let data = pattern(*len as usize % 60_000, *fill);
                let got = open_and(proc, &at(&path), |fd| {
                    assert_eq!(proc.pwrite(fd, &data, offset)?, data.len());
                    Ok(())
                });
                self.write(id, offset, &data);
                (got, Ok(()))
            }
            Op::Append { file, len, fill } => {
                let Some((path, id)) = self.choose(*file, regular) else {
                    return;
                };
                let data = pattern(usize::from(*len) % 9_000, *fill);
                let size = self.content(id).len() as u64;
                if size > SIZE_MAX {
                    return;
                }
                let got = proc
                    .open(at(&path), OpenFlags::WRONLY | OpenFlags::APPEND, 0)
                    .and_then(|fd| {
                        assert_eq!(proc.write(fd, &data)?, data.len());
                        proc.close(fd)
                    });
                self.write(id, size, &data);
                (got, Ok(()))
            }
            Op::Truncate { file, size } => {
                let Some((path, id)) = self.choose(*file, regular) else {
                    return;
                };
                let size = u64::from(*size) % SIZE_MAX;
                self.content(id)
                    .resize(usize::try_from(size).expect("small"), 0);
                (proc.truncate(at(&path), size), Ok(()))
            }
            Op::Punch { file, offset, len } => {
                let Some((path, id)) = self.choose(*file, regular) else {
                    return;
                };
                let (offset, len) = (u64::from(*offset) % SIZE_MAX, u64::from(*len) % 200_000 + 1);
                let got = open_and(proc, &at(&path), |fd| proc.punch_hole(fd, offset, len));
                if got == Err(Errno::EOPNOTSUPP) {
                    return;
                }
                let content = self.content(id);
                let end = (offset + len).min(content.len() as u64);
                if offset < end {
                    content[usize::try_from(offset).expect("small")
                        ..usize::try_from(end).expect("small")]
                        .fill(0);
                }
                (got, Ok(()))
            }
            Op::Reserve { file, offset, len } => {
                let Some((path, id)) = self.choose(*file, regular) else {
                    return;
                };
                let (offset, len) = (u64::from(*offset) % SIZE_MAX, u64::from(*len) % 100_000 + 1);
                let got = open_and(proc, &at(&path), |fd| {
                    proc.fallocate(fd, offset, len, false)
                });
                if got == Err(Errno::EOPNOTSUPP) {
                    return;
                }
                let content = self.content(id);
                let end = usize::try_from(offset + len).expect("small");
                if content.len() < end {
                    content.resize(end, 0);
                }
                (got, Ok(()))
            }
            Op::Mkdir(place, mode) => {
                let (path, dir, name) = self.place(*place);
                let mode = u32::from(*mode) & 0o1777;
                let got = proc.mkdirat(At::Cwd, at(&path), mode);
                (
                    got,
                    self.make(dir, name, InodeKind::Directory(BTreeMap::new()), mode),
                )
            }
            Op::Rmdir(place) => {
                let (path, dir, name) = self.place(*place);
                (
                    proc.unlinkat(At::Cwd, at(&path), true),
                    self.remove(dir, &name, true),
                )
            }
            Op::Unlink(place) => {
                let (path, dir, name) = self.place(*place);
                (
                    proc.unlinkat(At::Cwd, at(&path), false),
                    self.remove(dir, &name, false),
                )
            }
            Op::UnlinkOpen(place, len) => {
                let (path, dir, name) = self.place(*place);
                let Some(&id) = self.entries(dir).get(&name) else {
                    return;
                };
                if !regular(&self.inode(id).kind) {
                    return;
                }
                let data = pattern(*len as usize % 100_000, 77);
                let got = proc.open(at(&path), OpenFlags::RDWR, 0).and_then(|fd| {
                    proc.unlinkat(At::Cwd, at(&path), false)?;
                    assert_eq!(proc.pwrite(fd, &data, 10)?, data.len());
                    let mut back = vec![0; data.len()];
                    assert_eq!(proc.pread(fd, &mut back, 10)?, data.len());
                    assert!(back == data, "an unlinked file reads what was written");
                    proc.close(fd)
                });
                self.write(id, 10, &data);
                (got, self.remove(dir, &name, false))
            }
            Op::Link(file, place) => {
                let Some((source, id)) =
                    self.choose(*file, |k| !matches!(k, InodeKind::Directory(_)))
                else {
                    return;
                };
                let (path, dir, name) = self.place(*place);
                let got = proc.linkat((At::Cwd, &at(&source)), (At::Cwd, &at(&path)), Follow::No);
                let expected = if self.entries(dir).contains_key(&name) {
                    Err(vec![Errno::EEXIST])
                } else {
                    self.entries_mut(dir).insert(name, id);
                    Ok(())
                };
                (got, expected)
            }
            Op::Symlink(place, len) => {
                let (path, dir, name) = self.place(*place);
                let target = vec![b't'; usize::from(*len) % 900 + 1];
                let got = proc.symlinkat(&target, At::Cwd, at(&path));
                (got, self.make(dir, name, InodeKind::Symlink(target), 0o777))
            }
            Op::Mkfifo(place) => {
                let (path, dir, name) = self.place(*place);
                let got = proc.mknodat(
                    At::Cwd,
                    at(&path),
                    FileType::Fifo,
                    0o640,
                    rumpkern::types::DeviceNumber::default(),
                );
                (got, self.make(dir, name, InodeKind::Fifo, 0o640))
            }
            Op::Rename(from, to, kind) => {
                let (from_path, from_dir, from_name) = self.place(*from);
                let (to_path, to_dir, to_name) = self.place(*to);
                let flags = match kind % 8 {
                    1 => RenameFlags::NOREPLACE,
                    2 => RenameFlags::EXCHANGE,
                    _ => RenameFlags::empty(),
                };
                let got =
                    proc.renameat((At::Cwd, &at(&from_path)), (At::Cwd, &at(&to_path)), flags);
                (
                    got,
                    self.rename((from_dir, from_name), (to_dir, to_name), flags),
                )
            }
            Op::Chmod(file, mode) => {
                let Some((path, id)) = self.choose(*file, owned) else {
                    return;
                };
                let mode = u32::from(*mode) & 0o7777;
                self.inode_mut(id).mode = mode;
                (proc.fchmodat(At::Cwd, at(&path), mode, Follow::Yes), Ok(()))
            }
            Op::Chown(file, uid, gid) => {
                let Some((path, id)) = self.choose(*file, |_| true) else {
                    return;
                };
                let (uid, gid) = (*uid % 0xffff_fffe, *gid % 0xffff_fffe);
                let inode = self.inode_mut(id);
                (inode.uid, inode.gid) = (uid, gid);
                let got = proc.fchownat(At::Cwd, at(&path), Some(uid), Some(gid), Follow::No);
                // Whether the superuser's chown clears set-id bits is the system's choice: take what came.
                let mode = proc.lstat(at(&path)).map_or(0, |s| s.mode);
                let inode = self.inode_mut(id);
                assert_eq!(
                    mode | 0o6000,
                    inode.mode | 0o6000,
                    "chown changes no other bits"
                );
                inode.mode = mode;
                (got, Ok(()))
            }
            Op::Utimes(file, sec, nsec) => {
                let Some((path, id)) = self.choose(*file, |_| true) else {
                    return;
                };
                let range = self.format.max - i64::from(i32::MIN) + 1;
                let sec = sec.rem_euclid(range) + i64::from(i32::MIN);
                let nsec = nsec % 1_000_000_000;
                let to = SetTime::To(Timespec { sec, nsec });
                let granularity = self.format.granularity;
                self.inode_mut(id).mtime = Some(Timespec {
                    sec,
                    nsec: nsec - nsec % granularity,
                });
                (
                    proc.utimensat(At::Cwd, at(&path), SetTime::Omit, to, Follow::No),
                    Ok(()),
                )
            }
            Op::SetXattr {
                file,
                name,
                len,
                fill,
            } => {
                let Some((path, id)) = self.choose(*file, |k| {
                    matches!(k, InodeKind::Regular(_) | InodeKind::Directory(_))
                }) else {
                    return;
                };
                let (name, value) = (
                    format!("user.attr{}", name % 4).into_bytes(),
                    pattern(usize::from(*len) % 180, *fill),
                );
                let got = proc.setxattr(at(&path), &name, &value, XattrMode::Set, Follow::No);
                if !self.format.xattrs {
                    (got, Err(vec![Errno::EOPNOTSUPP]))
                } else {
                    self.inode_mut(id).xattrs.insert(name, value);
                    (got, Ok(()))
                }
            }
            Op::RemoveXattr { file, name } => {
                let Some((path, id)) = self.choose(*file, |k| {
                    matches!(k, InodeKind::Regular(_) | InodeKind::Directory(_))
                }) else {
                    return;
                };
                let name = format!("user.attr{}", name % 4).into_bytes();
                let got = proc.removexattr(at(&path), &name, Follow::No);
                let there = self.inode_mut(id).xattrs.remove(&name).is_some();
                (
                    got,
                    if there {
                        Ok(())
                    } else {
                        Err(vec![Errno::ENOATTR, Errno::EOPNOTSUPP])
                    },
                )
            }
            Op::Fsync(file) => {
                let Some((path, _)) = self.choose(*file, regular) else {
                    return;
                };
                (open_and(proc, &at(&path), |fd| proc.fsync(fd)), Ok(()))
            }
            Op::Sync => (proc.sync(), Ok(())),
        };
        match (&got, &expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(any)) if any.contains(error) => {}
            _ => panic!(
                "{op:?}: got {got:?}, expected {expected:?}; messages: {:?}",
                proc.kernel()
                    .log()
                    .since(0)
                    .iter()
                    .rev()
                    .take(5)
                    .collect::<Vec<_>>()
            ),
        }
    }

    fn make(&mut self, dir: usize, name: Vec<u8>, kind: InodeKind, mode: u32) -> Outcome {
        if self.entries(dir).contains_key(&name) {
            return Err(vec![Errno::EEXIST]);
        }
        self.add(dir, name, kind, mode);
        Ok(())
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

/// Bytes that tell where they belong.
fn pattern(len: usize, fill: u8) -> Vec<u8> {
    (0..len)
        .map(|i| {
            fill.wrapping_add((i / 512) as u8)
                .wrapping_add((i % 7) as u8)
        })
        .collect()
}

/// The names that operations choose from: short, long, and not ASCII.
fn name(number: u8) -> Vec<u8> {
    match number % 48 {
        n @ 0..=5 => format!("long-{n}-{}", "x".repeat(200 + usize::from(n) * 9)).into_bytes(),
        n @ 6..=9 => format!("ärger-€-{n}").into_bytes(),
        n @ 10..=11 => vec![0xff, 0xfe, b'a' + n],
        n => format!("f{n}").into_bytes(),
    }
}
