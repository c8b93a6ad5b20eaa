//! The checksum of an inode.

use crate::{
    checksum::crc32c,
    error::{Error, Place, Result},
    inode::low16,
    layout::inode::{
        EXT4_GOOD_OLD_INODE_SIZE, I_CHECKSUM_HI_OFFSET, I_CHECKSUM_LO_OFFSET, RawInode,
        RawInodeExtra,
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

/// The stored and the computed checksum of an inode; `None` on volumes without. Inodes with no room for the high half
/// have 16 bits.
fn checksums(sb: &Superblock, ino: InodeNumber, bytes: &[u8]) -> Option<(u32, u32)> {
    /// What is copied to have its checksum taken as zero: all of a usual inode, in one piece.
    const START: usize = 256;
    if !sb.features.metadata_csum() {
        return None;
    }
    let (raw, rest) = RawInode::ref_from_prefix(bytes).ok()?;
    let extra = rest
        .first_chunk::<2>()
        .map_or(0, |field| u16::from_le_bytes(*field));
    let wide = sb.inode_size > EXT4_GOOD_OLD_INODE_SIZE && extra >= 4;
    let (start, more) = bytes.split_at(bytes.len().min(START));
    let mut copy = [0; START];
    let copy = copy.get_mut(..start.len())?;
    copy.copy_from_slice(start);
    copy.get_mut(I_CHECKSUM_LO_OFFSET..I_CHECKSUM_LO_OFFSET.saturating_add(2))?
        .fill(0);
    let mut stored = u32::from(raw.l_i_checksum_lo.get());
    if wide {
        let high = copy
            .get_mut(I_CHECKSUM_HI_OFFSET..)?
            .first_chunk_mut::<2>()?;
        stored |= u32::from(u16::from_le_bytes(*high)).wrapping_shl(16);
        *high = [0; 2];
    }
    let seed = csum_seed(sb, ino, raw.i_generation.get());
    let computed = crc32c(crc32c(seed, copy), more);
    Some((stored, if wide { computed } else { computed & 0xFFFF }))
}

/// Brings the checksum of the inode in `bytes`, which has the volume's inode size, up to date.
pub fn update_checksum(sb: &Superblock, ino: InodeNumber, bytes: &mut [u8]) {
    let Some((_, computed)) = checksums(sb, ino, bytes) else {
        return;
    };
    let Ok((raw, rest)) = RawInode::mut_from_prefix(bytes) else {
        return;
    };
    raw.l_i_checksum_lo.set(low16(computed));
    if let Ok((extra, _)) = RawInodeExtra::mut_from_prefix(rest)
        && extra.i_extra_isize.get() >= 4
    {
        extra.i_checksum_hi.set(low16(computed >> 16));
    }
}

/// Compares the stored checksum of an inode with the computed one.
pub(super) fn verify(sb: &Superblock, ino: InodeNumber, bytes: &[u8]) -> Result<()> {
    match checksums(sb, ino, bytes) {
        Some((stored, computed)) if stored != computed => Err(Error::Checksum {
            place: Place::Inode(ino),
            stored,
            computed,
        }),
        _ => Ok(()),
    }
}
