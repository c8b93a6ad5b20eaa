//! Writing volumes of all kinds, checked by e2fsck.

mod write_support;

use rumpfs_ext2fs::{inode::FileType, names::NewKind};
use rumpuser::Rng;
use write_support::{Disk, kinds::KINDS};

/// Runs a test on every kind of volume and checks each.
fn each_kind(test: impl Fn(&Disk)) {
    for (name, args, size) in KINDS {
        println!("kind {name}");
        let disk = Disk::make(args, size);
        test(&disk);
        disk.check();
    }
}

fn pattern(seed: u32, len: usize) -> Vec<u8> {
    Rng::new(seed.into()).bytes(len)
}

#[test]
fn an_untouched_volume_stays_clean() {
    each_kind(|_| {});
}

#[test]
fn files_directories_and_links() {
    each_kind(|disk| {
        disk.mkdir("d");
        disk.mkdir("d/e");
        disk.file("empty", b"");
        let small = pattern(1, 100);
        let large = pattern(2, 700_000);
        disk.file("d/small", &small);
        disk.file("d/e/large", &large);
        disk.create("short", NewKind::Symlink(b"d/small"));
        disk.create("long", NewKind::Symlink(&[b'x'; 300]));
        disk.create("fifo", NewKind::Plain(FileType::Fifo));
        disk.link("d/small", "other");
        assert_eq!(disk.read(&disk.at("other")), small);
        assert_eq!(disk.read(&disk.at("d/e/large")), large);
        assert_eq!(disk.fs.read_link(&disk.at("long")).unwrap(), [b'x'; 300]);
        assert_eq!(disk.names("d"), ["e", "small"]);
        assert!(disk.debugfs("cat /d/small").len() >= 100);
    });
}

#[test]
fn what_is_unlinked_is_freed() {
    each_kind(|disk| {
        let free = |disk: &Disk| {
            let sb = disk
                .fs
                .volume()
                .read(disk.fs.superblock().superblock_block().0);
            let data = sb.unwrap().data();
            let at = disk.fs.superblock().superblock_offset();
            (data[at + 0xc..at + 0x14].to_vec(), 0)
        };
        let before = free(disk);
        disk.mkdir("d");
        disk.file("d/a", &pattern(3, 1_500_000));
        disk.file("d/b", b"b");
        disk.create("d/l", NewKind::Symlink(&[b'y'; 200]));
        assert_ne!(free(disk), before);
        for name in ["d/a", "d/b", "d/l", "d"] {
            disk.unlink(name);
        }
        assert_eq!(free(disk), before);
    });
}

#[test]
fn a_large_directory_stays_sorted() {
    for (name, args, size) in KINDS {
        println!("kind {name}");
        let disk = Disk::make(&[*args, &["-N", "4096"]].concat(), size);
        disk.mkdir("d");
        let mut dir = disk.at("d");
        for n in 0..2500 {
            let name = format!("a name of some length, number {n:05}");
            disk.try_create(&mut dir, name.as_bytes(), NewKind::Plain(FileType::Fifo))
                .unwrap();
        }
        assert_eq!(disk.names("d").len(), 2500);
        disk.check();
        for n in (0..2500).step_by(3) {
            let name = format!("a name of some length, number {n:05}");
            disk.try_unlink(&mut dir, name.as_bytes()).unwrap();
        }
        disk.check();
        for n in 0..2500 {
            let name = format!("a name of some length, number {n:05}");
            let found = disk.fs.lookup(&dir, name.as_bytes()).unwrap();
            assert_eq!(found.is_some(), n % 3 != 0, "{name}");
        }
    }
}

#[test]
fn holes_are_filled_and_files_are_cut() {
    each_kind(|disk| {
        let block = u64::from(disk.fs.block_size());
        let mut inode = disk.file("f", b"");
        let mut model = Vec::new();
        // Every second block, from the end: many extents, each on its own.
        for n in (0..180).rev() {
            let at = n * 2 * block;
            let content = pattern(u32::try_from(n).unwrap(), 100);
            disk.write(&mut inode, at, &content);
            let end = at as usize + 100;
            if model.len() < end {
                model.resize(end, 0);
            }
            model[at as usize..end].copy_from_slice(&content);
            if n < 160 && block > 8192 {
                break;
            }
        }
        assert!(disk.read(&inode) == model);
        disk.check();
        let mut inode = disk.at("f");
        for size in [model.len() as u64 / 2 + 13, 20 * block + 1, 3 * block, 5] {
            let now = disk.now();
            disk.writer.set_size(&mut inode, size, now, now).unwrap();
            model.truncate(size as usize);
            assert_eq!(disk.read(&inode).len(), model.len());
            disk.check();
            inode = disk.at("f");
        }
    });
}

#[test]
fn a_directory_with_the_number_of_a_larger_one_starts_small() {
    let disk = Disk::make(&["-t", "ext2", "-b", "1024", "-O", "^dir_index"], "16M");
    let old = disk.mkdir("d");
    for n in 0..200 {
        disk.file(&format!("d/a name that takes some room {n}"), b"");
    }
    assert!(disk.at("d").size > 5000);
    for n in 0..200 {
        disk.unlink(&format!("d/a name that takes some room {n}"));
    }
    disk.unlink("d");
    let new = disk.mkdir("e");
    assert_eq!(new.ino, old.ino);
    disk.file("e/f", b"");
    assert_eq!(disk.at("e").size, 1024);
    disk.check();
}
