//! Where the structures of a UFS image lie, found by offsets alone. The format has no checksums.

use super::{
    ffs_images::LOG_BLOCK,
    map::{Field, Map, Structure, fields},
};
use crate::ufs::{DIRECTORY, REGULAR, SYMLINK, Ufs};
use rumpfs_ffs::layout::{RawGroup, RawInode1, RawInode2, RawRecord, RawSuperblock};
use rumpuser_sim::MemDisk;
use zerocopy::LittleEndian;

/// So many of each are enough.
const INODES_MAX: usize = 300;
const RECORDS_MAX: usize = 600;
const POINTERS_MAX: usize = 200;

type Fields = [&'static [Field]; 2];

/// The fields of a raw structure in both orders.
macro_rules! both {
    ($raw:ident: $($name:ident),* $(,)?) => {
        [
            fields!($raw<LittleEndian>: $($name),*),
            fields!(big $raw<LittleEndian>: $($name),*),
        ]
    };
}

const SUPERBLOCK: Fields = both!(RawSuperblock:
    firstfield, sblkno, cblkno, iblkno, dblkno, old_cgoffset, old_cgmask, old_time, old_size, old_dsize, ncg, bsize, fsize,
    frag, minfree, bmask, fmask, bshift, fshift, maxcontig, maxbpg, fragshift, fsbtodb, sbsize, nindir, inopb, old_nspf, optim,
    old_npsect, old_interleave, old_trackskew, id, old_csaddr, cssize, cgsize, old_nsect, old_spc, old_ncyl, old_cpg, ipg, fpg,
    old_cstotal, fmod, clean, ronly, old_flags, fsmnt, volname, cgrotor, old_cpc, maxbsize, journal_version,
    journal_location, journal_flags, journallocs, quota_magic, quota_flags, quotafile, sblockloc, cstotal, time, size,
    dsize, csaddr, pendingblocks, pendinginodes, snapinum, avgfilesize, avgfpdir, metackhash, flags, contigsumsize,
    maxsymlinklen, old_inodefmt, maxfilesize, qbmask, qfmask, state, old_postblformat, old_nrpos, old_postbloff,
    old_rotbloff, magic);
const GROUP: Fields = both!(RawGroup:
    magic, cgx, old_ncyl, old_niblk, ndblk, cs, rotor, frotor, irotor, frsum, old_btotoff, old_boff, iusedoff, freeoff,
    nextfreeoff, clustersumoff, clusteroff, nclusterblks, niblk, initediblk, time);
const INODE1: Fields = both!(RawInode1:
    mode, nlink, olduid, oldgid, size, atime, atimensec, mtime, ctime, db, ib, flags, blocks, generation, uid, gid, modrev);
const INODE2: Fields = both!(RawInode2:
    mode, nlink, uid, gid, blksize, size, blocks, atime, mtime, ctime, birthtime, mtimensec, atimensec, ctimensec,
    generation, kernflags, flags, extsize, extb, db, ib, modrev);
const RECORD: Fields = both!(RawRecord: ino, reclen, kind, namlen);

const fn number(name: &'static str, at: usize, len: usize, big: bool) -> Field {
    Field { name, at, len, big }
}

macro_rules! numbers {
    ($($name:literal: $at:literal, $len:literal;)*) => {
        [
            &[$(number($name, $at, $len, false)),*],
            &[$(number($name, $at, $len, true)),*],
        ]
    };
}

const POINTER_4: Fields = numbers!("pointer": 0, 4;);
const POINTER_8: Fields = numbers!("pointer": 0, 8;);
const COUNTS: Fields = numbers!("ndir": 0, 4; "nbfree": 4, 4; "nifree": 8, 4; "nffree": 12, 4;);
const ATTRIBUTE: Fields = numbers!("length": 0, 4; "namespace": 4, 1; "contentpadlen": 5, 1; "namelength": 6, 1; "name": 7, 1;);
const LOG_HEADER: Fields = numbers!("kind": 0, 4; "len": 4, 4; "checksum": 8, 4; "generation": 12, 4; "time": 24, 8;
    "version": 36, 4; "log_dev_bshift": 40, 4; "fs_dev_bshift": 44, 4; "head": 48, 8; "tail": 56, 8; "circ_off": 64, 8;
    "circ_size": 72, 8;);
const LOG_LIST: Fields = numbers!("kind": 0, 4; "len": 4, 4; "count": 8, 4; "clear": 12, 4;);
const LOG_ENTRY: Fields = numbers!("daddr": 0, 8; "unused": 8, 4; "dlen": 12, 4;);
const LOG_INODE: Fields = numbers!("ino": 0, 4; "mode": 4, 4;);

struct Mapper {
    ufs: Ufs,
    structures: Vec<Structure>,
}

pub(super) fn map(image: &MemDisk) -> Map {
    let ufs = Ufs::new(image.to_bytes());
    let block = ufs.frag() as u64;
    let mut mapper = Mapper {
        ufs,
        structures: vec![],
    };
    mapper.volume();
    mapper.inodes();
    mapper.journal();
    // Numbers that point count fragments.
    Map::new(block, mapper.structures)
}

impl Mapper {
    fn add(&mut self, kind: &'static str, at: usize, fields: Fields, len: usize) {
        self.structures.push(Structure {
            kind,
            at: at as u64,
            len,
            fields: fields[usize::from(self.ufs.big)],
            seal: None,
        });
    }

    fn volume(&mut self) {
        let len = size_of::<RawSuperblock<LittleEndian>>();
        self.add("superblock", self.ufs.superblock, SUPERBLOCK, len);
        for group in 0..self.ufs.groups() {
            let copy = self.ufs.in_group(group, 8);
            self.add("copy of the superblock", copy, SUPERBLOCK, len);
            self.group(group);
            let counts = self.ufs.summary() + 16 * group;
            self.add("summary", counts, COUNTS, 16);
        }
    }

    fn group(&mut self, group: usize) {
        let at = self.ufs.group(group);
        let len = size_of::<RawGroup<LittleEndian>>();
        self.add("cylinder group", at, GROUP, len);
        if self.ufs.get(at + 4, 4) == 0 {
            // 4.2BSD's, where nothing tells what lies where.
            let (inodes, frags) = (self.ufs.inodes() as usize / 8, self.ufs.get(at + 20, 4) / 8);
            self.add("tables of cylinders", at + 84, [&[], &[]], 640);
            self.add("inode map", at + 724, [&[], &[]], inodes);
            self.add("magic number", at + 980, [&[], &[]], 4);
            self.add("fragment map", at + 984, [&[], &[]], frags as usize);
            return;
        }
        let offset = |field: usize| at + self.ufs.get(at + field, 4) as usize;
        let (inodes, frags) = (offset(92), offset(96));
        let (sums, clusters, end) = (offset(104), offset(108), offset(100));
        self.add("inode map", inodes, [&[], &[]], frags - inodes);
        self.add("fragment map", frags, [&[], &[]], sums + 4 - frags);
        self.add("cluster sums", sums, [&[], &[]], clusters - sums);
        self.add("cluster map", clusters, [&[], &[]], end - clusters);
    }

    fn inodes(&mut self) {
        let used = self.ufs.used();
        let step = used.len().div_ceil(INODES_MAX);
        for ino in used.iter().copied().step_by(step.max(1)) {
            self.inode(ino);
        }
        for ino in used {
            if self.ufs.kind(ino) == DIRECTORY {
                self.directory(ino);
            }
            if self.ufs.two && self.ufs.get(self.ufs.inode(ino) + 92, 4) != 0 {
                self.attributes(ino);
            }
        }
    }

    fn inode(&mut self, ino: u64) {
        let at = self.ufs.inode(ino);
        let form = self.ufs.form();
        let kind = match self.ufs.kind(ino) {
            DIRECTORY => "inode of a directory",
            REGULAR => "inode of a file",
            SYMLINK => "inode of a symbolic link",
            _ => "inode of something else",
        };
        let (fields, pointer) = if self.ufs.two {
            (INODE2, POINTER_8)
        } else {
            (INODE1, POINTER_4)
        };
        self.add(kind, at, fields, form.len);
        for n in 0..15 {
            let pointers = at + form.direct + n * form.pointer;
            if self.ufs.pointer(pointers) != 0 {
                self.add("block pointer", pointers, pointer, form.pointer);
            }
        }
        let (blocks, _) = self.ufs.blocks(ino);
        for byte in blocks {
            let block = byte..byte + self.ufs.block();
            let used: Vec<usize> = block
                .step_by(form.pointer)
                .filter(|at| self.ufs.pointer(*at) != 0)
                .collect();
            for at in used.into_iter().take(POINTERS_MAX) {
                self.add("indirect block pointer", at, pointer, form.pointer);
            }
        }
    }

    fn directory(&mut self, ino: u64) {
        for record in self.ufs.records(ino).into_iter().take(RECORDS_MAX) {
            let len = size_of::<RawRecord<LittleEndian>>();
            let kind = match &record.name[..] {
                b"." | b".." => "dot record",
                _ => "directory record",
            };
            self.add(kind, record.at, RECORD, len);
            self.add("name", record.at + 8, [&[], &[]], record.name.len() + 1);
        }
    }

    fn attributes(&mut self, ino: u64) {
        let at = self.ufs.inode(ino);
        let size = self.ufs.get(at + 92, 4) as usize;
        let byte = self.ufs.get(at + 96, 8) as usize * self.ufs.frag();
        let mut offset = 0;
        while offset < size {
            self.add("extended attribute", byte + offset, ATTRIBUTE, 16);
            offset += self.ufs.get(byte + offset, 4) as usize;
        }
    }

    /// As `ffs_images` made it.
    fn journal(&mut self) {
        let at = self.ufs.superblock;
        if self.ufs.field(1312) & 0x100 == 0 {
            return;
        }
        let start = self.ufs.get(at + 872, 8) as usize * LOG_BLOCK;
        self.add("journal header", start, LOG_HEADER, 80);
        self.add("journal header", start + LOG_BLOCK, LOG_HEADER, 80);
        let ring = start + 2 * LOG_BLOCK;
        self.add("journal blocks", ring, LOG_LIST, 16);
        self.add("journal block", ring + 16, LOG_ENTRY, 16);
        self.add("journal block", ring + 32, LOG_ENTRY, 16);
        self.add("journal image", ring + LOG_BLOCK, [&[], &[]], LOG_BLOCK);
        self.add("journal image", ring + 2 * LOG_BLOCK, [&[], &[]], LOG_BLOCK);
        let revocations = ring + 3 * LOG_BLOCK;
        self.add("journal revocations", revocations, LOG_LIST, 16);
        self.add("journal revoked block", revocations + 16, LOG_ENTRY, 16);
        let inodes = ring + 4 * LOG_BLOCK;
        self.add("journal inodes", inodes, LOG_LIST, 16);
        self.add("journal inode", inodes + 16, LOG_INODE, 8);
    }
}
