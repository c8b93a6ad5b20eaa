//! The options of a socket of UDP.

use super::UdpSocket;
use crate::{
    groups,
    stack::Stack,
    tcp_socket::{BUFFER_MAX, BUFFER_MIN},
};
use rumpnet::socket::{Kind, SockOpt};
use rumpuser::{Errno, Result};

/// Sets an option.
pub(super) fn set(socket: &UdpSocket, option: &SockOpt) -> Result<()> {
    if groups::subject(option).is_some() {
        return socket
            .inet
            .with(|stack| stack.udp_groups(socket.id, option));
    }
    if let SockOpt::BindToDevice(name) = option {
        let index = socket.inet.bound_interface(name.as_ref())?;
        return socket.inet.with(|stack| {
            stack.udp.changed();
            let socket = stack.udp.get(socket.id)?;
            socket.options.common.interface = index;
            (socket.path, socket.prepared) = (None, None);
            Ok(())
        });
    }
    socket.of(|socket| {
        socket.prepared = None;
        match option {
            SockOpt::V6Only(on) => return socket.speaks.set_only(*on, socket.port != 0),
            SockOpt::DontRoute(_) => socket.path = None,
            _ => {}
        }
        let options = &mut socket.options;
        match option {
            SockOpt::Broadcast(on) => options.broadcast = *on,
            SockOpt::ReuseAddr(on) => options.reuse.address = *on,
            SockOpt::ReusePort(on) => options.reuse.port = *on,
            SockOpt::SendBuffer(bytes) => {
                options.send_buffer = (*bytes).clamp(BUFFER_MIN, BUFFER_MAX);
            }
            SockOpt::MtuDiscover(on) => options.dont_fragment = *on,
            SockOpt::DontRoute(on) => options.dont_route = *on,
            SockOpt::UdpSegment(bytes) => options.segment = *bytes,
            SockOpt::UdpGro(on) => options.common.telling.segment = *on,
            option => return options.common.set(option, &mut socket.queue),
        }
        Ok(())
    })?
}

/// The value of an option.
pub(super) fn get(socket: &UdpSocket, which: &SockOpt) -> Result<SockOpt> {
    if let SockOpt::Mtu(_) | SockOpt::Deprecated(_) = which {
        return socket.inet.with(|stack| {
            let peer = stack.udp.get(socket.id)?.peer.ok_or(Errno::ENOTCONN)?;
            let path = stack.udp_path(socket.id, peer, None)?;
            Ok(match which {
                SockOpt::Mtu(_) => SockOpt::Mtu(path.mtu),
                _ => SockOpt::Deprecated(stack.is_deprecated(path.interface, path.source)),
            })
        });
    }
    socket.of(|socket| {
        let options = &socket.options;
        Ok(match which {
            SockOpt::Error(_) => SockOpt::Error(socket.error.take()),
            SockOpt::Kind(_) => SockOpt::Kind(Kind::Datagram),
            SockOpt::V6Only(_) => SockOpt::V6Only(socket.speaks.only()?),
            SockOpt::Broadcast(_) => SockOpt::Broadcast(options.broadcast),
            SockOpt::ReuseAddr(_) => SockOpt::ReuseAddr(options.reuse.address),
            SockOpt::ReusePort(_) => SockOpt::ReusePort(options.reuse.port),
            SockOpt::SendBuffer(_) => SockOpt::SendBuffer(options.send_buffer),
            SockOpt::MtuDiscover(_) => SockOpt::MtuDiscover(options.dont_fragment),
            SockOpt::DontRoute(_) => SockOpt::DontRoute(options.dont_route),
            SockOpt::UdpSegment(_) => SockOpt::UdpSegment(options.segment),
            SockOpt::UdpGro(_) => SockOpt::UdpGro(options.common.telling.segment),
            _ => options.common.get(which, &socket.queue, &socket.groups)?,
        })
    })?
}

impl Stack {
    fn udp_groups(&mut self, id: usize, option: &SockOpt) -> Result<()> {
        let mut groups = core::mem::take(&mut self.udp.get(id)?.groups);
        let result = self.change_groups(&mut groups, option);
        self.udp.get(id)?.groups = groups;
        result
    }
}
