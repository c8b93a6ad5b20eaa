//! A mounted file system, and what is done by path.

use crate::{
    Error, File, FileTimes, Metadata, OpenOptions, Options, ReadDir, Result, Walk,
    copy::copy_content, image::Mounted, tree,
};
use rumpkern::{Kernel, Proc, Statvfs};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, ChangeAttributes, Follow, RenameFlags},
    fs::XattrMode,
};
use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::Permissions,
    io::Write as _,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// A mounted file system. Clones are handles of the same one; when the last of them is gone, with its files and iterators, it is unmounted.
///
/// Paths begin at its root, with or without a slash. Symbolic links are followed as std's calls of the same name do.
#[derive(Clone)]
pub struct Fs(Arc<Inner>);

struct Inner {
    mounted: Mounted,
    ended: bool,
}

impl Inner {
    fn end(&mut self) -> rumpuser::Result<()> {
        self.ended = true;
        self.mounted.kernel.shutdown()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.ended {
            // Whoever wants to know calls `unmount`.
            let _ = self.end();
        }
    }
}

/// The bytes of a path.
pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

impl Fs {
    pub(crate) fn new(mounted: Mounted) -> Self {
        Self(Arc::new(Inner {
            mounted,
            ended: false,
        }))
    }

    /// Opens an image read-only, its type found by its content.
    ///
    /// # Errors
    /// Those of [`Options::open`].
    pub fn open(image: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(image)
    }

    /// How to open, step by step.
    #[must_use]
    pub fn options() -> Options {
        Options::new()
    }

    /// An empty file system in memory (tmpfs).
    ///
    /// # Errors
    /// `ENODEV` if this crate was built without.
    pub fn memory() -> Result<Self> {
        Options::new().open_memory()
    }

    /// Unmounts, and says whether everything could be written. Dropping the last handle does the same and does not say.
    ///
    /// # Errors
    /// `EBUSY` if there are other handles - clones, open files, iterators: the last one to go unmounts. Any other, as `EIO` or `ENOSPC`,
    /// tells what could not be written; it is unmounted all the same.
    pub fn unmount(self) -> Result<()> {
        match Arc::into_inner(self.0) {
            Some(mut inner) => {
                let ended = inner.end();
                let told = |errno| explained(&inner.mounted, Error::plain(errno, "unmount"));
                ended.map_err(told)
            }
            None => Err(Error::plain(Errno::EBUSY, "unmount")),
        }
    }

    /// Its type as it was mounted, such as `"ext2fs"`.
    #[must_use]
    pub fn fs_type(&self) -> &str {
        &self.0.mounted.fs_type
    }

    /// The kernel that it is mounted in.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.0.mounted.kernel
    }

    /// The process that makes the calls, for system calls that have no place here. Its root directory is the file system's.
    #[must_use]
    pub fn proc(&self) -> &Proc {
        &self.0.mounted.proc
    }

    /// Makes an error of what a call gave.
    pub(crate) fn check<T>(
        &self,
        operation: &'static str,
        path: &Path,
        done: rumpuser::Result<T>,
    ) -> Result<T> {
        done.map_err(|errno| explained(&self.0.mounted, Error::new(errno, operation, path)))
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`, also of earlier writes.
    pub fn sync(&self) -> Result<()> {
        let done = self.proc().sync();
        done.map_err(|errno| explained(&self.0.mounted, Error::plain(errno, "sync")))
    }

    /// Sizes and free space.
    ///
    /// # Errors
    /// `EIO`.
    pub fn statfs(&self) -> Result<Statvfs> {
        self.check("statfs", Path::new("/"), self.proc().statvfs("/"))
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// Those of open(2) and read(2); `ENOMEM`.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(self, path)?.read_all(&mut content)?;
        Ok(content)
    }

    /// The whole content of a file as text.
    ///
    /// # Errors
    /// As [`read`](Self::read); `EILSEQ` (whose kind is `InvalidData`) if it is not UTF-8.
    pub fn read_to_string(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?).map_err(|error| {
            Error::new(Errno::EILSEQ, "read", path).because(error.utf8_error().to_string())
        })
    }

    /// Makes a file's content be this; it is made if it is not there.
    ///
    /// # Errors
    /// Those of open(2) and write(2).
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let mut file = File::create(self, path)?;
        file.write_all(content.as_ref())
            .map_err(|error| ours(error, "write", path))
    }

    /// Copies content and permission bits of a file; holes stay holes. Returns its size.
    ///
    /// # Errors
    /// `EINVAL` if it is no regular file, or `to` is the same one; those of open(2), read(2) and write(2).
    pub fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<u64> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let source = File::open(self, from)?;
        let metadata = source.metadata()?;
        let same =
            |there: &Metadata| there.ino() == metadata.ino() && there.0.dev == metadata.0.dev;
        if !metadata.is_file() || self.metadata(to).is_ok_and(|there| same(&there)) {
            return Err(Error::new(Errno::EINVAL, "copy", from));
        }
        let mode = metadata.permissions().mode();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let target = options.open(self, to)?;
        copy_content((&source, from), (&target, to))?;
        target.set_permissions(metadata.permissions())?;
        Ok(metadata.len())
    }

    /// Renames; what has the new name goes.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let (old, new) = ((At::Cwd, bytes(from)), (At::Cwd, bytes(to)));
        let done = self.proc().renameat(old, new, RenameFlags::empty());
        self.check("rename", from, done)
    }

    /// Removes a name of something that is no directory.
    ///
    /// # Errors
    /// `EISDIR` or `EPERM` for a directory; those of unlink(2).
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let done = self.proc().unlinkat(At::Cwd, bytes(path), false);
        self.check("remove_file", path, done)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY`; those of rmdir(2).
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let done = self.proc().unlinkat(At::Cwd, bytes(path), true);
        self.check("remove_dir", path, done)
    }

    /// Removes a directory and all that is in it; of a symbolic link, the link itself. What is removed when an error comes stays so.
    ///
    /// # Errors
    /// `ENOTDIR` for another file; those of unlink(2) and rmdir(2).
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let metadata = self.symlink_metadata(path)?;
        if metadata.is_symlink() {
            return self.remove_file(path);
        }
        if !metadata.is_dir() {
            return Err(Error::new(Errno::ENOTDIR, "remove_dir_all", path));
        }
        tree::remove(self, path)
    }

    /// Makes a directory, with mode 0o777 less the umask.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn create_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let done = self.proc().mkdirat(At::Cwd, bytes(path), 0o777);
        self.check("create_dir", path, done)
    }

    /// Makes a directory and those on the way that are not there; nothing if it is there.
    ///
    /// # Errors
    /// `ENOTDIR`, `EEXIST` where another file is in the way; those of mkdir(2).
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        // From the end back to what is there, then forth: the usual case is one call.
        let mut missing = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty() {
            match self.create_dir(at) {
                Ok(()) => break,
                Err(error) if error.errno() == Errno::ENOENT => {
                    missing.push(at);
                    match at.parent() {
                        Some(parent) => at = parent,
                        None => return Err(error),
                    }
                }
                Err(_) if self.metadata(at).is_ok_and(|there| there.is_dir()) => break,
                Err(error) => return Err(error),
            }
        }
        for dir in missing.into_iter().rev() {
            match self.create_dir(dir) {
                Ok(()) => {}
                // Somebody else made it meanwhile.
                Err(_) if self.metadata(dir).is_ok_and(|there| there.is_dir()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives a file one more name. A symbolic link is not followed.
    ///
    /// # Errors
    /// Those of link(2).
    pub fn hard_link(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let (original, link) = (original.as_ref(), link.as_ref());
        let (old, new) = ((At::Cwd, bytes(original)), (At::Cwd, bytes(link)));
        self.check("hard_link", link, self.proc().linkat(old, new, Follow::No))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// Those of symlink(2).
    pub fn symlink(&self, target: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let (target, link) = (target.as_ref(), link.as_ref());
        let done = self.proc().symlinkat(bytes(target), At::Cwd, bytes(link));
        self.check("symlink", link, done)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is none; those of readlink(2).
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let target = self.proc().readlinkat(At::Cwd, bytes(path));
        let target = self.check("read_link", path, target)?;
        Ok(OsString::from_vec(target).into())
    }

    /// The path without symbolic links, `.` and `..`, from the root.
    ///
    /// # Errors
    /// `ENOENT`, `ELOOP`, `ENOTDIR`; those of readlink(2).
    pub fn canonicalize(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        tree::canonicalize(self, path.as_ref())
    }

    /// Whether there is something at the end of a path.
    ///
    /// # Errors
    /// What keeps it from being known.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Errno::ENOENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Attributes of what a path leads to.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.stat("metadata", path.as_ref(), Follow::Yes)
    }

    /// Attributes of a file, of a symbolic link those of the link.
    ///
    /// # Errors
    /// Those of lstat(2).
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.stat("symlink_metadata", path.as_ref(), Follow::No)
    }

    fn stat(&self, operation: &'static str, path: &Path, follow: Follow) -> Result<Metadata> {
        let stat = self.proc().fstatat(At::Cwd, bytes(path), follow);
        self.check(operation, path, stat).map(Metadata)
    }

    /// Changes permission bits.
    ///
    /// # Errors
    /// Those of chmod(2).
    pub fn set_permissions(&self, path: impl AsRef<Path>, permissions: Permissions) -> Result<()> {
        let (path, mode) = (path.as_ref(), permissions.mode() & 0o7777);
        let done = self
            .proc()
            .fchmodat(At::Cwd, bytes(path), mode, Follow::Yes);
        self.check("set_permissions", path, done)
    }

    /// Changes times.
    ///
    /// # Errors
    /// Those of utimensat(2).
    pub fn set_times(&self, path: impl AsRef<Path>, times: FileTimes) -> Result<()> {
        let (path, (atime, mtime)) = (path.as_ref(), times.set());
        let change = ChangeAttributes {
            atime,
            mtime,
            ..ChangeAttributes::default()
        };
        self.change("set_times", path, &change, Follow::Yes)
    }

    /// Changes times of a symbolic link itself.
    ///
    /// # Errors
    /// Those of utimensat(2).
    pub fn set_times_nofollow(&self, path: impl AsRef<Path>, times: FileTimes) -> Result<()> {
        let (path, (atime, mtime)) = (path.as_ref(), times.set());
        let change = ChangeAttributes {
            atime,
            mtime,
            ..ChangeAttributes::default()
        };
        self.change("set_times", path, &change, Follow::No)
    }

    /// Changes owner and group; `None` stays.
    ///
    /// # Errors
    /// Those of chown(2).
    pub fn chown(&self, path: impl AsRef<Path>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let path = path.as_ref();
        let done = self
            .proc()
            .fchownat(At::Cwd, bytes(path), uid, gid, Follow::Yes);
        self.check("chown", path, done)
    }

    /// Changes owner and group of a symbolic link itself.
    ///
    /// # Errors
    /// Those of lchown(2).
    pub fn lchown(&self, path: impl AsRef<Path>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let path = path.as_ref();
        let done = self
            .proc()
            .fchownat(At::Cwd, bytes(path), uid, gid, Follow::No);
        self.check("lchown", path, done)
    }

    pub(crate) fn change(
        &self,
        operation: &'static str,
        path: &Path,
        change: &ChangeAttributes,
        follow: Follow,
    ) -> Result<()> {
        let done = self.proc().setattrat(At::Cwd, bytes(path), change, follow);
        self.check(operation, path, done)
    }

    /// The value of an extended attribute, such as `"user.mime_type"`.
    ///
    /// # Errors
    /// `ENOATTR` (`ENODATA`), `EOPNOTSUPP`.
    pub fn get_xattr(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<Vec<u8>> {
        let (path, name) = (path.as_ref(), name.as_ref().as_bytes());
        let value = self.proc().getxattr(bytes(path), name, Follow::Yes);
        self.check("get_xattr", path, value)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOSPC`, `ERANGE`, `EPERM`.
    pub fn set_xattr(
        &self,
        path: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        let (path, name) = (path.as_ref(), name.as_ref().as_bytes());
        let (value, mode) = (value.as_ref(), XattrMode::Set);
        let done = self
            .proc()
            .setxattr(bytes(path), name, value, mode, Follow::Yes);
        self.check("set_xattr", path, done)
    }

    /// Names of the extended attributes.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    pub fn list_xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        let path = path.as_ref();
        let names = self.proc().listxattr(bytes(path), Follow::Yes);
        let names = self.check("list_xattrs", path, names)?;
        Ok(names.into_iter().map(OsString::from_vec).collect())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENOATTR` (`ENODATA`), `EOPNOTSUPP`, `EPERM`.
    pub fn remove_xattr(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<()> {
        let (path, name) = (path.as_ref(), name.as_ref().as_bytes());
        let done = self.proc().removexattr(bytes(path), name, Follow::Yes);
        self.check("remove_xattr", path, done)
    }

    /// Lists a directory, in the order of the medium, without `.` and `..`.
    ///
    /// # Errors
    /// `ENOTDIR`; those of open(2). What goes wrong later is an item.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<ReadDir> {
        ReadDir::open(self, path.as_ref())
    }

    /// Walks a tree: the start itself, then what is in it, depth first; each directory before its entries. Symbolic links are not followed,
    /// one as the start included.
    #[must_use]
    pub fn walk(&self, start: impl AsRef<Path>) -> Walk {
        Walk::new(self, start.as_ref())
    }
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fs")
            .field("fs_type", &self.fs_type())
            .finish_non_exhaustive()
    }
}

/// An error with what the kernel had to say.
fn explained(mounted: &Mounted, error: Error) -> Error {
    let told = mounted.messages_of(error.errno());
    if told.is_empty() {
        return error;
    }
    error.because(told.join("; "))
}

/// An error that went through std.
pub(crate) fn ours(error: std::io::Error, operation: &'static str, path: &Path) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| Error::host(&error, operation, path))
}
