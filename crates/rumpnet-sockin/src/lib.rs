//! The Internet families served by the host: `PF_INET` and `PF_INET6` sockets of a kernel are sockets of the host.
//!
//! No interface is configured and no privilege is needed; what runs on the sockets cannot tell. A kernel has this component or
//! `rumpnet-inet`, not both: the second one to start ends the boot with `EEXIST`.
#![forbid(unsafe_code)]

mod batch;
mod options;
mod reactor;
mod socket;

use reactor::Reactor;
use rumpkern::{Component, Cred, Phase};
use rumpnet::{
    KernelNet as _,
    socket::{Domain, Endpoint, Family, Kind},
};
use rumpuser::{Errno, Result};
use std::sync::Arc;

/// The families as a component; brings `net` with it.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "sockin",
        phase: Phase::Driver,
        requires: &[rumpnet::component],
        init: |kernel| {
            let net = kernel.net()?;
            let reactor = Arc::new(Reactor::new(kernel.init_proc().pollers())?);
            for domain in [Domain::Inet, Domain::Inet6] {
                let reactor = reactor.clone();
                net.add_family(domain, Arc::new(Sockets { domain, reactor }))?;
            }
            Ok(())
        },
    }
}

/// A family.
struct Sockets {
    domain: Domain,
    reactor: Arc<Reactor>,
}

impl Family for Sockets {
    fn socket(&self, kind: Kind, protocol: u8, _cred: &Cred) -> Result<Box<dyn Endpoint>> {
        Ok(Box::new(socket::HostSocket::new(
            self.domain,
            kind,
            protocol,
            &self.reactor,
        )?))
    }
}

/// The host's error.
fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_number(error.raw_os_error())
}
