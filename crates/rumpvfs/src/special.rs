//! What is behind the nodes that show an object of the host when they are opened: its bytes, uncached.

use crate::{calls::EtfsType, vfs::Vfs, vnode::VnodeRef};
use alloc::sync::Arc;
use core::any::Any;
use rumpkern::{
    File, Position, Stat,
    file::{Ready, Seekable},
    types::DeviceNumber,
};
use rumpuser::{BlockDevice, Errno, Result};

/// An object of the host, open.
pub(crate) struct DeviceFile {
    pub(crate) node: VnodeRef,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) number: DeviceNumber,
    pub(crate) kind: EtfsType,
    pub(crate) device: Arc<dyn BlockDevice>,
}

impl Drop for DeviceFile {
    fn drop(&mut self) {
        self.vfs.devices.lock().closed(self.number);
    }
}

/// Changes the size of a regular file that shows an object of the host.
///
/// # Errors
/// `EOPNOTSUPP` where its size is what it is, `EROFS`, and what the host gives.
pub(crate) fn truncate(node: &VnodeRef, size: u64) -> Result<()> {
    node.mount.writable()?;
    // Writes that find the end wait meanwhile.
    let inode = node.exclusive()?;
    let shown = node.extra.lock().host.clone();
    let (_, device) = shown.ok_or(Errno::ENXIO)?;
    if device.len() != size {
        device.set_len(size)?;
    }
    drop(inode);
    node.data_changed(node.mount.now());
    Ok(())
}

impl DeviceFile {
    /// Of `len` bytes at `offset` those that the device has.
    fn clip(&self, offset: u64, len: usize) -> usize {
        let room = self.device.len().saturating_sub(offset);
        usize::try_from(room).map_or(len, |room| room.min(len))
    }

    /// Whether a raw device takes such a transfer: whole sectors.
    ///
    /// # Errors
    /// `EINVAL`.
    fn check_raw(&self, at: Position, mut lens: impl Iterator<Item = usize>) -> Result<()> {
        let whole = |bytes: u64| bytes.is_multiple_of(u64::from(self.device.sector_size()));
        match (self.kind, at) {
            (EtfsType::Character, Position::At(offset))
                if !whole(offset) || !lens.all(|len| whole(len as u64)) =>
            {
                Err(Errno::EINVAL)
            }
            _ => Ok(()),
        }
    }

    /// Writes within the size that the object has; a short count, or `ENOSPC`, past it.
    fn write_within(&self, start: u64, bufs: &[&[u8]]) -> Result<(usize, u64)> {
        let mut offset = start;
        let mut done = 0;
        for buf in bufs {
            let len = self.clip(offset, buf.len());
            if len == 0 && !buf.is_empty() && done == 0 {
                return Err(Errno::ENOSPC);
            }
            if len == 0 {
                continue;
            }
            self.device.write_at(offset, &buf[..len])?;
            done += len;
            offset += len as u64;
        }
        Ok((done, offset))
    }

    /// Writes to a regular file, which grows if the host lets it.
    fn write_regular(&self, at: Position, bufs: &[&[u8]]) -> Result<(usize, u64)> {
        let inode = self.node.exclusive()?;
        let size = self.device.len();
        let start = match at {
            Position::At(offset) => offset,
            Position::Append => size,
        };
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        if len == 0 {
            return Ok((0, start));
        }
        let end = start.checked_add(len as u64).ok_or(Errno::EFBIG)?;
        let grown = end > size
            && match self.device.set_len(end) {
                Ok(()) => true,
                // As much as fits, as on a device.
                Err(Errno::EOPNOTSUPP) => false,
                Err(error) => return Err(error),
            };
        let result = self.write_within(start, bufs);
        if grown && result.is_err() {
            // The error of the write counts; what it left past the old end is zeros at worst.
            let _ = self.device.set_len(size);
        }
        drop(inode);
        let done = result?;
        self.node.data_changed(self.node.mount.now());
        Ok(done)
    }
}

impl File for DeviceFile {
    fn read(&self, at: Position, bufs: &mut [&mut [u8]], _nonblock: bool) -> Result<usize> {
        self.check_raw(at, bufs.iter().map(|b| b.len()))?;
        // The size of a regular file stays meanwhile.
        let _inode = match self.kind {
            EtfsType::Regular => Some(self.node.shared()?),
            EtfsType::Block | EtfsType::Character => None,
        };
        let mut offset = match at {
            Position::At(offset) => offset,
            Position::Append => self.device.len(),
        };
        let mut done = 0;
        for buf in bufs {
            let len = self.clip(offset, buf.len());
            if len == 0 {
                continue;
            }
            self.device.read_at(offset, &mut buf[..len])?;
            done += len;
            offset += len as u64;
        }
        Ok(done)
    }

    fn write(&self, at: Position, bufs: &[&[u8]], _nonblock: bool) -> Result<(usize, u64)> {
        self.check_raw(at, bufs.iter().map(|b| b.len()))?;
        match (self.kind, at) {
            (EtfsType::Regular, _) => self.write_regular(at, bufs),
            (_, Position::At(offset)) => self.write_within(offset, bufs),
            (_, Position::Append) => self.write_within(self.device.len(), bufs),
        }
    }

    fn truncate(&self, size: u64) -> Result<()> {
        match self.kind {
            EtfsType::Regular => truncate(&self.node, size),
            EtfsType::Block | EtfsType::Character => Err(Errno::EINVAL),
        }
    }

    fn stat(&self) -> Result<Stat> {
        self.node.stat()
    }

    fn seek(&self) -> Option<&dyn Seekable> {
        Some(self)
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        self.device.flush()
    }

    fn poll(&self) -> Ready {
        Ready::IN | Ready::OUT
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Seekable for DeviceFile {
    fn size(&self) -> Result<u64> {
        Ok(self.device.len())
    }

    fn data(&self, from: u64) -> Result<u64> {
        if from < self.device.len() {
            Ok(from)
        } else {
            Err(Errno::ENXIO)
        }
    }

    fn hole(&self, from: u64) -> Result<u64> {
        self.data(from).map(|_| self.device.len())
    }
}
