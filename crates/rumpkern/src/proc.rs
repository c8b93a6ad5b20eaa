//! Processes: on whose behalf system calls are made.

use crate::{
    Kernel,
    border::Border,
    descriptor::{Closer, OpenFile, Table},
    file::File,
    kernel,
    lwp::Identity,
    types::OpenFlags,
};
use alloc::{sync::Arc, vec::Vec};
use core::{
    any::{Any, TypeId},
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
use rumpuser::{Result, sync::RwLock};

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

/// What a faction keeps per process, such as the current directory. A child gets what [`fork`](Self::fork) gives.
pub trait FactionData: Any + Send + Sync {
    /// The data of a child process.
    fn fork(&self) -> Arc<dyn FactionData>;
    /// Itself, for its faction.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Limits of a process (`setrlimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors that it may have: every descriptor is below this.
    pub open_files: usize,
    /// Largest offset that it may write at, in bytes: `EFBIG` past it.
    pub file_size: u64,
}

/// Descriptors that a process may have unless told otherwise.
const OPEN_FILES: usize = 65_536;

/// A process of a rump kernel. Its methods are system calls and may be called from any thread of the host. Cloning gives
/// another handle of the same process; when the last one goes, its descriptors are closed.
#[derive(Clone)]
pub struct Proc {
    pub(crate) inner: Arc<Inner>,
    pub(crate) kernel: Arc<kernel::Inner>,
    pub(crate) lwp: Identity,
}

/// A process without its kernel, so that the kernel can hold its first process.
pub(crate) struct Inner {
    pid: u32,
    border: Arc<Border>,
    /// Number of the last lwp.
    lwps: AtomicU64,
    cred: RwLock<Arc<Cred>>,
    umask: AtomicU32,
    open_files: AtomicUsize,
    file_size: AtomicU64,
    pub(crate) table: Table,
    data: RwLock<Vec<(TypeId, Arc<dyn FactionData>)>>,
}

impl Inner {
    pub(crate) fn first(border: &Arc<Border>) -> Self {
        Self {
            pid: 1,
            border: border.clone(),
            lwps: AtomicU64::new(1),
            cred: RwLock::new(Arc::new(Cred::root())),
            umask: AtomicU32::new(0o022),
            open_files: AtomicUsize::new(OPEN_FILES),
            file_size: AtomicU64::new(i64::MAX.unsigned_abs()),
            table: Table::default(),
            data: RwLock::default(),
        }
    }

    pub(crate) fn next_lwp(&self) -> u64 {
        self.lwps.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn open_files(&self) -> usize {
        self.open_files.load(Ordering::Relaxed)
    }

    pub(crate) fn exit(&self) -> Result<()> {
        let cred = self.cred.read().clone();
        self.table.close_where(
            |_| true,
            &Closer {
                cred: &cred,
                pid: self.pid,
                border: &self.border,
            },
        )
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; the file system has logged it.
        let _ = self.exit();
    }
}

impl Proc {
    /// The process's number.
    #[must_use]
    pub fn getpid(&self) -> u32 {
        self.inner.pid
    }

    /// Its kernel.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        Kernel {
            inner: self.kernel.clone(),
        }
    }

    /// The credentials that its calls are made with: those of the process, unless the [`Lwp`](crate::Lwp) has its own.
    #[must_use]
    pub fn cred(&self) -> Arc<Cred> {
        match &self.lwp.cred {
            Some(own) => own.clone(),
            None => self.inner.cred.read().clone(),
        }
    }

    /// Changes the credentials of the process. The consumer of a kernel decides who its processes are: nothing is checked.
    pub fn set_cred(&self, cred: Cred) {
        *self.inner.cred.write() = Arc::new(cred);
    }

    /// The file mode creation mask: permission bits that new files do not get.
    #[must_use]
    pub fn get_umask(&self) -> u32 {
        self.inner.umask.load(Ordering::Relaxed)
    }

    /// Sets the file mode creation mask (of which only 0o777 counts) and returns the old one.
    pub fn umask(&self, mask: u32) -> u32 {
        self.inner.umask.swap(mask & 0o777, Ordering::Relaxed)
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            open_files: self.inner.open_files(),
            file_size: self.inner.file_size.load(Ordering::Relaxed),
        }
    }

    /// Sets its limits. Descriptors above a lower limit stay open.
    pub fn set_limits(&self, limits: Limits) {
        self.inner
            .open_files
            .store(limits.open_files, Ordering::Relaxed);
        self.inner
            .file_size
            .store(limits.file_size, Ordering::Relaxed);
    }

    /// A child: it shares the open file descriptions and has copies of everything else.
    #[must_use]
    pub fn fork(&self) -> Self {
        let limits = self.limits();
        let data = self.inner.data.read();
        let inner = Inner {
            pid: self.kernel.next_pid(),
            border: self.inner.border.clone(),
            lwps: AtomicU64::new(1),
            cred: RwLock::new(self.cred()),
            umask: AtomicU32::new(self.get_umask()),
            open_files: AtomicUsize::new(limits.open_files),
            file_size: AtomicU64::new(limits.file_size),
            table: self.inner.table.fork(),
            data: RwLock::new(data.iter().map(|(id, d)| (*id, d.fork())).collect()),
        };
        Self {
            inner: Arc::new(inner),
            kernel: self.kernel.clone(),
            lwp: Identity::first(),
        }
    }

    /// Closes every descriptor.
    ///
    /// # Errors
    /// The first error of a file's close: `EIO`, `ENOSPC` of delayed writes. All are closed all the same.
    pub fn exit(&self) -> Result<()> {
        self.inner.exit()
    }

    /// Closes the descriptors marked close-on-exec.
    ///
    /// # Errors
    /// As [`exit`](Self::exit).
    pub fn exec(&self) -> Result<()> {
        let cred = self.cred();
        self.inner.table.close_where(
            |on| on,
            &Closer {
                cred: &cred,
                pid: self.inner.pid,
                border: &self.inner.border,
            },
        )
    }

    /// What a faction keeps for this process.
    #[must_use]
    pub fn data<T: FactionData>(&self) -> Option<Arc<T>> {
        let data = self.inner.data.read();
        let (_, found) = data.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        found.clone().as_any().downcast().ok()
    }

    /// What a faction keeps for this process, made by `new` the first time.
    pub fn data_or<T: FactionData>(&self, new: impl FnOnce() -> T) -> Arc<T> {
        if let Some(data) = self.data() {
            return data;
        }
        let made = Arc::new(new());
        let mut data = self.inner.data.write();
        if !data.iter().any(|(id, _)| *id == TypeId::of::<T>()) {
            data.push((TypeId::of::<T>(), made.clone()));
            return made;
        }
        drop(data);
        self.data().unwrap_or(made)
    }

    /// Gives a file the lowest free descriptor.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn fd_alloc(&self, file: Arc<dyn File>, flags: OpenFlags) -> Result<Fd> {
        let limit = self.inner.open_files();
        self.inner
            .table
            .install(file, flags, self.kernel.queues(), limit)
    }

    /// The open file description behind a descriptor.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn fd_file(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        self.inner.table.get(fd)
    }
}
