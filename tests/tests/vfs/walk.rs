//! Path walk: dots, slashes, symbolic links, lengths, current and root directory.

use crate::*;
use rumpkern::FileType;

#[test]
fn dots_and_slashes() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/a").unwrap();
    mkdir(&p, "/a/b").unwrap();
    write(&p, "/a/f", b"x");
    let a = p.stat("/a").unwrap();
    for same in [
        "/a/",
        "//a//",
        "/./a/.",
        "/a/b/..",
        "/a/b/../../a",
        "/../a",
        "a",
    ] {
        // Twice: the second time from the caches.
        assert_eq!(p.stat(same).unwrap().ino, a.ino, "{same}");
        assert_eq!(p.stat(same).unwrap().ino, a.ino, "{same}");
    }
    fails(p.stat(""), Errno::ENOENT);
    for path in ["/a/f/", "/a/f/.", "/a/f/..", "/a/f/x"] {
        fails(p.stat(path), Errno::ENOTDIR);
        fails(p.stat(path), Errno::ENOTDIR);
    }
    fails(p.stat("/a/none"), Errno::ENOENT);
    fails(p.stat("/a/none"), Errno::ENOENT);
    fails(p.stat("/a/none/.."), Errno::ENOENT);
    fails(p.stat("/a/x\0y"), Errno::EINVAL);
}

#[test]
fn names_and_paths_have_lengths() {
    let kernel = boot();
    let p = kernel.init_proc();
    let longest = format!("/{}", "n".repeat(255));
    let too_long = format!("/{}", "n".repeat(256));
    mkdir(&p, &longest).unwrap();
    fails(mkdir(&p, &too_long), Errno::ENAMETOOLONG);
    fails(p.stat(&too_long), Errno::ENAMETOOLONG);
    fails(p.stat(format!("{too_long}/x")), Errno::ENAMETOOLONG);
    let path = "/".to_string() + &"./".repeat(2047);
    assert_eq!(path.len(), 4095);
    assert!(p.stat(&path).is_ok());
    fails(p.stat(format!("{path}.")), Errno::ENAMETOOLONG);
    // Through a link the whole may become too long.
    symlink(&p, &"./".repeat(1000), "/long").unwrap();
    assert!(p.stat(format!("/long/{}", "./".repeat(1000))).is_ok());
    fails(
        p.stat(format!("/long/{}", "./".repeat(1100))),
        Errno::ENAMETOOLONG,
    );
}

#[test]
fn symbolic_links_are_followed_where_posix_says() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/d/f", b"data");
    symlink(&p, "d", "/rel").unwrap();
    symlink(&p, "/d/f", "/abs").unwrap();
    symlink(&p, "../d/f", "/d/up").unwrap();
    symlink(&p, "nowhere", "/dangling").unwrap();
    let file = p.stat("/d/f").unwrap();
    for path in ["/rel/f", "/abs", "/d/up", "/rel/up", "/rel/../abs"] {
        assert_eq!(p.stat(path).unwrap(), file, "{path}");
        assert_eq!(p.stat(path).unwrap(), file, "{path}");
    }
    assert_eq!(p.lstat("/rel").unwrap().file_type, FileType::Symlink);
    // A slash behind it asks for what it points to.
    assert_eq!(p.lstat("/rel/").unwrap().file_type, FileType::Directory);
    fails(p.lstat("/abs/"), Errno::ENOTDIR);
    fails(p.stat("/dangling"), Errno::ENOENT);
    assert!(p.lstat("/dangling").is_ok());
    assert_eq!(p.readlinkat(At::Cwd, "/rel").unwrap(), b"d");
    fails(p.readlinkat(At::Cwd, "/d"), Errno::EINVAL);
    let nofollow = OpenFlags::RDONLY | OpenFlags::NOFOLLOW;
    fails(p.open("/abs", nofollow, 0), Errno::ELOOP);
    fails(
        p.open("/rel", nofollow | OpenFlags::DIRECTORY, 0),
        Errno::ENOTDIR,
    );
    // CREAT makes what a dangling link points to; EXCL does not even look.
    fails(
        p.open(
            "/dangling",
            OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY,
            0o600,
        ),
        Errno::EEXIST,
    );
    write(&p, "/dangling", b"made");
    assert_eq!(read(&p, "/nowhere").unwrap(), b"made");
    fails(mkdir(&p, "/dangling"), Errno::EEXIST);
}

#[test]
fn loops_of_links_end() {
    let kernel = boot();
    let p = kernel.init_proc();
    symlink(&p, "b", "/a").unwrap();
    symlink(&p, "a", "/b").unwrap();
    fails(p.stat("/a"), Errno::ELOOP);
    fails(p.stat("/a/x"), Errno::ELOOP);
    fails(create(&p, "/a"), Errno::ELOOP);
    symlink(&p, "self/x", "/self").unwrap();
    fails(p.stat("/self"), Errno::ELOOP);
    // 32 links are followed, 33 are not.
    write(&p, "/l0", b"");
    for number in 1..=33 {
        symlink(&p, &format!("l{}", number - 1), &format!("/l{number}")).unwrap();
    }
    assert!(p.stat("/l32").is_ok());
    fails(p.stat("/l33"), Errno::ELOOP);
}

#[test]
fn current_directory() {
    let kernel = boot();
    let p = kernel.init_proc().fork();
    mkdir(&p, "/a").unwrap();
    mkdir(&p, "/a/b").unwrap();
    write(&p, "/a/f", b"");
    assert_eq!(p.getcwd().unwrap(), b"/");
    p.chdir("a").unwrap();
    p.chdir("b").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/a/b");
    assert!(p.stat("../f").is_ok());
    fails(p.chdir("../f"), Errno::ENOTDIR);
    let child = p.fork();
    p.chdir("..").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/a");
    assert_eq!(child.getcwd().unwrap(), b"/a/b");
    // Renamed above it, the path follows.
    rename(&p, "/a", "/c").unwrap();
    assert_eq!(child.getcwd().unwrap(), b"/c/b");
    rmdir(&p, "/c/b").unwrap();
    fails(child.getcwd(), Errno::ENOENT);
    fails(child.stat(".."), Errno::ENOENT);
    fails(child.stat("x"), Errno::ENOENT);
    fails(create(&child, "x"), Errno::ENOENT);
    fails(mkdir(&child, "x"), Errno::ENOENT);
    assert_eq!(child.stat(".").unwrap().nlink, 0);
    let fd = child.open("/c", OpenFlags::RDONLY, 0).unwrap();
    child.fchdir(fd).unwrap();
    assert_eq!(child.getcwd().unwrap(), b"/c");
}

#[test]
fn root_directory() {
    let kernel = boot();
    let p = kernel.init_proc().fork();
    mkdir(&p, "/jail").unwrap();
    mkdir(&p, "/jail/etc").unwrap();
    write(&p, "/secret", b"");
    symlink(&p, "/etc", "/jail/link").unwrap();
    symlink(&p, "../../secret", "/jail/out").unwrap();
    fails(user(&kernel, 1, 1).chroot("/jail"), Errno::EPERM);
    p.chroot("/jail").unwrap();
    p.chdir("/").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/");
    assert_eq!(p.stat("/").unwrap(), p.stat("/..").unwrap());
    assert_eq!(p.stat("/").unwrap(), p.stat("/etc/../../..").unwrap());
    assert_eq!(p.stat("/link").unwrap(), p.stat("/etc").unwrap());
    fails(p.stat("/secret"), Errno::ENOENT);
    fails(p.stat("/out"), Errno::ENOENT);
    assert_eq!(list(&p, "/"), [".", "..", "etc", "link", "out"]);
    let fd = p.open("/", OpenFlags::RDONLY, 0).unwrap();
    let dots = p.getdents(fd, 2).unwrap();
    assert_eq!(dots[0].ino, dots[1].ino);
}

#[test]
fn paths_start_at_descriptors() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/d/f", b"data");
    let fd = p.open("/d", OpenFlags::RDONLY, 0).unwrap();
    let at = At::Fd(fd);
    assert_eq!(p.fstatat(at, "f", Follow::Yes), p.stat("/d/f"));
    assert_eq!(p.fstatat(at, "/d/f", Follow::Yes), p.stat("/d/f"));
    assert_eq!(p.fstatat(at, "", Follow::Yes), p.stat("/d"));
    p.mkdirat(at, "sub", 0o755).unwrap();
    assert!(exists(&p, "/d/sub"));
    let file = p.open("/d/f", OpenFlags::RDONLY, 0).unwrap();
    fails(p.fstatat(At::Fd(file), "x", Follow::Yes), Errno::ENOTDIR);
    fails(p.fstatat(At::Fd(999), "x", Follow::Yes), Errno::EBADF);
    // A descriptor that only names a directory serves as well.
    let path = p.open("/d", OpenFlags::PATH, 0).unwrap();
    assert!(p.fstatat(At::Fd(path), "f", Follow::Yes).is_ok());
    fails(p.getdents(path, 10), Errno::EBADF);
}
