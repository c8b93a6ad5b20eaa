//! `rename` of files, and its errors.

use crate::prelude::*;
use rumpkern::Stat;

for_each_fs! {
    a_file_gets_another_name,
    a_file_moves_to_another_directory,
    times_of_both_directories_and_of_the_file_change,
    a_replaced_file_loses_its_name,
    a_replaced_open_file_lives_on,
    a_replaced_file_gives_its_space_back,
    replacing_one_of_two_names_keeps_the_other needs LINKS,
    the_same_name_does_nothing,
    two_names_of_one_file_do_nothing needs LINKS,
    missing_is_enoent,
    a_file_on_the_way_is_enotdir,
    a_file_over_a_directory_is_eisdir,
    a_directory_over_a_file_is_enotdir,
    a_trailing_slash_on_a_file_is_enotdir,
    dot_and_dotdot_are_refused,
    another_mount_is_exdev,
    the_root_cannot_be_moved,
    a_mount_point_is_ebusy,
    noreplace_is_eexist_on_what_exists,
    noreplace_renames_to_what_is_free,
    noreplace_with_exchange_is_einval,
    a_symbolic_link_moves_not_its_target needs SYMLINKS,
    a_symbolic_link_is_replaced_not_its_target needs SYMLINKS,
    nodes_move_and_are_replaced needs NODES,
    rename_at_descriptors,
    a_file_renamed_over_and_over_is_found,
    renaming_in_a_big_directory,
    a_name_grows_and_shrinks,
    replacing_needs_both_directories_writable needs OWNERS,
    every_kind_keeps_what_it_is,
    every_kind_but_a_directory_replaces_every_other,
    no_kind_replaces_a_directory_nor_a_directory_it,
}

fn a_file_gets_another_name(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"content").unwrap();
    let before = p.stat("a").unwrap();
    p.rename("a", "b").unwrap();
    fails!(p.stat("a"), ENOENT);
    assert_eq!(p.get("b").unwrap(), b"content");
    let after = p.stat("b").unwrap();
    assert_eq!((after.ino, after.nlink, after.mtime), (before.ino, 1, before.mtime));
    assert_eq!(p.names("."), ["b"]);
}

fn a_file_moves_to_another_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("from", 0o755).unwrap();
    p.mkdir("to", 0o755).unwrap();
    p.put("from/file", b"content").unwrap();
    p.rename("from/file", "to/renamed").unwrap();
    assert!(p.names("from").is_empty());
    assert_eq!(p.get("to/renamed").unwrap(), b"content");
    // Up and down as well.
    p.rename("to/renamed", "up").unwrap();
    p.rename("up", "from/down").unwrap();
    assert_eq!(p.get("from/down").unwrap(), b"content");
}

fn times_of_both_directories_and_of_the_file_change(t: &Fixture) {
    let p = &t.root;
    p.mkdir("from", 0o755).unwrap();
    p.mkdir("to", 0o755).unwrap();
    p.create("from/file", 0o644).unwrap();
    let stats = |file: &str| ["from", "to", file].map(|path| p.stat(path).unwrap());
    let [from, to, file] = stats("from/file");
    t.tick();
    p.rename("from/file", "to/file").unwrap();
    let [from_after, to_after, file_after] = stats("to/file");
    assert!(from_after.mtime > from.mtime && from_after.ctime > from.ctime);
    assert!(to_after.mtime > to.mtime && to_after.ctime > to.ctime);
    assert_eq!((file_after.mtime, file_after.atime), (file.mtime, file.atime));
    assert!(file_after.ctime >= file.ctime);
}

fn a_replaced_file_loses_its_name(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"in a").unwrap();
    p.put("b", b"in b").unwrap();
    p.rename("a", "b").unwrap();
    assert_eq!(p.names("."), ["b"]);
    assert_eq!(p.get("b").unwrap(), b"in a");
}

fn a_replaced_open_file_lives_on(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"in a").unwrap();
    p.put("b", b"in b").unwrap();
    let fd = p.open("b", O::RDWR, 0).unwrap();
    p.rename("a", "b").unwrap();
    assert_eq!(p.fstat(fd).unwrap().nlink, 0);
    assert_eq!(p.read_all(fd).unwrap(), b"in b");
    assert_eq!(p.write(fd, &[1; 10_000]), Ok(10_000));
    p.close(fd).unwrap();
    assert_eq!(p.get("b").unwrap(), b"in a");
}

fn a_replaced_file_gives_its_space_back(t: &Fixture) {
    let p = &t.root;
    p.create("small", 0o644).unwrap();
    p.sync().unwrap();
    let before = p.statvfs(".").unwrap();
    p.put("large", &[1; 500_000]).unwrap();
    p.rename("small", "large").unwrap();
    p.sync().unwrap();
    let after = p.statvfs(".").unwrap();
    assert_eq!(after.blocks_free, before.blocks_free);
    assert_eq!(after.files_free, before.files_free);
}

fn replacing_one_of_two_names_keeps_the_other(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"in a").unwrap();
    p.put("b", b"in b").unwrap();
    p.link("b", "c").unwrap();
    t.tick();
    let before = p.stat("c").unwrap();
    p.rename("a", "b").unwrap();
    let after = p.stat("c").unwrap();
    assert_eq!((p.get("c").unwrap().as_slice(), after.nlink), (&b"in b"[..], 1));
    assert!(after.ctime > before.ctime);
}

fn the_same_name_does_nothing(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    p.mkdir("dir", 0o755).unwrap();
    let before = p.stat("file").unwrap();
    p.rename("file", "file").unwrap();
    p.rename("dir", "dir").unwrap();
    p.rename("file", "dir/../file").unwrap();
    assert_eq!(p.stat("file").unwrap(), before);
}

fn two_names_of_one_file_do_nothing(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("a", b"content").unwrap();
    p.link("a", "b").unwrap();
    p.link("a", "dir/c").unwrap();
    p.rename("a", "b").unwrap();
    p.rename("a", "dir/c").unwrap();
    assert_eq!(p.names("."), ["a", "b", "dir"]);
    assert_eq!(p.nlink("a"), Ok(3));
}

fn missing_is_enoent(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    fails!(p.rename("none", "new"), ENOENT);
    fails!(p.rename("none", "none"), ENOENT);
    fails!(p.rename("none", "file"), ENOENT);
    fails!(p.rename("file", "none/new"), ENOENT);
    fails!(p.rename("none/file", "new"), ENOENT);
    fails!(p.rename("", "new"), ENOENT);
    fails!(p.rename("file", ""), ENOENT);
}

fn a_file_on_the_way_is_enotdir(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.rename("file/x", "new"), ENOTDIR);
    fails!(t.root.rename("file", "file/new"), ENOTDIR);
}

fn a_file_over_a_directory_is_eisdir(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.mkdir("empty", 0o755).unwrap();
    p.mkdir("full", 0o755).unwrap();
    p.create("full/file", 0o644).unwrap();
    fails!(p.rename("file", "empty"), EISDIR);
    fails!(p.rename("file", "full"), EISDIR);
    assert_eq!(p.names("."), ["empty", "file", "full"]);
}

fn a_directory_over_a_file_is_enotdir(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    fails!(p.rename("dir", "file"), ENOTDIR);
    if t.caps().contains(Cap::SYMLINKS) {
        p.symlink("dir", "link").unwrap();
        fails!(p.rename("dir", "link"), ENOTDIR);
    }
    assert!(p.exists("dir") && p.exists("file"));
}

fn a_trailing_slash_on_a_file_is_enotdir(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.create("other", 0o644).unwrap();
    fails!(p.rename("file/", "new"), ENOTDIR);
    fails!(p.rename("file", "new/"), ENOTDIR | ENOENT);
    fails!(p.rename("file", "other/"), ENOTDIR);
    assert_eq!(p.names("."), ["file", "other"]);
}

fn dot_and_dotdot_are_refused(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.mkdir("dir/sub", 0o755).unwrap();
    // POSIX: EINVAL or EBUSY for the old name, EINVAL or more for the new one.
    for path in [".", "..", "dir/.", "dir/..", "dir/sub/.", "dir/sub/.."] {
        fails!(p.rename(path, "new"), EINVAL | EBUSY);
        fails!(p.rename("dir", path), EINVAL | EBUSY | EEXIST | ENOTEMPTY);
    }
    assert_eq!(p.names("."), ["dir"]);
}

fn another_mount_is_exdev(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    p.put("/outside", b"").unwrap();
    fails!(p.rename("file", "/new"), EXDEV);
    fails!(p.rename("dir", "/new"), EXDEV);
    fails!(p.rename("/outside", "new"), EXDEV);
    fails!(p.rename("file", "/outside"), EXDEV);
    assert!(p.exists("file") && p.exists("/outside"));
}

fn the_root_cannot_be_moved(t: &Fixture) {
    fails!(t.root.rename("/", "new"), EBUSY | EINVAL | EXDEV);
    t.root.mkdir("dir", 0o755).unwrap();
    fails!(t.root.rename("dir", "/"), EBUSY | EINVAL | EXDEV | ENOTEMPTY);
}

fn a_mount_point_is_ebusy(t: &Fixture) {
    let p = &t.root;
    fails!(p.rename(MOUNT_POINT, "/new"), EBUSY);
    p.mkdir("on", 0o755).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    let args = rumpvfs::calls::MountArgs::default();
    p.mount("tmpfs", "on", args).unwrap();
    fails!(p.rename("on", "new"), EBUSY);
    fails!(p.rename("dir", "on"), EBUSY);
    p.unmount("on", false).unwrap();
    p.rename("dir", "on").unwrap();
}

fn noreplace_is_eexist_on_what_exists(t: &Fixture) {
    let p = &t.root;
    let keep = RenameFlags::NOREPLACE;
    p.put("a", b"in a").unwrap();
    p.put("b", b"in b").unwrap();
    p.mkdir("dir", 0o755).unwrap();
    p.mkdir("empty", 0o755).unwrap();
    fails!(p.rename_with("a", "b", keep), EEXIST);
    fails!(p.rename_with("a", "a", keep), EEXIST);
    fails!(p.rename_with("a", "dir", keep), EEXIST | EISDIR);
    fails!(p.rename_with("dir", "empty", keep), EEXIST);
    if t.caps().contains(Cap::SYMLINKS) {
        p.symlink("nowhere", "link").unwrap();
        fails!(p.rename_with("a", "link", keep), EEXIST);
    }
    assert_eq!(p.get("b").unwrap(), b"in b");
}

fn noreplace_renames_to_what_is_free(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"in a").unwrap();
    p.mkdir("dir", 0o755).unwrap();
    p.rename_with("a", "b", RenameFlags::NOREPLACE).unwrap();
    p.rename_with("b", "dir/c", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(p.get("dir/c").unwrap(), b"in a");
    fails!(p.rename_with("none", "x", RenameFlags::NOREPLACE), ENOENT);
}

fn noreplace_with_exchange_is_einval(t: &Fixture) {
    t.root.create("a", 0o644).unwrap();
    t.root.create("b", 0o644).unwrap();
    let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
    fails!(t.root.rename_with("a", "b", both), EINVAL);
}

fn a_symbolic_link_moves_not_its_target(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    p.symlink("file", "link").unwrap();
    p.rename("link", "renamed").unwrap();
    assert_eq!(p.readlink("renamed").unwrap(), b"file");
    assert_eq!(p.names("."), ["file", "renamed"]);
}

fn a_symbolic_link_is_replaced_not_its_target(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    p.put("new", b"new").unwrap();
    p.symlink("file", "link").unwrap();
    p.rename("new", "link").unwrap();
    assert_eq!(p.get("link").unwrap(), b"new");
    assert_eq!(p.get("file").unwrap(), b"content");
    assert_eq!(p.lstat("link").unwrap().file_type, FileType::Regular);
}

fn nodes_move_and_are_replaced(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("file", b"content").unwrap();
    p.mkfifo("fifo", 0o644).unwrap();
    p.mknod("device", FileType::Block, 0o644).unwrap();
    p.rename("fifo", "dir/fifo").unwrap();
    p.rename("device", "dir/fifo").unwrap();
    assert_eq!(p.stat("dir/fifo").unwrap().file_type, FileType::Block);
    p.rename("file", "dir/fifo").unwrap();
    assert_eq!(p.get("dir/fifo").unwrap(), b"content");
}

fn rename_at_descriptors(t: &Fixture) {
    let p = &t.root;
    p.mkdir("from", 0o755).unwrap();
    p.mkdir("to", 0o755).unwrap();
    p.create("from/file", 0o644).unwrap();
    let from = p.open("from", O::DIRECTORY, 0).unwrap();
    let to = p.open("to", O::DIRECTORY, 0).unwrap();
    let none = RenameFlags::empty();
    p.renameat((At::Fd(from), b"file"), (At::Fd(to), b"moved"), none).unwrap();
    assert_eq!(p.names("to"), ["moved"]);
    p.renameat((At::Fd(to), b"moved"), (At::Cwd, b"here"), none).unwrap();
    assert!(p.exists("here"));
    fails!(p.renameat((At::Fd(9999), b"x"), (At::Cwd, b"y"), none), EBADF);
}

fn a_file_renamed_over_and_over_is_found(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("file0", b"content").unwrap();
    for n in 0..300 {
        let from = if n % 2 == 0 { format!("file{n}") } else { format!("dir/file{n}") };
        let to = if n % 2 == 1 { format!("file{}", n + 1) } else { format!("dir/file{}", n + 1) };
        p.rename(&from, &to).unwrap();
    }
    assert_eq!(p.get("file300").unwrap(), b"content");
    assert_eq!(p.names("."), ["dir", "file300"]);
    assert!(p.names("dir").is_empty());
}

fn renaming_in_a_big_directory(t: &Fixture) {
    let p = &t.root;
    for n in 0..400 {
        p.create(&format!("a-name-of-some-length-{n}"), 0o644).unwrap();
    }
    for n in 0..400 {
        let (from, to) = (format!("a-name-of-some-length-{n}"), format!("another-name-of-a-file-{n}"));
        p.rename(&from, &to).unwrap();
    }
    let names = p.names(".");
    assert_eq!(names.len(), 400);
    assert!(names.iter().all(|name| name.starts_with("another")));
    for n in 0..399 {
        p.rename(&format!("another-name-of-a-file-{n}"), "another-name-of-a-file-399").unwrap();
    }
    assert_eq!(p.names("."), ["another-name-of-a-file-399"]);
}

fn a_name_grows_and_shrinks(t: &Fixture) {
    let p = &t.root;
    p.create("before", 0o644).unwrap();
    p.put("a", b"content").unwrap();
    p.create("after", 0o644).unwrap();
    let mut name = String::from("a");
    for len in [255, 1, 100, 101, 99, 4, 255] {
        p.rename(&name, &long_name(len)).unwrap();
        name = long_name(len);
        assert_eq!(p.get(&name).unwrap(), b"content");
        assert_eq!(p.names(".").len(), 3);
    }
}

fn replacing_needs_both_directories_writable(t: &Fixture) {
    let p = &t.root;
    p.mkdir("open", 0o777).unwrap();
    p.mkdir("closed", 0o755).unwrap();
    p.create("closed/file", 0o666).unwrap();
    let user = t.user(100);
    user.create("open/file", 0o644).unwrap();
    fails!(user.rename("open/file", "closed/file"), EACCES);
    fails!(user.rename("closed/file", "open/file"), EACCES);
    assert!(p.exists("open/file") && p.exists("closed/file"));
}

fn every_kind_keeps_what_it_is(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    for (name, kind) in t.kinds() {
        p.make(name, kind).unwrap();
        if t.caps().contains(Cap::OWNERS) {
            p.lchown(name, Some(100), Some(200)).unwrap();
        }
        let before = p.lstat(name).unwrap();
        t.tick();
        for to in ["renamed", "dir/moved"] {
            p.rename(name, to).unwrap();
            assert!(!p.exists(name));
            let after = p.lstat(to).unwrap();
            // POSIX leaves to the format whether the inode change time moves.
            let mut expected = Stat {
                ctime: after.ctime,
                ..before
            };
            if !t.caps().contains(Cap::NUMBERS) {
                expected.ino = after.ino;
            }
            assert_eq!(after, expected, "{name} as {to}");
            p.rename(to, name).unwrap();
        }
    }
}

fn every_kind_but_a_directory_replaces_every_other(t: &Fixture) {
    let p = &t.root;
    let mut kinds = t.kinds();
    kinds.retain(|(_, kind)| *kind != FileType::Directory);
    for &(_, from) in &kinds {
        for &(_, to) in &kinds {
            p.make("from", from).unwrap();
            p.make("to", to).unwrap();
            let ino = p.ino("from").unwrap();
            p.rename("from", "to").unwrap();
            assert!(!p.exists("from"));
            let stat = p.lstat("to").unwrap();
            assert_eq!((stat.file_type, stat.nlink), (from, 1));
            if t.caps().contains(Cap::NUMBERS) {
                assert_eq!(stat.ino, ino);
            }
            p.unlink("to").unwrap();
        }
    }
    assert!(p.names(".").is_empty());
}

fn no_kind_replaces_a_directory_nor_a_directory_it(t: &Fixture) {
    let p = &t.root;
    for (name, kind) in t.kinds() {
        if kind != FileType::Directory {
            p.make(name, kind).unwrap();
            p.mkdir("dir", 0o755).unwrap();
            let both = || [name, "dir"].map(|path| p.lstat(path).unwrap());
            let before = both();
            fails!(p.rename(name, "dir"), EISDIR);
            fails!(p.rename("dir", name), ENOTDIR);
            assert_eq!(both(), before, "{name}");
            p.rmdir("dir").unwrap();
        }
    }
}
