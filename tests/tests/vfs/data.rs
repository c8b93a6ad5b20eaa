//! Data of open files: offsets, sizes, holes, times.

use crate::*;
use rumpkern::Seek;

#[test]
fn reads_and_writes_meet() {
    let kernel = boot();
    let p = kernel.init_proc();
    let fd = create(&p, "/f").unwrap();
    p.write(fd, b"hello ").unwrap();
    p.writev(fd, &[b"wor", b"", b"ld"]).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 11);
    p.pwrite(fd, b"H", 0).unwrap();
    assert_eq!(read(&p, "/f").unwrap(), b"Hello world");
    // Past the end there are zeros between.
    p.pwrite(fd, b"!", 5000).unwrap();
    let data = read(&p, "/f").unwrap();
    assert_eq!(data.len(), 5001);
    assert!(data[11..5000].iter().all(|&b| b == 0));
    assert_eq!(p.pread(fd, &mut [0; 10], 5001), Ok(0));
    p.ftruncate(fd, 5).unwrap();
    p.ftruncate(fd, 20).unwrap();
    let mut expected = b"Hello".to_vec();
    expected.resize(20, 0);
    assert_eq!(read(&p, "/f").unwrap(), expected);
    fails(p.pwrite(fd, b"x", u64::MAX - 1), Errno::EFBIG);
    fails(p.ftruncate(fd, u64::MAX), Errno::EFBIG);
}

#[test]
fn append_goes_to_the_end() {
    let kernel = boot();
    let p = kernel.init_proc();
    write(&p, "/f", b"one");
    let flags = OpenFlags::WRONLY | OpenFlags::APPEND;
    let a = p.open("/f", flags, 0).unwrap();
    let b = p.open("/f", flags, 0).unwrap();
    p.write(a, b"two").unwrap();
    p.write(b, b"three").unwrap();
    p.lseek(a, Seek::Set(0)).unwrap();
    p.write(a, b"four").unwrap();
    assert_eq!(read(&p, "/f").unwrap(), b"onetwothreefour");
    assert_eq!(p.lseek(a, Seek::Current(0)), Ok(15));
}

#[test]
fn appends_of_many_threads_are_whole() {
    let kernel = boot();
    let p = kernel.init_proc();
    write(&p, "/f", b"");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let p = p.fork();
            scope.spawn(move || {
                let flags = OpenFlags::WRONLY | OpenFlags::APPEND;
                let fd = p.open("/f", flags, 0).unwrap();
                for _ in 0..100 {
                    p.write(fd, &[b'a' + thread; 50]).unwrap();
                }
            });
        }
    });
    let data = read(&p, "/f").unwrap();
    assert_eq!(data.len(), 4 * 100 * 50);
    for line in data.chunks(50) {
        assert!(line.iter().all(|&b| b == line[0]));
    }
}

#[test]
fn truncation_is_checked() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/f", b"data");
    p.truncate("/f", 2).unwrap();
    assert_eq!(read(&p, "/f").unwrap(), b"da");
    fails(p.truncate("/d", 0), Errno::EISDIR);
    fails(p.truncate("/none", 0), Errno::ENOENT);
    let other = user(&kernel, 5, 5);
    fails(other.truncate("/f", 0), Errno::EACCES);
    let fd = p.open("/f", OpenFlags::RDONLY, 0).unwrap();
    fails(p.ftruncate(fd, 0), Errno::EINVAL);
    fails(p.fallocate(fd, 0, 1, false), Errno::EBADF);
    let fd = p.open("/f", OpenFlags::RDWR | OpenFlags::TRUNC, 0).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 0);
}

#[test]
fn space_is_reserved_and_punched() {
    let kernel = boot();
    let p = kernel.init_proc();
    let fd = create(&p, "/f").unwrap();
    p.fallocate(fd, 0, 100_000, true).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 0);
    p.fallocate(fd, 0, 100_000, false).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 100_000);
    p.pwrite(fd, &[1; 100_000], 0).unwrap();
    p.punch_hole(fd, 10_000, 50_000).unwrap();
    let data = read(&p, "/f").unwrap();
    assert_eq!(data.len(), 100_000);
    assert!(data[10_000..60_000].iter().all(|&b| b == 0));
    assert!(data[..10_000].iter().all(|&b| b == 1));
    assert!(data[60_000..].iter().all(|&b| b == 1));
    let hole = p.lseek(fd, Seek::Hole(0)).unwrap();
    assert!((10_000..60_000).contains(&hole), "{hole}");
    let data = p.lseek(fd, Seek::Data(hole)).unwrap();
    assert!(data > hole && data <= 60_000, "{data}");
    fails(p.lseek(fd, Seek::Data(100_000)), Errno::ENXIO);
    fails(p.fallocate(fd, 0, 0, false), Errno::EINVAL);
    fails(p.fallocate(fd, u64::MAX, 2, false), Errno::EFBIG);
}

#[test]
fn times_follow_the_data() {
    let kernel = boot();
    let p = kernel.init_proc();
    let old = rumpkern::Timespec::from_secs(1000);
    let set = rumpvfs::calls::SetTime::To(old);
    mkdir(&p, "/d").unwrap();
    write(&p, "/d/f", b"data");
    let reset = |path: &str| p.utimensat(At::Cwd, path, set, set, Follow::Yes).unwrap();
    reset("/d/f");
    reset("/d");
    let fd = p.open("/d/f", OpenFlags::RDWR, 0).unwrap();
    p.read(fd, &mut [0; 4]).unwrap();
    let stat = p.fstat(fd).unwrap();
    assert!(stat.atime > old && stat.mtime == old);
    p.write(fd, b"x").unwrap();
    let stat = p.stat("/d/f").unwrap();
    assert!(stat.mtime > old && stat.ctime >= stat.mtime);
    // A time that is set stays, though data was written before.
    reset("/d/f");
    assert_eq!(p.stat("/d/f").unwrap().mtime, old);
    p.close(fd).unwrap();
    assert_eq!(p.stat("/d/f").unwrap().mtime, old);
    assert_eq!(p.stat("/d").unwrap().mtime, old);
    write(&p, "/d/g", b"");
    assert!(p.stat("/d").unwrap().mtime > old);
    reset("/d");
    unlink(&p, "/d/g").unwrap();
    assert!(p.stat("/d").unwrap().mtime > old);
    reset("/d");
    list(&p, "/d");
    assert!(p.stat("/d").unwrap().atime > old);
    p.fsync(p.open("/d/f", OpenFlags::RDONLY, 0).unwrap())
        .unwrap();
}
