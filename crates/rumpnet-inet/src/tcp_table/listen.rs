//! Connections on their way to who accepts them.

use super::{Pair, Role, Socket};
use crate::{
    ip::{Arrival, bump, scope},
    port::{Reuse, Speaks},
    stack::Stack,
    tcp::{self, Config, Count, Segment, Seq, Tcb, cookie},
};
use alloc::{sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};
use rumpuser::{Errno, Result};

/// What a connection has from its listener.
struct Inherited {
    speaks: Speaks,
    ttl: Option<u8>,
    tos: u8,
    reuse: Reuse,
    linger: Option<Duration>,
    receive_lowat: usize,
    interface: Option<u32>,
    dont_route: bool,
    max_segment: Option<u16>,
}

impl Inherited {
    const fn of(listener: &Socket) -> Self {
        Self {
            speaks: listener.speaks,
            ttl: listener.ttl,
            tos: listener.tos,
            reuse: listener.reuse,
            linger: listener.linger,
            receive_lowat: listener.receive_lowat,
            interface: listener.interface,
            dont_route: listener.dont_route,
            max_segment: listener.max_segment,
        }
    }

    fn give(self, child: &mut Socket) {
        (child.ttl, child.tos) = (self.ttl, self.tos);
        (child.reuse, child.linger) = (self.reuse, self.linger);
        child.receive_lowat = self.receive_lowat;
        (child.interface, child.dont_route) = (self.interface, self.dont_route);
        child.max_segment = self.max_segment;
    }
}

/// What a listener does with who would connect to it.
enum Room {
    Taken,
    /// Too many have begun: the answer is a cookie, and nothing is kept.
    Cookie,
}

impl Stack {
    /// A segment for a listener; `false` when it is to be answered with a reset. `after`: the last number of an old connection
    /// between the same addresses.
    pub(super) fn tcp_syn(
        &mut self,
        listener: usize,
        pair: Pair,
        arrival: &Arrival,
        segment: &Segment,
        after: Option<Seq>,
    ) -> bool {
        if segment.flags.contains(tcp::Flags::RST) {
            return true;
        }
        let mut cookie = None;
        if segment.ack.is_some() {
            cookie = self.tcp_returned_cookie(&pair, segment);
            if cookie.is_none() {
                return false;
            }
        } else if !segment.flags.contains(tcp::Flags::SYN) {
            return true;
        }
        self.tcp_open_passively(listener, pair, arrival, segment, cookie.as_ref(), after);
        true
    }

    /// What the cookie says that an acknowledgment brings back; `None` if it is none of ours.
    fn tcp_returned_cookie(&mut self, pair: &Pair, segment: &Segment) -> Option<tcp::Options> {
        // Who guesses has 2^32 tries for a few that are right: while none was sent nothing is.
        if self.now >= self.tcp.cookies_until {
            return None;
        }
        let secret = &self.tcp.secret;
        let options = cookie::check_syn_cookie(secret, &pair.bytes(), segment, self.now);
        if options.is_none() {
            bump(&mut self.counters.tcp.cookies_failed);
        }
        options
    }

    /// Begins a connection of a listener, if there is a way back and room for it.
    fn tcp_open_passively(
        &mut self,
        listener: usize,
        pair: Pair,
        arrival: &Arrival,
        segment: &Segment,
        cookie: Option<&tcp::Options>,
        after: Option<Seq>,
    ) -> Option<()> {
        let (now, by) = (self.now, scope(&pair.peer));
        let path = self.tcp_path(arrival.source, Some(arrival.destination), by);
        let path = self.way_out(arrival.source, path).ok()?;
        let (mut way, mut iss) = self.tcp.begin(&pair, &path, now);
        if let Some(after) = after.filter(|after| !iss.after(*after)) {
            iss = after.plus(65_537);
        }
        let parent = self.tcp.get(listener).ok()?;
        let (inherited, limit) = (Inherited::of(parent), parent.fast_open);
        let config = parent.config.clone();
        way.mss = way.mss.min(inherited.max_segment.unwrap_or(u16::MAX));
        let fast = self.tcp.fast_open_syn(limit, arrival.source, segment);
        if let Room::Cookie = self.tcp_take_place(listener, cookie.is_some())? {
            self.tcp_send_cookie(&pair, segment, &config, way);
            return None;
        }
        let early = fast.early && cookie.is_none();
        way.fast_open = fast.give;
        let tcb = match cookie {
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
        let id = self.tcp_child(listener, inherited, config, early, pair.local.port());
        self.tcp.establish(id, pair, tcb).ok()?;
        self.tcp_remember_path(id, &path);
        self.tcp_came(id, arrival);
        if early {
            // Its data may be read, and answered, before the handshake is over (RFC 7413 section 4.2).
            self.tcp_accepted(id, listener);
        }
        if cookie.is_some() {
            self.tcp_segment(id, &mut segment.clone(), arrival.tos);
        }
        self.tcp.list(id);
        self.tcp.arm(id);
        Some(())
    }

    /// Takes a place among the connections of a listener that have begun; `None`: it has no room and no answer. Who brings a `cookie` back
    /// has begun already.
    fn tcp_take_place(&mut self, listener: usize, cookie: bool) -> Option<Room> {
        let Role::Listener(queue) = &mut self.tcp.get(listener).ok()?.role else {
            return None;
        };
        if queue.ready.len() >= queue.backlog {
            bump(&mut self.counters.tcp.listen_full);
            return None;
        }
        if !cookie && queue.ready.len().saturating_add(queue.embryos) >= queue.backlog {
            return Some(Room::Cookie);
        }
        queue.embryos = queue.embryos.saturating_add(1);
        self.tcp.tally.count(Count::PassiveOpens, 1);
        if cookie {
            bump(&mut self.counters.tcp.cookies_received);
        }
        Some(Room::Taken)
    }

    /// Answers with a cookie: what this one says comes back with its acknowledgment.
    fn tcp_send_cookie(&mut self, pair: &Pair, segment: &Segment, config: &Config, way: tcp::Path) {
        bump(&mut self.counters.tcp.cookies_sent);
        self.tcp.cookies_until = self.now.after(cookie::LIFE);
        let (secret, bytes) = (&self.tcp.secret, pair.bytes());
        let answer = cookie::syn_cookie(secret, &bytes, segment, config, way, self.now);
        self.tcp_answer(pair, answer);
    }

    /// A socket, not yet connected, that waits to be accepted.
    fn tcp_child(
        &mut self,
        listener: usize,
        inherited: Inherited,
        config: Arc<Config>,
        early: bool,
        port: u16,
    ) -> usize {
        let id = self.tcp.create_with(inherited.speaks, config);
        if let Ok(child) = self.tcp.get(id) {
            inherited.give(child);
            (child.owned, child.parent) = (false, Some(listener));
            child.early = early;
        }
        self.tcp.join_port(id, port);
        if early {
            self.tcp.fast_open.pending = self.tcp.fast_open.pending.saturating_add(1);
        }
        id
    }

    /// A connection waits for who accepts it.
    pub(super) fn tcp_accepted(&mut self, id: usize, parent: usize) {
        bump(&mut self.counters.tcp.accepts);
        if let Ok(parent) = self.tcp.get(parent)
            && let Role::Listener(queue) = &mut parent.role
        {
            queue.embryos = queue.embryos.saturating_sub(1);
            queue.ready.push_back(id);
            let event = parent.waiters.told();
            self.wake(event.as_ref());
        }
    }

    /// Takes a connection that waits for who accepts, and its peer as the caller sees it.
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
                return Ok((child, socket.speaks.told(peer)));
            }
        }
    }

    /// A connection ended before it was accepted.
    pub(super) fn tcp_stillborn(&mut self, id: usize, parent: usize) {
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
}
