//! `rmdir`.

use crate::prelude::*;

for_each_fs! {
    an_empty_directory_goes,
    the_parent_loses_a_link_and_gets_new_times,
    a_full_directory_is_enotempty,
    anything_in_a_directory_keeps_it,
    a_file_is_enotdir,
    a_link_to_a_directory_is_enotdir needs SYMLINKS,
    missing_is_enoent,
    dot_is_einval,
    dotdot_is_enotempty,
    the_root_is_ebusy,
    a_mount_point_is_ebusy,
    trailing_slashes_are_allowed,
    an_open_directory_stays_usable_and_empty,
    a_current_directory_can_be_removed,
    dotdot_of_a_removed_directory_is_enoent,
    a_directory_is_empty_again_when_its_files_are_gone,
    a_removed_directory_cannot_be_removed_again,
    nothing_is_left_of_a_big_directory,
}

fn an_empty_directory_goes(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    t.root.rmdir("dir").unwrap();
    fails!(t.root.stat("dir"), ENOENT);
    fails!(t.root.rmdir("dir"), ENOENT);
}

fn the_parent_loses_a_link_and_gets_new_times(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    let before = p.stat(".").unwrap();
    t.tick();
    p.rmdir("dir").unwrap();
    let after = p.stat(".").unwrap();
    assert_eq!((before.nlink, after.nlink), (t.dir_links(1), t.dir_links(0)));
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
}

fn a_full_directory_is_enotempty(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.create("dir/file", 0o644).unwrap();
    // POSIX: either.
    fails!(p.rmdir("dir"), ENOTEMPTY | EEXIST);
    fails!(p.rmdir("dir/"), ENOTEMPTY | EEXIST);
    p.unlink("dir/file").unwrap();
    p.mkdir("dir/sub", 0o755).unwrap();
    fails!(p.rmdir("dir"), ENOTEMPTY | EEXIST);
    assert_eq!(p.names("dir"), ["sub"]);
}

fn a_file_is_enotdir(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    fails!(p.rmdir("file"), ENOTDIR);
    fails!(p.rmdir("file/"), ENOTDIR);
    fails!(p.rmdir("file/x"), ENOTDIR);
    fails!(p.rmdir("file/."), ENOTDIR);
    if t.caps().contains(Cap::NODES) {
        p.mkfifo("fifo", 0o644).unwrap();
        fails!(p.rmdir("fifo"), ENOTDIR);
    }
    assert!(p.exists("file"));
}

fn a_link_to_a_directory_is_enotdir(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.symlink("dir", "link").unwrap();
    fails!(p.rmdir("link"), ENOTDIR);
    assert!(p.exists("dir") && p.exists("link"));
}

fn missing_is_enoent(t: &Fixture) {
    fails!(t.root.rmdir("none"), ENOENT);
    fails!(t.root.rmdir("none/dir"), ENOENT);
    fails!(t.root.rmdir("none/."), ENOENT);
    fails!(t.root.rmdir(""), ENOENT);
}

fn dot_is_einval(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    fails!(t.root.rmdir("."), EINVAL);
    fails!(t.root.rmdir("dir/."), EINVAL);
    fails!(t.root.rmdir("dir/./"), EINVAL);
    assert!(t.root.exists("dir"));
}

fn dotdot_is_enotempty(t: &Fixture) {
    t.root.mkdir("a", 0o755).unwrap();
    t.root.mkdir("a/b", 0o755).unwrap();
    // BSD says EINVAL.
    fails!(t.root.rmdir("a/b/.."), ENOTEMPTY | EINVAL);
    fails!(t.root.rmdir(".."), ENOTEMPTY | EINVAL);
}

fn the_root_is_ebusy(t: &Fixture) {
    fails!(t.root.rmdir("/"), EBUSY | EISDIR);
    assert!(t.root.exists("/mnt"));
}

fn a_mount_point_is_ebusy(t: &Fixture) {
    fails!(t.root.rmdir(MOUNT_POINT), EBUSY);
    // A mount inside of the volume.
    t.root.mkdir("on", 0o755).unwrap();
    let args = rumpvfs::calls::MountArgs::default();
    t.root.mount("tmpfs", "on", args).unwrap();
    fails!(t.root.rmdir("on"), EBUSY);
    t.root.unmount("on", false).unwrap();
    t.root.rmdir("on").unwrap();
}

fn trailing_slashes_are_allowed(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    t.root.rmdir("dir///").unwrap();
}

fn an_open_directory_stays_usable_and_empty(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    let fd = p.open("dir", O::DIRECTORY, 0).unwrap();
    p.rmdir("dir").unwrap();
    assert_eq!(p.fstat(fd).unwrap().nlink, 0);
    let left = p.getdents(fd, 10).unwrap();
    assert!(left.iter().all(|entry| entry.name == b"." || entry.name == b".."));
    fails!(p.unlinkat(At::Fd(fd), "x", false), ENOENT);
    p.close(fd).unwrap();
}

fn a_current_directory_can_be_removed(t: &Fixture) {
    let p = t.root.fork();
    p.mkdir("dir", 0o755).unwrap();
    p.chdir("dir").unwrap();
    t.root.rmdir("dir").unwrap();
    fails!(p.create("file", 0o644), ENOENT);
    fails!(p.mkdir("sub", 0o755), ENOENT);
    fails!(p.rename("/mnt/work", "x"), ENOENT | EINVAL);
    p.chdir(MOUNT_POINT).unwrap();
}

/// NetBSD PR kern/44657.
fn dotdot_of_a_removed_directory_is_enoent(t: &Fixture) {
    let p = t.root.fork();
    p.mkdir("dir", 0o755).unwrap();
    p.mkdir("dir/sub", 0o755).unwrap();
    p.chdir("dir/sub").unwrap();
    t.root.rmdir("dir/sub").unwrap();
    t.root.rmdir("dir").unwrap();
    fails!(p.chdir(".."), ENOENT);
    fails!(p.stat(".."), ENOENT);
    fails!(p.stat("../none"), ENOENT);
    assert_eq!(p.stat(".").unwrap().nlink, 0);
    p.chdir(MOUNT_POINT).unwrap();
}

fn anything_in_a_directory_keeps_it(t: &Fixture) {
    let p = &t.root;
    for (name, kind) in t.kinds() {
        let inside = format!("dir/{name}");
        p.mkdir("dir", 0o755).unwrap();
        p.make(&inside, kind).unwrap();
        fails!(p.rmdir("dir"), ENOTEMPTY | EEXIST);
        assert_eq!(p.names("dir"), [name]);
        p.unlinkat(At::Cwd, &inside, kind == FileType::Directory).unwrap();
        p.rmdir("dir").unwrap();
    }
}

fn a_directory_is_empty_again_when_its_files_are_gone(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.create("dir/file", 0o644).unwrap();
    let fd = p.open("dir/file", O::RDWR, 0).unwrap();
    p.unlink("dir/file").unwrap();
    p.rmdir("dir").unwrap();
    assert_eq!(p.write(fd, b"still here"), Ok(10));
}

fn a_removed_directory_cannot_be_removed_again(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    let a = p.open("a", O::DIRECTORY, 0).unwrap();
    p.rmdir("a").unwrap();
    p.mkdir("a", 0o755).unwrap();
    fails!(p.unlinkat(At::Fd(a), "../a", true), ENOENT);
    assert!(p.exists("a"));
}

fn nothing_is_left_of_a_big_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    let before = p.statvfs(".").unwrap();
    for n in 0..600 {
        p.create(&format!("dir/a-rather-long-name-for-a-file-{n}"), 0o644).unwrap();
    }
    for n in (0..600).rev() {
        p.unlink(&format!("dir/a-rather-long-name-for-a-file-{n}")).unwrap();
    }
    p.rmdir("dir").unwrap();
    let after = p.statvfs(".").unwrap();
    // The directory itself and its first block were counted before.
    assert!(after.blocks_free >= before.blocks_free, "{after:?} {before:?}");
    assert!(after.files_free >= before.files_free);
}
