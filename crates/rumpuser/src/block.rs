//! Block devices: the medium under a file system.

use crate::{Errno, Result};
use core::any::Any;

/// A medium of fixed-size sectors, addressed in bytes.
///
/// Offsets and lengths are in bytes and need not be aligned to the sector; a host that needs alignment does it itself.
/// Implementations are safe to call from many threads at once. A transfer is all or nothing for the caller: on
/// `Err` the content of `buf` (or of the range on the medium) is unspecified.
///
/// # Errors
/// All transfers: `EIO` on a medium error or a range that passes [`len`](Self::len); writes: `EROFS` when
/// [`read_only`](Self::read_only), `ENOSPC` when the host cannot store the data.
pub trait BlockDevice: Send + Sync {
    /// Size of the medium in bytes.
    fn len(&self) -> u64;

    /// Whether the medium has no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Logical sector size in bytes: the unit whose write is atomic on a power cut. A power of two, 512 or more.
    fn sector_size(&self) -> u32 {
        512
    }

    /// Whether writes are refused.
    fn read_only(&self) -> bool;

    /// Fills `buf` with the bytes at `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Fills several buffers with consecutive bytes from `offset` on, in one operation where the host can.
    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        let mut at = offset;
        for buf in bufs {
            self.read_at(at, buf)?;
            at = at.checked_add(buf.len() as u64).ok_or(Errno::EIO)?;
        }
        Ok(())
    }

    /// Writes `data` at `offset`. Durable only after [`flush`](Self::flush).
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()>;

    /// Writes several buffers to consecutive bytes from `offset` on, in one operation where the host can.
    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        let mut at = offset;
        for part in data {
            self.write_at(at, part)?;
            at = at.checked_add(part.len() as u64).ok_or(Errno::EIO)?;
        }
        Ok(())
    }

    /// Makes all writes that returned before durable. A barrier: nothing written later reaches the medium earlier.
    fn flush(&self) -> Result<()>;

    /// Tells that the content of a range is no longer needed; it may read back as anything.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the host has no such operation; callers go on without.
    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Changes the size of the medium; new bytes are zeros.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the size is what it is; `EROFS`; `EFBIG`, `ENOSPC`, `EIO` of the host.
    fn set_len(&self, _len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Where the byte at `offset` lies in a host object that the consumer can move data from itself, and that object
    /// (on posix: the host file and the offset in it). `None` if the medium is not such a plain window.
    fn host_window(&self, _offset: u64) -> Option<(&dyn Any, u64)> {
        None
    }
}
