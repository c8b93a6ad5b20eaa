//! Flags that forbid changes, and errors of the medium: on ext4, with the numbers of its flags.

use crate::{caches::small, *};
use rumpuser_sim::{Fault, Operation};
use rumpvfs::{calls::SetTime, fs::XattrMode};

/// `EXT4_IMMUTABLE_FL`, `EXT4_APPEND_FL`, `EXT4_NODUMP_FL`.
const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;
const NODUMP: u32 = 0x40;

fn chflags(p: &Proc, path: &str, add: u32, remove: u32) -> Result<()> {
    let flags = (p.stat(path)?.flags | add) & !remove;
    p.chflagsat(At::Cwd, path, flags, Follow::Yes)
}

#[test]
fn immutable_files_stay_as_they_are() {
    let (_sim, kernel, _disk) = small(1);
    let p = kernel.init_proc();
    write(&p, "/mnt/f", b"data");
    mkdir(&p, "/mnt/d").unwrap();
    write(&p, "/mnt/d/in", b"");
    chflags(&p, "/mnt/f", IMMUTABLE, 0).unwrap();
    chflags(&p, "/mnt/d", IMMUTABLE, 0).unwrap();
    assert_eq!(read(&p, "/mnt/f").unwrap(), b"data");
    fails(p.open("/mnt/f", OpenFlags::WRONLY, 0), Errno::EPERM);
    fails(p.truncate("/mnt/f", 0), Errno::EPERM);
    fails(unlink(&p, "/mnt/f"), Errno::EPERM);
    fails(link(&p, "/mnt/f", "/mnt/g"), Errno::EPERM);
    fails(rename(&p, "/mnt/f", "/mnt/g"), Errno::EPERM);
    fails(
        p.fchmodat(At::Cwd, "/mnt/f", 0o600, Follow::Yes),
        Errno::EPERM,
    );
    fails(
        p.fchownat(At::Cwd, "/mnt/f", Some(1), None, Follow::Yes),
        Errno::EPERM,
    );
    fails(
        p.utimensat(At::Cwd, "/mnt/f", SetTime::Now, SetTime::Now, Follow::Yes),
        Errno::EPERM,
    );
    fails(
        p.setxattr("/mnt/f", b"user.a", b"", XattrMode::Set, Follow::Yes),
        Errno::EPERM,
    );
    fails(create(&p, "/mnt/d/new"), Errno::EPERM);
    fails(unlink(&p, "/mnt/d/in"), Errno::EPERM);
    chflags(&p, "/mnt/f", 0, IMMUTABLE).unwrap();
    chflags(&p, "/mnt/d", 0, IMMUTABLE).unwrap();
    unlink(&p, "/mnt/f").unwrap();
    unlink(&p, "/mnt/d/in").unwrap();
    kernel.shutdown().unwrap();
}

#[test]
fn append_only_files_grow() {
    let (_sim, kernel, _disk) = small(1);
    let p = kernel.init_proc();
    write(&p, "/mnt/f", b"one");
    chflags(&p, "/mnt/f", APPEND, 0).unwrap();
    fails(p.open("/mnt/f", OpenFlags::WRONLY, 0), Errno::EPERM);
    let append = OpenFlags::WRONLY | OpenFlags::APPEND;
    fails(p.open("/mnt/f", append | OpenFlags::TRUNC, 0), Errno::EPERM);
    let fd = p.open("/mnt/f", append, 0).unwrap();
    p.write(fd, b"two").unwrap();
    fails(p.pwrite(fd, b"x", 0), Errno::EPERM);
    fails(p.ftruncate(fd, 0), Errno::EPERM);
    fails(unlink(&p, "/mnt/f"), Errno::EPERM);
    assert_eq!(read(&p, "/mnt/f").unwrap(), b"onetwo");
    kernel.shutdown().unwrap();
}

#[test]
fn only_root_protects() {
    let (_sim, kernel, _disk) = small(1);
    let root = kernel.init_proc();
    write(&root, "/mnt/f", b"");
    root.fchownat(At::Cwd, "/mnt/f", Some(10), None, Follow::Yes)
        .unwrap();
    let owner = user(&kernel, 10, 10);
    chflags(&owner, "/mnt/f", NODUMP, 0).unwrap();
    let before = root.stat("/mnt/f").unwrap().flags;
    assert_eq!(before & NODUMP, NODUMP);
    fails(chflags(&owner, "/mnt/f", IMMUTABLE, 0), Errno::EPERM);
    assert_eq!(root.stat("/mnt/f").unwrap().flags, before);
    fails(
        chflags(&user(&kernel, 11, 11), "/mnt/f", 0, NODUMP),
        Errno::EPERM,
    );
    chflags(&root, "/mnt/f", IMMUTABLE, 0).unwrap();
    fails(chflags(&owner, "/mnt/f", 0, IMMUTABLE), Errno::EPERM);
    kernel.shutdown().unwrap();
}

#[test]
fn an_error_of_the_medium_is_told_once() {
    let (_sim, kernel, disk) = small(1);
    let p = kernel.init_proc();
    let fd = create(&p, "/mnt/f").unwrap();
    p.fsync(fd).unwrap();
    // In small pieces, which stay in the page cache: large appends go straight to the device.
    for piece in [7; 100_000].chunks(10_000) {
        p.write(fd, piece).unwrap();
    }
    disk.1.inject(Fault::on(Operation::Write));
    fails(p.fsync(fd), Errno::EIO);
    disk.1.heal();
    p.fsync(fd).unwrap();
    p.close(fd).unwrap();
    assert_eq!(read(&p, "/mnt/f").unwrap(), [7; 100_000]);
    kernel.shutdown().unwrap();
}

#[test]
fn who_waits_for_a_lock_on_a_dead_mount_is_told() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    p.mount("tmpfs", "/mnt", Default::default()).unwrap();
    let a = create(&p, "/mnt/f").unwrap();
    let b = create(&p, "/mnt/f").unwrap();
    let exclusive = rumpvfs::calls::Flock::Exclusive;
    p.flock(a, exclusive, false).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| p.flock(b, exclusive, false));
        std::thread::sleep(std::time::Duration::from_millis(20));
        p.unmount("/mnt", true).unwrap();
        fails(waiter.join().unwrap(), Errno::EIO);
    });
}
