//! From a medium to a mounted file system, for consumers that make system calls themselves.
//!
//! [`boot`] a kernel, take a [`part`] of the disk, [`find_type`] and [`mount`]: what [`Fs`](crate::Fs) does, and the `rump` tool.
//!
//! ```
//! use rumpvfs::Calls as _;
//! use std::sync::Arc;
//! use ukfs::image;
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/hello.img");
//! let disk = Arc::new(rumpuser_posix::HostFile::open(path, rumpuser_posix::Access::ReadOnly)?);
//! let kernel = image::boot(rumpuser_posix::Host::small(16 << 20, false))?;
//! let found = image::find_type(&kernel, &*disk, None, true)?;
//! assert_eq!(found.fs_type, "ext2fs");
//! let mounted = image::mount(kernel, disk, &found.fs_type, &[])?;
//! assert_eq!(mounted.proc.stat("/etc/hostname")?.size, 6);
//! mounted.kernel.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::packed;
use rumpdev::{Disklabel, SelectError, Selector, Table, TableError, VolumeId};
use rumpkern::{Kernel, Proc};
use rumpuser::{BlockDevice, Errno, Result};
use rumpuser_posix::Host;
use rumpvfs::{
    Calls as _,
    calls::{At, KernelVfs as _, MountArgs},
    fs::{FsType, Probe},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Where the device is shown in the kernel's name space.
const DEVICE: &str = "/dev/image";
/// Where it is mounted; the process that works on it has its root there, so that the image's own absolute links work.
const MOUNT_POINT: &str = "/image";

/// An option for a file system driver: name and value.
pub type DriverOption = (String, Option<String>);

/// A kernel on this host with every file system that this crate was built with.
///
/// # Errors
/// Those of a component's start.
pub fn boot(host: Arc<Host>) -> Result<Kernel> {
    let builder = Kernel::builder(host);
    #[cfg(feature = "tmpfs")]
    let builder = builder.component(rumpfs_tmpfs::component());
    #[cfg(feature = "cd9660")]
    let builder = builder.component(rumpfs_cd9660::component());
    #[cfg(feature = "ext2fs")]
    let builder = builder.component(rumpfs_ext2fs::component());
    #[cfg(feature = "ffs")]
    let builder = builder.component(rumpfs_ffs::component());
    #[cfg(feature = "msdosfs")]
    let builder = builder.component(rumpfs_msdosfs::component());
    builder.boot()
}

/// The part of a disk that a selector names, labels of file systems included.
///
/// # Errors
/// There is no such part, or more than one.
pub fn part(
    kernel: &Kernel,
    disk: &Arc<dyn BlockDevice>,
    selector: &Selector,
) -> Result<Arc<dyn BlockDevice>, SelectError> {
    let identify = |device: &dyn BlockDevice| {
        let (_, probe) = kernel.probe(device).ok()??;
        Some(VolumeId {
            label: probe.label.unwrap_or_default(),
            uuid: probe.uuid,
        })
    };
    let window = rumpdev::select(disk, selector, &identify)?;
    Ok(Arc::new(window))
}

/// What [`find_type`] found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The type's name, as it is registered.
    pub fs_type: String,
    /// What probing told; `None` if only the caller knows the type.
    pub probe: Option<Probe>,
}

/// The type of the file system on a device: `forced`, or else by content. `whole`: the device is no partition, and may have a table.
///
/// # Errors
/// There is none, or `forced` is not known.
pub fn find_type(
    kernel: &Kernel,
    device: &dyn BlockDevice,
    forced: Option<&str>,
    whole: bool,
) -> Result<Found, NoType> {
    let probe = kernel.probe(device).map_err(NoType::Device)?;
    let fs_type = match (forced, &probe) {
        (Some(forced), _) => {
            known_type(kernel, forced).ok_or_else(|| NoType::unknown(kernel, forced))?
        }
        (None, Some((found, _))) => (*found).to_owned(),
        (None, None) => return Err(NoType::nothing(kernel, device, whole)),
    };
    Ok(Found {
        fs_type,
        probe: probe.map(|(_, probe)| probe),
    })
}

/// The name under which a type is registered.
#[must_use]
pub fn known_type(kernel: &Kernel, name: &str) -> Option<String> {
    let types = kernel.fs_types();
    let found = types
        .iter()
        .find(|t| t.name() == name || t.aliases().contains(&name))?;
    Some(found.name().to_owned())
}

/// Names of the types that live on a device.
fn device_types(kernel: &Kernel) -> String {
    types(kernel, |t| !t.nodev())
}

fn types(kernel: &Kernel, which: impl Fn(&dyn FsType) -> bool) -> String {
    let types = kernel.fs_types();
    let names: Vec<_> = types
        .iter()
        .filter(|t| which(&***t))
        .map(|t| match t.aliases() {
            [] => t.name().to_owned(),
            aliases => format!("{} ({})", t.name(), aliases.join(", ")),
        })
        .collect();
    names.join(", ")
}

/// Why there is no file system to mount.
#[derive(Debug)]
pub enum NoType {
    /// The device cannot be read.
    Device(Errno),
    /// The caller names a type that there is not.
    Unknown {
        /// What was named.
        wanted: String,
        /// The types that there are.
        known: String,
    },
    /// A disk with partitions, of which one has to be named.
    Partitions {
        /// How: `NUMBER` or `LETTER`.
        by: &'static str,
        /// The partitions.
        contents: String,
    },
    /// The medium is packed in a file of another form.
    Packed {
        /// Which.
        form: &'static str,
        /// The command that unpacks it.
        command: &'static str,
    },
    /// No type claims the device.
    Nothing {
        /// Its size in bytes.
        size: u64,
        /// The types that were tried.
        tried: String,
        /// A broken partition table.
        table: Option<TableError>,
    },
}

impl NoType {
    /// `wanted` is no type.
    #[must_use]
    pub fn unknown(kernel: &Kernel, wanted: &str) -> Self {
        Self::Unknown {
            wanted: wanted.to_owned(),
            known: types(kernel, |_| true),
        }
    }

    /// No type claims the device: a disk with partitions if it is a `whole` disk, or something else.
    #[must_use]
    pub fn nothing(kernel: &Kernel, device: &dyn BlockDevice, whole: bool) -> Self {
        let nothing = |table| Self::Nothing {
            size: device.len(),
            tried: device_types(kernel),
            table,
        };
        if !whole {
            return nothing(None);
        }
        if let Some((form, command)) = packed::form(device) {
            return Self::Packed { form, command };
        }
        let (by, contents) = match Table::read(device) {
            Ok(Some(table)) if !table.partitions.is_empty() => ("NUMBER", table.contents()),
            Ok(_) => match Disklabel::read(device) {
                Ok(Some(label)) => ("LETTER", label.contents()),
                _ => return nothing(None),
            },
            Err(error) => return nothing(Some(error)),
        };
        Self::Partitions { by, contents }
    }

    /// The error's number.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Device(errno) => *errno,
            Self::Unknown { .. } => Errno::ENODEV,
            Self::Partitions { .. } | Self::Packed { .. } | Self::Nothing { .. } => Errno::EINVAL,
        }
    }
}

impl fmt::Display for NoType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(errno) => errno.fmt(f),
            Self::Unknown { wanted, known } => {
                write!(f, "unknown file system type '{wanted}'; known: {known}")
            }
            Self::Partitions { by, contents } => {
                write!(
                    f,
                    "a disk with partitions: name one by its {by}; {contents}"
                )
            }
            Self::Packed { form, command } => {
                write!(
                    f,
                    "a medium packed as {form}, which is not read: unpack it with {command}"
                )
            }
            Self::Nothing {
                tried,
                table: Some(error),
                ..
            } => write!(f, "no file system found (tried: {tried}), and {error}"),
            Self::Nothing { size, tried, .. } => {
                write!(f, "no file system found in {size} bytes (tried: {tried})")
            }
        }
    }
}

impl std::error::Error for NoType {}

/// A file system mounted in a kernel of its own. Dropped, it is not unmounted: that is [`Kernel::shutdown`].
pub struct Mounted {
    /// The kernel.
    pub kernel: Kernel,
    /// A process whose root directory is the file system's.
    pub proc: Proc,
    /// The file system's device; `None`: it is in memory.
    pub device: Option<Arc<dyn BlockDevice>>,
    /// Type as it was mounted.
    pub fs_type: String,
    told: AtomicU64,
}

/// Mounts a device, for writing if it can be written.
///
/// # Errors
/// Those of the driver, with what it had to say.
pub fn mount(
    kernel: Kernel,
    device: Arc<dyn BlockDevice>,
    fs_type: &str,
    options: &[DriverOption],
) -> Result<Mounted, MountError> {
    mount_on(kernel, Some(device), fs_type, options)
}

/// Mounts a file system that is in memory.
///
/// # Errors
/// Those of the driver, with what it had to say.
pub fn mount_memory(
    kernel: Kernel,
    fs_type: &str,
    options: &[DriverOption],
) -> Result<Mounted, MountError> {
    mount_on(kernel, None, fs_type, options)
}

fn mount_on(
    kernel: Kernel,
    device: Option<Arc<dyn BlockDevice>>,
    fs_type: &str,
    options: &[DriverOption],
) -> Result<Mounted, MountError> {
    let mark = kernel.log().mark();
    match mount_in(&kernel, device.as_ref(), fs_type, options) {
        Ok(()) => Ok(Mounted {
            proc: kernel.init_proc(),
            device,
            fs_type: fs_type.to_owned(),
            told: AtomicU64::new(kernel.log().mark()),
            kernel,
        }),
        Err(errno) => Err(MountError {
            errno,
            fs_type: fs_type.to_owned(),
            messages: messages(&kernel, mark),
        }),
    }
}

fn mount_in(
    kernel: &Kernel,
    device: Option<&Arc<dyn BlockDevice>>,
    fs_type: &str,
    options: &[DriverOption],
) -> Result<()> {
    let proc = kernel.init_proc();
    let mut args = MountArgs::default();
    if let Some(device) = device {
        kernel.etfs_register(DEVICE, device.clone())?;
        args = MountArgs::device(DEVICE);
        if device.read_only() {
            args = args.read_only();
        }
    }
    args.options = options.to_vec();
    proc.mkdirat(At::Cwd, MOUNT_POINT, 0o755)?;
    proc.mount(fs_type, MOUNT_POINT, args)?;
    proc.chroot(MOUNT_POINT)?;
    proc.chdir("/")
}

impl Mounted {
    /// What the kernel wrote since this was asked last, where the error's number alone says little.
    #[must_use]
    pub fn messages_of(&self, errno: Errno) -> Vec<String> {
        let mark = self.told.swap(self.kernel.log().mark(), Ordering::Relaxed);
        match errno {
            Errno::EIO
            | Errno::EINVAL
            | Errno::EOPNOTSUPP
            | Errno::ESTALE
            | Errno::EROFS
            | Errno::EBADMSG
            | Errno::ENOSYS => messages(&self.kernel, mark),
            _ => Vec::new(),
        }
    }
}

/// The last of the kernel's messages since `mark`, as they belong behind an error: more would bury it. Names in them are the medium's.
#[must_use]
pub fn messages(kernel: &Kernel, mark: u64) -> Vec<String> {
    const MOST: usize = 8;
    let mut all = kernel.log().since(mark);
    let rest = all.split_off(all.len().saturating_sub(MOST));
    rest.into_iter().map(|message| message.text).collect()
}

/// Why a device could not be mounted.
#[derive(Debug)]
pub struct MountError {
    /// The error's number.
    pub errno: Errno,
    /// The type that it was to be mounted as.
    pub fs_type: String,
    /// What the kernel wrote.
    pub messages: Vec<String>,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            errno,
            fs_type,
            messages,
        } = self;
        write!(f, "cannot be mounted as {fs_type}: {errno}")?;
        if !messages.is_empty() {
            write!(f, " ({})", messages.join("; "))?;
        }
        Ok(())
    }
}

impl std::error::Error for MountError {}
