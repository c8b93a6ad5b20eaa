//! Good ext2, ext3 and ext4 images: those that native tools made, and small ones with much in them.

use crate::{
    fixtures,
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, run},
};
use rumpkern::{OpenFlags, Proc};
use rumpuser_sim::{Loss, MemDisk};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
    fs::XattrMode,
};
use std::{fs, process::Command, sync::Arc};

/// Committed, made by Linux: changes that are only in fast commits.
const FAST_COMMITS: &[&str] = &["1k", "4k", "inline", "bigalloc"];

const SMALL: &[&str] = &[
    "small-ext2-rev0",
    "small-ext3",
    "small-ext4",
    "small-ext4-inline",
];

/// A small image with much in it: mke2fs makes it, this driver fills it.
struct Made {
    name: &'static str,
    options: &'static [&'static str],
    size: &'static str,
    /// Taken while mounted: a journal to replay, and orphans.
    dirty: bool,
}

const MADE: &[Made] = &[
    Made {
        name: "made-ext2-1k",
        options: &["-t", "ext2", "-b", "1024"],
        size: "3M",
        dirty: false,
    },
    Made {
        name: "made-ext3-1k-dirty",
        options: &["-t", "ext3", "-b", "1024", "-J", "size=1"],
        size: "4M",
        dirty: true,
    },
    Made {
        name: "made-ext4-1k",
        options: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-J",
            "size=1",
            "-O",
            "ea_inode,large_dir",
        ],
        size: "6M",
        dirty: false,
    },
    Made {
        name: "made-ext4-1k-dirty",
        options: &["-t", "ext4", "-b", "1024", "-J", "size=1"],
        size: "6M",
        dirty: true,
    },
    Made {
        name: "made-ext4-2k-orphan-file",
        options: &[
            "-t",
            "ext4",
            "-b",
            "2048",
            "-J",
            "size=2",
            "-O",
            "orphan_file,inline_data,ea_inode",
        ],
        size: "8M",
        dirty: true,
    },
    Made {
        name: "made-ext4-4k-inline",
        options: &["-t", "ext4", "-b", "4096", "-O", "inline_data,^has_journal"],
        size: "8M",
        dirty: false,
    },
    Made {
        name: "made-ext4-bigalloc",
        options: &[
            "-t", "ext4", "-b", "1024", "-C", "4096", "-J", "size=1", "-O", "bigalloc",
        ],
        size: "8M",
        dirty: true,
    },
    Made {
        name: "made-ext4-meta-bg-mmp",
        options: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-g",
            "1024",
            "-J",
            "size=1",
            "-O",
            "meta_bg,mmp,^resize_inode,^flex_bg",
        ],
        size: "8M",
        dirty: true,
    },
    Made {
        name: "made-ext4-no-csum",
        options: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-J",
            "size=1",
            "-O",
            "^metadata_csum,^64bit",
        ],
        size: "6M",
        dirty: true,
    },
    Made {
        name: "made-ext4-gdt-csum",
        options: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "^metadata_csum,uninit_bg,^has_journal",
        ],
        size: "24M",
        dirty: false,
    },
    Made {
        name: "made-ext4-64k",
        options: &[
            "-t",
            "ext4",
            "-b",
            "65536",
            "-O",
            "^has_journal,inline_data",
        ],
        size: "16M",
        dirty: false,
    },
];

/// The images of `fixtures/images/`, the small ones, those with fast commits, and those made here.
pub(super) fn names() -> Vec<String> {
    [fixtures::images("ext"), seeds()].concat()
}

/// Without those that are large or need `cargo xtask images`.
pub(super) fn seeds() -> Vec<String> {
    let made = MADE.iter().map(|made| made.name.to_owned());
    let fast = FAST_COMMITS
        .iter()
        .map(|name| format!("fast-commit-{name}"));
    let small = SMALL.iter().map(|&name| name.to_owned());
    made.chain(fast).chain(small).collect()
}

pub(super) fn load(name: &str) -> MemDisk {
    if let Some(made) = MADE.iter().find(|made| made.name == name) {
        return make(made);
    }
    if SMALL.contains(&name) {
        return MemDisk::from_bytes(&fixtures::small(name));
    }
    if let Some(name) = name.strip_prefix("fast-commit-") {
        return fast_commit(name);
    }
    let path = fixtures::image(name);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    MemDisk::from_bytes(&bytes)
}

fn fast_commit(name: &str) -> MemDisk {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/rumpfs-ext2fs/tests/testdata"
    );
    let path = format!("{folder}/fast_commit_{name}.img.zst");
    let output = Command::new("zstd").args(["-qdc", &path]).output();
    let output = output.expect("zstd is needed");
    assert!(output.status.success(), "zstd -dc {path}");
    MemDisk::from_bytes(&output.stdout)
}

fn make(made: &Made) -> MemDisk {
    let dir = TempDir::new();
    let image = dir.file("image");
    // Nothing in it may depend on when or where it is made.
    let mut args = vec![
        "E2FSPROGS_FAKE_TIME=1700000000",
        "mke2fs",
        "-q",
        "-F",
        "-N",
        "192",
    ];
    args.extend(["-U", "5a1d6c0e-33b7-4a58-9d11-2f6f1c7e9b02"]);
    args.extend([
        "-E",
        "hash_seed=0e9b6a41-62c3-4f0d-8a5e-1b7d2c3f4a55,lazy_itable_init=0",
    ]);
    args.extend(made.options);
    args.extend([&image, made.size]);
    run("env", &args);
    let disk = Arc::new(MemDisk::from_bytes(
        &fs::read(&image).expect("mke2fs made it"),
    ));
    let mounted = Mounted::simulated("ext2fs", disk.clone(), 1)
        .unwrap_or_else(|(error, log)| panic!("mounting {}: {error}; {log:?}", made.name));
    populate(&mounted.proc);
    mounted.proc.sync().expect("sync");
    if !made.dirty {
        mounted.unmount();
        return disk.crash_image(Loss::None, 0);
    }
    leave_work(&mounted.proc);
    disk.crash_image(Loss::None, 0)
}

fn path(name: &str) -> String {
    format!("{MOUNT_POINT}/{name}")
}

fn write(proc: &Proc, name: &str, pieces: &[(u64, usize)]) {
    let flags = OpenFlags::RDWR | OpenFlags::CREAT;
    let fd = proc.open(path(name), flags, 0o644).expect("a file");
    for &(offset, len) in pieces {
        let data: Vec<u8> = (0..len).map(|n| n as u8 | 1).collect();
        assert_eq!(proc.pwrite(fd, &data, offset), Ok(len), "{name}");
    }
    proc.close(fd).expect("close");
}

/// Of everything a little: each kind of inode, map, directory and attribute that the volume's features allow.
fn populate(proc: &Proc) {
    let mkdir = |name: &str| proc.mkdirat(At::Cwd, path(name), 0o755).expect("mkdir");
    write(proc, "tiny", &[(0, 20)]);
    write(proc, "plain", &[(0, 9000)]);
    // A map with an inner level: pieces that do not touch.
    let comb: Vec<(u64, usize)> = (0..110).map(|n| (n * 3 * 1024, 1)).collect();
    write(proc, "comb", &comb);
    write(proc, "far", &[(0, 1), (300_000, 5000), (70 << 20, 10)]);
    let fd = proc.open(path("plain"), OpenFlags::RDWR, 0).expect("open");
    // Not everywhere possible.
    let _ = proc.fallocate(fd, 20_000, 8000, false);
    proc.close(fd).expect("close");
    for name in ["dir", "dir/inner", "dir/inner/deeper", "many", "empty"] {
        mkdir(name);
    }
    for n in 0..70 {
        write(proc, &format!("many/a name of some length {n}"), &[]);
    }
    write(proc, "dir/inner/deeper/bottom", &[(0, 100)]);
    let link = |target: &[u8], name: &str| {
        proc.symlinkat(target, At::Cwd, path(name))
            .expect("symlink");
    };
    link(b"dir/inner", "short");
    link(&[b'l'; 200], "long");
    let device = rumpkern::types::DeviceNumber { major: 8, minor: 1 };
    let kind = rumpkern::FileType::Block;
    proc.mknodat(At::Cwd, path("dir/device"), kind, 0o600, device)
        .expect("mknod");
    let (from, to) = (path("plain"), path("dir/linked"));
    let names = ((At::Cwd, from.as_bytes()), (At::Cwd, to.as_bytes()));
    proc.linkat(names.0, names.1, Follow::No).expect("link");
    for (file, name, len) in [
        ("plain", "user.small", 10),
        ("plain", "user.large", 600),
        ("dir", "user.of a directory", 300),
        ("tiny", "user.inside", 20),
        ("comb", "trusted.t", 700),
    ] {
        set(proc, file, name, len).expect("setxattr");
    }
    // Too large for a block: only with ea_inode.
    let _ = set(proc, "far", "user.huge", 5000);
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 42, 0, 0, 0, 4, 0, 4, 0, 255, 255,
        255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    let name = b"system.posix_acl_access";
    let _ = proc.setxattr(path("tiny"), name, &acl, XattrMode::Set, Follow::No);
}

fn set(proc: &Proc, file: &str, name: &str, len: usize) -> rumpkern::Result<()> {
    let value = vec![b'v'; len];
    proc.setxattr(
        path(file),
        name.as_bytes(),
        &value,
        XattrMode::Set,
        Follow::No,
    )
}

/// Leaves a log with several transactions, revoked blocks and orphans. Without a journal: a volume that was not unmounted.
fn leave_work(proc: &Proc) {
    for n in 0..12 {
        write(proc, &format!("many/late {n}"), &[(0, 700 * n)]);
    }
    proc.sync().expect("sync");
    write(proc, "dir/new", &[(0, 3000)]);
    for n in 0..30 {
        let name = path(&format!("many/a name of some length {n}"));
        proc.unlinkat(At::Cwd, name, false).expect("unlink");
    }
    proc.sync().expect("sync");
    for name in ["comb", "far"] {
        proc.open(path(name), OpenFlags::RDWR, 0)
            .expect("stays open");
        proc.unlinkat(At::Cwd, path(name), false).expect("unlink");
    }
    proc.unlinkat(At::Cwd, path("empty"), true).expect("rmdir");
    write(proc, "dir/after", &[(0, 100)]);
    proc.sync().expect("sync");
}
