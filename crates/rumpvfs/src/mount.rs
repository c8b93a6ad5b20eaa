//! A mount: a driver at work.

mod look;
mod table;

use crate::{
    caches::Caches,
    calls::{MountFlags, SetTime},
    erased::AnyFileSystem,
    fs::{Ino, Limits},
    guarded::Guarded,
    pages::MountedPages,
    slots::TABLES,
    vnode::VnodeRef,
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::{
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use rumpkern::types::DeviceNumber;
use rumpuser::{
    Errno, Event, Result, Timespec,
    sleep::SleepMutex,
    sync::{CachePadded, Lanes, Mutex},
};

pub(crate) use look::Look;
use table::{Table, in_order};

/// A driver at work.
pub(crate) struct Mount {
    /// Number of the mount, `st_dev`.
    pub(crate) id: u64,
    pub(crate) caches: Arc<Caches>,
    pub(crate) fs: Guarded,
    pub(crate) limits: Limits,
    pub(crate) root_ino: Ino,
    flags: AtomicU32,
    pub(crate) fs_type: &'static str,
    /// Path of the device.
    pub(crate) from: String,
    /// Path of the covered directory.
    pub(crate) on: String,
    pub(crate) pages: MountedPages,
    /// Renames across directories take it, one at a time, so that nothing becomes its own ancestor.
    pub(crate) rename: SleepMutex<()>,
    /// Held while the whole mount is synced: who ends writing waits for that. Taken with no inode locked.
    pub(crate) syncing: SleepMutex<()>,
    /// It is being unmounted.
    closing: AtomicBool,
    /// The device's number, while it is in use by this mount.
    pub(crate) device: Option<DeviceNumber>,
    tables: [CachePadded<Mutex<Table>>; TABLES as usize],
    event: Arc<dyn Event>,
    /// The root directory and the covered one, in use as long as it is mounted.
    pub(crate) anchors: Mutex<Anchors>,
    /// What the vnodes refer to it by, until it is being unmounted.
    handles: Lanes<Mutex<Option<MountRef>>>,
}

/// A mount as its vnodes refer to it: through a reference of the lane that made the vnode, so that making and ending vnodes counts on a
/// cache line that other lanes do not use.
#[derive(Clone)]
pub(crate) struct MountRef(Arc<CachePadded<Arc<Mount>>>);

impl Deref for MountRef {
    type Target = Arc<Mount>;
    fn deref(&self) -> &Arc<Mount> {
        &self.0
    }
}

/// What a mount keeps in use.
#[derive(Default)]
pub(crate) struct Anchors {
    pub(crate) root: Option<VnodeRef>,
    pub(crate) covered: Option<VnodeRef>,
}

/// What a mount is made of.
pub(crate) struct NewMount {
    pub(crate) id: u64,
    pub(crate) fs: Guarded,
    pub(crate) flags: MountFlags,
    pub(crate) fs_type: &'static str,
    pub(crate) from: String,
    pub(crate) on: String,
    pub(crate) pages: MountedPages,
    pub(crate) device: Option<DeviceNumber>,
}

impl Mount {
    pub(crate) fn new(caches: &Arc<Caches>, new: NewMount) -> Arc<Self> {
        Arc::new(Self {
            id: new.id,
            limits: new.fs.limits(),
            root_ino: new.fs.root(),
            fs: new.fs,
            flags: AtomicU32::new(new.flags.bits()),
            fs_type: new.fs_type,
            from: new.from,
            on: new.on,
            pages: new.pages,
            rename: SleepMutex::new(caches.queues(), ()),
            syncing: SleepMutex::new(caches.queues(), ()),
            closing: AtomicBool::new(false),
            device: new.device,
            tables: Default::default(),
            event: caches.host.event(),
            anchors: Mutex::default(),
            handles: Lanes::new(caches.host.cpus(), |_| Mutex::default()),
            caches: caches.clone(),
        })
    }

    /// A lock of an inode is let go: if by a panic, what it guards may be half changed, and the mount is out of service.
    pub(crate) fn let_go(&self) {
        if self.caches.host.unwinding() {
            self.fs.lose();
        }
    }

    /// The mount for a vnode to keep.
    pub(crate) fn handle(self: &Arc<Self>) -> MountRef {
        let mut own = self.handles.of(self.caches.host.current()).lock();
        if let Some(handle) = &*own {
            return handle.clone();
        }
        let made = MountRef(Arc::new(CachePadded(self.clone())));
        // Kept, it keeps the mount itself: not any more when that ends.
        if !self.closing.load(Ordering::Acquire) {
            *own = Some(made.clone());
        }
        made
    }

    pub(crate) fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    pub(crate) fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    pub(crate) fn read_only(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY)
    }

    /// # Errors
    /// `EROFS` when nothing may be written.
    pub(crate) fn writable(&self) -> Result<()> {
        if self.read_only() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Wall time in the steps of this file system.
    pub(crate) fn now(&self) -> Timespec {
        self.round(self.caches.host.wall())
    }

    /// Access and modification time as they are to be stored; `None` where the old one stays.
    pub(crate) fn times(&self, set: (SetTime, SetTime)) -> (Option<Timespec>, Option<Timespec>) {
        let present = self.now();
        let time = |set| match set {
            SetTime::Omit => None,
            SetTime::Now => Some(present),
            SetTime::To(time) => Some(self.round(time)),
        };
        (time(set.0), time(set.1))
    }

    /// A time in the steps of this file system.
    pub(crate) fn round(&self, time: Timespec) -> Timespec {
        const SECOND: u32 = 1_000_000_000;
        match self.limits.time_granularity {
            0 | 1 => time,
            step if step < SECOND => Timespec {
                nsec: time.nsec - time.nsec % step,
                ..time
            },
            step => {
                let seconds = i64::from(step / SECOND).max(1);
                Timespec::from_secs(time.sec - time.sec.rem_euclid(seconds))
            }
        }
    }

    /// No vnode is loaded any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        for handle in self.handles.iter() {
            let handle = handle.lock().take();
            drop(handle);
        }
    }

    /// Forgets all vnodes without a word to the driver.
    pub(crate) fn abandon(&self) {
        self.fs.kill();
        self.close();
        let anchors = core::mem::take(&mut *self.anchors.lock());
        drop(anchors);
        for table in &self.tables {
            let slots = core::mem::take(&mut table.lock().slots);
            drop(slots);
        }
        self.event.notify();
    }

    /// After a call that changed something, with no lock held.
    pub(crate) fn changed(&self) -> Result<()> {
        let result = if self.flags().contains(MountFlags::SYNCHRONOUS) {
            self.sync()
        } else {
            Ok(())
        };
        // What was changed is changed; the next sync tells what is wrong.
        let _ = self.fs.balance();
        result
    }

    /// Tells the driver all pending times and writes the dirty pages.
    ///
    /// # Errors
    /// The first error; all is tried.
    pub(crate) fn write_back(&self) -> Result<()> {
        let mut result = Ok(());
        let mut noted = Vec::new();
        for table in &self.tables {
            noted.extend(table.lock().slots.take_noted());
        }
        for vnode in in_order(noted) {
            result = result.and(match vnode.flush_noted_times() {
                // It was given back meanwhile, which wrote it.
                Err(Errno::EIO) if !self.fs.is_dead() && vnode.ending() => Ok(()),
                other => other,
            });
        }
        if !self.limits.memory {
            result = result.and(self.pages.write_back());
        }
        result
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The first error; all is tried.
    pub(crate) fn sync(&self) -> Result<()> {
        let _one = self.syncing.lock();
        if self.read_only() || self.closing.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.write_back();
        result.and(self.fs.sync())
    }
}
