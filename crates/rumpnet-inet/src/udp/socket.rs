//! A socket of UDP: what the socket layer asks of it.

use super::{Options, Udpcb, many, option, shared};
use crate::{
    datagram::{BUFFER, Queue, copy_in, copy_out},
    datagram_options::DatagramOptions,
    groups::Groups,
    ip::scoped,
    port::{self, Reuse, Speaks},
    stack::Inet,
};
use alloc::sync::Arc;
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use rumpkern::{Cred, file::Ready};
use rumpnet::{
    Address, Chain, Packet,
    socket::{
        Domain, Endpoint, Incoming, Kind, MsgFlags, Outgoing, Received, Sent, Shutdown, SockOpt,
        Waiters, Watcher,
    },
};
use rumpuser::{Errno, Instant, Result};

/// A socket of UDP.
pub(crate) struct UdpSocket {
    pub(super) inet: Arc<Inet>,
    pub(super) id: usize,
}

impl UdpSocket {
    pub(crate) fn new(inet: &Arc<Inet>, domain: Domain) -> Self {
        let id = inet.quick(|stack| {
            stack.udp.sockets.insert(Udpcb {
                speaks: Speaks::new(domain),
                local: None,
                borrowed: false,
                port: 0,
                peer: None,
                queue: Queue::default(),
                error: None,
                waiters: Waiters::default(),
                closed_read: false,
                closed_write: false,
                options: Options {
                    broadcast: false,
                    reuse: Reuse::default(),
                    common: DatagramOptions::default(),
                    dont_fragment: false,
                    dont_route: false,
                    send_buffer: BUFFER,
                    segment: 0,
                },
                groups: Groups::default(),
                path: None,
                prepared: None,
            })
        });
        Self {
            inet: inet.clone(),
            id,
        }
    }

    pub(super) fn of<R>(&self, body: impl FnOnce(&mut Udpcb) -> R) -> Result<R> {
        self.inet.quick(|stack| stack.udp.get(self.id).map(body))
    }

    /// Sends a datagram of which only the payload is not taken from the message.
    pub(super) fn send_packet(&self, message: &Outgoing<'_>, payload: Packet) -> Result<usize> {
        self.inet.swiftly(
            payload,
            |stack, payload| stack.udp_send_again(self.id, message, payload),
            |stack, payload| stack.udp_send(self.id, message, payload),
        )
    }
}

impl Endpoint for UdpSocket {
    fn kind(&self) -> Kind {
        Kind::Datagram
    }

    fn bind(&self, address: &Address, cred: &Cred) -> Result<()> {
        let address = self.of(|socket| socket.speaks.address(address))??;
        port::allowed(address.port(), cred)?;
        self.inet.with(|stack| {
            let local = Some(address.ip()).filter(|ip| !ip.is_unspecified());
            if let Some(ip) = local.filter(|ip| !ip.is_multicast()) {
                let mut all = stack.interfaces.iter().flat_map(|here| &here.addresses);
                let broadcast = |b: Option<Ipv4Addr>| b.map(IpAddr::V4) == Some(ip);
                if !all.any(|cidr| cidr.address() == ip || broadcast(cidr.broadcast())) {
                    return Err(Errno::EADDRNOTAVAIL);
                }
            }
            if stack.udp.get(self.id)?.port != 0 {
                return Err(Errno::EINVAL);
            }
            stack.udp.take_port(self.id, local, address.port())
        })
    }

    fn connect(&self, address: &Address, _cred: &Cred) -> Result<()> {
        self.inet.with(|stack| {
            stack.udp.changed();
            let socket = stack.udp.get(self.id)?;
            let peer = match address {
                Address::Unspecified => None,
                address => Some(socket.speaks.address(address)?),
            };
            (socket.path, socket.prepared) = (None, None);
            if core::mem::take(&mut socket.borrowed) {
                socket.local = None;
            }
            let Some(peer) = peer else {
                socket.peer = None;
                return Ok(());
            };
            let peer = stack.this_host(peer);
            let path = stack.udp_path(self.id, peer, None)?;
            let peer = scoped(peer, path.interface);
            if stack.udp.get(self.id)?.port == 0 {
                stack.udp.take_port(self.id, None, 0)?;
            }
            let socket = stack.udp.get(self.id)?;
            socket.borrowed = socket.local.is_none();
            socket.local = socket.local.or(Some(path.source));
            socket.peer = Some(peer);
            Ok(())
        })
    }

    fn send(&self, message: &Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        // Copied before the lock is taken.
        self.send_packet(message, copy_in(message))
    }

    fn receive(&self, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EINVAL);
        }
        let (mut received, mut spent) = (None, None);
        let taken = self.of(|socket| {
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
            let (telling, host) = (socket.options.common.telling, &*self.inet.host);
            received = socket
                .queue
                .receive_few(telling, host, bufs, flags, &mut spent);
            if received.is_some() {
                return Ok(None);
            }
            let peek = flags.contains(MsgFlags::PEEK);
            match socket.queue.take(peek, telling, host) {
                Some(taken) => Ok(Some(taken)),
                None if socket.closed_read => Ok(None),
                None => Err(Errno::EAGAIN),
            }
        })??;
        if let Some(received) = received {
            return Ok(received);
        }
        Ok(taken.map_or_else(Received::default, |(datagram, control)| {
            copy_out(&datagram, control, bufs, flags)
        }))
    }

    fn send_bytes(&self, data: &mut Chain, to: Option<&Address>, flags: MsgFlags) -> Result<usize> {
        shared::send(self, data, to, flags)
    }

    fn receive_bytes(&self, most: usize, flags: MsgFlags) -> Result<(Chain, Received)> {
        shared::receive(self, most, flags)
    }

    fn send_many(&self, messages: &[Outgoing<'_>]) -> (Sent, Option<Errno>) {
        many::send(self, messages)
    }

    fn receive_many(
        &self,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
    ) -> (usize, Option<Errno>) {
        many::receive(self, messages, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.inet.with(|stack| {
            let socket = stack.udp.get(self.id)?;
            if socket.peer.is_none() {
                return Err(Errno::ENOTCONN);
            }
            socket.closed_read |= how.reads();
            socket.closed_write |= how.writes();
            let event = socket.waiters.told();
            stack.wake(event.as_ref());
            Ok(())
        })
    }

    fn local(&self) -> Result<Address> {
        self.of(|socket| socket.speaks.local(socket.local, socket.port).into())
    }

    fn peer(&self) -> Result<Address> {
        let peer = self.of(|socket| socket.peer.map(|peer| socket.speaks.told(peer)))?;
        peer.map(Address::Inet).ok_or(Errno::ENOTCONN)
    }

    fn set_option(&self, option: &SockOpt) -> Result<()> {
        option::set(self, option)
    }

    fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        option::get(self, which)
    }

    fn poll(&self) -> Ready {
        self.of(|socket| {
            let mut ready = Ready::OUT;
            ready.set(Ready::IN, !socket.queue.is_empty() || socket.closed_read);
            ready.set(Ready::ERR, socket.error.is_some());
            ready.set(Ready::HUP, socket.closed_read && socket.closed_write);
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
        // Its place is given back with the socket: calls that are under way still name it.
        self.inet.with(|stack| {
            stack.udp.leave_port(self.id);
            let socket = stack.udp.get(self.id)?;
            let groups = core::mem::take(&mut socket.groups);
            (socket.closed_read, socket.closed_write) = (true, true);
            let event = socket.waiters.told();
            stack.leave_groups(groups);
            stack.wake(event.as_ref());
            Ok(None)
        })
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.inet.with(|stack| {
            stack.udp.leave_port(self.id);
            if let Some(socket) = stack.udp.sockets.try_remove(self.id) {
                stack.leave_groups(socket.groups);
            }
        });
    }
}
