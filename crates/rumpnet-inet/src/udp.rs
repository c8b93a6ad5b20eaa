//! UDP (RFC 768, RFC 1122 section 4.1).

mod many;
mod segments;
mod shared;
mod short;

use crate::{
    checksum,
    datagram::{BUFFER, Datagram, Queue, Telling, copy_in, copy_out},
    flow::Flows,
    groups::{self, Groups},
    icmp::{Complaint, Unreachable},
    ip::{Arrival, DEFAULT_TTL, Sending, bump, hops, on, scope, scoped},
    ipv4::protocol,
    port::{self, Bound, Chooser, Reuse, Speaks},
    stack::{Inet, Path, Stack},
    tcp::cookie::Secret,
    tcp_socket::{BUFFER_MAX, BUFFER_MIN},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use hashbrown::HashMap;
use rumpkern::{Cred, file::Ready};
use rumpnet::{
    Address, Chain, Packet,
    packet::{Cast, Checksum},
    socket::{
        Control, Domain, Endpoint, Incoming, Kind, MsgFlags, Outgoing, Received, Sent, Shutdown,
        SockOpt, Watched, Watcher,
    },
};
use rumpuser::{Errno, Event, Host, Instant, Result};
use slab::Slab;

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
    event: Option<Arc<dyn Event>>,
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
    /// That of the way if `None`.
    ttl: Option<u8>,
    tos: u8,
    multicast_ttl: u8,
    multicast_loop: bool,
    multicast_interface: u32,
    telling: Telling,
    dont_fragment: bool,
    /// Gateways are not used.
    dont_route: bool,
    interface: Option<u32>,
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
        address && on(self.options.interface, interface)
    }

    /// How much a socket has said about what it wants: of several the one that has said the most gets a datagram.
    fn precision(&self) -> u32 {
        let bound = u32::from(self.options.interface.is_some());
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

impl Stack {
    /// A datagram of UDP has come, without its IP header.
    pub fn udp_input(&mut self, arrival: &Arrival, mut packet: Packet) {
        let v4 = arrival.source.is_ipv4();
        bump(&mut self.counters.udp(v4).received);
        let head: Option<[u8; LEN]> = packet.pull(LEN).and_then(|h| h.first_chunk().copied());
        let Some([s0, s1, d0, d1, l0, l1, c0, c1]) = head else {
            bump(&mut self.counters.udp(v4).malformed);
            return;
        };
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len < LEN || len > packet.len() {
            bump(&mut self.counters.udp(v4).malformed);
            return;
        }
        packet.truncate(len);
        let (source, destination) = (arrival.source, arrival.destination);
        if [c0, c1] == [0, 0] && source.is_ipv6() {
            // Over IPv6 there is always a sum (RFC 8200 section 8.1).
            bump(&mut self.counters.udp(v4).malformed);
            return;
        }
        if packet.meta.checksum == Checksum::InPacket
            && [c0, c1] != [0, 0]
            && !checksum::holds(source, destination, protocol::UDP, &packet)
        {
            bump(&mut self.counters.udp(v4).checksum_errors);
            bump(&mut self.counters.udp(v4).malformed);
            return;
        }
        let from = arrival.from(u16::from_be_bytes([s0, s1]));
        let to = SocketAddr::new(destination, u16::from_be_bytes([d0, d1]));
        if arrival.cast != Cast::Unicast {
            let all = self.udp.find(from, to, arrival.interface);
            let all: Vec<usize> = all.map(|(id, _)| id).collect();
            for id in all {
                let group = arrival.cast == Cast::Multicast;
                let wants = |socket: &Udpcb| {
                    let groups = &socket.groups;
                    groups.wants(arrival.interface, destination, source)
                };
                if group && !self.udp.sockets.get(id).is_some_and(wants) {
                    continue;
                }
                let mut copy = packet.clone();
                copy.strip(LEN);
                self.udp_queue(id, arrival, from, copy);
            }
            return;
        }
        match self.udp.find_one(from, to, arrival.interface) {
            Some(id) => {
                packet.strip(LEN);
                self.udp_remember(arrival, from.port(), to.port(), id);
                self.udp_queue(id, arrival, from, packet);
            }
            None => {
                bump(&mut self.counters.udp(v4).no_port);
                self.icmp_unreachable(arrival, &packet, Unreachable::Port);
            }
        }
    }

    fn udp_queue(&mut self, id: usize, arrival: &Arrival, from: SocketAddr, payload: Packet) {
        if payload.meta.segment > 0 {
            self.udp_queue_large(id, arrival, from, payload);
        } else {
            self.udp_queue_one(id, arrival, from, payload, 0);
        }
    }

    fn udp_queue_one(
        &mut self,
        id: usize,
        arrival: &Arrival,
        from: SocketAddr,
        payload: Packet,
        segment: u16,
    ) {
        let now = self.now;
        let Ok(socket) = self.udp.get(id) else { return };
        let datagram = Datagram {
            from: socket.speaks.told(from),
            to: socket.speaks.told_ip(arrival.destination),
            interface: arrival.interface,
            ttl: arrival.ttl,
            tos: arrival.tos,
            arrived: socket.options.telling.timestamp.then_some(now),
            segment,
            payload,
        };
        self.udp_deliver(id, datagram);
    }

    /// A socket gets a datagram.
    #[inline]
    fn udp_deliver(&mut self, id: usize, datagram: Datagram) {
        let Ok(socket) = self.udp.get(id) else { return };
        let first = socket.queue.is_empty();
        let v4 = datagram.to.to_canonical().is_ipv4();
        if !socket.closed_read && socket.queue.push(datagram) {
            // Pollers find the socket readable while something waits. Who watches it hears of each.
            if first || socket.event.is_some() {
                let event = socket.event.clone();
                self.wake(event.as_ref());
            }
        } else {
            bump(&mut self.counters.udp(v4).full);
        }
    }

    /// Somebody complains about a datagram of ours. Its socket is told if it has a peer (RFC 1122 section 4.1.3.3).
    pub(crate) fn udp_complaint(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        interface: u32,
        complaint: Complaint,
        mut quoted: Packet,
    ) {
        let ports: Option<[u8; 4]> = quoted.pull(4).and_then(|b| b.first_chunk().copied());
        let Some([s0, s1, d0, d1]) = ports else {
            return;
        };
        let local = SocketAddr::new(source, u16::from_be_bytes([s0, s1]));
        let peer = SocketAddr::new(destination, u16::from_be_bytes([d0, d1]));
        let peer = scoped(peer, interface);
        let Some(id) = self.udp.find_one(peer, local, interface) else {
            return;
        };
        if let Some(mtu) = complaint.mtu {
            self.note_path_mtu(source, destination, mtu);
        }
        let Ok(socket) = self.udp.get(id) else { return };
        if socket.peer == Some(peer) && (complaint.hard || complaint.mtu.is_some()) {
            socket.error = Some(complaint.errno);
            let event = socket.event.clone();
            self.wake(event.as_ref());
        }
    }

    fn udp_path(&mut self, id: usize, to: SocketAddr, info: Option<(IpAddr, u32)>) -> Result<Path> {
        let changes = self.routes.changes();
        let socket = self.udp.get(id)?;
        if info.is_none()
            && let Some((then, known, path)) = &socket.path
            && *then == changes
            && *known == to
        {
            return Ok(*path);
        }
        let group = to.ip().is_multicast();
        let options = socket.options;
        let by = match info {
            Some((_, interface)) if interface != 0 => Some(interface),
            _ if group && options.multicast_interface != 0 => Some(options.multicast_interface),
            _ => options.interface.or(scope(&to)),
        };
        let said = info
            .map(|(address, _)| address.to_canonical())
            .filter(|address| !address.is_unspecified());
        let from = said.or(socket.local.filter(|local| !local.is_multicast()));
        if said.is_some_and(|address| !self.is_ours(address)) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let path = self.path(to.ip(), from, by)?;
        path.allowed(to.ip(), options.dont_route)?;
        if info.is_none() && !path.broadcast && !group {
            self.udp.get(id)?.path = Some((changes, to, path));
        }
        Ok(path)
    }

    fn udp_send(&mut self, id: usize, message: &Outgoing<'_>, payload: Packet) -> Result<usize> {
        let len = payload.len();
        let socket = self.udp.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.closed_write {
            return Err(Errno::EPIPE);
        }
        let to = match (message.to, socket.peer) {
            (Some(to), _) => socket.speaks.address(to)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Errno::EDESTADDRREQ),
        };
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        let most = if to.is_ipv4() { MOST } else { MOST_V6 };
        if len > most.min(socket.options.send_buffer) {
            return Err(Errno::EMSGSIZE);
        }
        if socket.port == 0 {
            self.udp.take_port(id, None, 0)?;
        }
        let info = message.control.iter().find_map(|control| match control {
            Control::PacketInfo { address, interface } => Some((*address, *interface)),
            _ => None,
        });
        let to = self.this_host(to);
        let path = self.udp_path(id, to, info)?;
        path.allowed(to.ip(), message.flags.contains(MsgFlags::DONTROUTE))?;
        let socket = self.udp.get(id)?;
        let options = socket.options;
        if path.broadcast && !options.broadcast {
            return Err(Errno::EACCES);
        }
        let group = to.ip().is_multicast();
        let mut how = Sending {
            protocol: protocol::UDP,
            ttl: if group {
                options.multicast_ttl
            } else {
                options.ttl.unwrap_or(path.hops)
            },
            tos: options.tos,
            dont_fragment: options.dont_fragment,
        };
        for control in message.control {
            match control {
                Control::HopLimit(ttl) => how.ttl = *ttl,
                Control::TrafficClass(tos) => how.tos = *tos,
                Control::PacketInfo { .. } | Control::Segment(_) => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        if how.ttl == 0 && !group {
            return Err(Errno::EINVAL);
        }
        let mut packet = payload;
        let port = socket.port;
        segments::mark(&mut packet, message, options.segment, &path)?;
        let [s0, s1] = port.to_be_bytes();
        let [d0, d1] = to.port().to_be_bytes();
        let total = u16::try_from(len.saturating_add(LEN)).map_err(|_| Errno::EMSGSIZE)?;
        let [l0, l1] = total.to_be_bytes();
        let head = packet.prepend(LEN).ok_or(Errno::EMSGSIZE)?;
        head.copy_from_slice(&[s0, s1, d0, d1, l0, l1, 0, 0]);
        self.put_checksum(&path, &how, to.ip(), &mut packet, 6);
        bump(&mut self.counters.udp(to.is_ipv4()).sent);
        if group && options.multicast_loop {
            self.loop_back(&path, &how, to.ip(), packet.clone());
        }
        if how.ttl == 0 {
            // To this host alone (RFC 1112 section 6.1).
            return Ok(len);
        }
        self.ip_output(&path, &how, to.ip(), packet)?;
        if !group && message.control.is_empty() {
            self.udp_prepare(id, message, &path, &how, to);
        }
        Ok(len)
    }

    /// What is sent to a group that this host is a member of comes back to it (RFC 1112 section 6.1).
    pub(crate) fn loop_back(&mut self, path: &Path, how: &Sending, to: IpAddr, packet: Packet) {
        let member = self
            .attached(path.interface)
            .is_some_and(|here| here.listens(to));
        if member {
            let local = Path {
                local: true,
                mtu: u32::from(u16::MAX),
                ..*path
            };
            let _ = self.ip_output(&local, how, to, packet);
        }
    }

    fn udp_groups(&mut self, id: usize, option: &SockOpt) -> Result<()> {
        let mut groups = core::mem::take(&mut self.udp.get(id)?.groups);
        let result = self.change_groups(&mut groups, option);
        self.udp.get(id)?.groups = groups;
        result
    }
}

/// A socket of UDP.
pub(crate) struct UdpSocket {
    inet: Arc<Inet>,
    id: usize,
}

impl UdpSocket {
    pub(crate) fn new(inet: &Arc<Inet>, domain: Domain) -> Self {
        let id = inet.quick(|stack| {
            stack.udp.sockets.insert(Udpcb {
                speaks: Speaks::new(domain),
                local: None,
                borrowed: false,
                port: 0,
                peer: None,
                queue: Queue::default(),
                error: None,
                event: None,
                closed_read: false,
                closed_write: false,
                options: Options {
                    broadcast: false,
                    reuse: Reuse::default(),
                    ttl: None,
                    tos: 0,
                    multicast_ttl: 1,
                    multicast_loop: true,
                    multicast_interface: 0,
                    telling: Telling::default(),
                    dont_fragment: false,
                    dont_route: false,
                    interface: None,
                    send_buffer: BUFFER,
                    segment: 0,
                },
                groups: Groups::default(),
                path: None,
                prepared: None,
            })
        });
        Self {
            inet: inet.clone(),
            id,
        }
    }

    fn of<R>(&self, body: impl FnOnce(&mut Udpcb) -> R) -> Result<R> {
        self.inet.quick(|stack| stack.udp.get(self.id).map(body))
    }

    /// Sends a datagram of which only the payload is not taken from the message.
    fn send_packet(&self, message: &Outgoing<'_>, payload: Packet) -> Result<usize> {
        self.inet.swiftly(
            payload,
            |stack, payload| stack.udp_send_again(self.id, message, payload),
            |stack, payload| stack.udp_send(self.id, message, payload),
        )
    }

    fn event(&self) -> Result<Arc<dyn Event>> {
        self.of(|socket| {
            let new = || self.inet.host.event();
            socket.event.get_or_insert_with(new).clone()
        })
    }
}

impl Endpoint for UdpSocket {
    fn kind(&self) -> Kind {
        Kind::Datagram
    }

    fn bind(&self, address: &Address, cred: &Cred) -> Result<()> {
        let address = self.of(|socket| socket.speaks.address(address))??;
        port::allowed(address.port(), cred)?;
        self.inet.with(|stack| {
            let local = Some(address.ip()).filter(|ip| !ip.is_unspecified());
            if let Some(ip) = local.filter(|ip| !ip.is_multicast()) {
                let mut all = stack.interfaces.iter().flat_map(|here| &here.addresses);
                let broadcast = |b: Option<Ipv4Addr>| b.map(IpAddr::V4) == Some(ip);
                if !all.any(|cidr| cidr.address() == ip || broadcast(cidr.broadcast())) {
                    return Err(Errno::EADDRNOTAVAIL);
                }
            }
            if stack.udp.get(self.id)?.port != 0 {
                return Err(Errno::EINVAL);
            }
            stack.udp.take_port(self.id, local, address.port())
        })
    }

    fn connect(&self, address: &Address, _cred: &Cred) -> Result<()> {
        self.inet.with(|stack| {
            stack.udp.changed();
            let socket = stack.udp.get(self.id)?;
            let peer = match address {
                Address::Unspecified => None,
                address => Some(socket.speaks.address(address)?),
            };
            (socket.path, socket.prepared) = (None, None);
            if core::mem::take(&mut socket.borrowed) {
                socket.local = None;
            }
            let Some(peer) = peer else {
                socket.peer = None;
                return Ok(());
            };
            let peer = stack.this_host(peer);
            let path = stack.udp_path(self.id, peer, None)?;
            let peer = scoped(peer, path.interface);
            if stack.udp.get(self.id)?.port == 0 {
                stack.udp.take_port(self.id, None, 0)?;
            }
            let socket = stack.udp.get(self.id)?;
            socket.borrowed = socket.local.is_none();
            socket.local = socket.local.or(Some(path.source));
            socket.peer = Some(peer);
            Ok(())
        })
    }

    fn send(&self, message: &Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        // Copied before the lock is taken.
        self.send_packet(message, copy_in(message))
    }

    fn receive(&self, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EINVAL);
        }
        let (mut received, mut spent) = (None, None);
        let taken = self.of(|socket| {
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
            let (telling, host) = (socket.options.telling, &*self.inet.host);
            received = socket
                .queue
                .receive_few(telling, host, bufs, flags, &mut spent);
            if received.is_some() {
                return Ok(None);
            }
            let peek = flags.contains(MsgFlags::PEEK);
            match socket.queue.take(peek, telling, host) {
                Some(taken) => Ok(Some(taken)),
                None if socket.closed_read => Ok(None),
                None => Err(Errno::EAGAIN),
            }
        })??;
        if let Some(received) = received {
            return Ok(received);
        }
        Ok(taken.map_or_else(Received::default, |(datagram, control)| {
            copy_out(&datagram, control, bufs, flags)
        }))
    }

    fn send_bytes(&self, data: &mut Chain, to: Option<&Address>, flags: MsgFlags) -> Result<usize> {
        shared::send(self, data, to, flags)
    }

    fn receive_bytes(&self, most: usize, flags: MsgFlags) -> Result<(Chain, Received)> {
        shared::receive(self, most, flags)
    }

    fn send_many(&self, messages: &[Outgoing<'_>]) -> (Sent, Option<Errno>) {
        many::send(self, messages)
    }

    fn receive_many(
        &self,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
    ) -> (usize, Option<Errno>) {
        many::receive(self, messages, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.inet.with(|stack| {
            let socket = stack.udp.get(self.id)?;
            if socket.peer.is_none() {
                return Err(Errno::ENOTCONN);
            }
            socket.closed_read |= how.reads();
            socket.closed_write |= how.writes();
            let event = socket.event.clone();
            stack.wake(event.as_ref());
            Ok(())
        })
    }

    fn local(&self) -> Result<Address> {
        self.of(|socket| socket.speaks.local(socket.local, socket.port).into())
    }

    fn peer(&self) -> Result<Address> {
        let peer = self.of(|socket| socket.peer.map(|peer| socket.speaks.told(peer)))?;
        peer.map(Address::Inet).ok_or(Errno::ENOTCONN)
    }

    fn set_option(&self, option: &SockOpt) -> Result<()> {
        if groups::subject(option).is_some() {
            return self.inet.with(|stack| stack.udp_groups(self.id, option));
        }
        if let SockOpt::BindToDevice(name) = option {
            let interface = name.as_ref().map(|name| self.inet.interface(name));
            let index = interface.transpose()?.map(|interface| interface.index());
            return self.inet.with(|stack| {
                stack.udp.changed();
                let socket = stack.udp.get(self.id)?;
                socket.options.interface = index;
                (socket.path, socket.prepared) = (None, None);
                Ok(())
            });
        }
        self.of(|socket| {
            socket.prepared = None;
            match option {
                SockOpt::V6Only(on) => return socket.speaks.set_only(*on, socket.port != 0),
                SockOpt::DontRoute(_) => socket.path = None,
                _ => {}
            }
            let options = &mut socket.options;
            match option {
                SockOpt::Broadcast(on) => options.broadcast = *on,
                SockOpt::ReuseAddr(on) => options.reuse.address = *on,
                SockOpt::ReusePort(on) => options.reuse.port = *on,
                SockOpt::SendBuffer(bytes) => {
                    options.send_buffer = (*bytes).clamp(BUFFER_MIN, BUFFER_MAX);
                }
                SockOpt::ReceiveBuffer(bytes) => {
                    socket.queue.limit = (*bytes).clamp(BUFFER_MIN, BUFFER_MAX);
                }
                SockOpt::Ttl(ttl) => options.ttl = Some(hops(*ttl)?),
                SockOpt::Tos(tos) => options.tos = *tos,
                SockOpt::MulticastTtl(ttl) => options.multicast_ttl = *ttl,
                SockOpt::MulticastLoop(on) => options.multicast_loop = *on,
                SockOpt::MulticastInterface(interface) => options.multicast_interface = *interface,
                SockOpt::PacketInfo(on) => options.telling.packet_info = *on,
                SockOpt::ReceiveTtl(on) => options.telling.ttl = *on,
                SockOpt::ReceiveTos(on) => options.telling.tos = *on,
                SockOpt::MtuDiscover(on) => options.dont_fragment = *on,
                SockOpt::Timestamp(on) => options.telling.timestamp = *on,
                SockOpt::DontRoute(on) => options.dont_route = *on,
                SockOpt::UdpSegment(bytes) => options.segment = *bytes,
                SockOpt::UdpGro(on) => options.telling.segment = *on,
                _ => return Err(Errno::ENOPROTOOPT),
            }
            Ok(())
        })?
    }

    fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        if let SockOpt::Mtu(_) = which {
            return self.inet.with(|stack| {
                let peer = stack.udp.get(self.id)?.peer.ok_or(Errno::ENOTCONN)?;
                let path = stack.udp_path(self.id, peer, None)?;
                Ok(SockOpt::Mtu(path.mtu))
            });
        }
        self.of(|socket| {
            let options = &socket.options;
            Ok(match which {
                SockOpt::Error(_) => SockOpt::Error(socket.error.take()),
                SockOpt::Kind(_) => SockOpt::Kind(Kind::Datagram),
                SockOpt::AcceptConn(_) => SockOpt::AcceptConn(false),
                SockOpt::V6Only(_) => SockOpt::V6Only(socket.speaks.only()?),
                SockOpt::Broadcast(_) => SockOpt::Broadcast(options.broadcast),
                SockOpt::ReuseAddr(_) => SockOpt::ReuseAddr(options.reuse.address),
                SockOpt::ReusePort(_) => SockOpt::ReusePort(options.reuse.port),
                SockOpt::SendBuffer(_) => SockOpt::SendBuffer(options.send_buffer),
                SockOpt::ReceiveBuffer(_) => SockOpt::ReceiveBuffer(socket.queue.limit),
                SockOpt::Ttl(_) => SockOpt::Ttl(options.ttl.unwrap_or(DEFAULT_TTL)),
                SockOpt::Tos(_) => SockOpt::Tos(options.tos),
                SockOpt::MulticastTtl(_) => SockOpt::MulticastTtl(options.multicast_ttl),
                SockOpt::MulticastLoop(_) => SockOpt::MulticastLoop(options.multicast_loop),
                SockOpt::MulticastInterface(_) => {
                    SockOpt::MulticastInterface(options.multicast_interface)
                }
                SockOpt::PacketInfo(_) => SockOpt::PacketInfo(options.telling.packet_info),
                SockOpt::SourceFilter(group, interface, _) => {
                    socket.groups.filter(*group, *interface)?
                }
                SockOpt::ReceiveTtl(_) => SockOpt::ReceiveTtl(options.telling.ttl),
                SockOpt::ReceiveTos(_) => SockOpt::ReceiveTos(options.telling.tos),
                SockOpt::MtuDiscover(_) => SockOpt::MtuDiscover(options.dont_fragment),
                SockOpt::Timestamp(_) => SockOpt::Timestamp(options.telling.timestamp),
                SockOpt::DontRoute(_) => SockOpt::DontRoute(options.dont_route),
                SockOpt::UdpSegment(_) => SockOpt::UdpSegment(options.segment),
                SockOpt::UdpGro(_) => SockOpt::UdpGro(options.telling.segment),
                _ => return Err(Errno::ENOPROTOOPT),
            })
        })?
    }

    fn poll(&self) -> Ready {
        self.of(|socket| {
            let mut ready = Ready::OUT;
            ready.set(Ready::IN, !socket.queue.is_empty() || socket.closed_read);
            ready.set(Ready::ERR, socket.error.is_some());
            ready.set(Ready::HUP, socket.closed_read && socket.closed_write);
            ready
        })
        .unwrap_or(Ready::ERR)
    }

    fn readable(&self) -> usize {
        self.of(|socket| socket.queue.next_len()).unwrap_or(0)
    }

    fn ticket(&self) -> u64 {
        self.event().map_or(0, |event| event.ticket())
    }

    fn wait(&self, ticket: u64, _interest: Ready, deadline: Option<Instant>) -> bool {
        self.event()
            .is_ok_and(|event| self.inet.wait(&*event, ticket, deadline))
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        let event = self.event()?;
        self.of(|socket| socket.event = Some(Watched::around(event, watcher)))
    }

    fn close(&self) -> Result<()> {
        // Its place is given back with the socket: calls that are under way still name it.
        self.inet.with(|stack| {
            stack.udp.leave_port(self.id);
            let socket = stack.udp.get(self.id)?;
            let groups = core::mem::take(&mut socket.groups);
            (socket.closed_read, socket.closed_write) = (true, true);
            let event = socket.event.clone();
            stack.leave_groups(groups);
            stack.wake(event.as_ref());
            Ok(())
        })
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.inet.with(|stack| {
            stack.udp.leave_port(self.id);
            if let Some(socket) = stack.udp.sockets.try_remove(self.id) {
                stack.leave_groups(socket.groups);
            }
        });
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
