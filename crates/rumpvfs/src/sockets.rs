//! Sockets in the file system, for the faction that has what is behind them.

use crate::{
    Calls as _,
    calls::{Access, At, Follow},
};
use rumpkern::{
    FileType, Proc,
    names::{NameSpace, NodeId},
    types::DeviceNumber,
};
use rumpuser::{Errno, Result};

/// The name space of files.
pub(crate) struct Names;

/// The node that a path leads to.
fn node(proc: &Proc, path: &[u8]) -> Result<(FileType, NodeId)> {
    let stat = proc.stat(path)?;
    let (dev, ino, generation) = (stat.dev, stat.ino, stat.generation);
    let id = NodeId {
        dev,
        ino,
        generation,
    };
    Ok((stat.file_type, id))
}

impl NameSpace for Names {
    fn make_socket(&self, proc: &Proc, path: &[u8]) -> Result<NodeId> {
        // As always, the umask takes its part away.
        proc.mknodat(
            At::Cwd,
            path,
            FileType::Socket,
            0o777,
            DeviceNumber::default(),
        )?;
        node(proc, path).map(|(_, id)| id)
    }

    fn find_socket(&self, proc: &Proc, path: &[u8]) -> Result<NodeId> {
        match node(proc, path)? {
            (FileType::Socket, id) => {
                proc.faccessat(At::Cwd, path, Access::W, Follow::Yes)?;
                Ok(id)
            }
            _ => Err(Errno::ECONNREFUSED),
        }
    }
}
