//! Device nodes: block devices that the kernel's consumer shows (etfs), and what is behind a node when it is opened.

use crate::{calls::Follow, process::Ctx, vfs::Vfs, vnode::VnodeRef};
use alloc::{sync::Arc, vec::Vec};
use core::any::Any;
use rumpkern::{
    Cred, File, FileType, Position, Stat,
    file::{Ready, Seekable},
    types::DeviceNumber,
};
use rumpuser::{BlockDevice, Errno, Result};

/// Major number of shown devices.
const MAJOR: u32 = 240;

struct Shown {
    number: DeviceNumber,
    path: Vec<u8>,
    device: Arc<dyn BlockDevice>,
    /// A mount or an open file uses it.
    mounted: bool,
    open: usize,
}

/// Block devices shown by the consumer.
#[derive(Default)]
pub(crate) struct Devices {
    shown: Vec<Shown>,
    next: u32,
}

impl Devices {
    fn find(&mut self, number: DeviceNumber) -> Result<&mut Shown> {
        let found = self.shown.iter_mut().find(|s| s.number == number);
        found.ok_or(Errno::ENXIO)
    }

    fn at(&self, path: &[u8]) -> Option<&Shown> {
        self.shown.iter().find(|s| s.path == path)
    }

    /// Takes a device for a mount.
    ///
    /// # Errors
    /// `ENXIO`, `EBUSY`.
    pub(crate) fn claim(&mut self, number: DeviceNumber) -> Result<Arc<dyn BlockDevice>> {
        let shown = self.find(number)?;
        if core::mem::replace(&mut shown.mounted, true) {
            return Err(Errno::EBUSY);
        }
        Ok(shown.device.clone())
    }

    /// Undoes [`claim`](Self::claim).
    pub(crate) fn release(&mut self, number: DeviceNumber) {
        if let Ok(shown) = self.find(number) {
            shown.mounted = false;
        }
    }

    fn opened(&mut self, number: DeviceNumber) -> Result<Arc<dyn BlockDevice>> {
        let shown = self.find(number)?;
        shown.open += 1;
        Ok(shown.device.clone())
    }

    fn closed(&mut self, number: DeviceNumber) {
        if let Ok(shown) = self.find(number) {
            shown.open -= 1;
        }
    }
}

impl Vfs {
    /// The device that a path names, for a mount.
    ///
    /// # Errors
    /// Those of paths; `ENOTBLK`.
    pub(crate) fn device_at(&self, ctx: &Ctx, path: &[u8]) -> Result<DeviceNumber> {
        // Where the root is not in memory there are no nodes, but devices have their paths.
        if let Some(shown) = self.devices.lock().at(path) {
            return Ok(shown.number);
        }
        let node = ctx.resolve(&None, path, Follow::Yes)?;
        if node.file_type == FileType::Block {
            Ok(node.attributes()?.rdev)
        } else {
            Err(Errno::ENOTBLK)
        }
    }

    /// Shows a device at a path.
    ///
    /// # Errors
    /// `EINVAL` for a relative path, `EEXIST`.
    pub(crate) fn show_device(
        self: &Arc<Self>,
        path: &[u8],
        device: Arc<dyn BlockDevice>,
    ) -> Result<()> {
        if path.first() != Some(&b'/') {
            return Err(Errno::EINVAL);
        }
        let number = {
            let mut devices = self.devices.lock();
            if devices.at(path).is_some() {
                return Err(Errno::EEXIST);
            }
            let number = DeviceNumber {
                major: MAJOR,
                minor: devices.next,
            };
            devices.next += 1;
            devices.shown.push(Shown {
                number,
                path: path.to_vec(),
                device,
                mounted: false,
                open: 0,
            });
            number
        };
        let made = self.make_node(path, number);
        if made.is_err() {
            self.devices.lock().shown.retain(|s| s.number != number);
        }
        made
    }

    /// Whether device nodes are made: only in a root file system of the kernel's own, never on a medium.
    fn has_nodes(&self) -> bool {
        self.root().is_ok_and(|root| root.mount.limits.memory)
    }

    fn make_node(self: &Arc<Self>, path: &[u8], number: DeviceNumber) -> Result<()> {
        if !self.has_nodes() {
            return Ok(());
        }
        let ctx = Ctx::kernel(self);
        for (at, _) in path
            .iter()
            .enumerate()
            .filter(|&(at, &b)| at > 0 && b == b'/')
        {
            match ctx.mkdir(&None, &path[..at], 0o755) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
        }
        ctx.mknod(&None, path, FileType::Block, 0o600, number)
    }

    /// Takes a shown device away.
    ///
    /// # Errors
    /// `ENOENT`, `EBUSY`.
    pub(crate) fn hide_device(self: &Arc<Self>, path: &[u8]) -> Result<()> {
        let mut devices = self.devices.lock();
        let found = devices.shown.iter().position(|s| s.path == path);
        let at = found.ok_or(Errno::ENOENT)?;
        let shown = &devices.shown[at];
        if shown.mounted || shown.open > 0 {
            return Err(Errno::EBUSY);
        }
        let gone = devices.shown.remove(at);
        drop(devices);
        drop(gone);
        if !self.has_nodes() {
            return Ok(());
        }
        // Somebody may have removed the node.
        match Ctx::kernel(self).unlink(&None, path) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Opens what a block or character device node stands for.
    ///
    /// # Errors
    /// `ENXIO` when there is no such device, `EROFS`.
    pub(crate) fn open_device(
        self: &Arc<Self>,
        node: VnodeRef,
        writes: bool,
    ) -> Result<Arc<dyn File>> {
        if node.file_type != FileType::Block {
            return Err(Errno::ENXIO);
        }
        let number = node.attributes()?.rdev;
        let device = self.devices.lock().opened(number)?;
        let file = DeviceFile {
            vfs: self.clone(),
            number,
            device,
            node,
        };
        if writes && file.device.read_only() {
            return Err(Errno::EROFS);
        }
        Ok(Arc::new(file))
    }
}

/// An open block device: its bytes, raw.
pub(crate) struct DeviceFile {
    pub(crate) node: VnodeRef,
    vfs: Arc<Vfs>,
    number: DeviceNumber,
    device: Arc<dyn BlockDevice>,
}

impl Drop for DeviceFile {
    fn drop(&mut self) {
        self.vfs.devices.lock().closed(self.number);
    }
}

impl DeviceFile {
    /// Of `len` bytes at `offset` those that the device has.
    fn clip(&self, offset: u64, len: usize) -> usize {
        let room = self.device.len().saturating_sub(offset);
        usize::try_from(room).map_or(len, |room| room.min(len))
    }
}

impl File for DeviceFile {
    fn read(&self, at: Position, bufs: &mut [&mut [u8]], _nonblock: bool) -> Result<usize> {
        let mut offset = match at {
            Position::At(offset) => offset,
            Position::Append => self.device.len(),
        };
        let mut done = 0;
        for buf in bufs {
            let len = self.clip(offset, buf.len());
            if len == 0 {
                continue;
            }
            self.device.read_at(offset, &mut buf[..len])?;
            done += len;
            offset += len as u64;
        }
        Ok(done)
    }

    fn write(&self, at: Position, bufs: &[&[u8]], _nonblock: bool) -> Result<(usize, u64)> {
        let mut offset = match at {
            Position::At(offset) => offset,
            Position::Append => self.device.len(),
        };
        let mut done = 0;
        for buf in bufs {
            let len = self.clip(offset, buf.len());
            if len == 0 && !buf.is_empty() && done == 0 {
                return Err(Errno::ENOSPC);
            }
            if len == 0 {
                continue;
            }
            self.device.write_at(offset, &buf[..len])?;
            done += len;
            offset += len as u64;
        }
        Ok((done, offset))
    }

    fn stat(&self) -> Result<Stat> {
        self.node.stat()
    }

    fn seek(&self) -> Option<&dyn Seekable> {
        Some(self)
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        self.device.flush()
    }

    fn poll(&self) -> Ready {
        Ready::IN | Ready::OUT
    }

    fn close(&self, _cred: &Cred) -> Result<()> {
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Seekable for DeviceFile {
    fn size(&self) -> Result<u64> {
        Ok(self.device.len())
    }

    fn data(&self, from: u64) -> Result<u64> {
        if from < self.device.len() {
            Ok(from)
        } else {
            Err(Errno::ENXIO)
        }
    }

    fn hole(&self, from: u64) -> Result<u64> {
        self.data(from).map(|_| self.device.len())
    }
}
