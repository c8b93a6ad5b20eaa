//! Raw sockets: packets of one protocol with their IP header.

use crate::{
    datagram::{Datagram, Queue, copy_in, copy_out},
    datagram_options::DatagramOptions,
    groups::{self, Groups},
    ip::{Arrival, Sending, on},
    ipv4,
    port::Speaks,
    stack::{Inet, Stack},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use rumpkern::{Cred, file::Ready};
use rumpnet::{
    Address, Packet,
    packet::{Cast, Checksum},
    socket::{
        Domain, Endpoint, Kind, MsgFlags, Outgoing, Received, Shutdown, SockOpt, Waiters, Watcher,
    },
};
use rumpuser::{Errno, Instant, Result};
use slab::Slab;

/// The raw sockets.
#[derive(Default)]
pub(crate) struct Raw {
    sockets: Slab<Rawcb>,
}

struct Rawcb {
    /// Packets of this protocol; 255 receives none (`IPPROTO_RAW`).
    protocol: u8,
    /// Of one family alone.
    speaks: Speaks,
    local: Option<IpAddr>,
    peer: Option<SocketAddr>,
    queue: Queue,
    waiters: Waiters,
    closed_read: bool,
    closed_write: bool,
    /// What is sent begins with an IP header.
    header_included: bool,
    options: DatagramOptions,
    groups: Groups,
}

impl Raw {
    fn get(&mut self, id: usize) -> Result<&mut Rawcb> {
        self.sockets.get_mut(id).ok_or(Errno::EBADF)
    }
}

impl Stack {
    /// Gives every socket that wants it a copy of a packet without its IP header; whether there was one.
    pub fn raw_input(&mut self, arrival: &Arrival, packet: &Packet) -> bool {
        let (source, destination) = (arrival.source, arrival.destination);
        let wants = |socket: &Rawcb| {
            socket.protocol == arrival.protocol
                && socket.speaks.with(source)
                && !socket.closed_read
                && on(socket.options.interface, arrival.interface)
                && socket.local.is_none_or(|local| local == destination)
                && socket.peer.is_none_or(|peer| peer.ip() == source)
                && (arrival.cast != Cast::Multicast
                    || socket.groups.wants(arrival.interface, destination, source))
        };
        let mut events = Vec::new();
        let mut any = false;
        for (_, socket) in self.raw.sockets.iter_mut().filter(|(_, s)| wants(s)) {
            any = true;
            let mut payload = packet.clone();
            // IPv6 has none in front (RFC 3542 section 3).
            if let Some(header) = &arrival.header
                && header.write(&mut payload).is_none()
            {
                continue;
            }
            let queued = socket.queue.push(Datagram {
                from: arrival.from(0),
                to: destination,
                interface: arrival.interface,
                ttl: arrival.ttl,
                tos: arrival.tos,
                arrived: Some(self.now),
                segment: 0,
                payload,
            });
            if queued {
                events.push(socket.waiters.told());
            }
        }
        events.iter().for_each(|event| self.wake(event.as_ref()));
        any
    }

    fn raw_send(&mut self, id: usize, message: &Outgoing<'_>, mut packet: Packet) -> Result<usize> {
        let len = packet.len();
        let socket = self.raw.get(id)?;
        if socket.closed_write {
            return Err(Errno::EPIPE);
        }
        let to = match (message.to, socket.peer) {
            (Some(to), _) => socket.speaks.address(to)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Errno::EDESTADDRREQ),
        };
        if len > usize::from(u16::MAX).saturating_sub(if to.is_ipv4() { ipv4::HEADER } else { 0 }) {
            return Err(Errno::EMSGSIZE);
        }
        let (options, protocol, mut from) = (socket.options, socket.protocol, socket.local);
        let (by, group) = (options.interface_to(&to), to.ip().is_multicast());
        packet.meta.checksum = Checksum::Valid;
        let mut given = None;
        if socket.header_included {
            let (how, source) = take_header(&mut packet)?;
            (given, from) = (Some(how), source.or(from));
        }
        let to = self.this_host(to);
        let path = self.way_out(to.ip(), self.path(to.ip(), from, by))?;
        self.shown.uses(to.ip());
        path.allowed(to.ip(), message.flags.contains(MsgFlags::DONTROUTE))?;
        let included = given.is_some();
        let how = given.unwrap_or_else(|| Sending {
            protocol,
            ttl: options.ttl(&path, group),
            tos: options.tos,
            dont_fragment: false,
        });
        if how.protocol == ipv4::protocol::ICMPV6 && to.is_ipv6() {
            // The stack fills in the sum (RFC 3542 section 3.1).
            packet.pull(4).ok_or(Errno::EINVAL)?;
            self.put_checksum(&path, &how, to.ip(), &mut packet, 2);
        }
        if group && options.multicast_loop {
            self.loop_back(&path, &how, to.ip(), packet.clone());
        }
        if how.ttl > 0 || included {
            self.ip_output(&path, &how, to.ip(), packet)?;
        }
        Ok(len)
    }
}

/// Takes off the header that the caller has put in front: how the packet goes, and where it says that it is from. Lengths and sums are
/// filled in anew.
///
/// # Errors
/// `EINVAL`: it is no header of IPv4 without options.
fn take_header(packet: &mut Packet) -> Result<(Sending, Option<IpAddr>)> {
    let header: [u8; ipv4::HEADER] = packet
        .pull(ipv4::HEADER)
        .and_then(|bytes| bytes.first_chunk().copied())
        .ok_or(Errno::EINVAL)?;
    if header[0] != 0x45 {
        return Err(Errno::EINVAL);
    }
    packet.strip(ipv4::HEADER);
    let how = Sending {
        protocol: header[9],
        ttl: header[8],
        tos: header[1],
        dont_fragment: header[6] & 0x40 != 0,
    };
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    Ok((how, (!source.is_unspecified()).then_some(source.into())))
}

/// A raw socket.
pub(crate) struct RawSocket {
    inet: Arc<Inet>,
    id: usize,
}

impl RawSocket {
    fn of<R>(&self, body: impl FnOnce(&mut Rawcb) -> R) -> Result<R> {
        self.inet.quick(|stack| stack.raw.get(self.id).map(body))
    }
}

impl Endpoint for RawSocket {
    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn bind(&self, address: &Address, _cred: &Cred) -> Result<()> {
        let ip = self.of(|socket| socket.speaks.address(address))??.ip();
        self.inet.with(|stack| {
            if !ip.is_unspecified() && !stack.is_ours(ip) {
                return Err(Errno::EADDRNOTAVAIL);
            }
            stack.raw.get(self.id)?.local = Some(ip).filter(|ip| !ip.is_unspecified());
            Ok(())
        })
    }

    fn connect(&self, address: &Address, _cred: &Cred) -> Result<()> {
        self.of(|socket| {
            socket.peer = match address {
                Address::Unspecified => None,
                address => Some(socket.speaks.address(address)?),
            };
            Ok(())
        })?
    }

    fn send(&self, message: &Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) || !message.control.is_empty() {
            return Err(Errno::EOPNOTSUPP);
        }
        let packet = copy_in(message);
        self.inet
            .with(|stack| stack.raw_send(self.id, message, packet))
    }

    fn receive(&self, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EINVAL);
        }
        let taken = self.of(|socket| {
            let telling = socket.options.telling;
            let peek = flags.contains(MsgFlags::PEEK);
            match socket.queue.take(peek, telling, &*self.inet.host) {
                Some(taken) => Ok(Some(taken)),
                None if socket.closed_read => Ok(None),
                None => Err(Errno::EAGAIN),
            }
        })??;
        Ok(taken.map_or_else(Received::default, |(datagram, control)| {
            copy_out(&datagram, control, bufs, flags)
        }))
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.inet.with(|stack| {
            let socket = stack.raw.get(self.id)?;
            socket.closed_read |= how.reads();
            socket.closed_write |= how.writes();
            let event = socket.waiters.told();
            stack.wake(event.as_ref());
            Ok(())
        })
    }

    fn local(&self) -> Result<Address> {
        self.of(|socket| socket.speaks.local(socket.local, 0).into())
    }

    fn peer(&self) -> Result<Address> {
        let peer = self.of(|socket| socket.peer)?.ok_or(Errno::ENOTCONN)?;
        Ok(peer.into())
    }

    fn set_option(&self, option: &SockOpt) -> Result<()> {
        if groups::subject(option).is_some() {
            return self.inet.with(|stack| {
                let mut groups = core::mem::take(&mut stack.raw.get(self.id)?.groups);
                let result = stack.change_groups(&mut groups, option);
                stack.raw.get(self.id)?.groups = groups;
                result
            });
        }
        if let SockOpt::BindToDevice(name) = option {
            let index = self.inet.bound_interface(name.as_ref())?;
            return self.of(|socket| socket.options.interface = index);
        }
        self.of(|socket| match option {
            SockOpt::HeaderIncluded(on) if socket.speaks == Speaks::V4 => {
                socket.header_included = *on;
                Ok(())
            }
            option => socket.options.set(option, &mut socket.queue),
        })?
    }

    fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        self.of(|socket| {
            Ok(match which {
                SockOpt::HeaderIncluded(_) => SockOpt::HeaderIncluded(socket.header_included),
                SockOpt::Kind(_) => SockOpt::Kind(Kind::Raw),
                SockOpt::Error(_) => SockOpt::Error(None),
                _ => {
                    let (queue, groups) = (&socket.queue, &socket.groups);
                    socket.options.get(which, queue, groups)?
                }
            })
        })?
    }

    fn poll(&self) -> Ready {
        self.of(|socket| {
            let mut ready = Ready::OUT;
            ready.set(Ready::IN, !socket.queue.is_empty() || socket.closed_read);
            ready
        })
        .unwrap_or(Ready::ERR)
    }

    fn readable(&self) -> usize {
        self.of(|socket| socket.queue.next_len()).unwrap_or(0)
    }

    fn ticket(&self) -> u64 {
        let ticket = self.of(|socket| socket.waiters.ticket(&*self.inet.host));
        ticket.unwrap_or(0)
    }

    fn wait(&self, ticket: u64, _interest: Ready, deadline: Option<Instant>) -> bool {
        let event = self.of(|socket| socket.waiters.event(&*self.inet.host));
        event.is_ok_and(|event| self.inet.wait(&*event, ticket, deadline))
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        self.of(|socket| socket.waiters.watch(&*self.inet.host, watcher))
    }

    fn close(&self) -> Result<Option<Duration>> {
        self.shutdown(Shutdown::Both).map(|()| None)
    }
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        self.inet.with(|stack| {
            if let Some(socket) = stack.raw.sockets.try_remove(self.id) {
                stack.leave_groups(socket.groups);
            }
        });
    }
}

/// The family's raw sockets.
pub(crate) fn socket(inet: &Arc<Inet>, domain: Domain, protocol: u8) -> Box<dyn Endpoint> {
    let socket = Rawcb {
        protocol,
        speaks: match domain {
            Domain::Inet6 => Speaks::V6,
            _ => Speaks::V4,
        },
        local: None,
        peer: None,
        queue: Queue::default(),
        waiters: Waiters::default(),
        closed_read: false,
        closed_write: false,
        header_included: false,
        options: DatagramOptions::default(),
        groups: Groups::default(),
    };
    let id = inet.with(|stack| stack.raw.sockets.insert(socket));
    Box::new(RawSocket {
        inet: inet.clone(),
        id,
    })
}
