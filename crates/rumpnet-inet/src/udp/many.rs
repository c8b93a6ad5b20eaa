//! Many datagrams in one call: the stack is locked once for all, and their frames leave in one turn of the interface.

use super::UdpSocket;
use crate::{
    datagram::{copy_in_many, copy_out},
    stack::Stack,
};
use alloc::collections::VecDeque;
use rumpnet::{
    interface::Batch,
    socket::{Endpoint as _, Incoming, MsgFlags, Outgoing, Received, Sent},
    spares,
};
use rumpuser::{Errno, Result};

/// So many at once: others want the stack, too, and the queue of an interface has an end.
const PART: usize = 64;

/// Datagrams on their way into the stack.
struct Departing<'a> {
    /// Of which the first have been sent.
    messages: &'a [Outgoing<'a>],
    sent: Sent,
    /// Copies of the others.
    packets: Batch,
}

impl Stack {
    /// Sends what can be sent with prepared headers; `None`: there is something else.
    fn udp_send_swiftly(&mut self, id: usize, all: &mut Departing<'_>) -> Option<Result<()>> {
        while let (Some(packet), Some(message)) = (all.packets.pop_front(), all.next()) {
            if message.flags.contains(MsgFlags::OOB) {
                all.packets.push_front(packet);
                return None;
            }
            match self.udp_send_again(id, message, packet) {
                Ok(Ok(bytes)) => all.sent.add(message, bytes),
                Ok(Err(error)) => return Some(Err(error)),
                Err(packet) => {
                    all.packets.push_front(packet);
                    return None;
                }
            };
        }
        Some(Ok(()))
    }

    /// Sends all.
    fn udp_send_all(&mut self, id: usize, all: &mut Departing<'_>) -> Result<()> {
        loop {
            if let Some(done) = self.udp_send_swiftly(id, all) {
                return done;
            }
            let (Some(packet), Some(message)) = (all.packets.pop_front(), all.next()) else {
                return Ok(());
            };
            // An error that waits is for the next call.
            if let Some(error) = self.udp.get(id)?.error.filter(|_| all.sent.messages > 0) {
                return Err(error);
            }
            if message.flags.contains(MsgFlags::OOB) {
                return Err(Errno::EOPNOTSUPP);
            }
            let bytes = self.udp_send(id, message, packet)?;
            all.sent.add(message, bytes);
            if self.udp_asks(id) {
                return Ok(());
            }
        }
    }

    /// Whether a neighbour is asked for its address, whose answer may be here when the lock is free: few packets may wait for it.
    fn udp_asks(&mut self, id: usize) -> bool {
        let path = self.udp.get(id).ok().and_then(|socket| socket.path);
        let Some((_, _, path)) = path.filter(|(_, _, path)| !path.local) else {
            return false;
        };
        let here = self.attached(path.interface);
        let settled = self
            .neighbors
            .settled(path.interface, path.next_hop, self.now);
        here.is_some_and(|here| here.ifnet.mac().is_some()) && settled.is_none()
    }
}

impl<'a> Departing<'a> {
    fn next(&self) -> Option<&'a Outgoing<'a>> {
        self.messages.get(self.sent.messages)
    }
}

pub(super) fn send(socket: &UdpSocket, messages: &[Outgoing<'_>]) -> (Sent, Option<Errno>) {
    let mut sent = Sent::default();
    for part in messages.chunks(PART) {
        let mut all = Departing {
            messages: part,
            sent: Sent::default(),
            // Copied before the lock is taken.
            packets: copy_in_many(part),
        };
        let mut done = Ok(());
        while done.is_ok() && !all.packets.is_empty() {
            done = socket.inet.swiftly(
                &mut all,
                |stack, all| stack.udp_send_swiftly(socket.id, all).ok_or(all),
                |stack, all| stack.udp_send_all(socket.id, all),
            );
        }
        if all.sent.messages > 0 {
            sent.messages = sent.messages.saturating_add(all.sent.messages);
            sent.last = all.sent.last;
        }
        if let Err(error) = done {
            return (sent, Some(error));
        }
    }
    (sent, None)
}

pub(super) fn receive(
    socket: &UdpSocket,
    messages: &mut [Incoming<'_, '_>],
    flags: MsgFlags,
) -> (usize, Option<Errno>) {
    let mut count = 0_usize;
    if flags.intersects(MsgFlags::PEEK | MsgFlags::OOB) {
        for Incoming { bufs, received } in messages {
            match socket.receive(bufs, flags) {
                Ok(new) => *received = new,
                Err(error) => return (count, Some(error)),
            }
            count = count.saturating_add(1);
        }
        return (count, None);
    }
    let most = messages.len();
    // Made before the lock is taken. It may become the queue.
    let mut list = VecDeque::with_capacity(most);
    let taken = socket.of(|socket| {
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        socket.queue.take_many(most, &mut list);
        Ok((socket.options.common.telling, socket.closed_read))
    });
    let (telling, ended) = match taken {
        Ok(Ok(taken)) => taken,
        Ok(Err(error)) | Err(error) => return (0, Some(error)),
    };
    let host = &*socket.inet.host;
    let mut messages = messages.iter_mut();
    for (datagram, Incoming { bufs, received }) in list.iter().zip(&mut messages) {
        *received = copy_out(datagram, telling.control(datagram, host), bufs, flags);
        count = count.saturating_add(1);
    }
    spares::give(list.into_iter().map(|datagram| datagram.payload));
    if ended {
        // As each call that finds nothing says.
        for Incoming { received, .. } in messages {
            *received = Received::default();
            count = count.saturating_add(1);
        }
    }
    (count, (count < most).then_some(Errno::EAGAIN))
}
