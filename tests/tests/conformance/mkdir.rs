//! `mkdir`.

use crate::prelude::*;

for_each_fs! {
    a_new_directory_is_empty_and_of_the_caller,
    the_parent_gets_a_link_and_new_times,
    what_exists_is_eexist,
    a_dangling_link_is_eexist needs SYMLINKS,
    missing_parents_are_enoent,
    a_file_on_the_way_is_enotdir,
    trailing_slashes_are_allowed,
    dot_and_dotdot_are_eexist,
    the_sticky_bit_may_be_asked_for needs OWNERS,
    the_set_group_id_bit_is_inherited needs OWNERS,
    files_in_a_set_group_id_directory_have_its_group needs OWNERS,
    many_directories_fit_in_one,
    a_removed_name_can_be_made_again,
    existence_comes_before_permission needs OWNERS,
}

fn a_new_directory_is_empty_and_of_the_caller(t: &Fixture) {
    let user = t.user(100);
    user.mkdir("dir", 0o750).unwrap();
    let stat = user.stat("dir").unwrap();
    assert_eq!((stat.file_type, stat.nlink), (FileType::Directory, t.dir_links(0)));
    assert!(t.root.names("dir").is_empty());
    if t.caps().contains(Cap::OWNERS) {
        assert_eq!((stat.mode, stat.uid), (0o750, 100));
        assert!([0, 100].contains(&stat.gid), "group {}", stat.gid);
    }
}

fn the_parent_gets_a_link_and_new_times(t: &Fixture) {
    let p = &t.root;
    let before = p.stat(".").unwrap();
    t.tick();
    p.mkdir("dir", 0o755).unwrap();
    let after = p.stat(".").unwrap();
    assert_eq!((before.nlink, after.nlink), (t.dir_links(0), t.dir_links(1)));
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    let dir = p.stat("dir").unwrap();
    assert!(dir.atime > before.mtime && dir.mtime > before.mtime && dir.ctime > before.mtime);
}

fn what_exists_is_eexist(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    for path in ["file", "dir", "dir/", "/", "/mnt"] {
        fails!(p.mkdir(path, 0o755), EEXIST);
    }
    fails!(p.mkdir("file/", 0o755), EEXIST | ENOTDIR);
    if t.caps().contains(Cap::NODES) {
        p.mkfifo("fifo", 0o644).unwrap();
        fails!(p.mkdir("fifo", 0o755), EEXIST);
    }
}

fn a_dangling_link_is_eexist(t: &Fixture) {
    t.root.symlink("nowhere", "link").unwrap();
    fails!(t.root.mkdir("link", 0o755), EEXIST);
    assert!(!t.root.exists("nowhere"));
}

fn missing_parents_are_enoent(t: &Fixture) {
    fails!(t.root.mkdir("a/b", 0o755), ENOENT);
    fails!(t.root.mkdir("", 0o755), ENOENT);
    fails!(t.root.mkdir("none/../dir", 0o755), ENOENT);
}

fn a_file_on_the_way_is_enotdir(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.mkdir("file/dir", 0o755), ENOTDIR);
}

fn trailing_slashes_are_allowed(t: &Fixture) {
    t.root.mkdir("a/", 0o755).unwrap();
    t.root.mkdir("a/b///", 0o755).unwrap();
    assert_eq!(t.root.names("a"), ["b"]);
}

fn dot_and_dotdot_are_eexist(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    for path in [".", "..", "dir/.", "dir/.."] {
        fails!(t.root.mkdir(path, 0o755), EEXIST);
    }
    fails!(t.root.mkdir("new/.", 0o755), ENOENT);
}

fn the_sticky_bit_may_be_asked_for(t: &Fixture) {
    t.root.mkdir("dir", 0o1777).unwrap();
    assert_eq!(t.root.mode("dir"), Ok(0o1777));
}

fn the_set_group_id_bit_is_inherited(t: &Fixture) {
    let p = &t.root;
    p.mkdir("shared", 0o777).unwrap();
    p.chown("shared", None, Some(300)).unwrap();
    p.chmod("shared", 0o2777).unwrap();
    t.user(100).mkdir("shared/dir", 0o755).unwrap();
    let stat = p.stat("shared/dir").unwrap();
    assert_eq!(stat.gid, 300);
    // BSD gives every directory the group of its parent and needs no bit for that.
    assert!([0o2755, 0o755].contains(&stat.mode), "{:o}", stat.mode);
}

fn files_in_a_set_group_id_directory_have_its_group(t: &Fixture) {
    let p = &t.root;
    p.mkdir("shared", 0o777).unwrap();
    p.chown("shared", None, Some(300)).unwrap();
    p.chmod("shared", 0o2777).unwrap();
    let user = t.user(100);
    user.create("shared/file", 0o644).unwrap();
    assert_eq!(p.stat("shared/file").unwrap().gid, 300);
    assert_eq!(p.mode("shared/file"), Ok(0o644));
    // Set-group-id of a group that the caller is not in would be a gift.
    user.create("shared/program", 0o2755).unwrap();
    assert_eq!(p.mode("shared/program"), Ok(0o755));
}

fn many_directories_fit_in_one(t: &Fixture) {
    let p = &t.root;
    for n in 0..200 {
        p.mkdir(&format!("dir{n}"), 0o755).unwrap();
    }
    assert_eq!(p.nlink("."), Ok(t.dir_links(200)));
    for n in 0..200 {
        p.rmdir(&format!("dir{n}")).unwrap();
    }
    assert_eq!(p.nlink("."), Ok(t.dir_links(0)));
}

fn a_removed_name_can_be_made_again(t: &Fixture) {
    let p = &t.root;
    for _ in 0..5 {
        p.mkdir("dir", 0o755).unwrap();
        p.create("dir/file", 0o644).unwrap();
        p.unlink("dir/file").unwrap();
        p.rmdir("dir").unwrap();
        fails!(p.stat("dir"), ENOENT);
        p.create("dir", 0o644).unwrap();
        p.unlink("dir").unwrap();
    }
}

fn existence_comes_before_permission(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    t.root.mkdir("dir/sub", 0o755).unwrap();
    fails!(t.user(100).mkdir("dir/sub", 0o755), EEXIST);
    fails!(t.user(100).mkdir("dir/new", 0o755), EACCES);
}
