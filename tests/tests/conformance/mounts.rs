//! Mounting and unmounting.

use crate::prelude::*;
use rumpvfs::calls::MountArgs;

for_each_fs! {
    unmounting_a_busy_volume_is_ebusy,
    what_is_busy,
    a_forced_unmount_kills_open_files,
    a_forced_unmount_keeps_what_was_written needs PERSISTENT,
    unmounting_what_is_no_mount_point_is_einval,
    mounting_and_unmounting_are_for_root,
    an_unknown_type_is_enodev,
    a_missing_or_wrong_mount_point_is_refused,
    a_volume_is_mounted_once needs PERSISTENT,
    a_device_that_is_none_is_enotblk needs PERSISTENT,
    an_unknown_option_is_einval,
    a_mount_point_is_covered_and_uncovered,
    mounts_are_listed,
    statvfs_is_of_the_mount,
    numbers_of_mounts_differ,
    a_mount_below_keeps_the_mount_above_busy,
    two_kernels_are_apart,
    unmounting_gives_the_volume_free needs PERSISTENT,
    a_waiting_lock_ends_with_the_mount,
}

fn leave(t: &Fixture) {
    t.root.chdir("/").unwrap();
}

fn unmounting_a_busy_volume_is_ebusy(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    // The current directory is on it.
    fails!(p.unmount(MOUNT_POINT, false), EBUSY);
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    leave(t);
    fails!(p.unmount(MOUNT_POINT, false), EBUSY);
    // Nothing has happened to it.
    assert_eq!(p.read_all(fd).unwrap(), b"content");
    p.put("/mnt/work/file", b"changed").unwrap();
    p.close(fd).unwrap();
    p.unmount(MOUNT_POINT, false).unwrap();
    fails!(p.stat("/mnt/work"), ENOENT);
}

fn what_is_busy(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    leave(t);
    let busy = |what: &str| {
        let result = p.unmount(MOUNT_POINT, false);
        assert_eq!(result, Err(Errno::EBUSY), "{what}");
    };
    let fd = p.open("/mnt/work", O::DIRECTORY, 0).unwrap();
    busy("an open directory");
    p.close(fd).unwrap();
    let fd = p.open("/mnt/work/file", O::PATH, 0).unwrap();
    busy("a path descriptor");
    p.close(fd).unwrap();
    let fd = p.open(MOUNT_POINT, O::DIRECTORY, 0).unwrap();
    busy("its open root");
    p.close(fd).unwrap();
    let child = p.fork();
    child.chdir(MOUNT_POINT).unwrap();
    busy("a current directory");
    child.chdir("/").unwrap();
    child.chroot(MOUNT_POINT).unwrap();
    busy("a root directory");
    drop(child);
    let fd = p.open("/mnt/work/file", O::RDONLY, 0).unwrap();
    p.unlink("/mnt/work/file").unwrap();
    busy("an unlinked file");
    p.close(fd).unwrap();
    t.unmount();
}

fn a_forced_unmount_kills_open_files(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    p.put("gone", b"content").unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    let gone = p.open("gone", O::RDWR, 0).unwrap();
    p.unlink("gone").unwrap();
    let dir = p.open(".", O::DIRECTORY, 0).unwrap();
    p.write(fd, b"changed").unwrap();
    p.unmount(MOUNT_POINT, true).unwrap();
    for fd in [fd, gone] {
        fails!(p.pread(fd, &mut [0; 7], 0), EIO);
        fails!(p.pwrite(fd, b"x", 0), EIO);
        fails!(p.ftruncate(fd, 0), EIO);
        fails!(p.fsync(fd), EIO);
    }
    fails!(p.getdents(dir, 10), EIO);
    fails!(p.openat(At::Fd(dir), "file", O::RDONLY, 0), EIO | ENOENT);
    fails!(p.create("new", 0o644), EIO | ENOENT);
    for fd in [fd, gone, dir] {
        p.close(fd).unwrap();
    }
    leave(t);
    t.check();
    t.mount(MountFlags::default());
    p.names(MOUNT_POINT);
}

fn a_forced_unmount_keeps_what_was_written(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, &[3; 100_000]).unwrap();
    p.unmount(MOUNT_POINT, true).unwrap();
    leave(t);
    t.check();
    t.mount(MountFlags::default());
    assert!(p.get("/mnt/work/file").unwrap() == [3; 100_000]);
}

fn unmounting_what_is_no_mount_point_is_einval(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.unmount("/mnt/work", false), EINVAL);
    fails!(t.root.unmount("/mnt/work/file", false), EINVAL);
    fails!(t.root.unmount("/none", false), ENOENT | EINVAL);
    fails!(t.root.unmount("", false), ENOENT | EINVAL);
}

fn mounting_and_unmounting_are_for_root(t: &Fixture) {
    t.root.mkdir("on", 0o777).unwrap();
    fails!(t.user(100).mount("tmpfs", "on", MountArgs::default()), EPERM);
    fails!(t.user(100).unmount(MOUNT_POINT, false), EPERM);
    fails!(t.user(100).unmount(MOUNT_POINT, true), EPERM);
}

fn an_unknown_type_is_enodev(t: &Fixture) {
    t.root.mkdir("on", 0o755).unwrap();
    fails!(t.root.mount("nofs", "on", MountArgs::default()), ENODEV);
    fails!(t.root.mount("", "on", MountArgs::default()), ENODEV);
}

fn a_missing_or_wrong_mount_point_is_refused(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.mount("tmpfs", "none", MountArgs::default()), ENOENT);
    fails!(t.root.mount("tmpfs", "file", MountArgs::default()), ENOTDIR);
    fails!(t.root.mount("tmpfs", "", MountArgs::default()), ENOENT);
}

fn a_volume_is_mounted_once(t: &Fixture) {
    t.root.mkdir("/second", 0o755).unwrap();
    let args = t.mount_args(MountFlags::default());
    fails!(t.root.mount(t.fs_type(), "/second", args.clone()), EBUSY);
    fails!(t.root.mount(t.fs_type(), "/second", args.read_only()), EBUSY);
    assert!(t.root.names("/second").is_empty());
}

fn a_device_that_is_none_is_enotblk(t: &Fixture) {
    t.root.put("/file", b"no device").unwrap();
    t.root.mkdir("/on", 0o755).unwrap();
    let mount = |path: &str| t.root.mount(t.fs_type(), "/on", MountArgs::device(path));
    fails!(mount("/file"), ENOTBLK);
    fails!(mount("/on"), ENOTBLK);
    fails!(mount("/none"), ENOENT);
    t.root.mknod("/nothing", FileType::Block, 0o600).unwrap();
    fails!(mount("/nothing"), ENXIO);
    // A driver of devices needs one.
    fails!(t.root.mount(t.fs_type(), "/on", MountArgs::default()), EINVAL);
    fails!(t.root.mount("tmpfs", "/on", t.mount_args(MountFlags::default())), EINVAL | EBUSY);
}

fn an_unknown_option_is_einval(t: &Fixture) {
    t.unmount();
    for (name, value) in [("nonsense", None), ("nonsense", Some("1"))] {
        let args = t.mount_args(MountFlags::default()).option(name, value);
        fails!(t.root.mount(t.fs_type(), MOUNT_POINT, args), EINVAL);
    }
    // A refused mount leaves the volume and the mount point as they were.
    t.mount(MountFlags::default());
}

fn a_mount_point_is_covered_and_uncovered(t: &Fixture) {
    let p = &t.root;
    p.mkdir("on", 0o755).unwrap();
    p.create("on/below", 0o644).unwrap();
    let below = p.stat("on").unwrap();
    p.mount("tmpfs", "on", MountArgs::default()).unwrap();
    assert!(p.names("on").is_empty());
    assert_ne!(p.stat("on").unwrap().dev, below.dev);
    p.create("on/above", 0o644).unwrap();
    fails!(p.stat("on/below"), ENOENT);
    assert_eq!(p.ino("on/.."), p.ino("."));
    fails!(p.mount("tmpfs", "on", MountArgs::default()), EBUSY);
    p.unmount("on", false).unwrap();
    assert_eq!(p.names("on"), ["below"]);
    assert_eq!(p.stat("on").unwrap().dev, below.dev);
    assert!(!p.exists("on/above"));
}

fn mounts_are_listed(t: &Fixture) {
    let all = t.root.getvfsstat();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].on, "/");
    assert_eq!((all[1].on.as_str(), all[1].fs_type.as_str()), (MOUNT_POINT, t.fs_type()));
    assert_eq!(all[1].fsid, t.root.stat(MOUNT_POINT).unwrap().dev);
    t.unmount();
    assert_eq!(t.root.getvfsstat().len(), 1);
}

fn statvfs_is_of_the_mount(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    let stat = p.statvfs("file").unwrap();
    assert_eq!(p.fstatvfs(fd).as_ref(), Ok(&stat));
    assert_eq!(p.statvfs(".").as_ref(), Ok(&stat));
    assert_eq!((stat.name_max, stat.read_only), (t.numbers().name_max, false));
    assert!(stat.block_size.is_power_of_two());
    assert!(stat.blocks > 0 && stat.blocks_free <= stat.blocks);
    assert!(stat.blocks_available <= stat.blocks_free);
    assert!(stat.files_free <= stat.files);
    assert_eq!(stat.on, MOUNT_POINT);
    fails!(p.statvfs("none"), ENOENT);
    fails!(p.fstatvfs(9999), EBADF);
    if t.caps().contains(Cap::NODES) {
        p.mkfifo("fifo", 0o644).unwrap();
        assert_eq!(p.statvfs("fifo").unwrap().fsid, stat.fsid);
    }
}

fn numbers_of_mounts_differ(t: &Fixture) {
    let stat = |path: &str| t.root.stat(path).unwrap().dev;
    assert_ne!(stat("/"), stat(MOUNT_POINT));
    assert_eq!(stat("."), stat(MOUNT_POINT));
}

fn a_mount_below_keeps_the_mount_above_busy(t: &Fixture) {
    t.root.mkdir("on", 0o755).unwrap();
    t.root.mount("tmpfs", "on", MountArgs::default()).unwrap();
    leave(t);
    fails!(t.root.unmount(MOUNT_POINT, false), EBUSY);
    fails!(t.root.unmount(MOUNT_POINT, true), EBUSY);
    t.root.unmount("/mnt/work/on", false).unwrap();
    t.unmount();
}

fn two_kernels_are_apart(t: &Fixture) {
    let other = rump_tests::mounted::boot();
    let q = other.init_proc();
    q.put("/file", b"of the other").unwrap();
    t.root.put("/file", b"of this").unwrap();
    assert_eq!(q.get("/file").unwrap(), b"of the other");
    fails!(q.stat("/mnt"), ENOENT);
    other.shutdown().unwrap();
    assert_eq!(t.root.get("/file").unwrap(), b"of this");
    t.root.put("file", b"still here").unwrap();
}

fn unmounting_gives_the_volume_free(t: &Fixture) {
    for round in 0..5u8 {
        t.root.put("file", &[round; 3000]).unwrap();
        t.mount_again(MountFlags::default());
        assert_eq!(t.root.get("file").unwrap(), [round; 3000]);
    }
}

fn a_waiting_lock_ends_with_the_mount(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let a = t.root.open("file", O::RDWR, 0).unwrap();
    let b = t.root.open("file", O::RDWR, 0).unwrap();
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    let p = t.root.clone();
    let waiter = in_background(move || p.flock(b, Flock::Exclusive, false));
    assert!(!waiter.is_finished());
    t.root.unmount(MOUNT_POINT, true).unwrap();
    fails!(waiter.join().unwrap(), EIO);
    leave(t);
}
