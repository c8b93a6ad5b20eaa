//! Processes: on whose behalf system calls are made.

use crate::{
    Kernel,
    border::Border,
    descriptor::{Closer, OpenFile, Reserved, Table},
    file::File,
    kernel,
    lwp::Identity,
    types::OpenFlags,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::Any,
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
use rumpuser::{
    Errno, Host, Result,
    sync::{Once, RwLock},
};

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
    fn fork(&self) -> Box<dyn FactionData>;
}

/// Limits of a process (`setrlimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors that it may have: every descriptor is below this.
    pub open_files: usize,
    /// Largest offset that it may write at, in bytes: `EFBIG` past it.
    pub file_size: u64,
}

/// Factions that can keep something per process.
const FACTIONS: usize = 4;

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
    ppid: u32,
    border: Arc<Border>,
    /// Number of the last lwp.
    lwps: AtomicU64,
    cred: RwLock<Arc<Cred>>,
    cred_changes: AtomicU64,
    umask: AtomicU32,
    open_files: AtomicUsize,
    file_size: AtomicU64,
    pub(crate) table: Table,
    data: [Once<Box<dyn FactionData>>; FACTIONS],
}

impl Inner {
    pub(crate) fn first(border: &Arc<Border>) -> Self {
        Self {
            pid: 1,
            ppid: 0,
            border: border.clone(),
            lwps: AtomicU64::new(1),
            cred: RwLock::new(Arc::new(Cred::root())),
            cred_changes: AtomicU64::new(0),
            umask: AtomicU32::new(0o022),
            open_files: AtomicUsize::new(OPEN_FILES),
            file_size: AtomicU64::new(i64::MAX.unsigned_abs()),
            table: Table::default(),
            data: Default::default(),
        }
    }

    pub(crate) fn next_lwp(&self) -> u64 {
        self.lwps.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) const fn border(&self) -> &Arc<Border> {
        &self.border
    }

    pub(crate) fn open_files(&self) -> usize {
        self.open_files.load(Ordering::Relaxed)
    }

    fn closer(&self) -> Closer<'_> {
        Closer {
            pid: self.pid,
            border: &self.border,
        }
    }

    /// Closes the descriptors that `which` picks by their close-on-exec flag, and what is open without one.
    fn close_where(&self, which: impl Fn(bool) -> bool) -> Result<()> {
        let closer = self.closer();
        let result = self.table.close_where(which, &closer);
        result.and(self.table.close_shelf(&closer))
    }

    pub(crate) fn exit(&self) -> Result<()> {
        self.close_where(|_| true)
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

    /// The number of the process that it was forked from; 0 of the first. It stays when that process ends: nothing here waits
    /// for children.
    #[must_use]
    pub fn getppid(&self) -> u32 {
        self.inner.ppid
    }

    /// Its kernel.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        Kernel {
            inner: self.kernel.clone(),
        }
    }

    /// The host of its kernel.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        self.kernel.host()
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
        let mut now = self.inner.cred.write();
        *now = Arc::new(cred);
        self.inner.cred_changes.fetch_add(1, Ordering::Release);
    }

    /// How often the credentials were changed: who keeps a copy, read after this number, knows by it whether it is old.
    #[must_use]
    pub fn cred_changes(&self) -> u64 {
        self.inner.cred_changes.load(Ordering::Acquire)
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
        let inner = Inner {
            pid: self.kernel.next_pid(),
            ppid: self.inner.pid,
            border: self.inner.border.clone(),
            lwps: AtomicU64::new(1),
            cred: RwLock::new(self.cred()),
            cred_changes: AtomicU64::new(0),
            umask: AtomicU32::new(self.get_umask()),
            open_files: AtomicUsize::new(limits.open_files),
            file_size: AtomicU64::new(limits.file_size),
            table: self.inner.table.fork(),
            data: self.inner.data.each_ref().map(|data| {
                data.get()
                    .map_or_else(Once::new, |d| Once::initialized(d.fork()))
            }),
        };
        Self {
            inner: Arc::new(inner),
            kernel: self.kernel.clone(),
            lwp: Identity::first(),
        }
    }

    /// Closes every descriptor, and what is open without one.
    ///
    /// # Errors
    /// The first error of a file's close: `EIO`, `ENOSPC` of delayed writes. All are closed all the same.
    pub fn exit(&self) -> Result<()> {
        self.inner.exit()
    }

    /// Closes the descriptors marked close-on-exec, and what is open without one.
    ///
    /// # Errors
    /// As [`exit`](Self::exit).
    pub fn exec(&self) -> Result<()> {
        self.inner.close_where(|on| on)
    }

    /// What a faction keeps for this process.
    #[must_use]
    pub fn data<T: FactionData>(&self) -> Option<&T> {
        let all = self.inner.data.iter().map_while(Once::get);
        all.map(|data| &**data as &dyn Any)
            .find_map(|data| data.downcast_ref())
    }

    /// What a faction keeps for this process, made by `new` the first time.
    ///
    /// # Errors
    /// `ENOMEM` when there are more factions than a process has room for.
    pub fn data_or<T: FactionData>(&self, new: impl FnOnce() -> T) -> Result<&T> {
        if let Some(data) = self.data() {
            return Ok(data);
        }
        let mut made: Option<Box<dyn FactionData>> = Some(Box::new(new()));
        for place in &self.inner.data {
            // Another thread may be first, for this or for another faction.
            let data = place.try_call_once(|| made.take().ok_or(Errno::ENOMEM))?;
            let data: &dyn Any = &**data;
            if let Some(data) = data.downcast_ref() {
                return Ok(data);
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Takes the lowest free descriptor, for a file that is about to be opened.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn fd_reserve(&self) -> Result<Reserved<'_>> {
        let limit = self.inner.open_files();
        let (queues, host) = (self.kernel.queues(), self.inner.border.host());
        self.inner.table.reserve(0, limit, queues, host)
    }

    /// Gives a file the lowest free descriptor.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn fd_alloc(&self, file: Arc<dyn File>, flags: OpenFlags) -> Result<Fd> {
        Ok(self.fd_reserve()?.fill(file, flags))
    }

    pub(crate) fn closer(&self) -> Closer<'_> {
        self.inner.closer()
    }

    /// The open file description behind a descriptor.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn fd_file(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        self.inner.table.get(fd)
    }
}
