//! Current directory, root directory, and paths of directories.

use crate::{
    calls::{Access, Follow},
    erased::AnyFileSystem,
    fs::{DirCookie, DirEmit, DirEntry, Ino},
    process::{Ctx, Start, data},
    vnode::VnodeRef,
    walk::{check_access, parent_on_mount},
};
use alloc::vec::Vec;
use rumpkern::Proc;
use rumpuser::{Errno, Result};

/// Directories on the way to the root, at most.
const DEPTH_MAX: usize = 1 << 16;

impl Ctx<'_> {
    /// A directory that the process may search.
    fn searchable(&self, start: &Start, path: &[u8]) -> Result<VnodeRef> {
        let dir = self.resolve_or_self(start, path, Follow::Yes)?;
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        check_access(&dir, self.judge(), Access::X)?;
        Ok(dir)
    }

    pub(crate) fn chdir(&self, proc: &Proc, start: &Start, path: &[u8]) -> Result<()> {
        let dir = self.searchable(start, path)?;
        let data = data(proc)?;
        data.change(|dirs| dirs.cwd.replace(dir));
        Ok(())
    }

    pub(crate) fn chroot(&self, proc: &Proc, path: &[u8]) -> Result<()> {
        if !self.cred.is_root() {
            return Err(Errno::EPERM);
        }
        let dir = self.searchable(&None, path)?;
        let data = data(proc)?;
        data.change(|dirs| dirs.root.replace(dir));
        Ok(())
    }

    /// Path of the current directory.
    pub(crate) fn getcwd(&self) -> Result<Vec<u8>> {
        self.path_of(&self.start(&None)?)
    }

    /// Path of a directory from the process's root.
    ///
    /// # Errors
    /// `ENOENT` when it was removed or is not below the root, `EACCES`, `EIO`.
    pub(crate) fn path_of(&self, dir: &VnodeRef) -> Result<Vec<u8>> {
        let root = self.root()?;
        let mut names = Vec::new();
        let mut at = dir.clone();
        while !at.same(&root) {
            if at.is_root() {
                let covered = at.mount.anchors.lock().covered.clone();
                at = covered.ok_or(Errno::ENOENT)?;
                continue;
            }
            let parent = parent_on_mount(&at)?;
            names.push(self.name_in(&parent, &at)?);
            at = parent;
            if names.len() > DEPTH_MAX {
                return Err(Errno::EIO);
            }
        }
        if names.is_empty() {
            return Ok(b"/".to_vec());
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Ok(path)
    }

    /// A directory's name in its parent.
    fn name_in(&self, parent: &VnodeRef, dir: &VnodeRef) -> Result<Vec<u8>> {
        if let Some(name) = self.vfs.caches.names.name_of(parent.id, dir.arc()) {
            return Ok(name);
        }
        check_access(parent, self.judge(), Access::R | Access::X)?;
        let mut find = Find {
            ino: dir.ino(),
            name: None,
        };
        let inode = parent.shared()?;
        parent.mount.fs.read_dir(&inode, DirCookie(0), &mut find)?;
        find.name.ok_or(Errno::ENOENT)
    }
}

/// Looks for an inode number in a listing.
struct Find {
    ino: Ino,
    name: Option<Vec<u8>>,
}

impl DirEmit for Find {
    fn emit(&mut self, entry: DirEntry<'_>) -> bool {
        let found = entry.ino == self.ino;
        if found {
            self.name = Some(entry.name.to_vec());
        }
        !found
    }
}
