//! One field is broken, one error is expected.

mod image;

use image::{Image, Scratch};
use rumpfs_ext2fs::{
    Error, Ext2fs,
    error::{Expected, Place},
    inode::Inode,
    map::Mapping,
    types::{FileBlock, FsBlock, GroupNumber, InodeNumber},
};
use rumpuser::{Errno, Rng};
use std::{fs, os::unix::fs::FileExt, sync::OnceLock};

/// What is in every image here.
fn tree(root: &Scratch) {
    fs::write(root.0.join("file"), vec![b'f'; 3000]).unwrap();
    let comb = fs::File::create(root.0.join("comb")).unwrap();
    for n in 0..200_u64 {
        comb.write_all_at(b"x", n * 4096).unwrap();
    }
    fs::create_dir(root.0.join("dir")).unwrap();
    for n in 0..200 {
        fs::write(root.0.join(format!("dir/name {n:04}")), "").unwrap();
    }
    std::os::unix::fs::symlink("t".repeat(200), root.0.join("link")).unwrap();
}

fn make(args: &str) -> Image {
    let root = Scratch::new();
    tree(&root);
    let big = Scratch::new();
    let value = big.0.join("value");
    fs::write(&value, vec![b'v'; 500]).unwrap();
    let commands = [
        "ea_set file user.small s".to_owned(),
        format!("ea_set -f {} file user.big", value.to_str().unwrap()),
    ];
    Image::make(args, "8M", Some(&root.0), &commands, true)
}

/// With checksums.
fn ext4() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| make("-t ext4 -b 1024 -I 256 -N 512"))
}

/// Without: what is behind the checksums shows.
fn plain() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| make("-t ext4 -b 1024 -I 256 -N 512 -O ^metadata_csum,uninit_bg"))
}

/// With indirect blocks.
fn ext2() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| make("-t ext2 -b 1024 -N 512"))
}

fn child(fs: &Ext2fs, name: &str) -> rumpfs_ext2fs::Result<Inode> {
    let root = fs.inode(InodeNumber::ROOT)?;
    fs.inode(fs.lookup(&root, name.as_bytes())?.unwrap().ino)
}

/// Byte offset of a child's inode.
fn inode_at(image: &Image, name: &str) -> usize {
    let location = child(&image.open().unwrap(), name).unwrap().location;
    usize::try_from(location.block.0).unwrap() * 1024 + location.offset
}

/// Byte offset of block `n` of a child.
fn block_at(image: &Image, name: &str, n: u32) -> usize {
    let fs = image.open().unwrap();
    match fs.map(&child(&fs, name).unwrap(), FileBlock(n), 1).unwrap() {
        Mapping::OnDisk { block, .. } => usize::try_from(block.0).unwrap() * 1024,
        other => panic!("{other:?}"),
    }
}

/// Reads everything and gives the first error.
fn walk(image: &Image) -> rumpfs_ext2fs::Result<()> {
    let fs = image.open()?;
    walk_dir(&fs, InodeNumber::ROOT, 0, &mut 20_000)
}

/// `steps` bounds the work: a damaged tree may have a directory in itself.
fn walk_dir(
    fs: &Ext2fs,
    ino: InodeNumber,
    depth: u32,
    steps: &mut u32,
) -> rumpfs_ext2fs::Result<()> {
    let dir = fs.inode(ino)?;
    let mut children = Vec::new();
    fs.read_dir(&dir, 0, |listed| {
        children.push((listed.name.to_vec(), listed.ino));
        children.len() < 5000
    })?;
    fs.parent(&dir)?;
    for (name, ino) in children {
        *steps = steps.saturating_sub(1);
        if name == b"." || name == b".." || *steps == 0 || depth > 8 {
            continue;
        }
        fs.lookup(&dir, &name)?;
        let inode = fs.inode(ino)?;
        read(fs, &inode)?;
        if inode.is_dir() {
            walk_dir(fs, ino, depth + 1, steps)?;
        }
    }
    Ok(())
}

fn read(fs: &Ext2fs, inode: &Inode) -> rumpfs_ext2fs::Result<()> {
    use rumpfs_ext2fs::inode::FileType;
    let mut attributes = Vec::new();
    fs.xattrs(inode, |entry| {
        attributes.push((entry.index, entry.name.to_vec()));
        attributes.len() < 100
    })?;
    for (index, name) in attributes {
        fs.xattr(inode, index, &name)?;
    }
    match inode.file_type {
        FileType::Symlink => drop(fs.read_link(inode)?),
        FileType::Regular => {
            let blocks = inode.size.div_ceil(u64::from(fs.block_size())).min(100_000);
            let (mut at, end) = (0, u32::try_from(blocks).unwrap());
            while at < end {
                match fs.map(inode, FileBlock(at), end - at)? {
                    Mapping::Inline => {
                        fs.inline_data(inode)?;
                        break;
                    }
                    piece => at += piece.len(),
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The place and the field of what is wrong.
fn value(result: rumpfs_ext2fs::Result<()>) -> (Place, &'static str) {
    match result {
        Err(Error::Value { place, field, .. }) => (place, field),
        other => panic!("{other:?}"),
    }
}

/// The place of a checksum that does not match.
fn checksum(result: rumpfs_ext2fs::Result<()>) -> Place {
    match result {
        Err(Error::Checksum { place, .. }) => place,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_wrong_with_the_images_themselves() {
    for image in [ext4(), plain(), ext2()] {
        walk(image).unwrap();
    }
}

#[test]
fn superblock_fields() {
    let cases: [(usize, &[u8], &str); 17] = [
        (0x18, &[7], "s_log_block_size"),
        (0x1C, &[3], "s_log_cluster_size"),
        (0x14, &[0], "s_first_data_block"),
        (0x04, &[1, 0, 0, 0], "s_blocks_count"),
        (0x20, &[0, 0, 0, 0], "s_blocks_per_group"),
        (0x20, &[0, 0, 1, 0], "s_blocks_per_group"),
        (0x28, &[0, 0, 0, 0], "s_inodes_per_group"),
        (0x28, &[1, 0, 1, 0], "s_inodes_per_group"),
        (0x00, &[9, 0, 0, 0], "s_inodes_count"),
        (0x58, &[100, 0], "s_inode_size"),
        (0x58, &[0, 16], "s_inode_size"),
        (0xFE, &[48, 0], "s_desc_size"),
        (0x54, &[3, 0, 0, 0], "s_first_ino"),
        (0xCE, &[0xFF, 0xFF], "s_reserved_gdt_blocks"),
        (0xE0, &[0, 0, 0, 9], "s_journal_inum"),
        (0x175, &[2], "s_checksum_type"),
        (0x15E, &[0xFF, 0], "s_want_extra_isize"),
    ];
    for (offset, bytes, field) in cases {
        let image = ext4().with_superblock(offset, bytes);
        assert_eq!(
            value(image.superblock().map(drop)),
            (Place::Superblock, field),
            "{offset:#x}"
        );
        assert_eq!(
            image.open().map(drop).map_err(Errno::from),
            Err(Errno::EINVAL),
            "{offset:#x}"
        );
    }
}

#[test]
fn superblock_as_a_whole() {
    let open = |image: Image| image.open().map(drop);
    assert_eq!(
        open(ext4().with(1024 + 0x38, &[0, 0])),
        Err(Error::NotExt2 { found: 0 })
    );
    assert_eq!(
        checksum(open(ext4().with(1024 + 0x78, b"other label"))),
        Place::Superblock
    );
    assert_eq!(
        open(Image {
            bytes: vec![0; 100]
        }),
        Err(Error::NotExt2 { found: 0 })
    );
    let mut short = Image {
        bytes: ext4().bytes.clone(),
    };
    short.bytes.truncate(4 << 20);
    assert_eq!(
        open(short),
        Err(Error::Truncated {
            blocks: 8192,
            device: 4096
        })
    );
    let unknown = ext4().with_superblock(0x61, &[0x08 | ext4().bytes[1024 + 0x61]]);
    assert_eq!(
        open(unknown),
        Err(Error::UnsupportedFeatures("incompat:11".into()))
    );
    let journal_device = ext4().with_superblock(0x60, &[0x08]);
    match open(journal_device) {
        Err(Error::UnsupportedFeatures(names)) => assert!(names.contains("journal_dev"), "{names}"),
        other => panic!("{other:?}"),
    }
    // Unknown to writers only: it can be read, and says so.
    let read_only = ext4().with_superblock(0x67, &[0x80]);
    assert_eq!(
        read_only
            .superblock()
            .unwrap()
            .features
            .forbids_write()
            .as_deref(),
        Some("ro_compat:31")
    );
    walk(&read_only).unwrap();
}

#[test]
fn group_descriptors() {
    // Descriptors follow the superblock: block 2.
    let place = Place::GroupDescriptor(GroupNumber(0));
    assert_eq!(checksum(walk(&ext4().with(2048 + 0x0C, &[0xEE]))), place);
    for (offset, field) in [
        (0x00, "bg_block_bitmap"),
        (0x04, "bg_inode_bitmap"),
        (0x08, "bg_inode_table"),
    ] {
        let broken = plain().with(2048 + offset + 3, &[0x7F]);
        // These have a crc16, which comes first; volumes of ext2 have none.
        assert_eq!(checksum(walk(&broken)), place);
        let broken = ext2().with(2048 + offset + 3, &[0x7F]);
        let group = broken
            .open()
            .and_then(|fs| fs.group(GroupNumber(0)).map(drop));
        assert_eq!(value(group), (place, field));
    }
    let fs = ext4().open().unwrap();
    assert!(matches!(
        fs.group(GroupNumber(9)),
        Err(Error::Value {
            field: "number",
            expected: Expected::Range(0, 0),
            ..
        })
    ));
}

#[test]
fn inodes() {
    let at = inode_at(ext4(), "file");
    let ino = child(&ext4().open().unwrap(), "file").unwrap().ino;
    assert_eq!(
        checksum(walk(&ext4().with(at + 0x0A, &[0x55]))),
        Place::Inode(ino)
    );
    // Attributes in the inode are covered, too.
    assert_eq!(
        checksum(walk(&ext4().with(at + 255, &[0x55]))),
        Place::Inode(ino)
    );
    let at = inode_at(plain(), "file");
    assert_eq!(
        value(walk(&plain().with(at, &[0, 0x30]))),
        (Place::Inode(ino), "i_mode")
    );
    assert_eq!(
        value(walk(&plain().with(at + 0x6F, &[0x80]))),
        (Place::Inode(ino), "i_size")
    );
    assert_eq!(
        value(walk(&plain().with(at + 0x80, &[200]))),
        (Place::Inode(ino), "i_extra_isize")
    );
    assert_eq!(
        value(walk(&plain().with(at + 0x80, &[30]))),
        (Place::Inode(ino), "i_extra_isize")
    );
    assert_eq!(
        value(walk(&plain().with(at + 0x6B, &[9]))),
        (Place::Inode(ino), "i_file_acl")
    );
    assert_eq!(
        walk(&plain().with(at, &[0; 128])),
        Err(Error::Unallocated(ino))
    );
    let dir = child(&plain().open().unwrap(), "dir").unwrap();
    let at = inode_at(plain(), "dir");
    assert_eq!(
        value(walk(&plain().with(at + 0x07, &[0x7F]))),
        (Place::Inode(dir.ino), "i_size")
    );
    let fs = plain().open().unwrap();
    for number in [0, 100_000] {
        assert_eq!(value(fs.inode(InodeNumber(number)).map(drop)).1, "number");
    }
    let link = child(&plain().open().unwrap(), "link").unwrap();
    let at = inode_at(plain(), "link");
    assert_eq!(
        value(walk(&plain().with(at + 4, &[0, 0]))),
        (Place::Inode(link.ino), "i_size")
    );
    assert_eq!(
        value(walk(&plain().with(at + 4, &[0, 9]))),
        (Place::Inode(link.ino), "i_size")
    );
}

#[test]
fn a_wrong_inode_leaves_its_neighbours_usable() {
    let at = inode_at(ext4(), "file");
    let broken = ext4().with(at + 0x0A, &[0x55]);
    let ino = child(&ext4().open().unwrap(), "file").unwrap().ino;
    // Four lie in a block.
    let first = ino.0 - u32::try_from(at % 1024 / 256).unwrap();
    let all: Vec<_> = (first..first + 4).map(InodeNumber).collect();
    let sound = ext4().open().unwrap();
    for ahead in 0..4 {
        let fs = broken.open().unwrap();
        // Whichever is read first, and again when the block is cached.
        for &each in all.iter().cycle().skip(ahead).take(8) {
            match fs.inode(each).map(drop) {
                result if each == ino => assert_eq!(checksum(result), Place::Inode(ino)),
                result => assert_eq!(result, sound.inode(each).map(drop)),
            }
        }
    }
}

#[test]
fn extent_trees() {
    let ino = child(&plain().open().unwrap(), "comb").unwrap().ino;
    let root = inode_at(plain(), "comb") + 0x28;
    let leaf_block = u32::from_le_bytes(plain().bytes[root + 16..root + 20].try_into().unwrap());
    let leaf = leaf_block as usize * 1024;
    let in_root = Place::ExtentNode(ino, None);
    let in_leaf = Place::ExtentNode(ino, Some(FsBlock(u64::from(leaf_block))));
    let cases: [(usize, &[u8], Place, &str); 12] = [
        (root, &[0], in_root, "eh_magic"),
        (root + 2, &[5], in_root, "eh_entries"),
        (root + 2, &[0], in_root, "eh_entries"),
        (root + 4, &[9], in_root, "eh_max"),
        (root + 6, &[6], in_root, "eh_depth"),
        (root + 6, &[2], in_leaf, "eh_depth"),
        (root + 16, &[0xFF, 0xFF, 0xFF, 0x7F], in_root, "ei_leaf"),
        (root + 16, &[1, 0, 0, 0], in_root, "ei_leaf"),
        (leaf, &[0], in_leaf, "eh_magic"),
        // Length, start and order of entries.
        (leaf + 12 + 4, &[0, 0], in_leaf, "ee_len"),
        (
            leaf + 12 + 8,
            &[0xFF, 0xFF, 0xFF, 0x7F],
            in_leaf,
            "ee_start",
        ),
        (leaf + 24, &[0, 0, 0, 0], in_leaf, "ee_block"),
    ];
    for (offset, bytes, place, field) in cases {
        assert_eq!(
            value(walk(&plain().with(offset, bytes))),
            (place, field),
            "{field}"
        );
    }
    let ino = child(&ext4().open().unwrap(), "comb").unwrap().ino;
    let root = inode_at(ext4(), "comb") + 0x28;
    let leaf_block = u32::from_le_bytes(ext4().bytes[root + 16..root + 20].try_into().unwrap());
    let broken = ext4().with(leaf_block as usize * 1024 + 20, &[0xAA]);
    assert_eq!(
        checksum(walk(&broken)),
        Place::ExtentNode(ino, Some(FsBlock(u64::from(leaf_block))))
    );
}

#[test]
fn block_maps() {
    let ino = child(&ext2().open().unwrap(), "comb").unwrap().ino;
    let map = inode_at(ext2(), "comb") + 0x28;
    let entry = |n: usize| {
        u32::from_le_bytes(
            ext2().bytes[map + n * 4..map + n * 4 + 4]
                .try_into()
                .unwrap(),
        )
    };
    let far = [0xFF, 0xFF, 0xFF, 0x7F];
    let in_inode = (Place::IndirectBlock(ino, None), "entry");
    assert_eq!(value(walk(&ext2().with(map, &far))), in_inode);
    // The superblock and the descriptors belong to no file.
    assert_eq!(value(walk(&ext2().with(map, &[1, 0, 0, 0]))), in_inode);
    assert_eq!(value(walk(&ext2().with(map, &[2, 0, 0, 0]))), in_inode);
    assert_eq!(value(walk(&ext2().with(map + 12 * 4, &far))), in_inode);
    let single = entry(12);
    let in_single = (
        Place::IndirectBlock(ino, Some(FsBlock(u64::from(single)))),
        "entry",
    );
    assert_eq!(
        value(walk(&ext2().with(single as usize * 1024, &far))),
        in_single
    );
    let double = entry(13);
    let in_double = (
        Place::IndirectBlock(ino, Some(FsBlock(u64::from(double)))),
        "entry",
    );
    assert_eq!(
        value(walk(&ext2().with(double as usize * 1024, &far))),
        in_double
    );
}

#[test]
fn directories() {
    // The second block: entries and nothing else.
    let at = block_at(plain(), "dir", 1);
    let ino = child(&plain().open().unwrap(), "dir").unwrap().ino;
    let place = Place::Directory {
        ino,
        block: FileBlock(1),
        offset: 0,
    };
    let cases: [(usize, &[u8], &str); 7] = [
        (4, &[8, 0], "rec_len"),
        (4, &[22, 0], "rec_len"),
        (4, &[0, 8], "rec_len"),
        (4, &[0xF8, 3], "rec_len"),
        (6, &[200], "rec_len"),
        (6, &[0], "name_len"),
        (0, &[0, 0, 0, 9], "inode"),
    ];
    for (offset, bytes, field) in cases {
        assert_eq!(
            value(walk(&plain().with(at + offset, bytes))),
            (place, field),
            "{offset} {bytes:?}"
        );
    }
    let at = block_at(ext4(), "dir", 1);
    let tail = Place::Directory {
        ino,
        block: FileBlock(1),
        offset: 1012,
    };
    assert_eq!(checksum(walk(&ext4().with(at + 9, b"?"))), tail);
    assert_eq!(
        value(walk(&ext4().with(at + 1019, &[0]))),
        (tail, "det_reserved_ft")
    );
    let at = block_at(ext4(), "dir", 0);
    assert_eq!(
        checksum(walk(&ext4().with(at + 0x2C, &[0x77]))),
        Place::Htree(ino, FileBlock(0))
    );
    // Without `..` there is no way up.
    let at = block_at(ext2(), "dir", 0);
    let place = Place::Directory {
        ino,
        block: FileBlock(0),
        offset: 0,
    };
    assert_eq!(
        value(walk(&ext2().with(at + 12 + 9, b"x"))),
        (place, "entries")
    );
}

#[test]
fn attributes() {
    let fs = plain().open().unwrap();
    let file = child(&fs, "file").unwrap();
    let block = usize::try_from(file.file_acl.0).unwrap() * 1024;
    assert!(block != 0);
    let in_block = Place::XattrBlock(file.ino, file.file_acl);
    let in_inode = Place::InodeXattrs(file.ino);
    let entry = inode_at(plain(), "file") + 128 + 32 + 4;
    let cases: [(usize, &[u8], Place, &str); 9] = [
        (block + 3, &[0], in_block, "h_magic"),
        (block + 8, &[2], in_block, "h_blocks"),
        (block + 4, &[0], in_block, "h_refcount"),
        (block + 32 + 2, &[1, 0], in_block, "e_value_offs"),
        (block + 32 + 8, &[0, 9], in_block, "e_value_size"),
        (entry, &[0xFF], in_inode, "e_name_len"),
        (entry + 16, &[0], in_inode, "e_name"),
        (entry + 2, &[0xF0], in_inode, "e_value_size"),
        (
            entry + 4,
            &[12],
            Place::XattrInode(InodeNumber(12)),
            "e_value_inum",
        ),
    ];
    for (offset, bytes, place, field) in cases {
        assert_eq!(
            value(walk(&plain().with(offset, bytes))),
            (place, field),
            "{field}"
        );
    }
    let file = child(&ext4().open().unwrap(), "file").unwrap();
    let block = usize::try_from(file.file_acl.0).unwrap() * 1024;
    let in_block = Place::XattrBlock(file.ino, file.file_acl);
    assert_eq!(
        checksum(walk(&ext4().with(block + 1000, &[0x99]))),
        in_block
    );
}

#[test]
fn encrypted_content_needs_a_key() {
    // i_flags of a regular file with inline data: what is in the inode would be ciphertext.
    let root = Scratch::new();
    fs::write(root.0.join("file"), "tiny").unwrap();
    let args = "-t ext4 -b 1024 -I 256 -O inline_data,encrypt,^metadata_csum";
    let image = Image::make(args, "8M", Some(&root.0), &[], false);
    let at = inode_at(&image, "file");
    let flags = image.bytes[at + 0x21];
    let image = image.with(at + 0x21, &[flags | 0x08]);
    let fs = image.open().unwrap();
    let file = child(&fs, "file").unwrap();
    assert_eq!(fs.inline_data(&file), Err(Error::NoKey(file.ino)));
    assert_eq!(Errno::from(Error::NoKey(file.ino)), Errno::ENOKEY);
}

/// Bytes of metadata are changed at random: whatever comes of it, it comes without a panic and in bounded time.
#[test]
fn random_damage_does_no_harm() {
    let mut random = Rng::new(1);
    let mut errors = 0;
    for round in 0..240 {
        let image = [plain(), ext2(), ext4()][round % 3];
        let mut broken = Image {
            bytes: image.bytes.clone(),
        };
        for _ in 0..1 + random.index(24) {
            // Superblock, tables, inodes and the blocks after them, where directories and trees are.
            let at = 1024 + random.index(700 * 1024);
            broken.bytes[at] = random.index(256) as u8;
        }
        errors += usize::from(walk(&broken).is_err());
    }
    assert!(
        errors > 20,
        "{errors} of 240 were noticed: the test shows nothing"
    );
}
