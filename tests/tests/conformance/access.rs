//! Permissions: who may read, write, search and execute what, and what `access` says of it.

use crate::prelude::*;

for_each_fs! {
    the_first_class_that_fits_decides needs OWNERS,
    supplementary_groups_count needs OWNERS,
    root_reads_and_writes_everything needs OWNERS,
    root_executes_what_anybody_may needs OWNERS,
    search_permission_is_needed_on_every_directory needs OWNERS,
    search_without_read_finds_but_does_not_list needs OWNERS,
    read_without_search_lists_but_does_not_find needs OWNERS,
    dot_needs_search_permission needs OWNERS,
    names_need_a_writable_directory needs OWNERS,
    stat_needs_no_permission_on_the_file needs OWNERS,
    an_open_descriptor_keeps_its_rights needs OWNERS,
    access_answers_as_open_would needs OWNERS,
    access_of_what_is_missing_is_enoent,
    access_follows_links_unless_told_not_to needs SYMLINKS,
    missing_comes_after_unsearchable needs OWNERS,
    permission_changes_count_at_once needs OWNERS,
    nothing_may_be_changed_by_others needs OWNERS,
}

fn the_first_class_that_fits_decides(t: &Fixture) {
    t.root.create("file", 0o077).unwrap();
    t.root.chown("file", Some(100), Some(200)).unwrap();
    fails!(t.user(100).open("file", O::RDONLY, 0), EACCES);
    t.member(101, &[200]).can_open("file", O::RDWR).unwrap();
    t.user(102).can_open("file", O::RDWR).unwrap();
    t.root.chmod("file", 0o606).unwrap();
    fails!(t.member(101, &[200]).open("file", O::RDONLY, 0), EACCES);
    // The owner's class counts also for an owner in the group.
    t.member(100, &[200]).can_open("file", O::RDWR).unwrap();
}

fn supplementary_groups_count(t: &Fixture) {
    t.root.create("file", 0o040).unwrap();
    t.root.chown("file", Some(100), Some(200)).unwrap();
    t.member(101, &[1, 2, 200]).can_open("file", O::RDONLY).unwrap();
    fails!(t.member(101, &[1, 2, 3]).open("file", O::RDONLY, 0), EACCES);
}

fn root_reads_and_writes_everything(t: &Fixture) {
    t.user(100).create("file", 0).unwrap();
    t.user(100).mkdir("dir", 0).unwrap();
    t.root.can_open("file", O::RDWR).unwrap();
    t.root.create("dir/file", 0o644).unwrap();
    assert_eq!(t.root.names("dir"), ["file"]);
}

fn root_executes_what_anybody_may(t: &Fixture) {
    t.root.create("plain", 0o666).unwrap();
    t.root.create("program", 0o001).unwrap();
    t.root.mkdir("dir", 0).unwrap();
    fails!(t.root.access("plain", Access::X), EACCES);
    t.root.access("program", Access::X).unwrap();
    t.root.access("dir", Access::X | Access::R | Access::W).unwrap();
}

fn search_permission_is_needed_on_every_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("a/b", 0o766).unwrap();
    p.mkdir("a/b/c", 0o777).unwrap();
    p.create("a/b/c/file", 0o666).unwrap();
    let user = t.user(100);
    fails!(user.stat("a/b/c/file"), EACCES);
    fails!(user.open("a/b/c/file", O::RDONLY, 0), EACCES);
    fails!(user.create("a/b/c/new", 0o644), EACCES);
    fails!(user.unlink("a/b/c/file"), EACCES);
    fails!(user.rename("a/b/c/file", "file"), EACCES);
    fails!(user.chdir("a/b"), EACCES);
    p.chmod("a/b", 0o711).unwrap();
    user.stat("a/b/c/file").unwrap();
    user.rename("a/b/c/file", "a/b/c/renamed").unwrap();
}

fn search_without_read_finds_but_does_not_list(t: &Fixture) {
    t.root.mkdir("dir", 0o711).unwrap();
    t.root.create("dir/file", 0o644).unwrap();
    let user = t.user(100);
    user.can_open("dir/file", O::RDONLY).unwrap();
    fails!(user.open("dir", O::RDONLY, 0), EACCES);
    user.chdir("dir").unwrap();
    user.stat("file").unwrap();
}

fn read_without_search_lists_but_does_not_find(t: &Fixture) {
    t.root.mkdir("dir", 0o744).unwrap();
    t.root.create("dir/file", 0o644).unwrap();
    let user = t.user(100);
    assert_eq!(user.names("dir"), ["file"]);
    fails!(user.stat("dir/file"), EACCES);
    fails!(user.stat("dir/none"), EACCES);
}

fn dot_needs_search_permission(t: &Fixture) {
    t.root.mkdir("dir", 0o666).unwrap();
    let user = t.user(100);
    fails!(user.stat("dir/."), EACCES);
    fails!(user.stat("dir/.."), EACCES);
    user.stat("dir").unwrap();
}

fn names_need_a_writable_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.mkdir("dir/sub", 0o777).unwrap();
    p.create("dir/file", 0o666).unwrap();
    let user = t.user(100);
    user.create("mine", 0o644).unwrap();
    fails!(user.create("dir/new", 0o644), EACCES);
    fails!(user.mkdir("dir/new", 0o755), EACCES);
    fails!(user.unlink("dir/file"), EACCES);
    fails!(user.rmdir("dir/sub"), EACCES);
    fails!(user.rename("dir/file", "file"), EACCES);
    fails!(user.rename("mine", "dir/mine"), EACCES);
    fails!(user.rename("mine", "dir/file"), EACCES);
    if t.caps().contains(Cap::LINKS) {
        fails!(user.link("mine", "dir/new"), EACCES);
    }
    if t.caps().contains(Cap::SYMLINKS) {
        fails!(user.symlink("x", "dir/new"), EACCES);
    }
    if t.caps().contains(Cap::NODES) {
        fails!(user.mkfifo("dir/new", 0o644), EACCES);
    }
    assert_eq!(p.names("dir"), ["file", "sub"]);
}

fn stat_needs_no_permission_on_the_file(t: &Fixture) {
    t.root.create("file", 0).unwrap();
    assert_eq!(t.user(100).stat("file"), t.root.stat("file"));
}

fn an_open_descriptor_keeps_its_rights(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.root.chmod("file", 0o666).unwrap();
    let user = t.user(100);
    let fd = user.open("file", O::RDWR, 0).unwrap();
    t.root.chmod("file", 0).unwrap();
    assert_eq!(user.read_all(fd).unwrap(), b"content");
    assert_eq!(user.write(fd, b"more"), Ok(4));
    fails!(user.open("file", O::RDONLY, 0), EACCES);
}

fn access_answers_as_open_would(t: &Fixture) {
    let bits = [Access::R, Access::W, Access::X];
    for mode in 0..8 {
        let name = format!("file{mode}");
        t.root.create(&name, mode).unwrap();
        for bit in bits {
            let granted = t.user(100).access(&name, bit);
            assert_eq!(granted.is_ok(), mode & bit.bits() != 0, "{mode} {bit:?}");
        }
        let both = t.user(100).access(&name, Access::R | Access::W);
        assert_eq!(both.is_ok(), mode & 6 == 6, "{mode}");
        t.user(100).access(&name, Access::empty()).unwrap();
    }
}

fn access_of_what_is_missing_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.access("none", Access::empty()), ENOENT);
    fails!(t.root.access("none/x", Access::R), ENOENT);
    fails!(t.root.access("file/x", Access::R), ENOTDIR);
    fails!(t.root.access("", Access::R), ENOENT);
}

fn access_follows_links_unless_told_not_to(t: &Fixture) {
    t.root.symlink("nowhere", "link").unwrap();
    fails!(t.root.access("link", Access::R), ENOENT);
    t.root.faccessat(At::Cwd, "link", Access::R, Follow::No).unwrap();
}

fn missing_comes_after_unsearchable(t: &Fixture) {
    t.root.mkdir("dir", 0o700).unwrap();
    fails!(t.user(100).open("dir/none", O::RDONLY, 0), EACCES);
    fails!(t.user(100).unlink("dir/none"), EACCES);
    fails!(t.user(100).rmdir("dir/none"), EACCES);
    // In a directory that may be searched but not written, a missing name is missing.
    t.root.chmod("dir", 0o755).unwrap();
    fails!(t.user(100).unlink("dir/none"), ENOENT);
    fails!(t.user(100).rename("dir/none", "dir/x"), ENOENT);
}

fn permission_changes_count_at_once(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    t.root.create("dir/file", 0o644).unwrap();
    let user = t.user(100);
    for _ in 0..3 {
        // Through the caches as well.
        user.stat("dir/file").unwrap();
        t.root.chmod("dir", 0o700).unwrap();
        fails!(user.stat("dir/file"), EACCES);
        t.root.chmod("dir", 0o755).unwrap();
    }
    user.stat("dir/file").unwrap();
    t.root.chown("dir", Some(100), None).unwrap();
    t.root.chmod("dir", 0o077).unwrap();
    fails!(user.stat("dir/file"), EACCES);
    // Another process has its own rights.
    t.user(101).stat("dir/file").unwrap();
    user.set_cred(rumpkern::Cred::root());
    user.stat("dir/file").unwrap();
}

fn nothing_may_be_changed_by_others(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.root.chmod("file", 0o644).unwrap();
    let user = t.user(100);
    let before = t.root.stat("file").unwrap();
    fails!(user.open("file", O::WRONLY, 0), EACCES);
    fails!(user.truncate("file", 0), EACCES);
    fails!(user.chmod("file", 0o666), EPERM);
    fails!(user.chown("file", Some(100), None), EPERM);
    fails!(user.chown("file", None, Some(100)), EPERM);
    fails!(user.utimens("file", SetTime::Now, SetTime::Now), EACCES);
    let then = SetTime::To(Timespec::from_secs(1));
    fails!(user.utimens("file", then, then), EPERM);
    assert_eq!(t.root.stat("file").unwrap(), before);
}
