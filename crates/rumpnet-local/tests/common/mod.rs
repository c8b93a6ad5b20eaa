//! What the tests of local sockets share.

use rumpkern::{Errno, Kernel, OpenFlags, Proc};
use rumpnet::{
    SocketCalls as _,
    socket::{Control, Domain, Kind, MsgFlags, Outgoing},
};

pub(crate) const NOW: MsgFlags = MsgFlags::DONTWAIT;

/// A kernel with files and local sockets.
pub(crate) fn kernel() -> Kernel {
    Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpfs_tmpfs::component())
        .component(rumpnet_local::component())
        .boot()
        .unwrap()
}

/// Two sockets that are connected.
pub(crate) fn pair(proc: &Proc, kind: Kind) -> (u32, u32) {
    proc.socketpair(Domain::Local, kind, 0, OpenFlags::empty())
        .unwrap()
}

/// Sends to the peer, without waiting for room.
pub(crate) fn send(proc: &Proc, fd: u32, data: &[u8], control: &[Control]) -> Result<usize, Errno> {
    let message = Outgoing {
        to: None,
        bufs: &[data],
        control,
        flags: NOW,
    };
    proc.sendmsg(fd, &message)
}
