//! Manifests: what the host reads in a tree, as mtree(5) version 2, to be compared with what a driver reads.
//!
//! Nothing here knows a driver of this project: the tree is a folder of the host, be it the source or a mount by the host's kernel.

use crate::Result;
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// Files larger than this have no digest: reading gigabytes of zeros proves little.
const MAX_DIGEST: u64 = 512 << 20;

/// A manifest and the list of extended attributes that mtree has no keyword for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// mtree(5), one line per file, sorted by path. Absent keywords are not to be checked.
    pub(crate) mtree: String,
    /// `path TAB attribute TAB value in hexadecimal`, sorted; paths escaped as in mtree, without `./`.
    pub(crate) xattrs: String,
}

/// What the tree is a picture of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The image itself, mounted by the host's kernel.
    Mounted,
    /// The folder that a tool copies into an image, where it adds lost+found.
    Copied,
    /// The folder that a tool copies into an image.
    Plain,
}

/// Reads the tree at `root`.
pub(crate) fn read(root: &Path, source: Source) -> Result<Manifest> {
    let mut paths = vec![];
    walk(root, &mut paths)?;
    paths.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    let mut lines: Vec<String> = vec![];
    let mut xattrs = String::new();
    for path in &paths {
        let relative = path.strip_prefix(root).map_err(|error| error.to_string())?;
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let metadata = fs::symlink_metadata(path).map_err(fail)?;
        lines.push(format!(
            "./{} {}",
            escape(relative),
            keywords(path, &metadata)?
        ));
        for (name, value) in attributes(path)? {
            let path = escape(relative);
            writeln!(xattrs, "{path}\t{name}\t{value}").map_err(|error| error.to_string())?;
        }
    }
    let mut links = 2 + subdirectories(root)?;
    if source == Source::Copied {
        let place = lines.partition_point(|line| line.as_str() < "./lost+found ");
        lines.insert(
            place,
            "./lost+found type=dir mode=0700 uid=0 gid=0 nlink=2".into(),
        );
        links += 1;
    }
    // Owner, mode and times of the root are whatever its maker was run as.
    let mtree = format!(
        "#mtree v2.0\n. type=dir nlink={links}\n{}\n",
        lines.join("\n")
    );
    Ok(Manifest { mtree, xattrs })
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() {
            walk(&entry.path(), paths)?;
        }
        paths.push(entry.path());
    }
    Ok(())
}

/// Not every file system of the host counts the links of a directory as ext does, so count here.
fn subdirectories(folder: &Path) -> Result<usize> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .count())
}

fn keywords(path: &Path, metadata: &Metadata) -> Result<String> {
    let kind = metadata.file_type();
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut nlink = metadata.nlink();
    let mut tail = String::new();
    let name = if kind.is_dir() {
        nlink = 2 + subdirectories(path)? as u64;
        "dir"
    } else if kind.is_file() {
        write!(tail, " size={}", metadata.len()).map_err(|error| error.to_string())?;
        "file"
    } else if kind.is_symlink() {
        "link"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_char_device() {
        "char"
    } else {
        "block"
    };
    if path.file_name().is_none_or(|name| name != "lost+found") {
        tail += &format!(" time={}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    }
    if kind.is_symlink() {
        tail += &format!(" link={}", escape(&fs::read_link(path).map_err(fail)?));
    } else if kind.is_char_device() || kind.is_block_device() {
        let device = metadata.rdev();
        tail += &format!(" device=native,{},{}", major(device), minor(device));
    } else if kind.is_file() && metadata.len() <= MAX_DIGEST {
        tail += &format!(" sha256digest={}", digest(path).map_err(fail)?);
    }
    let mode = metadata.permissions().mode() & 0o7777;
    let (uid, gid) = (metadata.uid(), metadata.gid());
    Ok(format!(
        "type={name} mode={mode:04o} uid={uid} gid={gid} nlink={nlink}{tail}"
    ))
}

fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            got => hasher.update(&buffer[..got]),
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// The extended attributes of one file, sorted.
fn attributes(path: &Path) -> Result<Vec<(String, String)>> {
    let fail = |error: rustix::io::Errno| format!("{}: attributes: {error}", path.display());
    let mut names = vec![0; 65_536];
    let len = match llistxattr(path, &mut names) {
        Ok(len) => len,
        Err(rustix::io::Errno::NOTSUP) => return Ok(vec![]),
        Err(error) => return Err(fail(error)),
    };
    let mut found = vec![];
    for name in names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; 65_536];
        let len = lgetxattr(path, name.as_str(), &mut value).map_err(fail)?;
        found.push((name, hex(&value[..len])));
    }
    // What a security module of the host adds is not ours.
    found.retain(|(name, _)| name != "security.selinux");
    found.sort();
    Ok(found)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path with everything but plain characters as `\ooo`.
fn escape(path: &Path) -> String {
    let escape = |&byte: &u8| match byte {
        b'#' | b'\\' => format!("\\{byte:03o}"),
        0x21..=0x7e => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    path.as_os_str().as_bytes().iter().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            escape(Path::new("a b/#x\\\u{e4}")),
            "a\\040b/\\043x\\134\\303\\244"
        );
    }
}
