//! Extended attributes.

use crate::prelude::*;

for_each_fs! {
    what_is_set_is_got needs XATTRS,
    a_missing_attribute_is_enoattr needs XATTRS,
    create_and_replace_do_what_they_say needs XATTRS,
    removing_takes_it_away needs XATTRS,
    every_name_is_listed_once needs XATTRS,
    values_may_be_empty_and_binary needs XATTRS,
    values_of_many_sizes needs XATTRS,
    too_much_is_refused_and_changes_nothing needs XATTRS,
    names_have_a_name_space_and_a_length needs XATTRS,
    user_attributes_need_file_permissions needs XATTRS OWNERS,
    trusted_attributes_are_roots needs XATTRS,
    security_attributes_are_read_by_all needs XATTRS,
    symbolic_links_have_no_user_attributes needs XATTRS SYMLINKS,
    nodes_have_no_user_attributes needs XATTRS NODES,
    a_sticky_directorys_attributes_are_its_owners needs XATTRS OWNERS,
    directories_have_attributes needs XATTRS,
    links_are_followed_unless_told_not_to needs XATTRS SYMLINKS,
    by_descriptor needs XATTRS,
    they_survive_the_mount needs XATTRS PERSISTENT,
    files_with_the_same_attributes_are_independent needs XATTRS,
    they_go_with_the_file needs XATTRS,
    missing_files_are_enoent,
}

fn file(t: &Fixture) -> &Proc {
    t.root.put("file", b"content").unwrap();
    &t.root
}

fn list(p: &Proc, path: &str) -> Vec<String> {
    let names = p.listxattr(path, Follow::Yes).unwrap();
    let mut names: Vec<_> = names.into_iter().map(|n| String::from_utf8(n).unwrap()).collect();
    names.sort();
    names
}

fn what_is_set_is_got(t: &Fixture) {
    let p = file(t);
    p.set("file", "user.name", b"value").unwrap();
    assert_eq!(p.attr("file", "user.name").unwrap(), b"value");
    p.set("file", "user.name", b"another value").unwrap();
    assert_eq!(p.attr("file", "user.name").unwrap(), b"another value");
    p.set("file", "user.name", b"v").unwrap();
    assert_eq!(p.attr("file", "user.name").unwrap(), b"v");
    assert_eq!(p.get("file").unwrap(), b"content");
}

fn a_missing_attribute_is_enoattr(t: &Fixture) {
    let p = file(t);
    fails!(p.attr("file", "user.none"), ENODATA);
    fails!(p.removexattr("file", b"user.none", Follow::Yes), ENODATA);
    p.set("file", "user.other", b"x").unwrap();
    fails!(p.attr("file", "user.none"), ENODATA);
    fails!(p.attr("file", "user.othe"), ENODATA);
    fails!(p.attr("file", "trusted.other"), ENODATA);
}

fn create_and_replace_do_what_they_say(t: &Fixture) {
    let p = file(t);
    let set = |value: &[u8], mode| p.setxattr("file", b"user.x", value, mode, Follow::Yes);
    fails!(set(b"1", XattrMode::Replace), ENODATA);
    set(b"1", XattrMode::Create).unwrap();
    fails!(set(b"2", XattrMode::Create), EEXIST);
    assert_eq!(p.attr("file", "user.x").unwrap(), b"1");
    set(b"3", XattrMode::Replace).unwrap();
    assert_eq!(p.attr("file", "user.x").unwrap(), b"3");
}

fn removing_takes_it_away(t: &Fixture) {
    let p = file(t);
    for name in ["user.a", "user.b", "user.c"] {
        p.set("file", name, b"value").unwrap();
    }
    p.removexattr("file", b"user.b", Follow::Yes).unwrap();
    assert_eq!(list(p, "file"), ["user.a", "user.c"]);
    p.removexattr("file", b"user.a", Follow::Yes).unwrap();
    p.removexattr("file", b"user.c", Follow::Yes).unwrap();
    assert!(list(p, "file").is_empty());
}

fn every_name_is_listed_once(t: &Fixture) {
    let p = file(t);
    assert!(list(p, "file").is_empty());
    let mut names: Vec<_> = (0..20).map(|n| format!("user.name{n}")).collect();
    for name in names.iter().chain(&names) {
        p.set("file", name, b"v").unwrap();
    }
    p.set("file", "trusted.t", b"v").unwrap();
    names.push("trusted.t".into());
    names.sort();
    assert_eq!(list(p, "file"), names);
}

fn values_may_be_empty_and_binary(t: &Fixture) {
    let p = file(t);
    let binary: Vec<u8> = (0..=255).collect();
    p.set("file", "user.empty", b"").unwrap();
    p.set("file", "user.binary", &binary).unwrap();
    assert_eq!(p.attr("file", "user.empty").unwrap(), b"");
    assert_eq!(p.attr("file", "user.binary").unwrap(), binary);
}

fn values_of_many_sizes(t: &Fixture) {
    let p = file(t);
    for len in [1, 3, 4, 5, 31, 32, 60, 100, 200, 500, 800] {
        p.set("file", "user.x", &vec![len as u8; len]).unwrap();
        assert_eq!(p.attr("file", "user.x").unwrap(), vec![len as u8; len]);
        p.set("file", "user.y", &[7; 5]).unwrap();
        assert_eq!(p.attr("file", "user.y").unwrap(), [7; 5]);
    }
    for len in [800, 10, 400, 0, 60] {
        p.set("file", "user.x", &vec![1; len]).unwrap();
        assert_eq!(p.attr("file", "user.x").unwrap().len(), len);
    }
}

fn too_much_is_refused_and_changes_nothing(t: &Fixture) {
    let p = file(t);
    p.set("file", "user.x", b"value").unwrap();
    fails!(p.set("file", "user.x", &vec![1; 65_537]), E2BIG | ENOSPC | ERANGE);
    fails!(p.set("file", "user.y", &vec![1; 1 << 20]), E2BIG | ENOSPC | ERANGE);
    assert_eq!(p.attr("file", "user.x").unwrap(), b"value");
    assert_eq!(list(p, "file"), ["user.x"]);
    // As many as fit; the first that does not leaves the others.
    let mut made = 0;
    while made < 200 {
        match p.set("file", &format!("user.name-{made}"), &[made as u8; 100]) {
            Ok(()) => made += 1,
            Err(error) => {
                assert_eq!(error, Errno::ENOSPC);
                break;
            }
        }
    }
    assert!(made >= 5, "{made}");
    for n in 0..made {
        assert_eq!(p.attr("file", &format!("user.name-{n}")).unwrap(), [n as u8; 100]);
    }
}

fn names_have_a_name_space_and_a_length(t: &Fixture) {
    let p = file(t);
    fails!(p.set("file", "plain", b"x"), EOPNOTSUPP);
    fails!(p.set("file", "unknown.x", b"x"), EOPNOTSUPP);
    fails!(p.attr("file", "plain"), EOPNOTSUPP | ENODATA);
    fails!(p.set("file", "", b"x"), ERANGE | EINVAL);
    fails!(p.set("file", "user.", b"x"), EINVAL);
    fails!(p.set("file", &format!("user.{}", long_name(251)), b"x"), ERANGE | ENAMETOOLONG);
    let longest = format!("user.{}", long_name(250));
    p.set("file", &longest, b"x").unwrap();
    assert_eq!(list(p, "file"), [longest]);
}

fn user_attributes_need_file_permissions(t: &Fixture) {
    let p = file(t);
    p.set("file", "user.x", b"value").unwrap();
    let user = t.user(100);
    p.chmod("file", 0o644).unwrap();
    assert_eq!(user.attr("file", "user.x").unwrap(), b"value");
    fails!(user.set("file", "user.x", b"mine"), EACCES);
    fails!(user.removexattr("file", b"user.x", Follow::Yes), EACCES);
    p.chmod("file", 0o600).unwrap();
    fails!(user.attr("file", "user.x"), EACCES);
    assert_eq!(list(&user, "file"), ["user.x"], "names need no permission");
    p.chmod("file", 0o666).unwrap();
    user.set("file", "user.x", b"mine").unwrap();
}

fn trusted_attributes_are_roots(t: &Fixture) {
    let p = file(t);
    p.chmod("file", 0o666).unwrap();
    p.set("file", "trusted.x", b"value").unwrap();
    let user = t.user(100);
    fails!(user.attr("file", "trusted.x"), ENODATA | EPERM);
    fails!(user.set("file", "trusted.x", b"mine"), EPERM);
    fails!(user.removexattr("file", b"trusted.x", Follow::Yes), EPERM);
    assert!(list(&user, "file").is_empty());
    assert_eq!(list(p, "file"), ["trusted.x"]);
    assert_eq!(p.attr("file", "trusted.x").unwrap(), b"value");
}

fn security_attributes_are_read_by_all(t: &Fixture) {
    let p = file(t);
    p.chmod("file", 0o600).unwrap();
    p.set("file", "security.label", b"value").unwrap();
    let user = t.user(100);
    assert_eq!(user.attr("file", "security.label").unwrap(), b"value");
    fails!(user.set("file", "security.label", b"mine"), EPERM);
}

fn symbolic_links_have_no_user_attributes(t: &Fixture) {
    let p = &t.root;
    p.symlink("nowhere", "link").unwrap();
    let set = |name: &[u8]| p.setxattr("link", name, b"x", XattrMode::Set, Follow::No);
    fails!(set(b"user.x"), EPERM | EOPNOTSUPP);
    set(b"trusted.x").unwrap();
    assert_eq!(p.getxattr("link", b"trusted.x", Follow::No).unwrap(), b"x");
}

fn nodes_have_no_user_attributes(t: &Fixture) {
    t.root.mkfifo("fifo", 0o666).unwrap();
    fails!(t.root.set("fifo", "user.x", b"x"), EPERM | EOPNOTSUPP);
    fails!(t.root.attr("fifo", "user.x"), ENODATA | EPERM);
    t.root.set("fifo", "trusted.x", b"x").unwrap();
    assert_eq!(t.root.attr("fifo", "trusted.x").unwrap(), b"x");
}

fn a_sticky_directorys_attributes_are_its_owners(t: &Fixture) {
    t.root.mkdir("dir", 0o777).unwrap();
    t.user(100).set("dir", "user.x", b"x").unwrap();
    t.root.chmod("dir", 0o1777).unwrap();
    fails!(t.user(100).set("dir", "user.x", b"y"), EPERM | EACCES);
    t.root.set("dir", "user.x", b"z").unwrap();
}

fn directories_have_attributes(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.set("dir", "user.x", b"value").unwrap();
    for n in 0..50 {
        p.create(&format!("dir/file{n}"), 0o644).unwrap();
    }
    assert_eq!(p.attr("dir", "user.x").unwrap(), b"value");
    assert!(list(p, "dir/file1").is_empty(), "they are not inherited");
}

fn links_are_followed_unless_told_not_to(t: &Fixture) {
    let p = file(t);
    p.symlink("file", "link").unwrap();
    p.set("link", "user.x", b"value").unwrap();
    assert_eq!(p.attr("file", "user.x").unwrap(), b"value");
    assert!(p.listxattr("link", Follow::No).unwrap().is_empty());
}

fn by_descriptor(t: &Fixture) {
    let p = file(t);
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.unlink("file").unwrap();
    p.fsetxattr(fd, b"user.x", b"value", XattrMode::Create).unwrap();
    fails!(p.fsetxattr(fd, b"user.x", b"value", XattrMode::Create), EEXIST);
    assert_eq!(p.fgetxattr(fd, b"user.x").unwrap(), b"value");
    assert_eq!(p.flistxattr(fd).unwrap(), [b"user.x".to_vec()]);
    fails!(p.fgetxattr(9999, b"user.x"), EBADF);
    fails!(p.flistxattr(9999), EBADF);
}

fn they_survive_the_mount(t: &Fixture) {
    let p = file(t);
    let sizes = [0, 1, 30, 100, 300];
    for len in sizes {
        p.set("file", &format!("user.size{len}"), &vec![len as u8; len]).unwrap();
    }
    t.mount_again(MountFlags::default());
    for len in sizes {
        assert_eq!(p.attr("file", &format!("user.size{len}")).unwrap(), vec![len as u8; len]);
    }
    p.set("file", "user.size1", b"changed").unwrap();
    t.mount_again(MountFlags::default());
    assert_eq!(p.attr("file", "user.size1").unwrap(), b"changed");
    assert_eq!(p.get("file").unwrap(), b"content");
}

fn files_with_the_same_attributes_are_independent(t: &Fixture) {
    let p = &t.root;
    for name in ["a", "b", "c"] {
        p.create(name, 0o644).unwrap();
        p.set(name, "user.same", &[5; 300]).unwrap();
    }
    p.sync().unwrap();
    p.set("b", "user.same", b"changed").unwrap();
    p.unlink("c").unwrap();
    assert_eq!(p.attr("a", "user.same").unwrap(), [5; 300]);
    assert_eq!(p.attr("b", "user.same").unwrap(), b"changed");
}

fn they_go_with_the_file(t: &Fixture) {
    let p = &t.root;
    p.create("first", 0o644).unwrap();
    p.sync().unwrap();
    let before = p.statvfs(".").unwrap().blocks_free;
    for n in 0..20u8 {
        let name = format!("file{n}");
        p.create(&name, 0o644).unwrap();
        p.set(&name, "user.x", &[n; 500]).unwrap();
    }
    for n in 0..20 {
        p.unlink(&format!("file{n}")).unwrap();
    }
    p.sync().unwrap();
    // The directory may have grown by a block.
    assert!(p.statvfs(".").unwrap().blocks_free + 1 >= before);
    p.create("file1", 0o644).unwrap();
    assert!(list(p, "file1").is_empty());
}

fn missing_files_are_enoent(t: &Fixture) {
    fails!(t.root.attr("none", "user.x"), ENOENT);
    fails!(t.root.set("none", "user.x", b"v"), ENOENT);
    fails!(t.root.listxattr("none", Follow::Yes), ENOENT);
    fails!(t.root.removexattr("none", b"user.x", Follow::Yes), ENOENT);
}
