//! `unlink`, and files that live on without a name.

use crate::prelude::*;

for_each_fs! {
    a_name_goes,
    times_of_directory_and_file_change needs LINKS,
    one_name_less needs LINKS,
    missing_is_enoent,
    a_directory_is_eperm,
    dot_is_refused,
    a_trailing_slash_on_a_file_is_enotdir,
    a_symbolic_link_goes_not_its_target needs SYMLINKS,
    nodes_go needs NODES,
    an_open_file_lives_on,
    an_open_file_can_be_grown_and_shrunk,
    an_unlinked_file_gives_its_space_back,
    a_new_file_of_the_name_is_another_one,
    a_mapped_descriptor_of_a_fork_keeps_the_file,
    many_open_unlinked_files_go_at_the_end,
}

fn a_name_goes(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.root.unlink("file").unwrap();
    fails!(t.root.stat("file"), ENOENT);
    fails!(t.root.unlink("file"), ENOENT);
    assert!(t.root.names(".").is_empty());
}

fn times_of_directory_and_file_change(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.link("file", "other").unwrap();
    let (dir, file) = (p.stat(".").unwrap(), p.stat("other").unwrap());
    t.tick();
    p.unlink("file").unwrap();
    let (dir_after, file_after) = (p.stat(".").unwrap(), p.stat("other").unwrap());
    assert!(dir_after.mtime > dir.mtime && dir_after.ctime > dir.ctime);
    assert!(file_after.ctime > file.ctime);
    assert_eq!(file_after.mtime, file.mtime);
}

fn one_name_less(t: &Fixture) {
    let p = &t.root;
    p.put("a", b"content").unwrap();
    p.link("a", "b").unwrap();
    p.unlink("a").unwrap();
    assert_eq!(p.nlink("b"), Ok(1));
    assert_eq!(p.get("b").unwrap(), b"content");
}

fn missing_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.unlink("none"), ENOENT);
    fails!(t.root.unlink("none/file"), ENOENT);
    fails!(t.root.unlink(""), ENOENT);
    fails!(t.root.unlink("file/x"), ENOTDIR);
}

fn a_directory_is_eperm(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    // POSIX says EPERM, Linux EISDIR.
    fails!(t.root.unlink("dir"), EPERM | EISDIR);
    fails!(t.root.unlink("dir/"), EPERM | EISDIR);
    fails!(t.user(100).unlink("dir"), EPERM | EISDIR | EACCES);
    assert!(t.root.exists("dir"));
}

fn dot_is_refused(t: &Fixture) {
    for path in [".", "..", "/", "./"] {
        fails!(t.root.unlink(path), EPERM | EISDIR | EBUSY | EINVAL);
    }
}

fn a_trailing_slash_on_a_file_is_enotdir(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.unlink("file/"), ENOTDIR);
    assert!(t.root.exists("file"));
}

fn a_symbolic_link_goes_not_its_target(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.symlink("file", "link").unwrap();
    p.symlink("nowhere", "dangling").unwrap();
    p.unlink("link").unwrap();
    p.unlink("dangling").unwrap();
    assert_eq!(p.names("."), ["file"]);
}

fn nodes_go(t: &Fixture) {
    let kinds = [FileType::Fifo, FileType::Socket, FileType::Block, FileType::Character];
    for (at, kind) in kinds.into_iter().enumerate() {
        t.root.mknod(&format!("node{at}"), kind, 0o644).unwrap();
        t.root.unlink(&format!("node{at}")).unwrap();
    }
    assert!(t.root.names(".").is_empty());
}

fn an_open_file_lives_on(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.unlink("file").unwrap();
    assert_eq!(p.fstat(fd).unwrap().nlink, 0);
    assert_eq!(p.read_all(fd).unwrap(), b"content");
    assert_eq!(p.write(fd, b" and more"), Ok(9));
    assert_eq!(p.read_all(fd).unwrap(), b"content and more");
    p.fsync(fd).unwrap();
    assert_eq!(p.read_all(fd).unwrap(), b"content and more");
    p.close(fd).unwrap();
}

fn an_open_file_can_be_grown_and_shrunk(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::RDWR | O::CREAT, 0o644).unwrap();
    p.unlink("file").unwrap();
    assert_eq!(p.write(fd, &[1; 100_000]), Ok(100_000));
    p.ftruncate(fd, 50_000).unwrap();
    p.ftruncate(fd, 60_000).unwrap();
    let content = p.read_all(fd).unwrap();
    assert!(content[..50_000].iter().all(|&b| b == 1));
    assert_eq!(content[50_000..], [0; 10_000]);
    p.sync().unwrap();
}

fn an_unlinked_file_gives_its_space_back(t: &Fixture) {
    let p = &t.root;
    p.create("first", 0o644).unwrap();
    p.sync().unwrap();
    let free = || {
        let stat = p.statvfs(".").unwrap();
        (stat.blocks_free, stat.files_free)
    };
    let before = free();
    p.put("file", &[1; 1_000_000]).unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.sync().unwrap();
    assert!(free().0 < before.0);
    p.unlink("file").unwrap();
    assert!(free().0 < before.0, "open, it keeps its space");
    p.close(fd).unwrap();
    p.sync().unwrap();
    assert_eq!(free(), before);
}

fn a_new_file_of_the_name_is_another_one(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"old").unwrap();
    let old = p.open("file", O::RDONLY, 0).unwrap();
    p.unlink("file").unwrap();
    p.put("file", b"new").unwrap();
    assert_ne!(p.fstat(old).unwrap().ino, p.ino("file").unwrap());
    assert_eq!(p.read_all(old).unwrap(), b"old");
    assert_eq!(p.get("file").unwrap(), b"new");
}

fn a_mapped_descriptor_of_a_fork_keeps_the_file(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    let child = p.fork();
    p.unlink("file").unwrap();
    p.close(fd).unwrap();
    assert_eq!(child.read_all(fd).unwrap(), b"content");
    child.close(fd).unwrap();
    fails!(child.read(fd, &mut [0]), EBADF);
}

fn many_open_unlinked_files_go_at_the_end(t: &Fixture) {
    let p = &t.root;
    for n in 0..100 {
        let fd = p.open("file", O::CREAT | O::EXCL | O::RDWR, 0o644).unwrap();
        p.unlink("file").unwrap();
        assert_eq!(p.write(fd, &[n; 3000]), Ok(3000));
    }
    assert!(p.names(".").is_empty());
}
