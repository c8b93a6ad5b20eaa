//! Writing extended attributes on volumes of all kinds, checked by e2fsck and read back by debugfs and the host's kernel.

mod write_support;

use rumpbio::Space;
use rumpfs_ext2fs::{
    Error, acl,
    inode::{FileType, Inode},
    names::NewKind,
    xattr::{NameIndex, block_checksum},
    xattr_write::{SIZE_MAX, stored_value},
};
use rumpuser::{Errno, Rng};
use rumpvfs::fs::XattrMode;
use std::{collections::BTreeMap, fs};
use write_support::{Disk, TempDir, tool};

const KINDS: &[(&str, &[&str], &str)] = &[
    (
        "ext2-1k-noattr",
        &["-t", "ext2", "-b", "1024", "-O", "^ext_attr"],
        "16M",
    ),
    ("ext3-4k", &["-t", "ext3", "-b", "4096"], "64M"),
    ("ext4-1k", &["-t", "ext4", "-b", "1024"], "32M"),
    (
        "ext4-4k-1024",
        &["-t", "ext4", "-b", "4096", "-I", "1024"],
        "64M",
    ),
    ("ext4-128", &["-t", "ext4", "-I", "128"], "64M"),
    (
        "ext4-nocsum",
        &["-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit"],
        "64M",
    ),
    (
        "ext4-bigalloc",
        &["-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "8192"],
        "64M",
    ),
    (
        "ext4-inline",
        &["-t", "ext4", "-O", "inline_data", "-I", "256"],
        "64M",
    ),
    (
        "ext4-eainode",
        &["-t", "ext4", "-b", "1024", "-O", "ea_inode"],
        "64M",
    ),
    (
        "ext4-eainode-noextent",
        &["-t", "ext4", "-b", "2048", "-O", "ea_inode,^extent,^64bit"],
        "64M",
    ),
    (
        "ext4-64k",
        &["-t", "ext4", "-b", "65536", "-O", "ea_inode"],
        "512M",
    ),
];

/// Attributes by prefix and rest of the name.
type Model = BTreeMap<(NameIndex, Vec<u8>), Vec<u8>>;

fn disk(kind: &str) -> Disk {
    let (_, args, size) = KINDS.iter().find(|k| k.0 == kind).expect("a kind");
    Disk::make(args, size)
}

fn set(disk: &Disk, inode: &mut Inode, name: &[u8], value: &[u8]) -> rumpfs_ext2fs::Result<()> {
    let name = NameIndex::split(name).unwrap();
    let now = disk.now();
    disk.writer
        .set_xattr(inode, name, value, XattrMode::Set, Space::Reserve, now)
}

fn get(disk: &Disk, inode: &Inode, name: &[u8]) -> Option<Vec<u8>> {
    let (index, rest) = NameIndex::split(name).unwrap();
    disk.fs.xattr(inode, index, rest).unwrap()
}

fn remove(disk: &Disk, inode: &mut Inode, name: &[u8]) -> rumpfs_ext2fs::Result<()> {
    disk.writer
        .remove_xattr(inode, NameIndex::split(name).unwrap(), disk.now())
}

/// All attributes that an inode has, as stored; the inode is read anew.
fn all(disk: &Disk, inode: &Inode) -> Model {
    let inode = disk.fs.inode(inode.ino).unwrap();
    let mut names = Vec::new();
    disk.fs
        .xattrs(&inode, |entry| {
            names.push((entry.index, entry.name.to_vec()));
            true
        })
        .unwrap();
    names.retain(|(index, _)| *index != NameIndex::SYSTEM);
    let count = names.len();
    let model: Model = names
        .into_iter()
        .map(|(index, name)| {
            let value = disk.fs.xattr(&inode, index, &name).unwrap().unwrap();
            ((index, name), value)
        })
        .collect();
    assert_eq!(model.len(), count, "a name is there twice");
    model
}

fn refused(result: rumpfs_ext2fs::Result<()>) -> Errno {
    match result {
        Err(Error::Refused(errno)) => errno,
        other => panic!("{other:?}"),
    }
}

/// Free blocks and inodes by the groups.
fn free(disk: &Disk) -> (u64, u64) {
    disk.fs.volume().commit().unwrap();
    let groups = 0..disk.fs.superblock().groups;
    groups
        .map(|n| disk.fs.group(rumpfs_ext2fs::types::GroupNumber(n)).unwrap())
        .fold((0, 0), |(blocks, inodes), group| {
            (
                blocks + u64::from(group.free_blocks),
                inodes + u64::from(group.free_inodes),
            )
        })
}

/// Sets and removes at random, on a few files, and compares with a model.
#[test]
fn random_changes_on_every_kind() {
    for (kind, args, size) in KINDS {
        println!("{kind}");
        let mut disk = Disk::make(args, size);
        let before = free(&disk);
        let mut numbers = Rng::new(1);
        let mut models: Vec<(String, Model)> = Vec::new();
        for n in 0..3 {
            let path = format!("file{n}");
            disk.file(&path, &numbers.bytes(40 * n));
            models.push((path, Model::new()));
        }
        disk.mkdir("dir");
        disk.create("link", NewKind::Symlink(b"a target"));
        for path in ["dir", "link"] {
            models.push((path.to_owned(), Model::new()));
        }
        let block = disk.fs.block_size() as usize;
        for step in 0..250 {
            let at = numbers.index(models.len());
            let (path, model) = &mut models[at];
            let mut inode = disk.at(path);
            let index =
                [NameIndex::USER, NameIndex::TRUSTED, NameIndex::SECURITY][numbers.index(3)];
            let number = numbers.index(12);
            let name = format!("{:x<1$}", number, 1 + number * number).into_bytes();
            let key = (index, name.clone());
            let now = disk.now();
            if numbers.index(4) == 0 {
                let result = disk.writer.remove_xattr(&mut inode, (index, &name), now);
                match model.remove(&key) {
                    Some(_) => result.unwrap(),
                    None => assert_eq!(refused(result), Errno::ENODATA),
                }
            } else {
                let len = match numbers.index(8) {
                    0 => 0,
                    1 => numbers.index(block * 2),
                    2 => numbers.index(block / 2),
                    _ => numbers.index(60),
                };
                let value = numbers.bytes(len.min(SIZE_MAX));
                let mode = [
                    XattrMode::Set,
                    XattrMode::Set,
                    XattrMode::Create,
                    XattrMode::Replace,
                ][numbers.index(4)];
                let there = model.contains_key(&key);
                let result = disk.writer.set_xattr(
                    &mut inode,
                    (index, &name),
                    &value,
                    mode,
                    Space::Reserve,
                    now,
                );
                match (mode, there) {
                    (XattrMode::Create, true) => assert_eq!(refused(result), Errno::EEXIST),
                    (XattrMode::Replace, false) => assert_eq!(refused(result), Errno::ENODATA),
                    _ => match result {
                        Ok(()) => {
                            model.insert(key, value);
                        }
                        other => assert_eq!(refused(other), Errno::ENOSPC),
                    },
                }
            }
            assert_eq!(
                inode,
                disk.at(path),
                "{kind} step {step}: the inode and its copy"
            );
            assert_eq!(&all(&disk, &inode), model, "{kind} step {step}");
            if step % 50 == 49 {
                disk.check();
                if step % 100 == 99 {
                    disk.remount();
                }
            }
        }
        assert!(models.iter().all(|(_, model)| !model.is_empty()));
        for n in 0..3 {
            let mut numbers = Rng::new(1);
            let contents: Vec<_> = (0..3).map(|n| numbers.bytes(40 * n)).collect();
            assert_eq!(
                disk.read(&disk.at(&format!("file{n}"))),
                contents[n],
                "{kind}"
            );
        }
        for (path, _) in &models {
            disk.unlink(path);
        }
        disk.check();
        assert_eq!(free(&disk), before, "{kind}: everything is free again");
    }
}

#[test]
fn limits() {
    let disk = disk("ext4-1k");
    let mut inode = disk.file("file", b"");
    let name = [b"user.".as_slice(), &[b'n'; 256]].concat();
    assert_eq!(refused(set(&disk, &mut inode, &name, b"")), Errno::ERANGE);
    set(&disk, &mut inode, &name[..260], b"long name").unwrap();
    let long = vec![1; SIZE_MAX + 1];
    assert_eq!(
        refused(set(&disk, &mut inode, b"user.a", &long)),
        Errno::E2BIG
    );
    // The block holds a header of 32 bytes, entries of 16 and more, 4 zero bytes.
    let most = 1024 - 32 - 4 - 20 - (16 + 256 + 12);
    let full = vec![7; most + 1];
    let result = set(&disk, &mut inode, b"user.a", &full);
    assert_eq!(refused(result), Errno::ENOSPC);
    set(&disk, &mut inode, b"user.a", &full[..most]).unwrap();
    assert_eq!(get(&disk, &inode, b"user.a").unwrap(), &full[..most]);
    // In the inode there is room for something small still.
    set(&disk, &mut inode, b"user.b", b"12345678").unwrap();
    assert_eq!(
        refused(set(&disk, &mut inode, b"user.c", &[9; 64])),
        Errno::ENOSPC
    );
    assert_eq!(all(&disk, &inode).len(), 3);
    disk.check();
}

/// The first revision has no word for features, so nobody would look for attributes.
#[test]
fn the_first_revision_has_none() {
    let disk = Disk::make(&["-t", "ext2", "-r", "0", "-b", "1024"], "16M");
    let mut inode = disk.file("file", b"");
    let result = set(&disk, &mut inode, b"user.a", b"1");
    assert_eq!(refused(result), Errno::EOPNOTSUPP);
    assert_eq!(all(&disk, &inode), Model::new());
    disk.check();
}

#[test]
fn a_failed_change_leaves_no_trace() {
    let disk = disk("ext4-eainode");
    let mut inode = disk.file("file", b"");
    set(&disk, &mut inode, b"user.a", &[1; 5000]).unwrap();
    let before = (free(&disk), inode.clone(), all(&disk, &inode));
    // Names that fill both areas, until not even an entry fits.
    let mut n = 0;
    let errno = loop {
        let name = format!("user.{n:0>200}");
        match set(&disk, &mut inode, name.as_bytes(), &[n; 3000]) {
            Ok(()) => n += 1,
            error => break refused(error),
        }
    };
    assert_eq!(errno, Errno::ENOSPC);
    assert!(n >= 4, "{n}");
    disk.check();
    for n in 0..n {
        remove(&disk, &mut inode, format!("user.{n:0>200}").as_bytes()).unwrap();
    }
    let after = (free(&disk), all(&disk, &inode));
    assert_eq!(after, (before.0, before.2));
    assert_eq!(inode.file_acl, before.1.file_acl);
    assert_eq!(inode.blocks_512, before.1.blocks_512);
    disk.check();
}

#[test]
fn large_values_have_inodes_of_their_own() {
    let mut disk = disk("ext4-eainode");
    let before = free(&disk);
    let mut inode = disk.file("file", b"content");
    let large: Vec<u8> = Rng::new(99).bytes(SIZE_MAX);
    set(&disk, &mut inode, b"user.large", &large).unwrap();
    set(&disk, &mut inode, b"user.second", &large[1..2000]).unwrap();
    disk.check();
    disk.remount();
    let mut inode = disk.at("file");
    assert_eq!(get(&disk, &inode, b"user.large").unwrap(), large);
    // e2fsprogs reads it, too.
    let out = TempDir::new();
    let copy = out.path().join("value");
    disk.debugfs(&format!("ea_get -f {} file user.large", copy.display()));
    assert_eq!(fs::read(&copy).unwrap(), large);
    // Replaced by another large one, by a small one, and gone.
    set(&disk, &mut inode, b"user.large", &large[5..5000]).unwrap();
    assert_eq!(get(&disk, &inode, b"user.large").unwrap(), &large[5..5000]);
    disk.check();
    set(&disk, &mut inode, b"user.large", b"small").unwrap();
    disk.check();
    remove(&disk, &mut inode, b"user.second").unwrap();
    disk.check();
    disk.unlink("file");
    disk.check();
    assert_eq!(free(&disk), before);
}

#[test]
fn inline_data_stays_in_the_inode() {
    let mut disk = disk("ext4-inline");
    // Made by debugfs, which puts small files into the inode: 60 bytes and some of an attribute.
    let content: Vec<u8> = (0..120).collect();
    let out = TempDir::new();
    let source = out.path().join("source");
    fs::write(&source, &content).unwrap();
    disk.change_image(&format!("write {} inline\n", source.display()));
    let mut inode = disk.at("inline");
    assert!(
        inode
            .flags
            .contains(rumpfs_ext2fs::inode::InodeFlags::INLINE_DATA)
    );
    let is_here = |disk: &Disk| assert_eq!(disk.read(&disk.at("inline")), content);
    is_here(&disk);
    for n in 0..12 {
        let value = [n; 30];
        set(
            &disk,
            &mut inode,
            format!("user.number{n}").as_bytes(),
            &value,
        )
        .unwrap();
        is_here(&disk);
    }
    disk.check();
    assert_eq!(
        refused(
            disk.writer
                .remove_xattr(&mut inode, (NameIndex::USER, b"data"), disk.now())
        ),
        Errno::ENODATA
    );
    assert!(NameIndex::split(b"system.data").is_none());
    for n in 0..12 {
        remove(&disk, &mut inode, format!("user.number{n}").as_bytes()).unwrap();
        is_here(&disk);
    }
    assert_eq!(inode.file_acl.0, 0);
    disk.check();
    disk.remount();
    is_here(&disk);
}

/// Makes the empty file `b` use the attribute block of the empty file `a`, as Linux does where all attributes are the
/// same.
fn share(disk: &mut Disk, a: &str, b: &str) {
    let block = disk.at(a).file_acl;
    assert_ne!(block.0, 0);
    let sectors = disk.at(a).blocks_512;
    disk.change_image(&format!(
        "sif {b} file_acl {}\nsif {b} blocks {sectors}\n",
        block.0
    ));
    let size = disk.fs.block_size() as usize;
    let sb = disk.fs.superblock().clone();
    disk.change_bytes(block.0 as usize * size, size, |bytes| {
        let count = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) + 1;
        bytes[4..8].copy_from_slice(&count.to_le_bytes());
        if let Some(checksum) = block_checksum(&sb, block, bytes) {
            bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        }
    });
    disk.check();
}

#[test]
fn a_shared_block_is_copied_before_it_changes() {
    for kind in ["ext4-128", "ext3-4k", "ext4-eainode", "ext4-nocsum"] {
        let mut disk = disk(kind);
        let before = free(&disk);
        let value: Vec<u8> = Rng::new(5).bytes(600);
        for name in ["a", "b", "c"] {
            disk.file(name, b"");
        }
        let mut a = disk.at("a");
        set(&disk, &mut a, b"user.one", &value).unwrap();
        set(&disk, &mut a, b"user.two", &[2; 100]).unwrap();
        disk.check();
        share(&mut disk, "a", "b");
        share(&mut disk, "a", "c");
        let (mut a, mut b, c) = (disk.at("a"), disk.at("b"), disk.at("c"));
        let block = a.file_acl;
        assert_eq!((b.file_acl, c.file_acl), (block, block));
        let model = all(&disk, &c);
        // Changed in one: a copy.
        set(&disk, &mut a, b"user.one", &value[1..]).unwrap();
        assert_ne!(a.file_acl, block);
        assert_eq!(all(&disk, &b), model);
        disk.check();
        // Removed in the next.
        remove(&disk, &mut b, b"user.two").unwrap();
        assert_ne!(b.file_acl, block);
        assert_eq!(all(&disk, &c), model);
        disk.check();
        // Alone now: changed in place.
        let mut c = disk.at("c");
        set(&disk, &mut c, b"user.three", &[3; 60]).unwrap();
        assert_eq!(c.file_acl, block);
        disk.check();
        for name in ["a", "b", "c"] {
            disk.unlink(name);
            disk.check();
        }
        assert_eq!(free(&disk), before, "{kind}");
    }
}

#[test]
fn a_copy_of_a_shared_block_counts_its_values() {
    let mut disk = disk("ext4-eainode");
    let before = free(&disk);
    let value = Rng::new(6).bytes(3000);
    for name in ["a", "b"] {
        disk.file(name, b"");
    }
    let mut a = disk.at("a");
    // The first fills the inode, the others go to the block.
    set(&disk, &mut a, b"user.fill", &[0; 60]).unwrap();
    set(&disk, &mut a, b"user.large", &value).unwrap();
    set(&disk, &mut a, b"user.other", &value[7..]).unwrap();
    set(&disk, &mut a, b"user.small", &[2; 100]).unwrap();
    disk.check();
    share(&mut disk, "a", "b");
    let (mut a, b) = (disk.at("a"), disk.at("b"));
    remove(&disk, &mut a, b"user.other").unwrap();
    assert_eq!(get(&disk, &b, b"user.other").unwrap(), &value[7..]);
    disk.check();
    set(&disk, &mut a, b"user.large", b"small").unwrap();
    assert_eq!(get(&disk, &b, b"user.large").unwrap(), value);
    disk.check();
    for name in ["a", "b"] {
        disk.unlink(name);
        disk.check();
    }
    assert_eq!(free(&disk), before);
}

/// u::rwx, u:1000:r--, g::r-x, m::r-x, o::---, as programs give it.
fn list() -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (1_u16, 7_u16, !0_u32),
        (2, 4, 1000),
        (4, 5, !0),
        (0x10, 5, !0),
        (0x20, 0, !0),
    ] {
        value.extend(tag.to_le_bytes());
        value.extend(perm.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

#[test]
fn access_control_lists() {
    use FileType::{Directory, Regular, Symlink};
    let value = list();
    let stored = |file_type, index| stored_value(file_type, index, &value);
    let (access, default) = (NameIndex::ACL_ACCESS, NameIndex::ACL_DEFAULT);
    assert_eq!(stored(Regular, default), Err(Error::Refused(Errno::EACCES)));
    assert_eq!(
        stored(Symlink, access),
        Err(Error::Refused(Errno::EOPNOTSUPP))
    );
    assert_eq!(stored_value(Regular, access, &value[..4]), Ok(None));
    assert_eq!(
        stored_value(Regular, access, &value[..6]),
        Err(Error::Refused(Errno::EINVAL))
    );
    assert_eq!(
        stored_value(Regular, NameIndex::USER, &value)
            .unwrap()
            .unwrap(),
        value
    );
    for kind in ["ext4-4k-1024", "ext4-128"] {
        let disk = disk(kind);
        let mut dir = disk.mkdir("dir");
        let bytes = stored(Directory, access).unwrap().unwrap();
        for index in [access, default] {
            let now = disk.now();
            disk.writer
                .set_xattr(
                    &mut dir,
                    (index, b""),
                    &bytes,
                    XattrMode::Set,
                    Space::Reserve,
                    now,
                )
                .unwrap();
            let back = disk.fs.xattr(&dir, index, b"").unwrap().unwrap();
            assert_eq!(acl::to_attribute(dir.ino, &back).unwrap(), value);
        }
        disk.check();
        let text = disk.debugfs("ea_list dir");
        assert!(text.contains("system.posix_acl_access"), "{text}");
        assert!(text.contains("system.posix_acl_default"), "{text}");
    }
}

#[test]
fn damaged_areas_are_told_and_not_changed() {
    let mut disk = disk("ext4-nocsum");
    let mut inode = disk.file("file", b"");
    set(&disk, &mut inode, b"user.inside", &[1; 20]).unwrap();
    set(&disk, &mut inode, b"user.outside", &[1; 500]).unwrap();
    disk.remount();
    write_support::expect_damage();
    let block = inode.file_acl.0 as usize * disk.fs.block_size() as usize;
    // The size of the value in the block; its magic number; its count of users.
    for (at, value) in [(32 + 8, 0xFFFF), (0, 0), (4, 0), (4, 1025)] {
        let mut old = [0; 4];
        disk.change_bytes(block + at, 4, |bytes| {
            old.copy_from_slice(bytes);
            bytes.copy_from_slice(&u32::to_le_bytes(value));
        });
        let mut inode = disk.at("file");
        for result in [
            set(&disk, &mut inode, b"user.new", &[3; 300]),
            remove(&disk, &mut inode, b"user.outside"),
        ] {
            assert!(matches!(result, Err(Error::Value { .. })), "{result:?}");
        }
        assert_eq!(inode, disk.at("file"));
        disk.change_bytes(block + at, 4, |bytes| bytes.copy_from_slice(&old));
    }
    assert_eq!(all(&disk, &disk.at("file")).len(), 2);
}

/// The host's kernel reads what is written, and the other way round.
#[test]
#[ignore = "needs root for a loop mount, and the packages attr and acl"]
fn the_kernel_reads_the_same() {
    for kind in [
        "ext2-1k-noattr",
        "ext3-4k",
        "ext4-1k",
        "ext4-4k-1024",
        "ext4-128",
        "ext4-eainode",
    ] {
        let mut disk = disk(kind);
        let mut file = disk.file("file", b"");
        let mut dir = disk.mkdir("dir");
        let list = list();
        let acl = stored_value(FileType::Directory, NameIndex::ACL_ACCESS, &list);
        let acl = acl.unwrap().unwrap();
        let set_acl = |inode: &mut Inode, index| {
            let now = disk.now();
            disk.writer
                .set_xattr(
                    inode,
                    (index, b""),
                    &acl,
                    XattrMode::Set,
                    Space::Reserve,
                    now,
                )
                .unwrap();
        };
        set_acl(&mut file, NameIndex::ACL_ACCESS);
        set_acl(&mut dir, NameIndex::ACL_ACCESS);
        set_acl(&mut dir, NameIndex::ACL_DEFAULT);
        let mut numbers = Rng::new(77);
        let mut expected = Vec::new();
        for n in 0..12 {
            let name = format!("{}.name{n}", ["user", "trusted", "security"][n % 3]);
            let large = kind == "ext4-eainode" && n % 4 == 0;
            let len = numbers.index(40) + if large { 5000 } else { 0 };
            let value = numbers.bytes(len);
            set(&disk, &mut file, name.as_bytes(), &value).unwrap();
            expected.push((name, value));
        }
        disk.check();
        disk.with_loop_mount(|root| {
            let path = root.join("file");
            let path = path.to_str().unwrap();
            for (name, value) in &expected {
                let args = ["--absolute-names", "-e", "hex", "-n", name, path];
                let text = tool("getfattr", &args);
                let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
                let line = if hex.is_empty() {
                    format!("{name}=\"\"\n")
                } else {
                    format!("{name}=0x{hex}\n")
                };
                assert!(
                    text.contains(&line) || (hex.is_empty() && text.contains(name)),
                    "{kind}: {text}"
                );
            }
            let text = tool("getfacl", &["-n", "-p", root.join("dir").to_str().unwrap()]);
            for line in [
                "user:1000:r--",
                "mask::r-x",
                "default:user:1000:r--",
                "default:other::---",
            ] {
                assert!(text.contains(line), "{kind}: {text}");
            }
            // Now the kernel writes: on several files alike, so that they share a block.
            for name in ["k1", "k2", "k3"] {
                let path = root.join(name);
                fs::write(&path, "").unwrap();
                let path = path.to_str().unwrap();
                for n in 0..3 {
                    let value = [b'a' + n; 80];
                    let value = String::from_utf8(value.to_vec()).unwrap();
                    let name = format!("user.shared{n}");
                    tool("setfattr", &["-n", &name, "-v", &value, path]);
                }
            }
            tool("setfattr", &["-x", "trusted.name1", path]);
        });
        let mut file = disk.at("file");
        assert_eq!(get(&disk, &file, b"trusted.name1"), None, "{kind}");
        assert_eq!(get(&disk, &file, b"user.name0").unwrap(), expected[0].1);
        let [mut k1, mut k2, k3] = ["k1", "k2", "k3"].map(|name| disk.at(name));
        if k1.file_acl.0 != 0 {
            assert_eq!(k1.file_acl, k2.file_acl, "{kind}: the kernel shares blocks");
        }
        set(&disk, &mut k1, b"user.shared0", b"other").unwrap();
        remove(&disk, &mut k2, b"user.shared1").unwrap();
        assert_eq!(get(&disk, &k3, b"user.shared0").unwrap(), [b'a'; 80]);
        assert_eq!(get(&disk, &k3, b"user.shared1").unwrap(), [b'b'; 80]);
        remove(&disk, &mut file, b"user.name0").unwrap();
        disk.check();
        disk.unlink("k3");
        disk.unlink("file");
        disk.check();
    }
}

/// Whatever the areas and the inodes of values hold: an answer or an error, no panic and no hang.
#[test]
fn hostile_areas() {
    write_support::expect_damage();
    let features = "ea_inode,^metadata_csum,^has_journal";
    let mut disk = Disk::make(
        &["-t", "ext4", "-b", "1024", "-O", features, "-N", "64"],
        "2M",
    );
    let mut numbers = Rng::new(1);
    for name in ["a", "b"] {
        let mut inode = disk.file(name, b"");
        set(&disk, &mut inode, b"user.in", &[1; 20]).unwrap();
        set(&disk, &mut inode, b"user.large", &numbers.bytes(3000)).unwrap();
        set(&disk, &mut inode, b"user.other", &numbers.bytes(2000)).unwrap();
        set(&disk, &mut inode, b"user.block", &[2; 300]).unwrap();
    }
    disk.remount();
    let (size, fs) = (256, disk.fs.clone());
    let mut places = Vec::new();
    for name in ["a", "b"] {
        let inode = disk.at(name);
        places.push((
            inode.location.block.0 as usize * 1024 + inode.location.offset,
            size,
        ));
        places.push((inode.file_acl.0 as usize * 1024, 200));
        fs.xattrs(&inode, |entry| {
            if let rumpfs_ext2fs::xattr::Value::Inode(ino, _) = entry.value {
                let location = fs.inode(ino).unwrap().location;
                places.push((location.block.0 as usize * 1024 + location.offset, size));
            }
            true
        })
        .unwrap();
    }
    assert!(places.len() >= 8, "{places:?}");
    let clean = disk.bytes();
    let mut refusals = 0;
    for _ in 0..300 {
        let mut bytes = clean.clone();
        for _ in 0..1 + numbers.index(4) {
            let (at, len) = places[numbers.index(places.len())];
            let value = [
                0,
                0xFF,
                0x80,
                numbers.index(64) as u8,
                numbers.index(256) as u8,
            ];
            bytes[at + numbers.index(len)] = value[numbers.index(5)];
        }
        if disk.replace(bytes).is_err() {
            continue;
        }
        for name in ["a", "b"] {
            let found = disk.fs.lookup(&disk.root(), name.as_bytes());
            let Ok(Some(found)) = found else { continue };
            let Ok(mut inode) = disk.fs.inode(found.ino) else {
                continue;
            };
            let results = [
                set(&disk, &mut inode, b"user.new", &[3; 2500]),
                set(&disk, &mut inode, b"user.large", &[3; 40]),
                remove(&disk, &mut inode, b"user.in"),
                remove(&disk, &mut inode, b"user.other"),
                disk.try_unlink(&mut disk.root(), name.as_bytes()),
            ];
            refusals += results.iter().filter(|result| result.is_err()).count();
        }
        let _ = disk.fs.volume().checkpoint();
    }
    assert!(refusals > 100, "{refusals}");
}
