//! Time of system calls on paths, on a file system in memory: `cargo bench -p rump-tests --bench vfs_calls`.

use rumpkern::{Kernel, OpenFlags};
use rumpuser_posix::Host;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::{hint::black_box, time::Instant};

/// The best of five runs of `count` calls, in nanoseconds per call. An argument chooses those whose name contains it.
fn time(what: &str, count: u32, mut call: impl FnMut(u32)) {
    let chosen = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    if chosen.is_some_and(|chosen| !what.contains(&chosen)) {
        return;
    }
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..count).for_each(&mut call);
            start.elapsed()
        })
        .min()
        .unwrap();
    println!(
        "{what:32} {:>10.1} ns",
        best.as_nanos() as f64 / f64::from(count)
    );
}

fn main() {
    let kernel = Kernel::builder(Host::new())
        .component(rumpfs_tmpfs::component())
        .boot()
        .unwrap();
    let p = kernel.init_proc();
    p.mkdirat(At::Cwd, "/a", 0o755).unwrap();
    p.mkdirat(At::Cwd, "/a/b", 0o755).unwrap();
    let fd = p
        .open("/a/b/c", OpenFlags::CREAT | OpenFlags::RDWR, 0o644)
        .unwrap();
    p.write(fd, &[1; 4096]).unwrap();
    time("getpid", 1_000_000, |_| {
        black_box(p.getpid());
    });
    time("cred", 1_000_000, |_| {
        black_box(p.cred());
    });
    time("stat /a/b/c", 1_000_000, |_| {
        black_box(p.stat("/a/b/c").unwrap());
    });
    let host = std::env::temp_dir();
    time("the host's stat of a directory", 100_000, |_| {
        black_box(std::fs::metadata(&host).unwrap());
    });
    time("stat /a/b/none", 1_000_000, |_| {
        black_box(p.stat("/a/b/none").unwrap_err());
    });
    time("fstat", 1_000_000, |_| {
        black_box(p.fstat(fd).unwrap());
    });
    let mut buf = [0; 4096];
    time("pread 4096", 500_000, |_| {
        black_box(p.pread(fd, &mut buf, 0).unwrap());
    });
    time("pwrite 4096", 500_000, |_| {
        black_box(p.pwrite(fd, &buf, 0).unwrap());
    });
    time("open and close", 500_000, |_| {
        let fd = p.open("/a/b/c", OpenFlags::RDONLY, 0).unwrap();
        p.close(fd).unwrap();
    });
    time("create, close, unlink", 100_000, |_| {
        let fd = p
            .open("/a/b/n", OpenFlags::CREAT | OpenFlags::WRONLY, 0o644)
            .unwrap();
        p.close(fd).unwrap();
        p.unlinkat(At::Cwd, "/a/b/n", false).unwrap();
    });
    time("rename there and back", 50_000, |_| {
        for (from, to) in [("/a/b/c", "/a/d"), ("/a/d", "/a/b/c")] {
            let names = ((At::Cwd, from.as_bytes()), (At::Cwd, to.as_bytes()));
            p.renameat(names.0, names.1, Default::default()).unwrap();
        }
    });
    p.mkdirat(At::Cwd, "/many", 0o755).unwrap();
    for number in 0..20_000 {
        let path = format!("/many/file{number}");
        let fd = p
            .open(&path, OpenFlags::CREAT | OpenFlags::WRONLY, 0o644)
            .unwrap();
        p.close(fd).unwrap();
    }
    let dir = p.open("/many", OpenFlags::RDONLY, 0).unwrap();
    time("list 20,000 with attributes", 1, |_| {
        p.lseek(dir, rumpkern::Seek::Set(0)).unwrap();
        let mut count = 0;
        loop {
            let some = p.getdents_plus(dir, 1000).unwrap();
            if some.is_empty() {
                break;
            }
            count += some.len();
        }
        assert_eq!(count, 20_000);
    });
    time("lstat of 20,000 by path", 1, |_| {
        for number in 0..20_000 {
            let path = format!("/many/file{number}");
            black_box(p.fstatat(At::Cwd, &path, Follow::No).unwrap());
        }
    });
}
