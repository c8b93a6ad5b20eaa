//! The system calls of [`Calls`] for [`Proc`], and [`KernelVfs`] for [`Kernel`].

use crate::{
    calls::{
        Access, At, Calls, ChangeAttributes, Dirent, DirentPlus, EtfsType, FileExtent, FileHandle,
        Flock, Follow, KernelVfs, MountArgs, MountFlags, RecordLock, RenameFlags, SetTime,
    },
    data, dir,
    file::VnodeFile,
    fs::{FsType, Ino, Probe, XattrMode},
    guarded::contain,
    lock::Range,
    process::{self, Checks, Ctx, Start, vnode_of},
    vfs::Vfs,
    vnode::LOCKED,
    walk::{self, Cached},
};
use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;
use rumpkern::{Fd, FileType, Kernel, OpenFlags, Proc, Stat, Statvfs, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result};

/// An open vnode behind a descriptor.
///
/// # Errors
/// `EBADF`; `EINVAL` for what is no vnode.
fn vnode_file(proc: &Proc, fd: Fd) -> Result<(Arc<VnodeFile>, OpenFlags)> {
    let open = proc.fd_file(fd)?;
    let flags = open.flags();
    if flags.contains(OpenFlags::PATH) {
        return Err(Errno::EBADF);
    }
    Ok((VnodeFile::of(&open).ok_or(Errno::EINVAL)?, flags))
}

/// A stat along cached names: no allocation, no driver, no sleep lock. `None` when the caches do not know.
fn stat_cached(proc: &Proc, at: &Start, path: &[u8], follow: Follow) -> Result<Option<Stat>> {
    if path.is_empty() || path.len() > 4095 {
        return Ok(None);
    }
    process::walk(proc, at, path, follow, Checks::Here, |found| match found? {
        Cached::Found(vnode) if !vnode.mount.limits.revalidate && !vnode.ending() => {
            vnode.touch();
            vnode.stat().map(Some)
        }
        _ => Ok(None),
    })?
}

/// Flags that an open file description keeps. One that only names a file is open for nothing.
fn kept(flags: OpenFlags) -> OpenFlags {
    if flags.contains(OpenFlags::PATH) {
        return flags & (OpenFlags::PATH | OpenFlags::CLOEXEC);
    }
    let once = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::TRUNC | OpenFlags::NOFOLLOW;
    flags - once
}

impl Calls for Proc {
    fn openat(&self, at: At, path: impl AsRef<[u8]>, flags: OpenFlags, mode: u32) -> Result<Fd> {
        self.enter(|| {
            let fd = self.fd_reserve()?;
            let ctx = Ctx::new(self)?;
            let file = ctx.open(&process::start(self, at)?, path.as_ref(), flags, mode)?;
            Ok(fd.fill(file, kept(flags)))
        })
    }

    fn fstatat(&self, at: At, path: impl AsRef<[u8]>, follow: Follow) -> Result<Stat> {
        self.enter(|| {
            let path = path.as_ref();
            if let (At::Fd(fd), b"") = (at, path) {
                return self.fstat(fd);
            }
            let start = process::start(self, at)?;
            match stat_cached(self, &start, path, follow)? {
                Some(stat) => Ok(stat),
                None => Ctx::new(self)?.resolve(&start, path, follow)?.stat(),
            }
        })
    }

    fn linkat(&self, from: (At, &[u8]), to: (At, &[u8]), follow: Follow) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let (from_at, to_at) = (process::start(self, from.0)?, process::start(self, to.0)?);
            ctx.link((&from_at, from.1), (&to_at, to.1), follow)
        })
    }

    fn symlinkat(&self, target: &[u8], at: At, path: impl AsRef<[u8]>) -> Result<()> {
        self.enter(|| Ctx::new(self)?.symlink(target, &process::start(self, at)?, path.as_ref()))
    }

    fn readlinkat(&self, at: At, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let link =
                ctx.resolve_or_self(&process::start(self, at)?, path.as_ref(), Follow::No)?;
            if link.file_type != FileType::Symlink {
                return Err(Errno::EINVAL);
            }
            walk::read_link(&link).map(|target| target.to_vec())
        })
    }

    fn renameat(&self, from: (At, &[u8]), to: (At, &[u8]), flags: RenameFlags) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let (from_at, to_at) = (process::start(self, from.0)?, process::start(self, to.0)?);
            ctx.rename((&from_at, from.1), (&to_at, to.1), flags)
        })
    }

    fn unlinkat(&self, at: At, path: impl AsRef<[u8]>, dir: bool) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let start = process::start(self, at)?;
            if dir {
                ctx.rmdir(&start, path.as_ref())
            } else {
                ctx.unlink(&start, path.as_ref())
            }
        })
    }

    fn mkdirat(&self, at: At, path: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        self.enter(|| Ctx::new(self)?.mkdir(&process::start(self, at)?, path.as_ref(), mode))
    }

    fn mknodat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        kind: FileType,
        mode: u32,
        device: DeviceNumber,
    ) -> Result<()> {
        self.enter(|| {
            let start = process::start(self, at)?;
            Ctx::new(self)?.mknod(&start, path.as_ref(), kind, mode, device)
        })
    }

    fn fchmodat(&self, at: At, path: impl AsRef<[u8]>, mode: u32, follow: Follow) -> Result<()> {
        self.enter(|| {
            Ctx::new(self)?.chmod(&process::start(self, at)?, path.as_ref(), mode, follow)
        })
    }

    fn fchownat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        uid: Option<u32>,
        gid: Option<u32>,
        follow: Follow,
    ) -> Result<()> {
        self.enter(|| {
            let start = process::start(self, at)?;
            Ctx::new(self)?.chown(&start, path.as_ref(), (uid, gid), follow)
        })
    }

    fn utimensat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        atime: SetTime,
        mtime: SetTime,
        follow: Follow,
    ) -> Result<()> {
        self.enter(|| {
            let start = process::start(self, at)?;
            Ctx::new(self)?.utimens(&start, path.as_ref(), (atime, mtime), follow)
        })
    }

    fn setattrat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        change: &ChangeAttributes,
        follow: Follow,
    ) -> Result<()> {
        self.enter(|| {
            let start = process::start(self, at)?;
            Ctx::new(self)?.setattr(&start, path.as_ref(), change, follow)
        })
    }

    fn chflagsat(&self, at: At, path: impl AsRef<[u8]>, flags: u32, follow: Follow) -> Result<()> {
        self.enter(|| {
            Ctx::new(self)?.chflags(&process::start(self, at)?, path.as_ref(), flags, follow)
        })
    }

    fn truncate(&self, path: impl AsRef<[u8]>, size: u64) -> Result<()> {
        self.enter(|| {
            if size > self.limits().file_size {
                return Err(Errno::EFBIG);
            }
            Ctx::new(self)?.truncate(path.as_ref(), size)
        })
    }

    fn fallocate(&self, fd: Fd, offset: u64, len: u64, keep_size: bool) -> Result<()> {
        self.enter(|| {
            let (file, flags) = vnode_file(self, fd)?;
            data::allocate(&file, flags, (offset, len), keep_size)
        })
    }

    fn punch_hole(&self, fd: Fd, offset: u64, len: u64) -> Result<()> {
        self.enter(|| {
            let (file, flags) = vnode_file(self, fd)?;
            data::punch(&file, flags, offset, len)
        })
    }

    fn faccessat(
        &self,
        at: At,
        path: impl AsRef<[u8]>,
        access: Access,
        follow: Follow,
    ) -> Result<()> {
        self.enter(|| {
            if !Access::all().contains(access) {
                return Err(Errno::EINVAL);
            }
            let start = process::start(self, at)?;
            Ctx::new(self)?.access(&start, path.as_ref(), access, follow)
        })
    }

    fn getdents(&self, fd: Fd, max: usize) -> Result<Vec<Dirent>> {
        self.enter(|| dir::getdents(self, fd, max))
    }

    fn getdents_plus(&self, fd: Fd, max: usize) -> Result<Vec<DirentPlus>> {
        self.enter(|| dir::getdents_plus(self, fd, max, true))
    }

    fn getdents_stat(&self, fd: Fd, max: usize) -> Result<Vec<DirentPlus>> {
        self.enter(|| dir::getdents_plus(self, fd, max, false))
    }

    fn statvfs(&self, path: impl AsRef<[u8]>) -> Result<Statvfs> {
        self.enter(|| {
            let vnode = Ctx::new(self)?.resolve(&None, path.as_ref(), Follow::Yes)?;
            vnode.mount.statvfs()
        })
    }

    fn fstatvfs(&self, fd: Fd) -> Result<Statvfs> {
        self.enter(|| vnode_of(self, fd)?.mount.statvfs())
    }

    fn getvfsstat(&self) -> Vec<Statvfs> {
        let stat =
            |mount: &Arc<crate::mount::Mount>| mount.statvfs().unwrap_or_else(|_| mount.vfsstat());
        let all = self.enter(|| {
            let mounts = process::data(self)?.vfs.all_mounts();
            Ok(mounts.iter().map(stat).collect())
        });
        all.unwrap_or_default()
    }

    fn chdir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.enter(|| Ctx::new(self)?.chdir(self, &None, path.as_ref()))
    }

    fn fchdir(&self, fd: Fd) -> Result<()> {
        self.enter(|| {
            let start = process::start(self, At::Fd(fd))?;
            Ctx::new(self)?.chdir(self, &start, b"")
        })
    }

    fn chroot(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.enter(|| Ctx::new(self)?.chroot(self, path.as_ref()))
    }

    fn getcwd(&self) -> Result<Vec<u8>> {
        self.enter(|| Ctx::new(self)?.getcwd())
    }

    fn flock(&self, fd: Fd, op: Flock, nonblock: bool) -> Result<()> {
        self.enter(|| {
            let (file, _) = vnode_file(self, fd)?;
            let locks = &file.vnode.mount.caches.locks;
            let description = file.description();
            locks.flock(&file.vnode, description, op, nonblock)
        })
    }

    fn set_lock(&self, fd: Fd, lock: RecordLock, wait: bool) -> Result<()> {
        self.enter(|| {
            let (file, flags) = vnode_file(self, fd)?;
            let range = Range::new(lock.start, lock.len)?;
            let opened = if lock.exclusive {
                flags.writes()
            } else {
                flags.reads()
            };
            if !opened {
                return Err(Errno::EBADF);
            }
            let locks = &file.vnode.mount.caches.locks;
            let wanted = (range, lock.exclusive);
            locks.set(&file.vnode, self.getpid(), wanted, wait)
        })
    }

    fn unlock(&self, fd: Fd, start: u64, len: u64) -> Result<()> {
        self.enter(|| {
            let (file, _) = vnode_file(self, fd)?;
            let range = Range::new(start, len)?;
            if file.vnode.marked(LOCKED) {
                let locks = &file.vnode.mount.caches.locks;
                locks.unlock(&file.vnode, self.getpid(), range);
            }
            Ok(())
        })
    }

    fn get_lock(&self, fd: Fd, lock: RecordLock) -> Result<Option<(RecordLock, u32)>> {
        self.enter(|| {
            let (file, _) = vnode_file(self, fd)?;
            let range = Range::new(lock.start, lock.len)?;
            let locks = &file.vnode.mount.caches.locks;
            let wanted = (range, lock.exclusive);
            Ok(locks.get(&file.vnode, self.getpid(), wanted))
        })
    }

    fn getxattr(&self, path: impl AsRef<[u8]>, name: &[u8], follow: Follow) -> Result<Vec<u8>> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let vnode = ctx.resolve(&None, path.as_ref(), follow)?;
            ctx.getxattr(&vnode, name)
        })
    }

    fn fgetxattr(&self, fd: Fd, name: &[u8]) -> Result<Vec<u8>> {
        self.enter(|| Ctx::new(self)?.getxattr(&vnode_of(self, fd)?, name))
    }

    fn setxattr(
        &self,
        path: impl AsRef<[u8]>,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        follow: Follow,
    ) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let vnode = ctx.resolve(&None, path.as_ref(), follow)?;
            ctx.setxattr(&vnode, name, value, mode)
        })
    }

    fn fsetxattr(&self, fd: Fd, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.enter(|| Ctx::new(self)?.setxattr(&vnode_of(self, fd)?, name, value, mode))
    }

    fn listxattr(&self, path: impl AsRef<[u8]>, follow: Follow) -> Result<Vec<Vec<u8>>> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let vnode = ctx.resolve(&None, path.as_ref(), follow)?;
            ctx.listxattr(&vnode)
        })
    }

    fn flistxattr(&self, fd: Fd) -> Result<Vec<Vec<u8>>> {
        self.enter(|| Ctx::new(self)?.listxattr(&vnode_of(self, fd)?))
    }

    fn removexattr(&self, path: impl AsRef<[u8]>, name: &[u8], follow: Follow) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            let vnode = ctx.resolve(&None, path.as_ref(), follow)?;
            ctx.removexattr(&vnode, name)
        })
    }

    fn mount(&self, fs_type: &str, on: impl AsRef<[u8]>, args: MountArgs) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            ctx.vfs.mount(&ctx, fs_type, on.as_ref(), &args)
        })
    }

    fn remount(&self, on: impl AsRef<[u8]>, flags: MountFlags) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            ctx.vfs.remount(&ctx, on.as_ref(), flags)
        })
    }

    fn unmount(&self, on: impl AsRef<[u8]>, force: bool) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            ctx.vfs.unmount(&ctx, on.as_ref(), force)
        })
    }

    fn sync(&self) -> Result<()> {
        self.enter(|| process::data(self)?.vfs.sync())
    }

    fn getfh(&self, path: impl AsRef<[u8]>, follow: Follow) -> Result<FileHandle> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            if !ctx.cred.is_root() {
                return Err(Errno::EPERM);
            }
            let vnode = ctx.resolve(&None, path.as_ref(), follow)?;
            Ok(FileHandle {
                fsid: vnode.mount.id,
                ino: vnode.ino().0,
                generation: vnode.attributes()?.generation,
            })
        })
    }

    fn fhopen(&self, handle: FileHandle, flags: OpenFlags) -> Result<Fd> {
        self.enter(|| {
            let ctx = Ctx::new(self)?;
            if !ctx.cred.is_root() {
                return Err(Errno::EPERM);
            }
            let mounts = ctx.vfs.all_mounts();
            let mount = mounts.iter().find(|m| m.id == handle.fsid);
            let vnode = mount.ok_or(Errno::ESTALE)?.vnode(Ino(handle.ino))?;
            let now = vnode.attributes()?;
            if now.generation != handle.generation || now.nlink == 0 {
                return Err(Errno::ESTALE);
            }
            let fd = self.fd_reserve()?;
            let file = ctx.open_vnode(vnode, flags - OpenFlags::CREAT)?;
            Ok(fd.fill(file, kept(flags)))
        })
    }

    fn extents(&self, fd: Fd, offset: u64, len: u64) -> Result<Vec<FileExtent>> {
        self.enter(|| {
            let (file, _) = vnode_file(self, fd)?;
            data::extents(&file.vnode, offset, len)
        })
    }

    fn write_extents(
        &self,
        fd: Fd,
        offset: u64,
        len: u64,
        put: &mut dyn FnMut(FileExtent) -> Result<()>,
    ) -> Result<u64> {
        self.enter(|| {
            let (file, flags) = vnode_file(self, fd)?;
            if !flags.writes() {
                return Err(Errno::EBADF);
            }
            let end = offset.checked_add(len);
            let limited = end.is_none_or(|end| end > self.limits().file_size);
            // Whoever waits for every write, or has too long a one, is served by the usual calls.
            if limited || flags.intersects(OpenFlags::SYNC | OpenFlags::DSYNC) {
                return Err(Errno::EOPNOTSUPP);
            }
            file.write_extents((offset, len), false, put)
        })
    }
}

/// The faction of a kernel.
///
/// # Errors
/// `ENOSYS` when it was built without.
fn faction(kernel: &Kernel) -> Result<Arc<Vfs>> {
    kernel.service::<Vfs>().ok_or(Errno::ENOSYS)
}

impl KernelVfs for Kernel {
    fn etfs_register_as(
        &self,
        path: impl AsRef<[u8]>,
        device: Arc<dyn BlockDevice>,
        kind: EtfsType,
    ) -> Result<()> {
        self.enter(|| faction(self)?.show_device(path.as_ref(), device, kind))
    }

    fn etfs_remove(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.enter(|| faction(self)?.hide_device(path.as_ref()))
    }

    fn fs_types(&self) -> Vec<Arc<dyn FsType>> {
        faction(self).map_or_else(|_| Vec::new(), |vfs| vfs.types.read().clone())
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<(&'static str, Probe)>> {
        for fs_type in self.fs_types() {
            let log = self.log().with_prefix(fs_type.name());
            let (found, _) = contain(&**self.host(), &log, || fs_type.probe(device));
            if let Some(probe) = found? {
                return Ok(Some((fs_type.name(), probe)));
            }
        }
        Ok(None)
    }

    fn register_fs(&self, fs_type: Arc<dyn FsType>) -> Result<()> {
        self.enter(|| {
            let vfs = faction(self)?;
            let mut types = vfs.types.write();
            if types.iter().any(|t| t.name() == fs_type.name()) {
                return Err(Errno::EEXIST);
            }
            types.push(fs_type);
            Ok(())
        })
    }

    fn start_syncer(&self, interval: Duration) -> Result<()> {
        self.enter(|| {
            let vfs = faction(self)?;
            self.spawn("syncer", move |life| {
                while life.sleep(interval) {
                    // Each mount has told the log about its error, and files keep theirs for fsync.
                    let _ = vfs.sync();
                }
            })
        })
    }
}
