//! A driver that panics takes its mount with it, and nothing else.

use crate::*;
use rumpkern::{FileType, Timespec, types::DeviceNumber};
use rumpvfs::{
    KernelVfs as _,
    calls::MountArgs,
    fs::{
        AnyFileSystem, Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FileSystem,
        FlagNumbers, Found, FsStatistics, FsType, Ino, Limits, MountContext, Place, Protection,
        erase,
    },
    name::Name,
};
use std::sync::Arc;

/// A directory with `good` and `bad`, where touching `bad` panics.
struct Mad;

struct MadType;

impl FsType for MadType {
    fn name(&self) -> &'static str {
        "madfs"
    }
    fn nodev(&self) -> bool {
        true
    }
    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        if !context.options.is_empty() {
            panic!("no options, I said");
        }
        Ok(erase(Mad))
    }
}

impl FileSystem for Mad {
    type Inode = u64;
    fn root(&self) -> Ino {
        Ino(1)
    }
    fn limits(&self) -> Limits {
        Limits {
            block_size: 512,
            name_max: 255,
            file_size_max: 1 << 30,
            link_max: 10,
            symlink_max: 100,
            time_granularity: 1,
            memory: false,
            revalidate: false,
            folds: false,
            flag_numbers: FlagNumbers::Own,
        }
    }
    fn statistics(&self) -> Result<FsStatistics> {
        Ok(FsStatistics::default())
    }
    fn load(&self, ino: Ino) -> Result<u64> {
        assert!(ino.0 != 3, "inode 3 is mad");
        if ino.0 == 4 {
            return Err(Errno::ESTALE);
        }
        Ok(ino.0)
    }
    fn attributes(&self, inode: &u64) -> Attributes {
        let file_type = if *inode == 1 {
            FileType::Directory
        } else {
            FileType::Regular
        };
        Attributes {
            ino: Ino(*inode),
            generation: 0,
            file_type,
            mode: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: DeviceNumber::default(),
            size: 10,
            blocks: 0,
            atime: Timespec::default(),
            mtime: Timespec::default(),
            ctime: Timespec::default(),
            birthtime: None,
            flags: 0,
            protection: Protection::default(),
            has_acl: false,
        }
    }
    fn lookup(&self, _: &u64, name: Name<'_>) -> Result<Found> {
        Ok(match name.bytes() {
            b"good" => Found::Entry(Ino(2), DirSlot::default()),
            b"bad" => Found::Entry(Ino(3), DirSlot::default()),
            // Damage: the directory has itself as an entry.
            b"again" => Found::Entry(Ino(1), DirSlot::default()),
            // Damage: the entry is of no inode in use.
            b"stale" => Found::Entry(Ino(4), DirSlot::default()),
            _ => Found::Absent(DirSlot::default()),
        })
    }
    fn parent(&self, _: &u64) -> Result<Ino> {
        Ok(Ino(1))
    }
    fn read_dir(&self, _: &u64, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        for (at, name) in [b"good".as_slice(), b"bad"].into_iter().enumerate() {
            let next = DirCookie(at as u64 + 1);
            if next.0 > from.0 {
                emit.emit(DirEntry {
                    name,
                    ino: Ino(at as u64 + 2),
                    file_type: None,
                    next,
                });
            }
        }
        Ok(())
    }
    fn read_link(&self, _: &u64) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
    fn map(&self, _: &u64, _: u64, len: u64) -> Result<Extent> {
        let place = Place::Hole;
        Ok(Extent { place, len })
    }
}

fn with_mad() -> (Kernel, Proc) {
    let kernel = boot();
    kernel.register_fs(Arc::new(MadType)).unwrap();
    fails(kernel.register_fs(Arc::new(MadType)), Errno::EEXIST);
    let p = kernel.init_proc();
    mkdir(&p, "/mad").unwrap();
    p.mount("madfs", "/mad", MountArgs::default()).unwrap();
    (kernel, p)
}

#[test]
fn a_panic_kills_the_mount_alone() {
    let (kernel, p) = with_mad();
    let fd = p.open("/mad/good", OpenFlags::RDONLY, 0).unwrap();
    assert_eq!(p.pread(fd, &mut [1; 20], 0), Ok(10));
    let mark = kernel.log().mark();
    fails(p.stat("/mad/bad"), Errno::EIO);
    let text = &kernel.log().since(mark)[0].text;
    assert!(
        text.starts_with("madfs: panic: inode 3 is mad, at "),
        "{text}"
    );
    for _ in 0..2 {
        fails(p.stat("/mad/good"), Errno::EIO);
        fails(p.pread(fd, &mut [1; 20], 0), Errno::EIO);
        fails(create(&p, "/mad/new"), Errno::EIO);
    }
    write(&p, "/fine", b"");
    p.close(fd).unwrap();
    // It was killed before it could be unmounted in order.
    fails(p.unmount("/mad", true), Errno::EIO);
    p.mount("madfs", "/mad", MountArgs::default()).unwrap();
    assert!(p.stat("/mad/good").is_ok());
    kernel.shutdown().unwrap();
}

#[test]
fn a_panic_at_mount_is_an_error() {
    let (kernel, p) = with_mad();
    mkdir(&p, "/mad2").unwrap();
    fails(
        p.mount("madfs", "/mad2", MountArgs::default().option("x", None)),
        Errno::EIO,
    );
    assert!(p.stat("/mad/good").is_ok());
    kernel.shutdown().unwrap();
}

#[test]
fn damage_does_not_block() {
    let (_kernel, p) = with_mad();
    // A directory in itself can be walked, but not be removed or renamed.
    assert!(p.stat("/mad/again/again/good").is_ok());
    fails(rmdir(&p, "/mad/again"), Errno::EIO);
    fails(rename(&p, "/mad/again", "/mad/x"), Errno::EIO);
    fails(p.stat("/mad/stale"), Errno::EIO);
    // Required methods alone make a read-only driver.
    fails(create(&p, "/mad/new"), Errno::EROFS);
    fails(unlink(&p, "/mad/good"), Errno::EROFS);
}
