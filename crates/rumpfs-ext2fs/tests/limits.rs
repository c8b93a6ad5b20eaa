//! Writing at the limits: full volumes, huge directories, many subdirectories, large files, orphans.

mod write_support;

use rumpbio::Space;
use rumpfs_ext2fs::{
    Error,
    inode::FileType,
    names::{NewKind, NewNode},
    types::InodeNumber,
};
use rumpuser::Errno;
use write_support::{Disk, kinds::KINDS};

const FILE: NewKind<'static> = NewKind::Plain(FileType::Regular);

fn refused<T>(result: rumpfs_ext2fs::Result<T>) -> Option<Errno> {
    match result {
        Err(Error::Refused(errno)) => Some(errno),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

/// Free blocks and inodes by the superblock.
fn free(disk: &Disk) -> Vec<u8> {
    let sb = disk.fs.superblock();
    let data = disk
        .fs
        .volume()
        .read(sb.superblock_block().0)
        .unwrap()
        .data();
    let at = sb.superblock_offset();
    data[at + 0xc..at + 0x14].to_vec()
}

#[test]
fn a_full_volume_refuses_and_recovers() {
    for (name, args, _) in KINDS {
        println!("kind {name}");
        if *name == "ext4-64k" {
            continue;
        }
        let size = if *name == "ext4-bigalloc" {
            "32M"
        } else {
            "9M"
        };
        let disk = Disk::make(args, size);
        let before = free(&disk);
        let mut dir = disk.root();
        let mut made = 0;
        let mut last = None;
        // Files until there is no room, of a size that leaves little.
        while last.is_none() {
            let file = format!("file-{made}");
            match disk.try_create(&mut dir, file.as_bytes(), FILE) {
                Ok(mut inode) => {
                    made += 1;
                    let content = vec![7; 70_000 + made % 5 * 9_000];
                    last = refused(disk.try_write(&mut inode, 0, &content));
                }
                error => last = refused(error.map(drop)),
            }
        }
        assert_eq!(last, Some(Errno::ENOSPC));
        // Small things until not even those fit.
        let mut small = 0;
        while refused(disk.try_create(&mut dir, format!("s{small}").as_bytes(), FILE)).is_none() {
            small += 1;
        }
        disk.check();
        for n in 0..made {
            disk.unlink(&format!("file-{n}"));
        }
        // What was freed is used again, though its transaction may not be durable yet.
        disk.file("again", &vec![9; 3_000_000]);
        disk.unlink("again");
        // The name may have split a block of the directory: it has changed since.
        let mut dir = disk.root();
        for n in 0..small {
            disk.try_unlink(&mut dir, format!("s{n}").as_bytes())
                .unwrap();
        }
        disk.check();
        // The root may have grown, blocks and all; inodes are all back.
        assert_eq!(free(&disk)[4..], before[4..]);
    }
}

#[test]
fn an_inode_freed_in_a_group_that_was_full_is_found_again() {
    let disk = Disk::make(&["-t", "ext4", "-b", "1024", "-N", "128"], "32M");
    let sb = disk.fs.superblock();
    assert!(sb.groups >= 3, "{} groups", sb.groups);
    let mut dir = disk.root();
    let mut made = Vec::new();
    loop {
        let name = format!("file {}", made.len());
        match disk.try_create(&mut dir, name.as_bytes(), FILE) {
            Ok(inode) => made.push((name, inode.ino)),
            Err(error) => break assert_eq!(refused::<()>(Err(error)), Some(Errno::ENOSPC)),
        }
    }
    let of = |ino| sb.inode_group(ino).unwrap().0;
    let groups: std::collections::BTreeSet<_> = made.iter().map(|(_, ino)| of(*ino)).collect();
    assert_eq!(groups.len() as u32, sb.groups);
    // One of each group, the last group first: the directory's own is asked first and has one.
    for (name, ino) in made.iter().rev().step_by(20) {
        disk.try_unlink(&mut dir, name.as_bytes()).unwrap();
        let again = disk.try_create(&mut dir, name.as_bytes(), FILE).unwrap();
        assert_eq!(of(again.ino), of(*ino));
        let more = disk.try_create(&mut dir, b"one more", FILE);
        assert_eq!(refused(more), Some(Errno::ENOSPC));
    }
    disk.check();
}

#[test]
fn twenty_thousand_names() {
    let disk = Disk::make(&["-t", "ext4", "-b", "1024", "-N", "21000"], "32M");
    let mut dir = disk.mkdir("d");
    for n in 0..20_000 {
        disk.try_create(&mut dir, format!("file number {n}").as_bytes(), FILE)
            .unwrap();
    }
    disk.check();
    let dir = disk.at("d");
    for n in (0..20_000).step_by(7) {
        let name = format!("file number {n}");
        assert!(
            disk.fs.lookup(&dir, name.as_bytes()).unwrap().is_some(),
            "{name}"
        );
    }
    assert!(
        disk.debugfs("htree_dump /d").contains("Indirect levels: 1"),
        "two levels"
    );
}

#[test]
fn three_levels_with_large_dir_and_an_end_without() {
    for (features, third) in [("large_dir", true), ("^large_dir", false)] {
        let disk = Disk::make(
            &["-t", "ext4", "-b", "1024", "-N", "2048", "-O", features],
            "64M",
        );
        let target = disk.file("target", b"");
        let mut dir = disk.mkdir("d");
        // Long names, all links to few files: three to a block.
        let mut full = false;
        let (mut n, mut targets) = (0_u32, vec![target]);
        while n < 60_000 && !full {
            let name = format!("{n:0>240}");
            let place = rumpfs_ext2fs::names::NamePlace {
                name: name.as_bytes(),
                position: None,
            };
            let mut target = targets.pop().unwrap();
            if target.links >= 64_000 {
                target = disk.file(&format!("target{n}"), b"");
            }
            let linked =
                disk.writer
                    .link(&mut dir, &place, &mut target, Space::Reserve, disk.now());
            full = refused(linked) == Some(Errno::ENOSPC);
            targets.push(target);
            n += 1;
        }
        assert_eq!(full, !third, "full after {n}");
        disk.check();
        let dump = disk.debugfs("htree_dump /d");
        let levels = format!("Indirect levels: {}", if third { 2 } else { 1 });
        assert!(dump.contains(&levels), "{}", &dump[..300]);
    }
}

#[test]
fn more_subdirectories_than_can_be_counted() {
    let disk = Disk::make(
        &["-t", "ext4", "-b", "1024", "-N", "66000", "-I", "128"],
        "100M",
    );
    let mut dir = disk.mkdir("d");
    let mut counted = 2;
    for n in 0..65_010 {
        disk.try_create(
            &mut dir,
            format!("{n}").as_bytes(),
            NewKind::Plain(FileType::Directory),
        )
        .unwrap();
        counted = if counted == 1 || counted == 65_000 {
            1
        } else {
            counted + 1
        };
        assert_eq!(dir.links, counted);
    }
    disk.check();
    for n in 0..20 {
        disk.try_unlink(&mut dir, format!("{n}").as_bytes())
            .unwrap();
    }
    assert_eq!(dir.links, 1);
    disk.check();
}

#[test]
fn links_end_at_the_format_s_limit() {
    let disk = Disk::make(&["-t", "ext2", "-b", "1024"], "16M");
    let mut target = disk.file("target", b"x");
    let mut dir = disk.mkdir("d");
    let mut end = None;
    for n in 0..40_000 {
        let name = format!("{n}");
        let place = rumpfs_ext2fs::names::NamePlace {
            name: name.as_bytes(),
            position: None,
        };
        end = refused(
            disk.writer
                .link(&mut dir, &place, &mut target, Space::Reserve, disk.now()),
        );
        if end.is_some() {
            break;
        }
    }
    assert_eq!(end, Some(Errno::EMLINK));
    assert_eq!(target.links, 32_000);
    disk.check();
}

#[test]
fn a_file_past_two_gigabytes_sets_the_feature() {
    let disk = Disk::make(&["-t", "ext2", "-b", "1024", "-O", "^large_file"], "16M");
    let mut inode = disk.file("f", b"");
    let now = disk.now();
    disk.writer
        .set_size(&mut inode, (1 << 31) - 1, now, now)
        .unwrap();
    disk.check();
    assert!(!disk.debugfs("stats").contains("large_file"));
    disk.writer
        .allocate(
            &mut inode,
            (1 << 31, 1024, (1 << 31) + 10),
            Space::Reserve,
            now,
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(inode.size, (1 << 31) + 10);
    disk.check();
    assert!(disk.debugfs("stats").contains("large_file"));
}

#[test]
fn orphans_are_freed_at_the_next_mount() {
    for (name, args, size) in KINDS {
        println!("kind {name}");
        let mut disk = Disk::make(args, size);
        disk.file("keep", b"kept");
        disk.check();
        let before = free(&disk);
        let root = disk.root();
        // Names gone while the inodes are in use, and one that never had a name.
        for n in 0..5 {
            let path = format!("gone{n}");
            disk.file(&path, &vec![1; 40_000 * (n + 1)]);
            let mut dir = disk.root();
            let mut target = disk.at(&path);
            let place = rumpfs_ext2fs::names::NamePlace {
                name: path.as_bytes(),
                position: None,
            };
            disk.writer
                .unlink(&mut dir, &place, &mut target, disk.now())
                .unwrap();
            assert_eq!(target.links, 0);
            if n == 2 {
                // One in the middle of the list is freed in time.
                disk.writer.reclaim(target, disk.now()).unwrap();
            }
        }
        let new = NewNode {
            kind: FILE,
            permissions: 0o600,
            uid: 0,
            gid: 0,
            time: disk.now(),
            xattrs: Vec::new(),
            space: Space::Ordinary,
        };
        let mut unnamed = disk.writer.create_unnamed(&root, &new, disk.now()).unwrap();
        disk.write(&mut unnamed, 0, &[5; 5000]);
        assert_ne!(free(&disk), before);
        disk.crash();
        assert_eq!(free(&disk), before);
        assert_eq!(disk.root().size, root.size);
        assert_eq!(disk.read(&disk.at("keep")), b"kept");
        disk.check();
    }
}

#[test]
fn a_file_of_many_pieces_is_cut_and_deleted_in_steps() {
    for (name, args, size) in [KINDS[0], KINDS[5], KINDS[10]] {
        println!("kind {name}");
        let disk = Disk::make(args, size);
        let block = u64::from(disk.fs.block_size()) * if name == "ext4-bigalloc" { 8 } else { 1 };
        let mut file = disk.file("f", b"");
        let now = disk.now();
        for n in 0..3000 {
            disk.writer
                .allocate(
                    &mut file,
                    (n * 2 * block, block, 0),
                    Space::Reserve,
                    now,
                    &mut |_| {},
                )
                .unwrap();
        }
        disk.writer
            .set_size(&mut file, 6000 * block, now, now)
            .unwrap();
        disk.check();
        let mut file = disk.at("f");
        disk.writer
            .punch(&mut file, 1000 * block, 3000 * block, now)
            .unwrap();
        disk.check();
        let mut file = disk.at("f");
        disk.writer
            .set_size(&mut file, 500 * block, now, now)
            .unwrap();
        disk.check();
        disk.unlink("f");
        disk.check();
        assert!(disk.fs.lookup(&disk.root(), b"f").unwrap().is_none());
        assert!(disk.fs.inode(InodeNumber::ROOT).is_ok());
    }
}
