//! The superblock: found, checked, and its numbers as the rest of the driver needs them.

use crate::{
    error::{Error, Place, Result, at},
    layout::{
        CLUSTER_RUNS_MAX, DIRECT, FLAGS_UPDATED, INODE_FORMAT_44, MAGIC_UFS1, MAGIC_UFS2,
        POSTBL_42, QUOTA_MAGIC, RawSuperblock, SUPERBLOCK_LEN, SUPERBLOCK_PLACES, volume_flag,
    },
    types::{Order, Version, number},
};
use alloc::{string::String, vec::Vec};
use rumpuser::BlockDevice;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// Whose variant of the format it is, where something in the superblock tells. The two give some fields and flags different
/// meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Has a WAPBL journal or NetBSD's quota.
    NetBsd,
    /// Has a provider size, check hashes, or flags that only FreeBSD knows.
    FreeBsd,
    /// Nothing tells.
    Unknown,
}

/// A checked superblock.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// Its byte on the device.
    pub at: u64,
    /// Byte order.
    pub order: Order,
    /// Format.
    pub version: Version,
    /// Whose variant.
    pub maker: Maker,
    /// Logarithm of a block's bytes: 12 to 16.
    pub block_bits: u32,
    /// Logarithm of a fragment's bytes: 9 to 16. Fragments are the unit of all addresses.
    pub frag_bits: u32,
    /// Cylinder groups.
    pub groups: u32,
    /// Inodes in each.
    pub inodes_per_group: u32,
    /// Fragments in each.
    pub frags_per_group: u32,
    /// Fragment in a group where its copy of the superblock is.
    pub copy: u32,
    /// Fragment in a group where its own block is, with the maps of what is free ([`crate::cg`]).
    pub group_block: u32,
    /// Fragment in a group where its inodes begin.
    pub inode_table: u32,
    /// Fragment in a group where its data begins, behind the inodes.
    pub data_start: u32,
    /// Bytes in use of a group's own block.
    pub group_bytes: u32,
    /// Fragment with the summary: the counts of each group.
    pub summary: u64,
    /// Bytes of the summary, in whole fragments.
    pub summary_bytes: u32,
    /// Longest run of free blocks that groups count; 0: they count none, and have no map of free blocks.
    pub cluster_runs: u32,
    /// Cylinders in a group, and rotational positions: the sizes of UFS1's old tables. 0 in UFS2.
    pub cylinders: (u32, u32),
    /// `fs_old_cgoffset` and `fs_old_cgmask` of UFS1: how the structures of groups are staggered.
    pub stagger: (u32, u32),
    /// Fragments of the volume.
    pub size: u64,
    /// Fragments for data.
    pub data_size: u64,
    /// Percent of these that is kept for the superuser.
    pub min_free: u32,
    /// What is free.
    pub free: Free,
    /// Number of directories.
    pub directories: u64,
    /// Bytes below which the target of a symbolic link is in the inode; 0: never.
    pub inline_link: usize,
    /// Inodes have 16-bit owners, and directories no types (4.3BSD).
    pub old_inodes: bool,
    /// Directories have no types: the length of a name has 16 bits.
    pub old_directories: bool,
    /// What allocation goes by.
    pub policy: Policy,
    /// Geometry of the disk in UFS1's old layout, in which blocks are counted by rotational position; `None` in the new one.
    pub disk: Option<Disk>,
    /// Bytes of the superblock: `fs_sbsize`.
    pub length: u32,
    /// Has check hashes of FreeBSD: `fs_metackhash`.
    pub check_hashes: bool,
    /// Has NetBSD's quota inside.
    pub quota: bool,
    /// How it was left.
    pub clean: u8,
    /// See [`volume_flag`].
    pub flags: u32,
    /// The time of making and a random number.
    pub id: [u32; 2],
    /// `fs_volname`, up to the first zero byte.
    pub label: Vec<u8>,
    /// Where it was mounted last.
    pub mounted_on: Vec<u8>,
    /// Last change, in seconds since 1970.
    pub time: i64,
    /// The journal, if it holds what the volume does not.
    pub log: Option<LogPlace>,
    /// The place of a journal, in use or not.
    pub journal: Option<LogPlace>,
    /// See [`journal_flag`](crate::layout::journal_flag).
    pub journal_flags: u32,
    /// There are snapshots.
    pub has_snapshots: bool,
}

/// What allocation goes by: advice, checked by nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Most blocks that a file gets in one group before it goes on in another: `fs_maxbpg`.
    pub max_blocks: u32,
    /// Bytes that a file is expected to have: `fs_avgfilesize`.
    pub file_size: u32,
    /// Files that a directory is expected to have: `fs_avgfpdir`.
    pub files_per_dir: u32,
}

/// Geometry of the disk in UFS1's old layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Sectors of a cylinder: `fs_old_spc`.
    pub sectors: u32,
    /// Sectors of a track: `fs_old_nsect`.
    pub track: u32,
    /// The same with spare ones: `fs_old_npsect`.
    pub track_all: u32,
    /// `fs_old_interleave`.
    pub interleave: u32,
    /// `fs_old_trackskew`.
    pub skew: u32,
    /// Sectors of a fragment: `fs_old_nspf`.
    pub frag_sectors: u32,
}

/// What is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// Whole blocks.
    pub blocks: u64,
    /// Fragments outside of these.
    pub frags: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Where the journal is, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// `fs_journal_version`.
    pub version: u8,
    /// `fs_journal_location`: 1 behind the file system, 2 inside it.
    pub location: u8,
    /// First block.
    pub start: u64,
    /// Number of blocks.
    pub count: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// The inode that has its blocks, if it is inside; else 0.
    pub inode: u64,
}

/// A superblock that was found by its magic number and nothing else.
pub struct Found {
    at: u64,
    order: Order,
    version: Version,
    bytes: [u8; SUPERBLOCK_LEN],
}

/// Looks for the superblock. A copy of one, as every cylinder group has, is not taken for it.
///
/// # Errors
/// [`Error::Device`].
pub fn find(device: &dyn BlockDevice) -> Result<Option<Found>> {
    for place in SUPERBLOCK_PLACES {
        let end = place.saturating_add(number(SUPERBLOCK_LEN));
        if end > device.len() {
            continue;
        }
        let mut bytes = [0; SUPERBLOCK_LEN];
        let read = device.read_at(place, &mut bytes);
        read.map_err(at(Place::Superblock(place)))?;
        let found = recognise::<LittleEndian>(place, Order::Little, &bytes)
            .or_else(|| recognise::<BigEndian>(place, Order::Big, &bytes));
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The superblock or the copy of one at a byte.
///
/// # Errors
/// [`Error::Device`].
pub(crate) fn at_byte(device: &dyn BlockDevice, byte: u64) -> Result<Option<Found>> {
    let mut bytes = [0; SUPERBLOCK_LEN];
    let read = device.read_at(byte, &mut bytes);
    read.map_err(at(Place::Superblock(byte)))?;
    Ok(recognise_copy(byte, &bytes))
}

/// A copy, wherever it lies.
pub(crate) fn recognise_copy(at: u64, bytes: &[u8]) -> Option<Found> {
    let bytes: [u8; SUPERBLOCK_LEN] = bytes.try_into().ok()?;
    let magic = bytes.get(SUPERBLOCK_LEN.saturating_sub(4)..)?;
    [Order::Little, Order::Big].into_iter().find_map(|order| {
        let version = match order.u32(magic)? {
            MAGIC_UFS1 => Version::Ufs1,
            MAGIC_UFS2 => Version::Ufs2,
            _ => return None,
        };
        Some(Found {
            at,
            order,
            version,
            bytes,
        })
    })
}

fn recognise<O: ByteOrder>(
    place: u64,
    order: Order,
    bytes: &[u8; SUPERBLOCK_LEN],
) -> Option<Found> {
    let raw = RawSuperblock::<O>::ref_from_bytes(bytes).ok()?;
    let version = match raw.magic.get() {
        MAGIC_UFS1 => Version::Ufs1,
        MAGIC_UFS2 => Version::Ufs2,
        _ => return None,
    };
    // A volume of the old layout has its superblock at 8192 (or 0); with blocks of 64 KiB, what is at 65536 is the copy.
    let itself = if is_old(raw, version) {
        place < 65_536
    } else {
        raw.sblockloc.get() == place
    };
    itself.then_some(Found {
        at: place,
        order,
        version,
        bytes: *bytes,
    })
}

/// Whether the fields of the new layout mean nothing.
fn is_old<O: ByteOrder>(raw: &RawSuperblock<O>, version: Version) -> bool {
    version == Version::Ufs1 && raw.old_flags & FLAGS_UPDATED == 0
}

impl Found {
    /// Checks it.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn check(&self) -> Result<Superblock> {
        match self.order {
            Order::Little => self.checked::<LittleEndian>(),
            Order::Big => self.checked::<BigEndian>(),
        }
    }

    fn checked<O: ByteOrder>(&self) -> Result<Superblock> {
        let raw = RawSuperblock::<O>::ref_from_bytes(&self.bytes).map_err(|_| Error::NotFfs)?;
        let (order, version) = (self.order, self.version);
        let sizes = Sizes::check(self.at, version, raw)?;
        let old = is_old(raw, version);
        let (size, data_size) = if old {
            (raw.old_size.get().into(), raw.old_dsize.get().into())
        } else {
            (raw.size.get(), raw.dsize.get())
        };
        check_groups(self.at, version, raw, size)?;
        let maker = if old { Maker::Unknown } else { maker(raw) };
        let journal = (!old && maker != Maker::FreeBsd).then(|| log_place(raw));
        let old_inodes = version == Version::Ufs1 && raw.old_inodefmt.get() < INODE_FORMAT_44;
        let inline_link = usize::try_from(raw.maxsymlinklen.get()).unwrap_or(0);
        if inline_link > version.inline_room() {
            let found = number(inline_link);
            return Err(self.wrong("maxsymlinklen", found, "60, in UFS2 120, or less"));
        }
        let (directories, free) = if old {
            totals(&raw.old_cstotal.map(|n| u64::from(n.get())))
        } else {
            totals(&raw.cstotal.map(|n| n.get()))
        };
        Ok(Superblock {
            at: self.at,
            order,
            version,
            maker,
            block_bits: sizes.block_bits,
            frag_bits: sizes.frag_bits,
            groups: raw.ncg.get(),
            inodes_per_group: raw.ipg.get(),
            frags_per_group: raw.fpg.get(),
            copy: u32::try_from(raw.sblkno.get()).unwrap_or(0),
            group_block: u32::try_from(raw.cblkno.get()).unwrap_or(0),
            inode_table: raw.iblkno.get(),
            data_start: raw.dblkno.get(),
            group_bytes: raw.cgsize.get(),
            summary: if old {
                raw.old_csaddr.get().into()
            } else {
                raw.csaddr.get()
            },
            summary_bytes: raw.cssize.get(),
            cluster_runs: u32::try_from(raw.contigsumsize.get())
                .unwrap_or(0)
                .min(CLUSTER_RUNS_MAX),
            cylinders: cylinders(version, raw),
            stagger: match version {
                Version::Ufs1 => (raw.old_cgoffset.get(), raw.old_cgmask.get()),
                Version::Ufs2 => (0, u32::MAX),
            },
            size,
            data_size,
            min_free: raw.minfree.get().min(100),
            free,
            directories,
            inline_link,
            old_inodes,
            old_directories: old_inodes && inline_link == 0,
            policy: policy(raw, old),
            disk: old.then(|| disk(raw)),
            length: raw.sbsize.get(),
            check_hashes: !old && maker == Maker::FreeBsd && raw.metackhash.get() != 0,
            quota: !old && raw.quota_magic.get() == QUOTA_MAGIC && raw.quota_flags != 0,
            clean: raw.clean,
            flags: if old {
                u32::from(raw.old_flags)
            } else {
                raw.flags.get()
            },
            id: raw.id.map(|n| n.get()),
            label: if old { Vec::new() } else { text(&raw.volname) },
            mounted_on: text(&raw.fsmnt),
            time: if old {
                raw.old_time.get().into()
            } else {
                raw.time.get()
            },
            log: journal.filter(|_| raw.flags.get() & volume_flag::WAPBL != 0),
            journal: journal.filter(|place| place.version != 0),
            journal_flags: journal.map_or(0, |_| raw.journal_flags.get()),
            has_snapshots: !old && raw.snapinum.iter().any(|ino| ino.get() != 0),
        })
    }

    fn wrong(&self, field: &'static str, found: u64, expected: &'static str) -> Error {
        Error::value(Place::Superblock(self.at), field, found, expected)
    }
}

struct Sizes {
    block_bits: u32,
    frag_bits: u32,
}

impl Sizes {
    fn check<O: ByteOrder>(at: u64, version: Version, raw: &RawSuperblock<O>) -> Result<Self> {
        let wrong = |field, found: u32, expected| {
            Error::value(Place::Superblock(at), field, found, expected)
        };
        let (block, frag) = (raw.bsize.get(), raw.fsize.get());
        if !block.is_power_of_two() || !(4096..=65_536).contains(&block) {
            return Err(wrong("bsize", block, "a power of two, 4096 to 65536"));
        }
        if !frag.is_power_of_two() || !(512..=block).contains(&frag) {
            return Err(wrong("fsize", frag, "a power of two, 512 to bsize"));
        }
        let (block_bits, frag_bits) = (block.trailing_zeros(), frag.trailing_zeros());
        let ratio_bits = block_bits.saturating_sub(frag_bits);
        if ratio_bits > 3 {
            return Err(wrong("fsize", frag, "an eighth of bsize, or more"));
        }
        let told = [
            ("frag", raw.frag.get(), 1_u32.wrapping_shl(ratio_bits)),
            ("bshift", raw.bshift.get(), block_bits),
            ("fshift", raw.fshift.get(), frag_bits),
            ("fragshift", raw.fragshift.get(), ratio_bits),
            (
                "inopb",
                raw.inopb.get(),
                block.wrapping_shr(version.inode_bits()),
            ),
            (
                "nindir",
                raw.nindir.get(),
                block.wrapping_shr(version.pointer_bits()),
            ),
        ];
        for (field, found, expected) in told {
            if found != expected {
                return Err(wrong(field, found, "what follows from bsize and fsize"));
            }
        }
        let sbsize = raw.sbsize.get();
        if !(1376..=8192).contains(&sbsize) {
            return Err(wrong("sbsize", sbsize, "1376 to 8192"));
        }
        Ok(Self {
            block_bits,
            frag_bits,
        })
    }
}

/// Groups tile the volume, and the inodes of one lie within it.
fn check_groups<O: ByteOrder>(
    at: u64,
    version: Version,
    raw: &RawSuperblock<O>,
    size: u64,
) -> Result<()> {
    let place = Place::Superblock(at);
    let [groups, inodes, frags] = [raw.ncg.get(), raw.ipg.get(), raw.fpg.get()].map(u64::from);
    for (field, n) in [("ncg", groups), ("ipg", inodes), ("fpg", frags)] {
        if n == 0 {
            return Err(Error::value(place, field, n, "1 or more"));
        }
    }
    if groups.saturating_mul(inodes) > u64::from(u32::MAX) {
        return Err(Error::value(place, "ipg", inodes, "fewer than 2^32 inodes"));
    }
    if size == 0 || size > groups.saturating_mul(frags) {
        return Err(Error::value(place, "size", size, "what ncg groups have"));
    }
    let bytes = inodes.saturating_mul(1_u64.wrapping_shl(version.inode_bits()));
    let table = bytes.div_ceil(u64::from(raw.fsize.get().max(1)));
    let first = u64::from(raw.iblkno.get());
    if first == 0 || first.saturating_add(table) > frags {
        return Err(Error::value(place, "iblkno", first, "room for ipg inodes"));
    }
    Ok(())
}

/// Directories, and what is free.
fn totals(totals: &[u64]) -> (u64, Free) {
    match totals {
        [directories, blocks, inodes, frags, ..] => (
            *directories,
            Free {
                blocks: *blocks,
                frags: *frags,
                inodes: *inodes,
            },
        ),
        _ => (0, Free::default()),
    }
}

/// Cylinders of a group, and rotational positions. 4.2BSD has eight of these and no field that says so.
fn cylinders<O: ByteOrder>(version: Version, raw: &RawSuperblock<O>) -> (u32, u32) {
    if version == Version::Ufs2 {
        return (0, 0);
    }
    let positions = match raw.old_postblformat.get() {
        POSTBL_42 => 8,
        _ => positive(&raw.old_nrpos),
    };
    (positive(&raw.old_cpg), positions)
}

/// A number that is not negative, else 0.
fn positive<O: ByteOrder>(n: &zerocopy::byteorder::I32<O>) -> u32 {
    u32::try_from(n.get()).unwrap_or(0)
}

fn policy<O: ByteOrder>(raw: &RawSuperblock<O>, old: bool) -> Policy {
    let or = |n: u32, default: u32| if old || n == 0 { default } else { n };
    Policy {
        max_blocks: positive(&raw.maxbpg),
        file_size: or(positive(&raw.avgfilesize), 16_384),
        files_per_dir: or(positive(&raw.avgfpdir), 64),
    }
}

fn disk<O: ByteOrder>(raw: &RawSuperblock<O>) -> Disk {
    Disk {
        sectors: positive(&raw.old_spc),
        track: positive(&raw.old_nsect),
        track_all: positive(&raw.old_npsect),
        interleave: positive(&raw.old_interleave),
        skew: positive(&raw.old_trackskew),
        frag_sectors: positive(&raw.old_nspf),
    }
}

/// The text up to the first zero byte.
fn text(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default().to_vec()
}

fn maker<O: ByteOrder>(raw: &RawSuperblock<O>) -> Maker {
    use volume_flag::{ACLS, GJOURNAL, MULTILABEL, SUJ, TRIM};
    if raw.journal_version != 0 || raw.quota_magic.get() == QUOTA_MAGIC {
        return Maker::NetBsd;
    }
    let provider_size = raw.journallocs.first().map_or(0, |n| n.get());
    let flags = raw.flags.get() & (SUJ | ACLS | MULTILABEL | GJOURNAL | TRIM);
    if provider_size != 0 || flags != 0 || raw.metackhash.get() != 0 {
        return Maker::FreeBsd;
    }
    Maker::Unknown
}

fn log_place<O: ByteOrder>(raw: &RawSuperblock<O>) -> LogPlace {
    let [start, count, block_size, inode] = raw.journallocs.map(|n| n.get());
    LogPlace {
        version: raw.journal_version,
        location: raw.journal_location,
        start,
        count,
        block_size,
        inode,
    }
}

impl Superblock {
    /// Bytes of a block.
    #[must_use]
    pub fn block_size(&self) -> u64 {
        1_u64.wrapping_shl(self.block_bits)
    }

    /// Bytes of a fragment.
    #[must_use]
    pub fn frag_size(&self) -> u64 {
        1_u64.wrapping_shl(self.frag_bits)
    }

    /// Logarithm of the number of fragments in a block.
    #[must_use]
    pub fn ratio_bits(&self) -> u32 {
        self.block_bits.saturating_sub(self.frag_bits)
    }

    /// Logarithm of the number of pointers in a block.
    #[must_use]
    pub fn pointers_bits(&self) -> u32 {
        self.block_bits.saturating_sub(self.version.pointer_bits())
    }

    /// Bytes of the volume.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.size.saturating_mul(self.frag_size())
    }

    /// Fragments that are kept for the superuser.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        self.data_size
            .saturating_mul(self.min_free.into())
            .wrapping_div(100)
    }

    /// Inodes of the volume.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        u64::from(self.groups).saturating_mul(self.inodes_per_group.into())
    }

    /// Most bytes that a file's pointers reach.
    #[must_use]
    pub fn max_file_size(&self) -> u64 {
        let bits = self.pointers_bits();
        let levels = [bits, bits.saturating_mul(2), bits.saturating_mul(3)];
        let pointed = levels.iter().fold(number(DIRECT), |sum, bits| {
            sum.saturating_add(1_u64.wrapping_shl(*bits))
        });
        let most = i64::MAX.unsigned_abs();
        pointed.saturating_mul(self.block_size()).min(most)
    }

    /// Fragments that the block `block` of a file of `size` bytes has: fewer than a block at the end of a short file.
    #[must_use]
    pub(crate) fn frags_of(&self, size: u64, block: u64) -> u64 {
        let whole = 1_u64.wrapping_shl(self.ratio_bits());
        let start = block.wrapping_shl(self.block_bits);
        let left = size.saturating_sub(start);
        if block >= number(DIRECT) || left >= self.block_size() {
            return whole;
        }
        left.div_ceil(self.frag_size()).max(1)
    }

    /// The pointer at the start of `bytes`; `None` if they are too few.
    pub(crate) fn pointer(&self, bytes: &[u8]) -> Option<u64> {
        match self.version {
            Version::Ufs1 => self.order.u32(bytes).map(u64::from),
            Version::Ufs2 => self.order.u64(bytes),
        }
    }

    /// First fragment of a group.
    #[must_use]
    pub fn group_base(&self, group: u32) -> u64 {
        u64::from(self.frags_per_group).saturating_mul(group.into())
    }

    /// The fragment that the places of a group's structures count from: its first one, or staggered from there.
    #[must_use]
    pub fn group_start(&self, group: u32) -> u64 {
        let (offset, mask) = self.stagger;
        let turned = u64::from(offset).saturating_mul(u64::from(group & !mask));
        self.group_base(group).saturating_add(turned)
    }

    /// First fragment of a group's own block, with its maps.
    #[must_use]
    pub fn group_maps(&self, group: u32) -> u64 {
        self.group_start(group)
            .saturating_add(self.group_block.into())
    }

    /// Fragments of a group: the last one may have fewer.
    #[must_use]
    pub fn group_frags(&self, group: u32) -> u32 {
        let left = self.size.saturating_sub(self.group_base(group));
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(self.frags_per_group)
    }

    /// First byte of a group's inodes.
    #[must_use]
    pub fn inode_table_of(&self, group: u32) -> u64 {
        self.group_start(group)
            .saturating_add(self.inode_table.into())
            .saturating_mul(self.frag_size())
    }

    /// What the format would be called more exactly.
    #[must_use]
    pub fn variant(&self) -> &'static str {
        match (self.version, self.old_inodes) {
            (Version::Ufs1, true) => "ffs (4.3BSD)",
            (Version::Ufs1, false) => "ffs1",
            (Version::Ufs2, _) => "ffs2",
        }
    }

    /// The label as text; `None` if it is empty.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.label);
        (!text.is_empty()).then(|| text.into_owned())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec;
    use rumpuser_sim::MemDisk;
    use zerocopy::{FromZeros, IntoBytes};

    /// A small valid superblock of UFS2, or of UFS1's new layout, as the kernel writes it at `at`.
    pub(crate) fn raw<O: ByteOrder>(version: Version, at: u64) -> RawSuperblock<O> {
        let mut raw = RawSuperblock::<O>::new_zeroed();
        let set = |field: &mut zerocopy::byteorder::U32<O>, n: u32| field.set(n);
        set(&mut raw.bsize, 8192);
        set(&mut raw.fsize, 1024);
        set(&mut raw.frag, 8);
        set(&mut raw.bshift, 13);
        set(&mut raw.fshift, 10);
        set(&mut raw.fragshift, 3);
        set(&mut raw.sbsize, 2048);
        set(&mut raw.ncg, 2);
        set(&mut raw.ipg, 64);
        set(&mut raw.fpg, 1024);
        set(&mut raw.iblkno, 80);
        set(&mut raw.minfree, 5);
        let (magic, inopb, nindir, link) = match version {
            Version::Ufs1 => (MAGIC_UFS1, 64, 2048, 60),
            Version::Ufs2 => (MAGIC_UFS2, 32, 1024, 120),
        };
        set(&mut raw.magic, magic);
        set(&mut raw.inopb, inopb);
        set(&mut raw.nindir, nindir);
        raw.maxsymlinklen.set(link);
        raw.old_inodefmt.set(INODE_FORMAT_44);
        raw.old_flags = FLAGS_UPDATED;
        raw.sblockloc.set(at);
        raw.size.set(2000);
        raw.dsize.set(1700);
        raw
    }

    pub(crate) fn checked<O: ByteOrder>(raw: &RawSuperblock<O>, at: u64) -> Result<Superblock> {
        let mut bytes = vec![0; 65_536 + 8192];
        let start = usize::try_from(at).unwrap();
        bytes[start..][..SUPERBLOCK_LEN].copy_from_slice(raw.as_bytes());
        let disk = MemDisk::from_bytes(&bytes);
        find(&disk)?.ok_or(Error::NotFfs)?.check()
    }

    #[test]
    fn both_formats_and_orders_are_found_where_they_say_they_are() {
        for (version, at) in [(Version::Ufs1, 8192), (Version::Ufs2, 65_536)] {
            for place in [0, 8192, 65_536] {
                let little = checked(&raw::<LittleEndian>(version, at), place);
                let big = checked(&raw::<BigEndian>(version, at), place);
                if place == at {
                    let (little, big) = (little.unwrap(), big.unwrap());
                    assert_eq!((little.order, big.order), (Order::Little, Order::Big));
                    assert_eq!(
                        (little.version, little.size, big.size),
                        (version, 2000, 2000)
                    );
                    assert_eq!((little.block_size(), big.frag_size()), (8192, 1024));
                } else {
                    assert_eq!(little.err(), Some(Error::NotFfs));
                    assert_eq!(big.err(), Some(Error::NotFfs));
                }
            }
        }
    }

    #[test]
    fn the_old_layout_reads_its_own_fields() {
        let mut raw = raw::<BigEndian>(Version::Ufs1, 8192);
        raw.old_flags = 0;
        raw.size.set(u64::MAX);
        raw.dsize.set(u64::MAX);
        raw.sblockloc.set(u64::MAX);
        raw.cstotal.fill(u64::MAX.into());
        raw.volname.fill(0xFF);
        raw.journal_version = 0xFF;
        raw.flags.set(u32::MAX);
        raw.old_size.set(1500);
        raw.old_dsize.set(1300);
        raw.old_cstotal = [1, 2, 3, 4].map(Into::into);
        raw.old_inodefmt.set(-1);
        raw.maxsymlinklen.set(0);
        let superblock = checked(&raw, 8192).unwrap();
        assert_eq!((superblock.size, superblock.data_size), (1500, 1300));
        let free = Free {
            blocks: 2,
            inodes: 3,
            frags: 4,
        };
        assert_eq!(superblock.free, free);
        assert!(superblock.old_inodes && superblock.old_directories);
        assert!(superblock.log.is_none() && !superblock.has_snapshots);
        assert_eq!(superblock.label(), None);
        // What looks like one at 65536 is a copy.
        assert_eq!(checked(&raw, 65_536).err(), Some(Error::NotFfs));
    }

    #[test]
    fn variants_are_told_apart() {
        let of = |change: &dyn Fn(&mut RawSuperblock<LittleEndian>)| {
            let mut raw = raw(Version::Ufs2, 65_536);
            change(&mut raw);
            checked(&raw, 65_536).unwrap()
        };
        assert_eq!(of(&|_| {}).maker, Maker::Unknown);
        let wapbl = of(&|raw| {
            raw.flags.set(volume_flag::WAPBL);
            raw.journal_version = 1;
            raw.journal_location = 2;
            raw.journallocs = [7, 8, 512, 3].map(Into::into);
        });
        assert_eq!(wapbl.maker, Maker::NetBsd);
        let log = wapbl.log.unwrap();
        assert_eq!((log.start, log.count, log.block_size), (7, 8, 512));
        // The same flag, with FreeBSD's provider size: NFSv4 ACLs.
        let acls = of(&|raw| {
            raw.flags.set(volume_flag::WAPBL);
            raw.journallocs[0].set(4000);
        });
        assert_eq!((acls.maker, acls.log), (Maker::FreeBsd, None));
        assert_eq!(of(&|raw| raw.metackhash.set(1)).maker, Maker::FreeBsd);
        let quota = of(&|raw| raw.quota_magic.set(QUOTA_MAGIC));
        assert_eq!(quota.maker, Maker::NetBsd);
    }

    #[test]
    fn groups_of_ufs1_may_be_staggered() {
        let mut raw = raw::<LittleEndian>(Version::Ufs1, 8192);
        raw.old_cgoffset.set(16);
        raw.old_cgmask.set(!1);
        let superblock = checked(&raw, 8192).unwrap();
        assert_eq!(superblock.inode_table_of(0), 80 * 1024);
        assert_eq!(superblock.inode_table_of(1), (1024 + 16 + 80) * 1024);
    }

    #[test]
    fn pointers_reach_so_far() {
        let raw = raw::<LittleEndian>(Version::Ufs2, 65_536);
        let n = 1024_u64;
        let blocks = 12 + n + n * n + n * n * n;
        let superblock = checked(&raw, 65_536).unwrap();
        assert_eq!(superblock.max_file_size(), blocks * 8192);
    }
}
