//! Names that a path may go on with, for whoever completes one.

use crate::{quote::shown, session::Image, walk::next_entries};
use rumpkern::{FileType, OpenFlags};
use rumpvfs::{Calls as _, calls::At};
use std::{
    ffi::OsStr,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

/// A name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: Vec<u8>,
    /// Whether it is a directory, or leads to one.
    pub(crate) is_dir: bool,
}

impl Found {
    /// A name and what it is.
    pub(crate) fn new(name: &[u8], is_dir: bool) -> Self {
        Self {
            name: name.to_vec(),
            is_dir,
        }
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        let slash = if self.is_dir { "/" } else { "" };
        format!("{}{slash}", shown(&self.name))
    }
}

/// Whether a name is to be offered; hidden ones only when they are asked for.
fn is_wanted(name: &[u8], prefix: &[u8]) -> bool {
    let hidden = name.starts_with(b".") && !prefix.starts_with(b".");
    name.starts_with(prefix) && !hidden
}

/// Names of a directory in an image that begin so; none if it cannot be read.
pub(crate) fn image_names(image: &Image, dir: &[u8], prefix: &[u8]) -> Vec<Found> {
    let mut names = Vec::new();
    let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
    let Ok(fd) = image.open_at(At::Cwd, dir, flags) else {
        return names;
    };
    while let Ok(entries) = next_entries(image, &fd, true)
        && !entries.is_empty()
    {
        for entry in entries {
            if !is_wanted(&entry.name, prefix) {
                continue;
            }
            let file_type = match entry.stat.map(|stat| stat.file_type) {
                Ok(FileType::Symlink) => {
                    let target =
                        image
                            .proc
                            .fstatat(At::Fd(fd.fd), &entry.name, rumpvfs::calls::Follow::Yes);
                    target.map(|stat| stat.file_type)
                }
                known => known,
            };
            let is_dir = file_type == Ok(FileType::Directory);
            names.push(Found {
                name: entry.name.to_vec(),
                is_dir,
            });
        }
    }
    names
}

/// The same of a directory of the host.
pub(crate) fn host_names(dir: &[u8], prefix: &[u8]) -> Vec<Found> {
    let dir = if dir.is_empty() { b"." } else { dir };
    let Ok(entries) = std::fs::read_dir(OsStr::from_bytes(dir)) else {
        return Vec::new();
    };
    let names = entries.filter_map(Result::ok).filter_map(|entry| {
        let name = entry.file_name().into_vec();
        let wanted = is_wanted(&name, prefix);
        // Links are followed.
        wanted.then(|| Found {
            name,
            is_dir: entry.path().is_dir(),
        })
    });
    names.collect()
}

/// What all these begin with; no part of a character.
pub(crate) fn common<'a>(mut names: impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    let Some(first) = names.next() else {
        return b"";
    };
    let same = |most: &'a [u8], name: &[u8]| {
        let length = most.iter().zip(name).take_while(|(a, b)| a == b).count();
        &most[..length]
    };
    let common = names.fold(first, same);
    match std::str::from_utf8(common) {
        Err(error) if error.error_len().is_none() && common.len() < first.len() => {
            &common[..error.valid_up_to()]
        }
        _ => common,
    }
}

#[cfg(test)]
mod tests {
    use super::common;

    #[test]
    fn what_names_begin_with() {
        let of = |names: &[&'static str]| common(names.iter().map(|name| name.as_bytes())).to_vec();
        assert_eq!(of(&["abc", "abd", "ab"]), b"ab");
        assert_eq!(of(&["a"]), b"a");
        assert_eq!(of(&[]), b"");
        // é and è begin with the same byte.
        assert_eq!(of(&["né", "nè"]), b"n");
    }
}
