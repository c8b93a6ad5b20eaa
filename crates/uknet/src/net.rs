//! A stack.

use rumpkern::{Kernel, Proc};
use rumpnet::KernelNet as _;
use rumpnet_dns::{Config, Families, Resolver};
use rumpuser::{Errno, Result};
use std::{fmt, io, net::IpAddr, sync::Arc};

/// A network stack. Cloning gives another handle of the same one.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    proc: Proc,
    /// That of the kernel, if it has one.
    network: Option<Arc<rumpnet::Net>>,
    resolver: Resolver,
    #[cfg(feature = "inet")]
    dhcp: std::sync::Mutex<Vec<rumpnet_dhcp::Dhcp>>,
}

impl Net {
    /// The stack of a kernel that somebody else has booted. It knows no name server.
    #[must_use]
    pub fn new(kernel: &Kernel) -> Self {
        Self::with(kernel, Config::default())
    }

    /// The same with name servers.
    #[must_use]
    pub fn with(kernel: &Kernel, resolv: Config) -> Self {
        let inner = Inner {
            proc: kernel.init_proc(),
            network: kernel.net().ok(),
            resolver: Resolver::new(resolv),
            #[cfg(feature = "inet")]
            dhcp: std::sync::Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The host's sockets behind the same calls, with the name servers and names of the host's `/etc/resolv.conf` and `/etc/hosts`.
    ///
    /// # Errors
    /// What the host says.
    #[cfg(feature = "sockin")]
    pub fn host() -> io::Result<Self> {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(rumpnet_sockin::component())
            .boot()
            .map_err(error)?;
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut resolv = Config::parse(&text("/etc/resolv.conf"));
        resolv.hosts = rumpnet_dns::Hosts::parse(&text("/etc/hosts"));
        Ok(Self::with(&kernel, resolv))
    }

    /// Puts a stack of one's own together.
    #[cfg(feature = "inet")]
    #[must_use]
    pub fn builder() -> crate::Builder {
        crate::Builder::default()
    }

    /// Gets an interface an address, routes and name servers by DHCP, and keeps them as long as there is a handle of this stack. Waits for
    /// the first lease, at most so long. Its name servers are asked after those that are known already.
    ///
    /// # Errors
    /// `TimedOut`; `ENXIO` (no such interface), `EPROTONOSUPPORT` (it is no Ethernet), `AddrInUse` (it has a client).
    #[cfg(feature = "inet")]
    pub fn dhcp(
        &self,
        interface: &str,
        options: rumpnet_dhcp::Options,
        most: std::time::Duration,
    ) -> io::Result<rumpnet_dhcp::Lease> {
        let dhcp = rumpnet_dhcp::start(&self.kernel(), interface, options).map_err(error)?;
        let lease = dhcp.wait(most);
        let lock = || {
            self.inner
                .dhcp
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(errno) => {
                dhcp.release().map_err(error)?;
                return Err(error(errno));
            }
        };
        lock().push(dhcp);
        let mut resolv = (*self.resolver().config()).clone();
        let servers = lease
            .dns
            .iter()
            .map(|ip| std::net::SocketAddr::new(IpAddr::V4(*ip), rumpnet_dns::config::PORT));
        resolv.servers.extend(servers);
        resolv
            .search
            .extend(lease.domain.as_ref().and_then(|domain| domain.parse().ok()));
        self.resolver().set_config(resolv);
        Ok(lease)
    }

    /// Gives back what DHCP servers have given.
    ///
    /// # Errors
    /// `TimedOut`: a device is stuck.
    #[cfg(feature = "inet")]
    pub fn release(&self) -> io::Result<()> {
        let mut all = self
            .inner
            .dhcp
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let done: Vec<_> = all
            .drain(..)
            .map(|dhcp| dhcp.release().map_err(error))
            .collect();
        done.into_iter().collect()
    }

    /// Its kernel, for what has no word here: interfaces, routes, counters, captures.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.inner.proc.kernel()
    }

    /// The process whose system calls the sockets here make.
    #[must_use]
    pub fn proc(&self) -> &Proc {
        &self.inner.proc
    }

    /// The network of its kernel.
    pub(crate) fn network(&self) -> Result<&rumpnet::Net> {
        self.inner.network.as_deref().ok_or(Errno::EAFNOSUPPORT)
    }

    /// Who looks up names.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.inner.resolver
    }

    /// The addresses of a host, at least one.
    ///
    /// # Errors
    /// `NotFound` (no such name, or it has no address), `InvalidInput` (it is none), `TimedOut`, what a name server or the network says.
    pub fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.lookup_in(host, Families::Any)
    }

    pub(crate) fn lookup_in(&self, host: &str, families: Families) -> io::Result<Vec<IpAddr>> {
        let found = self.resolver().lookup_in(self.proc(), host, families);
        found.map_err(|reason| {
            let kind = error(reason.errno()).kind();
            io::Error::new(kind, format!("{}: {reason}", host.escape_debug()))
        })
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

/// As std has it.
pub(crate) fn error(errno: rumpuser::Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.number())
}
