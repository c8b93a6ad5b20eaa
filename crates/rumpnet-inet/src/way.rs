//! Prepared headers: packets that go where others went before are given those of the link and of IP in one piece.
//!
//! A way is known by its addresses and its interface, and counts while the neighbour on it needs not be asked for: nothing has changed among
//! the neighbours, and its time is not over. The clock forgets those whose time is over, so that nobody looks at the time for it.

use crate::{
    checksum::{self, Sum},
    ip::Sending,
    ipv4::{self, Header},
    stack::{Path, Stack, earlier},
};
use core::net::{IpAddr, Ipv4Addr};
use rumpnet::{
    Packet,
    ethernet::{self, EtherType},
    interface::{Features, Link},
};
use rumpuser::Instant;

/// Ways that are kept: a power of two.
const COUNT: usize = 16;
/// Bytes of both headers.
const LEN: usize = ethernet::HEADER + ipv4::HEADER;

/// What tells a way from others.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends {
    interface: u32,
    next_hop: Ipv4Addr,
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

impl Ends {
    /// `None`: packets do not go to one host on a link.
    fn of(path: &Path, destination: IpAddr) -> Option<Self> {
        match (path.next_hop, path.source, destination) {
            (IpAddr::V4(next_hop), IpAddr::V4(source), IpAddr::V4(destination))
                if !path.local && !path.broadcast && !next_hop.is_multicast() =>
            {
                Some(Self {
                    interface: path.interface,
                    next_hop,
                    source,
                    destination,
                })
            }
            _ => None,
        }
    }

    fn place(&self) -> usize {
        let [.., low] = self.destination.octets();
        usize::from(low) % COUNT
    }
}

struct Way {
    ends: Ends,
    /// How often the neighbours had changed.
    changes: u64,
    /// Of the interface among those of the stack, which are never fewer.
    at: usize,
    link: [u8; ethernet::HEADER],
}

/// Ways, each in the place that its destination says.
#[derive(Default)]
pub(crate) struct Ways {
    places: [Option<Way>; COUNT],
    /// When the time of the first of them is over, or earlier.
    until: Option<Instant>,
    /// How often all were forgotten.
    forgotten: u64,
}

impl Ways {
    #[inline]
    fn find(&self, path: &Path, destination: IpAddr, changes: u64) -> Option<&Way> {
        let ends = Ends::of(path, destination)?;
        let way = self.places.get(ends.place())?.as_ref()?;
        (way.ends == ends && way.changes == changes).then_some(way)
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.until
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Self {
                forgotten: self.forgotten.wrapping_add(1),
                ..Self::default()
            };
        }
    }
}

/// The headers of packets that go where others of a socket went.
pub(crate) struct Prepared {
    /// How often routes and addresses, and the ways of links had changed.
    changes: Changes,
    /// Place of the interface among those of the stack.
    pub(crate) at: usize,
    /// Largest packet, with the header of IP.
    pub(crate) mtu: u32,
    /// The sum of the transport is left to the device.
    pub(crate) partial: bool,
    link: [u8; ethernet::HEADER],
    /// With the sum that it has without length and identification, which are zero.
    ip: [u8; ipv4::HEADER],
    /// Of the pseudo-header without the length.
    sum: Sum,
}

/// How often what headers are prepared by has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changes {
    routes: u64,
    ways: (u64, u64),
}

impl Prepared {
    /// Whether nothing has changed.
    pub(crate) fn counts(&self, changes: Changes) -> bool {
        self.changes == changes
    }

    /// The sum of the pseudo-header of a packet with so many bytes behind the header of IP.
    #[inline]
    pub(crate) const fn pseudo(&self, len: u16) -> Sum {
        let mut sum = self.sum;
        sum.add_word(len.to_be_bytes());
        sum
    }

    /// Puts the headers of the link and of IP in front of a packet, and behind them those bytes of the transport header that it does not
    /// begin with. `None` when it is too large or has no room: it is as it was then.
    #[inline]
    pub(crate) fn write<const N: usize>(
        &self,
        id: u16,
        transport: &[u8; N],
        packet: &mut Packet,
    ) -> Option<()> {
        let total = packet.len().checked_add(const { ipv4::HEADER + N })?;
        let total = u16::try_from(total).ok()?;
        let (link, rest) = packet.prepend(const { LEN + N })?.split_first_chunk_mut()?;
        let (ip, rest) = rest.split_first_chunk_mut()?;
        *link = self.link;
        *ip = Header::completed(&self.ip, total, id);
        rest.copy_from_slice(transport);
        Some(())
    }
}

impl Stack {
    pub(crate) fn prepared_changes(&self) -> Changes {
        Changes {
            routes: self.routes.changes(),
            ways: self.way_changes(),
        }
    }

    /// Prepares the headers of packets, if their way is known.
    pub(crate) fn prepare(
        &self,
        path: &Path,
        how: &Sending,
        destination: IpAddr,
    ) -> Option<Prepared> {
        let (IpAddr::V4(source), IpAddr::V4(to)) = (path.source, destination) else {
            return None;
        };
        let (at, link) = self.known_way(path, destination)?;
        let header = Header {
            tos: how.tos,
            id: 0,
            dont_fragment: how.dont_fragment,
            more_fragments: false,
            offset: 0,
            ttl: how.ttl,
            protocol: how.protocol,
            source,
            destination: to,
            len: ipv4::HEADER,
        };
        Some(Prepared {
            changes: self.prepared_changes(),
            at,
            mtu: path.mtu,
            partial: self.offloads(path, Features::CHECKSUM),
            link,
            ip: header.bytes(0),
            sum: checksum::pseudo(path.source, destination, how.protocol, 0),
        })
    }

    /// The way of packets with the source of a path, if it is known: the place of the interface, and the header of the link. It counts while
    /// [`way_changes`](Self::way_changes) is the same.
    fn known_way(
        &self,
        path: &Path,
        destination: IpAddr,
    ) -> Option<(usize, [u8; ethernet::HEADER])> {
        let changes = self.neighbors.changes();
        let way = self.ways.find(path, destination, changes)?;
        Some((way.at, way.link))
    }

    /// How often neighbours have changed, and ways were forgotten.
    const fn way_changes(&self) -> (u64, u64) {
        (self.neighbors.changes(), self.ways.forgotten)
    }

    /// Sends a packet, which begins with its transport header and fits, a way that is known; gives it back if the way is not.
    #[inline]
    pub(crate) fn send_known_way(
        &mut self,
        path: &Path,
        header: &Header,
        mut packet: Packet,
    ) -> Result<(), Packet> {
        let known = self
            .ways
            .find(path, header.destination.into(), self.neighbors.changes());
        let Some(way) = known else {
            return Err(packet);
        };
        let Some(here) = self.interfaces.get_mut(way.at) else {
            return Err(packet);
        };
        let Ok(total) = u16::try_from(packet.len().saturating_add(ipv4::HEADER)) else {
            return Err(packet);
        };
        let Some((link, ip)) = packet.prepend(LEN).and_then(<[u8]>::split_first_chunk_mut) else {
            return Err(packet);
        };
        *link = way.link;
        ip.copy_from_slice(&header.bytes(total));
        here.ifnet.prepare(packet, &mut here.out);
        Ok(())
    }

    /// Remembers a way that a packet has gone.
    #[cold]
    pub(crate) fn remember_way(&mut self, path: &Path, header: &Header) {
        let Some(ends) = Ends::of(path, header.destination.into()) else {
            return;
        };
        let index = ends.interface;
        let mut all = self.interfaces.iter();
        let Some(at) = all.position(|here| here.ifnet.index() == index) else {
            return;
        };
        let link = self.interfaces.get(at).map(|here| here.ifnet.link());
        let Some(Link::Ethernet(source)) = link else {
            return;
        };
        let (next_hop, now) = (ends.next_hop.into(), self.now);
        let Some((destination, until)) = self.neighbors.settled(index, next_hop, now) else {
            return;
        };
        let link = ethernet::Header {
            destination,
            source,
            ethertype: EtherType::IPV4,
        };
        let way = Way {
            ends,
            changes: self.neighbors.changes(),
            at,
            link: link.bytes(),
        };
        if let Some(place) = self.ways.places.get_mut(ends.place()) {
            *place = Some(way);
        }
        if until != Instant(u64::MAX) {
            self.ways.until = earlier(self.ways.until, Some(until));
        }
    }
}
