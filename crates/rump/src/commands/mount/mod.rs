//! `rump mount`: a file system behind the host's kernel.

mod names;
mod options;

pub(crate) use names::{is_helper, translate};

use crate::{
    address::Address,
    memory::ADDRESSES,
    patience,
    quote::shown_os,
    report::{Failure, Outcome, say},
    session::{MountOptions, Session, image_name, messages, mount_failure, part},
};
use clap::Args;
use options::HostOptions;
use p2k::{
    Image, Shown, Wakeful, contain,
    mount::{MountPoint, Mounter},
};
use rumpkern::{Kernel, Proc};
use rumpuser::{Errno, Params as _};
use rumpuser_posix::{Host, HostFile};
use rumpvfs::{
    Calls as _, VnodeCalls as _,
    calls::{At, KernelVfs as _, MountArgs, MountFlags},
    vop::Vnode,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Where the device is shown in the kernel's name space, and where it is mounted there.
const DEVICE: &str = "/dev/image";
const MOUNT_POINT: &str = "/image";
/// What the caches of the kernel may take, in bytes. The host caches what it reads as well.
const CACHES: u64 = 96 << 20;
/// How often everything is made durable.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// Mount a file system so that every program can use it
///
/// IMAGE is a file or device with a file system or, as IMAGE@PART, with partitions; for a file system in memory (-t tmpfs) it is any word.
/// The command ends when DIR can be used; a server stays until it is unmounted, with umount(8) or fusermount3 -u, or by SIGTERM, SIGINT or
/// SIGHUP to the server. Users without privileges need fusermount3.
#[derive(Args, Debug)]
pub(crate) struct Mount {
    /// File system type; otherwise it is found by content
    #[arg(short = 't', long = "fs-type", value_name = "FS")]
    fs_type: Option<String>,
    /// Options with commas between: ro, allow_other, auto_unmount, noatime, noexec, sync, suid, dev, fsname=NAME, attr_timeout=SECONDS,
    /// entry_timeout=SECONDS, negative_timeout=SECONDS, uid=N, gid=N, umask=MODE (in place of what the medium says), writeback_cache, nowriteback_cache, noxattr (neither extended attributes nor access
    /// control lists: files are unpacked faster), wakeful, nowakeful (whether idle processors stay awake while requests come in numbers; as a
    /// rule where /dev/cpu_dma_latency can be opened); and those of the file system driver, such as codepage=437
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    options: Vec<String>,
    /// Stay in the foreground
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Do all but mount: what `mount -f` asks of its helper
    #[arg(long, hide = true)]
    fake: bool,
    /// Do not give up the right to open files, make connections and start programs
    #[arg(long)]
    pub(crate) no_sandbox: bool,
    /// Show messages of the kernel as they come; with -f
    #[arg(long = "kernel-messages", requires = "foreground")]
    messages: bool,
    /// What to mount
    #[arg(value_name = "IMAGE[@PART]")]
    image: OsString,
    /// Where
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// A file system mounted in a kernel of its own.
struct Mounted {
    kernel: Kernel,
    proc: Proc,
    read_only: bool,
    /// Owners and permissions in place of the medium's.
    shown: Shown,
    /// What the host can move data into.
    image: Option<Image>,
}

impl Mount {
    /// As the session takes them; the command itself knows which are the driver's.
    pub(crate) fn mount(&self) -> MountOptions {
        MountOptions {
            fs_type: self.fs_type.clone(),
            driver: Vec::new(),
            messages: self.messages,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// Whatever keeps the file system from being mounted.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        if session.in_shell() {
            return Err(Failure::Message("mount: not in a shell".into()));
        }
        let driver = session.options().driver.iter();
        let given: Vec<String> = driver
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            })
            .chain(self.options.iter().cloned())
            .collect();
        let options = HostOptions::parse(&given).map_err(Failure::Usage)?;
        let fs_type = options
            .fs_type
            .clone()
            .or(session.options().fs_type.clone());
        let session = &Session::new(MountOptions {
            fs_type,
            driver: options.driver.clone(),
            messages: self.messages,
        });
        let dir = std::fs::canonicalize(&self.dir).map_err(|e| Failure::host(&self.dir, &e))?;
        // A mount point whose server is gone says so here.
        let metadata = dir.metadata().map_err(|e| Failure::host(&dir, &e))?;
        if !metadata.is_dir() {
            return Err(Failure::at(shown_os(&dir), Errno::ENOTDIR));
        }
        if self.fake {
            return Ok(());
        }
        let up = if self.foreground {
            None
        } else {
            Some(into_background()?)
        };
        self.serve(session, &options, dir, up)
    }

    fn serve(
        &self,
        session: &Session,
        options: &HostOptions,
        dir: PathBuf,
        up: Option<OwnedFd>,
    ) -> Outcome<()> {
        let mounter = Mounter::start(self.point(options, dir.clone()))
            .map_err(|error| Failure::at("fork", error))?;
        let memory = session.options().fs_type.as_deref() == Some("tmpfs");
        let medium = if memory {
            None
        } else {
            Some(self.medium(session, options)?)
        };
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| Failure::host("/dev/null", &error))?;
        block_signals();
        one_heap();
        // What the host is asked once; the files that tell cannot be opened any more afterwards.
        let host = Host::new();
        let _ = (host.cpus(), host.memory_limit(), host.host_name());
        let wakeful = wakeful(options)?;
        if !self.no_sandbox {
            let limits = contain::Limits {
                memory: (!memory).then_some(ADDRESSES),
            };
            contain::enter(limits).map_err(|failed| Failure::at("sandbox", failed))?;
        }
        if let Some(medium) = &medium
            && !options.read_only
        {
            // A thread of this process: it is started now to be held as the others are.
            let behind = medium.disk.write_behind();
            behind.map_err(|errno| Failure::at("write-behind", errno))?;
        }
        let mut mounted = mount(session, options, medium)?;
        let image = mounted.image.take();
        let how = p2k::Options {
            shown: mounted.shown,
            ..options.serve
        };
        let serve =
            |root, device| p2k::Session::new(&mounted.proc, root, device, how, image, wakeful);
        let served = self.attend(&mounted, mounter, serve, &dir, (up, null));
        // Dirty data goes to the device, and the volume is marked clean.
        let mark = mounted.kernel.log().mark();
        let ended = mounted.kernel.shutdown().map_err(|errno| {
            let told = messages(&mounted.kernel, mark);
            Failure::at(shown_os(&dir), format_args!("unmounting: {errno}{told}"))
        });
        served.and(ended)
    }

    /// Serves what is mounted in a kernel, until the host has unmounted it.
    fn attend(
        &self,
        mounted: &Mounted,
        mounter: Mounter,
        serve: impl FnOnce(Vnode, OwnedFd) -> std::io::Result<p2k::Session>,
        dir: &Path,
        (up, null): (Option<OwnedFd>, File),
    ) -> Outcome<()> {
        let root = mounted
            .proc
            .vfs_lookup(b"/")
            .map_err(|errno| Failure::at(shown_os(&self.image), errno))?;
        let device = mounter
            .mount(mounted.read_only)
            .map_err(|why| Failure::at(shown_os(dir), why))?;
        let served = serve(root, device).map_err(|error| {
            let _ = mounter.unmount(true);
            Failure::at(shown_os(dir), error)
        })?;
        let mounter = Arc::new(Mutex::new(Some(mounter)));
        if !mounted.read_only {
            let started = mounted.kernel.start_syncer(SYNC_EVERY);
            started.map_err(|errno| Failure::at("syncer", errno))?;
        }
        end_on_signals(&mounter, mounted)?;
        if let Some(up) = up {
            tell(up, &null);
        }
        drop(null);
        let ran = served.run();
        let mounter = mounter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mounter) = mounter {
            mounter.finish();
        }
        ran.map_err(|error| Failure::at(shown_os(dir), error))
    }

    fn point(&self, options: &HostOptions, dir: PathBuf) -> MountPoint {
        let source = options
            .source
            .clone()
            .map_or_else(|| self.source(), OsString::from);
        MountPoint {
            dir,
            source,
            ..options.point.clone()
        }
    }

    /// The image as `mount` and `df` show it: where it can be found from everywhere.
    fn source(&self) -> OsString {
        let path = Path::new(&self.image);
        match std::path::absolute(path) {
            Ok(absolute) if path.components().count() > 1 || path.exists() => absolute.into(),
            _ => self.image.clone(),
        }
    }

    /// Opens the image.
    fn medium(&self, session: &Session, options: &HostOptions) -> Outcome<Medium> {
        let address = session.image(&self.image)?;
        if !options.read_only {
            session.will_write(&address)?;
        }
        let disk = session.whole(&address.image)?;
        Ok(Medium { address, disk })
    }
}

/// An open image.
struct Medium {
    address: Address,
    disk: Arc<HostFile>,
}

/// Mounts in a kernel.
fn mount(session: &Session, options: &HostOptions, medium: Option<Medium>) -> Outcome<Mounted> {
    // The host takes some times of these files itself. One that is not another than it knows already it need not tell.
    let caches = if medium.is_some() { CACHES } else { u64::MAX };
    let kernel = session.boot_on(Host::in_ticks(caches, session.options().messages))?;
    let proc = kernel.init_proc();
    let mut waits = false;
    let mut image = None;
    let (name, fs_type, mut args) = match &medium {
        None => ("tmpfs".to_owned(), "tmpfs".to_owned(), MountArgs::default()),
        Some(medium) => {
            let device = part(&kernel, &medium.address, medium.disk.clone())?;
            let (fs_type, probe) = session.find_type(&kernel, &medium.address, &*device)?;
            waits = !options.read_only && patience::may_wait(probe.as_ref());
            let name = image_name(&medium.address);
            let disk = medium.disk.clone();
            image = Some(Image::new(device.clone(), move |bytes| disk.wrote(bytes)));
            let shown = kernel.etfs_register(DEVICE, device);
            shown.map_err(|errno| Failure::at(&name, errno))?;
            (name, fs_type, MountArgs::device(DEVICE))
        }
    };
    args.options.clone_from(&session.options().driver);
    let shown = HostOptions::sort(&fs_type, &mut args.options).map_err(Failure::Usage)?;
    if fs_type == "msdosfs" {
        belong_to_whoever_mounts(&mut args.options);
    }
    args.flags = options.flags;
    args.flags.set(MountFlags::RDONLY, options.read_only);
    let mark = kernel.log().mark();
    let fail = |errno| mount_failure(&kernel, &name, &fs_type, errno, mark);
    proc.mkdirat(At::Cwd, MOUNT_POINT, 0o755).map_err(fail)?;
    let first = || proc.mount(&fs_type, MOUNT_POINT, args.clone());
    let first = match waits {
        true => patience::telling(&name, kernel.log(), first),
        false => first(),
    };
    let mounted = match first {
        // As mount(8): what can only be read is mounted for that.
        Err(Errno::EROFS) if !options.read_only && !options.read_write => {
            say(format_args!(
                "{name}: {fs_type} can only be read: mounted read-only"
            ));
            args.flags |= MountFlags::RDONLY;
            proc.mount(&fs_type, MOUNT_POINT, args.clone())
        }
        mounted => mounted,
    };
    mounted.map_err(fail)?;
    proc.chroot(MOUNT_POINT).map_err(fail)?;
    proc.chdir("/").map_err(fail)?;
    proc.umask(0);
    Ok(Mounted {
        read_only: args.flags.contains(MountFlags::RDONLY),
        shown,
        image,
        kernel,
        proc,
    })
}

/// What has no owners on the medium is whose who mounts it, unless options say otherwise.
fn belong_to_whoever_mounts(driver: &mut Vec<(String, Option<String>)>) {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    for (name, id) in [("uid", uid.as_raw()), ("gid", gid.as_raw())] {
        if !driver.iter().any(|(given, _)| given == name) {
            driver.push((name.into(), Some(id.to_string())));
        }
    }
}

/// Goes on as a process of its own, in the background. The first one waits until that says that it is up, by a byte into the pipe that is
/// given, and ends.
fn into_background() -> Outcome<OwnedFd> {
    let fail = |error: rustix::io::Errno| Failure::at("background", std::io::Error::from(error));
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(fail)?;
    // SAFETY: this process has one thread: the child may do all that a process may.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::at("fork", std::io::Error::last_os_error())),
        0 => {
            drop(read);
            rustix::process::setsid().map_err(fail)?;
            Ok(write)
        }
        child => {
            drop(write);
            let mut byte = [0];
            let up = File::from(read).read(&mut byte).is_ok_and(|got| got == 1);
            if up {
                std::process::exit(0);
            }
            let mut status = 0;
            // SAFETY: `status` is a live int that the call writes.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            let code = match waited == child && libc::WIFEXITED(status) {
                true => libc::WEXITSTATUS(status),
                false => 1,
            };
            // It has said what failed.
            std::process::exit(if code == 0 { 1 } else { code });
        }
    }
}

/// Tells that the mount is up, and lets go of the terminal and of the directory.
fn tell(up: OwnedFd, null: &File) {
    let null = null.as_fd();
    let _ = rustix::stdio::dup2_stdin(null);
    let _ = rustix::stdio::dup2_stdout(null);
    let _ = rustix::stdio::dup2_stderr(null);
    let _ = File::from(up).write_all(&[1]);
}

/// Has the C library ask for memory in large steps: a heap grows page by page otherwise, with a system call for each. And has it keep one heap for all threads:
/// what one of them has put into the cache and another takes out would be left as holes in the heap of the first, twice the cache in all.
#[cfg(target_env = "gnu")]
fn one_heap() {
    for (what, value) in [(libc::M_TOP_PAD, 1 << 20), (libc::M_ARENA_MAX, 1)] {
        // SAFETY: sets a number; no memory is touched.
        unsafe {
            libc::mallopt(what, value);
        }
    }
}

#[cfg(not(target_env = "gnu"))]
fn one_heap() {}

/// Signals that ask for the end.
fn ending_signals() -> libc::sigset_t {
    // SAFETY: `set` is a live set, which is made empty and then filled.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Keeps them from all threads but the one that waits for them.
fn block_signals() {
    let set = ending_signals();
    // SAFETY: `set` is a live set; the old one is not asked for.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Unmounts when a signal asks for it. If files are in use the place is freed and their data written at once; the server goes on until they are
/// closed, or a second signal comes.
fn end_on_signals(mounter: &Arc<Mutex<Option<Mounter>>>, mounted: &Mounted) -> Outcome<()> {
    let (mounter, kernel, proc) = (
        mounter.clone(),
        mounted.kernel.clone(),
        mounted.proc.clone(),
    );
    let asked = AtomicBool::new(false);
    let life = move || {
        let set = ending_signals();
        loop {
            let mut signal = 0;
            // SAFETY: both are live; the call writes the number.
            if unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {
                return;
            }
            if asked.swap(true, Ordering::Relaxed) {
                // What can be saved is; files still open are dead.
                let _ = kernel.shutdown();
                std::process::exit(1);
            }
            let mounter = mounter.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mounter) = &*mounter else { return };
            if mounter.unmount(false).is_ok() {
                continue;
            }
            if let Err(why) = mounter.unmount(true) {
                say(format_args!("unmount: {why}"));
                asked.store(false, Ordering::Relaxed);
            }
            let _ = proc.sync();
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(life)
        .map(drop)
        .map_err(|error| Failure::at("thread", error))
}

/// The right to have idle processors stay awake, where this process may and it is not told not to.
fn wakeful(options: &HostOptions) -> Outcome<Option<Wakeful>> {
    match options.wakeful {
        Some(false) => Ok(None),
        Some(true) => {
            let wakeful = Wakeful::new().map_err(|error| Failure::at("wakeful", error))?;
            Ok(Some(wakeful))
        }
        None => Ok(Wakeful::new().ok()),
    }
}

/// The name of a program without its folder.
fn program(path: &OsStr) -> Option<&str> {
    Path::new(path).file_name()?.to_str()
}
