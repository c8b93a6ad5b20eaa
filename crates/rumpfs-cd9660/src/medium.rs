//! Reading structures of the medium by byte, through a cache.

use crate::{
    error::{Place, Result, at},
    types::{index, number},
};
use alloc::{sync::Arc, vec, vec::Vec};
use rumpbio::{BufData, Volume, VolumeOptions};
use rumpuser::{BlockDevice, Threads};

/// Bytes that are read and kept together: mastering programs put all directories in one place.
const CHUNK: u32 = 16 << 10;

/// What the cache takes at most, in bytes. Directories are read through once and seldom again, and the device's own cache is near: memory that
/// is new each time costs more than what a larger cache would save.
const CACHE: usize = 512 << 10;

/// The volume's metadata.
pub(crate) struct Medium {
    device: Arc<dyn BlockDevice>,
    /// In chunks.
    volume: Arc<Volume>,
    block_bits: u32,
}

impl Medium {
    /// A medium with logical blocks of `block_size` bytes, a power of two, no more than a chunk.
    ///
    /// # Errors
    /// The device has no room for a block.
    pub(crate) fn new(
        device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
        block_size: u16,
    ) -> rumpuser::Result<Self> {
        let options = VolumeOptions {
            block_size: CHUNK,
            cache_bytes: cache_bytes.min(CACHE),
        };
        Ok(Self {
            volume: Volume::new(device.clone(), threads, options)?,
            block_bits: block_size.trailing_zeros(),
            device,
        })
    }

    /// Bytes in a logical block.
    pub(crate) fn block_size(&self) -> u64 {
        1_u64.wrapping_shl(self.block_bits)
    }

    /// Byte where a logical block begins.
    pub(crate) fn byte_of(&self, block: u32) -> u64 {
        u64::from(block).wrapping_shl(self.block_bits)
    }

    /// The byte `byte` with what is around it, its logical block at least, and where in that it is.
    pub(crate) fn around(&self, byte: u64, place: Place) -> Result<(BufData, usize)> {
        let chunk = byte.wrapping_shr(CHUNK.trailing_zeros());
        let within = |size: u64| index(byte & size.wrapping_sub(1));
        if chunk < self.volume.blocks()
            && let Ok(buf) = self.volume.read(chunk)
        {
            return Ok((buf.data(), within(CHUNK.into())));
        }
        // At the end of the medium, or beside what cannot be read.
        let size = self.block_size();
        let mut block = vec![0; index(size)];
        let first = byte & !size.wrapping_sub(1);
        self.device.read_at(first, &mut block).map_err(at(place))?;
        Ok((block.into(), within(size)))
    }

    /// Appends `len` bytes from `byte` on to `to`.
    pub(crate) fn append(
        &self,
        mut byte: u64,
        len: usize,
        place: Place,
        to: &mut Vec<u8>,
    ) -> Result<()> {
        let mut left = len;
        while left > 0 {
            let (data, within) = self.around(byte, place)?;
            let part = data.get(within..).unwrap_or_default();
            let part = part.get(..left).unwrap_or(part);
            to.extend_from_slice(part);
            left = left.saturating_sub(part.len());
            byte = byte.saturating_add(number(part.len()));
        }
        Ok(())
    }
}
