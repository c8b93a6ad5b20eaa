//! `chmod`.

use crate::prelude::*;

for_each_fs! {
    all_bits_are_set_and_kept needs OWNERS,
    only_the_inode_change_time_changes needs OWNERS,
    owners_and_root_only needs OWNERS,
    foreign_set_group_id_is_cleared needs OWNERS,
    missing_is_enoent,
    it_follows_links needs OWNERS SYMLINKS,
    of_a_descriptor needs OWNERS,
    other_bits_do_not_count needs OWNERS,
    writing_clears_set_id_bits needs OWNERS,
    writing_by_root_keeps_set_id_bits needs OWNERS,
    truncating_clears_set_id_bits needs OWNERS,
    mandatory_locking_bits_stay needs OWNERS,
    directories_keep_their_set_id_bits needs OWNERS,
}

fn all_bits_are_set_and_kept(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0).unwrap();
    p.mkdir("dir", 0).unwrap();
    for mode in [0, 0o777, 0o644, 0o4755, 0o2755, 0o1777, 0o7777, 0o070] {
        for path in ["file", "dir"] {
            p.chmod(path, mode).unwrap();
            assert_eq!(p.mode(path), Ok(mode), "{path}");
        }
    }
    if t.caps().contains(Cap::NODES) {
        p.mkfifo("fifo", 0o644).unwrap();
        p.chmod("fifo", 0o600).unwrap();
        assert_eq!(p.mode("fifo"), Ok(0o600));
    }
}

fn only_the_inode_change_time_changes(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let before = t.root.stat("file").unwrap();
    t.tick();
    t.root.chmod("file", 0o600).unwrap();
    let after = t.root.stat("file").unwrap();
    assert!(after.ctime > before.ctime);
    assert_eq!((after.atime, after.mtime), (before.atime, before.mtime));
    // A refused change leaves no trace.
    t.tick();
    fails!(t.user(100).chmod("file", 0o666), EPERM);
    assert_eq!(t.root.stat("file").unwrap(), after);
}

fn owners_and_root_only(t: &Fixture) {
    t.user(100).create("file", 0o666).unwrap();
    t.user(100).chmod("file", 0o600).unwrap();
    t.root.chmod("file", 0o666).unwrap();
    fails!(t.member(101, &[100]).chmod("file", 0o600), EPERM);
    fails!(t.user(101).chmod("file", 0o666), EPERM);
}

fn foreign_set_group_id_is_cleared(t: &Fixture) {
    t.root.create("file", 0o755).unwrap();
    t.root.chown("file", Some(100), Some(300)).unwrap();
    let user = t.user(100);
    // POSIX clears the bit; BSD refuses the call.
    match user.chmod("file", 0o2755) {
        Ok(()) => assert_eq!(t.root.mode("file"), Ok(0o755)),
        Err(error) => assert_eq!(error, Errno::EPERM),
    }
    t.member(100, &[1, 300]).chmod("file", 0o2755).unwrap();
    assert_eq!(t.root.mode("file"), Ok(0o2755));
    t.root.chmod("file", 0o755).unwrap();
    t.root.chmod("file", 0o2755).unwrap();
    assert_eq!(t.root.mode("file"), Ok(0o2755));
}

fn missing_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.chmod("none", 0o644), ENOENT);
    fails!(t.root.chmod("", 0o644), ENOENT);
    fails!(t.root.chmod("file/x", 0o644), ENOTDIR);
    fails!(t.root.fchmodat(At::Fd(9999), "x", 0o644, Follow::Yes), EBADF);
}

fn it_follows_links(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    t.root.symlink("file", "link").unwrap();
    t.root.chmod("link", 0o600).unwrap();
    assert_eq!(t.root.mode("file"), Ok(0o600));
}

fn of_a_descriptor(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    p.fchmodat(At::Fd(fd), "", 0o600, Follow::Yes).unwrap();
    assert_eq!(p.fstat(fd).unwrap().mode, 0o600);
    p.unlink("file").unwrap();
    p.fchmodat(At::Fd(fd), "", 0o640, Follow::Yes).unwrap();
    assert_eq!(p.fstat(fd).unwrap().mode, 0o640);
}

fn other_bits_do_not_count(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    t.root.chmod("file", 0o100_600).unwrap();
    let stat = t.root.stat("file").unwrap();
    assert_eq!((stat.file_type, stat.mode), (FileType::Regular, 0o600));
}

/// A file of user 100 that user 101 may write.
fn program(t: &Fixture, mode: u32) {
    t.root.put("program", b"#!").unwrap();
    t.root.chown("program", Some(100), Some(100)).unwrap();
    t.root.chmod("program", mode).unwrap();
    assert_eq!(t.root.mode("program"), Ok(mode));
}

fn writing_clears_set_id_bits(t: &Fixture) {
    program(t, 0o6777);
    let fd = t.user(101);
    let file = fd.open("program", O::WRONLY, 0).unwrap();
    assert_eq!(t.root.mode("program"), Ok(0o6777), "opening changes nothing");
    assert_eq!(fd.write(file, b"x"), Ok(1));
    assert_eq!(t.root.mode("program"), Ok(0o777));
    // Also for the owner.
    program(t, 0o6777);
    let owner = t.user(100);
    let file = owner.open("program", O::WRONLY, 0).unwrap();
    assert_eq!(owner.pwrite(file, b"x", 5), Ok(1));
    assert_eq!(t.root.mode("program"), Ok(0o777));
}

fn writing_by_root_keeps_set_id_bits(t: &Fixture) {
    program(t, 0o6777);
    let file = t.root.open("program", O::WRONLY, 0).unwrap();
    assert_eq!(t.root.write(file, b"x"), Ok(1));
    // Implementation-defined in POSIX.
    let mode = t.root.mode("program").unwrap();
    assert!([0o6777, 0o777].contains(&mode), "{mode:o}");
}

fn truncating_clears_set_id_bits(t: &Fixture) {
    program(t, 0o6777);
    t.user(101).truncate("program", 0).unwrap();
    assert_eq!(t.root.mode("program"), Ok(0o777));
    program(t, 0o4777);
    t.user(101).can_open("program", O::WRONLY | O::TRUNC).unwrap();
    assert_eq!(t.root.mode("program"), Ok(0o777));
}

fn mandatory_locking_bits_stay(t: &Fixture) {
    // Set-group-id without group execution is not a set-group-id program.
    program(t, 0o2767);
    let user = t.user(101);
    let file = user.open("program", O::WRONLY, 0).unwrap();
    assert_eq!(user.write(file, b"x"), Ok(1));
    let mode = t.root.mode("program").unwrap();
    assert!([0o2767, 0o767].contains(&mode), "{mode:o}");
}

fn directories_keep_their_set_id_bits(t: &Fixture) {
    t.root.mkdir("dir", 0o777).unwrap();
    t.root.chmod("dir", 0o6777).unwrap();
    t.user(100).create("dir/file", 0o644).unwrap();
    assert_eq!(t.root.mode("dir"), Ok(0o6777));
}
