//! What the faction keeps per process: current directory and root directory; and the context of a system call.

use crate::{
    calls::{At, Follow},
    fifo::FifoFile,
    file::VnodeFile,
    namecache::View,
    special::DeviceFile,
    vfs::Vfs,
    vnode::VnodeRef,
    walk::{Cached, Last, Walker, Way, split_last},
};
use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering};
use rumpkern::{Cred, Fd, Proc, proc::FactionData};
use rumpuser::{
    Errno, Result,
    sync::{CachePadded, RwLock},
};

/// Directories of a process.
pub(crate) struct ProcVfs {
    // Vnodes go before the caches that they may be put into.
    pub(crate) dirs: RwLock<Dirs>,
    /// How often `dirs` was changed.
    dirs_changes: AtomicU64,
    pub(crate) vfs: Arc<Vfs>,
}

/// `None` is the root directory of the kernel, whatever is mounted there.
#[derive(Clone, Default)]
pub(crate) struct Dirs {
    pub(crate) cwd: Option<VnodeRef>,
    pub(crate) root: Option<VnodeRef>,
}

impl ProcVfs {
    fn new(vfs: Arc<Vfs>, dirs: Dirs) -> Self {
        Self {
            dirs: RwLock::new(dirs),
            dirs_changes: AtomicU64::new(0),
            vfs,
        }
    }

    /// Changes the directories; what `change` gives back is dropped without the lock.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Dirs) -> R) {
        let mut dirs = self.dirs.write();
        let old = change(&mut dirs);
        self.dirs_changes.fetch_add(1, Ordering::Release);
        drop(dirs);
        drop(old);
    }
}

impl FactionData for ProcVfs {
    fn fork(&self) -> Box<dyn FactionData> {
        Box::new(Self::new(self.vfs.clone(), self.dirs.read().clone()))
    }
}

/// The faction's data of a process.
///
/// # Errors
/// `ENOSYS` when the kernel has no file systems.
pub(crate) fn data(proc: &Proc) -> Result<&ProcVfs> {
    if let Some(data) = proc.data() {
        return Ok(data);
    }
    let vfs = proc.kernel().service::<Vfs>().ok_or(Errno::ENOSYS)?;
    proc.data_or(|| ProcVfs::new(vfs, Dirs::default()))
}

/// What a lane knows of a process, brought up to date.
fn view<'l>(kept: &'l mut Option<View>, proc: &Proc, data: &ProcVfs) -> &'l View {
    let cred_changes = proc.cred_changes();
    let dirs_changes = data.dirs_changes.load(Ordering::Acquire);
    let own = proc.own_cred();
    let fresh = |v: &mut View| {
        let cred = match (&v.own_cred, own) {
            (None, None) => v.cred_changes == cred_changes,
            (Some(kept), Some(own)) => Arc::ptr_eq(kept, own),
            _ => false,
        };
        cred && v.pid == proc.getpid() && v.dirs_changes == dirs_changes
    };
    if let Some(view) = kept.take_if(|v| !fresh(v)) {
        drop(view);
    }
    kept.get_or_insert_with(|| {
        let dirs = data.dirs.read();
        View {
            pid: proc.getpid(),
            cred_changes,
            dirs_changes,
            own_cred: own.cloned(),
            cred: Arc::new(CachePadded(Cred::clone(&proc.cred()))),
            cwd: dirs.cwd.as_ref().map(|dir| dir.arc().clone()),
            root: dirs.root.as_ref().map(|dir| dir.arc().clone()),
        }
    })
}

/// Walks along cached names on behalf of a process, and then does `then` with what was found, under the lock of the lane.
///
/// # Errors
/// `ENOENT` when nothing is mounted; `ENOSYS` when the kernel has no file systems.
pub(crate) fn walk<R>(
    proc: &Proc,
    start: &Start,
    path: &[u8],
    follow: Follow,
    checks: Checks,
    then: impl FnOnce(Result<Cached<'_>>) -> R,
) -> Result<R> {
    let data = data(proc)?;
    let names = &data.vfs.caches.names;
    let mut lane = names.lane();
    let lane = &mut *lane;
    let view = view(&mut lane.view, proc, data);
    let top = lane.crossings.root.as_ref().ok_or(Errno::ENOENT)?;
    let root = view.root.as_ref().unwrap_or(top);
    let start = start.as_ref().map(VnodeRef::arc).or(view.cwd.as_ref());
    let way = Way {
        names,
        crossings: &lane.crossings,
        root,
        start: start.unwrap_or(top),
        cred: checks.judge(&view.cred),
    };
    Ok(way.along(&mut lane.names, path, follow, then))
}

/// Who checks permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// We do, by the credentials of the call.
    Here,
    /// Whoever calls has done so: here nothing is refused that the superuser may do.
    ByCaller,
}

impl Checks {
    /// The credentials that permissions are checked by.
    pub(crate) fn judge(self, cred: &Cred) -> &Cred {
        static ROOT: Cred = Cred::root();
        match self {
            Self::Here => cred,
            Self::ByCaller => &ROOT,
        }
    }
}

/// On whose behalf a system call runs.
pub(crate) struct Ctx<'p> {
    /// `None`: the kernel itself.
    proc: Option<(&'p Proc, &'p ProcVfs)>,
    pub(crate) vfs: &'p Arc<Vfs>,
    /// Who owns what is made, and whose blocks it takes. Permissions go by [`judge`](Self::judge).
    pub(crate) cred: Arc<CachePadded<Cred>>,
    pub(crate) umask: u32,
    pub(crate) checks: Checks,
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

impl<'p> Ctx<'p> {
    /// Of a process.
    ///
    /// # Errors
    /// `ENOSYS` when the kernel has no file systems.
    pub(crate) fn new(proc: &'p Proc) -> Result<Self> {
        let data = data(proc)?;
        let mut lane = data.vfs.caches.names.lane();
        let cred = view(&mut lane.view, proc, data).cred.clone();
        Ok(Self {
            proc: Some((proc, data)),
            vfs: &data.vfs,
            cred,
            umask: proc.get_umask(),
            checks: Checks::Here,
        })
    }

    /// Of a consumer that has checked permissions itself, and applies `umask`.
    ///
    /// # Errors
    /// `ENOSYS` when the kernel has no file systems.
    pub(crate) fn checked(proc: &'p Proc, umask: u32) -> Result<Self> {
        Ok(Self {
            umask,
            checks: Checks::ByCaller,
            ..Self::new(proc)?
        })
    }

    /// The credentials that permissions are checked by.
    pub(crate) fn judge(&self) -> &Cred {
        self.checks.judge(&self.cred)
    }

    /// Of the kernel itself: the superuser at the root.
    pub(crate) fn kernel(vfs: &'p Arc<Vfs>) -> Self {
        Self {
            proc: None,
            vfs,
            cred: Arc::new(CachePadded(Cred::root())),
            umask: 0,
            checks: Checks::Here,
        }
    }

    /// The process's root directory.
    ///
    /// # Errors
    /// `ENOENT` when nothing is mounted.
    pub(crate) fn root(&self) -> Result<VnodeRef> {
        let own = self
            .proc
            .and_then(|(_, data)| data.dirs.read().root.clone());
        own.map_or_else(|| self.vfs.root(), Ok)
    }

    /// The directory that a path starts at.
    ///
    /// # Errors
    /// `ENOENT` when nothing is mounted.
    pub(crate) fn start(&self, start: &Start) -> Result<VnodeRef> {
        if let Some(dir) = start {
            return Ok(dir.clone());
        }
        let own = self.proc.and_then(|(_, data)| data.dirs.read().cwd.clone());
        own.map_or_else(|| self.vfs.root(), Ok)
    }

    pub(crate) fn walker(&self) -> Walker<'_> {
        Walker::new(self)
    }

    /// What a path leads to, if cached names lead there.
    ///
    /// # Errors
    /// As [`Way::along`].
    pub(crate) fn resolve_cached(
        &self,
        start: &Start,
        path: &[u8],
        follow: Follow,
    ) -> Result<Option<VnodeRef>> {
        let Some((proc, _)) = self.proc else {
            return Ok(None);
        };
        walk(
            proc,
            start,
            path,
            follow,
            self.checks,
            |found| match found? {
                Cached::Found(vnode) => Ok(VnodeRef::acquire(vnode)),
                Cached::Stopped(..) => Ok(None),
            },
        )?
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// Those of paths.
    pub(crate) fn resolve(&self, start: &Start, path: &[u8], follow: Follow) -> Result<VnodeRef> {
        self.walker().resolve(start, path, follow)
    }

    /// The directory that a path's last component is in.
    ///
    /// # Errors
    /// Those of paths.
    pub(crate) fn parent<'path>(&self, start: &Start, path: &'path [u8]) -> Result<Parent<'path>> {
        let (prefix, last, slash) = split_last(path)?;
        let dir = self.walker().directory(start, prefix)?;
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
