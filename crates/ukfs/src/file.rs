//! Open files.

use crate::{Error, FileTimes, Fs, Metadata, Result, fs::bytes};
use rumpkern::{Fd, OpenFlags, Seek as To};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, ChangeAttributes, Follow},
};
use std::{
    fs::Permissions,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

/// How a file is opened: as [`std::fs::OpenOptions`].
///
/// ```
/// use std::io::Write;
///
/// let fs = ukfs::Fs::memory()?;
/// let mut log = ukfs::OpenOptions::new().append(true).create(true).open(&fs, "/log")?;
/// log.write_all(b"begun\n")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "as std has it")]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    no_follow: bool,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Nothing is asked for.
    #[must_use]
    pub fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            no_follow: false,
            mode: 0o666,
        }
    }

    /// Whether it is read.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// Whether it is written.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Whether every write goes to its end.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Whether it is emptied.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Whether it is made if it is not there.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Whether it is made, and must not be there.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// Whether it is an error (`ELOOP`) when the path's last component is a symbolic link (`O_NOFOLLOW`).
    pub fn no_follow(&mut self, no_follow: bool) -> &mut Self {
        self.no_follow = no_follow;
        self
    }

    /// Permission bits of a new file, less [`Options::umask`](crate::Options::umask); 0o666 unless said.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Opens a file. A directory can be opened for reading, for its attributes.
    ///
    /// # Errors
    /// `EINVAL` for a combination that std refuses; those of open(2).
    pub fn open(&self, fs: &Fs, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let flags = self
            .flags()
            .ok_or_else(|| Error::new(Errno::EINVAL, "open", path))?;
        let opened = fs.proc().openat(At::Cwd, bytes(path), flags, self.mode);
        Ok(File::from_fd(fs, fs.check("open", path, opened)?, path))
    }

    /// `None`: makes no sense, by the rules of std.
    fn flags(&self) -> Option<OpenFlags> {
        let mut flags = match (self.read, self.write || self.append) {
            (true, false) => OpenFlags::RDONLY,
            (false, true) => OpenFlags::WRONLY,
            (true, true) => OpenFlags::RDWR,
            (false, false) => return None,
        };
        let makes = self.truncate || self.create || self.create_new;
        if makes && !self.write && !self.append {
            return None;
        }
        if self.append && self.truncate && !self.create_new {
            return None;
        }
        flags.set(OpenFlags::APPEND, self.append);
        flags.set(OpenFlags::TRUNC, self.truncate && !self.create_new);
        flags.set(OpenFlags::CREAT, self.create || self.create_new);
        flags.set(OpenFlags::EXCL, self.create_new);
        flags.set(OpenFlags::NOFOLLOW, self.no_follow);
        Some(flags)
    }
}

/// An open file of an [`Fs`], which it keeps mounted. It is closed when the value goes; [`sync_all`](Self::sync_all) tells whether all
/// that was written could be.
///
/// `Read`, `Write` and `Seek` are there for `&File` as well. Reading and writing at an offset are those of
/// [`std::os::unix::fs::FileExt`].
#[derive(Debug)]
pub struct File {
    fs: Fs,
    fd: Fd,
    path: Arc<Path>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(fs: &Fs, path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().read(true).open(fs, path)
    }

    /// Makes a file or empties the one that is there, for writing.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn create(fs: &Fs, path: impl AsRef<Path>) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.open(fs, path)
    }

    /// Makes a file that must not be there, for reading and writing.
    ///
    /// # Errors
    /// `EEXIST`; those of open(2).
    pub fn create_new(fs: &Fs, path: impl AsRef<Path>) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(fs, path)
    }

    pub(crate) fn from_fd(fs: &Fs, fd: Fd, path: &Path) -> Self {
        Self {
            fs: fs.clone(),
            fd,
            path: path.into(),
        }
    }

    /// The path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check<T>(&self, operation: &'static str, done: rumpuser::Result<T>) -> Result<T> {
        self.fs.check(operation, &self.path, done)
    }

    /// Attributes.
    ///
    /// # Errors
    /// `EIO`.
    pub fn metadata(&self) -> Result<Metadata> {
        let stat = self.fs.proc().fstat(self.fd);
        self.check("metadata", stat).map(Metadata)
    }

    /// Changes the size; new bytes are zeros.
    ///
    /// # Errors
    /// `EINVAL` if it is not open for writing; `EFBIG`, `ENOSPC`, `EIO`.
    pub fn set_len(&self, size: u64) -> Result<()> {
        self.check("set_len", self.fs.proc().ftruncate(self.fd, size))
    }

    /// Changes permission bits.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`, `EIO`.
    pub fn set_permissions(&self, permissions: Permissions) -> Result<()> {
        let mode = permissions.mode() & 0o7777;
        let at = At::Fd(self.fd);
        let done = self.fs.proc().fchmodat(at, b"", mode, Follow::Yes);
        self.check("set_permissions", done)
    }

    /// Changes times.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`, `EIO`.
    pub fn set_times(&self, times: FileTimes) -> Result<()> {
        let (atime, mtime) = times.set();
        let change = ChangeAttributes {
            atime,
            mtime,
            ..ChangeAttributes::default()
        };
        let at = At::Fd(self.fd);
        let done = self.fs.proc().setattrat(at, b"", &change, Follow::Yes);
        self.check("set_times", done)
    }

    /// Makes data and attributes durable.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`, also of earlier writes.
    pub fn sync_all(&self) -> Result<()> {
        self.check("sync_all", self.fs.proc().fsync(self.fd))
    }

    /// Makes data durable, and of the attributes what is needed to read it.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub fn sync_data(&self) -> Result<()> {
        self.check("sync_data", self.fs.proc().fdatasync(self.fd))
    }

    /// One more handle of the same open file: they share the position.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            fd: self.check("try_clone", self.fs.proc().dup(self.fd))?,
            fs: self.fs.clone(),
            path: self.path.clone(),
        })
    }

    /// Moves to the first data at or after an offset (`SEEK_DATA`); `None` if there is none: a hole reaches to the end.
    ///
    /// # Errors
    /// `EIO`.
    pub fn seek_data(&self, offset: u64) -> Result<Option<u64>> {
        self.seek_past(To::Data(offset))
    }

    /// Moves to the first hole at or after an offset (`SEEK_HOLE`), as which the end counts; `None` if the offset is at or past the end.
    ///
    /// # Errors
    /// `EIO`.
    pub fn seek_hole(&self, offset: u64) -> Result<Option<u64>> {
        self.seek_past(To::Hole(offset))
    }

    fn seek_past(&self, to: To) -> Result<Option<u64>> {
        match self.fs.proc().lseek(self.fd, to) {
            Err(Errno::ENXIO) => Ok(None),
            done => self.check("seek", done).map(Some),
        }
    }

    /// Adds everything from the position on to `buf`.
    pub(crate) fn read_all(&self, buf: &mut Vec<u8>) -> Result<()> {
        /// A size that the medium tells is not believed further than this.
        const BELIEVED: u64 = 16 << 20;
        let size = self.metadata()?.len().min(BELIEVED);
        let mut step = usize::try_from(size).unwrap_or(0) + 1;
        loop {
            let start = buf.len();
            buf.try_reserve_exact(step)
                .map_err(|_| Error::new(Errno::ENOMEM, "read", &*self.path))?;
            buf.resize(start + step, 0);
            let got = self.check("read", self.fs.proc().read(self.fd, &mut buf[start..]));
            buf.truncate(start + got.as_ref().map_or(0, |&got| got));
            if got? == 0 {
                return Ok(());
            }
            step = buf.len().clamp(4096, 64 << 20);
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Whoever wants to know syncs before; the file system keeps the error for its unmount.
        let _ = self.fs.proc().close(self.fd);
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.check("read", self.fs.proc().read(self.fd, buf))?)
    }
}

impl Write for &File {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(self.check("write", self.fs.proc().write(self.fd, data))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => To::Set(offset),
            SeekFrom::Current(delta) => To::Current(delta),
            SeekFrom::End(delta) => To::End(delta),
        };
        Ok(self.check("seek", self.fs.proc().lseek(self.fd, to))?)
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for File {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.check("read", self.fs.proc().pread(self.fd, buf, offset))?)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        Ok(self.check("write", self.fs.proc().pwrite(self.fd, data, offset))?)
    }
}
