//! Mount, remount and unmount.

use crate::{
    calls::{Follow, MountArgs, MountFlags},
    erased::AnyFileSystem,
    fs::{FsType, MountContext},
    guarded::{Guarded, contain},
    mount::{Anchors, Mount, NewMount},
    pages::{MountPages, MountedPages},
    process::Ctx,
    vfs::Vfs,
    vnode::{Vnode, VnodeRef},
};
use alloc::{format, string::String, sync::Arc};
use core::sync::atomic::Ordering;
use rumpkern::{Statvfs, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result};

/// Bounds of a driver's metadata cache in bytes. The inodes of a million files of ext4 are 250 MiB.
const CACHE_BYTES: core::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

impl Vfs {
    /// Mounts the root file system at boot.
    pub(crate) fn mount_root(self: &Arc<Self>, fs_type: &dyn FsType) -> Result<()> {
        let _one = self.mounting.lock();
        self.attach(fs_type, None, "/".into(), &MountArgs::default(), None)
    }

    /// `mount(2)`.
    pub(crate) fn mount(
        self: &Arc<Self>,
        ctx: &Ctx<'_>,
        fs_type: &str,
        on: &[u8],
        args: &MountArgs,
    ) -> Result<()> {
        if !ctx.cred.is_root() {
            return Err(Errno::EPERM);
        }
        let fs_type = self.fs_type(fs_type).ok_or(Errno::ENODEV)?;
        let device = match &args.device {
            Some(path) => Some(self.device_at(ctx, path)?),
            None => None,
        };
        let _one = self.mounting.lock();
        let (covered, on) = if self.root().is_err() && on == b"/" {
            (None, String::from("/"))
        } else {
            let dir = ctx.resolve(&None, on, Follow::Yes)?;
            if !dir.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            if dir.is_root() {
                return Err(Errno::EBUSY);
            }
            let path = ctx.path_of(&dir)?;
            (Some(dir), String::from_utf8_lossy(&path).into_owned())
        };
        let Some(number) = device else {
            return self.attach(&*fs_type, covered, on, args, None);
        };
        let device = self.devices.lock().claim(number)?;
        let claim = Claim { vfs: self, number };
        self.attach(&*fs_type, covered, on, args, Some((number, device)))?;
        core::mem::forget(claim);
        Ok(())
    }

    /// Has the driver mount and shows its root. The caller holds `mounting`.
    fn attach(
        self: &Arc<Self>,
        fs_type: &dyn FsType,
        covered: Option<VnodeRef>,
        on: String,
        args: &MountArgs,
        device: Option<(DeviceNumber, Arc<dyn BlockDevice>)>,
    ) -> Result<()> {
        if fs_type.nodev() == device.is_some() {
            return Err(Errno::EINVAL);
        }
        if let Some((_, device)) = &device
            && device.read_only()
            && !args.flags.contains(MountFlags::RDONLY)
        {
            return Err(Errno::EROFS);
        }
        let caches = &self.caches;
        let from = match &args.device {
            Some(path) => String::from_utf8_lossy(path).into_owned(),
            None => fs_type.name().into(),
        };
        let (number, device) = device.unzip();
        let (fs, pages) = self.have_mounted(fs_type, &from, args, device)?;
        let mount = Mount::new(
            caches,
            NewMount {
                id: self.next_mount_id(),
                fs,
                flags: args.flags,
                fs_type: fs_type.name(),
                from,
                on,
                pages,
                device: number,
            },
        );
        match self.show(&mount, covered) {
            Ok(()) => {
                self.mounts.write().push(mount);
                Ok(())
            }
            Err(error) => {
                caches.drop_idle(&mount);
                // The first error counts; this one has been logged by the driver.
                let _ = mount.fs.unmount();
                mount.abandon();
                Err(error)
            }
        }
    }

    /// Has the driver mount.
    fn have_mounted(
        &self,
        fs_type: &dyn FsType,
        from: &str,
        args: &MountArgs,
        device: Option<Arc<dyn BlockDevice>>,
    ) -> Result<(Guarded, MountedPages)> {
        let caches = &self.caches;
        let prefix = match &device {
            Some(_) => format!("{}: {from}", fs_type.name()),
            None => from.into(),
        };
        let log = caches.log.with_prefix(&prefix);
        let pages = MountPages::new(&caches.pool);
        let memory = caches.host.memory_limit();
        let cache = (memory / 8).clamp(*CACHE_BYTES.start(), *CACHE_BYTES.end());
        let context = MountContext {
            device,
            read_only: args.flags.contains(MountFlags::RDONLY),
            options: args.options.clone(),
            host: caches.host.clone(),
            log: log.clone(),
            ordered: pages.clone(),
            cache_bytes: usize::try_from(cache).unwrap_or(usize::MAX),
        };
        let (fs, _) = contain(&*caches.host, &log, || fs_type.mount(context));
        let fs = Guarded::new(fs?, caches.host.clone(), log);
        let pages = pages.mounted(fs.device().cloned(), &fs.limits());
        Ok((fs, pages))
    }

    /// Lets walks into a new mount.
    fn show(&self, mount: &Arc<Mount>, covered: Option<VnodeRef>) -> Result<()> {
        let root = mount.vnode(mount.root_ino).map_err(|error| {
            if error == Errno::ESTALE {
                Errno::EIO
            } else {
                error
            }
        })?;
        if !root.is_dir() {
            return Err(Errno::EIO);
        }
        let names = &self.caches.names;
        match &covered {
            Some(covered) => names.cross(covered.arc(), root.arc()),
            None => names.set_root(Some(root.arc().clone())),
        }
        *mount.anchors.lock() = Anchors {
            root: Some(root),
            covered,
        };
        Ok(())
    }

    /// The mount whose root a path leads to.
    fn mount_at(&self, ctx: &Ctx<'_>, on: &[u8]) -> Result<Arc<Mount>> {
        let root = ctx.resolve(&None, on, Follow::Yes)?;
        if root.is_root() {
            Ok(Arc::clone(&root.mount))
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// `mount(2)` with `MNT_UPDATE`.
    pub(crate) fn remount(&self, ctx: &Ctx<'_>, on: &[u8], flags: MountFlags) -> Result<()> {
        if !ctx.cred.is_root() {
            return Err(Errno::EPERM);
        }
        let _one = self.mounting.lock();
        let mount = self.mount_at(ctx, on)?;
        let read_only = flags.contains(MountFlags::RDONLY);
        if read_only == mount.read_only() {
            mount.set_flags(flags);
            return Ok(());
        }
        if !read_only {
            mount.fs.remount(false)?;
            mount.set_flags(flags);
            return Ok(());
        }
        // No new writer comes in once the flag is set.
        let old = mount.flags();
        mount.sync()?;
        mount.set_flags(old | MountFlags::RDONLY);
        let _quiet = mount.syncing.lock();
        let writes = |v: &Arc<Vnode>| v.writers.load(Ordering::SeqCst) > 0 || v.nlink() == 0;
        let result = if mount.vnodes().iter().any(writes) {
            Err(Errno::EBUSY)
        } else {
            mount.fs.sync().and_then(|()| mount.fs.remount(true))
        };
        mount.set_flags(if result.is_ok() { flags } else { old });
        result
    }

    /// `unmount(2)`.
    pub(crate) fn unmount(&self, ctx: &Ctx<'_>, on: &[u8], force: bool) -> Result<()> {
        if !ctx.cred.is_root() {
            return Err(Errno::EPERM);
        }
        let _one = self.mounting.lock();
        let mount = self.mount_at(ctx, on)?;
        self.detach(&mount, force)
    }

    /// Unmounts everything, what was mounted last first. Files still open are dead from then on.
    pub(crate) fn unmount_all(&self) -> Result<()> {
        let _one = self.mounting.lock();
        let mut result = Ok(());
        for mount in self.all_mounts().iter().rev() {
            result = result.and(mount.fs.contain(|| self.detach(mount, true)));
        }
        result
    }

    /// Takes a mount away. The caller holds `mounting`.
    fn detach(&self, mount: &Arc<Mount>, force: bool) -> Result<()> {
        let covers = |m: &Arc<Mount>| {
            let anchors = m.anchors.lock();
            anchors
                .covered
                .as_ref()
                .is_some_and(|c| c.mount.id == mount.id)
        };
        if self.mounts.read().iter().any(covers) {
            return Err(Errno::EBUSY);
        }
        let hidden = self.hide(mount);
        if !force && Self::busy(mount) {
            return Err(Errno::EBUSY);
        }
        let mut result = mount.fs.contain(|| mount.sync());
        if !force {
            self.caches.drop_idle(mount);
            if Self::busy(mount) {
                return Err(Errno::EBUSY);
            }
        }
        // From here on it goes through to the end, whatever panics.
        core::mem::forget(hidden);
        self.mounts.write().retain(|m| m.id != mount.id);
        mount.close();
        // The syncer may be at work on it; from here on it passes it over.
        let _quiet = mount.syncing.lock();
        let anchors = core::mem::take(&mut *mount.anchors.lock());
        drop(anchors);
        result = result.and(mount.fs.contain(|| {
            self.caches.drop_idle(mount);
            Ok(())
        }));
        result = result.and(mount.give_back_all());
        if !mount.read_only() {
            result = result.and(mount.fs.sync());
        }
        result = result.and(mount.fs.unmount());
        mount.fs.kill();
        // Those whose data the device did not take.
        self.caches.drop_idle(mount);
        self.caches.names.forget_mount(mount.id);
        self.caches.locks.mount_gone();
        drop(self.caches.idle.take(mount.id));
        if let Some(number) = mount.device {
            self.devices.lock().release(number);
        }
        result
    }

    /// Whether anybody but the mount itself uses its vnodes.
    fn busy(mount: &Mount) -> bool {
        mount
            .vnodes()
            .iter()
            .any(|v| v.users() > u32::from(v.is_root()))
    }

    /// Keeps walks out until the guard is dropped.
    fn hide<'a>(&'a self, mount: &'a Mount) -> Hidden<'a> {
        let names = &self.caches.names;
        match &mount.anchors.lock().covered {
            Some(covered) => names.uncross(covered, mount.id),
            None => names.set_root(None),
        }
        Hidden { vfs: self, mount }
    }

    fn unhide(&self, mount: &Mount) {
        let names = &self.caches.names;
        let anchors = mount.anchors.lock();
        match (&anchors.covered, &anchors.root) {
            (Some(covered), Some(root)) => names.cross(covered.arc(), root.arc()),
            (None, Some(root)) => names.set_root(Some(root.arc().clone())),
            (_, None) => {}
        }
    }
}

/// A device taken for a mount that is not there yet.
struct Claim<'a> {
    vfs: &'a Vfs,
    number: DeviceNumber,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.vfs.devices.lock().release(self.number);
    }
}

/// A mount that walks are kept out of.
struct Hidden<'a> {
    vfs: &'a Vfs,
    mount: &'a Mount,
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        self.vfs.unhide(self.mount);
    }
}

impl Mount {
    /// What `statvfs` tells.
    ///
    /// # Errors
    /// `EIO`.
    pub(crate) fn statvfs(&self) -> Result<Statvfs> {
        let numbers = self.fs.statistics()?;
        Ok(Statvfs {
            block_size: numbers.block_size,
            blocks: numbers.blocks,
            blocks_free: numbers.blocks_free,
            blocks_available: numbers.blocks_available,
            files: numbers.files,
            files_free: numbers.files_free,
            ..self.vfsstat()
        })
    }

    /// The same without the numbers that only the driver knows.
    pub(crate) fn vfsstat(&self) -> Statvfs {
        Statvfs {
            block_size: self.limits.block_size,
            name_max: u32::try_from(self.limits.name_max).unwrap_or(u32::MAX),
            fsid: self.id,
            read_only: self.read_only(),
            fs_type: self.fs_type.into(),
            from: self.from.clone(),
            on: self.on.clone(),
            ..Statvfs::default()
        }
    }
}
