//! Making and removing names.

use crate::*;
use rumpkern::{FileType, Seek, types::DeviceNumber};
use rumpvfs::calls::Dirent;

#[test]
fn open_makes_files() {
    let kernel = boot();
    let p = kernel.init_proc();
    p.umask(0o027);
    let fd = p
        .open("/f", OpenFlags::CREAT | OpenFlags::WRONLY, 0o777)
        .unwrap();
    let stat = p.fstat(fd).unwrap();
    assert_eq!((stat.mode, stat.nlink, stat.size), (0o750, 1, 0));
    fails(p.read(fd, &mut [0]), Errno::EBADF);
    fails(
        p.open("/f", OpenFlags::CREAT | OpenFlags::EXCL, 0o600),
        Errno::EEXIST,
    );
    fails(p.open("/f/", OpenFlags::RDONLY, 0), Errno::ENOTDIR);
    fails(
        p.open("/f/", OpenFlags::CREAT | OpenFlags::WRONLY, 0),
        Errno::ENOTDIR,
    );
    fails(
        p.open("/new/", OpenFlags::CREAT | OpenFlags::WRONLY, 0),
        Errno::EISDIR,
    );
    fails(
        p.open("/none/f", OpenFlags::CREAT | OpenFlags::WRONLY, 0),
        Errno::ENOENT,
    );
    fails(
        p.open("/f", OpenFlags::WRONLY | OpenFlags::RDWR, 0),
        Errno::EINVAL,
    );
    mkdir(&p, "/d").unwrap();
    fails(p.open("/d", OpenFlags::WRONLY, 0), Errno::EISDIR);
    fails(p.open("/d", OpenFlags::CREAT, 0), Errno::EISDIR);
    fails(p.open("/", OpenFlags::CREAT, 0), Errno::EISDIR);
    fails(p.open("/f", OpenFlags::DIRECTORY, 0), Errno::ENOTDIR);
    let dir = p.open("/d", OpenFlags::RDONLY, 0).unwrap();
    fails(p.read(dir, &mut [0]), Errno::EISDIR);
}

#[test]
fn directories_count_their_links() {
    let kernel = boot();
    let p = kernel.init_proc();
    let root = p.stat("/").unwrap().nlink;
    mkdir(&p, "/d/").unwrap();
    assert_eq!(p.stat("/").unwrap().nlink, root + 1);
    assert_eq!(p.stat("/d").unwrap().nlink, 2);
    mkdir(&p, "/d/e").unwrap();
    assert_eq!(p.stat("/d").unwrap().nlink, 3);
    for path in ["/d", "/d/", "/", ".", "..", "/d/.", "/d/e/.."] {
        fails(mkdir(&p, path), Errno::EEXIST);
    }
    fails(mkdir(&p, "/none/d"), Errno::ENOENT);
    write(&p, "/f", b"");
    fails(mkdir(&p, "/f"), Errno::EEXIST);
    fails(mkdir(&p, "/f/d"), Errno::ENOTDIR);

    fails(rmdir(&p, "/d"), Errno::ENOTEMPTY);
    fails(rmdir(&p, "/f"), Errno::ENOTDIR);
    fails(rmdir(&p, "/none"), Errno::ENOENT);
    fails(rmdir(&p, "/d/e/."), Errno::EINVAL);
    fails(rmdir(&p, "/d/e/.."), Errno::ENOTEMPTY);
    fails(rmdir(&p, "/"), Errno::EBUSY);
    rmdir(&p, "/d/e/").unwrap();
    assert_eq!(p.stat("/d").unwrap().nlink, 2);
    fails(p.stat("/d/e"), Errno::ENOENT);
    rmdir(&p, "/d").unwrap();
    assert_eq!(p.stat("/").unwrap().nlink, root);
    mkdir(&p, "/d").unwrap();
    fails(p.stat("/d/e"), Errno::ENOENT);
}

#[test]
fn unlink_takes_names() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/f", b"data");
    symlink(&p, "/f", "/l").unwrap();
    fails(unlink(&p, "/d"), Errno::EPERM);
    fails(unlink(&p, "/none"), Errno::ENOENT);
    fails(unlink(&p, "/f/"), Errno::ENOTDIR);
    fails(unlink(&p, "/f/x"), Errno::ENOTDIR);
    unlink(&p, "/l").unwrap();
    assert!(exists(&p, "/f"));
    link(&p, "/f", "/g").unwrap();
    assert_eq!(p.stat("/f").unwrap().nlink, 2);
    let before = p.stat("/g").unwrap();
    unlink(&p, "/f").unwrap();
    let after = p.stat("/g").unwrap();
    assert_eq!((after.ino, after.nlink), (before.ino, 1));
    assert!(after.ctime >= before.ctime);
    assert_eq!(read(&p, "/g").unwrap(), b"data");
}

#[test]
fn open_files_outlive_their_names() {
    let kernel = boot();
    let p = kernel.init_proc();
    let free = p.statvfs("/").unwrap().files_free;
    let fd = create(&p, "/f").unwrap();
    p.write(fd, b"still there").unwrap();
    unlink(&p, "/f").unwrap();
    assert_eq!(p.fstat(fd).unwrap().nlink, 0);
    write(&p, "/f", b"another");
    let mut data = [0; 11];
    assert_eq!(p.pread(fd, &mut data, 0), Ok(11));
    assert_eq!(&data, b"still there");
    p.close(fd).unwrap();
    unlink(&p, "/f").unwrap();
    assert_eq!(p.statvfs("/").unwrap().files_free, free);
}

#[test]
fn links_are_equal_names() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/f", b"");
    symlink(&p, "f", "/l").unwrap();
    link(&p, "/f", "/d/g").unwrap();
    assert_eq!(p.stat("/d/g").unwrap(), p.stat("/f").unwrap());
    fails(link(&p, "/f", "/d/g"), Errno::EEXIST);
    fails(link(&p, "/f", "/d"), Errno::EEXIST);
    fails(link(&p, "/d", "/e"), Errno::EPERM);
    fails(link(&p, "/none", "/e"), Errno::ENOENT);
    fails(link(&p, "/f", "/none/e"), Errno::ENOENT);
    fails(link(&p, "/f", "/e/"), Errno::ENOENT);
    fails(link(&p, "/f/", "/e"), Errno::ENOTDIR);
    link(&p, "/l", "/l2").unwrap();
    assert_eq!(p.lstat("/l2").unwrap().file_type, FileType::Symlink);
    p.linkat((At::Cwd, b"/l"), (At::Cwd, b"/h"), Follow::Yes)
        .unwrap();
    assert_eq!(p.lstat("/h").unwrap().file_type, FileType::Regular);
}

#[test]
fn symlinks_have_any_target() {
    let kernel = boot();
    let p = kernel.init_proc();
    fails(symlink(&p, "", "/l"), Errno::ENOENT);
    symlink(&p, &"x".repeat(4095), "/l").unwrap();
    fails(symlink(&p, &"x".repeat(4096), "/m"), Errno::ENAMETOOLONG);
    assert_eq!(p.readlinkat(At::Cwd, "/l").unwrap().len(), 4095);
    assert_eq!(p.lstat("/l").unwrap().size, 4095);
    fails(symlink(&p, "x", "/l"), Errno::EEXIST);
    fails(symlink(&p, "x", "/n/"), Errno::ENOENT);
}

#[test]
fn nodes_of_all_kinds() {
    let kernel = boot();
    let p = kernel.init_proc();
    p.umask(0);
    let device = DeviceNumber { major: 9, minor: 3 };
    let kinds = [
        FileType::Regular,
        FileType::Fifo,
        FileType::Socket,
        FileType::Block,
        FileType::Character,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let path = format!("/n{number}");
        p.mknodat(At::Cwd, &path, kind, 0o640, device).unwrap();
        let stat = p.stat(&path).unwrap();
        assert_eq!((stat.file_type, stat.mode), (kind, 0o640));
        let is_device = matches!(kind, FileType::Block | FileType::Character);
        let expected = if is_device {
            device
        } else {
            DeviceNumber::default()
        };
        assert_eq!(stat.rdev, expected);
    }
    for kind in [FileType::Directory, FileType::Symlink] {
        fails(p.mknodat(At::Cwd, "/x", kind, 0o600, device), Errno::EINVAL);
    }
    fails(p.open("/n2", OpenFlags::RDONLY, 0), Errno::EOPNOTSUPP);
    fails(p.open("/n3", OpenFlags::RDONLY, 0), Errno::ENXIO);
    fails(p.open("/n4", OpenFlags::RDONLY, 0), Errno::ENXIO);
    p.fchmodat(At::Cwd, "/", 0o777, Follow::Yes).unwrap();
    let other = user(&kernel, 1, 1);
    fails(
        other.mknodat(At::Cwd, "/dev", FileType::Block, 0o600, device),
        Errno::EPERM,
    );
    other
        .mknodat(At::Cwd, "/fifo", FileType::Fifo, 0o600, device)
        .unwrap();
}

#[test]
fn files_without_a_name() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    let fd = p
        .open("/d", OpenFlags::TMPFILE | OpenFlags::RDWR, 0o600)
        .unwrap();
    p.write(fd, b"x").unwrap();
    assert_eq!(p.fstat(fd).unwrap().nlink, 0);
    assert_eq!(list(&p, "/d"), [".", ".."]);
    p.linkat((At::Fd(fd), b""), (At::Cwd, b"/d/f"), Follow::No)
        .unwrap();
    assert_eq!(p.stat("/d/f").unwrap().nlink, 1);
    fails(
        p.open("/d", OpenFlags::TMPFILE | OpenFlags::RDONLY, 0o600),
        Errno::EINVAL,
    );
    fails(
        p.open("/d/f", OpenFlags::TMPFILE | OpenFlags::RDWR, 0o600),
        Errno::ENOTDIR,
    );
    let secret = p
        .open(
            "/d",
            OpenFlags::TMPFILE | OpenFlags::EXCL | OpenFlags::RDWR,
            0o600,
        )
        .unwrap();
    fails(
        p.linkat((At::Fd(secret), b""), (At::Cwd, b"/d/g"), Follow::No),
        Errno::ENOENT,
    );
    // One that had a name and lost it does not get one again.
    let fd = create(&p, "/lost").unwrap();
    unlink(&p, "/lost").unwrap();
    fails(
        p.linkat((At::Fd(fd), b""), (At::Cwd, b"/found"), Follow::No),
        Errno::ENOENT,
    );
}

#[test]
fn listing_goes_on_where_it_stopped() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    for number in 0..100 {
        write(&p, &format!("/d/f{number}"), b"");
    }
    let fd = p.open("/d", OpenFlags::RDONLY, 0).unwrap();
    let first: Vec<Dirent> = p.getdents(fd, 30).unwrap();
    assert_eq!(first.len(), 30);
    assert_eq!(first[0].name, b".");
    assert_eq!(first[0].ino, p.stat("/d").unwrap().ino);
    assert_eq!(first[1].name, b"..");
    assert_eq!(first[1].ino, p.stat("/").unwrap().ino);
    let position = p.lseek(fd, Seek::Current(0)).unwrap();
    let second = p.getdents(fd, 1000).unwrap();
    assert_eq!(second.len(), 72);
    assert!(p.getdents(fd, 10).unwrap().is_empty());
    p.lseek(fd, Seek::Set(position)).unwrap();
    assert_eq!(p.getdents(fd, 1000).unwrap(), second);
    p.lseek(fd, Seek::Set(0)).unwrap();
    assert_eq!(p.getdents(fd, 30).unwrap(), first);
    // What is removed is not listed, what stays is listed once.
    unlink(&p, "/d/f99").unwrap();
    p.lseek(fd, Seek::Set(0)).unwrap();
    let plus = p.getdents_plus(fd, 1000).unwrap();
    assert_eq!(plus.len(), 99);
    for entry in &plus {
        let path = [b"/d/", &entry.name[..]].concat();
        assert_eq!(p.stat(&path), entry.stat);
    }
    let file = create(&p, "/d/f0").unwrap();
    fails(p.getdents(file, 1), Errno::ENOTDIR);
}
