//! A kernel with an image mounted.

use rumpkern::{Errno, Kernel, Proc};
use rumpuser::BlockDevice;
use rumpuser_posix::{Access, Host, HostFile};
use rumpuser_sim::Sim;
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, MountArgs},
};
use std::sync::Arc;

/// Where images are mounted.
pub const MOUNT_POINT: &str = "/mnt";

/// A kernel with every component, and an image mounted on [`MOUNT_POINT`].
pub struct Mounted {
    /// The kernel.
    pub kernel: Kernel,
    /// Its first process.
    pub proc: Proc,
}

/// A kernel with every component and nothing mounted but its root.
///
/// # Panics
/// When it does not boot.
#[must_use]
pub fn boot() -> Kernel {
    boot_on(Host::new())
}

/// The same on another host.
///
/// # Panics
/// When it does not boot.
#[must_use]
pub fn boot_on<H: rumpuser::Host>(host: Arc<H>) -> Kernel {
    Kernel::builder(host)
        .component(rumpfs_tmpfs::component())
        .component(rumpfs_cd9660::component())
        .component(rumpfs_ext2fs::component())
        .component(rumpfs_ffs::component())
        .component(rumpfs_msdosfs::component())
        .boot()
        .expect("a kernel boots")
}

impl Mounted {
    /// Mounts `image`, a file of the host.
    ///
    /// # Panics
    /// When that fails, with the kernel's messages.
    #[must_use]
    pub fn new(fs_type: &str, image: &str, read_only: bool) -> Self {
        Self::try_new(fs_type, image, read_only)
            .unwrap_or_else(|(error, messages)| panic!("mounting {image}: {error}; {messages:?}"))
    }

    /// Mounts `image`, a file of the host.
    ///
    /// # Errors
    /// What `mount` says, and the kernel's messages.
    ///
    /// # Panics
    /// When the image does not open or the kernel does not boot.
    pub fn try_new(
        fs_type: &str,
        image: &str,
        read_only: bool,
    ) -> Result<Self, (Errno, Vec<String>)> {
        let access = if read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        let device = HostFile::open(image, access).expect("the image opens");
        Self::on_device(fs_type, Arc::new(device), read_only)
    }

    /// Mounts a block device.
    ///
    /// # Errors
    /// What `mount` says, and the kernel's messages.
    ///
    /// # Panics
    /// When the kernel does not boot.
    pub fn on_device(
        fs_type: &str,
        device: Arc<dyn BlockDevice>,
        read_only: bool,
    ) -> Result<Self, (Errno, Vec<String>)> {
        Self::with_options(fs_type, device, read_only, &[])
    }

    /// Mounts a block device with options of the driver.
    ///
    /// # Errors
    /// What `mount` says, and the kernel's messages.
    ///
    /// # Panics
    /// When the kernel does not boot.
    pub fn with_options(
        fs_type: &str,
        device: Arc<dyn BlockDevice>,
        read_only: bool,
        options: &[(&str, Option<&str>)],
    ) -> Result<Self, (Errno, Vec<String>)> {
        Self::with_kernel(boot(), fs_type, device, read_only, options)
    }

    /// Mounts a block device in a kernel whose time and randomness are simulated: every run writes the same.
    ///
    /// # Errors
    /// What `mount` says, and the kernel's messages.
    ///
    /// # Panics
    /// When the kernel does not boot.
    pub fn simulated(
        fs_type: &str,
        device: Arc<dyn BlockDevice>,
        seed: u64,
    ) -> Result<Self, (Errno, Vec<String>)> {
        Self::on_sim(Sim::new(seed), fs_type, device, false)
    }

    /// Mounts a block device in a kernel on a simulated host.
    ///
    /// # Errors
    /// What `mount` says, and the kernel's messages.
    ///
    /// # Panics
    /// When the kernel does not boot.
    pub fn on_sim(
        sim: Arc<Sim>,
        fs_type: &str,
        device: Arc<dyn BlockDevice>,
        read_only: bool,
    ) -> Result<Self, (Errno, Vec<String>)> {
        Self::with_kernel(boot_on(sim), fs_type, device, read_only, &[])
    }

    /// Mounts a block device for writing, with options of the driver, in a kernel on a simulated host.
    ///
    /// # Errors
    /// What `mount` says, and the kernel's messages.
    ///
    /// # Panics
    /// When the kernel does not boot.
    pub fn on_sim_with(
        sim: Arc<Sim>,
        fs_type: &str,
        device: Arc<dyn BlockDevice>,
        options: &[(&str, Option<&str>)],
    ) -> Result<Self, (Errno, Vec<String>)> {
        Self::with_kernel(boot_on(sim), fs_type, device, false, options)
    }

    fn with_kernel(
        kernel: Kernel,
        fs_type: &str,
        device: Arc<dyn BlockDevice>,
        read_only: bool,
        options: &[(&str, Option<&str>)],
    ) -> Result<Self, (Errno, Vec<String>)> {
        let proc = kernel.init_proc();
        proc.umask(0);
        kernel.etfs_register("/dev/image", device).expect("etfs");
        proc.mkdirat(At::Cwd, MOUNT_POINT, 0o755)
            .expect("a mount point");
        let mounted = Self { kernel, proc };
        mounted.mount(fs_type, read_only, options)?;
        Ok(mounted)
    }

    /// Mounts the device again, after an unmount.
    ///
    /// # Errors
    /// What `mount` says, and the kernel's messages.
    pub fn mount(
        &self,
        fs_type: &str,
        read_only: bool,
        options: &[(&str, Option<&str>)],
    ) -> Result<(), (Errno, Vec<String>)> {
        let mut args = MountArgs::device("/dev/image");
        if read_only {
            args = args.read_only();
        }
        for (name, value) in options {
            args = args.option(name, *value);
        }
        self.proc
            .mount(fs_type, MOUNT_POINT, args)
            .map_err(|error| {
                let messages = self.kernel.log().since(0);
                (error, messages.into_iter().map(|m| m.text).collect())
            })
    }

    /// Unmounts.
    ///
    /// # Panics
    /// When something fails, with the kernel's messages.
    pub fn unmount(self) {
        if let Err(error) = self.proc.unmount(MOUNT_POINT, false) {
            panic!(
                "unmounting: {error}; messages: {:?}",
                self.kernel.log().since(0)
            );
        }
        self.kernel.shutdown().expect("a clean shutdown");
    }
}
