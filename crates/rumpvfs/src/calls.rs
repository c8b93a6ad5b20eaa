//! The system calls on paths.
//!
//! An extension trait of [`Proc`](rumpkern::Proc): `use rumpvfs::Calls as _;`. Relative paths start at the process's current directory,
//! or at the directory descriptor of the `...at` forms. Paths are bytes. Each call documents the errors that are its own;
//! every path may give `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, `EIO`.

use crate::{
    fs::{FsType, Probe, XattrMode},
    name::NameBytes,
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::time::Duration;
use rumpkern::{Fd, FileType, OpenFlags, Stat, Statvfs, types::DeviceNumber};
use rumpuser::{BlockDevice, Result, Timespec};

/// Where a path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The current directory (`AT_FDCWD`).
    Cwd,
    /// An open directory.
    Fd(Fd),
}

/// Whether a symbolic link in the last component is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// To what it points to.
    Yes,
    /// The link itself.
    No,
}

/// A time to be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// As it is (`UTIME_OMIT`).
    #[default]
    Omit,
    /// The present (`UTIME_NOW`).
    Now,
    /// This one.
    To(Timespec),
}

/// An entry that `getdents` lists, with `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirent {
    /// Inode number.
    pub ino: u64,
    /// Type, where the directory tells it without reading the inode.
    pub file_type: Option<FileType>,
    /// Name.
    pub name: Vec<u8>,
}

/// A directory entry with its attributes (`getdents` and `lstat` in one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirentPlus {
    /// Name; `.` and `..` are not listed. Short ones are in here: an allocation for each name is what listings of many directories would
    /// take longest for.
    pub name: NameBytes,
    /// Attributes of the entry itself, or why they could not be read.
    pub stat: Result<Stat>,
}

bitflags::bitflags! {
    /// How something is mounted.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// No writes at all.
        const RDONLY = 1;
        /// Access times are not kept.
        const NOATIME = 2;
        /// Set-id bits mean nothing.
        const NOSUID = 4;
        /// Device nodes cannot be opened.
        const NODEV = 8;
        /// Nothing can be executed.
        const NOEXEC = 16;
        /// Every write is durable at once.
        const SYNCHRONOUS = 32;
        /// Access times are kept on every read (default: when older than mtime, ctime or a day).
        const STRICTATIME = 64;
    }
}

/// Arguments of `mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountArgs {
    /// Path of the device in the kernel's name space.
    pub device: Option<Vec<u8>>,
    /// Generic flags.
    pub flags: MountFlags,
    /// Options of the driver.
    pub options: Vec<(String, Option<String>)>,
}

impl MountArgs {
    /// A mount of a device.
    #[must_use]
    pub fn device(path: impl AsRef<[u8]>) -> Self {
        Self {
            device: Some(path.as_ref().to_vec()),
            ..Self::default()
        }
    }

    /// The same, without writes.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.flags |= MountFlags::RDONLY;
        self
    }

    /// The same with an option of the driver.
    #[must_use]
    pub fn option(mut self, name: &str, value: Option<&str>) -> Self {
        self.options.push((name.into(), value.map(Into::into)));
        self
    }
}

bitflags::bitflags! {
    /// What `access` asks for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        /// Execute or search.
        const X = 1;
        /// Write.
        const W = 2;
        /// Read.
        const R = 4;
    }
}

bitflags::bitflags! {
    /// How `renameat` treats the new name.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// `EEXIST` if there is one.
        const NOREPLACE = 1;
        /// Both change places.
        const EXCHANGE = 2;
    }
}

/// What `setattrat` changes; what is `None` or [`SetTime::Omit`] stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeAttributes {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
}

/// An advisory lock on a range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLock {
    /// `true`: exclusive; `false`: shared.
    pub exclusive: bool,
    /// First byte.
    pub start: u64,
    /// Bytes; 0 reaches to the end of the file, however far that grows.
    pub len: u64,
}

/// What `flock` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flock {
    /// Lock shared.
    Shared,
    /// Lock exclusively.
    Exclusive,
    /// Unlock.
    Unlock,
}

/// A name of an inode that outlives its names and its being cached (`getfh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHandle {
    /// Mount number.
    pub fsid: u64,
    /// Inode number.
    pub ino: u64,
    /// Generation.
    pub generation: u64,
}

/// A piece of a file and where its bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileExtent {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Byte on the file system's device; `None` if the data must be read through the kernel.
    pub device: Option<u64>,
}

/// System calls on paths and on what paths lead to. Implemented by [`Proc`](rumpkern::Proc).
///
/// # Errors
/// Besides what is said at each call, one with a path may give those of paths: `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, and
/// `EBADF` for an [`At::Fd`] that is none. Every one may give `EIO`: the medium is damaged, or the mount is out of service.
pub trait Calls {
    /// Opens a file, making it with `mode & !umask` if `CREAT` says so. Lowest free descriptor.
    ///
    /// # Errors
    /// `EEXIST`, `EISDIR` (writing a directory), `EROFS`, `EMFILE`, `ENOSPC`, `EINVAL` (flags that do not go together); `EPERM` (a flag of the
    /// file forbids it); `ENXIO` (a device that is none, or a FIFO that nobody reads), `EOPNOTSUPP` (a socket).
    fn open(&self, path: impl AsRef<[u8]>, flags: OpenFlags, mode: u32) -> Result<Fd> {
        self.openat(At::Cwd, path, flags, mode)
    }
    /// As [`open`](Self::open), from a directory.
    ///
    /// # Errors
    /// As `open`.
    fn openat(&self, at: At, path: impl AsRef<[u8]>, flags: OpenFlags, mode: u32) -> Result<Fd>;
    /// Attributes of what a path leads to.
    ///
    /// # Errors
    /// Those of paths.
    fn stat(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        self.fstatat(At::Cwd, path, Follow::Yes)
    }
    /// Attributes, a last symbolic link not followed.
    ///
    /// # Errors
    /// Those of paths.
    fn lstat(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        self.fstatat(At::Cwd, path, Follow::No)
    }
    /// Attributes, from a directory. An empty path is the directory (or other open file) itself.
    ///
    /// # Errors
    /// Those of paths, `EBADF`.
    fn fstatat(&self, at: At, path: impl AsRef<[u8]>, follow: Follow) -> Result<Stat>;
    /// Gives a file one more name.
    ///
    /// # Errors
    /// `EEXIST`, `EXDEV`, `EPERM` (a directory), `EMLINK`, `EROFS`, `ENOSPC`, `EOPNOTSUPP` (not in this format).
    fn linkat(&self, from: (At, &[u8]), to: (At, &[u8]), follow: Follow) -> Result<()>;
    /// Makes a symbolic link.
    ///
    /// # Errors
    /// `EEXIST`, `EROFS`, `ENOSPC`; `ENOENT` for an empty target, `ENAMETOOLONG` for one that is too long; `EOPNOTSUPP` (not in this format).
    fn symlinkat(&self, target: &[u8], at: At, path: impl AsRef<[u8]>) -> Result<()>;
    /// Target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is none.
    fn readlinkat(&self, at: At, path: impl AsRef<[u8]>) -> Result<Vec<u8>>;
    /// Renames.
    ///
    /// # Errors
    /// `EXDEV`, `EINVAL` (into itself, or `.`/`..`), `ENOTEMPTY`, `EEXIST`, `EISDIR`, `ENOTDIR`, `EBUSY` (a mount point), `EROFS`,
    /// `ENOSPC`, `EPERM` (sticky).
    fn renameat(&self, from: (At, &[u8]), to: (At, &[u8]), flags: RenameFlags) -> Result<()>;
    /// Removes a name of something that is no directory (`dir` false), or an empty directory (`dir` true).
    ///
    /// # Errors
    /// `EPERM`/`EISDIR`, `ENOTEMPTY`, `EBUSY`, `EROFS`, `EINVAL` (rmdir of `.`).
    fn unlinkat(&self, at: At, path: impl AsRef<[u8]>, dir: bool) -> Result<()>;
    /// Makes a directory with `mode & !umask`.
    ///
    /// # Errors
    /// `EEXIST`, `EROFS`, `ENOSPC`, `EMLINK`.
    fn mkdirat(&self, at: At, path: impl AsRef<[u8]>, mode: u32) -> Result<()>;
    /// Makes a node: regular file, FIFO, socket, block or character device.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` (devices, not root), `EROFS`, `ENOSPC`, `EINVAL` (a directory or symbolic link), `EOPNOTSUPP` (not in this format).
    fn mknodat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        kind: FileType,
        mode: u32,
        device: DeviceNumber,
    ) -> Result<()>;
    /// Changes permission bits.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`; `EOPNOTSUPP` on a symbolic link itself.
    fn fchmodat(&self, at: At, path: impl AsRef<[u8]>, mode: u32, follow: Follow) -> Result<()>;
    /// Changes owner and group; `None` stays.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`.
    fn fchownat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        uid: Option<u32>,
        gid: Option<u32>,
        follow: Follow,
    ) -> Result<()>;
    /// Sets access and modification time.
    ///
    /// # Errors
    /// `EPERM`, `EACCES`, `EROFS`, `EINVAL` (nanoseconds).
    fn utimensat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        atime: SetTime,
        mtime: SetTime,
        follow: Follow,
    ) -> Result<()>;
    /// Sets owner, mode and times together: `fchownat`, `fchmodat` and `utimensat`, in this order and all or nothing. For
    /// whoever makes many files, one change of the inode costs a third of three.
    ///
    /// # Errors
    /// Theirs.
    fn setattrat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        change: &ChangeAttributes,
        follow: Follow,
    ) -> Result<()>;
    /// Changes the file flags.
    ///
    /// # Errors
    /// `EPERM`, `EOPNOTSUPP`, `EROFS`.
    fn chflagsat(&self, at: At, path: impl AsRef<[u8]>, flags: u32, follow: Follow) -> Result<()>;
    /// Sets the size of a file.
    ///
    /// # Errors
    /// `EISDIR`, `EINVAL` (another type than a regular file), `EFBIG`, `EROFS`, `EPERM` (a flag of the file forbids it).
    fn truncate(&self, path: impl AsRef<[u8]>, size: u64) -> Result<()>;
    /// Reserves space (`posix_fallocate` without `keep_size`).
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`, `EROFS`; `EINVAL` for no bytes; `EBADF` (not open for writing), `EPERM` (a flag of the file forbids it); `ENODEV`,
    /// `EISDIR`, `ESPIPE` (no regular file); `EOPNOTSUPP` (not in this format).
    fn fallocate(&self, fd: Fd, offset: u64, len: u64, keep_size: bool) -> Result<()>;
    /// Makes a hole; the size stays (`fdiscard`, `FALLOC_FL_PUNCH_HOLE`).
    ///
    /// # Errors
    /// As [`fallocate`](Self::fallocate).
    fn punch_hole(&self, fd: Fd, offset: u64, len: u64) -> Result<()>;
    /// Whether the process may access a file that way.
    ///
    /// # Errors
    /// `EACCES`, `EROFS`, `EINVAL` (a bit that means nothing).
    fn faccessat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        access: Access,
        follow: Follow,
    ) -> Result<()>;
    /// Next entries of an open directory, `.` and `..` among them, about `max` at most; none at the end. The descriptor's
    /// offset is the position: `lseek` to 0 rewinds.
    ///
    /// # Errors
    /// `ENOTDIR`, `EBADF`.
    fn getdents(&self, fd: Fd, max: usize) -> Result<Vec<Dirent>>;
    /// Next entries of an open directory with their attributes, about `max` at most; none at the end. Names and inodes stay
    /// in the caches: for whoever opens the files next.
    ///
    /// # Errors
    /// `ENOTDIR`, `EBADF`.
    fn getdents_plus(&self, fd: Fd, max: usize) -> Result<Vec<DirentPlus>>;
    /// As [`getdents_plus`](Self::getdents_plus), for whoever only looks: of inodes that were not in the caches, those of
    /// directories alone are there afterwards.
    ///
    /// # Errors
    /// `ENOTDIR`, `EBADF`.
    fn getdents_stat(&self, fd: Fd, max: usize) -> Result<Vec<DirentPlus>>;
    /// Numbers of the file system that a path is on.
    ///
    /// # Errors
    /// Those of paths.
    fn statvfs(&self, path: impl AsRef<[u8]>) -> Result<Statvfs>;
    /// As [`statvfs`](Self::statvfs), by descriptor.
    ///
    /// # Errors
    /// `EBADF`.
    fn fstatvfs(&self, fd: Fd) -> Result<Statvfs>;
    /// All mounts.
    fn getvfsstat(&self) -> Vec<Statvfs>;
    /// Changes the current directory.
    ///
    /// # Errors
    /// Those of paths.
    fn chdir(&self, path: impl AsRef<[u8]>) -> Result<()>;
    /// As [`chdir`](Self::chdir), by descriptor.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR`, `EACCES`.
    fn fchdir(&self, fd: Fd) -> Result<()>;
    /// Changes the root directory.
    ///
    /// # Errors
    /// `EPERM` (not root).
    fn chroot(&self, path: impl AsRef<[u8]>) -> Result<()>;
    /// Path of the current directory from the process's root.
    ///
    /// # Errors
    /// `ENOENT` when it was removed, `EACCES`.
    fn getcwd(&self) -> Result<Vec<u8>>;
    /// Locks or unlocks a whole file for its open file description; waits unless `nonblock`.
    ///
    /// # Errors
    /// `EWOULDBLOCK`, `EBADF`; `EINVAL` (no file of a file system). Two that wait for each other are not told.
    fn flock(&self, fd: Fd, op: Flock, nonblock: bool) -> Result<()>;
    /// Sets a record lock of the process (`F_SETLK`, with `wait` `F_SETLKW`).
    ///
    /// # Errors
    /// `EAGAIN`, `EDEADLK`, `EBADF`, `EINVAL`.
    fn set_lock(&self, fd: Fd, lock: RecordLock, wait: bool) -> Result<()>;
    /// Gives up record locks in a range.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`.
    fn unlock(&self, fd: Fd, start: u64, len: u64) -> Result<()>;
    /// The first lock that would stand against `lock`, and its process (`F_GETLK`).
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`.
    fn get_lock(&self, fd: Fd, lock: RecordLock) -> Result<Option<(RecordLock, u32)>>;
    /// Value of an extended attribute.
    ///
    /// # Errors
    /// `ENOATTR`, `EOPNOTSUPP`.
    fn getxattr(&self, path: impl AsRef<[u8]>, name: &[u8], follow: Follow) -> Result<Vec<u8>>;
    /// As [`getxattr`](Self::getxattr), by descriptor.
    ///
    /// # Errors
    /// As `getxattr`, `EBADF`.
    fn fgetxattr(&self, fd: Fd, name: &[u8]) -> Result<Vec<u8>>;
    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST`, `ENOATTR`, `EOPNOTSUPP`, `EPERM`, `EROFS`, `ENOSPC`; `ERANGE` for a name of no or of more than 255 bytes, `EINVAL` for one with NUL or that
    /// ends with its prefix, `E2BIG` for a value of more than 64 KiB.
    fn setxattr(
        &self,
        path: impl AsRef<[u8]>,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        follow: Follow,
    ) -> Result<()>;
    /// As [`setxattr`](Self::setxattr), by descriptor.
    ///
    /// # Errors
    /// As `setxattr`, `EBADF`.
    fn fsetxattr(&self, fd: Fd, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()>;
    /// Names of the extended attributes that the process may see.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    fn listxattr(&self, path: impl AsRef<[u8]>, follow: Follow) -> Result<Vec<Vec<u8>>>;
    /// As [`listxattr`](Self::listxattr), by descriptor.
    ///
    /// # Errors
    /// As `listxattr`, `EBADF`.
    fn flistxattr(&self, fd: Fd) -> Result<Vec<Vec<u8>>>;
    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENOATTR`, `EOPNOTSUPP`, `EPERM`, `EROFS`.
    fn removexattr(&self, path: impl AsRef<[u8]>, name: &[u8], follow: Follow) -> Result<()>;
    /// Mounts a file system on a directory.
    ///
    /// # Errors
    /// `ENODEV` (unknown type), `EBUSY`, `EPERM` (not root), `ENOTDIR`, `ENOTBLK` (no block device), `EINVAL` (a device for a type that takes none, or
    /// none for one that does), `EROFS` (a device that can only be read), those of the driver's mount.
    fn mount(&self, fs_type: &str, on: impl AsRef<[u8]>, args: MountArgs) -> Result<()>;
    /// Changes the flags of a mount.
    ///
    /// # Errors
    /// `EBUSY` (open for writing), `EROFS`, `EINVAL` (no mount point), `EPERM` (not root); `EOPNOTSUPP` for a type that cannot change.
    fn remount(&self, on: impl AsRef<[u8]>, flags: MountFlags) -> Result<()>;
    /// Unmounts; with `force` even if files are open, which are dead from then on (`EIO`).
    ///
    /// # Errors
    /// `EBUSY`, `EINVAL` (no mount point), `EPERM`. Any other, as `EIO`, tells what could not be written; the mount is gone all the same.
    fn unmount(&self, on: impl AsRef<[u8]>, force: bool) -> Result<()>;
    /// Writes everything back on all mounts.
    ///
    /// # Errors
    /// The first error.
    fn sync(&self) -> Result<()>;
    /// Handle of a file.
    ///
    /// # Errors
    /// `EPERM` (not root).
    fn getfh(&self, path: impl AsRef<[u8]>, follow: Follow) -> Result<FileHandle>;
    /// Opens a file by its handle.
    ///
    /// # Errors
    /// `ESTALE`, `EPERM` (not root).
    fn fhopen(&self, handle: FileHandle, flags: OpenFlags) -> Result<Fd>;
    /// Where the data of an open file lies in `offset .. offset + len`; holes are left out. Dirty pages are written first.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` (no regular file).
    fn extents(&self, fd: Fd, offset: u64, len: u64) -> Result<Vec<FileExtent>>;
    /// Appends `len` bytes at `offset`, at or behind the end, which the caller itself moves to the device: `put` is called
    /// with the extents that they get, in ascending order, inside the file system's transaction. It must not call
    /// the kernel. Returns the bytes done, above 0 and perhaps fewer than asked; the rest is for `pwrite`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where only `pwrite` will do: the offset does not begin a page, the bytes are few, a file system without a
    /// device, a descriptor with `SYNC`. `EBADF`, `ENOSPC`, `EIO`, and those of `put`. Nothing was done then.
    fn write_extents(
        &self,
        fd: Fd,
        offset: u64,
        len: u64,
        put: &mut dyn FnMut(FileExtent) -> Result<()>,
    ) -> Result<u64>;
}

/// As what a host object is shown in the kernel's name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtfsType {
    /// A regular file: of the host object's size, which writes past the end and `truncate` change if the host can.
    Regular,
    /// A block device: of fixed size, and what `mount` takes.
    Block,
    /// A raw character device: transfers are whole sectors, else `EINVAL`.
    Character,
}

/// What a kernel's consumer may do besides system calls. Implemented by [`Kernel`](rumpkern::Kernel).
pub trait KernelVfs {
    /// Shows a block device at an absolute path of the root file system: intermediate directories are made, and a block
    /// device node (etfs). Without a root file system in memory the path is known to `mount` alone.
    ///
    /// # Errors
    /// `EINVAL` (relative path), `EEXIST`.
    fn etfs_register(&self, path: impl AsRef<[u8]>, device: Arc<dyn BlockDevice>) -> Result<()> {
        self.etfs_register_as(path, device, EtfsType::Block)
    }
    /// As [`etfs_register`](Self::etfs_register), shown as a file of some type. Bytes of a regular file are not cached: what is
    /// read and written is the host object. Its mode is 0600; mode, owner, times and names are kept in the kernel and are
    /// not the host's. Removing the last name takes nothing from the host. (A directory of the host is no `BlockDevice`: opening
    /// one is `EISDIR`.)
    ///
    /// # Errors
    /// `EINVAL` (relative path), `EEXIST`; `EOPNOTSUPP` for another type than a block device without a root file system in
    /// memory.
    fn etfs_register_as(
        &self,
        path: impl AsRef<[u8]>,
        device: Arc<dyn BlockDevice>,
        kind: EtfsType,
    ) -> Result<()>;
    /// Takes it away again, with its name.
    ///
    /// # Errors
    /// `ENOENT`, `EBUSY` while it is mounted or open.
    fn etfs_remove(&self, path: impl AsRef<[u8]>) -> Result<()>;
    /// Registered file system types, in the order of registration.
    fn fs_types(&self) -> Vec<Arc<dyn FsType>>;
    /// Asks every type whether it knows the device; the name of the first that does, and what it found.
    ///
    /// # Errors
    /// `EIO` from the device.
    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<(&'static str, Probe)>>;
    /// Registers a file system type (what a driver's component does).
    ///
    /// # Errors
    /// `EEXIST`.
    fn register_fs(&self, fs_type: Arc<dyn FsType>) -> Result<()>;
    /// Starts a kernel thread that makes everything durable every `interval`. Without it, data is written when memory
    /// runs short, when a log fills, and by `sync`, `fsync`, `unmount` and the kernel's shutdown.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOSYS`.
    fn start_syncer(&self, interval: Duration) -> Result<()>;
}
