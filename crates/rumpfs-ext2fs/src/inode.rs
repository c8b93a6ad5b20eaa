//! Inodes: decoding, encoding, checksums.

use crate::{
    checksum::crc32c,
    error::{Error, Expected, Place, Result},
    features::{Incompat, RoCompat},
    fs::Ext2fs,
    groups::DescLocation,
    layout::inode::{
        EXT4_GOOD_OLD_INODE_SIZE, I_BLOCK_SIZE, I_CHECKSUM_HI_OFFSET, I_CHECKSUM_LO_OFFSET,
        RawInode, RawInodeExtra,
    },
    layout::superblock::EXT4_OS_HURD,
    layout::xattr::EXT4_XATTR_MAGIC,
    superblock::Superblock,
    types::{FsBlock, InodeNumber, join, number},
};
use bitflags::bitflags;
use core::mem::offset_of;
use rumpbio::Buf;
use rumpuser::Timespec;
use zerocopy::FromBytes;

/// Bytes of an inode table that are read at once: a power of two.
const TABLE_READ_AHEAD: u32 = 128 << 10;

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InodeFlags: u32 {
        /// Delete securely.
        const SECRM = 0x0000_0001;
        /// Keep for undeletion.
        const UNRM = 0x0000_0002;
        /// Compress.
        const COMPR = 0x0000_0004;
        /// Write synchronously.
        const SYNC = 0x0000_0008;
        /// May not be changed.
        const IMMUTABLE = 0x0000_0010;
        /// May only grow at the end.
        const APPEND = 0x0000_0020;
        /// Not for dump.
        const NODUMP = 0x0000_0040;
        /// Access times stay.
        const NOATIME = 0x0000_0080;
        /// Compressed and dirty.
        const DIRTY = 0x0000_0100;
        /// Has compressed clusters.
        const COMPRBLK = 0x0000_0200;
        /// Do not compress.
        const NOCOMPR = 0x0000_0400;
        /// Content is encrypted.
        const ENCRYPT = 0x0000_0800;
        /// The directory has an index.
        const INDEX = 0x0000_1000;
        /// AFS directory.
        const IMAGIC = 0x0000_2000;
        /// File data goes through the journal.
        const JOURNAL_DATA = 0x0000_4000;
        /// The tail of the file must not be merged.
        const NOTAIL = 0x0000_8000;
        /// Directory changes are synchronous.
        const DIRSYNC = 0x0001_0000;
        /// Top of a directory hierarchy, for the allocator.
        const TOPDIR = 0x0002_0000;
        /// `i_blocks` counts in blocks of the file system.
        const HUGE_FILE = 0x0004_0000;
        /// `i_block` is the root of an extent tree.
        const EXTENTS = 0x0008_0000;
        /// Has a Merkle tree after its end.
        const VERITY = 0x0010_0000;
        /// Holds the value of an extended attribute.
        const EA_INODE = 0x0020_0000;
        /// Blocks past the end of the file.
        const EOFBLOCKS = 0x0040_0000;
        /// Direct access.
        const DAX = 0x0200_0000;
        /// Data lies in the inode.
        const INLINE_DATA = 0x1000_0000;
        /// Children have the same project.
        const PROJINHERIT = 0x2000_0000;
        /// Case-insensitive directory.
        const CASEFOLD = 0x4000_0000;
        /// Reserved.
        const RESERVED = 0x8000_0000;
        const _ = !0;
    }
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
}

impl FileType {
    /// From the upper four bits of `i_mode`.
    #[must_use]
    pub fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode & 0xF000 {
            0x1000 => Self::Fifo,
            0x2000 => Self::CharDevice,
            0x4000 => Self::Directory,
            0x6000 => Self::BlockDevice,
            0x8000 => Self::Regular,
            0xA000 => Self::Symlink,
            0xC000 => Self::Socket,
            _ => return None,
        })
    }

    /// The upper four bits of `i_mode`.
    #[must_use]
    pub fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0x1000,
            Self::CharDevice => 0x2000,
            Self::Directory => 0x4000,
            Self::BlockDevice => 0x6000,
            Self::Regular => 0x8000,
            Self::Symlink => 0xA000,
            Self::Socket => 0xC000,
        }
    }

    /// From the `file_type` of a directory entry; `None` if it does not say.
    #[must_use]
    pub fn from_entry(file_type: u8) -> Option<Self> {
        Some(match file_type {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => return None,
        })
    }

    /// The `file_type` of a directory entry.
    #[must_use]
    pub fn entry_type(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Major number, 12 bits.
    pub major: u32,
    /// Minor number, 20 bits.
    pub minor: u32,
}

/// An inode in memory, with the fields of its size; those that the medium's inode has no room for are zero or `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Number.
    pub ino: InodeNumber,
    /// Where it lies.
    pub location: DescLocation,
    /// Type.
    pub file_type: FileType,
    /// Permissions with the set-id and sticky bits: the lower 12 bits of `i_mode`.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project, 0 without.
    pub projid: u32,
    /// Size in bytes, below 2^63.
    pub size: u64,
    /// Access time.
    pub atime: Timespec,
    /// Change time.
    pub ctime: Timespec,
    /// Modification time.
    pub mtime: Timespec,
    /// Creation time, if the inode has room for it.
    pub crtime: Option<Timespec>,
    /// `i_dtime`: deletion time, or the next inode of the orphan list.
    pub dtime: u32,
    /// Number of names. In a directory 1 may mean "too many to count" (dir_nlink).
    pub links: u16,
    /// Space held, in units of 512 bytes.
    pub blocks_512: u64,
    /// Flags.
    pub flags: InodeFlags,
    /// Which use of the number this is.
    pub generation: u32,
    /// Version, changed with each change.
    pub version: u64,
    /// Block of extended attributes, 0 without.
    pub file_acl: FsBlock,
    /// `i_block`: extent tree root, block map, symbolic link, device number or inline data.
    pub block: [u8; I_BLOCK_SIZE],
    /// Bytes used of what the inode has past the first 128.
    pub extra_isize: u16,
    /// There were extended attributes in the inode when it was read: the magic number of their area was there.
    pub has_inode_xattrs: bool,
    /// Where the checksums of what belongs to this inode start.
    pub csum_seed: u32,
}

impl Inode {
    /// Decodes the inode at the start of `bytes`, which has the volume's inode size. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Error::Unallocated`] for an inode that is not in use: no type and no name. [`Error::Value`] for a type that is
    /// none, a size or an extra size out of range.
    pub fn parse(
        sb: &Superblock,
        ino: InodeNumber,
        location: DescLocation,
        bytes: &[u8],
    ) -> Result<Self> {
        let place = Place::Inode(ino);
        let Ok((raw, rest)) = RawInode::ref_from_prefix(bytes) else {
            return Err(Error::words(
                place,
                "s_inode_size",
                number(bytes.len()),
                "128 bytes or more",
            ));
        };
        let mode = raw.i_mode.get();
        if mode == 0 && raw.i_links_count.get() == 0 {
            return Err(Error::Unallocated(ino));
        }
        let Some(file_type) = FileType::from_mode(mode) else {
            return Err(Error::words(place, "i_mode", mode, "a file type"));
        };
        let flags = InodeFlags::from_bits_retain(raw.i_flags.get());
        let extra_isize = extra_isize(sb, ino, bytes, rest)?;
        let extra = Extra {
            bytes: rest,
            size: usize::from(extra_isize),
        };
        let hurd = sb.creator_os == EXT4_OS_HURD;
        Ok(Self {
            ino,
            location,
            file_type,
            permissions: mode & 0x0FFF,
            uid: u32::from(raw.i_uid.get()) | u32::from(raw.l_i_uid_high.get()).wrapping_shl(16),
            gid: u32::from(raw.i_gid.get()) | u32::from(raw.l_i_gid_high.get()).wrapping_shl(16),
            projid: extra
                .field(offset_of!(RawInodeExtra, i_projid))
                .unwrap_or(0),
            size: size(sb, ino, raw, file_type)?,
            atime: time(
                raw.i_atime.get(),
                extra.field(offset_of!(RawInodeExtra, i_atime_extra)),
            ),
            ctime: time(
                raw.i_ctime.get(),
                extra.field(offset_of!(RawInodeExtra, i_ctime_extra)),
            ),
            mtime: time(
                raw.i_mtime.get(),
                extra.field(offset_of!(RawInodeExtra, i_mtime_extra)),
            ),
            crtime: extra
                .field(offset_of!(RawInodeExtra, i_crtime))
                .map(|low| time(low, extra.field(offset_of!(RawInodeExtra, i_crtime_extra)))),
            dtime: raw.i_dtime.get(),
            links: raw.i_links_count.get(),
            blocks_512: blocks_512(sb, raw, flags),
            flags,
            generation: raw.i_generation.get(),
            version: if hurd {
                0
            } else {
                join(
                    extra
                        .field(offset_of!(RawInodeExtra, i_version_hi))
                        .unwrap_or(0),
                    raw.l_i_version.get(),
                )
            },
            file_acl: file_acl(sb, ino, raw, hurd)?,
            block: raw.i_block,
            extra_isize,
            has_inode_xattrs: has_xattrs(rest, extra_isize),
            csum_seed: csum_seed(sb, ino, raw.i_generation.get()),
        })
    }

    /// Puts the inode into `bytes`, which has the volume's inode size. What is not kept here (attributes in the inode,
    /// unknown fields) stays; the checksum is brought up to date.
    pub fn store(&self, sb: &Superblock, bytes: &mut [u8]) {
        let hurd = sb.creator_os == EXT4_OS_HURD;
        if let Ok((raw, rest)) = RawInode::mut_from_prefix(bytes) {
            raw.i_mode.set(self.mode());
            raw.i_uid.set(low16(self.uid));
            raw.l_i_uid_high.set(low16(self.uid >> 16));
            raw.i_gid.set(low16(self.gid));
            raw.l_i_gid_high.set(low16(self.gid >> 16));
            raw.i_size_lo.set(low32(self.size));
            if has_wide_size(sb, self.file_type) {
                raw.i_size_high.set(low32(self.size >> 32));
            }
            raw.i_dtime.set(self.dtime);
            raw.i_links_count.set(self.links);
            raw.i_flags.set(self.flags.bits());
            raw.i_generation.set(self.generation);
            raw.i_block = self.block;
            raw.i_file_acl_lo.set(low32(self.file_acl.0));
            if !hurd {
                raw.l_i_file_acl_high
                    .set(low16(low32(self.file_acl.0 >> 32)));
                raw.l_i_version.set(low32(self.version));
            }
            self.store_blocks(sb, raw);
            raw.i_atime.set(seconds(self.atime));
            raw.i_ctime.set(seconds(self.ctime));
            raw.i_mtime.set(seconds(self.mtime));
            self.store_extra(rest);
        }
        update_checksum(sb, self.ino, bytes);
    }

    fn store_blocks(&self, sb: &Superblock, raw: &mut RawInode) {
        let mut count = self.blocks_512;
        if sb.features.ro_compat(RoCompat::HUGE_FILE) && self.flags.contains(InodeFlags::HUGE_FILE)
        {
            count >>= sb.block_bits.saturating_sub(9);
        }
        raw.i_blocks_lo.set(low32(count));
        if sb.features.ro_compat(RoCompat::HUGE_FILE) {
            raw.l_i_blocks_high.set(low16(low32(count >> 32)));
        }
    }

    fn store_extra(&self, rest: &mut [u8]) {
        let size = usize::from(self.extra_isize);
        if size == 0 {
            return;
        }
        let mut put = |offset: usize, len: usize, value: &[u8]| {
            if offset.saturating_add(len) <= size
                && let Some(field) = rest.get_mut(offset..offset.saturating_add(len))
            {
                field.copy_from_slice(value);
            }
        };
        put(0, 2, &self.extra_isize.to_le_bytes());
        let mut put32 = |offset: usize, value: u32| put(offset, 4, &value.to_le_bytes());
        put32(
            offset_of!(RawInodeExtra, i_ctime_extra),
            extra_time(self.ctime),
        );
        put32(
            offset_of!(RawInodeExtra, i_mtime_extra),
            extra_time(self.mtime),
        );
        put32(
            offset_of!(RawInodeExtra, i_atime_extra),
            extra_time(self.atime),
        );
        if let Some(crtime) = self.crtime {
            put32(offset_of!(RawInodeExtra, i_crtime), seconds(crtime));
            put32(
                offset_of!(RawInodeExtra, i_crtime_extra),
                extra_time(crtime),
            );
        }
        put32(
            offset_of!(RawInodeExtra, i_version_hi),
            low32(self.version >> 32),
        );
        put32(offset_of!(RawInodeExtra, i_projid), self.projid);
    }

    /// `i_mode`: type and permissions.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.file_type.mode_bits() | self.permissions
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// Whether a symbolic link lies in `i_block`: it holds no blocks but those of attributes and is short enough. Where
    /// values of attributes may lie in inodes, which count as the link's space, the length alone decides, as for Linux.
    #[must_use]
    pub fn is_fast_symlink(&self, sb: &Superblock) -> bool {
        if self.file_type != FileType::Symlink
            || self
                .flags
                .intersects(InodeFlags::INLINE_DATA | InodeFlags::EXTENTS)
        {
            return false;
        }
        // Attributes in a block of their own count in i_blocks, with bigalloc as a whole cluster.
        let attributes = if self.file_acl.0 == 0 {
            0
        } else {
            1_u64.wrapping_shl(
                sb.block_bits
                    .saturating_add(sb.cluster_bits)
                    .saturating_sub(9),
            )
        };
        self.size < number(I_BLOCK_SIZE)
            && (self.blocks_512 <= attributes || sb.features.incompat(Incompat::EA_INODE))
    }

    /// The device number of a device node.
    #[must_use]
    pub fn device(&self) -> Option<Device> {
        if !matches!(self.file_type, FileType::CharDevice | FileType::BlockDevice) {
            return None;
        }
        let [a, b, c, d, e, f, g, h, ..] = self.block;
        let old = u32::from_le_bytes([a, b, c, d]);
        if old != 0 {
            return Some(Device {
                major: (old >> 8) & 0xFF,
                minor: old & 0xFF,
            });
        }
        let new = u32::from_le_bytes([e, f, g, h]);
        Some(Device {
            major: (new >> 8) & 0xFFF,
            minor: (new & 0xFF) | ((new >> 12) & 0xF_FF00),
        })
    }

    /// Puts a device number into `i_block`, as Linux encodes it: small numbers in the first word, others in the second.
    pub fn set_device(&mut self, device: Device) {
        let (old, new) = if device.major < 256 && device.minor < 256 {
            ((device.major << 8) | device.minor, 0)
        } else {
            (
                0,
                ((device.major & 0xFFF) << 8)
                    | (device.minor & 0xFF)
                    | ((device.minor & 0xF_FF00) << 12),
            )
        };
        self.block = [0; I_BLOCK_SIZE];
        for (to, from) in self
            .block
            .iter_mut()
            .zip(old.to_le_bytes().into_iter().chain(u32::to_le_bytes(new)))
        {
            *to = from;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
fn low32(n: u64) -> u32 {
    n as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
fn low16(n: u32) -> u16 {
    n as u16
}

/// The fields after the first 128 bytes, as far as the inode says that it has them.
struct Extra<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl Extra<'_> {
    fn field(&self, offset: usize) -> Option<u32> {
        let end = offset.checked_add(4).filter(|end| *end <= self.size)?;
        let field: [u8; 4] = self.bytes.get(offset..end)?.try_into().ok()?;
        Some(u32::from_le_bytes(field))
    }
}

fn extra_isize(sb: &Superblock, ino: InodeNumber, bytes: &[u8], rest: &[u8]) -> Result<u16> {
    if sb.inode_size <= EXT4_GOOD_OLD_INODE_SIZE {
        return Ok(0);
    }
    let Some(&[low, high]) = rest.first_chunk::<2>() else {
        return Ok(0);
    };
    let size = u16::from_le_bytes([low, high]);
    let room = sb.inode_size.saturating_sub(EXT4_GOOD_OLD_INODE_SIZE);
    debug_assert_eq!(bytes.len(), usize::from(sb.inode_size));
    if size > room || size & 3 != 0 {
        let range = Expected::Range(0, u64::from(room));
        return Err(Error::value(
            Place::Inode(ino),
            "i_extra_isize",
            size,
            range,
        ));
    }
    Ok(size)
}

/// Whether the magic number of attributes in the inode is there. `rest` is what follows the first 128 bytes.
fn has_xattrs(rest: &[u8], extra_isize: u16) -> bool {
    let magic = rest
        .get(usize::from(extra_isize)..)
        .and_then(|rest| rest.first_chunk::<4>());
    extra_isize > 0 && magic.is_some_and(|magic| u32::from_le_bytes(*magic) == EXT4_XATTR_MAGIC)
}

/// Whether `i_size_high` belongs to the size.
fn has_wide_size(sb: &Superblock, file_type: FileType) -> bool {
    match file_type {
        FileType::Regular => true,
        FileType::Directory => sb.features.incompat(Incompat::LARGEDIR),
        _ => false,
    }
}

fn size(sb: &Superblock, ino: InodeNumber, raw: &RawInode, file_type: FileType) -> Result<u64> {
    let high = if has_wide_size(sb, file_type) {
        raw.i_size_high.get()
    } else {
        0
    };
    let size = join(high, raw.i_size_lo.get());
    // A directory has no holes to speak of: one larger than the volume would only keep a reader busy.
    let most = match file_type {
        FileType::Directory => sb.blocks.saturating_mul(u64::from(sb.block_size())),
        _ => u64::MAX >> 1,
    };
    if size > most {
        return Err(Error::value(
            Place::Inode(ino),
            "i_size",
            size,
            Expected::Range(0, most),
        ));
    }
    Ok(size)
}

fn blocks_512(sb: &Superblock, raw: &RawInode, flags: InodeFlags) -> u64 {
    if !sb.features.ro_compat(RoCompat::HUGE_FILE) {
        return u64::from(raw.i_blocks_lo.get());
    }
    let count = join(raw.l_i_blocks_high.get(), raw.i_blocks_lo.get());
    if flags.contains(InodeFlags::HUGE_FILE) {
        // 48 bits shifted by 7 at most.
        count.wrapping_shl(sb.block_bits.saturating_sub(9))
    } else {
        count
    }
}

fn file_acl(sb: &Superblock, ino: InodeNumber, raw: &RawInode, hurd: bool) -> Result<FsBlock> {
    let high = if hurd || !sb.features.incompat(Incompat::BIT64) {
        0
    } else {
        raw.l_i_file_acl_high.get()
    };
    let block = FsBlock(join(high, raw.i_file_acl_lo.get()));
    if block.0 != 0 && !sb.contains(block, 1) {
        let range = Expected::Range(
            sb.superblock_block().0.saturating_add(1),
            sb.blocks.saturating_sub(1),
        );
        return Err(Error::value(Place::Inode(ino), "i_file_acl", block, range));
    }
    Ok(block)
}

/// A time: 32 signed bits of seconds; with the extra field, 2 bits that count on in steps of 2^32, and nanoseconds.
fn time(seconds: u32, extra: Option<u32>) -> Timespec {
    let seconds = i64::from(seconds.cast_signed());
    let Some(extra) = extra else {
        return Timespec {
            sec: seconds,
            nsec: 0,
        };
    };
    let epoch = i64::from(extra & 3).wrapping_shl(32);
    let nsec = extra >> 2;
    // Thirty bits can hold more than a second has: such a value is no time, the seconds still are.
    Timespec {
        sec: seconds.wrapping_add(epoch),
        nsec: if nsec < 1_000_000_000 { nsec } else { 0 },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the low half is what is wanted"
)]
fn seconds(time: Timespec) -> u32 {
    time.sec as u32
}

fn extra_time(time: Timespec) -> u32 {
    // What is left after the signed low half counts in steps of 2^32.
    let low = i64::from(seconds(time).cast_signed());
    let epoch = u32::try_from((time.sec.wrapping_sub(low) >> 32) & 3).unwrap_or(0);
    epoch | time.nsec.wrapping_shl(2)
}

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

/// A time as the inode can keep it: 32 signed bits of seconds, with two more upwards and nanoseconds if it has the fields
/// for them. What is out of range becomes the nearest, as in Linux.
#[must_use]
pub fn clamp_time(inode: &Inode, time: Timespec) -> Timespec {
    const LEAST: i64 = i32::MIN as i64;
    let wide = usize::from(inode.extra_isize)
        >= offset_of!(RawInodeExtra, i_atime_extra).saturating_add(4);
    let most = if wide {
        (1_i64 << 34).saturating_add(LEAST).saturating_sub(1)
    } else {
        i64::from(i32::MAX)
    };
    if time.sec < LEAST || time.sec > most {
        return Timespec::from_secs(time.sec.clamp(LEAST, most));
    }
    Timespec {
        sec: time.sec,
        nsec: if wide { time.nsec } else { 0 },
    }
}

impl Inode {
    /// Sets modification and change time.
    pub fn touch(&mut self, time: Timespec) {
        let time = clamp_time(self, time);
        self.mtime = time;
        self.ctime = time;
    }

    /// Sets all times, that of creation if the inode has room for it.
    pub fn set_all_times(&mut self, time: Timespec) {
        self.touch(time);
        self.atime = self.mtime;
        let crtime = offset_of!(RawInodeExtra, i_crtime_extra).saturating_add(4);
        self.crtime = (usize::from(self.extra_isize) >= crtime).then_some(self.mtime);
    }
}

/// `i_dtime` of the inode in `bytes`.
pub(crate) fn stored_dtime(bytes: &[u8]) -> u32 {
    RawInode::ref_from_prefix(bytes).map_or(0, |(raw, _)| raw.i_dtime.get())
}

/// Changes `i_dtime` of the inode in `bytes`; its checksum is the caller's.
pub(crate) fn set_dtime(bytes: &mut [u8], dtime: u32) {
    if let Ok((raw, _)) = RawInode::mut_from_prefix(bytes) {
        raw.i_dtime.set(dtime);
    }
}

/// `i_dtime` of an inode as it is now.
pub(crate) fn dtime_of(fs: &Ext2fs, ino: InodeNumber) -> Result<u32> {
    let (_, location, data) = fs.inode_bytes(ino)?;
    Ok(stored_dtime(
        data.get(location.offset..).unwrap_or_default(),
    ))
}

fn verify(sb: &Superblock, ino: InodeNumber, bytes: &[u8]) -> Result<()> {
    match checksums(sb, ino, bytes) {
        Some((stored, computed)) if stored != computed => Err(Error::Checksum {
            place: Place::Inode(ino),
            stored,
            computed,
        }),
        _ => Ok(()),
    }
}

impl Ext2fs {
    /// Reads an inode.
    ///
    /// # Errors
    /// [`Error::Unallocated`] if it is not in use, [`Error::Checksum`], [`Error::Value`] for a field out of range or a
    /// number that is no inode's, [`Error::Device`].
    pub fn inode(&self, ino: InodeNumber) -> Result<Inode> {
        let (_, location, data) = self.inode_bytes(ino)?;
        let sb = self.superblock();
        let size = usize::from(sb.inode_size);
        let bytes = data
            .get(location.offset..location.offset.saturating_add(size))
            .unwrap_or_default();
        Inode::parse(sb, ino, location, bytes)
    }

    /// The buffer that an inode lies in, its place, and the buffer's content, checked.
    pub(crate) fn inode_bytes(
        &self,
        ino: InodeNumber,
    ) -> Result<(Buf, DescLocation, rumpbio::BufData)> {
        let location = self.inode_location(ino)?;
        let place = Place::Inode(ino);
        let (buf, alone) = self.read_table_block(ino, location, place)?;
        let data = buf.data();
        if !buf.verified() && self.superblock().features.metadata_csum() {
            let size = usize::from(self.superblock().inode_size);
            let bytes = data
                .get(location.offset..location.offset.saturating_add(size))
                .unwrap_or_default();
            let unused =
                RawInode::ref_from_prefix(bytes).is_ok_and(|(raw, _)| raw.i_mode.get() == 0);
            if !unused {
                verify(self.superblock(), ino, bytes)?;
            }
            // What was read for one inode may be gone before another one of it is asked for.
            if !alone {
                self.verify_inode_block(&buf, ino, location, &data);
            }
        }
        Ok((buf, location, data))
    }

    /// Reads a block of an inode table; whether it came from the medium alone. Next to blocks that were read lately it comes
    /// with its neighbours: whoever lists a directory will ask for those as well. Elsewhere it does not: a large directory
    /// that is listed by hash asks for inodes all over the tables, and neighbours would only drive each other out.
    fn read_table_block(
        &self,
        ino: InodeNumber,
        location: DescLocation,
        place: Place,
    ) -> Result<(Buf, bool)> {
        let volume = self.volume();
        if let Some(buf) = volume.cached(location.block.0) {
            return Ok((buf, false));
        }
        let sb = self.superblock();
        let window = TABLE_READ_AHEAD.wrapping_shr(sb.block_bits).max(1);
        let near = self.recent().near(location.block.0, u64::from(window));
        if near {
            let n = sb.inode_group(ino).map_or(0, |(_, n)| n);
            let block = n.checked_div(sb.inodes_per_block()).unwrap_or(0);
            // A power of two, so this is the start of the window; what lies past the table is not read.
            let before = block & window.saturating_sub(1);
            let first = location.block.0.saturating_sub(u64::from(before));
            let left = sb
                .inode_table_blocks()
                .saturating_sub(block.saturating_sub(before));
            volume.read_ahead(first, window.min(left));
        }
        Ok((self.read(location.block, place)?, !near))
    }

    /// Marks a block of an inode table as verified if every inode in it is right. Inodes without a type were never used
    /// and may hold anything. If one is wrong the others stay usable: each is then checked whenever it is read.
    fn verify_inode_block(&self, buf: &Buf, ino: InodeNumber, location: DescLocation, data: &[u8]) {
        let sb = self.superblock();
        let size = usize::from(sb.inode_size);
        let before = u32::try_from(location.offset.checked_div(size).unwrap_or(0)).unwrap_or(0);
        let first = ino.0.saturating_sub(before);
        let all = (first..=sb.inodes)
            .zip(data.chunks_exact(size))
            .all(|(ino, bytes)| {
                let unused =
                    RawInode::ref_from_prefix(bytes).is_ok_and(|(raw, _)| raw.i_mode.get() == 0);
                unused || verify(sb, InodeNumber(ino), bytes).is_ok()
            });
        if all {
            buf.set_verified();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_epoch_come_back() {
        // The ends of each of the four epochs of 2^32 seconds, which start at -2^31.
        for sec in [
            -(1_i64 << 31),
            -1,
            0,
            (1 << 31) - 1,
            1 << 31,
            (1 << 32) + 5,
            (3 << 32) + (1 << 31) - 1,
        ] {
            let there = Timespec {
                sec,
                nsec: 999_999_999,
            };
            assert_eq!(time(seconds(there), Some(extra_time(there))), there);
        }
        // Without the extra field: 32 signed bits.
        assert_eq!(time(0xFFFF_FFFF, None), Timespec { sec: -1, nsec: 0 });
        // More nanoseconds than a second has are none.
        assert_eq!(
            time(7, Some(1_000_000_000 << 2)),
            Timespec { sec: 7, nsec: 0 }
        );
    }

    #[test]
    fn file_types_and_their_codes() {
        use FileType::{BlockDevice, CharDevice, Directory, Fifo, Regular, Socket, Symlink};
        for file_type in [
            Regular,
            Directory,
            Symlink,
            CharDevice,
            BlockDevice,
            Fifo,
            Socket,
        ] {
            assert_eq!(
                FileType::from_mode(file_type.mode_bits() | 0o7777),
                Some(file_type)
            );
            assert_eq!(
                FileType::from_entry(file_type.entry_type()),
                Some(file_type)
            );
        }
        assert_eq!(FileType::from_mode(0o7777), None);
        assert_eq!(FileType::from_entry(0), None);
    }
}
