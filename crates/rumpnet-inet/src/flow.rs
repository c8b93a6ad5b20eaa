//! Flows: which socket gets the datagrams between two addresses and ports, as the long way has found out; and the headers of packets that
//! have nothing unusual about them. What the short ways of [UDP](crate::udp) and [TCP](crate::tcp_table) have in common.

use crate::{
    checksum,
    ip::{Arrival, bump},
    ipv4::{self, protocol},
    stack::Stack,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use rumpnet::{
    MacAddr, Packet, ethernet,
    packet::{Cast, Checksum},
};

/// Flows of a protocol that are remembered: a power of two.
const COUNT: usize = 16;
/// Bytes of the headers of the link and of IP.
pub(crate) const HEADERS: usize = ethernet::HEADER + ipv4::HEADER;

/// What tells a flow from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Source, destination, and the ports of both, as in the headers.
    ends: [u8; 12],
}

impl Flow {
    const fn place(&self) -> usize {
        let [.., high, low, _, other] = self.ends;
        (high ^ low ^ other) as usize % COUNT
    }

    pub(crate) const fn source(&self) -> SocketAddrV4 {
        let [a, b, c, d, _, _, _, _, high, low, ..] = self.ends;
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
    }

    pub(crate) const fn destination(&self) -> SocketAddrV4 {
        let [_, _, _, _, a, b, c, d, _, _, high, low] = self.ends;
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
    }
}

/// Where packets come in that the long way has found to be for this host: others that come there are as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entrance {
    interface: u32,
    /// Its own address.
    mac: MacAddr,
    /// How often routes and addresses had changed.
    changes: u64,
}

struct Known {
    flow: Flow,
    entrance: Entrance,
    socket: usize,
    /// How often what else matters had changed.
    changes: u64,
}

/// Flows, each in the place that its ports say.
#[derive(Default)]
pub(crate) struct Flows([Option<Known>; COUNT]);

impl Flows {
    /// The socket of a flow, if nothing has changed: routes and addresses, and what else matters.
    #[inline]
    pub(crate) fn find<const N: usize>(
        &self,
        plain: &Plain<N>,
        changes: (u64, u64),
    ) -> Option<usize> {
        let known = self.0.get(plain.flow.place())?.as_ref()?;
        let same = known.flow == plain.flow
            && known.changes == changes.1
            && known.entrance == plain.entrance(changes.0);
        same.then_some(known.socket)
    }

    fn remember(&mut self, known: Known) {
        if let Some(place) = self.0.get_mut(known.flow.place()) {
            *place = Some(known);
        }
    }
}

/// Whether a frame would be of this protocol if it has [plain](Plain) headers.
#[inline]
pub(crate) fn looks_like(frame: &Packet, protocol: u8) -> bool {
    /// In a frame.
    const PROTOCOL: usize = ethernet::HEADER + 9;
    frame.head().get(PROTOCOL) == Some(&protocol)
}

/// Headers with nothing unusual: of the link, of IPv4 without options for a packet that is whole and no fragment, with a sum that
/// holds; and the first bytes of the transport.
pub(crate) struct Plain<const N: usize> {
    pub(crate) flow: Flow,
    pub(crate) interface: u32,
    pub(crate) mac: MacAddr,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    /// Bytes after the header of IP.
    pub(crate) len: usize,
    pub(crate) transport: [u8; N],
}

impl<const N: usize> Plain<N> {
    /// Those of a frame; `None` when there is anything else about it.
    #[inline(always)]
    pub(crate) fn of(frame: &Packet, protocol: u8) -> Option<Self> {
        let (link, rest) = frame.head().split_first_chunk::<{ ethernet::HEADER }>()?;
        let (ip, rest) = rest.split_first_chunk::<{ ipv4::HEADER }>()?;
        let transport: &[u8; N] = rest.first_chunk()?;
        let [d0, d1, d2, d3, d4, d5, .., 0x08, 0x00] = *link else {
            return None;
        };
        // Of a fragment only that there shall be none may be said.
        let [
            0x45,
            tos,
            t0,
            t1,
            _,
            _,
            0 | 0x40,
            0,
            ttl,
            said,
            _,
            _,
            addresses @ ..,
        ] = *ip
        else {
            return None;
        };
        let [s0, s1, s2, s3, a0, a1, a2, a3] = addresses;
        let [p0, p1, q0, q1, ..] = *transport.first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([t0, t1])).checked_sub(ipv4::HEADER)?;
        let whole = frame.len().checked_sub(HEADERS) == Some(len);
        if said != protocol || !whole || checksum::of_header(ip) != [0, 0] {
            return None;
        }
        Some(Self {
            flow: Flow {
                ends: [s0, s1, s2, s3, a0, a1, a2, a3, p0, p1, q0, q1],
            },
            interface: frame.meta.interface,
            mac: MacAddr([d0, d1, d2, d3, d4, d5]),
            tos,
            ttl,
            len,
            transport: *transport,
        })
    }

    /// Where it came in, if routes and addresses have changed so often.
    #[inline]
    pub(crate) const fn entrance(&self, changes: u64) -> Entrance {
        Entrance {
            interface: self.interface,
            mac: self.mac,
            changes,
        }
    }

    /// Takes the headers of the link and of IP off, if the sum of the transport holds or need not; else all stays as it is.
    #[inline(always)]
    pub(crate) fn open(&self, frame: &mut Packet, protocol: u8) -> Option<()> {
        frame.strip(HEADERS);
        if frame.meta.checksum != Checksum::InPacket || self.is_without_sum(protocol) {
            return Some(());
        }
        let (from, to) = (*self.flow.source().ip(), *self.flow.destination().ip());
        if checksum::holds(from.into(), to.into(), protocol, frame) {
            return Some(());
        }
        // They are where they were.
        frame.prepend(HEADERS)?;
        None
    }

    /// Of UDP over IPv4 (RFC 768).
    fn is_without_sum(&self, protocol: u8) -> bool {
        protocol == protocol::UDP && self.transport.get(6..8) == Some(&[0, 0])
    }
}

impl Stack {
    /// Counts a packet that goes a short way.
    #[inline(always)]
    pub(crate) fn count_plain(&mut self, tos: u8) {
        bump(&mut self.counters.ip.received);
        bump(&mut self.counters.ip.delivered);
        if tos & 3 == 3 {
            bump(&mut self.counters.ip.marked);
        }
    }

    /// Where a packet of IPv4 has come in. What comes to nobody's address is looked at each time.
    pub(crate) fn entrance(&self, arrival: &Arrival) -> Option<Entrance> {
        let here = self.attached(arrival.interface)?;
        let mac = here.ifnet.mac()?;
        let plain = arrival.cast == Cast::Unicast
            && arrival.destination.is_ipv4()
            && self.is_ours(arrival.destination);
        plain.then(|| Entrance {
            interface: arrival.interface,
            mac,
            changes: self.routes.changes(),
        })
    }

    /// Remembers the socket of a datagram's flow.
    pub(crate) fn flow_remember(&mut self, arrival: &Arrival, ports: [u16; 2], socket: usize) {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (arrival.source, arrival.destination)
        else {
            return;
        };
        let Some(entrance) = self.entrance(arrival) else {
            return;
        };
        let ([a, b, c, d], [e, f, g, h]) = (source.octets(), destination.octets());
        let [[i, j], [k, l]] = ports.map(u16::to_be_bytes);
        let known = Known {
            flow: Flow {
                ends: [a, b, c, d, e, f, g, h, i, j, k, l],
            },
            entrance,
            socket,
            changes: self.udp.changes(),
        };
        self.udp.flows.remember(known);
    }
}
