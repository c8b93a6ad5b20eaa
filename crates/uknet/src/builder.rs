//! Stacks of one's own.

use crate::{Net, net::error};
use rumpkern::Kernel;
use rumpnet::{Cidr, KernelNet as _, MacAddr, interface::Device, wire};
use rumpnet_dns::Config;
use rumpnet_inet::KernelInet as _;
use rumpuser::Random as _;
use rumpuser_posix::Host;
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// A cable between two stacks of this process.
#[must_use]
pub fn cable() -> (Arc<dyn Device>, Arc<dyn Device>) {
    let (one, two) = wire::pair(new_mac(), new_mac(), wire::Config::default());
    (one, two)
}

/// A random address of Ethernet, of those that anybody may take.
#[must_use]
pub fn new_mac() -> MacAddr {
    let mut bytes = [0; 6];
    Host::new().random(&mut bytes);
    // Administered locally, and no group.
    bytes[0] = bytes[0] & 0xfc | 2;
    MacAddr(bytes)
}

/// An interface that a stack is to have.
#[derive(Clone)]
pub struct Interface {
    name: String,
    device: Arc<dyn Device>,
    addresses: Vec<Cidr>,
    mtu: Option<u32>,
}

impl Interface {
    /// Over any device: an end of a [`cable`], one of the caller's own.
    #[must_use]
    pub fn device(name: &str, device: Arc<dyn Device>) -> Self {
        Self {
            name: name.to_owned(),
            device,
            addresses: Vec::new(),
            mtu: None,
        }
    }

    /// Over the tap device `name` of the host, which is made if it is not there. Large packets and sums are left to the host.
    ///
    /// # Errors
    /// `PermissionDenied` with what it takes, `EBUSY`, what the host says.
    #[cfg(feature = "virtif")]
    pub fn tap(name: &str) -> io::Result<Self> {
        Self::tap_at(name, new_mac())
    }

    /// The same with this address.
    ///
    /// # Errors
    /// As [`tap`](Self::tap).
    #[cfg(feature = "virtif")]
    pub fn tap_at(name: &str, mac: MacAddr) -> io::Result<Self> {
        let tap = rumpnet_virtif::Tap::open(name, mac, true).map_err(|reason| {
            let kind = error(reason.errno).kind();
            io::Error::new(kind, reason)
        })?;
        Ok(Self::device("virt0", tap))
    }

    /// On the bus in a file, which is made if it is not there.
    ///
    /// # Errors
    /// What the host says; `EINVAL` when the file is no bus.
    #[cfg(feature = "shmif")]
    pub fn shmif(file: impl AsRef<std::path::Path>) -> io::Result<Self> {
        Self::shmif_at(file, new_mac())
    }

    /// The same with this address.
    ///
    /// # Errors
    /// As [`shmif`](Self::shmif).
    #[cfg(feature = "shmif")]
    pub fn shmif_at(file: impl AsRef<std::path::Path>, mac: MacAddr) -> io::Result<Self> {
        let bus = Arc::new(rumpnet_shmif::Bus::open(file).map_err(error)?);
        let device = rumpnet_shmif::Shmif::join(&bus, mac, 1_500).map_err(error)?;
        Ok(Self::device("shmif0", device))
    }

    /// Names it.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Gives it an address with the length of its network's prefix.
    #[must_use]
    pub fn address(mut self, address: Cidr) -> Self {
        self.addresses.push(address);
        self
    }

    /// Sends packets of at most `mtu` bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface")
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What a stack is to have.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    interfaces: Vec<Interface>,
    gateways: Vec<IpAddr>,
    resolv: Config,
    forwarding: bool,
    verbose: bool,
}

impl Builder {
    /// An interface. Without any there is `lo0` alone.
    #[must_use]
    pub fn interface(mut self, interface: Interface) -> Self {
        self.interfaces.push(interface);
        self
    }

    /// The router for what is beyond; one for each family.
    #[must_use]
    pub fn gateway(mut self, gateway: IpAddr) -> Self {
        self.gateways.push(gateway);
        self
    }

    /// A name server, at the usual port.
    #[must_use]
    pub fn nameserver(mut self, server: IpAddr) -> Self {
        let server = SocketAddr::new(server, rumpnet_dns::config::PORT);
        self.resolv.servers.push(server);
        self
    }

    /// All about name servers and names, instead of what was said before.
    #[must_use]
    pub fn resolv(mut self, resolv: Config) -> Self {
        self.resolv = resolv;
        self
    }

    /// Whether packets for others are passed on.
    #[must_use]
    pub fn forwarding(mut self, on: bool) -> Self {
        self.forwarding = on;
        self
    }

    /// Whether the kernel's messages go to standard error.
    #[must_use]
    pub fn kernel_messages(mut self, on: bool) -> Self {
        self.verbose = on;
        self
    }

    /// Boots it. Interfaces with an address of IPv6 wait a second for nobody else to have it.
    ///
    /// # Errors
    /// `AddrInUse` (another host has an address of IPv6), `AlreadyExists` (two interfaces of one name, or with one address), `InvalidInput`,
    /// `NetworkUnreachable` (a router that is on no link), what the devices say. The text names the interface.
    pub fn boot(self) -> io::Result<Net> {
        let host = if self.verbose {
            Host::verbose()
        } else {
            Host::new()
        };
        let kernel = Kernel::builder(host).component(rumpnet_loop::component());
        #[cfg(feature = "inet6")]
        let kernel = kernel.component(rumpnet_inet6::component());
        let kernel = kernel.boot().map_err(error)?;
        let (net, inet) = (kernel.net().map_err(error)?, kernel.inet().map_err(error)?);
        inet.set_forwarding(self.forwarding);
        #[cfg(feature = "inet6")]
        {
            use rumpnet_inet6::KernelInet6 as _;
            let inet6 = kernel.inet6().map_err(error)?;
            inet6.set_forwarding(self.forwarding).map_err(error)?;
        }
        for interface in &self.interfaces {
            let name = &interface.name;
            let at = |what: &dyn fmt::Display| {
                let label = format!("{name}: {what}");
                move |errno| {
                    let error = error(errno);
                    io::Error::new(error.kind(), format!("{label}: {errno}"))
                }
            };
            let ifnet = net.attach(name, interface.device.clone());
            let ifnet = ifnet.map_err(at(&"cannot attach"))?;
            if let Some(mtu) = interface.mtu {
                ifnet.set_mtu(mtu).map_err(at(&format_args!("mtu {mtu}")))?;
            }
            inet.up(name).map_err(at(&"cannot set up"))?;
            for address in &interface.addresses {
                inet.add_address(name, *address).map_err(at(address))?;
            }
        }
        for gateway in &self.gateways {
            let all = if gateway.is_ipv4() {
                Cidr::ANY_V4
            } else {
                Cidr::ANY_V6
            };
            inet.add_route(all, Some(*gateway), None, 0)
                .map_err(|errno| {
                    let error = error(errno);
                    io::Error::new(error.kind(), format!("gateway {gateway}: {errno}"))
                })?;
        }
        Ok(Net::with(&kernel, self.resolv))
    }
}

/// How long a look at connections is put off.
const LOOK: Duration = Duration::from_millis(2);

impl Net {
    /// Waits until what was written to connections that are closed by now has arrived, or `most` is over; whether it has. A process that ends,
    /// or drops the last handle, takes its stack with it; what it had still to send is lost.
    #[must_use]
    pub fn settle(&self, most: Duration) -> bool {
        use rumpnet_inet::tcp::State;
        let Ok(inet) = self.kernel().inet() else {
            // The host's kernel goes on by itself.
            return true;
        };
        let end = std::time::Instant::now() + most;
        loop {
            let closing = inet.tcp_sockets().into_iter().any(|(_, _, state)| {
                use State::{Closing, FinWait1, LastAck};
                matches!(state, Some(FinWait1 | Closing | LastAck))
            });
            if !closing || std::time::Instant::now() >= end {
                return !closing;
            }
            std::thread::sleep(LOOK);
        }
    }
}
