//! Attributes: `chmod`, `chown`, `utimens`, `chflags`, sizes, and `access`.

use crate::{
    acl,
    calls::{Access, ChangeAttributes, Follow, SetTime},
    erased::AnyFileSystem,
    fs::{Attributes, SetAttributes, Space, XattrMode},
    perm,
    process::{Ctx, Start},
    special,
    vnode::{Exclusive, HOST, Pending, Vnode, VnodeRef},
    walk::check_access,
};
use rumpkern::FileType;
use rumpuser::{Errno, Result};

/// Which times a change tells the driver.
fn told(change: &SetAttributes) -> Pending {
    Pending {
        atime: change.atime.is_some(),
        mtime: change.mtime.is_some(),
        ctime: change.ctime.is_some(),
    }
}

/// Changes attributes under the lock; the inode change time is now, unless it is given.
pub(crate) fn set_attributes(
    vnode: &Vnode,
    inode: &mut Exclusive<'_>,
    change: SetAttributes,
) -> Result<()> {
    let ctime = change.ctime.unwrap_or_else(|| vnode.mount.now());
    let change = SetAttributes {
        ctime: Some(ctime),
        ..change
    };
    vnode.mount.fs.set_attributes(inode, &change)?;
    vnode.refresh(inode, told(&change));
    Ok(())
}

/// Sets the size of a regular file on behalf of `cred`, who may write it.
///
/// # Errors
/// `EISDIR`, `EINVAL`, `EFBIG`, `EPERM`, `EIO`.
pub(crate) fn set_size(vnode: &VnodeRef, size: u64, privileged: bool, space: Space) -> Result<()> {
    if vnode.marked(HOST) {
        return special::truncate(vnode, size);
    }
    let mount = &vnode.mount;
    let pages = match (vnode.pages(), vnode.file_type) {
        (Some(pages), _) => pages,
        (None, FileType::Directory) => return Err(Errno::EISDIR),
        (None, _) => return Err(Errno::EINVAL),
    };
    mount.writable()?;
    let mut inode = vnode.exclusive()?;
    perm::changeable(vnode.protection())?;
    if size > mount.limits.file_size_max {
        return Err(Errno::EFBIG);
    }
    let now = mount.now();
    let result = pages.truncate(&mount.fs, &mut inode, size, space, now);
    vnode.refresh(
        &inode,
        Pending {
            mtime: result.is_ok(),
            ctime: result.is_ok(),
            ..Pending::default()
        },
    );
    result?;
    if let Some(mode) = perm::mode_after_write(&vnode.owner(), privileged) {
        let change = SetAttributes {
            mode: Some(mode),
            ..SetAttributes::default()
        };
        set_attributes(vnode, &mut inode, change)?;
    }
    drop(inode);
    mount.changed()
}

impl Ctx<'_> {
    /// Changes attributes as `decide` says, which sees them under the lock.
    pub(crate) fn change(
        &self,
        vnode: &VnodeRef,
        decide: impl FnOnce(&Attributes) -> Result<SetAttributes>,
    ) -> Result<()> {
        vnode.mount.writable()?;
        let mut inode = vnode.exclusive()?;
        let now = vnode.attributes_locked(&inode)?;
        let change = decide(&now)?;
        if change == SetAttributes::default() {
            return Ok(());
        }
        set_attributes(vnode, &mut inode, change)?;
        if let Some(mode) = change.mode {
            self.chmod_acl(vnode, &mut inode, mode)?;
        }
        drop(inode);
        vnode.mount.changed()
    }

    /// Brings the access ACL in line with new permission bits.
    fn chmod_acl(&self, vnode: &Vnode, inode: &mut Exclusive<'_>, mode: u32) -> Result<()> {
        if !vnode.owner().has_acl {
            return Ok(());
        }
        let fs = &vnode.mount.fs;
        let Some(old) = crate::walk::stored_acl(vnode, &fs.get_xattr(inode, acl::ACCESS))? else {
            return Ok(());
        };
        let new = (*old).clone().with_mode(mode);
        fs.set_xattr(
            inode,
            acl::ACCESS,
            &new.bytes(),
            XattrMode::Set,
            fs.space_for(&self.cred),
            vnode.mount.now(),
        )?;
        vnode.extra.lock().forget_acls();
        vnode.refresh(inode, Pending::default());
        Ok(())
    }

    pub(crate) fn chmod(
        &self,
        start: &Start,
        path: &[u8],
        mode: u32,
        follow: Follow,
    ) -> Result<()> {
        let vnode = self.resolve_or_self(start, path, follow)?;
        self.chmod_vnode(&vnode, mode)
    }

    pub(crate) fn chmod_vnode(&self, vnode: &VnodeRef, mode: u32) -> Result<()> {
        if vnode.file_type == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        self.change(vnode, |now| {
            let mode = perm::chmod(now, mode, self.judge())?;
            perm::changeable(now.protection)?;
            Ok(SetAttributes {
                mode: Some(mode),
                ..SetAttributes::default()
            })
        })
    }

    pub(crate) fn chown(
        &self,
        start: &Start,
        path: &[u8],
        (uid, gid): (Option<u32>, Option<u32>),
        follow: Follow,
    ) -> Result<()> {
        let vnode = self.resolve_or_self(start, path, follow)?;
        self.change(&vnode, |now| {
            let change = perm::chown(now, uid, gid, self.judge())?;
            perm::changeable(now.protection)?;
            Ok(change)
        })
    }

    pub(crate) fn utimens(
        &self,
        start: &Start,
        path: &[u8],
        (atime, mtime): (SetTime, SetTime),
        follow: Follow,
    ) -> Result<()> {
        let vnode = self.resolve_or_self(start, path, follow)?;
        // The ACL is read before the lock is taken.
        let writable = check_access(&vnode, self.judge(), Access::W);
        self.change(&vnode, |now| {
            perm::utimens(now, atime, mtime, self.judge(), || writable)?;
            let (atime, mtime) = vnode.mount.times((atime, mtime));
            Ok(SetAttributes {
                atime,
                mtime,
                ..SetAttributes::default()
            })
        })
    }

    pub(crate) fn setattr(
        &self,
        start: &Start,
        path: &[u8],
        wanted: &ChangeAttributes,
        follow: Follow,
    ) -> Result<()> {
        let vnode = self.resolve_or_self(start, path, follow)?;
        if wanted.mode.is_some() && vnode.file_type == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        let times = (wanted.atime, wanted.mtime);
        let writable = check_access(&vnode, self.judge(), Access::W);
        self.change(&vnode, |now| {
            let mut now = *now;
            let mut change = SetAttributes::default();
            if wanted.uid.is_some() || wanted.gid.is_some() {
                change = perm::chown(&now, wanted.uid, wanted.gid, self.judge())?;
                perm::changeable(now.protection)?;
                now.uid = change.uid.unwrap_or(now.uid);
                now.gid = change.gid.unwrap_or(now.gid);
                now.mode = change.mode.unwrap_or(now.mode);
            }
            if let Some(mode) = wanted.mode {
                change.mode = Some(perm::chmod(&now, mode, self.judge())?);
                perm::changeable(now.protection)?;
            }
            perm::utimens(&now, times.0, times.1, self.judge(), || writable)?;
            let (atime, mtime) = vnode.mount.times(times);
            Ok(SetAttributes {
                atime,
                mtime,
                ..change
            })
        })
    }

    pub(crate) fn chflags(
        &self,
        start: &Start,
        path: &[u8],
        flags: u32,
        follow: Follow,
    ) -> Result<()> {
        let vnode = self.resolve_or_self(start, path, follow)?;
        vnode.mount.writable()?;
        let mut inode = vnode.exclusive()?;
        let now = vnode.attributes_locked(&inode)?;
        perm::own(now.uid, self.judge())?;
        let set = |flags| SetAttributes {
            flags: Some(flags),
            ..SetAttributes::default()
        };
        if self.judge().is_root() {
            set_attributes(&vnode, &mut inode, set(flags))?;
        } else {
            // Only root sets or clears `immutable` and `append only`. Which flags those are is the format's: what came of
            // them is looked at, and taken back.
            perm::changeable(now.protection)?;
            set_attributes(&vnode, &mut inode, set(flags))?;
            if let Err(error) = perm::changeable(vnode.attributes_locked(&inode)?.protection) {
                set_attributes(&vnode, &mut inode, set(now.flags))?;
                return Err(error);
            }
        }
        drop(inode);
        vnode.mount.changed()
    }

    /// The project of a file.
    pub(crate) fn project(vnode: &Vnode) -> Result<u32> {
        vnode.mount.fs.project(&*vnode.shared()?)
    }

    /// Gives a file to a project.
    pub(crate) fn set_project(&self, vnode: &Vnode, project: u32) -> Result<()> {
        vnode.mount.writable()?;
        let mut inode = vnode.exclusive()?;
        let now = vnode.attributes_locked(&inode)?;
        perm::own(now.uid, self.judge())?;
        if vnode.mount.fs.project(&inode)? == project {
            return Ok(());
        }
        perm::extendable(now.protection)?;
        let change = SetAttributes {
            project: Some(project),
            ..SetAttributes::default()
        };
        set_attributes(vnode, &mut inode, change)?;
        drop(inode);
        vnode.mount.changed()
    }

    pub(crate) fn truncate(&self, path: &[u8], size: u64) -> Result<()> {
        let vnode = self.resolve(&None, path, Follow::Yes)?;
        if vnode.is_dir() {
            return Err(Errno::EISDIR);
        }
        if vnode.file_type != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        check_access(&vnode, self.judge(), Access::W)?;
        set_size(
            &vnode,
            size,
            self.cred.is_root(),
            vnode.mount.fs.space_for(&self.cred),
        )
    }

    pub(crate) fn access(
        &self,
        start: &Start,
        path: &[u8],
        access: Access,
        follow: Follow,
    ) -> Result<()> {
        let vnode = self.resolve_or_self(start, path, follow)?;
        if access.contains(Access::W) {
            let device = matches!(
                vnode.file_type,
                FileType::Fifo | FileType::Socket | FileType::Block | FileType::Character
            );
            if !device {
                vnode.mount.writable()?;
            }
            if vnode.attributes()?.protection.immutable {
                return Err(Errno::EPERM);
            }
        }
        check_access(&vnode, self.judge(), access)?;
        let noexec = vnode
            .mount
            .flags()
            .contains(crate::calls::MountFlags::NOEXEC);
        if access.contains(Access::X) && vnode.file_type == FileType::Regular && noexec {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// What a path leads to; an empty one to where it starts, if that is given.
    ///
    /// # Errors
    /// Those of paths.
    pub(crate) fn resolve_or_self(
        &self,
        start: &Start,
        path: &[u8],
        follow: Follow,
    ) -> Result<VnodeRef> {
        match start {
            Some(vnode) if path.is_empty() => Ok(vnode.clone()),
            _ => self.resolve(start, path, follow),
        }
    }
}
