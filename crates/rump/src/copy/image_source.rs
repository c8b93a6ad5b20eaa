//! Copying from an image.

use super::{Body, Content, Identity, Job, Meta, Piece, Place, Sink, writers::Detached};
use crate::{
    commands::cat::open_regular,
    report::{Failure, Outcome},
    session::{Image, OpenFd},
    walk::{Entry, Event, Walk, join},
};
use rumpkern::{FileType, Seek, Stat};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::{collections::HashMap, fs::File};

/// How a tree is walked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    /// Directories with what is in them.
    pub(crate) recursive: bool,
    /// The start, if it is a symbolic link, stands for what it points to.
    pub(crate) follow_start: bool,
    /// So does every other.
    pub(crate) follow_all: bool,
    /// Entries by name.
    pub(crate) sorted: bool,
}

/// Names of files with several names, across all the trees of one copy.
#[derive(Default)]
pub(crate) struct Links(HashMap<Identity, Vec<u8>>);

impl Links {
    /// The path under which the file was put before; otherwise remembers this one.
    pub(crate) fn earlier(&mut self, identity: Identity, path: &[u8]) -> Option<Vec<u8>> {
        match self.0.entry(identity) {
            std::collections::hash_map::Entry::Occupied(known) => Some(known.get().clone()),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(path.to_vec());
                None
            }
        }
    }

    /// It could not be put after all.
    pub(crate) fn forget(&mut self, identity: &Identity) {
        self.0.remove(identity);
    }
}

/// The identity of a file of an image.
pub(crate) fn identity(image: &Image, stat: &Stat) -> Identity {
    let place = Place::Image(std::ptr::from_ref(image).addr());
    (place, stat.dev, stat.ino)
}

/// Copies `start` of the image to `to` in the sink. Failures of single entries are reported.
///
/// # Errors
/// What ends the command, or that `start` cannot be copied at all.
pub(crate) fn copy(
    image: &Image,
    start: &[u8],
    sink: &mut dyn Sink,
    to: &[u8],
    from: From,
    links: &mut Links,
    job: &Job<'_>,
) -> Outcome<()> {
    let follow = if from.follow_start || from.follow_all {
        Follow::Yes
    } else {
        Follow::No
    };
    let mut walk = Walk::new(image, start, follow);
    if from.sorted {
        walk = walk.sorted();
    }
    if from.follow_all {
        walk = walk.following();
    }
    let mut top: Option<Identity> = None;
    while let Some(event) = walk.next() {
        let Some(Event::Enter(entry)) = job.report.step(event)? else {
            continue;
        };
        let id = identity(image, &entry.stat);
        if entry.is_dir() && !from.recursive {
            let failure = Failure::at(name(image, &walk, &entry), "is a directory (-r is missing)");
            job.report.fail(&failure);
            return Ok(());
        }
        let is_node = !matches!(entry.stat.file_type, FileType::Regular | FileType::Symlink);
        if is_node && !from.recursive {
            // As reading it says; made anew it is only with -r.
            job.report.fail(&walk.failure(&entry, Errno::ENXIO));
            return Ok(());
        }
        if top == Some(id) {
            let failure = Failure::at(
                name(image, &walk, &entry),
                "a directory is not copied into itself",
            );
            job.report.fail(&failure);
            walk.prune();
            continue;
        }
        let path = join(to, &entry.path);
        if is_same(image, &walk, &entry, sink, &path) {
            let failure = Failure::at(name(image, &walk, &entry), "source and target are the same");
            job.report.fail(&failure);
            walk.prune();
            continue;
        }
        let put = put(image, &walk, &entry, sink, &path, links, job);
        if job.report.step(put)?.is_none() && entry.is_dir() {
            walk.prune();
        }
        if entry.depth == 0 && entry.is_dir() {
            top = sink.identity(&path, Follow::Yes);
        }
    }
    Ok(())
}

/// Whether an entry would be put in its own place: under another of its names or, a symbolic link, where it points to.
fn is_same(
    image: &Image,
    walk: &Walk<'_>,
    entry: &Entry,
    sink: &mut dyn Sink,
    path: &[u8],
) -> bool {
    let id = identity(image, &entry.stat);
    match entry.stat.file_type {
        FileType::Symlink => sink.identity(path, Follow::No).is_some_and(|there| {
            let (at, name) = walk.locate(entry);
            let target = image.proc.fstatat(at, name, Follow::Yes);
            there == id || target.is_ok_and(|target| there == identity(image, &target))
        }),
        // Below the start, what has one name is not in its own place.
        kind if entry.depth == 0 || entry.stat.nlink > 1 && kind != FileType::Directory => {
            sink.identity(path, Follow::Yes) == Some(id)
        }
        _ => false,
    }
}

fn name(image: &Image, walk: &Walk<'_>, entry: &Entry) -> String {
    let path = walk.full(entry);
    format!("{}:{}", image.name, crate::quote::shown(&path))
}

fn put(
    image: &Image,
    walk: &Walk<'_>,
    entry: &Entry,
    sink: &mut dyn Sink,
    path: &[u8],
    links: &mut Links,
    job: &Job<'_>,
) -> Outcome<()> {
    let stat = &entry.stat;
    let (at, name) = walk.locate(entry);
    let fail = |errno| walk.failure(entry, errno);
    let follow = if walk.follows(entry) {
        Follow::Yes
    } else {
        Follow::No
    };
    let id = identity(image, stat);
    let linked = job.options.keep.links && stat.nlink > 1 && !entry.is_dir();
    let mut meta = meta(stat);
    meta.more_names = linked;
    if linked && let Some(earlier) = links.earlier(id, path) {
        return sink.put(path, &meta, Body::Link(&earlier));
    }
    if job.options.keep.looks_for_xattrs() {
        let full = walk.full(entry);
        meta.xattrs = xattrs(image, &full, follow).map_err(fail)?;
        job.options.keep.choose(&mut meta.xattrs);
    }
    let done = match stat.file_type {
        FileType::Directory => sink.put(path, &meta, Body::Directory),
        FileType::Symlink => {
            let target = image.proc.readlinkat(at, name).map_err(fail)?;
            sink.put(path, &meta, Body::Symlink(&target))
        }
        FileType::Regular => {
            let full = walk.full(entry);
            let opened = ImageContent::open(image, at, name, full);
            opened.and_then(|mut content| sink.put(path, &meta, Body::Regular(&mut content)))
        }
        _ => sink.put(path, &meta, Body::Node),
    };
    if linked && done.is_err() {
        links.forget(&id);
    }
    job.progress.file();
    done
}

/// Attributes as a copy takes them.
pub(crate) fn meta(stat: &Stat) -> Meta {
    Meta {
        kind: stat.file_type,
        mode: stat.mode & 0o7777,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        rdev: stat.rdev,
        atime: stat.atime,
        mtime: stat.mtime,
        xattrs: Vec::new(),
        more_names: false,
    }
}

/// All extended attributes, by name.
///
/// # Errors
/// Those of reading them; that the format has none is none.
pub(crate) fn xattrs(
    image: &Image,
    path: &[u8],
    follow: Follow,
) -> rumpuser::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = match image.proc.listxattr(path, follow) {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    names.sort_unstable();
    let value = |name: Vec<u8>| {
        let value = image.proc.getxattr(path, &name, follow)?;
        Ok((name, value))
    };
    names.into_iter().map(value).collect()
}

/// A regular file of an image.
pub(crate) struct ImageContent<'a> {
    image: &'a Image,
    path: Vec<u8>,
    fd: OpenFd<'a>,
    pieces: Vec<Piece>,
    host: Option<&'a File>,
}

impl<'a> ImageContent<'a> {
    /// Opens the file and finds out where its data is.
    ///
    /// # Errors
    /// It cannot be opened, or its map is damaged.
    pub(crate) fn open(image: &'a Image, at: At, name: &[u8], path: Vec<u8>) -> Outcome<Self> {
        let opened = open_regular(image, at, name).and_then(|(fd, stat)| {
            let (pieces, host) = pieces(image, &fd, stat.size)?;
            Ok((fd, pieces, host))
        });
        let (fd, pieces, host) = opened.map_err(|errno| image.failure(&path, errno))?;
        Ok(Self {
            image,
            path,
            fd,
            pieces,
            host,
        })
    }

    /// Opens a regular file for who takes what can be read of it, and gives its size. Where its map is damaged, reading tells.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn of_damaged(image: &'a Image, path: &[u8]) -> Outcome<(Self, u64)> {
        let opened = open_regular(image, At::Cwd, path);
        let (fd, stat) = opened.map_err(|errno| image.failure(path, errno))?;
        let whole = || Piece {
            offset: 0,
            len: stat.size,
            host: None,
        };
        let found = pieces(image, &fd, stat.size);
        let (pieces, host) = found.unwrap_or_else(|_| (vec![whole()], None));
        let content = Self {
            image,
            path: path.to_vec(),
            fd,
            pieces,
            host,
        };
        Ok((content, stat.size))
    }
}

impl Content for ImageContent<'_> {
    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Outcome<usize> {
        match self.image.proc.pread(self.fd.fd, buf, offset) {
            Ok(0) => Err(self.image.failure(&self.path, Errno::EIO)),
            Ok(got) => Ok(got),
            Err(errno) => Err(self.image.failure(&self.path, errno)),
        }
    }

    fn host_file(&self) -> Option<&File> {
        self.host
    }

    fn detached(&self) -> Option<Detached> {
        let all = self.pieces.iter().all(|piece| piece.host.is_some());
        let file = match self.host {
            Some(file) => Some(self.image.share(file)?),
            None => None,
        };
        all.then(|| Detached {
            name: self.path.clone(),
            file,
            pieces: self.pieces.clone(),
        })
    }
}

/// Where the data of a file is, from the driver's map or by asking for holes.
fn pieces<'a>(
    image: &'a Image,
    fd: &OpenFd<'_>,
    size: u64,
) -> rumpuser::Result<(Vec<Piece>, Option<&'a File>)> {
    if size == 0 {
        return Ok((Vec::new(), None));
    }
    let extents = match image.proc.extents(fd.fd, 0, size) {
        Ok(extents) => extents,
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            return Ok((pieces_by_seeking(image, fd, size)?, None));
        }
        Err(errno) => return Err(errno),
    };
    let mut host = None;
    let mut pieces: Vec<Piece> = Vec::with_capacity(extents.len());
    for extent in extents {
        let from = extent.offset.min(size);
        let end = extent.offset.saturating_add(extent.len).min(size);
        let earlier = pieces.last().map_or(0, |piece| piece.offset + piece.len);
        if from >= end || from < earlier {
            continue;
        }
        let window = extent.device.and_then(|at| image.device.host_window(at));
        let file = window.and_then(|(object, at)| Some((object.downcast_ref::<File>()?, at)));
        host = file.map(|(file, _)| file).or(host);
        let piece = Piece {
            offset: from,
            len: end - from,
            host: file.map(|(_, at)| at),
        };
        match pieces.last_mut() {
            Some(last) if joins(last, &piece) => last.len += piece.len,
            _ => pieces.push(piece),
        }
    }
    Ok((pieces, host))
}

/// Whether one piece goes on where the other ends, in the file and on the host.
fn joins(last: &Piece, next: &Piece) -> bool {
    let host = match (last.host, next.host) {
        (None, None) => true,
        (Some(a), Some(b)) => a.checked_add(last.len) == Some(b),
        _ => false,
    };
    host && last.offset + last.len == next.offset
}

fn pieces_by_seeking(image: &Image, fd: &OpenFd<'_>, size: u64) -> rumpuser::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match image.proc.lseek(fd.fd, Seek::Data(at)) {
            Ok(offset) => offset.max(at),
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno),
        };
        let end = image.proc.lseek(fd.fd, Seek::Hole(offset))?.min(size);
        if end <= offset {
            break;
        }
        pieces.push(Piece {
            offset,
            len: end - offset,
            host: None,
        });
        at = end;
    }
    image.proc.lseek(fd.fd, Seek::Set(0))?;
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_only_when_both_sides_go_on() {
        let piece = |offset, len, host| Piece { offset, len, host };
        assert!(joins(&piece(0, 4, Some(100)), &piece(4, 4, Some(104))));
        assert!(!joins(&piece(0, 4, Some(100)), &piece(4, 4, Some(108))));
        assert!(!joins(&piece(0, 4, None), &piece(8, 4, None)));
        assert!(joins(&piece(0, 4, None), &piece(4, 4, None)));
        assert!(!joins(&piece(0, 4, None), &piece(4, 4, Some(4))));
    }
}
