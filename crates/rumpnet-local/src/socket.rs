//! The protocol's side of a socket.

use crate::{
    flight,
    queue::Message,
    table::{Id, Key, Local, Role, Sock, Table},
};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::time::Duration;
use rumpkern::{Cred, Passed, file::Ready};
use rumpnet::{
    Address,
    socket::{Control, Endpoint, Kind, MsgFlags, Outgoing, Received, Shutdown, SockOpt, Watcher},
};
use rumpuser::{Errno, Instant, Result};

/// Connections that wait at most, whatever a caller says (`somaxconn`).
const BACKLOG: usize = 4_096;
/// Bytes of a name at most (`sun_path`).
const NAME: usize = 108;

/// A local socket.
pub(crate) struct LocalSocket {
    local: Arc<Local>,
    id: Id,
    kind: Kind,
}

fn ids(cred: &Cred) -> (u32, u32) {
    (cred.uid, cred.gid)
}

/// What a name stands for.
fn key(address: &Address) -> Result<Key> {
    match address {
        Address::Local(name) if name.len() > NAME => Err(Errno::EINVAL),
        Address::Local(name) if name.first() == Some(&0) => Ok(Key::Abstract(name.clone())),
        Address::Node { path, .. } if path.len() > NAME => Err(Errno::EINVAL),
        Address::Node { node, .. } => Ok(Key::Node(*node)),
        // A path that nobody looked up: this kernel has no files.
        Address::Local(path) if !path.is_empty() => Err(Errno::EOPNOTSUPP),
        Address::Local(_) => Err(Errno::ENOENT),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// As it was told to `bind`.
fn plain(address: &Address) -> Address {
    match address {
        Address::Node { path, .. } => Address::Local(path.clone()),
        address => address.clone(),
    }
}

impl LocalSocket {
    pub(crate) fn new(local: &Arc<Local>, kind: Kind, cred: &Cred) -> Self {
        let id = local.with(|table| table.add(kind, ids(cred)));
        Self::with(local, kind, id)
    }

    fn with(local: &Arc<Local>, kind: Kind, id: Id) -> Self {
        Self {
            local: local.clone(),
            id,
            kind,
        }
    }

    pub(crate) fn pair(local: &Arc<Local>, kind: Kind, cred: &Cred) -> (Self, Self) {
        let (one, two) = local.with(|table| {
            let (one, two) = (table.add(kind, ids(cred)), table.add(kind, ids(cred)));
            // Both are there.
            let joined = table.join(one, two);
            debug_assert_eq!(joined, Ok(()));
            (one, two)
        });
        (Self::with(local, kind, one), Self::with(local, kind, two))
    }

    fn of<R>(&self, body: impl FnOnce(&mut Sock) -> R) -> Result<R> {
        self.local.with(|table| table.get(self.id).map(body))
    }

    fn connect_stream(&self, table: &mut Table, listener: Id, cred: &Cred) -> Result<()> {
        match &table.get(self.id)?.role {
            Role::Fresh => {}
            Role::Connected(_) => return Err(Errno::EISCONN),
            Role::Listener { .. } => return Err(Errno::EOPNOTSUPP),
        }
        let other = table.get(listener)?;
        if other.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        let (theirs, name, limit) = (other.cred, other.name.clone(), other.queue.limit);
        match &other.role {
            Role::Listener { backlog, waiting } if waiting.len() >= *backlog => {
                if !other.senders.contains(&self.id) {
                    other.senders.push(self.id);
                }
                return Err(Errno::EAGAIN);
            }
            Role::Listener { .. } => {}
            _ => return Err(Errno::ECONNREFUSED),
        }
        // The end that is to be accepted has the name of who listens, and stands for who did.
        let end = table.add(self.kind, theirs);
        let sock = table.get(end)?;
        (sock.name, sock.queue.limit) = (name, limit);
        sock.waits_at = Some(listener);
        table.get(self.id)?.cred = ids(cred);
        table.join(self.id, end)?;
        if let Role::Listener { waiting, .. } = &mut table.get(listener)?.role {
            waiting.push_back(end);
        }
        table.wake(listener);
        table.wake(self.id);
        Ok(())
    }

    /// Its number.
    pub(crate) const fn id(&self) -> Id {
        self.id
    }

    /// Sockets of another kernel have numbers of their own.
    fn same_kernel(&self, files: &[Passed]) -> Result<()> {
        let mut sockets = files.iter().filter_map(flight::socket);
        let strange = sockets.any(|socket| {
            flight::local(&socket).is_some_and(|other| !Arc::ptr_eq(&other.local, &self.local))
        });
        if strange {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Whether another socket hears this one.
    ///
    /// # Errors
    /// `EPROTOTYPE`: it is of another kind; `EPERM`: its peer is somebody else; `ECONNREFUSED`, `EPIPE`: it hears nobody any more.
    fn may_send_to(&self, other: &Sock) -> Result<()> {
        let datagrams = self.kind == Kind::Datagram;
        if other.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        // Who has a peer hears that one alone.
        if datagrams && matches!(other.role, Role::Connected(Some(peer)) if peer != self.id) {
            return Err(Errno::EPERM);
        }
        match (other.closed_read, datagrams) {
            (false, _) => Ok(()),
            (true, true) => Err(Errno::ECONNREFUSED),
            (true, false) => Err(Errno::EPIPE),
        }
    }

    /// To whom a message goes.
    fn target(&self, table: &mut Table, to: Option<&Address>) -> Result<Id> {
        let sock = table.get(self.id)?;
        if let Some(error) = sock.error.take() {
            return Err(error);
        }
        if sock.closed_write {
            return Err(Errno::EPIPE);
        }
        match (&sock.role, to, self.kind) {
            (Role::Connected(_), Some(_), Kind::SeqPacket) => Err(Errno::EISCONN),
            (Role::Connected(Some(peer)), Some(_), Kind::Stream)
            | (Role::Connected(Some(peer)), None, _) => Ok(*peer),
            (Role::Connected(None), _, Kind::Stream | Kind::SeqPacket) => Err(Errno::EPIPE),
            (_, Some(to), Kind::Datagram) => {
                let to = key(to)?;
                table.names.get(&to).copied().ok_or(Errno::ECONNREFUSED)
            }
            (_, None, Kind::Datagram) => Err(Errno::EDESTADDRREQ),
            _ => Err(Errno::ENOTCONN),
        }
    }
}

impl Endpoint for LocalSocket {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn bind(&self, address: &Address, _cred: &Cred) -> Result<()> {
        let key = key(address)?;
        self.local.with(|table| {
            if table.get(self.id)?.key.is_some() {
                return Err(Errno::EINVAL);
            }
            if table.names.contains_key(&key) {
                return Err(Errno::EADDRINUSE);
            }
            table.names.insert(key.clone(), self.id);
            let sock = table.get(self.id)?;
            (sock.key, sock.name) = (Some(key), plain(address));
            Ok(())
        })
    }

    fn connect(&self, address: &Address, cred: &Cred) -> Result<()> {
        self.local.with(|table| {
            if *address == Address::Unspecified && self.kind == Kind::Datagram {
                let sock = table.get(self.id)?;
                (sock.role, sock.peer_name) = (Role::Fresh, Address::Unspecified);
                return Ok(());
            }
            let other = table
                .names
                .get(&key(address)?)
                .copied()
                .ok_or(Errno::ECONNREFUSED)?;
            table.name_if_asked(self.id)?;
            if self.kind != Kind::Datagram {
                return self.connect_stream(table, other, cred);
            }
            if table.get(other)?.kind != Kind::Datagram {
                return Err(Errno::EPROTOTYPE);
            }
            let sock = table.get(self.id)?;
            (sock.role, sock.peer_name) = (Role::Connected(Some(other)), plain(address));
            Ok(())
        })
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        if self.kind == Kind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        let most = backlog.clamp(1, BACKLOG);
        self.of(|sock| {
            if sock.key.is_none() {
                return Err(Errno::EDESTADDRREQ);
            }
            match &mut sock.role {
                Role::Fresh => {
                    sock.role = Role::Listener {
                        backlog: most,
                        waiting: VecDeque::new(),
                    };
                }
                Role::Listener { backlog, .. } => *backlog = most,
                Role::Connected(_) => return Err(Errno::EINVAL),
            }
            Ok(())
        })?
    }

    fn accept(&self) -> Result<(Box<dyn Endpoint>, Address)> {
        let (id, peer) = self.local.with(|table| {
            let sock = table.get(self.id)?;
            let end = match &mut sock.role {
                Role::Listener { waiting, .. } => waiting.pop_front().ok_or(Errno::EAGAIN)?,
                _ => return Err(Errno::EINVAL),
            };
            let tells = sock.queue.tells_sender;
            table.wake_senders(self.id);
            let end_sock = table.get(end)?;
            end_sock.waits_at = None;
            end_sock.queue.tells_sender = tells;
            Ok((end, end_sock.peer_name.clone()))
        })?;
        let socket = Self::with(&self.local, self.kind, id);
        Ok((Box::new(socket), peer))
    }

    fn send(&self, message: &Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        for control in message.control {
            match control {
                Control::Cred { .. } => {}
                Control::Files(files) => self.same_kernel(files)?,
                _ => return Err(Errno::EOPNOTSUPP),
            }
        }
        let len = message.len();
        self.local.with(|table| {
            if self.kind == Kind::Datagram {
                table.name_if_asked(self.id)?;
            }
            let to = self.target(table, message.to)?;
            let from = table.get(self.id)?.name.clone();
            let other = table.get(to).map_err(|_| Errno::ECONNREFUSED)?;
            self.may_send_to(other)?;
            let room = match self.kind {
                Kind::Stream => other.queue.room().min(len),
                _ if len > other.queue.limit => return Err(Errno::EMSGSIZE),
                _ if other.queue.takes(len) => len,
                _ => 0,
            };
            if room == 0 && !(len == 0 && (self.kind == Kind::Stream || other.queue.takes(0))) {
                if !other.senders.contains(&self.id) {
                    other.senders.push(self.id);
                }
                return Err(Errno::EAGAIN);
            }
            if len == 0 && self.kind == Kind::Stream {
                return Ok(0);
            }
            table.flights.begin(message.control, to)?;
            let other = table.get(to)?;
            let mut data = Vec::with_capacity(room);
            for buf in message.bufs {
                let left = room.saturating_sub(data.len()).min(buf.len());
                data.extend_from_slice(buf.get(..left).unwrap_or(buf));
            }
            let message = Message::new(data, from, message.control.to_vec());
            other.queue.push(self.kind, message);
            table.wake(to);
            Ok(room)
        })
    }

    fn receive(&self, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.local.with(|table| {
            let sock = table.get(self.id)?;
            if self.kind != Kind::Datagram && !matches!(sock.role, Role::Connected(_)) {
                return Err(Errno::ENOTCONN);
            }
            if let Some(received) = sock.queue.take(self.kind, bufs, flags) {
                if !flags.contains(MsgFlags::PEEK) {
                    for control in &received.control {
                        table.flights.end(control, self.id);
                    }
                    table.wake_senders(self.id);
                }
                return Ok(received);
            }
            if let Some(error) = sock.error.take() {
                return Err(error);
            }
            if sock.closed_read || sock.ended {
                return Ok(Received::default());
            }
            Err(Errno::EAGAIN)
        })
    }

    fn passes_cred(&self, to: Option<&Address>) -> bool {
        self.local.with(|table| {
            let Ok(sock) = table.get(self.id) else {
                return false;
            };
            if sock.queue.tells_sender {
                return true;
            }
            let peer = match (to, &sock.role) {
                (Some(to), _) if self.kind == Kind::Datagram => {
                    key(to).ok().and_then(|to| table.names.get(&to).copied())
                }
                (_, Role::Connected(peer)) => *peer,
                _ => None,
            };
            // What who accepts the other end will want to know is not known yet.
            let wants = |peer: &mut Sock| peer.queue.tells_sender || peer.waits_at.is_some();
            peer.is_some_and(|peer| table.get(peer).is_ok_and(wants))
        })
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.local.with(|table| {
            let sock = table.get(self.id)?;
            let peer = match sock.role {
                Role::Connected(peer) => peer,
                _ => return Err(Errno::ENOTCONN),
            };
            sock.closed_read |= how.reads();
            sock.closed_write |= how.writes();
            let stream = sock.kind != Kind::Datagram;
            if let Some(peer) = peer.filter(|_| stream) {
                if how.writes() {
                    table.get(peer)?.ended = true;
                }
                table.wake(peer);
            }
            table.wake(self.id);
            table.wake_senders(self.id);
            Ok(())
        })
    }

    fn local(&self) -> Result<Address> {
        self.of(|sock| sock.name.clone())
    }

    fn peer(&self) -> Result<Address> {
        self.of(|sock| match sock.role {
            Role::Connected(Some(_)) => Ok(sock.peer_name.clone()),
            _ => Err(Errno::ENOTCONN),
        })?
    }

    fn set_option(&self, option: &SockOpt) -> Result<()> {
        self.of(|sock| match option {
            // The queue that counts is that of the receiver.
            SockOpt::ReceiveBuffer(bytes) => {
                sock.queue.limit = (*bytes).max(2_048);
                Ok(())
            }
            SockOpt::PassCred(on) => {
                sock.queue.tells_sender = *on;
                Ok(())
            }
            SockOpt::ReuseAddr(_) => Ok(()),
            _ => Err(Errno::ENOPROTOOPT),
        })?
    }

    fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        self.of(|sock| {
            Ok(match which {
                SockOpt::Error(_) => SockOpt::Error(sock.error.take()),
                SockOpt::Kind(_) => SockOpt::Kind(sock.kind),
                SockOpt::AcceptConn(_) => {
                    SockOpt::AcceptConn(matches!(sock.role, Role::Listener { .. }))
                }
                SockOpt::ReceiveBuffer(_) => SockOpt::ReceiveBuffer(sock.queue.limit),
                SockOpt::PassCred(_) => SockOpt::PassCred(sock.queue.tells_sender),
                SockOpt::PeerCred(..) => {
                    let (uid, gid) = sock.peer_cred.ok_or(Errno::ENOTCONN)?;
                    SockOpt::PeerCred(uid, gid)
                }
                _ => return Err(Errno::ENOPROTOOPT),
            })
        })?
    }

    fn poll(&self) -> Ready {
        self.local.with(|table| {
            let Ok(sock) = table.get(self.id) else {
                return Ready::ERR;
            };
            let mut ready = Ready::empty();
            ready.set(Ready::ERR, sock.error.is_some());
            let ended = sock.ended || sock.closed_read;
            let waits = match &sock.role {
                Role::Listener { waiting, .. } => !waiting.is_empty(),
                Role::Fresh if sock.kind != Kind::Datagram => {
                    return ready | Ready::OUT | Ready::HUP;
                }
                _ => !sock.queue.is_empty() || ended,
            };
            ready.set(Ready::IN, waits);
            ready.set(
                Ready::HUP,
                matches!(sock.role, Role::Connected(None)) || sock.closed_read && sock.closed_write,
            );
            let peer = match sock.role {
                Role::Connected(peer) => peer,
                Role::Listener { .. } => return ready,
                Role::Fresh => None,
            };
            let (id, kind) = (self.id, sock.kind);
            let room = match peer.and_then(|peer| table.get(peer).ok()) {
                Some(other) => {
                    let room = other.queue.is_ready(kind) || other.closed_read;
                    if !room && !other.senders.contains(&id) {
                        other.senders.push(id);
                    }
                    room
                }
                None => true,
            };
            ready.set(Ready::OUT, room);
            ready
        })
    }

    fn readable(&self) -> usize {
        self.of(|sock| sock.queue.readable(sock.kind)).unwrap_or(0)
    }

    fn ticket(&self) -> u64 {
        let ticket = self.of(|sock| sock.waiters.ticket(&*self.local.host));
        ticket.unwrap_or(0)
    }

    fn wait(&self, ticket: u64, _interest: Ready, deadline: Option<Instant>) -> bool {
        let event = self.of(|sock| sock.waiters.event(&*self.local.host));
        event.is_ok_and(|event| event.wait(ticket, deadline))
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        self.of(|sock| sock.waiters.watch(&*self.local.host, watcher))
    }

    fn released(&self) {
        self.local.with(|table| flight::released(table, self.id));
    }

    fn close(&self) -> Result<Option<Duration>> {
        self.local.with(|table| table.remove(self.id));
        Ok(None)
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // A socket that never got a descriptor was not closed.
        self.local.with(|table| table.remove(self.id));
    }
}
