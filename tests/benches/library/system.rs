//! The calls that are measured, and how a process of ours makes them.

use rumpkern::{OpenFlags, Proc};
use rumpvfs::{Calls, calls::At};
use std::hint::black_box;

/// Bytes of a file that is read: more than a second-level cache has.
pub(crate) const FILE: u64 = 4 << 20;
pub(crate) const PAGE: usize = 4096;

/// A system that the calls can be made of. Any error ends the program.
pub(crate) trait System: Sync {
    fn parent(&self);
    fn stat(&self, path: &str);
    fn open(&self, path: &str, create: bool) -> u32;
    fn close(&self, fd: u32);
    fn unlink(&self, path: &str);
    fn mkdir(&self, path: &str);
    fn get(&self, fd: u32, buf: &mut [u8; PAGE], offset: u64);
    fn put(&self, fd: u32, buf: &[u8; PAGE], offset: u64);
}

impl System for Proc {
    fn parent(&self) {
        black_box(Proc::getppid(self));
    }

    fn stat(&self, path: &str) {
        black_box(Calls::stat(self, path).expect("stat"));
    }

    fn open(&self, path: &str, create: bool) -> u32 {
        let flags = if create {
            OpenFlags::CREAT | OpenFlags::RDWR
        } else {
            OpenFlags::RDONLY
        };
        Calls::open(self, path, flags, 0o644).expect("open")
    }

    fn close(&self, fd: u32) {
        Proc::close(self, fd).expect("close");
    }

    fn unlink(&self, path: &str) {
        self.unlinkat(At::Cwd, path, false).expect("unlink");
    }

    fn mkdir(&self, path: &str) {
        self.mkdirat(At::Cwd, path, 0o755).expect("mkdir");
    }

    fn get(&self, fd: u32, buf: &mut [u8; PAGE], offset: u64) {
        assert_eq!(Proc::pread(self, fd, buf, offset), Ok(PAGE));
    }

    fn put(&self, fd: u32, buf: &[u8; PAGE], offset: u64) {
        assert_eq!(Proc::pwrite(self, fd, buf, offset), Ok(PAGE));
    }
}
