//! The entries of one block of a directory.

use crate::{
    checksum::crc32c,
    crypt,
    error::{Error, Expected, Place, Result},
    inode::{FileType, Inode, from_entry},
    layout::dir_entry::{
        DIR_ENTRY_HEADER, DIR_TAIL_SIZE, EXT4_FT_DIR_CSUM, RawDirEntry, RawDirEntryTail,
    },
    superblock::Superblock,
    types::{FileBlock, InodeNumber, number},
};
use zerocopy::FromBytes;

/// Smallest entry: a name of one byte.
pub const MIN_ENTRY: usize = 12;
/// An entry as it lies in its block, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry<'a> {
    /// The inode; 0 in an unused entry.
    pub ino: InodeNumber,
    /// Bytes to the next entry.
    pub rec_len: usize,
    /// Name; empty in an unused entry.
    pub name: &'a [u8],
    /// Type, where the volume keeps it here.
    pub file_type: Option<FileType>,
}

/// What an entry begins with, checked as the whole entry.
pub(crate) struct Head<'a> {
    ino: u32,
    rec_len: usize,
    name_len: u8,
    file_type: u8,
    /// The block from the name on.
    names: &'a [u8],
}

/// The head of an entry and where it lies in its block.
pub(crate) struct Placed<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) offset: usize,
    /// Offset of the entry before it.
    previous: Option<u32>,
}

impl<'a> Head<'a> {
    /// Empty in an unused entry.
    fn name(&self) -> &'a [u8] {
        let len = match self.ino {
            0 => 0,
            _ => usize::from(self.name_len),
        };
        self.names.get(..len).unwrap_or_default()
    }

    /// Bytes that it needs; of an unused one none.
    pub(crate) fn used(&self) -> usize {
        match self.ino {
            0 => 0,
            _ => entry_size(usize::from(self.name_len)),
        }
    }

    /// Bytes that it has and does not need.
    pub(crate) fn spare(&self) -> usize {
        self.rec_len.saturating_sub(self.used())
    }
}

/// Bytes that an entry with a name of `name_len` bytes needs.
#[must_use]
pub fn entry_size(name_len: usize) -> usize {
    // Rounded up to a multiple of 4.
    name_len.saturating_add(DIR_ENTRY_HEADER + 3) & !3
}

/// `rec_len` in bytes. 64 KiB do not fit in 16 bits: there, and only there, 0 and 65535 mean the whole block. With larger
/// blocks than 64 KiB, which Linux thought of, the lower two bits would count on.
fn rec_len(raw: u16, block_size: usize) -> usize {
    if block_size == 65_536 && (raw == 0 || raw == u16::MAX) {
        65_536
    } else {
        usize::from(raw)
    }
}

/// `rec_len` as the medium has it.
#[must_use]
pub fn rec_len_to_raw(len: usize) -> u16 {
    // 65536 is written as 65535, as Linux does.
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// The entries of one block or of one part of inline data.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The directory.
    pub dir: InodeNumber,
    /// Which block of it, for errors.
    pub number: FileBlock,
    /// The content, without a checksum tail.
    pub bytes: &'a [u8],
    /// Entries hold the type.
    pub filetype: bool,
    /// Entries have eight bytes of hash after the name: encrypted case-insensitive directories.
    pub hashed: bool,
    /// Inodes of the volume.
    pub inodes: u32,
    /// Bytes in a block of the volume.
    pub block_size: usize,
}

impl<'a> Block<'a> {
    /// The entry at `offset`, checked as Linux does: a length that is a multiple of 4, holds the name, and leaves either
    /// nothing of the block or room for one more entry; an inode that exists.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn entry(&self, offset: usize) -> Result<RawEntry<'a>> {
        let head = self.head(offset).ok_or_else(|| self.fault(offset))?;
        Ok(RawEntry {
            ino: InodeNumber(head.ino),
            rec_len: head.rec_len,
            name: head.name(),
            file_type: self.file_type(&head),
        })
    }

    fn file_type(&self, head: &Head<'_>) -> Option<FileType> {
        let kept = self.filetype && head.ino != 0;
        kept.then(|| from_entry(head.file_type & 0xF))?
    }

    /// What the entry at `offset` begins with, if nothing is wrong with it. Small, as names are looked for among hundreds: what is wrong is
    /// [found out](Self::fault) apart.
    #[inline]
    fn head(&self, offset: usize) -> Option<Head<'a>> {
        let rest = self.bytes.get(offset..)?;
        let (raw, names) = RawDirEntry::ref_from_prefix(rest).ok()?;
        let head = Head {
            ino: raw.inode.get(),
            rec_len: rec_len(raw.rec_len.get(), self.block_size),
            name_len: raw.name_len,
            file_type: raw.file_type,
            names,
        };
        let left = rest.len().checked_sub(head.rec_len)?;
        let hash = if self.hashed && head.name_len > 2 {
            8
        } else {
            0
        };
        let least = match head.ino {
            0 => entry_size(usize::from(head.name_len)),
            _ => entry_size(usize::from(head.name_len).saturating_add(hash)),
        };
        let used = head.ino == 0 || head.name_len > 0 && head.ino <= self.inodes;
        let sound = used
            && head.rec_len >= least.max(MIN_ENTRY)
            && head.rec_len & 3 == 0
            && (left == 0 || left >= MIN_ENTRY);
        sound.then_some(head)
    }

    /// What is wrong with the entry at `offset`, which has no sound [`head`](Self::head).
    #[cold]
    fn fault(&self, offset: usize) -> Error {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let Ok((raw, _)) = RawDirEntry::ref_from_prefix(rest) else {
            let found = number(rest.len());
            return self.wrong(offset, "rec_len", found, "an entry inside the block");
        };
        let len = rec_len(raw.rec_len.get(), self.block_size);
        let (ino, name_len) = (raw.inode.get(), usize::from(raw.name_len));
        if len < entry_size(name_len.max(1)) || len & 3 != 0 {
            let expected = "a multiple of 4 with room for the name";
            return self.wrong(offset, "rec_len", number(len), expected);
        }
        if len > rest.len() || (1..MIN_ENTRY).contains(&rest.len().saturating_sub(len)) {
            let expected = "an end at another entry or the block's end";
            return self.wrong(offset, "rec_len", number(len), expected);
        }
        if ino > self.inodes {
            let expected = Expected::Range(1, u64::from(self.inodes));
            return Error::value(self.place(offset), "inode", ino, expected);
        }
        let expected = "1 to 255, inside the entry";
        self.wrong(offset, "name_len", number(name_len), expected)
    }

    fn place(&self, offset: usize) -> Place {
        Place::Directory {
            ino: self.dir,
            block: self.number,
            offset: place_offset(offset),
        }
    }

    fn wrong(
        &self,
        offset: usize,
        field: &'static str,
        found: u64,
        expected: &'static str,
    ) -> Error {
        Error::words(self.place(offset), field, found, expected)
    }

    /// All entries with their offsets, unused ones too, until the end or the first damaged one.
    pub fn entries(self) -> impl Iterator<Item = Result<(usize, RawEntry<'a>)>> {
        let mut at = Some(0_usize);
        core::iter::from_fn(move || {
            let offset = at.take().filter(|at| *at < self.bytes.len())?;
            let entry = self.entry(offset);
            // An entry has twelve bytes or more, so this ends.
            at = entry
                .as_ref()
                .ok()
                .map(|entry| offset.saturating_add(entry.rec_len));
            Some(entry.map(|entry| (offset, entry)))
        })
    }

    /// The first entry, unused ones too, of which `is` says so.
    ///
    /// # Errors
    /// [`Error::Value`] for a damaged entry before it.
    #[inline]
    pub(crate) fn first(&self, is: impl Fn(&Head<'a>) -> bool) -> Result<Option<Placed<'a>>> {
        let (mut offset, mut previous) = (0_usize, None);
        while offset < self.bytes.len() {
            let Some(head) = self.head(offset) else {
                return Err(self.fault(offset));
            };
            if is(&head) {
                return Ok(Some(Placed {
                    head,
                    offset,
                    previous,
                }));
            }
            previous = Some(place_offset(offset));
            offset = offset.saturating_add(head.rec_len);
        }
        Ok(None)
    }

    /// Looks for a name.
    ///
    /// # Errors
    /// [`Error::Value`] for a damaged entry before it.
    pub fn find(&self, wanted: &Wanted<'_>) -> Result<Option<Located>> {
        let found = self.first(|head| head.ino != 0 && wanted.is(head.name()))?;
        Ok(found.map(|placed| self.located(&placed)))
    }

    /// The entry at `offset`, where one begins, if it has the name that is looked for. `previous` is where the one before it begins.
    ///
    /// # Errors
    /// [`Error::Value`] if it is damaged.
    pub(crate) fn find_at(
        &self,
        offset: usize,
        previous: Option<u32>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Located>> {
        let head = self.head(offset).ok_or_else(|| self.fault(offset))?;
        let is = head.ino != 0 && wanted.is(head.name());
        Ok(is.then(|| {
            self.located(&Placed {
                head,
                offset,
                previous,
            })
        }))
    }

    /// The bytes that the entry at `offset`, where one begins, needs, and those that it has besides.
    pub(crate) fn room_at(&self, offset: usize) -> Option<(usize, usize)> {
        let head = self.head(offset)?;
        Some((head.used(), head.spare()))
    }

    fn located(&self, placed: &Placed<'_>) -> Located {
        Located {
            ino: InodeNumber(placed.head.ino),
            file_type: self.file_type(&placed.head),
            position: Position {
                block: self.number,
                offset: place_offset(placed.offset),
                previous: placed.previous,
            },
        }
    }
}

pub(super) fn place_offset(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// A name that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'n> {
    pub(crate) name: &'n [u8],
    pub(super) encrypted: bool,
}

impl<'n> Wanted<'n> {
    /// A name that is not encrypted.
    #[must_use]
    pub fn plain(name: &'n [u8]) -> Self {
        Self {
            name,
            encrypted: false,
        }
    }

    fn is(&self, name: &[u8]) -> bool {
        if !self.encrypted || name == b"." || name == b".." {
            // Names of a directory that are of one length differ at the end rather than at the beginning.
            return name.last() == self.name.last() && name == self.name;
        }
        crypt::presented(name) == self.name
    }
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Block of the directory; 0 for inline data.
    pub block: FileBlock,
    /// Offset in the block, in bytes; in inline data counted from the start of `i_block` on.
    pub offset: u32,
    /// Offset of the entry before it in the same block.
    pub previous: Option<u32>,
}

/// An entry that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its inode.
    pub ino: InodeNumber,
    /// Its type, where the directory tells.
    pub file_type: Option<FileType>,
    /// Where it lies.
    pub position: Position,
}

/// The stored and the computed checksum of a block of entries. `None` if it has no tail.
fn tail_checksums(csum_seed: u32, bytes: &[u8]) -> Option<(u32, u32)> {
    let (covered, tail) = bytes.split_at_checked(bytes.len().checked_sub(DIR_TAIL_SIZE)?)?;
    let tail = RawDirEntryTail::ref_from_bytes(tail).ok()?;
    let is_tail = tail.det_reserved_zero1.get() == 0
        && usize::from(tail.det_rec_len.get()) == DIR_TAIL_SIZE
        && tail.det_reserved_zero2 == 0
        && tail.det_reserved_ft == EXT4_FT_DIR_CSUM;
    is_tail.then(|| (tail.det_checksum.get(), crc32c(csum_seed, covered)))
}

/// Writes the checksum tail at the end of a block of entries, if the volume has checksums.
pub fn update_checksum(sb: &Superblock, dir: &Inode, bytes: &mut [u8]) {
    if !sb.features.metadata_csum() {
        return;
    }
    let Some(at) = bytes.len().checked_sub(DIR_TAIL_SIZE) else {
        return;
    };
    let (covered, tail) = bytes.split_at_mut(at);
    if let Ok(tail) = RawDirEntryTail::mut_from_bytes(tail) {
        *tail = RawDirEntryTail {
            det_reserved_zero1: 0.into(),
            det_rec_len: rec_len_to_raw(DIR_TAIL_SIZE).into(),
            det_reserved_zero2: 0,
            det_reserved_ft: EXT4_FT_DIR_CSUM,
            det_checksum: crc32c(dir.csum_seed, covered).into(),
        };
    }
}

/// Checks the checksum of a block of entries.
pub(super) fn verify_entries(dir: &Inode, number: FileBlock, data: &[u8]) -> Result<()> {
    let offset = place_offset(data.len().saturating_sub(DIR_TAIL_SIZE));
    let place = Place::Directory {
        ino: dir.ino,
        block: number,
        offset,
    };
    match tail_checksums(dir.csum_seed, data) {
        None => Err(Error::words(
            place,
            "det_reserved_ft",
            0_u64,
            "a checksum tail",
        )),
        Some((stored, computed)) if stored != computed => Err(Error::Checksum {
            place,
            stored,
            computed,
        }),
        Some(_) => Ok(()),
    }
}
