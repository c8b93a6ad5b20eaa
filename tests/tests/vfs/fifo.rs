//! FIFOs.

use crate::*;
use rumpkern::{FileType, types::DeviceNumber};
use rumpvfs::calls::{MountFlags, SetTime};
use std::{thread, time::Duration};

fn mkfifo(p: &Proc, path: &str) {
    p.mknodat(
        At::Cwd,
        path,
        FileType::Fifo,
        0o600,
        DeviceNumber::default(),
    )
    .unwrap();
}

#[test]
fn two_opens_meet() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkfifo(&p, "/fifo");
    thread::scope(|scope| {
        scope.spawn(|| {
            let fd = p.open("/fifo", OpenFlags::WRONLY, 0).unwrap();
            p.write(fd, b"through").unwrap();
            p.close(fd).unwrap();
        });
        thread::sleep(Duration::from_millis(10));
        let fd = p.open("/fifo", OpenFlags::RDONLY, 0).unwrap();
        let mut data = [0; 16];
        assert_eq!(p.read(fd, &mut data), Ok(7));
        assert_eq!(&data[..7], b"through");
        assert_eq!(p.read(fd, &mut data), Ok(0));
        fails(p.lseek(fd, rumpkern::Seek::Set(0)), Errno::ESPIPE);
        assert_eq!(p.fstat(fd).unwrap().file_type, FileType::Fifo);
        assert_eq!(p.fstat(fd).unwrap().ino, p.stat("/fifo").unwrap().ino);
        p.close(fd).unwrap();
    });
}

#[test]
fn without_waiting() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkfifo(&p, "/fifo");
    let nonblock = OpenFlags::NONBLOCK;
    fails(
        p.open("/fifo", OpenFlags::WRONLY | nonblock, 0),
        Errno::ENXIO,
    );
    let reader = p.open("/fifo", OpenFlags::RDONLY | nonblock, 0).unwrap();
    assert_eq!(p.read(reader, &mut [0]), Ok(0));
    let writer = p.open("/fifo", OpenFlags::WRONLY | nonblock, 0).unwrap();
    fails(p.read(reader, &mut [0]), Errno::EAGAIN);
    p.write(writer, b"x").unwrap();
    assert_eq!(p.read(reader, &mut [0; 4]), Ok(1));
    p.close(reader).unwrap();
    fails(p.write(writer, b"x"), Errno::EPIPE);
    p.close(writer).unwrap();
    // A new stream each time all have left.
    let both = p.open("/fifo", OpenFlags::RDWR | nonblock, 0).unwrap();
    fails(p.read(both, &mut [0]), Errno::EAGAIN);
}

#[test]
fn reads_leave_no_trace_where_none_is_wanted() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    p.mount("tmpfs", "/mnt", Default::default()).unwrap();
    mkfifo(&p, "/mnt/fifo");
    let old = SetTime::To(rumpkern::Timespec::from_secs(1));
    let keep = SetTime::Omit;
    p.utimensat(At::Cwd, "/mnt/fifo", old, keep, Follow::Yes)
        .unwrap();
    let fd = p.open("/mnt/fifo", OpenFlags::RDWR, 0).unwrap();
    let pass = || {
        p.write(fd, b"x").unwrap();
        p.read(fd, &mut [0]).unwrap();
        p.fstat(fd).unwrap().atime.sec
    };
    p.remount("/mnt", MountFlags::NOATIME).unwrap();
    assert_eq!(pass(), 1);
    p.remount("/mnt", MountFlags::empty()).unwrap();
    assert!(pass() > 1);
}
