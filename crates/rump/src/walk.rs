//! Walking a tree of an image: each entry once, directories before and after what is in them.

use crate::{
    report::{Failure, Outcome},
    session::{Image, OpenFd},
};
use rumpkern::{FileType, OpenFlags, Stat};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, DirentPlus, Follow},
};
use std::collections::HashSet;

/// Entries that are asked for at a time.
pub(crate) const BATCH: usize = 1024;

/// Something in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Path from the start of the walk, empty for the start itself, no leading slash.
    pub(crate) path: Vec<u8>,
    /// Attributes.
    pub(crate) stat: Stat,
    /// 0 for the start.
    pub(crate) depth: usize,
    name_at: usize,
}

impl Entry {
    /// The last component of the path.
    pub(crate) fn name(&self) -> &[u8] {
        &self.path[self.name_at..]
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.stat.file_type == FileType::Directory
    }
}

/// What happens on the walk.
#[derive(Debug)]
pub(crate) enum Event {
    /// An entry, a directory among them; what is in it follows unless [`Walk::prune`] is called.
    Enter(Entry),
    /// The end of a directory that was not skipped.
    Leave(Entry),
}

/// A walk that can be stopped at any point.
pub(crate) struct Walk<'a> {
    image: &'a Image,
    start: Vec<u8>,
    sorted: bool,
    looks: bool,
    follow: Follow,
    follow_all: bool,
    stack: Vec<Frame<'a>>,
    state: State,
    /// Directories that were entered: a damaged image may show one twice.
    seen: HashSet<u64>,
}

enum State {
    Start,
    /// The directory that comes next, unless it is skipped.
    Descend(Entry),
    Go,
}

struct Frame<'a> {
    dir: Entry,
    fd: OpenFd<'a>,
    /// Entries that were listed and not walked yet.
    rest: std::vec::IntoIter<DirentPlus>,
    /// Whether the directory may have more than those: a large one is not kept in memory unless it must be sorted. Positions
    /// of a listing stay right while names come and go.
    more: bool,
}

impl<'a> Walk<'a> {
    /// A walk from `start`, which itself is followed if it is a symbolic link and `follow_start` says so.
    pub(crate) fn new(image: &'a Image, start: &[u8], follow_start: Follow) -> Self {
        Self {
            image,
            start: start.to_vec(),
            sorted: false,
            looks: false,
            follow: follow_start,
            follow_all: false,
            stack: Vec::new(),
            state: State::Start,
            seen: HashSet::new(),
        }
    }

    /// Entries of each directory by name, byte by byte.
    pub(crate) fn sorted(mut self) -> Self {
        self.sorted = true;
        self
    }

    /// What is found is not opened, directories aside.
    pub(crate) fn looking(mut self) -> Self {
        self.looks = true;
        self
    }

    /// Symbolic links stand for what they point to, where that is there.
    pub(crate) fn following(mut self) -> Self {
        self.follow_all = true;
        self
    }

    /// Whether an entry's own symbolic link, if it has one, was followed.
    pub(crate) fn follows(&self, entry: &Entry) -> bool {
        entry.stat.file_type != FileType::Symlink
            && (self.follow_all || entry.depth == 0 && self.follow == Follow::Yes)
    }

    /// The directory that was just entered is not walked, and not left.
    pub(crate) fn prune(&mut self) {
        if let State::Descend(_) = self.state {
            self.state = State::Go;
        }
    }

    /// A short way to the entry that was just entered: its directory and its name there.
    pub(crate) fn locate<'p>(&'p self, entry: &'p Entry) -> (At, &'p [u8]) {
        match self.stack.last() {
            Some(frame) if entry.depth > 0 => (At::Fd(frame.fd.fd), entry.name()),
            _ => (At::Cwd, &self.start),
        }
    }

    /// The full path of an entry in the image.
    pub(crate) fn full(&self, entry: &Entry) -> Vec<u8> {
        join(&self.start, &entry.path)
    }

    /// A failure about an entry.
    pub(crate) fn failure(&self, entry: &Entry, errno: Errno) -> Failure {
        self.image.failure(&self.full(entry), errno)
    }

    fn enter_start(&mut self) -> Outcome<Event> {
        self.state = State::Go;
        let stat = self
            .image
            .proc
            .fstatat(At::Cwd, &self.start, self.follow)
            .map_err(|errno| self.image.failure(&self.start, errno))?;
        Ok(self.enter(Entry {
            path: Vec::new(),
            name_at: 0,
            stat,
            depth: 0,
        }))
    }

    fn enter(&mut self, entry: Entry) -> Event {
        if entry.is_dir() {
            self.state = State::Descend(entry.clone());
        }
        Event::Enter(entry)
    }

    fn descend(&mut self, dir: Entry) -> Outcome<()> {
        // Links may lead to one directory from several places.
        if !self.follow_all && !self.seen.insert(dir.stat.ino) {
            return Err(Failure::at(
                format_args!(
                    "{}:{}",
                    self.image.name,
                    crate::quote::shown(&self.full(&dir))
                ),
                "directory with more than one name; not entered again",
            ));
        }
        let (at, path) = self.locate(&dir);
        let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
        let fd = self
            .image
            .open_at(at, path, flags)
            .map_err(|errno| self.failure(&dir, errno))?;
        let mut entries = Vec::new();
        let mut failure = None;
        if self.sorted {
            let listed = read_dir(self.image, &fd, self.looks, &mut entries);
            failure = listed.err().map(|errno| self.failure(&dir, errno));
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        self.stack.push(Frame {
            dir,
            fd,
            rest: entries.into_iter(),
            more: !self.sorted,
        });
        failure.map_or(Ok(()), Err)
    }

    /// Lists the next entries of the innermost directory.
    fn refill(&mut self) -> Outcome<()> {
        let Some(frame) = self.stack.last_mut() else {
            return Ok(());
        };
        match next_entries(self.image, &frame.fd, self.looks) {
            Ok(entries) => {
                frame.more = !entries.is_empty();
                frame.rest = entries.into_iter();
                Ok(())
            }
            Err(errno) => {
                frame.more = false;
                let path = join(&self.start, &frame.dir.path);
                Err(self.image.failure(&path, errno))
            }
        }
    }

    /// Whether the walk is inside that directory: where links are followed, there would be no end.
    fn is_inside(&self, dir: &Stat) -> bool {
        dir.file_type == FileType::Directory
            && self.stack.iter().any(|frame| frame.dir.stat.ino == dir.ino)
    }

    fn step(&mut self) -> Option<Outcome<Event>> {
        let frame = self.stack.last()?;
        if frame.more
            && frame.rest.as_slice().is_empty()
            && let Err(failure) = self.refill()
        {
            return Some(Err(failure));
        }
        let frame = self.stack.last_mut()?;
        let Some(found) = frame.rest.next() else {
            let frame = self.stack.pop()?;
            return Some(Ok(Event::Leave(frame.dir)));
        };
        let mut path = frame.dir.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        let (name_at, depth) = (path.len(), frame.dir.depth + 1);
        path.extend_from_slice(&found.name);
        let dir = At::Fd(frame.fd.fd);
        let stat = match found.stat {
            Ok(stat) if self.follow_all && stat.file_type == FileType::Symlink => {
                match self.image.proc.fstatat(dir, &found.name, Follow::Yes) {
                    // As find -L and ls -L: there is no end to follow it to.
                    Err(Errno::ELOOP) if self.looks => Err(Errno::ELOOP),
                    followed => Ok(followed.unwrap_or(stat)), // it points nowhere: the link itself
                }
            }
            stat => stat,
        };
        Some(match stat {
            Ok(stat) if self.follow_all && self.is_inside(&stat) => {
                let full = join(&self.start, &path);
                let name = format!("{}:{}", self.image.name, crate::quote::shown(&full));
                Err(Failure::at(name, "leads to a directory that it is in"))
            }
            Ok(stat) => Ok(self.enter(Entry {
                path,
                stat,
                depth,
                name_at,
            })),
            Err(errno) => Err(self.image.failure(&join(&self.start, &path), errno)),
        })
    }
}

impl Iterator for Walk<'_> {
    type Item = Outcome<Event>;

    fn next(&mut self) -> Option<Outcome<Event>> {
        if let Err(failure) = crate::signals::check() {
            return Some(Err(failure));
        }
        match std::mem::replace(&mut self.state, State::Go) {
            State::Start => return Some(self.enter_start()),
            State::Descend(dir) => {
                if let Err(failure) = self.descend(dir) {
                    return Some(Err(failure));
                }
            }
            State::Go => {}
        }
        self.step()
    }
}

/// Reads a whole directory; on an error the entries before it stay. `looks`: the files will not be opened.
///
/// # Errors
/// Those of `getdents`.
pub(crate) fn read_dir(
    image: &Image,
    fd: &OpenFd<'_>,
    looks: bool,
    entries: &mut Vec<DirentPlus>,
) -> rumpuser::Result<()> {
    loop {
        let more = next_entries(image, fd, looks)?;
        if more.is_empty() {
            return Ok(());
        }
        if entries.is_empty() {
            *entries = more;
        } else {
            entries.extend(more);
        }
    }
}

/// Reads the next entries of a directory; none at its end.
///
/// # Errors
/// Those of `getdents`.
pub(crate) fn next_entries(
    image: &Image,
    fd: &OpenFd<'_>,
    looks: bool,
) -> rumpuser::Result<Vec<DirentPlus>> {
    if looks {
        image.proc.getdents_stat(fd.fd, BATCH)
    } else {
        image.proc.getdents_plus(fd.fd, BATCH)
    }
}

/// `base/path`, with one slash between.
pub(crate) fn join(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut joined = base.to_vec();
    if !path.is_empty() {
        if joined.last().is_some_and(|&c| c != b'/') {
            joined.push(b'/');
        }
        joined.extend_from_slice(path);
    }
    joined
}
