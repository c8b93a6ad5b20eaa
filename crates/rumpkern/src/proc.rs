//! Processes: on whose behalf system calls are made.

use crate::Kernel;
use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use rumpuser::sync::RwLock;

/// A file descriptor.
pub type Fd = u32;

/// Credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cred {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Cred {
    /// The superuser's.
    #[must_use]
    pub const fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        }
    }

    /// Whether these are the superuser's.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether `gid` is the group or one of the supplementary groups.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// A process of a rump kernel. Its methods are system calls and may be called from any thread of the host. Cloning gives
/// another handle of the same process.
#[derive(Clone)]
pub struct Proc {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    kernel: Weak<crate::kernel::Inner>,
    pid: u32,
    cred: RwLock<Arc<Cred>>,
}

impl Proc {
    pub(crate) fn first(kernel: &Kernel) -> Self {
        Self {
            inner: Arc::new(Inner {
                kernel: Arc::downgrade(&kernel.inner),
                pid: 1,
                cred: RwLock::new(Arc::new(Cred::root())),
            }),
        }
    }

    /// The process's number.
    #[must_use]
    pub fn getpid(&self) -> u32 {
        self.inner.pid
    }

    /// Its credentials.
    #[must_use]
    pub fn cred(&self) -> Arc<Cred> {
        self.inner.cred.read().clone()
    }

    /// Its kernel.
    ///
    /// # Panics
    /// When the kernel is gone.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        Kernel {
            inner: self
                .inner
                .kernel
                .upgrade()
                .expect("the kernel of this process is gone"),
        }
    }
}
