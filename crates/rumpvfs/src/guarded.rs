//! A driver whose panics are contained.
//!
//! Every call of a driver goes through here. A panic in one takes the mount out of service: its message goes to the
//! kernel's messages, the call and all later ones give `EIO`, everything else goes on. Locks that the caller holds are let
//! go in the ordinary way, as the panic ends here.
//!
//! A panic in `rumpvfs` itself ends at the border of the kernel ([`Proc::enter`](rumpkern::Proc::enter)). If it passes an inode
//! lock, what that lock guards may be half changed: the mount goes out of service as well.

use crate::{
    erased::{AnyFileSystem, AnyInode},
    fs::{
        Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FlagNumbers, Found,
        FsStatistics, Ino, Limits, NewInode, Placed, Rename, Renamed, SetAttributes, Space,
        XattrMode,
    },
    name::Name,
};
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use rumpkern::{Cred, Log};
use rumpuser::{BlockDevice, Errno, Host, Result, Timespec};

/// A mounted file system that cannot panic.
pub(crate) struct Guarded {
    fs: Box<dyn AnyFileSystem>,
    host: Arc<dyn Host>,
    log: Log,
    dead: AtomicBool,
    /// Out of service by a panic that was not the driver's; nobody has been told.
    lost: AtomicBool,
}

/// Runs `op` and turns a panic in it into `EIO` with a message.
pub(crate) fn contain<T>(
    host: &dyn Host,
    log: &Log,
    op: impl FnOnce() -> Result<T>,
) -> (Result<T>, bool) {
    match rumpkern::border::catch(host, op) {
        Ok(result) => (result, false),
        Err(panic) => {
            log.message(format_args!("panic: {panic}"));
            (Err(Errno::EIO), true)
        }
    }
}

impl Guarded {
    pub(crate) fn new(fs: Box<dyn AnyFileSystem>, host: Arc<dyn Host>, log: Log) -> Self {
        Self {
            fs,
            host,
            log,
            dead: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// Whether the driver is out of service.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// From now on every call is `EIO`.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// A panic passes what guards the state of this mount: out of service. Told later, by [`tell_loss`](Self::tell_loss).
    #[cold]
    pub(crate) fn lose(&self) {
        if !self.dead.swap(true, Ordering::Relaxed) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Tells about a loss that nobody has been told about; whether there was one.
    pub(crate) fn tell_loss(&self) -> bool {
        let lost = self.lost.swap(false, Ordering::Relaxed);
        if lost {
            self.log
                .message(format_args!("out of service after a panic"));
        }
        lost
    }

    /// Runs a step of a work on many mounts; a panic in it is told and ends this step alone.
    ///
    /// # Errors
    /// That of `op`; `EIO` after a panic.
    pub(crate) fn contain<T>(&self, op: impl FnOnce() -> Result<T>) -> Result<T> {
        let (result, panicked) = contain(&*self.host, &self.log, op);
        if panicked {
            self.tell_loss();
        }
        result
    }

    fn call<T>(&self, op: impl FnOnce(&dyn AnyFileSystem) -> Result<T>) -> Result<T> {
        if self.is_dead() {
            return Err(Errno::EIO);
        }
        let (result, panicked) = contain(&*self.host, &self.log, || op(&*self.fs));
        if panicked {
            self.kill();
        }
        result
    }
}

/// Lets entries through whose names are names.
struct Names<'a> {
    fs: &'a Guarded,
    dir: &'a AnyInode,
    emit: &'a mut dyn DirEmit,
}

impl Names<'_> {
    /// Whether it is a name; says so if not.
    fn is_name(&self, name: &[u8]) -> bool {
        let named = Name::new(name).is_ok();
        if !named && !matches!(name, b"." | b"..") {
            let dir = self.fs.attributes(self.dir).map_or(0, |a| a.ino.0);
            let name = String::from_utf8_lossy(name);
            self.fs.log.message(format_args!(
                "directory {dir}: entry {name:?} is no name, skipped"
            ));
        }
        named
    }
}

impl DirEmit for Names<'_> {
    fn emit(&mut self, entry: DirEntry<'_>) -> bool {
        !self.is_name(entry.name) || self.emit.emit(entry)
    }

    fn wants_attributes(&self) -> bool {
        self.emit.wants_attributes()
    }

    fn emit_with(&mut self, entry: DirEntry<'_>, attributes: &Attributes) -> bool {
        !self.is_name(entry.name) || self.emit.emit_with(entry, attributes)
    }
}

impl AnyFileSystem for Guarded {
    fn root(&self) -> Ino {
        self.call(|fs| Ok(fs.root())).unwrap_or(Ino(0))
    }

    fn limits(&self) -> Limits {
        self.call(|fs| Ok(fs.limits())).unwrap_or(Limits {
            block_size: 512,
            name_max: 255,
            file_size_max: 0,
            link_max: 1,
            symlink_max: 1,
            time_granularity: 1,
            memory: false,
            revalidate: false,
            folds: false,
            flag_numbers: FlagNumbers::Own,
        })
    }

    fn statistics(&self) -> Result<FsStatistics> {
        self.call(|fs| fs.statistics())
    }

    fn space_for(&self, cred: &Cred) -> Space {
        self.call(|fs| Ok(fs.space_for(cred)))
            .unwrap_or(Space::Ordinary)
    }

    fn load(&self, ino: Ino) -> Result<AnyInode> {
        self.call(|fs| fs.load(ino))
    }

    fn attributes(&self, inode: &AnyInode) -> Result<Attributes> {
        self.call(|fs| fs.attributes(inode))
    }

    fn glance(&self, inodes: &[Ino], each: &mut dyn FnMut(usize, &Attributes)) {
        // What is not told is loaded, and that tells the error.
        let _ = self.call(|fs| {
            fs.glance(inodes, each);
            Ok(())
        });
    }

    fn lookup(&self, dir: &AnyInode, name: Name<'_>) -> Result<Found> {
        self.call(|fs| fs.lookup(dir, name))
    }

    fn parent(&self, dir: &AnyInode) -> Result<Ino> {
        self.call(|fs| fs.parent(dir))
    }

    fn read_dir(&self, dir: &AnyInode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        let mut names = Names {
            fs: self,
            dir,
            emit,
        };
        self.call(|fs| fs.read_dir(dir, from, &mut names))
    }

    fn read_link(&self, inode: &AnyInode) -> Result<Vec<u8>> {
        self.call(|fs| fs.read_link(inode))
    }

    fn map(&self, inode: &AnyInode, offset: u64, len: u64) -> Result<Extent> {
        self.call(|fs| fs.map(inode, offset, len))
    }

    fn read_pages(&self, inode: &AnyInode, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.call(|fs| fs.read_pages(inode, offset, buf))
    }

    fn create(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, AnyInode)> {
        self.call(|fs| fs.create(dir, slot, name, new))
    }

    fn create_unnamed(&self, dir: &AnyInode, new: &NewInode) -> Result<(Ino, AnyInode)> {
        self.call(|fs| fs.create_unnamed(dir, new))
    }

    fn link(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut AnyInode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        self.call(|fs| fs.link(dir, slot, name, target, space, time))
    }

    fn unlink(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut AnyInode,
        time: Timespec,
    ) -> Result<()> {
        self.call(|fs| fs.unlink(dir, slot, name, target, time))
    }

    fn rename(&self, op: Rename<'_, AnyInode>) -> Result<Renamed> {
        self.call(|fs| fs.rename(op))
    }

    fn set_attributes(&self, inode: &mut AnyInode, change: &SetAttributes) -> Result<()> {
        self.call(|fs| fs.set_attributes(inode, change))
    }

    fn allocate(
        &self,
        inode: &mut AnyInode,
        offset: u64,
        len: u64,
        size_at_least: u64,
        space: Space,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<u64> {
        self.call(|fs| fs.allocate(inode, offset, len, size_at_least, space, placed))
    }

    fn reserve(&self, inode: &mut AnyInode, offset: u64, len: u64, space: Space) -> Result<()> {
        self.call(|fs| fs.reserve(inode, offset, len, space))
    }

    fn set_size(&self, inode: &mut AnyInode, size: u64, time: Timespec) -> Result<()> {
        self.call(|fs| fs.set_size(inode, size, time))
    }

    fn grow(
        &self,
        inode: &mut AnyInode,
        size: u64,
        space: Space,
        time: Timespec,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<()> {
        self.call(|fs| fs.grow(inode, size, space, time, placed))
    }

    fn punch(&self, inode: &mut AnyInode, offset: u64, len: u64) -> Result<()> {
        self.call(|fs| fs.punch(inode, offset, len))
    }

    fn reclaim(&self, inode: AnyInode) -> Result<()> {
        self.call(|fs| fs.reclaim(inode))
    }

    fn sync(&self) -> Result<()> {
        self.call(|fs| fs.sync())
    }

    fn sync_inode(&self, inode: &AnyInode, data_only: bool) -> Result<()> {
        self.call(|fs| fs.sync_inode(inode, data_only))
    }

    fn balance(&self) -> Result<()> {
        self.call(|fs| {
            fs.balance().inspect_err(|error| {
                self.log.message(format_args!("commit failed: {error}"));
            })
        })
    }

    fn get_xattr(&self, inode: &AnyInode, name: &[u8]) -> Result<Vec<u8>> {
        self.call(|fs| fs.get_xattr(inode, name))
    }

    fn project(&self, inode: &AnyInode) -> Result<u32> {
        self.call(|fs| fs.project(inode))
    }

    fn list_xattrs(&self, inode: &AnyInode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.call(|fs| fs.list_xattrs(inode, each))
    }

    fn set_xattr(
        &self,
        inode: &mut AnyInode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        space: Space,
        time: Timespec,
    ) -> Result<()> {
        self.call(|fs| fs.set_xattr(inode, name, value, mode, space, time))
    }

    fn remove_xattr(&self, inode: &mut AnyInode, name: &[u8], time: Timespec) -> Result<()> {
        self.call(|fs| fs.remove_xattr(inode, name, time))
    }

    fn remount(&self, read_only: bool) -> Result<()> {
        self.call(|fs| fs.remount(read_only))
    }

    fn unmount(&self) -> Result<()> {
        self.call(|fs| fs.unmount())
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        self.fs.device()
    }
}
