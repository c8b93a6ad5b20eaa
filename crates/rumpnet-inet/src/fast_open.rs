//! TCP fast open (RFC 7413): who may send data with a SYN, and what servers have given this host to do so.

use crate::{
    stack::{Inet, Stack},
    tcp::{Segment, cookie, options::Cookie},
    tcp_table::{Role, Tcp},
};
use alloc::collections::VecDeque;
use core::net::IpAddr;

/// Servers whose cookies are kept; then the oldest goes.
const SERVERS: usize = 256;

/// What is kept.
#[derive(Default)]
pub(crate) struct FastOpen {
    /// The cookies of servers, oldest first. `None`: a SYN with one got lost, as some networks have it.
    known: VecDeque<(IpAddr, Option<Cookie>)>,
    /// Connections with data that have not been acknowledged: whoever began them has not shown that it is there.
    pub(crate) pending: usize,
}

impl FastOpen {
    /// What a SYN to a server carries: its cookie, or the request of one (section 4.1.3).
    pub(crate) fn cookie_for(&self, server: IpAddr) -> Option<Cookie> {
        let mut all = self.known.iter();
        let known = all.find(|(ip, _)| *ip == server);
        known.map_or(Some(Cookie::default()), |(_, cookie)| *cookie)
    }

    fn remember(&mut self, server: IpAddr, cookie: Option<Cookie>) {
        self.known.retain(|(ip, _)| *ip != server);
        if self.known.len() >= SERVERS {
            self.known.pop_front();
        }
        self.known.push_back((server, cookie));
    }
}

/// What a listener does with a SYN.
pub(crate) struct Verdict {
    /// Its data counts, and may be read before the handshake is over.
    pub(crate) early: bool,
    /// The cookie that the answer gives.
    pub(crate) give: Option<Cookie>,
}

impl Tcp {
    /// Looks at a SYN for a listener that takes so many connections with data at once (section 4.2, and for the limit section 5.1).
    pub(crate) fn fast_open_syn(&self, limit: u32, client: IpAddr, syn: &Segment) -> Verdict {
        let mut verdict = Verdict {
            early: false,
            give: None,
        };
        let room = self.fast_open.pending < usize::try_from(limit).unwrap_or(usize::MAX);
        if let (Some(cookie), true) = (syn.options.fast_open, room) {
            let right = match client {
                IpAddr::V4(ip) => cookie::fast_open_cookie(&self.secret, &ip.octets()),
                IpAddr::V6(ip) => cookie::fast_open_cookie(&self.secret, &ip.octets()),
            };
            if cookie == right {
                verdict.early = !syn.payload.is_empty();
            } else {
                verdict.give = Some(right);
            }
        }
        verdict
    }

    /// A connection that began with data is over or has shown that somebody is there; whether it was such a one.
    pub(crate) fn fast_open_settled(&mut self, id: usize) -> bool {
        let early = self.get(id).is_ok_and(|socket| {
            let early = socket.early;
            socket.early = false;
            early
        });
        if early {
            self.fast_open.pending = self.fast_open.pending.saturating_sub(1);
        }
        early
    }
}

impl Stack {
    /// A connection was made that this host began: what the server gave is kept for the next one.
    pub(crate) fn fast_open_connected(&mut self, id: usize) {
        let Ok(socket) = self.tcp.get(id) else { return };
        let (Some(peer), Role::Connection(tcb)) = (socket.peer, &socket.role) else {
            return;
        };
        let Some(cookie) = tcb.fast_open_cookie() else {
            return;
        };
        // The first SYN got lost: perhaps for what it carried (section 4.1.3.1).
        let lost = tcb.info().retransmitted_segments > 0;
        let cookie = Some(cookie).filter(|_| !lost);
        self.tcp.fast_open.remember(peer.ip(), cookie);
    }
}

impl Inet {
    /// Forgets the cookies of servers.
    pub fn forget_fast_open(&self) {
        self.with(|stack| stack.tcp.fast_open.known.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// RFC 7413 section 4.1.3: the first SYN to a server asks for a cookie; one that got lost is followed by ordinary ones.
    #[test]
    fn servers_are_remembered() {
        let mut all = FastOpen::default();
        let server = |n: u16| IpAddr::from(Ipv4Addr::from_bits(n.into()));
        assert!(all.cookie_for(server(1)).unwrap().is_request());
        let cookie = Cookie::new(&[7; 8]);
        all.remember(server(1), cookie);
        all.remember(server(2), None);
        assert_eq!(all.cookie_for(server(1)), cookie);
        assert_eq!(all.cookie_for(server(2)), None);
        for n in 3..=258 {
            all.remember(server(n), cookie);
        }
        assert_eq!(all.known.len(), SERVERS);
        assert!(all.cookie_for(server(1)).unwrap().is_request());
        assert_eq!(all.cookie_for(server(258)), cookie);
    }
}
