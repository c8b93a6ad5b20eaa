//! Several kernels in one process: each has its own mounts, descriptors and files; what one reads, another can write.

use rump_tests::{
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, e2fsck, mke2fs, run},
    tree::{self, Kind},
};
use rumpkern::{Errno, FileType, OpenFlags, Proc};
use rumpuser_posix::{Access, HostFile};
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, Follow, MountArgs, SetTime},
};
use std::{fs, os::unix::fs::symlink, sync::Arc, thread};

/// Copies what is below `path` from one kernel to another.
fn copy(from: &Proc, to: &Proc, path: &[u8]) {
    for name in tree::list(from, path).expect("the source lists") {
        let path = [path, b"/", &name].concat();
        let stat = from.lstat(&path).expect("a listed name is there");
        match stat.file_type {
            FileType::Directory => {
                if name != b"lost+found" {
                    to.mkdirat(At::Cwd, &path, stat.mode).expect("mkdir");
                    copy(from, to, &path);
                }
            }
            FileType::Symlink => {
                let target = from.readlinkat(At::Cwd, &path).expect("readlink");
                to.symlinkat(&target, At::Cwd, &path).expect("symlink");
            }
            FileType::Regular => {
                let data = tree::read_file(from, &path).expect("read");
                let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::EXCL;
                let fd = to.open(&path, flags, stat.mode).expect("create");
                assert_eq!(to.write(fd, &data), Ok(data.len()));
                to.close(fd).expect("close");
            }
            other => panic!("no {other:?} in this tree"),
        }
        let mtime = SetTime::To(stat.mtime);
        to.utimensat(At::Cwd, &path, SetTime::Omit, mtime, Follow::No)
            .expect("utimens");
    }
}

#[test]
fn two_kernels_copy_between_their_images() {
    let dir = TempDir::new();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("a/b")).expect("folders");
    for number in 0..300u32 {
        let data = number
            .to_le_bytes()
            .repeat(usize::try_from(number).expect("small") * 50);
        fs::write(source.join(format!("a/b/file{number}")), data).expect("a file");
    }
    symlink("b/file7", source.join("a/link")).expect("a link");
    let (one, two) = (dir.file("one.img"), dir.file("two.img"));
    mke2fs(
        &one,
        &["-t", "ext4", "-d", source.to_str().expect("UTF-8")],
        "64M",
    );
    mke2fs(&two, &["-t", "ext2", "-b", "1024"], "64M");

    let from = Mounted::new("ext2fs", &one, true);
    let to = Mounted::new("ext2fs", &two, false);
    assert_eq!(
        to.proc.stat(format!("{MOUNT_POINT}/a")).map(drop),
        Err(Errno::ENOENT)
    );
    copy(&from.proc, &to.proc, MOUNT_POINT.as_bytes());
    let expected = tree::from_mount(&from.proc, MOUNT_POINT);
    from.unmount();
    to.unmount();

    e2fsck(&one);
    e2fsck(&two);
    let again = Mounted::new("ext2fs", &two, true);
    let mut found = tree::from_mount(&again.proc, MOUNT_POINT);
    again.unmount();
    // The root's own time was not copied.
    found.get_mut(&b""[..]).expect("the root").mtime = expected[&b""[..]].mtime;
    tree::assert_same("the copy", &expected, &found);
    // And what another program reads.
    let out = run("debugfs", &["-R", "cat /a/b/file299", &two]);
    assert!(out.len() >= 299 * 50 * 4 / 2, "debugfs reads the copy");
}

#[test]
fn many_kernels_at_once_do_not_meet() {
    let threads: Vec<_> = (0..8u8)
        .map(|number| {
            thread::spawn(move || {
                let kernel = rump_tests::mounted::boot();
                let proc = kernel.init_proc();
                for round in 0..50u8 {
                    let name = format!("/file{round}");
                    let fd = proc.open(
                        &name,
                        OpenFlags::RDWR | OpenFlags::CREAT | OpenFlags::EXCL,
                        0o600,
                    );
                    let fd = fd.expect("nobody else makes files here");
                    assert_eq!(proc.write(fd, &[number; 5_000]), Ok(5_000));
                    proc.close(fd).expect("close");
                }
                let tree = tree::from_mount(&proc, "");
                let own = tree.values().filter_map(|node| match &node.kind {
                    Kind::Regular(data) => Some(data),
                    _ => None,
                });
                assert_eq!(
                    own.inspect(|data| assert!(data.iter().all(|b| *b == number)))
                        .count(),
                    50
                );
                kernel.shutdown().expect("shutdown");
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a kernel's thread");
    }
}

#[test]
fn a_kernel_lets_go_of_its_device() {
    let dir = TempDir::new();
    for options in [["-t", "ext4"], ["-t", "ext2"]] {
        let image = dir.file("device.img");
        mke2fs(&image, &options, "16M");
        for read_only in [true, false] {
            let access = if read_only {
                Access::ReadOnly
            } else {
                Access::ReadWrite
            };
            let device = Arc::new(HostFile::open(&image, access).expect("the image opens"));
            let kernel = rump_tests::mounted::boot();
            let proc = kernel.init_proc();
            kernel
                .etfs_register("/dev/image", device.clone())
                .expect("etfs");
            proc.mkdirat(At::Cwd, MOUNT_POINT, 0o755)
                .expect("a mount point");
            let mut args = MountArgs::device("/dev/image");
            if read_only {
                args = args.read_only();
            }
            proc.mount("ext2fs", MOUNT_POINT, args).expect("mount");
            if !read_only {
                proc.mkdirat(At::Cwd, format!("{MOUNT_POINT}/d"), 0o755)
                    .expect("mkdir");
            }
            proc.unmount(MOUNT_POINT, false).expect("unmount");
            kernel.etfs_remove("/dev/image").expect("etfs_remove");
            assert_eq!(
                Arc::strong_count(&device),
                1,
                "{options:?}: unmounted, read-only: {read_only}"
            );
            kernel.shutdown().expect("shutdown");
        }
        e2fsck(&image);
    }
}
