//! `O_TMPFILE`: files without a name.

use crate::prelude::*;

for_each_fs! {
    it_has_no_name_and_goes_at_the_end needs UNNAMED,
    it_can_get_a_name needs UNNAMED LINKS,
    with_excl_it_never_gets_one needs UNNAMED LINKS,
    it_must_be_open_for_writing needs UNNAMED,
    it_needs_a_writable_directory needs UNNAMED OWNERS,
    missing_is_enoent needs UNNAMED,
    the_umask_counts needs UNNAMED OWNERS,
    it_gives_its_space_back needs UNNAMED,
}

const FLAGS: O = O::TMPFILE.union(O::RDWR);

fn it_has_no_name_and_goes_at_the_end(t: &Fixture) {
    let p = &t.root;
    let fd = p.open(".", FLAGS, 0o600).unwrap();
    let stat = p.fstat(fd).unwrap();
    assert_eq!((stat.file_type, stat.nlink, stat.size), (FileType::Regular, 0, 0));
    assert_eq!(p.write(fd, &[5; 10_000]), Ok(10_000));
    assert!(p.read_all(fd).unwrap() == [5; 10_000]);
    assert!(p.names(".").is_empty());
    p.fsync(fd).unwrap();
    p.close(fd).unwrap();
}

fn it_can_get_a_name(t: &Fixture) {
    let p = &t.root;
    let fd = p.open(".", FLAGS, 0o644).unwrap();
    p.write(fd, b"content").unwrap();
    p.linkat((At::Fd(fd), b""), (At::Cwd, b"file"), Follow::No).unwrap();
    assert_eq!(p.nlink("file"), Ok(1));
    p.close(fd).unwrap();
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
    }
    assert_eq!(p.get("file").unwrap(), b"content");
}

fn with_excl_it_never_gets_one(t: &Fixture) {
    let p = &t.root;
    let fd = p.open(".", FLAGS | O::EXCL, 0o644).unwrap();
    fails!(p.linkat((At::Fd(fd), b""), (At::Cwd, b"file"), Follow::No), ENOENT);
    assert!(p.names(".").is_empty());
}

fn it_must_be_open_for_writing(t: &Fixture) {
    fails!(t.root.open(".", O::TMPFILE | O::RDONLY, 0o600), EINVAL);
    fails!(t.root.open(".", FLAGS | O::CREAT, 0o600), EINVAL);
}

fn it_needs_a_writable_directory(t: &Fixture) {
    t.root.mkdir("closed", 0o755).unwrap();
    fails!(t.user(100).open("closed", FLAGS, 0o600), EACCES);
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.open("file", FLAGS, 0o600), ENOTDIR);
}

fn missing_is_enoent(t: &Fixture) {
    fails!(t.root.open("none", FLAGS, 0o600), ENOENT);
    fails!(t.root.open("", FLAGS, 0o600), ENOENT);
}

fn the_umask_counts(t: &Fixture) {
    t.root.umask(0o022);
    let user = t.user(100);
    let fd = user.open(".", FLAGS, 0o666).unwrap();
    let stat = user.fstat(fd).unwrap();
    assert_eq!((stat.mode, stat.uid), (0o644, 100));
}

fn it_gives_its_space_back(t: &Fixture) {
    let p = &t.root;
    p.sync().unwrap();
    let free = || p.statvfs(".").map(|s| (s.blocks_free, s.files_free)).unwrap();
    let before = free();
    let fd = p.open(".", FLAGS, 0o600).unwrap();
    p.write(fd, &[5; 500_000]).unwrap();
    p.fsync(fd).unwrap();
    assert!(free().0 < before.0);
    p.close(fd).unwrap();
    p.sync().unwrap();
    assert_eq!(free(), before);
}
