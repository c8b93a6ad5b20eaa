//! Images in use: each one's device opened and locked, its part found, and mounted in a kernel of its own.

use crate::{
    address::{self, Address},
    commands::shell::Place,
    patience,
    progress::waiting,
    quote::{shown, shown_os},
    report::{Failure, Outcome, Report},
};
use rumpdev::{SelectError, Selector};
use rumpkern::{Fd, Kernel, OpenFlags, Proc};
use rumpuser::{BlockDevice, Errno};
use rumpuser_posix::{Access, Host, HostFile};
use rumpvfs::{Calls as _, calls::At, fs::Probe};
use std::{
    cell::RefCell,
    ffi::{OsStr, OsString},
    fs::File,
    ops::Deref,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    rc::Rc,
    sync::{Arc, OnceLock},
};
use ukfs::image::{self, Mounted, NoType};

/// What the caches of a kernel may take, in bytes. A command passes over its data once: larger caches only cost the time
/// to fault their memory in, which is more than a second copy of the data costs.
const CACHES: u64 = 48 << 20;

/// Everything a command works with.
pub(crate) struct Session {
    /// What has failed so far.
    pub(crate) report: Report,
    options: MountOptions,
    written: RefCell<Vec<HostId>>,
    devices: RefCell<Vec<(HostId, Arc<HostFile>)>>,
    images: RefCell<Vec<Rc<Image>>>,
    /// The prompt, if there is one.
    place: RefCell<Option<Place>>,
}

/// What the user says about mounting.
#[derive(Clone, Debug, Default)]
pub(crate) struct MountOptions {
    /// The type; `None`: found by content.
    pub(crate) fs_type: Option<String>,
    /// Options for the driver.
    pub(crate) driver: Vec<(String, Option<String>)>,
    /// Kernel messages go to standard error as they come.
    pub(crate) messages: bool,
}

impl MountOptions {
    /// These, and what they leave open as `others` have it.
    pub(crate) fn or(mut self, others: Self) -> Self {
        self.fs_type = self.fs_type.or(others.fs_type);
        self.driver.extend(others.driver);
        self.messages |= others.messages;
        self
    }

    /// Whether the user said anything.
    pub(crate) fn is_given(&self) -> bool {
        self.fs_type.is_some() || !self.driver.is_empty() || self.messages
    }
}

/// Device and inode number of a file of the host.
type HostId = (u64, u64);

/// A mounted image.
pub(crate) struct Image {
    /// What the user calls it, with the part and without a colon.
    pub(crate) name: String,
    /// The file system's device.
    pub(crate) device: Arc<dyn BlockDevice>,
    /// What probing found; `None` if only the user knows the type.
    pub(crate) probe: Option<Probe>,
    mounted: Mounted,
    key: (HostId, Option<Selector>),
    /// The host's file that the device's bytes lie in, for whoever reads it on when the image is busy otherwise.
    shared: OnceLock<Arc<File>>,
}

impl Session {
    /// Nothing is opened yet.
    pub(crate) fn new(options: MountOptions) -> Self {
        Self {
            report: Report::default(),
            options,
            written: RefCell::default(),
            devices: RefCell::default(),
            images: RefCell::default(),
            place: RefCell::default(),
        }
    }

    /// What the user says about mounting.
    pub(crate) fn options(&self) -> &MountOptions {
        &self.options
    }

    /// Mounts an image for reading, or for writing if that was [declared](Self::will_write).
    ///
    /// # Errors
    /// Whatever is wrong with the file, the part or the file system in it.
    pub(crate) fn open(&self, address: &Address) -> Outcome<Rc<Image>> {
        let id = host_id(&address.image)?;
        let key = (id, address.part.clone());
        if let Some(image) = self.images.borrow().iter().find(|image| image.key == key) {
            return Ok(image.clone());
        }
        let disk = self.disk(&address.image, id)?;
        let image = Rc::new(self.mount(address, key, disk)?);
        self.images.borrow_mut().push(image.clone());
        Ok(image)
    }

    /// Whether commands come from the tool's own prompt: operands are then paths of one image.
    pub(crate) fn in_shell(&self) -> bool {
        self.place.borrow().is_some()
    }

    /// Where the prompt is.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place.borrow().clone()
    }

    /// Moves the prompt.
    pub(crate) fn set_place(&self, place: Place) {
        *self.place.borrow_mut() = Some(place);
    }

    /// Reads an operand that names a path in an image.
    ///
    /// # Errors
    /// Wrong usage.
    pub(crate) fn address(&self, operand: &OsStr) -> Outcome<Address> {
        match &*self.place.borrow() {
            Some(place) => Ok(place.address(operand.as_bytes())),
            None => address::parse_image(operand).map_err(Failure::Usage),
        }
    }

    /// The operands of a command that shows something: at the prompt, none at all is the directory there.
    ///
    /// # Errors
    /// None elsewhere: wrong usage.
    pub(crate) fn operands(&self, operands: &[OsString]) -> Outcome<Vec<OsString>> {
        match operands {
            [] if self.in_shell() => Ok(vec![".".into()]),
            [] => Err(Failure::Usage("IMAGE[@PART]:/path is missing".into())),
            operands => Ok(operands.to_vec()),
        }
    }

    /// Reads an operand that names an image, with or without a path.
    ///
    /// # Errors
    /// Wrong usage.
    pub(crate) fn image(&self, operand: &OsStr) -> Outcome<Address> {
        match &*self.place.borrow() {
            Some(place) => Ok(place.address(operand.as_bytes())),
            None => address::parse_whole(operand).map_err(Failure::Usage),
        }
    }

    /// Mounts an image for writing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_rw(&self, address: &Address) -> Outcome<Rc<Image>> {
        self.will_write(address)?;
        self.open(address)
    }

    /// Declares that the image will be written, before any part of it is opened.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn will_write(&self, address: &Address) -> Outcome<()> {
        let id = host_id(&address.image)?;
        if self.written.borrow().contains(&id) {
            return Ok(());
        }
        if self.place.borrow().as_ref().is_some_and(Place::read_only) {
            return Err(Failure::at(image_name(address), "the shell is read-only"));
        }
        // At the prompt, an image is read-only until something is to be changed.
        let mut images = self.images.borrow_mut();
        for image in images.extract_if(.., |image| image.key.0 == id) {
            self.close(&image);
        }
        let mut devices = self.devices.borrow_mut();
        for (_, disk) in devices.extract_if(.., |(known, _)| *known == id) {
            // Whoever may still hold the medium reads it no more: the lock must not stand in our own way.
            let unlocked = disk.file().unlock();
            unlocked.map_err(|error| Failure::host(&address.image, &error))?;
        }
        self.written.borrow_mut().push(id);
        Ok(())
    }

    /// The whole medium.
    ///
    /// # Errors
    /// It cannot be opened, or is empty.
    pub(crate) fn whole(&self, image: &Path) -> Outcome<Arc<HostFile>> {
        self.disk(image, host_id(image)?)
    }

    fn disk(&self, path: &Path, id: HostId) -> Outcome<Arc<HostFile>> {
        if let Some((_, disk)) = self.devices.borrow().iter().find(|(known, _)| *known == id) {
            return Ok(disk.clone());
        }
        let access = if self.written.borrow().contains(&id) {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        let file = patience::open(path, access)
            .map_err(|error| Failure::at(shown_os(path), error.reason()))?;
        if file.is_empty() {
            return Err(Failure::at(shown_os(path), "empty: holds no file system"));
        }
        let disk = Arc::new(file);
        self.devices.borrow_mut().push((id, disk.clone()));
        Ok(disk)
    }

    fn mount(
        &self,
        address: &Address,
        key: (HostId, Option<Selector>),
        disk: Arc<dyn BlockDevice>,
    ) -> Outcome<Image> {
        let name = image_name(address);
        let kernel = self.boot()?;
        let device = part(&kernel, address, disk)?;
        let (fs_type, probe) = self.find_type(&kernel, address, &*device)?;
        let log = kernel.log().clone();
        let mount = || image::mount(kernel, device.clone(), &fs_type, &self.options.driver);
        let writes = self.written.borrow().contains(&key.0);
        let mounted = match writes && patience::may_wait(probe.as_ref()) {
            true => patience::telling(&name, &log, mount),
            false => mount(),
        };
        let mounted = mounted.map_err(|error| mount_failed(&name, &error))?;
        mounted.proc.umask(0);
        Ok(Image {
            name,
            device,
            probe,
            mounted,
            key,
            shared: OnceLock::new(),
        })
    }

    /// The type of the file system on a device, as the user says or by content; and what probing found.
    ///
    /// # Errors
    /// There is none, or the user names one that is not known.
    pub(crate) fn find_type(
        &self,
        kernel: &Kernel,
        address: &Address,
        device: &dyn BlockDevice,
    ) -> Outcome<(String, Option<Probe>)> {
        let forced = self.options.fs_type.as_deref();
        let found = image::find_type(kernel, device, forced, address.part.is_none())
            .map_err(|why| no_type(address, &why))?;
        Ok((found.fs_type, found.probe))
    }

    /// A kernel with every component that this program was built with.
    ///
    /// # Errors
    /// It does not boot.
    pub(crate) fn boot(&self) -> Outcome<Kernel> {
        self.boot_on(Host::small(CACHES, self.options.messages))
    }

    /// The same on a host as it is given.
    ///
    /// # Errors
    /// It does not boot.
    pub(crate) fn boot_on(&self, host: Arc<Host>) -> Outcome<Kernel> {
        image::boot(host).map_err(|errno| Failure::at("the kernel does not boot", errno))
    }

    /// Unmounts everything at the program's end; says what goes wrong.
    pub(crate) fn finish(&self) {
        for image in self.images.borrow_mut().drain(..) {
            self.close(&image);
            // The program ends: to give back the caches piece by piece would be time lost.
            std::mem::forget(image);
        }
    }

    fn close(&self, image: &Image) {
        // What was written and is still in memory goes to the medium here, and the medium's own caches are emptied.
        let shutdown = || image.kernel.shutdown();
        let closed = match self.written.borrow().contains(&image.key.0) {
            true => waiting(&format!("{}: writing what is left", image.name), shutdown),
            false => shutdown(),
        };
        if let Err(errno) = closed {
            let told = image.told(errno);
            let name = format_args!("{}: unmounting", image.name).to_string();
            let failure = Failure::at(name, format_args!("{errno}{told}"));
            self.report.fail(&failure);
        }
    }
}

/// The identity of a file of the host, whatever its path.
///
/// # Errors
/// It is not there.
pub(crate) fn host_id(path: &Path) -> Outcome<HostId> {
    let metadata = std::fs::metadata(path).map_err(|error| Failure::host(path, &error))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// `IMAGE@PART` for a message.
pub(crate) fn image_name(address: &Address) -> String {
    if address.prefix.is_empty() {
        // A path at the prompt.
        let image = shown_os(&address.image);
        return match &address.part {
            Some(part) => format!("{image}@{}", shown(part.to_string().as_bytes())),
            None => image,
        };
    }
    let prefix = address.prefix.strip_suffix(b":").unwrap_or(&address.prefix);
    shown(prefix).into_owned()
}

/// The part of the disk that an address names.
///
/// # Errors
/// There is no such part.
pub(crate) fn part(
    kernel: &Kernel,
    address: &Address,
    disk: Arc<dyn BlockDevice>,
) -> Outcome<Arc<dyn BlockDevice>> {
    let Some(selector) = &address.part else {
        return Ok(disk);
    };
    match image::part(kernel, &disk, selector) {
        Ok(part) => Ok(part),
        Err(error @ SelectError::Device(_)) => Err(Failure::at(
            format_args!("{}: partition {selector}", shown_os(&address.image)),
            error,
        )),
        Err(error) => Err(Failure::at(shown_os(&address.image), error)),
    }
}

/// No type claims the device: a disk with partitions, or something else.
pub(crate) fn nothing_found(
    kernel: &Kernel,
    address: &Address,
    device: &dyn BlockDevice,
) -> Failure {
    let whole = address.part.is_none();
    no_type(address, &NoType::nothing(kernel, device, whole))
}

fn no_type(address: &Address, why: &NoType) -> Failure {
    let name = image_name(address);
    match why {
        NoType::Partitions { by, contents } => Failure::at(
            &name,
            format_args!("a disk with partitions: name one as {name}@{by}; {contents}"),
        ),
        why => Failure::at(&name, why),
    }
}

fn mount_failed(name: &str, error: &image::MountError) -> Failure {
    let told = bracketed(&error.messages);
    Failure::at(
        name,
        format_args!(
            "cannot be mounted as {}: {}{told}",
            error.fs_type, error.errno
        ),
    )
}

pub(crate) fn mount_failure(
    kernel: &Kernel,
    name: &str,
    fs_type: &str,
    errno: Errno,
    mark: u64,
) -> Failure {
    let told = messages(kernel, mark);
    Failure::at(
        name,
        format_args!("cannot be mounted as {fs_type}: {errno}{told}"),
    )
}

/// The kernel's messages since `mark` in brackets, as they belong behind an error.
pub(crate) fn messages(kernel: &Kernel, mark: u64) -> String {
    bracketed(&image::messages(kernel, mark))
}

fn bracketed(messages: &[String]) -> String {
    if messages.is_empty() {
        return String::new();
    }
    let texts: Vec<_> = messages
        .iter()
        .map(|text| shown(text.as_bytes()).into_owned())
        .collect();
    format!(" ({})", texts.join("; "))
}

/// What is done with a mounted image is done with its process and its kernel.
impl Deref for Image {
    type Target = Mounted;
    fn deref(&self) -> &Mounted {
        &self.mounted
    }
}

impl Image {
    /// Makes something from whose mode the file system takes these bits away, as it does unless a default ACL of the directory decides. Otherwise a
    /// mode is meant as it is.
    pub(crate) fn with_umask<R>(&self, umask: u32, make: impl FnOnce() -> R) -> R {
        self.proc.umask(umask);
        let made = make();
        self.proc.umask(0);
        made
    }

    /// Name of its type, as it is registered.
    pub(crate) fn fs_type(&self) -> &str {
        &self.mounted.fs_type
    }

    /// `IMAGE:/path: reason`, and what the kernel had to say when the number alone says little.
    pub(crate) fn failure(&self, path: &[u8], errno: Errno) -> Failure {
        let told = self.told(errno);
        Failure::at(
            format_args!("{}:{}", self.name, shown(path)),
            format_args!("{errno}{told}"),
        )
    }

    /// What there is to say about an error whose number says little, in brackets.
    fn told(&self, errno: Errno) -> String {
        let mut messages = self.messages_of(errno);
        if errno == Errno::EIO {
            messages.extend(self.shrunk());
        }
        bracketed(&messages)
    }

    /// That somebody has cut off the image, if so.
    fn shrunk(&self) -> Option<String> {
        let (window, start) = self.device.host_window(0)?;
        let metadata = window.downcast_ref::<File>()?.metadata().ok()?;
        let (now, before) = (metadata.len(), start.checked_add(self.device.len())?);
        (metadata.is_file() && now < before)
            .then(|| format!("the image was {before} bytes long, and is {now} now"))
    }

    /// The host's file `window` of the device, to be kept. `None` if the host has no descriptor left.
    pub(crate) fn share(&self, window: &File) -> Option<Arc<File>> {
        if let Some(file) = self.shared.get() {
            return Some(file.clone());
        }
        // A device has one such file.
        let file = Arc::new(window.try_clone().ok()?);
        Some(self.shared.get_or_init(|| file).clone())
    }

    /// Opens a file; it is closed when the value goes.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn open_at(
        &self,
        at: At,
        path: &[u8],
        flags: OpenFlags,
    ) -> rumpuser::Result<OpenFd<'_>> {
        self.create_at(at, path, flags, 0)
    }

    /// As [`open_at`](Self::open_at), with the mode of a new file.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn create_at(
        &self,
        at: At,
        path: &[u8],
        flags: OpenFlags,
        mode: u32,
    ) -> rumpuser::Result<OpenFd<'_>> {
        let fd = self.proc.openat(at, path, flags, mode)?;
        Ok(OpenFd {
            proc: &self.proc,
            fd,
        })
    }
}

/// An open descriptor of a kernel.
pub(crate) struct OpenFd<'a> {
    proc: &'a Proc,
    /// The descriptor.
    pub(crate) fd: Fd,
}

impl OpenFd<'_> {
    /// Closes it, with the errors of delayed writes.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    pub(crate) fn close(self) -> rumpuser::Result<()> {
        let (proc, fd) = (self.proc, self.fd);
        std::mem::forget(self);
        proc.close(fd)
    }
}

impl Drop for OpenFd<'_> {
    fn drop(&mut self) {
        // Nothing was written through it, or an earlier error counts more.
        let _ = self.proc.close(self.fd);
    }
}
