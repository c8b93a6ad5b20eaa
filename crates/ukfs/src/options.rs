//! How an image is opened.

use crate::{
    Error, Fs, Result,
    image::{self, DriverOption, Mounted},
};
use rumpdev::{SelectError, Selector, SelectorError, Window};
use rumpkern::{Cred, Kernel};
use rumpuser::{BlockDevice, Errno};
use rumpuser_posix::{Access, Host, HostFile};
use std::{path::Path, sync::Arc};

/// What the caches of a kernel take at most unless told otherwise, in bytes.
const MEMORY: u64 = 64 << 20;

/// How an image is opened; see [`Fs::options`].
///
/// ```no_run
/// let fs = ukfs::Fs::options()
///     .write(true)
///     .partition("label=data")
///     .mount_options("errors=continue")
///     .open("disk.img")?;
/// # Ok::<(), ukfs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    write: bool,
    fs_type: Option<String>,
    partition: Option<String>,
    driver: Vec<DriverOption>,
    cred: Cred,
    umask: u32,
    memory: u64,
    verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            write: false,
            fs_type: None,
            partition: None,
            driver: Vec::new(),
            cred: Cred::root(),
            umask: 0o022,
            memory: MEMORY,
            verbose: false,
        }
    }
}

impl Options {
    /// Read-only, everything else found out.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it can be written. If not, the image is opened read-only on the host; a journal that has to be replayed is replayed in
    /// memory.
    #[must_use]
    pub fn write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }

    /// The type, such as `"ext2fs"` or one of its other names, such as `"ext4"`; otherwise it is found by content.
    #[must_use]
    pub fn fs_type(mut self, name: impl Into<String>) -> Self {
        self.fs_type = Some(name.into());
        self
    }

    /// The part of the disk, written as for the `rump` tool: a number (`"2"`), a letter of a BSD disklabel (`"a"`), `"label=NAME"`,
    /// `"uuid=UUID"`, a type such as `"esp"` or `"root"`, or `"@1M"`: everything from that byte on.
    #[must_use]
    pub fn partition(mut self, part: impl Into<String>) -> Self {
        self.partition = Some(part.into());
        self
    }

    /// Options of the file system driver with commas between: `"NAME,NAME=VALUE"`. May be called several times.
    #[must_use]
    pub fn mount_options(mut self, options: &str) -> Self {
        let given = options.split(',').filter(|option| !option.is_empty());
        self.driver
            .extend(given.map(|option| match option.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (option.to_owned(), None),
            }));
        self
    }

    /// Whose permissions count, and who owns what is made; the superuser unless said.
    #[must_use]
    pub fn credentials(mut self, cred: Cred) -> Self {
        self.cred = cred;
        self
    }

    /// Permission bits that new files do not get; 0o022 unless said. (That of this process does not count.)
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.umask = mask;
        self
    }

    /// What the kernel's caches may take at most, in bytes; 64 MiB unless said. For a file system in memory it is the measure of its
    /// size: by default half of it.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Whether messages of the kernel go to standard error as they come. They are in errors all the same.
    #[must_use]
    pub fn kernel_messages(mut self, show: bool) -> Self {
        self.verbose = show;
        self
    }

    /// Opens an image: a file or a block device of the host. It stays locked while it is open: shared to read, exclusively to write.
    ///
    /// # Errors
    /// Those of opening the file; `EBUSY` if another program has it open; `EINVAL` if it holds no file system, or partitions of which none
    /// was named; `ENODEV` for a type or `ENXIO` for a partition that there is not; those of the driver. [`Error::detail`] says more.
    pub fn open(&self, image: impl AsRef<Path>) -> Result<Fs> {
        let path = image.as_ref();
        let access = if self.write {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        let disk = HostFile::open(path, access)
            .map_err(|error| fail(error.errno(), error.reason()).at(path))?;
        self.open_device(Arc::new(disk))
            .map_err(|error| error.at(path))
    }

    /// Opens what is on a device of the program's own, such as a disk in memory. Without [`write`](Self::write) nothing is written to it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_device(&self, disk: Arc<dyn BlockDevice>) -> Result<Fs> {
        if self.write && disk.read_only() {
            return Err(fail(Errno::EROFS, "the device cannot be written"));
        }
        let disk = if self.write || disk.read_only() {
            disk
        } else {
            let len = disk.len();
            let window = Window::new(disk, 0, len).map_err(|errno| Error::plain(errno, "open"))?;
            Arc::new(window.into_read_only())
        };
        let kernel = self.boot()?;
        let whole = self.partition.is_none();
        let device = match &self.partition {
            None => disk,
            Some(text) => {
                let selector: Selector = text
                    .parse()
                    .map_err(|error: SelectorError| fail(Errno::EINVAL, error))?;
                image::part(&kernel, &disk, &selector).map_err(|error| match error {
                    SelectError::Device(errno) => fail(errno, error),
                    _ => fail(Errno::ENXIO, error),
                })?
            }
        };
        let found = image::find_type(&kernel, &*device, self.fs_type.as_deref(), whole)
            .map_err(|why| fail(why.errno(), why))?;
        let mounted = image::mount(kernel, device, &found.fs_type, &self.driver);
        Ok(self.finish(mounted.map_err(|error| fail(error.errno, &error))?))
    }

    /// A file system in memory, empty: tmpfs, or the type that was named.
    ///
    /// # Errors
    /// `ENODEV` if this crate was built without; `EINVAL` for an option that the driver does not know.
    pub fn open_memory(&self) -> Result<Fs> {
        let kernel = self.boot()?;
        let wanted = self.fs_type.as_deref().unwrap_or("tmpfs");
        let fs_type = image::known_type(&kernel, wanted).ok_or_else(|| {
            let why = image::NoType::unknown(&kernel, wanted);
            fail(why.errno(), why)
        })?;
        let mounted = image::mount_memory(kernel, &fs_type, &self.driver);
        Ok(self.finish(mounted.map_err(|error| fail(error.errno, &error))?))
    }

    fn boot(&self) -> Result<Kernel> {
        image::boot(Host::small(self.memory, self.verbose))
            .map_err(|errno| Error::plain(errno, "boot"))
    }

    fn finish(&self, mounted: Mounted) -> Fs {
        mounted.proc.umask(self.umask);
        mounted.proc.set_cred(self.cred.clone());
        Fs::new(mounted)
    }
}

/// A failure to open, in words.
fn fail(errno: Errno, why: impl ToString) -> Error {
    Error::plain(errno, "open").because(why.to_string())
}
