//! The connections of a stack: the table of them. What is done with them is in the files beside this one.

mod input;
mod life;
mod listen;
mod neighbors;
mod output;
mod pairs;
mod ports;
mod prepared;
mod short;
mod timers;

use crate::{
    fast_open::FastOpen,
    flow::Entrance,
    port::{Bound, Chooser, Reuse, Speaks},
    stack::{Few, Inet, Path},
    tcp::{
        self, Config, HEADER_LEN, Seq, State, Tally, Tcb, TimeWait,
        cookie::{self, Secret},
    },
    waiting::Waiting,
    way::Prepared,
};
use alloc::{
    boxed::Box,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::{cmp::Reverse, net::SocketAddr};
use hashbrown::HashMap;
pub(crate) use pairs::Pair;
use pairs::Pairs;
use rumpnet::socket::Waiters;
use rumpuser::{Errno, Host, Instant, Result};
use slab::Slab;

/// Tables for fewer sockets than this keep their memory.
const LARGE: usize = 1_024;

/// All of TCP.
pub(crate) struct Tcp {
    sockets: Slab<Socket>,
    /// Sockets that there were when the tables were last found to be too large.
    few: usize,
    /// Connections.
    pairs: Pairs,
    waiting: Waiting,
    /// Sockets by local port: bound, listening, connected. A server's port has as many as it has connections: what happens for each segment or
    /// socket does not look through them.
    ports: HashMap<u16, Few<usize>>,
    /// Those that listen, or have.
    listeners: HashMap<u16, Few<usize>>,
    /// When connections have something to do; an entry may be too early.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Connections that may have something to send.
    output: VecDeque<usize>,
    pub(crate) chooser: Chooser,
    pub(crate) secret: Secret,
    pub(crate) fast_open: FastOpen,
    /// Settings of new sockets.
    pub(crate) config: Arc<Config>,
    /// What was counted of connections that are gone.
    pub(crate) tally: Tally,
    /// The path that was asked for last.
    last_path: Option<(output::Asked, Path)>,
    /// Until then an acknowledgment may have a SYN cookie: one was sent not long ago.
    cookies_until: Instant,
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
    /// Where it is among those that have the port.
    place: usize,
    /// It is among the listeners of the port.
    listens: bool,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) role: Role,
    pub(crate) waiters: Waiters,
    pub(crate) error: Option<Errno>,
    /// Somebody has it open.
    pub(crate) owned: bool,
    /// Its last descriptor was closed.
    pub(crate) closed: bool,
    /// The listener that it came by, until it is accepted.
    parent: Option<usize>,
    /// It is in the list of those that may have something to send.
    listed: bool,
    /// Earliest entry among the timers.
    armed: Option<Instant>,
    pub(crate) config: Arc<Config>,
    pub(crate) reuse: Reuse,
    /// That of the way if `None`.
    pub(crate) ttl: Option<u8>,
    pub(crate) tos: u8,
    pub(crate) interface: Option<u32>,
    /// How long closing waits until all is acknowledged. `None`: close returns at once and data is sent on. Zero: it is thrown away.
    pub(crate) linger: Option<core::time::Duration>,
    path: Option<(u64, Path)>,
    /// Where its last segment that went the long way came in. Others that come there go the short one.
    entrance: Option<Entrance>,
    /// The headers of what it sends.
    pub(crate) prepared: Option<Prepared>,
    /// Largest segment that it may send and be sent, if one is set.
    pub(crate) max_segment: Option<u16>,
    /// Connections with data in their SYN that a listener takes at once; 0: none.
    pub(crate) fast_open: u32,
    /// It began with data, and nobody has acknowledged anything yet.
    pub(crate) early: bool,
    /// Bytes that make it readable while more may come.
    pub(crate) receive_lowat: usize,
    /// It connects to hosts on its own links alone.
    pub(crate) dont_route: bool,
}

impl Socket {
    /// The addresses of a connection.
    #[inline(always)]
    pub(crate) fn pair(&self) -> Option<Pair> {
        Some(Pair {
            local: SocketAddr::new(self.local?, self.port),
            peer: self.peer?,
        })
    }
}

impl Tcp {
    pub(crate) fn new(host: &dyn Host) -> Self {
        let mut secret = [0; 16];
        host.random(&mut secret);
        Self {
            sockets: Slab::new(),
            few: usize::MAX,
            pairs: Pairs::default(),
            waiting: Waiting::default(),
            ports: HashMap::new(),
            listeners: HashMap::new(),
            timers: BinaryHeap::new(),
            output: VecDeque::new(),
            chooser: Chooser::new(host),
            secret: Secret(secret),
            fast_open: FastOpen::default(),
            config: Arc::new(Config::default()),
            tally: Tally::default(),
            last_path: None,
            cookies_until: Instant(0),
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
        self.create_with(speaks, self.config.clone())
    }

    /// The same with other settings.
    pub(crate) fn create_with(&mut self, speaks: Speaks, config: Arc<Config>) -> usize {
        self.sockets.insert(Socket {
            speaks,
            local: None,
            port: 0,
            place: 0,
            listens: false,
            peer: None,
            role: Role::Fresh,
            waiters: Waiters::default(),
            error: None,
            owned: true,
            closed: false,
            parent: None,
            listed: false,
            armed: None,
            config,
            reuse: Reuse::default(),
            ttl: None,
            tos: 0,
            interface: None,
            linger: None,
            path: None,
            entrance: None,
            prepared: None,
            max_segment: None,
            fast_open: 0,
            early: false,
            receive_lowat: 1,
            dont_route: false,
        })
    }

    /// Whether no connection may have something to send.
    pub(crate) fn is_quiet(&self) -> bool {
        self.output.is_empty()
    }

    /// The connection between these addresses.
    #[inline]
    pub(crate) fn connection(&mut self, pair: &Pair) -> Option<usize> {
        self.pairs.find(&self.sockets, pair)
    }

    /// Makes a socket a connection.
    ///
    /// # Errors
    /// `EADDRINUSE`: there is one between these addresses.
    pub(crate) fn establish(&mut self, id: usize, pair: Pair, tcb: Box<Tcb>) -> Result<()> {
        if !self.pairs.insert(&self.sockets, &pair, id) {
            return Err(Errno::EADDRINUSE);
        }
        self.waiting.remove(&pair);
        let socket = self.get(id)?;
        (socket.local, socket.port) = (Some(pair.local.ip()), pair.local.port());
        socket.peer = Some(pair.peer);
        (socket.entrance, socket.prepared) = (None, None);
        socket.role = Role::Connection(tcb);
        Ok(())
    }

    /// Forgets a socket.
    fn remove(&mut self, id: usize) {
        self.fast_open_settled(id);
        self.settle(id);
        let Some(socket) = self.sockets.try_remove(id) else {
            return;
        };
        if socket.port != 0 {
            self.leave_port(id, &socket);
        }
        if let Some(pair) = socket.pair() {
            self.pairs.remove(&pair, id);
        }
        self.shrink();
    }

    /// A connection is forgotten: what was counted of it stays.
    pub(crate) fn settle(&mut self, id: usize) {
        if let Some(socket) = self.sockets.get(id)
            && let Role::Connection(tcb) = &socket.role
            && let Some(tally) = tcb.tally()
        {
            self.tally.add(tally);
        }
    }

    /// What was counted of all connections, and how many are established now.
    pub(crate) fn tally(&self) -> (Tally, u64) {
        let (mut all, mut established) = (self.tally, 0_u64);
        for (_, socket) in &self.sockets {
            if let Role::Connection(tcb) = &socket.role {
                tcb.tally().into_iter().for_each(|tally| all.add(tally));
                let open = matches!(tcb.state(), State::Established | State::CloseWait);
                established = established.saturating_add(open.into());
            }
        }
        (all, established)
    }

    /// Gives memory back when few sockets are left of many: after a flood, or at the end of a busy day. As they are in a table by numbers, which
    /// ends with the last one, that is tried again whenever half of them are gone.
    fn shrink(&mut self) {
        let (left, room) = (self.sockets.len(), self.sockets.capacity());
        if room < LARGE || left >= room / 8 {
            self.few = usize::MAX;
        } else if left <= self.few / 2 {
            self.few = left;
            self.sockets.shrink_to_fit();
            let twice = left.saturating_mul(2);
            self.pairs.shrink_to(&self.sockets, twice);
            self.ports.shrink_to(twice);
        }
    }

    /// Puts a connection into the list of those that may have something to send.
    #[inline(always)]
    pub(crate) fn list(&mut self, id: usize) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !socket.listed
        {
            socket.listed = true;
            self.output.push_back(id);
        }
    }

    /// What a connection is told of its way to the peer, and its initial sequence number (RFC 6528).
    pub(crate) fn begin(&self, pair: &Pair, path: &Path, now: Instant) -> (tcp::Path, Seq) {
        let (isn, timestamp_offset) = cookie::beginning(&self.secret, &pair.bytes(), now);
        let way = tcp::Path {
            mss: mss(path),
            timestamp_offset,
            fast_open: None,
        };
        (way, isn)
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
