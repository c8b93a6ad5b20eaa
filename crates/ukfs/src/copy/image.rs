//! Trees of an image.

use super::{About, Entry, New, Source, Target, is_inability};
use crate::{Error, File, Fs, Metadata, Result, Walk, dir::Dir, fs::bytes};
use rumpkern::{FileType, OpenFlags};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, ChangeAttributes, Follow, RenameFlags, SetTime},
    fs::XattrMode,
};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

/// A tree of an image, as a source.
pub(super) struct Tree {
    fs: Fs,
    walk: Walk,
}

impl Tree {
    /// The start is followed if it is a symbolic link.
    pub(super) fn new(fs: &Fs, start: &Path) -> Result<Self> {
        Ok(Self {
            walk: fs.walk(fs.canonicalize(start)?),
            fs: fs.clone(),
        })
    }

    fn about(&self, path: &Path, metadata: &Metadata) -> Result<About> {
        let stat = &metadata.0;
        let mut about = About {
            kind: stat.file_type,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            rdev: stat.rdev,
            atime: stat.atime,
            mtime: stat.mtime,
            nlink: stat.nlink,
            id: (stat.dev, stat.ino),
            xattrs: Vec::new(),
        };
        if matches!(stat.file_type, FileType::Regular | FileType::Directory) {
            about.xattrs = self.xattrs(path)?;
        }
        Ok(about)
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let proc = self.fs.proc();
        let names = match proc.listxattr(bytes(path), Follow::No) {
            Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
            names => self.fs.check("list_xattrs", path, names)?,
        };
        let value = |name: Vec<u8>| {
            let value = proc.getxattr(bytes(path), &name, Follow::No);
            Ok((name, self.fs.check("get_xattr", path, value)?))
        };
        names.into_iter().map(value).collect()
    }
}

impl Iterator for Tree {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.walk.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let about = self.about(entry.path(), entry.metadata());
        Some(about.map(|about| Entry {
            depth: entry.depth(),
            about,
            path: entry.into_path(),
        }))
    }
}

impl Source for Tree {
    type File = File;

    fn open(&self, path: &Path) -> Result<File> {
        let mut options = crate::OpenOptions::new();
        options.read(true).no_follow(true).open(&self.fs, path)
    }

    fn read_link(&self, path: &Path) -> Result<Vec<u8>> {
        let target = self.fs.proc().readlinkat(At::Cwd, bytes(path));
        self.fs.check("read_link", path, target)
    }
}

/// An image, as a target.
pub(super) struct Image<'a>(pub(super) &'a Fs);

impl Image<'_> {
    fn check<T>(
        &self,
        operation: &'static str,
        at: &Dir,
        name: &OsStr,
        done: rumpuser::Result<T>,
    ) -> Result<T> {
        done.or_else(|errno| self.0.check(operation, &at.path.join(name), Err(errno)))
    }

    fn change(
        &self,
        operation: &'static str,
        at: &Dir,
        name: &OsStr,
        change: &ChangeAttributes,
        lose: &mut dyn FnMut(Error),
    ) -> Result<()> {
        let done = self
            .0
            .proc()
            .setattrat(At::Fd(at.fd), name.as_bytes(), change, Follow::No);
        match self.check(operation, at, name, done) {
            Err(error) if is_inability(error.errno()) => {
                lose(error);
                Ok(())
            }
            done => done,
        }
    }

    fn xattrs(
        &self,
        at: &Dir,
        name: &OsStr,
        about: &About,
        lose: &mut dyn FnMut(Error),
    ) -> Result<()> {
        if about.xattrs.is_empty() {
            return Ok(());
        }
        let proc = self.0.proc();
        let flags = OpenFlags::RDONLY | OpenFlags::NOFOLLOW | OpenFlags::NONBLOCK;
        let name = if name.is_empty() {
            OsStr::new(".")
        } else {
            name
        };
        let opened = proc.openat(At::Fd(at.fd), name.as_bytes(), flags, 0);
        let fd = self.check("open", at, name, opened)?;
        let mut done = Ok(());
        for (key, value) in &about.xattrs {
            let set = proc.fsetxattr(fd, key, value, XattrMode::Set);
            let set = self.check("set_xattr", at, name, set);
            match set {
                Err(error) if is_inability(error.errno()) => lose(error),
                Err(error) if done.is_ok() => done = Err(error),
                _ => {}
            }
        }
        let _ = proc.close(fd);
        done
    }
}

impl Target for Image<'_> {
    type Dir = Dir;
    type File = File;

    fn root(&self, path: &Path, make: bool) -> Result<Dir> {
        if make && !self.0.exists(path)? {
            self.0.create_dir(path)?;
        }
        Dir::open(
            self.0,
            At::Cwd,
            bytes(path),
            path.into(),
            OpenFlags::empty(),
        )
    }

    fn dir(&self, at: &Dir, name: &OsStr) -> Result<Dir> {
        let path = if name == "." {
            at.path.clone()
        } else {
            at.path.join(name)
        };
        Dir::open(
            self.0,
            At::Fd(at.fd),
            name.as_bytes(),
            path,
            OpenFlags::NOFOLLOW,
        )
    }

    fn kind(&self, at: &Dir, name: &OsStr) -> Result<Option<FileType>> {
        let stat = self
            .0
            .proc()
            .fstatat(At::Fd(at.fd), name.as_bytes(), Follow::No);
        match stat {
            Err(Errno::ENOENT) => Ok(None),
            stat => Ok(Some(self.check("metadata", at, name, stat)?.file_type)),
        }
    }

    fn make_dir(&self, at: &Dir, name: &OsStr) -> Result<()> {
        let made = self.0.proc().mkdirat(At::Fd(at.fd), name.as_bytes(), 0o700);
        self.check("create_dir", at, name, made)
    }

    fn make_file(&self, at: &Dir, name: &OsStr) -> Result<File> {
        let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::EXCL;
        let made = self
            .0
            .proc()
            .openat(At::Fd(at.fd), name.as_bytes(), flags, 0o600);
        let fd = self.check("open", at, name, made)?;
        Ok(File::from_fd(self.0, fd, &at.path.join(name)))
    }

    fn make(&self, at: &Dir, name: &OsStr, new: New<'_, Dir>) -> Result<()> {
        let (proc, dir, key) = (self.0.proc(), At::Fd(at.fd), name.as_bytes());
        let (operation, made) = match new {
            New::Symlink(target) => ("symlink", proc.symlinkat(target, dir, key)),
            New::Node(about) => (
                "mknod",
                proc.mknodat(dir, key, about.kind, 0o600, about.rdev),
            ),
            New::Link(from, old) => {
                let from = (At::Fd(from.fd), old.as_bytes());
                ("hard_link", proc.linkat(from, (dir, key), Follow::No))
            }
        };
        self.check(operation, at, name, made)
    }

    fn set(
        &self,
        at: &Dir,
        name: &OsStr,
        about: &About,
        lose: &mut dyn FnMut(Error),
    ) -> Result<()> {
        // A change of owners takes set-id bits away, and one of attributes is refused on a file that nobody may write.
        let owner = ChangeAttributes {
            uid: Some(about.uid),
            gid: Some(about.gid),
            ..ChangeAttributes::default()
        };
        self.change("chown", at, name, &owner, lose)?;
        self.xattrs(at, name, about, lose)?;
        if about.kind != FileType::Symlink {
            let mode = ChangeAttributes {
                mode: Some(about.mode),
                ..ChangeAttributes::default()
            };
            self.change("set_permissions", at, name, &mode, lose)?;
        }
        let times = ChangeAttributes {
            atime: SetTime::To(about.atime),
            mtime: SetTime::To(about.mtime),
            ..ChangeAttributes::default()
        };
        self.change("set_times", at, name, &times, lose)
    }

    fn rename(&self, at: &Dir, from: &OsStr, to: &OsStr) -> Result<()> {
        let (old, new) = (
            (At::Fd(at.fd), from.as_bytes()),
            (At::Fd(at.fd), to.as_bytes()),
        );
        let renamed = self.0.proc().renameat(old, new, RenameFlags::empty());
        self.check("rename", at, to, renamed)
    }

    fn remove(&self, at: &Dir, name: &OsStr) -> Result<()> {
        let removed = self
            .0
            .proc()
            .unlinkat(At::Fd(at.fd), name.as_bytes(), false);
        self.check("remove_file", at, name, removed)
    }
}
