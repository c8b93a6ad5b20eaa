//! File handles: `getfh` and `fhopen`.

use crate::prelude::*;

for_each_fs! {
    a_handle_opens_its_file,
    it_outlives_renames needs HANDLES,
    a_removed_file_is_estale,
    a_number_used_again_is_estale needs HANDLES,
    nonsense_is_estale,
    handles_are_for_root,
    handles_of_directories_and_links needs SYMLINKS,
    flags_count,
    handles_outlive_the_mount_or_are_estale needs PERSISTENT,
}

fn handle(t: &Fixture, path: &str) -> rumpvfs::calls::FileHandle {
    t.root.getfh(path, Follow::No).unwrap()
}

fn a_handle_opens_its_file(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.fhopen(handle(t, "file"), O::RDWR).unwrap();
    assert_eq!(p.read_all(fd).unwrap(), b"content");
    assert_eq!(p.fstat(fd), p.stat("file"));
    p.write(fd, b"!").unwrap();
    assert_eq!(p.get("file").unwrap(), b"content!");
}

fn it_outlives_renames(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("file", b"content").unwrap();
    let handle = handle(t, "file");
    p.rename("file", "dir/renamed").unwrap();
    p.chmod("dir/renamed", 0o600).unwrap();
    let fd = p.fhopen(handle, O::RDONLY).unwrap();
    assert_eq!(p.read_all(fd).unwrap(), b"content");
}

fn a_removed_file_is_estale(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let of_file = handle(t, "file");
    p.unlink("file").unwrap();
    fails!(p.fhopen(of_file, O::RDONLY), ESTALE);
    p.mkdir("dir", 0o755).unwrap();
    let of_dir = handle(t, "dir");
    p.rmdir("dir").unwrap();
    fails!(p.fhopen(of_dir, O::RDONLY), ESTALE);
}

fn a_number_used_again_is_estale(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let old = handle(t, "file");
    p.unlink("file").unwrap();
    // Until the number comes back; a file system may also never use one again.
    for n in 0..50 {
        let name = format!("new{n}");
        p.create(&name, 0o644).unwrap();
        if p.ino(&name) == Ok(old.ino) {
            assert_ne!(handle(t, &name), old);
        }
    }
    fails!(p.fhopen(old, O::RDONLY), ESTALE);
}

fn nonsense_is_estale(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let good = handle(t, "file");
    for ino in [0, 1, 1_000, 1 << 31, u64::MAX, u64::from(u32::MAX) + 2] {
        let handle = rumpvfs::calls::FileHandle { ino, generation: 12_345, ..good };
        fails!(t.root.fhopen(handle, O::RDONLY), ESTALE);
    }
    let fsid = rumpvfs::calls::FileHandle { fsid: 9999, ..good };
    fails!(t.root.fhopen(fsid, O::RDONLY), ESTALE);
    let generation = rumpvfs::calls::FileHandle { generation: good.generation ^ 1, ..good };
    fails!(t.root.fhopen(generation, O::RDONLY), ESTALE);
}

fn handles_are_for_root(t: &Fixture) {
    t.root.create("file", 0o666).unwrap();
    let good = handle(t, "file");
    fails!(t.user(100).getfh("file", Follow::Yes), EPERM);
    fails!(t.user(100).fhopen(good, O::RDONLY), EPERM);
    fails!(t.root.getfh("none", Follow::Yes), ENOENT);
}

fn handles_of_directories_and_links(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.create("dir/file", 0o644).unwrap();
    p.symlink("dir", "link").unwrap();
    let fd = p.fhopen(handle(t, "dir"), O::RDONLY | O::DIRECTORY).unwrap();
    assert_eq!(p.fstatat(At::Fd(fd), "file", Follow::Yes), p.stat("dir/file"));
    assert_ne!(handle(t, "link"), handle(t, "dir"));
    assert_eq!(p.getfh("link", Follow::Yes), Ok(handle(t, "dir")));
    fails!(p.fhopen(handle(t, "link"), O::RDONLY), ELOOP);
}

fn flags_count(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let good = handle(t, "file");
    fails!(p.fhopen(good, O::RDONLY | O::DIRECTORY), ENOTDIR);
    let fd = p.fhopen(good, O::RDONLY).unwrap();
    fails!(p.write(fd, b"x"), EBADF);
    let fd = p.fhopen(good, O::RDWR | O::TRUNC).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 0);
    fails!(p.fhopen(handle(t, "."), O::RDWR), EISDIR);
}

fn handles_outlive_the_mount_or_are_estale(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let old = handle(t, "file");
    t.mount_again(MountFlags::default());
    let new = handle(t, "file");
    assert_eq!((new.ino, new.generation), (old.ino, old.generation));
    match p.fhopen(old, O::RDONLY) {
        Ok(fd) => assert_eq!(p.read_all(fd).unwrap(), b"content"),
        Err(error) => assert_eq!(error, Errno::ESTALE),
    }
    let fd = p.fhopen(new, O::RDONLY).unwrap();
    assert_eq!(p.read_all(fd).unwrap(), b"content");
}
