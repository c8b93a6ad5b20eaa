//! Descriptors in messages: how many, and those that nobody will ever receive.
//!
//! A socket may wait in a message that waits at that same socket, or two in each other's. When the last descriptor outside goes, nothing
//! would close them. So whenever a descriptor of a socket is closed that is in a message, it is looked whether somebody could still receive
//! it: whether any of those whose messages lead to it has a descriptor outside of messages ([`released`]).

use crate::{
    socket::LocalSocket,
    table::{Id, Table},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::any::Any;
use rumpkern::{OpenFile, Passed};
use rumpnet::socket::{Control, Socket};
use rumpuser::{Errno, Result};

/// Descriptors of one user that may be in messages.
const MOST: usize = 4_096;

/// What is in messages.
#[derive(Default)]
pub(crate) struct Flights {
    /// The local sockets.
    sockets: BTreeMap<Id, Flight>,
    users: BTreeMap<u32, usize>,
}

/// A socket in messages.
struct Flight {
    /// In how many places.
    count: usize,
    /// The sockets that they wait at, with how many wait there.
    holders: BTreeMap<Id, usize>,
    /// It knows how many descriptors there are in all.
    open: Arc<OpenFile>,
}

/// The socket behind a descriptor.
pub(crate) fn socket(passed: &Passed) -> Option<Arc<Socket>> {
    let file = passed.open()?.file().clone();
    file.as_any().downcast().ok()
}

/// If it is one of this family.
pub(crate) fn local(socket: &Socket) -> Option<&LocalSocket> {
    let endpoint: &dyn Any = socket.endpoint();
    endpoint.downcast_ref()
}

fn id(passed: &Passed) -> Option<Id> {
    local(&*socket(passed)?).map(LocalSocket::id)
}

fn files(control: &Control) -> &[Passed] {
    match control {
        Control::Files(files) => files,
        _ => &[],
    }
}

impl Flights {
    /// A message is put into the queue of `holder`.
    ///
    /// # Errors
    /// `ETOOMANYREFS`: its sender has too many descriptors in messages.
    pub(crate) fn begin(&mut self, control: &[Control], holder: Id) -> Result<()> {
        let all = || control.iter().flat_map(files);
        if let Some(first) = all().next() {
            let before = self.users.get(&first.uid()).copied().unwrap_or(0);
            if before.saturating_add(all().count()) > MOST {
                return Err(Errno::ETOOMANYREFS);
            }
        }
        for passed in all() {
            more(&mut self.users, passed.uid());
            if let (Some(id), Some(open)) = (id(passed), passed.open()) {
                let flight = self.sockets.entry(id).or_insert_with(|| Flight {
                    count: 0,
                    holders: BTreeMap::new(),
                    open: open.clone(),
                });
                flight.count = flight.count.saturating_add(1);
                more(&mut flight.holders, holder);
            }
        }
        Ok(())
    }

    /// A message was taken out of the queue of `holder`; its descriptors are there still.
    pub(crate) fn end(&mut self, control: &Control, holder: Id) {
        for passed in files(control) {
            less(&mut self.users, passed.uid());
            let Some(id) = id(passed) else {
                continue;
            };
            if let Some(flight) = self.sockets.get_mut(&id) {
                flight.count = flight.count.saturating_sub(1);
                less(&mut flight.holders, holder);
                if flight.count == 0 {
                    self.sockets.remove(&id);
                }
            }
        }
    }
}

fn more<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// A descriptor of a socket was closed. If it can no more be reached, the messages go that keep it and those that keep them, which closes
/// all of these.
pub(crate) fn released(table: &mut Table, id: Id) {
    if !table.flights.sockets.contains_key(&id) {
        return;
    }
    // Upwards: who would have to be received first.
    let mut lost = BTreeSet::from([id]);
    let mut next = Vec::from([id]);
    while let Some(id) = next.pop() {
        let holders: Vec<Id> = match table.flights.sockets.get(&id) {
            Some(flight) if flight.open.descriptors() > flight.count => return,
            Some(flight) => flight.holders.keys().copied().collect(),
            // A connection that was not accepted is reached by who listens; anything else somebody has.
            None => match table.get(id).ok().and_then(|sock| sock.waits_at) {
                Some(listener) => Vec::from([listener]),
                None => return,
            },
        };
        next.extend(holders.into_iter().filter(|holder| lost.insert(*holder)));
    }
    for id in lost {
        table.drop_messages_of(id);
    }
}
