//! Trees of the host.

use super::{About, Entry, New, Source, Target, is_inability};
use crate::{Error, Result};
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::{Errno, Timespec};
use rustix::fs::{self, AtFlags, CWD, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags};
use std::{
    ffi::OsStr,
    fs::{File, ReadDir},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

/// A tree of the host, as a source. It is the caller's own and read by its paths.
pub(super) struct Tree {
    start: Option<PathBuf>,
    /// Directories on the way to where it is.
    stack: Vec<(PathBuf, ReadDir)>,
}

impl Tree {
    /// The start is followed if it is a symbolic link.
    pub(super) fn new(start: &Path) -> Self {
        Self {
            start: Some(start.into()),
            stack: Vec::new(),
        }
    }

    fn entry(&mut self, path: PathBuf, follow: bool) -> Result<Entry> {
        let depth = self.stack.len();
        let stat = if follow {
            fs::stat(&path)
        } else {
            fs::lstat(&path)
        };
        let stat = host("metadata", &path, stat)?;
        let about = about(&path, &stat)?;
        if about.kind == FileType::Directory {
            let listed = std::fs::read_dir(&path);
            let listed = listed.map_err(|error| Error::host(&error, "read_dir", &path))?;
            self.stack.push((path.clone(), listed));
        }
        Ok(Entry { depth, path, about })
    }
}

impl Iterator for Tree {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(start) = self.start.take() {
            return Some(self.entry(start, true));
        }
        while let Some((dir, listed)) = self.stack.last_mut() {
            match listed.next() {
                None => {
                    self.stack.pop();
                }
                Some(Ok(entry)) => {
                    let path = dir.join(entry.file_name());
                    return Some(self.entry(path, false));
                }
                Some(Err(error)) => return Some(Err(Error::host(&error, "read_dir", dir))),
            }
        }
        None
    }
}

impl Source for Tree {
    type File = File;

    fn open(&self, path: &Path) -> Result<File> {
        // A FIFO that took the file's place must not be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = host("open", path, fs::open(path, flags, Mode::empty()))?;
        Ok(File::from(file))
    }

    fn read_link(&self, path: &Path) -> Result<Vec<u8>> {
        let target = std::fs::read_link(path);
        let target = target.map_err(|error| Error::host(&error, "read_link", path))?;
        Ok(target.into_os_string().into_vec())
    }
}

/// Makes an error of what the host gave.
fn host<T>(operation: &'static str, path: &Path, done: rustix::io::Result<T>) -> Result<T> {
    done.map_err(|error| Error::host(&io::Error::from(error), operation, path))
}

fn about(path: &Path, stat: &Stat) -> Result<About> {
    let kind = kind(stat);
    let time = |sec, nsec: u64| Timespec {
        sec,
        nsec: u32::try_from(nsec).unwrap_or(0),
    };
    let xattrs = match kind {
        FileType::Regular | FileType::Directory => xattrs(path)?,
        _ => Vec::new(),
    };
    Ok(About {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: DeviceNumber {
            major: fs::major(stat.st_rdev),
            minor: fs::minor(stat.st_rdev),
        },
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        nlink: stat.st_nlink,
        id: (stat.st_dev, stat.st_ino),
        xattrs,
    })
}

fn kind(stat: &Stat) -> FileType {
    match fs::FileType::from_raw_mode(stat.st_mode) {
        fs::FileType::Directory => FileType::Directory,
        fs::FileType::Symlink => FileType::Symlink,
        fs::FileType::BlockDevice => FileType::Block,
        fs::FileType::CharacterDevice => FileType::Character,
        fs::FileType::Fifo => FileType::Fifo,
        fs::FileType::Socket => FileType::Socket,
        _ => FileType::Regular,
    }
}

/// Names and values of the extended attributes; none where the host has no such thing.
fn xattrs(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use rustix::io::Errno;
    let names = match sized(&|buf: &mut [u8]| fs::listxattr(path, buf)) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        names => host("list_xattrs", path, names)?,
    };
    let mut xattrs = Vec::new();
    for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let key = OsStr::from_bytes(name);
        match sized(&|buf: &mut [u8]| fs::getxattr(path, key, buf)) {
            Err(Errno::NODATA) => {} // it went meanwhile
            value => xattrs.push((name.to_vec(), host("get_xattr", path, value)?)),
        }
    }
    Ok(xattrs)
}

/// Asks with larger buffers until one is large enough.
fn sized(ask: &dyn Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    /// No list and no value is longer (xattr(7)).
    const MOST: usize = 64 << 10;
    let mut buf = vec![0; 256];
    loop {
        match ask(&mut buf) {
            Err(rustix::io::Errno::RANGE) if buf.len() < MOST => buf.resize(MOST, 0),
            len => {
                buf.truncate(len?);
                return Ok(buf);
            }
        }
    }
}

/// The host, as a target. Each component is opened by itself and never through a symbolic link, so that nothing in an image leads out of the root.
pub(super) struct Host;

/// A directory of the host.
pub(super) struct Dir {
    fd: OwnedFd,
    /// What it is called, for messages.
    path: PathBuf,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::PATH);

impl Dir {
    fn check<T>(
        &self,
        operation: &'static str,
        name: &OsStr,
        done: rustix::io::Result<T>,
    ) -> Result<T> {
        done.or_else(|error| host(operation, &self.path.join(name), Err(error)))
    }
}

impl Target for Host {
    type Dir = Dir;
    type File = File;

    fn root(&self, path: &Path, make: bool) -> Result<Dir> {
        if make && let Err(error) = std::fs::create_dir(path) {
            // What is there is looked at by opening it.
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(Error::host(&error, "create_dir", path));
            }
        }
        let fd = host("open", path, fs::open(path, DIRECTORY, Mode::empty()))?;
        let path = path.into();
        Ok(Dir { fd, path })
    }

    fn dir(&self, at: &Dir, name: &OsStr) -> Result<Dir> {
        let opened = fs::openat(&at.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        let fd = at.check("open", name, opened)?;
        let path = if name == "." {
            at.path.clone()
        } else {
            at.path.join(name)
        };
        Ok(Dir { fd, path })
    }

    fn kind(&self, at: &Dir, name: &OsStr) -> Result<Option<FileType>> {
        match fs::statat(&at.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            stat => at
                .check("metadata", name, stat)
                .map(|stat| Some(kind(&stat))),
        }
    }

    fn make_dir(&self, at: &Dir, name: &OsStr) -> Result<()> {
        let made = fs::mkdirat(&at.fd, name, Mode::from_raw_mode(0o700));
        at.check("create_dir", name, made)
    }

    fn make_file(&self, at: &Dir, name: &OsStr) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = fs::openat(&at.fd, name, flags, Mode::from_raw_mode(0o600));
        at.check("open", name, made).map(File::from)
    }

    fn make(&self, at: &Dir, name: &OsStr, new: New<'_, Dir>) -> Result<()> {
        let (operation, made) = match new {
            New::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                ("symlink", fs::symlinkat(target, &at.fd, name))
            }
            New::Node(about) => {
                let kind = match about.kind {
                    FileType::Block => fs::FileType::BlockDevice,
                    FileType::Character => fs::FileType::CharacterDevice,
                    FileType::Socket => fs::FileType::Socket,
                    _ => fs::FileType::Fifo,
                };
                let device = fs::makedev(about.rdev.major, about.rdev.minor);
                let mode = Mode::from_raw_mode(0o600);
                ("mknod", fs::mknodat(&at.fd, name, kind, mode, device))
            }
            // Without following: a link to a symbolic link is one more name of that.
            New::Link(from, old) => (
                "hard_link",
                fs::linkat(&from.fd, old, &at.fd, name, AtFlags::empty()),
            ),
        };
        at.check(operation, name, made)
    }

    fn set(
        &self,
        at: &Dir,
        name: &OsStr,
        about: &About,
        lose: &mut dyn FnMut(Error),
    ) -> Result<()> {
        let name = if name.is_empty() {
            OsStr::new(".")
        } else {
            name
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(&at.fd, name, flags, Mode::empty());
        let fd = at.check("open", name, opened)?;
        // Leads to what is open, also where that is a symbolic link.
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let mut mode = about.mode;
        let owner = (Uid::from_raw(about.uid), Gid::from_raw(about.gid));
        let changed = fs::chownat(&fd, "", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH);
        match at.check("chown", name, changed) {
            Err(error) if is_inability(error.errno()) || error.errno() == Errno::EINVAL => {
                lose(error);
                if about.kind == FileType::Regular {
                    // Set-id to another than its owner would be a present for somebody.
                    mode &= 0o1777;
                }
            }
            changed => changed?,
        }
        for (key, value) in &about.xattrs {
            let key = OsStr::from_bytes(key);
            let set = fs::setxattr(&path, key, value, XattrFlags::empty());
            match at.check("set_xattr", name, set) {
                Err(error) if is_inability(error.errno()) => lose(error),
                set => set?,
            }
        }
        if about.kind != FileType::Symlink {
            let changed = fs::chmod(&path, Mode::from_raw_mode(mode));
            at.check("set_permissions", name, changed)?;
        }
        let spec = |time: Timespec| fs::Timespec {
            tv_sec: time.sec,
            tv_nsec: time.nsec.into(),
        };
        let times = Timestamps {
            last_access: spec(about.atime),
            last_modification: spec(about.mtime),
        };
        let changed = fs::utimensat(CWD, &path, &times, AtFlags::empty());
        at.check("set_times", name, changed)
    }

    fn rename(&self, at: &Dir, from: &OsStr, to: &OsStr) -> Result<()> {
        at.check("rename", to, fs::renameat(&at.fd, from, &at.fd, to))
    }

    fn remove(&self, at: &Dir, name: &OsStr) -> Result<()> {
        let removed = fs::unlinkat(&at.fd, name, AtFlags::empty());
        at.check("remove_file", name, removed)
    }
}
