//! The adapter to `rumpvfs`: this file and its folder alone name it.

mod describe;
mod filesystem;

use crate::{
    error::{Error, Result as FormatResult},
    options::Options,
    superblock,
    volume::Ffs,
};
use alloc::{
    boxed::Box,
    string::ToString,
    sync::{Arc, Weak},
    vec,
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, Ordering};
use describe::describe;
use rumpbio::{Handle, LogRecord};
use rumpkern::{Component, Log, Phase};
use rumpuser::{BlockDevice, Errno, Host, Result, Timespec};
use rumpvfs::{
    KernelVfs as _,
    fs::{AnyFileSystem, FsType, MountContext, Probe, WriteOrdered, erase},
};

/// The component: registers the type `ffs`.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "ffs",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(FfsType)),
    }
}

/// The file system type `ffs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FfsType;

impl FsType for FfsType {
    fn name(&self) -> &'static str {
        "ffs"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["ufs", "ffs1", "ffs2"]
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<Probe>> {
        let Some(found) = superblock::find(device)? else {
            return Ok(None);
        };
        Ok(Some(match found.check() {
            Ok(superblock) => describe(&superblock),
            Err(error) => Probe {
                facts: vec![("damage".to_string(), error.to_string())],
                ..Probe::of("ffs")
            },
        }))
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        let log = context.log.clone();
        let options = Options::parse(&context.options).map_err(|error| report(&log, &error))?;
        let device = context.device.clone().ok_or(Errno::EINVAL)?;
        if !context.read_only && device.read_only() {
            return Err(Errno::EROFS);
        }
        let force = options.force;
        let read_only = context.read_only;
        let ffs = Ffs::open(
            device,
            &*context.host,
            context.cache_bytes,
            options,
            read_only,
        )
        .map_err(|error| report(&log, &error))?;
        let mounted = Mounted {
            ffs: Arc::new(ffs),
            log,
            host: context.host.clone(),
            force,
            writable: AtomicBool::new(false),
        };
        mounted.ffs.volume().set_hooks(Arc::new(CommitHooks {
            ffs: Arc::downgrade(&mounted.ffs),
            host: context.host.clone(),
            ordered: context.ordered.clone(),
        }));
        if !context.read_only {
            mounted.begin_writing()?;
        }
        Ok(erase(mounted))
    }
}

/// What the volume asks for when it commits.
struct CommitHooks {
    ffs: Weak<Ffs>,
    host: Arc<dyn Host>,
    ordered: Arc<dyn WriteOrdered>,
}

impl rumpbio::Hooks for CommitHooks {
    fn commit_blocks(&self) -> usize {
        self.ffs.upgrade().map_or(0, |ffs| ffs.commit_blocks())
    }

    fn before_commit(&self, handle: &mut Handle<'_>) -> Result<()> {
        match self.ffs.upgrade() {
            Some(ffs) => ffs.before_commit(handle, self.host.wall()),
            None => Ok(()),
        }
    }

    fn write_ordered(&self) -> Result<()> {
        self.ordered.write_ordered()
    }

    fn home_steps(&self, records: &[LogRecord]) -> Vec<Vec<LogRecord>> {
        match self.ffs.upgrade() {
            Some(ffs) => ffs
                .order
                .steps(records, crate::order::Step::Inodes.number()),
            None => Vec::new(),
        }
    }
}

/// Writes what is wrong with the medium to the kernel's messages and flattens it.
fn report(log: &Log, error: &Error) -> Errno {
    if !matches!(error, Error::NoInode(_) | Error::Refused(_)) {
        log.message(format_args!("{error}"));
    }
    error.into()
}

/// A mounted volume.
pub struct Mounted {
    ffs: Arc<Ffs>,
    log: Log,
    host: Arc<dyn Host>,
    /// Writing was asked for whatever the volume's state.
    force: bool,
    writable: AtomicBool,
}

impl Mounted {
    fn told<T>(&self, result: FormatResult<T>) -> Result<T> {
        result.map_err(|error| report(&self.log, &error))
    }

    fn now(&self) -> Timespec {
        self.host.wall()
    }

    fn begin_writing(&self) -> Result<()> {
        let mut seed = [0; 8];
        self.host.random(&mut seed);
        let log = self.log.clone();
        self.ffs
            .set_report(Box::new(move |error| log.message(format_args!("{error}"))));
        let seed = u64::from_le_bytes(seed);
        let host = self.host.clone();
        let wall = Box::new(move || host.wall());
        self.told(self.ffs.begin_writing(self.force, seed, self.now(), wall))?;
        self.writable.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn writable(&self) -> Result<()> {
        if self.writable.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(Errno::EROFS)
        }
    }
}
