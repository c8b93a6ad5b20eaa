//! Types of file systems, and how one mounts.

use super::AnyFileSystem;
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use rumpkern::Log;
use rumpuser::{BlockDevice, Errno, Host, Result, Timespec};

/// What a driver gets at mount.
pub struct MountContext {
    /// The device, if one was named. A driver without a device must refuse one, and the other way round, with `EINVAL`.
    pub device: Option<Arc<dyn BlockDevice>>,
    /// Nothing may be written, not even by the replay of a log.
    pub read_only: bool,
    /// Options of the driver: name and value. It must refuse what it does not know with `EINVAL` and a message.
    pub options: Vec<(String, Option<String>)>,
    /// Clocks, randomness, threads.
    pub host: Arc<dyn Host>,
    /// Writes to the kernel's messages, prefixed with the type and the device's path.
    pub log: Log,
    /// To be called from [`Hooks::write_ordered`](rumpbio::Hooks::write_ordered): writes all dirty pages of this mount that
    /// have a place on the device.
    pub ordered: Arc<dyn WriteOrdered>,
    /// Bytes that the driver's metadata cache may take.
    pub cache_bytes: usize,
}

impl MountContext {
    /// Wall time.
    #[must_use]
    pub fn now(&self) -> Timespec {
        self.host.wall()
    }

    /// For a driver without options: there must be none.
    ///
    /// # Errors
    /// `EINVAL`, with a message.
    pub fn no_options(&self) -> Result<()> {
        match self.options.first() {
            None => Ok(()),
            Some((name, _)) => {
                self.log.message(format_args!("unknown option {name}"));
                Err(Errno::EINVAL)
            }
        }
    }

    /// The device, for a driver that only reads.
    ///
    /// # Errors
    /// `EINVAL` when there is none; `EROFS`, with a message, when the mount is not read-only.
    pub fn read_only_device(&self) -> Result<Arc<dyn BlockDevice>> {
        let device = self.device.clone().ok_or(Errno::EINVAL)?;
        if self.read_only {
            return Ok(device);
        }
        self.log
            .message(format_args!("this file system can only be read"));
        Err(Errno::EROFS)
    }
}

/// The page cache's side of `data=ordered`.
pub trait WriteOrdered: Send + Sync {
    /// Writes the dirty pages of the mount to the device, without a flush. Takes no inode lock.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    fn write_ordered(&self) -> Result<()>;
}

/// What a probe found on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// How it would be called more exactly, such as `"ext4"`.
    pub variant: String,
    /// Volume label.
    pub label: Option<String>,
    /// Volume UUID or serial number as text.
    pub uuid: Option<String>,
    /// More facts for a person, in order: name and value (`"block size"`, `"1024"`; `"features"`, ...; `"state"`, `"clean"`).
    pub facts: Vec<(String, String)>,
}

impl Probe {
    /// Nothing but what it would be called.
    #[must_use]
    pub fn of(variant: &str) -> Self {
        Self {
            variant: variant.into(),
            ..Self::default()
        }
    }
}

/// A kind of file system: what a driver registers.
pub trait FsType: Send + Sync {
    /// Name for `mount`, such as `"ext2fs"`.
    fn name(&self) -> &'static str;

    /// Other names that `mount` takes, such as `"ext4"`.
    fn aliases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Looks whether the device holds this format, by magic numbers alone: a damaged volume is still found.
    ///
    /// # Errors
    /// `EIO` from the device.
    fn probe(&self, _device: &dyn BlockDevice) -> Result<Option<Probe>> {
        Ok(None)
    }

    /// Whether it needs no device.
    fn nodev(&self) -> bool {
        false
    }

    /// Mounts.
    ///
    /// # Errors
    /// `EINVAL` when it is not this format or an option is wrong, `EIO` when damaged, `EROFS` when it can only be mounted
    /// read-only and `read_only` is not set, `EOPNOTSUPP` for a feature that is not supported. The log tells more.
    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>>;
}
