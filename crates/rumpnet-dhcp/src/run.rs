//! The client of an interface: a thread of its kernel, which sees frames as BPF shows them, and sets what a server gives.

use crate::{
    Client, Lease, Options,
    client::Step,
    frame::{self, Seen},
    message::Incoming,
};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use rumpkern::{Cred, Kernel, kthread::Life};
use rumpnet::{
    Cidr, Ifnet, KernelNet as _, MacAddr,
    capture::{Tap, Way},
    interface::Batch,
    socket::{Domain, Endpoint, Kind, MsgFlags, Outgoing, SockOpt},
};
use rumpnet_inet::{Inet, KernelInet as _};
use rumpuser::{Errno, Event, Host, Result, sync::Mutex};

/// Frames that wait for the thread at most.
const QUEUE: usize = 64;
/// How long the last message may wait for the address of a neighbour, and how often that is looked for.
const FAREWELL: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(2);

/// The client of an interface. It runs until it is released, or its kernel ends.
pub struct Dhcp {
    host: Arc<dyn Host>,
    shared: Arc<Shared>,
}

struct Shared {
    mac: MacAddr,
    work: Mutex<Work>,
    lease: Mutex<Option<Lease>>,
    /// The lease has changed, or the client has ended.
    changed: Arc<dyn Event>,
}

#[derive(Default)]
struct Work {
    seen: VecDeque<Seen>,
    release: bool,
    ended: bool,
    /// What wakes the thread, once it runs.
    event: Option<Arc<dyn Event>>,
}

impl Shared {
    fn add(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.work.lock();
        change(&mut work);
        let event = work.event.clone();
        drop(work);
        if let Some(event) = event {
            event.notify();
        }
    }
}

impl Tap for Shared {
    fn frames(&self, way: Way, frames: &mut Batch) {
        if way == Way::Out {
            return;
        }
        for frame in frames.iter() {
            let Some(seen) = frame::look(frame) else {
                continue;
            };
            if !matches!(seen, Seen::Claim(mac, _) | Seen::Probe(mac, _) if mac == self.mac) {
                self.add(|work| {
                    if work.seen.len() < QUEUE {
                        work.seen.push_back(seen);
                    }
                });
            }
        }
    }
}

/// Starts the client of an interface, and sets that up.
///
/// # Errors
/// `EINVAL` (options that cannot be told), `ENXIO` (no such interface), `EPROTONOSUPPORT` (it is no Ethernet), `EADDRINUSE` (somebody has
/// the port of clients), `EAGAIN`.
pub fn start(kernel: &Kernel, interface: &str, options: Options) -> Result<Dhcp> {
    options.check()?;
    let (net, inet) = (kernel.net()?, kernel.inet()?);
    let ifnet = net.interface(interface)?;
    let mac = ifnet.mac().ok_or(Errno::EPROTONOSUPPORT)?;
    inet.up(interface)?;
    // It is there so that what comes to the port is no error, and what goes to the server has its right address. It has no
    // descriptor, which would keep the kernel alive.
    let cred = Cred::root();
    let socket = net.family(Domain::Inet)?.socket(Kind::Datagram, 0, &cred)?;
    socket.set_option(&SockOpt::BindToDevice(Some(interface.into())))?;
    socket.set_option(&SockOpt::ReuseAddr(true))?;
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), frame::CLIENT);
    socket.bind(&any.into(), &cred)?;
    let host = kernel.host().clone();
    let shared = Arc::new(Shared {
        mac,
        work: Mutex::default(),
        lease: Mutex::default(),
        changed: host.event(),
    });
    let mut seed = [0; 8];
    host.random(&mut seed);
    let client = Client::new(mac, options, u64::from_ne_bytes(seed), host.monotonic());
    let mut runner = Runner {
        mtu: ifnet.mtu(),
        shared: shared.clone(),
        host: host.clone(),
        inet,
        ifnet,
        client,
        socket,
        assigned: false,
        routes: Vec::new(),
    };
    kernel.spawn("dhcp", move |life| runner.run(&life))?;
    Ok(Dhcp { host, shared })
}

impl Dhcp {
    /// The lease that the interface has.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.shared.lease.lock().clone()
    }

    /// Waits until the interface has a lease, at most so long.
    ///
    /// # Errors
    /// `ETIMEDOUT`; `ESHUTDOWN`: the client has ended.
    pub fn wait(&self, most: Duration) -> Result<Lease> {
        let end = self.host.monotonic().after(most);
        loop {
            let ticket = self.shared.changed.ticket();
            if let Some(lease) = self.lease() {
                return Ok(lease);
            }
            if self.shared.work.lock().ended {
                return Err(Errno::ESHUTDOWN);
            }
            if !self.shared.changed.wait(ticket, Some(end)) {
                return Err(Errno::ETIMEDOUT);
            }
        }
    }

    /// Gives the lease back (unless [`Options::keep`]), takes the address away, and ends the client; returns when that is done.
    ///
    /// # Errors
    /// `ETIMEDOUT`: the thread is stuck, which takes a stuck device.
    pub fn release(&self) -> Result<()> {
        self.shared.add(|work| work.release = true);
        let end = self.host.monotonic().after(Duration::from_secs(5));
        loop {
            let ticket = self.shared.changed.ticket();
            if self.shared.work.lock().ended {
                return Ok(());
            }
            if !self.shared.changed.wait(ticket, Some(end)) {
                return Err(Errno::ETIMEDOUT);
            }
        }
    }
}

/// What the thread has.
struct Runner {
    shared: Arc<Shared>,
    host: Arc<dyn Host>,
    inet: Arc<Inet>,
    ifnet: Arc<Ifnet>,
    client: Client,
    socket: Box<dyn Endpoint>,
    /// Of the interface, without a lease.
    mtu: u32,
    /// The interface got its address from here.
    assigned: bool,
    /// Those that were added for the lease.
    routes: Vec<(Cidr, Option<Ipv4Addr>)>,
}

impl Runner {
    fn run(&mut self, life: &Life) {
        self.shared.work.lock().event = Some(life.event().clone());
        let tap: Arc<dyn Tap> = self.shared.clone();
        self.ifnet.taps().add(tap.clone());
        while !life.ending() {
            let ticket = life.event().ticket();
            let (seen, release) = {
                let mut work = self.shared.work.lock();
                (work.seen.pop_front(), work.release)
            };
            let now = self.host.monotonic();
            let more = seen.is_some();
            match seen {
                Some(Seen::Message(bytes)) => {
                    if let Some(message) = Incoming::parse(&bytes) {
                        self.client.on_message(&message, now);
                    }
                }
                Some(Seen::Claim(_, address)) => self.client.on_conflict(address, now),
                Some(Seen::Probe(_, address)) => self.client.on_probe(address, now),
                None => {}
            }
            if release {
                self.client.release(now);
            }
            while let Some(step) = self.client.next(now) {
                let unicast = matches!(step, Step::Unicast(..));
                self.step(step);
                if release && unicast {
                    self.wait_for_neighbors();
                }
            }
            // What comes to the port was seen as a frame already.
            while self
                .socket
                .receive(&mut [&mut [0]], MsgFlags::empty())
                .is_ok_and(|got| got.from.is_some())
            {}
            if release {
                break;
            }
            if !more && !life.ending() {
                life.event().wait(ticket, self.client.deadline());
            }
        }
        self.ifnet.taps().remove(&tap);
        let mut work = self.shared.work.lock();
        (work.ended, work.event) = (true, None);
        drop(work);
        self.shared.changed.notify();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Broadcast(bytes) => self.send(frame::broadcast(
                self.shared.mac,
                Ipv4Addr::UNSPECIFIED,
                &bytes,
            )),
            Step::BroadcastBound(bytes) => {
                let own = self
                    .shared
                    .lease
                    .lock()
                    .as_ref()
                    .map(|lease| lease.address.address());
                if let Some(IpAddr::V4(own)) = own {
                    self.send(frame::broadcast(self.shared.mac, own, &bytes));
                }
            }
            Step::Unicast(server, bytes) => {
                let to = SocketAddr::new(server.into(), frame::SERVER).into();
                let message = Outgoing {
                    to: Some(&to),
                    bufs: &[&bytes],
                    control: &[],
                    flags: MsgFlags::empty(),
                };
                // What is lost on the way is sent again as well.
                let _ = self.socket.send(&message);
            }
            Step::Probe(address) => self.send(frame::probe(self.shared.mac, address)),
            Step::Bind(lease) => self.install(lease),
            Step::Unbind => {
                self.uninstall();
                *self.shared.lease.lock() = None;
                self.shared.changed.notify();
            }
        }
    }

    /// Waits until what was sent has left, which may have to know the address of its neighbour first: with the interface's own address it
    /// would be gone.
    fn wait_for_neighbors(&self) {
        let end = self.host.monotonic().after(FAREWELL);
        let unknown = |(interface, _, mac, _): &(u32, IpAddr, Option<_>, _)| {
            *interface == self.ifnet.index() && mac.is_none()
        };
        while self.inet.neighbors().iter().any(unknown) && self.host.monotonic() < end {
            let pause = self.host.event();
            let ticket = pause.ticket();
            pause.wait(ticket, Some(self.host.monotonic().after(LOOK)));
        }
    }

    fn send(&self, frame: Option<rumpnet::Packet>) {
        if let Some(frame) = frame {
            self.ifnet.enqueue(frame);
            self.ifnet.flush();
        }
    }

    fn install(&mut self, lease: Lease) {
        let before = self.shared.lease.lock().clone();
        let same = |old: &Lease| {
            (old.address, &old.routes, old.mtu) == (lease.address, &lease.routes, lease.mtu)
        };
        if !before.as_ref().is_some_and(same) {
            self.uninstall();
            self.set_up(&lease);
        }
        *self.shared.lease.lock() = Some(lease);
        self.shared.changed.notify();
    }

    /// What cannot be set is left out: an address that another interface has, a router that is on no link.
    fn set_up(&mut self, lease: &Lease) {
        let name = self.ifnet.name();
        if let Some(mtu) = lease.mtu.map(u32::from).filter(|mtu| *mtu <= self.mtu) {
            let _ = self.ifnet.set_mtu(mtu);
        }
        if self.inet.add_probed_address(name, lease.address).is_err() {
            return;
        }
        self.assigned = true;
        for (network, router) in &lease.routes {
            if let Some(router) = router
                && !lease.address.contains((*router).into())
            {
                // It is on the link all the same, says who gives such a lease.
                let host = Cidr::host((*router).into());
                if self.inet.add_route(host, None, Some(name), 0).is_ok() {
                    self.routes.push((host, None));
                }
            }
            let gateway = router.map(IpAddr::V4);
            if self
                .inet
                .add_route(*network, gateway, Some(name), 0)
                .is_ok()
            {
                self.routes.push((*network, *router));
            }
        }
    }

    fn uninstall(&mut self) {
        for (network, router) in self.routes.drain(..).rev() {
            // Somebody may have been faster.
            let _ = self.inet.remove_route(network, router.map(IpAddr::V4));
        }
        let lease = self.shared.lease.lock().clone();
        if let Some(lease) = lease {
            // One that was there already belongs to who has set it.
            if core::mem::take(&mut self.assigned) {
                let _ = self
                    .inet
                    .remove_address(self.ifnet.name(), lease.address.address());
            }
            let _ = self.ifnet.set_mtu(self.mtu);
        }
    }
}
