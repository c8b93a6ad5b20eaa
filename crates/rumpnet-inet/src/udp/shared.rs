//! Datagrams whose payload is not copied.

use super::UdpSocket;
use crate::datagram::copy_out;
use rumpnet::{
    Address, Chain, Packet,
    socket::{COPY_BELOW, MsgFlags, Outgoing, Received, send_copied},
};
use rumpuser::{Errno, Result};

pub(super) fn send(
    socket: &UdpSocket,
    data: &mut Chain,
    to: Option<&Address>,
    flags: MsgFlags,
) -> Result<usize> {
    if data.len() < COPY_BELOW || flags.contains(MsgFlags::OOB) {
        return send_copied(socket, data, to, flags);
    }
    let message = Outgoing {
        to,
        bufs: &[],
        control: &[],
        flags,
    };
    let payload = Packet::with_chain(data.clone().detached(COPY_BELOW));
    let sent = socket.send_packet(&message, payload)?;
    data.advance(sent);
    Ok(sent)
}

pub(super) fn receive(
    socket: &UdpSocket,
    most: usize,
    flags: MsgFlags,
) -> Result<(Chain, Received)> {
    if flags.contains(MsgFlags::OOB) {
        return Err(Errno::EINVAL);
    }
    let taken = socket.of(|socket_| {
        if let Some(error) = socket_.error.take() {
            return Err(error);
        }
        let (telling, host) = (socket_.options.common.telling, &*socket.inet.host);
        let peek = flags.contains(MsgFlags::PEEK);
        match socket_.queue.take(peek, telling, host) {
            Some(taken) => Ok(Some(taken)),
            None if socket_.closed_read => Ok(None),
            None => Err(Errno::EAGAIN),
        }
    })??;
    let Some((mut datagram, control)) = taken else {
        return Ok(Default::default());
    };
    let whole = datagram.payload.len();
    let mut received = copy_out(&datagram, control, &mut [], flags);
    let mut data = datagram.payload.take_chain();
    data.truncate(most);
    received.flags.set(MsgFlags::TRUNC, data.len() < whole);
    if !flags.contains(MsgFlags::TRUNC) {
        received.len = data.len();
    }
    Ok((data.detached(COPY_BELOW), received))
}
