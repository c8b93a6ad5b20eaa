//! A bus in a file. Without arguments a kernel in this process is on it as well, and serves a page.

use rumpkern::Kernel;
use rumpnet::{KernelNet as _, MacAddr};
use rumpnet_inet::KernelInet as _;
use rumpnet_shmif::{Bus, Shmif};
use std::{error::Error, net::SocketAddr, sync::Arc, thread};

const PAGE: &[u8] = b"<html><body>Hello from a stack of my own.</body></html>\n";

/// The client's kernel, and the server's address.
pub(crate) fn up(arguments: &[String]) -> Result<(Kernel, SocketAddr), Box<dyn Error>> {
    match arguments {
        [] => with_server(),
        [file, server, address] => {
            let bus = Arc::new(Bus::open(file)?);
            // A number of this process makes the address of its interface different from others'.
            let [a, b, c, d] = std::process::id().to_be_bytes();
            let client = member(&bus, MacAddr([2, 1, a, b, c, d]), address)?;
            Ok((client, server.parse()?))
        }
        _ => Err("usage: nettest [BUS-FILE ADDRESS:PORT OWN-ADDRESS/BITS]".into()),
    }
}

fn member(bus: &Arc<Bus>, mac: MacAddr, address: &str) -> Result<Kernel, Box<dyn Error>> {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_inet::component())
        .boot()?;
    let device = Shmif::join(bus, mac, 1_500)?;
    kernel.net()?.attach("shmif0", device)?;
    kernel.inet()?.add_address("shmif0", address.parse()?)?;
    Ok(kernel)
}

fn with_server() -> Result<(Kernel, SocketAddr), Box<dyn Error>> {
    let bus = Arc::new(Bus::anonymous()?);
    let server = member(&bus, MacAddr([2, 0, 0, 0, 0, 1]), "10.5.0.1/24")?;
    let client = member(&bus, MacAddr([2, 0, 0, 0, 0, 2]), "10.5.0.2/24")?;
    let address: SocketAddr = "10.5.0.1:80".parse()?;
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
