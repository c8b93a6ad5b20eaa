//! Names of files, for a faction that has something behind one: local sockets.

use crate::{Kernel, Proc};
use alloc::{boxed::Box, sync::Arc};
use rumpuser::{Errno, Result};

/// What a name was found to be: the same node has the same, under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Number of the mount.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Inode generation.
    pub generation: u64,
}

/// The name space of files, by the faction that has it.
pub trait NameSpace: Send + Sync {
    /// Makes a socket under a path.
    ///
    /// # Errors
    /// `EEXIST`, and those of making files.
    fn make_socket(&self, proc: &Proc, path: &[u8]) -> Result<NodeId>;

    /// Finds a socket, which the process must be allowed to write to.
    ///
    /// # Errors
    /// `ECONNREFUSED` (it is something else), `EACCES`, and those of paths.
    fn find_socket(&self, proc: &Proc, path: &[u8]) -> Result<NodeId>;
}

struct Registered(Box<dyn NameSpace>);

impl Kernel {
    /// Makes a name space the kernel's.
    ///
    /// # Errors
    /// `EEXIST`: it has one.
    pub fn set_name_space(&self, names: Box<dyn NameSpace>) -> Result<()> {
        self.register(Arc::new(Registered(names)))
    }

    /// Works with the kernel's name space.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: it has none; those of `body`.
    pub fn name_space<R>(&self, body: impl FnOnce(&dyn NameSpace) -> Result<R>) -> Result<R> {
        let names = self.service::<Registered>().ok_or(Errno::EOPNOTSUPP)?;
        body(&*names.0)
    }
}
