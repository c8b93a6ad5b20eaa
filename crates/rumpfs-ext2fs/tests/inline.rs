//! Changing what lies in inodes: directories and files of volumes with inline_data, as mke2fs makes them.

mod write_support;

use rumpfs_ext2fs::{
    Error,
    inode::{FileType, InodeFlags},
    names::NewKind,
};
use rumpuser::Errno;
use std::{fs, path::Path};
use write_support::{Disk, TempDir, tool};

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (seed * 31 + n * 7 + 1) as u8).collect()
}

/// Files of 0 to 159 bytes, directories of 0 to 9 names.
fn tree(path: &Path) {
    for n in 0..160 {
        fs::write(path.join(format!("f{n}")), content(n, n)).unwrap();
    }
    for n in 0..10 {
        let dir = path.join(format!("d{n}"));
        fs::create_dir(&dir).unwrap();
        for k in 0..n {
            fs::write(dir.join(format!("n{k}")), b"").unwrap();
        }
    }
}

fn volume(args: &[&str]) -> Disk {
    let from = TempDir::new();
    tree(from.path());
    let from_path = from.path().to_str().unwrap();
    Disk::make(
        &[&["-t", "ext4", "-O", "inline_data", "-d", from_path], args].concat(),
        "32M",
    )
}

fn is_inline(disk: &Disk, path: &str) -> bool {
    disk.at(path).flags.contains(InodeFlags::INLINE_DATA)
}

const SIZES: [&[&str]; 2] = [&["-I", "256"], &["-I", "512"]];

#[test]
fn names_come_and_go_in_inline_directories() {
    for args in SIZES {
        let disk = volume(args);
        assert!(is_inline(&disk, "d3"));
        for n in 0..10 {
            let dir = format!("d{n}");
            // One out of the middle, a longer one in, then more until it needs a block.
            if n > 1 {
                disk.unlink(&format!("{dir}/n{}", n / 2));
            }
            disk.check();
            let mut expected = disk.names(&dir);
            for k in 0..40 {
                let name = format!("{}{k}", "m".repeat(k % 9));
                disk.file(&format!("{dir}/{name}"), b"x");
                expected.push(name);
                expected.sort();
                assert_eq!(disk.names(&dir), expected);
                if k % 13 == 0 {
                    disk.check();
                }
            }
            assert!(!is_inline(&disk, &dir));
            for name in expected {
                disk.unlink(&format!("{dir}/{name}"));
            }
            assert!(disk.names(&dir).is_empty());
            disk.unlink(&dir);
        }
        disk.check();
    }
}

#[test]
fn inline_directories_move_and_are_replaced() {
    let disk = volume(SIZES[0]);
    disk.mkdir("top");
    disk.rename("d4", "top/d4", false).unwrap();
    assert_eq!(
        disk.fs.parent(&disk.at("top/d4")).unwrap(),
        disk.at("top").ino
    );
    disk.check();
    disk.rename("d3/n1", "top/d4/n2", false).unwrap();
    disk.rename("d5/n1", "top/d4", true).unwrap();
    disk.rename("d1/n0", "f3", false).unwrap();
    disk.check();
    assert_eq!(disk.names("d3"), ["n0", "n2"]);
    assert_eq!(disk.names("d5/n1"), ["n0", "n1", "n2", "n3"]);
}

#[test]
fn inline_files_grow_and_shrink() {
    for args in SIZES {
        let disk = volume(args);
        let mut inline = 0;
        for n in 0..160 {
            let path = format!("f{n}");
            let mut model = content(n, n);
            let mut inode = disk.at(&path);
            assert_eq!(disk.read(&inode), model, "{path}");
            inline += u32::from(is_inline(&disk, &path));
            let now = disk.now();
            match n % 4 {
                0 => {
                    let at = n as u64 / 2;
                    disk.write(&mut inode, at, b"over");
                    model.resize(model.len().max(at as usize + 4), 0);
                    model[at as usize..at as usize + 4].copy_from_slice(b"over");
                }
                1 => {
                    disk.write(&mut inode, 100_000, b"far");
                    model.resize(100_000, 0);
                    model.extend(b"far");
                }
                2 => {
                    disk.writer
                        .set_size(&mut inode, n as u64 / 3, now, now)
                        .unwrap();
                    model.truncate(n / 3);
                    // In a block, the page cache would zero what is cut off.
                    if is_inline(&disk, &path) {
                        let size = n as u64 / 3 + 20;
                        disk.writer.set_size(&mut inode, size, now, now).unwrap();
                        model.resize(n / 3 + 20, 0);
                    }
                }
                _ => {
                    disk.writer.set_size(&mut inode, 9000, now, now).unwrap();
                    model.resize(9000, 0);
                }
            }
            assert_eq!(disk.read(&disk.at(&path)), model, "{path}");
        }
        assert!(inline > 60);
        disk.check();
        for n in 0..160 {
            disk.unlink(&format!("f{n}"));
        }
        disk.check();
    }
}

#[test]
fn directories_that_fold_case_and_locked_files_are_left_alone() {
    let disk = Disk::make(&["-t", "ext4", "-O", "encrypt,casefold,verity"], "32M");
    disk.mkdir("fold");
    disk.mkdir("secret");
    disk.file("plain", b"x");
    disk.file("checked", b"x");
    disk.fs.volume().checkpoint().unwrap();
    let path = disk.save();
    let path = path.to_str().unwrap();
    for (name, flag, bits) in [
        ("fold", InodeFlags::CASEFOLD, disk.at("fold").flags),
        ("secret", InodeFlags::ENCRYPT, disk.at("secret").flags),
        ("checked", InodeFlags::VERITY, disk.at("checked").flags),
    ] {
        let command = format!("sif {name} flags 0x{:x}", (bits | flag).bits());
        tool("debugfs", &["-w", "-R", &command, path]);
    }
    let disk = disk.reopen();
    for name in ["fold", "secret"] {
        let mut dir = disk.at(name);
        let made = disk.try_create(&mut dir, b"new", NewKind::Plain(FileType::Regular));
        let error = made.err().map(|error| Errno::from(&error));
        assert_eq!(error, Some(Errno::EOPNOTSUPP), "{name}");
        let moved = disk.rename("plain", &format!("{name}/plain"), false);
        assert!(matches!(moved, Err(Error::Unsupported(..))), "{name}");
    }
    let mut file = disk.at("checked");
    assert!(disk.try_write(&mut file, 0, b"y").is_err());
    let now = disk.now();
    assert!(disk.writer.set_size(&mut file, 0, now, now).is_err());
    assert_eq!(disk.read(&disk.at("plain")), b"x");
}

#[test]
fn what_was_on_the_medium_before_does_not_show() {
    let dir = TempDir::new();
    let image = dir.path().join("image");
    fs::write(&image, vec![0xA5; 48 << 20]).unwrap();
    let path = image.to_str().unwrap();
    let lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1";
    for features in ["^has_journal", "^has_journal,^metadata_csum,uninit_bg"] {
        tool(
            "mke2fs",
            &[
                "-q", "-F", "-t", "ext4", "-b", "1024", "-E", lazy, "-O", features, path,
            ],
        );
        let copy = TempDir::new();
        fs::copy(&image, copy.path().join("image")).unwrap();
        let disk = Disk::open(copy);
        for n in 0..20 {
            disk.mkdir(&format!("d{n}"));
            for k in 0..60 {
                disk.file(&format!("d{n}/f{k}"), &content(k, k * 40));
            }
        }
        disk.check();
        for n in 0..20 {
            assert_eq!(
                disk.read(&disk.at(&format!("d{n}/f59"))),
                content(59, 59 * 40)
            );
        }
    }
}
