//! Walking a tree.

use crate::{
    Error, FileType, Fs, Metadata, Result,
    dir::{BATCH, Dir},
};
use rumpkern::OpenFlags;
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, DirentPlus},
};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// An entry of a tree.
#[derive(Clone, Debug)]
pub struct WalkEntry {
    path: PathBuf,
    metadata: Metadata,
    depth: usize,
}

impl WalkEntry {
    /// The start of the walk, and the way from there.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_path(self) -> PathBuf {
        self.path
    }

    /// Its name; of a start without one, such as `/`, the start.
    #[must_use]
    pub fn file_name(&self) -> &OsStr {
        self.path.file_name().unwrap_or(self.path.as_os_str())
    }

    /// Attributes of the entry itself.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What it is.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.metadata.file_type()
    }

    /// 0 for the start.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }
}

/// A walk through a tree, see [`Fs::walk`].
///
/// Of each directory on the way to where it is, it keeps a descriptor and some entries; of each one that it entered, the inode number: a
/// broken image may show one twice, which is an error then. After an error it goes on with what is next.
///
/// ```
/// let fs = ukfs::Fs::memory()?;
/// fs.create_dir_all("/a/b")?;
/// fs.write("/a/c", "")?;
/// let names: Vec<_> = fs.walk("/a").sorted(true).map(|entry| Ok(entry?.into_path())).collect::<ukfs::Result<_>>()?;
/// assert_eq!(names, ["/a", "/a/b", "/a/c"].map(std::path::PathBuf::from));
/// # Ok::<(), ukfs::Error>(())
/// ```
pub struct Walk {
    fs: Fs,
    start: Option<PathBuf>,
    sorted: bool,
    /// The directory that comes next, unless it is skipped.
    descend: Option<WalkEntry>,
    stack: Vec<Frame>,
    seen: HashSet<u64>,
}

struct Frame {
    dir: Dir,
    rest: std::vec::IntoIter<DirentPlus>,
    /// Whether there may be more than those.
    more: bool,
}

impl Walk {
    pub(crate) fn new(fs: &Fs, start: &Path) -> Self {
        Self {
            fs: fs.clone(),
            start: Some(start.into()),
            sorted: false,
            descend: None,
            stack: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Whether the entries of a directory come by name, byte by byte; all of them are in memory then. Otherwise they come as they are on
    /// the medium.
    #[must_use]
    pub fn sorted(mut self, sorted: bool) -> Self {
        self.sorted = sorted;
        self
    }

    /// The directory that came last is not entered.
    pub fn skip_current_dir(&mut self) {
        self.descend = None;
    }

    fn enter(&mut self, entry: WalkEntry) -> WalkEntry {
        if entry.metadata.is_dir() {
            self.descend = Some(entry.clone());
        }
        entry
    }

    fn open(&mut self, entry: WalkEntry) -> Result<()> {
        if !self.seen.insert(entry.metadata.ino()) {
            let why = "directory with more than one name; not entered again";
            return Err(Error::new(Errno::ELOOP, "walk", entry.path).because(why.into()));
        }
        let (at, name) = match self.stack.last() {
            Some(frame) => (At::Fd(frame.dir.fd), entry.file_name().as_bytes().to_vec()),
            None => (At::Cwd, entry.path.as_os_str().as_bytes().to_vec()),
        };
        let dir = Dir::open(&self.fs, at, &name, entry.path, OpenFlags::NOFOLLOW)?;
        let mut frame = Frame {
            dir,
            rest: Vec::new().into_iter(),
            more: true,
        };
        let listed = if self.sorted { frame.sort() } else { Ok(()) };
        self.stack.push(frame);
        listed
    }

    fn step(&mut self) -> Option<Result<WalkEntry>> {
        loop {
            let depth = self.stack.len();
            let frame = self.stack.last_mut()?;
            if let Some(found) = frame.rest.next() {
                let path = frame.dir.path.join(OsStr::from_bytes(&found.name));
                let stat = self.fs.check("metadata", &path, found.stat);
                return Some(stat.map(|stat| {
                    self.enter(WalkEntry {
                        path,
                        metadata: Metadata(stat),
                        depth,
                    })
                }));
            }
            if !frame.more {
                self.stack.pop();
            } else if let Err(error) = frame.refill() {
                return Some(Err(error));
            }
        }
    }
}

impl Frame {
    /// Lists the next entries.
    fn refill(&mut self) -> Result<()> {
        let Dir { fs, fd, path } = &self.dir;
        self.more = false;
        let entries = fs.check("read_dir", path, fs.proc().getdents_stat(*fd, BATCH))?;
        self.more = !entries.is_empty();
        self.rest = entries.into_iter();
        Ok(())
    }

    /// Lists all entries; on an error those before it are there.
    fn sort(&mut self) -> Result<()> {
        let mut all = Vec::new();
        let mut listed = Ok(());
        while self.more && listed.is_ok() {
            listed = self.refill();
            all.extend(std::mem::take(&mut self.rest));
        }
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.rest = all.into_iter();
        listed
    }
}

impl Iterator for Walk {
    type Item = Result<WalkEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(start) = self.start.take() {
            return Some(self.fs.symlink_metadata(&start).map(|metadata| {
                self.enter(WalkEntry {
                    path: start,
                    metadata,
                    depth: 0,
                })
            }));
        }
        if let Some(entry) = self.descend.take()
            && let Err(error) = self.open(entry)
        {
            return Some(Err(error));
        }
        self.step()
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("depth", &self.stack.len())
            .finish_non_exhaustive()
    }
}
