//! Random operations, done on a mount and on a model of it; each result must agree, and in the end the whole tree.

mod step;

use crate::tree::{Kind, Node, Tree};
use rumpkern::{Errno, Timespec};
use rumpvfs::calls::RenameFlags;
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

    fn make(&mut self, dir: usize, name: Vec<u8>, kind: InodeKind, mode: u32) -> Outcome {
        if self.entries(dir).contains_key(&name) {
            return Err(vec![Errno::EEXIST]);
        }
        self.add(dir, name, kind, mode);
        Ok(())
    }
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
