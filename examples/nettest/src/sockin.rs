//! The sockets of the host.

use rumpkern::Kernel;
use std::{error::Error, net::SocketAddr};

/// The kernel, and the server's address.
pub(crate) fn up(arguments: &[String]) -> Result<(Kernel, SocketAddr), Box<dyn Error>> {
    let [server] = arguments else {
        return Err("usage: nettest ADDRESS:PORT".into());
    };
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_sockin::component())
        .boot()?;
    Ok((kernel, server.parse()?))
}
