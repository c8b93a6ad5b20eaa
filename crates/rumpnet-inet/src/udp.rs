//! UDP (RFC 768, RFC 1122 section 4.1).

mod input;
mod many;
mod option;
mod output;
mod segments;
mod shared;
mod short;
mod socket;

use crate::{
    datagram::Queue,
    datagram_options::DatagramOptions,
    flow::Flows,
    groups::Groups,
    ip::on,
    port::{self, Bound, Chooser, Reuse, Speaks},
    stack::{Inet, Path},
    tcp::cookie::Secret,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::net::{IpAddr, SocketAddr};
use hashbrown::HashMap;
use rumpnet::socket::{Domain, Endpoint, Waiters};
use rumpuser::{Errno, Host, Result};
use slab::Slab;
use socket::UdpSocket;

/// Bytes of a header.
const LEN: usize = 8;
/// Largest payload over IPv4.
const MOST: usize = 65_507;

/// Largest payload over IPv6, whose length does not count its header.
const MOST_V6: usize = 65_527;

/// The sockets of UDP.
pub(crate) struct Udp {
    sockets: Slab<Udpcb>,
    /// By local port, those with a peer first.
    ports: HashMap<u16, Vec<usize>>,
    chooser: Chooser,
    /// By which sockets share a port.
    secret: Secret,
    /// How often it has changed which socket gets what.
    changes: u64,
    pub(crate) flows: Flows,
}

/// A socket.
struct Udpcb {
    speaks: Speaks,
    local: Bound,
    /// The address is that of the way to the peer: it goes with it.
    borrowed: bool,
    /// 0 while it has none.
    port: u16,
    peer: Option<SocketAddr>,
    queue: Queue,
    error: Option<Errno>,
    waiters: Waiters,
    closed_read: bool,
    closed_write: bool,
    options: Options,
    groups: Groups,
    /// The way to the peer, while routes and addresses stay as they are.
    path: Option<(u64, SocketAddr, Path)>,
    prepared: Option<Box<short::Prepared>>,
}

#[derive(Clone, Copy)]
struct Options {
    broadcast: bool,
    reuse: Reuse,
    common: DatagramOptions,
    dont_fragment: bool,
    /// Gateways are not used.
    dont_route: bool,
    /// Bytes of a datagram at most.
    send_buffer: usize,
    /// What is longer is sent as several datagrams; 0 for none of that.
    segment: u16,
}

impl Udpcb {
    /// Whether it is for this socket what comes by an interface for an address.
    fn receives_at(&self, ip: IpAddr, interface: u32) -> bool {
        let address = match self.local {
            Some(local) => local == ip,
            None => self.speaks.with(ip),
        };
        address && on(self.options.common.interface, interface)
    }

    /// How much a socket has said about what it wants: of several the one that has said the most gets a datagram.
    fn precision(&self) -> u32 {
        let bound = u32::from(self.options.common.interface.is_some());
        match (self.peer.is_some(), self.local.is_some()) {
            (true, _) => 6 | bound,
            (false, true) => 4 | bound,
            (false, false) => 2 | bound,
        }
    }
}

impl Udp {
    pub(crate) fn new(host: &dyn Host) -> Self {
        let mut secret = [0; 16];
        host.random(&mut secret);
        Self {
            sockets: Slab::new(),
            ports: HashMap::new(),
            chooser: Chooser::new(host),
            secret: Secret(secret),
            changes: 0,
            flows: Flows::default(),
        }
    }

    fn get(&mut self, id: usize) -> Result<&mut Udpcb> {
        self.sockets.get_mut(id).ok_or(Errno::EBADF)
    }

    /// Gives a socket a port: a certain one, or any.
    fn take_port(&mut self, id: usize, local: Bound, port: u16) -> Result<()> {
        let socket = self.get(id)?;
        let (reuse, speaks) = (socket.options.reuse, socket.speaks);
        let free = |port: u16, ports: &HashMap<u16, Vec<usize>>, sockets: &Slab<Udpcb>| {
            let users = ports.get(&port).into_iter().flatten();
            let mut users = users.filter_map(|id| sockets.get(*id));
            users.all(|user| {
                !port::conflict((user.local, user.speaks), (local, speaks))
                    || reuse.address && user.options.reuse.address
                    || reuse.port && user.options.reuse.port
            })
        };
        let port = if port == 0 {
            let (ports, sockets) = (&self.ports, &self.sockets);
            self.chooser.choose(|port| free(port, ports, sockets))?
        } else if free(port, &self.ports, &self.sockets) {
            port
        } else {
            return Err(Errno::EADDRINUSE);
        };
        self.changed();
        self.ports.entry(port).or_default().push(id);
        let socket = self.get(id)?;
        (socket.local, socket.port) = (local, port);
        Ok(())
    }

    /// Takes a socket off its port.
    fn leave_port(&mut self, id: usize) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let port = core::mem::take(&mut socket.port);
        self.changed();
        if let Some(users) = self.ports.get_mut(&port) {
            users.retain(|user| *user != id);
            if users.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    /// The sockets that a datagram is for which came by an interface.
    fn find(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        interface: u32,
    ) -> impl Iterator<Item = (usize, &Udpcb)> + Clone {
        let users = self.ports.get(&to.port()).into_iter().flatten();
        let users = users.filter_map(|id| Some((*id, self.sockets.get(*id)?)));
        users.filter(move |(_, socket)| {
            let peer = socket.peer.is_none_or(|peer| peer == from);
            peer && socket.receives_at(to.ip(), interface)
        })
    }

    /// The one that gets a datagram for one host. Of several that share the port it is the peer's.
    fn find_one(&self, from: SocketAddr, to: SocketAddr, interface: u32) -> Option<usize> {
        let users = self.find(from, to, interface);
        let most = users.clone().map(|(_, socket)| socket.precision()).max()?;
        let mut best = users.filter(|(_, socket)| socket.precision() == most);
        let sharing = best.clone();
        let mut sharing = sharing.filter(|(_, socket)| socket.options.reuse.port);
        match sharing.clone().count() {
            0 | 1 => best.next(),
            count => sharing.nth(port::share(&self.secret, from, count)),
        }
        .map(|(id, _)| id)
    }
}

impl Inet {
    /// The sockets of UDP: their own address, and their peer's if they have one.
    #[must_use]
    pub fn udp_sockets(&self) -> Vec<(SocketAddr, Option<SocketAddr>)> {
        self.look(|stack| {
            let all = stack.udp.sockets.iter();
            all.map(|(_, socket)| {
                let local = socket.speaks.local(socket.local, socket.port);
                (local, socket.peer.map(|peer| socket.speaks.told(peer)))
            })
            .collect()
        })
    }
}

/// The family's sockets of this kind.
pub(crate) fn socket(inet: &Arc<Inet>, domain: Domain) -> Box<dyn Endpoint> {
    Box::new(UdpSocket::new(inet, domain))
}
