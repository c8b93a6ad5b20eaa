//! What a case works with.

use super::{Cap, Image, Numbers, Ram, Shorthand as _, Volume, refused::assert_refused};
use crate::mounted::boot;
use rumpkern::{Cred, FileType, Kernel, Proc};
use rumpuser::Errno;
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{MountArgs, MountFlags},
};
use std::{
    panic::resume_unwind,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Where the volume is mounted. Cases work in an empty directory `work` on it that anybody may write.
pub const MOUNT_POINT: &str = "/mnt";
const WORK: &str = "/mnt/work";
const DEVICE: &str = "/dev/volume";
/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A kernel with a fresh volume.
pub struct Fixture {
    volume: &'static dyn Volume,
    ram: Option<Arc<Ram>>,
    /// The kernel.
    pub kernel: Kernel,
    /// Its first process: the superuser, no umask, in the case's directory.
    pub root: Proc,
}

/// Runs a case, or where the format lacks what it needs, asserts that the driver refuses that; then has the volume checked.
///
/// # Panics
/// When the case does, when it hangs, or when the volume is damaged.
pub fn run(volume: &'static dyn Volume, needs: Cap, case: fn(&Fixture)) {
    let body = move || {
        let fixture = Fixture::new(volume);
        let lacks = needs - volume.caps();
        if lacks.is_empty() {
            case(&fixture);
        } else {
            assert_refused(&fixture, lacks);
        }
        fixture.finish();
    };
    patiently(body);
}

/// Runs something in a thread of its own that must come to an end.
///
/// # Panics
/// When it does, or when it does not end.
pub fn patiently(body: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _done = done;
        body();
    });
    // The other end is dropped when the body is over, either way.
    if wait.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("hangs");
    }
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Runs something that waits in a thread, and gives it the time to get to where it waits.
pub fn in_background<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let thread = thread::spawn(body);
    let start = Instant::now();
    while !thread.is_finished() && start.elapsed() < Duration::from_millis(50) {
        thread::sleep(Duration::from_millis(5));
    }
    thread
}

impl Fixture {
    fn new(volume: &'static dyn Volume) -> Self {
        let kernel = boot();
        let root = kernel.init_proc();
        root.umask(0);
        root.mkdir(MOUNT_POINT, 0o755).unwrap();
        let ram = volume.make().map(|image| Arc::new(Ram::new(image)));
        if let Some(ram) = &ram {
            kernel.etfs_register(DEVICE, ram.clone()).unwrap();
        }
        let fixture = Self {
            volume,
            ram,
            kernel,
            root,
        };
        fixture.mount(MountFlags::default());
        fixture.root.mkdir(WORK, 0o777).unwrap();
        fixture.root.chdir(WORK).unwrap();
        fixture
    }

    /// What the format can do.
    #[must_use]
    pub fn caps(&self) -> Cap {
        self.volume.caps()
    }

    /// The format's numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.volume.numbers()
    }

    /// Kinds of files that the format can have, each with a name for one.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&'static str, FileType)> {
        let mut kinds = vec![
            ("regular", FileType::Regular),
            ("directory", FileType::Directory),
        ];
        if self.caps().contains(Cap::SYMLINKS) {
            kinds.push(("symlink", FileType::Symlink));
        }
        if self.caps().contains(Cap::NODES) {
            kinds.extend([
                ("fifo", FileType::Fifo),
                ("socket", FileType::Socket),
                ("block", FileType::Block),
                ("character", FileType::Character),
            ]);
        }
        kinds
    }

    /// The type that the volume is mounted as.
    #[must_use]
    pub fn fs_type(&self) -> &'static str {
        self.volume.fs_type()
    }

    /// Arguments that mount the volume.
    #[must_use]
    pub fn mount_args(&self, flags: MountFlags) -> MountArgs {
        MountArgs {
            device: self.ram.as_ref().map(|_| DEVICE.into()),
            flags,
            options: self.volume.options(),
        }
    }

    /// Mounts the volume on [`MOUNT_POINT`].
    ///
    /// # Panics
    /// When that fails, with the kernel's messages.
    pub fn mount(&self, flags: MountFlags) {
        let args = self.mount_args(flags);
        if let Err(error) = self.root.mount(self.volume.fs_type(), MOUNT_POINT, args) {
            panic!("mounting: {error}; messages: {:?}", self.messages());
        }
    }

    /// Leaves the volume, unmounts it, and has it checked.
    ///
    /// # Panics
    /// When one of these fails.
    pub fn unmount(&self) {
        self.root.chdir("/").unwrap();
        if let Err(error) = self.root.unmount(MOUNT_POINT, false) {
            panic!("unmounting: {error}; messages: {:?}", self.messages());
        }
        self.check();
    }

    /// Has the native checker look at the volume, which is not mounted.
    ///
    /// # Panics
    /// When it finds anything.
    pub fn check(&self) {
        if let Some(ram) = &self.ram {
            self.volume.check(&ram.image());
        }
    }

    /// The content of the volume's device.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn image(&self) -> Image {
        self.ram.as_ref().expect("a volume on a device").image()
    }

    /// Unmounts, has the volume checked, mounts it again with these flags and goes back into the case's directory.
    ///
    /// # Panics
    /// When one of these fails.
    pub fn mount_again(&self, flags: MountFlags) {
        self.unmount();
        self.mount(flags);
        self.root.chdir(WORK).unwrap();
    }

    /// A process of an ordinary user, with the group of the same number.
    #[must_use]
    pub fn user(&self, uid: u32) -> Proc {
        self.member(uid, &[uid])
    }

    /// A process of an ordinary user with these groups.
    #[must_use]
    pub fn member(&self, uid: u32, groups: &[u32]) -> Proc {
        let proc = self.root.fork();
        proc.set_cred(Cred {
            uid,
            gid: groups[0],
            groups: groups[1..].to_vec(),
        });
        proc
    }

    /// Lets so much time go by that a new time differs from an old one.
    pub fn tick(&self) {
        let step = Duration::from_nanos(self.numbers().granularity.into());
        thread::sleep(step + Duration::from_millis(2));
    }

    /// Links that a directory must have in which so many directories are.
    #[must_use]
    pub fn dir_links(&self, subdirs: u64) -> u64 {
        if self.caps().contains(Cap::SUBDIRS) {
            2 + subdirs
        } else {
            1
        }
    }

    /// What the kernel said.
    #[must_use]
    pub fn messages(&self) -> String {
        format!("{:?}", self.kernel.log().since(0))
    }

    /// The end of a case: everything is closed, the volume unmounted and checked, the kernel ended.
    fn finish(self) {
        self.root.exit().unwrap();
        // After a case that has ended the kernel there is no root any more.
        if self.root.chdir("/") != Err(Errno::ENOENT) {
            match self.root.unmount(MOUNT_POINT, false) {
                // The case has unmounted it.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(error) => panic!("unmounting: {error}; messages: {}", self.messages()),
            }
        }
        self.kernel.shutdown().unwrap();
        self.check();
    }
}
