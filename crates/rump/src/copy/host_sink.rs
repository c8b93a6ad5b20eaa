//! Copying to the host.

use super::{
    Body, Content, Identity, Job, Loss, Meta, Place, Sink, check_path,
    host_file::{
        FileWriter, Parent, acl_result, attributes, new_mode, owner, owner_result, remove_acls,
        xattr_result,
    },
    split_last,
    writers::Writers,
};
use crate::{
    hostfs::{HostDir, Unnamed, default_mode, through_fd, timestamps},
    quote::shown_os,
    report::{Failure, Outcome, io_reason},
};
use rumpkern::FileType;
use rumpvfs::calls::Follow;
use rustix::{
    fs::{self, AtFlags, Gid, Mode, Uid, XattrFlags},
    io::Errno,
};
use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
    sync::Arc,
    thread::Scope,
};

/// A directory of the host that entries go to. Regular files are written by threads of their own; what is
/// [settled](Sink::settle) is there.
pub(crate) struct HostSink<'scope, 'env> {
    dir: HostDir,
    job: &'scope Job<'scope>,
    /// Directories whose attributes wait for the end.
    dirs: Vec<(Vec<u8>, Meta)>,
    /// Directories that this copy made.
    ours: HashSet<Vec<u8>>,
    /// The directory that the last file went to.
    parent: Option<(Vec<u8>, Arc<Parent>)>,
    writer: FileWriter,
    writers: Writers<'scope, 'env>,
}

impl<'scope, 'env> HostSink<'scope, 'env> {
    /// Entries go to the directory at `root`.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub(crate) fn new(
        root: &Path,
        job: &'scope Job<'scope>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Outcome<Self> {
        let dir = HostDir::open(root).map_err(|error| Failure::host(root, &error))?;
        Ok(Self {
            dir,
            job,
            dirs: Vec::new(),
            ours: HashSet::new(),
            parent: None,
            writer: FileWriter::default(),
            writers: Writers::new(scope, job),
        })
    }

    fn directory(&mut self, path: &[u8], meta: &Meta) -> io::Result<()> {
        if path.is_empty() {
            if self.changes_directories() {
                self.dirs.push((Vec::new(), meta.clone()));
            }
            return Ok(());
        }
        let (at, name) = self.dir.parent(path)?;
        let made = match fs::mkdirat(at, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                let stat = fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
                match fs::FileType::from_raw_mode(stat.st_mode) {
                    fs::FileType::Directory => false,
                    fs::FileType::Symlink => return Err(Errno::LOOP.into()),
                    _ => return Err(Errno::EXIST.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        if made {
            self.ours.insert(path.to_vec());
        }
        if made || self.changes_directories() {
            self.dirs.push((path.to_vec(), meta.clone()));
        }
        Ok(())
    }

    /// Whether directories that were there before get attributes too.
    fn changes_directories(&self) -> bool {
        let options = &self.job.options;
        options.keep.mode || options.keep.owner || options.keep.times || options.owner.is_some()
    }

    fn regular(&mut self, path: &[u8], meta: &Meta, content: &mut dyn Content) -> Outcome<()> {
        let parent = self.parent(path);
        let parent = parent.map_err(|error| Failure::host(self.dir.shown(path), &error))?;
        let name = OsStr::from_bytes(split_last(path).1);
        if !meta.more_names
            && let Some(content) = content.detached()
        {
            self.writers
                .add(&parent, name.to_owned(), meta.clone(), content);
            return Ok(());
        }
        self.writer.write(&parent, name, meta, content, self.job)
    }

    /// The directory that an entry is in.
    fn parent(&mut self, path: &[u8]) -> io::Result<Arc<Parent>> {
        let dir = split_last(path).0;
        if let Some((last, parent)) = &self.parent
            && last == dir
        {
            return Ok(parent.clone());
        }
        let (at, _) = self.dir.parent(path)?;
        let parent = Arc::new(Parent {
            default_mode: default_mode(at),
            fd: at.try_clone_to_owned()?,
            path: self.dir.shown(dir),
            ours: self.ours.contains(dir),
        });
        self.parent = Some((dir.to_vec(), parent.clone()));
        Ok(parent)
    }

    fn symlink(&mut self, path: &[u8], meta: &Meta, target: &[u8]) -> io::Result<()> {
        let shown = self.dir.shown(path);
        let (at, name) = self.dir.parent(path)?;
        let target = OsStr::from_bytes(target);
        let make = |dir: BorrowedFd<'_>, name: &OsStr| fs::symlinkat(target, dir, name);
        finish_unopened(self.job, at, name, &shown, meta, make)
    }

    fn node(&mut self, path: &[u8], meta: &Meta) -> io::Result<()> {
        let shown = self.dir.shown(path);
        let (at, name) = self.dir.parent(path)?;
        let kind = match meta.kind {
            FileType::Block => fs::FileType::BlockDevice,
            FileType::Character => fs::FileType::CharacterDevice,
            FileType::Socket => fs::FileType::Socket,
            _ => fs::FileType::Fifo,
        };
        let device = fs::makedev(meta.rdev.major, meta.rdev.minor);
        let mode = Mode::from_raw_mode(new_mode(self.job, meta, default_mode(at)));
        let make = |dir: BorrowedFd<'_>, name: &OsStr| fs::mknodat(dir, name, kind, mode, device);
        match finish_unopened(self.job, at, name, &shown, meta, make) {
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                let loss = match meta.kind {
                    FileType::Socket => Loss::Sockets,
                    _ => Loss::Devices,
                };
                self.job.lose(loss, &shown_os(&shown), &io_reason(&error));
                Ok(())
            }
            done => done,
        }
    }

    fn link(&mut self, path: &[u8], to: &[u8]) -> io::Result<()> {
        let (old_dir, old) = self.dir.find(to)?;
        let (at, name) = self.dir.parent(path)?;
        if let Ok(there) = fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            if self.job.options.no_clobber {
                return Ok(());
            }
            if fs::FileType::from_raw_mode(there.st_mode) == fs::FileType::Directory {
                return Err(Errno::ISDIR.into());
            }
        }
        // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is one more name of that.
        let make = |dir: BorrowedFd<'_>, name: &OsStr| {
            fs::linkat(&old_dir, old, dir, name, AtFlags::empty())
        };
        let (unnamed, ()) = Unnamed::make(at, make)?;
        unnamed.linked().publish(name, self.job.options.no_clobber)
    }
}

impl Sink for HostSink<'_, '_> {
    fn put(&mut self, path: &[u8], meta: &Meta, body: Body<'_>) -> Outcome<()> {
        check_path(path)?;
        let job = self.job;
        job.tell(path, || self.identity(path, Follow::No).is_some());
        let done = match body {
            Body::Directory => self.directory(path, meta),
            Body::Regular(content) => return self.regular(path, meta, content),
            Body::Symlink(target) => self.symlink(path, meta, target),
            Body::Node => self.node(path, meta),
            Body::Link(to) => self.link(path, to),
        };
        done.map_err(|error| {
            let shown = self.dir.shown(path);
            if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
                let reason = "a symbolic link is in the way and is not followed";
                return Failure::at(shown_os(&shown), reason);
            }
            Failure::host(shown, &error)
        })
    }

    fn settle(&mut self) {
        self.writers.settle();
    }

    fn finish(&mut self) -> Outcome<()> {
        self.settle();
        crate::signals::check()?;
        // The deepest first: what is done in a directory changes its times.
        while let Some((path, meta)) = self.dirs.pop() {
            let shown = self.dir.shown(&path);
            let sets_mode = self.job.options.keep.mode || self.ours.contains(&path);
            let done = self.dir.directory(&path).and_then(|fd| {
                // A directory has the default ACL that was its parent's when it was made.
                let mode = || new_mode(self.job, &meta, default_mode(fd.as_fd()));
                let mode = sets_mode.then(mode);
                remove_acls(self.job, fd.as_fd(), &meta)?;
                attributes(self.job, &shown, fd.as_fd(), &meta, mode)
            });
            let done = done.map_err(|error| Failure::host(&shown, &error));
            self.job.report.step(done)?;
        }
        Ok(())
    }

    fn identity(&mut self, path: &[u8], follow: Follow) -> Option<Identity> {
        let shown = self.dir.shown(path);
        let metadata = match follow {
            Follow::Yes => shown.metadata(),
            Follow::No => shown.symlink_metadata(),
        };
        let metadata = metadata.ok()?;
        Some((Place::Host, metadata.dev(), metadata.ino()))
    }
}

/// Makes something that is not opened, gives it its attributes and then its name.
fn finish_unopened(
    job: &Job<'_>,
    at: BorrowedFd<'_>,
    name: &OsStr,
    shown: &Path,
    meta: &Meta,
    make: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<()>,
) -> io::Result<()> {
    if let Ok(there) = fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        if job.options.no_clobber {
            return Ok(());
        }
        if fs::FileType::from_raw_mode(there.st_mode) == fs::FileType::Directory {
            return Err(Errno::ISDIR.into());
        }
    }
    let (unnamed, ()) = Unnamed::make(at, |dir, name| make(dir, name))?;
    let new = unnamed.name();
    if let Some((uid, gid)) = owner(job, meta) {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let changed = fs::chownat(at, new, Some(uid), Some(gid), flags);
        owner_result(job, shown, changed)?;
    }
    let path = through_fd(at, new);
    if job.options.keep.acls {
        for name in meta.missing_acls() {
            acl_result(fs::lremovexattr(&path, name))?;
        }
    }
    for (name, value) in &meta.xattrs {
        let name = OsStr::from_bytes(name);
        let set = fs::lsetxattr(&path, name, value, XattrFlags::empty());
        xattr_result(job, shown, name, set)?;
    }
    if meta.kind != FileType::Symlink && job.options.keep.mode {
        // Nobody else has the name yet; and what has it is no symbolic link.
        let mode = Mode::from_raw_mode(meta.mode);
        fs::chmodat(at, new, mode, AtFlags::empty())?;
    }
    if job.options.keep.times {
        let times = timestamps(meta.atime, meta.mtime);
        fs::utimensat(at, new, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    unnamed.publish(name, job.options.no_clobber)
}
