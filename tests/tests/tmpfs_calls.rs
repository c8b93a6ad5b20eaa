//! tmpfs through system calls.

use rumpkern::{Fd, FileType, Kernel, OpenFlags, Proc, Seek, types::DeviceNumber};
use rumpuser::{Errno, Timespec};
use rumpuser_posix::Host;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, MountArgs, RenameFlags, SetTime},
    fs::XattrMode,
};

/// A kernel, and a process whose root is a tmpfs with these options.
fn boot(options: &[(&str, &str)]) -> (Kernel, Proc) {
    let kernel = Kernel::builder(Host::new())
        .component(rumpfs_tmpfs::component())
        .boot()
        .unwrap();
    let proc = kernel.init_proc();
    proc.umask(0o022);
    let args = options
        .iter()
        .fold(MountArgs::default(), |args, (n, v)| args.option(n, Some(v)));
    proc.mkdirat(At::Cwd, "/mnt", 0o755).unwrap();
    proc.mount("tmpfs", "/mnt", args).unwrap();
    proc.chroot("/mnt").unwrap();
    proc.chdir("/").unwrap();
    (kernel, proc)
}

fn create(proc: &Proc, path: &str) -> Fd {
    let flags = OpenFlags::RDWR | OpenFlags::CREAT | OpenFlags::EXCL;
    proc.open(path, flags, 0o666).unwrap()
}

#[test]
fn options_show_in_the_root_and_bad_ones_are_refused() {
    let (kernel, proc) = boot(&[
        ("size", "1M"),
        ("nr_inodes", "10"),
        ("mode", "750"),
        ("uid", "3"),
        ("gid", "4"),
    ]);
    let root = proc.stat("/").unwrap();
    assert_eq!(
        (root.mode, root.uid, root.gid, root.nlink),
        (0o750, 3, 4, 2)
    );
    let statvfs = proc.statvfs("/").unwrap();
    assert_eq!(
        (statvfs.blocks, statvfs.blocks_free, statvfs.block_size),
        (256, 256, 4096)
    );
    assert_eq!((statvfs.files, statvfs.files_free), (10, 9));
    assert_eq!((statvfs.fs_type.as_str(), statvfs.name_max), ("tmpfs", 255));
    proc.mkdirat(At::Cwd, "/m", 0o755).unwrap();
    for (name, value) in [("size", "x"), ("huge", "1"), ("mode", "99")] {
        let mark = kernel.log().mark();
        let args = MountArgs::default().option(name, Some(value));
        assert_eq!(proc.mount("tmpfs", "/m", args), Err(Errno::EINVAL));
        let told = kernel.log().since(mark);
        assert!(told.iter().any(|m| m.text.contains(name)), "{told:?}");
    }
    kernel.shutdown().unwrap();
}

#[test]
fn space_comes_back_with_the_last_reference() {
    let (kernel, proc) = boot(&[("size", "64K"), ("nr_inodes", "5")]);
    let free = || {
        let s = proc.statvfs("/").unwrap();
        (s.blocks_free, s.files_free)
    };
    assert_eq!(free(), (16, 4));
    let fd = create(&proc, "/f");
    assert_eq!(proc.write(fd, &[1; 100_000]), Ok(65_536));
    assert_eq!(proc.pwrite(fd, &[1], 65_536), Err(Errno::ENOSPC));
    assert_eq!(proc.stat("/f").unwrap().blocks, 128);
    assert_eq!(free(), (0, 3));
    proc.unlinkat(At::Cwd, "/f", false).unwrap();
    assert_eq!(free(), (0, 3), "it is still open");
    let mut byte = [0];
    assert_eq!(proc.pread(fd, &mut byte, 65_535), Ok(1));
    assert_eq!(byte, [1]);
    proc.close(fd).unwrap();
    assert_eq!(free(), (16, 4));
    for n in 0..4 {
        proc.close(create(&proc, &format!("/{n}"))).unwrap();
    }
    let full = proc.open("/5", OpenFlags::RDWR | OpenFlags::CREAT, 0o600);
    assert_eq!(full, Err(Errno::ENOSPC));
    assert_eq!(proc.lstat("/5").err(), Some(Errno::ENOENT));
    proc.unlinkat(At::Cwd, "/0", false).unwrap();
    assert_eq!(free(), (16, 1));
    kernel.shutdown().unwrap();
}

#[test]
fn files_are_kept_when_nobody_holds_them() {
    // More files than any cache of vnodes keeps.
    let (kernel, proc) = boot(&[]);
    for n in 0..3000 {
        let dir = format!("/d{n}");
        proc.mkdirat(At::Cwd, &dir, 0o755).unwrap();
        let fd = create(&proc, &format!("{dir}/f"));
        proc.write(fd, dir.as_bytes()).unwrap();
        proc.close(fd).unwrap();
    }
    proc.sync().unwrap();
    for n in 0..3000 {
        let dir = format!("/d{n}");
        let fd = proc.open(format!("{dir}/f"), OpenFlags::RDONLY, 0).unwrap();
        let mut data = [0; 20];
        let len = proc.read(fd, &mut data).unwrap();
        assert_eq!(&data[..len], dir.as_bytes());
        proc.close(fd).unwrap();
    }
    assert_eq!(proc.stat("/").unwrap().nlink, 3002);
    kernel.shutdown().unwrap();
}

#[test]
fn an_unnamed_file_gets_a_name() {
    let (kernel, proc) = boot(&[]);
    let flags = OpenFlags::RDWR | OpenFlags::TMPFILE;
    let fd = proc.open("/", flags, 0o640).unwrap();
    proc.write(fd, b"secret").unwrap();
    assert_eq!(proc.fstat(fd).unwrap().nlink, 0);
    proc.linkat((At::Fd(fd), b""), (At::Cwd, b"/named"), Follow::Yes)
        .unwrap();
    proc.close(fd).unwrap();
    let stat = proc.stat("/named").unwrap();
    assert_eq!((stat.nlink, stat.size, stat.mode), (1, 6, 0o640));
    kernel.shutdown().unwrap();
}

#[test]
fn kinds_links_times_and_attributes() {
    let (kernel, proc) = boot(&[]);
    let device = DeviceNumber { major: 5, minor: 7 };
    for (name, kind) in [
        ("/fifo", FileType::Fifo),
        ("/socket", FileType::Socket),
        ("/char", FileType::Character),
        ("/block", FileType::Block),
        ("/file", FileType::Regular),
    ] {
        proc.mknodat(At::Cwd, name, kind, 0o644, device).unwrap();
        let stat = proc.lstat(name).unwrap();
        assert_eq!(stat.file_type, kind);
        let is_device = matches!(kind, FileType::Block | FileType::Character);
        assert_eq!(stat.rdev == device, is_device);
    }
    proc.symlinkat(b"file", At::Cwd, "/link").unwrap();
    assert_eq!(proc.readlinkat(At::Cwd, "/link").unwrap(), b"file");
    assert_eq!(
        proc.stat("/link").unwrap().ino,
        proc.stat("/file").unwrap().ino
    );
    proc.linkat((At::Cwd, b"/file"), (At::Cwd, b"/other"), Follow::No)
        .unwrap();
    assert_eq!(proc.stat("/file").unwrap().nlink, 2);
    proc.renameat(
        (At::Cwd, b"/fifo"),
        (At::Cwd, b"/file"),
        RenameFlags::EXCHANGE,
    )
    .unwrap();
    assert_eq!(proc.lstat("/file").unwrap().file_type, FileType::Fifo);

    let time = Timespec {
        sec: -5,
        nsec: 123_456_789,
    };
    proc.utimensat(
        At::Cwd,
        "/other",
        SetTime::To(time),
        SetTime::Omit,
        Follow::Yes,
    )
    .unwrap();
    let stat = proc.stat("/other").unwrap();
    assert_eq!(stat.atime, time);
    assert!(stat.birthtime.is_some_and(|b| b.sec > 0 && b <= stat.ctime));

    proc.setxattr(
        "/other",
        b"user.a",
        b"value",
        XattrMode::Create,
        Follow::Yes,
    )
    .unwrap();
    assert_eq!(
        proc.getxattr("/other", b"user.a", Follow::Yes).unwrap(),
        b"value"
    );
    assert_eq!(
        proc.setxattr("/other", b"bad.a", b"", XattrMode::Set, Follow::Yes),
        Err(Errno::EOPNOTSUPP)
    );
    assert_eq!(
        proc.listxattr("/other", Follow::Yes).unwrap(),
        [b"user.a".to_vec()]
    );
    proc.chflagsat(At::Cwd, "/other", 2, Follow::Yes).unwrap();
    assert_eq!(
        proc.open("/other", OpenFlags::WRONLY, 0),
        Err(Errno::EPERM),
        "immutable"
    );
    kernel.shutdown().unwrap();
}

#[test]
fn holes_are_found_and_made() {
    let (kernel, proc) = boot(&[("size", "1M")]);
    let fd = create(&proc, "/sparse");
    proc.pwrite(fd, &[1; 4096], 1 << 40).unwrap();
    assert_eq!(proc.lseek(fd, Seek::Data(0)), Ok(1 << 40));
    assert_eq!(proc.lseek(fd, Seek::Hole(1 << 40)), Ok((1 << 40) + 4096));
    assert_eq!(proc.fstat(fd).unwrap().blocks, 8);
    proc.fallocate(fd, 0, 8192, true).unwrap();
    assert_eq!(proc.fstat(fd).unwrap().blocks, 24);
    assert_eq!(proc.fallocate(fd, 0, 2 << 20, true), Err(Errno::ENOSPC));
    proc.punch_hole(fd, 0, 1 << 50).unwrap();
    let stat = proc.fstat(fd).unwrap();
    assert_eq!((stat.blocks, stat.size), (0, (1 << 40) + 4096));
    assert_eq!(proc.lseek(fd, Seek::Data(0)), Err(Errno::ENXIO));
    proc.close(fd).unwrap();
    kernel.shutdown().unwrap();
}

#[test]
fn two_threads_have_their_own_files_and_share_a_directory() {
    let (kernel, proc) = boot(&[("size", "64M"), ("nr_inodes", "100000")]);
    std::thread::scope(|scope| {
        for id in 0..2_u8 {
            let proc = proc.fork();
            scope.spawn(move || {
                let own = create(&proc, &format!("/own{id}"));
                for n in 0..2000_u64 {
                    let path = format!("/t{id}.{n}");
                    let fd = create(&proc, &path);
                    proc.write(fd, &[id; 100]).unwrap();
                    proc.close(fd).unwrap();
                    proc.pwrite(own, &[id; 5000], n * 5000).unwrap();
                    if n % 2 == 0 {
                        proc.unlinkat(At::Cwd, &path, false).unwrap();
                    }
                }
                let mut data = vec![9; 10_000_000];
                assert_eq!(proc.pread(own, &mut data, 0), Ok(10_000_000));
                assert!(data.iter().all(|b| *b == id));
            });
        }
    });
    let fd = proc
        .open("/", OpenFlags::RDONLY | OpenFlags::DIRECTORY, 0)
        .unwrap();
    let mut names = 0;
    loop {
        let entries = proc.getdents(fd, 100).unwrap();
        if entries.is_empty() {
            break;
        }
        names += entries.len();
    }
    assert_eq!(names, 2 + 2 + 2000);
    assert_eq!(
        proc.statvfs("/").unwrap().files_free,
        100_000 - 1 - 2 - 2000
    );
    kernel.shutdown().unwrap();
}
