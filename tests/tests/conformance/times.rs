//! Which calls change which times.

use crate::prelude::*;

for_each_fs! {
    reading_moves_an_access_time_that_is_older_than_the_file,
    a_young_access_time_stays,
    an_access_time_older_than_a_day_moves,
    strictatime_moves_it_always,
    noatime_moves_it_never,
    the_noatime_flag_of_open_moves_it_never,
    reading_nothing_moves_nothing,
    writing_changes_mtime_and_ctime,
    writing_nothing_changes_nothing,
    times_of_a_write_are_seen_at_once_and_after_close,
    truncating_changes_mtime_and_ctime,
    truncating_to_the_same_size_by_descriptor_changes_times,
    listing_moves_the_access_time_of_a_directory,
    looking_up_moves_nothing,
    readlink_moves_no_modification_time needs SYMLINKS,
    xattrs_change_the_inode_change_time needs XATTRS,
    birth_time_stays,
    times_survive_the_mount needs PERSISTENT TIMES,
}

fn to(sec: i64) -> SetTime {
    SetTime::To(Timespec::from_secs(sec))
}

fn read(p: &Proc) {
    assert_eq!(p.get("file").unwrap(), b"content");
}

/// A file whose access time is older than its modification time.
fn old(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.root.utimens("file", to(1000), to(2000)).unwrap();
}

fn atime(t: &Fixture) -> i64 {
    t.root.stat("file").unwrap().atime.sec
}

fn reading_moves_an_access_time_that_is_older_than_the_file(t: &Fixture) {
    old(t);
    let before = t.root.stat("file").unwrap();
    read(&t.root);
    let after = t.root.stat("file").unwrap();
    assert!(after.atime > before.mtime);
    assert_eq!((after.mtime, after.ctime), (before.mtime, before.ctime));
}

fn a_young_access_time_stays(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.tick();
    // Its ctime is as old as this call, its access time in the future.
    let soon = t.root.stat("file").unwrap().atime.sec + 3600;
    t.root.utimens("file", to(soon), SetTime::Omit).unwrap();
    read(&t.root);
    assert_eq!(atime(t), soon);
}

fn an_access_time_older_than_a_day_moves(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    // Access and modification on the same old day.
    t.root.utimens("file", to(100_000), to(99_000)).unwrap();
    read(&t.root);
    assert!(atime(t) > 100_000);
}

fn strictatime_moves_it_always(t: &Fixture) {
    t.root.remount(MOUNT_POINT, MountFlags::STRICTATIME).unwrap();
    t.root.put("file", b"content").unwrap();
    read(&t.root);
    let first = t.root.stat("file").unwrap().atime;
    t.tick();
    read(&t.root);
    assert!(t.root.stat("file").unwrap().atime > first);
}

fn noatime_moves_it_never(t: &Fixture) {
    t.root.remount(MOUNT_POINT, MountFlags::NOATIME).unwrap();
    old(t);
    read(&t.root);
    t.root.names(".");
    assert_eq!(atime(t), 1000);
}

fn the_noatime_flag_of_open_moves_it_never(t: &Fixture) {
    old(t);
    let fd = t.root.open("file", O::RDONLY | O::NOATIME, 0).unwrap();
    assert_eq!(t.root.read(fd, &mut [0; 7]), Ok(7));
    assert_eq!(atime(t), 1000);
}

fn reading_nothing_moves_nothing(t: &Fixture) {
    old(t);
    let fd = t.root.open("file", O::RDONLY, 0).unwrap();
    assert_eq!(t.root.read(fd, &mut []), Ok(0));
    assert_eq!(atime(t), 1000);
}

fn writing_changes_mtime_and_ctime(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let before = p.stat("file").unwrap();
    t.tick();
    let fd = p.open("file", O::WRONLY, 0).unwrap();
    assert_eq!(p.stat("file").unwrap(), before, "opening changes nothing");
    // Bytes as they were count as written.
    assert_eq!(p.write(fd, b"content"), Ok(7));
    let after = p.stat("file").unwrap();
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    assert_eq!(after.atime, before.atime);
}

fn writing_nothing_changes_nothing(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let before = p.stat("file").unwrap();
    t.tick();
    let fd = p.open("file", O::WRONLY, 0).unwrap();
    assert_eq!(p.write(fd, b""), Ok(0));
    assert_eq!(p.pwrite(fd, b"", 100), Ok(0));
    p.close(fd).unwrap();
    assert_eq!(p.stat("file").unwrap(), before);
}

fn times_of_a_write_are_seen_at_once_and_after_close(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    t.tick();
    p.write(fd, b"x").unwrap();
    let seen = p.stat("file").unwrap().mtime;
    t.tick();
    p.close(fd).unwrap();
    p.sync().unwrap();
    assert_eq!(p.stat("file").unwrap().mtime, seen, "closing is no writing");
}

fn truncating_changes_mtime_and_ctime(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    for size in [3, 100] {
        let before = p.stat("file").unwrap();
        t.tick();
        p.truncate("file", size).unwrap();
        let after = p.stat("file").unwrap();
        assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    }
}

fn truncating_to_the_same_size_by_descriptor_changes_times(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    let before = p.fstat(fd).unwrap();
    t.tick();
    // POSIX: ftruncate() marks the times even if the size does not change.
    p.ftruncate(fd, 7).unwrap();
    let after = p.fstat(fd).unwrap();
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
}

fn listing_moves_the_access_time_of_a_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.utimens("dir", to(1000), to(2000)).unwrap();
    let before = p.stat("dir").unwrap();
    p.names("dir");
    let after = p.stat("dir").unwrap();
    assert!(after.atime > before.atime);
    assert_eq!((after.mtime, after.ctime), (before.mtime, before.ctime));
}

fn looking_up_moves_nothing(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.create("dir/file", 0o644).unwrap();
    p.utimens("dir", to(1000), to(2000)).unwrap();
    let before = p.stat("dir").unwrap();
    p.stat("dir/file").unwrap();
    fails!(p.stat("dir/none"), ENOENT);
    p.can_open("dir", O::DIRECTORY).unwrap();
    assert_eq!(p.stat("dir").unwrap(), before);
}

fn readlink_moves_no_modification_time(t: &Fixture) {
    let p = &t.root;
    p.symlink("x", "link").unwrap();
    let before = p.lstat("link").unwrap();
    t.tick();
    p.readlink("link").unwrap();
    let after = p.lstat("link").unwrap();
    assert_eq!((after.mtime, after.ctime), (before.mtime, before.ctime));
}

fn xattrs_change_the_inode_change_time(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let before = p.stat("file").unwrap();
    t.tick();
    p.set("file", "user.x", b"1").unwrap();
    let set = p.stat("file").unwrap();
    assert!(set.ctime > before.ctime);
    t.tick();
    p.attr("file", "user.x").unwrap();
    assert_eq!(p.stat("file").unwrap().ctime, set.ctime);
    p.removexattr("file", b"user.x", Follow::Yes).unwrap();
    let removed = p.stat("file").unwrap();
    assert!(removed.ctime > set.ctime);
    assert_eq!((removed.mtime, removed.atime), (before.mtime, before.atime));
}

fn birth_time_stays(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let born = p.stat("file").unwrap().birthtime;
    t.tick();
    p.put("file", b"more").unwrap();
    p.utimens("file", to(1000), to(1000)).unwrap();
    p.rename("file", "renamed").unwrap();
    assert_eq!(p.stat("renamed").unwrap().birthtime, born);
}

fn times_survive_the_mount(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("dir/file", b"content").unwrap();
    t.tick();
    let fd = p.open("dir/file", O::RDWR, 0).unwrap();
    p.write(fd, b"changed").unwrap();
    p.close(fd).unwrap();
    let stats = || ["dir", "dir/file"].map(|path| p.stat(path).unwrap());
    let before = stats().map(|s| (s.atime, s.mtime, s.ctime, s.birthtime));
    t.mount_again(MountFlags::default());
    assert_eq!(stats().map(|s| (s.atime, s.mtime, s.ctime, s.birthtime)), before);
}
