//! Two kernels on a simulated host, and a cable between them that does harm: connections of TCP must end, and what arrives must be
//! what was sent, in order and once.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what a seed decides: the cable, the settings, what both sides of each connection do |
//! | [`side`] | one side of a connection, step by step |
//! | [`race`] | flows that share a line, and what each gets |
//! | [`flood`], [`siege`] | floods of SYNs, fragments, connections, malformed frames; against whom |
//! | [`frames`] | malformed frames |
//! | [`memory`] | an allocator that counts, as other tests have it |

pub mod flood;
pub mod frames;
#[path = "../../src/memory.rs"]
pub mod memory;
pub mod plan;
pub mod race;
pub mod side;
pub mod siege;

use plan::Plan;
use rumpkern::{Kernel, OpenFlags};
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _,
    link::{self, Impairment, LossyLink},
    socket::{Domain, Kind},
};
use rumpnet_inet::{KernelInet as _, usage::Usage};
use rumpuser::{Clock as _, Errno, Instant, Result};
use rumpuser_sim::{Rng, Sim};
use side::Side;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// Virtual time after which a connection should have ended, whatever the network did.
const PATIENCE: Duration = Duration::from_hours(24);
/// The same for what is left of it when nobody has it open any more.
const REST: Duration = Duration::from_hours(24);

/// How often sides are looked at when nothing happens: without a delay what one does is there for the other at once.
const LOOK: Duration = Duration::from_secs(60);

/// What came of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Connections that both sides ended in order.
    pub whole: u64,
    /// Connections that somebody cut off, or that the network did.
    pub cut: u64,
    /// Frames that the cable lost, doubled, held back, damaged, marked.
    pub harmed: u64,
    /// Virtual time.
    pub time: Duration,
    /// A number over all decisions of the simulation.
    pub fingerprint: u64,
}

/// A host of a case.
pub struct Host {
    /// Its kernel.
    pub kernel: Kernel,
    /// Its address.
    pub address: IpAddr,
    /// Its end of the cable.
    pub link: Arc<LossyLink>,
}

/// Boots two kernels with a cable between them, which does nothing to frames yet.
///
/// # Errors
/// None that should be.
pub fn two_hosts(sim: &Arc<Sim>, six: bool, mtu: u32, seed: u64) -> Result<[Host; 2]> {
    let boot = || {
        let builder = Kernel::builder(sim.clone());
        let builder = if six {
            builder.component(rumpnet_inet6::component())
        } else {
            builder.component(rumpnet_inet::component())
        };
        builder.boot()
    };
    let kernels = [boot()?, boot()?];
    let macs = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    let (one, two) = link::pair(
        kernels[0].host(),
        macs,
        mtu,
        [Impairment::default(); 2],
        seed,
    );
    let mut number = 0;
    let hosts = kernels.into_iter().zip([one, two]).map(|(kernel, link)| {
        number += 1;
        let (text, bits) = if six {
            (format!("fd00::{number}"), 64)
        } else {
            (format!("10.0.0.{number}"), 24)
        };
        let address: IpAddr = text.parse().map_err(|_| Errno::EINVAL)?;
        kernel.net()?.attach("virt0", link.clone())?;
        let cidr = rumpnet::Cidr::new(address, bits)?;
        kernel.inet()?.add_address("virt0", cidr)?;
        Ok(Host {
            kernel,
            address,
            link,
        })
    });
    let hosts: Vec<Host> = hosts.collect::<Result<_>>()?;
    hosts.try_into().map_err(|_| Errno::EINVAL)
}

/// Plays one case.
///
/// # Errors
/// In words, what must not be.
pub fn run(seed: u64) -> std::result::Result<Outcome, String> {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng);
    let sim = Sim::new(seed);
    play(&sim, &plan, &mut rng).map_err(|error| format!("seed {seed}: {error}\n{plan:#?}"))
}

fn play(sim: &Arc<Sim>, plan: &Plan, rng: &mut Rng) -> std::result::Result<Outcome, String> {
    let call = |error: Errno| format!("a call that must not fail: {error}");
    let hosts = two_hosts(sim, plan.six, plan.mtu, rng.next_u64()).map_err(call)?;
    for (host, config) in hosts.iter().zip(&plan.configs) {
        let inet = host.kernel.inet().map_err(call)?;
        inet.set_tcp_config(config.clone());
    }
    let empty = usage(&hosts);
    let mut sides = connect(&hosts, plan).map_err(call)?;
    for (host, impairment) in hosts.iter().zip(plan.impairments) {
        host.link.set(impairment);
    }
    let start = sim.monotonic();
    while !sides.iter().all(Side::is_done) {
        let now = sim.monotonic();
        let mut next = now.after(LOOK);
        for side in &mut sides {
            next = next.min(side.step(now)?);
        }
        let stuck: Vec<_> = sides.iter().filter(|side| !side.is_done()).collect();
        if !stuck.is_empty() && now.since(start) > PATIENCE {
            return Err(format!("it does not end: {stuck:#?}"));
        }
        sim.advance(next);
    }
    let mut outcome = judge(&sides)?;
    rest(sim, &hosts, empty)?;
    outcome.time = sim.monotonic().since(start);
    outcome.fingerprint = sim.fingerprint();
    for host in &hosts {
        let harm = host.link.counters();
        outcome.harmed +=
            harm.lost + harm.duplicated + harm.reordered + harm.corrupted + harm.marked;
        host.kernel.shutdown().map_err(call)?;
    }
    Ok(outcome)
}

/// Both sides of all connections: the first host is the client of all.
fn connect(hosts: &[Host; 2], plan: &Plan) -> Result<Vec<Side>> {
    let domain = if plan.six {
        Domain::Inet6
    } else {
        Domain::Inet
    };
    let [client, server] = hosts.each_ref().map(|host| host.kernel.init_proc());
    let mut sides = vec![];
    for (n, acts) in (0..).zip(&plan.connections) {
        let listener = server.socket(domain, Kind::Stream, 0, OpenFlags::NONBLOCK)?;
        let address = SocketAddr::new(hosts[1].address, 1_000 + n);
        server.bind(listener, &address.into())?;
        server.listen(listener, 1)?;
        let fd = client.socket(domain, Kind::Stream, 0, OpenFlags::NONBLOCK)?;
        let salt = u64::from(n) << 1;
        sides.push(Side::client(client.clone(), fd, address, acts[0], salt));
        let patient = acts.iter().all(plan::Act::is_orderly);
        sides.push(Side::server(
            server.clone(),
            listener,
            acts[1],
            salt | 1,
            patient,
        ));
    }
    Ok(sides)
}

/// What arrived: all of it if nobody cut the connection off, and nothing else in any case.
fn judge(sides: &[Side]) -> std::result::Result<Outcome, String> {
    let mut outcome = Outcome::default();
    for pair in sides.chunks_exact(2) {
        outcome.bytes += pair[0].received() + pair[1].received();
        let orderly = pair.iter().all(|side| side.act().is_orderly());
        for (here, there) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let (sent, received) = (here.sent(), there.received());
            if received > sent {
                return Err(format!("{received} bytes of {sent} arrived: {pair:#?}"));
            }
            let whole = received == sent && sent == here.act().data && here.error().is_none();
            if orderly && !whole {
                return Err(format!("not all of it arrived: {pair:#?}"));
            }
        }
        if orderly {
            outcome.whole += 1;
        } else {
            outcome.cut += 1;
        }
    }
    Ok(outcome)
}

/// What is kept, but for neighbours, which stay.
fn usage(hosts: &[Host; 2]) -> [Usage; 2] {
    hosts.each_ref().map(|host| {
        let inet = host.kernel.inet();
        let usage = inet.map(|inet| inet.usage()).unwrap_or_default();
        Usage {
            neighbors: 0,
            ..usage
        }
    })
}

/// Waits until nothing is left of the connections.
fn rest(sim: &Sim, hosts: &[Host; 2], empty: [Usage; 2]) -> std::result::Result<(), String> {
    let end = sim.monotonic().after(REST);
    let left = || {
        let flying = hosts.iter().any(|host| host.link.flying() > 0);
        (usage(hosts) != empty || flying).then(|| usage(hosts))
    };
    while let Some(left) = left() {
        if sim.monotonic() >= end {
            return Err(format!("this stays for ever: {left:?}"));
        }
        sim.advance(end.max(Instant::default()));
    }
    Ok(())
}
