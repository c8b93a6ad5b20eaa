//! POSIX access control lists.

use crate::prelude::*;

for_each_fs! {
    named_users_and_groups_get_what_the_mask_allows needs ACLS OWNERS,
    the_mode_shows_the_mask needs ACLS OWNERS,
    chmod_changes_the_mask needs ACLS OWNERS,
    a_minimal_list_is_the_mode needs ACLS OWNERS,
    removing_the_list_leaves_the_mode needs ACLS OWNERS,
    search_permission_by_list needs ACLS OWNERS,
    owners_and_root_only_may_set_it needs ACLS OWNERS,
    invalid_lists_are_einval needs ACLS OWNERS,
    default_lists_are_for_directories needs ACLS OWNERS,
    new_files_inherit needs ACLS OWNERS,
    new_directories_hand_on needs ACLS OWNERS,
    the_umask_does_not_count_with_a_default_list needs ACLS OWNERS,
    minimal_default_lists_set_the_mode_alone needs ACLS OWNERS,
    symbolic_links_have_none needs ACLS SYMLINKS,
    they_survive_the_mount needs ACLS OWNERS PERSISTENT,
    access_and_open_agree needs ACLS OWNERS,
}

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A file of user 1 and group 2 with an ACL.
fn file(t: &Fixture, list: &str) {
    t.root.put("file", b"content").unwrap();
    t.root.chown("file", Some(1), Some(2)).unwrap();
    t.root.set("file", ACCESS, &acl(list)).unwrap();
}

fn reads(t: &Fixture, uid: u32, gid: u32) -> bool {
    t.member(uid, &[gid]).can_open("file", O::RDONLY).is_ok()
}

fn writes(t: &Fixture, uid: u32, gid: u32) -> bool {
    t.member(uid, &[gid]).can_open("file", O::WRONLY).is_ok()
}

fn named_users_and_groups_get_what_the_mask_allows(t: &Fixture) {
    file(t, "u::rw-,u:100:rw-,u:101:---,g::r--,g:200:rw-,m::r--,o::---");
    assert!(reads(t, 1, 9) && writes(t, 1, 9));
    assert!(reads(t, 100, 9) && !writes(t, 100, 9));
    assert!(!reads(t, 101, 200));
    assert!(reads(t, 50, 2) && !writes(t, 50, 2));
    assert!(reads(t, 50, 200) && !writes(t, 50, 200));
    assert!(!reads(t, 50, 9));
    t.root.set("file", ACCESS, &acl("u::---,u:100:rw-,g::---,m::rw-,o::rw-")).unwrap();
    assert!(!reads(t, 1, 9), "the owner's entry counts for the owner");
    assert!(reads(t, 100, 9) && writes(t, 100, 9));
    assert!(!reads(t, 50, 2), "a member of the group is not other");
    assert!(reads(t, 50, 9));
}

fn the_mode_shows_the_mask(t: &Fixture) {
    file(t, "u::rwx,u:100:rw-,g::r--,m::rw-,o::--x");
    assert_eq!(t.root.mode("file"), Ok(0o761));
    assert_eq!(t.root.attr("file", ACCESS).unwrap(), acl("u::rwx,u:100:rw-,g::r--,m::rw-,o::--x"));
}

fn chmod_changes_the_mask(t: &Fixture) {
    file(t, "u::rw-,u:100:rw-,g::r--,m::rw-,o::---");
    t.root.chmod("file", 0o604).unwrap();
    assert_eq!(t.root.attr("file", ACCESS).unwrap(), acl("u::rw-,u:100:rw-,g::r--,m::---,o::r--"));
    assert!(!reads(t, 100, 9));
    t.root.chmod("file", 0o640).unwrap();
    assert!(reads(t, 100, 9) && !writes(t, 100, 9));
    t.root.chmod("file", 0o660).unwrap();
    assert!(writes(t, 100, 9));
    assert!(!writes(t, 50, 2), "the group's own entry stays");
}

fn a_minimal_list_is_the_mode(t: &Fixture) {
    file(t, "u::rw-,g::r--,o::r--");
    assert_eq!(t.root.mode("file"), Ok(0o644));
    fails!(t.root.attr("file", ACCESS), ENODATA);
    t.root.chmod("file", 0o600).unwrap();
    assert!(!reads(t, 50, 9));
}

fn removing_the_list_leaves_the_mode(t: &Fixture) {
    file(t, "u::rw-,u:100:rw-,g::---,m::rw-,o::---");
    t.root.removexattr("file", ACCESS.as_bytes(), Follow::Yes).unwrap();
    fails!(t.root.attr("file", ACCESS), ENODATA);
    assert_eq!(t.root.mode("file"), Ok(0o660));
    assert!(!reads(t, 100, 9) && reads(t, 50, 2));
}

fn search_permission_by_list(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o700).unwrap();
    p.create("dir/file", 0o666).unwrap();
    fails!(t.user(100).stat("dir/file"), EACCES);
    p.set("dir", ACCESS, &acl("u::rwx,u:100:--x,g::---,m::rwx,o::---")).unwrap();
    t.user(100).stat("dir/file").unwrap();
    fails!(t.user(101).stat("dir/file"), EACCES);
    fails!(t.user(100).create("dir/new", 0o644), EACCES);
    p.set("dir", ACCESS, &acl("u::rwx,u:100:-wx,g::---,m::rwx,o::---")).unwrap();
    t.user(100).create("dir/new", 0o644).unwrap();
    // And back, past all caches.
    p.set("dir", ACCESS, &acl("u::rwx,g::---,o::---")).unwrap();
    fails!(t.user(100).stat("dir/file"), EACCES);
}

fn owners_and_root_only_may_set_it(t: &Fixture) {
    file(t, "u::rw-,u:100:rw-,g::rw-,m::rw-,o::rw-");
    let list = acl("u::rw-,u:100:rwx,g::r--,m::rwx,o::---");
    fails!(t.user(100).set("file", ACCESS, &list), EPERM);
    fails!(t.user(100).removexattr("file", ACCESS.as_bytes(), Follow::Yes), EPERM);
    t.user(1).set("file", ACCESS, &list).unwrap();
    // Everybody may look.
    assert_eq!(t.user(50).attr("file", ACCESS).unwrap(), list);
}

fn invalid_lists_are_einval(t: &Fixture) {
    file(t, "u::rw-,g::r--,o::---");
    for bad in [
        "u::rw-,g::r--",
        "u::rw-,u:100:r--,g::r--,o::---",
        "u::rw-,u::rw-,g::r--,o::---",
        "u::rw-,u:100:r--,u:100:r--,g::r--,m::r--,o::---",
        "g::r--,u::rw-,o::---",
    ] {
        fails!(t.root.set("file", ACCESS, &acl(bad)), EINVAL);
    }
    let good = acl("u::rw-,g::r--,o::---");
    fails!(t.root.set("file", ACCESS, &good[..good.len() - 1]), EINVAL);
    fails!(t.root.set("file", ACCESS, &[9, 0, 0, 0]), EOPNOTSUPP | EINVAL);
    assert_eq!(t.root.mode("file"), Ok(0o640));
}

fn default_lists_are_for_directories(t: &Fixture) {
    file(t, "u::rw-,g::r--,o::---");
    fails!(t.root.set("file", DEFAULT, &acl("u::rwx,g::r-x,o::---")), EACCES | EINVAL);
    t.root.mkdir("dir", 0o755).unwrap();
    t.root.set("dir", DEFAULT, &acl("u::rwx,g::r-x,o::---")).unwrap();
    assert_eq!(t.root.mode("dir"), Ok(0o755), "its own mode stays");
    assert_eq!(t.root.attr("dir", DEFAULT).unwrap(), acl("u::rwx,g::r-x,o::---"));
    t.root.removexattr("dir", DEFAULT.as_bytes(), Follow::Yes).unwrap();
    fails!(t.root.attr("dir", DEFAULT), ENODATA);
}

fn new_files_inherit(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    p.set("dir", DEFAULT, &acl("u::rwx,u:100:rwx,g::r-x,m::rwx,o::---")).unwrap();
    p.create("dir/file", 0o640).unwrap();
    assert_eq!(p.mode("dir/file"), Ok(0o640));
    let list = acl("u::rw-,u:100:rwx,g::r-x,m::r--,o::---");
    assert_eq!(p.attr("dir/file", ACCESS).unwrap(), list);
    t.user(100).can_open("dir/file", O::RDONLY).unwrap();
    fails!(t.user(100).open("dir/file", O::WRONLY, 0), EACCES);
    fails!(p.attr("dir/file", DEFAULT), ENODATA);
    if t.caps().contains(Cap::NODES) {
        p.mkfifo("dir/fifo", 0o666).unwrap();
        assert_eq!(p.mode("dir/fifo"), Ok(0o660));
    }
}

fn new_directories_hand_on(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    let default = acl("u::rwx,u:100:rwx,g::r-x,m::rwx,o::r-x");
    p.set("dir", DEFAULT, &default).unwrap();
    p.mkdir("dir/sub", 0o755).unwrap();
    p.mkdir("dir/sub/deeper", 0o777).unwrap();
    for path in ["dir/sub", "dir/sub/deeper"] {
        assert_eq!(p.attr(path, DEFAULT).unwrap(), default);
    }
    assert_eq!(p.mode("dir/sub"), Ok(0o755));
    p.create("dir/sub/deeper/file", 0o666).unwrap();
    t.user(100).can_open("dir/sub/deeper/file", O::RDWR).unwrap();
    // A directory that is moved keeps what it has.
    p.mkdir("other", 0o755).unwrap();
    p.rename("other", "dir/other").unwrap();
    fails!(p.attr("dir/other", DEFAULT), ENODATA);
}

fn the_umask_does_not_count_with_a_default_list(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    p.set("dir", DEFAULT, &acl("u::rwx,g::rwx,o::r-x")).unwrap();
    p.umask(0o077);
    p.create("dir/file", 0o666).unwrap();
    p.create("file", 0o666).unwrap();
    assert_eq!(p.mode("dir/file"), Ok(0o664));
    assert_eq!(p.mode("file"), Ok(0o600));
}

fn minimal_default_lists_set_the_mode_alone(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    p.set("dir", DEFAULT, &acl("u::rwx,g::r-x,o::---")).unwrap();
    p.create("dir/file", 0o666).unwrap();
    assert_eq!(p.mode("dir/file"), Ok(0o640));
    fails!(p.attr("dir/file", ACCESS), ENODATA);
}

fn symbolic_links_have_none(t: &Fixture) {
    t.root.symlink("nowhere", "link").unwrap();
    let list = acl("u::rw-,g::r--,o::---");
    let set = t.root.setxattr("link", ACCESS.as_bytes(), &list, XattrMode::Set, Follow::No);
    fails!(set, EOPNOTSUPP);
}

fn they_survive_the_mount(t: &Fixture) {
    let p = &t.root;
    file(t, "u::rw-,u:100:rw-,u:70000:r--,g::r--,g:200:rw-,m::rw-,o::---");
    p.mkdir("dir", 0o755).unwrap();
    let default = acl("u::rwx,u:100:rwx,g::r-x,m::rwx,o::---");
    p.set("dir", DEFAULT, &default).unwrap();
    t.mount_again(MountFlags::default());
    assert!(writes(t, 100, 9) && !writes(t, 70_000, 9) && reads(t, 70_000, 9) && writes(t, 5, 200));
    assert_eq!(p.attr("dir", DEFAULT).unwrap(), default);
    p.create("dir/file", 0o666).unwrap();
    t.mount_again(MountFlags::default());
    assert_eq!(
        p.attr("dir/file", ACCESS).unwrap(),
        acl("u::rw-,u:100:rwx,g::r-x,m::rw-,o::---")
    );
}

fn access_and_open_agree(t: &Fixture) {
    file(t, "u::rw-,u:100:r--,g::---,m::rw-,o::---");
    t.user(100).access("file", Access::R).unwrap();
    fails!(t.user(100).access("file", Access::W), EACCES);
    fails!(t.user(100).access("file", Access::R | Access::W), EACCES);
    fails!(t.user(101).access("file", Access::R), EACCES);
    // Root needs an execute bit somewhere.
    fails!(t.root.access("file", Access::X), EACCES);
}
