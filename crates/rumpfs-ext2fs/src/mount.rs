//! Opening a volume: superblock, journal, root.

use crate::{
    error::{Error, Place, Result, at},
    fast_commit,
    features::{Compat, Incompat},
    fs::Ext2fs,
    inode::{FileType, Inode},
    journal::{self, Damage, Journal, JournalArea, OverlayDevice, Run},
    map::Mapping,
    mmp,
    superblock::Superblock,
    torn,
    types::{FileBlock, InodeNumber, number},
};
use alloc::{sync::Arc, vec::Vec};
use rumpbio::{Volume, VolumeOptions};
use rumpuser::{BlockDevice, Threads};

/// Buffers for the few blocks that are read before the journal is replayed.
const EARLY_CACHE: usize = 1 << 20;

/// A volume opened for reading.
pub struct Opened {
    /// The volume, as it is after a replay of its journal.
    pub fs: Ext2fs,
    /// The superblock on the medium is torn; the journal has a copy.
    pub torn: bool,
    /// Transactions that the journal added, fast commits included.
    pub replayed: u32,
    /// Where the journal ended early.
    pub damage: Option<Damage>,
}

impl Ext2fs {
    /// A file system over the volume on `device`, with the superblock as it lies there.
    ///
    /// # Errors
    /// As [`Superblock::read`].
    pub fn open(
        device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
    ) -> Result<Self> {
        let superblock = Superblock::read(&*device)?;
        Self::on(device, threads, cache_bytes, superblock)
    }

    /// A file system over the volume on `device` that has this superblock.
    ///
    /// # Errors
    /// Those of [`Volume::new`].
    pub(crate) fn on(
        device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
        superblock: Superblock,
    ) -> Result<Self> {
        let options = VolumeOptions {
            block_size: superblock.block_size(),
            cache_bytes,
        };
        let volume = Volume::new(device, threads, options).map_err(at(Place::Superblock))?;
        Self::new(volume, superblock)
    }

    /// Opens a volume for reading. Nothing is written: what the journal has to say is laid over the device in memory,
    /// unless `norecovery` leaves it aside.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::Journal`] for a journal that cannot be used or is on a device of its own
    /// and needed; those of its fast commits that cannot be applied; [`Error::Value`] if the root is no directory; [`Error::InUse`] while the volume is being checked.
    pub fn open_read_only(
        device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
        norecovery: bool,
    ) -> Result<Opened> {
        let early_cache = EARLY_CACHE.min(cache_bytes);
        let found = if norecovery {
            Self::open(device.clone(), threads, early_cache)?.into()
        } else {
            torn::open(&device, threads, early_cache)?
        };
        let device = found.mended(device)?;
        let (torn, plain) = (found.is_torn(), found.fs);
        mmp::check_read_only(plain.superblock(), &device)?;
        let replay = if norecovery {
            None
        } else {
            plain.pending_journal(device.clone())?
        };
        let opened = match replay {
            None => Opened {
                fs: Self::open(device, threads, cache_bytes)?,
                torn,
                replayed: 0,
                damage: None,
            },
            Some(journal) => {
                let replay = journal.replay()?;
                let overlay = if replay.fast_commits.is_empty() {
                    OverlayDevice::new(device, plain.block_size(), &replay)
                } else {
                    let size = plain.block_size();
                    fast_commit::replayed(device, size, &replay, threads)?.freeze()
                };
                let overlay = Arc::new(overlay);
                let fs = Self::open(overlay, threads, cache_bytes)?;
                Opened {
                    fs,
                    torn,
                    replayed: replay
                        .transactions
                        .saturating_add(replay.fast_commits.commits),
                    damage: replay.damage,
                }
            }
        };
        opened.fs.check_root()?;
        Ok(opened)
    }

    /// The journal, if the volume was not unmounted cleanly and it has to be replayed. As for Linux, the superblock's
    /// `needs_recovery` decides.
    ///
    /// # Errors
    /// As [`journal_area`](Self::journal_area).
    pub fn pending_journal(&self, device: Arc<dyn BlockDevice>) -> Result<Option<Journal>> {
        let features = &self.superblock().features;
        if !features.incompat(Incompat::RECOVER) || !features.compat(Compat::HAS_JOURNAL) {
            return Ok(None);
        }
        let journal = Journal::open(self.journal_area(device)?)?;
        Ok((!journal.is_clean()).then_some(journal))
    }

    /// Where the journal lies: the map of its inode. `device` is the one that the volume is on.
    ///
    /// # Errors
    /// [`Error::Journal`] with [`External`](journal::Error::External) if it is on a device of its own, or if its blocks
    /// make no journal; [`Error::Value`] if its inode is no regular file or larger than the volume.
    pub fn journal_area(&self, device: Arc<dyn BlockDevice>) -> Result<JournalArea> {
        let sb = self.superblock();
        let ino = sb.journal.ok_or(journal::Error::External)?;
        let inode = self.inode(ino)?;
        if inode.file_type != FileType::Regular {
            return Err(Error::words(
                Place::Inode(ino),
                "i_mode",
                inode.mode(),
                "a regular file for the journal",
            ));
        }
        let runs = self.runs(&inode)?;
        Ok(JournalArea::new(
            device,
            self.block_size(),
            sb.blocks,
            runs,
        )?)
    }

    /// All runs of blocks of a file that is no larger than the volume.
    fn runs(&self, inode: &Inode) -> Result<Vec<Run>> {
        let blocks = inode.size.div_ceil(u64::from(self.block_size()));
        let end = match u32::try_from(blocks) {
            Ok(end) if blocks <= self.superblock().blocks => end,
            _ => {
                return Err(Error::words(
                    Place::Inode(inode.ino),
                    "i_size",
                    inode.size,
                    "no more than the volume",
                ));
            }
        };
        let mut runs = Vec::new();
        let mut from = FileBlock(0);
        while from.0 < end {
            let piece = self.map(inode, from, end.saturating_sub(from.0))?;
            if let Mapping::OnDisk { block, len } = piece {
                runs.push(Run {
                    logical: from.0,
                    physical: block.0,
                    count: len,
                });
            }
            from = FileBlock(from.0.saturating_add(piece.len()));
        }
        Ok(runs)
    }

    /// Whether the root is a directory in use.
    ///
    /// # Errors
    /// [`Error::Value`] if it is not; those of [`inode`](Self::inode).
    pub fn check_root(&self) -> Result<()> {
        let root = self.inode(InodeNumber::ROOT)?;
        if !root.is_dir() || root.links == 0 || root.size == 0 {
            return Err(Error::words(
                Place::Inode(root.ino),
                "i_mode",
                root.mode(),
                "a directory in use as the root",
            ));
        }
        Ok(())
    }

    /// Free clusters and free inodes, summed up over all groups as Linux does at mount: the superblock's own counts may be
    /// old after a crash.
    ///
    /// # Errors
    /// As [`group`](Self::group).
    pub fn free_counts(&self) -> Result<(u64, u64)> {
        let mut counts = (0_u64, 0_u64);
        for group in 0..self.superblock().groups {
            let desc = self.group(crate::types::GroupNumber(group))?;
            counts.0 = counts.0.saturating_add(u64::from(desc.free_blocks));
            counts.1 = counts.1.saturating_add(u64::from(desc.free_inodes));
        }
        Ok(counts)
    }

    /// Blocks that metadata of fixed size takes: what Linux leaves out of a volume's size.
    ///
    /// # Errors
    /// As [`inode`](Self::inode), of the journal's.
    pub fn overhead_blocks(&self) -> Result<u64> {
        let sb = self.superblock();
        if sb.overhead_clusters != 0 {
            return Ok(u64::from(sb.overhead_clusters)
                .wrapping_shl(sb.cluster_bits)
                .min(sb.blocks));
        }
        let tables = u64::from(sb.inode_table_blocks())
            .saturating_add(2)
            .saturating_mul(u64::from(sb.groups));
        let bases = (0..sb.groups).fold(u64::from(sb.first_data_block), |sum, group| {
            sum.saturating_add(u64::from(
                self.group_base_blocks(crate::types::GroupNumber(group)),
            ))
        });
        let journal = match sb
            .journal
            .filter(|_| sb.features.compat(Compat::HAS_JOURNAL))
        {
            Some(ino) => self.inode(ino)?.size.div_ceil(u64::from(self.block_size())),
            None => 0,
        };
        Ok(tables
            .saturating_add(bases)
            .saturating_add(journal)
            .min(sb.blocks))
    }

    /// Largest file in bytes: what the map of new files reaches.
    #[must_use]
    pub fn file_size_max(&self) -> u64 {
        let sb = self.superblock();
        let slots = 1_u64.wrapping_shl(self.indirect_bits());
        let blocks = if sb.features.incompat(Incompat::EXTENTS) {
            sb.max_file_blocks()
        } else {
            let mapped = slots
                .saturating_mul(slots)
                .saturating_mul(slots)
                .saturating_add(slots.saturating_mul(slots));
            mapped
                .saturating_add(slots)
                .saturating_add(number(12))
                .min(sb.max_file_blocks())
        };
        blocks
            .saturating_mul(u64::from(self.block_size()))
            .min(u64::MAX >> 1)
    }
}
