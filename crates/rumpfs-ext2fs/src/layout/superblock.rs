//! The superblock: byte 1024 of the volume, copies in some groups ("Super Block").

use super::{U16, U32, U64, assert_size};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The magic number, `s_magic`.
pub const EXT4_SUPER_MAGIC: u16 = 0xEF53;
/// Where the superblock starts, in bytes from the start of the volume.
pub const SUPERBLOCK_OFFSET: u64 = 1024;
/// Bytes in the superblock.
pub const SUPERBLOCK_SIZE: usize = 1024;

/// `s_state`: cleanly unmounted.
pub const EXT4_VALID_FS: u16 = 0x0001;
/// `s_state`: errors were detected.
pub const EXT4_ERROR_FS: u16 = 0x0002;
/// `s_state`: orphans are being recovered.
pub const EXT4_ORPHAN_FS: u16 = 0x0004;

/// `s_flags`: directory hashes take names as signed bytes.
pub const EXT2_FLAGS_SIGNED_HASH: u32 = 0x0001;
/// `s_flags`: directory hashes take names as unsigned bytes.
pub const EXT2_FLAGS_UNSIGNED_HASH: u32 = 0x0002;
/// `s_flags`: for testing development code.
pub const EXT2_FLAGS_TEST_FILESYS: u32 = 0x0004;

/// `s_rev_level` of the original format.
pub const EXT4_GOOD_OLD_REV: u32 = 0;
/// `s_rev_level` of the format with dynamic inode sizes.
pub const EXT4_DYNAMIC_REV: u32 = 1;
/// `s_creator_os` of the Hurd, whose inodes have another `osd2`.
pub const EXT4_OS_HURD: u32 = 1;
/// `s_checksum_type` of crc32c.
pub const EXT4_CRC32C_CHKSUM: u8 = 1;

/// `struct ext4_super_block`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawSuperblock {
    /// 0x000: number of inodes.
    pub s_inodes_count: U32,
    /// 0x004: number of blocks, low half.
    pub s_blocks_count_lo: U32,
    /// 0x008: blocks reserved for the superuser, low half.
    pub s_r_blocks_count_lo: U32,
    /// 0x00c: free blocks, low half: blocks with bigalloc, too.
    pub s_free_blocks_count_lo: U32,
    /// 0x010: free inodes.
    pub s_free_inodes_count: U32,
    /// 0x014: block of group 0's start: 1 with 1 KiB blocks, else 0.
    pub s_first_data_block: U32,
    /// 0x018: block size is 1024 shifted left by this.
    pub s_log_block_size: U32,
    /// 0x01c: cluster size is 1024 shifted left by this.
    pub s_log_cluster_size: U32,
    /// 0x020: blocks in a group.
    pub s_blocks_per_group: U32,
    /// 0x024: clusters in a group.
    pub s_clusters_per_group: U32,
    /// 0x028: inodes in a group.
    pub s_inodes_per_group: U32,
    /// 0x02c: time of the last mount, low 32 bits.
    pub s_mtime: U32,
    /// 0x030: time of the last write, low 32 bits.
    pub s_wtime: U32,
    /// 0x034: mounts since the last check.
    pub s_mnt_count: U16,
    /// 0x036: mounts after which a check is due.
    pub s_max_mnt_count: U16,
    /// 0x038: [`EXT4_SUPER_MAGIC`].
    pub s_magic: U16,
    /// 0x03a: state: see [`EXT4_VALID_FS`].
    pub s_state: U16,
    /// 0x03c: what to do on an error: 1 continue, 2 read-only, 3 panic.
    pub s_errors: U16,
    /// 0x03e: minor revision.
    pub s_minor_rev_level: U16,
    /// 0x040: time of the last check, low 32 bits.
    pub s_lastcheck: U32,
    /// 0x044: longest time between checks in seconds.
    pub s_checkinterval: U32,
    /// 0x048: 0 Linux, 1 Hurd, 2 Masix, 3 FreeBSD, 4 Lites.
    pub s_creator_os: U32,
    /// 0x04c: 0: fixed inode size and no feature fields; 1: the fields below hold.
    pub s_rev_level: U32,
    /// 0x050: user that may use the reserved blocks.
    pub s_def_resuid: U16,
    /// 0x052: group that may use the reserved blocks.
    pub s_def_resgid: U16,
    /// 0x054: first inode that is not reserved.
    pub s_first_ino: U32,
    /// 0x058: bytes in an inode.
    pub s_inode_size: U16,
    /// 0x05a: the group of this copy.
    pub s_block_group_nr: U16,
    /// 0x05c: features that may be ignored.
    pub s_feature_compat: U32,
    /// 0x060: features that must be known to mount.
    pub s_feature_incompat: U32,
    /// 0x064: features that must be known to write.
    pub s_feature_ro_compat: U32,
    /// 0x068: identity of the volume.
    pub s_uuid: [u8; 16],
    /// 0x078: label, padded with zeros.
    pub s_volume_name: [u8; 16],
    /// 0x088: where it was mounted last.
    pub s_last_mounted: [u8; 64],
    /// 0x0c8: compression methods (never used by Linux).
    pub s_algorithm_usage_bitmap: U32,
    /// 0x0cc: blocks to allocate ahead for files.
    pub s_prealloc_blocks: u8,
    /// 0x0cd: blocks to allocate ahead for directories.
    pub s_prealloc_dir_blocks: u8,
    /// 0x0ce: blocks kept for the growth of the descriptor table.
    pub s_reserved_gdt_blocks: U16,
    /// 0x0d0: identity of an external journal.
    pub s_journal_uuid: [u8; 16],
    /// 0x0e0: inode of the journal.
    pub s_journal_inum: U32,
    /// 0x0e4: device number of an external journal.
    pub s_journal_dev: U32,
    /// 0x0e8: head of the list of inodes to delete.
    pub s_last_orphan: U32,
    /// 0x0ec: seed of directory hashes.
    pub s_hash_seed: [U32; 4],
    /// 0x0fc: hash of new indexed directories.
    pub s_def_hash_version: u8,
    /// 0x0fd: 1: `s_jnl_blocks` holds the journal's map.
    pub s_jnl_backup_type: u8,
    /// 0x0fe: bytes in a group descriptor, with the 64bit feature.
    pub s_desc_size: U16,
    /// 0x100: default mount options.
    pub s_default_mount_opts: U32,
    /// 0x104: first group of meta block groups.
    pub s_first_meta_bg: U32,
    /// 0x108: time of creation, low 32 bits.
    pub s_mkfs_time: U32,
    /// 0x10c: copy of the journal inode's `i_block` and size.
    pub s_jnl_blocks: [U32; 17],
    /// 0x150: number of blocks, high half.
    pub s_blocks_count_hi: U32,
    /// 0x154: reserved blocks, high half.
    pub s_r_blocks_count_hi: U32,
    /// 0x158: free blocks, high half.
    pub s_free_blocks_count_hi: U32,
    /// 0x15c: bytes that every inode has after the first 128.
    pub s_min_extra_isize: U16,
    /// 0x15e: bytes that new inodes reserve after the first 128.
    pub s_want_extra_isize: U16,
    /// 0x160: see [`EXT2_FLAGS_SIGNED_HASH`].
    pub s_flags: U32,
    /// 0x164: RAID stride in blocks.
    pub s_raid_stride: U16,
    /// 0x166: seconds between updates of the MMP block.
    pub s_mmp_interval: U16,
    /// 0x168: block of multiple mount protection.
    pub s_mmp_block: U64,
    /// 0x170: RAID stripe width in blocks.
    pub s_raid_stripe_width: U32,
    /// 0x174: a flexible group has 1 shifted left by this groups.
    pub s_log_groups_per_flex: u8,
    /// 0x175: 1: crc32c, the only one.
    pub s_checksum_type: u8,
    /// 0x176: version of encryption.
    pub s_encryption_level: u8,
    /// 0x177: padding.
    pub s_reserved_pad: u8,
    /// 0x178: KiB written in the volume's life.
    pub s_kbytes_written: U64,
    /// 0x180: never used by Linux.
    pub s_snapshot_inum: U32,
    /// 0x184: never used by Linux.
    pub s_snapshot_id: U32,
    /// 0x188: never used by Linux.
    pub s_snapshot_r_blocks_count: U64,
    /// 0x190: never used by Linux.
    pub s_snapshot_list: U32,
    /// 0x194: errors seen.
    pub s_error_count: U32,
    /// 0x198: time of the first error, low 32 bits.
    pub s_first_error_time: U32,
    /// 0x19c: inode of the first error.
    pub s_first_error_ino: U32,
    /// 0x1a0: block of the first error.
    pub s_first_error_block: U64,
    /// 0x1a8: function of the first error.
    pub s_first_error_func: [u8; 32],
    /// 0x1c8: line of the first error.
    pub s_first_error_line: U32,
    /// 0x1cc: time of the last error, low 32 bits.
    pub s_last_error_time: U32,
    /// 0x1d0: inode of the last error.
    pub s_last_error_ino: U32,
    /// 0x1d4: line of the last error.
    pub s_last_error_line: U32,
    /// 0x1d8: block of the last error.
    pub s_last_error_block: U64,
    /// 0x1e0: function of the last error.
    pub s_last_error_func: [u8; 32],
    /// 0x200: mount options as text.
    pub s_mount_opts: [u8; 64],
    /// 0x240: inode of user quotas.
    pub s_usr_quota_inum: U32,
    /// 0x244: inode of group quotas.
    pub s_grp_quota_inum: U32,
    /// 0x248: blocks of metadata, 0 if not computed.
    pub s_overhead_blocks: U32,
    /// 0x24c: groups of the two copies, with sparse_super2.
    pub s_backup_bgs: [U32; 2],
    /// 0x254: encryption methods in use.
    pub s_encrypt_algos: [u8; 4],
    /// 0x258: salt of the key derivation.
    pub s_encrypt_pw_salt: [u8; 16],
    /// 0x268: inode of lost+found.
    pub s_lpf_ino: U32,
    /// 0x26c: inode of project quotas.
    pub s_prj_quota_inum: U32,
    /// 0x270: seed of checksums, with metadata_csum_seed.
    pub s_checksum_seed: U32,
    /// 0x274: bits 32 to 39 of `s_wtime`.
    pub s_wtime_hi: u8,
    /// 0x275: bits 32 to 39 of `s_mtime`.
    pub s_mtime_hi: u8,
    /// 0x276: bits 32 to 39 of `s_mkfs_time`.
    pub s_mkfs_time_hi: u8,
    /// 0x277: bits 32 to 39 of `s_lastcheck`.
    pub s_lastcheck_hi: u8,
    /// 0x278: bits 32 to 39 of `s_first_error_time`.
    pub s_first_error_time_hi: u8,
    /// 0x279: bits 32 to 39 of `s_last_error_time`.
    pub s_last_error_time_hi: u8,
    /// 0x27a: error code of the first error.
    pub s_first_error_errcode: u8,
    /// 0x27b: error code of the last error.
    pub s_last_error_errcode: u8,
    /// 0x27c: character set of names, with casefold: 1 is UTF-8 12.1.
    pub s_encoding: U16,
    /// 0x27e: 1: strict, names that are no valid UTF-8 are refused.
    pub s_encoding_flags: U16,
    /// 0x280: inode of the orphan file.
    pub s_orphan_file_inum: U32,
    /// 0x284: padding.
    pub s_reserved: [U32; 94],
    /// 0x3fc: crc32c of all bytes before.
    pub s_checksum: U32,
}
assert_size!(RawSuperblock, 1024);
