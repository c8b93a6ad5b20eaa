//! `chown`.

use crate::prelude::*;

for_each_fs! {
    root_gives_files_away needs OWNERS,
    what_is_not_named_stays needs OWNERS,
    numbers_above_16_bits_are_kept needs OWNERS,
    only_root_changes_the_owner needs OWNERS,
    the_owner_chooses_among_their_groups needs OWNERS,
    others_change_nothing needs OWNERS,
    set_id_bits_are_cleared_for_users needs OWNERS,
    root_may_keep_set_id_bits needs OWNERS,
    directories_keep_their_bits needs OWNERS,
    only_the_inode_change_time_changes needs OWNERS,
    missing_is_enoent,
    of_a_descriptor needs OWNERS,
}

fn owner(p: &Proc, path: &str) -> (u32, u32) {
    p.lstat(path).map(|stat| (stat.uid, stat.gid)).unwrap()
}

fn root_gives_files_away(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    for path in ["file", "dir"] {
        p.chown(path, Some(100), Some(200)).unwrap();
        assert_eq!(owner(p, path), (100, 200));
    }
}

fn what_is_not_named_stays(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.chown("file", Some(100), None).unwrap();
    assert_eq!(owner(p, "file"), (100, 0));
    p.chown("file", None, Some(200)).unwrap();
    assert_eq!(owner(p, "file"), (100, 200));
    p.chown("file", None, None).unwrap();
    assert_eq!(owner(p, "file"), (100, 200));
}

fn numbers_above_16_bits_are_kept(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    for n in [0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_fffe] {
        p.chown("file", Some(n), Some(n - 1)).unwrap();
        assert_eq!(owner(p, "file"), (n, n - 1));
    }
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
        assert_eq!(owner(p, "file"), (0xffff_fffe, 0xffff_fffd));
    }
}

fn only_root_changes_the_owner(t: &Fixture) {
    t.user(100).create("file", 0o666).unwrap();
    fails!(t.user(100).chown("file", Some(101), None), EPERM);
    fails!(t.user(100).chown("file", Some(0), None), EPERM);
    fails!(t.user(101).chown("file", Some(101), None), EPERM);
    t.user(100).chown("file", Some(100), None).unwrap();
    assert_eq!(owner(&t.root, "file").0, 100);
}

fn the_owner_chooses_among_their_groups(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    t.root.chown("file", Some(100), Some(100)).unwrap();
    let owner_proc = t.member(100, &[100, 200, 201]);
    owner_proc.chown("file", None, Some(200)).unwrap();
    owner_proc.chown("file", Some(100), Some(201)).unwrap();
    fails!(owner_proc.chown("file", None, Some(300)), EPERM);
    assert_eq!(owner(&t.root, "file"), (100, 201));
    // The group that it has already is no change, even if foreign.
    t.root.chown("file", None, Some(300)).unwrap();
    owner_proc.chown("file", None, Some(300)).unwrap();
}

fn others_change_nothing(t: &Fixture) {
    t.root.create("file", 0o666).unwrap();
    t.root.chown("file", Some(100), Some(200)).unwrap();
    let other = t.member(101, &[200, 201]);
    fails!(other.chown("file", None, Some(201)), EPERM);
    fails!(other.chown("file", Some(101), None), EPERM);
    assert_eq!(owner(&t.root, "file"), (100, 200));
}

fn set_id_bits_are_cleared_for_users(t: &Fixture) {
    t.root.create("file", 0o755).unwrap();
    t.root.chown("file", Some(100), Some(200)).unwrap();
    let owner_proc = t.member(100, &[200, 201]);
    t.root.chmod("file", 0o6755).unwrap();
    owner_proc.chown("file", None, Some(201)).unwrap();
    assert_eq!(t.root.mode("file"), Ok(0o755));
}

fn root_may_keep_set_id_bits(t: &Fixture) {
    t.root.create("file", 0o755).unwrap();
    t.root.chmod("file", 0o6755).unwrap();
    t.root.chown("file", Some(100), Some(200)).unwrap();
    // Implementation-defined in POSIX.
    let mode = t.root.mode("file").unwrap();
    assert!([0o6755, 0o755].contains(&mode), "{mode:o}");
}

fn directories_keep_their_bits(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    t.root.chown("dir", Some(100), Some(200)).unwrap();
    t.root.chmod("dir", 0o2755).unwrap();
    t.member(100, &[200, 201]).chown("dir", None, Some(201)).unwrap();
    assert_eq!(t.root.mode("dir"), Ok(0o2755));
}

fn only_the_inode_change_time_changes(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let before = t.root.stat("file").unwrap();
    t.tick();
    t.root.chown("file", Some(100), None).unwrap();
    let after = t.root.stat("file").unwrap();
    assert!(after.ctime > before.ctime);
    assert_eq!((after.atime, after.mtime), (before.atime, before.mtime));
}

fn missing_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.chown("none", Some(1), None), ENOENT);
    fails!(t.root.chown("", Some(1), None), ENOENT);
    fails!(t.root.chown("file/x", Some(1), None), ENOTDIR);
    fails!(t.root.lchown("none", Some(1), None), ENOENT);
}

fn of_a_descriptor(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    p.fchownat(At::Fd(fd), "", Some(100), Some(200), Follow::Yes).unwrap();
    assert_eq!(owner(p, "file"), (100, 200));
    fails!(p.fchownat(At::Fd(9999), "", Some(1), None, Follow::Yes), EBADF);
}
