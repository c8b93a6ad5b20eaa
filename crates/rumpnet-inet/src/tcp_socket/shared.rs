//! Data that is sent and received in pieces and not copied.

use super::TcpSocket;
use crate::stack::Stack;
use bytes::Bytes;
use rumpnet::{
    Address, Chain,
    socket::{COPY_BELOW, Endpoint as _, MsgFlags, Received, send_copied},
};
use rumpuser::Result;

impl Stack {
    fn tcp_write_shared(&mut self, id: usize, data: &mut Chain, flags: MsgFlags) -> Result<usize> {
        let Some(room) = self.tcp_room(id, data.len(), flags)? else {
            return Ok(0);
        };
        let sent = self.tcp.get(id)?.tcb()?.send(data.split_to(room));
        self.tcp.list(id);
        Ok(sent)
    }

    fn tcp_read_shared(&mut self, id: usize, most: usize, flags: MsgFlags) -> Result<Chain> {
        let tcb = self.tcp.get(id)?.tcb()?;
        let data = if flags.contains(MsgFlags::PEEK) {
            tcb.peek_shared(most)
        } else {
            tcb.receive(most)
        };
        self.tcp_has_read(id, !data.is_empty() || most == 0)?;
        Ok(data)
    }
}

pub(super) fn send(
    socket: &TcpSocket,
    data: &mut Chain,
    to: Option<&Address>,
    flags: MsgFlags,
) -> Result<usize> {
    if flags.intersects(MsgFlags::OOB | MsgFlags::FASTOPEN) {
        return send_copied(socket, data, to, flags);
    }
    socket
        .inet
        .with(|stack| stack.tcp_write_shared(socket.id, data, flags))
}

pub(super) fn receive(
    socket: &TcpSocket,
    most: usize,
    flags: MsgFlags,
) -> Result<(Chain, Received)> {
    let mut received = Received::default();
    if flags.contains(MsgFlags::OOB) {
        let mut byte = [0];
        received = socket.receive(&mut [&mut byte[..most.min(1)]], flags)?;
        let data = byte.get(..received.len).unwrap_or_default();
        return Ok((Bytes::copy_from_slice(data).into(), received));
    }
    let data = socket
        .inet
        .lightly(|stack| stack.tcp_read_shared(socket.id, most, flags))?;
    received.len = data.len();
    Ok((data.detached(COPY_BELOW), received))
}
