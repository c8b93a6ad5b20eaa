//! Reading and checking the superblock.

use super::{MIN_BLOCK_LOG, Superblock, checksum};
use crate::{
    checksum::{CRC32C_START, crc32c},
    error::{Error, Expected, Place, Result, at},
    features::{Features, Incompat, RoCompat},
    layout::superblock as raw,
    layout::superblock::RawSuperblock,
    types::{FsBlock, InodeNumber, join},
};
use rumpuser::BlockDevice;
use zerocopy::FromBytes;

/// Largest `s_log_block_size`: 64 KiB.
const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// Largest cluster, as log2 of bytes.
const MAX_CLUSTER_LOG: u32 = 29;
/// `s_inode_size` of revision 0.
const OLD_INODE_SIZE: u16 = 128;
/// `s_first_ino` of revision 0.
const OLD_FIRST_INO: u32 = 11;

impl Superblock {
    /// Reads and checks the superblock of a device.
    ///
    /// # Errors
    /// [`Error::NotExt2`] where there is none; what [`parse`](Self::parse) gives.
    pub fn read(device: &dyn BlockDevice) -> Result<Self> {
        let mut bytes = [0; raw::SUPERBLOCK_SIZE];
        if device.len() < raw::SUPERBLOCK_OFFSET.saturating_add(1024) {
            return Err(Error::NotExt2 { found: 0 });
        }
        device
            .read_at(raw::SUPERBLOCK_OFFSET, &mut bytes)
            .map_err(at(Place::Superblock))?;
        Self::parse(&bytes, device.len())
    }

    /// Checks a superblock. `device_len` is the length of the device in bytes.
    ///
    /// # Errors
    /// [`Error::NotExt2`] for another magic number, [`Error::UnsupportedFeatures`], [`Error::Checksum`],
    /// [`Error::Truncated`] when the device is shorter than the volume, else [`Error::Value`] for the first field that is
    /// wrong.
    pub fn parse(bytes: &[u8; raw::SUPERBLOCK_SIZE], device_len: u64) -> Result<Self> {
        Self::parse_with(bytes, device_len, true)
    }

    /// As [`parse`](Self::parse), whatever the checksum is: what a write that was interrupted left. All fields are in their ranges,
    /// but who knows whether they belong together.
    pub(crate) fn parse_torn(bytes: &[u8; raw::SUPERBLOCK_SIZE], device_len: u64) -> Result<Self> {
        Self::parse_with(bytes, device_len, false)
    }

    fn parse_with(
        bytes: &[u8; raw::SUPERBLOCK_SIZE],
        device_len: u64,
        verify: bool,
    ) -> Result<Self> {
        // The array has the structure's size.
        let Ok(raw) = RawSuperblock::ref_from_bytes(bytes) else {
            return Err(Error::NotExt2 { found: 0 });
        };
        if raw.s_magic.get() != raw::EXT4_SUPER_MAGIC {
            return Err(Error::NotExt2 {
                found: raw.s_magic.get(),
            });
        }
        let features = Features::from_bits(
            raw.s_feature_compat.get(),
            raw.s_feature_incompat.get(),
            raw.s_feature_ro_compat.get(),
        );
        if let Some(names) = features.forbids_mount() {
            return Err(Error::UnsupportedFeatures(names.into()));
        }
        if verify {
            check_checksum(raw, bytes, &features)?;
        }
        let sizes = Sizes::parse(raw, &features)?;
        let device_blocks = device_len >> sizes.block_bits;
        if sizes.blocks > device_blocks {
            return Err(Error::Truncated {
                blocks: sizes.blocks,
                device: device_blocks,
            });
        }
        let superblock = Self::assemble(raw, features, &sizes)?;
        superblock.check_tables()?;
        Ok(superblock)
    }

    fn assemble(raw: &RawSuperblock, features: Features, sizes: &Sizes) -> Result<Self> {
        let old = raw.s_rev_level.get() == raw::EXT4_GOOD_OLD_REV;
        let csum_seed = if features.incompat(Incompat::CSUM_SEED) {
            raw.s_checksum_seed.get()
        } else {
            crc32c(CRC32C_START, &raw.s_uuid)
        };
        let ino = |n: u32| (n != 0).then_some(InodeNumber(n));
        Ok(Self {
            block_bits: sizes.block_bits,
            cluster_bits: sizes.cluster_bits,
            blocks: sizes.blocks,
            inodes: sizes.inodes,
            first_data_block: sizes.first_data_block,
            blocks_per_group: sizes.blocks_per_group,
            clusters_per_group: sizes.clusters_per_group,
            inodes_per_group: sizes.inodes_per_group,
            groups: sizes.groups,
            inode_size: sizes.inode_size,
            first_ino: InodeNumber(if old {
                OLD_FIRST_INO
            } else {
                raw.s_first_ino.get()
            }),
            desc_size: sizes.desc_size,
            reserved_gdt_blocks: raw.s_reserved_gdt_blocks.get(),
            first_meta_bg: if features.incompat(Incompat::META_BG) {
                raw.s_first_meta_bg.get()
            } else {
                u32::MAX
            },
            backup_bgs: raw.s_backup_bgs.map(|group| group.get()),
            log_groups_per_flex: raw.s_log_groups_per_flex,
            rev_level: raw.s_rev_level.get(),
            creator_os: raw.s_creator_os.get(),
            mmp_block: mmp_block(raw, &features, sizes)?,
            features,
            uuid: raw.s_uuid,
            volume_name: raw.s_volume_name,
            csum_seed,
            state: raw.s_state.get(),
            errors: raw.s_errors.get(),
            reserved_blocks: sizes
                .wide(raw.s_r_blocks_count_hi.get(), raw.s_r_blocks_count_lo.get()),
            def_resuid: raw.s_def_resuid.get(),
            def_resgid: raw.s_def_resgid.get(),
            hash_seed: raw.s_hash_seed.map(|word| word.get()),
            def_hash_version: raw.s_def_hash_version,
            // A volume that says neither was made where characters are signed or not: Linux then goes by its own
            // machine; most are x86, where they are signed.
            unsigned_hash: raw.s_flags.get() & raw::EXT2_FLAGS_UNSIGNED_HASH != 0,
            journal: ino(raw.s_journal_inum.get()),
            journal_uuid: raw.s_journal_uuid,
            orphan_file: ino(raw.s_orphan_file_inum.get()),
            last_orphan: ino(raw.s_last_orphan.get()),
            want_extra_isize: want_extra_isize(raw, sizes.inode_size)?,
            mmp_interval: raw.s_mmp_interval.get(),
            encoding: raw.s_encoding.get(),
            overhead_clusters: raw.s_overhead_blocks.get(),
        })
    }

    /// Fields that only make sense with each other.
    fn check_tables(&self) -> Result<()> {
        if self.first_ino.0 < OLD_FIRST_INO || self.first_ino.0 > self.inodes {
            let range = Expected::Range(u64::from(OLD_FIRST_INO), u64::from(self.inodes));
            return Err(value("s_first_ino", self.first_ino, range));
        }
        let gdt = u64::from(self.descriptor_blocks());
        let reserved = u64::from(self.reserved_gdt_blocks);
        if reserved > u64::from(self.block_size() >> 2) {
            let range = Expected::Range(0, u64::from(self.block_size() >> 2));
            return Err(value("s_reserved_gdt_blocks", reserved, range));
        }
        let first_meta_bg = u64::from(self.first_meta_bg);
        if self.features.incompat(Incompat::META_BG) && first_meta_bg > gdt {
            return Err(value(
                "s_first_meta_bg",
                first_meta_bg,
                Expected::Range(0, gdt),
            ));
        }
        // The primary descriptors must lie on the volume.
        let table_end = gdt
            .min(first_meta_bg)
            .saturating_add(self.superblock_block().0)
            .saturating_add(1);
        if table_end > self.blocks {
            return Err(Error::words(
                Place::Superblock,
                "s_blocks_count",
                self.blocks,
                "room for the group descriptors",
            ));
        }
        for (field, ino) in [
            ("s_journal_inum", self.journal),
            ("s_orphan_file_inum", self.orphan_file),
        ] {
            if let Some(ino) = ino.filter(|ino| ino.0 > self.inodes) {
                return Err(value(
                    field,
                    ino,
                    Expected::Range(0, u64::from(self.inodes)),
                ));
            }
        }
        Ok(())
    }
}

/// Numbers that decide the sizes of everything else.
struct Sizes {
    block_bits: u32,
    cluster_bits: u32,
    blocks: u64,
    inodes: u32,
    first_data_block: u32,
    blocks_per_group: u32,
    clusters_per_group: u32,
    inodes_per_group: u32,
    groups: u32,
    inode_size: u16,
    desc_size: u16,
    is_64bit: bool,
}

impl Sizes {
    fn parse(raw: &RawSuperblock, features: &Features) -> Result<Self> {
        let is_64bit = features.incompat(Incompat::BIT64);
        let log_block_size = raw.s_log_block_size.get();
        if log_block_size > MAX_LOG_BLOCK_SIZE {
            return Err(value(
                "s_log_block_size",
                log_block_size,
                Expected::Range(0, u64::from(MAX_LOG_BLOCK_SIZE)),
            ));
        }
        let block_bits = MIN_BLOCK_LOG.saturating_add(log_block_size);
        let mut sizes = Self {
            block_bits,
            cluster_bits: cluster_bits(raw, features)?,
            blocks: 0,
            inodes: raw.s_inodes_count.get(),
            first_data_block: raw.s_first_data_block.get(),
            blocks_per_group: raw.s_blocks_per_group.get(),
            clusters_per_group: 0,
            inodes_per_group: raw.s_inodes_per_group.get(),
            groups: 0,
            inode_size: inode_size(raw, block_bits)?,
            desc_size: desc_size(raw, is_64bit)?,
            is_64bit,
        };
        sizes.blocks = sizes.wide(raw.s_blocks_count_hi.get(), raw.s_blocks_count_lo.get());
        sizes.check_start()?;
        sizes.check_blocks_per_group(raw, features)?;
        sizes.check_inodes_per_group()?;
        sizes.count_groups()?;
        Ok(sizes)
    }

    /// Joins the halves of a number of blocks; the high one holds only with the 64bit feature.
    fn wide(&self, high: u32, low: u32) -> u64 {
        if self.is_64bit {
            join(high, low)
        } else {
            u64::from(low)
        }
    }

    fn check_start(&self) -> Result<()> {
        let expected = u32::from(self.block_bits == MIN_BLOCK_LOG && self.cluster_bits == 0);
        if self.first_data_block != expected {
            return Err(value(
                "s_first_data_block",
                self.first_data_block,
                Expected::Exactly(u64::from(expected)),
            ));
        }
        if self.blocks <= u64::from(self.first_data_block).saturating_add(1)
            || self.blocks >> 48 != 0
        {
            return Err(value(
                "s_blocks_count",
                self.blocks,
                Expected::Range(2, (1 << 48) - 1),
            ));
        }
        Ok(())
    }

    fn check_blocks_per_group(&mut self, raw: &RawSuperblock, features: &Features) -> Result<()> {
        let bits = u64::from(8_u32.wrapping_shl(self.block_bits));
        let ratio = u64::from(1_u32.wrapping_shl(self.cluster_bits));
        // Without bigalloc the second field is a fragment count that some makers leave alone.
        self.clusters_per_group = if features.ro_compat(RoCompat::BIGALLOC) {
            raw.s_clusters_per_group.get()
        } else {
            self.blocks_per_group
        };
        let clusters = u64::from(self.clusters_per_group);
        if clusters == 0 || clusters > bits {
            let field = if self.cluster_bits == 0 {
                "s_blocks_per_group"
            } else {
                "s_clusters_per_group"
            };
            return Err(value(field, clusters, Expected::Range(1, bits)));
        }
        let blocks = clusters.saturating_mul(ratio);
        if u64::from(self.blocks_per_group) != blocks {
            return Err(value(
                "s_blocks_per_group",
                self.blocks_per_group,
                Expected::Exactly(blocks),
            ));
        }
        Ok(())
    }

    fn check_inodes_per_group(&self) -> Result<()> {
        let bits = u64::from(8_u32.wrapping_shl(self.block_bits));
        let per_block =
            u64::from(1_u32.wrapping_shl(self.block_bits)).checked_div(u64::from(self.inode_size));
        let per_group = u64::from(self.inodes_per_group);
        let low = per_block.unwrap_or(1);
        if per_group < low || per_group > bits {
            return Err(value(
                "s_inodes_per_group",
                per_group,
                Expected::Range(low, bits),
            ));
        }
        Ok(())
    }

    fn count_groups(&mut self) -> Result<()> {
        let data = self.blocks.saturating_sub(u64::from(self.first_data_block));
        let groups = data.div_ceil(u64::from(self.blocks_per_group));
        let inodes = groups.saturating_mul(u64::from(self.inodes_per_group));
        if inodes != u64::from(self.inodes) {
            return Err(value(
                "s_inodes_count",
                self.inodes,
                Expected::Exactly(inodes),
            ));
        }
        self.groups = u32::try_from(groups).map_err(|_| {
            value(
                "s_blocks_per_group",
                self.blocks_per_group,
                Expected::Words("fewer than 4294967296 groups"),
            )
        })?;
        Ok(())
    }
}

fn value(field: &'static str, found: impl Into<u64>, expected: Expected) -> Error {
    Error::value(Place::Superblock, field, found, expected)
}

fn check_checksum(raw: &RawSuperblock, bytes: &[u8], features: &Features) -> Result<()> {
    if !features.metadata_csum() {
        return Ok(());
    }
    if raw.s_checksum_type != raw::EXT4_CRC32C_CHKSUM {
        let expected = Expected::Exactly(u64::from(raw::EXT4_CRC32C_CHKSUM));
        return Err(value("s_checksum_type", raw.s_checksum_type, expected));
    }
    let computed = checksum(bytes);
    let stored = raw.s_checksum.get();
    if computed != stored {
        return Err(Error::Checksum {
            place: Place::Superblock,
            stored,
            computed,
        });
    }
    Ok(())
}

fn cluster_bits(raw: &RawSuperblock, features: &Features) -> Result<u32> {
    let (cluster, block) = (raw.s_log_cluster_size.get(), raw.s_log_block_size.get());
    if !features.ro_compat(RoCompat::BIGALLOC) {
        if cluster != block {
            return Err(value(
                "s_log_cluster_size",
                cluster,
                Expected::Exactly(u64::from(block)),
            ));
        }
        return Ok(0);
    }
    let most = MAX_CLUSTER_LOG.saturating_sub(MIN_BLOCK_LOG);
    match cluster.checked_sub(block) {
        Some(bits) if cluster <= most => Ok(bits),
        _ => Err(value(
            "s_log_cluster_size",
            cluster,
            Expected::Range(u64::from(block), u64::from(most)),
        )),
    }
}

fn inode_size(raw: &RawSuperblock, block_bits: u32) -> Result<u16> {
    if raw.s_rev_level.get() == raw::EXT4_GOOD_OLD_REV {
        return Ok(OLD_INODE_SIZE);
    }
    let size = raw.s_inode_size.get();
    let most = 1_u32.wrapping_shl(block_bits);
    if size < OLD_INODE_SIZE || !size.is_power_of_two() || u32::from(size) > most {
        return Err(Error::words(
            Place::Superblock,
            "s_inode_size",
            size,
            "a power of two from 128 to the block size",
        ));
    }
    Ok(size)
}

fn desc_size(raw: &RawSuperblock, is_64bit: bool) -> Result<u16> {
    if !is_64bit {
        return Ok(32);
    }
    let size = raw.s_desc_size.get();
    if !size.is_power_of_two() || !(64..=1024).contains(&size) {
        return Err(Error::words(
            Place::Superblock,
            "s_desc_size",
            size,
            "a power of two from 64 to 1024",
        ));
    }
    Ok(size)
}

/// The block of multiple-mount protection, on a volume that has it.
fn mmp_block(raw: &RawSuperblock, features: &Features, sizes: &Sizes) -> Result<Option<FsBlock>> {
    if !features.incompat(Incompat::MMP) {
        return Ok(None);
    }
    let (block, first) = (raw.s_mmp_block.get(), u64::from(sizes.first_data_block));
    if !(first..sizes.blocks).contains(&block) {
        let range = Expected::Range(first, sizes.blocks.saturating_sub(1));
        return Err(value("s_mmp_block", block, range));
    }
    Ok(Some(FsBlock(block)))
}

/// What new inodes reserve: the wish of the superblock, at least what every inode must have, as far as it fits.
fn want_extra_isize(raw: &RawSuperblock, inode_size: u16) -> Result<u16> {
    let room = inode_size.saturating_sub(OLD_INODE_SIZE);
    if room == 0 {
        return Ok(0);
    }
    let features = Features::from_bits(0, 0, raw.s_feature_ro_compat.get());
    let (want, min) = (raw.s_want_extra_isize.get(), raw.s_min_extra_isize.get());
    if features.ro_compat(RoCompat::EXTRA_ISIZE) && want.max(min) > room {
        return Err(value(
            "s_want_extra_isize",
            want.max(min),
            Expected::Range(0, u64::from(room)),
        ));
    }
    let known = 32_u16;
    let size = if features.ro_compat(RoCompat::EXTRA_ISIZE) {
        want.max(min).max(known)
    } else {
        known
    };
    Ok(size.min(room) & !3)
}
