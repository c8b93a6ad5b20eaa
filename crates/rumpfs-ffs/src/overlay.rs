//! A device as it would be after the journal was written home.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, Ordering},
};
use rumpuser::{BlockDevice, Errno, Result};

/// Logarithm of the bytes of a sector, the unit of addresses in the journal.
pub(crate) const SECTOR_BITS: u32 = 9;

/// A device with some sectors replaced by what other bytes of it hold. It cannot be written until these are [home](Self::settle).
pub(crate) struct Overlay {
    base: Arc<dyn BlockDevice>,
    /// Sector and the byte of its image, in order.
    sectors: Box<[(u64, u64)]>,
    settled: AtomicBool,
}

impl Overlay {
    pub(crate) fn new(base: Arc<dyn BlockDevice>, images: BTreeMap<u64, u64>) -> Self {
        Self {
            base,
            sectors: images.into_iter().collect(),
            settled: AtomicBool::new(false),
        }
    }

    /// The device below.
    pub(crate) fn base(&self) -> &dyn BlockDevice {
        &*self.base
    }

    /// From now on the device below is what is read and written: every image has been written home.
    pub(crate) fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }

    /// The device below, if it has all by now.
    fn settled(&self) -> Option<&dyn BlockDevice> {
        self.settled.load(Ordering::Acquire).then_some(&*self.base)
    }
}

impl BlockDevice for Overlay {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn sector_size(&self) -> u32 {
        self.base.sector_size()
    }

    fn read_only(&self) -> bool {
        self.settled().is_none_or(BlockDevice::read_only)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.base.read_at(offset, buf)?;
        if self.settled().is_some() {
            return Ok(());
        }
        let len = u64::try_from(buf.len()).map_err(|_| Errno::EIO)?;
        let end = offset.checked_add(len).ok_or(Errno::EIO)?;
        let first = offset.wrapping_shr(SECTOR_BITS);
        let from = self.sectors.partition_point(|(sector, _)| *sector < first);
        for (sector, image) in self.sectors.get(from..).unwrap_or_default() {
            let start = sector.wrapping_shl(SECTOR_BITS);
            if start >= end {
                break;
            }
            // The part of the sector that was asked for.
            let skipped = offset.saturating_sub(start);
            let stop = end.min(start.saturating_add(1 << SECTOR_BITS));
            let at = start.saturating_add(skipped);
            let to = |byte: u64| usize::try_from(byte.saturating_sub(offset));
            let (Ok(at), Ok(stop)) = (to(at), to(stop)) else {
                return Err(Errno::EIO);
            };
            if let Some(part) = buf.get_mut(at..stop) {
                let image = image.checked_add(skipped).ok_or(Errno::EIO)?;
                self.base.read_at(image, part)?;
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let base = self.settled().ok_or(Errno::EROFS)?;
        base.write_at(offset, data)
    }

    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        let base = self.settled().ok_or(Errno::EROFS)?;
        base.write_vectored_at(offset, data)
    }

    fn flush(&self) -> Result<()> {
        self.settled().map_or(Ok(()), BlockDevice::flush)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let base = self.settled().ok_or(Errno::EROFS)?;
        base.discard(offset, len)
    }

    fn host_window(&self, offset: u64) -> Option<(&dyn Any, u64)> {
        self.settled()?.host_window(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use rumpuser_sim::MemDisk;

    #[test]
    fn replaced_sectors_show_at_every_offset() {
        let bytes: Vec<u8> = (0..4_u8).flat_map(|n| [n; 512]).collect();
        let base = Arc::new(MemDisk::from_bytes(&bytes));
        let overlay = Overlay::new(base, BTreeMap::from([(1, 1536)]));
        let mut expected = bytes.clone();
        expected[512..1024].fill(3);
        for (from, to) in [
            (0, 2048),
            (511, 513),
            (600, 700),
            (512, 1024),
            (1000, 1100),
            (0, 1),
        ] {
            let mut buf = vec![9; to - from];
            overlay.read_at(from as u64, &mut buf).unwrap();
            assert_eq!(buf, expected[from..to], "{from}..{to}");
        }
        assert_eq!(overlay.write_at(0, &[1]), Err(Errno::EROFS));
        assert!(overlay.read_only());
        overlay.settle();
        overlay.write_at(512, &[7]).unwrap();
        let mut buf = [9; 2];
        overlay.read_at(512, &mut buf).unwrap();
        assert_eq!((buf, overlay.read_only()), ([7, 1], false));
    }
}
