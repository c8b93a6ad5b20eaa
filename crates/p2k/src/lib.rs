//! Serves a mounted file system of a rump kernel behind the host's kernel, through FUSE.
//!
//! Every program of the host then uses the file system by ordinary paths, as if its own kernel had the driver. What the host asks is
//! answered by the vnode interface ([`rumpvfs::vop`]): there are no paths and no descriptors in between.
//!
//! | module | what |
//! |---|---|
//! | `fs` | the operations of FUSE |
//! | `server`, `list`, `data` | what they do: files and names, directories, contents |
//! | `turns` | which thread takes requests |
//! | `flow`, `wakeful` | waiting awake while they flow |
//! | `order` | which write to a file is first |
//! | `nodes`, `opens` | files that the host knows and files that it has open |
//! | `caller`, `attr` | credentials of a request; attributes, times and errors in the forms of both sides |
//! | [`mount`](mod@mount) | the mount itself, made and ended by a process of its own |
//! | [`contain`], `forbid` | giving up what a server does not need: Landlock, seccomp, capabilities, limits; and what a reader does not |
//!
//! **Who checks what.** The host checks permissions, sticky bits and access control lists itself (`default_permissions`), by all that it knows of
//! the asking process: groups, capabilities, name spaces. It must, since it walks along names that it has cached without asking anybody. The
//! kernel here gets the asking user and group, and so knows who owns what is made and whose blocks it takes.
//!
//! **Locks** (`flock`, `fcntl`) are the host's as well: whoever could lock a file here comes through it.

mod attr;
mod caller;
pub mod contain;
mod data;
mod flow;
mod forbid;
mod fs;
mod list;
pub mod mount;
mod nodes;
mod opens;
mod order;
mod server;
mod turns;
mod wakeful;

pub use server::{Options, Shown};
pub use wakeful::Wakeful;

use flow::Means;
use fs::Front;
use fuser::{Config, SessionACL};
use rumpkern::Proc;
use rumpvfs::vop::Vnode;
use server::Server;
use std::{io, os::fd::OwnedFd};

/// A file system at work behind the host's kernel.
pub struct Session(fuser::Session<Front>);

impl Session {
    /// Begins to serve the file system whose root directory `root` is, on an open `/dev/fuse` that was [mounted](mount::Mounter::mount). When
    /// this returns the host uses the mount. Idle processors stay awake while requests flow if the right to have them is given.
    ///
    /// # Errors
    /// The host does not speak the protocol, or has unmounted already.
    pub fn new(
        proc: &Proc,
        root: Vnode,
        device: OwnedFd,
        options: Options,
        wakeful: Option<Wakeful>,
    ) -> io::Result<Self> {
        let server = Server::new(proc.clone(), root, options);
        let mut config = Config::default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        // One that takes requests, and more than CPUs for those that take long: one that waits for the device keeps none busy.
        let threads = (cpus + 2).clamp(3, 16);
        config.n_threads = Some(threads);
        let device_too = (cpus > 1).then(|| device.try_clone()).transpose()?;
        let means = Means {
            device: device_too,
            wakeful,
        };
        let server = Front::new(server, threads, means)?;
        // Whom the host lets in is the host's to say (`allow_other`); it also asks on its own behalf.
        let session = fuser::Session::from_fd(server, device, SessionACL::All, config)?;
        Ok(Self(session))
    }

    /// Serves until the file system is unmounted.
    ///
    /// # Errors
    /// The connection to the host broke.
    pub fn run(self) -> io::Result<()> {
        self.0.run()
    }
}
