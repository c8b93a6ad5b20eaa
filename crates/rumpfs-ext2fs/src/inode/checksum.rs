//! The checksum of an inode.

use crate::{
    checksum::crc32c,
    error::{Error, Place, Result},
    inode::low16,
    layout::inode::{
        EXT4_GOOD_OLD_INODE_SIZE, I_CHECKSUM_HI_OFFSET, I_CHECKSUM_LO_OFFSET, RawInode,
    },
    superblock::Superblock,
    types::InodeNumber,
};
use zerocopy::FromBytes;

/// Where the checksums of what belongs to an inode start.
#[must_use]
pub fn csum_seed(sb: &Superblock, ino: InodeNumber, generation: u32) -> u32 {
    let (both, ino) = (u64::from(generation).wrapping_shl(32), u64::from(ino.0));
    crc32c(sb.csum_seed, &(both | ino).to_le_bytes())
}

/// Whether an inode has room for the high half of its checksum.
fn is_wide(sb: &Superblock, bytes: &[u8]) -> bool {
    let extra = bytes
        .get(usize::from(EXT4_GOOD_OLD_INODE_SIZE)..)
        .and_then(|rest| rest.first_chunk::<2>())
        .map_or(0, |field| u16::from_le_bytes(*field));
    sb.inode_size > EXT4_GOOD_OLD_INODE_SIZE && extra >= 4
}

/// Puts a checksum into an inode; gives the one that was there. Inodes with no room for the high half have 16 bits.
fn replace(bytes: &mut [u8], wide: bool, checksum: u32) -> Option<u32> {
    let mut put = |offset: usize, half: u32| {
        let field = bytes.get_mut(offset..)?.first_chunk_mut::<2>()?;
        let before = core::mem::replace(field, low16(half).to_le_bytes());
        Some(u32::from(u16::from_le_bytes(before)))
    };
    let low = put(I_CHECKSUM_LO_OFFSET, checksum)?;
    let high = match wide {
        true => put(I_CHECKSUM_HI_OFFSET, checksum >> 16)?,
        false => 0,
    };
    Some(low | high.wrapping_shl(16))
}

/// Brings the checksum of the inode in `bytes`, which has the volume's inode size, up to date. `seed` is its [`csum_seed`].
pub(super) fn seal(sb: &Superblock, seed: u32, bytes: &mut [u8]) {
    if !sb.features.metadata_csum() {
        return;
    }
    // The checksum itself counts as zero.
    let wide = is_wide(sb, bytes);
    if replace(bytes, wide, 0).is_some() {
        let computed = crc32c(seed, bytes);
        replace(bytes, wide, computed);
    }
}

/// Brings the checksum of the inode in `bytes` up to date, of which the number is known alone.
pub fn update_checksum(sb: &Superblock, ino: InodeNumber, bytes: &mut [u8]) {
    if let Ok((raw, _)) = RawInode::ref_from_prefix(bytes) {
        let seed = csum_seed(sb, ino, raw.i_generation.get());
        seal(sb, seed, bytes);
    }
}

/// Compares the stored checksum of an inode with the computed one.
pub(super) fn verify(sb: &Superblock, ino: InodeNumber, bytes: &[u8]) -> Result<()> {
    /// What is copied to have its checksum taken as zero: all of a usual inode, in one piece.
    const START: usize = 256;
    if !sb.features.metadata_csum() {
        return Ok(());
    }
    let (start, more) = bytes.split_at(bytes.len().min(START));
    let mut copy = [0; START];
    let Some(copy) = copy.get_mut(..start.len()) else {
        return Ok(());
    };
    copy.copy_from_slice(start);
    let wide = is_wide(sb, bytes);
    let (Ok((raw, _)), Some(stored)) = (RawInode::ref_from_prefix(bytes), replace(copy, wide, 0))
    else {
        return Ok(());
    };
    let computed = crc32c(
        crc32c(csum_seed(sb, ino, raw.i_generation.get()), copy),
        more,
    );
    let computed = if wide { computed } else { computed & 0xFFFF };
    if stored == computed {
        return Ok(());
    }
    Err(Error::Checksum {
        place: Place::Inode(ino),
        stored,
        computed,
    })
}
