//! The Internet family: IPv4, ICMP, UDP and TCP.
//!
//! | module | what |
//! |---|---|
//! | [`stack`] | the state behind one lock, and who works on it |
//! | [`config`] | addresses, routes, neighbours: [`KernelInet`] |
//! | [`ipv4`], [`ip`], [`reassembly`], `identification` | headers of IPv4; input and output; fragments; numbers of packets |
//! | `path`, [`forward`] | the way to a destination; packets for others |
//! | [`network`] | the contract of IPv6, which is another crate |
//! | `arp`, [`icmp`] | link addresses; errors and echo |
//! | `redirect` | shorter ways: who is believed, who is told |
//! | [`path_mtu`] | what paths carry |
//! | `flow`, `way` | which socket gets the packets of a flow; headers that are prepared |
//! | [`igmp`], `groups` | routers are told of groups; the groups of a socket |
//! | `udp`, `raw`, `datagram`, `datagram_options`, `port` | the sockets of UDP and of raw packets; what they share; who has which port |
//! | `tcp_table`, `tcp_socket`, `waiting` | the connections of TCP; its sockets; what is left in TIME-WAIT |
//! | `fast_open` | data with a SYN |
//! | [`tcp`] | the engine of TCP, pure |
//! | [`usage`] | what a stack keeps |
//! | [`counters`](mod@counters) | what is counted |
//! | [`sysctl`] | settings by name |
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

mod arp;
pub mod config;
pub mod counters;
mod datagram;
mod datagram_options;
mod fast_open;
mod flow;
pub mod forward;
mod groups;
pub mod icmp;
mod identification;
pub mod igmp;
pub mod ip;
pub mod ipv4;
pub mod network;
mod path;
pub mod path_mtu;
mod port;
mod raw;
pub mod reassembly;
mod redirect;
pub mod stack;
pub mod sysctl;
pub mod tcp;
mod tcp_socket;
mod tcp_table;
mod udp;
pub mod usage;
mod waiting;
mod way;

pub use config::KernelInet;
pub use rumpnet::checksum;
pub use stack::Inet;
pub use tcp_socket::info as tcp_info;

use alloc::{boxed::Box, sync::Arc};
use rumpkern::{Component, Cred, Phase};
use rumpnet::{
    KernelNet as _,
    interface::Upper,
    socket::{Domain, Endpoint, Family, Kind},
};
use rumpuser::{Errno, Result};

/// The family as a component; brings `net` with it.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "inet",
        phase: Phase::Driver,
        requires: &[rumpnet::component],
        init: |kernel| {
            let net = kernel.net()?;
            let pollers = kernel.init_proc().pollers();
            let inet = Inet::new(kernel.host(), &net, &pollers);
            kernel.register(inet.clone())?;
            sysctl::add(kernel, &inet)?;
            let upper: Arc<dyn Upper> = inet.clone();
            net.set_upper(&upper);
            net.add_family(Domain::Inet, Arc::new(Sockets(inet.clone(), Domain::Inet)))?;
            let clock = inet.clone();
            let task = kernel.task("inet", move || clock.tick())?;
            inet.set_clock(task);
            Ok(())
        },
    }
}

/// The sockets of a domain.
struct Sockets(Arc<Inet>, Domain);

impl Inet {
    /// The sockets of a domain, which take the addresses of IPv4 and IPv6 that it has.
    #[must_use]
    pub fn sockets(self: &Arc<Self>, domain: Domain) -> Arc<dyn Family> {
        Arc::new(Sockets(self.clone(), domain))
    }
}

impl Family for Sockets {
    fn socket(&self, kind: Kind, protocol: u8, cred: &Cred) -> Result<Box<dyn Endpoint>> {
        use ipv4::protocol::{TCP, UDP};
        match (kind, protocol) {
            (Kind::Datagram, 0 | UDP) => Ok(udp::socket(&self.0, self.1)),
            (Kind::Stream, 0 | TCP) => Ok(tcp_socket::socket(&self.0, self.1)),
            (Kind::Raw, _) if !cred.is_root() => Err(Errno::EACCES),
            (Kind::Raw, protocol) => Ok(raw::socket(&self.0, self.1, protocol)),
            (Kind::Datagram, TCP) | (Kind::Stream, UDP) => Err(Errno::EPROTOTYPE),
            _ => Err(Errno::EPROTONOSUPPORT),
        }
    }
}
