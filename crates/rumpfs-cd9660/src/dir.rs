//! Directories: their entries by name and in order.

use crate::{
    error::Result,
    inode::{Directory, Inode},
    layout::file_flag,
    name::{translate, unversioned},
    record::{Record, Records},
    rock_ridge::RockRidge,
    volume::{Extension, Iso},
};
use alloc::{sync::Arc, vec::Vec};

/// Directories of no more bytes than this are searched without an index.
const UNINDEXED: u64 = 4096;

/// What the name of an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset of its first record in the directory.
    pub offset: u64,
    /// Inode number: see [`crate::inode`].
    pub ino: u64,
    /// Whether it is a directory; `None`: what else it is only the inode tells.
    pub is_directory: Option<bool>,
}

/// The entries of a directory, in the order of the medium.
pub(crate) struct Entries<'a> {
    iso: &'a Iso,
    records: Records<'a>,
    rock_ridge: RockRidge,
    /// Name of the entry that [`next`](Self::next) has given.
    pub(crate) name: Vec<u8>,
    previous: Vec<u8>,
    /// The last record was a piece of a file that goes on.
    inside: bool,
    /// Whether `inode` is wanted.
    pub(crate) inodes: bool,
    /// The inode of the entry that [`next`](Self::next) has given, if the entry alone tells it.
    pub(crate) inode: Option<Inode>,
}

impl<'a> Entries<'a> {
    /// Those whose records begin at the offset `from` or behind it.
    pub(crate) fn new(iso: &'a Iso, dir: &Directory, from: u64) -> Self {
        Self {
            iso,
            records: Records::new(&iso.medium, dir.start, dir.len, from),
            rock_ridge: RockRidge::default(),
            name: Vec::new(),
            previous: Vec::new(),
            inside: false,
            inodes: false,
            inode: None,
        }
    }

    /// The next entry; its name is in `name`.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            let Some((offset, record)) = self.records.next()? else {
                return Ok(None);
            };
            let first = !self.inside;
            self.inside = record.has(file_flag::MULTI_EXTENT);
            if !first || record.is_dot() {
                continue;
            }
            let iso = self.iso;
            let target = if let Extension::RockRidge { skip } = iso.extension {
                self.rock_ridge.read(&iso.medium, &record, skip)?;
                if self.rock_ridge.relocated {
                    continue;
                }
                rock_ridge_name(iso, &record, &mut self.rock_ridge, &mut self.name);
                let child = self.rock_ridge.child;
                child.map(|block| iso.moved_number(record.at, block))
            } else {
                core::mem::swap(&mut self.name, &mut self.previous);
                translate(iso.extension, &iso.options, &record, &mut self.name);
                if self.name == self.previous && !record.is_directory() {
                    // An older version: the newest comes first (9.3).
                    continue;
                }
                None
            };
            let is_directory = target.is_some() || record.is_directory();
            let ino = match target {
                Some(ino) => ino,
                None if is_directory => iso.medium.byte_of(record.data_block()?),
                None => record.at,
            };
            self.inode = None;
            if self.inodes && !is_directory {
                self.inode = iso.inode_in(&record, &mut self.rock_ridge);
            }
            return Ok(Some(Entry {
                offset,
                ino,
                is_directory: Some(is_directory).filter(|_| {
                    is_directory || !matches!(iso.extension, Extension::RockRidge { .. })
                }),
            }));
        }
    }
}

/// The name in `NM`, which is taken from there, or the identifier if there is none.
fn rock_ridge_name(iso: &Iso, record: &Record<'_>, all: &mut RockRidge, to: &mut Vec<u8>) {
    if all.name_too_long || all.name.is_empty() {
        translate(iso.extension, &iso.options, record, to);
        return;
    }
    if record.has(file_flag::ASSOCIATED) {
        all.name.insert(0, b'=');
    }
    core::mem::swap(to, &mut all.name);
}

impl Iso {
    /// Inode number of a directory that was moved (RRIP 4.1.5), for the record with `CL` at the byte `at` that leads to the
    /// block `child`: the directory's own, where it is hidden in the place it was moved to. Some mastering programs leave out
    /// `RE`, which hides it: the two places then show two directories, so that each has one name and one parent.
    pub(crate) fn moved_number(&self, at: u64, child: u32) -> u64 {
        let child = self.medium.byte_of(child);
        if self.hides_moved(child) { child } else { at }
    }

    /// Whether moved directories are hidden where they lie, by the first one that is asked for: the program that made the volume
    /// did the same with all.
    fn hides_moved(&self, child: u64) -> bool {
        let mut known = self.hides_moved.lock();
        *known.get_or_insert_with(|| self.is_hidden(child).unwrap_or(true))
    }

    /// Whether the entry of the directory at the byte `child`, in the directory that physically holds it, has `RE`.
    fn is_hidden(&self, child: u64) -> Result<bool> {
        let Extension::RockRidge { skip } = self.extension else {
            return Ok(true);
        };
        let mut records = Records::from(&self.medium, child, 2, self.device.len());
        records.next()?;
        let Some((_, record)) = records.next()? else {
            return Ok(true);
        };
        let start = self.medium.byte_of(record.data_block()?);
        let len = u64::from(record.raw.data_length.get());
        let mut siblings = Records::new(&self.medium, start, len, 0);
        let mut all = RockRidge::default();
        while let Some((_, sibling)) = siblings.next()? {
            if self.medium.byte_of(sibling.data_block()?) == child && !sibling.is_dot() {
                all.read(&self.medium, &sibling, skip)?;
                return Ok(all.relocated);
            }
        }
        Ok(true)
    }
}

/// Where the names of a directory are: hash and offset of each, sorted.
pub(crate) struct Index(Vec<(u32, u32)>);

impl Index {
    fn build(iso: &Iso, dir: &Directory) -> Result<Self> {
        let mut places = Vec::new();
        let mut entries = Entries::new(iso, dir, 0);
        while let Some(entry) = entries.next()? {
            let offset = u32::try_from(entry.offset).unwrap_or(u32::MAX);
            places.push((hash(&entries.name), offset));
        }
        places.sort_unstable();
        Ok(Self(places))
    }

    /// Offsets of the entries whose names have this hash.
    fn find(&self, hash: u32) -> impl Iterator<Item = u64> {
        let from = self.0.partition_point(|(other, _)| *other < hash);
        let rest = self.0.get(from..).unwrap_or_default();
        let same = rest.iter().take_while(move |(other, _)| *other == hash);
        same.map(|(_, offset)| u64::from(*offset))
    }
}

/// FNV-1a.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811C_9DC5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl Iso {
    /// Finds a name. With `gens`, a name without version means the newest one.
    ///
    /// # Errors
    /// The directory is damaged.
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<Entry>> {
        let Some(directory) = dir.directory() else {
            return Ok(None);
        };
        if directory.len > UNINDEXED {
            let index = self.index(directory)?;
            for offset in index.find(hash(name)) {
                let mut entries = Entries::new(self, directory, offset);
                if let Some(entry) = entries.next()?
                    && entries.name == name
                {
                    return Ok(Some(entry));
                }
            }
        } else {
            let mut entries = Entries::new(self, directory, 0);
            while let Some(entry) = entries.next()? {
                if entries.name == name {
                    return Ok(Some(entry));
                }
            }
        }
        if self.options.gens && !matches!(self.extension, Extension::RockRidge { .. }) {
            return self.lookup_newest(directory, name);
        }
        Ok(None)
    }

    fn lookup_newest(&self, dir: &Directory, name: &[u8]) -> Result<Option<Entry>> {
        let mut entries = Entries::new(self, dir, 0);
        while let Some(entry) = entries.next()? {
            if unversioned(&entries.name) == name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn index(&self, dir: &Directory) -> Result<Arc<Index>> {
        if let Some(index) = &*dir.index.lock() {
            return Ok(index.clone());
        }
        let built = Arc::new(Index::build(self, dir)?);
        Ok(dir.index.lock().get_or_insert(built).clone())
    }

    /// Inode number of the directory that holds this one: its second record (6.8.2.2), or where Rock Ridge says that it was
    /// before it was moved (RRIP 4.1.5.2).
    ///
    /// # Errors
    /// The directory is damaged.
    pub fn parent(&self, dir: &Inode) -> Result<u64> {
        let Some(directory) = dir.directory().filter(|_| dir.ino != self.root) else {
            return Ok(dir.ino);
        };
        let mut records = Records::new(&self.medium, directory.start, directory.len, 0);
        records.next()?;
        let Some((_, record)) = records.next()? else {
            return Ok(self.root);
        };
        let mut block = record.data_block()?;
        if let Extension::RockRidge { skip } = self.extension {
            let mut all = RockRidge::default();
            all.read(&self.medium, &record, skip)?;
            let reached_elsewhere = dir.ino != directory.start;
            if let Some(before) = all.parent
                && (reached_elsewhere || self.hides_moved(directory.start))
            {
                block = before;
            }
        }
        Ok(self.medium.byte_of(block))
    }

    /// Lists a directory from a position on: 0, or one more than the offset of the entry that was given last. Each entry comes
    /// with its position and, if `inodes` are wanted and the entry alone tells it, its inode; `each` says whether to go on.
    ///
    /// # Errors
    /// The directory is damaged; the entries before were given.
    pub fn list(
        &self,
        dir: &Inode,
        after: u64,
        inodes: bool,
        mut each: impl FnMut(&[u8], Entry, u64, Option<&Inode>) -> bool,
    ) -> Result<()> {
        let Some(directory) = dir.directory() else {
            return Ok(());
        };
        let mut entries = Entries::new(self, directory, after.saturating_sub(1));
        if after > 0 {
            // Read again, not given again: the older versions behind it belong to it.
            entries.next()?;
        }
        entries.inodes = inodes;
        while let Some(entry) = entries.next()? {
            let position = entry.offset.saturating_add(1);
            if !each(&entries.name, entry, position, entries.inode.as_ref()) {
                break;
            }
        }
        Ok(())
    }
}
