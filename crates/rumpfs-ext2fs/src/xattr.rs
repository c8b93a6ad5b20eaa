//! Extended attributes: in the inode, in a block that inodes share, and values in inodes of their own.

use crate::{
    checksum::crc32c,
    error::{Error, Expected, Place, Result},
    features::Incompat,
    fs::Ext2fs,
    inode::{FileType, Inode, InodeFlags},
    layout::{
        inode::{EXT4_GOOD_OLD_INODE_SIZE, RawInode},
        xattr::{
            EXT4_XATTR_MAGIC, EXT4_XATTR_REFCOUNT_MAX, EXT4_XATTR_ROUND, RawXattrEntry,
            RawXattrHeader, XATTR_BLOCK_HEADER, XATTR_ENTRY_HEADER, XATTR_IBODY_HEADER,
        },
    },
    map::Mapping,
    superblock::Superblock,
    types::{FileBlock, FsBlock, InodeNumber, index, join, number},
};
use alloc::vec::Vec;
use core::mem::offset_of;
use rumpbio::BufData;
use zerocopy::FromBytes;

/// Longest value: Linux's `EXT4_XATTR_SIZE_MAX`.
pub const VALUE_MAX: u32 = 1 << 24;

/// `e_name_index`: the prefix of a name, which the medium does not spell out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameIndex(pub u8);

impl NameIndex {
    /// `user.`
    pub const USER: Self = Self(1);
    /// `system.posix_acl_access`, the whole name.
    pub const ACL_ACCESS: Self = Self(2);
    /// `system.posix_acl_default`, the whole name.
    pub const ACL_DEFAULT: Self = Self(3);
    /// `trusted.`
    pub const TRUSTED: Self = Self(4);
    /// `security.`
    pub const SECURITY: Self = Self(6);
    /// `system.`: inline data alone.
    pub const SYSTEM: Self = Self(7);
    /// The encryption context, which is no attribute to be seen.
    pub const ENCRYPTION: Self = Self(9);
    /// `gnu.`
    pub const HURD: Self = Self(10);

    /// The prefix, or the whole name of an access control list; `None` for what is not shown.
    #[must_use]
    pub fn prefix(self) -> Option<&'static str> {
        Some(match self {
            Self::USER => "user.",
            Self::ACL_ACCESS => "system.posix_acl_access",
            Self::ACL_DEFAULT => "system.posix_acl_default",
            Self::TRUSTED => "trusted.",
            Self::SECURITY => "security.",
            Self::HURD => "gnu.",
            _ => return None,
        })
    }

    /// Splits a full name into index and rest; `None` for a name space that the format does not have.
    #[must_use]
    pub fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        if name == b"system.posix_acl_access" {
            return Some((Self::ACL_ACCESS, &[]));
        }
        if name == b"system.posix_acl_default" {
            return Some((Self::ACL_DEFAULT, &[]));
        }
        [Self::USER, Self::TRUSTED, Self::SECURITY, Self::HURD]
            .into_iter()
            .find_map(|index| {
                let rest = name.strip_prefix(index.prefix()?.as_bytes())?;
                (!rest.is_empty()).then_some((index, rest))
            })
    }

    /// Whether this is an access control list.
    #[must_use]
    pub fn is_acl(self) -> bool {
        self == Self::ACL_ACCESS || self == Self::ACL_DEFAULT
    }
}

/// Where the value of an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Beside the entry.
    Here(&'a [u8]),
    /// The content of an inode, of this many bytes.
    Inode(InodeNumber, u32),
}

/// An entry, checked: name and value lie in its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Prefix of the name.
    pub index: NameIndex,
    /// Rest of the name.
    pub name: &'a [u8],
    /// Value.
    pub value: Value<'a>,
    /// Hash of name and value; 0 in the inode, mostly.
    pub hash: u32,
    /// Offset of the entry in its area.
    pub offset: usize,
}

impl Entry<'_> {
    /// Bytes in the value.
    #[must_use]
    pub fn value_len(&self) -> usize {
        match self.value {
            Value::Here(bytes) => bytes.len(),
            Value::Inode(_, len) => index(len),
        }
    }
}

/// Bytes with attributes: entries from a start on, values from the end back. Offsets of values count from the area's
/// start.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    /// What it is.
    pub place: Place,
    /// All of it.
    pub bytes: &'a [u8],
    /// Where the entries start.
    pub first: usize,
}

impl<'a> Area<'a> {
    /// The attributes in the block `bytes`.
    #[must_use]
    pub fn block(place: Place, bytes: &'a [u8]) -> Self {
        Self {
            place,
            bytes,
            first: XATTR_BLOCK_HEADER,
        }
    }

    /// The attributes in the inode `bytes`, which has the volume's inode size; `None` if it has none.
    #[must_use]
    pub fn inode(inode: &Inode, bytes: &'a [u8]) -> Option<Self> {
        if inode.extra_isize == 0 {
            return None;
        }
        let start =
            usize::from(EXT4_GOOD_OLD_INODE_SIZE).saturating_add(usize::from(inode.extra_isize));
        let (magic, bytes) = bytes.get(start..)?.split_at_checked(XATTR_IBODY_HEADER)?;
        let magic: &[u8; 4] = magic.first_chunk()?;
        let place = Place::InodeXattrs(inode.ino);
        (u32::from_le_bytes(*magic) == EXT4_XATTR_MAGIC).then_some(Self {
            place,
            bytes,
            first: 0,
        })
    }

    /// Its entries, each checked when it is reached.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        Entries {
            area: *self,
            at: Some(self.first),
        }
    }

    /// The entry of that name.
    ///
    /// # Errors
    /// [`Error::Value`] where an entry is damaged.
    pub fn find(&self, name_index: NameIndex, name: &[u8]) -> Result<Option<Entry<'a>>> {
        for entry in self.entries() {
            let entry = entry?;
            if entry.index == name_index && entry.name == name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

/// The entries of an area.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    area: Area<'a>,
    /// Offset of the next entry; `None` after the last or a damaged one.
    at: Option<usize>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at.take()?;
        match self.entry(at) {
            Ok(Some((entry, next))) => {
                self.at = Some(next);
                Some(Ok(entry))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl<'a> Entries<'a> {
    /// The entry at `at` and the offset of the next; `None` at the four zero bytes that end the list.
    fn entry(&self, at: usize) -> Result<Option<(Entry<'a>, usize)>> {
        let Area { place, bytes, .. } = self.area;
        let wrong = |field, found: u64, expected| Error::words(place, field, found, expected);
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(start) = rest.first_chunk::<4>() else {
            return Err(wrong("entries", number(at), "an end inside the area"));
        };
        if *start == [0; 4] {
            return Ok(None);
        }
        let Ok((raw, rest)) = RawXattrEntry::ref_from_prefix(rest) else {
            return Err(wrong("entry offset", number(at), "inside the area"));
        };
        let name_len = usize::from(raw.e_name_len);
        let Some(name) = rest.get(..name_len) else {
            return Err(wrong(
                "e_name_len",
                u64::from(raw.e_name_len),
                "a name inside the area",
            ));
        };
        if name.contains(&0) {
            return Err(wrong("e_name", number(at), "a name without a zero byte"));
        }
        let next = at.saturating_add(entry_size(name_len));
        let value = self.value(raw, next)?;
        let entry = Entry {
            index: NameIndex(raw.e_name_index),
            name,
            value,
            hash: raw.e_hash.get(),
            offset: at,
        };
        Ok(Some((entry, next)))
    }

    fn value(&self, raw: &RawXattrEntry, entries_end: usize) -> Result<Value<'a>> {
        let Area { place, bytes, .. } = self.area;
        let size = raw.e_value_size.get();
        if raw.e_value_inum.get() != 0 {
            if size > VALUE_MAX {
                return Err(Error::value(
                    place,
                    "e_value_size",
                    size,
                    Expected::Range(0, u64::from(VALUE_MAX)),
                ));
            }
            return Ok(Value::Inode(InodeNumber(raw.e_value_inum.get()), size));
        }
        if size == 0 {
            return Ok(Value::Here(&[]));
        }
        let start = usize::from(raw.e_value_offs.get());
        // The end of the list, four zero bytes, comes before any value.
        if start < entries_end.saturating_add(4) {
            return Err(Error::words(
                place,
                "e_value_offs",
                raw.e_value_offs.get(),
                "behind the entries",
            ));
        }
        match bytes.get(start..start.saturating_add(index(size))) {
            Some(value) => Ok(Value::Here(value)),
            None => Err(Error::words(
                place,
                "e_value_size",
                size,
                "a value inside the area",
            )),
        }
    }
}

/// Bytes that an entry with a name of `name_len` bytes takes.
#[must_use]
pub fn entry_size(name_len: usize) -> usize {
    XATTR_ENTRY_HEADER
        .saturating_add(name_len)
        .next_multiple_of(EXT4_XATTR_ROUND)
}

/// Bytes that a value of `len` bytes takes.
#[must_use]
pub fn value_size(len: usize) -> usize {
    len.next_multiple_of(EXT4_XATTR_ROUND)
}

/// `e_hash`: the hash of a name and a value beside it.
#[must_use]
pub fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    hash_words(name_hash(name, false), value)
}

/// `e_hash` of an entry whose value is in an inode: of the name and the value's own hash.
#[must_use]
pub fn entry_hash_of_inode(name: &[u8], value_hash: u32) -> u32 {
    hash_words(name_hash(name, false), &value_hash.to_le_bytes())
}

/// The hash of a value in an inode, which that inode keeps.
#[must_use]
pub fn value_hash(sb: &Superblock, value: &[u8]) -> u32 {
    crc32c(sb.csum_seed, value)
}

/// `signed`: as machines with signed characters hashed until Linux 6.2.
fn name_hash(name: &[u8], signed: bool) -> u32 {
    name.iter().fold(0_u32, |hash, &byte| {
        let character = if signed {
            i32::from(byte.cast_signed()).cast_unsigned()
        } else {
            u32::from(byte)
        };
        hash.rotate_left(5) ^ character
    })
}

fn hash_words(hash: u32, value: &[u8]) -> u32 {
    value.chunks(4).fold(hash, |hash, chunk| {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

/// The checksum of an attribute block, for `h_checksum`; `None` on volumes without.
#[must_use]
pub fn block_checksum(sb: &Superblock, block: FsBlock, bytes: &[u8]) -> Option<u32> {
    if !sb.features.metadata_csum() {
        return None;
    }
    let at = offset_of!(RawXattrHeader, h_checksum);
    let (before, rest) = bytes.split_at_checked(at)?;
    let (_, after) = rest.split_at_checked(4)?;
    let state = crc32c(sb.csum_seed, &block.0.to_le_bytes());
    Some(crc32c(crc32c(crc32c(state, before), &[0; 4]), after))
}

impl Ext2fs {
    /// Calls `each` with every attribute of an inode until it says `false`.
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::Checksum`], [`Error::Device`].
    pub fn xattrs(&self, inode: &Inode, mut each: impl FnMut(&Entry<'_>) -> bool) -> Result<()> {
        let (_, location, data) = self.inode_bytes(inode.ino)?;
        let size = usize::from(self.superblock().inode_size);
        let bytes = data
            .get(location.offset..location.offset.saturating_add(size))
            .unwrap_or_default();
        if let Some(area) = Area::inode(inode, bytes) {
            for entry in area.entries() {
                if !each(&entry?) {
                    return Ok(());
                }
            }
        }
        let Some((place, data)) = self.xattr_block(inode)? else {
            return Ok(());
        };
        for entry in Area::block(place, &data).entries() {
            if !each(&entry?) {
                break;
            }
        }
        Ok(())
    }

    /// The value of an attribute, `None` if there is none of that name.
    ///
    /// # Errors
    /// As [`xattrs`](Self::xattrs).
    pub fn xattr(
        &self,
        inode: &Inode,
        name_index: NameIndex,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        /// What the search found; the area that it borrowed is gone by then.
        enum Found {
            Here(Vec<u8>),
            Inode(InodeNumber, u32, u32),
        }
        let mut found = None;
        self.xattrs(inode, |entry| {
            if entry.index != name_index || entry.name != name {
                return true;
            }
            found = Some(match entry.value {
                Value::Here(bytes) => Found::Here(bytes.to_vec()),
                Value::Inode(ino, len) => Found::Inode(ino, len, entry.hash),
            });
            false
        })?;
        match found {
            None => Ok(None),
            Some(Found::Here(value)) => Ok(Some(value)),
            Some(Found::Inode(ino, len, hash)) => self
                .xattr_inode_value(inode, ino, len, name, hash)
                .map(Some),
        }
    }

    /// The block of attributes of an inode, checked, if it has one.
    pub(crate) fn xattr_block(&self, inode: &Inode) -> Result<Option<(Place, BufData)>> {
        let block = inode.file_acl;
        if block.0 == 0 {
            return Ok(None);
        }
        let place = Place::XattrBlock(inode.ino, block);
        if !self.is_data(block, 1) {
            return Err(Error::words(
                Place::Inode(inode.ino),
                "i_file_acl",
                block,
                "a data block of the volume",
            ));
        }
        let buf = self.read(block, place)?;
        let data = buf.data();
        let Ok((header, _)) = RawXattrHeader::ref_from_prefix(&data) else {
            return Err(Error::words(
                place,
                "size",
                number(data.len()),
                "32 bytes or more",
            ));
        };
        check_header(place, header)?;
        if !buf.verified() {
            let stored = header.h_checksum.get();
            match block_checksum(self.superblock(), block, &data) {
                Some(computed) if computed != stored => {
                    return Err(Error::Checksum {
                        place,
                        stored,
                        computed,
                    });
                }
                _ => buf.set_verified(),
            }
        }
        Ok(Some((place, data)))
    }

    /// Reads a value from an inode of its own, and checks it against both hashes.
    fn xattr_inode_value(
        &self,
        owner: &Inode,
        ino: InodeNumber,
        len: u32,
        name: &[u8],
        hash: u32,
    ) -> Result<Vec<u8>> {
        let place = Place::XattrInode(ino);
        let inode = self.xattr_inode(ino, len)?;
        let value = self.metadata_content(&inode, len)?;
        let computed = value_hash(self.superblock(), &value);
        let stored = self.xattr_inode_hash(ino)?;
        // Lustre, which had such inodes first, keeps the owner in the modification time instead of hashes.
        let of_owner = inode.mtime.sec & 0xFFFF_FFFF == i64::from(owner.ino.0)
            && inode.generation == owner.generation;
        if stored != computed {
            return if of_owner {
                Ok(value)
            } else {
                Err(Error::Checksum {
                    place,
                    stored,
                    computed,
                })
            };
        }
        let hashes = [false, true]
            .map(|signed| hash_words(name_hash(name, signed), &computed.to_le_bytes()));
        if !hashes.contains(&hash) && !of_owner {
            let [expected, _] = hashes;
            return Err(Error::value(
                place,
                "e_hash",
                hash,
                Expected::Exactly(u64::from(expected)),
            ));
        }
        Ok(value)
    }

    /// An inode that is a value of `len` bytes.
    fn xattr_inode(&self, ino: InodeNumber, len: u32) -> Result<Inode> {
        let place = Place::XattrInode(ino);
        if !self.superblock().features.incompat(Incompat::EA_INODE) {
            return Err(Error::words(
                place,
                "e_value_inum",
                ino,
                "0 without the feature",
            ));
        }
        let inode = self.inode(ino)?;
        if inode.file_type != FileType::Regular || !inode.flags.contains(InodeFlags::EA_INODE) {
            return Err(Error::words(
                place,
                "i_flags",
                inode.flags.bits(),
                "a regular file with EA_INODE",
            ));
        }
        if inode.size != u64::from(len) {
            return Err(Error::value(
                place,
                "i_size",
                inode.size,
                Expected::Exactly(u64::from(len)),
            ));
        }
        Ok(inode)
    }

    /// The value's hash, which the inode keeps in the place of its access time.
    fn xattr_inode_hash(&self, ino: InodeNumber) -> Result<u32> {
        let (_, location, data) = self.inode_bytes(ino)?;
        let raw = data.get(location.offset..).map(RawInode::ref_from_prefix);
        Ok(raw
            .and_then(core::result::Result::ok)
            .map_or(0, |(raw, _)| raw.i_atime.get()))
    }

    /// How many entries refer to an inode that holds a value: kept in the places of its change time and version.
    ///
    /// # Errors
    /// As [`inode`](Self::inode).
    pub fn xattr_inode_references(&self, ino: InodeNumber) -> Result<u64> {
        let (_, location, data) = self.inode_bytes(ino)?;
        let raw = data.get(location.offset..).map(RawInode::ref_from_prefix);
        let raw = raw.and_then(core::result::Result::ok);
        Ok(raw.map_or(0, |(raw, _)| join(raw.i_ctime.get(), raw.l_i_version.get())))
    }

    /// The first `len` bytes of a file whose blocks go through the journal: values of attributes, symbolic links.
    pub(crate) fn metadata_content(&self, inode: &Inode, len: u32) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        content
            .try_reserve(index(len))
            .map_err(|_| Error::Refused(rumpuser::Errno::ENOMEM))?;
        let mut at = FileBlock(0);
        while content.len() < index(len) {
            let left = index(len).saturating_sub(content.len());
            let want = u32::try_from(left)
                .unwrap_or(u32::MAX)
                .div_ceil(self.block_size());
            let piece = self.map(inode, at, want)?;
            let count = piece.len().min(want).max(1);
            if let Mapping::OnDisk { block, .. } = piece {
                self.volume().read_ahead(block.0, count);
                for n in 0..u64::from(count) {
                    let block = FsBlock(block.0.saturating_add(n));
                    let data = self.read(block, Place::Block(block))?.data();
                    let left = index(len).saturating_sub(content.len());
                    content.extend_from_slice(data.get(..left).unwrap_or(&data));
                }
            } else {
                let bytes = index(count.saturating_mul(self.block_size())).min(left);
                content.resize(content.len().saturating_add(bytes), 0);
            }
            let Some(next) = at.after(count) else { break };
            at = next;
        }
        Ok(content)
    }
}

/// Checks the header of a block of attributes.
fn check_header(place: Place, header: &RawXattrHeader) -> Result<()> {
    let checks = [
        (
            "h_magic",
            header.h_magic.get(),
            EXT4_XATTR_MAGIC,
            EXT4_XATTR_MAGIC,
        ),
        ("h_blocks", header.h_blocks.get(), 1, 1),
        (
            "h_refcount",
            header.h_refcount.get(),
            1,
            EXT4_XATTR_REFCOUNT_MAX,
        ),
    ];
    for (field, found, low, high) in checks {
        if !(low..=high).contains(&found) {
            return Err(Error::value(
                place,
                field,
                found,
                Expected::Range(u64::from(low), u64::from(high)),
            ));
        }
    }
    Ok(())
}
