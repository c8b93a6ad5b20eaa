//! Which address of a host is meant.

use super::{Context, errno};
use crate::report::{Failure, Outcome};
use clap::Args;
use rumpnet::KernelNet as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use uknet::ToSocketAddrs as _;

/// Of which family it is to be.
#[derive(Args, Debug)]
pub(crate) struct Family {
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    v6: bool,
}

impl Family {
    /// Whether an address is.
    pub(crate) const fn wants(&self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { !self.v6 } else { !self.v4 }
    }

    /// The address that stands for all of this host's.
    pub(crate) const fn any(&self) -> IpAddr {
        any(!self.v6)
    }
}

/// The address that stands for all of this host's.
pub(crate) const fn any(v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    }
}

/// The first address of a host that is wanted, in the order in which they are to be tried.
///
/// # Errors
/// There is none.
pub(crate) fn host(
    context: &Context<'_>,
    host: &str,
    wanted: impl Fn(IpAddr) -> bool,
) -> Outcome<SocketAddr> {
    let (name, scope) = match host.split_once('%') {
        Some((name, interface)) => (name, Some(scope(context, interface)?)),
        None => (host, None),
    };
    let all = (name, 0).to_socket_addrs(context.net);
    let all = all.map_err(|error| Failure::Message(error.to_string()))?;
    let first = all.into_iter().find(|to| wanted(to.ip()));
    let mut to = first.ok_or_else(|| Failure::at(name, "no address of that family"))?;
    if let (SocketAddr::V6(to), Some(scope)) = (&mut to, scope) {
        to.set_scope_id(scope);
    }
    Ok(to)
}

/// The number of an interface.
fn scope(context: &Context<'_>, name: &str) -> Outcome<u32> {
    let net = context.net.kernel().net().map_err(errno(name))?;
    Ok(net.interface(name).map_err(errno(name))?.index())
}
