//! Making files: `creat`, `mkdir`, `mknod`, `symlink`, `link`, and files without a name.

use crate::{
    acl::{self, Acl},
    calls::{Access, Follow},
    erased::{AnyFileSystem, AnyInode},
    file::VnodeFile,
    fs::{DirSlot, Found, NewInode, NewKind},
    name::Name,
    namecache::Target,
    perm,
    process::{Ctx, Start},
    vnode::{Pending, REMOVED, Vnode, VnodeRef},
    walk::{Last, Walker, check_access, damaged, stored_acl},
};
use alloc::{sync::Arc, vec::Vec};
use rumpkern::{File, FileType, OpenFlags, types::DeviceNumber};
use rumpuser::{Errno, Result};

/// What a name under the exclusive lock of its directory leads to.
pub(crate) enum Under {
    Entry(VnodeRef, DirSlot),
    Absent(DirSlot),
}

/// Looks a name up under the directory's lock, past the cache, for a change that follows.
///
/// # Errors
/// `ENAMETOOLONG`, `ENOENT` when the directory was removed, `EIO`.
pub(crate) fn look_under_lock(dir: &VnodeRef, inode: &AnyInode, name: Name<'_>) -> Result<Under> {
    let mount = &dir.mount;
    if name.bytes().len() > mount.limits.name_max {
        return Err(Errno::ENAMETOOLONG);
    }
    if dir.marked(REMOVED) {
        return Err(Errno::ENOENT);
    }
    match mount.fs.lookup(inode, name)? {
        Found::Entry(ino, slot) => {
            let vnode = mount.vnode(ino).map_err(damaged)?;
            // An entry that leads back to its directory is damage, and locking it would be for ever.
            if vnode.same(dir) {
                return Err(Errno::EIO);
            }
            Ok(Under::Entry(vnode, slot))
        }
        Found::Absent(slot) => Ok(Under::Absent(slot)),
    }
}

/// A file to be made, as it is asked for.
pub(crate) struct NewNode {
    pub(crate) kind: NewKind,
    pub(crate) mode: u32,
}

/// A name to be made, with its directory checked.
struct NewName<'p> {
    dir: VnodeRef,
    name: Name<'p>,
}

impl Ctx<'_> {
    /// What the caches know of a name, without the driver.
    pub(crate) fn known(
        &self,
        walker: &Walker<'_>,
        dir: &VnodeRef,
        name: Name<'_>,
    ) -> Option<VnodeRef> {
        let names = &self.vfs.caches.names;
        let hash = names.hash(dir.id, name.bytes());
        let found = match names.get(dir, hash, name.bytes(), || false)?.0 {
            Target::Vnode(vnode) => VnodeRef::acquire(&vnode),
            Target::Nothing => None,
        };
        found.map(|vnode| walker.top(vnode))
    }

    /// Whether the cache knows that a name is not there, as whoever makes a file has mostly looked for it before. The directory is locked
    /// exclusively.
    fn known_absent(&self, dir: &VnodeRef, name: Name<'_>) -> bool {
        let names = &self.vfs.caches.names;
        let hash = names.hash(dir.id, name.bytes());
        let found = names.get(dir, hash, name.bytes(), || false);
        !dir.marked(REMOVED) && matches!(found, Some((Target::Nothing, _)))
    }

    /// Makes a file, or finds the one that is there (the inner error). The caller has checked that it may be made.
    ///
    /// # Errors
    /// Those of the driver.
    pub(crate) fn make_or_find(
        &self,
        walker: &Walker<'_>,
        dir: &VnodeRef,
        name: Name<'_>,
        kind: NewKind,
        mode: u32,
    ) -> Result<core::result::Result<VnodeRef, VnodeRef>> {
        let default = default_acl(dir)?;
        let mut inode = dir.exclusive()?;
        let looked = match self.known_absent(dir, name) {
            true => Under::Absent(DirSlot::default()),
            false => look_under_lock(dir, &inode, name)?,
        };
        let slot = match looked {
            Under::Absent(slot) => slot,
            Under::Entry(found, _) => {
                let names = &self.vfs.caches.names;
                names.enter(dir, name.bytes(), Some(found.arc()));
                drop(inode);
                return Ok(Err(walker.top(found)));
            }
        };
        let mount = &dir.mount;
        let new = self.new_inode(dir, default.as_deref(), kind, mode);
        let directory = new.kind == NewKind::Directory;
        let (ino, made) = mount.fs.create(&mut inode, slot, name, &new)?;
        let made = mount.adopt(ino, made)?;
        dir.refresh(&inode, CHANGED);
        let names = &self.vfs.caches.names;
        names.enter(dir, name.bytes(), Some(made.arc()));
        if directory {
            names.enter(&made, b"..", Some(dir.arc()));
        }
        Ok(Ok(made))
    }

    /// What a new file starts with: owner, group, mode and ACLs.
    fn new_inode(&self, dir: &Vnode, default: Option<&Acl>, kind: NewKind, mode: u32) -> NewInode {
        let directory = kind == NewKind::Directory;
        let mut xattrs = Vec::new();
        let (gid, mode) = if let NewKind::Symlink(_) = kind {
            (perm::new_owner(&dir.owner(), false, 0, &self.cred).0, 0o777)
        } else {
            let mode = match default {
                Some(default) => {
                    let acl = default.clone().inherited(mode);
                    let mode = mode & !0o777 | acl.mode();
                    if !acl.is_minimal() {
                        xattrs.push((acl::ACCESS.to_vec(), acl.bytes()));
                    }
                    if directory {
                        xattrs.push((acl::DEFAULT.to_vec(), default.bytes()));
                    }
                    mode
                }
                None => mode & !self.umask,
            };
            perm::new_owner(&dir.owner(), directory, mode, &self.cred)
        };
        NewInode {
            kind,
            mode,
            uid: self.cred.uid,
            gid,
            time: dir.mount.now(),
            xattrs,
            space: dir.mount.fs.space_for(&self.cred),
        }
    }

    /// Makes a file that must not be there yet.
    fn make(&self, new: &NewName<'_>, kind: NewKind, mode: u32) -> Result<VnodeRef> {
        let walker = self.walker();
        match self.make_or_find(&walker, &new.dir, new.name, kind, mode)? {
            Ok(made) => {
                new.dir.mount.changed()?;
                Ok(made)
            }
            Err(_) => Err(Errno::EEXIST),
        }
    }

    /// Checks that a name can be made: it must be no other thing, and allowed. `directory`: slashes may follow it.
    ///
    /// # Errors
    /// Those of paths; `EEXIST`, then `EROFS`, then `EACCES`.
    fn new_name<'p>(&self, start: &Start, path: &'p [u8], directory: bool) -> Result<NewName<'p>> {
        let parent = self.parent(start, path)?;
        let Last::Name(name) = parent.last else {
            return Err(Errno::EEXIST);
        };
        let dir = parent.dir;
        check_access(&dir, self.judge(), Access::X)?;
        if name.bytes().len() > dir.mount.limits.name_max {
            return Err(Errno::ENAMETOOLONG);
        }
        let refused = if parent.slash && !directory {
            Err(Errno::ENOENT)
        } else {
            self.may_make(&dir)
        };
        if let Err(error) = refused {
            // That it exists is the first error.
            return Err(match self.walker().lookup(&dir, name)? {
                Some(_) => Errno::EEXIST,
                None => error,
            });
        }
        Ok(NewName { dir, name })
    }

    /// Makes a file of any type and gives it.
    ///
    /// # Errors
    /// Those of names, and of the driver.
    pub(crate) fn make_at(&self, start: &Start, name: &[u8], node: NewNode) -> Result<VnodeRef> {
        let mode = match &node.kind {
            NewKind::Directory => node.mode & 0o1777,
            NewKind::Symlink(target) => {
                Self::check_target(target)?;
                0o777
            }
            _ => node.mode,
        };
        let new = self.new_name(start, name, false)?;
        if let NewKind::Symlink(target) = &node.kind {
            Self::check_room(&new, target)?;
        }
        self.make(&new, node.kind, mode)
    }

    fn check_target(target: &[u8]) -> Result<()> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.contains(&0) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Whether the format has room for the target of a symbolic link. One without symbolic links says that itself.
    fn check_room(new: &NewName<'_>, target: &[u8]) -> Result<()> {
        let most = new.dir.mount.limits.symlink_max.min(4095);
        if most > 0 && target.len() > most {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(())
    }

    pub(crate) fn mkdir(&self, start: &Start, path: &[u8], mode: u32) -> Result<()> {
        let new = self.new_name(start, path, true)?;
        // POSIX leaves all but permission bits to the system; the sticky bit is kept.
        self.make(&new, NewKind::Directory, mode & 0o1777).map(drop)
    }

    pub(crate) fn mknod(
        &self,
        start: &Start,
        path: &[u8],
        file_type: FileType,
        mode: u32,
        device: DeviceNumber,
    ) -> Result<()> {
        let kind = match file_type {
            FileType::Regular => NewKind::Regular,
            FileType::Fifo => NewKind::Fifo,
            FileType::Socket => NewKind::Socket,
            FileType::Block => NewKind::Block(device),
            FileType::Character => NewKind::Character(device),
            FileType::Directory | FileType::Symlink => return Err(Errno::EINVAL),
        };
        if matches!(kind, NewKind::Block(_) | NewKind::Character(_)) && !self.judge().is_root() {
            return Err(Errno::EPERM);
        }
        let new = self.new_name(start, path, false)?;
        self.make(&new, kind, mode).map(drop)
    }

    pub(crate) fn symlink(&self, target: &[u8], start: &Start, path: &[u8]) -> Result<()> {
        Self::check_target(target)?;
        let new = self.new_name(start, path, false)?;
        Self::check_room(&new, target)?;
        self.make(&new, NewKind::Symlink(target.to_vec()), 0o777)
            .map(drop)
    }

    pub(crate) fn link(
        &self,
        (start, path): (&Start, &[u8]),
        (to_start, to_path): (&Start, &[u8]),
        follow: Follow,
    ) -> Result<()> {
        let target = self.resolve_or_self(start, path, follow)?;
        if target.is_dir() {
            return Err(Errno::EPERM);
        }
        let new = self.new_name(to_start, to_path, false)?;
        let dir = &new.dir;
        if dir.mount.id != target.mount.id {
            return Err(Errno::EXDEV);
        }
        let mount = &dir.mount;
        let mut dir_inode = dir.exclusive()?;
        let slot = match look_under_lock(dir, &dir_inode, new.name)? {
            Under::Absent(slot) => slot,
            Under::Entry(..) => return Err(Errno::EEXIST),
        };
        let mut inode = target.exclusive()?;
        let now = target.attributes_locked(&inode)?;
        perm::changeable(now.protection)?;
        match mount.limits.link_max {
            // There are no links at all.
            ..=1 => return Err(Errno::EOPNOTSUPP),
            most if now.nlink >= most => return Err(Errno::EMLINK),
            _ => {}
        }
        // Only a file made without a name may get its first one.
        if now.nlink == 0 && !target.marked(crate::vnode::NAMELESS) {
            return Err(Errno::ENOENT);
        }
        let time = mount.now();
        mount.fs.link(
            &mut dir_inode,
            slot,
            new.name,
            &mut inode,
            mount.fs.space_for(&self.cred),
            time,
        )?;
        target.unmark(crate::vnode::NAMELESS);
        target.refresh(&inode, Pending::default());
        dir.refresh(&dir_inode, CHANGED);
        let names = &self.vfs.caches.names;
        names.enter(dir, new.name.bytes(), Some(target.arc()));
        drop(inode);
        drop(dir_inode);
        mount.changed()
    }

    /// `O_TMPFILE`.
    pub(crate) fn open_unnamed(
        &self,
        start: &Start,
        path: &[u8],
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Arc<dyn File>> {
        if !flags.writes() || flags.contains(OpenFlags::CREAT) {
            return Err(Errno::EINVAL);
        }
        let dir = self.resolve_or_self(start, path, Follow::Yes)?;
        // With EXCL it never gets a name.
        let made = self.make_unnamed(&dir, mode, !flags.contains(OpenFlags::EXCL))?;
        let file = VnodeFile::new(made, &self.cred, flags);
        Ok(Arc::new(file))
    }

    /// Makes a file without a name, which may get one or not.
    ///
    /// # Errors
    /// `ENOTDIR`, those of [`may_make`](Self::may_make) and of [`FileSystem::create_unnamed`](crate::fs::FileSystem::create_unnamed).
    pub(crate) fn make_unnamed(
        &self,
        dir: &VnodeRef,
        mode: u32,
        linkable: bool,
    ) -> Result<VnodeRef> {
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.may_make(dir)?;
        let default = default_acl(dir)?;
        let new = self.new_inode(dir, default.as_deref(), NewKind::Regular, mode);
        let mount = &dir.mount;
        let (ino, inode) = mount.fs.create_unnamed(&*dir.shared()?, &new)?;
        let made = mount.adopt(ino, inode)?;
        if linkable {
            made.mark(crate::vnode::NAMELESS);
        }
        mount.changed()?;
        Ok(made)
    }
}

/// Times of a directory whose names changed: the driver set them.
pub(crate) const CHANGED: Pending = Pending {
    atime: false,
    mtime: true,
    ctime: true,
};

/// The default ACL of a directory.
///
/// # Errors
/// `EIO`.
pub(crate) fn default_acl(dir: &Vnode) -> Result<Option<Arc<Acl>>> {
    if let Some(known) = &dir.extra.lock().default {
        return Ok(known.clone());
    }
    let inode = dir.shared()?;
    let acl = stored_acl(dir, &dir.mount.fs.get_xattr(&inode, acl::DEFAULT))?;
    dir.extra.lock().default = Some(acl.clone());
    Ok(acl)
}
