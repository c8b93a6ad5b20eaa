//! Extended attributes, with the name spaces of xattr(7).

use crate::{
    acl::{self, Acl},
    attr::set_attributes,
    calls::Access,
    erased::AnyFileSystem,
    fs::{SetAttributes, XattrMode},
    perm,
    process::Ctx,
    vnode::{Exclusive, Pending, Vnode, VnodeRef},
    walk::check_access,
};
use alloc::vec::Vec;
use rumpkern::FileType;
use rumpuser::{Errno, Result};

/// Longest name in bytes.
const NAME_MAX: usize = 255;
/// Largest value in bytes.
const VALUE_MAX: usize = 65_536;

/// Name spaces: who may do what with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    /// Access as to the file's data; regular files and directories only.
    User,
    /// The superuser's alone, invisible to others.
    Trusted,
    /// Read by all, written by the superuser.
    Security,
    /// An ACL: read by all, written by the owner.
    Acl(AclKind),
    /// What else the format keeps there: read by all, written by the superuser.
    System,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AclKind {
    Access,
    Default,
}

impl Namespace {
    /// Of a name.
    ///
    /// # Errors
    /// `ERANGE` for an empty or long name, `EINVAL` for one with NUL or without anything behind its prefix, `EOPNOTSUPP` for another name space.
    fn of(name: &[u8]) -> Result<Self> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Errno::ERANGE);
        }
        if name.contains(&0) {
            return Err(Errno::EINVAL);
        }
        let spaces: [(&[u8], Self); 4] = [
            (b"user.", Self::User),
            (b"trusted.", Self::Trusted),
            (b"security.", Self::Security),
            (b"system.", Self::System),
        ];
        let space = match name {
            acl::ACCESS => return Ok(Self::Acl(AclKind::Access)),
            acl::DEFAULT => return Ok(Self::Acl(AclKind::Default)),
            _ => spaces.iter().find(|(prefix, _)| name.starts_with(prefix)),
        };
        let &(prefix, space) = space.ok_or(Errno::EOPNOTSUPP)?;
        if name.len() == prefix.len() {
            return Err(Errno::EINVAL);
        }
        Ok(space)
    }
}

fn has_user_space(vnode: &Vnode) -> bool {
    matches!(vnode.file_type, FileType::Regular | FileType::Directory)
}

impl Ctx<'_> {
    pub(crate) fn getxattr(&self, vnode: &VnodeRef, name: &[u8]) -> Result<Vec<u8>> {
        match Namespace::of(name)? {
            Namespace::User => {
                if !has_user_space(vnode) {
                    return Err(Errno::ENOATTR);
                }
                check_access(vnode, self.judge(), Access::R)?;
            }
            Namespace::Trusted if !self.judge().is_root() => return Err(Errno::ENOATTR),
            _ => {}
        }
        let inode = vnode.shared()?;
        vnode.mount.fs.get_xattr(&inode, name)
    }

    pub(crate) fn listxattr(&self, vnode: &VnodeRef) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let inode = vnode.shared()?;
        vnode.mount.fs.list_xattrs(&inode, &mut |name| {
            if self.judge().is_root() || !name.starts_with(b"trusted.") {
                names.push(name.to_vec());
            }
        })?;
        Ok(names)
    }

    /// Whether an attribute may be changed.
    fn may_change(&self, vnode: &VnodeRef, namespace: Namespace) -> Result<()> {
        vnode.mount.writable()?;
        perm::changeable(vnode.attributes()?.protection)?;
        match namespace {
            Namespace::User => {
                if !has_user_space(vnode) {
                    return Err(Errno::EPERM);
                }
                // Attributes of a sticky directory are its owner's.
                let owner = vnode.owner();
                if vnode.is_dir() && owner.mode & perm::STICKY != 0 {
                    perm::own(owner.uid, self.judge())?;
                }
                check_access(vnode, self.judge(), Access::W)
            }
            Namespace::Acl(kind) => {
                if vnode.file_type == FileType::Symlink {
                    return Err(Errno::EOPNOTSUPP);
                }
                if kind == AclKind::Default && !vnode.is_dir() {
                    return Err(Errno::EACCES);
                }
                perm::own(vnode.owner().uid, self.judge())
            }
            Namespace::Trusted | Namespace::Security | Namespace::System => {
                if self.judge().is_root() {
                    Ok(())
                } else {
                    Err(Errno::EPERM)
                }
            }
        }
    }

    pub(crate) fn setxattr(
        &self,
        vnode: &VnodeRef,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        let namespace = Namespace::of(name)?;
        if value.len() > VALUE_MAX {
            return Err(Errno::E2BIG);
        }
        self.may_change(vnode, namespace)?;
        let mut inode = vnode.exclusive()?;
        if let Namespace::Acl(kind) = namespace {
            let acl = Acl::parse(value)?;
            self.set_acl(vnode, &mut inode, kind, acl)?;
        } else {
            let now = vnode.mount.now();
            let fs = &vnode.mount.fs;
            fs.set_xattr(&mut inode, name, value, mode, fs.space_for(&self.cred), now)?;
            vnode.refresh(&inode, Pending::default());
        }
        drop(inode);
        vnode.mount.changed()
    }

    pub(crate) fn removexattr(&self, vnode: &VnodeRef, name: &[u8]) -> Result<()> {
        let namespace = Namespace::of(name)?;
        self.may_change(vnode, namespace)?;
        let mut inode = vnode.exclusive()?;
        let now = vnode.mount.now();
        vnode.mount.fs.remove_xattr(&mut inode, name, now)?;
        forget_acls(vnode);
        vnode.refresh(&inode, Pending::default());
        drop(inode);
        vnode.mount.changed()
    }

    /// Sets an ACL; an access ACL sets the permission bits as well, and is not kept if it says no more than they do.
    fn set_acl(
        &self,
        vnode: &VnodeRef,
        inode: &mut Exclusive<'_>,
        kind: AclKind,
        acl: Option<Acl>,
    ) -> Result<()> {
        let fs = &vnode.mount.fs;
        let now = vnode.mount.now();
        let (name, kept) = match kind {
            AclKind::Access => (acl::ACCESS, acl.as_ref().filter(|acl| !acl.is_minimal())),
            AclKind::Default => (acl::DEFAULT, acl.as_ref()),
        };
        let stored = match kept {
            Some(acl) => fs.set_xattr(
                inode,
                name,
                &acl.bytes(),
                XattrMode::Set,
                fs.space_for(&self.cred),
                now,
            ),
            None => match fs.remove_xattr(inode, name, now) {
                Err(Errno::ENOATTR) => Ok(()),
                other => other,
            },
        };
        forget_acls(vnode);
        vnode.refresh(inode, Pending::default());
        stored?;
        let Some(acl) = acl.filter(|_| kind == AclKind::Access) else {
            return Ok(());
        };
        let attributes = vnode.attributes_locked(inode)?;
        // As chmod(): a foreign group's set-group-id bit goes.
        let mode = attributes.mode & !0o777 | acl.mode();
        let change = SetAttributes {
            mode: Some(perm::chmod_of_acl(
                &attributes,
                mode,
                self.judge(),
                &self.cred,
            )?),
            ..SetAttributes::default()
        };
        set_attributes(vnode, inode, change)
    }
}

fn forget_acls(vnode: &Vnode) {
    vnode.extra.lock().forget_acls();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_spaces() {
        assert_eq!(Namespace::of(b"user.x"), Ok(Namespace::User));
        assert_eq!(
            Namespace::of(b"system.posix_acl_access"),
            Ok(Namespace::Acl(AclKind::Access))
        );
        assert_eq!(Namespace::of(b"system.x"), Ok(Namespace::System));
        assert_eq!(Namespace::of(b"user."), Err(Errno::EINVAL));
        assert_eq!(Namespace::of(b"plain"), Err(Errno::EOPNOTSUPP));
        assert_eq!(Namespace::of(b""), Err(Errno::ERANGE));
        assert_eq!(Namespace::of(&[b'x'; 256]), Err(Errno::ERANGE));
    }
}
