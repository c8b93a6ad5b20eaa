//! Listing a directory.

use crate::{FileType, Fs, Metadata, Result, fs::bytes};
use rumpkern::{Fd, OpenFlags};
use rumpvfs::{
    Calls as _,
    calls::{At, Dirent, Follow},
};
use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Entries that are asked for at a time.
pub(crate) const BATCH: usize = 1024;

/// An open directory.
pub(crate) struct Dir {
    pub(crate) fs: Fs,
    pub(crate) fd: Fd,
    pub(crate) path: PathBuf,
}

impl Dir {
    /// Opens a directory, relative to another one if `at` says so; `path` is what it is called.
    pub(crate) fn open(
        fs: &Fs,
        at: At,
        name: &[u8],
        path: PathBuf,
        flags: OpenFlags,
    ) -> Result<Self> {
        let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY | flags;
        let opened = fs.proc().openat(at, name, flags, 0);
        Ok(Self {
            fd: fs.check("open", &path, opened)?,
            fs: fs.clone(),
            path,
        })
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Nothing was written through it.
        let _ = self.fs.proc().close(self.fd);
    }
}

/// The entries of a directory, see [`Fs::read_dir`]. A large one is read piece by piece.
pub struct ReadDir {
    dir: Arc<Dir>,
    batch: std::vec::IntoIter<Dirent>,
    ended: bool,
}

impl ReadDir {
    pub(crate) fn open(fs: &Fs, path: &Path) -> Result<Self> {
        let dir = Dir::open(fs, At::Cwd, bytes(path), path.into(), OpenFlags::empty())?;
        Ok(Self {
            dir: Arc::new(dir),
            batch: Vec::new().into_iter(),
            ended: false,
        })
    }
}

impl Iterator for ReadDir {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.batch.next() {
                if matches!(&entry.name[..], b"." | b"..") {
                    continue;
                }
                return Some(Ok(DirEntry {
                    dir: self.dir.clone(),
                    entry,
                }));
            }
            if self.ended {
                return None;
            }
            let Dir { fs, fd, path } = &*self.dir;
            match fs.check("read_dir", path, fs.proc().getdents(*fd, BATCH)) {
                Ok(batch) => {
                    self.ended = batch.is_empty();
                    self.batch = batch.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadDir").field(&self.dir.path).finish()
    }
}

/// An entry of a directory. It keeps the directory open.
pub struct DirEntry {
    dir: Arc<Dir>,
    entry: Dirent,
}

impl DirEntry {
    /// Its name.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        OsString::from_vec(self.entry.name.clone())
    }

    /// The path that was listed, and its name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path.join(OsStr::from_bytes(&self.entry.name))
    }

    /// Inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.entry.ino
    }

    /// Attributes of the entry itself: a symbolic link is not followed.
    ///
    /// # Errors
    /// `ENOENT` if it went meanwhile; `EIO`.
    pub fn metadata(&self) -> Result<Metadata> {
        let Dir { fs, fd, .. } = &*self.dir;
        let stat = fs.proc().fstatat(At::Fd(*fd), &self.entry.name, Follow::No);
        fs.check("metadata", &self.path(), stat).map(Metadata)
    }

    /// What it is. Where the directory tells it, nothing else is read.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub fn file_type(&self) -> Result<FileType> {
        match self.entry.file_type {
            Some(kind) => Ok(FileType(kind)),
            None => Ok(self.metadata()?.file_type()),
        }
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}
