//! Where the structures of an ext2, ext3 or ext4 image lie, and their checksums.

use super::{
    ext_journal,
    map::{Field, Fix, Map, Seal, Structure, fields},
};
use rumpfs_ext2fs::{
    Ext2fs,
    checksum::{CRC32C_START, crc32c, crc32c_u32},
    dir, extents,
    groups::{GroupFlags, descriptor_checksum},
    htree,
    inode::{self, FileType, Inode, InodeFlags},
    layout::{
        dir_entry::{RawDirEntry, RawDirEntryTail},
        extent::{RawExtent, RawExtentHeader, RawExtentIdx},
        group_desc::{RawGroupDesc, RawGroupDescHigh},
        htree::{RawDxCountLimit, RawDxEntry, RawDxRootInfo},
        inode::{I_BLOCK_OFFSET, RawInode, RawInodeExtra},
        mmp::RawMmp,
        superblock::{RawSuperblock, SUPERBLOCK_OFFSET},
        xattr::{RawXattrEntry, RawXattrHeader},
    },
    map::Mapping,
    superblock::Superblock,
    types::{FileBlock, GroupNumber, InodeNumber},
    xattr,
};
use rumpuser::BlockDevice as _;
use rumpuser_sim::{Loss, MemDisk};
use std::sync::Arc;

/// So many of each are enough.
const GROUPS_MAX: u32 = 40;
const INODES_MAX: usize = 500;
const DIR_BLOCKS_MAX: u32 = 40;
const ENTRIES_MAX: usize = 60;
const NODES_MAX: usize = 40;

const SUPERBLOCK: &[Field] = fields!(RawSuperblock:
    s_inodes_count, s_blocks_count_lo, s_r_blocks_count_lo, s_free_blocks_count_lo, s_free_inodes_count, s_first_data_block,
    s_log_block_size, s_log_cluster_size, s_blocks_per_group, s_clusters_per_group, s_inodes_per_group, s_mtime, s_mnt_count,
    s_max_mnt_count, s_magic, s_state, s_errors, s_minor_rev_level, s_checkinterval, s_creator_os, s_rev_level, s_def_resuid,
    s_first_ino, s_inode_size, s_block_group_nr, s_feature_compat, s_feature_incompat, s_feature_ro_compat, s_uuid,
    s_volume_name, s_last_mounted, s_reserved_gdt_blocks, s_journal_inum, s_journal_dev, s_last_orphan, s_hash_seed,
    s_def_hash_version, s_jnl_backup_type, s_desc_size, s_default_mount_opts, s_first_meta_bg, s_jnl_blocks,
    s_blocks_count_hi, s_r_blocks_count_hi, s_free_blocks_count_hi, s_min_extra_isize, s_want_extra_isize, s_flags,
    s_mmp_interval, s_mmp_block, s_log_groups_per_flex, s_checksum_type, s_encryption_level, s_kbytes_written, s_error_count,
    s_first_error_block, s_mount_opts, s_overhead_blocks, s_backup_bgs, s_encrypt_algos, s_lpf_ino, s_checksum_seed,
    s_wtime_hi, s_encoding, s_encoding_flags, s_orphan_file_inum, s_checksum);
const DESCRIPTOR: &[Field] = fields!(RawGroupDesc:
    bg_block_bitmap_lo, bg_inode_bitmap_lo, bg_inode_table_lo, bg_free_blocks_count_lo, bg_free_inodes_count_lo,
    bg_used_dirs_count_lo, bg_flags, bg_block_bitmap_csum_lo, bg_inode_bitmap_csum_lo, bg_itable_unused_lo, bg_checksum);
const DESCRIPTOR_HIGH: &[Field] = fields!(RawGroupDescHigh:
    bg_block_bitmap_hi, bg_inode_bitmap_hi, bg_inode_table_hi, bg_free_blocks_count_hi, bg_free_inodes_count_hi,
    bg_used_dirs_count_hi, bg_itable_unused_hi, bg_block_bitmap_csum_hi, bg_inode_bitmap_csum_hi);
pub(super) const INODE: &[Field] = fields!(RawInode:
    i_mode, i_uid, i_size_lo, i_atime, i_mtime, i_dtime, i_links_count, i_blocks_lo, i_flags, i_generation, i_file_acl_lo,
    i_size_high, l_i_blocks_high, l_i_file_acl_high, l_i_uid_high, l_i_checksum_lo);
const INODE_EXTRA: &[Field] = fields!(RawInodeExtra:
    i_extra_isize, i_checksum_hi, i_ctime_extra, i_mtime_extra, i_crtime, i_crtime_extra, i_version_hi, i_projid);
const EXTENT_HEADER: &[Field] =
    fields!(RawExtentHeader: eh_magic, eh_entries, eh_max, eh_depth, eh_generation);
const EXTENT_INDEX: &[Field] = fields!(RawExtentIdx: ei_block, ei_leaf_lo, ei_leaf_hi);
const EXTENT: &[Field] = fields!(RawExtent: ee_block, ee_len, ee_start_hi, ee_start_lo);
const ENTRY: &[Field] = fields!(RawDirEntry: inode, rec_len, name_len, file_type);
const ENTRY_TAIL: &[Field] = fields!(RawDirEntryTail:
    det_reserved_zero1, det_rec_len, det_reserved_zero2, det_reserved_ft, det_checksum);
const INDEX_ROOT: &[Field] =
    fields!(RawDxRootInfo: reserved_zero, hash_version, info_length, indirect_levels, unused_flags);
const INDEX_COUNT: &[Field] = fields!(RawDxCountLimit: limit, count, block);
const INDEX_ENTRY: &[Field] = fields!(RawDxEntry: hash, block);
const XATTR_HEADER: &[Field] =
    fields!(RawXattrHeader: h_magic, h_refcount, h_blocks, h_hash, h_checksum);
const XATTR_ENTRY: &[Field] = fields!(RawXattrEntry:
    e_name_len, e_name_index, e_value_offs, e_value_inum, e_value_size, e_hash);
const MMP: &[Field] =
    fields!(RawMmp: mmp_magic, mmp_seq, mmp_time, mmp_check_interval, mmp_checksum);
const POINTER: &[Field] = &[Field {
    name: "block",
    at: 0,
    len: 4,
    big: false,
}];
const ORPHAN: &[Field] = &[Field {
    name: "inode",
    at: 0,
    len: 4,
    big: false,
}];

/// What is known of an image.
pub(super) struct Mapper<'a> {
    pub(super) image: &'a MemDisk,
    pub(super) fs: Ext2fs,
    pub(super) sb: Arc<Superblock>,
    pub(super) structures: Vec<Structure>,
}

pub(super) fn map(image: &MemDisk) -> Map {
    let device = Arc::new(image.crash_image(Loss::None, 0));
    device.set_read_only(true);
    let host = rumpuser_posix::Host::new();
    let fs = match Ext2fs::open_read_only(device.clone(), &*host, 16 << 20, false) {
        Ok(opened) => opened.fs,
        // What only another device's journal makes whole.
        Err(_) => Ext2fs::open(device, &*host, 16 << 20).expect("a good image"),
    };
    let sb = Arc::new(fs.superblock().clone());
    let mut mapper = Mapper {
        image,
        fs,
        sb,
        structures: vec![],
    };
    mapper.volume();
    mapper.groups();
    mapper.inodes();
    ext_journal::journal(&mut mapper);
    Map::new(u64::from(mapper.sb.block_size()), mapper.structures)
}

pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}

/// Stores a number where it fits.
pub(super) fn store(bytes: &mut [u8], at: usize, number: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + number.len()) {
        place.copy_from_slice(number);
    }
}

impl Mapper<'_> {
    pub(super) fn block(&self) -> u64 {
        u64::from(self.sb.block_size())
    }

    pub(super) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let _ = self.image.read_at(at, &mut bytes);
        bytes
    }

    pub(super) fn push(
        &mut self,
        kind: &'static str,
        at: u64,
        len: usize,
        fields: &'static [Field],
        seal: Option<&Arc<Seal>>,
    ) {
        self.structures.push(Structure {
            kind,
            at,
            len,
            fields,
            seal: seal.cloned(),
        });
    }

    /// A checksum over a place of the image; none on volumes without.
    fn seal(&self, at: u64, len: usize, fix: Fix, then: Option<&Arc<Seal>>) -> Option<Arc<Seal>> {
        self.sb.features.metadata_csum().then(|| {
            Arc::new(Seal {
                at,
                len,
                fix,
                then: then.cloned(),
            })
        })
    }

    fn volume(&mut self) {
        let fix: Fix = Arc::new(|bytes, _| {
            let sum = crc32c(CRC32C_START, &bytes[..0x3FC]);
            store(bytes, 0x3FC, &sum.to_le_bytes());
        });
        let seal = self.seal(SUPERBLOCK_OFFSET, 1024, fix, None);
        self.push(
            "superblock",
            SUPERBLOCK_OFFSET,
            1024,
            SUPERBLOCK,
            seal.as_ref(),
        );
        if let Some(block) = self.sb.mmp_block {
            let seed = self.sb.csum_seed;
            let at = block.0 * self.block();
            let fix: Fix = Arc::new(move |bytes, _| {
                let sum = crc32c(seed, &bytes[..0x3FC]);
                store(bytes, 0x3FC, &sum.to_le_bytes());
            });
            let seal = self.seal(at, 1024, fix, None);
            self.push("mmp", at, 1024, MMP, seal.as_ref());
        }
    }

    fn groups(&mut self) {
        for group in (0..self.sb.groups.min(GROUPS_MAX)).map(GroupNumber) {
            let (Ok(place), Ok(desc)) = (self.fs.group_location(group), self.fs.group(group))
            else {
                continue;
            };
            let at = place.block.0 * self.block() + place.offset as u64;
            let size = usize::from(self.sb.desc_size);
            let sb = self.sb.clone();
            // crc16 of uninit_bg as well.
            let seal = Arc::new(Seal {
                at,
                len: size,
                fix: Arc::new(move |bytes, _| {
                    if let Some(sum) = descriptor_checksum(&sb, group, bytes) {
                        store(bytes, 0x1E, &sum.to_le_bytes());
                    }
                }),
                then: None,
            });
            self.push("group descriptor", at, 32, DESCRIPTOR, Some(&seal));
            if size >= 64 {
                // In a kind of their own, their checksum is the same.
                self.push(
                    "group descriptor, high half",
                    at + 32,
                    32,
                    DESCRIPTOR_HIGH,
                    Some(&seal),
                );
            }
            // What was never used was never written.
            if !desc.flags.contains(GroupFlags::BLOCK_UNINIT) {
                let bits = self.sb.clusters_per_group;
                let halves = (0x18, 0x38);
                self.bitmap("block bitmap", desc.block_bitmap.0, bits, halves, &seal);
            }
            if !desc.flags.contains(GroupFlags::INODE_UNINIT) {
                let bits = self.sb.inodes_per_group;
                let halves = (0x1A, 0x3A);
                self.bitmap("inode bitmap", desc.inode_bitmap.0, bits, halves, &seal);
            }
        }
    }

    /// A bitmap, whose checksum is in the descriptor, in two halves.
    fn bitmap(
        &mut self,
        kind: &'static str,
        block: u64,
        bits: u32,
        halves: (usize, usize),
        descriptor: &Arc<Seal>,
    ) {
        let at = block * self.block();
        let len = (bits / 8) as usize;
        let seed = self.sb.csum_seed;
        let fix: Fix = Arc::new(move |desc, image| {
            let mut map = vec![0; len];
            if image.read_at(at, &mut map).is_ok() {
                let sum = crc32c(seed, &map).to_le_bytes();
                store(desc, halves.0, &sum[..2]);
                store(desc, halves.1, &sum[2..]);
            }
        });
        let seal = self.seal(descriptor.at, descriptor.len, fix, Some(descriptor));
        self.push(kind, at, len, &[], seal.as_ref());
    }

    fn inodes(&mut self) {
        let mut files = 0;
        for number in 1..=self.sb.inodes {
            let Ok(inode) = self.fs.inode(InodeNumber(number)) else {
                continue;
            };
            let special = number < self.sb.first_ino.0 || inode.is_dir();
            files += usize::from(!special);
            if special || files < INODES_MAX {
                self.inode(&Arc::new(inode));
            }
            if self.structures.len() > 40_000 {
                break;
            }
        }
    }

    fn inode(&mut self, inode: &Arc<Inode>) {
        let at = inode.location.block.0 * self.block() + inode.location.offset as u64;
        let size = usize::from(self.sb.inode_size);
        let (sb, ino) = (self.sb.clone(), inode.ino);
        let fix: Fix = Arc::new(move |bytes, _| inode::update_checksum(&sb, ino, bytes));
        let seal = self.seal(at, size, fix, None);
        let seal = seal.as_ref();
        let kind = match inode.file_type {
            _ if Some(ino) == self.sb.journal => "journal inode",
            FileType::Directory => "directory inode",
            FileType::Symlink => "symlink inode",
            FileType::Regular => "inode",
            _ => "special inode",
        };
        self.push(kind, at, 128, INODE, seal);
        if size > 128 {
            self.push(
                "inode, second part",
                at + 128,
                32.min(size - 128),
                INODE_EXTRA,
                seal,
            );
        }
        let raw = self.bytes(at, size);
        let place = at + I_BLOCK_OFFSET as u64;
        let body = raw[I_BLOCK_OFFSET..I_BLOCK_OFFSET + 60].to_vec();
        if inode.flags.contains(InodeFlags::INLINE_DATA) {
            self.push("inline data", place, 60, &[], seal);
            if inode.is_dir() {
                self.entries(&body[4..], place + 4, seal);
            }
        } else if inode.flags.contains(InodeFlags::EXTENTS) {
            let mut nodes = NODES_MAX;
            self.extents(inode, &body, place, seal, &mut nodes);
        } else if !matches!(inode.file_type, FileType::Symlink) || inode.size >= 60 {
            self.pointers(&body, place, seal);
        }
        if inode.has_inode_xattrs {
            let first = 128 + usize::from(inode.extra_isize) + 4;
            self.xattr_entries(
                raw.get(first..).unwrap_or_default(),
                at + first as u64,
                seal,
            );
        }
        if inode.file_acl.0 != 0 {
            self.xattr_block(inode);
        }
        if inode.is_dir() && !inode.flags.contains(InodeFlags::INLINE_DATA) {
            self.directory(inode);
        }
        if Some(ino) == self.sb.orphan_file {
            self.orphan_file(inode);
        }
    }

    fn extents(
        &mut self,
        inode: &Arc<Inode>,
        node: &[u8],
        at: u64,
        seal: Option<&Arc<Seal>>,
        nodes: &mut usize,
    ) {
        self.push("extent header", at, 12, EXTENT_HEADER, seal);
        let count = usize::from(le16(node, 2)).min(node.len() / 12 - 1);
        let depth = le16(node, 6);
        for n in 1..=count.min(ENTRIES_MAX) {
            let entry = at + 12 * n as u64;
            if depth == 0 {
                self.push("extent", entry, 12, EXTENT, seal);
                continue;
            }
            self.push("extent index", entry, 12, EXTENT_INDEX, seal);
            let child = u64::from(le32(node, 12 * n + 4)) | u64::from(le16(node, 12 * n + 8)) << 32;
            if *nodes == 0 || depth > 5 {
                continue;
            }
            *nodes -= 1;
            let place = child * self.block();
            let len = self.block() as usize;
            let (sb, of) = (self.sb.clone(), inode.clone());
            let fix: Fix = Arc::new(move |bytes, _| extents::update_checksum(&sb, &of, bytes));
            let child_seal = self.seal(place, len, fix, None);
            let bytes = self.bytes(place, len);
            self.extents(inode, &bytes, place, child_seal.as_ref(), nodes);
        }
    }

    /// A map of blocks and the indirect blocks below it.
    fn pointers(&mut self, map: &[u8], at: u64, seal: Option<&Arc<Seal>>) {
        for n in 0..15 {
            if n > 11 || le32(map, 4 * n) != 0 {
                self.push("block pointer", at + 4 * n as u64, 4, POINTER, seal);
            }
            if n > 11 {
                self.indirect(le32(map, 4 * n), n - 11);
            }
        }
    }

    fn indirect(&mut self, block: u32, depth: usize) {
        if block == 0 || depth == 0 {
            return;
        }
        let at = u64::from(block) * self.block();
        let bytes = self.bytes(at, self.block() as usize);
        let used = (0..bytes.len() / 4).filter(|n| le32(&bytes, 4 * n) != 0);
        let used: Vec<usize> = used.take(20).collect();
        for n in used {
            self.push(
                "indirect block pointer",
                at + 4 * n as u64,
                4,
                POINTER,
                None,
            );
            self.indirect(le32(&bytes, 4 * n), depth - 1);
        }
    }

    fn xattr_block(&mut self, inode: &Arc<Inode>) {
        let block = inode.file_acl;
        let (at, len) = (block.0 * self.block(), self.block() as usize);
        let sb = self.sb.clone();
        let fix: Fix = Arc::new(move |bytes, _| {
            if let Some(sum) = xattr::block_checksum(&sb, block, bytes) {
                store(bytes, 0x10, &sum.to_le_bytes());
            }
        });
        let seal = self.seal(at, len, fix, None);
        self.push("attribute header", at, 32, XATTR_HEADER, seal.as_ref());
        let bytes = self.bytes(at, len);
        self.xattr_entries(&bytes[32..], at + 32, seal.as_ref());
    }

    fn xattr_entries(&mut self, bytes: &[u8], at: u64, seal: Option<&Arc<Seal>>) {
        let mut offset = 0;
        while le32(bytes, offset) != 0 && offset + 16 <= bytes.len() {
            let name = usize::from(bytes[offset]);
            self.push(
                "attribute",
                at + offset as u64,
                16 + name,
                XATTR_ENTRY,
                seal,
            );
            offset += (16 + name).next_multiple_of(4);
        }
    }

    fn directory(&mut self, dir: &Arc<Inode>) {
        let len = self.block() as usize;
        let indexed = dir.flags.contains(InodeFlags::INDEX);
        for n in (0..self.fs.dir_blocks(dir).min(DIR_BLOCKS_MAX)).map(FileBlock) {
            let Ok(Mapping::OnDisk { block, .. }) = self.fs.map(dir, n, 1) else {
                continue;
            };
            let at = block.0 * self.block();
            let bytes = self.bytes(at, len);
            let inner = le32(&bytes, 0) == 0 && usize::from(le16(&bytes, 4)) == len;
            if indexed && (n.0 == 0 || inner) {
                self.index(dir, n, at, &bytes);
                continue;
            }
            let (sb, of) = (self.sb.clone(), dir.clone());
            let fix: Fix = Arc::new(move |bytes, _| dir::update_checksum(&sb, &of, bytes));
            let seal = self.seal(at, len, fix, None);
            self.entries(&bytes, at, seal.as_ref());
            if seal.is_some() {
                // Sealed, it would be written anew.
                self.push("directory tail", at + len as u64 - 12, 12, ENTRY_TAIL, None);
            }
        }
    }

    fn entries(&mut self, bytes: &[u8], at: u64, seal: Option<&Arc<Seal>>) {
        let mut offset = 0;
        for _ in 0..ENTRIES_MAX {
            let rec_len = usize::from(le16(bytes, offset + 4));
            if offset + 8 > bytes.len() || rec_len < 8 {
                break;
            }
            let len = (8 + usize::from(bytes[offset + 6])).min(bytes.len() - offset);
            self.push("directory entry", at + offset as u64, len, ENTRY, seal);
            offset += rec_len;
        }
    }

    fn index(&mut self, dir: &Arc<Inode>, n: FileBlock, at: u64, bytes: &[u8]) {
        let of = dir.clone();
        let fix: Fix = Arc::new(move |bytes, _| htree::update_checksum(&of, n, bytes));
        let seal = self.seal(at, bytes.len(), fix, None);
        let seal = seal.as_ref();
        let start = if n.0 == 0 {
            self.push("directory entry", at, 12, ENTRY, seal);
            self.push("directory entry", at + 12, 12, ENTRY, seal);
            self.push("index root", at + 0x18, 8, INDEX_ROOT, seal);
            0x20
        } else {
            8
        };
        self.push("index count", at + start, 8, INDEX_COUNT, seal);
        let count = u64::from(le16(bytes, start as usize + 2));
        for n in 1..count.min(ENTRIES_MAX as u64) {
            self.push("index entry", at + start + 8 * n, 8, INDEX_ENTRY, seal);
        }
    }

    fn orphan_file(&mut self, file: &Arc<Inode>) {
        let len = self.block() as usize;
        let blocks = file.size / self.block();
        for n in 0..blocks.min(4) as u32 {
            let Ok(Mapping::OnDisk { block, .. }) = self.fs.map(file, FileBlock(n), 1) else {
                continue;
            };
            let at = block.0 * self.block();
            let seed = file.csum_seed;
            let fix: Fix = Arc::new(move |bytes, _| {
                let number = block.0.to_le_bytes();
                let [low, high] = [le32(&number, 0), le32(&number, 4)];
                let seed = crc32c_u32(crc32c_u32(seed, low), high);
                let sum = crc32c(seed, &bytes[..len - 8]);
                store(bytes, len - 4, &sum.to_le_bytes());
            });
            let seal = self.seal(at, len, fix, None);
            for slot in 0..16 {
                self.push("orphan", at + 4 * slot, 4, ORPHAN, seal.as_ref());
            }
            self.push("orphan file tail", at + len as u64 - 8, 8, &[], None);
        }
    }
}
