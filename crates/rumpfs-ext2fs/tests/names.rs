//! Lookups through the index, listings in pieces, extended attributes, against what e2fsprogs made.

mod image;

use image::{Image, Scratch};
use rumpfs_ext2fs::{
    Ext2fs, acl,
    hash::{HashVersion, Hasher},
    inode::Inode,
    map::Mapping,
    types::{FileBlock, InodeNumber},
    xattr::NameIndex,
};
use std::{collections::HashMap, fs};

fn child(fs: &Ext2fs, name: &str) -> Inode {
    let root = fs.inode(InodeNumber::ROOT).unwrap();
    fs.inode(fs.lookup(&root, name.as_bytes()).unwrap().unwrap().ino)
        .unwrap()
}

/// Where the first block of a directory lies, in bytes.
fn first_block(fs: &Ext2fs, dir: &Inode) -> usize {
    match fs.map(dir, FileBlock(0), 1).unwrap() {
        Mapping::OnDisk { block, .. } => usize::try_from(block.0).unwrap() * 1024,
        other => panic!("{other:?}"),
    }
}

/// A volume whose directory `dir` has these names, and an index of the given hash.
fn indexed(args: &str, size: &str, hash: &str, names: &[String]) -> Image {
    let root = Scratch::new();
    fs::create_dir(root.0.join("dir")).unwrap();
    for name in names {
        fs::write(root.0.join("dir").join(name), "").unwrap();
    }
    let commands = [format!("set_super_value def_hash_version {hash}")];
    Image::make(args, size, Some(&root.0), &commands, true)
}

/// Checks that the index finds every name and nothing else.
fn check_index(image: &Image, names: &[String]) {
    let fs = image.open().unwrap();
    let dir = child(&fs, "dir");
    for name in names {
        let found = fs
            .lookup_indexed(&dir, name.as_bytes())
            .unwrap()
            .expect("the index is used");
        assert!(found.is_some(), "{name}");
    }
    for n in 0..200 {
        let absent = format!("absent {n}");
        assert_eq!(
            fs.lookup_indexed(&dir, absent.as_bytes()).unwrap(),
            Some(None),
            "{absent}"
        );
    }
    let mut listed = 0;
    fs.read_dir(&dir, 0, |_| {
        listed += 1;
        true
    })
    .unwrap();
    assert_eq!(listed, names.len() + 2);
}

#[test]
fn an_index_of_two_levels_finds_every_name() {
    let names: Vec<String> = (0..3000)
        .map(|n| format!("{n:05}-{}", "z".repeat(n % 60)))
        .collect();
    for (args, hash) in [
        ("-t ext4 -b 1024 -N 4000", "half_md4"),
        ("-t ext3 -b 1024 -N 4000", "tea"),
        ("-t ext2 -b 1024 -N 4000", "legacy"),
    ] {
        let image = indexed(args, "32M", hash, &names);
        let fs = image.open().unwrap();
        let root = first_block(&fs, &child(&fs, "dir"));
        assert_eq!(image.bytes[root + 0x1E], 1, "indirect_levels");
        check_index(&image, &names);
    }
}

#[test]
fn characters_above_127_hash_as_the_volume_says() {
    let names: Vec<String> = (0..400)
        .map(|n| format!("\u{fc}\u{4e2d}\u{1f600}-{n}-{}", "\u{df}".repeat(n % 30)))
        .collect();
    let image = indexed("-t ext4 -b 1024", "16M", "half_md4", &names);
    check_index(&image, &names);
}

/// Names of one hash may straddle two leaves: the second is marked as continuing the first.
#[test]
fn names_of_one_hash_in_two_leaves_are_found() {
    let seed_of_the_image = [0x5c3a_8d6c, 0x104f_557a, 0xd10d_3c9d, 0xa2c5_b31a];
    let seed = u128::from_str_radix("6c8d3a5c7a554f109d3c0d1ab3c5a202", 16)
        .unwrap()
        .to_be_bytes();
    let seed: Vec<u32> = seed
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect();
    let hasher = Hasher {
        seed: seed.try_into().unwrap(),
        unsigned: false,
    };
    assert_ne!(
        hasher.seed, seed_of_the_image,
        "a seed is sixteen bytes in order"
    );
    let mut by_hash: HashMap<u32, u32> = HashMap::new();
    let long = |n: u32| format!("{n:08}{}", "q".repeat(230));
    let mut names = Vec::new();
    for n in 0..350_000 {
        let hash = hasher
            .hash(HashVersion::Tea, long(n).as_bytes())
            .unwrap()
            .hash;
        if let Some(other) = by_hash.insert(hash, n) {
            names.extend([long(other), long(n)]);
        }
    }
    let pairs = names.len() / 2;
    assert!(
        pairs >= 10,
        "{pairs} pairs of one hash among that many names"
    );
    // Others, so that leaves begin anywhere.
    names.extend((400_000..400_301).map(long));
    let image = indexed("-t ext4 -b 1024", "16M", "tea", &names);
    check_index(&image, &names);
    let fs = image.open().unwrap();
    assert_eq!(fs.superblock().hash_seed, hasher.seed);
    let dir = child(&fs, "dir");
    let block = |name: &String| {
        fs.lookup(&dir, name.as_bytes())
            .unwrap()
            .unwrap()
            .position
            .block
    };
    let apart = names[..pairs * 2]
        .chunks(2)
        .filter(|pair| block(&pair[0]) != block(&pair[1]))
        .count();
    assert!(
        apart > 0,
        "no pair lies in two leaves: the test shows nothing"
    );
}

#[test]
fn an_index_that_makes_no_sense_is_left_aside() {
    let names: Vec<String> = (0..500).map(|n| format!("name {n}")).collect();
    let image = indexed("-t ext2 -b 1024", "8M", "half_md4", &names);
    let fs = image.open().unwrap();
    let dir = child(&fs, "dir");
    let root = first_block(&fs, &dir);
    // Hash version, length of the information, levels, limit, count, the block of the second child.
    for (offset, value) in [
        (0x1C, 9),
        (0x1D, 16),
        (0x1E, 7),
        (0x20, 1),
        (0x22, 255),
        (0x2C, 255),
    ] {
        let fs = image.with(root + offset, &[value]).open().unwrap();
        let dir = child(&fs, "dir");
        let through_index = names
            .iter()
            .all(|n| matches!(fs.lookup_indexed(&dir, n.as_bytes()), Ok(Some(Some(_)))));
        assert!(!through_index, "byte {offset:#x} does not matter");
        for name in &names {
            assert!(
                fs.lookup(&dir, name.as_bytes()).unwrap().is_some(),
                "byte {offset:#x}: {name}"
            );
        }
    }
}

#[test]
fn a_listing_goes_on_where_it_stopped() {
    let names: Vec<String> = (0..700).map(|n| format!("entry {n}")).collect();
    for args in ["-t ext4 -b 1024", "-t ext4 -b 1024 -I 256 -O inline_data"] {
        let image = indexed(args, "16M", "half_md4", &names);
        let fs = image.open().unwrap();
        for dir in [child(&fs, "dir"), fs.inode(InodeNumber::ROOT).unwrap()] {
            let mut whole = Vec::new();
            fs.read_dir(&dir, 0, |listed| {
                whole.push((listed.name.to_vec(), listed.ino));
                true
            })
            .unwrap();
            let (mut at, mut pieces) = (0, Vec::new());
            loop {
                let (mut room, start) = (3, pieces.len());
                fs.read_dir(&dir, at, |listed| {
                    if room == 0 {
                        return false;
                    }
                    room -= 1;
                    at = listed.next;
                    pieces.push((listed.name.to_vec(), listed.ino));
                    true
                })
                .unwrap();
                if pieces.len() == start {
                    break;
                }
            }
            assert_eq!(pieces, whole);
            // A position inside an entry, as after a merge: listing goes on at the next one.
            let mut rest = Vec::new();
            fs.read_dir(&dir, 4, |listed| {
                rest.push((listed.name.to_vec(), listed.ino));
                true
            })
            .unwrap();
            assert_eq!(rest, whole[1..]);
        }
    }
}

#[test]
fn attributes_in_inode_block_and_inodes_of_their_own() {
    let root = Scratch::new();
    for file in ["none", "small", "block", "large"] {
        fs::write(root.0.join(file), file).unwrap();
    }
    let values = Scratch::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = values.0.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let large: Vec<u8> = (0..1024_u32)
        .map(|n| (n.wrapping_mul(40_503) >> 8) as u8)
        .collect();
    // debugfs takes no more than a block; with its entry that does not fit in one.
    let medium = vec![b'm'; 700];
    // u::rw- u:1000:r-- g::r-- m::r-- o::---
    let list: Vec<u8> = [
        (1_u16, 6_u16, !0_u32),
        (2, 4, 1000),
        (4, 4, !0),
        (0x10, 4, !0),
        (0x20, 0, !0),
    ]
    .iter()
    .fold(2_u32.to_le_bytes().to_vec(), |mut list, (tag, perm, id)| {
        list.extend_from_slice(&tag.to_le_bytes());
        list.extend_from_slice(&perm.to_le_bytes());
        list.extend_from_slice(&id.to_le_bytes());
        list
    });
    let commands = [
        "ea_set small user.one 1".to_owned(),
        "ea_set small trusted.empty \"\"".to_owned(),
        format!(
            "ea_set -f {} small system.posix_acl_access",
            file("list", &list)
        ),
        format!("ea_set -f {} block user.medium", file("medium", &medium)),
        "ea_set block user.one two".to_owned(),
        format!("ea_set -f {} large user.large", file("large", &large)),
        "ea_set large security.x y".to_owned(),
    ];
    let image = Image::make(
        "-t ext4 -b 1024 -I 256 -O ea_inode",
        "16M",
        Some(&root.0),
        &commands,
        false,
    );
    let fs = image.open().unwrap();
    let get = |file: &str, name: &str| {
        let (index, rest) = NameIndex::split(name.as_bytes()).unwrap();
        fs.xattr(&child(&fs, file), index, rest).unwrap()
    };
    assert_eq!(get("small", "user.one").as_deref(), Some(&b"1"[..]));
    assert_eq!(get("small", "trusted.empty").as_deref(), Some(&b""[..]));
    assert_eq!(get("small", "user.two"), None);
    assert_eq!(get("none", "user.one"), None);
    let stored = get("small", "system.posix_acl_access").unwrap();
    assert_eq!(acl::to_attribute(InodeNumber(12), &stored).unwrap(), list);
    assert_eq!(get("block", "user.medium").as_ref(), Some(&medium));
    assert_eq!(get("block", "user.one").as_deref(), Some(&b"two"[..]));
    assert!(
        child(&fs, "block").file_acl.0 != 0,
        "no attribute block: the test shows nothing"
    );
    assert!(get("large", "user.large").as_ref() == Some(&large));
    let mut names = Vec::new();
    let mut apart = 0;
    fs.xattrs(&child(&fs, "large"), |entry| {
        apart += usize::from(matches!(
            entry.value,
            rumpfs_ext2fs::xattr::Value::Inode(..)
        ));
        names.push((entry.index, entry.name.to_vec(), entry.value_len()));
        true
    })
    .unwrap();
    assert_eq!(
        apart, 1,
        "no value in an inode of its own: the test shows nothing"
    );
    names.sort();
    assert_eq!(
        names,
        [
            (NameIndex::USER, b"large".to_vec(), 1024),
            (NameIndex::SECURITY, b"x".to_vec(), 1)
        ]
    );
}
