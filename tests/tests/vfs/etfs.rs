//! Objects of the host in the kernel's name space.

use crate::*;
use rump_tests::tools::{TempDir, run};
use rumpkern::FileType;
use rumpuser_posix::{Access, HostFile};
use rumpvfs::{
    KernelVfs as _,
    calls::{EtfsType, MountArgs},
};
use std::sync::Arc;

/// A kernel with a host file at `/host/file`, and where the file is.
fn shown(content: &[u8], access: Access, kind: EtfsType) -> (TempDir, String, Kernel, Proc) {
    let folder = TempDir::new();
    let path = folder.file("file");
    std::fs::write(&path, content).unwrap();
    let kernel = boot();
    let file = Arc::new(HostFile::open(&path, access).unwrap());
    kernel.etfs_register_as("/host/file", file, kind).unwrap();
    let p = kernel.init_proc();
    (folder, path, kernel, p)
}

fn regular(content: &[u8]) -> (TempDir, String, Kernel, Proc) {
    shown(content, Access::ReadWrite, EtfsType::Regular)
}

fn on_host(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_host_file_is_a_regular_file_of_its_size() {
    let (_folder, path, kernel, p) = regular(b"twelve bytes");
    let stat = p.stat("/host/file").unwrap();
    assert_eq!((stat.file_type, stat.size), (FileType::Regular, 12));
    assert_eq!((stat.blocks, stat.mode), (1, 0o600));
    assert_eq!(list(&p, "/host"), [".", "..", "file"]);
    assert_eq!(read(&p, "/host/file").unwrap(), b"twelve bytes");

    let fd = p.open("/host/file", OpenFlags::RDWR, 0).unwrap();
    let mut buf = [0; 20];
    assert_eq!(p.pread(fd, &mut buf, 7), Ok(5));
    assert_eq!(&buf[..5], b"bytes");
    assert_eq!(p.pread(fd, &mut buf, 12), Ok(0));
    assert_eq!(p.pwrite(fd, b"BYTES", 7), Ok(5));
    assert_eq!(on_host(&path), b"twelve BYTES");
    // Past the end it grows, a gap reads as zeros.
    assert_eq!(p.pwrite(fd, b"!", 14), Ok(1));
    assert_eq!(on_host(&path), b"twelve BYTES\0\0!");
    assert_eq!(p.stat("/host/file").unwrap().size, 15);
    p.ftruncate(fd, 6).unwrap();
    assert_eq!(on_host(&path), b"twelve");
    p.truncate("/host/file", 8).unwrap();
    assert_eq!(on_host(&path), b"twelve\0\0");
    p.fsync(fd).unwrap();
    fails(kernel.etfs_remove("/host/file"), Errno::EBUSY);
    p.close(fd).unwrap();
    fails(p.ftruncate(fd, 1), Errno::EBADF);

    let flags = OpenFlags::WRONLY | OpenFlags::APPEND | OpenFlags::TRUNC;
    let fd = p.open("/host/file", flags, 0).unwrap();
    assert_eq!(on_host(&path), b"");
    for word in ["one ", "two ", "three"] {
        p.write(fd, word.as_bytes()).unwrap();
    }
    p.close(fd).unwrap();
    assert_eq!(on_host(&path), b"one two three");

    kernel.etfs_remove("/host/file").unwrap();
    assert!(!exists(&p, "/host/file"));
    assert_eq!(on_host(&path), b"one two three");
    kernel.shutdown().unwrap();
}

#[test]
fn appends_of_many_threads_all_arrive() {
    let (_folder, path, _kernel, p) = regular(b"");
    std::thread::scope(|scope| {
        for n in 0..4_u8 {
            let p = p.fork();
            scope.spawn(move || {
                let flags = OpenFlags::WRONLY | OpenFlags::APPEND;
                let fd = p.open("/host/file", flags, 0).unwrap();
                for _ in 0..100 {
                    assert_eq!(p.write(fd, &[b'a' + n; 7]), Ok(7));
                }
            });
        }
    });
    let content = on_host(&path);
    assert_eq!(content.len(), 4 * 100 * 7);
    for record in content.chunks(7) {
        assert!(record.iter().all(|b| *b == record[0]), "{record:?}");
    }
}

#[test]
fn copies_in_and_out_are_equal() {
    let content: Vec<u8> = (0..300_007_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let (folder, path, kernel, p) = regular(&content);
    let out = folder.file("out");
    std::fs::write(&out, b"").unwrap();
    let file = Arc::new(HostFile::open(&out, Access::ReadWrite).unwrap());
    kernel
        .etfs_register_as("/host/out", file, EtfsType::Regular)
        .unwrap();
    // Through the kernel's own file system.
    let copy = |from: &str, to: &str| {
        let from = p.open(from, OpenFlags::RDONLY, 0).unwrap();
        let to = create(&p, to).unwrap();
        let mut buf = [0; 4099];
        loop {
            let len = p.read(from, &mut buf).unwrap();
            if len == 0 {
                break;
            }
            assert_eq!(p.write(to, &buf[..len]), Ok(len));
        }
        p.close(from).unwrap();
        p.close(to).unwrap();
    };
    copy("/host/file", "/copy");
    copy("/copy", "/host/out");
    kernel.shutdown().unwrap();
    run("cmp", &[&path, &out]);
}

#[test]
fn read_only_is_absolute() {
    let (_folder, path, _kernel, p) = shown(b"fixed", Access::ReadOnly, EtfsType::Regular);
    assert_eq!(read(&p, "/host/file").unwrap(), b"fixed");
    fails(p.open("/host/file", OpenFlags::RDWR, 0), Errno::EROFS);
    let flags = OpenFlags::RDONLY | OpenFlags::TRUNC;
    fails(p.open("/host/file", flags, 0), Errno::EROFS);
    fails(p.truncate("/host/file", 0), Errno::EROFS);
    assert_eq!(on_host(&path), b"fixed");
}

#[test]
fn permissions_and_names_are_the_kernels() {
    let (_folder, path, kernel, p) = regular(b"secret");
    let user = user(&kernel, 5, 5);
    fails(user.open("/host/file", OpenFlags::RDONLY, 0), Errno::EACCES);
    p.fchmodat(At::Cwd, "/host/file", 0o644, Follow::Yes)
        .unwrap();
    assert_eq!(read(&user, "/host/file").unwrap(), b"secret");
    fails(user.truncate("/host/file", 0), Errno::EACCES);
    // Another name is the same file; the last one that goes takes nothing from the host.
    link(&p, "/host/file", "/other").unwrap();
    unlink(&p, "/host/file").unwrap();
    assert_eq!(read(&p, "/other").unwrap(), b"secret");
    write(&p, "/host/file", b"another");
    kernel.etfs_remove("/host/file").unwrap();
    assert_eq!(read(&p, "/host/file").unwrap(), b"another");
    fails(p.open("/other", OpenFlags::RDONLY, 0), Errno::ENXIO);
    assert_eq!(on_host(&path), b"secret");
}

#[test]
fn what_cannot_grow_is_written_as_far_as_it_goes() {
    let kernel = boot();
    let disk = Arc::new(rumpuser_sim::MemDisk::new(1024));
    kernel
        .etfs_register_as("/disk", disk, EtfsType::Regular)
        .unwrap();
    let p = kernel.init_proc();
    let fd = p.open("/disk", OpenFlags::RDWR, 0).unwrap();
    assert_eq!(p.pwrite(fd, &[1; 100], 1000), Ok(24));
    fails(p.pwrite(fd, &[1; 100], 1024), Errno::ENOSPC);
    fails(p.ftruncate(fd, 10), Errno::EOPNOTSUPP);
    p.ftruncate(fd, 1024).unwrap();
}

#[test]
fn raw_devices_move_whole_sectors() {
    let kind = EtfsType::Character;
    let (_folder, path, kernel, p) = shown(&[7; 2048], Access::ReadWrite, kind);
    assert_eq!(p.stat("/host/file").unwrap().file_type, FileType::Character);
    let fd = p.open("/host/file", OpenFlags::RDWR, 0).unwrap();
    let mut buf = [0; 1024];
    assert_eq!(p.pread(fd, &mut buf, 512), Ok(1024));
    assert_eq!(buf, [7; 1024]);
    fails(p.pread(fd, &mut buf, 100), Errno::EINVAL);
    fails(p.pread(fd, &mut buf[..100], 512), Errno::EINVAL);
    fails(p.pwrite(fd, b"x", 0), Errno::EINVAL);
    assert_eq!(p.pwrite(fd, &[8; 512], 512), Ok(512));
    fails(p.ftruncate(fd, 512), Errno::EINVAL);
    p.close(fd).unwrap();
    kernel.etfs_remove("/host/file").unwrap();
    let content = on_host(&path);
    assert_eq!(content, [[7; 512], [8; 512], [7; 512], [7; 512]].concat());
}

#[test]
fn mounts_want_a_block_device() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    for (name, kind) in [("/r", EtfsType::Regular), ("/c", EtfsType::Character)] {
        let disk = Arc::new(rumpuser_sim::MemDisk::new(1 << 20));
        kernel.etfs_register_as(name, disk, kind).unwrap();
        link(&p, name, &format!("{name}2")).unwrap();
        for path in [name.to_string(), format!("{name}2")] {
            let mounted = p.mount("tmpfs", "/mnt", MountArgs::device(path));
            fails(mounted, Errno::ENOTBLK);
        }
    }
}

#[test]
fn names_are_taken_once_and_directories_not_at_all() {
    let (folder, path, kernel, p) = regular(b"");
    let disk = || Arc::new(rumpuser_sim::MemDisk::new(512));
    for kind in [EtfsType::Regular, EtfsType::Block, EtfsType::Character] {
        let again = kernel.etfs_register_as("/host/file", disk(), kind);
        fails(again, Errno::EEXIST);
        fails(kernel.etfs_register_as("x", disk(), kind), Errno::EINVAL);
    }
    write(&p, "/plain", b"mine");
    let taken = kernel.etfs_register_as("/plain", disk(), EtfsType::Regular);
    fails(taken, Errno::EEXIST);
    fails(kernel.etfs_remove("/plain"), Errno::ENOENT);
    assert_eq!(read(&p, "/plain").unwrap(), b"mine");
    let below = kernel.etfs_register_as("/host/file/x", disk(), EtfsType::Regular);
    fails(below, Errno::ENOTDIR);
    let error = HostFile::open(folder.path(), Access::ReadOnly).unwrap_err();
    assert_eq!(error.errno(), Errno::EISDIR);
    assert!(error.to_string().contains(folder.path().to_str().unwrap()));
    drop(path);
}
