//! Random operations on ext2, ext3 and ext4 volumes of many shapes.
//!
//! Each volume gets 10,000 operations in ten sequences; every result is compared with a model. After each sequence the
//! volume is unmounted, `e2fsck -fn` must find nothing, and the tree is read again: by us, by `debugfs`, and where tests may
//! mount, by the host's own driver.

mod random;

use random::REMOUNT;
use rump_tests::{
    model::{Format, Model, Op},
    mounted::{MOUNT_POINT, Mounted},
    tools::{LoopMount, TempDir, can_mount, e2fsck, mke2fs, run},
    tree::{self, Kind, Tree},
};

/// Seconds with nanoseconds to 2446, where inodes have room for them.
const WIDE: Format = Format {
    granularity: 1,
    max: 15_032_385_535,
    xattrs: true,
};
/// Seconds to 2038.
const NARROW: Format = Format {
    granularity: 1_000_000_000,
    max: i32::MAX as i64,
    xattrs: true,
};

/// As `NARROW`, before there were extended attributes.
const OLD: Format = Format {
    xattrs: false,
    ..NARROW
};

/// What `debugfs rdump` brings to the host: contents and names.
fn only_contents(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.retain(|_, node| !matches!(node.kind, Kind::Fifo | Kind::Other));
    for node in tree.values_mut() {
        (node.mode, node.uid, node.gid, node.nlink) = (0, 0, 0, 0);
        (node.mtime, node.xattrs) = (None, None);
    }
    tree
}

struct Shape {
    options: &'static [&'static str],
    format: Format,
    /// Whether the host's driver can mount it: not with blocks larger than its pages.
    host: bool,
}

fn check(shape: &Shape, ops: &[Op]) {
    let dir = TempDir::new();
    let image = dir.file("volume.img");
    mke2fs(&image, shape.options, "512M");
    let mut model = Model::new(shape.format);
    for part in ops.chunks(REMOUNT) {
        let mounted = Mounted::new("ext2fs", &image, false);
        for op in part {
            model.step(&mounted.proc, MOUNT_POINT, op);
        }
        mounted.unmount();
    }
    e2fsck(&image);
    let expected = model.tree();
    let again = Mounted::new("ext2fs", &image, true);
    tree::assert_same(
        "read again",
        &expected,
        &tree::from_mount(&again.proc, MOUNT_POINT),
    );
    again.unmount();
    let dumped = dir.path().join("dumped");
    std::fs::create_dir(&dumped).expect("a folder");
    run(
        "debugfs",
        &["-R", &format!("rdump / {}", dumped.display()), &image],
    );
    tree::assert_same(
        "debugfs",
        &only_contents(&expected),
        &only_contents(&tree::from_host(&dumped)),
    );
    if shape.host && can_mount() {
        let on = dir.path().join("host");
        let mount = LoopMount::new(&image, &on);
        tree::assert_same("the host's driver", &expected, &tree::from_host(&on));
        drop(mount);
    }
}

fn sequences(shape: &Shape) {
    random::sequences(|ops| check(shape, ops));
}

macro_rules! shapes {
    ($($name:ident: $format:ident, $host:literal, $options:expr;)*) => {
        $(#[test]
        fn $name() {
            sequences(&Shape { options: &$options, format: $format, host: $host });
        })*
    };
}

shapes! {
    ext2_1k: WIDE, true, ["-t", "ext2", "-b", "1024"];
    ext2_4k_small_inodes: NARROW, true, ["-t", "ext2", "-b", "4096", "-I", "128"];
    ext2_revision_0: OLD, true, ["-t", "ext2", "-r", "0", "-b", "1024"];
    ext3_1k: WIDE, true, ["-t", "ext3", "-b", "1024", "-J", "size=4"];
    ext3_4k: WIDE, true, ["-t", "ext3", "-b", "4096", "-J", "size=4"];
    ext4_1k: WIDE, true, ["-t", "ext4", "-b", "1024", "-J", "size=4"];
    ext4_4k: WIDE, true, ["-t", "ext4", "-b", "4096", "-J", "size=4"];
    ext4_2k_before_checksums: WIDE, true,
        ["-t", "ext4", "-b", "2048", "-O", "^64bit,^metadata_csum,uninit_bg,^flex_bg", "-J", "size=4"];
    ext4_no_journal: WIDE, true, ["-t", "ext4", "-b", "1024", "-O", "^has_journal"];
    ext4_no_dir_index: WIDE, true, ["-t", "ext4", "-b", "1024", "-O", "^dir_index", "-J", "size=4"];
    ext4_bigalloc: WIDE, true, ["-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "16384", "-J", "size=4"];
    ext4_inline_data_1k: WIDE, true, ["-t", "ext4", "-b", "1024", "-O", "inline_data", "-J", "size=4"];
    ext4_inline_data_4k: WIDE, true, ["-t", "ext4", "-b", "4096", "-O", "inline_data", "-J", "size=4"];
    ext4_meta_bg_1k: WIDE, true,
        ["-t", "ext4", "-b", "1024", "-g", "1024", "-O", "meta_bg,^resize_inode,^flex_bg", "-J", "size=1"];
    ext4_ea_inode_large_dir: WIDE, true, ["-t", "ext4", "-b", "4096", "-O", "ea_inode,large_dir", "-J", "size=4"];
    ext4_orphan_file_csum_seed: WIDE, true,
        ["-t", "ext4", "-b", "4096", "-O", "orphan_file,metadata_csum_seed", "-J", "size=4"];
    ext4_64k: WIDE, false, ["-t", "ext4", "-b", "65536"];
}
