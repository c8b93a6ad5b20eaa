//! Writing on damaged volumes without checksums: any result will do, but neither a panic nor an endless loop.

mod write_support;

use rumpbio::Space;
use rumpfs_ext2fs::{
    Error,
    inode::{FileType, Inode},
    map::Mapping,
    names::{NamePlace, NewKind, NewNode},
    types::{FileBlock, InodeNumber},
    xattr::NameIndex,
};
use rumpuser::Rng;
use rumpvfs::fs::XattrMode;
use std::time::{Duration, Instant};
use write_support::{Disk, kinds::Kind, tool};

const BARE: &[Kind] = &[
    ("ext2", &["-t", "ext2", "-b", "1024"], "8M"),
    (
        "ext4",
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "^metadata_csum,^uninit_bg,^has_journal",
        ],
        "8M",
    ),
    (
        "bigalloc",
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-C",
            "4096",
            "-O",
            "bigalloc,inline_data,ea_inode,^metadata_csum,^has_journal",
            "-I",
            "256",
        ],
        "8M",
    ),
];

fn populate(disk: &Disk) {
    for n in 0..6 {
        disk.mkdir(&format!("d{n}"));
        for k in 0..40 {
            disk.file(
                &format!("d{n}/file with a longer name {k}"),
                &vec![k; 700 * n],
            );
        }
    }
    let mut file = disk.file("pieces", b"");
    for n in 0..300 {
        let now = disk.now();
        disk.writer
            .allocate(
                &mut file,
                (n * 8192, 1024, n * 8192 + 1024),
                Space::Reserve,
                now,
                &mut |_| {},
            )
            .unwrap();
    }
    for n in 0..5 {
        let mut inode = disk.at(&format!("d{n}"));
        let name = (NameIndex::USER, &b"attribute"[..]);
        disk.writer
            .set_xattr(
                &mut inode,
                name,
                &[7; 600],
                XattrMode::Set,
                Space::Reserve,
                disk.now(),
            )
            .unwrap();
    }
}

/// Every operation, on what can still be found.
fn use_it(disk: &Disk) {
    let Ok(mut root) = disk.fs.inode(InodeNumber::ROOT) else {
        return;
    };
    let find = |dir: &Inode, name: &str| -> Option<Inode> {
        let found = disk.fs.lookup(dir, name.as_bytes()).ok()??;
        disk.fs.inode(found.ino).ok()
    };
    let now = disk.now();
    for n in 0..6 {
        let Some(mut dir) = find(&root, &format!("d{n}")) else {
            continue;
        };
        if !dir.is_dir() {
            continue;
        }
        for k in 0..12 {
            let kind = [
                NewKind::Plain(FileType::Regular),
                NewKind::Plain(FileType::Directory),
                NewKind::Symlink(&[b'l'; 100]),
            ][k % 3];
            if let Ok(mut made) = disk.try_create(&mut dir, format!("new{k}").as_bytes(), kind)
                && k % 3 == 0
            {
                let _ = disk.writer.allocate(
                    &mut made,
                    (0, 5000, 5000),
                    Space::Ordinary,
                    now,
                    &mut |_| {},
                );
            }
        }
        for k in 0..40 {
            let name = format!("file with a longer name {k}");
            let place = NamePlace {
                name: name.as_bytes(),
                position: None,
            };
            if let Some(mut target) = find(&dir, &name) {
                let _ = disk.writer.set_size(&mut target, 100, now, now);
                if disk
                    .writer
                    .unlink(&mut dir, &place, &mut target, now)
                    .is_ok()
                {
                    let _ = disk.writer.reclaim(target, now);
                }
            }
        }
        let name = (NameIndex::USER, &b"another"[..]);
        let _ = disk.writer.set_xattr(
            &mut dir,
            name,
            &[1; 300],
            XattrMode::Set,
            Space::Reserve,
            now,
        );
        let name = (NameIndex::USER, &b"attribute"[..]);
        let _ = disk.writer.remove_xattr(&mut dir, name, now);
        let place = NamePlace {
            name: b"linked",
            position: None,
        };
        if let Some(mut target) = find(&root, "pieces") {
            let _ = disk
                .writer
                .link(&mut dir, &place, &mut target, Space::Reserve, now);
        }
    }
    if let Some(mut file) = find(&root, "pieces") {
        let _ = disk.writer.punch(&mut file, 10_000, 500_000, now);
        let _ = disk
            .writer
            .reserve(&mut file, 0, 300_000, Space::Reserve, now);
        let _ = disk.writer.set_size(&mut file, 1_000_000, now, now);
        let place = NamePlace {
            name: b"pieces",
            position: None,
        };
        if disk
            .writer
            .unlink(&mut root, &place, &mut file, now)
            .is_ok()
        {
            let _ = disk.writer.reclaim(file, now);
        }
    }
    let new = NewNode {
        kind: NewKind::Plain(FileType::Regular),
        permissions: 0o644,
        uid: 0,
        gid: 0,
        time: now,
        xattrs: vec![(NameIndex::USER, b"a".to_vec(), vec![1; 50])],
        space: Space::Ordinary,
    };
    if let Ok(inode) = disk.writer.create_unnamed(&root, &new, now) {
        let _ = disk.writer.reclaim(inode, now);
    }
    let _ = disk.writer.finish(now, None);
}

fn damage(bytes: &mut [u8], random: &mut Rng) {
    let spots: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    for _ in 0..1 + random.index(60) {
        let at = match random.index(8) {
            // Descriptors and bitmaps are few bytes, yet the most interesting.
            0 => 2048 + random.index(1024),
            _ => spots[random.index(spots.len())],
        };
        bytes[at] = match random.index(4) {
            0 => 0,
            1 => 0xFF,
            2 => bytes[at] ^ (1 << random.index(8)),
            _ => random.index(256) as u8,
        };
    }
}

#[test]
fn damage_is_survived() {
    let mut random = Rng::new(1);
    for (name, args, size) in BARE {
        let disk = Disk::make(args, size);
        populate(&disk);
        disk.check();
        let good = std::fs::read(disk.save()).unwrap();
        let mut mounted = 0;
        for round in 0..120 {
            let mut bytes = good.clone();
            damage(&mut bytes, &mut random);
            let begun = Instant::now();
            if let Some(disk) = Disk::of_bytes(bytes) {
                mounted += 1;
                use_it(&disk);
            }
            let took = begun.elapsed();
            assert!(
                took < Duration::from_secs(20),
                "{name} round {round}: {took:?}"
            );
        }
        assert!(mounted > 30, "{name}: {mounted} mounted");
    }
}

#[test]
fn a_damaged_bitmap_is_noted_and_left_alone() {
    let disk = Disk::make(&["-t", "ext4", "-b", "1024", "-O", "^has_journal"], "32M");
    disk.file("f", &[1; 5000]);
    disk.check();
    let group = disk
        .fs
        .superblock()
        .group_of(match disk.fs.map(&disk.at("f"), FileBlock(0), 1).unwrap() {
            Mapping::OnDisk { block, .. } => block,
            other => panic!("{other:?}"),
        })
        .unwrap()
        .0;
    let at = disk.fs.group(group).unwrap().block_bitmap.0 as usize * 1024;
    let mut bytes = std::fs::read(disk.save()).unwrap();
    bytes[at + 1000] ^= 0x10;
    let disk = Disk::of_bytes(bytes).unwrap();
    let free = disk.fs.group(group).unwrap().free_blocks;
    // New files go elsewhere.
    let mut made = disk
        .try_create(&mut disk.root(), b"g", NewKind::Plain(FileType::Regular))
        .unwrap();
    disk.write(&mut made, 0, &[2; 50_000]);
    assert_eq!(disk.fs.group(group).unwrap().free_blocks, free);
    // What lies there cannot be freed: its name goes, the inode stays an orphan.
    let failed = disk.try_unlink(&mut disk.root(), b"f");
    assert!(matches!(failed, Err(Error::Checksum { .. })), "{failed:?}");
    disk.fs.volume().checkpoint().unwrap();
    let text = tool("dumpe2fs", &["-h", disk.save().to_str().unwrap()]);
    assert!(text.contains("clean with errors") || text.contains("not clean with errors"));
    assert!(text.contains("FS Error count:           2"), "{text}");
    assert!(text.contains("rumpfs-ext2fs"));
    assert_eq!(disk.read(&made), [2; 50_000]);
}
