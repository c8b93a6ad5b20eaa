//! `link`.

use crate::prelude::*;

for_each_fs! {
    both_names_are_one_file needs LINKS,
    times_of_directory_and_file_change needs LINKS,
    what_exists_is_eexist needs LINKS,
    missing_is_enoent needs LINKS,
    a_directory_is_eperm needs LINKS,
    a_file_on_the_way_is_enotdir needs LINKS,
    a_trailing_slash_is_refused needs LINKS,
    another_mount_is_exdev needs LINKS,
    a_symbolic_link_itself_gets_a_name needs LINKS SYMLINKS,
    followed_the_target_gets_a_name needs LINKS SYMLINKS,
    nodes_get_names needs LINKS NODES,
    names_in_different_directories needs LINKS,
    many_names needs LINKS,
    too_many_names_are_emlink needs LINKS,
    an_unlinked_file_gets_no_name_back needs LINKS,
    anybody_links_a_file_of_another needs LINKS OWNERS,
    existence_comes_before_permission needs LINKS OWNERS,
}

fn both_names_are_one_file(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"content").unwrap();
    p.link("a", "b").unwrap();
    assert_eq!(p.stat("a"), p.stat("b"));
    assert_eq!(p.nlink("a"), Ok(2));
    p.put("b", b"changed").unwrap();
    assert_eq!(p.get("a").unwrap(), b"changed");
    p.chmod("b", 0o600).unwrap();
    assert_eq!(p.mode("a"), p.mode("b"));
}

fn times_of_directory_and_file_change(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let (dir, file) = (p.stat(".").unwrap(), p.stat("file").unwrap());
    t.tick();
    p.link("file", "other").unwrap();
    let (dir_after, file_after) = (p.stat(".").unwrap(), p.stat("file").unwrap());
    assert!(dir_after.mtime > dir.mtime && dir_after.ctime > dir.ctime);
    assert!(file_after.ctime > file.ctime);
    assert_eq!((file_after.mtime, file_after.atime), (file.mtime, file.atime));
}

fn what_exists_is_eexist(t: &Fixture) {
    let p = &t.root;
    p.create("a", 0o644).unwrap();
    p.create("b", 0o644).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    for path in ["a", "b", "dir", ".", "dir/..", "/"] {
        fails!(p.link("a", path), EEXIST);
    }
    assert_eq!(p.nlink("a"), Ok(1));
}

fn missing_is_enoent(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    fails!(p.link("none", "new"), ENOENT);
    fails!(p.link("file", "none/new"), ENOENT);
    fails!(p.link("", "new"), ENOENT);
    fails!(p.link("file", ""), ENOENT);
}

fn a_directory_is_eperm(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    fails!(t.root.link("dir", "new"), EPERM);
    fails!(t.root.link(".", "new"), EPERM);
    assert_eq!(t.root.names("."), ["dir"]);
}

fn a_file_on_the_way_is_enotdir(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.link("file/x", "new"), ENOTDIR);
    fails!(t.root.link("file", "file/new"), ENOTDIR);
}

fn a_trailing_slash_is_refused(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.link("file/", "new"), ENOTDIR);
    fails!(t.root.link("file", "new/"), ENOENT | ENOTDIR);
    assert_eq!(t.root.names("."), ["file"]);
}

fn another_mount_is_exdev(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    t.root.put("/outside", b"").unwrap();
    fails!(t.root.link("file", "/new"), EXDEV);
    fails!(t.root.link("/outside", "new"), EXDEV);
    // The new name is looked at first.
    fails!(t.root.link("file", "/outside"), EEXIST | EXDEV);
}

fn a_symbolic_link_itself_gets_a_name(t: &Fixture) {
    let p = &t.root;
    p.symlink("nowhere", "link").unwrap();
    p.link("link", "second").unwrap();
    assert_eq!(p.readlink("second").unwrap(), b"nowhere");
    assert_eq!(p.nlink("link"), Ok(2));
}

fn followed_the_target_gets_a_name(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.symlink("file", "link").unwrap();
    let link = |from: &[u8], to: &[u8]| p.linkat((At::Cwd, from), (At::Cwd, to), Follow::Yes);
    link(b"link", b"second").unwrap();
    assert_eq!(p.ino("second"), p.ino("file"));
    p.symlink("nowhere", "dangling").unwrap();
    fails!(link(b"dangling", b"third"), ENOENT);
}

fn nodes_get_names(t: &Fixture) {
    let kinds = [FileType::Fifo, FileType::Socket, FileType::Block, FileType::Character];
    for (at, kind) in kinds.into_iter().enumerate() {
        let (a, b) = (format!("a{at}"), format!("b{at}"));
        t.root.mknod(&a, kind, 0o644).unwrap();
        t.root.link(&a, &b).unwrap();
        assert_eq!(t.root.lstat(&a), t.root.lstat(&b));
        t.root.unlink(&a).unwrap();
        assert_eq!(t.root.lstat(&b).unwrap().file_type, kind);
    }
}

fn names_in_different_directories(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("file", b"content").unwrap();
    p.link("file", "dir/file").unwrap();
    p.unlink("file").unwrap();
    assert_eq!(p.get("dir/file").unwrap(), b"content");
    assert_eq!(p.nlink("dir/file"), Ok(1));
}

fn many_names(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    for n in 0..500 {
        p.link("file", &format!("name{n}")).unwrap();
    }
    assert_eq!(p.nlink("file"), Ok(501));
    for n in 0..500 {
        p.unlink(&format!("name{n}")).unwrap();
    }
    assert_eq!(p.nlink("file"), Ok(1));
}

fn too_many_names_are_emlink(t: &Fixture) {
    let p = &t.root;
    let Some(most) = t.numbers().link_max else {
        // No number: the limit is space, and many names are no trouble.
        return many_names(t);
    };
    p.create("file", 0o644).unwrap();
    let mut made = 1;
    let refused = loop {
        match p.link("file", &format!("{made}")) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(made <= most, "more than {most} names");
    };
    assert_eq!((refused, made), (Errno::EMLINK, most));
    assert_eq!(p.nlink("file"), Ok(most));
    p.unlink("1").unwrap();
    p.link("file", "1").unwrap();
}

fn an_unlinked_file_gets_no_name_back(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.unlink("file").unwrap();
    let link = p.linkat((At::Fd(fd), b""), (At::Cwd, b"back"), Follow::No);
    fails!(link, ENOENT);
    assert!(p.names(".").is_empty());
}

/// What NetBSD does unless told otherwise, and POSIX.
fn anybody_links_a_file_of_another(t: &Fixture) {
    t.user(100).create("file", 0o600).unwrap();
    t.user(101).link("file", "second").unwrap();
    t.root.link("file", "third").unwrap();
    let stat = t.root.stat("second").unwrap();
    assert_eq!((stat.uid, stat.nlink), (100, 3));
    fails!(t.user(101).open("second", O::RDONLY, 0), EACCES);
}

fn existence_comes_before_permission(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    t.root.create("dir/file", 0o644).unwrap();
    let user = t.user(100);
    user.create("mine", 0o644).unwrap();
    fails!(user.link("mine", "dir/file"), EEXIST);
    fails!(user.link("mine", "dir/new"), EACCES);
}
