//! The host's loopback interface, with a kernel whose sockets are the host's.

use crate::{
    ends::{self, Listener, Ours},
    host,
};
use rumpkern::Kernel;
use rumpnet::socket::SockOpt;
use std::{net::SocketAddr, time::Duration};

/// A connection with both ends here.
struct Pair {
    ends: Option<(Ours, Ours)>,
    kernel: Kernel,
}

impl Pair {
    fn new() -> Self {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(rumpnet_sockin::component())
            .boot()
            .expect("boot");
        let proc = kernel.init_proc();
        let at = free_port();
        let listener = Listener::new(&proc, at);
        let client = Ours::connect(&proc, at);
        let server = listener.accept();
        for end in [&client, &server] {
            end.set(&SockOpt::Congestion(host::CONGESTION.into()));
        }
        drop(listener);
        Self {
            ends: Some((client, server)),
            kernel,
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        drop(self.ends.take());
        self.kernel.shutdown().expect("shutdown");
    }
}

/// An address of the host where nobody listens.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address")
}

/// Bits per second.
pub(crate) fn bulk(time: Duration) -> f64 {
    let pair = Pair::new();
    let (client, server) = pair.ends.as_ref().expect("open");
    ends::bulk(time, client, server)
}

/// Round trips per second.
pub(crate) fn ping_pong(time: Duration) -> f64 {
    let pair = Pair::new();
    let (client, server) = pair.ends.as_ref().expect("open");
    ends::ping_pong(time, client, server)
}
