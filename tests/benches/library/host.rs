//! The host's own system calls, without a detour.

use crate::system::{PAGE, System};
use std::{ffi::CString, fs, io::Error, path::Path};

/// The kernel that this program runs on.
pub(crate) struct Linux;

/// A folder on the host's tmpfs, which goes when it is dropped.
pub(crate) struct Dir(String);

impl Dir {
    pub(crate) fn new() -> Self {
        let shm = "/dev/shm";
        let top = if Path::new(shm).is_dir() {
            shm.into()
        } else {
            std::env::temp_dir().display().to_string()
        };
        let path = format!("{top}/rump-bench-{}", std::process::id());
        fs::create_dir(&path).expect("a folder for the peer");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left behind is small, and a panic here would hide the first.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A path as the host takes it, in a buffer on the stack: an allocation would count against the peer.
struct Terminated([u8; 128]);

impl Terminated {
    fn new(path: &str) -> Self {
        let mut bytes = [0; 128];
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        assert!(path.len() < bytes.len(), "room for the NUL");
        Self(bytes)
    }

    fn as_ptr(&self) -> *const libc::c_char {
        self.0.as_ptr().cast()
    }
}

fn check(result: libc::ssize_t, what: &str) -> libc::ssize_t {
    assert!(result >= 0, "{what}: {}", Error::last_os_error());
    result
}

impl System for Linux {
    fn parent(&self) {
        // SAFETY: the call takes nothing and cannot fail. glibc may not remember the answer, as the parent may change.
        unsafe { libc::getppid() };
    }

    fn stat(&self, path: &str) {
        let path = Terminated::new(path);
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the path ends with a NUL and `stat` is room for the answer; both live over the call.
        let result = unsafe { libc::stat(path.as_ptr(), stat.as_mut_ptr()) };
        check(result as _, "stat");
        std::hint::black_box(&stat);
    }

    fn open(&self, path: &str, create: bool) -> u32 {
        let path = Terminated::new(path);
        let flags = if create {
            libc::O_CREAT | libc::O_RDWR
        } else {
            libc::O_RDONLY
        };
        // SAFETY: the path ends with a NUL and lives over the call.
        let fd = unsafe { libc::open(path.as_ptr(), flags, 0o644) };
        check(fd as _, "open") as u32
    }

    fn close(&self, fd: u32) {
        // SAFETY: the descriptor is one that `open` gave to this program and nothing else owns.
        let result = unsafe { libc::close(fd as i32) };
        check(result as _, "close");
    }

    fn unlink(&self, path: &str) {
        let path = Terminated::new(path);
        // SAFETY: the path ends with a NUL and lives over the call.
        let result = unsafe { libc::unlink(path.as_ptr()) };
        check(result as _, "unlink");
    }

    fn mkdir(&self, path: &str) {
        let path = CString::new(path).expect("no NUL");
        // SAFETY: the path ends with a NUL and lives over the call.
        let result = unsafe { libc::mkdir(path.as_ptr(), 0o755) };
        check(result as _, "mkdir");
    }

    fn get(&self, fd: u32, buf: &mut [u8; PAGE], offset: u64) {
        // SAFETY: pointer and length are those of a live, writable buffer.
        let got = unsafe { libc::pread(fd as i32, buf.as_mut_ptr().cast(), PAGE, offset as i64) };
        assert_eq!(check(got, "pread"), PAGE as isize);
    }

    fn put(&self, fd: u32, buf: &[u8; PAGE], offset: u64) {
        // SAFETY: pointer and length are those of a live buffer.
        let put = unsafe { libc::pwrite(fd as i32, buf.as_ptr().cast(), PAGE, offset as i64) };
        assert_eq!(check(put, "pwrite"), PAGE as isize);
    }
}
