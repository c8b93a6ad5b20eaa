//! Conformance of the system calls on paths, on a file system in memory.

mod border;
mod caches;
mod data;
mod etfs;
mod fifo;
mod locks;
mod lwps;
mod mounts;
mod names;
mod panics;
mod permissions;
mod protection;
mod rename;
mod walk;

use rumpkern::{Cred, Fd, Kernel, OpenFlags, Proc};
use rumpuser::{Errno, Result};
use rumpuser_posix::Host;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, RenameFlags},
};

/// A kernel whose root is in memory.
fn boot() -> Kernel {
    Kernel::builder(Host::new())
        .component(rumpfs_tmpfs::component())
        .boot()
        .unwrap()
}

/// A process with other credentials.
fn user(kernel: &Kernel, uid: u32, gid: u32) -> Proc {
    let proc = kernel.init_proc().fork();
    proc.set_cred(Cred {
        uid,
        gid,
        groups: Vec::new(),
    });
    proc
}

fn mkdir(proc: &Proc, path: &str) -> Result<()> {
    proc.mkdirat(At::Cwd, path, 0o777)
}

fn rmdir(proc: &Proc, path: &str) -> Result<()> {
    proc.unlinkat(At::Cwd, path, true)
}

fn unlink(proc: &Proc, path: &str) -> Result<()> {
    proc.unlinkat(At::Cwd, path, false)
}

fn symlink(proc: &Proc, target: &str, path: &str) -> Result<()> {
    proc.symlinkat(target.as_bytes(), At::Cwd, path)
}

fn link(proc: &Proc, from: &str, to: &str) -> Result<()> {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    proc.linkat((At::Cwd, from), (At::Cwd, to), Follow::No)
}

fn rename(proc: &Proc, from: &str, to: &str) -> Result<()> {
    rename_with(proc, from, to, RenameFlags::empty())
}

fn rename_with(proc: &Proc, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    proc.renameat((At::Cwd, from), (At::Cwd, to), flags)
}

fn create(proc: &Proc, path: &str) -> Result<Fd> {
    proc.open(path, OpenFlags::CREAT | OpenFlags::RDWR, 0o666)
}

/// Makes a file with a content, or replaces it.
fn write(proc: &Proc, path: &str, data: &[u8]) {
    let flags = OpenFlags::CREAT | OpenFlags::TRUNC | OpenFlags::WRONLY;
    let fd = proc.open(path, flags, 0o666).unwrap();
    assert_eq!(proc.write(fd, data), Ok(data.len()));
    proc.close(fd).unwrap();
}

/// The whole content of a file.
fn read(proc: &Proc, path: &str) -> Result<Vec<u8>> {
    let fd = proc.open(path, OpenFlags::RDONLY, 0)?;
    let mut data = vec![0; usize::try_from(proc.fstat(fd)?.size).unwrap()];
    let len = proc.read(fd, &mut data)?;
    data.truncate(len);
    proc.close(fd)?;
    Ok(data)
}

fn exists(proc: &Proc, path: &str) -> bool {
    match proc.lstat(path) {
        Ok(_) => true,
        Err(Errno::ENOENT | Errno::ENOTDIR) => false,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Names in a directory, sorted, with `.` and `..`.
fn list(proc: &Proc, path: &str) -> Vec<String> {
    let fd = proc
        .open(path, OpenFlags::RDONLY | OpenFlags::DIRECTORY, 0)
        .unwrap();
    let mut names = Vec::new();
    loop {
        let some = proc.getdents(fd, 3).unwrap();
        if some.is_empty() {
            break;
        }
        names.extend(some.into_iter().map(|d| String::from_utf8(d.name).unwrap()));
    }
    proc.close(fd).unwrap();
    names.sort();
    names
}

/// The error of a call that must fail.
#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T>, errno: Errno) {
    assert_eq!(result.err(), Some(errno));
}
