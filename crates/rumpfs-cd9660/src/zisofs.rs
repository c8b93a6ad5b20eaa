//! Transparent compression (zisofs, version 1): a header, offsets of the blocks, and the blocks, each a zlib stream.

use crate::{
    error::{Error, Place, Result, at},
    inode::{Section, Sections},
    layout::{RawZf, RawZisofsHeader, ZISOFS_MAGIC},
    types::{index, number},
    volume::Iso,
};
use alloc::{vec, vec::Vec};
use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress, inflate_flags},
};
use rumpuser::Errno;
use zerocopy::{FromBytes, little_endian::U32};

/// Bytes that deflate may add to a block that does not compress, many times over.
const SLACK: u64 = 4096;

/// How a file is compressed.
#[derive(Debug)]
pub struct Compressed {
    /// Bytes when decompressed.
    pub size: u64,
    block_bits: u32,
    header_len: u64,
    sections: Sections,
}

impl Compressed {
    /// From the entry `ZF`; `None` if it is an algorithm or a size that is not known.
    pub(crate) fn new(zf: &RawZf, sections: Sections) -> Option<Self> {
        let known = zf.algorithm == *b"pz" && (15..=17).contains(&zf.block_size);
        known.then(|| Self {
            size: u64::from(zf.size.get()),
            block_bits: u32::from(zf.block_size),
            header_len: u64::from(zf.header_size).saturating_mul(4),
            sections,
        })
    }

    /// Bytes on the medium.
    pub(crate) fn packed_len(&self) -> u64 {
        let last = self.sections.last();
        last.map_or(0, |last| last.offset.saturating_add(last.len))
    }

    /// Decompressed bytes of a block.
    fn block_size(&self) -> u64 {
        1_u64.wrapping_shl(self.block_bits)
    }
}

impl Iso {
    /// Fills `buf` with the file's decompressed bytes from `offset` on; past its end with zeros. `ino` is for messages.
    pub(crate) fn read_compressed(
        &self,
        ino: u64,
        file: &Compressed,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        self.check_header(ino, file)?;
        let size = file.block_size();
        let (mut decompressor, mut packed) = (DecompressorOxide::new(), Vec::new());
        let mut block = vec![0; index(size)];
        let mut position = offset;
        let mut rest = buf;
        while !rest.is_empty() && position < file.size {
            let number = position.wrapping_shr(file.block_bits);
            let start = number.wrapping_shl(file.block_bits);
            self.read_packed(ino, file, number, &mut packed)?;
            let len = size.min(file.size.saturating_sub(start));
            let whole = block.get_mut(..index(len)).unwrap_or_default();
            unpack(&mut decompressor, &packed, whole).ok_or_else(|| damaged(ino, number))?;
            let from = whole.get(index(position.saturating_sub(start))..);
            let from = from.unwrap_or_default();
            let count = from.len().min(rest.len());
            let (to, after) = rest.split_at_mut(count);
            to.copy_from_slice(from.get(..count).unwrap_or_default());
            rest = after;
            position = position.saturating_add(crate::types::number(count));
        }
        rest.fill(0);
        Ok(())
    }

    fn check_header(&self, ino: u64, file: &Compressed) -> Result<()> {
        let mut bytes = [0; size_of::<RawZisofsHeader>()];
        self.read_sections(ino, &file.sections, 0, &mut bytes)?;
        let place = Place::Data(ino);
        let raw = RawZisofsHeader::read_from_bytes(&bytes);
        let raw = raw.map_err(|_| Error::Device(place, Errno::EIO))?;
        if raw.magic != ZISOFS_MAGIC {
            let found = u64::from_be_bytes(raw.magic);
            return Err(Error::value(
                place,
                "zisofs magic",
                found,
                "37e45396c9dbd607",
            ));
        }
        let agrees = u64::from(raw.size.get()) == file.size
            && u64::from(raw.header_size).saturating_mul(4) == file.header_len
            && u32::from(raw.block_size) == file.block_bits;
        if agrees {
            Ok(())
        } else {
            let found = raw.size.get();
            Err(Error::value(
                place,
                "zisofs header",
                found,
                "the same as ZF",
            ))
        }
    }

    /// The compressed bytes of a block; none for a block of zeros.
    fn read_packed(
        &self,
        ino: u64,
        file: &Compressed,
        number: u64,
        to: &mut Vec<u8>,
    ) -> Result<()> {
        let mut bytes = [0; 8];
        let pointer = file.header_len.saturating_add(number.saturating_mul(4));
        self.read_sections(ino, &file.sections, pointer, &mut bytes)?;
        let [start, end] = <[U32; 2]>::read_from_bytes(&bytes)
            .map_err(|_| damaged(ino, number))?
            .map(|offset| u64::from(offset.get()));
        let most = file.block_size().saturating_add(SLACK);
        let len = end.checked_sub(start).filter(|len| *len <= most);
        to.resize(index(len.ok_or_else(|| damaged(ino, number))?), 0);
        self.read_sections(ino, &file.sections, start, to)
    }

    /// Fills `buf` with bytes of a file as they lie on the medium, in whatever sections.
    ///
    /// # Errors
    /// `EIO` past the end of the sections, and the device's.
    pub(crate) fn read_sections(
        &self,
        ino: u64,
        sections: &[Section],
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        let place = Place::Data(ino);
        let mut position = offset;
        let mut rest = buf;
        let from = sections
            .partition_point(|section| section.offset.saturating_add(section.len) <= offset);
        for section in sections.get(from..).unwrap_or_default() {
            if rest.is_empty() {
                break;
            }
            let skipped = position.saturating_sub(section.offset);
            let count = number(rest.len()).min(section.len.saturating_sub(skipped));
            let (part, after) = rest.split_at_mut(index(count));
            let byte = section.start.saturating_add(skipped);
            self.device.read_at(byte, part).map_err(at(place))?;
            rest = after;
            position = position.saturating_add(count);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(Error::value(place, "offset", position, "one in the file"))
        }
    }
}

fn damaged(ino: u64, block: u64) -> Error {
    Error::value(
        Place::Data(ino),
        "zisofs block",
        block,
        "one that decompresses",
    )
}

/// Decompresses a block to its full length.
fn unpack(decompressor: &mut DecompressorOxide, packed: &[u8], to: &mut [u8]) -> Option<()> {
    if packed.is_empty() {
        to.fill(0);
        return Some(());
    }
    decompressor.init();
    let flags = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, written) = decompress(decompressor, packed, to, 0, flags);
    (status == TINFLStatus::Done && written == to.len()).then_some(())
}
