//! A volume: its parts, opening and ending it.

use crate::{
    boot::{self, Boot, Identity},
    error::{Error, Place, Result, at},
    fat::put,
    inode::Inode,
    layout::{LEAD_SIGNATURE, RawFsInfo, STATE_DIRTY, STRUCTURE_SIGNATURE, TRAIL_SIGNATURE},
    options::Options,
    order::Steps,
    space::Space,
    types::{Cluster, index},
};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hashbrown::{HashMap, HashSet};
use rumpbio::{Handle, Volume, VolumeOptions};
use rumpuser::{BlockDevice, Errno, Threads, sync::Mutex};
use zerocopy::{FromBytes, IntoBytes};

/// Byte of `FSI_Free_Count` in its sector; `FSI_Nxt_Free` follows.
const FREE_COUNT: usize = 488;

/// An opened volume.
pub struct Msdosfs {
    pub(crate) boot: Boot,
    pub(crate) identity: Identity,
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) volume: Arc<Volume>,
    pub(crate) options: Options,
    /// Free clusters; `None` while mounted for reading.
    pub(crate) space: Mutex<Option<Space>>,
    /// The number of free clusters, once it was counted for a mount for reading.
    pub(crate) counted: Mutex<Option<u32>>,
    /// Numbers of inodes that live on without a name: their slots are not used again.
    pub(crate) nameless: Mutex<HashSet<u64>>,
    /// Numbers of the directories that were looked at, by their first clusters: what `..` has. Reading them from the directory
    /// above would need its lock, which who asks for a parent does not have.
    pub(crate) directories: Mutex<HashMap<Cluster, u64>>,
    /// Numbers of the entries that lead to first clusters, as far as they are known: see [`crate::firsts`].
    pub(crate) firsts: Mutex<HashMap<Cluster, u64>>,
    /// How the changes of a transaction follow each other home.
    pub(crate) order: Steps,
    /// How many inodes have lost their places.
    displaced: AtomicU64,
    /// Whether there was a change since the last commit.
    changed: AtomicBool,
}

impl Msdosfs {
    /// Opens a volume for reading.
    ///
    /// # Errors
    /// What is wrong with the boot sector, or with the device.
    pub fn open(
        device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
        options: Options,
    ) -> Result<Self> {
        let Some((boot, identity)) = boot::read(&*device)? else {
            let place = Place::BootSector;
            return Err(Error::value(place, "signature", 0_u8, "that of FAT"));
        };
        let volume_options = VolumeOptions {
            block_size: boot.sector_size,
            cache_bytes,
        };
        let volume = Volume::new(device.clone(), threads, volume_options);
        Ok(Self {
            boot,
            identity,
            device,
            volume: volume.map_err(at(Place::BootSector))?,
            options,
            space: Mutex::default(),
            counted: Mutex::default(),
            nameless: Mutex::default(),
            directories: Mutex::default(),
            firsts: Mutex::default(),
            order: Steps::default(),
            displaced: AtomicU64::new(0),
            changed: AtomicBool::new(false),
        })
    }

    /// The metadata of the volume.
    #[must_use]
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// The geometry.
    #[must_use]
    pub fn boot(&self) -> &Boot {
        &self.boot
    }

    /// Whether the volume was not unmounted by whoever wrote it last.
    #[must_use]
    pub fn was_dirty(&self) -> bool {
        self.identity.dirty
    }

    /// Whether the device is shorter than the volume: an image that was not copied whole.
    #[must_use]
    pub fn cut_off(&self) -> bool {
        self.device.len() < self.boot.bytes()
    }

    /// Begins writing: reads the FAT, and marks the volume as in use.
    ///
    /// # Errors
    /// [`Error::Truncated`]; the device's.
    pub fn begin_writing(&self) -> Result<()> {
        if self.cut_off() {
            return Err(Error::Truncated {
                volume: self.boot.bytes(),
                device: self.device.len(),
            });
        }
        *self.space.lock() = Some(Space::read(&*self.device, &self.boot)?);
        self.mark(true)
    }

    /// Ends writing: everything is made durable, and the volume is marked as clean if it was.
    ///
    /// # Errors
    /// The device's.
    pub fn end_writing(&self) -> Result<()> {
        if !self.identity.dirty {
            self.mark(false)?;
        }
        self.volume.commit().map_err(Error::Refused)?;
        self.volume.checkpoint().map_err(Error::Refused)?;
        *self.space.lock() = None;
        self.firsts.lock().clear();
        Ok(())
    }

    /// Marks the volume as in use or as clean, in the boot sector and in the FAT, and makes that durable.
    fn mark(&self, dirty: bool) -> Result<()> {
        let sector = self.volume.read(0).map_err(at(Place::BootSector))?;
        let mut handle = self.volume.begin(8).map_err(Error::Refused)?;
        let byte = index(self.boot.state_byte);
        handle.modify(&sector, |data| {
            if let Some(state) = data.get_mut(byte) {
                *state = if dirty {
                    *state | STATE_DIRTY
                } else {
                    *state & !STATE_DIRTY
                };
            }
        });
        self.mark_fat(&mut handle, dirty)?;
        handle.commit();
        self.volume.commit().map_err(Error::Refused)
    }

    /// Sets the bit in FAT entry 1 that says so too (not on FAT12).
    fn mark_fat(&self, handle: &mut Handle<'_>, dirty: bool) -> Result<()> {
        let (byte, bit) = match self.boot.kind {
            boot::Kind::Fat12 => return Ok(()),
            boot::Kind::Fat16 => (3, 0x80_u8),
            boot::Kind::Fat32 => (7, 0x08),
        };
        for number in self.boot.written_fats() {
            let sector = self.volume.read(self.boot.fat_sector(number));
            let sector = sector.map_err(at(Place::Fat(Cluster(1))))?;
            handle.modify(&sector, |data| {
                if let Some(flags) = data.get_mut(byte) {
                    *flags = if dirty { *flags & !bit } else { *flags | bit };
                }
            });
        }
        Ok(())
    }

    /// Notes a change: FSInfo has to be written with the next commit.
    pub(crate) fn changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    fn fs_info(&self) -> Result<Option<RawFsInfo>> {
        let Some(sector) = self.boot.fs_info else {
            return Ok(None);
        };
        let buf = self.volume.read(sector).map_err(at(Place::FsInfo))?;
        let raw = RawFsInfo::read_from_prefix(&buf.data())
            .ok()
            .map(|(raw, _)| raw);
        Ok(raw.filter(|raw| {
            raw.lead.get() == LEAD_SIGNATURE
                && raw.structure.get() == STRUCTURE_SIGNATURE
                && raw.trail.get() == TRAIL_SIGNATURE
        }))
    }

    /// The last change of a transaction before it is closed: the counts in FSInfo.
    ///
    /// # Errors
    /// The device's.
    pub fn before_commit(&self, handle: &mut Handle<'_>) -> Result<(), Errno> {
        self.update_counts(handle)?;
        self.order.close();
        Ok(())
    }

    fn update_counts(&self, handle: &mut Handle<'_>) -> Result<(), Errno> {
        if !self.changed.swap(false, Ordering::Relaxed) || self.fs_info()?.is_none() {
            return Ok(());
        }
        let Some((free, hint)) = self
            .space
            .lock()
            .as_ref()
            .map(|space| (space.free(), space.hint()))
        else {
            return Ok(());
        };
        let sector = self.boot.fs_info.unwrap_or(0);
        let buf = self.volume.read(sector)?;
        let counts = [free.to_le(), hint.0.to_le()];
        handle.modify(&buf, |data| put(data, FREE_COUNT, counts.as_bytes()));
        Ok(())
    }

    /// Notes the number of a directory.
    pub(crate) fn note_directory(&self, inode: &Inode) {
        if let Some(first) = inode.chain.first().filter(|_| inode.is_directory) {
            self.directories.lock().insert(first, inode.ino);
        }
    }

    /// A number for an inode whose place another one has taken: that of no place.
    pub(crate) fn displaced(&self) -> u64 {
        let n = self.displaced.fetch_add(1, Ordering::Relaxed);
        (1 << 60) | n
    }

    /// Whether the slot with this number belongs to an inode without a name.
    pub(crate) fn is_nameless(&self, ino: u64) -> bool {
        self.nameless.lock().contains(&ino)
    }
}
