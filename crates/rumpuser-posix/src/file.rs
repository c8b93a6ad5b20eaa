//! A file or block device of the host as the medium of a file system.

use crate::errno;
use rumpuser::{BlockDevice, Errno, Result};
use std::{
    any::Any,
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

mod behind;
mod loops;

use behind::Behind;

/// What a [`HostFile`] is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The host object cannot be changed through this medium: the descriptor itself is read-only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Buffers that one call of preadv(2) or pwritev(2) takes at most: `UIO_MAXIOV` of Linux.
const IOV_MAX: usize = 1024;

/// How many bytes are written before the host begins to bring them to the medium, where that is wanted.
const BEHIND: u64 = 8 << 20;

/// A regular file or a block device of the host.
///
/// The file is locked with flock(2) as long as this value lives, shared when read-only, exclusive otherwise. So two
/// kernels never write one image, and none reads an image while another writes it. (Nothing stops a program that does not ask.)
#[derive(Debug)]
pub struct HostFile {
    file: File,
    kind: Kind,
    access: Access,
    len: AtomicU64,
    sector_size: u32,
    behind: OnceLock<Behind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Regular,
    Block,
}

impl HostFile {
    /// Opens the file at `path`, or the device behind it.
    ///
    /// The size is taken now. When others make a file longer, that does not show here; when they make it shorter, what is gone cannot be read, and
    /// nothing be written any more: `EIO`.
    ///
    /// # Errors
    /// `EISDIR` for a directory; `ENOTBLK` for anything else that is no medium (a pipe, a socket, a terminal); `EBUSY` when somebody
    /// holds the file in a way that excludes `access`, or when the host itself has mounted what is to be written, a device or a file by way of a loop
    /// device; `EROFS` for a device that takes no writes, if it is to be written; otherwise what open(2) says: `ENOENT`, `EACCES`, ...
    pub fn open(path: impl AsRef<Path>, access: Access) -> core::result::Result<Self, OpenError> {
        let path = path.as_ref();
        let fail = |cause| OpenError {
            path: path.into(),
            cause,
        };
        // Opening a pipe would block and opening a tape would rewind it: look first.
        let kind = std::fs::metadata(path)
            .map_err(Cause::from)
            .and_then(|m| Kind::of(&m));
        let kind = kind.map_err(fail)?;
        let mut options = OpenOptions::new(); // std adds O_CLOEXEC
        options.read(true).write(access == Access::ReadWrite);
        if kind == Kind::Block && access == Access::ReadWrite {
            // On a block device: EBUSY while the host has it mounted or otherwise claimed.
            options.custom_flags(libc::O_EXCL);
        }
        let file = options.open(path).map_err(|error| {
            if kind == Kind::Block && errno(&error) == Errno::EBUSY {
                fail(Cause::Claimed)
            } else {
                fail(Cause::Os(errno(&error)))
            }
        })?;
        Self::new(file, access).map_err(fail)
    }

    /// Takes an open file, whose descriptor must allow `access`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_file(file: File, access: Access) -> Result<Self> {
        Self::new(file, access).map_err(|cause| cause.errno())
    }

    fn new(mut file: File, access: Access) -> core::result::Result<Self, Cause> {
        let metadata = file.metadata()?;
        let kind = Kind::of(&metadata)?;
        let locked = match access {
            Access::ReadOnly => file.try_lock_shared(),
            Access::ReadWrite => file.try_lock(),
        };
        if let Err(TryLockError::WouldBlock) = locked {
            return Err(Cause::Locked(access));
        }
        // Any other failure: a file system of the host that knows no locks. They are advisory anyway.
        if kind == Kind::Block && access == Access::ReadWrite && is_read_only(&file) {
            return Err(Cause::ReadOnly);
        }
        if kind == Kind::Regular && access == Access::ReadWrite && loops::is_claimed(&metadata) {
            return Err(Cause::Claimed);
        }
        let (len, sector_size) = match kind {
            Kind::Regular => (metadata.len(), 512),
            // Seeking gives the size of a device even where the ioctl is filtered.
            Kind::Block => (file.seek(SeekFrom::End(0))?, device_sector_size(&file)),
        };
        Ok(Self {
            file,
            kind,
            access,
            len: AtomicU64::new(len),
            sector_size,
            behind: OnceLock::new(),
        })
    }

    /// Has the host begin to bring to the medium what is written, 8 MiB at a time, rather than when somebody waits for it: a thread of its own
    /// tells it. Nothing else changes: what is durable, and what failed, [`flush`](BlockDevice::flush) says.
    ///
    /// # Errors
    /// The host has no room for a thread or a descriptor.
    pub fn write_behind(&self) -> Result<()> {
        let fail = |error: io::Error| errno(&error);
        let file = self.file.try_clone().map_err(fail)?;
        let begin = move || {
            // SAFETY: takes no pointers. A failure is one of the file, which `flush` tells as well.
            unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
        };
        // Once is enough.
        let _ = self.behind.set(Behind::start(BEHIND, begin).map_err(fail)?);
        Ok(())
    }

    /// So many bytes have been written; for consumers that let the host move data.
    pub fn wrote(&self, bytes: u64) {
        if let Some(behind) = self.behind.get() {
            behind.wrote(bytes);
        }
    }

    /// The file itself, for consumers that let the host move data.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether this is a block device rather than a regular file.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.kind == Kind::Block
    }

    /// `EIO` for a range that passes the end.
    fn check_range(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    fn check_writable(&self) -> Result<()> {
        match self.access {
            Access::ReadOnly => Err(Errno::EROFS),
            Access::ReadWrite => Ok(()),
        }
    }

    /// `EIO` if somebody has made the file shorter: a write behind its end would make it longer again, with nothing where something was.
    fn check_whole(&self) -> Result<()> {
        if self.kind == Kind::Block {
            return Ok(());
        }
        // As a call that a contained server may make. Nobody uses the place that it moves to.
        let end = (&self.file).seek(SeekFrom::End(0));
        match end.map_err(|error| errno(&error))? < self.len() {
            true => Err(Errno::EIO),
            false => Ok(()),
        }
    }
}

impl Kind {
    fn of(metadata: &std::fs::Metadata) -> core::result::Result<Self, Cause> {
        let kind = metadata.file_type();
        if kind.is_file() {
            Ok(Self::Regular)
        } else if kind.is_block_device() {
            Ok(Self::Block)
        } else if kind.is_dir() {
            Err(Cause::Os(Errno::EISDIR))
        } else {
            Err(Cause::NoMedium)
        }
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        // Closing is not enough: a child process between fork and exec still holds a copy of the descriptor, and the lock with it.
        drop(self.file.unlock());
    }
}

impl BlockDevice for HostFile {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| errno(&error))
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        self.check_range(offset, total(bufs.iter().map(|buf| buf.len()))?)?;
        let parts = bufs
            .iter_mut()
            .map(|buf| iovec(buf.as_mut_ptr(), buf.len()));
        transfer(parts, offset, |iov, offset| {
            let count = iov.len() as libc::c_int;
            // SAFETY: each entry names a live slice that is borrowed mutably, and only by us, for the length of this function.
            unsafe { libc::preadv(self.file.as_raw_fd(), iov.as_ptr(), count, offset) }
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_writable()?;
        self.check_range(offset, data.len() as u64)?;
        self.check_whole()?;
        self.file
            .write_all_at(data, offset)
            .map_err(|error| errno(&error))?;
        self.wrote(data.len() as u64);
        Ok(())
    }

    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        self.check_writable()?;
        let len = total(data.iter().map(|part| part.len()))?;
        self.check_range(offset, len)?;
        self.check_whole()?;
        let parts = data
            .iter()
            .map(|part| iovec(part.as_ptr().cast_mut(), part.len()));
        transfer(parts, offset, |iov, offset| {
            let count = iov.len() as libc::c_int;
            // SAFETY: each entry names a live slice; pwritev only reads it, in spite of the pointer's type.
            unsafe { libc::pwritev(self.file.as_raw_fd(), iov.as_ptr(), count, offset) }
        })?;
        self.wrote(len);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        match self.access {
            Access::ReadOnly => Ok(()),
            Access::ReadWrite => {
                self.file.sync_data().map_err(|error| errno(&error))?;
                self.check_whole()
            }
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.check_writable()?;
        if self.kind == Kind::Block {
            return Err(Errno::EOPNOTSUPP);
        }
        if i64::try_from(len).is_err() {
            return Err(Errno::EFBIG);
        }
        self.file.set_len(len).map_err(|error| errno(&error))?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writable()?;
        self.check_range(offset, len)?;
        let fd = self.file.as_raw_fd();
        let failed = match self.kind {
            _ if len == 0 => return Ok(()),
            Kind::Regular => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                // The range lies within the file, whose size fits in off_t.
                let (offset, len) = (offset as libc::off_t, len as libc::off_t);
                // SAFETY: takes no pointers.
                unsafe { libc::fallocate(fd, mode, offset, len) }
            }
            Kind::Block => {
                // The kernel refuses a range that is not made of whole sectors: tell it of those inside.
                let sector = u64::from(self.sector_size);
                let start = offset.next_multiple_of(sector);
                let end = (offset + len) / sector * sector;
                if start >= end {
                    return Ok(());
                }
                let range = [start, end - start];
                // SAFETY: BLKDISCARD reads two 64-bit numbers, which `range` is.
                unsafe { libc::ioctl(fd, BLKDISCARD, range.as_ptr()) }
            }
        };
        if failed == 0 {
            return Ok(());
        }
        Err(match errno(&io::Error::last_os_error()) {
            Errno::ENOSYS | Errno::ENOTTY | Errno::EINVAL => Errno::EOPNOTSUPP,
            other => other,
        })
    }

    fn host_window(&self, offset: u64) -> Option<(&dyn Any, u64)> {
        Some((&self.file, offset))
    }
}

/// From linux/fs.h, where they have no structured number: `_IO(0x12, 94)`, `_IO(0x12, 104)` and `_IO(0x12, 119)`.
const BLKROGET: libc::c_ulong = 0x125e;
const BLKSSZGET: libc::c_ulong = 0x1268;
const BLKDISCARD: libc::c_ulong = 0x1277;

/// The logical sector size of a block device; 512 if it does not say or says nonsense.
fn device_sector_size(file: &File) -> u32 {
    let mut size: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int, which `size` is.
    let failed = unsafe { libc::ioctl(file.as_raw_fd(), BLKSSZGET, &raw mut size) };
    match u32::try_from(size) {
        Ok(size) if failed == 0 && size >= 512 && size.is_power_of_two() => size,
        _ => 512,
    }
}

/// Whether a block device takes no writes. Linux lets some of these be opened for writing all the same.
fn is_read_only(file: &File) -> bool {
    let mut answer: libc::c_int = 0;
    // SAFETY: BLKROGET writes one int, which `answer` is.
    let failed = unsafe { libc::ioctl(file.as_raw_fd(), BLKROGET, &raw mut answer) };
    failed == 0 && answer != 0
}

fn total(lens: impl Iterator<Item = usize>) -> Result<u64> {
    lens.map(|len| len as u64)
        .try_fold(0, u64::checked_add)
        .ok_or(Errno::EIO)
}

fn iovec(base: *mut u8, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: base.cast(),
        iov_len: len,
    }
}

/// Calls `system_call` until every byte of `parts` is transferred, with at most [`IOV_MAX`] buffers at a time. The range has been
/// checked: an offset in it fits in `off_t`.
fn transfer(
    parts: impl Iterator<Item = libc::iovec>,
    offset: u64,
    system_call: impl Fn(&[libc::iovec], libc::off_t) -> isize,
) -> Result<()> {
    let iov: Vec<libc::iovec> = parts.filter(|part| part.iov_len > 0).collect();
    let mut offset = offset;
    for chunk in iov.chunks(IOV_MAX) {
        let mut chunk = chunk.to_vec();
        let mut left = &mut chunk[..];
        while !left.is_empty() {
            let done = system_call(left, offset as libc::off_t);
            let Ok(done) = usize::try_from(done) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(errno(&error));
            };
            if done == 0 {
                return Err(Errno::EIO); // the file has become shorter
            }
            offset += done as u64;
            left = advance(left, done);
        }
    }
    Ok(())
}

/// The rest of `iov` after its first `done` bytes.
fn advance(iov: &mut [libc::iovec], mut done: usize) -> &mut [libc::iovec] {
    let mut whole = 0;
    for part in iov.iter_mut() {
        if done < part.iov_len {
            part.iov_base = part.iov_base.cast::<u8>().wrapping_add(done).cast();
            part.iov_len -= done;
            break;
        }
        done -= part.iov_len;
        whole += 1;
    }
    &mut iov[whole..]
}

/// Why a [`HostFile`] could not be opened.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    Os(Errno),
    Locked(Access),
    Claimed,
    ReadOnly,
    NoMedium,
}

impl Cause {
    fn errno(self) -> Errno {
        match self {
            Self::Os(errno) => errno,
            Self::Locked(_) | Self::Claimed => Errno::EBUSY,
            Self::ReadOnly => Errno::EROFS,
            Self::NoMedium => Errno::ENOTBLK,
        }
    }
}

impl OpenError {
    /// The error's number.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.cause.errno()
    }

    /// Whether somebody else holds the file, and may let go of it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self.cause, Cause::Locked(_))
    }

    /// The path that was to be opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The reason in words, without the path.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.cause {
            Cause::Os(errno) => errno.text(),
            Cause::Locked(Access::ReadOnly) => "in use: another program is writing to it",
            Cause::Locked(Access::ReadWrite) => "in use by another program",
            Cause::Claimed => "in use by the host, which may have it mounted",
            Cause::ReadOnly => "a read-only device",
            Cause::NoMedium => "neither a regular file nor a block device",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason())
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for Errno {
    fn from(error: OpenError) -> Self {
        error.errno()
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::Os(errno(&error))
    }
}

#[cfg(test)]
mod tests;
