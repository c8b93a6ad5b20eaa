//! Ports of sockets, and which listener a port belongs to.

use super::{Listener, Pair, Role, Socket, Tcp};
use crate::{
    ip::on,
    port::{self, Bound},
    stack::Few,
};
use core::net::{IpAddr, SocketAddr};
use hashbrown::hash_map::Entry;
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
        self.join_port(id, port);
        self.get(id)?.local = local;
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
            let taken = pairs.look(sockets, &pair).is_some() || waiting.contains_key(&pair);
            // A port that was asked for by its number stays whole.
            let mut users = ports.get(&port).into_iter().flat_map(Few::iter);
            let bound = users.any(|id| sockets.get(*id).is_some_and(|user| user.peer.is_none()));
            !taken && !bound
        })?;
        self.join_port(id, port);
        Ok(())
    }

    /// A socket has a port.
    pub(super) fn join_port(&mut self, id: usize, port: u16) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let users = self.ports.entry(port).or_default();
        (socket.port, socket.place) = (port, users.len());
        users.push(id);
    }

    /// A socket that is gone had a port.
    pub(super) fn leave_port(&mut self, id: usize, socket: &Socket) {
        let Entry::Occupied(mut users) = self.ports.entry(socket.port) else {
            return;
        };
        let place = socket.place;
        if users.get().get(place) != Some(&id) {
            return;
        }
        users.get_mut().swap_remove(place);
        let other = users.get().get(place);
        if let Some(other) = other.and_then(|id| self.sockets.get_mut(*id)) {
            other.place = place;
        }
        if users.get().is_empty() {
            users.remove();
        }
        if socket.listens
            && let Entry::Occupied(mut listeners) = self.listeners.entry(socket.port)
        {
            listeners.get_mut().retain(|other| *other != id);
            if listeners.get().is_empty() {
                listeners.remove();
            }
        }
    }

    /// A socket begins to listen: those that share an address do so one at a time, unless they share the port.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub(crate) fn listen(&mut self, id: usize, listener: Listener) -> Result<()> {
        let socket = self.sockets.get(id).ok_or(Errno::EBADF)?;
        let mut listeners = self.listeners_of(socket.port);
        let disturbs = |other: &Socket| {
            let same = (other.local, other.speaks);
            port::conflict(same, (socket.local, socket.speaks))
                // One at an address and one at all of them are told apart.
                && other.local.is_some() == socket.local.is_some()
                && !(other.reuse.port && socket.reuse.port)
        };
        if listeners.any(|(_, other)| disturbs(other)) {
            return Err(Errno::EADDRINUSE);
        }
        drop(listeners);
        let socket = self.get(id)?;
        socket.role = Role::Listener(listener);
        if !core::mem::replace(&mut socket.listens, true) {
            let port = socket.port;
            self.listeners.entry(port).or_default().push(id);
        }
        Ok(())
    }

    /// The sockets that listen at a port.
    fn listeners_of(&self, port: u16) -> impl Iterator<Item = (usize, &Socket)> + Clone {
        let listeners = self.listeners.get(&port).into_iter().flat_map(Few::iter);
        listeners.filter_map(|id| {
            let socket = self.sockets.get(*id)?;
            matches!(socket.role, Role::Listener(_)).then_some((*id, socket))
        })
    }

    /// The listener for a segment that came by an interface: one at the address before those at all. Of several that share the port it is the peer's.
    pub(super) fn listener(&self, pair: &Pair, interface: u32) -> Option<usize> {
        let to = pair.local.ip();
        let mut all = self.listeners_of(pair.local.port()).filter(|(_, socket)| {
            let here = match socket.local {
                Some(local) => local == to,
                None => socket.speaks.with(to),
            };
            here && on(socket.interface, interface)
        });
        let several = all.clone();
        let (only, _) = all.next()?;
        if all.next().is_none() {
            return Some(only);
        }
        let precise = several.clone().any(|(_, socket)| socket.local.is_some());
        let best = || {
            several
                .clone()
                .filter(|(_, socket)| socket.local.is_some() == precise)
        };
        let nth = match best().count() {
            0 | 1 => 0,
            count => port::share(&self.secret, pair.peer, count),
        };
        best().nth(nth).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Few, Listener, Tcp};
    use crate::port::Speaks;
    use alloc::vec::Vec;
    use core::net::SocketAddr;
    use proptest::prelude::*;

    const PORT: u16 = 80;

    /// After many sockets the tables have no room for many.
    #[test]
    fn few_have_little_room() {
        let mut tcp = Tcp::new(&*rumpuser_posix::Host::new());
        let first = tcp.create(Speaks::V4);
        tcp.join_port(first, PORT);
        let all: Vec<usize> = (0..20_000).map(|_| tcp.create(Speaks::V4)).collect();
        for (port, id) in (1_024..).zip(&all) {
            tcp.join_port(*id, port);
        }
        all.into_iter().for_each(|id| tcp.remove(id));
        let room = (tcp.sockets.capacity(), tcp.ports.capacity());
        assert!(room.0 < 4_096 && room.1 < 4_096, "{room:?}");
        assert_eq!(tcp.get(first).unwrap().port, PORT);
        tcp.remove(first);
        assert!(tcp.sockets.is_empty() && tcp.ports.is_empty());
    }

    proptest! {
        /// Whoever leaves a port in whatever order, it is had by those that are left, and the listener is found.
        #[test]
        fn who_has_a_port(steps in prop::collection::vec(any::<(bool, usize)>(), 1..60)) {
            let mut tcp = Tcp::new(&*rumpuser_posix::Host::new());
            let listener = tcp.create(Speaks::V4);
            tcp.take_port(listener, None, PORT).unwrap();
            tcp.listen(listener, Listener::default()).unwrap();
            let (mut users, mut listens): (Vec<usize>, _) = ([listener].into(), true);
            let local = SocketAddr::from(([10, 0, 0, 1], PORT));
            let peer = SocketAddr::from(([10, 0, 0, 2], 5_000));
            let pair = super::Pair { local, peer };
            for (join, which) in steps {
                if join {
                    let id = tcp.create(Speaks::V4);
                    tcp.join_port(id, PORT);
                    users.push(id);
                } else if let Some(place) = which.checked_rem(users.len()) {
                    let gone = users.swap_remove(place);
                    tcp.remove(gone);
                    // Its number is another one's then.
                    listens &= gone != listener;
                }
                let mut have: Vec<usize> = tcp.ports.get(&PORT).into_iter().flat_map(Few::iter).copied().collect();
                have.sort_unstable();
                users.sort_unstable();
                prop_assert_eq!(&have, &users);
                for id in &users {
                    let place = tcp.get(*id).unwrap().place;
                    prop_assert_eq!(tcp.ports.get(&PORT).unwrap().get(place), Some(id));
                }
                let found = listens.then_some(listener);
                prop_assert_eq!(tcp.listener(&pair, 0), found);
                prop_assert_eq!(tcp.listeners.contains_key(&PORT), found.is_some());
            }
        }
    }
}
