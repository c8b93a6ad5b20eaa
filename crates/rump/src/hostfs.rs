//! The host's files, touched in ways that cannot be led astray: each component of a path is opened by itself and never through a
//! symbolic link, so nothing that an image or an archive names can reach outside of the directory that the user named.

use crate::report::{Failure, Outcome};
use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::FileTypeExt,
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A directory that is the root of what is done in it.
pub(crate) struct HostDir {
    root: OwnedFd,
    /// What the user calls it.
    pub(crate) path: PathBuf,
    /// Open directories on the way to the last entry.
    open: Vec<(Vec<u8>, OwnedFd)>,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::PATH);

impl HostDir {
    /// Opens a directory; the path is the user's own and is followed as it is.
    ///
    /// # Errors
    /// Those of open(2).
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let root = fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
        Ok(Self {
            root,
            path: path.into(),
            open: Vec::new(),
        })
    }

    /// The directory that the entry at `path` is in, and the entry's name there. Missing directories are made.
    ///
    /// # Errors
    /// Those of open(2) and mkdir(2); `ENOTDIR` or `ELOOP` where a symbolic link or a file is in the way; `EINVAL` for a path that has
    /// other than plain components.
    pub(crate) fn parent<'p>(&mut self, path: &'p [u8]) -> io::Result<(BorrowedFd<'_>, &'p OsStr)> {
        let (dir, name) = crate::copy::split_last(path);
        if crate::copy::check_path(path).is_err() || name.is_empty() {
            return Err(Errno::INVAL.into());
        }
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
        for &name in &wanted[common..] {
            let fd = enter(self.top(), OsStr::from_bytes(name), true)?;
            self.open.push((name.to_vec(), fd));
        }
        Ok((self.top(), OsStr::from_bytes(name)))
    }

    fn top(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(&self.root, |(_, fd)| fd).as_fd()
    }

    /// As [`parent`](Self::parent), apart from the directories that are kept open, and without making any.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn find<'p>(&self, path: &'p [u8]) -> io::Result<(OwnedFd, &'p OsStr)> {
        let (dir, name) = crate::copy::split_last(path);
        if crate::copy::check_path(path).is_err() {
            return Err(Errno::INVAL.into());
        }
        let mut fd = self.root.try_clone()?;
        for name in dir.split(|&c| c == b'/').filter(|n| !n.is_empty()) {
            fd = enter(fd.as_fd(), OsStr::from_bytes(name), false)?;
        }
        Ok((fd, OsStr::from_bytes(name)))
    }

    /// Opens a directory (the root for an empty path) so that its attributes can be changed.
    ///
    /// # Errors
    /// As [`parent`](Self::parent).
    pub(crate) fn directory(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::RDONLY;
        if path.is_empty() {
            return Ok(fs::openat(&self.root, ".", flags, Mode::empty())?);
        }
        let (dir, name) = self.parent(path)?;
        Ok(fs::openat(dir, name, flags, Mode::empty())?)
    }

    /// Where an entry is, for messages.
    pub(crate) fn shown(&self, path: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(path))
    }
}

fn enter(dir: BorrowedFd<'_>, name: &OsStr, make: bool) -> io::Result<OwnedFd> {
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    match fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) if make => {
            match fs::mkdirat(dir, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(fs::openat(dir, name, flags, Mode::empty())?)
        }
        // What is there may be a symbolic link, even to a directory: with O_PATH that shows as "not a directory".
        Err(Errno::NOTDIR) if is_symlink(dir, name) => Err(Errno::LOOP.into()),
        opened => Ok(opened?),
    }
}

fn is_symlink(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Something new that is not yet under its name. Dropped before [`publish`](Self::publish), it is gone.
pub(crate) struct Unnamed<'a> {
    dir: BorrowedFd<'a>,
    temporary: Option<OsString>,
    /// It has another name already, perhaps the one that it is to get.
    linked: bool,
}

impl<'a> Unnamed<'a> {
    /// Makes something under a name that nothing has: `make` is called with names until one is free.
    ///
    /// # Errors
    /// Those of `make` other than `EEXIST`.
    pub(crate) fn make<T>(
        dir: BorrowedFd<'a>,
        mut make: impl FnMut(BorrowedFd<'a>, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<(Self, T)> {
        /// No name is given twice: what one thread drops must not be what another has just made.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..1000 {
            // Not to be guessed needs no care: the name is made exclusively, and never followed.
            let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let name = OsString::from(format!(".rump-{process:x}-{number:x}"));
            match make(dir, &name) {
                Ok(made) => {
                    let unnamed = Self {
                        dir,
                        temporary: Some(name),
                        linked: false,
                    };
                    return Ok((unnamed, made));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// What was made is one more name of something.
    pub(crate) fn linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// Its name for now.
    pub(crate) fn name(&self) -> &OsStr {
        self.temporary.as_deref().unwrap_or_default()
    }

    /// Gives it its name. What has that name goes, unless `keep_existing`: then that stays and this goes, without an error. A
    /// directory never goes.
    ///
    /// # Errors
    /// `EISDIR`, and others of rename(2).
    pub(crate) fn publish(mut self, name: &OsStr, keep_existing: bool) -> io::Result<()> {
        if keep_existing {
            match fs::renameat_with(
                self.dir,
                self.name(),
                self.dir,
                name,
                RenameFlags::NOREPLACE,
            ) {
                Err(Errno::EXIST) => return Ok(()),
                // A file system that knows no such rename: the name was free a moment ago.
                Err(Errno::INVAL) => fs::renameat(self.dir, self.name(), self.dir, name)?,
                renamed => renamed?,
            }
        } else {
            fs::renameat(self.dir, self.name(), self.dir, name)?;
        }
        // Two names of one file: rename does nothing, and the temporary name is still there, to be dropped.
        if !self.linked {
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.temporary.take() {
            let _ = fs::unlinkat(self.dir, &name, AtFlags::empty());
        }
    }
}

/// Both times as utimensat(2) takes them.
pub(crate) fn timestamps(atime: rumpuser::Timespec, mtime: rumpuser::Timespec) -> Timestamps {
    let spec = |time: rumpuser::Timespec| Timespec {
        tv_sec: time.sec,
        tv_nsec: time.nsec.into(),
    };
    Timestamps {
        last_access: spec(atime),
        last_modification: spec(mtime),
    }
}

/// A path by which an entry's extended attributes can be reached without following it.
pub(crate) fn through_fd(dir: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(name);
    path
}

/// The values of all extended attributes that `list` names and `get` gives. None where the host has no such thing.
///
/// # Errors
/// Those of listxattr(2) and getxattr(2).
pub(crate) fn read_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&OsStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match sized(&list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut names: Vec<&[u8]> = names.split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    let mut xattrs = Vec::with_capacity(names.len());
    for name in names {
        match sized(&|buf: &mut [u8]| get(OsStr::from_bytes(name), buf)) {
            Ok(value) => xattrs.push((name.to_vec(), value)),
            Err(Errno::NODATA) => {} // it went meanwhile
            Err(error) => return Err(error.into()),
        }
    }
    Ok(xattrs)
}

/// The permissions that a directory's default ACL lets new files have at most; `None` if it has none. Linux, posix_acl_xattr.h: a version, then
/// entries of a tag, permissions and an identifier, little-endian.
pub(crate) fn default_mode(dir: BorrowedFd<'_>) -> Option<u32> {
    // A directory that is open only as a place does not tell by its descriptor.
    let path = through_fd(dir, OsStr::new("."));
    let acl = sized(&|buf: &mut [u8]| fs::getxattr(&path, "system.posix_acl_default", buf)).ok()?;
    let entries = acl.get(4..)?.chunks_exact(8);
    let (mut user, mut group, mut mask, mut other) = (0, 0, None, 0);
    for entry in entries {
        let bits = u32::from(entry[2] & 7);
        match u16::from_le_bytes([entry[0], entry[1]]) {
            0x01 => user = bits,
            0x04 => group = bits,
            0x10 => mask = Some(bits),
            0x20 => other = bits,
            _ => {}
        }
    }
    Some(user << 6 | mask.unwrap_or(group) << 3 | other)
}

/// Asks with larger buffers until one is large enough.
fn sized(ask: &dyn Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buf = vec![0; 256];
    loop {
        match ask(&mut buf) {
            Ok(len) => {
                buf.truncate(len);
                return Ok(buf);
            }
            Err(Errno::RANGE) if buf.len() < 1 << 17 => {
                let double = buf.len() * 4;
                buf.resize(double, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The bytes of a path.
pub(crate) fn bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}

/// Whether a target is something that is written into rather than replaced: a device or a FIFO.
pub(crate) fn is_stream(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_char_device() || kind.is_fifo() || kind.is_block_device()
    })
}

/// Whether it is a socket, which cannot be opened.
pub(crate) fn is_socket(path: &Path) -> bool {
    let data = path.metadata();
    data.is_ok_and(|data| data.file_type().is_socket())
}

/// Opens a file for reading, unless a signal asks for the end while nobody writes into a FIFO.
///
/// # Errors
/// Those of open(2).
pub(crate) fn open(path: &Path) -> Outcome<File> {
    loop {
        match fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::INTR) => crate::signals::check()?,
            Err(errno) => return Err(Failure::host(path, &errno.into())),
            Ok(file) => return Ok(file.into()),
        }
    }
}

/// The umask of this process.
pub(crate) fn umask() -> u32 {
    let mask = rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as std_fs;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("rump-hostfs-{}-{name}", std::process::id()));
        drop(std_fs::remove_dir_all(&dir));
        std_fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn temporary_names_are_not_given_twice() {
        let folder = std::env::temp_dir();
        let dir = std_fs::File::open(&folder).unwrap();
        let names: Vec<OsString> = (0..2)
            .map(|_| {
                let make = |_: BorrowedFd<'_>, _: &OsStr| Ok(());
                let (unnamed, ()) = Unnamed::make(dir.as_fd(), make).unwrap();
                unnamed.name().to_owned()
            })
            .collect();
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn nothing_leads_outside() {
        let base = scratch("outside");
        std_fs::create_dir(base.join("in")).unwrap();
        std_fs::create_dir(base.join("out")).unwrap();
        std::os::unix::fs::symlink("../out", base.join("in/link")).unwrap();
        let mut dir = HostDir::open(&base.join("in")).unwrap();
        for path in ["../x", "a/../../x", "/x", "a//x", "./x", "", "a/", ".."] {
            assert!(dir.parent(path.as_bytes()).is_err(), "{path}");
        }
        let error = dir.parent(b"link/x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert!(dir.parent(b"a/b/x").is_ok());
        assert!(base.join("in/a/b").is_dir());
        assert_eq!(std_fs::read_dir(base.join("out")).unwrap().count(), 0);
        std_fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn what_is_not_published_is_gone() {
        let base = scratch("unnamed");
        let mut dir = HostDir::open(&base).unwrap();
        let create = |dir: BorrowedFd<'_>, name: &OsStr| {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).map(drop)
        };
        let (at, name) = dir.parent(b"f").unwrap();
        let (unnamed, ()) = Unnamed::make(at, create).unwrap();
        drop(unnamed);
        assert_eq!(std_fs::read_dir(&base).unwrap().count(), 0);
        let (unnamed, ()) = Unnamed::make(at, create).unwrap();
        unnamed.publish(name, false).unwrap();
        let (second, ()) = Unnamed::make(at, create).unwrap();
        second.publish(name, true).unwrap();
        assert_eq!(std_fs::read_dir(&base).unwrap().count(), 1);
        assert!(base.join("f").is_file());
        std_fs::remove_dir_all(base).unwrap();
    }
}
