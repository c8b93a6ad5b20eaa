//! `unlink` and `rmdir`.

use crate::{
    calls::Access,
    create::{CHANGED, Under, look_under_lock},
    erased::AnyFileSystem,
    perm,
    process::{Ctx, Start},
    vnode::{COVERED, Pending, REMOVED, VnodeRef},
    walk::{Last, check_access},
};
use rumpuser::{Errno, Result};

impl Ctx<'_> {
    /// Removes a name of something that is no directory.
    pub(crate) fn unlink(&self, start: &Start, path: &[u8]) -> Result<()> {
        self.remove(start, path, false)
    }

    /// Removes an empty directory.
    pub(crate) fn rmdir(&self, start: &Start, path: &[u8]) -> Result<()> {
        self.remove(start, path, true)
    }

    fn remove(&self, start: &Start, path: &[u8], directory: bool) -> Result<()> {
        let parent = self.parent(start, path)?;
        let name = match (parent.last, directory) {
            (Last::Name(name), _) => name,
            (Last::Root, _) => return Err(Errno::EBUSY),
            (_, false) => return Err(Errno::EPERM),
            (Last::Dot, true) => return Err(Errno::EINVAL),
            (Last::DotDot, true) => return Err(Errno::ENOTEMPTY),
        };
        let dir = &parent.dir;
        let mount = &dir.mount;
        check_access(dir, self.judge(), Access::X)?;
        mount.writable()?;
        let mut dir_inode = dir.exclusive()?;
        let Under::Entry(target, slot) = look_under_lock(dir, &dir_inode, name)? else {
            return Err(Errno::ENOENT);
        };
        if directory != target.is_dir() {
            // POSIX: a directory is not unlinked, not even by root.
            return Err(if directory {
                Errno::ENOTDIR
            } else {
                Errno::EPERM
            });
        }
        if parent.slash && !directory {
            return Err(Errno::ENOTDIR);
        }
        self.may_remove(dir, &target)?;
        if target.marked(COVERED) || target.is_root() {
            return Err(Errno::EBUSY);
        }
        let mut inode = target.exclusive()?;
        mount
            .fs
            .unlink(&mut dir_inode, slot, name, &mut inode, mount.now())?;
        target.refresh(&inode, Pending::default());
        dir.refresh(&dir_inode, CHANGED);
        let names = &self.vfs.caches.names;
        if directory {
            target.mark(REMOVED);
            names.forget(&target, b"..");
        }
        names.forget(dir, name.bytes());
        drop(inode);
        drop(dir_inode);
        // The last use of an unlinked file gives it back to the driver: without a lock.
        drop(target);
        mount.changed()
    }

    /// Whether a name of `target` may be removed from `dir`.
    ///
    /// # Errors
    /// `EACCES`, `EPERM`.
    pub(crate) fn may_remove(&self, dir: &VnodeRef, target: &VnodeRef) -> Result<()> {
        check_access(dir, self.judge(), Access::W | Access::X)?;
        perm::changeable(dir.attributes()?.protection)?;
        perm::sticky(&dir.owner(), &target.owner(), self.judge())?;
        perm::changeable(target.attributes()?.protection)
    }
}
