//! Random operations on tmpfs and on the host's file system, compared: results, error numbers, and the trees.

use proptest::prelude::*;
use rumpkern::{FileType, Kernel, OpenFlags, Proc};
use rumpuser::Errno;
use rumpuser_posix::Host;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, MountArgs, RenameFlags},
};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

#[derive(Clone, Debug)]
enum Op {
    Mkdir(String),
    Write(String, u64, usize, u8),
    Truncate(String, u64),
    Symlink(String, String),
    Link(String, String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String),
    Exchange(String, String),
    Chmod(String, u32),
    Read(String),
}

/// Few names, so that they meet. Paths stay in the tree, and end with a name: where a change names `.` or `..` itself, Linux
/// has error numbers of its own.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abc]",
        4 => "[abc]/[abc]",
        2 => "[abc]/[abc]/[abc]",
        1 => "[abc]/[.]/[abc]",
        1 => "[abc]/[abc]/[.]{2}/[abc]",
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => path().prop_map(Op::Mkdir),
        4 => (path(), 0..20_000_u64, 0..9000_usize, any::<u8>())
            .prop_map(|(p, at, len, byte)| Op::Write(p, at, len, byte)),
        1 => (path(), 0..20_000_u64).prop_map(|(p, size)| Op::Truncate(p, size)),
        2 => ("[abc](/[abc])?", path()).prop_map(|(target, p)| Op::Symlink(target, p)),
        3 => (path(), path()).prop_map(|(a, b)| Op::Link(a, b)),
        2 => path().prop_map(Op::Unlink),
        2 => path().prop_map(Op::Rmdir),
        5 => (path(), path()).prop_map(|(a, b)| Op::Rename(a, b)),
        2 => (path(), path()).prop_map(|(a, b)| Op::Exchange(a, b)),
        1 => (path(), 0..=0o777_u32).prop_map(|(p, mode)| Op::Chmod(p, mode)),
        2 => path().prop_map(Op::Read),
    ]
}

type Outcome = Result<Vec<u8>, Errno>;

fn errno(error: &io::Error) -> Errno {
    Errno::from_number(error.raw_os_error().expect("an error of the host"))
}

fn on_host(root: &Path, op: &Op) -> Outcome {
    let at = |path: &str| root.join(path);
    let done: io::Result<Vec<u8>> = (|| {
        match op {
            Op::Mkdir(p) => fs::DirBuilder::new().mode(0o755).create(at(p))?,
            Op::Write(p, offset, len, byte) => {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(at(p))?;
                file.write_all_at(&vec![*byte; *len], *offset)?;
            }
            Op::Truncate(p, size) => {
                let file = fs::OpenOptions::new().write(true).open(at(p))?;
                file.set_len(*size)?;
            }
            Op::Symlink(target, p) => std::os::unix::fs::symlink(target, at(p))?,
            Op::Link(a, b) => fs::hard_link(at(a), at(b))?,
            Op::Unlink(p) => fs::remove_file(at(p))?,
            Op::Rmdir(p) => fs::remove_dir(at(p))?,
            Op::Rename(a, b) => rename(&at(a), &at(b), 0)?,
            Op::Exchange(a, b) => rename(&at(a), &at(b), libc::RENAME_EXCHANGE)?,
            Op::Chmod(p, mode) => fs::set_permissions(at(p), fs::Permissions::from_mode(*mode))?,
            Op::Read(p) => return fs::read(at(p)),
        }
        Ok(Vec::new())
    })();
    done.map_err(|error| errno(&error))
}

/// Whether the outcomes are the same, where the host follows POSIX or POSIX leaves it open.
fn agree(op: &Op, ours: &Outcome, host: &Outcome) -> bool {
    match (op, ours, host) {
        // POSIX and NetBSD: a directory cannot be unlinked.
        (Op::Unlink(_), Err(Errno::EPERM), Err(Errno::EISDIR)) => true,
        // NetBSD looks first whether a directory is to be linked.
        (Op::Link(..), Err(Errno::EPERM), Err(_)) => true,
        // Not POSIX: which of several errors shows is nobody's promise.
        (Op::Exchange(..), Err(_), Err(_)) => true,
        _ => ours == host,
    }
}

fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let c = |path: &Path| std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    let (from, to) = (c(from), c(to));
    // SAFETY: both are strings that live as long as the call.
    let done = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn on_rump(proc: &Proc, op: &Op) -> Outcome {
    let with = |path: &str, flags, f: &dyn Fn(rumpkern::Fd) -> Outcome| {
        let fd = proc.open(path, flags, 0o644)?;
        let result = f(fd);
        proc.close(fd)?;
        result
    };
    let none = Vec::new;
    match op {
        Op::Mkdir(p) => proc.mkdirat(At::Cwd, p, 0o755).map(|()| none()),
        Op::Write(p, offset, len, byte) => {
            with(p, OpenFlags::WRONLY | OpenFlags::CREAT, &|fd| {
                // write_all_at of the host writes nothing when there is nothing.
                let data = vec![*byte; *len];
                let n = proc.pwrite(fd, &data, *offset)?;
                assert_eq!(n, *len);
                Ok(none())
            })
        }
        Op::Truncate(p, size) => with(p, OpenFlags::WRONLY, &|_| Ok(none()))
            .and_then(|_| proc.truncate(p, *size).map(|()| none())),
        Op::Symlink(target, p) => proc
            .symlinkat(target.as_bytes(), At::Cwd, p)
            .map(|()| none()),
        Op::Link(a, b) => proc
            .linkat((At::Cwd, a.as_bytes()), (At::Cwd, b.as_bytes()), Follow::No)
            .map(|()| none()),
        Op::Unlink(p) => proc.unlinkat(At::Cwd, p, false).map(|()| none()),
        Op::Rmdir(p) => proc.unlinkat(At::Cwd, p, true).map(|()| none()),
        Op::Rename(a, b) => rump_rename(proc, a, b, RenameFlags::empty()),
        Op::Exchange(a, b) => rump_rename(proc, a, b, RenameFlags::EXCHANGE),
        Op::Chmod(p, mode) => proc
            .fchmodat(At::Cwd, p, *mode, Follow::Yes)
            .map(|()| none()),
        Op::Read(p) => with(p, OpenFlags::RDONLY, &|fd| {
            let mut data = vec![0; 40_000];
            let n = proc.read(fd, &mut data)?;
            data.truncate(n);
            Ok(data)
        }),
    }
}

fn rump_rename(proc: &Proc, a: &str, b: &str, flags: RenameFlags) -> Outcome {
    proc.renameat((At::Cwd, a.as_bytes()), (At::Cwd, b.as_bytes()), flags)
        .map(|()| Vec::new())
}

/// What a tree shows of a file. Files with the same `same` are one inode.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    mode: u32,
    nlink: u64,
    size: u64,
    content: Vec<u8>,
    same: usize,
}

#[derive(Default)]
struct Inodes(Vec<u64>);

impl Inodes {
    fn number(&mut self, ino: u64) -> usize {
        let found = self.0.iter().position(|i| *i == ino);
        found.unwrap_or_else(|| {
            self.0.push(ino);
            self.0.len() - 1
        })
    }
}

type Tree = BTreeMap<String, Shown>;

fn host_tree(root: &Path, path: &str, inodes: &mut Inodes, tree: &mut Tree) {
    let full = root.join(path);
    let meta = fs::symlink_metadata(&full).unwrap();
    let kind = meta.file_type();
    let content = if kind.is_symlink() {
        fs::read_link(&full)
            .unwrap()
            .into_os_string()
            .into_encoded_bytes()
    } else if kind.is_file() {
        fs::read(&full).unwrap()
    } else {
        Vec::new()
    };
    let shown = Shown {
        mode: meta.mode(),
        nlink: if kind.is_dir() { 0 } else { meta.nlink() },
        size: if kind.is_dir() { 0 } else { meta.size() },
        content,
        same: inodes.number(meta.ino()),
    };
    tree.insert(path.to_string(), shown);
    if kind.is_dir() {
        let mut names: Vec<String> = fs::read_dir(&full)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        for name in names {
            host_tree(root, &format!("{path}/{name}"), inodes, tree);
        }
    }
}

fn rump_tree(proc: &Proc, path: &str, inodes: &mut Inodes, tree: &mut Tree) {
    let stat = proc.lstat(path).unwrap();
    let dir = stat.file_type == FileType::Directory;
    let content = match stat.file_type {
        FileType::Symlink => proc.readlinkat(At::Cwd, path).unwrap(),
        FileType::Regular => on_rump(proc, &Op::Read(path.to_string())).unwrap(),
        _ => Vec::new(),
    };
    let shown = Shown {
        mode: stat.mode | stat.file_type.mode_bits(),
        nlink: if dir { 0 } else { stat.nlink },
        size: if dir { 0 } else { stat.size },
        content,
        same: inodes.number(stat.ino),
    };
    tree.insert(path.to_string(), shown);
    if !dir {
        return;
    }
    let fd = proc
        .open(path, OpenFlags::RDONLY | OpenFlags::DIRECTORY, 0)
        .unwrap();
    let mut names = Vec::new();
    let mut subdirectories = 0;
    loop {
        let entries = proc.getdents(fd, 2).unwrap();
        if entries.is_empty() {
            break;
        }
        names.extend(entries.into_iter().map(|e| {
            subdirectories += u64::from(e.file_type == Some(FileType::Directory));
            String::from_utf8(e.name).unwrap()
        }));
    }
    proc.close(fd).unwrap();
    // `.` and `..` are among them.
    assert_eq!(stat.nlink, subdirectories, "{path}");
    names.retain(|name| name != "." && name != "..");
    names.sort();
    for name in names {
        rump_tree(proc, &format!("{path}/{name}"), inodes, tree);
    }
}

struct HostDir(PathBuf);

impl HostDir {
    fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() {
            shm.to_path_buf()
        } else {
            std::env::temp_dir()
        };
        let dir = base.join(format!("rump-tmpfs-{}-{n}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for HostDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tmpfs_does_what_the_host_does(ops in proptest::collection::vec(op(), 1..80)) {
        let host = HostDir::new();
        let kernel = Kernel::builder(Host::new())
            .component(rumpfs_tmpfs::component())
            .boot()
            .unwrap();
        let proc = kernel.init_proc();
        proc.umask(0o022);
        proc.mkdirat(At::Cwd, "/mnt", 0o755).unwrap();
        proc.mount("tmpfs", "/mnt", MountArgs::default().option("mode", Some("755"))).unwrap();
        proc.chdir("/mnt").unwrap();
        for op in &ops {
            let (ours, host) = (on_rump(&proc, op), on_host(&host.0, op));
            prop_assert!(agree(op, &ours, &host), "{:?}: {:?}, the host {:?}", op, ours, host);
        }
        let (mut left, mut right) = (Tree::new(), Tree::new());
        rump_tree(&proc, ".", &mut Inodes::default(), &mut left);
        host_tree(&host.0, ".", &mut Inodes::default(), &mut right);
        prop_assert_eq!(left, right);
        kernel.shutdown().unwrap();
    }
}
