//! Inodes: decoding and encoding.

mod checksum;
mod file_type;
mod flags;
mod project;
mod table;
mod times;

pub use checksum::{csum_seed, update_checksum};
pub(crate) use file_type::{entry_type, from_entry};
pub use flags::InodeFlags;
pub(crate) use table::{dtime_of, set_dtime, stored_dtime};
pub use times::clamp_time;

use self::times::{extra_time, seconds, time};
use crate::{
    error::{Error, Expected, Place, Result},
    features::{Incompat, RoCompat},
    groups::DescLocation,
    layout::inode::{EXT4_GOOD_OLD_INODE_SIZE, I_BLOCK_SIZE, RawInode, RawInodeExtra},
    layout::superblock::EXT4_OS_HURD,
    layout::xattr::EXT4_XATTR_MAGIC,
    superblock::Superblock,
    types::{FsBlock, InodeNumber, join, low16, low32, number},
};
use core::mem::offset_of;
pub use rumpkern::FileType;
use rumpuser::Timespec;
use zerocopy::FromBytes;

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
            let found = number(bytes.len());
            return Err(Error::words(
                place,
                "s_inode_size",
                found,
                "128 bytes or more",
            ));
        };
        let mode = raw.i_mode.get();
        if mode == 0 && raw.i_links_count.get() == 0 {
            return Err(Error::Unallocated(ino));
        }
        let Some(file_type) = FileType::from_mode(mode.into()) else {
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
            projid: extra.or_zero(offset_of!(RawInodeExtra, i_projid)),
            size: size(sb, ino, raw, file_type)?,
            atime: extra.time(raw.i_atime.get(), offset_of!(RawInodeExtra, i_atime_extra)),
            ctime: extra.time(raw.i_ctime.get(), offset_of!(RawInodeExtra, i_ctime_extra)),
            mtime: extra.time(raw.i_mtime.get(), offset_of!(RawInodeExtra, i_mtime_extra)),
            crtime: extra
                .field(offset_of!(RawInodeExtra, i_crtime))
                .map(|low| extra.time(low, offset_of!(RawInodeExtra, i_crtime_extra))),
            dtime: raw.i_dtime.get(),
            links: raw.i_links_count.get(),
            blocks_512: blocks_512(sb, raw, flags),
            flags,
            generation: raw.i_generation.get(),
            version: match hurd {
                true => 0,
                false => join(
                    extra.or_zero(offset_of!(RawInodeExtra, i_version_hi)),
                    raw.l_i_version.get(),
                ),
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
        checksum::seal(sb, self.csum_seed, bytes);
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
        u16::try_from(self.file_type.mode_bits()).unwrap_or(0) | self.permissions
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
        if !matches!(self.file_type, FileType::Character | FileType::Block) {
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

    fn or_zero(&self, offset: usize) -> u32 {
        self.field(offset).unwrap_or(0)
    }

    /// The time whose low half stands among the first 128 bytes, and the rest here at `offset`.
    fn time(&self, low: u32, offset: usize) -> Timespec {
        time(low, self.field(offset))
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
