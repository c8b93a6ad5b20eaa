//! Whole trees: what mke2fs puts into a volume is what the driver reads from it, for each kind of volume.

mod image;

use image::{Image, Scratch};
use rumpfs_ext2fs::{
    Ext2fs,
    inode::{FileType, Inode},
    map::Mapping,
    types::{FileBlock, GroupNumber, InodeNumber},
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
};

/// Names in the directory that gets an index.
const MANY: usize = 700;

/// A tree with a file on each side of each border of the format.
fn populate(root: &Path) {
    for size in [
        0, 1, 59, 60, 61, 100, 155, 156, 200, 1023, 1024, 1025, 4096, 12_288, 12_289, 70_000,
        300_000,
    ] {
        let content: Vec<u8> = (0..size)
            .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        fs::write(root.join(format!("size{size}")), content).unwrap();
    }
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    for (offset, text) in [
        (0, "start"),
        (5000, "middle"),
        (400_000, "far"),
        (5_000_000, "very far"),
    ] {
        sparse.write_all_at(text.as_bytes(), offset).unwrap();
    }
    sparse.set_len(6_000_000).unwrap();
    let comb = fs::File::create(root.join("comb")).unwrap();
    for n in 0..120 {
        comb.write_all_at(&[n as u8 + 1; 100], n * 32_768).unwrap();
    }
    for length in [1, 59, 60, 61, 150, 1000] {
        symlink(
            &"x/".repeat(length)[..length],
            root.join(format!("link{length}")),
        )
        .unwrap();
    }
    fs::create_dir_all(root.join("a/b/c/d")).unwrap();
    fs::write(root.join("a/b/c/d/leaf"), "leaf").unwrap();
    fs::hard_link(root.join("a/b/c/d/leaf"), root.join("a/second name")).unwrap();
    fs::write(root.join("n".repeat(255)), "long name").unwrap();
    fs::write(root.join("odd \u{fc}\n\\name"), "odd name").unwrap();
    fs::set_permissions(root.join("size60"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::create_dir(root.join("small")).unwrap();
    fs::write(root.join("small/file"), "in a small directory").unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for n in 0..MANY {
        fs::write(
            root.join(format!("many/name-{n:05}{}", "y".repeat(n % 40))),
            "",
        )
        .unwrap();
    }
}

/// What matters of a file: type and permissions, number of names, size, modification time, content or target.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    links: u64,
    size: u64,
    mtime: i64,
    content: Vec<u8>,
}

fn host_tree(root: &Path, dir: &Path, seen: &mut BTreeMap<Vec<u8>, Seen>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let size = if kind.is_dir() { 0 } else { meta.size() };
        let value = Seen {
            mode: meta.mode(),
            links: meta.nlink(),
            size,
            mtime: meta.mtime(),
            content,
        };
        let name = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_encoded_bytes()
            .to_vec();
        seen.insert(name, value);
        if kind.is_dir() {
            host_tree(root, &path, seen);
        }
    }
}

fn content(fs: &Ext2fs, inode: &Inode) -> Vec<u8> {
    let block = u64::from(fs.block_size());
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < inode.size {
        let at = FileBlock(u32::try_from(bytes.len() as u64 / block).unwrap());
        let left = inode.size - bytes.len() as u64;
        match fs.map(inode, at, 1000).unwrap() {
            Mapping::Inline => bytes = fs.inline_data(inode).unwrap(),
            Mapping::OnDisk { block: first, len } => {
                let mut piece = vec![0; (u64::from(len) * block).min(left) as usize];
                fs.volume()
                    .device()
                    .read_at(first.0 * block, &mut piece)
                    .unwrap();
                bytes.extend_from_slice(&piece);
            }
            Mapping::Hole { len } | Mapping::Unwritten { len, .. } => {
                let zeros = (u64::from(len) * block).min(left) as usize;
                bytes.resize(bytes.len() + zeros, 0);
            }
        }
    }
    bytes
}

fn volume_tree(fs: &Ext2fs, ino: InodeNumber, path: &[u8], seen: &mut BTreeMap<Vec<u8>, Seen>) {
    let dir = fs.inode(ino).unwrap();
    let mut names = Vec::new();
    fs.read_dir(&dir, 0, |listed| {
        names.push((listed.name.to_vec(), listed.ino, listed.file_type));
        true
    })
    .unwrap();
    assert_eq!(
        names
            .iter()
            .filter(|(name, ..)| name == b"." || name == b"..")
            .count(),
        2
    );
    for (name, ino, file_type) in names {
        let found = fs
            .lookup(&dir, &name)
            .unwrap()
            .expect("a listed name is found");
        assert_eq!(found.ino, ino);
        if name == b".." {
            assert_eq!(fs.parent(&dir).unwrap(), ino);
        }
        if name == b"." || name == b".." || (path.is_empty() && name == b"lost+found") {
            continue;
        }
        let inode = fs.inode(ino).unwrap();
        assert!(file_type.is_none_or(|t| t == inode.file_type));
        let is_dir = inode.is_dir();
        let content = match inode.file_type {
            FileType::Symlink => fs.read_link(&inode).unwrap(),
            FileType::Regular => content(fs, &inode),
            _ => Vec::new(),
        };
        let mut whole = path.to_vec();
        if !whole.is_empty() {
            whole.push(b'/');
        }
        whole.extend_from_slice(&name);
        let value = Seen {
            mode: u32::from(inode.mode()),
            links: u64::from(inode.links),
            size: if is_dir { 0 } else { inode.size },
            mtime: inode.mtime.sec,
            content,
        };
        seen.insert(whole.clone(), value);
        if is_dir {
            volume_tree(fs, ino, &whole, seen);
        }
    }
}

/// Makes a volume of that kind and compares.
fn check(args: &str, size: &str) {
    let root = Scratch::new();
    populate(&root.0);
    for rehash in [false, true] {
        let image = Image::make(args, size, Some(&root.0), &[], rehash);
        let fs = image.open().unwrap();
        let (mut expected, mut found) = (BTreeMap::new(), BTreeMap::new());
        host_tree(&root.0, &root.0, &mut expected);
        volume_tree(&fs, InodeNumber::ROOT, b"", &mut found);
        assert_eq!(found.len(), expected.len(), "{args}");
        if args.contains("inline_data") {
            // mke2fs 1.47.0 -d loses the hole at the end of a file on such a volume: the size is wrong on the medium.
            let lost = found.get_mut(b"sparse".as_slice()).unwrap();
            assert_eq!(lost.size % 1024, 0);
            lost.size = 6_000_000;
            lost.content.resize(6_000_000, 0);
        }
        for (name, value) in &expected {
            let name_text = String::from_utf8_lossy(name);
            assert!(
                found.get(name) == Some(value),
                "{args}: {name_text} differs"
            );
        }
    }
}

#[test]
fn ext2_with_1k_blocks() {
    check("-t ext2 -b 1024", "32M");
}

#[test]
fn ext2_of_revision_0() {
    check("-t ext2 -b 1024 -r 0 -O none", "32M");
}

#[test]
fn ext2_without_filetype_and_with_128_byte_inodes() {
    check("-t ext2 -b 2048 -I 128 -O ^filetype", "32M");
}

#[test]
fn ext3_with_4k_blocks() {
    check("-t ext3 -b 4096", "64M");
}

#[test]
fn ext4_as_made_by_default() {
    check("-t ext4", "64M");
}

#[test]
fn ext4_with_1k_blocks_and_every_table_elsewhere() {
    check(
        "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode,metadata_csum_seed,orphan_file",
        "64M",
    );
}

#[test]
fn ext4_with_inline_data() {
    check("-t ext4 -b 1024 -I 256 -O inline_data", "64M");
}

#[test]
fn ext4_with_clusters() {
    check("-t ext4 -b 1024 -O bigalloc -C 8192", "64M");
}

#[test]
fn ext4_with_64k_blocks() {
    check("-t ext4 -b 65536 -O ^has_journal", "256M");
}

#[test]
fn ext4_with_crc16_group_checksums_and_sparse_super2() {
    check(
        "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,sparse_super2,^resize_inode,large_dir",
        "64M",
    );
}

#[test]
fn ext4_with_features_that_forbid_writing() {
    check(
        "-t ext4 -O casefold,encrypt,verity,quota,project -I 256",
        "64M",
    );
}

/// With blocks of 1 KiB the third level of indirection starts at block 65,804.
#[test]
fn three_levels_of_indirect_blocks() {
    let root = Scratch::new();
    let file = fs::File::create(root.0.join("file")).unwrap();
    let blocks = [11_u64, 12, 267, 268, 65_803, 65_804, 65_805, 140_000];
    for block in blocks {
        file.write_all_at(&block.to_le_bytes(), block * 1024)
            .unwrap();
    }
    let image = Image::make("-t ext2 -b 1024", "8M", Some(&root.0), &[], false);
    let fs = image.open().unwrap();
    let root = fs.inode(InodeNumber::ROOT).unwrap();
    let file = fs
        .inode(fs.lookup(&root, b"file").unwrap().unwrap().ino)
        .unwrap();
    let (mut at, mut found) = (0, Vec::new());
    while u64::from(at) * 1024 < file.size {
        let piece = fs.map(&file, FileBlock(at), u32::MAX).unwrap();
        if let Mapping::OnDisk { block, len } = piece {
            for n in 0..len {
                let mut number = [0; 8];
                fs.volume()
                    .device()
                    .read_at((block.0 + u64::from(n)) * 1024, &mut number)
                    .unwrap();
                assert_eq!(u64::from_le_bytes(number), u64::from(at + n));
                found.push(u64::from(at + n));
            }
        }
        at = at.saturating_add(piece.len());
    }
    assert_eq!(found, blocks);
    // Past the last block that a map reaches there is nothing.
    assert!(matches!(
        fs.map(&file, FileBlock(20_000_000), 5).unwrap(),
        Mapping::Hole { len: 5 }
    ));
}

/// Every inode, decoded and stored again, is the same to the last byte, checksum and unknown fields included; so is
/// every group descriptor.
#[test]
fn what_is_stored_is_what_was_decoded() {
    let root = Scratch::new();
    populate(&root.0);
    let commands = [
        "mknod chr c 5 1".to_owned(),
        "mknod blk b 8 17".to_owned(),
        "ea_set small user.one 1".to_owned(),
    ];
    for args in [
        "-t ext4 -b 1024",
        "-t ext4 -b 1024 -I 512 -O inline_data,huge_file",
        "-t ext3 -b 1024 -I 128",
        "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^64bit",
    ] {
        let image = Image::make(args, "32M", Some(&root.0), &commands, false);
        let fs = image.open().unwrap();
        let sb = fs.superblock();
        let mut count = 0;
        for n in 1..=sb.inodes {
            let Ok(mut inode) = fs.inode(InodeNumber(n)) else {
                continue;
            };
            let at =
                usize::try_from(inode.location.block.0).unwrap() * 1024 + inode.location.offset;
            let before = &image.bytes[at..at + usize::from(sb.inode_size)];
            if let Some(device) = inode.device() {
                inode.set_device(device);
            }
            let mut after = before.to_vec();
            inode.store(sb, &mut after);
            assert!(after == before, "{args}: inode {n}");
            count += 1;
        }
        assert!(count > MANY, "{args}: {count} inodes");
        for group in (0..sb.groups).map(GroupNumber) {
            let location = fs.group_location(group).unwrap();
            let at = usize::try_from(location.block.0).unwrap() * 1024 + location.offset;
            let before = &image.bytes[at..at + usize::from(sb.desc_size)];
            let mut after = before.to_vec();
            fs.group(group).unwrap().store(sb, group, &mut after);
            assert!(after == before, "{args}: group {group}");
        }
    }
}
