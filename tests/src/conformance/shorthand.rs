//! System calls in the short forms that cases are written in. Paths are relative to the case's directory.

use rumpkern::{Fd, FileType, OpenFlags, Proc, Seek, Stat, types::DeviceNumber};
use rumpuser::{Errno, Result};
use rumpvfs::{
    Calls,
    calls::{Access, At, Follow, RecordLock, RenameFlags, SetTime},
    fs::XattrMode,
};

/// A name of so many bytes.
#[must_use]
pub fn long_name(len: usize) -> String {
    "x".repeat(len)
}

/// Short forms of system calls; each fails as its call does.
#[allow(
    clippy::missing_errors_doc,
    reason = "the errors are those of the calls"
)]
pub trait Shorthand: Calls {
    /// A file with this content, made or overwritten, closed.
    fn put(&self, path: &str, content: &[u8]) -> Result<()>;
    /// Content of a file.
    fn get(&self, path: &str) -> Result<Vec<u8>>;
    /// Makes an empty file with `EXCL`, closed.
    fn create(&self, path: &str, mode: u32) -> Result<()>;
    /// Opens for reading and closes.
    fn can_open(&self, path: &str, flags: OpenFlags) -> Result<()>;
    /// Names in a directory without `.` and `..`, sorted.
    ///
    /// # Panics
    /// When it cannot be read.
    fn names(&self, path: &str) -> Vec<String>;
    /// Moves the offset to the start and reads to the end.
    fn read_all(&self, fd: Fd) -> Result<Vec<u8>>;

    /// `mkdir(2)`.
    fn mkdir(&self, path: &str, mode: u32) -> Result<()> {
        self.mkdirat(At::Cwd, path, mode)
    }
    /// `rmdir(2)`.
    fn rmdir(&self, path: &str) -> Result<()> {
        self.unlinkat(At::Cwd, path, true)
    }
    /// `unlink(2)`.
    fn unlink(&self, path: &str) -> Result<()> {
        self.unlinkat(At::Cwd, path, false)
    }
    /// `link(2)`, which does not follow a symbolic link.
    fn link(&self, from: &str, to: &str) -> Result<()> {
        self.linkat(
            (At::Cwd, from.as_bytes()),
            (At::Cwd, to.as_bytes()),
            Follow::No,
        )
    }
    /// `symlink(2)`.
    fn symlink(&self, target: &str, path: &str) -> Result<()> {
        self.symlinkat(target.as_bytes(), At::Cwd, path)
    }
    /// `readlink(2)`.
    fn readlink(&self, path: &str) -> Result<Vec<u8>> {
        self.readlinkat(At::Cwd, path)
    }
    /// `rename(2)`.
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_with(from, to, RenameFlags::empty())
    }
    /// `renameat2(2)`.
    fn rename_with(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        self.renameat((At::Cwd, from.as_bytes()), (At::Cwd, to.as_bytes()), flags)
    }
    /// `mkfifo(2)`.
    fn mkfifo(&self, path: &str, mode: u32) -> Result<()> {
        self.mknod(path, FileType::Fifo, mode)
    }
    /// `mknod(2)`, devices with the number 240, 77, which no device has.
    fn mknod(&self, path: &str, kind: FileType, mode: u32) -> Result<()> {
        let device = DeviceNumber {
            major: 240,
            minor: 77,
        };
        self.mknodat(At::Cwd, path, kind, mode, device)
    }
    /// Something of this kind with mode 644; a symbolic link leads to `nowhere`.
    fn make(&self, path: &str, kind: FileType) -> Result<()> {
        match kind {
            FileType::Directory => self.mkdir(path, 0o644),
            FileType::Symlink => self.symlink("nowhere", path),
            kind => self.mknod(path, kind, 0o644),
        }
    }
    /// `chmod(2)`.
    fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        self.fchmodat(At::Cwd, path, mode, Follow::Yes)
    }
    /// `chown(2)`.
    fn chown(&self, path: &str, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.fchownat(At::Cwd, path, uid, gid, Follow::Yes)
    }
    /// `lchown(2)`.
    fn lchown(&self, path: &str, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.fchownat(At::Cwd, path, uid, gid, Follow::No)
    }
    /// `access(2)`.
    fn access(&self, path: &str, access: Access) -> Result<()> {
        self.faccessat(At::Cwd, path, access, Follow::Yes)
    }
    /// `utimensat(2)`.
    fn utimens(&self, path: &str, atime: SetTime, mtime: SetTime) -> Result<()> {
        self.utimensat(At::Cwd, path, atime, mtime, Follow::Yes)
    }
    /// Permission bits of what is at a path.
    fn mode(&self, path: &str) -> Result<u32> {
        self.lstat(path).map(|stat| stat.mode)
    }
    /// Number of names of what is at a path.
    fn nlink(&self, path: &str) -> Result<u64> {
        self.lstat(path).map(|stat| stat.nlink)
    }
    /// Inode number of what is at a path.
    fn ino(&self, path: &str) -> Result<u64> {
        self.lstat(path).map(|stat| stat.ino)
    }
    /// `setxattr(2)`.
    fn set(&self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        self.setxattr(path, name.as_bytes(), value, XattrMode::Set, Follow::Yes)
    }
    /// `getxattr(2)`.
    fn attr(&self, path: &str, name: &str) -> Result<Vec<u8>> {
        self.getxattr(path, name.as_bytes(), Follow::Yes)
    }
    /// An exclusive record lock of these bytes, not waiting.
    fn lock(&self, fd: Fd, start: u64, len: u64) -> Result<()> {
        let lock = RecordLock {
            exclusive: true,
            start,
            len,
        };
        self.set_lock(fd, lock, false)
    }
    /// A shared record lock of these bytes, not waiting.
    fn share(&self, fd: Fd, start: u64, len: u64) -> Result<()> {
        let lock = RecordLock {
            exclusive: false,
            start,
            len,
        };
        self.set_lock(fd, lock, false)
    }
    /// `stat`, that it is there.
    fn exists(&self, path: &str) -> bool {
        self.lstat(path) != Err::<Stat, _>(Errno::ENOENT)
    }
}

impl Shorthand for Proc {
    fn put(&self, path: &str, content: &[u8]) -> Result<()> {
        let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::TRUNC;
        let fd = self.open(path, flags, 0o666)?;
        let written = self.write(fd, content);
        self.close(fd)?;
        assert_eq!(written?, content.len(), "a short write to {path}");
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let fd = self.open(path, OpenFlags::RDONLY, 0)?;
        let content = self.read_all(fd);
        self.close(fd)?;
        content
    }

    fn create(&self, path: &str, mode: u32) -> Result<()> {
        let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::EXCL;
        self.close(self.open(path, flags, mode)?)
    }

    fn can_open(&self, path: &str, flags: OpenFlags) -> Result<()> {
        self.close(self.open(path, flags, 0)?)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let fd = self
            .open(path, OpenFlags::DIRECTORY, 0)
            .expect("the directory opens");
        let mut names = Vec::new();
        loop {
            let entries = self.getdents(fd, 100).expect("the directory can be read");
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                names.push(String::from_utf8(entry.name).expect("a UTF-8 name"));
            }
        }
        self.close(fd).expect("a directory closes");
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }

    fn read_all(&self, fd: Fd) -> Result<Vec<u8>> {
        self.lseek(fd, Seek::Set(0))?;
        let mut content = Vec::new();
        let mut buf = vec![0; 65_536];
        loop {
            let len = self.read(fd, &mut buf)?;
            if len == 0 {
                return Ok(content);
            }
            content.extend_from_slice(&buf[..len]);
        }
    }
}
