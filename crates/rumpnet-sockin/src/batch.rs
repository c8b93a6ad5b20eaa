//! Many messages in one call of the host (`sendmmsg`, `recvmmsg`).

use crate::{
    errno,
    socket::{receive_flags, send_flags, told},
};
use rumpnet::{
    Address,
    socket::{Endpoint, Incoming, MsgFlags, Outgoing, Received, Sent},
};
use rumpuser::Errno;
use rumpuser_posix::receive_many as receive;
use rustix::{
    fd::BorrowedFd,
    net::{MMsgHdr, ReturnFlags, SendAncillaryBuffer, SocketAddrAny, sendmmsg},
};
use std::io::{IoSlice, IoSliceMut};

/// So many go at once: the host takes no more (`UIO_MAXIOV`).
const MOST: usize = 1_024;

/// Sends messages in order until one of them fails or is not sent whole. Those that are alike in flags go in one call; one that is like no other,
/// or has what the host is not told, by a call of its own.
pub(crate) fn send_many(
    socket: &dyn Endpoint,
    fd: BorrowedFd<'_>,
    messages: &[Outgoing<'_>],
) -> (Sent, Option<Errno>) {
    let mut sent = Sent::default();
    while let Some(rest @ [first, ..]) = messages.get(sent.messages..) {
        let alike = |message: &&Outgoing<'_>| {
            message.flags == first.flags
                && message.control.is_empty()
                && message.to.is_none_or(|to| to.inet().is_ok())
        };
        let count = rest.iter().take(MOST).take_while(alike).count();
        let some = match rest.get(..count) {
            Some(some @ [_, _, ..]) => together(fd, some),
            _ => socket.send(first).map(|bytes| vec![bytes]),
        };
        match some {
            Ok(bytes) => {
                for (message, bytes) in rest.iter().zip(bytes) {
                    if !sent.add(message, bytes) {
                        return (sent, None);
                    }
                }
            }
            Err(error) => return (sent, Some(error)),
        }
    }
    (sent, None)
}

/// Bytes of each of those that were sent: at least one.
fn together(fd: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> Result<Vec<usize>, Errno> {
    let flags = send_flags(messages.first().ok_or(Errno::EINVAL)?.flags)?;
    let bufs: Vec<Vec<IoSlice<'_>>> = messages
        .iter()
        .map(|message| message.bufs.iter().map(|buf| IoSlice::new(buf)).collect())
        .collect();
    let address = |message: &Outgoing<'_>| {
        let to = message.to.and_then(|to| to.inet().ok());
        to.map(SocketAddrAny::from)
    };
    let addresses: Vec<Option<SocketAddrAny>> = messages.iter().map(address).collect();
    let mut none: Vec<SendAncillaryBuffer<'_, '_, '_>> = messages
        .iter()
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let parts = bufs.iter().zip(&addresses).zip(&mut none);
    let mut headers: Vec<MMsgHdr<'_>> = parts
        .map(|((bufs, address), none)| match address {
            Some(address) => MMsgHdr::new_with_addr(address, bufs, none),
            None => MMsgHdr::new(bufs, none),
        })
        .collect();
    let count = sendmmsg(fd, &mut headers, flags).map_err(errno)?;
    Ok(headers
        .iter()
        .take(count)
        .map(MMsgHdr::bytes_sent)
        .collect())
}

/// Receives messages in order until there are no more.
pub(crate) fn receive_many(
    fd: BorrowedFd<'_>,
    messages: &mut [Incoming<'_, '_>],
    flags: MsgFlags,
) -> (usize, Option<Errno>) {
    let host = receive_flags(flags).bits().cast_signed();
    let mut count = 0_usize;
    for part in messages.chunks_mut(MOST) {
        let mut rooms: Vec<Vec<IoSliceMut<'_>>> = part
            .iter_mut()
            .map(|room| {
                room.bufs
                    .iter_mut()
                    .map(|buf| IoSliceMut::new(buf))
                    .collect()
            })
            .collect();
        let got = match receive(fd, &mut rooms, host) {
            Ok(got) => got,
            Err(error) => return (count, Some(error)),
        };
        for (got, room) in got.iter().zip(&mut *part) {
            room.received = Received {
                len: got.len,
                from: got.from.map(Address::Inet),
                flags: told(ReturnFlags::from_bits_retain(got.flags.cast_unsigned())),
                control: Vec::new(),
            };
        }
        count = count.saturating_add(got.len());
        if got.len() < part.len() {
            // Or an error, which the next call gets.
            return (count, Some(Errno::EAGAIN));
        }
    }
    (count, None)
}
