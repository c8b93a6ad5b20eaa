//! Partitions of real disk images hold what was put there.

use rump_tests::fixtures;
use rumpdev::{Selector, Table, select};
use rumpuser::BlockDevice;
use rumpuser_posix::{Access, HostFile};
use std::sync::Arc;

fn open(name: &str) -> Arc<dyn BlockDevice> {
    Arc::new(HostFile::open(fixtures::image(name), Access::ReadOnly).unwrap())
}

/// The partition of `disk` and the image `member` are the same, byte for byte, and so are their manifests.
fn check(disk: &str, selector: &str, number: u32, member: &str) {
    let selector: Selector = selector.parse().unwrap();
    let part = select(&open(disk), &selector, &|_| None).unwrap();
    let image = open(member);
    assert_eq!(part.len(), image.len(), "{disk}@{selector}");
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < image.len() {
        let len = (image.len() - at).min(1 << 20) as usize;
        part.read_at(at, &mut ours[..len]).unwrap();
        image.read_at(at, &mut theirs[..len]).unwrap();
        assert!(
            ours[..len] == theirs[..len],
            "{disk}@{selector} differs from {member} after {at}"
        );
        at += len as u64;
    }
    let manifest = fixtures::manifest(&format!("{disk}@{number}"));
    assert_eq!(manifest, fixtures::manifest(member));
}

#[test]
fn gpt() {
    check("disk-gpt", "1", 1, "ext2-1k");
    check("disk-gpt", "linux", 1, "ext2-1k");
    check("disk-gpt", "label=ext4-4k", 2, "ext4-4k");
    check("disk-gpt", "root", 2, "ext4-4k");
}

#[test]
fn gpt_with_4096_byte_sectors() {
    let table = Table::read(&*open("disk-gpt-4096")).unwrap().unwrap();
    assert_eq!(table.sector_size, 4096);
    check("disk-gpt-4096", "1", 1, "ext4-4k");
    check("disk-gpt-4096", "2", 2, "ext2-4k");
}

#[test]
fn mbr() {
    check("disk-mbr", "1", 1, "ext4-1k");
    check("disk-mbr", "5", 5, "ext3-4k");
    check("disk-mbr", "6", 6, "ext2-2k");
    check("disk-mbr", "uuid=1a2b3c4d-06", 6, "ext2-2k");
}

#[test]
fn offsets() {
    let part = select(&open("disk-gpt"), &"@1M".parse().unwrap(), &|_| None).unwrap();
    let mut magic = [0; 2];
    part.read_at(1024 + 0x38, &mut magic).unwrap();
    assert_eq!(magic, [0x53, 0xef]);
}

#[test]
fn file_systems_without_a_table_have_none() {
    for name in fixtures::images("ext") {
        assert_eq!(Table::read(&*open(&name)).unwrap(), None, "{name}");
    }
}

#[test]
fn small_images_unpack() {
    for name in [
        "small-ext2-rev0",
        "small-ext3",
        "small-ext4",
        "small-ext4-inline",
    ] {
        let bytes = fixtures::small(name);
        assert_eq!(bytes[1024 + 0x38..][..2], [0x53, 0xef], "{name}");
        assert!(fixtures::manifest(name).starts_with("#mtree v2.0\n. type=dir "));
    }
}
