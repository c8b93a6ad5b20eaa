//! What is large: a directory of many entries, files and volumes with more bytes than the machine has, deep paths.
//!
//! Frugal versions of what docs/scale.md measures. Blocks of 1 KiB give 100,000 names an index as deep as a million have
//! with blocks of 4 KiB; `RUMP_NAMES=1000000` makes as many as that.

use rump_tests::{
    mounted::{MOUNT_POINT, Mounted, boot},
    tools::{LoopMount, TempDir, can_mount, e2fsck, mke2fs, run},
};
use rumpkern::{Errno, Fd, Kernel, OpenFlags, Proc, Seek};
use rumpvfs::{
    Calls as _,
    calls::{At, MountArgs},
};
use std::collections::HashSet;

/// How many names a directory gets.
fn many() -> usize {
    std::env::var("RUMP_NAMES").map_or(100_000, |number| number.parse().unwrap())
}

const TIB: u64 = 1 << 40;

fn path(name: &str) -> String {
    format!("{MOUNT_POINT}/{name}")
}

/// Names in a directory, each once, as they come; `.` and `..` left out.
fn each_name(proc: &Proc, dir: Fd, mut each: impl FnMut(&[u8])) -> usize {
    let mut seen = HashSet::new();
    loop {
        let some = proc.getdents(dir, 500).unwrap();
        if some.is_empty() {
            return seen.len();
        }
        for entry in some {
            if entry.name != b"." && entry.name != b".." {
                each(&entry.name);
                let text = String::from_utf8_lossy(&entry.name).into_owned();
                assert!(seen.insert(entry.name), "{text} twice");
            }
        }
    }
}

#[test]
fn many_names_made_here_and_read_by_others() {
    let folder = TempDir::new();
    let image = folder.file("image");
    let many = many();
    let (inodes, size) = (many + many / 10, many / 500);
    // An index of two levels of such blocks has no room for a million.
    let block = if many > 400_000 { "4096" } else { "1024" };
    mke2fs(
        &image,
        &["-t", "ext4", "-b", block, "-N", &inodes.to_string()],
        &format!("{size}M"),
    );
    let mounted = Mounted::new("ext4", &image, false);
    let proc = &mounted.proc;
    proc.mkdirat(At::Cwd, path("many"), 0o755).unwrap();
    let dir = proc.open(path("many"), OpenFlags::RDONLY, 0).unwrap();
    for n in 0..many {
        let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY;
        let fd = proc
            .openat(At::Fd(dir), format!("name{n}"), flags, 0o644)
            .unwrap();
        proc.close(fd).unwrap();
    }
    assert_eq!(each_name(proc, dir, |_| {}), many);
    proc.close(dir).unwrap();
    mounted.unmount();

    e2fsck(&image);
    let listed = run("debugfs", &["-R", "ls -p /many", &image]);
    assert_eq!(listed.matches("/name").count(), many, "debugfs");
    if can_mount() {
        let host = LoopMount::new(&image, &folder.path().join("host"));
        let there = std::fs::read_dir(folder.path().join("host/many")).unwrap();
        assert_eq!(there.count(), many, "the host's driver");
        drop(host);
    }

    let mounted = Mounted::new("ext4", &image, false);
    let proc = &mounted.proc;
    let dir = proc.open(path("many"), OpenFlags::RDONLY, 0).unwrap();
    // Removed while they are listed: none is passed over.
    let removed = each_name(proc, dir, |name| {
        proc.unlinkat(At::Fd(dir), name, false).unwrap();
    });
    assert_eq!(removed, many);
    proc.close(dir).unwrap();
    proc.unlinkat(At::Cwd, path("many"), true).unwrap();
    mounted.unmount();
    e2fsck(&image);
}

#[test]
fn many_names_made_by_another_program() {
    let folder = TempDir::new();
    let image = folder.file("image");
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let (first, rest) = (tree.join("name0"), 1..5_000);
    std::fs::write(&first, b"").unwrap();
    for n in rest {
        std::fs::hard_link(&first, tree.join(format!("name{n}"))).unwrap();
    }
    let tree = tree.to_str().unwrap();
    mke2fs(&image, &["-t", "ext4", "-b", "1024", "-d", tree], "64M");
    // mke2fs gives no index; e2fsck -D does.
    let (status, output) = rump_tests::tools::try_run("e2fsck", &["-fyD", &image]);
    assert!(status <= 1, "{output}");
    for read_only in [true, false] {
        let mounted = Mounted::new("ext4", &image, read_only);
        let dir = mounted
            .proc
            .open(MOUNT_POINT, OpenFlags::RDONLY, 0)
            .unwrap();
        let count = each_name(&mounted.proc, dir, |_| {});
        assert_eq!(count, 5_001, "with lost+found; read-only: {read_only}");
        for n in (0..5_000).step_by(97) {
            assert_eq!(
                mounted.proc.stat(path(&format!("name{n}"))).unwrap().nlink,
                5_000
            );
        }
        mounted.proc.close(dir).unwrap();
        mounted.unmount();
    }
}

/// Writes at the start, in the middle and at the end of a file of 1 TiB, and checks holes, punching and shortening.
fn large_sparse_file(proc: &Proc, name: &str) {
    let fd = proc
        .open(name, OpenFlags::CREAT | OpenFlags::RDWR, 0o644)
        .unwrap();
    let last = TIB - 4096;
    let places = [0, TIB / 2, last];
    for at in places {
        assert_eq!(proc.pwrite(fd, &[7; 4096], at).unwrap(), 4096);
    }
    let stat = proc.fstat(fd).unwrap();
    assert_eq!(stat.size, TIB);
    assert!(stat.blocks < 1000, "{} sectors", stat.blocks);
    let (mut at, mut found) = (0, Vec::new());
    while let Ok(data) = proc.lseek(fd, Seek::Data(at)) {
        let hole = proc.lseek(fd, Seek::Hole(data)).unwrap();
        found.push((data, hole));
        at = hole;
    }
    assert_eq!(found, places.map(|at| (at, at + 4096)));
    let mut buf = [1; 8192];
    assert_eq!(proc.pread(fd, &mut buf, TIB / 2 - 4096).unwrap(), 8192);
    assert!(buf[..4096].iter().all(|b| *b == 0) && buf[4096..].iter().all(|b| *b == 7));
    proc.punch_hole(fd, 4096, last - 4096).unwrap();
    assert_eq!(proc.lseek(fd, Seek::Data(4096)).unwrap(), last);
    proc.ftruncate(fd, TIB / 2).unwrap();
    assert_eq!(proc.lseek(fd, Seek::Data(4096)).unwrap_err(), Errno::ENXIO);
    proc.ftruncate(fd, TIB).unwrap();
    assert_eq!(proc.pread(fd, &mut buf, last).unwrap(), 4096);
    assert!(
        buf[..4096].iter().all(|b| *b == 0),
        "what was cut off is gone"
    );
    proc.close(fd).unwrap();
}

#[test]
fn a_sparse_file_of_one_tebibyte() {
    let folder = TempDir::new();
    let image = folder.file("image");
    mke2fs(&image, &["-t", "ext4", "-b", "4096"], "64M");
    let mounted = Mounted::new("ext4", &image, false);
    large_sparse_file(&mounted.proc, &path("large"));
    mounted.unmount();
    e2fsck(&image);

    let kernel = boot();
    let proc = kernel.init_proc();
    proc.mkdirat(At::Cwd, MOUNT_POINT, 0o755).unwrap();
    proc.mount("tmpfs", MOUNT_POINT, MountArgs::default())
        .unwrap();
    large_sparse_file(&proc, &path("large"));
    kernel.shutdown().unwrap();
}

#[test]
fn a_volume_of_sixteen_tebibytes() {
    let folder = TempDir::new();
    let image = folder.file("image");
    // The largest file of ext4 is a block short of 16 TiB.
    let size = 16 * TIB - 4096;
    std::fs::File::create(&image)
        .unwrap()
        .set_len(size)
        .unwrap();
    let lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    run(
        "mke2fs",
        &[
            "-q", "-F", "-t", "ext4", "-E", lazy, "-N", "2097152", &image,
        ],
    );
    let mounted = Mounted::new("ext4", &image, false);
    let proc = &mounted.proc;
    let volume = proc.statvfs(MOUNT_POINT).unwrap();
    assert!(volume.blocks * u64::from(volume.block_size) > 15 * TIB);
    for n in 0..40 {
        // Directories at the top spread over all groups.
        let dir = path(&format!("d{n}"));
        proc.mkdirat(At::Cwd, &dir, 0o755).unwrap();
        let file = format!("{dir}/file");
        let fd = proc
            .open(&file, OpenFlags::CREAT | OpenFlags::RDWR, 0o644)
            .unwrap();
        proc.write(fd, format!("content {n}").as_bytes()).unwrap();
        proc.close(fd).unwrap();
    }
    mounted.unmount();
    let mounted = Mounted::new("ext4", &image, true);
    for n in 0..40 {
        let fd = mounted
            .proc
            .open(path(&format!("d{n}/file")), OpenFlags::RDONLY, 0)
            .unwrap();
        let mut buf = [0; 100];
        let len = mounted.proc.read(fd, &mut buf).unwrap();
        assert_eq!(buf[..len], *format!("content {n}").as_bytes());
    }
    drop(mounted);
    e2fsck(&image);
}

#[test]
fn top_directories_spread_where_clusters_are_counted() {
    let folder = TempDir::new();
    let image = folder.file("image");
    let options = [
        "-t",
        "ext4",
        "-O",
        "bigalloc,^has_journal",
        "-C",
        "65536",
        "-N",
        "8192",
    ];
    // A group is 32,768 clusters, 2 GiB.
    mke2fs(&image, &options, "8G");
    let mounted = Mounted::new("ext4", &image, false);
    let mut groups = HashSet::from([0]);
    for n in 0..3 {
        let dir = path(&format!("d{n}"));
        mounted.proc.mkdirat(At::Cwd, &dir, 0o755).unwrap();
        groups.insert((mounted.proc.stat(&dir).unwrap().ino - 1) / 2048);
    }
    // The superblock counts free blocks, the groups count clusters. Each group without a directory gets one.
    assert_eq!(groups, HashSet::from([0, 1, 2, 3]));
    mounted.unmount();
    e2fsck(&image);
}

/// A kernel whose root is a tmpfs.
fn memory() -> (Kernel, Proc) {
    let kernel = boot();
    let proc = kernel.init_proc();
    (kernel, proc)
}

fn deep_paths(proc: &Proc, top: &str) {
    // As deep as one path reaches: 4,095 bytes.
    proc.chdir(top).unwrap();
    let deep = vec!["a"; 2048].join("/");
    assert_eq!(deep.len(), 4095);
    for n in 1..=2048 {
        proc.mkdirat(At::Cwd, &deep[..2 * n - 1], 0o755).unwrap();
    }
    assert!(proc.stat(&deep).is_ok());
    assert_eq!(
        proc.stat(format!("{deep}/")).unwrap_err(),
        Errno::ENAMETOOLONG
    );
    // And deeper, step by step.
    proc.chdir(&deep).unwrap();
    for _ in 2048..10_000 {
        proc.mkdirat(At::Cwd, "a", 0o755).unwrap();
        proc.chdir("a").unwrap();
    }
    let here = proc.getcwd().unwrap();
    assert_eq!(here.len(), top.len() + 20_000);
    for n in (0..10_000).rev() {
        proc.chdir("..").unwrap();
        proc.unlinkat(At::Cwd, "a", true)
            .unwrap_or_else(|e| panic!("{e} at depth {n}"));
    }
    assert_eq!(proc.getcwd().unwrap(), top.as_bytes());
}

#[test]
fn deep_directories() {
    let (kernel, proc) = memory();
    proc.mkdirat(At::Cwd, "/top", 0o755).unwrap();
    deep_paths(&proc, "/top");
    kernel.shutdown().unwrap();

    let folder = TempDir::new();
    let image = folder.file("image");
    mke2fs(&image, &["-t", "ext4", "-b", "1024", "-N", "12000"], "32M");
    let mounted = Mounted::new("ext4", &image, false);
    deep_paths(&mounted.proc, MOUNT_POINT);
    mounted.proc.chdir("/").unwrap();
    mounted.unmount();
    e2fsck(&image);
}

#[test]
fn chains_of_symbolic_links() {
    let (kernel, proc) = memory();
    proc.symlinkat(b"/end", At::Cwd, "/link1").unwrap();
    proc.mkdirat(At::Cwd, "/end", 0o755).unwrap();
    for n in 2..=33 {
        let target = format!("link{}", n - 1);
        proc.symlinkat(target.as_bytes(), At::Cwd, format!("/link{n}"))
            .unwrap();
    }
    assert!(proc.stat("/link32").is_ok());
    assert_eq!(proc.stat("/link33").unwrap_err(), Errno::ELOOP);
    kernel.shutdown().unwrap();
}
