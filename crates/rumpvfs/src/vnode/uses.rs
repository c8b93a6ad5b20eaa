//! Uses of a vnode, and its inode under the lock.

use super::{DYING, Vnode};
use crate::{erased::AnyInode, mount::Mount};
use alloc::sync::Arc;
use core::{
    ops::{Deref, DerefMut},
    sync::atomic::Ordering,
};
use rumpuser::{
    Errno, Result,
    sleep::{SleepReadGuard, SleepWriteGuard},
};

/// A use of a vnode.
pub(crate) struct VnodeRef(Arc<Vnode>);

impl VnodeRef {
    /// The first use of a vnode, which nobody else knows of yet.
    pub(crate) fn first(mut vnode: Vnode) -> Self {
        *vnode.users.get_mut() = 1;
        Self(Arc::new(vnode))
    }

    /// Uses a vnode, unless it is on its way out.
    pub(crate) fn acquire(vnode: &Arc<Vnode>) -> Option<Self> {
        let mut users = vnode.users.load(Ordering::Relaxed);
        loop {
            if users == DYING {
                return None;
            }
            match vnode.users.compare_exchange_weak(
                users,
                users + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(Self(vnode.clone())),
                Err(now) => users = now,
            }
        }
    }

    pub(crate) fn arc(&self) -> &Arc<Vnode> {
        &self.0
    }

    pub(crate) fn same(&self, other: &Vnode) -> bool {
        self.0.id == other.id
    }
}

impl Clone for VnodeRef {
    fn clone(&self) -> Self {
        self.0.users.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for VnodeRef {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.mount.idle(&self.0);
        }
    }
}

impl Deref for VnodeRef {
    type Target = Vnode;
    fn deref(&self) -> &Vnode {
        &self.0
    }
}

impl Vnode {
    /// Takes the inode for reading.
    ///
    /// # Errors
    /// `EIO` when the mount is gone or out of service.
    pub(crate) fn shared(&self) -> Result<Shared<'_>> {
        let inode = self.inode.read();
        if !inode.is_live() || self.mount.fs.is_dead() {
            return Err(Errno::EIO);
        }
        let mount = &self.mount;
        Ok(Shared { inode, mount })
    }

    /// Takes the inode for changing.
    ///
    /// # Errors
    /// `EIO` when the mount is gone or out of service.
    pub(crate) fn exclusive(&self) -> Result<Exclusive<'_>> {
        let inode = self.inode.write();
        if !inode.is_live() || self.mount.fs.is_dead() {
            return Err(Errno::EIO);
        }
        let mount = &self.mount;
        Ok(Exclusive { inode, mount })
    }
}

/// A live inode, locked for reading.
pub(crate) struct Shared<'a> {
    inode: SleepReadGuard<'a, AnyInode>,
    mount: &'a Mount,
}

impl Deref for Shared<'_> {
    type Target = AnyInode;
    fn deref(&self) -> &AnyInode {
        &self.inode
    }
}

/// A live inode, locked for changing.
pub(crate) struct Exclusive<'a> {
    inode: SleepWriteGuard<'a, AnyInode>,
    mount: &'a Mount,
}

impl Deref for Exclusive<'_> {
    type Target = AnyInode;
    fn deref(&self) -> &AnyInode {
        &self.inode
    }
}

impl DerefMut for Exclusive<'_> {
    fn deref_mut(&mut self) -> &mut AnyInode {
        &mut self.inode
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.mount.let_go();
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.mount.let_go();
    }
}
