//! What becomes of a connection: what changed, and its end.

use super::Role;
use crate::{
    ip::bump,
    stack::Stack,
    tcp::{Changes, State},
};

impl Stack {
    /// What came of a segment, of time, or of a call.
    pub(crate) fn tcp_changed(&mut self, id: usize, changes: Changes) {
        if changes.contains(Changes::OUTPUT) {
            self.tcp.list(id);
        }
        if changes.contains(Changes::TIMER) {
            self.tcp.arm(id);
        }
        if changes.contains(Changes::TIME_WAIT) {
            self.tcp.list(id);
        }
        let quiet = Changes::OUTPUT | Changes::TIMER | Changes::TIME_WAIT;
        if changes.difference(quiet).is_empty() {
            return;
        }
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        let fatal = Changes::RESET | Changes::REFUSED | Changes::TIMED_OUT | Changes::CLOSED;
        if changes.intersects(fatal) {
            socket.error = tcb.error().or(socket.error);
        }
        let closed = tcb.state() == State::Closed;
        let parent = socket.parent;
        let connected = changes.contains(Changes::CONNECTED);
        let early = (connected || closed) && self.tcp.fast_open_settled(id);
        match parent {
            // Who accepts it knows of it already.
            _ if early && connected => {}
            Some(parent) if connected => self.tcp_accepted(id, parent),
            Some(parent) if closed => {
                self.tcp_stillborn(id, parent);
                return;
            }
            None if connected => {
                bump(&mut self.counters.tcp.connects);
                self.fast_open_connected(id);
            }
            _ => {}
        }
        let socket = self.tcp.get(id).ok();
        let event = socket.and_then(|socket| socket.waiters.told());
        self.wake(event.as_ref());
        if closed {
            self.tcp.list(id);
        }
    }

    /// Forgets a connection that is over if nobody has it open.
    #[inline(always)]
    pub(super) fn tcp_reap(&mut self, id: usize) {
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &socket.role else {
            return;
        };
        if tcb.state() != State::Closed {
            if !socket.owned
                && let Some(rest) = tcb.to_time_wait()
                && let Some(pair) = socket.pair()
            {
                self.tcp.wait(id, pair, rest);
            }
            return;
        }
        let waits = socket.parent.is_some_and(|parent| {
            let parent = self.tcp.sockets.get(parent);
            parent.is_some_and(
                |parent| matches!(&parent.role, Role::Listener(queue) if queue.ready.contains(&id)),
            )
        });
        let Ok(socket) = self.tcp.get(id) else { return };
        if !socket.owned && !waits {
            self.tcp.remove(id);
            return;
        }
        // Its addresses are free for another.
        if let Some(pair) = socket.pair() {
            self.tcp.pairs.remove(&pair, id);
        }
    }

    /// Ends a connection at once, and tells the peer.
    pub(crate) fn tcp_abort(&mut self, id: usize) {
        let Ok(socket) = self.tcp.get(id) else { return };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        if let Some(out) = tcb.abort()
            && let Some((pair, path, how)) = self.tcp_way(id)
        {
            self.tcp_send(&pair, &path, &how, out.segment, out.mss);
        }
        self.tcp.list(id);
    }

    /// The same, of a socket that was closed before; `false` if it was not, and nothing is done. A connection that has nothing more to send is
    /// forgotten at once, or waits without its weight.
    pub(crate) fn tcp_release_closed(&mut self, id: usize) -> bool {
        let Ok(socket) = self.tcp.get(id) else {
            return true;
        };
        if !socket.closed {
            return false;
        }
        match &socket.role {
            Role::Connection(tcb) if !socket.listed && tcb.is_silent() => {
                socket.owned = false;
                self.tcp_reap(id);
            }
            _ => self.tcp_release(id),
        }
        true
    }

    /// Nobody has a socket open any more.
    pub(crate) fn tcp_release(&mut self, id: usize) {
        let Ok(socket) = self.tcp.get(id) else { return };
        socket.owned = false;
        match socket.role {
            Role::Connection(_) => self.tcp.list(id),
            Role::Fresh | Role::Listener(_) => self.tcp.remove(id),
        }
    }
}
