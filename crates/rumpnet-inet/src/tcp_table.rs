//! The connections of a stack: which segment belongs to which, their timers, their output.

use crate::{
    checksum,
    fast_open::FastOpen,
    icmp::Complaint,
    ip::{Arrival, Sending, bump, scope, scoped},
    ipv4::protocol,
    port::{self, Bound, Chooser, Speaks},
    stack::{Inet, Path, Stack},
    tcp::{
        self, Changes, Config, HEADER_LEN, NetworkError, Ports, Segment, Seq, State, Tcb, TimeWait,
        TransmitLimit,
        cookie::{self, Secret},
        header::CHECKSUM_OFFSET,
        time_wait::Verdict,
    },
    waiting::Waiting,
};
use alloc::{
    boxed::Box,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::{
    cmp::Reverse,
    net::{IpAddr, SocketAddr},
};
use hashbrown::HashMap;
use rumpnet::{
    Packet,
    packet::{Cast, Checksum},
};
use rumpuser::{Errno, Event, Host, Instant, Result};
use slab::Slab;

/// Largest payload of a packet that a device cuts into segments: with the headers it fits the length field of IP.
const LARGE: usize = 65_535 - 20 - 60;

/// Timers that are out of date before they are taken out.
const STALE: usize = 1_024;

/// A connection's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pair {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

impl Pair {
    /// Both addresses and ports.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(36);
        for address in [self.local, self.peer] {
            match address.ip() {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            }
            bytes.extend(address.port().to_be_bytes());
        }
        bytes
    }
}

/// All of TCP.
pub(crate) struct Tcp {
    sockets: Slab<Socket>,
    pairs: HashMap<Pair, usize>,
    waiting: Waiting,
    /// Sockets by local port: bound, listening, connected.
    ports: HashMap<u16, Vec<usize>>,
    /// When connections have something to do; an entry may be too early.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Connections that may have something to send.
    output: VecDeque<usize>,
    pub(crate) chooser: Chooser,
    pub(crate) secret: Secret,
    pub(crate) fast_open: FastOpen,
    /// Settings of new sockets.
    pub(crate) config: Arc<Config>,
}

/// What a socket is.
pub(crate) enum Role {
    /// Neither of the following yet.
    Fresh,
    /// It accepts connections.
    Listener(Listener),
    /// A connection.
    Connection(Box<Tcb>),
}

/// Connections on their way to who accepts them.
#[derive(Default)]
pub(crate) struct Listener {
    pub(crate) backlog: usize,
    /// Established.
    pub(crate) ready: VecDeque<usize>,
    /// Not yet.
    pub(crate) embryos: usize,
}

/// A socket.
pub(crate) struct Socket {
    pub(crate) speaks: Speaks,
    pub(crate) local: Bound,
    /// 0 while it has none.
    pub(crate) port: u16,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) role: Role,
    pub(crate) event: Option<Arc<dyn Event>>,
    pub(crate) error: Option<Errno>,
    /// Somebody has it open.
    pub(crate) owned: bool,
    /// The listener that it came by, until it is accepted.
    parent: Option<usize>,
    /// It is in the list of those that may have something to send.
    listed: bool,
    /// Earliest entry among the timers.
    armed: Option<Instant>,
    pub(crate) config: Arc<Config>,
    pub(crate) reuse: bool,
    /// That of the way if `None`.
    pub(crate) ttl: Option<u8>,
    pub(crate) tos: u8,
    pub(crate) interface: Option<u32>,
    /// `None`: close returns at once and data is sent on. Zero: it is thrown away.
    pub(crate) linger: Option<core::time::Duration>,
    path: Option<(u64, Path)>,
    /// Largest segment that it may send and be sent, if one is set.
    pub(crate) max_segment: Option<u16>,
    /// Connections with data in their SYN that a listener takes at once; 0: none.
    pub(crate) fast_open: u32,
    /// It began with data, and nobody has acknowledged anything yet.
    pub(crate) early: bool,
}

impl Tcp {
    pub(crate) fn new(host: &dyn Host) -> Self {
        let mut secret = [0; 16];
        host.random(&mut secret);
        Self {
            sockets: Slab::new(),
            pairs: HashMap::new(),
            waiting: Waiting::default(),
            ports: HashMap::new(),
            timers: BinaryHeap::new(),
            output: VecDeque::new(),
            chooser: Chooser::new(host),
            secret: Secret(secret),
            fast_open: FastOpen::default(),
            config: Arc::new(Config::default()),
        }
    }

    /// A socket.
    ///
    /// # Errors
    /// `EBADF`.
    pub(crate) fn get(&mut self, id: usize) -> Result<&mut Socket> {
        self.sockets.get_mut(id).ok_or(Errno::EBADF)
    }

    /// A socket that is nothing yet.
    pub(crate) fn create(&mut self, speaks: Speaks) -> usize {
        self.sockets.insert(Socket {
            speaks,
            local: None,
            port: 0,
            peer: None,
            role: Role::Fresh,
            event: None,
            error: None,
            owned: true,
            parent: None,
            listed: false,
            armed: None,
            config: self.config.clone(),
            reuse: false,
            ttl: None,
            tos: 0,
            interface: None,
            linger: None,
            path: None,
            max_segment: None,
            fast_open: 0,
            early: false,
        })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        timer.into_iter().chain(self.waiting.deadline()).min()
    }

    /// Gives a socket a port: a certain one, or any. A port may be bound again while only connections of a closed listener
    /// have it, if both sockets say so.
    pub(crate) fn take_port(&mut self, id: usize, local: Bound, port: u16) -> Result<()> {
        let socket = self.get(id)?;
        let (reuse, speaks) = (socket.reuse, socket.speaks);
        let (ports, sockets) = (&self.ports, &self.sockets);
        let free = |port: u16| {
            let users = ports.get(&port).into_iter().flatten();
            let mut users = users.filter_map(|id| sockets.get(*id));
            users.all(|user| {
                let listens = matches!(user.role, Role::Listener(_));
                !port::conflict((user.local, user.speaks), (local, speaks))
                    || reuse && user.reuse && !listens
            })
        };
        let port = match port {
            0 => self.chooser.choose(free)?,
            port if free(port) => port,
            _ => return Err(Errno::EADDRINUSE),
        };
        self.ports.entry(port).or_default().push(id);
        let socket = self.get(id)?;
        (socket.local, socket.port) = (local, port);
        Ok(())
    }

    /// A port for a connection to `peer`: one that no other connection from `local` to it has.
    pub(crate) fn take_port_to(
        &mut self,
        id: usize,
        local: IpAddr,
        peer: SocketAddr,
    ) -> Result<()> {
        let (ports, sockets) = (&self.ports, &self.sockets);
        let (pairs, waiting) = (&self.pairs, &self.waiting);
        let port = self.chooser.choose(|port| {
            let local = SocketAddr::new(local, port);
            let pair = Pair { local, peer };
            let taken = pairs.contains_key(&pair) || waiting.contains_key(&pair);
            // A port that was asked for by its number stays whole.
            let mut users = ports.get(&port).into_iter().flatten();
            let bound = users.any(|id| sockets.get(*id).is_some_and(|user| user.peer.is_none()));
            !taken && !bound
        })?;
        self.ports.entry(port).or_default().push(id);
        self.get(id)?.port = port;
        Ok(())
    }

    fn leave_port(&mut self, id: usize, port: u16) {
        if let Some(users) = self.ports.get_mut(&port) {
            users.retain(|user| *user != id);
            if users.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    /// Makes a socket a connection.
    ///
    /// # Errors
    /// `EADDRINUSE`: there is one between these addresses.
    pub(crate) fn establish(&mut self, id: usize, pair: Pair, tcb: Tcb) -> Result<()> {
        if self.pairs.contains_key(&pair) {
            return Err(Errno::EADDRINUSE);
        }
        self.waiting.remove(&pair);
        self.pairs.insert(pair, id);
        let socket = self.get(id)?;
        socket.local = Some(pair.local.ip());
        socket.peer = Some(pair.peer);
        socket.role = Role::Connection(Box::new(tcb));
        Ok(())
    }

    /// Forgets a socket.
    fn remove(&mut self, id: usize) {
        self.fast_open_settled(id);
        let Some(socket) = self.sockets.try_remove(id) else {
            return;
        };
        if socket.port != 0 {
            self.leave_port(id, socket.port);
        }
        if let (Some(ip), Some(peer)) = (socket.local, socket.peer) {
            let local = SocketAddr::new(ip, socket.port);
            let pair = Pair { local, peer };
            if self.pairs.get(&pair) == Some(&id) {
                self.pairs.remove(&pair);
            }
        }
    }

    /// The listener for a segment.
    fn listener(&self, to: SocketAddr) -> Option<usize> {
        let users = self.ports.get(&to.port())?;
        let mut any = None;
        for &id in users {
            let socket = self.sockets.get(id)?;
            if !matches!(socket.role, Role::Listener(_)) {
                continue;
            }
            match socket.local {
                Some(local) if local == to.ip() => return Some(id),
                None if socket.speaks.with(to.ip()) => any = Some(id),
                _ => {}
            }
        }
        any
    }

    /// Puts a connection into the list of those that may have something to send.
    pub(crate) fn list(&mut self, id: usize) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !socket.listed
        {
            socket.listed = true;
            self.output.push_back(id);
        }
    }

    /// Notes when a connection has something to do next.
    pub(crate) fn arm(&mut self, id: usize) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        if let Some(at) = tcb.rearm()
            && socket.armed.is_none_or(|armed| at < armed)
        {
            socket.armed = Some(at);
            if self.timers.len() > self.sockets.len().saturating_mul(2).saturating_add(STALE) {
                let sockets = &self.sockets;
                self.timers.retain(|Reverse((at, id))| {
                    sockets
                        .get(*id)
                        .is_some_and(|socket| socket.armed == Some(*at))
                });
            }
            self.timers.push(Reverse((at, id)));
        }
    }

    /// An initial sequence number (RFC 6528).
    pub(crate) fn isn(&self, pair: &Pair, now: Instant) -> Seq {
        cookie::isn(&self.secret, &pair.bytes(), now)
    }

    /// What a connection is told of its way to the peer.
    pub(crate) fn way(&self, pair: &Pair, path: &Path) -> tcp::Path {
        tcp::Path {
            mss: mss(path),
            timestamp_offset: cookie::timestamp_offset(&self.secret, &pair.bytes()),
            fast_open: None,
        }
    }

    /// Has a connection that nobody has open wait for old segments without its weight.
    fn wait(&mut self, id: usize, pair: Pair, rest: TimeWait) {
        self.remove(id);
        self.waiting.insert(pair, rest);
    }

    /// What is kept.
    pub(crate) fn count(&self, usage: &mut crate::usage::Usage) {
        usage.tcp_sockets = self.sockets.len();
        usage.tcp_pairs = self.pairs.len();
        usage.tcp_time_waits = self.waiting.len();
        usage.tcp_timers = self.timers.len().saturating_add(self.waiting.entries());
        usage.tcp_ports = self.ports.len();
    }

    /// Sockets, with what `netstat` shows of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().map(|(_, socket)| socket)
    }
}

impl Stack {
    /// A segment of TCP has come, without its IP header.
    pub fn tcp_input(&mut self, arrival: &Arrival, mut packet: Packet) {
        bump(&mut self.counters.tcp_received);
        let (source, destination) = (arrival.source, arrival.destination);
        if arrival.cast != Cast::Unicast {
            return;
        }
        if packet.meta.checksum == Checksum::InPacket
            && !checksum::holds(source, destination, protocol::TCP, &packet)
        {
            bump(&mut self.counters.tcp_malformed);
            return;
        }
        let Ok((ports, segment)) = tcp::header::parse(&mut packet) else {
            bump(&mut self.counters.tcp_malformed);
            return;
        };
        let pair = Pair {
            local: SocketAddr::new(destination, ports.destination),
            peer: arrival.from(ports.source),
        };
        if let Some(&id) = self.tcp.pairs.get(&pair) {
            self.tcp_segment(id, segment, arrival.tos);
            return;
        }
        let mut after = None;
        if let Some(rest) = self.tcp.waiting.get_mut(&pair) {
            match rest.on_segment(&segment, self.now) {
                Verdict::Nothing => return,
                Verdict::Reply(reply) => return self.tcp_answer(&pair, reply),
                Verdict::Closed => {
                    self.tcp.waiting.remove(&pair);
                    return;
                }
                Verdict::Reuse { after: last } => after = Some(last),
            }
        }
        if let Some(listener) = self.tcp.listener(pair.local)
            && self.tcp_syn(listener, pair, arrival, &segment, after)
        {
            return;
        }
        bump(&mut self.counters.tcp_no_connection);
        if let Some(reset) = tcp::reset_for(&segment) {
            bump(&mut self.counters.tcp_resets_sent);
            self.tcp_answer(&pair, reset);
        }
    }

    /// A segment for a listener; `false` when it is to be answered with a reset. `after`: the last number of an old connection
    /// between the same addresses.
    fn tcp_syn(
        &mut self,
        listener: usize,
        pair: Pair,
        arrival: &Arrival,
        segment: &Segment,
        after: Option<Seq>,
    ) -> bool {
        let flags = segment.flags;
        if flags.contains(tcp::Flags::RST) {
            return true;
        }
        let now = self.now;
        let secret = self.tcp.secret;
        let cookie = match segment.ack {
            None => None,
            Some(_) => match cookie::check_syn_cookie(&secret, &pair.bytes(), segment, now) {
                Some(options) => Some(options),
                None => return false,
            },
        };
        if cookie.is_none() && !flags.contains(tcp::Flags::SYN) {
            return true;
        }
        let by = scope(&pair.peer);
        let Ok(path) = self.path(arrival.source, Some(arrival.destination), by) else {
            return true;
        };
        let mut way = self.tcp.way(&pair, &path);
        let mut iss = self.tcp.isn(&pair, now);
        if let Some(after) = after.filter(|after| !iss.after(*after)) {
            iss = after.plus(65_537);
        }
        let Ok(parent) = self.tcp.get(listener) else {
            return true;
        };
        let (speaks, ttl, tos) = (parent.speaks, parent.ttl, parent.tos);
        let (most, limit) = (parent.max_segment, parent.fast_open);
        let config = parent.config.clone();
        way.mss = way.mss.min(most.unwrap_or(u16::MAX));
        let fast = self.tcp.fast_open_syn(limit, arrival.source, segment);
        let Ok(parent) = self.tcp.get(listener) else {
            return true;
        };
        let Role::Listener(queue) = &mut parent.role else {
            return true;
        };
        if queue.ready.len() >= queue.backlog {
            bump(&mut self.counters.tcp_listen_full);
            return true;
        }
        if cookie.is_none() && queue.ready.len().saturating_add(queue.embryos) >= queue.backlog {
            // Too many have begun: what this one says comes back with its acknowledgment, and nothing is kept.
            bump(&mut self.counters.tcp_syn_cookies);
            let bytes = pair.bytes();
            let answer = cookie::syn_cookie(&secret, &bytes, segment, &config, way, now);
            self.tcp_answer(&pair, answer);
            return true;
        }
        queue.embryos = queue.embryos.saturating_add(1);
        let early = fast.early && cookie.is_none();
        way.fast_open = fast.give;
        let tcb = match &cookie {
            // Nothing is taken without a cookie, whatever the settings of all sockets say.
            None if early != config.fast_open => {
                let config = Arc::new(Config {
                    fast_open: early,
                    ..(*config).clone()
                });
                Tcb::accept(&config, way, iss, segment, now)
            }
            None => Tcb::accept(&config, way, iss, segment, now),
            Some(options) => Tcb::accept_cookie(&config, way, segment, options, now),
        };
        let id = self.tcp.create(speaks);
        if let Ok(child) = self.tcp.get(id) {
            (child.ttl, child.tos, child.config) = (ttl, tos, config);
            (child.port, child.owned, child.parent) = (pair.local.port(), false, Some(listener));
            (child.max_segment, child.early) = (most, early);
        }
        let port = pair.local.port();
        self.tcp.ports.entry(port).or_default().push(id);
        if early {
            self.tcp.fast_open.pending = self.tcp.fast_open.pending.saturating_add(1);
        }
        if self.tcp.establish(id, pair, tcb).is_ok() {
            if early {
                // Its data may be read, and answered, before the handshake is over (RFC 7413 section 4.2).
                self.tcp_accepted(id, listener);
            }
            if cookie.is_some() {
                self.tcp_segment(id, segment.clone(), arrival.tos);
            }
            self.tcp.list(id);
            self.tcp.arm(id);
        }
        true
    }

    /// A segment for a connection.
    fn tcp_segment(&mut self, id: usize, segment: Segment, tos: u8) {
        let now = self.now;
        if let Ok(socket) = self.tcp.get(id)
            && let Role::Connection(tcb) = &mut socket.role
        {
            let changes = tcb.on_segment(segment, tos & 3 == 3, now);
            self.tcp_changed(id, changes);
        }
    }

    /// Sends a segment that belongs to no connection.
    fn tcp_answer(&mut self, pair: &Pair, segment: Segment) {
        let by = scope(&pair.peer);
        let Ok(path) = self.path(pair.peer.ip(), Some(pair.local.ip()), by) else {
            return;
        };
        let how = Sending {
            protocol: protocol::TCP,
            ttl: path.hops,
            tos: 0,
            dont_fragment: true,
        };
        self.tcp_send(pair, &path, &how, segment, 0);
    }

    fn tcp_send(&mut self, pair: &Pair, path: &Path, how: &Sending, segment: Segment, mss: u16) {
        let ports = Ports {
            source: pair.local.port(),
            destination: pair.peer.port(),
        };
        let large = segment.payload.len() > usize::from(mss) && mss > 0;
        let mut packet = tcp::header::write(segment, ports);
        packet.meta.segment = if large { mss } else { 0 };
        let to = pair.peer.ip();
        let offset = u16::try_from(CHECKSUM_OFFSET).unwrap_or(16);
        self.put_checksum(path, how, to, &mut packet, offset);
        bump(&mut self.counters.tcp_sent);
        // What cannot go is sent again later, like what is lost.
        let _ = self.ip_output(path, how, to, packet);
    }

    /// What came of a segment, of time, or of a call.
    pub(crate) fn tcp_changed(&mut self, id: usize, changes: Changes) {
        if changes.contains(Changes::OUTPUT) {
            self.tcp.list(id);
        }
        if changes.contains(Changes::TIMER) {
            self.tcp.arm(id);
        }
        if changes.contains(Changes::TIME_WAIT) {
            self.tcp.list(id);
        }
        let quiet = Changes::OUTPUT | Changes::TIMER | Changes::TIME_WAIT;
        if changes.difference(quiet).is_empty() {
            return;
        }
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        let fatal = Changes::RESET | Changes::REFUSED | Changes::TIMED_OUT | Changes::CLOSED;
        if changes.intersects(fatal) {
            socket.error = tcb.error().or(socket.error);
        }
        let closed = tcb.state() == State::Closed;
        let event = socket.event.clone();
        let parent = socket.parent;
        let connected = changes.contains(Changes::CONNECTED);
        let early = (connected || closed) && self.tcp.fast_open_settled(id);
        match parent {
            // Who accepts it knows of it already.
            _ if early && connected => {}
            Some(parent) if connected => self.tcp_accepted(id, parent),
            Some(parent) if closed => {
                self.tcp_stillborn(id, parent);
                return;
            }
            None if connected => {
                bump(&mut self.counters.tcp_connects);
                self.fast_open_connected(id);
            }
            _ => {}
        }
        self.wake(event.as_ref());
        if closed {
            self.tcp.list(id);
        }
    }

    /// A connection waits for who accepts it.
    fn tcp_accepted(&mut self, id: usize, parent: usize) {
        bump(&mut self.counters.tcp_accepts);
        if let Ok(parent) = self.tcp.get(parent)
            && let Role::Listener(queue) = &mut parent.role
        {
            queue.embryos = queue.embryos.saturating_sub(1);
            queue.ready.push_back(id);
            let event = parent.event.clone();
            self.wake(event.as_ref());
        }
    }

    /// A connection ended before it was accepted.
    fn tcp_stillborn(&mut self, id: usize, parent: usize) {
        if let Ok(parent) = self.tcp.get(parent)
            && let Role::Listener(queue) = &mut parent.role
        {
            match queue.ready.iter().position(|other| *other == id) {
                // It has data perhaps: who accepts it finds the error.
                Some(_) => return,
                None => queue.embryos = queue.embryos.saturating_sub(1),
            }
        }
        self.tcp.list(id);
    }

    /// Sends what connections have to send, and forgets those that are over.
    pub(crate) fn tcp_output(&mut self) {
        while let Some(id) = self.tcp.output.pop_front() {
            let Ok(socket) = self.tcp.get(id) else {
                continue;
            };
            socket.listed = false;
            self.tcp_flush(id);
            self.tcp.arm(id);
            self.tcp_reap(id);
        }
    }

    /// Forgets a connection that is over if nobody has it open.
    fn tcp_reap(&mut self, id: usize) {
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &socket.role else {
            return;
        };
        if tcb.state() != State::Closed {
            if !socket.owned
                && let Some(rest) = tcb.to_time_wait()
                && let (Some(ip), Some(peer)) = (socket.local, socket.peer)
            {
                let local = SocketAddr::new(ip, socket.port);
                self.tcp.wait(id, Pair { local, peer }, rest);
            }
            return;
        }
        let waits = socket.parent.is_some_and(|parent| {
            let parent = self.tcp.sockets.get(parent);
            parent.is_some_and(
                |parent| matches!(&parent.role, Role::Listener(queue) if queue.ready.contains(&id)),
            )
        });
        let Ok(socket) = self.tcp.get(id) else { return };
        if !socket.owned && !waits {
            self.tcp.remove(id);
            return;
        }
        // Its addresses are free for another.
        if let (Some(ip), Some(peer)) = (socket.local, socket.peer) {
            let local = SocketAddr::new(ip, socket.port);
            self.tcp.pairs.remove(&Pair { local, peer });
        }
    }

    /// Between which addresses, on which path and how a connection sends.
    fn tcp_way(&mut self, id: usize) -> Option<(Pair, Path, Sending)> {
        let changes = self.routes.changes();
        let socket = self.tcp.get(id).ok()?;
        let (ip, peer) = (socket.local?, socket.peer?);
        let pair = Pair {
            local: SocketAddr::new(ip, socket.port),
            peer,
        };
        let (ttl, tos) = (socket.ttl, socket.tos & !3);
        let how = |path: &Path| Sending {
            protocol: protocol::TCP,
            ttl: ttl.unwrap_or(path.hops),
            tos,
            dont_fragment: true,
        };
        let (known, by) = (socket.path, socket.interface.or(scope(&peer)));
        if let Some((then, path)) = known
            && then == changes
        {
            return Some((pair, path, how(&path)));
        }
        // Without a route time goes on: it may come back before the connection gives up.
        let path = self.path(peer.ip(), Some(ip), by).ok();
        let path = path.or(known.map(|(_, old)| old))?;
        self.tcp.get(id).ok()?.path = Some((changes, path));
        Some((pair, path, how(&path)))
    }

    fn tcp_flush(&mut self, id: usize) {
        let Some((pair, path, how)) = self.tcp_way(id) else {
            return;
        };
        // The interface cuts what its device does not.
        let large = !path.local;
        let peer_is_v4 = pair.peer.is_ipv4();
        let limit = TransmitLimit {
            max_payload: match peer_is_v4 {
                _ if !large => 0,
                true => LARGE,
                false => LARGE.saturating_sub(20),
            },
        };
        let now = self.now;
        loop {
            let Ok(socket) = self.tcp.get(id) else { return };
            let Role::Connection(tcb) = &mut socket.role else {
                return;
            };
            let Some(out) = tcb.poll_transmit(now, limit) else {
                return;
            };
            let how = Sending {
                tos: how.tos | if out.ect { 2 } else { 0 },
                ..how
            };
            self.tcp_send(&pair, &path, &how, out.segment, out.mss);
        }
    }

    /// What is due by time.
    pub(crate) fn tcp_timers(&mut self) {
        let now = self.now;
        self.tcp.waiting.expire(now);
        while let Some(Reverse((at, id))) = self.tcp.timers.peek().copied() {
            if at > now {
                break;
            }
            self.tcp.timers.pop();
            let Ok(socket) = self.tcp.get(id) else {
                continue;
            };
            // An entry of a socket that had this number before, or of an earlier deadline.
            if socket.armed != Some(at) {
                continue;
            }
            socket.armed = None;
            let Role::Connection(tcb) = &mut socket.role else {
                continue;
            };
            let changes = tcb.on_timer(now);
            self.tcp_changed(id, changes);
            self.tcp.arm(id);
        }
    }

    /// Somebody complains about a segment of ours.
    pub(crate) fn tcp_complaint(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        interface: u32,
        complaint: Complaint,
        mut quoted: Packet,
    ) {
        let bytes: Option<[u8; 8]> = quoted.pull(8).and_then(|b| b.first_chunk().copied());
        let Some([s0, s1, d0, d1, q0, q1, q2, q3]) = bytes else {
            return;
        };
        let pair = Pair {
            local: SocketAddr::new(source, u16::from_be_bytes([s0, s1])),
            peer: scoped(
                SocketAddr::new(destination, u16::from_be_bytes([d0, d1])),
                interface,
            ),
        };
        let headers = if source.is_ipv4() { 40 } else { 60 };
        let Some(&id) = self.tcp.pairs.get(&pair) else {
            return;
        };
        let error = match complaint {
            Complaint { mtu: Some(mtu), .. } => NetworkError::TooBig {
                mss: mtu.saturating_sub(headers),
            },
            Complaint {
                errno: Errno::ECONNREFUSED | Errno::ENOPROTOOPT,
                ..
            } => NetworkError::Refused,
            Complaint { errno, .. } => NetworkError::Unreachable(errno),
        };
        let now = self.now;
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        let seq = Seq(u32::from_be_bytes([q0, q1, q2, q3]));
        let changes = tcb.on_icmp(error, seq, now);
        self.tcp_changed(id, changes);
    }

    /// Ends a listener: connections that nobody accepted are reset.
    pub(crate) fn tcp_unlisten(&mut self, id: usize) {
        let children: Vec<usize> = self
            .tcp
            .sockets
            .iter()
            .filter(|(_, socket)| socket.parent == Some(id))
            .map(|(id, _)| id)
            .collect();
        for child in children {
            if let Ok(socket) = self.tcp.get(child) {
                socket.parent = None;
            }
            self.tcp_abort(child);
        }
    }

    /// Ends a connection at once, and tells the peer.
    pub(crate) fn tcp_abort(&mut self, id: usize) {
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        if let Some(out) = tcb.abort()
            && let Some((pair, path, how)) = self.tcp_way(id)
        {
            self.tcp_send(&pair, &path, &how, out.segment, out.mss);
        }
        self.tcp.list(id);
    }

    /// Nobody has a socket open any more.
    pub(crate) fn tcp_release(&mut self, id: usize) {
        let Ok(socket) = self.tcp.get(id) else { return };
        socket.owned = false;
        match socket.role {
            Role::Connection(_) => self.tcp.list(id),
            Role::Fresh | Role::Listener(_) => self.tcp.remove(id),
        }
    }

    /// Takes a connection that waits for who accepts.
    pub(crate) fn tcp_accept(&mut self, id: usize) -> Result<(usize, SocketAddr)> {
        loop {
            let Role::Listener(queue) = &mut self.tcp.get(id)?.role else {
                return Err(Errno::EINVAL);
            };
            let child = queue.ready.pop_front().ok_or(Errno::EAGAIN)?;
            if let Ok(socket) = self.tcp.get(child)
                && let Some(peer) = socket.peer
            {
                (socket.parent, socket.owned) = (None, true);
                return Ok((child, peer));
            }
        }
    }
}

/// Largest payload of a segment on a path, without options.
pub(crate) fn mss(path: &Path) -> u16 {
    let ip = if path.source.is_ipv4() { 20 } else { 40 };
    let headers = u32::try_from(HEADER_LEN).unwrap_or(20).saturating_add(ip);
    u16::try_from(path.mtu.saturating_sub(headers)).unwrap_or(u16::MAX)
}

impl Inet {
    /// The sockets of TCP: local and peer's address, state, bytes to read.
    #[must_use]
    pub fn tcp_sockets(&self) -> Vec<(SocketAddr, Option<SocketAddr>, Option<State>)> {
        self.look(|stack| {
            let waiting = stack.tcp.waiting.keys();
            let waiting = waiting.map(|pair| (pair.local, Some(pair.peer), Some(State::TimeWait)));
            let all = stack.tcp.iter();
            all.map(|socket| {
                let local = socket.speaks.local(socket.local, socket.port);
                let state = match &socket.role {
                    Role::Connection(tcb) => Some(tcb.state()),
                    Role::Fresh | Role::Listener(_) => None,
                };
                (local, socket.peer, state)
            })
            .chain(waiting)
            .collect()
        })
    }
}
