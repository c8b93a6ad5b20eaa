//! What takes more than one system call: removals of trees, canonical paths.

use crate::{
    Error, Fs, Result,
    dir::{BATCH, Dir},
    fs::bytes,
};
use rumpkern::{FileType, OpenFlags};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, Dirent, Follow},
};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

/// Symbolic links that one path may lead through.
const MOST_LINKS: usize = 40;

/// A directory that is being removed.
struct Doomed {
    dir: Dir,
    rest: std::vec::IntoIter<Dirent>,
    ino: u64,
}

/// Removes a directory and everything in it.
pub(crate) fn remove(fs: &Fs, path: &Path) -> Result<()> {
    let mut stack: Vec<Doomed> = Vec::new();
    enter(fs, &mut stack, bytes(path))?;
    while let Some(top) = stack.last_mut() {
        let Some(entry) = top.rest.next() else {
            let (fd, dir_path) = (top.dir.fd, top.dir.path.clone());
            let more = fs.check("read_dir", &dir_path, fs.proc().getdents(fd, BATCH))?;
            if !more.is_empty() {
                top.rest = more.into_iter();
                continue;
            }
            stack.pop();
            let (at, name) = match stack.last() {
                Some(parent) => (At::Fd(parent.dir.fd), last(&dir_path)),
                None => (At::Cwd, bytes(path)),
            };
            let done = fs.proc().unlinkat(at, name, true);
            fs.check("remove_dir", &dir_path, done)?;
            continue;
        };
        if matches!(&entry.name[..], b"." | b"..") {
            continue;
        }
        let at = At::Fd(top.dir.fd);
        let is_dir = match entry.file_type {
            Some(kind) => kind == FileType::Directory,
            None => {
                let path = top.dir.path.join(OsStr::from_bytes(&entry.name));
                let stat = fs.proc().fstatat(at, &entry.name, Follow::No);
                fs.check("metadata", &path, stat)?.file_type == FileType::Directory
            }
        };
        if is_dir {
            enter(fs, &mut stack, &entry.name)?;
        } else {
            let path = top.dir.path.join(OsStr::from_bytes(&entry.name));
            let done = fs.proc().unlinkat(at, &entry.name, false);
            fs.check("remove_file", &path, done)?;
        }
    }
    Ok(())
}

/// The last component of a path that ends in a plain name.
fn last(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_bytes()
}

fn enter(fs: &Fs, stack: &mut Vec<Doomed>, name: &[u8]) -> Result<()> {
    let (at, path) = match stack.last() {
        Some(top) => {
            let path = top.dir.path.join(OsStr::from_bytes(name));
            (At::Fd(top.dir.fd), path)
        }
        None => (At::Cwd, Path::new(OsStr::from_bytes(name)).into()),
    };
    let dir = Dir::open(fs, at, name, path, OpenFlags::NOFOLLOW)?;
    let stat = fs.check("metadata", &dir.path, fs.proc().fstat(dir.fd))?;
    if stack.iter().any(|doomed| doomed.ino == stat.ino) {
        let why = "directory within itself";
        return Err(Error::new(Errno::ELOOP, "remove_dir_all", &*dir.path).because(why.into()));
    }
    stack.push(Doomed {
        dir,
        rest: Vec::new().into_iter(),
        ino: stat.ino,
    });
    Ok(())
}

/// The path without symbolic links, `.` and `..`.
pub(crate) fn canonicalize(fs: &Fs, path: &Path) -> Result<PathBuf> {
    let fail = |errno| Error::new(errno, "canonicalize", path);
    if path.as_os_str().is_empty() {
        return Err(fail(Errno::ENOENT));
    }
    // It must be there, and what is before `..` as well: the kernel's own walk says so.
    fs.metadata(path)?;
    let mut found = PathBuf::from("/");
    // What is still to be walked, the next component last.
    let mut rest = components(path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == b".." {
            found.pop();
            continue;
        }
        let next = found.join(OsStr::from_bytes(&name));
        if !fs.symlink_metadata(&next)?.is_symlink() {
            found = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(fail(Errno::ELOOP));
        }
        let target = fs.read_link(&next)?;
        if target.is_absolute() {
            found = PathBuf::from("/");
        }
        rest.extend(components(&target));
    }
    Ok(found)
}

/// Names in a path in reverse order, `..` among them.
fn components(path: &Path) -> Vec<Vec<u8>> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.as_bytes().to_vec()),
            Component::ParentDir => Some(b"..".to_vec()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
