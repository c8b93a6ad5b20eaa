//! A driver that panics: its mount is out of service, everything else goes on.

use crate::prelude::*;
use rump_tests::mounted::boot;
use rumpkern::{Kernel, types::DeviceNumber};
use rumpvfs::{
    KernelVfs as _,
    calls::MountArgs,
    fs::{
        AnyFileSystem, Attributes, DirCookie, DirEmit, DirSlot, Extent, FileSystem, FlagNumbers,
        Found, FsStatistics, FsType, Ino, Limits, MountContext, Protection, erase,
    },
    name::Name,
};
use std::sync::Arc;

/// Which method panics, by its mount option.
struct Brittle(String);

struct BrittleType;

impl FsType for BrittleType {
    fn name(&self) -> &'static str {
        "brittle"
    }

    fn nodev(&self) -> bool {
        true
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>, Errno> {
        let (method, _) = context.options.first().ok_or(Errno::EINVAL)?.clone();
        assert!(method != "mount", "a bug in mount");
        Ok(erase(Brittle(method)))
    }
}

impl Brittle {
    fn at(&self, method: &str) {
        assert!(self.0 != method, "a bug in {method}");
    }
}

const ROOT: Ino = Ino(1);
const FILE: Ino = Ino(2);

impl FileSystem for Brittle {
    type Inode = Ino;

    fn root(&self) -> Ino {
        ROOT
    }

    fn limits(&self) -> Limits {
        Limits {
            block_size: 512,
            name_max: 255,
            file_size_max: 1 << 30,
            link_max: 1,
            symlink_max: 255,
            time_granularity: 1,
            memory: false,
            revalidate: false,
            folds: false,
            flag_numbers: FlagNumbers::Own,
        }
    }

    fn statistics(&self) -> Result<FsStatistics, Errno> {
        self.at("statistics");
        Ok(FsStatistics::default())
    }

    fn load(&self, ino: Ino) -> Result<Ino, Errno> {
        if ino != ROOT {
            self.at("load");
        }
        Ok(ino)
    }

    fn attributes(&self, inode: &Ino) -> Attributes {
        if *inode != ROOT {
            self.at("attributes");
        }
        let directory = *inode == ROOT;
        let epoch = Timespec::from_secs(0);
        Attributes {
            ino: *inode,
            generation: 1,
            file_type: if directory {
                FileType::Directory
            } else {
                FileType::Regular
            },
            mode: 0o755,
            nlink: 2,
            uid: 0,
            gid: 0,
            rdev: DeviceNumber::default(),
            size: 512,
            blocks: 1,
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            birthtime: None,
            flags: 0,
            protection: Protection::default(),
            has_acl: false,
        }
    }

    fn lookup(&self, _dir: &Ino, name: Name<'_>) -> Result<Found, Errno> {
        self.at("lookup");
        Ok(match name.bytes() {
            b"file" => Found::Entry(FILE, DirSlot::default()),
            _ => Found::Absent(DirSlot::default()),
        })
    }

    fn parent(&self, _dir: &Ino) -> Result<Ino, Errno> {
        Ok(ROOT)
    }

    fn read_dir(&self, _: &Ino, _: DirCookie, _: &mut dyn DirEmit) -> Result<(), Errno> {
        self.at("read_dir");
        Ok(())
    }

    fn read_link(&self, _inode: &Ino) -> Result<Vec<u8>, Errno> {
        Err(Errno::EIO)
    }

    fn map(&self, _inode: &Ino, _offset: u64, len: u64) -> Result<Extent, Errno> {
        self.at("map");
        Ok(Extent {
            place: rumpvfs::fs::Place::Hole,
            len,
        })
    }

    fn sync(&self) -> Result<(), Errno> {
        self.at("sync");
        Ok(())
    }

    fn unmount(&self) -> Result<(), Errno> {
        self.at("unmount");
        Ok(())
    }
}

fn kernel() -> (Kernel, Proc) {
    let kernel = boot();
    kernel.register_fs(Arc::new(BrittleType)).unwrap();
    let p = kernel.init_proc();
    p.mkdir("/other", 0o755).unwrap();
    p.mount("tmpfs", "/other", MountArgs::default()).unwrap();
    p.mkdir("/on", 0o755).unwrap();
    (kernel, p)
}

fn mount(p: &Proc, method: &str) -> Result<(), Errno> {
    p.mount("brittle", "/on", MountArgs::default().option(method, None))
}

/// Mounts a driver that panics in a method, and makes the call that gets there.
fn breaks(method: &'static str, call: fn(&Proc) -> Result<(), Errno>) {
    patiently(move || {
        let (kernel, p) = kernel();
        mount(&p, method).unwrap();
        fails!(call(&p), EIO);
        // Again, and everything else there: out of service.
        fails!(call(&p), EIO);
        fails!(p.stat("/on/anything"), EIO);
        let said = format!("{:?}", kernel.log().since(0));
        assert!(said.contains(&format!("a bug in {method}")), "{said}");
        // Everything else goes on.
        p.put("/other/file", b"content").unwrap();
        p.put("/file", b"content").unwrap();
        assert_eq!(p.get("/other/file").unwrap(), b"content");
        fails!(p.unmount("/on", true), EIO);
        // It is gone all the same, and its place can be used again.
        assert_eq!(p.getvfsstat().len(), 2);
        mount(&p, "nothing").unwrap();
        p.can_open("/on/file", O::RDONLY).unwrap();
        p.unmount("/on", false).unwrap();
        kernel.shutdown().unwrap();
    });
}

#[test]
fn a_panic_in_lookup_is_eio_and_nothing_else_suffers() {
    breaks("lookup", |p| p.stat("/on/file").map(drop));
}

#[test]
fn a_panic_in_load_is_eio() {
    breaks("load", |p| p.stat("/on/file").map(drop));
}

#[test]
fn a_panic_in_attributes_is_eio() {
    breaks("attributes", |p| p.stat("/on/file").map(drop));
}

#[test]
fn a_panic_in_read_dir_is_eio() {
    breaks("read_dir", |p| {
        let fd = p.open("/on", O::DIRECTORY, 0)?;
        // `.` and `..` come first, without the driver.
        let listed = p.getdents(fd, 2).and_then(|_| p.getdents(fd, 10));
        p.close(fd)?;
        listed.map(drop)
    });
}

#[test]
fn a_panic_in_map_is_eio() {
    breaks("map", |p| p.get("/on/file").map(drop));
}

#[test]
fn a_panic_in_statistics_is_eio() {
    breaks("statistics", |p| p.statvfs("/on").map(drop));
}

#[test]
fn a_panic_in_sync_is_eio() {
    breaks("sync", |p| p.sync());
}

#[test]
fn a_panic_in_mount_is_eio_and_mounts_nothing() {
    let (kernel, p) = kernel();
    fails!(mount(&p, "mount"), EIO);
    assert_eq!(p.getvfsstat().len(), 2);
    assert!(p.names("/on").is_empty());
    mount(&p, "nothing").unwrap();
    kernel.shutdown().unwrap();
}

#[test]
fn a_panic_in_unmount_is_eio_and_unmounts() {
    let (kernel, p) = kernel();
    mount(&p, "unmount").unwrap();
    fails!(p.unmount("/on", false), EIO);
    assert_eq!(p.getvfsstat().len(), 2);
    assert!(p.names("/on").is_empty());
    kernel.shutdown().unwrap();
}

#[test]
fn locks_are_free_after_a_panic() {
    patiently(|| {
        let (_kernel, p) = kernel();
        mount(&p, "lookup").unwrap();
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let p = p.clone();
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        fails!(p.stat(format!("/on/file{n}")), EIO);
                        fails!(p.create("/on/new", 0o644), EIO | EROFS);
                        fails!(p.rename("/on/a", "/on/b"), EIO | EROFS);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        fails!(p.unmount("/on", true), EIO);
    });
}
