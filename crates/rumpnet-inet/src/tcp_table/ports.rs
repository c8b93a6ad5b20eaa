//! Ports of sockets, and which listener a port belongs to.

use super::{Pair, Role, Socket, Tcp};
use crate::{
    ip::on,
    port::{self, Bound},
    stack::Few,
};
use core::net::{IpAddr, SocketAddr};
use rumpuser::{Errno, Result};

impl Tcp {
    /// Gives a socket a port: a certain one, or any. A port may be bound again while only connections of a closed listener
    /// have it, if both sockets say so; by [`Reuse::port`] also while others listen.
    pub(crate) fn take_port(&mut self, id: usize, local: Bound, port: u16) -> Result<()> {
        let socket = self.get(id)?;
        let (reuse, speaks) = (socket.reuse, socket.speaks);
        let (ports, sockets) = (&self.ports, &self.sockets);
        let free = |port: u16| {
            let users = ports.get(&port).into_iter().flat_map(Few::iter);
            let mut users = users.filter_map(|id| sockets.get(*id));
            users.all(|user| {
                let listens = matches!(user.role, Role::Listener(_));
                !port::conflict((user.local, user.speaks), (local, speaks))
                    || reuse.address && user.reuse.address && !listens
                    || reuse.port && user.reuse.port
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
            let mut users = ports.get(&port).into_iter().flat_map(Few::iter);
            let bound = users.any(|id| sockets.get(*id).is_some_and(|user| user.peer.is_none()));
            !taken && !bound
        })?;
        self.ports.entry(port).or_default().push(id);
        self.get(id)?.port = port;
        Ok(())
    }

    pub(super) fn leave_port(&mut self, id: usize, port: u16) {
        if let Some(users) = self.ports.get_mut(&port) {
            users.retain(|user| *user != id);
            if users.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    /// Whether a socket may listen: sockets that share an address do so one at a time, unless they share the port.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub(crate) fn may_listen(&self, id: usize) -> Result<()> {
        let socket = self.sockets.get(id).ok_or(Errno::EBADF)?;
        let mut users = self.ports.get(&socket.port).into_iter().flat_map(Few::iter);
        let disturbs = |other: &Socket| {
            let same = (other.local, other.speaks);
            matches!(other.role, Role::Listener(_))
                && port::conflict(same, (socket.local, socket.speaks))
                // One at an address and one at all of them are told apart.
                && other.local.is_some() == socket.local.is_some()
                && !(other.reuse.port && socket.reuse.port)
        };
        if users.any(|id| self.sockets.get(*id).is_some_and(disturbs)) {
            return Err(Errno::EADDRINUSE);
        }
        Ok(())
    }

    /// The listener for a segment that came by an interface: one at the address before those at all. Of several that share the port it is the peer's.
    pub(super) fn listener(&self, pair: &Pair, interface: u32) -> Option<usize> {
        let to = pair.local.ip();
        let users = || {
            let users = self.ports.get(&pair.local.port());
            let users = users.into_iter().flat_map(Few::iter);
            users.filter_map(|id| {
                let socket = self.sockets.get(*id)?;
                let listens = matches!(socket.role, Role::Listener(_));
                (listens && on(socket.interface, interface)).then_some((*id, socket))
            })
        };
        let at = |local: Bound| {
            let here = |(_, socket): &(usize, &Socket)| {
                socket.local == local && (local.is_some() || socket.speaks.with(to))
            };
            let nth = match users().filter(here).count() {
                0 | 1 => 0,
                count => port::share(pair.peer, count),
            };
            users().filter(here).nth(nth).map(|(id, _)| id)
        };
        at(Some(to)).or_else(|| at(None))
    }
}
