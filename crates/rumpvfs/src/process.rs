//! What the faction keeps per process: current directory and root directory; and the context of a system call.

use crate::{
    calls::{At, Follow},
    fifo::FifoFile,
    file::VnodeFile,
    special::DeviceFile,
    vfs::Vfs,
    vnode::VnodeRef,
    walk::{Last, Walker, split_last},
};
use alloc::sync::Arc;
use core::any::Any;
use rumpkern::{Cred, Fd, Proc, proc::FactionData};
use rumpuser::{Errno, Result, sync::RwLock};

/// Directories of a process.
pub(crate) struct ProcVfs {
    // Vnodes go before the caches that they may be put into.
    pub(crate) dirs: RwLock<Dirs>,
    pub(crate) vfs: Arc<Vfs>,
}

/// `None` is the root directory of the kernel, whatever is mounted there.
#[derive(Clone, Default)]
pub(crate) struct Dirs {
    pub(crate) cwd: Option<VnodeRef>,
    pub(crate) root: Option<VnodeRef>,
}

impl FactionData for ProcVfs {
    fn fork(&self) -> Arc<dyn FactionData> {
        Arc::new(Self {
            vfs: self.vfs.clone(),
            dirs: RwLock::new(self.dirs.read().clone()),
        })
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The faction's data of a process.
///
/// # Errors
/// `ENOSYS` when the kernel has no file systems.
pub(crate) fn data(proc: &Proc) -> Result<Arc<ProcVfs>> {
    if let Some(data) = proc.data() {
        return Ok(data);
    }
    let vfs = proc.kernel().service::<Vfs>().ok_or(Errno::ENOSYS)?;
    Ok(proc.data_or(|| ProcVfs {
        vfs,
        dirs: RwLock::default(),
    }))
}

/// On whose behalf a system call runs.
pub(crate) struct Ctx {
    dirs: Dirs,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) cred: Arc<Cred>,
    pub(crate) umask: u32,
}

/// The directory and last component of a path.
pub(crate) struct Parent<'p> {
    pub(crate) dir: VnodeRef,
    pub(crate) last: Last<'p>,
    /// Slashes follow: it must be, or become, a directory.
    pub(crate) slash: bool,
}

/// Where a relative path starts: `None` is the current directory.
pub(crate) type Start = Option<VnodeRef>;

impl Ctx {
    /// Of a process.
    ///
    /// # Errors
    /// `ENOSYS` when the kernel has no file systems.
    pub(crate) fn new(proc: &Proc) -> Result<Self> {
        let data = data(proc)?;
        let dirs = data.dirs.read().clone();
        Ok(Self {
            vfs: data.vfs.clone(),
            cred: proc.cred(),
            umask: proc.get_umask(),
            dirs,
        })
    }

    /// Of the kernel itself: the superuser at the root.
    pub(crate) fn kernel(vfs: &Arc<Vfs>) -> Self {
        Self {
            vfs: vfs.clone(),
            cred: Arc::new(Cred::root()),
            umask: 0,
            dirs: Dirs::default(),
        }
    }

    /// The process's root directory.
    ///
    /// # Errors
    /// `ENOENT` when nothing is mounted.
    pub(crate) fn root(&self) -> Result<VnodeRef> {
        match &self.dirs.root {
            Some(root) => Ok(root.clone()),
            None => self.vfs.root(),
        }
    }

    /// The directory that a path starts at.
    ///
    /// # Errors
    /// `ENOENT` when nothing is mounted.
    pub(crate) fn start(&self, start: &Start) -> Result<VnodeRef> {
        match start.as_ref().or(self.dirs.cwd.as_ref()) {
            Some(dir) => Ok(dir.clone()),
            None => self.vfs.root(),
        }
    }

    pub(crate) fn walker(&self) -> Result<Walker<'_>> {
        Ok(Walker::new(&self.vfs.caches, &self.cred, self.root()?))
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// Those of paths.
    pub(crate) fn resolve(&self, start: &Start, path: &[u8], follow: Follow) -> Result<VnodeRef> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let start = self.start(start)?;
        self.walker()?.resolve(&start, path, follow)
    }

    /// The directory that a path's last component is in.
    ///
    /// # Errors
    /// Those of paths.
    pub(crate) fn parent<'p>(&self, start: &Start, path: &'p [u8]) -> Result<Parent<'p>> {
        let (prefix, last, slash) = split_last(path)?;
        let start = self.start(start)?;
        let dir = self.walker()?.resolve_dir(&start, prefix)?;
        Ok(Parent { dir, last, slash })
    }
}

/// The start of a path.
///
/// # Errors
/// `EBADF`; `ENOTDIR` for a descriptor that is no vnode's.
pub(crate) fn start(proc: &Proc, at: At) -> Result<Start> {
    match at {
        At::Cwd => Ok(None),
        At::Fd(fd) => vnode_of(proc, fd).map(Some).map_err(|error| {
            if error == Errno::EINVAL {
                Errno::ENOTDIR
            } else {
                error
            }
        }),
    }
}

/// The vnode behind a descriptor.
///
/// # Errors
/// `EBADF`; `EINVAL` for what is no vnode.
pub(crate) fn vnode_of(proc: &Proc, fd: Fd) -> Result<VnodeRef> {
    let open = proc.fd_file(fd)?;
    let file = match open.file().clone().as_any().downcast::<VnodeFile>() {
        Ok(file) => return Ok(file.vnode.clone()),
        Err(other) => other,
    };
    let file = match file.downcast::<DeviceFile>() {
        Ok(file) => return Ok(file.node.clone()),
        Err(other) => other,
    };
    match file.downcast::<FifoFile>() {
        Ok(file) => Ok(file.vnode.clone()),
        Err(_) => Err(Errno::EINVAL),
    }
}
