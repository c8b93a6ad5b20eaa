//! Mount, unmount, remount, and read-only file systems.

use crate::*;
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::BlockDevice;
use rumpvfs::{
    KernelVfs as _,
    calls::{MountArgs, MountFlags, SetTime},
    fs::XattrMode,
};
use std::sync::{Arc, Mutex};

/// A disk in memory.
struct Disk(Mutex<Vec<u8>>);

impl BlockDevice for Disk {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let at = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let disk = self.0.lock().unwrap();
        buf.copy_from_slice(disk.get(at..at + buf.len()).ok_or(Errno::EIO)?);
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let at = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let mut disk = self.0.lock().unwrap();
        disk.get_mut(at..at + data.len())
            .ok_or(Errno::EIO)?
            .copy_from_slice(data);
        Ok(())
    }
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn disk(len: usize) -> Arc<Disk> {
    Arc::new(Disk(Mutex::new(vec![0; len])))
}

fn mount_at(p: &Proc, on: &str) -> Result<()> {
    p.mount("tmpfs", on, MountArgs::default())
}

#[test]
fn mounts_cover_and_uncover() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    write(&p, "/mnt/under", b"");
    let under = p.stat("/mnt").unwrap();
    mount_at(&p, "/mnt").unwrap();
    let over = p.stat("/mnt").unwrap();
    assert_ne!(over.dev, under.dev);
    assert!(!exists(&p, "/mnt/under"));
    write(&p, "/mnt/f", b"");
    mkdir(&p, "/mnt/d").unwrap();
    assert_eq!(p.stat("/mnt/..").unwrap(), p.stat("/").unwrap());
    assert_eq!(p.stat("/mnt/d/../..").unwrap(), p.stat("/").unwrap());
    fails(link(&p, "/mnt/f", "/f"), Errno::EXDEV);
    fails(rename(&p, "/mnt/f", "/f"), Errno::EXDEV);
    fails(rmdir(&p, "/mnt"), Errno::EBUSY);
    fails(rename(&p, "/mnt", "/other"), Errno::EBUSY);
    mkdir(&p, "/free").unwrap();
    fails(rename(&p, "/free", "/mnt"), Errno::EBUSY);
    // The path of a directory goes over the border.
    let q = p.fork();
    q.chdir("/mnt/d").unwrap();
    assert_eq!(q.getcwd().unwrap(), b"/mnt/d");
    fails(p.unmount("/mnt", false), Errno::EBUSY);
    q.chdir("/").unwrap();
    let listed = p.getvfsstat();
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (listed[0].on.as_str(), listed[1].on.as_str()),
        ("/", "/mnt")
    );
    fails(mount_at(&p, "/mnt"), Errno::EBUSY);
    p.unmount("/mnt", false).unwrap();
    assert_eq!(p.stat("/mnt").unwrap(), under);
    assert!(exists(&p, "/mnt/under"));
    fails(p.unmount("/mnt", false), Errno::EINVAL);
    rename(&p, "/mnt", "/other").unwrap();
}

#[test]
fn mounting_is_checked() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    write(&p, "/f", b"");
    fails(p.mount("nofs", "/mnt", MountArgs::default()), Errno::ENODEV);
    fails(mount_at(&p, "/none"), Errno::ENOENT);
    fails(mount_at(&p, "/f"), Errno::ENOTDIR);
    fails(mount_at(&user(&kernel, 1, 1), "/mnt"), Errno::EPERM);
    fails(
        p.mount("tmpfs", "/mnt", MountArgs::device("/f")),
        Errno::ENOTBLK,
    );
    kernel.etfs_register("/dev/disk", disk(4096)).unwrap();
    fails(
        p.mount("tmpfs", "/mnt", MountArgs::device("/dev/disk")),
        Errno::EINVAL,
    );
    fails(
        p.mount(
            "tmpfs",
            "/mnt",
            MountArgs::default().option("no such option", None),
        ),
        Errno::EINVAL,
    );
    assert_eq!(p.getvfsstat().len(), 1);
    fails(user(&kernel, 1, 1).unmount("/", false), Errno::EPERM);
}

#[test]
fn mounts_nest() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/a").unwrap();
    mount_at(&p, "/a").unwrap();
    mkdir(&p, "/a/b").unwrap();
    mount_at(&p, "/a/b").unwrap();
    write(&p, "/a/b/f", b"");
    fails(p.unmount("/a", false), Errno::EBUSY);
    fails(p.unmount("/a", true), Errno::EBUSY);
    assert_eq!(p.stat("/a/b/../../a/b/f").unwrap().nlink, 1);
    p.unmount("/a/b", false).unwrap();
    p.unmount("/a", false).unwrap();
    // All goes at the end, in order.
    mount_at(&p, "/a").unwrap();
    mkdir(&p, "/a/b").unwrap();
    mount_at(&p, "/a/b").unwrap();
    let _open = create(&p, "/a/b/f").unwrap();
    kernel.shutdown().unwrap();
    fails(p.stat("/"), Errno::ENOENT);
}

#[test]
fn force_kills_what_is_open() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    mount_at(&p, "/mnt").unwrap();
    mkdir(&p, "/mnt/d").unwrap();
    let fd = create(&p, "/mnt/d/f").unwrap();
    p.write(fd, b"data").unwrap();
    let q = p.fork();
    q.chdir("/mnt/d").unwrap();
    fails(p.unmount("/mnt", false), Errno::EBUSY);
    assert_eq!(p.pread(fd, &mut [0; 4], 0), Ok(4));
    p.unmount("/mnt", true).unwrap();
    fails(p.pread(fd, &mut [0; 4], 0), Errno::EIO);
    fails(p.pwrite(fd, b"x", 0), Errno::EIO);
    fails(p.fstat(fd), Errno::EIO);
    fails(q.stat("f"), Errno::EIO);
    fails(q.stat("."), Errno::EIO);
    fails(create(&q, "g"), Errno::EIO);
    p.close(fd).unwrap();
    q.chdir("/mnt").unwrap();
    // The place is free again.
    mount_at(&p, "/mnt").unwrap();
    assert_eq!(list(&p, "/mnt"), [".", ".."]);
}

#[test]
fn read_only_refuses_every_change() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    mount_at(&p, "/mnt").unwrap();
    mkdir(&p, "/mnt/d").unwrap();
    write(&p, "/mnt/f", b"data");
    symlink(&p, "f", "/mnt/l").unwrap();
    let fd = p.open("/mnt/f", OpenFlags::RDWR, 0).unwrap();
    fails(p.remount("/mnt", MountFlags::RDONLY), Errno::EBUSY);
    p.close(fd).unwrap();
    let fd = p.open("/mnt/f", OpenFlags::RDONLY, 0).unwrap();
    p.remount("/mnt", MountFlags::RDONLY).unwrap();
    assert!(p.statvfs("/mnt").unwrap().read_only);
    let before = p.stat("/mnt/f").unwrap();
    p.read(fd, &mut [0; 4]).unwrap();
    assert_eq!(p.stat("/mnt/f").unwrap(), before);

    fails(p.open("/mnt/f", OpenFlags::WRONLY, 0), Errno::EROFS);
    fails(
        p.open("/mnt/f", OpenFlags::RDONLY | OpenFlags::TRUNC, 0),
        Errno::EROFS,
    );
    fails(create(&p, "/mnt/new"), Errno::EROFS);
    fails(create(&p, "/mnt/f"), Errno::EROFS);
    p.open("/mnt/f", OpenFlags::CREAT | OpenFlags::RDONLY, 0)
        .unwrap();
    fails(mkdir(&p, "/mnt/new"), Errno::EROFS);
    fails(mkdir(&p, "/mnt/d"), Errno::EEXIST);
    fails(symlink(&p, "x", "/mnt/new"), Errno::EROFS);
    fails(link(&p, "/mnt/f", "/mnt/new"), Errno::EROFS);
    let node = DeviceNumber::default();
    fails(
        p.mknodat(At::Cwd, "/mnt/new", FileType::Fifo, 0o600, node),
        Errno::EROFS,
    );
    fails(unlink(&p, "/mnt/f"), Errno::EROFS);
    fails(rmdir(&p, "/mnt/d"), Errno::EROFS);
    fails(rename(&p, "/mnt/f", "/mnt/g"), Errno::EROFS);
    fails(p.truncate("/mnt/f", 0), Errno::EROFS);
    fails(
        p.fchmodat(At::Cwd, "/mnt/f", 0o600, Follow::Yes),
        Errno::EROFS,
    );
    fails(
        p.fchownat(At::Cwd, "/mnt/f", Some(1), None, Follow::Yes),
        Errno::EROFS,
    );
    fails(
        p.utimensat(At::Cwd, "/mnt/f", SetTime::Now, SetTime::Now, Follow::Yes),
        Errno::EROFS,
    );
    fails(
        p.setxattr("/mnt/f", b"user.a", b"", XattrMode::Set, Follow::Yes),
        Errno::EROFS,
    );
    fails(
        p.faccessat(At::Cwd, "/mnt/f", rumpvfs::calls::Access::W, Follow::Yes),
        Errno::EROFS,
    );
    assert_eq!(read(&p, "/mnt/l").unwrap(), b"data");
    p.remount("/mnt", MountFlags::empty()).unwrap();
    write(&p, "/mnt/f", b"more");
    fails(p.remount("/mnt/d", MountFlags::empty()), Errno::EINVAL);
}

#[test]
fn flags_of_a_mount_count() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    kernel.etfs_register("/dev/disk", disk(4096)).unwrap();
    mount_at(&p, "/mnt").unwrap();
    let rdev = p.stat("/dev/disk").unwrap().rdev;
    p.mknodat(At::Cwd, "/mnt/disk", FileType::Block, 0o600, rdev)
        .unwrap();
    p.open("/mnt/disk", OpenFlags::RDONLY, 0).unwrap();
    p.remount("/mnt", MountFlags::NODEV).unwrap();
    fails(p.open("/mnt/disk", OpenFlags::RDONLY, 0), Errno::EACCES);

    write(&p, "/mnt/f", b"data");
    p.utimensat(
        At::Cwd,
        "/mnt/f",
        SetTime::To(rumpkern::Timespec::from_secs(1)),
        SetTime::Omit,
        Follow::Yes,
    )
    .unwrap();
    p.remount("/mnt", MountFlags::NOATIME).unwrap();
    read(&p, "/mnt/f").unwrap();
    assert_eq!(p.stat("/mnt/f").unwrap().atime.sec, 1);
    p.remount("/mnt", MountFlags::empty()).unwrap();
    let fd = p
        .open("/mnt/f", OpenFlags::RDONLY | OpenFlags::NOATIME, 0)
        .unwrap();
    p.read(fd, &mut [0]).unwrap();
    assert_eq!(p.stat("/mnt/f").unwrap().atime.sec, 1);
    read(&p, "/mnt/f").unwrap();
    let read_once = p.stat("/mnt/f").unwrap().atime;
    assert!(read_once.sec > 1);
    // Newer than the last change and than yesterday: it stays, unless each read is asked for.
    read(&p, "/mnt/f").unwrap();
    assert_eq!(p.stat("/mnt/f").unwrap().atime, read_once);
    p.remount("/mnt", MountFlags::STRICTATIME).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2));
    read(&p, "/mnt/f").unwrap();
    assert!(p.stat("/mnt/f").unwrap().atime > read_once);
}

#[test]
fn devices_are_shown_and_hidden() {
    let kernel = boot();
    let p = kernel.init_proc();
    fails(kernel.etfs_register("dev/disk", disk(1)), Errno::EINVAL);
    let device = disk(1 << 16);
    kernel
        .etfs_register("/dev/deep/disk", device.clone())
        .unwrap();
    fails(
        kernel.etfs_register("/dev/deep/disk", disk(1)),
        Errno::EEXIST,
    );
    let stat = p.stat("/dev/deep/disk").unwrap();
    assert_eq!(stat.file_type, FileType::Block);
    let fd = p.open("/dev/deep/disk", OpenFlags::RDWR, 0).unwrap();
    assert_eq!(p.pwrite(fd, b"raw", 1000), Ok(3));
    assert_eq!(&device.0.lock().unwrap()[1000..1003], b"raw");
    let mut data = [0; 3];
    assert_eq!(p.pread(fd, &mut data, 1000), Ok(3));
    assert_eq!(&data, b"raw");
    assert_eq!(p.pread(fd, &mut [0; 10], (1 << 16) - 4), Ok(4));
    assert_eq!(p.pread(fd, &mut [0; 10], 1 << 20), Ok(0));
    fails(p.pwrite(fd, b"x", 1 << 16), Errno::ENOSPC);
    assert_eq!(p.lseek(fd, rumpkern::Seek::End(0)), Ok(1 << 16));
    fails(kernel.etfs_remove("/dev/deep/disk"), Errno::EBUSY);
    p.close(fd).unwrap();
    kernel.etfs_remove("/dev/deep/disk").unwrap();
    assert!(!exists(&p, "/dev/deep/disk"));
    fails(kernel.etfs_remove("/dev/deep/disk"), Errno::ENOENT);
}

#[test]
fn handles_outlive_names() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/d/f", b"data");
    let handle = p.getfh("/d/f", Follow::Yes).unwrap();
    fails(user(&kernel, 1, 1).getfh("/d/f", Follow::Yes), Errno::EPERM);
    rename(&p, "/d/f", "/g").unwrap();
    let fd = p.fhopen(handle, OpenFlags::RDONLY).unwrap();
    assert_eq!(p.read(fd, &mut [0; 9]), Ok(4));
    p.close(fd).unwrap();
    fails(
        user(&kernel, 1, 1).fhopen(handle, OpenFlags::RDONLY),
        Errno::EPERM,
    );
    unlink(&p, "/g").unwrap();
    fails(p.fhopen(handle, OpenFlags::RDONLY), Errno::ESTALE);
    // Even when the number is used again.
    for number in 0..10 {
        write(&p, &format!("/n{number}"), b"");
    }
    fails(p.fhopen(handle, OpenFlags::RDONLY), Errno::ESTALE);
}
