//! What connections know of the hosts that their packets go to (RFC 4861 section 7.3.1).
//!
//! They are asked when a neighbour would be, so that no segment has a part in it.

use super::Role;
use crate::stack::Stack;

impl Stack {
    /// Confirms those of the neighbours that are to be asked now by which a connection has gone forward meanwhile.
    pub(crate) fn tcp_confirm(&mut self) {
        let mut doubted = self.neighbors.doubted(self.now);
        let changes = self.routes.changes();
        for (_, socket) in &self.tcp.sockets {
            if doubted.is_empty() {
                return;
            }
            let (Role::Connection(tcb), Some((then, path))) = (&socket.role, &socket.path) else {
                continue;
            };
            let (key, at) = ((path.interface, path.next_hop), tcb.forward());
            // What came by a way that is another one now says nothing of this one.
            if *then == changes && doubted.get(&key).is_some_and(|since| at >= *since) {
                doubted.remove(&key);
                self.neighbors.confirm(key, at);
            }
        }
    }
}
