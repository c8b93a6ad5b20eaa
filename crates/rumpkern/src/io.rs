//! The system calls on descriptors.
//!
//! All that reach a file's code run inside the border ([`Proc::enter`]); those that only look at the table of descriptors and
//! count in it do not: they index nothing without a check.

use crate::{
    Fd, OpenFlags, Position, Proc, Seek, Stat,
    descriptor::{Closer, OpenFile},
};
use alloc::sync::Arc;
use rumpuser::{Errno, Result};

/// Most bytes that one call moves: what fits an `ssize_t` everywhere.
const TRANSFER_MAX: u64 = 0x7fff_f000;

impl Proc {
    fn readable(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        let open = self.fd_file(fd)?;
        let flags = open.flags();
        if flags.reads() && !flags.contains(OpenFlags::PATH) {
            Ok(open)
        } else {
            Err(Errno::EBADF)
        }
    }

    fn writable(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        let open = self.fd_file(fd)?;
        let flags = open.flags();
        if flags.writes() && !flags.contains(OpenFlags::PATH) {
            Ok(open)
        } else {
            Err(Errno::EBADF)
        }
    }

    /// Reads at the descriptor's offset and moves it. Returns the bytes read, 0 at the end.
    ///
    /// # Errors
    /// `EBADF` (not open for reading), `EISDIR`, `EAGAIN`, `EIO`.
    pub fn read(&self, fd: Fd, buf: &mut [u8]) -> Result<usize> {
        self.readv(fd, &mut [buf])
    }

    /// Reads at the descriptor's offset into consecutive buffers.
    ///
    /// # Errors
    /// As [`read`](Self::read); `EINVAL` for more bytes than one call moves.
    pub fn readv(&self, fd: Fd, bufs: &mut [&mut [u8]]) -> Result<usize> {
        self.enter(|| {
            let open = self.readable(fd)?;
            total(bufs.iter().map(|b| b.len()))?;
            let nonblock = open.flags().contains(OpenFlags::NONBLOCK);
            if open.file().seek().is_none() {
                return open.file().read(Position::At(0), bufs, nonblock);
            }
            let mut offset = open.offset().lock();
            let done = open.file().read(Position::At(*offset), bufs, nonblock)?;
            *offset = offset.saturating_add(done as u64);
            Ok(done)
        })
    }

    /// Reads at an offset; the descriptor's stays.
    ///
    /// # Errors
    /// As [`read`](Self::read); `ESPIPE` for what cannot seek.
    pub fn pread(&self, fd: Fd, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.preadv(fd, &mut [buf], offset)
    }

    /// Reads at an offset into consecutive buffers.
    ///
    /// # Errors
    /// As [`pread`](Self::pread).
    pub fn preadv(&self, fd: Fd, bufs: &mut [&mut [u8]], offset: u64) -> Result<usize> {
        self.enter(|| {
            let open = self.readable(fd)?;
            total(bufs.iter().map(|b| b.len()))?;
            open.file().seek().ok_or(Errno::ESPIPE)?;
            open.file().read(Position::At(offset), bufs, false)
        })
    }

    /// Writes at the descriptor's offset (with `APPEND`: at the end) and moves it. Returns the bytes written.
    ///
    /// # Errors
    /// `EBADF` (not open for writing), `EFBIG`, `ENOSPC`, `EPIPE`, `EAGAIN`, `EIO`.
    pub fn write(&self, fd: Fd, data: &[u8]) -> Result<usize> {
        self.writev(fd, &[data])
    }

    /// Writes consecutive buffers at the descriptor's offset.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn writev(&self, fd: Fd, bufs: &[&[u8]]) -> Result<usize> {
        self.enter(|| {
            let open = self.writable(fd)?;
            let len = total(bufs.iter().map(|b| b.len()))?;
            let flags = open.flags();
            let nonblock = flags.contains(OpenFlags::NONBLOCK);
            if open.file().seek().is_none() {
                return open
                    .file()
                    .write_by(self, Position::Append, bufs, nonblock)
                    .map(|(done, _)| done);
            }
            let mut offset = open.offset().lock();
            let at = if flags.contains(OpenFlags::APPEND) {
                Position::Append
            } else {
                Position::At(*offset)
            };
            let (done, end) = self.write_limited(&open, at, bufs, len, nonblock)?;
            *offset = end;
            Ok(done)
        })
    }

    /// Writes at an offset; the descriptor's stays. `APPEND` does not count (POSIX).
    ///
    /// # Errors
    /// As [`write`](Self::write); `ESPIPE` for what cannot seek.
    pub fn pwrite(&self, fd: Fd, data: &[u8], offset: u64) -> Result<usize> {
        self.pwritev(fd, &[data], offset)
    }

    /// Writes consecutive buffers at an offset.
    ///
    /// # Errors
    /// As [`pwrite`](Self::pwrite).
    pub fn pwritev(&self, fd: Fd, bufs: &[&[u8]], offset: u64) -> Result<usize> {
        self.enter(|| {
            let open = self.writable(fd)?;
            let len = total(bufs.iter().map(|b| b.len()))?;
            open.file().seek().ok_or(Errno::ESPIPE)?;
            self.write_limited(&open, Position::At(offset), bufs, len, false)
                .map(|(done, _)| done)
        })
    }

    /// Writes under the process's file size limit, and durably where the flags say so.
    fn write_limited(
        &self,
        open: &OpenFile,
        at: Position,
        bufs: &[&[u8]],
        len: u64,
        nonblock: bool,
    ) -> Result<(usize, u64)> {
        let start = match at {
            Position::At(offset) => offset,
            Position::Append => open.file().seek().ok_or(Errno::ESPIPE)?.size()?,
        };
        let limit = self.limits().file_size;
        if len > 0 && start.checked_add(len).is_none_or(|end| end > limit) {
            return Err(Errno::EFBIG);
        }
        let done = open.file().write(at, bufs, nonblock)?;
        let flags = open.flags();
        if flags.intersects(OpenFlags::SYNC | OpenFlags::DSYNC) {
            open.file().sync(!flags.contains(OpenFlags::SYNC))?;
        }
        Ok(done)
    }

    /// Moves the descriptor's offset; returns the new one.
    ///
    /// # Errors
    /// `ESPIPE` for what cannot seek, `EINVAL` before the start, `EOVERFLOW`, `ENXIO` (no data or hole there).
    pub fn lseek(&self, fd: Fd, to: Seek) -> Result<u64> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            if open.flags().contains(OpenFlags::PATH) {
                return Err(Errno::EBADF);
            }
            let seekable = open.file().seek().ok_or(Errno::ESPIPE)?;
            let mut offset = open.offset().lock();
            let new = match to {
                Seek::Set(at) => at,
                Seek::Current(by) => relative(*offset, by)?,
                Seek::End(by) => relative(seekable.size()?, by)?,
                Seek::Data(from) => seekable.data(from)?,
                Seek::Hole(from) => seekable.hole(from)?,
            };
            if i64::try_from(new).is_err() {
                return Err(Errno::EOVERFLOW);
            }
            *offset = new;
            Ok(new)
        })
    }

    /// Attributes of an open file.
    ///
    /// # Errors
    /// `EBADF`, `EIO`.
    pub fn fstat(&self, fd: Fd) -> Result<Stat> {
        self.enter(|| self.fd_file(fd)?.file().stat())
    }

    /// Sets the size of an open file.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` (not open for writing, or has no size), `EFBIG`, `EIO`.
    pub fn ftruncate(&self, fd: Fd, size: u64) -> Result<()> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            if !open.flags().writes() {
                return Err(Errno::EINVAL);
            }
            if size > self.limits().file_size {
                return Err(Errno::EFBIG);
            }
            open.file().truncate(size)
        })
    }

    /// Makes a file's data and attributes durable.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` for what cannot be synchronised, `EIO`, also of an earlier delayed write.
    pub fn fsync(&self, fd: Fd) -> Result<()> {
        self.enter(|| self.fd_file(fd)?.file().sync(false))
    }

    /// Makes a file's data durable, and of its attributes what is needed to read it.
    ///
    /// # Errors
    /// As [`fsync`](Self::fsync).
    pub fn fdatasync(&self, fd: Fd) -> Result<()> {
        self.enter(|| self.fd_file(fd)?.file().sync(true))
    }

    /// Closes a descriptor.
    ///
    /// # Errors
    /// `EBADF`; `EIO`, `ENOSPC` of delayed writes: it is closed all the same.
    pub fn close(&self, fd: Fd) -> Result<()> {
        self.inner.table.close(
            fd,
            &Closer {
                pid: self.getpid(),
                border: self.kernel.border(),
            },
        )
    }

    /// The lowest free descriptor for the same open file description.
    ///
    /// # Errors
    /// `EBADF`, `EMFILE`.
    pub fn dup(&self, fd: Fd) -> Result<Fd> {
        self.dup_from(fd, 0, false)
    }

    /// As [`dup`](Self::dup), at or above `min` (`F_DUPFD`, `F_DUPFD_CLOEXEC`).
    ///
    /// # Errors
    /// `EBADF`, `EMFILE`, `EINVAL` when `min` is past the limit.
    pub fn dup_from(&self, fd: Fd, min: Fd, close_on_exec: bool) -> Result<Fd> {
        let (limit, queues) = (self.inner.open_files(), self.kernel.queues());
        let host = self.kernel.border().host();
        let table = &self.inner.table;
        table.dup(fd, min, close_on_exec, limit, queues, host)
    }

    /// Makes `to` refer to what `from` refers to, closing what it referred to; nothing happens when they are equal.
    ///
    /// # Errors
    /// `EBADF`; `EBUSY` while another thread opens something that will be `to`.
    pub fn dup2(&self, from: Fd, to: Fd) -> Result<Fd> {
        let closer = Closer {
            pid: self.getpid(),
            border: self.kernel.border(),
        };
        self.inner
            .table
            .dup2(from, to, false, self.inner.open_files(), &closer)
    }

    /// As [`dup2`](Self::dup2), with close-on-exec.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` when they are equal.
    pub fn dup3(&self, from: Fd, to: Fd, close_on_exec: bool) -> Result<Fd> {
        if from == to {
            return Err(Errno::EINVAL);
        }
        let closer = Closer {
            pid: self.getpid(),
            border: self.kernel.border(),
        };
        self.inner
            .table
            .dup2(from, to, close_on_exec, self.inner.open_files(), &closer)
    }

    /// Whether exec closes the descriptor (`F_GETFD`).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn close_on_exec(&self, fd: Fd) -> Result<bool> {
        self.inner.table.close_on_exec(fd)
    }

    /// Sets whether exec closes the descriptor (`F_SETFD`).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_close_on_exec(&self, fd: Fd, on: bool) -> Result<()> {
        self.inner.table.set_close_on_exec(fd, on)
    }

    /// How the file was opened (`F_GETFL`).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn status_flags(&self, fd: Fd) -> Result<OpenFlags> {
        self.fd_file(fd).map(|open| open.flags())
    }

    /// Sets append, non-blocking and synchronous mode (`F_SETFL`).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_status_flags(&self, fd: Fd, flags: OpenFlags) -> Result<()> {
        self.fd_file(fd).map(|open| open.set_flags(flags))
    }
}

/// Bytes of all buffers of a call.
fn total(lens: impl Iterator<Item = usize>) -> Result<u64> {
    let mut sum = 0u64;
    for len in lens {
        sum = sum.checked_add(len as u64).ok_or(Errno::EINVAL)?;
    }
    if sum > TRANSFER_MAX {
        Err(Errno::EINVAL)
    } else {
        Ok(sum)
    }
}

fn relative(base: u64, by: i64) -> Result<u64> {
    base.checked_add_signed(by).ok_or(if by < 0 {
        Errno::EINVAL
    } else {
        Errno::EOVERFLOW
    })
}
