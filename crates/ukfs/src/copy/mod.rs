//! Trees copied between the host and an image.
//!
//! A [`Source`] gives the entries of a tree, each directory before what is in it; a [`Target`] makes them. Both are there for the host and for an image.

mod content;
mod host;
mod image;

pub(crate) use content::{Content, copy_content};

use crate::{Error, Fs, Result};
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::{Errno, Timespec};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// What [`Fs::copy_in`] and [`Fs::copy_out`] did.
#[derive(Debug, Default)]
pub struct Copied {
    /// Entries that were made, or were there as directories.
    pub entries: u64,
    /// Bytes of data in files, without holes.
    pub bytes: u64,
    /// How often something was left out because the target cannot have it: an owner, an extended attribute, a device node, a symbolic link.
    pub lost: u64,
    /// What was left out first, and why.
    pub first_lost: Option<Error>,
}

/// What is kept of an entry besides its content.
#[derive(Clone, Debug)]
struct About {
    kind: FileType,
    /// At most 0o7777.
    mode: u32,
    uid: u32,
    gid: u32,
    rdev: DeviceNumber,
    atime: Timespec,
    mtime: Timespec,
    nlink: u64,
    /// Two entries with the same are one file.
    id: (u64, u64),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An entry of a tree.
struct Entry {
    /// 0 for the start.
    depth: usize,
    /// In its source, for messages as well.
    path: PathBuf,
    about: About,
}

/// A tree that is copied from.
trait Source: Iterator<Item = Result<Entry>> {
    type File: Content;
    /// Opens a regular file.
    fn open(&self, path: &Path) -> Result<Self::File>;
    /// Where a symbolic link leads.
    fn read_link(&self, path: &Path) -> Result<Vec<u8>>;
}

/// Something that is to be made.
enum New<'a, D> {
    Symlink(&'a [u8]),
    Node(&'a About),
    Link(&'a D, &'a OsStr),
}

/// Where a tree is copied to. Names are single components, and no symbolic link is followed.
trait Target {
    type Dir;
    type File: Content;
    /// Opens the directory that everything goes to, by a path of the caller; `make`: it is made if it is not there.
    fn root(&self, path: &Path, make: bool) -> Result<Self::Dir>;
    /// Opens a directory in a directory.
    fn dir(&self, at: &Self::Dir, name: &OsStr) -> Result<Self::Dir>;
    /// What is there.
    fn kind(&self, at: &Self::Dir, name: &OsStr) -> Result<Option<FileType>>;
    /// Makes a directory that nobody else may enter yet.
    fn make_dir(&self, at: &Self::Dir, name: &OsStr) -> Result<()>;
    /// Makes a regular file that nobody else may open yet.
    fn make_file(&self, at: &Self::Dir, name: &OsStr) -> Result<Self::File>;
    /// Makes anything else.
    fn make(&self, at: &Self::Dir, name: &OsStr, new: New<'_, Self::Dir>) -> Result<()>;
    /// Sets attributes, of the directory itself if the name is empty; `lose` gets what cannot be kept.
    fn set(
        &self,
        at: &Self::Dir,
        name: &OsStr,
        about: &About,
        lose: &mut dyn FnMut(Error),
    ) -> Result<()>;
    /// Gives it another name in the same directory, and removes what had that.
    fn rename(&self, at: &Self::Dir, from: &OsStr, to: &OsStr) -> Result<()>;
    /// Removes something that is no directory.
    fn remove(&self, at: &Self::Dir, name: &OsStr) -> Result<()>;
}

impl Fs {
    /// Copies a file or a tree of the host into the image, as `cp -a` does: with modes, owners, times, hard links, holes, and the extended
    /// attributes of files and directories.
    ///
    /// `to` is what it will be called. A directory that is there is filled further; another file is replaced when the new one is whole.
    /// If `from` is a symbolic link it is followed, those in the tree are copied. What the file system of the image cannot have is left out, and counted in
    /// the result. An error ends the copy; what was copied before stays.
    ///
    /// ```
    /// # let from = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    /// let fs = ukfs::Fs::memory()?;
    /// let copied = fs.copy_in(from, "/src")?;
    /// assert_eq!(copied.lost, 0);
    /// assert!(fs.read_to_string("/src/lib.rs")?.contains("copy_in"));
    /// # Ok::<(), ukfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EISDIR` or `ENOTDIR` where a directory is to replace something else, or the other way round; `EINVAL` if `to` ends without a name and `from` is no
    /// directory; those of reading at the host, and of mkdir(2), open(2) and write(2).
    pub fn copy_in(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Copied> {
        copy(
            host::Tree::new(from.as_ref()),
            image::Image(self),
            to.as_ref(),
        )
    }

    /// Copies a file or a tree of the image to the host, by the rules of [`copy_in`](Self::copy_in). Nothing in the image leads out of
    /// `to`: names are single components and no symbolic link there is followed.
    ///
    /// Who is not the superuser of the host cannot keep owners nor make device nodes: they are counted in [`Copied::lost`], and files of others lose their
    /// set-id bits.
    ///
    /// ```
    /// # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/hello.img");
    /// # let to = std::env::temp_dir().join(format!("ukfs-doc-{}", std::process::id()));
    /// let fs = ukfs::Fs::open(image)?;
    /// fs.copy_out("/etc", &to)?;
    /// assert_eq!(std::fs::read_to_string(to.join("hostname")).unwrap(), "hello\n");
    /// # std::fs::remove_dir_all(&to).unwrap();
    /// # Ok::<(), ukfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`copy_in`](Self::copy_in), the other way round; `EIO` and `ELOOP` for a broken image.
    pub fn copy_out(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Copied> {
        copy(
            image::Tree::new(self, from.as_ref())?,
            host::Host,
            to.as_ref(),
        )
    }
}

/// A directory on the way to where a copy is.
struct Level {
    name: OsString,
    about: About,
}

/// A copy at work.
struct Copy<S, T: Target> {
    from: S,
    to: T,
    /// Where everything goes to.
    root: T::Dir,
    /// Directories below the root that are not complete, the outermost first.
    trail: Vec<Level>,
    /// Of files with more names, where the first one is.
    links: HashMap<(u64, u64), Vec<OsString>>,
    done: Copied,
}

/// Copies all that a source gives; `path` is what its start will be called.
fn copy<S: Source, T: Target>(mut from: S, to: T, path: &Path) -> Result<Copied> {
    let Some(start) = from.next().transpose()? else {
        return Ok(Copied::default());
    };
    let is_dir = start.about.kind == FileType::Directory;
    let root = if is_dir { Some(path) } else { path.parent() };
    let root = match root {
        Some(root) if !root.as_os_str().is_empty() => root,
        _ => Path::new("."),
    };
    let mut copy = Copy {
        root: to.root(root, is_dir)?,
        from,
        to,
        trail: Vec::new(),
        links: HashMap::new(),
        done: Copied::default(),
    };
    if is_dir {
        copy.tree(&start)?;
    } else {
        let name = path.file_name();
        let name = name.ok_or_else(|| Error::new(Errno::EINVAL, "copy", path))?;
        let here = copy.reach(&[])?;
        copy.put(&here, name.to_owned(), &start)?;
    }
    Ok(copy.done)
}

impl<S: Source, T: Target> Copy<S, T> {
    fn tree(&mut self, start: &Entry) -> Result<()> {
        self.done.entries += 1;
        let mut here = self.reach(&[])?;
        while let Some(entry) = self.from.next().transpose()? {
            // What is in the start has depth 1, and no directory of the trail above it.
            here = self.leave(here, entry.depth.saturating_sub(1))?;
            let name = plain_name(&entry.path)?;
            if entry.about.kind == FileType::Directory {
                here = self.enter(&here, name, entry)?;
            } else {
                self.put(&here, name, &entry)?;
            }
        }
        let here = self.leave(here, 0)?;
        self.set(&here, OsStr::new(""), &start.about)
    }

    /// Opens a directory below the root, component by component.
    fn reach(&self, names: &[OsString]) -> Result<T::Dir> {
        let mut at = self.to.dir(&self.root, OsStr::new("."))?;
        for name in names {
            at = self.to.dir(&at, name)?;
        }
        Ok(at)
    }

    fn names(&self) -> Vec<OsString> {
        self.trail.iter().map(|level| level.name.clone()).collect()
    }

    /// Goes back until so many directories of the trail are left. Those that are left get their attributes now, as what is done in a directory
    /// changes its times.
    fn leave(&mut self, mut here: T::Dir, depth: usize) -> Result<T::Dir> {
        while self.trail.len() > depth
            && let Some(Level { name, about }) = self.trail.pop()
        {
            // No more than two directories are open, however deep the tree is.
            here = self.reach(&self.names())?;
            self.set(&here, &name, &about)?;
        }
        Ok(here)
    }

    fn enter(&mut self, here: &T::Dir, name: OsString, entry: Entry) -> Result<T::Dir> {
        match self.to.kind(here, &name)? {
            None => self.to.make_dir(here, &name)?,
            Some(FileType::Directory) => {}
            Some(_) => return Err(Error::new(Errno::ENOTDIR, "copy", entry.path)),
        }
        self.done.entries += 1;
        let inside = self.to.dir(here, &name)?;
        let about = entry.about;
        self.trail.push(Level { name, about });
        Ok(inside)
    }

    fn set(&mut self, at: &T::Dir, name: &OsStr, about: &About) -> Result<()> {
        let done = &mut self.done;
        self.to.set(at, name, about, &mut |error| done.lose(error))
    }

    /// Makes something that is no directory, under another name first where a file is in the way.
    fn put(&mut self, here: &T::Dir, name: OsString, entry: &Entry) -> Result<()> {
        let made = match self.to.kind(here, &name)? {
            None => self.make(here, &name, entry)?,
            Some(FileType::Directory) => {
                return Err(Error::new(Errno::EISDIR, "copy", &*entry.path));
            }
            Some(_) => {
                let other = self.free_name(here, &entry.path)?;
                let made = self.make(here, &other, entry)?;
                if made {
                    let renamed = self.to.rename(here, &other, &name);
                    // Two names of one file: a rename does nothing then, or it failed.
                    let _ = self.to.remove(here, &other);
                    renamed?;
                }
                made
            }
        };
        let About { nlink, id, .. } = entry.about;
        if made && nlink > 1 && !self.links.contains_key(&id) {
            let mut path = self.names();
            path.push(name);
            self.links.insert(id, path);
        }
        self.done.entries += u64::from(made);
        Ok(())
    }

    /// A name that nothing has, for what is to take another file's place.
    fn free_name(&self, here: &T::Dir, path: &Path) -> Result<OsString> {
        for number in 0..100_u32 {
            let name = OsString::from(format!(".ukfs-{:x}-{number}", std::process::id()));
            if self.to.kind(here, &name)?.is_none() {
                return Ok(name);
            }
        }
        Err(Error::new(Errno::EEXIST, "copy", path))
    }

    /// Makes something whole, or nothing; `false`: the target cannot have such a thing.
    fn make(&mut self, here: &T::Dir, name: &OsStr, entry: &Entry) -> Result<bool> {
        if self.link(here, name, entry)? {
            return Ok(true);
        }
        let made = match entry.about.kind {
            FileType::Regular => return self.file(here, name, entry).map(|()| true),
            FileType::Symlink => {
                let target = self.from.read_link(&entry.path)?;
                self.to.make(here, name, New::Symlink(&target))
            }
            _ => self.to.make(here, name, New::Node(&entry.about)),
        };
        match made {
            Err(error) if is_inability(error.errno()) => {
                self.done.lose(error);
                return Ok(false);
            }
            made => made?,
        }
        let set = self.set(here, name, &entry.about);
        if set.is_err() {
            let _ = self.to.remove(here, name);
        }
        set.map(|()| true)
    }

    /// Makes one more name of a file that was copied already; `false`: there is none, or the target cannot, and the file gets a copy.
    fn link(&mut self, here: &T::Dir, name: &OsStr, entry: &Entry) -> Result<bool> {
        let first = self.links.get(&entry.about.id);
        let Some((old, dirs)) = first.and_then(|path| path.split_last()) else {
            return Ok(false);
        };
        let dir = self.reach(dirs)?;
        match self.to.make(here, name, New::Link(&dir, old)) {
            Err(error) if is_inability(error.errno()) || error.errno() == Errno::EMLINK => {
                self.done.lose(error);
                Ok(false)
            }
            made => made.map(|()| true),
        }
    }

    fn file(&mut self, here: &T::Dir, name: &OsStr, entry: &Entry) -> Result<()> {
        let source = self.from.open(&entry.path)?;
        let target = self.to.make_file(here, name)?;
        let copied = copy_content((&source, &entry.path), (&target, Path::new(name)));
        drop(target);
        let done = copied.and_then(|bytes| {
            self.done.bytes += bytes;
            self.set(here, name, &entry.about)
        });
        if done.is_err() {
            // Half a file must not look like a whole one.
            let _ = self.to.remove(here, name);
        }
        done
    }
}

impl Copied {
    fn lose(&mut self, error: Error) {
        self.lost += 1;
        self.first_lost.get_or_insert(error);
    }
}

/// Whether an error says that the target has no such thing, or that this user may not make it.
fn is_inability(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS)
}

/// The last component of a path, which a medium may have any bytes for.
fn plain_name(path: &Path) -> Result<OsString> {
    let bytes = path.as_os_str().as_bytes();
    let name = bytes.rsplit(|&c| c == b'/').next().unwrap_or_default();
    if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
        let why = "no name for a file";
        return Err(Error::new(Errno::EINVAL, "copy", path).because(why.into()));
    }
    Ok(OsStr::from_bytes(name).to_owned())
}
