//! A cable in this process, with another kernel at its other end that serves a page.

use rumpkern::Kernel;
use rumpnet::{KernelNet as _, MacAddr, wire};
use rumpnet_inet::KernelInet as _;
use std::{error::Error, net::SocketAddr, thread};

const PAGE: &[u8] = b"<html><body>Hello from a stack of my own.</body></html>\n";

/// The client's kernel, and the server's address.
pub(crate) fn up(arguments: &[String]) -> Result<(Kernel, SocketAddr), Box<dyn Error>> {
    if !arguments.is_empty() {
        return Err("nothing is configured here: give no arguments".into());
    }
    let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
    let (one, two) = wire::pair(macs[0], macs[1], wire::Config::default());
    let boot = |end, address: &str| -> Result<Kernel, Box<dyn Error>> {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(rumpnet_inet::component())
            .boot()?;
        kernel.net()?.attach("wire0", end)?;
        kernel.inet()?.add_address("wire0", address.parse()?)?;
        Ok(kernel)
    };
    let client = boot(one, "10.0.0.1/24")?;
    let server = boot(two, "10.0.0.2/24")?;
    let address: SocketAddr = "10.0.0.2:80".parse()?;
    let proc = server.init_proc();
    thread::spawn(move || {
        if let Err(error) = crate::serve(&proc, address, PAGE) {
            eprintln!("nettest: server: {error}");
        }
    });
    // The page can be fetched once somebody listens.
    while server.inet()?.tcp_sockets().is_empty() {
        thread::yield_now();
    }
    Ok((client, address))
}
