//! Reading structures of the medium by byte, through the buffer cache.

use crate::error::{Place, Result, at};
use alloc::{sync::Arc, vec::Vec};
use rumpbio::{BufData, Volume};

/// The volume's metadata in logical blocks.
pub(crate) struct Medium {
    volume: Arc<Volume>,
    block_bits: u32,
}

impl Medium {
    /// A medium whose blocks are those of `volume`.
    pub(crate) fn new(volume: Arc<Volume>) -> Self {
        Self {
            block_bits: volume.block_size().trailing_zeros(),
            volume,
        }
    }

    /// Bytes in a logical block.
    pub(crate) fn block_size(&self) -> u64 {
        u64::from(self.volume.block_size())
    }

    /// Byte where a logical block begins.
    pub(crate) fn byte_of(&self, block: u32) -> u64 {
        u64::from(block).wrapping_shl(self.block_bits)
    }

    /// The block with the byte `byte`, and where in the block it is.
    pub(crate) fn block(&self, byte: u64, place: Place) -> Result<(BufData, usize)> {
        let block = byte.wrapping_shr(self.block_bits);
        let buf = self.volume.read(block).map_err(at(place))?;
        Ok((buf.data(), self.within(byte)))
    }

    /// As [`block`](Self::block); if it is not cached, `len` bytes from `first` on are read with it.
    pub(crate) fn block_among(
        &self,
        byte: u64,
        first: u64,
        len: u64,
        place: Place,
    ) -> Result<(BufData, usize)> {
        let block = byte.wrapping_shr(self.block_bits);
        let count = u32::try_from(len.wrapping_shr(self.block_bits)).unwrap_or(u32::MAX);
        let first = first.wrapping_shr(self.block_bits);
        let buf = self.volume.read_among(block, first, count.max(1));
        Ok((buf.map_err(at(place))?.data(), self.within(byte)))
    }

    fn within(&self, byte: u64) -> usize {
        let mask = self.block_size().wrapping_sub(1);
        usize::try_from(byte & mask).unwrap_or(0)
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
            let (data, within) = self.block(byte, place)?;
            let part = data.get(within..).unwrap_or_default();
            let part = part.get(..left).unwrap_or(part);
            to.extend_from_slice(part);
            left = left.saturating_sub(part.len());
            byte = byte.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}
