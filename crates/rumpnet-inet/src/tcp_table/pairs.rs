//! Connections by their addresses.

use super::Socket;
use core::{
    hash::{BuildHasher as _, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    ops::Deref,
};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use slab::Slab;

/// A connection's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// For each segment: those of IPv4 are hashed as two words, and not field by field.
impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some((addresses, ports)) = self.words() {
            state.write_u64(addresses);
            state.write_u32(ports);
        } else {
            self.local.hash(state);
            self.peer.hash(state);
        }
    }
}

impl Pair {
    /// Those of IPv4: addresses and ports.
    #[inline]
    const fn words(&self) -> Option<(u64, u32)> {
        let (SocketAddr::V4(local), SocketAddr::V4(peer)) = (self.local, self.peer) else {
            return None;
        };
        let addresses = (local.ip().to_bits() as u64) << 32 | peer.ip().to_bits() as u64;
        let ports = (local.port() as u32) << 16 | peer.port() as u32;
        Some((addresses, ports))
    }

    /// Both addresses and ports.
    pub(super) fn bytes(&self) -> Bytes {
        let mut bytes = Bytes {
            all: [0; 36],
            len: 0,
        };
        for address in [self.local, self.peer] {
            match address.ip() {
                IpAddr::V4(ip) => bytes.add(&ip.octets()),
                IpAddr::V6(ip) => bytes.add(&ip.octets()),
            }
            bytes.add(&address.port().to_be_bytes());
        }
        bytes
    }
}

/// The bytes of a [`Pair`].
pub(super) struct Bytes {
    all: [u8; 36],
    len: usize,
}

impl Bytes {
    fn add(&mut self, more: &[u8]) {
        let end = self.len.saturating_add(more.len());
        if let Some(space) = self.all.get_mut(self.len..end) {
            space.copy_from_slice(more);
            self.len = end;
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.all.get(..self.len).unwrap_or_default()
    }
}

/// The numbers of connections by their addresses, which are in the sockets alone: among thousands of connections the line of memory that tells is one that
/// a segment needs anyway.
pub(super) struct Pairs {
    ids: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// The one that was found last, which most segments are for; none has the largest number.
    last: usize,
}

impl Default for Pairs {
    fn default() -> Self {
        Self {
            ids: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            last: usize::MAX,
        }
    }
}

impl Pairs {
    /// The connection between these addresses.
    #[inline(always)]
    pub(super) fn find(&mut self, sockets: &Slab<Socket>, pair: &Pair) -> Option<usize> {
        if is_of(sockets, self.last, pair) {
            return Some(self.last);
        }
        let found = self.look(sockets, pair)?;
        self.last = found;
        Some(found)
    }

    /// The same, of one that is perhaps not heard of soon.
    pub(super) fn look(&self, sockets: &Slab<Socket>, pair: &Pair) -> Option<usize> {
        let hash = self.hasher.hash_one(pair);
        self.ids.find(hash, |id| is_of(sockets, *id, pair)).copied()
    }

    /// Adds a connection, whose socket is to have these addresses; whether there was none between them.
    pub(super) fn insert(&mut self, sockets: &Slab<Socket>, pair: &Pair, id: usize) -> bool {
        let entry = self.ids.entry(
            self.hasher.hash_one(pair),
            |id| is_of(sockets, *id, pair),
            |id| hash_of(&self.hasher, sockets, *id),
        );
        let Entry::Vacant(place) = entry else {
            return false;
        };
        place.insert(id);
        self.last = id;
        true
    }

    /// Takes a connection out, if it is in.
    pub(super) fn remove(&mut self, pair: &Pair, id: usize) {
        let hash = self.hasher.hash_one(pair);
        if let Ok(entry) = self.ids.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        if self.last == id {
            self.last = usize::MAX;
        }
    }

    pub(super) fn shrink_to(&mut self, sockets: &Slab<Socket>, room: usize) {
        self.ids
            .shrink_to(room, |id| hash_of(&self.hasher, sockets, *id));
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Whether a socket has these addresses. Words are compared without a way through memory.
#[inline(always)]
fn is_of(sockets: &Slab<Socket>, id: usize, pair: &Pair) -> bool {
    let Some(own) = sockets.get(id).and_then(Socket::pair) else {
        return false;
    };
    match (own.words(), pair.words()) {
        (Some(own), Some(words)) => own == words,
        _ => own == *pair,
    }
}

/// The hash of the addresses of a connection.
fn hash_of(hasher: &DefaultHashBuilder, sockets: &Slab<Socket>, id: usize) -> u64 {
    let pair = sockets.get(id).and_then(Socket::pair);
    pair.map_or(0, |pair| hasher.hash_one(pair))
}

#[cfg(test)]
mod tests {
    use super::{Pair, Pairs};
    use crate::{port::Speaks, tcp_table::Tcp};
    use alloc::collections::BTreeMap;
    use core::net::SocketAddr;
    use proptest::prelude::*;

    /// Few, so that sockets meet at the same addresses.
    fn pair(which: u8) -> Pair {
        let port = u16::from(which);
        let peer = match which % 2 {
            0 => SocketAddr::from(([10, 0, 0, 2], 80)),
            _ => SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 80)),
        };
        let local = SocketAddr::new(peer.ip(), port);
        Pair { local, peer }
    }

    proptest! {
        /// As a map from addresses to numbers, in which a socket that is no connection any more, and still has its addresses, is not.
        #[test]
        fn like_a_map(steps in prop::collection::vec((0_u8..4, 0_u8..12, any::<usize>()), 1..200)) {
            let mut tcp = Tcp::new(&*rumpuser_posix::Host::new());
            let (mut pairs, mut model) = (Pairs::default(), BTreeMap::new());
            for (step, which, nth) in steps {
                let pair = pair(which);
                if step > 0 {
                    let id = tcp.create(Speaks::V4);
                    let added = pairs.insert(&tcp.sockets, &pair, id);
                    let socket = tcp.get(id).unwrap();
                    (socket.local, socket.port) = (Some(pair.local.ip()), pair.local.port());
                    socket.peer = Some(pair.peer);
                    prop_assert_eq!(added, !model.contains_key(&pair));
                    model.entry(pair).or_insert(id);
                } else if let Some(id) = nth.checked_rem(tcp.sockets.len()) {
                    // One that is in, or another at the same addresses.
                    let pair = tcp.get(id).unwrap().pair().unwrap();
                    pairs.remove(&pair, id);
                    model.retain(|_, other| *other != id);
                    pairs.shrink_to(&tcp.sockets, 0);
                }
                for which in 0..12 {
                    let pair = super::tests::pair(which);
                    prop_assert_eq!(pairs.look(&tcp.sockets, &pair), model.get(&pair).copied());
                    prop_assert_eq!(pairs.find(&tcp.sockets, &pair), model.get(&pair).copied());
                }
                prop_assert_eq!(pairs.len(), model.len());
            }
        }
    }
}
