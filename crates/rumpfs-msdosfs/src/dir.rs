//! Directories: slots of 32 bytes; an entry with a short name, before it the pieces of its long name.

use crate::{
    boot::Root,
    error::{Error, Place, Result, at},
    fs::Msdosfs,
    inode::{Inode, ROOT, number_of},
    layout::{DELETED, END, LAST_LONG, LONG_UNITS, RawEntry, RawLong, SLOT, attribute},
    name::{LONGEST, checksum, fold, from_utf16, hash, short_text},
    types::{Cluster, index, number},
};
use alloc::{string::String, vec::Vec};
use hashbrown::HashTable;
use rumpbio::BufData;
use zerocopy::FromBytes;

/// Slots that a directory may have at most (6.1 of the specification: 2 MiB).
pub(crate) const MOST_SLOTS: u64 = 65_536;

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Offset in the directory of its first slot.
    pub first: u64,
    /// Offset of the slot with the short name.
    pub offset: u64,
    /// Number of the file.
    pub ino: u64,
    /// The slot with the short name.
    pub raw: RawEntry,
    /// The name that is shown: the long one if there is one.
    pub name: String,
}

impl Entry {
    /// Offset behind its last slot.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(number(SLOT))
    }

    /// Offsets of its slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u64> + use<> {
        (self.first..self.end()).step_by(SLOT)
    }

    /// Whether it is a directory's.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.raw.has(attribute::DIRECTORY)
    }
}

/// A slot, where it is in its directory and on the device.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) offset: u64,
    pub(crate) byte: u64,
    pub(crate) bytes: [u8; SLOT],
}

/// The slots of a directory in order.
pub(crate) struct Slots<'a> {
    fs: &'a Msdosfs,
    dir: &'a Inode,
    offset: u64,
    sector: Option<(u64, BufData)>,
}

impl<'a> Slots<'a> {
    /// Those from an offset on.
    pub(crate) fn new(fs: &'a Msdosfs, dir: &'a Inode, offset: u64) -> Self {
        Self {
            fs,
            dir,
            offset,
            sector: None,
        }
    }

    /// The next slot; `None` behind the last that the directory has room for.
    pub(crate) fn next(&mut self) -> Result<Option<Slot>> {
        let offset = self.offset;
        let Some(byte) = self.fs.slot_byte(self.dir, offset)? else {
            return Ok(None);
        };
        let size = u64::from(self.fs.boot.sector_size);
        let sector = byte.checked_div(size).unwrap_or(0);
        let data = match &self.sector {
            Some((loaded, data)) if *loaded == sector => data,
            _ => {
                let ahead = self.fs.boot.cluster_sectors;
                let buf = self.fs.volume.read_among(sector, sector, ahead);
                let data = buf.map_err(at(Place::Entry(byte)))?.data();
                &self.sector.insert((sector, data)).1
            }
        };
        let within = index(byte.checked_rem(size).unwrap_or(0));
        let bytes = data.get(within..).and_then(|rest| rest.first_chunk());
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        self.offset = offset.saturating_add(number(SLOT));
        Ok(Some(Slot {
            offset,
            byte,
            bytes: *bytes,
        }))
    }
}

/// The entries of a directory in order, without `.`, `..` and the volume's label.
pub(crate) struct Entries<'a> {
    slots: Slots<'a>,
    long: LongName,
}

/// Pieces of a long name as they come.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    /// The number of the piece that must come next; 0: the short name.
    next: u8,
    checksum: u8,
    first: u64,
}

impl LongName {
    /// Takes a piece; one that does not fit the last one is forgotten with it.
    fn take(&mut self, offset: u64, raw: &RawLong) {
        let order = raw.order & !LAST_LONG;
        if raw.order & LAST_LONG != 0 {
            self.clear();
            let most = LONGEST.div_ceil(LONG_UNITS);
            if order == 0 || usize::from(order) > most {
                return;
            }
            (self.first, self.checksum) = (offset, raw.checksum);
            self.units
                .resize(usize::from(order).saturating_mul(LONG_UNITS), 0);
        } else if order != self.next || order == 0 || raw.checksum != self.checksum {
            self.clear();
            return;
        }
        self.next = order.saturating_sub(1);
        let parts = [&raw.name1[..], &raw.name2, &raw.name3].concat();
        let start = usize::from(self.next).saturating_mul(LONG_UNITS);
        let room = self.units.get_mut(start..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(parts.as_chunks::<2>().0) {
            *to = u16::from_le_bytes(*from);
        }
    }

    fn clear(&mut self) {
        *self = Self {
            units: core::mem::take(&mut self.units),
            ..Self::default()
        };
        self.units.clear();
    }

    /// The long name of a short one, if the pieces are all there and belong to it.
    fn finish(&self, short: &[u8; 11]) -> Option<String> {
        if self.units.is_empty() || self.next != 0 || self.checksum != checksum(short) {
            return None;
        }
        let len = self.units.iter().position(|unit| *unit == 0);
        let units = self.units.get(..len.unwrap_or(self.units.len()))?;
        (!units.is_empty() && units.len() <= LONGEST).then(|| from_utf16(units))
    }
}

impl<'a> Entries<'a> {
    /// Those whose slots begin at an offset or behind it.
    pub(crate) fn new(fs: &'a Msdosfs, dir: &'a Inode, offset: u64) -> Self {
        Self {
            slots: Slots::new(fs, dir, offset),
            long: LongName::default(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        while let Some(slot) = self.slots.next()? {
            let [first, ..] = slot.bytes;
            if first == END {
                return Ok(None);
            }
            let Ok(raw) = RawEntry::read_from_bytes(&slot.bytes) else {
                return Ok(None);
            };
            if first == DELETED {
                self.long.clear();
                continue;
            }
            if raw.attributes & attribute::LONG_NAME_MASK == attribute::LONG_NAME {
                if let Ok(piece) = RawLong::read_from_bytes(&slot.bytes) {
                    self.long.take(slot.offset, &piece);
                }
                continue;
            }
            let long = self.long.finish(&raw.name);
            let first = if long.is_some() {
                self.long.first
            } else {
                slot.offset
            };
            self.long.clear();
            if raw.has(attribute::VOLUME_ID) || raw.name.starts_with(b".") {
                continue;
            }
            let page = &self.slots.fs.options.code_page;
            return Ok(Some(Entry {
                first,
                offset: slot.offset,
                ino: number_of(slot.byte),
                raw,
                name: long.unwrap_or_else(|| short_text(&raw, page)),
            }));
        }
        Ok(None)
    }
}

/// Where the names of a directory are: hashes of its long and short names, with the offset of the entry's first slot.
#[derive(Default)]
pub(crate) struct Index {
    names: HashTable<(u32, u32)>,
    /// There is no free slot before this offset.
    pub(crate) free_from: u64,
}

impl Index {
    /// Notes an entry.
    pub(crate) fn insert(&mut self, fs: &Msdosfs, entry: &Entry) {
        let first = u32::try_from(entry.first).unwrap_or(u32::MAX);
        for hash in hashes(fs, entry) {
            self.names
                .insert_unique(hash.into(), (hash, first), |(hash, _)| (*hash).into());
        }
    }

    /// Forgets an entry.
    pub(crate) fn remove(&mut self, fs: &Msdosfs, entry: &Entry) {
        let first = u32::try_from(entry.first).unwrap_or(u32::MAX);
        for hash in hashes(fs, entry) {
            let found = self
                .names
                .find_entry(hash.into(), |entry| *entry == (hash, first));
            if let Ok(found) = found {
                found.remove();
            }
        }
        self.free_from = self.free_from.min(entry.first);
    }

    fn has(&self, wanted: u32) -> bool {
        let mut same = self.names.iter_hash(wanted.into());
        same.any(|(hash, _)| *hash == wanted)
    }

    fn find(&self, wanted: u32) -> Vec<u64> {
        let same = self.names.iter_hash(wanted.into());
        let same = same.filter(|(hash, _)| *hash == wanted);
        let mut offsets: Vec<u64> = same.map(|(_, offset)| u64::from(*offset)).collect();
        offsets.sort_unstable();
        offsets
    }
}

/// Hashes of the names of an entry: of the one that is shown, and of the short one if it is another.
fn hashes(fs: &Msdosfs, entry: &Entry) -> impl Iterator<Item = u32> {
    let shown = fold(&entry.name);
    let short = fold(&short_text(&entry.raw, &fs.options.code_page));
    let short = (short != shown).then(|| hash(&short));
    [Some(hash(&shown)), short].into_iter().flatten()
}

impl Msdosfs {
    /// The byte on the device of a slot of a directory; `None` behind its end.
    ///
    /// # Errors
    /// The chain is broken.
    pub(crate) fn slot_byte(&self, dir: &Inode, offset: u64) -> Result<Option<u64>> {
        if let (Root::Fixed { start, len }, true) = (self.boot.root, dir.is_root()) {
            return Ok((offset < len).then(|| start.saturating_add(offset)));
        }
        let size = u64::from(self.boot.cluster_size());
        let cluster = offset.checked_div(size).unwrap_or(0);
        let Ok(cluster) = u32::try_from(cluster) else {
            return Ok(None);
        };
        let run = self.cluster_at(&dir.chain, cluster)?;
        let within = offset.checked_rem(size).unwrap_or(0);
        Ok(run.map(|run| self.boot.byte_of(run.first).saturating_add(within)))
    }

    /// Finds a name, long or short, whatever its case.
    ///
    /// # Errors
    /// The directory is damaged.
    pub fn lookup(&self, dir: &Inode, name: &str) -> Result<Option<Entry>> {
        let folded = fold(name);
        self.find(dir, &folded, |entry| {
            fold(&entry.name) == folded
                || fold(&short_text(&entry.raw, &self.options.code_page)) == folded
        })
    }

    /// The first entry with this folded name in the index that is the one.
    pub(crate) fn find(
        &self,
        dir: &Inode,
        folded: &str,
        is: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Entry>> {
        self.with_index(dir)?;
        let found = {
            let index = dir.index.lock();
            index.as_ref().map(|index| index.find(hash(folded)))
        };
        for offset in found.unwrap_or_default() {
            if let Some(entry) = Entries::new(self, dir, offset).next()?
                && is(&entry)
            {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Whether there may be an entry with this folded name: certainly if there is.
    pub(crate) fn may_have(&self, dir: &Inode, folded: &str) -> Result<bool> {
        self.with_index(dir)?;
        let index = dir.index.lock();
        Ok(index.as_ref().is_none_or(|index| index.has(hash(folded))))
    }

    /// Has the index of a directory made. The directory is read with no lock held.
    pub(crate) fn with_index(&self, dir: &Inode) -> Result<()> {
        if dir.index.lock().is_some() {
            return Ok(());
        }
        let mut index = Index::default();
        let mut entries = Entries::new(self, dir, 0);
        while let Some(entry) = entries.next()? {
            index.insert(self, &entry);
            let first = Some(self.first_cluster(&entry.raw));
            self.note_first(first.filter(|first| self.boot.is_data(*first)), entry.ino);
        }
        dir.index.lock().get_or_insert(index);
        Ok(())
    }

    /// Lists a directory from an offset on; `each` says whether to go on.
    ///
    /// # Errors
    /// The directory is damaged; the entries before were given.
    pub fn list(&self, dir: &Inode, from: u64, mut each: impl FnMut(&Entry) -> bool) -> Result<()> {
        let mut entries = Entries::new(self, dir, from);
        while let Some(entry) = entries.next()? {
            if !each(&entry) {
                break;
            }
        }
        Ok(())
    }

    /// Number of the directory that holds this one. `..` has its first cluster; its entry is found in the directory above.
    ///
    /// # Errors
    /// The directory is damaged.
    pub fn parent(&self, dir: &Inode) -> Result<u64> {
        if dir.is_root() {
            return Ok(ROOT);
        }
        let Some(cluster) = self.dot_dot(dir)? else {
            return Ok(ROOT);
        };
        if let Some(ino) = self.directories.lock().get(&cluster) {
            return Ok(*ino);
        }
        let parent = self.unlisted(Some(cluster))?;
        if parent.is_root() {
            return Ok(ROOT);
        }
        let above = self.unlisted(self.dot_dot(&parent)?)?;
        let mut entries = Entries::new(self, &above, 0);
        while let Some(entry) = entries.next()? {
            if entry.is_directory() && entry.raw.cluster() == cluster {
                return Ok(entry.ino);
            }
        }
        let place = Place::Chain(cluster);
        let expected = "in the directory above it";
        Err(Error::value(
            place,
            "entry of the directory",
            0_u8,
            expected,
        ))
    }

    /// The cluster in `..` of a directory; `None`: the root directory.
    fn dot_dot(&self, dir: &Inode) -> Result<Option<Cluster>> {
        let slot = Slots::new(self, dir, number(SLOT)).next()?;
        let raw = slot.and_then(|slot| RawEntry::read_from_bytes(&slot.bytes).ok());
        let first = dir.chain.first().unwrap_or_default();
        let Some(raw) = raw.filter(|raw| &raw.name == b"..         ") else {
            let place = Place::Chain(first);
            return Err(Error::value(place, "second entry", 0_u8, "'..'"));
        };
        match raw.cluster().0 {
            0 => Ok(None),
            _ if self.boot.is_data(raw.cluster()) => Ok(Some(raw.cluster())),
            found => {
                let place = Place::Chain(first);
                Err(Error::value(
                    place,
                    "cluster of '..'",
                    found,
                    "a data cluster",
                ))
            }
        }
    }

    /// Whether a directory has no entries.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn is_empty(&self, dir: &Inode) -> Result<bool> {
        Ok(Entries::new(self, dir, 0).next()?.is_none())
    }
}
