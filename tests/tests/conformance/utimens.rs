//! `utimensat`: which times may be set, and by whom.

use crate::prelude::*;

for_each_fs! {
    given_times_are_set,
    given_times_are_kept needs PERSISTENT TIMES,
    omit_leaves_a_time_alone,
    now_is_the_present,
    nanoseconds_of_a_second_or_more_are_einval,
    times_before_1970_are_kept needs TIMES,
    times_after_2038_are_kept needs TIMES,
    given_times_are_for_the_owner needs OWNERS,
    the_present_is_for_writers_as_well needs OWNERS,
    a_mixture_is_for_the_owner needs OWNERS,
    omitting_both_needs_no_permission needs OWNERS,
    it_follows_links_unless_told_not_to needs SYMLINKS,
    of_a_descriptor,
    missing_is_enoent,
    a_directory_has_times_too,
}

/// A time rounded as the format rounds.
fn rounded(t: &Fixture, sec: i64, nsec: u32) -> Timespec {
    let step = t.numbers().granularity;
    Timespec {
        sec,
        nsec: if step >= 1_000_000_000 { 0 } else { nsec - nsec % step },
    }
}

fn to(sec: i64, nsec: u32) -> SetTime {
    SetTime::To(Timespec { sec, nsec })
}

fn given_times_are_set(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let before = p.stat("file").unwrap();
    t.tick();
    p.utimens("file", to(1_000_000_000, 123_456_789), to(1_234_567_890, 987_654_321)).unwrap();
    let after = p.stat("file").unwrap();
    assert_eq!(after.atime, rounded(t, 1_000_000_000, 123_456_789));
    assert_eq!(after.mtime, rounded(t, 1_234_567_890, 987_654_321));
    assert!(after.ctime > before.ctime);
}

fn given_times_are_kept(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.utimens("file", to(1_000_000_000, 123_456_789), to(1_234_567_890, 987_654_321)).unwrap();
    let before = p.stat("file").unwrap();
    t.mount_again(MountFlags::default());
    let kept = p.stat("file").unwrap();
    assert_eq!((kept.atime, kept.mtime, kept.ctime), (before.atime, before.mtime, before.ctime));
}

fn omit_leaves_a_time_alone(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.utimens("file", to(1000, 0), to(2000, 0)).unwrap();
    p.utimens("file", SetTime::Omit, to(3000, 0)).unwrap();
    let stat = p.stat("file").unwrap();
    assert_eq!((stat.atime.sec, stat.mtime.sec), (1000, 3000));
    p.utimens("file", to(4000, 0), SetTime::Omit).unwrap();
    let stat = p.stat("file").unwrap();
    assert_eq!((stat.atime.sec, stat.mtime.sec), (4000, 3000));
    t.tick();
    p.utimens("file", SetTime::Omit, SetTime::Omit).unwrap();
    assert_eq!(p.stat("file").unwrap(), stat, "nothing was asked for");
}

fn now_is_the_present(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.utimens("file", to(1000, 0), to(2000, 0)).unwrap();
    let before = p.stat("file").unwrap().ctime;
    t.tick();
    p.utimens("file", SetTime::Now, SetTime::Now).unwrap();
    let stat = p.stat("file").unwrap();
    assert!(stat.atime > before && stat.mtime > before && stat.ctime > before);
    assert_eq!(stat.atime, stat.mtime);
}

fn nanoseconds_of_a_second_or_more_are_einval(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let before = p.stat("file").unwrap();
    fails!(p.utimens("file", to(0, 1_000_000_000), SetTime::Omit), EINVAL);
    fails!(p.utimens("file", SetTime::Omit, to(0, u32::MAX)), EINVAL);
    assert_eq!(p.stat("file").unwrap(), before);
    p.utimens("file", to(0, 999_999_999), SetTime::Now).unwrap();
}

fn times_before_1970_are_kept(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.utimens("file", to(-1, 0), to(-2_000_000_000, 0)).unwrap();
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
    }
    let stat = p.stat("file").unwrap();
    assert_eq!((stat.atime.sec, stat.mtime.sec), (-1, -2_000_000_000));
}

fn times_after_2038_are_kept(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.utimens("file", to(2_147_483_648, 0), to(4_294_967_296, 5)).unwrap();
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
    }
    let stat = p.stat("file").unwrap();
    assert_eq!(stat.atime.sec, 2_147_483_648);
    assert_eq!(stat.mtime, rounded(t, 4_294_967_296, 5));
}

fn given_times_are_for_the_owner(t: &Fixture) {
    t.user(100).create("file", 0o666).unwrap();
    fails!(t.user(101).utimens("file", to(1, 0), to(1, 0)), EPERM);
    t.user(100).chmod("file", 0o000).unwrap();
    t.user(100).utimens("file", to(1, 0), to(2, 0)).unwrap();
    t.root.utimens("file", to(3, 0), to(4, 0)).unwrap();
}

fn the_present_is_for_writers_as_well(t: &Fixture) {
    t.user(100).create("file", 0o666).unwrap();
    t.user(101).utimens("file", SetTime::Now, SetTime::Now).unwrap();
    t.user(100).chmod("file", 0o444).unwrap();
    fails!(t.user(101).utimens("file", SetTime::Now, SetTime::Now), EACCES);
    t.user(100).utimens("file", SetTime::Now, SetTime::Now).unwrap();
}

fn a_mixture_is_for_the_owner(t: &Fixture) {
    t.user(100).create("file", 0o666).unwrap();
    let other = t.user(101);
    fails!(other.utimens("file", SetTime::Now, SetTime::Omit), EPERM);
    fails!(other.utimens("file", SetTime::Omit, SetTime::Now), EPERM);
    fails!(other.utimens("file", SetTime::Now, to(1, 0)), EPERM);
    t.user(100).utimens("file", SetTime::Now, SetTime::Omit).unwrap();
}

fn omitting_both_needs_no_permission(t: &Fixture) {
    t.user(100).create("file", 0o600).unwrap();
    t.user(101).utimens("file", SetTime::Omit, SetTime::Omit).unwrap();
    fails!(t.user(101).utimens("none", SetTime::Omit, SetTime::Omit), ENOENT);
}

fn it_follows_links_unless_told_not_to(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.symlink("file", "link").unwrap();
    p.utimens("link", to(1000, 0), to(1000, 0)).unwrap();
    p.utimensat(At::Cwd, "link", to(2000, 0), to(2000, 0), Follow::No).unwrap();
    assert_eq!(p.stat("file").unwrap().mtime.sec, 1000);
    assert_eq!(p.lstat("link").unwrap().mtime.sec, 2000);
}

fn of_a_descriptor(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, b"x").unwrap();
    p.utimensat(At::Fd(fd), "", to(1000, 0), to(2000, 0), Follow::Yes).unwrap();
    // The times of what was written before do not come back.
    p.fsync(fd).unwrap();
    p.close(fd).unwrap();
    let stat = p.stat("file").unwrap();
    assert_eq!((stat.atime.sec, stat.mtime.sec), (1000, 2000));
}

fn missing_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.utimens("none", SetTime::Now, SetTime::Now), ENOENT);
    fails!(t.root.utimens("file/x", SetTime::Now, SetTime::Now), ENOTDIR);
    fails!(t.root.utimens("", SetTime::Now, SetTime::Now), ENOENT);
}

fn a_directory_has_times_too(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.utimens("dir", to(1000, 0), to(2000, 0)).unwrap();
    let stat = p.stat("dir").unwrap();
    assert_eq!((stat.atime.sec, stat.mtime.sec), (1000, 2000));
    t.tick();
    p.create("dir/file", 0o644).unwrap();
    assert!(p.stat("dir").unwrap().mtime.sec > 2000);
}
