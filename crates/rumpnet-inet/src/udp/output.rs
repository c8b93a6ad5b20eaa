//! Datagrams that go out.

use super::{LEN, MOST, MOST_V6, Options, segments};
use crate::{
    ip::{Sending, bump},
    ipv4::protocol,
    stack::{Path, Stack},
};
use core::net::{IpAddr, SocketAddr};
use rumpnet::{
    Packet,
    socket::{Control, MsgFlags, Outgoing},
};
use rumpuser::{Errno, Result};

impl Stack {
    /// The way to somebody, from an address and by an interface if `info` has them.
    pub(super) fn udp_path(
        &mut self,
        id: usize,
        to: SocketAddr,
        info: Option<(IpAddr, u32)>,
    ) -> Result<Path> {
        let changes = self.routes.changes();
        let socket = self.udp.get(id)?;
        if info.is_none()
            && let Some((then, known, path)) = &socket.path
            && *then == changes
            && *known == to
        {
            return Ok(*path);
        }
        let group = to.ip().is_multicast();
        let options = socket.options;
        let by = match info {
            Some((_, interface)) if interface != 0 => Some(interface),
            _ => options.common.interface_to(&to),
        };
        let said = info
            .map(|(address, _)| address.to_canonical())
            .filter(|address| !address.is_unspecified());
        let from = said.or(socket.local.filter(|local| !local.is_multicast()));
        if said.is_some_and(|address| !self.is_ours(address)) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let path = self.path(to.ip(), from, by)?;
        path.allowed(to.ip(), options.dont_route)?;
        if info.is_none() && !path.broadcast && !group {
            self.udp.get(id)?.path = Some((changes, to, path));
        }
        Ok(path)
    }

    /// Sends a datagram, whose payload is not the message's.
    pub(super) fn udp_send(
        &mut self,
        id: usize,
        message: &Outgoing<'_>,
        payload: Packet,
    ) -> Result<usize> {
        let len = payload.len();
        let to = self.udp_receiver(id, message, len)?;
        let info = message.control.iter().find_map(|control| match control {
            Control::PacketInfo { address, interface } => Some((*address, *interface)),
            _ => None,
        });
        let path = self.udp_path(id, to, info);
        let path = self.way_out(to.ip(), path)?;
        self.shown.uses(to.ip());
        path.allowed(to.ip(), message.flags.contains(MsgFlags::DONTROUTE))?;
        let socket = self.udp.get(id)?;
        let options = socket.options;
        if path.broadcast && !options.broadcast {
            return Err(Errno::EACCES);
        }
        let group = to.ip().is_multicast();
        let how = options.sending(&path, group, message.control)?;
        let mut packet = payload;
        let port = socket.port;
        segments::mark(&mut packet, message, options.segment, &path)?;
        put_head(&mut packet, port, to.port(), len)?;
        self.put_checksum(&path, &how, to.ip(), &mut packet, 6);
        bump(&mut self.counters.udp(to.is_ipv4()).sent);
        if group && options.common.multicast_loop {
            self.loop_back(&path, &how, to.ip(), packet.clone());
        }
        if how.ttl == 0 {
            // To this host alone (RFC 1112 section 6.1).
            return Ok(len);
        }
        self.ip_output(&path, &how, to.ip(), packet)?;
        if !group && message.control.is_empty() {
            self.udp_prepare(id, message, &path, &how, to);
        }
        Ok(len)
    }

    /// Who gets a datagram of `len` bytes. The socket has a port from then on.
    fn udp_receiver(
        &mut self,
        id: usize,
        message: &Outgoing<'_>,
        len: usize,
    ) -> Result<SocketAddr> {
        let socket = self.udp.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.closed_write {
            return Err(Errno::EPIPE);
        }
        let to = match (message.to, socket.peer) {
            (Some(to), _) => socket.speaks.address(to)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Errno::EDESTADDRREQ),
        };
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        let most = if to.is_ipv4() { MOST } else { MOST_V6 };
        if len > most.min(socket.options.send_buffer) {
            return Err(Errno::EMSGSIZE);
        }
        if socket.port == 0 {
            self.udp.take_port(id, None, 0)?;
        }
        Ok(self.this_host(to))
    }

    /// What is sent to a group that this host is a member of comes back to it (RFC 1112 section 6.1).
    pub(crate) fn loop_back(&mut self, path: &Path, how: &Sending, to: IpAddr, packet: Packet) {
        let member = self
            .attached(path.interface)
            .is_some_and(|here| here.listens(to));
        if member {
            let local = Path {
                local: true,
                mtu: u32::from(u16::MAX),
                ..*path
            };
            let _ = self.ip_output(&local, how, to, packet);
        }
    }
}

impl Options {
    /// How a datagram goes, by the options and by what its message says besides.
    fn sending(&self, path: &Path, group: bool, control: &[Control]) -> Result<Sending> {
        let mut how = Sending {
            protocol: protocol::UDP,
            ttl: self.common.ttl(path, group),
            tos: self.common.tos,
            dont_fragment: self.dont_fragment,
        };
        for control in control {
            match control {
                Control::HopLimit(ttl) => how.ttl = *ttl,
                Control::TrafficClass(tos) => how.tos = *tos,
                Control::PacketInfo { .. } | Control::Segment(_) => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        if how.ttl == 0 && !group {
            return Err(Errno::EINVAL);
        }
        Ok(how)
    }
}

/// Puts the header in front of `len` bytes of payload, its sum left out.
fn put_head(packet: &mut Packet, from: u16, to: u16, len: usize) -> Result<()> {
    let [s0, s1] = from.to_be_bytes();
    let [d0, d1] = to.to_be_bytes();
    let total = u16::try_from(len.saturating_add(LEN)).map_err(|_| Errno::EMSGSIZE)?;
    let [l0, l1] = total.to_be_bytes();
    let head = packet.prepend(LEN).ok_or(Errno::EMSGSIZE)?;
    head.copy_from_slice(&[s0, s1, d0, d1, l0, l1, 0, 0]);
    Ok(())
}
