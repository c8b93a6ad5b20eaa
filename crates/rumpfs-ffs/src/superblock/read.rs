//! Finding a superblock and checking it.

use super::{Disk, Free, LogPlace, Maker, Policy, Superblock};
use crate::{
    error::{Error, Place, Result, at},
    layout::{
        CLUSTER_RUNS_MAX, FLAGS_UPDATED, INODE_FORMAT_44, MAGIC_UFS1, MAGIC_UFS2, POSTBL_42,
        QUOTA_MAGIC, RawSuperblock, SUPERBLOCK_LEN, SUPERBLOCK_PLACES, volume_flag,
    },
    types::{Order, Version, number},
};
use alloc::vec::Vec;
use rumpuser::BlockDevice;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

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
    /// The superblock, whose sizes and places are in their ranges and fit each other. Whether the device is as long is not looked at.
    ///
    /// # Errors
    /// [`Error::Value`] for the first field that holds what it must not.
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
        let moved = if old {
            Moved::old(raw)
        } else {
            Moved::new(raw)
        };
        check_groups(self.at, version, raw, moved.size)?;
        let maker = if old { Maker::Unknown } else { maker(raw) };
        let journal = (!old && maker != Maker::FreeBsd).then(|| log_place(raw));
        let old_inodes = version == Version::Ufs1 && raw.old_inodefmt.get() < INODE_FORMAT_44;
        let inline_link = self.inline_link(raw)?;
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
            summary: moved.summary,
            summary_bytes: raw.cssize.get(),
            cluster_runs: u32::try_from(raw.contigsumsize.get())
                .unwrap_or(0)
                .min(CLUSTER_RUNS_MAX),
            cylinders: cylinders(version, raw),
            stagger: match version {
                Version::Ufs1 => (raw.old_cgoffset.get(), raw.old_cgmask.get()),
                Version::Ufs2 => (0, u32::MAX),
            },
            size: moved.size,
            data_size: moved.data_size,
            min_free: raw.minfree.get().min(100),
            free: moved.free,
            directories: moved.directories,
            inline_link,
            old_inodes,
            old_directories: old_inodes && inline_link == 0,
            policy: policy(raw, old),
            disk: old.then(|| disk(raw)),
            length: raw.sbsize.get(),
            check_hashes: !old && maker == Maker::FreeBsd && raw.metackhash.get() != 0,
            quota: !old && raw.quota_magic.get() == QUOTA_MAGIC && raw.quota_flags != 0,
            clean: raw.clean,
            flags: moved.flags,
            id: raw.id.map(|n| n.get()),
            label: if old { Vec::new() } else { text(&raw.volname) },
            mounted_on: text(&raw.fsmnt),
            time: moved.time,
            log: journal.filter(|_| raw.flags.get() & volume_flag::WAPBL != 0),
            journal: journal.filter(|place| place.version != 0),
            journal_flags: journal.map_or(0, |_| raw.journal_flags.get()),
            has_snapshots: !old && raw.snapinum.iter().any(|ino| ino.get() != 0),
        })
    }

    /// Bytes of a target of a symbolic link that stands in the inode, at most.
    fn inline_link<O: ByteOrder>(&self, raw: &RawSuperblock<O>) -> Result<usize> {
        let most = usize::try_from(raw.maxsymlinklen.get()).unwrap_or(0);
        if most > self.version.inline_room() {
            let found = number(most);
            return Err(self.wrong("maxsymlinklen", found, "60, in UFS2 120, or less"));
        }
        Ok(most)
    }

    fn wrong(&self, field: &'static str, found: u64, expected: &'static str) -> Error {
        Error::value(Place::Superblock(self.at), field, found, expected)
    }
}

/// The fields that the new layout has elsewhere than the old one, most of them wider.
struct Moved {
    size: u64,
    data_size: u64,
    summary: u64,
    flags: u32,
    time: i64,
    directories: u64,
    free: Free,
}

impl Moved {
    fn old<O: ByteOrder>(raw: &RawSuperblock<O>) -> Self {
        let (directories, free) = totals(&raw.old_cstotal.map(|n| u64::from(n.get())));
        Self {
            size: raw.old_size.get().into(),
            data_size: raw.old_dsize.get().into(),
            summary: raw.old_csaddr.get().into(),
            flags: raw.old_flags.into(),
            time: raw.old_time.get().into(),
            directories,
            free,
        }
    }

    fn new<O: ByteOrder>(raw: &RawSuperblock<O>) -> Self {
        let (directories, free) = totals(&raw.cstotal.map(|n| n.get()));
        Self {
            size: raw.size.get(),
            data_size: raw.dsize.get(),
            summary: raw.csaddr.get(),
            flags: raw.flags.get(),
            time: raw.time.get(),
            directories,
            free,
        }
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
