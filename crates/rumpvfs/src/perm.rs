//! Who may do what: pure functions on attributes and credentials.

use crate::{
    acl::Acl,
    calls::{Access, SetTime},
    fs::{Attributes, Protection, SetAttributes},
    vnode::Owner,
};
use rumpkern::{Cred, FileType};
use rumpuser::{Errno, Result};

/// Set user id on execution.
pub(crate) const SETUID: u32 = 0o4000;
/// Set group id on execution; on a directory: new files inherit its group.
pub(crate) const SETGID: u32 = 0o2000;
/// Only owners may remove names.
pub(crate) const STICKY: u32 = 0o1000;

/// Access by mode bits and ACL. The superuser may read, write and search everything and execute what anybody may.
///
/// # Errors
/// `EACCES`.
pub(crate) fn access(owner: &Owner, acl: Option<&Acl>, cred: &Cred, want: Access) -> Result<()> {
    let granted = if cred.is_root() {
        !want.contains(Access::X)
            || owner.file_type == FileType::Directory
            || owner.mode & 0o111 != 0
    } else if let Some(acl) = acl {
        acl.grants(owner.uid, owner.gid, cred, want)
    } else {
        let class = if cred.uid == owner.uid {
            owner.mode >> 6
        } else if cred.in_group(owner.gid) {
            owner.mode >> 3
        } else {
            owner.mode
        };
        class & want.bits() == want.bits()
    };
    if granted { Ok(()) } else { Err(Errno::EACCES) }
}

/// Whether `cred` may remove or replace a name of `file` in `dir`, as far as the sticky bit is concerned.
///
/// # Errors
/// `EPERM`.
pub(crate) fn sticky(dir: &Owner, file: &Owner, cred: &Cred) -> Result<()> {
    let free = dir.mode & STICKY == 0;
    if free || cred.is_root() || cred.uid == dir.uid || cred.uid == file.uid {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// # Errors
/// `EPERM` when nothing of the file may be changed, or only its data appended.
pub(crate) fn changeable(protection: Protection) -> Result<()> {
    if protection.immutable || protection.append_only {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// # Errors
/// `EPERM` for a directory that takes no new names.
pub(crate) fn extendable(protection: Protection) -> Result<()> {
    if protection.immutable {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// # Errors
/// `EPERM` unless the owner or root asks.
pub(crate) fn own(uid: u32, cred: &Cred) -> Result<()> {
    if cred.is_root() || cred.uid == uid {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// The mode that `chmod` to `mode` sets.
///
/// # Errors
/// `EPERM` unless the owner or root asks.
pub(crate) fn chmod(now: &Attributes, mode: u32, cred: &Cred) -> Result<u32> {
    own(now.uid, cred)?;
    let mut mode = mode & 0o7777;
    // POSIX chmod(): set-group-id of a group that the caller is not in is cleared.
    if !cred.is_root() && !cred.in_group(now.gid) {
        mode &= !SETGID;
    }
    Ok(mode)
}

/// The mode that an access ACL sets: as [`chmod`], which `judge` decides on, but the set-group-id bit of a group that `asker` is not in goes
/// whoever checked.
///
/// # Errors
/// As `chmod`.
pub(crate) fn chmod_of_acl(now: &Attributes, mode: u32, judge: &Cred, asker: &Cred) -> Result<u32> {
    let mode = chmod(now, mode, judge)?;
    let keeps = asker.is_root() || asker.in_group(now.gid);
    Ok(if keeps { mode } else { mode & !SETGID })
}

/// The change that `chown` makes.
///
/// # Errors
/// `EPERM`: only root gives files away; the owner may set a group that they are in.
pub(crate) fn chown(
    now: &Attributes,
    uid: Option<u32>,
    gid: Option<u32>,
    cred: &Cred,
) -> Result<SetAttributes> {
    if !cred.is_root() {
        let gives_away = uid.is_some_and(|uid| uid != now.uid);
        let foreign_group = gid.is_some_and(|gid| gid != now.gid && !cred.in_group(gid));
        if gives_away || foreign_group || cred.uid != now.uid {
            return Err(Errno::EPERM);
        }
    }
    // Root may keep the set-id bits, as on NetBSD; POSIX leaves that open.
    let cleared = now.mode & !(SETUID | SETGID);
    let clears = !cred.is_root() && now.file_type != FileType::Directory && cleared != now.mode;
    Ok(SetAttributes {
        uid,
        gid,
        mode: clears.then_some(cleared),
        ..SetAttributes::default()
    })
}

/// Whether `utimensat` may set these times; `writable` tells whether the caller may write the file.
///
/// # Errors
/// `EPERM` for given times, `EACCES` for the present, `EINVAL` for nanoseconds of a second or more.
pub(crate) fn utimens(
    now: &Attributes,
    atime: SetTime,
    mtime: SetTime,
    cred: &Cred,
    writable: impl FnOnce() -> Result<()>,
) -> Result<()> {
    for time in [atime, mtime] {
        if let SetTime::To(time) = time
            && time.nsec >= 1_000_000_000
        {
            return Err(Errno::EINVAL);
        }
    }
    match (atime, mtime) {
        (SetTime::Omit, SetTime::Omit) => Ok(()),
        (SetTime::Now, SetTime::Now) => {
            if now.protection.immutable {
                return Err(Errno::EPERM);
            }
            own(now.uid, cred).or_else(|_| writable())
        }
        _ => {
            changeable(now.protection)?;
            own(now.uid, cred)
        }
    }
}

/// The mode after data was changed by `cred`: set-id bits go, unless root wrote. `None` when it stays.
pub(crate) fn mode_after_write(owner: &Owner, privileged: bool) -> Option<u32> {
    if privileged || owner.mode & (SETUID | SETGID) == 0 {
        return None;
    }
    let mut mode = owner.mode & !SETUID;
    // Without group execution the bit is no set-group-id (it once meant mandatory locking).
    if mode & 0o010 != 0 {
        mode &= !SETGID;
    }
    (mode != owner.mode).then_some(mode)
}

/// Group of a new file and its mode (with the set-group-id bit for directories), in a directory.
pub(crate) fn new_owner(dir: &Owner, directory: bool, mode: u32, cred: &Cred) -> (u32, u32) {
    // System V rules: a set-group-id directory hands on its group, and to directories the bit.
    let inherits = dir.mode & SETGID != 0;
    let gid = if inherits { dir.gid } else { cred.gid };
    let mut mode = mode & 0o7777;
    if directory {
        mode &= !SETGID;
        if inherits {
            mode |= SETGID;
        }
    } else if mode & (SETGID | 0o010) == SETGID | 0o010 && !cred.is_root() && !cred.in_group(gid) {
        mode &= !SETGID;
    }
    (gid, mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn owner(file_type: FileType, mode: u32) -> Owner {
        Owner {
            file_type,
            mode,
            uid: 10,
            gid: 20,
            has_acl: false,
        }
    }

    fn cred(uid: u32, gid: u32) -> Cred {
        Cred {
            uid,
            gid,
            groups: Vec::new(),
        }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let file = owner(FileType::Regular, 0o077);
        assert_eq!(
            access(&file, None, &cred(10, 20), Access::R),
            Err(Errno::EACCES)
        );
        assert_eq!(access(&file, None, &cred(11, 20), Access::R), Ok(()));
        let file = owner(FileType::Regular, 0o604);
        assert_eq!(
            access(&file, None, &cred(11, 20), Access::R),
            Err(Errno::EACCES)
        );
        assert_eq!(access(&file, None, &cred(11, 21), Access::R), Ok(()));
    }

    #[test]
    fn root_executes_what_anybody_may() {
        let root = Cred::root();
        let plain = owner(FileType::Regular, 0o666);
        assert_eq!(access(&plain, None, &root, Access::X), Err(Errno::EACCES));
        assert_eq!(access(&plain, None, &root, Access::W), Ok(()));
        let program = owner(FileType::Regular, 0o001);
        assert_eq!(access(&program, None, &root, Access::X), Ok(()));
        let dir = owner(FileType::Directory, 0);
        assert_eq!(access(&dir, None, &root, Access::X), Ok(()));
    }

    #[test]
    fn sticky_directories_protect_names() {
        let mut dir = owner(FileType::Directory, 0o1777);
        dir.uid = 0;
        let file = owner(FileType::Regular, 0o666);
        assert_eq!(sticky(&dir, &file, &cred(10, 0)), Ok(()));
        assert_eq!(sticky(&dir, &file, &cred(11, 0)), Err(Errno::EPERM));
        assert_eq!(sticky(&dir, &file, &Cred::root()), Ok(()));
        dir.uid = 11;
        assert_eq!(sticky(&dir, &file, &cred(11, 0)), Ok(()));
    }

    #[test]
    fn writing_takes_set_id_bits_away() {
        let after = |mode| mode_after_write(&owner(FileType::Regular, mode), false);
        assert_eq!(after(0o755), None);
        assert_eq!(after(0o6755), Some(0o755));
        assert_eq!(after(0o2744), None);
        assert_eq!(
            mode_after_write(&owner(FileType::Regular, 0o6755), true),
            None
        );
    }

    #[test]
    fn groups_are_inherited_by_the_bit() {
        let who = cred(11, 21);
        let plain = owner(FileType::Directory, 0o755);
        let shared = owner(FileType::Directory, 0o2755);
        assert_eq!(new_owner(&plain, true, 0o755, &who), (21, 0o755));
        assert_eq!(new_owner(&shared, true, 0o755, &who), (20, 0o2755));
        assert_eq!(new_owner(&shared, false, 0o2755, &who), (20, 0o755));
        assert_eq!(new_owner(&shared, false, 0o2745, &who), (20, 0o2745));
    }
}
