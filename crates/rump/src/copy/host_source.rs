//! Copying from the host.

use super::{Body, Content, Identity, Job, Meta, Piece, Place, Sink, image_source::From};
use crate::{
    copy::{image_source::Links, writers::Detached},
    hostfs::{bytes, read_xattrs, through_fd},
    quote::shown_os,
    report::{Failure, Outcome},
    signals::Interruptible,
    walk::join,
};
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::Timespec;
use rumpvfs::calls::Follow;
use rustix::{
    fs::{self, AtFlags, CWD, Dir, Mode, OFlags, SeekFrom},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory on the way.
struct Frame {
    id: Identity,
    fd: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<OsString>,
}

/// What is fixed for one tree.
struct Tree<'a, 'j> {
    start: &'a Path,
    to: &'a [u8],
    from: From,
    job: &'a Job<'j>,
    top: Option<Identity>,
}

/// Copies `start` to `to` in the sink. Failures of single entries are reported.
///
/// # Errors
/// What ends the command, or that `start` cannot be copied at all.
pub(crate) fn copy(
    start: &Path,
    sink: &mut dyn Sink,
    to: &[u8],
    from: From,
    links: &mut Links,
    job: &Job<'_>,
) -> Outcome<()> {
    let mut tree = Tree {
        start,
        to,
        from,
        job,
        top: None,
    };
    let follow = from.follow_start || from.follow_all;
    let mut stack: Vec<Frame> = Vec::new();
    let first = tree.entry(&stack, start.as_os_str(), b"", follow, sink, links)?;
    stack.extend(first);
    while let Some(frame) = stack.last_mut() {
        crate::signals::check()?;
        let Some(name) = frame.names.next() else {
            stack.pop();
            continue;
        };
        let path = join(&frame.path, name.as_bytes());
        let entered = tree.entry(&stack, &name, &path, from.follow_all, sink, links);
        stack.extend(job.report.step(entered)?.flatten());
    }
    Ok(())
}

impl Tree<'_, '_> {
    fn shown(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            self.start.into()
        } else {
            self.start.join(OsStr::from_bytes(path))
        }
    }

    /// Copies one entry of the innermost directory that the walk is `inside`; a directory is given back to be walked.
    fn entry(
        &mut self,
        inside: &[Frame],
        name: &OsStr,
        path: &[u8],
        follow: bool,
        sink: &mut dyn Sink,
        links: &mut Links,
    ) -> Outcome<Option<Frame>> {
        let shown = self.shown(path);
        let dir = inside.last().map_or(CWD, |frame| frame.fd.as_fd());
        let fail = |error: io::Error| Failure::host(&shown, &error);
        let flags = if follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let stat = match fs::statat(dir, name, flags) {
            Err(Errno::NOENT | Errno::LOOP) if follow && !path.is_empty() => {
                fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) // a link that leads nowhere
            }
            stat => stat,
        };
        let stat = stat.map_err(|error| fail(error.into()))?;
        let mut meta = meta(&stat);
        let id = (Place::Host, stat.st_dev, stat.st_ino);
        let target = join(self.to, path);
        if is_same(dir, name, &stat, path.is_empty(), sink, &target) {
            return Err(Failure::at(
                shown_os(&shown),
                "source and target are the same",
            ));
        }
        // Where links are followed, there would be no end.
        if inside.iter().any(|frame| frame.id == id) {
            let reason = "leads to a directory that it is in";
            return Err(Failure::at(shown_os(&shown), reason));
        }
        if self.top == Some(id) {
            let reason = "a directory is not copied into itself";
            return Err(Failure::at(shown_os(&shown), reason));
        }
        let linked =
            self.job.options.keep.links && stat.st_nlink > 1 && meta.kind != FileType::Directory;
        meta.more_names = linked;
        if linked && let Some(earlier) = links.earlier(id, &target) {
            sink.put(&target, &meta, Body::Link(&earlier))?;
            return Ok(None);
        }
        let done = self.body(dir, name, &shown, &target, &mut meta, sink);
        if linked && done.is_err() {
            links.forget(&id);
        }
        self.job.progress.file();
        let Some(fd) = done? else { return Ok(None) };
        if path.is_empty() {
            self.top = sink.identity(&target, Follow::Yes);
        }
        let names = self.names(&fd).map_err(fail)?;
        Ok(Some(Frame {
            id,
            fd,
            path: path.to_vec(),
            names: names.into_iter(),
        }))
    }

    /// Puts one entry; gives an open directory back.
    fn body(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        shown: &Path,
        target: &[u8],
        meta: &mut Meta,
        sink: &mut dyn Sink,
    ) -> Outcome<Option<OwnedFd>> {
        let fail = |error: io::Error| Failure::host(shown, &error);
        let keep = &self.job.options.keep;
        match meta.kind {
            FileType::Directory => {
                if !self.from.recursive {
                    return Err(Failure::at(
                        shown_os(shown),
                        "is a directory (-r is missing)",
                    ));
                }
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
                let fd = fs::openat(dir, name, flags, Mode::empty());
                let fd = fd.map_err(|error| fail(error.into()))?;
                if keep.looks_for_xattrs() {
                    meta.xattrs = open_xattrs(fd.as_fd()).map_err(fail)?;
                    keep.choose(&mut meta.xattrs);
                }
                sink.put(target, meta, Body::Directory)?;
                return Ok(Some(fd));
            }
            FileType::Regular => {
                // Should something else have come in its place, that does not block.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let fd = fs::openat(dir, name, flags, Mode::empty());
                let file = File::from(fd.map_err(|error| fail(error.into()))?);
                if keep.looks_for_xattrs() {
                    meta.xattrs = open_xattrs(file.as_fd()).map_err(fail)?;
                    keep.choose(&mut meta.xattrs);
                }
                let file = with_all_it_has(file, meta).map_err(fail)?;
                let pieces = pieces(&file, meta.size).map_err(fail)?;
                let mut content = HostContent {
                    file: Arc::new(file),
                    path: shown,
                    pieces,
                };
                sink.put(target, meta, Body::Regular(&mut content))?;
            }
            kind => {
                if keep.looks_for_xattrs() {
                    let path = through_fd_or_path(dir, name);
                    meta.xattrs = read_xattrs(
                        |buf| fs::llistxattr(&path, buf),
                        |name, buf| fs::lgetxattr(&path, name, buf),
                    )
                    .map_err(fail)?;
                    keep.choose(&mut meta.xattrs);
                }
                if kind == FileType::Symlink {
                    let read = fs::readlinkat(dir, name, Vec::new());
                    let read = read.map_err(|error| fail(error.into()))?;
                    sink.put(target, meta, Body::Symlink(read.as_bytes()))?;
                } else {
                    sink.put(target, meta, Body::Node)?;
                }
            }
        }
        Ok(None)
    }

    fn names(&self, fd: &OwnedFd) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Whether an entry would be put in its own place: under another of its names or, a symbolic link, where it points to.
fn is_same(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    stat: &fs::Stat,
    is_start: bool,
    sink: &mut dyn Sink,
    target: &[u8],
) -> bool {
    let identity = |stat: &fs::Stat| (Place::Host, stat.st_dev, stat.st_ino);
    match fs::FileType::from_raw_mode(stat.st_mode) {
        fs::FileType::Symlink => sink.identity(target, Follow::No).is_some_and(|there| {
            let target = fs::statat(dir, name, AtFlags::empty());
            there == identity(stat) || target.is_ok_and(|target| there == identity(&target))
        }),
        // Below the start, what has one name is not in its own place.
        kind if is_start || stat.st_nlink > 1 && kind != fs::FileType::Directory => {
            sink.identity(target, Follow::Yes) == Some(identity(stat))
        }
        _ => false,
    }
}

fn through_fd_or_path(dir: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    use std::os::fd::AsRawFd;
    if dir.as_raw_fd() == CWD.as_raw_fd() {
        name.into()
    } else {
        through_fd(dir, name)
    }
}

fn open_xattrs(fd: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    read_xattrs(
        |buf| fs::flistxattr(fd, buf),
        |name, buf| fs::fgetxattr(fd, name, buf),
    )
}

fn meta(stat: &fs::Stat) -> Meta {
    let time = |sec: i64, nsec: u64| Timespec {
        sec,
        nsec: u32::try_from(nsec).unwrap_or(0),
    };
    Meta {
        kind: FileType::from_mode(stat.st_mode).unwrap_or(FileType::Regular),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        rdev: DeviceNumber {
            major: fs::major(stat.st_rdev),
            minor: fs::minor(stat.st_rdev),
        },
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        xattrs: Vec::new(),
        more_names: false,
    }
}

/// Files of proc(5) say that they are empty; what they have shows when they are read.
fn with_all_it_has(file: File, meta: &mut Meta) -> io::Result<File> {
    if meta.size > 0 || file.read_at(&mut [0], 0)? == 0 {
        return Ok(file);
    }
    let file = spool(&mut Interruptible(file))?;
    meta.size = file.metadata()?.len();
    Ok(file)
}

/// Where the data of a file is. Small files are taken as they are.
fn pieces(file: &File, size: u64) -> io::Result<Vec<Piece>> {
    /// Asking for holes costs more than reading so much.
    const SMALL: u64 = 1 << 16;
    let whole = |size| Piece {
        offset: 0,
        len: size,
        host: Some(0),
    };
    if size <= SMALL {
        return Ok((size > 0).then(|| whole(size)).into_iter().collect());
    }
    // With so much space there is no room for holes. The host may have to go over every page to say so.
    if file.metadata()?.blocks().saturating_mul(512) >= size {
        return Ok(vec![whole(size)]);
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match fs::seek(file, SeekFrom::Data(at)) {
            Ok(offset) => offset,
            Err(Errno::NXIO) => break,
            // No such notion: one piece.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(vec![whole(size)]),
            Err(error) => return Err(error.into()),
        };
        let end = fs::seek(file, SeekFrom::Hole(offset))?.min(size);
        if end <= offset {
            break;
        }
        pieces.push(Piece {
            offset,
            len: end - offset,
            host: Some(offset),
        });
        at = end;
    }
    Ok(pieces)
}

/// A regular file of the host.
struct HostContent<'a> {
    file: Arc<File>,
    path: &'a Path,
    pieces: Vec<Piece>,
}

impl Content for HostContent<'_> {
    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Outcome<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Ok(0) => {
                    let reason = "became shorter while it was read";
                    return Err(Failure::at(shown_os(self.path), reason));
                }
                Ok(got) => return Ok(got),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    crate::signals::check()?;
                }
                Err(error) => return Err(Failure::host(self.path, &error)),
            }
        }
    }

    fn host_file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn detached(&self) -> Option<Detached> {
        Some(Detached {
            name: self.path.as_os_str().as_bytes().to_vec(),
            file: Some(self.file.clone()),
            pieces: self.pieces.clone(),
        })
    }
}

/// A stream, read to its end into a file without a name: only then its size is known, and that it is whole.
///
/// # Errors
/// Those of reading it, and of the directory for temporary files.
pub(crate) fn spool(stream: &mut dyn io::Read) -> io::Result<File> {
    let dir = std::env::temp_dir();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let fd = match fs::openat(CWD, &dir, flags, mode) {
        Ok(fd) => fd,
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
            let path = dir.join(format!(".rump-spool-{}", std::process::id()));
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            let fd = fs::openat(CWD, &path, flags, mode)?;
            fs::unlinkat(CWD, &path, AtFlags::empty())?;
            fd
        }
        Err(error) => return Err(error.into()),
    };
    let mut file = File::from(fd);
    io::copy(stream, &mut file)?;
    Ok(file)
}

/// Puts a stream as a regular file.
///
/// # Errors
/// Those of reading it and of the sink.
pub(crate) fn copy_stream(file: File, sink: &mut dyn Sink, to: &[u8], mode: u32) -> Outcome<()> {
    let name = Path::new("standard input");
    let fail = |error: io::Error| Failure::host(name, &error);
    let size = file.metadata().map_err(fail)?.len();
    let now = crate::time::now();
    let meta = Meta {
        kind: FileType::Regular,
        mode,
        uid: 0,
        gid: 0,
        size,
        rdev: DeviceNumber::default(),
        atime: now,
        mtime: now,
        xattrs: Vec::new(),
        more_names: false,
    };
    let pieces = pieces(&file, size).map_err(fail)?;
    let mut content = HostContent {
        file: Arc::new(file),
        path: name,
        pieces,
    };
    sink.put(to, &meta, Body::Regular(&mut content))
}

/// The last component of a path of the host as a name for a copy; empty for `/`, `.` and `..`.
pub(crate) fn base_name(path: &Path) -> Vec<u8> {
    match path.components().next_back() {
        Some(std::path::Component::Normal(_)) => {
            let text = path.as_os_str().as_bytes();
            if text.ends_with(b"/.") || text.ends_with(b"/./") {
                return Vec::new();
            }
            path.file_name()
                .map_or_else(Vec::new, |name| bytes(name.into()))
        }
        _ => Vec::new(),
    }
}
