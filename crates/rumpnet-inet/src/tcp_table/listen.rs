//! Connections on their way to who accepts them.

use super::{Pair, Role};
use crate::{
    ip::{Arrival, bump, scope},
    stack::Stack,
    tcp::{self, Config, Count, Segment, Seq, Tcb, cookie},
};
use alloc::{sync::Arc, vec::Vec};
use core::net::SocketAddr;
use rumpuser::{Errno, Result};

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
        let flags = segment.flags;
        if flags.contains(tcp::Flags::RST) {
            return true;
        }
        let now = self.now;
        let secret = self.tcp.secret;
        let cookie = match segment.ack {
            None => None,
            // Who guesses has 2^32 tries for a few that are right: while none was sent nothing is.
            Some(_) if now >= self.tcp.cookies_until => return false,
            Some(_) => match cookie::check_syn_cookie(&secret, &pair.bytes(), segment, now) {
                Some(options) => Some(options),
                None => {
                    bump(&mut self.counters.tcp.cookies_failed);
                    return false;
                }
            },
        };
        if cookie.is_none() && !flags.contains(tcp::Flags::SYN) {
            return true;
        }
        let by = scope(&pair.peer);
        let path = self.tcp_path(arrival.source, Some(arrival.destination), by);
        let Ok(path) = self.way_out(arrival.source, path) else {
            return true;
        };
        let (mut way, mut iss) = self.tcp.begin(&pair, &path, now);
        if let Some(after) = after.filter(|after| !iss.after(*after)) {
            iss = after.plus(65_537);
        }
        let Ok(parent) = self.tcp.get(listener) else {
            return true;
        };
        let (speaks, ttl, tos) = (parent.speaks, parent.ttl, parent.tos);
        let (reuse, linger, lowat) = (parent.reuse, parent.linger, parent.receive_lowat);
        let (bound, dont_route) = (parent.interface, parent.dont_route);
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
            bump(&mut self.counters.tcp.listen_full);
            return true;
        }
        if cookie.is_none() && queue.ready.len().saturating_add(queue.embryos) >= queue.backlog {
            // Too many have begun: what this one says comes back with its acknowledgment, and nothing is kept.
            bump(&mut self.counters.tcp.cookies_sent);
            self.tcp.cookies_until = now.after(cookie::LIFE);
            let bytes = pair.bytes();
            let answer = cookie::syn_cookie(&secret, &bytes, segment, &config, way, now);
            self.tcp_answer(&pair, answer);
            return true;
        }
        queue.embryos = queue.embryos.saturating_add(1);
        self.tcp.tally.count(Count::PassiveOpens, 1);
        if cookie.is_some() {
            bump(&mut self.counters.tcp.cookies_received);
        }
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
        let id = self.tcp.create_with(speaks, config);
        if let Ok(child) = self.tcp.get(id) {
            (child.ttl, child.tos) = (ttl, tos);
            (child.owned, child.parent) = (false, Some(listener));
            (child.max_segment, child.early) = (most, early);
            (child.reuse, child.linger, child.receive_lowat) = (reuse, linger, lowat);
            (child.interface, child.dont_route) = (bound, dont_route);
        }
        self.tcp.join_port(id, pair.local.port());
        if early {
            self.tcp.fast_open.pending = self.tcp.fast_open.pending.saturating_add(1);
        }
        if self.tcp.establish(id, pair, tcb).is_ok() {
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
        }
        true
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
