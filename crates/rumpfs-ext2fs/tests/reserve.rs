//! Blocks that a volume keeps back: whom it gives them to, and what everybody else may still do.

mod journal_support;

use journal_support::{TempDir, tool};
use rumpkern::{Cred, Kernel, OpenFlags, Proc, Statvfs};
use rumpuser::Errno;
use rumpuser_posix::{Access, Host, HostFile};
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, Follow, MountArgs},
    fs::XattrMode,
};
use std::{path::PathBuf, sync::Arc};

const USER: u32 = 1000;
const GROUP: u32 = 50;

const VOLUMES: &[&[&str]] = &[
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext3", "-b", "1024"],
    &["-t", "ext4", "-b", "4096"],
    &["-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "4096"],
    &["-t", "ext4", "-b", "1024", "-O", "inline_data", "-I", "256"],
];

struct Bench {
    _dir: TempDir,
    image: PathBuf,
    kernel: Kernel,
    root: Proc,
    user: Proc,
}

impl Bench {
    /// A volume of which a fifth is kept back, mounted with a directory that everybody may write.
    fn new(arguments: &[&str], options: &[(&str, u32)]) -> Self {
        let dir = TempDir::new("reserve");
        let image = dir.file("image");
        let path = image.to_str().unwrap();
        let all = [&["-q", "-F", "-m", "20"], arguments, &[path, "16M"]].concat();
        tool("mke2fs", &all, &[0]);
        let kernel = Kernel::builder(Host::new())
            .component(rumpfs_ext2fs::vfs::component())
            .boot()
            .unwrap();
        let device = HostFile::open(&image, Access::ReadWrite).unwrap();
        kernel.etfs_register("/dev/img", Arc::new(device)).unwrap();
        let root = kernel.init_proc();
        let mut args = MountArgs::device("/dev/img");
        for (name, value) in options {
            args = args.option(name, Some(&value.to_string()));
        }
        root.mount("ext2fs", "/", args).unwrap();
        root.mkdirat(At::Cwd, "/d", 0o755).unwrap();
        root.fchmodat(At::Cwd, "/d", 0o777, Follow::Yes).unwrap();
        let user = root.fork();
        user.set_cred(Cred {
            uid: USER,
            gid: USER,
            groups: vec![GROUP],
        });
        Self {
            _dir: dir,
            image,
            kernel,
            root,
            user,
        }
    }

    fn space(&self) -> Statvfs {
        self.root.statvfs("/").unwrap()
    }

    /// The blocks that mke2fs was told to keep back.
    fn kept_back(&self) -> u64 {
        let shown = tool("dumpe2fs", &["-h", self.image.to_str().unwrap()], &[0]);
        let line = shown
            .lines()
            .find(|l| l.starts_with("Reserved block count"));
        line.and_then(|l| l.split_whitespace().last()?.parse().ok())
            .expect("dumpe2fs tells the reserved blocks")
    }

    /// Ends the kernel; the checker must find nothing.
    fn finish(self) {
        self.kernel.shutdown().unwrap();
        tool("e2fsck", &["-fn", self.image.to_str().unwrap()], &[0]);
    }
}

/// Appends to a file until there is no room; the bytes that went in.
fn fill(proc: &Proc, path: &str) -> usize {
    let flags = OpenFlags::CREAT | OpenFlags::APPEND | OpenFlags::WRONLY;
    let fd = proc.open(path, flags, 0o644).unwrap();
    let data = vec![0xA5; 100_000];
    let mut total = 0;
    let end = loop {
        match proc.write(fd, &data) {
            Ok(0) => panic!("nothing was written, and no error given"),
            Ok(done) => total += done,
            Err(error) => break error,
        }
    };
    assert_eq!(end, Errno::ENOSPC);
    proc.fsync(fd).unwrap();
    proc.close(fd).unwrap();
    total
}

/// What takes a block each, by name.
fn takers(proc: &Proc, by: &str) -> Vec<(&'static str, Result<(), Errno>)> {
    let file = format!("/d/{by}");
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY;
    let fd = proc.open(&file, flags, 0o644).unwrap();
    let name = |what: &str| format!("/d/{by}-{what}");
    let target = [b'x'; 900];
    let written = proc.pwrite(fd, &[1; 10_000], 0).map(drop);
    let linked = proc.symlinkat(&target, At::Cwd, name("link"));
    let attribute = proc.setxattr(&file, b"user.a", &[7; 900], XattrMode::Set, Follow::Yes);
    let reserved = match proc.fallocate(fd, 1 << 20, 4096, true) {
        Err(Errno::EOPNOTSUPP) => None,
        other => Some(("fallocate", other)),
    };
    proc.close(fd).unwrap();
    let mut all = vec![
        ("write", written),
        ("symlink", linked),
        ("setxattr", attribute),
        ("mkdir", proc.mkdirat(At::Cwd, name("dir"), 0o755)),
    ];
    all.extend(reserved);
    all
}

#[test]
fn only_the_superuser_takes_what_is_kept_back() {
    for volume in VOLUMES {
        let bench = Bench::new(volume, &[]);
        let kept = bench.kept_back();
        assert!(kept > 100, "{volume:?}: {kept}");
        // Paid for before the volume is full.
        let flags = OpenFlags::CREAT | OpenFlags::RDWR;
        let paid = bench.user.open("/d/paid", flags, 0o644).unwrap();
        let reserved = bench.user.fallocate(paid, 0, 1 << 18, false);
        assert!(matches!(reserved, Ok(()) | Err(Errno::EOPNOTSUPP)));
        fill(&bench.user, "/d/full");
        let now = bench.space();
        assert!(now.blocks_available < 8, "{volume:?}: {now:?}");
        assert!(now.blocks_free >= kept, "{volume:?}: {now:?}");
        for (what, result) in takers(&bench.user, "user") {
            assert_eq!(result, Err(Errno::ENOSPC), "{volume:?}: {what}");
        }
        // Old blocks may be overwritten, and what was reserved be written, in many pieces.
        if reserved.is_ok() {
            for at in (0..1 << 18).step_by(8192) {
                let written = bench.user.pwrite(paid, &[9; 4096], at);
                assert_eq!(written, Ok(4096), "{volume:?}: at {at}");
            }
        }
        bench.user.close(paid).unwrap();
        for (what, result) in takers(&bench.root, "root") {
            assert_eq!(result, Ok(()), "{volume:?}: {what}");
        }
        fill(&bench.root, "/d/rest");
        let now = bench.space();
        assert!(now.blocks_free < 16, "{volume:?}: {now:?}");
        assert_eq!(now.blocks_available, 0);
        // What gives blocks back needs none of what is left for others.
        bench.user.unlinkat(At::Cwd, "/d/full", false).unwrap();
        bench.root.sync().unwrap();
        let now = bench.space();
        assert_eq!(now.blocks_available, now.blocks_free - kept);
        assert_eq!(takers(&bench.user, "again")[0], ("write", Ok(())));
        bench.finish();
    }
}

#[test]
fn options_name_others_who_may() {
    for options in [&[("resuid", USER)], &[("resgid", GROUP)]] {
        let bench = Bench::new(VOLUMES[2], options);
        fill(&bench.user, "/d/full");
        assert!(bench.space().blocks_free < 8, "{options:?}");
        bench.finish();
    }
    // Group 0 is nobody's.
    let bench = Bench::new(VOLUMES[2], &[("resgid", 0), ("resuid", 7)]);
    let mut cred = bench.user.cred().as_ref().clone();
    cred.groups.push(0);
    bench.user.set_cred(cred);
    fill(&bench.user, "/d/full");
    assert!(bench.space().blocks_free >= bench.kept_back());
    bench.finish();
}

#[test]
fn the_superblock_names_others_who_may() {
    let user = USER.to_string();
    let bench = Bench::new(&["-t", "ext4", "-b", "1024"], &[]);
    bench.root.unmount("/", false).unwrap();
    tool(
        "tune2fs",
        &["-u", &user, bench.image.to_str().unwrap()],
        &[0],
    );
    bench
        .root
        .mount("ext2fs", "/", MountArgs::device("/dev/img"))
        .unwrap();
    fill(&bench.user, "/d/full");
    assert!(bench.space().blocks_free < 8);
    bench.finish();
}
