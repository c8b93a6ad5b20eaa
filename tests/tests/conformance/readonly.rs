//! Read-only mounts: by remount and from the start.

use crate::prelude::*;

for_each_fs! {
    every_modifying_call_is_erofs,
    reading_works,
    what_does_not_exist_comes_first_or_last,
    access_for_writing_is_erofs,
    access_times_stay,
    remounting_is_ebusy_while_a_file_is_open_for_writing,
    remounting_is_ebusy_while_an_unlinked_file_is_open,
    back_to_writing,
    remounting_is_for_root,
    a_mount_that_was_never_writable needs PERSISTENT,
    nothing_is_written_to_the_device needs PERSISTENT,
    fifos_and_devices_may_be_written needs NODES,
    what_was_written_before_is_there,
}

fn prepare(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    p.mkdir("dir/empty", 0o777).unwrap();
    p.put("file", b"content").unwrap();
    p.put("dir/other", b"other").unwrap();
    p.chmod("file", 0o666).unwrap();
    if t.caps().contains(Cap::SYMLINKS) {
        p.symlink("file", "link").unwrap();
    }
    if t.caps().contains(Cap::XATTRS) {
        p.set("file", "user.x", b"value").unwrap();
    }
}

fn make_read_only(t: &Fixture) {
    t.root.remount(MOUNT_POINT, MountFlags::RDONLY).unwrap();
    assert!(t.root.statvfs(".").unwrap().read_only);
}

fn assert_refuses_everything(t: &Fixture) {
    let p = &t.root;
    fails!(p.open("file", O::WRONLY, 0), EROFS);
    fails!(p.open("file", O::RDWR, 0), EROFS);
    fails!(p.open("file", O::WRONLY | O::TRUNC, 0), EROFS);
    fails!(p.open("file", O::RDONLY | O::TRUNC, 0), EROFS);
    fails!(p.open("new", O::CREAT | O::WRONLY, 0o644), EROFS);
    fails!(p.open("new", O::CREAT | O::RDONLY, 0o644), EROFS);
    fails!(p.open(".", O::TMPFILE | O::RDWR, 0o644), EROFS);
    fails!(p.mkdir("new", 0o755), EROFS);
    fails!(p.rmdir("dir/empty"), EROFS);
    fails!(p.unlink("file"), EROFS);
    fails!(p.rename("file", "new"), EROFS);
    fails!(p.rename("file", "dir/other"), EROFS);
    fails!(p.rename("dir/empty", "new"), EROFS);
    fails!(p.rename_with("file", "dir/other", RenameFlags::EXCHANGE), EROFS);
    fails!(p.rename_with("file", "new", RenameFlags::NOREPLACE), EROFS);
    fails!(p.link("file", "new"), EROFS);
    fails!(p.symlink("file", "new"), EROFS);
    fails!(p.mkfifo("new", 0o644), EROFS);
    fails!(p.mknod("new", FileType::Block, 0o644), EROFS);
    fails!(p.mknod("new", FileType::Regular, 0o644), EROFS);
    fails!(p.chmod("file", 0o600), EROFS);
    fails!(p.chown("file", Some(1), None), EROFS);
    fails!(p.chflagsat(At::Cwd, "file", 0, Follow::Yes), EROFS);
    fails!(p.utimens("file", SetTime::Now, SetTime::Now), EROFS);
    let then = SetTime::To(Timespec::from_secs(1));
    fails!(p.utimens("file", then, then), EROFS);
    fails!(p.truncate("file", 0), EROFS);
    fails!(p.truncate("file", 100), EROFS);
    fails!(p.set("file", "user.y", b"v"), EROFS);
    fails!(p.removexattr("file", b"user.x", Follow::Yes), EROFS);
    fails!(p.set("file", "system.posix_acl_access", &acl("u::rw-,g::r--,o::---")), EROFS);
}

fn every_modifying_call_is_erofs(t: &Fixture) {
    prepare(t);
    make_read_only(t);
    assert_refuses_everything(t);
    assert_eq!(t.root.get("file").unwrap(), b"content");
}

fn reading_works(t: &Fixture) {
    prepare(t);
    make_read_only(t);
    let p = &t.root;
    assert_eq!(p.get("file").unwrap(), b"content");
    assert_eq!(p.names("dir"), ["empty", "other"]);
    p.can_open("file", O::RDONLY | O::CREAT).unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    p.fsync(fd).unwrap();
    p.flock(fd, Flock::Exclusive, true).unwrap();
    p.sync().unwrap();
    p.utimens("file", SetTime::Omit, SetTime::Omit).unwrap_or_else(|e| assert_eq!(e, Errno::EROFS));
    if t.caps().contains(Cap::SYMLINKS) {
        assert_eq!(p.get("link").unwrap(), b"content");
    }
    if t.caps().contains(Cap::XATTRS) {
        assert_eq!(p.attr("file", "user.x").unwrap(), b"value");
    }
}

fn what_does_not_exist_comes_first_or_last(t: &Fixture) {
    prepare(t);
    make_read_only(t);
    let p = &t.root;
    fails!(p.unlink("none"), ENOENT | EROFS);
    fails!(p.chmod("none", 0o644), ENOENT);
    fails!(p.truncate("none", 0), ENOENT);
    fails!(p.open("none", O::WRONLY, 0), ENOENT);
    fails!(p.mkdir("dir", 0o755), EEXIST);
    fails!(p.mkdir("none/dir", 0o755), ENOENT);
    fails!(p.open("file", O::CREAT | O::EXCL | O::WRONLY, 0o644), EEXIST);
    fails!(p.open("dir", O::WRONLY, 0), EISDIR);
}

fn access_for_writing_is_erofs(t: &Fixture) {
    prepare(t);
    make_read_only(t);
    fails!(t.root.access("file", Access::W), EROFS);
    fails!(t.root.access("dir", Access::W), EROFS);
    t.root.access("file", Access::R).unwrap();
    t.root.access("dir", Access::R | Access::X).unwrap();
}

fn access_times_stay(t: &Fixture) {
    prepare(t);
    let then = SetTime::To(Timespec::from_secs(1000));
    t.root.utimens("file", then, SetTime::Omit).unwrap();
    make_read_only(t);
    assert_eq!(t.root.get("file").unwrap(), b"content");
    assert_eq!(t.root.stat("file").unwrap().atime.sec, 1000);
}

fn remounting_is_ebusy_while_a_file_is_open_for_writing(t: &Fixture) {
    prepare(t);
    let p = &t.root;
    let fd = p.open("file", O::RDWR, 0).unwrap();
    fails!(p.remount(MOUNT_POINT, MountFlags::RDONLY), EBUSY);
    assert!(!p.statvfs(".").unwrap().read_only);
    p.write(fd, b"changed").unwrap();
    p.create("new", 0o644).unwrap();
    p.close(fd).unwrap();
    // Files open for reading stand in nobody's way.
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    make_read_only(t);
    assert_eq!(p.read_all(fd).unwrap(), b"changed");
}

fn remounting_is_ebusy_while_an_unlinked_file_is_open(t: &Fixture) {
    prepare(t);
    let fd = t.root.open("file", O::RDONLY, 0).unwrap();
    t.root.unlink("file").unwrap();
    fails!(t.root.remount(MOUNT_POINT, MountFlags::RDONLY), EBUSY);
    t.root.close(fd).unwrap();
    make_read_only(t);
}

fn back_to_writing(t: &Fixture) {
    prepare(t);
    for round in 0..3u8 {
        make_read_only(t);
        fails!(t.root.put("file", b"x"), EROFS);
        t.root.remount(MOUNT_POINT, MountFlags::default()).unwrap();
        t.root.put("file", &[round; 10_000]).unwrap();
        t.root.create(&format!("new{round}"), 0o644).unwrap();
    }
    make_read_only(t);
    t.root.remount(MOUNT_POINT, MountFlags::default()).unwrap();
    assert_eq!(t.root.get("file").unwrap(), [2; 10_000]);
}

fn remounting_is_for_root(t: &Fixture) {
    fails!(t.user(100).remount(MOUNT_POINT, MountFlags::RDONLY), EPERM);
    fails!(t.root.remount("/mnt/work", MountFlags::RDONLY), EINVAL);
    fails!(t.root.remount("/none", MountFlags::RDONLY), ENOENT);
}

fn a_mount_that_was_never_writable(t: &Fixture) {
    prepare(t);
    t.mount_again(MountFlags::RDONLY);
    assert_refuses_everything(t);
    assert_eq!(t.root.get("file").unwrap(), b"content");
    t.root.remount(MOUNT_POINT, MountFlags::default()).unwrap();
    t.root.put("file", b"changed").unwrap();
}

fn nothing_is_written_to_the_device(t: &Fixture) {
    prepare(t);
    t.unmount();
    let before = t.image();
    t.mount(MountFlags::RDONLY);
    let p = &t.root;
    assert_eq!(p.get("/mnt/work/file").unwrap(), b"content");
    p.names("/mnt/work/dir");
    fails!(p.put("/mnt/work/file", b"x"), EROFS);
    p.sync().unwrap();
    t.unmount();
    assert!(t.image() == before);
}

fn fifos_and_devices_may_be_written(t: &Fixture) {
    t.root.mkfifo("fifo", 0o666).unwrap();
    make_read_only(t);
    let fd = t.root.open("fifo", O::RDWR | O::NONBLOCK, 0).unwrap();
    assert_eq!(t.root.write(fd, b"hello"), Ok(5));
    assert_eq!(t.root.read(fd, &mut [0; 10]), Ok(5));
    t.root.access("fifo", Access::W).unwrap();
}

fn what_was_written_before_is_there(t: &Fixture) {
    let p = &t.root;
    for n in 0..50u8 {
        p.put(&format!("file{n}"), &[n; 5000]).unwrap();
    }
    make_read_only(t);
    for n in 0..50u8 {
        assert_eq!(p.get(&format!("file{n}")).unwrap(), [n; 5000]);
    }
}
