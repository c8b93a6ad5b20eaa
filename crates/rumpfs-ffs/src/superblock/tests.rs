//! Superblocks of all kinds, made and read.

use super::*;
use crate::{
    error::{Error, Result},
    layout::{
        FLAGS_UPDATED, INODE_FORMAT_44, MAGIC_UFS1, MAGIC_UFS2, QUOTA_MAGIC, RawSuperblock,
        SUPERBLOCK_LEN, volume_flag,
    },
};
use alloc::vec;
use rumpuser_sim::MemDisk;
use zerocopy::{BigEndian, ByteOrder, FromZeros, IntoBytes, LittleEndian};

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
