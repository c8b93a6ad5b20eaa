//! An ext4 image made by `mke2fs -d`, read through the system calls.

use rumpkern::{FileType, Kernel, OpenFlags};
use rumpuser::Errno;
use rumpuser_posix::{Access, Host, HostFile};
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, Follow, MountArgs, MountFlags},
};
use std::{fs, path::Path, process::Command, sync::Arc};

/// An image of `mke2fs -d` with a known tree.
fn image(dir: &Path) -> std::path::PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/c"), b"hello\n").unwrap();
    fs::write(tree.join("big"), vec![7; 3_000_000]).unwrap();
    for number in 0..500 {
        fs::write(tree.join(format!("a/file{number:03}")), format!("{number}")).unwrap();
    }
    std::os::unix::fs::symlink("a/b", tree.join("link")).unwrap();
    let image = dir.join("image");
    let status = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&tree)
        .arg(&image)
        .arg("32M")
        .status()
        .expect("mke2fs is needed");
    assert!(status.success());
    image
}

#[test]
fn a_tree_reads_back() {
    let dir = std::env::temp_dir().join(format!("vfs_ext2fs.{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let image = image(&dir);
    let kernel = Kernel::builder(Host::new())
        .component(rumpfs_ext2fs::component())
        .boot()
        .unwrap();
    let device = Arc::new(HostFile::open(&image, Access::ReadOnly).unwrap());
    kernel.etfs_register("/dev/img", device).unwrap();
    let proc = kernel.init_proc();
    assert_eq!(proc.stat("/").map(drop), Err(Errno::ENOENT));
    proc.mount("ext4", "/", MountArgs::device("/dev/img").read_only())
        .unwrap();
    let stat = proc.stat("/a/b/c").unwrap();
    assert_eq!((stat.file_type, stat.size), (FileType::Regular, 6));
    assert_eq!(proc.stat("/link/c").unwrap(), stat);
    assert_eq!(proc.stat("/link/../../a/./b//c").unwrap(), stat);
    assert_eq!(proc.lstat("/link").unwrap().file_type, FileType::Symlink);
    assert_eq!(proc.readlinkat(At::Cwd, "/link").unwrap(), b"a/b");
    let fd = proc.open("/link/c", OpenFlags::RDONLY, 0).unwrap();
    let mut buf = [0; 16];
    assert_eq!(proc.read(fd, &mut buf), Ok(6));
    assert_eq!(&buf[..6], b"hello\n");
    proc.close(fd).unwrap();
    let fd = proc.open("big", OpenFlags::RDONLY, 0).unwrap();
    let mut big = vec![0; 4_000_000];
    assert_eq!(proc.read(fd, &mut big), Ok(3_000_000));
    assert!(big[..3_000_000].iter().all(|&b| b == 7));
    proc.close(fd).unwrap();

    let fd = proc.open("/a", OpenFlags::RDONLY, 0).unwrap();
    let mut names = Vec::new();
    loop {
        let some = proc.getdents(fd, 37).unwrap();
        if some.is_empty() {
            break;
        }
        names.extend(some.into_iter().map(|d| d.name));
    }
    assert_eq!(names.len(), 503);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 503);
    proc.lseek(fd, rumpkern::Seek::Set(0)).unwrap();
    let all = proc.getdents_plus(fd, 1000).unwrap();
    assert_eq!(all.len(), 501);
    for entry in &all {
        let path = [b"/a/", &entry.name[..]].concat();
        assert_eq!(proc.fstatat(At::Cwd, &path, Follow::No), entry.stat);
    }
    assert_eq!(proc.unmount("/", false), Err(Errno::EBUSY));
    proc.close(fd).unwrap();
    assert_eq!(proc.stat("/a/b/c/").map(drop), Err(Errno::ENOTDIR));
    assert_eq!(proc.mkdirat(At::Cwd, "/a", 0o755), Err(Errno::EEXIST));
    assert_eq!(proc.mkdirat(At::Cwd, "/n", 0o755), Err(Errno::EROFS));
    proc.unmount("/", false).unwrap();
    kernel.shutdown().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

/// Times that are kept in memory are told with each `sync`, and not only with the first one: what another kernel finds in a copy says so.
#[test]
fn access_times_are_on_the_medium_after_each_sync() {
    let dir = std::env::temp_dir().join(format!("vfs_ext2fs_times.{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let image = image(&dir);
    let boot = |image: &Path, args: MountArgs| {
        let kernel = Kernel::builder(Host::new())
            .component(rumpfs_ext2fs::component())
            .boot()
            .unwrap();
        let device = Arc::new(HostFile::open(image, Access::ReadWrite).unwrap());
        kernel.etfs_register("/dev/img", device).unwrap();
        kernel.init_proc().mount("ext4", "/", args).unwrap();
        kernel
    };
    let mut args = MountArgs::device("/dev/img");
    args.flags |= MountFlags::STRICTATIME;
    let copy = dir.join("copy");
    let stored = |path: &str| {
        fs::copy(&image, &copy).unwrap();
        let kernel = boot(&copy, args.clone());
        let atime = kernel.init_proc().stat(path).unwrap().atime;
        kernel.init_proc().unmount("/", false).unwrap();
        kernel.shutdown().unwrap();
        atime
    };
    let kernel = boot(&image, args.clone());
    let proc = kernel.init_proc();
    let mut last = proc.stat("/a/b/c").unwrap().atime;
    for _ in 0..3 {
        let fd = proc.open("/a/b/c", OpenFlags::RDONLY, 0).unwrap();
        assert_eq!(proc.read(fd, &mut [0; 9]), Ok(6));
        let read = proc.fstat(fd).unwrap().atime;
        assert!(read > last && stored("/a/b/c") == last);
        proc.sync().unwrap();
        assert_eq!(stored("/a/b/c"), read);
        proc.close(fd).unwrap();
        last = read;
    }
    proc.unmount("/", false).unwrap();
    kernel.shutdown().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}
