//! What a descriptor refers to.

use crate::{Proc, Stat};
use alloc::sync::Arc;
use core::any::Any;
use rumpuser::{Errno, Result};

/// Where a transfer takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At a byte offset.
    At(u64),
    /// At the end of the file, found and extended in one step.
    Append,
}

bitflags::bitflags! {
    /// Readiness, as `poll` reports it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Ready: u16 {
        /// Reading does not wait.
        const IN = 1;
        /// Urgent data has come (`POLLPRI`).
        const PRI = 2;
        /// Writing does not wait.
        const OUT = 4;
        /// An error is pending.
        const ERR = 8;
        /// The other end is gone.
        const HUP = 16;
    }
}

/// An object behind a descriptor: an open vnode, a pipe's end, a socket.
///
/// Offsets, the append flag and the open mode live in the open file description of `rumpkern`, which checks them before
/// it calls; a stream ignores the position. Short counts are normal only at the end of a file or stream.
pub trait File: Any + Send + Sync {
    /// Reads into consecutive buffers; returns the bytes read, 0 at the end.
    ///
    /// # Errors
    /// `EISDIR` on a directory, `EAGAIN` when `nonblock` and nothing is there, `EIO`.
    fn read(&self, at: Position, bufs: &mut [&mut [u8]], nonblock: bool) -> Result<usize>;

    /// Writes consecutive buffers; returns the bytes written and the offset after them.
    ///
    /// # Errors
    /// `EFBIG`, `ENOSPC`, `EDQUOT`, `EPIPE`, `EAGAIN`, `EIO`. An error after some bytes were written is reported by the
    /// next call; this one returns the short count.
    fn write(&self, at: Position, bufs: &[&[u8]], nonblock: bool) -> Result<(usize, u64)>;

    /// The same in the name of a process: for what tells others who wrote.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_by(
        &self,
        _writer: &Proc,
        at: Position,
        bufs: &[&[u8]],
        nonblock: bool,
    ) -> Result<(usize, u64)> {
        self.write(at, bufs, nonblock)
    }

    /// Attributes.
    ///
    /// # Errors
    /// `EIO`.
    fn stat(&self) -> Result<Stat>;

    /// Size for `SEEK_END` and the answers to `SEEK_DATA` and `SEEK_HOLE`; `None` for what cannot seek.
    fn seek(&self) -> Option<&dyn Seekable> {
        None
    }

    /// Changes the size.
    ///
    /// # Errors
    /// `EINVAL` for what has no size, `EFBIG`, `EIO`, `EROFS`.
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// Makes data (and, unless `data_only`, attributes) durable.
    ///
    /// # Errors
    /// `EINVAL` for what cannot be synchronised, `EIO` including one of an earlier delayed write.
    fn sync(&self, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// Readiness now.
    fn poll(&self) -> Ready {
        Ready::IN | Ready::OUT
    }

    /// The last descriptor of this open file description is closed. Errors of delayed writes show here.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`; the descriptor is gone all the same.
    fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Any descriptor of process `pid` that refers to this file is closed: POSIX record locks of the process end. No process has
    /// number 0: then it is one in a message.
    fn closing(&self, _pid: u32) {}

    /// Itself, for the faction that made it.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Files with a size.
pub trait Seekable {
    /// Size in bytes.
    ///
    /// # Errors
    /// `EIO`.
    fn size(&self) -> Result<u64>;
    /// Offset of the first data at or after `from`; `ENXIO` when there is none.
    ///
    /// # Errors
    /// `ENXIO`, `EIO`.
    fn data(&self, from: u64) -> Result<u64>;
    /// Offset of the first hole at or after `from`, the end of the file counting as one; `ENXIO` when `from` is past it.
    ///
    /// # Errors
    /// `ENXIO`, `EIO`.
    fn hole(&self, from: u64) -> Result<u64>;
}
