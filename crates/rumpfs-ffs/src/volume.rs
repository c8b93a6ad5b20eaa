//! An opened volume: its metadata by fragment, its inodes by number.

use crate::{
    error::{Error, Place, Result, at},
    inode::Inode,
    journal::{Journaling, Resumed},
    layout::ROOT_INO,
    maps::Maps,
    options::Options,
    order::Steps,
    overlay::Overlay,
    stock::{Stock, Totals},
    superblock::{self, Superblock},
    wapbl::Journal,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use rumpbio::{Buf, BufData, Volume, VolumeOptions};
use rumpuser::{BlockDevice, Threads, sync::Mutex};

/// An opened volume.
pub struct Ffs {
    /// What is read: the device, under what only the journal has.
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) superblock: Superblock,
    pub(crate) volume: Arc<Volume>,
    /// What is known of space while the volume is written; an open transaction has it for itself.
    pub(crate) stock: Mutex<Option<Box<Stock>>>,
    /// What is free, for who asks.
    pub(crate) totals: Mutex<Totals>,
    /// The journal of a volume that is written.
    pub(crate) journaling: Journaling,
    /// The journal of a volume that is read, if it has what the device has not.
    overlaid: Mutex<Option<Overlaid>>,
    /// In which steps transactions go home without it.
    pub(crate) order: Steps,
    /// Is told what is wrong with the volume without making an operation fail.
    report: Mutex<Option<Report>>,
}

/// A journal laid over its device.
struct Overlaid {
    overlay: Arc<Overlay>,
    resumed: Resumed,
}

/// Where is said what is wrong with the volume.
pub type Report = Box<dyn Fn(&Error) + Send>;

/// A block whose fragments are read together.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours {
    /// First fragment.
    pub(crate) first: u64,
    /// Number of fragments.
    pub(crate) count: u64,
}

impl Ffs {
    /// Opens the volume on a device. For reading, what a journal in use holds is seen, and not written; for writing it goes home.
    ///
    /// # Errors
    /// [`Error::NotFfs`], and whatever is wrong with the superblock or the journal.
    pub fn open(
        mut device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
        options: Options,
        read_only: bool,
    ) -> Result<Self> {
        let read = |device: &dyn BlockDevice| -> Result<Superblock> {
            superblock::find(device)?.ok_or(Error::NotFfs)?.check()
        };
        let mut superblock = read(&*device)?;
        let (mut resumed, mut overlaid) = (None, None);
        if let Some(place) = superblock.log.filter(|_| !options.noreplay) {
            let journal = Journal::open(device.clone(), superblock.order, &place)?;
            let replay = journal.replay()?;
            if read_only {
                let overlay = replay.overlaid(device);
                device = overlay.clone();
                let resumed = (place, journal, replay);
                overlaid = Some(Overlaid { overlay, resumed });
            } else {
                replay.write_home(&*device)?;
                resumed = Some((place, journal, replay));
            }
            superblock = read(&*device)?;
        }
        let volume_options = VolumeOptions {
            block_size: 1_u32.wrapping_shl(superblock.frag_bits),
            cache_bytes,
        };
        let volume = Volume::new(device.clone(), threads, volume_options);
        let volume = volume.map_err(at(Place::Superblock(superblock.at)))?;
        let free = superblock.free;
        let totals = Totals {
            dirs: superblock.directories,
            blocks: free.blocks,
            inodes: free.inodes,
            frags: free.frags,
        };
        Ok(Self {
            device,
            superblock,
            volume,
            stock: Mutex::default(),
            totals: Mutex::new(totals),
            journaling: Journaling::new(options.log, resumed),
            overlaid: Mutex::new(overlaid),
            order: Steps::default(),
            report: Mutex::default(),
        })
    }

    /// Whether the journal has what the device has not, so that it is laid over it.
    #[must_use]
    pub fn is_overlaid(&self) -> bool {
        self.overlaid.lock().is_some()
    }

    /// Writes home what only the journal has; it is gone on with from there.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut overlaid = self.overlaid.lock();
        let Some(Overlaid { overlay, resumed }) = &*overlaid else {
            return Ok(());
        };
        if overlay.base().read_only() {
            return Err(Error::ReadOnly("the device"));
        }
        let (_, _, replay) = resumed;
        replay.write_home(overlay.base())?;
        overlay.settle();
        if let Some(Overlaid { resumed, .. }) = overlaid.take() {
            self.journaling.resume(resumed);
        }
        Ok(())
    }

    /// The metadata of the volume.
    #[must_use]
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// The superblock as it was found.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Says where to tell what is wrong with the volume without making an operation fail.
    pub fn set_report(&self, report: Report) {
        *self.report.lock() = Some(report);
    }

    /// Tells what is wrong with the volume.
    pub(crate) fn tell(&self, error: &Error) {
        if let Some(report) = &*self.report.lock() {
            report(error);
        }
    }

    /// The directories, and what is free, by the counts of all groups as of the last transaction.
    #[must_use]
    pub fn totals(&self) -> Totals {
        *self.totals.lock()
    }

    /// Puts back what is known of space.
    pub(crate) fn put_stock(&self, space: Box<Stock>) {
        *self.totals.lock() = space.totals;
        *self.stock.lock() = Some(space);
    }

    /// A fragment, read with its neighbours unless it is cached.
    pub(crate) fn frag(&self, frag: u64, block: Neighbours, place: Place) -> Result<BufData> {
        Ok(self.buf(frag, block, place)?.data())
    }

    /// The buffer of a fragment, read with its neighbours unless it is cached.
    pub(crate) fn buf(&self, frag: u64, block: Neighbours, place: Place) -> Result<Buf> {
        let count = u32::try_from(block.count.max(1)).unwrap_or(u32::MAX);
        let read = self.volume.read_among(frag, block.first, count);
        read.map_err(at(place))
    }

    /// Reads the maps of a group.
    ///
    /// # Errors
    /// As [`Maps::parse`].
    pub fn maps(&self, group: u32) -> Result<Maps> {
        let superblock = &self.superblock;
        let len = u64::from(superblock.group_bytes);
        if len > superblock.block_size() {
            let place = Place::Superblock(superblock.at);
            return Err(Error::value(place, "cgsize", len, "fs_bsize or less"));
        }
        let first = superblock.group_maps(group);
        let count = len.div_ceil(superblock.frag_size());
        let bytes = self.frags(first, count, Place::Group(group))?;
        Maps::parse(superblock, group, bytes)
    }

    /// The bytes of fragments of metadata that follow each other.
    pub(crate) fn frags(&self, first: u64, count: u64, place: Place) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for frag in first..first.saturating_add(count) {
            bytes.extend_from_slice(&self.frag(frag, Neighbours { first, count }, place)?);
        }
        Ok(bytes)
    }

    /// Reads an inode.
    ///
    /// # Errors
    /// [`Error::NoInode`] when none in use has this number, and whatever is wrong with it.
    pub fn inode(&self, ino: u64) -> Result<Inode> {
        let superblock = &self.superblock;
        if ino < ROOT_INO || ino >= superblock.inodes() {
            return Err(Error::NoInode(ino));
        }
        let (frag, at, block) = self.inode_place(ino)?;
        let data = self.frag(frag, block, Place::Inode(ino))?;
        let len = 1_usize.wrapping_shl(superblock.version.inode_bits());
        let bytes = data.get(at..at.saturating_add(len)).unwrap_or_default();
        let inode = Inode::parse(superblock, ino, bytes)?;
        // An image that is cut off is read, too: what the superblock says of its size was not compared with the device.
        if inode.is_dir() && inode.size > self.device.len() {
            let place = Place::Inode(ino);
            let expected = "no more than the device's";
            return Err(Error::value(
                place,
                "size of a directory",
                inode.size,
                expected,
            ));
        }
        Ok(inode)
    }
}
