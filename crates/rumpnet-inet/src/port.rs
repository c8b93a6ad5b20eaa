//! Ports: who has which.

use crate::stack::Inet;
use core::net::IpAddr;
use rumpkern::Cred;
use rumpuser::{Errno, Host, Result};

/// Ports below this are root's.
const RESERVED: u16 = 1_024;
/// First of the ports that sockets get that ask for none (RFC 6335 section 6).
const EPHEMERAL: u16 = 49_152;
/// How many these are.
const COUNT: u16 = 16_384;

/// Whether these credentials may have a port.
///
/// # Errors
/// `EACCES`.
pub(crate) fn allowed(port: u16, cred: &Cred) -> Result<()> {
    if port != 0 && port < RESERVED && !cred.is_root() {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// Chooses ports that nobody can guess (RFC 6056 section 3.3.2: at random, then the next that is free).
pub(crate) struct Chooser {
    state: u64,
}

impl Chooser {
    pub(crate) fn new(host: &dyn Host) -> Self {
        Self {
            // An odd number is not zero, which this generator never leaves.
            state: Inet::random_u64(host) | 1,
        }
    }

    /// A number of a xorshift generator, seeded by the host.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A port that is `free`.
    ///
    /// # Errors
    /// `EADDRINUSE`: none is.
    pub(crate) fn choose(&mut self, mut free: impl FnMut(u16) -> bool) -> Result<u16> {
        let [a, b, ..] = self.next().to_be_bytes();
        let first = u16::from_ne_bytes([a, b]) % COUNT;
        let ports = (0..COUNT).map(|n| EPHEMERAL.wrapping_add(first.wrapping_add(n) % COUNT));
        ports
            .into_iter()
            .find(|port| free(*port))
            .ok_or(Errno::EADDRINUSE)
    }
}

/// An address that a socket is bound to; `None` is any.
pub(crate) type Bound = Option<IpAddr>;

/// Whether two sockets with one port would receive the same packets.
pub(crate) fn conflict(one: Bound, two: Bound) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one == two,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_found_before_there_is_none() {
        let host = rumpuser_posix::Host::new();
        let mut chooser = Chooser::new(&*host);
        let port = chooser.choose(|port| port == 50_000);
        assert_eq!(port, Ok(50_000));
        assert_eq!(chooser.choose(|_| false), Err(Errno::EADDRINUSE));
        let (one, two) = (chooser.choose(|_| true), chooser.choose(|_| true));
        assert!(one.is_ok_and(|port| port >= EPHEMERAL) && two.is_ok());
    }
}
