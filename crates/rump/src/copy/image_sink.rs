//! Copying into an image.

use super::{
    Body, Content, DEFAULT_ACL, Identity, Job, Loss, Meta, Piece, Sink, check_path, for_chunks,
    mover::Mover, split_last,
};
use crate::{
    quote::shown,
    report::{Failure, Outcome},
    session::{Image, OpenFd},
    walk::join,
};
use rumpkern::{FileType, OpenFlags};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, ChangeAttributes, Follow, RenameFlags, SetTime},
    fs::XattrMode,
};
use std::{cell::RefCell, collections::HashSet, fs::File};

/// From this many bytes on the host moves what comes from one of its files: below, asking costs more than a second copy.
const MOVE_MIN: u64 = 64 << 10;

/// A directory of an image that entries go to.
pub(crate) struct ImageSink<'a> {
    image: &'a Image,
    root: Vec<u8>,
    job: &'a Job<'a>,
    root_dir: Dir<'a>,
    /// Directories on the way to the last entry.
    open: Vec<(Vec<u8>, Dir<'a>)>,
    /// Directories whose attributes wait for the end.
    dirs: Vec<(Vec<u8>, Meta)>,
    /// Symbolic links made by this copy, which nothing is put through.
    links: HashSet<Vec<u8>>,
    /// `None`: the host does not move data into the image itself, as was found out.
    mover: RefCell<Option<Mover>>,
}

/// An open directory.
struct Dir<'a> {
    fd: OpenFd<'a>,
    /// Whether it gives access control lists to what is made in it.
    gives_acls: bool,
}

impl<'a> Dir<'a> {
    fn new(image: &Image, fd: OpenFd<'a>) -> Self {
        let gives_acls = image.proc.fgetxattr(fd.fd, DEFAULT_ACL.as_bytes()).is_ok();
        Self { fd, gives_acls }
    }
}

impl<'a> ImageSink<'a> {
    /// Entries go to the directory at `root`.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub(crate) fn new(image: &'a Image, root: &[u8], job: &'a Job<'a>) -> Outcome<Self> {
        let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
        let root_fd = image
            .open_at(At::Cwd, root, flags)
            .map_err(|errno| image.failure(root, errno))?;
        // The kernel's work, as a default ACL takes the umask's place.
        image.proc.umask(job.options.umask);
        Ok(Self {
            image,
            root: root.to_vec(),
            job,
            open: Vec::new(),
            root_dir: Dir::new(image, root_fd),
            dirs: Vec::new(),
            links: HashSet::new(),
            mover: RefCell::new(Some(Mover::default())),
        })
    }

    fn failure(&self, path: &[u8], errno: Errno) -> Failure {
        self.image.failure(&join(&self.root, path), errno)
    }

    /// Opens the directory that an entry is in, making those that are missing, and gives the entry's name there.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Outcome<(At, &'p [u8])> {
        let (dir, name) = split_last(path);
        let wanted: Vec<&[u8]> = dir
            .split(|&c| c == b'/')
            .filter(|n| !n.is_empty())
            .collect();
        let common = self
            .open
            .iter()
            .zip(&wanted)
            .take_while(|((name, _), wanted)| name == *wanted)
            .count();
        self.open.truncate(common);
        for (depth, name) in wanted.iter().enumerate().skip(common) {
            let sofar = wanted[..=depth].join(&b'/');
            let at = self.top();
            let fd = self.enter(at, name, &sofar)?;
            self.open.push((name.to_vec(), Dir::new(self.image, fd)));
        }
        Ok((self.top(), name))
    }

    fn top_dir(&self) -> &Dir<'a> {
        self.open.last().map_or(&self.root_dir, |(_, dir)| dir)
    }

    fn top(&self) -> At {
        At::Fd(self.top_dir().fd.fd)
    }

    fn enter(&self, at: At, name: &[u8], path: &[u8]) -> Outcome<OpenFd<'a>> {
        let mut flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
        // A link that was there before leads where the image's owner wants; one that came with this copy might be a trap.
        if self.links.contains(path) {
            flags |= OpenFlags::NOFOLLOW;
        }
        let opened = match self.image.open_at(at, name, flags) {
            Err(Errno::ENOENT) => self
                .image
                .proc
                .mkdirat(at, name, 0o777)
                .and_then(|()| self.image.open_at(at, name, flags)),
            opened => opened,
        };
        opened.map_err(|errno| self.failure(path, errno))
    }

    fn directory(&mut self, path: &[u8], meta: &Meta) -> Outcome<()> {
        if path.is_empty() {
            if self.changes_directories() {
                self.dirs.push((Vec::new(), meta.clone()));
            }
            return Ok(());
        }
        let (at, name) = self.parent(path)?;
        let made = match self.image.proc.mkdirat(at, name, self.new_mode(meta)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => {
                let stat = self.image.proc.fstatat(at, name, Follow::Yes);
                let stat = stat.map_err(|errno| self.failure(path, errno))?;
                if stat.file_type != FileType::Directory || self.links.contains(path) {
                    return Err(self.failure(path, Errno::EEXIST));
                }
                false
            }
            Err(errno) => return Err(self.failure(path, errno)),
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

    /// The mode to make something with, less the umask.
    fn new_mode(&self, meta: &Meta) -> u32 {
        match self.job.options.keep.mode {
            true => meta.mode,
            false => meta.mode & 0o777,
        }
    }

    /// Makes something under its name, or under another that then takes its place: what was there goes only when the new one is whole.
    fn place(&mut self, path: &[u8], make: Make<'_, Self>) -> Outcome<()> {
        let (at, name) = self.parent(path)?;
        match make(self, at, name)? {
            Made::Done => return Ok(()),
            Made::Exists => {}
        }
        let there = self.image.proc.fstatat(at, name, Follow::No);
        let there = there.map_err(|errno| self.failure(path, errno))?;
        if there.file_type == FileType::Directory {
            return Err(self.failure(path, Errno::EISDIR));
        }
        if self.job.options.no_clobber {
            return Ok(());
        }
        for attempt in 0..100_u32 {
            let other = format!(".rump-{}-{attempt}", std::process::id());
            if let Made::Exists = make(self, at, other.as_bytes())? {
                continue;
            }
            let renamed =
                self.image
                    .proc
                    .renameat((at, other.as_bytes()), (at, name), RenameFlags::empty());
            return renamed.map_err(|errno| {
                let _ = self.image.proc.unlinkat(at, other.as_bytes(), false);
                self.failure(path, errno)
            });
        }
        Err(self.failure(path, Errno::EEXIST))
    }

    fn regular(&mut self, path: &[u8], meta: &Meta, content: &mut dyn Content) -> Outcome<()> {
        self.place(path, &mut |sink, at, name| {
            let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::EXCL;
            let fd = match sink.image.create_at(at, name, flags, sink.new_mode(meta)) {
                Ok(fd) => fd,
                Err(Errno::EEXIST) => return Ok(Made::Exists),
                Err(errno) => return Err(sink.failure(path, errno)),
            };
            let written = sink
                .fill(path, meta, &fd, content)
                .and_then(|()| sink.attributes(&sink.full(path, name), At::Fd(fd.fd), b"", meta))
                .and_then(|()| fd.close().map_err(|errno| sink.failure(path, errno)));
            if written.is_err() {
                // Half a file must not look like a whole one.
                let _ = sink.image.proc.unlinkat(at, name, false);
            }
            written.map(|()| Made::Done)
        })
    }

    fn fill(
        &self,
        path: &[u8],
        meta: &Meta,
        fd: &OpenFd<'_>,
        content: &mut dyn Content,
    ) -> Outcome<()> {
        let proc = &self.image.proc;
        let pieces = content.pieces().to_vec();
        for piece in &pieces {
            crate::signals::check()?;
            let moved = self.move_in(fd, piece, content);
            self.job.progress.bytes(moved);
            for_chunks(content, &[piece.behind(moved)], &mut |offset, data| {
                self.write(path, fd, offset, data)
            })?;
        }
        let end = pieces.last().map_or(0, |piece| piece.offset + piece.len);
        if end < meta.size {
            let grown = proc.ftruncate(fd.fd, meta.size);
            grown.map_err(|errno| self.failure(path, errno))?;
        }
        Ok(())
    }

    fn write(&self, path: &[u8], fd: &OpenFd<'_>, offset: u64, mut data: &[u8]) -> Outcome<()> {
        let mut offset = offset;
        while !data.is_empty() {
            let done = self.image.proc.pwrite(fd.fd, data, offset);
            let done = done.map_err(|errno| self.failure(path, errno))?;
            if done == 0 {
                return Err(self.failure(path, Errno::EIO));
            }
            data = data.get(done..).unwrap_or_default();
            offset += done as u64;
            self.job.progress.bytes(done as u64);
        }
        Ok(())
    }

    /// Has the host move the start of a piece from its file to the image's. Gives the bytes done: 0 where that cannot be, or
    /// fails; whoever reads and writes the bytes then will know why.
    fn move_in(&self, fd: &OpenFd<'_>, piece: &Piece, content: &dyn Content) -> u64 {
        let (Some(from), Some(at)) = (content.host_file(), piece.host) else {
            return 0;
        };
        let mut unable = false;
        let mut mover = self.mover.borrow_mut();
        let Some(able) = mover.as_mut().filter(|_| piece.len >= MOVE_MIN) else {
            return 0;
        };
        let moved = self
            .image
            .proc
            .write_extents(fd.fd, piece.offset, piece.len, &mut |extent| {
                let device = &self.image.device;
                let window = extent.device.and_then(|at| device.host_window(at));
                let window =
                    window.and_then(|(object, to)| Some((object.downcast_ref::<File>()?, to)));
                let window = window.filter(|(file, to)| reaches(file, to + extent.len));
                let at = at + (extent.offset - piece.offset);
                let mut done = 0;
                while let Some((file, to)) = window
                    && done < extent.len
                {
                    match able.step(from, at + done, file, Some(to + done), extent.len - done) {
                        0 => break,
                        more => done += more,
                    }
                }
                unable = done < extent.len;
                if unable {
                    Err(Errno::EOPNOTSUPP)
                } else {
                    Ok(())
                }
            });
        if unable {
            *mover = None;
        }
        moved.unwrap_or(0)
    }

    /// Where an entry is while it has another name in its directory.
    fn full(&self, path: &[u8], name: &[u8]) -> Vec<u8> {
        join(&join(&self.root, split_last(path).0), name)
    }

    /// Owner, mode, times and extended attributes of what was just made; `full` is where it is now.
    fn attributes(&self, full: &[u8], at: At, name: &[u8], meta: &Meta) -> Outcome<()> {
        let options = &self.job.options;
        let owner = match options.owner {
            Some(owner) => Some(owner),
            None => options.keep.owner.then_some((meta.uid, meta.gid)),
        };
        // What it was made with the umask, a default ACL or a change of owners may have taken from.
        let sets_mode = meta.kind != FileType::Symlink && options.keep.mode;
        let time = |time| {
            if options.keep.times {
                SetTime::To(time)
            } else {
                SetTime::Omit
            }
        };
        let change = ChangeAttributes {
            uid: owner.map(|(uid, _)| uid),
            gid: owner.map(|(_, gid)| gid),
            mode: sets_mode.then_some(meta.mode),
            atime: time(meta.atime),
            mtime: time(meta.mtime),
        };
        let done = self.image.proc.setattrat(at, name, &change, Follow::No);
        done.map_err(|errno| self.image.failure(full, errno))?;
        // Directories may have some from before.
        let may_have = meta.kind == FileType::Directory || self.top_dir().gives_acls;
        if options.keep.acls && may_have {
            self.remove_acls(full, meta)?;
        }
        self.xattrs(full, meta)
    }

    /// Takes away what the directory gave.
    fn remove_acls(&self, full: &[u8], meta: &Meta) -> Outcome<()> {
        for name in meta.missing_acls() {
            let removed = self
                .image
                .proc
                .removexattr(full, name.as_bytes(), Follow::No);
            match removed {
                Ok(()) | Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(self.image.failure(full, errno)),
            }
        }
        Ok(())
    }

    fn xattrs(&self, full: &[u8], meta: &Meta) -> Outcome<()> {
        for (name, value) in &meta.xattrs {
            let set = self
                .image
                .proc
                .setxattr(full, name, value, XattrMode::Set, Follow::No);
            match set {
                Ok(()) => {}
                Err(errno @ (Errno::EOPNOTSUPP | Errno::EPERM)) => {
                    let first = format!("{}:{} ({})", self.image.name, shown(full), shown(name));
                    self.job.lose(Loss::Xattrs, &first, errno.text());
                }
                Err(errno) => return Err(self.image.failure(full, errno)),
            }
        }
        Ok(())
    }

    fn simple(&mut self, path: &[u8], meta: &Meta, make: MakeSimple<'_, Self>) -> Outcome<()> {
        self.place(path, &mut |sink, at, name| match make(sink, at, name) {
            Ok(()) => {
                let done = sink.attributes(&sink.full(path, name), at, name, meta);
                done.map(|()| Made::Done)
            }
            Err(Errno::EEXIST) => Ok(Made::Exists),
            Err(errno) => Err(sink.failure(path, errno)),
        })
    }

    fn link(&mut self, path: &[u8], to: &[u8]) -> Outcome<()> {
        check_path(to)?;
        let existing = join(&self.root, to);
        let mut missing = false;
        let made = self.place(path, &mut |sink, at, name| {
            let made = sink
                .image
                .proc
                .linkat((At::Cwd, &existing), (at, name), Follow::No);
            match made {
                Ok(()) => Ok(Made::Done),
                Err(Errno::EEXIST) => Ok(Made::Exists),
                Err(errno) => {
                    missing = errno == Errno::ENOENT;
                    Err(sink.failure(path, errno))
                }
            }
        });
        match made {
            Err(Failure::Message(_)) if missing => Err(Failure::at(
                format_args!("{}:{}", self.image.name, shown(&join(&self.root, path))),
                format_args!("hard link to {}, which is not there", shown(to)),
            )),
            made => made,
        }
    }
}

impl Drop for ImageSink<'_> {
    fn drop(&mut self) {
        self.image.proc.umask(0);
    }
}

/// Makes something with its content and attributes under a name in a directory.
type Make<'a, S> = &'a mut dyn FnMut(&mut S, At, &[u8]) -> Outcome<Made>;

/// Makes something by one system call.
type MakeSimple<'a, S> = &'a dyn Fn(&S, At, &[u8]) -> rumpuser::Result<()>;

/// What became of an attempt to make something.
enum Made {
    Done,
    /// The name is taken.
    Exists,
}

impl Sink for ImageSink<'_> {
    fn put(&mut self, path: &[u8], meta: &Meta, body: Body<'_>) -> Outcome<()> {
        check_path(path)?;
        if path.is_empty() && !matches!(body, Body::Directory) {
            return Err(self.failure(path, Errno::EISDIR));
        }
        let job = self.job;
        job.tell(path, || self.identity(path, Follow::No).is_some());
        match body {
            Body::Directory => self.directory(path, meta),
            Body::Regular(content) => self.regular(path, meta, content),
            Body::Link(to) => self.link(path, to),
            Body::Symlink(target) => {
                self.simple(path, meta, &|sink, at, name| {
                    sink.image.proc.symlinkat(target, at, name)
                })?;
                self.links.insert(path.to_vec());
                Ok(())
            }
            Body::Node => {
                let mode = self.new_mode(meta);
                self.simple(path, meta, &|sink, at, name| {
                    let proc = &sink.image.proc;
                    proc.mknodat(at, name, meta.kind, mode, meta.rdev)
                })
            }
        }
    }

    fn finish(&mut self) -> Outcome<()> {
        // The deepest first: what is done in a directory changes its times.
        self.open.clear();
        while let Some((path, meta)) = self.dirs.pop() {
            let done = if path.is_empty() {
                self.attributes(&self.root, At::Cwd, &self.root, &meta)
            } else {
                let full = join(&self.root, &path);
                self.attributes(&full, At::Cwd, &full, &meta)
            };
            self.job.report.step(done)?;
        }
        Ok(())
    }

    fn identity(&mut self, path: &[u8], follow: Follow) -> Option<Identity> {
        let full = join(&self.root, path);
        let stat = self.image.proc.fstatat(At::Cwd, &full, follow).ok()?;
        Some(super::image_source::identity(self.image, &stat))
    }
}

/// Whether an image is as long as that. If somebody has cut it off, it must not grow again by what is moved behind its end.
fn reaches(image: &File, end: u64) -> bool {
    let metadata = image.metadata();
    metadata.is_ok_and(|found| !found.is_file() || found.len() >= end)
}
