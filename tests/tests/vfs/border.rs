//! Bugs in the kernel's own code: the call gives `EIO`, a mount whose state may be half changed goes out of service, and
//! everything else goes on.

use crate::*;
use rump_tests::{
    conformance::patiently,
    tools::{TempDir, e2fsck, mke2fs},
    troubled::{TroubledDisk, TroubledHost},
};
use rumpkern::FileType;
use rumpvfs::{
    KernelVfs as _,
    calls::{MountArgs, SetTime},
    fs::XattrMode,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A kernel whose clock goes mad when told to, with a file system in memory on `/mnt`.
fn with_clock() -> (Arc<TroubledHost>, Kernel, Proc) {
    let host = TroubledHost::new();
    let kernel = Kernel::builder(host.clone())
        .component(rumpfs_tmpfs::component())
        .component(rumpfs_ext2fs::component())
        .boot()
        .unwrap();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    p.mount("tmpfs", "/mnt", MountArgs::default()).unwrap();
    mkdir(&p, "/mnt/dir").unwrap();
    write(&p, "/mnt/file", b"content");
    (host, kernel, p)
}

fn told(kernel: &Kernel) -> Vec<String> {
    let messages = kernel.log().since(0);
    messages.into_iter().map(|m| m.text).collect()
}

#[test]
fn a_panic_under_the_lock_of_an_inode_takes_the_mount_out_of_service() {
    patiently(|| {
        let (host, kernel, p) = with_clock();
        let fd = p.open("/mnt/file", OpenFlags::RDWR, 0).unwrap();
        host.panic_at_next_time();
        fails(p.pwrite(fd, b"new", 0), Errno::EIO);
        assert!(!host.is_mad());
        let told = told(&kernel);
        let text = "panic: the clock is mad, at tests/src/troubled.rs:";
        assert!(told[0].starts_with(text), "{told:?}");
        assert_eq!(told[1], "tmpfs: out of service after a panic");

        fails(p.fstat(fd), Errno::EIO);
        fails(p.stat("/mnt/file"), Errno::EIO);
        fails(p.pread(fd, &mut [0], 0), Errno::EIO);
        fails(create(&p, "/mnt/new"), Errno::EIO);
        // Everything else goes on, the process with its descriptors among it.
        write(&p, "/fine", b"fine");
        assert_eq!(read(&p, "/fine").unwrap(), b"fine");
        p.close(fd).unwrap();
        fails(p.unmount("/mnt", true), Errno::EIO);
        p.mount("tmpfs", "/mnt", MountArgs::default()).unwrap();
        write(&p, "/mnt/file", b"again");
        kernel.shutdown().unwrap();
    });
}

#[test]
fn a_panic_under_no_lock_costs_that_call_alone() {
    patiently(|| {
        let (host, kernel, p) = with_clock();
        let fd = p.open("/mnt/file", OpenFlags::RDONLY, 0).unwrap();
        host.panic_at_next_time();
        // The time of the access is taken when the lock is free again.
        fails(p.read(fd, &mut [0; 4]), Errno::EIO);
        assert_eq!(told(&kernel).len(), 1);
        let mut buf = [0; 4];
        assert_eq!(p.read(fd, &mut buf), Ok(4));
        assert_eq!(&buf, b"cont", "the offset did not move");
        p.close(fd).unwrap();
        p.unmount("/mnt", false).unwrap();
        kernel.shutdown().unwrap();
    });
}

type Call = fn(&Proc) -> Result<()>;

/// Calls that change something and take the time for that.
const CALLS: [(&str, Call); 12] = [
    ("open", |p| create(p, "/mnt/new").map(drop)),
    ("mkdir", |p| mkdir(p, "/mnt/new")),
    ("mkfifo", |p| {
        p.mknodat(
            At::Cwd,
            "/mnt/new",
            FileType::Fifo,
            0o644,
            Default::default(),
        )
    }),
    ("symlink", |p| symlink(p, "file", "/mnt/new")),
    ("link", |p| link(p, "/mnt/file", "/mnt/new")),
    ("unlink", |p| unlink(p, "/mnt/file")),
    ("rmdir", |p| rmdir(p, "/mnt/dir")),
    ("rename", |p| rename(p, "/mnt/file", "/mnt/new")),
    ("rename across", |p| rename(p, "/mnt/file", "/mnt/dir/new")),
    ("truncate", |p| p.truncate("/mnt/file", 2)),
    ("utimens", |p| {
        let now = SetTime::Now;
        p.utimensat(At::Cwd, "/mnt/file", now, now, Follow::Yes)
    }),
    ("setxattr", |p| {
        let mode = XattrMode::Set;
        p.setxattr("/mnt/file", b"user.name", b"value", mode, Follow::Yes)
    }),
];

#[test]
fn no_call_leaves_a_lock_behind() {
    patiently(|| {
        for (name, call) in CALLS {
            let (host, kernel, p) = with_clock();
            host.panic_at_next_time();
            fails(call(&p), Errno::EIO);
            assert!(!host.is_mad(), "{name} takes no time");
            // Whether the mount is lost or not, nobody waits for ever.
            let lost = told(&kernel).iter().any(|t| t.starts_with("tmpfs: "));
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let p = p.fork();
                    std::thread::spawn(move || {
                        for (other, call) in CALLS {
                            let result = call(&p);
                            if lost {
                                assert_eq!(result, Err(Errno::EIO), "{other} after {name}");
                            } else {
                                assert_ne!(result, Err(Errno::EIO), "{other} after {name}");
                            }
                        }
                    })
                })
                .collect();
            for other in others {
                other.join().unwrap();
            }
            let ended = p.unmount("/mnt", lost);
            assert_eq!(ended.is_err(), lost, "{name}: {ended:?}");
            kernel.shutdown().unwrap();
        }
    });
}

/// A kernel with an ext4 on a disk that goes mad when told to, mounted on `/mnt`, with a file.
fn with_disk() -> (Arc<TroubledDisk>, Kernel, Proc) {
    let folder = TempDir::new();
    let image = folder.file("image");
    mke2fs(&image, &["-t", "ext4"], "8M");
    let disk = TroubledDisk::new(&std::fs::read(&image).unwrap());
    let (_, kernel, p) = with_clock();
    p.unmount("/mnt", false).unwrap();
    kernel.etfs_register("/dev/disk", disk.clone()).unwrap();
    mount(&p).unwrap();
    write(&p, "/mnt/file", &[1; 9000]);
    p.sync().unwrap();
    (disk, kernel, p)
}

fn mount(p: &Proc) -> Result<()> {
    p.mount("ext2fs", "/mnt", MountArgs::device("/dev/disk"))
}

/// Ends the kernel; what is on the disk is sound, and `/mnt/file` has this content.
fn check(disk: &TroubledDisk, kernel: &Kernel, p: &Proc, content: &[u8]) {
    assert_eq!(read(p, "/mnt/file").unwrap(), content);
    p.unmount("/mnt", false).unwrap();
    mount(p).unwrap();
    assert_eq!(read(p, "/mnt/file").unwrap(), content);
    kernel.shutdown().unwrap();
    let folder = TempDir::new();
    let image = folder.file("image");
    std::fs::write(&image, disk.content()).unwrap();
    e2fsck(&image);
}

#[test]
fn a_disk_that_panics_under_a_read_costs_the_mount_and_not_the_data() {
    patiently(|| {
        let (disk, kernel, p) = with_disk();
        p.unmount("/mnt", false).unwrap();
        mount(&p).unwrap();
        let fd = p.open("/mnt/file", OpenFlags::RDONLY, 0).unwrap();
        disk.panic_at_reads(1);
        fails(p.pread(fd, &mut [0; 10], 0), Errno::EIO);
        fails(p.pread(fd, &mut [0; 10], 0), Errno::EIO);
        let told = told(&kernel);
        assert!(told[0].starts_with("panic: the disk is mad: read at "));
        assert_eq!(told[1], "ext2fs: /dev/disk: out of service after a panic");
        p.close(fd).unwrap();
        fails(p.unmount("/mnt", false), Errno::EIO);
        mount(&p).unwrap();
        check(&disk, &kernel, &p, &[1; 9000]);
    });
}

#[test]
fn data_that_a_panic_kept_from_the_disk_is_written_the_next_time() {
    patiently(|| {
        let (disk, kernel, p) = with_disk();
        let fd = p.open("/mnt/file", OpenFlags::WRONLY, 0).unwrap();
        p.pwrite(fd, &[2; 9000], 0).unwrap();
        disk.panic_at_writes(1);
        fails(p.fsync(fd), Errno::EIO);
        assert_eq!(told(&kernel).len(), 1, "the mount goes on");
        // The error of the write-back is told to fsync once, as any other.
        fails(p.fsync(fd), Errno::EIO);
        p.fsync(fd).unwrap();
        p.close(fd).unwrap();
        check(&disk, &kernel, &p, &[2; 9000]);
    });
}

#[test]
fn an_unmount_goes_through_though_the_disk_panics() {
    patiently(|| {
        let (disk, kernel, p) = with_disk();
        write(&p, "/mnt/file", &[3; 9000]);
        disk.panic_at_writes(1);
        fails(p.unmount("/mnt", false), Errno::EIO);
        assert_eq!(p.getvfsstat().len(), 1);
        // The device is free again.
        mount(&p).unwrap();
        check(&disk, &kernel, &p, &[3; 9000]);
    });
}

#[test]
fn a_mount_that_panics_leaves_its_device_and_its_place_free() {
    patiently(|| {
        let (disk, kernel, p) = with_disk();
        p.unmount("/mnt", false).unwrap();
        disk.panic_at_reads(1);
        fails(mount(&p), Errno::EIO);
        mount(&p).unwrap();
        check(&disk, &kernel, &p, &[1; 9000]);
    });
}

#[test]
fn the_syncer_goes_on_after_a_panic() {
    patiently(|| {
        let (disk, kernel, p) = with_disk();
        write(&p, "/mnt/file", &[4; 9000]);
        disk.panic_at_writes(1);
        kernel.start_syncer(Duration::from_millis(5)).unwrap();
        let start = Instant::now();
        let written = || {
            let content = disk.content();
            content.windows(4096).any(|bytes| bytes == [4; 4096])
        };
        while !written() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(20));
        }
        let told = told(&kernel);
        let text = "ext2fs: /dev/disk: panic: the disk is mad: write at ";
        assert!(told[0].starts_with(text), "{told:?}");
        check(&disk, &kernel, &p, &[4; 9000]);
    });
}
