//! Inodes. The format has none: a file's number is the place of its directory entry, in slots from the device's start, and
//! changes when it is renamed. The root directory, which has no entry, has number 1.

use crate::{
    boot::Root,
    chain::Chain,
    dir::Index,
    error::{Error, Place, Result, at},
    fs::Msdosfs,
    layout::{DELETED, END, RawEntry, SLOT, attribute},
    time::Stamp,
    types::{Cluster, index, number},
};
use rumpuser::{Timespec, sync::Mutex};
use zerocopy::{FromBytes, FromZeros, little_endian::U16};

/// Number of the root directory.
pub const ROOT: u64 = 1;

/// A live file or directory.
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// Its entry, without what is below.
    pub(crate) raw: RawEntry,
    /// It is a directory.
    pub is_directory: bool,
    /// Its clusters. Those of a fixed root directory are none.
    pub(crate) chain: Chain,
    /// Bytes: of a directory, those of its clusters.
    pub size: u64,
    /// Last access; the medium keeps the day.
    pub atime: Timespec,
    /// Last change of data; the medium keeps two seconds.
    pub mtime: Timespec,
    /// Last change of attributes; the medium does not keep it: the last change of data then.
    pub ctime: Timespec,
    /// Creation; the medium keeps hundredths of a second.
    pub birthtime: Timespec,
    /// A cluster that another file has as well: this one is not changed.
    pub(crate) shared: Option<Cluster>,
    /// It has a name.
    pub(crate) named: bool,
    /// The bytes from the size to the end of its block are zero on the medium.
    pub(crate) zero_tail: bool,
    /// Where the names of a directory are.
    pub(crate) index: Mutex<Option<Index>>,
}

impl RawEntry {
    /// The first cluster, as the entry has it.
    pub(crate) fn cluster(&self) -> Cluster {
        let high = u32::from(self.cluster_high.get());
        Cluster(high.wrapping_shl(16) | u32::from(self.cluster_low.get()))
    }

    pub(crate) fn set_cluster(&mut self, cluster: Option<Cluster>) {
        let number = cluster.map_or(0, |cluster| cluster.0);
        let half = |n: u32| U16::new(u16::try_from(n & 0xFFFF).unwrap_or(0));
        self.cluster_low = half(number);
        self.cluster_high = half(number.wrapping_shr(16));
    }

    pub(crate) fn has(&self, bits: u8) -> bool {
        self.attributes & bits != 0
    }
}

impl Inode {
    /// Permission bits by the mount's masks and the attribute "read-only".
    #[must_use]
    pub fn mode(&self, fs: &Msdosfs) -> u32 {
        let options = &fs.options;
        let mask = if self.is_directory {
            options.directory_mask
        } else {
            options.file_mask
        };
        let write = if self.raw.has(attribute::READ_ONLY) && !self.is_directory {
            0o222
        } else {
            0
        };
        0o777 & !mask & !write
    }

    /// The attributes of the entry that are the user's.
    #[must_use]
    pub fn attributes(&self) -> u8 {
        self.raw.attributes & USER_ATTRIBUTES
    }

    /// Whether it is the root directory.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.ino == ROOT
    }

    /// The byte of its entry on the device.
    pub(crate) fn entry_byte(&self) -> u64 {
        byte_of(self.ino)
    }

    /// The entry as it is written.
    pub(crate) fn entry(&self, minutes: i32) -> RawEntry {
        let mut raw = self.raw;
        raw.set_cluster(self.chain.first());
        raw.size.set(if self.is_directory {
            0
        } else {
            u32::try_from(self.size).unwrap_or(u32::MAX)
        });
        let written = Stamp::encode(self.mtime, minutes);
        (raw.write_date, raw.write_time) = (written.date.into(), written.time.into());
        raw.access_date = Stamp::encode(self.atime, minutes).date.into();
        let created = Stamp::encode(self.birthtime, minutes);
        (raw.creation_date, raw.creation_time) = (created.date.into(), created.time.into());
        raw.creation_hundredths = created.hundredths;
        raw
    }

    /// A new file or directory, with a number once it has an entry.
    pub(crate) fn new(is_directory: bool, time: Timespec) -> Self {
        let mut raw = RawEntry::new_zeroed();
        raw.attributes = if is_directory {
            attribute::DIRECTORY
        } else {
            attribute::ARCHIVE
        };
        Self {
            ino: 0,
            raw,
            is_directory,
            chain: Chain::new(None),
            size: 0,
            atime: time,
            mtime: time,
            ctime: time,
            birthtime: time,
            shared: None,
            named: true,
            zero_tail: true,
            index: Mutex::default(),
        }
    }
}

/// The attributes that a user may set.
pub const USER_ATTRIBUTES: u8 =
    attribute::READ_ONLY | attribute::HIDDEN | attribute::SYSTEM | attribute::ARCHIVE;

/// Number of the file whose entry is at a byte of the device.
pub(crate) fn number_of(byte: u64) -> u64 {
    byte.checked_div(number(SLOT)).unwrap_or(0)
}

/// Byte of the entry of a file.
pub(crate) fn byte_of(ino: u64) -> u64 {
    ino.saturating_mul(number(SLOT))
}

impl Msdosfs {
    /// Reads an inode.
    ///
    /// # Errors
    /// [`Error::NoInode`] when there is no entry at that place; whatever is wrong with it.
    pub fn inode(&self, ino: u64) -> Result<Inode> {
        if ino == ROOT {
            return self.root();
        }
        let raw = self.raw_entry(ino)?;
        let mut inode = self.inode_of(ino, raw)?;
        self.note_first(inode.chain.first(), ino);
        inode.shared = self.shared_cluster(&inode.chain);
        self.note_directory(&inode);
        Ok(inode)
    }

    /// The slot of an entry.
    ///
    /// # Errors
    /// [`Error::NoInode`] when there is none at that place.
    pub(crate) fn raw_entry(&self, ino: u64) -> Result<RawEntry> {
        let byte = byte_of(ino);
        if byte >= self.boot.bytes() || byte < self.first_entry_byte() || self.is_nameless(ino) {
            return Err(Error::NoInode(ino));
        }
        let size = u64::from(self.boot.sector_size);
        let sector = byte.checked_div(size).unwrap_or(0);
        let buf = self.volume.read(sector).map_err(at(Place::Entry(byte)))?;
        let data = buf.data();
        let within = index(byte.checked_rem(size).unwrap_or(0));
        let raw = RawEntry::read_from_prefix(data.get(within..).unwrap_or_default());
        let Ok((raw, _)) = raw else {
            return Err(Error::NoInode(ino));
        };
        let [first, ..] = raw.name;
        if matches!(first, END | DELETED | b'.') || raw.has(attribute::VOLUME_ID) {
            return Err(Error::NoInode(ino));
        }
        Ok(raw)
    }

    /// The number in an entry for its first cluster; 0: it has none.
    pub(crate) fn first_cluster(&self, raw: &RawEntry) -> Cluster {
        let cluster = raw.cluster();
        match self.boot.kind {
            crate::boot::Kind::Fat32 => cluster,
            // The upper half may hold something else there.
            _ => Cluster(cluster.0 & 0xFFFF),
        }
    }

    /// Where the first byte of a directory can be.
    fn first_entry_byte(&self) -> u64 {
        match self.boot.root {
            Root::Fixed { start, .. } => start,
            Root::Chain(_) => self.boot.byte_of(Cluster::FIRST),
        }
    }

    /// The inode of an entry.
    pub(crate) fn inode_of(&self, ino: u64, raw: RawEntry) -> Result<Inode> {
        let wrong = |found: u32, expected| {
            let place = Place::Entry(byte_of(ino));
            Err(Error::value(place, "first cluster", found, expected))
        };
        let is_directory = raw.has(attribute::DIRECTORY);
        let cluster = self.first_cluster(&raw);
        let first = match cluster.0 {
            0 => None,
            _ if self.boot.is_data(cluster) => Some(cluster),
            number => return wrong(number, "a data cluster"),
        };
        if is_directory && first.is_none() {
            return wrong(0, "one, as a directory has");
        }
        let chain = Chain::new(first);
        let size = if is_directory {
            self.directory_size(&chain)?
        } else {
            raw.size.get().into()
        };
        let minutes = self.options.time_offset;
        let stamp = |date: U16, time: U16, hundredths| Stamp {
            date: date.get(),
            time: time.get(),
            hundredths,
        };
        let mtime = stamp(raw.write_date, raw.write_time, 0).decode(minutes);
        let optional = |date: U16, time, hundredths| {
            // Systems that do not keep it leave zeros.
            match date.get() {
                0 => mtime,
                _ => stamp(date, time, hundredths).decode(minutes),
            }
        };
        Ok(Inode {
            ino,
            raw,
            is_directory,
            chain,
            size,
            atime: optional(raw.access_date, U16::new(0), 0),
            mtime,
            ctime: mtime,
            birthtime: optional(
                raw.creation_date,
                raw.creation_time,
                raw.creation_hundredths,
            ),
            shared: None,
            named: true,
            zero_tail: false,
            index: Mutex::default(),
        })
    }

    fn root(&self) -> Result<Inode> {
        let mut inode = self.unlisted(match self.boot.root {
            Root::Fixed { .. } => None,
            Root::Chain(cluster) => Some(cluster),
        })?;
        inode.ino = ROOT;
        self.note_first(inode.chain.first(), ROOT);
        inode.shared = self.shared_cluster(&inode.chain);
        Ok(inode)
    }

    /// A directory of which only the first cluster is known; `None`: the root directory.
    pub(crate) fn unlisted(&self, first: Option<Cluster>) -> Result<Inode> {
        let epoch = Stamp::default().decode(self.options.time_offset);
        let mut inode = Inode::new(true, epoch);
        let root = match self.boot.root {
            Root::Chain(cluster) => Some(cluster),
            Root::Fixed { .. } => None,
        };
        if first.is_none() || first == root {
            inode.ino = ROOT;
        }
        inode.chain = Chain::new(first.or(root));
        inode.size = match self.boot.root {
            Root::Fixed { len, .. } if inode.is_root() => len,
            _ => self.directory_size(&inode.chain)?,
        };
        Ok(inode)
    }

    fn directory_size(&self, chain: &Chain) -> Result<u64> {
        let clusters = self.chain_len(chain)?;
        Ok(u64::from(clusters).saturating_mul(self.boot.cluster_size().into()))
    }
}
