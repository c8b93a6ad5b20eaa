//! The superblock where no log protects it, whole after a power cut at any point.
//!
//! A superblock takes two sectors of 512 bytes. Its checksum is in the second and covers the first, so a write that a power cut
//! stops between the two leaves one that cannot be trusted. While the log is in use that does no harm: the log has the block, too.
//! But a mount for writing begins and ends with a write of the superblock alone, while the log is empty: it sets or
//! clears `needs_recovery`. Before such a write the new superblock is put in the first block of the empty log, and flushed. Nobody reads
//! that block there, as the journal's superblock says that the log is empty; the first transaction writes over it.
//!
//! Who finds a wrong checksum looks there. The copy is the one that was being written, and not one of long ago, if one of the two
//! sectors is the same.

use crate::{
    error::{Error, Place, Result, at},
    features::{Compat, Features, Incompat},
    fs::Ext2fs,
    journal::{Journal, OverlayDevice, Spare},
    layout::superblock::{RawSuperblock, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE},
    superblock::Superblock,
};
use alloc::sync::Arc;
use rumpuser::{BlockDevice, Threads};
use zerocopy::IntoBytes;

/// What the kernel's messages say when a copy is used.
pub(crate) const TORN: &str =
    "the superblock was being written when the power went: taken from its copy in the journal";

/// The unit that a medium writes whole or not at all.
const SECTOR: usize = 512;

type Bytes = [u8; SUPERBLOCK_SIZE];

/// A volume as it is found before its journal is replayed.
pub(crate) struct Found {
    /// The volume.
    pub(crate) fs: Ext2fs,
    /// The superblock that belongs in the place of the torn one on the medium, if the journal's replay does not put it there.
    torn: Option<Bytes>,
}

impl From<Ext2fs> for Found {
    fn from(fs: Ext2fs) -> Self {
        Self { fs, torn: None }
    }
}

impl Found {
    /// Whether the superblock on the medium is torn, and its copy is used.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn.is_some()
    }

    /// Writes the whole superblock over the torn one, and flushes.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(crate) fn mend(&self, device: &dyn BlockDevice) -> Result<()> {
        match &self.torn {
            Some(whole) => write(device, SUPERBLOCK_OFFSET, whole),
            None => Ok(()),
        }
    }

    /// The device as it would be after [`mend`](Self::mend); nothing is written.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(crate) fn mended(&self, device: Arc<dyn BlockDevice>) -> Result<Arc<dyn BlockDevice>> {
        let Some(whole) = &self.torn else {
            return Ok(device);
        };
        let overlay = OverlayDevice::with_bytes(
            device,
            self.fs.block_size(),
            SUPERBLOCK_OFFSET,
            whole.as_slice(),
        );
        Ok(Arc::new(overlay.map_err(at(Place::Superblock))?))
    }
}

/// Opens a volume before its journal is replayed. With a torn superblock, it is the one of the journal that counts: that of its
/// log, else the copy. Without either the volume is as damaged as its checksum says.
///
/// # Errors
/// Those of [`Ext2fs::open`].
pub(crate) fn open(
    device: &Arc<dyn BlockDevice>,
    threads: &dyn Threads,
    cache_bytes: usize,
) -> Result<Found> {
    match Ext2fs::open(device.clone(), threads, cache_bytes) {
        Err(
            error @ Error::Checksum {
                place: Place::Superblock,
                ..
            },
        ) => open_torn(device, threads, cache_bytes)
            .ok()
            .flatten()
            .ok_or(error),
        opened => opened.map(Found::from),
    }
}

/// `None` if the journal has no superblock that fits.
fn open_torn(
    device: &Arc<dyn BlockDevice>,
    threads: &dyn Threads,
    cache_bytes: usize,
) -> Result<Option<Found>> {
    let found = read_bytes(&**device, SUPERBLOCK_OFFSET)?;
    let torn = Superblock::parse_torn(&found, device.len())?;
    let (block_size, features) = (torn.block_size(), torn.features);
    let (block, offset) = (torn.superblock_block(), torn.superblock_offset());
    if !features.compat(Compat::HAS_JOURNAL) {
        return Ok(None);
    }
    let plain = Ext2fs::on(device.clone(), threads, cache_bytes, torn)?;
    let journal = Journal::open(plain.journal_area(device.clone())?)?;
    let copy = journal.is_clean();
    let bytes = if copy {
        let Spare { device, offset } = journal.spare()?;
        Some(read_bytes(device, offset)?).filter(|bytes| is_part_of(&found, bytes))
    } else if features.incompat(Incompat::RECOVER) {
        let replay = journal.replay()?;
        let content = replay.blocks.get(&block.0);
        let content = content.map(|place| journal.content(*place)).transpose()?;
        content.and_then(|block| block.get(offset..)?.first_chunk().copied())
    } else {
        None
    };
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let whole = Superblock::parse(&bytes, device.len())?;
    if whole.block_size() != block_size {
        return Ok(None);
    }
    let fs = Ext2fs::on(device.clone(), threads, cache_bytes, whole)?;
    let torn = copy.then_some(bytes);
    Ok(Some(Found { fs, torn }))
}

/// Whether a write of `whole` that was stopped between two sectors can have left `torn`.
fn is_part_of(torn: &Bytes, whole: &Bytes) -> bool {
    torn.chunks(SECTOR)
        .zip(whole.chunks(SECTOR))
        .any(|(torn, whole)| torn == whole)
}

/// Puts a copy of a superblock that is to be written now in the journal, whose log must be empty on the medium, and flushes.
///
/// # Errors
/// [`Error::Device`].
pub(crate) fn keep(spare: Spare<'_>, raw: &RawSuperblock) -> Result<()> {
    let Spare { device, offset } = spare;
    write(device, offset, raw.as_bytes())
}

/// Writes a superblock home so that a power cut leaves it or the old one. The log must be empty on the medium.
///
/// # Errors
/// [`Error::Device`].
pub(crate) fn replace(spare: Spare<'_>, raw: &RawSuperblock) -> Result<()> {
    // Without a checksum the sectors need not be of the same time: what changes is in the first.
    let features = Features::from_bits(0, 0, raw.s_feature_ro_compat.get());
    if features.metadata_csum() {
        keep(spare, raw)?;
    }
    write(spare.device, SUPERBLOCK_OFFSET, raw.as_bytes())
}

fn write(device: &dyn BlockDevice, offset: u64, bytes: &[u8]) -> Result<()> {
    device
        .write_at(offset, bytes)
        .and_then(|()| device.flush())
        .map_err(at(Place::Superblock))
}

/// The superblock of a device, unchecked.
///
/// # Errors
/// [`Error::Device`].
pub(crate) fn read(device: &dyn BlockDevice) -> Result<RawSuperblock> {
    let bytes = read_bytes(device, SUPERBLOCK_OFFSET)?;
    Ok(zerocopy::transmute!(bytes))
}

fn read_bytes(device: &dyn BlockDevice, offset: u64) -> Result<Bytes> {
    let mut bytes = [0; SUPERBLOCK_SIZE];
    device
        .read_at(offset, &mut bytes)
        .map_err(at(Place::Superblock))?;
    Ok(bytes)
}
