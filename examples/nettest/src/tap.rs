//! A tap device of the host.

use rumpkern::Kernel;
use rumpnet::{Cidr, KernelNet as _, MacAddr};
use rumpnet_inet::KernelInet as _;
use rumpnet_virtif::Tap;
use std::{error::Error, net::SocketAddr};

/// The kernel, and the server's address.
pub(crate) fn up(arguments: &[String]) -> Result<(Kernel, SocketAddr), Box<dyn Error>> {
    let (server, tap, address, gateway) = match arguments {
        [server, tap, address] => (server, tap, address, None),
        [server, tap, address, gateway] => (server, tap, address, Some(gateway)),
        _ => return Err("usage: nettest ADDRESS:PORT TAP OWN-ADDRESS/BITS [GATEWAY]".into()),
    };
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_inet::component())
        .boot()?;
    let device = Tap::open(tap, MacAddr([2, 0, 0, 0, 0x4e, 1]), true)?;
    kernel.net()?.attach("virt0", device)?;
    let inet = kernel.inet()?;
    inet.add_address("virt0", address.parse()?)?;
    if let Some(gateway) = gateway {
        inet.add_route(Cidr::ANY_V4, Some(gateway.parse()?), None, 0)?;
    }
    Ok((kernel, server.parse()?))
}
