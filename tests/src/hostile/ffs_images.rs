//! Small UFS images with much in them: makefs makes them; what it does not make is written into them by hand.

use crate::{
    tools::{TempDir, run},
    ufs::{REGULAR, Ufs},
};
use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::{FileExt as _, symlink},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

/// Their names.
pub(super) const NAMES: &[&str] = &[
    "made-ffs1-little",
    "made-ffs1-big",
    "made-ffs1-old",
    "made-ffs1-oldest",
    "made-ffs1-journal",
    "made-ffs1-journal-little",
    "made-ffs2-little",
    "made-ffs2-big",
    "made-ffs2-attributes",
    "made-ffs2-journal",
    "made-ffs2-journal-big",
];

pub(super) fn make(name: &str) -> Vec<u8> {
    let form = match name {
        "made-ffs1-little" | "made-ffs1-old" | "made-ffs1-oldest" | "made-ffs1-journal-little" => {
            ["le", "version=1,bsize=4096,fsize=512"]
        }
        "made-ffs1-big" | "made-ffs1-journal" => ["be", "version=1,bsize=8192,fsize=1024"],
        "made-ffs2-big" | "made-ffs2-journal-big" => ["be", "version=2,bsize=8192,fsize=1024"],
        _ => ["le", "version=2,bsize=4096,fsize=512"],
    };
    let mut ufs = Ufs::new(makefs(form));
    match name {
        "made-ffs1-old" => ufs.make_old_layout(),
        "made-ffs1-oldest" => ufs.make_oldest_groups(),
        "made-ffs1-journal"
        | "made-ffs1-journal-little"
        | "made-ffs2-journal"
        | "made-ffs2-journal-big" => journal(&mut ufs),
        "made-ffs2-attributes" => attributes(&mut ufs),
        _ => {}
    }
    ufs.bytes
}

fn makefs([order, options]: [&str; 2]) -> Vec<u8> {
    let dir = TempDir::new();
    let (tree, image) = (dir.file("tree"), dir.file("image"));
    fill(Path::new(&tree));
    let args = [
        "-t", "ffs", "-s", "8m", "-f", "40", "-B", order, "-o", options, &image, &tree,
    ];
    run("makefs", &args);
    fs::read(&image).expect("makefs made it")
}

/// Of everything a little: holes, blocks of pointers of two levels, fragments, links of both lengths, a directory of several blocks.
fn fill(tree: &Path) {
    for dir in ["a/b/c", "many", "empty"] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    let write = |name: &str, pieces: &[(u64, usize)]| {
        let file = File::create(tree.join(name)).expect("a file");
        for (offset, len) in pieces {
            let data: Vec<u8> = (0..*len).map(|n| n as u8 | 1).collect();
            file.write_all_at(&data, *offset).expect("space");
        }
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        file.set_times(times).expect("times");
    };
    write("tiny", &[(0, 20)]);
    write("some", &[(0, 9000)]);
    write("large", &[(0, 150_000)]);
    write("holes", &[(0, 4000), (70_000, 9000), (5_000_000, 100)]);
    write("a/b/c/bottom", &[(0, 700)]);
    for n in 0..60 {
        write(&format!("many/a name of some length {n}"), &[]);
    }
    fs::hard_link(tree.join("tiny"), tree.join("a/second name")).expect("a link");
    symlink("short", tree.join("short link")).expect("a link");
    symlink("long/".repeat(60), tree.join("long link")).expect("a link");
    run("mkfifo", &[tree.join("fifo").to_str().expect("UTF-8")]);
}

/// An extended attribute of FreeBSD's, in a block of its own.
fn attributes(ufs: &mut Ufs) {
    let ino = ufs.find(|ufs, ino| ufs.kind(ino) == REGULAR);
    let (at, frag) = (ufs.inode(ino), ufs.free_block());
    let byte = frag as usize * ufs.frag();
    for (offset, name) in [(0, b"abc"), (40, b"xyz")] {
        let at = byte + offset;
        ufs.put(at, 4, 40);
        ufs.bytes[at + 4..at + 7].copy_from_slice(&[1, 2, 3]);
        ufs.bytes[at + 7..at + 10].copy_from_slice(name);
        ufs.bytes[at + 16..at + 38].fill(b'v');
    }
    ufs.put(at + 92, 4, 80);
    ufs.put(at + 96, 8, frag);
}

/// Bytes of a block of the journal.
pub(super) const LOG_BLOCK: usize = 512;
/// Blocks of the journal: two headers and a ring.
const LOG_BLOCKS: usize = 2048;

/// A journal behind the file system that is in use: images of the root directory and of its inode, revocations, an inode to be freed.
fn journal(ufs: &mut Ufs) {
    let start = ufs.bytes.len();
    ufs.bytes.resize(start + LOG_BLOCKS * LOG_BLOCK, 0);
    let ring = 2 * LOG_BLOCK;
    let inode = ufs.inode(2) / LOG_BLOCK * LOG_BLOCK;
    let root = ufs.records(2)[0].at;
    // A list of blocks, and their images.
    let mut at = start + ring;
    for (n, word) in [0x5741_424F, 3 * LOG_BLOCK, 2, 0].into_iter().enumerate() {
        ufs.put(at + 4 * n, 4, word as u64);
    }
    for (n, byte) in [inode, root].into_iter().enumerate() {
        let entry = at + 16 + 16 * n;
        ufs.put(entry, 8, (byte / 512) as u64);
        ufs.put(entry + 12, 4, LOG_BLOCK as u64);
        let image = ufs.bytes[byte..byte + LOG_BLOCK].to_vec();
        let to = at + (n + 1) * LOG_BLOCK;
        ufs.bytes[to..to + LOG_BLOCK].copy_from_slice(&image);
        // What is home is not what counts.
        ufs.bytes[byte + 100..byte + 104].fill(0xEE);
    }
    at += 3 * LOG_BLOCK;
    // Revocations.
    for (n, word) in [0x5741_424E, LOG_BLOCK, 1, 0].into_iter().enumerate() {
        ufs.put(at + 4 * n, 4, word as u64);
    }
    ufs.put(at + 16, 8, 4000);
    ufs.put(at + 28, 4, LOG_BLOCK as u64);
    at += LOG_BLOCK;
    // Inodes.
    for (n, word) in [0x5741_424D, LOG_BLOCK, 1, 1].into_iter().enumerate() {
        ufs.put(at + 4 * n, 4, word as u64);
    }
    ufs.put(at + 16, 4, 5);
    ufs.put(at + 20, 4, 0o100_644);
    at += LOG_BLOCK;
    for slot in 0..2 {
        let header = start + slot * LOG_BLOCK;
        let words = [0x5741_424C, LOG_BLOCK, 0, 4 + slot];
        for (n, word) in words.into_iter().enumerate() {
            ufs.put(header + 4 * n, 4, word as u64);
        }
        for (offset, word) in [(36, 1), (40, 9), (44, 9)] {
            ufs.put(header + offset, 4, word);
        }
        let ring_len = (LOG_BLOCKS - 2) * LOG_BLOCK;
        for (offset, n) in [(48, at - start), (56, ring), (64, ring), (72, ring_len)] {
            ufs.put(header + offset, 8, n as u64);
        }
    }
    let superblock = ufs.superblock;
    ufs.put(superblock + 864, 1, 1);
    ufs.put(superblock + 865, 1, 1);
    for (n, word) in [start / LOG_BLOCK, LOG_BLOCKS, LOG_BLOCK]
        .into_iter()
        .enumerate()
    {
        ufs.put(superblock + 872 + 8 * n, 8, word as u64);
    }
    ufs.put(superblock + 1312, 4, 0x100);
    ufs.bytes[superblock + 209] = 2;
}
