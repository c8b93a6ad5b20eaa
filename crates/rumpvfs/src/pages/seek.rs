//! Where a file has data.

use super::FilePages;
use crate::{
    calls::FileExtent,
    erased::{AnyFileSystem, AnyInode},
    fs::Place,
};
use alloc::vec::Vec;
use rumpuser::{Errno, Result};

impl FilePages {
    /// Offset of the first data at or after `from`. The inode is locked shared, and `size` is its size.
    ///
    /// # Errors
    /// `ENXIO` when there is none; `EIO`.
    pub fn seek_data(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &AnyInode,
        size: u64,
        from: u64,
    ) -> Result<u64> {
        self.seek(fs, inode, size, from, true)?.ok_or(Errno::ENXIO)
    }

    /// Offset of the first hole at or after `from`; the end of the file counts as one. The inode is locked shared, and
    /// `size` is its size.
    ///
    /// # Errors
    /// `ENXIO` when `from` is not below `size`; `EIO`.
    pub fn seek_hole(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &AnyInode,
        size: u64,
        from: u64,
    ) -> Result<u64> {
        if from >= size {
            return Err(Errno::ENXIO);
        }
        Ok(self.seek(fs, inode, size, from, false)?.unwrap_or(size))
    }

    /// The first place at or after `from` that is data (or is not). A dirty page's blocks are allocated and count as
    /// written, so the driver's map tells it all.
    fn seek(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &AnyInode,
        size: u64,
        from: u64,
        data: bool,
    ) -> Result<Option<u64>> {
        let size = size.min(i64::MAX as u64);
        let mut at = from;
        while at < size {
            let (place, end) = self.piece(fs, inode, size, at)?;
            if data != matches!(place, Place::Hole | Place::Unwritten(_)) {
                return Ok(Some(at));
            }
            at = end;
        }
        Ok(None)
    }

    /// What holds for the byte at `at`, and the end of the piece that it holds for.
    fn piece(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &AnyInode,
        size: u64,
        at: u64,
    ) -> Result<(Place, u64)> {
        let start = self.inner.geometry.block_floor(at);
        let extent = fs.map(inode, start, size - start)?;
        let end = start.saturating_add(extent.len).min(size);
        if end <= at {
            return Err(Errno::EIO);
        }
        let skip = at - start;
        let place = match extent.place {
            Place::Device(device) => Place::Device(device.checked_add(skip).ok_or(Errno::EIO)?),
            other => other,
        };
        Ok((place, end))
    }

    /// Where the data in `offset .. offset + len` lies, holes left out, after writing what is dirty. The inode is locked
    /// shared, and `size` is its size.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    pub fn extents(
        &self,
        fs: &dyn AnyFileSystem,
        inode: &AnyInode,
        size: u64,
        offset: u64,
        len: u64,
    ) -> Result<Vec<FileExtent>> {
        self.flush()?;
        let size = size.min(i64::MAX as u64);
        let end = offset.saturating_add(len).min(size);
        let mut extents: Vec<FileExtent> = Vec::new();
        let mut at = offset;
        while at < end {
            let (place, to) = self.piece(fs, inode, size, at)?;
            let len = to.min(end) - at;
            let device = match place {
                Place::Hole | Place::Unwritten(_) => {
                    at = to;
                    continue;
                }
                Place::Device(device) => Some(device),
                Place::Opaque | Place::Resident => None,
            };
            let joins = |last: &FileExtent| {
                last.offset + last.len == at
                    && last.device.and_then(|d| d.checked_add(last.len)) == device
            };
            match extents.last_mut() {
                Some(last) if joins(last) => last.len += len,
                _ => extents.push(FileExtent {
                    offset: at,
                    len,
                    device,
                }),
            }
            at = to;
        }
        Ok(extents)
    }
}
