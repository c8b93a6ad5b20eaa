//! Copying to the host.

use super::{Body, Content, Identity, Job, Loss, Meta, Piece, Place, Sink, check_path, for_chunks};
use crate::{
    hostfs::{HostDir, Unnamed, copy_range, through_fd, timestamps},
    quote::shown_os,
    report::{Failure, Outcome, io_reason},
};
use rumpkern::FileType;
use rustix::{
    fs::{self, AtFlags, Gid, Mode, OFlags, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::Path,
};

/// A directory of the host that entries go to.
pub(crate) struct HostSink<'a> {
    dir: HostDir,
    job: &'a Job<'a>,
    /// Directories whose attributes wait for the end.
    dirs: Vec<(Vec<u8>, Meta)>,
    /// Whether the host moves data between these files itself; not known before the first try.
    moves: bool,
}

impl<'a> HostSink<'a> {
    /// Entries go to the directory at `root`.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub(crate) fn new(root: &Path, job: &'a Job<'a>) -> Outcome<Self> {
        let dir = HostDir::open(root).map_err(|error| Failure::host(root, &error))?;
        Ok(Self {
            dir,
            job,
            dirs: Vec::new(),
            moves: true,
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
        let shown = self.dir.shown(path);
        let fail = |error: io::Error| Failure::host(&shown, &error);
        let (at, name) = self.dir.parent(path).map_err(fail)?;
        let job = self.job;
        let mut mode = new_mode(job, meta);
        if let Ok(there) = fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            if job.options.no_clobber {
                return Ok(());
            }
            match fs::FileType::from_raw_mode(there.st_mode) {
                fs::FileType::Directory => return Err(fail(Errno::ISDIR.into())),
                // As with cp, a file that is replaced keeps its mode.
                fs::FileType::RegularFile if !job.options.keep.mode => {
                    mode = there.st_mode & 0o7777;
                }
                _ => {}
            }
        }
        let create = |dir: BorrowedFd<'_>, name: &OsStr| {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
        };
        let (unnamed, fd) = Unnamed::make(at, create).map_err(fail)?;
        let file = File::from(fd);
        fill(&file, &shown, meta, content, &mut self.moves, job)?;
        attributes(job, &shown, file.as_fd(), meta, mode).map_err(fail)?;
        drop(file);
        unnamed.publish(name, job.options.no_clobber).map_err(fail)
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
        let mode = Mode::from_raw_mode(new_mode(self.job, meta));
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

impl Sink for HostSink<'_> {
    fn put(&mut self, path: &[u8], meta: &Meta, body: Body<'_>) -> Outcome<()> {
        check_path(path)?;
        self.job.tell(path);
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

    fn finish(&mut self) -> Outcome<()> {
        // The deepest first: what is done in a directory changes its times.
        while let Some((path, meta)) = self.dirs.pop() {
            let shown = self.dir.shown(&path);
            let mode = new_mode(self.job, &meta);
            let done = self
                .dir
                .directory(&path)
                .and_then(|fd| attributes(self.job, &shown, fd.as_fd(), &meta, mode));
            let done = done.map_err(|error| Failure::host(&shown, &error));
            self.job.report.step(done)?;
        }
        Ok(())
    }

    fn identity(&mut self, path: &[u8]) -> Option<Identity> {
        let metadata = std::fs::metadata(self.dir.shown(path)).ok()?;
        use std::os::unix::fs::MetadataExt;
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

fn new_mode(job: &Job<'_>, meta: &Meta) -> u32 {
    if job.options.keep.mode {
        meta.mode
    } else {
        meta.mode & 0o777 & !job.options.umask
    }
}

fn owner(job: &Job<'_>, meta: &Meta) -> Option<(u32, u32)> {
    match job.options.owner {
        Some(owner) => Some(owner),
        None => job.options.keep.owner.then_some((meta.uid, meta.gid)),
    }
}

/// Takes the result of a chown: that it is not permitted is a loss, said once. Whether the owner is right.
fn owner_result(job: &Job<'_>, shown: &Path, changed: rustix::io::Result<()>) -> io::Result<bool> {
    match changed {
        Ok(()) => Ok(true),
        Err(error @ (Errno::PERM | Errno::INVAL)) => {
            job.lose(Loss::Owners, &shown_os(shown), &io_reason(&error.into()));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn xattr_result(
    job: &Job<'_>,
    shown: &Path,
    name: &OsStr,
    set: rustix::io::Result<()>,
) -> io::Result<()> {
    match set {
        Ok(()) => Ok(()),
        Err(error @ (Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS)) => {
            let first = format!("{} ({})", shown_os(shown), shown_os(name));
            job.lose(Loss::Xattrs, &first, &io_reason(&error.into()));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Owner, extended attributes, mode and times of an open file. Owner first, as that takes set-id bits and capabilities away; the mode after
/// the attributes, as a read-only file takes none.
fn attributes(
    job: &Job<'_>,
    shown: &Path,
    fd: BorrowedFd<'_>,
    meta: &Meta,
    mode: u32,
) -> io::Result<()> {
    let mut mode = mode;
    if let Some((uid, gid)) = owner(job, meta) {
        let changed = fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        if !owner_result(job, shown, changed)? && meta.kind == FileType::Regular {
            // Set-id to another than its owner would be a present for somebody.
            mode &= 0o1777;
        }
    }
    for (name, value) in &meta.xattrs {
        let name = OsStr::from_bytes(name);
        let set = fs::fsetxattr(fd, name, value, XattrFlags::empty());
        xattr_result(job, shown, name, set)?;
    }
    fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    if job.options.keep.times {
        fs::futimens(fd, &timestamps(meta.atime, meta.mtime))?;
    }
    Ok(())
}

/// Writes the content.
fn fill(
    file: &File,
    shown: &Path,
    meta: &Meta,
    content: &mut dyn Content,
    moves: &mut bool,
    job: &Job<'_>,
) -> Outcome<()> {
    let fail = |error: io::Error| Failure::host(shown, &error);
    let pieces = content.pieces().to_vec();
    for piece in &pieces {
        crate::signals::check()?;
        if let (Some(from), Some(at)) = (content.host_file(), piece.host) {
            if *moves {
                *moves = copy_range(from, at, file, piece.offset, piece.len).map_err(fail)?;
            }
            if !*moves {
                through_memory(from, at, file, piece).map_err(fail)?;
            }
            job.progress.bytes(piece.len);
            continue;
        }
        for_chunks(content, std::slice::from_ref(piece), &mut |offset, data| {
            file.write_all_at(data, offset).map_err(fail)?;
            job.progress.bytes(data.len() as u64);
            Ok(())
        })?;
    }
    let end = pieces.last().map_or(0, |piece| piece.offset + piece.len);
    if end < meta.size {
        file.set_len(meta.size).map_err(fail)?;
    }
    Ok(())
}

/// Copies a piece between two files of the host with a buffer.
fn through_memory(from: &File, at: u64, to: &File, piece: &Piece) -> io::Result<()> {
    let len = usize::try_from(piece.len).unwrap_or(super::CHUNK);
    let mut buf = vec![0; len.min(super::CHUNK)];
    let mut done = 0;
    while done < piece.len {
        let want = usize::try_from(piece.len - done).map_or(buf.len(), |n| n.min(buf.len()));
        from.read_exact_at(&mut buf[..want], at + done)?;
        to.write_all_at(&buf[..want], piece.offset + done)?;
        done += want as u64;
    }
    Ok(())
}
