//! A whole tree as a value.

use rumpkern::{Fd, FileType, OpenFlags, Proc, Timespec};
use rumpvfs::{Calls as _, calls::Follow};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::FileTypeExt as _, fs::MetadataExt as _},
    path::Path,
};

/// What a file is, with what only that kind has.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// Regular file with its content.
    Regular(Vec<u8>),
    /// Directory.
    Directory,
    /// Symbolic link with its target.
    Symlink(Vec<u8>),
    /// FIFO.
    Fifo,
    /// Anything else.
    Other,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Regular(data) => {
                let sum = data
                    .iter()
                    .fold(0u64, |s, b| s.wrapping_mul(31).wrapping_add((*b).into()));
                write!(f, "Regular({} bytes, sum {sum:x})", data.len())
            }
            Self::Directory => f.write_str("Directory"),
            Self::Symlink(target) => write!(f, "Symlink({} bytes)", target.len()),
            Self::Fifo => f.write_str("Fifo"),
            Self::Other => f.write_str("Other"),
        }
    }
}

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u64,
    /// Modification time; `None` where it is not to be compared.
    pub mtime: Option<Timespec>,
    /// Extended attributes; `None` where they are not to be compared.
    pub xattrs: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Node {
    /// The first field in which `found` differs.
    fn difference(&self, found: &Self) -> Option<String> {
        fn field<T: PartialEq + std::fmt::Debug>(name: &str, a: &T, b: &T) -> Option<String> {
            (a != b).then(|| format!("{name}: expected {a:?}, found {b:?}"))
        }
        field("kind", &self.kind, &found.kind)
            .or_else(|| {
                field(
                    "mode",
                    &format!("{:o}", self.mode),
                    &format!("{:o}", found.mode),
                )
            })
            .or_else(|| field("owner", &(self.uid, self.gid), &(found.uid, found.gid)))
            .or_else(|| field("nlink", &self.nlink, &found.nlink))
            .or_else(|| field("mtime", &self.mtime, &found.mtime))
            .or_else(|| field("xattrs", &self.xattrs, &found.xattrs))
    }
}

/// Files by path relative to the root, which is the empty path.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// Panics with the first differences of two trees, if there are any. What one side does not know is not compared, nor is
/// `lost+found`.
///
/// # Panics
/// When they differ.
pub fn assert_same(what: &str, expected: &Tree, found: &Tree) {
    let mut differences = Vec::new();
    let paths = expected
        .keys()
        .chain(found.keys().filter(|k| !expected.contains_key(*k)));
    for path in paths.filter(|p| !p.starts_with(b"lost+found")) {
        let name = String::from_utf8_lossy(path);
        match (expected.get(path), found.get(path)) {
            (Some(_), None) => differences.push(format!("{name}: missing")),
            (None, Some(node)) => differences.push(format!("{name}: not expected: {node:?}")),
            (Some(a), Some(b)) => {
                let mut b = b.clone();
                if a.mtime.is_none() {
                    b.mtime = None;
                }
                let mut a = a.clone();
                if b.mtime.is_none() {
                    a.mtime = None;
                }
                if a.xattrs.is_none() || b.xattrs.is_none() {
                    (a.xattrs, b.xattrs) = (None, None);
                }
                if path.is_empty() {
                    // The root of an ext volume has lost+found besides.
                    (a.nlink, b.nlink) = (0, 0);
                }
                differences.extend(a.difference(&b).map(|d| format!("{name}: {d}")));
            }
            (None, None) => {}
        }
    }
    let count = differences.len();
    differences.truncate(10);
    assert!(
        count == 0,
        "{what}: {count} differences:\n{}",
        differences.join("\n")
    );
}

/// Reads a tree through the system calls of a process.
///
/// # Panics
/// When anything in it cannot be read.
#[must_use]
pub fn from_mount(proc: &Proc, root: &str) -> Tree {
    let mut tree = Tree::new();
    visit(proc, root.as_bytes(), b"", &mut tree, &|why| {
        panic!("{why}")
    });
    tree
}

/// The same of a volume that may be damaged: what cannot be read is left out.
#[must_use]
pub fn from_damaged(proc: &Proc, root: &str) -> Tree {
    let mut tree = Tree::new();
    visit(proc, root.as_bytes(), b"", &mut tree, &|_| ());
    tree
}

fn visit(proc: &Proc, root: &[u8], path: &[u8], tree: &mut Tree, failed: &dyn Fn(String)) {
    let full = [root, b"/", path].concat();
    let shown = String::from_utf8_lossy(&full).into_owned();
    let node = match node(proc, &full) {
        Ok(node) => node,
        Err(why) => return failed(format!("{shown}: {why}")),
    };
    let directory = node.kind == Kind::Directory;
    tree.insert(path.to_vec(), node);
    if !directory {
        return;
    }
    let names = match list(proc, &full) {
        Ok(names) => names,
        Err(error) => return failed(format!("listing {shown}: {error}")),
    };
    for name in names {
        let child = if path.is_empty() {
            name
        } else {
            [path, b"/", &name].concat()
        };
        visit(proc, root, &child, tree, failed);
    }
}

fn node(proc: &Proc, full: &[u8]) -> Result<Node, String> {
    let stat = proc
        .lstat(full)
        .map_err(|error| format!("lstat: {error}"))?;
    let kind = match stat.file_type {
        FileType::Regular => {
            let data = read_file(proc, full).map_err(|error| format!("reading: {error}"))?;
            if data.len() as u64 != stat.size {
                return Err(format!("{} bytes, and a size of {}", data.len(), stat.size));
            }
            Kind::Regular(data)
        }
        FileType::Directory => Kind::Directory,
        FileType::Symlink => {
            let target = proc.readlinkat(rumpvfs::calls::At::Cwd, full);
            Kind::Symlink(target.map_err(|error| format!("readlink: {error}"))?)
        }
        FileType::Fifo => Kind::Fifo,
        _ => Kind::Other,
    };
    Ok(Node {
        kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        nlink: stat.nlink,
        mtime: Some(stat.mtime),
        xattrs: Some(xattrs(proc, full)),
    })
}

fn xattrs(proc: &Proc, path: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let names = proc.listxattr(path, Follow::No).unwrap_or_default();
    let value = |name: &Vec<u8>| {
        proc.getxattr(path, name, Follow::No)
            .expect("a listed attribute is there")
    };
    names
        .iter()
        .map(|name| (name.clone(), value(name)))
        .collect()
}

/// The whole content of a file.
///
/// # Errors
/// Those of open and read.
pub fn read_file(proc: &Proc, path: &[u8]) -> rumpkern::Result<Vec<u8>> {
    let fd = proc.open(path, OpenFlags::RDONLY, 0)?;
    let data = read_to_end(proc, fd);
    proc.close(fd)?;
    data
}

fn read_to_end(proc: &Proc, fd: Fd) -> rumpkern::Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut buf = vec![0; 100_000];
    loop {
        match proc.read(fd, &mut buf)? {
            0 => return Ok(data),
            n => data.extend_from_slice(&buf[..n]),
        }
    }
}

/// The names in a directory without `.` and `..`.
///
/// # Errors
/// Those of open and getdents.
pub fn list(proc: &Proc, path: &[u8]) -> rumpkern::Result<Vec<Vec<u8>>> {
    let fd = proc.open(path, OpenFlags::RDONLY | OpenFlags::DIRECTORY, 0)?;
    let names = list_to_end(proc, fd);
    proc.close(fd)?;
    names
}

fn list_to_end(proc: &Proc, fd: Fd) -> rumpkern::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    loop {
        let part = proc.getdents(fd, 100)?;
        if part.is_empty() {
            return Ok(names);
        }
        names.extend(
            part.into_iter()
                .map(|e| e.name)
                .filter(|n| n != b"." && n != b".."),
        );
    }
}

/// Reads a tree of the host, without extended attributes.
///
/// # Panics
/// When anything in it cannot be read.
#[must_use]
pub fn from_host(root: &Path) -> Tree {
    let mut tree = Tree::new();
    visit_host(root, root, &mut tree);
    tree
}

fn visit_host(root: &Path, path: &Path, tree: &mut Tree) {
    let meta = fs::symlink_metadata(path).expect("lstat on the host");
    let kind = if meta.is_file() {
        Kind::Regular(fs::read(path).expect("read on the host"))
    } else if meta.is_dir() {
        Kind::Directory
    } else if meta.is_symlink() {
        Kind::Symlink(
            fs::read_link(path)
                .expect("readlink on the host")
                .as_os_str()
                .as_bytes()
                .to_vec(),
        )
    } else if meta.file_type().is_fifo() {
        Kind::Fifo
    } else {
        Kind::Other
    };
    let directory = kind == Kind::Directory;
    let node = Node {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        nlink: meta.nlink(),
        mtime: Some(Timespec {
            sec: meta.mtime(),
            nsec: u32::try_from(meta.mtime_nsec()).expect("nanoseconds below a second"),
        }),
        xattrs: None,
    };
    let relative = path
        .strip_prefix(root)
        .expect("below the root")
        .as_os_str()
        .as_bytes()
        .to_vec();
    tree.insert(relative, node);
    if directory {
        for entry in fs::read_dir(path).expect("readdir on the host") {
            visit_host(root, &entry.expect("an entry").path(), tree);
        }
    }
}
