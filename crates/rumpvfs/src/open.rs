//! `open`.

use crate::{
    attr::set_size,
    calls::{Access, Follow, MountFlags},
    file::VnodeFile,
    fs::{NewKind, Space},
    perm,
    process::{Ctx, Start},
    vnode::{HOST, VnodeRef},
    walk::{Last, check_access, split_last},
};
use alloc::{borrow::Cow, sync::Arc};
use rumpkern::{File, FileType, OpenFlags};
use rumpuser::{Errno, Result};

impl Ctx<'_> {
    /// Opens, and makes what is not there if asked to.
    ///
    /// # Errors
    /// As [`Calls::open`](crate::Calls::open).
    pub(crate) fn open(
        &self,
        start: &Start,
        path: &[u8],
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Arc<dyn File>> {
        if flags.contains(OpenFlags::PATH) {
            let keep = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW;
            let vnode = self.resolve(start, path, Self::follow(flags))?;
            Self::check_directory(&vnode, flags)?;
            return Ok(Arc::new(self.file(vnode, flags & keep)));
        }
        if flags.contains(OpenFlags::WRONLY | OpenFlags::RDWR) {
            return Err(Errno::EINVAL);
        }
        if flags.contains(OpenFlags::TMPFILE) {
            return self.open_unnamed(start, path, flags, mode);
        }
        if flags.contains(OpenFlags::CREAT) {
            return self.open_or_make(start, path, flags, mode);
        }
        let vnode = self.resolve(start, path, Self::follow(flags))?;
        self.open_vnode(vnode, flags)
    }

    fn follow(flags: OpenFlags) -> Follow {
        if flags.contains(OpenFlags::NOFOLLOW) {
            Follow::No
        } else {
            Follow::Yes
        }
    }

    fn check_directory(vnode: &VnodeRef, flags: OpenFlags) -> Result<()> {
        if flags.contains(OpenFlags::DIRECTORY) && !vnode.is_dir() {
            Err(Errno::ENOTDIR)
        } else {
            Ok(())
        }
    }

    fn file(&self, vnode: VnodeRef, flags: OpenFlags) -> VnodeFile {
        VnodeFile::new(vnode, &self.cred, flags)
    }

    /// Opens what is there.
    ///
    /// # Errors
    /// `ELOOP` for a symbolic link, `ENOTDIR`, `EISDIR`, `EACCES`, `EROFS`, `EPERM`, `ENXIO`.
    pub(crate) fn open_vnode(&self, vnode: VnodeRef, flags: OpenFlags) -> Result<Arc<dyn File>> {
        let writes = flags.writes() || flags.contains(OpenFlags::TRUNC);
        if vnode.file_type == FileType::Symlink {
            return Err(if flags.contains(OpenFlags::DIRECTORY) {
                Errno::ENOTDIR
            } else {
                Errno::ELOOP
            });
        }
        Self::check_directory(&vnode, flags)?;
        if vnode.is_dir() && (writes || flags.contains(OpenFlags::CREAT)) {
            return Err(Errno::EISDIR);
        }
        let mut want = Access::empty();
        want.set(Access::R, flags.reads());
        want.set(Access::W, writes);
        check_access(&vnode, self.judge(), want)?;
        self.check_noatime(&vnode, flags)?;
        match vnode.file_type {
            FileType::Socket => Err(Errno::EOPNOTSUPP),
            FileType::Fifo => self.open_fifo(&vnode, flags),
            FileType::Block | FileType::Character => {
                if vnode.mount.flags().contains(MountFlags::NODEV) {
                    return Err(Errno::EACCES);
                }
                self.vfs.open_device(vnode, flags.writes())
            }
            FileType::Regular if vnode.marked(HOST) => {
                if writes {
                    Self::check_changeable(&vnode, flags)?;
                }
                let file = self.vfs.open_host(vnode, writes)?;
                if flags.contains(OpenFlags::TRUNC) {
                    file.truncate(0)?;
                }
                Ok(file)
            }
            _ => self.open_data(vnode, flags, writes),
        }
    }

    /// Whether a file's data may be changed, opened like that.
    fn check_changeable(vnode: &VnodeRef, flags: OpenFlags) -> Result<()> {
        vnode.mount.writable()?;
        let protection = vnode.attributes()?.protection;
        perm::extendable(protection)?;
        let appends = flags.contains(OpenFlags::APPEND) && !flags.contains(OpenFlags::TRUNC);
        if protection.append_only && !appends {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Opens a regular file or a directory.
    fn open_data(&self, vnode: VnodeRef, flags: OpenFlags, writes: bool) -> Result<Arc<dyn File>> {
        if writes {
            Self::check_changeable(&vnode, flags)?;
        } else {
            vnode.attributes()?;
        }
        // Counted as a writer before the look at the mount, so that a change to read-only sees one or the other.
        let file = self.file(vnode, flags);
        if writes {
            file.vnode.mount.writable()?;
        }
        if flags.contains(OpenFlags::TRUNC) {
            set_size(&file.vnode, 0, self.cred.is_root(), Space::Ordinary)?;
        }
        Ok(Arc::new(file))
    }

    /// Opens a regular file or a directory for whoever reads and writes it without a descriptor.
    ///
    /// # Errors
    /// `EISDIR`, `EROFS`, `EPERM`; `ENXIO` for anything else.
    pub(crate) fn open_plain(&self, vnode: VnodeRef, flags: OpenFlags) -> Result<VnodeFile> {
        let writes = flags.writes() || flags.contains(OpenFlags::TRUNC);
        match vnode.file_type {
            FileType::Directory if writes => return Err(Errno::EISDIR),
            FileType::Regular if vnode.marked(HOST) => return Err(Errno::ENXIO),
            FileType::Regular | FileType::Directory => {}
            _ => return Err(Errno::ENXIO),
        }
        if writes {
            vnode.mount.writable()?;
            let protection = vnode.attributes()?.protection;
            perm::extendable(protection)?;
            if flags.contains(OpenFlags::TRUNC) || !flags.contains(OpenFlags::APPEND) {
                perm::changeable(protection)?;
            }
        }
        let file = VnodeFile::unchecked(vnode, &self.cred, flags);
        if writes {
            file.vnode.mount.writable()?;
        }
        if flags.contains(OpenFlags::TRUNC) {
            set_size(&file.vnode, 0, self.cred.is_root(), Space::Ordinary)?;
        }
        Ok(file)
    }

    /// Only the owner may read without a trace.
    fn check_noatime(&self, vnode: &VnodeRef, flags: OpenFlags) -> Result<()> {
        if flags.contains(OpenFlags::NOATIME) {
            perm::own(vnode.owner().uid, self.judge())
        } else {
            Ok(())
        }
    }

    fn open_or_make(
        &self,
        start: &Start,
        path: &[u8],
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Arc<dyn File>> {
        if flags.contains(OpenFlags::DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        let mut walker = self.walker();
        let mut start = start.clone();
        let mut path = Cow::Borrowed(path);
        loop {
            let (prefix, last, slash) = split_last(&path)?;
            let parent = walker.directory(&start, prefix)?;
            let Last::Name(name) = last else {
                if flags.contains(OpenFlags::EXCL) {
                    return Err(Errno::EEXIST);
                }
                return Err(Errno::EISDIR);
            };
            check_access(&parent, self.judge(), Access::X)?;
            let found = match self.known(&walker, &parent, name) {
                Some(vnode) => Some(vnode),
                // A file is made under the lock that it was not found under.
                None if !slash && self.may_make(&parent).is_ok() => {
                    let kind = NewKind::Regular;
                    match self.make_or_find(&walker, &parent, name, kind, mode)? {
                        Ok(made) => {
                            let file = self.file(made, flags);
                            file.vnode.mount.changed()?;
                            return Ok(Arc::new(file));
                        }
                        Err(found) => Some(found),
                    }
                }
                None => walker.lookup(&parent, name)?,
            };
            let Some(found) = found else {
                if slash {
                    return Err(Errno::EISDIR);
                }
                // Why it could not be made.
                self.may_make(&parent)?;
                return Err(Errno::ENOENT);
            };
            if flags.contains(OpenFlags::EXCL) {
                return Err(Errno::EEXIST);
            }
            let link = found.file_type == FileType::Symlink;
            if link && (slash || !flags.contains(OpenFlags::NOFOLLOW)) {
                let rest: &[u8] = if slash { b"/" } else { b"" };
                path = Cow::Owned(walker.expand(&found, rest)?);
                start = Some(parent);
                continue;
            }
            if slash && !found.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            return self.open_vnode(found, flags);
        }
    }

    /// Whether new names may be made in a directory.
    ///
    /// # Errors
    /// `EROFS`, `EACCES`, `EPERM`.
    pub(crate) fn may_make(&self, dir: &VnodeRef) -> Result<()> {
        dir.mount.writable()?;
        check_access(dir, self.judge(), Access::W | Access::X)?;
        perm::extendable(dir.attributes()?.protection)
    }
}
