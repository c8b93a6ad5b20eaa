//! `rename` of directories.

use crate::prelude::*;

for_each_fs! {
    a_directory_moves_with_all_that_is_in_it,
    link_counts_of_the_parents_follow needs SUBDIRS,
    an_empty_directory_is_replaced,
    a_full_directory_is_enotempty,
    into_itself_is_einval,
    into_a_descendant_is_einval_through_links needs SYMLINKS,
    over_an_ancestor_is_enotempty,
    trailing_slashes_are_allowed,
    a_replaced_open_directory_is_gone,
    an_open_directory_moves_along,
    a_current_directory_moves_along,
    moving_needs_write_permission_on_the_directory needs OWNERS,
    up_and_down_a_tree,
    many_moves_keep_the_tree_whole,
}

fn a_directory_moves_with_all_that_is_in_it(t: &Fixture) {
    let p = &t.root;
    for dir in ["a", "a/dir", "a/dir/sub", "b"] {
        p.mkdir(dir, 0o755).unwrap();
    }
    p.put("a/dir/sub/file", b"content").unwrap();
    p.rename("a/dir", "b/moved").unwrap();
    assert_eq!(p.get("b/moved/sub/file").unwrap(), b"content");
    fails!(p.stat("a/dir"), ENOENT);
    fails!(p.stat("a/dir/sub/file"), ENOENT);
    assert_eq!(p.ino("b/moved/.."), p.ino("b"));
    p.rename("b/moved", "b/renamed").unwrap();
    assert_eq!(p.get("b/renamed/sub/file").unwrap(), b"content");
}

fn link_counts_of_the_parents_follow(t: &Fixture) {
    let p = &t.root;
    for dir in ["a", "a/dir", "b", "b/old"] {
        p.mkdir(dir, 0o755).unwrap();
    }
    let counts = || (p.nlink("a").unwrap(), p.nlink("b").unwrap());
    assert_eq!(counts(), (3, 3));
    p.rename("a/dir", "b/dir").unwrap();
    assert_eq!(counts(), (2, 4));
    p.rename("b/dir", "b/old").unwrap();
    assert_eq!(counts(), (2, 3));
    p.rename("b/old", "a/dir").unwrap();
    assert_eq!(counts(), (3, 2));
    p.mkdir("b/empty", 0o755).unwrap();
    p.rename("a/dir", "b/empty").unwrap();
    assert_eq!(counts(), (2, 3));
}

fn an_empty_directory_is_replaced(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.create("a/file", 0o644).unwrap();
    p.mkdir("b", 0o755).unwrap();
    let (ino, fd) = (p.ino("a"), p.open("a", O::DIRECTORY, 0).unwrap());
    p.rename("a", "b").unwrap();
    assert_eq!(p.fstat(fd), p.stat("b"), "it is the same directory");
    if t.caps().contains(Cap::NUMBERS) {
        assert_eq!(p.ino("b"), ino);
    }
    assert_eq!(p.names("b"), ["file"]);
    assert_eq!(p.names("."), ["b"]);
    p.mkdirat(At::Fd(fd), "sub", 0o755).unwrap();
    assert_eq!(p.names("b"), ["file", "sub"]);
    assert_eq!(p.ino("b/sub/.."), p.ino("b"));
    p.close(fd).unwrap();
}

fn a_full_directory_is_enotempty(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("b", 0o755).unwrap();
    p.create("b/file", 0o644).unwrap();
    fails!(p.rename("a", "b"), ENOTEMPTY | EEXIST);
    p.mkdir("c", 0o755).unwrap();
    p.mkdir("c/sub", 0o755).unwrap();
    fails!(p.rename("a", "c"), ENOTEMPTY | EEXIST);
    assert_eq!(p.names("."), ["a", "b", "c"]);
}

fn into_itself_is_einval(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("a/b", 0o755).unwrap();
    p.mkdir("a/b/c", 0o755).unwrap();
    fails!(p.rename("a", "a/new"), EINVAL);
    fails!(p.rename("a", "a/b"), EINVAL);
    fails!(p.rename("a", "a/b/new"), EINVAL);
    fails!(p.rename("a", "a/b/c"), EINVAL);
    fails!(p.rename("a/b", "a/b/c"), EINVAL);
    fails!(p.rename("a", "./a/b/../b/new"), EINVAL);
    assert_eq!(p.names("a/b"), ["c"]);
}

fn into_a_descendant_is_einval_through_links(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("a/b", 0o755).unwrap();
    p.symlink("a/b", "link").unwrap();
    fails!(p.rename("a", "link/new"), EINVAL);
    p.chdir("a/b").unwrap();
    fails!(p.rename("../../a", "new"), EINVAL);
}

fn over_an_ancestor_is_enotempty(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("a/b", 0o755).unwrap();
    p.mkdir("a/b/c", 0o755).unwrap();
    fails!(p.rename("a/b/c", "a/b"), ENOTEMPTY | EEXIST | EINVAL);
    fails!(p.rename("a/b/c", "a"), ENOTEMPTY | EEXIST | EINVAL);
    p.create("a/b/file", 0o644).unwrap();
    fails!(p.rename("a/b/file", "a"), EISDIR | ENOTEMPTY | EINVAL);
}

fn trailing_slashes_are_allowed(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.rename("a/", "b/").unwrap();
    p.mkdir("c", 0o755).unwrap();
    p.rename("b//", "c//").unwrap();
    assert_eq!(p.names("."), ["c"]);
}

fn a_replaced_open_directory_is_gone(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("b", 0o755).unwrap();
    let fd = p.open("b", O::DIRECTORY, 0).unwrap();
    p.rename("a", "b").unwrap();
    assert_eq!(p.fstat(fd).unwrap().nlink, 0);
    fails!(p.openat(At::Fd(fd), "new", O::CREAT | O::WRONLY, 0o644), ENOENT);
    p.create("b/file", 0o644).unwrap();
}

fn an_open_directory_moves_along(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("b", 0o755).unwrap();
    let fd = p.open("a", O::DIRECTORY, 0).unwrap();
    p.rename("a", "b/moved").unwrap();
    p.mkdirat(At::Fd(fd), "sub", 0o755).unwrap();
    assert_eq!(p.names("b/moved"), ["sub"]);
}

fn a_current_directory_moves_along(t: &Fixture) {
    let p = t.root.fork();
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("b", 0o755).unwrap();
    p.chdir("a").unwrap();
    t.root.rename("a", "b/moved").unwrap();
    p.create("file", 0o644).unwrap();
    assert_eq!(t.root.names("b/moved"), ["file"]);
    assert_eq!(p.getcwd().unwrap(), b"/mnt/work/b/moved");
    fails!(p.rename("../../b", "x"), EINVAL);
}

fn moving_needs_write_permission_on_the_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("from", 0o777).unwrap();
    p.mkdir("to", 0o777).unwrap();
    p.mkdir("from/dir", 0o555).unwrap();
    p.chown("from/dir", Some(101), None).unwrap();
    let user = t.user(100);
    // Its `..` is written; POSIX allows the error, BSD and Linux have it.
    fails!(user.rename("from/dir", "to/dir"), EACCES);
    // In the same directory it is only a name.
    user.rename("from/dir", "from/renamed").unwrap();
}

fn up_and_down_a_tree(t: &Fixture) {
    let p = &t.root;
    for dir in ["a", "a/b", "a/b/c", "a/b/c/d"] {
        p.mkdir(dir, 0o755).unwrap();
    }
    p.rename("a/b/c/d", "d").unwrap();
    p.rename("a", "d/a").unwrap();
    assert_eq!(p.names("d/a/b"), ["c"]);
    p.rename("d/a/b/c", "c").unwrap();
    p.rename("d", "c/d").unwrap();
    assert_eq!(p.names("c/d/a"), ["b"]);
    assert_eq!(p.names("."), ["c"]);
    assert_eq!(p.ino("c/d/a/b/../../.."), p.ino("c"));
}

fn many_moves_keep_the_tree_whole(t: &Fixture) {
    let p = &t.root;
    for n in 0..8 {
        p.mkdir(&format!("d{n}"), 0o755).unwrap();
    }
    // Each directory goes into the next, then all come back.
    let mut path = String::from("d0");
    for n in 1..8 {
        p.rename(&path, &format!("d{n}/inner")).unwrap();
        path = format!("d{n}");
    }
    let deepest = "d7".to_string() + &"/inner".repeat(7);
    p.put(&format!("{deepest}/file"), b"deep").unwrap();
    for n in (0..8).rev() {
        let inner = "d7".to_string() + &"/inner".repeat(n);
        p.rename(&inner, &format!("back{n}")).unwrap();
    }
    assert_eq!(p.get("back7/file").unwrap(), b"deep");
    assert_eq!(p.names(".").len(), 8);
}
