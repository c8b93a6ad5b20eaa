//! A [`FileSystem`] behind an object-safe trait: the inode's type is erased.
//!
//! The same methods with `AnyInode` for the inode; the contracts are those of [`FileSystem`].

use crate::{
    fs::{
        Attributes, DirCookie, DirEmit, DirSlot, Extent, FileSystem, Found, FsStatistics, Ino,
        Limits, NewInode, Placed, Rename, Renamed, SetAttributes, Space, XattrMode,
    },
    name::Name,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;
use rumpkern::Cred;
use rumpuser::{BlockDevice, Result, Timespec};

/// A driver's inode with its type erased.
pub type AnyInode = Box<dyn Any + Send + Sync>;

fn shared<F: FileSystem>(inode: &AnyInode) -> &F::Inode {
    (**inode)
        .downcast_ref()
        .expect("an inode comes back to the file system that made it")
}

fn exclusive<F: FileSystem>(inode: &mut AnyInode) -> &mut F::Inode {
    (**inode)
        .downcast_mut()
        .expect("an inode comes back to the file system that made it")
}

/// Erases the type of a file system.
pub fn erase<F: FileSystem>(fs: F) -> Box<dyn AnyFileSystem> {
    Box::new(Erased(fs))
}

struct Erased<F>(F);

/// [`FileSystem`] with erased inodes. Only [`erase`] implements it.
pub trait AnyFileSystem: Send + Sync {
    /// See [`FileSystem::root`].
    fn root(&self) -> Ino;
    /// See [`FileSystem::limits`].
    fn limits(&self) -> Limits;
    /// See [`FileSystem::statistics`].
    fn statistics(&self) -> Result<FsStatistics>;
    /// See [`FileSystem::space_for`].
    fn space_for(&self, cred: &Cred) -> Space;
    /// See [`FileSystem::load`].
    fn load(&self, ino: Ino) -> Result<AnyInode>;
    /// See [`FileSystem::attributes`].
    fn attributes(&self, inode: &AnyInode) -> Attributes;
    /// See [`FileSystem::glance`].
    fn glance(&self, inodes: &[Ino], each: &mut dyn FnMut(usize, &Attributes));
    /// See [`FileSystem::lookup`].
    fn lookup(&self, dir: &AnyInode, name: Name<'_>) -> Result<Found>;
    /// See [`FileSystem::parent`].
    fn parent(&self, dir: &AnyInode) -> Result<Ino>;
    /// See [`FileSystem::read_dir`].
    fn read_dir(&self, dir: &AnyInode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()>;
    /// See [`FileSystem::read_link`].
    fn read_link(&self, inode: &AnyInode) -> Result<Vec<u8>>;
    /// See [`FileSystem::map`].
    fn map(&self, inode: &AnyInode, offset: u64, len: u64) -> Result<Extent>;
    /// See [`FileSystem::read_pages`].
    fn read_pages(&self, inode: &AnyInode, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// See [`FileSystem::create`].
    fn create(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, AnyInode)>;
    /// See [`FileSystem::create_unnamed`].
    fn create_unnamed(&self, new: &NewInode) -> Result<(Ino, AnyInode)>;
    /// See [`FileSystem::link`].
    fn link(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut AnyInode,
        space: Space,
        time: Timespec,
    ) -> Result<()>;
    /// See [`FileSystem::unlink`].
    fn unlink(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut AnyInode,
        time: Timespec,
    ) -> Result<()>;
    /// See [`FileSystem::rename`].
    fn rename(&self, op: Rename<'_, AnyInode>) -> Result<Renamed>;
    /// See [`FileSystem::set_attributes`].
    fn set_attributes(&self, inode: &mut AnyInode, change: &SetAttributes) -> Result<()>;
    /// See [`FileSystem::allocate`].
    fn allocate(
        &self,
        inode: &mut AnyInode,
        offset: u64,
        len: u64,
        size_at_least: u64,
        space: Space,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<u64>;
    /// See [`FileSystem::reserve`].
    fn reserve(&self, inode: &mut AnyInode, offset: u64, len: u64, space: Space) -> Result<()>;
    /// See [`FileSystem::set_size`].
    fn set_size(&self, inode: &mut AnyInode, size: u64, time: Timespec) -> Result<()>;
    /// See [`FileSystem::grow`].
    fn grow(
        &self,
        inode: &mut AnyInode,
        size: u64,
        space: Space,
        time: Timespec,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<()>;
    /// See [`FileSystem::punch`].
    fn punch(&self, inode: &mut AnyInode, offset: u64, len: u64) -> Result<()>;
    /// See [`FileSystem::reclaim`].
    fn reclaim(&self, inode: AnyInode) -> Result<()>;
    /// See [`FileSystem::sync`].
    fn sync(&self) -> Result<()>;
    /// See [`FileSystem::sync_inode`].
    fn sync_inode(&self, inode: &AnyInode, data_only: bool) -> Result<()>;
    /// See [`FileSystem::balance`].
    fn balance(&self);
    /// See [`FileSystem::get_xattr`].
    fn get_xattr(&self, inode: &AnyInode, name: &[u8]) -> Result<Vec<u8>>;
    /// See [`FileSystem::list_xattrs`].
    fn list_xattrs(&self, inode: &AnyInode, each: &mut dyn FnMut(&[u8])) -> Result<()>;
    /// See [`FileSystem::set_xattr`].
    fn set_xattr(
        &self,
        inode: &mut AnyInode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        space: Space,
        time: Timespec,
    ) -> Result<()>;
    /// See [`FileSystem::remove_xattr`].
    fn remove_xattr(&self, inode: &mut AnyInode, name: &[u8], time: Timespec) -> Result<()>;
    /// See [`FileSystem::remount`].
    fn remount(&self, read_only: bool) -> Result<()>;
    /// See [`FileSystem::unmount`].
    fn unmount(&self) -> Result<()>;
    /// See [`FileSystem::device`].
    fn device(&self) -> Option<&Arc<dyn BlockDevice>>;
}

impl<F: FileSystem> AnyFileSystem for Erased<F> {
    fn root(&self) -> Ino {
        self.0.root()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn statistics(&self) -> Result<FsStatistics> {
        self.0.statistics()
    }

    fn space_for(&self, cred: &Cred) -> Space {
        self.0.space_for(cred)
    }

    fn load(&self, ino: Ino) -> Result<AnyInode> {
        self.0.load(ino).map(|i| Box::new(i) as AnyInode)
    }

    fn attributes(&self, inode: &AnyInode) -> Attributes {
        self.0.attributes(shared::<F>(inode))
    }

    fn glance(&self, inodes: &[Ino], each: &mut dyn FnMut(usize, &Attributes)) {
        self.0.glance(inodes, each);
    }

    fn lookup(&self, dir: &AnyInode, name: Name<'_>) -> Result<Found> {
        self.0.lookup(shared::<F>(dir), name)
    }

    fn parent(&self, dir: &AnyInode) -> Result<Ino> {
        self.0.parent(shared::<F>(dir))
    }

    fn read_dir(&self, dir: &AnyInode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        self.0.read_dir(shared::<F>(dir), from, emit)
    }

    fn read_link(&self, inode: &AnyInode) -> Result<Vec<u8>> {
        self.0.read_link(shared::<F>(inode))
    }

    fn map(&self, inode: &AnyInode, offset: u64, len: u64) -> Result<Extent> {
        self.0.map(shared::<F>(inode), offset, len)
    }

    fn read_pages(&self, inode: &AnyInode, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_pages(shared::<F>(inode), offset, buf)
    }

    fn create(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, AnyInode)> {
        self.0
            .create(exclusive::<F>(dir), slot, name, new)
            .map(|(ino, i)| (ino, Box::new(i) as AnyInode))
    }

    fn create_unnamed(&self, new: &NewInode) -> Result<(Ino, AnyInode)> {
        self.0
            .create_unnamed(new)
            .map(|(ino, i)| (ino, Box::new(i) as AnyInode))
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
        self.0.link(
            exclusive::<F>(dir),
            slot,
            name,
            exclusive::<F>(target),
            space,
            time,
        )
    }

    fn unlink(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut AnyInode,
        time: Timespec,
    ) -> Result<()> {
        self.0.unlink(
            exclusive::<F>(dir),
            slot,
            name,
            exclusive::<F>(target),
            time,
        )
    }

    fn rename(&self, op: Rename<'_, AnyInode>) -> Result<Renamed> {
        self.0.rename(Rename {
            from_dir: exclusive::<F>(op.from_dir),
            to_dir: op.to_dir.map(|i| exclusive::<F>(i)),
            from: op.from,
            to: op.to,
            inode: exclusive::<F>(op.inode),
            replaced: op.replaced.map(|i| exclusive::<F>(i)),
            exchange: op.exchange,
            space: op.space,
            time: op.time,
        })
    }

    fn set_attributes(&self, inode: &mut AnyInode, change: &SetAttributes) -> Result<()> {
        self.0.set_attributes(exclusive::<F>(inode), change)
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
        self.0.allocate(
            exclusive::<F>(inode),
            offset,
            len,
            size_at_least,
            space,
            placed,
        )
    }

    fn reserve(&self, inode: &mut AnyInode, offset: u64, len: u64, space: Space) -> Result<()> {
        self.0.reserve(exclusive::<F>(inode), offset, len, space)
    }

    fn set_size(&self, inode: &mut AnyInode, size: u64, time: Timespec) -> Result<()> {
        self.0.set_size(exclusive::<F>(inode), size, time)
    }

    fn grow(
        &self,
        inode: &mut AnyInode,
        size: u64,
        space: Space,
        time: Timespec,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<()> {
        self.0
            .grow(exclusive::<F>(inode), size, space, time, placed)
    }

    fn punch(&self, inode: &mut AnyInode, offset: u64, len: u64) -> Result<()> {
        self.0.punch(exclusive::<F>(inode), offset, len)
    }

    fn reclaim(&self, inode: AnyInode) -> Result<()> {
        self.0.reclaim(
            *inode
                .downcast()
                .expect("an inode comes back to the file system that made it"),
        )
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    fn sync_inode(&self, inode: &AnyInode, data_only: bool) -> Result<()> {
        self.0.sync_inode(shared::<F>(inode), data_only)
    }

    fn balance(&self) {
        self.0.balance()
    }

    fn get_xattr(&self, inode: &AnyInode, name: &[u8]) -> Result<Vec<u8>> {
        self.0.get_xattr(shared::<F>(inode), name)
    }

    fn list_xattrs(&self, inode: &AnyInode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.0.list_xattrs(shared::<F>(inode), each)
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
        self.0
            .set_xattr(exclusive::<F>(inode), name, value, mode, space, time)
    }

    fn remove_xattr(&self, inode: &mut AnyInode, name: &[u8], time: Timespec) -> Result<()> {
        self.0.remove_xattr(exclusive::<F>(inode), name, time)
    }

    fn remount(&self, read_only: bool) -> Result<()> {
        self.0.remount(read_only)
    }

    fn unmount(&self) -> Result<()> {
        self.0.unmount()
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        self.0.device()
    }
}
