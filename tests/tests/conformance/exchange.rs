//! `rename` with `EXCHANGE`.

use crate::prelude::*;

for_each_fs! {
    two_files_change_places needs EXCHANGE,
    files_in_different_directories_change_places needs EXCHANGE,
    a_file_and_a_directory_change_places needs EXCHANGE,
    full_directories_change_places needs EXCHANGE,
    both_must_exist needs EXCHANGE,
    with_itself_nothing_happens needs EXCHANGE,
    with_an_ancestor_is_einval needs EXCHANGE,
    another_mount_is_exdev needs EXCHANGE,
    symbolic_links_change_places needs EXCHANGE SYMLINKS,
    link_counts_follow needs EXCHANGE,
}

fn exchange(p: &Proc, a: &str, b: &str) -> Result<(), Errno> {
    p.rename_with(a, b, RenameFlags::EXCHANGE)
}

fn two_files_change_places(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"in a").unwrap();
    p.put("b", b"in b").unwrap();
    let inos = (p.ino("a"), p.ino("b"));
    exchange(p, "a", "b").unwrap();
    assert_eq!((p.ino("b"), p.ino("a")), inos);
    assert_eq!(p.get("a").unwrap(), b"in b");
    assert_eq!(p.get("b").unwrap(), b"in a");
    exchange(p, "a", "b").unwrap();
    assert_eq!(p.get("a").unwrap(), b"in a");
}

fn files_in_different_directories_change_places(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("a", b"in a").unwrap();
    p.put("dir/b", b"in b").unwrap();
    exchange(p, "a", "dir/b").unwrap();
    assert_eq!(p.get("a").unwrap(), b"in b");
    assert_eq!(p.get("dir/b").unwrap(), b"in a");
}

fn a_file_and_a_directory_change_places(t: &Fixture) {
    let p = &t.root;
    p.mkdir("x", 0o755).unwrap();
    p.put("x/file", b"content").unwrap();
    p.mkdir("dir", 0o755).unwrap();
    p.create("dir/inside", 0o644).unwrap();
    exchange(p, "x/file", "dir").unwrap();
    assert_eq!(p.names("x/file"), ["inside"]);
    assert_eq!(p.get("dir").unwrap(), b"content");
    assert_eq!(p.ino("x/file/.."), p.ino("x"));
    exchange(p, "dir", "x").unwrap();
    assert_eq!(p.names("dir/file"), ["inside"]);
}

fn full_directories_change_places(t: &Fixture) {
    let p = &t.root;
    for dir in ["a", "a/one", "b", "b/two"] {
        p.mkdir(dir, 0o755).unwrap();
    }
    p.create("a/one/x", 0o644).unwrap();
    p.create("b/two/y", 0o644).unwrap();
    exchange(p, "a/one", "b/two").unwrap();
    assert_eq!(p.names("a/one"), ["y"]);
    assert_eq!(p.names("b/two"), ["x"]);
    assert_eq!(p.ino("a/one/.."), p.ino("a"));
    assert_eq!(p.ino("b/two/.."), p.ino("b"));
}

fn both_must_exist(t: &Fixture) {
    t.root.create("a", 0o644).unwrap();
    fails!(exchange(&t.root, "a", "none"), ENOENT);
    fails!(exchange(&t.root, "none", "a"), ENOENT);
    assert_eq!(t.root.names("."), ["a"]);
}

fn with_itself_nothing_happens(t: &Fixture) {
    t.root.put("a", b"content").unwrap();
    exchange(&t.root, "a", "a").unwrap();
    assert_eq!(t.root.get("a").unwrap(), b"content");
}

fn with_an_ancestor_is_einval(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("a/b", 0o755).unwrap();
    p.create("a/b/file", 0o644).unwrap();
    fails!(exchange(p, "a", "a/b"), EINVAL);
    fails!(exchange(p, "a/b", "a"), EINVAL);
    fails!(exchange(p, "a/b/file", "a"), EINVAL);
    fails!(exchange(p, "a", "a/b/file"), EINVAL);
}

fn another_mount_is_exdev(t: &Fixture) {
    t.root.create("a", 0o644).unwrap();
    t.root.put("/outside", b"").unwrap();
    fails!(exchange(&t.root, "a", "/outside"), EXDEV);
}

fn symbolic_links_change_places(t: &Fixture) {
    let p = &t.root;
    p.symlink("one", "a").unwrap();
    p.symlink("two", "b").unwrap();
    exchange(p, "a", "b").unwrap();
    assert_eq!(p.readlink("a").unwrap(), b"two");
    assert_eq!(p.readlink("b").unwrap(), b"one");
}

fn link_counts_follow(t: &Fixture) {
    let p = &t.root;
    for dir in ["a", "a/dir", "b"] {
        p.mkdir(dir, 0o755).unwrap();
    }
    p.create("b/file", 0o644).unwrap();
    exchange(p, "a/dir", "b/file").unwrap();
    assert_eq!((p.nlink("a"), p.nlink("b")), (Ok(2), Ok(3)));
    p.mkdir("a/again", 0o755).unwrap();
    exchange(p, "a/again", "b/file").unwrap();
    assert_eq!((p.nlink("a"), p.nlink("b")), (Ok(3), Ok(3)));
    assert_eq!(p.nlink("a/again"), Ok(2));
}
