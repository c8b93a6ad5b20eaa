//! What sockets of datagrams have in common: a queue, and the copying out of it.

use alloc::{collections::VecDeque, vec::Vec};
use bytes::{Bytes, BytesMut};
use core::net::{IpAddr, SocketAddr};
use rumpnet::{
    Address, Packet,
    interface::Batch,
    socket::{Control, MsgFlags, Outgoing, Received},
    spares,
};
use rumpuser::{Host, Instant, Timespec};

/// Bytes that a queue holds unless told otherwise; a datagram counts with what it costs besides its bytes.
pub(crate) const BUFFER: usize = 208 << 10;
const OVERHEAD: usize = 64;

/// A datagram that was received.
#[derive(Clone)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: IpAddr,
    pub(crate) interface: u32,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// If somebody wants to know.
    pub(crate) arrived: Option<Instant>,
    /// Bytes of each of the datagrams that it stands for; 0 when it is one.
    pub(crate) segment: u16,
    pub(crate) payload: Packet,
}

/// Which of its circumstances a receiver is told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Telling {
    pub(crate) packet_info: bool,
    pub(crate) ttl: bool,
    pub(crate) tos: bool,
    pub(crate) timestamp: bool,
    /// That a datagram stands for several.
    pub(crate) segment: bool,
}

impl Telling {
    #[inline]
    pub(crate) fn control(self, datagram: &Datagram, host: &dyn Host) -> Vec<Control> {
        let segment = self.segment && datagram.segment > 0;
        if !(self.packet_info || self.ttl || self.tos || self.timestamp || segment) {
            return Vec::new();
        }
        self.all_control(datagram, host)
    }

    fn all_control(self, datagram: &Datagram, host: &dyn Host) -> Vec<Control> {
        let info = || Control::PacketInfo {
            address: datagram.to,
            interface: datagram.interface,
        };
        let all = [
            self.packet_info.then(info),
            self.ttl.then_some(Control::HopLimit(datagram.ttl)),
            self.tos.then_some(Control::TrafficClass(datagram.tos)),
            self.timestamp
                .then(|| Control::Timestamp(wall(datagram.arrived, host))),
            (self.segment && datagram.segment > 0).then_some(Control::Segment(datagram.segment)),
        ];
        all.into_iter().flatten().collect()
    }
}

/// The wall time of a moment that is over; now, if nobody wanted to know it then.
fn wall(then: Option<Instant>, host: &dyn Host) -> Timespec {
    const SECOND: i128 = 1_000_000_000;
    let now = host.wall();
    let Some(then) = then else { return now };
    let ago = i128::try_from(host.monotonic().since(then).as_nanos()).unwrap_or(0);
    let nanos = i128::from(now.sec)
        .saturating_mul(SECOND)
        .saturating_add(now.nsec.into())
        .saturating_sub(ago);
    Timespec {
        sec: i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(now.sec),
        nsec: u32::try_from(nanos.rem_euclid(SECOND)).unwrap_or(0),
    }
}

/// Payload of so many bytes is copied with the lock held: to let it go and take the datagram along takes longer.
const FEW: usize = 256;

/// Datagrams that wait for a receiver.
pub(crate) struct Queue {
    list: VecDeque<Datagram>,
    bytes: usize,
    pub(crate) limit: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            bytes: 0,
            limit: BUFFER,
        }
    }
}

fn cost(datagram: &Datagram) -> usize {
    datagram.payload.len().saturating_add(OVERHEAD)
}

impl Queue {
    /// Adds one; `false` when there is no room. One always has room, however small the limit.
    pub(crate) fn push(&mut self, datagram: Datagram) -> bool {
        let bytes = self.bytes.saturating_add(cost(&datagram));
        if bytes > self.limit && !self.list.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.list.push_back(datagram);
        true
    }

    /// Copies the first one, if it is short, to its receiver, and takes it out unless it is only looked at. It is left in `spent`, to be
    /// forgotten when the lock is free.
    pub(crate) fn receive_few(
        &mut self,
        telling: Telling,
        host: &dyn Host,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        spent: &mut Option<Datagram>,
    ) -> Option<Received> {
        let first = self.list.front()?;
        if first.payload.len() > FEW {
            return None;
        }
        let received = copy_out(first, telling.control(first, host), bufs, flags);
        if !flags.contains(MsgFlags::PEEK) {
            self.bytes = self.bytes.saturating_sub(cost(first));
            *spent = self.list.pop_front();
        }
        Some(received)
    }

    /// The first one: taken out, or a copy of it.
    pub(crate) fn take(
        &mut self,
        peek: bool,
        telling: Telling,
        host: &dyn Host,
    ) -> Option<(Datagram, Vec<Control>)> {
        let datagram = if peek {
            self.list.front()?.clone()
        } else {
            let datagram = self.list.pop_front()?;
            self.bytes = self.bytes.saturating_sub(cost(&datagram));
            datagram
        };
        let control = telling.control(&datagram, host);
        Some((datagram, control))
    }

    /// Takes the first ones out, `most` at most, by way of an empty list.
    pub(crate) fn take_many(&mut self, most: usize, taken: &mut VecDeque<Datagram>) {
        if self.list.len() <= most {
            core::mem::swap(&mut self.list, taken);
            self.bytes = 0;
            return;
        }
        taken.extend(self.list.drain(..most));
        let cost: usize = taken.iter().map(cost).sum();
        self.bytes = self.bytes.saturating_sub(cost);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Length of the first one.
    pub(crate) fn next_len(&self) -> usize {
        self.list.front().map_or(0, |first| first.payload.len())
    }
}

/// Copies a datagram to its receiver.
pub(crate) fn copy_out(
    datagram: &Datagram,
    control: Vec<Control>,
    bufs: &mut [&mut [u8]],
    flags: MsgFlags,
) -> Received {
    let mut done = 0_usize;
    for buf in bufs {
        done = done.saturating_add(datagram.payload.copy_to(done, buf));
    }
    let len = datagram.payload.len();
    let mut told = MsgFlags::empty();
    told.set(MsgFlags::TRUNC, done < len);
    Received {
        len: if flags.contains(MsgFlags::TRUNC) {
            len
        } else {
            done
        },
        from: Some(Address::Inet(datagram.from)),
        flags: told,
        control,
    }
}

/// Copies of what is to be sent.
pub(crate) fn copy_in_many(messages: &[Outgoing<'_>]) -> Batch {
    let mut packets = spares::take(messages.len());
    for (packet, message) in packets.iter_mut().zip(messages) {
        match message.bufs {
            [one] => packet.fill(one),
            _ => *packet = copy_in(message),
        }
    }
    packets.into()
}

/// A copy of what is to be sent.
pub(crate) fn copy_in(message: &Outgoing<'_>) -> Packet {
    match message.bufs {
        [one] => Packet::with_bytes(one),
        bufs => {
            let mut all = BytesMut::with_capacity(message.len());
            bufs.iter().for_each(|buf| all.extend_from_slice(buf));
            Packet::with_chain(Bytes::from(all).into())
        }
    }
}
