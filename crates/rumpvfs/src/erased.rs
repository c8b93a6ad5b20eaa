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
use rumpuser::{BlockDevice, Errno, Result, Timespec};

/// A driver's inode with its type erased, or nothing once it was given back to the driver.
pub struct AnyInode(Option<Box<dyn Any + Send + Sync>>);

impl AnyInode {
    /// Erases the type of an inode.
    pub fn new(inode: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(inode)))
    }

    /// Whether it was not given back yet.
    pub(crate) fn is_live(&self) -> bool {
        self.0.is_some()
    }

    /// The inode to give back to the driver, unless it was before. Nothing is left here.
    pub(crate) fn take(&mut self) -> Option<Self> {
        self.0.take().map(|inode| Self(Some(inode)))
    }

    /// The inode as its driver made it.
    ///
    /// # Errors
    /// `EIO` if it was given back, or is another driver's.
    pub fn get<I: Any>(&self) -> Result<&I> {
        let inode = self.0.as_deref();
        inode.and_then(|i| i.downcast_ref()).ok_or(Errno::EIO)
    }

    /// The inode as its driver made it, to be changed.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_mut<I: Any>(&mut self) -> Result<&mut I> {
        let inode = self.0.as_deref_mut();
        inode.and_then(|i| i.downcast_mut()).ok_or(Errno::EIO)
    }

    /// The inode itself.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn into_inner<I: Any>(self) -> Result<Box<I>> {
        let inode = self.0.and_then(|i| i.downcast().ok());
        inode.ok_or(Errno::EIO)
    }
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
    ///
    /// # Errors
    /// `EIO` where [`AnyInode::get`] gives it, or when the driver is out of service.
    fn attributes(&self, inode: &AnyInode) -> Result<Attributes>;
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
    fn create_unnamed(&self, dir: &AnyInode, new: &NewInode) -> Result<(Ino, AnyInode)>;
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
    fn balance(&self) -> Result<()>;
    /// See [`FileSystem::get_xattr`].
    fn get_xattr(&self, inode: &AnyInode, name: &[u8]) -> Result<Vec<u8>>;
    /// See [`FileSystem::project`].
    fn project(&self, inode: &AnyInode) -> Result<u32>;
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
        self.0.load(ino).map(AnyInode::new)
    }

    fn attributes(&self, inode: &AnyInode) -> Result<Attributes> {
        Ok(self.0.attributes(inode.get()?))
    }

    fn glance(&self, inodes: &[Ino], each: &mut dyn FnMut(usize, &Attributes)) {
        self.0.glance(inodes, each);
    }

    fn lookup(&self, dir: &AnyInode, name: Name<'_>) -> Result<Found> {
        self.0.lookup(dir.get()?, name)
    }

    fn parent(&self, dir: &AnyInode) -> Result<Ino> {
        self.0.parent(dir.get()?)
    }

    fn read_dir(&self, dir: &AnyInode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        self.0.read_dir(dir.get()?, from, emit)
    }

    fn read_link(&self, inode: &AnyInode) -> Result<Vec<u8>> {
        self.0.read_link(inode.get()?)
    }

    fn map(&self, inode: &AnyInode, offset: u64, len: u64) -> Result<Extent> {
        self.0.map(inode.get()?, offset, len)
    }

    fn read_pages(&self, inode: &AnyInode, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_pages(inode.get()?, offset, buf)
    }

    fn create(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, AnyInode)> {
        self.0
            .create(dir.get_mut()?, slot, name, new)
            .map(|(ino, inode)| (ino, AnyInode::new(inode)))
    }

    fn create_unnamed(&self, dir: &AnyInode, new: &NewInode) -> Result<(Ino, AnyInode)> {
        self.0
            .create_unnamed(dir.get()?, new)
            .map(|(ino, inode)| (ino, AnyInode::new(inode)))
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
        self.0
            .link(dir.get_mut()?, slot, name, target.get_mut()?, space, time)
    }

    fn unlink(
        &self,
        dir: &mut AnyInode,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut AnyInode,
        time: Timespec,
    ) -> Result<()> {
        self.0
            .unlink(dir.get_mut()?, slot, name, target.get_mut()?, time)
    }

    fn rename(&self, op: Rename<'_, AnyInode>) -> Result<Renamed> {
        self.0.rename(Rename {
            from_dir: op.from_dir.get_mut()?,
            to_dir: op.to_dir.map(AnyInode::get_mut).transpose()?,
            from: op.from,
            to: op.to,
            inode: op.inode.get_mut()?,
            replaced: op.replaced.map(AnyInode::get_mut).transpose()?,
            exchange: op.exchange,
            space: op.space,
            time: op.time,
        })
    }

    fn set_attributes(&self, inode: &mut AnyInode, change: &SetAttributes) -> Result<()> {
        self.0.set_attributes(inode.get_mut()?, change)
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
        self.0
            .allocate(inode.get_mut()?, offset, len, size_at_least, space, placed)
    }

    fn reserve(&self, inode: &mut AnyInode, offset: u64, len: u64, space: Space) -> Result<()> {
        self.0.reserve(inode.get_mut()?, offset, len, space)
    }

    fn set_size(&self, inode: &mut AnyInode, size: u64, time: Timespec) -> Result<()> {
        self.0.set_size(inode.get_mut()?, size, time)
    }

    fn grow(
        &self,
        inode: &mut AnyInode,
        size: u64,
        space: Space,
        time: Timespec,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<()> {
        self.0.grow(inode.get_mut()?, size, space, time, placed)
    }

    fn punch(&self, inode: &mut AnyInode, offset: u64, len: u64) -> Result<()> {
        self.0.punch(inode.get_mut()?, offset, len)
    }

    fn reclaim(&self, inode: AnyInode) -> Result<()> {
        self.0.reclaim(*inode.into_inner()?)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    fn sync_inode(&self, inode: &AnyInode, data_only: bool) -> Result<()> {
        self.0.sync_inode(inode.get()?, data_only)
    }

    fn balance(&self) -> Result<()> {
        self.0.balance()
    }

    fn get_xattr(&self, inode: &AnyInode, name: &[u8]) -> Result<Vec<u8>> {
        self.0.get_xattr(inode.get()?, name)
    }

    fn project(&self, inode: &AnyInode) -> Result<u32> {
        self.0.project(inode.get()?)
    }

    fn list_xattrs(&self, inode: &AnyInode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.0.list_xattrs(inode.get()?, each)
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
            .set_xattr(inode.get_mut()?, name, value, mode, space, time)
    }

    fn remove_xattr(&self, inode: &mut AnyInode, name: &[u8], time: Timespec) -> Result<()> {
        self.0.remove_xattr(inode.get_mut()?, name, time)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_its_drivers_until_it_is_given_back() {
        let mut inode = AnyInode::new(7_u32);
        assert_eq!(inode.get::<u32>(), Ok(&7));
        assert_eq!(inode.get::<u64>(), Err(Errno::EIO));
        assert_eq!(inode.get_mut::<u64>(), Err(Errno::EIO));

        let given_back = inode.take().unwrap();
        assert_eq!(given_back.into_inner::<u32>(), Ok(Box::new(7)));
        assert!(!inode.is_live() && inode.take().is_none());
        assert_eq!(inode.get_mut::<u32>(), Err(Errno::EIO));
        assert_eq!(AnyInode::new(7_u32).into_inner::<u64>(), Err(Errno::EIO));
    }
}
