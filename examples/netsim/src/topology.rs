//! Kernels, cables, addresses, routes.

use rumpkern::Kernel;
use rumpnet::{
    Ifnet, KernelNet as _, MacAddr,
    interface::{Device, Features},
    link::{self, Chance, Impairment, LossyLink},
    wire,
};
use rumpnet_bridge::{Bridge, Config};
use rumpnet_inet::KernelInet as _;
use rumpuser::{Clock as _, Instant, Result};
use rumpuser_sim::Sim;
use std::{sync::Arc, time::Duration};

/// The line between the networks: 10 Mbit/s, 20 ms each way, and all that can happen to a frame.
const LINE: Impairment = Impairment {
    delay: Duration::from_millis(20),
    jitter: Duration::from_millis(3),
    rate: Some(10_000_000),
    queue: 64 << 10,
    loss: Chance::percent(1),
    duplicate: Chance::per_mille(1),
    reorder: Chance::per_mille(5),
    hold: Duration::from_millis(5),
    corrupt: Chance::per_mille(1),
    mark: Chance::NEVER,
};

/// Hosts on each of the two networks.
const HOSTS: u8 = 3;

/// The network.
pub struct Topology {
    sim: Arc<Sim>,
    /// a1, a2, a3, b1, b2, b3.
    pub hosts: Vec<Kernel>,
    /// One for each network.
    pub switches: Vec<Kernel>,
    /// The same.
    pub routers: Vec<Kernel>,
    /// Both ends of the line.
    pub line: [Arc<LossyLink>; 2],
    /// The interface of the first router to it.
    pub line_interface: Arc<Ifnet>,
}

impl Topology {
    /// Boots the kernels and connects them.
    ///
    /// # Errors
    /// None that should be.
    pub fn new(sim: &Arc<Sim>, seed: u64) -> Result<Self> {
        let mut cables = 0;
        let mut cable = || {
            cables += 2;
            let mac = |n| MacAddr([2, 0, 0, 0, 0, n]);
            let (mtu, features) = (1_500, Features::CHECKSUM);
            wire::pair(mac(cables), mac(cables + 1), wire::Config { mtu, features })
        };
        let (mut hosts, mut switches, mut routers) = (vec![], vec![], vec![]);
        for side in 1..=2 {
            let switch = Kernel::builder(sim.clone())
                .component(rumpnet::component())
                .boot()?;
            let mac = MacAddr([2, 0, 0, 0, 1, side]);
            let bridge = Bridge::new(switch.host(), mac, Config::default())?;
            // The last is the router.
            for n in 1..=HOSTS + 1 {
                let (port, end) = cable();
                let port = switch.net()?.attach(&format!("port{n}"), port)?;
                bridge.add(&port)?;
                let kernel = boot(sim)?;
                let last = n == HOSTS + 1;
                let number = if last { 254 } else { n };
                join(&kernel, end, &format!("10.{side}.0.{number}/24"))?;
                if last {
                    kernel.inet()?.set_forwarding(true);
                    routers.push(kernel);
                } else {
                    route(&kernel, "0.0.0.0/0", &format!("10.{side}.0.254"))?;
                    hosts.push(kernel);
                }
            }
            switches.push(switch);
        }
        let macs = (MacAddr([2, 0, 0, 0, 9, 1]), MacAddr([2, 0, 0, 0, 9, 2]));
        let (one, two) = link::pair(routers[0].host(), macs, 1_500, [LINE; 2], seed);
        for (n, (router, end)) in routers.iter().zip([&one, &two]).enumerate() {
            let (here, there) = (n + 1, 2 - n);
            router.net()?.attach("line0", end.clone())?;
            let inet = router.inet()?;
            inet.add_address("line0", parse(&format!("10.9.0.{here}/24"))?)?;
            route(
                router,
                &format!("10.{there}.0.0/24"),
                &format!("10.9.0.{there}"),
            )?;
        }
        Ok(Self {
            line_interface: routers[0].net()?.interface("line0")?,
            sim: sim.clone(),
            hosts,
            switches,
            routers,
            line: [one, two],
        })
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.sim.monotonic()
    }

    /// Name and address of a host.
    #[must_use]
    pub fn name(&self, host: usize) -> (String, [u8; 4]) {
        let number = host as u8 % HOSTS + 1;
        let (side, letter) = if host < HOSTS.into() {
            (1, 'a')
        } else {
            (2, 'b')
        };
        (format!("{letter}{number}"), [10, side, 0, number])
    }

    /// Shuts all kernels down.
    ///
    /// # Errors
    /// The first of theirs.
    pub fn shutdown(&self) -> Result<()> {
        let all = self.hosts.iter().chain(&self.switches).chain(&self.routers);
        all.map(Kernel::shutdown).fold(Ok(()), Result::and)
    }
}

fn boot(sim: &Arc<Sim>) -> Result<Kernel> {
    let builder = Kernel::builder(sim.clone());
    builder.component(rumpnet_inet::component()).boot()
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| rumpuser::Errno::EINVAL)
}

fn join(kernel: &Kernel, device: Arc<dyn Device>, address: &str) -> Result<()> {
    kernel.net()?.attach("virt0", device)?;
    kernel.inet()?.add_address("virt0", parse(address)?)
}

fn route(kernel: &Kernel, network: &str, gateway: &str) -> Result<()> {
    let gateway = Some(parse(gateway)?);
    kernel.inet()?.add_route(parse(network)?, gateway, None, 0)
}
