//! `rename`.

use crate::{
    calls::{Access, RenameFlags},
    create::{CHANGED, Under, look_under_lock},
    erased::AnyFileSystem,
    fs::{Ino, Rename},
    name::Name,
    process::{Ctx, Parent, Start},
    vnode::{COVERED, Exclusive, Pending, REMOVED, VnodeRef},
    walk::{Last, check_access, parent_locked},
};
use alloc::vec::Vec;
use rumpuser::{Errno, Result};

/// Directories on the way to the root, at most: a longer way is damage.
const DEPTH_MAX: usize = 1 << 16;

/// A directory and those above it, up to the root of its mount.
struct Ancestors(Vec<Ino>);

impl Ancestors {
    /// Of a directory. The caller holds the rename lock of the mount, so that they stay.
    fn of(dir: &VnodeRef) -> Result<Self> {
        let mut all = Vec::from([dir.ino()]);
        let mut at = dir.clone();
        while !at.is_root() {
            at = parent_locked(&at)?;
            all.push(at.ino());
            if all.len() > DEPTH_MAX {
                return Err(Errno::EIO);
            }
        }
        Ok(Self(all))
    }

    fn contain(&self, vnode: &VnodeRef) -> bool {
        vnode.is_dir() && self.0.contains(&vnode.ino())
    }
}

impl Ctx<'_> {
    pub(crate) fn rename(
        &self,
        (from_start, from_path): (&Start, &[u8]),
        (to_start, to_path): (&Start, &[u8]),
        flags: RenameFlags,
    ) -> Result<()> {
        let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        if flags.contains(both) || !both.contains(flags) {
            return Err(Errno::EINVAL);
        }
        let from = self.parent(from_start, from_path)?;
        let to = self.parent(to_start, to_path)?;
        if from.dir.mount.id != to.dir.mount.id {
            return Err(Errno::EXDEV);
        }
        let (from_name, to_name) = (renamable(from.last)?, renamable(to.last)?);
        check_access(&from.dir, self.judge(), Access::X)?;
        check_access(&to.dir, self.judge(), Access::X)?;
        let mount = &from.dir.mount;
        mount.writable()?;
        let gone = if from.dir.same(&to.dir) {
            // Where inodes get other numbers, who looks for the parent of a directory must not meet the old one.
            let _one = mount.limits.folds.then(|| mount.rename.lock());
            let mut dir = from.dir.exclusive()?;
            self.rename_locked(
                (&from, from_name, &mut dir),
                (&to, to_name, None),
                None,
                flags,
            )
        } else {
            let _one = mount.rename.lock();
            let above_from = Ancestors::of(&from.dir)?;
            let above_to = Ancestors::of(&to.dir)?;
            let to_first = above_from.contain(&to.dir)
                || !above_to.contain(&from.dir) && to.dir.ino() < from.dir.ino();
            let (mut from_inode, mut to_inode);
            if to_first {
                to_inode = to.dir.exclusive()?;
                from_inode = from.dir.exclusive()?;
            } else {
                from_inode = from.dir.exclusive()?;
                to_inode = to.dir.exclusive()?;
            }
            self.rename_locked(
                (&from, from_name, &mut from_inode),
                (&to, to_name, Some(&mut to_inode)),
                Some((&above_from, &above_to)),
                flags,
            )
        };
        // What was replaced ends here, without a lock.
        drop(gone?);
        mount.changed()
    }

    /// Under the locks of the directories. Gives what was replaced.
    fn rename_locked(
        &self,
        (from, from_name, from_inode): (&Parent<'_>, Name<'_>, &mut Exclusive<'_>),
        (to, to_name, to_inode): (&Parent<'_>, Name<'_>, Option<&mut Exclusive<'_>>),
        above: Option<(&Ancestors, &Ancestors)>,
        flags: RenameFlags,
    ) -> Result<Option<VnodeRef>> {
        let Under::Entry(source, from_slot) = look_under_lock(&from.dir, from_inode, from_name)?
        else {
            return Err(Errno::ENOENT);
        };
        let looked = match &to_inode {
            Some(inode) => look_under_lock(&to.dir, inode, to_name)?,
            None => look_under_lock(&to.dir, from_inode, to_name)?,
        };
        let (mut target, to_slot) = match looked {
            Under::Entry(target, slot) => (Some(target), slot),
            Under::Absent(slot) => (None, slot),
        };
        if from.dir.mount.limits.folds && from_name.bytes() != to_name.bytes() {
            // The name takes another form, and that is all.
            target = target.filter(|target| !target.same(&source));
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        self.check_rename((from, &source), (to, target.as_ref()), above, flags)?;
        if target.as_ref().is_some_and(|target| target.same(&source)) {
            return Ok(None);
        }
        let mount = &from.dir.mount;
        let (mut inode, mut replaced) = lock_both(&source, target.as_ref())?;
        let mut to_inode = to_inode;
        let renamed = mount.fs.rename(Rename {
            from_dir: from_inode,
            to_dir: to_inode.as_deref_mut().map(|i| &mut **i),
            from: (from_name, from_slot),
            to: (to_name, to_slot),
            inode: &mut inode,
            replaced: replaced.as_deref_mut(),
            exchange,
            space: mount.fs.space_for(&self.cred),
            time: mount.now(),
        })?;
        if let (Some(target), Some(ino)) = (&target, renamed.replaced) {
            mount.rekey(target, ino);
        }
        if let Some(ino) = renamed.rekeyed {
            mount.rekey(&source, ino);
        }
        source.refresh(&inode, Pending::default());
        if let (Some(target), Some(inode)) = (&target, &replaced) {
            target.refresh(inode, Pending::default());
        }
        from.dir.refresh(from_inode, CHANGED);
        if let Some(inode) = &to_inode {
            to.dir.refresh(inode, CHANGED);
        }
        self.enter_renamed(
            (&from.dir, from_name, &source),
            (&to.dir, to_name, target.as_ref()),
            exchange,
        );
        drop((inode, replaced));
        Ok(target)
    }

    /// Has the name cache know what the names stand for by now.
    fn enter_renamed(
        &self,
        (from, from_name, source): (&VnodeRef, Name<'_>, &VnodeRef),
        (to, to_name, target): (&VnodeRef, Name<'_>, Option<&VnodeRef>),
        exchange: bool,
    ) {
        let names = &self.vfs.caches.names;
        let across = !from.same(to);
        let back = target.filter(|_| exchange).map(VnodeRef::arc);
        names.enter(from, from_name.bytes(), back);
        names.enter(to, to_name.bytes(), Some(source.arc()));
        if across && source.is_dir() {
            names.enter(source, b"..", Some(to.arc()));
        }
        if let Some(target) = target.filter(|target| target.is_dir()) {
            if !exchange {
                target.mark(REMOVED);
                names.forget(target, b"..");
            } else if across {
                names.enter(target, b"..", Some(from.arc()));
            }
        }
    }

    /// Whether the renaming is possible and allowed.
    fn check_rename(
        &self,
        (from, source): (&Parent<'_>, &VnodeRef),
        (to, target): (&Parent<'_>, Option<&VnodeRef>),
        above: Option<(&Ancestors, &Ancestors)>,
        flags: RenameFlags,
    ) -> Result<()> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        if let Some((above_from, above_to)) = above {
            if above_to.contain(source) {
                return Err(Errno::EINVAL);
            }
            if target.is_some_and(|target| above_from.contain(target)) {
                return Err(if exchange {
                    Errno::EINVAL
                } else {
                    Errno::ENOTEMPTY
                });
            }
        }
        if target.is_some() && flags.contains(RenameFlags::NOREPLACE) {
            return Err(Errno::EEXIST);
        }
        if target.is_none() && exchange {
            return Err(Errno::ENOENT);
        }
        let slash = from.slash || to.slash && !exchange;
        let back_slash = exchange && to.slash;
        if slash && !source.is_dir() || back_slash && !target.is_some_and(|t| t.is_dir()) {
            return Err(Errno::ENOTDIR);
        }
        self.may_remove(&from.dir, source)?;
        match target {
            Some(target) if target.same(source) => return Ok(()),
            Some(target) => {
                self.may_remove(&to.dir, target)?;
                match (source.is_dir(), target.is_dir()) {
                    _ if exchange => {}
                    (true, false) => return Err(Errno::ENOTDIR),
                    (false, true) => return Err(Errno::EISDIR),
                    _ => {}
                }
            }
            None => self.may_make(&to.dir)?,
        }
        let covered = |vnode: &VnodeRef| vnode.marked(COVERED) || vnode.is_root();
        if covered(source) || target.is_some_and(covered) {
            return Err(Errno::EBUSY);
        }
        // A directory that gets another parent is written itself.
        if above.is_some() {
            let moved = [Some(source), target.filter(|_| exchange)];
            for dir in moved.into_iter().flatten().filter(|v| v.is_dir()) {
                check_access(dir, self.judge(), Access::W)?;
            }
        }
        Ok(())
    }
}

/// A last component that can be renamed.
fn renamable(last: Last<'_>) -> Result<Name<'_>> {
    match last {
        Last::Name(name) => Ok(name),
        Last::Dot | Last::DotDot => Err(Errno::EINVAL),
        Last::Root => Err(Errno::EBUSY),
    }
}

/// Locks the moved and the replaced file, which are not above each other: directories first, then by number.
fn lock_both<'a>(
    source: &'a VnodeRef,
    target: Option<&'a VnodeRef>,
) -> Result<(Exclusive<'a>, Option<Exclusive<'a>>)> {
    let Some(target) = target else {
        return Ok((source.exclusive()?, None));
    };
    let rank = |vnode: &VnodeRef| (!vnode.is_dir(), vnode.ino());
    if rank(source) < rank(target) {
        let source = source.exclusive()?;
        Ok((source, Some(target.exclusive()?)))
    } else {
        let target = target.exclusive()?;
        Ok((source.exclusive()?, Some(target)))
    }
}
