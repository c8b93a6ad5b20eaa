//! What connections have to send, and their way.

use super::{Pair, Role, mss};
use crate::{
    ip::{Sending, bump, scope},
    ipv4::protocol,
    port::Bound,
    stack::{Path, Stack},
    tcp::{self, Ports, Segment, TransmitLimit, header::CHECKSUM_OFFSET},
};
use core::net::IpAddr;
use rumpuser::Result;

/// Largest payload of a packet that a device cuts into segments: with the headers it fits the length field of IP.
const LARGE: usize = 65_535 - 20 - 60;

/// What the path of a connection depends on.
#[derive(PartialEq, Eq)]
pub(super) struct Asked {
    to: IpAddr,
    from: Bound,
    by: Option<u32>,
    /// How often routes, addresses and sizes had changed.
    changes: u64,
    /// Which interfaces are up, one bit each, behind a bit that is set.
    up: u64,
}

impl Stack {
    /// Sends what connections have to send, and forgets those that are over.
    pub(crate) fn tcp_output(&mut self) {
        while let Some(id) = self.tcp.output.pop_front() {
            let Ok(socket) = self.tcp.get(id) else {
                continue;
            };
            socket.listed = false;
            self.tcp_flush(id);
            self.tcp.arm(id);
            self.tcp_reap(id);
        }
    }

    pub(super) fn tcp_flush(&mut self, id: usize) {
        loop {
            let Ok(socket) = self.tcp.get(id) else { return };
            if let Role::Connection(tcb) = &socket.role
                && tcb.is_silent()
            {
                return;
            }
            match self.tcp_send_plain(id) {
                Some(false) => {}
                Some(true) => return,
                None => break,
            }
        }
        let Some((pair, path, how)) = self.tcp_way(id) else {
            return;
        };
        // The interface cuts what its device does not.
        let large = !path.local;
        let peer_is_v4 = pair.peer.is_ipv4();
        let limit = TransmitLimit {
            max_payload: match peer_is_v4 {
                _ if !large => 0,
                true => LARGE,
                false => LARGE.saturating_sub(20),
            },
        };
        let now = self.now;
        loop {
            let Ok(socket) = self.tcp.get(id) else { return };
            let Role::Connection(tcb) = &mut socket.role else {
                return;
            };
            let Some(out) = tcb.poll_transmit(now, limit) else {
                return;
            };
            let how = Sending {
                tos: how.tos | if out.ect { 2 } else { 0 },
                ..how
            };
            self.tcp_send(&pair, &path, &how, out.segment, out.mss);
        }
    }

    /// As [`path`](Self::path), of a connection that begins: most go where the last one went.
    pub(crate) fn tcp_path(&mut self, to: IpAddr, from: Bound, by: Option<u32>) -> Result<Path> {
        let mut all = self.interfaces.iter();
        let up = all.try_fold(1_u64, |up, here| {
            let up = up.checked_mul(2)?;
            Some(up | u64::from(here.ifnet.is_up()))
        });
        // The source of IPv6 depends on more than routes and addresses.
        let Some(up) = up.filter(|_| to.is_ipv4()) else {
            return self.path(to, from, by);
        };
        let asked = Asked {
            to,
            from,
            by,
            changes: self.routes.changes(),
            up,
        };
        if let Some((before, path)) = &self.tcp.last_path
            && *before == asked
        {
            return Ok(*path);
        }
        let path = self.path(to, from, by)?;
        self.tcp.last_path = Some((asked, path));
        Ok(path)
    }

    /// A connection has been made on a path: its segments go there.
    pub(crate) fn tcp_remember_path(&mut self, id: usize, path: &Path) {
        let changes = self.routes.changes();
        if let Ok(socket) = self.tcp.get(id) {
            socket.path = Some((changes, *path));
        }
    }

    /// Between which addresses, on which path and how a connection sends.
    pub(crate) fn tcp_way(&mut self, id: usize) -> Option<(Pair, Path, Sending)> {
        let changes = self.routes.changes();
        let socket = self.tcp.get(id).ok()?;
        let pair = socket.pair()?;
        let (ip, peer) = (pair.local.ip(), pair.peer);
        let (ttl, tos) = (socket.ttl, socket.tos & !3);
        let how = |path: &Path| Sending {
            protocol: protocol::TCP,
            ttl: ttl.unwrap_or(path.hops),
            tos,
            dont_fragment: true,
        };
        let (known, by) = (socket.path, socket.interface.or(scope(&peer)));
        if let Some((then, path)) = known
            && then == changes
        {
            return Some((pair, path, how(&path)));
        }
        // Without a route time goes on: it may come back before the connection gives up.
        let path = self.path(peer.ip(), Some(ip), by).ok();
        let path = path.or(known.map(|(_, old)| old))?;
        self.shown.uses(peer.ip());
        let now = self.now;
        let socket = self.tcp.get(id).ok()?;
        socket.path = Some((changes, path));
        if let Role::Connection(tcb) = &mut socket.role {
            tcb.way_takes(mss(&path), now);
        }
        Some((pair, path, how(&path)))
    }

    /// Sends a segment that belongs to no connection.
    pub(super) fn tcp_answer(&mut self, pair: &Pair, segment: Segment) {
        let by = scope(&pair.peer);
        let path = self.path(pair.peer.ip(), Some(pair.local.ip()), by);
        let Ok(path) = self.way_out(pair.peer.ip(), path) else {
            return;
        };
        let how = Sending {
            protocol: protocol::TCP,
            ttl: path.hops,
            tos: 0,
            dont_fragment: true,
        };
        self.tcp_send(pair, &path, &how, segment, 0);
    }

    pub(super) fn tcp_send(
        &mut self,
        pair: &Pair,
        path: &Path,
        how: &Sending,
        segment: Segment,
        mss: u16,
    ) {
        let ports = Ports {
            source: pair.local.port(),
            destination: pair.peer.port(),
        };
        let bytes = segment.payload.len();
        let large = bytes > usize::from(mss) && mss > 0;
        let segment_is_reset = segment.flags.contains(tcp::Flags::RST);
        let mut packet = tcp::header::write(segment, ports);
        packet.meta.segment = if large { mss } else { 0 };
        let to = pair.peer.ip();
        let offset = u16::try_from(CHECKSUM_OFFSET).unwrap_or(16);
        self.put_checksum(path, how, to, &mut packet, offset);
        if segment_is_reset {
            bump(&mut self.counters.tcp.resets_sent);
        }
        let count = if large {
            bytes.div_ceil(usize::from(mss))
        } else {
            1
        };
        let sent = &mut self.counters.tcp.sent;
        *sent = sent.wrapping_add(u64::try_from(count).unwrap_or(1));
        // What cannot go is sent again later, like what is lost.
        let _ = self.ip_output(path, how, to, packet);
    }
}
