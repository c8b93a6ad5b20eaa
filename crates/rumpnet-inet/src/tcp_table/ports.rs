//! Ports of sockets, and which listener a port belongs to.

use super::{Pair, Role, Tcp};
use crate::{
    port::{self, Bound},
    stack::Few,
};
use core::net::{IpAddr, SocketAddr};
use rumpuser::{Errno, Result};

impl Tcp {
    /// Gives a socket a port: a certain one, or any. A port may be bound again while only connections of a closed listener
    /// have it, if both sockets say so.
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

    /// The listener for a segment.
    pub(super) fn listener(&self, to: SocketAddr) -> Option<usize> {
        let users = self.ports.get(&to.port())?;
        let mut any = None;
        for &id in users.iter() {
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
}
