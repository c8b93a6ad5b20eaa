//! A range of a device as a device of its own.

use alloc::sync::Arc;
use core::any::Any;
use rumpuser::{BlockDevice, Errno, Result};

/// The bytes `start .. start + len` of another device.
///
/// Every access is checked against the range before the device below sees it.
#[derive(Clone)]
pub struct Window {
    device: Arc<dyn BlockDevice>,
    start: u64,
    len: u64,
    read_only: bool,
}

impl Window {
    /// A window on `device`, read-only if the device is.
    ///
    /// # Errors
    /// `ENXIO` if the range passes the end of the device.
    pub fn new(device: Arc<dyn BlockDevice>, start: u64, len: u64) -> Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= device.len() => {}
            _ => return Err(Errno::ENXIO),
        }
        let read_only = device.read_only();
        Ok(Self {
            device,
            start,
            len,
            read_only,
        })
    }

    /// The same window, refusing writes.
    #[must_use]
    pub fn into_read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    /// Where the window begins on the device below, in bytes.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The offset on the device below of a range that lies within the window.
    fn locate(&self, offset: u64, len: u64) -> Result<u64> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => self.start.checked_add(offset).ok_or(Errno::EIO),
            _ => Err(Errno::EIO),
        }
    }

    fn locate_write(&self, offset: u64, len: u64) -> Result<u64> {
        if self.read_only {
            return Err(Errno::EROFS);
        }
        self.locate(offset, len)
    }
}

impl core::fmt::Debug for Window {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Window")
            .field("start", &self.start)
            .field("len", &self.len)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// The length of all parts together; `EIO` if no device can be that long.
fn total(lens: impl Iterator<Item = usize>) -> Result<u64> {
    let mut lens = lens.map(|len| u64::try_from(len).unwrap_or(u64::MAX));
    lens.try_fold(0, u64::checked_add).ok_or(Errno::EIO)
}

impl BlockDevice for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let at = self.locate(offset, total([buf.len()].into_iter())?)?;
        self.device.read_at(at, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        let at = self.locate(offset, total(bufs.iter().map(|buf| buf.len()))?)?;
        self.device.read_vectored_at(at, bufs)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let at = self.locate_write(offset, total([data.len()].into_iter())?)?;
        self.device.write_at(at, data)
    }

    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        let at = self.locate_write(offset, total(data.iter().map(|part| part.len()))?)?;
        self.device.write_vectored_at(at, data)
    }

    fn flush(&self) -> Result<()> {
        self.device.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let at = self.locate_write(offset, len)?;
        self.device.discard(at, len)
    }

    fn host_window(&self, offset: u64) -> Option<(&dyn Any, u64)> {
        self.device.host_window(self.locate(offset, 0).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ram::Ram;
    use alloc::vec;

    fn window() -> (Arc<Ram>, Window) {
        let disk = Arc::new(Ram::new(vec![0; 4096]));
        let window = Window::new(disk.clone(), 1024, 512).unwrap();
        (disk, window)
    }

    #[test]
    fn offsets_are_shifted() {
        let (disk, window) = window();
        window.write_at(10, b"abc").unwrap();
        window.write_vectored_at(13, &[b"d", b"ef"]).unwrap();
        let mut buf = [0; 6];
        disk.read_at(1034, &mut buf).unwrap();
        assert_eq!(&buf, b"abcdef");
        let (mut one, mut two) = ([0; 2], [0; 2]);
        window
            .read_vectored_at(11, &mut [&mut one, &mut two])
            .unwrap();
        assert_eq!((&one, &two), (b"bc", b"de"));
        let (object, at) = window.host_window(5).unwrap();
        assert!(object.is::<Ram>());
        assert_eq!(at, 1029);
        assert!(window.host_window(513).is_none());
    }

    #[test]
    fn nothing_outside_is_reached() {
        let (_, window) = window();
        for offset in [509, 512, u64::MAX - 2000, u64::MAX] {
            assert_eq!(window.read_at(offset, &mut [0; 4]), Err(Errno::EIO));
            assert_eq!(window.write_at(offset, &[0; 4]), Err(Errno::EIO));
            assert_eq!(window.discard(offset, 4), Err(Errno::EIO));
            let bufs: &mut [&mut [u8]] = &mut [&mut [0; 2], &mut [0; 2]];
            assert_eq!(window.read_vectored_at(offset, bufs), Err(Errno::EIO));
            assert_eq!(
                window.write_vectored_at(offset, &[&[0; 2], &[0; 2]]),
                Err(Errno::EIO)
            );
        }
        assert_eq!(window.read_at(512, &mut []), Ok(()));
    }

    #[test]
    fn range_must_lie_on_the_device() {
        let disk = Arc::new(Ram::new(vec![0; 4096]));
        assert!(Window::new(disk.clone(), 4096, 0).is_ok());
        assert_eq!(
            Window::new(disk.clone(), 4096, 1).unwrap_err(),
            Errno::ENXIO
        );
        assert_eq!(Window::new(disk, u64::MAX, 2).unwrap_err(), Errno::ENXIO);
    }

    #[test]
    fn read_only_window_on_a_writable_device() {
        let (_, window) = window();
        assert!(!window.read_only());
        let window = window.into_read_only();
        assert!(window.read_only());
        assert_eq!(window.write_at(0, &[1]), Err(Errno::EROFS));
        assert_eq!(window.write_vectored_at(0, &[&[1]]), Err(Errno::EROFS));
        assert_eq!(window.discard(0, 1), Err(Errno::EROFS));
    }
}
