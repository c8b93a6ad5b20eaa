//! Settings of IPv6. Addresses and routes are those of [`rumpnet_inet::Inet`].

use crate::{
    state::{Own, State},
    temporary::Settings as Temporary,
};
use alloc::sync::Arc;
use core::{net::Ipv6Addr, time::Duration};
use rumpkern::Kernel;
use rumpnet_inet::{Inet, KernelInet as _, tcp::cookie::Secret};
use rumpuser::Result;

/// What has happened besides what [`rumpnet_inet::stack::Counters`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Addresses that another host had.
    pub duplicates: u64,
}

/// IPv6 of a kernel.
pub struct Inet6(Arc<Inet>);

impl Inet6 {
    fn set(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        self.0.with(|stack| stack.state_mut::<State>().map(change))
    }

    /// Has packets for others passed on, or not. Who does is a router, and does not listen to other routers.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn set_forwarding(&self, on: bool) -> Result<()> {
        self.set(|state| state.forwarding = on)
    }

    /// Whether what routers advertise is followed.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn set_accept_advertisements(&self, on: bool) -> Result<()> {
        self.set(|state| state.accept_advertisements = on)
    }

    /// How often a link is asked for an address before it is used: 1 unless told otherwise, 0 uses it at once.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn set_probes(&self, count: u8) -> Result<()> {
        self.set(|state| state.probes = count)
    }

    /// Within how long an interface begins to ask for an address of its own making, and for routers: a second unless told otherwise, as RFC 4862 section
    /// 5.4.2 and RFC 4861 section 6.3.7 have it so that hosts that come up together do not speak at once. Zero begins at once. An address that is
    /// set by hand is always asked for at once.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn set_delay(&self, most: Duration) -> Result<()> {
        self.set(|state| state.delay = most)
    }

    /// The secret that addresses are made with: with the same one, a host has the same addresses each time (RFC 7217). Counts for
    /// interfaces that are set up afterwards.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn set_secret(&self, secret: [u8; 16]) -> Result<()> {
        self.set(|state| state.secret = Secret(secret))
    }

    /// What is set for temporary addresses (RFC 8981).
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn temporary(&self) -> Result<Temporary> {
        self.0
            .look(|stack| stack.state::<State>().map(|state| state.temporary))
    }

    /// Sets it; it counts for those that are made afterwards.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`; `EINVAL`: preferred for longer than valid, or for not even a minute.
    pub fn set_temporary(&self, settings: Temporary) -> Result<()> {
        let settings = settings.checked()?;
        self.set(|state| state.temporary = settings)
    }

    /// The temporary addresses of an interface.
    ///
    /// # Errors
    /// `ENXIO`, `EAFNOSUPPORT`.
    pub fn temporary_addresses(&self, interface: &str) -> Result<alloc::vec::Vec<Ipv6Addr>> {
        self.pick(interface, |own| own.temporary.is_some())
    }

    fn pick(
        &self,
        interface: &str,
        which: impl Fn(&Own) -> bool,
    ) -> Result<alloc::vec::Vec<Ipv6Addr>> {
        let index = self.0.interface(interface)?.index();
        self.0.look(|stack| {
            let link = stack.state::<State>()?.links.get(&index);
            let all = link.into_iter().flat_map(|link| &link.addresses);
            Ok(all.filter(|own| which(own)).map(|own| own.ip).collect())
        })
    }

    /// What has happened.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn counters(&self) -> Result<Counters> {
        self.0
            .look(|stack| stack.state::<State>().map(|state| state.counters))
    }

    /// Addresses of an interface that wait for nobody else to have them.
    ///
    /// # Errors
    /// `ENXIO`, `EAFNOSUPPORT`.
    pub fn tentative(&self, interface: &str) -> Result<alloc::vec::Vec<Ipv6Addr>> {
        self.pick(interface, |own| own.tentative.is_some())
    }
}

/// IPv6 of a kernel, for its consumers.
pub trait KernelInet6 {
    /// Its settings.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` when the kernel has no IPv6.
    fn inet6(&self) -> Result<Inet6>;
}

impl KernelInet6 for Kernel {
    fn inet6(&self) -> Result<Inet6> {
        let inet = self.inet()?;
        inet.look(|stack| stack.state::<State>().map(|_| ()))?;
        Ok(Inet6(inet))
    }
}
