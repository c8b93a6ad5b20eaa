//! `mknod` and `mkfifo`.

use crate::prelude::*;
use rumpkern::types::DeviceNumber;

for_each_fs! {
    every_kind_is_made needs NODES,
    device_numbers_are_kept needs NODES,
    devices_are_for_root needs NODES,
    fifos_and_files_are_for_everybody needs NODES,
    directories_and_links_are_einval,
    what_exists_is_eexist needs NODES,
    missing_parents_are_enoent needs NODES,
    the_umask_counts needs NODES OWNERS,
    a_trailing_slash_is_refused needs NODES,
    reading_and_truncating_nodes_is_refused needs NODES,
    a_device_is_opened_by_its_number needs NODES,
    nodev_keeps_devices_closed needs NODES,
}

const KINDS: [FileType; 5] = [
    FileType::Regular,
    FileType::Fifo,
    FileType::Socket,
    FileType::Block,
    FileType::Character,
];

fn every_kind_is_made(t: &Fixture) {
    let before = t.root.stat(".").unwrap();
    t.tick();
    for (at, kind) in KINDS.into_iter().enumerate() {
        t.root.mknod(&format!("node{at}"), kind, 0o640).unwrap();
        let stat = t.root.stat(format!("node{at}")).unwrap();
        assert_eq!((stat.file_type, stat.nlink, stat.size), (kind, 1, 0));
        assert!(stat.mtime > before.mtime);
    }
    assert!(t.root.stat(".").unwrap().mtime > before.mtime);
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
        for (at, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(t.root.stat(format!("node{at}")).unwrap().file_type, kind);
        }
    }
}

fn device_numbers_are_kept(t: &Fixture) {
    let numbers = [(0, 1), (1, 3), (8, 255), (8, 256), (255, 255), (259, 0xf_ffff), (4095, 7)];
    let number = |(major, minor)| DeviceNumber { major, minor };
    let make = |path: &str, n| {
        t.root.mknodat(At::Cwd, path, FileType::Character, 0o600, number(n))
    };
    for (at, n) in numbers.into_iter().enumerate() {
        make(&format!("dev{at}"), n).unwrap();
    }
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
    }
    for (at, n) in numbers.into_iter().enumerate() {
        assert_eq!(t.root.stat(format!("dev{at}")).unwrap().rdev, number(n));
    }
    t.root.mkfifo("fifo", 0o600).unwrap();
    assert_eq!(t.root.stat("fifo").unwrap().rdev, DeviceNumber::default());
}

fn devices_are_for_root(t: &Fixture) {
    for kind in [FileType::Block, FileType::Character] {
        fails!(t.user(100).mknod("dev", kind, 0o666), EPERM);
    }
    assert!(t.root.names(".").is_empty());
}

fn fifos_and_files_are_for_everybody(t: &Fixture) {
    for (at, kind) in KINDS[..3].iter().enumerate() {
        t.user(100).mknod(&format!("node{at}"), *kind, 0o644).unwrap();
    }
}

fn directories_and_links_are_einval(t: &Fixture) {
    for kind in [FileType::Directory, FileType::Symlink] {
        fails!(t.root.mknod("node", kind, 0o644), EINVAL | EPERM);
    }
    assert!(t.root.names(".").is_empty());
}

fn what_exists_is_eexist(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    t.root.mkdir("dir", 0o755).unwrap();
    for path in ["file", "dir", "."] {
        fails!(t.root.mkfifo(path, 0o644), EEXIST);
        fails!(t.root.mknod(path, FileType::Block, 0o644), EEXIST);
    }
}

fn missing_parents_are_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.mkfifo("none/fifo", 0o644), ENOENT);
    fails!(t.root.mkfifo("", 0o644), ENOENT);
    fails!(t.root.mkfifo("file/fifo", 0o644), ENOTDIR);
}

fn the_umask_counts(t: &Fixture) {
    t.root.umask(0o026);
    t.root.mkfifo("fifo", 0o666).unwrap();
    t.root.mknod("dev", FileType::Character, 0o666).unwrap();
    assert_eq!(t.root.mode("fifo"), Ok(0o640));
    assert_eq!(t.root.mode("dev"), Ok(0o640));
}

fn a_trailing_slash_is_refused(t: &Fixture) {
    fails!(t.root.mkfifo("fifo/", 0o644), ENOENT | ENOTDIR);
    assert!(t.root.names(".").is_empty());
}

fn reading_and_truncating_nodes_is_refused(t: &Fixture) {
    for (at, kind) in KINDS[1..].iter().enumerate() {
        let name = format!("node{at}");
        t.root.mknod(&name, *kind, 0o666).unwrap();
        fails!(t.root.truncate(&name, 0), EINVAL | ENXIO | EOPNOTSUPP);
    }
}

fn a_device_is_opened_by_its_number(t: &Fixture) {
    use rump_tests::conformance::{Image, Ram};
    use rumpvfs::KernelVfs as _;
    let ram = std::sync::Arc::new(Ram::new(Image::new(&[7; 4096])));
    t.kernel.etfs_register("/dev/other", ram.clone()).unwrap();
    let number = t.root.stat("/dev/other").unwrap().rdev;
    t.root.mknodat(At::Cwd, "node", FileType::Block, 0o600, number).unwrap();
    let fd = t.root.open("node", O::RDWR, 0).unwrap();
    assert_eq!(t.root.pwrite(fd, b"hello", 100), Ok(5));
    let mut buf = [0; 7];
    assert_eq!(t.root.pread(fd, &mut buf, 99), Ok(7));
    assert_eq!(&buf, b"\x07hello\x07");
    assert!(ram.image() != Image::new(&[7; 4096]));
    assert_eq!(t.root.lseek(fd, Seek::End(0)), Ok(4096));
    assert_eq!(t.root.read(fd, &mut buf), Ok(0));
    fails!(t.root.write(fd, b"x"), ENOSPC);
    fails!(t.user(100).open("node", O::RDONLY, 0), EACCES);
    fails!(t.kernel.etfs_remove("/dev/other"), EBUSY);
    t.root.close(fd).unwrap();
    t.kernel.etfs_remove("/dev/other").unwrap();
    fails!(t.root.open("node", O::RDONLY, 0), ENXIO);
}

fn nodev_keeps_devices_closed(t: &Fixture) {
    t.root.mknod("node", FileType::Character, 0o666).unwrap();
    t.root.remount(MOUNT_POINT, MountFlags::NODEV).unwrap();
    fails!(t.root.open("node", O::RDONLY, 0), EACCES | ENXIO | EPERM);
    t.root.stat("node").unwrap();
}
