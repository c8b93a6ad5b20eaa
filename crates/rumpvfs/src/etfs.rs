//! Host objects that the kernel's consumer shows in the kernel's name space (etfs): as regular files, block devices, or
//! character devices.

use crate::{
    calls::{EtfsType, Follow},
    process::Ctx,
    special::DeviceFile,
    vfs::Vfs,
    vnode::{HOST, Vnode, VnodeRef},
};
use alloc::{sync::Arc, vec::Vec};
use rumpkern::{File, FileType, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result};

/// Major number of shown devices.
const MAJOR: u32 = 240;

struct Shown {
    number: DeviceNumber,
    path: Vec<u8>,
    kind: EtfsType,
    device: Arc<dyn BlockDevice>,
    /// A mount or an open file uses it.
    mounted: bool,
    open: usize,
}

/// What the consumer shows.
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

    fn opened(&mut self, number: DeviceNumber, kind: EtfsType) -> Result<Arc<dyn BlockDevice>> {
        let shown = self.find(number)?;
        if shown.kind != kind {
            return Err(Errno::ENXIO);
        }
        shown.open += 1;
        Ok(shown.device.clone())
    }

    /// A file is closed.
    pub(crate) fn closed(&mut self, number: DeviceNumber) {
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
    pub(crate) fn device_at(&self, ctx: &Ctx<'_>, path: &[u8]) -> Result<DeviceNumber> {
        // Where the root is not in memory there are no nodes, but devices have their paths.
        if let Some(shown) = self.devices.lock().at(path) {
            return match shown.kind {
                EtfsType::Block => Ok(shown.number),
                EtfsType::Regular | EtfsType::Character => Err(Errno::ENOTBLK),
            };
        }
        let node = ctx.resolve(&None, path, Follow::Yes)?;
        if node.file_type == FileType::Block {
            Ok(node.attributes()?.rdev)
        } else {
            Err(Errno::ENOTBLK)
        }
    }

    /// Shows a host object at a path.
    ///
    /// # Errors
    /// `EINVAL` for a relative path, `EEXIST`, `EOPNOTSUPP`.
    pub(crate) fn show_device(
        self: &Arc<Self>,
        path: &[u8],
        device: Arc<dyn BlockDevice>,
        kind: EtfsType,
    ) -> Result<()> {
        if path.first() != Some(&b'/') {
            return Err(Errno::EINVAL);
        }
        if kind != EtfsType::Block && !self.has_nodes() {
            return Err(Errno::EOPNOTSUPP);
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
                kind,
                device: device.clone(),
                mounted: false,
                open: 0,
            });
            number
        };
        let made = self.make_node(path, kind, (number, device));
        if made.is_err() {
            self.devices.lock().shown.retain(|s| s.number != number);
        }
        made
    }

    /// Whether device nodes are made: only in a root file system of the kernel's own, never on a medium.
    fn has_nodes(&self) -> bool {
        self.root().is_ok_and(|root| root.mount.limits.memory)
    }

    fn make_node(
        self: &Arc<Self>,
        path: &[u8],
        kind: EtfsType,
        (number, device): (DeviceNumber, Arc<dyn BlockDevice>),
    ) -> Result<()> {
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
        ctx.mknod(&None, path, file_type(kind), 0o600, number)?;
        if kind == EtfsType::Regular {
            // The vnode lives as long as the file has a name: in memory no file idles out.
            let vnode = ctx.resolve(&None, path, Follow::No)?;
            vnode.extra.lock().host = Some((number, device));
            vnode.mark(HOST);
        }
        Ok(())
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
        let shown = devices.shown.remove(at);
        drop(devices);
        let gone = shown.number;
        drop(shown);
        if !self.has_nodes() {
            return Ok(());
        }
        // Somebody may have removed the node, or put something else there.
        let ctx = Ctx::kernel(self);
        match ctx.resolve(&None, path, Follow::No) {
            Ok(node) if number_of(&node) == Some(gone) => {
                drop(node);
                ctx.unlink(&None, path)
            }
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
            Err(error) => Err(error),
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
        let kind = match node.file_type {
            FileType::Block => EtfsType::Block,
            _ => EtfsType::Character,
        };
        let number = node.attributes()?.rdev;
        self.open_shown(node, (number, kind), writes)
    }

    /// Opens a regular file that shows an object of the host.
    ///
    /// # Errors
    /// `ENXIO` when it is not shown any more, `EROFS`.
    pub(crate) fn open_host(
        self: &Arc<Self>,
        node: VnodeRef,
        writes: bool,
    ) -> Result<Arc<dyn File>> {
        let number = number_of(&node).ok_or(Errno::ENXIO)?;
        self.open_shown(node, (number, EtfsType::Regular), writes)
    }

    fn open_shown(
        self: &Arc<Self>,
        node: VnodeRef,
        (number, kind): (DeviceNumber, EtfsType),
        writes: bool,
    ) -> Result<Arc<dyn File>> {
        let device = self.devices.lock().opened(number, kind)?;
        let file = DeviceFile {
            vfs: self.clone(),
            number,
            kind,
            device,
            node,
        };
        if writes && file.device.read_only() {
            return Err(Errno::EROFS);
        }
        Ok(Arc::new(file))
    }
}

fn file_type(kind: EtfsType) -> FileType {
    match kind {
        EtfsType::Regular => FileType::Regular,
        EtfsType::Block => FileType::Block,
        EtfsType::Character => FileType::Character,
    }
}

/// Number of what a node stands for.
fn number_of(node: &Vnode) -> Option<DeviceNumber> {
    match node.file_type {
        FileType::Block | FileType::Character => node.attributes().ok().map(|a| a.rdev),
        _ => node.extra.lock().host.as_ref().map(|(number, _)| *number),
    }
}
