//! Large packets: several datagrams that go the way as one (udp(7), `UDP_SEGMENT` and `UDP_GRO`). Who sends them says how long each is; the
//! interface cuts them if its device does not, and sockets that do not want them whole get them one by one.

use super::LEN;
use crate::{
    ip::{Arrival, bump},
    ipv4,
    stack::{Path, Stack},
};
use core::net::SocketAddr;
use rumpnet::{
    Packet,
    offload::DATAGRAMS,
    socket::{Control, Outgoing},
};
use rumpuser::{Errno, Result};

/// Bytes of the header of IPv6.
const HEADER_V6: usize = 40;

/// Makes a payload a large one if the message or else its socket says so and it is longer than a datagram shall be.
///
/// # Errors
/// `EINVAL`: one such datagram does not fit the way, or there would be too many.
pub(super) fn mark(
    payload: &mut Packet,
    message: &Outgoing<'_>,
    option: u16,
    path: &Path,
) -> Result<()> {
    let said = message.control.iter().find_map(|control| match control {
        Control::Segment(bytes) => Some(*bytes),
        _ => None,
    });
    let segment = said.unwrap_or(option);
    let bytes = usize::from(segment);
    if segment == 0 || payload.len() <= bytes {
        return Ok(());
    }
    let ip = if path.source.is_ipv4() {
        ipv4::HEADER
    } else {
        HEADER_V6
    };
    let packet = bytes.saturating_add(ip).saturating_add(LEN);
    let mtu = usize::try_from(path.mtu).unwrap_or(usize::MAX);
    if packet > mtu || payload.len().div_ceil(bytes) > DATAGRAMS {
        return Err(Errno::EINVAL);
    }
    (payload.meta.segment, payload.meta.datagrams) = (segment, true);
    Ok(())
}

impl Stack {
    /// A large packet has come for a socket: whole if it takes that, else datagram by datagram.
    pub(super) fn udp_queue_large(
        &mut self,
        id: usize,
        arrival: &Arrival,
        from: SocketAddr,
        mut payload: Packet,
    ) {
        let segment = core::mem::take(&mut payload.meta.segment);
        let bytes = usize::from(segment);
        if bytes == 0 || payload.len().div_ceil(bytes) > DATAGRAMS {
            bump(&mut self.counters.udp(arrival.source.is_ipv4()).malformed);
            return;
        }
        let whole = self
            .udp
            .get(id)
            .map(|socket| socket.options.common.telling.segment);
        if whole == Ok(true) || payload.len() <= bytes {
            let segment = if payload.len() > bytes { segment } else { 0 };
            self.udp_queue_one(id, arrival, from, payload, segment);
            return;
        }
        let mut rest = payload.into_chain();
        while !rest.is_empty() {
            let part = Packet::with_chain(rest.split_to(bytes));
            self.udp_queue_one(id, arrival, from, part, 0);
        }
    }
}
