//! The sockets of a kernel, and who has which name.

use crate::{flight::Flights, queue::Queue};
use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    sync::Arc,
    vec::Vec,
};
use rumpkern::{names::NodeId, poll::Pollers};
use rumpnet::{
    Address,
    socket::{Control, Kind, Waiters},
};
use rumpuser::{Errno, Event, Host, Result, sync::Mutex};

/// Number of a socket. None is given twice.
pub(crate) type Id = u64;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A name of this family alone.
    Abstract(Vec<u8>),
    /// A file.
    Node(NodeId),
}

/// The family in a kernel.
pub(crate) struct Local {
    pub(crate) host: Arc<dyn Host>,
    pollers: Arc<Pollers>,
    table: Mutex<Table>,
}

impl Local {
    pub(crate) fn new(host: &Arc<dyn Host>, pollers: &Arc<Pollers>) -> Arc<Self> {
        Arc::new(Self {
            host: host.clone(),
            pollers: pollers.clone(),
            table: Mutex::default(),
        })
    }

    /// Works on the table, and wakes sleepers when it is free again.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut Table) -> R) -> R {
        let mut table = self.table.lock();
        let result = body(&mut table);
        let events = core::mem::take(&mut table.wakes);
        let changed = core::mem::take(&mut table.changed);
        let drops = !table.dropped.is_empty() && !table.dropping;
        table.dropping |= drops;
        drop(table);
        events.iter().for_each(|event| event.notify());
        if changed {
            self.pollers.changed();
        }
        if drops {
            self.drop_messages();
        }
        result
    }
}

impl Local {
    /// Closes the descriptors in messages that were dropped. A socket among them drops its own messages when it is closed, in here: those
    /// wait for the next round and not on the stack.
    fn drop_messages(&self) {
        loop {
            let mut table = self.table.lock();
            let dropped = core::mem::take(&mut table.dropped);
            table.dropping = !dropped.is_empty();
            drop(table);
            if dropped.is_empty() {
                return;
            }
            drop(dropped);
        }
    }
}

/// The sockets.
#[derive(Default)]
pub(crate) struct Table {
    last: Id,
    /// Number of the last name that was given to a socket without one.
    last_name: u32,
    sockets: BTreeMap<Id, Sock>,
    pub(crate) names: BTreeMap<Key, Id>,
    /// Descriptors in messages.
    pub(crate) flights: Flights,
    /// What came with messages that were dropped, until the lock is free.
    dropped: Vec<Control>,
    /// Somebody is at work on these.
    dropping: bool,
    wakes: Vec<Arc<dyn Event>>,
    changed: bool,
}

/// What a socket is.
pub(crate) enum Role {
    Fresh,
    /// Connections that wait, with the names of those that asked.
    Listener {
        backlog: usize,
        waiting: VecDeque<Id>,
    },
    /// Its peer, while that is there.
    Connected(Option<Id>),
}

/// A socket.
pub(crate) struct Sock {
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    /// As it was given to `bind`.
    pub(crate) name: Address,
    pub(crate) key: Option<Key>,
    pub(crate) queue: Queue,
    pub(crate) closed_read: bool,
    pub(crate) closed_write: bool,
    /// Nothing more will come.
    pub(crate) ended: bool,
    pub(crate) error: Option<Errno>,
    /// User and group of who made it.
    pub(crate) cred: (u32, u32),
    pub(crate) peer_cred: Option<(u32, u32)>,
    /// The name of the peer, which may be gone.
    pub(crate) peer_name: Address,
    pub(crate) waiters: Waiters,
    /// Those that wait for room in its queue.
    pub(crate) senders: Vec<Id>,
    /// Who has not accepted this end of a connection yet.
    pub(crate) waits_at: Option<Id>,
}

impl Table {
    pub(crate) fn add(&mut self, kind: Kind, cred: (u32, u32)) -> Id {
        self.last = self.last.wrapping_add(1);
        let sock = Sock {
            kind,
            role: Role::Fresh,
            name: Address::Unspecified,
            key: None,
            queue: Queue::default(),
            closed_read: false,
            closed_write: false,
            ended: false,
            error: None,
            cred,
            peer_cred: None,
            peer_name: Address::Unspecified,
            waiters: Waiters::default(),
            senders: Vec::new(),
            waits_at: None,
        };
        self.sockets.insert(self.last, sock);
        self.last
    }

    pub(crate) fn get(&mut self, id: Id) -> Result<&mut Sock> {
        self.sockets.get_mut(&id).ok_or(Errno::EBADF)
    }

    /// Gives a socket a name of its own if it wants to know who sends to it and has none (unix(7), "Autobind feature": a zero byte and five
    /// digits).
    pub(crate) fn name_if_asked(&mut self, id: Id) -> Result<()> {
        const NAMES: u32 = 1 << 20;
        let sock = self.get(id)?;
        if !sock.queue.tells_sender || sock.name != Address::Unspecified {
            return Ok(());
        }
        for _ in 0..NAMES {
            self.last_name = self.last_name.wrapping_add(1) % NAMES;
            let name = format!("\0{:05x}", self.last_name).into_bytes();
            let key = Key::Abstract(name.clone());
            if self.names.contains_key(&key) {
                continue;
            }
            self.names.insert(key.clone(), id);
            let sock = self.get(id)?;
            (sock.key, sock.name) = (Some(key), Address::Local(name));
            return Ok(());
        }
        Err(Errno::ENOSPC)
    }

    /// Readiness of a socket has changed.
    pub(crate) fn wake(&mut self, id: Id) {
        self.changed = true;
        let sock = self.sockets.get_mut(&id);
        self.wakes.extend(sock.and_then(|sock| sock.waiters.told()));
    }

    /// There is room in a queue again.
    pub(crate) fn wake_senders(&mut self, id: Id) {
        let senders = self
            .sockets
            .get_mut(&id)
            .map(|sock| core::mem::take(&mut sock.senders));
        for sender in senders.unwrap_or_default() {
            self.wake(sender);
        }
    }

    /// What came with messages that are gone: closed when the lock is free.
    fn drop_control(&mut self, gone: impl Iterator<Item = Control>, holder: Id) {
        for control in gone {
            self.flights.end(&control, holder);
            self.dropped.push(control);
        }
    }

    /// Drops what waits at a socket.
    pub(crate) fn drop_messages_of(&mut self, id: Id) {
        if let Some(sock) = self.sockets.get_mut(&id) {
            let gone = sock.queue.clear();
            self.drop_control(gone, id);
        }
    }

    /// Makes two sockets each other's peer.
    pub(crate) fn join(&mut self, one: Id, two: Id) -> Result<()> {
        let (a, b) = (self.get(one)?, two);
        let (cred, name) = (a.cred, a.name.clone());
        a.role = Role::Connected(Some(b));
        let b = self.get(two)?;
        (b.peer_cred, b.peer_name) = (Some(cred), name);
        b.role = Role::Connected(Some(one));
        let (cred, name) = (b.cred, b.name.clone());
        let a = self.get(one)?;
        (a.peer_cred, a.peer_name) = (Some(cred), name);
        Ok(())
    }

    /// Takes a socket out, and tells its peer, and those that wait to be accepted.
    pub(crate) fn remove(&mut self, id: Id) {
        let Some(mut sock) = self.sockets.remove(&id) else {
            return;
        };
        let unread = !sock.queue.is_empty();
        self.drop_control(sock.queue.clear(), id);
        if let Some(key) = &sock.key
            && self.names.get(key) == Some(&id)
        {
            self.names.remove(key);
        }
        for sender in sock.senders {
            self.wake(sender);
        }
        match sock.role {
            Role::Listener { waiting, .. } => {
                for end in waiting {
                    // Who connected finds the other end closed.
                    self.remove(end);
                }
            }
            Role::Connected(Some(peer)) => {
                let Some(other) = self.sockets.get_mut(&peer) else {
                    return;
                };
                if sock.kind != Kind::Datagram
                    && matches!(other.role, Role::Connected(Some(back)) if back == id)
                {
                    other.role = Role::Connected(None);
                    other.ended = true;
                    // What was sent and never received is lost, and its sender is told.
                    other.error = unread.then_some(Errno::ECONNRESET);
                    self.wake(peer);
                } else if sock.kind == Kind::Datagram
                    && matches!(other.role, Role::Connected(Some(back)) if back == id)
                {
                    other.role = Role::Fresh;
                    other.error = Some(Errno::ECONNRESET);
                    self.wake(peer);
                }
            }
            Role::Connected(None) | Role::Fresh => {}
        }
        self.changed = true;
        self.wakes.extend(sock.waiters.told());
    }
}
