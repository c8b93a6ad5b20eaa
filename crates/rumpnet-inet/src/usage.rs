//! What a stack keeps: for those who look whether it forgets what it need not know.

use crate::{stack::Inet, tcp::Config};
use alloc::sync::Arc;

/// What a stack keeps now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sockets of TCP: open ones, and connections that are not over.
    pub tcp_sockets: usize,
    /// Pairs of addresses that connections have.
    pub tcp_pairs: usize,
    /// What is left of connections in TIME-WAIT.
    pub tcp_time_waits: usize,
    /// Times when connections have something to do, early ones included.
    pub tcp_timers: usize,
    /// Ports in use.
    pub tcp_ports: usize,
    /// Bytes of fragments whose rest has not come, with what they cost.
    pub fragments: usize,
    /// Neighbours.
    pub neighbors: usize,
    /// Frames that wait for the stack.
    pub inbox: usize,
}

impl Inet {
    /// What it keeps.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let inbox = self.inbox_len();
        self.look(|stack| {
            let mut usage = Usage {
                fragments: stack.ip.fragments(),
                neighbors: stack.neighbors.iter().count(),
                inbox,
                ..Usage::default()
            };
            stack.tcp.count(&mut usage);
            usage
        })
    }

    /// The settings that new sockets of TCP begin with.
    #[must_use]
    pub fn tcp_config(&self) -> Config {
        self.look(|stack| (*stack.tcp.config).clone())
    }

    /// Sets them. Listeners hand theirs on to the connections that they accept; sockets that are there keep theirs.
    pub fn set_tcp_config(&self, config: Config) {
        self.with(|stack| stack.tcp.config = Arc::new(config));
    }
}
